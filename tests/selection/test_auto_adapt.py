"""AutoAdapt: the vote, the ways back to the source, budgets, and what is reported."""

import logging
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from shallowda import (
    CORAL,
    JDA,
    AutoAdapt,
    NoTargetWarning,
    PerDomain,
    TCAEstimator,
    make_pipeline,
    pack_domains,
    portfolio,
)
from shallowda.auto_adapt import SOURCE_ONLY
from shallowda.kernels import moments
from shallowda.model_selection import (
    CircularValidation,
    PredictionEntropy,
    StratifiedSourceTargetKFold,
    source_accuracy,
)

FEW = {
    "TCA": make_pipeline(StandardScaler(), TCAEstimator(2)),
    "JDA": make_pipeline(StandardScaler(), JDA(2)),
    "CORAL": CORAL(estimator=LogisticRegression()),
}


def small(**options):
    return AutoAdapt(FEW, **{"scoring": {}, **options})


def two_domains(n=200, shift=(0.0, 0.0, 4.0, 2.0), target_shares=(1 / 3, 1 / 3, 1 / 3), seed=0):
    """Three classes; the target moved, with class shares of its own."""
    rng = np.random.RandomState(seed)
    ys = rng.choice(3, n)
    yt = rng.choice(3, n, p=target_shares)
    means = 3 * np.eye(3, 4)
    Xs, Xt = means[ys] + rng.randn(n, 4), means[yt] + rng.randn(n, 4) + shift
    return SimpleNamespace(Xs=Xs, ys=ys, Xt=Xt, yt=yt, packed=pack_domains(Xs, ys, Xt)[:2])


@pytest.fixture(scope="module")
def moved():
    return two_domains()


@pytest.fixture(scope="module")
def fitted(moved):
    return AutoAdapt().fit(*moved.packed)


# ------------------------------------------------------------------------------------------------ the vote


def test_the_vote_serves_the_target(fitted, moved):
    assert fitted.fallback_ == ""
    alone = make_pipeline(StandardScaler(), LogisticRegression()).fit(*moved.packed)
    assert fitted.score(moved.Xt, moved.yt) > alone.score(moved.Xt, moved.yt) + 0.1
    np.testing.assert_array_equal(fitted.pseudo_labels_, fitted.predict(moved.Xt))


def test_the_vote_by_hand(moved):
    X, y = moved.packed
    auto = small().fit(X, y)
    models = {SOURCE_ONLY: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), **FEW}
    labels = np.array([clone(model).fit(X, y).predict(moved.Xt) for model in models.values()])
    counts = np.array(
        [(labels == code).sum(axis=0) + 0.5 * (labels[0] == code) for code in range(3)]
    )  # ties: the source
    agreement = (labels == counts.argmax(axis=0)).mean(axis=1)
    weights = agreement**4 / np.sum(agreement**4)
    assert auto.weights_ == pytest.approx(dict(zip(models, weights, strict=True)))
    shares = np.array([[weights[labels[:, i] == code].sum() for code in range(3)] for i in range(len(moved.Xt))])
    np.testing.assert_allclose(auto.predict_proba(moved.Xt), shares)
    np.testing.assert_array_equal(auto.predict(moved.Xt), shares.argmax(axis=1))


def test_source_rows_go_by_the_source_maps(moved):
    auto = AutoAdapt({"CORAL": FEW["CORAL"]}, scoring={}).fit(*moved.packed)
    shares = auto.predict_proba(moved.Xs, sample_domain=np.zeros(200))
    coral = auto.estimators_["CORAL"][-1]
    of_source = coral.predict(moved.Xs, sample_domain=np.zeros(200))
    weight = auto.weights_["CORAL"]
    assert np.all(shares[np.arange(200), of_source] >= weight - 1e-12)
    assert source_accuracy(auto, *moved.packed) == np.mean(shares.argmax(axis=1) == moved.ys)


def test_the_best_alone(moved):
    auto = small(prediction="best", scoring={"circular": CircularValidation()}).fit(*moved.packed)
    assert list(auto.estimators_) == [auto.best_candidate_] == [auto.results_["candidate"][0]]
    np.testing.assert_array_equal(auto.predict(moved.Xt), auto.best_estimator_.predict(moved.Xt))
    assert set(np.unique(auto.predict_proba(moved.Xt))) == {0.0, 1.0}


