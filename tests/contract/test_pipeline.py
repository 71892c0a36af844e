"""`PerDomain`, `LabeledOnly` and `make_pipeline` inside plain scikit-learn machinery."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import sklearn.pipeline
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import Normalizer, OneHotEncoder, StandardScaler

from shallowda import (
    ARTL,
    CORAL,
    JDA,
    LabeledOnly,
    LearnedMarkWarning,
    NoTargetWarning,
    PerDomain,
    SubspaceAlignment,
    TCAEstimator,
    make_pipeline,
)
from shallowda.model_selection import StratifiedSourceTargetKFold, source_accuracy

CV = StratifiedSourceTargetKFold(3, random_state=0)


def zscores(rows):
    return (rows - rows.mean(axis=0)) / rows.std(axis=0)


class Twice(BaseEstimator):
    """A resampler as imbalanced-learn has them."""

    def fit_resample(self, X, y):
        return np.repeat(X, 2, axis=0), np.repeat(y, 2)


class ResampledPipeline(sklearn.pipeline.Pipeline):
    """What imbalanced-learn's pipeline does: it resamples in `fit` alone."""

    def fit(self, X, y):
        (_, resampler), (_, last) = self.steps
        last.fit(*resampler.fit_resample(X, y))
        return self

    def predict(self, X):
        return self.steps[-1][1].predict(X)

    @property
    def classes_(self):
        return self.steps[-1][1].classes_


