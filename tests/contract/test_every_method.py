"""What every method of the catalogue promises: each test is one promise, over all sets of parameters of the card.

A method gets here by being exported (see CONTRIBUTING). `method.fitted()` is one fit that the tests share; what a test
needs to fit anew, it fits small.
"""

import inspect
import pickle
import re
import warnings
from numbers import Real
from pathlib import Path
from typing import ClassVar

import array_api_strict as strict
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline as plain_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils._param_validation import Interval, StrOptions
from threadpoolctl import threadpool_info, threadpool_limits

import shallowda
from shallowda import NoTargetWarning, OneNearestNeighbor, make_pipeline
from shallowda.core.catalogue import family_of
from shallowda.core.contract import read_domains
from shallowda.kernels.arrays import ArrayHolder, is_foreign, is_numpy, library, to_numpy
from shallowda.model_selection import StratifiedSourceTargetKFold, source_accuracy

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = [f"f{i}" for i in range(8)]
CLOSE = {"rtol": 1e-6, "atol": 1e-8}
DEVICE = strict.Device("device1")


def assert_close(found, expected, tolerance=1e-7):
    """Within a share of the largest value."""
    found, expected = to_numpy(found), to_numpy(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-30))


def same(one, other):
    """Whether two fitted attributes are equal but for rounding; objects by their own attributes."""
    if isinstance(one, np.ndarray) and one.dtype.kind == "f":
        return one.shape == other.shape and np.allclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, float):
        return other == pytest.approx(one, rel=1e-9)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one).__eq__ is object.__eq__ and hasattr(one, "__dict__") and not callable(one):
        return vars(one).keys() == vars(other).keys() and all(same(vars(one)[k], vars(other)[k]) for k in vars(one))
    return one == other


def assert_same_model(one, other, but=()):
    """Two models have the same attributes, but for rounding; estimators inside by their attributes."""
    assert vars(one).keys() == vars(other).keys()
    differing = [name for name in vars(one) if name not in but and not same(vars(one)[name], vars(other)[name])]
    assert differing == []


# -- the card ----------------------------------------------------------------------------------------------------------


def test_is_finished(method):
    """A card of its own, a documented class, a file of tests and a page, each where a reader looks for it."""
    family, file = family_of(method.cls), method.cls.__module__.rpartition(".")[2]
    text = inspect.getdoc(method.cls)
    for section in ("Parameters", "Attributes", "References", "Examples"):
        assert re.search(rf"^{section}\n-+$", text, re.MULTILINE), f"the docstring has no section {section}"
    for name in inspect.signature(method.cls).parameters:
        assert re.search(rf"\b{name}\b", text), f"the docstring does not explain {name}"
    if (ROOT / "docs").is_dir():  # a source distribution has none
        page = ROOT / "docs" / "methods" / f"{file}.md"
        assert page.is_file(), f"there is no page {page.relative_to(ROOT)}"
        assert page.stat().st_size, f"{page.relative_to(ROOT)} is empty"
    changes = ROOT / "CHANGELOG.md"
    assert not changes.is_file() or f"`{method.cls.__name__}`" in changes.read_text(encoding="utf-8")
    tests = ROOT / "tests" / "methods" / family / f"test_{file}.py"
    assert tests.is_file(), f"there is no file {tests.relative_to(ROOT)}"
    assert "def test_" in tests.read_text(encoding="utf-8"), f"{tests.relative_to(ROOT)} holds no test"


def test_parameters_are_keywords_but_the_first(method):
    parameters = list(inspect.signature(method.cls).parameters.values())
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters[1:])
    assert all(parameter.default is not parameter.empty for parameter in parameters)
    assert method.cls().backend == "auto"


# -- rows and their order ----------------------------------------------------------------------------------------------


def test_rows_keep_their_order(method, problem):
    """Permuted rows give permuted results, whether they are trained on or new."""
    order = np.random.default_rng(1).permutation(90)
    for variant in method.variants:
        plain = method.fitted(variant)
        permuted = method.make(variant).fit(problem.X[order], problem.y[order])
        np.testing.assert_array_equal(permuted.predict(problem.X), plain.predict(problem.X))
        np.testing.assert_array_equal(plain.predict(problem.X[order]), plain.predict(problem.X)[order])
        assert_close(method.values(permuted, problem.X), method.values(plain, problem.X), 1e-6)
        place = np.empty(90, dtype=int)
        place[order] = np.arange(90)  # where each row went
        sides = {"pseudo_labels_": problem.domain < 0, "source_relevance_": problem.domain >= 0}
        for name, side in {**sides, "weights_": problem.domain >= 0}.items():
            if hasattr(plain, name):
                went = np.argsort(np.argsort(place[side]))  # its place among the rows of its domain
                np.testing.assert_allclose(getattr(permuted, name)[went], getattr(plain, name), **CLOSE)
        if method.transforms:
            Z = method.make(variant).fit_transform(problem.X, problem.y)
            again = method.make(variant).fit_transform(problem.X[order], problem.y[order])
            assert_close(again, Z[order], 1e-6)


def test_fit_transform_is_transform_of_the_training_rows(adapter, problem):
    """A map knows a row and its domain, and never its label: then new rows are mapped as training rows are."""
    for variant in adapter.variants:
        model = adapter.make(variant)
        Z = model.fit_transform(problem.X, problem.y)
        assert_close(model.transform(problem.X, sample_domain=problem.domain), Z, 1e-6)
        assert_close(model.transform(problem.Xt), Z[problem.domain < 0], 1e-6)
        assert_close(model.transform(problem.X), adapter.fitted(variant).transform(problem.X), 1e-9)


def test_rows_are_mapped_one_by_one(method, problem):
    """Whichever rows come along, and by whichever map each goes."""
    some, domain = problem.X[:6], problem.domain[:6]
    assert len(set(domain)) == 2
    for variant in method.variants:
        model = method.fitted(variant)
        single = np.stack([method.values(model, some[i : i + 1]) for i in range(6)], axis=1)
        assert_close(np.concatenate(single), method.values(model, some), 1e-6)
        if method.transforms:
            mixed = model.transform(some, sample_domain=domain)
            apart = [model.transform(some[i : i + 1], sample_domain=domain[i : i + 1])[0] for i in range(6)]
            assert_close(np.stack(apart), mixed, 1e-6)


