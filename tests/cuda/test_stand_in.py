"""The stand-in for CuPy is as strict as a device is."""

import gc
import pickle
import sys
import threading

import numpy as np
import pytest
import scipy.sparse
import stand_in

from shallowda.kernels.arrays import namespace
from shallowda.kernels.planning import cupy_problem


@pytest.fixture
def x(cupy):
    return cupy.asarray(np.arange(6.0).reshape(2, 3))


def test_nothing_becomes_numpy_unasked(cupy, x):
    host = np.ones((2, 3))
    for convert in (np.asarray, np.array, np.float64, lambda x: host.__setitem__(slice(None), x)):
        with pytest.raises(TypeError, match=r"Implicit conversion.*use `.get\(\)`"):
            convert(x)
    assert isinstance(x.get(), np.ndarray)
    assert isinstance(cupy.asnumpy(x), np.ndarray)
    assert np.sum(x).__class__ is cupy.ndarray  # NumPy's functions go to CuPy's


def test_numpy_arrays_are_mixed_with_nothing(cupy, x):
    host = np.ones((2, 3))
    for mix in (
        lambda: x + host,
        lambda: host + x,
        lambda: x.__iadd__(host),
        lambda: x == host,
        lambda: x @ host.T,
        lambda: cupy.where(x > 1, x, host),
        lambda: cupy.concatenate([x, host]),
        lambda: np.concatenate([x, host]),
        lambda: x.__setitem__(slice(None), host),
    ):
        with pytest.raises(TypeError, match=r"Unsupported type <class 'numpy\.ndarray'>"):
            mix()
    np.testing.assert_array_equal((np.float64(2) * x).get(), 2 * x.get())
    assert (np.float32(2) * x.astype(np.float32)).dtype == np.float32


def test_only_what_cupy_has(cupy, x):
    with pytest.raises(AttributeError, match=r"of CuPy 14.* has no attribute 'vecdot'"):
        _ = cupy.vecdot
    with pytest.raises(AttributeError, match=r"The stand-in has no cupy.RawKernel yet"):
        _ = cupy.RawKernel
    for call in (
        lambda: cupy.zeros(3, device="cuda"),
        lambda: cupy.sum(x, where=x > 1),
        lambda: cupy.add(x, x, order="C"),
        lambda: x.sum(initial=1),
        lambda: x.astype(float, device=None),
        lambda: cupy.linalg.cholesky(x @ x.T, upper=True),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="Unsupported dtype object"):
        cupy.asarray(["a", None])
    known = {"__module__", "__weakref__", "__class__", *vars(object), "_memory", "_values"}
    assert set(vars(cupy.ndarray)) <= set(stand_in.NAMES["cupy.ndarray"]) | known
    for name in ("Device", "Event", "MemoryPool", "Stream"):
        public = {key for key in vars(getattr(cupy.cuda, name)) if not key.startswith("_")}
        assert public <= set(stand_in.NAMES[f"cupy.cuda.{name}"])
    for name, module in stand_in.MODULES.items():
        if name in stand_in.NAMES:
            assert {key for key in vars(module) if not key.startswith("_")} <= set(stand_in.NAMES[name]), name


def test_values(cupy, x):
    assert isinstance(x[0, 1], cupy.ndarray)
    assert x.sum().shape == ()
    x[0, 1] += 5
    x[1:] -= x[0]
    np.testing.assert_array_equal(x.get(), [[0, 6, 2], [3, -2, 3]])
    assert cupy.asarray(x) is x
    assert x.astype(np.float64, copy=False) is x
    assert float(x.max()) == 6
    assert np.isnan(cupy.empty(3).get()).all()
    np.testing.assert_array_equal(cupy.asarray([x[0, 1], x[0, 2]]).get(), [6, 2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(x)).get(), x.get())
    matrix = scipy.sparse.random(4, 2, 0.5, "csr", rng=0)
    product = sys.modules["cupyx"].scipy.sparse.csr_matrix(matrix) @ x
    np.testing.assert_array_equal(product.get(), matrix @ x.get())


