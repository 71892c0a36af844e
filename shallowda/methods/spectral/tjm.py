"""Transfer joint matching.

    min_A  tr(A^T K M K A) + ridge (||A_s||_{2,1} + ||A_t||_F^2)   s.t.  A^T K H K A = I,      M = M_0

The row-sparse penalty on the source rows of A switches off source samples that do not match the target. Solved by
iteratively reweighted least squares: top-k of (K H K, K M K + ridge G) with G_ii = 1 / (2 ||a_i||) on source rows, 1 on
target rows.

M. Long, J. Wang, G. Ding, J. Sun, P. S. Yu. Transfer joint matching for unsupervised domain adaptation. CVPR 2014.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval

from shallowda.core.catalogue import Card
from shallowda.core.contract import Domains
from shallowda.core.kernel_mixin import KERNEL_CONSTRAINTS
from shallowda.core.messages import warn
from shallowda.kernels.arrays import Array, from_numpy, namespace, to_numpy
from shallowda.kernels.mmd import mmd_factor
from shallowda.kernels.operators import DenseGram
from shallowda.kernels.spaces import KernelSpace, LinearSample, Space
from shallowda.methods.spectral.base import SpectralAdapter

__all__ = ["TJM"]

logger = logging.getLogger("shallowda")

_SMOOTHING = 1e-6  # of the largest row norm: keeps dead rows dead, and the objective monotone
_DEAD = 1e-3  # relevance below which a source row counts as switched off


class TJM(SpectralAdapter):
    """Transfer joint matching: TCA on a kernel, with source samples that do not match the target faded out.

    Unsupervised: class labels serve the base classifier only.

    Parameters
    ----------
    n_components : int, default=30
        Dimensions of the embedding. Capped at the rank of the centred data, with a warning.
    kernel : str or callable, default="linear"
        As in `TCAEstimator`, without None: the sparsity is over samples, so the problem lives on sample weights even
        for the linear kernel (which is never built: order d for d < n).
    gamma : float, "median" or None, default="median"
        Kernel width; see `TCAEstimator`.
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, optional
        Keyword arguments of a callable kernel.
    ridge : float > 0, default=1.0
        lambda of the paper.
    mmd_scaling : {"authors", "paper"}, default="authors"
        "authors": M divided by its Frobenius norm, and G = 1 / ||a_i|| on source rows, which is the paper's problem
        with the source penalty doubled. "paper": the formulas above.
    component_scale : {"unit", "constraint"}, default="unit"
        Length of the components that are kept; the reweighting always uses A^T K H K A = I, as it must.
    max_iter : int, default=10
        Reweightings at most. One is TCA.
    tol : float, default=1e-6
        Ends when the objective falls by less than this fraction.
    n_landmarks, backend, memory_budget
        See `TCAEstimator`.
    estimator : classifier, optional
        Trained on the adapted source rows. Default: `OneNearestNeighbor` by cosine.

    Attributes
    ----------
    components_ : ndarray of shape (k, n_features) for the linear kernel, else (k, n_samples)
        Map of new rows.
    source_relevance_ : ndarray of shape (n_source,)
        Row norm of A of each source row, in their order, divided by the largest one: near 0, the row is switched off.
    n_iter_ : int
    history_ : dict of lists
        Per pass ``objective``: the (smoothed) value of the problem above, which never rises; with "authors" scaling
        that of their problem.
    X_fit_, gamma_, classes_, estimator_, n_features_in_, feature_names_in_
        As in `TCAEstimator`.

    Notes
    -----
    The result depends on the scale of the kernel: under the constraint, row norms shrink as the kernel grows, and where
    they are far below one the source penalty (a norm) outweighs the target's (its square). Then every source row is
    switched off and the embedding is spanned by target rows, which happens on the paper's own benchmarks and is warned
    about. On smaller rows or kernels the source is weighed row by row.

    Cost: one Gram pass n d^2 over the rows for each reweighting (linear kernel, d <= n; memory d^2 and n k), else some
    10 k products with an n x n matrix.

    References
    ----------
    M. Long, J. Wang, G. Ding, J. Sun, P. S. Yu. "Transfer joint matching for unsupervised domain adaptation". CVPR
    2014.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import TJM, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> Xs, ys = 0.01 * rng.randn(60, 4), np.repeat([0, 1], 30)
    >>> X, y, sample_domain = pack_domains(Xs, ys, 0.01 * (rng.randn(50, 4) + 1))
    >>> tjm = TJM(n_components=2).fit(X, y)
    >>> tjm.source_relevance_.shape
    (60,)
    """

    card = Card(
        title="Transfer joint matching",
        paper="Long et al., CVPR 2014",
        idea="TCA on a kernel that fades out unlike source rows",
        use_when="part of the source is irrelevant",
        fails_when="rows are not small: every source row is switched off",
        settings=("unsupervised",),
        scaling="unit-rows",
        # more passes switch every source row off, on rows of this size
        tests=({"n_components": 3, "max_iter": 2}, {"n_components": 3, "max_iter": 2, "kernel": "rbf"}),
    )

    _form = "sample"

    _parameter_constraints: dict = {
        **SpectralAdapter._parameter_constraints,
        "kernel": KERNEL_CONSTRAINTS["kernel"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int = 30,
        *,
        kernel: str | Callable = "linear",
        gamma: float | str | None = "median",
        degree: float = 3,
        coef0: float = 1,
        kernel_params: Mapping | None = None,
        ridge: float = 1.0,
        mmd_scaling: str = "authors",
        component_scale: str = "unit",
        max_iter: int = 10,
        tol: float = 1e-6,
        n_landmarks: int | None = None,
        backend: str = "auto",
        memory_budget: int | float | None = None,
        estimator: Any = None,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.ridge = ridge
        self.mmd_scaling = mmd_scaling
        self.component_scale = component_scale
        self.max_iter = max_iter
        self.tol = tol
        self.n_landmarks = n_landmarks
        self.backend = backend
        self.memory_budget = memory_budget
        self.estimator = estimator

    def _space(self, X: Array) -> Space:
        if not self._is_linear:
            return self._kernel_space(X, LinearSample)
        return LinearSample(X) if X.shape[1] <= X.shape[0] else KernelSpace(DenseGram(X @ X.T), X, overwrite=True)

    def _adapt(self, X: Array, domains: Domains) -> Array:
        authors, source = self.mmd_scaling == "authors", domains.source
        penalty = 1.0 if authors else 0.5  # G_ii = penalty / ||a_i||; the objective has 2 * penalty * ||A_s||_{2,1}
        E, _ = mmd_factor(source, authors=authors)
        space = self._space(X)
        V, weights, objective = space.times(E), np.ones(len(source)), []
        for iteration in range(self.max_iter):
            A, _, lengths = self._solve(space, V, from_numpy(self.ridge * weights, V))
            norms = to_numpy(namespace(A).linalg.vector_norm(A, axis=1))
            if iteration == 0:
                smoothing = _SMOOTHING * norms.max()
            smooth = np.hypot(norms, smoothing)
            sparsity = 2 * penalty * smooth[source].sum() + np.sum(norms[~source] ** 2)
            objective.append(float(namespace(A).sum((V.T @ A) ** 2)) + self.ridge * sparsity)
            logger.info("pass %d: objective %.6g", iteration + 1, objective[-1])
            if iteration and objective[-2] - objective[-1] <= self.tol * objective[-2]:
                break
            weights[source] = penalty / smooth[source]
        self.history_ = {"objective": objective}
        self.n_iter_ = len(objective)
        self.source_relevance_ = norms[source] / norms.max()
        if np.all(self.source_relevance_ < _DEAD):
            warn(
                "Every source row is switched off, so target rows alone span the embedding and source_relevance_ ranks "
                "nothing. The kernel is large for this penalty: scale the rows (or the precomputed kernel) down to "
                "have source rows weighed one by one.",
            )
        A = self._scaled(A, lengths)
        return self._store(space, A, space.embed(A))
