import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shallowda.kernels.mmd import class_vectors, frobenius_norm, joint_factor, marginal_vector, mmd_factor


def rows(seed, n=30, n_classes=4):
    rng = np.random.RandomState(seed)
    source = rng.rand(n) < 0.5
    source[:2] = True, False
    return source, rng.randint(n_classes, size=n)


@pytest.mark.parametrize("authors", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_factor_is_the_matrix_of_the_papers(seed, authors):
    source, codes = rows(seed)
    E, _ = joint_factor(source, codes, 4, marginal=0.3, conditional=0.7, authors=authors)
    expected = oracles.mmd_matrix(source, codes, 4, 0.3, 0.7, authors)
    np.testing.assert_allclose((E @ E.T).toarray(), expected, atol=1e-15)


@given(seed=st.integers(0, 1000), n=st.integers(4, 60), n_classes=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_rank_translation_and_norm(seed, n, n_classes):
    source, codes = rows(seed, n, n_classes)
    E, dropped = joint_factor(source, codes, n_classes)
    assert E.shape[1] == 1 + n_classes - len(dropped)
    assert abs(E.T @ np.ones(n)).max() < 1e-14
    assert frobenius_norm(E) == pytest.approx(np.linalg.norm((E @ E.T).toarray()))


def test_norm_of_the_marginal_matrix():
    source = np.repeat([True, False], [7, 5])
    assert frobenius_norm(marginal_vector(source)) == pytest.approx(1 / 7 + 1 / 5)


def test_balanced_class_terms_outweigh_the_marginal_by_c_to_the_three_halves():
    source, codes = np.repeat([True, False], 40), np.tile(np.arange(10), 8)
    vectors, _ = class_vectors(source, codes, 10)
    assert frobenius_norm(vectors) / frobenius_norm(marginal_vector(source)) == pytest.approx(10**1.5)


def test_a_class_without_target_rows_is_left_out():
    source, codes = np.repeat([True, False], [6, 4]), np.array([0, 1, 2, 0, 1, 2, 0, 0, 2, 2])
    vectors, dropped = class_vectors(source, codes, 3)
    assert dropped.tolist() == [1]
    assert vectors.shape == (10, 2)
    assert not vectors.toarray()[codes == 1].any()


def test_prior_weights_of_w_bda():
    source, codes = np.repeat([True, False], [4, 4]), np.array([0, 0, 0, 1, 0, 1, 1, 1])
    vectors = class_vectors(source, codes, 2, prior_weighted=True)[0].toarray()
    assert vectors[0, 0] == pytest.approx(np.sqrt(3 / 4) / 3)
    assert vectors[4, 0] == pytest.approx(-np.sqrt(1 / 4) / 1)
    assert vectors[5, 1] == pytest.approx(-np.sqrt(3 / 4) / 3)
    assert abs(vectors.sum(axis=0)).min() > 0.1  # not translation invariant, as published


def test_one_domain_only_gives_nothing_to_match():
    assert marginal_vector(np.ones(5, bool)).shape == (5, 0)
    assert mmd_factor([(1.0, marginal_vector(np.ones(5, bool)))], normalise=True).shape == (5, 0)
    assert mmd_factor([(0.0, marginal_vector(np.array([True, False])))]).shape == (2, 0)
