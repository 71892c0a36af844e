"""What every estimator here shares: reading the contract, where it computes, and what is kept of a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, is_classifier, is_regressor
from sklearn.metrics import accuracy_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from shallowda.core.contract import (
    Domains,
    domain_codes,
    known_labels,
    label_array,
    labels_among,
    no_classes,
    read_domains,
    warn_without_target,
)
from shallowda.core.fit_params import params_of_source
from shallowda.core.messages import warn_source_score
from shallowda.core.nearest import OneNearestNeighbor
from shallowda.core.parameters import HintedParameters
from shallowda.core.rows import on_their_device, read_only, require_range, validated_rows
from shallowda.kernels.arrays import (
    Array,
    ArrayHolder,
    from_numpy,
    full_precision,
    is_foreign,
    is_numpy,
    library,
    namespace,
    on_backend,
    strict_linalg,
    to_numpy,
)
from shallowda.kernels.copies import first_equal
from shallowda.kernels.planning import Plan, memory_of, plan, resolve_backend, resolve_budget, thresholds
from shallowda.kernels.threads import one_blas_thread, parts

__all__ = [
    "BACKENDS",
    "DomainAware",
    "DomainAwareClassifier",
    "base_has",
    "computing",
    "for_base",
    "kept_types",
    "labels_to_score",
    "require_classifier",
]

#: Constraint of the parameter that says where to compute.
BACKENDS = StrOptions({"auto", "numpy", "cupy"})

# of new rows, of their kernel values and of a model, in float64 at most: what is on the device while rows are mapped
_ROW_COPIES, _VALUE_COPIES, _MODEL_COPIES = 10, 3, 4


@contextmanager
def computing(*rows: Array, fitted: int = 0) -> Iterator[None]:
    """Context of what is computed of these rows: a failed decomposition is an error; small ones leave BLAS one thread.

    Products in float32 keep its digits on a device too.

    Used where all of fit and of predict passes, so that no method sets threads by itself. `fitted` is the number of
    rows that a model, which new rows may be compared with, was fitted on.
    """
    n, d = fitted + sum(part.shape[0] for part in rows), rows[0].shape[1]
    small = is_numpy(rows[0]) and n * max(n, d) <= thresholds().one_thread_entries
    with one_blas_thread() if small else nullcontext(), strict_linalg(rows[0]), full_precision(rows[0]):
        yield


class DomainAware(HintedParameters, BaseEstimator):
    """An estimator fitted on the rows of both domains under the contract of `shallowda.core.contract`."""

    __metadata_request__fit = {"sample_domain": True}

    #: What kind of method it is, in words: each base class of methods has its own.
    kind: ClassVar[str]

    #: Whether `fit` cannot do without the class labels of the source.
    _requires_labels = True

    #: Types of objects, beside arrays and plain values, that fitted attributes hold: `shallowda.load` makes them.
    _kept_types: ClassVar[tuple[type, ...]] = (Plan,)

    backend: str

    _library: str  # whose arrays it was fitted on
    _n_fit = 0  # rows of the fit; models saved by an earlier release do not know

    def _base(self) -> Any:
        """Unfitted estimator that `fit` trains on the source rows; None where a method trains none."""
        return None

    def _read(
        self, X: ArrayLike, y: Any, sample_domain: Any, params: Mapping[str, Any], method: str = "fit"
    ) -> tuple[Array, Domains]:
        """Validated rows and their domains; sets `classes_` where there are class labels.

        `params` are what else the `method` was called with: for the fit of the base estimator.
        """
        self._fitted = False
        self._validate_params()
        name = type(self).__name__
        X = validated_rows(self, X, reset=True, min_rows=2)
        require_range(X)
        if y is None and self._requires_labels:
            raise ValueError(
                f"{name} requires y to be passed, but the target y is None: give the source's class labels."
            )
        domains = self._domains(y, sample_domain, X.shape[0])
        if domains.values is not None and self._requires_labels:
            raise ValueError(
                f"Unknown label type: continuous. {no_classes(domains.values)} {name} needs class labels on the source "
                "rows."
            )
        if not domains.has_target:
            warn_without_target(f"{name} was fitted without target rows, so nothing is adapted.", y, sample_domain)
        params = self._params_of_base(domains, y, sample_domain, params, method)
        self._restart(domains)
        return X, replace(domains, params=params)

    def _params_of_base(
        self, domains: Domains, y: Any, sample_domain: Any, params: Mapping[str, Any], method: str
    ) -> dict[str, Any]:
        """Parameters for the fit of the base estimator, of the source rows."""
        name, given = type(self).__name__, [key for key, value in params.items() if value is not None]
        base = self._base()
        if base is None and given:
            raise TypeError(
                f"{name} takes no {' and no '.join(given)}. Adapters pass it to the fit of their base classifier, and "
                "weighting methods to that of their estimator: CORAL(estimator=LogisticRegression()), for example."
            )
        if y is None and given:
            raise ValueError(f"{name} trains nothing without y, so {' and '.join(given)} would have no effect: pass y.")
        if base is None or y is None:
            return {}
        return params_of_source(self, base, domains.source, params, sample_domain=sample_domain, method=method)

    def get_metadata_routing(self) -> MetadataRouter:
        """Requests: `sample_domain` for itself, and anything that the base estimator's fit asks for.

        Returns
        -------
        routing : MetadataRouter
        """
        router, base = MetadataRouter(owner=self).add_self_request(self), self._base()
        if base is None:
            return router
        mapping = MethodMapping().add(caller="fit", callee="fit").add(caller="fit_transform", callee="fit")
        return router.add(estimator=base, method_mapping=mapping)

    def _domains(self, y: Any, sample_domain: Any, n_rows: int) -> Domains:
        """What y and `sample_domain` say."""
        return read_domains(y, sample_domain, n_rows)

    def _restart(self, domains: Domains) -> None:
        """Drop what an earlier fit has learned; keep the class labels where there are any."""
        for stale in [key for key in vars(self) if key.endswith("_") and not key.endswith("_in_")]:
            delattr(self, stale)
        if domains.n_classes:
            self.classes_ = domains.classes

    def __sklearn_is_fitted__(self) -> bool:
        return getattr(self, "_fitted", False)

    @on_their_device
    def _rows(self, X: ArrayLike, sample_domain: Any) -> tuple[Array, np.ndarray]:
        """Validated new rows, and the mask of those to treat as source: none unless `sample_domain` says so."""
        check_is_fitted(self)
        X = validated_rows(self, X, reset=False)
        require_range(X, small=False)
        if self._library not in ("numpy", library(X)):
            raise ValueError(
                f"This {type(self).__name__} was fitted on arrays of {self._library} and keeps its results there; X is "
                f"an array of {library(X)}. Pass X as {self._library} array."
            )
        self._require_device(X)
        if sample_domain is None:
            return X, np.zeros(X.shape[0], dtype=bool)
        return X, domain_codes(sample_domain, X.shape[0]) >= 0

    def _require_device(self, X: Array) -> None:
        """Refuse rows that are not on the device of the fitted arrays; NumPy's go to any."""
        devices = []

        def noted(array: Array) -> Array:
            devices.extend([array.device] if is_foreign(array) else [])
            return array

        copy(self)._move(noted, is_foreign)
        device = devices[0] if devices else X.device
        if device != X.device:
            raise ValueError(
                f"This {type(self).__name__} was fitted on rows on the device {device} and keeps its results there; X "
                f"is on {X.device}. Move X to the device of the fit."
            )

    @property
    def _chosen_backend(self) -> str:
        """Where to compute, as the user says."""
        return self.backend

    def _problem(self, domains: Domains | None) -> dict[str, Any]:
        """What `shallowda.kernels.planning.plan` has to know of the method, beside its rows; see there."""
        return {"kernel": None, "k": 1 if domains is None else max(domains.n_classes, 1), "form": "domains"}

    def _planned(self, X: Array, domains: Domains | None, n: int | None = None) -> Plan:
        """Where and how a fit of these rows is computed, and what it takes; of n of them where X are only some."""
        dtype = "float32" if X.dtype == namespace(X).float32 else "float64"
        size = (n or X.shape[0], X.shape[1])
        if is_numpy(X):
            return plan(*size, dtype=dtype, backend=self._chosen_backend, **self._problem(domains))
        self._require_backend(X)
        return plan(*size, dtype=dtype, backend=memory_of(X), copied=False, **self._problem(domains))

    def _placed(self, X: Array, domains: Domains | None) -> Array:
        """The rows where they are fitted: where they are, or a copy on the device. That is decided here, as `plan_`."""
        self.plan_ = self._planned(X, domains)
        return on_backend(X, self.plan_.backend)

    def _require_backend(self, X: Array) -> None:
        """Refuse arrays of a library that is not the one to compute with."""
        if self._chosen_backend not in ("auto", library(X)):
            raise ValueError(
                f"X is an array of {library(X)}, and backend={self._chosen_backend!r}. Use backend='auto'."
            )

    def _by_blocks(self, X: Array, compute: Callable[[Self, Array, slice], Array]) -> Array:
        """What is computed of new rows: where they are, or on the device in blocks that there is room for.

        Parameters
        ----------
        X : array of shape (m, d)
        compute : callable
            Takes the model with its arrays beside the rows, some rows, and which of all they are; returns an array with
            a row for each.

        Returns
        -------
        results : array of shape (m, ...)
            Where X is.
        """
        m, height = X.shape[0], self._block_height(X)
        if height is None:
            return compute(self._beside(X), X, slice(0, m))
        model, results = None, []
        for block in parts(m, height):
            rows = on_backend(X[block], "cupy")
            model = model or self._beside(rows)
            with strict_linalg(rows):
                results.append(to_numpy(compute(model, rows, block)))
        return np.concatenate(results)

    def _block_height(self, X: Array) -> int | None:
        """How many new rows go to the device at a time; None where they are computed with where they are."""
        if not is_numpy(X):
            self._require_backend(X)
            return None
        if resolve_backend(self._chosen_backend, *X.shape) != "cupy":
            return None
        sizes: list[int] = []

        def weighed(array: Array) -> Array:
            sizes.append(array.nbytes)
            return array

        copy(self)._move(weighed, is_numpy)
        n_kernel = X.shape[1] if getattr(self, "kernel", None) == "precomputed" else len(getattr(self, "X_fit_", ()))
        per_row = 8 * (_ROW_COPIES * X.shape[1] + _VALUE_COPIES * n_kernel)
        free = resolve_budget(getattr(self, "memory_budget", None), "cupy")
        height = (free - _MODEL_COPIES * sum(sizes)) // per_row
        if height >= 1:
            return int(height)
        if self._chosen_backend == "auto":
            return None
        raise MemoryError(
            f"The fitted arrays of this {type(self).__name__} and one row of X do not fit into the {free} bytes of the "
            "device that may be used. Raise memory_budget where there is one, or use backend='numpy'."
        )

    def _keep(self, X: Array) -> None:
        """Bring fitted attributes to where the user's X is, and call it a fit."""
        self._library, self._n_fit = library(X), X.shape[0]
        if is_numpy(X):
            self._move(to_numpy, is_foreign)
        self._fitted = True

    def _beside(self, rows: Array) -> Self:
        """The model with its fitted arrays where the rows are; itself where they are there already."""
        if is_numpy(rows) or self._library != "numpy":
            return self
        moved = copy(self)
        moved._move(lambda array: from_numpy(array, rows), lambda value: is_numpy(value) and value.dtype.kind == "f")
        return moved

    def _move(self, move: Callable[[Array], Array], wanted: Callable[[Any], bool]) -> None:
        """Move those fitted attributes that are arrays, or made of arrays."""
        for name, value in list(vars(self).items()):
            if name.endswith("_"):
                if isinstance(value, ArrayHolder):
                    setattr(self, name, value.moved(move))
                elif wanted(value):
                    setattr(self, name, move(value))


