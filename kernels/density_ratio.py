"""Ratios of the target's density to the source's, at source rows: weights under which the source looks like the target.

Both methods are for rows of few dimensions (20, say): in many, every row is far from every other.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from shallowda.kernels.mean_matching import match_means
from shallowda.kernels.pairwise import Kernel, median_gamma

__all__ = ["kernel_mean_matching", "ulsif"]

_WIDTHS = 2.0 ** np.arange(-3, 4)  # times the median rule's gamma
_RIDGES = 10.0 ** np.arange(-3, 2)


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
    source: np.ndarray, target: np.ndarray, *, bound: float = 1000.0, tol: float = 1e-5, max_iter: int = 200
) -> np.ndarray:
    """Weights of the source rows whose weighted mean in the feature space of an RBF kernel is nearest to the target's.

    The quadratic programme of `shallowda.kernels.mean_matching.match_means`, with the paper's slack and the width of
    the median rule.

    Cost: see `match_means`.

    Parameters
    ----------
    source : ndarray of shape (n_source, d)
    target : ndarray of shape (n_target, d)
    bound : float >= 1, default=1000
        Largest weight.
    tol : float, default=1e-5
        Relative duality gap at which to end.
    max_iter : int, default=200

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
    found = match_means(source, target, kernel, bound=bound, tol=tol, max_iter=max_iter)
    if not found.converged:
        warnings.warn(found.complaint(), ConvergenceWarning, stacklevel=2)
    return found.weights
