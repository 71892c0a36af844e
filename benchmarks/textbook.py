"""The eight methods as their papers print them: dense float64 matrices and LAPACK, n x n wherever the formula says so.

Slow on purpose. They are what the fast paths are measured against, in time and in accuracy, and use nothing of
shallowda.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize


class Solution(NamedTuple):
    """Coefficients, labels of the target after the last pass, and the number of passes."""

    weights: np.ndarray
    labels: np.ndarray | None = None
    passes: int = 1


def gram(X: np.ndarray, kernel: str | None, gamma: float | None = None) -> np.ndarray:
    """Kernel matrix; for None the rows themselves, on which the problem is solved directly."""
    X = np.asarray(X, dtype=np.float64)
    return X if kernel is None else X @ X.T if kernel == "linear" else rbf_kernel(X, gamma=gamma)


def mmd_matrix(
    source: np.ndarray, codes: np.ndarray | None = None, n_classes: int = 1, balance: float = 0.5
) -> np.ndarray:
    """M of JDA (balance 1/2), BDA and TCA (no codes), divided by its Frobenius norm as the authors' codes do."""

    def outer(rows: np.ndarray) -> np.ndarray:
        e = np.where(source, 1.0, -1.0) * rows
        e[source] /= max(np.sum(rows & source), 1)
        e[~source] /= max(np.sum(rows & ~source), 1)
        return np.outer(e, e)

    M = n_classes * outer(np.ones(len(source), dtype=bool))
    if codes is not None:
        M *= 1 - balance
        for c in range(n_classes):
            rows = codes == c
            if (rows & source).any() and (rows & ~source).any():
                M += balance * outer(rows)
    return M / np.linalg.norm(M)


def pencil(Phi: np.ndarray, M: np.ndarray, ridge: float | np.ndarray, k: int) -> np.ndarray:
    """Top-k of (Phi^T H Phi, Phi^T M Phi + diag(ridge)), scaled to A^T Phi^T H Phi A = I."""
    n, m = Phi.shape
    H = np.eye(n) - np.ones((n, n)) / n
    B, A = Phi.T @ H @ Phi, Phi.T @ M @ Phi + np.diag(np.broadcast_to(ridge, m))
    values, vectors = scipy.linalg.eigh((B + B.T) / 2, (A + A.T) / 2, subset_by_index=[m - k, m - 1])
    return (vectors / np.sqrt(values))[:, ::-1]


def unit(A: np.ndarray) -> np.ndarray:
    """Columns of norm one."""
    return A / np.linalg.norm(A, axis=0)


