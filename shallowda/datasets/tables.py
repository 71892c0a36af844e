"""Rows of one domain from a file of a user's, as the command line takes them: with labels or without.

What a file is follows from its first bytes. Arrays in containers (MATLAB, .npz, HDF5, safetensors) have names. Columns
of a table (delimited text, Parquet) have names too; without a line of names, and in .npy, they are counted from 0.
"""

from __future__ import annotations

import io
import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np

from shallowda.core.columns import column_order, listed
from shallowda.core.contract import is_continuous
from shallowda.datasets._files import (
    FEATURES,
    LABELS,
    LISTINGS,
    Variable,
    _clean_labels,
    _counts_columns,
    _kind,
    _oriented,
    _side,
    _told,
    _usual,
    _usual_labels,
    _value,
    refuse_stacked,
)
from shallowda.datasets._text import (
    BOMB_BYTES,
    BOMB_RATIO,
    MISSING,
    NotNumbersError,
    Text,
    categories,
    is_number,
    is_svmlight,
    known_labels,
    label_place,
    looks_like_a_number,
    opened,
    read_columns,
    read_svmlight,
    text_of,
    values,
)

__all__ = ["ALL_TEXT", "STDIN", "Table", "match_features", "read_table"]

#: The name that stands for standard input, from which delimited text is read.
STDIN = "-"
#: The name that stands for every column of text.
ALL_TEXT = "all-text"

_COMPARED = 10_000  # names that a misspelt one is compared with, one by one
_WIDE = (
    4_000  # columns from which pyarrow is slow, and then fails: what it does for each, and its blocks, are too large
)
_ROW_NUMBERS = ("", "Unnamed: 0", "__index_level_0__")  # columns that pandas adds
_SAFETENSORS = {"F64": 8, "F32": 4, "F16": 2, "BOOL": 1} | {
    f"{sign}{8 * size}": size for sign in "IU" for size in (1, 2, 4, 8)
}

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")

logger = logging.getLogger("shallowda")


class Table(NamedTuple):
    """Contents of a file.

    Attributes
    ----------
    X : ndarray of shape (n, d), float32 or float64; object where some features are categories
        Finite, or NaN where values may be missing. Categories are str, or NaN. Of an .npy file perhaps a read-only
        memory map.
    y : ndarray of shape (n,), int64, float64 or str, or None
        Labels, if any were read: float64 where they are numbers with fractions, str where some are missing.
    names : list of str or None
        Names of the features, where the file has them.
    ids : ndarray of shape (n,), str, or None
    columns : list of str
        All that the file holds: columns, or arrays.
    labels : str
        Which of them `y` is; empty where it is none.
    features : str
        Which of them `features` chose; empty where it was not given or has no meaning, as in text and .npy.
    array : str
        Which array (or column of lists) the features are; empty where they are columns.
    unused : str
        Labels that were not to be seen; empty where there are none.
    text : tuple of int
        Places of the features that are categories.
    """

    X: np.ndarray
    y: np.ndarray | None
    names: list[str] | None
    ids: np.ndarray | None
    columns: list[str]
    labels: str
    features: str
    array: str
    unused: str
    text: tuple[int, ...] = ()


class _Wanted(NamedTuple):
    """The arguments of `read_table` but for the file."""

    labels: str | None
    features: str
    ids: str
    drop: Collection[str]
    unused: str
    width: int | None
    names: Collection[str]
    part: str
    option: str
    text: Collection[str | int]
    missing: bool

    def is_text(self, name: str, place: int) -> bool:
        """Whether text is welcome in a feature."""
        return ALL_TEXT in self.text or name in self.text or place in self.text


class _Roles(NamedTuple):
    """Which columns are what."""

    features: list[str]
    labels: str
    ids: str
    unused: str


