"""The data contract: which rows are source, which are target, and which labels may be used.

Rows of both domains are stacked in any order. ``y`` marks the unlabelled target rows, or ``sample_domain`` names the
domain of each row. Everything that reads either of them goes through `read_domains`; `shallowda.domains` writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from shallowda.kernels.arrays import Array, take_rows

__all__ = [
    "Domains",
    "NoTargetWarning",
    "concatenated_labels",
    "domain_codes",
    "is_continuous",
    "known_labels",
    "label_array",
    "read_domains",
    "read_values",
    "row_domains",
    "unlabelled",
]


class NoTargetWarning(UserWarning):
    """Fitted without any target row: there is nothing to adapt to."""


@dataclass(frozen=True)
class Domains:
    """Domain and label of each row.

    Attributes
    ----------
    source : ndarray of shape (n,), bool
        True on source rows, False on target rows.
    codes : ndarray of shape (n,), int
        Domain of each row: >= 0 source, < 0 target.
    classes : ndarray of shape (C,)
        The source's class labels, sorted; empty without labels, or when they are continuous.
    labels : ndarray of shape (n,), int
        Index into `classes` on source rows, -1 on target rows (and everywhere without labels).
    values : ndarray of shape (n_source,), float, or None
        Regression targets of the source rows, in their order; None where y holds class labels or was not given.
    """

    source: np.ndarray
    codes: np.ndarray
    classes: np.ndarray
    labels: np.ndarray
    values: np.ndarray | None = None

    def __post_init__(self) -> None:
        for array in (self.source, self.codes, self.labels):
            array.setflags(write=False)  # a method that changes them would change what others read

    @property
    def continuous(self) -> bool:
        """Whether y holds regression targets."""
        return self.values is not None

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 without class labels."""
        return len(self.classes)

    @property
    def source_labels(self) -> np.ndarray:
        """Class labels of the source rows, in their order."""
        return self.classes[self.labels[self.source]]

    @property
    def target(self) -> np.ndarray:
        """Mask of the target rows, shape (n,)."""
        return ~self.source

    @property
    def has_target(self) -> bool:
        """Whether there is any target row."""
        return not bool(self.source.all())

    def encode(self, labels: np.ndarray) -> np.ndarray:
        """Index of each label in `classes`."""
        return np.asarray(np.searchsorted(self.classes, labels))

    def labels_with(self, pseudo: np.ndarray) -> np.ndarray:
        """`labels` with pseudo-labels (codes) on the target rows."""
        labels = self.labels.copy()
        labels[self.target] = pseudo
        return labels

    def split(self, X: Array) -> tuple[Array, Array]:
        """Source rows and target rows of X; without a target, the source stands for it, so that nothing shifts.

        A domain whose rows lie together, as `pack_domains` puts them, is a view: not to be written into.
        """
        source = self.source_rows(X)
        return source, _selected(X, self.target) if self.has_target else source

    def source_rows(self, X: Array) -> Array:
        """The first part of `split`."""
        return _selected(X, self.source)


def _selected(X: Array, mask: np.ndarray) -> Array:
    rows = np.flatnonzero(mask)
    start, stop = rows[0], rows[-1] + 1
    return X[start:stop, :] if stop - start == len(rows) else take_rows(X, rows)


def label_array(y: Any) -> np.ndarray:
    """Labels as an array; objects that are all numbers, or missing, become numbers (missing: NaN).

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_outputs)

    Returns
    -------
    y : ndarray
    """
    y = np.asarray(y)
    if y.dtype.kind != "O":
        return y
    missing = np.fromiter((_is_missing(value) for value in y.ravel()), dtype=bool, count=y.size).reshape(y.shape)
    if not all(isinstance(value, Real) for value in y[~missing]):
        return y
    if missing.any():
        return np.where(missing, np.nan, y).astype(float)
    return np.array(y.tolist())


def unlabelled(y: Any) -> np.ndarray:
    """Mask of the entries of y that mark an unlabelled target row.

    -1 in discrete numeric labels, NaN in floats (the only mark when y is continuous), and a missing value (None, NaN,
    "", -1 or "-1") among strings.

    Parameters
    ----------
    y : array-like of shape (n,)

    Returns
    -------
    mask : ndarray of shape (n,), bool
    """
    y = label_array(y)
    if y.dtype.kind == "f":
        missing = np.isnan(y)
        return missing if is_continuous(y[~missing]) else missing | (y == -1)
    if y.dtype.kind in "OUS":
        marks = (
            _is_missing(value) or value == "-1" or (isinstance(value, Real) and value == -1) for value in y.ravel()
        )
        return np.fromiter(marks, dtype=bool, count=y.size).reshape(y.shape)
    return y == -1


