"""The CUDA sources, run on the CPU through kernels/device.py, against NumPy."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import pairwise_kernels

from shallowda.kernels import device
from shallowda.kernels.arrays import to_numpy
from shallowda.kernels.pairwise import Kernel

KERNELS = [
    Kernel("rbf", gamma=0.3),
    Kernel("laplacian", gamma=0.1),
    Kernel("poly", gamma=0.2, degree=3, coef0=0.5),
    Kernel("sigmoid", gamma=0.05, coef0=-0.2),
    Kernel("cosine"),
    Kernel("linear"),
]
SHAPES = [(1, 1, 1, 1), (3, 130, 8, 9), (129, 65, 5, 33), (70, 300, 17, 2)]  # m, n, d, b
TOLERANCE = {"float32": 3e-5, "float64": 1e-12}
WITH_CODE = KERNELS[:4]


def truth(X, Y, block, kernel):
    named = {"gamma": kernel.gamma, "degree": kernel.degree, "coef0": kernel.coef0}
    X, Y, block = (to_numpy(array).astype(np.float64) for array in (X, Y, block))
    return pairwise_kernels(X, Y, metric=kernel.name, filter_params=True, **named) @ block


def nearest(queries, rows):
    queries, rows = (to_numpy(array).astype(np.float64) for array in (queries, rows))
    return ((queries[:, None, :] - rows[None]) ** 2).sum(axis=2).argmin(axis=1)


def close(got, expected, dtype):
    assert got.dtype == dtype
    np.testing.assert_allclose(got.get(), expected, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(expected).max()))


def guarded(array, cupy):
    """The same values in the middle of NaN, so that a read beyond the array poisons the result."""
    store = np.full(array.size + 2 * 4096, np.nan, dtype=array.dtype)
    store[4096:-4096] = array.ravel()
    return cupy.asarray(store)[4096:-4096].reshape(array.shape)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_kernel_times_block(cupy, kernel, dtype):
    # Each width of the block is compiled anew for each kernel: RBF takes all of them.
    for shape in SHAPES if kernel.name in ("rbf", "linear", "cosine") else SHAPES[2:]:
        check_product(cupy, shape, kernel, dtype)


def check_product(cupy, shape, kernel, dtype):
    m, n, d, b = shape
    rng = np.random.RandomState(0)
    X, Y, block = (guarded(rng.randn(*size).astype(dtype), cupy) for size in ((m, d), (n, d), (n, b)))
    before = [array.copy() for array in (X, Y, block)]
    close(device.kernel_times_block(X, Y, block, kernel), truth(X, Y, block, kernel), dtype)
    for array, copy in zip((X, Y, block), before, strict=True):
        np.testing.assert_array_equal(array.get(), copy.get())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "d"), [(1, 1, 1), (5, 700, 3), (130, 131, 16), (300, 40, 9)])
def test_nearest_row(cupy, m, n, d, dtype):
    rng = np.random.RandomState(1)
    queries, rows = (guarded((rng.randn(*size) + 3).astype(dtype), cupy) for size in ((m, d), (n, d)))
    index = device.nearest_row(queries, rows)
    assert index.dtype == np.int64
    np.testing.assert_array_equal(index.get(), nearest(queries, rows))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_first_of_equal_rows(cupy, machine, order, dtype):
    # Copies lie in the same thread, in other threads, in other tiles and in other parts.
    machine.thread_order = order
    rows = np.random.RandomState(2).randint(-2, 3, size=(37, 3)).astype(dtype)
    rows = cupy.asarray(np.concatenate([rows] * 20))
    queries = rows[:90] + rows.dtype.type(0.25)
    np.testing.assert_array_equal(device.nearest_row(queries, rows).get(), nearest(queries, rows))
    assert machine.kernels[0].calls[0][0][1] > 1  # the rows were shared by several parts


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_order_of_the_threads_does_not_matter(cupy, machine, order):
    rng = np.random.RandomState(3)
    X, Y, block = (cupy.asarray(rng.randn(*size).astype("float32")) for size in ((130, 20), (260, 20), (260, 32)))
    results = []
    for machine.thread_order in (0, order):
        results += [device.kernel_times_block(X, Y, block, KERNELS[0]), device.nearest_row(X, Y)]
    np.testing.assert_array_equal(results[0].get(), results[2].get())
    np.testing.assert_array_equal(results[1].get(), results[3].get())


def barriers(entry):
    lines = device._source(entry).split("\n")
    return [number for number, line in enumerate(lines) if line.strip().startswith("__syncthreads();")]


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["kernel_times_block", "nearest_row"])
def test_no_barrier_can_be_left_out(cupy, machine, entry, monkeypatch):
    # A test of this test bench too: it sees a race. Each part has several tiles.
    monkeypatch.setitem(machine.attributes, "MultiProcessorCount", 1)
    rng = np.random.RandomState(4)
    X, Y, block = (cupy.asarray(rng.randn(*size)) for size in ((70, 20), (700, 20), (700, 8)))
    source = device._source(entry)
    found = barriers(entry)
    assert len(found) >= 2
    for number in found:
        lines = source.split("\n")
        lines[number] = ""
        code = "\n".join(lines)
        monkeypatch.setattr(device, "_source", lambda _, code=code: code)
        device._function.cache_clear()
        wrong = False
        for machine.thread_order in (0, 1, 2):
            if entry == "nearest_row":
                wrong |= (device.nearest_row(X, Y).get() != nearest(X, Y)).any()
            else:
                got = device.kernel_times_block(X, Y, block, KERNELS[0])
                wrong |= not np.allclose(got.get(), truth(X, Y, block, KERNELS[0]))
        assert wrong, f"without the barrier in line {number} of {entry} the results stay right"


def test_runs_are_added_up_in_float64(cupy, machine, monkeypatch):
    # 40 tiles of float32: more than two runs. The sums cancel, except for what float32 sums would lose.
    n = 40 * 128
    X = cupy.asarray(np.zeros((1, 1), dtype="float32"))
    Y = cupy.asarray(np.zeros((n, 1), dtype="float32"))
    block = np.ones((n, 1), dtype="float32")
    block[: n // 2] = 2.0**25
    monkeypatch.setitem(machine.attributes, "MultiProcessorCount", 1)
    exact = block.astype("float64").sum()
    got = device.kernel_times_block(X, Y, cupy.asarray(block.astype("float64")), Kernel("rbf", gamma=1.0))
    assert got[0, 0] == exact


def test_float32_rows_far_apart_are_taken_in_float64(cupy, machine):
    rng = np.random.RandomState(5)
    X = cupy.asarray((1e3 + 30 * rng.randn(60, 4)).astype("float32"))
    block = cupy.asarray(rng.randn(60, 3).astype("float32"))
    kernel = Kernel("rbf", gamma=0.5)
    close(device.kernel_times_block(X, X, block, kernel), truth(X, X, block, kernel), "float32")
    assert machine.kernels[-1].calls[0][2][0].dtype == np.float64


def test_an_offset_costs_no_digits(cupy):
    rng = np.random.RandomState(6)
    X, block = rng.randn(60, 4), cupy.asarray(rng.randn(60, 3).astype("float32"))
    moved = cupy.asarray((X + 500).astype("float32"))
    expected = truth(np.float32(X + 500), np.float32(X + 500), block, KERNELS[0])
    close(device.kernel_times_block(moved, moved, block, KERNELS[0]), expected, "float32")


@pytest.mark.parametrize(("degree", "coef0"), [(0, 1.0), (1, 0.0), (2.5, 30.0), (4, -1.0)])
def test_degrees(cupy, degree, coef0):
    rng = np.random.RandomState(7)
    X, block = cupy.asarray(rng.randn(20, 3)), cupy.asarray(rng.randn(20, 2))
    kernel = Kernel("polynomial", gamma=0.5, degree=degree, coef0=coef0)
    close(device.kernel_times_block(X, X, block, kernel), truth(X, X, block, kernel), "float64")


def test_views_are_copied(cupy):
    rng = np.random.RandomState(8)
    store, block = cupy.asarray(rng.randn(50, 33)), cupy.asarray(rng.randn(100, 6)[::2, ::2])
    for X in (store[:, 1:17], store[:, ::4], store.T[:16].T):
        close(device.kernel_times_block(X, X, block, WITH_CODE[2]), truth(X, X, block, WITH_CODE[2]), "float64")


def test_default_width_and_nothing_to_do(cupy):
    rng = np.random.RandomState(9)
    X, block = cupy.asarray(rng.randn(20, 4)), cupy.asarray(rng.randn(20, 2))
    expected = truth(X, X, block, Kernel("rbf", gamma=0.25))
    close(device.kernel_times_block(X, X, block, Kernel("rbf")), expected, "float64")
    assert device.kernel_times_block(X[:0], X, block, Kernel("poly")).shape == (0, 2)
    assert not device.kernel_times_block(X, X[:0], block[:0], Kernel("poly")).any()
    assert device.nearest_row(X[:0], X).shape == (0,)


def test_refusals(cupy):
    X = cupy.asarray(np.ones((4, 2)))
    with pytest.raises(ValueError, match="no CUDA code for kernel='chi2'"):
        device.kernel_times_block(X, X, X, Kernel("chi2"))
    with pytest.raises(ValueError, match="no CUDA code for kernel=<"):
        device.kernel_times_block(X, X, X, Kernel(np.dot))
    with pytest.raises(TypeError, match="alike; got float64 and float32"):
        device.nearest_row(X, X.astype("float32"))
    with pytest.raises(TypeError, match="float32 or float64"):
        device.kernel_times_block(X.astype(int), X.astype(int), X, Kernel("rbf"))


@pytest.mark.parametrize("itemsize", [4, 8])
def test_grids_cover_everything_and_no_part_is_empty(cupy, itemsize):
    tile = 512 // itemsize
    for m in (1, tile, tile + 1, 10**6):
        for n in (1, tile, 7 * tile + 1, 11 * tile, 10**6, 2**33):
            across, parts = device._grid(m, n, itemsize)
            along = -(-n // tile)
            each = (along - 1) // parts + 1  # as in tiles.cu
            assert (across - 1) * tile < m <= across * tile
            assert (parts - 1) * each < along <= parts * each
            assert each * tile < 2**31
            assert 1 <= parts <= 65535
            assert across < 2**31


def test_arguments_of_the_wrong_size_and_divergent_barriers_are_seen(cupy):
    code = 'extern "C" __global__ void f(int n, float* x) { if (threadIdx.x < n) { __syncthreads(); } x[0] = n; }'
    kernel = cupy.RawModule(code=code, options=("-std=c++17",)).get_function("f")
    x = cupy.zeros(1, dtype="float32")
    kernel((1, 1), (4,), (np.int32(4), x))
    assert x[0] == 4
    with pytest.raises(RuntimeError, match=r"divergent barrier: thread 0 waits at .*, thread 2 ended"):
        kernel((1, 1), (4,), (np.int32(2), x))
    with pytest.raises(RuntimeError, match="argument 0 has 8 bytes, the kernel takes 4"):
        kernel((1, 1), (4,), (4, x))
    with pytest.raises(RuntimeError, match="1 arguments for a kernel that takes 2"):
        kernel((1, 1), (4,), (np.int32(4),))


def test_sources_name_their_files_and_entry_points():
    for entry in ("kernel_times_block", "nearest_row"):
        source = device._source(entry)
        assert f"\n    {entry}(" in source
        assert f'#line 1 "{entry}.cu"' in source
