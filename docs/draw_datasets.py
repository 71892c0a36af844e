"""Pictures of the generators, for their documentation: ``python docs/draw_datasets.py`` (needs matplotlib, pillow)."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from shallowda.datasets import (
    DomainDataset,
    make_deep_features,
    make_gaussian_shift,
    make_printed_digits,
    make_rotated_moons,
)

FOLDER = Path(__file__).resolve().parent / "figures" / "datasets"
COLOURS = np.array(["#0072b2", "#d55e00", "#009e73"])  # told apart by colour-blind readers too
MARKS = ("o", "^", "s")


def scatter(axes: plt.Axes, data: DomainDataset, domain: str, title: str) -> None:
    """The plane of the first two features of one domain."""
    X, y = data.domain(domain)
    for code, mark in enumerate(MARKS[: len(data.target_names)]):
        axes.scatter(*X[y == code, :2].T, s=9, marker=mark, color=COLOURS[code], alpha=0.7, linewidths=0)
    axes.set(title=title, xticks=[], yticks=[], aspect="equal")


def row(count: int, rows: int = 1) -> tuple[plt.Figure, np.ndarray]:
    """Panels that share their axes."""
    return plt.subplots(
        rows, count, figsize=(2.4 * count, 2.5 * rows), sharex=True, sharey=True, layout="constrained", squeeze=False
    )


def moons() -> plt.Figure:
    """One panel for each angle."""
    data = make_rotated_moons(200, angles=(0, 30, 60), random_state=0)
    figure, panels = row(3)
    for axes, name in zip(panels.flat, data.domain_names, strict=True):
        scatter(axes, data, name, name)
    return figure


def gaussians() -> plt.Figure:
    """Source and target of each shift."""
    shifts = {"covariate": 1.0, "label": 1.0, "conditional": 2.0, "concept": 0.7}
    figure, panels = row(len(shifts) + 1, 2)
    for column, (shift, strength) in enumerate(shifts.items()):
        data = make_gaussian_shift(300, shift=shift, strengths=(0, strength), random_state=0)
        scatter(panels[0, column], data, "source", f"{shift}, source")
        scatter(panels[1, column], data, "target", f"target, strength {strength:g}")
    data = make_gaussian_shift(300, strengths=(0, 0.5), missing_classes=[2], random_state=0)
    scatter(panels[0, -1], data, "source", "missing class, source")
    scatter(panels[1, -1], data, "target", "target")
    return figure


def deep() -> plt.Figure:
    """Spectrum, sparsity, and the two domains in the plane that holds most of their variance."""
    data = make_deep_features(500, n_classes=3, random_state=0)
    figure, (spectrum, values, plane) = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    centred = data.X - data.X.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2]
    for name, style in zip(data.domain_names, ("-", "--"), strict=True):
        X, _ = data.domain(name)
        eigenvalues = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2 / len(X)
        spectrum.loglog(np.arange(1, 129), eigenvalues[:128], style, label=name)
        values.hist(X.ravel(), bins=np.linspace(0, 4, 41), histtype="step", linestyle=style, density=True)
    spectrum.set(xlabel="rank", ylabel="eigenvalue", title="spectrum of a domain")
    spectrum.legend(frameon=False)
    values.set(xlabel="activation", ylabel="density", yscale="log", title=f"{np.mean(data.X == 0):.0%} zeros")
    scores = centred @ directions[:2].T
    for code, colour in enumerate(COLOURS):
        for domain, mark in enumerate(("o", "x")):
            chosen = (data.y == code) & (data.sample_domain == domain)
            plane.scatter(*scores[chosen].T, s=9, marker=mark, color=colour, alpha=0.6, linewidths=0.7)
    plane.set(title="source (dots) and target (crosses)", xticks=[], yticks=[])
    return figure


def digits() -> plt.Figure:
    """Handwritten above printed."""
    handwritten, labels = load_digits(return_X_y=True)
    printed, codes = make_printed_digits(200, random_state=0)
    figure, panels = plt.subplots(2, 10, figsize=(8, 1.8), layout="constrained")
    for digit in range(10):
        for axes, X, y in ((panels[0, digit], handwritten, labels), (panels[1, digit], printed, codes)):
            axes.imshow(X[y == digit][0].reshape(8, 8), cmap="gray_r")
            axes.set(xticks=[], yticks=[])
    return figure


def main() -> None:
    """Draw all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    drawings = {
        "make_rotated_moons": moons,
        "make_gaussian_shift": gaussians,
        "make_deep_features": deep,
        "make_printed_digits": digits,
    }
    for name, draw in drawings.items():
        figure = draw()
        figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