# -- which rows are target ---------------------------------------------------------------------------------------------


def test_equal_rows_have_one_embedding_and_one_prediction(method, problem):
    """A product of matrices rounds a row by its place, and that would decide between copies with unlike labels."""
    place = np.random.default_rng(2).integers(0, 90, 60)
    first = np.array([np.flatnonzero(place == one)[0] for one in place])
    domain = problem.domain[place]
    for variant in method.variants:
        model = method.fitted(variant)
        predicted = model.predict(problem.X[place], sample_domain=domain)
        np.testing.assert_array_equal(predicted, predicted[first])
        if method.transforms:
            Z = to_numpy(model.transform(problem.X[place], sample_domain=domain))
            np.testing.assert_array_equal(Z, Z[first])
            twice = np.concatenate([problem.X, problem.X])
            marks = np.concatenate([problem.y, problem.y])
            Z = to_numpy(method.make(variant).fit_transform(twice, marks))
            np.testing.assert_array_equal(Z[90:], Z[:90])
            sides = np.repeat([0, -1], 90)
            Z = to_numpy(model.transform(twice, sample_domain=sides))  # equal rows of either domain: each by its map
            assert_close(Z[:90], model.transform(problem.X, sample_domain=sides[:90]), 1e-6)
            assert_close(Z[90:], model.transform(problem.X), 1e-6)


def test_sample_domain_decides(method, problem):
    """It says the same as marks, in any codes; and labels of target rows are then not read, whatever they are."""
    target = problem.domain < 0
    for variant in method.variants:
        told = method.make(variant)
        told.fit(problem.X, problem.truth, sample_domain=np.where(target, -2, np.arange(90) % 2))
        assert_same_model(told, method.fitted(variant))
        for garbage in (
            np.where(target, 0, problem.truth),
            np.where(target, (problem.truth + 1) % 3, problem.truth),
            np.where(target, 99, problem.truth),
            np.where(target, np.nan, problem.truth),
            np.where(target, "?", problem.truth.astype(object)),
        ):
            told = method.make(variant).fit(problem.X, garbage, sample_domain=problem.domain.tolist())
            np.testing.assert_array_equal(told.classes_, [0, 1, 2])
            assert_same_model(told, method.fitted(variant), but=["classes_"])  # floats are floats
    two = problem.truth % 2
    honest = method.make().fit(problem.X, np.where(target, -1, two))
    for labels in (two, 1 - two):
        told = method.make().fit(problem.X, np.where(target, labels, two), sample_domain=problem.domain)
        assert_same_model(told, honest)


def test_classes_have_any_names(method, problem):
    """Strings, floats, booleans and {-1, +1}: renamed classes are renamed predictions."""
    plain = method.fitted().predict(problem.X)
    for names in (["a", "b", "c"], ["c", "a", "b"], [20, 10, 30], [2.0, 0.5, 1.0], [-1, 0, 1]):
        labels = np.array(names)[problem.truth]
        if 0.5 in names:  # fractions are regression targets
            labels = labels * 2
        model = method.make().fit(problem.X, labels, sample_domain=problem.domain)
        values = np.array([labels[problem.truth == c][0] for c in range(3)])
        np.testing.assert_array_equal(model.classes_, np.unique(labels))
        np.testing.assert_array_equal(model.predict(problem.X), values[plain])
        assert model.predict(problem.X).dtype == labels.dtype
    marked = np.where(problem.domain < 0, "", np.array(["a", "b", "c"])[problem.truth])
    np.testing.assert_array_equal(
        method.make().fit(problem.X, marked).predict(problem.X), np.array(["a", "b", "c"])[plain]
    )
    signs = np.where(problem.truth == 0, 1, -1)
    with pytest.raises(ValueError, match=r"\{-1, \+1\}.*sample_domain"):
        method.make().fit(problem.X, signs)
    model = method.make().fit(problem.X, signs, sample_domain=problem.domain)
    other = method.make().fit(problem.X, signs > 0, sample_domain=problem.domain)
    np.testing.assert_array_equal(model.predict(problem.Xt), 2 * other.predict(problem.Xt) - 1)
    yt = signs[problem.domain < 0]
    assert model.score(problem.Xt, yt) == np.mean(model.predict(problem.Xt) == yt)


@pytest.mark.usefixtures("quiet")
def test_one_class(method, problem):
    with pytest.raises(ValueError, match=r"only the class 7.*sample_domain"):
        method.make().fit(problem.X, np.where(problem.domain < 0, -1, 7))
    try:
        model = method.make().fit(problem.X, np.full(90, 7), sample_domain=problem.domain)
    except ValueError as refusal:
        assert_clear(refusal)
    else:
        np.testing.assert_array_equal(model.predict(problem.Xt), np.full(36, 7))


def test_without_target_rows(method, problem):
    """Nothing is adapted: one warning, which shows the user's line, and a model that works."""
    for variant in method.variants:
        for domain in (None, np.zeros(90)):
            with pytest.warns(NoTargetWarning, match=r"without target rows.*pack_domains") as caught:
                model = method.make(variant).fit(problem.X, problem.truth, sample_domain=domain)
            assert [warning.category for warning in caught] == [NoTargetWarning]
            assert caught[0].filename == __file__
            assert model.score(problem.X, problem.truth) > 0.9
        if method.transforms:
            with pytest.warns(NoTargetWarning):
                Z = method.make(variant).fit_transform(problem.X, problem.truth)
            # there is one domain, so the source's map and the target's are the same
            assert_close(model.transform(problem.X), Z, 1e-6)
            assert_close(model.transform(problem.X, sample_domain=np.zeros(90)), Z, 1e-6)
        if method.weighs:
            np.testing.assert_array_equal(model.weights_, np.ones(90))
    if not method.needs_labels:
        with pytest.warns(NoTargetWarning) as caught:
            model = method.make().fit(problem.X)
        assert len(caught) == 1
        assert not method.transforms or np.isfinite(model.transform(problem.X)).all()


