import warnings

import numpy as np
import oracles
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel

from shallowda import JGSA, OneNearestNeighbor, pack_domains
from shallowda.kernels.neighbours import unit_rows

Xs, ys, Xt, yt = oracles.shifted_domains(3)
Xs, Xt = unit_rows(Xs - Xs.mean(axis=0)), unit_rows(Xt - Xt.mean(axis=0))
X, y, sample_domain = pack_domains(Xs, ys, Xt)
source = sample_domain >= 0


def nearest(Zs, labels, Zt):
    return labels[((Zt[:, None] - Zs[None]) ** 2).sum(axis=2).argmin(axis=1)]


def matrices(Fs, labels, Ft, codes, R, *, lam=1.0, mu=1.0, beta=0.1, authors=True, mean=False, centre_target=True):
    """Numerator and denominator of order 2 m as the paper prints them; R is what the ridge terms are measured in."""
    ns, nt, m = len(Fs), len(Ft), Fs.shape[1]
    classes = np.unique(labels)
    overall = Fs.mean(axis=0)
    S_w, S_b = np.zeros((m, m)), np.zeros((m, m))
    for c in classes:
        F = Fs[labels == c]
        S_w += F.T @ oracles.centring(len(F)) @ F
        S_b += len(F) * np.outer(F.mean(axis=0) - overall, F.mean(axis=0) - overall)
    S_t = Ft.T @ oracles.centring(nt) @ Ft if centre_target else Ft.T @ Ft
    if mean:
        S_w, S_b, S_t = S_w / ns, S_b / ns, S_t / nt
    is_source = np.repeat([True, False], [ns, nt])
    M = oracles.mmd_matrix(is_source)
    if authors:
        M = len(classes) * M
    norm = len(classes) if mean else np.linalg.norm(M)
    if codes is not None:
        M = M + oracles.mmd_matrix(is_source, np.concatenate([labels, codes]), len(classes), marginal=0.0)
    if authors:
        M = M / norm
    F = scipy.linalg.block_diag(Fs, Ft)
    zero = np.zeros((m, m))
    N = np.block([[beta * S_b, zero], [zero, mu * S_t]])
    D = F.T @ M @ F + np.block([[lam * R + beta * S_w, -lam * R], [-lam * R, (lam + mu) * R]])
    return N, D


def textbook(Xs, ys, Xt, k, passes, first=True, scale="unit", **options):
    """The paper's loop, 1-NN on unit rows: maps, embeddings, labels and the sum of 1 / rho."""
    d = Xs.shape[1]
    codes = nearest(unit_rows(Xs), ys, unit_rows(Xt)) if first else None
    for _ in range(passes):
        W, rho = oracles.pencil(*matrices(Xs, ys, Xt, codes, np.eye(d), **options), k)
        if scale == "unit":
            W = W / np.linalg.norm(W, axis=0)
        A, B = W[:d], W[d:]
        codes = nearest(unit_rows(Xs @ A), ys, unit_rows(Xt @ B))
    return A, B, codes, np.sum(1 / rho)


