"""Report on the shift between two files: ``python -m shallowda.diagnosis SOURCE TARGET``.

Files are .npz (array X, and labels), .npy (one array) or .csv (with or without a header line).
"""

from __future__ import annotations

import argparse
import csv
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shallowda.diagnosis.report import DomainShiftReport


class Table(NamedTuple):
    """Contents of a file: features, their names where the file has them, and labels where there are any."""

    X: np.ndarray
    names: list[str] | None
    y: np.ndarray | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report, and write the page when asked.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line, by default that of the process.

    Returns
    -------
    status : int
        0; a bad argument or file exits with a message instead.

    Raises
    ------
    SystemExit
        With status 2 if an argument or file is wrong, 1 if a package of the extra ``report`` is missing.
    """
    parser = argparse.ArgumentParser(prog="python -m shallowda.diagnosis", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="rows of the source: .npz, .npy or .csv")
    parser.add_argument("target", type=Path, help="rows of the target, with the same features; its labels are not used")
    parser.add_argument(
        "--labels",
        metavar="KEY_OR_COLUMN",
        help="array of an .npz file, or column (a name, or a number from 0) of a .npy or .csv file, that holds the "
        "labels (default: y, where the source has one)",
    )
    parser.add_argument("--output", type=Path, metavar="PAGE.html", help="write an HTML page too")
    parser.add_argument("--permutations", type=int, default=200, help="permutations of each test (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        source = read_table(options.source, options.labels)
        target = read_table(options.target, options.labels, source.X.shape[1])
        if source.names and target.names and source.names != target.names:
            source_only = [name for name in source.names if name not in target.names]
            target_only = [name for name in target.names if name not in source.names]
            raise ValueError(
                f"The columns of the files differ (only in the source: {source_only}; only in the target: "
                f"{target_only}), or their order does."
            )
        report = DomainShiftReport(
            source.X,
            source.y,
            target.X,
            feature_names=source.names or target.names,
            n_permutations=options.permutations,
            random_state=options.seed,
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    sys.stdout.write(f"{report}\n")
    if options.output is not None:
        try:
            sys.stdout.write(f"\nPage: {report.save(options.output)}\n")
        except ImportError as error:
            parser.exit(1, f"{error}\n")
        except OSError as error:
            parser.error(f"--output cannot be written: {error}")
    return 0


def read_table(path: Path, labels: str | None = None, width: int | None = None) -> Table:
    """Read a file of one domain.

    Parameters
    ----------
    path : Path
    labels : str, optional
        Where the labels are. Default: in ``y``, if there is one.
    width : int, optional
        Number of features where it is known: a file of just so many columns has none of labels.

    Returns
    -------
    table : Table

    Raises
    ------
    OSError, ValueError
        If the file cannot be read as what its name says; the message names it.
    """
    readers = {".npz": _read_npz, ".npy": _read_npy, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: not a file of a known kind; known are {', '.join(readers)}.")
    return readers[path.suffix.lower()](path, labels, width)


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: not readable as plain arrays ({error}).")


def _read_npz(path: Path, labels: str | None, width: int | None) -> Table:
    key = "y" if labels is None else labels
    needed = {"X"} if labels is None or width is not None else {"X", key}
    with path.open("rb") as file:
        try:
            arrays = np.load(file, allow_pickle=False)
            names = set(arrays) if isinstance(arrays, np.lib.npyio.NpzFile) else set()
            X = arrays["X"] if needed <= names else None
            y = arrays[key] if needed <= names and key in names and width is None else None
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _unreadable(path, error) from error
    if X is None:
        raise ValueError(f"{path}: there is no array {min(needed - names)!r}, only {sorted(names)}.")
    return Table(_numbers(path, X), None, y)


def _read_npy(path: Path, labels: str | None, width: int | None) -> Table:
    with path.open("rb") as file:
        try:
            array = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise _unreadable(path, error) from error
    X = _numbers(path, array)
    column = _column(path, labels, None, X.shape[1], width)
    return Table(X, None, None) if column is None else Table(np.delete(X, column, axis=1), None, X[:, column])


def _numbers(path: Path, array: np.ndarray) -> np.ndarray:
    if array.ndim != 2 or array.dtype.kind not in "iufb":
        raise ValueError(f"{path}: X must be a matrix of numbers; it is {array.ndim}-D of {array.dtype}.")
    return array


def _column(path: Path, labels: str | None, names: list[str] | None, columns: int, width: int | None) -> int | None:
    """Number of the column of labels; None where there is none, and need not be."""
    name = "y" if labels is None else labels
    if names and name in names:
        return names.index(name)
    if labels is None or columns == width:
        return None
    if labels.isdecimal() and int(labels) < columns:
        return int(labels)
    known = f"columns are {', '.join(names)}" if names else f"columns are 0 to {columns - 1}"
    raise ValueError(f"{path}: there is no column {labels!r}; {known}.")


def _read_csv(path: Path, labels: str | None, width: int | None) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not readable as comma-separated text ({error}).") from error
    if not lines:
        raise ValueError(f"{path}: the file is empty.")
    columns = len(lines[0][1])
    for number, row in lines:
        if len(row) != columns:
            raise ValueError(f"{path}: line {number} has {len(row)} fields, the first has {columns}.")
    # A first line with any number in it is data, as names are not numbers.
    names = None if any(_is_number(field) for field in lines[0][1]) else [field.strip() for field in lines[0][1]]
    lines = lines[1:] if names else lines
    column = _column(path, labels, names, columns, width)
    y = None if column is None else _labels([row[column].strip() for _, row in lines])
    kept = [i for i in range(columns) if i != column]
    X = np.empty((len(lines), len(kept)))
    for place, (number, row) in enumerate(lines):
        for j, i in enumerate(kept):
            if not _is_number(row[i]):
                where = names[i] if names else i
                raise ValueError(
                    f"{path}: {row[i]!r} in line {number}, column {where} is not a finite number. Fill or leave out "
                    "missing values, and give labels by --labels."
                )
            X[place, j] = float(row[i])
    return Table(X, [names[i] for i in kept] if names else None, y)


def _is_number(field: str) -> bool:
    try:
        return bool(np.isfinite(float(field)))
    except ValueError:
        return False


def _labels(fields: list[str]) -> np.ndarray:
    try:
        return np.array(fields, dtype=int)
    except ValueError:
        return np.array(fields)


if __name__ == "__main__":
    raise SystemExit(main())
