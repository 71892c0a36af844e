import numpy as np
import oracles
import pytest
from sklearn.decomposition import PCA

from shallowda import SubspaceAlignment, pack_domains

Xs, ys, Xt, yt = oracles.shifted_domains(6)
X, y, sample_domain = pack_domains(Xs, ys, Xt)
source = sample_domain >= 0


def test_maps_are_the_papers():
    sa = SubspaceAlignment(3).fit(X, y)
    P, Q = PCA(3).fit(Xs).components_.T, PCA(3).fit(Xt).components_.T
    np.testing.assert_allclose(
        sa.transform(Xs, sample_domain=np.zeros(len(Xs))) @ sa.components_,
        (Xs - Xs.mean(0)) @ P @ P.T @ Q @ Q.T,
        atol=1e-9,
    )
    np.testing.assert_allclose(sa.transform(Xt) @ sa.components_, (Xt - Xt.mean(0)) @ Q @ Q.T, atol=1e-9)


def test_alignment_is_the_least_squares_one():
    sa = SubspaceAlignment(3).fit(X, y)
    angles = np.arccos(np.clip(np.linalg.svd(sa.alignment_)[1], -1, 1))
    P, Q = PCA(3).fit(Xs).components_.T, PCA(3).fit(Xt).components_.T
    best = min(np.linalg.norm(P @ T - Q) ** 2 for T in (P.T @ Q, np.eye(3), 0.9 * P.T @ Q))
    assert np.sum(np.sin(angles) ** 2) == pytest.approx(best)
    assert np.linalg.norm(sa.source_components_, 2) <= 1 + 1e-12


def test_each_row_by_its_own_map():
    sa = SubspaceAlignment(3)
    Z = sa.fit_transform(X, y)
    np.testing.assert_allclose(Z, sa.transform(X, sample_domain=sample_domain), atol=1e-12)
    np.testing.assert_allclose(Z[~source], sa.transform(Xt), atol=1e-12)
    assert abs(Z[source] - sa.transform(Xs)).max() > 0.1


def test_identical_domains_are_pca():
    both, marks, _ = pack_domains(Xs, ys, Xs)
    sa = SubspaceAlignment(3).fit(both, marks)
    np.testing.assert_allclose(sa.alignment_, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(abs(sa.transform(Xs)), abs(PCA(3).fit_transform(Xs)), atol=1e-8)


@pytest.mark.parametrize("theta", [0.0, 0.7, np.pi / 2])
def test_two_planes_at_an_angle(theta):
    rng = np.random.RandomState(0)
    coordinates = rng.randn(200, 2) * [3, 1.5]
    plane = np.array([[1, 0, 0], [0, np.cos(theta), np.sin(theta)]])
    both, marks, _ = pack_domains(coordinates @ np.eye(3)[:2], np.arange(200) % 2, coordinates @ plane)
    sa = SubspaceAlignment(2).fit(both, marks)
    np.testing.assert_allclose(np.linalg.svd(sa.alignment_)[1], [1, np.cos(theta)], atol=0.02)


def test_all_dimensions_warn():
    with pytest.warns(UserWarning, match="only centres the domains"):
        SubspaceAlignment(8).fit(X, y)


def test_default_and_automatic_dimensions_leave_something_to_align():
    assert SubspaceAlignment().fit(X, y).n_components_ == 4
    assert 1 <= SubspaceAlignment("auto").fit(X, y).n_components_ <= 4


def test_orthogonal_subspaces_warn():
    rng = np.random.RandomState(0)
    left, right = rng.randn(30, 4) * [1, 1, 0, 0], rng.randn(30, 4) * [0, 0, 1, 1]
    both, marks, _ = pack_domains(left, np.arange(30) % 2, right)
    with pytest.warns(UserWarning, match="orthogonal"):
        SubspaceAlignment(2).fit(both, marks)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_target_row_is_not_enough(rows):
    few, marks, _ = pack_domains(Xs, ys, Xt[: max(rows, 1)])
    with pytest.raises(ValueError, match="target domain has 1 row"):
        SubspaceAlignment(2).fit(few, marks)