def test_labels_are_needed_or_not(method, problem):
    continuous = np.where(problem.domain < 0, np.nan, problem.X[:, 0])
    if method.needs_labels:
        for arguments in ((problem.X,), (problem.X, continuous)):
            with pytest.raises(ValueError, match=rf"{method.cls.__name__} (requires y|needs class labels)"):
                method.make().fit(*arguments)
        return
    model = method.make().fit(problem.X, sample_domain=problem.domain)
    assert not hasattr(model, "classes_")
    assert not hasattr(model, "estimator_")
    with pytest.raises(AttributeError, match="fitted without"):
        model.predict(problem.Xt)
    if method.transforms:
        assert_close(model.transform(problem.X), method.fitted().transform(problem.X), 1e-9)
        Z = method.make().fit_transform(problem.X, continuous)
        assert_close(Z, method.make().fit_transform(problem.X, problem.y), 1e-9)
        with pytest.raises(ValueError, match=r"continuous.*classifier.*make_pipeline"):
            method.make(estimator=LogisticRegression()).fit(problem.X, continuous)


def test_no_shift_costs_nothing(method, problem):
    source = problem.domain >= 0
    X = np.r_[problem.X[source], problem.X[source]]
    y = np.r_[problem.y[source], np.full(source.sum(), -1)]
    assert method.make().fit(X, y).score(problem.X[source], problem.truth[source]) > 0.95


# -- that it adapts ----------------------------------------------------------------------------------------------------


def test_depends_on_the_target(method, problem):
    """With other target rows it is another model: by its maps, its scores or its weights."""
    X = problem.X.copy()
    X[problem.domain < 0] = problem.Xt[:, ::-1] + 0.2
    for variant in method.variants:
        model, other = method.fitted(variant), method.make(variant).fit(X, problem.y)
        found, before = (
            (other.weights_, model.weights_)
            if method.weighs
            else (method.values(other, problem.X), method.values(model, problem.X))
        )
        assert found.shape != before.shape or np.abs(found - before).max() > 1e-3 * np.abs(before).max()


def test_helps_where_means_have_moved(method, moved_means):
    """Better than the source alone, unless its card says that this is not what it does."""
    rows = moved_means
    alone = OneNearestNeighbor().fit(rows.X[rows.domain >= 0], rows.truth[rows.domain >= 0])
    model = method.make().fit(rows.X, rows.y)
    gain = model.score(rows.Xt, rows.yt) - alone.score(rows.Xt, rows.yt)
    assert gain > 0.08 or not method.card.aligns_means


def test_settings_are_what_the_class_does(method):
    model, settings = method.fitted(), method.card.settings
    assert "pseudo-labels" in settings or not hasattr(model, "pseudo_labels_")
    assert "pseudo-labels" not in settings or method.needs_labels
    assert ("unsupervised" in settings) == (not method.needs_labels)
    assert ("few target labels" in settings) == ("target_labels" in model.get_params())


@pytest.mark.usefixtures("quiet")
def test_a_pass_changes_nothing_but_what_it_returns(pseudo_label_method, problem):
    """The pass that is kept need not be the last one: passes leave the estimator and what they share alone."""
    method = pseudo_label_method
    domains = read_domains(problem.y, None, 90)
    for variant in method.variants:
        model = method.make(variant)
        model.classes_ = domains.classes
        shared = model._prepare(model._placed(problem.X, domains), domains)
        before = dict(vars(model))
        first = model._pass(shared, domains, problem.yt, quick=False)
        model._pass(shared, domains, (problem.yt + 1) % 3, quick=False)
        again = model._pass(shared, domains, problem.yt, quick=False)
        assert {name: id(value) for name, value in before.items()} == {n: id(v) for n, v in vars(model).items()}
        assert again.objective == pytest.approx(first.objective, rel=1e-6)
        assert_close(again.embedding, first.embedding, 1e-5)


# -- arrays ------------------------------------------------------------------------------------------------------------


def test_inputs_are_left_alone(method, problem):
    X, y, truth, domain = (array.copy() for array in (problem.X, problem.y, problem.truth, problem.domain))
    originals = (problem.X, problem.y, problem.truth, problem.domain)

    def unchanged(what):
        for after, before in zip((X, y, truth, domain), originals, strict=True):
            assert np.array_equal(after, before), f"{what} writes into the caller's arrays"

    for variant in method.variants:
        model = method.make(variant).fit(X, y)
        unchanged("fit")
        method.make(variant).fit(X, truth, sample_domain=domain)
        unchanged("fit with sample_domain")
        before = method.values(model, X)
        model.predict(X, sample_domain=domain)
        model.score(X, truth)
        unchanged("predict")
        if method.transforms:
            model.transform(X)[:] = 0
            method.make(variant).fit_transform(X, y)[:] = 0
            unchanged("a change of what transform returned")
        X[:] = 0
        assert_close(method.values(model, problem.X), before, 1e-9)  # it keeps copies
        X[:] = problem.X


def test_memory_layout_does_not_matter(method, problem):
    expected = method.fitted().predict(problem.X)
    wide = np.repeat(problem.X, 2, axis=1)
    for X in (np.asfortranarray(problem.X), wide[:, ::2], problem.X[::-1][::-1], problem.X.astype(">f8")):
        np.testing.assert_array_equal(method.make().fit(X, problem.y).predict(X), expected)


