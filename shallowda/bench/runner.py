"""Run what is missing of a benchmark, each cell in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs

from shallowda.bench.cells import Cell, plan
from shallowda.bench.config import Benchmark, Limits
from shallowda.bench.environment import environment
from shallowda.bench.store import Store

__all__ = ["pending", "run"]

_GRACE = 10  # seconds after which a process that outlived its own timer is killed from outside
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_TIME_IS_UP = -getattr(signal, "SIGALRM", 14)
_ALLOCATION = re.compile(r"memory allocation|bad_alloc|out of memory|cannot allocate memory", re.IGNORECASE)


def pending(
    cells: Iterable[Cell], done: Mapping[str, Mapping[str, Any]], limits: Limits, retry_failed: bool
) -> list[Cell]:
    """Cells that a run still has to do.

    Parameters
    ----------
    cells : iterable of Cell
    done : dict of str to dict
        Results by key.
    limits : Limits
        A cell that ran out of a lower limit is tried again.
    retry_failed : bool
        Whether everything that is not ok is tried again.

    Returns
    -------
    cells : list of Cell
        One for each key. Those without data are not among them.
    """
    raised = {"timeout": ("seconds", limits.seconds), "memory": ("memory", limits.memory)}

    def again(result: Mapping[str, Any] | None) -> bool:
        if result is None or result["status"] == "skipped":
            return True
        if result["status"] in raised:
            name, limit = raised[result["status"]]
            if result["limits"][name] < limit:
                return True
        return retry_failed and result["status"] != "ok"

    return list({cell.key: cell for cell in cells if not cell.missing and again(done.get(cell.key))}.values())


def run(
    benchmark: Benchmark,
    out: str | Path,
    *,
    n_jobs: int = 1,
    only: str = "",
    retry_failed: bool = False,
    command: str = "",
    begin: Callable[[Sequence[Cell]], None] | None = None,
    each: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run every cell of a benchmark whose result is not in the folder yet.

    Parameters
    ----------
    benchmark : Benchmark
    out : path-like
        Folder of ``results.jsonl``; made if it does not exist. Results are appended as they come.
    n_jobs : int, default=1
        Cells at a time, as joblib counts. More than one: each has one thread for BLAS.
    only : str, default=""
        Run the cells whose `Cell.label` holds this text.
    retry_failed : bool, default=False
        Try again what failed before.
    command : str, default=""
        Kept with the results.
    begin : callable, optional
        Called with the cells to run.
    each : callable, optional
        Called with each result.

    Returns
    -------
    results : dict of str to dict
        Result by `Cell.key`, of this and of earlier runs.

    Raises
    ------
    ValueError
        If the benchmark names a data set or a domain that does not exist.
    RuntimeError
        If another process uses the folder, or cells' processes cannot be started.
    OSError
        If results cannot be written. What was written before stays.
    """
    cells = plan(benchmark, only=only)
    n_jobs = effective_n_jobs(n_jobs)
    with Store(out) as store:
        for cell in cells:
            before = store.cells.get(cell.key, {"status": "skipped", "message": ""})
            if cell.missing and before["status"] == "skipped" and before["message"] != cell.missing:
                store.append(_named(cell) | {"status": "skipped", "message": cell.missing})
        todo = pending(cells, store.cells, benchmark.limits, retry_failed)
        if begin is not None:
            begin(todo)
        if todo:
            about = {
                "kind": "run",
                "run": uuid.uuid4().hex[:8],
                "started": _now(),
                "command": command,
                "jobs": n_jobs,
                "environment": environment(),
                "benchmark": asdict(benchmark),
            }
            store.append(about)
            with closing(_results(todo, benchmark.limits, n_jobs)) as results:
                for record in results:
                    store.append(record | {"run": about["run"]})
                    if each is not None:
                        each(record)
        return store.cells


