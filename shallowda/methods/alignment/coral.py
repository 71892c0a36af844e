"""Correlation alignment.

    x -> (x - m_s) C_s^{-1/2} C_t^{1/2} + m_t,      C = covariance + ridge I

so that A = C_s^{-1/2} C_t^{1/2} satisfies A^T C_s A = C_t exactly.

B. Sun, J. Feng, K. Saenko. Return of frustratingly easy domain adaptation. AAAI 2016.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import OneToOneFeatureMixin
from sklearn.utils._param_validation import HasMethods, Interval

from shallowda.core.catalogue import Card
from shallowda.core.estimator import BACKENDS
from shallowda.core.messages import warn
from shallowda.core.moment_adapter import MomentAdapter, Rows
from shallowda.kernels.arrays import Array, as_dtype, namespace
from shallowda.kernels.moments import CovarianceRoot, map_rows

__all__ = ["CORAL"]

_DOMINANT = 10.0  # ridge over mean variance from which the alignment is hardly one


class CORAL(OneToOneFeatureMixin, MomentAdapter):
    """Correlation alignment: source features whitened, then coloured with the target's covariance.

    Unsupervised: class labels serve the base classifier only. The source is moved and the target stays: `transform`
    returns target rows as they are, and maps source rows when `sample_domain` says which they are.

    Parameters
    ----------
    ridge : float >= 0, default=1.0
        lambda of the paper (reg in other packages), added to both covariances. Not scale free: 1 is meant for features
        of unit variance (z-scored, see `PerDomain`); for others take a fraction of the mean variance. The larger, the
        less alignment. 0 uses the pseudo-inverse of the source covariance.
    align_mean : bool, default=True
        Also move the source mean to the target's. False is the published map, ``X A`` on rows as they are, meant for
        centred domains; with d > n and a small ridge it inflates an uncentred mean by ridge^{-1/2}.
    backend : {"auto", "numpy", "cupy"}, default="auto"
        Where to compute; see `TCAEstimator`.
    estimator : classifier, optional
        Trained on the aligned source rows (the paper: a linear SVM). Default: `OneNearestNeighbor` by cosine.

    Attributes
    ----------
    source_covariance_, target_covariance_ : CovarianceRoot
        Spectra of the two covariances; their powers make up the map, which is never a d x d matrix when d > n.
    classes_, estimator_, n_features_in_, feature_names_in_
        As usual.

    Notes
    -----
    A^T (C_s + ridge I) A = C_t + ridge I is exact, so the aligned source has covariance C_t + ridge (I - A^T A): that
    of the target where ridge = 0 and the source has full rank. Among all maps that match the covariance CORAL's is one
    (the optimal transport map is another). Cost: (ns + nt) d^2 + d^3, or n^2 d for d > n.

    References
    ----------
    B. Sun, J. Feng, K. Saenko. "Return of frustratingly easy domain adaptation". AAAI 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import CORAL, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> Xs, ys = rng.randn(200, 2), np.repeat([0, 1], 100)
    >>> Xt = rng.randn(200, 2) @ [[2.0, 1.0], [0.0, 1.0]]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> aligned = CORAL(ridge=0).fit_transform(X, y)[sample_domain >= 0]
    >>> bool(np.allclose(np.cov(aligned.T), np.cov(Xt.T)))
    True
    """

    _kept_types: ClassVar[tuple[type, ...]] = (CovarianceRoot,)

    card = Card(
        title="Correlation alignment",
        paper="Sun et al., AAAI 2016",
        idea="matches covariances and means",
        use_when="features are many and z-scored, a linear classifier follows",
        fails_when="class shares differ; the ridge is small and the features outnumber the rows",
        settings=("unsupervised",),
        scaling="per-domain",
        # rows of unit norm have little variance for a ridge of 1
        tests=({"ridge": 0.1}, {"ridge": 0, "align_mean": False}),
        representative=True,
    )

    _parameter_constraints: dict = {
        "ridge": [Interval(Real, 0, None, closed="left")],
        "align_mean": ["boolean"],
        "backend": [BACKENDS],
        "estimator": [HasMethods(["fit", "predict"]), None],
    }

    def __init__(
        self, ridge: float = 1.0, *, align_mean: bool = True, backend: str = "auto", estimator: Any = None
    ) -> None:
        self.ridge = ridge
        self.align_mean = align_mean
        self.backend = backend
        self.estimator = estimator

    def _align(self, source: Rows, target: Rows | None) -> None:
        self.source_covariance_ = CovarianceRoot(source, self.ridge)
        self.target_covariance_ = self.source_covariance_ if target is None else CovarianceRoot(target, self.ridge)
        variances = self.source_covariance_.variances
        mean_variance = float(namespace(variances).sum(variances)) / source.shape[1]
        if target is not None and self.ridge > _DOMINANT * mean_variance:
            warn(
                f"ridge={self.ridge} is {self.ridge / max(mean_variance, 1e-300):.3g} times the mean variance of the "
                "source features, so their covariance is hardly aligned. Standardise the features first, or lower "
                "ridge.",
            )

    def _map(self, X: Array, source: np.ndarray) -> Array:
        def aligned(rows: Array) -> Array:
            rows = as_dtype(rows, namespace(rows).float64)
            if self.align_mean:
                rows = rows - self.source_covariance_.mean
            rows = self.target_covariance_.power(self.source_covariance_.power(rows, -0.5), 0.5)
            return rows + self.target_covariance_.mean if self.align_mean else rows

        return map_rows(X, source, aligned, lambda rows: rows, X.shape[1])
