"""Check of the whole library on a CUDA device: ``python benchmarks/gpu_check.py [--sizes small]``.

Runs the tests that need a device, fits every method there and on the CPU and compares what they learnt,
measures how fast the device copies and multiplies, and then what the library makes of that: each step as a share of its
ceiling and as a ratio to the CPU of the same machine. Times are medians of synchronised events. Everything is written
to benchmarks/results/gpu-<device>.json. The exit code is 1 if a test fails, if an estimator disagrees, or without a
device: a check that did not run is no pass. ``--sizes small`` is meant for eight minutes on a large device.

Written without a device at hand: what it prints there has not been seen yet.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from catalogue import methods
from rows import make_rows
from scipy.linalg import subspace_angles
from sklearn.base import clone

from shallowda import JDA, TCAEstimator
from shallowda.core.catalogue import family_of
from shallowda.kernels.arrays import to_numpy
from shallowda.kernels.pairwise import Kernel
from shallowda.kernels.planning import cupy_problem

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("shallowda", "numpy", "scipy", "scikit-learn", "cupy-cuda12x", "cupy-cuda13x", "array-api-compat")

#: Largest difference from the float64 result of the CPU that passes: of the principal angle where a method finds
#: eigenvectors (the spectral ones), of the relative error of the others.
BOUNDS = {"float64": 1e-6, "float32": 1e-3}

COMPONENTS = 20  # of the methods that have them
PARAMETERS = {"TJM": {"max_iter": 5}}  # by label: more passes switch every source row off


def estimators() -> dict[str, Any]:
    """Every method that has backends, and what tells of its fit: an embedding or decision values."""
    found = {}
    for label, method in methods().items():
        known = method().get_params()
        if "backend" in known and (hasattr(method, "transform") or hasattr(method, "decision_function")):
            components = {"n_components": COMPONENTS} if "n_components" in known else {}
            found[label] = method(**components, **PARAMETERS.get(label, {}))
    return found


ESTIMATORS = {
    **estimators(),
    "TCA rbf": TCAEstimator(COMPONENTS, kernel="rbf"),
    "JDA rbf": JDA(COMPONENTS, kernel="rbf", max_iter=5),
}


def estimator(name: str, backend: str) -> Any:
    """One of `ESTIMATORS`, not fitted, for a backend."""
    return clone(ESTIMATORS[name]).set_params(backend=backend)


@dataclass(frozen=True)
class Sizes:
    """What is measured: rows and columns of the agreement check, of the steps and of the timed fits."""

    agreement: tuple[int, int] = (2000, 256)
    gram: tuple[int, int] = (1_000_000, 2048)
    kernel: tuple[int, int] = (40_000, 512)
    on_chip: tuple[int, int] = (200_000, 512)
    nearest: tuple[int, int] = (500_000, 30)
    fit: tuple[int, int] = (20_000, 2048)
    cpu_seconds: float = 900.0


SIZES = {
    "full": Sizes(),
    "small": Sizes((1000, 128), (200_000, 1024), (20_000, 512), (60_000, 512), (200_000, 30), (4000, 1024), 120.0),
}


# What needs no device


def relative_error(got: np.ndarray, reference: np.ndarray) -> float:
    """Of the inner products of the rows, in the Frobenius norm: a rotation of the embedding changes nothing."""
    got, reference = (np.asarray(array, dtype=np.float64).reshape(len(array), -1) for array in (got, reference))
    products = reference @ reference.T
    return float(np.linalg.norm(got @ got.T - products) / np.linalg.norm(products))


def principal_angle(got: np.ndarray, reference: np.ndarray) -> float:
    """Largest angle between the spaces that the columns span, in radians."""
    got, reference = (np.asarray(array, dtype=np.float64).reshape(len(array), -1) for array in (got, reference))
    return float(subspace_angles(got, reference).max())


def learnt(name: str, backend: str, X: Any, y: np.ndarray) -> dict[str, np.ndarray]:
    """What an estimator makes of the rows: their embedding (the decision values of a classifier) and predictions."""
    model = estimator(name, backend)
    sample_domain = np.where(y < 0, -1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about ranks and passes: the same on both sides
        model.fit(X, y)
        if hasattr(model, "transform"):
            values = model.transform(X, sample_domain=sample_domain)
        else:
            values = model.decision_function(X)
        predictions = model.predict(X[len(y) // 2 :])
    return {"values": to_numpy(values), "predictions": to_numpy(predictions)}


def agreement(name: str, got: dict[str, np.ndarray], reference: dict[str, np.ndarray], dtype: str) -> dict[str, Any]:
    """Figures of one estimator against the float64 result of the CPU, and whether they pass."""
    values = got["values"], reference["values"]
    angle = principal_angle(*values) if family_of(type(ESTIMATORS[name])) == "spectral" else None
    error = relative_error(*values)
    return {
        "relative_error": error,
        "angle": angle,
        "same_predictions": float(np.mean(got["predictions"] == reference["predictions"])),
        "passes": bool((error if angle is None else angle) <= BOUNDS[dtype]),
    }


def compared(places: dict[str, tuple[Callable, str, str]], X: np.ndarray, y: np.ndarray) -> dict[str, dict]:
    """Agreement of every estimator in every place with NumPy in float64.

    Each place has a function that moves the rows there, the backend, and the dtype.
    """
    rows: dict[str, dict] = {}
    for name in ESTIMATORS:
        reference = learnt(name, "numpy", X.astype(np.float64), y)
        rows[name] = {}
        for place, (move, backend, dtype) in places.items():
            rows[name][place] = agreement(name, learnt(name, backend, move(X.astype(dtype)), y), reference, dtype)
    return rows


def step(name: str, seconds: float, amount: float, ceiling: float, cpu_seconds: float | None) -> dict[str, Any]:
    """Figures of a step that does `amount` operations (or bytes), of which the device can do `ceiling` a second."""
    figures = {"name": name, "seconds": seconds, "rate": amount / seconds, "share": amount / seconds / ceiling}
    return {**figures, "cpu_ratio": None if cpu_seconds is None else cpu_seconds / seconds}


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The report as text."""
    yield f"{report['device']}, driver {report['driver']}, {report['date']}"
    yield f"tests: {report['tests']['summary']}"
    yield "agreement with NumPy in float64 (angle in radians; relative error; same predictions)"
    for name, places in report["agreement"].items():
        for place, found in places.items():
            mark = "" if found["passes"] else "  ABOVE THE BOUND"
            angle = "-" if found["angle"] is None else f"{found['angle']:.1e}"
            yield (
                f"  {name:18s} {place:22s} {angle:>8s} {found['relative_error']:8.1e} "
                f"{found['same_predictions']:7.4f}{mark}"
            )
    yield "ceilings"
    for name, rate in report["ceilings"].items():
        yield f"  {name:18s} {rate:9.3g} per second"
    yield "steps: seconds, share of the ceiling, times the CPU"
    for found in report["steps"]:
        yield f"  {found['name']:42s} {found['seconds']:9.4f} {found['share']:6.0%} {_times(found['cpu_ratio'])}"
    yield "fits from rows in host memory: seconds, times the CPU"
    for found in report["fits"]:
        yield f"  {found['name']:42s} {found['seconds']:9.3f}        {_times(found['cpu_ratio'])}"


