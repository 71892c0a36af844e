"""Arrays of other libraries: which namespace they live in, and the few steps that the Array API standard leaves out.

Everything in `shallowda.kernels` that is a product or a decomposition is written once, against the Array API standard
(2024.12) that NumPy 2 follows natively. CuPy arrays and torch tensors are understood through `array-api-compat`, which
is only imported when such an array arrives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

__all__ = [
    "ArrayHolder",
    "alike",
    "as_dtype",
    "from_numpy",
    "full_precision",
    "is_foreign",
    "is_lazy",
    "is_numpy",
    "library",
    "merge_rows",
    "namespace",
    "of_foreign",
    "on_backend",
    "on_device",
    "row_squares",
    "strict_linalg",
    "symmetric_product",
    "take_rows",
    "to_numpy",
]

Array = Any  # NumPy, CuPy, torch, or any other array that follows the standard

_COMPAT = ("cupy", "torch", "jax")  # libraries whose arrays need array-api-compat to follow the standard
_LAZY = ("dask",)  # libraries whose arrays are plans of a computation


def is_numpy(array: Any) -> bool:
    """Whether this is a NumPy array (also a memory-mapped one)."""
    return isinstance(array, np.ndarray)


def library(array: Any) -> str:
    """Name of the package that an array comes from, such as "numpy", "cupy" or "torch"."""
    return "numpy" if is_numpy(array) else type(array).__module__.split(".")[0]


def is_foreign(X: Any) -> bool:
    """Whether X is an array of a library other than NumPy that follows the Array API standard.

    Such arrays are computed with where they are. Lists, data frames and sparse matrices are not among them.
    """
    if is_numpy(X) or isinstance(X, np.generic) or sp.issparse(X) or isinstance(X, type) or is_lazy(X):
        return False
    return hasattr(X, "__array_namespace__") or (library(X) in _COMPAT and hasattr(X, "shape") and hasattr(X, "dtype"))


def of_foreign(X: Any) -> bool:
    """Whether X is a list of arrays that `is_foreign` knows, such as rows or labels one by one."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and is_foreign(X[0])


def is_lazy(X: Any) -> bool:
    """Whether X is an array or a frame that has not been computed yet, as Dask's and polars' lazy ones."""
    return library(X) in _LAZY or (hasattr(X, "collect") and not hasattr(X, "shape"))


def namespace(*arrays: Any) -> Any:
    """Module with the functions of the standard for these arrays: `numpy` itself for NumPy arrays.

    Parameters
    ----------
    *arrays : arrays of one library

    Returns
    -------
    xp : module

    Raises
    ------
    TypeError
        If the arrays come from different libraries.
    ImportError
        If they need array-api-compat and it is not installed.
    """
    libraries = {library(array) for array in arrays}
    if libraries == {"numpy"}:
        return np
    if len(libraries) > 1:
        raise TypeError(
            f"Arrays of different libraries cannot be combined: {', '.join(sorted(libraries))}. Move them to one place "
            "first, for example with cupy.asarray or cupy.asnumpy."
        )
    if libraries <= set(_COMPAT):
        return _compat().array_namespace(*arrays)
    return arrays[0].__array_namespace__()


def to_numpy(array: Any) -> np.ndarray:
    """A NumPy array with the values of any array, or list of arrays, copied from its device where it lives on one.

    Bfloat16, which NumPy has not, becomes float32.
    """
    if of_foreign(array):
        return np.asarray([to_numpy(part) for part in array])
    if is_numpy(array) or not is_foreign(array):
        return np.asarray(array)
    if library(array) == "cupy":
        return array.get()
    if library(array) == "torch":
        held = array.detach().cpu()
        return (held.float() if str(array.dtype) == "torch.bfloat16" else held).numpy()
    return np.from_dlpack(array, device="cpu")


def from_numpy(array: np.ndarray, like: Any) -> Any:
    """An array of the library and on the device of `like`, with the values and dtype of a NumPy array.

    An array that is in the right place already, and every array where `like` is NumPy's, is returned itself.

    Raises
    ------
    TypeError
        If the array is of a third library.
    """
    if not is_numpy(array):
        namespace(array, like)
        return array
    if is_numpy(like):
        return array
    array = np.require(array, requirements=["C", "W"])  # torch wants no read-only one
    return namespace(like).asarray(array, device=like.device)


