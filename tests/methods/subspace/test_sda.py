"""SDA against the dense solution written from the paper, its limits (SA, PCA, CORAL) and its invariances."""

import warnings

import array_api_strict
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.base import clone

from shallowda import CORAL, SDA, NoTargetWarning, SubspaceAlignment, pack_domains
from shallowda.kernels.subspaces import nearest_rotation

Xs, ys, Xt, yt = oracles.shifted_domains(6)
X, y, sample_domain = pack_domains(Xs, ys, Xt)
source = sample_domain >= 0


def dense(Xs, Xt, k, exact):
    """Maps and spectra as the paper writes them, from d x d covariances; the exact one by the polar factor of T."""
    spectra = []
    for rows in (Xs, Xt):
        values, vectors = np.linalg.eigh(np.cov(rows.astype(float).T))
        spectra.append((np.diag(values[::-1][:k]), vectors[:, ::-1][:, :k]))
    (Es, Ps), (Et, Pt) = spectra
    T = Ps.T @ Pt
    if exact:
        values, vectors = np.linalg.eigh(T.T @ T)
        R = T @ vectors @ np.diag(values**-0.5) @ vectors.T
        return Ps @ np.linalg.inv(np.sqrt(Es)) @ R @ np.sqrt(Et), Pt, Es, Et
    return Ps @ T @ np.linalg.inv(np.sqrt(Es)) @ np.sqrt(Et), Pt, Es, Et


def of_source(model, rows):
    return model.transform(rows, sample_domain=np.zeros(len(rows)))


def covariances(model, Xs, Xt):
    """Those of the embedded domains, as fractions of the largest variance."""
    target = np.cov(model.transform(Xt).astype(float).T, ddof=1).reshape(model.n_components_, -1)
    mapped = np.cov(of_source(model, Xs).astype(float).T, ddof=1).reshape(model.n_components_, -1)
    return mapped / target.max(), target / target.max()


both = pytest.mark.parametrize("exact", [False, True], ids=["paper", "exact"])


# -- the paper's solution ----------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("k", [1, 3, 8])
def test_maps_are_those_of_the_dense_solution(exact, k):
    to_source, to_target, Es, Et = dense(Xs, Xt, k, exact)
    sda = SDA(k, exact=exact).fit(X, y)
    # bases of the embedding differ by signs, which P_t takes back
    np.testing.assert_allclose(
        of_source(sda, Xs) @ sda.components_, (Xs - Xs.mean(0)) @ to_source @ to_target.T, rtol=0, atol=1e-10
    )
    np.testing.assert_allclose(
        sda.transform(Xt) @ sda.components_, (Xt - Xt.mean(0)) @ to_target @ to_target.T, rtol=0, atol=1e-10
    )
    np.testing.assert_allclose(sda.source_explained_variance_, np.diag(Es))
    np.testing.assert_allclose(sda.explained_variance_, np.diag(Et))


def test_order_of_the_factors():
    """The paper scales after the rotation: columns of T, and not its rows."""
    sda, sa = SDA(3).fit(X, y), SubspaceAlignment(3).fit(X, y)
    scale = np.sqrt(sda.explained_variance_ / sda.source_explained_variance_)
    np.testing.assert_allclose(sda.alignment_, sa.alignment_ * scale, rtol=1e-12)
    np.testing.assert_allclose(sda.source_components_, scale[:, None] * sa.source_components_, atol=1e-12)


