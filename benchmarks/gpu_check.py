"""Check of the whole library on a CUDA device: ``make gpu-check``, or ``python benchmarks/gpu_check.py``.

Runs the tests that need a device; fits every method there and compares what it learnt with the CPU; and measures: how
fast the device copies and multiplies, each step of the library as a share of that, and whole fits against the CPU of
the same machine.

Each item is worked on by itself, in a process that is stopped when its time is up. What fails, hangs or cannot be run
is said, with its traceback, and the others run. After each item everything that is known is written to
benchmarks/results/gpu-<device>.json. ``--seconds`` is the end of the whole, whatever happens.

The exit code is 0 if all tests passed and none was skipped, every estimator agrees with the CPU, and no measurement
failed. A check that did not run is no pass; a measurement for which there was no time is said and does no harm.

This file needs the standard library only, and sets PYTHONPATH for its processes: in a checkout nothing has to be
installed but what the items need (gpu_items.py).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import faulthandler
import gc
import importlib
import json
import math
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

#: Sections in their order, and the share of the time left that each may take: a section that hangs leaves some to the
#: others.
SHARES = {"device": 0.25, "kernel tests": 0.4, "agreement": 0.5, "ceilings": 0.3, "steps": 0.4, "fits": 0.6}
SHARES["contract tests"] = 1.0  # the longest: last
CHECKS = ("kernel tests", "agreement", "contract tests")  # sections of which nothing may be missing

NO_TIME = "no time left"
WIDTH = 240  # characters of a line that is printed
PATIENCE = 2.0  # seconds that one waits for the end of a process
TAIL = 6000  # characters of output and tracebacks that are kept


@dataclass(frozen=True)
class Sizes:
    """What is measured: rows and columns of the agreement check, of the steps and of the timed fits."""

    agreement: tuple[int, int]
    moments: tuple[int, int]
    kernel: tuple[int, int]
    on_chip: tuple[int, int]
    nearest: tuple[int, int]
    pencil: tuple[int, int]
    eigh: int
    copied: int  # bytes
    gemm: int
    fit: tuple[int, int]
    cpu_seconds: float  # that the CPU may take for comparison
    seconds: float  # default of --seconds


SIZES = {
    "tiny": Sizes(
        agreement=(200, 30),
        moments=(2000, 40),
        kernel=(300, 20),
        on_chip=(300, 20),
        nearest=(300, 10),
        pencil=(300, 20),
        eigh=60,
        copied=2**20,
        gemm=128,
        fit=(200, 30),
        cpu_seconds=20.0,
        seconds=240.0,
    ),
    "small": Sizes(
        agreement=(1000, 128),
        moments=(200_000, 1024),
        kernel=(20_000, 512),
        on_chip=(60_000, 512),
        nearest=(200_000, 30),
        pencil=(4000, 256),
        eigh=2048,
        copied=2**29,
        gemm=8192,
        fit=(4000, 1024),
        cpu_seconds=60.0,
        seconds=420.0,
    ),
    "full": Sizes(
        agreement=(2000, 256),
        moments=(1_000_000, 2048),
        kernel=(40_000, 512),
        on_chip=(200_000, 512),
        nearest=(500_000, 30),
        pencil=(20_000, 512),
        eigh=4096,
        copied=2**30,
        gemm=8192,
        fit=(20_000, 2048),
        cpu_seconds=900.0,
        seconds=3600.0,
    ),
}


@dataclass(frozen=True)
class Item:
    """One piece of the check.

    Attributes
    ----------
    section, name : str
    call : str
        "module:function", a generator function: it yields what it finds, piece by piece, as dictionaries.
    arguments : dict
        Its arguments, of what JSON has.
    seconds : float
        The most that it may take.
    optional : bool
        Whether the check may pass without it.
    """

    section: str
    name: str
    call: str
    arguments: dict[str, Any] = field(default_factory=dict)
    seconds: float = 60.0
    optional: bool = False


def items(sizes: Sizes) -> Generator[Item, dict[str, Any], None]:
    """Everything that is checked, in order; what an item has found is sent back."""
    limit = sizes.seconds / 7
    yield Item("device", "device", "gpu_items:machine", {}, limit)
    cuda = {"paths": ["tests/cuda"], "alone": True}
    kernels = {**cuda, "words": "not test_catalogue"}
    yield Item("kernel tests", "CUDA kernels", "gpu_items:run_tests", kernels, 4 * limit)
    listed = yield Item("agreement", "list of methods", "gpu_items:listed", {}, limit)
    for case in listed.get("cases", ()):
        for place in listed["places"]:
            arguments = {"case": case, "place": place, "shape": sizes.agreement}
            yield Item("agreement", f"{case} | {place}", "gpu_items:agreement", arguments, limit)
    for name, call, arguments in ceilings(sizes):
        yield Item("ceilings", name, f"gpu_items:{call}", arguments, limit)
    for name, call, arguments in steps(sizes):
        yield Item("steps", name, f"gpu_items:{call}", arguments, limit)
    for case in listed.get("timed", ()):
        yield Item("fits", case, "gpu_items:timed_fit", {"case": case, "shape": sizes.fit}, 1.5 * limit)
    catalogue = {**cuda, "words": "test_catalogue"}
    yield Item("contract tests", "the catalogue", "gpu_items:run_tests", catalogue, 5 * limit)
    for kind in ("cupy", "torch"):
        call, arguments, optional = "gpu_items:contract_tests", {"kind": kind}, kind == "torch"
        yield Item("contract tests", f"arrays of {kind}", call, arguments, 5 * limit, optional)


def ceilings(sizes: Sizes) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, function and arguments of what the device can do."""
    yield "copy", "copy_rate", {"nbytes": sizes.copied}
    for dtype in ("float32", "float64"):
        yield f"gemm {dtype}", "gemm_rate", {"n": sizes.gemm, "dtype": dtype}
    for kind in ("pageable", "pinned"):
        yield f"to the device, {kind}", "upload_rate", {"nbytes": sizes.copied, "kind": kind}
    yield "from the device", "download_rate", {"nbytes": sizes.copied}


