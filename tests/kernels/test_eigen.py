import array_api_strict
import numpy as np
import oracles
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from shallowda.kernels import eigen
from shallowda.kernels.arrays import to_numpy
from shallowda.kernels.eigen import PencilSolver, fix_signs, psd_eigh, top_eigh, top_pencil


def problem(m=60, r=5, rank=40, seed=0):
    rng = np.random.RandomState(seed)
    L = rng.randn(m, rank) * np.logspace(0, -3, rank)
    return L, rng.randn(m, r), rng.rand(m) + 0.1


@pytest.fixture(params=["lapack", "krylov"])
def solver(request):
    if request.param == "krylov":
        request.getfixturevalue("krylov_everywhere")


class Products:
    """A matrix that can only be multiplied with."""

    def __init__(self, matrix):
        self.matrix, self.like, self.shape = matrix, matrix, matrix.shape

    def __matmul__(self, block):
        return self.matrix @ block


def on_device(array):
    return array_api_strict.asarray(array, device=array_api_strict.Device("device1"))


@pytest.mark.parametrize("ridge", ["number", "diagonal"])
def test_eigenpairs_of_the_pencil(solver, ridge):
    L, V, g = problem()
    g = 0.7 if ridge == "number" else g
    B, a = L @ L.T, V @ V.T + np.diag(np.broadcast_to(g, 60))
    A, rho = top_pencil(B, V, g, 7)
    expected, values = oracles.pencil(B, a, 7)
    np.testing.assert_allclose(rho, values, rtol=1e-10)
    assert oracles.angle(A, expected) < 1e-8
    np.testing.assert_allclose(A.T @ B @ A, np.eye(7), atol=1e-10)
    np.testing.assert_allclose(A.T @ a @ A, np.diag(1 / rho), atol=1e-10)
    np.testing.assert_allclose(B @ A, a @ A * rho, atol=1e-10 * np.linalg.norm(B))


def test_symmetric_solver_on_the_quotient_matrix_is_not_the_answer():
    """The peers' shortcut: eigh of a^{-1} B, which is not symmetric."""
    L, V, _ = problem()
    B, a = L @ L.T, V @ V.T + 0.1 * np.eye(60)
    wrong = np.linalg.eigh(np.linalg.solve(a, B))[1][:, ::-1][:, :5]
    A, _ = top_pencil(B, V, 0.1, 5)
    assert oracles.angle(wrong, A) > 0.02


@pytest.mark.parametrize("ridge", ["number", "diagonal"])
def test_an_operator_and_another_library_give_the_same(solver, ridge):
    L, V, g = problem()
    B, g = L @ L.T, 0.7 if ridge == "number" else g
    expected, values = top_pencil(B, V, g, 6)
    A, rho = top_pencil(Products(B), V, g, 6)
    np.testing.assert_allclose(rho, values, rtol=1e-9)
    np.testing.assert_allclose(A, expected, atol=1e-7 * abs(expected).max())
    A, rho = top_pencil(on_device(B), on_device(V), g if ridge == "number" else on_device(g), 6)
    np.testing.assert_allclose(to_numpy(rho), values, rtol=1e-9)
    np.testing.assert_allclose(to_numpy(A), expected, atol=1e-7 * abs(expected).max())


def test_no_mmd_term_is_principal_components():
    L, _, _ = problem()
    A, rho = top_pencil(L @ L.T, np.zeros((60, 0)), 2.0, 4)
    np.testing.assert_allclose(rho, scipy.linalg.svdvals(L)[:4] ** 2 / 2.0)
    assert oracles.angle(A, scipy.linalg.svd(L)[0][:, :4]) < 1e-10


def test_rank_limits_the_components(solver):
    L, V, g = problem(rank=4)
    A, rho = top_pencil(L @ L.T, V, g, 9)
    assert A.shape == (60, 4)
    assert rho.shape == (4,)
    assert (rho > 0).all()


def test_a_zero_matrix_has_no_components():
    A, rho = top_pencil(np.zeros((5, 5)), np.ones((5, 1)), 1.0, 2)
    assert A.shape == (5, 0)
    assert rho.shape == (0,)


def test_a_large_zero_matrix_has_no_components():
    assert len(top_eigh(np.zeros((800, 800)), 5)[0]) == 0


def spectrum(values, seed=0):
    Q = scipy.linalg.qr(np.random.RandomState(seed).randn(len(values), len(values)))[0]
    return (Q * values) @ Q.T, Q


