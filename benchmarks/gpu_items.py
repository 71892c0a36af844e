"""What gpu_check.py checks and measures: one generator function for each kind of item.

A function yields what it finds as dictionaries of numbers and texts; what it has yielded is kept when it fails later.
Packages are imported where they are needed: one that is missing costs only the items that need it. Times are medians of
synchronised events. After ``{"cpu_seconds": None}`` comes the comparison with the CPU, which may be left out.

Written without a device at hand, and run on a stand-in for CuPy: what it says on a device has not been seen yet.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "numba",
    "cupy",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "array-api-compat",
    "torch",
)

Found = Iterator[dict[str, Any]]


def machine() -> Found:
    """Device, driver, versions, and the settings that change what a float32 product is."""
    import cupy

    runtime = cupy.cuda.runtime
    if runtime.getDeviceCount() == 0:
        raise RuntimeError("CuPy is installed, but there is no device")
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    yield {"name": properties["name"].decode()}
    yield {
        "memory": properties["totalGlobalMem"],
        "multiprocessors": properties["multiProcessorCount"],
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "cpu_count": os.cpu_count(),
        "environment": {
            name: os.environ.get(name) for name in ("CUPY_TF32", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS")
        },
    }
    yield {"versions": versions()}
    ready()
    yield {"array_api_compat": sys.modules["array_api_compat"].__name__}
    yield {"shallowda": importlib.import_module("shallowda._version").__version__}


def versions() -> dict[str, str]:
    """Releases of the packages that are installed."""
    installed = {distribution.metadata["Name"].lower() for distribution in importlib.metadata.distributions()}
    found = {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}
    return {"python": sys.version.split()[0], **found}


# ----------------------------------------------------------------------------------------------------------- tests


def run_tests(paths: list[str], words: str = "", alone: bool = False) -> Found:
    """Result of the tests that need a device: at least one passed, and none was skipped.

    Parameters
    ----------
    paths : list of str
        Files and folders, from the root of the checkout.
    words : str
        Which of them, by pytest's ``-k``.
    alone : bool
        Without the conftest.py of the folders above, which need more packages.
    """
    needed = ("pytest",) if alone else ("pytest", "hypothesis", "array_api_strict", "pandas", "polars")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        yield {"not_run": f"not installed: {', '.join(missing)}"}
        return
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.xml")
        command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-k", words, "-p", "no:cacheprovider"]
        # A file that cannot be imported costs no more than its tests; CuPy's own warnings are no failure.
        command += ["--continue-on-collection-errors", "-W", "default", f"--junit-xml={results}", *paths]
        command += [f"--confcutdir={paths[0]}"] * alone
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False)
        if not results.exists():
            raise RuntimeError(f"pytest did not run (exit code {done.returncode})")
        yield outcome(results.read_text("utf-8"))


def outcome(xml: str) -> dict[str, Any]:
    """Numbers of pytest's results, what failed, and whether they pass."""
    suite = ElementTree.fromstring(xml).find("testsuite")
    counts = {kind: int(suite.get(kind, 0)) for kind in ("tests", "failures", "errors", "skipped")}
    counts["passed"] = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    failures = {
        f"{case.get('classname')}::{case.get('name')}": (why.get("message") or "")[:400]
        + "\n"
        + (why.text or "")[-1500:]
        for case in suite.iter("testcase")
        for why in case
        if why.tag in ("failure", "error", "skipped")
    }
    return {
        "summary": ", ".join(f"{number} {kind}" for kind, number in counts.items() if kind != "tests"),
        "passes": counts["passed"] > 0 and counts["passed"] == counts["tests"],
        "counts": counts,
        "failures": dict(list(failures.items())[:50]),
    }


def contract_tests(kind: str) -> Found:
    """The contract of the methods for arrays of a library on the device."""
    if kind == "torch":
        if importlib.util.find_spec("torch") is None:
            yield {"not_run": "torch is not installed"}
            return
        import torch

        if not torch.cuda.is_available():
            yield {"not_run": "this torch has no CUDA device"}
            return
    files = ("test_foreign_arrays.py", "test_every_method.py", "test_backend.py")
    yield from run_tests([f"tests/contract/{name}" for name in files], kind)


# ------------------------------------------------------------------------------------------------------- agreement

#: Largest difference from the float64 result of the CPU that passes: of the principal angle where a method finds
#: eigenvectors (the spectral ones), of the relative error of the others.
BOUNDS = {"float64": 1e-6, "float32": 1e-3}
SAME_PREDICTIONS = 0.98  # the least share of predictions that are the same

