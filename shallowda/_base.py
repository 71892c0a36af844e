"""What every adapter shares: reading the contract, training the base classifier, and mapping rows by their domain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
    is_classifier,
)
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from shallowda._messages import labels_being_scored, warn
from shallowda._rows import read_only, validated_rows
from shallowda.domains import (
    Domains,
    NoTargetWarning,
    domain_codes,
    known_labels,
    label_array,
    read_domains,
    unlabelled,
)
from shallowda.kernels.arrays import (
    Array,
    as_dtype,
    is_foreign,
    is_numpy,
    library,
    on_backend,
    strict_linalg,
    to_numpy,
)
from shallowda.kernels.moments import CovarianceRoot
from shallowda.kernels.planning import resolve_backend
from shallowda.nearest import OneNearestNeighbor

#: Constraint of the parameter that says where to compute.
BACKENDS = StrOptions({"auto", "numpy", "cupy"})


class DomainAwareClassifier(ClassifierMixin, BaseEstimator):
    """A classifier fitted on the rows of both domains under the contract of `shallowda.domains`."""

    __metadata_request__fit = {"sample_domain": True}
    __metadata_request__predict = {"sample_domain": True}
    __metadata_request__predict_proba = {"sample_domain": True}
    __metadata_request__decision_function = {"sample_domain": True}
    __metadata_request__score = {"sample_domain": True}

    #: Whether `fit` cannot do without the class labels of the source.
    _requires_labels = True

    backend: str

    def _read(self, X: ArrayLike, y: Any, sample_domain: Any) -> tuple[Array, Domains]:
        """Validated rows and their domains; sets `classes_` where there are class labels."""
        self._fitted = False
        self._validate_params()
        name = type(self).__name__
        X = validated_rows(self, X, reset=True, min_rows=2)
        if y is None and self._requires_labels:
            raise ValueError(
                f"{name} requires y to be passed, but the target y is None: give the source's class labels."
            )
        domains = read_domains(y, sample_domain, X.shape[0])
        if domains.continuous and self._requires_labels:
            raise ValueError(f"Unknown label type: continuous. {name} needs class labels on the source rows.")
        if not domains.has_target:
            warn(
                f"{name} was fitted without target rows, so nothing is adapted. Mark target rows by y == -1 (NaN in a "
                "continuous y) or by sample_domain < 0; pack_domains does both.",
                NoTargetWarning,
            )
        self._restart(domains)
        return X, domains

    def _restart(self, domains: Domains) -> None:
        """Drop what an earlier fit has learned; keep the class labels where there are any."""
        for stale in [key for key in vars(self) if key.endswith("_") and not key.endswith("_in_")]:
            delattr(self, stale)
        if domains.n_classes:
            self.classes_ = domains.classes

    def __sklearn_is_fitted__(self) -> bool:
        return getattr(self, "_fitted", False)

    def _rows(self, X: ArrayLike, sample_domain: Any) -> tuple[Array, np.ndarray]:
        """Validated new rows, and the mask of those to treat as source: none unless `sample_domain` says so."""
        check_is_fitted(self)
        X = validated_rows(self, X, reset=False)
        if self._library not in ("numpy", library(X)):
            raise ValueError(
                f"This {type(self).__name__} was fitted on arrays of {self._library} and keeps its results there; X is "
                f"an array of {library(X)}. Pass X as {self._library} array."
            )
        if sample_domain is None:
            warn_marks_scored(self)
            return X, np.zeros(X.shape[0], dtype=bool)
        return X, domain_codes(sample_domain, X.shape[0]) >= 0

    def _placed(self, X: Array) -> Array:
        """The rows where they are computed with: where they are, but for NumPy arrays that `backend` takes to CuPy."""
        if is_numpy(X):
            return on_backend(X, resolve_backend(self.backend, *X.shape))
        if self.backend not in ("auto", library(X)):
            raise ValueError(f"X is an array of {library(X)}, and backend={self.backend!r}. Use backend='auto'.")
        return X

    def _keep(self, X: Array) -> None:
        """Bring fitted attributes to where the user's X is, and call it a fit."""
        self._library = library(X)
        if is_numpy(X):
            for name, value in vars(self).items():
                if name.endswith("_") and is_foreign(value):
                    setattr(self, name, to_numpy(value))
                elif isinstance(value, CovarianceRoot):
                    setattr(self, name, value.to_numpy())
        self._fitted = True

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        sample_domain: ArrayLike | None = None,
    ) -> float:
        """Accuracy on the rows whose label is known.

        Rows that `y` marks as unlabelled cannot be scored. When there are such rows and no `sample_domain`, the others
        are source rows: they are mapped as such, and the result is *source* accuracy, which a warning says. Without
        marks the rows are target rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for rows to treat as source, < 0 for target.

        Returns
        -------
        accuracy : float
        """
        check_consistent_length(X, y)
        y = label_array(y)
        known = known_labels(y, self.classes_ if hasattr(self, "classes_") else None)
        if sample_domain is None and not known.all():
            warn_source_score(type(self).__name__, known)
            sample_domain = np.where(known, 0, -1)
        predicted = self.predict(X, sample_domain=sample_domain)
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        return float(accuracy_score(y[known], predicted[known], sample_weight=weight))


