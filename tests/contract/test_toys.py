"""The contract suite at work: methods made for it, right and wrong, exported from a copy of the package.

A method is in the suite because it is exported. Each wrong toy breaks one promise, and the test of that promise names
it; two right ones, an adapter and a weighting method, pass everything and are then everywhere a method is listed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import shallowda

ROOT = Path(__file__).resolve().parents[2]

MEANS = '''
"""Alignment of the means: the source is moved so that its mean is that of the target."""

from sklearn.base import OneToOneFeatureMixin
from sklearn.utils._param_validation import HasMethods

from shallowda.core.adapter import BaseAdapter
from shallowda.core.catalogue import Card
from shallowda.core.estimator import BACKENDS
from shallowda.kernels.arrays import as_dtype, namespace
from shallowda.kernels.moments import map_rows


class ToyMeans(OneToOneFeatureMixin, BaseAdapter):
    """Source rows moved by the difference of the means.

    Parameters
    ----------
    backend : {"auto", "numpy", "cupy"}, default="auto"
    estimator : classifier, optional

    Attributes
    ----------
    offset_ : ndarray of shape (n_features,)

    References
    ----------
    None: this is the simplest method there is.

    Examples
    --------
    >>> from shallowda import ToyMeans
    """

    card = Card(
        title="Alignment of means",
        paper="none",
        idea="moves the source onto the target's mean",
        use_when="means have moved",
        fails_when="class shares differ",
        settings=("unsupervised",),
        scaling="standard",
        representative=True,
    )

    _parameter_constraints = {"backend": [BACKENDS], "estimator": [HasMethods(["fit", "predict"]), None]}

    def __init__(self, *, backend="auto", estimator=None):
        self.backend = backend
        self.estimator = estimator

    def _adapt(self, X, domains):
        Xs, Xt = domains.split(X)
        xp = namespace(X)
        self.offset_ = xp.mean(Xt, axis=0) - xp.mean(Xs, axis=0)

    def _map(self, X, source):
        offset = as_dtype(self.offset_, X.dtype)
        return map_rows(X, source, lambda rows: rows + offset, lambda rows: rows, X.shape[1])
'''

WEIGHTS = '''
"""Weights by the distance to the target's mean."""

import numpy as np
from sklearn.utils._param_validation import HasMethods

from shallowda.core.catalogue import Card
from shallowda.core.estimator import BACKENDS
from shallowda.core.weighting import SourceWeighting
from shallowda.kernels.arrays import namespace


class ToyWeights(SourceWeighting):
    """Source rows weighted by their distance to the mean of the target.

    Parameters
    ----------
    backend : {"auto", "numpy", "cupy"}, default="auto"
    estimator : classifier or regressor, optional

    Attributes
    ----------
    weights_ : ndarray of shape (n_source,)

    References
    ----------
    None.

    Examples
    --------
    >>> from shallowda import ToyWeights
    """

    card = Card(
        title="Weights by distance",
        paper="none",
        idea="weighs source rows that are near the target",
        use_when="never",
        fails_when="always",
        settings=("unsupervised",),
        scaling="none",
        representative=True,
        aligns_means=False,
    )

    _parameter_constraints = {"backend": [BACKENDS], "estimator": [HasMethods(["fit", "predict"]), None]}

    def __init__(self, *, backend="auto", estimator=None):
        self.backend = backend
        self.estimator = estimator

    def _weigh(self, X, domains):
        Xs, Xt = domains.split(X)
        xp = namespace(X)
        scale = xp.max(xp.sum(X * X, axis=1))
        distances = xp.sum((Xs - xp.mean(Xt, axis=0)) ** 2, axis=1)
        return xp.exp(-distances / scale if float(scale) > 0 else distances)
