"""What the report says of shifts that are known, of odd data, and that what it shows is what it knows."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy.sparse import csr_matrix
from scipy.stats import ks_2samp
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from shallowda.diagnosis import RULES, DomainShiftReport, FeatureShift, feature_shift
from shallowda.diagnosis.__main__ import main, read_table
from shallowda.metrics import bures_wasserstein, energy_distance, mmd, permutation_test, separability

N_PERMUTATIONS = 39


def report_of(Xs, ys, Xt, **options):
    return DomainShiftReport(Xs, ys, Xt, n_permutations=N_PERMUTATIONS, **options)


def blobs(rng, labels, d=6, apart=4.0):
    return rng.randn(len(labels), d) + apart * np.eye(d)[labels]


@pytest.fixture(scope="module")
def kinds():
    """One problem, and one report, for each kind of shift."""
    rng = np.random.RandomState(0)
    ys, yt = rng.randint(0, 3, 240), rng.randint(0, 3, 200)
    Xs, Xt = blobs(rng, ys), blobs(rng, yt)
    skewed = rng.choice(3, 200, p=[0.75, 0.2, 0.05])
    moves = np.array([[0, 3, 0, 2.0, 0, 0], [0, 0, 3, -1, 2, 0], [3, 0, 0, -1, -2, 0]])
    C = np.linalg.cholesky(0.05 * np.eye(6) + 0.95).T
    problems = {
        "none": (Xs, ys, Xt),
        "location": (Xs, ys, 3 * Xt + 5),
        "labels": (Xs, ys, blobs(rng, skewed)),
        "both": (Xs, ys, blobs(rng, skewed) + np.array([0, 0, 0, 0, 0.8, 0.8])),
        "covariance": (rng.randn(240, 6), ys, rng.randn(200, 6) @ C),
        "classes": (Xs, ys, Xt + moves[yt]),
    }
    return {name: (problem, report_of(*problem)) for name, problem in problems.items()}


def advised(report, word):
    return any(word in advice.what for advice in report.advice)


# ------------------------------------------------------------------------------------------------ numbers


def test_numbers_are_those_of_the_metrics(kinds):
    (Xs, _, Xt), report = kinds["location"]
    rows = StandardScaler().fit_transform(np.concatenate([Xs, Xt]))
    Z = PCA(6).fit_transform(rows)
    Zs, Zt = Z[:240], Z[240:]
    assert (report.n_components, round(report.variance_kept, 9)) == (6, 1.0)
    assert report.mmd == pytest.approx(mmd(Zs, Zt), rel=1e-9)
    assert report.p_value == permutation_test(Zs, Zt, n_permutations=N_PERMUTATIONS).p_value == 1 / 40
    assert report.energy == pytest.approx(energy_distance(Zs, Zt), rel=1e-9)
    assert report.bures["distance"] == pytest.approx(bures_wasserstein(Zs, Zt), rel=1e-9)
    assert report.bures["mean"] == pytest.approx(np.sum((Zs.mean(0) - Zt.mean(0)) ** 2))
    assert report.bures["mean"] + report.bures["covariance"] == pytest.approx(report.bures["distance"] ** 2)
    assert report.separability.auc == pytest.approx(separability(Zs, Zt).auc, abs=0.02)


def test_features_written_out():
    rng = np.random.RandomState(0)
    Xs, Xt = rng.randn(50, 3), rng.randn(40, 3) * [1, 9, 1] + [0, 0, 2]
    shift = feature_shift(Xs, Xt)
    scale = np.sqrt((Xs.var(0, ddof=1) + Xt.var(0, ddof=1)) / 2)
    np.testing.assert_allclose(shift.mean_difference, (Xt.mean(0) - Xs.mean(0)) / scale)
    np.testing.assert_allclose(shift.variance_ratio, Xt.var(0, ddof=1) / Xs.var(0, ddof=1))
    np.testing.assert_allclose(shift.ks, [ks_2samp(Xs[:, j], Xt[:, j]).statistic for j in range(3)])
    p = np.array([ks_2samp(Xs[:, j], Xt[:, j], method="asymp").pvalue for j in range(3)])
    assert np.all(shift.p_value >= p)
    assert shift.p_value.max() == pytest.approx(p.max())  # Benjamini-Hochberg leaves the largest as it is
    assert shift.order.tolist() == [2, 1, 0]


def test_constant_features():
    shift = feature_shift([[0.1, 1, 5, 3], [0.1, 2, 5, 3.0]], [[0.1, 4, 6, 3], [0.1, 4, 6, 7.0]])
    np.testing.assert_array_equal(shift.mean_difference[[0, 2]], [0, np.inf])
    np.testing.assert_array_equal(shift.variance_ratio, [1, 0, 1, np.inf])
    rng = np.random.RandomState(0)
    Xs, Xt = rng.randn(40, 3), rng.randn(40, 3)
    Xs[:, 0], Xt[:, 0], Xt[:, 1] = 0.1, 0.1, 7.3
    report = report_of(Xs, np.repeat([0, 1], 20), Xt, feature_names=["dead", "coded", "alive"])
    assert report.constant_in_one == ["coded"]
    assert report.top_features[0] == "coded"
    assert "Features that are constant in the source: dead." in report.cautions
    assert "Features that are constant in the target: dead, coded." in report.cautions
    assert advised(report, "constant in one domain only")
    Xs[:, 0] = (
        np.arange(40) == 5
    )  # as features that are seldom active: zero everywhere in the other domain is no wonder
    Xt[:, 0] = 0.0
    assert report_of(Xs, None, Xt).constant_in_one == ["x1"]


def test_deterministic_and_blind_to_the_state_of_the_generator(kinds):
    (Xs, ys, Xt), report = kinds["classes"]
    state = np.random.get_state()[1].copy()
    again = report_of(Xs, ys, Xt)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert str(again) == str(report)
    assert again._html(page=True) == report._html(page=True)
    with parallel_config(backend="threading"):
        parallel = report_of(Xs, ys, Xt, n_jobs=2)
    assert parallel.class_p_values == report.class_p_values
    assert str(report_of(Xs, ys, Xt, random_state=1)) != str(report)


def test_input_is_left_alone(kinds):
    Xs, ys, Xt = (array.copy() for array in kinds["labels"][0])
    for array in (Xs, ys, Xt):
        array.flags.writeable = False
    report_of(Xs, ys, Xt)


def test_units_do_not_matter(kinds):
    (Xs, ys, Xt), report = kinds["classes"]
    scale = 10.0 ** np.arange(-3, 3)
    scaled = report_of(Xs * scale + 5, ys, Xt * scale + 5)
    for name in ("mmd", "energy", "class_specific"):
        assert getattr(scaled, name) == pytest.approx(getattr(report, name), rel=1e-6)
    np.testing.assert_allclose(scaled.features.ks, report.features.ks)


def test_level_of_what_counts_as_a_shift():
    found = []
    for seed in range(30):
        rng = np.random.RandomState(seed)
        found.append(report_of(rng.randn(40, 4), None, rng.randn(30, 4)).is_shifted)
    assert np.mean(found) <= 0.2


# ------------------------------------------------------------------------------------------------ kinds and advice


def test_no_shift(kinds):
    _, report = kinds["none"]
    assert not report.is_shifted
    assert report.p_value > 0.05
    assert [advice.what for advice in report.advice] == ["Do not adapt: train on the source as it is."]
    assert report.cautions == []


def test_location_and_scale(kinds):
    _, report = kinds["location"]
    assert report.is_location_scale
    assert report.remaining["means and scales"] < 0.05
    assert report.is_apart
    assert advised(report, "PerDomain(StandardScaler())")
    assert any("do not overlap" in caution for caution in report.cautions)
    assert not advised(report, "Reweight")


def test_label_shift(kinds):
    (_, ys, _), report = kinds["labels"]
    assert report.is_label_shift
    shares = dict(zip(report.label_shift.classes.tolist(), report.label_shift.target_prior.tolist(), strict=True))
    assert [shares[label] for label in range(3)] == pytest.approx([0.75, 0.2, 0.05], abs=0.08)
    assert report.source_shares == pytest.approx({label: np.mean(ys == label) for label in range(3)})
    assert report.label_distance == pytest.approx(
        sum(abs(shares[label] - np.mean(ys == label)) for label in range(3)) / 2
    )
    assert report.remaining["class shares"] < 0.1
    assert report.advice[0].what.startswith("Reweight the source")
    assert not any(advised(report, name) for name in ("PerDomain", "CORAL", "JDA"))


def test_label_shift_among_others(kinds):
    _, report = kinds["both"]
    assert report.is_label_shift_among_others
    assert not report.is_label_shift
    assert report.advice[0].what.startswith("Expect other class shares too")


def test_covariance(kinds):
    _, report = kinds["covariance"]
    assert report.is_covariance
    assert not report.is_location_scale
    assert report.bures["covariance"] > 10 * report.bures["mean"]
    assert advised(report, "CORAL")
    assert not report.has_sound_classifier  # labels were drawn at random
    assert advised(report, "better features")
    assert not advised(report, "JDA, BDA or ARTL.")


def test_class_conditional(kinds):
    _, report = kinds["classes"]
    assert report.is_class_conditional
    assert report.class_specific > 0.5
    assert max(report.class_p_values.values()) <= 0.05
    assert advised(report, "JDA, BDA or ARTL")
    common = kinds["location"][1]
    assert not common.is_class_conditional


def test_rows_within_a_class_agree_without_a_shift_however_bad_the_classifier():
    # The labels are noise: what counts is that rows are chosen by the same classifier in both domains.
    rng = np.random.RandomState(3)
    report = report_of(rng.randn(200, 4), rng.randint(0, 2, 200), rng.randn(200, 4))
    assert min(report.class_p_values.values()) > 0.05
    assert any("weak even on the source" in caution for caution in report.cautions)


def test_beyond_moments():
    rng = np.random.RandomState(0)
    Xs = rng.randn(300, 2)
    angle = rng.uniform(0, 2 * np.pi, 300)
    Xt = np.sqrt(2) * np.column_stack([np.cos(angle), np.sin(angle)])  # a circle: same mean and covariance
    report = report_of(Xs, None, Xt)
    assert report.is_beyond_moments
    assert advised(report, "kernel or subspace method")


def test_domains_centred_by_themselves(kinds):
    (Xs, ys, Xt), _ = kinds["location"]
    report = report_of(StandardScaler().fit_transform(Xs), ys, StandardScaler().fit_transform(Xt))
    assert report.is_aligned
    assert not advised(report, "Do not adapt")
    assert any("centred by itself" in caution for caution in report.cautions)


@pytest.mark.parametrize("n_target", [12, 60, 200])
@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("move", [0.0, 0.8, 5.0])
@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.5, 0.4, 0.1), (0.9, 0.08, 0.02)], ids=str)
def test_nothing_is_advised_for_and_against(shares, move, scale, n_target):
    """Whatever the mixture of class shares, means and scales: what one advice warns of, no other recommends."""
    rng = np.random.RandomState(0)
    ys, yt = rng.randint(0, 3, 120), rng.choice(3, n_target, p=shares)
    report = report_of(blobs(rng, ys), ys, scale * blobs(rng, yt) + move * np.array([0, 0, 0, 0, 1, 1]))
    against = [advice.what for advice in report.advice if re.search(r"\b(not|wary|avoid)\b", advice.what)]
    recommended = [advice.what for advice in report.advice if advice.what not in against]
    methods = ("PerDomain", "CORAL", "TCA", "SubspaceAlignment", "JDA", "few parameters")
    if any("match marginal" in what or "adapt" in what for what in against):
        assert not [what for what in recommended if any(name in what for name in methods)]
    # an advice to begin with the source is none against the methods, and says of no method that it does harm
    named = [name for name in methods if any(name in what for what in against)]
    assert not [what for what in recommended if any(name in what for name in named)]


def test_every_rule_can_be_formatted_and_is_reached(kinds):
    for _, report in kinds.values():
        for rule in RULES:
            assert "{" not in rule.why.format(r=report)
    (Xs, ys, Xt), _ = kinds["location"]
    assert advised(report_of(Xs[:20], ys[:20], Xt[:8]), "few parameters")
    rng = np.random.RandomState(0)
    small = report_of(rng.randn(2000, 3), None, rng.randn(2000, 3) + 0.15)
    assert advised(small, "Begin with the source as it is")


# ------------------------------------------------------------------------------------------------ odd data


def odd():
    rng = np.random.RandomState(0)
    X, ys = rng.randn(40, 5), np.repeat([0, 1], 20)
    yield "one class", X, np.zeros(40), X + 1, "one class"
    yield "no labels", X, None, X + 1, "no source labels"
    yield "one feature", X[:, :1], ys, X[:30, :1] + 1, None
    yield "constant target", X, ys, np.ones((6, 5)), "constant in the target"
    yield "constant source", np.ones((6, 5)), ys[17:23], X, "constant in the source"
    yield (
        "little varies in the source",
        np.c_[X[:, :1], np.zeros((40, 30))],
        ys,
        rng.randn(40, 31),
        "constant in the source",
    )
    yield "two constants", np.zeros((6, 2)), None, np.ones((7, 2)), "5 of 6 source rows are copies"
    yield "wide", rng.randn(12, 60), ys[14:26], rng.randn(9, 60), "no more rows (9) than features (60)"
    yield "two target rows", X, ys, X[:2] + 1, "The target has 2 rows"
    yield "two rows each", X[:2], ys[:2], X[2:4], "The source has 2 rows"
    yield "strings", X, np.where(ys, "yes", "no"), X[::2] + 1, None
    yield "minus one", X, np.where(ys, 1, -1), X[::2] + 1, None
    yield (
        "small class",
        X,
        np.r_[ys[:38], 2, 2],
        X[::2] + 1,
        "Left out of the classifier, with fewer than 5 source rows: 2.",
    )
    yield "small classes only", X[:8], np.arange(8), X[::2] + 1, "Fewer than two classes have enough rows"
    yield "copies", np.repeat(X, 2, axis=0), np.repeat(ys, 2), X + 1, "40 of 80 source rows are copies"
    yield "shared rows", X, ys, np.concatenate([X[:7], X[:20] + 1]), "7 distinct rows are in both domains"
    yield "missing class", X + 9 * ys[:, None], ys, X[:20], "1 class is never predicted on the target: 1."
    yield "identical", X, ys, X.copy(), "40 distinct rows are in both domains"
    yield "lists", X.tolist(), ys.tolist(), X.tolist(), None
    yield "float32", X.astype(np.float32), ys, X.astype(np.float32) + 1, None


@pytest.mark.parametrize(("Xs", "ys", "Xt", "caution"), [case[1:] for case in odd()], ids=[case[0] for case in odd()])
def test_odd_data(Xs, ys, Xt, caution):
    report = report_of(Xs, ys, Xt)
    assert caution is None or any(caution in said for said in report.cautions), report.cautions
    assert report.advice
    assert not np.array_equal(Xs, Xt) or not report.is_aligned
    assert "nan" not in str(report)
    assert len(list(report.figures())) >= 2


def test_a_class_that_is_never_predicted_on_the_source_has_no_estimate():
    rng = np.random.RandomState(0)
    Xs = rng.randn(210, 2)
    report = report_of(Xs, np.repeat([0, 1, 2], [100, 100, 10]), rng.randn(90, 2))
    assert report.label_shift is None
    assert np.isnan(report.remaining["class shares"])
    assert any("class shares of the target are not estimated" in caution for caution in report.cautions)
    assert "unknown" in str(report)


def test_many_rows_classes_and_features_are_cut_where_it_is_said():
    rng = np.random.RandomState(0)
    ys = np.arange(2600) % 150
    centres = 3 * rng.randn(150, 120)
    Xt = rng.randn(900, 120) + centres[ys[:900]] + 0.5
    report = DomainShiftReport(rng.randn(2600, 120) + centres[ys], ys, Xt, n_permutations=19)
    assert (report.n_pair_source, report.n_pair_target, report.n_components) == (2000, 900, 100)
    text = str(report)
    assert "2000 and 900 random rows" in re.sub(r"\s+", " ", text)
    assert "Which features (the first 10 of 120)" in text
    assert "Which classes (the first 10 of 150)" in text
    assert len(report.class_distances) == 150
    assert len(report.features.ks) == 120
    assert len(report._html(page=True)) < 2e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Xt": np.full((5, 3), np.nan)}, "Input Xt contains NaN"),
        ({"Xs": np.full((6, 3), np.inf)}, "Input Xs contains infinity"),
        ({"Xs": csr_matrix(np.eye(6, 3))}, "dense data is required"),
        ({"Xt": np.ones((5, 2))}, "Xs has 3 features and Xt 2; they must agree"),
        ({"Xt": np.ones((1, 3))}, "minimum of 2 is required"),
        ({"ys": [0, 1]}, "y has 2 entries for 6 rows"),
        ({"ys": [0, 1, 0, 1, np.nan, 0]}, "no label"),
        ({"ys": np.linspace(0, 1, 6)}, "continuous"),
        ({"feature_names": ["a"]}, "There are 1 feature_names for 3 features"),
        ({"n_permutations": 18}, "n_permutations must be at least 19"),
        ({"Xs": np.ones((6, 3)), "Xt": np.ones((5, 3))}, "No feature of Xs and Xt varies"),
    ],
)
def test_bad_input_is_named(change, message):
    rng = np.random.RandomState(0)
    arguments = {"Xs": rng.randn(6, 3), "ys": [0, 1, 0, 1, 0, 1], "Xt": rng.randn(5, 3), **change}
    with pytest.raises((TypeError, ValueError), match=message):
        DomainShiftReport(arguments.pop("Xs"), arguments.pop("ys"), arguments.pop("Xt"), **arguments)


def test_names_of_a_dataframe():
    rng = np.random.RandomState(0)
    Xs, Xt = (
        pd.DataFrame(rng.randn(20, 2), columns=["a", "b"]),
        pd.DataFrame(rng.randn(20, 2) + np.array([0, 5]), columns=["a", "b"]),
    )
    assert report_of(Xs, None, Xt).top_features == ["b", "a"]
    assert str(report_of(Xs, None, Xt[["b", "a"]])) == str(report_of(Xs, None, Xt))
    with pytest.raises(ValueError, match=r"Xt has other features than Xs\. It lacks b\. Xs lacks c"):
        report_of(Xs, None, Xt.rename(columns={"b": "c"}))


# ------------------------------------------------------------------------------------------------ text and page


class Page(HTMLParser):
    """Texts, tags and addresses of a page."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.tags, self.addresses = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_text_shows_the_attributes(kinds):
    _, report = kinds["classes"]
    text = str(report)
    for value in (
        report.mmd,
        report.energy,
        report.separability.a_distance,
        report.bures["mean"],
        report.class_specific,
    ):
        assert f"{value:.3g}" in text
    assert f"p = {report.p_value:.3g}" in text
    for what, why in report.advice:
        assert what in re.sub(r"\s+", " ", text)
        assert why in re.sub(r"\s+", " ", text)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 120
    assert repr(report) == f"DomainShiftReport(n_source=240, n_target=200, n_features=6, p_value={report.p_value:.3g})"


