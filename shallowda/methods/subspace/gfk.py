"""Geodesic flow kernel.

    G = integral_0^1 Phi(t) Phi(t)^T dt = L L^T,      z = L^T x

with Phi(t) the geodesic from the source's principal subspace (t = 0) to the target's (t = 1). Euclidean distances of z
are those of the kernel.

B. Gong, Y. Shi, F. Sha, K. Grauman. Geodesic flow kernel for unsupervised domain adaptation. CVPR 2012.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike
from sklearn.cross_decomposition import PLSRegression
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import StrOptions

from shallowda.core.catalogue import Card
from shallowda.core.contract import Domains
from shallowda.core.moment_adapter import Rows
from shallowda.core.rows import two_samples
from shallowda.kernels.arrays import Array, as_dtype, from_numpy, to_numpy
from shallowda.kernels.subspaces import flow_factor, principal_vectors
from shallowda.methods.subspace.base import Subspace, SubspaceAdapter, principal_subspaces

__all__ = ["GFK", "rank_of_domains"]


class GFK(SubspaceAdapter):
    """Geodesic flow kernel: features seen through all subspaces between the source's and the target's.

    Unsupervised with a PCA source basis: class labels then serve the base classifier only.

    Parameters
    ----------
    n_components : int, "auto" or None, default=None
        Dimension k of the subspaces; the embedding has 2k. None: 30, but at most half the features. "auto": the
        smallest one at which the paper's subspace disagreement measure reaches 1, at most half the features; it suits
        features without a dominating direction. Capped at the rank of either domain; a number above it is warned of.
    source_basis : {"pca", "pls"}, default="pca"
        "pls": partial least squares directions of the source, which need its class labels (GFK(PLS, PCA) of the paper).
    backend : {"auto", "numpy", "cupy"}, default="auto"
        Where to compute; see `TCAEstimator`.
    estimator : classifier, optional
        Trained on the embedded source rows. Default: `OneNearestNeighbor` by cosine.
        ``OneNearestNeighbor("euclidean")`` is the paper's GFK distance.

    Attributes
    ----------
    components_ : ndarray of shape (2k, n_features)
        L^T: ``transform(X)`` is ``X @ components_.T``, the same for both domains, and
        ``components_.T @ components_`` is G.
    angles_ : ndarray of shape (k,)
        Principal angles between the subspaces, in radians, ascending.
    n_components_ : int
        k.
    classes_, estimator_, n_features_in_, feature_names_in_
        As usual.

    Notes
    -----
    G is symmetric, positive semi-definite, of trace k and rank at most 2k; it is never built. For identical subspaces
    it is the projection on them. Rows are not centred: the paper z-scores each domain first, see `PerDomain`. Cost: two
    truncated PCAs, and d k^2.

    References
    ----------
    B. Gong, Y. Shi, F. Sha, K. Grauman. "Geodesic flow kernel for unsupervised domain adaptation". CVPR 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import GFK, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> Xs, ys = rng.randn(60, 6) * [5, 4, 1, 1, 1, 1], np.repeat([0, 1], 30)
    >>> Xt = rng.randn(50, 6) * [5, 1, 4, 1, 1, 1]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> GFK(n_components=2).fit(X, y).transform(Xt).shape
    (50, 4)
    """

    card = Card(
        title="Geodesic flow kernel",
        paper="Gong et al., CVPR 2012",
        idea="averages all subspaces between source and target",
        use_when="few assumptions are wanted, and one map for both domains",
        fails_when="rows are not centred by domain",
        settings=("unsupervised",),
        scaling="per-domain",
        tests=({"n_components": 3}, {"n_components": "auto"}, {"n_components": 3, "source_basis": "pls"}),
        aligns_means=False,  # rows are not centred by domain; the paper does that before
    )

    _has_source_map = False

    _parameter_constraints: dict = {
        **SubspaceAdapter._parameter_constraints,
        "source_basis": [StrOptions({"pca", "pls"})],
    }

    def __init__(
        self,
        n_components: int | str | None = None,
        *,
        source_basis: str = "pca",
        backend: str = "auto",
        estimator: Any = None,
    ) -> None:
        self.n_components = n_components
        self.source_basis = source_basis
        self.backend = backend
        self.estimator = estimator

    @property
    def _requires_labels(self) -> bool:  # type: ignore[override]
        return self.source_basis == "pls"

    @property
    def _no_stream(self) -> str:
        return "source_basis='pls' needs more than moments" if self.source_basis == "pls" else ""

    def _adapt(self, X: Array, domains: Domains) -> None:
        if self.source_basis == "pca":
            super()._adapt(X, domains)
            return
        source, target = domains.split(X)
        _, of_target = self._subspaces(source, target if domains.has_target else None)
        self._flow(_pls_basis(X, domains, self.n_components_), of_target.basis)

    def _align(self, source: Rows, target: Rows | None) -> None:
        of_source, of_target = self._subspaces(source, target)
        self._flow(of_source.basis, of_target.basis)

    def _flow(self, P: Array, Q: Array) -> None:
        """Keep the flow from the subspace of the source to that of the target, which is cut to as many dimensions."""
        Q = Q[:, : P.shape[1]]
        self.n_components_ = P.shape[1]
        self.angles_ = to_numpy(principal_vectors(P, Q)[0])
        self.components_ = flow_factor(P, Q).T

    def _map(self, X: Array, source: np.ndarray) -> Array:
        return X @ as_dtype(self.components_, X.dtype).T


def _pls_basis(X: Array, domains: Domains, k: int) -> Array:
    """Orthonormal basis of the partial least squares directions of the source for its one-hot labels."""
    if domains.n_classes < 2:
        raise ValueError("source_basis='pls' needs at least two classes in the source. Use source_basis='pca'.")
    Y = np.eye(domains.n_classes)[domains.labels[domains.source]]
    with warnings.catch_warnings():
        # Two directions that explain equally much change places from step to step; both of them are kept.
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights = PLSRegression(n_components=k, scale=False).fit(to_numpy(domains.source_rows(X)), Y).x_weights_
    used = np.linalg.norm(weights, axis=0) > 0.5  # columns left at zero once the labels are explained
    return from_numpy(scipy.linalg.qr(weights[:, used], mode="economic")[0], X)


def rank_of_domains(Xs: ArrayLike, Xt: ArrayLike, *, n_components: int | str | None = None) -> float:
    """Rank-of-domains distance: how well a source suits a target; the smaller, the better.

    ``(1/k) sum_i angle_i [KL(S_i || T_i) + KL(T_i || S_i)]`` over the principal angles of the two principal subspaces,
    where S_i and T_i are zero-mean Gaussians with the variances of the centred source and target along their i-th
    principal vectors.

    Parameters
    ----------
    Xs : array-like of shape (ns, d)
    Xt : array-like of shape (nt, d)
    n_components : int, "auto" or None, default=None
        As in `GFK`. Give one number to compare several sources.

    Returns
    -------
    rank : float >= 0

    References
    ----------
    B. Gong, Y. Shi, F. Sha, K. Grauman. "Geodesic flow kernel for unsupervised domain adaptation". CVPR 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import rank_of_domains
    >>> rng = np.random.RandomState(0)
    >>> near, far, target = rng.randn(3, 100, 4) * np.array([[[4, 3, 1, 1]], [[1, 1, 3, 4]], [[4, 3, 1, 1]]])
    >>> rank_of_domains(near, target, n_components=2) < rank_of_domains(far, target, n_components=2)
    True
    """
    Xs, Xt = two_samples(Xs, Xt)
    source, target = principal_subspaces(Xs, Xt, n_components)
    angles, start, end, _ = principal_vectors(source.basis, target.basis)
    ratio = _variance_along(start, source) / _variance_along(end, target)
    return float(np.mean(angles * (0.5 * (ratio + 1.0 / ratio) - 1.0)))


def _variance_along(vectors: np.ndarray, domain: Subspace) -> np.ndarray:
    """Variance of a domain along unit vectors of its own principal subspace."""
    return (vectors.T @ domain.basis) ** 2 @ domain.variances
