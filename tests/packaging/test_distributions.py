"""What the wheel and the source distribution hold, and that the wheel works away from the tree."""

import re
import tarfile
from email.parser import Parser
from pathlib import Path
from textwrap import dedent
from zipfile import ZipFile

import pytest

from shallowda import __version__

pytestmark = pytest.mark.slow


def files_in(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_every_file_of_both_folders_and_nothing_else(tree, wheel):
    # A subpackage missing in setup.py's list and a data file missing in package_data fail here.
    folders = {"shallowda": tree / "shallowda", "shallowda/kernels": tree / "kernels"}
    expected = {
        f"{package}/{file.relative_to(folder).as_posix()}"
        for package, folder in folders.items()
        for file in folder.rglob("*")
        if file.is_file()
    }
    assert {name for name in files_in(wheel) if ".dist-info/" not in name} == expected
    assert {"shallowda/py.typed", "shallowda/kernels/pairwise.py"} <= expected


def test_metadata(wheel):
    info = f"shallowda-{__version__}.dist-info"
    with ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) == {
        "bench",
        "cli",
        "cuda12",
        "cuda13",
        "data",
        "demo",
        "dev",
        "docs",
        "features",
        "models",
        "networks",
        "notebooks",
        "onnx",
        "report",
        "test",
        "text",
    }
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    names = {re.match(r"[\w-]+", line).group() for line in required}
    assert names == {"joblib", "numba", "numpy", "scikit-learn", "scipy", "threadpoolctl"}


def test_sdist_holds_what_building_and_testing_need(tree, sdist):
    with tarfile.open(sdist) as archive:
        found = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    expected = {file.relative_to(tree).as_posix() for file in tree.rglob("*") if file.is_file()}
    made_by_builds = {name for name in expected if name.startswith(("build/", "shallowda.egg-info/"))}
    assert expected - made_by_builds <= found


def test_wheel_of_sdist_equals_wheel_of_tree(wheel, wheel_of_sdist):
    assert wheel_of_sdist.name == wheel.name
    assert files_in(wheel_of_sdist) == files_in(wheel)


def test_wheel_runs_away_from_the_tree_and_the_tree_within_it(installed, tree, python, tmp_path):
    code = "import shallowda, shallowda.kernels.pairwise as k; print(shallowda.__file__, k.__file__, sep='\\n')"
    away = [installed / "shallowda" / "__init__.py", installed / "shallowda" / "kernels" / "pairwise.py"]
    within = [tree / "shallowda" / "__init__.py", tree / "kernels" / "pairwise.py"]
    assert python("-c", code, cwd=tmp_path, path=installed).splitlines() == list(map(str, away))
    assert python("-c", code, cwd=tree, path=installed).splitlines() == list(map(str, within))


def test_a_model_fitted_in_the_tree_unpickles_from_the_wheel(installed, tree, python, tmp_path):
    fit = """
        import pickle, numpy as np
        from shallowda import CORAL
        X = np.random.default_rng(0).normal(size=(40, 3))
        y = np.r_[np.arange(20) % 2, np.full(20, -1)]
        model = CORAL().fit(X, y)
        with open("model.pickle", "wb") as file:
            pickle.dump((model, X, model.transform(X), model.predict(X)), file)
    """
    load = """
        import pickle, sys, numpy as np
        with open(sys.argv[1], "rb") as file:
            model, X, transformed, predicted = pickle.load(file)
        np.testing.assert_array_equal(model.transform(X), transformed)
        np.testing.assert_array_equal(model.predict(X), predicted)
        print(sys.modules[type(model).__module__].__file__)
    """
    python("-c", dedent(fit), cwd=tree)
    loaded_from = python("-c", dedent(load), tree / "model.pickle", cwd=tmp_path, path=installed)
    assert Path(loaded_from).is_relative_to(installed)