def _times(ratio: float | None) -> str:
    return "  no CPU" if ratio is None else f"{ratio:7.1f}x"


def passed(report: dict[str, Any]) -> bool:
    """Whether the tests passed and every estimator agrees."""
    return report["tests"]["passed"] and all(
        found["passes"] for places in report["agreement"].values() for found in places.values()
    )


def save(report: dict[str, Any], folder: Path) -> Path:
    """Write gpu-<device>.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"gpu-{re.sub('[^a-z0-9]+', '-', report['device'].lower()).strip('-')}.json"
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def versions() -> dict[str, str]:
    """Releases of the packages that are installed."""
    installed = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
    found = {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}
    return {"python": sys.version.split()[0], **found}


class Budget:
    """Seconds that the CPU may still take for comparison."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def seconds(self, work: Callable[[], Any], share: float = 1.0) -> float | None:
        """Seconds of `share` of a piece of work, scaled to all of it; None, and no work, when they are used up."""
        if self.left <= 0:
            return None
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        self.left -= seconds
        return seconds / share


# What needs one


def device_seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds of `work` on the device, after one call to warm up."""
    import cupy

    work()
    times = []
    for _ in range(repeats):
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        work()
        stop.record()
        stop.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, stop) / 1e3)
    return statistics.median(times)


def ceilings() -> dict[str, float]:
    """Bytes a second of a copy (read and written), operations a second of a matrix product."""
    import cupy

    source = cupy.zeros(2**28, dtype=np.float32)
    target = cupy.empty_like(source)
    found = {"copy": 2 * source.nbytes / device_seconds(lambda: cupy.copyto(target, source))}
    for dtype in ("float32", "float64"):
        A = cupy.random.standard_normal((8192, 8192), dtype=dtype)
        found[f"gemm {dtype}"] = 2 * 8192**3 / device_seconds(lambda A=A: A @ A)
    return found


def steps(sizes: Sizes, top: dict[str, float], budget: Budget) -> Iterator[dict[str, Any]]:
    """Figures of the products that the library is made of, in float32."""
    import cupy

    from shallowda.kernels.device import kernel_times_block, nearest_row
    from shallowda.kernels.neighbours import nearest_row as nearest_on_cpu

    gemm, copy = top["gemm float32"], top["copy"]

    def rows(n: int, d: int) -> Any:
        return cupy.random.standard_normal((n, d), dtype=np.float32)

    n, d = sizes.gram
    X = rows(n, d)
    some = X[: n // 20].get()
    seconds = device_seconds(lambda: X.T @ X)
    yield step(f"Gram {n} x {d}", seconds, 2 * n * d**2, gemm, budget.seconds(lambda: some.T @ some, 1 / 20))

    n, d = sizes.kernel
    X, kernel = rows(n, d), Kernel("rbf", gamma=0.5 / d)
    some = X[: n // 5].get()
    seconds = device_seconds(lambda: kernel(X))
    yield step(f"RBF matrix of {n} x {d}", seconds, 2 * n**2 * d, gemm, budget.seconds(lambda: kernel(some), 1 / 25))
    K = kernel(X)
    some = K[: n // 10].get()
    for b in (8, 32):
        block = rows(n, b)
        on_cpu = block.get()
        cpu = budget.seconds(lambda some=some, on_cpu=on_cpu: some @ on_cpu, 1 / 10)
        yield step(f"K @ block, {n} x {b}", device_seconds(lambda K=K, block=block: K @ block), K.nbytes, copy / 2, cpu)
    del K, block

    n, d = sizes.on_chip
    X = rows(n, d)
    some, part = X.get(), n // 50
    for b in (8, 32):
        block = rows(n, b)
        on_cpu = block.get()
        amount = 2 * n**2 * (d + b)
        cpu = budget.seconds(lambda on_cpu=on_cpu: kernel(some[:part], some) @ on_cpu, part / n)
        seconds = device_seconds(lambda block=block: kernel_times_block(X, X, block, kernel), 3)
        yield step(f"K @ block not stored, {n} x {d}, {b} columns", seconds, amount, gemm, cpu)

        def by_tiles(block: Any = block) -> None:
            for start in range(0, n, 4096):
                kernel(X[start : start + 4096], X) @ block

        yield step(f"  the same by stored tiles, {b} columns", device_seconds(by_tiles, 3), amount, gemm, cpu)

    n, d = sizes.nearest
    queries, X = rows(n, d), rows(n, d)
    few, some = queries[: n // 100].get(), X.get()
    cpu = budget.seconds(lambda: nearest_on_cpu(few, some), 1 / 100)
    seconds = device_seconds(lambda: nearest_row(queries, X), 3)
    yield step(f"nearest row, {n} among {n} in {d}", seconds, 2 * n**2 * d, gemm, cpu)

    def by_products() -> None:
        halves = 0.5 * (X * X).sum(axis=1)
        for start in range(0, n, 4096):
            (halves - queries[start : start + 4096] @ X.T).argmin(axis=1)

    yield step("  the same by stored products", device_seconds(by_products, 3), 2 * n**2 * d, gemm, cpu)


def fits(sizes: Sizes, budget: Budget) -> Iterator[dict[str, Any]]:
    """Seconds of whole fits in float32, from NumPy arrays to NumPy results, here and on the CPU."""
    X, y = make_rows(*sizes.fit, "float32")
    for name in ESTIMATORS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator(name, "cupy").fit(X, y)  # compiles, and starts the libraries
            times = []
            for _ in range(3):
                start = time.perf_counter()
                estimator(name, "cupy").fit(X, y)
                times.append(time.perf_counter() - start)
            seconds = statistics.median(times)
            cpu = budget.seconds(lambda name=name: estimator(name, "numpy").fit(X, y))
        title = f"{name} {sizes.fit[0]} x {sizes.fit[1]}"
        yield {"name": title, "seconds": seconds, "cpu_ratio": None if cpu is None else cpu / seconds}


def run_tests() -> dict[str, Any]:
    """Result of the tests that need a device."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
    last = (done.stdout.strip().splitlines() or [f"pytest printed nothing (exit code {done.returncode})"])[-1]
    return {"passed": done.returncode == 0, "summary": last}


