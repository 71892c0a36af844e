"""Classifiers fitted on the rows of both domains, without a map of the features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from shallowda.core.contract import Domains
from shallowda.core.estimator import DomainAwareClassifier, computing
from shallowda.core.rows import on_their_device
from shallowda.kernels.arrays import Array, is_numpy, to_numpy
from shallowda.kernels.copies import of_first

__all__ = ["DomainClassifier", "decide"]


class DomainClassifier(DomainAwareClassifier, ABC):
    """A classifier of the target that is learned from both domains.

    A method implements `_learn`, which learns from the training rows, and `_scores`, which gives new rows a score for
    each class. Both see arrays of one library, on one device: the rows', and fitted arrays beside them.
    """

    kind = "domain classifier"

    @abstractmethod
    def _learn(self, X: Array, domains: Domains) -> None:
        """Set the fitted attributes."""

    @abstractmethod
    def _scores(self, X: Array) -> Array:
        """Scores of new rows, shape (m, n_classes).

        For two classes one column will do, where > 0 means the second class; of two the difference is taken.
        """

    def _tie(self, eps: float) -> float:
        """Difference of scores that is round-off in numbers of this precision, so that it decides nothing."""
        return 0.0

    def _embed(self, X: Array, source: np.ndarray) -> Array:
        """What `_scores` sees of new rows: themselves, unless a method maps them; `source` masks rows of the source."""
        return X

    @on_their_device
    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None, **params: Any
    ) -> Self:
        """Fit the classifier on the rows of both domains.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both domains, in any order.
        y : array-like of shape (n_samples,)
            Class labels on source rows, -1 on target rows (NaN or "" where labels are floats or strings).
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for source rows, < 0 for target rows. Decides, when given; labels of target rows are then ignored.
        **params : dict
            Refused: there is no base classifier that they could go to, as adapters have one.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the rows, labels or domains do not fit each other; the message names the argument.
        TypeError
            If anything else is passed, such as ``sample_weight``.
        """
        X, domains = self._read(X, y, sample_domain, params)
        rows = self._placed(X, domains)
        with computing(rows):
            self._learn(rows, domains)
        self._keep(X)
        return self

    @on_their_device
    def _scored(self, X: ArrayLike, sample_domain: Any) -> Array:
        X, source = self._rows(X, sample_domain)
        first = self._first_equal(X, source)

        def scored(model: Self, rows: Array, block: slice) -> Array:
            return model._scores(model._embed(rows, source[block]))

        with computing(X, fitted=self._n_fit):
            scores = of_first(self._by_blocks(X, scored), first)
        if scores.shape[1] == len(self.classes_) == 2:
            scores = scores[:, 1:] - scores[:, :1]
        return to_numpy(scores) if is_numpy(X) else scores

    def decision_function(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Scores of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for rows to treat as source, which matters where a method maps them; else both domains share one
            function. All rows are target when it is not given.

        Returns
        -------
        scores : ndarray of shape (n_samples,) for two classes, where > 0 means ``classes_[1]``; (n_samples, n_classes)
        else
        """
        scores = self._scored(X, sample_domain)
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Predict the class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for rows to treat as source, which matters where a method maps them; else both domains share one
            function. All rows are target when it is not given.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        scores = to_numpy(self._scored(X, sample_domain))
        codes = decide(scores, len(self.classes_), self._tie(float(np.finfo(scores.dtype).eps)))
        return self.classes_[codes]


def decide(scores: np.ndarray, n_classes: int, tie: float = 0.0) -> np.ndarray:
    """Class codes from scores.

    Parameters
    ----------
    scores : ndarray of shape (m, n_classes), or (m, 1) for two classes
    n_classes : int
    tie : float, default=0
        Scores that differ by no more are equal, and the first class wins.

    Returns
    -------
    codes : ndarray of shape (m,), int
    """
    if n_classes == 2:
        return (scores[:, 0] > tie).astype(int)
    return np.argmax(scores >= scores.max(axis=1, keepdims=True) - tie, axis=1)
