"""benchmarks/gpu_check.py: what it makes of failures, and every item on the stand-in for CuPy."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"

#: A module `injected` for the process of the items.
INJECTED = """
    import json, os, signal, subprocess, sys, time
    from pathlib import Path
    from types import SimpleNamespace

    def device():
        yield {"name": "Injected 100"}

    def fine(**figures):
        yield {"rate": 2.0, **figures}

    def parts():
        yield {"seconds": 1.0}
        yield {"cold_seconds": 3.0}

    def fails():
        yield {"seconds": 1.0}
        print("before it failed", flush=True)
        raise RuntimeError("an illegal address was met")

    def runs_out_of_memory():
        yield {"seconds": 1.0}
        raise MemoryError("Out of memory allocating 8 bytes")

    def is_nan():
        yield {"angle": float("nan")}
        yield {"counts": {"one": [1.0, float("inf")]}}

    def misses_a_package():
        import no_such_package

    def exits():
        raise SystemExit(0)

    def finds_nothing():
        return iter(())

    def hangs(folder, **before):
        yield before or {"seconds": 1.0}
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(folder, "child").write_text(str(child.pid))
        time.sleep(600)

    def dies():
        yield {"seconds": 1.0}
        print("the last words")
        os.kill(os.getpid(), signal.SIGSEGV)

    def breaks_the_device():
        sys.modules["cupy"] = SimpleNamespace(get_default_memory_pool=lambda: SimpleNamespace(free_all_blocks=int))
        yield {"seconds": float(os.getpid())}

    def process():
        yield {"seconds": float(os.getpid())}

    def is_written(path):
        yield {"figures": json.loads(Path(path).read_text())["figures"]}

    def on_cpu():
        yield {"seconds": 1.0}
        yield {"cpu_seconds": None}
        yield {"cpu_seconds": 8.0}
