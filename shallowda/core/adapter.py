"""Adapters: a map of both domains' rows and, through a base classifier on the mapped source, predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from shallowda.core.contract import Domains, no_classes
from shallowda.core.enclosing import warn_of_learned_mark
from shallowda.core.estimator import DomainAwareClassifier, base_has, computing, for_base, require_classifier
from shallowda.core.nearest import OneNearestNeighbor
from shallowda.core.rows import on_their_device
from shallowda.kernels.arrays import Array, as_dtype, is_numpy, to_numpy
from shallowda.kernels.copies import of_first

__all__ = ["BaseAdapter"]


def _as_given(Z: Array, rows: Array, X: Array) -> Array:
    """Adapted rows in the dtype of the rows, and where the user's X is."""
    Z = as_dtype(Z, rows.dtype)
    return to_numpy(Z) if is_numpy(X) else Z


class BaseAdapter(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DomainAwareClassifier, ABC):
    """An adapter: a transformer of both domains and, through its base classifier, a classifier of the target.

    A method implements `_adapt`, which learns from the training rows and returns their embedding or None, and `_map`,
    which embeds new rows. Both see arrays of one library, on one device: the rows', and fitted arrays beside them.
    """

    __metadata_request__transform = {"sample_domain": True}

    kind = "adapter"

    _requires_labels = False

    _has_source_map = True  # a method with one map for both domains says so

    @abstractmethod
    def _adapt(self, X: Array, domains: Domains) -> Array | None:
        """Learn the maps; return the embedding of the training rows, each by the map of its own domain.

        None where it is not at hand, and `_map` gives the same for rows that were trained on.
        """

    @abstractmethod
    def _map(self, X: Array, source: np.ndarray) -> Array:
        """Embedding of new rows; `source` masks those that take the source map."""

    def _base(self) -> Any:
        """Unfitted base classifier."""
        return OneNearestNeighbor() if self.estimator is None else require_classifier(clone(self.estimator))

    def _trained(self, Zs: Array, domains: Domains) -> Any:
        """A base classifier fitted on the adapted source rows."""
        base = self._base()
        if self.estimator is None and Zs.shape[1] == 1:  # a direction on a line is no more than a sign
            base = OneNearestNeighbor("euclidean")
        return base.fit(for_base(base, Zs), domains.source_labels, **domains.params)

    @on_their_device
    def _fit(self, X: ArrayLike, y: Any, sample_domain: Any, params: Mapping[str, Any], method: str) -> Array:
        X, domains = self._read(X, y, sample_domain, params, method)
        whole = method == "fit_transform"
        if whole:  # the rows are handed on
            warn_of_learned_mark(self, y, domains.source)
        return self._learn(X, domains, self._adapt, whole=whole)

    def _learn(
        self, X: Array, domains: Domains, adapt: Callable[[Array, Domains], Array | None], *, whole: bool = False
    ) -> Array:
        """Adapt to the rows, train the base classifier on the source, and return the embedding of all rows.

        Where `adapt` gives none and the `whole` is not asked for, only source rows are embedded, for the classifier,
        and None is returned.
        """
        if domains.values is not None and self.estimator is not None:
            name = type(self).__name__
            raise ValueError(
                f"Unknown label type: continuous. {no_classes(domains.values)} The estimator of {name} is a "
                f"classifier; put a regressor after the adapter instead: make_pipeline({name}(), regressor)."
            )
        rows = self._placed(X, domains)
        with computing(rows):
            Z = adapt(rows, domains)
            if Z is None and whole:
                Z = self._map(rows, domains.source)
            if Z is not None:
                Z = self._same_for_equal(Z, rows, domains.source)
            Zs = self._rows_to_train_on(rows, Z, domains)
            if Zs is not None:
                self.estimator_ = self._trained(_as_given(Zs, rows, X), domains)
        self._keep(X)
        return None if Z is None else _as_given(Z, rows, X)

    def _rows_to_train_on(self, rows: Array, Z: Array | None, domains: Domains) -> Array | None:
        """Adapted source rows that the base classifier is still to be trained on; None where it is not."""
        if not domains.n_classes:
            return None
        if Z is not None:
            return domains.source_rows(Z)
        source = domains.source_rows(rows)
        mask = np.ones(source.shape[0], dtype=bool)
        return self._same_for_equal(self._map(source, mask), source, mask)

    def _same_for_equal(self, Z: Array, rows: Array, source: np.ndarray) -> Array:
        """The embedding of training rows, the same for equal ones."""
        return of_first(Z, self._first_equal(rows, source))

    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None, **params: Any
    ) -> BaseAdapter:
        """Adapt the domains and train the base classifier on the adapted source.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both domains, in any order.
        y : array-like of shape (n_samples,), optional
            Class labels on source rows, -1 on target rows (NaN or "" where labels are floats or strings).
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for source rows, < 0 for target rows. Decides, when given; labels of target rows are then ignored.
        **params : dict
            Parameters of the fit of the base classifier, such as ``sample_weight`` (with metadata routing: those it
            requests). What has one entry per row is cut to the source rows: entries of target rows are not read, and
            may be NaN. The alignment itself is not weighted.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the rows, labels, domains or weights do not fit each other, or the base classifier takes no weights; the
            message names the argument.
        """
        self._fit(X, y, sample_domain, params, "fit")
        return self

    def fit_transform(
        self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None, **params: Any
    ) -> np.ndarray:
        """Fit, and embed the training rows in their order, each by the map of its own domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
        sample_domain : array-like of shape (n_samples,), optional
        **params : dict
            As for `fit`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)
        """
        return self._fit(X, y, sample_domain, params, "fit_transform")

    def transform(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Embed rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for rows to embed by the source map; all rows are target when it is not given.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)
        """
        return self._embedded(X, sample_domain, lambda Z: Z)

    @on_their_device
    def _embedded(self, X: ArrayLike, sample_domain: Any, then: Callable[[Array], Array]) -> Array:
        """What is made of the embedding of new rows."""
        X, source = self._rows(X, sample_domain)
        first = self._first_equal(X, source)
        with computing(X, fitted=self._n_fit):
            Z = of_first(self._by_blocks(X, lambda model, rows, block: model._map(rows, source[block])), first)
            return of_first(then(_as_given(Z, X, X)), first)

    def _classify(self, method: str, X: ArrayLike, sample_domain: Any) -> np.ndarray:
        check_is_fitted(self)
        if not hasattr(self, "estimator_"):
            raise AttributeError(
                f"This {type(self).__name__} was fitted without class labels, so it transforms but has no {method}."
            )
        base = self.estimator_
        return self._embedded(X, sample_domain, lambda Z: getattr(base, method)(for_base(base, Z)))

    def predict(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Predict the class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for rows to treat as source; all rows are target when it is not given.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        return self._classify("predict", X, sample_domain)

    @available_if(base_has("predict_proba"))
    def predict_proba(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Class probabilities of the base classifier (one-hot for the default nearest neighbour).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
        """
        return self._classify("predict_proba", X, sample_domain)

    @available_if(base_has("decision_function"))
    def decision_function(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Decision values of the base classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._classify("decision_function", X, sample_domain)

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self._requires_labels
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
