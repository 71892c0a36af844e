"""The stand-in for CuPy, and CUDA C compiled by the C++ compiler with `cuda_on_cpu.h`."""

import sys

import pytest
import stand_in
from cuda_on_cpu import builder, compiler

from shallowda.kernels import _cupy_pairwise, device, planning


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Function that compiles CUDA C for the CPU, once per source and options, and returns an entry point."""
    if compiler() is None:
        pytest.skip("no C++ compiler (g++, c++ or clang++): the CUDA sources cannot be run on the CPU")
    return builder(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def machine(build):
    """Machine with two devices, on which the stand-in for CuPy computes: what it holds, copied and launched."""

    def forget():
        device._function.cache_clear()
        _cupy_pairwise._elementwise.cache_clear()
        planning._lasting_problem.cache_clear()

    forget()
    with stand_in.installed(build) as machine:
        yield machine
    forget()


@pytest.fixture
def cupy(machine):
    """CuPy, as the stand-in has it."""
    return sys.modules["cupy"]
