"""Domain adaptation inside a plain scikit-learn `Pipeline`: `PerDomain`, `LabeledOnly`, `make_pipeline`."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn
import sklearn.pipeline
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.utils import Tags, _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from shallowda.core.contract import (
    domain_codes,
    label_array,
    labels_among,
    learned_marks,
    row_domains,
    warn_without_target,
)
from shallowda.core.estimator import DomainAware, labels_to_score
from shallowda.core.rows import on_host
from shallowda.kernels.arrays import from_numpy, is_foreign, is_numpy, to_numpy

__all__ = ["LabeledOnly", "PerDomain", "accepts_domains", "make_pipeline", "refuse_learned_mark"]


def accepts_domains(estimator: Any, method: str) -> bool:
    """Whether a method of the estimator has the parameter `sample_domain`."""
    function = getattr(estimator, method, None)
    return function is not None and "sample_domain" in inspect.signature(function).parameters


def _given(X: Any) -> Any:
    """Rows as estimators of other packages take them: arrays of other libraries are copied to NumPy's."""
    return to_numpy(X) if is_foreign(X) else X


def _back(Z: Any, X: Any) -> Any:
    """What an estimator made of `_given` rows, where the rows are."""
    return from_numpy(Z, X) if is_foreign(X) and is_numpy(Z) else Z


