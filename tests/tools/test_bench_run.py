"""Running a benchmark: limits, crashes, kills, full disks, and going on afterwards."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from shallowda.bench import Benchmark, Limits, Method, Task, pending, plan, read_results, run, worker
from shallowda.bench import runner as runner_module
from shallowda.bench.store import Store
from shallowda.datasets import make_rotated_moons

ROOT = Path(__file__).resolve().parents[2]
MOONS = Task("make_rotated_moons", name="moons", options={"n_samples": 40}, pairs=[["0deg", "30deg"]])
FOREVER = {"max_iter": 10**9, "tol": 0.0, "n_iter_no_change": 10**9}
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="limits are those of a forked process")


def work(model="OneNearestNeighbor", task=MOONS, steps=(), trials=1):
    return plan(Benchmark([task], [Method("method", model, steps)], trials=trials), fetch=False)[-1].work


def result_lines(folder):
    path = folder / "results.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [record for record in map(json.loads, lines) if record["kind"] == "cell"]


def patient(ask):
    """Holds no cell but the endless one to its seconds: how long the others take is for the machine to say."""

    def asked(self, request, seconds):
        more = 0 if str(FOREVER["max_iter"]) in json.dumps(request["work"]) else 1000
        return ask(self, {**request, "seconds": request["seconds"] + more}, seconds + more)

    return asked


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One run of everything that can happen to a cell."""
    folder = tmp_path_factory.mktemp("ran")
    np.savez(folder / "a.npz", X=np.eye(6), y=[0, 0, 0, 1, 1, 1])
    (folder / "damaged.npz").write_bytes(b"PK\x03\x04 this is no archive")
    damaged = Task({"files": {"a": str(folder / "a.npz"), "b": str(folder / "damaged.npz")}}, pairs=[["a", "b"]])
    missing = Task({"files": {"a": str(folder / "a.npz"), "b": "nowhere.npz"}}, name="missing", pairs=[["a", "b"]])
    wide = {"estimator": "PolynomialFeatures", "params": {"degree": 20000}}
    benchmark = Benchmark(
        [MOONS, damaged, missing],
        [
            Method("1-NN", "OneNearestNeighbor"),
            Method("JDA", {"estimator": "JDA", "params": {"n_components": 2, "kernel": "rbf"}}),
            Method("endless", {"estimator": "MLPClassifier", "params": FOREVER}, datasets=["moons"]),
            Method("greedy", [wide, "OneNearestNeighbor"], datasets=["moons"]),
            Method("wrong", "OneNearestNeighbor", ["log1p"], datasets=["moons"]),
        ],
        limits=Limits(seconds=4, memory="1GiB"),
    )
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner_module._Server, "ask", patient(runner_module._Server.ask))
        results = run(benchmark, folder / "out", n_jobs=2, command="as given", each=seen.append)
    return benchmark, folder / "out", results, seen


def status(ran, task, method):
    benchmark, _, results, _ = ran
    (cell,) = [cell for cell in plan(benchmark) if (cell.task, cell.method) == (task, method)]
    return results[cell.key]


@forks
def test_every_end_is_recorded(ran):
    ok = status(ran, "moons", "1-NN")
    assert ok["status"] == "ok"
    assert (ok["n_source"], ok["n_target"], ok["n_features"], ok["n_classes"]) == (40, 40, 2, 2)
    assert ok["versions"]["numpy"] == np.__version__
    assert 20 * 2**20 < ok["peak_memory"] < 2**30
    assert status(ran, "moons", "JDA")["status"] == "ok"
    late = status(ran, "moons", "endless")
    assert (late["status"], late["message"]) == ("timeout", "not done within 4 seconds")
    wrong = status(ran, "moons", "wrong")
    assert wrong["status"] == "failed"
    assert "log1p" in wrong["message"]
    assert "Traceback" in wrong["traceback"]
    damaged = status(ran, "files", "JDA")
    assert damaged["status"] == "failed"
    assert "damaged.npz" in damaged["message"]
    missing = status(ran, "missing", "JDA")
    assert missing["status"] == "skipped"
    assert "nowhere.npz" in missing["message"]


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory holds on Linux")
def test_memory_is_bounded(ran):
    greedy = status(ran, "moons", "greedy")
    assert greedy["status"] == "memory"
    assert "allocate" in greedy["message"]


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory holds on Linux")
def test_memory_that_is_too_little_to_begin_with(tmp_path):
    benchmark = Benchmark([MOONS], [Method("1-NN", "OneNearestNeighbor")], limits=Limits(seconds=20, memory=1000))
    (result,) = run(benchmark, tmp_path).values()
    assert (result["status"], result["message"]) == ("memory", "out of memory")


