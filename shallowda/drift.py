"""Watching a stream of target rows: how far each batch has drifted from what a model was adapted to.

Models that go on learning, those of moments such as `CORAL`, have `partial_fit`.
"""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import validate_data

from shallowda.core.rows import on_host
from shallowda.kernels.subspaces import pca_basis
from shallowda.metrics import permutation_test, proxy_a_distance

__all__ = ["Drift", "DriftRecord", "TargetDrift"]

_FEWEST = 10  # rows of either side for an A-distance: below, its standard error is above 0.3
_DIRECTIONS = 32  # of largest variance, which an A-distance sees: with more a linear classifier takes minutes


class Drift(NamedTuple):
    """How far a batch is from other rows.

    Attributes
    ----------
    mmd : float
        Squared maximum mean discrepancy, as `shallowda.metrics.mmd`. Without drift it is not 0 but about one over the
        number of rows of the batch: the p-value says what it means.
    p_value : float
        Of the permutation test with it. Without drift, at most alpha in a share alpha of all batches.
    a_distance : float in [0, 2]
        As `shallowda.metrics.proxy_a_distance`: 0 where a linear classifier cannot tell them apart, 2 where it makes no
        error. Of more than 32 features it sees the 32 directions of largest variance of both sides together. NaN with
        fewer than ten rows on either side, of which it would say nothing.
    """

    mmd: float
    p_value: float
    a_distance: float


class DriftRecord(NamedTuple):
    """What `TargetDrift.update` found in a batch.

    Attributes
    ----------
    n_rows : int
        Rows of the batch.
    n_seen : int
        Rows of all batches up to and with this one.
    reference : Drift or None
        Against the rows of `fit`, which stay as they are: sees slow drift as well. None without `fit`.
    earlier : Drift or None
        Against the rows of all batches before, from a uniform sample. None for the first batch.
    """

    n_rows: int
    n_seen: int
    reference: Drift | None
    earlier: Drift | None


class TargetDrift(BaseEstimator):
    """Compare batches of target rows with those that a model was adapted to.

    It knows nothing of the model. A model that was fitted once is adapted to the target rows of its fit: pass these to
    `fit`, and look at ``record.reference``. A model that goes on by `partial_fit` is adapted to all rows so far,
    equally weighed: look at ``record.earlier``, which compares with a uniform sample of them. Such a sample drifts
    along, so that slow drift shows there late; the reference shows it.

    Parameters
    ----------
    size : int, default=500
        Rows that are kept, of the reference and of the batches each. Of a larger batch as many are compared.
    n_permutations : int, default=999
        Of each test. The smallest p-value is ``1 / (1 + n_permutations)``.
    random_state : int, default=0
        Of what is kept, the permutations and the folds: the same batches give the same records.

    Attributes
    ----------
    reference_ : ndarray of shape (at most `size`, n_features), or None
        Of the rows of `fit`.
    reservoir_ : ndarray of shape (at most `size`, n_features)
        Uniform sample of the rows of all batches.
    history_ : list of DriftRecord
    n_features_in_, feature_names_in_
        As usual.

    Notes
    -----
    Cost of an update: for either comparison a kernel matrix of 2 `size` rows, its product with `n_permutations`
    columns, and five linear classifiers, whatever the number of rows so far. Memory 2 `size` rows.

    Many batches are many tests: with alpha = 0.05 every twentieth batch is a false alarm. The test takes the rows of a
    batch as independent; the frames of one video are not, and differ from other rows without any drift.

    References
    ----------
    J. S. Vitter. "Random sampling with a reservoir". ACM Transactions on Mathematical Software 11(1), 1985.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import TargetDrift
    >>> rng = np.random.RandomState(0)
    >>> drift = TargetDrift().fit(rng.randn(300, 4))
    >>> drift.update(rng.randn(50, 4)).reference.p_value > 0.05
    True
    >>> drift.update(rng.randn(50, 4) + 1).reference.p_value
    0.001
    """

    _kept_types = (Drift, DriftRecord)

    _parameter_constraints: dict = {
        "size": [Interval(Integral, 2, None, closed="left")],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "random_state": [Interval(Integral, 0, None, closed="left")],
    }

    reference_: np.ndarray | None

    def __init__(self, size: int = 500, *, n_permutations: int = 999, random_state: int = 0) -> None:
        self.size = size
        self.n_permutations = n_permutations
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: None = None) -> TargetDrift:
        """Begin anew, with the rows that a model was adapted to as the reference.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Target rows of the model's fit.
        y : None
            Not used.

        Returns
        -------
        self : TargetDrift
        """
        self._validate_params()
        X = validate_data(self, on_host(X), dtype=np.float64)
        self._begin(X.shape[1])
        self.reference_ = self._some(X, np.random.default_rng(self.random_state))
        return self

    def update(self, X: ArrayLike) -> DriftRecord:
        """Compare a batch with the rows before, then keep a sample of it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New target rows, scaled as those before.

        Returns
        -------
        record : DriftRecord
            Also the last entry of `history_`.

        Raises
        ------
        ValueError
            If the rows are not finite, their features are not those of the rows before, or `size` has changed.
        """
        self._validate_params()
        first = not hasattr(self, "history_")
        if not first and self.size != self._capacity:
            raise ValueError(
                f"size was {self._capacity} when the first rows came and is {self.size} now, which would spoil the "
                "uniform sample. Begin anew with fit."
            )
        X = validate_data(self, on_host(X), dtype=np.float64, reset=first)
        if first:
            self._begin(X.shape[1])
        seen = self.history_[-1].n_seen if self.history_ else 0
        rng = np.random.default_rng((self.random_state, 1 + len(self.history_)))
        batch = self._some(X, rng)
        compared = [
            self._compare(rows, batch, int(rng.integers(2**31))) if rows is not None and len(rows) else None
            for rows in (self.reference_, self.reservoir_)
        ]
        self._sample(X, seen, rng)
        self.history_.append(DriftRecord(len(X), seen + len(X), *compared))
        return self.history_[-1]

    def _begin(self, n_features: int) -> None:
        self.reference_, self._capacity = None, self.size
        self.reservoir_ = np.empty((0, n_features))
        self.history_: list[DriftRecord] = []

    def _some(self, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """At most `size` rows."""
        return X.copy() if len(X) <= self.size else X[np.sort(rng.permutation(len(X))[: self.size])]

    def _compare(self, rows: np.ndarray, batch: np.ndarray, seed: int) -> Drift:
        test = permutation_test(rows, batch, n_permutations=self.n_permutations, random_state=seed)
        a_distance = float("nan")
        if min(len(rows), len(batch)) >= _FEWEST:
            if rows.shape[1] > _DIRECTIONS:
                basis = pca_basis(np.concatenate([rows, batch]), _DIRECTIONS)[1]
                rows, batch = rows @ basis, batch @ basis
            a_distance = proxy_a_distance(rows, batch, random_state=seed) if rows.shape[1] else 0.0  # all rows equal
        return Drift(test.statistic, test.p_value, a_distance)

    def _sample(self, X: np.ndarray, seen: int, rng: np.random.Generator) -> None:
        """Algorithm R: row number i takes a place among `size` with probability ``size / i``, whichever it is."""
        places = rng.integers(np.arange(seen, seen + len(X)) + 1)
        filling = max(min(self.size - seen, len(X)), 0)
        places[:filling] = np.arange(seen, seen + filling)
        kept = places < self.size
        grown = np.concatenate([self.reservoir_, X[:filling]])
        grown[places[kept]] = X[kept]  # of two rows for one place the later one stays
        self.reservoir_ = grown
