"""The general pencil, and the coupled one against its dense matrices."""

import array_api_strict
import numpy as np
import oracles
import pytest
import scipy.linalg

from shallowda.kernels import eigen
from shallowda.kernels.arrays import to_numpy
from shallowda.kernels.coupled import Coordinates, CoupledSpace, kernel_coordinates, principal_coordinates
from shallowda.kernels.eigen import CholeskyRoot, GeneralPencil
from shallowda.kernels.mmd import mmd_factor
from shallowda.kernels.moments import group_sums, within_scatter
from shallowda.kernels.pairwise import Kernel

Xs, ys, Xt, yt = oracles.shifted_domains(5, ns=30, nt=24, d=6)
source = np.repeat([True, False], [30, 24])


@pytest.fixture(params=["lapack", "krylov"])
def solver(request):
    if request.param == "krylov":
        request.getfixturevalue("krylov_everywhere")


def on_device(array):
    return array_api_strict.asarray(array, device=array_api_strict.Device("device1"))


def general(m=50, rank=30, seed=0):
    rng = np.random.RandomState(seed)
    L, R, U = rng.randn(m, rank) * np.logspace(0, -3, rank), rng.randn(m, m), rng.randn(m, 4)
    return L @ L.T, R @ R.T / m + 0.1 * np.eye(m), U


def test_any_symmetric_pencil(solver):
    N, D, U = general()
    pencil = GeneralPencil(_Like(N), CholeskyRoot(D))
    for columns in (0, 4, 2):  # pencils that share N and D
        a = D + U[:, :columns] @ U[:, :columns].T
        W, rho = pencil.solve(U[:, :columns], 6)
        expected, values = oracles.pencil(N, a, 6)
        np.testing.assert_allclose(rho, values, rtol=1e-9)
        assert oracles.angle(W, expected) < 1e-7
        np.testing.assert_allclose(W.T @ N @ W, np.eye(6), atol=1e-9)
        np.testing.assert_allclose(N @ W, a @ W * rho, atol=1e-8 * np.linalg.norm(N))


class _Like:
    """A matrix as what is asked of a numerator."""

    def __init__(self, matrix):
        self.matrix, self.like, self.shape = matrix, matrix, matrix.shape

    def __matmul__(self, block):
        return self.matrix @ block


@pytest.mark.parametrize("place", [np.asarray, on_device], ids=["numpy", "standard"])
def test_a_matrix_that_is_singular_to_working_precision_has_no_root(place):
    wide = np.random.RandomState(0).randn(3, 5)
    for ridge in (0.0, 1e-15):
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite to working precision"):
            CholeskyRoot(place(wide.T @ wide + ridge * np.eye(5)))
    units = np.logspace(-9, 9, 5)  # of features: they say nothing about definiteness
    D = units[:, None] * (np.eye(5) + 0.5) * units
    root = CholeskyRoot(place(D))
    np.testing.assert_allclose(to_numpy(root.adjoint(place(D) @ root.apply(place(np.eye(5))))), np.eye(5), atol=1e-12)


def test_the_rank_of_the_numerator_limits_the_solutions(solver):
    N, D, U = general(rank=3)
    W, rho = GeneralPencil(_Like(N), CholeskyRoot(D)).solve(U, 9)
    assert W.shape == (50, 3)
    assert (rho > 0).all()


@pytest.mark.parametrize(("order", "k", "dense"), [(2048, 200, True), (2048, 5, False), (2050, 200, False)])
def test_above_an_order_of_2048_lapack_is_never_asked(order, k, dense):
    """However many solutions are wanted; what is stored is never more than the order of the halves."""
    half = order // 2
    N = _Like(np.zeros((order, order), dtype=np.float32))
    pencil = GeneralPencil(N, None)
    assert half * 2 == order
    assert pencil.solver.is_iterative(k) is not dense
    assert pencil.solver._stored is (order <= 2048)


