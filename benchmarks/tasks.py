"""The public feature files behind the papers' tables, read from the folder named by SHALLOWDA_DATA.

Preprocessing is what reproduces the published accuracies without adaptation: SURF histograms divided by their sum and
then z-scored in each domain; digits scaled to unit norm.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.preprocessing import StandardScaler, normalize

from shallowda.datasets import DomainDataset, fetch_digits, fetch_office_caltech10

Task = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

OFFICE = ("amazon", "webcam", "dslr")
LETTERS = {"amazon": "A", "webcam": "W", "dslr": "D"}


def folder() -> Path:
    """The data folder, or an exit that says what to set."""
    if "SHALLOWDA_DATA" not in os.environ:
        raise SystemExit("Set SHALLOWDA_DATA to the folder that holds office_caltech10_surf/ and digits/.")
    return Path(os.environ["SHALLOWDA_DATA"])


def pairs(
    data: DomainDataset, prefix: str = "", short: Mapping[str, str] | None = None, only: Sequence = ()
) -> Iterator[tuple[str, Task]]:
    """Name and data of every ordered pair of domains, or of some; names of domains may be shortened."""
    names = {name: name for name in data.domain_names} | dict(short or {})
    for source, target in only or data.pairs():
        yield f"{prefix}{names[source]}->{names[target]}", data.pair(source, target)


def surf_histograms(data: Path) -> DomainDataset:
    """Office-Caltech10, rows of sum one."""
    found = fetch_office_caltech10("surf", domains=OFFICE, data_home=data, download_if_missing=False)
    return replace(found, X=found.X / found.X.sum(axis=1, keepdims=True))


def tasks(data: Path) -> Iterator[tuple[str, Task]]:
    """Name and data of the eight pairs at hand."""
    scale = StandardScaler().fit_transform
    for name, (Xs, ys, Xt, yt) in pairs(surf_histograms(data), short=LETTERS):
        yield name, (scale(Xs), ys, scale(Xt), yt)
    digits = fetch_digits(data_home=data, download_if_missing=False)
    yield from pairs(replace(digits, X=normalize(digits.X)))
