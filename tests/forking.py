"""What scripts of tests need to work in a forked child."""

#: Python text that defines ``in_child(work)``: it calls a function in a child, and fails if that fails.
IN_CHILD = """
import os, signal

def in_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(300)  # ends a child that waits for ever
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
"""
