"""What a fit takes of a device, and where rows are computed with that have no room there, on the stand-in for CuPy."""

import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.neighbors import NearestCentroid

from shallowda import ARTL, CORAL, JDA, TCAEstimator, all_methods
from shallowda.kernels import planning, regularised
from shallowda.kernels.pairwise import Kernel
from shallowda.kernels.planning import plan

MIB = 2**20
SHAPES = {"tall": (1200, 30), "wide": (150, 400), "square": (700, 500)}
VARIANTS = [
    pytest.param(method, params, id=f"{name}-{number}")
    for name, method in all_methods().items()
    for number, params in enumerate(method.card.tests)
]
WITH_KERNELS = {name: kind for name, kind in all_methods().items() if "n_landmarks" in kind().get_params(deep=False)}


def shifted(n, d, dtype=np.float32):
    """Three classes and a shift, in turns, so that rows of a domain have to be copied."""
    rng = np.random.default_rng(0)
    truth, target = np.arange(n) % 3, np.arange(n) % 5 >= 3
    X = rng.standard_normal((n, d))
    X[np.arange(n), truth] += 4
    X[target, 3] += 1
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X.astype(dtype), np.where(target, -1, truth)


def on_device(method, **params):
    """The method on the device; without nearest neighbours, whose CUDA code is slow on the CPU."""
    model = method(backend="cupy", **params)
    if getattr(model, "estimator", 0) is None and method.kind != "weighting" and method is not ARTL:
        model.set_params(estimator=NearestCentroid())
    return model


def fitted(model, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def require_planned(model, X, y, machine):
    """Fit, and compare the most bytes that were in arrays with those of the plan."""
    machine.memory.reset()
    before = machine.memory.used
    fitted(model, X, y)
    assert model.plan_.backend == "cupy"
    taken = machine.memory.peak - before
    assert taken <= 1.1 * model.plan_.nbytes, f"{taken} bytes, and {model.plan_.nbytes} were planned"


# ------------------------------------------------------------------------------------------ plans are what is taken


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("method", "params"), VARIANTS)
def test_no_fit_takes_more_than_planned(method, params, shape, machine, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_ROW_BLOCK_BYTES", str(MIB // 4))  # so that blocks are not all there is
    monkeypatch.setenv("SHALLOWDA_TILE_BYTES", str(MIB // 4))
    require_planned(on_device(method, **params), *shifted(*SHAPES[shape]), machine)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", WITH_KERNELS.values(), ids=WITH_KERNELS.keys())
def test_landmarks_take_no_more_than_planned(method, dtype, machine):
    model = on_device(method, **{**method.card.tests[0], "kernel": "rbf", "n_landmarks": 150})
    require_planned(model, *shifted(1200, 30, dtype), machine)
    assert model.plan_.operator == "nystroem"


@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "poly"])
def test_tiles_take_no_more_than_planned(kernel, machine, monkeypatch):
    monkeypatch.setattr(planning._Problem, "stored", lambda problem, n: 2**50)
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "100")
    model = on_device(TCAEstimator, n_components=2, kernel=kernel)
    require_planned(model, *shifted(300, 8), machine)
    assert model.plan_.operator == "tiled"


@pytest.mark.parametrize("method", [ARTL, TCAEstimator])
def test_a_given_matrix_takes_no_more_than_planned(method, machine):
    X, y = shifted(500, 8)
    require_planned(on_device(method, kernel="precomputed"), X @ X.T + 1, y, machine)


def test_arrays_that_are_there_are_not_copied(cupy, machine):
    X, y = shifted(4000, 30)
    there = cupy.asarray(X)
    copied, kept = on_device(TCAEstimator, n_components=2), on_device(TCAEstimator, n_components=2)
    require_planned(copied, X, y, machine)
    require_planned(kept, there, y, machine)
    assert copied.plan_.nbytes == kept.plan_.nbytes + X.nbytes


# --------------------------------------------------------------------------------------------- memory that is scarce


@pytest.fixture
def auto(monkeypatch):
    """Every problem is large enough for the device."""
    monkeypatch.setenv("SHALLOWDA_DEVICE_FLOPS", "1")


def test_a_second_fit_sees_the_same_memory(machine):
    X, y = shifted(4000, 30)
    first, second = (fitted(on_device(TCAEstimator, n_components=2), X, y) for _ in range(2))
    assert machine.memory.held > machine.memory.used
    assert first.plan_.budget == second.plan_.budget


@pytest.mark.usefixtures("auto")
@pytest.mark.parametrize(("method", "params"), VARIANTS)
def test_what_the_device_has_no_room_for_stays_on_the_machine(method, params, machine):
    X, y = shifted(300, 20)
    machine.memory.total = 2000
    model, plain = (fitted(method(backend=backend, **params), X, y) for backend in ("auto", "numpy"))
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    assert model.plan_.backend == "numpy"
    assert "the device has too little memory: " in str(model.plan_)
    assert machine.memory.peak < 2000
    with pytest.raises(MemoryError, match="memory_budget allows"):
        method(backend="cupy", **params).fit(X, y)


