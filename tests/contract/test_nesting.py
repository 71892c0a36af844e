"""scikit-learn's tools that take y apart, inside a pipeline and around one: what is right, and what the user sees else.

Inside, after the adapter or as its estimator, every tool is right. Around a whole pipeline a tool takes the mark for a
class before any code of this package is reached. Where it hands y on as it was, nothing can be known at `fit`; where it
hands on codes, a warning names the cause. `AROUND` lists every such case, each with what the user sees.
"""

import re
import warnings
from typing import ClassVar

import numpy as np
import pytest
import sklearn
import sklearn.pipeline
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_selection import SelectKBest, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

import shallowda
from shallowda import (
    ARTL,
    CORAL,
    KMM,
    AutoAdapt,
    LabeledOnly,
    LearnedMarkWarning,
    NoTargetWarning,
    PerDomain,
    TCAEstimator,
    make_pipeline,
)
from shallowda.model_selection import StratifiedSourceTargetKFold, source_accuracy

CV = StratifiedSourceTargetKFold(2, random_state=0)


def pipeline():
    return make_pipeline(CORAL(ridge=0.1), LogisticRegression())


def calibration_by_temperature(inner):
    if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8):
        pytest.skip("scikit-learn calibrates by temperature from 1.8 on")
    return CalibratedClassifierCV(inner, cv=3, method="temperature")


TOOLS = {
    "calibration": lambda inner: CalibratedClassifierCV(inner, cv=3),
    "calibration on one model": lambda inner: CalibratedClassifierCV(inner, cv=3, ensemble=False),
    "calibration by temperature": calibration_by_temperature,
    "bagging": lambda inner: BaggingClassifier(inner, 3, random_state=0),
    "hard voting": lambda inner: VotingClassifier([("a", inner)]),
    "soft voting": lambda inner: VotingClassifier([("a", inner)], voting="soft"),
    "stacking": lambda inner: StackingClassifier([("a", inner)], cv=3),
    "one against the rest": OneVsRestClassifier,
    "one against one": OneVsOneClassifier,
    "output codes": lambda inner: OutputCodeClassifier(inner, random_state=0),
    "boosting": lambda inner: AdaBoostClassifier(inner, n_estimators=30, random_state=0),
    "semi-supervised": SelfTrainingClassifier,
    "fixed threshold": FixedThresholdClassifier,
    "tuned threshold": lambda inner: TunedThresholdClassifierCV(inner, cv=3),
}


@pytest.fixture(params=[3, 2], ids=["three classes", "two classes"])
def part(request, problem):
    """Rows, marked labels, domains and true target labels of three classes, or of the first two."""
    rows = problem.truth < request.param
    X, y, domain = problem.X[rows], problem.y[rows], problem.domain[rows]
    return X, y, domain, problem.truth[rows][domain < 0]


# ------------------------------------------------------------------------------------------------------------- inside


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS.keys())
def test_every_tool_is_right_after_the_adapter(tool, part):
    X, y, domain, yt = part
    n_classes = len(np.unique(yt))
    model = tool(LogisticRegression())
    if "threshold" in type(model).__name__.lower() and n_classes > 2:
        pytest.skip("thresholds are for two classes")
    if isinstance(model, SelfTrainingClassifier):  # knows the mark itself, and wants the rows that have it
        pipe = sklearn.pipeline.make_pipeline(CORAL(ridge=0.1), model).fit(X, y)
        assert np.mean(pipe.predict(X[domain < 0]) == yt) > 0.9
        return
    pipe = make_pipeline(CORAL(ridge=0.1), model).fit(X, y)
    assert isinstance(pipe[-1], LabeledOnly)
    np.testing.assert_array_equal(pipe.classes_, np.arange(n_classes))
    assert np.mean(pipe.predict(X[domain < 0]) == yt) > 0.9
    by_hand = clone(model).fit(CORAL(ridge=0.1).fit_transform(X, y)[domain >= 0], y[domain >= 0])
    np.testing.assert_array_equal(pipe.predict(X[domain < 0]), by_hand.predict(X[domain < 0]))


