"""From results to tables and a page: CSV, Parquet, Markdown, HTML."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from shallowda.bench.cells import Cell
from shallowda.bench.config import Benchmark

__all__ = ["Summary", "TaskTable", "critical_difference", "summarise", "write_report"]

#: Columns of ``results.csv`` and ``results.parquet``: one row for each cell.
COLUMNS = {
    "task": str,
    "source": str,
    "target": str,
    "method": str,
    "trial": int,
    "status": str,
    "accuracy": float,
    "balanced_accuracy": float,
    "fit_seconds": float,
    "predict_seconds": float,
    "peak_memory": int,
    "n_source": int,
    "n_target": int,
    "n_features": int,
    "n_classes": int,
    "data": str,
    "message": str,
    "warnings": str,
    "finished": str,
    "run": str,
    "key": str,
}

_FAR_CELL, _FAR_MEAN = 3.0, 1.0  # points from the published figure, from which a difference is marked
_LEVEL = 0.05  # of the critical difference
_NAMED = 6  # cells that are named with a reason; the page has all of them


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
                what = " ".join(_where(row)) + (f" {row['method']}" if row["status"] != "skipped" else "")
                names = found.setdefault((row["status"], row.get("message", "")), [])
                names.extend([] if what in names else [what])
        return found

    @property
    def methods(self) -> list[str]:
        """Methods with a result on every pair that some method has one on, in every task."""
        return [
            method
            for method in self.benchmark.method_names
            if all(name_is_whole(table, method) for table in self.tables if table.tried.any())
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


def name_is_whole(table: TaskTable, method: str) -> bool:
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
    >>> from shallowda.bench.report import critical_difference
    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    quantile = studentized_range.ppf(1 - _LEVEL, n_methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(n_methods * (n_methods + 1) / (6 * n_pairs)))


def write_report(summary: Summary, folder: str | Path) -> list[Path]:
    """Write ``results.csv``, ``table.md``, ``index.html``, and ``results.parquet`` where pyarrow is installed.

    Parameters
    ----------
    summary : Summary
    folder : path-like
        Made if it does not exist. Each file takes the place of an older one as a whole.

    Returns
    -------
    paths : list of Path

    Raises
    ------
    ImportError
        Without jinja2 or matplotlib.
    """
    contents = {
        "results.csv": _csv(summary).encode(),
        "table.md": markdown(summary).encode(),
        "index.html": page(summary).encode(),
    }
    if find_spec("pyarrow") is not None:
        contents["results.parquet"] = _parquet(summary)
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in contents.items():
        path = Path(folder) / name
        unfinished = path.with_name(f".{name}.part")
        try:
            unfinished.write_bytes(content)
            os.replace(unfinished, path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise OSError(error.errno, f"{error.strerror}; the results are kept in results.jsonl", str(path)) from error
        paths.append(path)
    return paths


def _flat(summary: Summary) -> list[dict[str, Any]]:
    rows = [{name: row.get(name) for name in COLUMNS} for row in summary.rows]
    return [row | {"warnings": "\n".join(row["warnings"] or ())} for row in rows]


def _csv(summary: Summary) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(summary))
    return text.getvalue()


def _parquet(summary: Summary) -> bytes:
    import pyarrow
    import pyarrow.parquet

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(_flat(summary), schema), sink)
    return sink.getvalue()


def _number(value: float, form: str = ".2f") -> str:
    return "" if np.isnan(value) else format(value, form)


def markdown(summary: Summary) -> str:
    """The tables as Markdown.

    Parameters
    ----------
    summary : Summary

    Returns
    -------
    text : str
    """
    benchmark = summary.benchmark
    lines = [f"# {benchmark.title or 'Benchmark'}", ""]
    if benchmark.protocol:
        lines += [benchmark.protocol.strip(), ""]
    for table in summary.tables:
        lines += [f"## {table.name}", "", _caption(summary, table), ""]
        body = []
        for i, method in enumerate(table.methods):
            shown = [_shown(table, i, j) for j in range(len(table.pairs))]
            mean = _number(table.mean[i]) or table.coverage(i)
            body.append([method, *shown, mean, _number(table.mean_rank[i])])
        lines += _grid(["method", *table.pairs, "mean", "rank"], body)
        if table.comparisons:
            lines += ["", _COMPARED, ""]
            lines += _grid(
                ["method", "", *table.pairs, "mean"], [row for entry in table.comparisons for row in _compared(entry)]
            )
            for entry in table.comparisons:
                lines += ["", f"{entry.method}: {'; '.join(filter(None, [entry.paper, entry.note]))}"]
        lines.append("")
    if summary.reasons:
        lines += ["## Without a result", "", *(f"- {line}" for line in told(summary.reasons)), ""]
    return "\n".join(lines)


def told(reasons: Mapping[tuple[str, str], Sequence[str]]) -> list[str]:
    """A line for each reason: what became of how many cells or pairs, which ones, and why.

    Parameters
    ----------
    reasons : dict of (str, str) to list of str
        `Summary.reasons`.

    Returns
    -------
    lines : list of str
    """
    lines = []
    for (status, message), names in reasons.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"{status}: {', '.join(names[:_NAMED])}{more}: {' '.join(message.split())}")
    return lines


_COMPARED = "Published, ours and their difference, in percent; means over the pairs that have both."


def _caption(summary: Summary, table: TaskTable) -> str:
    trials = summary.benchmark.trials
    text = "Accuracy on the target in percent" + (
        f", mean ± standard deviation of {trials} trials" if trials > 1 else ""
    )
    tried, all_ = int(table.tried.sum()), len(table.pairs)
    over = f"all {all_} pairs" if tried == all_ else f"the {tried} of {all_} pairs that have results"
    text += f". Mean and mean rank (1 is best) are over {over}"
    return text + (", for the methods that have all of them." if not table.whole.all() else ".")


def _shown(table: TaskTable, i: int, j: int) -> str:
    if np.isnan(table.accuracy[i, j]):
        return table.status[i][j]
    spread = f" ± {table.spread[i, j]:.2f}" if table.spread.any() else ""
    return f"{table.accuracy[i, j]:.2f}{spread}"


def _compared(entry: Comparison) -> list[list[str]]:
    marks = [
        f"**{text}**" if far else text for text, far in zip(map(_signed, entry.difference), entry.far, strict=True)
    ]
    return [
        [entry.method, "published", *map(_number, entry.published)],
        ["", "ours", *map(_number, entry.ours)],
        ["", "difference", *marks],
    ]


def _signed(value: float) -> str:
    return _number(value, "+.2f")


def _grid(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rows = [[text.replace("|", "\\|").replace("\n", " ") for text in row] for row in (header, *body)]
    aligned = [":---", *["---:"] * (len(header) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (rows[0], aligned, *rows[1:])]


def page(summary: Summary) -> str:
    """One self-contained HTML page.

    Parameters
    ----------
    summary : Summary

    Returns
    -------
    html : str

    Raises
    ------
    ImportError
        Without jinja2 or matplotlib.
    """
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ImportError(f'The report needs {" and ".join(missing)}: pip install "shallowda[bench]"')
    from jinja2 import Environment, StrictUndefined

    from shallowda.bench.figures import figures

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "signed": _signed, "shade": _shade, "seconds": _seconds, "mib": _mib}
    template = environment.from_string((files("shallowda.bench") / "report.html.jinja").read_text(encoding="utf-8"))
    not_ok = [row for row in summary.rows if row["status"] not in ("ok", "not run")]
    warned = Counter((row["method"], text) for row in summary.rows for text in row.get("warnings", ()))
    return template.render(
        summary=summary,
        benchmark=summary.benchmark,
        captions=[_caption(summary, table) for table in summary.tables],
        shown=_shown,
        compared_caption=_COMPARED,
        figures=figures(summary),
        failures=[row for row in not_ok if row["status"] != "skipped"],
        skipped=Counter((*_where(row), row["message"]) for row in not_ok if row["status"] == "skipped"),
        warned=warned.most_common(),
        usage=_usage(summary),
        definition=json.dumps(asdict(summary.benchmark), indent=2),
    )


def _where(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["task"], f"{row['source']}->{row['target']}"


def _usage(summary: Summary) -> list[tuple[str, int, float, float, float]]:
    """Method, cells done, median seconds to fit and to predict, greatest peak of memory in bytes."""
    usage = []
    for method in summary.benchmark.method_names:
        rows = [row for row in summary.rows if row["method"] == method and row["status"] == "ok"]
        if rows:
            fit, predict = (float(np.median([row[key] for row in rows])) for key in ("fit_seconds", "predict_seconds"))
            usage.append((method, len(rows), fit, predict, max(row["peak_memory"] or np.nan for row in rows)))
    return usage


def _shade(value: float, values: np.ndarray) -> str:
    """Strength of a cell's colour, 0 to 0.6, by its place between the least and the greatest of its column."""
    if np.isnan(value):
        return "0"
    least, greatest = np.nanmin(values), np.nanmax(values)
    return f"{0.6 * (value - least) / (greatest - least):.2f}" if greatest > least else "0"


def _seconds(value: float) -> str:
    return f"{value:.3g} s"


def _mib(value: float) -> str:
    return "" if np.isnan(value) else f"{value / 2**20:.0f} MiB"


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