def read_table(
    path: str | Path,
    *,
    labels: str | None = "",
    features: str = "",
    ids: str = "",
    drop: Collection[str] = (),
    unused: str = "",
    width: int | None = None,
    names: Collection[str] | None = None,
    part: str = "",
    option: str = "--features",
    text: Collection[str | int] = (),
    unlabelled: bool = False,
    missing: bool = False,
) -> Table:
    """Read the rows of one domain.

    Parameters
    ----------
    path : str or Path
        MATLAB (4, 5, 7.3), .npz, HDF5, safetensors, .npy, Parquet or delimited text; "-" is text from standard input.
    labels : str or None, default=""
        Column or array of the labels, or a file that holds nothing else. "" recognises a usual name, if there is one;
        None reads none.
    features : str, default=""
        Array of the features, or column of a Parquet file with a list in each row. "" recognises the array, and takes
        all columns of a table that are nothing else.
    ids : str, default=""
        Column or array of names of the rows.
    drop : collection of str
        Columns to leave out, where they are.
    unused : str, default=""
        Column of labels that are not to be seen, left out where it is.
    width : int, optional
        Number of features, where it is known.
    names : collection of str, optional
        Names of the features, where they are known: a first line of text that holds them all is a line of names.
    part : {"", "src", "tar"}
        Domain to look for in a file that may hold two.
    option : str, default="--features"
        The option that names the features of this file, for messages.
    text : collection of str or int, default=()
        Features that are categories, by their columns or by their places among the features; `ALL_TEXT` is all that
        are no numbers.
    unlabelled : bool, default=False
        Whether labels may be missing; they are "" then.
    missing : bool, default=False
        Whether values may be missing.

    Returns
    -------
    table : Table

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is damaged, holds something else than finite numbers, or has no such column. Nothing is unpickled.
    ImportError
        If the format needs a package that is not installed.
    """
    read, path = (_read_text if str(path) == STDIN else _reader(Path(path))), Path(path)
    wanted = _Wanted(
        labels, features, ids, drop, unused, width, names or (), part, option, dict.fromkeys(text), missing
    )
    with _told(Path("standard input") if str(path) == STDIN else path):
        table = read(path, wanted)
        table = table._replace(X=_finite(table.X, table.names, table.text, missing))
        if _is_file_of_labels(labels, table.columns):
            table = table._replace(y=_label_file(Path(str(labels)), len(table.X)))
        if not unlabelled and table.y is not None and table.y.dtype.kind == "U" and "" in table.y:
            raise ValueError(f"row {int(np.argmax(table.y == '')) + 1} has no label. Leave such rows out.")
        return table


def match_features(table: Table, names: Sequence[str] | None, width: int, path: str | Path, other: str) -> np.ndarray:
    """The features in the order of those that they must match: by name where both sides have names.

    Parameters
    ----------
    table : Table
    names : sequence of str or None
        Names to match.
    width : int
        Number to match.
    path : str or Path
        Of the table.
    other : str
        What has those names, in words.

    Returns
    -------
    X : ndarray of shape (n, width)

    Raises
    ------
    ValueError
        If the features are others.
    """
    if names is not None and table.names is not None:
        order = column_order(table.names, names, str(path), other, how=" by --drop")
        return table.X if order == list(range(width)) else np.ascontiguousarray(table.X[:, order])
    if table.X.shape[1] != width:
        raise ValueError(f"{path} has {table.X.shape[1]} features, and {other} has {width}.")
    return table.X


def _reader(path: Path) -> Callable[[Path, _Wanted], Table]:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; a file is needed.")
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"\x93NUMPY"):
        return _read_npy
    if start.startswith(b"PAR1"):
        return _read_parquet
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return partial(_read_arrays, _list_safetensors)
    kind = _kind(path)
    if kind == "text":
        if path.suffix.lower() in (".npy", ".parquet", ".safetensors"):
            raise ValueError(f"{path}: text where {path.suffix} was expected.")
        return _read_text
    return partial(_read_arrays, LISTINGS[kind])


# ------------------------------------------------------------------------------------------------- columns of a table


def _roles(columns: list[str], wanted: _Wanted, named: bool) -> _Roles:
    """Which column is what; those that are nothing else are features."""
    known = set(columns)
    if len(known) < len(columns):
        twice = next(name for name, count in Counter(columns).items() if count > 1)
        raise ValueError(f"more than one column is called {twice!r}.")
    labels = wanted.labels or ""
    for name in (labels, wanted.ids, wanted.features):
        if name and name not in known and not (name == labels and _is_file_of_labels(name, columns)):
            _absent("column", name, columns)
    out = {*wanted.drop, wanted.ids}
    rest = [name for name in columns if name not in out]
    if added := [name for name in rest if named and name in _ROW_NUMBERS and name != labels]:
        logger.warning("Column %r holds row numbers and was left out.", added[0])
        rest = [name for name in rest if name not in _ROW_NUMBERS or name == labels]
    if wanted.labels == "" and named:
        labels = _one_of(_usual(rest, LABELS, ""), "labels", "--labels")
    rest = [name for name in rest if name != labels]
    is_there = wanted.unused in rest and (named or wanted.width is None or len(rest) > wanted.width)
    unused = wanted.unused if is_there else ""
    rest = [name for name in rest if not (unused and name == unused)]
    features = [wanted.features] if wanted.features else rest
    if not features:
        raise ValueError(f"no column is left for the features; columns are {listed(columns)}.")
    for name in wanted.text:
        if isinstance(name, str) and name not in known and name != ALL_TEXT:
            _absent("column", name, columns, " (--one-hot)")
    return _Roles(features, labels if labels in known else "", wanted.ids, unused)


