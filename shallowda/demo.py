"""Adapt printed digits to handwritten ones by every method: ``python -m shallowda.demo``.

The source is :func:`shallowda.datasets.make_printed_digits`, the target :func:`sklearn.datasets.load_digits`. No
handwritten label is shown to any estimator: they only score. Parameters are those of the papers, not tuned here.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize
from sklearn.utils import resample
from threadpoolctl import threadpool_limits

from shallowda import OneNearestNeighbor, all_methods, pack_domains
from shallowda.datasets import make_printed_digits
from shallowda.diagnosis.displays import CLASS_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.progress import Progress
    from rich.table import Table

EXTRA = ("matplotlib", "PIL", "rich")
MAP_ROWS = 500  # rows of each domain in the two maps: enough to see, and t-SNE takes seconds

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#767676"


class Digits(NamedTuple):
    """Both domains as drawn (X) and as the estimators see them (Z: rows of unit length)."""

    Xs: np.ndarray
    Zs: np.ndarray
    ys: np.ndarray
    Xt: np.ndarray
    Zt: np.ndarray
    yt: np.ndarray


class Result(NamedTuple):
    """One row of the table."""

    method: str
    idea: str
    accuracy: float
    seconds: float
    model: ClassifierMixin
    warnings: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line, by default that of the process.

    Returns
    -------
    status : int
        0; a missing extra or a bad argument exits with a message instead.

    Raises
    ------
    SystemExit
        With status 1 if a package of the extra ``demo`` is missing, 2 if an argument is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m shallowda.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder of the picture (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the printed digits (%(default)s)")
    parser.add_argument("--samples", type=int, default=2000, help="digits per domain, 100 or more (%(default)s)")
    options = parser.parse_args(arguments)
    if options.samples < 100:
        parser.error(f"--samples must be at least 100, got {options.samples}")
    if not 0 <= options.seed < 2**32:
        parser.error(f"--seed must be between 0 and 2**32 - 1, got {options.seed}")
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        parser.exit(1, f'The demo needs {", ".join(missing)}. Install with: pip install "shallowda[demo]"\n')

    from rich.console import Console
    from rich.progress import Progress

    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output cannot be created: {error}")
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        rendering = progress.add_task("Rendering", total=1)
        digits = _make_digits(options.samples, options.seed)
        progress.advance(rendering)
        results = _compare(digits, progress)
        figure = _draw(digits, results, options.seed, progress)
        picture = options.output.resolve() / "demo.png"
        figure.savefig(picture, dpi=120)
    console.print(_table(results))
    for result in results:
        for warning in result.warnings:
            console.print(f"{result.method} warns: {warning}\n", highlight=False, markup=False)
    console.print(f"Picture: {picture}", soft_wrap=True, highlight=False)
    console.print(NEXT_STEPS, highlight=False)
    return 0


NEXT_STEPS = """
With your own data, no target labels needed:

    X, y, sample_domain = pack_domains(X_source, y_source, X_target)
    JDA(n_components=30).fit(X, y).predict(X_target)