def same_up_to_signs(found, expected, tolerance=1e-6):
    turns = np.sign(np.sum(found * expected, axis=0))
    np.testing.assert_allclose(found, expected * turns, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("scatter", ["sum", "mean"])
@pytest.mark.parametrize("scaling", ["authors", "paper"])
@pytest.mark.parametrize("passes", [1, 2, 5])
def test_is_the_textbook_loop(scatter, scaling, passes):
    weights = {"coupling": 0.7, "target_variance": 1.3, "discrimination": 0.4}
    jgsa = JGSA(3, scatter=scatter, mmd_scaling=scaling, max_iter=passes, **weights).fit(X, y)
    A, B, labels, objective = textbook(
        Xs, ys, Xt, 3, passes, lam=0.7, mu=1.3, beta=0.4, authors=scaling == "authors", mean=scatter == "mean"
    )
    np.testing.assert_array_equal(jgsa.pseudo_labels_, labels)
    assert jgsa.history_["objective"][-1] == pytest.approx(objective, rel=1e-9)
    both = np.hstack([jgsa.source_components_, jgsa.components_]).T
    same_up_to_signs(both, np.vstack([A, B]))
    np.testing.assert_array_equal(jgsa.intercept_, 0)


def test_the_constraint_makes_the_numerator_one():
    jgsa = JGSA(3, component_scale="constraint", max_iter=2).fit(X, y)
    A, B, _, _ = textbook(Xs, ys, Xt, 3, 2, scale="constraint")
    same_up_to_signs(np.hstack([jgsa.source_components_, jgsa.components_]).T, np.vstack([A, B]))


@pytest.mark.parametrize("kernel", ["linear", "rbf", "precomputed"])
def test_kernel_is_the_problem_of_order_2n(kernel):
    """The authors' problem on blocks of the centred kernel matrix, solved where it is not singular."""
    K = X @ X.T if kernel == "linear" else rbf_kernel(X, gamma=0.6)
    n = len(X)
    C = oracles.centring(n) @ K @ oracles.centring(n)
    values, vectors = np.linalg.eigh(C)
    Q = vectors[:, values > 1e-10 * values[-1]]
    both = scipy.linalg.block_diag(Q, Q)
    first = None if kernel == "precomputed" else nearest(unit_rows(Xs), ys, unit_rows(Xt))
    N, D = matrices(C[source], ys, C[~source], first, C, beta=0.4, centre_target=False)
    W, rho = oracles.pencil(both.T @ N @ both, both.T @ D @ both, 3)
    W = both @ W
    A, B = W[:n], W[n:]
    lengths = np.sqrt(np.sum(A**2 + B**2, axis=0))
    jgsa = JGSA(3, kernel=kernel, gamma=0.6, discrimination=0.4, max_iter=1)
    Z = jgsa.fit_transform(K if kernel == "precomputed" else X, y)
    assert jgsa.history_["objective"] == [pytest.approx(np.sum(1 / rho), rel=1e-7)]
    same_up_to_signs(Z, np.where(source[:, None], C @ A, C @ B) / lengths)


def test_linear_kernel_is_primal_on_centred_domains():
    scale = {"max_iter": 3, "component_scale": "constraint"}
    jgsa, dual = JGSA(4, **scale), JGSA(4, kernel="linear", **scale)
    centred = np.where(source[:, None], X - Xs.mean(axis=0), X - Xt.mean(axis=0))
    same_up_to_signs(dual.fit_transform(centred, y), jgsa.fit_transform(centred, y))


def test_more_features_than_rows_is_the_dense_problem():
    rng = np.random.RandomState(0)
    wide_s, wide_t = rng.randn(14, 60) + 3 * rng.randn(2, 60)[np.arange(14) % 2], rng.randn(11, 60)
    few = np.arange(14) % 2
    rows, marks, _ = pack_domains(wide_s / 8, few, wide_t / 8)
    jgsa = JGSA(3, max_iter=2).fit(rows, marks)
    A, B, labels, objective = textbook(wide_s / 8, few, wide_t / 8, 3, 2)
    np.testing.assert_array_equal(jgsa.pseudo_labels_, labels)
    assert jgsa.history_["objective"][-1] == pytest.approx(objective, rel=1e-9)
    same_up_to_signs(np.hstack([jgsa.source_components_, jgsa.components_]).T, np.vstack([A, B]))


def test_signs_do_not_depend_on_the_basis_of_the_span():
    rng = np.random.RandomState(0)
    rows, marks, _ = pack_domains(rng.randn(14, 60), np.arange(14) % 2, rng.randn(11, 60))
    jgsa, order = JGSA(6, max_iter=1).fit(rows, marks), rng.permutation(25)
    again = JGSA(6, max_iter=1).fit(rows[order], marks[order])
    np.testing.assert_allclose(again.components_, jgsa.components_, atol=1e-9)
    np.testing.assert_allclose(again.source_components_, jgsa.source_components_, atol=1e-9)


def test_krylov_passes_find_the_labels_and_maps_of_dense_ones(monkeypatch):
    rng = np.random.RandomState(1)
    means = rng.randn(4, 120)
    labels, truth = np.arange(150) % 4, np.arange(130) % 4
    rows_s, rows_t = means[labels] + 2 * rng.randn(150, 120), means[truth] + 2 * rng.randn(130, 120) + 0.3
    rows, marks, _ = pack_domains(unit_rows(rows_s), labels, unit_rows(rows_t))
    dense = JGSA(4).fit(rows, marks)
    assert dense.plan_.solver == "lapack"
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "10")
    krylov = JGSA(4).fit(rows, marks)
    assert krylov.plan_.solver == "block krylov"
    np.testing.assert_array_equal(krylov.pseudo_labels_, dense.pseudo_labels_)
    assert krylov.history_["label_changes"] == dense.history_["label_changes"]
    np.testing.assert_allclose(krylov.components_, dense.components_, atol=1e-6)


