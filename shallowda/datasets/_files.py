"""Features and labels out of a file that somebody else wrote, in any of the layouts in which they are passed around.

What a file is follows from its first bytes, not from its name. Variables are listed with their declared shapes before
any is read, nothing is unpickled, and whatever is wrong ends in a ValueError that names the file.
"""

from __future__ import annotations

import codecs
import math
import os
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse

from shallowda.datasets._matlab import filled, matrices
from shallowda.datasets._text import (
    BOMB_BYTES,
    BOMB_RATIO,
    is_number,
    is_packed,
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

__all__ = ["read_features", "read_gas", "read_heart", "read_stacked"]

# Usual names of a file's features and labels, in lower case; those of a domain have a side before or behind them.
FEATURES = ("fts", "feas", "fea", "feat", "feats", "feature", "features", "x", "data")
LABELS = ("labels", "label", "y", "gnd", "target", "targets", "class")
_DOMAINS = ("domains", "domain", "sample_domain")  # where rows of several are stacked
_SIDES = {"src": ("s", "src", "source"), "tar": ("t", "tar", "tgt", "target")}


def _sided(stems: tuple[str, ...], sides: tuple[str, ...]) -> re.Pattern[str]:
    """Names that a stem and a side make: xs, x_src, src_x, sourceX; before the stem, a letter stands apart: s_x."""
    stem, side, word = ("|".join(words) for words in (stems, sides, [side for side in sides if len(side) > 1]))
    return re.compile(rf"(?:{stem})[_.-]?(?:{side})|(?:{side})[_.-](?:{stem})|(?:{word})(?:{stem})")


# Z is what was made of X, and a usual name in pairs only
_PAIRS: dict[tuple[str, ...], dict[str, re.Pattern[str]]] = {
    stems: {part: _sided((*stems, *more), sides) for part, sides in _SIDES.items()}
    for stems, more in ((FEATURES, ("z",)), (LABELS, ()))
}
MATLAB_BYTES = {"double": 8, "single": 4, "logical": 1, "sparse": 8} | {
    f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)
}

# Numbers of the gases where UCI distributes them
GASES = {"1": "Ethanol", "2": "Ethylene", "3": "Ammonia", "4": "Acetaldehyde", "5": "Acetone", "6": "Toluene"}

Labelled = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Variable:
    """An array of a file, not read yet; `problem` says why it cannot be."""

    shape: tuple[int, ...]
    itemsize: int
    read: Callable[[], Any]
    problem: str = ""


def read_features(path: Path, features: str = "", labels: str = "", part: str = "") -> Labelled:
    """Samples and labels of one domain.

    Parameters
    ----------
    path : Path
        MATLAB file (4, 5, 7.3), .npz, libsvm's text, or delimited text of numbers whose labels have a usual name, or
        are the first or the last column, whichever looks like labels.
    features, labels : str
        Names of the variables (or, of text, of the label column); empty to recognise them.
    part : {"", "src", "tar"}
        Which variables to look for.

    Returns
    -------
    X : ndarray of shape (n, d), float32 or float64
    y : ndarray of shape (n,), int64 or str
        The labels of the file.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is damaged or not a labelled matrix of finite real numbers.
    """
    path = Path(path)
    kind = _kind(path)
    with _told(path):
        if kind == "text":
            X, y = _read_text(path, labels)
        else:
            with LISTINGS[kind](path) as variables:
                chosen, marks = _choose(variables, features, labels, part)
                X, y = _value(path, variables, chosen), _value(path, variables, marks)
            X, y = _oriented(X, y, chosen, marks)
        return _clean_features(X), _clean_labels(y)


def _side(name: str, stems: tuple[str, ...]) -> str | None:
    """The domain that a usual name of features or labels is of, "" where it does not tell; None for other names."""
    if name.lower() in stems:
        return ""
    return next((part for part, pattern in _PAIRS[stems].items() if pattern.fullmatch(name.lower())), None)


def _usual(names: Iterable[str], stems: tuple[str, ...], part: str) -> list[str]:
    """Those that have a usual name of the domain; where there is none, of no domain."""
    sides = [(name, _side(name, stems)) for name in names]
    return [name for name, side in sides if side == part] or [name for name, side in sides if side == ""]


