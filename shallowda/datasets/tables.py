"""Rows of one domain from a file of a user's, as the command line takes them: with labels or without.

What a file is follows from its first bytes. Arrays in containers (MATLAB, .npz, HDF5, safetensors) have names. Columns
of a table (delimited text, Parquet) have names too; without a line of names, and in .npy, they are counted from 0.
"""

from __future__ import annotations

import csv
import io
import itertools
import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np

from shallowda.core.contract import is_continuous
from shallowda.datasets._files import (
    BOMB_BYTES,
    BOMB_RATIO,
    FEATURES,
    LABELS,
    LISTINGS,
    Variable,
    _clean_labels,
    _counts_columns,
    _is_number,
    _kind,
    _oriented,
    _told,
    _value,
)

__all__ = ["STDIN", "Table", "match_features", "read_table"]

#: The name that stands for standard input, from which delimited text is read.
STDIN = "-"

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
    X : ndarray of shape (n, d), float32 or float64
        Finite. Of an .npy file perhaps a read-only memory map.
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
    unused : bool
        Whether there are labels that were not to be seen.
    """

    X: np.ndarray
    y: np.ndarray | None
    names: list[str] | None
    ids: np.ndarray | None
    columns: list[str]
    labels: str
    features: str
    unused: bool


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


class _Roles(NamedTuple):
    """Which columns are what."""

    features: list[str]
    labels: str
    ids: str
    unused: bool


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
    missing : bool, default=False
        Whether labels may be missing; they are "" then.

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
    wanted = _Wanted(labels, features, ids, drop, unused, width, names or (), part)
    with _told(Path("standard input") if str(path) == STDIN else path):
        table = read(path, wanted)
        table = table._replace(X=_finite(table.X, table.names))
        if _is_file_of_labels(labels, table.columns):
            table = table._replace(y=_label_file(Path(str(labels)), len(table.X)))
        if not missing and table.y is not None and table.y.dtype.kind == "U" and "" in table.y:
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
        missing = [name for name in names if name not in table.names]
        added = [name for name in table.names if name not in names]
        if missing or added:
            less = f" It lacks {_some(missing)}." if missing else ""
            more = (
                f" {other.capitalize()} lacks {_some(added)}: leave out by --drop what is no feature." if added else ""
            )
            raise ValueError(f"{path} has other features than {other}.{less}{more}")
        order = [table.names.index(name) for name in names]
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
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(f"more than one column is called {twice[0]!r}.")
    labels = wanted.labels or ""
    for name in (labels, wanted.ids, wanted.features):
        if name and name not in columns and not (name == labels and _is_file_of_labels(name, columns)):
            _absent("column", name, columns)
    rest = [name for name in columns if name not in (*wanted.drop, wanted.ids)]
    if added := [name for name in rest if named and name in _ROW_NUMBERS and name != labels]:
        logger.warning("Column %r holds row numbers and was left out.", added[0])
        rest = [name for name in rest if name not in added]
    if wanted.labels == "" and named:
        labels = _recognised(rest, LABELS[""], "labels")
    rest = [name for name in rest if name != labels]
    unused = wanted.unused in rest and (named or wanted.width is None or len(rest) > wanted.width)
    if unused:
        rest.remove(wanted.unused)
    features = [wanted.features] if wanted.features else rest
    if not features:
        raise ValueError(f"no column is left for the features; columns are {_some(columns)}.")
    return _Roles(features, labels if labels in columns else "", wanted.ids, unused)


def _absent(what: str, name: str, known: Sequence[str]) -> NoReturn:
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? There are" if close else "there are"
    raise ValueError(f"there is no {what} {name!r}; {hint} {_some(known)}.")


def _recognised(names: Sequence[str], known: Collection[str], what: str) -> str:
    """The one that has a usual name, if any."""
    found = [name for name in names if name.lower() in known]
    if len(found) > 1:
        raise ValueError(f"{' and '.join(found)} may each be the {what}: say which, by --{what} {found[0]}.")
    return found[0] if found else ""


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def _read_text(path: Path, wanted: _Wanted) -> Table:
    pyarrow = _pyarrow("Reading text")
    wanted = wanted._replace(features="")
    with _opened(path) as (file, source):
        try:
            first, second = (line.decode("utf-8-sig") for line in (file.readline(), file.readline()))
        except UnicodeDecodeError as error:
            raise ValueError(f"this is not text in UTF-8 ({error.reason}).") from error
        if not first.strip():
            raise ValueError("the file is empty, or begins with an empty line.")
        if "\0" in first:
            raise ValueError("this is not text.")
        delimiter = next((mark for mark in (",", ";", "\t") if mark in first), ",")
        cells = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter))]
        named = _is_header(cells, second, wanted)
        columns = cells if named else [str(i) for i in range(len(cells))]
        single = len(columns) == 1  # an empty line is then a missing value
        if named and not (second if single else second.strip()):
            raise ValueError("there is no row below the line of names.")
        roles = _roles(columns, wanted, named)
        texts = [name for name in (roles.labels, roles.ids) if name]
        types = dict.fromkeys(roles.features, pyarrow.float64()) | dict.fromkeys(texts, pyarrow.string())
        if single:
            file.seek(0)
            source = pyarrow.BufferReader(_buffer([file.read().rstrip(), b"\n"]))
        try:
            table = pyarrow.csv.read_csv(
                source,
                read_options=pyarrow.csv.ReadOptions(column_names=columns, skip_rows=int(named)),
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, ignore_empty_lines=not single),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=types, include_columns=list(dict.fromkeys([*roles.features, *texts]))
                ),
            )
        except pyarrow.ArrowInvalid as error:
            file.seek(0)
            raise ValueError(_trouble(file, delimiter, columns, named, roles) or str(error)) from error
    return _from_columns(table, roles, columns, named)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Any]]:
    """The bytes for Python, and the same bytes for Arrow.

    Threads of Arrow may still be reading, or letting go of what they read from, when an error ends the interpreter. One
    that needs the interpreter then, as for a file or bytes of Python, aborts the process: nothing of Python for them.
    """
    import pyarrow

    if str(path) == STDIN:
        content = _buffer(iter(partial(sys.stdin.buffer.read, 2**20), b""))
        with io.BufferedReader(pyarrow.BufferReader(content)) as file, pyarrow.BufferReader(content) as source:
            yield file, source
    else:
        with path.open("rb") as file, pyarrow.OSFile(os.fsencode(path)) as source:
            yield file, source


def _buffer(parts: Iterable[bytes]) -> Any:
    """Bytes in memory of Arrow's own."""
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    for part in parts:
        sink.write(part)
    return sink.getvalue()