class PerDomain(TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """One copy of a transformer for each domain, as for z-scores per domain.

    Each source domain and the target get a transformer fitted on their own rows. Rows to `transform` are target rows
    unless `sample_domain` says otherwise.

    Parameters
    ----------
    transformer : transformer
        Unsupervised; fitted without labels. All copies must give the same number of columns.

    Attributes
    ----------
    transformers_ : dict
        Fitted transformer by domain code (>= 0 source, < 0 target).
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from shallowda import PerDomain
    >>> X, y = np.array([[0.0], [2.0], [10.0], [30.0]]), [0, 1, -1, -1]
    >>> PerDomain(StandardScaler()).fit_transform(X, y).ravel()
    array([-1.,  1., -1.,  1.])
    """

    __metadata_request__fit = {"sample_domain": True}
    __metadata_request__transform = {"sample_domain": True}

    _parameter_constraints: dict = {"transformer": [HasMethods(["fit", "transform"])]}

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def _validated(self, X: ArrayLike, reset: bool) -> np.ndarray:
        # whether NaN is welcome is the transformer's to say: an imputer may stand at the head of a pipeline
        allowed = [np.float64, np.float32]
        return validate_data(self, on_host(X), dtype=allowed, ensure_all_finite="allow-nan", reset=reset)

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None) -> PerDomain:
        """Fit one transformer per domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
            Read for its marks of target rows only.
        sample_domain : array-like of shape (n_samples,), optional
            Domain of each row; each value is a domain of its own.

        Returns
        -------
        self : PerDomain
        """
        self._fit(X, y, sample_domain)
        return self

    def _fit(self, X: ArrayLike, y: Any, sample_domain: Any) -> tuple[np.ndarray, np.ndarray]:
        self._validate_params()
        X = self._validated(X, reset=True)
        codes = row_domains(y, sample_domain, len(X))
        if np.all(codes >= 0):
            warn_without_target(
                "PerDomain was fitted without target rows: target rows will be transformed like the source.",
                y,
                sample_domain,
            )
        self.transformers_ = {int(code): clone(self.transformer).fit(X[codes == code]) for code in np.unique(codes)}
        return X, codes

    def fit_transform(
        self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None
    ) -> np.ndarray:
        """Fit, and transform the training rows in their order, each by the transformer of its own domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
        sample_domain : array-like of shape (n_samples,), optional

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)
        """
        return _back(self._apply(*self._fit(X, y, sample_domain)), X)

    def transform(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Transform rows, each by the transformer of its domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            Domain of each row; all are target when it is not given. Where one source (one target) was fitted, every
            code >= 0 (< 0) means that one.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)

        Raises
        ------
        ValueError
            If a row's domain was not fitted.
        """
        check_is_fitted(self)
        rows = self._validated(X, reset=False)
        codes = np.full(len(rows), -1) if sample_domain is None else domain_codes(sample_domain, len(rows))
        return _back(self._apply(rows, codes), X)

    def _apply(self, X: np.ndarray, codes: np.ndarray) -> np.ndarray:
        parts = [
            (codes == code, self._transformer_of(int(code)).transform(X[codes == code])) for code in np.unique(codes)
        ]
        if any(sp.issparse(part) for _, part in parts):
            raise ValueError("PerDomain needs dense output: set sparse_output=False on the transformer.")
        parts = [(rows, np.asarray(part)) for rows, part in parts]
        widths = sorted({part.shape[1] for _, part in parts})
        if len(widths) > 1:
            raise ValueError(
                f"The transformers of the domains give different numbers of columns: {widths}. Use one that keeps the "
                "number of columns whatever the rows are."
            )
        Z = np.empty((len(X), parts[0][1].shape[1]), dtype=parts[0][1].dtype)
        for rows, part in parts:
            Z[rows] = part
        return Z

    def _transformer_of(self, code: int) -> Any:
        same_side = [fitted for known, fitted in self.transformers_.items() if (known < 0) == (code < 0)]
        if code in self.transformers_:
            return self.transformers_[code]
        if not same_side:  # no target was fitted
            same_side = list(self.transformers_.values())
        if len(same_side) == 1:
            return same_side[0]
        raise ValueError(
            f"No transformer was fitted for domain {code}; fitted domains are {sorted(self.transformers_)}. Pass the "
            "domain of each row as sample_domain."
        )

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the output columns, those of one domain's transformer.

        Parameters
        ----------
        input_features : array-like of str, optional

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        if input_features is None:
            input_features = getattr(self, "feature_names_in_", None)
        return next(iter(self.transformers_.values())).get_feature_names_out(input_features)

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self.transformer)
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        if inner.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = inner.transformer_tags.preserves_dtype
        return tags


def _inner_has(method: str) -> Any:
    """Check for `available_if`: the wrapped estimator has this method."""

    def check(self: LabeledOnly) -> bool:
        return hasattr(getattr(self, "estimator_", self.estimator), method)

    return check


class LabeledOnly(MetaEstimatorMixin, BaseEstimator):
    """An estimator trained on the labelled rows only.

    In a pipeline whose target rows come with labels, pass `sample_domain` to this step too: without it, every labelled
    row counts as source.

    A transformer cannot drop rows, so a classifier at the end of a pipeline would learn the mark of unlabelled target
    rows as a class. Wrapped, it is fitted on the source rows; with `sample_domain`, labels of target rows are not used.

    Parameters
    ----------
    estimator : classifier, regressor or supervised transformer

    Attributes
    ----------
    estimator_ : estimator
        Fitted on the labelled rows.
    classes_, n_features_in_, feature_names_in_
        Those of `estimator_`.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from shallowda import LabeledOnly
    >>> LabeledOnly(LogisticRegression()).fit([[0.0], [1.0], [9.0]], [0, 1, -1]).classes_
    array([0, 1])
    """

    __metadata_request__fit = {"sample_domain": True}

    _parameter_constraints: dict = {"estimator": [HasMethods(["fit"])]}

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: ArrayLike, y: ArrayLike, *, sample_domain: ArrayLike | None = None, **params: Any) -> LabeledOnly:
        """Fit the estimator on the labelled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels, with marks on unlabelled target rows.
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for source rows, < 0 for target rows. Decides, when given.
        **params : dict
            Parameters of the estimator's `fit` (with metadata routing: those it requests). What has one entry per row
            is cut to the labelled rows.

        Returns
        -------
        self : LabeledOnly

        Raises
        ------
        ValueError
            If labels are missing or of different types, there is no source row, or `sample_domain` does not fit.

        Warns
        -----
        NoTargetWarning
            If neither y nor `sample_domain` says of any row that it is a target row: all are trained on.
        """
        self._validate_params()
        if y is None:
            raise ValueError("LabeledOnly requires y to be passed, but the target y is None.")
        X, y = indexable(_given(X), label_array(y))
        n_samples = len(y)
        source = np.flatnonzero(row_domains(y, sample_domain, n_samples) >= 0)
        if sample_domain is None and len(source) == n_samples:
            warn_without_target(
                "LabeledOnly was fitted without marked rows, so all rows count as source, and target rows that came "
                "with labels are trained on. sample_domain is for this step too (<name of the step>__sample_domain, or "
                "metadata routing).",
                y,
                sample_domain,
            )
        if sklearn.get_config()["enable_metadata_routing"]:
            params = process_routing(self, "fit", sample_domain=sample_domain, **params).estimator.fit
        params = {name: _cut(value, source, n_samples) for name, value in params.items()}
        self.estimator_ = clone(self.estimator).fit(_safe_indexing(X, source), labels_among(y, source), **params)
        return self

    @available_if(_inner_has("predict"))
    def predict(self, X: ArrayLike) -> np.ndarray:
        """Prediction of the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.estimator_.predict(_given(X))

    @available_if(_inner_has("predict_proba"))
    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Class probabilities of the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(_given(X))

    @available_if(_inner_has("decision_function"))
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Decision values of the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(_given(X))

    @available_if(_inner_has("transform"))
    def transform(self, X: ArrayLike) -> Any:
        """Transform by the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : array of shape (n_samples, n_features_out)
        """
        check_is_fitted(self)
        return _back(self.estimator_.transform(_given(X)), X)

    @available_if(_inner_has("get_feature_names_out"))
    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the columns that `transform` gives.

        Parameters
        ----------
        input_features : array-like of str, optional

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        return self.estimator_.get_feature_names_out(input_features)

    @available_if(_inner_has("set_output"))
    def set_output(self, *, transform: str | None = None) -> LabeledOnly:
        """Set the container that the estimator's `transform` gives.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional

        Returns
        -------
        self : LabeledOnly
        """
        self.estimator.set_output(transform=transform)
        return self

    @available_if(_inner_has("score"))
    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The estimator's score on the rows whose label is known.

        Rows marked as unlabelled are left out, with a warning: the others are then source rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        X, (y, known) = _given(X), labels_to_score(self, y)
        weights = {} if sample_weight is None else {"sample_weight": to_numpy(sample_weight)[known]}
        if not known.all():
            X, y = _safe_indexing(X, np.flatnonzero(known)), labels_among(y, known)
        return self.estimator_.score(X, y, **weights)

    @property
    def classes_(self) -> np.ndarray:
        """Classes of the fitted estimator."""
        return self.estimator_.classes_

    @property
    def n_features_in_(self) -> int:
        """Number of features of the fitted estimator."""
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Feature names of the fitted estimator."""
        return self.estimator_.feature_names_in_

    def get_metadata_routing(self) -> MetadataRouter:
        """Requests: `sample_domain` for itself, anything the estimator asks for.

        Returns
        -------
        routing : MetadataRouter
        """
        mapping = MethodMapping().add(caller="fit", callee="fit").add(caller="score", callee="score")
        return MetadataRouter(owner=self).add_self_request(self).add(estimator=self.estimator, method_mapping=mapping)

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags, tags.regressor_tags = inner.classifier_tags, inner.regressor_tags
        tags.input_tags, tags.target_tags = inner.input_tags, inner.target_tags
        return tags


def _cut(value: Any, rows: np.ndarray, n_samples: int) -> Any:
    per_row = np.ndim(value) >= 1 and len(value) == n_samples
    return _safe_indexing(value, rows) if per_row else value


def make_pipeline(*steps: Any, memory: Any = None, verbose: bool = False) -> sklearn.pipeline.Pipeline:
    """`sklearn.pipeline.make_pipeline` whose last step is trained on labelled rows only.

    Parameters
    ----------
    *steps : estimators
        The last one is wrapped in `LabeledOnly`, under its own step name, when it predicts and does not read domains
        itself (as adapters, ARTL and `LabeledOnly` do, or a search over one of them). Its parameters are then reached
        as ``logisticregression__estimator__C``, and another classifier takes its place as
        ``set_params(logisticregression__estimator=...)``: whatever replaces the step itself, in `set_params` or in a
        search, must be wrapped by hand.
    memory : str or object with the joblib.Memory interface, optional
        Caches fitted transformers.
    verbose : bool, default=False

    Returns
    -------
    pipeline : sklearn.pipeline.Pipeline

    Raises
    ------
    ValueError
        If the last step holds adapters beside parts that cannot be wrapped (an ensemble over both, for example).

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from shallowda import CORAL, PerDomain, make_pipeline
    >>> pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(), LogisticRegression())
    >>> [name for name, _ in pipe.steps]
    ['perdomain', 'coral', 'logisticregression']
    """
    pipeline = sklearn.pipeline.make_pipeline(*steps, memory=memory, verbose=verbose)
    *before, (name, last) = pipeline.steps
    pipeline.steps = [*((key, supervised_on_source(step)) for key, step in before), (name, on_source(last))]
    return pipeline


def supervised_on_source(step: Any) -> Any:
    """A transformer that needs labels (feature selection, LDA) would learn the mark as a class too."""
    if not hasattr(step, "fit") or accepts_domains(step, "fit") or domain_readers_inside(step):
        return step
    # univariate selection does not declare that it needs labels: its score function may not
    needs_labels = get_tags(step).target_tags.required or hasattr(step, "score_func")
    return LabeledOnly(step) if needs_labels else step


def on_source(last: Any) -> Any:
    """The last step, trained on labelled rows only unless it reads domains itself."""
    if not _predicts(last) or accepts_domains(last, "fit"):
        return last
    inside = domain_readers_inside(last)
    if not inside:
        return LabeledOnly(last)
    if isinstance(last, sklearn.pipeline.Pipeline):
        *before, (name, end) = last.steps
        if accepts_domains(end, "fit"):
            return last
        steps = [*((key, supervised_on_source(step)) for key, step in before), (name, on_source(end))]
        return sklearn.pipeline.Pipeline(steps, memory=last.memory, verbose=last.verbose)
    searched = getattr(last, "estimator", None) if hasattr(last, "cv") else None
    if isinstance(searched, sklearn.pipeline.Pipeline):
        searched = searched.steps[-1][1]
    if accepts_domains(searched, "fit"):
        return last
    raise ValueError(
        f"{type(last).__name__} holds {inside[0]}, which reads unlabelled rows, beside parts that would learn their "
        "mark as a class. Adapt in a step of its own before it; in a search, build the pipeline with "
        "shallowda.make_pipeline."
    )


def _predicts(last: Any) -> bool:
    # an unfitted StackingClassifier hides its predict: its final estimator may have none
    return hasattr(last, "predict") or (hasattr(last, "fit") and get_tags(last).estimator_type is not None)


def domain_readers_inside(estimator: Any) -> list[str]:
    """Names of the classes among an estimator's parts whose `fit` reads domains."""
    nested = estimator.get_params().values() if hasattr(estimator, "get_params") else ()
    return [type(part).__name__ for part in nested if accepts_domains(part, "fit")]


