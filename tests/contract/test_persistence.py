"""Model files: what goes in comes out, and nothing in a file is executed."""

import functools
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import oracles
import pytest
import sklearn
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

import shallowda
from shallowda import (
    BDA,
    CORAL,
    JDA,
    AutoAdapt,
    PerDomain,
    TCAEstimator,
    make_pipeline,
    pack_domains,
    persistence,
)
from shallowda.model_selection import SourceAccuracy, SourceTargetKFold

Xs, ys, Xt, yt = oracles.shifted_domains()
X, y, sample_domain = pack_domains(Xs, ys, Xt)

# every method by itself is saved in test_every_method.py
MODELS = {
    "TCA landmarks": TCAEstimator(3, kernel="rbf", n_landmarks=20),
    "BDA and its distances": BDA(3, mu="a_distance"),
    "CORAL and its classifier": CORAL(estimator=LogisticRegression()),
    "pipeline": make_pipeline(PerDomain(StandardScaler()), CORAL(), LogisticRegression()),
    "search": GridSearchCV(JDA(3), {"ridge": [0.1, 1.0]}, cv=SourceTargetKFold(2), scoring=SourceAccuracy()),
    "auto": AutoAdapt(),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skops"


@pytest.mark.filterwarnings("ignore")  # of the fits: said elsewhere
@pytest.mark.parametrize("name", MODELS)
def test_predicts_as_before(name, path):
    model = MODELS[name].fit(X, y)
    shallowda.save(model, path)
    again = shallowda.load(path)
    np.testing.assert_array_equal(again.predict(Xt), model.predict(Xt))
    new = Xt[::-1] + 0.1
    np.testing.assert_array_equal(again.predict(new), model.predict(new))
    assert repr(again) == repr(model)


def test_labels_names_and_tables_survive(path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(Xs, columns=[f"f{i}" for i in range(Xs.shape[1])])
    names = np.array(["cat", "dog", "emu", "fox", "gnu"])[ys]
    rows, labels, domain = pack_domains(frame, names, frame + 1.0)
    model = JDA(3).fit(rows, labels, sample_domain=domain)
    shallowda.save(model, path)
    again = shallowda.load(path)
    assert list(again.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))


@pytest.mark.slow
def test_predicts_in_a_process_of_its_own(path, tmp_path):
    model = make_pipeline(StandardScaler(), JDA(3), LogisticRegression()).fit(X, y)
    shallowda.save(model, path)
    np.save(tmp_path / "X.npy", Xt)
    code = "import sys, numpy, shallowda; print(*shallowda.load(sys.argv[1]).predict(numpy.load(sys.argv[2])))"
    command = [sys.executable, "-W", "error", "-c", code, str(path), str(tmp_path / "X.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(map(str, model.predict(Xt)))


def test_many_threads_predict_with_one_model(path):
    shallowda.save(JDA(3, kernel="rbf").fit(X, y), path)
    model = shallowda.load(path)
    parts = [Xt[i : i + 7] for i in range(0, len(Xt), 7)] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(model.predict, parts))
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate([model.predict(part) for part in parts]))


def test_what_the_package_writes_is_known(path):
    """Every type in the list exists; a renamed class would leave old files unreadable."""
    for name in persistence.known_types():
        module, _, kind = name.rpartition(".")
        assert isinstance(getattr(__import__(module, fromlist=[kind]), kind), type)


OLD = Path(__file__).parent / "saved_before_the_move"


# Another scikit-learn than the one at hand wrote these files: we warn of it, and so does scikit-learn.
of_another_release = pytest.mark.filterwarnings(
    "ignore:.*was written with:UserWarning", "ignore::sklearn.exceptions.InconsistentVersionWarning"
)


@of_another_release
@pytest.mark.parametrize("name", ["spectral", "search", "pipeline", "stream", "auto"])
def test_files_from_before_the_modules_moved_are_read(name):
    """Their types lay elsewhere then (shallowda.tca, shallowda._streaming, ...)."""
    if name == "auto" and tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8):
        pytest.skip("its logistic regression lacks what scikit-learn before 1.8 looks for")
    rows = np.load(OLD / "rows.npy")
    model = shallowda.load(OLD / f"{name}.skops")
    expected = np.tile([0, 1], 9)
    if name == "pipeline":
        expected[1] = 0
    np.testing.assert_array_equal(model.predict(rows), expected)
    if name == "stream":
        model.partial_fit(rows[:3] + 0.1)  # it goes on from what was saved


