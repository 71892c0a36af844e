"""From results to tables and a page: CSV, Parquet, Markdown, HTML."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from shallowda.bench.figures import figures
from shallowda.bench.summary import Comparison, Summary, TaskTable, pair_of

__all__ = ["COLUMNS", "markdown", "page", "told", "write_report"]

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

_NAMED = 6  # cells that are named with a reason; the page has all of them


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
        skipped=Counter((*pair_of(row), row["message"]) for row in not_ok if row["status"] == "skipped"),
        warned=warned.most_common(),
        usage=_usage(summary),
        definition=json.dumps(asdict(summary.benchmark), indent=2),
    )


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
