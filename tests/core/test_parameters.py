"""Hints at the parameter that is meant: for names and values that are misspelt, or that other packages have."""

import inspect
import pickle
from copy import deepcopy

import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from shallowda import CORAL, JGSA, LabeledOnly, PerDomain, TCAEstimator, all_methods, make_pipeline

METHODS = all_methods()

#: What users of other packages write, and what they mean, wherever a method has such a parameter.
ELSEWHERE = [
    ("dim", {"n_components"}),
    ("lamb", {"ridge", "mmd_weight", "coupling"}),
    ("lambda_", {"ridge", "mmd_weight", "coupling"}),
    ("kernel_type", {"kernel"}),
    ("n_component", {"n_components"}),
    ("n_iter", {"max_iter"}),
]


def parameters(method):
    return set(inspect.signature(method).parameters)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
@pytest.mark.parametrize(("name", "meant"), ELSEWHERE, ids=[name for name, _ in ELSEWHERE])
class TestNames:
    def test_constructor_and_set_params_say_the_same(self, method, name, meant):
        with pytest.raises(TypeError, match=rf"got an unexpected keyword argument '{name}'") as made:
            method(**{name: 1})
        with pytest.raises(ValueError, match=rf"Invalid parameter '{name}' for estimator .* Valid param") as changed:
            method().set_params(**{name: 1})
        hints = {str(error.value).partition("Did you mean ")[2] for error in (made, changed)}
        assert len(hints) == 1
        hint = hints.pop()
        if found := parameters(method) & meant:
            assert hint.rstrip("?") in found
        else:
            assert hint.rstrip("?") not in meant


@pytest.mark.parametrize(
    ("method", "name", "meant"),
    [
        (TCAEstimator, "mu", "ridge"),
        (JGSA, "mu", "target_variance"),
        (JGSA, "alpha", "coupling"),
        (CORAL, "reg", "ridge"),
    ],
)
def test_symbols_mean_what_the_docstring_of_the_method_says(method, name, meant):
    with pytest.raises(TypeError, match=rf"Did you mean {meant}\?$"):
        method(**{name: 1})


def test_nothing_is_guessed_where_nothing_comes_near():
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'xyz'\.$"):
        CORAL(xyz=1)


@pytest.mark.parametrize("method", [m for m in METHODS.values() if "kernel" in parameters(m)])
def test_values(method, problem):
    optional = inspect.signature(method).parameters["kernel"].default is None
    with pytest.raises(ValueError, match="Got 'primal' instead") as refused:
        method(kernel="primal").fit(problem.X, problem.y)
    assert ("kernel: None " in str(refused.value)) == optional
    with pytest.raises(ValueError, match=r"Got 'liner' instead. Did you mean 'linear'"):
        method(kernel="liner").fit(problem.X, problem.y)
    with pytest.raises(ValueError, match=r"Got -1 instead\.$"):
        method(kernel=-1).fit(problem.X, problem.y)


def test_what_is_held_is_pointed_at(problem):
    pipe = make_pipeline(PerDomain(StandardScaler()), CORAL(estimator=LogisticRegression()), LogisticRegression())
    for name, meant in [
        ("logisticregression__C", "estimator__C, and in a pipeline <name of the step>__estimator__C"),
        ("perdomain__with_mean", "transformer__with_mean"),
        ("coral__C", "estimator__C"),
    ]:
        with pytest.raises(ValueError, match=rf"Did you mean {meant}"):
            pipe.set_params(**{name: 1})
    with pytest.raises(ValueError, match="Did you mean estimator__C"):
        GridSearchCV(pipe, {"logisticregression__C": [1.0]}).fit(problem.X, problem.y)
    with pytest.raises(ValueError, match="Invalid parameter 'D' for estimator LogisticRegression"):
        pipe.set_params(logisticregression__estimator__D=1)  # scikit-learn's own
    with pytest.raises(TypeError, match="unexpected keyword argument 'classifier'"):
        LabeledOnly(classifier=LogisticRegression())


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_constructors_look_as_before(method):
    assert "self" not in parameters(method)
    assert method.__init__.__qualname__.endswith("__init__")
    model = method()
    assert set(model.get_params(deep=False)) == parameters(method)
    for copied in (clone(model), deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied.get_params().keys() == model.get_params().keys()
    with pytest.raises(TypeError, match="positional"):
        method(*range(30))


def test_a_class_in_place_of_an_estimator():
    with pytest.raises(ValueError, match="Invalid parameter 'C'"):
        CORAL(estimator=LogisticRegression).set_params(C=1)


def test_subclasses_may_pass_parameters_on():
    class Named(CORAL):
        def __init__(self, name="", **others):
            self.name = name
            super().__init__(**others)

    assert Named("mine", ridge=0.5).ridge == 0.5
    with pytest.raises(TypeError, match="Did you mean ridge"):
        CORAL(rigde=0.5)
