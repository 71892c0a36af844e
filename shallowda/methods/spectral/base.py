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
from shallowda.kernels.arrays import Array, as_dtype, is_numpy, merge_rows, namespace, take_rows
from shallowda.kernels.copies import places_of, row_keys
from shallowda.kernels.moments import Moments
from shallowda.kernels.operators import Nystroem
from shallowda.kernels.spaces import KernelSpace, LinearDual, LinearSample, PrimalSpace, Space, linear_dual

__all__ = ["SpectralAdapter"]

# offset of a space from which products of uncentred rows hold no digit of the spread, and from which there is no spread
_FAR, _CONSTANT = 1e12, 1e24
# shares of the spread above which round-off may be why there are few components, and why those that are found are wrong
_SOME_ROUND_OFF, _MOST_ROUND_OFF = 1e-6, 1e-2
_WITH_CONSTANT = ("poly", "polynomial", "sigmoid")
_LOCAL = ("rbf", "laplacian", "chi2")  # kernels whose values grow alike as gamma falls, wherever the mean is


class SpectralAdapter(KernelMixin, BaseAdapter):
    """Shared parameters, solve and out-of-sample map."""

    _has_source_map = False

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
            return PrimalSpace(X) if self.kernel is None else linear_dual(X)
        return self._kernel_space(X, LinearDual)

    def _kernel_space(self, X: Array, linear: type[LinearDual] | type[LinearSample]) -> Space:
        """Space of a kernel that is not linear: in sample weights, or as the linear problem on Nystroem's features."""
        gram = self._fit_kernel(X)
        if isinstance(gram, Nystroem):
            return linear(gram.features, gram.root)
        return KernelSpace(gram, overwrite=self.kernel != "precomputed")

    def _solve(self, space: Space, V: Array, ridge: float | Array, **options: Any) -> tuple[Array, float, Array]:
        """Top components of the pencil for V = Phi^T E in the scale A^T B A = I, minimum of the objective, lengths."""
        A, rho, lengths = space.solve(V, ridge, self.n_components, **options)
        if rho.shape[0] == 0:
            raise ValueError(self._no_variance(space))
        return A, float(namespace(rho).sum(1.0 / rho)), lengths

    def _no_variance(self, space: Space) -> str:
        """Why nothing can be projected."""
        if not self._is_linear:
            return (
                f"X has no variance: all rows are the same, or the values of kernel={self.kernel!r} are, to working "
                f"precision. If the rows differ, {self._remedy}."
            )
        if _FAR < space.offset < _CONSTANT:
            return (
                f"The mean of X is so far from the origin (ratio to the spread: {np.sqrt(space.offset):.2g}) that "
                f"kernel={self.kernel!r} loses every digit. Centre the features first, for example with StandardScaler."
            )
        return "X has no variance: all rows are the same, so nothing can be projected."

    @property
    def _remedy(self) -> str:
        """What to do about kernel values that are nearly the same."""
        if self.kernel in _LOCAL:
            return "pass a larger gamma"
        if self.kernel == "precomputed":
            return "centre what the kernel matrix was computed from"
        remedy = "centre the features first, for example with StandardScaler"
        return remedy + (", or choose a smaller coef0" if self.kernel in _WITH_CONSTANT else "")

    def _scaled(self, A: Array, lengths: Array) -> Array:
        """Coefficients in the chosen `component_scale`."""
        return A / lengths if self.component_scale == "unit" else A

    def _store(self, space: Space, A: Array, Z: Array) -> Array:
        """Keep the map of new rows, and the embedding of those at hand where it is dear to compute; return that."""
        self._store_map(space, A)
        if self._keeps_rows:
            self.embedding_ = namespace(Z).asarray(Z, copy=True)
            self._row_keys_, self._row_places_ = np.unique(row_keys(self.X_fit_), return_index=True)
        return Z

    def _store_map(self, space: Space, A: Array) -> None:
        rank = A.shape[1]
        if space.round_off > _MOST_ROUND_OFF:
            what = "features" if self.kernel is None else f"values of kernel={self.kernel!r}"
            warn(
                f"The {what} keep fewer than two digits of what tells rows apart: their mean is so far from zero "
                f"(ratio to the spread: {np.sqrt(space.offset):.2g}). {rank} of {self.n_components} components are "
                f"kept, and may be round-off: {self._remedy}.",
            )
        elif rank < self.n_components:
            hidden = (
                f" A mean that is far from zero (ratio to the spread: {np.sqrt(space.offset):.2g}) may hide others in "
                f"round-off: {self._remedy}."
            )
            warn(
                f"n_components={self.n_components} exceeds the rank {rank} of the centred data; {rank} components are "
                "kept." + (hidden if space.round_off > _SOME_ROUND_OFF else ""),
            )
        self.components_ = space.lift(A)

    @property
    def _keeps_rows(self) -> bool:
        """Whether `X_fit_` are the training rows."""
        return not self._is_linear and self.kernel != "precomputed" and self.n_landmarks is None

    def _map(self, X: Array, source: np.ndarray) -> Array:
        if not (self._keeps_rows and is_numpy(X) and hasattr(self, "_row_keys_")):  # older saved models lack keys
            return self._projected(X)
        place = places_of(X, self.X_fit_, self._row_keys_, self._row_places_)
        known = place >= 0
        if not known.any():
            return self._projected(X)
        Z = take_rows(self.embedding_, place[known])
        if known.all():
            return Z
        return merge_rows(known, Z, as_dtype(self._projected(take_rows(X, np.flatnonzero(~known))), Z.dtype))

    def _projected(self, X: Array) -> Array:
        rows = X if self._is_linear else self._kernel_to(X)
        return rows @ as_dtype(self.components_.T, rows.dtype)
