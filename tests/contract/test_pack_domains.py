"""`pack_domains`: what it stacks, what it marks, what it refuses."""

import array_api_strict as strict
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from shallowda import CORAL, TCAEstimator, pack_domains
from shallowda.core.columns import column_order
from shallowda.kernels.arrays import library, to_numpy

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


FRAMES = [pd.DataFrame, pl.DataFrame]


@pytest.mark.parametrize("frame", FRAMES)
def test_columns_are_matched_by_name(frame):
    """Of every source and of the target, in the order of the first source's."""
    one = frame({"a": [1.0, 2.0], "b": [3.0, 4.0], "c": [5.0, 6.0]})
    two = frame({"c": [50.0], "a": [10.0], "b": [30.0]})
    Xt = frame({"b": [0.3], "c": [0.5], "a": [0.1]})
    X, y, _ = pack_domains([one, two], [[0, 1], [1]], Xt)
    assert isinstance(X, frame)
    assert list(X.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(X.to_numpy(), [[1, 3, 5], [2, 4, 6], [10, 30, 50], [0.1, 0.3, 0.5]])
    assert list(two.columns) == ["c", "a", "b"]  # the caller's is as it was
    np.testing.assert_array_equal(y, [0, 1, 1, -1])


def test_columns_of_unlike_frames_are_matched_by_name():
    """Also where the result is an array: of two libraries, of Arrow, and beside arrays without names."""
    expected = [[1.0, 3.0], [0.1, 0.3]]
    Xs, Xt = {"a": [1.0], "b": [3.0]}, {"b": [0.3], "a": [0.1]}
    for one, other in ((pd.DataFrame, pl.DataFrame), (pl.DataFrame, pd.DataFrame)):
        np.testing.assert_array_equal(pack_domains(one(Xs), [0], other(Xt))[0], expected)
    arrow = pytest.importorskip("pyarrow").table
    np.testing.assert_array_equal(pack_domains(arrow(Xs), [0], arrow(Xt))[0], expected)
    np.testing.assert_array_equal(pack_domains(pd.DataFrame(Xs), [0], arrow(Xt))[0], expected)
    X, _, _ = pack_domains([np.array([[7.0, 8.0]]), pd.DataFrame(Xs)], [[0], [1]], pd.DataFrame(Xt))
    np.testing.assert_array_equal(X, [[7.0, 8.0], *expected])
    numbered = pd.DataFrame([[1.0, 3.0]]), pd.DataFrame([[0.3, 0.1]], columns=[1, 0])
    np.testing.assert_array_equal(pack_domains(numbered[0], [0], numbered[1])[0], expected)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("ab", r"^Xt has other features than Xs\. It lacks c\.$"),
        ("abcd", r"^Xt has other features than Xs\. Xs lacks d: leave out what is no feature\.$"),
        ("bxa", r"^Xt has other features than Xs\. It lacks c\. Xs lacks x: leave out what is no feature\.$"),
    ],
)
def test_frames_with_other_columns_are_refused(frame, columns, message):
    def made(names):
        return frame({name: [1.0, 2.0] for name in names})

    with pytest.raises(ValueError, match=message):
        pack_domains(made("abc"), [0, 1], made(columns))
    message = message.replace("Xs", r"Xs\[0\]").replace("Xt", r"Xs\[1\]")
    with pytest.raises(ValueError, match=message):
        pack_domains([made("abc"), made(columns)], [[0, 1], [0, 1]], made("abc"))


def test_columns_of_one_name():
    """As they are where the order is the same; where it is not, nothing says which is which."""
    Xs = pd.DataFrame([[1.0, 2.0, 3.0]], columns=list("aab"))
    X, _, _ = pack_domains(Xs, [0], Xs)
    np.testing.assert_array_equal(X, [[1.0, 2.0, 3.0]] * 2)
    with pytest.raises(ValueError, match="Xt has several columns of one name"):
        pack_domains(Xs, [0], Xs[["b"]].join(Xs[["a"]].iloc[:, :2]))
    with pytest.raises(ValueError, match="Xs has several columns of one name"):
        pack_domains(Xs, [0], pd.DataFrame([[1.0, 2.0]], columns=list("ab")))


def test_many_columns_are_matched_at_once():
    """In time that grows with their number, and not with its square."""
    names = [f"f{number}" for number in range(100_000)]
    assert column_order(names[::-1], names, "Xt", "Xs")[:2] == [99_999, 99_998]


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


# ------------------------------------------------------------------------------------------ arrays of other libraries


def _strict(array):
    return strict.asarray(array, device=strict.Device("device1"), copy=True)


def _torch(array):
    torch = pytest.importorskip("torch", reason="torch is not installed: tensors are not tested")
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed: tensors are not tested")
    return torch.asarray(np.array(array))


@pytest.fixture(params=[_strict, _torch], ids=["strict", "torch"])
def there(request):
    """Moves an array to another library, and device where it has several."""
    return request.param


