"""Delimited text, as the loaders and the command line read it: what is a number, a mark of a missing value, a label.

Text may be packed (gzip, bz2, xz, a zip of one file), in UTF-8 or UTF-16, separated by commas, semicolons, tabs or
blanks, with a decimal point or comma. All of that follows from what is in the file.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import math
import re
import sys
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np

__all__ = [
    "BOMB_BYTES",
    "BOMB_RATIO",
    "MISSING",
    "Columns",
    "NotNumbersError",
    "Text",
    "categories",
    "is_number",
    "is_packed",
    "is_svmlight",
    "known_labels",
    "label_place",
    "looks_like_a_number",
    "opened",
    "read_columns",
    "read_svmlight",
    "text_of",
    "values",
]

# A file is a bomb if it asks for more memory than this, and that is more than so many times its own size: sparse
# counts shrink to a hundredth, zeros to a thousandth, a declaration without content to nothing.
BOMB_BYTES, BOMB_RATIO = 2**30, 200

#: Marks of missing values: those of pandas, and that of the UCI repository.
MISSING = (
    "",
    "?",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "-1.#IND",
    "-1.#QNAN",
    "-NaN",
    "-nan",
    "1.#IND",
    "1.#QNAN",
    "<NA>",
    "N/A",
)
MISSING += ("NA", "NULL", "NaN", "None", "n/a", "nan", "null")
_MISSING = frozenset(MISSING)

_BOOLEANS = {"true": 1.0, "false": 0.0}
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")  # a number with a decimal comma
_POINT_FOR_COMMA = str.maketrans(",.", ".,")  # so that a point is none
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # a number with a decimal comma, or one above a thousand
_WHOLE = re.compile(r"-?(0|[1-9]\d*)\.0*")
_SVMLIGHT = re.compile(r"[^\s:,;]+(\s+(\d+|qid):[^\s:]+)*\s*(#.*)?")
_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"PK": lambda file: _only_member(file),
    b"\x28\xb5\x2f\xfd": lambda file: _refuse_zstd(),
}


# ------------------------------------------------------------------------------------------------------- opening a file


def is_packed(path: Path, start: bytes) -> bool:
    """Whether a file of these first bytes is text that was packed, as far as they tell; .npz is no text."""
    if not start.startswith(b"PK"):
        return any(start.startswith(mark) for mark in _PACKED)
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def _only_member(file: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if any(name.startswith(("xl/", "[Content_Types]")) for name in names):
        raise ValueError("this is a workbook of a spreadsheet program. Save it as csv.")
    if len(names) != 1:
        raise ValueError(f"this is an archive of {len(names)} files; one file of text is needed. Unpack it.")
    return archive.open(names[0])


def _refuse_zstd() -> NoReturn:
    raise ValueError("it is packed by zstd. Unpack it first; gzip, bz2, xz and zip are read as they are.")


@contextmanager
def opened(path: Path | None) -> Iterator[IO[bytes]]:
    """Context of the text of a file, unpacked and in UTF-8; of standard input where there is no path."""
    with io.BytesIO(sys.stdin.buffer.read()) if path is None else path.open("rb") as file:
        start, size = file.read(8), file.seek(0, io.SEEK_END)
        file.seek(0)
        unpack = next((unpack for mark, unpack in _PACKED.items() if start.startswith(mark)), None)
        if unpack is not None:
            content = _unpacked(unpack(file), max(BOMB_BYTES, BOMB_RATIO * size))
            start = content[:8]
            if b"\0" in content[:2048] and not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise ValueError("what is packed here is no text. Unpack it first.")
        elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            content = file.read()
        else:
            yield file
            return
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            content = content.decode("utf-16").encode()
        yield io.BytesIO(content)


def _unpacked(file: IO[bytes], most: int) -> bytes:
    try:
        with file:
            content = file.read(most + 1)
    except (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
        raise ValueError(f"it was cut off or damaged, and cannot be unpacked ({error}).") from error
    if len(content) > most:
        raise ValueError(f"it unpacks to more than {most} bytes: damaged, or made to fill the memory.")
    return content


# --------------------------------------------------------------------------------------------------------- single cells


def is_number(cell: str) -> bool:
    """Whether a cell is a number, with a point."""
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _number(cell: str) -> float:
    """The number that a cell is: as Python reads it, but 2020_01 is a name."""
    if "_" in cell:
        raise ValueError(f"{cell!r} is not a number")
    return float(cell)


def looks_like_a_number(cell: str) -> bool:
    """Whether a cell is a number, with a point or a comma."""
    return is_number(cell) or bool(_COMMA.fullmatch(cell))


def values(cells: Sequence[str | None], number: Callable[[str], float]) -> np.ndarray | None:
    """Numbers that cells hold, true and false as 1 and 0, NaN where one is missing; None where some are other text."""
    words = {cell: "" if cell is None or cell.strip() in _MISSING else cell.strip().lower() for cell in set(cells)}
    booleans = all(word in _BOOLEANS for word in words.values() if word)
    try:
        found = {
            cell: math.nan if not word else _BOOLEANS[word] if booleans else number(word)
            for cell, word in words.items()
        }
    except ValueError:
        return None
    return np.array([found[cell] for cell in cells], dtype=np.float64)


def categories(cells: Sequence[Any]) -> np.ndarray:
    """Texts of a column of categories, equal where they mean the same: 7 and 7.0, true and True; NaN where missing."""
    found = {cell: _category(str("" if cell is None else cell).strip()) for cell in set(cells)}
    column = np.empty(len(cells), dtype=object)
    column[:] = [found[cell] for cell in cells]
    return column


def _category(cell: str) -> str | float:
    if cell in _MISSING:
        return math.nan
    if cell.lower() in _BOOLEANS:
        return cell.lower().capitalize()
    return cell.partition(".")[0] if _WHOLE.fullmatch(cell) else cell


# ----------------------------------------------------------------------------------------------------------------- text


class NotNumbersError(ValueError):
    """Some cells are no numbers, where numbers were expected."""


class Text(NamedTuple):
    """Text in columns."""

    file: IO[bytes]
    delimiter: str  # a blank for any number of blanks and tabs
    decimal: str
    first: list[str]  # cells of the first line
    second: str  # the second line

    def cells(self, line: str) -> list[str]:
        """Cells of a line."""
        line = " ".join(line.split()) if self.delimiter == " " else line
        return [cell.strip() for cell in next(csv.reader([line], delimiter=self.delimiter), [])]

    def number(self, cell: str) -> float:
        """The number that a cell is.

        Raises
        ------
        ValueError
            If it is none.
        """
        return _number(cell if self.decimal == "." else cell.translate(_POINT_FOR_COMMA))

    def rows(self, skip: int) -> Iterator[tuple[int, list[str]]]:
        """Numbers of the lines and their cells, without the first ones and empty ones.

        In a single column, an empty line is a missing value, but at the end.

        Raises
        ------
        ValueError
            If a line has other columns than the first, or is no text.
        """
        width, empty = len(self.first), 0
        self.file.seek(0)
        text = io.TextIOWrapper(self.file, encoding="utf-8-sig", newline="")
        lines: Any = (" ".join(line.split()) for line in text) if self.delimiter == " " else text
        reader = csv.reader(lines, delimiter=self.delimiter)
        try:
            for row in reader:
                if not row or (width == 1 and not row[0].strip()):
                    empty += 1
                    continue
                if width == 1:
                    yield from ((reader.line_num - i, [""]) for i in range(empty, 0, -1))
                empty = 0
                if len(row) != width:
                    raise ValueError(f"line {reader.line_num} has {len(row)} fields, the first has {width}.")
                if skip:
                    skip -= 1
                else:
                    yield reader.line_num, row
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"this is not text in UTF-8 with fields in columns ({error}).") from error
        finally:
            text.detach()

    def read(self, skip: int, numbers: Sequence[int], texts: Sequence[int]) -> tuple[np.ndarray, list[list[str]]]:
        """Columns of numbers, NaN where one is missing, and columns of text.

        Raises
        ------
        NotNumbersError, ValueError
            If a cell is no number, or a line is not as the first.
        """
        parts, found, take = [], [list[str]() for _ in texts], _taker(numbers)
        for _, row in self.rows(skip):
            cells = take(row)
            is_plain = self.decimal == "." and "_" not in "".join(cells)
            try:
                known = list(map(float if is_plain else self.number, cells))  # float is twice as fast
            except ValueError:
                try:
                    known = [math.nan if cell.strip() in _MISSING else self.number(cell) for cell in cells]
                except ValueError as error:
                    raise NotNumbersError(str(error)) from error
            parts.append(np.array(known, dtype=np.float64))
            for column, place in zip(found, texts, strict=True):
                column.append(row[place])
        return np.array(parts).reshape(len(parts), len(numbers)), found

    def no_numbers(self, skip: int, places: Sequence[int]) -> dict[int, tuple[int, str]]:
        """The columns that hold something else than numbers, each with its first such cell: the line, and the cell."""
        found: dict[int, tuple[int, str]] = {}
        take = _taker(places)
        for line, row in self.rows(skip):
            try:
                list(map(self.number, take(row)))
            except ValueError:
                for place in places:
                    if place not in found and row[place].strip() not in _MISSING and not self.is_number(row[place]):
                        found[place] = line, row[place]
        return found

    def is_number(self, cell: str) -> bool:
        """Whether a cell is a number as this file writes them."""
        try:
            self.number(cell)
        except ValueError:
            return False
        return True

    def has_commas(self, cells: Collection[str]) -> bool:
        """Whether all of the cells, which are no numbers by a point, are numbers with a decimal comma."""
        return self.decimal == "." and all(_COMMA.fullmatch(cell.strip()) for cell in cells)


class Columns(NamedTuple):
    """What columns hold."""

    text: Text
    plain: list[int]  # columns of numbers
    numbers: np.ndarray
    cells: dict[int, list[str]]  # of the other columns

    def no_number(self, skip: int, place: int, name: str) -> str:
        """What is wrong with a column that is no numbers, in words."""
        cells = ((line, row[place].strip()) for line, row in self.text.rows(skip))
        bad = [(line, cell) for line, cell in cells if cell not in _MISSING and not self.text.is_number(cell)]
        line, cell = next((one for one in bad if one[1].lower() not in _BOOLEANS), bad[0])
        more = ", and others in the file are written with a decimal comma" if is_number(cell) else ""
        return f"{cell[:40]!r} in line {line}, column {name!r} is not a number{more}."


def read_columns(
    text: Text, skip: int, numbers: Sequence[int], texts: Sequence[int], read: Callable[..., Any] = Text.read
) -> Columns:
    """Columns as numbers, as far as they are, and as text.

    Parameters
    ----------
    text : Text
    skip : int
        Lines to leave out.
    numbers, texts : sequence of int
        The columns that should be numbers, and those that are text.
    read : callable
        Reads as `Text.read`.

    Raises
    ------
    ValueError
        If a line is not as the first, or the commas in numbers may set thousands apart.
    """
    second = text.cells(text.second) if skip else text.first
    seen = [place for place in numbers if place < len(second) and second[place] not in _MISSING]
    others = [place for place in seen if not text.is_number(second[place])]
    while True:
        left = set(others)
        plain, cells = [place for place in numbers if place not in left], [*others, *texts]
        try:
            found, columns = read(text, skip, plain, cells)
        except NotNumbersError as error:
            bad = text.no_numbers(skip, plain)
            if not bad and read is Text.read:
                raise ValueError(str(error)) from error
            if not bad:  # " ?", with a blank, is known here and nowhere else
                read = Text.read
            elif text.has_commas([cell for _, cell in bad.values()]):
                text = text._replace(decimal=",")
            else:
                others += bad
            continue
        _refuse_thousands(text, skip, plain)
        return Columns(text, plain, found, dict(zip(cells, columns, strict=True)))


def _refuse_thousands(text: Text, skip: int, places: Sequence[int]) -> None:
    """Refuse numbers such as 1,234 in text separated by commas, unless others show that the comma is decimal."""
    if not text.delimiter == text.decimal == ",":
        return
    cells = [row[place].strip() for _, row in text.rows(skip) for place in places if "," in row[place]]
    if cells and all(map(_THOUSANDS.fullmatch, cells)):
        raise ValueError(
            f"{cells[0]!r} may have a decimal comma, or a comma that sets thousands apart. Write the numbers with a "
            "decimal point, and without other commas."
        )


def _taker(places: Sequence[int]) -> Callable[[list[str]], Sequence[str]]:
    """What takes these cells out of a row."""
    if len(places) < 2:
        return lambda row: [row[place] for place in places]
    return itemgetter(*places)


def text_of(file: IO[bytes]) -> Text:
    """The text of a file, with how it is written.

    Raises
    ------
    ValueError
        If it is empty or no text.
    """
    file.seek(0)
    try:
        first, second = (line.decode("utf-8-sig") for line in (file.readline(), file.readline()))
    except UnicodeDecodeError as error:
        raise ValueError(f"this is not text in UTF-8 ({error.reason}).") from error
    if not first.strip():
        raise ValueError("the file is empty, or begins with an empty line.")
    if "\0" in first:
        raise ValueError("this is not text.")
    text = Text(file, _delimiter(first, second), ".", [], second)
    text = text._replace(first=text.cells(first))
    some = [*text.first, *text.cells(second)]
    return text._replace(decimal="," if any(map(_COMMA.fullmatch, some)) else ".")


def _delimiter(first: str, second: str) -> str:
    """What separates the fields: it is there equally often in both lines, as far as there are two."""
    marks = [mark for mark in ("\t", ";", ",", "|") if mark in first]
    for mark in marks:
        upper, lower = (next(csv.reader([line], delimiter=mark), []) for line in (first, second))
        is_whole = all("," not in cell or _COMMA.fullmatch(cell.strip()) or '"' in second for cell in lower)
        if len(upper) == len(lower) and (mark in ",|" or "," not in marks or is_whole):
            return mark
    if marks:
        return next(mark for mark in (",", ";", "\t", "|") if mark in marks)
    words, below = first.split(), second.split()
    in_columns = len(words) > 1 and (not below or len(below) == len(words)) and any(map(is_number, below or words))
    return " " if in_columns else ","


# --------------------------------------------------------------------------------------------------------------- labels


def known_labels(cells: np.ndarray) -> np.ndarray:
    """Which cells hold a label: not empty ones, and beside numbers no mark of a missing value, which words may be.

    Parameters
    ----------
    cells : ndarray of shape (n,), str

    Returns
    -------
    known : ndarray of shape (n,), bool
    """
    filled = cells != ""
    marked = np.isin(cells, MISSING)
    are_numbers = not marked.all() and all(map(looks_like_a_number, set(cells[~marked].tolist())))
    return ~marked if are_numbers else filled


def label_place(rows: Iterator[tuple[int, list[str]]]) -> tuple[int | None, bool]:
    """The column that is the labels, 0 or -1, or None where neither looks so; and whether that is beyond doubt.

    Labels are words or whole numbers, and each is there several times. Where both columns may be labels, the last is
    taken.
    """
    edges = [(row[0].strip(), row[-1].strip()) for _, row in rows]
    first, last = (_rank(column) for column in zip(*edges, strict=True)) if edges else (0, 0)
    place = 0 if first > max(last, _UNCLEAR) else -1 if last > 0 else None
    return place, first != last and max(first, last) >= _FEW


_CONTINUOUS, _UNCLEAR, _NAMES, _SOME, _FEW, _WORDS = range(6)
_TOO_FEW = 10  # rows of which each may have a class of its own


def _rank(cells: Sequence[str]) -> int:
    """How much a column looks like labels, by the cells that are not missing."""
    cells = [cell for cell in cells if cell not in _MISSING]
    distinct = set(cells)
    if not all(map(looks_like_a_number, distinct)):
        return _WORDS if len(distinct) < len(cells) else _NAMES
    if not all(is_number(cell) and float(cell).is_integer() for cell in distinct):
        return _CONTINUOUS
    if len(distinct) == len(cells) > _TOO_FEW:
        return _CONTINUOUS
    if len(distinct) in (0, 1, len(cells)):
        return _UNCLEAR
    return _FEW if 2 * len(distinct) <= len(cells) else _SOME


# ------------------------------------------------------------------------------------------------ text as libsvm has it


def is_svmlight(file: IO[bytes]) -> bool:
    """Whether the first lines are labels with pairs of numbers and values, as ``1 3:0.5 7:2``."""
    file.seek(0)
    start = file.read(2**16)
    file.seek(0)
    lines = start.decode("utf-8-sig", errors="replace").splitlines()
    lines = [line.strip() for line in (lines[:-1] if len(lines) > 1 and len(start) == 2**16 else lines)]
    lines = [line for line in lines if line and not line.startswith("#")][:20]
    return any(":" in line for line in lines) and all(map(_SVMLIGHT.fullmatch, lines))


def read_svmlight(file: IO[bytes], size: int, names: Collection[str] = ()) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features, labels, and the numbers of the features as the file writes them.

    Parameters
    ----------
    file : file
    size : int
        Bytes that it has.
    names : collection of str
        Numbers of features that are known to be, and whether they count from 0 or 1.

    Raises
    ------
    ValueError
        If the text is damaged, or features would fill the memory.
    """
    from sklearn.datasets import load_svmlight_file

    X, y = load_svmlight_file(file, zero_based=True)  # numbers as they stand
    known = [int(name) for name in names] if names and all(map(str.isdecimal, names)) else []
    lowest, highest = (int(X.indices.min()), int(X.indices.max())) if len(X.indices) else (1, 1)
    begin = min(lowest, known[0] if known else 1)
    end = max(highest, *known[-1:], begin)
    if (wanted := 8 * X.shape[0] * (end + 1 - begin)) > BOMB_BYTES and wanted > BOMB_RATIO * size:
        raise ValueError(
            f"{X.shape[0]} rows of {end + 1 - begin} features take {wanted / 2**30:.3g} GiB when zeros are filled in: "
            "damaged, or made to fill the memory."
        )
    X.resize(X.shape[0], end + 1)
    return X[:, begin:].toarray(), y, [str(number) for number in range(begin, end + 1)]
