import numpy as np
import oracles
import pytest
import scipy.integrate
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from shallowda.kernels.subspaces import disagreement, flow_factor, flow_point, pca_basis, principal_vectors


def bases(d=7, k=3, seed=0):
    rng = np.random.RandomState(seed)
    return tuple(scipy.linalg.qr(rng.randn(d, k), mode="economic")[0] for _ in range(2))


def integral(P, Q):
    return scipy.integrate.quad_vec(lambda t: flow_point(P, Q, t) @ flow_point(P, Q, t).T, 0, 1, epsabs=1e-13)[0]


@pytest.mark.parametrize(("d", "k"), [(7, 3), (5, 4), (6, 1), (4, 4)])
def test_kernel_is_the_integral_of_the_flow(d, k):
    P, Q = bases(d, k)
    L = flow_factor(P, Q)
    assert L.shape == (d, 2 * k)
    np.testing.assert_allclose(L @ L.T, integral(P, Q), atol=1e-12)


@given(seed=st.integers(0, 10**6), d=st.integers(2, 9), data=st.data())
@settings(max_examples=30, deadline=None)
def test_flow_is_a_curve_of_subspaces_between_the_two(seed, d, data):
    P, Q = bases(d, data.draw(st.integers(1, d)), seed)
    for t in (0.0, 0.3, 1.0):
        point = flow_point(P, Q, t)
        np.testing.assert_allclose(point.T @ point, np.eye(P.shape[1]), atol=1e-10)
    assert oracles.angle(flow_point(P, Q, 0.0), P) < 1e-7
    assert oracles.angle(flow_point(P, Q, 1.0), Q) < 1e-7


@given(seed=st.integers(0, 10**6), d=st.integers(2, 9), data=st.data())
@settings(max_examples=30, deadline=None)
def test_kernel_properties(seed, d, data):
    P, Q = bases(d, data.draw(st.integers(1, d)), seed)
    k = P.shape[1]
    G = flow_factor(P, Q) @ flow_factor(P, Q).T
    values = np.linalg.eigvalsh(G)
    assert values.min() > -1e-12
    assert values.max() < 1 + 1e-12
    assert np.trace(G) == pytest.approx(k)
    np.testing.assert_allclose(G, flow_factor(Q, P) @ flow_factor(Q, P).T, atol=1e-10)
    rotation = scipy.linalg.qr(np.random.RandomState(seed).randn(k, k))[0]
    np.testing.assert_allclose(G, flow_factor(P @ rotation, -Q) @ flow_factor(P @ rotation, -Q).T, atol=1e-10)


def test_identical_subspaces_give_the_projection():
    P, _ = bases()
    L = flow_factor(P, P)
    np.testing.assert_allclose(L @ L.T, P @ P.T, atol=1e-12)  # the peers' guard gives 2 k fewer, or 0


def test_some_shared_directions():
    P, _ = bases(8, 4)
    Q = P.copy()
    complement = scipy.linalg.null_space(P.T)
    Q[:, 3] = np.cos(0.5) * P[:, 3] + np.sin(0.5) * complement[:, 0]
    L = flow_factor(P, Q)
    assert np.trace(L @ L.T) == pytest.approx(4)
    np.testing.assert_allclose(L @ L.T, integral(P, Q), atol=1e-12)


def test_orthogonal_subspaces():
    P, Q = np.eye(6)[:, :2], np.eye(6)[:, 2:4]
    np.testing.assert_allclose(flow_factor(P, Q) @ flow_factor(P, Q).T, integral(P, Q), atol=1e-12)


def test_all_dimensions_give_the_identity():
    P, Q = bases(5, 5)
    np.testing.assert_allclose(flow_factor(P, Q) @ flow_factor(P, Q).T, np.eye(5), atol=1e-12)


@pytest.mark.parametrize("theta", [1e-9, 1e-6, 1e-3, 1.0, np.pi / 2])
def test_angles_small_and_large(theta):
    P = np.eye(3)[:, :1]
    Q = np.array([[np.cos(theta)], [np.sin(theta)], [0.0]])
    assert principal_vectors(P, Q)[0][0] == pytest.approx(theta, rel=1e-10)


def test_flow_sampling_converges_to_the_kernel():
    P, Q = bases()
    G = flow_factor(P, Q) @ flow_factor(P, Q).T

    def error(points):
        times = (np.arange(points) + 0.5) / points
        mean = np.mean([flow_point(P, Q, t) @ flow_point(P, Q, t).T for t in times], axis=0)
        return np.linalg.norm(mean - G)

    assert error(20) / error(40) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(("n", "d"), [(50, 6), (8, 30)])
def test_pca_basis(n, d):
    X = np.random.RandomState(0).randn(n, d) * np.linspace(1, 3, d) + 4
    mean, basis, variances = pca_basis(X, 5)
    pca = PCA(5, svd_solver="full").fit(X)
    np.testing.assert_allclose(mean, pca.mean_)
    np.testing.assert_allclose(variances, pca.explained_variance_)
    assert oracles.angle(basis, pca.components_.T) < 1e-8
    np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-12)


def test_pca_basis_stops_at_the_rank():
    X = np.random.RandomState(0).randn(4, 30)
    assert pca_basis(X, 10)[1].shape == (30, 3)


def test_disagreement_is_that_of_nested_subspaces():
    rng = np.random.RandomState(0)
    P, Q, R = (scipy.linalg.qr(rng.randn(9, 4), mode="economic")[0] for _ in range(3))
    expected = [
        0.5 * (np.sin(oracles.angle(P[:, :k], R[:, :k])) + np.sin(oracles.angle(Q[:, :k], R[:, :k])))
        for k in range(1, 5)
    ]
    np.testing.assert_allclose(disagreement(P, Q, R), expected, atol=1e-12)


def test_several_small_angles_at_once():
    theta = np.array([1e-9, 3e-9, 1e-7, 2e-7, 1e-5, 0.3, 1.2])
    rng = np.random.RandomState(0)
    frame = scipy.linalg.qr(rng.randn(20, 20))[0]
    P, away = frame[:, :7], frame[:, 7:14]
    Q = P * np.cos(theta) + away * np.sin(theta)
    mixed = [scipy.linalg.qr(rng.randn(7, 7))[0] for _ in range(2)]
    angles, start, end, normal = principal_vectors(P @ mixed[0], Q @ mixed[1])
    np.testing.assert_allclose(angles, theta, rtol=1e-4, atol=1e-15)
    np.testing.assert_allclose(start.T @ start, np.eye(7), atol=1e-9)
    np.testing.assert_allclose(end.T @ end, np.eye(7), atol=1e-9)
    np.testing.assert_allclose(normal.T @ normal, np.eye(7), atol=1e-4)