class ArrayHolder(ABC):
    """An object made of arrays, which move from one library or device to another together."""

    @abstractmethod
    def moved(self, move: Callable[[Array], Array]) -> Self:
        """A copy in which `move` was applied to every array.

        Parameters
        ----------
        move : callable
            Takes an array and returns it elsewhere.
        """

    def to_numpy(self) -> Self:
        """The same with NumPy arrays."""
        return self.moved(to_numpy)

    def like(self, array: Array) -> Self:
        """The same where an array is: see `from_numpy`."""
        return self.moved(lambda part: from_numpy(part, array))


def on_backend(array: Any, backend: str) -> Any:
    """The array where a backend of `shallowda.kernels.planning` computes: a copy on the device for "cupy"."""
    if backend != "cupy" or not is_numpy(array):
        return array
    import cupy

    return cupy.asarray(array)


def on_device(array: Any) -> AbstractContextManager:
    """Context in which the device of an array is the current one.

    CuPy makes and computes arrays on the current device, wherever their operands are; other libraries need no context.
    """
    return array.device if library(array) == "cupy" else nullcontext()


@contextmanager
def strict_linalg(array: Any) -> Iterator[None]:
    """Context in which a decomposition that fails on the array's device is an error, as it is on the CPU.

    The device is the current one: see `on_device`.

    CuPy's default is to return whatever cuSOLVER left behind. A decomposition of NaN or infinite values may still end
    without an error: look at the result. Costs a synchronisation of the device for each decomposition.

    Raises
    ------
    numpy.linalg.LinAlgError
        A ValueError that says so.
    """
    if library(array) != "cupy":
        yield
        return
    import cupyx

    with on_device(array), cupyx.errstate(linalg="raise"):
        try:
            yield
        except np.linalg.LinAlgError as error:
            raise np.linalg.LinAlgError(
                "A decomposition failed on the CUDA device: the matrix is singular, not positive definite, or holds "
                f"NaN. A larger ridge may help. cuSOLVER's message: {error}"
            ) from error


@contextmanager
def full_precision(array: Any) -> Iterator[None]:
    """Context in which products of float32 tensors of torch keep the digits of float32, whatever torch is set to.

    ``torch.set_float32_matmul_precision("high")`` lets a CUDA device make them in TF32, which has three digits: bounds
    on errors, as of an RBF kernel, would not hold. The setting is torch's for all threads; it is put back in the end.
    """
    if library(array) != "torch":
        yield
        return
    import torch

    before = torch.get_float32_matmul_precision()
    try:
        if before != "highest":
            torch.set_float32_matmul_precision("highest")
        yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


def as_dtype(array: Any, dtype: Any) -> Any:
    """The array in another dtype; itself where it has it."""
    return namespace(array).astype(array, dtype, copy=False)


def alike(*arrays: Any) -> tuple[Any, ...]:
    """Arrays of one library in their common dtype: only NumPy takes products of float32 and float64."""
    dtype = namespace(*arrays).result_type(*arrays)
    return tuple(as_dtype(array, dtype) for array in arrays)


def row_squares(rows: Any) -> Any:
    """Squared Euclidean norms of rows, of shape (n,).

    CuPy and torch make n products of 1 x d matrices of `vecdot`; elsewhere than in NumPy it is a sum.
    """
    if is_numpy(rows):
        return np.vecdot(rows, rows)
    return namespace(rows).sum(rows * rows, axis=1)


def symmetric_product(matrix: Any, block: Any) -> Any:
    """``matrix @ block`` for a symmetric matrix.

    Of NumPy's products in float64, BLAS computes the transposed one 1.3 to 1.6 times as fast (OpenBLAS, blocks of 8 to
    64 columns; in float32 it is the slower one).
    """
    if is_numpy(matrix) and matrix.dtype == np.float64:
        return (block.T @ matrix).T
    return matrix @ block


def take_rows(rows: Any, index: np.ndarray) -> Any:
    """``rows[index]`` for an integer index."""
    if is_numpy(rows):
        return rows[index]
    return namespace(rows).take(rows, from_numpy(index, rows), axis=0)


def merge_rows(mask: np.ndarray, inside: Any, outside: Any) -> Any:
    """Rows in the order of a mask: those of `inside` where it is true, those of `outside` elsewhere."""
    order = np.argsort(np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)]))
    return take_rows(namespace(inside, outside).concat([inside, outside]), order)


def _compat() -> Any:
    try:
        import array_api_compat
    except ImportError as error:
        raise ImportError(
            "Arrays other than NumPy's need the package array-api-compat: pip install array-api-compat (it comes with "
            "shallowda[cuda12] and shallowda[cuda13])."
        ) from error
    return array_api_compat
