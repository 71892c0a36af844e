"""The pieces of the benchmark: figures, bars, reports, and the textbook solutions that everything is compared with."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shallowda import JDA, TCAEstimator

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = ["catalogue", "cases", "jobs", "measure", "peers", "report", "rows", "run", "textbook"]


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def rows(bench):
    return bench.rows.make_rows(310, 64, separation=1.5)


def run(n=8000, library="shallowda", **figures):
    return {"library": library, "n": n, "d": 64, "dtype": "float32", "note": "", "passes": None, **figures}


# -- the data ----------------------------------------------------------------------------------------------------------


def test_rows_have_unit_norm_and_a_moved_unlabelled_second_half(bench, rows):
    X, y = rows
    assert np.allclose(np.linalg.norm(X, axis=1), 1)
    assert set(y[:155]) == set(range(31))
    assert np.all(y[155:] == -1)
    once, again, target = (X[start : start + 62].mean(axis=0) for start in (0, 62, 186))  # two rows of each class
    assert np.linalg.norm(once - target) > 2 * np.linalg.norm(once - again)


def test_saved_rows_are_those_made_in_memory(bench, tmp_path):
    X_file, y_file = bench.rows.save_rows(tmp_path, 100, 7, "float32", 0.35)
    X, y = bench.rows.make_rows(100, 7, "float32")
    assert np.array_equal(np.load(X_file), X)
    assert np.array_equal(np.load(y_file), y)


# -- the textbook solutions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"kernel": "linear"}, {"kernel": "rbf", "gamma": 1.0}])
def test_the_dense_loop_of_jda_labels_the_target_as_jda_does(bench, rows, options):
    X, y = rows
    model = JDA(10, **options).fit(X, y)
    dense = bench.textbook.jda(X, y, **options, k=10)
    assert dense.passes == model.n_iter_ > 2
    assert np.array_equal(dense.labels, model.pseudo_labels_)


def test_textbook_tca_maximises_the_objective(bench, rows):
    X, y = rows
    weights = bench.textbook.tca(X, y, None, k=5).weights
    assert bench.jobs._angle(TCAEstimator(5).fit(X, y).components_.T, weights) < 1e-7


@pytest.mark.filterwarnings("ignore:Every source row is switched off")  # of TJM, at rows of unit norm
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_path_is_compared_with_its_own_dense_solution(bench, rows, dtype):
    X, y = rows
    found = bench.jobs.accuracy(X, y, None, bench.cases.PATHS, dtype)["paths"]
    assert set(found) == set(bench.cases.PATHS)
    assert all(path["angle"] < (1e-6 if dtype == "float64" else 1e-3) for path in found.values()), found


def test_a_wrong_solution_is_seen(bench, rows):
    X, y = rows
    wrong = bench.textbook.tca(X, np.where(y == -1, 0, -1)[::-1], None, k=5).weights
    assert bench.jobs._angle(TCAEstimator(6).fit(X, y).components_[1:].T, wrong) > 0.01


# -- figures and bars --------------------------------------------------------------------------------------------------


def test_exponent_of_a_power_law(bench):
    sizes = [10, 100, 1000]
    assert bench.cases.exponent(sizes, [3 * n**1.7 for n in sizes]) == pytest.approx(1.7)
    with pytest.raises(ValueError, match="two sizes"):
        bench.cases.exponent([10], [1])


def test_a_bar_says_what_it_measured_or_why_it_could_not(bench):
    bar = bench.cases.Bar("time of them over ours", "tca", "at least", 10, bench.cases.ratio("them", "us"))
    runs = {"them": run(seconds=50.0), "us": run(seconds=2.0)}
    assert bar.evaluate(runs) == {
        "bar": "time of them over ours",
        "case": "tca",
        "sense": "at least",
        "limit": 10,
        "unit": "x",
        "measured": 25.0,
        "met": True,
    }
    assert bar.evaluate({**runs, "us": run(seconds=25.0)})["met"] is False
    skipped = bar.evaluate({**runs, "them": run(error="skipped: no network")})
    assert skipped["measured"] is None
    assert skipped["met"] is None
    assert skipped["reason"] == "them: skipped: no network"
    assert bar.evaluate({})["reason"] == "them: not run"


def test_a_limit_from_above_and_a_floor_for_small_memory(bench):
    bar = bench.cases.Bar("memory", "tca", "at most", 0.05, bench.cases.ratio("us", "them", "memory_mib", 1.0))
    assert bar.evaluate({"us": run(memory_mib=1.0), "them": run(memory_mib=100.0)})["met"] is True
    assert bar.evaluate({"us": run(memory_mib=6.0), "them": run(memory_mib=0.0)})["measured"] == 6.0


def test_every_bar_names_runs_that_its_case_has(bench):
    by_name = {case.name: case for case in bench.cases.full()}
    quantities = dict.fromkeys(["seconds", "fit_s", "predict_s", "memory_mib", "process_mib"], 1.0)
    paths = {"TCA": {"angle": 1e-9, "quantity": "angle"}}
    for bar in bench.cases.bars():
        runs = {job.label: {**run(job.n), **quantities, "paths": paths} for job in by_name[bar.case].jobs}
        assert bar.evaluate(runs)["measured"] is not None, bar


@pytest.mark.parametrize("size", ["full", "quick"])
def test_cases_and_labels_are_told_apart_and_their_jobs_exist(bench, size):
    listed = getattr(bench.cases, size)()
    assert len({case.name for case in listed}) == len(listed)
    for case in listed:
        assert len({job.label for job in case.jobs}) == len(case.jobs)
        assert all(job.kind in bench.jobs.__all__ for job in case.jobs)


def test_rounds_are_combined_by_the_median_and_errors_stay(bench):
    rounds = [{"seconds": 3.0, "memory_mib": 10.0, "passes": 4}, {"seconds": 1.0, "memory_mib": 30.0, "passes": 4}]
    combined = bench.run.combine([*rounds, {"seconds": 2.0, "memory_mib": 20.0, "passes": 4}])
    assert combined == {"seconds": 2.0, "memory_mib": 20.0, "passes": 4, "all_seconds": [3.0, 1.0, 2.0]}
    assert bench.run.combine([*rounds, {"error": "killed"}]) == {"error": "killed"}


def test_memory_and_time_of_a_job_are_its_own(bench, tmp_path):
    X, y = bench.rows.save_rows(tmp_path, 1500, 40, "float64", 0.35)
    job = {"kind": "floor", "args": {"name": "product"}, "X": str(X), "y": str(y)}
    command = [sys.executable, str(FOLDER / "measure.py"), json.dumps(job)]
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    one_thread = os.environ | dict.fromkeys(threads, "1")  # each thread of a BLAS has memory of its own
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=one_thread)
    process = time.perf_counter() - start
    out = json.loads(done.stdout.splitlines()[-1])
    assert 0 < out["fit_s"] == out["seconds"] < process
    assert out["memory_mib"] == pytest.approx(1500**2 * 8 / 2**20, abs=6)
    assert out["process_mib"] > out["memory_mib"] + 15


def test_a_job_that_fails_is_an_error_with_its_message(bench, tmp_path):
    job = bench.cases.Job("none", "floor", "floor", {"name": "no such floor"}, 40, 5)
    assert bench.run.measure(job, tmp_path, 60) == {"error": "ValueError: unknown floor 'no such floor'"}


def test_a_job_that_takes_too_long_is_stopped(bench, tmp_path):
    job = bench.cases.Job("slow", "floor", "floor", {"name": "gram"}, 40, 5)
    assert bench.run.measure(job, tmp_path, 0.001) == {"error": "stopped after 0 s"}


# -- peers -------------------------------------------------------------------------------------------------------------


def test_a_peer_that_cannot_be_installed_is_skipped_with_the_reason(bench, tmp_path, monkeypatch):
    interpreter = bench.peers.python(tmp_path)
    interpreter.parent.mkdir()
    interpreter.write_text("#!/bin/sh\necho 'Collecting skada' >&2\necho 'ERROR: no network' >&2\nexit 1\n")
    interpreter.chmod(0o755)
    versions, skipped = bench.peers.install(["skada"], environment=tmp_path)
    assert versions == {}
    assert skipped == {"skada": "ERROR: no network"}


def test_the_reason_reaches_the_results_and_nothing_is_run(bench, tmp_path):
    case = bench.cases.Case("one", "One", [bench.cases.Job("skada TCA", "skada", "skada", {}, 40, 5)], rounds=2)
    saved = {}
    bench.run.run_case(case, tmp_path, 60, {"skada": "no network"}, saved.__setitem__)
    assert saved["one"]["runs"]["skada TCA"]["error"] == "skipped: no network"
    assert list(tmp_path.iterdir()) == []


def test_every_peer_is_pinned(bench):
    pinned = [line.split("==")[0] for line in bench.peers.PINS.read_text().splitlines() if "==" in line]
    for name, peer in bench.peers.PEERS.items():
        assert {name, *peer.requirements} <= set(pinned)


# -- the report --------------------------------------------------------------------------------------------------------


@pytest.fixture
def results():
    def sweep(n):
        return {
            "title": f"All methods, {n} x 64",
            "date": "2026-01-02 03:04",
            "runs": {
                "TCA": run(n, seconds=n * 1e-3, memory_mib=5.0),
                "Gram product": run(n, "floor", seconds=n * 5e-4, memory_mib=0.0),
                "skada TCA": run(n, "skada", error="skipped: no network")
                if n > 1000
                else run(n, "skada", seconds=9.0, memory_mib=70.0),
            },
        }

    growth = {f"TCA, n = {n}": run(n, seconds=n * 1e-4, memory_mib=n * 1e-2) for n in (1000, 10_000)}
    angle = {"TCA linear": {"angle": 2e-9, "quantity": "angle"}}
    return {
        "machine": {
            "cpu": "Some CPU",
            "cores": 2,
            "memory_gib": 8.0,
            "system": "Linux",
            "blas": ["openblas, 2 threads"],
        },
        "versions": {"shallowda": "0.1"},
        "peers": {"skada": "0.6.0"},
        "skipped": {"adapt": "no wheel"},
        "quick": False,
        "bars": [
            {
                "bar": "TCA over X",
                "case": "c",
                "sense": "at least",
                "limit": 150,
                "unit": "x",
                "measured": 210.4,
                "met": True,
            },
            {"bar": "K", "case": "c", "sense": "at most", "limit": 1.2, "unit": "x", "measured": 1.5, "met": False},
            {
                "bar": "SA",
                "case": "c",
                "sense": "at least",
                "limit": 1,
                "unit": "x",
                "measured": None,
                "met": None,
                "reason": "gone",
            },
        ],
        "cases": {
            "sweep-1000": sweep(1000),
            "sweep-2000": sweep(2000),
            "jda": {
                "title": "JDA",
                "date": "2026-01-02 03:05",
                "runs": {"JDA": run(fit_s=1.25, predict_s=0.5, passes=7)},
            },
            "growth": {"title": "Growth", "date": "2026-01-02 03:06", "runs": growth},
            "accuracy": {"title": "Accuracy", "date": "2026-01-02 03:07", "runs": {"9 x 3 float64": run(paths=angle)}},
        },
    }


def test_the_page_holds_every_figure_and_every_reason(bench, results):
    page = bench.report.page(results, [("tca-time.png", "TCA")])
    assert "| TCA over X | at least 150 x | 210 x | met | `c` |" in page
    assert "| K | at most 1.2 x | 1.5 x | **missed** | `c` |" in page
    assert "| SA | at least 1 x | - | gone | `c` |" in page
    assert "| TCA | 1 | 2 | 1.00 | 5 (n = 2000) |  |" in page
    assert "| TCA over Gram product | 2 | 2 |" in page
    assert "- skada TCA, n = 2000: skipped: no network" in page
    assert "| JDA | 1.25 | 0.5 | - | 7 |" in page
    assert "| TCA linear | angle | 2.0e-09 |" in page
    assert "adapt was skipped: no wheel" in page
    assert "![TCA](figures/tca-time.png)" in page
    assert "2026-01-02 03:04 to 2026-01-02 03:07" in page


def test_figures_are_drawn_for_what_was_measured(bench, results, tmp_path):
    drawn = [name for name, _ in bench.report.figures(results, tmp_path)]
    assert {"tca-time.png", "tca-memory.png", "growth-time.png"} <= set(drawn)
    assert "rbf-time.png" not in drawn
    for name in drawn:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_command_lists_its_cases_and_refuses_others(bench, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", "--list"])
    bench.run.main()
    listed = capsys.readouterr().out
    assert all(case.name in listed for case in bench.cases.full())
    monkeypatch.setattr(sys, "argv", ["run.py", "--only", "nothing"])
    with pytest.raises(SystemExit):
        bench.run.main()
    assert "no case nothing" in capsys.readouterr().err


def test_results_of_one_case_are_added_to_those_at_hand(bench, tmp_path, monkeypatch, capsys):
    small = bench.cases.Case("laplacian", "Small", [bench.cases.Job("gram", "floor", "floor", {"name": "gram"}, 40, 5)])
    monkeypatch.setattr(bench.cases, "quick", lambda: [small])
    output = tmp_path / "results.json"
    output.write_text(json.dumps({"cases": {"older": {"runs": {}}}}))
    arguments = ["--quick", "--only", "laplacian", "--no-peers", "--output", str(output), "--scratch", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    bench.run.main()
    written = json.loads(output.read_text())
    assert set(written["cases"]) == {"older", "laplacian"}
    assert written["cases"]["laplacian"]["runs"]["gram"]["seconds"] > 0
    assert written["machine"]["cores"] >= 1
    assert written["bars"] == []
