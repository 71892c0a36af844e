"""Distances between domains, tests of whether they differ, and the label shift between them.

Every distance takes the rows of two samples, ``distance(Xs, Xt)``, and is 0 for equal samples (the unbiased ones on
average). Standardise features first unless their units are the same: all but `cmd` and `separability` depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d

from shallowda.core.contract import label_array
from shallowda.core.rows import two_samples
from shallowda.kernels.discrepancies import (
    bures_squared,
    central_moments,
    energy,
    kernel_sums,
    kernel_weights,
    label_ratio,
    linear_time_terms,
    mmd_from_sums,
    permuted_mmd,
    quantile_distance,
)
from shallowda.kernels.moments import mean_and_scatter
from shallowda.kernels.pairwise import Kernel, median_gamma

__all__ = [
    "LabelShift",
    "PermutationTest",
    "Separability",
    "bures_wasserstein",
    "cmd",
    "coral_distance",
    "domain_auc",
    "energy_distance",
    "joint_mmd",
    "label_shift",
    "linear_mmd",
    "mk_mmd",
    "mmd",
    "per_class",
    "permutation_test",
    "proxy_a_distance",
    "separability",
    "sliced_wasserstein",
]

_WIDTHS = 2.0 ** np.arange(-4, 5)  # of the kernels of `mk_mmd`, times the median rule's gamma
_STORED = 2**27  # kernel values that a permutation test keeps


def _kernel(Xs: np.ndarray, Xt: np.ndarray, kernel: str | Callable, gamma: float | str | None) -> Kernel:
    return Kernel(kernel, _width(Xs, Xt, kernel, gamma))


def _width(Xs: np.ndarray, Xt: np.ndarray, kernel: str | Callable, gamma: float | str | None) -> float | None:
    if isinstance(gamma, str):
        if gamma != "median":
            raise ValueError(f"gamma must be a number, 'median' or None; it is {gamma!r}.")
        X = np.concatenate([Xs, Xt])
        # rows that are all the same, but for round-off, have no scale
        same = np.abs(X - X[0]).max() <= np.finfo(float).eps * np.abs(X).max()
        return 1.0 if same else median_gamma(X, kernel)
    return gamma


def mmd(
    Xs: ArrayLike,
    Xt: ArrayLike,
    *,
    kernel: str | Callable = "rbf",
    gamma: float | str | None = "median",
    unbiased: bool = False,
) -> float:
    """Squared maximum mean discrepancy: the squared distance of the means in the feature space of a kernel.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)
    kernel : str or callable, default="rbf"
        As for the estimators: a name of scikit-learn's ``pairwise_kernels``, or a function of two rows.
    gamma : float, "median" or None, default="median"
        "median": the rule of the estimators, from the rows of both samples. None: scikit-learn's default of the kernel.
    unbiased : bool, default=False
        The U-statistic, whose expectation is 0 for equal distributions and which is then negative as often as not.
        Otherwise the V-statistic, a squared norm, positive by about ``2 / n`` for equal distributions.

    Returns
    -------
    squared : float

    Notes
    -----
    Time (n_source + n_target)^2 d; memory of one block. Squared: take the root of the biased one for a distance.

    References
    ----------
    A. Gretton, K. Borgwardt, M. Rasch, B. Schoelkopf, A. Smola. "A kernel two-sample test". JMLR 13, 2012.

    Examples
    --------
    >>> from shallowda.metrics import mmd
    >>> mmd([[0.0], [2.0]], [[3.0], [5.0]], kernel="linear")  # squared distance of the means
    9.0
    """
    Xs, Xt = two_samples(Xs, Xt, 2 if unbiased else 1)
    sums = kernel_sums([_kernel(Xs, Xt, kernel, gamma)], [Xs], [Xt])
    return mmd_from_sums(sums, len(Xs), len(Xt), unbiased=unbiased)


def joint_mmd(
    Zs: Sequence[ArrayLike],
    Zt: Sequence[ArrayLike],
    *,
    gammas: Sequence[float | str] | None = None,
    unbiased: bool = False,
) -> float:
    """Squared MMD of several views of the rows at once, such as features and class probabilities.

    The kernel is the product of an RBF kernel for each view, so that it sees how the views depend on each other: two
    domains whose views agree one by one may still differ.

    Parameters
    ----------
    Zs : sequence of array-likes of shape (n_source, d_l)
    Zt : sequence of array-likes of shape (n_target, d_l)
    gammas : sequence of float or "median", optional
        One for each view; the median rule by default.
    unbiased : bool, default=False

    Returns
    -------
    squared : float

    References
    ----------
    M. Long, H. Zhu, J. Wang, M. I. Jordan. "Deep transfer learning with joint adaptation networks". ICML 2017.

    Examples
    --------
    >>> from shallowda.metrics import joint_mmd
    >>> X, p = [[0.0], [1.0]], [[1.0, 0.0], [0.0, 1.0]]
    >>> round(joint_mmd([X, p], [X, p[::-1]]), 2)
    0.4
    """
    if len(Zs) != len(Zt) or not len(Zs):
        raise ValueError(f"Zs and Zt must hold the same views, at least one; they hold {len(Zs)} and {len(Zt)}.")
    views = [two_samples(one, other, 2 if unbiased else 1) for one, other in zip(Zs, Zt, strict=True)]
    source, target = [view[0] for view in views], [view[1] for view in views]
    check_consistent_length(*source)
    check_consistent_length(*target)
    widths = ["median"] * len(views) if gammas is None else gammas
    kernels = [_kernel(*view, "rbf", gamma) for view, gamma in zip(views, widths, strict=True)]
    return mmd_from_sums(kernel_sums(kernels, source, target), len(source[0]), len(target[0]), unbiased=unbiased)


def linear_mmd(
    Xs: ArrayLike,
    Xt: ArrayLike,
    *,
    gamma: float | str = "median",
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """Squared MMD of an RBF kernel in time linear in the number of rows: unbiased, of larger variance than `mmd`.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)
        Of the larger sample only as many rows as the smaller one has are looked at.
    gamma : float or "median", default="median"
    random_state : int, RandomState or None, default=0
        Shuffles the rows, which the estimate takes in pairs: rows sorted by class would spoil it.

    Returns
    -------
    squared : float
        Negative as often as not for equal distributions.

    References
    ----------
    As `mmd`, section 6.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.metrics import linear_mmd
    >>> rng = np.random.RandomState(0)
    >>> linear_mmd(rng.randn(2000, 2), rng.randn(2000, 2) + 3) > 0.5
    True
    """
    Xs, Xt = two_samples(Xs, Xt, 2)
    random = check_random_state(random_state)
    Xs, Xt = random.permutation(Xs), random.permutation(Xt)
    width = _width(Xs, Xt, "rbf", gamma)
    return float(linear_time_terms(1.0 / Xs.shape[1] if width is None else width, Xs, Xt).mean())


def mk_mmd(
    Xs: ArrayLike,
    Xt: ArrayLike,
    *,
    gammas: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> tuple[float, np.ndarray]:
    """Squared MMD of the non-negative combination of RBF kernels that tells the samples apart best.

    The weights are chosen on one half of the rows, for the largest ratio of the discrepancy to its standard deviation;
    the discrepancy is that of the other half (unbiased, all pairs), so that choosing does not inflate it.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d), n_source >= 8
    Xt : array-like of shape (n_target, d), n_target >= 8
    gammas : array-like of shape (n_kernels,), optional
        Default: the median rule's times 2^-4 to 2^4.
    random_state : int, RandomState or None, default=0
        Halves the samples.

    Returns
    -------
    squared : float
    weights : ndarray of shape (n_kernels,)
        Their sum is 1.

    References
    ----------
    A. Gretton, B. Sriperumbudur, D. Sejdinovic, H. Strathmann, S. Balakrishnan, M. Pontil, K. Fukumizu. "Optimal kernel
    choice for large-scale two-sample tests". NIPS 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.metrics import mk_mmd
    >>> rng = np.random.RandomState(0)
    >>> squared, weights = mk_mmd(rng.randn(200, 2), rng.randn(200, 2) + 1)
    >>> bool(squared > 0), float(weights.sum().round(6))
    (True, 1.0)
    """
    Xs, Xt = two_samples(Xs, Xt, 8)
    random = check_random_state(random_state)
    Xs, Xt = random.permutation(Xs), random.permutation(Xt)
    if gammas is None:
        widths = _WIDTHS * np.float64(_width(Xs, Xt, "rbf", "median"))
    else:
        widths = column_or_1d(np.asarray(gammas, dtype=float))
        if not (len(widths) and np.all(widths > 0)):
            raise ValueError(f"gammas must be positive, at least one; got {gammas!r}.")
    half_s, half_t = len(Xs) // 2, len(Xt) // 2
    terms = [linear_time_terms(float(width), Xs[:half_s], Xt[:half_t]) for width in widths]
    weights = kernel_weights(np.stack(terms, axis=1))
    rest_s, rest_t = Xs[half_s:], Xt[half_t:]
    squared = sum(
        weight * mmd(rest_s, rest_t, gamma=g, unbiased=True)
        for weight, g in zip(weights, widths, strict=True)
        if weight
    )
    return float(squared), weights


def coral_distance(Xs: ArrayLike, Xt: ArrayLike) -> float:
    """Distance of the covariances ``||C_s - C_t||_F^2 / (4 d^2)``, divisor n - 1.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d), n_source >= 2
    Xt : array-like of shape (n_target, d), n_target >= 2

    Returns
    -------
    distance : float

    References
    ----------
    B. Sun, K. Saenko. "Deep CORAL: correlation alignment for deep domain adaptation". ECCV workshops 2016.

    Examples
    --------
    >>> from shallowda.metrics import coral_distance
    >>> coral_distance([[0.0], [2.0]], [[0.0], [4.0]])  # variances 2 and 8
    9.0
    """
    Xs, Xt = two_samples(Xs, Xt, 2)
    scatters = [mean_and_scatter(X)[1] / (len(X) - 1) for X in (Xs, Xt)]
    return float(np.sum((scatters[0] - scatters[1]) ** 2)) / (4 * Xs.shape[1] ** 2)


def cmd(Xs: ArrayLike, Xt: ArrayLike, *, n_moments: int = 5, bounds: tuple | None = None) -> float:
    """Central moment discrepancy: distance of the means, and of the central moments of each feature.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)
    n_moments : int, default=5
    bounds : tuple (low, high) of floats or arrays of shape (d,), optional
        Features are taken relative to this range and cut off at its ends, as the measure is one for bounded variables.
        Default: the 1 % and 99 % quantiles of each feature over both samples, which makes it free of units.

    Returns
    -------
    discrepancy : float
        At least 0. For equal distributions about 0.02 in one dimension, 0.06 in 10 and 0.2 in 100, with 500 rows of
        either: it grows as the root of d, and falls as that of the rows. Sees each feature alone: correlations do not
        count.

    References
    ----------
    W. Zellinger, T. Grubinger, E. Lughofer, T. Natschlaeger, S. Saminger-Platz. "Central moment discrepancy (CMD) for
    domain-invariant representation learning". ICLR 2017.

    Examples
    --------
    >>> from shallowda.metrics import cmd
    >>> cmd([[0.0], [0.5]], [[0.5], [1.0]], bounds=(0, 1))  # the means alone differ
    0.5
    """
    Xs, Xt = two_samples(Xs, Xt)
    if n_moments < 1:
        raise ValueError(f"n_moments must be at least 1; it is {n_moments}.")
    low, high = np.quantile(np.concatenate([Xs, Xt]), [0.01, 0.99], axis=0) if bounds is None else bounds
    width = np.asarray(high, dtype=float) - low
    if np.any(width < 0) or (bounds is not None and np.any(width == 0)):
        raise ValueError("bounds must be (low, high) with low below high for each feature.")
    width = np.where(width > 0, width, 1.0)  # a constant feature has no moments to differ in
    scaled = [(np.clip(X, low, high) - low) / width for X in (Xs, Xt)]
    gaps = central_moments(scaled[0], n_moments) - central_moments(scaled[1], n_moments)
    return float(np.linalg.norm(gaps, axis=1).sum())


def energy_distance(Xs: ArrayLike, Xt: ArrayLike) -> float:
    """Energy distance ``2 E||s - t|| - E||s - s'|| - E||t - t'||`` of rows in Euclidean space.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)

    Returns
    -------
    distance : float
        At least 0 (means over all pairs, a row with itself included). In one dimension the square of
        ``scipy.stats.energy_distance``.

    References
    ----------
    G. J. Szekely, M. L. Rizzo. "Energy statistics: a class of statistics based on distances". Journal of Statistical
    Planning and Inference 143, 2013.

    Examples
    --------
    >>> from shallowda.metrics import energy_distance
    >>> energy_distance([[0.0]], [[3.0]])
    6.0
    """
    return energy(*two_samples(Xs, Xt))


def sliced_wasserstein(
    Xs: ArrayLike, Xt: ArrayLike, *, n_projections: int = 100, random_state: int | np.random.RandomState | None = 0
) -> float:
    """Sliced 2-Wasserstein distance: the root mean square, over random directions, of the distance along each.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)
    n_projections : int, default=100
    random_state : int, RandomState or None, default=0

    Returns
    -------
    distance : float
        In the units of the features. Along one direction it is exact, for samples of any two sizes.

    References
    ----------
    N. Bonneel, J. Rabin, G. Peyre, H. Pfister. "Sliced and Radon Wasserstein barycenters of measures". Journal of
    Mathematical Imaging and Vision 51, 2015.

    Examples
    --------
    >>> from shallowda.metrics import sliced_wasserstein
    >>> sliced_wasserstein([[0.0], [1.0]], [[3.0], [4.0]])
    3.0
    """
    Xs, Xt = two_samples(Xs, Xt)
    if n_projections < 1:
        raise ValueError(f"n_projections must be at least 1; it is {n_projections}.")
    directions = check_random_state(random_state).standard_normal((Xs.shape[1], n_projections))
    directions /= np.linalg.norm(directions, axis=0)
    return float(np.sqrt(quantile_distance(Xs @ directions, Xt @ directions).mean()))


def bures_wasserstein(Xs: ArrayLike, Xt: ArrayLike) -> float:
    """2-Wasserstein distance of the normal distributions that have the samples' means and covariances.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d), n_source >= 2
    Xt : array-like of shape (n_target, d), n_target >= 2

    Returns
    -------
    distance : float
        In the units of the features. (Its square is known as Frechet distance.)

    References
    ----------
    D. C. Dowson, B. V. Landau. "The Frechet distance between multivariate normal distributions". Journal of
    Multivariate Analysis 12, 1982.

    Examples
    --------
    >>> from shallowda.metrics import bures_wasserstein
    >>> bures_wasserstein([[0.0], [2.0]], [[3.0], [5.0]])
    3.0
    """
    return float(np.sqrt(sum(bures_squared(*two_samples(Xs, Xt, 2)))))


class Separability(NamedTuple):
    """How well a linear classifier tells the domains apart on rows that it was not trained on.

    Attributes
    ----------
    a_distance : float in [0, 2]
        Proxy A-distance ``2 (1 - 2 error)``, from the error that is balanced over the domains.
    standard_error : float
        Of the A-distance, from the binomial errors of either domain.
    auc : float in [0, 1]
        Area under the ROC curve: 0.5 where the domains look alike.
    saturated : bool
        Whether the A-distance is within two standard errors, or 0.05, of 2: larger shifts would look the same.
    """

    a_distance: float
    standard_error: float
    auc: float
    saturated: bool


def separability(
    Xs: ArrayLike, Xt: ArrayLike, *, cv: int = 5, random_state: int | np.random.RandomState | None = 0
) -> Separability:
    """Tell the domains apart by a linear classifier, on held-out folds.

    On the training rows its error is zero as soon as d >= n, whatever the domains: the A-distance is then 2 for two
    samples of one distribution.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)
        Reduce d first where it is not small against the number of rows.
    cv : int, default=5
        Folds; fewer where a domain has fewer rows.
    random_state : int, RandomState or None, default=0
        Shuffles the folds.

    Returns
    -------
    separability : Separability
        NaN where a domain has fewer than two rows.

    References
    ----------
    S. Ben-David, J. Blitzer, K. Crammer, F. Pereira. "Analysis of representations for domain adaptation". NIPS 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.metrics import separability
    >>> rng = np.random.RandomState(0)
    >>> separability(rng.randn(200, 3), rng.randn(200, 3) + 10)
    Separability(a_distance=2.0, standard_error=0.0, auc=1.0, saturated=True)
    """
    Xs, Xt = two_samples(Xs, Xt, 0)
    if cv < 2:
        raise ValueError(f"cv must be at least 2, got {cv}: the error is measured on held-out folds.")
    folds = min(cv, len(Xs), len(Xt))
    if folds < 2:
        return Separability(float("nan"), float("nan"), float("nan"), False)
    X, domain = np.concatenate([Xs, Xt]), np.repeat([0, 1], [len(Xs), len(Xt)])
    classifier = make_pipeline(StandardScaler(), LinearSVC(dual=False, class_weight="balanced", random_state=0))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=random_state)
    decision = cross_val_predict(classifier, X, domain, cv=splitter, method="decision_function")
    wrong = (decision > 0) != domain
    errors = [float(wrong[domain == code].mean()) for code in (0, 1)]
    variance = sum(error * (1 - error) / np.sum(domain == code) for code, error in enumerate(errors))
    distance = float(np.clip(2.0 - 2.0 * sum(errors), 0.0, 2.0))
    deviation = float(2.0 * np.sqrt(variance))
    auc = float(roc_auc_score(domain, decision))
    return Separability(distance, deviation, auc, bool(2.0 - distance <= max(2 * deviation, 0.05)))


def proxy_a_distance(
    Xs: ArrayLike, Xt: ArrayLike, *, cv: int = 5, random_state: int | np.random.RandomState | None = 0
) -> float:
    """Proxy A-distance ``2 (1 - 2 error)`` of a linear classifier that tells the domains apart on held-out folds.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)
    cv : int, default=5
    random_state : int, RandomState or None, default=0
        All as for `separability`, which also says how sure the figure is, and whether it is saturated.

    Returns
    -------
    distance : float in [0, 2]
        0: not told apart, 2: told apart without error. NaN where a domain has fewer than two rows.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.metrics import proxy_a_distance
    >>> rng = np.random.RandomState(0)
    >>> proxy_a_distance(rng.randn(200, 3), rng.randn(200, 3) + 10)
    2.0
    """
    return separability(Xs, Xt, cv=cv, random_state=random_state).a_distance


def domain_auc(
    Xs: ArrayLike, Xt: ArrayLike, *, cv: int = 5, random_state: int | np.random.RandomState | None = 0
) -> float:
    """Area under the ROC curve of a linear classifier that tells the domains apart on held-out folds.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)
    cv : int, default=5
    random_state : int, RandomState or None, default=0
        All as for `separability`.

    Returns
    -------
    auc : float in [0, 1]
        0.5 where the domains look alike, 1 where they do not overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.metrics import domain_auc
    >>> rng = np.random.RandomState(0)
    >>> domain_auc(rng.randn(200, 3), rng.randn(200, 3) + 10)
    1.0
    """
    return separability(Xs, Xt, cv=cv, random_state=random_state).auc


def per_class(
    distance: Callable[..., float], Xs: ArrayLike, ys: ArrayLike, Xt: ArrayLike, yt: ArrayLike, **options: Any
) -> dict[Any, float]:
    """A distance between the domains within each class.

    Parameters
    ----------
    distance : callable
        One of this module, ``distance(Xs, Xt, **options)``.
    Xs : array-like of shape (n_source, d)
    ys : array-like of shape (n_source,)
    Xt : array-like of shape (n_target, d)
    yt : array-like of shape (n_target,)
        Predicted labels, as a rule: what is wrong with them is wrong with the distances.
    **options
        Passed on.

    Returns
    -------
    distances : dict
        By class of the source; NaN where a class has fewer than two rows in either domain.

    Examples
    --------
    >>> from shallowda.metrics import energy_distance, per_class
    >>> ys = yt = [0, 0, 1, 1]
    >>> per_class(energy_distance, [[0.0], [0.0], [1.0], [1.0]], ys, [[0.0], [0.0], [3.0], [3.0]], yt)
    {0: 0.0, 1: 4.0}
    """
    Xs, Xt = two_samples(Xs, Xt)
    ys, yt = column_or_1d(label_array(ys)), column_or_1d(label_array(yt))
    check_consistent_length(Xs, ys)
    check_consistent_length(Xt, yt)
    result = {}
    for label in np.unique(ys).tolist():
        of_source, of_target = Xs[ys == label], Xt[yt == label]
        enough = min(len(of_source), len(of_target)) >= 2
        result[label] = float(distance(of_source, of_target, **options)) if enough else float("nan")
    return result


class LabelShift(NamedTuple):
    """Class shares of the target, as far as the predictions of one classifier tell.

    Attributes
    ----------
    classes : ndarray of shape (C,)
    ratio : ndarray of shape (C,)
        Target share over source share.
    target_prior : ndarray of shape (C,)
        Shares in the target; their sum is 1.
    condition : float
        Condition number of the confusion matrix: by so much, errors in it may grow.
    """

    classes: np.ndarray
    ratio: np.ndarray
    target_prior: np.ndarray
    condition: float


def label_shift(ys: ArrayLike, predicted_source: ArrayLike, predicted_target: ArrayLike) -> LabelShift:
    """Class shares of the target by black box shift estimation.

    The confusion matrix of a classifier on held-out source rows explains the shares of its predictions on the target,
    if class shares are all that changed. Solved by least squares under the constraints that shares are not negative and
    sum to one.

    Parameters
    ----------
    ys : array-like of shape (n_source,)
        Labels of source rows that the classifier was *not* trained on.
    predicted_source : array-like of shape (n_source,)
        Its predictions there.
    predicted_target : array-like of shape (n_target,)

    Returns
    -------
    shift : LabelShift

    Raises
    ------
    ValueError
        If a class is never predicted on the source: its share cannot be told.

    Notes
    -----
    The estimate means nothing where p(x | y) differs between the domains, which it cannot see.

    References
    ----------
    Z. C. Lipton, Y.-X. Wang, A. Smola. "Detecting and correcting for label shift with black box predictors". ICML 2018.

    Examples
    --------
    >>> from shallowda.metrics import label_shift
    >>> shift = label_shift([0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1])
    >>> shift.target_prior
    array([0.25, 0.75])
    """
    ys, predicted_source, predicted_target = (
        column_or_1d(label_array(labels)) for labels in (ys, predicted_source, predicted_target)
    )
    check_consistent_length(ys, predicted_source)
    if not len(predicted_target):
        raise ValueError("predicted_target is empty: there is no target row to tell class shares from.")
    classes = np.unique(ys)
    if strange := sorted({*predicted_source.tolist(), *predicted_target.tolist()} - set(classes.tolist())):
        raise ValueError(f"The predictions hold classes that ys does not: {strange}.")
    confusion = confusion_matrix(predicted_source, ys, labels=classes) / len(ys)  # rows: predicted
    if never := classes[confusion.sum(axis=1) == 0].tolist():
        raise ValueError(
            f"The classes {never} are never predicted on the source, so their shares in the target cannot be told. Use "
            "a better classifier, or leave these classes out."
        )
    shares = np.array([np.mean(predicted_target == label) for label in classes])
    prior = confusion.sum(axis=0)
    ratio = label_ratio(confusion, shares, prior)
    return LabelShift(classes, ratio, ratio * prior, float(np.linalg.cond(confusion)))


class PermutationTest(NamedTuple):
    """Result of `permutation_test`.

    Attributes
    ----------
    statistic : float
        The distance of the samples as they are.
    p_value : float
        Share of distances at least as large after random exchanges of rows, the given samples counted in.
    null : ndarray of shape (n_permutations,)
        The distances after the exchanges.
    """

    statistic: float
    p_value: float
    null: np.ndarray


def permutation_test(
    Xs: ArrayLike,
    Xt: ArrayLike,
    *,
    distance: Callable[[np.ndarray, np.ndarray], float] = mmd,
    n_permutations: int = 200,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> PermutationTest:
    """Test whether two samples come from one distribution: how often chance alone makes a distance as large.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d)
    Xt : array-like of shape (n_target, d)
    distance : callable, default=mmd
        A function of two samples, such as those of this module; ``functools.partial`` sets its options. For `mmd`
        itself all permutations share one kernel matrix.
    n_permutations : int, default=200
    n_jobs : int, optional
        For other distances.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    test : PermutationTest
        The level of the test is exact: a true null hypothesis gives p <= 0.05 in at most 5 % of all samples.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.metrics import permutation_test
    >>> rng = np.random.RandomState(0)
    >>> permutation_test(rng.randn(40, 3), rng.randn(40, 3) + 2, n_permutations=99).p_value
    0.01
    """
    Xs, Xt = two_samples(Xs, Xt)
    if n_permutations < 1:
        raise ValueError(f"n_permutations must be at least 1; it is {n_permutations}.")
    X, n_source = np.concatenate([Xs, Xt]), len(Xs)
    random = check_random_state(random_state)
    orders = np.stack([np.arange(len(X)), *(random.permutation(len(X)) for _ in range(n_permutations))])
    if distance is mmd and len(X) ** 2 <= _STORED:
        values = permuted_mmd(_kernel(Xs, Xt, "rbf", "median")(X), n_source, orders)
    else:
        if distance is mmd:  # the width is that of both samples, so the same for all
            distance = partial(mmd, gamma=median_gamma(X, "rbf"))
        values = np.asarray(
            Parallel(n_jobs=n_jobs)(delayed(distance)(X[order[:n_source]], X[order[n_source:]]) for order in orders)
        )
    as_large = values[1:] >= values[0] - 1e-12 * max(abs(values[0]), 1e-300)
    return PermutationTest(float(values[0]), float((1 + as_large.sum()) / (1 + n_permutations)), values[1:])