def machine() -> dict[str, Any]:
    """Device, driver, versions and date."""
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {
        "device": properties["name"].decode(),
        "memory": properties["totalGlobalMem"],
        "multiprocessors": properties["multiProcessorCount"],
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "cpu_count": os.cpu_count(),
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run everything; 0 if it passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=sorted(SIZES), default="full")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    if problem := cupy_problem():
        print(f"No check was made: {problem}.", file=sys.stderr)
        return 1
    import cupy

    sizes = SIZES[options.sizes]
    budget = Budget(sizes.cpu_seconds)
    report = {**machine(), "sizes": options.sizes, "tests": run_tests()}
    places: dict[str, tuple[Callable, str, str]] = {
        f"{kind}, {dtype}": (move, backend, dtype)
        for kind, move, backend in (("CuPy arrays", cupy.asarray, "auto"), ("NumPy, cupy", np.asarray, "cupy"))
        for dtype in BOUNDS
    }
    report["agreement"] = compared(places, *make_rows(*sizes.agreement))
    report["ceilings"] = ceilings()
    report["steps"] = list(steps(sizes, report["ceilings"], budget))
    cupy.get_default_memory_pool().free_all_blocks()
    report["fits"] = list(fits(sizes, budget))
    print("\n".join(lines(report)))
    print(f"written to {save(report, options.results)}")
    return 0 if passed(report) else 1


if __name__ == "__main__":
    sys.exit(main())
