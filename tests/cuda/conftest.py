"""The stand-in for CuPy, and CUDA C compiled by the C++ compiler with `cuda_on_cpu.h`."""

import ctypes
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import stand_in

from shallowda.kernels import _cupy_pairwise, device, planning

HEADER = Path(__file__).with_name("cuda_on_cpu.h")


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Function that compiles CUDA C for the CPU, once per source and options, and returns an entry point."""
    compiler = next((path for name in ("g++", "c++", "clang++") if (path := shutil.which(name))), None)
    if compiler is None:
        pytest.skip("no C++ compiler (g++, c++ or clang++): the CUDA sources cannot be run on the CPU")
    folder, numbers, libraries = tmp_path_factory.mktemp("cuda"), itertools.count(), {}

    def compiled(code, options, name):
        key = (code, options, name)
        if key not in libraries:
            path = folder / f"{next(numbers)}.cpp"
            path.write_text(f'#include "{HEADER}"\n{code}\nCUDA_ON_CPU_ENTRY({name})\n')
            library = path.with_suffix(".so")
            flags = ["-O1", "-w", "-fPIC", "-shared", "-U_FORTIFY_SOURCE"]
            subprocess.run([compiler, *options, *flags, str(path), "-o", str(library)], check=True)
            libraries[key] = ctypes.CDLL(str(library))
        return getattr(libraries[key], f"launch_{name}")

    return compiled


@pytest.fixture
def machine(build):
    """Machine with two devices, on which the stand-in for CuPy computes: what it holds, copied and launched."""

    def forget():
        device._function.cache_clear()
        _cupy_pairwise._elementwise.cache_clear()
        planning.cupy_problem.cache_clear()

    forget()
    with stand_in.installed(build) as machine:
        yield machine
    forget()


@pytest.fixture
def cupy(machine):
    """CuPy, as the stand-in has it."""
    return sys.modules["cupy"]
