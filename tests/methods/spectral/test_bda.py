import numpy as np
import oracles
import pytest

from shallowda import BDA, JDA, NoTargetWarning, TCAEstimator, pack_domains
from shallowda.metrics import proxy_a_distance

Xs, ys, Xt, yt = oracles.shifted_domains(4)
X, y, sample_domain = pack_domains(Xs, ys, Xt)
source = sample_domain >= 0


@pytest.mark.parametrize("scaling", ["authors", "paper"])
def test_mu_zero_matches_the_domain_means_only(scaling):
    bda = BDA(3, mu=0, mmd_scaling=scaling).fit(X, y)
    tca = TCAEstimator(3, mmd_scaling=scaling).fit(X, y)
    np.testing.assert_allclose(bda.components_, tca.components_, atol=1e-9)


@pytest.mark.parametrize("kernel", [None, "rbf"])
def test_mu_half_is_jda(kernel):
    jda = JDA(3, kernel=kernel).fit(X, y)
    np.testing.assert_allclose(BDA(3, kernel=kernel).fit(X, y).components_, jda.components_, atol=1e-8)
    paper = JDA(3, kernel=kernel, mmd_scaling="paper", ridge=0.2).fit(X, y)
    half = BDA(3, kernel=kernel, mmd_scaling="paper", ridge=0.1).fit(X, y)
    np.testing.assert_allclose(half.components_, paper.components_, atol=1e-8)


def test_authors_mu_in_terms_of_the_papers():
    """mu' / (1 - mu') = mu / (C (1 - mu)), up to the Frobenius norm that the ridge takes."""
    mu, C = 0.5, 3
    mapped = mu / (mu + C * (1 - mu))
    parts = {}
    for name, value in (("authors", mu), ("paper", mapped)):
        bda = BDA(3, mu=value, mmd_scaling=name)
        E, _ = bda._mmd(None, _domains(), yt)
        parts[name] = E.toarray() @ E.toarray().T / E.norm
    np.testing.assert_allclose(parts["authors"], parts["paper"], atol=1e-12)


def _domains():
    from shallowda.core.contract import read_domains

    return read_domains(y, None, len(y))


def test_mu_one_and_continuity():
    values = [BDA(3, mu=mu, max_iter=1).fit(X, y).components_ for mu in (1 - 1e-9, 1.0)]
    np.testing.assert_allclose(*values, atol=1e-6)
    classes_only = BDA(3, mu=1.0, mmd_scaling="paper").fit(X, y)
    E, _ = classes_only._mmd(None, _domains(), yt)
    expected = oracles.mmd_matrix(source, np.r_[ys, yt], 3, 0.0, 1.0)
    np.testing.assert_allclose(E.toarray() @ E.toarray().T, expected, atol=1e-15)


def test_weighted_with_equal_priors_is_a_multiple_of_unweighted():
    balanced = np.tile([0, 1, 2], 13)[: len(Xt)]
    codes = np.concatenate([np.tile([0, 1, 2], 12), np.tile([0, 1, 2], 11)])
    rows = np.vstack([Xs[:36], Xt[:33]])
    rows = rows - rows.mean(axis=0)
    domains = np.repeat([0, -1], [36, 33])
    from shallowda.core.contract import read_domains

    read = read_domains(codes, domains, len(codes))
    plain, _ = BDA(mu=1.0, mmd_scaling="paper")._mmd(None, read, codes[36:])
    weighted, _ = BDA(mu=1.0, mmd_scaling="paper", weighted=True)._mmd(None, read, codes[36:])
    np.testing.assert_allclose(weighted.toarray(), plain.toarray() / np.sqrt(3), atol=1e-14)
    assert len(balanced) == len(Xt)


def test_weighted_warns_about_data_that_are_not_centred():
    with pytest.warns(UserWarning, match="needs centred data"):
        BDA(3, weighted=True).fit(X + 100, y)
    centred = X - X.mean(axis=0)
    assert np.isfinite(BDA(3, weighted=True).fit(centred, y).components_).all()


def test_estimated_mu_follows_the_formula_and_is_recorded():
    bda = BDA(3, mu="a_distance").fit(X, y)
    history = bda.history_
    assert history["mu"][0] == 0.5  # no labels yet
    for mu, marginal, classes in zip(
        *(history[k][1:] for k in ("mu", "marginal_distance", "class_distances")), strict=True
    ):
        conditional = np.mean(list(classes.values()))
        assert mu == pytest.approx(conditional / (conditional + marginal))
        assert set(classes) <= {0, 1, 2}
    assert bda.mu_ == history["mu"][-1]


