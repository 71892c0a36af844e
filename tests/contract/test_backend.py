"""Where it is computed: `backend`, a stand-in for CuPy's device, and warnings from the solvers."""

import logging
import subprocess
import sys
import warnings
from textwrap import dedent

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from shallowda import BDA, JDA, TJM, TCAEstimator
from shallowda.kernels import eigen, planning

pytestmark = [
    pytest.mark.filterwarnings("ignore:Every source row is switched off:UserWarning"),
]


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    planning._lasting_problem.cache_clear()
    yield
    planning._lasting_problem.cache_clear()


# --------------------------------------------------------------------------------------------------- without a device


@pytest.mark.usefixtures("no_cupy")
def test_cupy_without_cupy(make, problem):
    with pytest.raises(RuntimeError, match="backend='cupy' cannot be used: CuPy ") as error:
        make(backend="cupy").fit(problem.X, problem.y)
    for part in ("pip install shallowda[cuda12] or shallowda[cuda13]", "backend='numpy'"):
        assert part in str(error.value)


@pytest.mark.usefixtures("no_cupy")
def test_auto_without_a_device_is_numpy(make, problem, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DEVICE_FLOPS", "1")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="(?i).*cupy")
        auto = make().fit(problem.X, problem.y)
    np.testing.assert_array_equal(
        auto.predict(problem.X), make(backend="numpy").fit(problem.X, problem.y).predict(problem.X)
    )
    assert not hasattr(auto, "plan_") or auto.plan_.backend == "numpy"


@pytest.mark.usefixtures("no_cupy")
def test_a_model_that_was_fitted_with_a_device_says_that_there_is_none(make_adapter, problem):
    model = make_adapter().fit(problem.X, problem.y).set_params(backend="cupy")
    with pytest.raises(RuntimeError, match=r"backend='cupy' cannot be used"):
        model.predict(problem.X)


# ------------------------------------------------------------------------------------------ with the device of another


def test_float32_comes_back_as_float32(make, problem, device):
    X = problem.X.astype(np.float32)
    model = make(backend="cupy").fit(X, problem.y)
    assert device
    if hasattr(model, "weights_"):  # its estimator decides, and scikit-learn's gave float64 before 1.8
        source = problem.domain >= 0
        expected = clone(model.estimator_).fit(X[source], problem.y[source]).decision_function(X).dtype
        assert model.decision_function(X).dtype == expected
        return
    values = model.transform(X) if hasattr(model, "transform") else model.decision_function(X)
    assert values.dtype == np.float32


def test_other_classifiers_on_the_way(make_adapter, problem, device):
    base = LogisticRegression()
    model = make_adapter(backend="cupy", estimator=base).fit(problem.X, problem.y)
    plain = make_adapter(backend="numpy", estimator=base).fit(problem.X, problem.y)
    assert device
    np.testing.assert_array_equal(model.predict(problem.X), plain.predict(problem.X))


def test_auto_takes_large_problems_to_the_device(make, problem, device, monkeypatch):
    make().fit(problem.X, problem.y)
    assert not device
    monkeypatch.setenv("SHALLOWDA_DEVICE_FLOPS", "1000")
    make().fit(problem.X, problem.y)
    assert device == [problem.X.shape]
    monkeypatch.setenv("SHALLOWDA_DEVICE_FLOPS", "1e12")
    make().fit(problem.X, problem.y)
    assert len(device) == 1


def test_bad_overrides_are_named(make, problem, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DEVICE_FLOPS", "-3")
    with pytest.raises(ValueError, match="SHALLOWDA_DEVICE_FLOPS must be a positive number; it is '-3'"):
        make().fit(problem.X, problem.y)


# ------------------------------------------------------------------------------------------------- solvers that warn


@pytest.fixture
def large():
    rng = np.random.default_rng(0)
    truth = np.arange(160) // 2 % 2
    X = rng.normal(size=(160, 5)) + 6 * truth[:, None] * np.eye(5)[0]  # labels that no rounding decides
    return X, np.where(np.arange(160) % 2, -1, truth)


def overruled(monkeypatch):
    """Krylov spaces for problems of this size, which give up at once."""
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "50")
    monkeypatch.setattr(eigen, "most_columns", lambda k: 0)
    monkeypatch.setattr(eigen, "TAKEOVER_ORDER", 10)
    monkeypatch.setattr(eigen, "_MOST_PRODUCTS", 0)


@pytest.mark.parametrize("method", [TCAEstimator, JDA, BDA, TJM])
def test_no_convergence_reaches_the_user_with_figures(method, large, monkeypatch):
    overruled(monkeypatch)
    with pytest.warns(ConvergenceWarning) as caught:
        method(5, kernel="laplacian").fit(*large)
    messages = [str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert "eigenproblem of order 160 did not converge" in messages[0]
    assert "1e-04 was asked for" in messages[0] or "1e-09 was asked for" in messages[0]


def test_convergence_says_nothing(large, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "50")
    TCAEstimator(5, kernel="rbf").fit(*large)


@pytest.mark.parametrize("method", [TCAEstimator, JDA, BDA, TJM])
def test_the_choice_of_solver_may_be_overruled(method, large, monkeypatch):
    plain = method(5, kernel="rbf").fit(*large)
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "50")
    other = method(5, kernel="rbf").fit(*large)
    assert (plain.plan_.solver, other.plan_.solver) == ("lapack", "block krylov")
    np.testing.assert_array_equal(other.predict(large[0]), plain.predict(large[0]))


def test_choices_are_logged(large, caplog):
    with caplog.at_level(logging.INFO, logger="shallowda"):
        TCAEstimator(5, kernel="rbf").fit(*large)
    assert any("operator dense, solver lapack, backend numpy" in record.getMessage() for record in caplog.records)


# ---------------------------------------------------------------------------------------------------------- imports


@pytest.mark.slow
def test_numpy_needs_none_of_the_others():
    code = """
        import sys
        import numpy as np
        import shallowda
        rng = np.random.RandomState(0)
        X, y = rng.randn(40, 4), np.repeat([0, 1, -1], [10, 10, 20])
        shallowda.JDA(2).fit(X, y).predict(X)
        shallowda.TCAEstimator(2, kernel="rbf").fit(X, y).predict(X)
        shallowda.CORAL(0.1).fit(X, y).predict(X)
        print(*{name.split(".")[0] for name in sys.modules})
    """
    result = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) & {"array_api_compat", "cupy", "numba", "torch"} == set()
