"""Warnings that point at the user's line, however deep in this package or in scikit-learn they arise."""

from __future__ import annotations

import sys
import warnings

import numpy as np

__all__ = ["warn", "warn_source_score"]

_INSIDE = {"shallowda", "sklearn", "joblib"}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """`warnings.warn` for the first caller outside this package, scikit-learn and joblib.

    Parameters
    ----------
    message : str
    category : type of Warning, default=UserWarning
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def warn_source_score(name: str, known: np.ndarray, *, regresses: bool = False) -> None:
    """Say that a score on marked rows speaks of the source only.

    Parameters
    ----------
    name : str
        Of the class that scores.
    known : ndarray of shape (n,), bool
        Which rows have a label.
    regresses : bool, default=False
        Whether the score is that of a regressor.
    """
    score, by_name = ("R^2", 'source_score("r2")') if regresses else ("accuracy", "source_accuracy")
    warn(
        f"{name}.score: {int(np.sum(~known))} rows are marked as unlabelled and left out; the rest are source rows, "
        f"so this is {score} on the source. shallowda.model_selection.{by_name} asks for it by name, and maps each row "
        "by the source's own map.",
    )
