"""The papers' base classifier: one nearest neighbour, by matrix products in blocks."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from shallowda.core.rows import computed, on_their_device, validated_rows, widened
from shallowda.kernels.arrays import Array, ArrayHolder, from_numpy, is_foreign, namespace, take_rows, to_numpy
from shallowda.kernels.neighbours import nearest_row
from shallowda.kernels.pairwise import unit_rows

__all__ = ["OneNearestNeighbor"]


class OneNearestNeighbor(ClassifierMixin, ArrayHolder, BaseEstimator):
    """One-nearest-neighbour classifier.

    The default base classifier of every adapter here, as in the papers. It gives the predictions of
    ``KNeighborsClassifier(1)`` and never holds more than one block of the distance matrix. The time of `predict` is the
    product of the numbers of rows and queries and features. Rows may be an array of another library, such as a CuPy
    array or a torch tensor: they stay where they are, and labels are NumPy arrays.

    Parameters
    ----------
    metric : {"cosine", "euclidean"}, default="cosine"
        "cosine" compares rows scaled to unit norm by Euclidean distance, which ranks like the cosine and also defines
        the distance to a zero row (it stays zero).

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int

    Examples
    --------
    >>> from shallowda import OneNearestNeighbor
    >>> OneNearestNeighbor().fit([[1.0, 0.0], [0.0, 1.0]], ["east", "north"]).predict([[2.0, 1.0]])
    array(['east'], dtype='<U5')
    """

    _parameter_constraints: dict = {"metric": [StrOptions({"cosine", "euclidean"})]}

    def __init__(self, metric: str = "cosine") -> None:
        self.metric = metric

    @on_their_device
    def fit(self, X: ArrayLike, y: ArrayLike) -> OneNearestNeighbor:
        """Store the rows.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : array-like of shape (n,)

        Returns
        -------
        self : OneNearestNeighbor
        """
        self._validate_params()
        if is_foreign(X):
            X, y = validated_rows(self, X, reset=True), column_or_1d(to_numpy(y), warn=True)
            check_consistent_length(np.empty(X.shape[0]), y)
        else:
            X, y = validate_data(self, widened(computed(X)), y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, self._codes = np.unique(y, return_inverse=True)
        self._rows = namespace(X).asarray(self._scaled(X), copy=True)
        return self

    def moved(self, move: Callable[[Array], Array]) -> OneNearestNeighbor:
        """A copy with its rows in another place.

        Parameters
        ----------
        move : callable
            Takes an array and returns it elsewhere.

        Returns
        -------
        copy : OneNearestNeighbor
        """
        copied = copy(self)
        copied._rows = move(self._rows)
        return copied

    def _scaled(self, X: Array) -> Array:
        return unit_rows(X) if self.metric == "cosine" else X

    @on_their_device
    def _nearest_codes(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self)
        X = validated_rows(self, X, reset=False)
        return self._codes[to_numpy(nearest_row(self._scaled(X), from_numpy(self._rows, X)))]

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Class of the nearest stored row.

        Parameters
        ----------
        X : array-like of shape (m, d)

        Returns
        -------
        y : ndarray of shape (m,)
        """
        codes = self._nearest_codes(X)
        return self.classes_[codes]

    @on_their_device
    def nearness(self, X: ArrayLike) -> np.ndarray:
        """How much nearer the nearest stored row is than the nearest one of another class.

        With the distances a and b of the two it is (b - a) / (b + a): 0 for a row halfway between two classes (or equal
        to rows of both), 1 for one that is equal to a stored row. Its order tells which predictions to trust less; it
        is no probability.

        Parameters
        ----------
        X : array-like of shape (m, d)

        Returns
        -------
        nearness : ndarray of shape (m,)
            NaN where all stored rows are of one class.
        """
        check_is_fitted(self)
        X = validated_rows(self, X, reset=False)
        queries, rows = self._scaled(X), from_numpy(self._rows, X)
        nearest = to_numpy(nearest_row(queries, rows))
        own = _distances(queries, rows, nearest)
        other = np.full(len(own), np.nan)
        for code in np.unique(self._codes[nearest]):
            here, there = np.flatnonzero(self._codes[nearest] == code), np.flatnonzero(self._codes != code)
            if len(there):
                asked, others = take_rows(queries, here), take_rows(rows, there)
                other[here] = _distances(asked, others, to_numpy(nearest_row(asked, others)))
        whole = other + own
        return np.divide(np.maximum(other - own, 0), whole, out=np.where(np.isnan(whole), np.nan, 0.0), where=whole > 0)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """One-hot class membership.

        Says which class was chosen, not how sure the choice is.

        Parameters
        ----------
        X : array-like of shape (m, d)

        Returns
        -------
        proba : ndarray of shape (m, n_classes)
        """
        codes = self._nearest_codes(X)
        return np.eye(len(self.classes_))[codes]

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy.

        Parameters
        ----------
        X : array-like of shape (m, d)
        y : array-like of shape (m,)
        sample_weight : array-like of shape (m,), optional

        Returns
        -------
        accuracy : float
        """
        return super().score(X, to_numpy(y), None if sample_weight is None else to_numpy(sample_weight))


def _distances(queries: Array, rows: Array, nearest: np.ndarray) -> np.ndarray:
    """Distance of each query to its nearest row, in float64."""
    gaps = to_numpy(queries).astype(np.float64) - to_numpy(take_rows(rows, nearest))
    return np.linalg.norm(gaps, axis=1)