def test_more_copies_of_an_eigenvalue_than_columns_in_a_block():
    """A Krylov space grown from b columns holds b copies; the others are found by looking elsewhere."""
    values = np.r_[np.full(45, 5.0), np.linspace(4, 3, 20), np.linspace(1, 0, 735)]
    matrix, Q = spectrum(values)
    found, vectors = top_eigh(matrix, 60)
    np.testing.assert_allclose(found, values[:60], rtol=1e-10)
    assert oracles.angle(vectors[:, :45], Q[:, :45]) < 1e-7


def test_a_flat_spectrum_is_left_to_lapack(caplog):
    values = np.linspace(1, 0.9, 800)
    matrix, Q = spectrum(values)
    with caplog.at_level("INFO", logger="shallowda"):
        _found, vectors = top_eigh(matrix, 5)
    assert "LAPACK" in caplog.text
    assert oracles.angle(vectors, Q[:, :5]) < 1e-7


def test_no_convergence_is_a_warning_with_the_residual(monkeypatch):
    monkeypatch.setattr(eigen, "_MOST_PRODUCTS", 60)
    monkeypatch.setattr(eigen, "TAKEOVER_ORDER", 0)
    with pytest.warns(ConvergenceWarning, match=r"order 800 .* residual is \d\.\de-\d\d after"):
        top_eigh(spectrum(np.linspace(1, 0.9, 800))[0], 5)


def test_a_pencil_after_one_that_did_not_converge(monkeypatch):
    monkeypatch.setattr(eigen, "TAKEOVER_ORDER", 0)
    B, V = spectrum(1.0 / np.arange(1, 801))[0], 0.1 * np.random.RandomState(0).randn(800, 2)
    solver = PencilSolver(B)
    with monkeypatch.context() as patch:
        patch.setattr(eigen, "_MOST_PRODUCTS", 60)
        with pytest.warns(ConvergenceWarning, match="did not converge"):
            solver.solve(V, 0.5, 12)
    expected = oracles.pencil(B, V @ V.T + 0.5 * np.eye(800), 12)
    A, rho, _ = solver.solve(V, 0.5, 12)
    np.testing.assert_allclose(rho, expected[1], rtol=1e-10)
    assert oracles.angle(A, expected[0]) < 1e-6


def test_pencils_that_share_a_matrix_share_the_work():
    """And each is solved as if it were the first."""
    values = 1.0 / np.arange(1, 901)
    B, rng = spectrum(values)[0], np.random.RandomState(1)
    solver, V = PencilSolver(B), rng.randn(900, 6) * 0.1
    counts = []
    for _ in range(3):
        before = solver.products
        A, rho, _ = solver.solve(V, 0.5, 12)
        counts.append(solver.products - before)
        expected, exact = oracles.pencil(B, V @ V.T + 0.5 * np.eye(900), 12)
        np.testing.assert_allclose(rho, exact, rtol=1e-10)
        assert oracles.angle(A, expected) < 1e-6
        V = V + 0.01 * rng.randn(900, 6)
    assert max(counts[1:]) < counts[0]
    solver.solve(V, 0.5, 12)
    before = solver.products
    solver.solve(V, 0.5, 12)  # nothing changed: V itself, and a look for what may be missing
    assert solver.products - before <= 6 + eigen._PROBE


@pytest.mark.parametrize("columns", [0, 3, 40])
@pytest.mark.parametrize("metric", [False, True])
@pytest.mark.usefixtures("krylov_everywhere")
def test_pencils_that_have_nothing_but_the_matrix_in_common(metric, columns):
    """Whatever their V, of more columns than a block or of none."""
    rng = np.random.RandomState(0)
    B, _, M, _, R = metric_problem(250, 250, 3, 0)
    solver = PencilSolver(B, metric=M if metric else None)
    R = R if metric else np.eye(250)
    for r, tol in ((2, 1e-4), (columns, 1e-4), (columns, 1e-9), (1, 1e-9)):
        V = rng.randn(250, r) * 0.5
        A, rho, _ = solver.solve(V, 0.4, 15, tol)
        expected, values = oracles.pencil(R.T @ B @ R, R.T @ V @ V.T @ R + 0.4 * np.eye(250), 15)
        np.testing.assert_allclose(rho, values, rtol=max(1e-8, 0.1 * tol))
        assert oracles.angle(A, R @ expected) < max(1e-6, 100 * tol)


def test_a_loose_tolerance_takes_fewer_products():
    B = spectrum(1.0 / np.arange(1, 901))[0]
    loose, exact = PencilSolver(B), PencilSolver(B)
    V = np.random.RandomState(1).randn(900, 2)
    A, _, _ = loose.solve(V, 1.0, 10, tol=1e-3)
    C, _, _ = exact.solve(V, 1.0, 10)
    assert loose.products < exact.products
    assert 1e-9 < oracles.angle(A, C) < 0.05