def _named(cell: Cell) -> dict[str, Any]:
    return {
        "kind": "cell",
        "key": cell.key,
        "task": cell.task,
        "source": "+".join(cell.source),
        "target": cell.target,
        "method": cell.method,
        "trial": cell.trial,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _results(cells: Sequence[Cell], limits: Limits, n_jobs: int) -> Generator[dict[str, Any]]:
    """Results as they come; when the caller stops asking, or is interrupted, all processes die."""
    servers = _Servers(limits, one_thread=n_jobs > 1)
    parallel = Parallel(n_jobs, backend="threading", return_as="generator_unordered", pre_dispatch=n_jobs, batch_size=1)
    records = parallel(delayed(servers.run)(cell) for cell in cells)
    try:
        for record in records:
            if record is not None:
                yield record
    finally:
        servers.close()
        for _ in records:  # what is left returns at once, and joblib has nothing to warn of
            pass


class _Servers:
    """The servers behind a run: as many as cells run at a time, each replaced when it dies."""

    def __init__(self, limits: Limits, one_thread: bool) -> None:
        self._limits = limits
        self._one_thread = one_thread
        self._idle: list[_Server] = []
        self._busy: set[_Server] = set()
        self._lock = threading.Lock()
        self._closed = False

    def run(self, cell: Cell) -> dict[str, Any] | None:
        """The result of a cell; None once closed."""
        server = self._take()
        if server is None:
            return None
        request = {"work": cell.work, "seconds": self._limits.seconds, "memory": self._limits.memory}
        try:
            answer = server.ask(request, self._limits.seconds + _GRACE)
        except BaseException:
            server.end()
            raise
        with self._lock:
            if self._closed:
                server.end()
                return None
            self._busy.discard(server)
            self._idle.append(server)
        return _named(cell) | {"limits": asdict(self._limits), "finished": _now()} | _read(answer, self._limits)

    def _take(self) -> _Server | None:
        with self._lock:
            while not self._closed:
                server = self._idle.pop() if self._idle else _Server(self._one_thread)
                if server.alive:
                    self._busy.add(server)
                    return server
                server.end()
        return None

    def close(self) -> None:
        """Kill all processes; whoever waits for one returns."""
        with self._lock:
            self._closed = True
            for server in self._busy:
                server.kill()
            for server in self._idle:
                server.end()


class _Server:
    """A process of `shallowda.bench.worker`."""

    def __init__(self, one_thread: bool) -> None:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        threads = dict.fromkeys(_THREADS, "1") if one_thread else {}
        self._ready = self._killed = False
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "shallowda.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=os.environ | threads | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is the runner's to handle; and one signal reaches all that a cell started
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self._killed and self._process.poll() is None

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a request; what became of the process if there is none."""
        if not self._ready:
            self._ready = self._answers.readline() == "ready\n"
            if not self._ready and not self._killed:
                raise RuntimeError(f"The process for the cells does not start: {self._printed() or 'it says nothing.'}")
        timer = threading.Timer(seconds, self.kill)
        timer.start()
        try:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
            line = self._answers.readline()
        except OSError:  # it died before it was asked
            line = ""
        finally:
            timer.cancel()
        if line.endswith("\n"):
            answer = json.loads(line)
            if answer["last"]:
                self._process.wait()
            return answer
        late = self._killed
        self.kill()
        code = _TIME_IS_UP if late else self._process.wait()
        return {"result": None, "code": code, "peak_memory": None, "printed": self._printed()}

    def _printed(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace").strip()

    def kill(self) -> None:
        """Kill the process and all that it started."""
        self._killed = True
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def end(self) -> None:
        """`kill`, and close all that belongs to the process."""
        self.kill()
        self._process.wait()
        with suppress(OSError):  # what was not sent yet
            self._requests.close()
        self._answers.close()
        self._said.close()


def _read(answer: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """What is kept of an answer."""
    result = answer["result"] or _without_result(answer["code"], answer["printed"].strip(), limits)
    return {**result, "peak_memory": answer["peak_memory"]}


def _without_result(code: int, printed: str, limits: Limits) -> dict[str, Any]:
    """Why a process ended that was not done."""
    if code == _TIME_IS_UP:
        return {"status": "timeout", "message": f"not done within {limits.seconds:g} seconds"}
    if _ALLOCATION.search(printed):
        return {"status": "memory", "message": printed.splitlines()[-1]}
    how = f"exit code {code}" if code >= 0 else f"signal {-code}"
    with suppress(ValueError):
        how = signal.Signals(-code).name
    hint = " (the system does this when memory is short)" if how == "SIGKILL" else ""
    return {"status": "failed", "message": f"the process ended by {how}{hint}. {printed}".strip()}
