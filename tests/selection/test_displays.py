"""The displays show what was fitted, on the axes they are given, and leave pyplot alone."""

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from shallowda import ARTL, BDA, CORAL, JDA, TJM, PerDomain, TCAEstimator, make_pipeline
from shallowda.diagnosis import AdaptationHistoryDisplay, EmbeddingDisplay, ShiftDisplay, feature_shift
from shallowda.model_selection import StratifiedSourceTargetKFold, source_accuracy


def drawn(ax):
    """Points of all scatters, in the order drawn; empty ones stand for the legend."""
    return np.concatenate([part.get_offsets() for part in ax.collections if isinstance(part, PathCollection)])


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


class TestEmbedding:
    def test_plane_of_an_embedding(self, shifted):
        model = TCAEstimator(2, estimator=LogisticRegression()).fit(shifted.X, shifted.y)
        display = EmbeddingDisplay.from_estimator(model, shifted.X, shifted.y)
        np.testing.assert_allclose(display.points, model.transform(shifted.X), atol=1e-9)
        np.testing.assert_array_equal(display.source, shifted.y >= 0)
        np.testing.assert_array_equal(display.labels[display.source], shifted.y[shifted.y >= 0])
        np.testing.assert_array_equal(display.labels[~display.source], model.predict(shifted.X[shifted.y < 0]))
        assert sorted(map(tuple, drawn(display.ax_))) == sorted(map(tuple, display.points))
        assert legend(display.ax_) == ["source", "target", "0", "1", "2"]
        assert display.figure_ is display.ax_.figure

    def test_source_rows_take_the_source_map(self, shifted):
        model = CORAL(ridge=0.1).fit(shifted.X, shifted.y)
        display = EmbeddingDisplay.from_estimator(model, shifted.X, shifted.y)
        Z = model.transform(shifted.X, sample_domain=shifted.domain)
        Z = Z - Z.mean(axis=0)
        _, _, V = np.linalg.svd(Z, full_matrices=False)
        np.testing.assert_allclose(np.abs(display.points), np.abs(Z @ V[:2].T), atol=1e-9)

    def test_pipeline_search_and_domains_instead_of_marks(self, shifted):
        pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(), LogisticRegression())
        search = GridSearchCV(pipe, {"coral__ridge": [1]}, scoring=source_accuracy, cv=StratifiedSourceTargetKFold(3))
        search.fit(shifted.X, shifted.y)
        by_search = EmbeddingDisplay.from_estimator(search, shifted.X, shifted.y)
        by_pipe = EmbeddingDisplay.from_estimator(search.best_estimator_, shifted.X, sample_domain=shifted.domain)
        np.testing.assert_allclose(by_search.points, by_pipe.points, atol=1e-9)
        assert by_pipe.labels is None
        assert legend(by_pipe.ax_) == ["source", "target"]

    def test_one_dimension_and_no_embedding(self, shifted):
        line = EmbeddingDisplay.from_estimator(TCAEstimator(1).fit(shifted.X, shifted.y), shifted.X, shifted.y)
        assert line.points.shape == (150, 2)
        assert np.all(line.points[:, 1] == 0)
        rows = EmbeddingDisplay.from_estimator(ARTL().fit(shifted.X, shifted.y), shifted.X, shifted.y)
        centred = shifted.X - shifted.X.mean(axis=0)
        np.testing.assert_allclose(np.sum(rows.points**2), np.sum(np.linalg.svd(centred)[1][:2] ** 2))

    def test_many_classes_are_not_named(self):
        labels = np.arange(40) % 20
        points = np.random.RandomState(0).randn(40, 2)
        display = EmbeddingDisplay(points, source=np.arange(40) < 20, labels=labels).plot()
        assert legend(display.ax_) == ["source", "target"]
        assert len(drawn(display.ax_)) == 40

    def test_needs_to_know_the_target(self, shifted):
        model = CORAL().fit(shifted.X, shifted.y)
        with pytest.raises(ValueError, match="EmbeddingDisplay must know which rows are target rows"):
            EmbeddingDisplay.from_estimator(model, shifted.X)


