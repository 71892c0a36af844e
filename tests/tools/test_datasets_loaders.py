"""Finding, downloading and checking the files of the data sets; and the real ones where they are at hand."""

import gc
import hashlib
import inspect
import logging
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from shallowda.datasets import (
    DATASETS,
    DomainDataset,
    available_domains,
    fetch_amazon_reviews,
    fetch_coil20,
    fetch_digits,
    fetch_gas_drift,
    fetch_msrc_voc,
    fetch_office_caltech10,
    fetch_spam,
    store,
)
from shallowda.datasets._files import GASES

ALL = [("office-caltech10", {"features": kind}) for kind in ("surf", "decaf6", "googlenet")]
ALL += [(name, {}) for name in DATASETS if name != "office-caltech10"]
KEYS = [f"{name}[{options['features']}]" if options else name for name, options in ALL]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("SHALLOWDA_DATA", raising=False)


def surf(path, low=0, n=30, width=800, **arrays):
    """A file like those of SURF features; each class is there."""
    rng = np.random.default_rng(n)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"fts": rng.poisson(1.0, (n, width)).astype(float), "labels": np.arange(n)[:, None] % 10 + low}
    scipy.io.savemat(path, content | arrays)
    return path


# The registry


def test_registry_is_complete():
    assert list(store.registry()) == KEYS
    for key, entry in store.registry().items():
        assert {"feature_description", "licence", "citation", "source", "folders", "n_features"} <= entry.keys(), key
        assert len(set(entry["classes"])) == len(entry["classes"]) >= 2
        for file in entry["files"]:
            assert ("url" in file) == ("sha256" in file)
            if "url" in file:
                assert len(file["sha256"]) == 64
                commit = file["url"].split("/")[2]
                assert len(commit) == 40, "a branch may move"
                assert file["url"].endswith(file["names"][0])


@pytest.mark.parametrize("name", DATASETS)
def test_loaders_are_alike_and_documented(name):
    function = DATASETS[name]
    parameters = inspect.signature(function).parameters
    assert [*parameters][-3:] == ["domains", "data_home", "download_if_missing"]
    text = inspect.getdoc(function)
    options = {"features": "surf"} if name == "office-caltech10" else {}
    key = KEYS[ALL.index((name, options))]
    for domain in {domain for file in store.registry()[key]["files"] for domain in file["domains"]} - {
        f"batch{number}" for number in range(2, 10)
    }:
        assert domain in text


# Looking for files


@pytest.mark.parametrize(
    "place",
    [
        "office_caltech10_surf/amazon_SURF_L10.mat",
        "office_caltech_surf/amazon_SURF_L10.mat",
        "amazon_SURF_L10.mat",
        "amazon.mat",
        "office_caltech10_surf/amazon.mat",
        "office_caltech_jdw_mats/trad_amazon.mat",
    ],
)
def test_files_are_found_by_any_name(tmp_path, place):
    surf(tmp_path / place, low=1)
    assert available_domains("office-caltech10", data_home=tmp_path) == ("amazon",)
    data = fetch_office_caltech10(domains=["amazon"], data_home=tmp_path, download_if_missing=False)
    assert data.domain_names == ("amazon",)
    assert data.y.tolist() == (np.arange(30) % 10).tolist()
    assert data.target_names[:2] == ("back_pack", "bike")


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    surf(tmp_path / "webcam.mat")
    monkeypatch.setenv("SHALLOWDA_DATA", str(tmp_path))
    assert available_domains("office-caltech10") == ("webcam",)
    assert available_domains("office-caltech10", data_home=tmp_path / "other") == ()
    assert available_domains("office-caltech10", domains=["dslr", "webcam"]) == ("webcam",)


def test_the_order_of_domains_is_the_user_s(tmp_path):
    for number, name in enumerate(("amazon", "dslr")):
        surf(tmp_path / f"{name}.mat", n=30 + number)
    data = fetch_office_caltech10(domains=("dslr", "amazon"), data_home=tmp_path, download_if_missing=False)
    assert data.domain_names == ("dslr", "amazon")
    assert [len(data.domain(name)[0]) for name in data.domain_names] == [31, 30]


