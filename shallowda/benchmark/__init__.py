"""Methods x tasks x trials: run durably, each cell within limits of time and memory, and reported.

The command line is ``shallowda bench``. It needs ``pip install "shallowda[bench]"``.
"""

from shallowda.benchmark.cells import Cell, generators, plan
from shallowda.benchmark.config import (
    Benchmark,
    Limits,
    Method,
    Published,
    Task,
    load_config,
    load_preset,
    presets,
)
from shallowda.benchmark.models import build
from shallowda.benchmark.report import summarise, write_report
from shallowda.benchmark.runner import pending, run
from shallowda.benchmark.steps import STEPS
from shallowda.benchmark.store import read_results

__all__ = [
    "STEPS",
    "Benchmark",
    "Cell",
    "Limits",
    "Method",
    "Published",
    "Task",
    "build",
    "generators",
    "load_config",
    "load_preset",
    "pending",
    "plan",
    "presets",
    "read_results",
    "run",
    "summarise",
    "write_report",
]
