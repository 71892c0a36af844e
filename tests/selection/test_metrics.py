"""Distances against closed forms, other packages, and each other."""

import inspect
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel

from shallowda import metrics
from shallowda.kernels.discrepancies import label_ratio
from shallowda.metrics import (
    bures_wasserstein,
    cmd,
    coral_distance,
    domain_auc,
    energy_distance,
    joint_mmd,
    label_shift,
    linear_mmd,
    mk_mmd,
    mmd,
    per_class,
    permutation_test,
    proxy_a_distance,
    separability,
    sliced_wasserstein,
)

DISTANCES = {
    "mmd": mmd,
    "mmd, linear": partial(mmd, kernel="linear"),
    "mmd, poly": partial(mmd, kernel="poly", gamma=0.5),
    "coral": coral_distance,
    "cmd": cmd,
    "energy": energy_distance,
    "sliced": sliced_wasserstein,
    "bures": bures_wasserstein,
}


@pytest.fixture(scope="module")
def samples():
    rng = np.random.RandomState(0)
    return rng.randn(70, 3), rng.randn(50, 3) @ np.diag([1.0, 2.0, 0.5]) + [1.0, 0.0, -0.5]


@pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES.keys())
class TestEveryDistance:
    def test_zero_for_equal_samples_and_for_repeated_ones(self, distance, samples):
        X, _ = samples
        assert abs(distance(X, X)) < 1e-6
        repeated = distance(X, np.repeat(X, 2, axis=0))
        assert repeated < (0.01 if distance in (coral_distance, bures_wasserstein) else 1e-6)  # divisor n - 1

    def test_symmetric_and_positive(self, distance, samples):
        X, Y = samples
        assert distance(X, Y) > 1e-3
        np.testing.assert_allclose(distance(X, Y), distance(Y, X), rtol=1e-9)

    def test_columns_are_matched_by_name(self, distance, samples):
        names = [f"f{number}" for number in range(samples[0].shape[1])]
        Xs, Xt = (pd.DataFrame(rows, columns=names) for rows in samples)
        assert distance(Xs, Xt[names[::-1]]) == pytest.approx(distance(*samples), rel=1e-9)
        with pytest.raises(ValueError, match=r"Xt has other features than Xs\. It lacks f0"):
            distance(Xs, Xt[names[1:]])

    def test_order_of_rows(self, distance, samples):
        X, Y = samples
        np.testing.assert_allclose(distance(X[::-1], Y[::-1]), distance(X, Y), rtol=1e-9)

    def test_errors(self, distance, samples):
        X, Y = samples
        with pytest.raises(ValueError, match="Xs has 3 features and Xt 2; they must agree"):
            distance(X, Y[:, :2])
        with pytest.raises(ValueError, match="Input Xt contains NaN"):
            distance(X, np.full_like(Y, np.nan))
        with pytest.raises(ValueError, match="Found array with 0 sample"):
            distance(X[:0], Y)


# ------------------------------------------------------------------------------------------------ MMD


def test_mmd_written_out(samples):
    X, Y = samples
    Kss, Ktt, Kst = rbf_kernel(X, X, 0.3), rbf_kernel(Y, Y, 0.3), rbf_kernel(X, Y, 0.3)
    biased = Kss.mean() + Ktt.mean() - 2 * Kst.mean()
    np.testing.assert_allclose(mmd(X, Y, gamma=0.3), biased)
    within = (Kss.sum() - 70) / (70 * 69) + (Ktt.sum() - 50) / (50 * 49)
    np.testing.assert_allclose(mmd(X, Y, gamma=0.3, unbiased=True), within - 2 * Kst.mean())
    means = X.mean(axis=0) - Y.mean(axis=0)
    np.testing.assert_allclose(mmd(X, Y, kernel="linear"), means @ means)
    weights = np.r_[np.full(70, 1 / 70), np.full(50, -1 / 50)]
    np.testing.assert_allclose(weights @ rbf_kernel(np.r_[X, Y], gamma=0.3) @ weights, biased)


