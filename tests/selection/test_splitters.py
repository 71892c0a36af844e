"""What the splitters promise beyond `tests/contract/test_model_selection.py`."""

from copy import copy

import numpy as np
import pytest
import sklearn
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.preprocessing import StandardScaler

from shallowda import ARTL, CORAL, KMM, PerDomain, SubspaceAlignment, TCAEstimator, make_pipeline
from shallowda.model_selection import (
    CircularValidation,
    LeaveOneSourceOut,
    SourceTargetKFold,
    SourceTargetShuffleSplit,
    StratifiedSourceTargetKFold,
    StratifiedSourceTargetShuffleSplit,
    source_accuracy,
)

ALL = [
    SourceTargetKFold(3, random_state=0),
    StratifiedSourceTargetKFold(3, random_state=0),
    SourceTargetShuffleSplit(3, random_state=0),
    StratifiedSourceTargetShuffleSplit(3, random_state=0),
    LeaveOneSourceOut(random_state=0),
]


def with_params(cv, **params):
    """The splitter with other parameters."""
    changed = copy(cv)
    vars(changed).update(params)
    return changed


def sources(problem):
    """Codes with two sources."""
    return np.where(problem.domain < 0, -1, np.arange(len(problem.y)) % 2)


@pytest.mark.parametrize("cv", ALL, ids=lambda cv: type(cv).__name__)
class TestTargetRows:
    @pytest.mark.parametrize("target_test", [False, True, 0.25])
    def test_where_they_are(self, cv, target_test, shifted):
        cv = with_params(cv, target_test=target_test)
        codes = sources(shifted)
        target = np.flatnonzero(codes < 0)
        held_out = []
        splits = list(cv.split(shifted.X, shifted.y, sample_domain=codes))
        assert len(splits) == cv.get_n_splits(shifted.X, shifted.y, sample_domain=codes)
        for train, test in splits:
            assert np.all(np.diff(train) > 0)
            assert np.all(np.diff(test) > 0)
            in_train, in_test = np.intersect1d(train, target), np.intersect1d(test, target)
            if target_test is True:
                np.testing.assert_array_equal(in_train, target)
                np.testing.assert_array_equal(in_test, target)
            else:
                assert len(in_test) == round(target_test * len(target))
                np.testing.assert_array_equal(np.sort(np.r_[in_train, in_test]), target)
            source_train, source_test = np.setdiff1d(train, target), np.setdiff1d(test, target)
            assert len(np.intersect1d(source_train, source_test)) == 0
            assert len(source_train)
            assert len(source_test)
            held_out.append(in_test.tolist())
        if target_test == 0.25:
            assert held_out[0] != held_out[1]

    def test_seed(self, cv, shifted):
        cv, codes = with_params(cv, target_test=0.5), sources(shifted)
        first, again = ([t.tolist() for _, t in cv.split(shifted.X, shifted.y, codes)] for _ in range(2))
        assert first == again
        other = with_params(cv, random_state=1).split(shifted.X, shifted.y, codes)
        assert first != [test.tolist() for _, test in other]

    @pytest.mark.parametrize("share", [0, 1.0, -0.5, 2])
    def test_a_share_is_between_zero_and_one(self, cv, share, shifted):
        cv = with_params(cv, target_test=share)
        with pytest.raises(ValueError, match="target_test must be a bool or a share between 0 and 1"):
            next(cv.split(shifted.X, shifted.y, sources(shifted)))

    @pytest.mark.parametrize("routing", [False, True])
    def test_in_a_search(self, cv, routing, shifted):
        cv = with_params(cv, target_test=True)
        scoring = {"source": source_accuracy, "circular": CircularValidation()}
        search = GridSearchCV(
            CORAL(), {"ridge": [0.1, 1.0]}, cv=cv, scoring=scoring, refit="source", error_score="raise"
        )
        with sklearn.config_context(enable_metadata_routing=routing):
            if routing:
                search.fit(shifted.X, shifted.truth, sample_domain=sources(shifted))
            else:
                search.fit(shifted.X, shifted.y, groups=sources(shifted))
        assert np.isfinite(search.cv_results_["mean_test_circular"]).all()
        assert 0.8 < search.best_score_ <= 1


def test_shares_of_a_shuffle_split(shifted):
    for cv in (SourceTargetShuffleSplit(2, test_size=30), SourceTargetShuffleSplit(2, test_size=1 / 3)):
        assert [len(test) for _, test in cv.split(shifted.X, shifted.y)] == [30, 30]
    y = np.r_[np.repeat([0, 1], [40, 8]), np.full(30, -1)]
    for _, test in StratifiedSourceTargetShuffleSplit(3, test_size=0.25, random_state=0).split(y, y):
        np.testing.assert_array_equal(np.bincount(y[test]), [10, 2])


