"""Presets of the benchmark: their figures are those that were published, and the known protocol comes out."""

import csv

import pytest

from shallowda.bench import load_preset, plan, run, summarise

DOMAINS = {"A": "amazon", "C": "caltech", "D": "dslr", "W": "webcam"}
FEATURES = {"SURF-800": "SURF", "DeCAF6-4096": "DeCAF6", "pixel-256": "digits"}
METHODS = {"NN": "1-NN", "1NN": "1-NN", "NA(1-NN)": "1-NN", "NA(SVM)": "SVM"}
FILES = {
    "jda-iccv13": [("jda_iccv13.csv", "JDA ICCV13")],
    "jgsa-cvpr17": [("office_caltech_surf_benchmark2018.csv", "JGSA CVPR17")],
    "coral-aaai16": [("coral_aaai16.csv", "CORAL AAAI16 Table 3")],
    "meda-mm18": [("meda_mm18_tables.csv", "MEDA MM18")],
    "gfk-cvpr12": [
        ("coral_aaai16.csv", "CORAL AAAI16 Table 1"),
        ("thirdparty_reproductions.csv", "OfficeCaltechDomainAdaptation"),
    ],
}


@pytest.fixture(scope="module")
def published(data):
    folder = data.parent / "published"
    if not folder.is_dir():
        pytest.skip("there is no folder `published` beside that of the data")
    return folder


def table(path, paper):
    """Published accuracies by task, method and pair."""
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["paper"].startswith(paper) and row["features"] in FEATURES:
                method = row["method"].removesuffix("+1NN")
                pair = "->".join(DOMAINS.get(row[side], row[side]) for side in ("source", "target"))
                yield (FEATURES[row["features"]], METHODS.get(method, method), pair), float(row["accuracy"])


@pytest.mark.parametrize("name", FILES)
def test_figures_are_the_published_ones(published, name):
    expected = {key: figure for file, paper in FILES[name] for key, figure in table(published / file, paper)}
    shipped = {
        (entry.dataset, entry.method, pair): figure
        for entry in load_preset(name).published
        for pair, figure in entry.figures.items()
    }
    at_hand = {key: figure for key, figure in shipped.items() if "caltech" not in key[2] and key[0] != "reviews"}
    assert at_hand
    assert at_hand == {key: pytest.approx(expected[key], abs=1e-9) for key in at_hand}


@pytest.mark.slow
def test_a_published_cell_comes_out(data, tmp_path):
    preset = load_preset("jda-iccv13")
    results = run(preset, tmp_path, only="MNIST->USPS JDA")
    summary = summarise(preset, plan(preset, fetch=False), results)
    digits = {entry.method: entry for entry in summary.tables[1].comparisons}["JDA"]
    assert digits.difference[0] == pytest.approx(0, abs=0.006)
    assert not digits.far[0]
