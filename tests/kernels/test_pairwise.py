import os
import subprocess
import sys

import array_api_strict
import joblib
import numba
import numpy as np
import pytest
from forking import IN_CHILD
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from sklearn.gaussian_process.kernels import RBF
from sklearn.metrics.pairwise import laplacian_kernel, pairwise_kernels, polynomial_kernel

from shallowda.kernels import _jit_pairwise as jit
from shallowda.kernels import pairwise
from shallowda.kernels.arrays import to_numpy
from shallowda.kernels.pairwise import KERNELS, Kernel, median_gamma

X = np.random.RandomState(0).randn(30, 4)
ROWS = np.random.RandomState(1).rand(203, 7)  # not negative, for chi2; no multiple of a tile
COLUMNS = np.random.RandomState(2).rand(66, 7)

GENERAL = sorted(set(KERNELS) - {"chi2", "additive_chi2"})
ONE_ON_THE_DIAGONAL = ("rbf", "laplacian", "chi2")


def on_device(array):
    return array_api_strict.asarray(array, device=array_api_strict.Device("device1"))


def truth(kernel, A, B=None):
    """scikit-learn's values in float64."""
    named = {"degree": kernel.degree, "coef0": kernel.coef0}
    if kernel.gamma is not None:
        named["gamma"] = kernel.gamma
    B = None if B is None else B.astype(np.float64)
    return pairwise_kernels(A.astype(np.float64), B, metric=kernel.name, filter_params=True, **named)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(pairwise, "_CACHED", 1)
    monkeypatch.setattr(pairwise, "_CHUNK", 1)


@pytest.mark.parametrize("gamma", [None, 0.7])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_values_are_those_of_scikit_learn(name, gamma, dtype, rtol, small_blocks):
    kernel = Kernel(name, gamma=gamma, degree=3, coef0=0.5)
    A, B = ROWS.astype(dtype), COLUMNS.astype(dtype)
    for K, expected in [(kernel(A), truth(kernel, A)), (kernel(A, B), truth(kernel, A, B))]:
        assert K.dtype == dtype
        np.testing.assert_allclose(K, expected, rtol=rtol, atol=rtol / 100)


@pytest.mark.parametrize("name", KERNELS)
def test_symmetric_and_diagonal(name, small_blocks):
    for dtype in (np.float32, np.float64):
        A = ROWS.astype(dtype)
        K, diagonal = Kernel(name)(A), Kernel(name).diagonal(A)
        np.testing.assert_array_equal(K, K.T)
        assert diagonal.dtype == dtype
        np.testing.assert_allclose(diagonal, np.diag(K), rtol=1e-6)
        if name in ONE_ON_THE_DIAGONAL:
            assert (np.diag(K) == 1).all()
    with_itself = Kernel(name)(ROWS, ROWS)  # one array twice is known for what it is
    np.testing.assert_array_equal(with_itself, with_itself.T)
    np.testing.assert_allclose(with_itself, Kernel(name)(ROWS), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (9, 1), (2, 3)])
