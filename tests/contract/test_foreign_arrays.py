"""Arrays of other libraries: computed with where they are, to the results of NumPy."""

import importlib
import pickle
from functools import partial
from types import SimpleNamespace

import array_api_strict as strict
import numpy as np
import pandas as pd
import polars as pl
import pytest
from agreement import agree_across_dtypes, agree_in_float32, agree_there, close, data, few_rounds, fitted_arrays
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

import shallowda
from shallowda import (
    ARTL,
    BDA,
    CORAL,
    JDA,
    LabeledOnly,
    OneNearestNeighbor,
    PerDomain,
    TargetDrift,
    TCAEstimator,
    all_methods,
    make_pipeline,
    pack_domains,
)
from shallowda.core.adapter import BaseAdapter
from shallowda.core.catalogue import representatives
from shallowda.core.weighting import SourceWeighting
from shallowda.kernels.arrays import from_numpy, is_numpy, library, to_numpy
from shallowda.kernels.planning import cupy_problem
from shallowda.metrics import mmd

DEVICE = strict.Device("device1")

# every method is computed with under array-api-strict in test_every_method.py; here are the representatives, on more
OURS = {name: method for name, method in representatives().items() if not issubclass(method, SourceWeighting)}
CASES = {
    f"{name} {number}": (method, params)
    for name, method in OURS.items()
    for number, params in enumerate(method.card.tests)
} | {
    "TCAEstimator landmarks": (TCAEstimator, {"n_components": 3, "kernel": "rbf", "n_landmarks": 30}),
    "JDA laplacian": (JDA, {"n_components": 3, "kernel": "laplacian"}),
    "ARTL landmarks": (ARTL, {"kernel": "rbf", "n_landmarks": 30}),
}
FIRST = [f"{name} 0" for name in OURS]
FIRST_ADAPTERS = [case for case in FIRST if issubclass(CASES[case][0], BaseAdapter)]
UNSUPERVISED = [case for case in FIRST if not CASES[case][0]._requires_labels]

pytestmark = [
    pytest.mark.filterwarnings("ignore:Every source row is switched off:UserWarning"),
]


def model(case, **params):
    method, given = CASES[case]
    return method(**{**few_rounds(method), **given, **params})


def _strict(array):
    return strict.asarray(array, device=DEVICE)


def _torch(array):
    torch = pytest.importorskip("torch", reason="torch is not installed: tensors are not tested")
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed: tensors are not tested")
    return torch.asarray(np.array(array))


def _torch_cuda(array):
    torch = pytest.importorskip("torch", reason="torch is not installed: tensors are not tested")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA device")
    return _torch(array).to("cuda")


def _cupy(array):
    if problem := cupy_problem():
        pytest.skip(problem)
    return importlib.import_module("cupy").asarray(array)


ON_DEVICE = [pytest.param(move, marks=pytest.mark.gpu, id=move.__name__) for move in (_cupy, _torch_cuda)]


@pytest.fixture(params=[_strict, _torch, *ON_DEVICE])
def there(request):
    """Moves an array to another library, and device where it has several."""
    return request.param


SHAPES = [pytest.param(data(90, 8), id="d<n"), pytest.param(data(45, 70), id="d>n")]


@pytest.mark.parametrize("problem", SHAPES)
@pytest.mark.parametrize("case", CASES)
def test_results_are_those_of_numpy_and_stay_where_they_are(case, there, problem):
    agree_there(partial(model, case), there, problem)


@pytest.mark.parametrize("case", ["TCAEstimator 2", "JDA 2"])
def test_above_the_order_of_dense_solvers(case, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "150")  # of the Krylov solver, without its size
    agree_there(partial(model, case), _strict, data(400, 8), rtol=1e-6)


