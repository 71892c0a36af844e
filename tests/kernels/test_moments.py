import numpy as np
import pytest
import scipy.sparse as sp

from shallowda.kernels import moments
from shallowda.kernels.moments import CovarianceRoot, centred_gram, column_mean, factor_times_rows


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(moments, "_BLOCK", 7)


def test_centred_gram():
    X = np.random.RandomState(0).randn(50, 4) + 3
    Xc = X - X.mean(axis=0)
    np.testing.assert_allclose(centred_gram(X, column_mean(X)), Xc.T @ Xc, atol=1e-12)


def test_centred_gram_of_float32_keeps_the_digits_of_a_long_sum():
    X = (np.random.RandomState(0).randn(20000, 3) + 50).astype(np.float32)
    exact = np.cov(X.astype(float).T) * (len(X) - 1)
    gram = centred_gram(X, column_mean(X))
    assert gram.dtype == np.float64
    np.testing.assert_allclose(gram, exact, atol=1e-5 * exact.max())


def test_factor_times_rows_survives_a_large_mean():
    rng = np.random.RandomState(0)
    X, E = rng.randn(50, 4), rng.randn(50, 3)
    E -= E.mean(axis=0)
    far = factor_times_rows(sp.csr_array(E), X + 1e8, column_mean(X + 1e8))
    np.testing.assert_allclose(far, X.T @ E, atol=1e-6)


def test_factor_times_rows_of_vectors_that_do_not_sum_to_zero():
    rng = np.random.RandomState(0)
    X, E = rng.randn(50, 4) + 5, rng.randn(50, 3)
    np.testing.assert_allclose(factor_times_rows(sp.csr_array(E), X, column_mean(X)), X.T @ E, atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 15)])
@pytest.mark.parametrize("exponent", [-0.5, 0.5, 1.0])
@pytest.mark.parametrize("ridge", [0.3, 0.0])
def test_powers_of_the_covariance(n, d, exponent, ridge):
    rng = np.random.RandomState(0)
    X, rows = rng.randn(n, d) + 2, rng.randn(5, d)
    root = CovarianceRoot(X, ridge)
    values, vectors = np.linalg.eigh(np.cov(X.T) + ridge * np.eye(d))
    powers = np.where(values > 1e-9, np.maximum(values, 1e-300) ** exponent, 0.0)
    np.testing.assert_allclose(root.power(rows, exponent), rows @ (vectors * powers) @ vectors.T, atol=1e-9)
    assert root.vectors.shape[1] == min(d, n - 1)
