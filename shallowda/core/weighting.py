"""Weights of the source rows for any classifier or regressor that takes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Tags, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted, has_fit_parameter

from shallowda.core.contract import Domains, labels_among
from shallowda.core.estimator import DomainAware, for_base, labels_to_score
from shallowda.kernels.arrays import Array, strict_linalg, to_numpy

__all__ = ["SourceWeighting"]


def _inner_has(method: str) -> Any:
    """Check for `available_if`: the weighted estimator, fitted or to be fitted, has this method."""

    def check(self: SourceWeighting) -> bool:
        return hasattr(getattr(self, "estimator_", self._base()), method)

    return check


class SourceWeighting(MetaEstimatorMixin, DomainAware, ABC):
    """A classifier or regressor that is fitted on the source rows, weighted so that they stand for the target.

    A method implements `_weigh`, which gives each source row a weight; a method that corrects for class proportions
    computes it from ``domains.labels``. Features are not mapped. Without target rows every weight is 1.
    """

    kind = "weighting"

    __metadata_request__predict = {"sample_domain": True}
    __metadata_request__predict_proba = {"sample_domain": True}
    __metadata_request__decision_function = {"sample_domain": True}
    __metadata_request__score = {"sample_domain": True}

    _requires_labels = False

    estimator: Any

    @abstractmethod
    def _weigh(self, X: Array, domains: Domains) -> Array:
        """Weights of the source rows, shape (n_source,), not negative, in the order of the rows."""

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None) -> Self:
        """Weigh the source rows, and fit the estimator on them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both domains, in any order.
        y : array-like of shape (n_samples,), optional
            Class labels or regression targets on source rows, marks on target rows: -1, NaN where y is continuous.
            Without it the rows are weighed and nothing is fitted.
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for source rows, < 0 for target rows. Decides, when given; labels of target rows are then ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the estimator takes no weights, or does not suit y; and if the weights are not finite or all zero.
        """
        X, domains = self._read(X, y, sample_domain)
        base = self._base_for(domains)
        rows = self._placed(X)
        self.weights_ = np.ones(int(domains.source.sum()))
        if domains.has_target:
            with strict_linalg(rows):
                self.weights_ = np.asarray(to_numpy(self._weigh(rows, domains)), dtype=float)
            self._check_weights()
        if base is not None:
            values = domains.values if domains.continuous else domains.source_labels
            source = for_base(base, domains.source_rows(X))
            self.estimator_ = base.fit(source, values, sample_weight=self.weights_)
        self._keep(X)
        return self

    def _base(self) -> Any:
        """The unfitted estimator."""
        return LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)

    def _base_for(self, domains: Domains) -> Any:
        """The unfitted estimator, if it suits what y holds; None where there is no y."""
        if not domains.n_classes and not domains.continuous:
            return None
        name, base = type(self).__name__, self._base()
        wanted = "regressor" if domains.continuous else "classifier"
        if get_tags(base).estimator_type != wanted:
            what = "continuous" if domains.continuous else "class labels"
            raise ValueError(
                f"Unknown label type: y holds {what}, and the estimator of {name} is {type(base).__name__}. Pass a "
                f"{wanted} as estimator."
            )
        if not has_fit_parameter(base, "sample_weight"):
            raise ValueError(
                f"The estimator of {name} must take sample_weight, and {type(base).__name__} does not. Pass another "
                "one; scaling belongs before the weighting, in a pipeline: shallowda.make_pipeline."
            )
        return base

    def _check_weights(self) -> None:
        if not (np.all(np.isfinite(self.weights_)) and np.all(self.weights_ >= 0) and np.any(self.weights_ > 0)):
            raise ValueError(
                f"{type(self).__name__} found weights of the source rows that are not finite, negative or all zero: "
                "the domains may not overlap. Reduce the number of features first, for example with PCA."
            )

    def _called(self, method: str, X: ArrayLike, sample_domain: Any) -> Any:
        check_is_fitted(self)
        if not hasattr(self, "estimator_"):
            raise AttributeError(f"This {type(self).__name__} was fitted without y, so it has weights but no {method}.")
        X, _ = self._rows(X, sample_domain)
        return getattr(self.estimator_, method)(for_base(self.estimator_, X))

    @available_if(_inner_has("predict"))
    def predict(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Prediction of the weighted estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            Accepted for uniformity; both domains share one function.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        return self._called("predict", X, sample_domain)

    @available_if(_inner_has("predict_proba"))
    def predict_proba(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Class probabilities of the weighted estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            Accepted for uniformity; both domains share one function.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
        """
        return self._called("predict_proba", X, sample_domain)

    @available_if(_inner_has("decision_function"))
    def decision_function(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Decision values of the weighted estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            Accepted for uniformity; both domains share one function.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._called("decision_function", X, sample_domain)

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        sample_domain: ArrayLike | None = None,
    ) -> float:
        """Score of the weighted estimator (accuracy, or R^2 of a regressor) on the rows whose label is known.

        Rows that `y` marks as unlabelled are left out, with a warning: the others are then source rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
        sample_domain : array-like of shape (n_samples,), optional
            Accepted for uniformity; both domains share one function.

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        if not hasattr(self, "estimator_"):
            raise AttributeError(f"This {type(self).__name__} was fitted without y, so it has weights but no score.")
        check_consistent_length(X, y)
        X, _ = self._rows(X, sample_domain)
        y, known = labels_to_score(self, y, said=sample_domain is not None)
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        rows = for_base(self.estimator_, X)[known]
        return self.estimator_.score(rows, labels_among(y, known), sample_weight=weight)

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self._base())
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags, tags.regressor_tags = inner.classifier_tags, inner.regressor_tags
        tags.target_tags.required = True
        return tags