@pytest.mark.usefixtures("auto")
def test_a_file_that_is_larger_than_the_device(machine, tmp_path):
    X, y = shifted(6000, 50)
    X.tofile(tmp_path / "rows")
    there = np.memmap(tmp_path / "rows", dtype=np.float32, mode="r", shape=X.shape)
    machine.memory.total = X.nbytes // 2
    for model in (JDA(3, estimator=NearestCentroid()), CORAL(0.1, estimator=NearestCentroid())):
        fitted(model, there, y)
        machine.memory.reset()
        assert model.transform(there).shape[0] == len(X)
        assert 0 < machine.memory.peak <= machine.memory.total / 2
        assert model.plan_.backend == "numpy"
        np.testing.assert_array_equal(
            model.predict(there), clone(model).set_params(backend="numpy").fit(X, y).predict(X)
        )


@pytest.mark.usefixtures("auto")
@pytest.mark.parametrize(("method", "params"), VARIANTS)
def test_new_rows_go_to_the_device_in_blocks(method, params, machine):
    """That are no larger than half of what is free there, and give the result of all rows at once."""
    X, y = shifted(400, 20, np.float64)
    model = fitted(method(backend="numpy", **params), X, y)
    new, _ = shifted(3000, 20, np.float64)
    name = next(name for name in ("transform", "decision_function", "predict") if hasattr(model, name))
    expected = getattr(model, name)(new)
    model.set_params(backend="auto")
    machine.memory.total = 2 * MIB
    got = getattr(model, name)(new)
    np.testing.assert_allclose(got, expected, atol=1e-6 * np.abs(expected).max())
    assert type(got) is np.ndarray
    assert machine.memory.peak <= machine.memory.total / 2
    assert machine.to_device or method.kind == "weighting"  # whose estimator predicts on the machine


@pytest.mark.usefixtures("auto")
def test_a_model_without_room_on_the_device(machine):
    X, y = shifted(400, 20)
    model = fitted(TCAEstimator(3, kernel="rbf", backend="numpy"), X, y)
    expected = model.transform(2 * X)
    machine.memory.total = 3000
    np.testing.assert_array_equal(model.set_params(backend="auto").transform(2 * X), expected)
    with pytest.raises(MemoryError, match=r"fitted arrays of this TCAEstimator .* use backend='numpy'"):
        model.set_params(backend="cupy").transform(X)


def test_one_decision(machine, monkeypatch):
    """A fit goes where `plan` says, whatever its kernel: their work differs."""
    X, y = shifted(300, 20)
    monkeypatch.setenv("SHALLOWDA_DEVICE_FLOPS", str(300 * 300 * 20))
    for kernel, backend in (("linear", "numpy"), ("rbf", "cupy")):
        model = fitted(TCAEstimator(2, kernel=kernel, estimator=NearestCentroid()), X, y)
        assert model.plan_.backend == backend == plan(300, 20, kernel, 2, "float32").backend
        assert bool(machine.to_device > X.nbytes) == (backend == "cupy")


def test_partial_fit_stays_where_there_is_room(machine, auto):
    X, y = shifted(600, 20)
    model, plain = (CORAL(0.1, backend=backend).partial_fit(X, y) for backend in ("auto", "numpy"))
    assert machine.to_device
    machine.memory.total = 2000
    model.partial_fit(X[y == -1]).partial_fit(X[y == -1])
    plain.partial_fit(X[y == -1]).partial_fit(X[y == -1])
    np.testing.assert_allclose(model.transform(X), plain.transform(X), atol=1e-5)


# ------------------------------------------------------------------------------------------------------ what is done


KERNELS = [
    Kernel("rbf", 0.3),
    Kernel("laplacian", 0.1),
    Kernel("poly", 0.2, 3, 0.5),
    Kernel("poly", 0.2, 2.5, 30.0),
    Kernel("sigmoid", 0.05, coef0=-0.2),
    Kernel("cosine"),
    Kernel("linear"),
]


@pytest.mark.parametrize("scale", [1, 30])  # 30: products in float64
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: f"{kernel.name}{kernel.degree}")
def test_kernel_values(kernel, dtype, scale, cupy, monkeypatch):
    monkeypatch.setattr("shallowda.kernels._cupy_pairwise._CHUNK", 1000)
    rng = np.random.default_rng(0)
    X, Y = (scale * rng.uniform(0, 1, size=(n, 7)).astype(dtype) for n in (50, 33))
    X[-1] = X[0]
    for other in (None, Y):
        expected = kernel(X, other)
        values = kernel(cupy.asarray(X), None if other is None else cupy.asarray(other)).get()
        assert values.dtype == dtype
        np.testing.assert_allclose(values, expected, atol=50 * np.finfo(dtype).eps * np.abs(expected).max())
        if other is None:
            np.testing.assert_array_equal(values, values.T)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("name", ["rbf", "poly"])
