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
from sklearn.utils.validation import column_or_1d

from shallowda.core.contract import concatenated_labels, is_continuous, label_array
from shallowda.core.messages import warn
from shallowda.core.rows import computed
from shallowda.kernels.arrays import is_foreign, namespace, on_device

__all__ = ["pack_domains"]


def pack_domains(Xs: Any, ys: Any, Xt: Any, yt: Any = None) -> tuple[Any, np.ndarray, np.ndarray]:
    """Stack the domains into the ``X, y, sample_domain`` that every estimator of this package takes.

    Parameters
    ----------
    Xs : array-like of shape (n_source, n_features), or list of such
        Source features; a list of 2-D arrays (or DataFrames) is several source domains. Arrays of CuPy, torch, or
        another library that follows the Array API standard are stacked where they are.
    ys : array-like of shape (n_source,), or list of such
        Source labels, one array per source domain.
    Xt : array-like of shape (n_target, n_features)
        Target features.
    yt : array-like of shape (n_target,), optional
        Target labels, for evaluation. They are put in `y` as they are, so fit with `sample_domain`: the methods then
        leave them alone. Without it the target rows of `y` carry the mark for "unlabelled".

    Returns
    -------
    X : ndarray, or what all inputs are: DataFrame or array of one library; shape (n_source + n_target, n_features)
        Source rows first.
    y : ndarray of shape (n_source + n_target,)
        -1 on target rows; NaN when ys is continuous; "" when labels are strings. Integer labels become int64, and so
        do booleans that get a mark. A NumPy array, wherever X is.
    sample_domain : ndarray of shape (n_source + n_target,), int
        0, 1, ... for the sources in order, -1 for the target.

    Raises
    ------
    ValueError
        If shapes do not fit, rows lie on different devices, or labels are of different types.
    TypeError
        If rows are sparse or lazy, or of different array libraries.

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
    sources, Xt = [computed(rows, "Xs") for rows in sources], computed(Xt, "Xt")
    known = [label_array(marks) for marks in labels]
    sizes = [_n_rows(rows) for rows in sources]
    for number, (n_rows, marks) in enumerate(zip(sizes, known, strict=True)):
        if n_rows != len(marks):
            raise ValueError(f"source domain {number}: {n_rows} rows of Xs but {len(marks)} labels in ys.")
    X = _stack([*sources, Xt])
    known, n_target = [column_or_1d(marks) for marks in known], _n_rows(Xt)
    if yt is not None:
        yt = label_array(yt)
        if len(yt) != n_target:
            raise ValueError(f"Xt and yt have inconsistent numbers of samples: [{n_target}, {len(yt)}].")
        y = concatenated_labels([*known, column_or_1d(yt)])
    else:
        y = _append_marks(concatenated_labels(known), n_target)
    codes = np.repeat([*range(len(sources)), -1], [*sizes, n_target])
    return X, y, codes


def _n_rows(X: Any) -> int:
    return int(X.shape[0]) if is_foreign(X) else len(X)


def _append_marks(known: np.ndarray, n_target: int) -> np.ndarray:
    if known.dtype.kind in "US" or (known.dtype.kind == "O" and any(isinstance(label, str) for label in known)):
        return np.concatenate([known, np.full(n_target, "", dtype=known.dtype)])
    if known.dtype.kind == "f" and is_continuous(known):
        return np.concatenate([known, np.full(n_target, np.nan)])
    if np.any(known == -1):
        warn(
            "ys contains the label -1, which also marks unlabelled target rows: pass sample_domain to fit.",
        )
    marks = np.full(n_target, -1, dtype=np.int64 if known.dtype.kind == "b" else known.dtype)
    return np.concatenate([known, marks])


def _is_several(Xs: Any) -> bool:
    return isinstance(Xs, (list, tuple)) and len(Xs) > 0 and all(np.ndim(computed(part, "Xs")) == 2 for part in Xs)


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
    arrays = [part if is_foreign(part) else np.asarray(part) for part in parts]
    xp = namespace(*arrays)
    for array in arrays:
        if len(array.shape) != 2 or array.shape[1] != arrays[0].shape[-1]:
            raise ValueError(
                "Every domain must be 2-D with the same number of features; got shapes "
                f"{', '.join(str(tuple(part.shape)) for part in arrays)}."
            )
    if len(devices := {str(array.device) for array in arrays}) > 1:
        raise ValueError(f"The rows of the domains lie on different devices, {', '.join(sorted(devices))}: move them.")
    with on_device(arrays[0]):
        return xp.concat(arrays)
