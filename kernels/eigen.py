"""Leading eigenvectors: symmetric matrices, and the pencil that TCA, JDA, BDA and TJM share.

The pencil is ``B w = rho a w`` with ``B`` positive semi-definite and ``a = V V^T + diag(g)``, V of few columns and g >
0. Because a is low rank plus diagonal, its inverse root is known in closed form and the leading solutions are those of
one standard symmetric problem. No factorisation of a is ever made.

Everything returned here is in descending order, without what is zero to working precision (such vectors are noise), and
with fixed signs (the entry of largest modulus in each vector is positive).
"""

from __future__ import annotations

import logging

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

__all__ = ["fix_signs", "psd_eigh", "top_eigh", "top_pencil", "top_pencil_factored"]

_LANCZOS_ORDER = 700  # up to this order LAPACK's subset solver is faster than Lanczos for every k (2 cores, OpenBLAS)
_LANCZOS_SHARE = 20  # and for more than this share of the eigenpairs, whatever the order

logger = logging.getLogger("shallowda")


def fix_signs(vectors: np.ndarray) -> np.ndarray:
    """Columns with their entry of largest modulus made positive.

    Parameters
    ----------
    vectors : ndarray of shape (m, k)

    Returns
    -------
    vectors : ndarray of shape (m, k)
    """
    if vectors.size == 0:
        return vectors
    largest = np.argmax(np.abs(vectors), axis=0)
    return vectors * np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def psd_eigh(matrix: np.ndarray, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """All eigenpairs of a positive semi-definite matrix that are not zero to working precision.

    Parameters
    ----------
    matrix : ndarray of shape (m, m), symmetric
    noise : float, default=0.0
        Size of the round-off that the matrix carries: eigenvalues up to it are zero. (Up to ``m eps max(values)`` they
        are in any case.)

    Returns
    -------
    values : ndarray of shape (r,), descending
        r is the numerical rank.
    vectors : ndarray of shape (m, r), orthonormal
    """
    if len(matrix) == 0:
        return np.empty(0), np.empty((0, 0))
    values, vectors = scipy.linalg.eigh(matrix)
    return _significant(values[::-1], vectors[:, ::-1], noise)


def top_eigh(operator: np.ndarray | LinearOperator, k: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The k largest eigenpairs of a positive semi-definite operator, fewer where its rank is smaller.

    Small matrices go to LAPACK's subset solver, large ones to Lanczos at full precision from a fixed start vector. A
    spectrum on which Lanczos fails is left to LAPACK: the same answer, later.

    Parameters
    ----------
    operator : ndarray or LinearOperator of shape (m, m), symmetric
    k : int
    noise : float, default=0.0
        As in `psd_eigh`.

    Returns
    -------
    values : ndarray of shape (r,), descending
    vectors : ndarray of shape (m, r), orthonormal, r <= k
    """
    m = operator.shape[0]
    if m == 0:
        return np.empty(0), np.empty((0, 0))
    if m > _LANCZOS_ORDER and k < m // _LANCZOS_SHARE:
        start = np.random.RandomState(0).standard_normal(m)
        try:
            values, vectors = eigsh(operator, k=k, which="LA", v0=start)
        except ArpackError as error:
            logger.info("Lanczos failed (order %d, k=%d: %s); solving densely.", m, k, error)
        else:
            order = np.argsort(values)[::-1]
            return _significant(values[order], vectors[:, order], noise)
    matrix = operator if isinstance(operator, np.ndarray) else operator @ np.eye(m)
    values, vectors = scipy.linalg.eigh(matrix, subset_by_index=[max(m - k, 0), m - 1])
    return _significant(values[::-1], vectors[:, ::-1], noise)


def top_pencil(B: np.ndarray, V: np.ndarray, ridge: float | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Leading solutions of ``B A = (V V^T + diag(ridge)) A diag(rho)``, scaled so that ``A^T B A = I``.

    Parameters
    ----------
    B : ndarray of shape (m, m), positive semi-definite
    V : ndarray of shape (m, r)
        Thin: r is the number of MMD terms. r = 0 is allowed.
    ridge : float > 0, or ndarray of shape (m,) with positive entries
    k : int

    Returns
    -------
    A : ndarray of shape (m, k')
        k' <= k solutions; fewer than k where B has a smaller rank.
    rho : ndarray of shape (k',), descending, positive

    Notes
    -----
    With ``F = a^{-1/2}`` in the sense ``F^T a F = I`` the problem is the standard one for ``C = F^T B F``; when
    ``C q = rho q`` then ``A = F q rho^{-1/2}``. C is formed (m^2 r) up to order 700 and applied above.
    """
    root = _InverseRoot(V, ridge, len(B))
    m = len(B)
    if m > _LANCZOS_ORDER:
        product = lambda x: root.adjoint(B @ root.apply(x))  # noqa: E731
        C = LinearOperator((m, m), matvec=product, matmat=product, dtype=np.float64)
    else:
        C = root.adjoint(root.adjoint(B).T)
    rho, vectors = top_eigh(C, k)
    return fix_signs(root.apply(vectors) / np.sqrt(rho)), rho


def top_pencil_factored(
    L: np.ndarray, V: np.ndarray, ridge: float | np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """`top_pencil` for ``B = L L^T`` with L (m, p), p < m: solved in order p, and nothing m x m is built.

    The non-zero spectrum of ``(F^T L)(F^T L)^T`` is that of ``(F^T L)^T (F^T L)``.

    Parameters
    ----------
    L : ndarray of shape (m, p)
    V : ndarray of shape (m, r)
    ridge : float > 0, or ndarray of shape (m,)
    k : int

    Returns
    -------
    A : ndarray of shape (m, k')
    rho : ndarray of shape (k',), descending
    """
    root = _InverseRoot(V, ridge, len(L))
    half = root.adjoint(L)
    rho, vectors = top_eigh(half.T @ half, k)
    return fix_signs(root.apply(half @ vectors) / rho), rho


class _InverseRoot:
    """F with ``F^T (V V^T + diag(g)) F = I``, as ``F = D^{-1} R``, ``D^2 = diag(g)``, R symmetric.

    From the thin SVD ``D^{-1} V = P diag(s) Q^T`` follows ``R = (I - P P^T) + P diag(1 + s^2)^{-1/2} P^T``. The two
    parts are kept apart, and the projection is done twice: where s is large, what is left along P is tiny, and must not
    drown in the round-off of ``I - P P^T``.
    """

    def __init__(self, V: np.ndarray, ridge: float | np.ndarray, m: int) -> None:
        self.inverse_D = 1.0 / np.sqrt(np.broadcast_to(np.asarray(ridge, dtype=np.float64), (m,)))
        self.P, s, _ = scipy.linalg.svd(self.inverse_D[:, None] * V, full_matrices=False)
        self.damping = 1.0 / np.hypot(1.0, s)

    def _damp(self, block: np.ndarray) -> np.ndarray:
        along = self.P.T @ block
        rest = block - self.P @ along
        rest -= self.P @ (self.P.T @ rest)
        return rest + self.P @ (self.damping * along.T).T

    def apply(self, block: np.ndarray) -> np.ndarray:
        """F @ block."""
        return (self.inverse_D * self._damp(block).T).T

    def adjoint(self, block: np.ndarray) -> np.ndarray:
        """F^T @ block."""
        return self._damp((self.inverse_D * block.T).T)


def _significant(values: np.ndarray, vectors: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    kept = values > max(noise, len(vectors) * np.finfo(np.float64).eps * values[0], 0.0)
    return values[kept], fix_signs(vectors[:, kept])
