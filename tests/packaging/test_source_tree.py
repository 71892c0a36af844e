"""Running from a checkout in which nothing is installed, and who may import whom."""

import ast
import importlib
import pickle
import pkgutil
from pathlib import Path
from textwrap import dedent

import pytest

import shallowda

importlib.import_module("shallowda.kernels.pairwise")  # binds shallowda.kernels
KERNELS = [module.name for module in pkgutil.walk_packages(shallowda.kernels.__path__, "shallowda.kernels.")]


def imports_of(file: Path) -> set[str]:
    """Full names of the modules a file imports, inside its functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def of_package(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.slow
def test_runs_uninstalled(tree, python):
    code = "import shallowda, shallowda.kernels.pairwise as k; print(shallowda.__file__, k.__file__, sep='\\n')"
    expected = [tree / "shallowda" / "__init__.py", tree / "kernels" / "pairwise.py"]
    assert python("-c", code, cwd=tree).splitlines() == list(map(str, expected))


def test_does_not_shadow_an_installed_package_named_kernels(tree, python, tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    found = python("-c", "import kernels; print(kernels.__file__)", cwd=tree, path=tmp_path)
    assert found == str(tmp_path / "kernels" / "__init__.py")


@pytest.mark.slow
def test_import_is_light(tree, python):
    # scikit-learn itself imports pandas and rich where they are installed: what counts is what shallowda adds.
    code = """
        import sys, sklearn.neighbors, sklearn.pipeline
        before = set(sys.modules)
        import shallowda
        print(*set(sys.modules) - before)
    """
    added = set(python("-c", dedent(code), cwd=tree).split())
    assert "shallowda.domains" in added
    assert added & {"cupy", "matplotlib", "numba", "pandas", "polars", "rich", "torch"} == set()


@pytest.mark.parametrize("module_name", KERNELS)
def test_kernels_are_known_by_one_name_and_pickle(module_name):
    module = importlib.import_module(module_name)
    defined = [getattr(module, name) for name in module.__all__]
    for value in filter(callable, defined):
        assert value.__module__ == module.__name__
        assert pickle.loads(pickle.dumps(value)) is value


def test_kernels_import_nothing_from_above(root):
    for file in sorted((root / "kernels").rglob("*.py")):
        above = {
            name
            for name in imports_of(file)
            if of_package(name, "shallowda") and not of_package(name, "shallowda.kernels")
        }
        assert not above, f"{file.relative_to(root)} imports {above}"


def test_only_kernels_name_numba_and_cupy(root):
    for file in sorted((root / "shallowda").rglob("*.py")):
        named = {name for name in imports_of(file) if of_package(name, "numba", "cupy", "cupyx")}
        assert not named, f"{file.relative_to(root)} imports {named}: move it to kernels/"
