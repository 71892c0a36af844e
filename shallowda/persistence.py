"""Model files that hold data only: reading one runs no code of the file's.

A model file is a zip archive of arrays and of names of types, written and read by skops. `load` makes objects of
scikit-learn, NumPy, SciPy and this package, and of whatever else the caller names; a pickle is never read.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import scipy
import sklearn
from sklearn.base import BaseEstimator

from shallowda._messages import warn
from shallowda._version import __version__

__all__ = ["load", "save"]

_NAMES = {
    "artl": "ARTL",
    "auto_adapt": "AutoAdapt",
    "bda": "BDA",
    "coral": "CORAL",
    "diagnosis.report": "Advice DomainShiftReport FeatureShift",
    "gfk": "GFK",
    "jda": "JDA",
    "kernels.moments": "CovarianceRoot",
    "kernels.planning": "Plan",
    "metrics": "LabelShift Separability",
    "model_selection.scorers": "CircularValidation ClusterValidity DeepEmbeddedValidation EmbeddingDiscrepancy "
    "ImportanceWeightedAccuracy InformationMaximization MixVal PredictionEntropy RankEnsemble "
    "SoftNeighborhoodDensity SourceAccuracy",
    "model_selection.splitters": "LeaveOneSourceOut SourceTargetKFold SourceTargetShuffleSplit "
    "StratifiedSourceTargetKFold StratifiedSourceTargetShuffleSplit",
    "nearest": "OneNearestNeighbor",
    "pipeline": "LabeledOnly PerDomain",
    "subspace_alignment": "SubspaceAlignment",
    "tca": "TCAEstimator",
    "tjm": "TJM",
}

#: Full names of the types that models of this package are made of, besides those that skops knows.
TYPES = frozenset(f"shallowda.{module}.{name}" for module, names in _NAMES.items() for name in names.split())

_FORMAT = 1  # of what is inside the archive
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)


def save(model: BaseEstimator, path: str | os.PathLike) -> None:
    """Write a model, or a whole Pipeline, to a file.

    The file appears under its name when it is complete; a file of that name is replaced.

    Parameters
    ----------
    model : estimator
        Of this package, of scikit-learn, or a Pipeline of both. Arrays of the model are NumPy's when it was fitted on
        NumPy arrays.
    path : path-like
        Customary ending: ``.skops``.

    Raises
    ------
    TypeError
        If `model` is no estimator.
    ImportError
        If skops is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import shallowda
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shallowda.save(shallowda.CORAL(ridge=2.0), Path(folder) / "model.skops")
    ...     shallowda.load(Path(folder) / "model.skops")
    CORAL(ridge=2.0)
    """
    skops = _skops()
    if not isinstance(model, BaseEstimator):
        raise TypeError(f"model must be an estimator; it is a {type(model).__name__}.")
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(scratch, "wb") as file:
            skops.dump(
                {"format": _FORMAT, "versions": _versions(), "model": model}, file, compression=zipfile.ZIP_DEFLATED
            )
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


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
        If the file is no model file, is damaged, or holds types that are neither known nor trusted; they are named, and
        nothing was made of them.
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
        unknown = sorted(set(skops.get_untrusted_types(file=path)) - TYPES - set(trusted))
    if unknown:
        raise ValueError(
            f"{path} holds {', '.join(unknown)}, which shallowda does not know, so it was not loaded. If you trust "
            f"where the file comes from, pass trusted={unknown}."
        )
    with _damage(path):
        content = skops.load(path, trusted=[*TYPES, *trusted])
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path} was not written by shallowda.save, or by a later release of it.")
    _compare(path, content["versions"])
    return content["model"]


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Whatever goes wrong in reading an archive, as one error that names the file."""
    try:
        yield
    except _DAMAGE as error:
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