def _is_header(cells: list[str], second: str, wanted: _Wanted) -> bool:
    """Whether the first line holds names: known or asked for ones, or no number, or numbers that count the columns."""
    if wanted.names and set(wanted.names) <= set(cells):
        return True
    asked = {name for name in (wanted.labels, wanted.ids, *wanted.drop) if name and not _is_number(name)}
    numbers = [cell for cell in cells if _is_number(cell)]
    if not numbers or asked & set(cells) or _counts_columns(cells, second):
        return True
    counted = [[str(i) for i in range(start, start + len(numbers))] for start in (0, 1)]
    return numbers in counted and any(cell.lower() in LABELS[""] for cell in cells)


def _trouble(file: IO[bytes], delimiter: str, columns: list[str], named: bool, roles: _Roles) -> str:
    """The first line that is not as it should be, in words; empty where there is none."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        reader = csv.reader(text, delimiter=delimiter)
        places = [(columns.index(name), name) for name in roles.features]
        for row in itertools.islice(filter(None, reader), int(named), None):
            line = reader.line_num
            if len(row) != len(columns):
                return f"line {line} has {len(row)} fields, the first has {len(columns)}."
            bad = [(name, row[place]) for place, name in places if row[place].strip() and not _is_number(row[place])]
            if bad:
                name, cell = bad[0]
                return (
                    f"{cell[:40]!r} in line {line}, column {name!r} is not a number. Leave the column out by "
                    f"--drop {name}, or say that it holds labels or names of rows."
                )
    except (UnicodeDecodeError, csv.Error) as error:
        return f"this is not text in UTF-8 with fields in columns ({error})."
    finally:
        text.detach()
    return ""


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
        table = file.read(columns=[name for name in (*roles.features, roles.labels, roles.ids) if name])
    return _from_columns(table, roles, columns, named=True)._replace(features=wanted.features)


def _from_columns(table: Any, roles: _Roles, columns: list[str], named: bool) -> Table:
    """Arrays from a table of pyarrow."""
    import pyarrow
    import pyarrow.types as is_type

    fields = [table.schema.field(name) for name in roles.features]
    names: list[str] | None = roles.features if named else None
    lists = [field.name for field in fields if isinstance(field.type, _list_types(pyarrow))]
    if lists and len(fields) == 1:
        X, names = _from_lists(table.column(lists[0]).combine_chunks(), lists[0]), None
    else:
        kinds = (is_type.is_integer, is_type.is_floating, is_type.is_boolean, is_type.is_decimal)
        for field in fields:
            if not any(is_kind(field.type) for is_kind in kinds):
                do = "take it as the features by --features" if field.name in lists else "leave it out by --drop"
                raise ValueError(f"column {field.name!r} holds {field.type}, not numbers: {do} {field.name}.")
        single = all(field.type in (pyarrow.float32(), pyarrow.float16()) for field in fields)
        X = np.empty((table.num_rows, len(fields)), dtype=np.float32 if single else np.float64)
        for place, name in enumerate(roles.features):
            X[:, place] = table.column(name).cast(pyarrow.float64()).to_numpy()
    y = _labels(table.column(roles.labels)) if roles.labels else None
    ids = (
        np.array(table.column(roles.ids).cast(pyarrow.string()).fill_null("").to_pylist(), dtype=str)
        if roles.ids
        else None
    )
    return Table(X, y, names, ids, columns, roles.labels, "", roles.unused)


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
    if not (known := labels != "").all():
        return _beside_missing(_whole(labels[known]), known)
    if not all(map(_is_number, labels.tolist())):
        return labels
    numbers = labels.astype(np.float64)
    if not (known := ~np.isnan(numbers)).all():  # beside numbers, nan is no name
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
    return Table(X, y, None, ids, columns, roles.labels, "", roles.unused)


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
                _absent("array", name, told)
        features = wanted.features or _the_features(variables, wanted.part)
        if not features:
            raise ValueError(f"no array is known to be the features: name it by --features. There are {_some(told)}.")
        others = [name for name in columns if name not in (features, wanted.ids, *wanted.drop)]
        labels = wanted.labels if wanted.labels in columns else ""
        if wanted.labels == "":
            labels = _recognised(others, _usual(LABELS, wanted.part), "labels")
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
    unused = wanted.unused in columns and wanted.unused != labels and wanted.unused.lower() not in LABELS["src"]
    return Table(X, None if y is None else _clean(y), None, ids, columns, labels or "", wanted.features, unused)


def _the_features(variables: dict[str, Variable], part: str) -> str:
    """The array with a usual name, else the only matrix, if any."""
    found = _recognised(list(variables), _usual(FEATURES, part), "features")
    matrices = [name for name, variable in variables.items() if len(variable.shape) == 2 and min(variable.shape) > 1]
    return found or (matrices[0] if len(matrices) == 1 else "")


def _usual(names: dict[str, tuple[str, ...]], part: str) -> set[str]:
    return {*names[""], *names[part]}


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


def _finite(X: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
    """Rows in floating point, without a copy where they are so already."""
    if X.dtype.kind not in "buif":
        raise ValueError(f"features have type {X.dtype}; real numbers are needed.")
    if not X.size:
        raise ValueError(f"there are {X.shape[0]} rows of {X.shape[1]} features; at least one of each is needed.")
    X = np.ascontiguousarray(X, dtype=np.float32 if X.dtype in (np.float16, np.float32) else np.float64)
    known = np.isfinite(X)
    if not known.all():
        row, place = divmod(int(np.argmin(known)), X.shape[1])
        where = repr(names[place]) if names else str(place)
        raise ValueError(
            f"row {row + 1}, column {where} is {'missing' if np.isnan(X[row, place]) else 'infinite'} ("
            f"{X.size - int(known.sum())} of {X.size} values are no finite numbers). Fill or leave out what is missing."
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
    return first not in labels and not (_is_number(first) and all(map(_is_number, labels)))
