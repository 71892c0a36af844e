"""The packages of the extra ``report``: matplotlib draws figures, Jinja2 writes pages."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["EXTRA", "INSTALL", "missing", "require_extra"]

EXTRA = ("jinja2", "matplotlib")
INSTALL = 'pip install "shallowda[report]"'


def missing(packages: Sequence[str] = EXTRA) -> list[str]:
    """Those of the packages that are not installed.

    Parameters
    ----------
    packages : sequence of str

    Returns
    -------
    names : list of str
    """
    return [name for name in packages if find_spec(name) is None]


def require_extra(purpose: str, packages: Sequence[str] = EXTRA) -> None:
    """Raise an error that says what to install, unless the packages are there.

    Parameters
    ----------
    purpose : str
        What needs them; begins the message.
    packages : sequence of str

    Raises
    ------
    ImportError
    """
    if absent := missing(packages):
        raise ImportError(f"{purpose} needs {' and '.join(absent)}. Install with: {INSTALL}")
