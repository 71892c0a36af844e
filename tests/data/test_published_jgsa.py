"""JGSA beside the figures of its own paper and of MEDA's: see its page for the cells that come out otherwise."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler, normalize

from shallowda import JGSA, OneNearestNeighbor, pack_domains
from shallowda.datasets import fetch_digits, fetch_office_caltech10

SURF = {
    "primal": {"A->D": 47.13, "A->W": 45.76, "D->A": 38.00, "W->A": 39.87, "W->D": 90.45},
    "linear": {"A->D": 45.86, "A->W": 49.49, "D->A": 36.01, "W->A": 41.02},
    "rbf": {"A->D": 45.22, "A->W": 45.08, "D->A": 38.73, "D->W": 93.22, "W->D": 88.54},
}
KERNELS = {"primal": {}, "linear": {"kernel": "linear"}, "rbf": {"kernel": "rbf", "gamma": 0.5}}
NAMES = {"A": "amazon", "D": "dslr", "W": "webcam"}


def percent(rows_s, labels, rows_t, truth, **params):
    X, y, _ = pack_domains(normalize(rows_s), labels, normalize(rows_t))
    model = JGSA(**params, estimator=OneNearestNeighbor("euclidean")).fit(X, y)
    return 100 * np.mean(model.pseudo_labels_ == truth)


def scaled(rows):
    return StandardScaler().fit_transform(rows / rows.sum(axis=1, keepdims=True))


def pair(found, name):
    rows_s, labels, rows_t, truth = found.pair(*(NAMES[letter] for letter in name.split("->")))
    return scaled(rows_s), labels, scaled(rows_t), truth


@pytest.mark.slow
@pytest.mark.parametrize("kernel", SURF)
def test_surf(data, kernel):
    found = fetch_office_caltech10("surf", domains=tuple(NAMES.values()), data_home=data, download_if_missing=False)
    reached = {name: percent(*pair(found, name), **KERNELS[kernel]) for name in SURF[kernel]}
    assert reached == pytest.approx(SURF[kernel], abs=0.4)  # a row of DSLR is 0.64: late passes flip single labels
    exact = sum(abs(reached[name] - figure) < 0.006 for name, figure in SURF[kernel].items())
    assert exact >= len(reached) - 1


def test_decaf6(data):
    found = fetch_office_caltech10("decaf6", domains=("dslr", "webcam"), data_home=data, download_if_missing=False)
    assert percent(*pair(found, "W->D")) == pytest.approx(100.0, abs=0.06)
    assert percent(*pair(found, "D->W")) == pytest.approx(99.7, abs=0.06)


@pytest.mark.slow
def test_digits(data):
    found = fetch_digits(data_home=data, download_if_missing=False)
    for names, figure in ((("MNIST", "USPS"), 80.4), (("USPS", "MNIST"), 68.2)):
        assert percent(*found.pair(*names), n_components=100, discrimination=0.01) == pytest.approx(figure, abs=0.3)
