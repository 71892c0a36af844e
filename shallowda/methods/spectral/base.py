"""The family of one eigenproblem: TCA, JDA, BDA and TJM.

All of them maximise the variance of the embedding ``Phi A`` against its MMD and a ridge:

    min_A  tr(A^T a A)   s.t.  A^T Phi^T H Phi A = I,      a = Phi^T M Phi + ridge,   M = E E^T

whose solution is the top-k of the pencil (Phi^T H Phi, a). A method contributes E (which means to bring together) and,
for TJM, a ridge per sample. Phi is the data or a kernel matrix: `shallowda.kernels.spaces`.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from shallowda.core.adapter import BaseAdapter
from shallowda.core.kernel_mixin import KERNEL_CONSTRAINTS, KernelMixin
from shallowda.core.messages import warn
from shallowda.core.rows import rows_among
from shallowda.kernels.arrays import Array, as_dtype, namespace
from shallowda.kernels.moments import Moments
from shallowda.kernels.operators import Nystroem
from shallowda.kernels.spaces import KernelSpace, LinearDual, LinearSample, PrimalSpace, Space, linear_dual

__all__ = ["SpectralAdapter"]

# offset of a space from which products of uncentred rows hold no digit of the spread, and from which there is no spread
_FAR, _CONSTANT = 1e12, 1e24


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
        return rows @ as_dtype(self.components_.T, rows.dtype)
