"""Rows assigned to classes at the least total distance, so that every class has a row, without a linear programme.

    min_M  sum_jc D_jc M_jc      s.t.  sum_c M_jc = 1,   sum_j M_jc >= 1,   M >= 0

The constraints are those of a transportation problem, whose vertices hold only zeros and ones. Where every class is the
nearest one of some row, the nearest classes are the optimum. Elsewhere each class needs one row that stays with it: a
*guard*. Every other row goes to its nearest class, so the total is the least possible plus the regrets
``R_jc = D_jc - min_c D_jc`` of the guards. The problem is thus a linear sum assignment of guards to classes, and only
the C rows of smallest regret can be a class's guard: with fewer of them taken by the other C - 1 classes, one is free.

The multipliers ``u`` of the constraints ``sum_j M_jc >= 1`` are prices. Row j of the optimum is at the class of
smallest ``D_jc - u_c``, which is also a rule for rows that took no part.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from shallowda.kernels.arrays import Array, as_dtype, namespace
from shallowda.kernels.moments import row_blocks

__all__ = ["cover_classes", "euclidean_distances"]


def euclidean_distances(rows: Array, centres: Array) -> Array:
    """Euclidean distances of rows to a few centres, by products in float64.

    Rows are taken relative to the mean of the centres, so that a common offset costs no digits.

    Parameters
    ----------
    rows : array of shape (n, d), float32 or float64
    centres : array of shape (C, d), float64
        Of the same library.

    Returns
    -------
    distances : array of shape (n, C), float64

    Notes
    -----
    Cost: n C d; memory: the result, and a block of rows. A distance that is small beside the spread of the centres has
    half of the digits.
    """
    xp = namespace(rows, centres)
    origin = xp.mean(centres, axis=0)
    centres = centres - origin
    squares = xp.sum(centres * centres, axis=1)
    distances = xp.empty((rows.shape[0], centres.shape[0]), dtype=xp.float64, device=rows.device)
    for block in row_blocks(rows):
        some = as_dtype(rows[block, :], xp.float64) - origin
        values = xp.sum(some * some, axis=1)[:, None] + squares - 2.0 * (some @ centres.T)
        distances[block, :] = xp.sqrt(xp.where(values > 0, values, xp.zeros_like(values)))
    return distances


def cover_classes(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The assignment of rows to classes that leaves no class empty, at the least total distance; and its prices.

    Parameters
    ----------
    distances : ndarray of shape (n, C), n >= C, finite
        Or any other costs.

    Returns
    -------
    codes : ndarray of shape (n,), int
        Class of each row: the nearest one (the first among equals), but for the rows that had to move.
    prices : ndarray of shape (C,), not negative
        ``(distances - prices).argmin(axis=1)`` gives the codes again, if no other assignment is as good. Zero where no
        row had to move; else of all multipliers those with the fewest positive entries that the repair allows, in the
        midst of their range.

    Raises
    ------
    ValueError
        If there are fewer rows than classes.

    Notes
    -----
    Cost: a pass over the distances; where classes are empty, C partial sorts of n entries, an assignment of C classes
    to at most C^2 rows, and C^3 for the prices. Memory: beside the distances at most C^2 regrets per class, and no more
    than n.
    """
    n, n_classes = distances.shape
    if n < n_classes:
        raise ValueError(f"{n} row(s) cannot leave none of {n_classes} classes empty.")
    nearest = distances.argmin(axis=1)
    counts = np.bincount(nearest, minlength=n_classes)
    if counts.all():
        return nearest, np.zeros(n_classes)
    codes, moved = nearest.copy(), np.zeros(n_classes, dtype=bool)
    guards = _guards(distances, distances.min(axis=1))
    for code in np.flatnonzero(nearest[guards] != np.arange(n_classes)):
        codes[guards[code]], moved[code] = code, True
    counts = np.bincount(codes, minlength=n_classes)
    while (spare := np.flatnonzero(moved & (counts > 1))).size:  # equally near to another class: it need not have moved
        guard = guards[spare[0]]
        codes[guard], moved[spare[0]] = nearest[guard], False
        counts = np.bincount(codes, minlength=n_classes)
    return codes, _prices(_exchange(distances, codes), counts, moved)


