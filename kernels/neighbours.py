"""Nearest rows by matrix products in blocks: never an m x n array.

The nearest row of a query q is the one with the largest score ``q.x - ||x||^2 / 2``, so that one matrix product ranks
all rows. For NumPy arrays that product only *screens*: it is done in float32 and only the best score of every short run
of rows (a tile) is kept. Rows that come within the error bound of the best are then compared by their float64
distances, where there is more than one. So the answer is exact, the product costs half of a float64 one, and no index
is carried through it. Per entry this is one multiply-add per feature plus one comparison, and all of it is BLAS or a
NumPy reduction on a block that stays in cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import entr, softmax

from shallowda.kernels import device
from shallowda.kernels.arrays import Array, alike, from_numpy, is_numpy, library, namespace, to_numpy
from shallowda.kernels.operators import Operator
from shallowda.kernels.pairwise import unit_rows
from shallowda.kernels.threads import in_threads, parts

__all__ = ["cosine_knn_graph", "kernel_knn_graph", "nearest_row", "normalised_laplacian", "soft_neighbourhood_entropy"]

_BLOCK_BYTES = 64 * 2**20  # one block of products in general code and in graphs
_QUERIES, _ROWS = 1152, 384  # one block of the screening product, the fastest of those that caches hold
_TILE, _MOST_TILES = 16, 4096  # rows in a tile, at least; tiles, at most
_FEW_QUERIES = 2  # up to which looking at every row costs less than making tiles of them (measured)
_FEW_TILES = 8  # a query with more tiles than this to compare is screened again in float64
_FUSED_FEATURES = 128  # up to which the CUDA kernel is used: wider rows make a plain product the better choice
_PARALLEL_FROM = 2**25  # entries of the product from which threads pay: those of an earlier product stay awake a while


def nearest_row(queries: Array, rows: Array) -> Array:
    """Index of the row nearest to each query in Euclidean distance; the first one among equals.

    For NumPy arrays this is the minimum of the distances computed in float64 as sums of squared differences, also for
    float32 input, and rows at equal distance are told apart by their order. For other arrays the distances come from
    products in the arrays' common dtype, so rows that are equally near to its rounding may be confused.

    The cost is quadratic, m n d; nothing else here is. NumPy: float32 products on as many threads as BLAS may use;
    queries that float32 cannot decide (many rows within its rounding of the nearest) take a float64 product more.

    Memory, NumPy: a copy of `rows` in float32 (and one in float64 if needed), and up to 25 MiB per thread; where a
    query has very many equally near rows, up to 200 MiB. Other libraries: a copy of `rows` and a block of 64 MiB.

    Parameters
    ----------
    queries : array of shape (m, d), float32 or float64
        Finite.
    rows : array of shape (n, d), n >= 1, of the same library
        Finite.

    Returns
    -------
    index : array of shape (m,), int
        Of the library of the queries.

    Raises
    ------
    ValueError
        If there is no row.
    TypeError
        If the arrays come from different libraries.
    """
    namespace(queries, rows)
    if not rows.shape[0]:
        raise ValueError("rows is empty, so no query has a nearest row.")
    if not is_numpy(queries):
        queries, rows = alike(queries, rows)
    if library(queries) == "cupy" and rows.shape[1] <= _FUSED_FEATURES:
        return device.nearest_row(queries, rows)
    if not is_numpy(queries):
        return _nearest_by_products(queries, rows)
    queries, rows = _moderate(queries, rows)
    if len(queries) <= _FEW_QUERIES:
        return np.array([_squares(rows, query).argmin() for query in queries], dtype=np.intp)
    index = _search(queries, rows, np.float32, _FEW_TILES)
    hard = np.flatnonzero(index < 0)
    if len(hard):  # often because of copies among the rows
        first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
        index[hard] = first[_search(queries[hard], rows[first], np.float64, _MOST_TILES)]
    return index


def _nearest_by_products(queries: Array, rows: Array) -> Array:
    xp = namespace(queries, rows)
    origin = xp.mean(rows, axis=0)  # differences of large norms would lose digits
    rows = rows - origin
    lifted = xp.concat([rows, xp.sum(rows * rows, axis=1, keepdims=True) / -2], axis=1).T
    ones = xp.ones((queries.shape[0], 1), dtype=queries.dtype, device=queries.device)
    found = [
        xp.argmax(xp.concat([queries[part, :] - origin, ones[part, :]], axis=1) @ lifted, axis=1)
        for part in parts(queries.shape[0], _block_length(rows))
    ]
    return xp.concat(found)


def _moderate(queries: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays times the same power of two where the squares of their entries leave the range of float32."""
    peak = max(float(max(array.max(initial=0), -array.min(initial=0))) for array in (queries, rows))
    if peak == 0 or 1e-15 < peak < 1e15:
        return queries, rows
    shift = -math.frexp(peak)[1]
    return np.ldexp(queries.astype(np.float64), shift), np.ldexp(rows.astype(np.float64), shift)


