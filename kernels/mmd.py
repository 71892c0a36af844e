"""Maximum mean discrepancy between domains, always as a thin factor.

The MMD matrix of every method here is ``M = E E^T`` where each column of E compares two weighted means:

    e_0 : + 1/ns on source rows,             - 1/nt on target rows
    e_c : + 1/ns_c on source rows of class c, - 1/nt_c on target rows pseudo-labelled c,  0 elsewhere

so E is (n, C + 1) with at most two non-zeros in a row, and M (n, n) is never built.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

__all__ = ["class_vectors", "frobenius_norm", "joint_factor", "marginal_vector", "mmd_factor"]


def marginal_vector(source: np.ndarray) -> sp.csr_array:
    """The vector e_0 that compares the domain means.

    Parameters
    ----------
    source : ndarray of shape (n,), bool
        True on source rows, False on target rows.

    Returns
    -------
    e_0 : sparse array of shape (n, 1); of shape (n, 0) when one of the domains is empty.
    """
    n_source, n = int(source.sum()), len(source)
    if n_source in (0, n):
        return sp.csr_array((n, 0))
    return sp.csr_array(np.where(source, 1.0 / n_source, -1.0 / (n - n_source))[:, None])


def class_vectors(
    source: np.ndarray, codes: np.ndarray, n_classes: int, *, prior_weighted: bool = False
) -> tuple[sp.csr_array, np.ndarray]:
    """The vectors e_c that compare the class means of the domains.

    A class that has no target row (or no source row) has no mean to compare with: its vector is left out. Keeping the
    source half alone would penalise the norm of the source class mean, which depends on the origin.

    Parameters
    ----------
    source : ndarray of shape (n,), bool
    codes : ndarray of shape (n,), int
        Class of each row, 0 .. n_classes - 1: true on source rows, pseudo-labels on target rows.
    n_classes : int
    prior_weighted : bool, default=False
        W-BDA: multiply each half by the square root of the class's share of its domain. These vectors do not sum to
        zero.

    Returns
    -------
    vectors : sparse array of shape (n, C'), C' <= n_classes
    dropped : ndarray of int
        Classes left out.
    """
    counts_source = np.bincount(codes[source], minlength=n_classes)
    counts_target = np.bincount(codes[~source], minlength=n_classes)
    dropped = np.flatnonzero((counts_source == 0) | (counts_target == 0))
    with np.errstate(divide="ignore"):
        weight_source, weight_target = 1.0 / counts_source, -1.0 / counts_target
    if prior_weighted:
        weight_source *= np.sqrt(counts_source / counts_source.sum())
        weight_target *= np.sqrt(counts_target / counts_target.sum())
    column = np.full(n_classes, -1)
    kept = np.setdiff1d(np.arange(n_classes), dropped)
    column[kept] = np.arange(len(kept))
    rows = np.flatnonzero(column[codes] >= 0)
    values = np.where(source[rows], weight_source[codes[rows]], weight_target[codes[rows]])
    return sp.csr_array((values, (rows, column[codes[rows]])), shape=(len(codes), len(kept))), dropped


def mmd_factor(parts: list[tuple[float, sp.csr_array]], *, normalise: bool = False) -> sp.csr_array:
    """E with ``E E^T = sum_i w_i E_i E_i^T``, optionally divided by the Frobenius norm of that sum.

    Parameters
    ----------
    parts : list of (float >= 0, sparse array of shape (n, r_i))
    normalise : bool, default=False

    Returns
    -------
    E : sparse array of shape (n, sum_i r_i)
        Parts of weight 0 are left out.
    """
    kept = [np.sqrt(weight) * vectors for weight, vectors in parts if weight > 0]
    if not kept:
        return sp.csr_array((parts[0][1].shape[0], 0))
    E = sp.csr_array(sp.hstack(kept))
    norm = frobenius_norm(E) if normalise else 1.0
    return E / np.sqrt(norm) if norm > 0 else E


def joint_factor(
    source: np.ndarray,
    codes: np.ndarray | None,
    n_classes: int,
    *,
    marginal: float = 1.0,
    conditional: float = 1.0,
    prior_weighted: bool = False,
    authors: bool = False,
) -> tuple[sp.csr_array, np.ndarray]:
    """E of ``M = marginal M_0 + conditional sum_c M_c``.

    Parameters
    ----------
    source : ndarray of shape (n,), bool
    codes : ndarray of shape (n,), int, or None
        Class of each row (pseudo-labels on target rows); None before there are any: M_0 alone.
    n_classes : int
    marginal, conditional : float >= 0
    prior_weighted : bool, default=False
        See `class_vectors`.
    authors : bool, default=False
        The scaling of the authors' codes: M_0 is multiplied by n_classes, and M is divided by its Frobenius norm.

    Returns
    -------
    E : sparse array of shape (n, r), r <= n_classes + 1
    dropped : ndarray of int
        Classes without a row in one of the domains.
    """
    parts = [(marginal * n_classes if authors else marginal, marginal_vector(source))]
    dropped = np.empty(0, dtype=int)
    if codes is not None:
        vectors, dropped = class_vectors(source, codes, n_classes, prior_weighted=prior_weighted)
        parts.append((conditional, vectors))
    return mmd_factor(parts, normalise=authors), dropped


def frobenius_norm(E: sp.csr_array) -> float:
    """``||E E^T||_F``, from the r x r matrix ``E^T E``."""
    return float(np.linalg.norm((E.T @ E).toarray()))
