import ctypes
import dataclasses
import doctest
import os
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from shallowda.kernels import planning
from shallowda.kernels.planning import (
    THRESHOLDS,
    available_memory,
    cupy_problem,
    memory_of,
    plan,
    resolve_backend,
    resolve_budget,
    solver_for,
    thresholds,
)

GIB = 2**30


@pytest.fixture(autouse=True)
def _a_machine_of_its_own(monkeypatch):
    """No variable of the environment, and no memory of what CuPy said."""
    for field in dataclasses.fields(THRESHOLDS):
        monkeypatch.delenv(f"SHALLOWDA_{field.name.upper()}", raising=False)
    planning._lasting_problem.cache_clear()
    yield
    planning._lasting_problem.cache_clear()


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy with one device of 4 GiB, which a test may break."""

    module = ModuleType("cupy")
    module.eye = np.eye
    module.linalg = SimpleNamespace(eigh=lambda matrix: (SimpleNamespace(get=lambda: np.diag(matrix)), matrix))
    runtime = SimpleNamespace(getDeviceCount=lambda: 1, memGetInfo=lambda: (4 * GIB, 8 * GIB))
    module.cuda = SimpleNamespace(runtime=runtime)
    module.pool = SimpleNamespace(free_bytes=lambda: 0, used_bytes=lambda: 0, get_limit=lambda: 0)
    module.get_default_memory_pool = lambda: module.pool
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


@pytest.fixture
def without_cupy(monkeypatch):
    class Hidden:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "cupy":
                raise ModuleNotFoundError("No module named 'cupy'", name="cupy")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Hidden, *sys.meta_path])


def planned(n, d, kernel, k=30, dtype="float64", budget=8 * GIB, **options):
    return plan(n, d, kernel, k, dtype, backend="numpy", memory_budget=budget, **options)


# ---------------------------------------------------------------------------------------------------- the choices


@pytest.mark.parametrize(
    ("n", "d", "kernel", "options", "operator", "solver"),
    [
        (8000, 512, None, {}, "moments", "lapack"),
        (8000, 2048, None, {}, "moments", "block krylov"),
        (8000, 2048, "linear", {}, "moments", "block krylov"),
        (8000, 2048, "linear", {"form": "sample"}, "moments", "block krylov"),
        (10**6, 512, None, {"dtype": "float32", "budget": GIB}, "moments", "lapack"),
        (500, 2048, None, {}, "factored", "lapack"),
        (500, 2048, "linear", {}, "dense", "lapack"),
        (5000, 20000, "linear", {"budget": 300_000_000}, "dense", "block krylov"),
        (600, 20, "rbf", {}, "dense", "lapack"),
        (8000, 2048, "rbf", {}, "dense", "block krylov"),
        (8000, 2048, "rbf", {"k": 400}, "dense", "lapack"),
        (8000, 2048, "rbf", {"k": 400, "budget": 1_200_000_000}, "dense", "block krylov"),
        (8000, 2048, np.dot, {"budget": 400_000_000}, "tiled", "block krylov"),
        (8000, 2048, "rbf", {"budget": 400_000_000, "dtype": "float32"}, "dense", "block krylov"),
        (8000, 2048, "precomputed", {"budget": 70_000_000}, "dense", "block krylov"),
        (100_000, 512, "rbf", {"n_landmarks": 500}, "nystroem", "lapack"),
        (100_000, 512, "rbf", {"n_landmarks": 1000}, "nystroem", "block krylov"),
        (100_000, 512, None, {"n_landmarks": 1000}, "moments", "lapack"),
    ],
)
def test_choices(n, d, kernel, options, operator, solver):
    result = planned(n, d, kernel, **options)
    assert (result.operator, result.solver, result.backend) == (operator, solver, "numpy")
    assert 0 < result.nbytes <= result.budget == options.get("budget", 8 * GIB)


def test_bytes():
    basis = 2 * 8 * 8000 * 480
    assert planned(8000, 2048, "rbf").nbytes == 8 * 8000**2 + basis
    assert planned(8000, 2048, "rbf", dtype="float32").nbytes == 4 * 8000**2 + basis
    assert planned(8000, 2048, "rbf", budget=GIB // 4).nbytes == THRESHOLDS.tile_bytes + basis
    assert planned(8000, 2048, "precomputed").nbytes == basis
    moments = (1 + 1) * 8 * 2048**2 + THRESHOLDS.row_block_bytes  # more than LAPACK, if it has to take over
    assert planned(8000, 2048, None).nbytes == moments
    assert planned(10**6, 2048, None).nbytes == moments  # flat in n
    sample = moments + 4 * 8 * 2048**2
    assert planned(8000, 2048, "linear", form="sample").nbytes == sample
    landmarks = planned(100_000, 512, "rbf", dtype="float32", n_landmarks=500).nbytes
    assert 4 * 100_000 * 500 < landmarks < 1.5 * 4 * 100_000 * 500


def test_a_plan_just_fits():
    """At its own bytes it stays as it is; with one byte less it is another."""
    for n, d, kernel, k in [(8000, 2048, "rbf", 30), (8000, 2048, "rbf", 400)]:
        chosen = planned(n, d, kernel, k)
        tight = planned(n, d, kernel, k, budget=chosen.nbytes)
        assert (tight.operator, tight.solver, tight.nbytes) == (chosen.operator, chosen.solver, chosen.nbytes)
        other = planned(n, d, kernel, k, budget=chosen.nbytes - 1)
        assert (other.operator, other.solver) != (chosen.operator, chosen.solver)
        assert other.nbytes < chosen.nbytes


@pytest.mark.parametrize(
    ("n", "d", "kernel", "way"),
    [(10**6, 512, "rbf", "n_landmarks="), (2000, 2000, None, "fewer"), (10**4, 10**4, "precomputed", "fewer")],
)
def test_what_cannot_fit_is_refused_with_the_figures(n, d, kernel, way):
    with pytest.raises(
        MemoryError, match=r"needs .*\(\d+ bytes\) beyond the input.*memory_budget allows 7\.6 MiB"
    ) as error:
        planned(n, d, kernel, budget=8_000_000)
    assert way in str(error.value)
    assert ("n_landmarks=" in str(error.value)) == (kernel == "rbf")
    needed = int(str(error.value).split("(")[1].split(" bytes")[0])
    assert planned(n, d, kernel, budget=needed).nbytes == needed


def test_reasons_name_the_numbers():
    text = str(planned(60_000, 100, "rbf", budget=GIB))
    assert "operator  tiled" in text
    assert "of 1.0 GiB" in text
    assert "the 60000 x 60000 matrix in float64 (26.8 GiB)" in text
    assert "1.8e+09 kernel values again, about 3.6e+11 flops" in text
    assert "n_landmarks= is the cheap approximation" in text
    assert "order 60000 is above 700 and k = 30 below 1/20" in text
    assert "k = 400 is at least 1/20 of the order 8000" in str(planned(8000, 20, "rbf", k=400))
    assert "up to order 700 a dense solver is the fastest; this is 20" in str(planned(8000, 20, None))
    assert "d = 900 > n = 300" in str(planned(300, 900, "linear"))
    assert "would be faster, and needs more than the budget" in str(planned(8000, 20, "rbf", k=400, budget=GIB))
    assert "n_landmarks is not used" in str(planned(8000, 20, None, n_landmarks=50))
    assert "the kernel function is not linear" in str(planned(80, 20, np.dot))


def test_the_choice_is_logged(caplog):
    with caplog.at_level("INFO", logger="shallowda"):
        planned(8000, 2048, "rbf")
    assert "operator dense, solver block krylov, backend numpy, 546.9 MiB of 8.0 GiB" in caplog.text


@pytest.mark.parametrize("name", ["n", "d", "k", "n_landmarks"])
@pytest.mark.parametrize("wrong", [0, -3, 2.0, True, "5"])
def test_sizes_are_whole_numbers(name, wrong):
    sizes = {"n": 10, "d": 5, "k": 2} | {name: wrong}
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1; it is {wrong!r}"):
        plan(kernel="rbf", **sizes)


def test_other_arguments_are_checked():
    with pytest.raises(ValueError, match="dtype must be float32 or float64; it is int64"):
        plan(10, 5, None, 2, "int64")
    with pytest.raises(ValueError, match=r"form must be one of 'dual', 'sample', .*; it is 'primal'"):
        plan(10, 5, None, 2, form="primal")
    with pytest.raises(ValueError, match="n_landmarks= needs the rows"):
        plan(10, 10, "precomputed", 2, n_landmarks=3)
    with pytest.raises(ValueError, match="backend must be 'auto', 'numpy' or 'cupy'; it is 'gpu'"):
        plan(10, 5, None, 2, backend="gpu")


def test_documented_example():
    assert doctest.testmod(planning).failed == 0
    assert doctest.testmod(planning).attempted >= 4


# ------------------------------------------------------------------------------------------------- the thresholds


def test_solver():
    assert solver_for(700, 1) == "lapack"
    assert solver_for(701, 35) == "block krylov"
    assert solver_for(701, 36) == "lapack"


def test_environment_overrides(monkeypatch):
    assert thresholds() == THRESHOLDS
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "10")
    monkeypatch.setenv("SHALLOWDA_DEVICE_FLOPS", "1e3")
    assert thresholds() == dataclasses.replace(THRESHOLDS, dense_order=10, device_flops=1e3)
    assert solver_for(500, 3) == "block krylov"
    assert "order 500 is above 10" in str(planned(500, 600, "rbf", k=3))


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("DENSE_ORDER", "many", "whole number"),
        ("DENSE_ORDER", "1.5", "whole number"),
        ("TILE_BYTES", "-4", "whole number"),
        ("DEVICE_FLOPS", "nan", "number"),
        ("MEMORY_BUDGET", "4GB", "number"),
    ],
)
def test_a_wrong_override_is_named(monkeypatch, name, text, kind):
    monkeypatch.setenv(f"SHALLOWDA_{name}", text)
    with pytest.raises(ValueError, match=f"SHALLOWDA_{name} must be a positive {kind}; it is '{text}'"):
        thresholds()


# ----------------------------------------------------------------------------------------------------- the budget


def test_budget(monkeypatch):
    monkeypatch.setattr(planning, "available_memory", lambda backend: 1000)
    assert resolve_budget(1) == 1
    assert resolve_budget(np.int64(5_000_000)) == 5_000_000
    assert resolve_budget(0.25) == resolve_budget(np.float32(0.25)) == 250
    assert resolve_budget(1.0) == 1000
    assert resolve_budget(None) == 500
    monkeypatch.setenv("SHALLOWDA_MEMORY_BUDGET", "0.75")
    assert resolve_budget(None) == 750
    assert resolve_budget(0.25) == 250  # an argument goes before the environment
    monkeypatch.setenv("SHALLOWDA_MEMORY_BUDGET", "123456")
    assert resolve_budget(None) == 123456


@pytest.mark.parametrize("wrong", [0, -1])
def test_budget_in_bytes_is_positive(wrong):
    with pytest.raises(ValueError, match="memory_budget must be at least one byte"):
        resolve_budget(wrong)


@pytest.mark.parametrize("wrong", [0.0, -0.5, 1.5, 4e9, float("nan")])
def test_budget_as_a_share(wrong):
    with pytest.raises(ValueError, match=r"a float is a share of the free memory, in \(0, 1\]. Pass bytes as an int"):
        resolve_budget(wrong)


@pytest.mark.parametrize("wrong", ["4GB", True, [1]])
def test_budget_of_another_type(wrong):
    with pytest.raises(TypeError, match="memory_budget must be an int, a float or None"):
        resolve_budget(wrong)


# ----------------------------------------------------------------------------------------------------- free memory


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """Files of a Linux system with 1000 KiB free and no control group; returns a function that writes more."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(planning, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(planning, "_CGROUPS", tmp_path / "groups")
    write(proc__meminfo="MemTotal:  4000 kB\nMemFree:  100 kB\nMemAvailable:   1000 kB\nHugePages_Total:  0\n")
    return write