@given(seed=st.integers(0, 10**6), d=st.integers(1, 9), few=st.booleans(), data=st.data())
@settings(max_examples=40)
def test_exact_variant_gives_the_source_the_targets_spectrum(seed, d, few, data):
    """Whatever the subspaces, and also with more features than rows."""
    rng = np.random.default_rng(seed)
    ns, nt, d = (9, 8, d + 20) if few else (40, 30, d)
    left = rng.normal(size=(ns, d)) * rng.uniform(0.5, 3, size=d) @ rng.normal(size=(d, d)) + rng.normal(size=d)
    right = rng.normal(size=(nt, d)) * rng.uniform(0.5, 3, size=d) @ rng.normal(size=(d, d)) + rng.normal(size=d)
    k = data.draw(st.integers(1, min(4, d)))
    rows, marks, _ = pack_domains(left, np.arange(ns) % 2, right)
    sda = SDA(k, exact=True).fit(rows, marks)
    mapped, target = covariances(sda, left, right)
    spread = sda.source_explained_variance_[0] / sda.source_explained_variance_[-1]
    tol = 1e-12 if spread < 100 else 1e-14 * spread  # round-off of the covariances relative to what is divided by
    np.testing.assert_allclose(mapped, target, rtol=0, atol=tol)
    spectrum = sda.explained_variance_ / sda.explained_variance_[0]
    np.testing.assert_allclose(mapped, np.diag(spectrum), rtol=0, atol=tol)
    np.testing.assert_allclose(of_source(sda, left).mean(axis=0) / np.sqrt(sda.explained_variance_), 0, atol=1e-12)


def test_papers_composition_does_not_match_the_spectrum():
    """Which is why there is the other one; where the bases coincide both do."""
    mapped, target = covariances(SDA(4).fit(X, y), Xs, Xt)
    assert np.linalg.norm(mapped - target) > 0.05
    axes = np.linalg.svd(Xs - Xs.mean(0), full_matrices=False)
    moved = axes[0] * axes[1] * np.linspace(3, 2, 8) @ axes[2] + 1  # the same axes in the same order
    rows, marks, _ = pack_domains(Xs, ys, moved)
    one, other = (SDA(4, exact=exact).fit(rows, marks) for exact in (False, True))
    np.testing.assert_allclose(one.alignment_, other.alignment_, atol=1e-10)
    np.testing.assert_allclose(*covariances(one, Xs, moved), atol=1e-12)
    np.testing.assert_allclose(of_source(one, Xs), one.transform(moved), atol=1e-10)  # each row meets its own


# -- limits ------------------------------------------------------------------------------------------------------------


def test_equal_variances_are_subspace_alignment():
    turned = (Xs - Xs.mean(0)) @ ortho_group.rvs(8, random_state=0) + 3
    rows, marks, _ = pack_domains(Xs, ys, turned)
    sda, sa = SDA(3).fit(rows, marks), SubspaceAlignment(3).fit(rows, marks)
    np.testing.assert_allclose(sda.alignment_, sa.alignment_, atol=1e-12)
    np.testing.assert_allclose(sda.transform(rows, sample_domain=marks), sa.transform(rows, sample_domain=marks))


@both
def test_identical_domains_are_pca(exact):
    rows, marks, _ = pack_domains(Xs, ys, Xs)
    sda = SDA(3, exact=exact).fit(rows, marks)
    np.testing.assert_allclose(sda.alignment_, np.eye(3), atol=1e-12)
    axes = np.linalg.svd(Xs - Xs.mean(0), full_matrices=False)
    np.testing.assert_allclose(abs(of_source(sda, Xs)), abs((axes[0] * axes[1])[:, :3]), atol=1e-10)


@both
def test_without_a_target_it_is_pca(exact):
    with pytest.warns(NoTargetWarning):
        sda = SDA(3, exact=exact).fit(Xs, ys)
    np.testing.assert_allclose(sda.alignment_, np.eye(3), atol=1e-12)


def test_all_dimensions_of_the_exact_variant_are_coral_without_a_ridge():
    sda, coral = SDA(8, exact=True).fit(X, y), CORAL(ridge=0).fit(X, y)
    np.testing.assert_allclose(
        of_source(sda, Xs), (of_source(coral, Xs) - Xt.mean(0)) @ sda.components_.T, rtol=0, atol=1e-10
    )


