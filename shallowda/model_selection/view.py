"""A fitted model as scorers and displays see it: what it says of rows, each mapped by the map of its own domain."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags, _safe_indexing, get_tags
from sklearn.utils.metaestimators import available_if

from shallowda.core.contract import domain_codes, label_array, labels_among, minus_ones, unlabelled, value_array
from shallowda.core.enclosing import accepts_domains, domain_readers_inside
from shallowda.kernels.arrays import to_numpy
from shallowda.pipeline import fit_domains, refuse_learned_mark

__all__ = ["SourceModel", "View", "last_step"]


class View:
    """Labels, probabilities and embedding of rows under a fitted estimator, for the scorer of that name.

    A `Pipeline` is walked step by step, so that adapters with a source map of their own (CORAL, SubspaceAlignment,
    PerDomain) apply it to source rows. Rows are target rows where y marks them or `sample_domain` says so.

    Parameters
    ----------
    name : str
        Whose view it is, for messages.
    estimator : fitted estimator
        Of a search, its best one is looked at.
    X : array-like of shape (n, n_features)
    y : array-like of shape (n,) or None
        Labels on source rows, marks on target rows.
    sample_domain : array-like of shape (n,) or None
        >= 0 for source rows, < 0 for target rows.

    Attributes
    ----------
    estimator : fitted estimator
    X : array-like of shape (n, n_features)
    y : ndarray of shape (n,) or None
    codes : ndarray of shape (n,), int
        >= 0 for source rows, < 0 for target rows.
    source, target : ndarray of int
        Positions of the rows of either kind.

    Raises
    ------
    ValueError
        If neither y nor sample_domain says which rows are target rows, or the estimator has learned the mark of target
        rows as a class.
    """

    def __init__(self, name: str, estimator: Any, X: Any, y: Any, sample_domain: Any) -> None:
        searched = hasattr(estimator, "cv_results_") and hasattr(estimator, "best_estimator_")
        self.name, self.estimator, self.X = name, estimator.best_estimator_ if searched else estimator, X
        self._told = sample_domain is not None
        refuse_learned_mark(self.estimator)
        if y is None and sample_domain is None:
            raise ValueError(f"{name} must know which rows are target rows: pass y with its marks, or sample_domain.")
        self.y = None if y is None else label_array(y)
        if sample_domain is not None:
            self.codes = domain_codes(sample_domain, len(sample_domain if y is None else y), y)
        else:
            self.codes = _marked(label_array(y), self.estimator)
        self.source, self.target = np.flatnonzero(self.codes >= 0), np.flatnonzero(self.codes < 0)

    def require(self, *, source: int = 0, target: int = 0) -> None:
        """Refuse rows that hold fewer than this of either domain.

        Parameters
        ----------
        source, target : int, default=0

        Raises
        ------
        ValueError
            If there are fewer, or source rows are needed and y was not given.
        """
        if source and self.y is None:
            raise ValueError(f"{self.name} needs the labels of the source rows: pass y.")
        if len(self.source) < source:
            raise ValueError(
                "y marks every row as unlabelled: there is no label to work with."
                if not len(self.source)
                else f"{self.name} needs at least {source} labelled source rows; there are {len(self.source)}."
            )
        if len(self.target) < target:
            raise ValueError(
                f"{self.name} looks at target rows, and needs at least {target} of them; there are "
                f"{len(self.target)}. In a search, keep them in the test parts: cv=StratifiedSourceTargetKFold("
                "target_test=True)."
            )

    def of_source(self) -> tuple[SourceModel, Any, np.ndarray]:
        """Model, rows and labels of the source, as scikit-learn's scorers take them.

        Returns
        -------
        model : SourceModel
        X : array-like of shape (n_source, n_features)
        y : ndarray of shape (n_source,)
        """
        y, codes = self.source_labels, self.codes[self.source] if self._told else None
        return SourceModel(self.name, self.estimator, y, codes), _safe_indexing(self.X, self.source), y

    @cached_property
    def source_labels(self) -> np.ndarray:
        """Given labels of the source rows."""
        return labels_among(self.y, self.source)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Predicted label of each row."""
        return self.last("predict")

    def reversed(self, labels: np.ndarray) -> View:
        """The view of a clone that was fitted with the roles of the domains exchanged.

        Parameters
        ----------
        labels : ndarray of shape (n,)
            Labels on what are target rows here, marks on the others.

        Returns
        -------
        view : View
            Of the same rows. Where the domains were told, each stays a domain of its own.
        """
        codes = -1 - self.codes if self._told else None
        params = {} if codes is None else fit_domains(self.estimator, codes)
        model = clone(self.estimator).fit(self.X, labels, **params)
        return View(self.name, model, self.X, labels, codes)

    def predict(self, X: Any) -> np.ndarray:
        """Predicted labels of other rows, taken for target rows.

        Parameters
        ----------
        X : array-like of shape (m, n_features)

        Returns
        -------
        labels : ndarray of shape (m,)
        """
        return self.estimator.predict(X)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Class probabilities of each row, if they are more than a vote for one class.

        Raises
        ------
        ValueError
            If the classifier has none, or gives every row to one class with certainty.
        """
        advice = (
            "Use a classifier that has them: estimator=LogisticRegression() in the adapter, or as the last step of "
            "the pipeline."
        )
        last = last_step(self.estimator)
        if not hasattr(last, "predict_proba"):
            raise ValueError(f"{self.name} needs class probabilities, and {type(last).__name__} has none. {advice}")
        probabilities = self.last("predict_proba")
        if np.all(probabilities.max(axis=1, initial=0.0) >= 1.0):
            raise ValueError(
                f"{self.name} needs class probabilities, and every prediction here is certain (one-hot, as of a "
                f"nearest neighbour), so that any model would get the best possible score. {advice}"
            )
        return probabilities

    @cached_property
    def embedding(self) -> np.ndarray:
        """Each row as the base classifier sees it; the rows themselves for a classifier that transforms nothing."""
        final, rows = self._final
        if hasattr(final, "transform") and accepts_domains(final, "transform"):
            rows = final.transform(rows, sample_domain=self.codes)
        return _dense(rows)

    @cached_property
    def inputs(self) -> np.ndarray:
        """The rows themselves."""
        return _dense(self.X)

    @cached_property
    def _final(self) -> tuple[Any, Any]:
        """The last estimator, and the rows as they reach it."""
        final, rows = self.estimator, self.X
        while isinstance(final, Pipeline):
            rows, final = self._transform(final[:-1], rows), final.steps[-1][1]
        return final, rows

    def last(self, method: str) -> np.ndarray:
        """What a method of the last step gives for the rows.

        Parameters
        ----------
        method : {"predict", "predict_proba", "decision_function"}

        Returns
        -------
        result : ndarray of shape (n, ...)
        """
        final, rows = self._final
        return to_numpy(getattr(final, method)(rows, **self._domain_of_rows(final, method)))

    def _transform(self, step: Any, X: Any) -> Any:
        if isinstance(step, Pipeline):
            for _, inner in step.steps:
                X = self._transform(inner, X)
            return X
        if step is None or isinstance(step, str):  # "passthrough"
            return X
        return step.transform(X, **self._domain_of_rows(step, "transform"))

    def _domain_of_rows(self, estimator: Any, method: str) -> dict:
        if accepts_domains(estimator, method):
            known = sorted(getattr(estimator, "transformers_", ()))
            if not self._told and not {-1, 0}.issuperset(known):
                raise ValueError(
                    f"{self.name} does not know which row is of which domain: y tells source from target only, and "
                    f"{type(estimator).__name__} was fitted on the domains {known}. Pass sample_domain to the scorer "
                    "as well. Scikit-learn hands it on with metadata routing only: "
                    "sklearn.set_config(enable_metadata_routing=True), then search.fit(X, y, sample_domain=...) or "
                    'cross_validate(..., params={"sample_domain": ...}).'
                )
            return {"sample_domain": self.codes}
        if inside := domain_readers_inside(estimator):
            raise ValueError(
                f"{self.name} cannot reach the source map of {inside[0]} inside {type(estimator).__name__}: it would "
                "score source rows by the target's map. Put it in a step of its own."
            )
        return {}


def _last_step_has(method: str) -> Callable[[SourceModel], bool]:
    return lambda model: hasattr(last_step(model.estimator), method)


class SourceModel(BaseEstimator):
    """A fitted model as scikit-learn's scorers see it, to whom every row is one of the source.

    Parameters
    ----------
    name : str
        Whose view it is, for messages.
    estimator : fitted estimator
    y : ndarray of shape (n,)
        Labels of the rows.
    codes : ndarray of shape (n,) or None
        Their domains, where these are known.
    """

    def __init__(self, name: str, estimator: Any, y: np.ndarray, codes: np.ndarray | None) -> None:
        self.name = name
        self.estimator = estimator
        self.y = y
        self.codes = codes

    @property
    def classes_(self) -> np.ndarray:
        """Classes of the model."""
        return self.estimator.classes_

    def predict(self, X: Any) -> np.ndarray:
        """Prediction, as `View.last` gives it."""
        return self._last("predict", X)

    @available_if(_last_step_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities, as `View.last` gives them."""
        return self._last("predict_proba", X)

    @available_if(_last_step_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Decision values, as `View.last` gives them."""
        return self._last("decision_function", X)

    def _last(self, method: str, X: Any) -> np.ndarray:
        return View(self.name, self.estimator, X, self.y, self.codes).last(method)

    def __sklearn_tags__(self) -> Tags:
        return get_tags(self.estimator)


def last_step(estimator: Any) -> Any:
    """The estimator itself, or what a Pipeline ends in.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    last : estimator
    """
    return last_step(estimator.steps[-1][1]) if isinstance(estimator, Pipeline) else estimator


def _marked(y: np.ndarray, estimator: Any) -> np.ndarray:
    if getattr(last_step(estimator), "_regresses", False):  # a weighting method around a regressor
        return np.where(np.isnan(value_array(y)), -1, 0)
    classes = getattr(estimator, "classes_", None)
    if classes is not None and classes.dtype.kind in "if" and -1 in classes and minus_ones(y).any():
        raise ValueError(
            "-1 is one of the classes and the mark of target rows as well, so y does not say which rows are target "
            "rows. If it is a label, pass sample_domain (in a search, by metadata routing). If it is not, the model "
            "has learned the mark: a classifier at the end of a pipeline belongs in LabeledOnly, and a tool that "
            "encodes or splits y after the adapter, as in make_pipeline(adapter, CalibratedClassifierCV(classifier))."
        )
    return np.where(unlabelled(y), -1, 0)


def _dense(rows: Any) -> np.ndarray:
    return np.asarray(to_numpy(rows.toarray() if hasattr(rows, "toarray") else rows), dtype=float)
