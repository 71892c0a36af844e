"""Symmetric n x n matrices as what solvers need of them: a product with a block of columns, and little memory.

====================== ============================ ========================== ======================
operator               matrix                       holds                      a product with (n, b)
====================== ============================ ========================== ======================
`DenseGram`            any K, stored                n^2                        2 n^2 b flops
`FactoredGram`         ``X X^T``                    nothing                    4 n d b
`TiledGram`            kernel values of X           one tile                   n^2 d + 2 n^2 b
`Nystroem`             ``Z Z^T``, close to a kernel n m                        4 n m b
`LowRankPlusDiagonal`  ``V V^T + diag(g)``          n r                        4 n r b
====================== ============================ ========================== ======================

Each takes NumPy arrays (float32 or float64, also read-only or memory-mapped) or arrays of any library that follows the
Array API standard, computes where they are, and answers in their dtype.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from sklearn.utils import check_random_state

from shallowda.kernels import device
from shallowda.kernels.arrays import (
    Array,
    as_dtype,
    from_numpy,
    is_foreign,
    is_numpy,
    library,
    namespace,
    row_squares,
    symmetric_product,
)

__all__ = [
    "DenseGram",
    "FactoredGram",
    "InverseRoot",
    "KernelFunction",
    "LowRankPlusDiagonal",
    "Nystroem",
    "Operator",
    "TiledGram",
]

TILE_BYTES = 2**26  # of 8 to 128 MiB the best over d = 64 to 2048: small tiles pay for copies of their rows
_WORKING = 8  # bytes of a number in the kernel, which may compute in float64 for float32 rows


class Operator(Protocol):
    """What the operators have in common.

    Attributes
    ----------
    shape : tuple (n, n)
    dtype : dtype
        float32 or float64 of the arrays' library. Blocks are converted to it, results have it.
    nbytes : int
        Bytes of what it stores and of what a product works with, beyond the rows it was given. Blocks and results are
        the caller's and do not count.
    """

    shape: tuple[int, int]
    dtype: Any
    nbytes: int

    def __matmul__(self, block: Array) -> Array:
        """The product with a block of shape (n, b), b >= 0."""

    def diagonal(self) -> Array:
        """The n diagonal entries."""

    def columns(self, index: Any) -> Array:
        """The columns with these numbers, of shape (n, len(index))."""


class KernelFunction(Protocol):
    """A symmetric kernel: `shallowda.kernels.pairwise.Kernel`, or anything that is called like it."""

    def __call__(self, X: Array, Y: Array | None = None) -> Array:
        """Values between the rows of X (m, d) and of Y (n, d), or of X itself: (m, n)."""

    def diagonal(self, X: Array) -> Array:
        """Values of each row with itself: (m,)."""


class DenseGram:
    """A symmetric matrix that is stored.

    Parameters
    ----------
    K : array of shape (n, n), float32 or float64
        Not copied.

    Raises
    ------
    TypeError
        If K is not a matrix of real floating-point numbers.
    ValueError
        If K is not square.
    """

    def __init__(self, K: Array) -> None:
        self.K = _matrix(K, "K")
        n, columns = self.K.shape
        if columns != n:
            raise ValueError(f"K must be a square matrix; it is {_described(K)}.")
        self.shape, self.dtype, self.nbytes = (n, n), self.K.dtype, _nbytes(self.K)

    def __matmul__(self, block: Array) -> Array:
        """The product with a block (n, b)."""
        return symmetric_product(self.K, _block(self, block))

    def diagonal(self) -> Array:
        """The n diagonal entries."""
        return namespace(self.K).linalg.diagonal(self.K)

    def columns(self, index: Any) -> Array:
        """The columns with these numbers."""
        return namespace(self.K).take(self.K, _index(index, self.K), axis=0).T  # the same, and rows are faster


class FactoredGram:
    """``X X^T``, never formed.

    Parameters
    ----------
    X : array of shape (n, d), float32 or float64
        Not copied.

    Raises
    ------
    TypeError
        If X is not a matrix of real floating-point numbers.
    """

    def __init__(self, X: Array) -> None:
        self.factor = _matrix(X, "X")
        n = self.factor.shape[0]
        self.shape, self.dtype, self.nbytes = (n, n), self.factor.dtype, 0

    def __matmul__(self, block: Array) -> Array:
        """The product with a block (n, b), by way of one of shape (d, b)."""
        return self.factor @ (self.factor.T @ _block(self, block))

    def diagonal(self) -> Array:
        """The n diagonal entries: squared norms of the rows."""
        return row_squares(self.factor)

    def columns(self, index: Any) -> Array:
        """The columns with these numbers."""
        return self.factor @ _rows(self.factor, index).T


class TiledGram:
    """Kernel values of the rows less a constant, computed anew for each product and never stored.

    A product goes through the square tiles of one triangle; a tile serves both places that the symmetric matrix has it
    in. That costs half the kernel matrix (measured: 1.2 to 1.5 times faster than whole rows), so blocks should be wide
    and products few.

    Parameters
    ----------
    X : array of shape (n, d), float32 or float64
        Not copied.
    kernel : KernelFunction
    tile_bytes : int, default=64 MiB
        Memory to work in, whatever n. A tile is so small that the kernel may make four more of its size and shifted or
        scaled copies of its rows, all in float64.
    constant : float, default=0.0
        What is taken off each kernel value: products do not spend their digits on a mean that is far from zero.
    double : bool, default=False
        Whether kernel values of float32 rows are computed in float64, from copies of some rows at a time.

    Raises
    ------
    TypeError
        If X is not a matrix of real floating-point numbers.
    """

    def __init__(
        self,
        X: Array,
        kernel: KernelFunction,
        tile_bytes: int = TILE_BYTES,
        constant: float = 0.0,
        *,
        double: bool = False,
    ) -> None:
        self.X, self.kernel, self.tile_bytes, self.constant = _matrix(X, "X"), kernel, tile_bytes, constant
        n, d = self.X.shape
        self.shape, self.dtype = (n, n), namespace(X).float64 if double else self.X.dtype
        # the largest side with 5 side^2 + 3 side d numbers in the tile's bytes, then tiles of equal size
        side = max(int(math.sqrt(9 * d * d + 20 * tile_bytes / _WORKING) - 3 * d) // 10, 1)
        side = math.ceil(n / max(math.ceil(n / side), 1))
        self._tiles = list(_slices(n, side))
        self.nbytes = _WORKING * side * (5 * side + 3 * d)

    def __matmul__(self, block: Array) -> Array:
        """The product with a block (n, b): n^2 / 2 kernel values and 2 n^2 b flops."""
        X, block = self.X, _block(self, block)
        if library(X) == "cupy" and device.has(self.kernel) and self.dtype == X.dtype:
            product = device.kernel_times_block(X, X, block, self.kernel)
            return product - self.constant * namespace(X).sum(block, axis=0)
        product = namespace(X).zeros(block.shape, dtype=self.dtype, device=X.device)
        for i, rows in enumerate(self._tiles):
            some = as_dtype(X[rows, :], self.dtype)
            product[rows, :] += self._less(self.kernel(some)) @ block[rows, :]
            for others in self._tiles[i + 1 :]:
                tile = self._less(self.kernel(some, as_dtype(X[others, :], self.dtype)))
                product[rows, :] += tile @ block[others, :]
                product[others, :] += tile.T @ block[rows, :]
                del tile  # before the next one is made
        return product

    def diagonal(self) -> Array:
        """The n diagonal entries."""
        return self._less(as_dtype(self.kernel.diagonal(self.X), self.dtype))

    def columns(self, index: Any) -> Array:
        """The columns with these numbers."""
        chosen = as_dtype(_rows(self.X, index), self.dtype)
        return self._less(_by_rows(self.X, self.kernel, chosen, tile_bytes=self.tile_bytes, dtype=self.dtype))

    def _less(self, values: Array) -> Array:
        """Fresh kernel values, less the constant."""
        if self.constant:
            values -= self.constant
        return values


class Nystroem(FactoredGram):
    """``Z Z^T``, the Nystroem approximation of a positive semi-definite kernel matrix from a few of its columns.

    With landmarks L among the rows and ``K_LL = U diag(s) U^T``, ``Z = K_L U diag(s)^{-1/2}``, without the eigenvalues
    that are zero to working precision. It equals K where a landmark is involved, exactly everywhere when K has no
    larger rank than K_LL, and is nowhere above K (``K - Z Z^T`` is positive semi-definite).

    Cost: n m (d + m) flops and one `eigh` of order m; n x m memory.

    Parameters
    ----------
    X : array of shape (n, d), float32 or float64
        Referred to for `error`.
    kernel : KernelFunction
    n_landmarks : int >= 1
        m, drawn uniformly without replacement; all n rows where there are no more.
    random_state : int or RandomState, default=0

    Attributes
    ----------
    index : ndarray of shape (m,)
        Numbers of the landmarks, ascending.
    landmarks : array of shape (m, d)
        Their rows.
    features : array of shape (n, r)
        Z; r <= m is the numerical rank of K_LL.

    Raises
    ------
    TypeError
        If X is not a matrix of real floating-point numbers.
    ValueError
        If `n_landmarks` is below 1.
    """

    def __init__(
        self,
        X: Array,
        kernel: KernelFunction,
        n_landmarks: int,
        random_state: int | np.random.RandomState = 0,
    ) -> None:
        if n_landmarks < 1:
            raise ValueError(f"n_landmarks must be at least 1; it is {n_landmarks}.")
        self.X, self.kernel = _matrix(X, "X"), kernel
        order = check_random_state(random_state).permutation(self.X.shape[0])
        self.index, self._others = np.sort(order[:n_landmarks]), order[n_landmarks:]
        self.landmarks = _rows(self.X, self.index)
        self.root = self._inverse_root()
        super().__init__(self.features_of(self.X))
        self.nbytes = sum(map(_nbytes, (self.factor, self.landmarks, self.root))) + self.index.nbytes

    @property
    def features(self) -> Array:
        """Z, of shape (n, r)."""
        return self.factor

    def features_of(self, X: Array) -> Array:
        """Features of any rows, whose products approximate their kernel values.

        Parameters
        ----------
        X : array of shape (l, d)

        Returns
        -------
        Z : array of shape (l, r)
        """
        return _by_rows(X, self.kernel, self.landmarks, self.root)

    def error(self, n_columns: int = 100) -> float:
        """Relative residual ``||K_S - (Z Z^T)_S||_F / ||K_S||_F`` in held-out columns S.

        Parameters
        ----------
        n_columns : int, default=100
            At most so many random columns that are no landmarks; where all are, as many landmarks.

        Returns
        -------
        error : float
        """
        held_out = (self._others if len(self._others) else self.index)[:n_columns]
        rows, features = _rows(self.X, held_out), _rows(self.features, held_out)
        missing = total = 0.0
        for block in _slices(self.X.shape[0], _height(rows)):
            exact = self.kernel(self.X[block, :], rows)
            missing += _square_sum(exact - self.features[block, :] @ features.T)
            total += _square_sum(exact)
        return math.sqrt(missing / total) if total else 0.0

    def _inverse_root(self) -> Array:
        """U diag(s)^{-1/2} of the landmarks' kernel matrix, decomposed in float64."""
        xp, m = namespace(self.X), self.landmarks.shape[0]
        values, vectors = xp.linalg.eigh(xp.astype(self.kernel(self.landmarks), xp.float64, copy=False))
        rank = int(xp.count_nonzero(values > m * float(xp.finfo(self.X.dtype).eps) * values[-1])) if m else 0
        return xp.astype(vectors[:, m - rank :] / xp.sqrt(values[m - rank :]), self.X.dtype, copy=False)


