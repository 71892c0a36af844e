"""Feature files in every layout in which they are passed around, and files that are damaged or mean harm."""

import bz2
import gzip
import io
import lzma
import pickle
import struct
import zipfile
from contextlib import contextmanager, suppress

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import dump_svmlight_file, load_wine

from shallowda.datasets import load_feature_files
from shallowda.datasets._files import BOMB_BYTES, read_features, read_gas, read_heart, read_stacked
from shallowda.datasets._matlab import matrices

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 4))
Y = np.array([1, 1, 2, 2, 3, 3, 3])


def check(path, y=Y, **options):
    found, labels = read_features(path, **options)
    np.testing.assert_allclose(found, X, rtol=1e-6)
    np.testing.assert_array_equal(labels, y)
    assert found.flags.c_contiguous
    return found


def save_v73(path, like_matlab=True, **arrays):
    """What MATLAB's ``save -v7.3`` writes: transposed arrays, sparse ones as groups of columns."""
    with h5py.File(path, "w", userblock_size=512 if like_matlab else 0) as file:
        for name, array in arrays.items():
            if scipy.sparse.issparse(array):
                group = file.create_group(name)
                columns = array.tocsc()
                group.attrs["MATLAB_class"] = np.bytes_("double")
                group.attrs["MATLAB_sparse"] = np.uint64(array.shape[0])
                group["jc"] = columns.indptr.astype(np.uint64)
                if columns.nnz:
                    group["data"], group["ir"] = columns.data, columns.indices.astype(np.uint64)
            else:
                data = file.create_dataset(name, data=np.asarray(array).T if like_matlab else array)
                if like_matlab:
                    data.attrs["MATLAB_class"] = np.bytes_("double")
        file.create_group("#refs#")
    if like_matlab:
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


LAYOUTS = {
    "column of labels": {"fts": X, "labels": Y[:, None]},
    "row of labels": {"feas": X, "label": Y[None]},
    "samples in columns": {"fea": X.T, "gnd": Y[:, None]},
    "upper case": {"X": X.T, "Y": Y[None]},
    "sparse labels": {"fts": X, "labels": scipy.sparse.csc_matrix(Y[:, None].astype(float))},
    "sparse features": {"fts": scipy.sparse.csc_matrix(X), "labels": Y[:, None]},
    "indicators": {"fts": X.T, "labels": np.eye(3)[Y - 1]},
    "indicators in columns": {"fts": X, "labels": np.eye(3)[Y - 1].T},
    "names of their own": {"alexnet_fc6": X, "object": Y[:, None], "fold": 3},
}


