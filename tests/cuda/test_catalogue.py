"""Every method of the catalogue with CuPy, from rows of the host and of the device, to the results of NumPy.

On the stand-in everywhere, and on a device under the mark `gpu`.
"""

import functools
import importlib

import numpy as np
import pytest
from agreement import (
    agree_across_dtypes,
    agree_by_backend,
    agree_in_float32,
    agree_there,
    catalogue,
    data,
    outputs,
    with_kernels,
)
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import shallowda
from shallowda import (
    ARTL,
    BDA,
    CORAL,
    JDA,
    TJM,
    LabeledOnly,
    OneNearestNeighbor,
    PerDomain,
    TargetDrift,
    TCAEstimator,
    all_methods,
    make_pipeline,
    metrics,
    pack_domains,
)
from shallowda.diagnosis import DomainShiftReport
from shallowda.kernels import planning
from shallowda.kernels.arrays import library
from shallowda.model_selection import target_accuracy_scorer

METHODS = catalogue()
CASES = METHODS | with_kernels()
TILED = {method.__name__: functools.partial(method, kernel="rbf") for method in (ARTL, BDA, JDA, TCAEstimator, TJM)}
SHAPES = {"d<n": (90, 8), "d>n": (45, 70)}

pytestmark = [
    pytest.mark.filterwarnings("ignore:Every source row is switched off:UserWarning"),
    pytest.mark.filterwarnings("ignore:With all .* dimensions subspace alignment only centres:UserWarning"),
    pytest.mark.filterwarnings("ignore:kernel='sigmoid' is not positive semi-definite:UserWarning"),
]


@pytest.fixture(params=["stand-in", pytest.param("device", marks=pytest.mark.gpu)])
def cupy(request):
    if request.param == "stand-in":
        return request.getfixturevalue("cupy")
    if problem := planning.cupy_problem():
        pytest.skip(problem)
    return importlib.import_module("cupy")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_arrays_of_the_device(cupy, case, shape):
    agree_there(case, cupy.asarray, data(*shape))


@pytest.mark.parametrize("case", METHODS.values(), ids=METHODS.keys())
def test_rows_of_the_host(cupy, case):
    agree_by_backend(case, data())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_float32(cupy, case):
    agree_in_float32(case, cupy.asarray, data())


@pytest.mark.parametrize("case", METHODS.values(), ids=METHODS.keys())
def test_new_rows_in_another_precision(cupy, case):
    agree_across_dtypes(case, cupy.asarray, data())


@pytest.mark.parametrize("name", ["TCAEstimator 2", "JDA 2", "TCAEstimator laplacian"])
def test_krylov_solver(cupy, name, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "150")  # of the Krylov solver, without its size
    moved = agree_there(CASES[name], cupy.asarray, data(400, 8), rtol=1e-6)
    assert moved.plan_.solver == "block krylov"


@pytest.mark.parametrize("case", TILED.values(), ids=TILED.keys())
def test_tiles(cupy, case, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "100")
    monkeypatch.setenv("SHALLOWDA_PRECONDITIONER_COLUMNS", "100")
    monkeypatch.setenv("SHALLOWDA_TILE_BYTES", str(2**15))
    problem = data(200, 8)
    X = cupy.asarray(problem.X)
    few = {"n_components": 3} if "n_components" in case().get_params() else {}
    few |= {"max_iter": 2} if "max_iter" in case().get_params() else {}
    with monkeypatch.context() as patch:
        patch.setattr(planning._Problem, "stored", lambda problem, n: 2**50)  # a matrix for which there is no room
        tiled = case(**few).fit(X, problem.y)
    assert (tiled.plan_.operator, tiled.plan_.backend) == ("tiled", "cupy")
    plain = case(backend="numpy", **few).fit(problem.X, problem.y)
    np.testing.assert_array_equal(tiled.predict(X), plain.predict(problem.X))