def _usual_labels(names: Collection[str], features: str, part: str) -> list[str]:
    """Those with a usual name of the labels that go with the features: y goes with x, and not with xt beside it."""
    side = _side(features, FEATURES) or part
    found = _usual(names, LABELS, side)
    of_others = _side(features, FEATURES) and any(_side(name, FEATURES) == "" for name in names)
    return [name for name in found if _side(name, LABELS) == side or not of_others]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes a ValueError that names the file: readers fail in many ways on bad bytes."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: {error or type(error).__name__}") from error


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(2048)
    if not start:
        raise ValueError(f"{path}: the file is empty.")
    if is_packed(path, start):
        return "text"
    if start.startswith(b"PK"):
        return "npz"
    if any(start[offset:].startswith(b"\x89HDF\r\n\x1a\n") for offset in (0, 512, 1024)):
        return "hdf5"
    if start.startswith(b"MATLAB") or start[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
        return "matlab"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text"
    binary, pickled = b"\0" in start, start.startswith(b"\x80")
    if b"\0" in start[:4] and not pickled and path.suffix.lower() == ".mat":
        return "matlab 4"  # which has no signature
    if binary or pickled:
        raise ValueError(
            f"{path}: neither MATLAB, nor .npz, nor text. Pickles are never loaded: save arrays with numpy.savez."
        )
    if path.suffix.lower() in (".mat", ".npz", ".h5", ".hdf5"):
        words = start[:60].decode(errors="replace").strip()
        raise ValueError(f"{path}: text where {path.suffix} was expected, a failed download perhaps; begins {words!r}.")
    return "text"


@contextmanager
def _list_matlab(path: Path) -> Iterator[dict[str, Variable]]:
    found = {}
    for matrix in matrices(path.read_bytes()):
        itemsize = MATLAB_BYTES.get(matrix.kind, 0)
        found[matrix.name] = Variable(matrix.shape, itemsize, matrix.read, "" if itemsize else f"a {matrix.kind} array")
    yield found


@contextmanager
def _list_matlab4(path: Path) -> Iterator[dict[str, Variable]]:
    def variable(name: str, shape: tuple[int, ...], kind: str) -> Variable:
        def read() -> Any:
            return scipy.io.loadmat(path, variable_names=[name], spmatrix=False)[name]

        return Variable(shape, MATLAB_BYTES.get(kind, 0), read, "" if kind in MATLAB_BYTES else f"a {kind} array")

    yield {name: variable(name, shape, kind) for name, shape, kind in scipy.io.whosmat(path)}


@contextmanager
def _list_npz(path: Path) -> Iterator[dict[str, Variable]]:
    with zipfile.ZipFile(path) as archive:
        yield {member.removesuffix(".npy"): _npz_member(archive, member) for member in archive.namelist()}


def _npz_member(archive: zipfile.ZipFile, member: str) -> Variable:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)

    def read() -> np.ndarray:
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    problem = "an array of Python objects, which only a pickle could hold" if dtype.hasobject else ""
    return Variable(shape, dtype.itemsize, read, problem)


@contextmanager
def _list_hdf5(path: Path) -> Iterator[dict[str, Variable]]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"{path} is a MATLAB 7.3 (HDF5) file; reading it needs h5py: pip install shallowda[data]"
        ) from error
    with h5py.File(path, "r") as file:
        found = {}
        for name in file:
            # Links to, and storage in, other files are not followed
            if name.startswith("#") or not isinstance(file.get(name, getlink=True), h5py.HardLink):
                continue
            entry = file[name]
            if isinstance(entry, h5py.Group):
                found[name] = _hdf5_group(entry)
                continue
            foreign = entry.external is not None or entry.is_virtual
            problem = "stored in another file" if foreign else "a cell array" if entry.dtype.hasobject else ""
            found[name] = Variable(entry.shape or (), entry.dtype.itemsize, partial(_hdf5_array, entry), problem)
        yield found


def _hdf5_array(entry: Any) -> np.ndarray:
    # MATLAB's columns are the rows of HDF5; a file that Python wrote is as it says
    return entry[()].T if "MATLAB_class" in entry.attrs else entry[()]


