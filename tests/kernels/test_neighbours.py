import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from shallowda.kernels import neighbours
from shallowda.kernels.neighbours import (
    cosine_knn_graph,
    kernel_knn_graph,
    nearest_row,
    normalised_laplacian,
    unit_rows,
)


@pytest.mark.parametrize("block", [1, 900, 2**26])
def test_nearest_row_is_brute_force(block, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK_BYTES", block)
    rng = np.random.RandomState(0)
    rows, queries = rng.randn(60, 5) + 100, rng.randn(45, 5) + 100
    expected = ((queries[:, None] - rows[None]) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest_row(queries, rows), expected)


def test_nearest_row_agrees_with_scikit_learn_in_float32():
    rng = np.random.RandomState(0)
    rows, queries, y = rng.randn(300, 20), rng.randn(200, 20), rng.randint(5, size=300)
    rows, queries = rows.astype(np.float32), queries.astype(np.float32)
    np.testing.assert_array_equal(y[nearest_row(queries, rows)], KNeighborsClassifier(1).fit(rows, y).predict(queries))


def test_unit_rows_leave_zero_rows_alone():
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])


def naive_graph(X, p):
    cosine = unit_rows(X) @ unit_rows(X).T
    n = len(X)
    W = np.zeros((n, n))
    for i in range(n):
        order = [j for j in np.argsort(-cosine[i]) if j != i][:p]
        W[i, order] = cosine[i, order]
        W[order, i] = cosine[i, order]
    return np.maximum(W, 0)


@pytest.mark.parametrize("block", [100, 2**26])
def test_graph_is_the_naive_one(block, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK_BYTES", block)
    X = np.random.RandomState(0).randn(40, 3)
    np.testing.assert_allclose(cosine_knn_graph(X, 4).toarray(), naive_graph(X, 4), atol=1e-12)
    np.testing.assert_allclose(kernel_knn_graph(X @ X.T, 4).toarray(), naive_graph(X, 4), atol=1e-12)


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