@pytest.mark.slow
def test_above_the_order_of_dense_solvers_as_it_is():
    agree_there(partial(model, "TCAEstimator 2"), _strict, data(750, 8), rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_float32_stays_float32(case, there):
    agree_in_float32(partial(model, case), there, data())


@pytest.mark.parametrize("case", CASES)
def test_new_rows_in_another_precision(case, there):
    agree_across_dtypes(partial(model, case), there, data())


def _halves():
    yield "torch float16", lambda X: _torch(X).half()
    yield "torch bfloat16", lambda X: _torch(X).bfloat16()
    yield "ml_dtypes", lambda X: X.astype(pytest.importorskip("ml_dtypes").bfloat16)


@pytest.mark.parametrize("half", [pytest.param(half, id=name) for name, half in _halves()])
@pytest.mark.parametrize("case", FIRST)
def test_half_precision_is_computed_in_float32(case, half):
    problem = data()
    X = half(problem.X)
    wide = to_numpy(X).astype(np.float32)
    moved, exact = model(case).fit(X, problem.y), model(case).fit(wide, problem.y)
    np.testing.assert_array_equal(moved.predict(X), exact.predict(wide))
    values = moved.transform(X) if hasattr(moved, "transform") else moved.decision_function(X)
    assert to_numpy(values).dtype == np.float32
    expected = exact.transform(wide) if hasattr(exact, "transform") else exact.decision_function(wide)
    np.testing.assert_allclose(to_numpy(values), expected, atol=1e-3 * np.abs(expected).max())


def test_half_precision_elsewhere():
    problem = data()
    X = _torch(problem.X).bfloat16()
    wide, source = to_numpy(X), problem.domain >= 0
    assert wide.dtype == np.float32
    assert mmd(X[source], X[~source]) == pytest.approx(mmd(wide[source], wide[~source]))
    assert PerDomain(StandardScaler()).fit_transform(X, problem.y).shape == X.shape
    assert pack_domains(X[source], problem.truth[source], X[~source])[0].dtype == X.dtype
    np.testing.assert_array_equal(
        OneNearestNeighbor().fit(X, problem.truth).predict(X),
        OneNearestNeighbor().fit(wide, problem.truth).predict(wide),
    )


@pytest.mark.parametrize("case", CASES)
def test_tensors_that_record_gradients_are_detached(case):
    problem = data()
    X = _torch(problem.X).requires_grad_()
    moved, plain = model(case).fit(X, problem.y), model(case).fit(problem.X, problem.y)
    np.testing.assert_array_equal(moved.predict(X), plain.predict(problem.X))
    values = moved.transform(X) if hasattr(moved, "transform") else moved.decision_function(X)
    assert not values.requires_grad
    assert not any(value.requires_grad for value in fitted_arrays(moved).values())
    assert X.requires_grad


# -------------------------------------------------------------------------------------------- one library, then another


def test_what_maps_rows_gives_them_back_where_they_are(there):
    problem = data()
    X = there(problem.X)
    scaler, labelled = PerDomain(StandardScaler()), LabeledOnly(LinearDiscriminantAnalysis(n_components=2))
    expected = PerDomain(StandardScaler()).fit_transform(problem.X, problem.y)
    for Z in (scaler.fit_transform(X, problem.y), scaler.transform(X, sample_domain=problem.domain)):
        assert (library(Z), Z.device) == (library(X), X.device)
        close(Z, expected)
    Z = labelled.fit(X, problem.y).transform(X)
    assert (library(Z), Z.device) == (library(X), X.device)
    np.testing.assert_array_equal(labelled.predict(X), labelled.predict(problem.X))
    moved = make_pipeline(PerDomain(StandardScaler()), TCAEstimator(3)).fit(X, problem.y)
    assert library(moved[-1].components_) == library(X)


@pytest.mark.parametrize("case", FIRST)
def test_a_model_is_saved_for_arrays_of_any_library(case, there, tmp_path):
    problem = data()
    X, path = there(problem.X), tmp_path / "model.skops"
    moved = model(case).fit(X, problem.y)
    shallowda.save(make_pipeline(moved), path)
    assert not any(is_numpy(value) for value in fitted_arrays(moved).values())
    loaded = shallowda.load(path)
    for rows in (problem.X, X):
        np.testing.assert_array_equal(loaded.predict(rows), moved.predict(X))


def test_a_stream_is_saved_for_arrays_of_any_library(there, tmp_path):
    problem = data()
    moved = CORAL(0.1).partial_fit(there(problem.X), problem.y)
    shallowda.save(moved, tmp_path / "model.skops")
    loaded = shallowda.load(tmp_path / "model.skops").partial_fit(problem.Xt)
    np.testing.assert_array_equal(
        loaded.predict(problem.Xt), moved.partial_fit(there(problem.Xt)).predict(there(problem.Xt))
    )


@pytest.mark.parametrize("case", FIRST)
def test_rows_on_another_device_than_those_of_the_fit(case):
    problem = data()
    moved, here = model(case).fit(_strict(problem.X), problem.y), strict.asarray(problem.Xt)
    with pytest.raises(ValueError, match=r"on the device .*device1.* X is on .*CPU.* Move X to the device of the fit"):
        moved.predict(here)
    with pytest.raises(ValueError, match=r"lie on different devices"):
        pack_domains(_strict(problem.X), problem.truth, here)


def test_a_list_of_arrays_is_no_array():
    X = list(_torch(data().X))
    for call in (lambda: CORAL().fit(X, data().y), lambda: mmd(X, X), lambda: pack_domains([X], [data().y], X)):
        with pytest.raises(TypeError, match=r"is a list of arrays of torch. Make one array of them first"):
            call()


@pytest.mark.parametrize("case", CASES)
def test_a_model_of_numpy_takes_other_arrays(case, there):
    problem = data()
    plain, X = model(case).fit(problem.X, problem.y), there(problem.X)
    np.testing.assert_array_equal(plain.predict(X), plain.predict(problem.X))
    assert is_numpy(plain.predict(X))
    for function in ("transform", "decision_function"):
        if hasattr(plain, function):
            got = getattr(plain, function)(X, sample_domain=problem.domain)
            assert library(got) == library(X)
            assert got.device == X.device
            close(got, getattr(plain, function)(problem.X, sample_domain=problem.domain))
    assert all(is_numpy(value) for value in fitted_arrays(plain).values())


@pytest.mark.parametrize("case", FIRST)
def test_a_model_of_another_library_refuses_numpy(case, there):
    problem = data()
    moved = model(case).fit(there(problem.X), problem.y)
    for rows in (problem.Xt, problem.Xt.tolist(), pd.DataFrame(problem.Xt)):
        with pytest.raises(ValueError, match=r"was fitted on arrays of \w+ .* Pass X as \w+ array"):
            moved.predict(rows)


@pytest.mark.parametrize("case", FIRST)
def test_a_refit_forgets_the_library(case):
    problem = data()
    plain = model(case).fit(problem.X, problem.y)
    again = model(case).fit(_strict(problem.X), problem.y).fit(problem.X, problem.y)
    np.testing.assert_array_equal(again.predict(problem.X), plain.predict(problem.X))
    assert all(is_numpy(value) for value in fitted_arrays(again).values())
    again.fit(_strict(problem.X), problem.y)
    assert not any(is_numpy(value) for value in fitted_arrays(again).values())


@pytest.mark.parametrize("case", FIRST)
def test_a_model_of_numpy_pickles_after_it_has_met_other_arrays(case):
    problem = data()
    plain = model(case).fit(_strict(problem.X), problem.y).fit(problem.X, problem.y)
    plain.predict(_strict(problem.X))
    loaded = pickle.loads(pickle.dumps(plain))
    np.testing.assert_array_equal(loaded.predict(problem.X), plain.predict(problem.X))


@pytest.mark.parametrize("case", FIRST)
def test_later_changes_of_the_rows_do_not_reach_the_model(case, there):
    problem = data()
    X = there(problem.X.copy())
    moved = model(case).fit(X, problem.y)
    before = moved.predict(there(problem.Xt))
    X[:, :] = 0.0
    np.testing.assert_array_equal(moved.predict(there(problem.Xt)), before)


# ------------------------------------------------------------------------------------- labels, domains, classifiers


@pytest.mark.parametrize("case", FIRST)
def test_labels_and_domains_are_numpy_or_lists(case, there):
    problem = data()
    X = there(problem.X)
    expected = model(case).fit(problem.X, problem.y).predict(problem.X)
    for y, domain in (
        (problem.y.tolist(), None),
        (problem.truth, problem.domain),
        (problem.truth.tolist(), problem.domain.tolist()),
        (pd.Series(problem.truth), pd.Series(problem.domain)),
    ):
        moved = model(case).fit(X, y, sample_domain=domain)
        np.testing.assert_array_equal(moved.predict(X), expected)
    names = np.array(["a", "b", "c"])
    moved = model(case).fit(X, names[problem.truth].tolist(), sample_domain=problem.domain)
    np.testing.assert_array_equal(moved.predict(X), names[expected])


@pytest.mark.parametrize("case", UNSUPERVISED)
def test_without_labels(case, there):
    problem = data()
    Z = model(case).fit_transform(there(problem.X), sample_domain=problem.domain)
    close(Z, model(case).fit_transform(problem.X, sample_domain=problem.domain))


class Recorder(NearestCentroid):
    """A classifier that says what it was given."""

    def fit(self, X, y):
        self.given_ = [type(X), type(y)]
        return super().fit(X, y)

    def predict(self, X):
        self.given_.append(type(X))
        return super().predict(X)


@pytest.mark.parametrize("case", FIRST_ADAPTERS)
def test_other_classifiers_are_given_numpy(case, there):
    problem = data()
    for classifier in (Recorder(), LogisticRegression()):
        moved = model(case, estimator=classifier).fit(there(problem.X), problem.y)
        expected = model(case, estimator=classifier).fit(problem.X, problem.y).predict(problem.X)
        np.testing.assert_array_equal(moved.predict(there(problem.X)), expected)
        if isinstance(classifier, Recorder) and hasattr(moved, "estimator_"):
            assert set(moved.estimator_.given_) == {np.ndarray}


def test_our_classifier_stays_on_the_device(there):
    problem = data()
    nearest = OneNearestNeighbor().fit(there(problem.X), problem.truth)
    assert library(nearest._rows) == library(there(problem.X))
    np.testing.assert_array_equal(nearest.predict(there(problem.Xt)), problem.yt)
    plain = OneNearestNeighbor().fit(problem.X, problem.truth)
    np.testing.assert_array_equal(nearest.predict_proba(there(problem.Xt)), plain.predict_proba(problem.Xt))


@pytest.mark.parametrize("method", [TCAEstimator, JDA, ARTL])
def test_precomputed_kernels(method, there):
    problem = data()
    K = problem.X @ problem.X.T
    params = {"kernel": "precomputed"} | ({} if method is ARTL else {"n_components": 3})
    plain, moved = method(**params).fit(K, problem.y), method(**params).fit(there(K), problem.y)
    np.testing.assert_array_equal(moved.predict(there(K)), plain.predict(K))
    if hasattr(plain, "transform"):
        close(moved.transform(there(K)), plain.transform(K))
    with pytest.raises(ValueError, match="symmetric"):
        method(**params).fit(there(K + np.triu(K)), problem.y)


# ---------------------------------------------------------------------------------------------------------- bad input


def _with_nan(X):
    X = X.copy()
    X[3, 2] = np.nan
    return X


@pytest.mark.parametrize("case", FIRST)
@pytest.mark.parametrize(
    ("spoil", "error", "match"),
    [
        (lambda X: (10 * X).astype(np.int64), TypeError, "int64; convert it to float32 or float64"),
        (lambda X: X[:, 0], ValueError, "Expected 2D array, got 1D array"),
        (_with_nan, ValueError, "Input X contains NaN or infinity"),
        (lambda X: np.append(X[1:], X[:1] * np.inf, axis=0), ValueError, "Input X contains NaN or infinity"),
        (lambda X: X[:, :0], ValueError, "0 feature"),
    ],
    ids=["int", "1-D", "NaN", "infinity", "no features"],
)
def test_bad_rows(case, there, spoil, error, match):
    problem = data()
    with pytest.raises(error, match=match):
        model(case).fit(there(spoil(problem.X)), problem.y)
    moved = model(case).fit(there(problem.X), problem.y)
    with pytest.raises(error, match=match):
        moved.predict(there(spoil(problem.X)))


@pytest.mark.parametrize("case", FIRST)
def test_another_number_of_features(case, there):
    problem = data()
    for moved in (model(case).fit(there(problem.X), problem.y), model(case).fit(problem.X, problem.y)):
        with pytest.raises(ValueError, match=r"X has 7 features, but \w+ is expecting 8 features"):
            moved.predict(there(problem.X[:, :7]))


@pytest.mark.parametrize("case", FIRST)
def test_another_number_of_labels(case, there):
    problem = data()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model(case).fit(there(problem.X), problem.y[:-1])


@pytest.mark.parametrize("case", FIRST)
@pytest.mark.parametrize("backend", ["numpy", "cupy"])
def test_backends_are_for_numpy(case, backend):
    problem = data()
    with pytest.raises(ValueError, match=rf"X is an array of array_api_strict, and backend='{backend}'. Use backend='"):
        model(case, backend=backend).fit(_strict(problem.X), problem.y)


def test_feature_names_are_forgotten(there):
    problem = data()
    frame = pd.DataFrame(problem.X, columns=[f"f{i}" for i in range(8)])
    again = model("CORAL 0").fit(frame, problem.y).fit(there(problem.X), problem.y)
    assert not hasattr(again, "feature_names_in_")
    assert again.n_features_in_ == 8
    assert from_numpy(problem.X, there(problem.X)).shape == again.transform(there(problem.X)).shape


@pytest.mark.filterwarnings("ignore:The A-distances that mu:UserWarning")
def test_balance_by_distances(there):
    problem = data()
    plain, moved = (BDA(3, mu="a_distance", max_iter=2).fit(X, problem.y) for X in (problem.X, there(problem.X)))
    assert moved.mu_ == pytest.approx(plain.mu_)
    close(moved.components_, plain.components_)


# ---------------------------------------------------------------------------------------- arrays that have no values


class Lazy:
    """An array of Dask, as far as this package looks: its class is one of the package dask."""

    shape, dtype, ndim = (90, 8), np.dtype(float), 2

    def __len__(self):
        return 90

    def compute(self):
        """The values."""

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("a lazy array was computed without being asked to")


Lazy.__module__ = "dask.array.core"


class Claims:
    """An array whose library says that it follows the standard."""

    shape, dtype = (90, 8), "float64"

    def __init__(self, namespace):
        self._namespace = namespace

    def __array_namespace__(self, api_version=None):
        if self._namespace is None:
            raise NotImplementedError("api_version")
        return self._namespace

    def __getitem__(self, key):
        return self


class Symbol(Claims):
    """A value that is not known yet."""

    __hash__ = None

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise RuntimeError("truth of a symbol")


NO_VALUES = {
    "dask": (Lazy(), r"is a lazy Lazy of dask, whose values are not computed yet. Pass \w+\.compute\(\)"),
    "polars": (pl.LazyFrame({"a": [0.0]}), r"is a lazy LazyFrame of polars.*Pass \w+\.collect\(\)"),
    "no namespace": (Claims(None), r"says that it follows.*NotImplementedError: api_version\). Convert it to a NumPy"),
    "no functions": (Claims(SimpleNamespace()), r"says that it follows.*AttributeError.*Convert it to a NumPy array"),
    "no decompositions": (
        Claims(SimpleNamespace(all=bool)),
        r"says that it follows.*linalg.*Convert it to a NumPy array",
    ),
    "symbols": (
        Symbol(SimpleNamespace(all=lambda values: values)),
        r"says that it follows.*truth of a symbol.*Convert it to a NumPy",
    ),
}


@pytest.mark.parametrize(("X", "message"), NO_VALUES.values(), ids=NO_VALUES.keys())
@pytest.mark.parametrize("method", all_methods().values(), ids=all_methods().keys())
def test_rows_without_values_are_refused(method, X, message):
    problem = data()
    with pytest.raises(TypeError, match=message):
        method().fit(X, problem.y)
    with pytest.raises(TypeError, match=message):
        method(**method.card.tests[0]).fit(problem.X, problem.y).predict(X)


@pytest.mark.parametrize(("X", "message"), NO_VALUES.values(), ids=NO_VALUES.keys())
def test_rows_without_values_are_refused_elsewhere(X, message):
    problem = data()
    for call in (
        lambda: PerDomain(StandardScaler()).fit(X, problem.y),
        lambda: OneNearestNeighbor().fit(X, problem.y),
        lambda: TargetDrift().fit(X),
        lambda: TargetDrift().update(X),
        lambda: pack_domains(X, problem.y, problem.X),
        lambda: pack_domains(problem.X, problem.truth, X),
        lambda: mmd(problem.X, X),
        lambda: CORAL().partial_fit(X, problem.y),
        lambda: make_pipeline(CORAL(), LogisticRegression()).fit(X, problem.y),
    ):
        with pytest.raises(TypeError, match=message):
            call()
