"""Run the examples of every docstring, each module under the name its users import it by."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import shallowda

importlib.import_module("shallowda.kernels.pairwise")  # binds shallowda.kernels
# In a checkout shallowda.__path__ has a second entry, for kernels/ alone.
PLACES = {"shallowda.": shallowda.__path__[:1], "shallowda.kernels.": shallowda.kernels.__path__}
MODULES = ["shallowda"] + [
    module.name
    for prefix, path in PLACES.items()
    for module in pkgutil.walk_packages(path, prefix)
    if not module.name.endswith(".__main__")
]
WITHOUT_EXAMPLE = {"LearnedMarkWarning", "NoTargetWarning", "__version__"}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(importlib.import_module(name), optionflags=flags).failed == 0


@pytest.mark.parametrize("name", sorted(set(shallowda.__all__) - WITHOUT_EXAMPLE))
def test_public_names_show_an_example(name):
    assert ">>>" in inspect.getdoc(getattr(shallowda, name))
