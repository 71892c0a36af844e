import numpy as np
import oracles
import pytest
import scipy.linalg
from scipy.sparse.linalg import ArpackNoConvergence

from shallowda.kernels import eigen
from shallowda.kernels.eigen import fix_signs, psd_eigh, top_eigh, top_pencil, top_pencil_factored


def problem(m=60, r=5, rank=40, seed=0):
    rng = np.random.RandomState(seed)
    L = rng.randn(m, rank) * np.logspace(0, -3, rank)
    return L, rng.randn(m, r), rng.rand(m) + 0.1


@pytest.fixture(params=["lapack", "lanczos"])
def solver(request, monkeypatch):
    if request.param == "lanczos":
        monkeypatch.setattr(eigen, "_LANCZOS_ORDER", 10)
        monkeypatch.setattr(eigen, "_LANCZOS_SHARE", 3)


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


def test_factored_form_agrees(solver):
    L, V, g = problem()
    A, rho = top_pencil(L @ L.T, V, g, 6)
    F, sigma = top_pencil_factored(L, V, g, 6)
    np.testing.assert_allclose(sigma, rho, rtol=1e-9)
    np.testing.assert_allclose(F, A, atol=1e-7 * abs(A).max())


def test_no_mmd_term_is_principal_components():
    L, _, _ = problem()
    A, rho = top_pencil(L @ L.T, np.zeros((60, 0)), 2.0, 4)
    np.testing.assert_allclose(rho, scipy.linalg.svdvals(L)[:4] ** 2 / 2.0)
    assert oracles.angle(A, scipy.linalg.svd(L)[0][:, :4]) < 1e-10


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e5])
def test_inverse_root_whitens(scale):
    """Also where the MMD term is 10^10 times the ridge."""
    _, V, g = problem()
    root = eigen._InverseRoot(scale * V, g, 60)
    F = root.apply(np.eye(60))
    half = np.vstack([scale * V.T, np.diag(np.sqrt(g))]) @ F  # half^T half = F^T a F
    np.testing.assert_allclose(half.T @ half, np.eye(60), atol=1e-8)
    np.testing.assert_allclose(root.adjoint(np.eye(60)), F.T, atol=1e-12)


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


def test_lanczos_that_does_not_converge_is_solved_densely(monkeypatch, caplog):
    def fails(*args, **kwargs):
        raise ArpackNoConvergence("no convergence", np.empty(0), np.empty((0, 0)))

    L, V, g = problem()
    expected = top_pencil(L @ L.T, V, g, 5)[0]
    monkeypatch.setattr(eigen, "_LANCZOS_ORDER", 10)
    monkeypatch.setattr(eigen, "_LANCZOS_SHARE", 3)
    monkeypatch.setattr(eigen, "eigsh", fails)
    with caplog.at_level("INFO", logger="shallowda"):
        A, _ = top_pencil(L @ L.T, V, g, 5)
    np.testing.assert_allclose(A, expected, atol=1e-8 * abs(expected).max())
    assert "solving densely" in caplog.text


def test_a_large_zero_matrix_is_no_arpack_error():
    """Lanczos cannot start on a zero operator; the answer is that there is no component."""
    assert len(top_eigh(np.zeros((800, 800)), 5)[0]) == 0


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
