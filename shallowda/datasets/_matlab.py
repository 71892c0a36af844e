"""Numeric and sparse matrices of MATLAB 5 to 7.2 files.

SciPy's reader of this format trusts the type numbers that it finds, and a damaged byte can end the process. Here every
number is checked before it is used; whatever is no plain matrix is left alone.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["KINDS", "Matrix", "filled", "matrices"]

HEADER = 128  # bytes before the first variable
MATRIX, COMPRESSED = 14, 15
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
KINDS = dict(enumerate(["cell", "struct", "object", "char", "sparse", "double", "single"], start=1))
KINDS |= {8 + number: f"{'u' * (number % 2)}int{8 << number // 2}" for number in range(8)}
COMPLEX = 0x800  # a flag
START = 4096  # inflated bytes that surely hold flags, shape and name


@dataclass(frozen=True)
class Matrix:
    """A variable: its name, shape and kind, and its bytes, which are not read yet."""

    name: str
    shape: tuple[int, ...]
    kind: str
    order: str
    content: memoryview
    compressed: bool

    def read(self) -> np.ndarray:
        """The values; zeros of a sparse matrix are filled in.

        Returns
        -------
        values : ndarray

        Raises
        ------
        ValueError
            If they are not as many as declared, or damaged.
        """
        size = math.prod(self.shape)
        if self.compressed:
            # room for the values, and row numbers and column borders if sparse
            content = memoryview(_inflated(self.content, 16 * (size + self.shape[-1]) + 2 * START, whole=True))
            content = _element(content, 0, self.order)[1]
        else:
            content = self.content
        parts = []
        at = _description(content, self.order)[-1]
        for _ in range(3 if self.kind == "sparse" else 1):
            stored, values, at = _element(content, at, self.order)
            if stored not in STORED:
                raise ValueError(f"{self.name} is damaged: {stored} is no type of numbers.")
            kind = np.dtype(self.order + STORED[stored])
            parts.append(np.frombuffer(values[: len(values) // kind.itemsize * kind.itemsize], kind))
        if self.kind == "sparse":
            rows, borders, values = parts
            return filled(self.shape, rows, borders, values)
        if len(parts[0]) != size:
            raise ValueError(f"{self.name} is damaged: {len(parts[0])} values for a shape of {self.shape}.")
        values = parts[0].reshape(self.shape, order="F")
        return values.astype(np.float32) if self.kind == "single" else values.astype(values.dtype.newbyteorder("="))


def matrices(content: bytes) -> Iterator[Matrix]:
    """The variables of a file.

    Parameters
    ----------
    content : bytes
        Of the whole file.

    Yields
    ------
    matrix : Matrix
        Of any kind: those that are not numeric cannot be read.

    Raises
    ------
    ValueError
        If the file is cut off or damaged.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("the file is cut off or damaged: it does not tell the order of its bytes.")
    at, buffer = HEADER, memoryview(content)
    while at < len(buffer):
        kind, variable, at = _element(buffer, at, order, padded=False)
        compressed = kind == COMPRESSED
        if compressed:
            start = memoryview(_inflated(variable, START, whole=False))
            kind, inner, _ = _element(start, 0, order, cut=True)
        else:
            inner = variable
        if kind != MATRIX:
            raise ValueError(f"the file is damaged: {kind} is no type of variable.")
        if not len(inner):
            continue  # what an empty cell leaves behind
        name, shape, described, _ = _description(inner, order)
        yield Matrix(name, shape, described, order, variable, compressed)


def filled(shape: tuple[int, ...], rows: np.ndarray, borders: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A sparse matrix, dense; its indices are checked, as SciPy's conversion needs and does not do.

    Parameters
    ----------
    shape : (int, int)
    rows : ndarray of shape (n_values or more,)
        Row of each value.
    borders : ndarray of shape (n_columns + 1,)
        Where the values of each column begin, and where the last ones end.
    values : ndarray of shape (n_values or more,)

    Returns
    -------
    dense : ndarray of shape `shape`

    Raises
    ------
    ValueError
        If an index is out of range.
    """
    n_rows, n_columns = shape
    if not all(np.all(indices == np.floor(indices)) for indices in (rows, borders)):
        raise ValueError("the indices of a sparse matrix are not whole numbers.")
    rows, borders = rows.astype(np.int64), borders.astype(np.int64)
    counts = np.diff(borders)
    used = int(borders[-1]) if len(borders) else -1
    if len(counts) != n_columns or borders[0] != 0 or np.any(counts < 0) or used > min(len(rows), len(values)):
        raise ValueError("the indices of a sparse matrix do not fit its values.")
    rows = rows[:used]
    if used and not 0 <= rows.min() <= rows.max() < n_rows:
        raise ValueError(f"the indices of a sparse matrix are not all below {n_rows}.")
    dense = np.zeros(shape, dtype=values.dtype.newbyteorder("="))
    dense[rows, np.repeat(np.arange(n_columns), counts)] = values[:used]
    return dense


def _inflated(content: memoryview, limit: int, whole: bool) -> bytes:
    stream = zlib.decompressobj()
    found = stream.decompress(content, limit)
    if whole and not stream.eof:
        raise ValueError("the file is cut off or damaged: a variable does not end where it should.")
    return found


def _description(content: memoryview, order: str) -> tuple[str, tuple[int, ...], str, int]:
    """Name, shape and kind of a variable, and where its values begin."""
    _, flags, at = _element(content, 0, order)
    _, sizes, at = _element(content, at, order)
    _, name, at = _element(content, at, order)
    if len(flags) != 8 or len(sizes) < 8 or len(sizes) % 4:
        raise ValueError("the file is damaged: a variable has no kind or no shape.")
    word = int(np.frombuffer(flags, order + "u4")[0])
    shape = tuple(np.frombuffer(sizes, order + "i4").tolist())
    if min(shape) < 0:
        raise ValueError(f"the file is damaged: a variable has the shape {shape}.")
    kind = "complex" if word & COMPLEX else KINDS.get(word & 0xFF, "opaque")
    return bytes(name).decode("ascii"), shape, kind, at


def _element(
    content: memoryview, at: int, order: str, padded: bool = True, cut: bool = False
) -> tuple[int, memoryview, int]:
    """Type and bytes of the element at a position, and the position of the next one."""
    if at + 8 > len(content):
        raise ValueError("the file is cut off or damaged: it ends where a variable should go on.")
    kind, size = np.frombuffer(content[at : at + 8], order + "u4").tolist()
    if kind >> 16:  # short elements have type and size in one word
        kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
    else:
        start = at + 8
        end = start + (-(-size // 8) * 8 if padded else size)
    found = content[start : start + size]
    if (len(found) < size and not cut) or (start == at + 4 and size > 4):
        raise ValueError("the file is cut off or damaged: a variable holds less than it says.")
    return kind, found, end
