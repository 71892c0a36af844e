import warnings

import array_api_strict
import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import rbf_kernel

from shallowda.kernels import regularised
from shallowda.kernels.arrays import to_numpy
from shallowda.kernels.mmd import mmd_factor
from shallowda.kernels.neighbours import cosine_knn_graph, normalised_laplacian
from shallowda.kernels.operators import DenseGram, Nystroem, TiledGram
from shallowda.kernels.regularised import KernelMachine, LinearMachine, extreme_ritz_values, sparse_times

RIDGE = 0.1


class Rbf:
    """A kernel as operators take them."""

    gamma = 0.05

    def __call__(self, X, Y=None):
        Y = X if Y is None else Y
        squares = np.sum(X**2, axis=1)[:, None] + np.sum(Y**2, axis=1) - 2 * X @ Y.T
        return np.exp(-self.gamma * squares)

    def diagonal(self, X):
        return np.ones(len(X), X.dtype)


def setting(ns=30, nt=25, d=6, weight=2.0):
    X, source, codes = oracles.stacked(*oracles.shifted_domains(2, ns, nt, d))
    E = mmd_factor(source, codes, 3)[0].scaled(np.sqrt(weight))
    laplacian = 0.7 * normalised_laplacian(cosine_knn_graph(X, 5))
    return X, source, np.eye(3)[codes[source]], E, laplacian


def relabelled(source, seed, weight=2.0):
    """E of a later pass."""
    codes = np.random.RandomState(seed).randint(3, size=len(source))
    return mmd_factor(source, codes, 3)[0].scaled(np.sqrt(weight))


def penalty(E, laplacian):
    A = np.zeros(laplacian.shape) if E is None else E.toarray() @ E.toarray().T
    return A + laplacian.toarray()


def textbook(K, source, Y, E, laplacian, ridge=RIDGE):
    """alpha of the squared loss, float64."""
    J, JY = np.diag(source.astype(float)), np.zeros((len(K), Y.shape[1]))
    JY[source] = Y
    return np.linalg.solve((J + penalty(E, laplacian)) @ K + ridge * np.eye(len(K)), JY)


def gram(X):
    return rbf_kernel(X, gamma=0.05)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_squared_loss_has_zero_gradient(kernel):
    X, source, Y, E, laplacian = setting()
    K = X @ X.T if kernel == "linear" else gram(X)
    fit = KernelMachine(DenseGram(K), "squared", source, Y, laplacian, RIDGE).solve(E)
    residual = np.zeros((len(X), 3))
    residual[source] = K[source] @ fit.weights - Y
    quadratic = K @ penalty(E, laplacian) @ K + RIDGE * K
    terms = abs(K) @ abs(residual) + abs(K @ penalty(E, laplacian)) @ abs(K) @ abs(fit.weights)
    assert (abs(K @ residual + quadratic @ fit.weights) < 1e-12 * terms).all()  # what cancels is larger by far
    assert not fit.bias.any()
    np.testing.assert_allclose(fit.fitted, K @ fit.weights, atol=1e-12)
    assert fit.objective == pytest.approx(np.sum(residual**2) + np.sum(fit.weights * (quadratic @ fit.weights)))


@pytest.mark.parametrize("loss", ["squared", "hinge"])
@pytest.mark.parametrize("d", [6, 90])
def test_features_equal_samples_for_the_linear_kernel(loss, d):
    X, source, Y, E, laplacian = setting(d=d)
    Y = Y if loss == "squared" else 2 * Y - 1
    machine = LinearMachine(X, loss, source, Y, laplacian, RIDGE)
    linear = machine.solve(E)
    dual = KernelMachine(DenseGram(X @ X.T), loss, source, Y, laplacian, RIDGE).solve(E)
    np.testing.assert_allclose(linear.fitted, dual.fitted, atol=1e-8 if loss == "squared" else 1e-4)  # libsvm's rule
    np.testing.assert_allclose(X @ machine.lift(linear.weights).T + linear.bias, linear.fitted, atol=1e-9)
    assert linear.objective == pytest.approx(dual.objective, rel=1e-6)


