"""Nearest rows by chunked matrix products: never an m x n array."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

__all__ = ["cosine_knn_graph", "kernel_knn_graph", "nearest_row", "normalised_laplacian", "unit_rows"]

_BLOCK_BYTES = 64 * 2**20  # size of one block of products


def unit_rows(X: np.ndarray) -> np.ndarray:
    """Rows scaled to unit Euclidean norm; zero rows stay zero.

    Parameters
    ----------
    X : ndarray of shape (n, d)

    Returns
    -------
    X_unit : ndarray of shape (n, d)
    """
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(norms > 0, norms, 1)


def nearest_row(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Index of the row nearest to each query in Euclidean distance; the first one among equals.

    Uses ``argmin ||x||^2 / 2 - q.x`` after taking the mean of `rows` out of both, which keeps the digits that
    differences of large norms would lose. Cost: m n d; memory: one block of 64 MiB.

    Parameters
    ----------
    queries : ndarray of shape (m, d)
    rows : ndarray of shape (n, d)

    Returns
    -------
    index : ndarray of shape (m,), int
    """
    origin = rows.mean(axis=0)
    rows = rows - origin
    half_norms = 0.5 * np.einsum("ij,ij->i", rows, rows)
    step = max(1, _BLOCK_BYTES // (rows.itemsize * len(rows)))
    index = np.empty(len(queries), dtype=np.intp)
    for start in range(0, len(queries), step):
        block = (queries[start : start + step] - origin) @ rows.T
        np.subtract(half_norms, block, out=block)
        index[start : start + step] = block.argmin(axis=1)
    return index


def cosine_knn_graph(X: np.ndarray, n_neighbors: int) -> sp.csr_array:
    """Symmetric nearest-neighbour graph by cosine.

    Joins i and j, with weight cos(x_i, x_j), when one is among the other's `n_neighbors` nearest rows. A row is not its
    own neighbour. Edges of non-positive cosine are left out: they would make node degrees, and with them the normalised
    Laplacian, meaningless.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    n_neighbors : int
        Capped at n - 1.

    Returns
    -------
    graph : sparse array of shape (n, n), symmetric, non-negative
    """
    unit = unit_rows(X)
    return _knn_graph(lambda rows: unit[rows] @ unit.T, len(unit), n_neighbors)


def kernel_knn_graph(K: np.ndarray, n_neighbors: int) -> sp.csr_array:
    """`cosine_knn_graph` in the feature space of a kernel, where ``cos = K_ij / sqrt(K_ii K_jj)``.

    Parameters
    ----------
    K : ndarray of shape (n, n)
    n_neighbors : int

    Returns
    -------
    graph : sparse array of shape (n, n), symmetric, non-negative
    """
    norms = np.sqrt(np.clip(np.diag(K), 0.0, None))
    norms = np.where(norms > 0, norms, np.inf)
    return _knn_graph(lambda rows: K[rows] / norms[rows, None] / norms, len(K), n_neighbors)


def _knn_graph(similarity: Callable[[np.ndarray], np.ndarray], n: int, n_neighbors: int) -> sp.csr_array:
    """Graph from a function that gives the similarities (len(rows), n) of some rows to all."""
    k = min(n_neighbors, n - 1)
    if k < 1:
        return sp.csr_array((n, n))
    step = max(1, _BLOCK_BYTES // (8 * n))
    columns, weights = np.empty((n, k), dtype=np.intp), np.empty((n, k))
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        block = similarity(rows)
        block[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argpartition(block, n - k, axis=1)[:, n - k :]
        columns[rows], weights[rows] = nearest, np.take_along_axis(block, nearest, axis=1)
    graph = sp.csr_array((np.maximum(weights, 0).ravel(), (np.repeat(np.arange(n), k), columns.ravel())), shape=(n, n))
    graph = graph.maximum(graph.T)
    graph.eliminate_zeros()
    return graph


def normalised_laplacian(graph: sp.csr_array) -> sp.csr_array:
    """``I - D^{-1/2} W D^{-1/2}``; the row of a node without edges is that of the identity.

    Parameters
    ----------
    graph : sparse array of shape (n, n), symmetric, non-negative

    Returns
    -------
    laplacian : sparse array of shape (n, n), positive semi-definite
    """
    degrees = np.asarray(graph.sum(axis=1)).ravel()
    with np.errstate(divide="ignore"):
        inverse_root = np.where(degrees > 0, 1.0 / np.sqrt(degrees), 0.0)
    scale = sp.dia_array((inverse_root[None], [0]), shape=graph.shape)
    return sp.csr_array(sp.eye_array(graph.shape[0]) - scale @ graph @ scale)