'''


def changed(name, old, new):
    """The toy of means with one change, under another name."""
    assert old in MEANS
    return MEANS.replace(old, new).replace("ToyMeans", name)


WRONG = {
    "ToyUnordered": (
        changed(
            "ToyUnordered",
            "        self.offset_ = xp.mean(Xt, axis=0) - xp.mean(Xs, axis=0)\n",
            "        self.offset_ = xp.mean(Xt, axis=0) - xp.mean(Xs, axis=0)\n"
            "        return xp.concat([Xs + self.offset_, Xt])  # source rows first, whatever their order was\n",
        ),
        "test_rows_keep_their_order",
    ),
    "ToyWriter": (
        changed(
            "ToyWriter",
            "        Xs, Xt = domains.split(X)\n",
            "        X -= X.mean(axis=0) * 0.1\n        Xs, Xt = domains.split(X)\n",
        ),
        "test_inputs_are_left_alone",
    ),
    "ToyDeaf": (
        changed(
            "ToyDeaf",
            "    def _adapt(self, X, domains):\n",
            "    def _read(self, X, y, sample_domain):\n        return super()._read(X, y, None)\n\n"
            "    def _adapt(self, X, domains):\n",
        ),
        "test_sample_domain_decides",
    ),
    "ToyUnsaved": (
        changed(
            "ToyUnsaved",
            "        self.offset_ = xp.mean(Xt, axis=0) - xp.mean(Xs, axis=0)\n",
            "        self.offset_ = xp.mean(Xt, axis=0) - xp.mean(Xs, axis=0)\n"
            "        self.move_ = lambda rows: rows\n",
        ),
        "test_can_be_saved",
    ),
    "ToyNothing": (changed("ToyNothing", "rows + offset", "rows"), "test_depends_on_the_target"),
    "ToyMask": (
        changed("ToyMask", "lambda rows: rows + offset, lambda rows: rows,", "*2 * [lambda rows: rows + offset],"),
        "test_helps_where_means_have_moved",
    ),
    "ToyCheat": (
        changed(
            "ToyCheat",
            "    def _adapt(self, X, domains):\n",
            "    def _read(self, X, y, sample_domain):\n"
            "        self.known_ = 0 if y is None or sample_domain is None else sum(y[-1:] == 2)\n"
            "        return super()._read(X, y, sample_domain)\n\n"
            "    def _adapt(self, X, domains):\n",
        )
        .replace("self.known_", "self._known")
        .replace("X.dtype)\n", "X.dtype) * (1 + 0.01 * self._known)\n"),
        "test_sample_domain_decides",
    ),
    "ToyKeeper": (
        changed(
            "ToyKeeper",
            "        offset = as_dtype(self.offset_, X.dtype)\n",
            "        offset = as_dtype(self.offset_ + self.rows_[0, 0] * 0.01, X.dtype)\n",
        ).replace("        Xs, Xt = domains.split(X)\n", "        self.rows_ = X\n        Xs, Xt = domains.split(X)\n"),
        "test_inputs_are_left_alone",
    ),
    "ToyBatch": (
        changed("ToyBatch", "lambda rows: rows + offset", "lambda rows: rows + offset - rows.mean(axis=0)"),
        "test_rows_are_mapped_one_by_one",
    ),
}
RIGHT = {"ToyMeans": ("alignment", MEANS), "ToyWeights": ("weighting", WEIGHTS)}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project that exports the toys, each in a file of a family, with an empty file of tests."""
    copy = tmp_path_factory.mktemp("toys")
    for folder in ("docs", "kernels", "shallowda", "tests"):
        if (ROOT / folder).is_dir():  # a source distribution has no docs/
            ignored = shutil.ignore_patterns("__pycache__", "generated", "figures", "*.nb[ci]")
            shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    (copy / "tests" / "contract" / "test_toys.py").unlink()  # or it would make a copy of its own
    for file in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / file, copy)
    (copy / "CHANGELOG.md").write_text(" ".join(f"`{name}`" for name in [*shallowda.all_methods(), *RIGHT]))
    toys = {**RIGHT, **{name: ("alignment", source) for name, (source, _) in WRONG.items()}}
    for name, (family, source) in toys.items():
        for folder in (copy / "shallowda" / "methods" / family, copy / "tests" / "methods" / family):
            folder.mkdir(exist_ok=True)
        module = name.lower()
        (copy / "shallowda" / "methods" / family / "__init__.py").touch()
        (copy / "shallowda" / "methods" / family / f"{module}.py").write_text(source.lstrip())
        (copy / "tests" / "methods" / family / f"test_{module}.py").write_text("def test_it():\n    pass\n")
        if (copy / "docs").is_dir():
            (copy / "docs" / "methods" / f"{module}.md").write_text(f"# {name}\n")
        with (copy / "shallowda" / "__init__.pyi").open("a") as exports:
            exports.write(f"from shallowda.methods.{family}.{module} import {name} as {name}\n")
    return copy


def run(tree, *arguments, fails=False):
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, timeout=500
    )
    assert fails or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def outcomes(tree):
    """Which tests of the contract suite passed, by toy."""
    right, chosen = " or ".join(RIGHT), " or ".join(wrong for _, wrong in WRONG.values())
    run(
        tree,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"{right} or (Toy and ({chosen}))"),
        *("--junitxml=results.xml", "tests/contract", "tests/core/test_catalogue.py"),
        fails=True,
    )
    found = {}
    for case in ElementTree.parse(tree / "results.xml").iter("testcase"):
        test, toy = re.match(r"(\w+).*?\b(Toy[A-Za-z]+)", case.get("name")).groups()
        if case.find("skipped") is None:
            failed = case.find("failure") is not None or case.find("error") is not None
            found.setdefault(toy, {}).setdefault(test, []).append(not failed)
    return {toy: {test: all(passed) for test, passed in tests.items()} for toy, tests in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("toy", WRONG)
def test_a_broken_promise_is_named(outcomes, toy):
    promise = WRONG[toy][1]
    assert outcomes[toy][promise] is False
    assert outcomes["ToyMeans"][promise] is True  # which differs in that alone


@pytest.mark.slow
@pytest.mark.parametrize("toy", RIGHT)
def test_a_right_method_passes_everything(outcomes, toy):
    assert [test for test, passed in outcomes[toy].items() if not passed] == []
    assert len(outcomes[toy]) >= 30


@pytest.mark.slow
@pytest.mark.parametrize("toy", RIGHT)
def test_a_right_method_is_everywhere(tree, toy):
    """On the command line, in the benchmark, among the types that `load` trusts and in the tables: by its export."""
    rng = np.random.default_rng(0)
    truth = np.arange(40) % 2
    rows = 3 * np.eye(3)[truth] + rng.normal(size=(40, 3))
    for name, part in (("source", slice(0, 20)), ("target", slice(20, 40))):
        np.savez(tree / f"{name}.npz", X=rows[part], y=truth[part])
    arguments = ("adapt", "source.npz", "target.npz", "--method", toy, "--labels", "y", "--drop", "y", "--json")
    said = json.loads(run(tree, "-m", "shallowda.cli", *arguments))
    assert said["method"].startswith(toy)
    assert len(said["predictions"]["prediction"]) == 20
    code = (
        "from shallowda.bench import build; from shallowda.persistence import known_types; import shallowda;"
        f"print(build('{toy}')); print(any(name.endswith('.{toy}') for name in known_types()));"
        f"print('{toy}' in shallowda.all_methods(setting='unsupervised'))"
    )
    assert run(tree, "-c", code).split() == [f"{toy}()", "True", "True"]
    if (tree / "docs").is_dir():
        assert f"| `{toy}` |" in run(tree, "docs/method_tables.py", "--print")
