"""Warnings that point at the user's line, however deep in this package or in scikit-learn they arise."""

from __future__ import annotations

import sys
import warnings

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
