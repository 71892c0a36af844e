"""Ratios of the target's density to the source's, at source rows: weights under which the source looks like the target.

Both methods are for rows of few dimensions (20, say): in many, every row is far from every other.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from shallowda.kernels.pairwise import Kernel, median_gamma

__all__ = ["kernel_mean_matching", "ulsif"]

_WIDTHS = 2.0 ** np.arange(-3, 4)  # times the median rule's gamma
_RIDGES = 10.0 ** np.arange(-3, 2)
_LOOK = 10  # steps between looks at how far the least distance is
_MOST_EXCESS = 1e-5  # of the squared distance of the means, where that of two rows is 2 at most


def ulsif(source: np.ndarray, target: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Unconstrained least-squares importance fitting.

    The ratio is modelled as a sum of Gaussians around the centres with non-negative weights: ``alpha = max(0, (H +
    ridge I)^{-1} h)``, where ``H`` is the mean of ``phi phi^T`` over the source and ``h`` the mean of ``phi`` over the
    target. Width and ridge have the least leave-one-out error, in closed form (one row of each domain left out at a
    time).

    Cost: (n_source + n_target) b^2 for b centres and each of seven widths.

    Parameters
    ----------
    source : ndarray of shape (n_source, d), n_source >= 2
    target : ndarray of shape (n_target, d), n_target >= 2
    centres : ndarray of shape (b, d)
        Some of the target rows.

    Returns
    -------
    weights : ndarray of shape (n_source,)
        Non-negative; about 1 on average.

    References
    ----------
    T. Kanamori, S. Hido, M. Sugiyama. "A least-squares approach to direct importance estimation". JMLR 10, 2009.
    """
    gamma = median_gamma(np.concatenate([source, target]), "rbf")
    best, error = np.ones(len(source)), np.inf
    for width in _WIDTHS:
        kernel = Kernel("rbf", gamma * width)
        phi_source, phi_target = kernel(source, centres), kernel(target, centres)
        H, h = phi_source.T @ phi_source / len(source), phi_target.mean(axis=0)
        for ridge in _RIDGES:
            loss = _left_out(phi_source, phi_target, H, h, ridge)
            if loss < error:
                alpha = np.linalg.solve(H + ridge * np.eye(len(h)), h)
                best, error = phi_source @ np.maximum(alpha, 0.0), loss
    return best


def _left_out(phi_source: np.ndarray, phi_target: np.ndarray, H: np.ndarray, h: np.ndarray, ridge: float) -> float:
    """Leave-one-out error ``mean w(source)^2 / 2 - mean w(target)``: the i-th row of each domain is left out at a time.

    Without row i the means are ``(n_s H - phi phi^T) / (n_s - 1)`` and ``(n_t h - psi) / (n_t - 1)``; the inverse
    follows from that of all rows by the Sherman-Morrison formula.
    """
    n_source, n_target = len(phi_source), len(phi_target)
    m = min(n_source, n_target)
    P, T = phi_source[:m].T, phi_target[:m].T
    B = H * n_source / (n_source - 1) + ridge * np.eye(len(h))
    solved = np.linalg.solve(B, np.column_stack([P, (n_target * h)[:, None] - T]))
    BP, BT = solved[:, :m], solved[:, m:] / (n_target - 1)
    shrink = n_source - 1 - np.einsum("bi,bi->i", P, BP)
    alpha = np.maximum(BT + BP * (np.einsum("bi,bi->i", P, BT) / shrink), 0.0)
    w_source, w_target = np.einsum("bi,bi->i", P, alpha), np.einsum("bi,bi->i", T, alpha)
    return float(np.mean(w_source**2) / 2 - np.mean(w_target))