def _is_missing(value: Any) -> bool:
    if isinstance(value, (str, bytes)):
        return len(value) == 0
    # NaN is not equal to itself; pandas' NA refuses to be compared
    return value is None or type(value).__name__ == "NAType" or value != value


def is_continuous(values: np.ndarray) -> bool:
    """Whether numbers are regression targets: some of them are no whole numbers.

    Parameters
    ----------
    values : ndarray of numbers

    Returns
    -------
    continuous : bool
    """
    return bool(np.any(np.isfinite(values) & (values != np.floor(values))))


def row_domains(y: Any, sample_domain: Any, n_samples: int) -> np.ndarray:
    """Domain of each row, from `sample_domain` where it is given and from the marks of y otherwise.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or None
    sample_domain : array-like of shape (n_samples,) or None
    n_samples : int

    Returns
    -------
    codes : ndarray of shape (n_samples,), int
        >= 0 for source rows, < 0 for target rows. Without either argument all rows are source.

    Raises
    ------
    ValueError
        If lengths differ, there is no source row, or the marks of y are ambiguous.
    """
    y = None if y is None else label_array(y)
    if y is not None and len(y) != n_samples:
        raise ValueError(f"y has {len(y)} entries for {n_samples} rows of X: inconsistent numbers of samples.")
    if sample_domain is not None:
        codes = domain_codes(sample_domain, n_samples)
        reason = "sample_domain is negative everywhere"
    elif y is not None:
        marks = unlabelled(y)
        codes = np.where(marks.all(axis=1) if marks.ndim == 2 else marks, -1, 0)
        reason = "y marks every row as unlabelled target"
        _refuse_ambiguous_marks(y, codes >= 0)
    else:
        return np.zeros(n_samples, dtype=int)
    if np.all(codes < 0):
        raise ValueError(f"There is no source row: {reason}. Labelled source rows are needed to adapt from.")
    return codes


def read_domains(y: Any, sample_domain: Any, n_samples: int) -> Domains:
    """Read the marks of y, or `sample_domain` where it is given, into a `Domains`.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or None
        Labels. Without `sample_domain`, entries that `unlabelled` recognises are target rows.
    sample_domain : array-like of shape (n_samples,) or None
        >= 0 for source rows, < 0 for target rows. When given it decides: labels of target rows are not looked at, and
        a label -1 on a source row is a class like any other.
    n_samples : int

    Returns
    -------
    domains : Domains

    Raises
    ------
    ValueError
        As `row_domains`; and if source labels are missing, or are not labels.
    """
    y = None if y is None else column_or_1d(label_array(y), warn=True)
    codes = row_domains(y, sample_domain, n_samples)
    if y is None:
        return Domains(codes >= 0, codes, np.empty(0), np.full(n_samples, -1))
    return _with_labels(y, codes >= 0, codes)


def read_values(y: Any, sample_domain: Any, n_samples: int) -> Domains:
    """Read regression targets, whether they are whole numbers or not: NaN alone marks target rows.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
    sample_domain : array-like of shape (n_samples,) or None
        As for `read_domains`.
    n_samples : int

    Returns
    -------
    domains : Domains
        With `values`, and without classes.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no source row, or the value of a source row is missing or infinite.
    """
    y = column_or_1d(label_array(y), warn=True)
    if y.dtype.kind not in "iufb":
        raise ValueError(
            f"y must hold numbers for a regressor; it holds {y.dtype} values such as {y[:1].tolist()[0]!r}."
        )
    y = y.astype(float)
    if len(y) != n_samples:
        raise ValueError(f"y has {len(y)} entries for {n_samples} rows of X: inconsistent numbers of samples.")
    codes = np.where(np.isnan(y), -1, 0) if sample_domain is None else domain_codes(sample_domain, n_samples)
    source = codes >= 0
    if not source.any():
        raise ValueError("There is no source row: every row is marked as target. Source rows are needed to adapt from.")
    if not np.all(np.isfinite(y[source])):
        raise ValueError("y holds NaN or infinity for source rows. Give each a finite value, or leave them out.")
    return Domains(source, codes, np.empty(0), np.full(n_samples, -1), y[source])