def _hdf5_group(group: Any) -> Variable:
    """MATLAB's sparse matrices are groups; so are its structures."""
    if "MATLAB_sparse" not in group.attrs:
        return Variable((), 0, lambda: None, "a structure")
    shape = (int(group.attrs["MATLAB_sparse"]), len(group["jc"]) - 1)

    def read() -> np.ndarray:
        if "data" not in group:  # no value is stored
            return np.zeros(shape)
        return filled(shape, group["ir"][()], group["jc"][()], group["data"][()])

    return Variable(shape, 8, read)


LISTINGS = {"matlab": _list_matlab, "matlab 4": _list_matlab4, "npz": _list_npz, "hdf5": _list_hdf5}


def _value(path: Path, variables: dict[str, Variable], name: str) -> np.ndarray:
    """A variable, read once its declaration is believable."""
    variable = variables[name]
    if variable.problem:
        raise ValueError(f"{name} is {variable.problem}; a plain matrix is needed.")
    declared = math.prod(map(int, variable.shape)) * max(variable.itemsize, 1)
    if declared > BOMB_BYTES and declared > BOMB_RATIO * path.stat().st_size:
        raise ValueError(
            f"{name} is declared as {' x '.join(map(str, variable.shape))}, {declared / 2**30:.3g} GiB, in a file of "
            f"{path.stat().st_size / 2**20:.3g} MiB: damaged, or made to fill the memory."
        )
    array = variable.read()
    if scipy.sparse.issparse(array):
        array = array.toarray()
    array = np.asarray(array)
    if array.shape != tuple(variable.shape) and array.shape != tuple(variable.shape)[::-1]:
        raise ValueError(f"{name} is declared as {variable.shape} but holds {array.shape}.")
    return array


def _choose(variables: dict[str, Variable], features: str, labels: str, part: str) -> tuple[str, str]:
    """Names of the features and of the labels."""
    told = ", ".join(f"{name} {'x'.join(map(str, variable.shape))}" for name, variable in variables.items())
    told = f"the file holds {told or 'no variable'}"
    for name in filter(None, (features, labels)):
        if name not in variables:
            raise ValueError(f"there is no variable {name}; {told}.")
    if not features:
        refuse_stacked(variables)
        matrices = [name for name, entry in variables.items() if len(entry.shape) == 2 and min(entry.shape) > 1]
        found = _usual(variables, FEATURES, part)
        if found and not part:  # x may be the source beside a target xt
            found += [name for name in variables if _side(name, FEATURES)]
        features = _only_one(found or ([] if part else matrices), "features", told)
    if not labels:
        lengths = variables[features].shape
        vectors = [
            name
            for name, variable in variables.items()
            if name != features and max(variable.shape, default=0) == math.prod(variable.shape) in lengths
        ]
        others = [name for name in vectors if _side(name, LABELS) is None]
        found = _usual_labels(variables, features, part)
        labels = _only_one(found or ([] if part else others), "labels", told)
    return features, labels


def refuse_stacked(variables: Mapping[str, Variable]) -> None:
    """Refuse a file whose rows are of several domains, as an array says, where the rows of one are to be read."""
    for name, variable in variables.items():
        if name.lower() in _DOMAINS and math.prod(variable.shape) > 1:
            raise ValueError(
                f"the rows of several domains are stacked here, as {name} says. Read one with "
                "shallowda.datasets.read_stacked(path, number), or save each to a file of its own."
            )


def _only_one(found: list[str], what: str, told: str) -> str:
    if len(found) != 1:
        reason = f"{' and '.join(found)} may each be" if found else "no variable is known to be"
        raise ValueError(f"{reason} the {what}; {told}. Give the file as (path, features, labels), by variable names.")
    return found[0]


