"""Adaptation regularisation: ARRLS (squared loss) and ARSVM (hinge loss).

    min_f  sum_i loss(f(x_i), y_i) + ridge ||f||_K^2 + mmd_weight tr(f^T M f) + manifold_weight tr(f^T L f)

over f = K alpha, with M = M_0 + sum_c M_c by pseudo-labels of the target and L the normalised Laplacian of a nearest
neighbour graph of all rows.

M. Long, J. Wang, G. Ding, S. J. Pan, P. S. Yu. Adaptation regularization: a general framework for transfer learning.
IEEE Transactions on Knowledge and Data Engineering 26(5), 2014.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from shallowda._base import DomainAwareClassifier, require_classifier, warn_dropped
from shallowda._pseudo_labels import Pass, settle
from shallowda._spectral import KERNEL_CONSTRAINTS, KernelMixin
from shallowda.domains import Domains
from shallowda.kernels.mmd import joint_factor
from shallowda.kernels.neighbours import cosine_knn_graph, kernel_knn_graph, normalised_laplacian
from shallowda.kernels.regularised import KernelMachine, LinearMachine

__all__ = ["ARTL"]


class ARTL(KernelMixin, DomainAwareClassifier):
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
    estimator : classifier, optional
        Gives the first pseudo-labels, trained on the source rows. Default: logistic regression, as the authors; with a
        precomputed kernel, the method itself without its MMD and manifold terms.

    Attributes
    ----------
    coef_ : ndarray of shape (1 or n_classes, n_features)
        Linear kernel: ``decision_function(X) = X @ coef_.T + intercept_``.
    dual_coef_ : ndarray of shape (1 or n_classes, n_samples)
        Other kernels: alpha, the weights of the training rows.
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
    Cost: n d^2 + d^3 (linear, d <= n), n^2 d (d > n), n^3 for other kernels, and n^2 d for the graph, whose rows are
    computed in blocks. Negative cosines are not edges of the graph.

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
        self.estimator = estimator

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None) -> ARTL:
        """Fit the classifier on the rows of both domains.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both domains, in any order.
        y : array-like of shape (n_samples,)
            Class labels on source rows, -1 on target rows (NaN or "" where labels are floats or strings).
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for source rows, < 0 for target rows. Decides, when given; labels of target rows are then ignored.

        Returns
        -------
        self : ARTL
        """
        self._fit(X, y, sample_domain)
        return self

    def _fit(self, X: ArrayLike, y: Any, sample_domain: Any) -> None:
        X, domains = self._read(X, y, sample_domain)
        machine = LinearMachine(X) if self._is_linear else KernelMachine(self._fit_kernel(X))
        knn_graph = kernel_knn_graph if self.kernel == "precomputed" else cosine_knn_graph
        laplacian = sp.csr_array((len(X), len(X)))
        if self.manifold_weight > 0:
            laplacian = self.manifold_weight * normalised_laplacian(knn_graph(X, self.n_neighbors))
        Y = self._targets(domains)

        def step(pseudo: np.ndarray) -> Pass:
            E, dropped = self._mmd(domains, pseudo)
            weights, bias, objective = machine.solve(self.loss, domains.source, Y, E, laplacian, self.ridge)
            scores = machine.values(weights)[domains.target] + bias
            return Pass(objective, self._decide(scores), {"dropped_classes": dropped}, (weights, bias))

        last, self.history_ = settle(step, self._first_labels(X, domains, machine, Y), self.max_iter)
        warn_dropped(type(self).__name__, last.record["dropped_classes"] if domains.has_target else ())
        weights, bias = last.result
        self.n_iter_ = len(self.history_["objective"])
        self.pseudo_labels_ = domains.classes[last.labels]
        name = "coef_" if self._is_linear else "dual_coef_"
        setattr(self, name, machine.lift(weights).astype(X.dtype))
        self.intercept_ = bias.astype(X.dtype)
        self._fitted = True

    def _targets(self, domains: Domains) -> np.ndarray:
        """Values that f is fitted to on the source: one column of -1, +1 for two classes, else one column a class."""
        one_hot = np.eye(domains.n_classes)[domains.labels[domains.source]]
        if domains.n_classes == 2:
            return 2.0 * one_hot[:, 1:] - 1.0
        return one_hot if self.loss == "squared" else 2.0 * one_hot - 1.0

    def _mmd(self, domains: Domains, pseudo: np.ndarray) -> tuple[sp.csr_array, tuple]:
        """Factor of ``mmd_weight (M_0 + sum_c M_c)`` in the chosen scaling, and the classes left out."""
        codes, authors = domains.labels_with(pseudo), self.mmd_scaling == "authors"
        E, missing = joint_factor(domains.source, codes, domains.n_classes, authors=authors)
        return np.sqrt(self.mmd_weight) * E, tuple(domains.classes[missing].tolist())

    def _first_labels(
        self, X: np.ndarray, domains: Domains, machine: LinearMachine | KernelMachine, Y: np.ndarray
    ) -> np.ndarray:
        """Pseudo-labels to start from, as codes."""
        Xs, Xt = X[domains.source], X[domains.target]
        if domains.n_classes == 1 or len(Xt) == 0:
            return np.zeros(len(Xt), dtype=int)
        if self.estimator is None and self.kernel == "precomputed":
            n = len(X)
            weights, bias, _ = machine.solve(
                self.loss, domains.source, Y, sp.csr_array((n, 0)), sp.csr_array((n, n)), self.ridge
            )
            return self._decide(machine.values(weights)[domains.target] + bias)
        learner = LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator
        learner = require_classifier(clone(learner))
        return domains.encode(learner.fit(Xs, domains.source_labels).predict(Xt))

    def _decide(self, scores: np.ndarray) -> np.ndarray:
        """Class codes from scores of shape (m, 1 or n_classes)."""
        if len(self.classes_) == 2:
            return (scores[:, 0] > 0).astype(int)
        return scores.argmax(axis=1)

    def _scores(self, X: ArrayLike, sample_domain: Any) -> np.ndarray:
        X, _ = self._rows(X, sample_domain)
        if self._is_linear:
            return X @ self.coef_.T + self.intercept_
        return self._kernel_to(X) @ self.dual_coef_.T + self.intercept_

    def decision_function(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Scores of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            Accepted for uniformity; both domains share one function.

        Returns
        -------
        scores : ndarray of shape (n_samples,) for two classes, where > 0 means ``classes_[1]``; (n_samples, n_classes)
        else
        """
        scores = self._scores(X, sample_domain)
        return scores.ravel() if len(self.classes_) == 2 else scores

    def predict(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Predict the class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            Accepted for uniformity; both domains share one function.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        codes = self._decide(self._scores(X, sample_domain))
        return self.classes_[codes]
