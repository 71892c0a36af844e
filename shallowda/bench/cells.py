"""Cells: one method on one pair of domains, once. What there is to run, and the key under which a result is kept."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import permutations
from pathlib import Path
from typing import Any

from shallowda import __version__, datasets
from shallowda.bench.config import Benchmark, Task, one_of
from shallowda.datasets.store import known_domains, obtain, registry

__all__ = ["Cell", "generators", "load", "plan"]

_FORMAT = 2  # of keys: another number, and nothing kept is recognised


@dataclass(frozen=True)
class Cell:
    """One method on one pair of domains, once.

    Attributes
    ----------
    task, method : str
        Names.
    source : tuple of str
    target : str
    trial : int
        From 0.
    work : dict
        All that decides the result, as plain JSON.
    contents : dict
        Of the files that the task names: what is in them counts, not where they lie.
    missing : str
        Why it cannot run here; empty where it can.
    """

    task: str
    method: str
    source: tuple[str, ...]
    target: str
    trial: int
    work: Mapping[str, Any]
    contents: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""

    @property
    def pair(self) -> str:
        """``source->target``, several sources joined by ``+``."""
        return f"{'+'.join(self.source)}->{self.target}"

    @property
    def label(self) -> str:
        """Task, pair, method and trial, for people."""
        return f"{self.task} {self.pair} {self.method} #{self.trial}"

    @property
    def key(self) -> str:
        """Hash of all that decides the result, but not of what things are called."""
        decides = {**self.work, "dataset": self.contents or self.work["dataset"]}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]


def plan(benchmark: Benchmark, *, only: str = "", fetch: bool = True) -> list[Cell]:
    """Every cell of a benchmark: pair by pair, all methods on it, trial by trial.

    Parameters
    ----------
    benchmark : Benchmark
    only : str, default=""
        Only the cells whose label holds this text; case does not matter.
    fetch : bool, default=True
        Whether files that are not at hand are downloaded, unless the task's options say otherwise.

    Returns
    -------
    cells : list of Cell

    Raises
    ------
    ValueError
        If a data set, a generator or a domain does not exist.
    """
    downloads = _Downloads(fetch)
    return [cell for task in benchmark.tasks for cell in _of_task(task, benchmark, only.lower(), downloads)]


@dataclass
class _Downloads:
    """Whether files are still downloaded: not after an attempt that had no answer, as each takes its time to fail."""

    allowed: bool
    stopped: bool = False


def _of_task(task: Task, benchmark: Benchmark, only: str, downloads: _Downloads) -> Iterator[Cell]:
    names = _domains(task)
    pairs: Iterable[Any] = permutations(names, 2) if task.pairs == "all" else task.pairs
    absence = cache(partial(_absence, task, downloads))
    content = cache(partial(_content, task))
    for sources, target in pairs:
        source = (sources,) if isinstance(sources, str) else tuple(sources)
        domains = (*source, target)
        for name in domains:
            one_of(name, names, f"task {task.name!r}: the domain")
        if len(set(domains)) < len(domains):
            raise ValueError(f"task {task.name!r}: the domains of a pair must differ; got {', '.join(domains)}.")
        for trial in range(benchmark.trials):
            for method in benchmark.methods:
                if method.datasets is not None and task.name not in method.datasets:
                    continue
                work = {
                    "dataset": task.dataset,
                    "options": task.options,
                    "sample": task.sample,
                    "source": source,
                    "target": target,
                    "trial": trial,
                    "steps": [*task.preprocess, *method.steps],
                    "model": method.model,
                    "shallowda": __version__,
                    "format": _FORMAT,
                }
                cell = Cell(task.name, method.name, source, target, trial, work)
                if only in cell.label.lower():
                    reasons = sorted(set(filter(None, map(absence, domains))))
                    contents = {name: content(name) for name in domains} if _has_files(task) else {}
                    yield replace(cell, contents=contents, missing="; ".join(reasons))


def generators() -> dict[str, Any]:
    """Functions of `shallowda.datasets` that make a data set: those whose name begins with ``make_``.

    Returns
    -------
    generators : dict of str to callable
    """
    made = {name: getattr(datasets, name) for name in datasets.__all__ if name.startswith("make_")}
    # printed digits are rows and labels of one domain, for a user to pair
    return {name: make for name, make in made.items() if _annotated(make) == "DomainDataset"}


def _annotated(function: Any) -> str:
    return str(inspect.signature(function).return_annotation)


def load(
    dataset: str | Mapping[str, Any], options: Mapping[str, Any], trial: int, domains: Sequence[str] | None
) -> Any:
    """The data set of a task.

    Parameters
    ----------
    dataset : str or dict
        As `Task.dataset`.
    options : dict
    trial : int
        Seeds a generator that is not seeded by its options.
    domains : list of str or None
        Which domains are needed; None for all. Generators make all of them.

    Returns
    -------
    dataset : shallowda.datasets.DomainDataset

    Raises
    ------
    ValueError, TypeError
        If the data or the options are not right.
    OSError
        If a file is not there and cannot be had.
    """
    if isinstance(dataset, Mapping):
        paths = dataset["files"]
        return datasets.load_feature_files({name: paths[name] for name in domains or paths}, **options)
    if dataset in generators():
        make = generators()[dataset]
        seed = {"random_state": trial} if "random_state" in inspect.signature(make).parameters else {}
        return make(**(seed | dict(options)))
    return datasets.DATASETS[dataset](**{**options, "domains": domains})


def _domains(task: Task) -> list[str]:
    """Every domain of the task's data set, at hand or not."""
    if isinstance(task.dataset, Mapping):
        return list(task.dataset["files"])
    one_of(task.dataset, [*datasets.DATASETS, *generators()], f"task {task.name!r}: the data set")
    try:
        if task.dataset in generators():
            return list(load(task.dataset, task.options, 0, None).domain_names)
        key, arguments = _registered(task.dataset, task.options)
    except (TypeError, ValueError, MemoryError) as error:
        raise ValueError(f"task {task.name!r}: {error}") from error
    one_of(key, list(registry()), f"task {task.name!r}: the data set")
    try:
        datasets.available_domains(task.dataset, **task.options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"task {task.name!r}: {error}") from error
    known = known_domains(key)
    wanted = arguments["domains"]
    names = list(known) if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        one_of(name, known, f"task {task.name!r}: the domain")
    return names


