"""The CUDA C kernels of ``kernels/cuda``, for CuPy arrays.

Products with a kernel matrix that is never stored, and nearest rows, in tiles that stay on the chip. The sources are
compiled by CuPy on first use, once per device, dtype and kernel, and kept in its cache on disk. Only CuPy arrays come
here, so CuPy is imported inside the functions. The sources are tested on the CPU; no time was measured on a device yet.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from shallowda.kernels.pairwise import _REACH, Kernel

__all__ = ["has", "kernel_times_block", "nearest_row"]

_THREADS = 256
_DEPTH = 8  # the features are padded to a multiple of this
_TILE_BYTES = 512  # rows of a tile times bytes of a number
_WIDTHS = (8, 16, 32)  # columns of a block that one launch takes
_PART_ROWS = 2**30  # nearest_row.cu counts the rows of a part in 32 bits
_WAVES = 4  # blocks per place of the device, so that the last ones do not leave it idle for long
_ON_CHIP = ("rbf", "laplacian", "poly", "sigmoid")


def has(kernel: Any) -> bool:
    """Whether `kernel_times_block` takes this kernel.

    Parameters
    ----------
    kernel : object

    Returns
    -------
    taken : bool
    """
    return isinstance(kernel, Kernel) and kernel.name in ("linear", "cosine", "polynomial", *_ON_CHIP)


def kernel_times_block(X: Any, Y: Any, block: Any, kernel: Any) -> Any:
    """Product of a kernel matrix with a block of columns, without the matrix.

    Parameters
    ----------
    X : cupy.ndarray of shape (m, d), float32 or float64
    Y : cupy.ndarray of shape (n, d), of the same dtype
    block : cupy.ndarray of shape (n, b), float32 or float64
    kernel : Kernel
        Linear, cosine, rbf, laplacian, poly (polynomial) or sigmoid.

    Returns
    -------
    product : cupy.ndarray of shape (m, b)
        ``k(X, Y) @ block``, in the dtype of `block`.

    Raises
    ------
    ValueError
        If there is no CUDA code for this kernel.
    TypeError
        If the rows are neither float32 nor float64, or differ in dtype.

    Notes
    -----
    Kernel values and their products are in the dtype of X, sums over many rows in float64. Float32 rows of an RBF
    kernel are taken in float64 where `Kernel` takes them so: its error bound for float32 holds here.

    Linear and cosine kernels are two products, (m + n) d b. The others cost m n (d + b) for each 32 columns: blocks
    wider than that compute the kernel values again. Memory: the result in float64, a padded block, a shifted copy of
    the rows for RBF and a padded one where the features are not a multiple of 8.
    """
    name = {"polynomial": "poly"}.get(kernel.name, kernel.name) if isinstance(kernel.name, str) else None
    if name == "linear":
        return X @ (Y.T @ block)
    if name == "cosine":
        return _unit(X) @ (_unit(Y).T @ block)
    if name not in _ON_CHIP:
        raise ValueError(
            f"There is no CUDA code for kernel={kernel.name!r}. Choose linear, cosine, {', '.join(_ON_CHIP)}, or "
            'backend="numpy".'
        )
    _require_floats(X, Y)
    gamma = 1 / X.shape[1] if kernel.gamma is None else kernel.gamma
    with X.device:
        if name == "rbf":
            left, right = _for_rbf(X, Y, gamma)
            scale = 2 * gamma * math.log2(math.e)
        else:
            left = _packed(X, X.dtype)
            right = left if Y is X else _packed(Y, X.dtype)
            scale = -gamma * math.log2(math.e) if name == "laplacian" else gamma
        return _on_chip(left, right, block, name, scale, kernel.coef0, kernel.degree)


def nearest_row(queries: Any, rows: Any) -> Any:
    """Index of the row nearest to each query in Euclidean distance; the first one among equals.

    Takes the mean of `rows` out of both, which keeps the digits that differences of large norms would lose.

    Parameters
    ----------
    queries : cupy.ndarray of shape (m, d), float32 or float64
    rows : cupy.ndarray of shape (n, d), of the same dtype, n >= 1

    Returns
    -------
    index : cupy.ndarray of shape (m,), int64

    Raises
    ------
    TypeError
        If the arrays are neither float32 nor float64, or differ in dtype.

    Notes
    -----
    Time: m n d. Memory: a padded copy of both arrays and one score and index per query for each part of the rows.
    """
    import cupy

    _require_floats(queries, rows)
    m, n = len(queries), len(rows)
    if m == 0:
        return cupy.empty(0, dtype=np.int64)
    with queries.device as device:
        origin = rows.mean(axis=0)
        left, _ = _shifted(queries, origin, queries.dtype, 1)
        right, halves = _shifted(rows, origin, rows.dtype, 1)
        d = rows.shape[1]
        left[:, d] = 1
        right[:, d] = -halves
        tiles, parts = _grid(m, n, rows.dtype.itemsize)
        scores = cupy.empty((parts, m), dtype=rows.dtype)
        indices = cupy.empty((parts, m), dtype=np.int64)
        _function(device.id, "nearest_row", rows.dtype.name)(
            (tiles, parts),
            (_THREADS,),
            (left, np.int64(m), right, np.int64(n), np.int32(left.shape[1]), scores, indices),
        )
        if parts == 1:
            return indices[0]
        return cupy.take_along_axis(indices, scores.argmax(axis=0)[None], axis=0)[0]


def _on_chip(X: Any, Y: Any, block: Any, name: str, scale: float, coef0: float, degree: float) -> Any:
    import cupy

    m, n, b = len(X), len(Y), block.shape[1]
    if 0 in (m, n, b):
        return cupy.zeros((m, b), dtype=block.dtype)
    width = next((width for width in _WIDTHS if b <= width), _WIDTHS[-1])
    right = _packed(block, X.dtype, multiple=width)
    columns = right.shape[1]
    tiles, parts = _grid(m, n, X.dtype.itemsize)
    work = cupy.empty((parts, m, columns), dtype=np.float64)
    macros = (f"-DKERNEL_{name.upper()}", f"-DWIDTH={width}", *(("-DL1",) if name == "laplacian" else ()))
    function = _function(cupy.cuda.Device().id, "kernel_times_block", X.dtype.name, *macros)
    real = X.dtype.type
    power = int(degree) if float(degree).is_integer() and degree >= 0 else -1
    for column in range(0, columns, width):
        function(
            (tiles, parts),
            (_THREADS,),
            (
                *(X, np.int64(m), Y, np.int64(n), np.int32(X.shape[1])),
                *(right, np.int32(columns), np.int32(column)),
                *(real(scale), real(coef0), real(degree), np.int32(power), work),
            ),
        )
    return (work[0] if parts == 1 else work.sum(axis=0))[:, :b].astype(block.dtype)


def _for_rbf(X: Any, Y: Any, gamma: float) -> tuple[Any, Any]:
    """Rows (x, -|x|^2 / 2, 1) and (y, 1, -|y|^2 / 2), whose products are -|x - y|^2 / 2."""
    d, dtype, origin = X.shape[1], X.dtype, Y.mean(axis=0)
    left, x_halves = _shifted(X, origin, dtype, 2)
    right, y_halves = _shifted(Y, origin, dtype, 2)
    farthest = max((float(halves.max()) for halves in (x_halves, y_halves) if len(halves)), default=0.0)
    if dtype == np.float32 and 2 * gamma * farthest > _REACH:
        return _for_rbf(X.astype(np.float64), Y.astype(np.float64), gamma)
    left[:, d], left[:, d + 1] = -x_halves, 1
    right[:, d], right[:, d + 1] = 1, -y_halves
    return left, right


def _shifted(rows: Any, origin: Any, dtype: Any, extra: int) -> tuple[Any, Any]:
    """Padded copy of ``rows - origin`` with room for extra features, and half the squared norms."""
    import cupy

    packed = _packed(rows, dtype, extra)
    features = packed[:, : rows.shape[1]]
    features -= origin
    return packed, 0.5 * cupy.linalg.norm(features, axis=1) ** 2


def _packed(rows: Any, dtype: Any, extra: int = 0, multiple: int = _DEPTH) -> Any:
    """Rows as the CUDA code wants them: contiguous, aligned, features padded with zeros. A copy only where needed."""
    import cupy

    n, d = rows.shape
    width = -(-(d + extra) // multiple) * multiple
    if extra == 0 and width == d and rows.dtype == dtype and rows.flags.c_contiguous and rows.data.ptr % 16 == 0:
        return rows
    packed = cupy.zeros((n, width), dtype=dtype)
    packed[:, :d] = rows
    return packed


def _grid(m: int, n: int, itemsize: int) -> tuple[int, int]:
    """Tiles of rows, and parts, none of them empty, among which the tiles along n are shared to fill the device."""
    import cupy

    tile = _TILE_BYTES // itemsize
    across, along = -(-m // tile), -(-n // tile)
    places = 2 * cupy.cuda.Device().attributes["MultiProcessorCount"]
    wanted = max(-(-_WAVES * places // across), -(-n // _PART_ROWS))
    each = -(-along // min(wanted, along))
    return across, -(-along // each)


@cache
def _function(device: int, entry: str, dtype: str, *macros: str) -> Any:
    """Compiled entry point on a device; the first argument makes each device have its own."""
    import cupy

    real = {"float32": "float", "float64": "double"}[dtype]
    return cupy.RawModule(code=_source(entry), options=("-std=c++17", f"-DREAL={real}", *macros)).get_function(entry)


def _source(entry: str) -> str:
    """CUDA C of an entry point, behind the tiles that it is built on."""
    folder = files("shallowda.kernels").joinpath("cuda")
    names = ("tiles.cu", f"{entry}.cu")
    return "\n".join(f'#line 1 "{name}"\n{folder.joinpath(name).read_text("utf-8")}' for name in names)


def _unit(rows: Any) -> Any:
    import cupy

    norms = cupy.linalg.norm(rows, axis=1, keepdims=True)
    return rows / cupy.where(norms > 0, norms, 1).astype(rows.dtype)


def _require_floats(X: Any, Y: Any) -> None:
    if X.dtype not in (np.float32, np.float64) or X.dtype != Y.dtype:
        raise TypeError(f"Rows must be float32 or float64, and alike; got {X.dtype} and {Y.dtype}.")