@pytest.mark.parametrize("weight", [2.0, 1e12])
@pytest.mark.parametrize("graph", [True, False])
def test_later_passes_equal_a_fresh_solution(graph, weight):
    X, source, Y, E, laplacian = setting(weight=weight)
    K, laplacian = gram(X), laplacian if graph else 0 * laplacian
    machine = KernelMachine(DenseGram(K), "squared", source, Y, laplacian, RIDGE)
    machine.solve(E)
    for seed in range(3):
        E = relabelled(source, seed, weight)
        expected = K @ textbook(K, source, Y, E, laplacian)
        np.testing.assert_allclose(machine.solve(E).fitted, expected, atol=1e-8 if weight < 1e9 else 1e-3)


def test_a_later_pass_factors_nothing(monkeypatch):
    X, source, Y, E, laplacian = setting()
    machine = KernelMachine(DenseGram(gram(X)), "squared", source, Y, laplacian, RIDGE)
    machine.solve(E)
    monkeypatch.setattr(regularised, "_Factor", None)
    machine.solve(relabelled(source, 0))


def test_a_correction_that_loses_digits_is_replaced_by_a_factorisation(monkeypatch):
    X, source, Y, E, laplacian = setting()
    K = gram(X)
    monkeypatch.setattr(KernelMachine, "_corrected", lambda self, solve, dense, image: lambda right: 3 * solve(right))
    fit = KernelMachine(DenseGram(K), "squared", source, Y, laplacian, RIDGE).solve(E)
    np.testing.assert_allclose(fit.fitted, K @ textbook(K, source, Y, E, laplacian), atol=1e-10)


@pytest.mark.parametrize("repeat", ["rows", "all"])
def test_singular_kernel_matrices(repeat):
    X, source, Y, E, laplacian = setting()
    X = X[np.arange(len(X)) // (5 if repeat == "rows" else len(X))]
    K = gram(X)
    fit = KernelMachine(DenseGram(K), "squared", source, Y, laplacian, RIDGE).solve(E)
    np.testing.assert_allclose(fit.fitted, K @ textbook(K, source, Y, E, laplacian), atol=1e-9)
    iterated = KernelMachine(TiledGram(X, Rbf()), "squared", source, Y, laplacian, RIDGE).solve(E)
    np.testing.assert_allclose(iterated.fitted, fit.fitted, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.1, 1e-5])  # refined float32 factors; a condition number that needs float64
def test_float32_kernels_are_solved_to_float64(ridge):
    X, source, Y, E, laplacian = setting(200, 150)
    K = gram(X).astype(np.float32)
    machine = KernelMachine(DenseGram(K), "squared", source, Y, laplacian, ridge)
    fit = machine.solve(E)
    assert machine._solver.lu[0].dtype == (np.float32 if ridge > 1e-2 else np.float64)
    K = K.astype(np.float64)
    np.testing.assert_allclose(fit.fitted, K @ textbook(K, source, Y, E, laplacian, ridge), atol=1e-9)


