"""What a benchmark may say, and what is said of mistakes in it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from shallowda import CORAL, JDA, LabeledOnly
from shallowda.bench import STEPS, Benchmark, Limits, Method, Task, build, load_config, load_preset, plan, presets
from shallowda.bench.models import seeded
from shallowda.bench.steps import preprocess

GOOD = """
title = "Test"
trials = 2
[limits]
seconds = 30
memory = "1.5GiB"
[[tasks]]
dataset = "make_rotated_moons"
name = "moons"
options = {n_samples = 20, angles = [0, 20, 50]}
pairs = [["0deg", "20deg"], [["0deg", "20deg"], "50deg"]]
preprocess = ["zscore"]
[[tasks]]
dataset = {files = {a = "a.npz", b = ["sub/b.npz", "X", "y"]}}
[[methods]]
name = "JDA"
steps = ["unit-rows"]
model = {estimator = "JDA", params = {n_components = 2}}
datasets = ["moons"]
[[methods]]
name = "1-NN"
model = "OneNearestNeighbor"
[[published]]
method = "JDA"
dataset = "moons"
figures = {"0deg->20deg" = 50.5}
"""


def written(folder, text):
    path = folder / "bench.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_file(tmp_path):
    benchmark = load_config(written(tmp_path, GOOD))
    assert benchmark.limits == Limits(30, 1610612736)
    assert [task.name for task in benchmark.tasks] == ["moons", "files"]
    assert benchmark.tasks[1].dataset["files"] == {
        "a": str(tmp_path / "a.npz"),
        "b": [str(tmp_path / "sub" / "b.npz"), "X", "y"],
    }
    assert benchmark.published[0].figures == {"0deg->20deg": 50.5}
    labels = [cell.label for cell in plan(benchmark, only="moons")]
    assert labels[:4] == [
        "moons 0deg->20deg JDA #0",
        "moons 0deg->20deg 1-NN #0",
        "moons 0deg->20deg JDA #1",
        "moons 0deg->20deg 1-NN #1",
    ]
    assert "moons 0deg+20deg->50deg 1-NN #1" in labels
    assert len(labels) == 8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials = 2", "trails = 2", "'trails' is not known; did you mean 'trials'"),
        ("trials = 2", "trials = 0", "trials must be a positive integer"),
        ("trials = 2", "trials = 100_000_000", "trials must be .* at most"),
        ("trials = 2", "trials = ", "not a TOML file"),
        ('"1.5GiB"', str(10**20), r"\[limits\]: memory must be .* at most"),
        ('"1.5GiB"', '"lots"', r"\[limits\]: memory must be"),
        ("seconds = 30", "seconds = -1", "seconds must be positive"),
        ('"1-NN"\nmodel', '"JDA"\nmodel', "methods of task 'moons' need different names; used twice: JDA"),
        ('estimator = "JDA"', 'estimator = "JDAA"', "number 1: there is no estimator 'JDAA'.*mean 'JDA'"),
        ("n_components = 2", "components = 2", "JDA: .*unexpected keyword argument 'components'"),
        ("n_components = 2", "n_components = -2", "JDA: The 'n_components' parameter"),
        ('"OneNearestNeighbor"', '"os.system"', "no estimator 'os.system'"),
        ('"OneNearestNeighbor"', "3", "a model is a name"),
        ('"OneNearestNeighbor"', '"KMeans"', "1-NN: a model must be a classifier"),
        ('"OneNearestNeighbor"', "[]", "one estimator or more"),
        ('["zscore"]', '["z-score"]', "step 'z-score' is not known; did you mean 'zscore'"),
        ('["zscore"]', '"zscore"', "preprocess must be a list"),
        ('["moons"]', '["moon"]', "the task 'moon' is not known"),
        ('method = "JDA"', 'method = "TCA"', "the method 'TCA' is not known"),
        ("50.5", "505", "accuracies in percent"),
        ("[[published]]", "[published]", "must be written as"),
        ('a = "a.npz", ', "", "two domains or more"),
        ('"0deg", "20deg"], [[', '"0deg"], [[', "pairs must be"),
    ],
)
def test_says_what_is_wrong(tmp_path, old, new, message):
    assert GOOD.count(old) == 1
    with pytest.raises(ValueError, match=message):
        load_config(written(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task("make_rotated_mons"), "did you mean 'make_rotated_moons'"),
        (Task("make_rotated_moons", options={"angels": [1]}), "angels"),
        (Task("make_rotated_moons", options={"n_samples": -1}), "n_samples"),
        (Task("make_rotated_moons", pairs=[["0deg", "31deg"]]), "the domain '31deg'.*did you mean '30deg'"),
        (Task("make_rotated_moons", pairs=[["0deg", "0deg"]]), "must differ"),
        (Task("make_printed_digits"), "is not known"),
        (Task("office-caltech10", options={"features": "surff"}), "did you mean"),
        (Task("office-caltech10", pairs=[["amazon", "web"]]), "the domain 'web'"),
        (Task("office-caltech10", options={"domains": ["amazon", "web"]}), "the domain 'web'"),
        (Task("office-caltech10", options={"domains": 3}), "'office-caltech10': .*int"),
        (Task("office-caltech10", options={"data_home": 3}), "'office-caltech10': .*int"),
        (Task("make_rotated_moons", options={"n_samples": 10**15}), "(?i)memory|allocate"),
    ],
)
def test_plan_says_what_is_wrong(task, message):
    with pytest.raises(ValueError, match=message):
        plan(Benchmark([task], [Method("1-NN", "OneNearestNeighbor")]), fetch=False)


def test_domains_that_are_not_at_hand_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DATA", str(tmp_path))
    method = Method("1-NN", "OneNearestNeighbor")
    cells = plan(Benchmark([Task("office-caltech10")], [method]), fetch=False)
    assert len(cells) == 12
    assert all("SHALLOWDA_DATA" in cell.missing for cell in cells)
    files = Task({"files": {"a": str(tmp_path / "a.npz"), "b": str(tmp_path / "b.npz")}})
    (cell, _) = plan(Benchmark([files], [method]))
    assert str(tmp_path / "a.npz") in cell.missing
    assert str(tmp_path / "b.npz") in cell.missing


@pytest.mark.parametrize(("answered", "attempts"), [(False, 1), (True, 3)])
def test_downloads_end_with_the_first_that_has_no_answer(tmp_path, monkeypatch, answered, attempts):
    tried = []

    def download(url, sha256, path):
        tried.append(url)
        error = OSError("no such file there" if answered else "offline")
        error.response = object() if answered else None
        raise error

    monkeypatch.setenv("SHALLOWDA_DATA", str(tmp_path))
    monkeypatch.setattr("shallowda.datasets.store._download", download)
    tasks = [Task("amazon-reviews", options={"domains": ["books", "dvd"]}), Task("spam", pairs=[["SMS", "mail"]])]
    methods = [Method("1-NN", "OneNearestNeighbor"), Method("SVM", "SVC")]
    cells = plan(Benchmark(tasks, methods, trials=2))
    assert all("not found in" in cell.missing for cell in cells)
    assert ("No download was tried" in cells[-1].missing) is not answered
    # a file for each domain, but one for both of spam: its second domain asks again
    assert len(tried) == attempts + answered


def key(task, method, **options):
    return plan(Benchmark([task], [method], **options))[0].key


def test_keys_are_of_what_decides_the_result(tmp_path):
    task, method = Task("make_rotated_moons"), Method("A", "JDA")
    first = key(task, method)
    assert key(replace(task, name="other"), replace(method, name="B"), title="t", limits=Limits(1)) == first
    others = [
        key(replace(task, options={"noise": 0.2}), method),
        key(replace(task, preprocess=["zscore"]), method),
        key(replace(task, sample={"source_per_class": 3}), method),
        key(task, replace(method, model="TJM")),
        key(task, replace(method, steps=["unit-rows"])),
        plan(Benchmark([task], [method], trials=2))[1].key,
    ]
    assert len({first, *others}) == 7
    for name in "abc":
        np.savez(tmp_path / f"{name}.npz", X=np.eye(4), y=[0, 0, 1, 1])
    np.savez(tmp_path / "c.npz", X=np.eye(4), y=[0, 1, 1, 1])

    def of_files(a, b):
        return key(Task({"files": {"a": str(tmp_path / a), "b": str(tmp_path / b)}}), method)

    assert of_files("a.npz", "b.npz") == of_files("b.npz", "a.npz")  # what is in the files, not where they lie
    assert of_files("a.npz", "c.npz") != of_files("a.npz", "b.npz")


def test_builds_nested_estimators():
    svc = {"estimator": "SVC", "params": {"kernel": "linear"}}
    model = build({"estimator": "JDA", "params": {"n_components": 5, "estimator": svc}})
    assert isinstance(model, JDA)
    assert isinstance(model.estimator, SVC)
    assert model.estimator.kernel == "linear"
    search = build({"estimator": "GridSearchCV", "params": {"estimator": svc, "param_grid": {"C": [1.0, 2.0]}}})
    assert isinstance(search, LabeledOnly)  # a classifier sees the source only
    assert isinstance(search.estimator, GridSearchCV)
    pipeline = build([{"estimator": "StandardScaler"}, "CORAL", svc])
    assert isinstance(pipeline, Pipeline)
    assert isinstance(pipeline[1], CORAL)
    assert isinstance(pipeline[2], LabeledOnly)


def test_seeds_what_is_left_open():
    forest = {"estimator": "RandomForestClassifier"}
    assert seeded(build({"estimator": "JDA", "params": {"estimator": forest}}), 7).estimator.random_state == 7
    forest = {"estimator": "RandomForestClassifier", "params": {"random_state": 3}}
    assert seeded(build(forest), 7).estimator.random_state == 3


def test_steps():
    X = np.array([[1.0, 3.0], [0.0, 0.0], [4.0, 4.0], [8.0, 0.0]])
    X.flags.writeable = False
    domains = np.array([0, 0, -1, -1])
    found = {name: preprocess([name], X, domains) for name in STEPS}
    np.testing.assert_allclose(found["row-sum"], [[0.25, 0.75], [0, 0], [0.5, 0.5], [1, 0]])
    np.testing.assert_allclose(np.linalg.norm(found["unit-rows"], axis=1), [1, 0, 1, 1])
    np.testing.assert_allclose(found["zscore"].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found["zscore-per-domain"], [[1, 1], [-1, -1], [-1, 1], [1, -1]])
    np.testing.assert_allclose(found["log1p"], np.log([[2, 4], [1, 1], [5, 5], [9, 1]]))
    holes = np.where(X == 8, np.nan, X)
    np.testing.assert_allclose(preprocess(["impute-median"], holes, domains)[3], [1, 0])
    np.testing.assert_allclose(
        preprocess(["row-sum", "zscore"], X, domains), preprocess(["zscore"], found["row-sum"], domains)
    )
    with pytest.raises(ValueError, match="log1p"):
        preprocess(["log1p"], X - 5, domains)


@pytest.mark.parametrize("name", presets())
def test_presets_can_be_planned(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DATA", str(tmp_path))
    benchmark = load_preset(name)
    cells = plan(benchmark, fetch=False)
    pairs = {(cell.task, cell.pair) for cell in cells}
    for published in benchmark.published:
        assert {(published.dataset, pair) for pair in published.figures} <= pairs
    assert all(json.loads(json.dumps(cell.work)) for cell in cells)


def test_unknown_preset():
    with pytest.raises(ValueError, match="did you mean 'quick'"):
        load_preset("quik")


def test_another_content_of_a_file_is_another_cell(tmp_path):
    """A result is kept for what was in the files, not for what they are called."""
    for hospital in ("cleveland", "va"):
        (tmp_path / f"processed.{hospital}.data").write_text("63,1,1,145,233,1,2,150,0,2.3,3,0,6,0\n")
    task = Task("heart-disease", options={"data_home": str(tmp_path), "download_if_missing": False})
    benchmark = Benchmark([task], [Method("1-NN", "OneNearestNeighbor")])

    def keys():
        return {cell.pair: cell.key for cell in plan(benchmark, fetch=False) if not cell.missing}

    before = keys()
    assert set(before) == {"cleveland->va", "va->cleveland"}
    assert keys() == before
    (tmp_path / "processed.va.data").write_text("41,0,2,130,204,0,2,172,0,1.4,1,0,3,0\n")
    assert all(key != before[pair] for pair, key in keys().items())
