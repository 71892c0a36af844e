"""A stand-in for CuPy on the CPU: NumPy arrays, and CUDA C compiled by the C++ compiler with `cuda_on_cpu.h`."""

import ctypes
import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

HEADER = Path(__file__).with_name("cuda_on_cpu.h")


class FakeDevice:
    id = 0
    attributes = {"MultiProcessorCount": 2}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class FakeArray(np.ndarray):
    """NumPy array with the attributes of a CuPy array that kernels/device.py uses."""

    device = FakeDevice()

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


class Kernel:
    """What `cupy.RawModule.get_function` returns. Arguments of a call are marshalled as CuPy does it."""

    def __init__(self, function, orders):
        self.function, self.orders, self.calls = function, orders, []
        function.restype = ctypes.c_char_p

    def __call__(self, grid, block, arguments):
        self.calls.append((grid, block, arguments))
        values = [self._value(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        sizes = (ctypes.c_uint * len(values))(*(value.nbytes for value in values))
        shape = (ctypes.c_uint * 2)(*grid)
        error = self.function(shape, ctypes.c_uint(*block), ctypes.c_uint(self.orders[0]), pointers, sizes, len(values))
        if error:
            raise RuntimeError(error.decode())

    @staticmethod
    def _value(argument):
        if isinstance(argument, np.ndarray):
            assert isinstance(argument, FakeArray), "a NumPy array was passed to the device"
            assert argument.flags.c_contiguous
            return np.array([argument.ctypes.data], dtype=np.uint64)
        # Python numbers become 64-bit ones in CuPy too, so a missing np.int32 shows as a wrong size.
        return np.array([argument]) if isinstance(argument, np.generic) else np.array([argument], dtype=type(argument))


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
def fake_cupy(build, monkeypatch):
    """`cupy`, as far as kernels/device.py uses it. ``orders[0]`` is the order in which threads run."""
    orders, kernels, cupy = [0], [], ModuleType("cupy")

    def fake(function):
        return lambda *args, **named: np.asarray(function(*args, **named)).view(FakeArray)

    class RawModule:
        def __init__(self, code, options):
            self.code, self.options = code, options

        def get_function(self, name):
            kernels.append(Kernel(build(self.code, self.options, name), orders))
            return kernels[-1]

    for name in ("asarray", "empty", "take_along_axis", "where", "zeros"):
        setattr(cupy, name, fake(getattr(np, name)))
    cupy.linalg = SimpleNamespace(norm=fake(np.linalg.norm))
    cupy.cuda = SimpleNamespace(Device=FakeDevice)
    cupy.RawModule, cupy.orders, cupy.kernels = RawModule, orders, kernels
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    from shallowda.kernels import device

    device._function.cache_clear()
    yield cupy
    device._function.cache_clear()