@pytest.mark.parametrize("loss", ["squared", "hinge"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_float32_and_mapped_rows(tmp_path, loss, order, monkeypatch):
    X, source, Y, E, laplacian = setting()
    Y = 2 * Y - 1
    rows = np.memmap(tmp_path / "rows", np.float32, "w+", shape=X.shape, order=order)
    rows[:] = X
    whole = LinearMachine(X, loss, source, Y, laplacian, RIDGE).solve(E)

    def short_blocks(rows):
        return (slice(i, min(i + 8, len(rows))) for i in range(0, len(rows), 8))

    monkeypatch.setattr(regularised, "row_blocks", short_blocks)
    blocks = LinearMachine(rows, loss, source, Y, laplacian, RIDGE).solve(E)
    assert blocks.fitted.dtype == np.float64
    np.testing.assert_allclose(blocks.fitted, whole.fitted, atol=1e-5 if loss == "squared" else 1e-3)
    assert blocks.objective == pytest.approx(whole.objective, rel=1e-5)


def test_no_mmd_and_no_graph_is_kernel_ridge_on_the_source():
    X, source, Y, _, _ = setting()
    K = gram(X)
    alpha = KernelMachine(DenseGram(K), "squared", source, Y, None, RIDGE).solve().weights
    Ks = K[np.ix_(source, source)]
    np.testing.assert_allclose(alpha[source], np.linalg.solve(Ks + RIDGE * np.eye(len(Ks)), Y), atol=1e-9)
    assert abs(alpha[~source]).max() < 1e-12


@pytest.mark.parametrize("operator", [lambda X: DenseGram(gram(X)), lambda X: TiledGram(X, Rbf())])
def test_a_large_mmd_weight_brings_the_means_together(operator):
    X, source, Y, E, laplacian = setting(weight=1e8)
    fit = KernelMachine(operator(X), "squared", source, Y, laplacian, RIDGE).solve(E)
    assert abs((E.toarray().T / 1e4) @ fit.fitted).max() < 1e-5


class TestIterated:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float32, 1e-3)])
    @pytest.mark.parametrize("landmarks", [1024, 20])
    def test_equals_the_factored_solution(self, monkeypatch, dtype, tolerance, landmarks):
        monkeypatch.setenv("SHALLOWDA_PRECONDITIONER_COLUMNS", str(landmarks))
        X, source, Y, E, laplacian = setting(60, 50)
        tiled = TiledGram(X.astype(dtype), Rbf(), tile_bytes=60_000)
        machine = KernelMachine(tiled, "squared", source, Y, laplacian, RIDGE)
        K = gram(X)
        direct = KernelMachine(DenseGram(K), "squared", source, Y, laplacian, RIDGE)
        for factor in (E, relabelled(source, 0)):  # the second one starts from the first
            fit, expected = machine.solve(factor), direct.solve(factor)
            np.testing.assert_allclose(fit.fitted, expected.fitted, atol=tolerance)
            assert fit.objective == pytest.approx(expected.objective, rel=tolerance)

    def test_without_graph_or_means(self):
        X, source, Y, _, _ = setting()
        fit = KernelMachine(TiledGram(X, Rbf()), "squared", source, Y, None, RIDGE).solve()
        expected = KernelMachine(DenseGram(gram(X)), "squared", source, Y, None, RIDGE).solve()
        np.testing.assert_allclose(fit.fitted, expected.fitted, atol=1e-6)

    def test_few_products_with_the_kernel(self):
        X, source, Y, E, laplacian = setting(300, 200)
        products = []

        class Counted(TiledGram):
            def __matmul__(self, block):
                products.append(block.shape)
                return super().__matmul__(block)

        KernelMachine(Counted(X, Rbf()), "squared", source, Y, laplacian, RIDGE).solve(E)
        assert {n for n, _ in products} == {500}
        assert len(products) < 15

    def test_stopping_early_is_said_with_the_figure(self, monkeypatch):
        monkeypatch.setenv("SHALLOWDA_PRECONDITIONER_COLUMNS", "1")
        monkeypatch.setattr(regularised, "_MOST_PRODUCTS", 5)
        X, source, Y, E, laplacian = setting()
        machine = KernelMachine(TiledGram(X, Rbf()), "squared", source, Y, laplacian, 1.0)
        with pytest.warns(ConvergenceWarning, match=r"after \d products .* residual of \d.*e[+-]\d+.*memory_budget"):
            fit = machine.solve(E)
        J, right = np.diag(source.astype(float)), np.zeros((len(X), 3))
        right[source] = Y
        left = right - (J + penalty(E, laplacian)) @ gram(X) @ fit.weights - fit.weights
        assert np.linalg.norm(left) < np.linalg.norm(right)

    def test_weights_that_are_worse_than_none_are_refused(self, monkeypatch):
        monkeypatch.setenv("SHALLOWDA_PRECONDITIONER_COLUMNS", "1")
        monkeypatch.setattr(regularised, "_MOST_PRODUCTS", 5)
        X, source, Y, E, laplacian = setting()
        machine = KernelMachine(TiledGram(X, Rbf()), "squared", source, Y, laplacian, 1e-6)
        with pytest.raises(ValueError, match=r"after \d products .* better than none.*memory_budget"):
            machine.solve(E)

    @pytest.mark.parametrize("ridge", [1e-4, 1e-6])
    def test_single_precision_goes_on_in_double_where_it_does_not_do(self, ridge):
        """As with a stored matrix: not weights that are round-off."""
        X, source, Y, E, laplacian = setting(60, 50)
        rows = X.astype(np.float32)
        K = gram(rows.astype(float))
        expected = K @ textbook(K, source, Y, E, laplacian, ridge)
        fit = KernelMachine(TiledGram(rows, Rbf()), "squared", source, Y, laplacian, ridge).solve(E)
        np.testing.assert_allclose(fit.fitted, expected, atol=1e-3)

    def test_a_kernel_with_negative_eigenvalues_is_said(self):
        class Distances(Rbf):
            def __call__(self, X, Y=None):
                return -super().__call__(X, Y)

        X, source, Y, E, laplacian = setting()
        machine = KernelMachine(TiledGram(X, Distances()), "squared", source, Y, laplacian, RIDGE)
        with pytest.raises(ValueError, match="not positive semi-definite"):
            machine.solve(E)

    def test_the_hinge_loss_needs_a_stored_kernel(self):
        X, source, Y, _, laplacian = setting()
        with pytest.raises(ValueError, match=r"55 rows in memory.*memory_budget.*n_landmarks"):
            KernelMachine(TiledGram(X, Rbf()), "hinge", source, 2 * Y - 1, laplacian, RIDGE)


