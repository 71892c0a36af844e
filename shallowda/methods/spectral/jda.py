"""Joint distribution adaptation.

    min_A  tr(A^T (Phi^T M Phi + ridge I) A)   s.t.  A^T Phi^T H Phi A = I,      M = M_0 + sum_c M_c

with the class terms M_c taken from pseudo-labels of the target, which the embedding itself improves pass by pass.

M. Long, J. Wang, G. Ding, J. Sun, P. S. Yu. Transfer feature learning with joint distribution adaptation. ICCV 2013.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils._param_validation import Interval

from shallowda.core.catalogue import Card
from shallowda.core.contract import Domains
from shallowda.core.pseudo_labels import PseudoLabelAdapter, Solution
from shallowda.kernels.arrays import Array, as_dtype
from shallowda.kernels.eigen import TOLERANCE
from shallowda.kernels.mmd import MMDFactor, mmd_factor
from shallowda.kernels.spaces import Space
from shallowda.methods.spectral.base import SpectralAdapter

__all__ = ["JDA", "Shared"]

# Of passes that only serve to find labels; the one that is kept is solved at full precision. With 1e-4 the labels of
# every pass were those of exact passes where this was measured (8000 x 2048, ten passes); with 1e-3 they were not.
_QUICK_TOLERANCE = 1e-4


class Shared(NamedTuple):
    """What the passes of a fit share: Phi, what `_mmd` needs besides labels, and the dtype of the rows."""

    space: Space
    context: Any
    dtype: Any


class JDA(SpectralAdapter, PseudoLabelAdapter):
    """Joint distribution adaptation: TCA that also brings the class means together, by pseudo-labels.

    Parameters
    ----------
    n_components : int, default=30
        Dimensions of the embedding (the paper: 100). Capped at the rank of the centred data, with a warning.
    kernel : None, str or callable, default=None
        None projects the features themselves (the authors' "primal"). "linear" is their dual problem on ``K = X X^T``,
        a different one. Further: any name of scikit-learn's ``pairwise_kernels``, "precomputed", or a callable.
    gamma : float, "median" or None, default="median"
        Kernel width; see `TCAEstimator`.
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, optional
        Keyword arguments of a callable kernel.
    ridge : float > 0, default=1.0
        lambda of the paper, which uses 1 for objects and 0.1 for digits and faces, on rows of unit norm.
    mmd_scaling : {"authors", "paper"}, default="authors"
        "authors": ``M = C M_0 + sum_c M_c`` divided by its Frobenius norm, the code behind published accuracies.
        "paper": ``M_0 + sum_c M_c``. A ridge does not carry over from one to the other.
    component_scale : {"unit", "constraint"}, default="unit"
        Length of the components; see `TCAEstimator`. Published accuracies need "unit".
    max_iter : int, default=10
        Passes at most. Fewer when the labels settle, or come round in a cycle.
    n_landmarks, backend, memory_budget
        See `TCAEstimator`.
    estimator : classifier, optional
        Labels the target in every pass and classifies in the end. Default: `OneNearestNeighbor` by cosine (the paper).

    Attributes
    ----------
    components_ : ndarray of shape (k, n_features), or (k, n_samples) with a nonlinear kernel
        Map of new rows.
    pseudo_labels_ : ndarray of shape (n_target,)
        Labels of the target rows after the pass that was kept, in their order.
    n_iter_ : int
        Passes made.
    history_ : dict of lists
        Per pass ``objective``, ``label_changes`` and ``dropped_classes`` (classes without a target row, whose term was
        left out); and ``stopped``: "settled", "cycle" or "max_iter"; ``kept``: index of the pass whose result this
        is, the last one but in a cycle, where it is that of smallest objective.
        The class terms are measured with labels that the embedding itself produced: a small objective does not say that
        the labels are right.
    X_fit_, gamma_, classes_, estimator_, n_features_in_, feature_names_in_
        As in `TCAEstimator`.

    Notes
    -----
    Cost: one Gram pass n d^2 (or one kernel matrix), then per pass up to 3 k products with it, n d k for the embedding,
    class sums of the rows whose label changed, and ns nt k for nearest neighbours: with very many rows pass a cheaper
    `estimator`, such as ``NearestCentroid()``. Passes share a Krylov space and run at a tolerance that suffices for
    labels; the pass that is kept is solved at full precision, and labels count as settled when they are also those of
    that solution. Memory as for `TCAEstimator`. Without target rows: no adaptation, one pass.

    References
    ----------
    M. Long, J. Wang, G. Ding, J. Sun, P. S. Yu. "Transfer feature learning with joint distribution adaptation". ICCV
    2013.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import JDA, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1, 2], 30)
    >>> Xs = np.eye(5)[ys] * 4 + rng.randn(90, 5)
    >>> Xt = np.eye(5)[ys] * 4 + rng.randn(90, 5) + [0, 0, 0, 3, 3]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> jda = JDA(n_components=3).fit(X, y)
    >>> jda.score(Xt, ys) > 0.9
    True
    """

    card = Card(
        title="Joint distribution adaptation",
        paper="Long et al., ICCV 2013",
        idea="TCA that brings class means together too, by pseudo-labels",
        use_when="classes move differently, and source-only is right more often than not",
        fails_when="first pseudo-labels are mostly wrong",
        settings=("pseudo-labels",),
        scaling="unit-rows",
        tests=({"n_components": 3}, {"n_components": 3, "kernel": "linear"}, {"n_components": 3, "kernel": "rbf"}),
        representative=True,
    )

    _parameter_constraints: dict = {
        **SpectralAdapter._parameter_constraints,
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

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
        max_iter: int = 10,
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
        self.n_landmarks = n_landmarks
        self.backend = backend
        self.memory_budget = memory_budget
        self.estimator = estimator

    def _prepare(self, X: Array, domains: Domains) -> Shared:
        space = self._space(X)
        return Shared(space, self._context(space, domains), X.dtype)

    def _has_quick_pass(self, shared: Shared) -> bool:
        return shared.space.solver.is_iterative(self.n_components)

    def _pass(self, shared: Shared, domains: Domains, pseudo: np.ndarray | None, *, quick: bool) -> Solution:
        space = shared.space
        E, record = self._mmd(shared.context, domains, pseudo)
        tol = _QUICK_TOLERANCE if quick else TOLERANCE
        A, objective, lengths = self._solve(space, space.times(E), self.ridge, tol=tol)
        A = self._scaled(A, lengths)
        return Solution(objective, as_dtype(space.embed(A), shared.dtype), A, record)

    def _store_pass(self, shared: Shared, solution: Solution) -> Array:
        return self._store(shared.space, solution.maps, solution.embedding)

    def _context(self, space: Space, domains: Domains) -> Any:
        """What `_mmd` needs besides labels, computed once."""

    def _mmd(self, context: Any, domains: Domains, pseudo: np.ndarray | None) -> tuple[MMDFactor, dict]:
        """E of one pass, and what to record of it."""
        E, dropped = self._joint_mmd(domains, pseudo, 1.0, 1.0)
        return E, {"dropped_classes": dropped}

    def _joint_mmd(
        self, domains: Domains, pseudo: np.ndarray | None, marginal: float, conditional: float, **options: Any
    ) -> tuple[MMDFactor, tuple]:
        """Factor of ``marginal M_0 + conditional sum_c M_c`` in the chosen scaling, and the classes left out."""
        codes = domains.labels_with(pseudo) if pseudo is not None and domains.n_classes > 1 else None
        E, missing = mmd_factor(
            domains.source,
            codes,
            domains.n_classes,
            marginal=marginal,
            conditional=conditional,
            authors=self.mmd_scaling == "authors",
            **options,
        )
        return E, tuple(domains.classes[missing].tolist())