def test_indices_of_numpy_are_noticed(cupy, machine, x):
    x[:, cupy.asarray([0, 2])], x[0], x[x > 1]
    assert not machine.host_indices
    before = machine.to_device
    np.testing.assert_array_equal(x[:, np.array([0, 2])].get(), x.get()[:, [0, 2]])
    assert machine.host_indices[0].startswith(__file__)
    assert machine.to_device == before + 16


def test_memory_is_counted(cupy, machine):
    memory, pool = machine.devices[0], cupy.get_default_memory_pool()
    gc.collect()
    assert memory.used == 0
    x = cupy.zeros((1000, 128))
    view = x[5:]
    assert memory.used == pool.used_bytes() == x.nbytes
    y = x + 1
    assert memory.used == 2 * x.nbytes
    del x, y
    assert view.shape == (995, 128)
    assert memory.used == 1000 * 128 * 8  # a view keeps the whole
    assert memory.peak == memory.held == pool.total_bytes() == 2 * memory.used
    assert cupy.cuda.runtime.memGetInfo() == (memory.total - memory.held, memory.total)
    pool.free_all_blocks()
    assert pool.free_bytes() == 0
    del view
    assert memory.used == 0
    memory.total = 10**6
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match=r"allocating 1,024,000 bytes \(allocated so far: 0"):
        cupy.zeros((1000, 128))
    pool.set_limit(size=10**5)
    with pytest.raises(MemoryError):
        cupy.zeros(20_000)
    assert memory.used == 0


def test_copies_are_counted(cupy, machine):
    x = cupy.asarray(np.zeros(100, dtype=np.float32))
    assert (machine.to_device, machine.to_host) == (400, 0)
    bool(x[0]), x.get()
    assert (machine.to_device, machine.to_host) == (400, 404)


def test_a_failed_decomposition_is_an_error_where_it_is_asked_for(cupy):
    indefinite = -cupy.eye(3)
    cupyx = sys.modules["cupyx"]
    with cupyx.errstate(linalg="raise"), pytest.raises(np.linalg.LinAlgError):
        cupy.linalg.cholesky(indefinite)
    with pytest.raises(RuntimeError, match="would go unseen"):
        cupy.linalg.cholesky(indefinite)


def test_the_current_device_matters(cupy, machine):
    x = cupy.zeros(1000)
    with cupy.cuda.Device(1):
        y = cupy.zeros(1000)
        assert cupy.asarray(x).device == cupy.cuda.Device(1)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(cupy.cuda.Device().id))  # each thread has its own
        thread.start()
        thread.join()
        assert seen == [0]
    assert (x.device.id, y.device.id) == (0, 1)
    assert [memory.used > 0 for memory in machine.devices] == [True, True]
    for use in (lambda: x + y, lambda: y + 1, lambda: y.sum(), lambda: cupy.concatenate([x, y]), lambda: x[y > 0]):
        with pytest.raises(ValueError, match=r"array resides \(1\) is different from the current device \(0\)"):
            use()
    assert y[:5].device == y.T.device == y.device
    assert (x + y.copy()).device.id == 0
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="invalid device"), cupy.cuda.Device(2):
        pass
    assert cupy.cuda.Device().id == 0


def test_streams_and_events(cupy):
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        start.record()
        stop.record(stream)
    stop.synchronize()
    assert cupy.cuda.get_elapsed_time(start, stop) > 0


def test_it_leaves_no_trace(build):
    before = {name for name in sys.modules if name.startswith(("cupy", "array_api_compat.cupy"))}
    with stand_in.installed(build):
        import cupy

        assert namespace(cupy.zeros(2)).__name__ == "array_api_compat.cupy"
    after = {name for name in sys.modules if name.startswith(("cupy", "array_api_compat.cupy"))}
    assert after == before
    assert "cupy" not in vars(sys.modules["array_api_compat"])


def test_a_device_is_found(cupy):
    assert cupy_problem() is None
