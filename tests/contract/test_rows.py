"""Rows that are found again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shallowda._rows import rows_among


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_rows_are_found_where_they_lie(seed, n, m):
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, 2, (n, 2)).astype(float)  # many rows are alike
    start = rng.integers(0, n)
    rows = stored[start : start + m]
    place = rows_among(stored, rows)
    assert place.start <= start
    np.testing.assert_array_equal(stored[place], rows)


@given(st.integers(0, 2**32 - 1))
def test_what_does_not_lie_there_is_not_found(seed):
    rng = np.random.default_rng(seed)
    stored, rows = rng.integers(0, 2, (8, 2)).astype(float), rng.integers(0, 2, (3, 2)).astype(float)
    place = rows_among(stored, rows)
    starts = [i for i in range(6) if np.array_equal(stored[i : i + 3], rows)]
    assert (place is None) if not starts else place == slice(starts[0], starts[0] + 3)


@pytest.mark.parametrize(
    "rows", [np.ones((9, 2)), np.ones((2, 2), np.float32), np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 1.0]])]
)
def test_more_rows_another_dtype_or_a_change_in_the_middle(rows):
    assert rows_among(np.ones((8, 2)), rows) is None