@pytest.mark.usefixtures("quiet")
def test_dtypes(method, problem):
    """float32 stays float32 and predicts alike; other numbers become float64."""
    X = problem.X.astype(np.float32)
    for variant in method.variants:
        exact, model = method.fitted(variant), method.make(variant).fit(X, problem.y)
        np.testing.assert_array_equal(model.predict(X), exact.predict(problem.X))
        assert_close(method.values(model, X), method.values(exact, problem.X), 1e-3)
        if method.transforms:
            assert model.transform(X).dtype == model.fit_transform(X, problem.y).dtype == np.float32
    for dtype in (np.float16, np.int64, np.uint8, bool):
        X = (40 * np.abs(problem.X)).astype(dtype) if dtype is not bool else problem.X > 0.2
        model, exact = method.make().fit(X, problem.y), method.make().fit(X.astype(float), problem.y)
        assert_close(method.values(model, X), method.values(exact, X.astype(float)), 1e-9)
        assert method.values(model, X).dtype == np.float64


def test_predict_leaves_the_model_alone(method, problem):
    """Threads share a model: what a call needs, it keeps to itself; and nothing is drawn from the global generator."""
    state = np.random.get_state()
    for variant in method.variants:
        model = method.fitted(variant)
        before = {name: id(value) for name, value in vars(model).items()}
        model.predict(problem.X)
        method.values(model, problem.Xt)
        model.score(problem.Xt, problem.yt)
        assert {name: id(value) for name, value in vars(model).items()} == before
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))


def test_data_frames(method, problem):
    expected = method.fitted().predict(problem.X)
    for frame, kind in ((pd.DataFrame, "pandas"), (pl.DataFrame, "polars")):
        X = frame(dict(zip(COLUMNS, problem.X.T, strict=True)))
        model = method.make().fit(X, problem.y)
        assert list(model.feature_names_in_) == COLUMNS
        np.testing.assert_array_equal(model.predict(X), expected)
        with pytest.raises(ValueError, match="feature names"):
            model.predict(X[COLUMNS[::-1]])
        if method.transforms:
            model = method.make().set_output(transform=kind)
            fitted, mapped = model.fit_transform(X, problem.y), model.transform(X, sample_domain=problem.domain)
            plain = method.make().fit_transform(problem.X, problem.y)
            for Z in (fitted, mapped):
                assert isinstance(Z, frame)
                assert list(Z.columns) == list(model.get_feature_names_out())
                assert_close(Z.to_numpy(), plain, 1e-6)
    index = [f"row {i}" for i in range(90)]
    X = pd.DataFrame(problem.X, columns=COLUMNS, index=index)
    y = pd.Series(problem.y, index=index[::-1])  # labels are matched by position
    model = method.make().fit(X, y)
    np.testing.assert_array_equal(model.predict(X), expected)
    assert not hasattr(model.fit(problem.X, problem.y), "feature_names_in_")
    if method.transforms:
        names = model.get_feature_names_out()
        assert len(names) == len(set(names)) == model.transform(problem.X).shape[1]
        assert names[0] in (f"{method.cls.__name__.lower()}0", "x0")
        assert list(model.set_output(transform="pandas").fit_transform(X, problem.y).index) == index


def foreign(model):
    """Names of attributes, also of those of attributes, that are no NumPy arrays."""
    found = []
    for name, value in vars(model).items():
        parts = vars(value) if isinstance(value, ArrayHolder) or name == "estimator_" else {name: value}
        found += [name for part in parts.values() if is_foreign(part)]
    return found


@pytest.mark.usefixtures("quiet")
def test_arrays_of_other_libraries(method, problem):
    """They are computed with where they are: the results are those of NumPy."""
    X = strict.asarray(problem.X, device=DEVICE, copy=True)
    Xt = strict.asarray(problem.Xt, device=DEVICE, copy=True)
    for variant in method.variants:
        plain, moved = method.fitted(variant), method.make(variant).fit(X, problem.y)
        np.testing.assert_array_equal(moved.predict(Xt), plain.predict(problem.Xt))
        np.testing.assert_array_equal(plain.predict(Xt), plain.predict(problem.Xt))
        assert is_numpy(moved.predict(Xt))
        for model in (moved, plain):
            assert_close(method.values(model, Xt), method.values(plain, problem.Xt))
            if method.transforms:
                Z = model.transform(Xt)
                assert (library(Z), Z.device) == (library(Xt), DEVICE)
        assert foreign(plain) == []
        with pytest.raises(ValueError, match=r"was fitted on arrays of \w+ .* Pass X as \w+ array"):
            moved.predict(problem.Xt)
        np.testing.assert_array_equal(to_numpy(X), problem.X)
    assert foreign(method.make().fit(X, problem.y).fit(problem.X, problem.y)) == []


@pytest.mark.usefixtures("quiet")
def test_numpy_goes_to_the_device_and_comes_back(method, problem, device):
    """Rows once for each call, and nothing stays there."""
    for variant in method.variants:
        plain, X = method.fitted(variant), problem.X.copy()
        device.clear()
        model = method.make(variant, backend="cupy").fit(X, problem.y)
        assert device == [X.shape]
        assert foreign(model) == []
        np.testing.assert_array_equal(model.predict(X), plain.predict(problem.X))
        assert device in ([X.shape] * 2, [X.shape])  # the second time only where predict maps rows
        values = method.values(model, X)
        assert foreign(model) == []
        assert_close(values, method.values(plain, problem.X))
        np.testing.assert_array_equal(X, problem.X)
        loaded = pickle.loads(pickle.dumps(model)).set_params(backend="numpy")
        np.testing.assert_array_equal(loaded.predict(problem.X), plain.predict(problem.X))
        if method.transforms:
            Z = method.make(variant, backend="cupy").fit_transform(problem.X, problem.y)
            assert type(Z) is np.ndarray
            assert_close(Z, method.make(variant).fit_transform(problem.X, problem.y))
    if not method.needs_labels:
        there = method.make(backend="cupy").fit(problem.X, sample_domain=problem.domain)
        here = method.make().fit(problem.X, sample_domain=problem.domain)
        assert_same_model(there.set_params(backend="auto"), here, but=("plan_",))  # which says where it was made