def test_missing_files_are_named_with_places_and_remedies(tmp_path):
    surf(tmp_path / "amazon.mat")
    with pytest.raises(FileNotFoundError) as error:
        fetch_office_caltech10(data_home=tmp_path, download_if_missing=False)
    for text in (
        "Caltech10_SURF_L10.mat (caltech)",
        "dslr_SURF_L10.mat",
        str(tmp_path / "office_caltech10_surf"),
        "SHALLOWDA_DATA",
        "data_home",
        "domains=",
        "download_if_missing=True",
    ):
        assert text in str(error.value)
    assert "amazon_SURF_L10.mat" not in str(error.value)


@pytest.mark.parametrize(
    ("domains", "message"), [(["books", "toys"], "some of books"), ([], "some of"), (["dvd"] * 2, "each once")]
)
def test_unknown_domains(tmp_path, domains, message):
    with pytest.raises(ValueError, match=message):
        fetch_amazon_reviews(domains=domains, data_home=tmp_path)


def test_unknown_names_and_options():
    with pytest.raises(ValueError, match="no data set 'mnist'; known are office-caltech10"):
        available_domains("mnist")
    with pytest.raises(TypeError, match="features"):
        available_domains("digits", features="surf")
    with pytest.raises(ValueError, match="features must be one of surf, decaf6, googlenet"):
        fetch_office_caltech10("vgg")


def test_domains_without_public_copy_are_left_out_aloud(tmp_path, caplog):
    for number in (1, 2, 3, 4, 5, 6, 8, 9, 10):
        rows = "".join(f"{gas} {' '.join('1:0.5' for _ in range(128))}\n" for gas in range(1, 7))
        (tmp_path / f"batch{number}.dat").write_text(rows)
    with caplog.at_level(logging.WARNING, "shallowda"):
        data = fetch_gas_drift(data_home=tmp_path, download_if_missing=False)
    assert data.domain_names == tuple(f"batch{number}" for number in (1, 2, 3, 4, 5, 6, 8, 9, 10))
    assert "left out batch7" in caplog.text
    assert [data.target_names[code] for code in data.domain("batch10")[1]] == list(GASES.values())
    with pytest.raises(FileNotFoundError, match="no known public copy of batch7"):
        fetch_gas_drift(domains="batch7", data_home=tmp_path)


def test_another_content_is_told_and_used(tmp_path, caplog):
    surf(tmp_path / "amazon.mat")
    with caplog.at_level(logging.WARNING, "shallowda"):
        fetch_office_caltech10(domains="amazon", data_home=tmp_path)
    assert "amazon.mat is not the published file byte by byte" in caplog.text


# What a file must be


def test_labels_from_0_and_from_1_are_the_same_classes(tmp_path):
    surf(tmp_path / "amazon.mat", low=0)
    surf(tmp_path / "dslr.mat", low=1)
    data = fetch_office_caltech10(domains=["amazon", "dslr"], data_home=tmp_path)
    np.testing.assert_array_equal(data.domain("amazon")[1], data.domain("dslr")[1])


