"""A copy of the source tree, its distributions, and a Python process that knows nothing of where the tests run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

FILES = [
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "MANIFEST.in",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "setup.py",
]
FOLDERS = ["kernels", "shallowda", "tests"]


def run_python(*arguments: str | Path, cwd: Path, path: Path | None = None) -> str:
    """Run Python in ``cwd`` with nothing but ``path`` in PYTHONPATH, and return what it prints."""
    env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONSAFEPATH"}}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    result = subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()


def build_wheel(source: Path, target: Path) -> Path:
    """Build the wheel of a tree or of an archive as pip does, without network."""
    command = ["-m", "pip", "wheel", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    run_python(*command, "--wheel-dir", target, source, cwd=target)
    (archive,) = target.iterdir()
    return archive


@pytest.fixture(scope="session")
def python() -> Callable[..., str]:
    return run_python


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tree(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files in a folder with a space in its name, without what builds and runs leave behind."""
    target = tmp_path_factory.mktemp("check") / "a checkout"
    target.mkdir()
    for name in FILES:
        shutil.copy(root / name, target)
    for name in FOLDERS:
        shutil.copytree(root / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb[ci]"))
    return target


@pytest.fixture(scope="session")
def setuptools() -> None:
    """Skip where the installed setuptools cannot build the project."""
    module = pytest.importorskip("setuptools", reason="building without network needs setuptools")
    if int(module.__version__.split(".")[0]) < 77:
        pytest.skip(f"building needs setuptools >= 77, installed is {module.__version__}")


@pytest.fixture(scope="session")
def sdist(tree: Path, setuptools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("sdist")
    run_python("-c", f"from setuptools import build_meta; build_meta.build_sdist({str(target)!r})", cwd=tree)
    (archive,) = target.iterdir()
    return archive


@pytest.fixture(scope="session")
def wheel(tree: Path, setuptools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tree, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def wheel_of_sdist(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(sdist, tmp_path_factory.mktemp("wheel-of-sdist"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked where an installer would put it."""
    target = tmp_path_factory.mktemp("site")
    with ZipFile(wheel) as archive:
        archive.extractall(target)
    return target