class TestShift:
    def test_bars_are_the_statistics(self, shifted):
        display = ShiftDisplay.from_arrays(shifted.Xs, shifted.Xt, feature_names=list("abcd"), max_features=3)
        shift = feature_shift(shifted.Xs, shifted.Xt)
        order = shift.order[:3]
        assert order[0] == 3
        np.testing.assert_array_equal([bar.get_width() for bar in display.ax_.patches], shift.ks[order])
        assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["abcd"[i] for i in order]
        texts = [text.get_text() for text in display.ax_.texts]
        assert texts[0] == f"mean {shift.mean_difference[3]:+.2g} sd, variance × {shift.variance_ratio[3]:.2g}"

    def test_names(self, shifted):
        names = ["p", "q", "r", "a $name$ that is far too long for a label"]
        frames = [pd.DataFrame(X, columns=names) for X in (shifted.Xs, shifted.Xt)]
        display = ShiftDisplay.from_arrays(*frames)
        shown = display.ax_.get_yticklabels()[0].get_text()
        assert shown == r"a \$name\$ that is far to…"
        assert ShiftDisplay.from_arrays(shifted.Xs, shifted.Xt).feature_names == ["x0", "x1", "x2", "x3"]
        with pytest.raises(ValueError, match="There are 1 feature_names for 4 features"):
            ShiftDisplay.from_arrays(shifted.Xs, shifted.Xt, feature_names=["a"])
        with pytest.raises(ValueError, match="max_features must be at least 1"):
            ShiftDisplay.from_arrays(shifted.Xs, shifted.Xt, max_features=0)


class TestHistory:
    @pytest.mark.parametrize("model", [JDA(2), BDA(2), ARTL(max_iter=3)], ids=lambda model: type(model).__name__)
    def test_objective_and_changes(self, model, shifted):
        model.fit(shifted.X, shifted.y)
        display = AdaptationHistoryDisplay.from_estimator(model)
        (line,) = display.ax_.lines
        np.testing.assert_array_equal(line.get_ydata(), model.history_["objective"])
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(model.history_["objective"]) + 1))
        changes = [bar.get_height() for bar in display.label_ax_.patches]
        assert changes == model.history_["label_changes"]
        assert display.ax_.get_title(loc="left")

    def test_without_labels(self, shifted):
        model = TJM(2).fit(0.01 * shifted.X, shifted.y)
        display = AdaptationHistoryDisplay.from_estimator(model)
        assert display.label_ax_ is None
        assert display.history is model.history_

    def test_inside_a_pipeline(self, shifted):
        pipe = make_pipeline(StandardScaler(), JDA(2)).fit(shifted.X, shifted.y)
        display = AdaptationHistoryDisplay.from_estimator(pipe)
        assert display.history is pipe[-1].history_

    def test_a_cycle_marks_the_pass_that_was_kept(self):
        history = {"objective": [3.0, 1.0, 2.0], "label_changes": [9, 4, 4], "stopped": "cycle", "kept": 1}
        display = AdaptationHistoryDisplay(history).plot()
        (note,) = display.ax_.texts
        assert (note.get_text(), note.xy) == ("kept", (2, 1.0))
        assert "cycle" in display.ax_.get_title(loc="left")

    @pytest.mark.parametrize("model", [CORAL(), JDA()], ids=["none", "not fitted"])
    def test_no_history(self, model):
        with pytest.raises(ValueError, match="has no history_"):
            AdaptationHistoryDisplay.from_estimator(model)


def displays(shifted, ax=None):
    model = JDA(2).fit(shifted.X, shifted.y)
    yield EmbeddingDisplay.from_estimator(model, shifted.X, shifted.y, ax=ax)
    yield ShiftDisplay.from_arrays(shifted.Xs, shifted.Xt, ax=ax)
    yield AdaptationHistoryDisplay.from_estimator(model, ax=ax)


def test_given_axes_are_used(shifted):
    ax = Figure().subplots()
    for display in displays(shifted, ax):
        assert display.ax_ is ax
        assert display.figure_ is ax.figure


def test_notebook_sees_a_picture_and_pyplot_nothing(shifted):
    for display in displays(shifted):
        assert display._repr_html_().startswith('<img alt="')
        assert "data:image/png;base64," in display._repr_html_()
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    assert ShiftDisplay(feature_shift(shifted.Xs, shifted.Xt), feature_names=list("abcd"))._repr_html_() is None


def test_missing_matplotlib_is_named(monkeypatch, shifted):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'Install with: pip install "shallowda\[report\]"'):
        ShiftDisplay.from_arrays(shifted.Xs, shifted.Xt)
