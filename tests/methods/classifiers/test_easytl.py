import array_api_strict as strict
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestCentroid

from shallowda import CORAL, GFK, JDA, EasyTL, SubspaceAlignment, load, make_pipeline, pack_domains, save
from shallowda.kernels.arrays import is_numpy, library
from shallowda.model_selection import StratifiedSourceTargetKFold, source_accuracy

Xs, ys, Xt, yt = oracles.shifted_domains(3)
X, y, sample_domain = pack_domains(Xs, ys, Xt)
source = sample_domain >= 0


def textbook(Zs, labels, Zt):
    """The paper's steps: class means, distances, the dense linear programme, and the largest entry of each row of M."""
    means = np.stack([Zs[labels == c].mean(axis=0) for c in np.unique(labels)])
    D = np.sqrt(((Zt[:, None, :] - means) ** 2).sum(axis=2))
    n, C = D.shape
    done = linprog(
        D.ravel(),
        -np.kron(np.ones(n), np.eye(C)),
        -np.ones(C),
        np.kron(np.eye(n), np.ones(C)),
        np.ones(n),
        bounds=(0, 1),
        method="highs-ds",
    )
    return done.x.reshape(n, C).argmax(axis=1), D


def left_out(seed=0, n_classes=5, nt=20):
    """Domains, and classes of which the nearest mean of no target row is left out."""
    rng = np.random.default_rng(seed)
    labels = np.arange(4 * n_classes) % n_classes
    means = rng.normal(size=(n_classes, 3))
    return means[labels] + 0.3 * rng.normal(size=(len(labels), 3)), labels, 0.6 * rng.normal(size=(nt, 3))


def root(C, p):
    values, vectors = np.linalg.eigh(C)
    return (vectors * values**p) @ vectors.T


# -- the paper's solution ----------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(0, 15))
def test_labels_are_those_of_the_linear_programme(seed, n_classes, more):
    a, labels, b = left_out(seed, n_classes, n_classes + more)
    rows, marks, _ = pack_domains(a, labels, b)
    model = EasyTL(None).fit(rows, marks)
    expected, D = textbook(a, labels, b)
    np.testing.assert_array_equal(model.pseudo_labels_, expected)
    np.testing.assert_array_equal(model.predict(b), expected)
    assert set(expected) == set(range(n_classes))
    scores = model.decision_function(b)
    columns = model.prices_ - D
    np.testing.assert_allclose(scores, columns if n_classes > 2 else columns[:, 1] - columns[:, 0], atol=1e-9)
    np.testing.assert_array_equal(EasyTL(None, require_all_classes=False).fit(rows, marks).predict(b), D.argmin(axis=1))


def test_with_coral_it_is_what_the_paper_describes():
    """Source rows times C_s^(-1/2) C_t^(1/2), on centred domains; then class means and the programme."""
    zs, zt = Xs - Xs.mean(axis=0), Xt - Xt.mean(axis=0)
    rows, marks, _ = pack_domains(zs, ys, zt)
    A = root(np.cov(zs.T) + np.eye(8), -0.5) @ root(np.cov(zt.T) + np.eye(8), 0.5)
    expected, D = textbook(zs @ A, ys, zt)
    for alignment in ("coral", CORAL(), CORAL(align_mean=False)):
        model = EasyTL(alignment).fit(rows, marks)
        np.testing.assert_array_equal(model.pseudo_labels_, expected)
        np.testing.assert_allclose(model.decision_function(zt), model.prices_ - D, atol=1e-9)


@pytest.mark.parametrize("alignment", [CORAL(0.5), GFK(3), SubspaceAlignment(3), JDA(3), GFK(3, source_basis="pls")])
def test_any_adapter_aligns(alignment):
    """The same as the adapter's embedding, and the nearest class mean in it."""
    model = EasyTL(alignment).fit(X, y)
    Z = alignment.__class__(**alignment.get_params()).fit_transform(X, y)
    centroids = NearestCentroid().fit(Z[source], ys)
    assert len(set(centroids.predict(Z[~source]))) == 3  # so that the programme has nothing to repair
    np.testing.assert_array_equal(model.predict(Xt), centroids.predict(Z[~source]))
    np.testing.assert_array_equal(model.pseudo_labels_, model.predict(Xt))
    np.testing.assert_allclose(model.class_means_, centroids.centroids_, atol=1e-9)
    # source rows go by the source's map
    np.testing.assert_array_equal(model.predict(X, sample_domain=sample_domain)[source], centroids.predict(Z[source]))
    assert not hasattr(alignment, "n_features_in_")  # a clone was fitted


def test_where_every_class_has_a_nearest_row_it_is_the_nearest_class_mean():
    model = EasyTL().fit(X, y)
    np.testing.assert_array_equal(model.prices_, 0)
    aligned = CORAL().fit_transform(X, y)
    centroids = NearestCentroid().fit(aligned[source], ys)
    np.testing.assert_array_equal(model.predict(Xt + 0.1), centroids.predict(Xt + 0.1))
    assert EasyTL().fit(X, y).score(Xt, yt) > 0.9


# -- predictions of other rows, and of equal ones ----------------------------------------------------------------------


