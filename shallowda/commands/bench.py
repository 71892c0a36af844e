"""``shallowda bench``: methods on tasks."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from shallowda.commands.adapt import methods
from shallowda.commands.common import INTERRUPTED
from shallowda.core.progress import progress_bar

if TYPE_CHECKING:
    from shallowda.bench import Benchmark, Cell
    from shallowda.bench.summary import Summary

__all__ = ["bench"]


def _presets(incomplete: str) -> list[str]:
    from shallowda.bench import presets

    return [name for name in presets() if name.startswith(incomplete)]


def _data(incomplete: str) -> list[str]:
    from shallowda import datasets

    return [name for name in (*datasets.DATASETS, *datasets.GENERATORS) if name.startswith(incomplete)]


def bench(
    config: Annotated[Path | None, typer.Argument(help="TOML file of a benchmark.", show_default=False)] = None,
    preset: Annotated[
        str, typer.Option(help="A benchmark that comes with the package; see --list.", autocompletion=_presets)
    ] = "",
    dataset: Annotated[
        list[str] | None, typer.Option(help="Without a file: data set to run on, all pairs.", autocompletion=_data)
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Without a file: estimator to run as it is.", autocompletion=methods)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; by default bench-NAME here.", show_default=False)
    ] = None,
    jobs: Annotated[int, typer.Option(help="Cells at a time; -1 for as many as there are cores.")] = 1,
    only: Annotated[str, typer.Option(help="Run only cells whose 'task source->target method' holds this text.")] = "",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List presets, data sets, estimators and steps.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print each result as a line of JSON.")] = False,
) -> None:
    """Run methods on tasks, keep each result as it comes, and write tables and a page.

    The same command again does only what is missing. Ctrl-C keeps what is done.
    """
    from shallowda.bench import pending, plan, read_results, run

    if list_:
        _list(json_)
        return
    benchmark, name = _benchmark(config, preset, dataset, method)
    folder = out or Path(f"bench-{name}")
    if dry_run:
        cells = plan(benchmark, only=only, fetch=False)
        _, results = read_results(folder / "results.jsonl")
        _say_plan(cells, pending(cells, results, benchmark.limits, retry_failed), json_)
        return
    status = 0
    with _progress(shown=sys.stderr.isatty() and not json_) as (begin, advance):

        def each(record: Mapping[str, Any]) -> None:
            advance(record)
            if json_:
                typer.echo(json.dumps(record))

        try:
            run(
                benchmark,
                folder,
                n_jobs=jobs,
                only=only,
                retry_failed=retry_failed,
                command=shlex.join(["shallowda", *sys.argv[1:]]),
                begin=begin,
                each=each,
            )
        except KeyboardInterrupt:
            status = INTERRUPTED
            typer.echo("Interrupted; the same command goes on from here.", err=True)
    summary, paths = _report(benchmark, folder)
    _say_summary(summary, paths, json_)
    raise typer.Exit(status)


def _benchmark(
    config: Path | None, preset: str, datasets: list[str] | None, methods: list[str] | None
) -> tuple[Benchmark, str]:
    """The benchmark that the arguments mean, and a name for its folder."""
    from shallowda.bench import Benchmark, Method, Task, load_config, load_preset

    if [config is not None, bool(preset), bool(datasets or methods)].count(True) != 1:
        raise ValueError("Give a TOML file, or --preset, or --dataset and --method; --list says what there is.")
    if config is not None:
        return load_config(config), config.stem
    if preset:
        return load_preset(preset), preset
    if not datasets or not methods:
        raise ValueError("Without a file both --dataset and --method are needed; each may be given several times.")
    made = Benchmark([Task(name) for name in datasets], [Method(name, name) for name in methods])
    return made, "-".join([*datasets, *methods])


def _report(benchmark: Benchmark, folder: Path) -> tuple[Summary, list[Path]]:
    from shallowda.bench import plan, read_results, summarise, write_report

    runs, results = read_results(folder / "results.jsonl")
    summary = summarise(benchmark, plan(benchmark, fetch=False), results, runs)
    return summary, write_report(summary, folder)


@contextmanager
def _progress(shown: bool) -> Iterator[tuple[Callable[[Sequence[Cell]], None], Callable[[Mapping[str, Any]], None]]]:
    """What to call with the cells to run, and with each result; drawn on standard error."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with progress_bar(*columns, shown=shown) as progress:
        bar = progress.add_task("", total=None)

        def begin(cells: Sequence[Cell]) -> None:
            progress.update(bar, total=len(cells))

        def advance(record: Mapping[str, Any]) -> None:
            what = f"{record['accuracy']:.1%}" if record["status"] == "ok" else record["status"]
            about = f"{record['method']} on {record['source']}->{record['target']}: {what}"
            progress.update(bar, advance=1, description=about)

        yield begin, advance