# -- invariances -------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), exact=st.booleans(), k=st.integers(1, 6))
@settings(max_examples=25)
def test_a_common_rotation_places_and_the_scale_of_the_source_do_not_matter(seed, exact, k):
    rng = np.random.default_rng(seed)
    turn = ortho_group.rvs(8, random_state=seed)
    left = (Xs * rng.uniform(0.01, 100) + rng.normal(size=8)) @ turn
    right = (Xt + rng.normal(size=8)) @ turn
    rows, marks, _ = pack_domains(left, ys, right)
    sda, moved = SDA(k, exact=exact).fit(X, y), SDA(k, exact=exact).fit(rows, marks)
    # signs of the target's axes belong to the coordinates; the source follows them
    signs = np.sign(np.sum(sda.transform(Xt) * moved.transform(right), axis=0))
    np.testing.assert_allclose(moved.transform(right) * signs, sda.transform(Xt), rtol=0, atol=1e-9)
    np.testing.assert_allclose(of_source(moved, left) * signs, of_source(sda, Xs), rtol=0, atol=1e-9)


@both
def test_the_scale_of_the_target_is_that_of_the_embedding(exact):
    rows, marks, _ = pack_domains(Xs, ys, 100 * Xt)
    sda, larger = SDA(3, exact=exact).fit(X, y), SDA(3, exact=exact).fit(rows, marks)
    np.testing.assert_allclose(of_source(larger, Xs), 100 * of_source(sda, Xs), rtol=1e-9)


def test_exact_alignments_of_swapped_domains_are_inverse():
    swapped = SDA(3, exact=True).fit(X, sample_domain=np.where(source, -1, 0))
    there, back = SDA(3, exact=True).fit(X, y).alignment_, swapped.alignment_
    np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-12)


@both
def test_each_row_by_its_own_map(exact):
    sda = SDA(3, exact=exact)
    Z = sda.fit_transform(X, y)
    np.testing.assert_array_equal(Z, sda.transform(X, sample_domain=sample_domain))
    np.testing.assert_array_equal(Z[~source], sda.transform(Xt))
    new = np.random.default_rng(0).normal(size=(5, 8))
    np.testing.assert_allclose(of_source(sda, new), (new - sda.source_mean_) @ sda.source_components_.T)
    np.testing.assert_allclose(sda.transform(new), (new - sda.mean_) @ sda.components_.T)


# -- rows that come in parts, single precision, other arrays -----------------------------------------------------------