def of_normals(delta, gamma, d):
    """Squared MMD of N(0, I) and N(delta e_1, I) under exp(-gamma ||x - y||^2): Gaussians integrate to Gaussians."""
    return 2 * (1 + 4 * gamma) ** (-d / 2) * (1 - np.exp(-gamma * delta**2 / (1 + 4 * gamma)))


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize(
    ("kernel", "offset"),
    [("linear", 0), ("linear", 1e8), ("cosine", 1e5), ("poly", 1e5), ("sigmoid", 1e5), ("poly", 1)],
)
def test_mmd_keeps_its_digits_far_from_the_origin(samples, kernel, offset, unbiased):
    X, Y = (rows + offset for rows in samples)
    wide, n = np.vstack([X, Y]).astype(np.longdouble), len(X)
    gamma = 1 / float(np.median((wide**2).sum(axis=1)))
    if kernel == "linear":
        wide -= offset  # exactly, and it makes no difference
    elif kernel == "cosine":
        wide /= np.sqrt((wide**2).sum(axis=1, keepdims=True))
    K = wide @ wide.T
    K = (gamma * K + 1) ** 3 if kernel == "poly" else np.tanh(gamma * K + 1) if kernel == "sigmoid" else K
    K -= K.mean()
    source, target = K[:n, :n], K[n:, n:]
    expected = source.mean() + target.mean() - 2 * K[:n, n:].mean()
    if unbiased:
        within = (part[~np.eye(len(part), dtype=bool)].mean() for part in (source, target))
        expected = sum(within) - 2 * K[:n, n:].mean()
    assert mmd(X, Y, kernel=kernel, gamma=gamma, unbiased=unbiased) == pytest.approx(float(expected), rel=1e-6)


def test_mmd_of_a_saturated_sigmoid_kernel(samples):
    X, Y = samples
    assert mmd(X + 1e8, Y + 1e8, kernel="sigmoid", gamma=1.0) == pytest.approx(0, abs=1e-15)


def test_the_figures_of_cmd_for_equal_distributions():
    for d, expected in ((1, 0.02), (10, 0.06), (100, 0.2)):
        random = np.random.RandomState(d)
        found = np.mean([cmd(random.randn(500, d), random.randn(500, d)) for _ in range(10)])
        assert found == pytest.approx(expected, rel=0.3)


HOMOGENEOUS = {  # degree in the unit of the features
    mmd: 0,
    linear_mmd: 0,
    energy_distance: 1,
    sliced_wasserstein: 1,
    bures_wasserstein: 1,
    cmd: 0,
    partial(mmd, kernel="poly"): 0,
    partial(mmd, kernel="linear"): 2,
    lambda X, Y: mk_mmd(X, Y)[0]: 0,
    lambda X, Y: joint_mmd([X, X[:, :1]], [Y, Y[:, :1]]): 0,
}


@pytest.mark.parametrize("scale", [1e-100, 1e-40, 1e40, 1e70, 1e100, 1e160, 1e307, 1e-160])
def test_the_unit_of_the_features_is_no_matter_or_named(samples, scale):
    X, Y = samples
    for distance, degree in HOMOGENEOUS.items():
        if 1e-150 < scale < 1e150:
            try:
                found = distance(scale * X, scale * Y) / np.float64(scale) ** degree
            except ValueError as refusal:
                assert distance is bures_wasserstein and "Scale the features" in str(refusal)  # noqa: PT017, PT018
            else:
                assert found == pytest.approx(distance(X, Y), rel=1e-6)
        else:
            with pytest.raises(ValueError, match=r"X. is so (large|small).*Scale the features"):
                distance(scale * X, scale * Y)


def test_rows_that_are_all_the_same_have_no_distance():
    same = np.ones((10, 2))
    assert mmd(same, same) == linear_mmd(same, same) == mk_mmd(same, same)[0] == 0


