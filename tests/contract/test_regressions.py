"""Things that once went wrong, each by its shortest reproduction."""

import numpy as np
import pytest
import sklearn.pipeline
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import StandardScaler

from shallowda import (
    ARTL,
    BDA,
    CORAL,
    GFK,
    JDA,
    TJM,
    LabeledOnly,
    PerDomain,
    SubspaceAlignment,
    TCAEstimator,
    make_pipeline,
    pack_domains,
)
from shallowda.model_selection import source_accuracy

rng = np.random.RandomState(0)
LABELS = np.arange(60) % 3
XS = 3 * np.eye(6)[LABELS] + rng.randn(60, 6)
XT = 3 * np.eye(6)[LABELS] + rng.randn(60, 6) + np.array([0, 0, 0, 5, 0, 0])
X, Y, DOMAINS = pack_domains(XS, LABELS, XT)


def test_a_nested_pipeline_with_an_adapter_does_not_learn_the_mark():
    inner = sklearn.pipeline.make_pipeline(CORAL(), LogisticRegression())
    pipe = make_pipeline(PerDomain(StandardScaler()), inner).fit(X, Y)
    np.testing.assert_array_equal(pipe.classes_, [0, 1, 2])
    assert isinstance(inner.steps[-1][1], LogisticRegression)  # the caller's pipeline is not touched


def test_an_ensemble_over_adapters_and_others_is_refused():
    voting = VotingClassifier([("jda", JDA(2)), ("plain", LogisticRegression())])
    with pytest.raises(ValueError, match="VotingClassifier holds JDA"):
        make_pipeline(StandardScaler(), voting)


def test_supervised_steps_before_an_adapter_see_the_source_only():
    pipe = make_pipeline(SelectKBest(k=3), JDA(2)).fit(X, Y)
    assert not pipe[0].estimator_.get_support()[3]  # the feature that tells the domains apart
    pipe = make_pipeline(LinearDiscriminantAnalysis(), TCAEstimator(2), LogisticRegression()).fit(X, Y)
    np.testing.assert_array_equal(pipe[0].classes_, [0, 1, 2])
    frame = make_pipeline(SelectKBest(k=3), CORAL(), LogisticRegression()).set_output(transform="pandas").fit(X, Y)
    assert list(frame[:-1].transform(X).columns) == list(frame[0].get_feature_names_out())


def test_source_accuracy_refuses_adapters_that_it_cannot_reach():
    pipe = make_pipeline(FeatureUnion([("sa", SubspaceAlignment(3))]), LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match="inside FeatureUnion"):
        source_accuracy(pipe, X, Y)


@pytest.mark.parametrize("make", [TCAEstimator, JDA, BDA, TJM, SubspaceAlignment, GFK])
def test_round_off_of_float32_is_no_component(make):
    flat = 0.003 * (np.random.RandomState(0).randn(400, 3) @ np.random.RandomState(1).randn(3, 20) + 2)
    y = np.where(np.arange(400) < 200, np.arange(400) % 2, -1)
    columns = []
    for dtype in (np.float64, np.float32):
        with pytest.warns(UserWarning, match="exceeds the rank"):
            columns.append(make(10).fit(flat.astype(dtype), y).transform(flat.astype(dtype)).shape[1])
    assert columns[0] == columns[1]


def test_no_variance_above_the_order_where_lanczos_takes_over():
    y = np.where(np.arange(1500) < 750, np.arange(1500) % 2, -1)
    with pytest.raises(ValueError, match="no variance"):
        TCAEstimator(3).fit(np.zeros((1500, 750)), y)


@pytest.mark.filterwarnings("ignore:mu='a_distance' is not determined")  # by so few rows
def test_balance_factor_is_that_of_the_pass_that_was_kept():
    generator = np.random.default_rng(15)
    labels = generator.integers(0, 3, 60)
    rows = 1.2 * np.eye(5)[labels] + generator.normal(size=(60, 5))
    rows[30:] += generator.normal(size=5) * 1.5
    bda = BDA(3, mu="a_distance", max_iter=30, ridge=0.1).fit(rows, np.r_[labels[:30], np.full(30, -1)])
    assert bda.history_["stopped"] == "cycle"
    assert bda.mu_ == bda.history_["mu"][bda.history_["kept"]]


def test_one_component_can_tell_more_than_two_classes():
    assert set(TCAEstimator(1).fit(X, Y).predict(X)) == {0, 1, 2}


@pytest.mark.parametrize("mark", [-1, None])
def test_scores_read_object_labels_as_fit_does(mark):
    y = np.array([mark if value == -1 else int(value) for value in Y], dtype=object)
    jda = JDA(2).fit(X, y)
    with pytest.warns(UserWarning, match="accuracy on the source"):
        assert 0 <= jda.score(X, y) <= 1
    assert 0 <= source_accuracy(jda, X, y) <= 1
    inner = LabeledOnly(LogisticRegression()).fit(X, y)
    with pytest.warns(UserWarning, match="accuracy on the source"):
        assert 0 <= inner.score(X, y) <= 1


def test_a_mark_that_became_a_string_is_a_mark():
    y = np.r_[np.array(list("abc"))[LABELS], [-1] * 60]
    np.testing.assert_array_equal(JDA(2).fit(X, y).classes_, ["a", "b", "c"])


def test_a_failed_fit_does_not_look_fitted():
    jda = JDA(2).fit(X, Y)
    with pytest.raises(ValueError, match="requires y"):
        jda.fit(X[:, :4])
    with pytest.raises(NotFittedError):
        jda.predict(X[:, :4])


def test_classes_without_a_target_row_are_announced():
    few, y, _ = pack_domains(XS, LABELS, XS[LABELS != 2] + 0.1)
    with pytest.warns(UserWarning, match=r"no target row is labelled \[2\]"):
        JDA(3).fit(few, y)


EXTREMES = [(np.float64, s) for s in (1e-300, 1e-160, 1e-69, 1e69, 1e100, 1e111, 1e160, 1e307)]
EXTREMES += [(np.float32, s) for s in (1e-40, 1e-20, 1e-16, 1e16, 1e19, 1e37)]


@pytest.mark.parametrize(("dtype", "scale"), EXTREMES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_strange_unit_of_the_features_is_named_or_no_matter(dtype, scale):
    """Never LAPACK's own error, nor NumPy's warnings (which are errors here)."""
    rows = (X * scale).astype(dtype)
    wide = np.hstack([rows] * 25)
    models = [CORAL(), GFK(2), SubspaceAlignment(2), ARTL(), ARTL("hinge"), ARTL(kernel="rbf"), BDA(2), TCAEstimator(2)]
    models += [JDA(2, kernel="linear"), TCAEstimator(2, kernel="poly", coef0=1e10), TCAEstimator(2, kernel="rbf")]
    models += [TJM(2, max_iter=3, kernel=kernel) for kernel in ("linear", "rbf", "poly")]
    for model in models:
        for given in (rows, wide):
            try:
                fitted = model.fit(given, Y)
            except ValueError as refusal:
                reason = str(refusal)
                assert type(refusal) is ValueError  # noqa: PT017
                assert "Scale the features" in reason or "larger gamma" in reason or "centre" in reason
            else:
                assert np.isin(fitted.predict(given[60:]), LABELS).all()
    if scale > (1e72 if dtype is np.float64 else 1e18):
        with pytest.raises(ValueError, match=r"X is so large.*Scale the features"):
            CORAL().fit(X, Y).transform(rows)
