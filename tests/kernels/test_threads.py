"""Threads of BLAS: set while something is computed, and afterwards as before."""

import os
import subprocess
import sys
import threading

import pytest
from forking import IN_CHILD
from threadpoolctl import threadpool_info, threadpool_limits

from shallowda.kernels.threads import in_threads, one_blas_thread


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def _two_threads():
    """What a process with two cores begins with, whatever this one has."""
    with threadpool_limits(2, user_api="blas"):
        assert set(blas_threads()) == {2}
        yield
        assert set(blas_threads()) == {2}


def test_one_inside_and_as_before_outside():
    with one_blas_thread() as outside:
        assert outside == 2
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {2}


def test_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        1 / 0  # noqa: B018
    assert set(blas_threads()) == {2}


@pytest.mark.parametrize("worker_first", [True, False])
def test_uses_that_overlap(worker_first):
    """Two threads of a program, the first of which leaves first."""
    worker_is_in, worker_leaves, worker_left = threading.Event(), threading.Event(), threading.Event()

    def use():
        with one_blas_thread():
            worker_is_in.set()
            worker_leaves.wait(60)
        worker_left.set()

    worker = threading.Thread(target=use)
    if worker_first:
        worker.start()
        assert worker_is_in.wait(60)
    with one_blas_thread() as outside:
        assert outside == 2
        if not worker_first:
            worker.start()
            assert worker_is_in.wait(60)
            assert set(blas_threads()) == {1}
        else:
            worker_leaves.set()
            assert worker_left.wait(60)
    worker_leaves.set()
    worker.join()
    assert set(blas_threads()) == {2}
    with one_blas_thread():
        assert set(blas_threads()) == {1}


def test_parts_use_the_threads_that_there_are_outside():
    meeting = threading.Barrier(2, timeout=60)  # passed by two at a time only
    seen = []

    def work(part):
        meeting.wait()
        seen.append((part.start, part.stop, set(blas_threads()) == {1}))

    with one_blas_thread():
        in_threads(work, 4, 2)
    assert sorted(seen) == [(0, 2, True), (2, 4, True)]


FORKING = """
import threading
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits
from shallowda.kernels.threads import one_blas_thread

def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

def anew():
    assert blas_threads() == {2}, blas_threads()
    with one_blas_thread() as outside:
        assert (outside, blas_threads()) == (2, {1})
    assert blas_threads() == {2}

def leave():
    context.__exit__(None, None, None)
    anew()

threadpool_limits(2, user_api="blas")
inside, leaving = threading.Event(), threading.Event()

def stay():
    with one_blas_thread():
        inside.set()
        leaving.wait(300)

other = threading.Thread(target=stay, daemon=True)
other.start()
inside.wait(300)
in_child(anew)  # forked while another thread is inside
context = one_blas_thread()
context.__enter__()
in_child(leave)  # and while this one is
context.__exit__(None, None, None)
leaving.set()
other.join()
anew()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_the_threads_that_there_are_outside():
    subprocess.run([sys.executable, "-c", IN_CHILD + FORKING], check=True, timeout=600)
