import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import laplacian_kernel, polynomial_kernel

from shallowda.kernels.pairwise import KERNELS, kernel_matrix, median_gamma

X = np.random.RandomState(0).randn(30, 4)


def test_names_and_parameters():
    assert {"linear", "rbf", "laplacian", "poly", "cosine", "sigmoid"} <= set(KERNELS)
    np.testing.assert_allclose(kernel_matrix(X, None, "laplacian", gamma=0.3), laplacian_kernel(X, gamma=0.3))
    expected = polynomial_kernel(X, X[:5], degree=2, gamma=0.1, coef0=2)
    np.testing.assert_allclose(kernel_matrix(X, X[:5], "poly", gamma=0.1, degree=2, coef0=2), expected)


def test_callable_with_parameters():
    K = kernel_matrix(X, X[:3], lambda a, b, power: np.dot(a, b) ** power, params={"power": 2})
    np.testing.assert_allclose(K, (X @ X[:3].T) ** 2)


def test_median_rule():
    assert median_gamma(X, "rbf") == pytest.approx(1 / np.median(pdist(X, "sqeuclidean")))
    assert median_gamma(X, "laplacian") == pytest.approx(1 / np.median(pdist(X, "cityblock")))
    assert median_gamma(X, "poly") == pytest.approx(1 / np.median((X**2).sum(axis=1)))
    assert median_gamma(X, "cosine") is None


def test_duplicates_do_not_count():
    doubled = np.vstack([X] * 40)
    assert median_gamma(doubled[:120], "rbf") == pytest.approx(median_gamma(X, "rbf"), rel=0.05)


def test_many_rows_are_sampled_without_the_global_generator():
    state = np.random.get_state()[1].copy()
    rows = np.random.RandomState(1).randn(5000, 2)
    assert median_gamma(rows, "rbf") == pytest.approx(1 / (4 * np.log(2)), rel=0.1)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_identical_rows_have_no_median_distance():
    with pytest.raises(ValueError, match="gamma='median' needs rows that differ"):
        median_gamma(np.ones((5, 2)), "rbf")


def test_values_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="kernel='poly' gave NaN or infinite"):
        kernel_matrix(1e200 * X, None, "poly", gamma=1.0, degree=3)