def test_values_that_are_not_finite(name, wrong, cupy):
    X = np.random.default_rng(0).normal(size=(6, 3))
    X[2, 1] = wrong
    with pytest.raises(ValueError, match="gave NaN or infinite values"):
        Kernel(name, 0.5)(cupy.asarray(X))


def test_a_kernel_matrix_is_finished_in_one_launch(cupy, machine, monkeypatch):
    """And waits for the device a fixed number of times, however large the matrix is."""
    waits = []
    for n in (60, 600):
        X = cupy.asarray(shifted(n, 8)[0])
        seen = []
        with monkeypatch.context() as patch:
            patch.setattr(cupy.ndarray, "__float__", lambda array, seen=seen: seen.append(1) or array.get().item())
            patch.setattr(cupy.ndarray, "__bool__", lambda array, seen=seen: seen.append(1) or array.get().item())
            machine.kernels.clear()
            Kernel("rbf", 0.5)(X)
        assert sum(len(kernel.calls) for kernel in machine.kernels) == 2  # values, and the mirror
        waits.append(len(seen))
    assert waits[0] == waits[1] <= 3


@pytest.mark.parametrize("name", [None, "linear", "rbf"])
def test_sums_of_squares_are_no_products_of_rows(name, machine, cupy, monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError("n products of 1 x d matrices")

    monkeypatch.setattr(cupy, "vecdot", refused, raising=False)
    monkeypatch.setattr(cupy.linalg, "vecdot", refused, raising=False)
    fitted(on_device(TCAEstimator, n_components=2, kernel=name), *shifted(80, 120))


def test_artl_factors_once(machine, cupy, monkeypatch):
    import cupyx.scipy.linalg

    factors, factor = [], cupyx.scipy.linalg.lu_factor
    monkeypatch.setattr(cupyx.scipy.linalg, "lu_factor", lambda *a, **k: factors.append(1) or factor(*a, **k))
    X, y = shifted(200, 10)
    model = fitted(ARTL(kernel="rbf", max_iter=4, backend="cupy"), X, y)
    plain = fitted(ARTL(kernel="rbf", max_iter=4, backend="numpy"), X, y)
    assert len(factors) == 1
    np.testing.assert_allclose(model.dual_coef_, plain.dual_coef_, atol=1e-5 * np.abs(plain.dual_coef_).max())


def test_a_singular_system_is_an_error(machine, cupy):
    X = np.ones((40, 3))
    y = np.where(np.arange(40) < 20, np.arange(40) % 2, -1)
    for loss in ("squared", "hinge"):
        with pytest.raises(ValueError, match="singular to working precision"):
            fitted(ARTL(loss, kernel="poly", gamma=1.0, ridge=1e-300, backend="cupy"), X, y)


def test_the_graph_is_copied_once(machine, cupy, monkeypatch):
    """However many products conjugate gradients make with it."""
    import cupyx.scipy.sparse

    copies, kind = [], cupyx.scipy.sparse.csr_matrix
    monkeypatch.setattr(cupyx.scipy.sparse, "csr_matrix", lambda matrix: copies.append(matrix.shape[0]) or kind(matrix))
    monkeypatch.setattr(planning._Problem, "stored", lambda problem, n: 2**50)
    monkeypatch.setattr(regularised, "_COLUMN_BYTES", 2000)  # products in parts
    X, y = shifted(200, 8)
    model = fitted(ARTL(kernel="rbf", ridge=1.0, backend="cupy"), X, y)
    plain = fitted(ARTL(kernel="rbf", ridge=1.0, backend="numpy"), X, y)
    assert (model.plan_.solver, model.plan_.operator) == ("conjugate gradients", "tiled")
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    assert copies.count(200) <= 4  # the Laplacian, the fixed part, and that of the solver: before, one for each product


def test_the_stand_in_is_what_computes(machine):
    assert planning.cupy_problem() is None
    assert sys.modules["cupy"].ndarray.__module__ == "cupy"


def test_a_device_that_was_full_is_not_given_up(cupy, machine):
    X, y = shifted(300, 8)
    machine.devices[0].total = 0
    assert planning.cupy_problem() is None
    with pytest.raises(MemoryError, match="beyond the input"):
        on_device(TCAEstimator).fit(X, y)
    machine.devices[0].total = 2**33
    assert planning.cupy_problem() is None
    assert fitted(on_device(TCAEstimator), X, y).plan_.backend == "cupy"