def test_this_machine():
    free = available_memory()  # how much that is depends on who else is here: it may be none
    assert isinstance(free, int)
    assert 0 <= free < 2**50
    if {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= getattr(os, "sysconf_names", {}).keys():
        assert free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_free_is_what_the_machine_has(linux):
    assert available_memory() == 1000 * 1024


def test_control_groups_of_version_2(linux):
    """The limit of the group or of one above it, less what is used, with the cached files that can go."""
    linux(proc__self__cgroup="0::/jobs/one\n")
    assert available_memory() == 1000 * 1024  # the group's files are not there
    linux(groups__jobs__one__memory_DOT_max="max\n")
    assert available_memory() == 1000 * 1024
    linux(
        groups__jobs__memory_DOT_max="900000\n",
        groups__jobs__memory_DOT_current="600000\n",
        groups__jobs__memory_DOT_stat="anon 1\ninactive_file 50000\n",
    )
    assert available_memory() == 350_000
    linux(
        groups__jobs__one__memory_DOT_max="200000\n",
        groups__jobs__one__memory_DOT_current="300000\n",
    )
    assert available_memory() == 0  # above its limit


def test_control_groups_of_version_1(linux):
    linux(
        proc__self__cgroup="8:cpu,memory:/box\n7:cpuset:/box\n0::/\n",
        groups__memory__memory_DOT_limit_in_bytes="9223372036854771712\n",
        groups__memory__memory_DOT_usage_in_bytes="5\n",
        groups__memory__box__memory_DOT_limit_in_bytes="500000\n",
        groups__memory__box__memory_DOT_usage_in_bytes="200000\n",
        groups__memory__box__memory_DOT_stat="inactive_file 7\ntotal_inactive_file 1000\n",
    )
    assert available_memory() == 301_000


@pytest.mark.parametrize("reported", [True, False])
def test_systems_without_meminfo(linux, tmp_path, monkeypatch, reported):
    (tmp_path / "proc" / "meminfo").unlink()
    values = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000} | ({"SC_AVPHYS_PAGES": 300} if reported else {})
    monkeypatch.setattr(os, "sysconf_names", values)
    monkeypatch.setattr(os, "sysconf", values.__getitem__)
    assert available_memory() == 4096 * (300 if reported else 500)


