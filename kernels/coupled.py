"""Two coupled projections, one for each domain: the matrices and the eigenproblem of JGSA.

With A the map of the source and B that of the target, ``W = [A; B]``::

    max  tr(W^T N W) / tr(W^T (D + U U^T) W)
    N = [ beta S_b   0    ]        D = [ lam I + beta S_w   -lam I       ]        U = [ X_s^T E_s ]
        [ 0          mu S_t ]          [ -lam I             (lam + mu) I ]            [ X_t^T E_t ]

S_b and S_w are the scatter of the source between and within classes, S_t that of the target, and E the factor of the
MMD matrix. Only U changes from pass to pass. D is factored by blocks: with ``s = lam + mu`` and the Schur complement
``P = lam mu / s I + beta S_w`` of its second block::

    W^T D W = A^T P A + s |B - lam / s A|^2,

so only P, of order d, needs a Cholesky factor. S_b is kept as a factor of one column for each class.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shallowda.kernels.arrays import Array, as_dtype, from_numpy, namespace, symmetric_product
from shallowda.kernels.eigen import TOLERANCE, CholeskyRoot, GeneralPencil, psd_eigh
from shallowda.kernels.mmd import MMDFactor
from shallowda.kernels.moments import (
    GroupSums,
    group_sums,
    mean_and_scatter,
    resolved,
    rows_eps,
    scatter_spectrum,
    within_scatter,
)
from shallowda.kernels.spaces import span_coordinates

__all__ = ["Coordinates", "CoupledSpace", "kernel_coordinates", "principal_coordinates", "span"]


class Coordinates(NamedTuple):
    """Rows of both domains as coordinates, and how features of new rows become such: ``features @ after - centre``.

    Attributes
    ----------
    rows : array of shape (n, r)
    after : array of shape (m, r), or None
        None where features are coordinates.
    centre : array of shape (r,), or None
        None where nothing is subtracted.
    roots : array of shape (r,), or None
        Norms of the coordinates over all rows, where maps are weights of the samples: ``a / roots`` has the length of
        the shortest weights that make the map a.
    """

    rows: Array
    after: Array | None = None
    centre: Array | None = None
    roots: Array | None = None

    def lift(self, A: Array) -> tuple[Array, Array]:
        """Components (k, m) and intercept (k,) of the map ``(features @ after - centre) @ A`` of new rows."""
        xp = namespace(A)
        components = (A if self.after is None else as_dtype(self.after, A.dtype) @ A).T
        return components, xp.zeros_like(A[0, :]) if self.centre is None else -(self.centre @ A)

    def squared_lengths(self, A: Array) -> Array:
        """Squares of the lengths of the columns of A, as maps of the features or as weights of the samples: (k,)."""
        return namespace(A).sum((A if self.roots is None else A / self.roots[:, None]) ** 2, axis=0)


def span(X: Array) -> Coordinates:
    """Rows in a basis of their span, or as they are."""
    return Coordinates(*span_coordinates(X))


def principal_coordinates(features: Array, after: Array | None = None) -> Coordinates:
    """Centred rows in the basis of their principal axes: the feature space of the centred kernel of their products.

    Cost: a Gram pass, the eigenvectors of a matrix of order min(n, m), and a product to turn the rows; memory for those
    and for the turned rows in float64.

    Parameters
    ----------
    features : array of shape (n, m)
    after : array of shape (l, m), optional
        Given when new rows come as other features, which are multiplied by it first.
    """
    mean, values, vectors = scatter_spectrum(features)
    rows = as_dtype(features, mean.dtype) @ vectors
    centre = mean @ vectors
    turned = vectors if after is None else as_dtype(after, mean.dtype) @ vectors
    return Coordinates(rows - centre, turned, centre, namespace(values).sqrt(values))


def kernel_coordinates(K: Array) -> Coordinates:
    """Z with ``Z Z^T = H K H``: rows in the centred feature space of a kernel.

    With ``H K H = Q diag(s) Q^T``, ``Z = Q diag(s)^{1/2}``, and kernel values of a new row are mapped by ``Q
    diag(s)^{-1/2}``. Directions that are round-off of K in its dtype are left out.

    Cost: the eigenvectors of one n x n matrix; memory for five.

    Parameters
    ----------
    K : array of shape (n, n), symmetric
    """
    xp = namespace(K)
    eps, n = float(xp.finfo(K.dtype).eps), K.shape[0]
    C = as_dtype(K, xp.float64)
    mean, largest = xp.mean(C, axis=0), float(xp.max(xp.abs(xp.linalg.diagonal(C))))
    C = C - mean[:, None] - mean[None, :] + xp.mean(mean)
    values, vectors = psd_eigh(0.5 * (C + C.T), noise=n * eps * largest)
    roots = xp.sqrt(values)
    after = vectors / roots
    after = after - xp.mean(after, axis=0)  # orthogonal to constants but for round-off, which a far mean would raise
    return Coordinates(vectors * roots, after, mean @ after, roots)


class CoupledSpace:
    """The eigenproblem of two coupled maps for some rows: what all passes share, and one of them.

    Parameters
    ----------
    source, target : array of shape (ns, r) and (nt, r)
        Rows of either domain, in coordinates.
    codes : ndarray of shape (ns,), int
        Class of each source row, 0 .. n_classes - 1, each with a row.
    n_classes : int
    coupling, target_variance, discrimination : float
        lam > 0, mu > 0 and beta >= 0. An infinite coupling makes B = A.
    average : bool, default=False
        Whether scatters are divided by the number of rows of their domain.
    about_origin : bool, default=False
        Whether the scatter of the target is taken about the origin of the coordinates and not about its mean.
    eps : float, optional
        Relative round-off of the rows, if it is not that of their dtype.

    Attributes
    ----------
    pencil : GeneralPencil
        Of order 2 r.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the coupling and target_variance are lost in the round-off of the scatter within classes.

    Notes
    -----
    Cost: n r^2 for the scatters and r^3 for the Cholesky factor once; a pass some products of six r^2 flops a column.
    Memory 3 r^2 beyond the Krylov space; 5 r^2 while it is made.
    """

    def __init__(
        self,
        source: Array,
        target: Array,
        codes: np.ndarray,
        n_classes: int,
        coupling: float,
        target_variance: float,
        discrimination: float,
        *,
        average: bool = False,
        about_origin: bool = False,
        eps: float | None = None,
    ) -> None:
        xp = namespace(source)
        (ns, r), nt = source.shape, target.shape[0]
        per_source, per_target = (1.0 / ns, 1.0 / nt) if average else (1.0, 1.0)
        counts = np.bincount(codes, minlength=n_classes)
        self.source_sums = group_sums(source, codes, n_classes)
        self.target_sums = GroupSums(target)
        self.rank = r
        means = self.source_sums / from_numpy(counts[:, None].astype(float), source)
        mean = xp.sum(self.source_sums, axis=0) / ns
        roots = from_numpy(np.sqrt(discrimination * per_source * counts)[:, None], source)
        between = (roots * (means - mean)).T
        target_mean, scatter = mean_and_scatter(target)
        if about_origin:
            scatter = scatter + nt * (target_mean[:, None] * target_mean[None, :])
        weight = discrimination * per_source
        P = weight * within_scatter(source, codes, means)
        share = 1.0 / (1.0 + target_variance / coupling)  # lam / s
        P = P + share * target_variance * xp.eye(r, dtype=xp.float64, device=source.device)
        root = _CoupledRoot(CholeskyRoot(P), share, (coupling + target_variance) ** -0.5)
        self.pencil = GeneralPencil(_CoupledScatter(between, scatter, target_variance * per_target), root)
        self._spread = xp.concat(
            [
                xp.sum(between**2, axis=1),
                target_variance * per_target * xp.linalg.diagonal(scatter),
            ]
        )
        self._means = xp.concat([weight**0.5 * mean, (target_variance * per_target) ** 0.5 * target_mean])
        self._n_rows, self._eps = max(ns, nt), rows_eps(source) if eps is None else eps

    def times(self, E: MMDFactor, codes: np.ndarray | None) -> Array:
        """U for the MMD of source rows and then target rows, whose classes are `codes` (None before there are any)."""
        xp, half = namespace(self.source_sums), len(E.weights) // 2
        n_classes = self.source_sums.shape[0]
        if codes is None:
            codes = np.zeros(self.target_sums.rows.shape[0], dtype=int)
        halves = self.source_sums, self.target_sums(codes, n_classes)
        if half < n_classes:  # means of the domains only
            halves = tuple(xp.sum(part, axis=0)[None, :] for part in halves)
        weights = from_numpy(E.weights, self.source_sums)
        return xp.concat([halves[0].T @ weights[:half, :], halves[1].T @ weights[half:, :]])

    def solve(self, U: Array, k: int, tol: float = TOLERANCE) -> tuple[Array, Array]:
        """Top-k of the pencil: ``W = [A; B]`` of shape (2 r, k'), with ``W^T N W = I``, and values of shape (k',).

        k' < k where there are fewer directions in which the target varies, or class means do: what is round-off is left
        out.
        """
        W, rho = self.pencil.solve(U, k, tol)
        xp = namespace(W)
        variance = xp.sum(W * (self.pencil.N @ W), axis=0)
        known = resolved(W, variance, self._spread, self._means, self._n_rows, self._eps)
        if not known.all():
            index = from_numpy(np.flatnonzero(known), W)
            W, rho = xp.take(W, index, axis=1), xp.take(rho, index)
        return W, rho

    def halves(self, W: Array) -> tuple[Array, Array]:
        """A and B."""
        return W[: self.rank, :], W[self.rank :, :]


class _CoupledScatter:
    """``[ G G^T  0 ; 0  weight S ]`` as an operator."""

    def __init__(self, G: Array, S: Array, weight: float) -> None:
        self.G, self.S, self.weight, self.like = G, S, weight, S
        self.shape = (G.shape[0] + S.shape[0],) * 2

    def __matmul__(self, block: Array) -> Array:
        first, second = block[: self.G.shape[0], :], block[self.G.shape[0] :, :]
        return namespace(block).concat([self.G @ (self.G.T @ first), self.weight * symmetric_product(self.S, second)])


class _CoupledRoot:
    """F with ``F^T D F = I`` for ``W^T D W = A^T P A + s |B - lam / s A|^2``: A = F_P a, B = lam / s A + s^{-1/2} b.

    Parameters
    ----------
    root : CholeskyRoot
        F_P.
    share, length : float
        lam / s and s^{-1/2}.
    """

    def __init__(self, root: CholeskyRoot, share: float, length: float) -> None:
        self.root, self.share, self.length = root, share, length

    def apply(self, block: Array) -> Array:
        """F @ block, for a block of shape (2 r, b)."""
        half = block.shape[0] // 2
        A = self.root.apply(block[:half, :])
        return namespace(block).concat([A, self.share * A + self.length * block[half:, :]])

    def adjoint(self, block: Array) -> Array:
        """F^T @ block, for a block of shape (2 r, b)."""
        half = block.shape[0] // 2
        first, second = block[:half, :], block[half:, :]
        return namespace(block).concat([self.root.adjoint(first + self.share * second), self.length * second])
