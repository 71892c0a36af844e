"""Results on disk: one JSON line each, safe against being killed at any moment."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Store", "read_results"]

logger = logging.getLogger("shallowda")


def read_results(path: str | Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Runs and cells of a results file.

    Parameters
    ----------
    path : path-like
        ``results.jsonl``, which need not exist.

    Returns
    -------
    runs : list of dict
    cells : dict of str to dict
        By key; of several results for one key the last.

    Notes
    -----
    Lines that are not results are passed over with a warning in the log: their cells run again.
    """
    path = Path(path)
    runs, cells = [], {}
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content.splitlines(), 1):
        try:
            record = json.loads(line)
            if record["kind"] == "run":
                runs.append(record | {"run": str(record["run"])})
            else:
                cells[record["key"]] = record | {"status": str(record["status"])}
        except (ValueError, KeyError, TypeError, RecursionError):
            logger.warning("%s: line %d is not a result and is passed over", path, number)
    return runs, cells


class Store:
    """The results file of a folder, held by one process at a time.

    Parameters
    ----------
    folder : path-like
        Made if it does not exist.

    Attributes
    ----------
    path : Path
        ``results.jsonl`` in the folder.
    runs : list of dict
    cells : dict of str to dict
        Last result by key.

    Notes
    -----
    A line is on the disk when `append` returns. A process that is killed leaves at most the beginning of a line, which
    the next one cuts off. The lock is the operating system's: it ends with the process that holds it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "results.jsonl"

    def __enter__(self) -> Store:
        """Lock, repair and read the file.

        Returns
        -------
        self : Store

        Raises
        ------
        RuntimeError
            If another process holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.path.with_suffix(".lock"))
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self._cut_torn_line()
        self.runs, self.cells = read_results(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        self._lock.release()

    def _cut_torn_line(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            logger.warning("%s: the last line is incomplete and is cut off; its cell runs again", self.path)
            os.ftruncate(self._file, whole)
        os.lseek(self._file, whole, os.SEEK_SET)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record, and wait until it is on the disk.

        Parameters
        ----------
        record : dict
            With ``kind``; a cell with ``key``.

        Raises
        ------
        OSError
            If it cannot be written, as on a full disk. What was written before stays whole.
        """
        line = memoryview(json.dumps(record).encode() + b"\n")
        start = os.lseek(self._file, 0, os.SEEK_CUR)
        try:
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, start)
            os.lseek(self._file, start, os.SEEK_SET)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        if record["kind"] == "run":
            self.runs.append(dict(record))
        else:
            self.cells[record["key"]] = dict(record)


def _locked(path: Path) -> Any:
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise ImportError("Running a benchmark needs filelock: pip install shallowda[bench]") from error
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(f"{path.parent} is in use by another run; let it end, or choose another folder.") from None
    return lock
