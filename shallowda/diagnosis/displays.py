"""Figures of domains and of fitted estimators, after scikit-learn's displays: ``from_...``, ``plot(ax=...)``, ``ax_``.

matplotlib is imported when a figure is drawn: ``pip install "shallowda[report]"``. Nothing is registered with pyplot:
in a notebook `figure_` shows itself.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA

from shallowda.diagnosis.extra import require_extra
from shallowda.diagnosis.single_features import FeatureShift, feature_shift
from shallowda.model_selection.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CLASS_COLOURS", "AdaptationHistoryDisplay", "EmbeddingDisplay", "ShiftDisplay"]

BLUE, ORANGE, GREY = "#2f83b8", "#d9661f", "#7f7f7f"  # each to be seen on white and on black
# Ten colours made to stay apart for colour-blind readers too (M. Petroff, arXiv:2107.02270).
CLASS_COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
_NAMED = len(CLASS_COLOURS)  # classes that a legend names


class _Display:
    """What the displays share: where they draw."""

    ax_: Axes
    figure_: Figure

    def _axes(self, ax: Axes | None) -> Axes:
        self.ax_ = new_axes() if ax is None else ax
        self.figure_ = self.ax_.figure  # type: ignore[assignment]
        return self.ax_

    def _repr_html_(self) -> str | None:
        if not hasattr(self, "figure_"):
            return None
        return f'<img alt="{type(self).__name__}" style="max-width: 100%" src="{png(self.figure_)}">'


class EmbeddingDisplay(_Display):
    """Rows of both domains in the plane, by domain and class.

    Source rows are dots, target rows crosses.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
    source : ndarray of shape (n,), bool
        True on source rows.
    labels : ndarray of shape (n,), optional
        Classes; those of target rows are predictions, as a rule.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import CORAL, pack_domains
    >>> from shallowda.diagnosis import EmbeddingDisplay
    >>> rng = np.random.RandomState(0)
    >>> X, y, sample_domain = pack_domains(rng.randn(20, 3), np.repeat([0, 1], 10), rng.randn(20, 3) + 1)
    >>> display = EmbeddingDisplay.from_estimator(CORAL().fit(X, y), X, y)
    >>> display.points.shape
    (40, 2)
    """

    def __init__(self, points: np.ndarray, *, source: np.ndarray, labels: np.ndarray | None = None) -> None:
        self.points = points
        self.source = source
        self.labels = labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        sample_domain: ArrayLike | None = None,
        ax: Axes | None = None,
    ) -> EmbeddingDisplay:
        """Draw what a fitted estimator makes of rows, each mapped by the map of its own domain.

        Parameters
        ----------
        estimator : fitted adapter, or Pipeline or search with one
            For ARTL, which embeds nothing, the rows themselves are drawn.
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,), optional
            Labels on source rows, marks on target rows. Without it no classes are drawn.
        sample_domain : array-like of shape (n,), optional
            >= 0 for source rows, < 0 for target rows.
        ax : matplotlib Axes, optional

        Returns
        -------
        display : EmbeddingDisplay
            Of the first two principal components, where the embedding has more than two.

        Raises
        ------
        ValueError
            If neither y nor sample_domain says which rows are target rows.
        """
        view = View(cls.__name__, estimator, X, y, sample_domain)
        Z = view.embedding
        points = PCA(2).fit_transform(Z) if Z.shape[1] > 2 else np.column_stack([Z, np.zeros((len(Z), 2 - Z.shape[1]))])
        labels = None
        if view.y is not None and hasattr(view.estimator, "predict"):
            labels = np.array(view.predicted, dtype=object)
            labels[view.source] = view.source_labels
        return cls(points, source=view.codes >= 0, labels=labels).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> EmbeddingDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A figure is made without it.

        Returns
        -------
        self : EmbeddingDisplay
        """
        ax = self._axes(ax)
        labels = np.zeros(len(self.points), dtype=int) if self.labels is None else np.asarray(self.labels)
        names = np.unique(labels)
        by_class = self.labels is not None
        looks: tuple[dict, dict] = (
            {"marker": "o", "s": 14, "alpha": 0.5, "linewidth": 0},
            {"marker": "x", "s": 18, "alpha": 0.8, "linewidth": 1},
        )
        for source, look, domain in zip((True, False), looks, ("source", "target"), strict=True):
            of_domain = self.source == source
            if by_class:
                for number, name in enumerate(names):
                    rows = self.points[of_domain & (labels == name)]
                    ax.scatter(*rows.T, color=CLASS_COLOURS[number % _NAMED], **look)
                ax.scatter([], [], color=GREY, label=domain, **look)
            else:
                ax.scatter(*self.points[of_domain].T, color=BLUE if source else ORANGE, label=domain, **look)
        if by_class and len(names) <= _NAMED:
            for number, name in enumerate(names):
                ax.scatter([], [], color=CLASS_COLOURS[number], marker="s", label=_short(str(name)))
        ax.set_xticks([])
        ax.set_yticks([])
        _legend(ax)
        return self