def _absent(what: str, name: str, known: Sequence[str], more: str = "") -> NoReturn:
    close = get_close_matches(name, known[:_COMPARED], n=1)
    hint = f"did you mean {close[0]!r}? There are" if close else "there are"
    raise ValueError(f"there is no {what} {name!r}; {hint} {listed(known)}.{more}")


def _one_of(found: Sequence[str], what: str, option: str) -> str:
    """The one that has a usual name, if any."""
    if len(found) > 1:
        raise ValueError(f"{' and '.join(found)} may each be the {what}: say which, by {option} {found[0]}.")
    return found[0] if found else ""


def _read_text(path: Path, wanted: _Wanted) -> Table:
    wanted = wanted._replace(features="")
    with opened(None if str(path) == STDIN else path) as file:
        if is_svmlight(file):
            return _read_svmlight(file, wanted)
        text = text_of(file)
        named = _is_header(text, wanted)
        cells = [cell or f"Unnamed: {i}" for i, cell in enumerate(text.first)]  # as pandas calls them
        columns = cells if named else [str(i) for i in range(len(cells))]
        single = len(columns) == 1  # an empty line is then a missing value
        if named and not (text.second if single else text.second.strip()):
            raise ValueError("there is no row below the line of names.")
        skip = int(named)
        if wanted.labels == "" and not named and not single:
            place, is_sure = label_place(text.rows(skip))
            if is_sure and place is not None:
                wanted = wanted._replace(labels=columns[place])
                logger.warning("Column %s is taken for the labels, by what it holds (--labels).", columns[place])
        roles = _roles(columns, wanted, named)
        at = {name: place for place, name in enumerate(columns)}
        numbers = [at[name] for i, name in enumerate(roles.features) if not _is_asked(name, i, wanted)]
        texts = [at[name] for i, name in enumerate(roles.features) if _is_asked(name, i, wanted)]
        asked, others = set(texts), [at[name] for name in (roles.labels, roles.ids) if name]
        read = Text.read if len(columns) > _WIDE or text.delimiter == " " else partial(_read_by_pyarrow, columns)
        found = read_columns(text, skip, numbers, [*texts, *others], read)
        features = {place: i for i, place in enumerate(at[name] for name in roles.features)}
        parts: list[tuple[list[int], np.ndarray]] = [([features[place] for place in found.plain], found.numbers)]
        for place, cells in found.cells.items():
            if place not in features:
                continue
            column = None if place in asked else values(cells, found.text.number)
            if column is None and not wanted.is_text(columns[place], features[place]):
                raise ValueError(_advised(found.no_number(skip, place, columns[place]), columns[place], roles))
            parts.append(([features[place]], categories(cells) if column is None else column))
        X, places = _joined(len(roles.features), parts)
    y = _whole(np.char.strip(np.array(found.cells[at[roles.labels]], dtype=str))) if roles.labels else None
    ids = np.array(found.cells[at[roles.ids]], dtype=str) if roles.ids else None
    return Table(X, y, roles.features if named else None, ids, columns, roles.labels, "", "", roles.unused, places)


def _is_asked(name: str, place: int, wanted: _Wanted) -> bool:
    """Whether a feature is categories whatever it holds."""
    return name in wanted.text or place in wanted.text


def _joined(width: int, parts: list[tuple[list[int], np.ndarray]]) -> tuple[np.ndarray, tuple[int, ...]]:
    """A matrix from its columns, and the places of those that are categories."""
    text = tuple(sorted(place for places, part in parts if part.dtype == object for place in places))
    (_, first), *others = parts
    if not others and first.shape[1] == width:
        return first, text
    X = np.empty((len(first), width), dtype=object if text else np.result_type(*(part for _, part in parts)))
    for places, part in parts:
        X[:, places] = part.reshape(len(X), len(places))
    return X, text


