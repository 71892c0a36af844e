"""Preprocessing by name: what happens to the rows of a pair before a method sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler, normalize

from shallowda.pipeline import PerDomain

__all__ = ["STEPS", "preprocess"]


def _row_sum(X: np.ndarray, domains: np.ndarray) -> np.ndarray:
    sums = X.sum(axis=1, keepdims=True)
    return X / np.where(sums == 0, 1, sums)


def _unit_rows(X: np.ndarray, domains: np.ndarray) -> np.ndarray:
    return normalize(X)


def _zscore(X: np.ndarray, domains: np.ndarray) -> np.ndarray:
    return StandardScaler().fit_transform(X)


def _zscore_per_domain(X: np.ndarray, domains: np.ndarray) -> np.ndarray:
    return PerDomain(StandardScaler()).fit_transform(X, sample_domain=domains)


def _impute_median(X: np.ndarray, domains: np.ndarray) -> np.ndarray:
    return SimpleImputer(strategy="median", keep_empty_features=True).fit_transform(X)


def _log1p(X: np.ndarray, domains: np.ndarray) -> np.ndarray:
    if np.nanmin(X) < 0:
        raise ValueError("the step 'log1p' is for features that are not negative, and some are.")
    return np.log1p(X)


#: Step by name. ``row-sum``: each row divided by its sum. ``unit-rows``: by its Euclidean norm. ``zscore``: each
#: feature to mean 0 and variance 1 over the rows of all domains together. ``zscore-per-domain``: in each domain.
#: ``impute-median``: missing values become the feature's median over all rows. ``log1p``: log(1 + x).
STEPS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "row-sum": _row_sum,
    "unit-rows": _unit_rows,
    "zscore": _zscore,
    "zscore-per-domain": _zscore_per_domain,
    "impute-median": _impute_median,
    "log1p": _log1p,
}


def preprocess(steps: Iterable[str], X: np.ndarray, domains: np.ndarray) -> np.ndarray:
    """Apply steps, in order.

    Parameters
    ----------
    steps : iterable of str
        Names of `STEPS`.
    X : ndarray of shape (n, d)
        Not written to.
    domains : ndarray of shape (n,), int
        Domain of each row, >= 0 source and < 0 target.

    Returns
    -------
    X : ndarray of shape (n, d)

    Raises
    ------
    ValueError
        If the rows do not suit a step.
    """
    for step in steps:
        X = STEPS[step](X, domains)
    return X