def kernel_mean_matching(
    source: np.ndarray, target: np.ndarray, *, bound: float = 1000.0, tol: float = 1e-6, max_iter: int = 5000
) -> np.ndarray:
    """Weights of the source rows whose weighted mean in the feature space of an RBF kernel is nearest to the target's.

    Minimises ``w^T K w / 2 - kappa^T w`` with ``kappa_i = n_s / n_t sum_j k(s_i, t_j)`` under ``0 <= w_i <= bound`` and
    ``|mean(w) - 1| <= 1 - 1 / sqrt(n_s)``, as in the paper; the width comes from the median rule. Solved by accelerated
    projected gradient steps: the projection on a box between two sums is one sorted search.

    Cost: n_source^2 a step; memory n_source (n_source + n_target).

    Parameters
    ----------
    source : ndarray of shape (n_source, d)
    target : ndarray of shape (n_target, d)
    bound : float >= 1, default=1000
        Largest weight.
    tol : float, default=1e-6
        Ends when a step changes no weight by more than this, relative to the largest, and the squared distance of the
        means is known to within 1e-5: steps may be short far from the least one.
    max_iter : int, default=5000

    Returns
    -------
    weights : ndarray of shape (n_source,)

    Warns
    -----
    ConvergenceWarning
        If `max_iter` steps were not enough; with a bound on how much farther the means are than at best.

    References
    ----------
    J. Huang, A. Smola, A. Gretton, K. Borgwardt, B. Schoelkopf. "Correcting sample selection bias by unlabeled data".
    NIPS 2006.
    """
    kernel = Kernel("rbf", median_gamma(np.concatenate([source, target]), "rbf"))
    n = len(source)
    K, kappa = kernel(source), n * kernel(source, target).mean(axis=1)
    slack = n - np.sqrt(n)
    step = 1.0 / np.abs(K).sum(axis=1).max()  # at most one over the largest eigenvalue
    weights = ahead = np.ones(n)
    momentum = 1.0
    for iteration in range(max_iter):
        before = weights
        weights = _projected(ahead - step * (K @ ahead - kappa), bound, n - slack, n + slack)
        change = weights - before
        short = np.abs(change).max() <= tol * max(np.abs(weights).max(), 1.0)
        if (short and iteration % _LOOK == 0) or iteration == max_iter - 1:
            excess = _excess(K @ weights - kappa, weights, bound, n - slack, n + slack) * 2 / n**2
            if short and excess <= _MOST_EXCESS:
                break
        if change @ (ahead - weights) > 0:  # the momentum points uphill: start it anew
            momentum = 1.0
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = weights + (momentum - 1) / faster * change
        momentum = faster
    else:
        warnings.warn(
            f"Kernel mean matching did not converge in {max_iter} steps: the last changed a weight by "
            f"{np.abs(change).max():.1e}, and the squared distance of the means may be {excess:.1e} above the least.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return weights


def _excess(gradient: np.ndarray, weights: np.ndarray, bound: float, low: float, high: float) -> float:
    """Bound on a convex function above its least value, on entries in [0, bound] and a sum in [low, high].

    It lies above its tangent, whose least value has the entries of smallest gradient at the bound.
    """
    ordered = np.sort(gradient)
    places = np.clip(np.array([[low], [high]]) - bound * np.arange(len(ordered)), 0.0, bound)  # sum low, and sum high
    best = np.where(ordered < 0, places[1], places[0])
    return float(gradient @ weights - ordered @ best)


def _projected(values: np.ndarray, bound: float, low: float, high: float) -> np.ndarray:
    """The nearest point with entries in [0, bound] and a sum in [low, high]."""
    inside = np.clip(values, 0.0, bound)
    total = inside.sum()
    if low <= total <= high:
        return inside
    wanted = low if total < low else high
    # sum(clip(values - shift)) falls with the shift, linearly between the points where an entry meets a limit
    corners = np.sort(np.concatenate([values, values - bound]))
    sums = _clipped_sums(values, corners, bound)
    after = max(int(np.searchsorted(-sums, -wanted)), 1)  # sums[after] <= wanted <= sums[after - 1]
    left, right, fall = corners[after - 1], corners[after], sums[after - 1] - sums[after]
    share = (sums[after - 1] - wanted) / fall if fall > 0 else 0.0
    return np.clip(values - (left + share * (right - left)), 0.0, bound)


def _clipped_sums(values: np.ndarray, shifts: np.ndarray, bound: float) -> np.ndarray:
    """``sum(clip(values - shift, 0, bound))`` for each shift, ascending."""
    ordered = np.sort(values)
    tails = np.concatenate([[0.0], np.cumsum(ordered[::-1])])  # sum of the largest
    above = len(values) - np.searchsorted(ordered, shifts, side="right")
    capped = len(values) - np.searchsorted(ordered, shifts + bound, side="right")
    return tails[above] - above * shifts - (tails[capped] - capped * (shifts + bound))
