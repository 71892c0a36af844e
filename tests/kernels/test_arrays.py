import sys
from contextlib import contextmanager, nullcontext, suppress
from types import ModuleType, SimpleNamespace

import array_api_strict as strict
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from shallowda.kernels import arrays
from shallowda.kernels.arrays import (
    ArrayHolder,
    alike,
    as_dtype,
    from_numpy,
    full_precision,
    is_foreign,
    is_lazy,
    is_numpy,
    library,
    merge_rows,
    namespace,
    of_foreign,
    on_backend,
    on_device,
    row_squares,
    strict_linalg,
    symmetric_product,
    take_rows,
    to_numpy,
)

DEVICE = strict.Device("device1")
ROWS = np.arange(12.0).reshape(4, 3)


def there(array):
    return strict.asarray(array, device=DEVICE)


class FromCuPy:
    """What a CuPy array shows of itself, without CuPy."""

    shape, dtype = (2,), np.dtype(float)
    device = nullcontext("a device")

    def get(self):
        return np.array([1.0, 2.0])


FromCuPy.__module__ = "cupy._core.core"


class FromDask:
    """What an array of Dask shows of itself, without Dask."""

    shape, dtype = (2,), np.dtype(float)

    def __array__(self, dtype=None, copy=None):
        return np.array([1.0, 2.0])


FromDask.__module__ = "dask.array.core"


class LazyFrame:
    """What a lazy frame of polars shows of itself: it has no shape."""

    def collect(self):
        """The frame."""


@pytest.fixture
def memmap(tmp_path):
    file = tmp_path / "rows"
    ROWS.tofile(file)
    return np.memmap(file, dtype=float, mode="r", shape=ROWS.shape)


# ------------------------------------------------------------------------------------------------- whose array is it


def test_arrays_of_numpy(memmap):
    for array in (ROWS, memmap, np.empty(0)):
        assert is_numpy(array)
        assert not is_foreign(array)
        assert library(array) == "numpy"
        assert namespace(array) is np
    assert namespace(ROWS, memmap) is np


def test_arrays_of_other_libraries():
    assert not is_numpy(there(ROWS))
    assert is_foreign(there(ROWS))
    assert library(there(ROWS)) == "array_api_strict"
    assert namespace(there(ROWS), there(ROWS)) is strict
    assert is_foreign(FromCuPy())
    assert library(FromCuPy()) == "cupy"


@pytest.mark.parametrize(
    "value",
    [[[1.0]], 1.0, None, np.float64(1), np.ndarray, strict.asarray, pd.DataFrame(ROWS), sp.csr_array(ROWS), "rows"],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_array_of_another_library(value):
    assert not is_foreign(value)
    assert not is_numpy(value)


def test_libraries_do_not_mix():
    for mixed in ((ROWS, there(ROWS)), (there(ROWS), ROWS, ROWS)):
        with pytest.raises(TypeError, match="array_api_strict, numpy"):
            namespace(*mixed)


def test_array_api_compat_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "array_api_compat", None)
    assert namespace(ROWS) is np
    with pytest.raises(ImportError, match=r"pip install array-api-compat .*shallowda\[cuda12\]"):
        namespace(FromCuPy())


def test_array_api_compat_is_asked_for_cupy(monkeypatch):
    compat = ModuleType("array_api_compat")
    compat.array_namespace = lambda *arrays: ("namespace of", len(arrays))
    monkeypatch.setitem(sys.modules, "array_api_compat", compat)
    assert namespace(FromCuPy(), FromCuPy()) == ("namespace of", 2)


# ------------------------------------------------------------------------------------------------------ there and back


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool])
def test_to_the_device_and_back(dtype):
    array = (ROWS % 2).astype(dtype)
    moved = from_numpy(array, there(ROWS))
    assert moved.device == DEVICE
    back = to_numpy(moved)
    assert is_numpy(back)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    "array", [ROWS.T, ROWS[::-1, ::2], ROWS[:0], np.array(3.0)], ids=["transposed", "strided", "empty", "0-d"]
)
def test_layouts_survive_the_way(array):
    read_only = array.view()
    read_only.setflags(write=False)
    back = to_numpy(from_numpy(read_only, there(ROWS)))
    np.testing.assert_array_equal(back, array, strict=True)