def test_labels_and_marks_of_any_kind(moved):
    X, y = moved.packed
    expected = small().fit(X, y).predict(moved.Xt)
    names = np.array(["a", "b", "c"])
    domain = np.r_[np.zeros(200, int), np.full(200, -1)]
    order = np.random.RandomState(0).permutation(400)
    shuffled = small().fit(X[order], y[order])
    np.testing.assert_array_equal(shuffled.predict(moved.Xt), expected)
    truth = np.r_[moved.ys, 2 - moved.yt]  # wrong labels of target rows do not matter
    np.testing.assert_array_equal(small().fit(X, names[truth], sample_domain=domain).predict(moved.Xt), names[expected])
    signs = np.where(y == 0, -1, 1)
    binary = small().fit(X, signs, sample_domain=domain)
    assert set(binary.predict(moved.Xt)) <= {-1, 1}
    for dtype, kinds in ((bool, "b"), (np.uint8, "iu")):
        auto = small().fit(X, (truth == 0).astype(dtype), sample_domain=domain)
        assert auto.predict(moved.Xt).dtype == dtype
        assert auto.best_estimator_.predict(moved.Xt).dtype.kind in kinds
        np.testing.assert_array_equal(auto.predict(moved.Xt), binary.predict(moved.Xt) == -1)
    frame = pd.DataFrame(X, columns=list("abcd"))
    np.testing.assert_array_equal(small().fit(frame, y).predict(frame[200:]), expected)


def test_deterministic_and_parallel(moved):
    one, again, parallel = (small(n_jobs=jobs).fit(*moved.packed) for jobs in (None, None, 2))
    for other in (again, parallel):
        np.testing.assert_array_equal(one.predict_proba(moved.Xt), other.predict_proba(moved.Xt))
        for key in set(one.results_) - {"seconds"}:
            np.testing.assert_array_equal(one.results_[key], other.results_[key])


def test_candidates_without_a_seed_get_one(moved):
    trees = {"tree": DecisionTreeClassifier(max_features=1)}
    one, again = (AutoAdapt(trees, scoring={}).fit(*moved.packed) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(moved.Xt), again.predict_proba(moved.Xt))
    assert trees["tree"].random_state is None


def test_scorers_see_the_vote_and_not_its_best_member(moved):
    X, y = moved.packed
    named = np.where(y < 0, -1, y + 1)
    auto = small().fit(X, named)
    assert source_accuracy(auto, X, named) == np.mean(
        auto.predict(moved.Xs, sample_domain=np.zeros(200)) == moved.ys + 1
    )
    search = GridSearchCV(
        small(), {"prediction": ["vote"]}, scoring=source_accuracy, cv=StratifiedSourceTargetKFold(2, random_state=0)
    ).fit(X, named)
    assert search.best_score_ > 0.8


def test_candidates_are_fitted_with_the_labels_they_are_about(moved):
    X, y = moved.packed
    names = np.array(["", "cat", "dog", "emu"])[np.where(y < 0, 0, y + 1)]
    heavy = make_pipeline(StandardScaler(), LogisticRegression(class_weight={"cat": 1.0, "dog": 1.0, "emu": 1e4}))
    auto = AutoAdapt({SOURCE_ONLY: heavy, **FEW}).fit(X, names)
    np.testing.assert_array_equal(
        auto.estimators_[SOURCE_ONLY].predict(moved.Xt), clone(heavy).fit(X, names).predict(moved.Xt)
    )
    assert set(auto.best_estimator_.classes_) == {"cat", "dog", "emu"}
    assert np.isfinite(auto.results_["circular"]).all()


def test_several_sources_at_predict(moved):
    near, far = moved.Xs[:100], 0.1 * moved.Xs[100:] - 10
    X, y, domain = pack_domains([near, far], [moved.ys[:100], moved.ys[100:]], moved.Xt)
    pipe = make_pipeline(PerDomain(StandardScaler()), LogisticRegression())
    auto = AutoAdapt({SOURCE_ONLY: pipe}, scoring={}).fit(X, y, sample_domain=domain)
    assert np.mean(auto.predict(far, sample_domain=np.ones(100)) == moved.ys[100:]) > 0.9


def test_preprocessing_that_looks_alike_is_kept_apart():
    rng = np.random.RandomState(0)
    X, y = rng.randn(120, 40), np.r_[np.arange(60) % 2, np.full(60, -1)]
    X[:, 36] += np.where(y >= 0, 4 * y, 4 * (np.arange(120) % 2))
    X[60:, :5] += 3
    heads = {
        name: make_pipeline(ColumnTransformer([("s", StandardScaler(), [*range(31), column])]), LogisticRegression())
        for name, column in {"without": 35, "with": 36}.items()
    }
    auto = AutoAdapt(heads, scoring={}).fit(X, y)
    found = dict(zip(auto.results_["candidate"], auto.results_["parameters"], strict=True))
    assert set(found) == {SOURCE_ONLY, "without", "with"}
    for name, model in heads.items():
        alone = clone(model).fit(X, y)
        np.testing.assert_array_equal(auto.estimators_[name].predict(X[60:]), alone.predict(X[60:]))


