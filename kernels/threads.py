"""Work on parts of a range, on the threads that BLAS may use; and what becomes of threads when a process is forked."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["in_threads", "numba_threads_lost", "parts"]

_one_at_a_time = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child must not inherit a lock that a thread of its parent holds
    release = _one_at_a_time.release
    os.register_at_fork(before=_one_at_a_time.acquire, after_in_parent=release, after_in_child=release)

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

    The number of BLAS threads belongs to the process, so only one call at a time may change and restore it.

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
    with _one_at_a_time:
        blas = _blas()
        threads = max((library["num_threads"] for library in blas.info()), default=1)
        rounds = max(1, math.ceil(length / (threads * step)))
        with blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, parts(length, max(1, math.ceil(length / (threads * rounds))))))


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries that are loaded by now, NumPy's among them: looking for them takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")