def test_nothing_is_copied_where_it_is_already(memmap):
    moved = there(ROWS)
    assert from_numpy(ROWS, ROWS) is ROWS
    assert from_numpy(ROWS, memmap) is ROWS
    assert from_numpy(moved, moved) is moved
    assert to_numpy(ROWS) is ROWS
    assert np.shares_memory(to_numpy(memmap), memmap)


@pytest.mark.parametrize("like", [ROWS, FromCuPy()], ids=["numpy", "cupy"])
def test_arrays_of_a_third_library_are_refused(like):
    with pytest.raises(TypeError, match="different libraries"):
        from_numpy(there(ROWS), like)


def test_to_numpy_takes_what_numpy_takes():
    np.testing.assert_array_equal(to_numpy([1, 2]), [1, 2])
    np.testing.assert_array_equal(to_numpy(pd.Series([1, 2])), [1, 2])


def test_cupy_arrays_come_back_by_get():
    np.testing.assert_array_equal(to_numpy(FromCuPy()), [1.0, 2.0])


def test_tensors_come_back_detached():
    class Tensor(SimpleNamespace):
        pass

    Tensor.__module__ = "torch"
    on_cpu = SimpleNamespace(numpy=lambda: np.array([3.0]))
    tensor = Tensor(shape=(1,), dtype="torch.float64", detach=lambda: SimpleNamespace(cpu=lambda: on_cpu))
    np.testing.assert_array_equal(to_numpy(tensor), [3.0])


def test_lists_of_arrays():
    for parts in ([there(row) for row in ROWS], (FromCuPy(), FromCuPy())):
        assert of_foreign(parts)
        assert is_numpy(to_numpy(parts))
    np.testing.assert_array_equal(to_numpy([there(row) for row in ROWS]), ROWS)
    for other in ([], [[1.0]], list(ROWS), there(ROWS), None, "ab"):
        assert not of_foreign(other)


def test_the_device_of_cupy_arrays_is_a_context():
    with on_device(FromCuPy()) as device:
        assert device == "a device"
    for array in (ROWS, there(ROWS), [1.0], None):
        with on_device(array) as device:
            assert device is None


@pytest.mark.parametrize("place", [np.asarray, there], ids=["numpy", "other device"])
def test_arrays_of_two_precisions_become_alike(place):
    rows, single = place(ROWS), place(ROWS.astype(np.float32))
    assert all(array is rows for array in alike(rows, rows))
    assert {to_numpy(array).dtype for array in alike(single, rows)} == {np.dtype(float)}
    assert alike(single, single)[1] is single


def test_on_backend(monkeypatch):
    cupy = ModuleType("cupy")
    cupy.asarray = there
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert on_backend(ROWS, "numpy") is ROWS
    assert on_backend(ROWS, "cupy").device == DEVICE
    moved = there(ROWS)
    assert on_backend(moved, "cupy") is moved


def test_failed_decompositions_of_cupy_are_clear_errors(monkeypatch):
    seen = []

    @contextmanager
    def errstate(**named):
        seen.append(named)
        yield

    cupyx = ModuleType("cupyx")
    cupyx.errstate = errstate
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    for array in (ROWS, there(ROWS)):
        with pytest.raises(np.linalg.LinAlgError, match=r"^info=3$"), strict_linalg(array):
            raise np.linalg.LinAlgError("info=3")
    assert not seen
    with (
        pytest.raises(ValueError, match=r"failed on the CUDA device.*info=3") as caught,
        strict_linalg(FromCuPy()),
    ):
        raise np.linalg.LinAlgError("info=3")
    assert isinstance(caught.value, np.linalg.LinAlgError)
    assert seen == [{"linalg": "raise"}]
    with pytest.raises(KeyError), strict_linalg(FromCuPy()):
        raise KeyError("not about linear algebra")


