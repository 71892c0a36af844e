"""What the methods of principal subspaces share: those of either domain, and maps from the one to the other."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from shallowda.core.estimator import BACKENDS
from shallowda.core.messages import warn
from shallowda.core.moment_adapter import MomentAdapter, Rows
from shallowda.kernels.arrays import Array, as_dtype, namespace, to_numpy
from shallowda.kernels.moments import Moments, map_rows
from shallowda.kernels.subspaces import disagreement, pca_basis

__all__ = ["AlignedSubspaces", "Subspace", "SubspaceAdapter", "principal_subspaces"]

_DEFAULT = 30
_AUTO_LIMIT = 100  # dimensions searched by "auto"
_NO_DISAGREEMENT = 1e-6  # D(k) that is round-off
_FULL_DISAGREEMENT = 0.995  # D(k) that counts as 1: the measure to two decimals
_ORTHOGONAL = 1e-8  # norm of T, all of which is round-off


class Subspace(NamedTuple):
    """Mean (d,), orthonormal basis (d, k) and variances (k,) of one domain."""

    mean: Array
    basis: Array
    variances: Array

    def leading(self, k: int) -> Subspace:
        """The first k directions."""
        return Subspace(self.mean, self.basis[:, :k], self.variances[:k])


def principal_subspaces(Xs: Rows, Xt: Rows, n_components: int | str | None) -> tuple[Subspace, Subspace]:
    """Principal subspaces of the two domains, of one dimension.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d), ns >= 2, or Moments
    Xt : ndarray of shape (nt, d), nt >= 2, or Moments
        Either both rows or both moments.
    n_components : int, "auto" or None
        None: 30, but at most half the features. "auto": the smallest k at which the subspace disagreement measure
        reaches 1 (to two decimals), looking at most at half the features and at 100; where it does not, the k of its
        maximum; where it is zero throughout, all that it looks at.

    Returns
    -------
    source, target : Subspace

    Raises
    ------
    ValueError
        If a domain has fewer than two rows, or no variance.

    Warns
    -----
    UserWarning
        If n_components exceeds the rank of a domain, and is lowered to it.
    """
    for name, rows in (("source", Xs), ("target", Xt)):
        if rows.shape[0] < 2:
            raise ValueError(f"The {name} domain has {rows.shape[0]} row(s); a principal subspace needs at least two.")
    half = max(1, Xs.shape[1] // 2)
    if n_components is None or isinstance(n_components, str):
        limit = min(_AUTO_LIMIT if n_components == "auto" else _DEFAULT, half)
    else:
        limit = int(n_components)
    source, target = Subspace(*pca_basis(Xs, limit)), Subspace(*pca_basis(Xt, limit))
    rank = min(source.variances.shape[0], target.variances.shape[0])
    if rank == 0:
        name = "source" if source.variances.shape[0] == 0 else "target"
        raise ValueError(f"The {name} domain has no variance: all its rows are the same.")
    if n_components == "auto":
        both = Xs + Xt if isinstance(Xs, Moments) else namespace(Xs, Xt).concat([Xs, Xt])
        pooled = pca_basis(both, rank)[1]
        measure = disagreement(source.basis[:, :rank], target.basis[:, :rank], pooled)
        reached = measure >= _FULL_DISAGREEMENT
        agree = measure.max() < _NO_DISAGREEMENT  # at every k, so that nothing speaks for a small one
        k = rank if agree else int(np.argmax(reached if reached.any() else measure)) + 1
    else:
        k = rank
        if n_components is not None and rank < limit:
            warn(
                f"n_components={n_components} exceeds the rank of a domain ({source.variances.shape[0]} in the source, "
                f"{target.variances.shape[0]} in the target); {rank} components are kept.",
            )
    return source.leading(k), target.leading(k)


class SubspaceAdapter(MomentAdapter):
    """Adapter built on `principal_subspaces`."""

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), None],
        "backend": [BACKENDS],
        "estimator": [HasMethods(["fit", "predict"]), None],
    }

    n_components: int | str | None

    def _subspaces(self, source: Rows, target: Rows | None) -> tuple[Subspace, Subspace]:
        n_components = self.n_components
        if target is None and not isinstance(
            n_components, Integral
        ):  # nothing to align: keep what the classifier needs
            n_components = min(_DEFAULT, source.shape[1])
        subspaces = principal_subspaces(source, source if target is None else target, n_components)
        self.n_components_ = subspaces[0].basis.shape[1]
        return subspaces


class AlignedSubspaces(SubspaceAdapter):
    """Adapter with a map for each domain: onto the target's subspace, or onto the source's and from there to it."""

    def _overlap(self, source: Subspace, target: Subspace) -> Array:
        """``T = P_s^T P_t``, of shape (k, k), by which a source row is mapped; a warning where it is zero."""
        T = source.basis.T @ target.basis
        if np.linalg.norm(to_numpy(T)) < _ORTHOGONAL:
            warn(
                "The principal subspaces of the domains are orthogonal, so every source row is mapped to zero. "
                "Choose a larger n_components.",
            )
        return T

    def _keep_maps(self, source: Subspace, alignment: Array, target: Subspace) -> None:
        """Keep ``P_s alignment`` for source rows and ``P_t`` for target rows, each after its domain's mean."""
        self.alignment_ = alignment
        self.mean_, self.components_ = target.mean, target.basis.T
        self.source_mean_, self.source_components_ = source.mean, (source.basis @ alignment).T

    def _map(self, X: Array, source: np.ndarray) -> Array:
        def embedding(mean: Array, components: Array) -> Callable[[Array], Array]:
            mean, components = as_dtype(mean, X.dtype), as_dtype(components, X.dtype)
            return lambda rows: (rows - mean) @ components.T

        return map_rows(
            X,
            source,
            embedding(self.source_mean_, self.source_components_),
            embedding(self.mean_, self.components_),
            self.components_.shape[0],
        )