def test_long_runs_are_compressed(monkeypatch):
    monkeypatch.setattr(eigen, "most_columns", lambda k: 60)
    monkeypatch.setattr(eigen, "_DENSE_SHARE", 0)
    values = 1.0 / np.arange(1, 901) ** 0.2
    B, Q = spectrum(values)
    solver = PencilSolver(B)
    vectors, found, _ = solver.solve(np.zeros((900, 0)), 1.0, 3)
    assert solver.products > solver._space.size
    assert solver._space.size <= 100
    np.testing.assert_allclose(found, values[:3], rtol=1e-10)
    assert oracles.angle(vectors, Q[:, :3]) < 1e-6
    V = 0.3 * np.random.RandomState(0).randn(900, 2)  # the next pencil starts from what was kept
    np.testing.assert_allclose(solver.solve(V, 1.0, 3)[1], oracles.pencil(B, V @ V.T + np.eye(900), 3)[1], rtol=1e-10)


class Square(Products):
    """``K H K`` of a kernel matrix that can only be multiplied with."""

    passes = 0

    def times(self, block):
        self.passes += 1
        return self.matrix @ block

    def __matmul__(self, block):
        product = self.times(block)
        return self.times(product - product.mean(axis=0))


class Halves(Square):
    """Its halves can be multiplied with, too."""

    def half(self, block):
        product = self.times(block)
        return product - product.mean(axis=0)

    def other_half(self, block):
        return self.times(block)


def kernel_problem(values, r, seed=1):
    """K with these eigenvalues, V, and the dense solution of the pencil."""
    K, rng = spectrum(values)[0], np.random.RandomState(seed)
    V = K @ rng.randn(len(K), r)
    return K, V, oracles.pencil(K @ (K - K.mean(axis=0)), V @ V.T + 0.5 * np.eye(len(K)), 40)


@pytest.mark.parametrize(("k", "r"), [(1, 1), (5, 50), (40, 3)])
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("krylov_everywhere")
def test_a_square_is_solved_by_its_halves(k, r):
    """In a first pass; and a second one, with another V, goes on from there."""
    values = 1.0 / np.arange(1, 601)
    solver = PencilSolver(Halves(kernel_problem(values, r)[0]))
    for seed in (1, 2):
        _, V, (expected, exact) = kernel_problem(values, r, seed)
        A, rho, _ = solver.solve(V, 0.5, k)
        np.testing.assert_allclose(rho, exact[:k], rtol=1e-9)
        assert oracles.angle(A, expected[:, :k]) < 1e-6


@pytest.mark.parametrize("power", [0.5, 3.0])
@pytest.mark.usefixtures("krylov_everywhere")
def test_halves_take_fewer_passes_over_the_kernel_matrix(power):
    K, V, (expected, exact) = kernel_problem(1.0 / np.arange(1, 701) ** power, 1)
    gap = (exact[19] - exact[20]) / exact[0]  # rounding turns a space by its size over the gap to what is left out
    whole, halves = Square(K), Halves(K)
    for square in (whole, halves):
        solver = PencilSolver(square)
        A, _, _ = solver.solve(V, 0.5, 20)
        assert oracles.angle(A, expected[:, :20]) < 1e-6 + 100 * np.finfo(float).eps / gap
    assert halves.passes < 0.85 * whole.passes


@pytest.mark.parametrize("operator", [Square, Halves])
@pytest.mark.usefixtures("krylov_everywhere")
def test_more_copies_of_an_eigenvalue_of_a_square_than_columns_in_a_block(operator):
    K = spectrum(np.r_[np.repeat([3.0, 2.0, 1.0], 40), np.zeros(680)])[0]
    V = K @ np.random.RandomState(1).randn(800, 1) / 800
    _, exact = oracles.pencil(K @ (K - K.mean(axis=0)), V @ V.T + np.eye(800), 40)
    _, rho, _ = PencilSolver(operator(K)).solve(V, 1.0, 40)
    np.testing.assert_allclose(rho, exact, rtol=1e-8)