def test_rows_given_twice_change_averaged_scatters_only_by_round_off():
    twice = np.r_[X, X], np.r_[y, y]
    for scaling in ("authors", "paper"):
        jgsa = JGSA(3, scatter="mean", mmd_scaling=scaling, coupling=0.01, target_variance=0.01)
        once = jgsa.fit_transform(X, y)
        np.testing.assert_allclose(jgsa.fit_transform(*twice)[: len(X)], once, atol=1e-9)
    sums = JGSA(3, max_iter=1)
    assert oracles.angle(sums.fit(X, y).components_.T, sums.fit(*twice).components_.T) > 1e-3


@pytest.mark.parametrize(("coupling", "distance"), [(1e3, 2e-2), (1e6, 2e-5), (1e9, 2e-8)])
def test_a_large_coupling_makes_one_map(coupling, distance):
    jgsa = JGSA(3, coupling=coupling).fit(X, y)
    gap = np.linalg.norm(jgsa.source_components_ - jgsa.components_) / np.linalg.norm(jgsa.components_)
    assert 0 < gap < distance


def test_one_map_without_discrimination_is_the_target_variance_against_the_gap():
    """beta = 0 and a coupling without end: the pencil (mu S_t, V V^T + mu I) of a shared projection."""
    jgsa = JGSA(3, coupling=1e12, discrimination=0.0, max_iter=1).fit(X, y)
    codes = nearest(Xs, ys, Xt)
    M = 3 * oracles.mmd_matrix(source)
    M = (M + oracles.mmd_matrix(source, np.r_[ys, codes], 3, marginal=0.0)) / np.linalg.norm(M)
    B, rho = oracles.pencil(Xt.T @ oracles.centring(len(Xt)) @ Xt, X.T @ M @ X + np.eye(8), 3)
    assert jgsa.history_["objective"] == [pytest.approx(np.sum(1 / rho), rel=1e-6)]
    assert oracles.angle(jgsa.components_.T, B) < 1e-5


def test_without_a_target_there_is_one_map():
    with pytest.warns(UserWarning, match="without target rows"):
        jgsa = JGSA(3).fit(Xs, ys)
    np.testing.assert_allclose(jgsa.source_components_, jgsa.components_, atol=1e-12)
    assert np.mean(jgsa.predict(Xs) == ys) == 1


@pytest.mark.parametrize("kernel", [None, "linear"])
@pytest.mark.parametrize("scale", ["unit", "constraint"])
@pytest.mark.parametrize("d", [1, 3])
def test_no_more_components_than_dimensions(kernel, scale, d):
    """With all 2 d of them the two embeddings would be orthogonal: W W^T is the inverse of N, which has two blocks."""
    rng = np.random.RandomState(0)
    means, labels = 5 * rng.randn(6, d), np.arange(60) % 6
    near, far = (means[labels] + 0.3 * rng.randn(60, d) for _ in range(2))
    rows, marks, _ = pack_domains(near - near.mean(axis=0), labels, far - far.mean(axis=0))
    settings = {"kernel": kernel, "component_scale": scale}
    with pytest.warns(UserWarning, match=f"n_components=30 exceeds the rank {d} .*dimensions of the rows"):
        jgsa = JGSA(**settings).fit(rows, marks)
    assert jgsa.components_.shape == jgsa.source_components_.shape == (d, d)
    np.testing.assert_array_equal(jgsa.components_, JGSA(d, **settings).fit(rows, marks).components_)
    assert jgsa.score(rows[60:], labels) > 0.9
    order = rng.permutation(120)
    np.testing.assert_array_equal(JGSA(d, **settings).fit(rows[order], marks[order]).predict(rows), jgsa.predict(rows))


def test_names_of_classes_do_not_matter():
    names = np.array(["pear", "apple", "fig"])
    jgsa, named = JGSA(3).fit(X, y), JGSA(3).fit(*pack_domains(Xs, names[ys], Xt)[:2])
    np.testing.assert_array_equal(names[jgsa.pseudo_labels_], named.pseudo_labels_)
    np.testing.assert_allclose(named.components_, jgsa.components_, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.1, 10.0))