def _oriented(X: np.ndarray, y: np.ndarray, features: str, labels: str) -> Labelled:
    """Rows of samples and one label each; labels tell which way round the matrix is."""
    if X.ndim != 2 or X.size == 0:
        raise ValueError(f"{features} of shape {X.shape} is not a matrix of samples.")
    if y.ndim == 2 and 1 in y.shape:
        y = y.ravel()
    fits = [axis for axis in (0, 1) if X.shape[axis] in y.shape]
    if y.ndim not in (1, 2) or not fits:
        raise ValueError(f"{labels} of shape {y.shape} does not fit {features} of shape {X.shape}.")
    if len(fits) == 2 and X.shape[0] == X.shape[1]:
        fits = [1 if _side(features, FEATURES) else 0]  # as such files are made
    X = X if fits[0] == 0 else X.T
    if y.ndim == 2:  # indicators of the classes
        y = y if len(y) == len(X) else y.T
        if not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
            raise ValueError(f"{labels} of shape {y.shape} has neither one label nor one indicator 1 for each sample.")
        y = np.argmax(y, axis=1)
    return X, y


def _clean_features(X: np.ndarray) -> np.ndarray:
    if X.dtype.kind not in "buif":
        raise ValueError(f"features have type {X.dtype}; real numbers are needed.")
    X = np.ascontiguousarray(X, dtype=np.float32 if X.dtype in (np.float16, np.float32) else np.float64)
    if bad := int(X.size - np.isfinite(X).sum()):
        raise ValueError(f"{bad} of {X.size} features are NaN or infinite.")
    return X


def _clean_labels(y: np.ndarray) -> np.ndarray:
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8")
    if y.dtype.kind == "U":
        return np.char.strip(y)
    if y.dtype.kind not in "buif" or not np.isfinite(y).all() or np.any(y != np.round(y)):
        raise ValueError("labels are not whole numbers or strings.")
    return y.astype(np.int64)


def _read_text(path: Path, label: str) -> Labelled:
    """Numbers in columns, with or without a line of names, with or without pandas' column of row numbers."""
    with opened(path) as file:
        if is_svmlight(file):
            if label:
                raise ValueError(f"there is no column {label}; in libsvm's text, labels have no name.")
            return read_svmlight(file, path.stat().st_size)[:2]
        text = text_of(file)
        names = text.first
        if len(names) < 2:
            raise ValueError(
                "a line must hold the features and the label of a sample, separated by commas, tabs or blanks."
            )
        header = bool(label) or not any(map(looks_like_a_number, names)) or _counts_columns(names, text.second)
        if label and label not in names:
            raise ValueError(f"there is no column {label}; the first line begins {','.join(names[:9])[:60]!r}.")
        known = [label] if label else [name for name in names if header and name.lower() in LABELS]
        if len(known) > 1:
            raise ValueError(
                f"columns {' and '.join(known)} may each be the labels: give the file as (path, '', label)."
            )
        if header and not text.second.strip():
            raise ValueError("there is no sample below the line of names.")
        place = names.index(known[0]) if known else label_place(text.rows(int(header)))[0]
        if place is None:
            raise ValueError(
                "neither the first nor the last column looks like labels, which are words or whole numbers, each there "
                "several times. Give the labels' column a name in a first line, and the file as (path, '', name)."
            )
        place %= len(names)
        row_numbers = {0} if header and names[0].lower() in ("", "unnamed: 0", "index") else set()
        rest = [i for i in range(len(names)) if i not in {place, *row_numbers}]
        found = read_columns(text, int(header), rest, [place])
        X = np.empty((len(found.numbers), len(rest)))
        at = {column: i for i, column in enumerate(rest)}
        X[:, [at[column] for column in found.plain]] = found.numbers
        labels = [cell.strip() for cell in found.cells.pop(place)]
        for column, cells in found.cells.items():
            numbers = values(cells, found.text.number)
            if numbers is None:
                raise ValueError(found.no_number(int(header), column, names[column] if header else str(column)))
            X[:, at[column]] = numbers
    y = np.array(labels)
    if not (known := known_labels(y)).all():
        raise ValueError(f"sample {int(np.argmin(known)) + 1} has no label. Leave such samples out.")
    return X, y.astype(float) if all(map(is_number, set(labels))) else y


def _counts_columns(names: list[str], second: str) -> bool:
    """Whether the first line is the header that pandas makes up, 0, 1, 2, ..., and not a sample of such numbers."""
    counted = [list(map(str, range(start, start + len(names) - 1))) for start in (0, 1)]
    return (names[1:] == counted[0] or names == ["0", *counted[1]]) and (len(names) > 8 or "." in second)


