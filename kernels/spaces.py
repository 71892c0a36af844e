"""Coefficient spaces: where the projection of TCA, JDA, BDA and TJM lives.

Each space stands for a row matrix Phi whose embedding is ``Phi A``. It knows three products: ``Phi^T H Phi`` (inside
`solve`), ``Phi^T E`` (`times`), ``Phi A`` (`embed`), and how to `lift` A to a map for new rows.

============== ==================== ===================================== ===================== ==================
class          problem              Phi                                   order solved          new rows need
============== ==================== ===================================== ===================== ==================
`PrimalSpace`  ridge on the d x k   X                                     min(d, n)             a k x d map
               map
`LinearDual`   authors' dual on     X X^T, as X (X^T X)^{1/2} when d < n   min(d, n)             a k x d map
               K = X X^T
`KernelSpace`  dual on any K        K                                     n                     training rows
`LinearSample` dual on K = X X^T    X X^T, factored                       d (coefficients n)    a k x d map
               with one ridge per
               sample (TJM)
============== ==================== ===================================== ===================== ==================
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from shallowda.kernels.eigen import psd_eigh, top_pencil, top_pencil_factored
from shallowda.kernels.moments import centred_gram, column_mean, factor_times_rows, resolved

__all__ = ["KernelSpace", "LinearDual", "LinearSample", "PrimalSpace", "Space", "linear_dual"]


class Space(Protocol):
    """What the spaces have in common.

    Attributes
    ----------
    offset : float
        Squared norm of the mean of the feature vectors, relative to their total variance.
    """

    offset: float

    def times(self, E: sp.csr_array) -> np.ndarray:
        """``Phi^T E``, of shape (order, r)."""

    def solve(self, V: np.ndarray, ridge: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Top-k of ``(Phi^T H Phi, V V^T + diag(ridge))``: coefficients (order, k') and values (k',).

        k' < k where the rows have fewer directions of variance: what is round-off is left out.
        """

    def embed(self, A: np.ndarray) -> np.ndarray:
        """``Phi A`` on the training rows, of shape (n, k)."""

    def lift(self, A: np.ndarray) -> np.ndarray:
        """The map of new rows: of shape (k, d) where it is linear, else weights of the samples, of shape (k, n)."""