def _read_by_pyarrow(
    columns: list[str], text: Text, skip: int, numbers: Sequence[int], texts: Sequence[int]
) -> tuple[np.ndarray, list[list[str]]]:
    """As `Text.read`, and faster, where there are many rows and few columns."""
    pyarrow = _pyarrow("Reading text")
    single = len(columns) == 1
    types = dict.fromkeys([columns[place] for place in numbers], pyarrow.float64())
    types |= dict.fromkeys([columns[place] for place in texts], pyarrow.string())
    try:
        table = pyarrow.csv.read_csv(
            _for_arrow(text.file, stripped=single),
            read_options=pyarrow.csv.ReadOptions(column_names=columns, skip_rows=skip),
            parse_options=pyarrow.csv.ParseOptions(delimiter=text.delimiter, ignore_empty_lines=not single),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=MISSING, decimal_point=text.decimal
            ),
        )
    except pyarrow.ArrowInvalid as error:
        raise NotNumbersError(str(error)) from error
    X = np.empty((table.num_rows, len(numbers)))
    for i, place in enumerate(numbers):
        X[:, i] = table.column(columns[place]).to_numpy()
    return X, [table.column(columns[place]).to_pylist() for place in texts]


def _for_arrow(file: IO[bytes], *, stripped: bool) -> Any:
    """The same bytes for Arrow, without empty lines at their end if `stripped`.

    Threads of Arrow may still be reading, or letting go of what they read from, when an error ends the interpreter. One
    that needs the interpreter then, as for a file or bytes of Python, aborts the process: nothing of Python for them.
    """
    import pyarrow

    if isinstance(file, io.BufferedReader) and not stripped:
        return pyarrow.OSFile(os.fsencode(file.name))
    file.seek(0)
    sink = pyarrow.BufferOutputStream()
    for part in [file.read().rstrip(), b"\n"] if stripped else iter(partial(file.read, 2**20), b""):
        sink.write(part)
    return pyarrow.BufferReader(sink.getvalue())


def _advised(trouble: str, name: str, roles: _Roles) -> str:
    """What to do about a column of text."""
    away = f"leave it out by --drop {shlex.quote(name)}, " if len(roles.features) > 1 else ""
    return (
        f"{trouble} If it holds categories, encode it by --one-hot {shlex.quote(name)} (every column of text by "
        f"--one-hot {ALL_TEXT}); else {away}say that it holds labels (--labels) or names of rows (--id), or mend it."
    )