def test_a_class_that_was_left_out_has_a_price_for_new_rows_too():
    a, labels, b = np.array([[0.0], [1.0], [10.0]]), np.array([0, 1, 2]), np.array([[0.0], [1.1], [4.0], [0.2]])
    rows, marks, _ = pack_domains(a, labels, b)
    model = EasyTL(None).fit(rows, marks)
    np.testing.assert_array_equal(model.pseudo_labels_, [0, 1, 2, 0])  # 4.0 is nearer to 1.0 than to 10.0
    np.testing.assert_array_equal(model.predict(b), model.pseudo_labels_)
    # the regret of the row that moves is 3, that of the next one 8.8: the price is in the middle
    np.testing.assert_allclose(model.prices_, [0, 0, (3 + 8.8) / 2])
    boundary = (11 - 5.9) / 2
    np.testing.assert_array_equal(model.predict([[boundary - 0.01], [boundary + 0.01]]), [1, 2])
    np.testing.assert_array_equal(EasyTL(None, require_all_classes=False).fit(rows, marks).predict(b), [0, 1, 1, 0])


def test_equal_rows_count_as_one_and_have_one_label():
    a, labels, b = left_out(2)
    rows, marks, _ = pack_domains(a, labels, b)
    once = EasyTL(None).fit(rows, marks)
    assert once.prices_.any()
    copies = np.random.default_rng(0).integers(0, len(b), 60)
    copies[:20] = np.arange(20)
    rows, marks, _ = pack_domains(a, labels, b[copies])
    many = EasyTL(None).fit(rows, marks)
    np.testing.assert_array_equal(many.pseudo_labels_, once.pseudo_labels_[copies])
    np.testing.assert_array_equal(many.predict(b[copies]), many.pseudo_labels_)
    np.testing.assert_allclose(many.prices_, once.prices_)


def test_classes_with_equal_means_both_have_a_row():
    a, labels = np.array([[0.0, 1], [0, 1], [5, 5]]), np.array([0, 1, 2])
    rows, marks, _ = pack_domains(a, labels, [[0.0, 0], [1, 1], [4, 4]])
    model = EasyTL(None).fit(rows, marks)
    assert sorted(model.pseudo_labels_) == [0, 1, 2]
    assert np.isfinite(model.decision_function(rows)).all()


# -- degenerate domains ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("b", [Xt[:2], np.repeat(Xt[:2], 4, axis=0)], ids=["few rows", "few different rows"])
def test_fewer_rows_than_classes_are_the_nearest_means_and_a_warning(b):
    rows, marks, _ = pack_domains(Xs, ys, b)
    with pytest.warns(UserWarning, match=r"2 different row\(s\) and the source 3 classes.*require_all_classes") as said:
        model = EasyTL(None).fit(rows, marks)
    assert [warning.filename for warning in said] == [__file__]
    centroids = NearestCentroid().fit(Xs, ys)
    np.testing.assert_array_equal(model.pseudo_labels_, centroids.predict(b))
    np.testing.assert_array_equal(model.prices_, 0)
    np.testing.assert_array_equal(EasyTL(None, require_all_classes=False).fit(rows, marks).predict(b), model.predict(b))


def test_as_many_rows_as_classes_are_a_matching():
    rng = np.random.default_rng(1)
    a, labels, b = rng.normal(size=(6, 2)), np.arange(6), rng.normal(size=(6, 2)) + 3
    rows, marks, _ = pack_domains(a, labels, b)
    model = EasyTL(None).fit(rows, marks)
    np.testing.assert_array_equal(model.pseudo_labels_, textbook(a, labels, b)[0])
    np.testing.assert_array_equal(model.predict(b), model.pseudo_labels_)
    assert sorted(model.pseudo_labels_) == [0, 1, 2, 3, 4, 5]


def test_wide_and_flat_rows():
    a, labels, b, truth = oracles.shifted_domains(5, d=120)
    rows, marks, _ = pack_domains(a, labels, b)
    assert EasyTL().fit(rows, marks).score(b, truth) > 0.9
    flat = rows @ np.outer(np.ones(120), np.ones(120))  # of rank one
    assert EasyTL().fit(flat, marks).pseudo_labels_.shape == (len(b),)
    one = EasyTL().fit(rows[:, :1], marks)
    assert set(one.predict(b[:, :1])) == {0, 1, 2}


def test_one_class():
    rows, _, domain = pack_domains(Xs, ys, Xt)
    model = EasyTL().fit(rows, np.full(len(rows), 7), sample_domain=domain)
    np.testing.assert_array_equal(model.predict(Xt), 7)


def test_without_target_nothing_is_aligned():
    with pytest.warns(UserWarning, match="without target rows"):
        model = EasyTL().fit(Xs, ys)
    assert model.alignment_ is None
    assert model.pseudo_labels_.shape == (0,)
    np.testing.assert_array_equal(model.predict(Xt), NearestCentroid().fit(Xs, ys).predict(Xt))