"""


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("gpu_check", "gpu_items", "catalogue", "rows"):
        sys.modules.pop(name, None)


@pytest.fixture
def gpu_check(modules):
    import gpu_check

    return gpu_check


@pytest.fixture
def gpu_items(modules):
    import gpu_items

    return gpu_items


@pytest.fixture
def checked(gpu_check, tmp_path, monkeypatch, capsys):
    """Function that checks items of the module `injected` and returns the figures, the report and what was printed."""
    (tmp_path / "injected.py").write_text(dedent(INJECTED))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def check(*calls, section="steps", seconds=60.0, cpu_seconds=1.0):
        def items():
            yield gpu_check.Item("device", "device", "injected:device")
            for call in calls:
                function, arguments, changes = (call, {}, {}) if isinstance(call, str) else call
                item = {"section": section, "name": function, "call": f"injected:{function}", "arguments": arguments}
                sent.append((yield gpu_check.Item(**{**item, **changes})))

        sent = []
        report = gpu_check.Report(tmp_path, date="today")
        gpu_check.check(items(), report, cpu_seconds, seconds)
        return sent, report, capsys.readouterr().out

    return check


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_one_failure_costs_one_item(checked, tmp_path):
    wrong = ["fails", "runs_out_of_memory", "is_nan", "misses_a_package", "exits", "finds_nothing", "dies"]
    found, report, printed = checked(*wrong, "fine")
    figures = dict(zip([*wrong, "fine"], found, strict=True))
    assert figures["fine"] == {"rate": 2.0, "status": "passed"}
    for name in ("fails", "runs_out_of_memory", "dies"):
        assert figures[name]["seconds"] == 1.0, name  # what was found before is kept
    for name, error in {
        "fails": "RuntimeError: an illegal address was met",
        "runs_out_of_memory": "MemoryError: Out of memory allocating 8 bytes",
        "exits": "SystemExit: 0",
        "finds_nothing": "it found nothing",
        "dies": "the process ended, exit code -11 (SIGSEGV)",
    }.items():
        assert figures[name]["error"] == error
        assert figures[name]["status"] == "failed"
        assert f"  {name}: " in printed
        assert f"FAILED: {error}" in printed
        assert any(problem == f"{name}: {error}" for problem in report.problems())
    assert "injected.py" in figures["fails"]["traceback"]
    assert "the last words" in figures["dies"]["traceback"]
    assert "before it failed" in figures["fails"]["said"]
    assert figures["is_nan"]["angle"] is None
    assert figures["is_nan"]["counts"] == {"one": [1.0, None]}
    assert figures["is_nan"]["status"] == "failed"
    assert figures["misses_a_package"]["status"] == "not run"
    assert figures["misses_a_package"]["not_run"] == "ModuleNotFoundError: No module named 'no_such_package'"
    assert "misses_a_package: NOT RUN" in printed
    written = json.loads((tmp_path / "gpu-injected-100.json").read_text())
    assert written["figures"]["steps"] == json.loads(json.dumps(figures))
    assert written["date"] == "today"
    assert not written["passed"]
    assert len(written["problems"]) == len(wrong) + 3  # and the sections of checks


def test_a_hanging_item_is_stopped_with_all_that_it_started(checked, tmp_path):
    start = time.monotonic()
    found, _, _ = checked(("hangs", {"folder": str(tmp_path)}, {"seconds": 2.0}), "parts")
    assert time.monotonic() - start < 20
    assert found[0]["seconds"] == 1.0
    assert found[0]["error"] == "stopped after 2 seconds"
    assert "in hangs" in found[0]["traceback"]  # where it was
    assert found[1]["cold_seconds"] == 3.0
    child = Path("/proc", (tmp_path / "child").read_text(), "stat")
    if Path("/proc/self").exists():
        assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_it_ends_in_time_and_every_section_has_its_share(checked, tmp_path):
    folder, start = {"folder": str(tmp_path)}, time.monotonic()
    found, report, _ = checked(
        ("hangs", folder, {"section": "agreement", "name": "first"}),
        ("hangs", folder, {"section": "agreement", "name": "second"}),
        ("fine", {}, {"section": "ceilings"}),
        ("hangs", folder, {"section": "fits"}),
        seconds=6.0,
    )
    assert time.monotonic() - start < 7
    assert [figures["status"] for figures in found] == ["failed", "not run", "passed", "failed"]
    assert any(problem.startswith("hangs: ") for problem in report.problems())


def test_no_time_for_a_figure_is_said_and_no_time_for_a_check_fails(checked, gpu_check):
    found, report, _ = checked("fine", ("process", {}, {"section": "agreement"}), seconds=1e-3)
    assert found == []  # not even a device
    report.found(gpu_check.Item("steps", "late", ""), {"not_run": gpu_check.NO_TIME})
    assert "late" not in "".join(report.problems())
    report.found(gpu_check.Item("agreement", "late", ""), {"not_run": gpu_check.NO_TIME})
    assert "late: no time left" in report.problems()
    report.found(gpu_check.Item("contract tests", "other", ""), {"optional": True, "not_run": "torch is not installed"})
    assert "other" not in "".join(report.problems())


def test_a_device_that_does_not_compute_any_more_gets_a_new_process(checked):
    found, _, _ = checked("process", "breaks_the_device", ("process", {}, {"section": "fits"}))
    first, second, third = (figures["seconds"] for figures in found)
    assert first == second != third


def test_everything_is_written_after_each_item(checked, tmp_path):
    path = tmp_path / "gpu-injected-100.json"
    found, _, _ = checked("parts", ("is_written", {"path": str(path)}, {}))
    assert found[1]["figures"]["device"]["device"]["name"] == "Injected 100"
    assert found[1]["figures"]["steps"]["parts"]["cold_seconds"] == 3.0


def test_the_part_of_the_cpu_is_compared_or_left_out(checked, tmp_path):
    slow = ("hangs", {"folder": str(tmp_path), "seconds": 1.0, "cpu_seconds": None}, {"seconds": 2.0})
    found, _, printed = checked(slow, "on_cpu", ("on_cpu", {}, {"section": "fits"}), cpu_seconds=5.0)
    assert found[0]["status"] == "passed"  # the device has done its part
    assert "the CPU's part was stopped after 2 seconds" in printed
    assert found[1]["cpu_ratio"] == 8.0
    assert "8.0 times the CPU" in printed
    assert found[2] == {"seconds": 1.0, "cpu_seconds": None, "status": "passed"}


def test_shares_of_the_ceilings(checked, gpu_check, tmp_path):
    report = gpu_check.Report(tmp_path)
    report.found(gpu_check.Item("ceilings", "copy", ""), {"rate": 40.0})
    figures = report.found(
        gpu_check.Item("steps", "K @ block", ""), {"seconds": 0.5, "amount": 10.0, "ceiling": "copy"}
    )
    assert figures["share"] == 0.5
    assert "50% of the ceiling" in gpu_check.line("K @ block", figures)
    other = report.found(gpu_check.Item("steps", "other", ""), {"seconds": 0.5, "amount": 10.0, "ceiling": "gemm"})
    assert "share" not in other  # there is no such ceiling: its measurement has failed


def test_results_that_cannot_be_written_stop_nothing(gpu_check, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    report = gpu_check.Report(tmp_path / "file")
    report.found(gpu_check.Item("device", "device", ""), {"name": "One"})
    report.save()
    assert "cannot be written" in capsys.readouterr().err


def test_without_a_device_it_says_so_and_fails(gpu_check, monkeypatch, capsys, tmp_path):
    (tmp_path / "cupy.py").write_text("raise ModuleNotFoundError(\"No module named 'cupy'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert gpu_check.main(["--results", str(tmp_path / "results")]) == 1
    assert "No check was made: ModuleNotFoundError: No module named 'cupy'" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_the_check_itself_needs_the_standard_library_only():
    command = [sys.executable, "-I", "-S", str(BENCHMARKS / "gpu_check.py"), "--help"]
    assert "--seconds" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_installs_cupy(tmp_path):
    def said(*arguments):
        command = ["make", "-n", "gpu-check", f"VENV={tmp_path}/venv", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert '".[test,cuda12]"' in said().stdout
    assert '".[test,cuda13]"' in said("CUDA=13").stdout
    assert "make gpu-check CUDA=12, or CUDA=13" in said("CUDA=11").stderr


# ------------------------------------------------------------------------------------------------------ the tests


def run_tests(gpu_items, folder, **files):
    folder.mkdir()
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(f"import pytest\npytestmark = pytest.mark.gpu\n{text}\n")
    (found,) = gpu_items.run_tests([str(folder)])
    return found


def test_at_least_one_test_passed_and_none_was_skipped(gpu_items, tmp_path):
    good = "def test_good(): pass"
    found = run_tests(gpu_items, tmp_path / "good", good=good)
    assert (found["passes"], found["counts"]["passed"]) == (True, 1)
    assert not run_tests(gpu_items, tmp_path / "none", none="")["passes"]
    skipped = run_tests(gpu_items, tmp_path / "skipped", good=good, other="def test_it(): pytest.skip('no device')")
    assert (skipped["passes"], skipped["counts"]["skipped"]) == (False, 1)
    mixed = run_tests(
        gpu_items, tmp_path / "mixed", good=good, bad="def test_it(): assert 1 == 2", broken="import no_such_package"
    )
    assert mixed["summary"] == "1 failures, 1 errors, 0 skipped, 1 passed"  # one broken file stops no other
    assert not mixed["passes"]
    assert "no_such_package" in str(mixed["failures"])
    assert "assert 1 == 2" in str(mixed["failures"])


def test_the_tests_of_the_kernels_need_pytest_and_little_else(gpu_items, tmp_path, monkeypatch):
    for name in ("hypothesis", "array_api_strict", "pandas", "polars"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}')")
    path = os.pathsep.join([str(tmp_path), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    monkeypatch.setenv("PYTHONPATH", path)
    (found,) = gpu_items.run_tests(["tests/cuda"], "first_of_equal_rows", alone=True)
    assert found["counts"]["errors"] == found["counts"]["failures"] == 0
    assert found["counts"]["tests"] >= 1  # they run, or are skipped without a device


def test_tests_that_cannot_run(gpu_items, monkeypatch):
    absent = ["hypothesis", "torch"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in absent else name)
    assert list(gpu_items.contract_tests("cupy")) == [{"not_run": "not installed: hypothesis"}]
    assert list(gpu_items.contract_tests("torch")) == [{"not_run": "torch is not installed"}]
    absent.append("pytest")
    assert list(gpu_items.run_tests(["tests/cuda"], alone=True)) == [{"not_run": "not installed: pytest"}]


# -------------------------------------------------------------------------------------------------- the comparison


def test_figures(gpu_items):
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((50, 4))
    signs = np.array([1, -1, -1, 1])
    assert gpu_items.relative_error(Z * signs, Z) == 0
    assert gpu_items.relative_error(1.25**0.5 * Z, Z) == pytest.approx(0.25)
    assert gpu_items.principal_angle(Z @ rng.standard_normal((4, 4)), Z) < 1e-12
    turned = np.cos(0.3) * np.eye(5)[:, :1] + np.sin(0.3) * np.eye(5)[:, 1:2]
    assert gpu_items.principal_angle(turned, np.eye(5)[:, :1]) == pytest.approx(0.3)


def test_what_disagrees_fails(gpu_items):
    Z = np.random.default_rng(0).standard_normal((20, 3))
    expected = {"values": Z, "predictions": np.arange(20)}
    for case in ("TCA", "CORAL"):

        def passes(case=case, **changes):
            found = gpu_items.compared(case, {**expected, **changes}, expected, "float64")
            return found.get("passes", "error" not in found)

        assert passes()
        assert passes(values=-Z)
        assert not passes(values=Z[::-1])
        assert not passes(values=np.where(Z > 1, np.nan, Z))
        assert not passes(values=np.where(Z > 1, np.inf, Z))
        assert not passes(predictions=np.arange(20) // 2)


@pytest.mark.usefixtures("cupy")
def test_a_case_that_goes_another_way_says_nothing(gpu_items, monkeypatch):
    case = gpu_items.cases()["TCA rbf, landmarks"]
    other = gpu_items.Case(case.model, {"operator": "tiled"})
    monkeypatch.setitem(gpu_items.cases(), "TCA rbf, landmarks", other)
    with pytest.raises(AssertionError, match=r"the plan is .*'nystroem'.*, not .*'tiled'"):
        list(gpu_items.agreement("TCA rbf, landmarks", "CuPy, float64", (120, 20)))


# ------------------------------------------------------------------------------------- all of it, on the stand-in


STAND_IN = """
    import sys, tempfile
    sys.path.append({folder!r})
    import stand_in
    from cuda_on_cpu import builder
    stand_in.context = stand_in.installed(builder(tempfile.mkdtemp()))  # for as long as the process lives
    stand_in.machine = stand_in.context.__enter__()
