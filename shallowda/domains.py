"""Stacking the rows of two domains under the contract of this package.

Rows of both domains go in together, in any order. ``y`` holds the class of each source row and marks unlabelled target
rows: by -1, by NaN where labels are floats, by "" (or None) where they are strings. ``sample_domain`` names the domain
of each row, >= 0 for source and < 0 for target; where it is given it decides, and labels of target rows are not read.
``shallowda.core.contract`` reads what `pack_domains` writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length, column_or_1d

from shallowda.core.contract import concatenated_labels, is_continuous, label_array
from shallowda.core.messages import warn

__all__ = ["pack_domains"]


def pack_domains(Xs: Any, ys: Any, Xt: Any, yt: Any = None) -> tuple[Any, np.ndarray, np.ndarray]:
    """Stack the domains into the ``X, y, sample_domain`` that every estimator of this package takes.

    Parameters
    ----------
    Xs : array-like of shape (n_source, n_features), or list of such
        Source features; a list of 2-D arrays (or DataFrames) is several source domains.
    ys : array-like of shape (n_source,), or list of such
        Source labels, one array per source domain.
    Xt : array-like of shape (n_target, n_features)
        Target features.
    yt : array-like of shape (n_target,), optional
        Target labels, for evaluation. They are put in `y` as they are, so fit with `sample_domain`: the methods then
        leave them alone. Without it the target rows of `y` carry the mark for "unlabelled".

    Returns
    -------
    X : ndarray, or DataFrame when all inputs are DataFrames of one library; shape (n_source + n_target, n_features)
        Source rows first.
    y : ndarray of shape (n_source + n_target,)
        -1 on target rows; NaN when ys is continuous; "" when labels are strings. Integer labels become int64.
    sample_domain : ndarray of shape (n_source + n_target,), int
        0, 1, ... for the sources in order, -1 for the target.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Warns
    -----
    UserWarning
        If -1 is one of the source labels: `y` alone is then ambiguous and `sample_domain` must be passed to `fit`.

    Examples
    --------
    >>> from shallowda import pack_domains
    >>> X, y, sample_domain = pack_domains([[0.0], [1.0]], [3, 5], [[2.0]])
    >>> y, sample_domain
    (array([ 3,  5, -1]), array([ 0,  0, -1]))
    """
    sources, labels = (list(Xs), list(ys)) if _is_several(Xs) else ([Xs], [ys])
    if len(sources) != len(labels):
        raise ValueError(f"Xs holds {len(sources)} source domains but ys holds {len(labels)} label arrays.")
    for number, (rows, marks) in enumerate(zip(sources, labels, strict=True)):
        if len(rows) != len(marks):
            raise ValueError(f"source domain {number}: {len(rows)} rows of Xs but {len(marks)} labels in ys.")
    X = _stack([*sources, Xt])
    known = [column_or_1d(label_array(marks)) for marks in labels]
    n_target = len(Xt)
    if yt is not None:
        check_consistent_length(Xt, yt)
        y = concatenated_labels([*known, column_or_1d(label_array(yt))])
    else:
        y = _append_marks(concatenated_labels(known), n_target)
    codes = np.repeat([*range(len(sources)), -1], [*map(len, sources), n_target])
    return X, y, codes


def _append_marks(known: np.ndarray, n_target: int) -> np.ndarray:
    if known.dtype.kind in "OUS":
        return np.concatenate([known, np.full(n_target, "", dtype=known.dtype)])
    if known.dtype.kind == "f" and is_continuous(known):
        return np.concatenate([known, np.full(n_target, np.nan)])
    if np.any(known == -1):
        warn(
            "ys contains the label -1, which also marks unlabelled target rows: pass sample_domain to fit.",
        )
    return np.concatenate([known, np.full(n_target, -1, dtype=known.dtype)])


def _is_several(Xs: Any) -> bool:
    return isinstance(Xs, (list, tuple)) and len(Xs) > 0 and all(np.ndim(part) == 2 for part in Xs)


def _stack(parts: Sequence[Any]) -> Any:
    libraries = {type(part).__module__.split(".")[0] for part in parts if hasattr(part, "columns")}
    if len(libraries) == 1 and all(hasattr(part, "columns") for part in parts):
        columns = list(parts[0].columns)
        for part in parts[1:]:
            if list(part.columns) != columns:
                raise ValueError(
                    f"DataFrames must have the same columns in the same order: {columns} and {list(part.columns)}."
                )
        if libraries == {"pandas"}:
            import pandas

            return pandas.concat(parts, ignore_index=True)
        if libraries == {"polars"}:
            import polars

            return polars.concat(parts, how="vertical_relaxed")
    arrays = [np.asarray(part) for part in parts]
    for array in arrays:
        if array.ndim != 2 or array.shape[1] != arrays[0].shape[-1]:
            raise ValueError(
                "Every domain must be 2-D with the same number of features; got shapes "
                f"{', '.join(str(part.shape) for part in arrays)}."
            )
    return np.concatenate(arrays)