class LowRankPlusDiagonal:
    """``V V^T + diag(g)`` with V of few columns and g > 0: positive definite, with an inverse root in closed form.

    Parameters
    ----------
    V : array of shape (n, r), float32 or float64
        Not copied. r = 0 is allowed.
    diagonal : float, or array of shape (n,)
        g.

    Raises
    ------
    TypeError
        If V is not a matrix of real floating-point numbers, or g of another library.
    ValueError
        If g is not positive and finite, or of another length.
    """

    def __init__(self, V: Array, diagonal: float | Array) -> None:
        self.V = _matrix(V, "V")
        n, xp = self.V.shape[0], namespace(self.V)
        if isinstance(diagonal, np.generic) or not hasattr(diagonal, "shape"):
            self.g, smallest, largest = float(diagonal), float(diagonal), float(diagonal)
        else:
            namespace(self.V, diagonal)  # of one library, or an error that says so
            if diagonal.shape != (n,):
                raise ValueError(f"diagonal must be a number or of shape ({n},); its shape is {tuple(diagonal.shape)}.")
            self.g = xp.astype(diagonal, self.V.dtype, copy=False)
            smallest, largest = (float(xp.min(self.g)), float(xp.max(self.g))) if n else (1.0, 1.0)
        if not (smallest > 0 and largest < math.inf):
            raise ValueError(f"diagonal must be positive and finite; it goes from {smallest} to {largest}.")
        self.shape, self.dtype = (n, n), self.V.dtype
        self.nbytes = _nbytes(self.V) + (0 if isinstance(self.g, float) else _nbytes(self.g))

    def __matmul__(self, block: Array) -> Array:
        """The product with a block (n, b)."""
        block = _block(self, block)
        return self.V @ (self.V.T @ block) + _column(self.g) * block

    def diagonal(self) -> Array:
        """The n diagonal entries."""
        return row_squares(self.V) + self.g

    def columns(self, index: Any) -> Array:
        """The columns with these numbers."""
        xp, index = namespace(self.V), _index(index, self.V)
        numbers = xp.arange(self.shape[0], device=self.V.device)
        ones = xp.astype(numbers[:, None] == index[None, :], self.dtype)
        return self.V @ _rows(self.V, index).T + _column(self.g) * ones

    def inverse_root(self) -> InverseRoot:
        """F with ``F^T (V V^T + diag(g)) F = I``. Cost: one thin SVD of n x r."""
        return InverseRoot(self.V, self.g)


