"""Tables and page of a benchmark, and the command line around them."""

import csv
import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from typer.testing import CliRunner

from shallowda import bench
from shallowda.bench import Benchmark, Method, Published, Task, plan, summarise, write_report
from shallowda.bench import report as report_module
from shallowda.bench.figures import _groups, figures
from shallowda.bench.report import markdown, page
from shallowda.bench.summary import critical_difference, friedman, ranks
from shallowda.cli import app

ROOT = Path(__file__).resolve().parents[2]
ANGLES = ["0deg", "20deg", "40deg"]
ACCURACY = {  # by method, one for each pair
    "A": [0.9, 0.8, 0.7],
    "B<b>|": [0.6, 0.8, 0.5],
    "C": [0.5, 0.4, 0.1],
    "D": [0.3, None, 0.2],
}


@pytest.fixture
def summary():
    """Made up: D failed on the second pair, the fourth pair was skipped."""
    pairs = [["0deg", "20deg"], ["0deg", "40deg"], ["20deg", "40deg"], ["40deg", "0deg"]]
    task = Task("make_rotated_moons", name="moons", options={"angles": [0, 20, 40]}, pairs=pairs)
    published = Published(
        "A", "moons", {"0deg->20deg": 90.0, "0deg->40deg": 76.5, "40deg->0deg": 10.0}, "Paper", "note"
    )
    methods = [Method(name, {"estimator": "CORAL", "params": {"ridge": 1.0 + i}}) for i, name in enumerate(ACCURACY)]
    benchmark = Benchmark([task], methods, [published], title="A <title>", protocol="As & so")
    cells = plan(benchmark)
    results = {}
    for cell in cells:
        number = pairs.index([cell.source[0], cell.target])
        common = {"kind": "cell", "key": cell.key, "run": "r1", "warnings": [], "peak_memory": 2**27}
        if number == 3:
            results[cell.key] = common | {"status": "skipped", "message": "no <file>"}
        elif ACCURACY[cell.method][number] is None:
            results[cell.key] = common | {"status": "failed", "message": "<script>alert(1)</script>", "traceback": "at"}
        else:
            seconds = {"fit_seconds": 0.25, "predict_seconds": 0.5}
            accuracy = ACCURACY[cell.method][number]
            results[cell.key] = common | seconds | {"status": "ok", "accuracy": accuracy, "balanced_accuracy": accuracy}
    environment = {"versions": {"numpy": "0"}, "blas": "b", "cpu": "c", "cores": 1, "platform": "p", "commit": "abc"}
    about = {"run": "r1", "started": "now", "command": "shallowda bench <x>", "jobs": 1, "environment": environment}
    return summarise(benchmark, cells, results, [about, about | {"run": "another"}])


def test_means_and_ranks_are_over_what_can_be_compared(summary):
    (table,) = summary.tables
    assert table.tried.tolist() == [True, True, True, False]
    assert table.whole.tolist() == [True, True, True, False]
    np.testing.assert_allclose(table.mean, [80, 190 / 3, 100 / 3, np.nan])
    np.testing.assert_allclose(table.mean_rank, [(1 + 1.5 + 1) / 3, (2 + 1.5 + 2) / 3, 3, np.nan])
    assert table.coverage(3) == "2 of 3"
    assert summary.counts == {"ok": 11, "failed": 1, "skipped": 4}
    assert summary.methods == ["A", "B<b>|", "C"]
    assert summary.over_tasks()["accuracy"].shape == (3, 3)
    assert [about["run"] for about in summary.runs] == ["r1"]


def test_published_figures_are_compared_where_both_are_known(summary):
    (entry,) = summary.tables[0].comparisons
    np.testing.assert_allclose(entry.difference, [0, 3.5, np.nan, np.nan, 1.75])
    np.testing.assert_allclose(entry.published[-1], (90 + 76.5) / 2)
    assert entry.far.tolist() == [False, True, False, False, True]


