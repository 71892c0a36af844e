"""A model that serves: alone in a process, at a price that does not grow with training, by threads, everywhere."""

import importlib
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

import shallowda
from shallowda import ARTL, CORAL, JDA, PerDomain, TCAEstimator, make_pipeline, pack_domains
from shallowda.core.catalogue import representatives
from shallowda.model_selection import SourceTargetKFold, source_accuracy

LINEAR, KERNEL = {}, {}
for method_name, method in representatives().items():
    for params in method.card.tests:
        model = method(**params)
        variant = " ".join([method_name, *(str(value) for value in params.values() if isinstance(value, str))])
        (KERNEL if params.get("kernel") == "rbf" else LINEAR).setdefault(variant, model)
KERNEL["TCAEstimator landmarks"] = TCAEstimator(3, kernel="rbf", n_landmarks=20)
PIPELINES = {
    "pipeline": make_pipeline(Normalizer(), JDA(3, max_iter=3)),
    "pipeline by domain": make_pipeline(PerDomain(StandardScaler()), CORAL(0.1), LogisticRegression()),
}
ALL = LINEAR | KERNEL | PIPELINES

pytestmark = [
    pytest.mark.filterwarnings("ignore:Every source row is switched off"),
    pytest.mark.filterwarnings("ignore:No target row is labelled"),
]


def problem(n=90, d=8, seed=0):
    """Three classes, half of the rows target rows, and new target rows."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n + 60) % 3
    X = 4 * np.eye(d)[truth] + rng.normal(size=(n + 60, d))
    X[n // 2 :] += np.linspace(-1, 1, d)
    X, y, _ = pack_domains(X[: n // 2], truth[: n // 2], X[n // 2 :])
    return X[:n], y[:n], X[n:]


def with_linear_classifier(model):
    """A base classifier that keeps nothing of the size of the training set; ARTL is one."""
    model = clone(model)
    return model.set_params(estimator=LogisticRegression()) if "estimator" in model.get_params() else model


# -- in a process of its own -------------------------------------------------------------------------------------------

EXTRAS = (
    "array_api_compat cupy datasets h5py huggingface_hub matplotlib numba onnxruntime pandas polars pyarrow rich timm "
    "torch transformers typer"
)
SERVE = """
import sys

class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in sys.argv[3].split():
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Absent())
import numpy, shallowda
model = shallowda.load(sys.argv[1])
rows = numpy.load(sys.argv[2])
batch = model.predict(rows)
single = numpy.concatenate([model.predict(rows[i : i + 1]) for i in range(len(rows))])
numpy.savez(sys.argv[2] + ".npz", batch=batch, single=single, proba=model.predict_proba(rows))
"""


def run(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["pipeline", "pipeline by domain", "JDA rbf", "CORAL"])
def test_a_fresh_process_predicts_the_same_with_the_core_alone(name, tmp_path):
    pytest.importorskip("skops")
    X, y, new = problem()
    model = clone(ALL[name]).fit(X, y)
    shallowda.save(model, tmp_path / "model.skops")
    np.save(tmp_path / "new.npy", new)
    run(SERVE, tmp_path / "model.skops", tmp_path / "new.npy", EXTRAS)
    found = np.load(tmp_path / "new.npy.npz")
    np.testing.assert_array_equal(found["batch"], model.predict(new))
    np.testing.assert_array_equal(found["single"], model.predict(new))
    np.testing.assert_allclose(found["proba"], model.predict_proba(new), rtol=1e-9)


# -- at a price that does not grow with training -----------------------------------------------------------------------


def arrays_of(value, seen):
    """Sizes of all arrays that can be reached from an object."""
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return [value.size]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    state = list(vars(value).values()) if hasattr(value, "__dict__") and not isinstance(value, type) else []
    return [size for child in [*children, *state] for size in arrays_of(child, seen)]


def needed_to_predict(model):
    """Numbers in a fitted model, without those that report on the fit."""
    reports = ("pseudo_labels_", "source_relevance_", "weights_")
    return sum(arrays_of({key: value for key, value in vars(model).items() if key not in reports}, set()))


def peak_of(work):
    work()
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_method_keeps_and_touches_nothing_of_the_size_of_the_training_set(name):
    d, sizes, peaks = 24, [], []
    for n in (400, 3200):
        X, y, new = problem(n, d)
        model = with_linear_classifier(LINEAR[name]).fit(X, y)
        sizes.append(needed_to_predict(model))
        peaks.append(peak_of(lambda model=model, new=new: model.predict(new[:1])))
    assert sizes[0] == sizes[1]
    assert max(sizes) < 8 * d * d  # 400 rows of 24 features are more than twice that
    assert abs(peaks[1] - peaks[0]) < 2000  # bytes; the labels of 3200 rows alone are 25600


def test_the_nearest_neighbour_keeps_the_adapted_source():
    """What the test above would find in the default base classifier, and the guide says."""
    sizes = [needed_to_predict(clone(LINEAR["CORAL"]).fit(*problem(n)[:2])) for n in (90, 180)]
    assert sizes[1] - sizes[0] >= 45 * 8


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_fitted_by_predict(name, monkeypatch):
    X, y, new = problem()
    model = clone(ALL[name]).fit(X, y)
    before = pickle.dumps(model)
    expected = model.predict(new)

    def refuse(self, *_, **__):
        pytest.fail(f"{type(self).__name__} is fitted by predict")

    for part in [model, *vars(model).values(), *(step for _, step in getattr(model, "steps", ()))]:
        for kind in type(part).__mro__ if isinstance(part, BaseEstimator) else ():
            for method in {"fit", "fit_transform", "partial_fit", "_fit"} & set(vars(kind)):
                monkeypatch.setattr(kind, method, refuse)
    np.testing.assert_array_equal(model.predict(new), expected)
    model.predict_proba(new) if hasattr(model, "predict_proba") else model.decision_function(new)
    monkeypatch.undo()
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("name", LINEAR | PIPELINES)
def test_rows_one_by_one_are_the_rows_together(name):
    """Not for other kernels, whose products are cut into other blocks."""
    X, y, new = problem()
    model = clone(ALL[name]).fit(X, y)
    single = np.concatenate([model.predict(row[None]) for row in new])
    np.testing.assert_array_equal(single, model.predict(new))


# -- by many threads ---------------------------------------------------------------------------------------------------


@pytest.fixture
def restless():
    """Threads that take turns within a call, not only after it."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("name", ALL)
