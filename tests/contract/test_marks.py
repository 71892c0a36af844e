"""Which rows are target, and what is never read of them: every way to say it gives the same model."""

import re
from functools import partial

import array_api_strict as strict
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.preprocessing import StandardScaler

from shallowda import (
    CORAL,
    LabeledOnly,
    NoTargetWarning,
    OneNearestNeighbor,
    PerDomain,
    TCAEstimator,
    make_pipeline,
    pack_domains,
)
from shallowda.model_selection import SourceTargetKFold, source_accuracy

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
    "pandas str": lambda p: series(NAMES, p, pd.StringDtype(na_value=np.nan)),  # the "str" of pandas 3
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


# ------------------------------------------------------------------------------------------------ types of labels

BIG = 2**53


def objects(values, problem, missing):
    return np.where(problem.domain < 0, missing, np.array(values, dtype=object)[problem.truth])


WHOLE = {
    "objects with None": lambda v, p: objects(v, p, None),
    "objects with NaN": lambda v, p: objects(v, p, np.nan),
    "objects with pandas' NA": lambda v, p: objects(v, p, pd.NA),
    "a list with None": lambda v, p: objects(v, p, None).tolist(),
    "a list with NaN": lambda v, p: objects(v, p, np.nan).tolist(),
    "a list with an empty string": lambda v, p: objects(v, p, "").tolist(),
    "pandas Int64": lambda v, p: pd.Series(objects(v, p, None), dtype="Int64"),
    "a pandas array": lambda v, p: pd.array(objects(v, p, None), dtype="Int64"),
    "a column of a pandas frame": lambda v, p: pd.DataFrame({"y": pd.array(objects(v, p, None), dtype="Int64")})["y"],
    "pandas categories": lambda v, p: pd.Series(objects(v, p, None), dtype="category"),
    "polars": lambda v, p: pl.Series(objects(v, p, None).tolist()),
    "numpy": lambda v, p: np.where(p.domain < 0, -1, np.array(v)[p.truth]),
}


@pytest.mark.parametrize("labels", WHOLE.values(), ids=WHOLE.keys())
@pytest.mark.parametrize("values", [[0, 1, 2], [BIG, BIG + 1, BIG + 2], [-(BIG + 1), -BIG, 7]], ids=str)
def test_whole_numbers_come_back_as_whole_numbers_and_none_merge(labels, values, problem):
    y = labels(values, problem)
    expected = np.array(values)[CORAL(ridge=0.1).fit(problem.X, problem.y).predict(problem.Xt)]
    for model in (CORAL(ridge=0.1), make_pipeline(CORAL(ridge=0.1), OneNearestNeighbor())):
        predicted = model.fit(problem.X, y).predict(problem.Xt)
        np.testing.assert_array_equal(model.classes_, values)
        assert model.classes_.dtype == predicted.dtype == np.int64
        np.testing.assert_array_equal(predicted, expected)
        with pytest.warns(UserWarning, match="36 rows are marked"):
            assert model.score(problem.X, y) > 0.9
        assert source_accuracy(model, problem.X, y) == 1.0
    assert len(list(SourceTargetKFold(3, random_state=0).split(problem.X, y))) == 3


BOOLEANS = {
    "objects with None": lambda p: objects([False, True, True], p, None),
    "objects of NumPy with NaN": lambda p: objects(np.array([False, True, True]), p, np.nan),
    "a list with None": lambda p: objects([False, True, True], p, None).tolist(),
    "pandas boolean": lambda p: pd.Series(objects([False, True, True], p, None), dtype="boolean"),
    "polars": lambda p: pl.Series(objects([False, True, True], p, None).tolist()),
}


@pytest.mark.parametrize("labels", BOOLEANS.values(), ids=BOOLEANS.keys())
def test_booleans_come_back_as_booleans(labels, problem):
    for model in (CORAL(ridge=0.1), make_pipeline(CORAL(ridge=0.1), OneNearestNeighbor())):
        predicted = model.fit(problem.X, labels(problem)).predict(problem.Xt)
        assert model.classes_.dtype == predicted.dtype == bool
        np.testing.assert_array_equal(predicted, problem.yt > 0)


def test_floats_stay_floats(problem):
    for y in (
        masked([0, 1, 2], problem, np.nan, float),
        masked([0, 1, 2], problem, np.nan, np.float32),
        objects([0.0, 1.0, 2.0], problem, None),
        pl.Series(objects([0.0, 1.0, 2.0], problem, None).tolist()),
        pd.Series(objects([0.0, 1.0, 2.0], problem, None), dtype="Float64"),
    ):
        classes = CORAL(ridge=0.1).fit(problem.X, y).classes_
        assert classes.dtype.kind == "f"
        assert classes.dtype == (y.dtype if isinstance(y, np.ndarray) and y.dtype.kind == "f" else float)


