"""Moves of an array to a real device, for tests under the mark `gpu`: they are skipped where there is none."""

import numpy as np
import pytest

from shallowda.kernels.planning import cupy_problem


def to_cupy(array):
    """A CuPy array with the values of a NumPy array."""
    if problem := cupy_problem():
        pytest.skip(problem)
    import cupy

    return cupy.array(array)


def to_torch_cuda(array):
    """A torch tensor on a CUDA device with the values of a NumPy array."""
    torch = pytest.importorskip("torch", reason="torch is not installed: tensors are not tested")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA device")
    return torch.asarray(np.array(array), device="cuda")


CUPY = pytest.param(to_cupy, id="cupy", marks=pytest.mark.gpu)
TORCH_CUDA = pytest.param(to_torch_cuda, id="torch-cuda", marks=pytest.mark.gpu)
