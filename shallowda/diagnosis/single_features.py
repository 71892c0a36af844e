"""How the domains differ in each feature by itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control, ks_2samp

from shallowda.core.rows import two_samples

__all__ = ["FeatureShift", "feature_shift"]


class FeatureShift(NamedTuple):
    """How each feature differs between the domains.

    Attributes
    ----------
    mean_difference : ndarray of shape (d,)
        Target mean minus source mean, over the root of the average of both variances. Infinite where the feature is
        constant in either domain, at different values.
    variance_ratio : ndarray of shape (d,)
        Target variance over source variance; 1 where both are zero.
    ks : ndarray of shape (d,)
        Kolmogorov-Smirnov statistic, 0 to 1: the largest gap between the two distribution functions.
    p_value : ndarray of shape (d,)
        Of the statistic (asymptotic), adjusted for the number of features (Benjamini-Hochberg).
    """

    mean_difference: np.ndarray
    variance_ratio: np.ndarray
    ks: np.ndarray
    p_value: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """Indices of the features, the most shifted first: by `ks`, then by `mean_difference`."""
        return np.lexsort((-np.abs(self.mean_difference), -self.ks))


def feature_shift(Xs: ArrayLike, Xt: ArrayLike) -> FeatureShift:
    """Compare the domains feature by feature.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d), n_source >= 2
    Xt : array-like of shape (n_target, d), n_target >= 2

    Returns
    -------
    shift : FeatureShift

    Notes
    -----
    Time d n log n.

    Examples
    --------
    >>> from shallowda.diagnosis import feature_shift
    >>> shift = feature_shift([[0.0, 1.0], [2.0, 3.0]], [[4.0, 1.0], [6.0, 3.0]])
    >>> shift.ks
    array([1., 0.])
    >>> shift.order
    array([0, 1])
    """
    Xs, Xt = two_samples(Xs, Xt, 2)
    gaps = Xt.mean(axis=0) - Xs.mean(axis=0)
    variances = [np.where(np.ptp(X, axis=0) > 0, X.var(axis=0, ddof=1), 0.0) for X in (Xs, Xt)]
    gaps = np.where((variances[0] + variances[1] > 0) | (Xs[0] != Xt[0]), gaps, 0.0)  # equal constants, not rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.where(gaps == 0, 0.0, gaps / np.sqrt((variances[0] + variances[1]) / 2))
        ratio = np.where(variances[0] == variances[1], 1.0, variances[1] / variances[0])
    tests = [ks_2samp(s, t, method="asymp") for s, t in zip(Xs.T, Xt.T, strict=True)]
    ks = np.array([float(test.statistic) for test in tests])
    return FeatureShift(difference, ratio, ks, false_discovery_control([float(test.pvalue) for test in tests]))
