"""Kernel mean matching: the invariants of the paper, a dense oracle, known ratios, and what it is for."""

import re
import tracemalloc

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from shallowda import KMM, make_pipeline, pack_domains
from shallowda.core.weighting import SourceWeighting
from shallowda.model_selection import SourceTargetKFold


def stacked(Xs, Xt):
    return np.r_[Xs, Xt], np.r_[np.zeros(len(Xs)), -np.ones(len(Xt))]


def weighed(Xs, Xt, **params):
    X, domain = stacked(Xs, Xt)
    return KMM(**params).fit(X, sample_domain=domain)


def textbook(Xs, Xt, gamma, bound, slack):
    """The paper's quadratic programme, with its matrices as they stand, by SciPy."""
    n = len(Xs)
    K = np.array([[np.exp(-gamma * np.sum((a - b) ** 2)) for b in Xs] for a in Xs])
    kappa = n / len(Xt) * np.array([sum(np.exp(-gamma * np.sum((a - b) ** 2)) for b in Xt) for a in Xs])
    found = minimize(
        lambda w: (w @ K @ w / 2 - kappa @ w) / n**2,
        np.full(n, min(1.0, bound)),
        jac=lambda w: (K @ w - kappa) / n**2,
        bounds=[(0, bound)] * n,
        constraints=LinearConstraint(np.ones((1, n)) / n, 1 - slack, 1 + slack),
        method="SLSQP",
        options={"ftol": 1e-16, "maxiter": 5000},
    )
    return found.x, lambda w: w @ K @ w / 2 - kappa @ w


@pytest.mark.parametrize("params", [{}, {"bound": 2.0}, {"slack": 0.05}, {"bound": 1.3, "slack": 0.0, "gamma": 0.4}])
def test_it_solves_the_papers_programme(params):
    rng = np.random.default_rng(0)
    Xs, Xt = rng.standard_normal((40, 3)), 0.7 * rng.standard_normal((30, 3)) + 0.5
    model = weighed(Xs, Xt, tol=1e-10, **params)
    slack = params.get("slack", (np.sqrt(40) - 1) / np.sqrt(40))
    expected, objective = textbook(Xs, Xt, model.gamma_, params.get("bound", 1000.0), slack)
    w = model.weights_
    assert objective(w) == pytest.approx(objective(expected), rel=1e-6)
    np.testing.assert_allclose(w, expected, atol=1e-2)
    assert w.min() >= 0
    assert w.max() <= params.get("bound", 1000.0)
    assert abs(w.sum() - 40) <= 40 * slack + 1e-9


def test_the_median_rule():
    rng = np.random.default_rng(1)
    Xs, Xt = rng.standard_normal((30, 2)), rng.standard_normal((20, 2))
    X = np.r_[Xs, Xt]
    squares = ((X[:, None] - X[None]) ** 2).sum(axis=2)[np.triu_indices(50, 1)]
    assert weighed(Xs, Xt).gamma_ == pytest.approx(1 / np.median(squares))
    assert weighed(Xs, Xt, gamma=0.3).gamma_ == 0.3


def test_equal_domains_have_equal_weights():
    rows = np.random.default_rng(2).standard_normal((80, 3))
    model = weighed(rows, rows[::-1])
    np.testing.assert_allclose(model.weights_, 1.0, atol=1e-4)
    assert model.effective_sample_size_ == pytest.approx(80)
    assert model.duality_gap_ <= 1e-5


def test_a_target_that_is_half_the_source():
    rows = 3 * np.random.default_rng(3).standard_normal((40, 4))
    weights = weighed(rows, rows[:20], tol=1e-10).weights_
    np.testing.assert_allclose(weights, np.repeat([2.0, 0.0], 20), atol=1e-3)


def test_copies_share_a_weight_and_order_does_not_matter():
    rng = np.random.default_rng(4)
    Xs, Xt = rng.standard_normal((50, 2)), rng.standard_normal((40, 2)) + 0.1
    Xs[30:40] = Xs[20:30]
    weights = weighed(Xs, Xt, gamma=0.1).weights_
    np.testing.assert_array_equal(weights[30:40], weights[20:30])
    order = rng.permutation(50)
    np.testing.assert_array_equal(weighed(Xs[order], rng.permutation(Xt), gamma=0.1).weights_, weights[order])


