"""Every method of the catalogue with CuPy, from rows of the host and of the device, to the results of NumPy.

On the stand-in everywhere, and on a device under the mark `gpu`.
"""

import functools
import importlib

import numpy as np
import pytest
from agreement import agree_by_backend, agree_in_float32, agree_there, catalogue, data, with_kernels

from shallowda import ARTL, BDA, JDA, TJM, TCAEstimator
from shallowda.kernels import planning

METHODS = catalogue()
CASES = METHODS | with_kernels()
TILED = {method.__name__: functools.partial(method, kernel="rbf") for method in (ARTL, BDA, JDA, TCAEstimator, TJM)}
SHAPES = {"d<n": (90, 8), "d>n": (45, 70)}

pytestmark = [
    pytest.mark.filterwarnings("ignore:Every source row is switched off:UserWarning"),
    pytest.mark.filterwarnings("ignore:With all .* dimensions subspace alignment only centres:UserWarning"),
    pytest.mark.filterwarnings("ignore:kernel='sigmoid' is not positive semi-definite:UserWarning"),
]


@pytest.fixture(params=["stand-in", pytest.param("device", marks=pytest.mark.gpu)])
def cupy(request):
    if request.param == "stand-in":
        return request.getfixturevalue("cupy")
    if problem := planning.cupy_problem():
        pytest.skip(problem)
    return importlib.import_module("cupy")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_arrays_of_the_device(cupy, case, shape):
    agree_there(case, cupy.asarray, data(*shape))


@pytest.mark.parametrize("case", METHODS.values(), ids=METHODS.keys())
def test_rows_of_the_host(cupy, case):
    agree_by_backend(case, data())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_float32(cupy, case):
    agree_in_float32(case, cupy.asarray, data())


@pytest.mark.parametrize("name", ["TCAEstimator 2", "JDA 2", "TCAEstimator laplacian"])
def test_krylov_solver(cupy, name, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "150")  # of the Krylov solver, without its size
    moved = agree_there(CASES[name], cupy.asarray, data(400, 8), rtol=1e-6)
    assert moved.plan_.solver == "block krylov"


@pytest.mark.parametrize("case", TILED.values(), ids=TILED.keys())
def test_tiles(cupy, case, monkeypatch):
    monkeypatch.setenv("SHALLOWDA_DENSE_ORDER", "100")
    monkeypatch.setenv("SHALLOWDA_PRECONDITIONER_COLUMNS", "100")
    monkeypatch.setenv("SHALLOWDA_TILE_BYTES", str(2**15))
    problem = data(200, 8)
    X = cupy.asarray(problem.X)
    few = {"n_components": 3} if "n_components" in case().get_params() else {}
    few |= {"max_iter": 2} if "max_iter" in case().get_params() else {}
    tiled = case(memory_budget=1_200_000, **few).fit(X, problem.y)
    assert (tiled.plan_.operator, tiled.plan_.backend) == ("tiled", "cupy")
    plain = case(backend="numpy", **few).fit(problem.X, problem.y)
    np.testing.assert_array_equal(tiled.predict(X), plain.predict(problem.X))