def test_unbiased_estimates_are_unbiased():
    rng, found, linear, null = np.random.RandomState(0), [], [], []
    for _ in range(300):
        X, Y = rng.randn(20, 2), rng.randn(20, 2)
        null.append(mmd(X, Y, gamma=0.5, unbiased=True))
        found.append(mmd(X, Y + np.eye(2)[0], gamma=0.5, unbiased=True))
        linear.append(linear_mmd(X, Y + np.eye(2)[0], gamma=0.5))
    for values, expected in ((found, of_normals(1, 0.5, 2)), (linear, of_normals(1, 0.5, 2)), (null, 0.0)):
        assert abs(np.mean(values) - expected) < 3.5 * np.std(values) / np.sqrt(300)
    assert 0.3 < np.mean(np.array(null) < 0) < 0.8
    assert np.std(linear) > 1.3 * np.std(found)


def test_linear_time_estimate_of_sorted_rows():
    rng = np.random.RandomState(0)
    X, Y = np.sort(rng.randn(500, 1), axis=0), np.sort(rng.randn(500, 1), axis=0)[::-1]
    assert abs(linear_mmd(X, Y, gamma=0.5)) < 0.1  # in the order given it is far from 0


def test_joint_mmd(samples):
    X, Y = samples
    np.testing.assert_allclose(joint_mmd([X], [Y]), mmd(X, Y))
    one, other = [X, X[:, :1]], [Y, Y[:, :1]]
    np.testing.assert_allclose(
        joint_mmd(one, other, gammas=[0.3, 0.2]), joint_mmd(one[::-1], other[::-1], gammas=[0.2, 0.3])
    )
    signed = np.r_[np.full(70, 1 / 70), np.full(50, -1 / 50)]
    K = rbf_kernel(np.r_[X, Y], gamma=0.3) * rbf_kernel(np.r_[X, Y][:, :1], gamma=0.2)
    np.testing.assert_allclose(joint_mmd(one, other, gammas=[0.3, 0.2]), signed @ K @ signed)
    with pytest.raises(ValueError, match="the same views, at least one; they hold 1 and 2"):
        joint_mmd([X], [Y, Y])


def test_joint_mmd_sees_dependence_that_marginals_hide():
    rng = np.random.RandomState(0)
    x, labels = rng.randn(300, 1), np.eye(2)[rng.randint(2, size=300)]
    aligned = np.eye(2)[(x[:, 0] > 0).astype(int)]
    assert joint_mmd([x, aligned], [x, labels]) > 10 * max(mmd(x, x), mmd(aligned, labels))


def test_mk_mmd_chooses_the_width_of_the_difference():
    rng = np.random.RandomState(0)
    X = rng.randn(2000, 1)
    Y = np.sign(rng.randn(2000, 1)) * 0.02 + np.round(rng.randn(2000, 1), 1)  # differs at a scale of a hundredth
    widths = [0.01, 1.0, 1000.0]
    squared, weights = mk_mmd(X, Y, gammas=widths)
    assert weights.argmax() == 2
    assert np.all(weights >= 0)
    np.testing.assert_allclose(weights.sum(), 1.0)
    assert squared > 0
    same, _ = mk_mmd(X, rng.randn(2000, 1))
    assert abs(same) < 0.01
    with pytest.raises(ValueError, match="gammas must be positive"):
        mk_mmd(X, Y, gammas=[0.0, 1.0])


# ------------------------------------------------------------------------------------------------ moments, transport


def test_coral_written_out(samples):
    X, Y = samples
    gap = np.cov(X, rowvar=False) - np.cov(Y, rowvar=False)
    np.testing.assert_allclose(coral_distance(X, Y), np.linalg.norm(gap) ** 2 / (4 * 9))