@pytest.mark.parametrize("saved", ["v4", "v5", "v5 compressed", "v7.3", "hdf5", "npz"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout, saved):
    arrays = LAYOUTS[layout]
    path = tmp_path / ("file.npz" if saved == "npz" else "file.mat")
    if saved == "npz":
        if any(map(scipy.sparse.issparse, arrays.values())):
            pytest.skip("npz holds no sparse arrays")
        np.savez(path, **arrays)
    elif saved in ("v7.3", "hdf5"):
        save_v73(path, saved == "v7.3", **arrays)
    else:
        format = "4" if saved == "v4" else "5"
        scipy.io.savemat(path, arrays, format=format, do_compression=saved.endswith("compressed"))
    check(path, Y - 1 if "indicators" in layout else Y)


@pytest.mark.parametrize("saved", [scipy.io.savemat, lambda path, arrays: save_v73(path, **arrays)])
def test_two_domains_in_a_file(tmp_path, saved):
    path, other = tmp_path / "pair.mat", RNG.normal(size=(5, 4))
    for names in (("X_src", "Y_src", "X_tar", "Y_tar"), ("Xs", "Ys", "Xt", "Yt")):
        arrays = dict(zip(names, (X.T, Y[:, None], other.T, np.array([[1, 2, 3, 3, 2]])), strict=True))
        saved(path, arrays)
        check(path, part="src")
        np.testing.assert_array_equal(read_features(path, part="tar")[0], other)
        data = load_feature_files({"one": (path, *names[:2]), "two": (path, *names[2:])})
        np.testing.assert_array_equal(data.domain("two")[0], other)
        assert data.target_names == ("1", "2", "3")
        with pytest.raises(ValueError, match=rf"{names[0]} and {names[2]} may each be the features; the file holds"):
            load_feature_files({"one": path})


def test_labels_go_with_the_features_of_their_domain(tmp_path):
    path, other = tmp_path / "pair.npz", RNG.normal(size=(7, 4))
    np.savez(path, x=X, y=Y, xt=other, yt=Y[::-1])
    data = load_feature_files({"one": (path, "x"), "two": (path, "xt")})
    np.testing.assert_array_equal(data.domain("two")[1], Y[::-1] - 1)
    with pytest.raises(ValueError, match="x and xt may each be the features"):
        read_features(path)
    with pytest.raises(ValueError, match="'one' and 'two' are the same rows"):
        load_feature_files({"one": (path, "x"), "two": (path, "x")})
    np.savez(path, x=X, y=Y, xt=other)
    with pytest.raises(ValueError, match="no variable is known to be the labels"):
        read_features(path, "xt")


def test_square_matrix_is_read_as_such_files_are_made(tmp_path):
    square, y = RNG.normal(size=(4, 4)), np.array([0, 1, 0, 1])
    scipy.io.savemat(tmp_path / "a.mat", {"fts": square, "labels": y})
    scipy.io.savemat(tmp_path / "b.mat", {"X_src": square, "Y_src": y})
    save_v73(tmp_path / "c.mat", fts=square, labels=y[:, None])
    np.testing.assert_array_equal(read_features(tmp_path / "a.mat")[0], square)
    np.testing.assert_array_equal(read_features(tmp_path / "b.mat", part="src")[0], square.T)
    np.testing.assert_array_equal(read_features(tmp_path / "c.mat")[0], square)


def test_precision_is_kept(tmp_path):
    for given_type, kept in (
        (np.float16, "f4"),
        (np.float32, "f4"),
        (np.float64, "f8"),
        (np.uint8, "f8"),
        (bool, "f8"),
    ):
        np.savez(tmp_path / "a.npz", fts=(X > 0).astype(given_type), labels=Y)
        assert read_features(tmp_path / "a.npz")[0].dtype == kept


def lines(cells, mark=","):
    return "".join(mark.join(map(str, row)) + "\n" for row in cells)


NAMED = [[*row, f"class {label}"] for row, label in zip(X.tolist(), Y, strict=True)]
NUMBERED = [[*row, label] for row, label in zip(X.tolist(), Y, strict=True)]
HEADER = ["f1", "f2", "f3", "f4"]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (lines(NUMBERED), {}),
        (lines(NUMBERED, ";"), {}),
        (lines(NUMBERED, "\t"), {}),
        (lines(NUMBERED, "  "), {}),
        ("\ufeff" + lines(NUMBERED).replace("\n", "\r\n"), {}),
        (lines([[*HEADER, "anything"], *NUMBERED]), {}),
        (lines([[*HEADER, "Label"], *NUMBERED]), {}),
        (lines([["Label", *HEADER], *([row[-1], *row[:-1]] for row in NUMBERED)]), {}),
        (lines([["kind", *HEADER], *([row[-1], *row[:-1]] for row in NUMBERED)]), {"labels": "kind"}),
        (lines([[f'"{name}"' for name in HEADER] + ['"y"'], *NUMBERED]), {}),
        (lines([range(5), *NUMBERED]), {}),  # pandas without an index
        (lines([["", *range(5)], *([i, *row] for i, row in enumerate(NUMBERED))]), {}),  # and with one
        (lines([["", *HEADER, "label"], *([i, *row] for i, row in enumerate(NUMBERED))]), {}),
        (lines([*row[:-1], f"{row[-1]:.6e}"] for row in NUMBERED), {}),
    ],
)
def test_text(tmp_path, text, options):
    path = tmp_path / "art.csv"
    path.write_text(text, encoding="utf-8")
    check(path, **options)


def test_text_with_named_classes(tmp_path):
    path = tmp_path / "art.csv"
    for text in (lines(NAMED), lines([[*HEADER, "label"], *NAMED])):
        path.write_text(text)
        check(path, [row[-1] for row in NAMED])


