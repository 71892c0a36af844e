"""The base class of weighting methods, on weights that are given."""

import array_api_strict
import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline as plain_pipeline
from sklearn.preprocessing import StandardScaler

import shallowda
from shallowda import NoTargetWarning, make_pipeline
from shallowda.core.weighting import SourceWeighting
from shallowda.model_selection import StratifiedSourceTargetKFold, source_accuracy


class Given(SourceWeighting):
    """Weights by the class of a row, as a correction of class proportions has them, or by a function of the rows."""

    _parameter_constraints = {"weigh": "no_validation", "estimator": "no_validation", "backend": "no_validation"}

    def __init__(self, weigh=None, *, backend="auto", estimator=None):
        self.weigh = weigh
        self.backend = backend
        self.estimator = estimator

    def _weigh(self, X, domains):
        if self.weigh is not None:
            return self.weigh(domains.source_rows(X))
        return np.array([0.5, 1.0, 3.0])[domains.labels[domains.source]]


def test_the_estimator_is_fitted_with_the_weights(problem):
    source = problem.domain >= 0
    model = Given().fit(problem.X, problem.y)
    np.testing.assert_array_equal(model.weights_, np.array([0.5, 1.0, 3.0])[problem.truth[source]])
    by_hand = LogisticRegression(max_iter=1000)
    by_hand.fit(problem.X[source], problem.truth[source], sample_weight=model.weights_)
    np.testing.assert_allclose(model.predict_proba(problem.Xt), by_hand.predict_proba(problem.Xt))
    np.testing.assert_allclose(model.decision_function(problem.Xt), by_hand.decision_function(problem.Xt))
    assert not hasattr(model, "transform")


def test_a_regressor(problem):
    y = np.where(problem.domain < 0, np.nan, problem.X[:, 0] + problem.truth)
    model = Given(lambda rows: np.abs(rows[:, 0]), estimator=Ridge()).fit(problem.X, y)
    source = problem.domain >= 0
    by_hand = Ridge().fit(problem.X[source], y[source], sample_weight=np.abs(problem.X[source, 0]))
    np.testing.assert_allclose(model.predict(problem.Xt), by_hand.predict(problem.Xt))
    truth = problem.Xt[:, 0] + problem.yt
    assert model.score(problem.Xt, truth) == by_hand.score(problem.Xt, truth)
    with pytest.warns(UserWarning, match=r"36 rows are marked as unlabelled .* this is R\^2 on the source"):
        assert model.score(problem.X, y) == by_hand.score(problem.X[source], y[source])
    numbers = r"continuous\. There are numbers such as [-.\d]+, which are no classes\. "
    with pytest.raises(ValueError, match=numbers + "The estimator of Given is a classifier; pass a regressor"):
        Given(lambda rows: np.ones(len(rows))).fit(problem.X, y)


def test_whole_numbers_are_targets_of_a_regressor(problem):
    """Counts, and a -1 that is a value: what y is, the estimator says."""
    source = problem.domain >= 0
    counts = problem.truth - 1
    marked = np.where(source, counts, np.nan)
    weigh = lambda rows: np.ones(len(rows))  # noqa: E731
    by_hand = Ridge().fit(problem.X[source], counts[source])
    for fitted in (
        Given(weigh, estimator=Ridge()).fit(problem.X, marked),
        Given(weigh, estimator=Ridge()).fit(problem.X, np.where(source, counts.astype(object), None)),
        Given(weigh, estimator=Ridge()).fit(problem.X, counts, sample_domain=problem.domain),
    ):
        np.testing.assert_allclose(fitted.predict(problem.Xt), by_hand.predict(problem.Xt))
        assert fitted.score(problem.Xt, problem.yt - 1) == by_hand.score(problem.Xt, problem.yt - 1)
        assert not hasattr(fitted, "classes_")
    Given(weigh, estimator=PoissonRegressor()).fit(problem.X, marked + 1)
    with pytest.warns(NoTargetWarning):
        Given(weigh, estimator=Ridge()).fit(problem.X, problem.truth + 0.5)
    with pytest.raises(ValueError, match="y must hold numbers for a regressor"):
        Given(weigh, estimator=Ridge()).fit(problem.X, np.where(source, "a", "b"), sample_domain=problem.domain)
    with pytest.raises(ValueError, match="NaN or infinity for source rows"):
        Given(weigh, estimator=Ridge()).fit(problem.X, marked, sample_domain=np.r_[0, problem.domain[1:]] * 0)


