"""Printed digits: the format of `load_digits`, reproducible, and a real domain shift."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("PIL")

from shallowda.datasets import make_printed_digits  # noqa: E402
from shallowda.datasets._printed_digits import FONTS  # noqa: E402


@pytest.fixture(scope="module")
def printed():
    return make_printed_digits(400, random_state=0)


def test_format_is_that_of_load_digits(printed):
    X, y = printed
    handwritten, digits = load_digits(return_X_y=True)
    assert X.shape == (400, handwritten.shape[1])
    assert X.dtype == handwritten.dtype
    assert (X.min(), X.max()) == (handwritten.min(), handwritten.max())
    np.testing.assert_array_equal(X, np.rint(X))
    assert set(y) == set(digits)
    # Ink, size and place resemble the handwritten bitmaps: centred, full height, margins left and right.
    assert abs(X.sum(axis=1).mean() / handwritten.sum(axis=1).mean() - 1) < 0.25
    ink = X.reshape(-1, 8, 8).sum(axis=0)
    for axis in (0, 1):
        profile = ink.sum(axis=axis) / ink.sum()
        assert abs(profile @ np.arange(8) - 3.5) < 0.3
    assert ink.sum(axis=0)[[0, 7]].max() < 0.1 * ink.sum(axis=0).max()
    assert (X.reshape(-1, 8, 8).max(axis=2) > 0).mean() > 0.97


def test_same_seed_gives_the_same_samples(printed):
    for again in (
        make_printed_digits(400, random_state=0),
        make_printed_digits(400, random_state=np.random.RandomState(0)),
    ):
        np.testing.assert_array_equal(again[0], printed[0])
        np.testing.assert_array_equal(again[1], printed[1])


def test_other_seeds_and_other_samples_differ(printed):
    X, y = make_printed_digits(400, random_state=1)
    assert (y != printed[1]).any()
    assert (X[y == 3] != printed[0][printed[1] == 3]).any()
    # Distortions are random: no sample repeats although each font draws each digit twice.
    assert len(np.unique(printed[0], axis=0)) == 400


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy()
    make_printed_digits(10, random_state=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("n_samples", [1, 7, 95])
def test_classes_are_balanced_for_any_size(n_samples):
    X, y = make_printed_digits(n_samples, random_state=0)
    assert X.shape == (n_samples, 64)
    assert np.ptp(np.bincount(y, minlength=10)) <= 1


@pytest.mark.parametrize(
    ("n_samples", "error"), [(0, ValueError), (-3, ValueError), (10.0, TypeError), ("10", TypeError)]
)
def test_bad_size_names_the_argument(n_samples, error):
    with pytest.raises(error, match="n_samples"):
        make_printed_digits(n_samples)


@pytest.mark.parametrize("package", ["PIL", "matplotlib"])
def test_missing_package_names_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r'pip install "shallowda\[demo\]"') as caught:
        make_printed_digits(10)
    assert package in str(caught.value)


def test_missing_font_is_an_error_that_names_it(monkeypatch, tmp_path):
    folder = tmp_path / "fonts" / "ttf"
    folder.mkdir(parents=True)
    for name in FONTS[:-1]:
        (folder / f"{name}.ttf").touch()
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"no {FONTS[-1]}.ttf in"):
        make_printed_digits(10)


def test_each_font_draws_all_digits():
    # 200 samples are every digit once in every font; printed digits of other samples recognise nearly all of them.
    X, y = make_printed_digits(200, random_state=0)
    assert len(FONTS) == len(set(FONTS)) == 20
    classifier = KNeighborsClassifier(1).fit(*make_printed_digits(1000, random_state=1))
    assert classifier.score(X, y) > 0.9


def test_shift_is_real_but_not_hopeless(printed):
    X, y = printed
    handwritten, digits = load_digits(return_X_y=True)
    accuracy = KNeighborsClassifier(1).fit(normalize(X), y).score(normalize(handwritten), digits)
    assert 0.5 < accuracy < 0.8