def test_many_threads_share_a_model(name):
    X, y, new = problem()
    model = clone(ALL[name]).fit(X, y)
    rng = np.random.default_rng(0)
    requests = [new[rng.integers(len(new), size=1 + i % 7)] for i in range(200)]
    expected = [model.predict(rows) for rows in requests]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(model.predict, requests))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


class Slow(ClassifierMixin, BaseEstimator):
    """A classifier with work of its own between its steps: whatever it shares with another thread would show."""

    def fit(self, X, y):
        self.classes_, self.first_ = np.unique(y), X[:1]
        return self

    def predict(self, X):
        total = np.zeros(len(X))
        for column in X.T:
            total = total + column - np.mean(self.first_)
        return self.classes_[(np.abs(total) * 1e6).astype(int) % len(self.classes_)]


@pytest.mark.usefixtures("restless")
def test_threads_do_not_mix_rows():
    X, y, new = problem()
    model = Pipeline([("scale", StandardScaler()), ("adapt", TCAEstimator(3, estimator=Slow()))]).fit(X, y)
    requests = [new[i % len(new)][None] for i in range(400)]
    expected = [model.predict(rows)[0] for rows in requests]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda rows: model.predict(rows)[0], requests)) == expected


# -- the same everywhere -----------------------------------------------------------------------------------------------

FIT = """
import json, sys, warnings
import numpy as np
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
import test_production
X, y, new = test_production.problem()
found = {}
for name, model in test_production.ALL.items():
    model = model.fit(X, y)
    found[name] = model.predict(new).tolist(), (model.transform(new) if hasattr(model, "transform") else new).tolist()
print(json.dumps(found))
"""


def test_processes_agree_whatever_their_hash_seed_and_threads():
    """Of all models at once: fits and predictions in four processes."""
    here = os.path.dirname(__file__)
    settings = [("0", "1"), ("1", "1"), ("2", "2"), ("random", "2")]
    first, *others = (
        json.loads(run(FIT, here, PYTHONHASHSEED=seed, OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads))
        for seed, threads in settings
    )
    for other, tolerance in zip(others, (1e-9, 1e-6, 1e-6), strict=True):  # threads cut sums into other parts
        for name, (labels, Z) in first.items():
            assert other[name][0] == labels, name
            np.testing.assert_allclose(
                other[name][1], Z, rtol=tolerance, atol=tolerance * np.abs(Z).max(), err_msg=name
            )


@pytest.mark.parametrize("name", ["TCAEstimator", "JDA", "CORAL", "ARTL", "JDA rbf", "TCAEstimator landmarks"])
def test_searches_agree_whatever_their_jobs(name):
    X, y, new = problem()
    cv = SourceTargetKFold(3, random_state=0)
    one, two = (
        GridSearchCV(clone(ALL[name]), {"ridge": [0.1, 1.0]}, cv=cv, scoring=source_accuracy, n_jobs=n_jobs).fit(X, y)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert one.best_params_ == two.best_params_
    np.testing.assert_array_equal(one.predict(new), two.predict(new))
    scores = [cross_val_score(clone(ALL[name]), X, y, cv=cv, scoring=source_accuracy, n_jobs=n) for n in (1, 2)]
    np.testing.assert_array_equal(*scores)


# -- the measurement ---------------------------------------------------------------------------------------------------


def test_the_latency_page_has_every_figure(monkeypatch):
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    if not folder.is_dir():
        pytest.skip("a source distribution has no benchmarks/")
    monkeypatch.syspath_prepend(str(folder))
    latency = importlib.import_module("latency")
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    found = latency.measure((310, 620), 16, {"CORAL": CORAL(1e-4), "ARTL": ARTL()})
    for module in ("latency", "rows"):
        monkeypatch.delitem(sys.modules, module)
    assert len(found["runs"]) == 3 * (1 + 1 + 2 * (2 + 1))  # sizes x (product, classifier, predict and transform)
    assert all(0 < run["median"] <= run["p99"] for run in found["runs"])
    page = latency.page(found)
    for run in found["runs"]:
        assert f"{run['median']:.0f} ({run['p99']:.0f})" in page
    assert page.count("| CORAL |") == 4
