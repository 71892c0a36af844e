"""Where the files of a data set are: in a folder of the user's, or downloaded into it."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from shallowda.core.progress import progress_bar

__all__ = ["domains_at_hand", "find", "folder", "known_domains", "obtain", "registry"]

HOST = "https://raw.githubusercontent.com/"
TIMEOUT = 30  # seconds without an answer
_CHUNK = 1 << 16  # bytes written at a time
BROKEN = "the connection broke off; what has arrived is kept, and the next try goes on from there"
logger = logging.getLogger("shallowda")


@cache
def registry() -> dict[str, Any]:
    """What is known of each data set: the content of ``registry.toml``.

    Returns
    -------
    registry : dict
    """
    return tomllib.loads(Path(__file__).with_name("registry.toml").read_text(encoding="utf-8"))


def known_domains(key: str) -> tuple[str, ...]:
    """Domains of a data set, at hand or not.

    Parameters
    ----------
    key : str
        Name in the registry.

    Returns
    -------
    domains : tuple of str
    """
    return tuple(dict.fromkeys(domain for file in registry()[key]["files"] for domain in file["domains"]))


def domains_at_hand(key: str, home: Path) -> tuple[str, ...]:
    """Domains of a data set whose files are in the data folder. The files are not read.

    Parameters
    ----------
    key : str
        Name in the registry.
    home : Path
        Of `folder`.

    Returns
    -------
    domains : tuple of str
        In the order of `known_domains`.
    """
    entry = registry()[key]
    found = {
        domain for file in entry["files"] if find(home, entry["folders"], file["names"]) for domain in file["domains"]
    }
    return tuple(domain for domain in known_domains(key) if domain in found)


def folder(data_home: str | os.PathLike[str] | None) -> Path:
    """The data folder: the argument, else ``SHALLOWDA_DATA``, else the cache folder of the user.

    Parameters
    ----------
    data_home : path-like or None

    Returns
    -------
    path : Path
        It may not exist.

    Raises
    ------
    ImportError
        If pooch is needed to name the cache folder, and missing.
    """
    if chosen := data_home or os.environ.get("SHALLOWDA_DATA"):
        return Path(chosen).expanduser()
    return Path(_pooch().os_cache("shallowda"))


def find(home: Path, folders: Sequence[str], names: Sequence[str]) -> Path | None:
    """The first file of one of these names, in one of these folders or in the data folder itself.

    Parameters
    ----------
    home : Path
    folders, names : sequence of str
        In order of preference.

    Returns
    -------
    path : Path or None
    """
    places = [home / name for name in folders] + [home]
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def obtain(
    key: str, domains: Sequence[str], data_home: str | os.PathLike[str] | None, download_if_missing: bool
) -> dict[str, tuple[Path, str]]:
    """File of each domain, and which part of it; downloads what is not at hand.

    Parameters
    ----------
    key : str
        Name in the registry.
    domains : sequence of str
    data_home : path-like or None
    download_if_missing : bool

    Returns
    -------
    found : dict
        Of (path, part) by domain.

    Raises
    ------
    FileNotFoundError
        If a file is neither at hand nor downloaded; says which, where it was looked for, and what to do.
    ValueError
        If a downloaded file is not the published one.
    """
    entry, home = registry()[key], folder(data_home)
    found, missing = {}, {}
    for domain in domains:
        offers = [file for file in entry["files"] if domain in file["domains"]]
        places = ((find(home, entry["folders"], file["names"]), file) for file in offers)
        path, file = next(((path, file) for path, file in places if path), (None, offers[0]))
        if path:
            _compare(path, [offer["sha256"] for offer in offers if "sha256" in offer])
            found[domain] = path, file["domains"][domain]
        else:
            missing[domain] = file
    reason, cause = "", None
    for domain, file in missing.items():
        if not download_if_missing or "url" not in file:
            continue
        try:
            path = _download(HOST + file["url"], file["sha256"], home / entry["folders"][0] / file["names"][0])
        except OSError as error:  # offline: the next one would fail too
            reason, cause = f" The download failed: {_told(error)}.", error
            break
        found[domain] = path, file["domains"][domain]
    if absent := {domain: file for domain, file in missing.items() if domain not in found}:
        raise FileNotFoundError(_advice(key, entry, home, absent, reason)) from cause
    return {domain: found[domain] for domain in domains}


def _advice(key: str, entry: Mapping[str, Any], home: Path, absent: Mapping[str, Any], reason: str) -> str:
    files = ", ".join(f"{file['names'][0]} ({domain})" for domain, file in absent.items())
    closed = [domain for domain, file in absent.items() if "url" not in file]
    places = ", ".join([*(str(home / name) for name in entry["folders"]), str(home)])
    return (
        f"{key}: {files} not found in {places}.{reason}"
        + (f" There is no known public copy of {', '.join(closed)}." if closed else "")
        + " Put the files there, set SHALLOWDA_DATA or data_home to the folder that holds them, allow the download "
        "with download_if_missing=True, or name the domains at hand with domains=."
    )


def _compare(path: Path, published: Sequence[str]) -> None:
    """A user's file may have been saved anew, so another content is told and not refused."""
    if published and hashlib.sha256(path.read_bytes()).hexdigest() not in published:
        logger.warning("%s is not the published file byte by byte; it is used as it is.", path)


