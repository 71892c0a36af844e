"""Leading eigenvectors: symmetric matrices, and the pencil that TCA, JDA, BDA and TJM share.

The pencil is ``B w = rho a w`` with ``B`` positive semi-definite and ``a = V V^T + diag(g)``, V of few columns and g >
0. Because a is low rank plus diagonal, its inverse root is known in closed form and the leading solutions are those of
one standard symmetric problem. No factorisation of a is ever made.

Small problems go to LAPACK's subset solver. Above, B is only multiplied with blocks of columns: block Krylov spaces
with full orthogonalisation, whose convergence is measured by residuals. Pencils that share B (the passes of one fit)
share the space: `PencilSolver` keeps it, with its image under B, so that a later pass starts from what is known.

Everything returned here is in descending order, without what is zero to working precision (such vectors are noise), and
with fixed signs (the entry of largest modulus in each vector is positive).
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import scipy.linalg
from sklearn.exceptions import ConvergenceWarning

from shallowda.kernels.arrays import Array, as_dtype, from_numpy, is_numpy, namespace, to_numpy
from shallowda.kernels.operators import DenseGram, InverseRoot, LowRankPlusDiagonal
from shallowda.kernels.planning import TAKEOVER_ORDER, most_columns, solver_for

__all__ = ["TOLERANCE", "PencilSolver", "fix_signs", "psd_eigh", "signs", "top_eigh", "top_pencil"]

_DENSE_SHARE = 4  # a Krylov space of more than a quarter of the order is left to LAPACK
_SUBSET_ORDER = 512  # from which a few eigenpairs cost less than all (with two BLAS libraries in the process)
_BLOCK = 32  # columns multiplied at a time: wider blocks are nearer to BLAS's best speed, and need more columns
_SWEEP = 1  # blocks between looks at the residuals
_FIRST = 4  # times k: columns before the first look
_KEPT = 3  # times k: columns that a later pencil starts from
_PROBE, _PROBE_STEPS = 8, 1  # columns and blocks that look for what was missed
_ROOM = 128  # columns that a space has room for at first
_PATIENCE = 12  # looks without the residuals getting smaller by half: round-off, or a spectrum without gaps
_MOST_PRODUCTS = 4000  # columns multiplied with B before the solver gives up
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
    vectors, values = solver.solve(xp.zeros((m, 0), dtype=xp.float64, device=solver.like.device), 1.0, k)
    kept = to_numpy(values) > noise
    return values[: kept.sum()], fix_signs((vectors * xp.sqrt(values))[:, : kept.sum()])


def top_pencil(B: Any, V: Array, ridge: float | Array, k: int) -> tuple[Array, Array]:
    """Leading solutions of one pencil: see `PencilSolver.solve`."""
    return PencilSolver(B).solve(V, ridge, k)


class PencilSolver:
    """Leading solutions of pencils ``(B, V V^T + diag(ridge))`` that share B.

    Parameters
    ----------
    B : array or operator of shape (m, m), positive semi-definite
        An operator gives products with blocks by ``@``, and has `shape` and `like`, an array of its library; `stored`
        is False where there is no memory for its m x m entries.
    eps : float, optional
        Relative round-off of its products, when larger than that of float64.
    start : array of shape (m, q), optional
        Vectors that the first space starts from, such as the solutions of a similar pencil.

    Attributes
    ----------
    products : int
        Columns multiplied with B so far.

    Notes
    -----
    Cost of a pass: about ``5 k`` products with columns when there is no space yet, fewer later; memory ``2 m p``
    numbers for a space of p columns (p some hundreds at most, or m / 8).
    """

    def __init__(self, B: Any, eps: float = 0.0, start: Array | None = None) -> None:
        self.B: Any = B if hasattr(B, "like") else DenseGram(B)
        self.like = getattr(B, "like", B)
        self.eps = max(eps, np.finfo(np.float64).eps)
        self.xp, self.products = namespace(self.like), 0
        self._stored = getattr(B, "stored", True)  # or small: memory for it is no question
        # where LAPACK can do better than a space that does not converge
        self._exact = self._stored and is_numpy(self.like) and self.eps == np.finfo(np.float64).eps
        self._space: _Space | None = None
        self._dense: Array | None = None
        self._start = start

    def is_iterative(self, k: int) -> bool:
        """Whether k solutions have a tolerance: B is not solved by LAPACK."""
        if self._dense is not None:
            return False
        return solver_for(self.B.shape[0], k if self._stored else 1) != "lapack"

    def solve(self, V: Array, ridge: float | Array, k: int, tol: float = TOLERANCE) -> tuple[Array, Array]:
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

        Warns
        -----
        ConvergenceWarning
            With the residual that was reached, when it is not `tol`.

        Notes
        -----
        With ``F = a^{-1/2}`` in the sense ``F^T a F = I`` the problem is the standard one for ``C = F^T B F``; when ``C
        q = rho q`` then ``A = F q rho^{-1/2}``.
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
        U, rho = scaled._solve_krylov(V / D, 1.0, k, tol)
        self.products += scaled.products
        self._start = U / D
        return fix_signs(self._start), rho

    def _solve_dense(self, V: Array, ridge: float | Array, k: int) -> tuple[Array, Array]:
        if self._dense is None:
            xp = self.xp
            eye = xp.eye(self.B.shape[0], dtype=xp.float64, device=self.like.device)
            dense = self.B.K if isinstance(self.B, DenseGram) else self.B @ eye
            self._dense = as_dtype(dense, xp.float64)  # not every library mixes dtypes
        root = LowRankPlusDiagonal(V, ridge).inverse_root()
        C = root.adjoint(root.adjoint(self._dense).T)
        rho, vectors = _dense_eigh(C, k)
        return fix_signs(root.apply(vectors) / self.xp.sqrt(rho)), rho

    def _solve_krylov(self, V: Array, ridge: float, k: int, tol: float) -> tuple[Array, Array]:
        xp, m = self.xp, self.B.shape[0]
        root = LowRankPlusDiagonal(V, ridge).inverse_root()
        space, before = self._space, self.products
        quick, known = space is not None and tol > TOLERANCE, np.empty(0)
        if space is None:
            space = self._space = _Space(self)
            start = self._random(_BLOCK) if self._start is None else self._start
            self._sweep(space, root, start, max(_FIRST * k // _BLOCK, _SWEEP))
        elif space.size > _KEPT * k:
            space.compress(V, ridge, _KEPT * k)
        worst = best = np.inf
        stalled = 0
        while True:
            coefficients, rho = space.galerkin(V, ridge, k)
            X = space.Q @ coefficients
            residual = root.adjoint(space.image @ coefficients - _pencil(V, ridge, X) * rho)
            error, values = to_numpy(xp.linalg.vector_norm(residual, axis=0)), to_numpy(rho)
            limit = np.maximum(tol * values, 64 * self.eps * values[:1])  # B is known to its round-off only
            open_pairs = np.flatnonzero(error > limit)
            if len(open_pairs):
                residual = xp.take(residual, from_numpy(open_pairs, V), axis=1)
                added = self._sweep(space, root, root.apply(residual), _SWEEP)
            elif (quick and len(values) == k) or space.size == m or _agree(values, known, max(tol, 1e-6)):
                break
            else:  # a space may lack copies of an eigenvalue, or what the last V had damped: look elsewhere
                known = values
                added = self._sweep(space, root, self._random(_PROBE), _PROBE_STEPS)
            worst, best = float(np.max(error / limit, initial=0.0)), min(best, worst)
            stalled = stalled + 1 if worst > 0.5 * best else 0
            stuck = not added or stalled > _PATIENCE or self.products - before > _MOST_PRODUCTS
            if self._exact and m <= TAKEOVER_ORDER and (stuck or _DENSE_SHARE * space.size > m):
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
            if space.size > most_columns(k):
                space.compress(V, ridge, _KEPT * k)
        logger.info("order %d: %d products, a space of %d columns", m, self.products - before, space.size)
        count = int(np.count_nonzero(values > m * self.eps * values[:1]))
        return fix_signs(X[:, :count] / xp.sqrt(rho[:count])), rho[:count]

    def _sweep(self, space: _Space, root: InverseRoot, block: Array, steps: int) -> bool:
        """Grow the space by the Krylov sequence of the block; whether it grew."""
        size = space.size
        for _ in range(steps):
            block = space.expand(block)
            if block.shape[1] == 0:
                break
            block = root.inverse(block)
        return space.size > size

    def multiply(self, block: Array) -> Array:
        """``B @ block``, counted."""
        self.products += block.shape[1]
        return as_dtype(self.B @ block, self.xp.float64)

    def _random(self, columns: int) -> Array:
        """Pseudo-random columns: the same in every run, others at each stage of a run."""
        generator = np.random.RandomState(self.products)
        return from_numpy(generator.standard_normal((self.B.shape[0], columns)), self.like)


class _Space:
    """Orthonormal columns Q, their image B Q and their Gram matrix ``Q^T B Q``; kept as rows, which grow in place."""

    def __init__(self, solver: PencilSolver) -> None:
        self.solver, self.size, self.gram = solver, 0, np.zeros((0, 0))
        shape = (_ROOM, solver.B.shape[0])
        self._Q = solver.xp.empty(shape, dtype=solver.xp.float64, device=solver.like.device)
        self._image = solver.xp.empty_like(self._Q)

    @property
    def Q(self) -> Array:
        return self._Q[: self.size, :].T

    @property
    def image(self) -> Array:
        return self._image[: self.size, :].T

    def expand(self, block: Array) -> Array:
        """Add the directions of the block that are new, leading ones first where they are many; return their image."""
        solver, xp = self.solver, self.solver.xp
        block = _leading_directions(block - self.Q @ (self.Q.T @ block), block)
        block = block[:, : min(block.shape[1], self._Q.shape[1] - self.size)]
        if block.shape[1] == 0:
            return block
        block = block - self.Q @ (self.Q.T @ block)  # once more: the first time leaves round-off
        block = _leading_directions(block, block)
        image = solver.multiply(block)
        old, self.size = self.size, self.size + block.shape[1]
        if self.size > self._Q.shape[0]:
            self._Q = xp.concat([self._Q, xp.empty_like(self._Q)])
            self._image = xp.concat([self._image, xp.empty_like(self._image)])
        self._Q[old : self.size, :], self._image[old : self.size, :] = block.T, image.T
        cross = to_numpy(self.Q.T @ image)
        corner = 0.5 * (cross[old:] + cross[old:].T)
        self.gram = np.block([[self.gram, cross[:old]], [cross[:old].T, corner]])
        return image

    def galerkin(self, V: Array, ridge: float, k: int) -> tuple[Array, Array]:
        """Best approximations in the space: coefficients y of ``X = Q y``, scaled to ``X^T a X = I``, and rho."""
        root = LowRankPlusDiagonal(to_numpy(self.Q.T @ V), ridge).inverse_root()
        rho, vectors = _dense_eigh(root.adjoint(root.adjoint(self.gram).T), min(k, self.size))
        return from_numpy(root.apply(vectors), self.solver.like), from_numpy(rho, self.solver.like)

    def compress(self, V: Array, ridge: float, size: int) -> None:
        """Keep the span of the leading approximations."""
        turn = self.solver.xp.linalg.qr(self.galerkin(V, ridge, size)[0])[0]
        Q, image = turn.T @ self.Q.T, turn.T @ self.image.T
        self.gram = to_numpy(turn).T @ self.gram @ to_numpy(turn)
        self.size = turn.shape[1]
        self._Q[: self.size, :], self._image[: self.size, :] = Q, image


class _Scaled:
    """``D^{-1} B D^{-1}``."""

    def __init__(self, B: Any, like: Array, inverse_D: Array) -> None:
        self.B, self.like, self.inverse_D, self.shape = B, like, inverse_D, B.shape
        self.stored = getattr(B, "stored", True)

    def __matmul__(self, block: Array) -> Array:
        return self.inverse_D * (self.B @ (self.inverse_D * block))


def _agree(values: np.ndarray, others: np.ndarray, tol: float) -> bool:
    return len(values) == len(others) and np.allclose(values, others, rtol=tol, atol=0.0)


def _pencil(V: Array, ridge: float, block: Array) -> Array:
    return V @ (V.T @ block) + ridge * block


def _leading_directions(block: Array, before: Array) -> Array:
    """At most `_BLOCK` leading directions of what is left of some columns, each measured against its length before.

    What is shorter by more than twelve digits is round-off.
    """
    xp = namespace(block)
    lengths = xp.linalg.vector_norm(before, axis=0)
    block = block / xp.where(lengths > 0, lengths, xp.ones_like(lengths))
    squares, turn = np.linalg.eigh(to_numpy(block.T @ block))
    kept = np.flatnonzero(squares > max(1e-24, 1e-14 * squares[-1]))[::-1][:_BLOCK]
    return block @ from_numpy(turn[:, kept] / np.sqrt(squares[kept]), block)


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