def test_page_shows_the_attributes_and_needs_nothing_else(kinds, tmp_path):
    _, report = kinds["labels"]
    path = report.save(tmp_path / "page.html")
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    cells = set(page.texts)
    for value in (
        report.mmd,
        report.energy,
        report.separability.auc,
        report.bures["covariance"],
        report.label_distance,
    ):
        assert f"{value:.3g}" in cells
    for number, name in enumerate(report.feature_names):
        assert {name, f"{report.features.ks[number]:.3g}", f"{report.features.mean_difference[number]:.3g}"} <= cells
    for share in report.label_shift.target_prior:
        assert f"{share:.3g}" in cells
    assert {advice.what for advice in report.advice} <= cells
    assert page.tags.count("img") == 5
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r'"data:[^"]*"', "", html))
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert html.startswith("<!doctype html>")
    assert "prefers-color-scheme: dark" in html


def test_names_are_text_and_not_markup(tmp_path):
    rng = np.random.RandomState(0)
    bad = "<script>alert('x')</script>"
    ys = np.repeat([bad, "<b>&amp;"], 30)
    report = report_of(rng.randn(60, 2), ys, rng.randn(60, 2) + 1, feature_names=[bad, '"><img src=x onerror=y> $a_{'])
    html = report.save(tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(html)
    assert "script" not in page.tags
    assert page.tags.count("img") == 5
    assert {bad, "<b>&amp;"} <= set(page.texts)
    assert "&lt;script&gt;" in html
    assert "<script>" not in report._repr_html_()


def test_notebook_shows_a_part_of_a_page(kinds):
    html = kinds["none"][1]._repr_html_()
    assert html.lstrip().startswith('<div class="shallowda-report">')
    assert not {"html", "body", "head"} & set(Page(html).tags)
    rules = re.findall(r"^(\S[^{]*)\{", html[html.index("<style>") + 7 : html.index("</style>")].strip(), re.MULTILINE)
    assert rules
    assert all(part.strip().startswith(".shallowda-report") for rule in rules for part in rule.split(","))


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_the_extra_there_are_numbers_and_a_hint(monkeypatch, tmp_path, kinds, package):
    (Xs, ys, Xt), _ = kinds["none"]
    monkeypatch.setitem(sys.modules, package, None)
    report = report_of(Xs, ys, Xt, feature_names=list("abcde<"))
    assert "How large" in str(report)
    with pytest.raises(ImportError, match=rf'needs {package}\. Install with: pip install "shallowda\[report\]"'):
        report.save(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    html = report._repr_html_()
    assert "shallowda[report]" in html
    assert "&lt;" in html
    if package == "matplotlib":
        with pytest.raises(ImportError, match=r"shallowda\[report\]"):
            next(report.figures())


def test_figures_are_unknown_to_pyplot(kinds):
    figures = list(kinds["classes"][1].figures())
    assert [title for title, _, _ in figures] == [
        "Both domains in the plane",
        "Features that differ most",
        "Class shares",
        "Class means",
        "Distance within each class",
    ]
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


# ------------------------------------------------------------------------------------------------ command line


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The same domains in every format."""
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.RandomState(0)
    ys, yt = np.repeat(["no", "yes"], 20), np.repeat(["no", "yes"], 15)
    Xs, Xt = rng.randn(40, 2) + 3 * (ys == "yes")[:, None], rng.randn(30, 2) + np.array([0, 4])
    for name, X, y in (("source", Xs, ys), ("target", Xt, yt)):
        np.savez(folder / f"{name}.npz", X=X, y=y, kind=y)
        np.save(folder / f"{name}.npy", X)
        np.save(folder / f"{name}_labelled.npy", np.column_stack([X, y == "yes"]))
        frame = pd.DataFrame(X, columns=["a", "b"])
        frame.to_csv(folder / f"{name}_plain.csv", index=False)
        frame.to_csv(folder / f"{name}_headless.csv", index=False, header=False)
        frame.assign(kind=y).to_csv(folder / f"{name}.csv", index=False)
    return folder, report_of(Xs, ys, Xt)


@pytest.mark.parametrize(
    ("source", "target", "labels", "classes"),
    [
        ("source.npz", "target.npz", None, 2),
        ("source.npz", "target.npy", "kind", 2),
        ("source.npy", "target.npz", None, 0),
        ("source_labelled.npy", "target.npy", "2", 2),
        ("source_labelled.npy", "target_labelled.npy", "2", 2),
        ("source.csv", "target.csv", "kind", 2),
        ("source.csv", "target_plain.csv", "kind", 2),
        ("source.csv", "target_headless.csv", "2", 2),
        ("source_plain.csv", "target_plain.csv", None, 0),
    ],
)
def test_command_reads_every_format(tables, capsys, source, target, labels, classes):
    folder, expected = tables
    options = [] if labels is None else ["--labels", labels]
    assert main([str(folder / source), str(folder / target), "--permutations", "39", *options]) == 0
    out = capsys.readouterr().out
    assert f"2 features, {classes} classes" in re.sub(r"\s+", " ", out)
    assert f"{expected.energy:.3g}" in out
    if source.endswith(".csv"):
        assert re.search(r"^  b  ", out, re.MULTILINE)


def test_command_writes_a_page(tables, capsys, tmp_path, monkeypatch):
    folder, _ = tables
    files = [str(folder / "source.npz"), str(folder / "target.npz"), "--permutations", "19"]
    assert main([*files, "--output", str(tmp_path / "page.html")]) == 0
    assert str(tmp_path / "page.html") in capsys.readouterr().out
    assert "Domain shift report" in (tmp_path / "page.html").read_text(encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main([*files, "--output", str(tmp_path / "no" / "page.html")])
    assert stopped.value.code == 2
    assert "--output cannot be written" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(SystemExit) as stopped:
        main([*files, "--output", str(tmp_path / "other.html")])
    assert stopped.value.code == 1
    assert "shallowda[report]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("absent.csv", None, [], "No such file"),
        ("table.txt", b"1,2\n", [], "not a file of a known kind"),
        ("empty.csv", b"", [], "the file is empty"),
        ("ragged.csv", b"a,b\n1,2\n3\n", [], "line 3 has 1 fields, the first has 2"),
        ("missing.csv", b"a,b\n1,2\n3,?\n", [], "'?' in line 3, column b is not a finite number"),
        ("nan.csv", b"1,2\n3,nan\n", [], "'nan' in line 2, column 1 is not a finite number"),
        ("latin.csv", b"a,b\n1,\xff\n", [], "not readable as comma-separated text"),
        ("table.csv", b"a,b\n1,2\n3,4\n", ["--labels", "c"], "there is no column 'c'; columns are a, b"),
        ("headless.csv", b"1,2\n3,4\n", ["--labels", "7"], "there is no column '7'; columns are 0 to 1"),
        ("broken.npz", b"PK\x03\x04rubbish", [], "not readable as plain arrays"),
        ("broken.npy", b"rubbish", [], "not readable as plain arrays"),
        ("empty.npy", b"", [], "not readable as plain arrays"),
        ("columns.csv", b"a,c,d\n1,2,3\n3,4,5\n", [], "The columns of the files differ"),
        ("few.csv", b"a,b\n1,2\n", [], "minimum of 2 is required"),
    ],
)
def test_bad_file_is_one_message_and_status_2(tables, tmp_path, capsys, name, content, options, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        main([str(path), str(tables[0] / "target_plain.csv"), *options])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"Z": np.ones((3, 2))}, [], "there is no array 'X', only ['Z']"),
        ({"X": np.ones((3, 2))}, ["--labels", "y"], "there is no array 'y', only ['X']"),
        ({"X": np.ones(3)}, [], "X must be a matrix of numbers; it is 1-D of float64"),
        ({"X": np.array([["a", "b"]])}, [], "X must be a matrix of numbers"),
        ({"X": np.array([[1, None]], dtype=object)}, [], "not readable as plain arrays"),
    ],
)
def test_bad_arrays(tables, tmp_path, capsys, arrays, options, message):
    np.savez(tmp_path / "source.npz", **arrays)
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "source.npz"), str(tables[0] / "target.npz"), *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.save(tmp_path / "trap.npy", np.array([[Trap()]], dtype=object))
    with pytest.raises(ValueError, match="not readable as plain arrays"):
        read_table(tmp_path / "trap.npy")
    assert not (tmp_path / "sprung").exists()


def test_labels_of_the_target_are_not_used(tables, capsys, tmp_path):
    folder, _ = tables
    with np.load(folder / "target.npz") as arrays:
        np.savez(tmp_path / "other.npz", X=arrays["X"], y=arrays["y"][::-1])
    outputs = []
    for target in (folder / "target.npz", tmp_path / "other.npz"):
        main([str(folder / "source.npz"), str(target), "--permutations", "19"])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_shift_is_a_named_tuple_of_arrays(kinds):
    assert isinstance(kinds["none"][1].features, FeatureShift)
