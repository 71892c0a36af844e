"""Adaptation regularisation: ARRLS (squared loss) and ARSVM (hinge loss).

    min_f  sum_i loss(f(x_i), y_i) + ridge ||f||_K^2 + mmd_weight tr(f^T M f) + manifold_weight tr(f^T L f)

over f = K alpha, with M = M_0 + sum_c M_c by pseudo-labels of the target and L the normalised Laplacian of a nearest
neighbour graph of all rows.

M. Long, J. Wang, G. Ding, S. J. Pan, P. S. Yu. Adaptation regularization: a general framework for transfer learning.
IEEE Transactions on Knowledge and Data Engineering 26(5), 2014.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from shallowda.core.catalogue import Card
from shallowda.core.classifier import DomainClassifier, decide
from shallowda.core.contract import Domains
from shallowda.core.estimator import require_classifier
from shallowda.core.kernel_mixin import KERNEL_CONSTRAINTS, KernelMixin
from shallowda.core.messages import warn
from shallowda.core.pseudo_labels import Pass, PseudoLabelMixin
from shallowda.core.rows import read_only
from shallowda.kernels.arrays import (
    Array,
    alike,
    as_dtype,
    from_numpy,
    namespace,
    to_numpy,
)
from shallowda.kernels.mmd import MMDFactor, mmd_factor
from shallowda.kernels.neighbours import cosine_knn_graph, kernel_knn_graph, normalised_laplacian
from shallowda.kernels.operators import DenseGram, Nystroem, Operator
from shallowda.kernels.regularised import KernelMachine, LinearMachine, extreme_ritz_values
from shallowda.kernels.spaces import kernel_offset

__all__ = ["ARTL"]

_MOST_ROUND_OFF = 1e-2  # share of the spread of kernel values
_POSITIVE = {"linear", "rbf", "laplacian", "cosine", "chi2"}  # kernels that are positive semi-definite by construction
_MOST_ITERATIONS = 1000  # of lbfgs, in the logistic regression that gives the first pseudo-labels


class ARTL(KernelMixin, PseudoLabelMixin, DomainClassifier):
    """Adaptation regularisation: one classifier fitted with structural risk, domain alignment and manifold terms.

    A classifier, not a transformer.

    Parameters
    ----------
    loss : {"squared", "hinge"}, default="squared"
        "squared" is ARRLS (closed form), "hinge" ARSVM (with a bias; one machine per class against the rest). Both are
        summed over the source rows, so that the weights below mean the same for either. The paper averages the hinge
        loss: its ridge, lambda and gamma are those below divided by the number of source rows.
    kernel : str or callable, default="linear"
        Any name of scikit-learn's ``pairwise_kernels``, "precomputed", or a callable. The linear kernel is solved in
        min(d, n) dimensions and predicts exactly as its kernel form.
    gamma : float, "median" or None, default="median"
        Kernel width; see `TCAEstimator`. (The paper's gamma is `manifold_weight`.)
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, optional
        Keyword arguments of a callable kernel.
    ridge : float > 0, default=0.1
        sigma of the paper: weight of the norm of f.
    mmd_weight : float >= 0, default=10.0
        lambda of the paper: weight of the MMD terms.
    manifold_weight : float >= 0, default=1.0
        gamma of the paper: weight of the graph Laplacian.
    n_neighbors : int, default=10
        p of the paper: neighbours of each row in the graph, by cosine (by the kernel's cosine when precomputed).
    mmd_scaling : {"authors", "paper"}, default="authors"
        "authors": ``C M_0 + sum_c M_c`` divided by its Frobenius norm; "paper": ``M_0 + sum_c M_c``.
    max_iter : int, default=1
        Passes. One is the paper; more feed the method's own labels back, until they settle.
    n_landmarks, backend, memory_budget
        See `TCAEstimator`.
    estimator : classifier, optional
        Gives the first pseudo-labels, trained on the source rows. Default: logistic regression, as the authors; with a
        precomputed kernel, the method itself without its MMD and manifold terms.

    Attributes
    ----------
    coef_ : ndarray of shape (1 or n_classes, n_features)
        Linear kernel: ``decision_function(X) = X @ coef_.T + intercept_``.
    dual_coef_ : ndarray of shape (1 or n_classes, n_samples), float64
        Other kernels: alpha, the weights of the training rows (with `n_landmarks`, of the landmarks).
    intercept_ : ndarray of shape (1 or n_classes,)
        Zero for the squared loss.
    pseudo_labels_ : ndarray of shape (n_target,)
        Labels of the target rows after the last pass.
    n_iter_ : int
    history_ : dict of lists
        As in `JDA`.
    X_fit_, gamma_, classes_, n_features_in_, feature_names_in_
        As in `TCAEstimator`.

    Notes
    -----
    Cost: n d^2 + d^3 (linear, d <= n), n^2 d (d > n), n^3 for other kernels (n^2 per iteration of conjugate gradients
    where `memory_budget` has no room for two n x n matrices), and n^2 d for the graph, whose rows are computed in
    blocks. Later passes cost n d or n^2 per class, not another factorisation. Negative cosines are not
    edges of the graph.

    A kernel matrix that has a clearly negative eigenvalue is reported by a warning, with the eigenvalue; so is a
    logistic regression of the first labels that stops before it converges.

    References
    ----------
    M. Long, J. Wang, G. Ding, S. J. Pan, P. S. Yu. "Adaptation regularization: a general framework for transfer
    learning". IEEE Transactions on Knowledge and Data Engineering 26(5):1076-1089, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import ARTL, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1, 2], 30)
    >>> Xs = np.eye(5)[ys] * 4 + rng.randn(90, 5)
    >>> Xt = np.eye(5)[ys] * 4 + rng.randn(90, 5) + [1, -1, 1, 0, 0]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> ARTL().fit(X, y).score(Xt, ys) > 0.9
    True
    """

    card = Card(
        title="Adaptation regularisation",
        paper="Long et al., TKDE 2014",
        idea="fits one classifier with alignment and manifold terms",
        use_when="classes are clusters in a graph of neighbours",
        fails_when="clusters of the target straddle classes",
        settings=("pseudo-labels",),
        scaling="unit-rows",
        tests=({}, {"max_iter": 3}, {"kernel": "rbf"}, {"loss": "hinge"}, {"loss": "hinge", "kernel": "rbf"}),
        representative=True,
    )

    _parameter_constraints: dict = {
        **KERNEL_CONSTRAINTS,
        "loss": [StrOptions({"squared", "hinge"})],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "mmd_weight": [Interval(Real, 0, None, closed="left")],
        "manifold_weight": [Interval(Real, 0, None, closed="left")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "mmd_scaling": [StrOptions({"authors", "paper"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "estimator": [HasMethods(["fit", "predict"]), None],
    }

    def __init__(
        self,
        loss: str = "squared",
        *,
        kernel: str | Callable = "linear",
        gamma: float | str | None = "median",
        degree: float = 3,
        coef0: float = 1,
        kernel_params: Mapping | None = None,
        ridge: float = 0.1,
        mmd_weight: float = 10.0,
        manifold_weight: float = 1.0,
        n_neighbors: int = 10,
        mmd_scaling: str = "authors",
        max_iter: int = 1,
        n_landmarks: int | None = None,
        backend: str = "auto",
        memory_budget: int | float | None = None,
        estimator: Any = None,
    ) -> None:
        self.loss = loss
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.ridge = ridge
        self.mmd_weight = mmd_weight
        self.manifold_weight = manifold_weight
        self.n_neighbors = n_neighbors
        self.mmd_scaling = mmd_scaling
        self.max_iter = max_iter
        self.n_landmarks = n_landmarks
        self.backend = backend
        self.memory_budget = memory_budget
        self.estimator = estimator

    def _learn(self, rows: Array, domains: Domains) -> None:
        given = rows if self._is_linear else self._operator(rows)
        laplacian = None
        if self.manifold_weight > 0:
            by_kernel = self.kernel == "precomputed"
            graph = kernel_knn_graph(given, self.n_neighbors) if by_kernel else cosine_knn_graph(rows, self.n_neighbors)
            laplacian = self.manifold_weight * normalised_laplacian(graph)
        first = self._first_labels(rows, domains, given)
        machine = self._machine(given, domains, laplacian)

        def step(pseudo: np.ndarray) -> Pass:
            E, dropped = self._mmd(domains, pseudo)
            fit = machine.solve(E)
            fitted = to_numpy(fit.fitted)[domains.target]
            labels = decide(fitted, domains.n_classes, self._tie(float(namespace(rows).finfo(rows.dtype).eps)))
            return Pass(fit.objective, labels, {"dropped_classes": dropped}, fit)

        fit = self._settle(step, domains, first=first)
        weights = fit.weights
        weights = machine.lift(
            as_dtype(given.root, weights.dtype) @ weights if isinstance(given, Nystroem) else weights
        )
        self.intercept_ = as_dtype(from_numpy(fit.bias, weights), rows.dtype)
        if self._is_linear:
            self.coef_ = as_dtype(weights, rows.dtype)
        else:
            self.dual_coef_ = as_dtype(weights, namespace(weights).float64)

    @property
    def _form(self) -> str:  # type: ignore[override]
        return "system" if self.loss == "squared" else "hinge"

    def _n_solved(self, domains: Domains | None) -> int:
        return domains.n_classes if domains else 1

    def _operator(self, X: Array) -> Operator:
        """Kernel matrix of the rows; says so when it is stored and is no kernel matrix."""
        K = self._fit_kernel(X)
        offset = kernel_offset(K)
        if offset * float(namespace(X).finfo(X.dtype).eps) > _MOST_ROUND_OFF and self.degree > 0:
            warn(
                f"The values of kernel={self.kernel!r} keep fewer than two digits of what tells rows apart: their mean "
                f"is so far from zero (ratio to the spread: {np.sqrt(offset):.2g}). Centre the features first, for "
                "example with StandardScaler, or choose a larger gamma.",
            )
        if isinstance(K, DenseGram) and self.kernel not in _POSITIVE:
            smallest, largest = extreme_ritz_values(K)
            if smallest < -np.sqrt(namespace(X).finfo(X.dtype).eps) * max(abs(largest), abs(smallest)):
                warn(
                    f"kernel={self.kernel!r} is not positive semi-definite on these rows: it has an eigenvalue of "
                    f"{smallest:.2g} or below, and the largest is about {largest:.2g}. The objective of ARTL then has "
                    "no norm to penalise; what is fitted is a stationary point, which need not be a minimum. Choose "
                    "another kernel, such as 'rbf', or correct the precomputed matrix.",
                )
        return K

    def _machine(
        self, given: Array | Operator, domains: Domains, laplacian: sp.csr_array | None
    ) -> LinearMachine | KernelMachine:
        """Solver for these rows (linear kernel), this kernel matrix, or its Nystroem features."""
        rest = self.loss, domains.source, self._targets(domains), laplacian, self.ridge
        if isinstance(given, Nystroem):
            return LinearMachine(given.features, *rest)
        return LinearMachine(given, *rest) if self._is_linear else KernelMachine(given, *rest)

    def _targets(self, domains: Domains) -> np.ndarray:
        """Values that f is fitted to on the source: one column of -1, +1 for two classes, else one column a class."""
        one_hot = np.eye(domains.n_classes)[domains.labels[domains.source]]
        if domains.n_classes == 2:
            return 2.0 * one_hot[:, 1:] - 1.0
        return one_hot if self.loss == "squared" else 2.0 * one_hot - 1.0

    def _mmd(self, domains: Domains, pseudo: np.ndarray) -> tuple[MMDFactor, tuple]:
        """Factor of ``mmd_weight (M_0 + sum_c M_c)`` in the chosen scaling, and the classes left out."""
        codes, authors = domains.labels_with(pseudo), self.mmd_scaling == "authors"
        E, missing = mmd_factor(domains.source, codes, domains.n_classes, authors=authors)
        return E.scaled(np.sqrt(self.mmd_weight)), tuple(domains.classes[missing].tolist())

    def _first_labels(self, X: Array, domains: Domains, given: Array | Operator) -> np.ndarray:
        """Pseudo-labels to start from, as codes."""
        if domains.n_classes == 1 or not domains.has_target:
            return np.zeros(int(domains.target.sum()), dtype=int)
        if self.estimator is None and self.kernel == "precomputed":
            fit = self._machine(given, domains, None).solve()
            return decide(to_numpy(fit.fitted)[domains.target], domains.n_classes)
        Xs, Xt = (read_only(to_numpy(rows)) for rows in domains.split(X))
        if self.estimator is not None:
            learner = require_classifier(clone(self.estimator)).fit(Xs, domains.source_labels)
            return domains.encode(learner.predict(Xt))
        learner = LogisticRegression(max_iter=_MOST_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said below, with what to do about it
            learner.fit(Xs, domains.source_labels)
        if np.max(learner.n_iter_) >= learner.max_iter:
            warn(
                f"ARTL: the logistic regression that gives the first pseudo-labels stopped after {learner.max_iter} "
                "iterations (lbfgs failed to converge); its labels are used as they are. Features of unlike or large "
                "scale are the usual reason: put StandardScaler or Normalizer before ARTL in a pipeline, or pass "
                "another classifier as estimator.",
                ConvergenceWarning,
            )
        return domains.encode(learner.predict(Xt))

    def _tie(self, eps: float) -> float:
        return 0.1 * eps**0.5  # scores are fitted to 0, 1 and -1, whatever the units of X

    def _scores(self, X: Array) -> Array:
        if self._is_linear:
            rows, weights = alike(X, self.coef_)
            scores = rows @ weights.T
        else:  # weights may be large and cancel: float32 would not do
            scores = as_dtype(self._kernel_to(X), namespace(X).float64) @ self.dual_coef_.T
        return as_dtype(scores, X.dtype) + self.intercept_
