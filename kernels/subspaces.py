"""Principal subspaces of two domains and the geometry between them."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from shallowda.kernels.moments import column_mean, scatter_spectrum

__all__ = ["disagreement", "flow_factor", "flow_point", "pca_basis", "principal_vectors"]


def pca_basis(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leading principal directions of the rows.

    Works on the smaller of the d x d and the n x n Gram matrix.

    Parameters
    ----------
    rows : ndarray of shape (n, d), n >= 2
    k : int

    Returns
    -------
    mean : ndarray of shape (d,)
    basis : ndarray of shape (d, k'), orthonormal columns
        k' < k where the centred rows have a smaller rank.
    variances : ndarray of shape (k',), descending
        Divisor n - 1.
    """
    mean = column_mean(rows)
    values, basis = scatter_spectrum(rows, mean, k)
    return mean, basis, values / (len(rows) - 1)


def principal_vectors(P: np.ndarray, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Principal angles between two subspaces, and the frame of the geodesic from the first to the second.

    Parameters
    ----------
    P, Q : ndarray of shape (d, k), orthonormal columns

    Returns
    -------
    angles : ndarray of shape (k,), ascending, in radians
        By ``atan2(sin, cos)``, so that angles of 1e-9 are as good as angles of 1.
    start : ndarray of shape (d, k)
        Principal vectors of P.
    end : ndarray of shape (d, k)
        Those of Q, ``start cos(angle) + normal sin(angle)``.
    normal : ndarray of shape (d, k)
        Unit direction from `start` to `end`, orthogonal to P; zero columns where the angle is zero.
    """
    overlap = P.T @ Q
    U, cosines, Vt = scipy.linalg.svd(overlap)
    V, near = Vt.T, cosines > np.sqrt(0.5)
    # where cosines are all but one they no longer tell the directions apart, but the sines do
    near_V = V[:, near]
    residual = Q @ near_V - P @ (overlap @ near_V)
    V[:, near] = near_V @ scipy.linalg.svd(residual, full_matrices=False)[2][::-1].T
    U[:, near] = overlap @ V[:, near]
    U[:, near] /= np.linalg.norm(U[:, near], axis=0)
    start, end = P @ U, Q @ V
    residual = end - P @ (overlap @ V)
    sines = np.linalg.norm(residual, axis=0)
    moved = sines > np.finfo(np.float64).eps * len(P)
    normal = np.where(moved, residual / np.where(moved, sines, 1.0), 0.0)
    return np.arctan2(np.where(moved, sines, 0.0), np.einsum("ij,ij->j", start, end)), start, end, normal


def flow_point(P: np.ndarray, Q: np.ndarray, t: float) -> np.ndarray:
    """Orthonormal basis of the subspace at time t of the geodesic from span(P), t = 0, to span(Q), t = 1.

    Parameters
    ----------
    P, Q : ndarray of shape (d, k), orthonormal columns
    t : float

    Returns
    -------
    basis : ndarray of shape (d, k)
    """
    angles, start, _, normal = principal_vectors(P, Q)
    return start * np.cos(t * angles) + normal * np.sin(t * angles)


def flow_factor(P: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Thin factor L of the geodesic flow kernel, ``G = integral_0^1 Phi(t) Phi(t)^T dt = L L^T``.

    In the plane of each pair (start_i, normal_i) the integral is the 2 x 2 matrix ``[[a, b], [b, g]]`` with

        a = (1 + sinc) / 2,   g = (1 - sinc) / 2,   b = sin(angle)^2 / (2 angle),   sinc = sin(2 angle) / (2 angle)

    and L holds its square root. G itself (d x d) is never built.

    Parameters
    ----------
    P, Q : ndarray of shape (d, k), orthonormal columns

    Returns
    -------
    L : ndarray of shape (d, 2k)
    """
    angles, start, _, normal = principal_vectors(P, Q)
    sinc = np.sinc(2 * angles / np.pi)
    half_b = 0.5 * np.sin(angles) * np.sinc(angles / np.pi)
    blocks = np.empty((len(angles), 2, 2))
    blocks[:, 0, 0], blocks[:, 1, 1] = 0.5 * (1 + sinc), 0.5 * (1 - sinc)
    blocks[:, 0, 1] = blocks[:, 1, 0] = half_b
    values, vectors = np.linalg.eigh(blocks)
    roots = vectors * np.sqrt(np.clip(values, 0.0, None))[:, None, :]
    return np.hstack([start * roots[:, 0, j] + normal * roots[:, 1, j] for j in (1, 0)])


def disagreement(P: np.ndarray, Q: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """Subspace disagreement measure ``D(k) = (sin alpha_k + sin beta_k) / 2`` for k = 1 .. K.

    alpha_k (beta_k) is the largest principal angle between the first k directions of the first (second) domain and
    those of the pooled data.

    Parameters
    ----------
    P, Q, pooled : ndarray of shape (d, K), orthonormal columns in descending variance

    Returns
    -------
    D : ndarray of shape (K,), values in [0, 1]
    """
    overlap_P, overlap_Q = P.T @ pooled, Q.T @ pooled

    def largest_sine(overlap: np.ndarray) -> float:
        smallest_cosine = scipy.linalg.svdvals(overlap)[-1]
        return float(np.sqrt(max(0.0, 1.0 - smallest_cosine**2)))

    return np.array(
        [0.5 * (largest_sine(overlap_P[:k, :k]) + largest_sine(overlap_Q[:k, :k])) for k in range(1, P.shape[1] + 1)]
    )
