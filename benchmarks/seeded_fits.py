"""Some sixty seeded fits, to see that a change of the code left every result as it was.

    python benchmarks/seeded_fits.py before.npz              # on the old code
    python benchmarks/seeded_fits.py after.npz before.npz    # on the new code: what differs, and by how much

Kept of every fit are the predictions, the embedding or the scores of all rows, the objectives and the fitted arrays.
One BLAS thread; both files have to come from one machine. The exit status is 1 where a result differs at all.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # read when NumPy and SciPy load their BLAS

import argparse
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from shallowda import (
    ARTL,
    BDA,
    CORAL,
    GFK,
    JDA,
    TJM,
    AutoAdapt,
    PerDomain,
    SubspaceAlignment,
    TCAEstimator,
    make_pipeline,
)

#: Rows and features of the data sets, and their dtype.
SIZES = {
    "tall": (240, 12, np.float64),
    "wide": (90, 140, np.float64),
    "float32": (240, 12, np.float32),
    "iterative": (1400, 24, np.float64),  # above the order of dense solvers, for kernels
}


def rows(n: int, d: int, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four overlapping classes and a shift, in mixed order: rows, labels with marks, and labels."""
    rng = np.random.default_rng(n + d)
    truth = rng.integers(4, size=n)
    target = rng.permutation(np.arange(n) % 5 < 2)
    X = 2.5 * np.eye(d)[truth] + rng.normal(size=(n, d)) * np.linspace(1.4, 0.6, d)
    X[target] += rng.normal(size=d)
    X[target, 3] *= 1.5
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X.astype(dtype), np.where(target, -1, truth), truth


def models() -> Iterator[tuple[str, Any, str]]:
    """Name, model, and the data it is fitted on."""
    with_kernels = {"TCA": TCAEstimator, "JDA": JDA, "BDA": BDA, "TJM": TJM, "ARTL": ARTL}
    for data in ("tall", "wide", "float32"):
        for name, kind in with_kernels.items():
            components = {} if kind is ARTL else {"n_components": 4}
            for kernel in ("linear", "rbf") if kind in (TJM, ARTL) else (None, "linear", "rbf"):
                yield f"{name} {kernel}", kind(kernel=kernel, **components), data
        yield "SA", SubspaceAlignment(4), data
        yield "SA auto", SubspaceAlignment("auto"), data
        yield "CORAL", CORAL(0.1), data
        yield "GFK", GFK(4), data
    for name, kind in with_kernels.items():
        components = {} if kind is ARTL else {"n_components": 4}
        yield f"{name} rbf", kind(kernel="rbf", **components), "iterative"
        yield f"{name} landmarks", kind(kernel="rbf", n_landmarks=60, **components), "iterative"
    logistic = LogisticRegression(max_iter=1000)
    yield "TCA paper", TCAEstimator(4, mmd_scaling="paper", component_scale="constraint", ridge=0.01), "tall"
    yield "JDA paper", JDA(4, mmd_scaling="paper", ridge=0.1, max_iter=30), "tall"
    yield "JDA logistic", JDA(4, estimator=logistic), "tall"
    yield "JDA laplacian", JDA(4, kernel="laplacian"), "tall"
    yield "JDA 20 passes", JDA(4, ridge=0.01, max_iter=20), "iterative"
    yield "BDA distance", BDA(4, mu="a_distance", max_iter=4), "tall"
    yield "BDA weighted", BDA(4, mu=0.2, weighted=True), "tall"
    yield "ARTL hinge", ARTL("hinge"), "tall"
    yield "ARTL hinge rbf", ARTL("hinge", kernel="rbf", max_iter=5), "tall"
    yield "ARTL 10 passes", ARTL(max_iter=10, mmd_scaling="paper", estimator=logistic), "tall"
    yield "CORAL pseudo-inverse", CORAL(0, align_mean=False, estimator=logistic), "tall"
    yield "GFK pls", GFK(4, source_basis="pls"), "tall"
    yield "pipeline", make_pipeline(PerDomain(StandardScaler()), CORAL(), logistic), "tall"
    yield "AutoAdapt", AutoAdapt(scoring={}), "tall"


def results() -> dict[str, np.ndarray]:
    """What every fit gives, as arrays by name."""
    found: dict[str, np.ndarray] = {}
    for name, model, data in models():
        X, y, truth = rows(*SIZES[data])
        domain = np.where(y == -1, -1, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = model.fit(X, y)
            found |= {f"{data}/{name}/{key}": value for key, value in _of(fitted, X, domain).items()}
    for name, model in {"TCA": TCAEstimator(4), "CORAL": CORAL(0.1), "SA": SubspaceAlignment(4), "GFK": GFK(4)}.items():
        X, y, truth = rows(*SIZES["tall"])
        for part in np.array_split(np.arange(len(X)), 3):
            model.partial_fit(X[part], truth[part], sample_domain=np.where(y[part] == -1, -1, 0))
        found |= {f"in parts/{name}/{key}": value for key, value in _of(model, X, np.where(y == -1, -1, 0)).items()}
    return found


def _of(fitted: Any, X: np.ndarray, domain: np.ndarray) -> dict[str, np.ndarray]:
    kept = {"predict": fitted.predict(X)}
    if hasattr(fitted, "decision_function") and not hasattr(fitted, "transform"):
        kept["decision_function"] = fitted.decision_function(X)
    if hasattr(fitted, "transform"):
        kept["transform"] = fitted.transform(X)
        if not hasattr(fitted, "steps"):
            kept["by domain"] = fitted.transform(X, sample_domain=domain)
    for attribute, value in vars(fitted).items():
        if attribute.endswith("_") and isinstance(value, (np.ndarray, float)):
            kept[attribute] = np.asarray(value)
    for key, value in getattr(fitted, "history_", {}).items():
        if key in ("objective", "label_changes", "kept", "mu"):
            kept[f"history {key}"] = np.asarray(value)
    return kept


def compare(new: dict[str, np.ndarray], old: dict[str, np.ndarray]) -> list[str]:
    """A line for each result that is not the same to the last bit."""
    lines = [f"only before: {name}" for name in sorted(old.keys() - new.keys())]
    lines += [f"only after: {name}" for name in sorted(new.keys() - old.keys())]
    for name in sorted(new.keys() & old.keys()):
        one, other = new[name], old[name]
        if one.shape != other.shape or one.dtype != other.dtype:
            lines.append(f"{name}: {other.dtype} {other.shape} became {one.dtype} {one.shape}")
        elif one.tobytes() != other.tobytes():
            if one.dtype.kind == "f":
                change = np.abs(one - other).max() / max(np.abs(other).max(), 1e-300)
                lines.append(f"{name}: relative change {change:.1e}")
            else:
                lines.append(f"{name}: {int(np.sum(one != other))} of {one.size} differ")
    return lines


def main() -> int:
    """Fit, save, and compare where there is something to compare with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="file that the results are written to (.npz)")
    parser.add_argument("before", nargs="?", help="results of an earlier run to compare with")
    options = parser.parse_args()
    found = results()
    np.savez(options.output, **found)
    fits = len({name.rpartition("/")[0] for name in found})
    print(f"{fits} fits, {len(found)} arrays: {options.output}")
    if options.before is None:
        return 0
    with np.load(options.before) as before:
        lines = compare(found, dict(before))
    print("\n".join(lines) or "Every result is the same to the last bit.")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