@pytest.mark.parametrize("loss", ["squared", "hinge"])
def test_nystroem_features_are_rows_like_any_other(loss):
    X, source, Y, E, laplacian = setting()
    features = Nystroem(X, Rbf(), len(X)).features  # exact: all rows are landmarks
    Y = 2 * Y - 1
    fit = LinearMachine(features, loss, source, Y, laplacian, RIDGE).solve(E)
    expected = KernelMachine(DenseGram(gram(X)), loss, source, Y, laplacian, RIDGE).solve(E)
    np.testing.assert_allclose(fit.fitted, expected.fitted, atol=1e-7 if loss == "squared" else 1e-4)


@pytest.mark.parametrize("graph", [True, False])
def test_hinge_primal_value_is_the_dual_value(graph):
    X, source, Y, E, laplacian = setting()
    signs, K, laplacian = 2 * Y[:, :1] - 1, gram(X), laplacian if graph else None
    fit = KernelMachine(DenseGram(K), "hinge", source, signs, laplacian, RIDGE).solve(E)
    # alpha = B^{-1} J^T (y o beta): recover beta and evaluate sum(beta) - 1/2 beta^T Q beta
    B = 2 * (penalty(E, laplacian if graph else sp.csr_array(K.shape)) @ K + RIDGE * np.eye(len(K)))
    multipliers = B @ fit.weights
    assert abs(multipliers[~source]).max() < 1e-9
    beta = multipliers[source] * signs
    assert beta.min() > -1e-9
    assert beta.max() <= 1 + 1e-9
    assert abs(multipliers.sum()) < 1e-8
    dual = beta.sum() - 0.5 * np.sum(multipliers * (K @ fit.weights))
    assert fit.objective == pytest.approx(dual, rel=1e-5)


def test_hinge_of_one_class_is_a_constant():
    X, source, Y, E, laplacian = setting()
    fit = LinearMachine(X, "hinge", source, np.ones((len(Y), 1)), laplacian, RIDGE).solve(E)
    assert not fit.weights.any()
    assert fit.bias.tolist() == [1.0]
    assert set(fit.fitted.ravel()) == {1.0}