class ShiftDisplay(_Display):
    """The features that differ most between the domains.

    Bars are Kolmogorov-Smirnov statistics, with the shift of the mean (in standard deviations) and the ratio of the
    variances beside them.

    Parameters
    ----------
    features : FeatureShift
    feature_names : sequence of str

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.diagnosis import ShiftDisplay
    >>> rng = np.random.RandomState(0)
    >>> display = ShiftDisplay.from_arrays(rng.randn(50, 2), rng.randn(50, 2) + [0, 3], feature_names=["a", "b"])
    >>> [tick.get_text()[0] for tick in display.ax_.get_yticklabels()]
    ['b', 'a']
    """

    def __init__(self, features: FeatureShift, *, feature_names: Sequence[str]) -> None:
        self.features = features
        self.feature_names = feature_names

    @classmethod
    def from_arrays(
        cls,
        Xs: ArrayLike,
        Xt: ArrayLike,
        *,
        feature_names: Sequence[str] | None = None,
        max_features: int = 15,
        ax: Axes | None = None,
    ) -> ShiftDisplay:
        """Compare the domains feature by feature, and draw.

        Parameters
        ----------
        Xs : array-like of shape (n_source, d)
        Xt : array-like of shape (n_target, d)
        feature_names : sequence of str, optional
            Default: the columns of a DataFrame, else x0, x1, ...
        max_features : int, default=15
            Bars at most.
        ax : matplotlib Axes, optional

        Returns
        -------
        display : ShiftDisplay
        """
        features = feature_shift(Xs, Xt)
        if feature_names is None:
            feature_names = list(getattr(Xs, "columns", [f"x{i}" for i in range(len(features.ks))]))
        if len(feature_names) != len(features.ks):
            raise ValueError(f"There are {len(feature_names)} feature_names for {len(features.ks)} features.")
        return cls(features, feature_names=[str(name) for name in feature_names]).plot(max_features, ax=ax)

    def plot(self, max_features: int = 15, *, ax: Axes | None = None) -> ShiftDisplay:
        """Draw.

        Parameters
        ----------
        max_features : int, default=15
            Bars at most.
        ax : matplotlib Axes, optional
            A figure is made without it.

        Returns
        -------
        self : ShiftDisplay
        """
        if max_features < 1:
            raise ValueError(f"max_features must be at least 1; it is {max_features}.")
        ax = self._axes(ax)
        chosen = self.features.order[:max_features]
        places = np.arange(len(chosen))
        ax.barh(places, self.features.ks[chosen], color=BLUE, height=0.7)
        ax.set_yticks(places, [_short(self.feature_names[i]) for i in chosen])
        for place, i in zip(places, chosen, strict=True):
            mean = round(self.features.mean_difference[i], 6) + 0.0  # no -0
            text = f"mean {mean:+.2g} sd, variance × {self.features.variance_ratio[i]:.2g}"
            ax.text(self.features.ks[i] + 0.01, float(place), text, va="center", fontsize=8, color=GREY)
        ax.set_xlim(0, 1.35)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
        ax.set_xlabel("Kolmogorov-Smirnov statistic")
        ax.invert_yaxis()
        return self