def test_estimated_mu_is_one_half_when_nothing_can_be_told_apart():
    rng = np.random.RandomState(0)
    Z, labels = rng.randn(60, 4), np.repeat([0, 1], 30)
    same, marks, _ = pack_domains(Z, labels, Z)
    with pytest.warns(UserWarning, match="mu='a_distance' is not determined"):
        bda = BDA(2, mu="a_distance").fit(same, marks)
    assert bda.history_["marginal_distance"][0] < 0.5
    assert abs(bda.mu_ - 0.5) < 0.1


def test_saturated_distances_warn():
    far, marks, _ = pack_domains(Xs, ys, Xt + 1000)
    with pytest.warns(UserWarning, match="saturated"):
        BDA(3, mu="a_distance").fit(far, marks)


def test_a_distance_is_held_out():
    """In-sample error is 0 when d >= n, whatever the domains."""
    rng = np.random.RandomState(0)
    one, two = rng.randn(60, 100), rng.randn(60, 100)
    assert proxy_a_distance(one, two) < 0.6
    assert proxy_a_distance(one, two + 5) == 2.0
    assert proxy_a_distance(one, two) == pytest.approx(proxy_a_distance(two, one), abs=0.5)


def test_a_distance_is_balanced():
    rng = np.random.RandomState(0)
    assert proxy_a_distance(rng.randn(400, 3), rng.randn(20, 3)) < 0.8


def test_a_distance_of_a_single_row_is_undefined():
    assert np.isnan(proxy_a_distance(np.zeros((1, 3)), np.zeros((9, 3))))
    assert np.isnan(proxy_a_distance(np.zeros((0, 3)), np.zeros((9, 3))))


@pytest.mark.parametrize("options", [{"mu": "a_distance"}, {"weighted": True}, {"mmd_scaling": "paper"}])
def test_options_without_target_rows(problem, options):
    with pytest.warns(NoTargetWarning):
        assert BDA(3, **options).fit(problem.X - problem.X.mean(axis=0), problem.truth).n_iter_ == 1


@pytest.mark.parametrize("mu", [-0.1, 1.1, "auto"])
def test_mu_is_a_share_or_an_estimate(problem, mu):
    with pytest.raises(ValueError, match="The 'mu' parameter of BDA must be"):
        BDA(mu=mu).fit(problem.X, problem.y)


def classes_that_moved(by, seed, shares=(1 / 3, 1 / 3, 1 / 3), n=240):
    """Three classes; those of the target are moved against each other, and have other shares."""
    rng = np.random.default_rng(seed)
    source = np.arange(2 * n) < n
    truth = np.where(source, np.arange(2 * n) % 3, rng.choice(3, size=2 * n, p=shares))
    X = 6 * np.eye(6)[truth] + rng.normal(size=(2 * n, 6))
    ways = np.array([[0, 0, 0, 1, 0, 0], [0, 0, 0, -0.5, 0.8, 0], [0, 0, 0, -0.5, -0.8, 0]])
    X[~source] += by * ways[truth[~source]]
    return X, np.where(source, truth, -1)


@pytest.mark.parametrize("seed", range(6))
def test_balance_is_half_where_there_is_no_shift(seed):
    """The ratio of two noises says nothing; it was anything between 0.17 and 1."""
    with pytest.warns(UserWarning, match="mu='a_distance' is not determined"):
        bda = BDA(3, mu="a_distance", max_iter=2).fit(*classes_that_moved(0.0, seed))
    assert abs(bda.mu_ - 0.5) < 0.25


@pytest.mark.filterwarnings("ignore:The A-distances that mu:UserWarning")
@pytest.mark.parametrize("seed", range(3))
def test_balance_is_near_its_ends_for_one_kind_of_shift(seed):
    conditional = BDA(6, mu="a_distance", max_iter=2).fit(*classes_that_moved(3.0, seed))
    assert conditional.mu_ > 0.75
    marginal = BDA(6, mu="a_distance", max_iter=2).fit(*classes_that_moved(0.0, seed, (0.9, 0.05, 0.05)))
    assert marginal.mu_ < 0.3
    assert marginal.history_["distance_error"][-1] < 0.4
