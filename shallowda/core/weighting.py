"""Weights of the source rows for any classifier or regressor that takes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import MetaEstimatorMixin, clone, is_classifier, is_regressor
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Tags, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted, has_fit_parameter

from shallowda.core.contract import Domains, labels_among, no_classes, read_domains, read_values, value_array
from shallowda.core.estimator import DomainAware, base_has, computing, for_base, labels_to_score
from shallowda.core.messages import warn_source_score
from shallowda.core.rows import on_their_device
from shallowda.kernels.arrays import Array, to_numpy

__all__ = ["SourceWeighting", "effective_sample_size"]


class SourceWeighting(MetaEstimatorMixin, DomainAware, ABC):
    """A classifier or regressor that is fitted on the source rows, weighted so that they stand for the target.

    A method implements `_weigh`, which gives each source row a weight; a method that corrects for class proportions
    computes it from ``domains.labels``. Features are not mapped. Without target rows every weight is 1. `fit` keeps
    ``weights_`` and ``effective_sample_size_``.
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

    @on_their_device
    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None, **params: Any
    ) -> Self:
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
        **params : dict
            Parameters of the estimator's fit (with metadata routing: those it requests). What has one entry per row is
            cut to the source rows: entries of target rows are not read, and may be NaN. The estimator is fitted with
            the product of ``sample_weight`` and `weights_`, which stay those of the method.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the estimator takes no weights, or does not suit y; and if weights are not finite, negative or all zero.
        """
        X, domains = self._read(X, y, sample_domain, params)
        base = None if y is None else self._base_with_weights()
        rows = self._placed(X, domains)
        self.weights_ = np.ones(int(domains.source.sum()))
        with computing(rows):
            if domains.has_target:
                weights = self._weigh(rows, domains)
                self.weights_ = self._checked(np.asarray(to_numpy(weights), dtype=float), len(self.weights_))
            self.effective_sample_size_ = effective_sample_size(self.weights_)
            if base is not None:
                values = domains.values if self._regresses else domains.source_labels
                source = for_base(base, domains.source_rows(X))
                self.estimator_ = base.fit(
                    source, values, **{**domains.params, "sample_weight": self._product(domains)}
                )
        self._keep(X)
        return self

    @property
    def _regresses(self) -> bool:
        """Whether the estimator is a regressor: y then holds numbers, and NaN alone marks target rows."""
        return self.estimator is not None and is_regressor(self.estimator)

    def _domains(self, y: Any, sample_domain: Any, n_rows: int) -> Domains:
        if y is not None and self._regresses:
            return read_values(y, sample_domain, n_rows)
        domains = read_domains(y, sample_domain, n_rows)
        if domains.values is not None:
            raise ValueError(
                f"Unknown label type: continuous. {no_classes(domains.values)} The estimator of {type(self).__name__} "
                "is a classifier; pass a regressor as estimator."
            )
        return domains

    def _base(self) -> Any:
        """The unfitted estimator."""
        return LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)

    def _base_with_weights(self) -> Any:
        """The unfitted estimator, if it takes weights."""
        name, base = type(self).__name__, self._base()
        if not has_fit_parameter(base, "sample_weight"):
            raise ValueError(
                f"The estimator of {name} must take sample_weight, and {type(base).__name__} does not. Pass another "
                "one; scaling belongs before the weighting, in a pipeline: shallowda.make_pipeline."
            )
        if not (is_classifier(base) or is_regressor(base)):
            raise ValueError(f"The estimator of {name} must be a classifier or regressor; {base!r} is neither.")
        return base

    def _checked(self, weights: np.ndarray, n_source: int) -> np.ndarray:
        name = type(self).__name__
        if weights.shape != (n_source,):
            raise ValueError(f"{name} gave weights of shape {weights.shape} for {n_source} source rows.")
        if not (np.all(np.isfinite(weights)) and np.all(weights >= 0) and np.any(weights > 0)):
            raise ValueError(
                f"{name} found weights of the source rows that are NaN, infinite, below zero or all zero: the domains "
                "may not overlap. Reduce the number of features first, for example with PCA."
            )
        return weights

    def _product(self, domains: Domains) -> np.ndarray:
        """Weights for the estimator's fit: those of the method, times those that were given."""
        with np.errstate(over="ignore"):
            weights = self.weights_ * domains.params.get("sample_weight", 1.0)
        if not (np.all(np.isfinite(weights)) and np.any(weights > 0)):
            raise ValueError(
                f"sample_weight times the weights that {type(self).__name__} found is infinite, or zero on every "
                "source row. Give weight to rows that are like the target (weights_ > 0), and smaller ones to all."
            )
        return weights

    def _called(self, method: str, X: ArrayLike, sample_domain: Any) -> Any:
        check_is_fitted(self)
        if not hasattr(self, "estimator_"):
            raise AttributeError(f"This {type(self).__name__} was fitted without y, so it has weights but no {method}.")
        X, _ = self._rows(X, sample_domain)
        return getattr(self.estimator_, method)(for_base(self.estimator_, X))

    @available_if(base_has("predict"))
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

    @available_if(base_has("predict_proba"))
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

    @available_if(base_has("decision_function"))
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

        Rows that `y` marks as unlabelled are left out, and a warning says that the others are source rows.

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
        if self._regresses:
            y = value_array(y)
            known = ~np.isnan(y)
            truth = y[known]
            if sample_domain is None and not known.all():
                warn_source_score(type(self).__name__, known, regresses=True)
        else:
            y, known = labels_to_score(self, y, said=sample_domain is not None)
            truth = labels_among(y, known)
        weight = {} if sample_weight is None else {"sample_weight": to_numpy(sample_weight)[known]}
        return self.estimator_.score(for_base(self.estimator_, X)[known], truth, **weight)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._base())
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags, tags.regressor_tags = inner.classifier_tags, inner.regressor_tags
        tags.target_tags.required = True
        return tags


def effective_sample_size(weights: np.ndarray) -> float:
    """``(sum w)^2 / sum w^2``: how many rows of equal weight tell as much.

    Parameters
    ----------
    weights : ndarray of shape (n,)
        Not negative, and not all zero.

    Returns
    -------
    size : float
        From 1 to n.
    """
    shares = weights / weights.max()
    return float(shares.sum() ** 2 / (shares @ shares))
