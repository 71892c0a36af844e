"""Principal subspaces of two domains and the geometry between them."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg

from shallowda.kernels.arrays import Array, from_numpy, namespace, to_numpy
from shallowda.kernels.eigen import fix_signs
from shallowda.kernels.moments import Moments, scatter_spectrum

__all__ = ["disagreement", "flow_factor", "flow_point", "nearest_rotation", "pca_basis", "principal_vectors"]


def pca_basis(rows: Array | Moments, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leading principal directions of the rows.

    Works on the smaller of the d x d and the n x n Gram matrix.

    Parameters
    ----------
    rows : ndarray of shape (n, d), n >= 2, or Moments
    k : int

    Returns
    -------
    mean : ndarray of shape (d,)
    basis : ndarray of shape (d, k'), orthonormal columns
        k' < k where the centred rows have a smaller rank.
    variances : ndarray of shape (k',), descending
        Divisor n - 1.
    """
    mean, values, basis = scatter_spectrum(rows, k)
    return mean, basis, values / (rows.shape[0] - 1)


def principal_vectors(P: Array, Q: Array) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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
    xp = namespace(P, Q)
    overlap = P.T @ Q
    U, cosines, Vt = xp.linalg.svd(overlap)
    # where cosines are all but one (the first columns) they no longer tell the directions apart, but the sines do
    V, near = Vt.T, int(xp.count_nonzero(cosines > math.sqrt(0.5)))
    if near:
        near_V = V[:, :near]
        residual = Q @ near_V - P @ (overlap @ near_V)
        turn = xp.flip(xp.linalg.svd(residual, full_matrices=False)[2], axis=0).T
        V = xp.concat([near_V @ turn, V[:, near:]], axis=1)
        near_U = overlap @ V[:, :near]
        U = xp.concat([near_U / xp.linalg.vector_norm(near_U, axis=0), U[:, near:]], axis=1)
    start, end = P @ U, Q @ V
    residual = end - P @ (overlap @ V)
    sines = xp.linalg.vector_norm(residual, axis=0)
    moved = sines > float(xp.finfo(P.dtype).eps) * P.shape[0]
    sines = xp.where(moved, sines, xp.zeros_like(sines))
    normal = xp.where(moved, residual / xp.where(moved, sines, xp.ones_like(sines)), xp.zeros_like(residual))
    return xp.atan2(sines, xp.sum(start * end, axis=0)), start, end, normal


def nearest_rotation(overlap: Array) -> tuple[Array, Array]:
    """Orthogonal matrix that is nearest to ``P^T Q`` of two orthonormal bases: its polar factor.

    It takes each principal vector of P to that of Q. Among all rotations R it minimises ``||P R - Q||_F``.

    Parameters
    ----------
    overlap : array of shape (k, k)

    Returns
    -------
    rotation : array of shape (k, k), orthogonal
        Where cosines are zero, one of many that are equally near.
    cosines : array of shape (k,), descending
        Singular values of the overlap, the cosines of the principal angles between the subspaces.
    """
    U, cosines, Vt = namespace(overlap).linalg.svd(overlap)
    return U @ Vt, cosines


def flow_point(P: Array, Q: Array, t: float) -> np.ndarray:
    """Orthonormal basis of the subspace at time t of the geodesic from span(P), t = 0, to span(Q), t = 1.

    Parameters
    ----------
    P, Q : ndarray of shape (d, k), orthonormal columns
    t : float

    Returns
    -------
    basis : ndarray of shape (d, k)
    """
    xp = namespace(P, Q)
    angles, start, _, normal = principal_vectors(P, Q)
    return start * xp.cos(t * angles) + normal * xp.sin(t * angles)


def flow_factor(P: Array, Q: Array) -> np.ndarray:
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
    theta = to_numpy(angles)
    sinc = np.sinc(2 * theta / np.pi)
    half_b = 0.5 * np.sin(theta) * np.sinc(theta / np.pi)
    blocks = np.empty((len(theta), 2, 2))
    blocks[:, 0, 0], blocks[:, 1, 1] = 0.5 * (1 + sinc), 0.5 * (1 - sinc)
    blocks[:, 0, 1] = blocks[:, 1, 0] = half_b
    values, vectors = np.linalg.eigh(blocks)
    roots = from_numpy(vectors * np.sqrt(np.clip(values, 0.0, None))[:, None, :], P)
    return fix_signs(namespace(P).concat([start * roots[:, 0, j] + normal * roots[:, 1, j] for j in (1, 0)], axis=1))


def disagreement(P: Array, Q: Array, pooled: Array) -> np.ndarray:
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
    overlap_P, overlap_Q = to_numpy(P.T @ pooled), to_numpy(Q.T @ pooled)

    def largest_sine(overlap: Array) -> float:
        smallest_cosine = scipy.linalg.svdvals(overlap)[-1]
        return float(np.sqrt(max(0.0, 1.0 - smallest_cosine**2)))

    return np.array(
        [0.5 * (largest_sine(overlap_P[:k, :k]) + largest_sine(overlap_Q[:k, :k])) for k in range(1, P.shape[1] + 1)]
    )
