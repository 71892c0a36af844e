"""The command line as people use it: good and hostile files, pipes, Ctrl-C, and what other programs read."""

import bz2
import csv
import gzip
import io
import json
import logging
import lzma
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import scipy.io
from sklearn.compose import ColumnTransformer
from sklearn.datasets import dump_svmlight_file, load_wine
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline as make_plain_pipeline
from sklearn.preprocessing import Normalizer, OneHotEncoder, StandardScaler
from typer.testing import CliRunner

import shallowda
from shallowda import ARTL, CORAL, JDA, KMM, all_methods, make_pipeline, pack_domains
from shallowda.cli import app
from shallowda.commands.columns import encode, split
from shallowda.datasets._text import Text
from shallowda.datasets.tables import match_features, read_table

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
COMMAND = [sys.executable, "-m", "shallowda.cli"]
NAMES = ["height", "width", "depth", "mass"]
CLASSES = np.array(["cat", "dog", "eel"])
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and pipes as POSIX has them")


def make():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 20)
    Xs = 4 * np.eye(4)[codes] + rng.standard_normal((60, 4)) + 2
    other = rng.integers(0, 3, 40)
    Xt = 4 * np.eye(4)[other] + rng.standard_normal((40, 4)) + [3.5, 2, 2, 3]
    return Xs, codes, Xt, other


XS, CODES, XT, TRUE = make()


def write_csv(path, names, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One pair of domains in every format."""
    folder = tmp_path_factory.mktemp("files")
    labelled = [[f"s{i}", *row, CLASSES[code]] for i, (row, code) in enumerate(zip(XS.tolist(), CODES, strict=True))]
    write_csv(folder / "source.csv", ["who", *NAMES, "label"], labelled)
    # other order of columns, and labels that nobody may use
    turned = [[CLASSES[code], *row[::-1], f"t{i}"] for i, (row, code) in enumerate(zip(XT.tolist(), TRUE, strict=True))]
    write_csv(folder / "labelled.csv", ["label", *NAMES[::-1], "who"], turned)
    write_csv(folder / "target.csv", [*NAMES[::-1], "who"], [row[1:] for row in turned])
    np.savetxt(folder / "headless_source.csv", np.column_stack([CODES, XS]), delimiter=",")
    np.savetxt(folder / "headless_target.csv", XT, delimiter=",")
    np.savez(folder / "source.npz", X=XS, y=CODES)
    np.savez(folder / "target.npz", X=XT, y=TRUE)
    for name, array in {"Xs": XS, "ys": CODES, "Xt": XT, "stacked": np.column_stack([XS, CODES])}.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "labels.txt").write_text("\n".join(CLASSES[CODES]))
    pair = {"X_src": XS.T, "Y_src": CODES[:, None], "X_tar": XT.T, "Y_tar": TRUE[:, None]}
    scipy.io.savemat(folder / "pair.mat", pair)
    columns = dict(zip(NAMES, XS.T, strict=True))
    pyarrow.parquet.write_table(pyarrow.table(columns | {"label": CLASSES[CODES]}), folder / "source.parquet")
    pyarrow.parquet.write_table(pyarrow.table(dict(zip(NAMES, XT.T, strict=True))), folder / "target.parquet")
    lists = pyarrow.table({"text": ["a"] * 60, "vector": XS.tolist(), "label": CODES})
    pyarrow.parquet.write_table(lists, folder / "lists_source.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"vector": XT.tolist()}), folder / "lists_target.parquet")
    return folder


@pytest.fixture
def files(made, tmp_path, monkeypatch):
    """A folder of its own, in which the command runs."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def invoke(monkeypatch):
    monkeypatch.setattr("signal.signal", lambda number, handler: None)  # not in the process of the tests
    return lambda *arguments, **options: CliRunner().invoke(app, [*map(str, arguments)], **options)


def spawn(*arguments, **options):
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT} | options
    return subprocess.Popen([*COMMAND, *map(str, arguments)], **settings)


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def predictions(text):
    return [row["prediction"] for row in table(text)]


def fitted(model):
    X, y, domains = pack_domains(XS, CODES, XT)
    return make_pipeline(Normalizer(), model).fit(X, y, **{f"{type(model).__name__.lower()}__sample_domain": domains})


# ----------------------------------------------------------------------------------------------------------- good files


@pytest.mark.parametrize(
    ("source", "target", "options"),
    [
        ("source.csv", "target.csv", ["--drop", "who"]),
        ("source.csv", "labelled.csv", ["--id", "who", "--labels", "label"]),
        ("headless_source.csv", "headless_target.csv", ["--labels", "0"]),
        ("source.npz", "target.npz", []),
        ("source.npz", "Xt.npy", ["--labels", "y"]),
        ("Xs.npy", "Xt.npy", ["--labels", "ys.npy"]),
        ("Xs.npy", "Xt.npy", ["--labels", "labels.txt"]),
        ("stacked.npy", "Xt.npy", ["--labels", "4"]),
        ("pair.mat", "pair.mat", []),
        ("pair.mat", "target.npz", ["--labels", "Y_src"]),
        ("source.parquet", "target.parquet", []),
        ("lists_source.parquet", "lists_target.parquet", ["--features", "vector"]),
    ],
)
def test_every_format_gives_the_same_predictions(files, invoke, source, target, options):
    done = invoke("adapt", source, target, "--method", "JDA", "--set", "n_components=3", *options)
    assert done.exit_code == 0, done.stderr
    rows = table(done.stdout)
    expected = fitted(JDA(n_components=3)).predict(XT)
    assert [row["prediction"] for row in rows] in ([str(code) for code in expected], CLASSES[expected].tolist())
    assert [row["row"] for row in rows] == [str(i) for i in range(1, 41)]
    assert [row["id"] for row in rows] == [f"t{i}" for i in range(40)] if "--id" in options else "id" not in rows[0]


PAIRS = ["x y xt yt", "Xs ys Xt yt", "Zs Ys Zt Yt", "X_source y_source X_target y_target", "src_x src_y tgt_x tgt_y"]
PAIRS += ["fts_s labels_s fts_t labels_t", "sourceX sourceY targetX targetY", "s_feat s_gnd t_feat t_gnd"]


@pytest.mark.parametrize("names", PAIRS)
def test_both_domains_in_a_file(files, invoke, names):
    arrays = dict(zip(names.split(), [XS, CODES, XT, TRUE], strict=True))
    np.savez("both.npz", **arrays)
    found = read_table("both.npz", part="src")
    np.testing.assert_array_equal(found.X, XS)
    np.testing.assert_array_equal(found.y, CODES)
    found = read_table("both.npz", part="tar", labels=None)
    np.testing.assert_array_equal(found.X, XT)
    assert found.unused == names.split()[3]
    done = invoke("adapt", "both.npz", "both.npz", "--method", "CORAL", "--evaluate", names.split()[3])
    assert done.exit_code == 0, done.stderr
    assert done.stdout == invoke("adapt", "source.npz", "Xt.npy", "--method", "CORAL").stdout


def test_the_source_is_not_read_as_the_target(files, invoke):
    np.savez("both.npz", art=XS, kind=CODES, real=XT, truth=TRUE)
    named = ["adapt", "both.npz", "both.npz", "--method", "CORAL", "--features", "art", "--labels", "kind"]
    done = invoke(*named)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "art would be read as both" in done.stderr
    assert "--target-features; there are art, kind, real, truth." in done.stderr
    np.savez("alone.npz", real=XT, more=XT)
    for target in ("both.npz", "alone.npz"):
        done = invoke(*named[:2], target, *named[3:], "--target-features", "real")
        assert done.exit_code == 0, done.stderr
        assert done.stdout == invoke("adapt", "source.npz", "Xt.npy", "--method", "CORAL").stdout
    done = invoke(*named[:2], "alone.npz", *named[3:])
    assert "there is no array 'art'" in done.stderr
    assert "named by --target-features" in done.stderr
    np.savez("both.npz", art=XS, kind=CODES, real=XS + 1, truth=CODES)
    done = invoke(*named, "--target-features", "real", "--evaluate", "kind")
    assert "--evaluate kind: in both.npz these are the labels of the source" in done.stderr
    os.link("source.npz", "again.npz")
    told = ["--features", "vector", "--labels", "label"]
    for source, target, options in [
        ("source.npz", "again.npz", []),
        ("Xs.npy", "Xs.npy", ["--labels", "labels.txt"]),
        ("source.csv", "source.csv", ["--drop", "who"]),
        ("lists_source.parquet", "lists_source.parquet", told),
    ]:
        for command in (["adapt", "--method", "CORAL"], ["diagnose"]):
            done = invoke(command[0], source, target, *command[1:], *options)
            assert done.exit_code == 2
            assert "is SOURCE and TARGET" in done.stderr


@pytest.mark.parametrize("kind", ["h5", "safetensors"])
def test_formats_of_extras(files, kind):
    if kind == "h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File("source.h5", "w") as file:
            file["features"], file["labels"] = XS, CODES
    else:
        numpy = pytest.importorskip("safetensors.numpy")
        numpy.save_file({"features": XS.astype(np.float32), "labels": CODES}, "source.safetensors")
    found = read_table(f"source.{kind}", part="src")
    np.testing.assert_allclose(found.X, XS, rtol=1e-6)
    assert found.X.dtype == (np.float64 if kind == "h5" else np.float32)
    np.testing.assert_array_equal(found.y, CODES)
    assert read_table(f"source.{kind}", labels=None).y is None


