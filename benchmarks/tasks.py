"""The public feature files behind the papers' tables, read from the folder named by SHALLOWDA_DATA.

Preprocessing is what reproduces the published accuracies without adaptation: SURF histograms divided by their sum and
then z-scored in each domain; digits scaled to unit norm.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io
from sklearn.preprocessing import StandardScaler, normalize

Task = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

SURF = {"A": "amazon", "W": "webcam", "D": "dslr"}


def folder() -> Path:
    """The data folder, or an exit that says what to set."""
    if "SHALLOWDA_DATA" not in os.environ:
        raise SystemExit("Set SHALLOWDA_DATA to the folder that holds office_caltech10_surf/ and digits/.")
    return Path(os.environ["SHALLOWDA_DATA"])


def surf_histograms(data: Path, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of sum one, and labels, of one Office-Caltech10 domain."""
    content = scipy.io.loadmat(data / "office_caltech10_surf" / f"{SURF[domain]}_SURF_L10.mat")
    X = content["fts"].astype(float)
    return X / X.sum(axis=1, keepdims=True), content["labels"].ravel()


def surf_domain(data: Path, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """`surf_histograms`, z-scored."""
    X, y = surf_histograms(data, domain)
    return StandardScaler().fit_transform(X), y


def digit_pictures(data: Path, name: str) -> Task:
    """MNIST_vs_USPS or USPS_vs_MNIST, grey levels."""
    content = scipy.io.loadmat(data / "digits" / f"{name}.mat")
    return (
        content["X_src"].T.astype(float),
        content["Y_src"].ravel(),
        content["X_tar"].T.astype(float),
        content["Y_tar"].ravel(),
    )


def digits(data: Path, name: str) -> Task:
    """`digit_pictures`, unit rows."""
    Xs, ys, Xt, yt = digit_pictures(data, name)
    return normalize(Xs), ys, normalize(Xt), yt


def tasks(data: Path) -> Iterator[tuple[str, Task]]:
    """Name and data of the eight pairs at hand."""
    domains = {domain: surf_domain(data, domain) for domain in SURF}
    for source in SURF:
        for target in SURF:
            if source != target:
                yield f"{source}->{target}", (*domains[source], *domains[target])
    yield "MNIST->USPS", digits(data, "MNIST_vs_USPS")
    yield "USPS->MNIST", digits(data, "USPS_vs_MNIST")
