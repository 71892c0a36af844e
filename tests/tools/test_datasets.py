"""The container, and generators whose shift is known: what is said to stay stays, what is said to shift shifts."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import ks_2samp

from shallowda import OneNearestNeighbor, SubspaceAlignment
from shallowda.datasets import (
    GENERATORS,
    DomainDataset,
    make_deep_features,
    make_gaussian_shift,
    make_rotated_moons,
)

TEXTS = {"feature_description": "", "licence": "", "citation": "", "source": ""}


def dataset(sample_domain, y, names=("a", "b", "c"), n_classes=3):
    X = np.arange(2.0 * len(y)).reshape(-1, 2)
    classes = tuple(map(str, range(n_classes)))
    return DomainDataset("made", X, np.array(y), np.array(sample_domain), names, classes, **TEXTS)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30), st.permutations(range(33)))
def test_any_order_of_rows_is_put_back_together(rows, order):
    rows = [*rows, (0, 0), (1, 1), (2, 2)]
    rows = [rows[i] for i in order if i < len(rows)]
    made = dataset(*zip(*rows, strict=True))
    Xs, ys, Xt, yt = made.pair(("c", "a"), "b")
    for X, y, names in ((Xs, ys, "ca"), (Xt, yt, "b")):
        expected = [i for name in names for i, (code, _) in enumerate(rows) if "abc"[code] == name]
        np.testing.assert_array_equal(X, made.X[expected])
        np.testing.assert_array_equal(y, made.y[expected])
    X, y, sample_domain = made.pack(("c", "a"), "b")
    np.testing.assert_array_equal(X, np.r_[Xs, Xt])
    np.testing.assert_array_equal(y, np.r_[ys, np.full(len(yt), -1)])
    n_first = len(made.domain("c")[0])
    np.testing.assert_array_equal(sample_domain, np.repeat([0, 1, -1], [n_first, len(Xs) - n_first, len(Xt)]))


def test_target_labels_do_not_decide_what_is_packed():
    made = dataset([0, 0, 1, 1], [0, 1, 0, 1], ("a", "b"))
    other = dataset([0, 0, 1, 1], [0, 1, 2, 2], ("a", "b"))
    for one, two in zip(made.pack("a", "b"), other.pack("a", "b"), strict=True):
        np.testing.assert_array_equal(one, two)


def test_pairs_are_all_ordered_pairs():
    assert dataset([0, 1, 2], [0, 0, 0]).pairs() == [
        ("a", "b"),
        ("a", "c"),
        ("b", "a"),
        ("b", "c"),
        ("c", "a"),
        ("c", "b"),
    ]


def test_what_is_asked_wrongly_is_named():
    made = dataset([0, 1, 2], [0, 0, 0])
    with pytest.raises(ValueError, match="no domain 'd'; it has a, b, c"):
        made.domain("d")
    for source in ("b", ("a", "b"), (), ("a", "a")):
        with pytest.raises(ValueError, match="not the target"):
            made.pack(source, "b")


@pytest.mark.parametrize(
    ("sample_domain", "y", "message"),
    [
        ([0, 1], [0, 0, 0], "do not belong together"),
        ([0, 1, 2], [0, 3, 0], "y must hold codes from 0 to 2"),
        ([0, 1, -1], [0, 0, 0], "sample_domain must hold codes"),
        ([0, 1, 1], [0, 0, 0], "no samples of c"),
        ([], [], "no samples of a, b, c"),
    ],
)
def test_what_does_not_belong_together_is_refused(sample_domain, y, message):
    with pytest.raises(ValueError, match=message):
        DomainDataset(
            "made",
            np.zeros((len(y), 2)),
            np.array(y, int),
            np.array(sample_domain, int),
            ("a", "b", "c"),
            ("0",) * 3,
            **TEXTS,
        )


@pytest.mark.parametrize("generator", GENERATORS.values(), ids=GENERATORS)
def test_generators_repeat_themselves_and_nothing_global(generator):
    state = np.random.get_state()[1].copy()
    one, two, other = generator(40, random_state=0), generator(40, random_state=0), generator(40, random_state=1)
    np.testing.assert_allclose(one.X, two.X, rtol=1e-12, atol=1e-12)  # products of matrices may be rounded in two ways
    np.testing.assert_array_equal(one.y, two.y)
    assert abs(one.X - other.X).max() > 1e-3
    np.testing.assert_array_equal(state, np.random.get_state()[1])
    assert one.name == generator.__name__
    assert f"{one.name}.png" in inspect.getdoc(generator)
    assert len(one.X) == 80


def test_generated_domains_are_adapted():
    data = make_deep_features(300, n_features=64, strengths=(0, 2), random_state=0)
    X, y, _ = data.pack("source", "target")
    Xs, ys, Xt, yt = data.pair("source", "target")
    alone = OneNearestNeighbor().fit(Xs, ys).score(Xt, yt)
    assert SubspaceAlignment(20).fit(X, y).score(Xt, yt) > alone + 0.02


def test_moons_turn_about_the_origin():
    data = make_rotated_moons(20_001, angles=(0, 90), noise=0.05, random_state=0)
    (X0, y0), (X1, y1) = map(data.domain, data.domain_names)
    assert (y0 == 0).sum() == (y0 == 1).sum() + 1
    back = X1 @ np.array([[0, -1], [1, 0]])
    for code in (0, 1):
        np.testing.assert_allclose(back[y1 == code].mean(axis=0), X0[y0 == code].mean(axis=0), atol=0.02)
        np.testing.assert_allclose(np.cov(back[y1 == code].T), np.cov(X0[y0 == code].T), atol=0.02)
    np.testing.assert_allclose(X0.mean(axis=0), 0, atol=0.02)


MEANS = 3 * np.column_stack([np.cos(2 * np.pi * np.arange(3) / 3), np.sin(2 * np.pi * np.arange(3) / 3)])


def shifted(shift, strength=1.0):
    data = make_gaussian_shift(60_000, shift=shift, strengths=(0, strength), random_state=0)
    return (*data.domain("source"), *data.domain("target"))


def posterior(X):
    return softmax(X @ MEANS.T - (MEANS**2).sum(axis=1) / 2, axis=1)


def far_from(X, y, probabilities):
    """How far the classes are from such probabilities given x, in standard errors of their first moments."""
    residual = (y[:, None] == np.arange(3)) - probabilities
    moments = np.hstack([residual, *(residual * X[:, [axis]] for axis in range(2))])
    return np.abs(moments.mean(axis=0) / (moments.std(axis=0) / np.sqrt(len(X)) + 1e-12)).max()


def test_covariate_shift_leaves_the_posterior():
    Xs, ys, Xt, yt = shifted("covariate")
    assert far_from(Xs, ys, posterior(Xs)) < 5
    assert far_from(Xt, yt, posterior(Xt)) < 5
    assert np.linalg.norm(Xs.mean(axis=0) - Xt.mean(axis=0)) > 1


def test_label_shift_leaves_the_classes():
    Xs, ys, Xt, yt = shifted("label")
    for code in range(3):
        np.testing.assert_allclose(Xs[ys == code].mean(axis=0), Xt[yt == code].mean(axis=0), atol=0.06)
        np.testing.assert_allclose(np.cov(Xt[yt == code].T), np.eye(2), atol=0.06)
    weights = np.exp(-np.arange(3))
    np.testing.assert_allclose(np.bincount(ys) / len(ys), 1 / 3, atol=0.01)
    np.testing.assert_allclose(np.bincount(yt) / len(yt), weights / weights.sum(), atol=0.01)


def test_conditional_shift_moves_each_class_and_leaves_their_shares():
    Xs, ys, Xt, yt = shifted("conditional", 2.0)
    np.testing.assert_allclose(np.bincount(yt) / len(yt), 1 / 3, atol=0.01)
    moves = np.array([Xt[yt == code].mean(axis=0) - Xs[ys == code].mean(axis=0) for code in range(3)])
    np.testing.assert_allclose(np.linalg.norm(moves, axis=1), 2, atol=0.05)
    assert np.linalg.norm(moves[0] - moves[1]) > 0.5


def test_concept_shift_leaves_the_samples_and_turns_their_classes():
    Xs, ys, Xt, yt = shifted("concept", 0.7)
    for axis in range(2):
        assert ks_2samp(Xs[:, axis], Xt[:, axis]).pvalue > 1e-3
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    assert far_from(Xs, ys, posterior(Xs)) < 5
    assert far_from(Xt, yt, posterior(Xt)) > 50
    assert far_from(Xt, yt, posterior(Xt @ turn.T)) < 5


@pytest.mark.parametrize("shift", ["covariate", "label", "conditional", "concept"])
def test_missing_classes_are_missing_in_the_target_only(shift):
    data = make_gaussian_shift(
        200, shift=shift, strengths=(0, 0.3, 0.6), n_classes=4, n_features=5, missing_classes=[0, 2], random_state=0
    )
    assert data.domain_names == ("source1", "source2", "target")
    assert set(data.domain("target")[1]) == {1, 3}
    assert set(data.domain("source1")[1]) == {0, 1, 2, 3}
    assert data.X.shape == (600, 5)


def test_deep_features_look_like_a_network_s():
    data = make_deep_features(600, n_features=256, random_state=0)
    assert data.X.dtype == np.float32
    assert 0.5 < np.mean(data.X == 0) < 0.8
    eigenvalues = np.linalg.svd(data.X - data.X.mean(axis=0), compute_uv=False) ** 2
    assert eigenvalues[:16].sum() > 0.5 * eigenvalues.sum()
    flat = make_deep_features(600, n_features=256, decay=0, random_state=0)
    spread = np.linalg.svd(flat.X - flat.X.mean(axis=0), compute_uv=False) ** 2
    assert spread[:16].sum() / spread.sum() < eigenvalues[:16].sum() / eigenvalues.sum()
    X, y = data.domain("source")
    shift = [np.linalg.norm(X[y == code].mean(axis=0) - data.domain("target")[0].mean(axis=0)) for code in range(10)]
    assert np.bincount(y).tolist() == [60] * 10
    assert min(shift) > 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_rotated_moons(1), "n_samples"),
        (lambda: make_rotated_moons(angles=(0, 0)), "angles must be at least two different"),
        (lambda: make_rotated_moons(noise=-1), "noise"),
        (lambda: make_gaussian_shift(shift="prior"), "shift must be one of covariate, label"),
        (lambda: make_gaussian_shift(strengths=(0,)), "strengths must be at least two"),
        (lambda: make_gaussian_shift(strengths=(0, np.nan)), "strengths"),
        (lambda: make_gaussian_shift(missing_classes=[0, 1, 2]), "some but not all of 0 to 2"),
        (lambda: make_gaussian_shift(missing_classes=[3]), "some but not all"),
        (lambda: make_gaussian_shift(n_features=1), "n_features"),
        (lambda: make_deep_features(decay=-1), "decay"),
        (lambda: make_deep_features(n_classes=1), "n_classes"),
    ],
)
def test_parameters_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()