def test_windows(linux, monkeypatch):
    answers = [1, 0]

    def fill(pointer):
        status = pointer._obj
        assert status.length == ctypes.sizeof(status) == 64
        status.available = 123_456_789
        return answers.pop(0)

    monkeypatch.setattr(sys, "platform", "win32")
    windll = SimpleNamespace(kernel32=SimpleNamespace(GlobalMemoryStatusEx=fill))
    monkeypatch.setattr(ctypes, "windll", windll, raising=False)
    assert available_memory() == 123_456_789
    with pytest.raises(OSError, match="Pass memory_budget as a number of bytes"):
        available_memory()


# ----------------------------------------------------------------------------------------------------- the backend


def test_without_cupy(without_cupy):
    assert cupy_problem() == "CuPy is not installed"
    assert resolve_backend("auto", 10**6, 2048) == "numpy"
    with pytest.raises(
        RuntimeError, match=r"CuPy is not installed.*pip install shallowda\[cuda12\] or shallowda\[cuda13\]"
    ):
        resolve_backend("cupy", 10, 10)


def test_cupy_without_a_device(cupy):
    cupy.cuda.runtime.getDeviceCount = lambda: 0
    assert cupy_problem() == "CuPy is installed, but there is no device"


def test_cupy_without_a_driver(cupy):
    class CUDARuntimeError(RuntimeError):
        pass

    def fails():
        raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    cupy.cuda.runtime.getDeviceCount = fails
    assert cupy_problem() == (
        "CuPy is installed, but cannot compute: CUDARuntimeError: cudaErrorInsufficientDriver: CUDA driver version is "
        "insufficient"
    )
    with pytest.raises(RuntimeError, match=r"backend='cupy' cannot be used: .*cudaErrorInsufficientDriver"):
        plan(10, 5, None, 2, backend="cupy")
    assert plan(10**5, 2048, None, 2, memory_budget=GIB).backend == "numpy"