class AdaptationHistoryDisplay(_Display):
    """What happened from pass to pass: the objective, and how many target rows changed their label.

    Parameters
    ----------
    history : mapping
        `history_` of a fitted method that works in passes: JDA, TJM, ARTL, ...

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the objective.
    label_ax_ : matplotlib Axes or None
        Of the label changes, on the right; None where there are none (TJM).
    figure_ : matplotlib Figure

    Notes
    -----
    The objective is measured with labels that the method gave itself: it may fall while the labels get worse.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import JDA, pack_domains
    >>> from shallowda.diagnosis import AdaptationHistoryDisplay
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1], 20)
    >>> Xs = rng.randn(40, 3) + 3 * np.eye(3)[ys]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xs + 0.5)
    >>> display = AdaptationHistoryDisplay.from_estimator(JDA(n_components=2).fit(X, y))
    >>> display.ax_.get_xlabel()
    'pass'
    """

    label_ax_: Axes | None

    def __init__(self, history: Mapping[str, Any]) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> AdaptationHistoryDisplay:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted method that works in passes: JDA, TJM, ARTL, ...
            Or a Pipeline with one, or a search over one.
        ax : matplotlib Axes, optional

        Returns
        -------
        display : AdaptationHistoryDisplay

        Raises
        ------
        ValueError
            If there is no history: the estimator is another one, or not fitted.
        """
        fitted = getattr(estimator, "best_estimator_", estimator)
        steps = [step for _, step in fitted.steps] if hasattr(fitted, "steps") else [fitted]
        with_history = [step for step in steps if hasattr(step, "history_")]
        if not with_history:
            raise ValueError(
                f"{type(estimator).__name__} has no history_. Methods that work in passes, such as JDA, have one "
                "once they are fitted."
            )
        return cls(with_history[0].history_).plot(ax=ax)

    def plot(self, ax: Axes | None = None) -> AdaptationHistoryDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A figure is made without it.

        Returns
        -------
        self : AdaptationHistoryDisplay
        """
        ax = self._axes(ax)
        objective = self.history["objective"]
        passes = np.arange(1, len(objective) + 1)
        ax.plot(passes, objective, color=BLUE, marker="o")
        ax.set_xlabel("pass")
        ax.set_ylabel("objective", color=BLUE)
        ax.set_xticks(passes[:: 1 + len(passes) // 20])
        self.label_ax_ = None
        if "label_changes" in self.history:
            self.label_ax_ = ax.twinx()
            self.label_ax_.bar(passes, self.history["label_changes"], color=ORANGE, alpha=0.5, width=0.5)
            self.label_ax_.set_ylabel("target labels changed", color=ORANGE)
        if "kept" in self.history and self.history.get("stopped") == "cycle":
            kept = self.history["kept"]
            ax.annotate("kept", (kept + 1, objective[kept]), xytext=(0, 8), textcoords="offset points", ha="center")
        if "stopped" in self.history:
            told = {
                "settled": "labels settled",
                "cycle": "labels came round in a cycle",
                "max_iter": "stopped by max_iter",
            }
            ax.set_title(told[self.history["stopped"]], fontsize=10, loc="left")
        return self


def new_axes(height: float = 4.5) -> Axes:
    """Axes of a new figure, in colours to be read on light and on dark ground, unknown to pyplot."""
    require_extra("A figure", ("matplotlib",))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), layout="constrained")
    figure.patch.set_alpha(0)
    ax = figure.subplots()
    ax.patch.set_alpha(0)
    ax.tick_params(colors=GREY, labelsize=9)
    for part in (ax.xaxis.label, ax.yaxis.label, ax.title):
        part.set_color(GREY)
    ax.spines[:].set_color(GREY)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def draw_bars(names: Sequence[str], series: Mapping[str, Sequence[float]], label: str) -> Figure:
    """Horizontal bars, for each name one of each series."""
    ax = new_axes(1 + 0.16 * len(names) * (1 + len(series)))
    places, height = np.arange(len(names)), 0.8 / len(series)
    for number, ((name, values), colour) in enumerate(zip(series.items(), (BLUE, ORANGE, GREY), strict=False)):
        ax.barh(places + (number - (len(series) - 1) / 2) * height, values, color=colour, height=height, label=name)
    ax.set_yticks(places, [_short(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(label)
    if len(series) > 1:
        _legend(ax)
    return ax.figure  # type: ignore[return-value]


def draw_moves(moves: Mapping[Any, np.ndarray]) -> Figure:
    """Arrows in the plane from each class mean of the source to that of the target: arrays (2, 2) by class."""
    ax = new_axes()
    start, end = np.stack(list(moves.values()), axis=1)
    ax.quiver(*start.T, *(end - start).T, angles="xy", scale_units="xy", scale=1, color=GREY, width=0.004)
    ax.scatter(*start.T, color=BLUE, label="source", zorder=3)
    ax.scatter(*end.T, color=ORANGE, marker="x", label="target, predicted", zorder=3)
    if len(moves) <= 2 * _NAMED:
        for name, place in zip(moves, start, strict=True):
            ax.annotate(_short(str(name)), place, xytext=(5, 5), textcoords="offset points", color=GREY, fontsize=8)
    ax.set_xticks([])
    ax.set_yticks([])
    _legend(ax)
    return ax.figure  # type: ignore[return-value]


def png(figure: Figure) -> str:
    """A figure as the value of an HTML attribute ``src``."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150, transparent=True, metadata={"Software": None})
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode("ascii")


def _legend(ax: Axes) -> None:
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, labelcolor=GREY, fontsize=9)


def _short(name: str, most: int = 24) -> str:
    """A name as a label: cut, and with no dollar that would begin a formula."""
    name = name if len(name) <= most else name[: most - 1] + "…"
    return name.replace("$", r"\$").replace("\n", " ")
