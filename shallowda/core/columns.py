"""Columns of tables are matched by name: one rule, and one wording, for the command line and for Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shallowda.kernels.arrays import library

__all__ = ["aligned_tables", "column_order", "listed"]


def column_order(names: Sequence, wanted: Sequence, what: str, other: str, how: str = "") -> list[int]:
    """Where, among the names that there are, each wanted one is.

    Parameters
    ----------
    names, wanted : sequence of hashable
    what, other : str
        Whose names these are, for messages.
    how : str, default=""
        By what means a column is left out, for messages; begins with a space.

    Returns
    -------
    order : list of int

    Raises
    ------
    ValueError
        If some names are missing or too many, or some are there twice where the order differs.
    """
    if list(names) == list(wanted):
        return list(range(len(names)))
    place, known = {name: position for position, name in enumerate(names)}, set(wanted)
    missing, added = [name for name in wanted if name not in place], [name for name in names if name not in known]
    if missing or added:
        less = f" It lacks {listed(missing)}." if missing else ""
        more = (
            f" {other[:1].upper()}{other[1:]} lacks {listed(added)}: leave out{how} what is no feature."
            if added
            else ""
        )
        raise ValueError(f"{what} has other features than {other}.{less}{more}")
    for sequence, whose in ((names, what), (wanted, other)):
        if len(set(sequence)) < len(sequence):
            raise ValueError(
                f"{whose} has several columns of one name, so those of {what} cannot be put in the order of those of "
                f"{other}. Give each column a name of its own."
            )
    return [place[name] for name in wanted]


def aligned_tables(tables: Sequence[Any], whose: Sequence[str]) -> list[Any]:
    """Tables with their columns in the order of the first one's, matched by name; what has no names is left as it is.

    Parameters
    ----------
    tables : sequence of array or DataFrame
    whose : sequence of str
        Name of each of them, for messages.

    Returns
    -------
    tables : list

    Raises
    ------
    ValueError
        If columns have other names than those of the first table.
    """
    first: tuple[list, str] | None = None
    aligned = []
    for table, what in zip(tables, whose, strict=True):
        names = _names(table)
        if names is not None and first is None:
            first = names, what
        elif names is not None and first is not None and names != first[0]:
            column_order(names, first[0], what, first[1])
            table = table.select(first[0]) if library(table) == "pyarrow" else table[first[0]]
        aligned.append(table)
    return aligned


def _names(table: Any) -> list | None:
    if library(table) == "pyarrow":
        return list(table.schema.names)  # its columns are their values
    return list(table.columns) if hasattr(table, "columns") else None


def listed(names: Sequence, most: int = 12) -> str:
    """Names in a message, of many the first ones.

    Parameters
    ----------
    names : sequence
    most : int, default=12

    Returns
    -------
    text : str
    """
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
