"""The eight methods as small models, and a problem that all of them solve."""

import inspect
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from shallowda import ARTL, BDA, CORAL, GFK, JDA, TJM, SubspaceAlignment, TCAEstimator

METHODS = (TCAEstimator, JDA, BDA, SubspaceAlignment, CORAL, GFK, ARTL, TJM)
ADAPTERS = tuple(method for method in METHODS if method is not ARTL)
UNSUPERVISED = (TCAEstimator, SubspaceAlignment, CORAL, GFK, TJM)
KERNEL = (TCAEstimator, JDA, BDA, ARTL, TJM)


# rows of unit norm have little variance for CORAL's ridge; TJM's source rows are all switched off in the end
SETTINGS = {CORAL: {"ridge": 0.1}, TJM: {"max_iter": 2}}


def small(method, **params):
    """The method with settings for `problem`: three components, where it has components."""
    components = {"n_components": 3} if "n_components" in inspect.signature(method).parameters else {}
    return method(**{**components, **SETTINGS.get(method, {}), **params})


def _over(methods):
    @pytest.fixture(scope="session", params=methods, ids=lambda method: method.__name__)
    def make(request):
        return partial(small, request.param)

    return make


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread():
    """Threads cost more than they give on problems of this size, above all on a busy machine."""
    with threadpool_limits(1):
        yield


make = _over(METHODS)
make_adapter = _over(ADAPTERS)
make_unsupervised = _over(UNSUPERVISED)
make_kernel = _over(KERNEL)


@pytest.fixture(scope="session")
def problem():
    """Three classes and a shift: 54 source and 36 target rows of 8 features and unit norm, in mixed order; read-only.

    `domain` is sample_domain, `y` has -1 on target rows, `truth` the label of every row.
    """
    rng = np.random.default_rng(0)
    truth = np.arange(90) % 3
    domain = rng.permutation(np.repeat([0, -1], [54, 36]))
    X = 5 * np.eye(8)[truth] + rng.normal(size=(90, 8))
    X[domain < 0] += [1, -1, 1, 0, 2, 0, 0, 0]
    X[domain < 0, 5] *= 2
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = np.where(domain < 0, -1, truth)
    for array in (X, y, truth, domain):
        array.setflags(write=False)
    return SimpleNamespace(X=X, y=y, truth=truth, domain=domain, Xt=X[domain < 0], yt=truth[domain < 0])
