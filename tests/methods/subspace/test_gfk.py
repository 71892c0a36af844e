import numpy as np
import oracles
import pytest
import scipy.integrate
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA

from shallowda import GFK, OneNearestNeighbor, pack_domains, rank_of_domains
from shallowda.kernels.subspaces import flow_point

Xs, ys, Xt, yt = oracles.shifted_domains(8)
X, y, sample_domain = pack_domains(Xs, ys, Xt)


def test_kernel_is_the_integral_between_the_pca_subspaces():
    P, Q = PCA(3).fit(Xs).components_.T, PCA(3).fit(Xt).components_.T
    G = scipy.integrate.quad_vec(lambda t: flow_point(P, Q, t) @ flow_point(P, Q, t).T, 0, 1)[0]
    gfk = GFK(3).fit(X, y)
    np.testing.assert_allclose(gfk.components_.T @ gfk.components_, G, atol=1e-9)
    np.testing.assert_allclose(np.cos(gfk.angles_), np.linalg.svd(P.T @ Q)[1], atol=1e-9)


def test_distances_are_those_of_the_kernel():
    gfk = GFK(3).fit(X, y)
    G, Z = gfk.components_.T @ gfk.components_, gfk.transform(X)
    difference = X[0] - X[50]
    assert np.sum((Z[0] - Z[50]) ** 2) == pytest.approx(difference @ G @ difference)


def test_the_papers_distance_classifies():
    gfk = GFK(3, estimator=OneNearestNeighbor("euclidean")).fit(X, y)
    G = gfk.components_.T @ gfk.components_
    distances = [[(a - b) @ G @ (a - b) for b in Xs] for a in Xt]
    np.testing.assert_array_equal(gfk.predict(Xt), ys[np.argmin(distances, axis=1)])


def test_symmetric_in_the_domains():
    swapped = GFK(3).fit(X, sample_domain=np.where(sample_domain >= 0, -1, 0)).components_
    gfk = GFK(3).fit(X, y).components_
    np.testing.assert_allclose(swapped.T @ swapped, gfk.T @ gfk, atol=1e-9)


def test_pls_source_basis():
    gfk = GFK(2, source_basis="pls").fit(X, y)
    W = PLSRegression(2, scale=False).fit(Xs, np.eye(3)[ys]).x_weights_
    Q = PCA(2).fit(Xt).components_.T
    expected = flow_point(np.linalg.qr(W)[0], Q, 0.0)
    values = gfk.components_.T @ gfk.components_
    assert np.trace(values) == pytest.approx(2)
    assert gfk.angles_.max() == pytest.approx(oracles.angle(expected, Q), abs=1e-7)


def test_pls_needs_labels_and_two_classes():
    with pytest.raises(ValueError, match="requires y"):
        GFK(2, source_basis="pls").fit(X, sample_domain=sample_domain)
    with pytest.raises(ValueError, match="at least two classes"):
        GFK(2, source_basis="pls").fit(X, np.zeros(len(X)), sample_domain=sample_domain)


def test_automatic_dimension_is_the_first_of_full_disagreement():
    rng = np.random.RandomState(0)
    basis = np.linalg.qr(rng.randn(30, 30))[0]
    # three shared strong directions, then unrelated ones
    a = rng.randn(300, 30) * np.r_[[9, 8, 7], np.full(27, 0.1)] @ basis
    b = rng.randn(300, 30) * np.r_[[9, 8, 7], np.full(27, 0.1)] @ basis
    a[:, :3] += rng.randn(300, 3)
    rows, marks, _ = pack_domains(a, np.arange(300) % 2, b)
    gfk = GFK("auto").fit(rows, marks)
    assert 4 <= gfk.n_components_ <= 15
    assert GFK().fit(rows, marks).n_components_ == 15


def test_capped_at_the_rank_of_a_domain():
    few, marks, _ = pack_domains(Xs, ys, Xt[:4])
    with pytest.warns(UserWarning, match="rank of a domain"):
        assert GFK(6).fit(few, marks).components_.shape == (6, 8)


def test_rank_of_domains():
    assert rank_of_domains(Xs, Xs, n_components=3) == pytest.approx(0, abs=1e-9)
    near = rank_of_domains(Xs, Xs + 0.01 * Xt[:1], n_components=3)
    assert near < rank_of_domains(Xs, Xt, n_components=3)
    # one principal pair, by hand: angle t, variances 4 and 1
    t = 0.3
    line = np.array([-2.0, 2.0, -2.0, 2.0])[:, None]
    value = rank_of_domains(line * [[1, 0]], 0.5 * line * [[np.cos(t), np.sin(t)]], n_components=1)
    assert value == pytest.approx(t * (0.5 * (4 + 1 / 4) - 1))
    with pytest.raises(ValueError, match="features"):
        rank_of_domains(Xs, Xt[:, :4])
