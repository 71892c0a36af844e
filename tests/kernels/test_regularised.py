import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from sklearn.metrics.pairwise import rbf_kernel

from shallowda.kernels.mmd import joint_factor
from shallowda.kernels.neighbours import cosine_knn_graph, normalised_laplacian
from shallowda.kernels.regularised import KernelMachine, LinearMachine


def setting(ns=30, nt=25, d=6, weight=2.0):
    X, source, codes = oracles.stacked(*oracles.shifted_domains(2, ns, nt, d))
    E = np.sqrt(weight) * joint_factor(source, codes, 3)[0]
    laplacian = 0.7 * normalised_laplacian(cosine_knn_graph(X, 5))
    return X, source, np.eye(3)[codes[source]], E, laplacian


def quadratic(K, E, laplacian, ridge):
    return K @ (E @ E.T + laplacian).toarray() @ K + ridge * K


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_squared_loss_has_zero_gradient(kernel):
    X, source, Y, E, laplacian = setting()
    K = X @ X.T if kernel == "linear" else rbf_kernel(X, gamma=0.05)
    alpha, bias, objective = KernelMachine(K).solve("squared", source, Y, E, laplacian, 0.1)
    residual = np.zeros((len(X), 3))
    residual[source] = K[source] @ alpha - Y
    gradient = K @ residual + quadratic(K, E, laplacian, 0.1) @ alpha
    assert abs(gradient).max() < 1e-9
    assert not bias.any()
    expected = np.sum(residual**2) + np.sum(alpha * (quadratic(K, E, laplacian, 0.1) @ alpha))
    assert objective == pytest.approx(expected)


@pytest.mark.parametrize("loss", ["squared", "hinge"])
@pytest.mark.parametrize("d", [6, 90])
def test_primal_equals_dual_for_the_linear_kernel(loss, d):
    X, source, Y, E, laplacian = setting(d=d)
    Y = Y if loss == "squared" else 2 * Y - 1
    linear, dual = LinearMachine(X), KernelMachine(X @ X.T)
    w, b, value = linear.solve(loss, source, Y, E, laplacian, 0.1)
    alpha, c, other = dual.solve(loss, source, Y, E, laplacian, 0.1)
    tolerance = 1e-8 if loss == "squared" else 1e-4  # libsvm's stopping rule
    np.testing.assert_allclose(linear.values(w) + b, dual.values(alpha) + c, atol=tolerance)
    np.testing.assert_allclose(X @ linear.lift(w).T, linear.values(w), atol=1e-9)
    assert value == pytest.approx(other, rel=1e-6)


def test_no_mmd_and_no_graph_is_kernel_ridge_on_the_source():
    X, source, Y, _, _ = setting()
    K, n = rbf_kernel(X, gamma=0.05), len(X)
    alpha, _, _ = KernelMachine(K).solve("squared", source, Y, sp.csr_array((n, 0)), sp.csr_array((n, n)), 0.1)
    Ks = K[np.ix_(source, source)]
    np.testing.assert_allclose(alpha[source], np.linalg.solve(Ks + 0.1 * np.eye(len(Ks)), Y), atol=1e-9)
    assert abs(alpha[~source]).max() < 1e-12


def test_a_large_mmd_weight_brings_the_means_together():
    X, source, Y, E, laplacian = setting(weight=1e8)
    K = rbf_kernel(X, gamma=0.05)
    alpha, _, _ = KernelMachine(K).solve("squared", source, Y, E, laplacian, 0.1)
    assert abs((E.T / 1e4) @ (K @ alpha)).max() < 1e-5


def test_hinge_primal_value_is_the_dual_value():
    X, source, Y, E, laplacian = setting()
    signs, ridge = 2 * Y[:, :1] - 1, 0.1
    K = rbf_kernel(X, gamma=0.05)
    alpha, _, objective = KernelMachine(K).solve("hinge", source, signs, E, laplacian, ridge)
    # alpha = B^{-1} J^T (y o beta): recover beta and evaluate sum(beta) - 1/2 beta^T Q beta
    B = 2 * ((E @ E.T + laplacian).toarray() @ K + ridge * np.eye(len(K)))
    multipliers = B @ alpha
    assert abs(multipliers[~source]).max() < 1e-9
    beta = multipliers[source] * signs
    assert beta.min() > -1e-9
    assert beta.max() <= 1 + 1e-9
    assert abs(multipliers.sum()) < 1e-8
    dual = beta.sum() - 0.5 * np.sum(multipliers * (K @ alpha))
    assert objective == pytest.approx(dual, rel=1e-5)


def test_hinge_of_one_class_is_a_constant():
    X, source, Y, E, laplacian = setting()
    weights, bias, _ = LinearMachine(X).solve("hinge", source, np.ones((len(Y), 1)), E, laplacian, 0.1)
    assert not weights.any()
    assert bias.tolist() == [1.0]
