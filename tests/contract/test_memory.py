"""What a fit may take: budgets, kernel matrices that are not stored, landmarks, and rows that stay in a file."""

import os
import subprocess
import sys
import tracemalloc
import warnings
from textwrap import dedent

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.neighbors import NearestCentroid
from sklearn.utils._param_validation import InvalidParameterError

from shallowda import ARTL, CORAL, JDA, TCAEstimator
from shallowda.core.catalogue import representatives
from shallowda.kernels import planning

N, D = 600, 8
KERNEL = {name: method for name, method in representatives().items() if "kernel" in method().get_params()}
MIB = 2**20


def fewer(method):
    """Three components and passes, where it has them."""
    return {name: 3 for name in ("n_components", "max_iter") if name in method().get_params() and method is not ARTL}


@pytest.fixture(params=KERNEL.values(), ids=KERNEL.keys())
def make(request):
    """The method with an RBF kernel."""
    return lambda **params: request.param(**{"kernel": "rbf", **fewer(request.param), **params})


def shifted(n, d, dtype=np.float32):
    """Three classes and a shift, in turns."""
    rng = np.random.default_rng(0)
    truth, target = np.arange(n) % 3, np.arange(n) % 5 >= 3
    X = rng.standard_normal((n, d), dtype=np.float32).astype(dtype)
    X[np.arange(n), truth] += 4
    X[target, 3] += 1
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X, np.where(target, -1, truth)


@pytest.fixture(scope="module")
def rows():
    return shifted(N, D, float)


@pytest.fixture
def no_room(monkeypatch):
    """A budget that takes the Krylov space, or the preconditioner, and not the kernel matrix of `rows` as well."""
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "100")
    monkeypatch.setenv("SHALLOWDA_PRECONDITIONER_COLUMNS", "100")
    monkeypatch.setenv("SHALLOWDA_TILE_BYTES", str(2**18))
    return 5 * 10**6


def maps(model):
    return model.dual_coef_ if hasattr(model, "dual_coef_") else model.components_


# ---------------------------------------------------------------------------------------- a matrix that is not stored


def test_tiles_give_the_result_of_the_matrix(make, rows, no_room):
    X, y = rows
    dense, tiled = make(memory_budget=10**9).fit(X, y), make(memory_budget=no_room).fit(X, y)
    assert dense.plan_.operator == "dense"
    assert tiled.plan_.operator == "tiled"
    assert tiled.plan_.nbytes <= tiled.plan_.budget == no_room
    np.testing.assert_allclose(maps(tiled), maps(dense), atol=1e-6 * np.abs(maps(dense)).max())
    np.testing.assert_array_equal(tiled.predict(X), dense.predict(X))
    if hasattr(dense, "pseudo_labels_"):
        np.testing.assert_array_equal(tiled.pseudo_labels_, dense.pseudo_labels_)


def test_the_hinge_loss_needs_the_matrix(rows, no_room):
    with pytest.raises(ValueError, match=r"hinge loss needs the kernel matrix .* memory_budget.* n_landmarks"):
        ARTL("hinge", kernel="rbf", memory_budget=no_room).fit(*rows)


def test_a_plan_explains_itself(make, rows, no_room):
    text = str(make(memory_budget=no_room).fit(*rows).plan_)
    for part in ("operator  tiled", "backend   numpy", f"the {N} x {N} matrix", "above the budget", "n_landmarks="):
        assert part in text


@pytest.mark.parametrize("kernel", [None, "linear"])
def test_linear_problems_have_plans_too(rows, kernel):
    model = TCAEstimator(3, kernel=kernel).fit(*rows)
    assert model.plan_.operator == "moments"
    assert f"{D} x {D} moments in one pass" in str(model.plan_)


def test_no_budget_is_enough_for_nothing(make, rows):
    with pytest.raises(
        MemoryError, match=r"\d+ bytes\) beyond the input .* memory_budget allows .*\(1000 bytes\)"
    ) as e:
        make(memory_budget=1000).fit(*rows)
    assert "n_landmarks=" in str(e.value)
    with pytest.raises(MemoryError, match="Raise memory_budget, or use fewer"):
        make(memory_budget=1000, kernel="linear").fit(*rows)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_small_problems_need_little(make, rows, kernel):
    make(memory_budget=3 * 10**7, kernel=kernel).fit(*rows)