def _as_given(Z: Array, rows: Array, X: Array) -> Array:
    """Adapted rows in the dtype of the rows, and where the user's X is."""
    Z = as_dtype(Z, rows.dtype)
    return to_numpy(Z) if is_numpy(X) else Z


def require_classifier(estimator: Any) -> Any:
    """The estimator, if it is a classifier."""
    if not is_classifier(estimator):
        raise ValueError(
            f"estimator must be a classifier, and {type(estimator).__name__} is not. To predict something else from "
            "adapted features, put the predictor after the adapter in a pipeline: shallowda.make_pipeline."
        )
    return estimator


def warn_dropped(name: str, classes: tuple) -> None:
    """Say that classes have no pseudo-labelled target row."""
    if classes:
        warn(
            f"{name}: no target row is labelled {list(classes)}, so the means of these classes are not matched. "
            "Either the target lacks them, or the pseudo-labels have collapsed, which hurts.",
        )


def warn_marks_scored(estimator: Any) -> None:
    """Say that a scorer of scikit-learn, which is calling, counts the marks of target rows as labels."""
    y = labels_being_scored()
    if y is None or -1 in getattr(estimator, "classes_", ()):
        return
    marked = int(np.sum(unlabelled(y)))
    if marked:
        warn(
            f"{marked} of {len(y)} rows are marked as unlabelled, and a scorer of scikit-learn counts them as errors. "
            "Use scoring=source_accuracy, or a score of the target, from shallowda.model_selection.",
        )


def warn_source_score(name: str, known: np.ndarray) -> None:
    """Say that a score on marked rows speaks of the source only."""
    warn(
        f"{name}.score: {int(np.sum(~known))} rows are marked as unlabelled and left out; the rest are source rows, "
        "so this is accuracy on the source. shallowda.model_selection.source_accuracy asks for it by name.",
    )


def _base_has(method: str) -> Any:
    """Check for `available_if`: the base classifier has this method."""

    def check(self: BaseAdapter) -> bool:
        return hasattr(self.estimator_ if hasattr(self, "estimator_") else self._base(), method)

    return check