"""

OUT_OF_MEMORY = """
    import cupy, gpu_items, stand_in

    def small(total, **arguments):
        stand_in.machine.devices[0].total = total
        yield from gpu_items.agreement(**arguments)
"""


def test_an_estimator_that_runs_out_of_memory_or_lacks_a_package(gpu_check, tmp_path, monkeypatch):
    (tmp_path / "cupy.py").write_text(dedent(STAND_IN.format(folder=str(Path(__file__).parent))))
    (tmp_path / "cupyx.py").write_text("import cupy  # which puts the stand-in's cupyx into the place of this")
    (tmp_path / "array_api_compat.py").write_text("raise ModuleNotFoundError('no array-api-compat')")
    (tmp_path / "small.py").write_text(dedent(OUT_OF_MEMORY))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    arguments = {"case": "CORAL", "place": "NumPy, float64", "shape": (200, 20)}
    sent = []

    def items():
        sent.append((yield gpu_check.Item("device", "device", "gpu_items:machine")))
        for name, total in (("first", 2**30), ("no memory", 2**12), ("again", 2**30)):
            item = gpu_check.Item("agreement", name, "small:small", {"total": total, **arguments})
            sent.append((yield item))

    gpu_check.check(items(), gpu_check.Report(tmp_path), 1.0, 120.0)
    device, first, without, again = sent
    assert device["status"] == "passed", device
    assert device["array_api_compat"] == "sklearn.externals.array_api_compat"
    assert first["passes"], first
    assert without["error"].startswith("MemoryError: n = 200, d = 20"), without
    assert "gpu_items.py" in without["traceback"]
    assert again["passes"], again


@pytest.mark.slow
def test_every_item_runs(gpu_check, gpu_items, cupy):
    sizes = gpu_check.SIZES["tiny"]
    items, found, report, ran = gpu_check.items(sizes), None, gpu_check.Report(Path()), set()
    while True:
        try:
            item = items.send(found)
        except StopIteration:
            break
        found = {}
        function = item.call.partition(":")[2]
        once = "NumPy, float32" if "tiles" in item.name else "CuPy, float64"  # of four places
        if function in ("run_tests", "contract_tests") or item.arguments.get("place", once) != once:
            continue
        for update in getattr(gpu_items, function)(**item.arguments):
            found = report.found(item, json.loads(json.dumps(update)))
        assert found["status"] == "passed", (item.name, found)
        ran.add(function)
    assert len(ran) >= 15
    assert {**report.figures["ceilings"]}.keys() >= {"copy", "gemm float32", "gemm float64", "from the device"}
    for name, figures in report.figures["steps"].items():
        assert math.isfinite(figures["seconds"]), name
        assert (figures.get("ceiling") is None) == ("share" not in figures), name
    assert all(figures["pool_peak"] > 0 for figures in report.figures["fits"].values())