class InverseRoot:
    """F with ``F^T (V V^T + diag(g)) F = I``, as ``F = D^{-1} R``, ``D^2 = diag(g)``, R symmetric.

    From the thin SVD ``D^{-1} V = P diag(s) Q^T`` follows ``R = (I - P P^T) + P diag(1 + s^2)^{-1/2} P^T``. The two
    parts are kept apart, and the projection is done twice: where s is large, what is left along P is tiny, and must not
    drown in the round-off of ``I - P P^T``.

    Made by `LowRankPlusDiagonal.inverse_root`, which checks V and g.
    """

    def __init__(self, V: Array, g: float | Array) -> None:
        xp = namespace(V)
        self.inverse_D = 1.0 / math.sqrt(g) if isinstance(g, float) else 1.0 / xp.sqrt(g)
        if V.shape[1]:
            self.P, s, _ = xp.linalg.svd(_column(self.inverse_D) * V, full_matrices=False)
            self.damping = 1.0 / xp.hypot(s, xp.ones_like(s))
        else:  # not every library decomposes an empty matrix
            self.P, self.damping = V, xp.zeros(0, dtype=V.dtype, device=V.device)

    def apply(self, block: Array) -> Array:
        """F @ block, for a block of shape (n, b)."""
        return _column(self.inverse_D) * self._damp(block)

    def adjoint(self, block: Array) -> Array:
        """F^T @ block, for a block of shape (n, b)."""
        return self._damp(_column(self.inverse_D) * block)

    def _damp(self, block: Array) -> Array:
        along = self.P.T @ block
        rest = block - self.P @ along
        again = self.P.T @ rest
        return rest + self.P @ (self.damping[:, None] * along - again)


