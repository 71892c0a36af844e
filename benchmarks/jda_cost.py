"""Time and peak memory of JDA against PCA of the same array, in one run: ``python benchmarks/jda_cost.py``.

Each fit runs in a process of its own (peak memory is a process figure), interleaved over three rounds; medians are
printed. Memory is the peak resident size beyond that of the process with the data loaded. The classes overlap, so that
the labels keep changing and JDA makes its ten passes.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FITS = ["PCA covariance_eigh", "PCA default", "JDA kernel=None", "JDA kernel=linear"]


def make_rows(n: int, d: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian mixture of 31 classes with a power-law spectrum; the second half is the moved target."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 31
    spectrum = np.arange(1, d + 1) ** -0.5
    X = (0.35 * rng.standard_normal((31, d)))[labels] * spectrum + rng.standard_normal((n, d)) * spectrum
    X[n // 2 :] += 0.5 * rng.standard_normal(d) * spectrum
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = labels.copy()
    y[n // 2 :] = -1
    return X.astype(dtype), y


def run_one(name: str, path: str) -> None:
    """Fit once; print seconds, MiB and passes."""
    from sklearn.decomposition import PCA

    from shallowda import JDA

    X, y = np.load(path), np.load(path.replace("X.npy", "y.npy"))
    models = {
        "PCA covariance_eigh": PCA(30, svd_solver="covariance_eigh"),
        "PCA default": PCA(30, random_state=0),
        "JDA kernel=None": JDA(30, max_iter=10),
        "JDA kernel=linear": JDA(30, kernel="linear", max_iter=10),
    }
    model = models[name]
    model.fit(X[::10, :50].copy(), y[::10])  # imports and threads
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(seconds, peak, getattr(model, "n_iter_", 0))


def main() -> None:
    """Run all fits in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--dtype", default="float64", choices=["float32", "float64"])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(*options.one)
        return
    seen: dict[str, list[list[float]]] = {name: [] for name in FITS}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "X.npy")
        X, y = make_rows(options.rows, options.features, options.dtype)
        np.save(path, X)
        np.save(path.replace("X.npy", "y.npy"), y)
        for _ in range(3):
            for name in FITS:
                command = [sys.executable, __file__, "--one", name, path]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                seen[name].append([float(value) for value in out.split()])
    print(f"{options.rows} x {options.features} {options.dtype}: medians of 3")
    base = statistics.median(run[0] for run in seen[FITS[0]])
    for name, runs in seen.items():
        seconds, memory = (statistics.median(run[i] for run in runs) for i in (0, 1))
        passes = f"  {int(runs[0][2])} passes" if runs[0][2] else ""
        print(f"{name:22s} {seconds:7.2f} s  {seconds / base:5.2f} x  {memory:7.0f} MiB beyond the input{passes}")


if __name__ == "__main__":
    main()
