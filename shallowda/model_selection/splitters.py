"""Splitters that keep the target in training and split the labelled source rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import (
    BaseCrossValidator,
    KFold,
    LeaveOneGroupOut,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
)
from sklearn.utils import check_random_state

from shallowda.core.contract import label_array, row_domains

__all__ = [
    "LeaveOneSourceOut",
    "SourceTargetKFold",
    "SourceTargetShuffleSplit",
    "StratifiedSourceTargetKFold",
    "StratifiedSourceTargetShuffleSplit",
]

Split = tuple[np.ndarray, np.ndarray]


class _SourceTargetSplitter(BaseCrossValidator, ABC):
    """Splits of the source rows, to which the target rows are added."""

    __metadata_request__split = {"sample_domain": True}

    target_test: bool | float
    random_state: int | np.random.RandomState | None

    @abstractmethod
    def _source_splits(self, codes: np.ndarray, labels: np.ndarray, random: np.random.RandomState) -> Iterator[Split]:
        """Positions of training and test part among the source rows, whose domains and labels these are."""

    def split(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        *,
        sample_domain: ArrayLike | None = None,
    ) -> Iterator[Split]:
        """Row indices of training and test part of each split.

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
            In ascending order.
        """
        codes, y = self._read(y, groups if sample_domain is None else sample_domain)
        share = self._target_share()
        source, target = np.flatnonzero(codes >= 0), np.flatnonzero(codes < 0)
        random = check_random_state(self.random_state)
        labels = y[source]
        labels = labels.astype(str) if labels.dtype.kind == "O" else labels
        for train, test in self._source_splits(codes[source], labels, random):
            held_out = np.sort(random.permutation(target)[: round(share * len(target))]) if share < 1 else target
            kept = np.setdiff1d(target, held_out) if share < 1 else target
            yield np.sort(np.concatenate([source[train], kept])), np.sort(np.concatenate([source[test], held_out]))

    def _read(self, y: Any, sample_domain: Any) -> tuple[np.ndarray, np.ndarray]:
        if y is None:
            raise ValueError("The target rows must be marked: pass y.")
        y = label_array(y)
        return row_domains(y, sample_domain, len(y)), y

    def _target_share(self) -> float:
        """Share of the target rows in a test part; 1 leaves them in the training part as well."""
        if isinstance(self.target_test, (bool, np.bool_)):
            return float(self.target_test)
        if not 0 < self.target_test < 1:
            raise ValueError(f"target_test must be a bool or a share between 0 and 1; it is {self.target_test!r}.")
        return float(self.target_test)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, *, sample_domain: Any = None) -> int:
        """Number of splits.

        Parameters
        ----------
        X, y, groups, sample_domain : object
            Ignored.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits


class SourceTargetKFold(_SourceTargetSplitter):
    """K folds over the source rows; every target row is in every training part.

    Parameters
    ----------
    n_splits : int, default=5
    shuffle : bool, default=True
        Source rows often come sorted by class.
    random_state : int, RandomState or None, default=None
        Seed of the shuffle, and of the target rows that are held out.
    target_test : bool or float, default=False
        Target rows in the test parts, without which label-free scores have nothing to look at. True: all of them, in
        the training part as well (they have no labels to leak). A share between 0 and 1: so many are held out, others
        in each split. Only scorers of this package know that marked rows have no label: scikit-learn's "accuracy"
        counts them as errors, without a word.

    Examples
    --------
    >>> from shallowda.model_selection import SourceTargetKFold
    >>> y = [0, -1, 1, 0, -1, 1]
    >>> for train, test in SourceTargetKFold(2, shuffle=False).split(y, y):
    ...     print(train, test)
    [1 3 4 5] [0 2]
    [0 1 2 4] [3 5]
    >>> for train, test in SourceTargetKFold(2, shuffle=False, target_test=True).split(y, y):
    ...     print(train, test)
    [1 3 4 5] [0 1 2 4]
    [0 1 2 4] [1 3 4 5]
    """

    _folds: type = KFold

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        target_test: bool | float = False,
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state
        self.target_test = target_test

    def _source_splits(self, codes: np.ndarray, labels: np.ndarray, random: np.random.RandomState) -> Iterator[Split]:
        state = random if self.shuffle else None
        return self._folds(self.n_splits, shuffle=self.shuffle, random_state=state).split(labels, labels)


class StratifiedSourceTargetKFold(SourceTargetKFold):
    """`SourceTargetKFold` with the source's class shares in every fold.

    Parameters
    ----------
    n_splits : int, default=5
    shuffle : bool, default=True
    random_state : int, RandomState or None, default=None
    target_test : bool or float, default=False
        See `SourceTargetKFold`.

    Examples
    --------
    >>> from shallowda.model_selection import StratifiedSourceTargetKFold
    >>> y = [0, 0, 1, 1, -1]
    >>> [test.tolist() for _, test in StratifiedSourceTargetKFold(2, shuffle=False).split(y, y)]
    [[0, 2], [1, 3]]
    """

    _folds = StratifiedKFold