def test_in_pipelines_and_searches(problem):
    pipe = make_pipeline(StandardScaler(), Given()).fit(problem.X, problem.y)
    assert isinstance(pipe[-1], Given)  # it reads the marks itself
    np.testing.assert_array_equal(
        pipe.predict(problem.Xt),
        plain_pipeline(StandardScaler(), Given()).fit(problem.X, problem.y).predict(problem.Xt),
    )
    cv = StratifiedSourceTargetKFold(3, random_state=0)
    grid = {"given__estimator__C": [0.1, 1.0]}
    pipe = make_pipeline(StandardScaler(), Given(estimator=LogisticRegression()))
    search = GridSearchCV(pipe, grid, scoring=source_accuracy, cv=cv, error_score="raise").fit(problem.X, problem.y)
    assert search.score(problem.Xt, problem.yt) > 0.8
    with sklearn.config_context(enable_metadata_routing=True):
        told = pipe.fit(problem.X, problem.truth, sample_domain=problem.domain)
    plain = pipe.fit(problem.X, problem.y)
    np.testing.assert_array_equal(told.predict(problem.Xt), plain.predict(problem.Xt))


def test_weights_alone(problem):
    model = Given(lambda rows: np.ones(len(rows))).fit(problem.X, sample_domain=problem.domain)
    assert model.weights_.shape == (54,)
    for call in (lambda: model.predict(problem.Xt), lambda: model.score(problem.Xt, problem.yt)):
        with pytest.raises(AttributeError, match="fitted without y, so it has weights but no"):
            call()


def test_without_a_target_every_weight_is_one(problem):
    with pytest.warns(NoTargetWarning):
        model = Given(lambda rows: pytest.fail("there is nothing to weigh for")).fit(problem.X, problem.truth)
    np.testing.assert_array_equal(model.weights_, np.ones(90))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0])
def test_weights_that_are_none_are_refused(problem, value):
    with pytest.raises(ValueError, match="weights of the source rows that are NaN, infinite, below zero or all"):
        Given(lambda rows: np.full(len(rows), value)).fit(problem.X, problem.y)


def test_weights_of_another_length_are_refused(problem):
    for y in (problem.y, None):
        with pytest.raises(ValueError, match=r"Given gave weights of shape \(53,\) for 54 source rows"):
            Given(lambda rows: np.ones(len(rows) - 1)).fit(problem.X, y, sample_domain=problem.domain)


def test_weights_of_the_user_are_multiplied(problem):
    """The estimator gets the product; what is reported is the method's own."""
    source = problem.domain >= 0
    weight = np.where(source, np.linspace(0.0, 2.0, 90), np.nan)
    given = array_api_strict.asarray(weight, device=array_api_strict.Device("device1"))
    plain = Given().fit(problem.X, problem.y)
    for sample_weight in (weight, weight.tolist(), given):
        model = Given().fit(problem.X, problem.y, sample_weight=sample_weight)
        np.testing.assert_array_equal(model.weights_, plain.weights_)
        assert model.effective_sample_size_ == plain.effective_sample_size_
        by_hand = LogisticRegression(max_iter=1000)
        by_hand.fit(problem.X[source], problem.truth[source], sample_weight=model.weights_ * weight[source])
        np.testing.assert_array_equal(model.estimator_.coef_, by_hand.coef_)
    y = np.where(source, problem.X[:, 0], np.nan)
    regression = Given(lambda rows: rows[:, 0] ** 2, estimator=Ridge()).fit(problem.X, y, sample_weight=weight)
    by_hand = Ridge().fit(problem.X[source], y[source], sample_weight=problem.X[source, 0] ** 2 * weight[source])
    np.testing.assert_allclose(regression.estimator_.coef_, by_hand.coef_)


def test_weights_that_leave_nothing_are_refused(problem):
    elsewhere = lambda rows: np.r_[np.zeros(30), np.ones(24)]  # noqa: E731
    weight = np.zeros(90)
    weight[np.flatnonzero(problem.domain >= 0)[:30]] = 1.0
    with pytest.raises(ValueError, match="sample_weight times the weights that Given found is infinite, or zero"):
        Given(elsewhere).fit(problem.X, problem.y, sample_weight=weight)
    with pytest.raises(ValueError, match="sample_weight times the weights that Given found is infinite, or zero"):
        Given().fit(problem.X, problem.y, sample_weight=np.full(90, 1e308))


def test_an_estimator_without_weights_is_refused(problem):
    for estimator in (KNeighborsClassifier(), plain_pipeline(StandardScaler(), LogisticRegression())):
        with pytest.raises(ValueError, match=r"must take sample_weight, and \w+ does not.*make_pipeline"):
            Given(estimator=estimator).fit(problem.X, problem.y)
    assert not hasattr(shallowda, "SourceWeighting")  # a base class for methods, not one of them
