"""Warnings that point at the user's line, however deep in this package or in scikit-learn they arise."""

from __future__ import annotations

import sys
import warnings
from typing import Any

_INSIDE = {"shallowda", "sklearn", "joblib"}
_SCORERS = "sklearn.metrics._scorer"  # where scoring="accuracy" and its like call an estimator from


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


def labels_being_scored() -> Any:
    """The labels that a scorer of scikit-learn holds while it calls this package; None where none does.

    scikit-learn's own scorers take the marks of target rows for labels, and pass them to no one who could say so.
    """
    frame = sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _INSIDE:
        if frame.f_globals.get("__name__") == _SCORERS and "y_true" in frame.f_locals:
            return frame.f_locals["y_true"]
        frame = frame.f_back
    return None
