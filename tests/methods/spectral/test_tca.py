import numpy as np
import oracles
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import rbf_kernel

from shallowda import TCAEstimator, pack_domains

Xs, ys, Xt, yt = oracles.shifted_domains()
X, y, sample_domain = pack_domains(Xs, ys, Xt)
source = sample_domain >= 0


def mean_gap(Z):
    return np.sum((Z[source].mean(axis=0) - Z[~source].mean(axis=0)) ** 2)


@pytest.mark.parametrize("scaling", ["authors", "paper"])
@pytest.mark.parametrize("kernel", [None, "linear", "rbf"])
def test_is_the_dense_solution(kernel, scaling):
    tca = TCAEstimator(4, kernel=kernel, gamma=0.02, ridge=0.3, mmd_scaling=scaling)
    Z = tca.fit_transform(X, y)
    Phi = X if kernel is None else X @ X.T if kernel == "linear" else rbf_kernel(X, gamma=0.02)
    A, rho = oracles.spectral(Phi, oracles.mmd_matrix(source, authors=scaling == "authors"), 0.3, 4)
    assert tca.objective_ == pytest.approx(np.sum(1 / rho), rel=1e-8)
    for column in range(4):  # the same components, in the same order, of unit length
        unit = Phi @ A[:, column] / np.linalg.norm(A[:, column])
        np.testing.assert_allclose(Z[:, column], unit * np.sign(unit @ Z[:, column]), atol=1e-6 * abs(Z).max())


def test_constraint_scale_gives_every_component_the_same_variance():
    Z = TCAEstimator(4, component_scale="constraint").fit_transform(X, y)
    np.testing.assert_allclose(Z.T @ oracles.centring(len(Z)) @ Z, np.eye(4), atol=1e-9)


@pytest.mark.parametrize("kernel", [None, "linear", "rbf", "laplacian", "poly", "cosine", "sigmoid"])
def test_new_rows_map_as_training_rows(kernel):
    tca = TCAEstimator(3, kernel=kernel)
    Z = tca.fit_transform(X, y)
    order = np.random.RandomState(0).permutation(len(X))  # so that they are not looked up
    np.testing.assert_allclose(tca.transform(X[order]), Z[order], atol=1e-8 * abs(Z).max())


def test_training_rows_that_come_back_are_looked_up(monkeypatch):
    tca = TCAEstimator(3, kernel="rbf")
    Z = tca.fit_transform(X, y)
    expected = Z.copy()
    Z[:] = 0  # what the caller does with the result is no concern of the model
    monkeypatch.setattr(TCAEstimator, "_kernel_to", lambda self, X: pytest.fail("a kernel value was computed"))
    np.testing.assert_array_equal(tca.transform(X), expected)
    np.testing.assert_array_equal(tca.transform(Xt), expected[~source])
    assert tca.score(Xt, yt) > 0.5


@pytest.mark.parametrize("options", [{"kernel": "linear"}, {"kernel": "rbf", "n_landmarks": 20}])
def test_where_rows_are_not_kept_nothing_is_looked_up(options):
    tca = TCAEstimator(3, kernel="rbf").fit(X, y).set_params(**options)
    first = tca.fit(X, y).transform(Xt)
    expected = TCAEstimator(3, **options).fit(X, y).transform(Xt)
    np.testing.assert_allclose(first, expected, atol=1e-8 * abs(expected).max())


def test_precomputed_and_callable_kernels_are_the_named_one():
    Z = TCAEstimator(3, kernel="rbf", gamma=0.1).fit_transform(X, y)
    K = rbf_kernel(X, gamma=0.1)
    precomputed = TCAEstimator(3, kernel="precomputed").fit(K, y)
    np.testing.assert_allclose(precomputed.transform(K), Z, atol=1e-8)
    own = TCAEstimator(
        3, kernel=lambda a, b, gamma: np.exp(-gamma * np.sum((a - b) ** 2)), kernel_params={"gamma": 0.1}
    )
    np.testing.assert_allclose(own.fit_transform(X, y), Z, atol=1e-8)


def test_a_smaller_ridge_brings_the_means_closer_and_an_infinite_one_is_pca():
    gaps = [mean_gap(TCAEstimator(3, ridge=ridge).fit_transform(X, y)) for ridge in (1e-2, 1e2, 1e5)]
    assert gaps[0] < gaps[1] < gaps[2]
    components = TCAEstimator(3, ridge=1e12).fit(X, y).components_
    assert oracles.angle(components.T, PCA(3).fit(X).components_.T) < 1e-6


def test_a_ridge_near_zero_suppresses_the_gap():
    assert mean_gap(TCAEstimator(3, ridge=1e-9).fit_transform(X, y)) < 1e-8 * mean_gap(PCA(3).fit_transform(X))


def test_identical_domains_are_pca():
    both, marks, _ = pack_domains(Xs, ys, Xs)
    components = TCAEstimator(3).fit(both, marks).components_
    assert oracles.angle(components.T, PCA(3).fit(Xs).components_.T) < 1e-7


def test_swapping_the_domains_changes_nothing():
    forth = TCAEstimator(3).fit(X, y).components_
    back = TCAEstimator(3).fit(X, sample_domain=np.where(source, -1, 0)).components_
    np.testing.assert_allclose(forth, back, atol=1e-9)


def test_scalings_agree_when_the_ridge_takes_the_factor():
    factor = 1 / source.sum() + 1 / (~source).sum()
    authors = TCAEstimator(3, ridge=2.0).fit(X, y).components_
    paper = TCAEstimator(3, ridge=2.0 * factor, mmd_scaling="paper").fit(X, y).components_
    np.testing.assert_allclose(authors, paper, atol=1e-9)


def test_criterion_is_above_that_of_pca_and_of_chance():
    M = oracles.mmd_matrix(source, authors=True)
    b, a = X.T @ oracles.centring(len(X)) @ X, X.T @ M @ X + np.eye(8)

    def criterion(A):
        return np.trace(np.linalg.solve(A.T @ a @ A, A.T @ b @ A))

    best = criterion(TCAEstimator(3).fit(X, y).components_.T)
    assert best > criterion(PCA(3).fit(X).components_.T)
    assert all(best > criterion(np.random.RandomState(seed).randn(8, 3)) for seed in range(20))


def test_exact_accuracy_where_the_peers_shortcut_loses():
    """Not source-only, not the symmetric solver on a non-symmetric matrix: the exact one separates."""
    tca = TCAEstimator(3, ridge=0.1).fit(X, y)
    assert tca.score(Xt, yt) >= 0.9


def test_more_features_than_rows():
    wide = np.random.RandomState(0).randn(75, 300) * 0.1
    wide[:, :8] += X
    tca = TCAEstimator(4, ridge=0.3)
    Z = tca.fit_transform(wide, y)
    expected, _ = oracles.spectral(wide, oracles.mmd_matrix(source, authors=True), 0.3, 4)
    assert oracles.angle(tca.components_.T, expected) < 1e-7
    np.testing.assert_allclose(tca.transform(wide), Z, atol=1e-9)
