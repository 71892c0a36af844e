"""Cross-validation without target labels: splitters that keep the target in training, and a source score.

These two make any scikit-learn search run without a target label. Source accuracy says how well the adapted classifier
does on the *source*; it rules out settings that destroy the classes, and cannot see whether the target is served.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score
from sklearn.model_selection import BaseCrossValidator, KFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from shallowda.domains import domain_codes, known_labels, label_array, row_domains
from shallowda.pipeline import accepts_domains, domain_readers_inside

__all__ = ["SourceTargetKFold", "StratifiedSourceTargetKFold", "source_accuracy"]


class SourceTargetKFold(BaseCrossValidator):
    """K folds over the source rows; every target row is in every training part, and none in a test part.

    Parameters
    ----------
    n_splits : int, default=5
    shuffle : bool, default=True
        Source rows often come sorted by class.
    random_state : int, RandomState or None, default=None
        Seed of the shuffle.

    Examples
    --------
    >>> from shallowda.model_selection import SourceTargetKFold
    >>> y = [0, -1, 1, 0, -1, 1]
    >>> for train, test in SourceTargetKFold(2, shuffle=False).split(y, y):
    ...     print(train, test)
    [1 3 4 5] [0 2]
    [0 1 2 4] [3 5]
    """

    __metadata_request__split = {"sample_domain": True}

    _folds: type = KFold

    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = True, random_state: int | np.random.RandomState | None = None
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def split(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        *,
        sample_domain: ArrayLike | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row indices of training and test part of each fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Marks the target rows.
        groups : array-like of shape (n_samples,), optional
            Stands in for `sample_domain` where metadata routing is off: ``search.fit(X, y, groups=sample_domain,
            ...)``.
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for source rows, < 0 for target rows; needed where y does not mark the target.

        Yields
        ------
        train, test : ndarray of int
        """
        if y is None:
            raise ValueError("The target rows must be marked: pass y.")
        y = np.asarray(y)
        codes = row_domains(y, groups if sample_domain is None else sample_domain, len(y))
        source, target = np.flatnonzero(codes >= 0), np.flatnonzero(codes < 0)
        state = self.random_state if self.shuffle else None
        folds = self._folds(self.n_splits, shuffle=self.shuffle, random_state=state)
        labels = y[source]
        labels = labels.astype(str) if labels.dtype.kind == "O" else labels
        for train, test in folds.split(source, labels):
            yield np.sort(np.concatenate([source[train], target])), source[test]

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, *, sample_domain: Any = None) -> int:
        """Number of folds.

        Parameters
        ----------
        X, y, groups, sample_domain : object
            Ignored.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits


class StratifiedSourceTargetKFold(SourceTargetKFold):
    """`SourceTargetKFold` with the source's class shares in every fold.

    Parameters
    ----------
    n_splits : int, default=5
    shuffle : bool, default=True
    random_state : int, RandomState or None, default=None

    Examples
    --------
    >>> from shallowda.model_selection import StratifiedSourceTargetKFold
    >>> y = [0, 0, 1, 1, -1]
    >>> [test.tolist() for _, test in StratifiedSourceTargetKFold(2, shuffle=False).split(y, y)]
    [[0, 2], [1, 3]]
    """

    _folds = StratifiedKFold


def source_accuracy(estimator: Any, X: ArrayLike, y: ArrayLike, *, sample_domain: ArrayLike | None = None) -> float:
    """Scorer: accuracy on labelled source rows, each mapped as the source row it is.

    Use as ``scoring=source_accuracy`` with `StratifiedSourceTargetKFold`. Rows marked as unlabelled do not count. It
    walks a `Pipeline` step by step, so that adapters with a source map of their own (CORAL, SubspaceAlignment,
    PerDomain) apply it; scikit-learn's "accuracy" maps held-out source rows as if they were target.

    Parameters
    ----------
    estimator : fitted estimator or Pipeline
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    sample_domain : array-like of shape (n_samples,), optional
        Needed when `PerDomain` was fitted on several sources: rows >= 0 count. Default: every labelled row is of source
        0.

    Returns
    -------
    accuracy : float

    Notes
    -----
    Range 0 to 1, larger is better. It fails silently when the adaptation serves the source and not the target: it is
    highest without adaptation as often as not. It is a check, not a choice.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from shallowda import TCAEstimator, pack_domains
    >>> from shallowda.model_selection import StratifiedSourceTargetKFold, source_accuracy
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1], 30)
    >>> Xs = rng.randn(60, 4) + 3 * np.eye(4)[ys]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xs + [0, 0, 0, 5])
    >>> cv = StratifiedSourceTargetKFold(3, random_state=0)
    >>> search = GridSearchCV(TCAEstimator(), {"n_components": [1, 3]}, scoring=source_accuracy, cv=cv).fit(X, y)
    >>> sorted(search.best_params_)
    ['n_components']
    """
    y = label_array(y)
    if sample_domain is None:
        known = known_labels(y, getattr(estimator, "classes_", None))
        codes = np.where(known, 0, -1)
    else:
        codes = domain_codes(sample_domain, len(y))
        known = codes >= 0
    predicted = _predict(estimator, X, codes)
    return float(accuracy_score(y[known], predicted[known]))


def _predict(estimator: Any, X: Any, codes: np.ndarray) -> np.ndarray:
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, Pipeline):
        return _predict(estimator.steps[-1][1], _transform(estimator[:-1], X, codes), codes)
    return estimator.predict(X, **_domain_of_rows(estimator, "predict", codes))


def _transform(step: Any, X: Any, codes: np.ndarray) -> Any:
    if isinstance(step, Pipeline):
        for _, inner in step.steps:
            X = _transform(inner, X, codes)
        return X
    if step is None or isinstance(step, str):  # "passthrough"
        return X
    return step.transform(X, **_domain_of_rows(step, "transform", codes))


def _domain_of_rows(estimator: Any, method: str, codes: np.ndarray) -> dict:
    if accepts_domains(estimator, method):
        return {"sample_domain": codes}
    if inside := domain_readers_inside(estimator):
        raise ValueError(
            f"source_accuracy cannot reach the source map of {inside[0]} inside {type(estimator).__name__}: it would "
            "score source rows by the target's map. Put it in a step of its own."
        )
    return {}
