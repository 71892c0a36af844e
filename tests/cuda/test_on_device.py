"""kernels/device.py on a real device: what tests/cuda/test_on_cpu.py checks on the CPU."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import pairwise_kernels

from shallowda.kernels import device
from shallowda.kernels.arrays import strict_linalg
from shallowda.kernels.pairwise import Kernel
from shallowda.kernels.planning import cupy_problem

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cupy():
    if problem := cupy_problem():
        pytest.skip(problem)
    import cupy

    return cupy


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("name", ["rbf", "laplacian", "poly", "sigmoid", "cosine", "linear"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (129, 1300, 5, 33), (3000, 2500, 70, 8), (700, 900, 512, 16)], ids=str)
def test_kernel_times_block(cupy, shape, name, dtype, tolerance):
    m, n, d, b = shape
    rng = np.random.RandomState(0)
    X, Y, block = (rng.randn(*size).astype(dtype) / size[1] ** 0.5 for size in ((m, d), (n, d), (n, b)))
    X, Y, block = (array.astype(dtype) for array in (X, Y, block))
    kernel = Kernel(name, gamma=0.7, degree=3, coef0=0.5)
    got = device.kernel_times_block(*map(cupy.asarray, (X, Y, block)), kernel)
    named = {"gamma": 0.7, "degree": 3, "coef0": 0.5}
    wide = (rows.astype("float64") for rows in (X, Y))
    expected = pairwise_kernels(*wide, metric=name, filter_params=True, **named) @ block
    assert got.dtype == dtype
    assert got.device == cupy.asarray(X).device
    np.testing.assert_allclose(got.get(), expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "d"), [(1, 1, 1), (700, 3000, 30), (300, 40, 128)])
def test_nearest_row(cupy, m, n, d, dtype):
    rng = np.random.RandomState(1)
    queries, rows = (rng.randint(-3, 4, size=(size, d)).astype(dtype) for size in (m, n))  # ties, and exact products
    squared = (rows.astype("float64") ** 2).sum(axis=1) / 2 - queries.astype("float64") @ rows.T
    rows_at = device.nearest_row(cupy.asarray(queries), cupy.asarray(rows)).get()
    np.testing.assert_allclose(squared[np.arange(m), rows_at], squared.min(axis=1), atol=1e-3)


def test_first_of_equal_rows(cupy):
    rows = np.random.RandomState(2).randn(500, 7).astype("float32")
    index = device.nearest_row(cupy.asarray(rows), cupy.asarray(np.concatenate([rows] * 30)))
    np.testing.assert_array_equal(index.get(), np.arange(500))


def test_a_failed_decomposition_is_an_error(cupy):
    with pytest.raises(ValueError, match="failed on the CUDA device"), strict_linalg(cupy.eye(3)):
        cupy.linalg.cholesky(-cupy.eye(3))
