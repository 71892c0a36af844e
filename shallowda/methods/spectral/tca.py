"""Transfer component analysis.

    min_A  tr(A^T (Phi^T M Phi + ridge I) A)   s.t.  A^T Phi^T H Phi A = I,      M = e_0 e_0^T

S. J. Pan, I. W. Tsang, J. T. Kwok, Q. Yang. Domain adaptation via transfer component analysis. IEEE Transactions on
Neural Networks 22(2), 2011.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shallowda.core.catalogue import Card
from shallowda.core.contract import Domains
from shallowda.core.moment_adapter import MomentAdapter
from shallowda.kernels.arrays import Array
from shallowda.kernels.eigen import signs
from shallowda.kernels.mmd import marginal_gap, mmd_factor
from shallowda.kernels.moments import Moments
from shallowda.methods.spectral.base import SpectralAdapter

__all__ = ["TCAEstimator"]


class TCAEstimator(SpectralAdapter, MomentAdapter):
    """Transfer component analysis: directions of large variance along which the domain means agree.

    Unsupervised: class labels serve the base classifier only.

    Parameters
    ----------
    n_components : int, default=30
        Dimensions of the embedding. Capped at the rank of the centred data, with a warning.
    kernel : None, str or callable, default=None
        None projects the features themselves: the primal problem (ridge on the d x k map). "linear" is the authors'
        dual problem on ``K = X X^T`` (ridge on the n x k weights of the samples), which is a different problem.
        Further: any name of scikit-learn's ``pairwise_kernels``, "precomputed" (X is the kernel matrix of all rows), or
        a callable.
    gamma : float, "median" or None, default="median"
        Kernel width. "median": 1 / median squared distance (RBF), 1 / median L1 distance (Laplacian), 1 / median
        squared norm (polynomial, sigmoid). It sets the scale; try multiples of it too. None: scikit-learn's default for
        the kernel (1 / n_features for most).
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, optional
        Keyword arguments of a callable kernel.
    ridge : float > 0, default=1.0
        Weight of the ridge: mu of the 2011 paper, lambda of later ones, 1/mu of the IJCAI 2009 draft and of packages
        that put mu on the MMD term. Larger means less adaptation, and it begins to matter where it reaches the squared
        mean gap in M's scaling; much below, the gap is simply removed. Not scale free: it is meant for rows of unit
        norm.
    mmd_scaling : {"authors", "paper"}, default="authors"
        "authors" divides M by its Frobenius norm, as the code behind published accuracies does; "paper" does not. The
        two agree when ridge is changed by that factor, 1/ns + 1/nt.
    component_scale : {"unit", "constraint"}, default="unit"
        Length of the components: "unit" gives coefficient vectors of norm one, which reproduces published accuracies;
        "constraint" is the paper's A^T B A = I, which gives every component the same variance.
    n_landmarks : int, optional
        Approximates a kernel that is not linear by as many training rows (Nystroem), n x n_landmarks numbers instead of
        n x n; `kernel_error_` says how well. None is exact, whatever n.
    backend : {"auto", "numpy", "cupy"}, default="auto"
        Where to compute with NumPy input: "auto" takes a CUDA device through CuPy when one is usable, the problem is
        large, and the device has room for it and its rows. Results are NumPy arrays either way. Arrays of CuPy or torch
        are computed with, and kept, where they are.
    memory_budget : int, float or None, default=None
        Memory that a fit may take beyond its input, where it is computed: bytes (int) or a share of what is free there
        (float). None: half of what is free. On a device the copy of the rows counts. A kernel matrix that does not fit
        is never stored but computed anew, tile by tile, for each product.
    estimator : classifier, optional
        Trained on the adapted source rows. Default: `OneNearestNeighbor` by cosine.

    Attributes
    ----------
    components_ : ndarray of shape (k, n_features), or (k, n_samples) with a nonlinear kernel
        Map of new rows: ``X @ components_.T``, or kernel values with the training rows times ``components_.T``.
    objective_ : float
        Minimum of the objective, the sum of the k smallest ratios of (MMD + ridge) to variance.
    X_fit_ : ndarray of shape (n_samples, n_features)
        Training rows (with `n_landmarks`, the landmarks); nonlinear kernels only.
    embedding_ : ndarray of shape (n_samples, k)
        Adapted training rows; exact nonlinear kernels only. Rows that `transform` or `predict` sees again, such as the
        target rows, are looked up here: no kernel value is computed again, and the result is that of `fit` to the last
        bit.
    kernel_error_ : float
        With `n_landmarks`: relative error of the kernel matrix in columns that are no landmarks.
    plan_ : shallowda.kernels.planning.Plan
        Operator, solver, backend and memory that were chosen, and why.
    gamma_ : float or None
        Width used, None for the kernel's default; nonlinear kernels only.
    classes_ : ndarray of shape (n_classes,)
    estimator_ : classifier
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)

    Notes
    -----
    Cost: one Gram pass, n d^2, and some 10 k products with the d x d matrix (kernel None or "linear", d <= n); rows are
    read in blocks and may lie in a memory-mapped file. Otherwise n^2 d for the kernel matrix, and twice as many
    products with it, in the dtype of X; one n x n matrix (two for float32, and for a precomputed one that is nearly
    constant), or none where `memory_budget` has no room for it. M, H and K H K are never built.
    ``print(model.plan_)`` explains what was chosen.

    References
    ----------
    S. J. Pan, I. W. Tsang, J. T. Kwok, Q. Yang. "Domain adaptation via transfer component analysis". IEEE Transactions
    on Neural Networks 22(2):199-210, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import TCAEstimator, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> Xs = np.r_[rng.randn(40, 3), rng.randn(40, 3) + [3, 0, 0]]
    >>> ys = np.repeat([0, 1], 40)
    >>> Xt = Xs + [0, 0, 9]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> tca = TCAEstimator(n_components=2).fit(X, y)
    >>> tca.transform(Xt).shape
    (80, 2)
    >>> tca.score(Xt, ys) > 0.9
    True
    """

    card = Card(
        title="Transfer component analysis",
        paper="Pan et al., IJCAI 2009, TNN 2011",
        idea="projects on directions along which the domain means agree",
        use_when="means have moved; nonlinear, with kernels",
        fails_when="class shares differ: means then move by right",
        settings=("unsupervised",),
        scaling="unit-rows",
        tests=({"n_components": 3}, {"n_components": 3, "kernel": "linear"}, {"n_components": 3, "kernel": "rbf"}),
        representative=True,
    )

    def __init__(
        self,
        n_components: int = 30,
        *,
        kernel: str | Callable | None = None,
        gamma: float | str | None = "median",
        degree: float = 3,
        coef0: float = 1,
        kernel_params: Mapping | None = None,
        ridge: float = 1.0,
        mmd_scaling: str = "authors",
        component_scale: str = "unit",
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
        self.n_landmarks = n_landmarks
        self.backend = backend
        self.memory_budget = memory_budget
        self.estimator = estimator

    def _adapt(self, X: Array, domains: Domains) -> Array:
        E, _ = mmd_factor(domains.source, authors=self.mmd_scaling == "authors")
        space = self._space(X)
        A, self.objective_, lengths = self._solve(space, space.times(E), self.ridge)
        A = self._scaled(A, lengths)
        if self._is_linear:
            A = A * signs(space.lift(A).T)  # those of the map, whichever space it was found in
        return self._store(space, A, space.embed(A))

    @property
    def _no_stream(self) -> str:
        return "" if self._is_linear else f"kernel={self.kernel!r} needs the rows themselves"

    def _align(self, source: Moments, target: Moments | None) -> None:
        space = self._space(source if target is None else source + target)
        V = marginal_gap(source, target, authors=self.mmd_scaling == "authors")
        A, self.objective_, lengths = self._solve(space, V, self.ridge)
        self._store_map(space, self._scaled(A, lengths))
