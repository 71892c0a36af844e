"""Data of the benchmarks: a Gaussian mixture with a power-law spectrum, whose second half is the moved target."""

from __future__ import annotations

from pathlib import Path

import numpy as np

N_CLASSES = 31
_CHUNK = 50_000  # rows drawn at a time; each chunk has a seed of its own


def make_rows(n: int, d: int, dtype: str = "float64", separation: float = 0.35) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows and labels, -1 in the second half.

    At the default separation the classes overlap, so that pseudo-labels keep changing and JDA makes all its passes.
    """
    X = np.empty((n, d), dtype=dtype)
    return X, fill_rows(X, separation)


def fill_rows(X: np.ndarray, separation: float = 0.35) -> np.ndarray:
    """Write the rows into X, which may be a memory map; return the labels."""
    n, d = X.shape
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, d + 1) ** -0.5
    means = separation * rng.standard_normal((N_CLASSES, d)) * spectrum
    shift = 0.5 * rng.standard_normal(d) * spectrum
    y = np.arange(n) % N_CLASSES
    for start in range(0, n, _CHUNK):
        rows = slice(start, min(start + _CHUNK, n))
        noise = np.random.default_rng([1, start]).standard_normal((rows.stop - start, d))
        block = means[y[rows]] + noise * spectrum
        block[max(0, n // 2 - start) :] += shift
        X[rows] = block / np.linalg.norm(block, axis=1, keepdims=True)
    y[n // 2 :] = -1
    return y


def save_rows(folder: Path, n: int, d: int, dtype: str, separation: float) -> tuple[Path, Path]:
    """Write X and y once, chunk by chunk; return the two files."""
    stem = f"{n}x{d}-{dtype}-{separation:g}"
    X_file, y_file = folder / f"{stem}-X.npy", folder / f"{stem}-y.npy"
    if not y_file.exists():
        X = np.lib.format.open_memmap(X_file, mode="w+", dtype=dtype, shape=(n, d))
        np.save(y_file, fill_rows(X, separation))
    return X_file, y_file
