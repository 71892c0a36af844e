"""Data with a domain shift: loaders of the literature's feature files, and generators of shifts that are known.

Every loader and generator returns a `DomainDataset`, but `make_printed_digits` and `read_stacked`, which return one
domain. `DATASETS` and `GENERATORS` find them by name. Files are looked for in a folder of the user's and downloaded if
they are not there; see `fetch_office_caltech10`.
"""

from collections.abc import Callable

from shallowda.datasets._container import DomainDataset
from shallowda.datasets._files import read_stacked
from shallowda.datasets._printed_digits import make_printed_digits
from shallowda.datasets._shifts import make_deep_features, make_gaussian_shift, make_rotated_moons
from shallowda.datasets.loaders import (
    DATASETS,
    available_domains,
    fetch_amazon_reviews,
    fetch_coil20,
    fetch_digits,
    fetch_gas_drift,
    fetch_heart_disease,
    fetch_msrc_voc,
    fetch_office_caltech10,
    fetch_spam,
    load_feature_files,
)

__all__ = [
    "DATASETS",
    "GENERATORS",
    "DomainDataset",
    "available_domains",
    "fetch_amazon_reviews",
    "fetch_coil20",
    "fetch_digits",
    "fetch_gas_drift",
    "fetch_heart_disease",
    "fetch_msrc_voc",
    "fetch_office_caltech10",
    "fetch_spam",
    "load_feature_files",
    "make_deep_features",
    "make_gaussian_shift",
    "make_printed_digits",
    "make_rotated_moons",
    "read_stacked",
]

GENERATORS: dict[str, Callable[..., DomainDataset]] = {
    "make_deep_features": make_deep_features,
    "make_gaussian_shift": make_gaussian_shift,
    "make_rotated_moons": make_rotated_moons,
}
