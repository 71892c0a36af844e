import array_api_strict
import numpy as np
import oracles
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from shallowda.kernels.arrays import to_numpy
from shallowda.kernels.mmd import mmd_factor
from shallowda.kernels.operators import DenseGram, TiledGram
from shallowda.kernels.pairwise import Kernel
from shallowda.kernels.spaces import KernelSpace, LinearDual, LinearSample, PrimalSpace, linear_dual

SHAPES = [pytest.param(40, 35, 8, id="d<n"), pytest.param(12, 10, 50, id="d>n")]


def setting(ns, nt, d, dtype=float):
    X, source, codes = oracles.stacked(*oracles.shifted_domains(1, ns, nt, d, dtype=dtype))
    E, _ = mmd_factor(source, codes, 3, authors=True)
    return X, E, oracles.mmd_matrix(source, codes, 3, authors=True)


@pytest.mark.parametrize(("ns", "nt", "d"), SHAPES)
def test_primal_is_the_dense_solution(ns, nt, d):
    X, E, M = setting(ns, nt, d)
    space = PrimalSpace(X)
    A, rho, _ = space.solve(space.times(E), 0.5, 4)
    expected, values = oracles.spectral(X, M, 0.5, 4)
    np.testing.assert_allclose(rho, values, rtol=1e-10)
    assert oracles.angle(space.lift(A).T, expected) < 1e-8
    np.testing.assert_allclose(space.embed(A), X @ space.lift(A).T, atol=1e-12)


@pytest.mark.parametrize(("ns", "nt", "d"), SHAPES)
def test_linear_dual_is_the_authors_dual(ns, nt, d):
    X, E, M = setting(ns, nt, d)
    space = linear_dual(X)
    A, rho, _ = space.solve(space.times(E), 0.5, 4)
    expected, values = oracles.spectral(X @ X.T, M, 0.5, 4)
    np.testing.assert_allclose(rho, values, rtol=1e-9)
    assert oracles.angle(space.embed(A), X @ X.T @ expected) < 1e-7
    np.testing.assert_allclose(space.embed(A), X @ space.lift(A).T, atol=1e-8 * abs(space.embed(A)).max())


def test_lengths_of_the_linear_dual_are_those_of_the_weights_of_the_samples():
    X, E, M = setting(40, 35, 8)
    space = LinearDual(X)
    _, _, lengths = space.solve(space.times(E), 0.5, 4)
    W, _ = oracles.spectral(X @ X.T, M, 0.5, 4)
    np.testing.assert_allclose(lengths, np.linalg.norm(W, axis=0), rtol=1e-8)


def test_consistent_dual_equals_primal_and_the_authors_dual_does_not():
    X, E, M = setting(40, 35, 8)
    K = X @ X.T
    space = PrimalSpace(X)
    A, _, _ = space.solve(space.times(E), 0.5, 4)
    embedding = space.embed(A)
    # ridge lam K on the weights: singular, so the pencil is solved on the range of K
    values, U = np.linalg.eigh(K)
    U = U[:, values > 1e-9 * values.max()]
    W, _ = oracles.pencil(U.T @ K @ oracles.centring(75) @ K @ U, U.T @ (K @ M @ K + 0.5 * K) @ U, 4)
    assert oracles.angle(embedding, K @ U @ W) < 1e-7
    authors = linear_dual(X)
    other = authors.embed(authors.solve(authors.times(E), 0.5, 4)[0])
    assert oracles.angle(embedding, other) > 0.05


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.usefixtures("krylov_everywhere")
def test_kernel_space_by_krylov_on_another_library(dtype):
    """Its first space comes from products with K alone: the same there as in NumPy, and as by LAPACK."""
    X, E, M = setting(80, 70, 5)
    K = rbf_kernel(X, gamma=0.1).astype(dtype)
    expected, values = oracles.spectral(K.astype(float), M, 0.5, 4)
    there = array_api_strict.asarray(K, device=array_api_strict.Device("device1"))
    for matrix in (K, there):
        space = KernelSpace(DenseGram(matrix))
        A, rho, _ = space.solve(space.times(E), 0.5, 4)
        np.testing.assert_allclose(to_numpy(rho), values, rtol=1e-10 if dtype == "float64" else 1e-4)
        assert oracles.angle(to_numpy(A), expected) < (1e-7 if dtype == "float64" else 1e-2)


@pytest.mark.parametrize("operator", [lambda X, rbf: DenseGram(rbf(X)), TiledGram], ids=["dense", "tiled"])
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("krylov_everywhere")
def test_a_mean_of_the_kernel_far_from_zero_costs_single_precision_no_digits(operator):
    X, E, M = setting(80, 70, 5, dtype=np.float32)
    rbf = Kernel("rbf", gamma=1e-4)  # values from 0.99 on
    expected, values = oracles.spectral(rbf(X.astype(float)), M, 1e-4, 3)
    space = KernelSpace(operator(X, rbf))
    A, rho, _ = space.solve(space.times(E), 1e-4, 3)
    np.testing.assert_allclose(rho, values, rtol=1e-3)
    assert oracles.angle(A, expected) < 0.02