def _guards(distances: np.ndarray, smallest: np.ndarray) -> np.ndarray:
    """A row for each class, all of them different, of least total regret."""
    n, n_classes = distances.shape
    rows = np.arange(n)
    if n > n_classes**2:
        near = [np.argpartition(column - smallest, n_classes)[:n_classes] for column in distances.T]
        rows = np.unique(np.concatenate(near))
    return rows[linear_sum_assignment((distances[rows] - smallest[rows, None]).T)[1]]


def _exchange(distances: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """What it costs at least to move some row from one class, ``[a, .]``, to another, ``[., b]``."""
    cheapest = []
    for code in range(distances.shape[1]):
        rows = distances[codes == code]
        cheapest.append((rows - rows[:, code, None]).min(axis=0))
    return np.stack(cheapest)


def _prices(exchange: np.ndarray, counts: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Prices u >= 0 with ``u_b - u_a <= exchange[a, b]``, and zero for classes that can spare a row.

    Few of them are positive: those of classes to which a row has moved, and others that cannot be zero. Where this
    leaves an equality that need not be one, every class with a single row may have a price.
    """
    n_classes, single = len(counts), counts == 1
    smallest = np.zeros(n_classes)
    for _ in range(n_classes):
        raised = np.where(single, np.maximum(smallest, (smallest - exchange).max(axis=1)), 0.0)
        if np.array_equal(raised, smallest):
            break
        smallest = raised
    smallest = smallest - smallest.min()  # with as many rows as classes round-off may raise all of them
    free = moved | (smallest > 0)
    free[smallest.argmin()] &= not free.all()
    few = _in_the_midst(exchange, smallest, free, smallest)
    if _is_strict(exchange, few):
        return few
    room = smallest
    if single.all():  # as many rows as classes: prices count up to a constant, and one of them may stay
        single[smallest.argmin()], room = False, np.full(n_classes, np.inf)
    more = _in_the_midst(exchange, smallest, single, room)
    return more - min(more.min(), 0.0) if _is_strict(exchange, more) else few


def _is_strict(exchange: np.ndarray, prices: np.ndarray) -> bool:
    """Whether no row is equally well placed in another class."""
    slack = exchange + prices[:, None] - prices
    np.fill_diagonal(slack, np.inf)
    return bool(slack.min() > 0)


def _in_the_midst(exchange: np.ndarray, smallest: np.ndarray, free: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Prices of some classes, far from the limits that the inequalities set them; the others keep the smallest ones.

    `room` is how far each may fall. Some class is not free: one that has kept a row costs nothing.

    They are the mean of the solutions in which the price is the distance from one class, by the slack of the
    inequalities. An inequality between a and b that can be strict is so for the distances from b, hence in the mean.
    """
    free, rest = np.flatnonzero(free), np.flatnonzero(~free)
    slack = np.maximum(exchange + smallest[:, None] - smallest, 0.0)
    lengths = np.zeros((len(free) + 1, len(free) + 1))  # node 0: all other classes, whose price is zero
    lengths[1:, 1:] = slack[np.ix_(free, free)]
    lengths[0, 1:] = slack[np.ix_(rest, free)].min(axis=0)
    lengths[1:, 0] = np.minimum(room[free], slack[np.ix_(free, rest)].min(axis=1))
    for node in range(len(lengths)):  # shortest paths between all nodes
        lengths = np.minimum(lengths, lengths[:, node, None] + lengths[node])
    prices = smallest.copy()
    prices[free] += (lengths[:, 1:] - lengths[:, :1]).mean(axis=0)
    return prices
