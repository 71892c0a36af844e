"""Kernel parameters of an estimator, and the kernel matrices that they mean."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar

from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions

from shallowda.core.contract import Domains
from shallowda.core.estimator import BACKENDS
from shallowda.kernels.arrays import Array, namespace
from shallowda.kernels.moments import row_blocks
from shallowda.kernels.operators import DenseGram, Nystroem, Operator, TiledGram
from shallowda.kernels.pairwise import KERNELS, Kernel, median_gamma
from shallowda.kernels.planning import Plan, thresholds

__all__ = ["KERNEL_CONSTRAINTS", "KernelMixin"]

logger = logging.getLogger("shallowda")

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

    #: Of the problem, see `plan`.
    _form: ClassVar[str] = "dual"

    kernel: Any
    gamma: Any
    degree: float
    coef0: float
    kernel_params: Mapping | None
    n_landmarks: int | None
    memory_budget: int | float | None
    n_components: int
    plan_: Plan

    @property
    def _is_linear(self) -> bool:
        return self.kernel is None or self.kernel == "linear"

    def _problem(self, domains: Domains | None) -> dict[str, Any]:
        """What the problem of these parameters is to `plan`."""
        return {
            "kernel": self.kernel,
            "k": self._n_solved(domains),
            "form": self._form,
            "n_landmarks": self.n_landmarks,
            "memory_budget": self.memory_budget,
        }

    def _n_solved(self, domains: Domains | None) -> int:
        """How many eigenvectors, or right-hand sides, the problem has."""
        return self.n_components

    def _fit_kernel(self, X: Array) -> Operator:
        """Kernel matrix of the training rows; keeps what `_kernel_to` needs of them."""
        operator = self.plan_.operator
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
        return X if self.kernel == "precomputed" else self._kernel()(X, self.X_fit_)

    def _kernel(self) -> Kernel:
        return Kernel(self.kernel, self.gamma_, self.degree, self.coef0, self.kernel_params)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags


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