# -- the state of a model ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quiet")
def test_fit_starts_afresh_and_is_deterministic(method, problem):
    np.random.seed(0)
    before = np.random.get_state()
    for variant in method.variants:
        again = method.make(variant).fit(2 * problem.X[::-1, :6], np.where(problem.y < 0, -1, problem.y % 2)[::-1])
        np.random.seed(1)
        assert_same_model(again.fit(problem.X, problem.y), method.fitted(variant))
        np.random.set_state(before)
    model = method.make(len(method.variants) - 1).fit(problem.X, problem.y)  # another kernel, another way: all is new
    model.set_params(**clone(method.make()).get_params(deep=False))
    assert_same_model(model.fit(problem.X, problem.y), method.fitted())
    if not method.needs_labels:
        model = method.make().fit(problem.X, problem.y).fit(problem.X, sample_domain=problem.domain)
        assert_same_model(model, method.make().fit(problem.X, sample_domain=problem.domain))
    assert all(np.array_equal(a, b) for a, b in zip(before, np.random.get_state(), strict=True))


def test_clone_has_the_parameters_and_nothing_else(method, problem):
    for variant in method.variants:
        model = method.make(variant)
        before, copy = dict(vars(model)), clone(method.fitted(variant))
        assert copy.get_params(deep=False).keys() == vars(copy).keys() == before.keys()
        assert repr(copy) == repr(model)
        model.fit(problem.X, problem.y)
        assert all(vars(model)[name] is value for name, value in before.items()), "fit changes parameters"


def test_can_be_pickled(method, problem):
    for variant in method.variants:
        model = method.fitted(variant)
        loaded = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(loaded.predict(problem.X), model.predict(problem.X))
        assert_same_model(loaded, model)


def test_can_be_saved(method, problem, tmp_path):
    """`shallowda.load` knows every type in the file, and the model predicts as before."""
    for variant in method.variants:
        model = make_pipeline(StandardScaler(), method.make(variant)).fit(problem.X, problem.y)
        shallowda.save(model, tmp_path / "model.skops")
        loaded = shallowda.load(tmp_path / "model.skops")
        new = problem.Xt[::-1] + 0.1
        np.testing.assert_array_equal(loaded.predict(new), model.predict(new))
        assert repr(loaded) == repr(model)


def test_nothing_is_printed(method, problem, capfd):
    model = method.make().fit(problem.X, problem.y)
    model.predict(problem.X)
    model.score(problem.Xt, problem.yt)
    assert capfd.readouterr() == ("", "")


def test_a_failed_fit_is_no_fit(method, problem):
    model = method.make().fit(problem.X, problem.y)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((90, 8), np.nan), problem.y)
    with pytest.raises(NotFittedError):
        model.predict(problem.X)


def test_before_fit(method, problem):
    for name in ("predict", "transform", "score", "decision_function", "predict_proba"):
        if hasattr(method.make(), name):
            arguments = (problem.Xt, problem.yt) if name == "score" else (problem.Xt,)
            with pytest.raises(NotFittedError, match="not fitted yet"):
                getattr(method.make(), name)(*arguments)


def test_learns_in_parts_what_it_learns_at_once(method_of_moments, problem):
    method = method_of_moments
    for variant in method.variants:
        if not hasattr(method.make(variant), "partial_fit"):
            continue
        model, first = method.make(variant), problem.domain >= 0
        first[np.flatnonzero(~first)[:9]] = True
        model.partial_fit(problem.X[first], problem.y[first])
        for part in np.array_split(np.flatnonzero(~first), 2):
            model.partial_fit(problem.X[part])
        np.testing.assert_array_equal(model.predict(problem.X), method.fitted(variant).predict(problem.X))
        assert_close(method.values(model, problem.X), method.values(method.fitted(variant), problem.X), 1e-6)


# -- input that is not right -------------------------------------------------------------------------------------------


def assert_clear(refusal):
    """One of our errors, in a sentence that names what is wrong, and none of LAPACK's."""
    assert type(refusal) is ValueError
    assert re.search(r"row|domain|feature|class|variance|label", str(refusal))
    assert not re.search(r"(?i)lapack|singular matrix|not positive definite|converge|SVD", str(refusal))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda X: np.where(np.arange(8) == 0, np.nan, X), ValueError, "Input X contains NaN"),
        (lambda X: np.where(np.arange(8) == 0, np.inf, X), ValueError, "Input X contains infinity"),
        (sparse.csr_array, TypeError, "[Ss]parse data was passed for X, but dense"),
        (lambda X: X[:, 0], ValueError, "Expected 2D array, got 1D array"),
        (lambda X: X[:, :, None], ValueError, "dim 3"),
        (lambda X: np.c_[X[:, 1:].astype(object), np.full(len(X), "x", object)], ValueError, "its column 7 holds text"),
        (lambda X: np.full(X.shape, "a"), ValueError, "its column 0 holds text such as 'a'"),
        (lambda X: X.astype(complex), ValueError, "Complex data not supported"),
        (lambda X: X[:0], ValueError, r"Found array with 0 sample\(s\)"),
        (lambda X: X[:, :0], ValueError, r"Found array with 0 feature\(s\)"),
    ],
    ids=["NaN", "infinity", "sparse", "1-D", "3-D", "a word", "words", "complex", "no rows", "no features"],
)
def test_bad_rows(method, problem, spoil, error, message):
    with pytest.raises(error, match=message):
        method.make().fit(spoil(problem.X), problem.y)
    with pytest.raises((error, ValueError), match=f"{message}|X has . features"):
        method.fitted().predict(spoil(problem.X))


