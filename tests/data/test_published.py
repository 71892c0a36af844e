"""Published accuracies, under their papers' protocol."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import normalize

from shallowda import BDA, JDA, SDA, OneNearestNeighbor, pack_domains

RAW = {"A->W": 29.83, "A->D": 25.48, "W->A": 22.96, "W->D": 59.24, "D->A": 28.50, "D->W": 63.39}
RAW |= {"MNIST->USPS": 65.94, "USPS->MNIST": 44.70}
JDA_ICCV13 = {"A->W": 37.97, "A->D": 39.49, "W->A": 32.78, "W->D": 89.17, "D->A": 33.09, "D->W": 89.49}
JDA_ICCV13 |= {"MNIST->USPS": 67.28, "USPS->MNIST": 59.65}
SDA_OURS = {"A->W": 41.69, "A->D": 39.49, "W->A": 35.80, "W->D": 80.25, "D->A": 35.70, "D->W": 84.75}
SDA_OURS |= {"MNIST->USPS": 59.44, "USPS->MNIST": 52.80}
SDA_REPORTED = {"A->W": 30.85, "A->D": 33.76, "W->A": 39.25, "W->D": 75.80, "D->A": 38.73, "D->W": 76.95}


@pytest.fixture(scope="module")
def pairs(data):
    path = Path(__file__).parents[2] / "benchmarks" / "tasks.py"
    spec = importlib.util.spec_from_file_location("shallowda_benchmark_tasks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.tasks(data))


def percent(model, Xt, yt):
    return 100 * np.mean(model.predict(Xt) == yt)


@pytest.mark.parametrize("name", RAW)
def test_nearest_neighbour_without_adaptation(pairs, name):
    Xs, ys, Xt, yt = pairs[name]
    assert percent(OneNearestNeighbor("euclidean").fit(Xs, ys), Xt, yt) == pytest.approx(RAW[name], abs=0.006)


def jda_accuracy(pairs, name, estimator=JDA):
    Xs, ys, Xt, yt = pairs[name]
    digits = "MNIST" in name
    Xs, Xt = normalize(Xs), normalize(Xt)
    X, y, _ = pack_domains(Xs, ys, Xt)
    model = estimator(100, kernel=None if digits else "linear", ridge=0.1 if digits else 1.0)
    return percent(model.fit(X, y), Xt, yt)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MNIST->USPS", "USPS->MNIST"])
def test_jda_on_digits(pairs, name):
    assert jda_accuracy(pairs, name) == pytest.approx(JDA_ICCV13[name], abs=0.5)


@pytest.mark.slow
def test_jda_on_surf_features(pairs):
    names = [name for name in JDA_ICCV13 if "MNIST" not in name]
    reached = [jda_accuracy(pairs, name) for name in names]
    published = [JDA_ICCV13[name] for name in names]
    assert np.mean(reached) == pytest.approx(np.mean(published), abs=1.0)
    np.testing.assert_allclose(reached, published, atol=3.0)


@pytest.mark.slow
def test_balanced_at_one_half_is_jda_on_real_data(pairs):
    assert jda_accuracy(pairs, "A->D", BDA) == pytest.approx(jda_accuracy(pairs, "A->D"), abs=1e-9)


def test_sda_and_its_unexplained_difference(pairs):
    """Figures of the page; those that JGSA's paper reports, without their normalisation, do not come out."""
    sda, reached = SDA(30, estimator=OneNearestNeighbor("euclidean")), {}
    for name in SDA_OURS:
        Xs, ys, Xt, yt = pairs[name]
        reached[name] = percent(sda.fit(*pack_domains(Xs, ys, Xt)[:2]), Xt, yt)
    assert reached == pytest.approx(SDA_OURS, abs=0.7)  # one row of DSLR
    gap = [reached[name] - SDA_REPORTED[name] for name in SDA_REPORTED]
    assert np.mean(gap) == pytest.approx(3.7, abs=0.5)
    assert np.abs(gap).max() == pytest.approx(10.8, abs=0.7)