def test_cupy_without_its_libraries(cupy):
    def fails(matrix):
        raise ModuleNotFoundError("No module named 'nvidia'", name="nvidia")

    cupy.linalg.eigh = fails
    assert cupy_problem() == "CuPy is installed, but cannot compute: ModuleNotFoundError: No module named 'nvidia'"


def test_a_usable_device_is_looked_for_once(cupy):
    assert cupy_problem() is None
    cupy.cuda.runtime.getDeviceCount = lambda: 0
    assert cupy_problem() is None


def test_auto_takes_the_device_for_large_work(cupy, monkeypatch):
    assert resolve_backend("cupy", 2, 2) == "cupy"
    assert resolve_backend("numpy", 10**6, 2048) == "numpy"
    assert resolve_backend("auto", 100, 100) == "numpy"
    assert resolve_backend("auto", 10**6, 2048) == "cupy"
    # 2 n d min(n, d) against 2 n^2 d flops
    assert resolve_backend("auto", 10**4, 500, linear=True) == "numpy"
    assert resolve_backend("auto", 10**4, 500, linear=False) == "cupy"
    monkeypatch.setenv("SHALLOWDA_DEVICE_FLOPS", "1e15")
    assert resolve_backend("auto", 10**6, 2048) == "numpy"


def test_small_work_does_not_even_import_cupy(monkeypatch):
    monkeypatch.setattr(planning, "cupy_problem", lambda: pytest.fail("looked for CuPy"))
    assert resolve_backend("auto", 100, 100) == "numpy"