def test_labels_of_the_target_are_for_the_accuracy_only(files, invoke):
    arguments = ["adapt", "source.csv", "labelled.csv", "--drop", "who", "--method", "CORAL"]
    plain = invoke(*arguments)
    assert "'label' of labelled.csv is not used" in plain.stderr
    told = invoke(*arguments, "--evaluate", "label", "--out", "told.csv", "--json")
    assert Path("told.csv").read_text() == plain.stdout
    about = json.loads(told.stdout)
    right = np.mean(np.array(predictions(plain.stdout)) == CLASSES[TRUE])
    assert about["accuracy"] == pytest.approx(right)
    assert 0 < about["accuracy_source_only"] <= 1
    assert f"Accuracy: {right:.1%}" in told.stderr


def test_what_confidence_is(files, invoke):
    arguments = ["adapt", "source.npz", "target.npz", "--method"]
    nearest = invoke(*arguments, "JDA", "--set", "n_components=3")
    model = fitted(JDA(n_components=3))
    last, Z = model[-1], model[-1].transform(model[0].transform(XT))
    assert predictions(nearest.stdout) == last.estimator_.predict(Z).astype(str).tolist()
    found = [float(row["confidence"]) for row in table(nearest.stdout)]
    np.testing.assert_allclose(found, last.estimator_.nearness(Z), rtol=1e-4)
    assert "Confidence: how much nearer the nearest source row is" in nearest.stderr
    plain = invoke(*arguments, "OneNearestNeighbor")
    assert "Confidence: how much nearer" in plain.stderr
    regression = ["--set", "n_components=3", "--set", "estimator=LogisticRegression", "--set", "estimator__C=0.5"]
    rows = table(invoke(*arguments, "JDA", *regression, "--proba").stdout)
    proba = fitted(JDA(n_components=3, estimator=LogisticRegression(C=0.5))).predict_proba(XT)
    np.testing.assert_allclose([float(row["confidence"]) for row in rows], proba.max(axis=1), rtol=1e-4)
    np.testing.assert_allclose([[float(row[f"p({c})"]) for c in range(3)] for row in rows], proba, rtol=1e-4)
    margin = invoke(*arguments, "ARTL")
    values = np.sort(fitted(ARTL()).decision_function(XT), axis=1)
    found = [float(row["confidence"]) for row in table(margin.stdout)]
    np.testing.assert_allclose(found, values[:, -1] - values[:, -2], rtol=1e-4)
    assert "only its order means something" in margin.stderr


def test_automatic_choice(files, invoke):
    options = ["--auto", "--set", "time_budget=0.01", "--json", "--report", "r.html"]
    done = invoke("adapt", "source.npz", "target.npz", *options)
    assert done.exit_code == 0, done.stderr
    about = json.loads(done.stdout)
    assert about["confidence"] == "vote"
    assert "source only" in about["candidates"]["candidate"]
    assert any("time budget" in error for error in about["candidates"]["error"])
    assert len(about["predictions"]["prediction"]) == 40
    assert "the time budget was spent" in Path("r.html").read_text(encoding="utf-8")


def test_model_and_report(files, invoke):
    outputs = ["--out", "p.parquet", "--model", "m.skops", "--report", "r.html"]
    done = invoke("adapt", "source.csv", "target.csv", "--id", "who", "--method", "CORAL", *outputs)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if line.startswith("Wrote ")] == [
        "Wrote predictions: p.parquet",
        "Wrote model: m.skops",
        "Wrote report: r.html",
    ]
    written = pyarrow.parquet.read_table("p.parquet").to_pydict()
    assert list(written) == ["row", "id", "prediction", "confidence"]
    again = invoke("predict", "m.skops", "target.csv", "--id", "who")
    assert predictions(again.stdout) == written["prediction"]
    scored = invoke("predict", "m.skops", "labelled.csv", "--drop", "who", "--evaluate", "label", "--json")
    about = json.loads(scored.stdout)
    assert about["accuracy"] == np.mean(np.array(written["prediction"]) == CLASSES[TRUE])
    assert about["predictions"]["prediction"] == written["prediction"]
    page = Path("r.html").read_text(encoding="utf-8")
    assert "From source.csv to target.csv" in page
    assert "What to try first" in page
    model = shallowda.load("m.skops")
    assert model.feature_names_in_.tolist() == NAMES
    with pytest.warns(UserWarning, match="feature names"):
        assert model.predict(XT).tolist() == written["prediction"]


def test_page_escapes_what_files_say(files, invoke):
    rows = [[*row, "<script>alert(1)</script>" if code else "b"] for row, code in zip(XS.tolist(), CODES, strict=True)]
    write_csv(files / "bad.csv", [*NAMES[:3], "<script>alert(2)</script>", "label"], rows)
    write_csv(files / "new.csv", [*NAMES[:3], "<script>alert(2)</script>"], XT.tolist())
    done = invoke("adapt", "bad.csv", "new.csv", "--method", "CORAL", "--report", "r.html")
    assert done.exit_code == 0, done.stderr
    assert "<script" not in Path("r.html").read_text(encoding="utf-8")


def test_labels_are_as_they_are_written(tmp_path):
    for texts, expected in [
        (["1.0", "2.0", "1.0"], np.array([1, 2, 1])),
        (["-1", "1", "1"], np.array([-1, 1, 1])),
        (["07", "08", "07"], np.array(["07", "08", "07"])),
        (["nan", "1", "2.0"], np.array(["", "1", "2"])),
        (["1.5", "2", "2"], np.array([1.5, 2.0, 2.0])),
        (["true", "false", "NA"], np.array(["true", "false", "NA"])),
    ]:
        write_csv(tmp_path / "t.csv", ["a", "class"], [[i, text] for i, text in enumerate(texts)])
        found = read_table(tmp_path / "t.csv", unlabelled=True).y
        np.testing.assert_array_equal(found, expected)
        assert found.dtype.kind == expected.dtype.kind


@pytest.mark.parametrize(
    ("text", "names", "X"),
    [
        ("a;b;label\n1;2;x\n3;4;y\n", ["a", "b"], [[1, 2], [3, 4]]),
        ("\ufeffa\tb\tLabel\r\n1\t2\tx\r\n3\t4\ty\r\n", ["a", "b"], [[1, 2], [3, 4]]),
        (",a,b,label\n0,1,2,x\n1,3,4,y\n", ["a", "b"], [[1, 2], [3, 4]]),  # pandas writes its row numbers
        ("0,1,label\n1.5,2,x\n3,4,y\n", ["0", "1"], [[1.5, 2], [3, 4]]),  # and numbers for names
        ('"a","b","label"\n1e1,-2,"x"\n3,4,"y, z"\n', ["a", "b"], [[10, -2], [3, 4]]),
    ],
)
def test_dialects_of_text(tmp_path, text, names, X):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    found = read_table(tmp_path / "t.csv")
    assert found.names == names
    assert found.X.tolist() == X
    assert found.y[0] == "x"
    assert found.labels.lower() == "label"


def test_labels_in_front(files, invoke):
    X, y = load_wine(return_X_y=True)
    np.savetxt("wine.data", np.column_stack([y + 1, X]), delimiter=",", fmt="%g")
    np.savetxt("new.data", X + 1, delimiter=",", fmt="%g")
    np.savetxt("known.data", np.column_stack([y + 1, X + 1]), delimiter=",", fmt="%g")
    found = read_table("wine.data")
    np.testing.assert_array_equal(found.y, y + 1)
    np.testing.assert_allclose(found.X, X, rtol=1e-5)
    assert found.labels == "0"
    done = invoke("adapt", "wine.data", "new.data", "--method", "CORAL", "--scale", "standard")
    assert done.exit_code == 0, done.stderr
    assert set(predictions(done.stdout)) == {"1", "2", "3"}
    again = invoke("adapt", "wine.data", "known.data", "--method", "CORAL", "--scale", "standard")
    assert again.stdout == done.stdout
    assert read_table("headless_source.csv", labels=None).y is None
    Path("unclear.csv").write_text("1,0.5,2\n1,1.5,2\n2,0.7,1\n2,0.1,1\n")
    assert read_table("unclear.csv").y is None


class Name(str):
    """A name that counts how often it is compared or looked up."""

    looks = 0

    def __eq__(self, other):
        Name.looks += 1
        return str.__eq__(self, other)

    def __hash__(self):
        Name.looks += 1
        return str.__hash__(self)


class Cells(list):
    def __getitem__(self, place):
        assert not isinstance(place, slice), "a part of a row is copied, once for each column perhaps"
        return list.__getitem__(self, place)