def test_a_large_pencil_makes_no_matrix_of_its_order(monkeypatch):
    monkeypatch.setattr(eigen, "TAKEOVER_ORDER", 40)
    monkeypatch.setattr(eigen.PencilSolver, "_solve_dense", None)  # a call would fail
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "20")
    N, D, U = general()
    _, rho = GeneralPencil(_Like(N), CholeskyRoot(D)).solve(U, 10)
    np.testing.assert_allclose(rho, oracles.pencil(N, D + U @ U.T, 10)[1], rtol=1e-8)


def test_scatter_within_groups():
    rng = np.random.RandomState(0)
    rows, groups = rng.randn(40, 5) + 1e6, np.r_[np.arange(39) % 3, 3]
    means = group_sums(rows, groups, 4) / np.bincount(groups)[:, None]
    expected = sum(
        (rows[groups == c] - rows[groups == c].mean(axis=0)).T @ (rows[groups == c] - rows[groups == c].mean(axis=0))
        for c in range(4)
    )
    np.testing.assert_allclose(within_scatter(rows, groups, means), expected, rtol=1e-8)
    found = within_scatter(on_device(rows), groups, on_device(means))
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-8)


def test_scatter_within_groups_that_overflows_is_refused():
    rows = np.array([[1e200, 0.0], [-1e200, 0.0]])
    with pytest.raises(ValueError, match="overflow"):
        within_scatter(rows, np.zeros(2, dtype=int), np.zeros((1, 2)))


def dense(lam, mu, beta, codes, average=False, about_origin=False):
    """N and D + U U^T of order 12, and E."""
    means = np.array([Xs[ys == c].mean(axis=0) for c in range(3)])
    gaps = means - Xs.mean(axis=0)
    S_b = (gaps.T * np.bincount(ys)) @ gaps
    S_w = (Xs - means[ys]).T @ (Xs - means[ys])
    S_t = Xt.T @ (np.eye(24) if about_origin else oracles.centring(24)) @ Xt
    if average:
        S_b, S_w, S_t = S_b / 30, S_w / 30, S_t / 24
    E, _ = mmd_factor(source, None if codes is None else np.r_[ys, codes], 3)
    F, eye, zero = scipy.linalg.block_diag(Xs, Xt), np.eye(6), np.zeros((6, 6))
    D = np.block([[lam * eye + beta * S_w, -lam * eye], [-lam * eye, (lam + mu) * eye]])
    U = F.T @ E.toarray()
    return np.block([[beta * S_b, zero], [zero, mu * S_t]]), D + U @ U.T, E


@pytest.mark.parametrize("codes", [None, yt, np.zeros(24, dtype=int)], ids=["no labels", "labels", "one label"])
@pytest.mark.parametrize("options", [{}, {"average": True}, {"about_origin": True}], ids=["sums", "means", "origin"])
def test_coupled_maps_are_those_of_the_dense_matrices(solver, codes, options):
    N, a, E = dense(0.4, 1.5, 0.3, codes, **options)
    expected, values = oracles.pencil(N, a, 4)
    for place in (np.asarray, on_device):
        space = CoupledSpace(place(Xs), place(Xt), ys, 3, 0.4, 1.5, 0.3, **options)
        W, rho = (to_numpy(part) for part in space.solve(space.times(E, codes), 4))
        np.testing.assert_allclose(rho, values, rtol=1e-9)
        np.testing.assert_allclose(W.T @ N @ W, np.eye(4), atol=1e-9)
        assert oracles.angle(W, expected) < 1e-6
        A, B = space.halves(W)
        assert A.shape == B.shape == (6, 4)


def test_passes_share_a_space_and_do_not_see_each_other():
    space = CoupledSpace(Xs, Xt, ys, 3, 0.4, 1.5, 0.3)
    for codes in (None, yt, np.roll(yt, 1), yt):
        N, a, E = dense(0.4, 1.5, 0.3, codes)
        _, rho = space.solve(space.times(E, codes), 4)
        np.testing.assert_allclose(rho, oracles.pencil(N, a, 4)[1], rtol=1e-9)


