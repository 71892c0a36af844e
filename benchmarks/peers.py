"""The other libraries, in an environment of their own: ``python benchmarks/peers.py`` installs them.

They bring TensorFlow and pins of their own, so they never share the environment of shallowda. numpy, scipy and
scikit-learn are the same releases in both. A peer that cannot be installed or imported is skipped, with the reason.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-peers"
PINS = HERE / "peers.txt"
SHARED = ["numpy", "scipy", "scikit-learn"]


class Peer(NamedTuple):
    """How to install a library, and what to import to see that it works."""

    module: str
    requirements: list[str]
    alone: bool = False  # without its declared dependencies: those named in `requirements` are what these fits import


PEERS = {
    "skada": Peer("skada", []),
    # declares tensorflow, with the libraries of its GPU build
    "adapt": Peer("adapt.feature_based", ["tensorflow-cpu", "keras", "scikeras", "cvxopt"], alone=True),
    # declares torch, torchvision and lightning, which MIDA does not use
    "pykale": Peer("kale.embed.factorization", ["tensorly"], alone=True),
}


def python(environment: Path = ENVIRONMENT) -> Path:
    """Interpreter of the environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def install(
    names: list[str], environment: Path = ENVIRONMENT, pins: Path = PINS
) -> tuple[dict[str, str], dict[str, str]]:
    """Install what is missing; return the version of each peer that works, and why each other one is skipped."""
    versions: dict[str, str] = {}
    skipped: dict[str, str] = {}
    if not python(environment).exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    for name in names:
        try:
            versions[name] = _working(name, environment, pins)
        except subprocess.CalledProcessError as error:
            skipped[name] = last_line(error.stderr)
    return versions, skipped


def _working(name: str, environment: Path, pins: Path) -> str:
    peer = PEERS[name]
    interpreter = str(python(environment))
    shared = [f"{package}=={version(package)}" for package in SHARED]
    pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--constraint", str(pins)]
    looks = f"import {peer.module}; from importlib.metadata import version; print(version({name!r}))"
    pinned = [line for line in pins.read_text().splitlines() if line.startswith(f"{name}==")]

    def check() -> str:
        # from a neutral folder: -c puts the current one on the path
        return _run([interpreter, "-c", looks], cwd=tempfile.gettempdir()).split()[-1]

    try:
        if f"{name}=={check()}" in pinned:
            return check()
    except subprocess.CalledProcessError:
        pass  # not installed yet
    _run([*pip, *shared, *peer.requirements, *([] if peer.alone else [name])])
    if peer.alone:
        _run([*pip, "--no-deps", name])
    return check()


def _run(command: list[str], **options) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def last_line(text: str) -> str:
    """The line of an error output that says what happened."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or line.startswith("ERROR")]
    return (errors or lines or ["no output"])[-1][:300]


# What follows runs inside the environment of the peers. Every fit ends with the labels of the target rows, by one
# nearest neighbour.


def skada(X: np.ndarray, y: np.ndarray, method: str, options: dict, clock) -> None:
    """TCA, TJM, CORAL or SA of skada."""
    import skada
    from sklearn.neighbors import KNeighborsClassifier

    adapter = {
        "TCA": skada.TransferComponentAnalysisAdapter,
        "TJM": skada.TransferJointMatchingAdapter,
        "CORAL": skada.CORALAdapter,
        "SA": skada.SubspaceAlignmentAdapter,
    }[method]
    domains = np.where(y != -1, 1, -2)
    model = skada.make_da_pipeline(adapter(**options), KNeighborsClassifier(1))
    with clock("fit"):
        model.fit(X, y.copy(), sample_domain=domains)
    with clock("predict"):
        model.predict(X[len(X) // 2 :], sample_domain=domains[len(X) // 2 :])


def adapt(X: np.ndarray, y: np.ndarray, method: str, options: dict, clock) -> None:
    """TCA, CORAL or SA of adapt."""
    import adapt.feature_based
    from sklearn.neighbors import KNeighborsClassifier

    half = len(X) // 2
    model = getattr(adapt.feature_based, method)(KNeighborsClassifier(1), verbose=0, random_state=0, **options)
    with clock("fit"):
        model.fit(X[:half], y[:half], Xt=X[half:])
    with clock("predict"):
        model.predict(X[half:], domain="tgt")


def pykale(X: np.ndarray, y: np.ndarray, method: str, options: dict, clock) -> None:
    """MIDA of pykale."""
    from kale.embed.factorization import MIDA
    from sklearn.neighbors import KNeighborsClassifier

    half = len(X) // 2
    domains = np.eye(2)[(y == -1).astype(int)]
    model = {"MIDA": MIDA}[method](**options)
    with clock("fit"):
        Z = model.fit(X, y, group_labels=domains).transform(X[:half])
        classifier = KNeighborsClassifier(1).fit(Z, y[:half])
    with clock("predict"):
        classifier.predict(model.transform(X[half:]))


if __name__ == "__main__":
    for outcome in install(list(PEERS)):
        for peer, text in outcome.items():
            print(f"{peer}: {text}")