def _read_svmlight(file: IO[bytes], wanted: _Wanted) -> Table:
    """Labels, and pairs of a feature's number and value; features are named by their numbers."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    X, y, names = read_svmlight(file, size, wanted.names)
    columns = ["label", *names]
    roles = _roles(columns, wanted._replace(unused="label"), named=True)
    if wanted.ids or roles.labels not in ("", "label"):
        raise ValueError("libsvm's text holds labels, called label, and features by number; it has no other columns.")
    if len(roles.features) < len(names):
        kept = set(roles.features)
        X = X[:, [name in kept for name in names]]
    return Table(
        X, _clean(y) if roles.labels else None, roles.features, None, columns, roles.labels, "", "", roles.unused
    )


def _is_header(text: Text, wanted: _Wanted) -> bool:
    """Whether the first line holds names: known or asked for ones, or no number, or numbers that count the columns."""
    cells = text.first
    if wanted.names and set(wanted.names) <= set(cells):
        return True
    asked = {name for name in (wanted.labels, wanted.ids, *wanted.drop) if name and not is_number(name)}
    numbers = [cell for cell in cells if looks_like_a_number(cell)]
    if not numbers or asked & set(cells) or _counts_columns(cells, text.second):
        return True
    counted = [[str(i) for i in range(start, start + len(numbers))] for start in (0, 1)]
    return numbers in counted and any(cell.lower() in LABELS for cell in cells)


def _read_parquet(path: Path, wanted: _Wanted) -> Table:
    _pyarrow("Reading Parquet")
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        columns, n = list(file.schema_arrow.names), file.metadata.num_rows
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        values = sum(group.column(j).num_values for group in groups for j in range(group.num_columns))  # in lists too
        size = 8 * max(values, n * len(columns))
        if size > BOMB_BYTES and size > BOMB_RATIO * path.stat().st_size:
            raise ValueError(f"{size // 8} values are declared: damaged, or made to fill the memory.")
        roles = _roles(columns, wanted, named=True)
        read = list(dict.fromkeys(name for name in (*roles.features, roles.labels, roles.ids) if name))
        table = file.read(columns=read).select(read)
    return _from_columns(table, roles, columns, wanted)._replace(features=wanted.features, array=wanted.features)


def _from_columns(table: Any, roles: _Roles, columns: list[str], wanted: _Wanted) -> Table:
    """Arrays from a table of pyarrow, whose first columns are the features."""
    import pyarrow

    fields = [table.schema.field(name) for name in roles.features]
    names: list[str] | None = roles.features
    lists = [field.name for field in fields if isinstance(field.type, _list_types(pyarrow))]
    if lists and len(fields) == 1:
        X, names = _from_lists(table.column(lists[0]).combine_chunks(), lists[0]), None
        places: tuple[int, ...] = ()
    else:
        X, places = _joined(len(fields), _parquet_features(table, roles, wanted))
    y = _labels(table.column(roles.labels)) if roles.labels else None
    ids = (
        np.array(table.column(roles.ids).cast(pyarrow.string()).fill_null("").to_pylist(), dtype=str)
        if roles.ids
        else None
    )
    return Table(X, y, names, ids, columns, roles.labels, "", "", roles.unused, places)


def _parquet_features(table: Any, roles: _Roles, wanted: _Wanted) -> list[tuple[list[int], np.ndarray]]:
    """Numbers, and categories where they are welcome, with their places."""
    import pyarrow
    import pyarrow.types as is_type

    kinds = (is_type.is_integer, is_type.is_floating, is_type.is_boolean, is_type.is_decimal)
    words = (is_type.is_string, is_type.is_large_string, is_type.is_string_view, is_type.is_dictionary, is_type.is_null)
    plain, parts = [], []
    for place, (name, field) in enumerate(zip(roles.features, table.schema, strict=False)):
        is_plain = any(is_kind(field.type) for is_kind in kinds)
        if _is_asked(name, place, wanted) or (not is_plain and wanted.is_text(name, place)):
            parts.append(([place], categories(table.column(place).to_pylist())))
        elif is_plain:
            plain.append(place)
        elif any(is_kind(field.type) for is_kind in words):
            raise ValueError(_advised(f"column {name!r} holds {field.type}, not numbers.", name, roles))
        else:
            is_list = isinstance(field.type, _list_types(pyarrow))
            do = "take it as the features by --features" if is_list else "leave it out by --drop"
            raise ValueError(f"column {name!r} holds {field.type}, not numbers: {do} {name}.")
    is_single = all(table.schema.field(place).type in (pyarrow.float32(), pyarrow.float16()) for place in plain)
    X = np.empty((table.num_rows, len(plain)), dtype=np.float32 if is_single and plain else np.float64)
    for i, place in enumerate(plain):
        X[:, i] = table.column(place).cast(pyarrow.float64()).to_numpy()
    return [(plain, X), *parts]


def _list_types(pyarrow: ModuleType) -> tuple[type, ...]:
    return pyarrow.ListType, pyarrow.LargeListType, pyarrow.FixedSizeListType


def _from_lists(column: Any, name: str) -> np.ndarray:
    """A matrix from a column that holds a list in each row."""
    import pyarrow.compute

    lengths = set(pyarrow.compute.list_value_length(column).to_pylist())
    if len(lengths) != 1 or None in lengths:
        raise ValueError(f"the lists of column {name!r} are not all of one length.")
    return np.asarray(pyarrow.compute.list_flatten(column).to_numpy(zero_copy_only=False)).reshape(len(column), -1)


def _labels(column: Any) -> np.ndarray:
    import pyarrow
    import pyarrow.types as is_type

    if column.null_count:
        return _beside_missing(_labels(column.drop_null()), ~np.array(column.is_null().to_pylist()))
    if is_type.is_boolean(column.type) or is_type.is_integer(column.type) or is_type.is_floating(column.type):
        return _clean(column.to_numpy())
    return _whole(np.char.strip(np.array(column.cast(pyarrow.string()).to_pylist(), dtype=str)))


def _clean(labels: np.ndarray) -> np.ndarray:
    """Labels as numbers or text; booleans as pandas writes them into text."""
    if labels.dtype == bool:
        return labels.astype(str)
    if labels.dtype.kind != "f":
        return _clean_labels(labels)
    if not (known := ~np.isnan(labels)).all():
        return _beside_missing(_clean(labels[known]), known)
    return labels.astype(np.float64) if np.isfinite(labels).all() and is_continuous(labels) else _clean_labels(labels)


def _whole(labels: np.ndarray) -> np.ndarray:
    """Numbers where each label is written as one, but not where all are whole and one is written as 07; else texts."""
    if not (known := known_labels(labels)).all():
        return _beside_missing(_whole(labels[known]), known)
    if not all(map(is_number, labels.tolist())):
        return labels
    numbers = labels.astype(np.float64)
    if not (known := ~np.isnan(numbers)).all():  # however nan is written
        return _beside_missing(_whole(labels[known]), known)
    if np.isinf(numbers).any():
        raise ValueError("a label is infinite. Leave such rows out.")
    if is_continuous(numbers):
        return numbers
    exact = all(map(_NUMBER.fullmatch, labels.tolist())) and bool(np.all(np.abs(numbers) < 2**53))
    return numbers.astype(np.int64) if exact else labels


def _beside_missing(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Labels of the rows where one is known, as text, and "" for the others."""
    texts = np.full(len(known), "", dtype=object)
    texts[known] = labels.astype(str)
    return texts.astype(str)