def steps(sizes: Sizes) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, function and arguments of what the library is made of."""
    for entry in ("kernel_times_block", "nearest_row"):
        for dtype in ("float32", "float64"):
            yield f"compile {entry} in {dtype}, nothing in the cache", "compiled", {"entry": entry, "dtype": dtype}
    n, d = sizes.moments
    for dtype in ("float32", "float64"):
        yield f"moments of {n} x {d}, {dtype} rows", "moments", {"n": n, "d": d, "dtype": dtype}
    n, d = sizes.kernel
    yield f"RBF matrix of {n} x {d}", "kernel_matrix", {"n": n, "d": d}
    for b in (8, 32):
        yield f"K @ block, {n} x {b}", "stored_product", {"n": n, "b": b}
    n, d = sizes.on_chip
    for dtype, b in (("float32", 8), ("float32", 32), ("float64", 32)):
        for route, name in (("fused", "not stored"), ("tiles", "by stored tiles")):
            arguments = {"n": n, "d": d, "b": b, "dtype": dtype, "route": route}
            yield f"K @ block {name}, {n} x {d}, {b} columns, {dtype}", "tiled_product", arguments
    n, d = sizes.nearest
    for route, name in (("fused", "not stored"), ("products", "by stored products")):
        yield f"nearest row {name}, {n} among {n} in {d}", "nearest", {"n": n, "d": d, "route": route}
    yield f"eigh of order {sizes.eigh}, float64", "eigh", {"n": sizes.eigh}
    n, d = sizes.pencil
    yield f"one pass of JDA's pencil, RBF, order {n}", "pencil_pass", {"n": n, "d": d}


# ------------------------------------------------------------------------------------------- the process of the items


def serve() -> None:
    """Work on the items that come as lines of JSON on stdin, one after another, and write what they find to stdout.

    What else is printed, and the place where an item hangs, goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()

    def answer(**found: Any) -> None:
        answers.write(json.dumps(found) + "\n")
        answers.flush()

    requests: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            requests.put(line)
        _end_group(os.getpid())  # the check has ended, in whatever way: nothing may go on

    threading.Thread(target=read, daemon=True).start()
    while True:
        request = json.loads(requests.get())
        faulthandler.dump_traceback_later(0.9 * request["seconds"])
        try:
            module, name = request["call"].split(":")
            for found in getattr(importlib.import_module(module), name)(**request["arguments"]):
                answer(found=found)
                if "cpu_seconds" in found and not request["cpu"]:
                    break
        except BaseException as error:  # also the exits and skips of other libraries
            kind = "not_run" if isinstance(error, ModuleNotFoundError) else "error"
            message = f"{type(error).__name__}: {error}"
            answer(found={kind: message[:TAIL], "traceback": traceback.format_exc()[-TAIL:]})
        faulthandler.cancel_dump_traceback_later()
        answer(done=True, usable=_usable())


def _usable() -> bool:
    """Give free memory back, and say whether the device still computes: after some errors it does not."""
    cupy = sys.modules.get("cupy")
    if cupy is None:
        return True
    gc.collect()
    try:
        cupy.get_default_memory_pool().free_all_blocks()
        return float(cupy.ones(2).sum()) == 2.0
    except Exception:
        return False


