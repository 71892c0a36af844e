"""The imports of a source tree, read from its files: who imports whom, and on which floor that lies.

Imports inside functions count. Those for type checkers only (`if TYPE_CHECKING:`) do not run, and count for private
names alone. A name taken from `shallowda` itself is an import of the module that defines it, by the list of exports.
The catalogue and `persistence` go through all exports with `getattr`: that imports none of them by name, and runs long
after everything is loaded.
"""

import ast
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

#: From the ground up. Everything imports from its own floor and those below it.
FLOORS = (
    ("shallowda._version", "shallowda.kernels"),  # the mathematics knows no estimator
    ("shallowda.core",),  # base classes, rows and labels, the catalogue
    ("shallowda.metrics",),  # BDA weighs its means by a distance between domains
    ("shallowda.methods",),
    ("shallowda.domains", "shallowda.pipeline", "shallowda.drift"),  # rooms that users name
    ("shallowda.model_selection",),  # looks into pipelines
    ("shallowda.persistence",),  # trusts the types of all this
    ("shallowda.diagnosis",),  # tries CORAL, and sees models as scorers do
    ("shallowda.auto_adapt",),  # a report decides whether to adapt, scorers weigh
    ("shallowda.datasets", "shallowda.features"),  # where rows come from: nothing below needs to know
    ("shallowda.bench", "shallowda.demo"),  # methods on data sets
    ("shallowda.commands",),
    ("shallowda.cli",),
)


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
    """Whether a name is one of these packages, or lies in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


class Import(NamedTuple):
    """A name that a file imports: ``name`` as it is written, ``module`` the one that it leads to."""

    importer: str
    line: int
    name: str
    module: str
    runs: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: {self.name}"


class Tree:
    """The modules of a source tree and the imports between them.

    Parameters
    ----------
    root : Path
        Holds ``shallowda`` and ``kernels``.
    exports : dict of str to str
        Module that defines each name that `shallowda` offers.
    """

    def __init__(self, root: Path, exports: dict[str, str]) -> None:
        self.exports = exports
        self.files: dict[str, Path] = {}
        self.packages = {"shallowda", "shallowda.kernels"}  # kernels/ has no __init__.py
        for folder, package in (("shallowda", "shallowda"), ("kernels", "shallowda.kernels")):
            for file in sorted((root / folder).rglob("*.py")):
                name = ".".join((package, *file.relative_to(root / folder).with_suffix("").parts))
                if file.name == "__init__.py":
                    name = name.removesuffix(".__init__")
                    self.packages.add(name)
                self.files[name] = file

    def home(self, module: str) -> str:
        """The package that a module lies in."""
        return module if module in self.packages else module.rpartition(".")[0]

    @cached_property
    def imports(self) -> list[Import]:
        """Every import of something in this tree, in every file."""
        return [found for importer, file in self.files.items() for found in self.imports_in(importer, file)]

    def imports_in(self, importer: str, file: Path) -> Iterator[Import]:
        """Every import of something in this tree, in one file."""
        syntax = ast.parse(file.read_text(encoding="utf-8"))
        aliases = set()
        for node, runs in running(syntax):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if of_package(alias.name, "shallowda"):
                        aliases |= {alias.asname or "shallowda"} if alias.name == "shallowda" else set()
                        yield from self.found(importer, node.lineno, alias.name, runs)
            elif isinstance(node, ast.ImportFrom) and of_package(node.module or "", "shallowda"):
                for alias in node.names:
                    yield from self.found(importer, node.lineno, f"{node.module}.{alias.name}", runs)
        for node, runs in running(syntax):  # `import shallowda`, then shallowda.CORAL
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
                yield from self.found(importer, node.lineno, f"shallowda.{node.attr}", runs)

    def found(self, importer: str, line: int, name: str, runs: bool) -> Iterator[Import]:
        """An import of one name; modules within a package are imported after the package itself."""
        module = self.module_of(name)
        if module in self.files and module != importer:
            yield Import(importer, line, name, module, runs)
        package = module.rpartition(".")[0]
        while package and not of_package(importer, package):  # the importer's own package is being imported already
            if package in self.files:
                yield Import(importer, line, name, package, runs)
            package = package.rpartition(".")[0]

    def module_of(self, name: str) -> str:
        """The module that defines a name."""
        package, _, last = name.rpartition(".")
        if name in self.files:
            return name
        return self.exports.get(last, package) if package == "shallowda" else package

    def private(self) -> list[Import]:
        """Imports of private names from outside the package that holds them."""
        return [found for found in self.imports if self.is_private(found)]

    def is_private(self, found: Import) -> bool:
        """Whether a name is not for whoever imports it."""
        parts = found.name.split(".")
        for place, part in enumerate(parts):
            if part.startswith("_") and not part.startswith("__"):
                return self.home(".".join(parts[:place])) != self.home(found.importer)
        return False

    def circles(self) -> list[list[str]]:
        """Sets of modules that import each other, directly or through others."""
        below: dict[str, set[str]] = {name: set() for name in self.files}
        for found in self.imports:
            if found.runs:
                below[found.importer].add(found.module)
        return connected(below)

    def upward(self) -> list[Import]:
        """Imports of something on a higher floor."""
        return [
            found
            for found in self.imports
            if found.runs and found.module != "shallowda" and floor(found.module) > floor(found.importer)
        ]

    def not_by_their_public_names(self) -> list[Import]:
        """Imports of methods by the file that they lie in, above the floor of methods."""
        return [
            found
            for found in self.imports
            if of_package(found.name, "shallowda.methods") and floor(found.importer) > floor("shallowda.methods")
        ]


def running(syntax: ast.AST, runs: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """Every part of a file, and whether it runs: what is for type checkers only does not."""
    for node in ast.iter_child_nodes(syntax):
        yield node, runs
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for part in node.body:
                yield part, False
                yield from running(part, False)
            for part in node.orelse:
                yield part, runs
                yield from running(part, runs)
        else:
            yield from running(node, runs)


def floor(module: str) -> int:
    """Number of the floor that a module lies on."""
    numbers = [number for number, names in enumerate(FLOORS) if of_package(module, *names)]
    assert len(numbers) == 1, f"{module} lies on no floor: add it to FLOORS"
    return numbers[0]


def connected(below: dict[str, set[str]]) -> list[list[str]]:
    """Sets of more than one node of a graph that can all be reached from each other."""

    def reached(start: str) -> set[str]:
        seen, todo = set(), [start]
        while todo:
            for other in below[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        return seen

    all_reached = {name: reached(name) for name in below}
    sets = {frozenset(b for b in all_reached[a] if a in all_reached[b]) for a in below}
    return sorted(sorted(names) for names in sets if names)
