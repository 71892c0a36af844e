"""The cases of the benchmark, and the bars that they are held to.

A case is a list of jobs that are run in turn, round after round; ratios are taken within a case only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from catalogue import methods

SMALL_UNIT_ROWS = 1e-4  # CORAL's ridge: the features of unit rows have variances of this order
RBF = {"kernel": "rbf", "gamma": 1.0}


@dataclass(frozen=True)
class Job:
    """One row of a case's table: a function of `jobs.py` with its arguments, and the data it works on."""

    label: str
    library: str  # shallowda, textbook, floor, scikit-learn, or a peer
    kind: str
    args: dict
    n: int
    d: int
    dtype: str = "float64"
    note: str = ""
    options: dict = field(default_factory=dict)  # of the process: mmap, warm, separation, threads


@dataclass(frozen=True)
class Case:
    """Jobs measured together."""

    name: str
    title: str
    jobs: list[Job]
    rounds: int = 1


@dataclass(frozen=True)
class Bar:
    """A figure that must be at least, or at most, a limit. `measure` takes the runs of the case by label."""

    text: str
    case: str
    sense: str
    limit: float
    measure: Callable[[dict], float]
    unit: str = "x"

    def evaluate(self, runs: dict) -> dict:
        """Bar, figure, and whether it is met; with the reason where there is no figure."""
        row: dict[str, Any] = {"bar": self.text, "case": self.case, "sense": self.sense, "limit": self.limit}
        row["unit"] = self.unit
        try:
            measured = float(self.measure(runs))
        except (KeyError, ValueError) as error:
            return {**row, "measured": None, "met": None, "reason": str(error).strip("'\"")}
        met = measured >= self.limit if self.sense == "at least" else measured <= self.limit
        return {**row, "measured": measured, "met": bool(met)}


def figure(runs: dict, label: str, quantity: str = "seconds") -> float:
    """A figure of one run; KeyError with the reason where it was not measured."""
    run = runs.get(label)
    if run is None:
        raise KeyError(f"{label}: not run")
    if quantity not in run:
        raise KeyError(f"{label}: {run.get('error', 'no ' + quantity)}")
    return run[quantity]


def ratio(over: str, under: str, quantity: str = "seconds", floor: float = 0.0) -> Callable[[dict], float]:
    """How many times larger a figure of one run is than that of another (which counts as `floor` at least)."""
    return lambda runs: figure(runs, over, quantity) / max(figure(runs, under, quantity), floor)


def exponent(sizes: list[float], values: list[float]) -> float:
    """Slope of the straight line through the logarithms."""
    if len(sizes) < 2:
        raise ValueError("an exponent needs at least two sizes")
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def by_size(runs: dict, name: str, quantity: str = "seconds") -> tuple[list[float], list[float]]:
    """Sizes and figures of the runs labelled ``name, n = ...``."""
    chosen = [run for label, run in runs.items() if label.startswith(f"{name}, n = ") and quantity in run]
    chosen.sort(key=lambda run: run["n"])
    return [run["n"] for run in chosen], [run[quantity] for run in chosen]


# -- the methods over n ------------------------------------------------------------------------------------------------

# by label, where the textbook or the sizes need others than the defaults
PARAMETERS = {
    "TCA": {"kernel": "linear"},
    "JDA": {"kernel": "linear"},
    "BDA": {"kernel": "linear"},
    "SA": {"n_components": 30},
    "CORAL": {"ridge": SMALL_UNIT_ROWS},
    "GFK": {"n_components": 30},
}
ESTIMATORS = {
    **{label: (method.__name__, PARAMETERS.get(label, {})) for label, method in methods().items()},
    "TCA rbf": ("TCAEstimator", RBF),
    "JDA rbf": ("JDA", RBF),
}