def test_rows_in_another_unit_with_weights_that_follow_give_the_same(seed, factor):
    """Without discrimination the coupling and mu, as a ridge, grow by the square; as a weight mu cancels."""
    rows_s, labels, rows_t, _ = oracles.shifted_domains(seed, 20, 18, 4)
    rows, marks, _ = pack_domains(rows_s, labels, rows_t)
    near = JGSA(2, coupling=0.5, discrimination=0.0, max_iter=1).fit(rows, marks)
    weights = {"coupling": 0.5 * factor**2, "target_variance": factor**2, "discrimination": 0.0}
    far = JGSA(2, max_iter=1, **weights).fit(factor * rows, marks)
    np.testing.assert_allclose(far.history_["objective"][0] * factor**2, near.history_["objective"][0], rtol=1e-6)
    assert oracles.angle(far.components_.T, near.components_.T) < 1e-4


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(0, 1))
def test_the_objective_is_the_dense_one(seed, coupling, target_variance, discrimination):
    rows_s, labels, rows_t, _ = oracles.shifted_domains(seed, 20, 18, 4)
    rows, marks, _ = pack_domains(rows_s, labels, rows_t)
    weights = {"coupling": coupling, "target_variance": target_variance, "discrimination": discrimination}
    jgsa = JGSA(2, max_iter=1, **weights).fit(rows, marks)
    codes = nearest(unit_rows(rows_s), labels, unit_rows(rows_t))
    N, D = matrices(rows_s, labels, rows_t, codes, np.eye(4), lam=coupling, mu=target_variance, beta=discrimination)
    assert np.linalg.eigvalsh(D)[0] > 0
    W = np.hstack([jgsa.source_components_, jgsa.components_]).T
    ratio = np.sum(np.diag(W.T @ D @ W) / np.diag(W.T @ N @ W))
    assert jgsa.history_["objective"][0] == pytest.approx(ratio, rel=1e-6)
    assert ratio == pytest.approx(np.sum(1 / oracles.pencil(N, D, 2)[1]), rel=1e-6)


def test_float32_is_close_to_float64():
    for kernel in (None, "rbf"):
        jgsa = JGSA(3, kernel=kernel)
        expected = jgsa.fit_transform(X, y)
        found = jgsa.fit_transform(X.astype(np.float32), y)
        assert found.dtype == jgsa.transform(X.astype(np.float32)).dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_landmarks_that_are_all_rows_are_exact():
    exact = JGSA(3, kernel="rbf", max_iter=2).fit(X, y)
    landmarks = JGSA(3, kernel="rbf", n_landmarks=len(X), max_iter=2).fit(X, y)
    np.testing.assert_array_equal(landmarks.pseudo_labels_, exact.pseudo_labels_)
    assert landmarks.history_["objective"][-1] == pytest.approx(exact.history_["objective"][-1], rel=1e-6)
    new = Xt[:7] + 0.01
    same_up_to_signs(landmarks.transform(new), exact.transform(new), 1e-5)
    few = JGSA(3, kernel="rbf", n_landmarks=20, max_iter=2).fit(X, y)
    assert few.components_.shape == (3, 20)


def test_new_rows_go_by_the_map_of_their_domain():
    rng = np.random.RandomState(2)
    for kernel in (None, "linear", "rbf"):
        jgsa = JGSA(3, kernel=kernel, gamma=0.5)
        Z = jgsa.fit_transform(X, y)
        np.testing.assert_allclose(jgsa.transform(X, sample_domain=sample_domain), Z, atol=1e-10)
        assert np.abs(jgsa.transform(Xs) - Z[source]).max() > 1e-3
        moved = jgsa.transform(Xt + 1e-7 * rng.randn(*Xt.shape))
        np.testing.assert_allclose(moved, Z[~source], atol=1e-5)


def test_predictions_are_the_last_labels():
    for kernel in (None, "rbf"):
        jgsa = JGSA(3, kernel=kernel).fit(X, y)
        np.testing.assert_array_equal(jgsa.predict(Xt), jgsa.pseudo_labels_)


def test_begins_with_the_labels_of_the_source_alone():
    jgsa = JGSA(3, max_iter=1, estimator=OneNearestNeighbor("euclidean")).fit(X, y)
    raw = OneNearestNeighbor("euclidean").fit(Xs, ys).predict(Xt)
    assert jgsa.history_["label_changes"] == [np.sum(jgsa.pseudo_labels_ != raw)]
    without = JGSA(3, max_iter=1, kernel="precomputed").fit(X @ X.T, y)
    assert without.history_["label_changes"] == [len(Xt)]


def test_a_class_that_no_target_row_has_is_dropped_and_recorded():
    kept = yt != 2
    few, marks, _ = pack_domains(Xs, ys, Xt[kept])
    with pytest.warns(UserWarning, match=r"labelled \[2\]"):
        jgsa = JGSA(3, estimator=NeverTwo()).fit(few, marks)
    assert set(jgsa.history_["dropped_classes"]) == {(2,)}
    assert np.isfinite(jgsa.components_).all()


class NeverTwo(OneNearestNeighbor):
    """A classifier to which a class is unknown."""

    def fit(self, X, y):
        return super().fit(X[y != 2], y[y != 2])


