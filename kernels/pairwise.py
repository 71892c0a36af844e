"""Kernel matrices and the median rule for their width.

Linear, RBF, polynomial, sigmoid and cosine kernels are one matrix product, written into the result, and a few steps on
blocks of its rows while they are in the cache; a symmetric matrix is computed on and above its diagonal and mirrored.
Whatever is no product (Laplacian, chi2, additive_chi2) is summed by Numba, which is compiled on first use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, euclidean_distances, pairwise_kernels

from shallowda.kernels.arrays import (
    Array,
    from_numpy,
    is_foreign,
    is_numpy,
    library,
    namespace,
    row_squares,
    to_numpy,
)
from shallowda.kernels.threads import in_threads, parts

__all__ = ["KERNELS", "Kernel", "median_gamma", "unit_rows"]

#: Names of the kernels: those of scikit-learn's ``pairwise_kernels``.
KERNELS = tuple(sorted(PAIRWISE_KERNEL_FUNCTIONS))

_MEDIAN_ROWS = 2000  # pairs of at most this many rows enter the median
_CLOSE = 1e-8  # squared distance, relative to squared norms, below which products leave fewer than eight digits of it
_EXPONENTS = 1000  # of a width in base two
_PARALLEL_FROM = 2**20  # kernel values from which threads pay
_CACHED = 2 * 2**20  # bytes of rows that are finished at once: they stay in the cache
_CHUNK = 64 * 2**20  # the same where a block is a kernel launch, and bytes of temporaries
_REACH = 32  # largest gamma ||x - mean||^2 for which products in float32 keep five digits of an RBF kernel
_ONE = ("rbf", "laplacian", "chi2")  # these are 1 between a row and itself
_SUMS = ("laplacian", "chi2", "additive_chi2")  # no matrix products


@dataclass(frozen=True)
class Kernel:
    """A kernel function with its parameters: values as scikit-learn's ``pairwise_kernels`` gives them.

    Parameters
    ----------
    name : str or callable
        One of `KERNELS`, or a function of two rows (1-D arrays) that returns a number.
    gamma : float, optional
        Width of the kernels that have one; None is 1 for chi2 and 1/d for the others.
    degree, coef0 : float
        Of the polynomial kernel; `coef0` also of the sigmoid.
    params : mapping, optional
        Keyword arguments of a callable.

    Raises
    ------
    ValueError
        If the name is unknown or gamma negative.

    Notes
    -----
    An RBF kernel is computed from products of rows less their mean, so a common offset costs no digits. For float32
    rows they are products in float32 as long as ``gamma ||x - mean||^2`` is at most 32 for every row, which bounds the
    error of K by about 1e-5 (1e-7 where that figure is about one, as with the median rule). Beyond, the products are
    taken in float64, at twice the cost and with a float64 copy of the rows.
    """

    name: str | Callable
    gamma: float | None = None
    degree: float = 3
    coef0: float = 1
    params: Mapping | None = None

    def __post_init__(self) -> None:
        if not callable(self.name) and self.name not in KERNELS:
            raise ValueError(f"There is no kernel {self.name!r}. Choose one of {', '.join(KERNELS)}, or a callable.")
        if self.gamma is not None and self.gamma < 0:
            raise ValueError(f"gamma is a width and must not be negative; got {self.gamma!r}.")

    def __call__(self, X: Array, Y: Array | None = None) -> Array:
        """Kernel values between the rows of X and those of Y (of X when Y is None).

        Parameters
        ----------
        X : array of shape (m, d)
            Of NumPy, or of a library that follows the Array API standard. Chi2 kernels and callables take NumPy only.
        Y : array of shape (n, d), optional
            Of the same library.

        Returns
        -------
        K : array of shape (m, n)
            In the common floating dtype of X and Y (float64 for integers), where they are. For Y None exactly
            symmetric, and exactly 1 on the diagonal of RBF, Laplacian and chi2 kernels.

        Raises
        ------
        ValueError
            If the kernel gives NaN or infinite values, X and Y have different numbers of columns, a chi2 kernel meets
            negative values, or a callable does not take two rows.

        Notes
        -----
        Time: one product, m n d (half of it for Y None), or as many differences. Memory: K and a few MiB; RBF and
        cosine also hold a copy of the rows, shifted or scaled.
        """
        X, Y = self._rows(X, Y)
        gamma = self._width(X)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # looked for in every block
            if callable(self.name):
                K = self._by_rows(X, Y)
                for start, stop in _blocks(K):
                    self.require_finite(K[start:stop, :])
                return K
            if self.name == "rbf":
                return self._rbf(X, Y, gamma)
            if self.name in _SUMS:
                return self._finished(self._sums(X, Y), Y is None, gamma)
            if self.name == "cosine":
                X, Y = unit_rows(X), None if Y is None else unit_rows(Y)
            return self._finished(_product(X, Y), Y is None, gamma)

    def diagonal(self, X: Array) -> Array:
        """Kernel values of the rows of X with themselves, in closed form: the diagonal of ``self(X)``.

        Parameters
        ----------
        X : array of shape (n, d)

        Returns
        -------
        values : array of shape (n,)

        Raises
        ------
        ValueError
            As for a call.
        """
        X, _ = self._rows(X, None)
        xp = namespace(X)
        if callable(self.name):
            return np.asarray([self._by_rows(X[i : i + 1], None)[0, 0] for i in range(len(X))], dtype=X.dtype)
        if self.name in _ONE:
            return xp.ones(X.shape[0], dtype=X.dtype, device=X.device)
        if self.name == "additive_chi2":
            return xp.zeros(X.shape[0], dtype=X.dtype, device=X.device)
        rows = unit_rows(X) if self.name == "cosine" else X
        with np.errstate(over="ignore", invalid="ignore"):
            values = self._values(row_squares(rows), self._width(X))
        self.require_finite(values)
        return values

    def _rows(self, X: Array, Y: Array | None) -> tuple[Array, Array | None]:
        """The rows in their common floating dtype; Y is None where it is X."""
        arrays = [array if is_foreign(array) else np.asarray(array) for array in ((X,) if Y is None else (X, Y))]
        xp = namespace(*arrays)
        if xp is not np and (callable(self.name) or self.name in ("chi2", "additive_chi2")):
            raise ValueError(
                f"kernel={self.name!r} is computed for NumPy arrays only; got {type(X)}. Convert the rows to NumPy, or "
                "choose another kernel."
            )
        if any(array.ndim != 2 for array in arrays) or arrays[0].shape[1] != arrays[-1].shape[1]:
            shapes = " and ".join(str(tuple(array.shape)) for array in arrays)
            raise ValueError(f"A kernel takes 2-D arrays of rows with the same number of columns; got {shapes}.")
        if self.name in ("chi2", "additive_chi2") and any(xp.any(array < 0) for array in arrays):
            raise ValueError(f"kernel={self.name!r} is for histograms: the rows must not contain negative values.")
        single = all(array.dtype == xp.float32 for array in arrays)
        arrays = [xp.astype(array, xp.float32 if single else xp.float64, copy=False) for array in arrays]
        return arrays[0], None if Y is None or Y is X else arrays[1]

    def _width(self, X: Array) -> float:
        if self.gamma is not None:
            return self.gamma
        return 1.0 if self.name == "chi2" else 1.0 / X.shape[1]

    def _by_rows(self, X: np.ndarray, Y: np.ndarray | None) -> np.ndarray:
        try:
            K = pairwise_kernels(X, Y, metric=self.name, **(self.params or {}))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"A callable kernel takes two rows (1-D arrays) and returns a number; {self.name!r} failed on that: "
                f"{error}"
            ) from error
        return K.astype(X.dtype, copy=False)

    def _sums(self, X: Array, Y: Array | None) -> Array:
        """Sums over the features for every pair; for NumPy rows and Y None only on and above the diagonal."""
        xp = namespace(X)
        columns = X if Y is None else Y
        sums = xp.zeros((X.shape[0], columns.shape[0]), dtype=X.dtype, device=X.device)
        if is_numpy(X):
            from shallowda.kernels._jit_pairwise import absolute_differences, chi_squared

            (absolute_differences if self.name == "laplacian" else chi_squared)(X, Y, sums)
            return sums
        step = max(1, _CHUNK // (X.shape[1] * columns.shape[0] * _itemsize(X)))
        for i in range(0, X.shape[0], step):
            part = slice(i, min(i + step, X.shape[0]))
            sums[part, :] = xp.sum(xp.abs(X[part, None, :] - columns[None, :, :]), axis=2)
        return sums

    def _rbf(self, X: Array, Y: Array | None, gamma: float) -> Array:
        xp = namespace(X)
        origin = xp.mean(X if Y is None else Y, axis=0)  # any common point will do, so its own rounding is harmless

        def scaled(rows: Array, dtype: Any) -> tuple[Array, Array]:
            """Rows whose squared distances are 2 gamma times those of X, and half their squared norms."""
            rows = xp.astype(rows, dtype, copy=False) - xp.astype(origin, dtype, copy=False)
            rows *= math.sqrt(2 * gamma)
            return rows, row_squares(rows) / 2

        for dtype in (X.dtype, xp.float64):
            left, left_norms = scaled(X, dtype)
            right, right_norms = (left, left_norms) if Y is None else scaled(Y, dtype)
            if dtype == xp.float64 or max(float(xp.max(left_norms)), float(xp.max(right_norms))) <= _REACH:
                break
        if left.dtype == X.dtype:
            return self._finished(
                _product(left, None if Y is None else right), Y is None, gamma, left_norms, right_norms
            )
        K = xp.zeros((left.shape[0], right.shape[0]), dtype=X.dtype, device=X.device)
        return self._finished(K, Y is None, gamma, left_norms, right_norms, factors=(left, right))

    def _finished(
        self,
        K: Array,
        symmetric: bool,
        gamma: float,
        left: Array | None = None,
        right: Array | None = None,
        factors: tuple[Array, Array] | None = None,
    ) -> Array:
        """The kernel from its products or sums in K, written over them.

        Of a symmetric one only the part on and above the diagonal is read. With `factors`, of a higher precision than
        K, the products are taken here.
        """
        if library(K) == "cupy":
            from shallowda.kernels._cupy_pairwise import finished

            return finished(K, self, gamma, symmetric=symmetric, norms=(left, right), factors=factors)
        xp = namespace(K)

        def finish(start: int, stop: int) -> None:
            first = start if symmetric else 0
            if factors is None:
                part = K[start:stop, first:]
            else:
                part = factors[0][start:stop, :] @ factors[1][first:, :].T
            if left is not None and right is not None:
                part -= left[start:stop, None]
                part -= right[None, first:]
            part = self._values(part, gamma)
            self.require_finite(part)
            if symmetric:
                part[:, : stop - start] = self._mirrored(part[:, : stop - start])
                K[stop:, start:stop] = xp.astype(part[:, stop - start :].T, K.dtype, copy=False)
            if factors is not None or not is_numpy(K):  # NumPy has computed within K
                K[start:stop, first:] = xp.astype(part, K.dtype, copy=False)

        def finish_some(chosen: slice) -> None:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a state of each thread
                for start, stop in blocks[chosen]:
                    finish(start, stop)

        blocks = list(_blocks(K))
        large = is_numpy(K) and K.size >= _PARALLEL_FROM
        in_threads(finish_some, len(blocks), 1, worthwhile=large)
        return K

    def _values(self, part: Array, gamma: float) -> Array:
        """Kernel values from products, sums, or (RBF) minus gamma times squared distances; may write over them."""
        xp = namespace(part)
        if self.name == "rbf":
            return _over(xp.exp, _over(xp.minimum, part, 0.0))
        if self.name == "additive_chi2":
            return _over(xp.negative, part)
        if self.name in ("linear", "cosine"):
            return part
        part *= -gamma if self.name in _SUMS else gamma
        if self.name in _SUMS:
            return _over(xp.exp, part)
        part += self.coef0
        return _over(xp.tanh, part) if self.name == "sigmoid" else _power(part, self.degree)

    def _mirrored(self, square: Array) -> Array:
        """A block on the diagonal with the part above it copied below."""
        xp = namespace(square)
        square = xp.triu(square) + xp.triu(square, k=1).T
        if self.name not in _ONE:
            return square
        return xp.where(xp.eye(square.shape[0], dtype=xp.bool, device=square.device), 1.0, square)

    def require_finite(self, values: Array) -> None:
        """Refuse kernel values that are not all finite.

        Parameters
        ----------
        values : array

        Raises
        ------
        ValueError
        """
        xp = namespace(values)
        if not bool(xp.all(xp.isfinite(values))):
            raise self.not_finite()

    def not_finite(self) -> ValueError:
        """The error of kernel values that are not all finite."""
        return ValueError(
            f"kernel={self.name!r} gave NaN or infinite values for these rows. Scale the features, or choose a "
            "smaller gamma or degree."
        )


def _blocks(K: Array) -> Iterator[tuple[int, int]]:
    """First row and end of blocks of the rows of K."""
    step = max(16, (_CACHED if is_numpy(K) else _CHUNK) // (_itemsize(K) * K.shape[1]))
    for start in range(0, K.shape[0], step):
        yield start, min(start + step, K.shape[0])


def _itemsize(array: Array) -> int:
    return 4 if array.dtype == namespace(array).float32 else 8


def _over(function: Callable, values: Array, *others: Any) -> Array:
    """A function of the values, written over them where the library can."""
    return function(values, *others, out=values) if is_numpy(values) else function(values, *others)


def _power(values: Array, degree: float) -> Array:
    if degree not in range(2, 9):
        return _over(namespace(values).pow, values, degree)
    result = values * values  # half the time of `pow`, and far less on processors without wide vectors
    for _ in range(int(degree) - 2):
        result *= values
    if is_numpy(values):
        values[...] = result
        return values
    return result


def _product(X: Array, Y: Array | None) -> Array:
    """``X Y^T``; for NumPy rows and Y None only on and above the diagonal."""
    if not is_numpy(X):
        return X @ (X if Y is None else Y).T
    if Y is not None:
        return X @ Y.T
    # BLAS thinks in columns: the lower part of the transpose is the upper part of K. Zeros, as some versions read them.
    K = np.zeros((len(X), len(X)), dtype=X.dtype)
    syrk = get_blas_funcs("syrk", (X,))
    a, trans = (X, 0) if X.flags.f_contiguous else (X.T, 1)
    syrk(1.0, a, c=K.T, trans=trans, lower=1, overwrite_c=1)
    return K


def unit_rows(X: Array) -> Array:
    """Rows scaled to unit Euclidean norm; zero rows stay zero.

    Parameters
    ----------
    X : array of shape (n, d), float32 or float64

    Returns
    -------
    X_unit : array of shape (n, d), of the dtype of X
    """
    xp = namespace(X)
    peaks = xp.max(xp.abs(X), axis=1, keepdims=True)
    peaks = xp.where(peaks > 0, peaks, xp.ones_like(peaks))
    X = X / xp.pow(xp.asarray(2, dtype=X.dtype, device=X.device), xp.floor(xp.log2(peaks)))
    norms = xp.linalg.vector_norm(X, axis=1, keepdims=True)  # the division by powers of two keeps it in range
    return X / xp.where(norms > 0, norms, xp.ones_like(norms))


def median_gamma(X: Array, kernel: str | Callable) -> float | None:
    """Kernel width by the median rule.

    ``1 / median ||x - y||^2`` for the RBF kernel, ``1 / median ||x - y||_1`` for the Laplacian, ``1 / median ||x||^2``
    for the polynomial and sigmoid kernels (so that gamma <x, y> is of order one); None for kernels without a width,
    which leaves scikit-learn's default. Zero distances (duplicated rows) and zero norms do not count, nor what is zero
    but for the round-off of the rows. Above 2000 rows, a fixed random subset.

    Parameters
    ----------
    X : array of shape (n, d)
        Of NumPy, or of a library that follows the Array API standard.
    kernel : str or callable

    Returns
    -------
    gamma : float or None

    Raises
    ------
    ValueError
        If every distance (or norm) is zero: there is no scale to take; or if the width is out of the range of floats.
    """
    if kernel not in ("rbf", "laplacian", "poly", "polynomial", "sigmoid"):
        return None
    rows = _some_rows(X)
    # a power of two changes no digit, and keeps squares in range whatever the unit of the features
    exponent = int(np.frexp(np.abs(rows).max(initial=0.0))[1])
    rows = np.ldexp(rows, -exponent)
    if kernel == "rbf":
        scales, degree = _squared_distances(rows), 2
    elif kernel == "laplacian":
        scales, degree = _absolute_distances(rows), 1
    else:
        scales, degree = np.einsum("ij,ij->i", rows, rows), 2
        scales[scales <= _round_off(rows) ** 2 * scales.max(initial=0.0)] = 0.0
    positive = scales[scales > 0]
    del scales
    if len(positive) == 0:
        raise ValueError("gamma='median' needs rows that differ; all rows are the same. Pass gamma as a number.")
    gamma = float(1.0 / np.median(positive, overwrite_input=True))
    if abs(math.log2(gamma) - exponent * degree) >= _EXPONENTS:
        raise ValueError(
            f"gamma='median' is out of range: the features of X are of the order of {math.ldexp(1.0, exponent):.0e}. "
            "Scale the features, for example with StandardScaler."
        )
    return math.ldexp(gamma, -degree * exponent)


def _some_rows(X: Array) -> np.ndarray:
    """At most `_MEDIAN_ROWS` rows, not all the same unless all rows are: the median is no work for a device."""
    if X.shape[0] <= _MEDIAN_ROWS:
        return to_numpy(X)
    xp = namespace(X)

    def taken(index: np.ndarray) -> np.ndarray:
        return to_numpy(xp.take(X, from_numpy(index, X), axis=0))

    random = np.random.RandomState(0)
    rows = taken(random.choice(X.shape[0], _MEDIAN_ROWS, replace=False))
    if not (rows == rows[0]).all():
        return rows
    others = np.flatnonzero(to_numpy(xp.any(from_numpy(rows[0], X) != X, axis=1)))  # rare, and none was drawn
    return np.concatenate([rows[:1], taken(random.permutation(others)[: _MEDIAN_ROWS - 1])])


def _round_off(rows: np.ndarray) -> float:
    """Difference, relative to the rows, that products made for copies may leave between them."""
    return 2 * float(np.finfo(rows.dtype).eps)


def _squared_distances(rows: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs, each twice: zero between copies, and accurate between close rows."""
    centred = rows - rows.mean(axis=0)
    squares = euclidean_distances(centred, squared=True)
    np.fill_diagonal(squares, 0.0)
    norms = np.einsum("ij,ij->i", centred, centred, dtype=np.float64)
    limit = 2 * _CLOSE * norms.max(initial=0.0)
    if np.count_nonzero(squares <= limit) <= len(rows):
        return squares
    left, right = np.nonzero(np.triu(squares <= limit, 1))
    close = squares[left, right] <= _CLOSE * (norms[left] + norms[right])
    left, right = left[close], right[close]
    squares[left, right] = squares[right, left] = _squared_gaps(rows, left, right)
    return squares