@pytest.mark.parametrize("n_components", [3, "auto", None])
@both
def test_partial_fit_is_fit(exact, n_components):
    sda = SDA(n_components, exact=exact)
    whole, parts = clone(sda).fit(X, y), clone(sda)
    parts.partial_fit(np.vstack([Xs[:20], Xt[:9]]), np.r_[ys[:20], np.full(9, -1)])
    parts.partial_fit(Xt[9:10]).partial_fit(Xs[20:], ys[20:]).partial_fit(Xt[10:])
    assert parts.n_components_ == whole.n_components_
    for name in ("components_", "source_components_", "alignment_", "mean_", "explained_variance_"):
        expected = getattr(whole, name)
        np.testing.assert_allclose(getattr(parts, name), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_array_equal(parts.predict(Xt), whole.predict(Xt))


@both
def test_moments_meet_the_spectrum_far_from_the_origin(exact):
    """Parts with means of a thousand deviations, and more features than rows."""
    rng = np.random.default_rng(1)
    left, right = (rng.normal(size=(30, 50)) @ (rng.normal(size=(50, 50)) / 7) + 1e3 for _ in range(2))
    sda = SDA(5, exact=exact).partial_fit(*pack_domains(left, np.arange(30) % 2, right[:10])[:2])
    sda.partial_fit(right[10:12]).partial_fit(right[12:])
    rows, marks, _ = pack_domains(left, np.arange(30) % 2, right)
    whole = SDA(5, exact=exact).fit(rows, marks)
    np.testing.assert_allclose(of_source(sda, left), of_source(whole, left), rtol=0, atol=1e-8)
    if exact:
        np.testing.assert_allclose(*covariances(sda, left, right), atol=1e-9)


@both
def test_single_precision(exact):
    for rows in (X, X + 10):
        single = rows.astype(np.float32)
        Z = SDA(3, exact=exact).fit_transform(single, y)
        assert Z.dtype == np.float32
        expected = SDA(3, exact=exact).fit_transform(single.astype(float), y)
        np.testing.assert_allclose(Z, expected, rtol=0, atol=2e-6 * np.abs(rows).max())


@both
def test_arrays_of_the_standard(exact):
    strict = array_api_strict.asarray(X, device=array_api_strict.Device("device1"))
    Z = SDA(3, exact=exact).fit_transform(strict, y)
    assert Z.device == strict.device
    expected = SDA(3, exact=exact).fit_transform(X, y)
    np.testing.assert_allclose(np.asarray(Z.to_device(array_api_strict.Device("CPU_DEVICE"))), expected, atol=1e-10)


# -- degenerate rows, bad input ----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("side", ["source", "target"])
def test_no_variance_that_is_round_off_is_divided_by(exact, side):
    """Two true directions in one domain: no third one, which scaling would blow up."""
    flat = (Xs if side == "source" else Xt)[:, :2] @ np.random.default_rng(0).normal(size=(2, 8)) + 5
    pair = (flat, Xt) if side == "source" else (Xs, flat)
    rows, marks, _ = pack_domains(pair[0], ys, pair[1])
    with pytest.warns(UserWarning, match=r"n_components=5 exceeds the rank of a domain.*2 components are kept"):
        sda = SDA(5, exact=exact).fit(rows, marks)
    assert sda.components_.shape == sda.source_components_.shape == (2, 8)
    assert np.abs(of_source(sda, pair[0])).max() < 20 * np.abs(sda.transform(pair[1])).max()
    if exact:
        np.testing.assert_allclose(*covariances(sda, *pair), atol=1e-12)


@both
def test_few_rows_of_many_features(exact):
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(6, 40)), rng.normal(size=(5, 40))
    rows, marks, _ = pack_domains(left, np.arange(6) % 2, right)
    with pytest.warns(UserWarning, match=r"5 in the source, 4 in the target"):
        sda = SDA(9, exact=exact).fit(rows, marks)
    assert sda.n_components_ == 4
    to_source, to_target, *_ = dense(left, right, 4, exact)
    np.testing.assert_allclose(
        of_source(sda, left) @ sda.components_, (left - left.mean(0)) @ to_source @ to_target.T, atol=1e-10
    )


@both
def test_constant_features_copies_and_one_class(exact):
    left = np.hstack([np.repeat(Xs, 2, axis=0), np.full((80, 1), 7.0)])
    right = np.hstack([Xt, np.full((35, 1), 7.0)])
    rows, marks, domains = pack_domains(left, np.zeros(80, dtype=int), right)
    sda = SDA(4, exact=exact).fit(rows, marks, sample_domain=domains)
    np.testing.assert_array_equal(sda.predict(right), 0)
    # a feature that says nothing changes nothing; copies change the divisor n - 1 of the source, a common scale
    plain = SDA(4, exact=exact).fit(X, y)
    np.testing.assert_allclose(abs(sda.transform(right)), abs(plain.transform(Xt)), atol=1e-10)
    np.testing.assert_allclose(
        abs(of_source(sda, left)[::2]), abs(of_source(plain, Xs)) * np.sqrt(79 / (2 * 39)), atol=1e-10
    )


@both
def test_one_feature(exact):
    rows, marks, _ = pack_domains(Xs[:, :1], ys, 5 * Xs[:, :1] + 2)
    sda = SDA(exact=exact).fit(rows, marks)
    np.testing.assert_allclose(of_source(sda, Xs[:, :1]), sda.transform(5 * Xs[:, :1] + 2), atol=1e-10)
    np.testing.assert_array_equal(sda.predict(5 * Xs[:, :1] + 2) >= 0, True)


def test_orthogonal_subspaces_are_announced():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(30, 4)) * [2, 1, 0, 0], rng.normal(size=(30, 4)) * [0, 0, 2, 1]
    rows, marks, _ = pack_domains(left, np.arange(30) % 2, right)
    with pytest.warns(UserWarning, match="orthogonal, so every source row is mapped to zero"):
        np.testing.assert_allclose(of_source(SDA(2).fit(rows, marks), left), 0, atol=1e-12)
    with pytest.warns(UserWarning, match=r"2 direction\(s\) .* are orthogonal to the target's.*arbitrary"):
        sda = SDA(2, exact=True).fit(rows, marks)
    np.testing.assert_allclose(*covariances(sda, left, right), atol=1e-12)  # arbitrary, and still of the right size


