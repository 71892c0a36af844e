"""Domain adaptation inside a plain scikit-learn `Pipeline`: `PerDomain`, `LabeledOnly`, `make_pipeline`."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.pipeline
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags, _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_array, check_is_fitted, column_or_1d, validate_data

from shallowda.core.contract import (
    domain_codes,
    domains_of_part,
    label_array,
    labels_among,
    learned_marks,
    minus_ones,
    row_domains,
    unlabelled,
    warn_without_target,
)
from shallowda.core.enclosing import accepts_domains, domain_readers_inside, warn_of_learned_mark
from shallowda.core.estimator import DomainAware, labels_to_score
from shallowda.core.fit_params import params_of_source
from shallowda.core.moment_adapter import MomentAdapter
from shallowda.core.parameters import HintedParameters
from shallowda.core.rows import naming_column, on_host
from shallowda.kernels.arrays import from_numpy, is_foreign, is_numpy, to_numpy

__all__ = [
    "LabeledOnly",
    "PerDomain",
    "fit_domains",
    "make_pipeline",
    "on_source",
    "partial_fit",
    "refuse_learned_mark",
]

_ENOUGH_ROWS = 10  # of a domain that PerDomain has not seen, to fit a transformer on: a mean is then known to 0.3 sd


def fit_domains(estimator: Any, codes: np.ndarray) -> dict[str, Any]:
    """Arguments of `fit` by which all parts of the estimator that read domains get them.

    Parameters
    ----------
    estimator : estimator
        Of a Pipeline, every step.
    codes : ndarray of shape (n_samples,), int
        Domain of each row.

    Returns
    -------
    params : dict
    """
    if accepts_domains(estimator, "fit"):
        return {"sample_domain": codes}
    if not isinstance(estimator, sklearn.pipeline.Pipeline):
        return {}
    params = {
        f"{name}__{key}": value for name, step in estimator.steps for key, value in fit_domains(step, codes).items()
    }
    return {"sample_domain": codes} if params and sklearn.get_config()["enable_metadata_routing"] else params


def _given(X: Any) -> Any:
    """Rows as estimators of other packages take them: arrays of other libraries are copied to NumPy's."""
    return to_numpy(X) if is_foreign(X) else X


def _back(Z: Any, X: Any) -> Any:
    """What an estimator made of `_given` rows, where the rows are."""
    return from_numpy(Z, X) if is_foreign(X) and is_numpy(Z) else Z


def _learns_in_parts(self: PerDomain) -> bool:
    """Check for `available_if`: the transformer has `partial_fit`."""
    if not hasattr(self.transformer, "partial_fit"):
        raise AttributeError(
            f"{type(self.transformer).__name__} has no partial_fit, so PerDomain cannot learn in parts. Use fit."
        )
    return True