class TestPerDomain:
    def test_an_imputer_at_the_head_of_a_pipeline_sees_missing_values(self, problem):
        X = problem.X.copy()
        X[::7, 1] = np.nan
        steps = sklearn.pipeline.make_pipeline(SimpleImputer(), StandardScaler())
        assert np.isfinite(PerDomain(steps).fit_transform(X, problem.y)).all()
        with pytest.raises(ValueError, match="Normalizer does not accept missing values"):
            PerDomain(Normalizer()).fit(X, problem.y)

    def test_z_scores_by_hand(self, problem):
        source, target = problem.domain >= 0, problem.domain < 0
        scaler = PerDomain(StandardScaler())
        Z = scaler.fit_transform(problem.X, problem.y)
        np.testing.assert_allclose(Z[source], zscores(problem.X[source]))
        np.testing.assert_allclose(Z[target], zscores(problem.X[target]))
        np.testing.assert_array_equal(scaler.transform(problem.X, sample_domain=problem.domain), Z)
        np.testing.assert_array_equal(scaler.transform(problem.Xt), Z[target])

    def test_each_source_apart(self, problem):
        codes = np.where(problem.domain < 0, -1, np.arange(90) % 3)
        scaler = PerDomain(StandardScaler())
        Z = scaler.fit_transform(problem.X, problem.truth, sample_domain=codes)
        assert sorted(scaler.transformers_) == [-1, 0, 1, 2]
        for code in (-1, 0, 1, 2):
            np.testing.assert_allclose(Z[codes == code], zscores(problem.X[codes == code]))
        np.testing.assert_array_equal(scaler.transform(problem.X, sample_domain=codes), Z)

    @pytest.mark.parametrize("n_sources", [1, 3])
    def test_a_domain_that_fit_has_not_seen(self, problem, n_sources):
        codes = np.where(problem.domain < 0, -1, np.arange(90) % n_sources)
        scaler = PerDomain(StandardScaler()).fit(problem.X, sample_domain=codes)
        for later in (7, -5):
            rows, given = problem.X[:12] + 100.0, np.full(12, later)
            np.testing.assert_allclose(scaler.transform(rows, sample_domain=given), zscores(rows))
            beside = np.r_[problem.X[codes == 0], rows]
            Z = scaler.transform(beside, sample_domain=np.r_[np.zeros(len(beside) - 12), given])
            np.testing.assert_allclose(Z[-12:], zscores(rows))
            with pytest.raises(ValueError, match=rf"domain {later}; fitted domains are .*its 9 rows are too few"):
                scaler.transform(rows[:9], sample_domain=given[:9])
        assert sorted(scaler.transformers_) == [-1, *range(n_sources)]

    def test_one_source_that_was_marked_is_every_source(self, problem):
        scaler = PerDomain(StandardScaler()).fit(problem.X, problem.y)
        source = problem.X[problem.domain >= 0]
        np.testing.assert_allclose(scaler.transform(source, sample_domain=np.arange(54) % 5), zscores(source))

    def test_several_targets_must_be_named(self, problem):
        codes = np.where(problem.domain < 0, -2 - np.arange(90) % 2, 0)
        scaler = PerDomain(StandardScaler()).fit(problem.X, sample_domain=codes)
        with pytest.raises(ValueError, match="sample_domain was not given, so all rows are target rows"):
            scaler.transform(problem.Xt)

    def test_two_targets(self, problem):
        codes = np.where(problem.domain < 0, -1 - np.arange(90) % 2, 0)
        scaler = PerDomain(StandardScaler()).fit(problem.X, sample_domain=codes)
        first = codes == -1
        Z = scaler.transform(problem.X[first], sample_domain=codes[first])
        np.testing.assert_allclose(Z, zscores(problem.X[first]))
        np.testing.assert_array_equal(scaler.transform(problem.X[first]), Z)

    def test_no_target_uses_the_source(self, problem):
        with pytest.warns(NoTargetWarning) as caught:
            scaler = PerDomain(StandardScaler()).fit(problem.X, problem.truth)
        assert len(caught) == 1
        np.testing.assert_allclose(scaler.transform(problem.X), zscores(problem.X))

    def test_missing_values_reach_an_imputer(self, problem):
        X = problem.X.copy()
        X[::7, 2] = np.nan
        Z = PerDomain(SimpleImputer()).fit_transform(X, problem.y)
        for side in (problem.domain >= 0, problem.domain < 0):
            missing = side & np.isnan(X[:, 2])
            np.testing.assert_allclose(Z[missing, 2], np.nanmean(X[side, 2]))
        with pytest.raises(ValueError, match="NaN"):
            PerDomain(PCA(2)).fit(X, problem.y)

    def test_names_of_the_columns(self, problem):
        frame = pd.DataFrame(problem.X, columns=list("abcdefgh"))
        scaler = PerDomain(StandardScaler()).fit(frame, problem.y)
        assert list(scaler.get_feature_names_out()) == list("abcdefgh")
        assert list(PerDomain(PCA(2)).fit(frame, problem.y).get_feature_names_out()) == ["pca0", "pca1"]

    @pytest.mark.parametrize(("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
    def test_set_output(self, problem, library, frame):
        X = frame(dict(zip("abcdefgh", problem.X.T, strict=True)))
        scaler = PerDomain(StandardScaler()).set_output(transform=library)
        for Z in (scaler.fit_transform(X, problem.y), scaler.transform(X, sample_domain=problem.domain)):
            assert isinstance(Z, frame)
            assert list(Z.columns) == list("abcdefgh")
            np.testing.assert_allclose(Z.to_numpy()[problem.domain < 0], zscores(problem.Xt))

    def test_float32_is_kept(self, problem):
        assert PerDomain(StandardScaler()).fit_transform(problem.X.astype(np.float32), problem.y).dtype == np.float32

    def test_inner_transformer_is_cloned(self, problem):
        inner = StandardScaler()
        PerDomain(inner).fit(problem.X, problem.y)
        assert not hasattr(inner, "mean_")

    def test_domains_that_give_other_numbers_of_columns_are_refused(self, problem):
        X = np.where(problem.domain < 0, 2, np.arange(90) % 2)[:, None].astype(float)
        encoder = PerDomain(OneHotEncoder(sparse_output=False))
        with pytest.raises(ValueError, match=r"same number of columns|number of columns"):
            encoder.fit_transform(X, problem.y)

    def test_sparse_output_is_refused(self, problem):
        X = (np.arange(90) % 2)[:, None].astype(float)
        with pytest.raises((ValueError, TypeError), match=r"[Ss]parse"):
            PerDomain(OneHotEncoder()).fit_transform(X, problem.y)


class Recorder(LogisticRegression):
    """Remembers what it was fitted on."""

    def fit(self, X, y, sample_weight=None):
        self.seen_ = (np.asarray(X), np.asarray(y), sample_weight)
        return super().fit(X, y, sample_weight)


class TestLabeledOnly:
    def test_learns_from_source_rows_only(self, problem):
        source = problem.domain >= 0
        model = LabeledOnly(LogisticRegression()).fit(problem.X, problem.y)
        plain = LogisticRegression().fit(problem.X[source], problem.truth[source])
        np.testing.assert_array_equal(model.classes_, [0, 1, 2])
        np.testing.assert_array_equal(model.predict(problem.Xt), plain.predict(problem.Xt))
        np.testing.assert_array_equal(model.predict_proba(problem.Xt), plain.predict_proba(problem.Xt))
        np.testing.assert_array_equal(model.decision_function(problem.Xt), plain.decision_function(problem.Xt))

    def test_sample_domain_hides_target_labels(self, problem):
        garbage = np.where(problem.domain < 0, 99, problem.truth)
        model = LabeledOnly(LogisticRegression()).fit(problem.X, garbage, sample_domain=problem.domain)
        np.testing.assert_array_equal(model.classes_, [0, 1, 2])

    @pytest.mark.parametrize(
        "weight", [np.arange(1.0, 91.0), np.arange(1.0, 91.0).tolist(), pd.Series(np.arange(1.0, 91.0))]
    )
    def test_sample_weight_is_cut(self, problem, weight):
        source = problem.domain >= 0
        model = LabeledOnly(Recorder()).fit(problem.X, problem.y, sample_weight=weight)
        X, y, seen = model.estimator_.seen_
        np.testing.assert_array_equal(X, problem.X[source])
        np.testing.assert_array_equal(y, problem.truth[source])
        np.testing.assert_array_equal(seen, np.arange(1.0, 91.0)[source])

    def test_weights_of_target_rows_are_not_read(self, problem):
        weight = np.where(problem.domain < 0, np.nan, np.arange(1.0, 91.0))
        seen = LabeledOnly(Recorder()).fit(problem.X, problem.y, sample_weight=weight).estimator_.seen_[2]
        np.testing.assert_array_equal(seen, weight[problem.domain >= 0])
        for wrong, message in (
            (weight[:54], r"sample_weight must have shape \(90,\)"),
            (-weight, "sample_weight must be finite and not negative on source rows; it is not on 54"),
        ):
            with pytest.raises(ValueError, match=message):
                LabeledOnly(Recorder()).fit(problem.X, problem.y, sample_weight=wrong)
        with pytest.raises(ValueError, match=r"passed to LabeledOnly, and KNeighborsClassifier.*takes none"):
            LabeledOnly(KNeighborsClassifier()).fit(problem.X, problem.y, sample_weight=weight)
        pipe = sklearn.pipeline.make_pipeline(StandardScaler(), LogisticRegression())
        inner = {"logisticregression__sample_weight": weight}
        expected = clone(pipe).fit(
            *(part[problem.domain >= 0] for part in (problem.X, problem.truth)),
            **{name: value[problem.domain >= 0] for name, value in inner.items()},
        )
        found = LabeledOnly(pipe).fit(problem.X, problem.y, **inner)
        np.testing.assert_array_equal(found.estimator_[-1].coef_, expected[-1].coef_)
        with pytest.raises(ValueError, match="logisticregression__sample_weight must be finite"):
            LabeledOnly(pipe).fit(problem.X, problem.y, **{name: -value for name, value in inner.items()})

    def test_frames_stay_frames(self, problem):
        frame = pd.DataFrame(problem.X, columns=list("abcdefgh"))
        model = LabeledOnly(LogisticRegression()).fit(frame, problem.y)
        assert list(model.feature_names_in_) == list("abcdefgh")
        assert model.n_features_in_ == 8

    def test_strings(self, problem):
        y = np.where(problem.domain < 0, None, np.array(["a", "b", "c"], object)[problem.truth])
        assert list(LabeledOnly(LogisticRegression()).fit(problem.X, y).classes_) == ["a", "b", "c"]

    def test_nan_marks_for_a_regressor(self, problem):
        source = problem.domain >= 0
        value = problem.X @ np.arange(8.0)
        model = LabeledOnly(Ridge()).fit(problem.X, np.where(source, value, np.nan))
        plain = Ridge().fit(problem.X[source], value[source])
        np.testing.assert_allclose(model.predict(problem.Xt), plain.predict(problem.Xt))
        assert not hasattr(model, "predict_proba")

    def test_nan_marks_for_two_regression_targets(self, problem):
        source = problem.domain >= 0
        values = problem.X @ np.arange(16.0).reshape(8, 2)
        model = LabeledOnly(Ridge()).fit(problem.X, np.where(source[:, None], values, np.nan))
        plain = Ridge().fit(problem.X[source], values[source])
        np.testing.assert_allclose(model.predict(problem.Xt), plain.predict(problem.Xt))

    def test_score_of_marked_rows_is_the_source_score_and_says_so(self, problem):
        source = problem.domain >= 0
        model = LabeledOnly(LogisticRegression()).fit(problem.X, problem.y)
        with pytest.warns(UserWarning, match="36 rows are marked as unlabelled"):
            score = model.score(problem.X, problem.y)
        assert score == model.estimator_.score(problem.X[source], problem.truth[source])
        with pytest.warns(UserWarning, match="36 rows are marked as unlabelled"):
            weighted = model.score(problem.X, problem.y, sample_weight=problem.truth + 1.0)
        predicted = model.predict(problem.X[source])
        weight = problem.truth[source] + 1.0
        assert weighted == accuracy_score(problem.truth[source], predicted, sample_weight=weight)
        assert model.score(problem.Xt, problem.yt) == model.estimator_.score(problem.Xt, problem.yt)

    def test_score_of_a_regressor_on_marked_rows(self, problem):
        source = problem.domain >= 0
        value = np.where(source, problem.X @ np.arange(8.0), np.nan)
        model = LabeledOnly(Ridge()).fit(problem.X, value)
        with pytest.warns(UserWarning, match="36 rows are marked as unlabelled"):
            assert model.score(problem.X, value) == model.estimator_.score(problem.X[source], value[source])

    def test_inner_estimator_is_cloned_and_searchable(self, problem):
        inner = LogisticRegression()
        model = LabeledOnly(inner).fit(problem.X, problem.y)
        assert not hasattr(inner, "classes_")
        assert model.get_params()["estimator__C"] == 1.0
        assert sklearn.base.is_classifier(model)
        assert sklearn.base.is_regressor(LabeledOnly(Ridge()))

    def test_score_after_nothing_is_labelled(self, problem):
        model = LabeledOnly(LogisticRegression()).fit(problem.X, problem.y)
        with pytest.raises(ValueError, match="y marks every row as unlabelled"):
            model.score(problem.X, np.full(90, -1))


def full_pipeline(**params):
    return make_pipeline(PerDomain(StandardScaler()), CORAL(), LogisticRegression(), **params)


class Doubler(TransformerMixin, BaseEstimator):
    """Counts its fits in a class attribute."""

    fits = 0

    def fit(self, X, y=None):
        type(self).fits += 1
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return 2 * X


class TestMakePipeline:
    def test_without_a_step_it_says_so(self):
        with pytest.raises(ValueError, match="make_pipeline needs at least one step"):
            make_pipeline()

    def test_is_a_plain_pipeline_with_plain_names(self):
        pipe = full_pipeline()
        assert type(pipe) is sklearn.pipeline.Pipeline
        assert [name for name, _ in pipe.steps] == ["perdomain", "coral", "logisticregression"]
        assert isinstance(pipe[-1], LabeledOnly)

    @pytest.mark.parametrize(
        "last",
        [
            JDA(),
            CORAL(),
            ARTL(),
            LabeledOnly(LogisticRegression()),
            GridSearchCV(JDA(), {"ridge": [1.0]}),
            GridSearchCV(LabeledOnly(LogisticRegression()), {}),
            StandardScaler(),
            "passthrough",
            None,
            sklearn.pipeline.make_pipeline(StandardScaler(), JDA()),
        ],
        ids=lambda last: str(last).replace("\n", ""),
    )
    def test_what_reads_domains_or_predicts_nothing_is_not_wrapped(self, last):
        assert make_pipeline(StandardScaler(), last)[-1] is last

    @pytest.mark.parametrize(
        "last",
        [
            KNeighborsClassifier(),
            Ridge(),
            RandomForestClassifier(),
            GridSearchCV(LogisticRegression(), {"C": [1.0]}),
            sklearn.pipeline.make_pipeline(StandardScaler(), LogisticRegression()),
        ],
        ids=lambda last: str(last).replace("\n", ""),
    )
    def test_what_would_learn_the_mark_is_wrapped(self, last):
        wrapped = make_pipeline(StandardScaler(), last)[-1]
        assert isinstance(wrapped, LabeledOnly)
        assert wrapped.estimator is last

    def test_nested_parameters(self):
        pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(estimator=KNeighborsClassifier()), LogisticRegression())
        names = {
            "perdomain__transformer__with_mean": False,
            "coral__ridge": 0.5,
            "coral__estimator__n_neighbors": 3,
            "logisticregression__estimator__C": 0.1,
        }
        assert names.keys() <= pipe.get_params().keys()
        copy = clone(pipe.set_params(**names))
        assert {name: copy.get_params()[name] for name in names} == names

    def test_the_trap_of_the_plain_pipeline_and_the_way_out(self, problem):
        """scikit-learn's own make_pipeline hands the mark to the classifier as a class; ours does not."""
        plain = sklearn.pipeline.make_pipeline(CORAL(ridge=0.1), KNeighborsClassifier())
        with pytest.warns(LearnedMarkWarning, match=r"KNeighborsClassifier, the last step.*shallowda\.make_pipeline"):
            plain.fit(problem.X, problem.y)
        assert list(plain.classes_) == [-1, 0, 1, 2]
        assert np.mean(plain.predict(problem.Xt) == -1) > 0.5
        ours = make_pipeline(CORAL(ridge=0.1), KNeighborsClassifier()).fit(problem.X, problem.y)
        assert list(ours.classes_) == [0, 1, 2]
        assert ours.score(problem.Xt, problem.yt) > 0.9

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_resampling_goes_inside(self, problem, place):
        """imbalanced-learn's pipeline of resampler and classifier is one estimator, fitted on labelled rows."""
        steps = [StandardScaler(), CORAL(), LogisticRegression()]
        for resampler in (Twice(), LabeledOnly(Twice())):
            with pytest.raises(
                TypeError, match=r"Twice changes the number of rows.*make_pipeline\(Twice\(\.\.\.\), class"
            ):
                make_pipeline(*steps[:place], resampler, *steps[place:])
        pipe = make_pipeline(*steps[:2], ResampledPipeline([("twice", Twice()), ("last", Recorder())]))
        pipe.fit(problem.X, problem.y)
        assert list(pipe.classes_) == [0, 1, 2]
        X, y, _ = pipe[-1].estimator_.steps[-1][1].seen_
        assert len(X) == len(y) == 2 * np.sum(problem.domain >= 0)
        assert accuracy_score(problem.yt, pipe.predict(problem.Xt)) > 0.8

    def test_equals_the_steps_by_hand(self, problem):
        source = problem.domain >= 0
        Z = np.empty_like(problem.X)
        Z[source], Z[~source] = zscores(problem.X[source]), zscores(problem.X[~source])
        adapted = CORAL().fit_transform(Z, problem.y)
        learner = LogisticRegression().fit(adapted[source], problem.truth[source])
        pipe = full_pipeline().fit(problem.X, problem.y)
        np.testing.assert_array_equal(pipe.predict(problem.Xt), learner.predict(Z[~source]))
        np.testing.assert_allclose(pipe.predict_proba(problem.Xt), learner.predict_proba(Z[~source]))

    def test_adapter_with_labels_before_a_regressor(self, problem):
        value = np.where(problem.domain < 0, np.nan, problem.X @ np.arange(8.0))
        pipe = make_pipeline(StandardScaler(), TCAEstimator(5), Ridge()).fit(problem.X, value)
        assert np.corrcoef(pipe.predict(problem.Xt), problem.Xt @ np.arange(8.0))[0, 1] > 0.5

    def test_names_of_the_columns(self, problem):
        pipe = full_pipeline().fit(pd.DataFrame(problem.X, columns=list("abcdefgh")), problem.y)
        assert list(pipe[:-1].get_feature_names_out()) == list("abcdefgh")

    def test_frames_between_the_steps(self, problem):
        expected = full_pipeline().fit(problem.X, problem.y).predict(problem.Xt)
        for library in ("pandas", "polars"):
            with sklearn.config_context(transform_output=library):
                np.testing.assert_array_equal(full_pipeline().fit(problem.X, problem.y).predict(problem.Xt), expected)

    def test_memory_caches_the_transformers(self, problem, tmp_path):
        Doubler.fits = 0
        pipes = [make_pipeline(Doubler(), CORAL(ridge=0.1), LogisticRegression(), memory=str(tmp_path)) for _ in "ab"]
        predictions = [pipe.fit(problem.X, problem.y).predict(problem.Xt) for pipe in pipes]
        assert Doubler.fits == 1
        np.testing.assert_array_equal(*predictions)
        uncached = make_pipeline(Doubler(), CORAL(ridge=0.1), LogisticRegression()).fit(problem.X, problem.y)
        np.testing.assert_array_equal(uncached.predict(problem.Xt), predictions[0])


class TestRouting:
    @pytest.fixture
    def _routing(self):
        with sklearn.config_context(enable_metadata_routing=True):
            yield

    def by_marks(self, problem):
        return full_pipeline().fit(problem.X, problem.y).predict(problem.Xt)

    @pytest.mark.usefixtures("_routing")
    def test_on(self, problem):
        pipe = full_pipeline().fit(problem.X, problem.truth, sample_domain=problem.domain)
        np.testing.assert_array_equal(pipe.predict(problem.Xt), self.by_marks(problem))

    def test_off(self, problem):
        steps = ("perdomain", "coral", "logisticregression")
        params = {f"{step}__sample_domain": problem.domain for step in steps}
        pipe = full_pipeline().fit(problem.X, problem.truth, **params)
        np.testing.assert_array_equal(pipe.predict(problem.Xt), self.by_marks(problem))

    @pytest.mark.parametrize("on", [False, True])
    def test_every_method_last(self, make, problem, on):
        pipe = make_pipeline(StandardScaler(), make())
        name = pipe.steps[-1][0]
        expected = clone(pipe).fit(problem.X, problem.y).predict(problem.Xt)
        with sklearn.config_context(enable_metadata_routing=on):
            pipe.fit(problem.X, problem.truth, **{"sample_domain" if on else f"{name}__sample_domain": problem.domain})
            np.testing.assert_array_equal(pipe.predict(problem.Xt), expected)

    @pytest.mark.usefixtures("_routing")
    def test_source_rows_are_reached_at_predict(self, problem):
        pipe = make_pipeline(PerDomain(StandardScaler()), SubspaceAlignment(3))
        pipe.fit(problem.X, problem.truth, sample_domain=problem.domain)
        routed = pipe.predict(problem.X, sample_domain=problem.domain)
        Z = pipe[0].transform(problem.X, sample_domain=problem.domain)
        np.testing.assert_array_equal(routed, pipe[1].predict(Z, sample_domain=problem.domain))
        assert np.any(routed != pipe.predict(problem.X))

    @pytest.mark.usefixtures("_routing")
    @pytest.mark.parametrize("scoring", [None, "accuracy", source_accuracy])
    def test_grid_search(self, problem, scoring):
        search = GridSearchCV(
            full_pipeline(), {"coral__ridge": [0.1, 1.0]}, cv=CV, scoring=scoring, error_score="raise"
        )
        search.fit(problem.X, problem.y, sample_domain=problem.domain)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        assert list(search.classes_) == [0, 1, 2]

    @pytest.mark.usefixtures("_routing")
    def test_domain_decides_in_every_fold(self, problem):
        """Target labels that are all wrong change no score: each fold's part of sample_domain arrives with it."""
        wrong = np.where(problem.domain < 0, 99, problem.truth)
        folds = list(StratifiedSourceTargetKFold(3, random_state=0).split(problem.X, wrong, problem.domain))
        scores = [
            cross_validate(
                full_pipeline(), problem.X, y, cv=folds, params={"sample_domain": problem.domain}, error_score="raise"
            )["test_score"]
            for y in (wrong, problem.truth)
        ]
        np.testing.assert_array_equal(*scores)

    @pytest.mark.usefixtures("_routing")
    def test_sample_weight_reaches_the_classifier(self, problem):
        learner = Recorder().set_fit_request(sample_weight=True)
        pipe = make_pipeline(CORAL(ridge=0.1), learner)
        weight = np.arange(1.0, 91.0)
        pipe.fit(problem.X, problem.truth, sample_domain=problem.domain, sample_weight=weight)
        np.testing.assert_array_equal(pipe[-1].estimator_.seen_[2], weight[problem.domain >= 0])

    @pytest.mark.parametrize("on", [False, True])
    def test_sample_weight_in_every_fold_of_a_search(self, problem, on):
        """Rows without weight might as well not be there: their labels, all wrong, change no fold."""
        source = np.flatnonzero(problem.domain >= 0)
        weight = np.where(problem.domain < 0, np.nan, 1.0)
        weight[source[::3]] = 0.0
        wrong = problem.y.copy()
        wrong[source[::3]] = (wrong[source[::3]] + 1) % 3
        with sklearn.config_context(enable_metadata_routing=on):
            learner = LogisticRegression(tol=1e-10)
            if on:
                learner.set_fit_request(sample_weight=True)
            search = GridSearchCV(
                make_pipeline(CORAL(ridge=0.1), learner),
                {"logisticregression__estimator__C": [0.1, 10.0]},
                cv=list(CV.split(problem.X, problem.y)),
                scoring=lambda model, X, y: model.predict_proba(problem.Xt)[:, 0].sum(),
                error_score="raise",
            )
            told = {"sample_weight" if on else "logisticregression__sample_weight": weight}
            scores = [clone(search).fit(problem.X, y, **told).cv_results_ for y in (problem.y, wrong)]
        np.testing.assert_allclose(scores[0]["mean_test_score"], scores[1]["mean_test_score"], rtol=1e-6)

    def test_grid_search_without_routing(self, problem):
        """fit parameters with a step's prefix are sliced per fold too."""
        wrong = np.where(problem.domain < 0, 99, problem.truth)
        folds = list(StratifiedSourceTargetKFold(3, random_state=0).split(problem.X, wrong, problem.domain))
        search = GridSearchCV(make_pipeline(StandardScaler(), JDA(3)), {"jda__ridge": [0.1, 1.0]}, cv=folds)
        search.fit(problem.X, wrong, jda__sample_domain=problem.domain)
        assert list(search.classes_) == [0, 1, 2]
        assert search.best_score_ > 0.8

    @pytest.mark.usefixtures("_routing")
    def test_target_labels_do_not_reach_the_folds(self, problem):
        """The splitter is told the domains too, or labelled target rows would be scored."""
        searches = [
            GridSearchCV(full_pipeline(), {"coral__ridge": [0.1, 1.0]}, cv=CV, error_score="raise")
            .fit(problem.X, y, sample_domain=problem.domain)
            .cv_results_["mean_test_score"]
            for y in (problem.y, problem.truth, np.where(problem.domain < 0, 0, problem.truth))
        ]
        np.testing.assert_array_equal(searches[1], searches[0])
        np.testing.assert_array_equal(searches[2], searches[0])

    def test_target_labels_do_not_reach_the_folds_without_routing(self, problem):
        scores = [
            cross_val_score(
                make_pipeline(StandardScaler(), JDA(3)),
                problem.X,
                y,
                groups=problem.domain,
                cv=CV,
                params={"jda__sample_domain": problem.domain},
            )
            for y in (problem.y, problem.truth)
        ]
        np.testing.assert_array_equal(*scores)

    def test_import_leaves_the_configuration_alone(self, pytestconfig):
        code = (
            "import sklearn; before = sklearn.get_config(); import shallowda, shallowda.model_selection; "
            "assert sklearn.get_config() == before"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60, cwd=pytestconfig.rootpath)


class TestSearch:
    def test_grid_search_in_two_processes(self, problem):
        grid = {"coral__ridge": [0.1, 1.0], "logisticregression__estimator__C": [0.1, 1.0]}
        search = GridSearchCV(full_pipeline(), grid, cv=CV, scoring=source_accuracy, n_jobs=2, error_score="raise")
        search.fit(problem.X, problem.y)
        alone = clone(search).set_params(n_jobs=1).fit(problem.X, problem.y)
        np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
        assert search.predict(problem.Xt).shape == (36,)
        assert accuracy_score(problem.yt, search.predict(problem.Xt)) > 0.8

    def test_default_scoring_with_our_splitter_scores_source_rows_as_target_rows(self, problem):
        """None and "accuracy" know no domains: right numbers of rows, but every row takes the target's map."""
        pipe = make_pipeline(PerDomain(StandardScaler()), SubspaceAlignment(2))
        default, accuracy = (cross_val_score(pipe, problem.X, problem.y, cv=CV, scoring=s) for s in (None, "accuracy"))
        np.testing.assert_array_equal(default, accuracy)
        by_hand = []
        for train, test in CV.split(problem.X, problem.y):
            fitted = clone(pipe).fit(problem.X[train], problem.y[train])
            by_hand.append(np.mean(fitted.predict(problem.X[test]) == problem.y[test]))
        np.testing.assert_allclose(default, by_hand)

    def test_default_scoring_with_a_plain_splitter_warns_and_leaves_marks_out(self, make, problem):
        cv = StratifiedKFold(3, shuffle=True, random_state=0)
        with pytest.warns(UserWarning, match="rows are marked as unlabelled") as caught:
            scores = cross_val_score(make(), problem.X, problem.y, cv=cv)
        assert len(caught) == 3
        assert scores.min() > 0.6

    def test_accuracy_with_a_plain_splitter_counts_marks_as_errors(self, problem):
        """The trap to know: 36 of 90 rows are marked, so no model can pass 0.6."""
        cv = StratifiedKFold(3, shuffle=True, random_state=0)
        scores = cross_val_score(CORAL(ridge=0.1), problem.X, problem.y, cv=cv, scoring="accuracy")
        assert np.all(scores <= 0.6)

    def test_cross_val_predict(self, problem):
        cv = StratifiedKFold(3, shuffle=True, random_state=0)
        predicted = cross_val_predict(full_pipeline(), problem.X, problem.y, cv=cv)
        assert set(predicted) <= {0, 1, 2}
        assert np.mean(predicted[problem.domain < 0] == problem.yt) > 0.8