def test_markdown(summary):
    text = markdown(summary)
    assert "| A | 90.00 | 80.00 | 70.00 | skipped | 80.00 | 1.17 |" in text
    assert "| B<b>\\| | 60.00" in text
    assert "| D | 30.00 | failed | 20.00 | skipped | 2 of 3 |  |" in text
    assert "|  | difference | +0.00 | **+3.50** |  |  | **+1.75** |" in text
    assert "over the 3 of 4 pairs that have results, for the methods that have all of them." in text
    assert "- skipped: moons 40deg->0deg: no <file>\n" in text
    assert "- failed: moons 0deg->40deg D: <script>" in text
    lines = [re.sub(r"\\\|", "", line) for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {8}


def test_page_stands_alone_and_is_escaped(summary):
    html = page(summary)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "A &lt;title&gt;" in html
    assert "shallowda bench &lt;x&gt;" in html
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", html)
    assert "url(http" not in html
    assert "@import" not in html
    assert "90.00" in html
    assert "commit abc" in html
    assert html.count("<svg") == 2
    assert "currentColor" in html


def test_page_needs_its_extra(summary, monkeypatch):
    monkeypatch.setattr(report_module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install \"shallowda\[bench\]\""):
        page(summary)


def test_files_hold_every_cell(summary, tmp_path):
    import pyarrow.parquet

    paths = write_report(summary, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert rows[0]["accuracy"] == "0.9"
    table = pyarrow.parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["key"] for row in table] == [row["key"] for row in rows]
    assert [row["accuracy"] for row in table] == [float(row["accuracy"]) if row["accuracy"] else None for row in rows]


def test_statistics_of_ranks():
    rng = np.random.default_rng(0)
    accuracy = rng.random((4, 9)).round(1)
    np.testing.assert_allclose(ranks(accuracy), scipy.stats.rankdata(-accuracy, axis=0))
    # Demsar 2006: q = 2.569 for four classifiers, 2.850 for six
    assert critical_difference(4, 14) == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert critical_difference(6, 30) == pytest.approx(2.850 * np.sqrt(6 * 7 / (6 * 30)), abs=1e-3)
    assert friedman(ranks(accuracy)) == pytest.approx(scipy.stats.friedmanchisquare(*accuracy).pvalue)
    assert friedman(np.full((3, 5), 2.0)) == 1


def test_groups_are_the_widest_that_do_not_differ():
    assert _groups(np.array([1.0, 1.5, 2.2, 4.0, 4.4]), 1.0) == [(0, 1), (1, 2), (3, 4)]
    assert _groups(np.array([1.0, 3.0, 5.0]), 1.0) == []
    assert _groups(np.array([1.0, 1.5, 2.0]), 1.0) == [(0, 2)]


def test_nothing_ran(tmp_path):
    benchmark = Benchmark([Task("make_rotated_moons")], [Method("A", "CORAL")])
    summary = summarise(benchmark, plan(benchmark), {})
    assert summary.counts == {"not run": 2}
    write_report(summary, tmp_path)
    assert "not run" in (tmp_path / "table.md").read_text()


def test_a_report_that_cannot_be_written_leaves_nothing_half_done(summary, tmp_path, monkeypatch):
    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"kept in results\.jsonl.*results\.csv"):
        write_report(summary, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHALLOWDA_DATA", str(tmp_path))
    monkeypatch.setattr("signal.signal", lambda number, handler: None)  # not in the process of the tests

    def invoked(*arguments):
        return CliRunner().invoke(app, ["bench", *arguments])

    return invoked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give a TOML file"),
        (["nowhere.toml"], "No such file"),
        (["--preset", "quik"], "did you mean 'quick'"),
        (["--preset", "quick", "--dataset", "digits"], "Give a TOML file"),
        (["--dataset", "digits"], "both --dataset and --method"),
        (["--dataset", "digits", "--method", "JDAA"], "did you mean 'JDA'"),
        (["--dataset", "digit", "--method", "JDA"], "did you mean 'digits'"),
    ],
)
def test_mistakes_are_told_and_end_with_2(invoke, arguments, message):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_list_and_dry_run(invoke, tmp_path):
    listed = json.loads(invoke("--list", "--json").stdout)
    assert "quick" in listed["presets"]
    assert "digits" in listed["datasets"]
    assert {"JDA", "TJM"} <= set(listed["estimators"])
    assert "row-sum" in invoke("--list").stdout
    dry = invoke("--preset", "quick", "--dry-run", "--only", "60deg jda")
    assert dry.stdout.splitlines()[-1] == "3 to run, 0 skipped, 0 done."
    dry = invoke("--dataset", "digits", "--method", "JDA", "--dry-run", "--json")
    assert {json.loads(line)["state"] for line in dry.stdout.splitlines()} == {"skipped"}
    assert list(tmp_path.iterdir()) == []