def test_labels_in_front(tmp_path):
    X, y = load_wine(return_X_y=True)
    np.savetxt(tmp_path / "wine.data", np.column_stack([y + 1, X]), delimiter=",", fmt="%g")
    found, labels = read_features(tmp_path / "wine.data")
    np.testing.assert_allclose(found, X, rtol=1e-5)
    np.testing.assert_array_equal(labels, y + 1)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("T,1,2\nF,2,1\nT,1,1\n", ["T", "F", "T"]),  # words cannot be features
        ("1,0.5,2\n1,1.5,2\n2,0.7,1\n2,0.1,1\n", [2, 2, 1, 1]),  # either may be: the last
        ("1,0.5,7\n1,1.5,8\n2,0.7,9\n2,0.1,9\n", [1, 1, 2, 2]),  # more of the same
        ("kind,a,b\n1,0.5,7.5\n2,1.5,8\n2,0.7,9\n", [1, 2, 2]),
        ("1,0.5,7\n1,1.5,7\n1,0.7,7\n", [7, 7, 7]),
        ("0.5,1,7.1\n1.5,1,7.2\n2.5,2,7.3\n", None),
        ("9,0.5,7.5\n9,1.5,8.5\n", None),  # a constant is no reason
    ],
)
def test_which_column_is_the_labels(tmp_path, text, labels):
    (tmp_path / "a.csv").write_text(text)
    if labels is None:
        with pytest.raises(ValueError, match="neither the first nor the last column looks like labels"):
            read_features(tmp_path / "a.csv")
    else:
        found, y = read_features(tmp_path / "a.csv")
        assert y.tolist() == labels
        assert found.shape == (len(labels), 2)