@pytest.mark.parametrize(
    ("labels", "codes"),
    [
        ([0, 3, 4], [0, 3, 4]),  # from 0, since there is a 0
        ([10, 3, 4], [9, 2, 3]),  # from 1, since there is a 10
        (["mug", "bike", "mug"], [8, 1, 8]),
    ],
)
def test_labels_of_some_classes(tmp_path, labels, codes):
    np.savez(tmp_path / "amazon.npz", fts=np.ones((3, 800)), labels=labels)
    (tmp_path / "amazon.npz").rename(tmp_path / "amazon.mat")  # content decides
    assert fetch_office_caltech10(domains="amazon", data_home=tmp_path).y.tolist() == codes


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([2, 3, 4], "beyond doubt"),
        ([0, 3, 10], "beyond doubt"),
        ([-1, 3, 4], "beyond doubt"),
        (["mug", "cat", "mug"], "unknown classes cat"),
    ],
)
def test_labels_that_are_no_classes(tmp_path, labels, message):
    np.savez(tmp_path / "amazon.npz", fts=np.ones((3, 800)), labels=labels)
    (tmp_path / "amazon.npz").rename(tmp_path / "amazon.mat")
    with pytest.raises(ValueError, match=rf"amazon\.mat.*{message}"):
        fetch_office_caltech10(domains="amazon", data_home=tmp_path)


def test_signs_are_two_classes(tmp_path):
    scipy.io.savemat(tmp_path / "kitchen_400.mat", {"fts": np.ones((4, 400)), "labels": [[-1, 1, 1, -1]]})
    assert fetch_amazon_reviews(domains="kitchen", data_home=tmp_path).y.tolist() == [0, 1, 1, 0]


def test_other_features_under_the_name(tmp_path):
    surf(tmp_path / "amazon.mat", width=1024)
    with pytest.raises(ValueError, match=r"amazon\.mat: 1024 features; office-caltech10\[surf\] has 800"):
        fetch_office_caltech10(domains="amazon", data_home=tmp_path)
    assert fetch_office_caltech10("googlenet", domains="amazon", data_home=tmp_path).X.shape == (30, 1024)


def test_scaled_counts_are_told(tmp_path):
    surf(tmp_path / "amazon.mat", fts=np.random.default_rng(0).normal(size=(30, 800)))
    with pytest.warns(UserWarning, match="holds no counts"):
        fetch_office_caltech10(domains="amazon", data_home=tmp_path)


@pytest.mark.parametrize(
    ("fetch", "file", "swapped", "width", "n_classes", "names"),
    [
        (fetch_digits, "MNIST_vs_USPS.mat", "USPS_vs_MNIST.mat", 256, 10, ("MNIST", "USPS")),
        (fetch_coil20, "COIL_1.mat", "COIL_2.mat", 1024, 20, ("COIL1", "COIL2")),
        (fetch_coil20, "COIL1_vs_COIL2.mat", "COIL_2.mat", 1024, 20, ("COIL1", "COIL2")),
        (fetch_msrc_voc, "MSRC_vs_VOC.mat", "VOC_vs_MSRC.mat", 240, 6, ("MSRC", "VOC")),
    ],
)
@pytest.mark.parametrize("style", [("X_src", "Y_src", "X_tar", "Y_tar"), ("Xs", "Ys", "Xt", "Yt")])
def test_pairs_in_a_file(tmp_path, fetch, file, swapped, width, n_classes, names, style):
    rng = np.random.default_rng(0)
    sizes = (2 * n_classes, 3 * n_classes)
    X = [rng.random((width, size)) for size in sizes]
    y = [np.arange(size)[:, None] % n_classes + 1 for size in sizes]
    scipy.io.savemat(tmp_path / file, dict(zip(style, (X[0], y[0], X[1], y[1]), strict=True)))
    data = fetch(data_home=tmp_path, download_if_missing=False)
    for name, rows, labels in zip(names, X, y, strict=True):
        np.testing.assert_array_equal(data.domain(name)[0], rows.T)
        np.testing.assert_array_equal(data.domain(name)[1], labels.ravel() - 1)
    (tmp_path / file).unlink()
    scipy.io.savemat(tmp_path / swapped, dict(zip(style, (X[1], y[1], X[0], y[0]), strict=True)))
    np.testing.assert_array_equal(fetch(data_home=tmp_path, download_if_missing=False).X, data.X)


