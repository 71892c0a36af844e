import math
import tracemalloc

import array_api_strict
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shallowda.kernels.arrays import namespace, to_numpy
from shallowda.kernels.operators import DenseGram, FactoredGram, LowRankPlusDiagonal, Nystroem, TiledGram
from shallowda.kernels.pairwise import Kernel

RBF = Kernel("rbf", gamma=0.05)


def data(n=90, d=6, dtype=np.float64, seed=0):
    return np.random.RandomState(seed).randn(n, d).astype(dtype)


def read_only(X, tmp_path):
    X = X.copy()
    X.flags.writeable = False
    return X


def memory_mapped(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


KINDS = {
    "array": lambda X, tmp_path: X,
    "read-only": read_only,
    "Fortran": lambda X, tmp_path: np.asfortranarray(X),
    "memory-mapped": memory_mapped,
    "other device": lambda X, tmp_path: array_api_strict.asarray(X, device=array_api_strict.Device("device1")),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


class Contract:
    """What every operator must do, against its dense truth. A subclass says how it is made and what it stands for."""

    accuracy = 100

    def make(self, X):
        raise NotImplementedError

    def truth(self, X):
        raise NotImplementedError

    @pytest.fixture
    def setting(self, kind, dtype, tmp_path):
        """The operator, its dense matrix, a conversion to its arrays, and a comparison."""
        X = data(dtype=dtype)
        K = self.truth(X.astype(float))
        atol = self.accuracy * np.finfo(dtype).eps * np.abs(K).max()

        def close(actual, expected, scale=1.0):
            assert namespace(actual) is (array_api_strict if kind == "other device" else np)
            assert actual.dtype == getattr(namespace(actual), np.dtype(dtype).name)
            np.testing.assert_allclose(to_numpy(actual), expected, rtol=0, atol=scale * atol)

        convert = KINDS["other device"] if kind == "other device" else KINDS["array"]
        return self.make(KINDS[kind](X, tmp_path)), K, lambda B: convert(B, tmp_path), close

    def test_shape_and_dtype(self, setting):
        operator, K, _, _ = setting
        assert operator.shape == K.shape
        assert operator.dtype == operator.diagonal().dtype

    @pytest.mark.parametrize("width", [0, 1, 7])
    def test_product(self, setting, dtype, width):
        operator, K, convert, close = setting
        B = np.random.RandomState(1).randn(len(K), width).astype(dtype)
        close(operator @ convert(B), K @ B, scale=len(K))

    def test_the_block_takes_the_dtype_of_the_operator(self, setting):
        operator, K, convert, close = setting
        for of_block in (np.float32, np.float64):
            B = np.ones((len(K), 2), dtype=of_block)
            close(operator @ convert(B), K @ B, scale=len(K))

    def test_diagonal(self, setting):
        operator, K, _, close = setting
        close(operator.diagonal(), np.diag(K))

    @pytest.mark.parametrize("index", [[], [4], [11, 2, 2, 89]])
    def test_columns(self, setting, index):
        operator, K, convert, close = setting
        close(operator.columns(index), K[:, index])
        close(operator.columns(convert(np.array(index, dtype=np.int64))), K[:, index])

    def test_symmetric(self, setting, dtype):
        operator, K, convert, _ = setting
        B, C = np.random.RandomState(2).randn(2, len(K), 3).astype(dtype)
        left = to_numpy(convert(C)).T @ to_numpy(operator @ convert(B))
        right = to_numpy(operator @ convert(C)).T @ B
        np.testing.assert_allclose(left, right, atol=100 * len(K) * np.finfo(dtype).eps * np.abs(K).max())

    def test_a_block_of_another_shape_is_refused(self, setting):
        operator, _, convert, _ = setting
        for shape in [(89, 2), (90,)]:
            with pytest.raises(ValueError, match=r"A block of shape \(90, b\) is needed"):
                operator @ convert(np.ones(shape))

    def test_whole_numbers_are_refused(self):
        with pytest.raises(TypeError, match="must be float32 or float64; its dtype is int64"):
            self.make(np.ones((90, 6), dtype=np.int64))

    def test_its_bytes_are_what_it_holds(self, dtype):
        X = data(3000, dtype=dtype)
        self.make(X)
        tracemalloc.start()
        operator = self.make(X)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert held <= operator.nbytes + 30_000  # objects and lists
        assert operator.nbytes <= 1.1 * held + self.works_with(X)

    def works_with(self, X):
        """Bytes that are counted and not held anew."""
        return 0


class TestDenseGram(Contract):
    def make(self, X):
        return DenseGram(X @ X.T)

    def truth(self, X):
        return X @ X.T

    def test_not_square(self):
        with pytest.raises(ValueError, match="K must be a square matrix; it is of shape"):
            DenseGram(np.ones((3, 2)))


class TestFactoredGram(Contract):
    def make(self, X):
        return FactoredGram(X)

    def truth(self, X):
        return X @ X.T


class TestTiledGram(Contract):
    """Tiles of unequal sizes."""

    def make(self, X):
        return TiledGram(X, RBF, tile_bytes=30_000)

    def truth(self, X):
        return RBF(X)

    def works_with(self, X):
        return 30_000


class TestTiledGramLessAConstant(TestTiledGram):
    def make(self, X):
        return TiledGram(X, RBF, tile_bytes=30_000, constant=0.3)

    def truth(self, X):
        return RBF(X) - 0.3


class TestNystroem(Contract):
    accuracy = 1000  # the inverse root of K_LL divides by small eigenvalues

    def make(self, X):
        return Nystroem(X, RBF, 12)

    def truth(self, X):
        K, chosen = RBF(X), Nystroem(X, RBF, 12).index
        return K[:, chosen] @ np.linalg.solve(K[np.ix_(chosen, chosen)], K[chosen])


class TestLowRankPlusDiagonal(Contract):
    g = 0.7

    def make(self, X):
        return LowRankPlusDiagonal(X, self.g)

    def truth(self, X):
        return X @ X.T + np.diag(np.broadcast_to(self.g, len(X)))

    def works_with(self, X):
        return X.nbytes  # V, which is held but was there before


class TestLowRankPlusVector(TestLowRankPlusDiagonal):
    def make(self, X):
        g = self.vector(X.shape[0])
        return LowRankPlusDiagonal(X, g if isinstance(X, np.ndarray) else namespace(X).asarray(g, device=X.device))

    def truth(self, X):
        return X @ X.T + np.diag(self.vector(len(X)))

    @staticmethod
    def vector(n):
        return np.linspace(0.1, 2, n)


def peak(function):
    function()
    tracemalloc.start()
    result = function()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most - result.nbytes


@pytest.mark.parametrize("kernel", [RBF, Kernel("rbf", gamma=3.0), Kernel("cosine")])
@pytest.mark.parametrize(("n", "d"), [(700, 6), (2800, 6), (1000, 200)])
def test_tiles_work_within_their_bytes_whatever_n(n, d, dtype, kernel):
    """Also where the kernel computes in float64 for float32 rows (a narrow RBF)."""
    tile_bytes = 1_000_000
    operator = TiledGram(data(n, d, dtype=dtype), kernel, tile_bytes=tile_bytes)
    B = np.ones((n, 1), dtype=dtype)
    assert 0.5 * tile_bytes < operator.nbytes <= tile_bytes
    assert 0.1 * tile_bytes < peak(lambda: operator @ B) <= tile_bytes
    assert peak(lambda: operator.columns(np.arange(10))) <= tile_bytes


def test_a_tile_is_at_least_one_row():
    B = data(20, 3, seed=1)
    np.testing.assert_allclose(TiledGram(data(20), RBF, tile_bytes=0) @ B, RBF(data(20)) @ B)


def test_each_tile_is_computed_once():
    calls = []

    class Counting(Kernel):
        def __call__(self, X, Y=None):
            calls.append(len(X) * len(X if Y is None else Y))
            return super().__call__(X, Y)

    TiledGram(data(), Counting("rbf"), tile_bytes=30_000) @ np.ones((90, 2))
    assert len(calls) > 3
    assert 90 * 91 / 2 <= sum(calls) < 0.75 * 90**2


def test_nystroem_with_all_rows_is_the_kernel():
    X = data()
    for m in (90, 1000):
        operator = Nystroem(X, RBF, m)
        np.testing.assert_array_equal(operator.index, np.arange(90))
        np.testing.assert_allclose(operator.columns(np.arange(90)), RBF(X), atol=1e-11)
        assert operator.error() < 1e-11


def test_nystroem_is_exact_where_the_kernel_has_no_more_rank():
    X = data()
    operator = Nystroem(X, Kernel("linear"), 20)
    assert operator.features.shape == (90, 6)
    np.testing.assert_allclose(operator.columns(np.arange(90)), X @ X.T, atol=1e-11)
    nothing = Nystroem(np.zeros((9, 2)), Kernel("linear"), 4)
    assert nothing.features.shape == (9, 0)
    assert nothing.error() == 0


def test_error_falls_with_the_landmarks_and_is_the_dense_figure():
    X, errors = data(400), []
    K = RBF(X)
    for m in (10, 40, 160):
        operator = Nystroem(X, RBF, m, random_state=3)
        errors.append(operator.error())
        others = np.random.RandomState(3).permutation(400)[m:][:100]
        assert not np.isin(others, operator.index).any()
        residual = (K - operator.features @ operator.features.T)[:, others]
        assert errors[-1] == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(K[:, others]))
    assert 0.5 > errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_nystroem_never_exceeds_the_kernel():
    X = data()
    Z = Nystroem(X, RBF, 15).features
    assert np.linalg.eigvalsh(RBF(X) - Z @ Z.T).min() > -1e-12


def test_features_of_new_rows(dtype):
    X, new = data(dtype=dtype), data(7, dtype=dtype, seed=5)
    operator = Nystroem(X, RBF, 30)
    np.testing.assert_array_equal(operator.landmarks, X[operator.index])
    rounding = TestNystroem.accuracy * np.finfo(dtype).eps  # BLAS owes the same sums, not the same order in them
    np.testing.assert_allclose(operator.features_of(X), operator.features, atol=rounding * abs(operator.features).max())
    assert operator.features_of(new).dtype == dtype
    # with a landmark, the products are the kernel's own values
    expected = RBF(new.astype(float), operator.landmarks.astype(float))
    products = operator.features_of(new) @ operator.features[operator.index].T
    np.testing.assert_allclose(products, expected, atol=1e-10 if dtype == np.float64 else 1e-3)


def test_landmarks_are_drawn_without_the_global_generator():
    before = np.random.get_state()[1].copy()
    first, again, other = (Nystroem(data(), RBF, 20, random_state=seed).index for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == 20
    assert set(first) != set(other)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    with pytest.raises(ValueError, match="n_landmarks must be at least 1; it is 0"):
        Nystroem(data(), RBF, 0)


def test_nystroem_by_blocks_of_rows(monkeypatch):
    whole = Nystroem(data(), RBF, 20)
    monkeypatch.setattr("shallowda.kernels.operators.TILE_BYTES", 3000)
    pieces = Nystroem(data(), RBF, 20)
    np.testing.assert_allclose(pieces.features, whole.features, atol=1e-13)
    assert pieces.error() == pytest.approx(whole.error())


def check_inverse_root(V, g):
    """``F^T (V V^T + diag(g)) F = I``, to the accuracy that V itself allows, and adjoint is F^T."""
    m = len(V)
    root = LowRankPlusDiagonal(V, g).inverse_root()
    F = root.apply(np.eye(m))
    roots = np.sqrt(np.broadcast_to(g, m))
    half = np.vstack([V.T @ F, roots[:, None] * F])
    # one relative round-off in V moves V^T F by eps times its size over the root of g
    condition = 1.0 + np.linalg.norm(V / roots[:, None])
    np.testing.assert_allclose(half.T @ half, np.eye(m), atol=20 * m * np.finfo(float).eps * condition)
    np.testing.assert_allclose(root.adjoint(np.eye(m)), F.T, atol=1e-13 * np.abs(F).max())


@settings(deadline=None, max_examples=60)
@given(
    m=st.integers(1, 25),
    r=st.integers(0, 6),
    scale=st.floats(-8, 5),
    ridge=st.floats(-12, 3),
    spread=st.one_of(st.none(), st.floats(0, 4)),
    seed=st.integers(0, 2**31),
)
@example(m=20, r=3, scale=3, ridge=-12, spread=None, seed=0)
@example(m=20, r=3, scale=-300, ridge=0, spread=None, seed=0)
@example(m=3, r=6, scale=0, ridge=0, spread=1.0, seed=0)
def test_inverse_root(m, r, scale, ridge, spread, seed):
    rng = np.random.RandomState(seed)
    g = 10.0**ridge if spread is None else 10.0 ** (ridge + spread * rng.rand(m))
    check_inverse_root(10.0**scale * rng.randn(m, r), g)


def test_inverse_root_of_parallel_columns():
    check_inverse_root(np.outer(np.arange(1.0, 9), [1, 2, 1e-9]), 1e-6)


@pytest.mark.parametrize("vector", [False, True])
def test_inverse_root_on_another_device(vector, dtype):
    V, g = data(30, 4, dtype=dtype), np.linspace(0.5, 2, 30).astype(dtype) if vector else 0.5
    device = array_api_strict.Device("device1")
    there = [array_api_strict.asarray(a, device=device) for a in (V, np.eye(30, dtype=dtype))]
    moved = array_api_strict.asarray(g, device=device) if vector else g
    root, other = LowRankPlusDiagonal(V, g).inverse_root(), LowRankPlusDiagonal(there[0], moved).inverse_root()
    for name in ("apply", "adjoint"):
        expected, actual = getattr(root, name)(np.eye(30, dtype=dtype)), getattr(other, name)(there[1])
        assert actual.device == device
        assert expected.dtype == dtype
        np.testing.assert_allclose(to_numpy(actual), expected, atol=20 * np.finfo(dtype).eps)
    empty = LowRankPlusDiagonal(there[0][:, :0], moved).inverse_root().apply(there[1])
    np.testing.assert_allclose(to_numpy(empty), np.diag(np.broadcast_to(g, 30) ** -0.5), rtol=1e-6)


@pytest.mark.parametrize("g", [0.0, -1.0, math.nan, math.inf, np.array([1.0, 0, 1]), np.array([1.0, np.nan, 1])])
def test_a_diagonal_that_is_not_positive(g):
    with pytest.raises(ValueError, match="diagonal must be positive and finite"):
        LowRankPlusDiagonal(np.ones((3, 1)), g)


def test_a_diagonal_that_does_not_fit():
    with pytest.raises(ValueError, match=r"diagonal must be a number or of shape \(3,\); its shape is \(2,\)"):
        LowRankPlusDiagonal(np.ones((3, 1)), np.ones(2))
    with pytest.raises(TypeError, match="different libraries"):
        LowRankPlusDiagonal(np.ones((3, 1)), array_api_strict.ones(3))


def test_what_is_no_matrix_is_refused():
    for wrong, described in [([[1.0]], "a list"), (np.ones(3), r"of shape \(3,\)")]:
        with pytest.raises(TypeError, match=f"X must be a 2-D array; it is {described}"):
            FactoredGram(wrong)


def test_tiles_in_double_of_rows_in_single_precision():
    rows = np.random.RandomState(0).randn(40, 3).astype(np.float32)
    kernel = Kernel("rbf", gamma=0.3)
    exact, tiled = kernel(rows.astype(float)), TiledGram(rows, kernel, tile_bytes=4000, double=True)
    block = np.random.RandomState(1).randn(40, 2)
    assert tiled.dtype == (tiled @ block).dtype == tiled.columns([3]).dtype == tiled.diagonal().dtype == np.float64
    np.testing.assert_allclose(tiled @ block, exact @ block, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(tiled.columns([3, 5]), exact[:, [3, 5]], rtol=1e-12)
