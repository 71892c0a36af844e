"""The methods of the catalogue as small models, and a problem that all of them solve.

Tests of what every method promises take `method`, a `Subject`, which keeps its fits on the problem for the tests that
follow. Tests of mechanisms that a base class provides take `make`, over the methods that the catalogue names as
representatives.
"""

from functools import cached_property, partial

import array_api_strict as strict
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from shallowda import all_methods
from shallowda.core.adapter import BaseAdapter
from shallowda.core.catalogue import representatives
from shallowda.core.estimator import DomainAware
from shallowda.core.moment_adapter import MomentAdapter
from shallowda.core.pseudo_labels import PseudoLabelAdapter
from shallowda.core.weighting import SourceWeighting
from shallowda.kernels import planning
from shallowda.kernels.arrays import on_backend, to_numpy


def small(method, **params):
    """The method with the first parameters that its card has for tests."""
    return method(**{**method.card.tests[0], **params})


class Subject:
    """A method under test: its models, and one fit on the problem for each set of parameters of its card."""

    def __init__(self, method, problem):
        self.cls, self.card, self._problem = method, method.card, problem
        self._fits = {}

    def make(self, variant=0, **params):
        """A new model with parameters of the card."""
        return self.cls(**{**self.card.tests[variant], **params})

    @property
    def variants(self):
        """Numbers of the sets of parameters."""
        return range(len(self.card.tests))

    def fitted(self, variant=0):
        """The model fitted on the problem. It is shared: do not fit it again."""
        if variant not in self._fits:
            self._fits[variant] = self.make(variant).fit(self._problem.X, self._problem.y)
        return self._fits[variant]

    @property
    def transforms(self):
        """Whether it maps rows."""
        return issubclass(self.cls, BaseAdapter)

    @property
    def weighs(self):
        """Whether it weighs source rows for another estimator."""
        return issubclass(self.cls, SourceWeighting)

    @cached_property
    def needs_labels(self):
        """Whether it cannot be fitted without class labels."""
        return self.make()._requires_labels

    def values(self, model, X):
        """What is continuous in a model's view of rows, taken for target rows and for source rows.

        The embeddings by both maps, or scores or probabilities.
        """
        name = next(name for name in ("transform", "decision_function", "predict_proba") if hasattr(model, name))
        parts = [getattr(model, name)(X), getattr(model, name)(X, sample_domain=np.zeros(X.shape[0]))]
        return np.concatenate([to_numpy(part) for part in parts])


def _over(methods):
    @pytest.fixture(scope="session", params=methods.values(), ids=methods.keys())
    def make(request):
        return partial(small, request.param)

    return make


def _take(name):
    return {key: method for key, method in representatives().items() if name in method().get_params()}


make = _over(representatives())
make_adapter = _over({name: method for name, method in representatives().items() if issubclass(method, BaseAdapter)})
make_kernel = _over(_take("kernel"))


def _subjects(kind):
    found = {name: method for name, method in all_methods().items() if issubclass(method, kind)}

    @pytest.fixture(scope="session", params=found.values(), ids=found.keys())
    def method(request, problem):
        return Subject(request.param, problem)

    return method


method = _subjects(DomainAware)
adapter = _subjects(BaseAdapter)
method_of_moments = _subjects(MomentAdapter)
pseudo_label_method = _subjects(PseudoLabelAdapter)
weighting_method = _subjects(SourceWeighting)


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread():
    """Threads cost more than they give on problems of this size, above all on a busy machine."""
    with threadpool_limits(1):
        yield


def _elsewhere(array):
    return strict.asarray(array, device=strict.Device("device1"), copy=True)


def _on_cupy(array):
    return on_backend(array, "cupy")


@pytest.fixture(params=[_elsewhere, pytest.param(_on_cupy, marks=pytest.mark.gpu)], ids=["strict", "cupy"])
def device(request, monkeypatch):
    """The shapes of arrays that were moved to "cupy": there, or to the device of another library in its place."""
    moved = []
    if request.param is _on_cupy and (problem := planning.cupy_problem()):
        pytest.skip(problem)

    def listed(array, backend):
        if backend != "cupy" or not isinstance(array, np.ndarray):
            return array
        moved.append(array.shape)
        return request.param(array)

    if request.param is _elsewhere:
        monkeypatch.setattr(planning, "cupy_problem", lambda: None)
        monkeypatch.setattr(planning, "available_memory", lambda backend="numpy": 2**33)
    monkeypatch.setattr("shallowda.core.estimator.on_backend", listed)
    return moved
