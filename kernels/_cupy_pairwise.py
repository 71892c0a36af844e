"""Kernel values from products, on CuPy's arrays: kernels of a line of CUDA C each, which CuPy compiles on first use."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["finished"]

_CHUNK = 64 * 2**20  # bytes of products in float64 that become kernel values in float32 at a time
_MIRROR = """
    const long long row = i / order, column = i % order;
    if (row > column) K[i] = K[column * order + row];
    else if (ones && row == column) K[i] = 1;
"""


def finished(
    K: Any,
    kernel: Any,
    gamma: float,
    *,
    symmetric: bool,
    norms: tuple[Any, Any] = (None, None),
    factors: tuple[Any, Any] | None = None,
) -> Any:
    """Kernel values from products or sums of differences, written over them: one pass over the matrix, then a mirror.

    Parameters
    ----------
    K : cupy.ndarray of shape (m, n), float32 or float64
        What the kernel is a function of. Contiguous where it is symmetric.
    kernel : Kernel
        Linear, cosine, rbf, laplacian, poly (polynomial) or sigmoid.
    gamma : float
    symmetric : bool
        Whether the part below the diagonal is to be copied from that above, and ones to be put on the diagonal of
        kernels that have them there.
    norms : pair of cupy.ndarray of shapes (m,) and (n,), optional
        For rbf: half the squared norms of the rows whose products K holds.
    factors : pair of cupy.ndarray of shapes (m, d) and (n, d), float64, optional
        Rows whose products K is to be made of, where they need more digits than it has.

    Returns
    -------
    K : the same array

    Raises
    ------
    ValueError
        If values are not all finite.
    """
    import cupy

    m, n = K.shape
    if not K.size:
        return K
    name = {"polynomial": "poly"}.get(kernel.name, kernel.name)
    with K.device:
        step = m if factors is None else max(1, _CHUNK // (8 * n))
        for start in range(0, m, step):
            part = K[start : start + step]
            values = part if factors is None else factors[0][start : start + step] @ factors[1].T
            if name == "rbf":
                _elementwise(name)(values, norms[0][start : start + step, None], norms[1][None], part)
            elif name == "laplacian":
                _elementwise(name)(values, gamma, part)
            elif name in ("poly", "sigmoid"):
                _elementwise(name)(values, gamma, kernel.coef0, kernel.degree, part)
        # no product is larger than the norms allow, and no value of this kernel than 1: they need not be looked at
        extremes = [4 * half.max() for half in norms] if name == "rbf" else [K.max(), K.min()]
        if not bool(cupy.isfinite(cupy.stack(extremes)).all()):
            raise kernel.not_finite()
        if symmetric:
            _elementwise("mirror")(n, name in ("rbf", "laplacian"), K, size=K.size)
    return K


@cache
def _elementwise(name: str) -> Any:
    """Kernel values from products (or sums), number by number; CuPy compiles it once per device and dtype."""
    import cupy

    numbers = "P product, P gamma, P coef0, P degree"
    inputs, outputs, code = {
        "rbf": ("P product, P left, P right", "T value", "value = exp(min(product - left - right, P(0)))"),
        "laplacian": ("P sum, P gamma", "T value", "value = exp(-gamma * sum)"),
        "poly": (numbers, "T value", "value = pow(gamma * product + coef0, degree)"),
        "sigmoid": (numbers, "T value", "value = tanh(gamma * product + coef0)"),
        "mirror": ("int64 order, bool ones", "raw T K", _MIRROR),
    }[name]
    return cupy.ElementwiseKernel(inputs, outputs, code, f"shallowda_{name}")
