"""Rows that equal each other, found without comparing all pairs, and results that are the same for them."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from shallowda.kernels.arrays import Array, take_rows, to_numpy
from shallowda.kernels.threads import parts

__all__ = ["first_equal", "of_first", "places_of", "row_keys"]

_TELLING_COLUMNS = 8  # that are looked at before whole rows are
_KEY_BLOCK = 2**21  # numbers of rows that are read at a time


def first_equal(rows: Array, *, apart: np.ndarray | None = None) -> np.ndarray:
    """For each row the place of the first one that equals it.

    A product of matrices rounds a row by its place among others. Whoever takes the result of the first of equal rows
    (`of_first`) gives all of them the same.

    Parameters
    ----------
    rows : array of shape (m, d)
    apart : ndarray of shape (m,), bool, optional
        Rows that differ in it are not equal.

    Returns
    -------
    first : ndarray of shape (m,), int

    Notes
    -----
    Cost: some columns are sorted, which tells nearly all rows apart where features are continuous. What they leave is
    read once, in blocks, by the host.
    """
    m, d = rows.shape
    first = index = np.arange(m)
    group = np.zeros(m, dtype=np.intp) if apart is None else apart.astype(np.intp)
    for column in np.unique(np.linspace(0, d - 1, _TELLING_COLUMNS).astype(int)).tolist():
        value = np.unique(to_numpy(rows[:, column])[index], return_inverse=True)[1]
        group = np.unique(group * (m + 1) + value, return_inverse=True)[1]
        kept = (np.bincount(group) > 1)[group]
        index, group = index[kept], group[kept]
        if not len(index):
            return first
    keys = np.column_stack([row_keys(rows, index), group.astype(np.uint64)])
    _, place, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    first = first.copy()
    first[index] = index[place][same.ravel()]
    return first


def of_first(results: Array, first: np.ndarray) -> Array:
    """Results of rows, each replaced by that of the first row that equals its own: see `first_equal`."""
    return results if np.array_equal(first, np.arange(len(first))) else take_rows(results, first)


def row_keys(rows: Array, index: np.ndarray | None = None) -> np.ndarray:
    """Digests of rows: equal for equal ones, and for no others in practice.

    Cost: reads the rows once, in blocks, on the host; about a microsecond and a nanosecond a byte for each.

    Parameters
    ----------
    rows : array of shape (m, d)
    index : ndarray of shape (k,), int, optional
        Places of those that are wanted; all by default.

    Returns
    -------
    keys : ndarray of shape (k,), uint64
    """
    index = np.arange(rows.shape[0]) if index is None else index
    digests = []
    for part in parts(len(index), max(1, _KEY_BLOCK // rows.shape[1])):
        some = np.ascontiguousarray(to_numpy(take_rows(rows, index[part])), dtype=np.float64)
        some = some + 0.0  # no negative zeros: equal rows have equal bytes
        digests += [blake2b(row, digest_size=8).digest() for row in some]
    return np.frombuffer(b"".join(digests), np.uint64)


def places_of(rows: np.ndarray, stored: np.ndarray, keys: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Where rows lie among stored ones; -1 where they do not.

    Parameters
    ----------
    rows : ndarray of shape (m, d)
    stored : ndarray of shape (n, d)
    keys, places : ndarray of shape (k,)
        The different `row_keys` of the stored rows, ascending, and the first place of each.

    Returns
    -------
    found : ndarray of shape (m,), int
    """
    wanted = row_keys(rows)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = np.where(keys[at] == wanted, places[at], -1)
    known = np.flatnonzero(found >= 0)
    for part in parts(len(known), max(1, _KEY_BLOCK // rows.shape[1])):
        some = known[part]
        differ = np.any(stored[found[some]] != rows[some], axis=1)
        found[some[differ]] = -1
    return found
