"""Work on parts of a range, on the threads that BLAS may use; and what becomes of threads when a process is forked."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["in_threads", "numba_threads_lost", "one_blas_thread", "parts"]

_lock = threading.Lock()
_limits: Any = None  # of the use of `one_blas_thread` that has set them
_outside = 1  # threads that BLAS has when there is none


def _release_in_child() -> None:
    """In a child that was just forked: whoever has set limits does not go on here, so they are restored."""
    global _limits
    _lock.release()
    if _limits is not None:
        _limits.restore_original_limits()
        _limits = None


if hasattr(os, "register_at_fork"):  # a child must not inherit a lock that a thread of its parent holds
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_release_in_child)

_numba_lost = False


def _look_for_numba() -> None:
    """In a child that was just forked: whether its parent had Numba's threads. Any program may have started them."""
    global _numba_lost
    if "numba" in sys.modules:  # a release that has no such name may have started them
        _numba_lost = bool(getattr(sys.modules.get("numba.np.ufunc.parallel"), "_is_initialized", True))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look_for_numba)


def numba_threads_lost() -> bool:
    """Whether this process was forked from one with Numba's threads, so that it must not ask Numba for threads."""
    return _numba_lost


def parts(length: int, step: int) -> list[slice]:
    """Slices of `step` that cover a length; one empty slice for length 0."""
    return [slice(start, min(start + step, length)) for start in range(0, max(length, 1), step)]


def in_threads(work: Callable[[slice], None], length: int, step: int, *, worthwhile: bool = True) -> None:
    """Do parts of at most `step` on as many threads as BLAS may use, each with single-threaded BLAS.

    Parameters
    ----------
    work : callable
        Takes a slice; NumPy's error state is a matter of each thread.
    length, step : int
    worthwhile : bool, default=True
        Whether there is enough work for more than one thread.
    """
    if not worthwhile:
        for part in parts(length, step):
            work(part)
        return
    with one_blas_thread() as threads, ThreadPoolExecutor(threads) as pool:
        rounds = max(1, math.ceil(length / (threads * step)))
        list(pool.map(work, parts(length, max(1, math.ceil(length / (threads * rounds))))))


@contextmanager
def one_blas_thread() -> Iterator[int]:
    """Context in which BLAS computes on one thread; gives the number of threads that it has outside.

    On small matrices more threads lose time: each call waits for all of them, NumPy's and SciPy's BLAS have threads
    of their own that stay awake after a call and take the cores from each other's, and on a busy machine one that has
    to wait holds up the rest.

    The number belongs to the process, not to a thread of it, and recent releases of threadpoolctl let one thread of a
    program change it and ignore the others. So the use that has set it restores it when it leaves; those inside it,
    and those that overlap with it in other threads, change nothing.
    """
    global _limits, _outside
    mine = None
    with _lock:
        if _limits is None:
            blas = _blas()
            _outside = max((library.get_num_threads() for library in blas.lib_controllers), default=1)
            _limits = mine = blas.limit(limits=1)
    try:
        yield _outside
    finally:
        with _lock:
            if mine is not None and _limits is mine:  # not in a child that was forked inside
                mine.restore_original_limits()
                _limits = None


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of NumPy and SciPy: looking for them takes milliseconds."""
    import scipy.linalg  # noqa: F401  which loads its library

    return ThreadpoolController().select(user_api="blas")
