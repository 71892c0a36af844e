"""``shallowda doctor``: what there is to compute with, and what would run where."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shallowda.commands import common
from shallowda.commands.common import FAILED, say_json

__all__ = ["doctor"]

_SIZES = ((2_000, 512), (20_000, 512), (200_000, 512), (2_000, 50_000))
_KERNELS = (None, "rbf")
_COMPONENTS = 30
_DEVELOPMENT = {"dev", "docs", "notebooks", "test"}  # extras for a checkout
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def doctor(as_json: common.AsJson = False) -> None:
    """Report versions, BLAS, threads, memory and GPU, what would run where, and what is broken.

    The exit status is 1 where something is broken: a package is too old, a setting is no number, or a small problem is
    not solved. A package of an extra that is not installed is not broken.
    """
    from threadpoolctl import threadpool_info

    from shallowda.bench.environment import environment

    found: dict[str, Any] = environment()
    extras, broken = _extras()
    found["threads"] = [
        {"library": entry["internal_api"], "version": entry["version"], "threads": entry["num_threads"]}
        for entry in threadpool_info()
    ]
    names = (*_VARIABLES, *(name for name in os.environ if name.startswith("SHALLOWDA_")))
    found["variables"] = {name: os.environ[name] for name in names if name in os.environ}
    found["extras"] = extras
    found["gpu"] = _gpu()
    found["memory"], found["plans"] = {}, []
    for check in (_memory, _plans, _self_test):
        try:
            found |= check()
        except (ArithmeticError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            broken.append(f"{check.__name__.strip('_').replace('_', ' ')}: {error}")
    found["broken"] = broken
    if as_json:
        say_json(found)
    else:
        _show(found)
    raise typer.Exit(FAILED if broken else 0)


def _extras() -> tuple[dict[str, dict[str, Any]], list[str]]:
    """For each extra, the versions of its packages and those that are missing; and what is too old."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires("shallowda") or ()]
    except PackageNotFoundError:
        return {}, []  # a source tree: it says nothing of what it needs
    extras: dict[str, dict[str, Any]] = {}
    broken = []
    for requirement in needed:
        text = str(requirement.marker or "")
        extra = text.partition("extra ==")[2].strip().strip("\"'")
        entry = extras.setdefault(extra, {"packages": {}, "missing": []})
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            entry["missing"].append(requirement.name)
            continue
        entry["packages"][requirement.name] = installed
        if not requirement.specifier.contains(installed, prereleases=True):
            broken.append(f"{requirement.name} {installed} is installed, and {requirement.specifier} is needed")
    core = extras.pop("", {"missing": []})
    broken += [f"{name} is not installed" for name in core["missing"]]
    return extras, list(dict.fromkeys(broken))


def _gpu() -> dict[str, Any]:
    from shallowda.kernels.planning import available_memory, cupy_problem

    problem = cupy_problem()
    return {"usable": problem is None, "problem": problem, "free": None if problem else available_memory("cupy")}


def _memory() -> dict[str, Any]:
    from shallowda.kernels.planning import available_memory, resolve_budget

    return {"memory": {"free": available_memory(), "budget": resolve_budget(None)}}


def _plans() -> dict[str, Any]:
    return {"plans": list(_planned())}


def _planned() -> Iterator[dict[str, Any]]:
    from shallowda.kernels.planning import plan

    for n, d in _SIZES:
        for kernel in _KERNELS:
            size = {"n": n, "d": d, "kernel": kernel, "k": _COMPONENTS}
            try:
                made = plan(n, d, kernel, _COMPONENTS, "float32")
            except MemoryError as error:
                yield size | {"problem": str(error)}
                continue
            yield size | {
                "operator": made.operator,
                "solver": made.solver,
                "backend": made.backend,
                "bytes": made.nbytes,
            }


def _self_test() -> dict[str, Any]:
    """A shift that JDA must undo."""
    import numpy as np

    from shallowda import JDA, pack_domains

    random = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    rows = [4 * np.eye(4)[y] + 0.5 * random.standard_normal((90, 4)) for _ in range(2)]
    X, marked, domains = pack_domains(rows[0], y, rows[1] + [1, 0, 0, 1])
    accuracy = JDA(3).fit(X, marked, sample_domain=domains).score(X[90:], y)
    if accuracy < 0.9:
        raise ValueError(f"JDA is right on {accuracy:.0%} of rows that are easily told apart")
    return {"self_test": accuracy}


def _show(found: dict[str, Any]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    grid = Table.grid(padding=(0, 2))
    for name, value in _facts(found):
        grid.add_row(name, escape(value))
    console.print(grid)
    extras = Table(title="Extras", title_justify="left", box=None)
    for head in ("extra", "missing", "to install"):
        extras.add_column(head)
    for name, entry in found["extras"].items():
        if name in _DEVELOPMENT:
            continue
        missing = ", ".join(entry["missing"])
        extras.add_row(name, missing or "nothing", escape(f'pip install "shallowda[{name}]"') if missing else "")
    console.print("", extras)
    plans = Table(title=f"What would run where (k = {_COMPONENTS}, float32)", title_justify="left", box=None)
    for head in ("rows", "features", "kernel", "operator", "solver", "backend", "memory"):
        plans.add_column(head, justify="right" if head in ("rows", "features", "memory") else "left")
    for made in found["plans"]:
        size = (str(made["n"]), str(made["d"]), made["kernel"] or "none (linear)")
        if "problem" in made:
            plans.add_row(*size, "too large for the memory")
        else:
            plans.add_row(*size, made["operator"], made["solver"], made["backend"], _size(made["bytes"]))
    console.print("", plans, "")
    for trouble in found["broken"]:
        console.print(f"Broken: {trouble}", markup=False, soft_wrap=True)
    if not found["broken"]:
        console.print("Nothing is broken.")


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "versions", ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    yield "machine", f"{found['cpu']}, {found['cores']} cores, {found['platform']}"
    threads = (f"{entry['library']} {entry['version']}: {entry['threads']} threads" for entry in found["threads"])
    yield "BLAS, OpenMP", ", ".join(threads)
    yield "set", ", ".join(f"{name}={value}" for name, value in found["variables"].items()) or "no variable"
    gpu = found["gpu"]
    yield "GPU", f"usable, {_size(gpu['free'])} free" if gpu["usable"] else f"not used: {gpu['problem']}"
    if memory := found["memory"]:
        yield "memory", f"{_size(memory['free'])} free, of which a fit takes {_size(memory['budget'])} at most"


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:.0f} MiB" if nbytes < 2**30 else f"{nbytes / 2**30:.1f} GiB"