def nearly_constant(name):
    """Rows and a kernel whose values differ in late digits only, and its matrix less its mean in extended precision."""
    X, _, _ = setting(40, 35, 5)
    X = 1e-4 * X if name == "rbf" else X + 1e4
    wide = X.astype(np.longdouble)
    products = wide @ wide.T
    if name == "rbf":
        kernel, K = Kernel("rbf", gamma=0.1), np.exp(-0.1 * ((wide[:, None] - wide) ** 2).sum(axis=2))
    elif name == "cosine":
        lengths = np.sqrt(np.diag(products))
        kernel, K = Kernel("cosine"), products / lengths[:, None] / lengths
    else:
        gamma = 1 / float(np.median(np.diag(products)))
        kernel = Kernel(name, gamma=gamma)
        K = (gamma * products + 1) ** 3 if name == "poly" else np.tanh(gamma * products + 1)
    return X, kernel, K - K.mean()


@pytest.mark.parametrize("operator", [lambda X, kernel: DenseGram(kernel(X)), TiledGram], ids=["dense", "tiled"])
@pytest.mark.parametrize("name", ["cosine", "poly", "sigmoid", "rbf"])
def test_a_kernel_that_is_nearly_constant_keeps_its_spectrum(name, operator):
    """Centring takes the constant out of ``K H K``: products must not spend their digits on it."""
    X, kernel, rest = nearly_constant(name)
    _, E, M = setting(40, 35, 5)
    square = (rest - rest.mean(axis=0)).T @ (rest - rest.mean(axis=0))  # in extended precision, then rounded once
    outer = rest @ M.astype(np.longdouble) @ rest
    scale = float(np.trace(square)) / 75
    a = (outer / scale).astype(float) + 1e-3 * np.eye(75)
    _, values = oracles.pencil((square / scale).astype(float), a, 4)
    space = KernelSpace(operator(X, kernel))
    A, rho, _ = space.solve(space.times(E), 1e-3 * scale, 4)
    np.testing.assert_allclose(rho, values, rtol=1e-4)
    Z = (rest - rest.mean(axis=0)) @ A.astype(np.longdouble)
    np.testing.assert_allclose((Z.T @ Z).astype(float), np.eye(4), atol=1e-4)


def test_a_matrix_that_may_not_be_written_into_is_not():
    X, kernel, _ = nearly_constant("rbf")
    K = kernel(X)
    before = K.copy()
    KernelSpace(DenseGram(K))
    np.testing.assert_array_equal(K, before)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["sigmoid", "rbf", "poly"])
def test_no_component_is_round_off(name, dtype):
    """Rows that repeat: the centred rank is known, and a column of the embedding that is constant is no component."""
    for seed in range(60):
        rng = np.random.RandomState(seed)
        rows = (np.eye(4), (rng.rand(6, 3) < 0.5).astype(float), rng.randn(5, 4))[seed % 3]
        X = rows[np.r_[np.arange(len(rows)), rng.randint(len(rows), size=54)]].astype(dtype)
        E, _ = mmd_factor(rng.rand(len(X)) < 0.6)
        space = KernelSpace(DenseGram(Kernel(name, gamma=1.0)(X)), overwrite=True)
        A, rho, _ = space.solve(space.times(E), 1.0, 10)
        Z = Kernel(name, gamma=1.0)(X.astype(float)) @ A
        assert len(rho) <= len(np.unique(X, axis=0)) - 1
        np.testing.assert_allclose(len(X) * Z.var(axis=0), 1, rtol=0.5 if dtype == np.float32 else 1e-6)


