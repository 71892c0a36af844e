"""What the methods of one eigenproblem share: how they refuse rows without variance, and that they know the rank."""

import numpy as np
import pytest

from shallowda import BDA, JDA, TJM, TCAEstimator

METHODS = (TCAEstimator, JDA, BDA, TJM)
OPTIONS = {TJM: {"max_iter": 2}}  # more passes switch every source row off, on rows of this size


@pytest.fixture(params=METHODS, ids=lambda method: method.__name__)
def make(request):
    return lambda **params: request.param(**{"n_components": 3, **OPTIONS.get(request.param, {}), **params})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_rows_that_are_all_the_same(make, problem, dtype, value):
    with pytest.raises(ValueError, match=r"no variance.*rows are the same"):
        make().fit(np.full((90, 8), value, dtype), problem.y)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
def test_rows_that_are_all_the_same_with_a_kernel(make, problem, kernel):
    with pytest.raises(ValueError, match=r"rows are the same|rows that differ"):
        make(kernel=kernel).fit(np.ones((90, 8)), problem.y)


@pytest.mark.parametrize("method", [JDA, BDA])
def test_one_class_source_is_announced(problem, method):
    with pytest.warns(UserWarning, match=f"one class, so {method.__name__} adapts to the target as a whole only"):
        method(3).fit(problem.X, np.zeros(90), sample_domain=problem.domain)


def test_ridge_must_be_positive(make, problem):
    with pytest.raises(ValueError, match="'ridge' parameter"):
        make(ridge=0).fit(problem.X, problem.y)


def test_tjm_has_no_primal_form(problem):
    with pytest.raises(ValueError, match="'kernel' parameter"):
        TJM(kernel=None).fit(problem.X, problem.y)


def test_too_many_components_are_capped_and_announced(make, problem):
    with pytest.warns(UserWarning, match="n_components=50 exceeds the rank") as caught:
        Z = make(n_components=50).fit(problem.X, problem.y).transform(problem.X)
    assert sum("exceeds the rank" in str(warning.message) for warning in caught) == 1
    assert Z.shape == (90, 8)


@pytest.mark.filterwarnings("ignore:Every source row is switched off:UserWarning")
@pytest.mark.parametrize("kernel", [None, "linear"])
@pytest.mark.parametrize("offset", [0, 5])
def test_the_rank_is_known(make, problem, kernel, offset):
    """Two true dimensions: no third component made of rounding errors."""
    if kernel is None and isinstance(make(), TJM):
        kernel = "linear"
    X = problem.X[:, :2] @ np.random.default_rng(0).normal(size=(2, 8)) + offset
    with pytest.warns(UserWarning, match="exceeds the rank"):
        Z = make(n_components=5, kernel=kernel).fit_transform(X, problem.y)
    assert Z.shape[1] == 2


@pytest.mark.filterwarnings("ignore:Every source row is switched off:UserWarning")
@pytest.mark.parametrize("kernel", ["poly", "cosine", "sigmoid"])
def test_kernel_values_without_digits_are_announced(make, problem, kernel):
    """In float32 they are the same at such an offset: whatever rank is left is not that of the rows."""
    X = (problem.X + 1e3).astype(np.float32)
    with pytest.warns(UserWarning, match=r"fewer than two digits.*centre the features") as caught:
        make(n_components=8, kernel=kernel).fit(X, problem.y)
    assert not any("exceeds the rank" in str(warning.message) for warning in caught)
    with pytest.warns(UserWarning, match=r"exceeds the rank.*far from zero.*centre the features"):
        make(n_components=50, kernel="poly", degree=1).fit(problem.X + 1e6, problem.y)


@pytest.mark.parametrize("kernel", ["poly", "cosine", "sigmoid", "rbf"])
def test_stored_kernels_that_are_nearly_constant(make, problem, kernel):
    """Components have variance one, and the embedding is that of kernel values which are never stored."""
    X, options = (1e-4 * problem.X, {"gamma": 0.1}) if kernel == "rbf" else (problem.X + 1e4, {})
    if isinstance(make(), TJM):
        options["max_iter"] = 1
    options |= {"kernel": kernel, "component_scale": "constraint", "ridge": 1e-12}
    model = make(**options)
    Z = model.fit_transform(X, problem.y)
    np.testing.assert_allclose(len(X) * Z.var(axis=0), 1, rtol=1e-5)


def test_kernel_values_whose_products_overflow_are_named(make, problem):
    with pytest.raises(ValueError, match=r"values of X are so large.*Scale the features"):
        make(kernel="poly", coef0=1e60).fit(problem.X, problem.y)
    wide = np.hstack([problem.X] * 12)  # stored products of float32 rows
    with pytest.raises(ValueError, match=r"values of X are so large.*float32.*Scale the features"):
        make(kernel="linear").fit((1e12 * wide).astype(np.float32), problem.y)
    with pytest.raises(ValueError, match=r"values of X are so small.*float32.*Scale the features"):
        make(kernel="linear").fit((1e-12 * wide).astype(np.float32), problem.y)


def test_too_small_a_gamma_is_named(problem):
    X = (1e-4 * problem.X).astype(np.float32)
    with pytest.raises(ValueError, match=r"no variance.*kernel='rbf'.*larger gamma"):
        TCAEstimator(3, kernel="rbf", gamma=0.1).fit(X, problem.y)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("kernel", [None, "linear", "rbf"])
def test_rows_too_far_from_the_origin_are_refused_or_solved(make, problem, kernel):
    """Products of uncentred rows hold no digit of the spread there."""
    if kernel is None and isinstance(make(), TJM):
        kernel = "linear"
    try:
        model = make(kernel=kernel).fit(problem.X + 1e8, problem.y)
    except ValueError as refusal:
        assert "Centre the features" in str(refusal) or "Scale the features" in str(refusal)  # noqa: PT017
    else:
        assert np.isfinite(model.transform(problem.X + 1e8)).all()