NOT_SYMMETRIC = "the same problem, but eigh is given a non-symmetric product, so its vectors are others"
# label, library, method, options, largest n (the next one fails, or takes minutes without telling more), note
PEERS = [
    ("skada TCA", "skada", "TCA", {"kernel": "linear", "n_components": 30, "mu": 1.0}, 8000, NOT_SYMMETRIC),
    ("skada TCA rbf", "skada", "TCA", {"kernel": "rbf", "n_components": 30, "mu": 1.0}, 8000, NOT_SYMMETRIC),
    (
        "skada TJM",
        "skada",
        "TJM",
        {"kernel": "linear", "n_components": 30},
        2000,
        "stops after one step, so without its reweighting",
    ),
    ("skada CORAL", "skada", "CORAL", {}, 8000, "shrunk covariances for the ridge"),
    ("skada SA", "skada", "SA", {"n_components": 30}, 8000, ""),
    ("adapt TCA", "adapt", "TCA", {"kernel": "linear", "n_components": 30, "mu": 1.0}, 8000, NOT_SYMMETRIC),
    ("adapt CORAL", "adapt", "CORAL", {"lambda_": SMALL_UNIT_ROWS}, 4000, "domains not centred"),
    ("adapt SA", "adapt", "SA", {"n_components": 30}, 8000, ""),
    (
        "pykale MIDA",
        "pykale",
        "MIDA",
        {"num_components": 30, "kernel": "linear"},
        4000,
        "another method: independence of the domain instead of equal means",
    ),
]
TEXTBOOK = [
    ("textbook TCA", "tca", {"kernel": "linear"}, 4000),
    ("textbook TCA rbf", "tca", RBF, 4000),
    ("textbook JDA rbf", "jda", RBF, 4000),
]
FLOORS = {"Gram product": "gram", "PCA covariance_eigh": "pca", "product of K": "product", "K @ 32 columns": "block"}
HALVES = {
    "two covariances": "covariances",
    "two covariances and their eigh": "covariance roots",
    "two PCA covariance_eigh": "two pcas",
    "two PCA arpack": "two pcas arpack",
}


def sweep(n: int, d: int, rounds: int, largest: int) -> Case:
    """Every method of every library on one size. `largest`: n of the full benchmark that this one stands for."""
    size = {"n": n, "d": d}
    jobs = [
        Job(label, "shallowda", "ours", {"name": name, "options": options}, **size)
        for label, (name, options) in ESTIMATORS.items()
    ]
    jobs += [
        Job(label, library, library, {"method": method, "options": options}, note=note, **size)
        for label, library, method, options, most, note in PEERS
        if largest <= most and (label != "adapt CORAL" or largest == 4000)
    ]
    jobs += [
        Job(label, "textbook", "dense", {"name": name, "options": options}, **size)
        for label, name, options, most in TEXTBOOK
        if largest <= most
    ]
    jobs += [Job(label, "floor", "floor", {"name": name}, **size) for label, name in FLOORS.items()]
    if largest == 4000:
        jobs += [Job(label, "floor", "floor", {"name": name}, **size) for label, name in HALVES.items()]
    if largest == 8000:
        ours = {"name": "TCAEstimator", "options": RBF}
        jobs.append(Job("TCA rbf float32", "shallowda", "ours", ours, dtype="float32", **size))
    return Case(f"sweep-{largest}", f"All methods, {n} x {d}, float64", jobs, rounds)


# -- single operations -------------------------------------------------------------------------------------------------


def jda(n: int, d: int) -> Case:
    """Ten passes of JDA against one PCA."""
    jobs = [Job("PCA covariance_eigh", "scikit-learn", "floor", {"name": "pca"}, n, d)]
    for label, form in (("JDA linear", "linear"), ("JDA primal", None)):
        options = {"name": "JDA", "options": {"kernel": form, "max_iter": 10}}
        jobs.append(Job(label, "shallowda", "ours", options, n, d))
    return Case("jda", f"JDA, at most 10 passes, against one PCA, {n} x {d}", jobs, 3)