def test_accuracy_is_that_of_the_estimator(ran):
    data = make_rotated_moons(40, random_state=0)
    Xs, ys, Xt, yt = data.pair("0deg", "30deg")
    truth = KNeighborsClassifier(1, metric="cosine").fit(Xs, ys).score(Xt, yt)
    assert status(ran, "moons", "1-NN")["accuracy"] == pytest.approx(truth)


@forks
def test_a_second_run_does_nothing_and_a_third_tries_failures_again(ran):
    benchmark, out, results, seen = ran
    assert len(seen) == 7  # all but the two cells without data
    before = (out / "results.jsonl").read_bytes()
    again = []
    assert run(benchmark, out, begin=again.extend) == results
    assert again == []
    assert (out / "results.jsonl").read_bytes() == before
    cells = plan(benchmark)

    def methods(limits, retry_failed):
        return sorted(cell.method for cell in pending(cells, results, limits, retry_failed) if cell.task == "moons")

    assert methods(benchmark.limits, True) == ["endless", "greedy", "wrong"]
    assert methods(replace(benchmark.limits, seconds=5), False) == ["endless"]
    assert methods(replace(benchmark.limits, memory="2GiB"), False) == ["greedy"]


def test_what_ran_is_recorded(ran):
    benchmark, out, results, _ = ran
    (about,), _ = read_results(out / "results.jsonl")
    assert about["command"] == "as given"
    assert about["jobs"] == 2
    assert about["environment"]["versions"]["numpy"] == np.__version__
    assert about["environment"]["cores"] == os.cpu_count()
    assert [method["name"] for method in about["benchmark"]["methods"]] == [method.name for method in benchmark.methods]
    assert {record["run"] for record in results.values() if record["status"] == "ok"} == {about["run"]}


def test_target_labels_are_not_seen(monkeypatch):
    asked = []

    class Spy(KNeighborsClassifier):
        def fit(self, X, y, sample_domain):
            asked.append((y, sample_domain))
            return super().fit(X, np.maximum(y, 0))

    monkeypatch.setattr(worker, "build", lambda model: Spy())
    assert worker.run_cell(work())["status"] == "ok"
    ((y, domains),) = asked
    assert set(y[domains < 0]) == {-1}
    assert set(y[domains >= 0]) == {0, 1}


def test_several_sources_are_told_apart(monkeypatch):
    asked = {}

    class Spy(KNeighborsClassifier):
        def fit(self, X, y, sample_domain):
            asked.update(zip(*np.unique(sample_domain, return_counts=True), strict=True))
            return super().fit(X, y)

    monkeypatch.setattr(worker, "build", lambda model: Spy())
    options = {"n_samples": 10, "angles": [0, 20, 40]}
    task = Task("make_rotated_moons", options=options, pairs=[[["0deg", "40deg"], "20deg"]])
    assert worker.run_cell(work(task=task))["status"] == "ok"
    assert asked == {0: 10, 1: 10, -1: 10}