def test_what_holds_arrays_moves_with_them():
    class Pair(ArrayHolder):
        def __init__(self, *parts):
            self.parts = parts

        def moved(self, move):
            return Pair(*map(move, self.parts))

    elsewhere = Pair(ROWS, ROWS[0]).like(there(ROWS))
    assert [part.device for part in elsewhere.parts] == [DEVICE, DEVICE]
    for part, expected in zip(elsewhere.to_numpy().parts, (ROWS, ROWS[0]), strict=True):
        assert is_numpy(part)
        np.testing.assert_array_equal(part, expected)


# --------------------------------------------------------------------------------------------------------- small steps


@pytest.mark.parametrize("place", [np.asarray, there], ids=["numpy", "other device"])
def test_steps_agree_with_numpy(place):
    rows, mask = place(ROWS), np.array([True, False, False, True, True])
    taken = take_rows(rows, np.array([3, 0, 0]))
    merged = merge_rows(mask, take_rows(rows, np.array([0, 1, 2])), take_rows(rows, np.array([3, 3])))
    for got, expected in ((taken, ROWS[[3, 0, 0]]), (merged, ROWS[[0, 3, 3, 1, 2]])):
        assert namespace(got) is namespace(rows)
        assert got.device == rows.device
        np.testing.assert_array_equal(to_numpy(got), expected)
    single = as_dtype(rows, namespace(rows).float32)
    assert single.device == rows.device
    assert to_numpy(single).dtype == np.float32
    assert as_dtype(rows, rows.dtype) is rows


@pytest.mark.parametrize("mask", [np.ones(3, dtype=bool), np.zeros(3, dtype=bool)], ids=["all", "none"])
def test_merge_with_one_side_empty(mask):
    inside, outside = there(ROWS[:3][mask]), there(ROWS[:3][~mask])
    np.testing.assert_array_equal(to_numpy(merge_rows(mask, inside, outside)), ROWS[:3])


def test_lazy_arrays():
    for lazy in (FromDask(), LazyFrame()):
        assert is_lazy(lazy)
        assert not is_foreign(lazy)
    for eager in (ROWS, there(ROWS), FromCuPy(), pd.DataFrame(ROWS), [[1.0]], sp.csr_array(ROWS), None):
        assert not is_lazy(eager)
    np.testing.assert_array_equal(to_numpy(FromDask()), [1.0, 2.0])  # labels are few, and may be computed


def test_taking_no_rows_keeps_the_features():
    for rows in (ROWS, there(ROWS)):
        assert take_rows(rows, np.empty(0, dtype=int)).shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", [np.asarray, there], ids=["numpy", "other device"])
def test_symmetric_product(place, dtype):
    rng = np.random.RandomState(0)
    matrix, block = rng.randn(7, 7), rng.randn(7, 2)
    matrix = (matrix + matrix.T).astype(dtype)
    product = symmetric_product(place(matrix), place(block.astype(dtype)))
    assert to_numpy(product).dtype == dtype
    np.testing.assert_allclose(to_numpy(product), matrix @ block, rtol=1e-5 if dtype == np.float32 else 1e-12)


def test_everything_public_is_tested_here():
    assert set(arrays.__all__) <= set(globals())


def test_float32_of_torch_is_float32_whatever_it_is_set_to():
    torch = pytest.importorskip("torch", reason="torch is not installed: tensors are not tested")
    from shallowda.core.estimator import computing

    before = torch.get_float32_matmul_precision()
    try:
        for setting in ("high", "highest"):
            torch.set_float32_matmul_precision(setting)
            with suppress(ZeroDivisionError), computing(torch.ones((2, 2))):
                assert torch.get_float32_matmul_precision() == "highest"
                raise ZeroDivisionError
            assert torch.get_float32_matmul_precision() == setting
            with full_precision(np.eye(2)):
                assert torch.get_float32_matmul_precision() == setting
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("place", [np.asarray, there], ids=["numpy", "device"])
def test_sums_of_squares(place):
    rows = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(to_numpy(row_squares(place(rows))), (rows**2).sum(axis=1))
    assert row_squares(rows).tobytes() == np.vecdot(rows, rows).tobytes()