def _squares(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Squared distances of all rows to one query, in float64."""
    squares = np.empty(len(rows))
    for part in parts(len(rows), max(1, 2**17 // max(len(query), 1))):
        gaps = np.subtract(rows[part], query, dtype=np.float64)
        np.einsum("rd,rd->r", gaps, gaps, out=squares[part])
    return squares


def _search(queries: np.ndarray, rows: np.ndarray, dtype: type, most: int) -> np.ndarray:
    """Nearest rows, screened in `dtype`; -1 for queries with more than `most` tiles to compare."""
    index = np.empty(len(queries), dtype=np.intp)
    origin = rows.mean(axis=0, dtype=np.float64)
    tiles, reach = _tiles(rows, origin, dtype)

    def decide(part: slice) -> None:
        index[part] = _decide(queries[part], rows, origin, tiles, reach, most)

    parallel = len(queries) * len(rows) >= _PARALLEL_FROM
    in_threads(decide, len(queries), _QUERIES if parallel else 2 * _QUERIES, worthwhile=parallel)
    return index


def _tiles(rows: np.ndarray, origin: np.ndarray, dtype: type) -> tuple[np.ndarray, float]:
    """Centred rows with ``-||x||^2 / 2`` as one more column, in tiles (tiles, rows of one, d + 1); largest norm."""
    n, d = rows.shape
    size = max(_TILE, math.ceil(n / _MOST_TILES))
    tiles = np.empty((math.ceil(n / size), size, d + 1), dtype=dtype)
    flat, most = tiles.reshape(-1, d + 1), 0.0
    for part in parts(n, 4096):
        centred = rows[part] - origin
        half = np.einsum("ij,ij->i", centred, centred) / 2
        flat[part, :-1], flat[part, -1] = centred, -half
        most = max(most, half.max())
    flat[n:] = flat[n - 1]  # an equal that comes later is never chosen
    return tiles, math.sqrt(2 * most)


def _decide(
    queries: np.ndarray, rows: np.ndarray, origin: np.ndarray, tiles: np.ndarray, reach: float, most: int
) -> np.ndarray:
    """Nearest row of each query; -1 where more than `most` tiles are within rounding of the best."""
    m, (n_tiles, size, width) = len(queries), tiles.shape
    centred = queries - origin
    lifted = np.ones((width, m), dtype=tiles.dtype)
    lifted[:-1] = centred.T
    best = np.empty((n_tiles, m), dtype=tiles.dtype)  # largest score of each tile
    step = max(1, _ROWS // size)
    scores = np.empty((step * size, m), dtype=tiles.dtype)  # one for all blocks: new memory would cost page faults
    for part in parts(n_tiles, step):
        some = tiles[part]
        block = np.matmul(some.reshape(-1, width), lifted, out=scores[: len(some) * size])
        block.reshape(len(some), size, m).max(axis=1, out=best[part])
    # Each of the d + 1 terms of a score is rounded at most d + 5 times (eps is twice the unit of rounding); then the
    # rounding of the float64 distances, and that of tiny numbers.
    norms = np.sqrt(np.einsum("ij,ij->i", centred, centred))
    limits = np.finfo(tiles.dtype)
    error = (width + 5) * (
        limits.eps * (norms * reach + reach**2 / 2) + np.finfo(np.float64).eps * (norms + reach) ** 2 + limits.tiny
    )
    floor = np.nextafter((best.max(axis=0) - 2 * error).astype(tiles.dtype), tiles.dtype.type(-np.inf))
    tile, query = np.divmod(np.flatnonzero(best >= floor), m)
    decided = np.bincount(query, minlength=m) <= most
    tile, query = tile[decided[query]], query[decided[query]]
    # in these tiles, the rows within the error bound: nearly always there is one, and nothing left to compare
    wanted, several = np.ascontiguousarray(lifted.T), np.bincount(query, minlength=m) > 1
    row, distance = np.empty(len(tile), dtype=np.intp), np.empty(len(tile))
    for part in parts(len(tile), max(1, 2**17 // (size * width))):
        asking = query[part]
        near = np.einsum("prd,pd->pr", tiles[tile[part]], wanted[asking]) >= floor[asking, None]
        distances = np.where(near, 0.0, np.inf)
        pair, place = np.nonzero(near & (several[asking] | (near.sum(axis=1) > 1))[:, None])
        members = np.minimum(tile[part, None] * size + np.arange(size), len(rows) - 1)
        gaps = np.subtract(rows[members[pair, place]], queries[asking[pair]], dtype=np.float64)
        distances[pair, place] = np.einsum("pd,pd->p", gaps, gaps)
        nearest = distances.argmin(axis=1)[:, None]
        row[part] = np.take_along_axis(members, nearest, axis=1)[:, 0]
        distance[part] = np.take_along_axis(distances, nearest, axis=1)[:, 0]
    index = np.full(m, -1, dtype=np.intp)
    order = np.lexsort((row, distance, query))[::-1]
    index[query[order]] = row[order]  # the last one written, the nearest, stays
    return index


def _block_length(rows: Array) -> int:
    """How many vectors with an entry for each row make a block."""
    itemsize = namespace(rows).finfo(rows.dtype).bits // 8
    return max(1, _BLOCK_BYTES // (itemsize * rows.shape[0]))


def soft_neighbourhood_entropy(rows: np.ndarray, temperature: float) -> float:
    """Mean entropy of each row's similarities to the others: cosines over a temperature, made shares by softmax.

    Cost: n^2 d, in blocks.

    Parameters
    ----------
    rows : ndarray of shape (n, d), n >= 2
    temperature : float > 0

    Returns
    -------
    entropy : float
        Between 0 (each row has one neighbour) and log(n - 1) (all others are equally near).
    """
    unit, total = unit_rows(rows), 0.0
    for part in parts(len(unit), _block_length(unit)):
        scores = unit[part] @ unit.T / temperature
        scores[np.arange(len(scores)), np.arange(part.start, part.stop)] = -np.inf
        shares = softmax(scores, axis=1)
        total += float(entr(shares).sum())
    return total / len(unit)


def cosine_knn_graph(X: Array, n_neighbors: int) -> sp.csr_array:
    """Symmetric nearest-neighbour graph by cosine.

    Joins i and j, with weight cos(x_i, x_j), when one is among the other's `n_neighbors` nearest rows; among equals the
    first rows are nearest. A row is not its own neighbour, and a zero row has none. Edges of non-positive cosine are
    left out: they would make node degrees, and with them the normalised Laplacian, meaningless.

    Quadratic: n^2 d for the products, nearly all the time. Memory: about four blocks of 64 MiB, and the graph.

    Parameters
    ----------
    X : array of shape (n, d), float32 or float64
        Where it is on a device, the products are made there.
    n_neighbors : int
        Capped at n - 1.

    Returns
    -------
    graph : SciPy sparse array of shape (n, n), symmetric, non-negative, float64
    """
    unit = unit_rows(X)
    return _knn_graph(lambda part: unit[part, :] @ unit.T, unit, n_neighbors)


def kernel_knn_graph(K: Operator, n_neighbors: int) -> sp.csr_array:
    """`cosine_knn_graph` in the feature space of a kernel, where ``cos = K_ij / sqrt(K_ii K_jj)``.

    Needs every entry of K once, in blocks of columns of 64 MiB (about four at a time).

    Parameters
    ----------
    K : Operator of shape (n, n), symmetric and positive semi-definite
        Anything with `shape`, `diagonal()` and `columns(index)`.
    n_neighbors : int

    Returns
    -------
    graph : SciPy sparse array of shape (n, n), symmetric, non-negative, float64
    """
    diagonal = K.diagonal()
    xp = namespace(diagonal)
    norms = xp.sqrt(xp.where(diagonal > 0, diagonal, xp.full_like(diagonal, xp.inf)))

    def cosines(part: slice) -> Array:
        columns = K.columns(from_numpy(np.arange(part.start, part.stop), like=norms))
        return (columns / norms[:, None] / norms[part]).T

    return _knn_graph(cosines, norms, n_neighbors)


def _knn_graph(cosines: Callable[[slice], Array], like: Array, n_neighbors: int) -> sp.csr_array:
    """Graph from a function that gives, in a new array, the cosines (b, n) of some rows to all; `like` has n rows."""
    xp, n = namespace(like), like.shape[0]
    k = min(n_neighbors, n - 1)
    if k < 1:
        return sp.csr_array((n, n))
    columns, weights = np.empty((n, k), dtype=np.intp), np.empty((n, k))
    for part in parts(n, _block_length(like)):
        block = cosines(part)
        itself = xp.eye(block.shape[0], dtype=xp.bool, device=block.device)
        block[:, part] = xp.where(itself, -xp.inf, block[:, part])
        columns[part], weights[part] = _largest(block, k)
    graph = sp.csr_array((np.maximum(weights, 0).ravel(), (np.repeat(np.arange(n), k), columns.ravel())), shape=(n, n))
    graph = graph.maximum(graph.T)
    graph.eliminate_zeros()
    return graph


def _largest(block: Array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Column numbers and values of the k largest entries in each row, the first ones among equals, in any order."""
    xp = namespace(block)
    if not is_numpy(block):  # the standard has no partial sort
        columns = xp.arange(block.shape[1], device=block.device)
        found: list[Any] = []
        for _ in range(k):
            found.append((xp.argmax(block, axis=1), xp.max(block, axis=1)))
            block = xp.where(columns == found[-1][0][:, None], -xp.inf, block)
        index, values = (to_numpy(xp.stack(list(parts), axis=1)) for parts in zip(*found, strict=True))
        return index, values
    index = np.argpartition(block, -k, axis=1)[:, -k:]
    values = np.take_along_axis(block, index, axis=1)
    tied = np.count_nonzero(block >= values.min(axis=1, keepdims=True), axis=1) > k
    if tied.any():
        index[tied] = np.argsort(-block[tied], axis=1, kind="stable")[:, :k]
        values = np.take_along_axis(block, index, axis=1)
    return index, values


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