@pytest.mark.parametrize("loss", ["squared", "hinge"])
@pytest.mark.parametrize("machine", ["rows", "wide rows", "stored", "tiled", "without graph"])
def test_arrays_of_other_libraries(loss, machine):
    X, source, Y, E, laplacian = setting(d=90 if machine == "wide rows" else 6)
    if machine == "tiled" and loss == "hinge":
        pytest.skip("refused, see above")
    device = array_api_strict.Device("device1")

    def moved(array):
        return array_api_strict.asarray(array, device=device)

    class Polynomial:
        def __call__(self, X, Y=None):
            return (X @ (X if Y is None else Y).T / 50 + 1) ** 2

        def diagonal(self, X):
            xp = np if isinstance(X, np.ndarray) else array_api_strict
            return (xp.sum(X * X, axis=1) / 50 + 1) ** 2

    Y, laplacian = 2 * Y - 1, None if machine == "without graph" else laplacian

    def solved(X):
        if "rows" in machine:
            return LinearMachine(X, loss, source, Y, laplacian, RIDGE).solve(E)
        K = TiledGram(X, Polynomial()) if machine == "tiled" else DenseGram(Polynomial()(X))
        return KernelMachine(K, loss, source, Y, laplacian, RIDGE).solve(E)

    fit, expected = solved(moved(X)), solved(X)
    assert fit.weights.device == fit.fitted.device == device
    np.testing.assert_allclose(to_numpy(fit.fitted), expected.fitted, atol=1e-6 if loss == "squared" else 1e-4)
    np.testing.assert_allclose(fit.bias, expected.bias, atol=1e-4)
    assert fit.objective == pytest.approx(expected.objective, rel=1e-6)


def test_sparse_products_elsewhere_than_in_numpy():
    matrix = sp.random_array((40, 30), density=0.1, random_state=np.random.default_rng(0), format="csr")
    block = np.random.RandomState(0).randn(30, 4)
    foreign = array_api_strict.asarray(block, device=array_api_strict.Device("device1"))
    np.testing.assert_allclose(to_numpy(sparse_times(matrix, foreign)), matrix @ block, atol=1e-14)
    assert not to_numpy(sparse_times(sp.csr_array((5, 30)), foreign)).any()
    assert sparse_times(matrix, block.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("machine", ["rows", "kernel"])
def test_a_ridge_lost_in_round_off_is_refused(machine):
    X, source, Y, E, _ = setting()
    X = np.ones_like(X) * 1e6
    build, given = (LinearMachine, X) if machine == "rows" else (KernelMachine, DenseGram(X @ X.T))
    with pytest.raises(ValueError, match=r"singular to working precision: ridge=1e-12 .* raise ridge"):
        build(given, "squared", source, Y, None, 1e-12).solve(E)


def test_extreme_ritz_values_lie_within_the_spectrum():
    X = setting(200, 150)[0]
    K = gram(X)
    smallest, largest = extreme_ritz_values(DenseGram(K))
    values = np.linalg.eigvalsh(K)
    assert values[0] - 1e-12 < smallest < 0.01
    assert largest == pytest.approx(values[-1])
    shifted = K - 0.5 * np.eye(len(K))
    assert extreme_ritz_values(DenseGram(shifted))[0] == pytest.approx(-0.5, abs=1e-2)
    assert extreme_ritz_values(DenseGram(np.zeros((5, 5)))) == (0.0, 0.0)
    assert extreme_ritz_values(DenseGram(np.diag([3.0, -2.0]))) == pytest.approx((-2.0, 3.0))


def test_nothing_is_said_when_nothing_is_wrong():
    X, source, Y, E, laplacian = setting()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for K in (DenseGram(gram(X)), TiledGram(X, Rbf())):
            KernelMachine(K, "squared", source, Y, laplacian, RIDGE).solve(E)