class SourceTargetShuffleSplit(_SourceTargetSplitter):
    """Random test parts of the source rows; every target row is in every training part.

    Parameters
    ----------
    n_splits : int, default=10
    test_size : float or int, default=0.2
        Share, or number, of the source rows in a test part.
    random_state : int, RandomState or None, default=None
    target_test : bool or float, default=False
        See `SourceTargetKFold`.

    Examples
    --------
    >>> from shallowda.model_selection import SourceTargetShuffleSplit
    >>> y = [0, -1, 1, 0, -1, 1]
    >>> cv = SourceTargetShuffleSplit(2, test_size=0.5, random_state=0)
    >>> [(len(train), len(test)) for train, test in cv.split(y, y)]
    [(4, 2), (4, 2)]
    """

    _splits: type = ShuffleSplit

    def __init__(
        self,
        n_splits: int = 10,
        *,
        test_size: float | int = 0.2,
        random_state: int | np.random.RandomState | None = None,
        target_test: bool | float = False,
    ) -> None:
        self.n_splits = n_splits
        self.test_size = test_size
        self.random_state = random_state
        self.target_test = target_test

    def _source_splits(self, codes: np.ndarray, labels: np.ndarray, random: np.random.RandomState) -> Iterator[Split]:
        return self._splits(self.n_splits, test_size=self.test_size, random_state=random).split(labels, labels)


class StratifiedSourceTargetShuffleSplit(SourceTargetShuffleSplit):
    """`SourceTargetShuffleSplit` with the source's class shares in every part.

    Parameters
    ----------
    n_splits : int, default=10
    test_size : float or int, default=0.2
    random_state : int, RandomState or None, default=None
    target_test : bool or float, default=False
        See `SourceTargetKFold`.

    Examples
    --------
    >>> from shallowda.model_selection import StratifiedSourceTargetShuffleSplit
    >>> y = [0, 0, 1, 1, -1]
    >>> cv = StratifiedSourceTargetShuffleSplit(1, test_size=0.5, random_state=0)
    >>> sorted(y[row] for _, test in cv.split(y, y) for row in test)
    [0, 1]
    """

    _splits = StratifiedShuffleSplit


class LeaveOneSourceOut(_SourceTargetSplitter):
    """Each source domain in turn is the test part; the others and the target are the training part.

    The nearest one can come to a test on another domain without target labels: the classifier has never seen a labelled
    row of the domain that it is scored on. Needs at least two sources.

    With `PerDomain` in the pipeline (each subject with its own scaler), turn on metadata routing, so that the scorer
    learns of the domains too: ``cross_val_score(pipeline, X, y, cv=LeaveOneSourceOut(), scoring=source_accuracy,
    params={"sample_domain": sample_domain})``. The domain that is left out is then scaled by its own rows, which are
    those of the test part and take no labels: as a new subject would be whose rows are at hand together.

    Parameters
    ----------
    random_state : int, RandomState or None, default=None
        Seed of the target rows that are held out.
    target_test : bool or float, default=False
        See `SourceTargetKFold`.

    Examples
    --------
    >>> from shallowda.model_selection import LeaveOneSourceOut
    >>> y, sample_domain = [0, 1, 0, 1, -1], [0, 0, 1, 1, -1]
    >>> for train, test in LeaveOneSourceOut().split(y, y, sample_domain=sample_domain):
    ...     print(train, test)
    [2 3 4] [0 1]
    [0 1 4] [2 3]
    """

    def __init__(
        self, *, random_state: int | np.random.RandomState | None = None, target_test: bool | float = False
    ) -> None:
        self.random_state = random_state
        self.target_test = target_test

    def _source_splits(self, codes: np.ndarray, labels: np.ndarray, random: np.random.RandomState) -> Iterator[Split]:
        if len(np.unique(codes)) < 2:
            raise ValueError(
                "LeaveOneSourceOut needs at least two source domains, and there is one. Pass sample_domain with a "
                "number >= 0 for each source (without metadata routing: groups=sample_domain)."
            )
        return LeaveOneGroupOut().split(labels, groups=codes)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None, *, sample_domain: Any = None) -> int:
        """Number of source domains.

        Parameters
        ----------
        X : object
            Ignored.
        y : array-like of shape (n_samples,)
        groups, sample_domain : array-like of shape (n_samples,)
            As in `split`.

        Returns
        -------
        n_splits : int
        """
        codes, _ = self._read(y, groups if sample_domain is None else sample_domain)
        return len(np.unique(codes[codes >= 0]))
