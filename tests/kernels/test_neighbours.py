import tracemalloc

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_info

from shallowda.kernels import neighbours
from shallowda.kernels.neighbours import (
    cosine_knn_graph,
    kernel_knn_graph,
    nearest_row,
    normalised_laplacian,
    unit_rows,
)
from shallowda.kernels.operators import DenseGram, FactoredGram


def brute_force(queries, rows):
    gaps = queries[:, None].astype(np.float64) - rows[None].astype(np.float64)
    return (gaps**2).sum(axis=2).argmin(axis=1)


def on_device(array):
    return strict.asarray(array, device=strict.Device("device1"))


@pytest.fixture
def small_blocks(monkeypatch):
    sizes = {"_QUERIES": 7, "_ROWS": 8, "_TILE": 4, "_PARALLEL_FROM": 1, "_BLOCK_BYTES": 900}
    for name, value in sizes.items():
        monkeypatch.setattr(neighbours, name, value)


@pytest.fixture(params=["whole", "blocks"])
def blocks(request):
    if request.param == "blocks":
        request.getfixturevalue("small_blocks")


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [0, 1, 45])
@pytest.mark.parametrize("n", [1, 60])
def test_nearest_row_is_brute_force(m, n, dtype):
    rng = np.random.RandomState(0)
    rows, queries = (rng.randn(n, 5) + 100).astype(dtype), (rng.randn(m, 5) + 100).astype(dtype)
    queries.flags.writeable = rows.flags.writeable = False
    expected = brute_force(queries, rows)
    np.testing.assert_array_equal(nearest_row(queries, rows), expected)
    np.testing.assert_array_equal(nearest_row(np.asfortranarray(queries), rows[:, ::-1][:, ::-1]), expected)


def test_nearest_row_agrees_with_scikit_learn_in_float32():
    rng = np.random.RandomState(0)
    rows, queries, y = rng.randn(300, 20), rng.randn(200, 20), rng.randint(5, size=300)
    rows, queries = rows.astype(np.float32), queries.astype(np.float32)
    np.testing.assert_array_equal(y[nearest_row(queries, rows)], KNeighborsClassifier(1).fit(rows, y).predict(queries))


@pytest.mark.usefixtures("blocks")
def test_the_nearest_of_many_that_float32_cannot_tell_apart():
    rng = np.random.RandomState(0)
    centres = rng.randn(3, 6)
    rows = centres[rng.randint(3, size=2000)] + 1e-7 * rng.randn(2000, 6)
    queries = centres[rng.randint(3, size=50)] + 1e-7 * rng.randn(50, 6)
    assert (neighbours._search(queries, rows, np.float32, 8) < 0).all()  # the case is as hard as it should be
    np.testing.assert_array_equal(nearest_row(queries, rows), brute_force(queries, rows))


def test_two_rows_one_float32_unit_of_rounding_apart():
    rng = np.random.RandomState(0)
    queries = rng.randn(200, 4).astype(np.float32)
    rows = np.repeat(queries + 1, 2, axis=0)
    nearer = rng.randint(2, size=200)
    rows[2 * np.arange(200) + nearer, 0] = np.nextafter(rows[::2, 0], queries[:, 0])
    np.testing.assert_array_equal(nearest_row(queries, rows), brute_force(queries, rows))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=st.integers(-2, 2)),
    hnp.arrays(np.float64, st.tuples(st.integers(1, 90), st.just(3)), elements=st.integers(-2, 2)),
    st.sampled_from([np.float32, np.float64]),
)
def test_the_first_row_among_equals(queries, rows, dtype):
    np.testing.assert_array_equal(nearest_row(queries.astype(dtype), rows.astype(dtype)), brute_force(queries, rows))


@pytest.mark.usefixtures("blocks")
def test_copies_of_a_row():
    rng = np.random.RandomState(0)
    distinct, queries = rng.randn(5, 3), rng.randn(40, 3)
    rows = np.tile(distinct, (400, 1))
    np.testing.assert_array_equal(nearest_row(queries, rows), brute_force(queries, distinct))
    np.testing.assert_array_equal(nearest_row(queries, np.zeros((1000, 3))), np.zeros(40))


@pytest.mark.parametrize(
    ("of_queries", "of_rows", "dtype"),
    [
        (1e200, 1e200, float),
        (1e-200, 1e-200, float),
        (1e30, 1e30, np.float32),
        (1e-30, 1e-30, np.float32),
        (1.0, 1e12, float),
        (1e12, 1.0, float),
        (1.0, 1e-30, np.float32),
    ],
)
def test_any_scale(of_queries, of_rows, dtype):
    rng = np.random.RandomState(0)
    queries, rows = (of_queries * rng.randn(30, 4)).astype(dtype), (of_rows * rng.randn(500, 4)).astype(dtype)
    largest = max(of_queries, of_rows)
    expected = brute_force(queries / dtype(largest), rows / dtype(largest))
    np.testing.assert_array_equal(nearest_row(queries, rows), expected)


