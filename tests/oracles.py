"""Dense float64 textbook solutions: slow, obvious, n x n wherever the formula says so."""

import numpy as np
import scipy.linalg


def centring(n):
    return np.eye(n) - np.ones((n, n)) / n


def mmd_matrix(source, codes=None, n_classes=0, marginal=1.0, conditional=1.0, authors=False):
    """M entry by entry, as the papers print it."""
    n, ns, nt = len(source), source.sum(), (~source).sum()
    M = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            M[i, j] = (1 / ns if source[i] else -1 / nt) * (1 / ns if source[j] else -1 / nt)
    M *= marginal * (max(n_classes, 1) if authors else 1)
    for c in range(n_classes if codes is not None else 0):
        in_s, in_t = source & (codes == c), ~source & (codes == c)
        if not in_s.any() or not in_t.any():
            continue
        for i in np.flatnonzero(codes == c):
            for j in np.flatnonzero(codes == c):
                a = 1 / in_s.sum() if source[i] else -1 / in_t.sum()
                b = 1 / in_s.sum() if source[j] else -1 / in_t.sum()
                M[i, j] += conditional * a * b
    return M / np.linalg.norm(M) if authors and M.any() else M


def pencil(b, a, k):
    """Top-k of (b, a) by the generalised dense solver, scaled so that A^T b A = I."""
    rho, A = scipy.linalg.eigh(b, a)
    rho, A = rho[::-1][:k], A[:, ::-1][:, :k]
    return A / np.sqrt(rho), rho


def spectral(Phi, M, ridge, k):
    """Solution of TCA/JDA/BDA for rows Phi (n x m); ridge a number, a vector, or a matrix."""
    n, m = Phi.shape
    R = ridge * np.eye(m) if np.ndim(ridge) == 0 else np.diag(ridge) if np.ndim(ridge) == 1 else ridge
    return pencil(Phi.T @ centring(n) @ Phi, Phi.T @ M @ Phi + R, k)


def angle(A, B):
    """Largest principal angle between the column spaces."""
    return scipy.linalg.subspace_angles(np.asarray(A, float), np.asarray(B, float)).max()


def shifted_domains(seed=0, ns=40, nt=35, d=8, n_classes=3, dtype=float):
    """Classes as Gaussians, a target that is moved and stretched."""
    rng = np.random.RandomState(seed)
    means = 3.0 * rng.randn(n_classes, d)
    ys, yt = np.arange(ns) % n_classes, np.arange(nt) % n_classes
    Xs = means[ys] + rng.randn(ns, d)
    Xt = (means[yt] + rng.randn(nt, d)) * np.linspace(0.8, 1.3, d) + rng.randn(d)
    return Xs.astype(dtype), ys, Xt.astype(dtype), yt


def stacked(Xs, ys, Xt, yt=None):
    """X, source mask, and codes with the given target labels."""
    source = np.repeat([True, False], [len(Xs), len(Xt)])
    return np.vstack([Xs, Xt]), source, np.concatenate([ys, np.full(len(Xt), -1) if yt is None else yt])
