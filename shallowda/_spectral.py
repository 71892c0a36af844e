"""The family of one eigenproblem: TCA, JDA, BDA and TJM.

All of them maximise the variance of the embedding ``Phi A`` against its MMD and a ridge:

    min_A  tr(A^T a A)   s.t.  A^T Phi^T H Phi A = I,      a = Phi^T M Phi + ridge,   M = E E^T

whose solution is the top-k of the pencil (Phi^T H Phi, a). A method contributes E (which means to bring together) and,
for TJM, a ridge per sample. Phi is the data or a kernel matrix: `shallowda.kernels.spaces`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt, StrOptions

from shallowda._base import BACKENDS, BaseAdapter
from shallowda._messages import warn
from shallowda._rows import rows_among
from shallowda.kernels.arrays import Array, as_dtype, from_numpy, library, namespace
from shallowda.kernels.moments import Moments, row_blocks
from shallowda.kernels.operators import DenseGram, Nystroem, Operator, TiledGram
from shallowda.kernels.pairwise import KERNELS, Kernel, median_gamma
from shallowda.kernels.planning import Plan, plan, thresholds
from shallowda.kernels.spaces import KernelSpace, LinearDual, LinearSample, PrimalSpace, Space, linear_dual

logger = logging.getLogger("shallowda")

# offset of a space from which products of uncentred rows hold no digit of the spread, and from which there is no spread
_FAR, _CONSTANT = 1e12, 1e24

#: Constraints of the parameters that select and shape a kernel.
KERNEL_CONSTRAINTS: dict = {
    "kernel": [StrOptions({*KERNELS, "precomputed"}), callable],
    "gamma": [Interval(Real, 0, None, closed="neither"), StrOptions({"median"}), None],
    "degree": [Interval(Real, 0, None, closed="left")],
    "coef0": [Interval(Real, None, None, closed="neither")],
    "kernel_params": [dict, None],
    "n_landmarks": [Interval(Integral, 1, None, closed="left"), None],
    "backend": [BACKENDS],
    "memory_budget": [Interval(Integral, 1, None, closed="left"), Interval(RealNotInt, 0, 1, closed="right"), None],
}


class KernelMixin:
    """Kernel matrices of an estimator with the parameters of `KERNEL_CONSTRAINTS`."""

    kernel: Any
    gamma: Any
    degree: float
    coef0: float
    kernel_params: Mapping | None
    n_landmarks: int | None
    memory_budget: int | float | None

    @property
    def _is_linear(self) -> bool:
        return self.kernel is None or self.kernel == "linear"

    def _planned(self, X: Array | Moments, k: int, form: str = "dual") -> Plan:
        """How the problem of these rows fits the memory budget; kept as `plan_`."""
        n, d = X.shape
        if isinstance(X, Moments):
            X, n = X.mean, max(n, d)  # of order d, however few the rows
        backend = "cupy" if library(X) == "cupy" else "numpy"
        dtype = "float32" if X.dtype == namespace(X).float32 else "float64"
        self.plan_ = plan(
            n,
            d,
            self.kernel,
            k,
            dtype,
            form=form,
            n_landmarks=self.n_landmarks,
            backend=backend,
            memory_budget=self.memory_budget,
        )
        return self.plan_

    def _fit_kernel(self, X: Array, k: int, form: str = "dual") -> Operator:
        """Kernel matrix of the training rows; keeps what `_kernel_to` needs of them."""
        operator = self._planned(X, k, form).operator
        if self.kernel == "precomputed":
            return DenseGram(_symmetric(X))
        self.gamma_ = median_gamma(X, self.kernel) if self.gamma == "median" else self.gamma
        kernel = self._kernel()
        if self.n_landmarks is not None:
            gram = Nystroem(X, kernel, self.n_landmarks)
            self.X_fit_, self.kernel_error_ = gram.landmarks, gram.error()
            logger.info("%d landmarks: relative error of the kernel %.2g", len(gram.index), self.kernel_error_)
            return gram
        self.X_fit_ = namespace(X).asarray(X, copy=True)
        return DenseGram(kernel(X)) if operator == "dense" else TiledGram(X, kernel, thresholds().tile_bytes)

    def _kernel_to(self, X: Array) -> Array:
        """Kernel values of rows with the rows that are kept, shape (len(X), n_fit)."""
        return X if self.kernel == "precomputed" else self._kernel()(X, from_numpy(self.X_fit_, X))

    def _kernel(self) -> Kernel:
        return Kernel(self.kernel, self.gamma_, self.degree, self.coef0, self.kernel_params)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags


class SpectralAdapter(KernelMixin, BaseAdapter):
    """Shared parameters, solve and out-of-sample map."""

    _parameter_constraints: dict = {
        **KERNEL_CONSTRAINTS,
        "kernel": [*KERNEL_CONSTRAINTS["kernel"], None],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "mmd_scaling": [StrOptions({"authors", "paper"})],
        "component_scale": [StrOptions({"unit", "constraint"})],
        "estimator": [HasMethods(["fit", "predict"]), None],
    }

    n_components: int
    mmd_scaling: str
    component_scale: str

    def _space(self, X: Array | Moments) -> Space:
        """Phi for these rows and this kernel; for moments where it is linear."""
        if self._is_linear:
            self._planned(X, self.n_components)
            return PrimalSpace(X) if self.kernel is None else linear_dual(X)
        return self._kernel_space(X, LinearDual)

    def _kernel_space(self, X: Array, linear: type[LinearDual] | type[LinearSample]) -> Space:
        """Space of a kernel that is not linear: in sample weights, or as the linear problem on Nystroem's features."""
        gram = self._fit_kernel(X, self.n_components)
        if isinstance(gram, Nystroem):
            return linear(gram.features, gram.root)
        return KernelSpace(gram, overwrite=self.kernel != "precomputed")

    def _solve(self, space: Space, V: Array, ridge: float | Array, **options: Any) -> tuple[Array, float, Array]:
        """Top components of the pencil for V = Phi^T E in the scale A^T B A = I, minimum of the objective, lengths."""
        A, rho, lengths = space.solve(V, ridge, self.n_components, **options)
        if rho.shape[0] == 0 and _FAR < space.offset < _CONSTANT:
            raise ValueError(
                f"The mean of X is so far from the origin (ratio to the spread: {np.sqrt(space.offset):.2g}) that "
                f"kernel={self.kernel!r} loses every digit. Centre the features first, for example with StandardScaler."
            )
        if rho.shape[0] == 0:
            raise ValueError(
                "X has no variance: all rows are the same (or all kernel values are), so nothing can be projected."
            )
        return A, float(namespace(rho).sum(1.0 / rho)), lengths

    def _scaled(self, A: Array, lengths: Array) -> Array:
        """Coefficients in the chosen `component_scale`."""
        return A / lengths if self.component_scale == "unit" else A

    def _store(self, space: Space, A: Array, Z: Array) -> Array:
        """Keep the map of new rows, and the embedding of those at hand where it is dear to compute; return that."""
        self._store_map(space, A)
        if self._keeps_rows:
            self.embedding_ = namespace(Z).asarray(Z, copy=True)
        return Z

    def _store_map(self, space: Space, A: Array) -> None:
        rank = A.shape[1]
        if rank < self.n_components:
            warn(
                f"n_components={self.n_components} exceeds the rank {rank} of the centred data; {rank} components are "
                "kept.",
            )
        self.components_ = space.lift(A)

    @property
    def _keeps_rows(self) -> bool:
        """Whether `X_fit_` are the training rows."""
        return not self._is_linear and self.kernel != "precomputed" and self.n_landmarks is None

    def _map(self, X: Array, source: np.ndarray) -> Array:
        place = rows_among(self.X_fit_, X) if self._keeps_rows else None
        if place is not None:
            return self.embedding_[place].copy()  # a caller may write into it
        rows = X if self._is_linear else self._kernel_to(X)
        return rows @ as_dtype(from_numpy(self.components_, rows).T, rows.dtype)


def _symmetric(K: Array) -> Array:
    """A precomputed kernel matrix of the training rows, if it is one."""
    if K.shape[0] != K.shape[1]:
        raise ValueError(
            "kernel='precomputed' needs the square kernel matrix of all rows (source and target); got "
            f"{tuple(K.shape)}."
        )
    xp = namespace(K)
    largest = max(float(xp.max(xp.abs(K[part, :]))) for part in row_blocks(K))
    for part in row_blocks(K):
        if bool(xp.any(xp.abs(K[part, :] - K[:, part].T) > 1e-5 * largest + 1e-4 * xp.abs(K[part, :]))):
            raise ValueError("kernel='precomputed' needs a symmetric kernel matrix of the training rows.")
    return K