def test_one_source_class_keeps_the_variance_of_the_target():
    with pytest.warns(UserWarning, match="one class"):
        jgsa = JGSA(3, max_iter=1).fit(X, np.where(source, 5, -1), sample_domain=sample_domain)
    W, rho = oracles.pencil(*matrices(Xs, np.zeros(len(Xs), int), Xt, None, np.eye(8)), 3)
    assert jgsa.history_["objective"] == [pytest.approx(np.sum(1 / rho), rel=1e-9)]
    assert oracles.angle(jgsa.components_.T, W[8:]) < 1e-6


def test_components_are_no_more_than_the_rank():
    """nt - 1 directions of the target, and C - 1 of the class means."""
    with pytest.warns(UserWarning, match="n_components=30 exceeds the rank 5"):
        jgsa = JGSA(max_iter=1).fit(np.r_[Xs, Xt[:4]], np.r_[ys, np.full(4, -1)])
    assert jgsa.components_.shape == (5, 8)
    with pytest.warns(UserWarning, match="n_components=9 exceeds the rank 2"):
        JGSA(9, max_iter=1).fit(np.r_[Xs, Xt[:1]], np.r_[ys, -1])


def test_a_feature_given_twice_and_constant_ones_change_no_distance():
    """Two copies of a feature share its weight: with each divided by the root of two the problem is the same."""
    jgsa = JGSA(3, max_iter=2)
    Z = jgsa.fit_transform(X, y)
    copied = np.c_[X[:, :1] / 2**0.5, X[:, :1] / 2**0.5, X[:, 1:], np.zeros((len(X), 2))]
    same_up_to_signs(jgsa.fit_transform(copied, y), Z)


def test_nothing_to_project_is_said():
    with pytest.raises(ValueError, match="target rows have no variance, and the class means"):
        JGSA(discrimination=0.0).fit(np.r_[Xs, np.ones((5, 8))], np.r_[ys, np.full(5, -1)])


@pytest.mark.parametrize("kernel", [None, "linear"])
def test_a_ridge_that_is_lost_beside_the_scatter_within_classes_is_said(kernel):
    """More features than rows leave directions in which the classes have no scatter: only the ridge holds those."""
    rng = np.random.RandomState(0)
    rows, marks, _ = pack_domains(rng.randn(8, 12), np.arange(8) % 2, rng.randn(6, 12))
    with pytest.raises(ValueError, match=r"coupling=2 and target_variance=3 are lost in round-off.*Scale the features"):
        JGSA(2, coupling=2.0, target_variance=3.0, kernel=kernel).fit(1e10 * rows, marks)
    assert np.isfinite(
        JGSA(2, coupling=2e20, target_variance=3e20, kernel=kernel).fit(1e10 * rows, marks).components_
    ).all()


@pytest.mark.parametrize("kernel", [None, "linear", "rbf"])
def test_rows_that_are_all_the_same_are_refused(kernel):
    with pytest.raises(ValueError, match="target rows have no variance, and the class means"):
        JGSA(kernel=kernel, gamma=1.0).fit(np.full((len(X), 8), 0.1), y)


def test_a_kernel_matrix_that_does_not_fit_is_refused_with_a_way_out():
    with pytest.raises(MemoryError, match="n_landmarks"):
        JGSA(3, kernel="rbf", memory_budget=10_000).fit(X, y)


def test_far_from_the_origin_is_not_the_same_problem():
    """Unlike a single map, two maps see where the origin is; those of a kernel are centred."""
    near, far = (JGSA(3, max_iter=1).fit(X + shift, y) for shift in (0.0, 1.0))
    assert oracles.angle(near.components_.T, far.components_.T) > 1e-3
    near, far = (JGSA(3, kernel="linear", max_iter=1).fit(X + shift, y) for shift in (0.0, 1e-3))
    np.testing.assert_array_equal(near.pseudo_labels_, far.pseudo_labels_)
    np.testing.assert_allclose(near.components_, far.components_, atol=1e-9)


def test_better_than_one_map_where_the_target_is_turned():
    """The page's example: within the plane of the classes the target is turned by 40 degrees."""
    rng = np.random.RandomState(0)
    labels = np.repeat([0, 1, 2, 3], 50)
    centres = np.array([[3, 3], [-3, 3], [-3, -3], [3, -3]])
    angle = np.deg2rad(40)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    rows = np.c_[centres[labels] + rng.randn(200, 2), rng.randn(200, 4)]
    moved = np.c_[(centres[labels] + rng.randn(200, 2)) @ turn, rng.randn(200, 4)]
    both, marks, _ = pack_domains(rows, labels, moved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jgsa = JGSA(2).fit(both, marks)
    raw = OneNearestNeighbor().fit(rows, labels).score(moved, labels)
    assert jgsa.score(moved, labels) > raw + 0.05