def test_the_memory_of_the_device_counts_there(cupy):
    assert available_memory("cupy") == 4 * GIB
    result = plan(8000, 2048, "rbf", 30, "float32", backend="cupy", memory_budget=0.25)
    assert (result.backend, result.budget) == ("cupy", GIB)
    assert result.nbytes > planned(8000, 2048, "rbf", dtype="float32").nbytes + 4 * 8000 * 2048
    assert "the rows (62.5 MiB) are copied to the device" in result.reasons
    there = plan(8000, 2048, "rbf", 30, "float32", backend="cupy", memory_budget=0.25, copied=False)
    assert result.nbytes == there.nbytes + 4 * 8000 * 2048
    assert "copied to the device" not in str(there)


def test_linear_methods_count_their_rows_on_the_device(cupy):
    rows = 4 * 10**5 * 2048
    assert plan(10**5, 2048, None, 30, "float32", backend="cupy", memory_budget=3 * rows).nbytes > rows
    with pytest.raises(MemoryError, match=r"memory_budget allows 512\.0 MiB"):
        plan(10**5, 2048, None, 30, "float32", backend="cupy", memory_budget=GIB // 2)
    with pytest.raises(MemoryError, match=r"memory_budget allows 4\.0 GiB"):  # all there is
        plan(10**6, 2048, None, 30, "float32", backend="cupy", memory_budget=100 * GIB)


def test_what_the_pool_keeps_is_free(cupy):
    cupy.pool.free_bytes, cupy.pool.used_bytes = lambda: 3 * GIB, lambda: GIB
    assert available_memory("cupy") == 7 * GIB
    cupy.pool.get_limit = lambda: 5 * GIB
    assert available_memory("cupy") == 4 * GIB
    cupy.pool.get_limit = lambda: GIB // 2
    assert available_memory("cupy") == 0


def test_tensors_on_a_device_are_planned_with_its_memory(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (3 * GIB, 8 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 2 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: GIB)
    assert available_memory("torch") == 4 * GIB
    result = plan(8000, 512, "rbf", 30, backend="torch", copied=False)
    assert (result.backend, result.budget) == ("torch", 2 * GIB)


def test_where_an_array_lies():
    class Tensor:
        def __init__(self, kind):
            self.device = SimpleNamespace(type=kind)

    Tensor.__module__ = "torch"
    assert [memory_of(array) for array in (np.eye(2), Tensor("cpu"), Tensor("cuda"))] == ["numpy", "numpy", "torch"]
    Tensor.__module__ = "cupy"
    assert memory_of(Tensor("cuda")) == "cupy"


def test_methods_without_a_budget_are_never_refused_on_the_machine(cupy, monkeypatch):
    for form in ("domains", "weights"):
        assert plan(10**4, 500, None, 2, form=form, backend="numpy", memory_budget=1000).backend == "numpy"
        with pytest.raises(MemoryError, match=r"memory_budget allows .* take backend='numpy'"):
            plan(10**4, 500, None, 2, form=form, backend="cupy", memory_budget=1000)
        assert plan(10**4, 500, None, 2, form=form, backend="cupy", memory_budget=1000, copied=False).budget == 1000


def test_auto_goes_back_to_the_machine_when_the_device_is_too_small(cupy, monkeypatch):
    monkeypatch.setattr(planning, "available_memory", lambda backend: {"cupy": 10**6, "numpy": 8 * GIB}[backend])
    result = plan(8000, 2048, "rbf", 30)
    assert (result.backend, result.budget) == ("numpy", 4 * GIB)
    assert "the device has too little memory: " in str(result)
    assert "with the rows, and 488.3 KiB are allowed there" in str(result)
    with pytest.raises(MemoryError, match=r"memory_budget allows 488\.3 KiB"):
        plan(8000, 2048, "rbf", 30, backend="cupy")


def test_the_system_of_artl_is_factored_or_iterated():
    stored = plan(4000, 512, "rbf", 10, form="system", backend="numpy", memory_budget=2**30)
    assert (stored.operator, stored.solver) == ("dense", "lapack")
    assert stored.nbytes == 2 * 8 * 4000**2 + 2**28  # the matrix, its factors, and blocks of the graph
    tiled = plan(20_000, 512, "rbf", 10, form="system", backend="numpy", memory_budget=2**30)
    assert (tiled.operator, tiled.solver) == ("tiled", "conjugate gradients")
    assert "cannot be factored" in str(tiled)
    moments = plan(20_000, 512, "linear", 10, form="system", backend="numpy", memory_budget=2**30)
    assert moments.operator == "moments"
