"""Accuracies that the authors' Python code prints, under its protocol: all of them come out."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from shallowda import EasyTL, pack_domains
from shallowda.datasets import fetch_amazon_reviews, fetch_office_caltech10

# jindongwang/transferlearning, code/traditional/pyEasyTL/results.txt: EasyTL(c), without alignment, and EasyTL, CORAL
SURF = {
    ("amazon", "webcam"): (40.7, 43.1),
    ("amazon", "dslr"): (38.9, 48.4),
    ("webcam", "amazon"): (35.2, 38.2),
    ("webcam", "dslr"): (77.1, 79.6),
    ("dslr", "amazon"): (31.9, 38.3),
    ("dslr", "webcam"): (69.5, 86.1),
}
REVIEWS = {
    ("books", "dvd"): (78.4, 79.8),
    ("books", "electronics"): (77.5, 79.7),
    ("dvd", "books"): (79.5, 79.9),
    ("dvd", "electronics"): (77.4, 80.8),
    ("electronics", "books"): (73.0, 75.0),
    ("electronics", "dvd"): (73.1, 75.3),
}


@pytest.mark.parametrize(
    ("fetch", "options", "figures"),
    [
        (fetch_office_caltech10, {"features": "surf", "domains": ("amazon", "webcam", "dslr")}, SURF),
        (fetch_amazon_reviews, {"domains": ("books", "dvd", "electronics")}, REVIEWS),
    ],
    ids=["SURF", "reviews"],
)
def test_figures_of_the_authors_code(data, fetch, options, figures):
    found = fetch(**options, data_home=data, download_if_missing=False)
    rows = np.asarray(found.X, dtype=float)
    found = replace(found, X=rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-300))
    scale = StandardScaler().fit_transform
    for pair, expected in figures.items():
        Xs, ys, Xt, yt = found.pair(*pair)
        X, y, domain = pack_domains(scale(Xs), ys, scale(Xt))
        for alignment, figure in zip((None, "coral"), expected, strict=True):
            model = EasyTL(alignment).fit(X, y, sample_domain=domain)
            assert 100 * np.mean(model.pseudo_labels_ == yt) == pytest.approx(figure, abs=0.0501), (pair, alignment)