def test_learning_in_parts_keeps_the_type_of_labels(problem):
    for values, dtype in (([0, 1, 1], np.int64), ([False, True, True], bool), ([BIG, BIG + 1, BIG + 1], np.int64)):
        model, y = CORAL(ridge=0.1), objects(values, problem, None)
        for rows in (slice(0, 45), slice(45, 90)):
            model.partial_fit(problem.X[rows], y[rows])
        assert model.classes_.dtype == dtype
        np.testing.assert_array_equal(model.classes_, sorted(set(values)))


def test_labels_of_another_library(problem):
    for move in (strict.asarray, lambda y: strict.asarray(y, device=strict.Device("device1"))):
        model = CORAL(ridge=0.1).fit(problem.X, move(problem.truth), sample_domain=move(problem.domain))
        np.testing.assert_array_equal(model.predict(problem.Xt), expected(partial(CORAL, ridge=0.1), problem))
        last = LabeledOnly(OneNearestNeighbor()).fit(problem.X, move(problem.y))
        np.testing.assert_array_equal(last.classes_, [0, 1, 2])


TOO_LARGE = {
    "beyond 64 bits": ([0, 1, 2**64], "64 bits are too few.*Pass strings"),
    "of both signs, beyond int64": ([-5, 1, 2**63], "64 bits are too few.*Pass strings"),
    "beside fractions": ([0.5, 1, BIG + 1], f"{BIG + 1}, which no float64 is equal to"),
}


