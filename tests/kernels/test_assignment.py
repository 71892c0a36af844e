"""The assignment that leaves no class empty, against the linear programme and against all assignments there are."""

import itertools

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.distance import cdist

from shallowda.kernels.arrays import to_numpy
from shallowda.kernels.assignment import cover_classes, euclidean_distances


def programme(D):
    """Minimum of the dense linear programme."""
    n, C = D.shape
    each_row, each_class = np.kron(np.eye(n), np.ones(C)), np.kron(np.ones(n), np.eye(C))
    done = linprog(D.ravel(), -each_class, -np.ones(C), each_row, np.ones(n), bounds=(0, 1), method="highs")
    assert done.success
    return done.fun


def total(D, codes):
    return D[np.arange(len(D)), codes].sum()


@st.composite
def costs(draw, most_rows=14, most_classes=6, whole=False):
    """Distances of rows to classes, some of which are farther than the others from every row."""
    n_classes = draw(st.integers(1, most_classes))
    n = n_classes + draw(st.integers(0, most_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if whole:
        return rng.integers(0, 5, (n, n_classes)).astype(float)
    return rng.random((n, n_classes)) + draw(st.sampled_from([0.0, 0.5, 3.0])) * rng.random(n_classes)


@settings(max_examples=150)
@given(costs())
def test_it_is_the_optimum_of_the_linear_programme(D):
    codes, prices = cover_classes(D)
    C = D.shape[1]
    assert set(codes) == set(range(C))
    assert total(D, codes) == pytest.approx(programme(D), abs=1e-9)
    # optimality by the multipliers: they are not negative, they are zero where a class can spare a row, and no row has
    # a better class at these prices. The optimum is unique (continuous costs), so they tell it from all others.
    assert prices.min() >= 0
    assert np.all(prices[np.bincount(codes, minlength=C) > 1] == 0)
    np.testing.assert_array_equal((D - prices).argmin(axis=1), codes)
    nearest = D.argmin(axis=1)
    if len(set(nearest)) == C:
        np.testing.assert_array_equal(codes, nearest)
        assert not prices.any()


@settings(max_examples=100)
@given(costs(whole=True))
def test_ties_cost_nothing(D):
    codes, prices = cover_classes(D)
    assert set(codes) == set(range(D.shape[1]))
    assert total(D, codes) == pytest.approx(programme(D), abs=1e-9)
    reduced = D - prices
    assert np.all(reduced[np.arange(len(D)), codes] <= reduced.min(axis=1) + 1e-12)


@settings(max_examples=150)
@given(costs(most_rows=3, most_classes=3, whole=True))
def test_prices_tell_a_unique_optimum_however_many_costs_are_equal(D):
    n, C = D.shape
    totals = sorted(total(D, list(codes)) for codes in itertools.product(range(C), repeat=n) if len(set(codes)) == C)
    codes, prices = cover_classes(D)
    assert total(D, codes) == totals[0]
    if len(totals) == 1 or totals[1] > totals[0]:
        np.testing.assert_array_equal((D - prices).argmin(axis=1), codes)


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(0, 2))
def test_optima_that_are_equal_but_for_round_off(seed, n_classes, more):
    """Points on a line beside the centres: every matching costs the same, and no two sums round alike."""
    rng = np.random.default_rng(seed)
    check_on_a_line(rng.integers(0, 9, n_classes) / 10, 1 + rng.integers(0, 12, n_classes + more) / 10)


def test_prices_that_round_off_would_raise_without_end():
    check_on_a_line(np.array([0.0, 0.4, 0.8]), np.array([1.0, 1.5, 2.0]))


def check_on_a_line(centres, points):
    D = np.abs(points[:, None] - centres)
    codes, prices = cover_classes(D)
    assert set(codes) == set(range(len(centres)))
    assert total(D, codes) == pytest.approx(programme(D), abs=1e-9)
    assert prices.min() >= 0
    reduced = D - prices
    assert np.all(reduced[np.arange(len(D)), codes] <= reduced.min(axis=1) + 1e-12)


@pytest.mark.parametrize(
    "D",
    [
        [[4, 0, 3], [1, 1, 3], [3, 1, 3]],
        [[0, 2, 3], [4, 4, 2], [0, 4, 1]],
        [[2, 0, 0], [1, 2, 1], [2, 0, 1]],  # prices count up to a constant, which has to be taken off
        [[1, 3, 0], [0, 2, 0], [1, 1, 0]],
        [[5, 0, 4], [5, 1, 1], [0, 4, 5], [3, 3, 4], [0, 5, 5]],  # prices of single rows that cannot fall below zero
        [[3, 1, 1], [3, 0, 1], [1, 0, 2], [3, 3, 1]],
    ],
)
def test_prices_of_more_classes_than_those_of_moved_rows(D):
    """With these alone some row would be as well placed elsewhere."""
    D = np.array(D, dtype=float)
    n, C = D.shape
    codes, prices = cover_classes(D)
    reduced = D - prices
    assert prices.min() == 0
    assert np.all(prices[np.bincount(codes, minlength=C) > 1] == 0)
    assert np.all(reduced[np.arange(n), codes] <= reduced.min(axis=1) + 1e-12)
    totals = [total(D, list(other)) for other in itertools.product(range(C), repeat=n) if len(set(other)) == C]
    if np.sum(np.isclose(totals, total(D, codes))) == 1:
        np.testing.assert_array_equal(reduced.argmin(axis=1), codes)


def test_a_class_that_keeps_its_row_has_no_price():
    codes, prices = cover_classes(np.array([[0.0, 5.0, 9.0], [0.1, 5.0, 9.0], [9.0, 9.0, 0.0]]))
    np.testing.assert_array_equal(codes, [0, 1, 2])
    np.testing.assert_allclose(prices, [0, 4.95, 0])


@settings(max_examples=50)
@given(costs(), st.integers(0, 2**32 - 1))
def test_rows_and_classes_may_come_in_any_order(D, seed):
    rng = np.random.default_rng(seed)
    rows, classes = rng.permutation(D.shape[0]), rng.permutation(D.shape[1])
    (codes, prices), (permuted, others) = cover_classes(D), cover_classes(D[rows][:, classes])
    np.testing.assert_array_equal(classes[permuted], codes[rows])
    np.testing.assert_allclose(others, prices[classes], atol=1e-9)


def test_a_row_that_was_the_only_one_of_its_class_is_replaced():
    """Two rows move for one empty class: 0.1 + 0.2 is less than the 5 that moving one of the many would cost."""
    D = np.array([[0.0, 9.0, 5.0], [0.0, 9.0, 5.0], [0.0, 0.2, 5.0], [9.0, 0.0, 0.1]])
    codes, prices = cover_classes(D)
    np.testing.assert_array_equal(codes, [0, 0, 1, 2])
    assert prices[0] == 0
    assert 0.2 < prices[1] < 9
    assert prices[1] + 0.1 < prices[2] < 5


def test_one_row_moves_to_the_empty_class_and_the_price_lies_between_it_and_the_next():
    D = np.array([[0.0, 4.0], [0.0, 3.0], [0.0, 1.0]])
    codes, prices = cover_classes(D)
    np.testing.assert_array_equal(codes, [0, 0, 1])
    np.testing.assert_allclose(prices, [0, 2])


def test_no_row_moves_between_equally_near_classes_without_need():
    D = np.array([[1.0, 1.0, 5.0], [2.0, 1.0, 5.0], [0.0, 3.0, 4.0]])
    codes, _ = cover_classes(D)
    np.testing.assert_array_equal(codes[:2], [0, 1])
    D = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])  # equal classes: one row has to
    assert sorted(cover_classes(D)[0]) == [0, 0, 1]


