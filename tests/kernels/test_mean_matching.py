"""The quadratic programme against SciPy's solver, brute force, and identities that hold exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from shallowda.kernels import mean_matching
from shallowda.kernels.mean_matching import _leading, _Limits, _pivoted, match_means, paper_slack
from shallowda.kernels.operators import DenseGram
from shallowda.kernels.pairwise import Kernel


def dense(source, target, gamma):
    """K and kappa, from the paper."""
    squares = ((source[:, None] - source[None]) ** 2).sum(axis=2)
    between = ((source[:, None] - target[None]) ** 2).sum(axis=2)
    return np.exp(-gamma * squares), len(source) / len(target) * np.exp(-gamma * between).sum(axis=1)


def by_slsqp(K, kappa, bound, slack):
    n = len(K)
    return minimize(
        lambda w: (w @ K @ w / 2 - kappa @ w) / n**2,
        np.ones(n) * min(bound, 1),
        jac=lambda w: (K @ w - kappa) / n**2,
        bounds=[(0, bound)] * n,
        constraints=LinearConstraint(np.ones((1, n)) / n, 1 - slack, 1 + slack),
        method="SLSQP",
        options={"ftol": 1e-16, "maxiter": 5000},
    ).x


def problem(seed, n, m, d):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), 0.7 * rng.standard_normal((m, d)) + 0.5


@pytest.mark.parametrize("d", [1, 2, 8, 40])
@pytest.mark.parametrize(("bound", "slack"), [(1000.0, None), (1.5, None), (1000.0, 0.02), (1.2, 0.0)])
def test_it_is_the_minimum(d, bound, slack):
    source, target = problem(d, 40, 25, d)
    gamma = 0.5 / d
    K, kappa = dense(source, target, gamma)
    found = match_means(source, target, Kernel("rbf", gamma), bound=bound, slack=slack, tol=1e-10)
    w, slack = found.weights, paper_slack(40) if slack is None else slack
    assert w.min() >= 0
    assert w.max() <= bound * (1 + 1e-12)
    assert abs(w.mean() - 1) <= slack + 1e-12
    other = by_slsqp(K, kappa, bound, slack)
    value, best = (v @ K @ v / 2 - kappa @ v for v in (w, other))
    assert value <= best + 1e-6 * (w @ K @ w / 2)
    if d > 2:  # a matrix of good condition: one solution
        np.testing.assert_allclose(w, other, atol=1e-4)


def test_to_many_digits_where_the_solution_is_known():
    """A narrow kernel: K is the identity, and the solution is kappa within its limits."""
    source = np.arange(30.0)[:, None]
    target = np.repeat(source[:20], 1 + np.arange(20) % 3, axis=0) + 0.02
    K, kappa = dense(source, target, 50.0)
    np.testing.assert_allclose(K, np.eye(30), atol=1e-20)
    found = match_means(source, target, Kernel("rbf", 50.0), bound=1.4, tol=1e-12)
    np.testing.assert_allclose(found.weights, np.clip(kappa, 0, 1.4), atol=1e-6)
    held = match_means(source, target, Kernel("rbf", 50.0), bound=1.4, slack=0.01, tol=1e-12).weights
    shift = (held - kappa)[(held > 0) & (held < 1.4)]
    assert np.ptp(shift) < 1e-6
    np.testing.assert_allclose(held, np.clip(kappa + shift[0], 0, 1.4), atol=1e-6)
    assert held.mean() == pytest.approx(0.99)


def test_the_gap_is_that_of_the_exact_kernel():
    source, target = problem(1, 300, 200, 3)
    K, kappa = dense(source, target, 0.3)
    for tol in (1e-2, 1e-4, 1e-6):
        found = match_means(source, target, Kernel("rbf", 0.3), tol=tol)
        w, n = found.weights, 300
        order = np.argsort(K @ w - kappa)
        gradient, sums = (K @ w - kappa)[order], {}
        for total in (n**0.5, 2 * n - n**0.5):  # the tangent's least point: as much as may be where it is smallest
            v = np.zeros(n)
            v[0] = total
            sums[total] = gradient @ v
        gap = ((K @ w - kappa) @ w - min(sums.values())) / (w @ K @ w / 2)
        assert found.gap == pytest.approx(gap, rel=1e-6, abs=1e-12)
        assert found.gap <= tol
        assert found.converged


@pytest.mark.parametrize("tiles", [False, True])
def test_with_few_columns_and_in_tiles(monkeypatch, tiles):
    """As for many rows: an incomplete factor, leading directions, columns that steps teach, nothing stored."""
    monkeypatch.setattr(mean_matching, "_ALL_COLUMNS", 0)
    monkeypatch.setattr(mean_matching, "_PIVOTS", 12)
    monkeypatch.setattr(mean_matching, "_DIRECTIONS", 8)
    monkeypatch.setattr(mean_matching, "_LEARNED", 5)
    source, target = problem(2, 200, 150, 6)
    kernel = Kernel("rbf", 0.1)
    if tiles:
        monkeypatch.setattr(mean_matching, "_STORED", 0)
    rough = match_means(source, target, kernel, tol=1e-6, max_iter=1000)
    monkeypatch.undo()
    fine = match_means(source, target, kernel, tol=1e-9)
    assert rough.converged
    assert rough.n_iter > fine.n_iter
    K, kappa = dense(source, target, 0.1)
    values = [w @ K @ w / 2 - kappa @ w for w in (rough.weights, fine.weights)]
    assert 0 <= values[0] - values[1] + 1e-9 * abs(values[1]) <= 2e-6 * abs(values[1])


def test_order_and_copies_do_not_matter():
    """Bit by bit: copies are one unknown, and the unknowns have an order of their own."""
    source, target = problem(3, 60, 40, 2)
    source[10:20] = source[:10]
    source[20] = 0.0
    source[21] = -0.0
    kernel = Kernel("rbf", 0.5)
    plain = match_means(source, target, kernel).weights
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_array_equal(match_means(source[order], target[::-1], kernel).weights, plain[order])
    np.testing.assert_array_equal(plain[10:20], plain[:10])
    assert plain[20] == plain[21]
    assert mean_matching._distinct(source)[0].shape == (49, 2)  # ten copies, and a zero with two signs
    twice = match_means(np.r_[source, source], np.r_[target, target], kernel, slack=0.5).weights
    np.testing.assert_allclose(twice[:60], match_means(source, target, kernel, slack=0.5).weights, rtol=1e-6, atol=1e-6)


def test_a_copied_row_weighs_as_one_row_with_twice_the_limit():
    source, target = problem(4, 30, 30, 2)
    source = np.r_[source, source[:5]]
    K, kappa = dense(source, target, 0.5)
    other = by_slsqp(K, kappa, 1.5, 0.1)
    found = match_means(source, target, Kernel("rbf", 0.5), bound=1.5, slack=0.1, tol=1e-10).weights
    values = [w @ K @ w / 2 - kappa @ w for w in (found, other)]
    assert values[0] <= values[1] + 1e-6 * abs(values[1])


@pytest.mark.parametrize(("bound", "slack"), [(0.5, 0.2), (0.99, 0.0)])
def test_limits_that_cannot_be_met(bound, slack):
    source, target = problem(5, 20, 20, 2)
    with pytest.raises(ValueError, match=rf"No weights meet bound={bound:g}.*mean has to be at least.*Raise bound"):
        match_means(source, target, Kernel("rbf", 0.5), bound=bound, slack=slack)
    edge = match_means(source, target, Kernel("rbf", 0.5), bound=1 - slack, slack=slack).weights
    np.testing.assert_allclose(edge, 1 - slack)  # the only weights there are


def test_weights_that_would_all_be_zero_are_refused():
    """The mean may be zero where the slack is 1, and nothing holds weights up where the kernel sees no target row."""
    source, target = problem(8, 20, 20, 2)
    with pytest.raises(ValueError, match=r"No source row is near a target row.*slack=1.*smaller gamma"):
        match_means(source, target + 100, Kernel("rbf", 1.0), slack=1.0)
    some = np.r_[source + 100, target]
    found = match_means(some, target, Kernel("rbf", 1e4), slack=1.0, tol=1e-9)
    assert found.converged
    np.testing.assert_allclose(found.weights, np.repeat([0.0, 2.0], 20), atol=1e-6)


def test_too_few_steps_are_said():
    source, target = problem(6, 200, 100, 2)
    found = match_means(source, target, Kernel("rbf", 0.5), tol=1e-7, max_iter=2)
    assert not found.converged
    assert found.gap > 1e-7
    assert "did not converge in 2 steps" in found.complaint()


limits = st.integers(0, 10_000).map(np.random.default_rng)


@given(limits)
def test_nearest_feasible_point(rng):
    n = int(rng.integers(1, 9))
    upper = rng.uniform(0.2, 2, n) if rng.random() < 0.5 else np.full(n, 0.7)
    low = rng.uniform(0, upper.sum())
    feasible = _Limits(upper, low, low if rng.random() < 0.3 else rng.uniform(low, 1.5 * upper.sum()))
    values = 3 * np.round(rng.standard_normal(n), int(rng.integers(0, 3)))
    point, held = feasible.nearest(values)
    assert np.all((point >= 0) & (point <= upper))
    assert feasible.low - 1e-9 <= point.sum() <= feasible.high + 1e-9
    assert held == (not np.array_equal(point, np.clip(values, 0, upper)) or not low <= point.sum() <= feasible.high)
    for _ in range(20):  # a projection makes an obtuse angle with every feasible point
        other, _ = feasible.nearest(3 * rng.standard_normal(n))
        assert (values - point) @ (other - point) <= 1e-8


@given(limits)
def test_the_excess_is_that_of_the_tangent(rng):
    upper = rng.uniform(0.5, 2, 6)
    feasible = _Limits(upper, 0.3 * upper.sum(), 0.6 * upper.sum())
    gradient, point = rng.standard_normal(6), feasible.nearest(rng.standard_normal(6))[0]
    corners = [feasible.nearest(-1e6 * gradient)[0], *(feasible.nearest(rng.standard_normal(6))[0] for _ in range(50))]
    least = feasible.excess(gradient, point)
    assert least == pytest.approx(gradient @ point - gradient @ corners[0], abs=1e-6)
    assert all(gradient @ (point - corner) <= least + 1e-9 for corner in corners)


def test_columns_approximate_from_below():
    source, _ = problem(7, 80, 1, 4)
    K, _ = dense(source, source, 0.2)
    Zt, left = _pivoted(DenseGram(K), np.ones(80), 15)
    np.testing.assert_allclose(left, np.diag(K - Zt.T @ Zt), atol=1e-12)
    more, ritz = _leading(DenseGram(K), Zt, 10)
    for columns in (Zt, np.r_[Zt, more]):
        assert np.linalg.eigvalsh(K - columns.T @ columns).min() > -1e-10
    exact = np.linalg.eigvalsh(K - Zt.T @ Zt)[::-1]
    assert exact[10] <= np.linalg.norm(K - np.r_[Zt, more].T @ np.r_[Zt, more], 2) <= 1.5 * exact[9]
    assert 0.3 * exact[9] < ritz <= exact[9] + 1e-12
    complete, left = _pivoted(DenseGram(np.ones((5, 5))), np.ones(5), 5)
    assert complete.shape == (1, 5)
    assert not left.any()
