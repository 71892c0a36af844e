"""Progress on a terminal."""

from __future__ import annotations

from typing import Any

__all__ = ["progress_bar"]


def progress_bar(*columns: Any, shown: bool) -> Any:
    """A bar on standard error.

    Parameters
    ----------
    *columns : rich.progress.ProgressColumn
        By default those of rich.
    shown : bool
        False: nothing is written.

    Returns
    -------
    bar : rich.progress.Progress

    Raises
    ------
    ImportError
        If rich is not installed.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, quiet=not shown)  # before rich 15 a disabled bar ends with an empty line
    return Progress(*columns, console=console, disable=not shown)
