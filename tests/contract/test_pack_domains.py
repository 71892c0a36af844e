"""`pack_domains`: what it stacks, what it marks, what it refuses."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from shallowda import pack_domains

XS = np.arange(12.0).reshape(4, 3)
XT = -np.arange(6.0).reshape(2, 3)
YS = [3, 5, 5, 3]


def check(packed, X, y, domain):
    np.testing.assert_array_equal(np.asarray(packed[0]), X)
    np.testing.assert_array_equal(packed[1], y)
    np.testing.assert_array_equal(packed[2], domain)


@pytest.mark.parametrize("to", [np.asarray, np.ndarray.tolist, lambda X: tuple(map(tuple, X)), np.asfortranarray])
def test_arrays_and_lists(to):
    check(pack_domains(to(XS), YS, to(XT)), np.r_[XS, XT], [*YS, -1, -1], [0, 0, 0, 0, -1, -1])


def test_several_sources():
    packed = pack_domains([XS, XS[:1] + 1, XS[:2]], [YS, [3], [5, 7]], XT)
    check(packed, np.r_[XS, XS[:1] + 1, XS[:2], XT], [*YS, 3, 5, 7, -1, -1], [0, 0, 0, 0, 1, 2, 2, -1, -1])


def test_one_source_in_a_list_and_sources_as_lists():
    check(pack_domains([XS], [YS], XT), np.r_[XS, XT], [*YS, -1, -1], [0, 0, 0, 0, -1, -1])
    packed = pack_domains([XS.tolist(), XS.tolist()], [YS, YS], XT)
    check(packed, np.r_[XS, XS, XT], [*YS, *YS, -1, -1], [0, 0, 0, 0, 1, 1, 1, 1, -1, -1])


def test_target_labels_are_kept_as_they_are():
    check(pack_domains(XS, YS, XT, yt=[5, 9]), np.r_[XS, XT], [*YS, 5, 9], [0, 0, 0, 0, -1, -1])


DTYPES = {
    "int32": (np.array(YS, np.int32), [3, 5, 5, 3, -1, -1], np.int64),
    "uint8": (np.array(YS, np.uint8), [3, 5, 5, 3, -1, -1], np.int64),
    "bool": (np.array(YS) == 5, [0, 1, 1, 0, -1, -1], np.int64),
    "integral float": (np.array(YS, float), [3, 5, 5, 3, -1, -1], np.float64),
    "continuous": (np.array(YS) + 0.5, [3.5, 5.5, 5.5, 3.5, np.nan, np.nan], np.float64),
    "str": (np.array(list("abba")), ["a", "b", "b", "a", "", ""], np.dtype("U1")),
    "objects": (np.array(list("abba"), object), ["a", "b", "b", "a", "", ""], object),
    "column": (np.array(YS)[:, None], [3, 5, 5, 3, -1, -1], np.int64),
    "pandas": (pd.Series(YS, index=[7, 7, 8, 9]), [3, 5, 5, 3, -1, -1], np.int64),
    "pandas Int64": (pd.Series(YS, dtype="Int64"), [3, 5, 5, 3, -1, -1], np.int64),
    "pandas string": (pd.Series(list("abba"), dtype="string"), ["a", "b", "b", "a", "", ""], object),
    "pandas categories": (pd.Series(list("abba"), dtype="category"), ["a", "b", "b", "a", "", ""], object),
    "polars": (pl.Series(YS), [3, 5, 5, 3, -1, -1], np.int64),
    "polars str": (pl.Series(list("abba")), ["a", "b", "b", "a", "", ""], np.dtype("U1")),
}


@pytest.mark.parametrize(("ys", "y", "dtype"), DTYPES.values(), ids=DTYPES.keys())
def test_marks_and_dtype_of_labels(ys, y, dtype):
    packed = pack_domains(XS, ys, XT)[1]
    np.testing.assert_array_equal(packed, np.array(y, dtype=dtype))
    assert packed.dtype == dtype


def test_integer_labels_of_both_domains_become_int64():
    ys, yt = np.array(YS, np.uint8), np.array([5, 3], np.uint8)
    assert pack_domains(XS, ys, XT, yt)[1].dtype == np.int64


def test_float32_features_stay_float32():
    assert pack_domains(XS.astype(np.float32), YS, XT.astype(np.float32))[0].dtype == np.float32


def test_inputs_are_copied():
    Xs, ys = XS.copy(), np.array(YS)
    X, y, _ = pack_domains(Xs, ys, XT)
    X[:], y[:] = 0, 0
    np.testing.assert_array_equal(Xs, XS)
    np.testing.assert_array_equal(ys, YS)


def test_pandas():
    Xs, Xt = pd.DataFrame(XS, columns=list("abc"), index=[5, 5, 6, 7]), pd.DataFrame(XT, columns=list("abc"))
    X, y, domain = pack_domains([Xs, Xs], [YS, YS], Xt)
    assert isinstance(X, pd.DataFrame)
    assert list(X.columns) == list("abc")
    assert list(X.index) == list(range(10))
    check((X, y, domain), np.r_[XS, XS, XT], [*YS, *YS, -1, -1], [0, 0, 0, 0, 1, 1, 1, 1, -1, -1])


def test_polars():
    Xs, Xt = pl.DataFrame(XS, schema=list("abc")), pl.DataFrame(XT, schema=list("abc"))
    X, y, domain = pack_domains(Xs, YS, Xt)
    assert isinstance(X, pl.DataFrame)
    assert X.columns == list("abc")
    check((X, y, domain), np.r_[XS, XT], [*YS, -1, -1], [0, 0, 0, 0, -1, -1])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_whose_columns_differ_in_type(frame):
    Xs, Xt = frame({"a": [1, 2, 3, 4]}), frame({"a": [0.5, 1.5]})
    np.testing.assert_array_equal(np.asarray(pack_domains(Xs, YS, Xt)[0]).ravel(), [1, 2, 3, 4, 0.5, 1.5])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frame_beside_an_array_gives_an_array(frame):
    X, _, _ = pack_domains(frame(XS), YS, XT)
    assert isinstance(X, np.ndarray)
    np.testing.assert_array_equal(X, np.r_[XS, XT])


BAD = {
    "labels too short": ((XS, YS[:3], XT), "source domain 0: 4 rows of Xs but 3 labels"),
    "second source": (([XS, XS], [YS, [1]], XT), "source domain 1: 4 rows of Xs but 1 labels"),
    "number of sources": (([XS, XS], [YS], XT), "Xs holds 2 source domains but ys holds 1"),
    "target labels too short": ((XS, YS, XT, [1]), r"inconsistent numbers of samples: \[2, 1\]|Xt.*yt"),
    "features": ((XS, YS, XT[:, :2]), r"same number of features; got shapes \(4, 3\), \(2, 2\)"),
    "1-D target": ((XS, YS, XT[0]), "must be 2-D"),
    "1-D source": ((XS[:, 0], YS, XT), "must be 2-D"),
    "no source": (([], [], XT), "must be 2-D|no source"),
    "one-hot labels": ((XS, np.eye(4), XT), "should be a 1d array"),
    "words beside numbers": ((XS, YS, XT, ["a", "b"]), "labels.*(same|both|type)"),
    "sparse": ((sparse.csr_array(XS), YS, sparse.csr_array(XT)), "[Ss]parse"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_errors(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        pack_domains(*arguments)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_with_other_columns_are_refused(frame):
    with pytest.raises(ValueError, match=r"same columns in the same order.*'a', 'b'.*'b', 'a'"):
        pack_domains(frame({"a": [1.0], "b": [1.0]}), [0], frame({"b": [1.0], "a": [1.0]}))


def test_minus_one_among_source_labels_warns():
    with pytest.warns(UserWarning, match="-1.*pass sample_domain to fit") as caught:
        _, y, _ = pack_domains(XS, [-1, 1, 1, -1], XT)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(y, [-1, 1, 1, -1, -1, -1])


def test_minus_one_among_source_labels_is_no_matter_with_target_labels():
    np.testing.assert_array_equal(pack_domains(XS, [-1, 1, 1, -1], XT, yt=[1, -1])[1], [-1, 1, 1, -1, 1, -1])


def test_what_is_packed_can_be_fitted(make, problem):
    source = problem.domain >= 0
    X, y, domain = pack_domains(problem.X[source], problem.truth[source], problem.Xt)
    by_marks, by_domain = make().fit(X, y), make().fit(X, y, sample_domain=domain)
    np.testing.assert_array_equal(by_marks.predict(problem.Xt), by_domain.predict(problem.Xt))
    _, labelled, _ = pack_domains(problem.X[source], problem.truth[source], problem.Xt, problem.yt)
    with_labels = make().fit(X, labelled, sample_domain=domain)
    np.testing.assert_array_equal(by_domain.predict(problem.Xt), with_labels.predict(problem.Xt))