def test_an_infinite_coupling_is_one_map():
    space = CoupledSpace(Xs, Xt, ys, 3, np.inf, 1.5, 0.3)
    N, _, E = dense(1.0, 1.5, 0.3, yt)
    A, B = space.halves(space.solve(space.times(E, yt), 4)[0])
    np.testing.assert_allclose(A, B, atol=1e-14)
    S_w = sum(Xs[ys == c].T @ oracles.centring(np.sum(ys == c)) @ Xs[ys == c] for c in range(3))
    gap = np.vstack([Xs, Xt]).T @ E.toarray()
    expected, _ = oracles.pencil(N[:6, :6] + N[6:, 6:], gap @ gap.T + 0.3 * S_w + 1.5 * np.eye(6), 4)
    assert oracles.angle(A, expected) < 1e-7


def test_directions_that_are_round_off_are_left_out():
    """A target of rank one, far from the origin, and one class."""
    line = 1e5 + np.outer(np.arange(24.0), np.ones(6))
    space = CoupledSpace(Xs, line, np.zeros(30, dtype=int), 1, 1.0, 1.0, 0.1)
    E, _ = mmd_factor(source)
    W, _ = space.solve(space.times(E, None), 5)
    assert W.shape[1] <= 1


def test_root_of_a_centred_kernel_matrix():
    rows = np.vstack([Xs, Xt])
    K = Kernel("rbf", gamma=0.05)(rows)
    found = kernel_coordinates(K)
    H = oracles.centring(54)
    np.testing.assert_allclose(found.rows @ found.rows.T, H @ K @ H, atol=1e-12)
    np.testing.assert_allclose(K @ found.after - found.centre, found.rows, atol=1e-6)
    A = np.random.RandomState(0).randn(found.rows.shape[1], 2)
    components, intercept = found.lift(A)
    np.testing.assert_allclose(K @ components.T + intercept, found.rows @ A, atol=1e-6)


def test_round_off_of_a_kernel_matrix_is_no_direction():
    flat = np.random.RandomState(0).randn(40, 2) + 3
    for dtype in (np.float32, np.float64):
        assert kernel_coordinates((flat @ flat.T).astype(dtype)).rows.shape == (40, 2)
    after = kernel_coordinates(
        Kernel("rbf", gamma=0.05)(flat)
    ).after  # constants of new kernel values have no part in it
    np.testing.assert_allclose(after.sum(axis=0) / np.abs(after).sum(axis=0), 0, atol=1e-14)


def test_a_constant_kernel_has_no_root():
    assert kernel_coordinates(np.ones((5, 5))).rows.shape == (5, 0)


def test_coordinates_of_rows():
    A = np.random.RandomState(0).randn(6, 2)
    components, intercept = Coordinates(Xs).lift(A)
    np.testing.assert_array_equal(components, A.T)
    np.testing.assert_array_equal(intercept, 0)


@pytest.mark.parametrize("after", [None, np.random.RandomState(1).randn(9, 6)], ids=["rows", "features"])
def test_principal_coordinates_are_the_centred_rows(after):
    found = principal_coordinates(Xs, after)
    gaps = Xs - Xs.mean(axis=0)
    np.testing.assert_allclose(found.rows @ found.rows.T, gaps @ gaps.T, atol=1e-10)
    A = np.random.RandomState(0).randn(6, 2)
    components, intercept = found.lift(A)
    new = Xs if after is None else Xs @ np.linalg.pinv(after)
    np.testing.assert_allclose(new @ components.T + intercept, found.rows @ A, atol=1e-8)
    weights = np.linalg.lstsq(gaps.T, components.T if after is None else np.linalg.pinv(after) @ components.T)[0]
    np.testing.assert_allclose(found.squared_lengths(A), np.sum(weights**2, axis=0), rtol=1e-8)


def test_more_features_than_rows_have_fewer_coordinates():
    assert principal_coordinates(np.random.RandomState(0).randn(7, 30)).rows.shape == (7, 6)
