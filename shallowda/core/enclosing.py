"""What stands around an estimator that is being fitted: pipelines, which hand marked rows on to their next steps.

A transformer cannot drop rows. It is called with rows and labels, and never told who will see them next, so that a
classifier after it in a plain scikit-learn pipeline learns the mark of target rows as a class. Scikit-learn shows that
classifier to none of our code, and our rows to nobody who knows the mark. What can be seen is who calls: a method of
the pipeline is on the stack. Somebody who wants the embedding calls `fit_transform` without one, and hears nothing.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.pipeline import Pipeline

from shallowda.core.messages import warn

__all__ = ["LearnedMarkWarning", "accepts_domains", "domain_readers_inside", "warn_of_learned_mark"]


class LearnedMarkWarning(UserWarning):
    """The last step of a scikit-learn pipeline is fitted on marked target rows, as if the mark were a label."""


def accepts_domains(estimator: Any, method: str) -> bool:
    """Whether a method of the estimator has the parameter `sample_domain`."""
    function = getattr(estimator, method, None)
    return function is not None and "sample_domain" in inspect.signature(function).parameters


def domain_readers_inside(estimator: Any) -> list[str]:
    """Names of the classes among an estimator's parts whose `fit` reads domains."""
    nested = estimator.get_params().values() if hasattr(estimator, "get_params") else ()
    return [type(part).__name__ for part in nested if accepts_domains(part, "fit")]


def warn_of_learned_mark(step: Any, y: Any, source: np.ndarray) -> None:
    """Say so where a pipeline on the stack will train its last step on target rows.

    Called by what reads domains and hands all rows on. Without such a pipeline, as where somebody wants the embedding,
    nothing is said. Of several steps that read domains the last one speaks.

    Parameters
    ----------
    step : estimator
        That is being fitted.
    y : array-like or None
        The labels it was given: none, and no classifier can follow.
    source : ndarray of shape (n,), bool
        Which rows are source rows.

    Warns
    -----
    LearnedMarkWarning
    """
    if y is None or source.all():
        return
    for pipeline in _pipelines_around():
        *before, last = (part for _, part in pipeline.steps)
        kinds = map(_kinds, before)
        readers = [found for found in kinds if any(accepts_domains(kind, "fit") for kind in found)]
        if readers and type(step) in readers[-1] and _learns_from_every_row(last):
            name = type(last).__name__
            warn(
                f"{name}, the last step of this pipeline, is fitted on the {int(np.sum(~source))} target rows too, and "
                "takes what stands in y there, as a rule the mark -1, for labels. Build the pipeline with "
                f"shallowda.make_pipeline, or make the step LabeledOnly({name}(...)).",
                LearnedMarkWarning,
            )
            return


def _pipelines_around() -> Iterator[Pipeline]:
    """Pipelines of scikit-learn with a method on the stack, from the inside out."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_varnames[:1] == ("self",) and isinstance(owner := frame.f_locals.get("self"), Pipeline):
            yield owner


def _learns_from_every_row(last: Any) -> bool:
    """Whether it is a classifier or regressor that knows neither domains nor marks."""
    if not hasattr(last, "fit") or not (is_classifier(last) or is_regressor(last)):
        return False
    return not any(
        accepts_domains(kind, "fit") or kind.__module__.startswith("sklearn.semi_supervised")  # -1 is their mark too
        for kind in _kinds(last)
    )


def _kinds(part: Any) -> set[type]:
    """Types of an estimator and of its parts: in a pipeline that caches, the one that is fitted is a clone."""
    return {type(part), *map(type, part.get_params().values())} if hasattr(part, "get_params") else {type(part)}
