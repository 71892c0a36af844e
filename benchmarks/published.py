"""Every estimator beside published accuracies, on the files at hand: ``python benchmarks/published.py``.

Needs SHALLOWDA_DATA and the extra ``demo`` (rich). Each row says what was run and where the published figures come
from. Protocols of re-reported figures are not always known; differences are discussed below the table.
"""

from __future__ import annotations

import warnings

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.preprocessing import normalize
from sklearn.svm import SVC
from tasks import folder, tasks

from shallowda import (
    ARTL,
    BDA,
    CORAL,
    GFK,
    JDA,
    TJM,
    OneNearestNeighbor,
    SubspaceAlignment,
    TCAEstimator,
    pack_domains,
)

NAMES = ["A->W", "A->D", "W->A", "W->D", "D->A", "D->W", "MNIST->USPS", "USPS->MNIST"]


def long_family(estimator: type, **options: object):
    """TCA, JDA and BDA by the ICCV 2013 protocol: k = 100; SURF dual with ridge 1, digits primal with ridge 0.1."""

    def make(digits: bool):
        return estimator(100, kernel=None if digits else "linear", ridge=0.1 if digits else 1.0, **options)

    return make


def fixed(model):
    """The same model for every task."""
    return lambda digits: model


euclidean = OneNearestNeighbor("euclidean")

# method, what was run, unit rows?, model(digits), published per task (None: not published), where
ROWS = [
    (
        "source only",
        "1-NN",
        False,
        None,
        [29.83, 25.48, 22.96, 59.24, 28.50, 63.39, 65.94, 44.70],
        "Long et al., ICCV 2013",
    ),
    (
        "TCAEstimator",
        "k=100, as JDA",
        True,
        long_family(TCAEstimator),
        [37.63, 33.12, 30.06, 87.26, 32.15, 86.10, 56.28, 51.05],
        "Long et al., ICCV 2013 (best of a grid)",
    ),
    (
        "JDA",
        "k=100, T=10, ridge 1 / 0.1",
        True,
        long_family(JDA),
        [37.97, 39.49, 32.78, 89.17, 33.09, 89.49, 67.28, 59.65],
        "Long et al., ICCV 2013",
    ),
    ("BDA", "mu=0.5, as JDA", True, long_family(BDA), [None] * 8, "none for these cells"),
    ("BDA", "mu by A-distance, as JDA", True, long_family(BDA, mu="a_distance"), [None] * 8, "none for these cells"),
    (
        "SubspaceAlignment",
        "k=20, 1-NN Euclidean",
        False,
        fixed(SubspaceAlignment(20, estimator=euclidean)),
        [33.22, 33.76, 39.25, 75.16, 39.87, 76.95, None, None],
        "Zhang et al., CVPR 2017 (re-reported)",
    ),
    (
        "CORAL",
        "ridge 1, libsvm linear, C=1",
        False,
        fixed(CORAL(1.0, align_mean=False, estimator=SVC(kernel="linear"))),
        [44.4, 39.5, 36.0, 86.6, 37.7, 84.7, 49.2, 30.5],
        "Sun et al., AAAI 2016; digits: Wang et al., MM 2018",
    ),
    (
        "GFK",
        "k=20, 1-NN Euclidean",
        False,
        fixed(GFK(20, estimator=euclidean)),
        [38.98, 36.31, 29.75, 80.89, 32.05, 75.59, 67.22, 46.45],
        "Long et al., ICCV 2013 (best of a grid)",
    ),
    (
        "ARTL",
        "ARRLS, linear, defaults",
        True,
        fixed(ARTL()),
        [33.6, 36.9, 38.3, 87.9, 34.9, 88.5, 88.8, 67.7],
        "Wang et al., MM 2018 (re-reported)",
    ),
    (
        "ARTL",
        "ARRLS, RBF gamma=0.5",
        True,
        fixed(ARTL(kernel="rbf", gamma=0.5)),
        [33.6, 36.9, 38.3, 87.9, 34.9, 88.5, 88.8, 67.7],
        "Wang et al., MM 2018 (re-reported)",
    ),
    (
        "TJM",
        "k=20, linear, ridge 1",
        True,
        fixed(TJM(20)),
        [42.03, 45.22, 29.96, 89.17, 32.78, 85.42, 63.3, 52.3],
        "Zhang et al., CVPR 2017; digits: Wang et al., MM 2018 (re-reported)",
    ),
]

NOTES = """\
SURF: histograms divided by their sum, z-scored per domain; digits: unit rows. TCA, JDA, BDA, ARTL and TJM scale SURF
rows to unit norm after that. Differences of more than 3 points in a cell or 1 in a mean: JDA is the one protocol known
in full, and is reproduced to the digit. TCA and GFK figures are the best of grids of k and lambda (on target labels).
SubspaceAlignment was re-reported with unknown dimension and preprocessing. CORAL's SVM had its C chosen by
cross-validation in the paper, 1 here. TJM's published cells come with k = 20 and are late passes of the reweighting,
where few labels flip. ARTL's cells were re-reported with an unknown kernel, normalisation and number of passes; its
digits cells are not reached by any single pass of either loss here."""


def main() -> None:
    """Run everything and print the table."""
    warnings.simplefilter("ignore", UserWarning)  # rank and sparsity notices belong to single fits
    data = dict(tasks(folder()))
    table = Table(title="Target accuracy in %, published in brackets")
    for column in ("method", "run", *NAMES, "mean", "published mean", "published by"):
        table.add_column(column, justify="left" if column in ("method", "run", "published by") else "right")
    for method, run, unit, make, published, where in track(
        ROWS, "fitting", console=Console(stderr=True), transient=True
    ):
        reached = [accuracy(data[name], unit, make and make("MNIST" in name)) for name in NAMES]
        cells = [f"{a:.2f}" + (f" ({p:.2f})" if p is not None else "") for a, p in zip(reached, published, strict=True)]
        common = [(a, p) for a, p in zip(reached, published, strict=True) if p is not None]
        means = np.mean(common, axis=0) if common else (np.mean(reached), None)
        table.add_row(method, run, *cells, f"{means[0]:.2f}", f"{means[1]:.2f}" if common else "-", where)
    console = Console(width=260)
    console.print(table)
    console.print(NOTES)


def accuracy(task: tuple, unit: bool, model: object) -> float:
    """Target accuracy in percent."""
    Xs, ys, Xt, yt = task
    if unit:
        Xs, Xt = normalize(Xs), normalize(Xt)
    if model is None:
        return 100 * OneNearestNeighbor("euclidean").fit(Xs, ys).score(Xt, yt)
    X, y, _ = pack_domains(Xs, ys, Xt)
    return 100 * model.fit(X, y).score(Xt, yt)


if __name__ == "__main__":
    main()
