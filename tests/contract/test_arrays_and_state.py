"""What goes in is left alone, what comes out keeps its type, and a model is nothing but its parameters and its data."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

COLUMNS = [f"f{i}" for i in range(8)]


def test_inputs_are_left_alone(make, problem):
    X, y, truth, domain = (array.copy() for array in (problem.X, problem.y, problem.truth, problem.domain))
    model = make().fit(X, y)
    make().fit(X, truth, sample_domain=domain)
    model.predict(X, sample_domain=domain)
    model.score(X, truth)
    for name in ("transform", "fit_transform"):
        if hasattr(model, name):
            Z = getattr(model, name)(X, **({"y": y} if name == "fit_transform" else {}))
            Z[:] = 0
    model.predict(X)
    for after, before in ((X, problem.X), (y, problem.y), (truth, problem.truth), (domain, problem.domain)):
        np.testing.assert_array_equal(after, before)


def test_later_changes_of_the_rows_do_not_reach_the_model(make, problem):
    X = problem.X.copy()
    model = make().fit(X, problem.y)
    before = model.predict(problem.Xt)
    X[:] = 0
    np.testing.assert_array_equal(model.predict(problem.Xt), before)


@pytest.mark.parametrize("kernel", ["rbf", "cosine"])
def test_later_changes_of_the_rows_do_not_reach_a_kernel_model(make_kernel, problem, kernel):
    X = problem.X.copy()
    model = make_kernel(kernel=kernel).fit(X, problem.y)
    before = model.predict(problem.Xt)
    X[:] = 0
    np.testing.assert_array_equal(model.predict(problem.Xt), before)


def test_memory_layout_does_not_matter(make, problem):
    plain = make().fit(problem.X, problem.y)
    wide = np.repeat(problem.X, 2, axis=1)
    for X in (np.asfortranarray(problem.X), wide[:, ::2], problem.X[::-1][::-1], problem.X.astype(">f8")):
        model = make().fit(X, problem.y)
        np.testing.assert_array_equal(model.predict(X), plain.predict(problem.X))


def test_float32_is_kept(make_adapter, problem):
    X = problem.X.astype(np.float32)
    model = make_adapter()
    Z = model.fit_transform(X, problem.y)
    mapped = model.transform(X, sample_domain=problem.domain)
    assert Z.dtype == mapped.dtype == np.float32
    exact = make_adapter().fit_transform(problem.X, problem.y)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(Z, exact, atol=1e-3 * np.abs(exact).max())
    np.testing.assert_allclose(mapped, exact, atol=1e-3 * np.abs(exact).max())


def test_float32_predicts_like_float64(make, problem):
    X = problem.X.astype(np.float32)
    model, exact = make().fit(X, problem.y), make().fit(problem.X, problem.y)
    np.testing.assert_array_equal(model.predict(X), exact.predict(problem.X))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_float32_with_a_kernel(make_kernel, problem, kernel):
    X = problem.X.astype(np.float32)
    model, exact = make_kernel(kernel=kernel).fit(X, problem.y), make_kernel(kernel=kernel).fit(problem.X, problem.y)
    np.testing.assert_array_equal(model.predict(X), exact.predict(problem.X))
    if hasattr(model, "transform"):
        assert model.fit_transform(X, problem.y).dtype == model.transform(X).dtype == np.float32


@pytest.mark.filterwarnings("ignore:Every source row is switched off:UserWarning")  # TJM, on rows this large
@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.int8, np.uint8, bool])
def test_other_numbers_become_float64(make, problem, dtype):
    X = (40 * np.abs(problem.X)).astype(dtype) if dtype is not bool else problem.X > 0.2
    model, exact = make().fit(X, problem.y), make().fit(X.astype(float), problem.y)
    np.testing.assert_array_equal(model.predict(X), exact.predict(X.astype(float)))
    if hasattr(model, "transform"):
        Z = model.transform(X)
        assert Z.dtype == np.float64
        np.testing.assert_array_equal(Z, exact.transform(X.astype(float)))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_feature_names_are_remembered(make, problem, frame):
    X = frame(dict(zip(COLUMNS, problem.X.T, strict=True)))
    model = make().fit(X, problem.y)
    assert model.n_features_in_ == 8
    assert list(model.feature_names_in_) == COLUMNS
    np.testing.assert_array_equal(model.predict(X), make().fit(problem.X, problem.y).predict(problem.X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X[COLUMNS[::-1]])


def test_feature_names_are_forgotten(make, problem):
    model = make().fit(pd.DataFrame(problem.X, columns=COLUMNS), problem.y).fit(problem.X, problem.y)
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize(("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_set_output(make_adapter, problem, library, frame):
    model = make_adapter().set_output(transform=library)
    fitted = model.fit_transform(problem.X, problem.y)
    mapped = model.transform(problem.X, sample_domain=problem.domain)
    plain = make_adapter().fit_transform(problem.X, problem.y)
    for Z in (fitted, mapped):
        assert isinstance(Z, frame)
        assert list(Z.columns) == list(model.get_feature_names_out())
        np.testing.assert_allclose(Z.to_numpy(), plain, rtol=1e-6, atol=1e-8)


def test_pandas_index_is_kept(make_adapter, problem):
    X = pd.DataFrame(problem.X, columns=COLUMNS, index=[f"row {i}" for i in range(90)])
    model = make_adapter().set_output(transform="pandas")
    assert list(model.fit_transform(X, problem.y).index) == list(X.index)
    assert list(model.transform(X[3:7]).index) == list(X.index[3:7])


def test_labels_in_a_series_are_matched_by_position(make, problem):
    y = pd.Series(problem.y, index=np.arange(90)[::-1])
    model = make().fit(pd.DataFrame(problem.X), y)
    np.testing.assert_array_equal(model.predict(problem.X), make().fit(problem.X, problem.y).predict(problem.X))


def test_names_of_the_components(make_adapter, problem):
    model = make_adapter()
    n_out = model.fit_transform(problem.X, problem.y).shape[1]
    names = model.get_feature_names_out()
    assert len(names) == len(set(names)) == n_out
    assert names[0] in (f"{type(model).__name__.lower()}0", "x0")


def test_clone_has_the_parameters_and_nothing_else(make, problem):
    model = make().fit(problem.X, problem.y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert vars(copy).keys() == copy.get_params(deep=False).keys()
    assert vars(make()).keys() == vars(copy).keys()
    assert copy.set_params(**model.get_params()).get_params() == model.get_params()
    np.testing.assert_array_equal(copy.fit(problem.X, problem.y).predict(problem.X), model.predict(problem.X))


def test_parameters_are_left_alone_by_fit(make, problem):
    model = make()
    before = dict(vars(model))
    model.fit(problem.X, problem.y)
    assert all(vars(model)[name] is value for name, value in before.items())


def test_pickle(make, problem):
    model = make().fit(problem.X, problem.y)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(problem.X), model.predict(problem.X))


def test_pickle_with_a_kernel(make_kernel, problem):
    model = make_kernel(kernel="rbf").fit(problem.X, problem.y)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(problem.X), model.predict(problem.X))


def same(one, other):
    """Whether two fitted attributes are equal; estimators and spectra by their own attributes."""
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if type(one).__eq__ is object.__eq__ and hasattr(one, "__dict__") and not callable(one):
        return vars(one).keys() == vars(other).keys() and all(same(vars(one)[k], vars(other)[k]) for k in vars(one))
    return one == other


def assert_same_model(one, other):
    assert vars(one).keys() == vars(other).keys()
    assert [name for name in vars(one) if not same(vars(one)[name], vars(other)[name])] == []


def test_fitting_is_deterministic_and_starts_afresh(make, problem):
    fresh = make().fit(problem.X, problem.y)
    again = make().fit(2 * problem.X[::-1, :6], np.where(problem.y < 0, -1, problem.y % 2)[::-1])
    assert_same_model(again.fit(problem.X, problem.y), fresh)


def test_refit_without_labels_forgets_them(make_unsupervised, problem):
    model = make_unsupervised().fit(problem.X, problem.y).fit(problem.X, sample_domain=problem.domain)
    assert not hasattr(model, "classes_")
    assert not hasattr(model, "estimator_")
    assert_same_model(model, make_unsupervised().fit(problem.X, sample_domain=problem.domain))


def test_refit_with_another_kernel_forgets_the_first(make_kernel, problem):
    model = make_kernel(kernel="rbf").fit(problem.X, problem.y)
    model.set_params(kernel="linear").fit(problem.X, problem.y)
    assert_same_model(model, make_kernel(kernel="linear").fit(problem.X, problem.y))
    model.set_params(kernel="rbf").fit(problem.X, problem.y)
    assert_same_model(model, make_kernel(kernel="rbf").fit(problem.X, problem.y))


def test_global_random_state_is_left_alone_and_does_not_matter(make, problem):
    np.random.seed(0)
    before = np.random.get_state()
    one = make().fit(problem.X, problem.y).predict(problem.X)
    after = np.random.get_state()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    np.random.seed(1)
    np.testing.assert_array_equal(make().fit(problem.X, problem.y).predict(problem.X), one)


def test_nothing_is_printed(make, problem, capfd):
    model = make().fit(problem.X, problem.y)
    model.predict(problem.X)
    model.score(problem.Xt, problem.yt)
    assert capfd.readouterr() == ("", "")
