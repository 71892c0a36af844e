"""First and second moments of a block of rows: means, centred Gram matrices, powers of a ridged covariance.

Rows are samples. Products run in the rows' own precision, one row block at a time; sums are kept in float64, so a
float32 input costs neither a float64 copy nor the digits of a long float32 sum.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from shallowda.kernels.eigen import fix_signs, psd_eigh, top_eigh

__all__ = ["CovarianceRoot", "centred_gram", "column_mean", "factor_times_rows", "resolved", "scatter_spectrum"]

_BLOCK = 4096  # rows per block: large enough for BLAS, small enough that a block's copy does not matter


def _blocks(n_rows: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, n_rows, _BLOCK))


def column_mean(rows: np.ndarray) -> np.ndarray:
    """Mean of the rows, accumulated in float64.

    Parameters
    ----------
    rows : ndarray of shape (n, d)

    Returns
    -------
    mean : ndarray of shape (d,), float64
    """
    return rows.mean(axis=0, dtype=np.float64)


def centred_gram(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Scatter matrix ``sum_i (x_i - mean)(x_i - mean)^T``, that is ``X^T H X`` when `mean` is the mean of the rows.

    Cost: one symmetric product of n d^2 flops; memory d^2 beyond the input.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
    mean : ndarray of shape (d,)

    Returns
    -------
    scatter : ndarray of shape (d, d), float64, symmetric
    """
    scatter = np.zeros((rows.shape[1], rows.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):  # looked for below
        for block in _blocks(len(rows)):
            centred = rows[block] - mean  # float64, whatever the rows are
            scatter += centred.T @ centred
    if not np.isfinite(np.trace(scatter)):
        raise ValueError("X is so large that products of its features overflow. Scale the features down.")
    return scatter


def _scatter_noise(scatter: np.ndarray, mean: np.ndarray, n_rows: int, rows_eps: float) -> float:
    """Size of the round-off in a scatter matrix: eigenvalues up to it say nothing about the rows.

    Products round relative to the trace; and rows that are equal up to the round-off of their mean have no variance,
    though their scatter is not exactly zero.

    Parameters
    ----------
    scatter : ndarray of shape (d, d)
        From `centred_gram`.
    mean : ndarray of shape (d,)
    n_rows : int
    rows_eps : float
        Relative round-off of the rows themselves.

    Returns
    -------
    noise : float
    """
    eps, trace = np.finfo(np.float64).eps, np.trace(scatter)
    entries = 4 * rows_eps**2 * (trace + n_rows * (mean @ mean))
    return float(len(scatter) * eps * trace + n_rows * (n_rows * eps) ** 2 * (mean @ mean) + entries)


def factor_times_rows(factor: sp.csr_array, rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """``X^T E`` for a sparse E (n, r), without the loss of digits that a large common mean of the rows would cause.

    Parameters
    ----------
    factor : sparse array of shape (n, r)
    rows : ndarray of shape (n, d)
    mean : ndarray of shape (d,)
        Mean of the rows. It is taken out of the sums and put back through the column sums of E, which are zero for
        every MMD vector but W-BDA's.

    Returns
    -------
    product : ndarray of shape (d, r), float64
    """
    product = np.zeros((factor.shape[1], rows.shape[1]))
    for block in _blocks(len(rows)):
        product += factor[block].T @ (rows[block] - mean)
    column_sums = np.asarray(factor.sum(axis=0)).ravel()
    vanishing = np.abs(column_sums) <= 1e-12 * np.asarray(abs(factor).sum(axis=0)).ravel()
    column_sums[vanishing] = 0.0
    return (product + np.outer(column_sums, mean)).T


def resolved(A: np.ndarray, scatter: np.ndarray, mean: np.ndarray, n_rows: int, rows_eps: float) -> np.ndarray:
    """Columns of A along which the variance is more than the round-off of computing it.

    ``a^T S a`` that is small because large terms cancel is noise, however large its share in an eigenproblem whose
    other directions are damped. The bound on the terms is ``(sum_i |a_i| s_i)^2`` with s_i^2 the diagonal of S.

    Parameters
    ----------
    A : ndarray of shape (d, k)
    scatter : ndarray of shape (d, d)
        S, from `centred_gram`.
    mean : ndarray of shape (d,)
    n_rows : int
    rows_eps : float
        Relative round-off of the rows themselves.

    Returns
    -------
    mask : ndarray of shape (k,), bool
    """
    eps, modulus = np.finfo(np.float64).eps, np.abs(A).T
    terms = len(scatter) * eps * (modulus @ np.sqrt(np.diag(scatter))) ** 2
    shift = n_rows * (n_rows * eps * (modulus @ np.abs(mean))) ** 2
    entries = 4 * rows_eps**2 * (modulus**2 @ (n_rows * mean**2 + np.diag(scatter)))
    return np.einsum("ik,ik->k", A, scatter @ A) > terms + shift + entries


def scatter_spectrum(rows: np.ndarray, mean: np.ndarray, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Eigenpairs of `centred_gram` that are not zero to working precision, from the smaller of the two Gram matrices.

    For d > n, ``(Xc Xc^T) u = t u`` gives the eigenvector ``Xc^T u`` of ``Xc^T Xc`` for the same t.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
    mean : ndarray of shape (d,)
    k : int, optional
        The k largest only.

    Returns
    -------
    values : ndarray of shape (r,), descending
    vectors : ndarray of shape (d, r), orthonormal
    """
    n, d = rows.shape
    if d <= n:
        gram = centred_gram(rows, mean)
    else:
        centred = rows.astype(np.float64) - mean
        gram = centred_gram(centred.T, np.zeros(n))
    noise = _scatter_noise(gram, mean, n, np.finfo(rows.dtype).eps)
    values, vectors = psd_eigh(gram, noise) if k is None else top_eigh(gram, k, noise)
    if d <= n:
        return values, vectors
    return values, fix_signs(scipy.linalg.qr(centred.T @ vectors, mode="economic")[0])


class CovarianceRoot:
    """Powers of ``cov(rows) + ridge I`` applied to row blocks, from the spectrum of the covariance.

    The covariance (divisor n - 1) is held as ``V diag(s) V^T`` with at most ``min(d, n - 1)`` columns, so nothing of
    size d x d is kept when d > n. With ``ridge = 0`` powers are those of the Moore-Penrose inverse: the null space maps
    to 0.

    Parameters
    ----------
    rows : ndarray of shape (n, d), n >= 2
    ridge : float >= 0

    Attributes
    ----------
    mean : ndarray of shape (d,)
    variances : ndarray of shape (r,)
        Non-zero eigenvalues s of the covariance, descending.
    vectors : ndarray of shape (d, r)
        Their orthonormal eigenvectors V.
    """

    def __init__(self, rows: np.ndarray, ridge: float) -> None:
        n = len(rows)
        self.mean = column_mean(rows)
        self.ridge = float(ridge)
        values, self.vectors = scatter_spectrum(rows, self.mean)
        self.variances = values / (n - 1)

    def power(self, rows: np.ndarray, exponent: float) -> np.ndarray:
        """Rows multiplied by ``(cov + ridge I)^exponent``.

        Parameters
        ----------
        rows : ndarray of shape (m, d)
        exponent : float

        Returns
        -------
        product : ndarray of shape (m, d), float64
        """
        coordinates = rows @ self.vectors
        inside = (coordinates * (self.variances + self.ridge) ** exponent) @ self.vectors.T
        full_rank = self.vectors.shape[1] == self.vectors.shape[0]
        if full_rank or self.ridge == 0.0:
            return inside
        return inside + self.ridge**exponent * (rows - coordinates @ self.vectors.T)
