"""One cell in a process of its own: what runs inside it, and the server that makes these processes.

The server (``python -m shallowda.bench.worker``) imports the library once and forks for every cell, so that a cell
begins in milliseconds with nothing but imports in its memory. It reads a line of JSON for each cell and answers with
another. The kernel enforces the limits of the forked process: a timer that ends it, and a bound on its writable memory.
Where there is no fork the server runs one cell itself and ends.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import traceback
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import IO, Any

import numpy as np
from sklearn.pipeline import Pipeline

from shallowda.bench.cells import load
from shallowda.bench.environment import versions
from shallowda.bench.models import build, estimators, seeded
from shallowda.bench.steps import preprocess
from shallowda.core.enclosing import accepts_domains
from shallowda.domains import pack_domains

__all__ = ["run_cell", "serve"]

if sys.platform != "win32":
    import resource

_LISTED = 10  # warnings of a cell that are kept
_PRINTED = 2000  # bytes at the end of what a cell printed


def run_cell(work: Mapping[str, Any]) -> dict[str, Any]:
    """Load, prepare, fit, predict and score one cell, in this process.

    The target's labels are used for nothing but the score.

    Parameters
    ----------
    work : dict
        `Cell.work`.

    Returns
    -------
    result : dict
        ``status`` is ok, failed, memory or skipped (data not at hand); figures where it is ok, else ``message``.
    """
    logged = _Logged()
    with warnings.catch_warnings(record=True) as caught, logged:
        warnings.simplefilter("always")
        try:
            result = {"status": "ok", **_figures(work)}
        except _NoData as error:
            result = {"status": "skipped", "message": str(error)}
        except MemoryError as error:
            result = {"status": "memory", "message": str(error) or "out of memory"}
        except Exception as error:
            result = {
                "status": "failed",
                "message": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(),
            }
    texts = dict.fromkeys([*(f"{entry.category.__name__}: {entry.message}" for entry in caught), *logged.texts])
    return {**result, "warnings": list(texts)[:_LISTED], "versions": versions()}


class _Logged(logging.Handler):
    """Collects what this package warns of in its log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.texts.append(record.getMessage())

    def __enter__(self) -> None:
        logging.getLogger("shallowda").addHandler(self)

    def __exit__(self, *error: object) -> None:
        logging.getLogger("shallowda").removeHandler(self)


class _NoData(Exception):
    """A file of the data set is not at hand."""


def _figures(work: Mapping[str, Any]) -> dict[str, Any]:
    Xs, ys, Xt, yt = _rows(work)
    model = seeded(build(work["model"]), work["trial"])
    X, y, domains = pack_domains(Xs, ys, Xt)
    start = perf_counter()
    model.fit(X, y, **_domain_arguments(model, domains))
    fitted = perf_counter()
    predicted = model.predict(Xt)
    done = perf_counter()
    right = np.asarray(predicted) == yt
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[yt == label].mean() for label in np.unique(yt)])),
        "fit_seconds": fitted - start,
        "predict_seconds": done - fitted,
        "n_source": sum(map(len, Xs)),
        "n_target": len(Xt),
        "n_features": Xt.shape[1],
        "n_classes": len(np.unique(y[domains >= 0])),
        "data": f"{_checksum(X, y, yt):08x}",
    }


def _checksum(*arrays: np.ndarray) -> int:
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array).data, value)
    return value