def kernel(n: int, d: int) -> Case:
    """An RBF matrix against its matrix product."""
    jobs = []
    for dtype in ("float64", "float32"):
        pair = {"dtype": dtype, "n": n, "d": d}
        jobs.append(Job(f"product {dtype}", "floor", "floor", {"name": "product"}, **pair))
        for library, who in (("shallowda", "shallowda"), ("sklearn", "scikit-learn")):
            jobs.append(Job(f"{who} rbf {dtype}", who, "matrix", {"kernel": "rbf", "library": library}, **pair))
    return Case("kernel", f"RBF matrix of {n} x {d} rows", jobs, 2)


def laplacian(n: int, d: int) -> Case:
    """A Laplacian kernel matrix."""
    jobs = [
        Job(who, who, "matrix", {"kernel": "laplacian", "library": library}, n=n, d=d)
        for library, who in (("shallowda", "shallowda"), ("sklearn", "scikit-learn"))
    ]
    return Case("laplacian", f"Laplacian kernel matrix of {n} x {d} rows", jobs, 3)


def neighbours(n: int) -> Case:
    """Labels by the nearest of n rows, for n rows of 30 dimensions."""
    jobs = [
        Job(f"{who} {dtype}", who, "neighbours", {"library": library}, n=2 * n, d=30, dtype=dtype)
        for dtype in ("float32", "float64")
        for library, who in (("shallowda", "shallowda"), ("sklearn", "scikit-learn"))
    ]
    return Case("neighbours", f"Nearest of {n} rows for {n} rows, 30 dimensions", jobs, 2)


SEVERAL, ONE = "as many threads as there are", "one thread"
THREADED = ESTIMATORS | {
    "ARTL rbf": ("ARTL", {"kernel": "rbf"}),
    "TJM rbf": ("TJM", {"kernel": "rbf"}),
    "AutoAdapt": ("AutoAdapt", {}),
}


def threads(n: int, d: int, times: int) -> Case:
    """Small rows, on which threads of BLAS cost more than they give: they must not be used."""
    jobs = []
    for label, (name, options) in THREADED.items():
        work = {"name": name, "options": options, "times": 1 if name == "AutoAdapt" else times}
        jobs.append(Job(f"{label}, {SEVERAL}", "shallowda", "ours", work, n, d))
        jobs.append(Job(f"{label}, {ONE}", "shallowda", "ours", work, n, d, options={"threads": "1"}))
    return Case("threads", f"Threads of BLAS on {n} x {d} rows", jobs, 3)


# -- scale -------------------------------------------------------------------------------------------------------------

# by the nearest class mean, since exact nearest neighbours are quadratic in n whatever the method costs
CENTROID = {"estimator": "centroid"}
GROWING = {
    "TCA": ("TCAEstimator", CENTROID, ""),
    "JDA": ("JDA", {**CENTROID, "max_iter": 10}, ""),
    "BDA": ("BDA", {**CENTROID, "max_iter": 10}, ""),
    "TJM": ("TJM", CENTROID, ""),
    "SA": ("SubspaceAlignment", {**CENTROID, "n_components": 30}, ""),
    "GFK": ("GFK", {**CENTROID, "n_components": 30}, ""),
    "CORAL": ("CORAL", {**CENTROID, "ridge": SMALL_UNIT_ROWS}, "the aligned source is itself half the input"),
    "ARTL": ("ARTL", {**CENTROID, "manifold_weight": 0.0}, "without the graph, whose exact neighbours are quadratic"),
}
HOLDING = {"TJM", "CORAL", "ARTL"}  # hold something for every row: see README.md
QUADRATIC = "JDA with exact 1-NN labels"