@pytest.mark.parametrize("name", ["calibration", "bagging", "soft voting", "one against the rest"])
def test_as_the_estimator_of_the_adapter(name, part):
    X, y, domain, yt = part
    model = CORAL(ridge=0.1, estimator=TOOLS[name](LogisticRegression())).fit(X, y)
    assert np.mean(model.predict(X[domain < 0]) == yt) > 0.9


def test_calibration_of_a_fitted_pipeline_on_labelled_rows(part):
    X, y, domain, yt = part
    pipe = pipeline().fit(X, y)
    model = CalibratedClassifierCV(FrozenEstimator(pipe), cv=3).fit(X[domain < 0], yt)
    assert np.mean(model.predict(X[domain < 0]) == yt) > 0.9


# ------------------------------------------------------------------------------------------------------------- around

ENCODED = r"tool around it has re-encoded y.*inside, after the adapter: make_pipeline\(adapter, BaggingClassifier"
OTHER_CLASS = r"All target rows have the label \d in y, which no source row has.*re-encoded.*inside, after the adapter"
SILENT = "the mark is one of its classes_, and scorers and displays of this package refuse the model"

#: Without metadata routing: what the user sees, as a warning (NoTargetWarning), an error (ValueError), or not at all.
AROUND = {
    "calibration": SILENT,
    "calibration on one model": NoTargetWarning,
    "calibration by temperature": SILENT,  # until predict: NumPy finds one class more than the pipeline has
    "bagging": NoTargetWarning,
    "hard voting": NoTargetWarning,
    "soft voting": NoTargetWarning,
    "stacking": NoTargetWarning,
    "one against the rest": NoTargetWarning,
    "one against one": NoTargetWarning,
    "output codes": r"a tool around this step has made of y \(OutputCodeClassifier\)",
    "boosting": "Pipeline doesn't support sample_weight",
    "semi-supervised": NoTargetWarning,
    "fixed threshold": "Only binary classification is supported",
    "tuned threshold": "Only binary classification is supported",
}


@pytest.mark.parametrize("name", AROUND)
def test_around_a_whole_pipeline(name, part):
    X, y, domain, _ = part
    model, seen = TOOLS[name](pipeline()), AROUND[name]
    if seen is NoTargetWarning:
        with pytest.warns(NoTargetWarning, match=ENCODED) as caught:
            model.fit(X, y)
        assert {warning.category for warning in caught} == {NoTargetWarning}
        assert {warning.filename for warning in caught} == {__file__}
        assert any(str(warning.message).startswith("CORAL was fitted without target rows") for warning in caught)
    elif seen is SILENT:
        model.fit(X, y)
        assert -1 in model.classes_
        for told in (None, domain):
            with pytest.raises(ValueError, match=r"make_pipeline\(adapter, Calib|Put it in a step of its own"):
                source_accuracy(model, X, y, sample_domain=told)
    else:
        with pytest.raises(ValueError, match=seen):
            model.fit(X, y)


#: With metadata routing sample_domain arrives, and y as codes: where these are not turned back, nothing fits together.
ROUTED = {
    "hard voting": (True, OTHER_CLASS),
    "bagging": (True, OTHER_CLASS),
    "soft voting": (False, OTHER_CLASS),
}


@pytest.mark.parametrize(("name", "right", "message"), [(name, *seen) for name, seen in ROUTED.items()])
def test_around_a_whole_pipeline_with_routing(name, right, message, part):
    X, y, domain, yt = part
    with sklearn.config_context(enable_metadata_routing=True):
        model = TOOLS[name](pipeline())
        with pytest.warns(UserWarning, match=message):
            model.fit(X, y, sample_domain=domain)
    assert (np.mean(model.predict(X[domain < 0]) == yt) > 0.9) == right