def _end_group(leader: int) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(leader, signal.SIGKILL)
        else:
            os.kill(leader, signal.SIGTERM)


class Worker:
    """A process that works on items, made anew after it was stopped or has died.

    It leads a process group, so that what it starts (pytest) is stopped with it. Nobody waits long for its end: one
    that waits for a driver may not end at all.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def find(self, item: Item, seconds: float, cpu: bool) -> Iterator[dict[str, Any]]:
        """What an item finds, as it comes; an error where it fails, dies or is not done in time.

        Without `cpu` it ends before the comparison with the CPU.
        """
        end = time.monotonic() + seconds
        if self._process is None or self._process.poll() is not None:
            self._start()
        said = os.fstat(self._log.fileno()).st_size
        try:
            request = {"call": item.call, "arguments": item.arguments, "seconds": seconds, "cpu": cpu}
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            while "done" not in (answer := self._answers.get(timeout=max(0.0, end - time.monotonic()))):
                found = answer["found"]
                yield {**found, "said": self._said(said)} if "error" in found else found
        except queue.Empty:
            yield {"error": f"stopped after {seconds:.0f} seconds", "stopped": True, "traceback": self._said(said)}
            self.stop()
        except (OSError, EOFError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
            code = self._process.returncode
            name = "" if code is None or code >= 0 else f" ({signal.Signals(-code).name})"
            yield {"error": f"the process ended, exit code {code}{name}", "traceback": self._said(said)}
            self.stop()
        else:
            if not answer["usable"]:
                self.stop()

    def stop(self) -> None:
        """End the process and all that it has started."""
        if self._process is None:
            return
        _end_group(self._process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
            self._process.wait(PATIENCE)
            self._process.stdin.close()
        self._log.close()
        self._process = None

    def _start(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import gpu_check; gpu_check.serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "PYTHONPATH": path.strip(os.pathsep)},
            start_new_session=True,
        )
        self._answers = _Answers(self._process.stdout)

    def _said(self, start: int) -> str:
        """The end of what was printed since."""
        self._log.seek(max(start, os.fstat(self._log.fileno()).st_size - TAIL))
        return self._log.read().decode("utf-8", "replace")


class _Answers:
    """Lines of JSON from a pipe, read by a thread, so that one can stop waiting for them."""

    def __init__(self, pipe: TextIO) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe: TextIO) -> None:
        with pipe:
            for line in pipe:
                self._lines.put(line)
        self._lines.put("")

    def get(self, timeout: float) -> dict[str, Any]:
        """The next one; queue.Empty if there is none in time, EOFError if there will be none."""
        line = self._lines.get(timeout=timeout)
        if not line.endswith("\n"):  # the process has died, perhaps while it was writing
            raise EOFError
        return json.loads(line)


# ----------------------------------------------------------------------------------------------------- the report


class Report:
    """What is known so far; written to a file after each item.

    Attributes
    ----------
    figures : dict
        By section and item.
    """

    def __init__(self, folder: Path, **about: Any) -> None:
        self.folder, self.about = folder, about
        self.figures: dict[str, dict[str, dict[str, Any]]] = {}

    @property
    def device(self) -> str | None:
        """Its name, None while there is none."""
        return self.figures.get("device", {}).get("device", {}).get("name")

    @property
    def path(self) -> Path:
        """gpu-<device>.json."""
        return self.folder / f"gpu-{re.sub('[^a-z0-9]+', '-', (self.device or 'none').lower()).strip('-')}.json"

    def found(self, item: Item, update: dict[str, Any]) -> dict[str, Any]:
        """Add to the figures of an item; what is not finite is None, and a failure."""
        figures = self.figures.setdefault(item.section, {}).setdefault(item.name, {})
        for key, value in update.items():
            figures[key] = _finite(value)
            if figures[key] != value:
                figures["error"] = f"{key} is not finite: {value}"
        if figures.get("stopped") and "cpu_seconds" in figures:  # the device has done its part
            figures["note"] = figures.pop("error")
        if figures.get("ceiling") and figures.get("seconds"):
            rate = self.figures.get("ceilings", {}).get(figures["ceiling"], {}).get("rate")
            if rate:
                figures["share"] = figures["amount"] / figures["seconds"] / rate
        if figures.get("cpu_seconds") and figures.get("seconds"):
            figures["cpu_ratio"] = figures["cpu_seconds"] / figures["seconds"]
        figures["status"] = _status(figures)
        return figures

    def save(self) -> None:
        """Write the file, if there is a device."""
        if self.device is None:
            return
        written = self.path.with_suffix(".part")
        whole = {**self.about, "passed": not self.problems(), "problems": self.problems(), "figures": self.figures}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            written.replace(self.path)  # never half a file
        except OSError as error:
            print(f"The results cannot be written: {error}", file=sys.stderr)

    def problems(self) -> list[str]:
        """Names of what keeps the check from passing."""
        wrong = [
            _short(f"{name}: {figures.get('error') or figures.get('not_run') or figures['status']}")
            for section, found in self.figures.items()
            for name, figures in found.items()
            if figures["status"] != "passed"
            and not (figures["status"] == "not run" and figures.get("optional"))
            and not (figures.get("not_run") == NO_TIME and section not in CHECKS)
        ]
        return wrong + [f"{section}: not run" for section in CHECKS if section not in self.figures]


def _finite(value: Any) -> Any:
    """The same, with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _status(figures: dict[str, Any]) -> str:
    if "not_run" in figures:
        return "not run"
    return "failed" if "error" in figures or figures.get("passes") is False else "passed"