def _download(url: str, sha256: str, path: Path) -> Path:
    logger.info("Downloading %s to %s", url, path)
    pooch = _pooch()
    pooch.get_logger().setLevel(logging.WARNING)  # it writes to stderr by itself
    from filelock import FileLock

    known, part = f"sha256:{sha256}", path.with_name(path.name + ".part")
    user, name = getattr(os, "getuid", str)(), hashlib.sha256(bytes(part.resolve())).hexdigest()[:16]
    # not beside the data, as it has to stay: who waits for it must not hold a file that is gone
    with FileLock(Path(tempfile.gettempdir(), f"shallowda-{user}-{name}.lock")):
        # pooch takes what is there already, and moves only what has the right hash to where it belongs
        arrived = pooch.retrieve(
            url, known_hash=known, fname=path.name, path=path.parent, downloader=_Resuming(part, sha256)
        )
    return Path(arrived)


class _Resuming:
    """A downloader for pooch that goes on where an interrupted one stopped, if the server can (HTTP ranges).

    Parameters
    ----------
    part : Path
        What has arrived so far; kept when the connection breaks. One process at a time writes into it.
    sha256 : str
        Of the whole file: what is no beginning of it is not gone on with twice.
    """

    def __init__(self, part: Path, sha256: str) -> None:
        self.part, self.sha256 = part, sha256

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        begun = self.part.exists()
        if not (begun and self._is_whole()):
            self._fetch(url)
            if begun and not self._is_whole():  # it was no beginning of this file
                self.part.unlink()
                self._fetch(url)
        shutil.move(self.part, output_file)

    def _is_whole(self) -> bool:
        with self.part.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256

    def _fetch(self, url: str) -> None:
        while not self._fetched(url):
            self.part.unlink()

    def _fetched(self, url: str) -> bool:
        import requests

        offset = self.part.stat().st_size if self.part.exists() else 0
        wanted = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        with requests.get(url, headers=wanted, stream=True, timeout=TIMEOUT) as answer:
            if offset and answer.status_code == requests.codes.requested_range_not_satisfiable:
                return False
            answer.raise_for_status()
            resumed = answer.status_code == requests.codes.partial_content
            if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                return False
            offset = offset if resumed else 0
            length = answer.headers.get("Content-Length")
            with _progress() as bar, self.part.open("ab" if resumed else "wb") as file:
                task = bar.add_task(self.part.stem, total=int(length) + offset if length else None, completed=offset)
                try:
                    for chunk in answer.iter_content(_CHUNK):
                        file.write(chunk)
                        bar.advance(task, len(chunk))
                except requests.RequestException as error:
                    raise OSError(BROKEN) from error
        return True


def _progress() -> Any:
    """A progress bar on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    return progress_bar(*columns, shown=sys.stderr.isatty())


def _told(error: OSError) -> str:
    """Why a download failed, in a few words: errors of connections carry pages."""
    import requests

    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT} s"
    return f"no connection to {HOST.split('/')[2]}" if isinstance(error, requests.ConnectionError) else str(error)


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "Downloading data, and naming the folder for it, needs pooch: pip install shallowda[data]. Without it, set "
            "SHALLOWDA_DATA or data_home to a folder that holds the files."
        ) from error
    return pooch
