"""Rows: equal ones among them, and what estimators inside may do to them."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from shallowda import ARTL, BDA, CORAL, JDA, TJM, PerDomain, TCAEstimator, pack_domains
from shallowda.diagnosis import DomainShiftReport
from shallowda.kernels.copies import first_equal
from shallowda.metrics import mmd

KERNEL_METHODS = [TCAEstimator, JDA, BDA, TJM, ARTL]


@pytest.fixture(scope="module", params=range(4))
def categories(request):
    """One-hot rows with many copies, whose labels conflict; source, target, and rows that are new in part."""
    rng = np.random.default_rng(request.param)

    def rows(n, cards):
        return np.hstack([np.eye(card)[rng.integers(0, card, n)] for card in cards])

    cards = [(3, 2, 2), (5, 6, 4), (3, 4, 2, 2), (5, 6, 4, 3)][request.param]
    Xs, Xt, new = rows(130, cards), rows(111, cards), rows(90, cards)
    return Xs, (Xs[:, 0] + rng.random(130) > 0.9).astype(int), Xt, new


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kernel", ["rbf", "poly", "laplacian", "sigmoid", "cosine", "linear"])
@pytest.mark.parametrize("kind", KERNEL_METHODS)
def test_copies_among_categorical_rows(kind, kernel, categories):
    """Equal rows get one embedding and one prediction, in whichever blocks and order they come; so do rows of fit."""
    Xs, ys, Xt, new = categories
    X, y, sample_domain = pack_domains(Xs, ys, Xt)
    model = kind(kernel=kernel).fit(X, y)
    order = np.random.default_rng(0).permutation(len(Xt))
    for rows in (Xt, new):
        predicted = model.predict(rows)
        blocks = [model.predict(rows[start : start + 7]) for start in range(0, len(rows), 7)]
        np.testing.assert_array_equal(np.concatenate(blocks), predicted)
        np.testing.assert_array_equal(np.concatenate([model.predict(row[None]) for row in rows]), predicted)
        np.testing.assert_array_equal(model.predict(rows[order % len(rows)]), predicted[order % len(rows)])
    if hasattr(model, "pseudo_labels_"):
        np.testing.assert_array_equal(model.predict(Xt), model.pseudo_labels_)
    if hasattr(model, "transform"):
        Z = model.fit_transform(X, y)
        first = first_equal(X)
        np.testing.assert_array_equal(Z, Z[first])
        again = model.transform(X, sample_domain=sample_domain)
        np.testing.assert_array_equal(again, again[first])
        if kernel != "linear":  # rows of fit are known again
            np.testing.assert_array_equal(again, Z)
            np.testing.assert_array_equal(model.transform(Xt[order]), Z[len(Xs) :][order])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["squared", "hinge"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_that_are_round_off_decide_nothing(n_classes, kernel, loss, dtype):
    """Copies have every label equally often, so all scores are ties, which the first class wins."""
    Xs, ys = np.repeat(np.eye(3, dtype=dtype), 4 * n_classes, axis=0), np.tile(np.arange(n_classes), 12)
    Xt = np.tile(np.eye(3, dtype=dtype), (10, 1))
    X, y, _ = pack_domains(Xs, ys, Xt)
    model = ARTL(loss, kernel=kernel).fit(X, y)
    predicted = model.predict(Xt)
    np.testing.assert_array_equal(predicted, model.pseudo_labels_)
    np.testing.assert_array_equal(predicted, np.tile(predicted[:3], 10))
    np.testing.assert_array_equal(np.concatenate([model.predict(row[None]) for row in Xt]), predicted)


@pytest.mark.filterwarnings("ignore:Every source row")
@pytest.mark.parametrize("kind", [TCAEstimator, JDA, BDA, TJM])
def test_what_transform_returns_may_be_written_into(kind):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), np.repeat([0, 1, -1], 10)
    model = kind(2, kernel="rbf").fit(X, y)
    Z = model.transform(X[20:])
    kept = Z.copy()
    Z[:] = 0
    np.testing.assert_array_equal(model.transform(X[20:]), kept)


@pytest.mark.filterwarnings("ignore:n_components")
@pytest.mark.parametrize("kind", [ARTL, CORAL, JDA])
def test_a_base_classifier_that_works_in_place_changes_nothing(kind):
    rng = np.random.default_rng(0)
    X, y = 3 * rng.standard_normal((60, 4)) + 1, np.repeat([0, 1, -1], 20)
    kept = X.copy()
    inside, beside = (make_pipeline(StandardScaler(copy=copy), LogisticRegression()) for copy in (False, True))
    model, other = kind(estimator=inside).fit(X, y), kind(estimator=beside).fit(X, y)
    np.testing.assert_array_equal(X, kept)
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    if hasattr(model, "transform"):
        np.testing.assert_array_equal(model.fit_transform(X, y), other.fit_transform(X, y))


class TestColumnsOfText:
    """A column that is no number is named, by whatever reads rows."""

    @pytest.fixture
    def frame(self, problem):
        frame = pd.DataFrame(problem.X, columns=list("abcdefgh"))
        return frame.assign(e=np.where(np.arange(len(frame)) > 5, "high", "1.5"))

    @pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, "category"])
    def test_in_frames(self, kind, frame, problem):
        frame = frame.astype({"e": "category"}) if kind == "category" else kind(frame.to_dict("list"))
        message = "X must hold numbers, and its column 'e' holds text such as 'high'"
        for model in (CORAL(), PerDomain(StandardScaler()), make_pipeline(PerDomain(StandardScaler()), CORAL())):
            with pytest.raises(ValueError, match=message):
                model.fit(frame, problem.y)
        source = problem.domain >= 0
        parts = frame.filter(source) if kind is pl.DataFrame else frame[source], problem.Xt
        for measure in (mmd, lambda Xs, Xt: DomainShiftReport(Xs, None, Xt)):
            with pytest.raises(ValueError, match="Xs must hold numbers, and its column 'e'"):
                measure(*parts)

    def test_in_arrays(self, frame, problem):
        with pytest.raises(ValueError, match="its column 4 holds text such as 'high'"):
            CORAL().fit(frame.to_numpy(), problem.y)

    def test_other_errors_are_left_alone(self, problem):
        with pytest.raises(ValueError, match="NaN"):
            CORAL().fit(pd.DataFrame(np.where(problem.X > 0, np.nan, problem.X)).astype(object), problem.y)