@pytest.mark.parametrize("width", [1000, 5000])  # by pyarrow, and without
def test_work_on_names_is_linear_in_the_columns(files, monkeypatch, width):
    cells = Text.cells
    monkeypatch.setattr(Text, "cells", lambda text, line: Cells(map(Name, cells(text, line))))
    names, rows = [f"f{i}" for i in range(width)], np.arange(3.0 * width).reshape(3, width).tolist()
    write_csv(Path("s.csv"), [*names, "label"], [[*row, "ab"[i % 2]] for i, row in enumerate(rows)])
    write_csv(Path("t.csv"), [*names[::-1], "label"], [[*row[::-1], "a"] for row in rows])
    Name.looks = 0
    known = read_table("s.csv", drop=["f1"])
    new = read_table("t.csv", labels=None, names=known.names, width=width - 1, unused="label", drop=["f1"])
    X = match_features(new, known.names, width - 1, "t.csv", "the source")
    np.testing.assert_array_equal(X, known.X)
    assert 0 < Name.looks < 100 * width  # a search through the names for each name would be width ** 2 of them
    Name.looks = 0
    write_csv(Path("t.csv"), [*names[::-1], "more"], [[*row[::-1], 1] for row in rows])
    new = read_table("t.csv", labels=None, names=known.names)
    with pytest.raises(ValueError, match="source lacks"):
        match_features(new, known.names, width - 1, "t.csv", "the source")
    write_csv(Path("t.csv"), names, [[*row[:9], "big", *row[10:]] for row in rows])
    with pytest.raises(ValueError, match="'big' in line 2, column 'f9'"):
        read_table("t.csv")
    assert Name.looks < 100 * width


def test_lines_longer_than_a_block_of_pyarrow(tmp_path):
    width = 120_000  # 2 MB a line
    rows = np.arange(2.0 * width).reshape(2, width) * 1e-9
    write_csv(tmp_path / "s.csv", [*map(str, range(400, 400 + width)), "label"], [[*rows[0], "x"], [*rows[1], "y"]])
    found = read_table(tmp_path / "s.csv", labels="label")
    np.testing.assert_array_equal(found.X, rows)
    assert found.y.tolist() == ["x", "y"]


def test_columns_of_true_and_false(files):
    flags = [True, False, True]
    pyarrow.parquet.write_table(pyarrow.table({"a": [1.5, 2, 3], "b": flags, "label": list("xyx")}), "t.parquet")
    expected = read_table("t.parquet").X
    assert expected.tolist() == [[1.5, 1], [2, 0], [3, 1]]
    for words in (["True", "False", "True"], ["true", "false", "true"], ["TRUE", "FALSE", " true"], ["1", "0", "1"]):
        write_csv(files / "t.csv", ["a", "b", "label"], zip([1.5, 2, 3], words, list("xyx"), strict=True))
        assert read_table("t.csv").X.tolist() == expected.tolist()
    Path("t.csv").write_text("a,b,label\n1,,x\n2,false,y\n3,true,y\n")
    with pytest.raises(ValueError, match="row 1, column 'b' is missing"):
        read_table("t.csv")
    Path("t.csv").write_text("a,b,label\n1,true,x\n2,maybe,y\n3,true,y\n")
    with pytest.raises(ValueError, match="'maybe' in line 3, column 'b' is not a number"):
        read_table("t.csv")


def test_stacked_domains_are_refused(files, invoke):
    scipy.io.savemat("both.mat", {"D": np.concatenate([XS, XT]), "y": np.r_[CODES, TRUE], "domains": [[0, 60, 100]]})
    done = invoke("adapt", "both.mat", "Xt.npy", "--method", "CORAL")
    assert done.exit_code == 2
    assert "several domains are stacked here, as domains says" in done.stderr
    assert "read_stacked" in done.stderr
    assert len(read_table("both.mat", drop=["domains"]).X) == 100


def test_text_of_libsvm(files, invoke):
    positive = np.where(np.abs(XT) < 1, 0, XT)
    dump_svmlight_file(XS, CODES, "s.txt", zero_based=False)
    dump_svmlight_file(positive[:, :3], TRUE, "t.txt", zero_based=False)  # without what is 0 everywhere
    plain = np.column_stack([positive[:, :3], np.zeros(40)])
    np.save("t.npy", plain)
    done = invoke("adapt", "s.txt", "t.txt", "--method", "CORAL", "--model", "m.skops", "--evaluate", "label")
    assert done.exit_code == 0, done.stderr
    assert "Accuracy" in done.stderr
    assert predictions(invoke("predict", "m.skops", "t.txt").stdout) == predictions(done.stdout)
    expected = invoke("adapt", "source.npz", "t.npy", "--method", "CORAL", "--labels", "y")
    assert predictions(expected.stdout) == predictions(done.stdout)
    Path("wide.txt").write_text("0 1:1 5:2\n")
    done = invoke("adapt", "s.txt", "wide.txt", "--method", "CORAL")
    assert done.exit_code == 2
    assert "The source lacks 5" in done.stderr
    assert read_table("s.txt", drop=["2"]).names == ["1", "3", "4"]
    Path("bomb.txt").write_text("1 1:1 999999999:1\n0 1:2\n")
    done = invoke("adapt", "bomb.txt", "t.txt", "--method", "CORAL")
    assert "made to fill the memory" in done.stderr


COLOURS = np.array(["red", "blue", "deep green"])


@pytest.fixture
def raw(files):
    """Files with a column of text, of codes and of missing values, as practitioners have them."""
    rng = np.random.default_rng(0)

    def rows(X, codes, more):
        cells = X.round(3).astype(str).astype(object)
        cells[rng.random(len(X)) < 0.1, 0] = "?"
        words = COLOURS[(codes + (rng.random(len(X)) < 0.2)) % 3].astype(object)
        words[rng.random(len(X)) < 0.1] = ""
        return [[*row, *rest] for row, *rest in zip(cells, words, 1 + codes % 2, *more, strict=True)]

    names = [*NAMES, "colour", "month"]
    write_csv(files / "s.csv", [*names, "label"], rows(XS, CODES, [CLASSES[CODES]]))
    write_csv(files / "t.csv", names, rows(XT, TRUE, []))
    lines = Path("t.csv").read_text().splitlines()
    for name, words in {"known.csv": CLASSES[TRUE], "other.csv": CLASSES[TRUE][::-1]}.items():
        marks = ["label", *words]
        Path(name).write_text("\n".join(f"{line},{mark}" for line, mark in zip(lines, marks, strict=True)) + "\n")
    return files


ENCODED = ["--impute", "median", "--one-hot", "all-text", "--one-hot", "month"]


@pytest.mark.parametrize("chosen", [["--method", "CORAL"], ["--method", "ARTL"], ["--auto", "--set", "time_budget=1"]])
def test_missing_values_and_categories(raw, invoke, chosen):
    done = invoke("adapt", "s.csv", "t.csv", *chosen, *ENCODED, "--model", "m.skops", "--report", "r.html", "--json")
    assert done.exit_code == 0, done.stderr
    assert "--trust" not in done.stderr
    found = json.loads(done.stdout)["predictions"]
    again = invoke("predict", "m.skops", "t.csv", "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["predictions"]["prediction"] == found["prediction"]
    assert json.loads(again.stdout)["confidence"] == json.loads(done.stdout)["confidence"]
    labelled = invoke("predict", "m.skops", "known.csv", "--json")  # the column of labels is known to the model
    assert labelled.exit_code == 0, labelled.stderr
    assert json.loads(labelled.stdout)["predictions"]["prediction"] == found["prediction"]
    page = Path("r.html").read_text(encoding="utf-8")
    assert "colour_deep green" in page
    columns = shallowda.load("m.skops").steps[0][1]
    names = columns.get_feature_names_out().tolist()
    assert names == [*NAMES, "colour_blue", "colour_deep green", "colour_red", "month_1", "month_2"]
    assert isinstance(columns, ColumnTransformer)
    # a category that nobody has seen, and another order
    rows = table(Path("t.csv").read_text())
    write_csv(raw / "new.csv", ["month", "colour", *NAMES], [["7", "pink", *[row[n] for n in NAMES]] for row in rows])
    assert invoke("predict", "m.skops", "new.csv").exit_code == 0


def test_columns_of_a_pipeline_of_the_users_own_are_left_to_it():
    table = pd.DataFrame({"age": [1.0, 2.0, 3.0, 4.0], "colour": ["red", "blue", "red", "blue"]})
    columns = ColumnTransformer([("numbers", StandardScaler(), ["age"]), ("categories", OneHotEncoder(), ["colour"])])
    model = make_plain_pipeline(columns, LogisticRegression()).fit(table, [0, 1, 0, 1])
    assert split(model) == (None, model, {})


def test_labels_of_the_target_do_not_leak_into_columns(raw, invoke):
    plain = invoke("adapt", "s.csv", "t.csv", "--method", "CORAL", *ENCODED)
    for name in ("known.csv", "other.csv"):
        done = invoke("adapt", "s.csv", name, "--method", "CORAL", *ENCODED)
        assert done.exit_code == 0, done.stderr
        assert done.stdout == plain.stdout


def test_columns_are_those_of_scikit_learn(raw, invoke):
    known = read_table("s.csv", text=["colour", "month"], missing=True)
    new = read_table("t.csv", text=["colour", "month"], missing=True)
    X = np.concatenate([known.X, new.X])
    numbers = SimpleImputer(strategy="mean").fit_transform(X[:, :4].astype(float))
    words = make_plain_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False))
    expected = np.column_stack([numbers, words.fit_transform(X[:, 4:])])
    options = ["--impute", "mean", "--one-hot", "colour", "--one-hot", "month", "--permutations", "19", "--json"]
    done = invoke("diagnose", "s.csv", "t.csv", *options)
    assert done.exit_code == 0, done.stderr
    about = json.loads(done.stdout)
    assert about["n_features"] == expected.shape[1] == 9
    Xs, Xt, *_ = encode(known, new, "mean", ["colour"])
    np.testing.assert_allclose(np.concatenate([Xs.X, Xt.X]), expected)
    assert {entry["name"] for entry in about["features"]} == set(Xs.names)


