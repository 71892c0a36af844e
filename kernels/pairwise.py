"""Kernel matrices and the median rule for their width."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from sklearn.metrics.pairwise import (
    PAIRWISE_KERNEL_FUNCTIONS,
    euclidean_distances,
    manhattan_distances,
    pairwise_kernels,
)

__all__ = ["KERNELS", "kernel_matrix", "median_gamma"]

#: Names that `kernel_matrix` takes: those of scikit-learn's ``pairwise_kernels``.
KERNELS = tuple(sorted(PAIRWISE_KERNEL_FUNCTIONS))

_MEDIAN_ROWS = 2000  # pairs of at most this many rows enter the median


def kernel_matrix(
    X: np.ndarray,
    Y: np.ndarray | None,
    kernel: str | Callable,
    *,
    gamma: float | None = None,
    degree: float = 3,
    coef0: float = 1,
    params: Mapping | None = None,
) -> np.ndarray:
    """Kernel values between the rows of X and those of Y (of X when Y is None).

    Parameters
    ----------
    X : ndarray of shape (m, d)
    Y : ndarray of shape (n, d) or None
    kernel : str or callable
        A name of scikit-learn's ``pairwise_kernels``, or a function of two rows that returns a number.
    gamma, degree, coef0 : float
        Passed to the kernels that have them.
    params : mapping, optional
        Keyword arguments of a callable.

    Returns
    -------
    K : ndarray of shape (m, n)

    Raises
    ------
    ValueError
        If the kernel gives NaN or infinite values.
    """
    named: dict = {"filter_params": True, "degree": degree, "coef0": coef0}
    if gamma is not None:
        named["gamma"] = gamma
    with np.errstate(over="ignore", invalid="ignore"):  # looked for below
        K = _by_rows(X, Y, kernel, params) if callable(kernel) else pairwise_kernels(X, Y, metric=kernel, **named)
    if not np.isfinite(K).all():
        raise ValueError(
            f"kernel={kernel!r} gave NaN or infinite values for these rows. Scale the features, or choose a smaller "
            "gamma or degree."
        )
    return K


def _by_rows(X: np.ndarray, Y: np.ndarray | None, kernel: Callable, params: Mapping | None) -> np.ndarray:
    try:
        return pairwise_kernels(X, Y, metric=kernel, **(params or {}))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"A callable kernel takes two rows (1-D arrays) and returns a number; {kernel!r} failed on that: {error}"
        ) from error


def median_gamma(X: np.ndarray, kernel: str | Callable) -> float | None:
    """Kernel width by the median rule.

    ``1 / median ||x - y||^2`` for the RBF kernel, ``1 / median ||x - y||_1`` for the Laplacian, ``1 / median ||x||^2``
    for the polynomial and sigmoid kernels (so that gamma <x, y> is of order one); None for kernels without a width,
    which leaves scikit-learn's default. Zero distances (duplicated rows) do not count. Above 2000 rows, a fixed random
    subset.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    kernel : str or callable

    Returns
    -------
    gamma : float or None

    Raises
    ------
    ValueError
        If every distance (or norm) is zero: there is no scale to take.
    """
    if len(X) > _MEDIAN_ROWS:
        X = X[np.random.RandomState(0).choice(len(X), _MEDIAN_ROWS, replace=False)]
    if kernel == "rbf":
        scales = euclidean_distances(X, squared=True)[np.triu_indices(len(X), 1)]
    elif kernel == "laplacian":
        scales = manhattan_distances(X)[np.triu_indices(len(X), 1)]
    elif kernel in ("poly", "polynomial", "sigmoid"):
        scales = np.einsum("ij,ij->i", X, X)
    else:
        return None
    positive = scales[scales > 0]
    if len(positive) == 0:
        raise ValueError("gamma='median' needs rows that differ; all rows are the same. Pass gamma as a number.")
    return float(1.0 / np.median(positive))