@pytest.mark.parametrize(("values", "message"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_numbers_that_no_type_holds_are_refused(values, message, problem):
    for y in (objects(values, problem, None), objects(values, problem, None).tolist()):
        for reader in (CORAL(), PerDomain(StandardScaler()), LabeledOnly(OneNearestNeighbor())):
            with pytest.raises(ValueError, match=message):
                reader.fit(problem.X, y)


def test_unsigned_labels_beyond_int64(problem):
    y = (problem.truth.astype(np.uint64) + np.uint64(2**63)).astype(np.uint64)
    model = CORAL(ridge=0.1).fit(problem.X, y, sample_domain=problem.domain)
    assert model.classes_.tolist() == [2**63, 2**63 + 1, 2**63 + 2]


MIXED = {
    "strings and numbers": (["a", 1, 2], r"y holds strings and numbers, such as 'a' \(str\) and 1 \(int\)"),
    "bytes and strings": (
        ["a", b"a", "b"],
        r"strings and values of type bytes, such as 'a' \(str\) and b'a' \(bytes\)",
    ),
    "tuples": ([(0, 1), (1, 0), (1, 1)], r"y holds values of type tuple, such as \(0, 1\) \(tuple\)"),
    "complex": ([1j, 0, 2], r"values of type complex and numbers, such as 1j \(complex\) and 0 \(int\)"),
}


@pytest.mark.parametrize(("values", "message"), MIXED.values(), ids=MIXED.keys())
def test_labels_of_mixed_types_are_named(values, message, problem):
    order = np.argsort(problem.truth, kind="stable")
    y = np.empty(90, dtype=object)
    y[:] = [None if code < 0 else values[label] for code, label in zip(problem.domain, problem.truth, strict=True)]
    for reader in (CORAL(), LabeledOnly(OneNearestNeighbor()), TCAEstimator(3)):
        with pytest.raises(ValueError, match=f"Unknown label type: .*{message}.*convert them"):
            reader.fit(problem.X[order], y[order])


def test_a_list_of_mixed_types_does_not_become_strings(problem):
    y = [("a", 1, 2)[label] if code >= 0 else -1 for code, label in zip(problem.domain, problem.truth, strict=True)]
    with pytest.raises(ValueError, match=r"y holds (strings and numbers|numbers and strings), such as"):
        CORAL().fit(problem.X, y)


@pytest.mark.parametrize("missing", [None, ""])
def test_missing_source_label_is_refused_after_an_adapter_too(missing, problem):
    y = NAMES[problem.truth].astype(object)
    y[np.flatnonzero(problem.domain >= 0)[:2]] = missing
    with pytest.raises(ValueError, match=r"no label .* 2 source row"):
        LabeledOnly(OneNearestNeighbor()).fit(problem.X, y, sample_domain=problem.domain)


def test_missing_entries_beside_minus_one_are_not_guessed_at(make, problem):
    y = np.where(problem.truth == 0, 1, -1).astype(object)
    y[problem.domain < 0] = None
    with pytest.raises(ValueError, match=r"both missing values.*sample_domain"):
        make().fit(problem.X, y)


# -------------------------------------------------------------------------------- other tools' ways to name a domain


@pytest.mark.parametrize(
    "codes",
    [
        lambda p: np.where(p.domain < 0, 1, 0),
        lambda p: np.where(p.domain < 0, 0, 1),
        lambda p: np.where(p.domain < 0, 2, 1),
        lambda p: np.where(p.domain < 0, 2, np.arange(90) % 2),
        lambda p: np.where(p.domain < 0, 1.0, 0.0),
        lambda p: np.where(p.domain < 0, 1, 0).tolist(),
    ],
)
@pytest.mark.parametrize("mark", [-1, np.nan, ""])
def test_target_rows_with_a_domain_number_of_their_own_are_not_taken_for_source(codes, mark, problem):
    if mark == "":
        y = np.where(problem.domain < 0, "", NAMES[problem.truth])
    else:
        y = masked([0, 1, 2], problem, mark, float)
    message = (
        r"sample_domain is nowhere negative, and y marks all rows of domain \d.*numpy.where\(sample_domain == \d, -1"
    )
    for reader in (CORAL(), TCAEstimator(3), PerDomain(StandardScaler()), LabeledOnly(OneNearestNeighbor())):
        with pytest.raises(ValueError, match=message):
            reader.fit(problem.X, y, sample_domain=codes(problem))
    with pytest.raises(ValueError, match=message):
        next(SourceTargetKFold(3).split(problem.X, y, codes(problem)))
    model = CORAL(ridge=0.1).fit(problem.X, y)
    with pytest.raises(ValueError, match=message):
        source_accuracy(model, problem.X, y, sample_domain=codes(problem))


def test_without_marks_the_warning_says_what_sample_domain_holds(problem):
    with pytest.warns(
        NoTargetWarning, match=r"sample_domain decides, and it holds only 0, 1: target rows are those where"
    ):
        CORAL().fit(problem.X, problem.truth, sample_domain=np.where(problem.domain < 0, 1, 0))
    with pytest.warns(NoTargetWarning, match=r"holds only 0, 1, 2, 3, 4, \.\.\.: target rows"):
        PerDomain(StandardScaler()).fit(problem.X, sample_domain=np.arange(90) % 9)


def test_minus_one_may_be_a_label_of_sources_only(problem):
    signs = np.where(problem.truth == 0, 1, -1)
    with pytest.warns(NoTargetWarning):
        model = CORAL().fit(problem.X, signs, sample_domain=np.arange(90) // 45)
    np.testing.assert_array_equal(model.classes_, [-1, 1])


@pytest.mark.parametrize("word", ["?", "unknown", "Unlabelled", "n/a", "target"])
@pytest.mark.parametrize("dtype", [str, object])
def test_words_for_no_label_are_named_where_there_is_no_mark(word, dtype, problem):
    y = np.where(problem.domain < 0, word, NAMES[problem.truth]).astype(dtype)
    message = rf"The label '{re.escape(word)}' of 36 rows is no mark, and has been taken for a class.*empty string"
    for reader in (CORAL(), PerDomain(StandardScaler()), LabeledOnly(OneNearestNeighbor())):
        with pytest.warns(NoTargetWarning, match=message):
            reader.fit(problem.X, y)
    CORAL(ridge=0.1).fit(problem.X, y, sample_domain=problem.domain)
    y[np.flatnonzero(problem.domain < 0)[1:]] = ""  # beside marks the word is a class
    assert word in CORAL(ridge=0.1).fit(problem.X, y).classes_


@pytest.mark.parametrize("number", [-9, -999.0])
def test_negative_numbers_for_no_label_are_named_where_there_is_no_mark(number, problem):
    y = np.where(problem.domain < 0, number, problem.truth)
    with pytest.warns(NoTargetWarning, match=rf"The label {number} of 36 rows is no mark.*write -1 there"):
        CORAL().fit(problem.X, y)


HUGE = {
    "unsigned": np.array([0] * 45 + [2**63] * 45, dtype=np.uint64),
    "floats": np.where(np.arange(90) < 45, 0.0, 2.0**63),
    "large floats": np.where(np.arange(90) < 45, 0.0, 1e300),
    "negative floats": np.where(np.arange(90) < 45, 0.0, -1e30),
    "a list": [0] * 45 + [2**63] * 45,
}


@pytest.mark.parametrize("codes", HUGE.values(), ids=HUGE.keys())
def test_domains_beyond_64_bits_do_not_change_sides(codes, problem):
    for reader in (CORAL(), PerDomain(StandardScaler()), LabeledOnly(OneNearestNeighbor())):
        with pytest.raises(ValueError, match=r"sample_domain must hold integers of 64 bits.*Number the domains"):
            reader.fit(problem.X, problem.truth, sample_domain=codes)
    model = CORAL(ridge=0.1).fit(problem.X, problem.y)
    with pytest.raises(ValueError, match="64 bits"):
        model.transform(problem.X, sample_domain=codes)


def test_the_largest_numbers_of_domains(problem):
    for large in (np.uint64(2**63 - 1), np.int64(2**63 - 1)):
        codes = np.where(problem.domain < 0, large, large - large)
        with pytest.warns(NoTargetWarning):
            CORAL().fit(problem.X, problem.truth, sample_domain=codes)
