"""Model files that hold data only: reading one runs no code of the file's.

A model file is a zip archive of arrays and of names of types, written and read by skops. `load` makes objects of
scikit-learn, NumPy, SciPy and this package, and of whatever else the caller names; a pickle is never read. What the
archive says is looked at before skops sees it, so that no name of this package is called, and nothing is unpacked that
is larger than memory.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import io
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import scipy
import sklearn
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

import shallowda
from shallowda._version import __version__
from shallowda.core.estimator import DomainAware, kept_types
from shallowda.core.files import replacing
from shallowda.core.messages import warn
from shallowda.kernels.arrays import is_foreign, to_numpy
from shallowda.kernels.planning import available_memory
from shallowda.pipeline import refuse_learned_mark

__all__ = ["known_types", "load", "save", "unknown_types"]

#: Where modules and types lay that have moved, in files written before they did, and the module that they lie in now.
_MOVED = {
    "shallowda._streaming": "shallowda.core.moment_adapter",
    "shallowda.artl": "shallowda.methods.classifiers.artl",
    "shallowda.bda": "shallowda.methods.spectral.bda",
    "shallowda.coral": "shallowda.methods.alignment.coral",
    "shallowda.diagnosis.report.FeatureShift": "shallowda.diagnosis.single_features",
    "shallowda.gfk": "shallowda.methods.subspace.gfk",
    "shallowda.jda": "shallowda.methods.spectral.jda",
    "shallowda.nearest": "shallowda.core.nearest",
    "shallowda.streaming": "shallowda.drift",
    "shallowda.subspace_alignment": "shallowda.methods.subspace.subspace_alignment",
    "shallowda.tca": "shallowda.methods.spectral.tca",
    "shallowda.tjm": "shallowda.methods.spectral.tjm",
}

_FORMAT = 1  # of what is inside the archive
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
_NO_REQUESTS = (
    "Save a model without requests of metadata (set_fit_request and the like), and pass sample_domain step by step."
)
_PLAIN = {"ObjectNode", "TupleNode"}  # loaders that fill an object and call nothing of its type
_NAMED = {"FunctionNode", "ObjectNode", "TypeNode"}  # loaders that look for a name in a module
_REQUESTS = "sklearn.utils._metadata_requests"  # the module of what set_fit_request and the like leave in a model
_SCHEMA = "schema.json"  # where skops says how the objects are made
_SCHEMA_BYTES = 2**28  # of the largest schema that is read: a million nodes
_SUMS = "sha256.json"  # checksums of the schema and of every part that it names; older files have none
_NODE_BYTES = 2**10  # of memory that a node of the schema may stand for, besides its array


def save(model: BaseEstimator, path: str | os.PathLike) -> None:
    """Write a model, or a whole Pipeline, to a file.

    The file appears under its name, or where a symbolic link of that name leads, when it is complete. A file that is
    there is replaced, and its permissions are kept.

    Parameters
    ----------
    model : estimator
        Of this package, of scikit-learn, or a Pipeline of both. What was fitted on arrays of another library, such as
        CuPy or torch, is written as NumPy arrays: the model that `load` makes takes arrays of any library.
    path : path-like
        Customary ending: ``.skops``.

    Raises
    ------
    TypeError
        If `model` is no estimator, or holds what no program can find again: a lambda, or a function or class that was
        defined within a function.
    ValueError
        If `model` holds itself or requests of metadata, or is a pipeline whose last step has learned the mark of target
        rows as a class.
    ImportError
        If skops is not installed.

    Warns
    -----
    UserWarning
        If the model is not fitted: it will not predict after `load`. A search leaves the estimator that it was given
        as it was; what it has fitted is its ``best_estimator_``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import shallowda
    >>> model = shallowda.CORAL(ridge=2.0).fit([[0.0, 1.0], [1.0, 0.0], [0.1, 1.0], [1.0, 0.2]], [0, 1, -1, -1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shallowda.save(model, Path(folder) / "model.skops")
    ...     shallowda.load(Path(folder) / "model.skops")
    CORAL(ridge=2.0)
    """
    skops = _skops()
    if not isinstance(model, BaseEstimator):
        raise TypeError(f"model must be an estimator; it is a {type(model).__name__}.")
    refuse_learned_mark(model)
    with replacing(path) as scratch, open(scratch, "r+b") as file:
        try:
            content = {"format": _FORMAT, "versions": _versions(), "model": _on_host(model)}
            skops.dump(content, file, compression=zipfile.ZIP_DEFLATED)
        except RecursionError as error:
            raise ValueError(f"model holds itself, as requests of metadata do. {_NO_REQUESTS}") from error
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
            schema = _schema(archive)
            _require_readable(schema)
            sums = {name: _checksum(archive, name) for name in sorted({_SCHEMA, *_files(schema)})}
            archive.writestr(_SUMS, json.dumps(sums))
        file.flush()
        os.fsync(file.fileno())
    if not _is_fitted(model):
        warn(
            f"The {type(model).__name__} that was saved is not fitted, so it will not predict when it is loaded. After "
            "a search, save its best_estimator_: the estimator that a search is given stays as it was."
        )


def _on_host(value: Any) -> Any:
    """A model, or a part of one, with NumPy arrays in place of those of other libraries; itself where it has none."""
    if is_foreign(value):
        return to_numpy(value)
    if type(value) is dict:
        parts = value
    elif type(value) in (list, tuple):
        parts = dict(enumerate(value))
    elif isinstance(value, BaseEstimator) or f"{type(value).__module__}.{type(value).__qualname__}" in known_types():
        parts = getattr(value, "__dict__", {})
    else:
        return value
    moved = {key: _on_host(part) for key, part in parts.items()}
    if all(moved[key] is parts[key] for key in parts):
        return value
    if type(value) in (dict, list, tuple):
        return moved if type(value) is dict else type(value)(moved.values())
    copied = copy.copy(value)
    vars(copied).update(moved)
    if isinstance(copied, DomainAware):
        copied._library = "numpy"
    return copied


def _is_fitted(model: BaseEstimator) -> bool:
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    except TypeError:  # nothing to fit, as in a splitter
        return True
    return True


def load(path: str | os.PathLike, *, trusted: Collection[str] = ()) -> Any:
    """Read a model that `save` wrote.

    Parameters
    ----------
    path : path-like
    trusted : collection of str, default=()
        Full names of further types and functions that may be made, such as a kernel function of yours
        (``"mymodule.mykernel"``). Their modules are imported, so name only what you know.

    Returns
    -------
    model : estimator

    Raises
    ------
    ValueError
        If the file is no model file, is damaged, would unpack to more than the free memory, or holds types that are
        neither known nor trusted; they are named, and nothing was made of them.
    ImportError
        If skops is not installed.

    Warns
    -----
    UserWarning
        If the model was written with another release of shallowda or scikit-learn, whose predictions may differ.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import shallowda
    >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, 1.0], [1.0, 0.2]]), np.array([0, 1, -1, -1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.skops"
    ...     shallowda.save(shallowda.CORAL().fit(X, y), path)
    ...     shallowda.load(path).predict(X[2:])
    array([0, 1])
    """
    skops, path = _skops(), Path(path)
    with _damage(path):
        source = _checked(path)
        unknown = _unknown(skops, source, trusted)
    if unknown:
        raise ValueError(
            f"{path} holds {', '.join(unknown)}, which shallowda does not know, so it was not loaded. If you trust "
            f"where the file comes from, pass trusted={unknown}."
        )
    with _damage(path):
        content = skops.load(source, trusted=[*known_types(), *trusted])
    match content:
        case {"format": int(found), "versions": dict(written), "model": BaseEstimator() as model} if found == _FORMAT:
            _compare(path, written)
            return model
    raise ValueError(f"{path} was not written by shallowda.save, or by a later release of it.")


@cache
def known_types() -> frozenset[str]:
    """Full names of the types that models of this package are made of, besides those that skops knows.

    They are the estimators that `shallowda` exports, every method of the catalogue among them, with the types that
    their classes declare for fitted attributes, and the splitters and scorers of `shallowda.model_selection`.

    Returns
    -------
    names : frozenset of str
    """
    exported = [getattr(shallowda, name) for name in shallowda.__all__]
    exported += [getattr(shallowda.model_selection, name) for name in shallowda.model_selection.__all__]
    estimators = [kind for kind in exported if isinstance(kind, type) and not issubclass(kind, Warning)]
    kept = [part for kind in estimators for part in kept_types(kind)]
    return frozenset(f"{kind.__module__}.{kind.__qualname__}" for kind in [*estimators, *kept])


def unknown_types(path: str | os.PathLike, *, trusted: Collection[str] = ()) -> list[str]:
    """Full names of the types and functions in a model file that `load` would refuse.

    Parameters
    ----------
    path : path-like
    trusted : collection of str, default=()
        As in `load`.

    Returns
    -------
    names : list of str
        Sorted.

    Raises
    ------
    ValueError
        If the file is no model file, is damaged, or would unpack to more than the free memory.
    ImportError
        If skops is not installed.
    """
    skops, path = _skops(), Path(path)
    with _damage(path):
        return _unknown(skops, _checked(path), trusted)


def _unknown(skops: ModuleType, source: Path | io.BytesIO, trusted: Collection[str]) -> list[str]:
    return sorted(set(skops.get_untrusted_types(file=source)) - known_types() - set(trusted))


def _checked(path: Path) -> Path | io.BytesIO:
    """A model file that is safe to be given to skops, under the names that its types have now.

    Refused is an archive that calls something of this package, stands for more than there is memory for, or does not
    match its checksums. These find damage, and parts that do not belong together; who forges a file forges them too.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for part in parts):
            raise ValueError("it is compressed in another way")
        schema, sizes = _schema(archive), {part.filename: part.file_size for part in parts}
        moved = [node for node in _nodes(schema) if _now(node) != node["__module__"]]
        for node in moved:
            node["__module__"] = _now(node)
        for node in _nodes(schema):
            if node["__loader__"] not in _PLAIN and f"{node['__module__']}.{node['__class__']}" in known_types():
                raise ValueError(f"the name {node['__class__']} stands where something is called")
        size, free = 2 * _weight(schema, sizes, {}), available_memory()
        if size > free:  # twice: as read, and as an array
            raise ValueError(f"it unpacks to {size:.1e} bytes, and {free:.1e} are free")
        if _SUMS in sizes:
            sums = json.loads(_read(archive, _SUMS))
            for name in sorted({_SCHEMA, *_files(schema)}):  # now that it is known how much there is to be read
                if _checksum(archive, name) != sums[name]:
                    raise ValueError(f"{name} does not match its checksum")
        return _renamed(archive, schema) if moved else path


def _now(node: dict) -> str:
    """The module that the type of a node lies in now."""
    module = node["__module__"]
    return _MOVED.get(f"{module}.{node['__class__']}", _MOVED.get(module, module))


def _renamed(archive: zipfile.ZipFile, schema: Any) -> io.BytesIO:
    """The archive with another schema, in memory; without parts that the schema does not name, which weigh nothing."""
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr(_SCHEMA, json.dumps(schema))
        for name in sorted(_files(schema) & set(archive.namelist())):
            written.writestr(name, archive.read(name))
    copy.seek(0)
    return copy


def _schema(archive: zipfile.ZipFile) -> Any:
    """What an archive holds, as nested lists and dicts."""
    return json.loads(_read(archive, _SCHEMA))


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """A part that is text, if it is not too long."""
    if archive.getinfo(name).file_size > _SCHEMA_BYTES:
        raise ValueError(f"its {name} is too long")
    return archive.read(name)


def _checksum(archive: zipfile.ZipFile, name: str) -> str:
    """SHA-256 of a part, which is read in pieces."""
    digest = hashlib.sha256()
    with archive.open(name) as part:
        while piece := part.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def _files(schema: Any) -> set[str]:
    """Names of the parts that a schema names."""
    return {node["file"] for node in _nodes(schema) if isinstance(node.get("file"), str)}


def _nodes(part: Any) -> Iterator[dict]:
    """Those dicts of a schema that say how an object is made."""
    if isinstance(part, dict) and isinstance(part.get("__loader__"), str):
        yield part
    for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _nodes(child)


def _weight(part: Any, sizes: dict[str, int], known: dict[int, int]) -> int:
    """Bytes that a part of a schema stands for.

    What has one identity must weigh the same wherever it is written, or skops, which takes the first for the others,
    would walk more than is written.
    """
    if isinstance(part, list):
        return sum(_weight(child, sizes, known) for child in part)
    if not isinstance(part, dict):
        return 0
    identity, file = part.get("__id__"), part.get("file")
    size = _NODE_BYTES + (sizes.get(file, 0) if isinstance(file, str) else 0)
    size += sum(_weight(child, sizes, known) for child in part.values())
    if isinstance(identity, int) and known.setdefault(identity, size) != size:
        raise ValueError("one object is written in two ways")
    return size


def _require_readable(schema: Any) -> None:
    """Refuse a model whose schema names what no module has under that name, or requests of metadata."""
    for node in _nodes(schema):
        module, name = node["__module__"], node["__class__"]
        if module == _REQUESTS:  # before scikit-learn 1.8 they do not hold the model, so they could be written
            raise ValueError(f"model holds requests of metadata, which cannot be read again. {_NO_REQUESTS}")
        if node["__loader__"] in _NAMED and not hasattr(sys.modules.get(module), name):
            raise TypeError(
                f"model holds {module}.{name}, which no program could find again. Define it at the top of a module."
            )


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Whatever goes wrong in reading an archive, as one error that names the file."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # no such file, no permission, a broken disk
            raise
        # an invalid argument is a place before the beginning of the file, which the archive names
        raise ValueError(f"{path} is no model file of shallowda.save, or is damaged: {error}") from error


def _skops() -> ModuleType:
    try:
        import skops.io
    except ImportError as error:
        raise ImportError("Model files need the package skops: pip install shallowda[models]") from error
    return skops.io


def _versions() -> dict[str, str]:
    others = {"scikit-learn": sklearn, "numpy": np, "scipy": scipy}
    return {"shallowda": __version__, **{name: module.__version__ for name, module in others.items()}}


def _compare(path: Path, written: dict[str, str]) -> None:
    """Warn where releases differ that may change predictions."""
    here = _versions()
    differing = [
        f"{name} {written.get(name)} (here {here[name]})"
        for name in ("shallowda", "scikit-learn")
        if str(written.get(name)).split(".")[:2] != here[name].split(".")[:2]
    ]
    if differing:
        warn(f"{path} was written with {' and '.join(differing)}: predictions may differ. Fit the model again if so.")
