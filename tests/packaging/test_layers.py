"""Private names stay at home, no import leads back to where it began, and imports point downward."""

from pathlib import Path

import pytest
from layers import Tree, floor

import shallowda

ROOT = Path(__file__).resolve().parents[2]

# ------------------------------------------------------------------------------------------------------- the real tree


@pytest.fixture(scope="module")
def ours():
    return Tree(ROOT, shallowda.EXPORTS)


def told(found) -> str:
    return "\n".join(dict.fromkeys(map(str, found)))


def test_private_names_are_imported_within_their_own_package(ours):
    assert not told(ours.private())


def test_no_import_leads_back_to_where_it_began(ours):
    assert ours.circles() == []


def test_imports_point_downward(ours):
    assert not told(ours.upward())


def test_top_floors_import_methods_by_their_public_names(ours):
    assert not told(ours.not_by_their_public_names())


def test_every_module_lies_on_a_floor(ours):
    assert all(floor(name) >= 0 for name in ours.files if name != "shallowda")


def test_what_is_built_around_the_package_imports_public_names(ours):
    files = [file for folder in ("benchmarks", "docs") for file in sorted((ROOT / folder).rglob("*.py"))]
    found = [found for file in files for found in ours.imports_in(file.stem, file) if ours.is_private(found)]
    assert not told(found)


# ------------------------------------------------------------------------------------- what the rules are made to find


@pytest.fixture
def made_up(tmp_path):
    """A tree from the contents of its files, added to those that were made before."""
    exports = {
        "JDA": "shallowda.methods.spectral.jda",
        "__version__": "shallowda._version",
        "diagnosis": "shallowda",
    }

    def make(**contents):
        for name, content in contents.items():
            folder, _, rest = name.partition("__")
            parts = (folder, *rest.split("__")) if folder == "kernels" else ("shallowda", *name.split("__"))
            file = tmp_path.joinpath(*parts).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            if parts[0] == "shallowda":
                for package in list(file.parents)[: len(parts) - 1]:
                    (package / "__init__.py").touch()
        return Tree(tmp_path, exports)

    return make


def test_a_private_name_elsewhere_is_found(made_up):
    tree = made_up(
        _version="__version__ = '1'",
        bench__cells="from shallowda import __version__\nfrom shallowda.bench._plan import _cells",
        bench__deeper__runner="def run():\n    from shallowda.bench._plan import cells",
        bench___plan="from shallowda.bench import cells",
        commands__data="from shallowda.datasets.store import _folder, folder\nimport shallowda.datasets._files",
        datasets__store="from shallowda.datasets import _files\nfrom shallowda.datasets._files import _read",
        datasets___files="",
        kernels__pairwise="if TYPE_CHECKING:\n    from shallowda.core.rows import _rows",
        core__rows="from shallowda.kernels.pairwise import Kernel",
        bench__run="import shallowda\nfrom shallowda import _STUB\nprint(shallowda._os, shallowda.__version__)",
    )
    assert {(found.importer, found.name) for found in tree.private()} == {
        ("shallowda.bench.deeper.runner", "shallowda.bench._plan.cells"),
        ("shallowda.commands.data", "shallowda.datasets.store._folder"),
        ("shallowda.commands.data", "shallowda.datasets._files"),
        ("shallowda.kernels.pairwise", "shallowda.core.rows._rows"),
        ("shallowda.bench.run", "shallowda._STUB"),
        ("shallowda.bench.run", "shallowda._os"),
    }


def test_a_circle_is_found(made_up):
    tree = made_up(
        diagnosis__report="from shallowda import JDA",
        methods__spectral__jda="def fit():\n    from shallowda.core.rows import rows",
        core__rows="import shallowda\ndef report():\n    return shallowda.diagnosis.report",
        kernels__arrays="from shallowda.kernels import pairwise",
        kernels__pairwise="if TYPE_CHECKING:\n    from shallowda.kernels import arrays\nelse:\n    import numpy",
    )
    assert tree.circles() == []  # the package diagnosis is not its report
    tree.files["shallowda.diagnosis"].write_text("from shallowda.diagnosis.report import Report")
    assert made_up().circles() == [
        [
            "shallowda.core.rows",
            "shallowda.diagnosis",
            "shallowda.diagnosis.report",
            "shallowda.methods.spectral.jda",
        ]
    ]


def test_an_import_from_a_higher_floor_is_found(made_up):
    tree = made_up(
        metrics="from shallowda import JDA",
        methods__spectral__jda="from shallowda.metrics import mmd\nfrom shallowda.core.rows import rows",
        methods__spectral__bda="from shallowda.methods.spectral.jda import JDA",
        core__rows="if TYPE_CHECKING:\n    from shallowda import JDA",
        demo="from shallowda.methods.spectral.jda import JDA",
        kernels__pairwise="",
    )
    assert {(found.importer, found.name) for found in tree.upward()} == {("shallowda.metrics", "shallowda.JDA")}
    assert {found.importer for found in tree.not_by_their_public_names()} == {"shallowda.demo"}


def test_a_module_on_no_floor_is_found(made_up):
    tree = made_up(attic="from shallowda import JDA", methods__spectral__jda="")
    with pytest.raises(AssertionError, match=r"shallowda\.attic lies on no floor"):
        tree.upward()