def test_threads_of_blas_are_as_before(monkeypatch):
    monkeypatch.setattr(neighbours, "_PARALLEL_FROM", 1)
    before = [library["num_threads"] for library in threadpool_info()]
    nearest_row(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match="shape"):
        nearest_row(np.eye(3), np.eye(4))
    assert [library["num_threads"] for library in threadpool_info()] == before


def test_memory_is_that_of_a_block():
    rng = np.random.RandomState(0)
    rows, queries = rng.randn(20_000, 4), rng.randn(3000, 4)
    nearest_row(queries[:1], rows)  # imports
    tracemalloc.start()
    try:
        nearest_row(queries, rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40e6  # all products: 240e6 in float32


def test_no_rows():
    with pytest.raises(ValueError, match="rows is empty"):
        nearest_row(np.ones((2, 3)), np.ones((0, 3)))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("m", [0, 45])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_of_another_library_stay_there(m, dtype):
    rng = np.random.RandomState(0)
    rows, queries = (rng.randn(60, 5) + 100).astype(dtype), (rng.randn(m, 5) + 100).astype(dtype)
    index = nearest_row(on_device(queries), on_device(rows))
    assert index.device == strict.Device("device1")
    np.testing.assert_array_equal(neighbours.to_numpy(index), brute_force(queries, rows))
    with pytest.raises(TypeError, match="different libraries"):
        nearest_row(queries, on_device(rows))


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_unit_rows_leave_zero_rows_alone(scale):
    X = (scale * np.array([[3.0, 4.0], [0.0, 0.0]])).astype(np.float32)
    unit = unit_rows(X)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(neighbours.to_numpy(unit_rows(on_device(X))), unit, rtol=1e-6)


def naive_graph(X, p):
    cosine = unit_rows(X) @ unit_rows(X).T
    n = len(X)
    W = np.zeros((n, n))
    for i in range(n):
        order = [j for j in np.argsort(-cosine[i], kind="stable") if j != i][:p]
        W[i, order] = cosine[i, order]
        W[order, i] = cosine[i, order]
    return np.maximum(W, 0)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("place", [np.asarray, on_device], ids=["numpy", "device1"])
@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 1e-6), (np.float64, 1e-12)])
def test_graph_is_the_naive_one(place, dtype, atol):
    X = np.random.RandomState(0).randn(40, 3).astype(dtype)
    expected = naive_graph(X.astype(np.float64), 4)
    np.testing.assert_allclose(cosine_knn_graph(place(X), 4).toarray(), expected, atol=atol)
    for K in (DenseGram(place(X @ X.T)), FactoredGram(place(X))):
        np.testing.assert_allclose(kernel_knn_graph(K, 4).toarray(), expected, atol=atol)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("place", [np.asarray, on_device], ids=["numpy", "device1"])
def test_first_rows_among_equally_near_ones(place):
    np.testing.assert_array_equal(
        kernel_knn_graph(DenseGram(place(np.ones((6, 6)))), 2).toarray(), naive_graph(np.ones((6, 1)), 2)
    )
    X = np.eye(3)[np.arange(30) % 3]  # cosines are 0 and 1, without rounding
    np.testing.assert_array_equal(cosine_knn_graph(place(X), 4).toarray(), naive_graph(X, 4))


def test_more_neighbours_than_rows():
    X = np.random.RandomState(0).rand(4, 3)
    assert cosine_knn_graph(X, 10).nnz == 12
    assert cosine_knn_graph(X[:1], 10).nnz == 0


def test_laplacian_is_positive_semi_definite_with_isolated_and_opposite_rows():
    X = np.random.RandomState(0).randn(30, 2)
    X[3] = 0.0  # a zero row has no cosine
    X[4:] = abs(X[4:])
    X[0] = [-1.0, -1.0]  # opposite to all
    laplacian = normalised_laplacian(cosine_knn_graph(X, 3)).toarray()
    assert np.isfinite(laplacian).all()
    assert np.linalg.eigvalsh(laplacian).min() > -1e-12
    np.testing.assert_array_equal(laplacian[3], np.eye(30)[3])


def test_laplacian_formula():
    W = cosine_knn_graph(np.random.RandomState(0).rand(12, 3), 3)
    degree = W.toarray().sum(axis=1)
    expected = np.eye(12) - W.toarray() / np.sqrt(np.outer(degree, degree))
    np.testing.assert_allclose(normalised_laplacian(W).toarray(), expected, atol=1e-14)
