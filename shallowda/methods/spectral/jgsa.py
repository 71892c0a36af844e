"""Joint geometrical and statistical alignment.

    max_{A, B}            mu tr(B^T S_t B) + beta tr(A^T S_b A)
              ------------------------------------------------------------------------
              MMD(A, B) + lam |A - B|^2 + beta tr(A^T S_w A) + mu |B|^2

with one map for each domain, A for the source and B for the target. S_t is the scatter of the target, S_b and S_w the
scatter of the source between and within its classes, and the MMD compares the means of domains and classes across the
two maps, by pseudo-labels of the target. Stationary points solve ``N W = (D + U U^T) W diag(rho)`` for ``W = [A; B]``:
`shallowda.kernels.coupled` has the matrices.

J. Zhang, W. Li, P. Ogunbona. Joint geometrical and statistical alignment for visual domain adaptation. CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from shallowda.core.catalogue import Card
from shallowda.core.contract import Domains
from shallowda.core.messages import warn
from shallowda.core.pseudo_labels import PseudoLabelAdapter, Solution
from shallowda.kernels.arrays import Array, as_dtype, merge_rows, namespace
from shallowda.kernels.coupled import Coordinates, CoupledSpace, kernel_coordinates, principal_coordinates, span
from shallowda.kernels.eigen import TOLERANCE, signs
from shallowda.kernels.mmd import MMDFactor, mmd_factor
from shallowda.kernels.moments import map_rows
from shallowda.kernels.operators import Nystroem
from shallowda.methods.spectral.base import SpectralAdapter

__all__ = ["JGSA"]

# Of passes that only serve to find labels. With 1e-6 and with 1e-5 the labels of every pass were those of exact passes
# where this was measured (ten passes, classes that overlap, 4000 x 1024 and 3000 x 2048); with 1e-4 they were not.
_QUICK_TOLERANCE = 1e-6
_NO_VARIANCE = (
    "The target rows have no variance, and the class means of the source do not differ, or with discrimination=0 do "
    "not count: there is no direction to project on."
)
_NO_RIDGE = (
    "Within its classes the source varies so much that coupling={:g} and target_variance={:g} are lost in round-off "
    "beside it. Scale the features down, for example rows to unit norm, or raise both."
)


class Shared(NamedTuple):
    """What the passes of a fit share."""

    coordinates: Coordinates
    source: Array
    target: Array
    space: CoupledSpace
    dtype: Any


class JGSA(SpectralAdapter, PseudoLabelAdapter):
    """Joint geometrical and statistical alignment: a map for each domain, kept close to each other.

    The maps bring together domain means and class means (by pseudo-labels), keep the target's variance, and set the
    source's classes apart.

    Parameters
    ----------
    n_components : int, default=30
        Dimensions of the embedding. Capped, with a warning, at the number of features (with a kernel: at the rank of
        the centred kernel matrix), and at the number of directions in which the target or the source's class means
        vary.
    coupling : float > 0, default=1.0
        lambda of the paper (alpha in the authors' code): the closeness of the two maps. Large: one map for both.
    target_variance : float > 0, default=1.0
        mu of the paper, which has it in two places: the weight of the target's variance, and the ridge on its map.
    discrimination : float >= 0, default=0.1
        beta of the paper: the weight of the scatter between classes of the source, and of that within. The authors use
        0.1 for objects and faces, 0.01 for digits.
    scatter : {"sum", "mean"}, default="sum"
        "sum": scatters are sums over rows, as in the paper. They grow with the number of rows while ridge and coupling
        do not, so that the three weights mean something else on a data set of another size. "mean": scatters are
        divided by the number of rows of their domain, and the MMD of "authors" scaling by C instead of by its norm.
        Then rows given twice change nothing. The weights do not carry over: with n rows, those of the MMD, the coupling
        and the ridge count about n times as much as with sums.
    mmd_scaling : {"authors", "paper"}, default="authors"
        "authors": ``M = C M_0 + sum_c M_c`` divided by the Frobenius norm of ``C M_0`` (not of M, as for JDA), the code
        behind published accuracies. "paper": ``M_0 + sum_c M_c``.
    component_scale : {"unit", "constraint"}, default="unit"
        Length of a component of both maps together: "unit" gives ``|a|^2 + |b|^2 = 1`` (with a kernel for the weights
        of the samples, also where it is linear), and published accuracies; "constraint" makes the numerator of the
        problem 1 for each.
    kernel : None, str or callable, default=None
        None maps the features themselves (the paper's primal problem). Any other maps the centred feature space of the
        kernel, with ridge and coupling in its norm, and takes the target's scatter about the mean of all rows:
        "linear", which differs from None in this centring and in the unit of `component_scale`, any name of
        scikit-learn's ``pairwise_kernels``, "precomputed" (rows then have no first labels, and the first pass matches
        domain means only), or a callable.
    gamma : float, "median" or None, default="median"
        Kernel width; see `TCAEstimator`.
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, optional
        Keyword arguments of a callable kernel.
    max_iter : int, default=10
        Passes at most. Fewer when the labels settle, or come round in a cycle.
    n_landmarks, backend, memory_budget
        See `TCAEstimator`. A kernel matrix has to be stored, so where it does not fit `n_landmarks` is the way.
    estimator : classifier, optional
        Labels the target in every pass and classifies in the end; the first pass begins with the labels that it gives
        the rows as they are. Default: `OneNearestNeighbor` by cosine. The paper's is Euclidean.

    Attributes
    ----------
    components_ : ndarray of shape (k, n_features), or (k, n_samples) with a nonlinear kernel
        B: map of target rows.
    source_components_ : ndarray of the same shape
        A: map of source rows.
    intercept_, source_intercept_ : ndarray of shape (k,)
        What is added to mapped rows: the centring of the kernel, zero for kernel None.
    pseudo_labels_ : ndarray of shape (n_target,)
        Labels of the target rows after the pass that was kept, in their order.
    n_iter_ : int
        Passes made.
    history_ : dict of lists
        As for `JDA`; ``objective`` is the sum of 1 / rho over the components.
    plan_, X_fit_, gamma_, kernel_error_, classes_, estimator_, n_features_in_, feature_names_in_
        As in `TCAEstimator`.

    Raises
    ------
    ValueError
        If neither the target nor the class means of the source vary, or if the coupling and target_variance are lost in
        the round-off of the scatter within classes, beside what all methods refuse.
    MemoryError
        If `memory_budget` is too small for the kernel matrix and its eigenvectors.

    Notes
    -----
    Rows are not centred, and a shift of both domains is no matter of indifference to two maps: use features whose mean
    is near zero, best in each domain, as the paper does (z-scores by domain, then rows of unit norm).

    Cost: with r = min(d, n), the scatters n r^2 and a Cholesky factor r^3 once; in each pass, of order 2 r, up to 3 k
    products of 6 r^2 flops, n r k for the embedding, and ns nt k for nearest neighbours. LAPACK solves small problems,
    at most of order 2 r = 2048; larger ones are solved in Krylov spaces that the passes share. Memory: 5 r^2 numbers
    and the Krylov space (2 r times 1000), and a copy of the rows where those of a domain do not lie together. With a
    kernel r is the rank of the centred n x n matrix: all its eigenvectors are computed once, some 10 n^3 flops, and
    memory is 6 n^2. Results have the dtype of X.

    References
    ----------
    J. Zhang, W. Li, P. Ogunbona. "Joint geometrical and statistical alignment for visual domain adaptation". CVPR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import JGSA, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1, 2], 30)
    >>> Xs = np.eye(5)[ys] * 4 + rng.randn(90, 5)
    >>> Xt = np.eye(5)[ys] * 4 + rng.randn(90, 5) + [0, 0, 0, 3, 3]
    >>> X, y, sample_domain = pack_domains(Xs - Xs.mean(axis=0), ys, Xt - Xt.mean(axis=0))
    >>> jgsa = JGSA(n_components=3).fit(X, y)
    >>> jgsa.components_.shape, jgsa.source_components_.shape
    ((3, 5), (3, 5))
    >>> jgsa.score(X[sample_domain < 0], ys) > 0.9
    True
    """

    card = Card(
        title="Joint geometrical and statistical alignment",
        paper="Zhang et al., CVPR 2017",
        idea="a map for each domain, by variance, classes and matched means",
        use_when="domains differ in their directions too, and source-only is often right",
        fails_when="first pseudo-labels are mostly wrong, or rows are far from the origin",
        settings=("pseudo-labels",),
        scaling="unit-rows",
        tests=(
            {"n_components": 3},
            {"n_components": 3, "scatter": "mean", "mmd_scaling": "paper", "component_scale": "constraint"},
            {"n_components": 3, "kernel": "linear"},
            {"n_components": 3, "kernel": "rbf"},
        ),
    )

    _has_source_map = True

    _form = "coupled"

    _parameter_constraints: dict = {
        **{name: rule for name, rule in SpectralAdapter._parameter_constraints.items() if name != "ridge"},
        "coupling": [Interval(Real, 0, None, closed="neither")],
        "target_variance": [Interval(Real, 0, None, closed="neither")],
        "discrimination": [Interval(Real, 0, None, closed="left")],
        "scatter": [StrOptions({"sum", "mean"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int = 30,
        *,
        coupling: float = 1.0,
        target_variance: float = 1.0,
        discrimination: float = 0.1,
        scatter: str = "sum",
        mmd_scaling: str = "authors",
        component_scale: str = "unit",
        kernel: str | Callable | None = None,
        gamma: float | str | None = "median",
        degree: float = 3,
        coef0: float = 1,
        kernel_params: Mapping | None = None,
        max_iter: int = 10,
        n_landmarks: int | None = None,
        backend: str = "auto",
        memory_budget: int | float | None = None,
        estimator: Any = None,
    ) -> None:
        self.n_components = n_components
        self.coupling = coupling
        self.target_variance = target_variance
        self.discrimination = discrimination
        self.scatter = scatter
        self.mmd_scaling = mmd_scaling
        self.component_scale = component_scale
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.max_iter = max_iter
        self.n_landmarks = n_landmarks
        self.backend = backend
        self.memory_budget = memory_budget
        self.estimator = estimator

    def _first_labels(self, X: Array, domains: Domains) -> np.ndarray | None:
        return None if self.kernel == "precomputed" else self._source_only(X, domains)

    def _prepare(self, X: Array, domains: Domains) -> Shared:
        coordinates = self._coordinates(X)
        if coordinates.rows.shape[1] == 0:
            raise ValueError(_NO_VARIANCE)
        source, target = domains.split(coordinates.rows)  # without a target the source for both, and one map
        try:
            space = CoupledSpace(
                source,
                target,
                domains.labels[domains.source],
                domains.n_classes,
                self.coupling if domains.has_target else np.inf,
                self.target_variance,
                self.discrimination,
                average=self.scatter == "mean",
                about_origin=coordinates.centre is not None,
                eps=float(namespace(X).finfo(X.dtype).eps),
            )
        except np.linalg.LinAlgError as error:
            raise ValueError(_NO_RIDGE.format(self.coupling, self.target_variance)) from error
        return Shared(coordinates, source, target, space, X.dtype)

    def _coordinates(self, X: Array) -> Coordinates:
        """The rows, in a basis of their span or in the kernel's centred feature space."""
        if self._is_linear:
            return span(X) if self.kernel is None else principal_coordinates(X)
        gram = self._fit_kernel(X)
        if isinstance(gram, Nystroem):
            return principal_coordinates(gram.features, gram.root)
        return kernel_coordinates(gram.K)  # type: ignore[attr-defined]  # the plan has no tiles

    def _has_quick_pass(self, shared: Shared) -> bool:
        return shared.space.pencil.solver.is_iterative(self.n_components)

    def _pass(self, shared: Shared, domains: Domains, pseudo: np.ndarray | None, *, quick: bool) -> Solution:
        space = shared.space
        labels = domains.labels[domains.source]
        codes = pseudo if domains.has_target else labels
        E, dropped = self._mmd(labels, codes, shared.target.shape[0], domains.n_classes)
        # with more of them the maps of the domains would turn away from each other
        k = min(self.n_components, space.rank)
        W, rho = space.solve(space.times(E, codes), k, _QUICK_TOLERANCE if quick else TOLERANCE)
        xp = namespace(W)
        if W.shape[1] == 0:
            raise ValueError(_NO_VARIANCE)
        if self.component_scale == "unit":
            W = W / xp.sqrt(sum(map(shared.coordinates.squared_lengths, space.halves(W))))
        lifted = [shared.coordinates.lift(half)[0].T for half in space.halves(W)]
        W = W * signs(xp.concat(lifted))  # of what does not depend on how a basis was found
        Zs, Zt = (
            as_dtype(rows @ as_dtype(half, rows.dtype), shared.dtype)
            for rows, half in zip((shared.source, shared.target), space.halves(W), strict=True)
        )
        Z = merge_rows(domains.source, Zs, Zt) if domains.has_target else Zs
        record = {"dropped_classes": tuple(domains.classes[dropped].tolist())}
        return Solution(float(xp.sum(1.0 / rho)), Z, W, record)

    def _mmd(
        self, labels: np.ndarray, codes: np.ndarray | None, n_target: int, n_classes: int
    ) -> tuple[MMDFactor, np.ndarray]:
        """E of source rows and then target rows in the chosen scaling, and the classes left out."""
        source = np.repeat([True, False], [len(labels), n_target])
        both = None if codes is None or n_classes == 1 else np.concatenate([labels, codes])
        authors = self.mmd_scaling == "authors"
        E, dropped = mmd_factor(source, both, n_classes, marginal=n_classes if authors else 1.0)
        if authors:
            per_row = 1.0 if self.scatter == "mean" else 1.0 / len(labels) + 1.0 / n_target
            E = E.scaled((n_classes * per_row) ** -0.5)
        return E, dropped

    def _store_pass(self, shared: Shared, solution: Solution) -> Array:
        rank = solution.maps.shape[1]
        if rank < self.n_components:
            warn(
                f"n_components={self.n_components} exceeds the rank {rank} of the problem, which is the number of "
                "dimensions of the rows, or of directions in which the target or the class means of the source vary; "
                f"{rank} components are kept.",
            )
        A, B = shared.space.halves(solution.maps)
        self.source_components_, self.source_intercept_ = shared.coordinates.lift(A)
        self.components_, self.intercept_ = shared.coordinates.lift(B)
        return solution.embedding

    def _map(self, X: Array, source: np.ndarray) -> Array:
        rows = X if self._is_linear else self._kernel_to(X)

        def mapped(some: Array, components: Array, intercept: Array) -> Array:
            return some @ as_dtype(components.T, some.dtype) + as_dtype(intercept, some.dtype)

        return map_rows(
            rows,
            source,
            lambda some: mapped(some, self.source_components_, self.source_intercept_),
            lambda some: mapped(some, self.components_, self.intercept_),
            self.components_.shape[0],
        )
