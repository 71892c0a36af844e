"""Rows that are found again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from shallowda import ARTL, BDA, CORAL, JDA, TJM, TCAEstimator
from shallowda.core.rows import rows_among


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


def test_constant_columns_do_not_make_every_row_a_place(monkeypatch):
    stored = np.ones((500, 3))
    stored[:, 2] = np.arange(500)
    compared = []
    monkeypatch.setattr(np, "array_equal", lambda a, b: compared.append(1) or bool((a == b).all()))
    assert rows_among(stored, stored[400:450].copy()) == slice(400, 450)
    assert rows_among(stored, np.array([[1.0, 1.0, -1.0]])) is None
    assert len(compared) == 1


@pytest.mark.filterwarnings("ignore:Every source row")
@pytest.mark.parametrize("kind", [TCAEstimator, JDA, BDA, TJM])
def test_what_transform_returns_may_be_written_into(kind):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), np.repeat([0, 1, -1], 10)
    model = kind(2, kernel="rbf").fit(X, y)
    Z = model.transform(X[20:])
    kept = Z.copy()
    Z[:] = 0
    np.testing.assert_array_equal(model.transform(X[20:]), kept)


@pytest.mark.filterwarnings("ignore:n_components")
@pytest.mark.parametrize("kind", [ARTL, CORAL, JDA])
def test_a_base_classifier_that_works_in_place_changes_nothing(kind):
    rng = np.random.default_rng(0)
    X, y = 3 * rng.standard_normal((60, 4)) + 1, np.repeat([0, 1, -1], 20)
    kept = X.copy()
    inside, beside = (make_pipeline(StandardScaler(copy=copy), LogisticRegression()) for copy in (False, True))
    model, other = kind(estimator=inside).fit(X, y), kind(estimator=beside).fit(X, y)
    np.testing.assert_array_equal(X, kept)
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    if hasattr(model, "transform"):
        np.testing.assert_array_equal(model.fit_transform(X, y), other.fit_transform(X, y))
