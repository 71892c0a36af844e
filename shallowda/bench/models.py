"""Estimators from their names and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.discovery import all_estimators

import shallowda
import shallowda.model_selection
from shallowda.pipeline import make_pipeline, on_source

__all__ = ["build", "estimators", "seeded"]


@cache
def estimators() -> dict[str, type]:
    """Classes that a benchmark may name: those of shallowda and shallowda.model_selection, estimators of scikit-learn.

    Returns
    -------
    classes : dict of str to type
        Where a name is in both libraries, it is shallowda's.
    """
    ours = [getattr(module, name) for module in (shallowda.model_selection, shallowda) for name in module.__all__]
    classes = {value.__name__: value for value in ours if isinstance(value, type) and not issubclass(value, Warning)}
    return dict(all_estimators()) | classes


def build(model: Any) -> Any:
    """The estimator that a model of a benchmark describes, not fitted.

    Parameters
    ----------
    model : str, dict or list
        A name of `estimators`; a table ``{"estimator": name, "params": {...}}`` whose parameters may hold such tables
        again; or a list of both, which is a `shallowda.make_pipeline`.

    Returns
    -------
    estimator : estimator
        Trained on labelled rows only, unless it reads domains itself.

    Raises
    ------
    ValueError
        If a name is unknown, or a parameter does not exist or cannot have its value.

    Examples
    --------
    >>> from shallowda.bench import build
    >>> build({"estimator": "CORAL", "params": {"estimator": {"estimator": "SVC", "params": {"kernel": "linear"}}}})
    CORAL(estimator=SVC(kernel='linear'))
    >>> build("LogisticRegression")
    LabeledOnly(estimator=LogisticRegression())
    """
    if isinstance(model, list):
        if not model:
            raise ValueError("a model that is a list must hold one estimator or more.")
        return make_pipeline(*map(_estimator, model))
    return on_source(_estimator(model))


def _estimator(model: Any) -> Any:
    table: Any = {"estimator": model} if isinstance(model, str) else model
    if not _describes_estimator(table):
        raise ValueError(
            'a model is a name, a table such as {estimator = "JDA", params = {n_components = 100}}, or a list of both; '
            f"got {model!r}."
        )
    name = table["estimator"]
    if name not in estimators():
        close = get_close_matches(name, estimators(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"there is no estimator {name!r} in shallowda or scikit-learn{hint}")
    kind = estimators()[name]
    try:
        made = kind(**{key: _value(value) for key, value in table.get("params", {}).items()})
        if isinstance(made, BaseEstimator):
            made._validate_params()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    return made


def _describes_estimator(table: Any) -> bool:
    return (
        isinstance(table, Mapping)
        and isinstance(table.get("estimator"), str)
        and set(table) <= {"estimator", "params"}
        and isinstance(table.get("params", {}), Mapping)
    )


def _value(value: Any) -> Any:
    if _describes_estimator(value):
        return _estimator(value)
    if isinstance(value, Mapping):
        return {key: _value(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_value(entry) for entry in value]
    return value


def seeded(model: Any, seed: int) -> Any:
    """The estimator, with every ``random_state`` that was left open, its parts' too, set.

    Parameters
    ----------
    model : estimator
    seed : int

    Returns
    -------
    model : estimator
        The same object.
    """
    open_ = [
        key for key, value in model.get_params().items() if key.split("__")[-1] == "random_state" and value is None
    ]
    return model.set_params(**dict.fromkeys(open_, seed))
