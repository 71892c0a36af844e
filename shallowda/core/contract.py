"""The data contract: which rows are source, which are target, and which labels may be used.

Rows of both domains are stacked in any order. ``y`` marks the unlabelled target rows, or ``sample_domain`` names the
domain of each row. Everything that reads either of them goes through `read_domains`; `shallowda.domains` writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from shallowda.core.messages import warn
from shallowda.kernels.arrays import Array, is_foreign, of_foreign, take_rows, to_numpy

__all__ = [
    "Domains",
    "NoTargetWarning",
    "concatenated_labels",
    "domain_codes",
    "is_continuous",
    "known_labels",
    "label_array",
    "labels_among",
    "learned_marks",
    "minus_ones",
    "read_domains",
    "read_values",
    "row_domains",
    "unlabelled",
    "value_array",
    "warn_without_target",
]

#: Words and signs that other tools write where there is no label. They are no marks here: any of them may be a class.
_PLACEHOLDERS = {"?", "??", "-", "--", "*", ".", "_", "na", "n/a", "nan", "null", "none", "missing", "target", "test"}
_PLACEHOLDERS |= {"unknown", "not known", "unlabeled", "unlabelled", "not labeled", "not labelled", "no label"}

#: What to do where a tool takes y, and the marks in it, apart; it goes into several messages.
_NESTING = (
    "Put a tool that encodes or splits y by itself (bagging, voting, stacking, one-vs-rest, calibration) inside, after "
    "the adapter: make_pipeline(adapter, BaggingClassifier(LogisticRegression())), or into the adapter as "
    "estimator=...; the guide has a page on pipelines."
)


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
    """Labels as an array in which no two labels have become one: integers stay integers, booleans booleans.

    Objects that are all numbers become numbers. Where some are missing (None, NaN, pandas' NA), floats become floats
    with NaN, and whole numbers and booleans, which have no NaN, remain objects with None.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_outputs)
        Also an array of another library, on any device.

    Returns
    -------
    y : ndarray

    Raises
    ------
    ValueError
        If whole numbers are too large for 64 bits, or for floats that they stand beside.
    """
    y = _as_array(y)
    if y.dtype.kind != "O":
        return y
    missing = np.fromiter(map(_is_missing, y.ravel()), dtype=bool, count=y.size).reshape(y.shape)
    if not all(isinstance(value, (Real, np.bool_)) for value in y[~missing]):
        return y
    numbers = _as_numbers(y[~missing].tolist())
    if not missing.any():
        return numbers.reshape(y.shape)
    values = np.full(y.shape, np.nan) if numbers.dtype.kind == "f" else np.full(y.shape, None)
    values[~missing] = numbers
    return values


def _as_array(y: Any) -> np.ndarray:
    """An array with the values of y, which stay of the types that they have."""
    if is_foreign(y) or of_foreign(y):
        return to_numpy(y)
    if hasattr(y, "columns") and len(y.columns) == 1:
        return _as_array(y[y.columns[0]])[:, None]
    array = np.asarray(y)
    if isinstance(getattr(y, "dtype", None), np.dtype) or array.dtype.kind not in "fUS":
        return array
    # NumPy turns whole numbers beside missing values into floats, and numbers beside strings into strings
    values = next((getattr(y, name)() for name in ("to_list", "tolist", "to_pylist") if hasattr(y, name)), y)
    objects = np.asarray(values, dtype=object)
    if array.dtype.kind == "f":
        kept = all(isinstance(value, (float, np.floating)) or _is_missing(value) for value in objects.flat)
    else:
        kept = all(isinstance(value, (str, bytes)) for value in objects.flat)
    return array if kept or objects.shape != array.shape else objects


def _as_numbers(values: list) -> np.ndarray:
    """Numbers in the narrowest of bool, int64, uint64 and float64 that holds each of them exactly."""
    if values and all(isinstance(value, (bool, np.bool_)) for value in values):
        return np.array(values, dtype=bool)
    whole = [int(value) for value in values if isinstance(value, (Integral, np.bool_))]
    if not values or len(whole) < len(values):
        if large := [value for value in whole if int(float(value)) != value]:
            raise ValueError(
                f"y holds the whole number {large[0]}, which no float64 is equal to, beside fractions or floats: two "
                "labels may become one. Pass whole numbers only, or strings."
            )
        return np.array(values, dtype=float)
    for dtype in (np.int64, np.uint64):
        if np.iinfo(dtype).min <= min(whole) and max(whole) <= np.iinfo(dtype).max:
            return np.array(whole, dtype=dtype)
    raise ValueError(
        f"y holds whole numbers from {min(whole)} to {max(whole)}, for which 64 bits are too few. Pass strings as "
        "labels."
    )


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

    Warns
    -----
    UserWarning
        If y looks like marks that a tool has encoded as a class, beside a `sample_domain` that was not touched.
    """
    y = None if y is None else label_array(y)
    if y is not None and len(y) != n_samples:
        raise ValueError(f"y has {len(y)} entries for {n_samples} rows of X: inconsistent numbers of samples.")
    if sample_domain is not None:
        codes = domain_codes(sample_domain, n_samples, y)
        _warn_of_encoded_marks(y, codes >= 0)
        reason = "sample_domain is negative everywhere"
    elif y is not None:
        marks = unlabelled(y)
        codes = np.where(_of_rows(marks), -1, 0)
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


