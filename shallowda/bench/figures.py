"""Figures of a report, as SVG that takes its text colour from the page around it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from shallowda.bench.summary import Summary, critical_difference, friedman

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figures"]

_INK = "#010203"  # stands for the page's text colour
_MARKERS = "osD^vP*X<>ph8"


def figures(summary: Summary) -> list[tuple[str, str, str]]:
    """Title, caption and SVG of each figure that the results allow.

    Parameters
    ----------
    summary : Summary

    Returns
    -------
    figures : list of (str, str, str)
    """
    import matplotlib

    values, methods = summary.over_tasks(), summary.methods
    n_pairs = values["accuracy"].shape[1]
    found = []
    look: dict[Any, Any] = {
        "text.color": _INK,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "svg.fonttype": "none",
        "svg.hashsalt": "shallowda",
        "font.family": "sans-serif",
        "font.size": 10,
    }
    with matplotlib.rc_context(look):
        if len(methods) >= 3 and n_pairs >= 2:
            difference, p_value = critical_difference(len(methods), n_pairs), friedman(values["rank"])
            caption = (
                f"Mean ranks over {n_pairs} pairs (1 is best). Methods under one bar do not differ by Nemenyi's test "
                f"at 0.05: their ranks are at most {difference:.2f} apart. Friedman's test that all are alike: "
                f"p = {p_value:.2g}. Pairs that share a domain are not independent, so differences are less certain "
                "than the test says."
            )
            drawn = _critical_differences(methods, values["rank"].mean(axis=1), difference)
            found.append(("Critical differences", caption, _svg(drawn, "Critical differences")))
        if methods and n_pairs:  # where every method has tasks of its own there is nothing to compare
            caption = f"Mean accuracy against the median time to fit and predict, over {n_pairs} pairs."
            drawn = _time_against_accuracy(
                methods, np.median(values["seconds"], axis=1), values["accuracy"].mean(axis=1)
            )
            found.append(("Time against accuracy", caption, _svg(drawn, "Time against accuracy")))
    return found


def _svg(figure: Figure, title: str) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    # without the XML prologue, whose document type names an address
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _critical_differences(methods: list[str], ranks: np.ndarray, difference: float) -> Figure:
    """Methods on a line of ranks, best left; bars join those within the critical difference."""
    from matplotlib.figure import Figure

    order = np.argsort(ranks, kind="stable")
    half = (len(order) + 1) // 2
    groups = _groups(ranks[order], difference)
    top = 0.6 + 0.25 * len(groups)  # of the labels, below the bars
    depth = top + 0.42 * half
    figure = Figure(figsize=(8, 0.8 + 0.55 * depth))
    axes = figure.add_axes((0.24, 0, 0.52, 1))
    axes.set(xlim=(1, len(methods)), ylim=(depth, -1.3))
    axes.axis("off")
    axes.plot([1, len(methods)], [0, 0], color=_INK, linewidth=1)
    for rank in range(1, len(methods) + 1):
        axes.plot([rank, rank], [0, -0.12], color=_INK, linewidth=1)
        axes.text(rank, -0.2, str(rank), ha="center", va="bottom")
    if difference <= len(methods) - 1:
        axes.plot([1, 1 + difference], [-0.85, -0.85], color=_INK, linewidth=2)
        axes.text(1 + difference / 2, -0.92, f"critical difference {difference:.2f}", ha="center", va="bottom")
    for number, (first, last) in enumerate(groups):
        level = 0.3 + 0.25 * number
        ends = ranks[order[first]] - 0.04, ranks[order[last]] + 0.04
        axes.plot(ends, [level, level], color="#c0504d", linewidth=4, solid_capstyle="round")
    for place, method in enumerate(order):
        left = place < half
        level = top + 0.42 * (place if left else len(order) - 1 - place)
        end = 1 if left else len(methods)
        axes.plot([ranks[method], ranks[method], end], [0, level, level], color=_INK, linewidth=0.8, clip_on=False)
        label = f"{methods[method]}  {ranks[method]:.2f}" if left else f"{ranks[method]:.2f}  {methods[method]}"
        offset = -6 if left else 6
        axes.annotate(
            label, (end, level), (offset, 0), textcoords="offset points", ha="right" if left else "left", va="center"
        )
    return figure


def _groups(ranks: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """First and last of each widest run of sorted ranks that lie within the difference; runs of one are none."""
    last = np.searchsorted(ranks, ranks + difference, side="right") - 1
    found: list[tuple[int, int]] = []
    for first, end in enumerate(last.tolist()):
        if end > first and (not found or end > found[-1][1]):
            found.append((first, end))
    return found


def _time_against_accuracy(methods: list[str], seconds: np.ndarray, accuracy: np.ndarray) -> Figure:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    colours = matplotlib.color_sequences["tab10"]
    figure = Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    for number, name in enumerate(methods):
        axes.scatter(
            seconds[number],
            accuracy[number],
            s=70,
            marker=_MARKERS[number % len(_MARKERS)],
            color=colours[number % len(colours)],
            label=name,
            zorder=3,
        )
    axes.set(xscale="log", xlabel="seconds to fit and predict", ylabel="accuracy in percent")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.08)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, borderaxespad=0)
    return figure