def test_scaling_by_a_variance_near_zero_is_announced():
    """A rotation mixes large variances of the source into a direction that is scaled up by a small one."""
    rng = np.random.default_rng(0)
    coordinates, turn = rng.normal(size=(60, 2)), np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    left, right = coordinates * [3, 1e-3], coordinates * [3, 1] @ turn
    rows, marks, _ = pack_domains(left, np.arange(60) % 2, right)
    with pytest.warns(UserWarning, match="Along component 1 the mapped source has .* times the target's variance"):
        paper = SDA(2).fit(rows, marks)
    mapped, target = covariances(paper, left, right)
    assert mapped[1, 1] > 1e4 * target[1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(*covariances(SDA(2, exact=True).fit(rows, marks), left, right), atol=1e-9)
        SDA(1).fit(rows, marks)


@pytest.mark.parametrize(("narrow", "said"), [(0.2, True), (0.4, False)])
def test_tenfold_variance_is_what_is_announced(narrow, said):
    rng = np.random.default_rng(0)
    coordinates, turn = rng.normal(size=(60, 2)), np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    left, right = coordinates * [3, narrow], coordinates * [3, 1] @ turn
    rows, marks, _ = pack_domains(left, np.arange(60) % 2, right)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mapped, target = covariances(SDA(2).fit(rows, marks), left, right)
    assert (mapped[1, 1] / target[1, 1] > 10) == said
    assert [f"{mapped[1, 1] / target[1, 1]:.3g} times" in str(warning.message) for warning in caught] == [True] * said


@pytest.mark.parametrize(("settings", "named"), [({"exact": "yes"}, "exact"), ({"n_components": 0}, "n_components")])
def test_parameters_that_make_no_sense(settings, named):
    with pytest.raises(ValueError, match=f"The '{named}' parameter of SDA must be"):
        SDA(**settings).fit(X, y)


@both
@pytest.mark.parametrize("side", ["source", "target"])
def test_domains_without_a_subspace(exact, side):
    same = np.tile(Xs[:1], (30, 1))
    pair = (same, Xt) if side == "source" else (Xs, same)
    rows, marks, _ = pack_domains(pair[0], np.arange(len(pair[0])) % 2, pair[1])
    with pytest.raises(ValueError, match=f"The {side} domain has no variance"):
        SDA(2, exact=exact).fit(rows, marks)
    rows, marks, domains = pack_domains(
        pair[0][:1] if side == "source" else Xs,
        np.zeros(1) if side == "source" else ys,
        pair[1][:1] if side == "target" else Xt,
    )
    with pytest.raises(ValueError, match=f"The {side} domain has 1 row"):
        SDA(2, exact=exact).fit(rows, marks, sample_domain=domains)


# -- its rotation ------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), k=st.integers(1, 5))
@settings(max_examples=25)
def test_the_rotation_is_the_nearest_one(seed, k):
    P, Q = (ortho_group.rvs(7, random_state=seed + i)[:, :k] for i in range(2))
    R, cosines = nearest_rotation(P.T @ Q)
    np.testing.assert_allclose(R.T @ R, np.eye(k), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(P @ R - Q) ** 2, 2 * np.sum(1 - cosines), atol=1e-12)
    others = ortho_group.rvs(k, size=5, random_state=seed).reshape(5, k, k) if k > 1 else np.array([[[1.0]], [[-1.0]]])
    assert all(np.linalg.norm(P @ other - Q) >= np.linalg.norm(P @ R - Q) - 1e-12 for other in others)
    turn = ortho_group.rvs(k, random_state=seed) if k > 1 else np.array([[-1.0]])
    np.testing.assert_allclose(nearest_rotation((P @ turn).T @ Q)[0], turn.T @ R, atol=1e-7)