def value_array(y: Any) -> np.ndarray:
    """Regression targets as floats, missing ones as NaN.

    Parameters
    ----------
    y : array-like of shape (n,)

    Returns
    -------
    y : ndarray of shape (n,), float64

    Raises
    ------
    ValueError
        If y holds something else than numbers.
    """
    y = column_or_1d(label_array(y), warn=True)
    if y.dtype.kind == "O":
        missing = np.fromiter(map(_is_missing, y), dtype=bool, count=len(y))
        if all(isinstance(value, (Real, np.bool_)) for value in y[~missing]):
            y = np.where(missing, np.nan, y).astype(float)
    if y.dtype.kind not in "iufb":
        example = y[:1].tolist()
        raise ValueError(f"y must hold numbers for a regressor; it holds {y.dtype} values such as {example}.")
    return y.astype(float)


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
    y = value_array(y)
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
    _refuse_no_labels(known)
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


def domain_codes(sample_domain: Any, n_samples: int, y: Any = None) -> np.ndarray:
    """Validated `sample_domain`: one integer per row, >= 0 for source and < 0 for target.

    Parameters
    ----------
    sample_domain : array-like of shape (n_samples,)
    n_samples : int
    y : array-like of shape (n_samples,), optional
        Labels: their marks show where another tool's convention was meant, such as 1 for target rows.

    Returns
    -------
    codes : ndarray of shape (n_samples,), int

    Raises
    ------
    ValueError
        If the shape or the values do not fit, or mean something else than here.
    """
    codes = to_numpy(sample_domain)
    if codes.ndim != 1 or len(codes) != n_samples:
        raise ValueError(
            f"sample_domain must have shape ({n_samples},), one entry per row of X; got shape {codes.shape}."
        )
    if codes.dtype.kind not in "iuf" or not np.all(np.isfinite(codes)) or np.any(codes != np.floor(codes)):
        raise ValueError(
            "sample_domain must hold integers, >= 0 for source rows and < 0 for target rows; "
            f"got {codes.dtype} values such as {codes[:1].tolist()[0]!r}."
        )
    if len(codes) and not -(2**63) <= int(codes.min()) <= int(codes.max()) < 2**63:
        raise ValueError(
            f"sample_domain must hold integers of 64 bits, from -2**63 to 2**63 - 1; got {codes.dtype} values from "
            f"{codes.min()} to {codes.max()}. Number the domains 0, 1, 2, ..., and the target -1."
        )
    codes = codes.astype(int)
    if y is not None:
        _refuse_other_convention(label_array(y), codes)
    return codes


def _refuse_other_convention(y: np.ndarray, codes: np.ndarray) -> None:
    """0 for source and 1 for target, as other tools have it, would make the mark a class."""
    if len(y) != len(codes) or np.any(codes < 0):
        return
    marks = _of_rows(unlabelled(y))
    target = np.unique(codes[marks])
    if marks.any() and not marks.all() and not np.isin(codes[~marks], target).any():
        which = ", ".join(map(str, target))
        raise ValueError(
            f"sample_domain is nowhere negative, and y marks all rows of domain {which}, and no others, as unlabelled. "
            "Target rows are those with sample_domain < 0, not those with a number of their own. Give these rows a "
            f"negative one, as numpy.where(sample_domain == {target[0]}, -1, 0) does, or leave sample_domain out: the "
            "marks of y are enough."
        )


