"""CUDA C compiled by the C++ compiler with `cuda_on_cpu.h`."""

import ctypes
import itertools
import shutil
import subprocess
from pathlib import Path

HEADER = Path(__file__).with_name("cuda_on_cpu.h")


def compiler():
    """Path of a C++ compiler, None where there is none."""
    return next((path for name in ("g++", "c++", "clang++") if (path := shutil.which(name))), None)


def builder(folder):
    """Function that compiles CUDA C for the CPU, once per source and options, and returns an entry point."""
    numbers, libraries = itertools.count(), {}

    def compiled(code, options, name):
        key = (code, options, name)
        if key not in libraries:
            path = Path(folder, f"{next(numbers)}.cpp")
            path.write_text(f'#include "{HEADER}"\n{code}\nCUDA_ON_CPU_ENTRY({name})\n')
            library = path.with_suffix(".so")
            flags = ["-O1", "-w", "-fPIC", "-shared", "-U_FORTIFY_SOURCE"]
            subprocess.run([compiler(), *options, *flags, str(path), "-o", str(library)], check=True)
            libraries[key] = ctypes.CDLL(str(library))
        return getattr(libraries[key], f"launch_{name}")

    return compiled
