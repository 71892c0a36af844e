"""What is measured: functions of the data that mark their parts with ``clock(name)`` and return further figures.

The second half of the rows is the target (y == -1). Libraries are imported inside, since the jobs of the peers run in
another environment.
"""

from __future__ import annotations

import numpy as np
from peers import adapt, pykale, skada

__all__ = ["accuracy", "adapt", "dense", "floor", "matrix", "neighbours", "ours", "pykale", "skada"]


def _model(name: str, options: dict):
    import shallowda

    options = dict(options)
    if options.get("estimator") == "centroid":
        from centroids import Centroids

        options["estimator"] = Centroids()
    return getattr(shallowda, name)(**options)


def ours(X, y, clock, name: str, options: dict, times: int = 1) -> dict:
    """Fit one of our estimators and predict the target rows, some times in succession."""
    model = _model(name, options)
    for _ in range(times):
        with clock("fit"):
            model.fit(X, y)
        with clock("predict"):
            labels = model.predict(X[len(X) // 2 :])
    return {"passes": getattr(model, "n_iter_", None), "labels_hash": _checksum(labels)}


def dense(X, y, clock, name: str, options: dict) -> dict:
    """Fit the dense textbook solution and label the target rows."""
    import textbook

    with clock("fit"):
        solution = getattr(textbook, name)(X, y, **options)
    return {"passes": solution.passes, "labels_hash": _checksum(solution.labels)}


def _checksum(labels: np.ndarray) -> int:
    """Equal for equal labels."""
    import zlib

    return zlib.crc32(np.asarray(labels, dtype=np.int64).tobytes())


def floor(X, y, clock, name: str) -> None:
    """The operations that bound the methods from below."""
    half = len(X) // 2
    if name == "gram":
        with clock("fit"):
            X.T @ X
    elif name == "product":
        with clock("fit"):
            X @ X.T
    elif name == "block":
        K = X @ X.T
        block = np.random.default_rng(0).standard_normal((len(X), 32)).astype(X.dtype)
        with clock("fit"):
            K @ block
    elif name == "covariances":
        with clock("fit"):
            for rows in (X[:half], X[half:]):
                centred = rows - rows.mean(axis=0)
                centred.T @ centred
    elif name == "covariance roots":
        with clock("fit"):
            for rows in (X[:half], X[half:]):
                centred = rows - rows.mean(axis=0)
                np.linalg.eigh(centred.T @ centred)
    elif name in ("pca", "two pcas", "two pcas arpack"):
        from sklearn.decomposition import PCA

        solver = "arpack" if name.endswith("arpack") else "covariance_eigh"
        with clock("fit"):
            for rows in (X,) if name == "pca" else (X[:half], X[half:]):
                PCA(30, svd_solver=solver, random_state=0).fit(rows)
    else:
        raise ValueError(f"unknown floor {name!r}")


def matrix(X, y, clock, kernel: str, library: str) -> None:
    """A kernel matrix of all rows."""
    if library == "sklearn":
        from sklearn.metrics.pairwise import pairwise_kernels

        with clock("fit"):
            pairwise_kernels(X, metric=kernel, gamma=1.0)
    else:
        from shallowda.kernels.pairwise import Kernel

        with clock("fit"):
            Kernel(kernel, gamma=1.0)(X)


def neighbours(X, y, clock, library: str) -> dict:
    """Label the second half of the rows by the nearest row of the first half."""
    half = len(X) // 2
    if library == "sklearn":
        from sklearn.neighbors import KNeighborsClassifier

        model = KNeighborsClassifier(1, algorithm="brute")
    else:
        model = _model("OneNearestNeighbor", {"metric": "euclidean"})
    with clock("fit"):
        model.fit(X[:half], y[:half])
    with clock("predict"):
        labels = model.predict(X[half:])
    return {"labels_hash": _checksum(labels)}


def accuracy(X, y, clock, paths: dict, dtype: str) -> dict:
    """Distance of every path to the dense float64 solution of its problem: see `distance`."""
    return {"paths": {label: distance(X, y, name, options, dtype) for label, (name, options) in paths.items()}}


def distance(X, y, name: str, options: dict, dtype: str) -> dict:
    """Distance of a fitted estimator to the dense float64 solution of its problem.

    ``angle`` is the largest principal angle between the two subspaces, in radians; where the result is not a subspace
    (CORAL's map, G, scores) it is the relative difference in the Frobenius norm, and ``quantity`` says so. JDA and BDA
    are compared for the labels that they settled on.
    """
    import textbook

    model = _model(name, options).fit(X.astype(dtype), y)
    half, kernel, gamma = len(X) // 2, options.get("kernel"), options.get("gamma")
    X = np.asarray(X, dtype=np.float64)
    Xs, Xt = X[:half], X[half:]
    quantity = "angle"
    if name in ("TCAEstimator", "JDA", "BDA", "TJM"):
        kernel = kernel or ("linear" if name == "TJM" else None)
        if name == "TCAEstimator":
            weights = textbook.tca(X, y, kernel, gamma).weights
        elif name == "TJM":
            weights = textbook.tjm(X, y, kernel, gamma, passes=model.n_iter_).weights
        else:
            weights = textbook.jda(X, y, kernel, gamma, labels=model.pseudo_labels_, max_iter=1).weights
        expected = X.T @ weights if kernel == "linear" else weights
        value = _angle(model.components_.T, expected)
    elif name == "SubspaceAlignment":
        source, target = textbook.subspace_alignment(Xs, Xt)
        value = max(_angle(model.components_.T, target), _angle(model.source_components_.T, source))
    elif name == "GFK":
        quantity, factor = "difference", model.components_.astype(np.float64)
        value = _difference(factor.T @ factor, textbook.gfk(Xs, Xt))
    elif name == "CORAL":
        quantity = "difference"
        moved = (Xs - Xs.mean(axis=0)) @ textbook.coral(Xs, Xt, options["ridge"]) + Xt.mean(axis=0)
        value = _difference(model.transform(X[:half].astype(dtype), sample_domain=np.ones(half)), moved)
    else:
        quantity = "difference"
        scores = textbook.artl(X, y, kernel or "linear", gamma)
        value = _difference(model.decision_function(X.astype(dtype)), scores)
    history = getattr(model, "history_", {})
    return {"angle": value, "quantity": quantity, "stopped": history.get("stopped")}


def _angle(actual: np.ndarray, expected: np.ndarray) -> float:
    from scipy.linalg import subspace_angles

    return float(subspace_angles(np.asarray(actual, dtype=np.float64), expected).max())


def _difference(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