def test_a_run_from_the_command_line(invoke, tmp_path):
    arguments = ["--preset", "quick", "--only", "60deg source only", "--out", "out", "--json"]
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    *records, end = map(json.loads, done.stdout.splitlines())
    assert [record["status"] for record in records] == ["ok"] * 3
    assert end["counts"] == {"not run": 33, "ok": 3}
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "results.jsonl",
        "results.csv",
        "table.md",
        "index.html",
    }
    assert len(invoke(*arguments).stdout.splitlines()) == 1  # nothing was missing
    told = invoke(*arguments[:-1]).stdout
    assert "source only" in told
    assert "3 ok" in told


def test_what_is_missing_is_told(invoke, tmp_path):
    (tmp_path / "files.toml").write_text(
        '[[tasks]]\nname = "pair"\ndataset = {files = {a = "a.npz", b = "b.npz"}}\n'
        '[[methods]]\nname = "SVM"\nmodel = "SVC"\n[[methods]]\nname = "CORAL"\nmodel = "CORAL"\n'
    )
    for more in (["--dry-run"], ["--out", "out"]):
        (line,) = [line for line in invoke("files.toml", *more).stdout.splitlines() if line.startswith("skipped: ")]
        assert line.startswith("skipped: pair a->b, pair b->a: there is no file ")
        assert "b.npz" in line
    (end,) = invoke("files.toml", "--out", "out", "--json").stdout.splitlines()
    assert "NaN" not in end
    end = json.loads(end)
    assert end["means"] == {"pair": {"SVM": None, "CORAL": None}}
    assert [reason["of"] for reason in end["without_result"]] == [["pair a->b", "pair b->a"]]


@pytest.mark.skipif(os.name == "nt", reason="there a pipe breaks in other ways")
def test_output_that_nobody_reads_is_no_error(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "shallowda.cli", "bench", "--list"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_interrupted(invoke, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupted)
    done = invoke("--preset", "quick", "--out", "out")
    assert done.exit_code == 130


def test_command_line_as_a_module(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "shallowda.cli", "bench", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert "--retry-failed" in done.stdout


def test_methods_that_share_no_task(tmp_path):
    """Nothing can be compared over all tasks, so nothing is drawn; the tables are there."""
    tasks = [Task("make_rotated_moons", name=name, pairs=[["0deg", "30deg"]]) for name in ("one", "other")]
    methods = [Method(name, "OneNearestNeighbor", datasets=[name]) for name in ("one", "other")]
    benchmark = Benchmark(tasks, methods)
    cells = plan(benchmark)
    done = {"status": "ok", "accuracy": 0.5, "fit_seconds": 0.1, "predict_seconds": 0.1, "peak_memory": 1}
    summary = summarise(benchmark, cells, {cell.key: done for cell in cells})
    assert summary.methods == []
    assert figures(summary) == []
    write_report(summary, tmp_path)
    assert (tmp_path / "table.md").read_text(encoding="utf-8").count("50.00") >= 2
