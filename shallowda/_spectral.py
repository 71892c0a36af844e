"""The family of one eigenproblem: TCA, JDA, BDA and TJM.

All of them maximise the variance of the embedding ``Phi A`` against its MMD and a ridge:

    min_A  tr(A^T a A)   s.t.  A^T Phi^T H Phi A = I,      a = Phi^T M Phi + ridge,   M = E E^T

whose solution is the top-k of the pencil (Phi^T H Phi, a). A method contributes E (which means to bring together) and,
for TJM, a ridge per sample. Phi is the data or a kernel matrix: `shallowda.kernels.spaces`.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from shallowda._base import BaseAdapter
from shallowda._messages import warn
from shallowda.kernels.pairwise import KERNELS, kernel_matrix, median_gamma
from shallowda.kernels.spaces import KernelSpace, PrimalSpace, Space, linear_dual

# offset of a space from which products of uncentred rows hold no digit of the spread, and from which there is no spread
_FAR, _CONSTANT = 1e12, 1e24

#: Constraints of the parameters that select and shape a kernel.
KERNEL_CONSTRAINTS: dict = {
    "kernel": [StrOptions({*KERNELS, "precomputed"}), callable],
    "gamma": [Interval(Real, 0, None, closed="neither"), StrOptions({"median"}), None],
    "degree": [Interval(Real, 0, None, closed="left")],
    "coef0": [Interval(Real, None, None, closed="neither")],
    "kernel_params": [dict, None],
}


class KernelMixin:
    """Kernel matrices of an estimator with the parameters of `KERNEL_CONSTRAINTS`."""

    kernel: Any
    gamma: Any
    degree: float
    coef0: float
    kernel_params: Mapping | None

    @property
    def _is_linear(self) -> bool:
        return self.kernel is None or self.kernel == "linear"

    def _fit_kernel(self, X: np.ndarray) -> np.ndarray:
        """Kernel matrix of the training rows; keeps them, and the width, for `_kernel_to`."""
        if self.kernel == "precomputed":
            if X.shape[0] != X.shape[1]:
                raise ValueError(
                    "kernel='precomputed' needs the square kernel matrix of all rows (source and target); got "
                    f"{X.shape}."
                )
            if not np.allclose(X, X.T, rtol=1e-4, atol=1e-5 * np.abs(X).max()):
                raise ValueError("kernel='precomputed' needs a symmetric kernel matrix of the training rows.")
            return X
        self.X_fit_ = X.copy()
        self.gamma_ = median_gamma(X, self.kernel) if self.gamma == "median" else self.gamma
        return self._kernel(X, None)

    def _kernel_to(self, X: np.ndarray) -> np.ndarray:
        """Kernel values of rows with the training rows, shape (len(X), n_fit)."""
        return X if self.kernel == "precomputed" else self._kernel(X, self.X_fit_)

    def _kernel(self, X: np.ndarray, Y: np.ndarray | None) -> np.ndarray:
        return kernel_matrix(
            X,
            Y,
            self.kernel,
            gamma=self.gamma_,
            degree=self.degree,
            coef0=self.coef0,
            params=self.kernel_params,
        )

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

    def _space(self, X: np.ndarray) -> Space:
        """Phi for these rows and this kernel."""
        if self.kernel is None:
            return PrimalSpace(X)
        if self.kernel == "linear":
            return linear_dual(X)
        return KernelSpace(self._fit_kernel(X))

    def _solve(self, space: Space, V: np.ndarray, ridge: float | np.ndarray) -> tuple[np.ndarray, float]:
        """Top components of the pencil for V = Phi^T E, in the scale A^T B A = I, and the minimum of the objective."""
        A, rho = space.solve(V, ridge, self.n_components)
        if len(rho) == 0 and _FAR < space.offset < _CONSTANT:
            raise ValueError(
                f"The mean of X is so far from the origin (ratio to the spread: {np.sqrt(space.offset):.2g}) that "
                f"kernel={self.kernel!r} loses every digit. Centre the features first, for example with StandardScaler."
            )
        if len(rho) == 0:
            raise ValueError(
                "X has no variance: all rows are the same (or all kernel values are), so nothing can be projected."
            )
        return A, float(np.sum(1.0 / rho))

    def _scaled(self, A: np.ndarray) -> np.ndarray:
        """Coefficients in the chosen `component_scale`."""
        return A / np.linalg.norm(A, axis=0) if self.component_scale == "unit" else A

    def _store(self, space: Space, A: np.ndarray) -> np.ndarray:
        """Keep the map of new rows; return the embedding of the training rows."""
        rank = A.shape[1]
        if rank < self.n_components:
            warn(
                f"n_components={self.n_components} exceeds the rank {rank} of the centred data; {rank} components are "
                "kept.",
            )
        A = self._scaled(A)
        self.components_ = space.lift(A)
        return space.embed(A)

    def _map(self, X: np.ndarray, source: np.ndarray) -> np.ndarray:
        rows = X if self._is_linear else self._kernel_to(X)
        return rows @ self.components_.T.astype(rows.dtype)
