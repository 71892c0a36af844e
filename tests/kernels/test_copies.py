"""Equal rows, found and counted as one."""

import array_api_strict as strict
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shallowda.kernels.copies import first_equal, of_first, places_of, row_keys


@given(st.integers(0, 2**32 - 1), st.integers(1, 15), st.integers(1, 12))
def test_the_first_of_equal_rows(seed, m, d):
    """Few values, so that many rows are equal; zeros have signs."""
    rng = np.random.default_rng(seed)
    rows = (rng.integers(-1, 2, (m, d)) * rng.choice([1.0, -0.0])).astype(rng.choice([np.float32, np.float64]))
    rows[rng.integers(m)] = rows[0]
    apart, kept = rng.random(m) < 0.5, rows.copy()
    equal = (rows[:, None] == rows[None]).all(axis=2)
    np.testing.assert_array_equal(first_equal(rows), equal.argmax(axis=1))
    np.testing.assert_array_equal(first_equal(strict.asarray(rows)), equal.argmax(axis=1))
    np.testing.assert_array_equal(first_equal(np.asfortranarray(rows)), equal.argmax(axis=1))
    np.testing.assert_array_equal(
        first_equal(rows, apart=apart), (equal & (apart[:, None] == apart[None])).argmax(axis=1)
    )
    np.testing.assert_array_equal(rows, kept)


def test_rows_that_differ_in_one_late_column():
    rows = np.ones((6, 100))
    rows[[1, 3], 98] = 2
    np.testing.assert_array_equal(first_equal(rows), [0, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(of_first(rows[:, 98], first_equal(rows)), rows[:, 98])


def test_results_of_the_first_of_equal_rows():
    results = np.arange(4.0)
    assert of_first(results, np.arange(4)) is results
    np.testing.assert_array_equal(of_first(results, np.array([0, 0, 2, 0])), [0, 0, 2, 0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 15), st.integers(1, 6), st.integers(1, 12))
def test_places_among_stored_rows(seed, m, d, n):
    rng = np.random.default_rng(seed)
    stored = rng.integers(-1, 2, (n, d)) * rng.choice([1.0, -0.0])
    rows = rng.integers(-1, 2, (m, d)).astype(rng.choice([np.float32, np.float64]))
    equal = (rows[:, None] == stored[None]).all(axis=2)
    expected = np.where(equal.any(axis=1), equal.argmax(axis=1), -1)
    keys, places = np.unique(row_keys(stored), return_index=True)
    np.testing.assert_array_equal(places_of(rows, stored, keys, places), expected)


def test_a_key_that_two_rows_share_is_no_match():
    stored, rows = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [1.0, 2.0]])
    np.testing.assert_array_equal(places_of(rows[:1], stored, row_keys(rows[:1]), np.array([0])), [-1])
