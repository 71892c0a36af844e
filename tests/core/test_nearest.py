import array_api_strict as strict
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from shallowda.core.nearest import OneNearestNeighbor

rng = np.random.RandomState(0)
X, y, new = rng.randn(80, 4), rng.choice(["a", "b", "c"], size=80), rng.randn(50, 4)


def on_device(array):
    return strict.asarray(array, device=strict.Device("device1"))


def predictions_of_scikit_learn(metric, dtype):
    """By cosine: the Euclidean ranking of unit rows."""
    rows, queries = X.astype(dtype), new.astype(dtype)
    if metric == "cosine":
        rows, queries = (A / np.linalg.norm(A, axis=1, keepdims=True) for A in (rows, queries))
    return KNeighborsClassifier(1).fit(rows, y).predict(queries)


@pytest.mark.parametrize("place", [np.asarray, on_device], ids=["numpy", "device1"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_labels_are_those_of_scikit_learn(metric, dtype, place):
    rows, queries = place(X.astype(dtype)), place(new.astype(dtype))
    nearest = OneNearestNeighbor(metric).fit(rows, y)
    labels, expected = nearest.predict(queries), predictions_of_scikit_learn(metric, dtype)
    assert isinstance(labels, np.ndarray)
    np.testing.assert_array_equal(labels, expected)
    assert nearest.score(queries, expected) == 1
    proba = nearest.predict_proba(queries)
    assert isinstance(proba, np.ndarray)
    np.testing.assert_array_equal(nearest.classes_[proba.argmax(axis=1)], expected)


@pytest.mark.parametrize("place", [np.asarray, on_device], ids=["numpy", "device1"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_rows_are_kept_apart_from_the_callers(metric, place):
    rows = place(X.copy())
    nearest = OneNearestNeighbor(metric).fit(rows, y)
    rows[:, :] = 0.0
    np.testing.assert_array_equal(nearest.predict(place(new)), predictions_of_scikit_learn(metric, np.float64))


@pytest.mark.parametrize("place", [np.asarray, on_device], ids=["numpy", "device1"])
def test_nearness_is_of_the_two_nearest_classes(place):
    rows, y = place(np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0]])), ["a", "a", "b"]
    model = OneNearestNeighbor("euclidean").fit(rows, y)
    queries = place(np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [4.0, 0.5]]))
    far = np.hypot(4, 0.5)  # to the second row
    expected = [0.5, 0, 1, (far - 0.5) / (far + 0.5)]
    np.testing.assert_allclose(model.nearness(queries), expected, rtol=1e-6)
    assert np.isnan(OneNearestNeighbor().fit(rows, ["a"] * 3).nearness(queries)).all()


def test_a_zero_row_by_cosine():
    nearest = OneNearestNeighbor().fit([[0.0, 0.0], [1.0, 0.0]], [0, 1])
    np.testing.assert_array_equal(nearest.predict([[0.0, 0.0], [2.0, 0.0], [-2.0, 0.0]]), [0, 1, 0])


def test_bad_arrays_of_another_library():
    nearest = OneNearestNeighbor()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        nearest.fit(on_device(X), y[:3])
    with pytest.raises(ValueError, match="continuous"):
        nearest.fit(on_device(X), np.linspace(0, 1, 80))
    nearest.fit(on_device(X), y)
    with pytest.raises(ValueError, match="3 features"):
        nearest.predict(on_device(new[:, :3]))
    with pytest.raises(TypeError, match="different libraries"):
        nearest.predict(new)
