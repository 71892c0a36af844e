"""Linear systems of adaptation regularisation (ARRLS and ARSVM), in feature and in sample coordinates.

With J the selector of the source rows and ``Q = E E^T + L`` (E the thin MMD factor, L the sparse graph Laplacian, both
with their weights), the functions f = K alpha are fitted under the penalty ``alpha^T K (Q K + ridge I) alpha``:

    features  K = Z Z^T, f = Z w    P = Z^T Q Z + ridge I    penalty w^T P w              order min(d, n)
    samples   any K                 P = Q K + ridge I        penalty alpha^T K P alpha    order n, P not symmetric

    squared loss   w = (Z_s^T Z_s + P)^{-1} Z_s^T Y         alpha = (J K + P)^{-1} J Y
    hinge loss     w = (2 P)^{-1} Z_s^T (y o beta)          alpha = (2 P)^{-1} J^T (y o beta)

where beta solves the dual of a support vector machine with bound 1 (losses are summed over the source rows), which
libsvm does. For the linear kernel both coordinates give the same predictions.

A machine is built once for all passes of a fit, in which only E changes, and E has few columns. In feature coordinates
what does not change is one Gram matrix. In sample coordinates it is one LU factorisation, which the Woodbury formula
carries over to any E. (Making that system symmetric first takes a congruence with a dense n x n root, which alone costs
more than the factorisation: 5/3 n^3 flops with its Cholesky factors against 2/3 n^3.) A K that is not stored is
multiplied with only: conjugate gradients in the inner product of ``A = J + L``, in which ``K A + ridge I`` is
self-adjoint however singular A and K are, preconditioned by the same operator with a few columns of K.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC

from shallowda.kernels.arrays import (
    Array,
    from_numpy,
    is_numpy,
    library,
    merge_rows,
    namespace,
    take_rows,
    to_numpy,
)
from shallowda.kernels.mmd import MMDFactor
from shallowda.kernels.moments import row_blocks
from shallowda.kernels.operators import DenseGram, Operator, TiledGram
from shallowda.kernels.planning import thresholds
from shallowda.kernels.threads import parts

__all__ = ["Fit", "KernelMachine", "LinearMachine", "extreme_ritz_values"]

_SVM_TOLERANCE = 1e-6
_SMALLEST_RECIPROCAL = 1e-15  # of the condition number
_SMALLEST_RECIPROCAL_32 = 3e-7  # from which solutions by float32 factors can be refined
_REFINED = 1e-12  # residual relative to the right side that ends the refinement
_ROUND_OFF = 100  # times eps, ||matrix|| and ||solution||: a residual that says nothing
_BACKWARD = 1e-12  # residual relative to ||matrix|| ||solution|| that a solution must have
_MOST_REFINEMENTS = 20
_MOST_RESIDUAL = 1e-2  # relative: round-off excuses no more
# the preconditioner has fewer columns of K where they would take more than these bytes
_LANDMARK_BYTES = 512 * 2**20
_MOST_PRODUCTS = 300  # products with a K that is not stored
_RITZ_STEPS = 30
_COLUMN_BYTES = 64 * 2**20  # of columns that CuPy copies at a time into the order that its sparse products take


@dataclass(frozen=True)
class Fit:
    """Solution of one pass.

    Attributes
    ----------
    weights : array of shape (order, C), float64
        w, or alpha.
    bias : ndarray of shape (C,)
        Zero for the squared loss.
    fitted : array of shape (n, C), float64
        f on the training rows, with the bias.
    objective : float
        The regularised risk.
    """

    weights: Array
    bias: np.ndarray
    fitted: Array
    objective: float


class _Machine(ABC):
    """What both coordinates share: the quadratic form of the values of f, and the objective."""

    def __init__(
        self,
        like: Array,
        loss: str,
        source: np.ndarray,
        Y: np.ndarray,
        laplacian: sp.csr_array | None,
        ridge: float,
    ) -> None:
        n = len(source)
        self.loss, self.source, self.Y, self.ridge = loss, source, np.asarray(Y, dtype=np.float64), ridge
        self.laplacian = sp.csr_array((n, n)) if laplacian is None else sp.csr_array(laplacian)
        self.fixed = self.laplacian  # what E E^T comes on top of
        if loss == "squared":
            self.fixed = sp.csr_array(self.laplacian + sp.diags_array(source.astype(float)))
        self._laplacian, self._fixed = _Sparse(self.laplacian), _Sparse(self.fixed)
        self.right = self._spread(self.Y, like)
        self.no_means = MMDFactor(np.zeros(n, dtype=int), np.zeros((1, 0)))

    def solve(self, E: MMDFactor | None = None) -> Fit:
        """Minimise the regularised risk.

        Parameters
        ----------
        E : MMDFactor of shape (n, r), optional
            With its weight; no MMD term when None.

        Returns
        -------
        fit : Fit

        Raises
        ------
        ValueError
            If the system is singular to working precision, or conjugate gradients find no weights that are better
            than none.

        Warns
        -----
        ConvergenceWarning
            If K is not stored and conjugate gradients stop early; with the relative residual reached.
        """
        E = self.no_means if E is None else E
        weights, bias, values, norms = self._minimise(E)
        penalty = self.ridge * norms + _norm(E.adjoint(values)) ** 2
        penalty += float(np.sum(to_numpy(_dots(values, self._laplacian @ values))))
        fitted = values + from_numpy(bias, values)
        missed = to_numpy(fitted)[self.source] - self.Y
        risk = missed**2 if self.loss == "squared" else np.maximum(0.0, -self.Y * missed)  # 1 - y f, as y^2 = 1
        return Fit(weights, bias, fitted, float(np.sum(risk)) + penalty)

    @abstractmethod
    def _minimise(self, E: MMDFactor) -> tuple[Array, np.ndarray, Array, float]:
        """Weights, bias, values of f without the bias, and the squared norm of f, over all columns."""

    @abstractmethod
    def lift(self, weights: Array) -> Array:
        """Weights as an estimator keeps them: a row per column of Y."""

    def _spread(self, values: np.ndarray, like: Array) -> Array:
        """J^T values: zero on target rows."""
        block = np.zeros((len(self.source), values.shape[1]))
        block[self.source] = values
        return from_numpy(block, like)

    def _singular(self) -> ValueError:
        return ValueError(
            f"The regularised system is singular to working precision: ridge={self.ridge} is too small for features "
            "(or kernel values) of this scale. Scale the features, for example with StandardScaler or Normalizer, or "
            "raise ridge."
        )


class LinearMachine(_Machine):
    """Functions ``f(x) = w^T x``, in an orthonormal basis of the rows' span when d > n.

    Rows are read in blocks, and sums are kept in float64: X may be float32 or memory-mapped, and is not copied unless
    d > n. Cost: 2 n d^2 flops once, and n d (r + C) with d^3 / 3 for each pass; memory: 3 d^2 and a few blocks of
    32 MiB. Features of a `Nystroem` operator are rows like any other.

    Parameters
    ----------
    X : array of shape (n, d)
    loss : {"squared", "hinge"}
        The machines of the hinge loss are trained on the CPU.
    source : ndarray of shape (n,), bool
    Y : ndarray of shape (ns, C)
        Values to fit; -1 and +1 for the hinge loss, column by column.
    laplacian : sparse array of shape (n, n), or None
        With its weight.
    ridge : float > 0
    """

    def __init__(
        self,
        X: Array,
        loss: str,
        source: np.ndarray,
        Y: np.ndarray,
        laplacian: sp.csr_array | None,
        ridge: float,
    ) -> None:
        super().__init__(X, loss, source, Y, laplacian, ridge)
        xp = namespace(X)
        self.basis, self.Z = None, np.ascontiguousarray(X) if is_numpy(X) else X  # SciPy's products copy other orders
        if X.shape[1] > X.shape[0]:
            self.basis, triangle = xp.linalg.qr(xp.astype(X, xp.float64).T, mode="reduced")
            self.Z = np.ascontiguousarray(triangle.T) if is_numpy(X) else triangle.T
        order = self.Z.shape[1]
        gram = xp.zeros((order, order), dtype=xp.float64, device=X.device)
        self.correlation = xp.zeros((order, Y.shape[1]), dtype=xp.float64, device=X.device)
        for block in row_blocks(self.Z):
            rows = xp.astype(self.Z[block, :], xp.float64, copy=False)
            gram += rows.T @ xp.astype(sparse_times(self.fixed[block], self.Z), xp.float64, copy=False)
            self.correlation += rows.T @ self.right[block, :]
        self.system = 0.5 * (gram + gram.T) + ridge * xp.eye(order, dtype=xp.float64, device=X.device)

    def lift(self, weights: Array) -> Array:
        """Weights of the features, of shape (C, d)."""
        return (weights if self.basis is None else self.basis @ weights).T

    def _minimise(self, E: MMDFactor) -> tuple[Array, np.ndarray, Array, float]:
        V = E.adjoint(self.Z).T
        system, bias = self.system + V @ V.T, np.zeros(self.Y.shape[1])
        if self.loss == "squared":
            weights = self._solve(system)
        else:
            triangle = self._cholesky(2.0 * to_numpy(system))
            Zs = to_numpy(take_rows(self.Z, np.flatnonzero(self.source))).astype(np.float64)
            rows = scipy.linalg.solve_triangular(triangle, Zs.T, lower=True).T
            multipliers, bias = _support_vectors(rows, self.Y, "linear")
            weights = scipy.linalg.solve_triangular(triangle, rows.T @ multipliers, lower=True, trans="T")
            weights = from_numpy(weights, system)
        xp = namespace(weights)
        return weights, bias, _rows_times(self.Z, weights), float(xp.sum(weights * weights))

    def _solve(self, system: Array) -> Array:
        if is_numpy(system):
            return scipy.linalg.cho_solve((self._cholesky(system), True), self.correlation)
        return self._finite(namespace(system).linalg.solve(system, self.correlation))

    def _cholesky(self, matrix: np.ndarray) -> np.ndarray:
        try:
            return scipy.linalg.cholesky(matrix, lower=True)
        except scipy.linalg.LinAlgError as error:
            raise self._singular() from error

    def _finite(self, solution: Array) -> Array:
        xp = namespace(solution)
        if not bool(xp.all(xp.isfinite(solution))):
            raise self._singular()
        return solution


class KernelMachine(_Machine):
    """Functions ``f(x) = sum_i alpha_i k(x_i, x)``.

    A stored K is factored once: 2/3 n^3 flops and one more n x n array, or ns x ns when there is no Laplacian (as for
    plain kernel ridge regression). Each further E costs 4 n^2 (r + C), not n^3. A float32 K is factored in float32
    where the condition number (below 3e6) lets the refinement by residuals taken in float64 converge, else in float64;
    either way the solution solves the system to float64 precision. When the residual shows that the correction for E
    has lost too many digits, the complete system is factored anew. The hinge loss factors anew for each E, in float64,
    and solves for ns columns: 2/3 n^3 + 2 n^2 ns. The hinge loss also takes an n x ns array.

    A K that is not stored takes the squared loss only: conjugate gradients with one product of K and C + r columns each
    step, and the same correction. They stop when the relative residual is below 1e-8 (1e-4 if K is float32), or after
    300 products in a pass; where that is not enough for a tiled K of float32 rows, they start anew with its values in
    float64. Memory: n x 1024 numbers (at most 512 MiB) and some ten blocks of C + r columns.

    Parameters
    ----------
    K : Operator of shape (n, n)
        Symmetric positive semi-definite. With a stored K that is not (see `extreme_ritz_values`), the squared loss
        gives the stationary point that the same equations have.
    loss : {"squared", "hinge"}
    source : ndarray of shape (n,), bool
    Y : ndarray of shape (ns, C)
        Values to fit; -1 and +1 for the hinge loss, column by column.
    laplacian : sparse array of shape (n, n), or None
        With its weight.
    ridge : float > 0

    Raises
    ------
    ValueError
        If K is not stored and the loss is the hinge loss.
    """

    def __init__(
        self,
        K: Operator,
        loss: str,
        source: np.ndarray,
        Y: np.ndarray,
        laplacian: sp.csr_array | None,
        ridge: float,
    ) -> None:
        super().__init__(K.diagonal(), loss, source, Y, laplacian, ridge)
        self.K = K
        self._solver: _Factor | _ConjugateGradients | None = None
        if loss == "hinge" and not isinstance(K, DenseGram):
            raise ValueError(
                f"The hinge loss needs the kernel matrix of the {len(source)} rows in memory, which the memory budget "
                "does not allow. Raise memory_budget, approximate the kernel with n_landmarks, or take the squared "
                "loss."
            )

    def lift(self, weights: Array) -> Array:
        """Weights of the samples, of shape (C, n)."""
        return weights.T

    def _minimise(self, E: MMDFactor) -> tuple[Array, np.ndarray, Array, float]:
        bias = np.zeros(self.Y.shape[1])
        if self.loss == "squared":
            alpha, fitted = self._refine(E)
        else:
            alpha, bias = self._machines(E)
            fitted = _times(self.K, alpha)
        return alpha, bias, fitted, float(namespace(alpha).sum(alpha * fitted))

    def _machines(self, E: MMDFactor) -> tuple[Array, np.ndarray]:
        """Alpha and biases of the hinge loss."""
        half = self._factored(E).solve(self._spread(np.eye(len(self.Y)), self.right))
        half *= 0.5
        gram = to_numpy(namespace(half).astype(self.K.columns(np.flatnonzero(self.source)), half.dtype).T @ half)
        multipliers, bias = _support_vectors(0.5 * (gram + gram.T), self.Y, "precomputed")
        return half @ from_numpy(multipliers, half), bias

    def _refine(self, E: MMDFactor) -> tuple[Array, Array]:
        """Alpha and K alpha by the solver of the fixed part, corrected for E, or by factors of all if that is bad."""
        solver = self._fixed_solver()
        dense = from_numpy(E.toarray(), self.right)
        image = _times(self.K, dense)
        norm = solver.norm + float(np.linalg.norm(E.toarray())) * _norm(image)
        corrected = self._corrected(solver.solve, dense, image)
        alpha, fitted, residual = self._residual_steps(corrected, E, solver.enough)
        size = _norm(self.right)
        if isinstance(solver, _ConjugateGradients):
            allowed = min(solver.enough * size + _ROUND_OFF * solver.eps * norm * _norm(alpha), _MOST_RESIDUAL * size)
            if not residual <= allowed and isinstance(self.K, TiledGram) and self.K.dtype != alpha.dtype:
                self.K = TiledGram(self.K.X, self.K.kernel, self.K.tile_bytes, self.K.constant, double=True)
                self._solver = None
                return self._refine(E)
            if not residual < size:  # the best is no solution
                raise ValueError(solver.complaint("with no weights that are better than none"))
            if not residual <= allowed:
                reached = f"at a relative residual of {residual / size:.1e}, above the tolerance {solver.enough:.0e}"
                warnings.warn(solver.complaint(reached), ConvergenceWarning, stacklevel=2)
        elif not residual <= _BACKWARD * (norm * _norm(alpha) + size):
            if solver.dtype == np.float32:
                solver = self._solver = None  # before there are others
                self._solver = self._factored(self.no_means)
                return self._refine(E)
            alpha, fitted, residual = self._residual_steps(self._factored(E).solve, E, solver.enough)
            if not residual <= _BACKWARD * (norm * _norm(alpha) + size):
                raise self._singular()
        return alpha, fitted

    def _fixed_solver(self) -> _Factor | _ConjugateGradients:
        """Solver of ``A K + ridge I``, made in the first pass."""
        if isinstance(self._solver, _ConjugateGradients):
            self._solver.products = 0
        elif self._solver is None and not isinstance(self.K, DenseGram):
            self._solver = _ConjugateGradients(self.K, self.fixed, self.ridge)
        elif self._solver is None:
            solver = _Factor(self.K, self.fixed, self.no_means, self.ridge, self.K.dtype)
            if solver.dtype == np.float32 and solver.reciprocal < _SMALLEST_RECIPROCAL_32:
                solver = None  # before there are others
                solver = self._factored(self.no_means)
            self._solver = solver
        return self._solver

    def _factored(self, E: MMDFactor) -> _Factor:
        """Factors in float64 of a system that has a solution."""
        factor = _Factor(self.K, self.fixed, E, self.ridge)
        if factor.reciprocal < _SMALLEST_RECIPROCAL:
            raise self._singular()
        return factor

    def _corrected(self, solve: Callable[[Array], Array], dense: Array, image: Array) -> Callable[[Array], Array]:
        """Solver for ``F + E (K E)^T`` from one for F, by the Woodbury formula."""
        xp, r, C = namespace(dense), dense.shape[1], self.right.shape[1]
        if r == 0:
            return solve
        both = solve(xp.concat([self.right, dense], axis=1))  # at once: products with wide blocks are cheaper
        start, spread = both[:, :C], both[:, C:]
        capacity = xp.eye(r, dtype=dense.dtype, device=dense.device) + image.T @ spread

        def corrected(right: Array) -> Array:
            first = start if right is self.right else solve(right)
            return first - spread @ xp.linalg.solve(capacity, image.T @ first)

        return corrected

    def _residual_steps(
        self, solve: Callable[[Array], Array], E: MMDFactor, enough: float
    ) -> tuple[Array, Array, float]:
        """Iterative refinement: alpha, K alpha, and the norm of the residual; ends when it stops halving."""
        residual, last = self.right, _norm(self.right)  # no solution may be worse than zero
        alpha = fitted = 0.0 * residual
        for _ in range(_MOST_REFINEMENTS):
            trial = alpha + solve(residual)
            values = _times(self.K, trial)
            left = self.right - self._fixed @ values - E.apply(E.adjoint(values)) - self.ridge * trial
            size = _norm(left)
            if not size < last:  # round-off alone, or no numbers
                break
            halved = size < 0.5 * last
            alpha, fitted, residual, last = trial, values, left, size
            if size <= enough * _norm(self.right) or not halved:
                break
        return alpha, fitted, last


class _Factor:
    """LU factors of ``(A + E E^T) K + ridge I``, without the rows in which A and E are zero (a division by ridge).

    Attributes
    ----------
    reciprocal : float
        Estimate of the reciprocal condition number; 0 when singular.
    norm : float
        A norm of the matrix.
    """

    enough = _REFINED

    def __init__(self, K: Any, A: sp.csr_array, E: MMDFactor, ridge: float, dtype: Any = np.float64) -> None:
        self.K, self.A, self._A, self.E, self.ridge = K, A, _Sparse(A), E, ridge
        # A is positive semi-definite: a zero on the diagonal is a zero row
        self.touched: np.ndarray = np.asarray((A.diagonal() > 0) | (abs(E.weights).sum(axis=1)[E.groups] > 0))
        self.active, self.rest = np.flatnonzero(self.touched), np.flatnonzero(~self.touched)
        self.dtype = dtype if is_numpy(K.K) else np.float64
        self.reciprocal, self.norm = 1.0, ridge
        self.lu: Any = None
        if len(self.active):
            self._factor(self._matrix())

    def _matrix(self) -> Array:
        """The transposed matrix: ``K (A + E E^T) + ridge I`` for a symmetric K, without the rows left out."""
        xp, values = namespace(self.K.K), self.K.K
        A, groups = self.A, self.E.groups[self.active]
        if len(self.rest):
            values, A = take_rows(values, self.active), A[self.active][:, self.active]
            values = take_rows(values.T, self.active)
        if is_numpy(values):
            # (A K)^T lies in the order that LAPACK overwrites
            matrix = A.astype(self.dtype) @ (values if values.flags.c_contiguous else np.ascontiguousarray(values.T))
        else:
            matrix = xp.empty(values.shape, dtype=xp.float64, device=values.device)
            for block in row_blocks(values):  # of columns: no copy of a float32 K
                matrix[:, block] = sparse_times(A, xp.astype(values[:, block], xp.float64, copy=False))
        pulled = MMDFactor(groups, self.E.weights).adjoint(values)
        for block in row_blocks(matrix):
            size = block.stop - block.start
            matrix[block, block] += self.ridge * xp.eye(size, dtype=matrix.dtype, device=matrix.device)
            if self.E.shape[1]:
                weights = from_numpy(self.E.weights[groups[block]], matrix)
                matrix[block, :] += xp.astype(weights @ pulled, matrix.dtype, copy=False)
        return matrix.T

    def _factor(self, matrix: Array) -> None:
        if not is_numpy(matrix):
            self.norm = sum(_norm(matrix[:, block]) ** 2 for block in row_blocks(matrix)) ** 0.5
            self.lu, self.reciprocal = _foreign_lu(matrix)
            return
        lange, getrf, gecon = scipy.linalg.get_lapack_funcs(("lange", "getrf", "gecon"), (matrix,))
        self.norm = float(lange("I", matrix))
        factors, pivots, info = getrf(matrix, overwrite_a=True)
        self.reciprocal = float(gecon(factors, self.norm, norm="I")[0]) if info == 0 else 0.0
        self.lu = factors, pivots

    def solve(self, right: Array) -> Array:
        """The solution for a block of columns, float64."""
        if not len(self.rest):
            return self._solve(right)
        outside = take_rows(right, self.rest) / self.ridge
        if not len(self.active):
            return outside
        known = merge_rows(self.touched, 0.0 * take_rows(right, self.active), outside)
        image = _times(self.K, known)
        pushed = self._A @ image + self.E.apply(self.E.adjoint(image))
        return merge_rows(self.touched, self._solve(take_rows(right - pushed, self.active)), outside)

    def _solve(self, right: Array) -> Array:
        if not is_numpy(right):
            return self.lu(right)
        factors, pivots = self.lu
        getrs = scipy.linalg.get_lapack_funcs("getrs", (factors,))
        if self.dtype == np.float64:
            return getrs(factors, pivots, right, trans=1)[0]
        scale = np.abs(right).max(initial=0.0) or 1.0  # residuals may shrink below float32's range
        return scale * getrs(factors, pivots, right / scale, trans=1)[0].astype(np.float64)


def _foreign_lu(matrix: Array) -> tuple[Callable[[Array], Array], float]:
    """Function that solves systems with the transpose of a matrix, which it may overwrite; 0 where that is singular.

    Factors are made once, where the library has them; the standard has none.
    """
    if library(matrix) == "cupy":
        from cupyx.scipy.linalg import lu_factor, lu_solve

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that it is singular: seen below
            factors = lu_factor(matrix, overwrite_a=True, check_finite=False)
        diagonal = namespace(matrix).abs(factors[0].diagonal())
        return lambda right: lu_solve(factors, right, trans=1, check_finite=False), float(float(diagonal.min()) > 0)
    if library(matrix) == "torch":
        import torch

        lu, pivots, info = torch.linalg.lu_factor_ex(matrix)
        return lambda right: torch.linalg.lu_solve(lu, pivots, right, adjoint=True), float(not info.any())
    return lambda right: namespace(right).linalg.solve(matrix.T, right), 1.0


class _ConjugateGradients:
    """Solves ``(A K + ridge I) alpha = b`` by products with K, all columns of b at once.

    With f = K alpha, ``(K A + ridge I) f = K b`` and ``alpha = (b - A f) / ridge``. The operator is self-adjoint in the
    inner product of A, and so is the inverse of its Nystroem approximation from columns C of K, ``K ~ C W^{-1} C^T``:
    ``(I - C (ridge W + C^T A C)^{-1} C^T A) / ridge``, the preconditioner. A, unlike K, enters it exactly.

    Attributes
    ----------
    enough : float
        Residual in alpha, relative to b, at which a column has converged.
    products : int
        With K, counted since it was set to 0; no iteration begins above `_MOST_PRODUCTS`.
    indefinite : bool
        Whether a direction of negative curvature was met, among the landmarks or on the way.
    """

    norm = 0.0

    def __init__(self, K: Operator, A: sp.csr_array, ridge: float) -> None:
        self.K, self.A, self.ridge = K, _Sparse(A), ridge
        n, like = K.shape[0], K.diagonal()
        xp = namespace(like)
        self.enough = 1e-4 if K.dtype == xp.float32 else 1e-8
        self.eps = float(xp.finfo(K.dtype).eps)
        self.products = 0
        self.start: Array | None = None
        m = max(1, min(n, thresholds().preconditioner_columns, _LANDMARK_BYTES // (8 * n)))
        index = np.sort(np.random.default_rng(0).permutation(n)[:m])
        self.columns = C = K.columns(index)
        corner = xp.astype(take_rows(C, index), xp.float64, copy=False)
        spectrum = xp.linalg.eigvalsh(0.5 * (corner + corner.T))
        self.indefinite = float(spectrum[0]) < -(self.eps**0.5) * float(xp.max(xp.abs(spectrum)))
        gram = ridge * corner
        for block in row_blocks(C):
            rows = xp.astype(sparse_times(A[block], C), xp.float64, copy=False)
            gram = gram + xp.astype(C[block, :], xp.float64, copy=False).T @ rows
        values, vectors = xp.linalg.eigh(0.5 * (gram + gram.T))
        floor = float(values[-1]) * self.eps  # keeps the preconditioner positive definite
        self.root = vectors / xp.sqrt(xp.where(values > floor, values, xp.full_like(values, floor)))

    def solve(self, right: Array) -> Array:
        """Solution for a block of columns, started from that of the last block of this shape."""
        f = self.start if self.start is not None and self.start.shape == right.shape else 0.0 * right
        residual = self._times(right - self.A @ f) - self.ridge * f
        allowed = 0.5 * self.enough * self.ridge * _norms(right)  # of A times the residual: half, as round-off adds up
        xp, image, before = namespace(right), self.A @ residual, None
        while self.products < _MOST_PRODUCTS and bool(xp.any(_norms(image) > allowed)):
            z = self._precondition(residual, image)
            Az, now = self.A @ z, _dots(z, image)
            if before is None:
                p, Ap = z, Az
            else:
                ratio = _quotient(now, before)
                p, Ap = z + ratio * p, Az + ratio * Ap
            Tp = self._times(Ap) + self.ridge * p
            curvature = _dots(Ap, Tp)
            if bool(xp.any(curvature < 0)):
                self.indefinite = True
                break
            step = _quotient(now, curvature)
            f, residual, before = f + step * p, residual - step * Tp, now
            image = self.A @ residual
        self.start = f
        return (right - self.A @ f) / self.ridge

    def complaint(self, reached: str) -> str:
        """That they stopped, how far they came, and what to do."""
        reason = " The kernel is not positive semi-definite." if self.indefinite else ""
        return (
            f"Conjugate gradients stopped after {self.products} products with the kernel {reached}.{reason} Raise "
            "ridge, raise memory_budget so that the kernel matrix is stored, or approximate the kernel by n_landmarks."
        )

    def _times(self, block: Array) -> Array:
        self.products += 1
        return _times(self.K, block)

    def _precondition(self, block: Array, image: Array) -> Array:
        inner = self.root @ (self.root.T @ _adjoint_times(self.columns, image))
        return (block - _rows_times(self.columns, inner)) / self.ridge


def sparse_times(matrix: sp.csr_array, block: Array) -> Array:
    """``matrix @ block`` for a SciPy matrix and a block of any library, in the block's dtype.

    Cost: a multiply-add for each entry and column. Elsewhere than in NumPy and CuPy, by gathering the first entry of
    every row, then the second, and so on.

    Parameters
    ----------
    matrix : sparse array of shape (m, n)
    block : array of shape (n, q)

    Returns
    -------
    product : array of shape (m, q)
    """
    return _Sparse(matrix) @ block


class _Sparse:
    """A SciPy matrix that is multiplied with blocks of any library: see `sparse_times`.

    Its copy on a CUDA device is made once for each dtype.
    """

    def __init__(self, matrix: sp.csr_array) -> None:
        self.matrix = matrix
        self._copies: dict[Any, Any] = {}

    def __matmul__(self, block: Array) -> Array:
        if is_numpy(block):
            return self.matrix.astype(block.dtype) @ block
        return self._on_cupy(block) if library(block) == "cupy" else _gathered(self.matrix, block)

    def _on_cupy(self, block: Array) -> Array:
        """By cuSPARSE, in parts: it takes columns in an order of its own."""
        import cupy
        from cupyx.scipy.sparse import csr_matrix

        product = cupy.zeros((self.matrix.shape[0], block.shape[1]), dtype=block.dtype)
        if not (product.size and self.matrix.nnz):
            return product
        key = block.dtype.name
        if key not in self._copies:
            self._copies[key] = csr_matrix(self.matrix.astype(key))
        for part in parts(block.shape[1], max(1, _COLUMN_BYTES // (block.itemsize * block.shape[0]))):
            product[:, part] = self._copies[key] @ block[:, part]
        return product


def _gathered(matrix: sp.csr_array, block: Array) -> Array:
    """`sparse_times` by what the standard has."""
    xp, entries = namespace(block), np.diff(matrix.indptr)
    order = np.argsort(-entries, kind="stable")  # rows with a k-th entry come first, for every k
    total = xp.zeros((matrix.shape[0], block.shape[1]), dtype=block.dtype, device=block.device)
    for k in range(entries.max(initial=0)):
        m = int(np.count_nonzero(entries > k))
        at = matrix.indptr[order[:m]] + k
        weights = xp.astype(from_numpy(matrix.data[at], block), block.dtype, copy=False)
        total[:m, :] += weights[:, None] * take_rows(block, matrix.indices[at])
    return take_rows(total, np.argsort(order, kind="stable"))


def extreme_ritz_values(K: Operator) -> tuple[float, float]:
    """Smallest and largest Ritz value of a symmetric matrix after 30 Lanczos steps: within its spectrum.

    A smallest value clearly below zero therefore proves that K is not positive semi-definite. Cost: 30 products with
    one column.

    Parameters
    ----------
    K : Operator of shape (n, n)

    Returns
    -------
    smallest, largest : float
    """
    n = K.shape[0]
    like = K.diagonal()
    xp = namespace(like)
    vector = from_numpy(np.random.default_rng(0).standard_normal((n, 1)), like)
    basis = xp.zeros((n, 0), dtype=xp.float64, device=like.device)
    images = basis
    for _ in range(min(n, _RITZ_STEPS)):
        size = _norm(vector)
        for _ in range(2):  # once leaves round-off along the basis
            vector = vector - basis @ (basis.T @ vector)
        if not _norm(vector) > 1e-10 * size:
            break
        basis = xp.concat([basis, vector / _norm(vector)], axis=1)
        vector = _times(K, basis[:, -1:])
        images = xp.concat([images, vector], axis=1)
    values = xp.linalg.eigvalsh(0.5 * (basis.T @ images + images.T @ basis))
    return float(values[0]), float(values[-1])


def _times(K: Operator, block: Array) -> Array:
    """``K @ block`` in float64: a stored float32 K is converted in blocks of rows."""
    xp = namespace(block)
    if isinstance(K, DenseGram):
        return _rows_times(K.K, block)
    return xp.astype(K @ block, xp.float64, copy=False)


def _rows_times(rows: Array, block: Array) -> Array:
    """``rows @ block`` in float64, converted in blocks of rows."""
    xp = namespace(rows)
    if rows.dtype == xp.float64:
        return rows @ block
    return xp.concat([xp.astype(rows[part, :], xp.float64) @ block for part in row_blocks(rows)])


def _adjoint_times(rows: Array, block: Array) -> Array:
    """``rows^T @ block`` in float64, converted in blocks of rows."""
    xp = namespace(rows)
    if rows.dtype == xp.float64:
        return rows.T @ block
    total = xp.zeros((rows.shape[1], block.shape[1]), dtype=xp.float64, device=rows.device)
    for part in row_blocks(rows):
        total += xp.astype(rows[part, :], xp.float64).T @ block[part, :]
    return total


def _dots(a: Array, b: Array) -> Array:
    return namespace(a).sum(a * b, axis=0)


def _norms(block: Array) -> Array:
    return namespace(block).sqrt(_dots(block, block))


def _norm(block: Array) -> float:
    return float(namespace(block).sum(block * block)) ** 0.5


def _quotient(a: Array, b: Array) -> Array:
    """a / b, and zero where b is not positive: a column that has converged."""
    xp = namespace(a)
    return xp.where(b > 0, a / xp.where(b > 0, b, xp.ones_like(b)), xp.zeros_like(a))


def _support_vectors(rows: np.ndarray, signs: np.ndarray, kernel: str) -> tuple[np.ndarray, np.ndarray]:
    """``y o beta`` (ns, C) and biases (C,); a column of one sign needs no machine, its bias says it all."""
    multipliers, bias = np.zeros(signs.shape), np.empty(signs.shape[1])
    for column, y in enumerate(signs.T):
        if np.all(y == y[0]):
            bias[column] = y[0]
            continue
        machine = SVC(
            C=1.0, kernel=kernel, tol=_SVM_TOLERANCE, random_state=0
        )  # without a seed it draws from the global one
        machine.fit(rows, y)
        multipliers[machine.support_, column] = machine.dual_coef_[0]
        bias[column] = machine.intercept_[0]
    return multipliers, bias