def refuse_learned_mark(estimator: Any) -> None:
    """Refuse a fitted pipeline whose last step has learned the mark of unlabelled rows as a class.

    A classifier that was put in the place of a `LabeledOnly` does, without anybody noticing at `fit`: it is none of
    ours, and the mark is a label to it. An adapter before it knows better.

    Parameters
    ----------
    estimator : fitted estimator
        Of a search, its best one is looked at.

    Raises
    ------
    ValueError
        If the last step has a class that an adapter before it has read as the mark.
    """
    *before, last = _fitted_steps(getattr(estimator, "best_estimator_", estimator))
    classes = getattr(last, "classes_", None)
    for step in before:
        if not (isinstance(step, DomainAware) and hasattr(step, "classes_") and isinstance(classes, np.ndarray)):
            continue
        if marks := learned_marks(classes, step.classes_):
            name = type(last).__name__
            raise ValueError(
                f"{name} has learned {marks[0]!r} as a class, which {type(step).__name__} before it has read as the "
                "mark of unlabelled target rows. The last step of a pipeline must be wrapped, and set_params and "
                f"searches that replace it remove the wrapper: replace it by LabeledOnly({name}(...)), or what is "
                "inside it, as set_params(<name of the step>__estimator=...) does."
            )


def _fitted_steps(estimator: Any) -> list:
    if isinstance(estimator, sklearn.pipeline.Pipeline):
        return [inner for _, step in estimator.steps for inner in _fitted_steps(step)]
    return [estimator]