class DomainAwareClassifier(ClassifierMixin, DomainAware):
    """A classifier fitted on the rows of both domains, with a score that knows marked rows."""

    __metadata_request__predict = {"sample_domain": True}
    __metadata_request__predict_proba = {"sample_domain": True}
    __metadata_request__decision_function = {"sample_domain": True}
    __metadata_request__score = {"sample_domain": True}

    #: Whether rows of the source are mapped by a map of their own; if not, rows are equal whatever their domains.
    _has_source_map = False

    def _first_equal(self, rows: Array, source: np.ndarray) -> np.ndarray:
        """For each row the place of the first one with the same map and values: both get one result."""
        return first_equal(rows, apart=source if self._has_source_map else None)

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
        y, known = labels_to_score(self, y, said=sample_domain is not None)
        if sample_domain is None and not known.all():
            sample_domain = np.where(known, 0, -1)
        predicted = self.predict(X, sample_domain=sample_domain)
        weight = None if sample_weight is None else to_numpy(sample_weight)[known]
        return float(accuracy_score(labels_among(y, known), predicted[known], sample_weight=weight))


def labels_to_score(estimator: Any, y: ArrayLike, *, said: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels that an estimator is to be scored with, and which of them are known.

    Parameters
    ----------
    estimator : fitted estimator
    y : array-like of shape (n,)
    said : bool, default=False
        Whether the domains of the rows were given beside y.

    Returns
    -------
    y : ndarray of shape (n,)
    known : ndarray of shape (n,), bool

    Raises
    ------
    ValueError
        If no label is known.

    Warns
    -----
    UserWarning
        If rows are marked and the domains were not given: the score is then one of the source.
    """
    y = label_array(y)
    known = known_labels(y, getattr(estimator, "classes_", None))
    if not said and not known.all():
        warn_source_score(type(estimator).__name__, known, regresses=is_regressor(estimator))
    return y, known


def require_classifier(estimator: Any) -> Any:
    """The estimator, if it is a classifier.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    estimator : classifier

    Raises
    ------
    ValueError
    """
    if not is_classifier(estimator):
        raise ValueError(
            f"estimator must be a classifier, and {type(estimator).__name__} is not. To predict something else from "
            "adapted features, put the predictor after the adapter in a pipeline: shallowda.make_pipeline."
        )
    return estimator


def base_has(method: str) -> Callable[[Any], bool]:
    """Check for `available_if`: the base estimator, fitted or to be fitted, has this method.

    Parameters
    ----------
    method : str

    Returns
    -------
    check : callable
        Takes an estimator with `_base`, which makes its unfitted base estimator.
    """

    def check(estimator: Any) -> bool:
        return hasattr(estimator.estimator_ if hasattr(estimator, "estimator_") else estimator._base(), method)

    return check


def for_base(base: Any, Z: Array) -> Array:
    """Rows as a base estimator takes them: only ours is known to take arrays of other libraries.

    Parameters
    ----------
    base : estimator
    Z : array of shape (n, d)

    Returns
    -------
    Z : array of shape (n, d)
        For others than ours a NumPy array that may not be written into: it may be a view of the caller's rows.
    """
    return Z if isinstance(base, OneNearestNeighbor) else read_only(to_numpy(Z))


def kept_types(kind: type) -> set[type]:
    """Types of the objects that the fitted attributes of an estimator hold, beside arrays and plain values.

    Parameters
    ----------
    kind : class

    Returns
    -------
    types : set of class
        Those that the class and its bases declare.
    """
    return {part for base in kind.__mro__ for part in vars(base).get("_kept_types", ())}