def read_stacked(path: str | os.PathLike[str], part: int) -> Labelled:
    """One of the domains whose rows are stacked in one array.

    Parameters
    ----------
    path : path-like
        MATLAB file, HDF5 or .npz. Features are ``D`` or have a usual name, and labels too. ``domains`` (``domain``,
        ``sample_domain``) holds the rows at which the domains begin and the last one ends, or the domain of each row.
    part : int
        Number of the domain, from 0: as they follow on each other, or by their sorted codes.

    Returns
    -------
    X : ndarray of shape (n, d), float32 or float64
    y : ndarray of shape (n,), int64 or str

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is damaged or holds no such domain.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.datasets import read_stacked
    >>> np.savez("both.npz", D=[[0.0, 1.0], [1.0, 2.0], [5.0, 6.0]], y=[0, 1, 1], domains=[0, 2, 3])
    >>> read_stacked("both.npz", 1)
    (array([[5., 6.]]), array([1]))
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "text":
        raise ValueError(f"{path}: text holds no arrays.")
    with _told(path), LISTINGS[kind](path) as variables:
        named = next((name for name in variables if name.lower() in _DOMAINS), None)
        if named is None:
            raise ValueError(f"there is no variable domains; the file holds {', '.join(variables)}.")
        others = {name: variable for name, variable in variables.items() if name != named}
        features, labels = _choose(others, next((name for name in others if name.lower() == "d"), ""), "", "")
        X, y = _oriented(_value(path, variables, features), _value(path, variables, labels), features, labels)
        codes = _clean_labels(_value(path, variables, named).ravel())
        if len(codes) == len(X) and (codes[0], codes[-1]) != (0, len(X)):
            rows = (
                codes == np.unique(codes)[part] if 0 <= part < len(np.unique(codes)) else np.zeros(len(X), dtype=bool)
            )
        else:
            inside = 0 <= part < len(codes) - 1 and 0 <= codes[part] < codes[part + 1] <= len(X)
            rows = np.isin(np.arange(len(X)), range(*codes[part : part + 2]) if inside else ())
        if not rows.any():
            raise ValueError(f"{named} = {codes[:20].tolist()} has no rows of domain {part} among {len(X)}.")
        return _clean_features(X[rows]), _clean_labels(y[rows])


def read_gas(path: Path) -> Labelled:
    """A batch of the gas sensor data: as csv (gas, concentration, 128 features) or as UCI distributes it.

    Parameters
    ----------
    path : Path

    Returns
    -------
    X : ndarray of shape (n, 128), float64
    y : ndarray of shape (n,), str
        Names of the gases.

    Raises
    ------
    OSError, ValueError
        As `read_features`.
    """
    with _told(path):
        lines = [re.split(r"[,;\s]+", line.strip()) for line in path.read_text(encoding="utf-8").splitlines() if line]
        if not lines or not all(len(cells) in (129, 130) for cells in lines):
            raise ValueError("each line must hold a gas, perhaps its concentration, and 128 features.")
        X = np.array([[cell.rpartition(":")[2] for cell in cells[-128:]] for cells in lines], dtype=float)
        return _clean_features(X), np.array([GASES.get(cells[0], cells[0]) for cells in lines])


def read_heart(path: Path) -> Labelled:
    """Patients of a hospital, with or without a line of names; ``?`` and blanks are missing.

    Parameters
    ----------
    path : Path

    Returns
    -------
    X : ndarray of shape (n, 13), float64
        NaN where a value is missing.
    y : ndarray of shape (n,), int64
        1 with a narrowed vessel, 0 without.

    Raises
    ------
    OSError, ValueError
        As `read_features`.
    """
    with _told(path):
        lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        lines = lines[1:] if lines and lines[0][0] == "age" else lines
        if not lines or not all(len(cells) == 14 for cells in lines):
            raise ValueError("each line must hold 13 features and the diagnosis.")
        table = np.array(
            [[np.nan if cell.strip() in ("", "?") else float(cell) for cell in cells] for cells in lines], dtype=float
        )
        if not np.isin(table[:, 13], range(5)).all() or np.isinf(table).any():
            raise ValueError("the diagnosis must be 0 to 4, and features finite or missing.")
        return table[:, :13], (table[:, 13] > 0).astype(np.int64)
