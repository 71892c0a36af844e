"""Distances between two samples: of means in a feature space, of moments, and of transport.

Nothing of size n x n is kept: sums of kernel values and distances are taken in blocks of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.spatial.distance import cdist

from shallowda.kernels.moments import mean_and_scatter
from shallowda.kernels.pairwise import Kernel, unit_rows
from shallowda.kernels.threads import parts

__all__ = [
    "bures_squared",
    "central_moments",
    "energy",
    "kernel_sums",
    "kernel_weights",
    "label_ratio",
    "linear_time_terms",
    "mmd_from_sums",
    "permuted_mmd",
    "quantile_distance",
]

KernelFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]

_BLOCK_VALUES = 2**22  # kernel values at work at a time
_SATURATED = 15.0  # where tanh is one to working precision, and its changes are none


def _sum(functions: Sequence[KernelFunction], one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Sum over all pairs of rows of a product of functions, each of what it sees of the rows."""
    step, total = max(1, _BLOCK_VALUES // max(len(other[0]), 1)), 0.0
    for part in parts(len(one[0]), step):
        block = functions[0](one[0][part], other[0])
        for function, X, Y in zip(functions[1:], one[1:], other[1:], strict=True):
            block = block * function(X[part], Y)
        total += float(block.sum(dtype=np.float64))
    return total


class _Change:
    """A polynomial or sigmoid kernel less its value c at an origin, of rows relative to that: its small values.

    With b = gamma <o, o> + coef0 and t the change of that, they are ``(b + t)^p - b^p = t sum_i (b + t)^(p-1-i) b^i``,
    and ``tanh(b + t) - tanh b = (1 - T^2) tanh t / (1 + T tanh t)``, T = tanh b.
    """

    def __init__(self, kernel: Kernel, origin: np.ndarray) -> None:
        self.kernel, self.origin = kernel, origin
        self.gamma = 1.0 / len(origin) if kernel.gamma is None else kernel.gamma
        self.base = self.gamma * float(origin @ origin) + kernel.coef0

    def __call__(self, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):  # looked for below
            return self._values(X @ Y.T + (X @ self.origin)[:, None] + Y @ self.origin)

    def diagonal(self, X: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return self._values(np.einsum("ij,ij->i", X, X) + 2 * (X @ self.origin))

    def _values(self, products: np.ndarray) -> np.ndarray:
        change = self.gamma * products
        if self.kernel.name == "sigmoid":
            rise, T = np.tanh(change), np.tanh(self.base)
            values = rise * (1 - T**2) / (1 + T * rise)
        else:
            degree, moved = int(self.kernel.degree), self.base + change
            values = change * sum(moved ** (degree - 1 - i) * np.float64(self.base) ** i for i in range(degree))
        self.kernel.require_finite(values)
        return values


def _about_the_mean(kernel: Kernel, Xs: np.ndarray, Xt: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    """A kernel and rows of the same discrepancy, whose values do not spend their digits on the mean of the rows.

    What is constant, or depends on one row of a pair only, cancels in a discrepancy.
    """
    name = kernel.name
    if name == "cosine":
        Xs, Xt = unit_rows(Xs), unit_rows(Xt)
    origin = np.concatenate([Xs, Xt]).mean(axis=0)
    if name in ("linear", "cosine"):
        return Kernel("linear"), Xs - origin, Xt - origin
    with np.errstate(over="ignore", invalid="ignore"):  # plain kernels say so
        change = _Change(kernel, origin)
    small = abs(change.base) < _SATURATED if name == "sigmoid" else kernel.degree in range(1, 9)
    if name in ("poly", "polynomial", "sigmoid") and small:
        return change, Xs - origin, Xt - origin
    return kernel, Xs, Xt


def kernel_sums(kernels: Sequence[Kernel], Xs: Sequence[np.ndarray], Xt: Sequence[np.ndarray]) -> np.ndarray:
    """Sums of a product kernel over all pairs: within the source, within the target, between them; and both traces.

    They are meant for `mmd_from_sums`, in which a constant cancels: of a single kernel, values may be less a constant.

    Parameters
    ----------
    kernels : sequence of Kernel, one for each factor
    Xs : sequence of ndarrays of shape (n_source, d_l)
        What each factor sees of the source rows.
    Xt : sequence of ndarrays of shape (n_target, d_l)

    Returns
    -------
    sums : ndarray of shape (5,)
    """
    if len(kernels) == 1:
        kernel, one, other = _about_the_mean(kernels[0], Xs[0], Xt[0])
        kernels, Xs, Xt = [kernel], [one], [other]

    def trace(rows: Sequence[np.ndarray]) -> float:
        diagonals = [kernel.diagonal(X) for kernel, X in zip(kernels, rows, strict=True)]
        return float(np.prod(diagonals, axis=0).sum(dtype=np.float64))

    pairs = (_sum(kernels, one, other) for one, other in ((Xs, Xs), (Xt, Xt), (Xs, Xt)))
    return np.array([*pairs, trace(Xs), trace(Xt)])


def mmd_from_sums(sums: np.ndarray, n_source: int, n_target: int, *, unbiased: bool) -> float:
    """Squared maximum mean discrepancy from `kernel_sums`.

    The biased one is a squared norm, so never negative; the unbiased one leaves the diagonals out.

    Parameters
    ----------
    sums : ndarray of shape (5,)
    n_source, n_target : int
    unbiased : bool

    Returns
    -------
    squared : float
    """
    source, target, between, source_trace, target_trace = sums
    cross = 2 * between / (n_source * n_target)
    if unbiased:
        within = (source - source_trace) / (n_source * (n_source - 1))
        return float(within + (target - target_trace) / (n_target * (n_target - 1)) - cross)
    return max(float(source / n_source**2 + target / n_target**2 - cross), 0.0)


def linear_time_terms(gamma: float, Xs: np.ndarray, Xt: np.ndarray) -> np.ndarray:
    """Independent terms whose mean is an unbiased estimate of the squared MMD, in time linear in n.

    Each comes from two rows of either sample: ``k(s, s') + k(t, t') - k(s, t') - k(s', t)``.

    Parameters
    ----------
    gamma : float
        Of the RBF kernel.
    Xs, Xt : ndarray of shape (n, d)
        In random order; of the longer one, and of an odd number, the rest is left out.

    Returns
    -------
    terms : ndarray of shape (n // 2,)
    """
    n = min(len(Xs), len(Xt)) // 2 * 2
    s, s_, t, t_ = Xs[:n:2], Xs[1:n:2], Xt[:n:2], Xt[1:n:2]

    def values(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        gaps = one - other
        return np.exp(-gamma * np.einsum("ij,ij->i", gaps, gaps))

    return values(s, s_) + values(t, t_) - values(s, t_) - values(s_, t)


def kernel_weights(terms: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """Non-negative weights of kernels, sum 1, for which the MMD is largest against its standard deviation.

    Minimises ``b^T (Q + ridge) b`` under ``eta^T b = 1, b >= 0``, where eta and Q are mean and covariance of the terms,
    by the equivalent least-squares problem: the direction of ``argmin_b>=0 b^T Q b / 2 - eta^T b``. Where no kernel has
    a positive mean, the one whose mean is largest against its deviation.

    Parameters
    ----------
    terms : ndarray of shape (m, n_kernels), m >= 2
        `linear_time_terms` of each kernel.
    ridge : float, default=1e-3
        Relative to the mean variance of the terms.

    Returns
    -------
    weights : ndarray of shape (n_kernels,)
    """
    eta, Q = terms.mean(axis=0), np.atleast_2d(np.cov(terms, rowvar=False))
    scale = float(np.trace(Q)) / len(Q)
    if scale == 0 or np.all(eta <= 0):
        chosen = np.argmax(eta / np.sqrt(np.diag(Q) + np.finfo(float).tiny))
        return np.eye(len(eta))[chosen]
    L = np.linalg.cholesky(Q / scale + ridge * np.eye(len(Q)))
    weights, _ = nnls(L.T, np.linalg.solve(L, eta / np.abs(eta).max()))
    return weights / weights.sum()


def permuted_mmd(K: np.ndarray, n_source: int, permutations: np.ndarray) -> np.ndarray:
    """Biased squared MMD of samples that are drawn anew from both: one product with the kernel matrix for all.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Kernel matrix of the rows of both samples.
    n_source : int
    permutations : ndarray of shape (p, n), int
        In each row, the rows that come first are the source.

    Returns
    -------
    squared : ndarray of shape (p,)
    """
    n = len(K)
    signed = np.full((n, len(permutations)), -1.0 / (n - n_source))
    np.put_along_axis(signed, permutations[:, :n_source].T, 1.0 / n_source, axis=0)
    return np.maximum(np.einsum("ip,ip->p", signed, K @ signed), 0.0)


def central_moments(X: np.ndarray, order: int) -> np.ndarray:
    """Mean, then the central moments 2 to `order` of each column, shape (order, d)."""
    mean = X.mean(axis=0)
    gaps = X - mean
    return np.array([mean, *(np.mean(gaps**power, axis=0) for power in range(2, order + 1))])


def energy(Xs: np.ndarray, Xt: np.ndarray) -> float:
    """``2 E||s - t|| - E||s - s'|| - E||t - t'||``, with means over all pairs."""
    within, other, between = (_sum([cdist], [X], [Y]) / (len(X) * len(Y)) for X, Y in ((Xs, Xs), (Xt, Xt), (Xs, Xt)))
    return max(2 * between - within - other, 0.0)


def quantile_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared 2-Wasserstein distance of the columns of two arrays: the gap between their quantile functions, exactly.

    Parameters
    ----------
    a : ndarray of shape (n, p)
    b : ndarray of shape (m, p)

    Returns
    -------
    squared : ndarray of shape (p,)
    """
    a, b = np.sort(a, axis=0), np.sort(b, axis=0)
    n, m = len(a), len(b)
    steps = np.unique(np.concatenate([np.arange(n + 1) * m, np.arange(m + 1) * n]))  # in units of 1 / (n m)
    start = steps[:-1]
    return np.diff(steps) @ (a[start // m] - b[start // n]) ** 2 / (n * m)


def bures_squared(Xs: np.ndarray, Xt: np.ndarray) -> tuple[float, float]:
    """Squared 2-Wasserstein distance of the normal distributions with the samples' moments: its two parts.

    ``||m_s - m_t||^2`` and ``tr(C_s + C_t - 2 (C_s^{1/2} C_t C_s^{1/2})^{1/2})``; the last trace is the nuclear norm of
    ``R_s^T R_t`` for any roots ``C = R R^T``, here the centred rows or a Cholesky factor, whichever is smaller.

    Parameters
    ----------
    Xs : ndarray of shape (n_source, d), n_source >= 2
    Xt : ndarray of shape (n_target, d), n_target >= 2

    Returns
    -------
    of_means, of_covariances : float
    """
    roots, means, traces = [], [], []
    for X in (Xs, Xt):
        n, d = X.shape
        if n > d:
            mean, scatter = mean_and_scatter(X)
            values, vectors = np.linalg.eigh(scatter / (n - 1))
            root = vectors * np.sqrt(np.maximum(values, 0.0))
        else:
            mean = X.mean(axis=0)
            root = (X - mean).T / np.sqrt(n - 1)
        roots.append(root)
        means.append(mean)
        traces.append(float(np.sum(root**2)))
    overlap = np.linalg.norm(roots[0].T @ roots[1], "nuc")
    return float(np.sum((means[0] - means[1]) ** 2)), max(sum(traces) - 2 * float(overlap), 0.0)


def label_ratio(confusion: np.ndarray, predicted: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Ratio of class shares, target over source, under which the source's confusion explains the target's predictions.

    Least squares ``||confusion w - predicted||`` under ``w >= 0`` and ``prior^T w = 1``. Where the equality holds, the
    residual is ``R w`` with ``R = confusion - predicted prior^T``. Non-negative least squares with the equality as one
    more row has the solution but for its length: of ``w = t v`` with ``prior^T v = 1``, the best t leaves
    ``r / (1 + r)`` with ``r = ||R v||^2``, which grows with r. So no large weight is needed, which would cost digits.

    Parameters
    ----------
    confusion : ndarray of shape (C, C)
        Joint shares of the source: ``[i, j]`` predicted i and labelled j.
    predicted : ndarray of shape (C,)
        Shares of the predictions on the target.
    prior : ndarray of shape (C,), positive
        Class shares of the source: column sums of the confusion.

    Returns
    -------
    ratio : ndarray of shape (C,)
    """
    residual = confusion - np.outer(predicted, prior)
    ratio, _ = nnls(np.vstack([residual, prior]), np.append(np.zeros(len(predicted)), 1.0))
    return ratio / float(prior @ ratio)
