import numpy as np
import oracles
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel

from shallowda import JDA, OneNearestNeighbor, TCAEstimator, pack_domains
from shallowda.kernels.neighbours import unit_rows

Xs, ys, Xt, yt = oracles.shifted_domains(3)
X, y, sample_domain = pack_domains(Xs, ys, Xt)
source = sample_domain >= 0


def textbook(Phi, k, ridge, passes, authors):
    """The paper's loop with dense matrices, 1-NN on unit rows."""
    codes = None
    for _ in range(passes):
        M = oracles.mmd_matrix(source, codes, 3, authors=authors)
        A, rho = oracles.spectral(Phi, M, ridge, k)
        A = A / np.linalg.norm(A, axis=0)
        Z = unit_rows(Phi @ A)
        predicted = ys[((Z[~source][:, None] - Z[source][None]) ** 2).sum(axis=2).argmin(axis=1)]
        codes = np.concatenate([ys, predicted])
    return Phi @ A, predicted, np.sum(1 / rho)


@pytest.mark.parametrize("scaling", ["authors", "paper"])
@pytest.mark.parametrize("kernel", [None, "linear", "rbf"])
@pytest.mark.parametrize("passes", [1, 2, 5])
def test_is_the_textbook_loop(kernel, scaling, passes):
    jda = JDA(3, kernel=kernel, gamma=0.02, ridge=0.1, mmd_scaling=scaling, max_iter=passes)
    Z = jda.fit_transform(X, y)
    Phi = X if kernel is None else X @ X.T if kernel == "linear" else rbf_kernel(X, gamma=0.02)
    expected, labels, objective = textbook(Phi, 3, 0.1, passes, scaling == "authors")
    np.testing.assert_array_equal(jda.pseudo_labels_, labels)
    assert jda.history_["objective"][-1] == pytest.approx(objective, rel=1e-7)
    np.testing.assert_allclose(abs(np.sum(Z * expected, axis=0)), np.linalg.norm(Z, axis=0) ** 2, rtol=1e-6)


def test_predictions_are_the_last_labels():
    jda = JDA(3).fit(X, y)
    np.testing.assert_array_equal(jda.predict(Xt), jda.pseudo_labels_)


def test_one_pass_is_tca():
    jda, tca = JDA(3, max_iter=1, ridge=0.3).fit(X, y), TCAEstimator(3, ridge=0.3).fit(X, y)
    np.testing.assert_allclose(jda.components_, tca.components_, atol=1e-9)


def test_stops_when_the_labels_settle():
    jda = JDA(3, max_iter=50).fit(X, y)
    assert jda.history_["stopped"] == "settled"
    assert jda.history_["label_changes"][-1] == 0
    assert jda.n_iter_ == len(jda.history_["objective"]) < 50
    longer = JDA(3, max_iter=jda.n_iter_ - 1).fit(X, y)
    np.testing.assert_array_equal(longer.pseudo_labels_, jda.pseudo_labels_)


def test_history_counts():
    history = JDA(3).fit(X, y).history_
    assert history["label_changes"][0] == len(Xt)
    assert len(history["dropped_classes"]) == len(history["objective"])


def test_equal_domains_with_true_labels_have_no_gap_left():
    both, marks, domains = pack_domains(Xs, ys, Xs)
    jda = JDA(3, ridge=1e-3)
    Z = jda.fit_transform(both, marks)
    np.testing.assert_array_equal(jda.pseudo_labels_, ys)
    np.testing.assert_allclose(Z[domains >= 0], Z[domains < 0])


def test_a_class_that_no_target_row_has_is_dropped_and_recorded():
    kept = yt != 2
    few, marks, _ = pack_domains(Xs, ys, Xt[kept])
    jda = JDA(3).fit(few, marks)
    assert (2,) in jda.history_["dropped_classes"]
    assert np.isfinite(jda.components_).all()
    assert np.mean(jda.predict(Xt[kept]) == yt[kept]) > 0.9


def test_dropped_class_terms_make_the_result_translation_invariant():
    kept = yt != 2
    few, marks, _ = pack_domains(Xs, ys, Xt[kept])
    near = JDA(3, estimator=OneNearestNeighbor("euclidean")).fit(few, marks)
    far = JDA(3, estimator=OneNearestNeighbor("euclidean")).fit(few + 50.0, marks)
    assert (2,) in far.history_["dropped_classes"]
    np.testing.assert_allclose(near.components_, far.components_, atol=1e-7)


def test_better_than_the_source_alone_when_a_cue_is_misleading():
    """Two cues tell the classes apart; the target's shift turns the first one round and leaves the second."""
    rng = np.random.RandomState(0)
    labels = np.repeat([0, 1], 40)
    rows = rng.randn(80, 6) + np.array([[4, 0, 3, 0, 0, 0], [0, 4, 0, 3, 0, 0]])[labels]
    moved = rows + np.array([-6, 6, 0, 0, 0, 0])
    both, marks, _ = pack_domains(rows, labels, moved)
    assert OneNearestNeighbor().fit(rows, labels).score(moved, labels) < 0.6
    assert JDA(2).fit(both, marks).score(moved, labels) > 0.9


def test_base_classifier_of_choice_has_probabilities():
    jda = JDA(3, estimator=LogisticRegression()).fit(X, y)
    np.testing.assert_allclose(jda.predict_proba(Xt).sum(axis=1), 1)
    assert jda.decision_function(Xt).shape == (len(Xt), 3)
    np.testing.assert_array_equal(jda.predict(Xt), jda.pseudo_labels_)


def test_one_source_class_warns_and_matches_the_means():
    with pytest.warns(UserWarning, match="one class"):
        jda = JDA(3, ridge=0.3).fit(X, np.where(source, 5, -1), sample_domain=sample_domain)
    np.testing.assert_allclose(jda.components_, TCAEstimator(3, ridge=0.3).fit(X, y).components_, atol=1e-9)
    assert set(jda.predict(Xt)) == {5}