def test_each_source_is_left_out_once(shifted):
    codes = np.where(shifted.domain < 0, -1, np.arange(150) % 3 + 4)
    cv = LeaveOneSourceOut()
    assert cv.get_n_splits(shifted.X, shifted.y, codes) == 3
    found = [np.unique(codes[test]).tolist() for _, test in cv.split(shifted.X, shifted.y, codes)]
    assert found == [[4], [5], [6]]
    with pytest.raises(ValueError, match="at least two source domains"):
        next(cv.split(shifted.X, shifted.y))


def test_other_searches(shifted):
    cv = StratifiedSourceTargetKFold(3, random_state=0, target_test=True)
    grid = {"n_components": [1, 2, 3]}
    options = {"scoring": CircularValidation(), "cv": cv, "error_score": "raise"}
    randomized = RandomizedSearchCV(TCAEstimator(), grid, n_iter=2, random_state=0, **options)
    assert randomized.fit(shifted.X, shifted.y).best_score_ > 0.5
    halving = HalvingGridSearchCV(TCAEstimator(), grid, min_resources=75, factor=2, random_state=0, **options)
    assert halving.fit(shifted.X, shifted.y).best_score_ > 0.5
    found = cross_validate(TCAEstimator(3), shifted.X, shifted.y, **options)
    assert np.isfinite(found["test_score"]).all()


def subjects(n_sources):
    """Rows of several subjects, each with units of its own, so that only a scaler for each makes them one problem."""
    rng = np.random.RandomState(0)
    codes = np.repeat([*range(n_sources), -1], 40)
    y = np.tile(np.repeat([0, 1], 20), n_sources + 1)
    X = 3.0 * np.eye(3)[y] + rng.randn(len(y), 3)
    units = rng.uniform(1, 30, size=(n_sources + 1, 3))
    return (X + units[codes]) * units[codes], np.where(codes < 0, -1, y), codes


LASTS = {
    "CORAL": lambda: [CORAL(estimator=LogisticRegression())],
    "LabeledOnly": lambda: [SelectKBest(k=2), LogisticRegression()],
    "SubspaceAlignment, LabeledOnly": lambda: [SubspaceAlignment(2), LogisticRegression()],
    "KMM": lambda: [KMM(estimator=LogisticRegression())],
    "ARTL": lambda: [ARTL()],
}


class TestSubjects:
    """Several sources, each with its own scaler, as subjects of an EEG study have."""

    @pytest.fixture(autouse=True)
    def _routing(self):
        with sklearn.config_context(enable_metadata_routing=True):
            yield

    @pytest.mark.filterwarnings("ignore:KMM. the weights")
    @pytest.mark.parametrize("n_sources", [2, 4])
    @pytest.mark.parametrize("lasts", LASTS.values(), ids=LASTS.keys())
    def test_a_subject_that_is_left_out_is_scaled_by_its_own_rows(self, lasts, n_sources):
        X, y, codes = subjects(n_sources)
        pipe = make_pipeline(PerDomain(StandardScaler()), *lasts())
        options = {"cv": LeaveOneSourceOut(), "scoring": source_accuracy, "error_score": "raise"}
        scores = cross_val_score(pipe, X, y, params={"sample_domain": codes}, **options)
        assert len(scores) == n_sources
        assert scores.min() > 0.9
        scaled = np.concatenate([StandardScaler().fit_transform(X[codes == c]) for c in [*range(n_sources), -1]])
        alone = cross_val_score(make_pipeline(*lasts()), scaled, y, params={"sample_domain": codes}, **options)
        np.testing.assert_array_equal(scores, alone)

    @pytest.mark.parametrize(
        "scoring", [source_accuracy, None, CircularValidation()], ids=["source", "None", "circular"]
    )
    @pytest.mark.parametrize("cv", ALL, ids=lambda cv: type(cv).__name__)
    def test_every_splitter_in_a_search(self, cv, scoring):
        X, y, codes = subjects(4)
        pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(), LogisticRegression())
        cv = with_params(cv, target_test=True) if isinstance(scoring, CircularValidation) else cv
        search = GridSearchCV(pipe, {"coral__ridge": [0.1, 1.0]}, cv=cv, scoring=scoring, error_score="raise")
        search.fit(X, y, sample_domain=codes)
        assert search.cv_results_["mean_test_score"].min() > 0.9

    def test_without_routing_the_scorer_says_what_is_missing(self):
        X, y, codes = subjects(2)
        pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(), LogisticRegression())
        params = {f"{name}__sample_domain": codes for name, _ in pipe.steps}
        with sklearn.config_context(enable_metadata_routing=False):
            with pytest.raises(
                ValueError, match=r"fitted on the domains \[-1, 1\]. Pass .*enable_metadata_routing=True"
            ):
                cross_val_score(
                    pipe, X, y, groups=codes, params=params, cv=LeaveOneSourceOut(), scoring=source_accuracy,
                    error_score="raise",
                )  # fmt: skip
            # where no step was told of several sources, they are one: the scorer knows as much as the scaler
            scores = cross_val_score(pipe, X, y, groups=codes, cv=LeaveOneSourceOut(), scoring=source_accuracy)
            assert np.isfinite(scores).all()
