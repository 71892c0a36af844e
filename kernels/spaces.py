"""Coefficient spaces: where the projection of TCA, JDA, BDA and TJM lives.

Each space stands for a row matrix Phi whose embedding is ``Phi A``. It knows three products: ``Phi^T H Phi`` (inside
`solve`), ``Phi^T E`` (`times`), ``Phi A`` (`embed`), and how to `lift` A to a map for new rows.

============== ==================== ================================ ============= ======================
class          problem              Phi                              order solved  new rows need
============== ==================== ================================ ============= ======================
`PrimalSpace`  ridge on the d x k   X                                min(d, n)     a k x d map
               map
`LinearDual`   authors' dual on     X X^T, as X with the ridge in    d             a k x d map
               K = X X^T            the metric of (X^T X)^-1
`KernelSpace`  dual on any K        K, an operator                   n             training rows
`LinearSample` dual on K = X X^T    X X^T, by a weighted Gram        d             a k x d map
               with one ridge per   matrix
               sample (TJM)
============== ==================== ================================ ============= ======================

A space is made once for a fit: what does not change from pass to pass (scatter matrices, kernel values, the Krylov
space of `PencilSolver`, class sums) is kept in it.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from shallowda.kernels.arrays import Array, as_dtype, from_numpy, namespace, take_rows, to_numpy
from shallowda.kernels.eigen import TOLERANCE, PencilSolver, gram_root, signs
from shallowda.kernels.mmd import MMDFactor
from shallowda.kernels.moments import (
    GroupSums,
    Moments,
    far_mean,
    mean_and_scatter,
    resolved,
    row_blocks,
    rows_eps,
    weighted_products,
)
from shallowda.kernels.operators import DenseGram, Operator, TiledGram

__all__ = [
    "KernelSpace",
    "LinearDual",
    "LinearSample",
    "PrimalSpace",
    "Space",
    "kernel_offset",
    "linear_dual",
    "span_coordinates",
]

_SAMPLE = 64  # columns of a kernel matrix from which the size of all is estimated
_FAR = 10  # standard deviations: a nearer mean of a kernel matrix costs products in float64 no more than one digit


class Space(Protocol):
    """What the spaces have in common.

    Attributes
    ----------
    offset : float
        Squared norm of the mean of the feature vectors, relative to their total variance.
    round_off : float
        Share of the variance, or of its root where it is taken from the rows themselves, that is round-off of the mean.
    solver : PencilSolver
    """

    offset: float
    round_off: float
    solver: PencilSolver

    def times(self, E: MMDFactor) -> Array:
        """``Phi^T E``, of shape (order, r)."""

    def solve(self, V: Array, ridge: Any, k: int, tol: float = TOLERANCE) -> tuple[Array, Array, Array]:
        """Top-k of ``(Phi^T H Phi, V V^T + diag(ridge))``: coefficients A (order, k'), values and lengths (k',).

        A has the scale of `PencilSolver.solve`; the lengths are those of what the ridge is on (the map or the weights).
        k' < k where the rows have fewer directions of variance: what is round-off is left out.
        """

    def embed(self, A: Array) -> Array:
        """``Phi A`` on the training rows, of shape (n, k)."""

    def lift(self, A: Array) -> Array:
        """The map of new rows: of shape (k, d) where it is linear, else weights of the samples, of shape (k, n)."""


class PrimalSpace:
    """Projections ``A`` of the features themselves, with the ridge on A (d x k).

    When d > n the solution lies in the span of the rows, so it is found in the coordinates of an orthonormal basis of
    that span (thin QR, no loss of digits, no rank decision).

    Parameters
    ----------
    X : array of shape (n, d), or Moments
        Read once for the moments, then once for each `embed`. With `Moments` the order is d, and there are no rows for
        `times` and `embed`.
    """

    def __init__(self, X: Array | Moments) -> None:
        n = X.shape[0]
        self.rows: Any = X
        self.basis: Array = None
        if not isinstance(X, Moments):
            self.rows, self.basis = span_coordinates(X)
        self.mean, self.scatter = mean_and_scatter(self.rows)
        xp = namespace(self.mean)
        self.eps = rows_eps(X)
        self.origin = far_mean(self.mean, xp.linalg.diagonal(self.scatter) / n)
        self.sums = GroupSums(self.rows, self.origin)
        self.offset = _relative(float(self.mean @ self.mean), float(xp.linalg.trace(self.scatter)) / n)
        self.round_off = self.eps * self.offset**0.5
        self.solver = PencilSolver(self.scatter)

    @property
    def gram(self) -> Array:
        """``X^T X``."""
        gram = (self.rows.shape[0] * self.mean)[:, None] * self.mean[None, :]
        gram += self.scatter
        return gram

    def times(self, E: MMDFactor) -> Array:
        """``Phi^T E``, of shape (order, r)."""
        product = self.sums(E.groups, len(E.weights)).T @ from_numpy(E.weights, self.mean)
        if self.origin is not None:  # sums about it: it goes back where columns of E do not sum to zero
            product = product + self.origin[:, None] * from_numpy(E.column_sums, self.mean)[None, :]
        return product

    def solve(self, V: Array, ridge: float, k: int, tol: float = TOLERANCE) -> tuple[Array, Array, Array]:
        """Top-k of ``(Phi^T H Phi, V V^T + ridge I)``: see `PencilSolver`."""
        A, rho, lengths = self.solver.solve(V, ridge, k, tol)
        A, rho, lengths = _kept(self._resolved(A), A, rho, lengths)
        return A * signs(self.lift(A).T), rho, lengths  # of what does not depend on how a basis was found

    def _resolved(self, directions: Array) -> np.ndarray:
        """Which directions in the features have variance that is no round-off."""
        return _with_variance(directions, self.scatter, self.mean, self.rows.shape[0], self.eps)

    def embed(self, A: Array) -> Array:
        """``Phi A`` on the training rows."""
        return (as_dtype(A, self.rows.dtype).T @ self.rows.T).T  # BLAS prefers short and wide

    def lift(self, A: Array) -> Array:
        """The map of new rows, of shape (k, d)."""
        return (A if self.basis is None else self.basis @ A).T


class LinearDual(PrimalSpace):
    """The dual problem on ``K = X X^T`` (ridge on the n x k weights of the samples) in order d: for d <= n, or moments.

    The weights W of least norm with ``X^T W = A`` are ``X (X^T X)^{-1} A``, and the embedding is ``K W = X A``. So this
    is the primal problem for A with the ridge ``tr(W^T W) = tr(A^T (X^T X)^{-1} A)``: a metric of `PencilSolver`.

    Parameters
    ----------
    X : array of shape (n, d), d <= n, or Moments
    after : array of shape (l, d), optional
        Given when X are features ``K_L @ after`` (Nystroem's): `lift` then maps the rows of K_L.
    """

    def __init__(self, X: Array | Moments, after: Array | None = None) -> None:
        super().__init__(X)
        self.after = after
        if after is not None:
            self.round_off = self.eps * self.offset  # that of the kernel values
        self.solver = PencilSolver(self.scatter, metric=_Uncentred(self.scatter, self.mean, X.shape[0]))

    def lift(self, A: Array) -> Array:
        """The map of new rows, of shape (k, d)."""
        return _through(super().lift(A), self.after)


class KernelSpace:
    """Weights of the samples on a kernel matrix: Phi = K (n x n).

    Parameters
    ----------
    K : Operator of shape (n, n)
    X : array of shape (n, d), optional
        Given when K is ``X X^T``: the map of new rows is then linear.
    overwrite : bool, default=False
        Whether a stored matrix may be written into, which saves a copy of it in float32.
    """

    def __init__(self, K: Operator, X: Array | None = None, *, overwrite: bool = False) -> None:
        self.X = X
        n = K.shape[0]
        index = np.sort(np.random.RandomState(0).permutation(n)[:_SAMPLE])
        self.K = K = _shifted(K, index, overwrite)
        rest, constant = (K.rest, K.constant) if isinstance(K, _Shifted) else (K, 0.0)
        diagonal = rest.diagonal()
        xp = namespace(diagonal)
        self.eps = float(xp.finfo(K.dtype).eps)
        mean = _column_mean(rest, diagonal)
        self.mean = mean + constant
        variance = float(xp.mean(as_dtype(diagonal, xp.float64))) - float(xp.mean(mean))
        mean_square = float(xp.mean(self.mean))
        self.offset = mean_square / max(variance, self.eps * mean_square) if mean_square > 0 else 0.0
        self.round_off = self.eps * self.offset
        some = as_dtype(rest.columns(index), xp.float64) - mean[:, None]
        _require_squares(some, float(xp.max(xp.abs(self.mean))), n, xp.finfo(K.dtype))
        spread = n * xp.mean(some**2, axis=1)  # diagonal of K H K, estimated: it only bounds round-off
        self.squares, self.entries = (
            spread + n * mean**2,
            spread + n * self.mean**2,
        )  # of the rows of what is left, of K
        self.solver = PencilSolver(_CentredSquare(K, diagonal), self.eps)

    def times(self, E: MMDFactor) -> Array:
        """``K E``."""
        return as_dtype(self.K @ from_numpy(E.toarray(), self.mean), self.mean.dtype)

    def solve(self, V: Array, ridge: float | Array, k: int, tol: float = TOLERANCE) -> tuple[Array, Array, Array]:
        """Top-k of ``(K H K, V V^T + diag(ridge))``: see `PencilSolver`."""
        A, rho, lengths = self.solver.solve(V, ridge, k, tol)
        return _kept(self._resolved(A), A, rho, lengths)

    def _resolved(self, A: Array) -> np.ndarray:
        """Which solutions have the variance 1 that the solver promises, and more than K's values round to.

        What round-off in ``K H K`` promises, products with K alone do not keep: theirs is smaller by half the digits.
        """
        xp = namespace(A)
        modulus = np.abs(to_numpy(A)).T
        known = 4 * self.eps**2 * (modulus**2 @ to_numpy(self.entries)) < 1
        terms = modulus.shape[1] ** 0.5 * self.eps * (modulus @ np.sqrt(to_numpy(self.squares))) ** 2
        doubtful = np.flatnonzero(known & (terms >= 0.1))
        if len(doubtful):
            image = as_dtype(self.solver.B.half(xp.take(A, from_numpy(doubtful, A), axis=1)), xp.float64)
            known[doubtful] = np.abs(to_numpy(xp.sum(image**2, axis=0)) - 1) < 0.5
        return known

    def embed(self, A: Array) -> Array:
        """``K A`` on the training rows."""
        return self.K @ A

    def lift(self, A: Array) -> Array:
        """Weights of the samples, of shape (k, n); for ``K = X X^T`` the map of new rows, of shape (k, d)."""
        return A.T if self.X is None else A.T @ self.X


class LinearSample(PrimalSpace):
    """Weights of the samples on ``K = X X^T`` for d <= n, with a ridge that differs from sample to sample, in order d.

    Solutions of ``K H K w = rho a w`` are ``w = a^{-1} X S u / rho`` with ``u = X^T w`` and the scatter matrix ``S =
    X^T H X = R R^T``. So ``z = R^T u`` solves the symmetric problem ``R^T (X^T a^{-1} X) R z = rho z``, and ``w^T K H K
    w = z^T z``. A solve reads the rows once, for the weighted Gram matrix in the middle.

    Parameters
    ----------
    X : array of shape (n, d), d <= n
    after : array of shape (l, d), optional
        As in `LinearDual`.
    """

    def __init__(self, X: Array, after: Array | None = None) -> None:
        super().__init__(X)
        self.after, self.start = after, None
        if after is not None:
            self.round_off = self.eps * self.offset
        self.root = gram_root(self.scatter)

    def times(self, E: MMDFactor) -> Array:
        """``K E``."""
        U = super().times(E)
        return namespace(U).concat([self._map(U, part) for part in row_blocks(self.rows)])

    def solve(self, V: Array, ridge: Array, k: int, tol: float = TOLERANCE) -> tuple[Array, Array, Array]:
        """Top-k of ``(K H K, V V^T + diag(ridge))`` for a ridge of shape (n,): see `PencilSolver`."""
        xp = namespace(V)
        weights = 1.0 / ridge
        if bool(xp.all(weights == weights[0])):  # as in a first pass: these moments are known
            gram, cross = weights[0] * self.gram, weights[0] * self._directions(V)
        else:
            gram, cross = weighted_products(self.rows, weights, V)
        inner = xp.linalg.cholesky(xp.eye(V.shape[1], dtype=V.dtype, device=V.device) + V.T @ (weights[:, None] * V))
        damped = xp.linalg.solve(inner, cross.T)
        middle = gram - damped.T @ damped  # X^T a^{-1} X, by Woodbury's identity
        self.solver = PencilSolver(_Sandwich(self.root.T, middle), start=self.start)
        Z, rho, _ = self.solver.solve(self.root[:0, :].T, 1.0, k, tol)
        self.start = Z
        U = self.root @ (Z * xp.sqrt(rho))
        inside = xp.linalg.solve(inner.T, damped @ U)
        A = xp.empty((self.rows.shape[0], rho.shape[0]), dtype=V.dtype, device=V.device)
        squares = xp.zeros_like(rho)
        for part in row_blocks(self.rows):  # n x k numbers are large: no second array of them
            some = self._map(U, part) - V[part, :] @ inside
            some *= weights[part, None] / rho
            squares += xp.sum(some**2, axis=0)
            A[part, :] = some
        A, rho, lengths = _kept(self._resolved(middle @ U / rho), A, rho, xp.sqrt(squares))
        A *= signs(A)
        return A, rho, lengths

    def embed(self, A: Array) -> Array:
        """``K A`` on the training rows."""
        return super().embed(self._directions(A))

    def lift(self, A: Array) -> Array:
        """The map of new rows, of shape (k, d)."""
        return _through(self._directions(A).T, self.after)

    def _directions(self, A: Array) -> Array:
        """``X^T A``: what the weights of the samples amount to on the features."""
        return sum((A[part, :].T @ as_dtype(self.rows[part, :], A.dtype)).T for part in row_blocks(self.rows))

    def _map(self, U: Array, part: slice) -> Array:
        """``X U`` in float64 for some rows."""
        return as_dtype(self.rows[part, :], U.dtype) @ U


def linear_dual(X: Array | Moments) -> LinearDual | KernelSpace:
    """The dual problem on ``K = X X^T`` in min(d, n) dimensions; in d from moments."""
    n, d = X.shape
    return LinearDual(X) if d <= n or isinstance(X, Moments) else KernelSpace(DenseGram(X @ X.T), X, overwrite=True)


def span_coordinates(X: Array) -> tuple[Array, Array | None]:
    """Rows in an orthonormal basis of their span where that has fewer dimensions than they have features.

    Parameters
    ----------
    X : array of shape (n, d)

    Returns
    -------
    rows : array of shape (n, min(d, n))
        In float64 where they are not X itself.
    basis : array of shape (d, n), or None
        With ``X = rows @ basis.T``; None where d <= n.
    """
    n, d = X.shape
    if d <= n:
        return X, None
    xp = namespace(X)
    basis, triangle = xp.linalg.qr(xp.astype(X.T, xp.float64))
    return triangle.T, basis


def kernel_offset(K: Operator) -> float:
    """The offset of a `KernelSpace`, estimated from some rows: times the round-off of K, the share of it in the spread.

    Parameters
    ----------
    K : Operator of shape (n, n)

    Returns
    -------
    offset : float
    """
    index = np.sort(np.random.RandomState(0).permutation(K.shape[0])[:_SAMPLE])
    corner = to_numpy(take_rows(K.columns(index), index)).astype(np.float64)
    mean = float(corner.mean())
    variance = float(np.mean(np.diag(corner) - mean))
    return mean / max(variance, np.finfo(np.float64).eps * mean) if mean > 0 else 0.0


class _Sandwich:
    """``L S L^T`` as an operator."""

    def __init__(self, L: Array, S: Array) -> None:
        self.L, self.S, self.like, self.shape = L, S, L, (L.shape[0], L.shape[0])

    def __matmul__(self, block: Array) -> Array:
        return (((block.T @ self.L) @ self.S) @ self.L.T).T  # short and wide: see `symmetric_product`


class _Uncentred:
    """``X^T X`` from the scatter matrix and the mean of n rows: no second d x d matrix, no digits lost to the mean."""

    def __init__(self, scatter: Array, mean: Array, n: int) -> None:
        self.scatter, self.mean, self.n, self.shape = scatter, mean, n, scatter.shape

    def __matmul__(self, block: Array) -> Array:
        rows = block.T @ self.scatter  # short and wide: see `symmetric_product`
        rows += (self.n * (self.mean @ block))[:, None] * self.mean[None, :]
        return rows.T


class _Shifted:
    """A kernel matrix as ``K = S + c 1 1^T``.

    Centring takes constants out of K, so ``K H K = S H S``; and products with S do not spend their digits on them.

    Parameters
    ----------
    rest : Operator
        S.
    constant : float
        c.
    """

    def __init__(self, rest: Operator, constant: float) -> None:
        self.rest, self.constant = rest, constant
        self.shape, self.dtype, self.nbytes = rest.shape, rest.dtype, rest.nbytes

    def __matmul__(self, block: Array) -> Array:
        """The product with a block (n, b), in float64."""
        xp = namespace(block)
        return as_dtype(self.rest @ block, xp.float64) + self.constant * xp.sum(block, axis=0)

    def diagonal(self) -> Array:
        """The n diagonal entries."""
        return self.rest.diagonal() + self.constant

    def columns(self, index: Any) -> Array:
        """The columns with these numbers."""
        return self.rest.columns(index) + self.constant


def _shifted(K: Operator, index: np.ndarray, overwrite: bool) -> Operator:
    """K as what is left of it without its mean: for tiles, matrices in float32, and any that is nearly constant.

    The mean is that of the columns with the numbers in `index`: near it is good enough. With `overwrite` the matrix is
    written into.
    """
    if not isinstance(K, (TiledGram, DenseGram)):
        return K
    some = K.columns(index)
    xp = namespace(some)
    mean = float(xp.mean(as_dtype(xp.mean(some, axis=0), xp.float64)))
    if isinstance(K, DenseGram) and K.dtype == xp.float64:
        with np.errstate(over="ignore"):
            near = mean == 0 or float(xp.mean(((some - mean) / mean) ** 2)) >= 1 / _FAR**2
        if near:
            return K
    if isinstance(K, TiledGram):
        return _Shifted(TiledGram(K.X, K.kernel, K.tile_bytes, mean), mean)
    rest = K.K if overwrite else xp.asarray(K.K, copy=True)
    rest -= mean
    return _Shifted(DenseGram(rest), mean)


class _CentredSquare:
    """``K H K`` as an operator: two products with K, which can be had one by one."""

    def __init__(self, K: Operator, like: Array) -> None:
        self.K, self.like, self.shape = K.rest if isinstance(K, _Shifted) else K, like, K.shape
        self.stored = isinstance(self.K, DenseGram)

    def __matmul__(self, block: Array) -> Array:
        return self.other_half(self.half(block))

    def half(self, block: Array) -> Array:
        """``H K @ block``."""
        product = self.K @ block
        return product - namespace(product).mean(product, axis=0)

    def other_half(self, block: Array) -> Array:
        """``K @ block``."""
        return self.K @ block


def _require_squares(some: Array, mean: float, n: int, info: Any) -> None:
    """That products of n kernel values, given by some columns and the largest mean, are in the range of their dtype."""
    xp = namespace(some)
    spread = float(xp.max(xp.abs(some)))
    largest = math.sqrt(float(info.max) / n) / 1e3
    if not max(spread, mean) < largest or 0 < spread < 1e3 * math.sqrt(float(info.smallest_normal)):
        size = "small" if spread < 1 else "large"
        raise ValueError(
            f"Kernel values of X are so {size} that their products are out of the range of float{info.bits}. Scale the "
            "features, for example with StandardScaler, or choose other parameters of the kernel."
        )


def _column_mean(K: Operator, like: Array) -> Array:
    xp, n = namespace(like), K.shape[0]
    ones = xp.full((n, 1), 1.0 / n, dtype=xp.float64, device=like.device)
    return as_dtype((K @ ones)[:, 0], xp.float64)


def _through(components: Array, after: Array | None) -> Array:
    return components if after is None else components @ as_dtype(after, components.dtype).T


def _with_variance(directions: Array, scatter: Array, mean: Array, n: int, eps: float) -> np.ndarray:
    """`resolved`, with the variance computed where round-off comes near the one that the solver's scale promises."""
    xp = namespace(directions)
    clear = resolved(directions, 1e-3, xp.linalg.diagonal(scatter), mean, n, eps)
    if clear.all():
        return clear
    variance = xp.sum(directions * (scatter @ directions), axis=0)
    return resolved(directions, variance, xp.linalg.diagonal(scatter), mean, n, eps)


def _kept(mask: np.ndarray, A: Array, rho: Array, lengths: Array) -> tuple[Array, Array, Array]:
    if mask.all():
        return A, rho, lengths
    xp, index = namespace(A), from_numpy(np.flatnonzero(mask), rho)
    return xp.take(A, index, axis=1), xp.take(rho, index), xp.take(lengths, index)


def _relative(mean_square: float, variance: float) -> float:
    return mean_square / variance if variance > 1e-14 * mean_square else 0.0  # the difference of two sums is round-off