@pytest.mark.parametrize("name", ["calibration", "output codes"])
def test_what_stays_unknown_with_routing(name, part):
    """Folds look like any rows; codes of several classes in one are as good as classes. The mark is one of classes_."""
    X, y, domain, _ = part
    with sklearn.config_context(enable_metadata_routing=True):
        model = TOOLS[name](pipeline()).fit(X, y, sample_domain=domain)
    assert -1 in model.classes_
    with pytest.raises(ValueError, match="Put it in a step of its own"):
        source_accuracy(model, X, y, sample_domain=domain)


@pytest.mark.parametrize("name", ["one against the rest", "one against one"])
def test_one_against_others_with_routing_ends_in_an_error_after_the_warning(name, part):
    X, y, domain, _ = part
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.warns(UserWarning, match=OTHER_CLASS),
        pytest.raises(ValueError, match="one class"),
    ):
        TOOLS[name](pipeline()).fit(X, y, sample_domain=domain)


def test_minus_one_that_is_a_label_may_be_wrapped_by_anything(problem):
    """With sample_domain there is no mark in y: encoded labels are decoded by the tool that has encoded them."""
    signs, target = np.where(problem.truth == 0, 1, -1), problem.domain < 0
    for name in ("hard voting", "soft voting", "bagging", "calibration"):
        with sklearn.config_context(enable_metadata_routing=True):
            model = TOOLS[name](pipeline()).fit(problem.X, signs, sample_domain=problem.domain)
        np.testing.assert_array_equal(model.classes_, [-1, 1])
        assert np.mean(model.predict(problem.Xt) == signs[target]) > 0.9


def test_probabilities_of_cross_val_predict(part):
    X, y, domain, yt = part
    with pytest.warns(NoTargetWarning, match=ENCODED):
        probabilities = cross_val_predict(pipeline(), X, y, cv=3, method="predict_proba")
    assert probabilities.shape[1] == len(np.unique(yt)) + 1  # one is of the mark
    pipe = pipeline().fit(X, y)
    assert pipe.predict_proba(X[domain < 0]).shape[1] == len(np.unique(yt))


def test_selection_of_features_around_a_pipeline_says_what_it_scores_by(part):
    X, y, domain, yt = part
    with pytest.warns(UserWarning, match="rows are marked as unlabelled and left out; the rest are source rows"):
        SequentialFeatureSelector(pipeline(), n_features_to_select=7, cv=3).fit(X, y)
    inside = LabeledOnly(SequentialFeatureSelector(LogisticRegression(), n_features_to_select=7, cv=3))
    pipe = make_pipeline(CORAL(ridge=0.1), inside, LogisticRegression()).fit(X, y)
    assert np.mean(pipe.predict(X[domain < 0]) == yt) > 0.9


def test_placeholders_on_target_rows_are_not_taken_for_encoded_marks_where_they_are_no_codes(problem):
    """The classes 1, 2, 3 with 0 on target rows look like codes; other numbers do not."""
    target = problem.domain < 0
    zeros = np.where(target, 0, problem.truth + 1)
    with pytest.warns(UserWarning, match=OTHER_CLASS + r".*If 0 only stands where a label is missing, write -1"):
        model = CORAL(ridge=0.1).fit(problem.X, zeros, sample_domain=problem.domain)
    np.testing.assert_array_equal(model.classes_, [1, 2, 3])
    for y in (np.where(target, 0, 5 * problem.truth + 5), np.where(target, 99, problem.truth), problem.truth):
        CORAL(ridge=0.1).fit(problem.X, y, sample_domain=problem.domain)


# ------------------------------------------------------------------------------------- a last step that was replaced


def replaced(problem, last, **params):
    return pipeline().set_params(logisticregression=last).fit(problem.X, problem.y, **params)