def growth(sizes: list[int], d: int) -> Case:
    """Our linear methods from a memory-mapped float32 file."""
    options = {"mmap": True}
    jobs = [
        Job(
            f"{label}, n = {n}",
            "shallowda",
            "ours",
            {"name": name, "options": settings},
            n,
            d,
            "float32",
            note,
            options,
        )
        for n in sizes
        for label, (name, settings, note) in GROWING.items()
    ]
    jobs += [
        Job(
            f"{QUADRATIC}, n = {n}",
            "shallowda",
            "ours",
            {"name": "JDA", "options": {"max_iter": 10}},
            n,
            d,
            "float32",
            "n^2 by its nature",
            options,
        )
        for n in sizes[:-1]
    ]
    return Case("growth", f"Linear methods from a memory-mapped file, d = {d}, float32", jobs)


# -- accuracy ----------------------------------------------------------------------------------------------------------

TO_THE_END = {"max_iter": 100}  # until the labels settle
PATHS = {
    "TCA primal": ("TCAEstimator", {}),
    "TCA linear": ("TCAEstimator", {"kernel": "linear"}),
    "TCA rbf": ("TCAEstimator", RBF),
    "JDA primal": ("JDA", TO_THE_END),
    "JDA linear": ("JDA", {**TO_THE_END, "kernel": "linear"}),
    "JDA rbf": ("JDA", {**TO_THE_END, **RBF}),
    "BDA": ("BDA", TO_THE_END),
    "TJM linear": ("TJM", {}),
    "TJM rbf": ("TJM", RBF),
    "SA": ("SubspaceAlignment", {"n_components": 30}),
    "GFK": ("GFK", {"n_components": 30}),
    "CORAL": ("CORAL", {"ridge": SMALL_UNIT_ROWS}),
    "ARTL linear": ("ARTL", {}),
    "ARTL rbf": ("ARTL", RBF),
}


def accuracy(shapes: list[tuple[int, int]]) -> Case:
    """Every fast path against the dense float64 solution, on classes that are told apart, so that labels settle."""
    jobs = [
        Job(
            f"{n} x {d} {dtype}",
            "shallowda",
            "accuracy",
            {"paths": PATHS, "dtype": dtype},
            n,
            d,
            options={"warm": False, "separation": 2.0},
        )
        for n, d in shapes
        for dtype in ("float64", "float32")
    ]
    return Case("accuracy", "Distance to the dense float64 solution", jobs)


def worst_angle(dtype: str) -> Callable[[dict], float]:
    """The largest distance over all paths and shapes of a dtype."""

    def measure(runs: dict) -> float:
        chosen = [figure(runs, label, "paths") for label in runs if label.endswith(dtype)]
        return max(path["angle"] for paths in chosen for path in paths.values())

    return measure


def full() -> list[Case]:
    """The benchmark."""
    return [
        sweep(1000, 2048, 1, 1000),
        sweep(2000, 2048, 1, 2000),
        sweep(4000, 2048, 2, 4000),
        sweep(8000, 2048, 1, 8000),
        jda(8000, 2048),
        kernel(8000, 2048),
        laplacian(3000, 512),
        neighbours(100_000),
        threads(500, 50, 20),
        growth([10_000, 100_000, 1_000_000], 512),
        accuracy([(1000, 256), (400, 1024)]),
    ]