@pytest.mark.usefixtures("krylov_everywhere")
def test_halves_hand_over_what_does_not_converge(monkeypatch):
    """Where the space has too few columns for its first pass, and where there is nothing to find."""
    monkeypatch.setattr(eigen, "most_columns", lambda k: 60)
    K, V, (expected, _) = kernel_problem(1.0 / np.arange(1, 601) ** 0.5, 2)
    A, _, _ = PencilSolver(Halves(K)).solve(V, 0.5, 10)
    assert oracles.angle(A, expected[:, :10]) < 1e-6
    for K, rank in ((np.ones((300, 300)), 0), (spectrum(np.r_[3.0, 2.0, 1.0, np.zeros(297)])[0], 3)):
        A, rho, _ = PencilSolver(Halves(K)).solve(K[:, :1] - K[:, 1:2], 0.5, 10)
        assert A.shape == (300, rank)
        assert rho.shape == (rank,)


def test_single_precision_products_reach_their_own_limit():
    values = 0.8 ** np.arange(700)
    B, Q = spectrum(values)
    solver = PencilSolver(Products(B.astype(np.float32)), np.finfo(np.float32).eps)
    vectors, _, _ = solver.solve(np.zeros((700, 0)), 1.0, 8)
    assert vectors.dtype == np.float64
    assert oracles.angle(vectors, Q[:, :8]) < 1e-4