class BaseAdapter(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DomainAwareClassifier, ABC):
    """An adapter: a transformer of both domains and, through its base classifier, a classifier of the target.

    A method implements `_adapt`, which learns from the training rows and returns their embedding or None, and `_map`,
    which embeds new rows.
    """

    __metadata_request__transform = {"sample_domain": True}

    _requires_labels = False

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

    def _train(self, Zs: Array, domains: Domains) -> None:
        """Fit the base classifier on the adapted source rows."""
        base = self._base()
        if self.estimator is None and Zs.shape[1] == 1:  # a direction on a line is no more than a sign
            base = OneNearestNeighbor("euclidean")
        self.estimator_ = base.fit(self._for_base(base, Zs), domains.source_labels)

    def _target_labels(self, Z: Array, domains: Domains) -> np.ndarray:
        """Codes that the base classifier gives the adapted target rows."""
        if not domains.has_target:
            return np.empty(0, dtype=int)
        rows = self._for_base(self.estimator_, domains.split(Z)[1])
        return domains.encode(self.estimator_.predict(rows))

    def _for_base(self, base: Any, Z: Array) -> Array:
        """Adapted rows as the base classifier takes them: only ours is known to take arrays of other libraries."""
        return Z if isinstance(base, OneNearestNeighbor) else read_only(to_numpy(Z))

    def _fit(self, X: ArrayLike, y: Any, sample_domain: Any, *, whole: bool = False) -> Array:
        X, domains = self._read(X, y, sample_domain)
        return self._learn(X, domains, self._adapt, whole=whole)

    def _learn(
        self, X: Array, domains: Domains, adapt: Callable[[Array, Domains], Array | None], *, whole: bool = False
    ) -> Array:
        """Adapt to the rows, train the base classifier on the source, and return the embedding of all rows.

        Where `adapt` gives none and the `whole` is not asked for, only source rows are embedded, for the classifier,
        and None is returned.
        """
        if domains.continuous and self.estimator is not None:
            name = type(self).__name__
            raise ValueError(
                f"Unknown label type: continuous. The estimator of {name} is a classifier; put a regressor after the "
                f"adapter instead: make_pipeline({name}(), regressor)."
            )
        rows = self._placed(X)
        with strict_linalg(rows):
            Z = adapt(rows, domains)
            if Z is None and whole:
                Z = self._map(rows, domains.source)
            trained = hasattr(self, "estimator_") and rows is X  # pseudo-label methods train it on the way
            if trained or not domains.n_classes:
                Zs = None
            elif Z is None:
                source = domains.source_rows(rows)
                Zs = self._map(source, np.ones(source.shape[0], dtype=bool))
            else:
                Zs = domains.source_rows(Z)
        if Zs is not None:
            self._train(_as_given(Zs, rows, X), domains)
        self._keep(X)
        return None if Z is None else _as_given(Z, rows, X)

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None) -> BaseAdapter:
        """Adapt the domains and train the base classifier on the adapted source.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both domains, in any order.
        y : array-like of shape (n_samples,), optional
            Class labels on source rows, -1 on target rows (NaN or "" where labels are floats or strings).
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for source rows, < 0 for target rows. Decides, when given; labels of target rows are then ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the rows, labels or domains do not fit each other; the message names the argument.
        """
        self._fit(X, y, sample_domain)
        return self

    def fit_transform(
        self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None
    ) -> np.ndarray:
        """Fit, and embed the training rows in their order, each by the map of its own domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
        sample_domain : array-like of shape (n_samples,), optional

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)
        """
        return self._fit(X, y, sample_domain, whole=True)

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
        return self._embedded(X, sample_domain)

    def _embedded(self, X: ArrayLike, sample_domain: Any) -> Array:
        X, source = self._rows(X, sample_domain)
        rows = self._placed(X)
        return _as_given(self._map(rows, source), rows, X)

    def _classify(self, method: str, X: ArrayLike, sample_domain: Any) -> np.ndarray:
        check_is_fitted(self)
        if not hasattr(self, "estimator_"):
            raise AttributeError(
                f"This {type(self).__name__} was fitted without class labels, so it transforms but has no {method}."
            )
        Z = self._for_base(self.estimator_, self._embedded(X, sample_domain))
        return getattr(self.estimator_, method)(Z)

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

    @available_if(_base_has("predict_proba"))
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

    @available_if(_base_has("decision_function"))
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