def test_few_rows_and_columns(name, shape):
    A = np.random.RandomState(3).rand(*shape)
    np.testing.assert_allclose(Kernel(name)(A), truth(Kernel(name), A), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(Kernel(name)(A, A[:1]), truth(Kernel(name), A, A[:1]), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", KERNELS)
def test_layouts_are_taken_as_they_are_and_not_written_to(name):
    expected = truth(Kernel(name), ROWS, COLUMNS), truth(Kernel(name), ROWS)
    wide = np.zeros((2 * len(ROWS), 14))
    wide[::2, ::2] = ROWS
    readonly = ROWS.copy()
    readonly.flags.writeable = False
    for A in (np.asfortranarray(ROWS), wide[::2, ::2], readonly, ROWS.astype(">f8")):
        before = A.tobytes()
        np.testing.assert_allclose(Kernel(name)(A, COLUMNS), expected[0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(Kernel(name)(A), expected[1], rtol=1e-12, atol=1e-14)
        assert A.tobytes() == before


def test_degrees_and_parameters():
    for degree in (0, 1, 1.5, 2, 5, 11):
        kernel = Kernel("poly", gamma=0.3, degree=degree, coef0=2)
        np.testing.assert_allclose(kernel(ROWS), truth(kernel, ROWS), rtol=1e-12)
    np.testing.assert_allclose(Kernel("laplacian", gamma=0.3)(X), laplacian_kernel(X, gamma=0.3))
    expected = polynomial_kernel(X, X[:5], degree=2, gamma=0.1, coef0=2)
    np.testing.assert_allclose(Kernel("poly", gamma=0.1, degree=2, coef0=2)(X, X[:5]), expected)
    assert Kernel("rbf", gamma=2.0) == Kernel("rbf", gamma=2.0)


def test_integers_lists_and_mixed_dtypes_are_float64():
    counts = np.random.RandomState(4).randint(0, 5, (12, 3))
    for given_rows in (counts, counts.tolist(), counts.astype(np.float16)):
        K = Kernel("chi2")(given_rows)
        assert K.dtype == np.float64
        np.testing.assert_allclose(K, truth(Kernel("chi2"), counts), rtol=1e-12)
    assert Kernel("rbf")(X.astype(np.float32), X).dtype == np.float64


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 2e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_rbf_keeps_its_digits_far_from_the_origin(dtype, atol, symmetric):
    far = (ROWS + 1000).astype(dtype)
    expected = np.exp(-cdist(far.astype(np.float64), far.astype(np.float64), "sqeuclidean"))
    K = Kernel("rbf", gamma=1.0)(far, None if symmetric else far.copy())
    np.testing.assert_allclose(K, expected, atol=atol)


@pytest.mark.parametrize("gamma", [1e-3, 0.1, 1.0, 10.0, 1e4])
@pytest.mark.parametrize("columns", [None, 40])
def test_float32_rbf_against_float64(gamma, columns, small_blocks):
    """Near duplicates in a wide cloud: the distances that products in float32 lose are taken in float64."""
    rng = np.random.RandomState(5)
    rows = rng.randn(150, 50).astype(np.float32)
    rows[75:] = rows[:75] + np.float32(1e-2 / np.sqrt(gamma + 1)) * rng.randn(75, 50).astype(np.float32)
    Y = None if columns is None else rows[-columns:].copy()
    K = Kernel("rbf", gamma=gamma)(rows, Y)
    exact = np.exp(-gamma * cdist(rows.astype(float), (rows if Y is None else Y).astype(float), "sqeuclidean"))
    assert K.dtype == np.float32
    assert np.abs(K - exact).max() < 1e-5
    if Y is None:
        np.testing.assert_array_equal(K, K.T)
        assert (np.diag(K) == 1).all()


def test_duplicated_and_zero_rows():
    doubled = np.vstack([ROWS[:40], ROWS[:40], np.zeros((2, 7))])
    for name in KERNELS:
        K = Kernel(name)(doubled)
        np.testing.assert_allclose(K, truth(Kernel(name), doubled), rtol=1e-12, atol=1e-14)
        assert name not in ONE_ON_THE_DIAGONAL or K.max() == 1
    assert (Kernel("cosine")(doubled)[-1] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KERNELS), st.integers(1, 70), st.integers(1, 9), st.integers(0, 2**31 - 1), st.floats(1e-3, 1e3))
def test_columns_of_the_symmetric_matrix(name, n, d, seed, scale):
    A = scale * np.random.RandomState(seed).rand(n, d)
    np.testing.assert_allclose(Kernel(name, gamma=0.1 / scale**2)(A), Kernel(name, gamma=0.1 / scale**2)(A, A.copy()))


@pytest.mark.parametrize("name", GENERAL)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_other_libraries(name, dtype, rtol, small_blocks):
    A, B = ROWS[:70].astype(dtype), COLUMNS.astype(dtype)
    for gamma in (None, 30.0):
        kernel = Kernel(name, gamma=gamma, coef0=0.5)
        for K, expected in [
            (kernel(on_device(A)), truth(kernel, A)),
            (kernel(on_device(A), on_device(B)), truth(kernel, A, B)),
        ]:
            assert K.device == array_api_strict.Device("device1")
            assert to_numpy(K).dtype == dtype
            np.testing.assert_allclose(to_numpy(K), expected, rtol=rtol, atol=rtol / 10)
        np.testing.assert_allclose(to_numpy(kernel.diagonal(on_device(A))), kernel.diagonal(A), rtol=1e-6)
    K = to_numpy(Kernel(name)(on_device(A)))
    np.testing.assert_array_equal(K, K.T)


@pytest.mark.parametrize("name", ["chi2", "additive_chi2", np.dot])
def test_numpy_only(name):
    with pytest.raises(ValueError, match="is computed for NumPy arrays only"):
        Kernel(name)(on_device(ROWS))


def test_callable_with_parameters():
    kernel = Kernel(lambda a, b, power: np.dot(a, b) ** power, params={"power": 2})
    np.testing.assert_allclose(kernel(X, X[:3]), (X @ X[:3].T) ** 2)
    np.testing.assert_allclose(kernel.diagonal(X), np.diag(kernel(X)))
    assert kernel(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(Kernel(RBF(1.0))(X), Kernel("rbf", gamma=0.5)(X))


def test_callables_that_take_no_rows():
    for function in (polynomial_kernel, lambda a: 0.0, lambda a, b: a):
        with pytest.raises(ValueError, match=r"A callable kernel takes two rows \(1-D arrays\)"):
            Kernel(function)(X)


def test_refusals():
    with pytest.raises(ValueError, match="There is no kernel 'gauss'"):
        Kernel("gauss")
    with pytest.raises(ValueError, match="gamma is a width and must not be negative"):
        Kernel("rbf", gamma=-1.0)
    with pytest.raises(ValueError, match=r"same number of columns; got \(30, 4\) and \(203, 7\)"):
        Kernel("rbf")(X, ROWS)
    with pytest.raises(ValueError, match="2-D arrays of rows"):
        Kernel("rbf")(X[0])
    for rows, columns in [(X, None), (np.abs(X), X)]:
        with pytest.raises(ValueError, match="must not contain negative values"):
            Kernel("chi2")(rows, columns)


def test_values_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="kernel='poly' gave NaN or infinite"):
        Kernel("poly", gamma=1.0, degree=3)(1e200 * X)
    with pytest.raises(ValueError, match="kernel='poly' gave NaN or infinite"):
        Kernel("poly", gamma=1.0).diagonal(1e200 * X)
    with pytest.raises(ValueError, match="gave NaN or infinite"):
        Kernel(lambda a, b: np.inf)(X)
    holed = ROWS.copy()
    holed[-1, -1] = np.nan
    for name in KERNELS:
        for columns in (None, COLUMNS):
            with pytest.raises(ValueError, match=f"kernel='{name}' gave NaN or infinite"):
                Kernel(name)(holed, columns)


def test_median_rule():
    for rows in (X, on_device(X), X.astype(np.float32)):
        assert median_gamma(rows, "rbf") == pytest.approx(1 / np.median(pdist(X, "sqeuclidean")))
        assert median_gamma(rows, "laplacian") == pytest.approx(1 / np.median(pdist(X, "cityblock")))
        assert median_gamma(rows, "poly") == pytest.approx(1 / np.median((X**2).sum(axis=1)))
        assert median_gamma(rows, "cosine") is None
    assert median_gamma(X + 1e6, "rbf") == pytest.approx(1 / np.median(pdist(X, "sqeuclidean")))
    assert median_gamma(X, np.dot) is None


def test_duplicates_do_not_count():
    doubled = np.vstack([X] * 40)
    assert median_gamma(doubled[:120], "rbf") == pytest.approx(median_gamma(X, "rbf"), rel=0.05)


def positive_median(distances):
    return np.median(distances[distances > 0])


def with_copies(rng, share, n=240, d=6):
    """Rows of which a share are copies of a few."""
    rows = rng.randn(n, d) * 10.0 ** rng.uniform(-2, 2, d) + rng.randn(d)
    few = rng.randint(3, size=n)
    return np.where(rng.rand(n, 1) < share, rows[few], rows)


@pytest.mark.parametrize("share", [0.5, 0.85, 0.97])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_copies_do_not_count_however_many(share, dtype):
    for seed in range(10):
        rows = with_copies(np.random.RandomState(seed), share).astype(dtype)
        exact = rows.astype(np.float64)
        for name, metric in (("rbf", "sqeuclidean"), ("laplacian", "cityblock")):
            expected = 1 / positive_median(pdist(exact, metric))
            assert median_gamma(rows, name) == pytest.approx(expected, rel=1e-5 if dtype == np.float32 else 1e-7)


def test_rows_that_are_copies_but_for_round_off_do_not_count():
    """As a product leaves them, or imputed values after standardisation."""
    rng = np.random.RandomState(0)
    rows = with_copies(rng, 0.9)
    moved = rows * (1 + 2e-16 * rng.choice([-1, 0, 1], rows.shape))
    for name in ("rbf", "laplacian"):
        assert median_gamma(moved, name) == pytest.approx(median_gamma(rows, name), rel=1e-6)
    zero = np.r_[rng.randn(40, 6), np.zeros((200, 6))]
    imputed = zero + 1e-17 * rng.randn(*zero.shape)
    for name in ("poly", "sigmoid"):
        assert median_gamma(zero, name) == pytest.approx(1 / np.median((zero[:40] ** 2).sum(axis=1)))
        assert median_gamma(imputed, name) == pytest.approx(median_gamma(zero, name))


def test_close_rows_do_count():
    """A sensor at rest that still moves a little: distances that products do not resolve."""
    rng = np.random.RandomState(0)
    rows = 1e-9 * rng.randn(240, 4) + np.where(rng.rand(240, 1) < 0.9, 1.0, rng.randn(240, 4))
    assert median_gamma(rows, "rbf") == pytest.approx(1 / positive_median(pdist(rows, "sqeuclidean")), rel=1e-6)


@pytest.mark.parametrize(("dtype", "scales"), [(np.float64, (1e-130, 1e111)), (np.float32, (1e-20, 1e19))])
def test_the_unit_of_the_features_is_no_matter(dtype, scales):
    rows = np.random.RandomState(0).randn(100, 3).astype(dtype)
    for name, degree in (("rbf", 2), ("laplacian", 1), ("poly", 2), ("sigmoid", 2)):
        for scale in scales:
            expected = median_gamma(rows, name) / np.float64(scale) ** degree
            assert median_gamma(rows * dtype(scale), name) == pytest.approx(expected, rel=1e-5)
    for scale in (1e-160, 1e160):
        with pytest.raises(ValueError, match=r"features of X.*Scale the features"):
            median_gamma(scale * X, "rbf")


def test_a_sample_of_copies_is_not_taken_for_all_rows():
    rows = np.ones((50_000, 2))
    rows[-1] = 3.0
    for given_rows in (rows, on_device(rows)):
        assert median_gamma(given_rows, "rbf") == pytest.approx(1 / 8)


def test_many_rows_are_sampled_without_the_global_generator():
    state = np.random.get_state()[1].copy()
    rows = np.random.RandomState(1).randn(5000, 2)
    assert median_gamma(rows, "rbf") == pytest.approx(1 / (4 * np.log(2)), rel=0.1)
    assert median_gamma(on_device(rows), "rbf") == pytest.approx(median_gamma(rows, "rbf"), rel=1e-12)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_identical_rows_have_no_median_distance():
    with pytest.raises(ValueError, match="gamma='median' needs rows that differ"):
        median_gamma(np.ones((5, 2)), "rbf")


@pytest.mark.parametrize("chi2", [False, True])
def test_numba_functions_as_python(chi2, monkeypatch):
    """The lines themselves, uncompiled, so that coverage sees them."""
    A, B = ROWS[:70], COLUMNS[:35]
    compiled, python = np.zeros((70, 35)), np.zeros((70, 35))
    (jit.chi_squared if chi2 else jit.absolute_differences)(A, B, compiled)
    for name in ("_absolute", "_chi2", "_chi2_term", "_tile"):
        monkeypatch.setattr(jit, name, getattr(jit, name).py_func)
    expected = -Kernel("additive_chi2")(A) if chi2 else cdist(A, A, "cityblock")
    for pair_sums in (jit._pair_sums, jit._pair_sums_alone):
        python[:] = 0
        pair_sums.py_func(A, B, python, False, chi2)
        np.testing.assert_allclose(python, compiled, rtol=1e-12)
        upper = np.zeros((70, 70))
        pair_sums.py_func(A, A, upper, True, chi2)
        np.testing.assert_allclose(np.triu(upper), np.triu(expected), rtol=1e-12, atol=1e-15)


def test_number_of_threads_is_respected():
    expected = Kernel("laplacian")(ROWS)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        np.testing.assert_array_equal(Kernel("laplacian")(ROWS), expected)
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)


def test_one_thread_within_a_joblib_worker():
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        assert joblib.Parallel()(joblib.delayed(numba.get_num_threads)() for _ in range(2)) == [1, 1]


def test_python_threads_may_meet_in_numba():
    expected = Kernel("laplacian")(ROWS)
    found = joblib.Parallel(4, backend="threading")(joblib.delayed(Kernel("laplacian"))(ROWS) for _ in range(8))
    for K in found:
        np.testing.assert_array_equal(K, expected)


FORKING = """
import multiprocessing, sys, threading, time
import numpy as np
from shallowda.kernels.pairwise import Kernel

A = np.random.default_rng(0).random((203, 7))
B = A[:66].astype(np.float32)
kernels = Kernel("laplacian"), Kernel("chi2")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(
    "code",
    [
        # kernels before the fork, in the child, and in a child of that
        """
expected = [kernel(*rows) for kernel in kernels for rows in ((A,), (A, A[:9]), (B,))]

def same():
    found = [kernel(*rows) for kernel in kernels for rows in ((A,), (A, A[:9]), (B,))]
    for K, as_before in zip(found, expected, strict=True):
        np.testing.assert_allclose(K, as_before, rtol=1e-6 if K.dtype == np.float32 else 1e-13)

in_child(lambda: (same(), in_child(same)))
same()
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map_async(kernels[0], [A, A]).get(300)
np.testing.assert_allclose(found, [expected[0]] * 2, rtol=1e-13)
""",
        # threads that a program of Numba's own started
        """
import numba

@numba.njit(parallel=True)
def double(a):
    return 2 * a

double(A)
assert "shallowda.kernels._jit_pairwise" not in sys.modules
in_child(lambda: kernels[0](A))
""",
        # a thread is in the functions, and imports, while another one forks
        """
import shallowda
from shallowda.kernels import _jit_pairwise as jit

held = threading.Event()

def hold():
    with jit._LOCK, shallowda._first_import:
        held.set()
        time.sleep(0.5)

holder = threading.Thread(target=hold)
holder.start()
held.wait()
in_child(lambda: (kernels[0](A), shallowda.CORAL))
holder.join()
kernels[0](A)
""",
    ],
    ids=["used", "numba", "locked"],
)
def test_a_forked_process_computes_the_same(code):
    subprocess.run([sys.executable, "-c", IN_CHILD + FORKING + code], check=True, timeout=600)


def test_products_do_without_numba():
    code = (
        "import sys, numpy as np; from shallowda.kernels.pairwise import Kernel; "
        "Kernel('rbf')(np.eye(3)); assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