def test_supervised_first_steps_see_the_source_only():
    rng = np.random.RandomState(0)
    y = np.r_[np.arange(60) % 2, np.full(60, -1)]
    X = rng.randn(120, 2)
    X[:, 0] += 3 * (np.arange(120) % 2)
    X[60:, 1] += 50  # the mark, taken for a class, would choose this feature
    piped = sklearn.pipeline.make_pipeline(SelectKBest(f_classif, k=1), LogisticRegression())
    auto = AutoAdapt({"chosen": piped}, scoring={}).fit(X, y)
    assert np.mean(auto.estimators_["chosen"].predict(X[60:]) == np.arange(60) % 2) > 0.9


# ------------------------------------------------------------------------------------------------ the leaderboard


def test_leaderboard(fitted, moved):
    table = pd.DataFrame(fitted.results_)
    assert set(table["candidate"]) == {SOURCE_ONLY, *portfolio(4)}
    assert list(table.columns) == [
        *(
            "candidate",
            "weight",
            "agreement",
            "changed",
            "circular",
            "mixed",
            "seconds",
            "error",
            "warnings",
            "parameters",
        )
    ]
    np.testing.assert_allclose(table["weight"].sum(), 1.0)
    assert table["candidate"][0] == fitted.best_candidate_
    ranks = table[["agreement", "circular", "mixed"]].rank(ascending=False).mean(axis=1)
    assert ranks.is_monotonic_increasing
    assert table.set_index("candidate").loc[SOURCE_ONLY, "changed"] == 0
    best = fitted.best_estimator_.predict(moved.Xt)
    alone = fitted.estimators_[SOURCE_ONLY].predict(moved.Xt)
    np.testing.assert_allclose(table["changed"][0], np.mean(best != alone))
    assert (table["error"] == "").all()


class Slow(TransformerMixin, BaseEstimator):
    """Takes half a second."""

    def __init__(self, number):
        self.number = number

    def fit(self, X, y=None):
        time.sleep(0.5)
        return self

    def transform(self, X):
        return X


class Broken(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        raise RuntimeError("it broke")

    def predict(self, X):
        raise NotImplementedError


def test_failures_are_reported_and_not_fatal(moved):
    auto = AutoAdapt({**FEW, "broken": Broken()}, scoring={})
    with pytest.warns(UserWarning, match=r"1 candidates failed and do not vote: \['broken'\]"):
        auto.fit(*moved.packed)
    table = pd.DataFrame(auto.results_).set_index("candidate")
    assert table.loc["broken", "error"] == "RuntimeError: it broke"
    assert table.loc["broken", "weight"] == 0
    assert "broken" not in auto.estimators_
    with pytest.raises(ValueError, match="The source-only candidate failed: RuntimeError: it broke"):
        AutoAdapt({SOURCE_ONLY: Broken()}).fit(*moved.packed)
    with pytest.raises(ValueError, match="The candidate 'scaler' is no classifier"):
        AutoAdapt({"scaler": StandardScaler()}).fit(*moved.packed)


def test_a_bad_first_step_spares_the_others(moved):
    auto = AutoAdapt({**FEW, "wide": make_pipeline(PCA(50), LogisticRegression())}, scoring={})
    with pytest.warns(UserWarning, match=r"failed and do not vote: \['wide'\]"):
        auto.fit(*moved.packed)
    assert "n_components=50" in dict(zip(auto.results_["candidate"], auto.results_["error"], strict=True))["wide"]


def test_scoring_is_checked(moved):
    with pytest.raises(ValueError, match=r"scoring\['acc'\] must be a scorer"):
        AutoAdapt(FEW, scoring={"acc": "accuracy"}).fit(*moved.packed)
    with pytest.raises(ValueError, match="'weight' is a column of results_ already"):
        AutoAdapt(FEW, scoring={"weight": CircularValidation()}).fit(*moved.packed)


def test_one_class(moved):
    X, _ = moved.packed
    with pytest.raises(ValueError, match="at least two classes in the source; there is 1 class"):
        small().fit(X, np.zeros(400), sample_domain=np.r_[np.zeros(200), np.full(200, -1)])


def test_own_candidates(moved):
    plain = {
        SOURCE_ONLY: KNeighborsClassifier(3),
        "piped": Pipeline([("s", StandardScaler()), ("t", KNeighborsClassifier())]),
    }
    auto = AutoAdapt(plain, scoring={}).fit(*moved.packed)
    assert list(auto.estimators_) == [SOURCE_ONLY, "piped"]
    alone = KNeighborsClassifier(3).fit(moved.Xs, moved.ys)
    np.testing.assert_array_equal(auto.estimators_[SOURCE_ONLY].predict(moved.Xt), alone.predict(moved.Xt))
    assert not hasattr(plain[SOURCE_ONLY], "classes_")  # the user's own stay unfitted


# ------------------------------------------------------------------------------------------------ ways back


def test_no_shift():
    data = two_domains(shift=0.0)
    auto = AutoAdapt().fit(*data.packed)
    assert auto.fallback_.startswith("no shift is detectable (p = ")
    assert auto.best_candidate_ == SOURCE_ONLY
    assert auto.weights_ == {SOURCE_ONLY: 1.0}
    alone = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*data.packed)
    np.testing.assert_array_equal(auto.predict(data.Xt), alone.predict(data.Xt))


