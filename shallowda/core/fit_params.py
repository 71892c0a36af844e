"""What the fit of an inner estimator is given beside rows and labels: which parameters, and of which rows."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import sklearn
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import process_routing

from shallowda.kernels.arrays import is_foreign, to_numpy

__all__ = ["params_of_source"]

_WEIGHT = "sample_weight"


def params_of_source(
    owner: Any,
    inner: Any,
    source: np.ndarray,
    params: Mapping[str, Any],
    *,
    sample_domain: Any = None,
    method: str = "fit",
) -> dict[str, Any]:
    """Parameters for the fit of an estimator that is trained on the source rows of its owner.

    Parameters
    ----------
    owner : estimator
        Whose method was called. With metadata routing its router says what the inner estimator, which it knows as
        ``estimator``, requests.
    inner : estimator
        That is to be fitted.
    source : ndarray of shape (n,), bool
        Mask of the source rows.
    params : dict
        As they were passed to the owner. A value of None counts as not passed.
    sample_domain : array-like of shape (n,), optional
        As it was passed to the owner; for an inner estimator that requests it.
    method : str, default="fit"
        The owner's, for its router.

    Returns
    -------
    params : dict
        What has one entry per row is cut to the source rows, so that entries of target rows are never read.

    Raises
    ------
    ValueError
        If the inner estimator takes no ``sample_weight`` and it was passed, or if weights are not finite numbers of the
        source rows that are at least zero.
    """
    params = {name: value for name, value in params.items() if value is not None}
    if _WEIGHT in params and not _takes(inner, _WEIGHT):
        raise ValueError(
            f"{_WEIGHT} was passed to {type(owner).__name__}, and {type(inner).__name__}, which it trains, takes none. "
            "Pass another estimator, one whose fit takes it: LogisticRegression(), for example."
        )
    if sklearn.get_config()["enable_metadata_routing"]:
        params = process_routing(owner, method, sample_domain=sample_domain, **params).estimator.fit
    return {name: _of_source(name, value, source) for name, value in params.items()}


def _takes(estimator: Any, name: str) -> bool:
    parameters = inspect.signature(estimator.fit).parameters
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _of_source(name: str, value: Any, source: np.ndarray) -> Any:
    value = to_numpy(value) if is_foreign(value) else value
    if name.rpartition("__")[2] == _WEIGHT:
        return _weights(name, np.asarray(value), source)
    per_row = np.ndim(value) >= 1 and len(value) == len(source)
    return _safe_indexing(value, np.flatnonzero(source)) if per_row else value


def _weights(name: str, given: np.ndarray, source: np.ndarray) -> np.ndarray:
    if given.shape != source.shape:
        raise ValueError(
            f"{name} must have shape {source.shape}, one entry per row of X; it has shape {given.shape}. Entries of "
            "target rows are not read: NaN will do."
        )
    try:
        weights = given[source].astype(float)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must hold numbers; it holds {given.dtype} values such as {given[:1].tolist()}."
        ) from None
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise ValueError(
            f"{name} must be finite and not negative on source rows; it is not on {len(wrong)} of them (row "
            f"{np.flatnonzero(source)[wrong[0]]}: {weights[wrong[0]]:g})."
        )
    if not weights.any():
        raise ValueError(f"{name} is zero on every source row, so there is nothing to train on.")
    return weights
