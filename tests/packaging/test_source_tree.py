"""Running from a checkout in which nothing is installed, and what an import costs."""

import importlib
import pickle
import pkgutil
from textwrap import dedent

import pytest
from layers import imports_of, of_package

import shallowda

importlib.import_module("shallowda.kernels.pairwise")  # binds shallowda.kernels
KERNELS = [module.name for module in pkgutil.walk_packages(shallowda.kernels.__path__, "shallowda.kernels.")]


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


def modules_after(code, python, tree):
    return set(
        python(
            "-c", f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)", cwd=tree
        ).split()
    )


@pytest.mark.slow
def test_import_costs_the_same_however_many_methods_there_are(tree, python):
    added = modules_after("import shallowda", python, tree)
    assert {name for name in added if of_package(name, "shallowda")} == {"shallowda"}
    assert len(added) < 60  # of the standard library; no NumPy, no scikit-learn


def methods_among(modules):
    return {name for name in modules if name.startswith("shallowda.methods.") and name.count(".") > 2}


@pytest.mark.slow
def test_a_method_is_imported_alone(tree, python):
    added = modules_after("from shallowda import CORAL", python, tree)
    assert methods_among(added) == {"shallowda.methods.alignment.coral"}
    # scikit-learn itself imports pandas and rich where they are installed
    assert added & {"array_api_compat", "cupy", "matplotlib", "numba", "polars", "torch"} == set()


@pytest.mark.slow
def test_a_report_imports_only_the_method_that_it_tries(tree, python):
    added = modules_after("import shallowda.diagnosis", python, tree)
    assert methods_among(added) == {"shallowda.methods.alignment.coral"}
    assert added & {"cupy", "jinja2", "matplotlib", "numba", "torch"} == set()


@pytest.mark.slow
def test_threads_may_ask_for_their_first_names_at_once(tree, python):
    code = """
        from concurrent.futures import ThreadPoolExecutor
        import shallowda
        with ThreadPoolExecutor(8) as pool:
            print(*(value.__name__ for value in pool.map(lambda name: getattr(shallowda, name), shallowda.__all__[:8])))
    """
    for _ in range(3):
        assert python("-c", dedent(code), cwd=tree).split() == shallowda.__all__[:8]


def test_exports(root):
    """Every line of the stub is read, and every name is where it says."""
    lines = (root / "shallowda" / "__init__.pyi").read_text(encoding="utf-8").splitlines()
    imports = [line for line in lines if line.startswith("from ")]
    assert [line for line in lines if line and not line.startswith(("#", "from ", "EXPORTS:", "__all__:"))] == []
    assert len(imports) == len(shallowda.EXPORTS)
    for line in imports:
        name = line.split()[-1]
        assert line == f"from {shallowda.EXPORTS[name]} import {name} as {name}"
        assert getattr(shallowda, name) is not None
    assert set(shallowda.__all__) <= set(dir(shallowda))
    with pytest.raises(AttributeError, match="has no attribute 'JDB'"):
        _ = shallowda.JDB


@pytest.mark.parametrize("module_name", KERNELS)
def test_kernels_are_known_by_one_name_and_pickle(module_name):
    module = importlib.import_module(module_name)
    defined = [getattr(module, name) for name in module.__all__]
    for value in filter(callable, defined):
        assert value.__module__ == module.__name__
        assert pickle.loads(pickle.dumps(value)) is value


def test_only_kernels_name_numba_and_cupy(root):
    for file in sorted((root / "shallowda").rglob("*.py")):
        named = {name for name in imports_of(file) if of_package(name, "numba", "cupy", "cupyx")}
        assert not named, f"{file.relative_to(root)} imports {named}: move it to kernels/"