def test_bad_labels_and_domains(method, problem):
    model = method.fitted()
    for y, message in (
        (problem.y[:-1], "y has 89 entries for 90 rows of X"),
        (np.c_[problem.y, problem.y], "y should be a 1d array"),
        (np.where(problem.y == 2, np.inf, problem.y), "infinity"),
        (np.full(90, -1), r"no source row.*y marks every row"),
        (problem.X[:, 0], "continuous"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            method.make().fit(problem.X, y)
    for domain, message in (
        (problem.domain[:-1], r"shape \(90,\), one entry per row"),
        (problem.domain + 0.5, "must hold integers"),
        (np.full(90, -1), "no source row"),
    ):
        with pytest.raises(ValueError, match=message):
            method.make().fit(problem.X, problem.truth, sample_domain=domain)
    with pytest.raises(ValueError, match=r"X has 5 features, but \w+ is expecting 8"):
        model.predict(problem.Xt[:, :5])
    with pytest.raises(ValueError, match=r"Found array with 1 sample\(s\)"):
        method.make().fit(problem.X[:1], problem.truth[:1])
    with pytest.raises(ValueError, match="sample_domain must hold integers"):
        model.score(problem.Xt, problem.yt, sample_domain=np.full(36, 0.5))
    with pytest.raises(ValueError, match=r"sample_domain must have shape \(36,\)"):
        model.predict(problem.Xt, sample_domain=[0])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(problem.Xt, problem.yt[:-1])
    with pytest.raises(ValueError, match="y marks every row as unlabelled"):
        model.score(problem.Xt, np.full(36, -1))


def wrong_values(constraints):
    """Values that no constraint of a parameter allows: outside every interval, and no option."""
    yield object()
    intervals = [constraint for constraint in constraints if isinstance(constraint, Interval)]
    for interval in intervals:
        if interval.left is not None:
            yield interval.left - 1
            if interval.closed in ("neither", "right") and len(intervals) == 1:
                yield interval.left
        if interval.right is not None and len(intervals) == 1:
            yield interval.right + 1
    if intervals and all(interval.type is not Real for interval in intervals):
        yield 2.5
    if any(isinstance(constraint, StrOptions) for constraint in constraints) or intervals:
        yield "no such option"


def test_bad_parameters(method, problem):
    """Every parameter has a constraint; what it may be is said in the error."""
    for name, default in method.cls().get_params(deep=False).items():
        assert name in method.cls._parameter_constraints, f"{name} has no constraint"
        for value in wrong_values(method.cls._parameter_constraints[name]):
            wrong = method.cls(**{name: value})
            with pytest.raises(ValueError, match=rf"The '{name}' parameter of {method.cls.__name__} must be"):
                wrong.fit(problem.X, problem.y)
        method.cls(**{name: default})._validate_params()


def test_the_base_estimator_is_checked(method, problem):
    if "estimator" not in inspect.signature(method.cls).parameters:
        return
    if not method.weighs:  # which fits regressors too
        with pytest.raises((ValueError, TypeError), match="classifier"):
            method.make(estimator=Ridge()).fit(problem.X, problem.y)
    with pytest.raises((ValueError, TypeError), match=r"instance|parameter"):
        method.make(estimator=LogisticRegression).fit(problem.X, problem.y)
    base = LogisticRegression(C=3.0)
    model = method.make(estimator=base).fit(problem.X, problem.y)
    assert not hasattr(base, "coef_"), "the caller's estimator is fitted; fit a clone"
    assert model.score(problem.Xt, problem.yt) > 0.8
    if method.transforms or method.weighs:
        assert repr(model.estimator_) == repr(base), "the estimator is not the one that was given"


def wide(X, n=90, d=60):
    rows = np.random.default_rng(3).normal(size=(n, d)) / np.sqrt(d)
    rows[:, :8] += X[:n]
    return rows


def odd_data(problem):
    """Input that breaks other packages: name, rows and labels."""
    X, y, source = problem.X, problem.y, problem.domain >= 0
    rows, columns = np.arange(90)[:, None], np.arange(8)
    one_of_class_two = np.setdiff1d(np.arange(90), np.flatnonzero(y == 2)[1:])
    few = np.r_[np.flatnonzero(y == 0)[:1], np.flatnonzero(y == 1)[:1], np.flatnonzero(y < 0)[:2]]
    yield "one row of a class", X[one_of_class_two], y[one_of_class_two]
    yield "constant features", np.where(np.isin(columns, [1, 4]), 3.0, X), y
    yield "zero features", np.where(np.isin(columns, [1, 4]), 0.0, X), y
    yield "a feature constant in the source", np.where((columns == 1) & source[:, None], 0.1, X), y
    yield "a feature constant in the target", np.where((columns == 1) & ~source[:, None], 0.1, X), y
    yield "features twice", np.c_[X, X], y
    yield "rows twice", np.r_[X, X], np.r_[y, y]
    yield "zero rows", np.where(rows % 9 == 0, 0.0, X), y
    yield "more features than rows", wide(X), y
    yield "few rows", wide(X, n=12, d=40), y[:12]
    yield "rank one", np.outer(X @ np.arange(8.0), np.arange(1.0, 9.0)), y
    yield "one feature", X[:, :1], y
    yield "disjoint features", np.where(~source[:, None], np.c_[X, 0 * X], np.c_[0 * X, X]), y
    yield "small numbers", 1e-6 * X, y
    yield "large numbers", 1e6 * X, y
    yield "far from the origin", X + 1e6, y
    yield "too far from the origin", X + 1e8, y
    yield "features of other scales", X * 10.0 ** np.arange(-8, 8, 2), y
    yield "two rows of each domain", X[few], y[few]
    yield "one row of the target", X[np.r_[np.flatnonzero(source), np.flatnonzero(~source)[:1]]], np.r_[y[source], -1]
    yield "all rows the same", np.full((90, 8), 0.1), y
    yield "all rows zero", np.zeros((90, 8)), y
    yield "a source of equal rows", np.where(source[:, None], 0.1, X), y
    yield "a target of equal rows", np.where(~source[:, None], 0.1, X), y


@pytest.mark.usefixtures("quiet")
def test_odd_data_gives_finite_numbers_or_a_clear_refusal(method, problem):
    for variant in method.variants:
        for name, X, y in odd_data(problem):
            try:
                model = method.make(variant).fit(X, y)
            except ValueError as refusal:
                assert_clear(refusal)
                continue
            where = f"{name}, {method.card.tests[variant]}"
            assert set(np.unique(model.predict(X))) <= set(model.classes_), where
            assert np.isfinite(method.values(model, X)).all(), where


# -- scikit-learn's machinery ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quiet")
def test_in_pipelines_and_searches(method, problem):
    last = make_pipeline(Normalizer(), method.make()).fit(problem.X, problem.y)
    by_hand = method.make().fit(Normalizer().fit_transform(problem.X), problem.y)
    scaled = last[:-1].transform(problem.Xt)
    np.testing.assert_array_equal(last.predict(problem.Xt), by_hand.predict(scaled))
    if method.transforms:
        inside = make_pipeline(Normalizer(), method.make(), LogisticRegression()).fit(problem.X, problem.y)
        np.testing.assert_array_equal(inside.classes_, [0, 1, 2])
        assert inside.score(problem.Xt, problem.yt) > 0.8
    cv = StratifiedSourceTargetKFold(2, random_state=0)
    search = GridSearchCV(last, {}, cv=cv, scoring=source_accuracy, error_score="raise").fit(problem.X, problem.y)
    assert 0.8 < search.best_score_ <= 1
    assert 0.8 < search.score(problem.Xt, problem.yt) <= 1
    scores = cross_val_score(method.make(), problem.X, problem.y, cv=cv)
    np.testing.assert_array_equal(scores, cross_val_score(method.make(), problem.X, problem.y, cv=cv))
    folds = [(np.setdiff1d(np.arange(90), part), part) for part in np.array_split(np.arange(90), 2)]
    assert np.mean(cross_val_predict(method.make(), problem.X, problem.y, cv=folds) == problem.truth) > 0.8


def test_score_of_marked_rows(method, problem):
    model, source = method.fitted(), problem.domain >= 0
    with pytest.warns(UserWarning, match=r"score: 36 rows are marked.*accuracy on the source") as caught:
        score = model.score(problem.X, problem.y)
    assert [warning.filename for warning in caught] == [__file__]
    predicted = model.predict(problem.X, sample_domain=problem.domain)
    assert score == np.mean(predicted[source] == problem.truth[source])
    weight = problem.yt + 1.0
    right = model.predict(problem.Xt) == problem.yt
    assert model.score(problem.Xt, problem.yt) == np.mean(right)
    assert model.score(problem.Xt, problem.yt, sample_weight=weight) == pytest.approx(np.average(right, weights=weight))


def test_weights_are_for_the_source(weighting_method, problem):
    method, model = weighting_method, weighting_method.fitted()
    assert is_classifier(model)
    assert model.weights_.shape == (54,)
    assert np.all(model.weights_ >= 0)
    base = LogisticRegression(max_iter=1000)
    source = problem.domain >= 0
    base.fit(problem.X[source], problem.truth[source], sample_weight=model.weights_)
    np.testing.assert_array_equal(
        method.make(estimator=LogisticRegression(max_iter=1000)).fit(problem.X, problem.y).predict(problem.Xt),
        base.predict(problem.Xt),
    )
    values = np.where(source, problem.X[:, 0], np.nan)
    regression = method.make(estimator=Ridge()).fit(problem.X, values)
    assert is_regressor(regression)
    np.testing.assert_allclose(regression.weights_, model.weights_)
    direct = Ridge().fit(problem.X[source], problem.X[source, 0], sample_weight=regression.weights_)
    np.testing.assert_allclose(regression.predict(problem.Xt), direct.predict(problem.Xt))
    assert regression.score(problem.Xt, problem.Xt[:, 0]) == direct.score(problem.Xt, problem.Xt[:, 0])
    with pytest.raises(ValueError, match="must take sample_weight, and KNeighborsClassifier does not"):
        method.make(estimator=KNeighborsClassifier()).fit(problem.X, problem.y)


class Recorder(LogisticRegression):
    """Keeps the weights of every fit, of all copies."""

    seen: ClassVar[list] = []

    def fit(self, X, y, sample_weight=None):
        self.seen.append(sample_weight)
        return super().fit(X, y, sample_weight)


EXACT = {"tol": 1e-10, "max_iter": 10_000}


def weights_of_source(problem, seed=4):
    """Weights of the rows; those of the target are none, and never read."""
    weight = np.random.default_rng(seed).uniform(0.1, 3.0, 90)
    return np.where(problem.domain < 0, np.nan, weight)


def test_sample_weight_is_for_the_base_estimator(method, problem):
    """It is what training on the adapted source rows by hand with these weights gives; the alignment has none."""
    weight, source = weights_of_source(problem), problem.domain >= 0
    if not (method.transforms or method.weighs):
        with pytest.raises(TypeError, match=f"{method.cls.__name__} takes no sample_weight. Adapters pass it"):
            method.make().fit(problem.X, problem.y, sample_weight=weight)
        method.make().fit(problem.X, problem.y, sample_weight=None)  # which is none
        return
    for variant in method.variants:
        base, plain = LogisticRegression(**EXACT), method.make(variant, estimator=LogisticRegression(**EXACT))
        model = clone(plain).fit(problem.X, problem.y, sample_weight=weight)
        rows, weights = problem.X[source], weight[source] * getattr(model, "weights_", 1.0)
        if method.transforms:
            fitted = clone(plain)
            rows = to_numpy(fitted.fit_transform(problem.X, problem.y, sample_weight=weight))[source]
            assert_close(fitted.estimator_.coef_, model.estimator_.coef_, 1e-6)
        by_hand = base.fit(rows, problem.truth[source], sample_weight=weights)
        assert_close(model.estimator_.coef_, by_hand.coef_, 1e-6)
        without = clone(plain).fit(problem.X, problem.y)
        assert np.abs(without.estimator_.coef_ - by_hand.coef_).max() > 1e-4
        ones = clone(plain).fit(problem.X, problem.y, sample_weight=np.ones(90))
        np.testing.assert_array_equal(ones.estimator_.coef_, without.estimator_.coef_)
        np.testing.assert_array_equal(method.values(ones, problem.X), method.values(without, problem.X))
        order = np.random.default_rng(5).permutation(90)
        permuted = clone(plain).fit(problem.X[order], problem.y[order], sample_weight=pd.Series(weight[order], order))
        assert_close(permuted.estimator_.coef_, model.estimator_.coef_, 1e-5)


def test_rows_of_no_weight_are_not_trained_on(method, problem):
    if not (method.transforms or method.weighs):
        return
    source = problem.domain >= 0
    keep = weights_of_source(problem)[source] > 1.0
    weight = np.zeros(90)
    weight[source] = keep
    model = method.make(estimator=LogisticRegression(**EXACT)).fit(problem.X, problem.y, sample_weight=weight)
    rows, weights = problem.X[source], getattr(model, "weights_", np.ones(54))
    if method.transforms:
        rows = to_numpy(model.transform(problem.X, sample_domain=problem.domain))[source]
    by_hand = LogisticRegression(**EXACT).fit(rows[keep], problem.truth[source][keep], sample_weight=weights[keep])
    assert_close(model.estimator_.coef_, by_hand.coef_, 1e-5)


def test_every_pass_trains_with_the_weights(method, problem):
    """What pseudo-labels come of, too: no base estimator is ever fitted without them."""
    if not (method.transforms or method.weighs):
        return
    weight = weights_of_source(problem)
    for variant in method.variants:
        Recorder.seen.clear()
        model = method.make(variant, estimator=Recorder()).fit(problem.X, problem.y, sample_weight=weight)
        expected = weight[problem.domain >= 0] * getattr(model, "weights_", 1.0)
        assert len(Recorder.seen) >= (getattr(model, "n_iter_", 1) if hasattr(model, "pseudo_labels_") else 1)
        for seen in Recorder.seen:
            np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda weight: weight[:54], r"sample_weight must have shape \(90,\), one entry per row of X; it has .*54"),
        (lambda weight: weight[:, None], r"sample_weight must have shape \(90,\)"),
        (lambda weight: 1.0, r"sample_weight must have shape \(90,\)"),
        (lambda weight: -weight, r"finite and not negative on source rows; it is not on 54 of them \(row \d+: -"),
        (lambda weight: weight * np.nan, "finite and not negative on source rows; it is not on 54"),
        (lambda weight: weight * np.inf, "finite and not negative on source rows; it is not on 54"),
        (lambda weight: 0 * weight, "sample_weight is zero on every source row"),
        (lambda weight: np.full(90, "a"), "sample_weight must hold numbers"),
    ],
    ids=["source rows only", "a column", "a number", "negative", "NaN", "infinite", "zero", "words"],
)
def test_bad_weights(method, problem, spoil, message):
    if method.transforms or method.weighs:
        with pytest.raises(ValueError, match=message):
            method.make(estimator=LogisticRegression()).fit(
                problem.X, problem.y, sample_weight=spoil(weights_of_source(problem))
            )


