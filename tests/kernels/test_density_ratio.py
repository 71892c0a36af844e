"""Weights against the true ratio, brute force, and an independent solver."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning

from shallowda.kernels.density_ratio import (
    _left_out,
    kernel_mean_matching,
    ulsif,
)
from shallowda.kernels.mean_matching import _Limits
from shallowda.kernels.pairwise import Kernel, median_gamma


@pytest.fixture(scope="module")
def normals():
    rng = np.random.RandomState(0)
    source, target = rng.randn(600, 1), 0.6 * rng.randn(500, 1) + 0.7
    true = norm(0.7, 0.6).pdf(source[:, 0]) / norm.pdf(source[:, 0])
    return source, target, true


def test_ulsif_finds_the_ratio_of_two_normals(normals):
    source, target, true = normals
    weights = ulsif(source, target, target[:100])
    assert np.corrcoef(weights, true)[0, 1] > 0.98
    assert weights.min() >= 0
    assert abs(weights.mean() - 1) < 0.1


def test_ulsif_without_shift():
    rng = np.random.RandomState(0)
    target = rng.randn(400, 2)
    weights = ulsif(rng.randn(400, 2), target, target[:100])
    assert abs(weights.mean() - 1) < 0.05
    assert weights.std() < 0.2


def test_left_out_error_is_that_of_leaving_out():
    rng = np.random.RandomState(0)
    phi_source, phi_target, ridge = rng.rand(12, 4), rng.rand(9, 4), 0.1
    H, h = phi_source.T @ phi_source / 12, phi_target.mean(axis=0)
    squares, firsts = [], []
    for i in range(9):
        source, target = np.delete(phi_source, i, axis=0), np.delete(phi_target, i, axis=0)
        own = source.T @ source / 11 + ridge * np.eye(4)
        alpha = np.maximum(np.linalg.solve(own, target.mean(axis=0)), 0)
        squares.append((phi_source[i] @ alpha) ** 2)
        firsts.append(phi_target[i] @ alpha)
    np.testing.assert_allclose(
        _left_out(phi_source, phi_target, H, h, ridge), np.mean(squares) / 2 - np.mean(firsts), rtol=1e-9
    )


def test_mean_matching_without_shift():
    rows = np.random.RandomState(0).randn(60, 2)
    np.testing.assert_allclose(kernel_mean_matching(rows, rows), 1.0, atol=1e-4)


def test_mean_matching_of_half_the_source():
    rows = np.random.RandomState(0).randn(20, 2) * 3
    weights = kernel_mean_matching(rows, rows[:10], tol=1e-12, max_iter=100_000)
    np.testing.assert_allclose(weights[:10], 2.0, atol=0.02)
    np.testing.assert_allclose(weights[10:], 0.0, atol=0.02)


@pytest.mark.parametrize("bound", [1.5, 1000.0])
def test_mean_matching_is_the_minimum(bound):
    rng = np.random.RandomState(0)
    source, target = rng.randn(25, 2), rng.randn(15, 2) + 1
    weights = kernel_mean_matching(source, target, bound=bound, tol=1e-12, max_iter=100_000)
    kernel = Kernel("rbf", median_gamma(np.concatenate([source, target]), "rbf"))
    K, kappa = kernel(source), 25 * kernel(source, target).mean(axis=1)

    def objective(w):
        return w @ K @ w / 2 - kappa @ w

    assert weights.min() >= 0
    assert weights.max() <= bound
    assert 5 - 1e-9 <= weights.sum() <= 45 + 1e-9
    other = minimize(
        objective,
        np.ones(25),
        jac=lambda w: K @ w - kappa,
        bounds=[(0, bound)] * 25,
        constraints=LinearConstraint(np.ones((1, 25)), 5, 45),
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert objective(weights) <= other.fun + 1e-7


def test_mean_matching_says_when_it_has_not_converged():
    rng = np.random.RandomState(0)
    with pytest.warns(ConvergenceWarning, match="did not converge in 2 steps"):
        kernel_mean_matching(rng.randn(25, 2), rng.randn(15, 2) + 1, max_iter=2)


@pytest.mark.parametrize(("n", "d", "shift"), [(300, 5, 0.5), (800, 10, 1.0)])
def test_mean_matching_does_not_end_far_from_the_minimum(n, d, shift):
    """Short steps alone are no sign of it."""
    rng = np.random.RandomState(n)
    source, target = rng.randn(n, d), 0.6 * rng.randn(200, d) + shift
    weights = kernel_mean_matching(source, target)
    kernel = Kernel("rbf", median_gamma(np.concatenate([source, target]), "rbf"))
    gradient = kernel(source) @ weights - n * kernel(source, target).mean(axis=1)
    assert 2 * _Limits(np.full(n, 1000.0), n**0.5, 2 * n - n**0.5).excess(gradient, weights) / n**2 <= 1e-5