@given(seed=st.integers(0, 1000), m=st.integers(30, 90), rank=st.integers(1, 30), r=st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_krylov_is_lapack(seed, m, rank, r):
    rng = np.random.RandomState(seed)
    L, V, k = rng.randn(m, rank), rng.randn(m, r), 5
    krylov, lapack = PencilSolver(L @ L.T), PencilSolver(L @ L.T)
    A, rho, _ = krylov._solve_krylov(V, 0.3, k, 1e-9)
    _C, sigma, _ = lapack._solve_dense(V, 0.3, k)
    np.testing.assert_allclose(rho, sigma, rtol=1e-8)
    assert A.shape[1] == min(k, rank)
    np.testing.assert_allclose(A.T @ L @ L.T @ A, np.eye(A.shape[1]), atol=1e-7)


def metric_problem(m, rank, r, seed, decay=0.5):
    """B, V and M whose ranges are that of `m x rank` features, and the pencil of the coefficients C of A = R C."""
    rng = np.random.RandomState(seed)
    R = rng.randn(m, rank) * np.logspace(0, -decay, rank)
    inner = rng.randn(m, m) / np.sqrt(m)
    B, V = R @ R.T @ inner @ inner.T @ R @ R.T, R @ rng.randn(rank, r)
    return B, V, R @ R.T, (R.T @ B @ R, R.T @ V), R


@given(seed=st.integers(0, 1000), m=st.integers(20, 90), rank=st.integers(6, 90), r=st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_a_ridge_in_a_metric(seed, m, rank, r):
    """The pencil with ``ridge M^{-1}`` is the plain one for C where ``A = R C``, for either solver and singular M."""
    rank = min(m, rank)
    B, V, M, (inner, W), R = metric_problem(m, rank, r, seed)
    expected, values = oracles.pencil(inner, W @ W.T + 0.3 * np.eye(rank), 5)
    solver = PencilSolver(B, metric=M)
    for A, rho, lengths in (solver._solve_krylov(V, 0.3, 5, 1e-9), solver._solve_dense(V, 0.3, 5)):
        np.testing.assert_allclose(rho, values, rtol=1e-8, atol=1e-13 * values[0])
        np.testing.assert_allclose(lengths, np.linalg.norm(expected, axis=0), rtol=1e-6)
        assert oracles.angle(A, R @ expected) < 1e-6
        np.testing.assert_allclose(A.T @ B @ A, np.eye(5), atol=1e-7)


def test_more_solutions_than_the_rank_of_the_metric():
    B, V, M, (inner, W), R = metric_problem(20, 12, 2, 0)
    A, rho, _ = PencilSolver(B, metric=M).solve(V, 0.3, 20)
    expected, values = oracles.pencil(inner, W @ W.T + 0.3 * np.eye(12), 12)
    np.testing.assert_allclose(rho, values, rtol=1e-8)
    assert oracles.angle(A, R @ expected) < 1e-6


@pytest.mark.parametrize("rank", [25, 60, 150])
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_spaces_that_use_up_a_singular_metric(monkeypatch, rank):
    """Pass after pass, where LAPACK would not take over."""
    monkeypatch.setattr(eigen, "TAKEOVER_ORDER", 0)
    B, V, M, (inner, _), R = metric_problem(760, rank, 3, rank)
    solver, rng = PencilSolver(B, metric=M), np.random.RandomState(1)
    for _ in range(3):
        A, rho, _ = solver.solve(V, 0.3, 20)
        W = R.T @ V
        expected, values = oracles.pencil(inner, W @ W.T + 0.3 * np.eye(rank), 20)
        rounding = np.finfo(float).eps * (1 + np.linalg.norm(W, 2) ** 2 / 0.3)  # by the condition of what divides
        np.testing.assert_allclose(rho, values, rtol=1e-8 + 10 * rounding)
        assert oracles.angle(A, R @ expected) < 1e-6
        V = V + 0.05 * R @ rng.randn(rank, 3)


@pytest.mark.usefixtures("krylov_everywhere")
def test_the_product_with_a_metric_does_not_wear_off(monkeypatch):
    """Columns that lose most of their length to earlier ones keep ``Q = M P``, pass after pass."""
    monkeypatch.setattr(eigen, "_SWEEP", 2)  # the second block of a sweep lies nearly in the space
    B, V, M, (inner, _), R = metric_problem(300, 300, 3, 0, decay=4.0)
    solver, rng = PencilSolver(B, metric=M), np.random.RandomState(1)
    for _ in range(8):
        _, rho, _ = solver.solve(V, 0.3, 10)
        P, Q = solver._space.columns
        assert np.linalg.norm(Q - M @ P) < 1e-9 * np.linalg.norm(Q)
        np.testing.assert_allclose(rho, oracles.pencil(inner, R.T @ V @ V.T @ R + 0.3 * np.eye(300), 10)[1], rtol=1e-8)
        V = V + 0.05 * R @ rng.randn(300, 3)


def test_top_eigh_is_descending_and_orthonormal(solver):
    L, _, _ = problem()
    values, vectors = top_eigh(L @ L.T, 6)
    assert (np.diff(values) < 0).all()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(6), atol=1e-10)
    np.testing.assert_allclose(values, psd_eigh(L @ L.T)[0][:6])


def test_psd_eigh_finds_the_rank():
    L, _, _ = problem(rank=9)
    assert len(psd_eigh(L @ L.T)[0]) == 9


def test_signs_are_fixed():
    vectors = np.array([[1.0, -3.0, 0.0], [-2.0, 1.0, 0.0]])
    np.testing.assert_array_equal(fix_signs(vectors), [[-1.0, 3.0, 0.0], [2.0, -1.0, 0.0]])


@pytest.mark.parametrize("m", [600, 690, 800])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_a_matrix_with_one_eigenvalue(m, k):
    """LAPACK's subset solver finds fewer pairs than it is asked for, down to none, and says nothing."""
    V = np.random.RandomState(0).randn(m, 5)
    A, rho = top_pencil(np.eye(m), V, 2.0, k)
    np.testing.assert_allclose(rho, 0.5)
    assert A.shape == (m, k)
    np.testing.assert_allclose(V.T @ A, 0, atol=1e-10)


@pytest.mark.parametrize("tol", [1e-9, 1e-4])
@pytest.mark.parametrize("place", [0, 7])
def test_what_earlier_pencils_damped_is_found_again(place, tol):
    B = np.diag(np.roll(np.r_[100.0, 10.0 * np.arange(1, 2000) ** -1.5], place))
    q, solver = np.eye(2000)[:, place : place + 1], PencilSolver(B)
    for V in (1e4 * q, 2e4 * q):
        solver.solve(V, 1.0, 10, tol)
    np.testing.assert_allclose(solver.solve(0 * q, 1.0, 10)[1][:2], [100.0, 10.0])


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_fewer_and_then_more_solutions(monkeypatch):
    monkeypatch.setattr(eigen, "TAKEOVER_ORDER", 0)
    solver, values = PencilSolver(spectrum(1.0 / np.arange(1, 1201))[0]), 1.0 / np.arange(1, 51)
    for k in (30, 3, 20, 3, 3, 50):
        np.testing.assert_allclose(solver.solve(np.zeros((1200, 0)), 1.0, k)[1], values[:k], rtol=1e-8)


def test_more_solutions_than_before():
    solver = PencilSolver(spectrum(1.0 / np.arange(1, 901))[0])
    solver.solve(np.zeros((900, 0)), 1.0, 5)
    for tol in (1e-3, 1e-9):
        np.testing.assert_allclose(solver.solve(np.zeros((900, 0)), 1.0, 30, tol)[1], 1.0 / np.arange(1, 31), rtol=1e-5)


@pytest.mark.parametrize("ridge", [1, np.int64(1), np.float32(1.0)])
def test_any_number_is_a_ridge(ridge):
    B = spectrum(1.0 / np.arange(1, 801))[0]
    np.testing.assert_allclose(top_pencil(B, np.zeros((800, 0)), ridge, 3)[1], [1, 1 / 2, 1 / 3])