def _matrix(array: Array, name: str) -> Array:
    """The array itself, or an error if it is no matrix of real floating-point numbers."""
    if not (is_numpy(array) or is_foreign(array)) or len(array.shape) != 2:
        raise TypeError(f"{name} must be a 2-D array; it is {_described(array)}.")
    array = np.asarray(array) if is_numpy(array) else array  # a memory map's own class is of no use from here on
    xp = namespace(array)
    if array.dtype not in (xp.float32, xp.float64):
        raise TypeError(f"{name} must be float32 or float64; its dtype is {array.dtype}. Convert it first.")
    return array


def _described(array: Any) -> str:
    return f"of shape {tuple(array.shape)}" if hasattr(array, "shape") else f"a {type(array).__name__}"


def _block(operator: Operator, block: Array) -> Array:
    """The block in the operator's dtype."""
    if len(block.shape) != 2 or block.shape[0] != operator.shape[0]:
        raise ValueError(f"A block of shape ({operator.shape[0]}, b) is needed; this one is {_described(block)}.")
    return namespace(block).astype(block, operator.dtype, copy=False)


def _index(index: Any, like: Array) -> Array:
    """Whole numbers as an array of the library and on the device of `like`."""
    return index if is_foreign(index) else from_numpy(np.asarray(index, dtype=np.intp), like)


def _rows(X: Array, index: Any) -> Array:
    return namespace(X).take(X, _index(index, X), axis=0)


def _column(g: float | Array) -> float | Array:
    return g if isinstance(g, float) else g[:, None]


def _itemsize(array: Array) -> int:
    return namespace(array).finfo(array.dtype).bits // 8


def _nbytes(array: Array) -> int:
    return math.prod(array.shape) * _itemsize(array)


def _slices(n: int, height: int) -> Iterator[slice]:
    return (slice(start, min(start + height, n)) for start in range(0, n, height))


def _height(Y: Array, tile_bytes: int = TILE_BYTES) -> int:
    """Rows whose kernel values with Y, as much again for the kernel, and whose copies fit in a tile's bytes."""
    return max(tile_bytes // (_WORKING * (2 * Y.shape[0] + 3 * Y.shape[1])), 1)


def _by_rows(
    X: Array,
    kernel: KernelFunction,
    Y: Array,
    root: Array | None = None,
    tile_bytes: int = TILE_BYTES,
    dtype: Any = None,
) -> Array:
    """``kernel(X, Y)``, or ``kernel(X, Y) @ root``, by blocks of rows of X; in its dtype, or another."""
    n_columns, dtype = Y.shape[0] if root is None else root.shape[1], dtype or X.dtype
    values = namespace(X).empty((X.shape[0], n_columns), dtype=dtype, device=X.device)
    for block in _slices(X.shape[0], _height(Y, tile_bytes)) if n_columns else ():
        tile = kernel(as_dtype(X[block, :], dtype), Y)
        values[block, :] = tile if root is None else tile @ root
        del tile  # before the next one is made
    return values


def _square_sum(array: Array) -> float:
    xp = namespace(array)
    return float(xp.sum(array * array, dtype=xp.float64))