def _rows(work: Mapping[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    """Prepared rows and labels of the sources, one by one, and of the target."""
    names = [*work["source"], work["target"]]
    try:
        dataset = load(work["dataset"], work["options"], work["trial"], names)
    except (OSError, ImportError) as error:
        raise _NoData(str(error)) from error
    rows, labels = map(list, zip(*map(dataset.domain, names), strict=True))
    sizes = list(map(len, rows))
    domains = np.repeat([*range(len(names) - 1), -1], sizes)
    X = preprocess(work["steps"], np.concatenate(rows), domains)
    kept = [_draw(y, name, work) for name, y in zip(names, labels, strict=True)]
    rows = [part[chosen] for part, chosen in zip(np.split(X, np.cumsum(sizes)[:-1]), kept, strict=True)]
    labels = [y[chosen] for y, chosen in zip(labels, kept, strict=True)]
    return rows[:-1], labels[:-1], rows[-1], labels[-1]


def _draw(y: np.ndarray, name: str, work: Mapping[str, Any]) -> np.ndarray:
    """Numbers of the rows of a domain that take part, in order; of a class with too few, all."""
    per_class = work["sample"].get("target_per_class" if name == work["target"] else "source_per_class")
    if isinstance(per_class, Mapping):
        per_class = per_class.get(name)
    if per_class is None:
        return np.arange(len(y))
    rng = np.random.default_rng([work["trial"], zlib.crc32(name.encode())])
    rows = [rng.permutation(np.flatnonzero(y == label))[:per_class] for label in np.unique(y)]
    return np.sort(np.concatenate(rows))


def _domain_arguments(model: Any, domains: np.ndarray) -> dict[str, np.ndarray]:
    if accepts_domains(model, "fit"):
        return {"sample_domain": domains}
    steps = model.steps if isinstance(model, Pipeline) else []
    return {f"{name}__sample_domain": domains for name, step in steps if accepts_domains(step, "fit")}


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until there are no more.

    Parameters
    ----------
    requests : text stream
        A line holds ``work`` of a `Cell`, ``seconds`` and ``memory``. The next may come when the last is answered.
    answers : text stream
        A line holds the ``result`` of `run_cell` (null if the process ended before), the exit ``code`` (negative: the
        signal that ended it), ``peak_memory`` in bytes, the end of what was ``printed``, and whether
        this answer is the ``last``. Before the first there is a line "ready".
    """
    answer = _in_fork if hasattr(os, "fork") else _here
    print("ready", file=answers, flush=True)
    for line in iter(requests.readline, ""):
        print(json.dumps(answer(json.loads(line), answers)), file=answers, flush=True)
        if answer is _here:
            return


def _here(request: Mapping[str, Any], answers: IO[str]) -> dict[str, Any]:
    return {"result": run_cell(request["work"]), "code": 0, "peak_memory": None, "printed": "", "last": True}


def _in_fork(request: Mapping[str, Any], answers: IO[str]) -> dict[str, Any]:
    inlet, outlet = os.pipe()
    with tempfile.TemporaryFile() as printed:
        with warnings.catch_warnings():
            # BLAS keeps threads, and takes care of forks itself; nothing else has run in this process
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
        if process == 0:
            try:
                os.close(inlet)
                os.close(answers.fileno())  # when the server dies its answers end, whether this process lives or not
                _bind(request["seconds"], request["memory"], printed.fileno())
                with os.fdopen(outlet, "w") as report:
                    report.write(json.dumps(run_cell(request["work"])))
                os._exit(0)
            except MemoryError:  # even for what there is to say
                os.write(2, b"out of memory")
            finally:  # whatever happens, this process does not go on as a second server
                os._exit(1)
        os.close(outlet)
        with os.fdopen(inlet) as report:
            written = report.read()
        _, status, usage = os.wait4(process, 0)
        printed.seek(max(0, printed.seek(0, os.SEEK_END) - _PRINTED))
        return {
            "result": json.loads(written) if written.endswith("}") else None,
            "code": os.waitstatus_to_exitcode(status),
            "peak_memory": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "printed": printed.read().decode(errors="replace"),
            "last": False,
        }


def _bind(seconds: float, memory: int, printed: int) -> None:
    """Bind the process of a cell to its limits, to its server's life, and its prints to a file."""
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends the process, whatever it is doing
    # before memory is bound: a thread that finds none for itself is waited for in vain
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    if sys.platform == "linux":  # elsewhere this bound does not hold
        if memory < _writable():  # native code that finds none at all may crash instead of saying so
            raise MemoryError
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def _writable() -> int:
    """Bytes of writable memory that this process has already."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return 1024 * int(status.partition("VmData:")[2].split()[0])


def _end_with(requests: int) -> None:
    """End this process when the runner has gone: nothing is sent while a cell runs, so reading only sees the end."""
    os.read(requests, 1)
    os._exit(1)


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is printed is no answer
    estimators()  # before the forks, once for all of them
    serve(sys.stdin, answers)


if __name__ == "__main__":
    _main()