def _pyarrow(purpose: str) -> ModuleType:
    try:
        import pyarrow
        import pyarrow.csv
    except ImportError as error:
        raise ImportError(f'{purpose} needs pyarrow: pip install "shallowda[cli]"') from error
    return pyarrow


# --------------------------------------------------------------------------------------------------------- plain arrays


def _read_npy(path: Path, wanted: _Wanted) -> Table:
    array = _load_npy(path)
    if array.ndim != 2:
        raise ValueError(f"the array is {array.ndim}-D; a matrix with a row for each sample is needed.")
    columns = [str(i) for i in range(array.shape[1])]
    roles = _roles(columns, wanted._replace(features=""), named=False)
    X = array if roles.features == columns else array[:, [int(name) for name in roles.features]]
    y = _clean(array[:, int(roles.labels)]) if roles.labels else None
    ids = array[:, int(roles.ids)].astype(str) if roles.ids else None
    if text := [i for i, name in enumerate(roles.features) if _is_asked(name, i, wanted)]:
        X = X.astype(object)
        for place in text:
            X[:, place] = categories(X[:, place].tolist())
    return Table(X, y, None, ids, columns, roles.labels, "", "", roles.unused, tuple(text))


def _load_npy(path: Path) -> np.ndarray:
    """An array of a file that is as long as it says, or else cannot be mapped."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"not a whole file of one plain array, which is all that is read ({error}).") from error


def _read_arrays(listing: Callable[[Path], Any], path: Path, wanted: _Wanted) -> Table:
    with listing(path) as variables:
        columns = list(variables)
        told = [f"{name} ({'x'.join(map(str, variable.shape))})" for name, variable in variables.items()]
        for name in (wanted.features, wanted.ids, wanted.labels):
            if name and name not in columns and not (name == wanted.labels and _is_file_of_labels(name, columns)):
                more = f" Features of this file are named by {wanted.option}." if name == wanted.features else ""
                _absent("array", name, told, more)
        refuse_stacked({name: variable for name, variable in variables.items() if name not in wanted.drop})
        features = wanted.features or _the_features(variables, wanted)
        if not features:
            raise ValueError(
                f"no array is known to be the features: name it by {wanted.option}. There are {listed(told)}."
            )
        others = [name for name in columns if name not in {features, wanted.ids, *wanted.drop}]
        labels = wanted.labels if wanted.labels in columns else ""
        usual = _usual_labels([features, *others], features, wanted.part)
        if wanted.labels == "":
            labels = _one_of(usual, "labels", "--labels")
        unused = usual[0] if len(usual) == 1 else wanted.unused if wanted.unused in others else ""
        unused = "" if unused == labels or _side(unused, LABELS) == "src" else unused
        X, y = _value(path, variables, features), None
        if labels:
            X, y = _oriented(X, _value(path, variables, labels), features, labels)
        elif X.ndim == 2 and wanted.width is not None and X.shape[1] != wanted.width == X.shape[0]:
            X = X.T  # a sample in each column, as MATLAB users have it
            logger.warning("%s: %s holds a sample in each column, and was turned.", path, features)
        ids = np.asarray(_value(path, variables, wanted.ids)).ravel().astype(str) if wanted.ids else None
    if X.ndim != 2:
        raise ValueError(f"{features} is {X.ndim}-D; a matrix with a row for each sample is needed.")
    if ids is not None and len(ids) != len(X):
        raise ValueError(f"{wanted.ids} holds {len(ids)} names for {len(X)} rows.")
    y = None if y is None else _clean(y)
    return Table(X, y, None, ids, columns, labels or "", wanted.features, features, unused)


def _the_features(variables: dict[str, Variable], wanted: _Wanted) -> str:
    """The array with a usual name, else the only matrix, if any."""
    found = _one_of(_usual(variables, FEATURES, wanted.part), "features", wanted.option)
    matrices = [name for name, variable in variables.items() if len(variable.shape) == 2 and min(variable.shape) > 1]
    return found or (matrices[0] if len(matrices) == 1 else "")


@contextmanager
def _list_safetensors(path: Path) -> Iterator[dict[str, Variable]]:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ImportError('Reading safetensors needs a package of that name: pip install "shallowda[cli]"') from error
    with safe_open(path, framework="numpy") as file:
        found = {}
        for name in file.keys():  # noqa: SIM118  (it is no dict)
            part = file.get_slice(name)
            kind = part.get_dtype()
            problem = "" if kind in _SAFETENSORS else f"an array of {kind}, which NumPy does not have"
            read = partial(file.get_tensor, name)
            found[name] = Variable(tuple(part.get_shape()), _SAFETENSORS.get(kind, 0), read, problem)
        yield found


# -------------------------------------------------------------------------------------------------------------- checks


def _finite(X: np.ndarray, names: Sequence[str] | None, text: Collection[int], missing: bool) -> np.ndarray:
    """Rows in floating point, without a copy where they are so already; with categories as they are."""
    if X.dtype.kind not in ("O" if text else "buif"):
        raise ValueError(f"features have type {X.dtype}; real numbers are needed.")
    if not X.size:
        raise ValueError(f"there are {X.shape[0]} rows of {X.shape[1]} features; at least one of each is needed.")
    if text:
        numbers = np.delete(X, list(text), axis=1).astype(np.float64)
        known = np.ones(X.shape, dtype=bool)
        known[:, np.delete(np.arange(X.shape[1]), list(text))] = np.isfinite(numbers)
        known[:, list(text)] = X[:, list(text)] == X[:, list(text)]  # NaN is not itself
    else:
        X = np.ascontiguousarray(X, dtype=np.float32 if X.dtype in (np.float16, np.float32) else np.float64)
        known = np.isfinite(X)
    allowed = known if known.all() or not missing else known | (X != X)
    if not allowed.all():
        row, place = divmod(int(np.argmin(allowed)), X.shape[1])
        where = repr(names[place]) if names else str(place)
        is_missing = X[row, place] != X[row, place]
        do = "Fill it by --impute median (or mean, most_frequent), or leave such rows or columns out."
        raise ValueError(
            f"row {row + 1}, column {where} is {'missing' if is_missing else 'infinite'} ("
            f"{X.size - int(known.sum())} of {X.size} values are no finite numbers)."
            f"{f' {do}' if is_missing else ' Leave such rows or columns out.'}"
        )
    return X


def _is_file_of_labels(labels: str | None, columns: Sequence[str]) -> bool:
    return bool(labels) and labels not in columns and Path(str(labels)).is_file()


def _label_file(path: Path, n: int) -> np.ndarray:
    """Labels that stand in a file alone: .npy, or text with a label in each line, perhaps below a name."""
    with path.open("rb") as file:
        is_array = file.read(6) == b"\x93NUMPY"
    if is_array:
        labels = np.asarray(_load_npy(path)).ravel()
    else:
        lines = [line.strip().strip('"') for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
        if "" in lines:
            raise ValueError(f"{path}: line {lines.index('') + 1} is empty; each line must hold a label.")
        if len(lines) == n + 1 and _is_name(lines[0], lines[1:]):
            del lines[0]
        labels = _whole(np.array(lines, dtype=str))
    if len(labels) != n:
        raise ValueError(f"{path} holds {len(labels)} labels for {n} rows.")
    return _clean(labels)


def _is_name(first: str, labels: list[str]) -> bool:
    """Whether the line above labels is their name, and not one more label."""
    return first not in labels and not (is_number(first) and all(map(is_number, labels)))
