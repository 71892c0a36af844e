"""What a benchmark consists of, as dataclasses and as the TOML file that says the same.

A file is data: estimators, data sets and preprocessing steps are named, never imported from a path or evaluated.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from sklearn.base import is_classifier

from shallowda.bench.models import build
from shallowda.bench.steps import STEPS

__all__ = ["Benchmark", "Limits", "Method", "Published", "Task", "load_config", "load_preset", "presets"]

_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}

_LONGEST = 10**7  # seconds
_LARGEST = 2**62  # bytes; the system counts no further
_MOST_TRIALS = 10**5  # the plan lists every cell

Section = TypeVar("Section")


def one_of(value: Any, known: Sequence[str], what: str) -> None:
    """Refuse a name that is not known, and say which one was perhaps meant.

    Parameters
    ----------
    value : object
    known : sequence of str
    what : str
        What the name stands for, as it reads in the message.

    Raises
    ------
    ValueError
        If `value` is none of `known`.
    """
    if value not in known:
        close = get_close_matches(str(value), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known) or 'none'}."
        raise ValueError(f"{what} {value!r} is not known; {hint}")


def _number_of_bytes(size: int | str) -> int:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(size))
    if not found or found[2].upper() not in _BYTES:
        raise ValueError(f'memory must be a number of bytes or a text such as "4GiB" or "800MB"; got {size!r}.')
    return int(float(found[1]) * _BYTES[found[2].upper()])


def _require(right: bool, message: str) -> None:
    if not right:
        raise ValueError(message)


def _is_positive(value: Any, kind: Any = int) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and value > 0


def _are_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value)


@dataclass(frozen=True)
class Limits:
    """What one cell may use.

    Parameters
    ----------
    seconds : float, default=600
        Wall time, reading the data included.
    memory : int or str, default="4GiB"
        Bytes of writable memory of the cell's process, or a text such as ``"800MB"``. It is enforced on Linux.
    """

    seconds: float = 600
    memory: int | str = "4GiB"

    def __post_init__(self) -> None:
        right = _is_positive(self.seconds, (int, float)) and self.seconds <= _LONGEST
        _require(right, f"seconds must be positive and at most {_LONGEST}; got {self.seconds!r}.")
        memory = _number_of_bytes(self.memory)
        _require(0 < memory <= _LARGEST, f"memory must be positive and at most {_LARGEST} bytes; got {memory}.")
        object.__setattr__(self, "memory", memory)


@dataclass(frozen=True)
class Task:
    """Pairs of domains of one data set, and how their rows are prepared.

    Parameters
    ----------
    dataset : str or dict
        A key of `shallowda.datasets.DATASETS`, the name of a generator ``make_...`` of `shallowda.datasets`, or
        ``{"files": {domain: path}}`` for `shallowda.datasets.load_feature_files`.
    name : str, default=""
        By which methods and published figures refer to the task; the data set's name when empty.
    options : dict, optional
        Keyword arguments of the loader or generator. A generator with a ``random_state`` that is not given here is
        seeded by the number of the trial.
    pairs : "all" or list of (source, target), default="all"
        A source is a domain, or a list of domains.
    preprocess : list of str, default=()
        Names of `shallowda.bench.STEPS`, in order, applied to all rows of the pair.
    sample : dict, optional
        ``{"source_per_class": 20}`` (or ``target_per_class``): rows drawn of each class, after the preprocessing,
        anew for each trial; a table ``{domain: number}`` where domains differ.
    """

    dataset: str | Mapping[str, Any]
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    pairs: str | Sequence[Sequence[Any]] = "all"
    preprocess: Sequence[str] = ()
    sample: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = isinstance(self.dataset, str)
        paths = None if named else self.dataset.get("files") if isinstance(self.dataset, Mapping) else None
        _require(
            named
            or (
                isinstance(paths, Mapping)
                and len(paths) > 1
                and set(self.dataset) == {"files"}
                and all(isinstance(file, str) or (_are_texts(file) and len(file) > 0) for file in paths.values())
            ),
            'dataset must be a name, or a table {files = {amazon = "a.mat", webcam = "w.mat"}} of two domains or more, '
            "each a path or a list of path, name of the features, name of the labels.",
        )
        _require(isinstance(self.name, str), "name must be a text.")
        object.__setattr__(self, "name", self.name or (str(self.dataset) if named else "files"))
        _require(isinstance(self.options, Mapping), "options must be a table of keyword arguments.")
        _require(_are_texts(self.preprocess), 'preprocess must be a list of names, such as ["row-sum"].')
        for step in self.preprocess:
            one_of(step, list(STEPS), "the step")
        _require(
            self.pairs == "all"
            or (isinstance(self.pairs, (list, tuple)) and len(self.pairs) > 0 and all(map(_is_pair, self.pairs))),
            'pairs must be "all" or a list such as [["amazon", "webcam"], [["amazon", "dslr"], "webcam"]].',
        )
        _require(isinstance(self.sample, Mapping), "sample must be a table such as {source_per_class = 20}.")
        for side, number in self.sample.items():
            one_of(side, ["source_per_class", "target_per_class"], "the key of sample")
            numbers = list(number.values()) if isinstance(number, Mapping) else [number]
            _require(all(map(_is_positive, numbers)), f"{side} must be a positive integer, or one for each domain.")


def _is_pair(pair: Any) -> bool:
    return (
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and (isinstance(pair[0], str) or (_are_texts(pair[0]) and len(pair[0]) > 0))
        and isinstance(pair[1], str)
    )


@dataclass(frozen=True)
class Method:
    """A model with its own preprocessing, under a name.

    Parameters
    ----------
    name : str
    model : str, dict or list
        What `shallowda.bench.build` takes: ``"JDA"``, ``{"estimator": "JDA", "params": {"n_components": 100}}``, or
        a list of such for a pipeline. Adapters see the target rows, marked as unlabelled; classifiers are trained on
        source rows only.
    steps : list of str, default=()
        Further names of `shallowda.bench.STEPS`, after those of the task.
    datasets : list of str, optional
        Names of the tasks to run on; all by default.
    """

    name: str
    model: Any
    steps: Sequence[str] = ()
    datasets: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _require(isinstance(self.name, str) and self.name != "", "name must be a text.")
        _require(_are_texts(self.steps), 'steps must be a list of names, such as ["unit-rows"].')
        for step in self.steps:
            one_of(step, list(STEPS), "the step")
        _require(self.datasets is None or _are_texts(self.datasets), "datasets must be a list of names of tasks.")
        _require(is_classifier(build(self.model)), f"{self.name}: a model must be a classifier, or end in one.")


@dataclass(frozen=True)
class Published:
    """Accuracies of a method as a paper reports them.

    Parameters
    ----------
    method : str
        Name of the method that they are put beside.
    dataset : str
        Name of the task.
    figures : dict of str to float
        Accuracy in percent by pair, as in ``{"amazon->webcam": 37.97}``.
    paper, note : str, default=""
    """

    method: str
    dataset: str
    figures: Mapping[str, float]
    paper: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for key in ("method", "dataset", "paper", "note"):
            _require(isinstance(getattr(self, key), str), f"{key} must be a text.")
        _require(
            isinstance(self.figures, Mapping)
            and all(_is_positive(figure, (int, float)) and figure <= 100 for figure in self.figures.values()),
            'figures must be a table of accuracies in percent, such as {"amazon->webcam" = 37.97}.',
        )


@dataclass(frozen=True)
class Benchmark:
    """Methods x tasks x trials.

    Parameters
    ----------
    tasks : list of Task
    methods : list of Method
    published : list of Published, default=()
    title, protocol : str, default=""
        For the report.
    trials : int, default=1
        Times that each method runs on each pair; the number of the trial seeds draws, generators, and every
        ``random_state`` that is left open.
    limits : Limits, optional

    Raises
    ------
    ValueError
        If names are used twice, or refer to nothing. Methods may share a name where no task has two of them, so that
        one method may have other parameters on another data set.

    Examples
    --------
    >>> from shallowda.bench import Benchmark, Method, Task
    >>> moons = Task("make_rotated_moons", name="moons")
    >>> benchmark = Benchmark([moons], [Method("source only", "OneNearestNeighbor"), Method("CORAL", "CORAL")])
    >>> benchmark.trials, benchmark.limits.memory
    (1, 4294967296)
    """

    tasks: Sequence[Task]
    methods: Sequence[Method]
    published: Sequence[Published] = ()
    title: str = ""
    protocol: str = ""
    trials: int = 1
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        right = _is_positive(self.trials) and self.trials <= _MOST_TRIALS
        _require(right, f"trials must be a positive integer, at most {_MOST_TRIALS}; got {self.trials!r}.")
        _require(isinstance(self.title, str) and isinstance(self.protocol, str), "title and protocol must be texts.")
        _require(len(self.tasks) > 0 and len(self.methods) > 0, "there must be at least one task and one method.")
        tasks = [task.name for task in self.tasks]
        _unique(tasks, "tasks need different names")
        for method in self.methods:
            for name in method.datasets or ():
                one_of(name, tasks, f"method {method.name!r}: the task")
        for name in tasks:
            runs_there = [method.name for method in self.methods if method.datasets is None or name in method.datasets]
            _unique(runs_there, f"methods of task {name!r} need different names")
        for published in self.published:
            one_of(published.dataset, tasks, "published: the task")
            one_of(published.method, self.method_names, "published: the method")

    @property
    def method_names(self) -> list[str]:
        """Names of the methods, each once."""
        return list(dict.fromkeys(method.name for method in self.methods))


def _unique(names: Sequence[str], message: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    _require(not twice, f"{message}; used twice: {', '.join(twice)}.")


def _read(kind: type[Section], table: Any, where: str) -> Section:
    """A dataclass from a table; every error says where in the file it is."""
    try:
        _require(isinstance(table, Mapping), "must be a table.")
        known = {entry.name: entry.default is MISSING and entry.default_factory is MISSING for entry in fields(kind)}  # type: ignore[arg-type]
        for key in table:
            one_of(key, list(known), "the key")
        missing = [key for key, required in known.items() if required and key not in table]
        _require(not missing, f"{' and '.join(map(repr, missing))} must be given.")
        return kind(**table)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _read_list(kind: type[Section], tables: Any, where: str) -> list[Section]:
    if not isinstance(tables, list):
        raise ValueError(f"{where} must be written as [[{where}]].")
    return [_read(kind, table, f"[[{where}]] number {number}") for number, table in enumerate(tables, 1)]


def load_config(path: str | Path) -> Benchmark:
    """Read a benchmark from a TOML file.

    Parameters
    ----------
    path : path-like
        The keys are the parameters of `Benchmark`, `Limits`, `Task`, `Method` and `Published`. Paths of feature files
        are relative to the folder of this file.

    Returns
    -------
    benchmark : Benchmark

    Raises
    ------
    ValueError
        If the file is not TOML, or not a benchmark; the message says where.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    try:
        sections = {"tasks": Task, "methods": Method, "published": Published}
        parts: dict[str, Any] = {key: _read_list(kind, content.get(key, []), key) for key, kind in sections.items()}
        limits = _read(Limits, content.get("limits", {}), "[limits]")
        parts["tasks"] = [_beside(path.parent, task) for task in parts["tasks"]]
        return _read(Benchmark, content | parts | {"limits": limits}, "the file")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _beside(folder: Path, task: Task) -> Task:
    if isinstance(task.dataset, str):
        return task
    paths = {domain: _absolute(folder, file) for domain, file in task.dataset["files"].items()}
    return Task(**{entry.name: getattr(task, entry.name) for entry in fields(task)} | {"dataset": {"files": paths}})


def _absolute(folder: Path, file: str | Sequence[str]) -> str | list[str]:
    if isinstance(file, str):
        return str((folder / Path(file).expanduser()).absolute())
    return [str((folder / Path(file[0]).expanduser()).absolute()), *file[1:]]


def presets() -> dict[str, Path]:
    """The benchmarks that come with the package.

    Returns
    -------
    presets : dict of str to path
    """
    folder = Path(str(files("shallowda.bench") / "presets"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_preset(name: str) -> Benchmark:
    """A benchmark that comes with the package.

    Parameters
    ----------
    name : str
        One of `presets`.

    Returns
    -------
    benchmark : Benchmark

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    known = presets()
    one_of(name, list(known), "the preset")
    return load_config(known[name])