def _say_plan(cells: Sequence[Cell], todo: Sequence[Cell], as_json: bool) -> None:
    from shallowda.bench.report import told

    keys = {cell.key for cell in todo}
    missing = [cell for cell in cells if cell.missing]
    if as_json:
        for cell in cells:
            state = "skipped" if cell.missing else "to run" if cell.key in keys else "done"
            typer.echo(json.dumps({"cell": cell.label, "key": cell.key, "state": state, "message": cell.missing}))
        return
    for cell in todo:
        typer.echo(f"to run   {cell.label}")
    skipped: dict[tuple[str, str], list[str]] = {}
    for cell in missing:
        names = skipped.setdefault(("skipped", cell.missing), [])
        names.extend([] if f"{cell.task} {cell.pair}" in names else [f"{cell.task} {cell.pair}"])
    for line in told(skipped):
        typer.echo(line)
    typer.echo(f"{len(todo)} to run, {len(missing)} skipped, {len(cells) - len(todo) - len(missing)} done.")


def _say_summary(summary: Summary, paths: Sequence[Path], as_json: bool) -> None:
    if as_json:
        tables = {  # JSON knows no NaN
            table.name: {
                name: mean if whole else None
                for name, mean, whole in zip(table.methods, table.mean.tolist(), table.whole, strict=True)
            }
            for table in summary.tables
        }
        reasons = [
            {"status": status, "message": message, "of": names} for (status, message), names in summary.reasons.items()
        ]
        end = {"kind": "summary", "counts": summary.counts, "means": tables, "without_result": reasons}
        end["files"] = list(map(str, paths))
        typer.echo(json.dumps(end))
        return
    from rich.markup import escape
    from rich.table import Table

    from shallowda.bench.report import told

    console = Console()
    for table in summary.tables:
        shown = Table(title=escape(f"{table.name}, {int(table.tried.sum())} of {len(table.pairs)} pairs"))
        shown.add_column("method")
        for head in ("accuracy %", "rank", *(["published", "difference"] if table.comparisons else [])):
            shown.add_column(head, justify="right")
        for i, name in enumerate(table.methods):
            compared = next((entry for entry in table.comparisons if entry.method == name), None)
            beside = (
                [] if compared is None else [_figure(compared.published[-1]), _figure(compared.difference[-1], "+")]
            )
            own = (
                [f"{table.mean[i]:.2f}", f"{table.mean_rank[i]:.2f}"]
                if table.whole[i]
                else [table.coverage(i) if table.tried.any() else "", ""]
            )
            shown.add_row(escape(name), *own, *beside)
        console.print(shown)
    for line in told(summary.reasons):
        typer.echo(line)
    typer.echo(", ".join(f"{count} {status}" for status, count in summary.counts.items()))
    for path in paths:
        typer.echo(str(path))


def _figure(value: float, sign: str = "") -> str:
    return "" if math.isnan(value) else f"{value:{sign}.2f}"


def _list(as_json: bool) -> None:
    from shallowda import datasets
    from shallowda.bench import STEPS, generators, presets
    from shallowda.bench.models import estimators

    ours = [name for name, kind in estimators().items() if kind.__module__.startswith("shallowda")]
    known = {
        "presets": list(presets()),
        "datasets": list(datasets.DATASETS),
        "generators": list(generators()),
        "steps": list(STEPS),
        "estimators": sorted(ours),
    }
    if as_json:
        typer.echo(json.dumps(known))
        return
    for kind, names in known.items():
        typer.echo(f"{kind}: {', '.join(names)}")
    typer.echo("and every estimator of scikit-learn.")