def _squared_gaps(rows: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared distances of some pairs of rows from their differences, which lose no digits; zero between copies."""
    squares = np.zeros(len(left))
    _, groups = np.unique(rows + 0.0, axis=0, return_inverse=True)  # -0.0 is 0.0
    groups = groups.reshape(-1)
    differ = np.flatnonzero(groups[left] != groups[right])
    norms = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    for some in (differ[part] for part in parts(len(differ), max(1, _CACHED // (8 * rows.shape[1])))):
        i, j = left[some], right[some]
        gaps = rows[i].astype(np.float64) - rows[j]
        values = np.einsum("ij,ij->i", gaps, gaps)
        squares[some] = np.where(values > _round_off(rows) ** 2 * (norms[i] + norms[j]), values, 0.0)
    return squares


def _absolute_distances(rows: np.ndarray) -> np.ndarray:
    """L1 distances of all pairs, zero between copies."""
    left, right = np.triu_indices(len(rows), 1)
    sums = Kernel("laplacian")._sums(rows, None)[left, right]
    norms = np.abs(rows).sum(axis=1, dtype=np.float64)
    near = np.flatnonzero(sums <= 2 * _round_off(rows) * norms.max(initial=0.0))
    near = near[sums[near] <= _round_off(rows) * (norms[left[near]] + norms[right[near]])]
    sums[near] = 0.0
    return sums
