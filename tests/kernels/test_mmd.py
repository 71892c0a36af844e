import array_api_strict
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shallowda.kernels.arrays import to_numpy
from shallowda.kernels.mmd import mmd_factor


def rows(seed, n=30, n_classes=4):
    rng = np.random.RandomState(seed)
    source = rng.rand(n) < 0.5
    source[:2] = True, False
    return source, rng.randint(n_classes, size=n)


@pytest.mark.parametrize("authors", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_factor_is_the_matrix_of_the_papers(seed, authors):
    source, codes = rows(seed)
    E, _ = mmd_factor(source, codes, 4, marginal=0.3, conditional=0.7, authors=authors)
    expected = oracles.mmd_matrix(source, codes, 4, 0.3, 0.7, authors)
    np.testing.assert_allclose(E.toarray() @ E.toarray().T, expected, atol=1e-15)


@given(seed=st.integers(0, 1000), n=st.integers(4, 60), n_classes=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_rank_translation_and_norm(seed, n, n_classes):
    source, codes = rows(seed, n, n_classes)
    E, dropped = mmd_factor(source, codes, n_classes)
    assert E.shape == (n, 1 + n_classes - len(dropped))
    assert abs(E.toarray().sum(axis=0)).max() < 1e-14
    assert not E.column_sums.any()
    assert E.norm == pytest.approx(np.linalg.norm(E.toarray() @ E.toarray().T))


def on_device(array):
    return array_api_strict.asarray(array, device=array_api_strict.Device("device1"))


@pytest.mark.parametrize("place", [np.asarray, on_device])
def test_products_with_the_factor(place):
    source, codes = rows(0)
    E, _ = mmd_factor(source, codes, 4)
    rng = np.random.RandomState(0)
    X, block = rng.randn(30, 3), rng.randn(E.shape[1], 2)
    np.testing.assert_allclose(to_numpy(E.adjoint(place(X))), E.toarray().T @ X, atol=1e-14)
    np.testing.assert_allclose(to_numpy(E.apply(place(block))), E.toarray() @ block, atol=1e-14)
    np.testing.assert_allclose(E.scaled(3.0).toarray(), 3 * E.toarray())


def test_norm_of_the_marginal_matrix():
    E, _ = mmd_factor(np.repeat([True, False], [7, 5]))
    assert E.norm == pytest.approx(1 / 7 + 1 / 5)
    assert mmd_factor(np.repeat([True, False], [7, 5]), authors=True)[0].norm == pytest.approx(1.0)


def test_balanced_class_terms_outweigh_the_marginal_by_c_to_the_three_halves():
    source, codes = np.repeat([True, False], 40), np.tile(np.arange(10), 8)
    of_classes, of_domains = mmd_factor(source, codes, 10, marginal=0.0)[0], mmd_factor(source)[0]
    assert of_classes.norm / of_domains.norm == pytest.approx(10**1.5)


def test_a_class_without_target_rows_is_left_out():
    source, codes = np.repeat([True, False], [6, 4]), np.array([0, 1, 2, 0, 1, 2, 0, 0, 2, 2])
    E, dropped = mmd_factor(source, codes, 3, marginal=0.0)
    assert dropped.tolist() == [1]
    assert E.shape == (10, 2)
    assert not E.toarray()[codes == 1].any()


def test_prior_weights_of_w_bda():
    source, codes = np.repeat([True, False], [4, 4]), np.array([0, 0, 0, 1, 0, 1, 1, 1])
    E = mmd_factor(source, codes, 2, marginal=0.0, prior_weighted=True)[0]
    vectors = E.toarray()
    assert vectors[0, 0] == pytest.approx(np.sqrt(3 / 4) / 3)
    assert vectors[4, 0] == pytest.approx(-np.sqrt(1 / 4) / 1)
    assert vectors[5, 1] == pytest.approx(-np.sqrt(3 / 4) / 3)
    assert abs(vectors.sum(axis=0)).min() > 0.1  # not translation invariant, as published
    np.testing.assert_allclose(E.column_sums, vectors.sum(axis=0))


def test_one_domain_only_gives_nothing_to_match():
    assert mmd_factor(np.ones(5, bool), authors=True)[0].shape == (5, 0)
    assert mmd_factor(np.array([True, False]), marginal=0.0)[0].shape == (2, 0)
