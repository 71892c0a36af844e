"""Subspace distribution alignment.

    source map  P_s T A,    target map  P_t,      T = P_s^T P_t,    A = E_s^{-1/2} E_t^{1/2}

with P_s, P_t the leading principal directions of each domain and E_s, E_t the variances along them. With the orthogonal
polar factor R of T in its place, and the source's variances divided out before it, the source gets the target's:

    source map  P_s E_s^{-1/2} R E_t^{1/2}

B. Sun, K. Saenko. Subspace distribution alignment for unsupervised domain adaptation. BMVC 2015.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shallowda.core.catalogue import Card
from shallowda.core.messages import warn
from shallowda.core.moment_adapter import Rows
from shallowda.kernels.arrays import Array, namespace, to_numpy
from shallowda.kernels.subspaces import nearest_rotation
from shallowda.methods.subspace.base import AlignedSubspaces, Subspace

__all__ = ["SDA"]

# Times the target's variance, which a component of the mapped source should not have. On 14 pairs of Office-Caltech10
# (SURF, GoogLeNet, DeCAF6), z-scored by domain, and two of digits at unit norm, none has 4 times with up to 50
# dimensions; with 100 one (USPS to MNIST) has 60 times.
_INFLATED = 10.0
_UNDIRECTED = 1e-8  # cosine of a principal angle at which round-off says what a direction is turned into


class SDA(AlignedSubspaces):
    """Subspace distribution alignment: subspace alignment, and the variances along its directions matched.

    Unsupervised: class labels serve the base classifier only. The domains have a map each: `transform` applies the
    target's unless `sample_domain` says otherwise.

    Parameters
    ----------
    n_components : int, "auto" or None, default=None
        Dimension of the subspaces. None: 30, but at most half the features. "auto": the smallest one at which the
        subspace disagreement measure (Gong et al., CVPR 2012) reaches 1, at most half the features; it suits features
        without a dominating direction. Capped at the rank of either domain, so that no variance that is divided by
        is zero; a number above it is warned of.
    exact : bool, default=False
        False: the composition of the paper. Its scaling comes after the rotation, where coordinates are those of the
        target, but divides by variances of the source's directions, so the variances of the mapped source are the
        target's only where the two bases coincide. True: source rows are whitened first, then turned by the rotation
        that is nearest to T, then given the target's variances, which the mapped source has exactly; directions that
        have little to do with the other domain then count as much as any, where T would shrink them.
    backend : {"auto", "numpy", "cupy"}, default="auto"
        Where to compute; see `TCAEstimator`.
    estimator : classifier, optional
        Trained on the aligned source rows (the paper: a linear SVM). Default: `OneNearestNeighbor` by cosine.

    Attributes
    ----------
    components_ : ndarray of shape (k, n_features)
        Target map: ``(X - mean_) @ components_.T``.
    mean_ : ndarray of shape (n_features,)
        Target mean.
    source_components_ : ndarray of shape (k, n_features)
        Source map: ``(X - source_mean_) @ source_components_.T``.
    source_mean_ : ndarray of shape (n_features,)
    alignment_ : ndarray of shape (k, k)
        What is between the source's subspace and the embedding: T A, or with `exact` E_s^{-1/2} R E_t^{1/2}.
    explained_variance_, source_explained_variance_ : ndarray of shape (k,)
        E_t and E_s, descending; divisor n - 1.
    n_components_ : int
    classes_, estimator_, n_features_in_, feature_names_in_
        As usual.

    Warns
    -----
    UserWarning
        If the subspaces are orthogonal, or with `exact` one of their directions is; if a component of the mapped source
        has more than 10 times the target's variance, which happens where the paper's scaling divides by a variance
        near zero.

    Notes
    -----
    Each domain is centred by its own mean, which by itself aligns the means. A scale that the whole source has in
    common does not matter. Where the variances agree and `exact` is False it is `SubspaceAlignment`; with `exact`, all
    dimensions and a source of full rank it is `CORAL` without a ridge, in the target's principal axes. With `exact`
    the covariance is met to the round-off of a double, times the ratio of the source's largest to its smallest variance
    that is kept. Cost: two truncated PCAs, on the smaller of the d x d and n x n Gram matrices, d k^2 for the source
    map, and m d k for m rows; memory 2 d k beside the Gram matrix.

    References
    ----------
    B. Sun, K. Saenko. "Subspace distribution alignment for unsupervised domain adaptation". BMVC 2015. (The order of
    its factors is taken from descriptions by others.)

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import SDA, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> Xs, ys = rng.randn(60, 6) * [5, 4, 1, 1, 1, 1], np.repeat([0, 1], 30)
    >>> Xt = rng.randn(50, 6) * [9, 3, 1, 1, 1, 1]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> Z = SDA(n_components=2, exact=True).fit_transform(X, y)
    >>> bool(np.allclose(np.cov(Z[sample_domain >= 0].T), np.cov(Z[sample_domain < 0].T)))
    True
    """

    card = Card(
        title="Subspace distribution alignment",
        paper="Sun and Saenko, BMVC 2015",
        idea="aligns principal subspaces, and the variances along them",
        use_when="the domains spread differently along shared directions",
        fails_when="class shares differ: variances then should; directions come in another order",
        settings=("unsupervised",),
        scaling="per-domain",
        tests=({"n_components": 3}, {"n_components": 3, "exact": True}, {"n_components": "auto"}),
    )

    _parameter_constraints: dict = {**AlignedSubspaces._parameter_constraints, "exact": ["boolean"]}

    def __init__(
        self,
        n_components: int | str | None = None,
        *,
        exact: bool = False,
        backend: str = "auto",
        estimator: Any = None,
    ) -> None:
        self.n_components = n_components
        self.exact = exact
        self.backend = backend
        self.estimator = estimator

    def _align(self, source: Rows, target: Rows | None) -> None:
        of_source, of_target = self._subspaces(source, target)
        self.source_explained_variance_, self.explained_variance_ = of_source.variances, of_target.variances
        compose = self._whitened_turned_coloured if self.exact else self._turned_scaled
        self._keep_maps(of_source, compose(of_source, of_target), of_target)

    def _turned_scaled(self, source: Subspace, target: Subspace) -> Array:
        xp = namespace(source.basis)
        alignment = self._overlap(source, target) * xp.sqrt(target.variances / source.variances)
        inflation = to_numpy((source.variances @ alignment**2) / target.variances)
        if inflation.max() > _INFLATED:
            warn(
                f"Along component {inflation.argmax()} the mapped source has {inflation.max():.3g} times the target's "
                "variance: the paper's scaling divides by a variance of the source that is too small there. Choose a "
                "smaller n_components, or exact=True.",
            )
        return alignment

    def _whitened_turned_coloured(self, source: Subspace, target: Subspace) -> Array:
        xp = namespace(source.basis)
        rotation, cosines = nearest_rotation(source.basis.T @ target.basis)
        free = int(np.sum(to_numpy(cosines) < _UNDIRECTED))
        if free:
            warn(
                f"{free} direction(s) of the source's principal subspace are orthogonal to the target's, so what they "
                "are turned into is arbitrary. Choose another n_components, or exact=False.",
            )
        return rotation * xp.sqrt(target.variances) / xp.sqrt(source.variances)[:, None]