class TestReplacedLastStep:
    @pytest.mark.filterwarnings("ignore::shallowda.LearnedMarkWarning")
    def test_what_looks_at_the_model_refuses_it(self, problem, tmp_path):
        """The classifier is none of ours, and is handed y by a plain Pipeline: the mark is a class to it."""
        model = replaced(problem, KNeighborsClassifier())
        np.testing.assert_array_equal(model.classes_, [-1, 0, 1, 2])
        message = (
            r"KNeighborsClassifier has learned -1 as a class, which CORAL before it has read as the mark.*"
            r"LabeledOnly\(KNeighborsClassifier\(\.\.\.\)\).*set_params\(<name of the step>__estimator=\.\.\.\)"
        )
        for told in (None, problem.domain):
            with pytest.raises(ValueError, match=message):
                source_accuracy(model, problem.X, problem.y, sample_domain=told)
        pytest.importorskip("skops")
        with pytest.raises(ValueError, match=message):
            shallowda.save(model, tmp_path / "model.skops")
        assert not list(tmp_path.iterdir())

    @pytest.mark.filterwarnings("ignore::shallowda.LearnedMarkWarning")
    def test_strings(self, problem):
        names = np.where(problem.domain < 0, "", np.array(["a", "b", "c"])[problem.truth])
        model = pipeline().set_params(logisticregression=KNeighborsClassifier()).fit(problem.X, names)
        with pytest.raises(ValueError, match="has learned '' as a class"):
            source_accuracy(model, problem.X, names)

    @pytest.mark.filterwarnings("ignore::shallowda.LearnedMarkWarning")
    def test_in_a_nested_pipeline(self, problem):
        adapter = sklearn.pipeline.make_pipeline(PerDomain(StandardScaler()), CORAL(ridge=0.1))
        model = sklearn.pipeline.make_pipeline(adapter, KNeighborsClassifier()).fit(problem.X, problem.y)
        with pytest.raises(ValueError, match="has learned -1 as a class, which CORAL"):
            source_accuracy(model, problem.X, problem.y)

    @pytest.mark.filterwarnings("ignore::shallowda.LearnedMarkWarning")
    def test_in_a_search_by_a_score_of_this_package(self, problem):
        grid = {"logisticregression": [KNeighborsClassifier(), GaussianNB()]}
        cv = StratifiedSourceTargetKFold(3, random_state=0)
        search = GridSearchCV(pipeline(), grid, cv=cv, scoring=source_accuracy, error_score="raise")
        with pytest.raises(ValueError, match="has learned -1 as a class"):
            search.fit(problem.X, problem.y)

    @pytest.mark.parametrize(
        "grid",
        [
            {"logisticregression__estimator": [KNeighborsClassifier(), GaussianNB()]},
            {"logisticregression": [LabeledOnly(KNeighborsClassifier()), TCAEstimator(3)]},
        ],
        ids=["inside the wrapper", "wrapped, or one that reads domains"],
    )
    def test_ways_that_are_right(self, problem, grid):
        cv = StratifiedSourceTargetKFold(3, random_state=0)
        search = GridSearchCV(pipeline(), grid, cv=cv, scoring=source_accuracy, error_score="raise")
        search.fit(problem.X, problem.y)
        np.testing.assert_array_equal(search.classes_, [0, 1, 2])
        assert search.score(problem.X, problem.y) > 0.9
        assert np.mean(search.predict(problem.Xt) == problem.yt) > 0.9

    @pytest.mark.filterwarnings("ignore::shallowda.LearnedMarkWarning")
    def test_minus_one_that_is_a_label_is_none_of_its_business(self, problem):
        signs, source = np.where(problem.truth == 0, 1, -1), problem.domain >= 0
        model = pipeline().set_params(logisticregression=LogisticRegression())
        model.fit(problem.X, signs, coral__sample_domain=problem.domain)
        source_accuracy(model, problem.X, signs, sample_domain=problem.domain)
        assert (
            source_accuracy(LogisticRegression().fit(problem.X[source], signs[source]), problem.X, problem.truth) >= 0
        )

    @pytest.mark.filterwarnings("ignore::shallowda.LearnedMarkWarning")
    def test_cases_that_stay_unknown(self, problem):
        """scikit-learn's own scores, `predict` and `score` never show the model to this package."""
        model = replaced(problem, KNeighborsClassifier())
        assert np.mean(model.predict(problem.Xt) == -1) > 0.3
        assert model.score(problem.Xt, problem.yt) < 0.7
        selected = sklearn.pipeline.make_pipeline(SelectKBest(k=4), CORAL(), LabeledOnly(LogisticRegression()))
        selected.fit(problem.X, problem.y)  # the mark was one of the classes that features were selected for
        np.testing.assert_array_equal(selected.classes_, [0, 1, 2])