# ------------------------------------------------------------------------------ whatever takes rows, labels or domains


def arguments(there, problem):
    """Rows, labels and domains of a problem elsewhere, by the names that the arguments have."""
    source = problem.domain >= 0
    given = {
        "X": problem.X,
        "y": problem.y,
        "truth": problem.truth,
        "domain": problem.domain,
        "Xs": problem.X[source],
        "ys": problem.truth[source],
        "Xt": problem.Xt,
        "yt": problem.yt,
        "weight": np.linspace(1, 2, len(problem.yt)),
        "classes": np.arange(3),
    }
    return {name: there(array) for name, array in given.items()}


def nearest(at):
    model = OneNearestNeighbor().fit(at["Xs"], at["ys"])
    return model.predict(at["Xt"]), model.score(at["Xt"], at["yt"], at["weight"])


TAKE = {
    "y": lambda at: CORAL(0.1).fit(at["X"], at["y"]).predict(at["Xt"]),
    "y, one by one": lambda at: CORAL(0.1).fit(at["X"], list(at["y"])).predict(at["Xt"]),
    "sample_domain": lambda at: CORAL(0.1).fit(at["X"], at["truth"], sample_domain=at["domain"]).predict(at["Xt"]),
    "score": lambda at: CORAL(0.1).fit(at["X"], at["y"]).score(at["Xt"], at["yt"], at["weight"]),
    "KMM's score": lambda at: shallowda.KMM(bound=2.0).fit(at["X"], at["y"]).score(at["Xt"], at["yt"], at["weight"]),
    "classes": lambda at: CORAL(0.1).partial_fit(at["X"], at["y"], classes=at["classes"]).predict(at["Xt"]),
    "nearest": nearest,
    "pack_domains": lambda at: pack_domains(at["Xs"], at["ys"], at["Xt"], at["yt"])[1:],
    "PerDomain": lambda at: (
        make_pipeline(PerDomain(StandardScaler()), CORAL(0.1)).fit(at["X"], at["y"]).predict(at["Xt"])
    ),
    "a pipeline": lambda at: make_pipeline(CORAL(0.1), LogisticRegression()).fit(at["X"], at["y"]).predict(at["Xt"]),
    "LabeledOnly": lambda at: (
        LabeledOnly(LogisticRegression()).fit(at["X"], at["y"]).score(at["Xt"], at["yt"], at["weight"])
    ),
    "drift": lambda at: TargetDrift(n_permutations=9).fit(at["Xs"]).update(at["Xt"])[:2],
    "a scorer": lambda at: target_accuracy_scorer(at["Xt"], at["yt"])(CORAL(0.1).fit(at["X"], at["y"]), None),
    "a report": lambda at: DomainShiftReport(at["Xs"], at["ys"], at["Xt"]).separability.auc,
    "per_class": lambda at: tuple(
        metrics.per_class(metrics.energy_distance, *(at[name] for name in ("Xs", "ys", "Xt", "yt"))).values()
    ),
    "label_shift": lambda at: metrics.label_shift(at["ys"], at["ys"], at["yt"])[0],
} | {
    name: lambda at, name=name: getattr(metrics, name)(at["Xs"], at["Xt"])
    for name in ("mmd", "linear_mmd", "cmd", "coral_distance", "energy_distance", "domain_auc", "sliced_wasserstein")
}