class PrimalSpace:
    """Projections ``A`` of the features themselves, with the ridge on A (d x k).

    When d > n the solution lies in the span of the rows, so it is found in the coordinates of an orthonormal basis of
    that span (thin QR, no loss of digits, no rank decision).

    Parameters
    ----------
    X : ndarray of shape (n, d)
    """

    def __init__(self, X: np.ndarray) -> None:
        n, d = X.shape
        self.basis, self.rows, self.eps = None, X, np.finfo(X.dtype).eps
        if d > n:
            self.basis, triangle = scipy.linalg.qr(X.T.astype(np.float64), mode="economic")
            self.rows = triangle.T
        self.mean = column_mean(self.rows)
        self.scatter = centred_gram(self.rows, self.mean)
        self.offset = _relative(float(self.mean @ self.mean), float(np.trace(self.scatter)) / n)

    def times(self, E: sp.csr_array) -> np.ndarray:
        """``Phi^T E``, of shape (order, r)."""
        return factor_times_rows(E, self.rows, self.mean)

    def solve(self, V: np.ndarray, ridge: float, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Top-k of ``(Phi^T H Phi, V V^T + ridge I)``: see `eigen.top_pencil`."""
        A, rho = top_pencil(self.scatter, V, ridge, k)
        kept = resolved(A, self.scatter, self.mean, len(self.rows), self.eps)
        return A[:, kept], rho[kept]

    def embed(self, A: np.ndarray) -> np.ndarray:
        """``Phi A`` on the training rows."""
        return self.rows @ A.astype(self.rows.dtype)

    def lift(self, A: np.ndarray) -> np.ndarray:
        """The map of new rows, of shape (k, d)."""
        return (A if self.basis is None else self.basis @ A).T


class LinearDual(PrimalSpace):
    """The dual problem on ``K = X X^T`` (ridge on the n x k weights of the samples), for d <= n, in order d.

    With ``X^T X = R R`` and the polar form ``X = Q R`` the weights are ``W = Q C``; the ridge on W is the plain ridge
    on C and the embedding is ``K W = X R C``. So this is the primal problem for the rows ``X R``.

    Parameters
    ----------
    X : ndarray of shape (n, d), d <= n
    """

    def __init__(self, X: np.ndarray) -> None:
        super().__init__(X)
        values, vectors = psd_eigh(self.scatter + len(X) * np.outer(self.mean, self.mean))
        self.root = (vectors * np.sqrt(values)) @ vectors.T
        self.B = self.root @ self.scatter @ self.root

    def times(self, E: sp.csr_array) -> np.ndarray:
        """``Phi^T E``."""
        return self.root @ super().times(E)

    def solve(self, V: np.ndarray, ridge: float, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Top-k of ``(Phi^T H Phi, V V^T + ridge I)``: see `eigen.top_pencil`."""
        A, rho = top_pencil(self.B, V, ridge, k)
        n, d = self.rows.shape
        kept = resolved(A, self.B, np.zeros(d), n, self.eps)
        kept &= resolved(self.root @ A, self.scatter, self.mean, n, self.eps)
        return A[:, kept], rho[kept]

    def embed(self, A: np.ndarray) -> np.ndarray:
        """``Phi A`` on the training rows."""
        return super().embed(self.root @ A)

    def lift(self, A: np.ndarray) -> np.ndarray:
        """The map of new rows, of shape (k, d)."""
        return super().lift(self.root @ A)


class KernelSpace:
    """Weights of the samples on a kernel matrix: Phi = K (n x n).

    Parameters
    ----------
    K : ndarray of shape (n, n), symmetric
    X : ndarray of shape (n, d), optional
        Given when K is ``X X^T``: the map of new rows is then linear.
    """

    def __init__(self, K: np.ndarray, X: np.ndarray | None = None) -> None:
        self.K, self.X, self.eps = np.asarray(K, dtype=np.float64), X, np.finfo(K.dtype).eps
        self.mean = column_mean(self.K)
        self.B = centred_gram(self.K, self.mean)
        mean_square = float(self.mean.mean())
        self.offset = _relative(mean_square, float(np.trace(self.K)) / len(K) - mean_square)

    def times(self, E: sp.csr_array) -> np.ndarray:
        """``K E``."""
        return np.asarray((E.T @ self.K).T)

    def solve(self, V: np.ndarray, ridge: float | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Top-k of ``(K H K, V V^T + diag(ridge))``: see `eigen.top_pencil`."""
        A, rho = top_pencil(self.B, V, ridge, k)
        kept = resolved(A, self.B, self.mean, len(self.K), self.eps)
        return A[:, kept], rho[kept]

    def embed(self, A: np.ndarray) -> np.ndarray:
        """``K A`` on the training rows."""
        return self.K @ A

    def lift(self, A: np.ndarray) -> np.ndarray:
        """Weights of the samples, of shape (k, n); for ``K = X X^T`` the map of new rows, of shape (k, d)."""
        return A.T if self.X is None else A.T @ self.X


class LinearSample:
    """Weights of the samples on ``K = X X^T`` for d < n, never building K; the ridge may differ from sample to sample.

    ``K H K = L L^T`` with ``L = X (X^T H X)^{1/2}`` (n x d), so each solve is of order d.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    """

    def __init__(self, X: np.ndarray) -> None:
        self.X, self.eps = X, np.finfo(X.dtype).eps
        self.mean = column_mean(X)
        self.scatter = centred_gram(X, self.mean)
        self.offset = _relative(float(self.mean @ self.mean), float(np.trace(self.scatter)) / len(X))
        values, vectors = psd_eigh(self.scatter)
        self.L = X @ (vectors * np.sqrt(values))

    def times(self, E: sp.csr_array) -> np.ndarray:
        """``K E``."""
        return self.X @ factor_times_rows(E, self.X, self.mean)

    def solve(self, V: np.ndarray, ridge: float | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Top-k of ``(K H K, V V^T + diag(ridge))``: see `eigen.top_pencil_factored`."""
        A, rho = top_pencil_factored(self.L, V, ridge, k)
        kept = resolved(self.lift(A).T, self.scatter, self.mean, len(self.X), self.eps)
        return A[:, kept], rho[kept]

    def embed(self, A: np.ndarray) -> np.ndarray:
        """``K A`` on the training rows."""
        return self.X @ self.lift(A).T

    def lift(self, A: np.ndarray) -> np.ndarray:
        """The map of new rows, of shape (k, d)."""
        return A.T @ self.X


def linear_dual(X: np.ndarray) -> LinearDual | KernelSpace:
    """The dual problem on ``K = X X^T`` in min(d, n) dimensions."""
    n, d = X.shape
    return LinearDual(X) if d <= n else KernelSpace(X @ X.T, X)


def _relative(mean_square: float, variance: float) -> float:
    return mean_square / variance if variance > 0 else 0.0
