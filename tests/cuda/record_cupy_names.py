"""Write cupy_names.json, the public names of CuPy and the parameters of its functions, for the stand-in.

Run it where CuPy is installed (no device is needed) when the stand-in is to follow a newer release, and commit what it
writes: ``python tests/cuda/record_cupy_names.py``.

A function has its parameters, with "..." for every default: "a, axis=..., out=...". A universal function has "ufunc",
and what says nothing about its parameters has null.
"""

import ast
import importlib
import inspect
import json
import re
from pathlib import Path

import cupy
import cupyx

SPACES = {
    "cupy": cupy,
    "cupy.ndarray": cupy.ndarray,
    **{f"cupy.{name}": importlib.import_module(f"cupy.{name}") for name in ("cuda", "fft", "linalg", "random")},
    "cupy.cuda.runtime": cupy.cuda.runtime,
    **{f"cupy.cuda.{name}": getattr(cupy.cuda, name) for name in ("Device", "Event", "MemoryPool", "Stream")},
    "cupyx": cupyx,
}
PUBLIC = re.compile(r"(?!cuda[A-Z]|CUDA_|annotations)[A-Za-z]|__\w+__$")  # without the constants of CUDA
#: These cannot be imported without the libraries of a device: what we may use of them is read from their sources.
SOURCES = {
    "cupyx.scipy.linalg": ("scipy/linalg/_decomp_lu.py", "scipy/linalg/_solve_triangular.py"),
    "cupyx.scipy.sparse": ("scipy/sparse/_csr.py", "scipy/sparse/_csc.py"),
}


def parameters(text):
    """Parameters as a lambda takes them, from the text of a signature in Python or Cython."""
    text = re.sub(r"<[^>]*>", "None", text)  # defaults such as <class 'float'>
    text = re.sub(r"(\w+): '[^']*'", r"\1", text)
    text = re.sub(r"\b[A-Za-z_]\w* (\w+)(?=[,=)])", r"\1", text)  # types of Cython
    names = ast.parse(f"def f{text}: pass").body[0].args
    return ", ".join(_listed(names))


def _listed(names):
    places = [*names.posonlyargs, *names.args]
    required = len(places) - len(names.defaults)
    for number, name in enumerate(places):
        yield name.arg + ("" if number < required else "=...")
        if number + 1 == len(names.posonlyargs):
            yield "/"
    if names.vararg or names.kwonlyargs:
        yield f"*{names.vararg.arg}" if names.vararg else "*"
    for name, default in zip(names.kwonlyargs, names.kw_defaults, strict=True):
        yield name.arg + ("" if default is None else "=...")
    if names.kwarg:
        yield f"**{names.kwarg.arg}"


def described(value):
    """What is known of the parameters of a public object."""
    if type(value).__name__ == "ufunc":
        return "ufunc"
    if not callable(value) or isinstance(value, type):
        return None
    try:
        return parameters(re.sub(r" ->.*", "", str(inspect.signature(value))))
    except ValueError:  # compiled code: its documentation begins with the signature
        found = re.match(r"\w+\.\w+(\(.*\))( ->.*)?$", (value.__doc__ or "").split("\n")[0])
        return parameters(found[1]) if found else None


def in_source(path):
    """Functions and classes that a file of cupyx defines, and its package makes public."""
    file = Path(cupyx.__file__).parent / path
    public = file.with_name("__init__.py").read_text("utf-8")
    for node in ast.parse(file.read_text("utf-8")).body:
        if getattr(node, "name", None) and re.search(rf"import .*\b{node.name}\b", public):
            yield node.name, ", ".join(_listed(node.args)) if isinstance(node, ast.FunctionDef) else None


def main():
    """Write the file beside this one."""
    names = {"release": cupy.__version__}
    for space, module in SPACES.items():
        found = [name for name in dir(module) if PUBLIC.match(name) and (name[0] != "_" or isinstance(module, type))]
        names[space] = {name: described(getattr(module, name)) for name in found}
    for space, files in SOURCES.items():
        names[space] = dict(sorted(pair for path in files for pair in in_source(path)))
    path = Path(__file__).with_name("cupy_names.json")
    path.write_text(json.dumps(names, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