def test_label_shift():
    for seed in range(3):
        data = two_domains(400, shift=0.0, target_shares=(0.85, 0.1, 0.05), seed=seed)
        auto = AutoAdapt().fit(*data.packed)
        assert auto.fallback_.startswith("class shares are what changed")
        matched = make_pipeline(StandardScaler(), JDA(2)).fit(*data.packed).score(data.Xt, data.yt)
        assert auto.score(data.Xt, data.yt) >= matched  # adapting would have hurt


def test_a_class_missing_from_the_target():
    for seed in range(3):
        data = two_domains(300, shift=0.0, target_shares=(0.5, 0.5, 0.0), seed=seed)
        auto = AutoAdapt().fit(*data.packed)
        alone = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*data.packed)
        assert auto.score(data.Xt, data.yt) >= alone.score(data.Xt, data.yt) - 0.01


def test_tiny_target(moved):
    X, y, _ = pack_domains(moved.Xs, moved.ys, moved.Xt[:5])
    auto = small().fit(X, y)
    assert auto.fallback_ == "5 target rows for 3 classes are too few to adapt to"
    assert list(auto.results_["candidate"]) == [SOURCE_ONLY]
    for candidates in (FEW, None):  # CORAL needs two rows, and so do others
        auto = AutoAdapt(candidates).fit(*pack_domains(moved.Xs, moved.ys, moved.Xt[:1])[:2])
        assert auto.fallback_.startswith("1 target rows")
        assert auto.best_candidate_ == SOURCE_ONLY


def test_scores_that_are_refused_are_nan(moved):
    scoring = {"entropy": PredictionEntropy()}
    table = pd.DataFrame(AutoAdapt(FEW, scoring=scoring).fit(*moved.packed).results_).set_index("candidate")
    assert table["entropy"].isna().to_dict() == {SOURCE_ONLY: False, "CORAL": False, "TCA": True, "JDA": True}
    assert "every prediction here is certain" in table.loc["TCA", "warnings"]
    assert (table["error"] == "").all()


def test_classes_that_are_not_to_be_told_apart(moved):
    X, y = moved.packed
    shuffled = np.where(
        y < 0, y, np.random.RandomState(0).permutation(np.r_[moved.ys, np.full(200, -1)])[np.argsort(y < 0)]
    )
    shuffled = np.r_[np.random.RandomState(0).permutation(moved.ys), np.full(200, -1)]
    auto = small().fit(X, shuffled)
    assert auto.fallback_.startswith(
        "the classes are hard to tell apart even on the source (balanced held-out accuracy"
    )


def test_chance_is_that_of_the_classes_that_can_be_judged():
    rng = np.random.RandomState(0)
    ys = np.r_[np.repeat([0, 1], 40), np.repeat(np.arange(2, 10), 3)]
    X, y, _ = pack_domains(rng.randn(104, 5), ys, rng.randn(100, 5) + 2)
    assert small().fit(X, y).fallback_.startswith("the classes are hard to tell apart even on the source")


def test_few_rows_of_each_class_are_not_judged():
    rng = np.random.RandomState(0)
    ys = np.repeat(np.arange(8), 4)
    X, y, _ = pack_domains(10 * np.eye(8)[ys] + rng.randn(32, 8), ys, 10 * np.eye(8)[ys] + rng.randn(32, 8) + 3)
    assert small().fit(X, y).fallback_ == ""


