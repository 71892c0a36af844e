"""Leading eigenvectors: symmetric matrices, and the pencil that TCA, JDA, BDA and TJM share.

The pencil is ``B w = rho a w`` with ``B`` positive semi-definite and ``a = V V^T + diag(g)``, V of few columns and g >
0. Because a is low rank plus diagonal, its inverse root is known in closed form and the leading solutions are those of
one standard symmetric problem. No factorisation of a is ever made. In the dual problem of a linear kernel the diagonal
is ``g M^{-1}`` instead, with M the Gram matrix of the features: M is multiplied with, never inverted.

Small problems go to LAPACK's subset solver. Above, B is only multiplied with blocks of columns: block Krylov spaces
with full orthogonalisation, whose convergence is measured by residuals. For the ``K H K`` of a kernel matrix the first
space is made by products with K, one for a step where B takes two. Pencils that share B (the passes of one fit) share
what the first one found: `PencilSolver` keeps leading eigenvectors of B and the last solutions, with their images under
B. A later pass starts from them and from its own V, which is all that changed.

A pencil with any other positive definite matrix on the right, which the passes change by few columns, is brought to
this form by a root of that matrix: `GeneralPencil`.

Everything returned here is in descending order, without what is zero to working precision (such vectors are noise), and
with fixed signs (the entry of largest modulus in each vector is positive).
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from sklearn.exceptions import ConvergenceWarning

from shallowda.kernels.arrays import Array, as_dtype, from_numpy, is_numpy, namespace, to_numpy
from shallowda.kernels.operators import DenseGram, LowRankPlusDiagonal
from shallowda.kernels.planning import TAKEOVER_ORDER, most_columns, solver_for

__all__ = [
    "TOLERANCE",
    "CholeskyRoot",
    "GeneralPencil",
    "PencilSolver",
    "fix_signs",
    "gram_root",
    "psd_eigh",
    "signs",
    "top_eigh",
    "top_pencil",
]

_DENSE_SHARE = 4  # a Krylov space of more than a quarter of the order is left to LAPACK
_SUBSET_ORDER = 512  # from which a few eigenpairs cost less than all (with two BLAS libraries in the process)
_BLOCK = 32  # columns multiplied at a time: wider blocks are nearer to BLAS's best speed, and need more columns
_SWEEP = 1  # blocks between looks at the residuals
_FIRST = 6  # times k: columns before the first look
_GAIN = 30.0  # by which a block may lessen the residuals: it takes some more before the next look
_MARGIN = 0.25  # share of the tolerance that an estimate of residuals has to meet
_KEPT = 3  # times k: eigenvectors of B that later pencils start from, and what a space that grew too large keeps
_PROBE, _PROBE_STEPS = 8, 3  # columns and blocks that look for what was missed; one block for no more than _BLOCK pairs
_ROOM = 256  # columns that a space has room for at first
_PATIENCE = 12  # looks without the residuals getting smaller by half: round-off, or a spectrum without gaps
_NEW = 0.25  # squared length that a new direction of length one keeps when it is projected once more
_WORN = 100.0  # times that a turn may lengthen round-off, before a product with a metric is made anew
_MOST_PRODUCTS = 4000  # columns multiplied with B before the solver gives up
_OVERFLOW = "Products of the rows of X overflow. Scale the features down."
TOLERANCE = 1e-9  # of residuals, relative to each eigenvalue

logger = logging.getLogger("shallowda")


def fix_signs(vectors: Array) -> Array:
    """Columns with their entry of largest modulus made positive.

    Parameters
    ----------
    vectors : array of shape (m, k)

    Returns
    -------
    vectors : array of shape (m, k)
    """
    return vectors * signs(vectors)


def signs(vectors: Array) -> Array:
    """The factors 1 and -1 of `fix_signs`, of shape (1, k)."""
    xp = namespace(vectors)
    if 0 in vectors.shape:
        return xp.ones((1, vectors.shape[1]), dtype=vectors.dtype, device=vectors.device)
    largest = xp.take_along_axis(vectors, xp.argmax(xp.abs(vectors), axis=0)[None, :], axis=0)
    return xp.where(largest < 0, -xp.ones_like(largest), xp.ones_like(largest))


def psd_eigh(matrix: Array, noise: float = 0.0) -> tuple[Array, Array]:
    """All eigenpairs of a positive semi-definite matrix that are not zero to working precision.

    Parameters
    ----------
    matrix : array of shape (m, m), symmetric
    noise : float, default=0.0
        Size of the round-off that the matrix carries: eigenvalues up to it are zero. (Up to ``m eps max(values)`` they
        are in any case.)

    Returns
    -------
    values : array of shape (r,), descending
        r is the numerical rank.
    vectors : array of shape (m, r), orthonormal
    """
    return _dense_eigh(matrix, matrix.shape[0], noise)


def top_eigh(matrix: Any, k: int, noise: float = 0.0) -> tuple[Array, Array]:
    """The k largest eigenpairs of a positive semi-definite operator, fewer where its rank is smaller.

    Parameters
    ----------
    matrix : array or operator of shape (m, m), symmetric
        An operator gives products with blocks by ``@``, and has `shape` and `like`, an array of its library.
    k : int
    noise : float, default=0.0
        As in `psd_eigh`.

    Returns
    -------
    values : array of shape (r,), descending
    vectors : array of shape (m, r), orthonormal, r <= k
    """
    solver = PencilSolver(matrix)
    xp, m = namespace(solver.like), matrix.shape[0]
    vectors, values, _ = solver.solve(xp.zeros((m, 0), dtype=xp.float64, device=solver.like.device), 1.0, k)
    kept = to_numpy(values) > noise
    return values[: kept.sum()], fix_signs((vectors * xp.sqrt(values))[:, : kept.sum()])


def top_pencil(B: Any, V: Array, ridge: float | Array, k: int) -> tuple[Array, Array]:
    """Leading solutions of one pencil: see `PencilSolver.solve`."""
    return PencilSolver(B).solve(V, ridge, k)[:2]


def gram_root(G: Array) -> Array:
    """R (m, r) with ``R R^T = G``, r the numerical rank: by (pivoted) Cholesky, or eigenvectors where there is none."""
    if is_numpy(G):
        negligible = len(G) * np.finfo(float).eps * G.max()
        with suppress(np.linalg.LinAlgError):
            root = np.linalg.cholesky(G)
            if (root.diagonal() ** 2).min(initial=np.inf) > negligible:
                return root
        factor, pivots, rank, _ = scipy.linalg.lapack.dpstrf(G, lower=1, tol=negligible)
        root = np.zeros((len(G), rank))
        root[pivots - 1] = np.tril(factor)[:, :rank]
        return root
    values, vectors = psd_eigh(G)
    return vectors * namespace(G).sqrt(values)


class PencilSolver:
    """Leading solutions of pencils ``(B, V V^T + diag(ridge))`` that share B.

    Parameters
    ----------
    B : array or operator of shape (m, m), positive semi-definite
        An operator gives products with blocks by ``@``, and has `shape` and `like`, an array of its library; `stored`
        is False where there is no memory for its m x m entries. Where B is ``K H K``, with K symmetric and H the
        centring matrix, it may have the methods `half` and `other_half`: products of blocks with ``H K`` and with K.
    eps : float, optional
        Relative round-off of its products, when larger than that of float64.
    start : array of shape (m, q), optional
        Vectors that the first space starts from, such as the solutions of a similar pencil. (Not columns of B: what
        they do not reach, such as features that are never set together with theirs, would be missed.)
    metric : array or operator of shape (m, m), positive semi-definite, optional
        M: ``diag(ridge)`` of the pencil then stands for ``ridge M^{-1}``, and solutions lie in the range of M, where
        those of B and V have to lie too. Not together with `start` or one ridge per row.

    Attributes
    ----------
    products : int
        Columns multiplied with B so far. (Those multiplied with a half of it count half.)

    Notes
    -----
    Cost of a pass: about ``8 k`` products with columns when there is no space yet, fewer later; memory ``2 m p``
    numbers for a space of p columns (p some hundreds at most, or m / 8). With a metric: as many products with M, and
    ``3 m p``.
    """

    def __init__(self, B: Any, eps: float = 0.0, start: Array | None = None, metric: Any = None) -> None:
        self.B: Any = B if hasattr(B, "like") else DenseGram(B)
        self.metric = metric
        self.like = getattr(B, "like", B)
        self.eps = max(eps, np.finfo(np.float64).eps)
        self.xp, self.products = namespace(self.like), 0
        self._stored = getattr(B, "stored", True)  # or small: memory for it is no question
        # where LAPACK can do better than a space that does not converge
        self._exact = self._stored and is_numpy(self.like) and self.eps == np.finfo(np.float64).eps
        self._space: _Space | None = None
        self._dense: Array | None = None
        self._root: Array | None = None
        self._start = start

    def is_iterative(self, k: int) -> bool:
        """Whether k solutions have a tolerance: B is not solved by LAPACK."""
        if self._dense is not None:
            return False
        return solver_for(self.B.shape[0], k if self._stored else 1) != "lapack"

    def solve(self, V: Array, ridge: float | Array, k: int, tol: float = TOLERANCE) -> tuple[Array, Array, Array]:
        """Leading solutions of ``B A = (V V^T + diag(ridge)) A diag(rho)``, scaled so that ``A^T B A = I``.

        Parameters
        ----------
        V : array of shape (m, r)
            Thin: r is the number of MMD terms. r = 0 is allowed.
        ridge : float > 0, or array of shape (m,) with positive entries
        k : int
        tol : float, default=1e-9
            Residuals in the norm of the standard problem, relative to rho; but no smaller than the round-off of B, 64
            eps relative to the largest rho. What is below m eps of that is no solution. (eps is that of float32 for
            products in float32, which leaves about four digits of the spectrum.) A looser tolerance than the default is
            for passes whose solution is not kept: they take the space as it is, and look for nothing it may lack.

        Returns
        -------
        A : array of shape (m, k')
            k' <= k solutions; fewer than k where B has a smaller rank.
        rho : array of shape (k',), descending, positive
        lengths : array of shape (k',)
            Norms of the columns of A; with a metric in that of M^{-1}.

        Warns
        -----
        ConvergenceWarning
            With the residual that was reached, when it is not `tol`.

        Notes
        -----
        With ``F = a^{-1/2}`` in the sense ``F^T a F = I`` the problem is the standard one for ``C = F^T B F``; when ``C
        q = rho q`` then ``A = F q rho^{-1/2}``.

        Of more than 32 (nearly) equal eigenvalues among the k largest some may be missed, and smaller ones found for
        them: a space grown from b columns holds b copies, and the others have to be met by chance.

        With a metric, ``M = R R^T`` and ``A = R C`` give the pencil ``(R^T B R, b)`` for C, ``b = R^T V V^T R + ridge
        I``. Krylov spaces do without the root: their columns are ``Q = M P`` with ``P^T M P = I``, and ``R b^{-1} R^T =
        M (ridge I + V V^T M)^{-1}``.
        """
        m = self.B.shape[0]
        k = min(k, m)
        if not self.is_iterative(k):
            return self._solve_dense(V, ridge, k)
        if np.ndim(ridge) == 0:
            return self._solve_krylov(V, float(ridge), k, tol)
        # in the coordinates u = D w, D^2 = diag(ridge), the ridge is 1
        D = self.xp.sqrt(ridge)[:, None]
        start = None if self._start is None else D * self._start
        scaled = PencilSolver(_Scaled(self.B, self.like, 1.0 / D), self.eps, start)
        U, rho, _ = scaled._solve_krylov(V / D, 1.0, k, tol)
        self.products += scaled.products
        self._start = U / D
        return fix_signs(self._start), rho, self.xp.linalg.vector_norm(self._start, axis=0)

    def _solve_dense(self, V: Array, ridge: float | Array, k: int) -> tuple[Array, Array, Array]:
        if self._dense is None:
            self._dense = self._entries(self.B)
            if self.metric is not None:
                self._root = gram_root(self._entries(self.metric))
                with np.errstate(over="ignore", invalid="ignore"):  # looked for below
                    self._dense = self._root.T @ self._dense @ self._root
                if not bool(self.xp.all(self.xp.isfinite(self._dense))):
                    raise ValueError(_OVERFLOW)
        root = LowRankPlusDiagonal(V if self._root is None else self._root.T @ V, ridge).inverse_root()
        C = root.adjoint(root.adjoint(self._dense).T)
        rho, vectors = _dense_eigh(C, min(k, C.shape[0]))  # the order is the rank of the metric
        A = root.apply(vectors) / self.xp.sqrt(rho)
        lengths = self.xp.linalg.vector_norm(A, axis=0)
        return fix_signs(A if self._root is None else self._root @ A), rho, lengths

    def _entries(self, operator: Any) -> Array:
        """An operator as an array, in float64."""
        if isinstance(operator, DenseGram):
            return as_dtype(operator.K, self.xp.float64)  # not every library mixes dtypes
        return as_dtype(
            operator @ self.xp.eye(operator.shape[0], dtype=self.xp.float64, device=self.like.device), self.xp.float64
        )

    def _solve_krylov(self, V: Array, ridge: float, k: int, tol: float) -> tuple[Array, Array, Array]:
        xp, m = self.xp, self.B.shape[0]
        before, known = self.products, np.empty(0)
        if self._space is not None and k > self._space.k:
            self._space = None  # too small
        first = self._space is None
        space = self._space = self._space or _Space(self, k)
        root = self._begin(space, V, ridge, k, tol) if first else self._resume(space, V, ridge, k)
        # a space grown from random columns has as many copies of an eigenvalue as there are, up to their number
        all_copies = first and self._start is None and k <= _BLOCK
        quick = not first and tol > TOLERANCE
        looks_elsewhere = k <= _BLOCK and not (all_copies or quick)
        coefficients, rho = space.galerkin(ridge, k)
        worst = best = np.inf
        stalled = 0
        while True:
            P, X = space.columns @ coefficients
            across = coefficients.T @ space.across  # X^T V
            residual = (coefficients.T @ space.image.T - rho[:, None] * (across @ V.T + ridge * P.T)).T
            rest, along = root.split(self.measured(residual))
            values = to_numpy(rho)
            error = to_numpy(root.damped_lengths(rest, along)) / math.sqrt(ridge)
            limit = values * self._limit(values, tol)
            open_pairs = np.flatnonzero(error > limit)
            if len(open_pairs):
                chosen = from_numpy(open_pairs, V)
                some = root.damped(rest.taken(chosen), xp.take(along, chosen, axis=1))
                if looks_elsewhere and not len(known) and len(open_pairs) <= _BLOCK - _PROBE:  # room for what follows
                    known, some = values, some.beside(self.measured(self._random(_PROBE)))
                added = self._sweep(space, root, some, _SWEEP)
            elif (quick and len(values) == k) or all_copies or space.size == m or _agree(values, known, max(tol, 1e-6)):
                break
            else:  # a space may lack copies of an eigenvalue, or what the last V had damped: look elsewhere
                known = values
                steps = 1 if k <= _BLOCK else _PROBE_STEPS
                added = self._sweep(space, root, self.measured(self._random(_PROBE)), steps)
                if not added:
                    break
            worst, best = float(np.max(error / limit, initial=0.0)), min(best, worst)
            stalled = stalled + 1 if worst > 0.5 * best else 0
            stuck = not added or stalled > _PATIENCE or self.products - before > _MOST_PRODUCTS
            # a metric of low rank leaves no direction to grow into, and LAPACK a small problem
            takeover = (self._exact and m <= TAKEOVER_ORDER) or (self.metric is not None and stuck)
            if takeover and (stuck or _DENSE_SHARE * space.size > m):
                logger.info("order %d: no convergence in %d columns; LAPACK takes over.", m, space.size)
                self._space = None
                return self._solve_dense(V, ridge, k)
            if stuck:
                warnings.warn(
                    f"An eigenproblem of order {m} did not converge: the relative residual is "
                    f"{np.max(error / values):.1e} after {self.products - before} products, where {tol:.0e} was asked "
                    "for. Components of nearly equal weight may be mixed up.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
                break
            coefficients, rho = space.compressed(ridge, k, _KEPT * k, above=most_columns(k))
        space.keep(coefficients)
        logger.info("order %d: %d products, a space of %d columns", m, self.products - before, space.size)
        count = int(np.count_nonzero(values > m * self.eps * values[:1]))
        scale = xp.sqrt(rho[:count])
        lengths = xp.linalg.vector_norm(coefficients[:, :count], axis=0) / scale
        return fix_signs(X[:, :count] / scale), rho[:count], lengths

    def _begin(self, space: _Space, V: Array, ridge: float, k: int, tol: float) -> _Root:
        """Fill a new space, from random columns or from the start."""
        space.aim(V)
        root = _Root(space, V, ridge)
        if self._start is None and tol <= TOLERANCE and hasattr(self.B, "half"):
            self._sweep_halves(space, V, ridge, k, tol)
        else:
            start = self._random(_BLOCK) if self._start is None else self._start
            self._sweep(space, root, self.measured(start), max(_FIRST * k // _BLOCK, _SWEEP))
        return root

    def _resume(self, space: _Space, V: Array, ridge: float, k: int) -> _Root:
        """Start from what the space keeps, and from V where that costs less than residuals that would bring it in."""
        space.restart()
        space.aim(V)
        root = _Root(space, V, ridge)
        if V.shape[1] < k or self.metric is not None:
            space.expand(root.outside, root.lengths)
        return root

    def _sweep(self, space: _Space, root: _Root, block: _Columns, steps: int) -> bool:
        """Grow the space by the Krylov sequence of the block; whether it grew."""
        size = space.size
        image = space.expand(block)
        for _ in range(steps - 1):
            if image.shape[1] == 0:
                break
            image = space.expand(root.damped(*root.split(self.measured(image))))
        return space.size > size

    def _sweep_halves(self, space: _Space, V: Array, ridge: float, k: int, tol: float) -> None:
        """Fill the space with approximate solutions for ``B = K H K``, found by products with ``H K`` alone.

        A space that holds V and the constants, and that H K maps into itself, is mapped into itself by K as well (a
        product with K is one with H K and a constant), so by B: it holds solutions. How far the images of approximate
        solutions stick out of the space is an estimate of their residuals; those themselves are computed later.
        """
        xp, m = self.xp, self.B.shape[0]
        space.halved = True
        ones = xp.ones((m, 1), dtype=xp.float64, device=self.like.device)
        columns = max(_BLOCK - V.shape[1] - 1, min(k, _BLOCK))  # one block if that leaves enough of them for k copies
        start = xp.concat([V, ones, self._random(columns)], axis=1)
        parts = [start[:, first : first + _BLOCK] for first in range(0, start.shape[1], _BLOCK)]
        image = xp.concat([space.expand(self.measured(part)) for part in parts], axis=1)
        wait = 0
        while image.shape[1] and space.size < most_columns(k):
            image = space.expand(self.measured(image))
            wait -= 1
            if space.size < k or wait > 0:
                continue
            coefficients, rho = space.galerkin(ridge, k)
            images = (coefficients.T @ space.image.T).T
            outside = images - ((images.T @ space.columns.P) @ space.columns.P.T).T
            error = to_numpy(xp.linalg.vector_norm(outside, axis=0) / xp.sqrt(rho))
            excess = float(np.max(error / (_MARGIN * self._limit(to_numpy(rho), tol)), initial=0.0))
            if excess <= 1:
                break
            wait = int(math.log(excess, _GAIN))
        else:
            coefficients, _ = space.galerkin(ridge, _KEPT * k)
        space.complete(coefficients)

    def _limit(self, values: np.ndarray, tol: float) -> np.ndarray:
        """Residuals that are allowed, relative to each eigenvalue: B is known to its round-off only."""
        return np.maximum(tol, 64 * self.eps * values[:1] / values)

    def measured(self, block: Array) -> _Columns:
        """Columns with their product with the metric."""
        return _Columns(block, block if self.metric is None else self.metric @ block)

    def multiply(self, block: Array) -> Array:
        """``B @ block``, counted."""
        self.products += block.shape[1]
        return as_dtype(self.B @ block, self.xp.float64)

    def multiply_half(self, product: Callable[[Array], Array], block: Array) -> Array:
        """The product of a half of B with a block, counted."""
        self.products += (block.shape[1] + 1) // 2
        return as_dtype(product(block), self.xp.float64)

    def _random(self, columns: int) -> Array:
        """Pseudo-random columns: the same in every run, others at each stage of a run."""
        generator = np.random.RandomState(self.products)
        block = from_numpy(generator.standard_normal((self.B.shape[0], columns)), self.like)
        return block if self.metric is None else self.metric @ block  # nothing outside the range of a singular one


class CholeskyRoot:
    """F with ``F^T D F = I`` for a positive definite matrix D, from its Cholesky factor: ``D = L L^T``, ``F = L^{-T}``.

    Parameters
    ----------
    D : array of shape (m, m), positive definite
        Two m x m matrices are made, and m^3 flops spent, once; a product with F costs 2 m^2 a column.

    Raises
    ------
    numpy.linalg.LinAlgError
        If D is not positive definite to working precision: what is left of a diagonal entry without the directions of
        those before is round-off.
    """

    def __init__(self, D: Array) -> None:
        xp = namespace(D)
        try:
            L = xp.linalg.cholesky(D)
            floor = D.shape[0] * float(xp.finfo(D.dtype).eps) * xp.linalg.diagonal(D)
            definite = bool(xp.all(xp.linalg.diagonal(L) ** 2 > floor))
        except (np.linalg.LinAlgError, RuntimeError) as error:
            if not type(error).__name__.endswith("LinAlgError"):  # torch's is a RuntimeError, as is too little memory
                raise
            definite = False
        if not definite:
            raise np.linalg.LinAlgError("The matrix is not positive definite to working precision.")
        self.inverse = xp.linalg.inv(L)  # the standard has no triangular solve

    def apply(self, block: Array) -> Array:
        """F @ block, for a block of shape (m, b)."""
        return (block.T @ self.inverse).T  # short and wide: see `symmetric_product`

    def adjoint(self, block: Array) -> Array:
        """F^T @ block, for a block of shape (m, b)."""
        return (block.T @ self.inverse.T).T


class GeneralPencil:
    """Leading solutions of symmetric pencils ``(N, D + U U^T)`` that share N and D and differ in a U of few columns.

    N is any positive semi-definite matrix and D any positive definite one. In the coordinates ``W = F w``, with ``F^T D
    F = I``, the pencil is ``(F^T N F, I + V V^T)`` with ``V = F^T U``: one of `PencilSolver`, so that D is factored
    once and pencils share a Krylov space.

    Parameters
    ----------
    N : operator of shape (m, m), positive semi-definite
        It gives products with blocks by ``@``, and has `shape` and `like`, an array of its library.
    root : object with `apply` and `adjoint`
        Products of blocks with F and with F^T, as of `CholeskyRoot`.

    Attributes
    ----------
    solver : PencilSolver
        Up to an order of 2048 LAPACK may be chosen, or take over; above it never is, whatever the number of solutions.
    """

    def __init__(self, N: Any, root: Any) -> None:
        self.N, self.root = N, root
        self.solver = PencilSolver(_Congruent(N, root))

    def solve(self, U: Array, k: int, tol: float = TOLERANCE) -> tuple[Array, Array]:
        """Leading solutions of ``N W = (D + U U^T) W diag(rho)``, scaled so that ``W^T N W = I``.

        Parameters
        ----------
        U : array of shape (m, r)
            r = 0 is allowed.
        k : int
        tol : float, default=1e-9
            See `PencilSolver.solve`.

        Returns
        -------
        W : array of shape (m, k'), k' <= k
        rho : array of shape (k',), descending, positive
        """
        w, rho, _ = self.solver.solve(self.root.adjoint(U), 1.0, k, tol)
        return fix_signs(self.root.apply(w)), rho


class _Congruent:
    """``F^T N F`` as an operator."""

    def __init__(self, N: Any, root: Any) -> None:
        self.N, self.root, self.like, self.shape = N, root, N.like, N.shape
        self.stored = N.shape[0] <= TAKEOVER_ORDER  # above, its entries are not asked for

    def __matmul__(self, block: Array) -> Array:
        return self.root.adjoint(self.N @ self.root.apply(block))


class _Columns(NamedTuple):
    """Columns P, and Q = M P: the same array where the metric M is the identity."""

    P: Array
    Q: Array

    def __matmul__(self, turn: Array) -> _Columns:
        return _of_both(lambda columns: (turn.T @ columns.T).T, self)  # short and wide, as they are stored

    def minus(self, others: _Columns, coefficients: Array) -> _Columns:
        """What is left without ``others @ coefficients``."""
        return _of_both(lambda columns, basis: columns - (coefficients.T @ basis.T).T, self, others)

    def taken(self, index: Array) -> _Columns:
        """The columns with these numbers."""
        xp = namespace(self.P)
        return _of_both(lambda columns: xp.take(columns.T, index, axis=0).T, self)

    def beside(self, others: _Columns) -> _Columns:
        """These columns and others."""
        xp = namespace(self.P)
        return _of_both(lambda *columns: xp.concat([some.T for some in columns]).T, self, others)

    def lengths(self) -> Array:
        """Norms of the columns, of shape (b,): in the metric."""
        xp = namespace(self.P)
        if self.Q is self.P:
            return xp.linalg.vector_norm(self.P, axis=0)
        squares = xp.sum(self.P * self.Q, axis=0)
        return xp.sqrt(xp.where(squares > 0, squares, xp.zeros_like(squares)))


def _of_both(linear: Callable[..., Array], *columns: _Columns) -> _Columns:
    """A linear function of P and of Q; of one only where they are the same."""
    P = linear(*(some.P for some in columns))
    return _Columns(P, P if columns[0].Q is columns[0].P else linear(*(some.Q for some in columns)))


class _Root:
    """Multiplies by powers of the inverse root of ``I + V V^T M / ridge``, which is symmetric in the metric.

    With ``V / sqrt(ridge) = U diag(s) W^T`` and ``U^T M U = I``, directions in U are damped by ``(1 + s^2)^{-1/2}`` and
    those that are orthogonal to U kept. The two parts are kept apart, and the projection is done twice: see
    `InverseRoot`, which is the same for a metric that is the identity.

    Of a basis of V, the part `outside` a space and the `lengths` of the whole are kept: they cost nothing more.
    """

    def __init__(self, space: _Space, V: Array, ridge: float) -> None:
        xp = space.solver.xp
        self.damping = xp.zeros((0, 1), dtype=V.dtype, device=V.device)
        self.basis = self.outside = _Columns(V, V)
        self.lengths = self.basis.lengths()
        if V.shape[1]:  # not every library decomposes an empty matrix
            Q, triangle = xp.linalg.qr(V)
            columns, self.outside = space.parted(Q)
            self.lengths = columns.lengths()
            values, vectors = psd_eigh(columns.P.T @ columns.Q)
            lengths = xp.sqrt(values)
            turn, s, _ = xp.linalg.svd((vectors * lengths).T @ triangle / math.sqrt(ridge), full_matrices=False)
            self.basis = columns @ ((vectors / lengths) @ turn)
            self.damping = (1.0 / xp.hypot(s, xp.ones_like(s)))[:, None]

    def split(self, block: _Columns) -> tuple[_Columns, Array]:
        """The part of a block that is orthogonal to U, and the coefficients of the other."""
        along = self.basis.Q.T @ block.P
        rest = block.minus(self.basis, along)
        return rest.minus(self.basis, self.basis.Q.T @ rest.P), along

    def damped_lengths(self, rest: _Columns, along: Array) -> Array:
        """Norms of the products of the inverse root with the columns of a block that was split."""
        xp = namespace(along)
        return xp.hypot(rest.lengths(), xp.linalg.vector_norm(self.damping * along, axis=0))

    def damped(self, rest: _Columns, along: Array) -> _Columns:
        """The product of its square, the inverse, with a block that was split."""
        return rest.minus(self.basis, -(self.damping**2) * along)


class _Space:
    """Columns P with ``P^T M P = I``, Q = M P, the image B Q and ``Q^T B Q``; kept as rows, which grow in place.

    While it is `halved`, the image is H K Q instead, where ``B = K H K``. The first `core` columns are eigenvectors of
    B, as well as they are known; `solutions` are coefficients of the last pencil's, `across` is Q^T V for V of `aim`.
    Made for up to k solutions.
    """

    def __init__(self, solver: PencilSolver, k: int) -> None:
        self.solver, self.k, self.size, self.gram, self.halved = solver, k, 0, np.zeros((0, 0)), False
        shape = (_ROOM, solver.B.shape[0])
        self._image = solver.xp.empty(shape, dtype=solver.xp.float64, device=solver.like.device)
        self.core, self.solutions = 0, self._image[:0, :0]
        self._V = self.across = self._image[:0, :0]
        self._P = solver.xp.empty_like(self._image)
        self._Q = self._P if solver.metric is None else solver.xp.empty_like(self._image)

    @property
    def columns(self) -> _Columns:
        return self._stored(slice(self.size))

    @property
    def image(self) -> Array:
        return self._image[: self.size, :].T

    def aim(self, V: Array) -> None:
        """Have ``Q^T V`` at hand from now on."""
        self._V, self.across = V, self.columns.Q.T @ V

    def parted(self, block: Array) -> tuple[_Columns, _Columns]:
        """Columns with their product with the metric, and their part outside the space, which is what is multiplied."""
        own = self.columns
        inside = own.Q.T @ block
        outside = self.solver.measured(block - (inside.T @ own.P.T).T)
        Q = block if own.Q is own.P else outside.Q + (inside.T @ own.Q.T).T
        return _Columns(block, Q), outside

    def expand(self, block: _Columns, before: Array | None = None) -> Array:
        """Add the directions of the block that are new, leading ones first where they are many; return their image.

        What is new is measured against the lengths of the columns `before` some of it was taken out.
        """
        solver, xp, own = self.solver, self.solver.xp, self.columns
        lengths = block.lengths()
        before = lengths if before is None else before
        if not bool(xp.all(xp.isfinite(before))):
            raise ValueError(_OVERFLOW)
        block = block.minus(own, own.Q.T @ block.P)
        turn = _leading_directions(block, before)
        turn = turn[:, : min(turn.shape[1], self._P.shape[1] - self.size)]
        if turn.shape[1] == 0:
            return block.P @ turn
        block = block @ turn
        if block.Q is not block.P and float(xp.max(xp.abs(lengths[:, None] * turn))) > _WORN:
            block = solver.measured(block.P)  # round-off in M P grew with the turn
        block = block.minus(own, own.Q.T @ block.P)  # once more: the first time leaves round-off
        # what is lost now was no new direction
        block = block @ _leading_directions(block, xp.ones_like(block.P[0, :]), _NEW)
        if block.P.shape[1] == 0:
            return block.P
        image = solver.multiply_half(solver.B.half, block.Q) if self.halved else solver.multiply(block.Q)
        old, self.size = self.size, self.size + block.P.shape[1]
        if self.size > self._P.shape[0]:
            self._grow()
        self._write(slice(old, self.size), block, image)
        cross = to_numpy((self.image if self.halved else self.columns.Q).T @ image)
        self.across = xp.concat([self.across, block.Q.T @ self._V])
        self.gram = np.pad(self.gram, (0, block.P.shape[1]))
        self.gram[:, old:], self.gram[old:, :old] = cross, cross[:old].T
        self.gram[old:, old:] = 0.5 * (cross[old:] + cross[old:].T)
        return image

    def _grow(self) -> None:
        xp, one = self.solver.xp, self._Q is self._P
        self._P, self._image = (xp.concat([rows, xp.empty_like(rows)]) for rows in (self._P, self._image))
        self._Q = self._P if one else xp.concat([self._Q, xp.empty_like(self._Q)])

    def _stored(self, place: slice) -> _Columns:
        P = self._P[place, :].T
        return _Columns(P, P if self._Q is self._P else self._Q[place, :].T)

    def _write(self, place: slice, block: _Columns, image: Array) -> None:
        self._P[place, :], self._image[place, :] = block.P.T, image.T
        if self._Q is not self._P:
            self._Q[place, :] = block.Q.T

    def galerkin(self, ridge: float, k: int) -> tuple[Array, Array]:
        """Best approximations in the space: coefficients y of ``X = Q y``, scaled to ``X^T a X = I``, and rho."""
        root = LowRankPlusDiagonal(to_numpy(self.across), ridge).inverse_root()
        rho, vectors = _dense_eigh(root.adjoint(root.adjoint(self.gram).T), min(k, self.size))
        return from_numpy(root.apply(vectors), self.solver.like), from_numpy(rho, self.solver.like)

    def compressed(self, ridge: float, k: int, size: int, above: int) -> tuple[Array, Array]:
        """`galerkin`, for which a space of more columns than `above` keeps the span of `size` approximations only."""
        if self.size <= max(size, above):
            return self.galerkin(ridge, k)
        coefficients, rho = self.galerkin(ridge, size)
        turn, triangle = self.solver.xp.linalg.qr(coefficients)
        self._turn(turn)
        return triangle[:, :k], rho[:k]

    def keep(self, coefficients: Array) -> None:
        """Take these for the last solutions; columns that came after them have no part in them."""
        xp, (size, k) = self.solver.xp, coefficients.shape
        later = xp.zeros((self.size - size, k), dtype=coefficients.dtype, device=coefficients.device)
        self.solutions = xp.concat([coefficients, later])

    def restart(self) -> None:
        """Keep leading eigenvectors of B, as they were found once, and columns beside them for the last solutions."""
        xp = self.solver.xp
        if not self.core:
            _, vectors = np.linalg.eigh(self.gram)
            turn = from_numpy(vectors[:, ::-1], self.solver.like)
            self._turn(turn)
            self.core, self.solutions = min(_KEPT * self.k, self.size), turn.T @ self.solutions
        if self.size > self.core:
            turn, _ = xp.linalg.qr(self.solutions[self.core :, :])
            self._turn(turn, self.core)

    def complete(self, coefficients: Array) -> None:
        """Go from the half to B, and keep the span of some approximations only."""
        turn, _ = self.solver.xp.linalg.qr(coefficients)
        self._turn(turn)
        self._image[: self.size, :] = self.solver.multiply_half(self.solver.B.other_half, self.image).T
        gram = to_numpy(self.columns.Q.T @ self.image)  # anew: its round-off has to be that of the image
        self.gram, self.halved = 0.5 * (gram + gram.T), False

    def _turn(self, turn: Array, first: int = 0) -> None:
        """Turn the columns from `first` on: those before them are the core, if any."""
        part = slice(first, self.size)
        columns = self._stored(part) @ turn
        image = (turn.T @ self._image[part, :]).T
        self.across = self.solver.xp.concat([self.across[:first, :], turn.T @ self.across[first:, :]])
        self.core, self.size = first, first + turn.shape[1]
        self._write(slice(first, self.size), columns, image)
        whole = scipy.linalg.block_diag(np.eye(first), to_numpy(turn))
        self.gram = whole.T @ self.gram @ whole


class _Scaled:
    """``D^{-1} B D^{-1}``."""

    def __init__(self, B: Any, like: Array, inverse_D: Array) -> None:
        self.B, self.like, self.inverse_D, self.shape = B, like, inverse_D, B.shape
        self.stored = getattr(B, "stored", True)

    def __matmul__(self, block: Array) -> Array:
        return self.inverse_D * (self.B @ (self.inverse_D * block))


def _agree(values: np.ndarray, others: np.ndarray, tol: float) -> bool:
    return len(values) == len(others) and np.allclose(values, others, rtol=tol, atol=0.0)


def _leading_directions(block: _Columns, before: Array, least: float = 1e-24) -> Array:
    """The turn of what is left of some columns to its leading directions, at most `_BLOCK`.

    Columns are measured against their lengths before: what is shorter by more than twelve digits is round-off.
    """
    xp = namespace(before)
    scale = to_numpy(1.0 / xp.where(before > 0, before, xp.ones_like(before)))
    gram = scale[:, None] * to_numpy(block.P.T @ block.Q) * scale
    squares, turn = np.linalg.eigh(0.5 * (gram + gram.T))
    kept = np.flatnonzero(squares > max(least, 1e-14 * squares.max(initial=0.0)))[::-1][:_BLOCK]
    return from_numpy(scale[:, None] * turn[:, kept] / np.sqrt(squares[kept]), before)


def _dense_eigh(matrix: Array, k: int, noise: float = 0.0) -> tuple[Array, Array]:
    """The k largest eigenpairs, without those that are zero to working precision."""
    xp, m = namespace(matrix), matrix.shape[0]
    if m == 0:
        return xp.empty(0, dtype=matrix.dtype, device=matrix.device), matrix
    values = matrix[:0, 0]
    if is_numpy(matrix) and k < m and m > _SUBSET_ORDER:
        values, vectors = scipy.linalg.eigh(matrix, subset_by_index=[m - k, m - 1])
    if values.shape[0] < k:  # LAPACK's subset solver may return fewer where an eigenvalue has very many copies
        values, vectors = xp.linalg.eigh(matrix)
        values, vectors = values[m - k :], vectors[:, m - k :]
    values, vectors = xp.flip(values), xp.flip(vectors, axis=1)
    floor = max(noise, m * float(xp.finfo(values.dtype).eps) * float(values[0]), 0.0)
    count = int(xp.count_nonzero(values > floor))
    return values[:count], fix_signs(vectors[:, :count])