class PerDomain(HintedParameters, TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """One copy of a transformer for each domain, as for z-scores per domain.

    Each source domain and the target get a transformer fitted on their own rows. Rows to `transform` are target rows
    unless `sample_domain` says otherwise. A domain that `fit` was not told of, such as a subject that is held out, gets
    a transformer of the rows at hand: it needs no labels, but it needs rows.

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
    __metadata_request__partial_fit = {"sample_domain": True}
    __metadata_request__transform = {"sample_domain": True}

    _parameter_constraints: dict = {"transformer": [HasMethods(["fit", "transform"])]}

    _numbered = False  # whether `fit` was given numbers of domains; models saved by an earlier release do not know
    _labels: np.ndarray | None = None  # the different labels of source rows; models of an earlier release have none

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def _validated(self, X: ArrayLike, reset: bool) -> np.ndarray:
        # whether NaN is welcome is the transformer's to say: an imputer may stand at the head of a pipeline
        allowed = [np.float64, np.float32]
        with naming_column(X):
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
        self._numbered = sample_domain is not None
        self._labels = _different_labels(None, y, codes)
        return X, codes

    @available_if(_learns_in_parts)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None
    ) -> PerDomain:
        """Learn from some more rows of any domain, without the earlier ones.

        There for transformers that have it, such as `StandardScaler`. The transformers are then those of a `fit` on all
        rows so far, as far as theirs are. Rows that were transformed before stay as they were: for an adapter after
        this step use `shallowda.pipeline.partial_fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At the first call source rows, at best with target rows; later rows of any domain.
        y : array-like of shape (n_samples,), optional
            Read for its marks of target rows only. Later, without `y` and `sample_domain`, all rows are target rows.
        sample_domain : array-like of shape (n_samples,), optional
            Domain of each row; each value is a domain of its own, which may also come later.

        Returns
        -------
        self : PerDomain

        Raises
        ------
        ValueError
            If rows, marks and domains do not fit each other or those before. The transformers then stay as they were.

        Warns
        -----
        NoTargetWarning
            As long as there is no target row.
        """
        self._validate_params()
        first = not hasattr(self, "transformers_")
        X = self._validated(X, reset=first)
        y = None if y is None else column_or_1d(label_array(y), warn=True)
        codes = domains_of_part(y, sample_domain, len(X), first=first, labels=self._labels)
        transformers = {} if first else dict(self.transformers_)
        for code in np.unique(codes).tolist():
            known = deepcopy(transformers[code]) if code in transformers else clone(self.transformer)
            transformers[code] = known.partial_fit(X[codes == code])
        if min(transformers) >= 0:
            warn_without_target(
                "PerDomain has seen no target rows yet: target rows will be transformed like the source.",
                y,
                sample_domain,
            )
        self.transformers_, self._labels = transformers, _different_labels(self._labels, y, codes)
        self._numbered = self._numbered or sample_domain is not None
        return self

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
        rows, codes = self._fit(X, y, sample_domain)
        warn_of_learned_mark(self, y, codes >= 0)
        return _back(self._apply(rows, codes), X)

    def transform(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Transform rows, each by the transformer of its domain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            Domain of each row; all are target when it is not given. Where `fit` went by the marks of y, it knows one
            source and one target, and every code >= 0 (< 0) means that one. Where `fit` was given `sample_domain`, a
            domain that was not in it is transformed by a transformer fitted on its rows in X: other rows beside them
            change the result, so pass all rows of that domain at once.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)

        Raises
        ------
        ValueError
            If a row's domain was not fitted, and X holds fewer than 10 rows of it.
        """
        check_is_fitted(self)
        rows = self._validated(X, reset=False)
        if sample_domain is None:
            return _back(self._apply(rows, np.full(len(rows), -1)), X)
        return _back(self._apply(rows, domain_codes(sample_domain, len(rows)), told=self._numbered), X)

    def _apply(self, X: np.ndarray, codes: np.ndarray, *, told: bool = False) -> np.ndarray:
        """The rows, each by the transformer of its domain; `told` says whether codes are numbers as `fit` got them."""
        parts = [
            (codes == code, self._transformer_of(int(code), X[codes == code], told).transform(X[codes == code]))
            for code in np.unique(codes)
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

    def _transformer_of(self, code: int, rows: np.ndarray, told: bool) -> Any:
        """Transformer of a domain, of which these rows are at hand."""
        if code in self.transformers_:
            return self.transformers_[code]
        same_side = [fitted for known, fitted in self.transformers_.items() if (known < 0) == (code < 0)]
        like_the_source = not same_side  # no target was fitted, and `fit` has warned of that
        same_side = same_side or list(self.transformers_.values())
        if len(same_side) == 1 and (like_the_source or not told):
            return same_side[0]
        if told and len(rows) >= _ENOUGH_ROWS:
            return clone(self.transformer).fit(rows)
        unseen = (
            f"its {len(rows)} rows are too few to fit one on (at least {_ENOUGH_ROWS}): pass more of its rows at once."
            if told
            else "sample_domain was not given, so all rows are target rows. Pass sample_domain, the domain of each row."
        )
        raise ValueError(
            f"No transformer was fitted for domain {code}; fitted domains are {sorted(self.transformers_)}, and "
            f"{unseen}"
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


def _different_labels(seen: np.ndarray | None, y: Any, codes: np.ndarray) -> np.ndarray | None:
    """The different labels of source rows, those seen before among them: what later marks are told apart from."""
    if y is None:
        return seen
    labels = label_array(y)[codes >= 0].ravel()
    labels = labels[~unlabelled(labels) | minus_ones(labels)].tolist()
    return label_array(list(dict.fromkeys([*([] if seen is None else seen.tolist()), *labels])))


def _inner_has(method: str) -> Any:
    """Check for `available_if`: the wrapped estimator has this method."""

    def check(self: LabeledOnly) -> bool:
        return hasattr(getattr(self, "estimator_", self.estimator), method)

    return check


class LabeledOnly(HintedParameters, MetaEstimatorMixin, BaseEstimator):
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
            is cut to the labelled rows, as ``sample_weight``, whose entries of target rows are not read.

        Returns
        -------
        self : LabeledOnly

        Raises
        ------
        ValueError
            If labels are missing or of different types, there is no source row, `sample_domain` or `sample_weight` does
            not fit, or the estimator takes no weights.

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
        codes = row_domains(y, sample_domain, n_samples)
        source = np.flatnonzero(codes >= 0)
        warn_of_learned_mark(self, y, codes >= 0)
        if sample_domain is None and len(source) == n_samples:
            warn_without_target(
                "LabeledOnly was fitted without marked rows, so all rows count as source, and target rows that came "
                "with labels are trained on. sample_domain is for this step too (<name of the step>__sample_domain, or "
                "metadata routing).",
                y,
                sample_domain,
            )
        params = params_of_source(self, self.estimator, codes >= 0, params, sample_domain=sample_domain)
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
        If there is no step, or the last one holds adapters beside parts that cannot be wrapped (an ensemble over both,
        for example).
    TypeError
        If a step resamples rows, as those of imbalanced-learn do: it goes inside the last step.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from shallowda import CORAL, PerDomain, make_pipeline
    >>> pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(), LogisticRegression())
    >>> [name for name, _ in pipe.steps]
    ['perdomain', 'coral', 'logisticregression']
    """
    if not steps:
        raise ValueError(
            "make_pipeline needs at least one step: make_pipeline(StandardScaler(), CORAL()), for example."
        )
    for step in steps:
        resampler = step.estimator if isinstance(step, LabeledOnly) else step
        if hasattr(resampler, "fit_resample"):
            name = type(resampler).__name__
            raise TypeError(
                f"{name} changes the number of rows, which no step may do while target rows pass through. Resample "
                "the labelled rows only, inside the last step, which make_pipeline puts into LabeledOnly: "
                f"make_pipeline(..., imblearn.pipeline.make_pipeline({name}(...), classifier))."
            )
    pipeline = sklearn.pipeline.make_pipeline(*steps, memory=memory, verbose=verbose)
    *before, (name, last) = pipeline.steps
    pipeline.steps = [*((key, supervised_on_source(step)) for key, step in before), (name, on_source(last))]
    return pipeline


def partial_fit(
    pipeline: sklearn.pipeline.Pipeline,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    sample_domain: ArrayLike | None = None,
) -> sklearn.pipeline.Pipeline:
    """Learn from some more rows with a pipeline around an adapter that has `partial_fit`, without the earlier rows.

    Afterwards the pipeline is that of a `fit` on all rows since the first call, up to round-off: when a scaler has
    learned, what the adapter keeps of earlier rows is moved along with it.

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Before the adapter: steps that learn nothing (`Normalizer`, ``FrozenEstimator(PCA().fit(X))``), and at last one
        that scales columns and has `partial_fit` and `inverse_transform`, by itself or in `PerDomain`
        (`StandardScaler`, `MinMaxScaler`, `MaxAbsScaler`). After it: at most a last step, which is trained anew. The
        steps are replaced.
    X : array-like of shape (n_samples, n_features)
        At the first call source rows, at best with target rows; later target rows, source rows, or both.
    y : array-like of shape (n_samples,), optional
        Labels on source rows and marks on target rows. Without `y` and `sample_domain` all rows are target rows.
    sample_domain : array-like of shape (n_samples,), optional
        >= 0 for source rows, < 0 for target rows; for every step that reads domains.

    Returns
    -------
    pipeline : sklearn.pipeline.Pipeline
        The same.

    Raises
    ------
    ValueError
        If a step cannot learn in parts, or cannot move what was learned before; and as `partial_fit` of the adapter.
        The pipeline then stays as it was.
    TypeError
        If it is no pipeline.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from shallowda import CORAL, PerDomain, make_pipeline, pack_domains
    >>> from shallowda.pipeline import partial_fit
    >>> rng = np.random.RandomState(0)
    >>> Xs, ys, batches = rng.randn(40, 2), np.repeat([0, 1], 20), rng.randn(3, 30, 2) + 5
    >>> pipe = make_pipeline(PerDomain(StandardScaler()), CORAL())
    >>> for number, batch in enumerate(batches):
    ...     pipe = partial_fit(pipe, *([batch] if number else pack_domains(Xs, ys, batch)[:2]))
    >>> X, y, _ = pack_domains(Xs, ys, np.concatenate(batches))
    >>> at_once = make_pipeline(PerDomain(StandardScaler()), CORAL()).fit(X, y)
    >>> bool(np.allclose(pipe.transform(X), at_once.transform(X)))
    True
    """
    before, (name, adapter), after = _parts(pipeline)
    adapter._require_beginning(y, sample_domain)
    first, labels = adapter._stream is None, None if adapter._stream is None else adapter._stream.labels
    y = None if y is None else column_or_1d(label_array(y), warn=True)
    codes = domains_of_part(y, sample_domain, _num_samples(X), first=first, labels=labels)
    Z, changed, learned = X, {}, copy(adapter)
    for key, step in before:
        if _learns(step):
            old = clone(step) if first else step
            check_array(Z, input_name="X", estimator=step)  # scalers let NaN pass, which no adapter takes
            step = changed[key] = _learned_on(old, Z, y, codes)
            _require_scaling_of_columns(key, step, Z)
            learned = adapter._rescaled(*(None if first else _moving(old, step, source) for source in (True, False)))
        Z = step.transform(Z, **({"sample_domain": codes} if accepts_domains(step, "transform") else {}))
    changed[name] = learned.partial_fit(Z, y, sample_domain=codes)
    for key, last in after:
        assert learned._stream is not None  # it has just learned
        source = np.zeros(len(learned._stream.rows), dtype=int)
        adapted = _nameless(learned).transform(learned._stream.rows, sample_domain=source)
        told = {"sample_domain": source} if accepts_domains(last, "fit") else {}
        changed[key] = clone(last).fit(adapted, learned._stream.labels, **told)
    pipeline.steps = [(key, changed.get(key, step)) for key, step in pipeline.steps]
    return pipeline


def _parts(pipeline: Any) -> tuple[list, tuple[str, MomentAdapter], list]:
    """The steps before the adapter, the adapter, and those after it; refuses those that cannot learn in parts."""
    if not isinstance(pipeline, sklearn.pipeline.Pipeline):
        raise TypeError(
            f"pipeline must be a Pipeline; it is a {type(pipeline).__name__}. Steps by themselves have a method "
            "partial_fit, if they can learn in parts."
        )
    steps = [(key, step) for key, step in pipeline.steps if step is not None and not isinstance(step, str)]
    places = [place for place, (_, step) in enumerate(steps) if isinstance(step, MomentAdapter)]
    if len(places) != 1:
        raise ValueError(
            f"The pipeline has {len(places)} adapters that learn in parts, and must have one: CORAL, "
            "SubspaceAlignment, SDA, GFK, or TCAEstimator with a linear kernel. For others keep the rows, and fit "
            "again."
        )
    before, (name, adapter), after = steps[: places[0]], steps[places[0]], steps[places[0] + 1 :]
    if reason := adapter._no_stream:
        raise ValueError(f"{reason}, so {type(adapter).__name__} cannot learn in parts. Keep the rows, and fit again.")
    if len(after) > 1 or any(isinstance(step, DomainAware) or not _predicts(step) for _, step in after):
        raise ValueError(
            f"After {name!r} there may be one step, a classifier or regressor of the adapted rows; there are "
            f"{[key for key, _ in after]}."
        )
    for place, (key, step) in enumerate(before):
        if _learns(step) and not (hasattr(step, "partial_fit") and place == len(before) - 1):
            why = "and only the last one before the adapter can" if hasattr(step, "partial_fit") else "and cannot"
            raise ValueError(f"The step {key!r} ({type(step).__name__}) would learn on, {why}. {_FREEZE}")
    return before, (name, adapter), after


_FREEZE = (
    "Fit it once, on the rows at hand, and put it in the pipeline as FrozenEstimator(step) of sklearn.frozen, or leave "
    "it out."
)


def _learns(step: Any) -> bool:
    """Whether a step learns anything when the pipeline is fitted."""
    return get_tags(step).requires_fit and not isinstance(step, FrozenEstimator)


def _learned_on(step: Any, Z: Any, y: Any, codes: np.ndarray) -> Any:
    """A copy of a transformer that has learned from these rows."""
    if accepts_domains(step, "partial_fit"):
        return copy(step).partial_fit(Z, y, sample_domain=codes)
    return deepcopy(step).partial_fit(Z)


def _require_scaling_of_columns(key: str, step: Any, Z: Any) -> None:
    """Refuse a step that does more than to scale each column: what it gave once could not be made what it gives now."""
    for inner in step.transformers_.values() if isinstance(step, PerDomain) else [step]:
        inner, d = _nameless(inner), np.shape(Z)[1]
        if hasattr(inner, "inverse_transform") and np.shape(inner.transform(np.zeros((1, d))))[1] == d:
            points = np.stack([np.zeros(d), np.ones(d), np.linspace(-9.0, 7.0, d)])
            zero, one, _ = inner.inverse_transform(points)
            found = np.asarray(inner.transform(zero + points * (one - zero)))
            if np.allclose(found, points, atol=1e-2):
                continue
        raise ValueError(
            f"The step {key!r} does more than to scale columns, as StandardScaler and MinMaxScaler do, so that it "
            f"cannot learn on: what is kept of earlier rows could not be moved along. {_FREEZE}"
        )


def _moving(old: Any, new: Any, source: bool) -> Callable[[np.ndarray], np.ndarray] | None:
    """What makes of earlier rows of a side, as `old` gave them, those that `new` gives; None where nothing changes."""
    if isinstance(old, PerDomain):
        side = [code for code in old.transformers_ if (code >= 0) == source]
        if all(new.transformers_[code] is old.transformers_[code] for code in side):
            return None
        if len(side) > 1:
            raise ValueError(
                f"There are {len(side)} {'source' if source else 'target'} domains, and it is not kept which rows came "
                "from which, so that they cannot be moved along with a scaler of their own. Take them for one domain "
                "(sample_domain 0 for every source row, -1 for every target row), or fit again."
            )
        old, new = old.transformers_[side[0]], new.transformers_[side[0]]
    before, after = _nameless(old), _nameless(new)
    return lambda rows: np.asarray(after.transform(before.inverse_transform(rows)))


def _nameless(step: Any) -> Any:
    """A copy that takes arrays without a warning, also where it was fitted on a DataFrame."""
    copied = copy(step)
    vars(copied).pop("feature_names_in_", None)
    return copied


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
