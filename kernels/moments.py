"""First and second moments of rows in one pass: means, centred Gram matrices, sums of groups, powers of a covariance.

Rows are samples. They are read in blocks, so they may lie in a memory-mapped file or any other array that gives slices,
and sums are kept in float64: a float32 input costs neither a float64 copy nor the digits of a long float32 sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from shallowda.kernels.arrays import (
    Array,
    ArrayHolder,
    as_dtype,
    from_numpy,
    is_numpy,
    merge_rows,
    namespace,
    take_rows,
    to_numpy,
)
from shallowda.kernels.eigen import fix_signs, psd_eigh, top_eigh
from shallowda.kernels.planning import thresholds
from shallowda.kernels.threads import parts

__all__ = [
    "CovarianceRoot",
    "GroupSums",
    "Moments",
    "far_mean",
    "group_sums",
    "map_rows",
    "mean_and_scatter",
    "resolved",
    "row_blocks",
    "rows_eps",
    "scatter_spectrum",
    "shared_moments",
    "weighted_products",
    "within_scatter",
]

_shared: ContextVar[dict | None] = ContextVar("shared_moments", default=None)

OVERFLOW = "X is so large that powers of its features overflow. Scale the features down."

_SHIFT_ROWS = 512  # rows whose mean estimates the mean of all
_FAR = 2  # standard deviations: a mean nearer to zero costs sums of products less than one digit
_ONE_HOT = 64  # groups, up to which a product with a one-hot block is the fastest sum (measured: NumPy, 2 cores)
_UNCOPIED = 16  # times larger blocks of rows that need no copy: fewer sums of d x d matrices
_PANEL = 256  # rows of a d x d matrix that are written at a time
_RESUM_SHARE = 2  # above half of changed rows, group sums are made anew (measured: rows in C order)
_GATHERED_BYTES = 2**22  # of changed rows that are copied at a time: memory that need not be asked for again


def row_blocks(rows: Array, times: int = 1) -> Iterator[slice]:
    """Slices that cut the rows into blocks, two of which in float64 fill `times` the `Thresholds.row_block_bytes`."""
    n, d = rows.shape
    step = times * max(256, thresholds().row_block_bytes // (16 * max(d, 1)))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def map_rows(
    rows: Array, mask: np.ndarray, inside: Callable[[Array], Array], outside: Callable[[Array], Array], width: int
) -> Array:
    """Rows in their order, mapped by `inside` where a mask is true and by `outside` elsewhere, block by block.

    Parameters
    ----------
    rows : array of shape (n, d)
    mask : ndarray of shape (n,), bool
    inside, outside : callable
        From rows of shape (m, d) to rows of shape (m, width).
    width : int

    Returns
    -------
    mapped : array of shape (n, width), of the dtype of the rows
    """
    mapped = namespace(rows).empty((rows.shape[0], width), dtype=rows.dtype, device=rows.device)
    for block in row_blocks(rows):
        some, chosen = rows[block, :], mask[block]
        if chosen.all() or not chosen.any():
            values = inside(some) if chosen.all() else outside(some)
        else:
            values = merge_rows(
                chosen,
                inside(take_rows(some, np.flatnonzero(chosen))),
                outside(take_rows(some, np.flatnonzero(~chosen))),
            )
        mapped[block, :] = as_dtype(values, rows.dtype)
    return mapped


@contextmanager
def shared_moments() -> Iterator[None]:
    """Context in which `mean_and_scatter` of the same NumPy rows is computed once; nothing may write into them.

    For several methods that are fitted on one array. The results are kept until the context is left.
    """
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def _identity(rows: np.ndarray) -> tuple:
    """Which memory an array stands for, and how."""
    return rows.__array_interface__["data"][0], rows.shape, rows.strides, rows.dtype.str


@dataclass(frozen=True, eq=False)
class Moments(ArrayHolder):
    """Number, mean and scatter matrix of rows that come in parts; ``one + other`` are those of both parts together.

    They stand for the rows where nothing else is asked of them: in `mean_and_scatter`, `scatter_spectrum`,
    `CovarianceRoot` and the linear spaces. Sums are as exact as those of all rows at once, however far the means of
    the parts are from each other or from zero. Memory d^2, and three times that while two are added.

    Attributes
    ----------
    n : int
        Number of rows.
    mean : array of shape (d,), float64
    scatter : array of shape (d, d), float64
    eps : float
        Relative round-off of the rows, the largest of all parts.
    parts : int
        Sums that were made, each of which rounds.
    """

    n: int
    mean: Array
    scatter: Array
    eps: float
    parts: int = 1

    @classmethod
    def of(cls, rows: Array) -> Moments:
        """Those of rows of shape (n, d)."""
        return cls(rows.shape[0], *mean_and_scatter(rows), rows_eps(rows))

    @property
    def shape(self) -> tuple[int, int]:
        """That of the rows, (n, d)."""
        return self.n, self.mean.shape[0]

    def __add__(self, other: Moments) -> Moments:
        n = self.n + other.n
        with np.errstate(over="ignore", invalid="ignore"):  # looked for in the end
            gap = other.mean - self.mean
            scatter = self.scatter + other.scatter
            _add_square(scatter, gap, self.n * (other.n / n))
        _require_finite(scatter, 2)  # solvers take its square
        eps, parts = max(self.eps, other.eps), self.parts + other.parts
        return Moments(n, self.mean + gap * (other.n / n), scatter, eps, parts)

    def rescaled(self, factors: Array, mean: Array) -> Moments:
        """Those of the rows with each column multiplied by its factor, and moved to this mean."""
        scatter = factors[:, None] * self.scatter * factors[None, :]
        _require_finite(scatter, 2)
        return replace(self, mean=mean, scatter=scatter, parts=self.parts + 1)

    def moved(self, move: Callable[[Array], Array]) -> Moments:
        """The same with every array where `move` takes it."""
        return replace(self, mean=move(self.mean), scatter=move(self.scatter))


def rows_eps(rows: Array | Moments) -> float:
    """Relative round-off of rows."""
    return rows.eps if isinstance(rows, Moments) else float(namespace(rows).finfo(rows.dtype).eps)


def mean_and_scatter(rows: Array | Moments) -> tuple[Array, Array]:
    """Mean and scatter matrix ``sum_i (x_i - mean)(x_i - mean)^T = X^T H X``, from one pass.

    Where the mean of a feature is far from zero (see `far_mean`), an estimate of it, from a sample of the rows, is
    taken out of every block before its product, so that it costs no digits; what is left is a rank-one correction.

    Cost: one symmetric product of n d^2 flops; memory d^2, twice that for more than one block of rows, and one block
    where rows have to be copied (shifted, float32, or in a layout that BLAS does not take).

    Parameters
    ----------
    rows : array of shape (n, d), or Moments
        Of `Moments` nothing is computed.

    Returns
    -------
    mean : array of shape (d,), float64
    scatter : array of shape (d, d), float64, symmetric
        Not to be written into: see `shared_moments`.

    Raises
    ------
    ValueError
        If the products overflow.
    """
    if isinstance(rows, Moments):
        return rows.mean, rows.scatter
    shared = _shared.get()
    if shared is None or not is_numpy(rows):
        return _mean_and_scatter(rows)
    key = _identity(rows)
    if key not in shared:
        shared[key] = (rows, *_mean_and_scatter(rows))  # with the rows, whose memory is then not given away
    return shared[key][1:]


def _mean_and_scatter(rows: Array) -> tuple[Array, Array]:
    xp = namespace(rows)
    n = rows.shape[0]
    some = xp.astype(rows[:: max(1, n // _SHIFT_ROWS), :], xp.float64)
    total, scatter = xp.zeros_like(some[0, :]), None
    with np.errstate(over="ignore", invalid="ignore"):  # looked for in the end
        shift = far_mean(xp.mean(some, axis=0), xp.var(some, axis=0))
        as_they_are = shift is None and rows.dtype == xp.float64 and not _is_strided(rows)
        for block in row_blocks(rows, _UNCOPIED if as_they_are else 1):
            values = _shifted(rows[block, :], shift)
            total += xp.ones_like(values[:, 0]) @ values  # BLAS is twice as fast as a sum
            scatter = _plus_products(scatter, values)
        missed = total / n
        _add_square(scatter, missed, -n)
    _require_finite(scatter, 2)  # solvers take its square
    return missed if shift is None else shift + missed, scatter


def _plus_products(products: Array | None, values: Array) -> Array:
    """``products + values^T values``, in place where there are products already.

    NumPy computes one triangle of a matrix times its own transpose. (`dsyrk` of SciPy would add it in place, but comes
    from another BLAS: threads of the two stay awake for a while after each call and take the cores from each other.)
    """
    if _is_strided(values):
        values = np.ascontiguousarray(values)
    added = values.T @ values
    if products is None:
        return added
    products += added
    return products


def _is_strided(rows: Array) -> bool:
    """Whether BLAS needs a copy of a NumPy array: it takes aligned lines of neighbouring entries, one after another."""
    if not is_numpy(rows):
        return False
    near, far = sorted(rows.strides)
    length = rows.shape[rows.strides.index(near)]
    return not rows.flags.aligned or near != rows.itemsize or far % near != 0 or far < near * length


def _add_square(matrix: Array, vector: Array, factor: float) -> None:
    """Add ``factor * vector vector^T`` in place, without a second matrix; symmetric to the last bit."""
    for rows in parts(matrix.shape[0], _PANEL):
        matrix[rows, :] += factor * (vector[rows, None] * vector[None, :])


def _require_finite(matrix: Array, power: int = 1) -> None:
    """That no entry of a positive semi-definite matrix, taken to a power, overflows."""
    xp = namespace(matrix)
    with np.errstate(over="ignore", invalid="ignore"):
        largest = xp.linalg.diagonal(matrix) ** power  # no entry is larger than those
    if not bool(xp.all(xp.isfinite(largest))):
        raise ValueError(OVERFLOW)


def far_mean(mean: Array, variance: Array) -> Array | None:
    """The means of the features for which sums about zero would lose digits, zero for the others.

    Parameters
    ----------
    mean, variance : array of shape (d,), float64

    Returns
    -------
    shift : array of shape (d,), or None
        None where it would be zero: rows can then be used as they are.
    """
    xp = namespace(mean)
    far = mean**2 > _FAR**2 * variance
    return xp.where(far, mean, xp.zeros_like(mean)) if bool(xp.any(far)) else None


def _shifted(rows: Array, shift: Array | None) -> Array:
    """``rows - shift`` in float64; the rows themselves where there is nothing to do."""
    return as_dtype(rows, namespace(rows).float64) if shift is None else rows - shift


def group_sums(rows: Array, groups: np.ndarray, n_groups: int, origin: Array | None = None) -> Array:
    """``sum of (x_i - origin) over the rows of each group``.

    Cost: a product with one-hot blocks; n d additions for many groups of NumPy rows.

    Parameters
    ----------
    rows : array of shape (n, d)
    groups : ndarray of shape (n,), int
    n_groups : int
    origin : array of shape (d,), optional

    Returns
    -------
    sums : array of shape (n_groups, d), float64
    """
    xp = namespace(rows)
    sums = xp.zeros((n_groups, rows.shape[1]), dtype=xp.float64, device=rows.device)
    for block in row_blocks(rows):
        sums += _sums(_members(groups[block], n_groups, rows), rows[block, :], origin)
    return sums


def _members(groups: np.ndarray, n_groups: int, rows: Array) -> np.ndarray | sp.csr_array:
    """Indicators of the groups, of shape (n_groups, len(groups)); sparse for many groups of NumPy rows."""
    if n_groups > _ONE_HOT and is_numpy(rows):
        m = len(groups)
        return sp.csr_array((np.ones(m), (groups, np.arange(m))), shape=(n_groups, m))
    return (np.arange(n_groups)[:, None] == groups).astype(float)


def _sums(members: np.ndarray | sp.csr_array, rows: Array, origin: Array | None) -> Array:
    """Sums of the rows with the entries of `_members` as weights."""
    return (members if sp.issparse(members) else from_numpy(members, rows)) @ _shifted(rows, origin)


def weighted_products(rows: Array, weights: Array, V: Array) -> tuple[Array, Array]:
    """``X^T diag(weights) X`` and ``X^T diag(weights) V``, from one pass.

    Parameters
    ----------
    rows : array of shape (n, d)
        The rows of X.
    weights : array of shape (n,), positive, float64
    V : array of shape (n, r), float64

    Returns
    -------
    gram : array of shape (d, d), float64, symmetric
    cross : array of shape (d, r), float64

    Raises
    ------
    ValueError
        If the products overflow.
    """
    xp = namespace(rows)
    gram: Array = None
    cross = xp.zeros((rows.shape[1], V.shape[1]), dtype=xp.float64, device=rows.device)
    roots = xp.sqrt(weights)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):  # looked for in the end
        for block in row_blocks(rows):
            scaled = as_dtype(rows[block, :], xp.float64) * roots[block, :]
            gram = _plus_products(gram, scaled)
            cross += scaled.T @ (roots[block, :] * V[block, :])
    _require_finite(gram)
    return gram, cross


def within_scatter(rows: Array, groups: np.ndarray, means: Array) -> Array:
    """``sum_i (x_i - m_i)(x_i - m_i)^T`` with m_i the mean of the group of row i: the scatter within groups.

    The means are taken out of the rows before the products, so that what lies between groups costs no digits, and the
    result is positive semi-definite up to the round-off of the scatter itself.

    Cost: one symmetric product of n d^2 flops; memory d^2, twice that for more than one block of rows, and one block.

    Parameters
    ----------
    rows : array of shape (n, d)
    groups : ndarray of shape (n,), int
    means : array of shape (g, d), float64

    Returns
    -------
    scatter : array of shape (d, d), float64, symmetric

    Raises
    ------
    ValueError
        If the products overflow.
    """
    xp, scatter = namespace(rows), None
    with np.errstate(over="ignore", invalid="ignore"):  # looked for in the end
        for block in row_blocks(rows):
            values = as_dtype(rows[block, :], xp.float64) - take_rows(means, groups[block])
            scatter = _plus_products(scatter, values)
    _require_finite(scatter, 2)  # solvers take its square
    return scatter


class GroupSums:
    """`group_sums` of the same rows for groups that change little from call to call: only changed rows are read again.

    Parameters
    ----------
    rows : array of shape (n, d)
    origin : array of shape (d,), optional
    """

    def __init__(self, rows: Array, origin: Array | None = None) -> None:
        self.rows, self.origin = rows, origin
        self.groups = np.empty(0, dtype=int)
        self.sums: Array = None

    def __call__(self, groups: np.ndarray, n_groups: int) -> Array:
        """Sums of the groups, of shape (n_groups, d), float64."""
        if self.sums is None or self.sums.shape[0] != n_groups:
            changed = np.arange(len(groups))
        else:
            changed = np.flatnonzero(groups != self.groups)
        if _RESUM_SHARE * len(changed) > len(groups):
            self.sums = group_sums(self.rows, groups, n_groups, self.origin)
        elif self._in_place:
            weights = np.repeat([1.0, -1.0], len(changed))
            place = np.concatenate([groups[changed], self.groups[changed]]), np.tile(changed, 2)
            self.sums = self.sums + sp.csr_array((weights, place), shape=(n_groups, len(groups))) @ self.rows
        else:
            for part in parts(len(changed), max(256, _GATHERED_BYTES // (8 * self.rows.shape[1]))):
                index = changed[part]
                came, went = (_members(codes[index], n_groups, self.rows) for codes in (groups, self.groups))
                self.sums = self.sums + _sums(came - went, take_rows(self.rows, index), self.origin)
        self.groups = groups.copy()
        return self.sums

    @property
    def _in_place(self) -> bool:
        """Whether SciPy can read single rows where they are."""
        rows = self.rows
        plain = is_numpy(rows) and rows.dtype == np.float64 and rows.flags.c_contiguous
        return plain and self.origin is None


def resolved(
    A: Array, variance: Array | float, diagonal: Array, mean: Array, n_rows: int, rows_eps: float
) -> np.ndarray:
    """Columns of A along which the variance ``a^T S a`` is more than the round-off of computing it.

    Variance that is left where large terms cancel is noise, however large its share in an eigenproblem whose other
    directions are damped. The bound on the terms is ``(sum_i |a_i| s_i)^2`` with s_i^2 the diagonal of S.

    Parameters
    ----------
    A : array of shape (d, k)
    variance : array of shape (k,), or float
    diagonal : array of shape (d,)
        Diagonal of the scatter matrix S.
    mean : array of shape (d,)
        Mean of the rows that S was computed from.
    n_rows : int
    rows_eps : float
        Relative round-off of the rows themselves.

    Returns
    -------
    mask : ndarray of shape (k,), bool
    """
    eps = np.finfo(np.float64).eps
    modulus, mean, diagonal = np.abs(to_numpy(A)).T, to_numpy(mean), np.clip(to_numpy(diagonal), 0.0, None)
    terms = len(diagonal) * eps * (modulus @ np.sqrt(diagonal)) ** 2
    shift = n_rows * (n_rows * eps * (modulus @ np.abs(mean))) ** 2
    entries = 4 * rows_eps**2 * (modulus**2 @ (n_rows * mean**2 + diagonal))
    return terms + shift + entries < (variance if isinstance(variance, float) else to_numpy(variance))


def scatter_spectrum(rows: Array | Moments, k: int | None = None) -> tuple[Array, Array, Array]:
    """Mean, and eigenpairs of the scatter matrix that are not zero to working precision.

    They come from the cheaper of the two Gram matrices: for d > n, ``(Xc Xc^T) u = t u`` gives the eigenvector
    ``Xc^T u`` of ``Xc^T Xc`` for the same t.

    Parameters
    ----------
    rows : array of shape (n, d), or Moments
    k : int, optional
        The k largest only.

    Returns
    -------
    mean : array of shape (d,)
    values : array of shape (r,), descending
    vectors : array of shape (d, r), orthonormal
    """
    n, d = rows.shape
    given = isinstance(rows, Moments)
    own = given or d <= n or (k is None and d <= 2 * n)  # all vectors of the other one cost a QR of d x n as well
    if own:
        mean, gram = mean_and_scatter(rows)
        xp = namespace(mean)
    else:
        xp = namespace(rows)
        rows64 = xp.astype(rows, xp.float64)
        mean = xp.mean(rows64, axis=0)
        centred = rows64 - mean
        with np.errstate(over="ignore", invalid="ignore"):
            gram = centred @ centred.T
        if not bool(xp.all(xp.isfinite(gram))):
            raise ValueError(OVERFLOW)
    noise = _scatter_noise(gram, mean, n, rows_eps(rows), rows.parts if given else 0)
    values, vectors = psd_eigh(gram, noise) if k is None else top_eigh(gram, k, noise)
    rank = min(values.shape[0], n - 1)  # that of n centred rows at most
    values, vectors = values[:rank], vectors[:, :rank]
    if own:
        return mean, values, vectors
    return mean, values, fix_signs(xp.linalg.qr(centred.T @ vectors)[0])


def _scatter_noise(scatter: Array, mean: Array, n_rows: int, rows_eps: float, parts: int) -> float:
    """Size of the round-off in a scatter matrix: eigenvalues up to it say nothing about the rows.

    Products, and sums of parts, round relative to the trace; and rows that are equal up to the round-off of their mean
    have no variance, though their scatter is not exactly zero.
    """
    xp = namespace(scatter)
    eps, trace, square = np.finfo(np.float64).eps, float(xp.linalg.trace(scatter)), float(mean @ mean)
    entries = 4 * rows_eps**2 * (trace + n_rows * square)
    return float((scatter.shape[0] + parts**0.5) * eps * trace + n_rows * (n_rows * eps) ** 2 * square + entries)


class CovarianceRoot(ArrayHolder):
    """Powers of ``cov(rows) + ridge I`` applied to row blocks, from the spectrum of the covariance.

    The covariance (divisor n - 1) is held as ``V diag(s) V^T`` with at most ``min(d, n - 1)`` columns, so nothing of
    size d x d is kept when d > n. With ``ridge = 0`` powers are those of the Moore-Penrose inverse: the null space maps
    to 0.

    Parameters
    ----------
    rows : array of shape (n, d), n >= 2, or Moments
    ridge : float >= 0

    Attributes
    ----------
    mean : array of shape (d,)
    variances : array of shape (r,)
        Non-zero eigenvalues s of the covariance, descending.
    vectors : array of shape (d, r)
        Their orthonormal eigenvectors V.
    """

    def __init__(self, rows: Array | Moments, ridge: float) -> None:
        self.ridge = float(ridge)
        self.mean, values, self.vectors = scatter_spectrum(rows)
        self.variances = values / (rows.shape[0] - 1)

    def moved(self, move: Callable[[Array], Array]) -> CovarianceRoot:
        """The same with every array where `move` takes it."""
        moved = copy(self)
        moved.mean, moved.variances, moved.vectors = map(move, (self.mean, self.variances, self.vectors))
        return moved

    def power(self, rows: Array, exponent: float) -> Array:
        """Rows multiplied by ``(cov + ridge I)^exponent``.

        Parameters
        ----------
        rows : array of shape (m, d), float64
        exponent : float

        Returns
        -------
        product : array of shape (m, d), float64
        """
        vectors, variances = self.vectors, self.variances
        coordinates = rows @ vectors
        inside = (coordinates * (variances + self.ridge) ** exponent) @ vectors.T
        full_rank = vectors.shape[1] == vectors.shape[0]
        if full_rank or self.ridge == 0.0:
            return inside
        return inside + self.ridge**exponent * (rows - coordinates @ vectors.T)
