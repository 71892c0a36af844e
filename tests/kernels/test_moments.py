import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shallowda.kernels import moments
from shallowda.kernels.arrays import to_numpy
from shallowda.kernels.moments import CovarianceRoot, GroupSums, group_sums, mean_and_scatter


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(moments, "row_blocks", lambda rows, times=1: moments.parts(rows.shape[0], 7))


def on_device(array):
    return array_api_strict.asarray(array, device=array_api_strict.Device("device1"))


@pytest.mark.parametrize("place", [np.asarray, on_device])
def test_mean_and_scatter(place):
    X = np.random.RandomState(0).randn(50, 4) + 3
    Xc = X - X.mean(axis=0)
    mean, scatter = mean_and_scatter(place(X))
    np.testing.assert_allclose(to_numpy(mean), X.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(to_numpy(scatter), Xc.T @ Xc, atol=1e-12)


def test_a_large_mean_costs_no_digits():
    rng = np.random.RandomState(0)
    X = rng.randn(5000, 3) * [1, 1e-3, 1e-5] + 1e6
    X64 = X - 1e6  # exact
    exact = (X64 - X64.mean(axis=0)).T @ (X64 - X64.mean(axis=0))
    np.testing.assert_allclose(np.diag(mean_and_scatter(X)[1]), np.diag(exact), rtol=1e-9)


def test_sorted_rows_far_apart():
    """The sample that estimates the mean is spread over all rows."""
    rng = np.random.RandomState(0)
    X = np.r_[rng.randn(600, 3), rng.randn(600, 3) + 1e5]
    np.testing.assert_allclose(mean_and_scatter(X)[1], np.cov(X.T) * 1199, rtol=1e-12)


def test_float32_keeps_the_digits_of_a_long_sum():
    X = (np.random.RandomState(0).randn(20000, 3) + 50).astype(np.float32)
    exact = np.cov(X.astype(float).T) * (len(X) - 1)
    scatter = mean_and_scatter(X)[1]
    assert scatter.dtype == np.float64
    np.testing.assert_allclose(scatter, exact, atol=1e-9 * exact.max())


def test_a_memory_map_is_read_in_blocks(tmp_path):
    X = np.random.RandomState(0).randn(100, 5)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_allclose(mean_and_scatter(mapped)[1], mean_and_scatter(X)[1], atol=1e-12)


def unaligned(X):
    record = np.zeros(len(X), dtype=[("first", "i1"), ("rows", "f8", X.shape[1])])
    record["rows"] = X
    return record["rows"]


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: np.repeat(X, 2, axis=0)[::2],
        np.flip,
        np.flipud,
        np.fliplr,
        lambda X: np.flip(np.asfortranarray(X), axis=1),
        lambda X: np.lib.stride_tricks.sliding_window_view(X.ravel()[: len(X) + X.shape[1] - 1], X.shape[1]),
        unaligned,
    ],
)
@pytest.mark.parametrize("shape", [(50, 4), (900, 300), (30, 1), (1, 30)])
def test_moments_of_every_layout(layout, shape):
    X = np.random.RandomState(0).randn(*shape)
    view = layout(X)
    before = view.copy()
    mean, scatter = mean_and_scatter(view)
    centred = before - before.mean(axis=0)
    np.testing.assert_allclose(scatter, centred.T @ centred, atol=1e-12)
    np.testing.assert_allclose(mean, before.mean(axis=0), atol=1e-14)
    np.testing.assert_array_equal(scatter, scatter.T)
    np.testing.assert_array_equal(view, before)


@pytest.mark.parametrize("place", [np.asarray, on_device])
def test_group_sums(place):
    rng = np.random.RandomState(0)
    X, groups, origin = rng.randn(40, 3), rng.randint(4, size=40), rng.randn(3)
    expected = np.stack([(X[groups == g] - origin).sum(axis=0) for g in range(5)])
    np.testing.assert_allclose(to_numpy(group_sums(place(X), groups, 5, place(origin))), expected, atol=1e-13)


@given(seed=st.integers(0, 1000), changes=st.lists(st.integers(0, 40), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_sums_follow_changing_groups(seed, changes):
    rng = np.random.RandomState(seed)
    X, groups = rng.randn(40, 3), rng.randint(4, size=40)
    sums = GroupSums(X, X.mean(axis=0))
    for changed in changes:
        groups[rng.permutation(40)[:changed]] = rng.randint(4)
        np.testing.assert_allclose(sums(groups, 4), group_sums(X, groups, 4, X.mean(axis=0)), atol=1e-12)


@pytest.mark.parametrize("n_groups", [4, 70])  # 70: sparse indicators
def test_sums_of_many_changed_rows(n_groups):
    """More than are copied at a time, fewer than are worth a new sum."""
    rng = np.random.RandomState(0)
    X, groups = rng.randn(3000, 3) + 5, rng.randint(n_groups, size=3000)
    sums = GroupSums(X)
    sums(groups, n_groups)
    groups[::3] = rng.randint(n_groups, size=1000)
    np.testing.assert_allclose(sums(groups, n_groups), group_sums(X, groups, n_groups), atol=1e-10)


def test_sums_read_the_changed_rows_only():
    class Counting(np.ndarray):
        read = 0

        def __getitem__(self, index):
            if isinstance(index, np.ndarray):
                type(self).read += len(index)
            return np.asarray(super().__getitem__(index))

    X = np.random.RandomState(0).randn(40, 3).view(Counting)
    groups = np.arange(40) % 4
    sums = GroupSums(X, np.zeros(3))
    sums(groups, 4)
    groups = groups.copy()
    groups[[3, 8]] = 1, 2
    sums(groups, 4)
    assert Counting.read == 2


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 15), (10, 15)])
@pytest.mark.parametrize("exponent", [-0.5, 0.5, 1.0])
@pytest.mark.parametrize("ridge", [0.3, 0.0])
def test_powers_of_the_covariance(n, d, exponent, ridge):
    rng = np.random.RandomState(0)
    X, rows = rng.randn(n, d) + 2, rng.randn(5, d)
    root = CovarianceRoot(X, ridge)
    values, vectors = np.linalg.eigh(np.cov(X.T) + ridge * np.eye(d))
    powers = np.where(values > 1e-9, np.maximum(values, 1e-300) ** exponent, 0.0)
    np.testing.assert_allclose(root.power(rows, exponent), rows @ (vectors * powers) @ vectors.T, atol=1e-9)
    assert root.vectors.shape[1] == min(d, n - 1)
