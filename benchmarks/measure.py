"""One measurement in a process of its own; `run.py` starts it with a job as JSON and reads the figures as JSON.

Time is that of the marked parts (fit, predict), after imports and a small warm-up of the same job, which starts the
threads and loads compiled code. Memory is the peak resident size beyond that of the warm process with the data in
place. The pages of a memory-mapped file are read once before, so they count as input and time is not that of the disk.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

import jobs
import numpy as np

_CLEAR = Path("/proc/self/clear_refs")  # Linux: writing 5 resets the peak
_STATUS = Path("/proc/self/status")
_WARM_ROWS, _WARM_COLUMNS = 310, 64
_ENOUGH = 2.0  # seconds: below, a job is repeated up to three times in its process


class Clock:
    """Seconds by name: ``with clock("fit"): ...``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str):
        """Add the seconds of the block."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def resident() -> tuple[float, float]:
    """Resident size now and its peak so far, in MiB. Away from Linux both are the peak."""
    if _STATUS.exists():
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    unit = 1024**2 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return peak, peak


def warm_rows(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A few rows of both domains, on the same side of d <= n as the data."""
    n, d = X.shape
    rows = np.unique(np.linspace(0, n - 1, min(n, _WARM_ROWS)).astype(int))
    columns = min(d, _WARM_COLUMNS if d <= n else 2 * _WARM_ROWS)
    return np.ascontiguousarray(X[rows, :columns]), y[rows]


def measure(job: dict) -> dict:
    """Figures of one job."""
    X = np.load(job["X"], mmap_mode="r" if job.get("mmap") else None)
    y = np.load(job["y"])
    work = getattr(jobs, job["kind"])
    small = np.random.default_rng(0).standard_normal((512, 512)).astype(X.dtype)
    small @ small  # every thread of the BLAS
    if job.get("warm", True):
        work(*warm_rows(X, y), clock=Clock(), **job["args"])
    if job.get("mmap"):
        for start in range(0, len(X), 50_000):
            X[start : start + 50_000].max()
    before, _ = resident()
    if _CLEAR.exists():
        _CLEAR.write_text("5")
    runs: list[dict[str, float]] = []
    figures: dict = {}
    while not runs or (len(runs) < 3 and sum(sum(run.values()) for run in runs) < _ENOUGH):
        clock = Clock()
        extra = work(X, y, clock=clock, **job["args"]) or {}
        runs.append(clock.seconds)
        if not figures:
            peak = resident()[1]
            figures = {"memory_mib": max(0.0, peak - before), "process_mib": peak, **extra}
    for part in runs[0]:
        figures[f"{part}_s"] = float(np.median([run[part] for run in runs]))
    if runs[0]:
        figures["seconds"] = float(np.median([sum(run.values()) for run in runs]))
    return figures


def main() -> None:
    """Read the job from the command line; print figures, or the error."""
    warnings.simplefilter("ignore")
    try:
        figures = measure(json.loads(sys.argv[1]))
    except Exception as error:
        traceback.print_exc()
        figures = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