def test_categories_in_parquet_and_arrays(tmp_path):
    colours = pyarrow.array(["red", None, "blue"])
    columns = {"a": [1.0, None, 3.0], "colour": colours, "kind": colours.dictionary_encode(), "b": [True, None, False]}
    pyarrow.parquet.write_table(pyarrow.table(columns | {"label": [0, 1, 0]}), tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet", text=["all-text"], missing=True)
    assert found.text == (1, 2)
    assert found.X[[0, 2]].tolist() == [[1, "red", "red", 1], [3, "blue", "blue", 0]]
    assert all(value != value for value in found.X[1])
    with pytest.raises(ValueError, match=r"column 'colour' holds string, not numbers.*--one-hot colour"):
        read_table(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"row 2, column 'a' is missing .*--impute"):
        read_table(tmp_path / "t.parquet", text=["all-text"])
    np.save(tmp_path / "t.npy", [[1, 7.0], [np.nan, 8]])
    assert read_table(tmp_path / "t.npy", text=["1"], missing=True).X[:, 1].tolist() == ["7", "8"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "encode it by --one-hot colour (every column of text by --one-hot all-text)"),
        (["--one-hot", "all-text"], "row 3, column 'height' is missing"),
        (["--one-hot", "all-text"], "Fill it by --impute median"),
        (["--impute", "median"], "'red' in line 2, column 'colour' is not a number"),
        (["--impute", "middle"], "--impute: there is no 'middle'. There are mean, median, most_frequent"),
        (["--impute", "mean", "--one-hot", "color"], "there is no column 'color'; did you mean 'colour'?"),
        (["--impute", "mean", "--one-hot", "label"], "--one-hot label: the features of the source have no such column"),
    ],
)
def test_options_for_columns_are_named(raw, invoke, options, message):
    Path("s.csv").write_text(Path("s.csv").read_text().replace(",,", ",red,"))
    Path("t.csv").write_text(Path("t.csv").read_text().replace(",,", ",red,"))
    drop = ["--drop", "colour"] if options[-1:] == ["label"] else []
    done = invoke("adapt", "s.csv", "t.csv", "--method", "CORAL", *options, *drop)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b;label\n1,5;2;x\n3;4,25;y\n", ""),
        ("a;b;label\n1;2;x\n3;4,25;y\n", ""),
        ("a\tb\tlabel\n1,5\t2\tx\n3\t4,25\ty\n", ""),
        ('a,b,label\n"1,5",2,x\n3,"4,25",y\n', ""),
        ("a  b label\n1.5 2   x\n 3 4.25 y\n", ""),
        ("a;b;label\n1,5;2;x\n3;4.25;y\n", "'4.25' in line 3, column 'b' is not a number, and others in the file are"),
        ("a,b,label\n1,?,x\n3, NA,y\n", "row 1, column 'b' is missing (2 of 4 values"),
        ("a,label\nbig,x\nsmall,y\n", "--one-hot a (every column of text by --one-hot all-text); else say"),
    ],
)
def test_commas_and_marks_of_other_countries(tmp_path, text, message):
    for pack in (bytes, gzip.compress, bz2.compress, lzma.compress):
        (tmp_path / "t.csv").write_bytes(pack(text.encode()))
        if message:
            with pytest.raises(ValueError, match=re.escape(message)) as error:
                read_table(tmp_path / "t.csv")
            assert ("--drop" in str(error.value)) == ("not a number," in message)
        else:
            found = read_table(tmp_path / "t.csv")
            assert found.names == ["a", "b"]
            assert found.y.tolist() == ["x", "y"]
            assert found.X[[0, 1], [0, 1]].tolist() in ([1.5, 4.25], [1, 4.25])


def test_packed_files(files, invoke):
    plain = Path("source.csv").read_bytes()
    Path("s.csv.gz").write_bytes(gzip.compress(plain))
    with zipfile.ZipFile("s.zip", "w") as archive:
        archive.writestr("s.csv", plain)
    arguments = ["target.csv", "--method", "CORAL", "--drop", "who"]
    expected = invoke("adapt", "source.csv", *arguments).stdout
    for name in ("s.csv.gz", "s.zip"):
        assert invoke("adapt", name, *arguments).stdout == expected
    assert invoke("adapt", "-", *arguments, input=gzip.compress(plain)).stdout == expected
    with zipfile.ZipFile("s.zip", "a") as archive:
        archive.writestr("t.csv", plain)
    Path("cut.gz").write_bytes(gzip.compress(plain)[:-20])
    Path("array.gz").write_bytes(gzip.compress(Path("Xs.npy").read_bytes()))
    for name, message in {"s.zip": "archive of 2 files", "cut.gz": "cut off", "array.gz": "Unpack it first"}.items():
        done = invoke("adapt", name, *arguments)
        assert done.exit_code == 2
        assert message in done.stderr


def test_packed_text_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("shallowda.datasets._text.BOMB_BYTES", 2**16)
    (tmp_path / "t.csv").write_bytes(gzip.compress(b"a,b\n" + b"0,0\n" * 10**5))
    with pytest.raises(ValueError, match="made to fill the memory"):
        read_table(tmp_path / "t.csv")


def test_row_numbers_of_pandas(files, invoke):
    write_csv(files / "s.csv", ["", *NAMES, "label"], [[i, *row, CODES[i]] for i, row in enumerate(XS.tolist())])
    write_csv(files / "t.csv", ["", *NAMES], [[i, *row] for i, row in enumerate(XT.tolist())])
    expected = predictions(invoke("adapt", "source.npz", "target.npz", "--method", "CORAL").stdout)
    for options in ([], ["--drop", "Unnamed: 0"]):
        done = invoke("adapt", "s.csv", "t.csv", "--method", "CORAL", *options)
        assert predictions(done.stdout) == expected
    named = invoke("adapt", "s.csv", "t.csv", "--method", "CORAL", "--id", "Unnamed: 0")
    assert [row["id"] for row in table(named.stdout)][:2] == ["0", "1"]
    done = invoke("adapt", "s.csv", "t.csv", "--method", "CORAL", "--drop", "Unnamed: 1")
    assert "--drop: there is no column 'Unnamed: 1'; there are Unnamed: 0, height" in done.stderr


# -------------------------------------------------------------------------------------------------------- hostile files


class Trap:
    def __reduce__(self):
        return (open, ("sprung", "w"))


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("X.npy", "w") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**5)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(10**6))


def endless(path):
    with path.open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**5)}
        np.lib.format.write_array_header_1_0(file, header)