def test_other_arrays_are_stacked_where_they_are(there):
    for Xs, ys, domain in ((there(XS), YS, [0, 0, 0, 0]), ([there(XS), there(XS)], [YS, YS], [0] * 4 + [1] * 4)):
        X, y, codes = pack_domains(Xs, ys, there(XT))
        assert library(X) == library(there(XT))
        assert X.device == there(XT).device
        assert isinstance(y, np.ndarray)
        assert isinstance(codes, np.ndarray)
        n_sources = len(domain) // 4
        check((to_numpy(X), y, codes), np.r_[*[XS] * n_sources, XT], [*YS * n_sources, -1, -1], [*domain, -1, -1])


def test_labels_of_other_libraries_become_numpy(there):
    X, y, _ = pack_domains(there(XS), there(np.array(YS)), there(XT), there(np.array([5, 3])))
    assert isinstance(y, np.ndarray)
    np.testing.assert_array_equal(y, [*YS, 5, 3])
    np.testing.assert_array_equal(to_numpy(X), np.r_[XS, XT])


def test_what_is_packed_elsewhere_can_be_fitted(there, problem):
    source = problem.domain >= 0
    X, y, _ = pack_domains(there(problem.X[source]), problem.truth[source], there(problem.Xt))
    model, plain = CORAL(ridge=0.1).fit(X, y), CORAL(ridge=0.1).fit(problem.X, problem.y)
    np.testing.assert_array_equal(model.predict(there(problem.Xt)), plain.predict(problem.Xt))


def test_float32_stays_float32_elsewhere(there):
    X, _, _ = pack_domains(there(XS.astype(np.float32)), YS, there(XT.astype(np.float32)))
    assert to_numpy(X).dtype == np.float32


def test_different_libraries_are_not_mixed(there):
    for Xs, Xt in ((there(XS), XT), (XS, there(XT))):
        with pytest.raises(TypeError, match=r"Arrays of different libraries cannot be combined: .*numpy.*Move them"):
            pack_domains(Xs, YS, Xt)


def test_shapes_elsewhere(there):
    with pytest.raises(ValueError, match=r"same number of features; got shapes \(4, 3\), \(2, 2\)"):
        pack_domains(there(XS), YS, there(XT[:, :2]))
    with pytest.raises(ValueError, match="source domain 0: 4 rows of Xs but 3 labels"):
        pack_domains(there(XS), YS[:3], there(XT))


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix, sparse.coo_array])
def test_sparse_rows_are_refused_as_fit_does(kind):
    message = r"Sparse data was passed for {}, but dense data is required. Use '.toarray\(\)'"
    for Xs, Xt, name in ((kind(XS), XT, "Xs"), ([XS, kind(XS)], XT, "Xs"), (XS, kind(XT), "Xt")):
        with pytest.raises(TypeError, match=message.format(name)):
            pack_domains(Xs, [YS, YS] if isinstance(Xs, list) else YS, Xt)
    with pytest.raises(TypeError, match=message.format("X")):
        CORAL().fit(kind(XS), YS)


# ------------------------------------------------------------------------------------------------------ types of labels


def test_missing_labels_keep_whole_numbers_whole():
    yt = pd.Series([2**53 + 1, None], dtype="Int64")
    _, y, domain = pack_domains(XS, [2**53, 2**53 + 1, 2, 2], XT, yt)
    assert y.tolist() == [2**53, 2**53 + 1, 2, 2, 2**53 + 1, None]
    X = np.r_[XS, XT] + np.eye(6, 3)
    assert TCAEstimator(1).fit(X, y, sample_domain=domain).classes_.tolist() == [2, 2**53, 2**53 + 1]


def test_booleans_of_both_domains_stay_booleans():
    assert pack_domains(XS, [True, False, True, False], XT, [True, False])[1].dtype == bool


@pytest.mark.parametrize("ys", [[np.array(YS, np.uint64), np.array(YS)], [np.array(YS, np.uint8), np.array(YS, bool)]])
def test_whole_numbers_of_several_types_become_int64(ys):
    y = pack_domains([XS, XS], ys, XT)[1]
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y, [*ys[0].astype(int), *ys[1].astype(int), -1, -1])


def test_labels_too_large_for_one_type_are_refused():
    with pytest.raises(ValueError, match=f"The label {2**63} is too large for int64"):
        pack_domains([XS, XS], [np.array(YS), np.array([0, 1, 2, 2**63], np.uint64)], XT)
    with pytest.raises(ValueError, match=rf"{2**53 + 1}, which no float64 is equal to"):
        pack_domains([XS, XS], [np.array(YS, float), np.array([0, 1, 2, 2**53 + 1])], XT)


def test_missing_source_labels_stay_missing():
    X, y, domain = pack_domains(XS, pd.Series([1, None, 0, 1], dtype="Int64"), XT)
    assert y.tolist() == [1, None, 0, 1, -1, -1]
    with pytest.raises(ValueError, match=r"no label .* 1 source row"):
        CORAL().fit(X, y, sample_domain=domain)
    with pytest.raises(ValueError, match="both missing values"):
        CORAL().fit(X, y)


def test_a_column_may_have_the_name_of_a_method():
    Xs = pd.DataFrame({"select": [1.0, 2.0], "b": [3.0, 4.0]})
    assert pack_domains(Xs, [0, 1], Xs[["b", "select"]])[0]["select"].tolist() == [1, 2, 1, 2]