def _with_labels(y: np.ndarray, source: np.ndarray, codes: np.ndarray) -> Domains:
    labels = np.full(len(y), -1)
    known = label_array(y[source])  # without the marks, objects may be plain numbers
    missing = np.isnan(known) if known.dtype.kind == "f" else unlabelled(known) & (known.dtype.kind in "OUS")
    if missing.any():
        raise ValueError(
            f"y has no label (NaN or missing) for {int(missing.sum())} source row(s). Label them, leave them out, or "
            "give them a negative sample_domain if they are target rows."
        )
    if known.dtype.kind == "f" and np.isinf(known).any():
        raise ValueError("y contains infinity: class labels and regression targets must be finite.")
    kind = type_of_target(known, input_name="y")
    if kind == "continuous":
        if source.all():
            raise ValueError(
                "Unknown label type: continuous. y must hold classes. To adapt features ahead of a regressor, mark the "
                "target rows of y with NaN or pass sample_domain."
            )
        return Domains(source, codes, np.empty(0), labels, known)
    if kind not in ("binary", "multiclass"):
        raise ValueError(f"Unknown label type: {kind}. y must hold one class label per row.")
    classes, labels[source] = np.unique(known, return_inverse=True)
    return Domains(source, codes, classes, labels)


def domain_codes(sample_domain: Any, n_samples: int) -> np.ndarray:
    """Validated `sample_domain`: one integer per row, >= 0 for source and < 0 for target.

    Parameters
    ----------
    sample_domain : array-like of shape (n_samples,)
    n_samples : int

    Returns
    -------
    codes : ndarray of shape (n_samples,), int

    Raises
    ------
    ValueError
        If the shape or the values do not fit.
    """
    codes = np.asarray(sample_domain)
    if codes.ndim != 1 or len(codes) != n_samples:
        raise ValueError(
            f"sample_domain must have shape ({n_samples},), one entry per row of X; got shape {codes.shape}."
        )
    if codes.dtype.kind not in "iuf" or not np.all(np.isfinite(codes)) or np.any(codes != np.floor(codes)):
        raise ValueError(
            "sample_domain must hold integers, >= 0 for source rows and < 0 for target rows; "
            f"got {codes.dtype} values such as {codes[:1].tolist()[0]!r}."
        )
    return codes.astype(int)


def known_labels(y: Any, classes: np.ndarray | None = None) -> np.ndarray:
    """Mask of the rows whose label is known, for a model that has seen `classes`.

    A mark that is itself one of the classes (the -1 of {-1, +1}) is a label.

    Parameters
    ----------
    y : array-like of shape (n,)
    classes : ndarray of shape (C,), optional

    Returns
    -------
    mask : ndarray of shape (n,), bool

    Raises
    ------
    ValueError
        If no label is known.
    """
    y = label_array(y)
    known = ~unlabelled(y)
    if classes is not None and classes.dtype.kind in "if" and -1 in classes and y.dtype.kind in "if":
        known |= y == -1
    if not known.any():
        raise ValueError("y marks every row as unlabelled: there is no label to work with.")
    return known


def _refuse_ambiguous_marks(y: np.ndarray, source: np.ndarray) -> None:
    """{-1, +1} labels look like one class and a mark: they are not guessed at."""
    if y.dtype.kind not in "if" or source.all():
        return
    help_ = "Pass sample_domain (>= 0 source, < 0 target): it decides, and -1 then counts as a class."
    minus_one, not_a_number = np.any(y[~source] == -1), np.any(np.isnan(y[~source].astype(float)))
    if minus_one and not_a_number:
        raise ValueError(f"y holds both NaN and -1, and either can mark the unlabelled target rows. {help_}")
    classes = np.unique(y[source])
    if minus_one and len(classes) == 1:
        raise ValueError(
            f"y holds only the class {classes[0]} besides -1, and -1 marks unlabelled target rows. Labels that are "
            "{-1, +1}, or a source of one class, cannot be told apart from that. " + help_
        )


def concatenated_labels(labels: list[np.ndarray]) -> np.ndarray:
    """Labels of several domains in one type: int64 for integers and booleans, never numbers turned into strings.

    Parameters
    ----------
    labels : list of ndarray of shape (n_i,)

    Returns
    -------
    y : ndarray of shape (sum of n_i,)

    Raises
    ------
    ValueError
        If some labels are strings and some are numbers.
    """
    kinds = {part.dtype.kind in "OUS" for part in labels}
    if len(kinds) > 1:
        raise ValueError("Some labels are strings and some are numbers; all domains need the same label set.")
    y = np.concatenate(labels)
    return y.astype(np.int64) if y.dtype.kind in "iub" else y