# ------------------------------------------------------------------- a last step of scikit-learn's that learns the mark


class Cluster(KMeans):
    """No classifier: it does not look at y."""


class AdaptsByItself(KNeighborsClassifier):
    """Somebody's classifier that knows the mark, and asks an adapter for the embedding."""

    def fit(self, X, y):
        return super().fit(CORAL().fit_transform(X, y)[y >= 0], y[y >= 0])


def plain(*steps):
    return sklearn.pipeline.make_pipeline(*steps)


@pytest.mark.filterwarnings("ignore:ridge=")
class TestLearnedMarkWarning:
    """A plain pipeline is seen while it is fitted, and nothing else is taken for one."""

    ALARMS: ClassVar = {
        "the likeliest mistake": lambda: plain(StandardScaler(), CORAL(), LogisticRegression()),
        "per domain": lambda: plain(PerDomain(StandardScaler()), LogisticRegression()),
        "supervised step": lambda: plain(LabeledOnly(SelectKBest(k=4)), LogisticRegression()),
        "both": lambda: plain(PerDomain(StandardScaler()), CORAL(), LogisticRegression()),
        "with a step between": lambda: plain(CORAL(), StandardScaler(), LogisticRegression()),
        "in a pipeline": lambda: plain(plain(StandardScaler(), CORAL()), LogisticRegression()),
        "in a union": lambda: plain(FeatureUnion([("coral", CORAL()), ("tca", TCAEstimator(2))]), LogisticRegression()),
        "a pipeline as the last step": lambda: plain(CORAL(), plain(StandardScaler(), LogisticRegression())),
        "a search as the last step": lambda: plain(CORAL(), GridSearchCV(LogisticRegression(), {"C": [1]}, cv=2)),
        "replaced": lambda: make_pipeline(CORAL(), GaussianNB()).set_params(gaussiannb=LogisticRegression()),
        "searched": lambda: GridSearchCV(plain(CORAL(), LogisticRegression()), {"coral__ridge": [1]}, cv=2),
        "ensemble": lambda: plain(CORAL(), BaggingClassifier(LogisticRegression(), 2)),
        "adapted, then a plain pipeline": lambda: plain(
            CORAL(), VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())])
        ),
    }
    QUIET: ClassVar = {
        "make_pipeline": lambda: make_pipeline(PerDomain(StandardScaler()), CORAL(), LogisticRegression()),
        "by hand": lambda: plain(PerDomain(StandardScaler()), CORAL(), LabeledOnly(LogisticRegression())),
        "an adapter that predicts": lambda: plain(PerDomain(StandardScaler()), CORAL()),
        "a domain classifier": lambda: plain(PerDomain(StandardScaler()), ARTL()),
        "weights": lambda: plain(PerDomain(StandardScaler()), KMM()),
        "auto": lambda: plain(PerDomain(StandardScaler()), AutoAdapt({"a": CORAL()}, scoring={})),
        "inside an adapter": lambda: CORAL(estimator=plain(StandardScaler(), LogisticRegression())),
        "embedding alone": lambda: plain(StandardScaler(), CORAL(), PCA(2)),
        "cluster": lambda: plain(PerDomain(StandardScaler()), Cluster(3, n_init=1)),
        "reads the mark itself": lambda: plain(CORAL(), SelfTrainingClassifier(LogisticRegression())),
        "reads the mark, by its graph": lambda: plain(CORAL(), LabelSpreading("knn")),
        "reads the mark itself, in a pipeline": lambda: plain(
            CORAL(), plain(StandardScaler(), SelfTrainingClassifier(LogisticRegression()))
        ),
        "a search over one that reads domains": lambda: plain(
            PerDomain(StandardScaler()), GridSearchCV(CORAL(), {"ridge": [1.0]}, cv=2, scoring=source_accuracy)
        ),
        "a classifier that adapts by itself": lambda: plain(StandardScaler(), AdaptsByItself()),
        "search": lambda: GridSearchCV(
            make_pipeline(CORAL(), LogisticRegression()), {"coral__ridge": [1]}, cv=CV, scoring=source_accuracy
        ),
    }

    @pytest.mark.parametrize("make", ALARMS.values(), ids=ALARMS.keys())
    def test_alarm(self, make, problem):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            make().fit(problem.X, problem.y)
        alarms = [warning for warning in caught if warning.category is LearnedMarkWarning]
        assert alarms
        assert {warning.filename for warning in alarms} == {__file__}

    def test_said_once(self, problem):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            self.ALARMS["both"]().fit(problem.X, problem.y)
        assert len(caught) == 1

    @pytest.mark.parametrize("make", QUIET.values(), ids=QUIET.keys())
    def test_quiet(self, make, problem):
        make().fit(problem.X, problem.y)

    @pytest.mark.parametrize("make", [*ALARMS.values()][:2])
    def test_quiet_where_nobody_learns_from_it(self, make, problem):
        pipe = make()
        pipe[:-1].fit_transform(problem.X, problem.y)
        pipe[-2].fit_transform(problem.X, problem.y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoTargetWarning)
            pipe.fit(problem.X, problem.truth)  # no target row: there is no mark
        pipe.predict(problem.Xt)

    def test_labelled_target_rows_that_the_last_step_is_not_told_of(self, problem):
        with pytest.warns(LearnedMarkWarning, match="fitted on the 36 target rows too"):
            plain(CORAL(), LogisticRegression()).fit(problem.X, problem.truth, coral__sample_domain=problem.domain)

    @pytest.mark.parametrize("memory", [False, True])
    def test_cached_steps(self, memory, problem, tmp_path):
        pipe = sklearn.pipeline.make_pipeline(CORAL(), LogisticRegression(), memory=str(tmp_path) if memory else None)
        with pytest.warns(LearnedMarkWarning):
            pipe.fit(problem.X, problem.y)

    def test_regressor(self, problem):
        counts = np.where(problem.domain < 0, -1, problem.truth)
        with pytest.warns(LearnedMarkWarning, match="Ridge"):
            plain(CORAL(), Ridge()).fit(problem.X, counts)


# ----------------------------------------------------------------------------- sample_domain that the last step lacks


class TestForgottenAtTheLastStep:
    message = re.compile(
        r"LabeledOnly was fitted without marked rows, so all rows count as source, and target rows that came with "
        r"labels are trained on\. sample_domain is for this step too \(<name of the step>__sample_domain, or metadata "
        r"routing\)"
    )

    def test_labelled_target_rows_are_trained_on_and_that_is_said(self, problem):
        with pytest.warns(NoTargetWarning, match=self.message) as caught:
            pipeline().fit(problem.X, problem.truth, coral__sample_domain=problem.domain)
        assert [warning.filename for warning in caught] == [__file__]

    def test_nothing_is_said_where_it_arrives_or_rows_are_marked(self, problem):
        domain = {f"{step}__sample_domain": problem.domain for step in ("coral", "logisticregression")}
        pipeline().fit(problem.X, problem.truth, **domain)
        pipeline().fit(problem.X, problem.y, coral__sample_domain=problem.domain)
        LabeledOnly(LogisticRegression()).fit(problem.X, problem.truth, sample_domain=np.zeros(90))
        with sklearn.config_context(enable_metadata_routing=True):
            pipeline().fit(problem.X, problem.truth, sample_domain=problem.domain)