def test_cmd(samples):
    X, Y = samples
    low, high = X.min(axis=0), X.max(axis=0)
    moved = X + 0.1
    np.testing.assert_allclose(  # a shift leaves the central moments alone
        cmd(X, moved, bounds=(low - 1, high + 1)), np.linalg.norm(0.1 / (high - low + 2)), rtol=1e-9
    )
    scale, offset = np.array([3.0, 0.1, 7.0]), np.array([1.0, -5.0, 0.0])
    np.testing.assert_allclose(cmd(scale * X + offset, scale * Y + offset), cmd(X, Y))
    moments = [scipy.stats.moment(np.clip(X, 0, 1), k) - scipy.stats.moment(np.clip(Y, 0, 1), k) for k in (2, 3)]
    means = np.clip(X, 0, 1).mean(axis=0) - np.clip(Y, 0, 1).mean(axis=0)
    expected = sum(np.linalg.norm(gap) for gap in [means, *moments])
    np.testing.assert_allclose(cmd(X, Y, n_moments=3, bounds=(0, 1)), expected)
    assert cmd(np.ones((5, 2)), np.ones((4, 2))) == 0
    for bad in ({"n_moments": 0}, {"bounds": (1, 0)}, {"bounds": (1, 1)}):
        with pytest.raises(ValueError, match=r"n_moments must be|bounds must be"):
            cmd(X, Y, **bad)


def test_energy_distance_in_one_dimension(samples):
    X, Y = samples
    expected = scipy.stats.energy_distance(X[:, 0], Y[:, 0]) ** 2
    np.testing.assert_allclose(energy_distance(X[:, :1], Y[:, :1]), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 100))
