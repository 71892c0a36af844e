"""Which rows are target, and what is never read of them: every way to say it gives the same model."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.preprocessing import StandardScaler

from shallowda import LabeledOnly, OneNearestNeighbor, PerDomain, pack_domains

NAMES = np.array(["ant", "bee", "cow"])
MISSING = [None, float("nan"), pd.NA, "", -1]


def masked(values, problem, mark, dtype):
    """Labels as `dtype`, with `mark` on target rows."""
    labels = np.asarray(values)[problem.truth].astype(dtype)
    labels[problem.domain < 0] = mark
    return labels


def series(values, problem, dtype):
    """Labels as a pandas Series of `dtype` with missing values on target rows."""
    labels = pd.Series(np.asarray(values)[problem.truth], dtype="object").where(problem.domain >= 0, None)
    return labels.astype(dtype)


MARKED = {
    "int": lambda p: p.y,
    "int8": lambda p: p.y.astype(np.int8),
    "list": lambda p: p.y.tolist(),
    "float with -1": lambda p: p.y.astype(float),
    "float with NaN": lambda p: masked([0, 1, 2], p, np.nan, float),
    "float32 with NaN": lambda p: masked([0, 1, 2], p, np.nan, np.float32),
    "numbers as objects with -1": lambda p: p.y.astype(object),
    "numbers as objects with None": lambda p: masked([0, 1, 2], p, None, object),
    "floats as objects with None": lambda p: masked([0.0, 1.0, 2.0], p, None, object),
    "pandas int": lambda p: pd.Series(p.y),
    "pandas float with NaN": lambda p: series([0, 1, 2], p, "float64"),
    "pandas Int64 with NA": lambda p: series([0, 1, 2], p, "Int64"),
    "pandas Float64 with NA": lambda p: series([0, 1, 2], p, "Float64"),
    "pandas categories of numbers": lambda p: series([0, 1, 2], p, "category"),
    "polars int": lambda p: pl.Series(p.y),
    "polars int with null": lambda p: pl.Series(masked([0, 1, 2], p, None, object).tolist()),
}
MARKED_STRINGS = {
    "strings with ''": lambda p: masked(NAMES, p, "", "U3"),
    **{f"objects with {m!r}": lambda p, m=m: masked(NAMES, p, m, object) for m in MISSING},
    "pandas strings": lambda p: series(NAMES, p, "string"),
    "pandas str": lambda p: series(NAMES, p, "str"),
    "pandas objects": lambda p: series(NAMES, p, "object"),
    "pandas categories": lambda p: series(NAMES, p, "category"),
    "polars strings": lambda p: pl.Series(masked(NAMES, p, None, object).tolist()),
}


def expected(make, problem):
    return make().fit(problem.X, problem.y).predict(problem.Xt)


@pytest.mark.parametrize("marked", MARKED.values(), ids=MARKED.keys())
def test_numbers(make, problem, marked):
    model = make().fit(problem.X, marked(problem))
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    assert model.classes_.dtype.kind in "if"
    np.testing.assert_array_equal(model.predict(problem.Xt), expected(make, problem))


@pytest.mark.parametrize("marked", MARKED_STRINGS.values(), ids=MARKED_STRINGS.keys())
def test_strings(make, problem, marked):
    model = make().fit(problem.X, marked(problem))
    np.testing.assert_array_equal(model.classes_, NAMES)
    np.testing.assert_array_equal(model.predict(problem.Xt), NAMES[expected(make, problem)])


@pytest.mark.parametrize("labels", ["bool", "uint8"])
def test_labels_without_a_mark_of_their_own_through_pack_domains(make, problem, labels):
    source = problem.domain >= 0
    ys = problem.truth[source] == 1 if labels == "bool" else (problem.truth[source] + 1).astype(np.uint8)
    X, y, _ = pack_domains(problem.X[source], ys, problem.Xt)
    model = make().fit(X, y)
    np.testing.assert_array_equal(model.classes_, [0, 1] if labels == "bool" else [1, 2, 3])
    plain = make().fit(X, y.tolist())
    np.testing.assert_array_equal(model.predict(problem.Xt), plain.predict(problem.Xt))


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_labels_without_a_mark_of_their_own_with_sample_domain(make, problem, dtype):
    y = (problem.truth == 1).astype(dtype)
    model = make().fit(problem.X, y, sample_domain=problem.domain)
    assert model.classes_.dtype == dtype
    reference = make().fit(problem.X, y.astype(int), sample_domain=problem.domain)
    np.testing.assert_array_equal(model.predict(problem.Xt), reference.predict(problem.Xt))


CODES = {
    "0 and -1": lambda p: p.domain,
    "1 and -2": lambda p: np.where(p.domain < 0, -2, 1),
    "three sources": lambda p: np.where(p.domain < 0, -1, np.arange(90) % 3),
    "two targets": lambda p: np.where(p.domain < 0, -1 - np.arange(90) % 2, 0),
    "integral floats": lambda p: p.domain.astype(float),
    "int8": lambda p: p.domain.astype(np.int8),
    "list": lambda p: p.domain.tolist(),
    "pandas": lambda p: pd.Series(p.domain),
    "pandas Int64": lambda p: pd.Series(p.domain, dtype="Int64"),
    "polars": lambda p: pl.Series(p.domain),
}


@pytest.mark.parametrize("codes", CODES.values(), ids=CODES.keys())
def test_sample_domain_says_the_same_as_marks(make, problem, codes):
    model = make().fit(problem.X, problem.truth, sample_domain=codes(problem))
    np.testing.assert_array_equal(model.predict(problem.Xt), expected(make, problem))


BAD_CODES = {
    "too short": (lambda p: p.domain[:-1], r"shape \(90,\), one entry per row"),
    "two columns": (lambda p: np.c_[p.domain, p.domain], r"shape \(90,\), one entry per row"),
    "scalar": (lambda p: -1, r"shape \(90,\), one entry per row"),
    "fractions": (lambda p: p.domain + 0.5, "must hold integers"),
    "NaN": (lambda p: np.where(p.domain < 0, np.nan, 0.0), "must hold integers"),
    "booleans": (lambda p: p.domain < 0, "must hold integers"),
    "strings": (lambda p: np.where(p.domain < 0, "target", "source"), "must hold integers"),
    "no source": (lambda p: np.full(90, -1), "no source row.*sample_domain is negative everywhere"),
}


@pytest.mark.parametrize(("codes", "message"), BAD_CODES.values(), ids=BAD_CODES.keys())
def test_bad_sample_domain_is_refused(make, problem, codes, message):
    for reader in (make(), PerDomain(StandardScaler()), LabeledOnly(OneNearestNeighbor())):
        with pytest.raises(ValueError, match=message):
            reader.fit(problem.X, problem.truth, sample_domain=codes(problem))


GARBAGE = {
    "one class": lambda p: np.where(p.domain < 0, 0, p.truth),
    "shifted": lambda p: np.where(p.domain < 0, (p.truth + 1) % 3, p.truth),
    "classes unknown to the source": lambda p: np.where(p.domain < 0, 99, p.truth),
    "marks": lambda p: p.y,
    "NaN": lambda p: masked([0, 1, 2], p, np.nan, float),
    "fractions": lambda p: np.where(p.domain < 0, 0.5, p.truth),
    "infinite": lambda p: np.where(p.domain < 0, np.inf, p.truth),
    "None": lambda p: masked([0, 1, 2], p, None, object),
    "words": lambda p: masked([0, 1, 2], p, "?", object),
}


@pytest.mark.parametrize("labels", GARBAGE.values(), ids=GARBAGE.keys())
def test_target_labels_change_nothing(make, problem, labels):
    honest = make().fit(problem.X, problem.truth, sample_domain=problem.domain)
    model = make().fit(problem.X, labels(problem), sample_domain=problem.domain)
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    np.testing.assert_array_equal(model.predict(problem.X), honest.predict(problem.X))
    if hasattr(model, "transform"):
        np.testing.assert_array_equal(model.transform(problem.X), honest.transform(problem.X))


@pytest.mark.parametrize("dtype", [int, float, np.int8, object])
def test_minus_one_and_one_are_not_guessed_at(make, problem, dtype):
    y = np.where(problem.truth == 0, 1, -1).astype(dtype)
    with pytest.raises(ValueError, match=r"\{-1, \+1\}.*sample_domain"):
        make().fit(problem.X, y)
    with pytest.raises(ValueError, match=r"\{-1, \+1\}.*sample_domain"):
        LabeledOnly(OneNearestNeighbor()).fit(problem.X, y)


def test_minus_one_beside_nan_is_not_guessed_at(make, problem):
    y = np.where(problem.truth == 0, 1.0, -1.0)
    y[problem.domain < 0] = np.nan
    with pytest.raises(ValueError, match="sample_domain"):
        make().fit(problem.X, y)


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA, ""])
def test_missing_source_label_is_refused_with_sample_domain(make, problem, missing):
    y = NAMES[problem.truth].astype(object)
    y[np.flatnonzero(problem.domain >= 0)[:2]] = missing
    with pytest.raises(ValueError, match=r"no label .* 2 source row"):
        make().fit(problem.X, y, sample_domain=problem.domain)
