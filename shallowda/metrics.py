"""Distances between domains."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import check_array

__all__ = ["proxy_a_distance"]


def proxy_a_distance(
    Xs: ArrayLike, Xt: ArrayLike, *, cv: int = 5, random_state: int | np.random.RandomState | None = 0
) -> float:
    """Proxy A-distance ``2 (1 - 2 error)`` of a linear classifier that tells the domains apart.

    The error is measured on held-out folds and balanced over the domains. (On the training rows it is zero as soon as
    d >= n, whatever the domains: the distance is then 2 for two samples of one distribution.) Large true shifts also
    reach 2: the distance saturates there and no longer compares.

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
    distance : float in [0, 2]
        0: not told apart, 2: told apart without error. NaN where a domain has fewer than two rows.

    References
    ----------
    S. Ben-David, J. Blitzer, K. Crammer, F. Pereira. "Analysis of representations for domain adaptation". NIPS 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.metrics import proxy_a_distance
    >>> rng = np.random.RandomState(0)
    >>> proxy_a_distance(rng.randn(200, 3), rng.randn(200, 3) + 10)
    2.0
    """
    Xs, Xt = check_array(Xs, ensure_min_samples=0), check_array(Xt, ensure_min_samples=0)
    if Xs.shape[1] != Xt.shape[1]:
        raise ValueError(f"Xs has {Xs.shape[1]} features and Xt {Xt.shape[1]}; they must agree.")
    if cv < 2:
        raise ValueError(f"cv must be at least 2, got {cv}: the error is measured on held-out folds.")
    folds = min(cv, len(Xs), len(Xt))
    if folds < 2:
        return float("nan")
    X, domain = np.concatenate([Xs, Xt]), np.repeat([0, 1], [len(Xs), len(Xt)])
    classifier = make_pipeline(StandardScaler(), LinearSVC(dual=False, class_weight="balanced"))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=random_state)
    predicted = cross_val_predict(classifier, X, domain, cv=splitter)
    error = 1.0 - balanced_accuracy_score(domain, predicted)
    return float(np.clip(2.0 * (1.0 - 2.0 * error), 0.0, 2.0))