def test_float32_is_close_to_float64():
    a, labels, b = left_out(4, 8, 15)
    rows, marks, _ = pack_domains(a, labels, b)
    exact, model = EasyTL().fit(rows, marks), EasyTL().fit(rows.astype(np.float32), marks)
    assert exact.prices_.any()
    np.testing.assert_array_equal(model.pseudo_labels_, exact.pseudo_labels_)
    scores = model.decision_function(b.astype(np.float32))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, exact.decision_function(b), atol=1e-4)


# -- as an estimator ---------------------------------------------------------------------------------------------------


def test_what_cannot_align_is_refused():
    for wrong in (PCA(2), CORAL, "gfk", EasyTL()):
        with pytest.raises(ValueError, match="'alignment' parameter of EasyTL must be an instance of"):
            EasyTL(wrong).fit(X, y)
    rows, marks, _ = pack_domains(Xs, ys, Xt[:1])
    with pytest.raises(ValueError, match="target domain has 1 row"):
        EasyTL().fit(rows, marks)


def test_the_alignment_is_searched_by_name():
    cv = StratifiedSourceTargetKFold(2, random_state=0)
    grid = {"alignment__ridge": [0.1, 1.0], "alignment__align_mean": [True, False]}
    search = GridSearchCV(EasyTL(CORAL()), grid, cv=cv, scoring=source_accuracy, error_score="raise").fit(X, y)
    assert search.best_estimator_.alignment_.ridge == search.best_params_["alignment__ridge"]
    whole = GridSearchCV(EasyTL(), {"alignment": ["coral", GFK(2), None]}, cv=cv, scoring=source_accuracy)
    assert whole.fit(X, y).best_score_ > 0.9  # source rows are scored by the source's map


def test_source_rows_are_scored_by_the_map_of_the_source():
    """Taken for target rows, those of a source far away would nearly all be in one class."""
    far = Xs + 50
    rows, marks, _ = pack_domains(far, ys, Xt)
    model = EasyTL(CORAL(0.0)).fit(rows, marks)
    assert source_accuracy(model, rows, marks) > 0.9
    assert np.mean(model.predict(far) == ys) < 0.5
    both = np.r_[far[:5], far[:5]]  # equal rows of either domain: each by its map
    by_domain = model.decision_function(both, sample_domain=np.repeat([0, -1], 5))
    np.testing.assert_allclose(by_domain[:5], model.decision_function(far[:5], sample_domain=np.zeros(5)))
    np.testing.assert_allclose(by_domain[5:], model.decision_function(far[:5]))


def test_the_base_classifier_of_the_alignment_is_not_trained():
    model = EasyTL(CORAL()).fit(X, y)
    assert not hasattr(model.alignment_, "estimator_")


def test_output_of_frames_is_for_others():
    alignment = GFK(3).set_output(transform="pandas")
    model = EasyTL(alignment).fit(X, y)
    np.testing.assert_array_equal(model.predict(Xt), EasyTL(GFK(3)).fit(X, y).predict(Xt))


@pytest.mark.parametrize("model", [EasyTL(backend="numpy"), EasyTL(CORAL(backend="numpy"))], ids=["own", "adapter's"])
def test_numpy_is_numpy_where_auto_would_take_a_device(model, monkeypatch):
    def there(array, backend):
        assert backend == "numpy"
        return array

    expected = EasyTL(model.alignment).fit(X, y).decision_function(Xt)
    monkeypatch.setattr("shallowda.core.estimator.on_backend", there)
    monkeypatch.setattr("shallowda.kernels.planning.cupy_problem", lambda: None)
    monkeypatch.setattr("shallowda.kernels.planning.available_memory", lambda backend="numpy": 2**33)
    monkeypatch.setenv("SHALLOWDA_DEVICE_FLOPS", "1")
    with pytest.raises(AssertionError):
        EasyTL().fit(X, y)
    np.testing.assert_array_equal(model.fit(X, y).decision_function(Xt), expected)


def test_the_alignment_follows_the_rows_to_a_device_and_back(monkeypatch, tmp_path):
    def there(array, backend):
        return strict.asarray(array, device=strict.Device("device1"), copy=True) if backend == "cupy" else array

    monkeypatch.setattr("shallowda.core.estimator.on_backend", there)
    monkeypatch.setattr("shallowda.kernels.planning.cupy_problem", lambda: None)
    monkeypatch.setattr("shallowda.kernels.planning.available_memory", lambda backend="numpy": 2**33)
    plain, model = EasyTL().fit(X, y), EasyTL(backend="cupy").fit(X, y)
    assert is_numpy(model.alignment_.source_covariance_.vectors)
    assert all(is_numpy(value) for name, value in vars(model).items() if name in ("class_means_", "prices_"))
    np.testing.assert_array_equal(model.predict(Xt), plain.predict(Xt))
    foreign = EasyTL().fit(strict.asarray(X), y)
    assert library(foreign.alignment_.source_covariance_.vectors) == library(foreign.class_means_) != "numpy"
    pipeline = make_pipeline(EasyTL(JDA(3))).fit(X, y)
    save(pipeline, tmp_path / "model.skops")
    np.testing.assert_array_equal(load(tmp_path / "model.skops").predict(Xt), pipeline.predict(Xt))