def _warn_of_encoded_marks(y: np.ndarray | None, source: np.ndarray) -> None:
    """Labels 0 ... C of which one is on all target rows and no others: a mark that has become a class elsewhere."""
    if y is None or y.ndim != 1 or y.dtype.kind not in "iu" or source.all() or not source.any():
        return
    here, there = np.unique(y[~source]), np.unique(y[source])
    if len(here) == 1 and np.array_equal(np.sort(np.r_[here, there]), np.arange(len(there) + 1)):
        warn(
            f"All target rows have the label {here[0]} in y, which no source row has. If y was marked, a tool around "
            "this step has re-encoded it, the mark has become a class, and predicted probabilities are taken for those "
            f"of other classes than they are of. {_NESTING} If {here[0]} only stands where a label is missing, write "
            "-1."
        )


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
    if classes is not None and classes.dtype.kind in "if" and -1 in classes and y.dtype.kind in "ifO":
        known |= minus_ones(y)
    if not known.any():
        raise ValueError("y marks every row as unlabelled: there is no label to work with.")
    return known


def minus_ones(y: np.ndarray) -> np.ndarray:
    """Mask of the entries that are the number -1, whatever it means.

    Parameters
    ----------
    y : ndarray
        As `label_array` gives it.

    Returns
    -------
    mask : ndarray, bool
    """
    if y.dtype.kind in "biuf":
        return y == -1
    found = (isinstance(value, Real) and value == -1 for value in y.ravel())
    return np.fromiter(found, dtype=bool, count=y.size).reshape(y.shape)


def _without_label(known: np.ndarray) -> np.ndarray:
    """Mask of the entries that are no label, where -1 is one; among strings it is not."""
    if known.dtype.kind == "f":
        return np.isnan(known)
    if known.dtype.kind not in "OUS":
        return np.zeros(known.shape, dtype=bool)
    missing = np.fromiter(map(_is_missing, known.ravel()), dtype=bool, count=known.size).reshape(known.shape)
    return missing if all(isinstance(value, Real) for value in known[~missing]) else unlabelled(known)


def _of_rows(marks: np.ndarray) -> np.ndarray:
    """Rows of which every output is marked."""
    return np.all(marks, axis=1) if marks.ndim == 2 else marks


def _refuse_ambiguous_marks(y: np.ndarray, source: np.ndarray) -> None:
    """{-1, +1} labels look like one class and a mark: they are not guessed at."""
    if source.all() or y.dtype.kind not in "ifO":
        return
    known, marks = label_array(y[source]), y[~source]
    if known.dtype.kind not in "buif":
        return
    help_ = "Pass sample_domain (>= 0 source, < 0 target): it decides, and -1 then counts as a class."
    minus_one = minus_ones(marks)
    if minus_one.any() and not minus_one.all():
        raise ValueError(
            f"y holds both missing values (NaN) and -1, and either can mark the unlabelled target rows. {help_}"
        )
    classes = np.unique(known)
    if minus_one.any() and len(classes) == 1:
        raise ValueError(
            f"y holds only the class {classes[0]} besides -1, and -1 marks unlabelled target rows. Labels that are "
            "{-1, +1}, a source of one class, or what a tool around this step has made of y (OutputCodeClassifier) "
            "cannot be told apart from that. " + help_
        )


def labels_among(y: Any, rows: np.ndarray) -> np.ndarray:
    """Labels of some rows, without the wider type that the marks of the others asked for.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_outputs)
    rows : ndarray of int, or mask

    Returns
    -------
    labels : ndarray

    Raises
    ------
    ValueError
        If labels are missing, or are of different types.
    """
    labels = label_array(label_array(y)[rows])
    _refuse_no_labels(labels)
    return labels


def _refuse_no_labels(labels: np.ndarray) -> None:
    """Missing ones, and objects that are neither all strings nor all numbers: what they are is said."""
    missing = _without_label(labels)
    if missing.any():
        raise ValueError(
            f"y has no label (NaN or missing) for {int(missing.sum())} source row(s). Label them, leave them out, or "
            "give them a negative sample_domain if they are target rows."
        )
    if labels.dtype.kind != "O":
        return
    kinds: dict[str, Any] = {}
    for label in labels.ravel():
        kinds.setdefault(_kind_of_label(label), label)
    if list(kinds) == ["strings"]:
        return
    examples = " and ".join(f"{label!r} ({type(label).__name__})" for label in kinds.values())
    raise ValueError(
        f"Unknown label type: y holds {' and '.join(kinds)}, such as {examples}. Class labels are all strings, all "
        "whole numbers or all booleans: convert them to one of these."
    )