@pytest.mark.parametrize("take", TAKE.values(), ids=TAKE.keys())
def test_arrays_of_the_device_are_taken(cupy, take):
    here, there = (take(arguments(move, data())) for move in (np.asarray, cupy.asarray))
    for got, expected in zip(*(part if isinstance(part, tuple) else (part,) for part in (there, here)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_what_maps_rows_gives_them_back_where_they_are(cupy):
    at, here = (arguments(move, data()) for move in (cupy.asarray, np.asarray))
    Z = PerDomain(StandardScaler()).fit_transform(at["X"], at["y"])
    assert library(Z) == library(pack_domains(at["Xs"], at["ys"], at["Xt"])[0]) == "cupy"
    np.testing.assert_allclose(Z.get(), PerDomain(StandardScaler()).fit_transform(here["X"], here["y"]))


def test_refusals_are_sentences(cupy):
    at, here = (arguments(move, data()) for move in (cupy.asarray, np.asarray))
    for call in (
        lambda: CORAL(0.1).fit(list(at["X"]), at["y"]),
        lambda: pack_domains([list(at["Xs"])], [at["ys"]], at["Xt"]),
        lambda: metrics.mmd(list(at["Xs"]), at["Xt"]),
    ):
        with pytest.raises(TypeError, match=r"is a list of arrays of cupy. Make one array of them first"):
            call()
    with pytest.raises(TypeError, match=r"Arrays of different libraries cannot be combined: cupy, numpy"):
        pack_domains(at["Xs"], at["ys"], here["Xt"])
    with pytest.raises(TypeError, match=r"AutoAdapt takes NumPy arrays"):
        shallowda.AutoAdapt().fit(at["X"], at["y"])


def test_half_precision_is_computed_in_float32(cupy):
    problem = data()
    half = problem.X.astype(np.float16)
    exact = CORAL(0.1).fit(half.astype(np.float32), problem.y)
    model = CORAL(0.1).fit(cupy.asarray(half), problem.y)
    Z = model.transform(cupy.asarray(half))
    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z.get(), exact.transform(half.astype(np.float32)), rtol=1e-5, atol=1e-6)


def test_a_model_of_the_device_is_saved_for_all(cupy, tmp_path):
    problem = data()
    model = make_pipeline(TCAEstimator(3, kernel="rbf")).fit(cupy.asarray(problem.X), problem.y)
    shallowda.save(model, tmp_path / "model.skops")
    loaded = shallowda.load(tmp_path / "model.skops")
    for rows in (problem.Xt, cupy.asarray(problem.Xt)):
        np.testing.assert_array_equal(loaded.predict(rows), model.predict(cupy.asarray(problem.Xt)))
    assert library(model[0].X_fit_) == "cupy"  # the model itself stays as it was


# ------------------------------------------------------------------------------------- a device that is not the current


@pytest.fixture
def second(cupy):
    """Moves an array to the second device, while the first one is the current."""
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one device only")

    def move(array):
        with cupy.cuda.Device(1):
            return cupy.asarray(array)

    return move


@pytest.mark.parametrize("case", METHODS.values(), ids=METHODS.keys())
def test_rows_of_another_device(cupy, case, second):
    problem = data()
    model = agree_there(case, second, problem)
    if hasattr(model, "partial_fit"):
        streamed = case().partial_fit(second(problem.X), problem.y).partial_fit(second(problem.Xt))
        assert np.mean(streamed.predict(second(problem.Xt)) == model.predict(second(problem.Xt))) > 0.8
    assert cupy.cuda.Device().id == 0


@pytest.mark.parametrize("take", TAKE.values(), ids=TAKE.keys())
def test_arrays_of_another_device_are_taken(take, second):
    take(arguments(second, data()))


@pytest.mark.parametrize("method", all_methods().values(), ids=all_methods().keys())
def test_new_rows_on_another_device_than_those_of_the_fit(cupy, method, second):
    problem = data()
    model = method(**method.card.tests[0]).fit(second(problem.X), problem.y)
    if outputs(model) and library(getattr(model, outputs(model)[0])(second(problem.Xt))) == "cupy":
        with pytest.raises(ValueError, match=r"was fitted on rows on the device .*1.* Move X to the device of the fit"):
            model.predict(cupy.asarray(problem.Xt))
    with pytest.raises(ValueError, match="lie on different devices"):
        pack_domains(second(problem.X), problem.truth, cupy.asarray(problem.Xt))