def test_draws_differ_by_trial_and_not_by_method():
    task = replace(
        MOONS,
        options={"n_samples": 40, "random_state": 0},
        sample={"source_per_class": {"0deg": 5}, "target_per_class": 3},
    )
    first, same = worker.run_cell(work(task=task)), worker.run_cell(work("CORAL", task=task))
    assert (first["n_source"], first["n_target"]) == (10, 6)
    assert first["data"] == same["data"]
    assert first["data"] != worker.run_cell(work(task=task, trials=2))["data"]
    assert worker.run_cell(work(task=replace(task, sample={"source_per_class": 1000})))["n_source"] == 40


def test_warnings_and_logs_are_kept(monkeypatch):
    def load(*arguments):
        logging.getLogger("shallowda").warning("an odd file")
        return make_rotated_moons(40, random_state=0)

    monkeypatch.setattr(worker, "load", load)
    result = worker.run_cell(work({"estimator": "MLPClassifier", "params": {"max_iter": 2}}))
    assert "an odd file" in result["warnings"]
    assert any(text.startswith("ConvergenceWarning") for text in result["warnings"])


def test_without_fork_a_server_runs_one_cell(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "fork", raising=False)
    with (tmp_path / "requests").open("w+") as requests, (tmp_path / "answers").open("w+") as answers:
        requests.write(json.dumps({"work": work(), "seconds": 5, "memory": 2**30}) + "\nnot asked\n")
        requests.seek(0)
        worker.serve(requests, answers)
        answers.seek(0)
        ready, answer = answers.read().splitlines()
    assert ready == "ready"
    assert json.loads(answer)["last"]
    assert json.loads(answer)["result"]["status"] == "ok"


def record(key, **more):
    return {"kind": "cell", "key": key, "status": "ok", "text": "x" * 50, **more}


@pytest.mark.parametrize("cut", [1, 2, 40, 85])
def test_a_torn_line_is_cut_off(tmp_path, cut, caplog):
    with Store(tmp_path) as store:
        for key in "abc":
            store.append(record(key))
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with Store(tmp_path) as store:
        assert list(store.cells) == ["a", "b"]
        store.append(record("d"))
    assert "incomplete" in caplog.text
    assert list(read_results(path)[1]) == ["a", "b", "d"]


def test_a_spoiled_line_costs_one_cell(tmp_path, caplog):
    path = tmp_path / "results.jsonl"
    spoiled = ["\0\0\0", '{"kind": "cell"}', '{"kind": "cell", "key": "c"}', '{"kind": "run"}', "[]", "[" * 10**5]
    lines = [json.dumps(record("a")), *spoiled, json.dumps(record("b"))]
    path.write_text("\n".join(lines) + "\n")
    with Store(tmp_path) as store:
        assert list(store.cells) == ["a", "b"]
    assert caplog.text.count("is not a result") == len(spoiled)


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    write = os.write
    with Store(tmp_path) as store:
        store.append(record("a"))
        room = [30]

        def full(file, data):
            if not room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            done, room[0] = write(file, data[: room[0]]), 0
            return done

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(OSError, match=r"No space.*results\.jsonl"):
                store.append(record("b"))
        assert len(result_lines(tmp_path)) == 1
        store.append(record("c"))
    assert list(read_results(store.path)[1]) == ["a", "c"]


def test_one_run_at_a_time(tmp_path):
    with Store(tmp_path), pytest.raises(RuntimeError, match="in use by another run"), Store(tmp_path):
        pass
    with Store(tmp_path):  # free again
        pass