def test_moving_or_turning_both_domains_changes_nothing():
    rng = np.random.default_rng(5)
    Xs, Xt = rng.standard_normal((60, 6)), rng.standard_normal((50, 6)) + 0.4
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    expected = weighed(Xs, Xt, tol=1e-9).weights_
    for moved in (lambda X: X @ turn, lambda X: X + 100.0, lambda X: 8 * X):
        np.testing.assert_allclose(weighed(moved(Xs), moved(Xt), tol=1e-9).weights_, expected, atol=1e-3)


def test_weights_are_the_ratio_of_two_normals():
    rng = np.random.default_rng(6)
    Xs, Xt = rng.standard_normal((2000, 2)), 0.7 * rng.standard_normal((2000, 2)) + [0.7, 0]
    true = np.exp(((Xs**2).sum(axis=1) - ((Xs - [0.7, 0]) ** 2).sum(axis=1) / 0.49) / 2) / 0.49
    model = weighed(Xs, Xt)
    assert np.corrcoef(model.weights_, true)[0, 1] > 0.93
    assert model.weights_.mean() == pytest.approx(1, abs=0.02)
    assert model.effective_sample_size_ == pytest.approx(true.sum() ** 2 / (true @ true), rel=0.1)
    assert model.effective_sample_size_ == pytest.approx(model.weights_.sum() ** 2 / (model.weights_**2).sum())
    assert model.duality_gap_ <= 1e-5
    assert 1 <= model.n_iter_ < 30
    smooth = weighed(Xs, Xt, gamma=model.gamma_ / 4)
    assert np.corrcoef(smooth.weights_, true)[0, 1] > 0.98


def test_single_precision_is_weighed_in_double():
    rng = np.random.default_rng(7)
    Xs, Xt = rng.standard_normal((80, 5)), rng.standard_normal((60, 5)) + 0.3
    exact, single = weighed(Xs, Xt), weighed(Xs.astype(np.float32), Xt.astype(np.float32))
    assert single.weights_.dtype == np.float64
    np.testing.assert_allclose(single.weights_, exact.weights_, atol=1e-3)


def test_a_wrong_model_under_covariate_shift():
    """Shimodaira's example (2000): a line for a cubic, where the target covers a part of the source."""
    rng = np.random.default_rng(0)
    xs, xt = rng.normal(0.5, 0.5, (300, 1)), rng.normal(0.0, 0.3, (300, 1))
    ys = xs[:, 0] ** 3 - xs[:, 0] + 0.3 * rng.standard_normal(300)
    truth = xt[:, 0] ** 3 - xt[:, 0]
    X, y, _ = pack_domains(xs, ys, xt)
    line = LinearRegression()
    weighted = KMM(estimator=line).fit(X, y)
    error, alone, best = (
        np.mean((model.predict(xt) - truth) ** 2)
        for model in (weighted, LinearRegression().fit(xs, ys), LinearRegression().fit(xt, truth))
    )
    assert error < 0.15 * alone
    assert error < 2 * best
    by_hand = LinearRegression().fit(xs, ys, sample_weight=weighted.weights_)
    np.testing.assert_allclose(weighted.predict(xt), by_hand.predict(xt))


def test_label_shift_is_not_what_it_corrects():
    """The right weights by class make up for it; these do not."""
    rng = np.random.default_rng(0)
    ys, yt = (rng.random(500) < 0.9).astype(int), (rng.random(500) < 0.3).astype(int)
    Xs, Xt = (rng.standard_normal((500, 2)) + 1.2 * labels[:, None] for labels in (ys, yt))
    X, y, _ = pack_domains(Xs, ys, Xt)
    by_class = LogisticRegression().fit(Xs, ys, sample_weight=np.where(ys == 1, 0.3 / 0.9, 0.7 / 0.1))
    assert KMM().fit(X, y).score(Xt, yt) < by_class.score(Xt, yt) - 0.15


