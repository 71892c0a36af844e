import numpy as np
import oracles
import pytest
from sklearn.preprocessing import StandardScaler

from shallowda import CORAL, pack_domains

Xs, ys, Xt, yt = oracles.shifted_domains(7)
X, y, sample_domain = pack_domains(Xs, ys, Xt)
source = sample_domain >= 0


def the_map(coral, d):
    """A, from what happens to the differences of rows."""
    zero = coral.transform(np.zeros((1, d)), sample_domain=[0])
    return coral.transform(np.eye(d), sample_domain=np.zeros(d)) - zero


@pytest.mark.parametrize("ridge", [0.1, 1.0])
@pytest.mark.parametrize("d", [8, 60])
def test_the_exact_identity(ridge, d):
    a, labels, b, _ = oracles.shifted_domains(7, d=d)
    rows, marks, _ = pack_domains(a, labels, b)
    A = the_map(CORAL(ridge).fit(rows, marks), d)
    Cs, Ct = np.cov(a.T) + ridge * np.eye(d), np.cov(b.T) + ridge * np.eye(d)
    np.testing.assert_allclose(A.T @ Cs @ A, Ct, atol=1e-9)


def test_without_ridge_the_covariance_is_the_targets():
    aligned = CORAL(0).fit_transform(X, y)[source]
    np.testing.assert_allclose(np.cov(aligned.T), np.cov(Xt.T), atol=1e-10)
    np.testing.assert_allclose(aligned.mean(axis=0), Xt.mean(axis=0), atol=1e-10)


def test_the_published_map_on_centred_domains():
    zs, zt = StandardScaler().fit_transform(Xs), StandardScaler().fit_transform(Xt)
    rows, marks, _ = pack_domains(zs, ys, zt)

    def power(C, p):
        values, vectors = np.linalg.eigh(C)
        return (vectors * values**p) @ vectors.T

    A = power(np.cov(zs.T) + np.eye(8), -0.5) @ power(np.cov(zt.T) + np.eye(8), 0.5)
    for align_mean in (True, False):
        np.testing.assert_allclose(CORAL(align_mean=align_mean).fit_transform(rows, marks)[source], zs @ A, atol=1e-10)


def test_target_rows_stay():
    coral = CORAL().fit(X, y)
    np.testing.assert_array_equal(coral.transform(Xt), Xt)
    np.testing.assert_array_equal(coral.fit_transform(X, y)[~source], Xt)


def test_identical_domains_stay():
    rows, marks, _ = pack_domains(Xs, ys, Xs)
    np.testing.assert_allclose(CORAL().fit_transform(rows, marks)[: len(Xs)], Xs, atol=1e-10)


def test_rotating_both_domains_rotates_the_result():
    R = np.linalg.qr(np.random.RandomState(0).randn(8, 8))[0]
    np.testing.assert_allclose(CORAL().fit_transform(X @ R, y), CORAL().fit_transform(X, y) @ R, atol=1e-9)


def test_wide_rows_with_a_large_mean_do_not_blow_up():
    rng = np.random.RandomState(0)
    rows, marks, _ = pack_domains(rng.randn(20, 100) + 30, np.arange(20) % 2, rng.randn(25, 100) + 31)
    aligned = CORAL(1e-5).fit_transform(rows, marks)[:20]
    assert np.isrealobj(aligned)
    assert abs(aligned - 31).max() < 10


def test_no_d_by_d_matrix_is_kept_for_wide_rows():
    rng = np.random.RandomState(0)
    rows, marks, _ = pack_domains(rng.randn(20, 300), np.arange(20) % 2, rng.randn(25, 300))
    coral = CORAL().fit(rows, marks)
    assert coral.source_covariance_.vectors.shape == (300, 19)
    assert coral.target_covariance_.vectors.shape == (300, 24)


def test_rank_deficient_without_ridge_uses_the_pseudo_inverse():
    flat = Xs.copy()
    flat[:, 0] = 2.0
    rows, marks, _ = pack_domains(flat, ys, Xt)
    assert np.isfinite(CORAL(0).fit_transform(rows, marks)).all()


def test_a_ridge_far_above_the_variances_warns():
    with pytest.warns(UserWarning, match="times the mean variance"):
        CORAL(1.0).fit(0.01 * X, y)


def test_feature_names_are_kept():
    np.testing.assert_array_equal(CORAL().fit(X, y).get_feature_names_out(), [f"x{i}" for i in range(8)])