def quick() -> list[Case]:
    """The same cases on sizes that take seconds: whether everything runs, not what it costs."""
    return [
        *[sweep(n // 10, 128, 1, n) for n in (1000, 2000, 4000, 8000)],
        jda(800, 128),
        kernel(800, 128),
        laplacian(300, 64),
        neighbours(2000),
        threads(100, 20, 2),
        growth([1000, 4000], 64),
        accuracy([(300, 64), (150, 256)]),
    ]


def bars() -> Iterator[Bar]:
    """Every line of the table of bars."""
    tca, mega = "sweep-8000", 1.0  # memory below one MiB counts as one
    for peer, times in (("skada", 150), ("adapt", 300)):
        yield Bar(f"TCA linear, time of {peer} over ours", tca, "at least", times, ratio(f"{peer} TCA", "TCA"))
        memory = ratio("TCA", f"{peer} TCA", "memory_mib", mega)
        yield Bar(f"TCA linear, our memory over that of {peer}", tca, "at most", 1 / 20, memory)
    yield Bar("TCA rbf float64, time of skada over ours", tca, "at least", 30, ratio("skada TCA rbf", "TCA rbf"))
    faster = ratio("skada TCA rbf", "TCA rbf float32")
    yield Bar("TCA rbf float32, time of skada (float64) over ours", tca, "at least", 60, faster)
    for dtype in ("float64", "float32"):
        product = ratio(f"shallowda rbf {dtype}", f"product {dtype}")
        yield Bar(f"RBF matrix over its product, {dtype}", "kernel", "at most", 1.2, product)
    for label in ("JDA linear", "JDA primal"):
        pca = ratio(label, "PCA covariance_eigh", "fit_s")
        yield Bar(f"{label}, at most 10 passes, over PCA(covariance_eigh)", "jda", "at most", 1.2, pca)
    dense = ratio("textbook JDA rbf", "JDA rbf")
    yield Bar("JDA rbf, n = 4000, time of the dense loop over ours", "sweep-4000", "at least", 20, dense)
    floors = {"CORAL": "two covariances and their eigh", "SA": "two PCA covariance_eigh"}
    for method in floors:
        for peer in ("skada", "adapt"):
            quicker = ratio(f"{peer} {method}", method)
            yield Bar(f"{method}, n = 4000, time of {peer} over ours", "sweep-4000", "at least", 1, quicker)
    for method, floor in {**floors, "GFK": floors["SA"]}.items():
        yield Bar(f"{method}, n = 4000, over {floor}", "sweep-4000", "at most", 3, ratio(method, floor, "fit_s"))
    for dtype in ("float32", "float64"):
        labels = ratio(f"scikit-learn {dtype}", f"shallowda {dtype}")
        yield Bar(f"1-NN, time of scikit-learn over ours, {dtype}", "neighbours", "at least", 4, labels)

    def largest(runs: dict) -> float:
        return max(figure(runs, f"shallowda {dtype}", "memory_mib") for dtype in ("float32", "float64"))

    yield Bar("1-NN, memory (an array of all pairs: 38147 MiB)", "neighbours", "at most", 1024, largest, "MiB")
    l1 = ratio("scikit-learn", "shallowda")
    yield Bar("Laplacian kernel, time of scikit-learn over ours", "laplacian", "at least", 4, l1)
    for label in THREADED:
        several = ratio(f"{label}, {SEVERAL}", f"{label}, {ONE}")
        yield Bar(f"{label}, n = 500, d = 50, {SEVERAL} over {ONE}", "threads", "at most", 1.1, several)
    for method in GROWING:
        grows = lambda runs, method=method: exponent(*by_size(runs, method))  # noqa: E731
        yield Bar(f"{method}, exponent of time in n", "growth", "at most", 1.1, grows, "")
    for method in GROWING:
        share = lambda runs, method=method: _share(runs, method)  # noqa: E731
        limit = 0.75 if method in HOLDING else 0.25
        yield Bar(f"{method}, memory at the largest n over that of the input", "growth", "at most", limit, share)
    process = lambda runs: by_size(runs, "JDA", "process_mib")[1][-1]  # noqa: E731
    yield Bar("JDA at the largest n, memory of the whole process", "growth", "at most", 4096, process, "MiB")
    for dtype, limit in (("float64", 1e-6), ("float32", 1e-3)):
        text = f"largest distance to the dense solution, {dtype}"
        yield Bar(text, "accuracy", "at most", limit, worst_angle(dtype), "rad")


def _share(runs: dict, method: str) -> float:
    sizes, memory = by_size(runs, method, "memory_mib")
    if not sizes:
        raise KeyError(f"{method}: not run")
    d = next(run["d"] for label, run in runs.items() if label.startswith(f"{method}, n = "))
    return memory[-1] / (sizes[-1] * d * 4 / 2**20)
