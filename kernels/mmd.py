"""Maximum mean discrepancy between domains, always as a thin factor.

The MMD matrix of every method here is ``M = E E^T`` where each column of E compares two weighted means:

    e_0 : + 1/ns on source rows,             - 1/nt on target rows
    e_c : + 1/ns_c on source rows of class c, - 1/nt_c on target rows pseudo-labelled c,  0 elsewhere

A row of E depends on the domain and class of the sample alone. So E is kept as a group per sample and one row of
weights per group, and ``E^T X`` needs the sums of the groups only. M (n, n) is never built,
and E (n, C + 1) only for products with a kernel matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from shallowda.kernels.arrays import Array, from_numpy, namespace
from shallowda.kernels.moments import Moments, group_sums

__all__ = ["MMDFactor", "marginal_gap", "mmd_factor"]


@dataclass(frozen=True)
class MMDFactor:
    """E with ``E[i] = weights[groups[i]]``.

    Attributes
    ----------
    groups : ndarray of shape (n,), int
        Group of each sample, 0 .. g - 1.
    weights : ndarray of shape (g, r), float64
    """

    groups: np.ndarray
    weights: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(n, r)."""
        return len(self.groups), self.weights.shape[1]

    @cached_property
    def counts(self) -> np.ndarray:
        """Samples in each group."""
        return np.bincount(self.groups, minlength=len(self.weights))

    @property
    def column_sums(self) -> np.ndarray:
        """``E^T 1``, of shape (r,): exactly zero where it is zero up to round-off, as for all but W-BDA's vectors."""
        sums, moduli = self.counts @ self.weights, self.counts @ np.abs(self.weights)
        return np.where(np.abs(sums) <= 1e-12 * moduli, 0.0, sums)

    @property
    def norm(self) -> float:
        """``||E E^T||_F``, from the r x r matrix ``E^T E``."""
        return float(np.linalg.norm((self.weights.T * self.counts) @ self.weights))

    def scaled(self, factor: float) -> MMDFactor:
        """``factor * E``."""
        return replace(self, weights=factor * self.weights)

    def apply(self, block: Array) -> Array:
        """``E @ block`` for a block of shape (r, q)."""
        xp = namespace(block)
        return xp.take(from_numpy(self.weights, block) @ block, from_numpy(self.groups, block), axis=0)

    def adjoint(self, rows: Array) -> Array:
        """``E^T @ rows`` for rows of shape (n, d), in float64."""
        return from_numpy(self.weights, rows).T @ group_sums(rows, self.groups, len(self.weights))

    def toarray(self) -> np.ndarray:
        """E, dense."""
        return self.weights[self.groups]


def mmd_factor(
    source: np.ndarray,
    codes: np.ndarray | None = None,
    n_classes: int = 1,
    *,
    marginal: float = 1.0,
    conditional: float = 1.0,
    prior_weighted: bool = False,
    authors: bool = False,
) -> tuple[MMDFactor, np.ndarray]:
    """E of ``M = marginal M_0 + conditional sum_c M_c``.

    A class that has no target row (or no source row) has no mean to compare with: its vector is left out. Keeping the
    source half alone would penalise the norm of the source class mean, which depends on the origin. Likewise M_0 is
    zero when one of the domains is empty.

    Parameters
    ----------
    source : ndarray of shape (n,), bool
        True on source rows, False on target rows.
    codes : ndarray of shape (n,), int, optional
        Class of each row, 0 .. n_classes - 1: true on source rows, pseudo-labels on target rows. None before there are
        any: M_0 alone.
    n_classes : int, default=1
    marginal, conditional : float >= 0
    prior_weighted : bool, default=False
        W-BDA: multiply each half of e_c by the square root of the class's share of its domain. These vectors do not sum
        to zero.
    authors : bool, default=False
        The scaling of the authors' codes: M_0 is multiplied by n_classes, and M is divided by its Frobenius norm.

    Returns
    -------
    E : MMDFactor of shape (n, r), r <= n_classes + 1
        Terms of weight 0 are left out.
    dropped : ndarray of int
        Classes without a row in one of the domains.
    """
    n_groups = n_classes if codes is not None else 1
    groups = np.where(source, 0, n_groups) + (0 if codes is None else codes)
    counts = np.bincount(groups, minlength=2 * n_groups).reshape(2, n_groups)  # source, target
    sizes = counts.sum(axis=1)
    columns, dropped = [], np.empty(0, dtype=int)
    if marginal > 0 and sizes.all():
        means = np.repeat([1.0 / sizes[0], -1.0 / sizes[1]], n_groups)
        columns.append(np.sqrt(marginal * n_classes if authors else marginal) * means[:, None])
    if codes is not None:
        dropped = np.flatnonzero((counts == 0).any(axis=0))
        kept = np.setdiff1d(np.arange(n_classes), dropped)
        halves = np.zeros((2, n_classes, len(kept)))
        shares = np.sqrt(counts[:, kept] / sizes[:, None]) if prior_weighted else 1.0
        halves[:, kept, np.arange(len(kept))] = shares / counts[:, kept] * [[1.0], [-1.0]]
        if conditional > 0:
            columns.append(np.sqrt(conditional) * halves.reshape(2 * n_classes, -1))
    E = MMDFactor(groups, np.hstack(columns) if columns else np.zeros((2 * n_groups, 0)))
    return (E.scaled(1.0 / np.sqrt(E.norm)) if authors and E.norm > 0 else E), dropped


def marginal_gap(source: Moments, target: Moments | None, *, authors: bool = False) -> Array:
    """``X^T E`` for the marginal term alone, from the means of the domains.

    Parameters
    ----------
    source : Moments
    target : Moments or None
        None where there is no target: M_0 is then zero.
    authors : bool, default=False
        As for `mmd_factor`.

    Returns
    -------
    gap : array of shape (d, 1); of shape (d, 0) without a target
    """
    gap = source.mean[:, None]
    if target is None:
        return gap[:, :0]
    gap = gap - target.mean[:, None]
    return gap / (1.0 / source.n + 1.0 / target.n) ** 0.5 if authors else gap