def _kind_of_label(label: Any) -> str:
    if isinstance(label, str):
        return "strings"
    return "numbers" if isinstance(label, (Real, np.bool_)) else f"values of type {type(label).__name__}"


def learned_marks(classes: np.ndarray, known: np.ndarray) -> list:
    """Classes that are marks of unlabelled rows, to a model that has read them as such.

    Parameters
    ----------
    classes : ndarray of shape (C,)
        What one model has learned.
    known : ndarray
        What another one, which knows marks, has found in the same y.

    Returns
    -------
    marks : list
        Those of `classes` that are marks, and no labels to the other model.
    """
    return sorted(set(classes[unlabelled(classes)].tolist()) - set(known.tolist()))


def warn_without_target(what: str, y: Any, sample_domain: Any) -> None:
    """Say that there is no target row, and the likeliest reason.

    Parameters
    ----------
    what : str
        A sentence on who found none, and what that means.
    y : array-like or None
        The labels it was given.
    sample_domain : array-like or None
    """
    how = "Mark target rows by y == -1 (NaN in a continuous y) or by sample_domain < 0; pack_domains does both."
    y = None if y is None else label_array(y)
    if sample_domain is not None:
        codes = np.unique(to_numpy(sample_domain)).tolist()
        numbers = ", ".join(map(str, codes[:5])) + (", ..." if len(codes) > 5 else "")
        reason = f" sample_domain decides, and it holds only {numbers}: target rows are those where it is negative."
    elif y is None:
        reason = ""
    elif (stand_in := _stand_in(y)) is not None:
        reason = (
            f" The label {stand_in!r} of {int(np.sum(y == stand_in))} rows is no mark, and has been taken for a class: "
            f"if it stands for unlabelled rows, write {'an empty string' if isinstance(stand_in, str) else -1} there."
        )
    elif y.dtype.kind in "iu":
        reason = (
            " If y was marked, a tool around it has re-encoded y, so that the mark has become a class, or has left the "
            f"marked rows out. {_NESTING}"
        )
    else:
        reason = ""
    warn(f"{what} {how}{reason}", NoTargetWarning)


def _stand_in(y: np.ndarray) -> Any:
    """A label that may stand for rows without one: a word like "unknown", or the only negative number."""
    if y.ndim != 1:
        return None
    if y.dtype.kind in "OUS":
        words = (value for value in y.tolist() if isinstance(value, str) and value.strip().lower() in _PLACEHOLDERS)
        return next(words, None)
    if y.dtype.kind not in "if" or is_continuous(y):
        return None
    negative = np.unique(y[y < 0])
    return negative[0].item() if len(negative) == 1 and negative[0] != -1 and np.any(y >= 0) else None


def concatenated_labels(labels: list[np.ndarray]) -> np.ndarray:
    """Labels of several domains in one type: int64 for integers, never numbers turned into strings.

    Parameters
    ----------
    labels : list of ndarray of shape (n_i,)

    Returns
    -------
    y : ndarray of shape (sum of n_i,)

    Raises
    ------
    ValueError
        If some labels are strings and some are numbers, or a number is too large for the common type.
    """
    text = {part.dtype.kind in "OUS" and not _are_numbers(part) for part in labels}
    if len(text) > 1:
        raise ValueError("Some labels are strings and some are numbers; all domains need the same label set.")
    kinds = {part.dtype.kind for part in labels}
    if text == {True} or kinds in ({"f"}, {"b"}):
        return np.concatenate(labels)
    if kinds <= set("iub"):
        for part in labels:
            if part.dtype.kind == "u" and part.max(initial=0) > np.iinfo(np.int64).max:
                raise ValueError(
                    f"The label {part.max()} is too large for int64. Pass smaller numbers, or strings, as labels."
                )
        return np.concatenate(labels, dtype=np.int64, casting="unsafe")
    return label_array(np.concatenate([part.astype(object) for part in labels]))


def _are_numbers(labels: np.ndarray) -> bool:
    """Whether objects are whole numbers or booleans, some of which are missing."""
    return all(isinstance(value, (Real, np.bool_)) or value is None for value in labels.ravel())