@pytest.mark.parametrize("gamma", [0.1, 1e-3])
def test_the_offset_is_that_of_the_kernel_whatever_is_taken_off_it(gamma):
    X, rbf = setting(80, 70, 5, dtype=np.float32)[0], Kernel("rbf", gamma=gamma)
    expected = KernelSpace(DenseGram(rbf(X.astype(float)))).offset
    for space in (
        KernelSpace(DenseGram(rbf(X))),
        KernelSpace(DenseGram(rbf(X)), overwrite=True),
        KernelSpace(TiledGram(X, rbf)),
    ):
        assert space.offset == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("n", "gamma"), [(900, 50.0), (1400, 20.0)])
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_single_precision_converges_to_what_its_products_allow(n, gamma):
    X = np.random.RandomState(0).randn(n, 5).astype(np.float32)
    X[n // 2 :] += 0.5
    E, _ = mmd_factor(np.arange(n) < n // 2)
    rbf = Kernel("rbf", gamma=gamma)
    single, double = (KernelSpace(DenseGram(rbf(rows))) for rows in (X, X.astype(float)))
    found, expected = (space.solve(space.times(E), 1.0, 10)[1] for space in (single, double))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_linear_sample_never_builds_the_kernel_and_agrees_with_it():
    X, E, _ = setting(40, 35, 8)
    X = X + 20 * np.eye(8)[0]  # K is not centred: a mean that is far from zero counts
    space, dense = LinearSample(X), KernelSpace(DenseGram(X @ X.T), X)
    for ridge in (np.full(75, 0.3), np.random.RandomState(0).rand(75) + 0.1):  # known moments, and one more pass
        A, rho, _ = space.solve(space.times(E), ridge, 4)
        B, sigma, _ = dense.solve(dense.times(E), ridge, 4)
        np.testing.assert_allclose(rho, sigma, rtol=1e-9)
        np.testing.assert_allclose(A, B, atol=1e-7 * abs(B).max())
        np.testing.assert_allclose(space.lift(A), dense.lift(B), atol=1e-7 * abs(space.lift(A)).max())
        np.testing.assert_allclose(space.embed(A), dense.embed(B), atol=1e-7 * abs(space.embed(A)).max())
    assert not any(np.shape(value) == (75, 75) for value in vars(space).values())


@pytest.mark.parametrize("space", [PrimalSpace, LinearDual])
def test_nothing_n_by_n_for_linear_kernels(space):
    X, _, _ = setting(40, 35, 8)
    assert all(np.size(value) < 75 * 75 for value in vars(space(X)).values())


def test_a_common_shift_changes_nothing():
    X, E, _ = setting(40, 35, 8)
    near, far = PrimalSpace(X), PrimalSpace(X + 1e5)
    A, _, _ = near.solve(near.times(E), 0.5, 4)
    B, _, _ = far.solve(far.times(E), 0.5, 4)
    assert oracles.angle(A, B) < 1e-7


def test_scaling_the_rows_and_the_ridge_together():
    X, E, _ = setting(40, 35, 8)
    one, two = PrimalSpace(X), PrimalSpace(3 * X)
    assert oracles.angle(one.solve(one.times(E), 0.5, 4)[0], two.solve(two.times(E), 4.5, 4)[0]) < 1e-9


def test_float32_rows_with_a_large_mean():
    X, E, _ = setting(400, 350, 8)
    far = (X + 100).astype(np.float32)
    exact, single = PrimalSpace(far.astype(float)), PrimalSpace(far)
    A, _, _ = exact.solve(exact.times(E), 0.5, 4)
    B, _, _ = single.solve(single.times(E), 0.5, 4)
    assert oracles.angle(A, B) < 1e-3
    assert single.embed(B).dtype == np.float32


@pytest.mark.parametrize("make", [PrimalSpace, LinearDual, lambda X: KernelSpace(DenseGram(X @ X.T))])
def test_offset_measures_how_far_the_mean_is(make):
    X = setting(40, 35, 8)[0]
    X = X - X.mean(axis=0)
    variance = X.var(axis=0).sum()
    assert make(X).offset == pytest.approx(0, abs=1e-12)
    moved = X + np.sqrt(4 * variance / 8)
    assert make(moved).offset == pytest.approx(4)


@pytest.mark.parametrize("rank", [3, 5, 7])
def test_linear_dual_of_dependent_features(rank):
    """More components are asked for than there are directions."""
    X, E, _ = setting(40, 35, 8)
    X = np.random.RandomState(rank).randn(75, rank) @ np.random.RandomState(0).randn(rank, 8)
    space, dense = LinearDual(X), KernelSpace(DenseGram(X @ X.T), X)
    A, rho, lengths = space.solve(space.times(E), 0.5, 8)
    B, sigma, _ = dense.solve(dense.times(E), 0.5, 8)
    assert A.shape[1] == rank
    np.testing.assert_allclose(rho, sigma, rtol=1e-7)
    np.testing.assert_allclose(lengths, np.linalg.norm(B, axis=0), rtol=1e-6)
    assert oracles.angle(space.embed(A), dense.embed(B)) < 1e-6


@pytest.mark.parametrize("make", [PrimalSpace, LinearDual])
def test_rows_whose_products_overflow_are_refused(make):
    """And squares of those products, which the solvers take."""
    X, E, _ = setting(40, 35, 8)
    for scale in (1e80, 1e160):
        with pytest.raises(ValueError, match=r"overflow.*Scale"):
            make(scale * X)
    space = make(1e60 * X)
    A, _, _ = space.solve(space.times(E), 0.5, 4)
    assert np.isfinite(space.embed(A)).all()


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
@pytest.mark.usefixtures("krylov_everywhere")
def test_overflow_in_a_krylov_space_is_an_error():
    X, E, _ = setting(80, 70, 40)
    space = LinearDual(1e70 * X)
    with pytest.raises(ValueError, match=r"overflow.*Scale"):
        space.solve(space.times(E), 0.5, 4)


@pytest.mark.parametrize("seed", [0, 2])
def test_features_that_are_never_set_together(seed):
    """Columns of such a scatter matrix say nothing of most others: no space may begin with some of them."""
    d, n = 1200, 4800
    counts = np.bincount(np.random.RandomState(seed).randint(d, size=n), minlength=d)
    space = PrimalSpace(np.repeat(np.eye(d), counts, axis=0))
    _, found, _ = space.solve(np.zeros((d, 0)), 1.0, 30)
    expected = np.linalg.eigvalsh(np.diag(counts.astype(float)) - np.outer(counts, counts) / n)[::-1]
    np.testing.assert_allclose(found, expected[:30], rtol=1e-8)