def nearest_labels(Z: np.ndarray, y: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Target labels by the nearest source row, by cosine."""
    Z = normalize(Z)
    return KNeighborsClassifier(1, algorithm="brute").fit(Z[source], y[source]).predict(Z[~source])


def tca(X: np.ndarray, y: np.ndarray, kernel: str | None, gamma: float | None = None, k: int = 30) -> Solution:
    """Transfer component analysis, labelled by the nearest source row."""
    Phi, source = gram(X, kernel, gamma), y != -1
    A = unit(pencil(Phi, mmd_matrix(source), 1.0, k))
    return Solution(A, nearest_labels(Phi @ A, y, source))


def jda(
    X: np.ndarray,
    y: np.ndarray,
    kernel: str | None,
    gamma: float | None = None,
    k: int = 30,
    max_iter: int = 10,
    balance: float = 0.5,
    labels: np.ndarray | None = None,
) -> Solution:
    """Joint (or balanced) distribution adaptation; `labels` are the target labels of the first pass, if any.

    Classes are 0 .. C - 1. Ends when the labels settle, or after `max_iter` passes.
    """
    Phi, source, n_classes, passes = gram(X, kernel, gamma), y != -1, y.max() + 1, 0
    for _ in range(max_iter):
        codes = y.copy()
        if labels is not None:
            codes[~source] = labels
        A = unit(pencil(Phi, mmd_matrix(source, None if labels is None else codes, n_classes, balance), 1.0, k))
        before, labels = labels, nearest_labels(Phi @ A, y, source)
        passes += 1
        if before is not None and np.array_equal(before, labels):
            break
    return Solution(A, labels, passes)


def tjm(
    X: np.ndarray, y: np.ndarray, kernel: str = "linear", gamma: float | None = None, k: int = 30, passes: int = 10
) -> Solution:
    """Transfer joint matching by reweighting, `passes` times."""
    K, source = gram(X, kernel, gamma), y != -1
    M, weights, smoothing = mmd_matrix(source), np.ones(len(K)), 0.0
    for _ in range(passes):
        A = pencil(K, M, weights, k)
        norms = np.linalg.norm(A, axis=1)
        smoothing = smoothing or 1e-6 * norms.max()
        weights[source] = 1 / np.hypot(norms, smoothing)[source]
    return Solution(unit(A), nearest_labels(K @ unit(A), y, source), passes)


def principal_basis(rows: np.ndarray, k: int) -> np.ndarray:
    """Leading principal directions (d x k), by a full singular value decomposition."""
    return scipy.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:k].T


def subspace_alignment(Xs: np.ndarray, Xt: np.ndarray, k: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Source map and target map, both d x k."""
    P, Q = principal_basis(Xs, k), principal_basis(Xt, k)
    return P @ (P.T @ Q), Q


def coral(Xs: np.ndarray, Xt: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """``C_s^{-1/2} C_t^{1/2}`` (d x d)."""

    def power(rows: np.ndarray, exponent: float) -> np.ndarray:
        values, vectors = scipy.linalg.eigh(np.cov(rows.T) + ridge * np.eye(rows.shape[1]))
        return (vectors * values**exponent) @ vectors.T

    return power(Xs, -0.5) @ power(Xt, 0.5)


def gfk(Xs: np.ndarray, Xt: np.ndarray, k: int = 30) -> np.ndarray:
    """The geodesic flow kernel G (d x d) of the paper, with the orthogonal complement of the source subspace."""
    P, Q = principal_basis(Xs, k), principal_basis(Xt, k)
    full = scipy.linalg.qr(P)[0]
    R = full[:, k:]
    U, cosines, Vt = scipy.linalg.svd(P.T @ Q)
    angles = np.arccos(np.clip(cosines, -1, 1))
    sines = np.sin(angles)
    directions = np.divide(R @ (R.T @ Q @ Vt.T), sines, out=np.zeros_like(P), where=sines > 1e-12)
    ends = np.hstack([P @ U, directions])  # the geodesic is P U cos(t angle) + directions sin(t angle)
    double = np.sinc(2 * angles / np.pi)
    mixed = np.divide(1 - np.cos(2 * angles), 2 * angles, out=np.zeros(k), where=angles > 0)
    middle = np.block([[np.diag(1 + double), np.diag(mixed)], [np.diag(mixed), np.diag(1 - double)]])
    return ends @ middle @ ends.T / 2


def artl(
    X: np.ndarray,
    y: np.ndarray,
    kernel: str = "linear",
    gamma: float | None = None,
    ridge: float = 0.1,
    mmd_weight: float = 10.0,
    manifold_weight: float = 1.0,
    n_neighbors: int = 10,
) -> np.ndarray:
    """Scores (n x C) of ARRLS after one pass, by the n x n system of the paper."""
    K, source, n_classes = gram(X, kernel, gamma), y != -1, y.max() + 1
    labels = LogisticRegression(max_iter=1000).fit(X[source], y[source]).predict(X[~source])
    codes = y.copy()
    codes[~source] = labels
    M = mmd_matrix(source, codes, n_classes)
    cosines = normalize(X) @ normalize(X).T
    np.fill_diagonal(cosines, -np.inf)
    near = cosines >= np.sort(cosines, axis=1)[:, [-n_neighbors]]
    W = np.where(near | near.T, np.maximum(cosines, 0), 0)
    root = 1 / np.sqrt(np.maximum(W.sum(axis=1), 1e-300))
    L = np.eye(len(W)) - root[:, None] * W * root
    Y = np.eye(n_classes)[np.where(source, y, 0)] * source[:, None]
    system = (np.diag(source.astype(float)) + mmd_weight * M + manifold_weight * L) @ K + ridge * np.eye(len(K))
    return K @ np.linalg.solve(system, Y)