FORMATS = {
    "name": "{}",
    "summary": "{}",
    "angle": "angle {:.1e}",
    "error_of_values": "relative error {:.1e}",
    "same_predictions": "same predictions {:.4f}",
    "rate": "{:.3g} per second",
    "seconds": "{:.4g} s",
    "cold_seconds": "the first {:.4g} s",
    "share": "{:.0%} of the ceiling",
    "cpu_ratio": "{:.1f} times the CPU",
    "note": "the CPU's part was {}",
    "pool_peak": "pool {:.3g} bytes",
    "planned": "of {:.3g} planned",
    "not_run": "NOT RUN: {}",
    "error": "FAILED: {}",
}


def line(name: str, figures: dict[str, Any]) -> str:
    """One item as text."""
    failed = ["FAILED"] if figures["status"] == "failed" and "error" not in figures else []
    said = [text.format(figures[key]) for key, text in FORMATS.items() if figures.get(key) is not None]
    return _short(f"  {name}: " + ", ".join([*said, *failed]))


def _short(text: str) -> str:
    """One line, the start of a long one: the file has all of it."""
    first = text.partition("\n")[0][:WIDTH]
    return text if first == text else f"{first} ..."


def check(found: Generator[Item, dict[str, Any], None], report: Report, cpu_seconds: float, seconds: float) -> None:
    """Work on all items, print and save what each finds, and end in time."""
    start = time.monotonic()
    end = start + 0.97 * seconds  # the rest is for the start and the end of the processes
    worker, section, section_end = Worker(), "", end
    try:
        item = next(found)
        while True:
            now = time.monotonic()
            if item.section != section:
                section, section_end = item.section, now + SHARES.get(item.section, 1.0) * (end - now)
                print(section, flush=True)
            figures = report.found(item, {"optional": True} if item.optional else {})
            allowed = min(item.seconds, section_end - now)
            if allowed < 0.005 * seconds:
                report.found(item, {"not_run": NO_TIME})
            else:
                for update in worker.find(item, allowed, cpu_seconds > 0):
                    report.found(item, update)
                    report.save()
            if not figures.keys() - {"optional", "status"}:
                report.found(item, {"error": "it found nothing"})
            cpu_seconds -= figures.get("cpu_seconds") or 0.0
            print(line(item.name, figures), flush=True)
            report.save()
            if item.section == "device" and report.device is None:
                return
            item = found.send(figures)
    except StopIteration:
        pass
    finally:
        worker.stop()


def main(arguments: list[str] | None = None) -> int:
    """Run everything; 0 if it passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=SIZES, default="small", help="full: about an hour; tiny: whether it runs")
    parser.add_argument(
        "--seconds",
        type=float,
        help="the end of the whole; default: "
        + ", ".join(f"{sizes.seconds:.0f} ({name})" for name, sizes in SIZES.items()),
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    sizes = SIZES[options.sizes]
    seconds = options.seconds or sizes.seconds
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    report = Report(options.results, date=date, sizes=options.sizes, seconds=seconds)
    check(items(sizes), report, sizes.cpu_seconds, seconds)
    if report.device is None:
        figures = report.figures["device"]["device"]
        why = figures.get("error") or figures.get("not_run")
        print(f"No check was made: {why}", figures.get("traceback", ""), sep="\n", file=sys.stderr)
        return 1
    problems = report.problems()
    print("\n".join([f"{len(problems)} problems:", *problems]) if problems else "passed")
    print(f"written to {report.path}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