def test_nothing_varies():
    y = np.r_[np.arange(60) % 2, np.full(60, -1)]
    auto = small().fit(np.ones((120, 3)), y)
    assert list(auto.results_["candidate"]) == [SOURCE_ONLY]
    assert auto.fallback_ == "no feature varies, or a domain has a single row"


def test_no_target_at_all(moved):
    with pytest.warns(NoTargetWarning):
        auto = small().fit(moved.Xs, moved.ys)
    assert auto.fallback_ == "there is no target row"
    assert auto.report_ is None
    assert list(auto.results_["candidate"]) == [SOURCE_ONLY]


# ------------------------------------------------------------------------------------------------ budgets


def test_sample_weight_is_refused(moved):
    """Most candidates could not use it, and the vote would be one of unlike problems."""
    X, y = moved.packed
    with pytest.raises(TypeError, match=r"AutoAdapt takes no sample_weight.*CORAL\(estimator=LogisticRegression\(\)\)"):
        AutoAdapt().fit(X, y, sample_weight=np.ones(len(X)))


def test_time_budget(moved):
    auto = AutoAdapt(FEW, scoring={}, time_budget=1e-9).fit(*moved.packed)
    errors = dict(zip(auto.results_["candidate"], auto.results_["error"], strict=True))
    assert errors.pop(SOURCE_ONLY) == ""
    assert set(errors.values()) == {"not tried: the time budget was spent"}
    assert auto.weights_ == {SOURCE_ONLY: 1.0}


def test_time_budget_is_one_for_all_groups(moved):
    slow = {f"{i}": make_pipeline(Slow(i), LogisticRegression()) for i in range(6)}
    auto = AutoAdapt(slow, scoring={}, time_budget=2.0).fit(*moved.packed)
    assert np.sum(np.char.startswith(auto.results_["error"], "not tried")) >= 3


def test_memory_budget_and_seed_reach_the_candidates(moved):
    auto = AutoAdapt({"JDA": JDA(2)}, scoring={}, memory_budget=10**8).fit(*moved.packed)
    assert auto.estimators_["JDA"][-1].memory_budget == 10**8
    poor = AutoAdapt({"JDA": JDA(2)}, scoring={}, memory_budget=1)
    with pytest.warns(UserWarning, match="1 candidates failed"):
        poor.fit(*moved.packed)
    assert "memory_budget" in dict(zip(poor.results_["candidate"], poor.results_["error"], strict=True))["JDA"]


def test_resumes_from_memory(moved, tmp_path, caplog):
    first = small(memory=str(tmp_path)).fit(*moved.packed)
    with caplog.at_level(logging.INFO, logger="shallowda"):
        second = small(memory=str(tmp_path)).fit(*moved.packed)
    assert not [record for record in caplog.records if "order" in record.message]  # nothing was solved again
    np.testing.assert_array_equal(first.predict_proba(moved.Xt), second.predict_proba(moved.Xt))
    np.testing.assert_array_equal(first.results_["seconds"], second.results_["seconds"])


def test_candidates_of_one_scaling_share_their_moments(moved, monkeypatch):
    calls = []
    compute = moments._mean_and_scatter
    monkeypatch.setattr(moments, "_mean_and_scatter", lambda rows: calls.append(rows.shape) or compute(rows))
    same = {f"{k} components": make_pipeline(StandardScaler(), TCAEstimator(k)) for k in (1, 2, 3)}
    auto = AutoAdapt(same, scoring={}).fit(*moved.packed)
    assert calls.count((400, 4)) == 1
    for k in (1, 2, 3):
        own = make_pipeline(StandardScaler(), TCAEstimator(k)).fit(*moved.packed)
        np.testing.assert_array_equal(auto.estimators_[f"{k} components"].predict(moved.Xt), own.predict(moved.Xt))


def test_shared_moments_end_with_their_context():
    X = np.random.RandomState(0).randn(30, 3)
    with moments.shared_moments():
        first = moments.mean_and_scatter(X)
        assert moments.mean_and_scatter(X)[1] is first[1]
        assert moments.mean_and_scatter(X[:20])[1] is not first[1]
    assert moments.mean_and_scatter(X)[1] is not first[1]


@pytest.mark.filterwarnings("ignore::shallowda.NoTargetWarning")
@parametrize_with_checks(
    [AutoAdapt({"CORAL": CORAL()}, scoring={})],
    expected_failed_checks=lambda _: {"check_classifiers_classes": "labels {-1, +1}: -1 is the mark"},
)
def test_check_estimator(estimator, check):
    check(estimator)