def test_spam_is_cut_at_its_borders(tmp_path):
    D, y = np.arange(4 * 4272).reshape(4, 4272), np.array([[1], [2], [1], [2]])
    scipy.io.savemat(tmp_path / "da_sm_spam.mat", {"D": D, "y": y, "domains": np.array([[0, 1, 4]])})
    data = fetch_spam(data_home=tmp_path)
    np.testing.assert_array_equal(data.domain("mail")[0], D[1:])
    assert data.domain("mail")[1].tolist() == [1, 0, 1]
    assert data.target_names == ("ham", "spam")


# Downloads


class Server(ThreadingHTTPServer):
    """Files by path; counts what is asked for, and can break off."""

    daemon_threads = False  # closing waits for them

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.ranges, self.broken, self.resumes = {}, [], [], False, True
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path.rpartition("/")[2])
        content = self.server.files.get(self.path[1:])
        if content is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked[len("bytes=") : -1]) if asked and self.server.resumes else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : len(content) // 2 if self.server.broken else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The public copies of the SURF files, small ones, at a server of our own."""
    made = Server()
    entry = store.registry()["office-caltech10[surf]"]
    files = []
    for number, file in enumerate(entry["files"]):
        content = surf(tmp_path / "made" / file["names"][0], n=30 + number).read_bytes()
        made.files[file["url"]] = content
        files.append(file | {"sha256": hashlib.sha256(content).hexdigest()})
    monkeypatch.setattr(store, "HOST", made.url)
    monkeypatch.setattr(store, "registry", lambda: {"office-caltech10[surf]": entry | {"files": files}})
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()
    with warnings.catch_warnings():  # requests leaves the socket of a download that broke off to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home of the user" / "data"


def stray(home):
    return [path for path in home.rglob("*") if path.is_file() and not path.name.endswith("_SURF_L10.mat")]


def test_what_is_missing_is_downloaded_once(server, home):
    surf(home / "amazon.mat")
    data = fetch_office_caltech10(data_home=home)
    assert data.domain_names == ("amazon", "caltech", "dslr", "webcam")
    assert server.asked == ["Caltech10_SURF_L10.mat", "dslr_SURF_L10.mat", "webcam_SURF_L10.mat"]
    assert (home / "office_caltech10_surf" / "dslr_SURF_L10.mat").is_file()
    again = fetch_office_caltech10(data_home=home, download_if_missing=False)
    np.testing.assert_array_equal(again.X, data.X)
    assert len(server.asked) == 3


def test_another_hash_is_refused_and_not_kept(server, home):
    for url in server.files:
        server.files[url] += b"more"
    with pytest.raises(ValueError, match=r"(?s)hash.*dslr_SURF_L10\.mat"):
        fetch_office_caltech10(domains="dslr", data_home=home)
    assert available_domains("office-caltech10", data_home=home) == ()
    assert not stray(home)


@pytest.mark.parametrize("resumes", [True, False])
def test_an_interrupted_download_goes_on(server, home, resumes):
    fetch_office_caltech10(domains="amazon", data_home=home)
    server.broken = True
    with pytest.raises(FileNotFoundError, match=r"dslr_SURF_L10\.mat \(dslr\).*The download failed: .* is kept"):
        fetch_office_caltech10(domains=["amazon", "dslr"], data_home=home)
    assert available_domains("office-caltech10", data_home=home) == ("amazon",)
    half = (home / "office_caltech10_surf" / "dslr_SURF_L10.mat.part").stat().st_size
    server.broken, server.resumes = False, resumes
    fetch_office_caltech10(domains=["amazon", "dslr"], data_home=home)
    assert server.asked == ["amazon_SURF_L10.mat", "dslr_SURF_L10.mat", "dslr_SURF_L10.mat"]
    assert server.ranges == [None, None, f"bytes={half}-"]
    assert half > 0
    assert not stray(home)


