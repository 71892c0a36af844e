"""Balanced distribution adaptation, and its class-weighted variant.

    min_A  tr(A^T (Phi^T M Phi + ridge I) A)   s.t.  A^T Phi^T H Phi A = I,      M = (1 - mu) M_0 + mu sum_c M_c

J. Wang, Y. Chen, S. Hao, W. Feng, Z. Shen. Balanced distribution adaptation for transfer learning. ICDM 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from shallowda.core.catalogue import Card
from shallowda.core.contract import Domains
from shallowda.core.messages import warn
from shallowda.core.pseudo_labels import Solution
from shallowda.kernels.arrays import Array, to_numpy
from shallowda.kernels.mmd import MMDFactor
from shallowda.kernels.spaces import Space
from shallowda.methods.spectral.jda import JDA, Shared
from shallowda.metrics import Separability, separability

__all__ = ["BDA"]

_CENTRED = 0.01  # squared norm of the mean, relative to the total variance
_SATURATED = 1.95  # of 2: above, an A-distance says "separable" and nothing more
_SURE = 4.0  # standard errors of the distances together, below which their ratio is mostly noise


class BDA(JDA):
    """Balanced distribution adaptation: JDA with a weight between the domain means and the class means.

    Parameters
    ----------
    n_components : int, default=30
        Dimensions of the embedding. Capped at the rank of the centred data, with a warning.
    mu : float in [0, 1] or "a_distance", default=0.5
        Balance factor. 0 matches the domain means only, 1 the class means only. "a_distance" estimates it in every pass
        as ``mean_c d_c / (mean_c d_c + d_0)`` from held-out proxy A-distances of the whole domains (d_0) and of the
        classes (d_c, by pseudo-labels), measured on the leading principal components. Classes with fewer than two rows
        in a domain are skipped; with nothing to compare mu is 0.5. Where the distances together are below four of their
        standard errors, their ratio would be noise: mu is then ``0.5 + 0.5 (mean_c d_c - d_0) / (4 errors)``, near 0.5,
        and a warning says that it is not determined. (The MEDA paper sums over classes where the authors' code and this
        take the mean; both of those use training errors, which say 2 wherever d >= n.)
    weighted : bool, default=False
        W-BDA: class means weighted by the square roots of the class shares (of the pseudo-labels, in the target), for
        imbalanced classes. Published as such; but its terms do not vanish when class-conditionals agree, and depend on
        the origin: use centred data (a warning says when they are not).
    kernel : None, str or callable, default=None
        None is the primal problem. See `JDA`.
    gamma : float, "median" or None, default="median"
        See `TCAEstimator`.
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, optional
        Keyword arguments of a callable kernel.
    ridge : float > 0, default=1.0
        lambda of the paper. In "paper" scaling, mu = 0.5 with ridge / 2 is JDA with ridge.
    mmd_scaling : {"authors", "paper"}, default="authors"
        "authors": M_0 is multiplied by the number of classes C and the sum divided by its Frobenius norm, so mu = 0.5
        is JDA at the same ridge. "paper": the formula above, where the class terms outweigh M_0 about C^1.5 times at
        mu = 0.5. A mu does not carry over: ``mu' / (1 - mu') = mu / (C (1 - mu))``.
    component_scale : {"unit", "constraint"}, default="unit"
        See `TCAEstimator`.
    max_iter : int, default=10
        Passes at most.
    n_landmarks, backend, memory_budget
        See `TCAEstimator`.
    estimator : classifier, optional
        Labels the target in every pass and classifies in the end. Default: `OneNearestNeighbor` by cosine.

    Attributes
    ----------
    mu_ : float
        Balance factor of the pass that was kept.
    history_ : dict of lists
        As in `JDA`, and per pass ``mu``; with "a_distance" also ``marginal_distance`` (d_0), ``class_distances`` (a
        dict of d_c by class) and ``distance_error`` (standard error of d_0 and mean_c d_c together). The first pass has
        no pseudo-labels: it matches the domain means, with weight 1 - mu in "paper" scaling.
    components_, pseudo_labels_, n_iter_, X_fit_, gamma_, classes_, estimator_, n_features_in_, feature_names_in_
        As in `JDA`.

    References
    ----------
    J. Wang, Y. Chen, S. Hao, W. Feng, Z. Shen. "Balanced distribution adaptation for transfer learning". ICDM 2017.

    J. Wang, W. Feng, Y. Chen, H. Yu, M. Huang, P. S. Yu. "Visual domain adaptation with manifold embedded distribution
    alignment". ACM Multimedia 2018 (the estimate of mu).

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import BDA, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1, 2], 30)
    >>> Xs = np.eye(5)[ys] * 4 + rng.randn(90, 5)
    >>> Xt = np.eye(5)[ys] * 4 + rng.randn(90, 5) + [2, -2, 2, 0, 0]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> bda = BDA(n_components=3, mu="a_distance").fit(X, y)
    >>> 0 <= bda.mu_ <= 1
    True
    """

    card = Card(
        title="Balanced distribution adaptation",
        paper="Wang et al., ICDM 2017",
        idea="JDA with a balance between domain means and class means",
        use_when="one of the two shifts dominates",
        fails_when="first pseudo-labels are mostly wrong",
        settings=("pseudo-labels",),
        scaling="unit-rows",
        tests=({"n_components": 3}, {"n_components": 3, "kernel": "linear"}, {"n_components": 3, "kernel": "rbf"}),
    )

    _parameter_constraints: dict = {
        **JDA._parameter_constraints,
        "mu": [Interval(Real, 0, 1, closed="both"), StrOptions({"a_distance"})],
        "weighted": ["boolean"],
    }

    def __init__(
        self,
        n_components: int = 30,
        *,
        mu: float | str = 0.5,
        weighted: bool = False,
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
        super().__init__(
            n_components,
            kernel=kernel,
            gamma=gamma,
            degree=degree,
            coef0=coef0,
            kernel_params=kernel_params,
            ridge=ridge,
            mmd_scaling=mmd_scaling,
            component_scale=component_scale,
            max_iter=max_iter,
            n_landmarks=n_landmarks,
            backend=backend,
            memory_budget=memory_budget,
            estimator=estimator,
        )
        self.mu = mu
        self.weighted = weighted

    def _store_pass(self, shared: Shared, solution: Solution) -> Array:
        kept = self.history_["kept"]
        self.mu_ = self.history_["mu"][kept]
        if "marginal_distance" in self.history_:
            self._doubt(kept)
        return super()._store_pass(shared, solution)

    def _doubt(self, kept: int) -> None:
        """Say where the distances do not determine mu."""
        marginal, error = (self.history_[name][kept] for name in ("marginal_distance", "distance_error"))
        of_classes = list(self.history_["class_distances"][kept].values())
        conditional = float(np.mean(of_classes)) if of_classes else np.nan
        if marginal > _SATURATED and not conditional <= _SATURATED:
            warn(
                "The A-distances that mu='a_distance' rests on are saturated (domains and classes are told apart "
                f"without error), so mu={self.mu_:.2f} says nothing about the balance. Choose mu by validation "
                "instead.",
            )
        elif of_classes and marginal + conditional < _SURE * error:
            warn(
                f"mu='a_distance' is not determined: the distances of the domains ({marginal:.2f}) and of the classes "
                f"({conditional:.2f} in the mean) are within a few standard errors ({error:.2f}) of zero, so "
                f"mu={self.mu_:.2f} stays near 0.5. There may be no shift to weigh, or too few rows to see it.",
            )

    def _context(self, space: Space, domains: Domains) -> Any:
        """Principal components of all rows and d_0, for the A-distances."""
        if self.weighted and space.offset > _CENTRED:
            warn(
                "weighted=True needs centred data, and the mean of these rows (in the kernel's feature space) is not "
                f"small against their spread (ratio {np.sqrt(space.offset):.2g}): the result depends on the origin. "
                "Centre the features first, for example with StandardScaler, or use weighted=False.",
            )
        if self.mu != "a_distance" or not domains.has_target:
            return None
        no_mmd = MMDFactor(np.zeros(len(domains.source), dtype=int), np.zeros((1, 0)))
        A, _, _ = self._solve(space, space.times(no_mmd), 1.0)
        reduced = to_numpy(space.embed(A))
        return reduced, separability(*domains.split(reduced))

    def _mmd(self, context: Any, domains: Domains, pseudo: np.ndarray | None) -> tuple[MMDFactor, dict]:
        if context is None:
            mu = 0.5 if self.mu == "a_distance" else float(self.mu)
            record: dict = {"mu": mu}
        else:
            reduced, of_domains = context
            mu, record = _estimate_mu(reduced, of_domains, domains, pseudo)
        # before there are labels only M_0 counts; the authors' normalisation takes its weight out, at mu = 1 too
        marginal = 1.0 if pseudo is None and self.mmd_scaling == "authors" else 1.0 - mu
        E, dropped = self._joint_mmd(domains, pseudo, marginal, mu, prior_weighted=self.weighted)
        return E, {"dropped_classes": dropped, **record}


def _estimate_mu(
    reduced: np.ndarray, marginal: Separability, domains: Domains, pseudo: np.ndarray | None
) -> tuple[float, dict]:
    """mu and the distances behind it."""
    found: dict[Any, Separability] = {}
    if pseudo is not None:
        Zs, Zt = domains.split(reduced)
        for code, label in enumerate(domains.classes.tolist()):
            of_class = separability(Zs[domains.labels[domains.source] == code], Zt[pseudo == code])
            if np.isfinite(of_class.a_distance):
                found[label] = of_class
    d_0 = marginal.a_distance
    distances = [of_class.a_distance for of_class in found.values()]
    errors = [of_class.standard_error for of_class in found.values()]
    conditional = float(np.mean(distances)) if distances else np.nan
    error = float(np.hypot(marginal.standard_error, np.linalg.norm(errors) / len(errors))) if errors else np.nan
    mu = 0.5
    if np.isfinite(conditional + d_0) and conditional + d_0 > 0:
        sure = conditional + d_0 >= _SURE * error
        mu = conditional / (conditional + d_0) if sure else 0.5 + 0.5 * (conditional - d_0) / (_SURE * error)
    by_class = {label: of_class.a_distance for label, of_class in found.items()}
    return mu, {"mu": mu, "marginal_distance": d_0, "class_distances": by_class, "distance_error": error}