def _absence(task: Task, downloads: _Downloads, name: str) -> str:
    """Why a domain is not at hand; empty where it is, or has been downloaded."""
    if isinstance(task.dataset, Mapping):
        path = _path(task.dataset["files"][name])
        return "" if path.is_file() else f"there is no file {path}"
    if task.dataset in generators() or name in datasets.available_domains(task.dataset, **task.options):
        return ""
    fetch = downloads.allowed and not downloads.stopped
    options = task.options if fetch else {**task.options, "download_if_missing": False}
    try:
        load(task.dataset, options, 0, [name])
    except (OSError, ImportError, ValueError) as error:
        cause = error.__cause__
        if fetch and isinstance(cause, OSError) and getattr(cause, "response", None) is None:
            downloads.stopped = True
        elif downloads.stopped:
            return f"{error} No download was tried, as one had failed before."
        return str(error)
    return ""


def _path(file: str | Sequence[str]) -> Path:
    return Path(file if isinstance(file, str) else file[0])


def _content(task: Task, name: str) -> list[str]:
    """What is in the file of a domain, and which part of it the domain is; nothing where it is not at hand."""
    if isinstance(task.dataset, Mapping):
        file = task.dataset["files"][name]
        path, part = _path(file), [] if isinstance(file, str) else list(file[1:])
    else:
        key, arguments = _registered(task.dataset, task.options)
        try:
            path, variables = obtain(key, [name], arguments["data_home"], False)[name]
        except (OSError, ImportError, ValueError):  # `missing` says why
            return ["", key]
        part = [key, variables]
    if not path.is_file():
        return ["", *part]
    with path.open("rb") as content:
        return [hashlib.file_digest(content, "sha256").hexdigest(), *part]


def _registered(dataset: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name of a data set in the registry, and all arguments of its loader."""
    call = inspect.signature(datasets.DATASETS[dataset]).bind(**options)
    call.apply_defaults()
    features = call.arguments.get("features")
    return f"{dataset}[{features}]" if features else dataset, call.arguments


def _has_files(task: Task) -> bool:
    return isinstance(task.dataset, Mapping) or task.dataset in datasets.DATASETS
