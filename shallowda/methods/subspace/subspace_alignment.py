"""Subspace alignment.

    min_T  ||P_s T - P_t||_F   is solved by   T = P_s^T P_t :    source map P_s T,    target map P_t

with P_s, P_t the leading principal directions of each domain.

B. Fernando, A. Habrard, M. Sebban, T. Tuytelaars. Unsupervised visual domain adaptation using subspace alignment. ICCV
2013.
"""

from __future__ import annotations

from typing import Any

from shallowda.core.catalogue import Card
from shallowda.core.messages import warn
from shallowda.core.moment_adapter import Rows
from shallowda.methods.subspace.base import AlignedSubspaces

__all__ = ["SubspaceAlignment"]


class SubspaceAlignment(AlignedSubspaces):
    """Subspace alignment: the source's principal subspace rotated onto the target's.

    Unsupervised: class labels serve the base classifier only. The domains have a map each: `transform` applies the
    target's unless `sample_domain` says otherwise.

    Parameters
    ----------
    n_components : int, "auto" or None, default=None
        Dimension of the subspaces. None: 30, but at most half the features. "auto": the smallest one at which the
        subspace disagreement measure (Gong et al., CVPR 2012) reaches 1, at most half the features; it suits features
        without a dominating direction. With all dimensions nothing would be aligned but the means, which is warned
        about. Capped at the rank of either domain; a number above it is warned of.
    backend : {"auto", "numpy", "cupy"}, default="auto"
        Where to compute; see `TCAEstimator`.
    estimator : classifier, optional
        Trained on the aligned source rows. Default: `OneNearestNeighbor` by cosine.

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
        T. Its singular values are the cosines of the principal angles between the subspaces.
    n_components_ : int
    classes_, estimator_, n_features_in_, feature_names_in_
        As usual.

    Notes
    -----
    Each domain is centred by its own mean, which by itself aligns the means. Variances are not matched. Cost: two
    truncated PCAs, on the smaller of the d x d and n x n Gram matrices.

    References
    ----------
    B. Fernando, A. Habrard, M. Sebban, T. Tuytelaars. "Unsupervised visual domain adaptation using subspace alignment".
    ICCV 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import SubspaceAlignment, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> Xs, ys = rng.randn(60, 6) * [5, 4, 1, 1, 1, 1], np.repeat([0, 1], 30)
    >>> Xt = rng.randn(50, 6) * [5, 1, 4, 1, 1, 1]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> SubspaceAlignment(n_components=2).fit(X, y).transform(Xt).shape
    (50, 2)
    """

    card = Card(
        title="Subspace alignment",
        paper="Fernando et al., ICCV 2013",
        idea="rotates the source's principal subspace onto the target's",
        use_when="few assumptions and speed are wanted",
        fails_when="the shift is one of scale: variances are not matched",
        settings=("unsupervised",),
        scaling="per-domain",
        tests=({"n_components": 3}, {"n_components": "auto"}),
    )

    def __init__(self, n_components: int | str | None = None, *, backend: str = "auto", estimator: Any = None) -> None:
        self.n_components = n_components
        self.backend = backend
        self.estimator = estimator

    def _align(self, source: Rows, target: Rows | None) -> None:
        of_source, of_target = self._subspaces(source, target)
        if self.n_components_ == source.shape[1] > 1 and target is not None:
            warn(
                f"With all {source.shape[1]} dimensions subspace alignment only centres the domains. Choose a smaller "
                "n_components, or 'auto'.",
            )
        self._keep_maps(of_source, self._overlap(of_source, of_target), of_target)
