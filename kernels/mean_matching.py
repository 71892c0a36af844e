"""The quadratic programme of kernel mean matching, without its n x n matrix, solved to a duality gap that is computed.

    min_w  w^T K w / 2 - kappa^T w    subject to  0 <= w <= bound,  abs(mean(w) - 1) <= slack

A step minimises a model of the objective that has ``Z Z^T + delta I`` in place of K, with Z of a few hundred columns,
and goes along the exact parabola as far as it falls. Every step needs one product with K, which is computed in tiles,
and teaches Z one more column: where K had more curvature than the model. The gap is that of K, not of the model.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from shallowda.kernels.arrays import Array, as_dtype, from_numpy, namespace, take_rows, to_numpy
from shallowda.kernels.operators import TILE_BYTES, DenseGram, Operator, TiledGram
from shallowda.kernels.pairwise import Kernel
from shallowda.kernels.threads import parts

__all__ = ["MeanMatching", "match_means", "paper_slack"]

_STORED = 2**28  # bytes of a kernel matrix that is stored: from about 5800 rows on it is computed in tiles
_ALL_COLUMNS = 1000  # up to so many rows Z is a complete factor
_PIVOTS, _DIRECTIONS = 400, 200  # columns of Z from pivots, and from the leading directions of what these leave
_LEARNED = 100  # columns that steps teach; after these the oldest is replaced
_PASSES = 2  # products with K for the leading directions: a third one changed the gaps at n = 20 000 by a tenth
_RANK = 1e-12  # diagonal of what Z leaves, relative to that of K, at which it is complete
_FIRST_DAMPING, _LEAST_DAMPING = 1e-4, 1e-9  # of delta, relative to the trace of K
_NEWTON_STEPS = 100
_PATIENCE = 5  # steps in the dark that do not lower the gap
_DROWNED = 1e-12  # fall of a value, relative to it, that round-off may hide
_SHORTEST = 1e-6  # share of a Newton step
_EXACT = 1e-7  # gap that was reached on all of 60 random problems of 5 to 300 rows and 1 to 30 features


class MeanMatching(NamedTuple):
    """Solution of the quadratic programme.

    Attributes
    ----------
    weights : ndarray of shape (n_source,), float64
    gap : float
        Duality gap over ``w^T K w / 2``: the squared distance of the means is above its least value by no more than
        this share of the squared norm of the weighted source mean.
    n_iter : int
        Products with K: one for the weights to start from, one for each step.
    converged : bool
        Whether the gap is as small as was asked for, or as round-off allows.
    """

    weights: np.ndarray
    gap: float
    n_iter: int
    converged: bool

    def complaint(self) -> str:
        """That the gap is too large, and what to do."""
        return (
            f"Kernel mean matching did not converge in {self.n_iter} steps: the squared distance of the means may be "
            f"above the least one by {self.gap:.1e} of the squared norm of the weighted mean. Raise max_iter or tol, "
            "or choose a smaller gamma or fewer features, for example with PCA."
        )


def paper_slack(n_source: int) -> float:
    """Slack of the mean weight in the paper, ``(sqrt(n_source) - 1) / sqrt(n_source)``."""
    return (math.sqrt(n_source) - 1) / math.sqrt(n_source)


def match_means(
    source: Array,
    target: Array,
    kernel: Kernel,
    *,
    bound: float = 1000.0,
    slack: float | None = None,
    tol: float = 1e-5,
    max_iter: int = 200,
) -> MeanMatching:
    """Weights of the source rows whose weighted mean in the kernel's feature space is nearest to the target's.

    ``kappa_i = n_s / n_t sum_j k(s_i, t_j)``. Copies of a row are one unknown and share its weight, and the order of
    the rows does not matter, to the last bit. Of the many weights whose gap is below `tol` these are near to uniform:
    steps start from there, and the damping delta falls from step to step.

    Parameters
    ----------
    source : array of shape (n_source, d)
        Of NumPy, or of a library that follows the Array API standard: kernel values are computed where the rows are,
        in float64; the rest with NumPy.
    target : array of shape (n_target, d)
    kernel : Kernel
        Positive semi-definite, such as "rbf".
    bound : float > 0, default=1000
        Largest weight.
    slack : float in [0, 1], optional
        How far the mean weight may be from 1. Default: `paper_slack`.
    tol : float, default=1e-5
        Gap at which to end. Below 1e-7 means as small as round-off allows.
    max_iter : int >= 1, default=200
        Products with K at most.

    Returns
    -------
    solution : MeanMatching
        It has not converged where `max_iter` was not enough.

    Raises
    ------
    ValueError
        If no weights meet the bounds, or if the best ones are all zero: with a slack of 1 where no kernel value between
        the domains is more than round-off.

    Notes
    -----
    Cost: ``n_source n_target`` kernel values once, ``n_source^2 / 2`` for every step (stored up to 256 MiB), and a few
    times ``n_source r^2`` flops in it, with ``r <= 700`` columns of Z (1000 rows or fewer: r <= n_source). Memory:
    ``8 n_source r`` bytes and some tiles of 64 MiB.
    """
    n_source, n_target = source.shape[0], target.shape[0]
    slack = paper_slack(n_source) if slack is None else slack
    if bound < 1 - slack:
        raise ValueError(
            f"No weights meet bound={bound:g} and slack={slack:.3g}: their mean has to be at least {1 - slack:.3g}. "
            "Raise bound to 1 or more, or raise slack."
        )
    rows, which, copies = _distinct(source)
    others, _, repeats = _distinct(target)
    stored = 8 * len(copies) ** 2 <= _STORED
    K = DenseGram(kernel(rows)) if stored else TiledGram(rows, kernel)
    kappa = n_source / n_target * _sums(kernel, rows, others, repeats)
    if slack == 1 and kappa.max() <= n_source * np.finfo(float).eps:
        raise ValueError(
            "No source row is near a target row: all kernel values between them are zero to working precision, and "
            "with slack=1 the best weights are zero too. Choose a smaller gamma; if there is none, the domains do not "
            "overlap."
        )
    limits = _Limits(bound * copies, n_source * (1 - slack), n_source * (1 + slack))
    total, gap, n_iter = _solved(K, kappa, copies, limits, tol, max_iter)
    return MeanMatching((total / copies)[which], gap, n_iter, gap <= max(tol, _EXACT))


def _distinct(rows: Array) -> tuple[Array, np.ndarray, np.ndarray]:
    """Rows that differ, in float64 and an order of their own; which of them each row is; how many copies each has."""
    values = np.ascontiguousarray(to_numpy(rows), dtype=np.float64) + 0.0  # -0.0 is 0.0: equal rows have equal bytes
    keys = values.view(np.dtype((np.void, values.itemsize * values.shape[1])))[:, 0]
    _, place, which, copies = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    return as_dtype(take_rows(rows, place), namespace(rows).float64), which.reshape(-1), copies.astype(float)


def _sums(kernel: Kernel, rows: Array, others: Array, repeats: np.ndarray) -> np.ndarray:
    """``sum_j repeats_j k(rows_i, others_j)``, in tiles."""
    weights, step = from_numpy(repeats, rows), max(1, TILE_BYTES // (4 * 8 * others.shape[0]))
    return np.concatenate([to_numpy(kernel(rows[part, :], others) @ weights) for part in parts(rows.shape[0], step)])


class _Limits(NamedTuple):
    """The feasible set: entries between 0 and `upper`, their sum between `low` and `high`."""

    upper: np.ndarray
    low: float
    high: float

    def nearest(self, values: np.ndarray) -> tuple[np.ndarray, bool]:
        """The nearest feasible point, and whether a limit of the sum holds it."""
        inside = np.clip(values, 0.0, self.upper)
        total = inside.sum()
        if self.low <= total <= self.high:
            return inside, False
        wanted = self.low if total < self.low else self.high
        # sum(clip(values - shift)) falls with the shift, linearly between the points where an entry meets a limit
        corners = np.concatenate([values - self.upper, values])
        order = np.argsort(corners)
        corners = corners[order]
        falling = np.cumsum(np.where(order < len(values), 1.0, -1.0))[:-1]
        sums = self.upper.sum() - np.concatenate([[0.0], np.cumsum(falling * np.diff(corners))])
        after = min(max(int(np.searchsorted(-sums, -wanted)), 1), len(sums) - 1)  # sums[after] <= wanted, or nearly
        middle = (corners[after - 1] + corners[after]) / 2
        full = values - self.upper >= middle
        between = (values > middle) & ~full  # they make up the sum, at the price of one shift
        shift = (values[between].sum() + self.upper[full].sum() - wanted) / max(np.count_nonzero(between), 1)
        return np.clip(values - shift if between.any() else np.where(full, np.inf, -np.inf), 0.0, self.upper), True

    def excess(self, gradient: np.ndarray, point: np.ndarray) -> float:
        """Bound on a convex function at a point above its least value: it lies above its tangent.

        Least is the tangent where entries of smallest gradient are as large as they may be.
        """
        order = np.argsort(gradient)
        ordered, upper = gradient[order], self.upper[order]
        taken = np.cumsum(upper) - upper
        places = [np.clip(total - taken, 0.0, upper) for total in (self.low, self.high)]
        return float(gradient @ point - ordered @ np.where(ordered < 0, places[1], places[0]))


def _solved(
    K: Operator, kappa: np.ndarray, start: np.ndarray, limits: _Limits, tol: float, max_iter: int
) -> tuple[np.ndarray, float, int]:
    """Minimum of ``x^T K x / 2 - kappa^T x`` within limits, its relative gap, and the number of products.

    Where round-off hides whether the objective falls, steps are taken at their full length, and go on as long as the
    gap gets smaller now and then.
    """
    x, _ = limits.nearest(start)
    image, best, since = _product(K, x), x, 0
    least = math.inf
    model: _Model | None = None
    for n_iter in range(1, max_iter + 1):
        gradient, norm = image - kappa, x @ image / 2
        gap = max(limits.excess(gradient, x) / float(norm), 0.0)
        if gap < least:
            best, least, since = x, gap, 0
        if least <= tol or n_iter == max_iter or since > _PATIENCE:
            break
        model = model or _Model(K, x)
        step = model.minimum(gradient, x, limits) - x
        pushed = _product(K, step)
        slope, curvature, length = gradient @ step, step @ pushed, 1.0
        if -slope <= _DROWNED * norm:
            since += 1
        elif curvature > 0:
            length = min(1.0, -slope / curvature)
        x, image = np.clip(x + length * step, 0.0, limits.upper), image + length * pushed
        model.learn(step, pushed, x)
    return best, least, n_iter


def _product(K: Operator, block: np.ndarray) -> np.ndarray:
    """``K @ block`` for a vector or a block, back in NumPy."""
    like = K.diagonal()
    product = to_numpy(K @ from_numpy(np.ascontiguousarray(block.reshape(len(block), -1)), like))
    return product.reshape(block.shape)


class _Model:
    """``Z Z^T + delta I``, which stands for K in a step; `factor` is ``Z^T``."""

    def __init__(self, K: Operator, x: np.ndarray) -> None:
        n = K.shape[0]
        diagonal = to_numpy(K.diagonal())
        trace, most = diagonal.sum(), n if n <= _ALL_COLUMNS else _PIVOTS
        pivots, left = _pivoted(K, diagonal, most)
        self.least, self.delta = _LEAST_DAMPING * trace, _FIRST_DAMPING * trace
        found = [pivots]
        if left.sum() > self.delta:
            leading, ritz = _leading(K, pivots, min(_DIRECTIONS, n - len(pivots)))
            found.append(leading)
            self.delta = max(self.delta, ritz)
        self.first = sum(map(len, found))
        self.buffer = np.zeros((self.first + _LEARNED, n))
        np.concatenate(found, out=self.buffer[: self.first])
        self.columns, self.taught, self.fresh = self.first, 0, True
        self.dual = self.factor @ x

    @property
    def factor(self) -> np.ndarray:
        """``Z^T``."""
        return self.buffer[: self.columns]

    def learn(self, step: np.ndarray, pushed: np.ndarray, x: np.ndarray) -> None:
        """Take up what a product with K has told: a column of Z, and a damping that follows what Z leaves."""
        left = pushed - self.factor.T @ (self.factor @ step)
        curvature, length = step @ left, step @ step
        if curvature > self.delta * length:
            self.delta *= 2
        elif curvature < self.delta * length / 4:
            self.delta = max(self.least, self.delta / 2)
        if curvature > 1e-3 * self.delta * length:
            place = self.first + self.taught % _LEARNED
            self.buffer[place] = left / math.sqrt(curvature)
            self.taught += 1
            self.columns = self.first + min(self.taught, _LEARNED)
            self.dual = np.resize(self.dual, self.columns)
            self.dual[place] = self.buffer[place] @ x

    def minimum(self, gradient: np.ndarray, x: np.ndarray, limits: _Limits) -> np.ndarray:
        """Least point of the model with this gradient at x: ``v^T (Z Z^T + delta I) v / 2 - b^T v`` within limits.

        With u = Z^T v its dual is smooth: v is the feasible point nearest to ``(b - Z u) / delta``. Newton steps, at
        first with a larger delta, as they start far away.
        """
        pull = self.factor.T @ (self.factor @ x) - gradient
        if self.fresh:
            damping = 0.1 * self.least / _LEAST_DAMPING
            while damping > 4 * self.delta:
                self._newton(pull + damping * x, damping, limits, 1e-6)
                damping /= 10
            self.fresh = False
        return self._newton(pull + self.delta * x, self.delta, limits, 1e-12)

    def _newton(self, b: np.ndarray, delta: float, limits: _Limits, enough: float) -> np.ndarray:
        """Zero of ``u - Z^T v(u)``, the gradient of a convex function; from `dual`, and kept there."""
        Zt, u = self.factor, self.dual

        def at(u: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, bool]:
            wanted = (b - Zt.T @ u) / delta
            v, held = limits.nearest(wanted)
            return float(u @ u / 2 + delta * (wanted @ v - v @ v / 2)), u - Zt @ v, v, held

        value, rest, v, held = at(u)
        for _ in range(_NEWTON_STEPS):
            if np.linalg.norm(rest) <= enough * np.linalg.norm(u):
                break
            free = np.flatnonzero((v > 0) & (v < limits.upper))
            direction = -cho_solve(cho_factor(self._curvature(free, held, delta), overwrite_a=True), rest)
            slope, length = rest @ direction, 1.0
            drowned = -slope <= _DROWNED * abs(value)  # values no longer tell whether a step is too long: slopes do
            while length > _SHORTEST:
                trial = at(u + length * direction)
                if trial[1] @ direction <= -slope / 2 if drowned else trial[0] <= value + 1e-4 * length * slope:
                    break
                length /= 2
            else:
                break
            u = u + length * direction
            value, rest, v, held = trial
        self.dual = u
        return v

    def _curvature(self, free: np.ndarray, held: bool, delta: float) -> np.ndarray:
        """``I + Z_F^T P Z_F / delta`` on the free rows; P takes off the mean where the sum is held."""
        m, sums = self.columns, np.zeros(self.columns)
        H = np.zeros((m, m))
        for start in range(0, len(free), 4096):
            some = self.factor[:, free[start : start + 4096]]
            H += some @ some.T
            sums += some.sum(axis=1)
        if held and len(free):
            H -= np.outer(sums, sums / len(free))
        H /= delta
        H[np.diag_indices(m)] += 1.0
        return H


def _pivoted(K: Operator, diagonal: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """``Z^T`` of a pivoted Cholesky factor of K, and the diagonal of what it leaves."""
    left, enough = diagonal.copy(), _RANK * diagonal.max()
    Zt = np.empty((most, len(left)))
    for j in range(most):
        pivot = int(np.argmax(left))
        if left[pivot] <= enough:
            return Zt[:j], left
        column = to_numpy(K.columns(np.array([pivot])))[:, 0]
        Zt[j] = (column - Zt[:j].T @ Zt[:j, pivot]) / math.sqrt(left[pivot])
        left = np.maximum(left - Zt[j] ** 2, 0.0)
        left[pivot] = 0.0
    return Zt, left


def _leading(K: Operator, Zt: np.ndarray, most: int) -> tuple[np.ndarray, float]:
    """Columns that approximate ``R = K - Z Z^T`` from below, transposed, and the least of their Ritz values.

    Subspace iteration: with an orthonormal block P near R's leading directions, ``R P (P^T R P)^{-1} P^T R``.
    """
    block = np.random.default_rng(0).standard_normal((len(Zt.T), most))
    for _ in range(_PASSES):
        P = np.linalg.qr(block)[0]
        block = _product(K, P) - Zt.T @ (Zt @ P)
    inner = P.T @ block
    values, vectors = np.linalg.eigh((inner + inner.T) / 2)
    kept = values > 1e-10 * values[-1]
    return (block @ (vectors[:, kept] / np.sqrt(values[kept]))).T, float(values[kept][0])
