"""What a benchmark found: its results in tables, and whether methods differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from shallowda.bench.cells import Cell
from shallowda.bench.config import Benchmark

__all__ = ["Comparison", "Summary", "TaskTable", "critical_difference", "friedman", "pair_of", "ranks", "summarise"]

_FAR_CELL, _FAR_MEAN = 3.0, 1.0  # points from the published figure, from which a difference is marked
_LEVEL = 0.05  # of the critical difference


@dataclass(frozen=True)
class Comparison:
    """Published figures beside ours, in percent; NaN where there is none.

    The last entry is the mean over the pairs that have both.
    """

    method: str
    paper: str
    note: str
    published: np.ndarray
    ours: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """Ours minus published."""
        return self.ours - self.published

    @property
    def far(self) -> np.ndarray:
        """Whether the difference is large: 3 points in a cell, 1 in the mean."""
        limits = np.full(len(self.ours), _FAR_CELL)
        limits[-1] = _FAR_MEAN
        return np.abs(self.difference) > limits + 1e-9


@dataclass(frozen=True)
class TaskTable:
    """Methods x pairs of one task.

    Attributes
    ----------
    name : str
    pairs, methods : list of str
    accuracy : ndarray of shape (n_methods, n_pairs)
        Percent, mean over the trials; NaN where there is none.
    spread : ndarray of shape (n_methods, n_pairs)
        Standard deviation over the trials; 0 for one, or none.
    seconds : ndarray of shape (n_methods, n_pairs)
        Fit and predict, mean over the trials.
    status : list of list of str
        "ok", or what became of the cell instead, the most common over its trials.
    """

    name: str
    pairs: list[str]
    methods: list[str]
    accuracy: np.ndarray
    spread: np.ndarray
    seconds: np.ndarray
    status: list[list[str]]
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def tried(self) -> np.ndarray:
        """Mask of the pairs on which some method has a result."""
        return ~np.isnan(self.accuracy).all(axis=0)

    @property
    def whole(self) -> np.ndarray:
        """Mask of the methods that have a result on every pair that is `tried`; only these are averaged and ranked."""
        return ~np.isnan(self.accuracy[:, self.tried]).any(axis=1) & self.tried.any()

    @property
    def mean(self) -> np.ndarray:
        """Mean accuracy over the tried pairs of each method that is whole, NaN for others."""
        return np.where(self.whole, self.accuracy[:, self.tried].sum(axis=1) / max(1, self.tried.sum()), np.nan)

    @property
    def mean_rank(self) -> np.ndarray:
        """Mean rank (1 is best, ties share) among the methods that are whole, NaN for others."""
        mean_rank = np.full(len(self.methods), np.nan)
        if self.whole.any():
            mean_rank[self.whole] = ranks(self.accuracy[self.whole][:, self.tried]).mean(axis=1)
        return mean_rank

    def coverage(self, i: int) -> str:
        """On how many of the tried pairs a method has a result, as in "3 of 6"."""
        return f"{int((~np.isnan(self.accuracy[i])).sum())} of {int(self.tried.sum())}"


@dataclass(frozen=True)
class Summary:
    """What a benchmark found.

    Attributes
    ----------
    benchmark : Benchmark
    tables : list of TaskTable
    rows : list of dict
        Result of each cell, in the order of the plan; ``status`` "not run" where there is none.
    runs : list of dict
        Those whose results are among the rows.
    """

    benchmark: Benchmark
    tables: list[TaskTable]
    rows: list[dict[str, Any]]
    runs: list[dict[str, Any]]

    @property
    def counts(self) -> dict[str, int]:
        """Number of cells by status."""
        return dict(Counter(row["status"] for row in self.rows))

    @property
    def reasons(self) -> dict[tuple[str, str], list[str]]:
        """What has no result, by status and message: pairs that were skipped, cells of other ends."""
        found: dict[tuple[str, str], list[str]] = {}
        for row in self.rows:
            if row["status"] not in ("ok", "not run"):
                what = " ".join(pair_of(row)) + (f" {row['method']}" if row["status"] != "skipped" else "")
                names = found.setdefault((row["status"], row.get("message", "")), [])
                names.extend([] if what in names else [what])
        return found

    @property
    def methods(self) -> list[str]:
        """Methods with a result on every pair that some method has one on, in every task."""
        return [
            method
            for method in self.benchmark.method_names
            if all(_is_whole(table, method) for table in self.tables if table.tried.any())
        ]

    def over_tasks(self) -> dict[str, np.ndarray]:
        """Accuracy, rank and seconds of `methods` on the tried pairs of all tasks.

        Returns
        -------
        values : dict of str to ndarray of shape (n_methods, n_pairs)
        """
        tables = [table for table in self.tables if table.tried.any()]
        found = {}
        for name in ("accuracy", "seconds"):
            parts = [
                getattr(table, name)[[table.methods.index(method) for method in self.methods]][:, table.tried]
                for table in tables
            ]
            found[name] = np.concatenate(parts, axis=1) if parts else np.empty((len(self.methods), 0))
        return found | {"rank": ranks(found["accuracy"])}


def _is_whole(table: TaskTable, method: str) -> bool:
    """Whether the table has the method, with a result on every tried pair."""
    return method in table.methods and bool(table.whole[table.methods.index(method)])


def ranks(accuracy: np.ndarray) -> np.ndarray:
    """Rank of each method on each pair: 1 is best, ties share.

    Parameters
    ----------
    accuracy : ndarray of shape (n_methods, n_pairs)

    Returns
    -------
    ranks : ndarray of shape (n_methods, n_pairs)
    """
    return rankdata(-accuracy.round(9), axis=0) if accuracy.size else accuracy


def summarise(
    benchmark: Benchmark,
    cells: Sequence[Cell],
    results: Mapping[str, Mapping[str, Any]],
    runs: Iterable[Mapping[str, Any]] = (),
) -> Summary:
    """Put results in tables.

    Parameters
    ----------
    benchmark : Benchmark
    cells : list of Cell
        Of `plan`.
    results : dict of str to dict
        By key, of `run` or `read_results`.
    runs : iterable of dict, default=()

    Returns
    -------
    summary : Summary
    """
    rows = []
    for cell in cells:
        named: dict[str, Any] = {"task": cell.task, "source": "+".join(cell.source), "target": cell.target}
        named |= {"method": cell.method, "trial": cell.trial, "key": cell.key}
        rows.append({"status": "not run", **results.get(cell.key, {}), **named})
    tables = [
        _table(task.name, benchmark, [row for row in rows if row["task"] == task.name]) for task in benchmark.tasks
    ]
    used = {row.get("run") for row in rows}
    return Summary(benchmark, tables, rows, [dict(entry) for entry in runs if entry["run"] in used])


def _table(name: str, benchmark: Benchmark, rows: Sequence[Mapping[str, Any]]) -> TaskTable:
    pairs = list(dict.fromkeys(f"{row['source']}->{row['target']}" for row in rows))
    present = {row["method"] for row in rows}
    methods = [method for method in benchmark.method_names if method in present]
    shape = (len(methods), len(pairs))
    accuracy, seconds, spread = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    status = [[""] * len(pairs) for _ in methods]
    grouped: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        where = methods.index(row["method"]), pairs.index(f"{row['source']}->{row['target']}")
        grouped.setdefault(where, []).append(row)
    for (i, j), trials in grouped.items():
        if all(row["status"] == "ok" for row in trials):
            values = np.array([row["accuracy"] for row in trials]) * 100
            accuracy[i, j], spread[i, j] = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
            seconds[i, j] = np.mean([row["fit_seconds"] + row["predict_seconds"] for row in trials])
            status[i][j] = "ok"
        else:
            status[i][j] = Counter(row["status"] for row in trials if row["status"] != "ok").most_common(1)[0][0]
    table = TaskTable(name, pairs, methods, accuracy, spread, seconds, status)
    for entry in benchmark.published:
        if entry.dataset == name and entry.method in methods:
            published = np.array([entry.figures.get(pair, np.nan) for pair in pairs], dtype=float)
            ours = accuracy[methods.index(entry.method)]
            both = ~np.isnan(published + ours)
            means = [values[both].mean() if both.any() else np.nan for values in (published, ours)]
            table.comparisons.append(
                Comparison(
                    entry.method, entry.paper, entry.note, np.append(published, means[0]), np.append(ours, means[1])
                )
            )
    return table


def critical_difference(n_methods: int, n_pairs: int) -> float:
    """Difference of mean ranks beyond which two methods differ, by Nemenyi's test at the level 0.05.

    Parameters
    ----------
    n_methods, n_pairs : int

    Returns
    -------
    difference : float

    Examples
    --------
    >>> from shallowda.bench.summary import critical_difference
    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    quantile = studentized_range.ppf(1 - _LEVEL, n_methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(n_methods * (n_methods + 1) / (6 * n_pairs)))


def friedman(ranks: np.ndarray) -> float:
    """p-value of Friedman's test that all methods are alike.

    Parameters
    ----------
    ranks : ndarray of shape (n_methods, n_pairs)
        Three methods and two pairs at least.

    Returns
    -------
    p_value : float
        1 where all ranks are tied.
    """
    if np.all(ranks == ranks[0]):
        return 1.0
    return float(friedmanchisquare(*ranks).pvalue)


def pair_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Task and pair of domains of a result, for people.

    Parameters
    ----------
    row : dict
        One of `Summary.rows`.

    Returns
    -------
    task, pair : str
    """
    return row["task"], f"{row['source']}->{row['target']}"