@of_another_release
def test_an_old_file_is_not_unpacked_where_its_schema_names_nothing(path, monkeypatch):
    path.write_bytes((OLD / "spectral.skops").read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", bytes(10**8))
    read = []
    plain = zipfile.ZipFile.read
    monkeypatch.setattr(
        zipfile.ZipFile, "read", lambda self, name, *rest: read.append(name) or plain(self, name, *rest)
    )
    shallowda.load(path)
    assert "schema.json" in read
    assert "more.npy" not in read


# -- hostile and damaged files -----------------------------------------------------------------------------------------


def test_a_file_that_would_run_a_command_is_refused(path, tmp_path):
    trace = tmp_path / "trace"
    evil = functools.partial(os.system, f"touch {trace}")
    skops.io.dump({"format": 1, "versions": {}, "model": evil}, path)
    with pytest.raises(ValueError, match=r"system.*was not loaded"):
        shallowda.load(path)
    assert not trace.exists()


def parts_of(path):
    """Contents of a model file, without the checksums: who forges a file leaves them out."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "sha256.json"}


def test_a_known_type_renamed_inside_the_file_is_refused(path, tmp_path):
    shallowda.save(CORAL().fit(X, y), path)
    parts = parts_of(path)
    schema = (
        parts["schema.json"]
        .decode()
        .replace('"CORAL"', '"Popen"')
        .replace('"shallowda.methods.alignment.coral"', '"subprocess"')
    )
    forged = tmp_path / "forged.skops"
    with zipfile.ZipFile(forged, "w") as archive:
        for name, content in {**parts, "schema.json": schema}.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"subprocess\.Popen"):
        shallowda.load(forged)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


def test_a_pickle_is_not_read(path):
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="no model file"):
        shallowda.load(path)


def test_an_array_of_pickled_objects_is_not_read(path, tmp_path):
    shallowda.save(CORAL().fit(X, y), path)
    parts = parts_of(path)
    np.save(tmp_path / "bomb.npy", np.array([Bomb()], dtype=object))
    forged = tmp_path / "forged.skops"
    with zipfile.ZipFile(forged, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, (tmp_path / "bomb.npy").read_bytes() if name.endswith(".npy") else content)
    with pytest.raises(ValueError, match="damaged"):
        shallowda.load(forged)


def made_by(loader, kind, **state):
    module, _, name = kind.rpartition(".")
    return {"__class__": name, "__module__": module, "__loader__": loader, **state}


def json_node(value):
    return made_by("JsonNode", "builtins.str", content=json.dumps(value), is_json=True)


def listed(nodes):
    return made_by("ListNode", "builtins.list", content=nodes)


def mapped(**nodes):
    keys = listed([made_by("TypeNode", "builtins.str")] * len(nodes))
    return made_by("DictNode", "builtins.dict", content=nodes, key_types=keys)


def forge(path, model, files=(), **content):
    """A model file, written by hand."""
    content = {"format": json_node(1), "versions": mapped(), "model": model} | content
    schema = {**mapped(**content), "protocol": skops.io._protocol.PROTOCOL}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in dict(files).items():
            archive.writestr(name, data)
        archive.writestr("schema.json", json.dumps(schema))


REPORT = "shallowda.diagnosis.report.DomainShiftReport"
ADDER = {
    "func": made_by("FunctionNode", "numpy.add"),
    "args": listed([]),
    "kwds": mapped(),
    "namespace": json_node(None),
}


@pytest.mark.parametrize(
    "model",
    [
        made_by("ConstructorFromReduceNode", REPORT, content=listed([])),
        made_by("PartialNode", f"{CORAL.__module__}.CORAL", content=ADDER),
        made_by("ListNode", REPORT, content=[]),
        made_by("TypeNode", f"{CORAL.__module__}.CORAL"),
        made_by("ObjectNode", "numpy.dtype", content=mapped()),
    ],
    ids=lambda model: model["__loader__"],
)
def test_nothing_of_the_package_is_called_by_a_file(path, model):
    forge(path, model)
    with pytest.raises(ValueError, match="where something is called"):
        shallowda.load(path)


def test_references_that_multiply_are_refused(path):
    node = made_by("ListNode", "builtins.list", content=[], __id__=1)
    for i in range(2, 60):  # 2 to the power of 60 lists, were they walked
        again = made_by("ListNode", "builtins.list", content=[], __id__=i - 1)
        node = made_by("ListNode", "builtins.list", content=[node, again], __id__=i)
    forge(path, node)
    with pytest.raises(ValueError, match="in two ways"):
        shallowda.load(path)


def test_a_file_that_unpacks_to_more_than_memory_is_refused(path, monkeypatch):
    array = made_by("NdArrayNode", "numpy.ndarray", type="numpy", file="a.npy")
    forge(path, listed([array] * 20), {"a.npy": bytes(10**6)})
    monkeypatch.setattr(persistence, "available_memory", lambda: 3 * 10**7)
    with pytest.raises(ValueError, match="are free"):
        shallowda.load(path)
    monkeypatch.setattr(persistence, "_SCHEMA_BYTES", 100)
    with pytest.raises(ValueError, match="too long"):
        shallowda.load(path)


@pytest.mark.parametrize(
    ("model", "content"),
    [
        (json_node("no model"), {}),
        (json_node(1), {"versions": json_node(3)}),
        (made_by("ObjectNode", f"{CORAL.__module__}.CORAL"), {"format": listed([])}),
    ],
)
def test_what_is_no_estimator_is_not_returned(path, model, content):
    forge(path, model, **content)
    with pytest.raises(ValueError, match=r"not written by shallowda\.save"):
        shallowda.load(path)


def test_another_compression_and_encryption(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("schema.json", "{}")
    with pytest.raises(ValueError, match="compressed"):
        shallowda.load(path)
    forge(path, json_node(1))
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\1\2") + 8] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="damaged"):
        shallowda.load(path)


@pytest.mark.parametrize("kept", [0, 10, 200, -20])
def test_a_damaged_file(path, kept):
    shallowda.save(CORAL().fit(X, y), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="damaged"):
        shallowda.load(path)


def test_parts_before_the_beginning_of_the_file_are_damage(path):
    """What a flipped bit in the archive's last record does."""
    shallowda.save(CORAL().fit(X, y), path)
    data = bytearray(path.read_bytes())
    place = data.rfind(b"PK\5\6") + 16  # where its directory is said to begin
    data[place : place + 4] = (int.from_bytes(data[place : place + 4], "little") + 10**6).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        shallowda.load(path)


def test_flipped_bytes_are_an_error_or_do_no_harm(path):
    model = CORAL().fit(X, y)
    shallowda.save(model, path)
    whole, rng, errors = path.read_bytes(), np.random.RandomState(0), []
    for _ in range(100):
        broken = bytearray(whole)
        broken[rng.randint(len(whole))] ^= 1 << rng.randint(8)
        path.write_bytes(bytes(broken))
        try:
            again = shallowda.load(path)
        except ValueError as error:
            errors.append(str(error))
        else:  # in a time stamp, say
            np.testing.assert_array_equal(again.predict(Xt), model.predict(Xt))
    assert errors
    assert all("damaged" in text or "not loaded" in text or "not written" in text for text in errors)


def rewritten(path, **contents):
    """The archive with other contents of some parts, which the zip format finds nothing wrong with."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (parts | contents).items():
            if content is not None:
                archive.writestr(name, content)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_arrays_that_are_not_those_saved_are_damage(path, monkeypatch):
    shallowda.save(CORAL().fit(X, y), path)
    whole = path.read_bytes()
    arrays = {name: np.load(io.BytesIO(part)) for name, part in parts_of(path).items() if name.endswith(".npy")}
    matrices = [name for name, array in arrays.items() if array.ndim == 2]
    assert matrices
    monkeypatch.setattr(skops.io, "load", lambda *args, **options: pytest.fail("something was made"))
    for name in matrices:
        for other in (np.full_like(arrays[name], np.nan), arrays[name][:-1], arrays[name] + 1):
            path.write_bytes(whole)
            rewritten(path, **{name: npy(other)})
            for reads in (shallowda.load, persistence.unknown_types):
                with pytest.raises(ValueError, match=f"damaged: {name} does not match"):
                    reads(path)


def test_a_schema_that_is_not_the_one_saved_is_damage(path):
    shallowda.save(CORAL(ridge=2.0).fit(X, y), path)
    schema = parts_of(path)["schema.json"]
    assert b"2.0" in schema
    rewritten(path, **{"schema.json": schema.replace(b"2.0", b"3.0")})
    with pytest.raises(ValueError, match=r"damaged: schema\.json does not match"):
        shallowda.load(path)


@pytest.mark.parametrize("sums", ["", "[]", "3", "{}", '{"schema.json": null}', "[" * 10**5])
def test_checksums_that_say_nothing_are_damage(path, sums):
    shallowda.save(CORAL().fit(X, y), path)
    rewritten(path, **{"sha256.json": sums})
    with pytest.raises(ValueError, match="damaged"):
        shallowda.load(path)


def test_a_part_that_is_gone_is_damage(path):
    shallowda.save(CORAL().fit(X, y), path)
    name = next(name for name in parts_of(path) if name.endswith(".npy"))
    rewritten(path, **{name: None})
    with pytest.raises(ValueError, match="damaged"):
        shallowda.load(path)


def test_files_without_checksums_are_read(path):
    model = CORAL().fit(X, y)
    shallowda.save(model, path)
    rewritten(path, **{"sha256.json": None})
    np.testing.assert_array_equal(shallowda.load(path).predict(Xt), model.predict(Xt))


def test_checksums_are_of_every_part_and_checked_after_the_size(path, monkeypatch):
    shallowda.save(JDA(3, kernel="rbf").fit(X, y), path)
    with zipfile.ZipFile(path) as archive:
        assert set(json.loads(archive.read("sha256.json"))) == set(archive.namelist()) - {"sha256.json"}
    monkeypatch.setattr(persistence, "available_memory", lambda: 0)
    monkeypatch.setattr(persistence, "_checksum", lambda *args: pytest.fail("unpacked before its size was known"))
    with pytest.raises(ValueError, match="are free"):
        shallowda.load(path)


def test_an_archive_of_something_else(path):
    skops.io.dump(StandardScaler(), path)
    with pytest.raises(ValueError, match=r"not written by shallowda\.save"):
        shallowda.load(path)


def test_no_such_file(path):
    with pytest.raises(FileNotFoundError):
        shallowda.load(path)


def double(a, b):
    return 2.0 * a @ b


def test_a_function_of_the_user_must_be_named(path):
    model = TCAEstimator(3, kernel=double).fit(X, y)
    shallowda.save(model, path)
    name = f"{double.__module__}.double"
    with pytest.raises(ValueError, match="double"):
        shallowda.load(path)
    np.testing.assert_array_equal(shallowda.load(path, trusted=[name]).predict(Xt), model.predict(Xt))


# -- writing -----------------------------------------------------------------------------------------------------------


def test_only_estimators_are_saved(path):
    with pytest.raises(TypeError, match="estimator"):
        shallowda.save({"model": 1}, path)
    assert not path.exists()


def test_an_unfitted_model_is_said(path):
    """The pipeline that a search was given, most likely."""
    pipeline = shallowda.make_pipeline(StandardScaler(), CORAL(), LogisticRegression())
    search = GridSearchCV(pipeline, {"coral__ridge": [1.0]}, scoring=SourceAccuracy(), cv=SourceTargetKFold(2))
    search.fit(X, y)
    with pytest.warns(UserWarning, match="not fitted.*best_estimator_"):
        shallowda.save(pipeline, path)
    shallowda.save(search.best_estimator_, path)
    np.testing.assert_array_equal(shallowda.load(path).predict(Xt), search.predict(Xt))


def test_a_file_is_replaced_only_by_a_complete_one(path, monkeypatch):
    shallowda.save(CORAL().fit(X, y), path)
    before = path.read_bytes()

    def breaks(content, file, **options):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(skops.io, "dump", breaks)
    with pytest.raises(OSError, match="disk full"):
        shallowda.save(TCAEstimator(3).fit(X, y), path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_could_not_be_read_again_is_not_written(path):
    def inner(a, b):
        return a @ b

    for kernel in (lambda a, b: a @ b, inner):
        with pytest.raises(TypeError, match="at the top of a module"):
            shallowda.save(TCAEstimator(3, kernel=kernel), path)
    with sklearn.config_context(enable_metadata_routing=True):
        model = JDA(3).set_fit_request(sample_domain=True)
    with pytest.raises(ValueError, match="set_fit_request"):
        shallowda.save(model, path)
    assert not list(path.parent.iterdir())


def test_threads_may_save_to_one_path(path):
    models = [CORAL(ridge=float(i)).fit(X, y) for i in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda model: shallowda.save(model, path), models * 4))
    assert shallowda.load(path).ridge in range(1, 9)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_release_is_said(path, monkeypatch):
    monkeypatch.setattr(persistence, "__version__", "99.1")
    shallowda.save(CORAL().fit(X, y), path)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match=r"written with shallowda 99\.1"):
        shallowda.load(path)


def test_versions_are_in_the_file(path):
    shallowda.save(CORAL().fit(X, y), path)
    with zipfile.ZipFile(path) as archive:
        assert shallowda.__version__ in json.dumps(archive.read("schema.json").decode())


def test_without_skops(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(ImportError, match=r"shallowda\[models\]"):
        shallowda.save(CORAL(), path)
