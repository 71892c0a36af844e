"""Methods x tasks x trials: run durably, each cell within limits of time and memory, and reported.

The command line is ``shallowda bench``. It needs ``pip install "shallowda[bench]"``.
"""

from shallowda.bench.cells import Cell, generators, plan
from shallowda.bench.config import (
    Benchmark,
    Limits,
    Method,
    Published,
    Task,
    load_config,
    load_preset,
    presets,
)
from shallowda.bench.models import build
from shallowda.bench.report import write_report
from shallowda.bench.runner import pending, run
from shallowda.bench.steps import STEPS
from shallowda.bench.store import read_results
from shallowda.bench.summary import summarise

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
