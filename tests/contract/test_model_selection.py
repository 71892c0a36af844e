"""Splitters that never test on a target row, and a score that knows a source row when it sees one."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from shallowda import CORAL, LabeledOnly, PerDomain, SubspaceAlignment, TCAEstimator, make_pipeline
from shallowda.model_selection import SourceTargetKFold, StratifiedSourceTargetKFold, source_accuracy


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("splitter", [SourceTargetKFold, StratifiedSourceTargetKFold])
class TestSplitters:
    def test_folds(self, splitter, shuffle, problem):
        cv = splitter(4, shuffle=shuffle, random_state=0)
        folds = list(cv.split(problem.X, problem.y))
        assert len(folds) == cv.get_n_splits(problem.X, problem.y) == 4
        source, target = np.flatnonzero(problem.domain >= 0), np.flatnonzero(problem.domain < 0)
        for train, test in folds:
            assert np.isin(target, train).all()
            np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(90))
        np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), source)
        assert max(len(test) for _, test in folds) - min(len(test) for _, test in folds) <= 1 + 2 * (
            splitter is StratifiedSourceTargetKFold
        )

    def test_every_mark_and_sample_domain_give_the_same_folds(self, splitter, shuffle, problem):
        cv = splitter(3, shuffle=shuffle, random_state=0)
        names = np.array(["a", "b", "c"], object)[problem.truth]
        expected = [test.tolist() for _, test in cv.split(problem.X, problem.y)]
        for y, groups in (
            (np.where(problem.domain < 0, np.nan, problem.truth), None),
            (np.where(problem.domain < 0, None, names), None),
            (np.where(problem.domain < 0, "", names.astype(str)), None),
            (problem.y.tolist(), None),
            (problem.truth, problem.domain),
            (names, np.where(problem.domain < 0, -2, 1)),
        ):
            assert [test.tolist() for _, test in cv.split(problem.X, y, groups)] == expected

    def test_seed(self, splitter, shuffle, problem):
        tests = [
            [test.tolist() for _, test in splitter(3, shuffle=shuffle, random_state=seed).split(problem.X, problem.y)]
            for seed in (0, 0, 1)
        ]
        assert tests[0] == tests[1]
        assert (tests[0] == tests[2]) == (not shuffle)

    def test_errors(self, splitter, shuffle, problem):
        cv = splitter(3, shuffle=shuffle)
        with pytest.raises(ValueError, match="target rows must be marked"):
            next(cv.split(problem.X))
        with pytest.raises(ValueError, match=r"\{-1, \+1\}.*sample_domain"):
            next(cv.split(problem.X, np.where(problem.truth == 0, 1, -1)))
        with pytest.raises(ValueError, match=r"n_splits|number of splits"):
            next(splitter(100, shuffle=shuffle).split(problem.X, problem.y))


def test_strata():
    y = np.r_[np.repeat([0, 1], [40, 8]), np.full(30, -1)]
    for _, test in StratifiedSourceTargetKFold(4, random_state=0).split(y, y):
        np.testing.assert_array_equal(np.bincount(y[test]), [10, 2])


def test_folds_of_a_regression_problem(problem):
    y = np.where(problem.domain < 0, np.nan, problem.X[:, 0])
    assert sum(len(test) for _, test in SourceTargetKFold(3).split(problem.X, y)) == 54


def test_global_random_state_is_left_alone(problem):
    before = np.random.get_state()[1].copy()
    list(SourceTargetKFold(3, random_state=0).split(problem.X, problem.y))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.fixture(scope="module")
def offset(problem):
    """Rows whose domains lie far apart, so that it matters by whose map a row goes."""
    return problem.X + np.where(problem.domain >= 0, 2.0, 0.0)[:, None] * [1, -1, 0, 1, 0, 0, 0, 0]


def by_hand(model, X, y, domain):
    source = domain >= 0
    return np.mean(model.predict(X, sample_domain=domain)[source] == y[source])


@pytest.mark.parametrize("adapter", [CORAL(ridge=0.1), SubspaceAlignment(3)], ids=lambda a: type(a).__name__)
class TestSourceMaps:
    def test_alone(self, adapter, problem, offset):
        model = adapter.fit(offset, problem.y)
        # a nearest neighbour knows its training rows when, and only when, they go by the map they were stored by
        assert source_accuracy(model, offset, problem.y) == 1.0
        assert by_hand(model, offset, problem.truth, problem.domain) == 1.0
        naive = np.mean(model.predict(offset) == problem.truth, where=problem.domain >= 0)
        assert naive < 0.9

    def test_in_a_pipeline(self, adapter, problem, offset):
        pipe = make_pipeline(StandardScaler(), adapter, KNeighborsClassifier(1)).fit(offset, problem.y)
        assert source_accuracy(pipe, offset, problem.y) == 1.0
        naive = np.mean(pipe.predict(offset) == problem.truth, where=problem.domain >= 0)
        assert naive < 0.9

    def test_in_a_search(self, adapter, problem, offset):
        cv = StratifiedSourceTargetKFold(3, random_state=0)
        pipe = make_pipeline(StandardScaler(), adapter, KNeighborsClassifier(1))
        search = GridSearchCV(pipe, {}, scoring=source_accuracy, cv=cv, error_score="raise").fit(offset, problem.y)
        expected = []
        for train, test in cv.split(offset, problem.y):
            fitted = search.best_estimator_.fit(offset[train], problem.y[train])
            Z = fitted[1].transform(fitted[0].transform(offset[test]), sample_domain=np.zeros(len(test)))
            expected.append(np.mean(fitted[2].predict(Z) == problem.truth[test]))
        np.testing.assert_allclose(search.best_score_, np.mean(expected))

    def test_of_a_fitted_search(self, adapter, problem, offset):
        cv = StratifiedSourceTargetKFold(3, random_state=0)
        search = GridSearchCV(adapter, {}, scoring=source_accuracy, cv=cv).fit(offset, problem.y)
        assert source_accuracy(search, offset, problem.y) == 1.0

    def test_in_a_nested_pipeline(self, adapter, problem, offset):
        inner = Pipeline([("scale", StandardScaler()), ("adapt", adapter)])
        pipe = make_pipeline(inner, KNeighborsClassifier(1)).fit(offset, problem.y)
        assert source_accuracy(pipe, offset, problem.y) == 1.0


def test_per_domain(problem, offset):
    pipe = make_pipeline(PerDomain(StandardScaler()), KNeighborsClassifier(1)).fit(offset, problem.y)
    assert source_accuracy(pipe, offset, problem.y) == 1.0
    assert np.mean(pipe.predict(offset) == problem.truth, where=problem.domain >= 0) < 0.9


def test_several_sources_need_sample_domain(problem):
    codes = np.where(problem.domain < 0, -1, np.arange(90) % 2)
    X = problem.X + 3.0 * (codes == 1)[:, None] * np.eye(8)[3]
    pipe = make_pipeline(PerDomain(StandardScaler()), KNeighborsClassifier(1))
    pipe.fit(X, problem.y, perdomain__sample_domain=codes)
    assert source_accuracy(pipe, X, problem.y, sample_domain=codes) == 1.0
    with pytest.raises(ValueError, match=r"does not know which row is of which domain.*Pass sample_domain"):
        source_accuracy(pipe, X, problem.y)


def test_target_labels_do_not_count(problem):
    model = TCAEstimator(3).fit(problem.X, problem.y)
    wrong = np.where(problem.domain < 0, 99, problem.truth)
    expected = source_accuracy(model, problem.X, problem.y)
    assert source_accuracy(model, problem.X, wrong, sample_domain=problem.domain) == expected
    assert source_accuracy(model, problem.X[problem.domain >= 0], problem.truth[problem.domain >= 0]) == expected


def test_minus_one_as_a_class(problem):
    signs = np.where(problem.truth == 0, 1, -1)
    model = CORAL(ridge=0.1).fit(problem.X, signs, sample_domain=problem.domain)
    assert source_accuracy(model, problem.X, signs, sample_domain=problem.domain) == 1.0


def test_estimators_that_know_no_domains(problem):
    source = problem.domain >= 0
    plain = LogisticRegression().fit(problem.X[source], problem.truth[source])
    expected = plain.score(problem.X[source], problem.truth[source])
    assert source_accuracy(plain, problem.X, problem.y) == expected
    assert (
        source_accuracy(LabeledOnly(LogisticRegression()).fit(problem.X, problem.y), problem.X, problem.y) == expected
    )
    pipe = make_pipeline("passthrough", None, LogisticRegression()).fit(problem.X, problem.y)
    assert source_accuracy(pipe, problem.X, problem.y) == expected


def test_string_labels(problem):
    names = np.where(problem.domain < 0, None, np.array(["a", "b", "c"], object)[problem.truth])
    assert source_accuracy(CORAL(ridge=0.1).fit(problem.X, names), problem.X, names) == 1.0


def test_nothing_labelled(problem):
    model = TCAEstimator(3).fit(problem.X, problem.y)
    with pytest.raises(ValueError, match="y marks every row as unlabelled"):
        source_accuracy(model, problem.Xt, np.full(36, -1))
