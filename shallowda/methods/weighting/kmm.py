"""Kernel mean matching: weights under which the source rows have the target's mean in the feature space of a kernel.

    min_w  ||1/n_s sum_i w_i phi(x_i) - 1/n_t sum_j phi(x_j)||^2,   that is   min_w  w^T K w / 2 - kappa^T w,
    kappa_i = n_s / n_t sum_j k(x_i, x_j)      s.t.  0 <= w_i <= bound,  abs(mean(w) - 1) <= slack

with i over the source rows and j over the target rows.

J. Huang, A. Smola, A. Gretton, K. Borgwardt, B. Schoelkopf. Correcting sample selection bias by unlabeled data. NIPS
2006.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from shallowda.core.catalogue import Card
from shallowda.core.contract import Domains
from shallowda.core.estimator import BACKENDS
from shallowda.core.messages import warn
from shallowda.core.weighting import SourceWeighting, effective_sample_size
from shallowda.kernels.arrays import Array
from shallowda.kernels.mean_matching import match_means
from shallowda.kernels.pairwise import Kernel, median_gamma

__all__ = ["KMM"]

_FEW, _SHARE = 30, 0.2  # rows of equal weight, and share of the source rows, below which weights are warned about


class KMM(SourceWeighting):
    """Kernel mean matching: a classifier or regressor fitted on source rows that are weighted to look like the target.

    Unsupervised: labels serve the estimator only. The weights are weights of the loss (``sample_weight``); features are
    not changed, and new rows need no weights.

    Parameters
    ----------
    gamma : float > 0 or "median", default="median"
        Width of the RBF kernel ``exp(-gamma ||x - y||^2)``. "median": one over the median squared distance of all rows.
        Weights depend on it strongly: a smaller gamma gives smoother ones.
    bound : float > 0, default=1000.0
        B of the paper: largest weight.
    slack : float in [0, 1], optional
        epsilon of the paper: how far the mean weight may be from 1. Default: ``(sqrt(n_source) - 1) / sqrt(n_source)``,
        as in the paper's experiments.
    tol : float >= 0, default=1e-5
        Relative duality gap at which to end. Below 1e-7 means as small as round-off allows.
    max_iter : int, default=200
        Products with the kernel matrix at most.
    backend : {"auto", "numpy", "cupy"}, default="auto"
        Where kernel values are computed; see `TCAEstimator`.
    estimator : classifier or regressor, optional
        Fitted with the weights; it must take ``sample_weight``. Default: logistic regression.

    Attributes
    ----------
    weights_ : ndarray of shape (n_source,), float64
        Weight of each source row, in their order.
    effective_sample_size_ : float
        ``(sum w)^2 / sum w^2``: as many rows of equal weight tell as much.
    duality_gap_ : float
        The squared distance of the means is above its least value by no more than this share of the squared norm of
        the weighted source mean. It is computed from the exact kernel.
    n_iter_ : int
        Products with the kernel matrix: one for the uniform weights, from which it starts, and one for each step.
    gamma_ : float
        Width that was used. Not there without target rows.
    classes_, estimator_, n_features_in_, feature_names_in_
        Of a classifier; the fitted estimator; as in scikit-learn.

    Notes
    -----
    Cost: n_source n_target kernel values once, n_source^2 / 2 for each step (none where the matrix takes up to 256
    MiB, that is up to 5800 source rows, and is stored), and in a step a few times n_source 600^2 flops. Memory: some
    700 numbers a source row and tiles of 64 MiB, whatever the number of target rows. Measured for 20 000 rows in each
    domain on one core, with the default tolerance: 6 products and 10 s in 2 features, 14 and 41 s in 10, 51 and some
    92 s in 30, 16 and 56 s in 100, and 0.6 GB at most for the process. float32 rows are weighed in float64.

    Copies of a row share one weight. The default tolerance is far below what the sampling of the rows leaves unknown (a
    squared distance of about 1 / n_target); where the kernel is wide, many weights come that near, and of these it
    gives smoother ones than a smaller tolerance.

    A warning comes where the effective sample size is below 30 and below a fifth of the source rows.

    A regressor is fitted where `estimator` is one: y then holds numbers, and NaN on target rows.

    See Also
    --------
    shallowda.model_selection.ImportanceWeightedAccuracy : The same weights in a score.

    References
    ----------
    J. Huang, A. Smola, A. Gretton, K. Borgwardt, B. Schoelkopf. "Correcting sample selection bias by unlabeled data".
    NIPS 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from shallowda import KMM, pack_domains
    >>> rng = np.random.default_rng(0)
    >>> Xs, Xt = rng.uniform(-3, 3, (200, 1)), rng.uniform(1, 3, (200, 1))
    >>> ys, yt = Xs[:, 0] ** 2, Xt[:, 0] ** 2  # no line fits all of it
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> line = LinearRegression()
    >>> bool(KMM(estimator=line).fit(X, y).score(Xt, yt) > 0.9 > line.fit(Xs, ys).score(Xt, yt))
    True
    """

    card = Card(
        title="Kernel mean matching",
        paper="Huang et al., NIPS 2006",
        idea="weighs source rows so that kernel means agree",
        use_when="covariate shift: features are few and domains overlap",
        fails_when="class shares differ; features are many",
        settings=("unsupervised",),
        scaling="standard",
        # without a smaller bound these rows have a small effective sample size, which is warned about
        tests=({"bound": 2.0}, {"bound": 4.0, "slack": 0.05, "gamma": 1.0}),
        representative=True,
        aligns_means=False,
    )

    _parameter_constraints: dict = {
        "gamma": [Interval(Real, 0, None, closed="neither"), StrOptions({"median"})],
        "bound": [Interval(Real, 0, None, closed="neither")],
        "slack": [Interval(Real, 0, 1, closed="both"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "backend": [BACKENDS],
        "estimator": [HasMethods(["fit", "predict"]), None],
    }

    def __init__(
        self,
        gamma: float | str = "median",
        *,
        bound: float = 1000.0,
        slack: float | None = None,
        tol: float = 1e-5,
        max_iter: int = 200,
        backend: str = "auto",
        estimator: Any = None,
    ) -> None:
        self.gamma = gamma
        self.bound = bound
        self.slack = slack
        self.tol = tol
        self.max_iter = max_iter
        self.backend = backend
        self.estimator = estimator

    def _restart(self, domains: Domains) -> None:
        super()._restart(domains)
        self.duality_gap_, self.n_iter_ = 0.0, 1  # of the uniform weights, where there is no target to match

    def _problem(self, domains: Domains | None) -> dict[str, Any]:
        return {"kernel": "rbf", "k": 1, "form": "weights"}

    def _weigh(self, X: Array, domains: Domains) -> Array:
        self.gamma_ = median_gamma(X, "rbf") if isinstance(self.gamma, str) else self.gamma
        Xs, Xt = domains.split(X)
        found = match_means(
            Xs,
            Xt,
            Kernel("rbf", self.gamma_),
            bound=self.bound,
            slack=self.slack,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        if not found.converged:
            warn(found.complaint(), ConvergenceWarning)
        self.duality_gap_, self.n_iter_ = found.gap, found.n_iter
        size, n_source = effective_sample_size(found.weights), len(found.weights)
        if size < min(_FEW, _SHARE * n_source):
            warn(
                f"KMM: the weights of {n_source} source rows tell as much as {size:.1f} rows of equal weight "
                "(effective_sample_size_), which is little to learn from: few source rows are near the target. Reduce "
                "the number of features first, for example with PCA in a pipeline; if there are few, the domains may "
                "hardly overlap.",
            )
        return found.weights
