"""Scores against formulas written out by other means, and what each refuses."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    balanced_accuracy_score,
    check_scoring,
    make_scorer,
    r2_score,
    roc_auc_score,
    silhouette_score,
)
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from shallowda import (
    ARTL,
    CORAL,
    JDA,
    KMM,
    LabeledOnly,
    OneNearestNeighbor,
    PerDomain,
    SubspaceAlignment,
    TCAEstimator,
    make_pipeline,
)
from shallowda.metrics import coral_distance, mmd
from shallowda.model_selection import (
    CircularValidation,
    ClusterValidity,
    DeepEmbeddedValidation,
    EmbeddingDiscrepancy,
    ImportanceWeightedAccuracy,
    InformationMaximization,
    MixVal,
    PredictionEntropy,
    RankEnsemble,
    SoftNeighborhoodDensity,
    SourceTargetKFold,
    StratifiedSourceTargetKFold,
    source_accuracy,
    source_score,
    target_accuracy_scorer,
)

PROBABILISTIC = [PredictionEntropy(), InformationMaximization(), SoftNeighborhoodDensity()]
OTHERS = [
    ImportanceWeightedAccuracy(),
    ImportanceWeightedAccuracy(weights="kmm"),
    ImportanceWeightedAccuracy(weights="ulsif", space="input"),
    DeepEmbeddedValidation(),
    CircularValidation(),
    MixVal(),
    ClusterValidity(),
    ClusterValidity(space="embedding"),
    EmbeddingDiscrepancy(),
    EmbeddingDiscrepancy(metric="coral"),
    EmbeddingDiscrepancy(metric="a_distance"),
]
ALL = [source_accuracy, *PROBABILISTIC, *OTHERS]


def logistic(shifted, **options):
    return TCAEstimator(3, estimator=LogisticRegression(), **options).fit(shifted.X, shifted.y)


class Fixed(ClassifierMixin, BaseEstimator):
    """Says what it was told to, whatever it is fitted on."""

    def __init__(self, probabilities):
        self.probabilities = probabilities
        self.classes_ = np.arange(probabilities.shape[1])

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return self.probabilities

    def predict(self, X):
        return self.probabilities.argmax(axis=1)


@pytest.fixture(scope="module")
def fixed(shifted):
    """A classifier of known probabilities for the rows of `shifted`."""
    return Fixed(np.random.RandomState(1).dirichlet([0.5, 1, 2], 150))


@pytest.mark.parametrize("scorer", ALL, ids=repr)
class TestEveryScorer:
    def test_marks_domains_and_order_are_one_thing(self, scorer, shifted):
        model = logistic(shifted)
        expected = scorer(model, shifted.X, shifted.y)
        assert np.isfinite(expected)
        assert scorer(model, shifted.X, shifted.y) == pytest.approx(expected, rel=1e-9)
        wrong = np.where(shifted.domain < 0, 2 - shifted.truth, shifted.truth)  # target labels do not count
        assert scorer(model, shifted.X, wrong, sample_domain=shifted.domain) == pytest.approx(expected, rel=1e-9)
        names = np.array(["a", "b", "c"])[shifted.truth]
        named = TCAEstimator(3, estimator=LogisticRegression()).fit(shifted.X, names, sample_domain=shifted.domain)
        np.testing.assert_allclose(scorer(named, shifted.X, names, sample_domain=shifted.domain), expected)

    def test_in_cross_validation_with_and_without_routing(self, scorer, shifted):
        model = CORAL(estimator=LogisticRegression())
        cv = StratifiedSourceTargetKFold(3, random_state=0, target_test=True)
        plain = cross_validate(model, shifted.X, shifted.y, scoring=scorer, cv=cv, error_score="raise")
        with sklearn.config_context(enable_metadata_routing=True):
            routed = cross_validate(
                model,
                shifted.X,
                shifted.truth,
                scoring=scorer,
                cv=cv,
                params={"sample_domain": shifted.domain},
                error_score="raise",
            )
        np.testing.assert_allclose(plain["test_score"], routed["test_score"])

    def test_in_a_pipeline_each_row_by_its_own_map(self, scorer, shifted):
        far = shifted.X + np.where(shifted.domain >= 0, 2.0, 0.0)[:, None]
        pipe = make_pipeline(PerDomain(StandardScaler()), LogisticRegression()).fit(far, shifted.y)
        scaled = PerDomain(StandardScaler()).fit_transform(far, shifted.y)
        if isinstance(scorer, (CircularValidation, MixVal)) or getattr(scorer, "space", "") == "input":
            return  # these look at the rows before the scaling
        labelled = shifted.y >= 0
        plain = LogisticRegression().fit(scaled[labelled], shifted.y[labelled])
        np.testing.assert_allclose(scorer(pipe, far, shifted.y), scorer(plain, scaled, shifted.y))

    def test_data_frames(self, scorer, shifted):
        frame = pd.DataFrame(shifted.X, columns=list("abcd"))
        model = TCAEstimator(3, estimator=LogisticRegression()).fit(frame, shifted.y)
        np.testing.assert_allclose(scorer(model, frame, shifted.y), scorer(logistic(shifted), shifted.X, shifted.y))

    def test_clone_and_repr(self, scorer):
        assert repr(sklearn.clone(scorer)) == repr(scorer)


@pytest.mark.parametrize("scorer", [*PROBABILISTIC, *OTHERS], ids=repr)
def test_target_rows_are_asked_for(scorer, shifted):
    source = shifted.domain >= 0
    with pytest.raises(ValueError, match=r"needs at least \d of them; there are 0.*target_test=True"):
        scorer(logistic(shifted), shifted.X[source], shifted.y[source])


@pytest.mark.parametrize("scorer", PROBABILISTIC, ids=repr)
def test_certain_predictions_are_refused(scorer, shifted):
    with pytest.raises(ValueError, match=r"every prediction here is certain \(one-hot.*LogisticRegression"):
        scorer(TCAEstimator(3).fit(shifted.X, shifted.y), shifted.X, shifted.y)
    without = TCAEstimator(3, estimator=sklearn.svm.LinearSVC()).fit(shifted.X, shifted.y)
    with pytest.raises(ValueError, match="needs class probabilities, and TCAEstimator has none"):
        scorer(without, shifted.X, shifted.y)


@pytest.mark.parametrize("scorer", OTHERS, ids=repr)
def test_nearest_neighbours_are_taken(scorer, shifted):
    assert np.isfinite(scorer(JDA(3).fit(shifted.X, shifted.y), shifted.X, shifted.y))


@pytest.mark.parametrize("scorer", OTHERS, ids=repr)
def test_classifiers_that_embed_nothing(scorer, shifted):
    assert np.isfinite(scorer(ARTL().fit(shifted.X, shifted.y), shifted.X, shifted.y))


def test_which_rows_are_target_rows_must_be_said(shifted):
    with pytest.raises(ValueError, match="must know which rows are target rows: pass y"):
        MixVal()(logistic(shifted), shifted.X)
    with pytest.raises(ValueError, match="needs the labels of the source rows: pass y"):
        CircularValidation()(logistic(shifted), shifted.X, sample_domain=shifted.domain)


def test_parameters_are_validated(shifted):
    for scorer in (
        ImportanceWeightedAccuracy(weights="none"),
        SoftNeighborhoodDensity(temperature=0),
        MixVal(share=0.5),
        ClusterValidity(space="output"),
        EmbeddingDiscrepancy(metric="kl"),
    ):
        with pytest.raises(ValueError, match=f"parameter of {type(scorer).__name__} must be"):
            scorer(logistic(shifted), shifted.X, shifted.y)


# ------------------------------------------------------------------------------------------------ formulas


def test_entropy_and_mutual_information(fixed, shifted):
    P = fixed.probabilities[shifted.domain < 0]
    entropy = np.mean([-sum(p * np.log(p) for p in row if p > 0) for row in P])
    np.testing.assert_allclose(PredictionEntropy()(fixed, shifted.X, shifted.y), -entropy)
    # mutual information of the joint distribution that has P_ic / n for row i and class c
    joint = P / len(P)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    information = np.sum(joint * np.log(joint / independent))
    np.testing.assert_allclose(InformationMaximization()(fixed, shifted.X, shifted.y), information)


def test_soft_neighbourhood_density(fixed, shifted):
    P = fixed.probabilities[shifted.domain < 0]
    unit = P / np.linalg.norm(P, axis=1, keepdims=True)
    total = 0.0
    for i in range(len(unit)):
        scores = np.array([unit[i] @ unit[j] / 0.1 for j in range(len(unit)) if j != i])
        shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        total += -np.sum(shares * np.log(shares))
    got = SoftNeighborhoodDensity(temperature=0.1)(fixed, shifted.X, shifted.y)
    np.testing.assert_allclose(got, total / len(unit))
    assert 0 <= got <= np.log(len(unit) - 1)


def test_figures_of_skada():
    """What skada 0.6.0 printed for the same probabilities; it averages the entropy over rows and classes."""
    fixed = Fixed(np.random.RandomState(0).dirichlet([0.5, 1, 2], 150))
    y = np.r_[np.zeros(90, int), np.full(60, -1)]
    X = np.zeros((150, 1))
    np.testing.assert_allclose(SoftNeighborhoodDensity()(fixed, X, y), 3.1616195699208958)
    np.testing.assert_allclose(PredictionEntropy()(fixed, X, y) / 3, -0.24067636702669254, rtol=1e-6)


class Known(ImportanceWeightedAccuracy):
    """With weights that are known."""

    def _ratio(self, view):
        return np.arange(1.0, len(view.source) + 1)


class KnownDEV(DeepEmbeddedValidation):
    _ratio = Known._ratio


def test_importance_weights_enter_as_they_should(fixed, shifted):
    source = shifted.domain >= 0
    correct = fixed.predict(None)[source] == shifted.truth[source]
    w = np.arange(1.0, source.sum() + 1)
    np.testing.assert_allclose(Known()(fixed, shifted.X, shifted.y), np.sum(w * correct) / np.sum(w))
    # the control variate: the value at mean weight 1 of the regression line of w l on w
    slope, intercept = np.polyfit(w, w * ~correct, 1)
    np.testing.assert_allclose(KnownDEV()(fixed, shifted.X, shifted.y), 1 - (slope + intercept))


@pytest.mark.parametrize("weights", ["discriminative", "kmm", "ulsif"])
def test_importance_weights_see_covariate_shift(weights):
    rng = np.random.RandomState(0)
    Xs, Xt = rng.randn(800, 1), 0.5 * rng.randn(800, 1) + 1  # a rule that holds in both, learned in part
    model = LogisticRegression().fit([[-10.0], [10.0]], [0, 1])  # right where x is positive, so on most of the target
    ys = np.where((Xs[:, 0] > 0) | (rng.rand(800) < 0.4), 1, 0)
    X, y = np.r_[Xs, Xt], np.r_[ys, np.full(800, -1)]
    truth = np.mean(model.predict(Xt) == np.where((Xt[:, 0] > 0) | (rng.rand(800) < 0.4), 1, 0))
    plain = source_accuracy(model, X, y)
    assert abs(plain - truth) > 0.1
    for scorer in (ImportanceWeightedAccuracy(weights=weights), DeepEmbeddedValidation(weights=weights)):
        assert abs(scorer(model, X, y) - truth) < 0.06


def test_circular_validation_by_hand(shifted):
    model = SubspaceAlignment(2).fit(shifted.X, shifted.y)
    target, source = shifted.domain < 0, shifted.domain >= 0
    back = np.where(target, model.predict(shifted.X), -1)
    returned = SubspaceAlignment(2).fit(shifted.X, back).predict(shifted.X[source])
    expected = balanced_accuracy_score(shifted.truth[source], returned)
    np.testing.assert_allclose(CircularValidation()(model, shifted.X, shifted.y), expected)


def test_circular_validation_where_one_class_is_predicted(shifted):
    constant = Fixed(np.tile([0.2, 0.5, 0.3], (150, 1)))
    np.testing.assert_allclose(CircularValidation()(constant, shifted.X, shifted.y), 1 / 3)


def test_mixed_rows_of_a_known_boundary():
    X = np.array([[-3.0], [-1.0], [1.0], [3.0], [0.0]])
    model = LogisticRegression().fit([[-1.0], [1.0]], [0, 1])
    y = [-1, -1, -1, -1, 0]
    # every pair that can be drawn, with the label of its larger part
    pairs = [(a, b) for a in X[:4, 0] for b in X[:4, 0]]
    right = {same: [] for same in (True, False)}
    for a, b in pairs:
        right[(a > 0) == (b > 0)].append((0.55 * a + 0.45 * b > 0) == (a > 0))
    expected = np.mean([np.mean(found) for found in right.values()])
    assert 0.5 < expected < 1
    got = MixVal(n_repeats=4000)(model, X, y)
    np.testing.assert_allclose(got, expected, atol=0.02)


def test_cluster_validity(shifted, fixed):
    target = shifted.domain < 0
    expected = silhouette_score(shifted.X[target], fixed.predict(None)[target])
    np.testing.assert_allclose(ClusterValidity()(fixed, shifted.X, shifted.y), expected)
    constant = Fixed(np.tile([0.2, 0.5, 0.3], (150, 1)))
    assert ClusterValidity()(constant, shifted.X, shifted.y) == -1
    model = logistic(shifted)
    Z = model.transform(shifted.X)[target]
    np.testing.assert_allclose(
        ClusterValidity(space="embedding")(model, shifted.X, shifted.y),
        silhouette_score(Z, model.predict(shifted.X[target])),
    )


def test_discrepancy_of_the_embedding(shifted):
    model = CORAL().fit(shifted.X, shifted.y)
    Z = StandardScaler().fit_transform(model.transform(shifted.X, sample_domain=shifted.domain))
    source = shifted.domain >= 0
    for name, distance in {"mmd": mmd, "coral": coral_distance}.items():
        got = EmbeddingDiscrepancy(metric=name)(model, shifted.X, shifted.y)
        np.testing.assert_allclose(got, -distance(Z[source], Z[~source]))
    assert EmbeddingDiscrepancy(metric="coral")(model, shifted.X, shifted.y) > EmbeddingDiscrepancy(metric="coral")(
        LogisticRegression().fit(shifted.Xs, shifted.ys), shifted.X, shifted.y
    )


def test_minus_one_as_a_class_needs_domains(shifted):
    signs = np.where(shifted.truth == 0, 1, -1)
    model = TCAEstimator(3).fit(shifted.X, signs, sample_domain=shifted.domain)
    with pytest.raises(ValueError, match="-1 is one of the classes and the mark of target rows as well"):
        source_accuracy(model, shifted.X, signs)
    assert CircularValidation()(model, shifted.X, signs, sample_domain=shifted.domain) > 0.6


def test_weights_do_not_depend_on_the_order_of_rows(shifted):
    ordered = np.argsort(shifted.truth, kind="stable")
    for scorer in (ImportanceWeightedAccuracy(weights="ulsif"), DeepEmbeddedValidation(weights="ulsif")):
        one, other = (scorer(logistic(shifted), shifted.X[rows], shifted.y[rows]) for rows in (ordered, np.arange(150)))
        assert abs(one - other) < 0.05


def test_domains_that_do_not_overlap_are_refused(shifted):
    far = shifted.X + np.where(shifted.domain < 0, 1000.0, 0.0)[:, None]
    model = LogisticRegression().fit(shifted.Xs, shifted.ys)
    with pytest.raises(ValueError, match="no source row is likely in the target; the domains do not overlap"):
        ImportanceWeightedAccuracy(weights="ulsif")(model, far, shifted.y)


# ------------------------------------------------------------------------------------------------ choosing


def test_scores_prefer_the_model_that_serves_the_target(shifted):
    """One dimension carries the shift: the source-only model may rest on it, adaptation takes it out."""
    good = TCAEstimator(3, estimator=LogisticRegression()).fit(shifted.X, shifted.y)
    rng = np.random.RandomState(0)
    labels = np.where(shifted.domain < 0, -1, rng.permutation(shifted.truth))
    bad = TCAEstimator(3, estimator=LogisticRegression()).fit(shifted.X, labels)
    assert np.mean(good.predict(shifted.Xt) == shifted.yt) > np.mean(bad.predict(shifted.Xt) == shifted.yt) + 0.3
    for scorer in (
        source_accuracy,
        ImportanceWeightedAccuracy(),
        DeepEmbeddedValidation(),
        CircularValidation(),
        PredictionEntropy(),
        InformationMaximization(),
        ClusterValidity(),
        MixVal(),
    ):
        assert scorer(good, shifted.X, shifted.y) > scorer(bad, shifted.X, shifted.y), scorer


def test_rank_ensemble():
    results = {
        "mean_test_a": np.array([0.1, 0.9, 0.5, np.nan]),
        "mean_test_b": np.array([3.0, 1.0, 3.0, 9.0]),
        "mean_test_c": np.array([5.0, 6.0, 7.0, 1.0]),
        "std_test_a": np.zeros(4),
        "params": [{}] * 4,
    }
    # ranks: a 3 1 2 4, b 2.5 4 2.5 1, c 3 2 1 4
    assert RankEnsemble()(results) == 2
    assert RankEnsemble(weights={"a": 1.0})(results) == 1
    assert RankEnsemble(weights={"a": 0.2, "b": 1.0})(results) == 3
    with pytest.raises(ValueError, match="no scores to rank by"):
        RankEnsemble(weights={})(results)
    with pytest.raises(ValueError, match=r"All scores are NaN, of \['a'\]"):
        RankEnsemble()({"mean_test_a": np.full(3, np.nan)})
    with pytest.raises(ValueError, match=r"weights names \['d'\], and the search has the scores \['a', 'b', 'c'\]"):
        RankEnsemble(weights={"d": 1.0})(results)


def test_rank_ensemble_in_a_search(shifted):
    scoring = {"source": source_accuracy, "mixed": MixVal(), "clusters": ClusterValidity()}
    cv = StratifiedSourceTargetKFold(3, random_state=0, target_test=True)
    search = GridSearchCV(
        TCAEstimator(), {"n_components": [1, 2, 3]}, scoring=scoring, refit=RankEnsemble(), cv=cv, error_score="raise"
    ).fit(shifted.X, shifted.y)
    assert search.best_index_ == RankEnsemble()(search.cv_results_)
    assert search.best_params_ == {"n_components": [1, 2, 3][search.best_index_]}


def test_the_oracle_looks_at_nothing_but_its_own_rows(shifted):
    model = TCAEstimator(3).fit(shifted.X, shifted.y)
    oracle = target_accuracy_scorer(shifted.Xt, shifted.yt)
    assert oracle(model, shifted.X[:5], shifted.y[:5]) == model.score(shifted.Xt, shifted.yt)
    search = GridSearchCV(
        TCAEstimator(), {"n_components": [1, 3]}, scoring=oracle, cv=StratifiedSourceTargetKFold(3, random_state=0)
    ).fit(shifted.X, shifted.y)
    assert search.best_score_ > 0.8


# ------------------------------------------------------------------------------ any score, by the source's own map


@pytest.mark.filterwarnings("ignore:KMM. the weights")
class TestSourceScore:
    @pytest.fixture
    def values(self, shifted):
        """A value that is linear in the features, and a target in other units."""
        target = shifted.domain < 0
        X = np.where(target[:, None], 3.0 * shifted.X + 5.0, shifted.X)
        return X, np.where(target, np.nan, shifted.X @ [2.0, -1.0, 0.5, 1.0]), ~target

    @pytest.mark.parametrize("scoring", ["r2", "neg_mean_absolute_error", make_scorer(r2_score)])
    def test_of_a_regressor(self, scoring, values):
        X, y, source = values
        pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(), Ridge(0.1)).fit(X, y)
        Z = pipe[:-1].fit_transform(X, y)[source]  # each row by its own map
        expected = check_scoring(scoring=scoring)(pipe[-1].estimator_, Z, y[source])
        assert source_score(scoring)(pipe, X, y) == pytest.approx(expected)
        plain = check_scoring(scoring=scoring)(pipe, X[source], y[source])
        assert plain < expected - 0.1  # the target's map

    @pytest.mark.parametrize("scoring", ["roc_auc_ovr", "balanced_accuracy", "neg_log_loss", "accuracy"])
    def test_of_a_classifier(self, scoring, shifted):
        source = shifted.domain >= 0
        pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(), LogisticRegression()).fit(shifted.X, shifted.y)
        Z = pipe[:-1].fit_transform(shifted.X, shifted.y)[source]
        expected = check_scoring(scoring=scoring)(pipe[-1].estimator_, Z, shifted.y[source])
        assert source_score(scoring)(pipe, shifted.X, shifted.y) == pytest.approx(expected)
        frame = pd.DataFrame(shifted.X, columns=list("abcd"))
        pipe.fit(frame, shifted.y)
        assert source_score(scoring)(pipe, frame, shifted.y) == pytest.approx(expected)

    def test_two_classes_by_decision_values(self, shifted):
        y = np.where(shifted.y > 0, 1, shifted.y)
        source = y >= 0
        model = CORAL(estimator=LinearSVC()).fit(shifted.X, y)
        decision = model.decision_function(shifted.X[source], sample_domain=np.zeros(source.sum()))
        assert source_score("roc_auc")(model, shifted.X, y) == roc_auc_score(y[source], decision)

    @pytest.mark.parametrize("routing", [False, True])
    def test_in_a_search(self, routing, values):
        X, y, source = values
        pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(), Ridge(0.1))
        cv = SourceTargetKFold(3, random_state=0)
        with sklearn.config_context(enable_metadata_routing=routing):
            search = GridSearchCV(
                pipe, {"ridge__estimator__alpha": [0.1, 1e6]}, scoring=source_score("r2"), cv=cv, error_score="raise"
            ).fit(X, y, **({"sample_domain": np.where(source, 0, -1)} if routing else {}))
        assert search.best_params_ == {"ridge__estimator__alpha": 0.1}
        assert search.best_score_ > 0.95

    def test_a_weighted_regressor_knows_nan_alone_as_mark(self, shifted):
        source = shifted.domain >= 0
        y = np.where(source, np.round(shifted.X @ [2.0, -1.0, 0.5, 1.0]), np.nan)
        assert np.sum(y == -1) > 2
        model = KMM(estimator=Ridge()).fit(shifted.X, y)
        assert source_score("r2")(model, shifted.X, y) == model.score(shifted.X[source], y[source])

    def test_accuracy_is_a_special_case(self, shifted):
        model = CORAL().fit(shifted.X, shifted.y)
        assert source_accuracy(model, shifted.X, shifted.y) == source_score("accuracy")(model, shifted.X, shifted.y)
        assert isinstance(source_accuracy, type(source_score("accuracy")))

    def test_what_it_refuses(self, shifted):
        model = TCAEstimator(3).fit(shifted.X, shifted.y)
        with pytest.raises(ValueError, match=r"'scorer' parameter of SourceScore must be a str among .*'r2'"):
            source_score("r3")  # at once: a search would make NaN of it
        with pytest.raises(ValueError, match="looks like it is a metric function"):
            source_score(balanced_accuracy_score)(model, shifted.X, shifted.y)
        with pytest.raises(AttributeError, match="decision_function"):
            source_score(lambda model, X, y: model.decision_function(X).sum())(model, shifted.X, shifted.y)

    def test_accuracy_of_values_is_refused_and_names_another_score(self, values):
        X, y, _ = values
        with pytest.raises(ValueError, match=r"accuracy counts classes, and y is continuous.*source_score\(\"r2\"\)"):
            source_accuracy(make_pipeline(CORAL(), Ridge()).fit(X, y), X, y)

    @pytest.mark.parametrize("last", [KMM(estimator=Ridge()), LabeledOnly(Ridge())], ids=["KMM", "LabeledOnly"])
    def test_score_of_a_regressor_on_marked_rows_names_it(self, last, values):
        X, y, _ = values
        with pytest.warns(UserWarning, match=r"so this is R\^2 on the source.*source_score\(\"r2\"\) asks for it"):
            clone(last).fit(X, y).score(X, y)

    def test_a_transformed_regressor_goes_inside(self, values):
        X, y, _ = values
        y = np.exp(y / 10)
        inside = TransformedTargetRegressor(Ridge(0.1), func=np.log, inverse_func=np.exp)
        pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(), inside).fit(X, y)
        assert source_score("r2")(pipe, X, y) > 0.9
        with pytest.raises(ValueError, match="NaN"):  # scikit-learn's, before any of our code is reached
            TransformedTargetRegressor(make_pipeline(CORAL(), Ridge())).fit(X, y)


# ------------------------------------------------------------------------- scikit-learn's own scoring on marked rows


class TestScikitLearnsScoring:
    def test_accuracy_counts_marked_rows_as_errors(self, shifted):
        """The trap that the guide names: such a scorer shows the labels to nobody who could say that they are marks."""
        cv = StratifiedSourceTargetKFold(3, random_state=0, target_test=True)
        for model in (
            TCAEstimator(3),
            ARTL(),
            make_pipeline(StandardScaler(), LogisticRegression()),
            make_pipeline(CORAL(), OneNearestNeighbor()),
        ):
            found = cross_validate(model, shifted.X, shifted.y, scoring="accuracy", cv=cv)["test_score"]
            assert np.all(found <= 30 / 90)

    def test_accuracy_on_source_rows_is_what_it_says(self, shifted, recwarn):
        cv = StratifiedSourceTargetKFold(3, random_state=0)
        found = cross_validate(TCAEstimator(3), shifted.X, shifted.y, scoring="accuracy", cv=cv)["test_score"]
        own = cross_validate(TCAEstimator(3), shifted.X, shifted.y, scoring=source_accuracy, cv=cv)["test_score"]
        np.testing.assert_array_equal(found, own)  # TCA has one map for both domains
        assert not recwarn

    def test_none_leaves_marked_rows_out_and_says_so(self, shifted):
        cv = StratifiedSourceTargetKFold(3, random_state=0, target_test=True)
        with pytest.warns(UserWarning, match="60 rows are marked as unlabelled and left out.*source_accuracy"):
            found = cross_validate(TCAEstimator(3), shifted.X, shifted.y, cv=cv)["test_score"]
        own = cross_validate(TCAEstimator(3), shifted.X, shifted.y, scoring=source_accuracy, cv=cv)["test_score"]
        np.testing.assert_array_equal(found, own)

    def test_minus_one_as_a_class_is_no_mark(self, shifted, recwarn):
        y = np.where(shifted.truth == 0, -1, 1)
        model = TCAEstimator(3).fit(shifted.X, y, sample_domain=shifted.domain)
        sklearn.metrics.get_scorer("accuracy")(model, shifted.Xt, np.where(shifted.yt == 0, -1, 1))
        assert not recwarn