def test_in_pipelines_and_searches():
    rng = np.random.default_rng(9)
    Xs, Xt = rng.uniform(-3, 3, (90, 1)), rng.uniform(1, 3, (60, 1))
    X, y, _ = pack_domains(Xs, Xs[:, 0] ** 2, Xt)
    pipe = make_pipeline(StandardScaler(), KMM(estimator=Ridge()))
    grid = {"kmm__bound": [2.0, 1000.0], "kmm__estimator__alpha": [0.1, 1.0]}
    search = GridSearchCV(pipe, grid, cv=SourceTargetKFold(3, random_state=0), error_score="raise").fit(X, y)
    assert set(search.best_params_) == set(grid)
    assert search.best_estimator_[-1].weights_.shape == (90,)
    assert search.score(Xt, Xt[:, 0] ** 2) > 0.5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bound": 0.5, "slack": 0.2}, r"bound=0.5 and slack=0.2: their mean has to be at least 0.8. Raise bound"),
        ({"bound": 0.01}, r"No weights meet bound=0.01"),
        ({"bound": 0.0}, "The 'bound' parameter of KMM must be"),
        ({"bound": -1.0}, "The 'bound' parameter of KMM must be"),
        ({"slack": 1.5}, "The 'slack' parameter of KMM must be"),
        ({"gamma": 0.0}, "The 'gamma' parameter of KMM must be"),
    ],
)
def test_limits_that_cannot_be_met_are_refused(params, message):
    rng = np.random.default_rng(10)
    with pytest.raises(ValueError, match=message):
        weighed(rng.standard_normal((30, 2)), rng.standard_normal((20, 2)), **params)


def test_it_says_when_it_has_not_converged():
    rng = np.random.default_rng(11)
    Xs, Xt = rng.standard_normal((200, 2)), rng.standard_normal((100, 2)) + 1
    with pytest.warns(ConvergenceWarning, match=r"did not converge in 2 steps.*Raise max_iter") as caught:
        model = weighed(Xs, Xt, tol=1e-8, max_iter=2)
    assert caught[0].filename == __file__
    said = float(re.search(r"least one by (\S+) of", str(caught[0].message))[1])
    assert model.duality_gap_ == pytest.approx(said, rel=0.1)
    assert model.n_iter_ == 2


def test_few_rows_that_count_are_warned_about():
    """Domains side by side: one that is far away leaves the rows at its edge."""
    rng = np.random.default_rng(12)
    Xs, Xt = rng.standard_normal((300, 2)), rng.standard_normal((300, 2)) + 4
    with pytest.warns(UserWarning, match=r"300 source rows tell as much as \d.*effective_sample_size_.*Reduce.*PCA"):
        model = weighed(Xs, Xt)
    assert model.effective_sample_size_ < 30


@pytest.mark.usefixtures("quiet")
def test_degenerate_domains():
    rng = np.random.default_rng(13)
    rows = rng.standard_normal((20, 3))
    one = weighed(np.tile(rows[:1], (10, 1)), rows)
    assert np.ptp(one.weights_) == 0
    assert one.effective_sample_size_ == pytest.approx(10)
    np.testing.assert_allclose(weighed(rows, rows[:1], gamma=50.0, tol=1e-9).weights_.argmax(), 0)
    assert np.isfinite(weighed(rows, rows[:1]).weights_).all()
    far = weighed(rows, rows + 1e4, gamma=1.0)  # all kernel values between the domains are zero
    assert far.weights_.sum() == pytest.approx(np.sqrt(20))  # the least that the slack allows
    wide = weighed(rng.standard_normal((12, 50)), rng.standard_normal((9, 50)))
    assert np.isfinite(wide.weights_).all()
    with pytest.raises(ValueError, match="rows that differ"):
        weighed(np.ones((5, 2)), np.ones((4, 2)))


@pytest.mark.slow
def test_no_matrix_of_all_pairs():
    """8000 source rows: the matrix would take 512 MB."""
    rng = np.random.default_rng(14)
    Xs, Xt = rng.standard_normal((8000, 2)), 0.8 * rng.standard_normal((9000, 2)) + [0.5, 0]
    tracemalloc.start()
    model = weighed(Xs, Xt, gamma=0.3, tol=1e-4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert model.duality_gap_ <= 1e-4
    assert peak < 300e6


def test_reducing_features_first_helps():
    """What the warning recommends, where the shift lies in the leading components."""
    rng = np.random.default_rng(15)
    scales = np.r_[3.0, 3.0, np.full(98, 0.7)]
    Xs, Xt = scales * rng.standard_normal((300, 100)), scales * rng.standard_normal((300, 100))
    Xt[:, 0] = 0.3 * Xt[:, 0] + 3.0
    values, truth = Xs[:, 0] ** 2, Xt[:, 0] ** 2
    X, y, _ = pack_domains(Xs, values, Xt)
    errors = [
        np.mean((model.fit(X, y).predict(Xt) - truth) ** 2)
        for model in (KMM(estimator=LinearRegression()), make_pipeline(PCA(2), KMM(estimator=LinearRegression())))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_it_is_a_weighting_method():
    assert issubclass(KMM, SourceWeighting)
    assert not hasattr(KMM(), "transform")