def test_what_is_no_beginning_of_the_file_is_replaced(server, home):
    part = home / "office_caltech10_surf" / "dslr_SURF_L10.mat.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(10**6))  # longer than the file
    fetch_office_caltech10(domains="dslr", data_home=home)
    assert not stray(home)
    (part.parent / "dslr_SURF_L10.mat").unlink()
    part.write_bytes(bytes(100))  # other content: the hash tells, and it starts anew
    fetch_office_caltech10(domains="dslr", data_home=home)
    assert not stray(home)


def test_a_whole_file_that_was_not_moved_is_not_downloaded_again(server, home):
    part = home / "office_caltech10_surf" / "dslr_SURF_L10.mat.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(next(content for url, content in server.files.items() if url.endswith("dslr_SURF_L10.mat")))
    fetch_office_caltech10(domains="dslr", data_home=home)
    assert server.asked == []
    assert not stray(home)


def test_downloads_at_the_same_time(server, home):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: fetch_office_caltech10(domains="dslr", data_home=home).X, range(8)))
    assert all(np.array_equal(X, found[0]) for X in found)
    assert server.asked == ["dslr_SURF_L10.mat"]  # who waited found it there
    assert not stray(home)


def test_a_file_that_is_gone(server, home):
    server.files.clear()
    with pytest.raises(FileNotFoundError, match=r"404 .*Put the files there"):
        fetch_office_caltech10(domains=["dslr", "webcam"], data_home=home)
    assert len(server.asked) == 1


def test_offline(home, monkeypatch):
    monkeypatch.setattr(store, "HOST", "http://127.0.0.1:9/")
    with pytest.raises(FileNotFoundError) as error:
        fetch_office_caltech10(data_home=home)
    assert "The download failed" in str(error.value)
    assert all(name in str(error.value) for name in ("amazon_SURF_L10", "Caltech10_SURF_L10", "SHALLOWDA_DATA"))


def test_a_folder_that_cannot_be_written(server, home):
    home.parent.mkdir()
    home.write_text("a file where the folder should be")
    with pytest.raises(FileNotFoundError, match="The download failed"):
        fetch_office_caltech10(domains="dslr", data_home=home)


def test_progress_on_a_terminal(server, home, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    fetch_office_caltech10(domains="dslr", data_home=home)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "dslr_SURF_L10.mat" in captured.err


def test_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install shallowda\[data\]"):
        available_domains("digits")
    with pytest.raises(ImportError, match=r"pip install shallowda\[data\]"):
        fetch_digits(data_home=tmp_path)
    surf(tmp_path / "amazon.mat")
    fetch_office_caltech10(domains="amazon", data_home=tmp_path)  # local files need nothing


# The real files


@pytest.fixture(scope="module")
def real():
    if not os.environ.get("SHALLOWDA_DATA"):
        pytest.skip("SHALLOWDA_DATA is not set: it names the folder of the public benchmark files")
    return Path(os.environ["SHALLOWDA_DATA"])


@pytest.mark.parametrize(("name", "options"), ALL, ids=KEYS)
def test_real_files(real, name, options, caplog):
    found = available_domains(name, data_home=real, **options)
    if not found:
        pytest.skip(f"no file of {name} in {real}")
    data = DATASETS[name](domains=found, data_home=real, download_if_missing=False, **options)
    assert isinstance(data, DomainDataset)
    assert data.domain_names == found
    assert not caplog.records  # byte by byte as published
    assert name == "heart-disease" or np.isfinite(data.X).all()
    assert set(np.unique(data.y)) == set(range(len(data.target_names)))


def test_real_pictures_are_the_same_whatever_the_features(real):
    both = set.intersection(
        *(
            set(available_domains("office-caltech10", data_home=real, features=kind))
            for kind in ("surf", "decaf6", "googlenet")
        )
    )
    if not both:
        pytest.skip(f"no domain with all features in {real}")
    for domain in both:
        labels = [
            fetch_office_caltech10(kind, domains=domain, data_home=real).y for kind in ("surf", "decaf6", "googlenet")
        ]
        np.testing.assert_array_equal(labels[0], labels[1])
        np.testing.assert_array_equal(labels[0], labels[2])