def test_a_budget_may_be_a_share(make, rows, monkeypatch):
    monkeypatch.setattr(planning, "available_memory", lambda backend: 10**9)
    shares = [make(memory_budget=share).fit(*rows).plan_.budget for share in (0.2, 1.0)]
    assert shares == [2 * 10**8, 10**9]
    with pytest.raises(MemoryError, match="memory_budget"):
        make(memory_budget=1e-12).fit(*rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_budget", 0),
        ("memory_budget", -5),
        ("memory_budget", 1.5),
        ("memory_budget", 0.0),
        ("memory_budget", "1GB"),
        ("n_landmarks", 0),
        ("n_landmarks", 2.5),
        ("n_landmarks", "all"),
        ("backend", "cuda"),
        ("backend", None),
    ],
)
def test_bad_values(make, rows, name, value):
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of "):
        make(**{name: value}).fit(*rows)


def test_budgets_in_the_environment(make, rows, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_MEMORY_BUDGET", "1000")
    with pytest.raises(MemoryError, match=r"\(1000 bytes\)"):
        make().fit(*rows)
    make(memory_budget=10**9).fit(*rows)
    monkeypatch.setenv("SHALLOWDA_MEMORY_BUDGET", "much")
    with pytest.raises(ValueError, match="SHALLOWDA_MEMORY_BUDGET must be a positive number; it is 'much'"):
        make().fit(*rows)


# ------------------------------------------------------------------------------------------------------------ landmarks


def test_every_row_a_landmark_is_exact(make, rows):
    X, y = rows
    exact, approximate = make().fit(X, y), make(n_landmarks=N).fit(X, y)
    assert approximate.kernel_error_ < 1e-8
    np.testing.assert_array_equal(approximate.predict(X), exact.predict(X))
    if not hasattr(exact, "transform"):
        np.testing.assert_allclose(approximate.decision_function(X), exact.decision_function(X), atol=1e-4)
    else:
        expected = exact.transform(X)
        np.testing.assert_allclose(approximate.transform(X), expected, atol=1e-4 * np.abs(expected).max())


def test_landmarks(make, rows):
    X, y = rows
    model, exact = make(n_landmarks=60).fit(X, y), make().fit(X, y)
    assert model.plan_.operator == "nystroem"
    assert 1e-6 < model.kernel_error_ < 0.3
    assert not hasattr(exact, "kernel_error_")
    assert maps(model).shape[1] == 60
    assert model.X_fit_.shape == (60, D)
    assert (model.X_fit_[:, None] == X).all(axis=2).any(axis=1).all()
    assert np.mean(model.predict(X) == exact.predict(X)) > 0.95
    if hasattr(model, "transform"):
        Z = clone(model).fit_transform(X, y)
        np.testing.assert_allclose(model.transform(X), Z, atol=1e-7 * np.abs(Z).max())


def test_more_landmarks_err_less(make, rows):
    errors = [make(n_landmarks=m).fit(*rows).kernel_error_ for m in (20, 60, 200)]
    assert errors[0] > errors[1] > errors[2]


def test_landmarks_of_a_linear_kernel_are_not_needed(make, rows):
    X, y = rows
    model, plain = make(kernel="linear", n_landmarks=20).fit(X, y), make(kernel="linear").fit(X, y)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    assert "n_landmarks is not used" in str(model.plan_)


def test_landmarks_need_rows(make, rows):
    X, y = rows
    with pytest.raises(ValueError, match=r"n_landmarks= needs the rows, and kernel='precomputed' has none"):
        make(kernel="precomputed", n_landmarks=20).fit(X @ X.T, y)


# ----------------------------------------------------------------------------------------------------- rows in a file

LINEAR = {
    "TCA": TCAEstimator(3),
    "TCA linear": TCAEstimator(3, kernel="linear"),
    "JDA": JDA(3, max_iter=3),
    "ARTL": ARTL(manifold_weight=0),
    "CORAL": CORAL(0.1),
}


@pytest.mark.parametrize("name", LINEAR)
def test_rows_in_a_file_are_rows(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_ROW_BLOCK_BYTES", str(2**17))  # several blocks
    X, y = shifted(3000, D)
    X.tofile(tmp_path / "rows")
    there = np.memmap(tmp_path / "rows", dtype=np.float32, mode="r", shape=X.shape)
    model, plain = clone(LINEAR[name]).fit(there, y), clone(LINEAR[name]).fit(X, y)
    assert np.mean(model.predict(there) == plain.predict(X)) > 0.999  # products of a file's rows may round otherwise
    for attribute in ("components_", "coef_"):
        if hasattr(plain, attribute):
            expected = getattr(plain, attribute)
            np.testing.assert_allclose(getattr(model, attribute), expected, atol=1e-5 * np.abs(expected).max())
            assert type(getattr(model, attribute)) is np.ndarray
    if hasattr(plain, "transform"):
        Z = model.transform(there)
        assert type(Z) is np.ndarray
        np.testing.assert_allclose(Z, plain.transform(X), atol=1e-4 * np.abs(Z).max())


@pytest.mark.parametrize("name", ["TCA", "TCA linear", "JDA"])
def test_blocks_do_not_matter(name, monkeypatch):
    X, y = shifted(3000, D)
    plain = clone(LINEAR[name]).fit(X, y)
    monkeypatch.setenv("SHALLOWDA_ROW_BLOCK_BYTES", str(2**15))
    blocks = clone(LINEAR[name]).fit(X, y)
    np.testing.assert_allclose(blocks.components_, plain.components_, atol=1e-6)


def peak(model, X, y):
    """Most bytes that are held at a time while a model is fitted, beyond what was there."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def many():
    """60,000 float32 rows of 64 features, 15 MiB: their kernel matrix would take 13 GiB."""
    return shifted(60_000, 64)


@pytest.mark.parametrize(
    "model",
    [
        TCAEstimator(3, estimator=NearestCentroid()),
        TCAEstimator(3, kernel="linear", estimator=NearestCentroid()),
        JDA(3, max_iter=3, estimator=NearestCentroid()),
    ],
    ids=["TCA", "TCA linear", "JDA"],
)
def test_linear_methods_stream(model, many, monkeypatch):
    X, y = many
    monkeypatch.setenv("SHALLOWDA_ROW_BLOCK_BYTES", str(MIB))
    taken = peak(model, X, y)
    results = 3 * X.itemsize * len(X)
    assert taken < model.plan_.nbytes + 16 * results  # embeddings and labels, some copies
    assert taken < X.nbytes  # float32, and not even another copy of it


@pytest.mark.parametrize("method", [TCAEstimator, JDA])
def test_tiles_take_about_what_is_planned(method, monkeypatch):
    X, y = shifted(3000, D, float)
    monkeypatch.setenv("SHALLOWDA_TILE_BYTES", str(MIB))
    model = method(3, kernel="rbf", gamma=1.0, memory_budget=32 * MIB, estimator=NearestCentroid())
    taken = peak(model, X, y)
    assert model.plan_.operator == "tiled"
    assert taken < 1.5 * model.plan_.nbytes
    assert taken < 8 * len(X) ** 2 / 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ridge", [0.1, 1e-7])  # 1e-7: float32 factors do not do
@pytest.mark.parametrize(("loss", "kernel"), [("squared", "rbf"), ("hinge", "rbf"), ("squared", "linear")])
def test_artl_takes_what_is_planned(loss, kernel, ridge, dtype):
    X, y = shifted(700, D, dtype)
    model = ARTL(loss, kernel=kernel, ridge=ridge, backend="numpy")
    model.fit(X, y)  # what modules take when they are imported
    taken = peak(model, X, y)
    assert taken < 1.1 * model.plan_.nbytes


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="anonymous memory is read from /proc")
@pytest.mark.parametrize("model", ["JDA(8, max_iter=3, estimator=base)", "TCAEstimator(8, estimator=base)"])
def test_a_file_is_not_copied_into_memory(model, tmp_path):
    n, d = 300_000, 128
    X = np.memmap(tmp_path / "rows", dtype=np.float32, mode="w+", shape=(n, d))
    for start in range(0, n, 30_000):
        X[start : start + 30_000], y = shifted(30_000, d)
    X.flush()
    y = np.tile(y, n // 30_000)
    code = f"""
        import threading
        import numpy as np
        from sklearn.neighbors import NearestCentroid
        from shallowda import JDA, TCAEstimator, pack_domains
        X = np.memmap({str(tmp_path / "rows")!r}, dtype=np.float32, mode="r", shape=({n}, {d}))
        y = np.load({str(tmp_path / "y.npy")!r})
        base = NearestCentroid()
        JDA(2, max_iter=1, estimator=base).fit(np.array(X[:3000]), y[:3000])  # what the libraries themselves take

        def anonymous():
            with open("/proc/self/status") as status:
                return next(1024 * int(line.split()[1]) for line in status if line.startswith("RssAnon"))

        before, most, done = anonymous(), 0, threading.Event()

        def watch():
            global most
            while not done.wait(0.005):
                most = max(most, anonymous())

        watcher = threading.Thread(target=watch)
        watcher.start()
        {model}.fit(X, y)
        done.set()
        watcher.join()
        print(most - before)
    """
    np.save(tmp_path / "y.npy", y)
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-c", dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
    assert result.returncode == 0, result.stderr
    taken = int(result.stdout)
    assert 0 < taken < 1.5 * 4 * n * d  # what was asked to be at work, two float64 blocks of 64 MiB, and embeddings
    assert taken < 0.75 * 8 * n * d  # the float64 copy that is not made