@pytest.mark.parametrize("n", [400, 30])
def test_few_rows_are_candidates_and_the_optimum_is_that_of_all(n, monkeypatch):
    """With more than C^2 rows only the C of smallest regret in each class are looked at."""
    rng = np.random.default_rng(0)
    D = rng.random((n, 6)) + 2 * np.arange(6)
    codes, _ = cover_classes(D)
    assert total(D, codes) == pytest.approx(programme(D), abs=1e-9)
    assert np.count_nonzero(codes) == 5


def test_many_classes_and_rows():
    """65 classes, 100000 rows, most classes empty: a matter of a fifth of a second."""
    rng = np.random.default_rng(0)
    D = rng.random((100_000, 65)) + 2 * rng.random(65)
    codes, prices = cover_classes(D)
    assert len(set(codes)) == 65 > len(set(D.argmin(axis=1))) + 30
    np.testing.assert_array_equal((D - prices).argmin(axis=1), codes)  # with prices that prove it the optimum
    assert np.all(prices[np.bincount(codes) > 1] == 0)


def test_too_few_rows():
    with pytest.raises(ValueError, match=r"2 row\(s\).*3 classes"):
        cover_classes(np.zeros((2, 3)))


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_distances(offset, dtype):
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(700, 5)) + offset).astype(dtype)
    centres = rng.normal(size=(4, 5)) + offset
    expected = cdist(rows.astype(float), centres)
    found = euclidean_distances(rows, centres)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    device = strict.Device("device1")
    there = euclidean_distances(strict.asarray(rows, device=device), strict.asarray(centres, device=device))
    assert there.device == device
    np.testing.assert_allclose(to_numpy(there), expected, rtol=1e-9)
    np.testing.assert_array_equal(euclidean_distances(centres, centres).argmin(axis=1), range(4))