The README explains these lines; the notebooks build this demo step by step."""


def _make_digits(n_samples: int, seed: int) -> Digits:
    Xs, ys = make_printed_digits(n_samples, random_state=seed)
    Xt, yt = load_digits(return_X_y=True)
    Xt, yt = resample(Xt, yt, replace=False, n_samples=min(n_samples, len(Xt)), random_state=seed)
    return Digits(Xs, normalize(Xs), ys, Xt, normalize(Xt), yt)


def _methods(X: np.ndarray) -> list[tuple[str, ClassifierMixin]]:
    """What it does, and itself: every method that needs no more than these data."""
    methods = all_methods(setting="unsupervised") | all_methods(setting="pseudo-labels")
    parameters = _parameters(X)
    return [(methods[name].card.idea, methods[name](**parameters.get(name, {}))) for name in sorted(methods)]


def _parameters(X: np.ndarray) -> dict[str, dict[str, Any]]:
    """Parameters by method, where these data need others than the defaults."""
    return {
        "BDA": {"ridge": 0.1, "mu": "a_distance"},
        "CORAL": {"ridge": float(X.var(axis=0).mean())},  # the paper's is 1 for features of unit variance
        "GFK": {"n_components": "auto"},
        "JDA": {"ridge": 0.1},
        "SubspaceAlignment": {"n_components": 30},
    }


def _compare(digits: Digits, progress: Progress) -> list[Result]:
    """Train on printed digits, score on handwritten ones: first without adaptation, then with every estimator."""
    X, y, _ = pack_domains(digits.Zs, digits.ys, digits.Zt)
    baseline = ("nothing: the nearest printed digit", OneNearestNeighbor())
    results = []
    for idea, model in progress.track([baseline, *_methods(X)], description="Adapting"):
        method = type(model).__name__ if results else "Source only"
        data = (X, y) if results else (digits.Zs, digits.ys)
        with warnings.catch_warnings(record=True) as caught:  # told below the table, with the name of the method
            warnings.simplefilter("always")
            start = perf_counter()
            predicted = model.fit(*data).predict(digits.Zt)
            seconds = perf_counter() - start
        told = list(dict.fromkeys(str(warning.message) for warning in caught))
        results.append(Result(method, idea, float(np.mean(predicted == digits.yt)), seconds, model, told))
    return results


def _table(results: list[Result]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title="Printed to handwritten digits",
        caption="No method sees a handwritten label: they only score.",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("Method", no_wrap=True)
    table.add_column("What it does")
    for column in ("Accuracy", "Gain", "Seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    source_only = results[0].accuracy
    for result in results:
        gain = 100 * (result.accuracy - source_only)
        colour = "green" if gain > 0 else "red" if gain < 0 else "dim"
        table.add_row(
            result.method,
            result.idea,
            f"{result.accuracy:.1%}",
            "" if result is results[0] else f"[{colour}]{gain:+.1f}[/]",
            f"{result.seconds:.2f}",
        )
    return table


def _draw(digits: Digits, results: list[Result], seed: int, progress: Progress) -> Figure:
    """The picture: samples of both domains, maps of both before and after JDA, and the accuracy of every method."""
    from matplotlib.figure import Figure

    jda = next(result for result in results if result.method == "JDA")
    figure = Figure(figsize=(16, 9), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    figure.suptitle(
        f"Handwritten digits, learned from printed ones: {results[0].accuracy:.0%} recognised without adaptation, "
        f"{jda.accuracy:.0%} with JDA",
        fontsize=16,
    )
    axes = figure.subplot_mosaic(
        [["printed", "before", "bars"], ["handwritten", "after", "bars"]], width_ratios=(1, 1.3, 1.1)
    )
    _draw_samples(axes["printed"], digits.Xs, digits.ys, "Source: printed, with labels")
    _draw_samples(axes["handwritten"], digits.Xt, digits.yt, "Target: handwritten, no labels")

    shown = Digits(*(rows[:MAP_ROWS] for rows in digits))  # rows are in random order
    adapted = shown._replace(
        Zs=jda.model.transform(shown.Zs, sample_domain=np.zeros(len(shown.Zs), dtype=int)),
        Zt=jda.model.transform(shown.Zt),
    )
    maps = {"before": (shown, "Before adaptation"), "after": (adapted, "After JDA")}
    for name, (mapped, title) in progress.track(list(maps.items()), description="Drawing"):
        _draw_map(axes[name], mapped, title, seed)
    _draw_bars(axes["bars"], results)
    return figure


def _draw_samples(ax: Axes, X: np.ndarray, y: np.ndarray, title: str, per_class: int = 9) -> None:
    """Each digit in a column of its own, with a white line between samples."""
    mosaic = np.zeros((per_class, 9, 10, 9))
    for digit in range(10):
        samples = X[y == digit][:per_class].reshape(-1, 8, 8)
        mosaic[: len(samples), :8, digit, :8] = samples
    ax.imshow(mosaic.reshape(9 * per_class, 90), cmap="gray_r", vmin=0, vmax=16, interpolation="nearest")
    ax.set_title(title, fontsize=13, loc="left")
    ax.axis("off")


def _draw_map(ax: Axes, digits: Digits, title: str, seed: int) -> None:
    """Both domains in the plane, by one t-SNE of the angles that 1-NN sees."""
    Z = np.vstack([digits.Zs, digits.Zt])
    # On so few rows the threads of t-SNE mostly wait for each other, and long on a busy machine.
    with threadpool_limits(1, user_api="openmp"):
        points = TSNE(metric="cosine", init="pca", max_iter=500, random_state=seed).fit_transform(Z)
    source, target = np.split(points, [len(digits.Zs)])
    for digit, colour in enumerate(CLASS_COLOURS):
        ax.scatter(*source[digits.ys == digit].T, s=30, color=colour, alpha=0.45, linewidth=0)
        ax.scatter(*target[digits.yt == digit].T, s=42, color=colour, marker=f"${digit}$", linewidth=0.3)
    ax.set_title(title, fontsize=13, loc="left")
    ax.set_title("dots: printed, numerals: handwritten", fontsize=10, loc="right")
    ax.set_xticks([])
    ax.set_yticks([])


def _draw_bars(ax: Axes, results: list[Result]) -> None:
    source_only = results[0].accuracy
    accuracies = [result.accuracy for result in results]
    colours = [GREY, *(BLUE if accuracy >= source_only else ORANGE for accuracy in accuracies[1:])]
    bars = ax.barh([result.method for result in results], accuracies, color=colours, height=0.7)
    labels = [f"{accuracies[0]:.1%}", *(f"{a:.1%}  ({100 * (a - source_only):+.1f})" for a in accuracies[1:])]
    for bar, label, accuracy in zip(bars, labels, accuracies, strict=True):
        # At the foot of its bar, where the line never crosses it; behind a bar that is too short to hold it.
        place, colour = (0.02, "white") if accuracy >= 0.3 else (accuracy + 0.02, "black")
        ax.text(place, bar.get_y() + bar.get_height() / 2, label, color=colour, va="center", fontweight="bold")
    ax.axvline(source_only, color="black", linestyle="--", linewidth=1)
    ax.set_title("Handwritten digits recognised", fontsize=13, loc="left")
    ax.set_xlim(0, 1)
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    raise SystemExit(main())
