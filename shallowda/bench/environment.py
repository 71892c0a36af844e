"""What a run ran on."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from shallowda import __version__

__all__ = ["environment", "versions"]


@cache
def versions() -> dict[str, str]:
    """Versions of what computes.

    Returns
    -------
    versions : dict of str to str
    """
    found = {"python": platform.python_version(), "shallowda": __version__}
    for name in ("numpy", "scipy", "scikit-learn", "numba", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, Any]:
    """Machine, versions, BLAS, and the commit of this package's source tree if it is one.

    Returns
    -------
    environment : dict
    """
    libraries = (f"{entry['internal_api']} {entry['version']}" for entry in threadpool_info())
    return {
        "versions": versions(),
        "blas": ", ".join(dict.fromkeys(libraries)),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "commit": _commit(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Commit of the tree that this file is in; with a plus where tracked files differ from it."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):  # no git, or none that answers
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # an environment inside some other project's tree is not that project
    if not git("ls-files", "--error-unmatch", Path(__file__).name):
        return None
    return f"{git('rev-parse', 'HEAD')}{'+' if git('status', '--porcelain', '--untracked-files=no') else ''}"