HOSTILE = {
    "absent.csv": (None, "No such file"),
    "empty.csv": (b"", "the file is empty"),
    "names.csv": (b"a,b,label\n", "no row below the line of names"),
    "word.csv": (b"a,b,label\n1,2,x\n3,big,y\n", "'big' in line 3, column 'b' is not a number"),
    "ragged.csv": (b"a,b,label\n1,2,x\n3,y\n", "line 3 has 2 fields, the first has 3"),
    "hole.csv": (b"a,b,label\n1,2,x\n3,,y\n", "row 2, column 'b' is missing"),
    "nan.csv": (b"a,b,label\n1,nan,x\n3,4,y\n", "row 1, column 'b' is missing"),
    "infinite.csv": (b"a,b,label\n1,2,x\ninf,4,y\n", "row 2, column 'a' is infinite"),
    "unlabelled.csv": (b"a,b,label\n1,2,x\n3,4,\n", "row 2 has no label"),
    "one.csv": (b"a,b,label\n1,2,x\n3,4,x\n", "all rows have the label x"),
    "twice.csv": (b"a,a,label\n1,2,x\n3,4,y\n", "more than one column is called 'a'"),
    "which.csv": (b"a,y,label\n1,2,x\n3,4,y\n", "y and label may each be the labels"),
    "none.csv": (b"a,b,c\n1,2,3\n3,4,5\n", "which are the labels? Name them by --labels; there are a, b, c"),
    "latin.csv": (b"a,b,label\n1,2,x\n3,4,caf\xe9\n", "UTF"),
    "bytes.csv": (bytes(range(256)) * 9, "nor text"),
    "page.npz": (b"<html>404</html>", "text where .npz was expected"),
    "page.npy": (b"<html>404</html>", "text where .npy was expected"),
    "pickle.npz": (pickle.dumps(Trap()), "Pickles are never loaded"),
    "trap.npy": (lambda path: np.save(path, np.array([[Trap(), 1]], dtype=object)), "one plain array"),
    "trap.npz": (lambda path: np.savez(path, X=np.array([[Trap(), 1]], dtype=object)), "Python objects"),
    "bomb.npz": (bomb, "made to fill the memory"),
    "endless.npy": (endless, "one plain array"),
    "vector.npy": (lambda path: np.save(path, np.ones(3)), "the array is 1-D"),
    "words.npy": (lambda path: np.save(path, np.array([["a", "b"]])), "real numbers are needed"),
    "lies.safetensors": (struct.pack("<Q", 40) + b'{"X":{"dtype":"F32"' + bytes(40), ""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_words(files, invoke, name):
    content, message = HOSTILE[name]
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    if callable(content):
        content(files / name)
    elif content is not None:
        (files / name).write_bytes(content)
    outputs = ["--out", "p.csv", "--model", "m.skops"]
    done = invoke("adapt", name, "Xt.npy", "--method", "CORAL", *outputs)
    assert done.exit_code == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert name in done.stderr
    assert message in done.stderr
    assert not any(Path(made).exists() for made in ("p.csv", "m.skops", "sprung"))


@pytest.mark.parametrize("name", ["source.parquet", "source.npz", "Xs.npy", "pair.mat"])
def test_files_that_were_cut_off(files, invoke, name):
    whole = (files / name).read_bytes()
    (files / name).write_bytes(whole[: len(whole) // 2])
    done = invoke("adapt", name, "Xt.npy", "--method", "CORAL")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {name}: ")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["height", "width", "mass"], "It lacks depth."),
        ([*NAMES, "colour"], "The source lacks colour: leave out by --drop"),
        (["height", "width", "mass", "colour"], "It lacks depth. The source lacks colour"),
    ],
)
def test_features_must_be_the_same(files, invoke, names, message):
    write_csv(files / "other.csv", names, [[1.0] * len(names)] * 3)
    done = invoke("adapt", "source.csv", "other.csv", "--drop", "who", "--method", "CORAL")
    assert done.exit_code == 2
    assert message in done.stderr
    invoke("adapt", "source.csv", "target.csv", "--drop", "who", "--method", "CORAL", "--model", "m.skops")
    done = invoke("predict", "m.skops", "other.csv")
    assert done.exit_code == 2
    assert message.replace("The source", "The model") in done.stderr
    done = invoke("predict", "m.skops", "stacked.npy")
    assert "stacked.npy has 5 features, and the model has 4" in done.stderr


def test_a_file_that_is_no_model(files, invoke):
    for name, content in {"m.skops": b"rubbish", "p.skops": pickle.dumps(Trap())}.items():
        (files / name).write_bytes(content)
        done = invoke("predict", name, "Xt.npy")
        assert done.exit_code == 2
        assert f"Error: {name} is no model file" in done.stderr
    with pytest.warns(UserWarning, match="not fitted"):
        shallowda.save(CORAL(), "unfitted.skops")
    done = invoke("predict", "unfitted.skops", "Xt.npy")
    assert "CORAL that was not fitted" in done.stderr
    assert not Path("sprung").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Give --method NAME or --auto"),
        (["--method", "CORAL", "--auto"], "Give --method NAME or --auto"),
        (["--method", "jdaa"], "did you mean 'JDA'?"),
        (["--method", "StandardScaler"], "StandardScaler is no classifier"),
        (["--method", "JDA", "--set", "n_component=3"], "did you mean 'n_components'? It has"),
        (["--method", "JDA", "--set", "n_components=many"], "n_components' parameter of JDA must be an int"),
        (["--method", "JDA", "--set", "n_components"], "is not NAME=VALUE"),
        (["--method", "JDA", "--set", "estimator=LogisticRegressio"], "did you mean 'LogisticRegression'?"),
        (["--method", "JDA", "--scale", "units"], "did you mean 'unit-rows'?"),
        (["--auto", "--scale", "none"], "Leave --scale out"),
        (["--method", "ARTL", "--proba"], "has no class probabilities"),
        (["--method", "CORAL", "--set", "estimator=Ridge"], "Ridge predicts numbers, and CORAL needs a classifier"),
        (["--method", "CORAL", "--labels", "kind"], "there is no column 'kind'; there are who, height"),
        (["--method", "CORAL", "--labels", "lable"], "did you mean 'label'?"),
        (["--method", "CORAL", "--drop", "how"], "--drop: there is no column 'how'"),
        (["--method", "CORAL", "--out", "p.txt"], "must end in .csv or .parquet"),
        (["--method", "CORAL", "--out", "no/p.csv"], "there is no folder no"),
        (["--method", "CORAL", "--out", "target.csv"], "target.csv is an input too"),
        (["--method", "CORAL", "--out", "a.csv", "--report", "a.csv"], "a.csv is --out too"),
        (["--method", "CORAL", "--model", "."], "is a folder"),
    ],
)
def test_mistakes_are_told_and_end_with_2(files, invoke, options, message):
    before = sorted(path.name for path in files.iterdir())
    done = invoke("adapt", "source.csv", "target.csv", "--drop", "who", *options)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert sorted(path.name for path in files.iterdir()) == before


def test_files_that_exist_are_replaced_by_force_only(files, invoke):
    arguments = ["adapt", "source.npz", "target.npz", "--method", "CORAL", "--out", "p.csv"]
    Path("p.csv").write_text("mine")
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert "p.csv exists" in done.stderr
    assert Path("p.csv").read_text() == "mine"
    assert invoke(*arguments, "--force").exit_code == 0
    assert len(table(Path("p.csv").read_text())) == 40


def test_work_that_fails_ends_with_1(files, invoke):
    invoke("adapt", "source.npz", "target.npz", "--method", "JDA", "--set", "n_components=3", "--set", "kernel=chi2")
    np.savez("negative.npz", X=-XS, y=CODES)
    done = invoke("adapt", "negative.npz", "target.npz", "--method", "JDA", "--set", "kernel=chi2", "--out", "p.csv")
    assert done.exit_code == 1
    assert "Error: Fitting JDA (unit-rows) failed: " in done.stderr
    assert not Path("p.csv").exists()


@pytest.mark.parametrize("names", [["0", "1", "2", "3"], ["400", "500", "600", "700"]])
def test_names_that_are_numbers(files, invoke, names):
    rows = [[*row, CLASSES[code]] for row, code in zip(XS.tolist(), CODES, strict=True)]
    write_csv(files / "s.csv", [*names, "label"], rows)
    write_csv(files / "t.csv", names, XT.tolist())
    write_csv(files / "turned.csv", names[::-1], XT[:, ::-1].tolist())
    whole = ["--labels", "label", "--method", "CORAL"]
    done = invoke("adapt", "s.csv", "t.csv", *whole, "--model", "m.skops")
    assert done.exit_code == 0, done.stderr
    assert len(table(done.stdout)) == 40
    for arguments in (["adapt", "s.csv", "turned.csv", *whole], ["predict", "m.skops", "turned.csv"]):
        assert invoke(*arguments).stdout == done.stdout
    told = invoke("diagnose", "s.csv", "turned.csv", "--labels", "label", "--permutations", "19", "--json")
    assert {entry["name"] for entry in json.loads(told.stdout)["features"]} == set(names)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["kind", *CLASSES[CODES], "", ""], ""),
        (["kind", *CODES.astype(str)], ""),
        (["cat", *CLASSES[CODES]], "61 labels for 60 rows"),
        (["7", *CODES.astype(str)], "61 labels for 60 rows"),
        ([*CLASSES[CODES][:30], "", *CLASSES[CODES][30:]], "line 31 is empty"),
    ],
)
def test_file_of_labels(files, lines, message):
    Path("lines.txt").write_text("\n".join(lines))
    if message:
        with pytest.raises(ValueError, match=message):
            read_table("Xs.npy", labels="lines.txt")
    else:
        np.testing.assert_array_equal(
            np.unique(read_table("Xs.npy", labels="lines.txt").y, return_inverse=True)[1], CODES
        )