def test_a_server_that_does_not_start_ends_the_run(tmp_path, monkeypatch):
    (tmp_path / "shallowda.py").write_text("raise ImportError('broken on purpose')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(RuntimeError, match=r"(?s)does not start.*broken on purpose"):
        run(Benchmark([MOONS], [Method("1-NN", "OneNearestNeighbor")]), tmp_path / "out")


def has_child(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if children.exists():
        return bool(children.read_text())
    return subprocess.run(["pgrep", "-P", str(pid)], capture_output=True).returncode == 0


def ended_within(seconds, signal_processes):
    """Whether there comes a time when a signal finds no process: one that was killed stays until it is waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            signal_processes()
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@forks
def test_killed_processes_cost_their_cell_only(tmp_path, monkeypatch):
    servers, Server = [], runner_module._Server

    def noted(one_thread):
        servers.append(Server(one_thread))
        return servers[-1]

    def kill_the_server():
        while not servers or not has_child(servers[0]._process.pid):
            time.sleep(0.1)  # until it has forked for the first cell
        os.kill(servers[0]._process.pid, signal.SIGKILL)

    monkeypatch.setattr(runner_module, "_Server", noted)
    threading.Thread(target=kill_the_server, daemon=True).start()
    benchmark = Benchmark(
        [MOONS],
        [Method("endless", {"estimator": "MLPClassifier", "params": FOREVER}), Method("1-NN", "OneNearestNeighbor")],
        limits=Limits(seconds=100),
    )
    results = run(benchmark, tmp_path)
    endless, nearest = results.values()
    assert (endless["status"], nearest["status"]) == ("failed", "ok")
    assert "SIGKILL" in endless["message"]
    assert len(servers) == 2
    assert ended_within(60, lambda: os.killpg(servers[0]._process.pid, 0))  # nothing of the first group is left


MANY = """
trials = 12
[[tasks]]
dataset = "make_rotated_moons"
options = {n_samples = 100}
pairs = [["0deg", "30deg"]]
[[methods]]
name = "1-NN"
model = "OneNearestNeighbor"
[[methods]]
name = "JDA"
model = {estimator = "JDA", params = {n_components = 2, kernel = "rbf"}}
"""
AND_ENDLESS = """
[[methods]]
name = "endless"
model = {estimator = "MLPClassifier", params = {max_iter = 1000000000, tol = 0.0, n_iter_no_change = 1000000000}}
"""


@pytest.fixture
def start(tmp_path):
    """Start ``shallowda bench`` on many cells, and wait until the file has this many lines."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    arguments = ["bench", "many.toml", "--jobs", "2", "--out", "out"]

    def started(lines, cells=MANY):
        (tmp_path / "many.toml").write_text(cells)
        process = subprocess.Popen(
            [sys.executable, "-m", "shallowda.cli", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        while lines is not None and len(result_lines_so_far(tmp_path)) < lines and process.poll() is None:
            time.sleep(0.02)
        return process

    return started


def result_lines_so_far(tmp_path):
    path = tmp_path / "out" / "results.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


@forks
@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost(tmp_path, start):
    kept = 0
    for lines in (2, 9, 17):
        process = start(lines)
        process.kill()
        process.communicate()
        with (tmp_path / "out" / "results.jsonl").open("ab") as file:
            file.write(b'{"kind": "cell", "key": "half a li')  # as if it had been writing
        done = [line for line in result_lines_so_far(tmp_path)[:-1] if b'"cell"' in line]
        assert len(done) >= kept
        kept = len(done)
    process = start(None)
    out, err = process.communicate()
    assert process.returncode == 0, err
    cells = result_lines(tmp_path / "out")
    assert len(cells) == len({cell["key"] for cell in cells}) == 24  # each once: what was done was not done again
    assert {cell["status"] for cell in cells} == {"ok"}
    assert "24 ok" in out


@forks
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_and_goes_on(tmp_path, start, number, code):
    process = start(4, MANY + AND_ENDLESS)  # however fast the others are, it is not done when the signal comes
    process.send_signal(number)
    _, err = process.communicate(timeout=100)
    assert process.returncode == code, err
    assert "Traceback" not in err
    before = result_lines(tmp_path / "out")
    assert len(before) >= 3
    process = start(None)
    _, err = process.communicate()
    assert process.returncode == 0, err
    after = result_lines(tmp_path / "out")
    assert after[: len(before)] == before
    assert len(after) == 24