def test_weights_without_use(method, problem):
    """A base classifier that takes none, such as the default one, or no labels to train it with."""
    if not (method.transforms or method.weighs):
        return
    weight = weights_of_source(problem)
    if method.transforms:
        for estimator, name in ((None, "OneNearestNeighbor"), (KNeighborsClassifier(), "KNeighborsClassifier")):
            with pytest.raises(ValueError, match=f"sample_weight.*{name}.*takes none. Pass another estimator"):
                method.make(estimator=estimator).fit(problem.X, problem.y, sample_weight=weight)
    if not method.needs_labels:
        with pytest.raises(ValueError, match="trains nothing without y, so sample_weight would have no effect"):
            method.make(estimator=LogisticRegression()).fit(
                problem.X, sample_domain=problem.domain, sample_weight=weight
            )


def test_weights_through_pipelines_and_searches(method, problem):
    """By the name of the step, or by routing, cut in every fold."""
    if not (method.transforms or method.weighs):
        return
    weight, name = weights_of_source(problem), method.cls.__name__.lower()
    expected = method.make(estimator=LogisticRegression()).fit(problem.X, problem.y, sample_weight=weight)
    cv = StratifiedSourceTargetKFold(2, random_state=0)
    scores = []
    for on in (False, True):
        with sklearn.config_context(enable_metadata_routing=on):
            base = LogisticRegression().set_fit_request(sample_weight=True) if on else LogisticRegression()
            told = {"sample_weight" if on else f"{name}__sample_weight": weight}
            pipe = plain_pipeline(Normalizer(), method.make(estimator=base))
            assert_close(pipe.fit(problem.X, problem.y, **told)[-1].estimator_.coef_, expected.estimator_.coef_, 1e-6)
            search = GridSearchCV(pipe, {f"{name}__estimator__C": [0.1, 1.0]}, cv=cv, scoring=source_accuracy)
            search.set_params(error_score="raise").fit(problem.X, problem.y, **told)
            scores.append(search.cv_results_["mean_test_score"])
            if method.transforms:
                Z = method.make(estimator=base).fit_transform(problem.X, problem.y, sample_weight=weight)
                assert_close(Z, expected.transform(problem.X, sample_domain=problem.domain), 1e-6)
    np.testing.assert_array_equal(*scores)


def test_a_small_fit_takes_one_blas_thread(method, problem, monkeypatch):
    """More would wait for each other; what the process had is restored, and a large fit has it all the time."""
    learn = next(name for name in ("_adapt", "_weigh", "_learn") if hasattr(method.cls, name))
    plain, seen = getattr(method.cls, learn), []

    def probed(self, *args):
        seen.append({library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"})
        return plain(self, *args)

    monkeypatch.setattr(method.cls, learn, probed)
    with threadpool_limits(2, user_api="blas"):
        method.make().fit(problem.X, problem.y)
        monkeypatch.setenv("SHALLOWDA_ONE_THREAD_ENTRIES", "100")
        method.make().fit(problem.X, problem.y)
        assert seen == [{1}, {2}]
        assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {2}


def test_fits_in_silence(method, problem):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for variant in method.variants:
            method.make(variant).fit(problem.X, problem.y)