def test_text_of_libsvm(tmp_path):
    path, sparse = tmp_path / "a.txt", X.copy()
    sparse[:, 1] = 0
    for first in (True, False):
        dump_svmlight_file(sparse, Y, str(path), zero_based=first, comment="made here")
        found, labels = read_features(path)
        np.testing.assert_allclose(found, sparse)
        np.testing.assert_array_equal(labels, Y)
    with pytest.raises(ValueError, match="labels have no name"):
        read_features(path, labels="y")
    path.write_text("1 1:0.5 999999999:1\n2 1:7\n")
    with pytest.raises(ValueError, match="made to fill the memory"):
        read_features(path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_text_with_decimal_commas(tmp_path, pack):
    path = tmp_path / "a.bin"
    path.write_bytes(pack(lines(NUMBERED, ";").replace(".", ",").encode()))
    check(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\.bin: it was cut off or damaged"):
        read_features(path)


def test_words_among_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,label\n1,true,x\n2,False,y\n3,true,x\n")
    np.testing.assert_array_equal(read_features(tmp_path / "a.csv")[0], [[1, 1], [2, 0], [3, 1]])
    (tmp_path / "a.csv").write_text("a,b,label\n1,true,x\n2,big,y\n3,true,x\n")
    with pytest.raises(ValueError, match="'big' in line 3, column 'b' is not a number"):
        read_features(tmp_path / "a.csv")


def test_commas_that_may_set_thousands_apart(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b,label\n"1,234",2,x\n"2,500",3,x\n')
    with pytest.raises(ValueError, match="'1,234' may have a decimal comma, or a comma that sets thousands apart"):
        read_features(path)
    path.write_text('a,b,label\n"1,234",2,x\n"2,5",3,x\n')
    np.testing.assert_array_equal(read_features(path)[0], [[1.234, 2], [2.5, 3]])
    path.write_text("a;b;label\n1,234;2;x\n2,500;3;x\n")
    np.testing.assert_array_equal(read_features(path)[0], [[1.234, 2], [2.5, 3]])


@pytest.mark.parametrize("mark", [",", " "])
def test_names_with_underscores_are_no_numbers(tmp_path, mark):
    path = tmp_path / "a.csv"
    path.write_text("a,b,label\n1,2,x\n2020_01,3,x\n".replace(",", mark))
    with pytest.raises(ValueError, match="'2020_01' in line 3, column 'a' is not a number"):
        read_features(path)


def test_marks_of_missing_values_are_no_labels(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{i % 3},{i / 7},{'?' if i % 4 == 0 else i / 9}\n" for i in range(1, 30)))
    with pytest.raises(ValueError, match="features are NaN"):  # the labels are in front
        read_features(path)
    path.write_text("1.5,1\n2.5,?\n3.5,2\n4.5,1\n5.5,2\n")
    with pytest.raises(ValueError, match="sample 2 has no label"):
        read_features(path)
    path.write_text("1.5,NA\n2.5,EU\n3.5,NA\n")  # a name beside other names
    assert read_features(path)[1].tolist() == ["NA", "EU", "NA"]


def test_zstd_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\x28\xb5\x2f\xfd\0\0rows")
    with pytest.raises(ValueError, match="packed by zstd"):
        read_features(tmp_path / "a.csv")


def test_first_sample_is_not_taken_for_a_header(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text("0,1\n5,2\n6,1\n")
    found, y = read_features(path)
    np.testing.assert_array_equal(found.ravel(), [0, 5, 6])
    np.testing.assert_array_equal(y, [1, 2, 1])


@pytest.mark.parametrize("order", ["<", ">"])
def test_matlab_of_either_byte_order(tmp_path, order):
    def element(kind, array):
        content = np.asarray(array).tobytes()
        return struct.pack(order + "II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")

    def variable(name, kind, array, stored):
        inner = element(6, np.array([kind, 0], order + "u4")) + element(5, np.array(array.shape, order + "i4"))
        inner += element(1, np.frombuffer(name, "u1")) + element(stored, array.ravel("F"))
        return struct.pack(order + "II", 14, len(inner)) + inner

    mark = b"\x00\x01IM" if order == "<" else b"\x01\x00MI"
    content = b"MATLAB 5.0 MAT-file".ljust(124) + mark
    content += variable(b"fts", 6, X.astype(order + "f8"), 9) + variable(
        b"labels", 6, Y[:, None].astype(order + "u2"), 4
    )
    (tmp_path / "a.mat").write_bytes(content)
    check(tmp_path / "a.mat")


@pytest.mark.parametrize("kind", ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_numbers_are_those_that_scipy_reads(tmp_path, kind, compressed):
    values = np.arange(-3 if kind[0] in "if" else 0, 120).reshape(3, -1).astype(kind)
    scipy.io.savemat(tmp_path / "a.mat", {"a": values, "b": {"c": 1}, "d": "text"}, do_compression=compressed)
    first, *others = matrices((tmp_path / "a.mat").read_bytes())
    np.testing.assert_array_equal(first.read(), scipy.io.loadmat(tmp_path / "a.mat")["a"])
    assert [matrix.kind for matrix in others] == ["struct", "char"]


# Files that are damaged, or mean harm


class Bad:
    """Unpickling it would be seen."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def npz(path, **members):
    """An archive of arrays with headers that need not be true: (shape, dtype) or bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (shape, dtype, content) in members.items():
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", header.getvalue() + content)
    return path


def cells():
    array = np.empty((1, 7), dtype=object)
    array[:] = [["a"] * 7]
    return array


def v5_declaring(path, rows, columns):
    """A MATLAB 5 file whose matrix is declared larger than it is."""
    scipy.io.savemat(path, {"fts": X, "labels": Y[:, None]})
    content = path.read_bytes().replace(struct.pack("<ii", 7, 4), struct.pack("<ii", rows, columns))
    path.write_bytes(content)


def hostile_v5_sparse(path):
    matrix = scipy.sparse.csc_matrix(X)
    matrix.indices[:] = 2_000_000_000
    scipy.io.savemat(path, {"fts": matrix, "labels": Y})


def v5_sparse_borders(path):
    """SciPy takes such a matrix for an empty one, and writes where it should not when it fills in the zeros."""
    matrix = scipy.sparse.csc_matrix(X)
    scipy.io.savemat(path, {"fts": matrix, "labels": Y})
    borders = matrix.indptr.astype("<i4")
    path.write_bytes(path.read_bytes().replace(borders.tobytes(), np.array([0, 2**30, 5, 7, 0], "<i4").tobytes()))


def v5_type(path):
    """A type of numbers that does not exist ends the process in SciPy's reader."""
    scipy.io.savemat(path, {"fts": X, "labels": Y[:, None]})
    tag = struct.pack("<II", 9, X.nbytes)
    content = path.read_bytes()
    assert tag in content
    path.write_bytes(content.replace(tag, struct.pack("<II", 250, X.nbytes)))


def v73_elsewhere(path, secret):
    with h5py.File(secret, "w") as file:
        file["fts"] = X
    with h5py.File(path, "w") as file:
        file["fts"] = h5py.ExternalLink(secret.name, "/fts")
        file["labels"] = Y


def v73_outside(path, secret):
    secret.write_bytes(X.tobytes())
    with h5py.File(path, "w") as file:
        file.create_dataset("fts", (7, 4), "f8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        file["labels"] = Y


def v73_declaring(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("fts", (2**20, 2**20), "f8", chunks=(1024, 1024), fillvalue=0.0)
        file["labels"] = Y


def v73_cells(path):
    with h5py.File(path, "w") as file:
        file["fts"] = X
        file.create_dataset("labels", (7,), dtype=h5py.ref_dtype)


def v73_structure(path):
    with h5py.File(path, "w") as file:
        file.create_group("fts")["a"] = X
        file["labels"] = Y


def v73_hostile_sparse(path):
    with h5py.File(path, "w") as file:
        group = file.create_group("fts")
        group.attrs["MATLAB_sparse"] = np.uint64(7)
        group["jc"], group["ir"], group["data"] = np.array([0, 1, 2, 3, 4]), np.full(4, 2**40), np.ones(4)
        file["labels"] = Y


def lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


HOSTILE = {
    "pickled npz": ("a.npz", lambda path: np.savez(path, fts=X, labels=np.array([Bad()] * 7)), "only a pickle"),
    "pickle": ("a.mat", lambda path: path.write_bytes(pickle.dumps(Bad(), 4)), "Pickles are never loaded"),
    "old pickle": ("a.csv", lambda path: path.write_bytes(pickle.dumps(Bad(), 0)), "a line must hold|there is"),
    "text as mat": ("a.mat", lfs_pointer, "text where .mat was expected.*git-lfs"),
    "empty": ("a.mat", lambda path: path.touch(), "the file is empty"),
    "cells": ("a.mat", lambda path: scipy.io.savemat(path, {"fts": X, "labels": cells()}), "labels is a cell array"),
    "struct": ("a.mat", lambda path: scipy.io.savemat(path, {"fts": {"a": X}, "labels": Y}), "fts is a struct array"),
    "complex": ("a.mat", lambda path: scipy.io.savemat(path, {"fts": X + 1j, "labels": Y}), "fts is a complex array"),
    "declared huge": ("a.mat", lambda path: v5_declaring(path, 2**30, 2**20), "declared as 1073741824 x 1048576"),
    "declared more": ("a.mat", lambda path: v5_declaring(path, 14, 4), "a.mat: "),
    "declared negative": ("a.mat", lambda path: v5_declaring(path, -7, 4), "a.mat: "),
    "sparse indices": ("a.mat", hostile_v5_sparse, "a.mat: .*ind"),
    "sparse borders": ("a.mat", v5_sparse_borders, "a.mat: .*indices"),
    "type of numbers": ("a.mat", v5_type, "250 is no type of numbers"),
    "sparse huge": (
        "a.mat",
        lambda path: scipy.io.savemat(path, {"fts": scipy.sparse.csc_matrix((10**6, 10**6)), "labels": Y}),
        "declared as 1000000 x 1000000",
    ),
    "hdf5 huge": ("a.mat", v73_declaring, "declared as 1048576 x 1048576"),
    "hdf5 cells": ("a.mat", v73_cells, "labels is a cell array"),
    "hdf5 struct": ("a.mat", v73_structure, "fts is a structure"),
    "hdf5 sparse indices": ("a.mat", v73_hostile_sparse, "a.mat: .*ind"),
    "npz huge": (
        "a.npz",
        lambda path: npz(path, fts=((2**20, 2**20), "<f8", b""), labels=((7,), "<i8", bytes(56))),
        "declared as 1048576 x 1048576",
    ),
    "npz short": (
        "a.npz",
        lambda path: npz(path, fts=((7, 4), "<f8", b""), labels=((7,), "<i8", bytes(56))),
        "a.npz: ",
    ),
    "npz bomb": (
        "a.npz",
        lambda path: npz(path, fts=((7, BOMB_BYTES), "|u1", bytes(2**20)), labels=((7,), "<i8", bytes(56))),
        "made to fill the memory",
    ),
    "not a zip": ("a.npz", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), "a.npz: "),
    "nan": ("a.npz", lambda path: np.savez(path, fts=np.where(X > 1, np.nan, X), labels=Y), "NaN or infinite"),
    "infinite": ("a.csv", lambda path: path.write_text("1,inf,0\n1,2,1\n"), "NaN or infinite"),
    "missing cell": ("a.csv", lambda path: path.write_text("1,2,0\n1,,1\n"), "1 of 4 features are NaN"),
    "ragged": ("a.csv", lambda path: path.write_text("1,2,0\n1,2,3,1\n"), "line 2 has 4 fields, the first has 3"),
    "one column": ("a.csv", lambda path: path.write_text("1\n2\n"), "a line must hold"),
    "header only": ("a.csv", lambda path: path.write_text("f1,f2,label\n"), "a.csv: "),
    "half labels": ("a.csv", lambda path: path.write_text("1,2,0.5\n1,2,1\n"), "neither the first nor the last column"),
    "not utf-8": ("a.csv", lambda path: path.write_bytes(b"f\xe9,g,label\n1,2,0\n"), "not text in UTF-8"),
    "page": ("a.csv", lambda path: path.write_text("<!DOCTYPE html>\n<html>\n404</html>"), "a.csv: "),
    "lengths": ("a.npz", lambda path: np.savez(path, fts=X, labels=Y[:5]), "does not fit"),
    "cube": ("a.npz", lambda path: np.savez(path, fts=np.ones((7, 2, 2)), labels=Y), "not a matrix"),
    "no samples": ("a.npz", lambda path: np.savez(path, fts=X[:0], labels=Y[:0]), "not a matrix of samples"),
    "no labels": ("a.npz", lambda path: np.savez(path, fts=X), "no variable is known to be the labels"),
    "nothing": ("a.npz", lambda path: np.savez(path), "a.npz: "),
    "two features": ("a.npz", lambda path: np.savez(path, fts=X, feas=X, labels=Y), "fts and feas may each"),
    "two labels": ("a.npz", lambda path: np.savez(path, fts=X, labels=Y, gnd=Y), "labels and gnd may each"),
    "weak indicators": ("a.npz", lambda path: np.savez(path, fts=X, labels=np.ones((7, 3))), "neither one label"),
    "dates": ("a.npz", lambda path: np.savez(path, fts=X, labels=Y.astype("M8[D]")), "labels are not whole"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_and_hostile_files_are_refused_by_name(tmp_path, name):
    file, make, message = HOSTILE[name]
    make(tmp_path / file)
    with pytest.raises(ValueError, match=message) as error:
        read_features(tmp_path / file)
    assert file in str(error.value)


@pytest.mark.parametrize("make", [v73_elsewhere, v73_outside])
def test_hdf5_does_not_reach_into_other_files(tmp_path, make):
    make(tmp_path / "a.mat", tmp_path / "secret")
    with pytest.raises(ValueError, match=r"features|stored in another file"):
        read_features(tmp_path / "a.mat")


def save(path, kind):
    arrays = {"fts": X, "labels": Y[:, None]}
    if kind == "v7.3":
        save_v73(path, **arrays)
    elif kind == "npz":
        np.savez_compressed(path.with_suffix(".npz"), **arrays)
        path.with_suffix(".npz").rename(path)
    else:
        scipy.io.savemat(path, arrays, do_compression=kind == "compressed")


@contextmanager
def refusal_names(path):
    """Nothing is raised, or a ValueError that names the file."""
    with suppress(ValueError):
        try:
            yield
        except ValueError as error:
            if path.name not in str(error):
                raise AssertionError(f"{error!r} does not name {path.name}") from error
            raise


@pytest.mark.parametrize("kind", ["v5", "compressed", "v7.3", "npz"])
def test_truncated_anywhere(tmp_path, kind):
    whole = tmp_path / "whole"
    save(whole, kind)
    content = whole.read_bytes()
    path = tmp_path / "cut.mat"
    for length in np.linspace(1, len(content) - 9, 25).astype(int):
        path.write_bytes(content[:length])
        with refusal_names(path):
            np.testing.assert_allclose(read_features(path)[0], X)  # what was cut off is padding


@pytest.mark.parametrize("kind", ["v5", "compressed", "v7.3", "npz"])
def test_any_damage_is_a_value_error_or_harmless(tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("damage")
    save(folder / "whole", kind)
    content = (folder / "whole").read_bytes()
    path = folder / "damaged.mat"

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=4))
    def damage(changes):
        damaged = bytearray(content)
        for position, value in changes:
            damaged[position] = value
        path.write_bytes(damaged)
        with refusal_names(path):
            found, y = read_features(path)
            assert np.isfinite(found).all()
            assert len(found) == len(y)

    damage()


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_features(tmp_path / "none.mat")
    with pytest.raises(IsADirectoryError):
        read_features(tmp_path)


def test_variables_that_are_not_there(tmp_path):
    np.savez(tmp_path / "a.npz", fts=X, labels=Y)
    with pytest.raises(ValueError, match="no variable X_src; the file holds fts 7x4, labels 7"):
        read_features(tmp_path / "a.npz", "X_src", "Y_src")
    (tmp_path / "a.csv").write_text("f1,f2\n1,2\n")
    with pytest.raises(ValueError, match="no column label"):
        read_features(tmp_path / "a.csv", labels="label")


def test_a_file_that_shrinks_well_is_no_bomb(tmp_path):
    scipy.io.savemat(
        tmp_path / "a.mat", {"fts": np.zeros((2000, 2000)), "labels": np.arange(2000)}, do_compression=True
    )
    assert read_features(tmp_path / "a.mat")[0].shape == (2000, 2000)


# Layouts of one data set


def test_stacked_domains(tmp_path):
    names = np.array(["sms", "mail"], dtype=object)
    arrays = {"D": X, "y": Y[:, None], "domains": np.array([[0, 3, 7]]), "domain_names": names}
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    np.testing.assert_array_equal(read_stacked(tmp_path / "a.mat", 0)[0], X[:3])
    np.testing.assert_array_equal(read_stacked(tmp_path / "a.mat", 1)[1], Y[3:])
    for part, borders in ((2, [0, 3, 7]), (1, [0, 3, 9]), (0, [3, 0, 7])):
        scipy.io.savemat(tmp_path / "a.mat", arrays | {"domains": np.array([borders])})
        with pytest.raises(ValueError, match=r"a.mat: domains .* has no rows"):
            read_stacked(tmp_path / "a.mat", part)
    for name, codes in (("domain", [2, 2, 2, 5, 5, 5, 5]), ("domains", [0, 3, 7])):
        np.savez(tmp_path / "a.npz", X=X, y=Y, **{name: codes})
        np.testing.assert_array_equal(read_stacked(tmp_path / "a.npz", 1)[0], X[3:])
        with pytest.raises(ValueError, match=r"stacked here, as domains? says.*read_stacked"):
            read_features(tmp_path / "a.npz")
        assert len(read_features(tmp_path / "a.npz", "X", "y")[0]) == 7  # as asked for
    scipy.io.savemat(tmp_path / "a.mat", {"D": X})
    with pytest.raises(ValueError, match="no variable domains"):
        read_stacked(tmp_path / "a.mat", 0)


def test_gas_as_distributed_in_three_ways(tmp_path):
    values = RNG.normal(size=(2, 128)).round(3)
    plain = [f"Acetone,10.0,{','.join(map(str, row))}" for row in values]
    svmlight = [" ".join(f"{i + 1}:{value}" for i, value in enumerate(row)) for row in values]
    path = tmp_path / "batch1.dat"
    for text in (plain, [f"5;10.0 {row} " for row in svmlight], [f"5 {row}" for row in svmlight]):
        path.write_text("\n".join(text) + "\n")
        found, y = read_gas(path)
        np.testing.assert_array_equal(found, values)
        assert y.tolist() == ["Acetone", "Acetone"]
    for text in ("", "Acetone,1,2\n", plain[0] + ",3\n", plain[0].replace(",", ",x", 2)):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"batch1\.dat"):
            read_gas(path)


def test_heart_with_and_without_header(tmp_path):
    path = tmp_path / "processed.va.data"
    rows = "63,1,4,140,260,0,1,112,1,3,2,?,?,2\n44,1,4,130,,0,1,127,0,0, ,?,?,0\n"
    for text in (rows, "age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,target\n" + rows):
        path.write_text(text)
        found, y = read_heart(path)
        assert y.tolist() == [1, 0]
        assert np.isnan(found).sum(axis=1).tolist() == [2, 4]
        assert found[0, 0] == 63
    for text in ("", rows[:20], rows.replace(",2\n", ",7\n"), rows.replace("63", "inf"), rows.replace("63", "old")):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"processed\.va\.data"):
            read_heart(path)


# Several files together


def write(path, y, width=3, dtype=float):
    np.savez(path, fts=RNG.normal(size=(len(y), width)).astype(dtype), labels=np.array(y))
    return path


def test_files_of_several_domains(tmp_path):
    files = {"art": write(tmp_path / "a.npz", [0, 1, 2], dtype="f4"), "real": write(tmp_path / "b.npz", [2, 2, 0, 5])}
    data = load_feature_files(files, name="home")
    assert (data.name, data.domain_names, data.target_names) == ("home", ("art", "real"), ("0", "1", "2", "5"))
    assert data.domain("real")[1].tolist() == [2, 2, 0, 3]
    assert data.X.dtype == np.float64
    assert str(tmp_path / "a.npz") in data.source
    assert load_feature_files({"art": str(files["art"])}).X.dtype == np.float32


def test_labels_counted_from_0_and_from_1(tmp_path):
    zero, one = write(tmp_path / "a.npz", [0, 1, 2]), write(tmp_path / "b.npz", [3, 2, 1])
    with pytest.warns(UserWarning, match="3 classes from 1 in .*b.npz, and from 0 in the other"):
        data = load_feature_files({"a": zero, "b": one})
    assert data.domain("b")[1].tolist() == [2, 1, 0]
    assert data.target_names == ("0", "1", "2")
    part = write(tmp_path / "c.npz", [1, 2])  # fewer classes: no reason to think that they are counted from 1
    assert load_feature_files({"a": zero, "c": part}).domain("c")[1].tolist() == [1, 2]


@pytest.mark.parametrize("labels", [(["cup", "pen"], ["pen", "pen"]), ([1, -1], [-1, 1]), ([10, 20], [20, 30])])
def test_labels_of_any_kind(tmp_path, labels):
    files = {name: write(tmp_path / f"{name}.npz", y) for name, y in zip("ab", labels, strict=True)}
    data = load_feature_files(files)
    for name, y in zip("ab", labels, strict=True):
        assert [data.target_names[code] for code in data.domain(name)[1]] == list(map(str, y))


def test_files_that_do_not_go_together(tmp_path):
    first, names = write(tmp_path / "a.npz", [0, 1]), write(tmp_path / "b.npz", ["x", "y"])
    wide = write(tmp_path / "c.npz", [0, 1], width=4)
    for other in (names, wide):
        with pytest.raises(ValueError, match=r"same features and the same kind of labels\. .*a\.npz: 3 features"):
            load_feature_files({"a": first, "b": other})
    with pytest.raises(ValueError, match="at least one domain"):
        load_feature_files({})
    with pytest.raises(ValueError, match=r"expected \(path, features, labels\)"):
        load_feature_files({"a": (first, "fts", "labels", "more")})


def test_v73_without_h5py(tmp_path, monkeypatch):
    save_v73(tmp_path / "a.mat", fts=X, labels=Y)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install shallowda\[data\]"):
        read_features(tmp_path / "a.mat")