COMPONENTS = 20  # of the methods that have them
PARAMETERS = {"TJM": {"max_iter": 5}}  # by label: more passes switch every source row off

#: Backend and dtype of the rows by place; those of backend "auto" are given as CuPy arrays.
PLACES = {
    f"{kind}, {dtype}": (backend, dtype) for kind, backend in (("CuPy", "auto"), ("NumPy", "cupy")) for dtype in BOUNDS
}


@dataclass(frozen=True)
class Case:
    """An estimator on the device.

    Attributes
    ----------
    model : estimator
    plan : dict
        What has to stand in ``plan_`` after the fit, or the case would say nothing about it.
    environment : dict
        Thresholds that make the plan so.
    tiles : bool
        Whether the fit gets less memory than a stored kernel matrix needs.
    wide : bool
        Whether there are fewer rows than features.
    """

    model: Any
    plan: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    tiles: bool = False
    wide: bool = False


@cache
def cases() -> dict[str, Case]:
    """Every method of the catalogue that has backends, and every way that the library has on the device."""
    from catalogue import methods

    from shallowda import ARTL, CORAL, JDA, TCAEstimator

    found = {}
    for label, method in methods().items():
        known = method().get_params()
        if "backend" in known and (hasattr(method, "transform") or hasattr(method, "decision_function")):
            components = {"n_components": COMPONENTS} if "n_components" in known else {}
            found[label] = Case(method(**components, **PARAMETERS.get(label, {})))
    lapack, krylov = ({"SHALLOWDA_DENSE_ORDER": order} for order in ("10000", "100"))
    small = {"SHALLOWDA_TILE_BYTES": str(2**16), **krylov}
    for kernel in ("rbf", "laplacian", "poly", "sigmoid", "cosine"):
        model = TCAEstimator(COMPONENTS, kernel=kernel)
        found[f"TCA {kernel}"] = Case(model, {"operator": "dense", "solver": "lapack"}, lapack)
        found[f"TCA {kernel}, tiles"] = Case(model, {"operator": "tiled", "solver": "block krylov"}, small, tiles=True)
    few = TCAEstimator(5, kernel="rbf")  # for a Krylov space, k has to be small
    found["TCA rbf, Krylov"] = Case(few, {"operator": "dense", "solver": "block krylov"}, krylov)
    found["TCA rbf, landmarks"] = Case(TCAEstimator(5, kernel="rbf", n_landmarks=100), {"operator": "nystroem"})
    found["JDA rbf"] = Case(JDA(COMPONENTS, kernel="rbf", max_iter=5))
    found["ARTL rbf, landmarks"] = Case(ARTL(kernel="rbf", n_landmarks=100), {"operator": "nystroem"})
    found["ARTL rbf"] = Case(ARTL(kernel="rbf"))
    system = {"operator": "tiled", "solver": "conjugate gradients"}
    found["ARTL rbf, tiles"] = Case(ARTL(kernel="rbf"), system, small, tiles=True)
    found["ARTL hinge"] = Case(ARTL(loss="hinge"))
    found["ARTL rbf, hinge"] = Case(ARTL(kernel="rbf", loss="hinge"))
    for label, model in (
        ("TCA", TCAEstimator(5)),
        ("TCA linear", TCAEstimator(5, kernel="linear")),
        ("CORAL", CORAL()),
        ("JDA", JDA(5)),
    ):
        found[f"{label}, d > n"] = Case(model, wide=True)
    return found


def listed() -> Found:
    """Names of what `agreement` and `timed_fit` take."""
    names = list(cases())
    timed = [name for name, case in cases().items() if not (case.plan or case.wide)] + ["TCA rbf"]
    yield {"summary": f"{len(names)} cases", "cases": names, "places": list(PLACES), "timed": timed}


def agreement(case: str, place: str, shape: tuple[int, int]) -> Found:
    """What an estimator has learnt on the device against the float64 result of the CPU, and whether that passes."""
    import cupy

    ready()
    backend, dtype = PLACES[place]
    X, y = rows_of(case, tuple(shape))
    X = X.astype(dtype)
    expected = reference(case, tuple(shape))
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    got = learnt(case, backend, X if backend == "cupy" else cupy.asarray(X), y)
    if pool.total_bytes() == 0:
        raise AssertionError("the fit did not use the device")
    yield compared(case, got, expected, dtype)


