"""Rows come in any order, labels by any name, arrays in any layout: the model is the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CLOSE = {"rtol": 1e-6, "atol": 1e-8}
few = settings(max_examples=6, deadline=None, derandomize=True, database=None)


@few
@given(order=st.permutations(range(90)))
def test_permuted_rows_are_permuted_results(make_adapter, problem, order):
    Z = make_adapter().fit_transform(problem.X, problem.y)
    np.testing.assert_allclose(make_adapter().fit_transform(problem.X[order], problem.y[order]), Z[order], **CLOSE)


@few
@given(order=st.permutations(range(90)))
def test_permuted_rows_change_no_prediction(make, problem, order):
    plain = make().fit(problem.X, problem.y)
    permuted = make().fit(problem.X[order], problem.truth[order], sample_domain=problem.domain[order])
    np.testing.assert_array_equal(permuted.predict(problem.X), plain.predict(problem.X))


@pytest.mark.parametrize("kernel", ["linear", "rbf", "laplacian"])
def test_permuted_rows_with_a_kernel(make_kernel, problem, kernel):
    order = np.random.default_rng(1).permutation(90)
    plain = make_kernel(kernel=kernel).fit(problem.X, problem.y)
    permuted = make_kernel(kernel=kernel).fit(problem.X[order], problem.y[order])
    np.testing.assert_array_equal(permuted.predict(problem.X), plain.predict(problem.X))
    if hasattr(plain, "transform"):
        np.testing.assert_allclose(permuted.transform(problem.X), plain.transform(problem.X), rtol=1e-5, atol=1e-7)


def test_attributes_per_row_keep_the_order_of_the_rows(make, problem):
    order = np.random.default_rng(2).permutation(90)
    plain = make().fit(problem.X, problem.y)
    permuted = make().fit(problem.X[order], problem.y[order])
    place = np.empty(90, dtype=int)
    place[order] = np.arange(90)  # where each row went
    for name, side in (("pseudo_labels_", problem.domain < 0), ("source_relevance_", problem.domain >= 0)):
        if hasattr(plain, name):
            went = np.argsort(np.argsort(place[side]))  # its place among the rows of its domain
            np.testing.assert_allclose(getattr(permuted, name)[went], getattr(plain, name), **CLOSE)


def test_fit_transform_is_transform_of_the_training_rows(make_adapter, problem):
    model = make_adapter()
    Z = model.fit_transform(problem.X, problem.y)
    np.testing.assert_allclose(model.transform(problem.X, sample_domain=problem.domain), Z, **CLOSE)
    np.testing.assert_allclose(model.transform(problem.Xt), Z[problem.domain < 0], **CLOSE)
    refitted = make_adapter().fit(problem.X, problem.y)
    np.testing.assert_array_equal(refitted.transform(problem.X), model.transform(problem.X))


def test_rows_are_mapped_one_by_one(make_adapter, problem):
    model = make_adapter().fit(problem.X, problem.y)
    Z = model.transform(problem.X[:5], sample_domain=problem.domain[:5])
    single = [model.transform(problem.X[i : i + 1], sample_domain=problem.domain[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(single, Z, **CLOSE)


@pytest.mark.parametrize("names", [["a", "b", "c"], ["c", "a", "b"], [20, 10, 30], [2.0, 0.0, 1.0]])
def test_renamed_classes_are_renamed_predictions(make, problem, names):
    names = np.array(names)
    plain = make().fit(problem.X, problem.y).predict(problem.X)
    model = make().fit(problem.X, names[problem.truth], sample_domain=problem.domain)
    np.testing.assert_array_equal(model.predict(problem.X), names[plain])
    assert model.predict(problem.X).dtype == names.dtype
