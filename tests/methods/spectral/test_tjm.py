import numpy as np
import oracles
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from shallowda import TJM, TCAEstimator, pack_domains
from shallowda.kernels.neighbours import unit_rows

Xs, ys, Xt, yt = oracles.shifted_domains(5)
X, y, sample_domain = pack_domains(0.1 * unit_rows(Xs), ys, 0.1 * unit_rows(Xt))  # small: see the notes of TJM
source = sample_domain >= 0


def textbook(K, k, ridge, passes):
    """The paper's reweighting with dense matrices; returns A of each pass."""
    M, H = oracles.mmd_matrix(source), oracles.centring(len(K))
    G, history, smoothing = np.ones(len(K)), [], None
    for _ in range(passes):
        A, _ = oracles.pencil(K @ H @ K, K @ M @ K + ridge * np.diag(G), k)
        norms = np.linalg.norm(A, axis=1)
        smoothing = smoothing or 1e-6 * norms.max()
        G[source] = 0.5 / np.hypot(norms, smoothing)[source]
        history.append(A)
    return history


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("passes", [1, 2, 6])
def test_is_the_textbook_reweighting(kernel, passes):
    K = X @ X.T if kernel == "linear" else rbf_kernel(X, gamma=50)
    options = {"kernel": kernel, "gamma": 50, "ridge": 0.05, "mmd_scaling": "paper", "tol": 0, "max_iter": passes}
    tjm = TJM(3, component_scale="constraint", **options)
    Z = tjm.fit_transform(X, y)
    A = textbook(K, 3, 0.05, passes)[-1]
    expected = K @ A
    np.testing.assert_allclose(Z, expected * np.sign(np.sum(Z * expected, axis=0)), atol=1e-6)
    norms = np.linalg.norm(A, axis=1)
    np.testing.assert_allclose(tjm.source_relevance_, norms[source] / norms.max(), atol=1e-5)


def test_one_pass_is_tca():
    for kernel in ("linear", "rbf"):
        tjm = TJM(3, kernel=kernel, max_iter=1).fit(X, y)
        tca = TCAEstimator(3, kernel=kernel).fit(X, y)
        gap = abs(tjm.transform(X)) - abs(tca.transform(X))
        assert abs(gap).max() < 1e-7


def test_it_does_more_than_one_pass():
    tjm = TJM(3, ridge=0.05).fit(X, y)
    assert tjm.n_iter_ > 1
    assert abs(abs(tjm.transform(X)) - abs(TJM(3, ridge=0.05, max_iter=1).fit(X, y).transform(X))).max() > 1e-3


@pytest.mark.parametrize("scaling", ["paper", "authors"])
@pytest.mark.parametrize("kernel", ["linear", "precomputed"])
def test_objective_never_rises(kernel, scaling):
    rows = X if kernel == "linear" else 0.01 * rbf_kernel(X, gamma=50)
    tjm = TJM(3, kernel=kernel, ridge=0.05, mmd_scaling=scaling, tol=0, max_iter=30).fit(rows, y)
    history = tjm.history_["objective"]
    assert len(history) > 5
    assert (np.diff(history) <= 1e-9 * history[0]).all()


def test_constraint_holds_in_the_kept_scale():
    Z = TJM(3, component_scale="constraint").fit_transform(X, y)
    np.testing.assert_allclose(Z.T @ oracles.centring(len(Z)) @ Z, np.eye(3), atol=1e-8)


def test_source_rows_that_do_not_match_fade_out():
    rng = np.random.RandomState(0)
    like, unlike = rng.randn(40, 5) + np.eye(5)[0] * 4, 0.1 * rng.randn(10, 5) - np.eye(5)[0] * 40
    target = rng.randn(40, 5) + np.eye(5)[0] * 4
    rows, marks, _ = pack_domains(
        0.1 * unit_rows(np.vstack([like, unlike])), np.arange(50) % 2, 0.1 * unit_rows(target)
    )
    relevance = TJM(2, ridge=0.01, max_iter=30).fit(rows, marks).source_relevance_
    assert relevance.shape == (50,)
    assert relevance[:40].max() > 0.1  # a few rows carry the source
    assert relevance[40:].max() < 1e-3


def test_a_large_kernel_switches_the_source_off_and_says_so():
    with pytest.warns(UserWarning, match="Every source row is switched off"):
        TJM(3, max_iter=30).fit(100 * X, y)


def test_more_features_than_rows():
    rng = np.random.RandomState(0)
    wide = np.hstack([X, 0.01 * rng.randn(len(X), 200)])
    tjm = TJM(3, ridge=0.05)
    Z = tjm.fit_transform(wide, y)
    assert tjm.components_.shape == (3, wide.shape[1])
    np.testing.assert_allclose(tjm.transform(wide), Z, atol=1e-9)
    square = TJM(3, ridge=0.05).fit(wide[:, : len(X)], y)
    assert square.components_.shape == (3, len(X))