def test_what_was_fitted_is_kept_when_the_diagnosis_fails(files, invoke, monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("shallowda.diagnosis.DomainShiftReport", fail)
    outputs = ["--out", "p.csv", "--model", "m.skops", "--report", "r.html"]
    done = invoke("adapt", "source.npz", "target.npz", "--method", "CORAL", *outputs, "--json")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "Error: Looking at the shift failed: MemoryError"
    assert "Shift: not measured." in done.stderr
    about = json.loads(done.stdout)
    assert list(about["written"]) == ["predictions", "model", "report"]
    assert about["failed"] == {"Looking at the shift": "Looking at the shift failed: MemoryError"}
    assert predictions(invoke("predict", "m.skops", "target.npz").stdout) == predictions(Path("p.csv").read_text())
    assert "Shift: not measured." in Path("r.html").read_text(encoding="utf-8")


def test_features_in_a_unit_out_of_range(files, invoke):
    np.savez("s.npz", X=XS * 1e-200, y=CODES)
    np.save("t.npy", XT * 1e-200)
    done = invoke("adapt", "s.npz", "t.npy", "--method", "CORAL", "--out", "p.csv")
    assert done.exit_code == 1
    assert "X is so small" in done.stderr
    assert "divide them by a constant" in done.stderr


def test_what_was_computed_before_an_error_is_not_lost(files, invoke, monkeypatch):
    def fails(*_):
        raise ValueError("it cannot be measured")

    monkeypatch.setattr("shallowda.commands.adapt._shift", fails)
    arguments = ("adapt", "source.npz", "target.npz", "--method", "CORAL", "--out", "p.csv", "--model", "m.skops")
    done = invoke(*arguments)
    assert done.exit_code == 1
    assert "Error: Looking at the shift failed: " in done.stderr
    assert len(table(Path("p.csv").read_text())) == 40
    assert shallowda.load("m.skops").n_features_in_ == 4


def test_confidence_is_of_the_model_and_not_of_the_batch(files, invoke):
    sure = np.concatenate([XS - 1000 * np.eye(4)[0], XS + 1000 * np.eye(4)[0]])
    np.savez("s.npz", X=sure, y=np.repeat([0, 1], 60))
    np.save("t.npy", sure)
    done = invoke("adapt", "s.npz", "t.npy", "--method", "LogisticRegression", "--scale", "none")
    assert {float(row["confidence"]) for row in table(done.stdout)} == {1.0}
    assert "the largest class probability" in done.stderr
    for method in ("KNeighborsClassifier", "DecisionTreeClassifier"):
        neighbours = ["--set", "n_neighbors=1"] if method.startswith("K") else []
        done = invoke("adapt", "source.npz", "target.npz", "--method", method, *neighbours)
        assert {row["confidence"] for row in table(done.stdout)} == {""}
    done = invoke("adapt", "source.npz", "target.npz", "--method", "DecisionTreeClassifier", "--set", "max_depth=1")
    assert "" not in {row["confidence"] for row in table(done.stdout)}


@pytest.mark.parametrize(
    "estimator", [["RandomForestClassifier"], ["KNeighborsClassifier"], ["MLPClassifier", "estimator__max_iter=3000"]]
)
def test_types_to_trust(files, invoke, estimator):
    settings = [word for setting in (f"estimator={estimator[0]}", *estimator[1:]) for word in ("--set", setting)]
    done = invoke("adapt", "source.npz", "target.npz", "--method", "CORAL", *settings, "--model", "m.skops")
    assert done.exit_code == 0, done.stderr
    note = next((line for line in done.stderr.splitlines() if "shallowda predict" in line), "")
    options = note.partition("shallowda predict ")[2].split()[:-1]
    assert options[:1] == ["--trust"]
    refused = invoke("predict", "m.skops", "target.npz")
    assert refused.exit_code == 2
    assert f"add {' '.join(options)}" in refused.stderr
    assert "trusted=" not in refused.stderr
    again = invoke("predict", "m.skops", "target.npz", *options)
    assert again.exit_code == 0, again.stderr
    assert predictions(again.stdout) == predictions(done.stdout)


def test_empty_lines_of_one_column(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n2\n\n \n")
    assert read_table(path).X.tolist() == [[1], [2]]
    for text, row in {"a\n1\n\n2\n": 2, "a\n\n1\n": 1, "1.5\n2\n\n3\n": 3}.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=f"row {row}, column .* is missing"):
            read_table(path)
    path.write_text("a,b\n1,2\n\n3,4\n")
    assert read_table(path).X.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(("text", "by_name"), [("a,b\n1,2\n", True), ("a,b\n1,2\n", False), ("a\n1\n", True)])
def test_nothing_of_python_is_read_by_threads_of_arrow(tmp_path, monkeypatch, text, by_name):
    # an error may end the interpreter while they read: a file or bytes of Python would abort the process, sometimes
    read_csv, sources = pyarrow.csv.read_csv, []
    keep = lambda file, **options: sources.append(file) or read_csv(file, **options)  # noqa: E731
    monkeypatch.setattr("pyarrow.csv.read_csv", keep)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    path = tmp_path / "t.csv"
    path.write_text(text)
    held = pyarrow.total_allocated_bytes()
    assert read_table(path if by_name else "-").X.tolist() == [[1, 2][: text.count(",") // 2 + 1]]
    (file,) = sources
    assert isinstance(file, pyarrow.NativeFile)
    assert isinstance(file, pyarrow.OSFile) or pyarrow.total_allocated_bytes() > held  # the bytes are Arrow's own


def test_true_labels_that_are_no_class(files, invoke):
    np.savez("other.npz", X=XT, y=CLASSES[TRUE])
    invoke("adapt", "source.npz", "target.npz", "--method", "CORAL", "--model", "m.skops")
    for arguments in (["adapt", "source.npz", "other.npz", "--method", "CORAL"], ["predict", "m.skops", "other.npz"]):
        done = invoke(*arguments, "--evaluate", "y")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "cat, dog, eel are no class of the model, whose classes are 0, 1, 2" in done.stderr


def test_labels_that_are_known_are_scored(files, invoke):
    known = [CLASSES[code] if i % 2 else ["", " ", "-1"][i % 3] for i, code in enumerate(TRUE)]
    half = [[*row, label] for row, label in zip(XT, known, strict=True)]
    write_csv(files / "half.csv", [*NAMES, "label"], half)
    columns = dict(zip(NAMES, XT.T, strict=True))
    marked = [CLASSES[code] if i % 2 else None for i, code in enumerate(TRUE)]
    pyarrow.parquet.write_table(pyarrow.table(columns | {"label": marked}), "half.parquet")
    for name in ("half.csv", "half.parquet"):
        done = invoke(
            "adapt", "source.csv", name, "--drop", "who", "--method", "CORAL", "--evaluate", "label", "--json",
            "--model", "m.skops", "--force", "--no-diagnosis",
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        about = json.loads(done.stdout)
        right = np.array(about["predictions"]["prediction"]) == CLASSES[TRUE]
        assert (about["evaluated"], about["accuracy"]) == (20, pytest.approx(right[1::2].mean()))
        assert f"Accuracy on the 20 rows whose label is known: {right[1::2].mean():.1%}; of the source" in done.stderr
        again = invoke("predict", "m.skops", name, "--evaluate", "label")
        assert f"Accuracy on the 20 rows whose label is known: {right[1::2].mean():.1%}." in again.stderr
    write_csv(files / "none.csv", [*NAMES, "label"], [[*row, ""] for row in XT])
    done = invoke("adapt", "source.csv", "none.csv", "--drop", "who", "--method", "CORAL", "--evaluate", "label")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no row has a label" in done.stderr
    done = invoke("adapt", "half.csv", "target.csv", "--drop", "who", "--method", "CORAL")
    assert "row 1 has no label" in done.stderr


def test_a_model_knows_its_column_of_labels(files, invoke):
    for name in ("source.csv", "labelled.csv"):
        text = (files / name).read_text()
        (files / name).write_text(text.replace("label", "kind", 1))
    options = ["--labels", "kind", "--drop", "who"]
    done = invoke("adapt", "source.csv", "labelled.csv", "--method", "CORAL", *options, "--model", "m.skops")
    again = invoke("predict", "m.skops", "labelled.csv", "--drop", "who")
    assert again.exit_code == 0, again.stderr
    assert again.stdout == done.stdout
    for told in (done, again):
        assert "Note: 'kind' of labelled.csv is not used. (--evaluate kind compares" in told.stderr
    np.savez("both.npz", x=XS, y=CODES, xt=XT, yt=TRUE)  # where the array of the target's labels has another name
    told = invoke("predict", "m.skops", "both.npz")
    assert "Note: 'yt' of both.npz is not used. (--evaluate yt compares" in told.stderr
    told = invoke("predict", "m.skops", "labelled.csv", "--drop", "who", "--evaluate", "kind")
    assert "Note:" not in told.stderr
    assert "Accuracy: " in told.stderr


def test_probabilities_of_a_model_that_has_none(files, invoke):
    invoke("adapt", "source.npz", "target.npz", "--method", "ARTL", "--model", "m.skops")
    done = invoke("predict", "m.skops", "target.npz", "--proba")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--proba: m.skops has no class probabilities" in done.stderr


def test_without_the_diagnosis(files, invoke, monkeypatch):
    monkeypatch.setattr("shallowda.diagnosis.DomainShiftReport", None)
    options = ["--method", "CORAL", "--no-diagnosis", "--report", "r.html", "--out", "p.csv", "--json"]
    done = invoke("adapt", "source.npz", "target.npz", *options)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["shift"] is None
    for text in (done.stderr, Path("r.html").read_text()):
        assert "Against the source alone" in text
        assert "Shift" not in text.replace("DomainShift", "")


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_labels_that_are_no_classes(files, invoke, kind):
    values = XS @ [1.0, 2.0, 0.0, -1.0] + 0.25
    columns = {f"x{i}": column for i, column in enumerate(XS.T)}
    for name, labels in {"values": values, "ids": np.arange(60) * 7, "few": np.arange(60) // 2}.items():
        path = files / f"{name}.{kind}"
        if kind == "csv":
            write_csv(path, [*columns, "y"], np.column_stack([XS, labels.astype(object)]).tolist())
        elif kind == "parquet":
            pyarrow.parquet.write_table(pyarrow.table(columns | {"y": labels}), path)
        else:
            np.savez(path, X=XS, y=labels)
        domains = np.repeat([0, -1], [60, 40])
        y = np.r_[labels, np.full(40, labels[0])]
        done = invoke("adapt", path.name, "Xt.npy", "--method", "CORAL")
        if name == "few":  # two rows of each of 30 classes
            assert done.exit_code == 0, done.stderr
            CORAL().fit(np.r_[XS, XT], y, sample_domain=domains)
            continue
        reason = f"such as {'0, are too many' if name == 'ids' else f'{values[0]:.6g}, which are no classes'}"
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"Error: {path.name}: y: ")
        assert reason in done.stderr
        assert "--method KMM --set estimator=Ridge" in done.stderr
        with pytest.raises(ValueError, match=reason):  # and so it is in Python
            JDA().fit(np.r_[XS, XT], y, sample_domain=domains)
        assert "Note: y is not looked at: " in invoke("diagnose", path.name, "Xt.npy").stderr


@pytest.mark.filterwarnings("ignore:KMM. the weights")
def test_numbers_are_predicted_by_a_regressor_that_was_named(files, invoke):
    values, truth = (X @ [1.0, 2.0, 0.0, -1.0] for X in (XS, XT))
    np.savez("source.npz", X=XS, y=values)
    np.savez("target.npz", X=XT, y=np.where(np.arange(40) < 10, np.nan, truth))
    named = ["--method", "KMM", "--set", "estimator=Ridge", "--scale", "none"]
    done = invoke("adapt", "source.npz", "target.npz", *named, "--evaluate", "y", "--model", "m.skops")
    assert done.exit_code == 0, done.stderr
    rows = table(done.stdout)
    X, y, domains = pack_domains(XS, values, XT)
    expected = KMM(estimator=Ridge()).fit(X, y, sample_domain=domains).predict(XT)
    np.testing.assert_allclose([float(row["prediction"]) for row in rows], expected, rtol=1e-12)
    assert {row["confidence"] for row in rows} == {""}
    again = json.loads(invoke("predict", "m.skops", "target.npz", "--evaluate", "y", "--json").stdout)
    assert again["evaluated"] == 30
    assert again["r2"] == pytest.approx(r2_score(truth[10:], expected[10:]))
    assert again["mean_absolute_error"] == pytest.approx(np.abs(truth - expected)[10:].mean())
    assert f"R2 on the 30 rows whose label is known: {again['r2']:.3f}; of the source alone: " in done.stderr
    assert (
        f"Mean absolute error on the 30 rows whose label is known: {again['mean_absolute_error']:.4g};" in done.stderr
    )
    done = invoke("adapt", "source.csv", "target.csv", "--drop", "who", "--method", "Ridge")
    assert done.exit_code == 2
    assert "source.csv: label holds 'cat' and the like, and Ridge (standard) predicts numbers." in done.stderr


def test_booleans_are_written_as_pandas_does(files):
    truth = XS[:, 0] > 3
    pyarrow.parquet.write_table(pyarrow.table({"a": XS[:, 0], "label": truth}), "b.parquet")
    np.savez("b.npz", X=XS, y=truth)
    for name in ("b.parquet", "b.npz"):
        np.testing.assert_array_equal(read_table(name).y, np.where(truth, "True", "False"))


def test_names_of_rows_of_the_target_only(files, invoke):
    expected = invoke("adapt", "source.csv", "target.csv", "--id", "who", "--method", "CORAL")
    source = list(csv.reader(io.StringIO(Path("source.csv").read_text())))
    write_csv(files / "nameless.csv", source[0][1:], [row[1:] for row in source[1:]])
    done = invoke("adapt", "nameless.csv", "target.csv", "--id", "who", "--method", "CORAL")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == expected.stdout
    pyarrow.parquet.write_table(pyarrow.table({"a": [1.0, 2.0], "who": ["x", None]}), "n.parquet")
    assert read_table("n.parquet", ids="who").ids.tolist() == ["x", ""]


@pytest.mark.parametrize(
    ("source", "target", "options", "message"),
    [
        ("source.npz", "target.npz", ["--features", "X", "--features", "y"], "--features can be given once only"),
        ("source.csv", "target.csv", ["--features", "height", "--drop", "who"], "have no arrays to choose from"),
        ("Xs.npy", "Xt.npy", ["--features", "X", "--labels", "ys.npy"], "have no arrays to choose from"),
    ],
)
def test_features_are_chosen_once_and_where_they_can_be(files, invoke, source, target, options, message):
    done = invoke("adapt", source, target, "--method", "CORAL", *options)
    assert done.exit_code == 2
    assert message in done.stderr


def test_parquet_that_holds_more_than_it_weighs(files, monkeypatch):
    monkeypatch.setattr("shallowda.datasets.tables.BOMB_BYTES", 2**20)
    values = pyarrow.array(np.zeros(2_000_000))
    lists = pyarrow.FixedSizeListArray.from_arrays(values, 10_000)
    pyarrow.parquet.write_table(pyarrow.table({"vector": lists}), "bomb.parquet")
    with pytest.raises(ValueError, match="2000000 values are declared"):
        read_table("bomb.parquet", features="vector")


@POSIX
def test_force_replaces_regular_files_only(files, invoke):
    arguments = ["adapt", "source.npz", "target.npz", "--method", "CORAL", "--force"]
    os.mkfifo("pipe.csv")
    for place in ("pipe.csv", "/dev/null"):
        option = "--out" if place == "pipe.csv" else "--model"
        done = invoke(*arguments, option, place)
        assert done.exit_code == 2
        assert f"{place} is no regular file" in done.stderr
    Path("far").mkdir()
    for option, name in {"--out": "p.csv", "--model": "m.skops", "--report": "r.html"}.items():
        Path("far", name).write_text("old")
        Path(name).symlink_to(Path("far", name))
        arguments += [option, name]
    assert invoke(*arguments).exit_code == 0
    assert all(Path(name).is_symlink() for name in ("p.csv", "m.skops", "r.html"))
    assert len(table(Path("far/p.csv").read_text())) == 40
    assert len(shallowda.load("far/m.skops").predict(XT)) == 40
    assert not [path for path in files.rglob(".*") if path.is_file()]


# ------------------------------------------------------------------------------------------------- as a shell runs them


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
@pytest.mark.slow
@pytest.mark.parametrize("option", [["--json"], []])
@pytest.mark.parametrize("buffered", [False, True])
def test_a_disk_that_is_full(files, option, buffered):
    environment = {name: value for name, value in ENVIRONMENT.items() if not (buffered and name == "PYTHONUNBUFFERED")}
    with open("/dev/full", "w") as full:
        arguments = ["adapt", "source.npz", "target.npz", "--method", "CORAL", *option]
        process = spawn(*arguments, stdout=full, env=environment, text=True)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Error: standard output was not written: " in stderr
    assert "Exception ignored" not in stderr


@pytest.mark.slow
def test_interrupted_while_it_is_imported(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    process = spawn("doctor", env=ENVIRONMENT | {"PYTHONPATH": path}, text=True)
    assert process.communicate(timeout=60) == ("", "Interrupted.\n")
    assert process.returncode == 130


@POSIX
@pytest.mark.slow
def test_pipes(files):
    shell = f"{' '.join(COMMAND)} adapt - target.csv --drop who --method CORAL < source.csv 2> said | tail -n 1"
    done = subprocess.run(shell, shell=True, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout.startswith("40,")
    said = Path("said").read_text()
    assert "40 rows of target.csv predicted" in said
    assert "\x1b" not in said  # nothing moves where nobody looks


@POSIX
@pytest.mark.slow
def test_a_reader_that_has_read_enough(files, invoke):
    assert invoke("adapt", "source.npz", "target.npz", "--method", "CORAL", "--model", "m.skops").exit_code == 0
    np.save("many.npy", np.repeat(XT, 2000, axis=0))
    process = spawn("predict", "m.skops", "many.npy")
    assert process.stdout.readline() == b"row,prediction,confidence\n"
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGINT, 130, "Interrupted.\n"), (signal.SIGTERM, 143, "")]
)
def test_stopped_in_the_middle(files, number, status, said):
    before = sorted(path.name for path in files.iterdir())
    forever = ["--method", "GradientBoostingClassifier", "--set", "n_estimators=1000000", "--set", "verbose=2"]
    with spawn(
        *("adapt", "source.npz", "Xt.npy", *forever, "--out", "p.csv", "--model", "m.skops"),
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # tests that run in the background ignore SIGINT
        text=True,
    ) as process:
        try:
            assert "Iter" in process.stderr.readline()  # what an estimator prints is said, and not in the output
            process.stderr.readline()
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == status
    assert stdout == ""
    assert stderr.endswith(said)
    assert "Traceback" not in stderr
    assert sorted(path.name for path in files.iterdir()) == before


@POSIX
@pytest.mark.slow
def test_what_was_finished_is_kept_when_a_later_output_fails(files):
    import resource

    def little():  # the report is larger than any file may be
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    outputs = ["--out", "p.csv", "--model", "m.skops", "--report", "r.html"]
    process = spawn("adapt", "source.npz", "target.npz", "--method", "CORAL", *outputs, preexec_fn=little, text=True)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert stderr.splitlines()[-1].startswith("Error: r.html was not written: ")
    assert "Wrote model: m.skops" in stderr
    assert len(table(Path("p.csv").read_text())) == 40
    assert len(shallowda.load("m.skops").predict(XT)) == 40
    assert not Path("r.html").exists()
    assert not [path for path in files.iterdir() if path.name.startswith(".")]


@POSIX
@pytest.mark.slow
def test_progress_on_a_terminal(files):
    reader, writer = os.openpty()
    environment = ENVIRONMENT | {"TERM": "xterm-256color"}
    process = spawn("adapt", "source.npz", "target.npz", "--method", "CORAL", stderr=writer, env=environment)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as terminal:
        shown = b""
        try:
            while block := terminal.read(4096):
                shown += block
        except OSError:  # on Linux the end of a terminal is an error
            logging.getLogger(__name__).debug("the terminal is closed")
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"Fitting CORAL (per-domain)" in shown
    assert b"\x1b[?25h" in shown  # the cursor is back
    assert b"\x1b" not in stdout
    assert len(table(stdout.decode())) == 40


# --------------------------------------------------------------------------------------------------- the other commands


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_what_needs_no_library_imports_none(option):
    code = (
        "import sys\n"
        "from shallowda.cli import app\n"
        f"app(['{option}'], standalone_mode=False)\n"
        "heavy = {'numpy', 'scipy', 'sklearn', 'pyarrow', 'pandas', 'matplotlib', 'rich.progress'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"
    assert (f"shallowda {shallowda.__version__}" if option == "--version" else "Usage:") in printed


def test_help_says_what_there_is(invoke):
    text = " ".join(invoke("--help").stdout.split())
    assert all(name in text for name in ("demo", "adapt", "predict", "diagnose", "bench", "doctor", "data"))
    assert "Exit status: 0 done, 1 the work failed, 2 refused" in text


def test_diagnose(files, invoke):
    done = invoke("diagnose", "source.csv", "labelled.csv", "--drop", "who", "--permutations", "19")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("Domain shift report")
    assert "height" in done.stdout
    arguments = ["diagnose", "source.csv", "target.csv", "--drop", "who", "--permutations", "19"]
    about = json.loads(invoke(*arguments, "--json", "--html", "page.html").stdout)
    assert about["written"] == {"page": "page.html"}
    assert about["n_features"] == 4
    assert about["classes"] == CLASSES.tolist()
    assert {entry["name"] for entry in about["features"]} == set(NAMES)
    assert about["advice"][0].keys() == {"what", "why"}
    assert "Domain shift report" in Path("page.html").read_text(encoding="utf-8")
    done = invoke("diagnose", "Xs.npy", "Xt.npy", "--permutations", "19")
    assert "nothing is said of classes" in done.stderr
    done = invoke(*arguments, "--html", "page.html")
    assert (done.exit_code, "page.html exists" in done.stderr) == (2, True)


def test_bench_leaves_empty_what_has_not_run(capsys):
    from shallowda.bench.summary import Comparison, TaskTable
    from shallowda.commands.bench import _say_summary

    nothing = np.full((1, 2), np.nan)
    compared = Comparison("JDA", "paper", "", np.array([80.0, 81.0, np.nan]), np.full(3, np.nan))
    columns = (["a", "b"], ["JDA"], nothing, nothing, nothing, [["skipped"] * 2])
    _say_summary(SimpleNamespace(tables=[TaskTable("absent", *columns, [compared])], reasons={}, counts={}), [], False)
    shown = capsys.readouterr().out
    assert "JDA" in shown
    assert "nan" not in shown
    assert "0 of 0" not in shown


def test_data(files, invoke, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DATA", str(files))
    assert invoke("data", "path").stdout.strip() == str(files)
    listed = json.loads(invoke("data", "list", "--json").stdout)
    assert listed["folder"] == str(files)
    assert {"digits", "office-caltech10[surf]"} <= {entry["name"] for entry in listed["datasets"]}
    assert not any(entry["at_hand"] for entry in listed["datasets"])
    absent = invoke("data", "path", "digits")
    assert (absent.exit_code, absent.stdout) == (1, "")
    assert "shallowda data fetch digits" in absent.stderr
    wide = np.random.default_rng(0).random((256, 30))
    labels = np.tile(np.arange(1, 11), 3)[None]
    scipy.io.savemat("MNIST_vs_USPS.mat", {"X_src": wide, "Y_src": labels, "X_tar": wide, "Y_tar": labels})
    assert invoke("data", "path", "digits").stdout.splitlines() == [str(files / "MNIST_vs_USPS.mat")]
    fetched = invoke("data", "fetch", "digits", "--domain", "USPS", "--json")
    assert json.loads(fetched.stdout)["rows"] == {"USPS": 30}
    assert "at hand  MNIST, USPS" in invoke("data", "list").stdout
    for arguments, message in {
        ("digit",): "did you mean 'digits'",
        ("office-caltech10",): "name one of office-caltech10[surf]",
        ("digits", "--domain", "SVHN"): "has no domain 'SVHN'",
    }.items():
        done = invoke("data", "fetch", *arguments)
        assert done.exit_code == 2
        assert message in done.stderr

    def offline(*arguments):
        raise OSError("no way out")

    monkeypatch.setattr("shallowda.datasets.store._download", offline)
    done = invoke("data", "fetch", "spam")
    assert done.exit_code == 1
    assert "no way out" in done.stderr


def test_doctor(invoke, monkeypatch):
    monkeypatch.delenv("SHALLOWDA_MEMORY_BUDGET", raising=False)
    monkeypatch.setattr("shallowda.kernels.planning.available_memory", lambda backend="numpy": 2**33)
    done = invoke("doctor", "--json")
    assert done.exit_code == 0, done.stdout
    about = json.loads(done.stdout)
    assert about["broken"] == []
    assert about["versions"]["shallowda"] == shallowda.__version__
    assert about["memory"] == {"free": 2**33, "budget": 2**32}
    assert {"moments", "dense"} <= {made.get("operator") for made in about["plans"]}
    assert about["self_test"] > 0.9
    shown = invoke("doctor").stdout
    assert "What would run where" in shown
    assert "Nothing is broken." in shown
    monkeypatch.setenv("SHALLOWDA_MEMORY_BUDGET", "plenty")
    done = invoke("doctor")
    assert done.exit_code == 1
    assert "SHALLOWDA_MEMORY_BUDGET must be a positive number" in done.stdout


def test_doctor_reports_missing_and_old_packages(invoke, monkeypatch):
    from importlib.metadata import PackageNotFoundError

    from shallowda.commands import doctor

    def version(name):
        if name == "skops":
            raise PackageNotFoundError(name)
        return "0.1" if name == "scipy" else "999"

    monkeypatch.setattr(doctor, "requires", lambda name: ["scipy>=1.14,<2", 'skops>=0.13; extra == "models"'])
    monkeypatch.setattr(doctor, "version", version)
    done = invoke("doctor", "--json")
    about = json.loads(done.stdout)
    assert done.exit_code == 1
    assert about["extras"] == {"models": {"packages": {}, "missing": ["skops"]}}
    assert about["broken"] == ["scipy 0.1 is installed, and <2,>=1.14 is needed"]


def test_demo_passes_its_options_on(invoke, monkeypatch):
    called = []
    monkeypatch.setattr("shallowda.demo.main", called.append)
    assert invoke("demo", "--samples", "200", "--seed", "3").exit_code == 0
    assert called == [["--output", "demo-output", "--seed", "3", "--samples", "200"]]
    assert invoke("demo", "--samples", "10").exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(invoke, shell):
    script = invoke(env={"_SHALLOWDA_COMPLETE": f"source_{shell}"}, prog_name="shallowda").stdout
    assert "_SHALLOWDA_COMPLETE" in script
    assert f"complete_{shell}" in script


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("shallowda ad", ["adapt"]),
        ("shallowda adapt --method JD", ["JDA"]),
        ("shallowda adapt --scale per", ["per-domain"]),
        ("shallowda data fetch dig", ["digits"]),
        ("shallowda bench --preset qui", ["quick"]),
        ("shallowda bench --dataset make_r", ["make_rotated_moons"]),
    ],
)
def test_completion_of_words(invoke, words, completed):
    environment = {"_SHALLOWDA_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert invoke(env=environment, prog_name="shallowda").stdout.split() == completed


def test_methods_are_those_of_the_catalogue_and_completed_without_scikit_learn():
    code = (
        "import sys, shallowda.cli\n"
        "from shallowda.commands.adapt import methods\n"
        "print(*methods(''), 'sklearn' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout.split()
    assert printed == [*all_methods(), "False"]


def test_scaling_is_that_of_the_method(files, invoke):
    for name, options in {"JDA": ["--set", "n_components=3"], "CORAL": [], "LogisticRegression": []}.items():
        done = invoke("adapt", "source.npz", "target.npz", "--json", "--method", name, *options)
        assert done.exit_code == 0, done.stderr
        told = json.loads(done.stdout)["method"]
        scaling = all_methods()[name].card.scaling if name in all_methods() else "standard"
        assert told == f"{name} ({scaling})"