def rows_of(case: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    from rows import make_rows

    n, d = shape
    return make_rows(d, 2 * d) if cases()[case].wide else make_rows(n, d)


@cache
def reference(case: str, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """What an estimator learns on the CPU, in float64."""
    return learnt(case, "numpy", *rows_of(case, shape))


def learnt(name: str, backend: str, X: Any, y: np.ndarray) -> dict[str, np.ndarray]:
    """What an estimator makes of the rows: weights, an embedding or decision values, and predictions.

    On the device it has to go the way that the case asks for.
    """
    from sklearn.base import clone

    from shallowda.kernels.arrays import to_numpy

    case = cases()[name]
    model = clone(case.model).set_params(backend=backend)
    domain = np.where(y < 0, -1, 1)
    with quiet(), environment({} if backend == "numpy" else case.environment):
        with no_room_for_matrices() if case.tiles and backend != "numpy" else nullcontext():
            model.fit(X, y)
        values = seen(model, X, domain)
        predictions = model.predict(X[len(y) // 2 :])
    way = {} if backend == "numpy" else {key: getattr(model.plan_, key) for key in case.plan}
    if way and way != case.plan:
        raise AssertionError(f"the plan is {way}, not {case.plan}: this case says nothing")
    return {"values": to_numpy(values), "predictions": to_numpy(predictions)}


def no_room_for_matrices() -> Any:
    """Context in which plans store no kernel matrix, however small it is."""
    from unittest.mock import patch

    from shallowda.kernels import planning

    return patch.object(planning._Problem, "stored", lambda problem, n: 2**50)


def seen(model: Any, X: Any, domain: np.ndarray) -> Any:
    """What a method computes, without the classifier that it is given."""
    if hasattr(model, "weights_"):
        return model.weights_
    return model.transform(X, sample_domain=domain) if hasattr(model, "transform") else model.decision_function(X)


def compared(case: str, got: dict[str, np.ndarray], expected: dict[str, np.ndarray], dtype: str) -> dict[str, Any]:
    """Figures of one estimator against the float64 result of the CPU, and whether they pass: NaN does not."""
    from shallowda.core.catalogue import family_of

    values = got["values"], expected["values"]
    if not all(np.isfinite(array).all() for array in values):
        return {"error": "the result is not finite"}
    error = relative_error(*values)
    angle = principal_angle(*values) if family_of(type(cases()[case].model)) == "spectral" else None
    same = float(np.mean(got["predictions"] == expected["predictions"]))
    return {
        "error_of_values": error,
        "angle": angle,
        "same_predictions": same,
        "passes": bool((error if angle is None else angle) <= BOUNDS[dtype] and same >= SAME_PREDICTIONS),
    }


def relative_error(got: np.ndarray, reference: np.ndarray) -> float:
    """Of the inner products of the rows, in the Frobenius norm: a rotation of the embedding changes nothing."""
    got, reference = (np.asarray(array, dtype=np.float64).reshape(len(array), -1) for array in (got, reference))
    products = reference @ reference.T
    return float(np.linalg.norm(got @ got.T - products) / np.linalg.norm(products))


def principal_angle(got: np.ndarray, reference: np.ndarray) -> float:
    """Largest angle between the spaces that the columns span, in radians."""
    from scipy.linalg import subspace_angles

    got, reference = (np.asarray(array, dtype=np.float64).reshape(len(array), -1) for array in (got, reference))
    return float(subspace_angles(got, reference).max())


@cache
def ready() -> None:
    """Let scikit-learn's copy stand in for array-api-compat where that is not installed."""
    try:
        importlib.import_module("array_api_compat")
    except ImportError:
        sys.modules["array_api_compat"] = importlib.import_module("sklearn.externals.array_api_compat")


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings about ranks and passes, which are the same on both sides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def environment(changes: dict[str, str]) -> Iterator[None]:
    """With other environment variables."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# -------------------------------------------------------------------------------------------------------- ceilings


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


def wall_seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Median seconds of `work` on the clock, with all that it leaves to the device."""
    import cupy

    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        cupy.cuda.Device().synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def normal(*shape: int, dtype: str = "float32") -> Any:
    import cupy

    return cupy.random.standard_normal(shape, dtype=dtype)


def copy_rate(nbytes: int) -> Found:
    """Bytes a second of a copy on the device, read and written."""
    import cupy

    source = normal(nbytes // 4)
    target = cupy.empty_like(source)
    yield {"rate": 2 * source.nbytes / device_seconds(lambda: cupy.copyto(target, source))}


def gemm_rate(n: int, dtype: str) -> Found:
    """Operations a second of a matrix product, and its error, which tells whether TF32 stood in for float32."""
    A = normal(n, n, dtype=dtype)
    yield {"rate": 2 * n**3 / device_seconds(lambda: A @ A)}
    rows = A[:64]
    got, expected = (rows @ A).get(), rows.get().astype(np.float64) @ A.get().astype(np.float64)
    error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
    yield {"error_of_values": error, "passes": error < {"float32": 2e-5, "float64": 1e-12}[dtype]}


def upload_rate(nbytes: int, kind: str) -> Found:
    """Bytes a second from the memory of the machine to the device."""
    import cupy
    import cupyx

    host = np.ones(nbytes // 4, np.float32) if kind == "pageable" else cupyx.empty_pinned(nbytes // 4, np.float32)
    host[:] = 1.0
    target = cupy.empty(host.shape, dtype=np.float32)
    target.set(host)
    yield {"rate": host.nbytes / wall_seconds(lambda: target.set(host))}


def download_rate(nbytes: int) -> Found:
    """Bytes a second from the device to a new array of NumPy."""
    source = normal(nbytes // 4)
    source.get()
    yield {"rate": source.nbytes / wall_seconds(source.get)}


# ----------------------------------------------------------------------------------------------------------- steps


def step(work: Callable[[], Any], amount: float, ceiling: str | None, repeats: int = 5) -> dict[str, Any]:
    """Figures of work that does `amount` operations (or moves bytes), of which the device can do `ceiling` a second."""
    return {"seconds": device_seconds(work, repeats), "amount": amount, "ceiling": ceiling}


def on_cpu(work: Callable[[], Any], share: float = 1.0) -> Found:
    """Seconds of the CPU, from a share of the work."""
    yield {"cpu_seconds": None}
    start = time.perf_counter()
    work()
    yield {"cpu_seconds": (time.perf_counter() - start) / share}


def compiled(entry: str, dtype: str) -> Found:
    """Seconds that the compiler takes for one kernel: what a first fit waits for, once for a machine."""
    import cupy

    from shallowda.kernels import device

    code = f"{device._source(entry)}\n// {time.time_ns()}\n"  # no cache knows it
    macros = device._macros("rbf", 32) if entry == "kernel_times_block" else ()
    start = time.perf_counter()
    cupy.RawModule(code=code, options=device._options(dtype, *macros)).get_function(entry)
    yield {"seconds": time.perf_counter() - start}


def moments(n: int, d: int, dtype: str) -> Found:
    """Mean and scatter matrix, which are summed in float64 whatever the rows are in."""
    from shallowda.kernels.moments import mean_and_scatter

    ready()
    X = normal(n, d, dtype=dtype)
    yield step(lambda: mean_and_scatter(X), 2 * n * d**2, "gemm float64", 3)
    some = X[: n // 20].get()
    yield from on_cpu(lambda: mean_and_scatter(some), 1 / 20)


def kernel_matrix(n: int, d: int) -> Found:
    """The matrix of the RBF kernel."""
    from shallowda.kernels.pairwise import Kernel

    ready()
    X, kernel = normal(n, d), Kernel("rbf", gamma=0.5 / d)
    yield step(lambda: kernel(X), 2 * n**2 * d, "gemm float32", 3)
    some = X[: n // 5].get()
    yield from on_cpu(lambda: kernel(some), 1 / 25)


def stored_product(n: int, b: int) -> Found:
    """A stored matrix times a block: reading the matrix is all of the work."""
    K, block = normal(n, n), normal(n, b)
    yield step(lambda: K @ block, K.nbytes, "copy")
    some, same = K[: n // 10].get(), block.get()
    yield from on_cpu(lambda: some @ same, 1 / 10)


def tiled_product(n: int, d: int, b: int, dtype: str, route: str) -> Found:
    """A kernel matrix that is not stored times a block, on the chip or by tiles that are."""
    import cupy

    from shallowda.kernels.device import kernel_times_block
    from shallowda.kernels.pairwise import Kernel

    ready()
    X, block, kernel = normal(n, d, dtype=dtype), normal(n, b, dtype=dtype), Kernel("rbf", gamma=0.5 / d)

    def by_tiles() -> None:
        for start in range(0, n, 4096):
            kernel(X[start : start + 4096], X) @ block

    work = by_tiles if route == "tiles" else lambda: kernel_times_block(X, X, block, kernel)
    part = X[:256]
    expected = kernel(part, X) @ block
    error = float(cupy.linalg.norm(kernel_times_block(part, X, block, kernel) - expected) / cupy.linalg.norm(expected))
    yield {"error_of_values": error, "passes": error < {"float32": 1e-4, "float64": 1e-11}[dtype]}
    yield step(work, 2 * n**2 * (d + b), f"gemm {dtype}", 3)
    some, same, rows = X.get(), block.get(), max(1, n // 50)
    yield from on_cpu(lambda: kernel(some[:rows], some) @ same, rows / n)


def nearest(n: int, d: int, route: str) -> Found:
    """The nearest row of each query, on the chip or by products that are stored."""
    from shallowda.kernels.device import nearest_row
    from shallowda.kernels.neighbours import nearest_row as nearest_on_cpu

    queries, X = normal(n, d), normal(n, d)

    def by_products() -> None:
        halves = 0.5 * (X * X).sum(axis=1)
        for start in range(0, n, 4096):
            (halves - queries[start : start + 4096] @ X.T).argmin(axis=1)

    work = by_products if route == "products" else lambda: nearest_row(queries, X)
    yield step(work, 2 * n**2 * d, "gemm float32", 3)
    few, some = queries[: max(1, n // 100)].get(), X.get()
    yield from on_cpu(lambda: nearest_on_cpu(few, some), len(few) / n)


def eigh(n: int) -> Found:
    """All eigenvectors of a matrix in float64."""
    import cupy

    A = normal(n, n, dtype="float64")
    A = A + A.T
    cupy.linalg.eigh(A)
    yield {"seconds": wall_seconds(lambda: cupy.linalg.eigh(A))}
    same = A.get()
    yield from on_cpu(lambda: np.linalg.eigh(same))


def pencil_pass(n: int, d: int) -> Found:
    """A pass of JDA after the first: the pencil of a stored kernel matrix, solved again for other groups."""
    import cupy

    ready()
    yield {"seconds": statistics.median(_pencil_passes(n, d, cupy.asarray))}
    yield {"cpu_seconds": None}
    yield {"cpu_seconds": statistics.median(_pencil_passes(n, d, np.asarray))}


def _pencil_passes(n: int, d: int, move: Callable) -> list[float]:
    """Seconds of three passes after the first."""
    from rows import make_rows

    from shallowda.kernels.operators import DenseGram
    from shallowda.kernels.pairwise import Kernel
    from shallowda.kernels.spaces import KernelSpace

    X, y = make_rows(n, d, "float32")
    domain, rng, times = np.where(y < 0, -1.0, 1.0), np.random.default_rng(0), []
    with quiet():
        space = KernelSpace(DenseGram(Kernel("rbf", gamma=1.0)(move(X))))
        for _ in range(4):
            groups = rng.random((n, 4)) < 0.25  # of pseudo-labels, which change from pass to pass
            V = np.column_stack([domain, domain[:, None] * groups]) / n
            start = time.perf_counter()
            A = space.solve(space.K @ move(V), 1.0, COMPONENTS)[0]
            float(A[0, 0])
            times.append(time.perf_counter() - start)
    return times[1:]


# ------------------------------------------------------------------------------------------------------------ fits


def timed_fit(case: str, shape: tuple[int, int]) -> Found:
    """Seconds of whole fits in float32, from NumPy to NumPy, here and on the CPU; and the pool's peak."""
    import cupy
    from rows import make_rows
    from sklearn.base import clone

    ready()
    X, y = make_rows(*shape, "float32")
    pool, model = cupy.get_default_memory_pool(), clone(cases()[case].model).set_params(backend="cupy")
    with quiet():
        pool.free_all_blocks()
        before = pool.total_bytes()
        yield {"cold_seconds": wall_seconds(lambda: model.fit(X, y), 1)}  # compiles, and starts the libraries
        peak = pool.total_bytes() - before  # it keeps what was used at once
        yield {"pool_peak": peak, "planned": model.plan_.nbytes if hasattr(model, "plan_") else None}
        yield {"seconds": wall_seconds(lambda: model.fit(X, y))}
        yield from on_cpu(lambda: clone(cases()[case].model).set_params(backend="numpy").fit(X, y))