def test_transport_on_a_line_is_an_assignment(n, m, seed):
    rng = np.random.RandomState(seed)
    a, b = rng.randn(n), rng.randn(m)
    copies = np.lcm(n, m)
    matched = np.mean((np.sort(np.repeat(a, copies // n)) - np.sort(np.repeat(b, copies // m))) ** 2)
    np.testing.assert_allclose(sliced_wasserstein(a[:, None], b[:, None], n_projections=3) ** 2, matched)


def test_sliced_wasserstein_of_a_translation(samples):
    X, _ = samples
    moved = sliced_wasserstein(X, X + 3 * np.eye(3)[0], n_projections=20_000)
    np.testing.assert_allclose(moved, 3 / np.sqrt(3), rtol=0.02)  # E cos^2 = 1 / d


@pytest.mark.parametrize(("n", "d"), [(70, 3), (5, 9)])
def test_bures_wasserstein_by_matrix_roots(n, d):
    rng = np.random.RandomState(0)
    X, Y = rng.randn(n, d), 2 * rng.randn(n + 3, d) + 1
    A, B = np.cov(X, rowvar=False), np.cov(Y, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(A))
    cross = np.real(scipy.linalg.sqrtm(root @ B @ root))
    squared = np.sum((X.mean(axis=0) - Y.mean(axis=0)) ** 2) + np.trace(A + B - 2 * cross)
    np.testing.assert_allclose(bures_wasserstein(X, Y) ** 2, squared, rtol=1e-5)


# ------------------------------------------------------------------------------------------------ separability


def test_separability_is_held_out():
    rng = np.random.RandomState(0)
    found = separability(rng.randn(60, 100), rng.randn(60, 100))  # d > n: on the training rows the distance is 2
    assert found.a_distance < 0.6
    assert 0.3 < found.auc < 0.7
    assert 0.05 < found.standard_error < 0.4
    assert not found.saturated


def test_separability_of_one_dimension_with_a_known_error():
    rng = np.random.RandomState(0)
    distances = [separability(rng.randn(400, 1), rng.randn(100, 1) + 1) for _ in range(30)]
    error = scipy.stats.norm.cdf(-0.5)  # of the best threshold, balanced
    found = np.array([one.a_distance for one in distances])
    assert abs(found.mean() - 2 * (1 - 2 * error)) < 0.06
    assert 0.6 < found.std() / np.mean([one.standard_error for one in distances]) < 1.6
    auc = scipy.stats.norm.cdf(1 / np.sqrt(2))
    assert abs(np.mean([one.auc for one in distances]) - auc) < 0.02


def test_separability_has_shorthands_and_degenerate_cases(samples):
    X, Y = samples
    found = separability(X, Y)
    assert proxy_a_distance(X, Y) == pytest.approx(found.a_distance)
    assert domain_auc(X, Y) == pytest.approx(found.auc)
    assert separability(X, X + 100).saturated
    assert np.isnan(separability(X[:1], Y).a_distance)
    with pytest.raises(ValueError, match="cv must be at least 2"):
        separability(X, Y, cv=1)


# ------------------------------------------------------------------------------------------------ classes


def test_per_class(samples):
    X, Y = samples
    ys, yt = np.array(["a", "b", "c"])[np.arange(70) % 3], np.array(["a", "b"])[np.arange(50) % 2]
    found = per_class(mmd, X, ys, Y, yt, gamma=0.3)
    assert list(found) == ["a", "b", "c"]
    np.testing.assert_allclose(found["b"], mmd(X[ys == "b"], Y[yt == "b"], gamma=0.3))
    assert np.isnan(found["c"])
    assert per_class(mmd, X, ys.astype(object), Y, yt.astype(object), gamma=0.3).keys() == found.keys()


def test_label_shift_of_a_population():
    """Confusions that are exact shares give the exact ratio."""
    given = np.array([[0.8, 0.1, 0.0], [0.2, 0.7, 0.3], [0.0, 0.2, 0.7]])  # columns: true class
    prior, target = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    counts = np.round(1000 * given * prior).astype(int)
    predicted, labels = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices((3, 3)))
    outputs = np.repeat([0, 1, 2], np.round(1000 * given @ target).astype(int))
    found = label_shift(labels, predicted, outputs)
    np.testing.assert_allclose(found.ratio, target / prior, rtol=1e-6)
    np.testing.assert_allclose(found.target_prior, target, rtol=1e-6)
    assert found.condition == pytest.approx(np.linalg.cond(given * prior), rel=1e-6)


@pytest.mark.parametrize("n_classes", [2, 5, 11])
def test_label_ratio_meets_the_conditions_of_the_optimum(n_classes):
    """Along the constraint, the squared residual falls in no direction that keeps the ratio non-negative."""
    rng = np.random.RandomState(n_classes)
    for _ in range(50):
        confusion = rng.rand(n_classes, n_classes) + 3 * np.eye(n_classes)
        confusion /= confusion.sum()
        prior, predicted = confusion.sum(axis=0), rng.dirichlet(np.full(n_classes, 0.3))
        ratio = label_ratio(confusion, predicted, prior)
        gradient = confusion.T @ (confusion @ ratio - predicted)
        slack = gradient - (ratio @ gradient) * prior
        assert ratio.min() >= 0
        np.testing.assert_allclose(prior @ ratio, 1.0, rtol=1e-12)
        assert slack.min() > -1e-12
        np.testing.assert_allclose(slack[ratio > 0], 0.0, atol=1e-12)


def test_label_shift_stays_a_distribution():
    rng = np.random.RandomState(0)
    for _ in range(50):
        labels = rng.randint(4, size=100)
        predicted = np.where(rng.rand(100) < 0.5, labels, rng.randint(4, size=100))
        found = label_shift(labels, predicted, rng.randint(2, size=30))
        assert found.target_prior.min() >= 0
        np.testing.assert_allclose(found.target_prior.sum(), 1.0)


def test_label_shift_refuses_what_it_cannot_tell():
    with pytest.raises(ValueError, match=r"classes \[2\] are never predicted on the source"):
        label_shift([0, 1, 2], [0, 1, 1], [0, 1])
    with pytest.raises(ValueError, match="predicted_target is empty"):
        label_shift([0, 1], [0, 1], [])
    with pytest.raises(ValueError, match=r"predictions hold classes that ys does not: \[3\]"):
        label_shift([0, 1], [0, 1], [3])


# ------------------------------------------------------------------------------------------------ the test


@pytest.mark.parametrize("distance", [mmd, energy_distance], ids=["mmd", "energy"])
def test_level_and_power(distance):
    rng = np.random.RandomState(0)
    null = [
        permutation_test(rng.randn(15, 2), rng.randn(12, 2), distance=distance, n_permutations=39).p_value
        for _ in range(100)
    ]
    assert 0.01 <= np.mean(np.array(null) <= 0.1) <= 0.2
    assert (
        permutation_test(rng.randn(15, 2), rng.randn(12, 2) + 2, distance=distance, n_permutations=39).p_value == 1 / 40
    )


def test_shared_kernel_matrix_is_a_shortcut(samples, monkeypatch):
    X, Y = samples
    shared = permutation_test(X, Y, n_permutations=20)
    monkeypatch.setattr("shallowda.metrics._STORED", 0)
    anew = permutation_test(X, Y, n_permutations=20, n_jobs=2)
    np.testing.assert_allclose(shared.null, anew.null, rtol=1e-9)
    np.testing.assert_allclose(shared.statistic, mmd(X, Y))
    assert shared.p_value == anew.p_value


def _distances():
    """All functions of the module that ask for two samples and nothing else."""
    for name in metrics.__all__:
        function = getattr(metrics, name)
        if inspect.isfunction(function) and function is not permutation_test:
            needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
            if len(needed) == 2:
                yield pytest.param(function, id=name)


class TestAnyDistance:
    @pytest.mark.parametrize("n_target", [24, 20])
    @pytest.mark.parametrize("distance", list(_distances()))
    def test_of_the_module_is_tested_or_refused(self, distance, n_target):
        rng = np.random.RandomState(0)
        Xs, Xt = rng.randn(24, 2), rng.randn(n_target, 2) + 4
        if distance is joint_mmd:
            with pytest.raises(ValueError, match="takes sequences of views"):
                permutation_test(Xs, Xt, distance=distance, n_permutations=19)

            def distance(Xs, Xt):
                return joint_mmd([Xs[:, :1], Xs[:, 1:]], [Xt[:, :1], Xt[:, 1:]])

        test = permutation_test(Xs, Xt, distance=distance, n_permutations=19)
        assert test.p_value == 1 / 20 or distance is coral_distance  # which is blind to the means
        assert test.null.shape == (19,)
        expected = distance(Xs, Xt)
        assert test.statistic == pytest.approx(expected[0] if isinstance(expected, tuple) else expected)
        labels = [np.repeat([0, 1], len(X) // 2) for X in (Xs, Xt)]
        by_class = per_class(distance, Xs, labels[0], Xt, labels[1])
        assert all(np.isfinite(value) for value in by_class.values())

    @pytest.mark.parametrize("distance", [lambda Xs, Xt: None, lambda Xs, Xt: [1.0, 2.0], lambda Xs, Xt: np.nan])
    def test_no_number_no_test(self, distance, samples):
        with pytest.raises(ValueError, match=r"distance must give a number for two samples.*lambda.*70 and 50 rows"):
            permutation_test(*samples, distance=distance, n_permutations=19)

    def test_no_number_where_rows_are_too_few(self):
        with pytest.raises(ValueError, match="distance must give a number"):
            permutation_test([[0.0]], [[1.0], [2.0]], distance=separability)

    def test_a_name_is_no_distance(self, samples):
        with pytest.raises(ValueError, match=r"must be a function of two samples.*it is 'mmd'"):
            permutation_test(*samples, distance="mmd")

    def test_rows_that_are_all_the_same(self, monkeypatch):
        monkeypatch.setattr("shallowda.metrics._STORED", 0)
        assert permutation_test(np.full((5, 2), 0.1), np.full((4, 2), 0.1), n_permutations=19).p_value == 1
