"""Easy transfer learning: alignment, then target rows assigned to the nearest class means so that none is left out.

    min_M  sum_jc D_jc M_jc      s.t.  sum_c M_jc = 1,   sum_j M_jc >= 1,   M >= 0,        D_jc = ||x_j - h_c||

over target rows j and classes c, with h_c the mean of the aligned source rows of class c.

J. Wang, Y. Chen, H. Yu, M. Huang, Q. Yang. Easy transfer learning by exploiting intra-domain structures. ICME 2019.
"""

from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils._param_validation import StrOptions

from shallowda.core.adapter import BaseAdapter
from shallowda.core.catalogue import Card
from shallowda.core.classifier import DomainClassifier
from shallowda.core.contract import Domains
from shallowda.core.estimator import BACKENDS
from shallowda.core.messages import warn
from shallowda.kernels.arrays import Array, as_dtype, from_numpy, take_rows, to_numpy
from shallowda.kernels.assignment import cover_classes, euclidean_distances
from shallowda.kernels.copies import first_equal
from shallowda.kernels.moments import group_sums
from shallowda.methods.alignment.coral import CORAL
from shallowda.methods.subspace.gfk import GFK

__all__ = ["EasyTL"]


class EasyTL(DomainClassifier):
    """Easy transfer learning: nearest class mean after an alignment, with a target row for every class.

    A classifier, not a transformer. It has no parameters but those of its alignment.

    Parameters
    ----------
    alignment : "coral", adapter or None, default="coral"
        What brings the domains together first: any adapter of this package, such as ``GFK(20)``, whose base classifier
        is not used. "coral" is ``CORAL()``; pass ``CORAL(ridge=...)`` to choose its parameters, or to search for them
        as ``alignment__ridge``. None compares rows as they are: EasyTL(c) of the paper.
    require_all_classes : bool, default=True
        Whether every class of the source must have a target row, as in the paper. Pass False where the target may lack
        classes: what remains is the nearest class mean.
    backend : {"auto", "numpy", "cupy"}, default="auto"
        Where to compute; see `TCAEstimator`. An adapter that is passed has its own, which "auto" follows.

    Attributes
    ----------
    class_means_ : ndarray of shape (n_classes, n_features_aligned), float64
        Means h_c of the aligned source rows of each class.
    prices_ : ndarray of shape (n_classes,), float64
        u_c, multipliers of the constraints that every class has a row: zero, unless the nearest class means leave out a
        class. ``decision_function`` is ``prices_ - distances to class_means_``.
    pseudo_labels_ : ndarray of shape (n_target,)
        The optimal assignment of the target rows of `fit`.
    alignment_ : adapter or None
        The fitted alignment; None without one, and without target rows.
    classes_, n_features_in_, feature_names_in_
        As usual.

    Notes
    -----
    The linear programme is solved exactly, without being formed. Where each class mean is the nearest one of some row,
    the nearest class means are its solution. Otherwise some rows move, at the least sum of distances (see
    `shallowda.kernels.assignment`); they may be more than the classes that were left out, as a row that moves may have
    been the only one of its class. Rows that are equal after the alignment count as one row and have one label. Where
    there are fewer different target rows than classes, no assignment has a row for each: a warning says so, and labels
    are those of the nearest class means.

    The paper labels the rows it was given. For others the multipliers of the programme decide: a row belongs to the
    class of smallest ``distance - price``. On the target rows of `fit` that is the assignment itself, so that
    ``predict`` gives `pseudo_labels_` again, unless another assignment has the same sum of distances, as is the rule
    where rows have moved along a line (one feature). Prices are not unique: those in the midst of what is possible are
    taken.

    Cost, beside the alignment's: n d for the class means, nt C d for the distances, of which nt C are kept in float64
    during `fit`; the repair sorts nt rows C times and solves an assignment of C classes to at most C^2 rows.

    References
    ----------
    J. Wang, Y. Chen, H. Yu, M. Huang, Q. Yang. "Easy transfer learning by exploiting intra-domain structures". IEEE
    International Conference on Multimedia and Expo (ICME), 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import EasyTL, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1, 2], 30)
    >>> Xs = np.eye(5)[ys] * 4 + rng.randn(90, 5)
    >>> Xt = np.eye(5)[ys] * 4 + rng.randn(90, 5) + [1, -1, 1, 0, 0]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> EasyTL().fit(X, y).score(Xt, ys) > 0.9
    True
    """

    card = Card(
        title="Easy transfer learning",
        paper="Wang et al., ICME 2019",
        idea="takes the nearest class mean after alignment; no class is left out",
        use_when="there is nothing to tune with, or many classes and rows",
        fails_when="a class is no cluster; with the repair: the target lacks classes",
        settings=("pseudo-labels",),
        scaling="per-domain",
        tests=({"alignment": CORAL(ridge=0.1)}, {"alignment": GFK(3), "require_all_classes": False}),
    )

    _has_source_map = True

    _parameter_constraints: dict = {
        "alignment": [BaseAdapter, StrOptions({"coral"}), None],
        "require_all_classes": ["boolean"],
        "backend": [BACKENDS],
    }

    def __init__(
        self,
        alignment: BaseAdapter | str | None = "coral",
        *,
        require_all_classes: bool = True,
        backend: str = "auto",
    ) -> None:
        self.alignment = alignment
        self.require_all_classes = require_all_classes
        self.backend = backend

    def _learn(self, rows: Array, domains: Domains) -> None:
        Zs, Zt = domains.split(self._aligned(rows, domains))
        codes = domains.labels[domains.source]
        sums = group_sums(Zs, codes, domains.n_classes)
        self.class_means_ = sums / from_numpy(np.bincount(codes, minlength=domains.n_classes)[:, None] * 1.0, sums)
        labels, prices = np.empty(0, dtype=int), np.zeros(domains.n_classes)
        if domains.has_target:
            labels, prices = self._assigned(Zt, domains.n_classes)
        self.pseudo_labels_, self.prices_ = domains.classes[labels], from_numpy(prices, sums)

    def _aligned(self, rows: Array, domains: Domains) -> Array:
        """All rows, each by its domain's map of the alignment; without a target there is nothing to align."""
        self.alignment_ = None
        if self.alignment is None or not domains.has_target:
            return rows
        alignment = self._unfitted_alignment()
        self.alignment_ = alignment.set_output(transform="default")
        needed = get_tags(alignment).target_tags.required
        labels = domains.labels if needed else None  # with labels it would train a classifier
        return alignment.fit_transform(rows, labels, sample_domain=domains.codes)

    def _unfitted_alignment(self) -> BaseAdapter:
        if isinstance(self.alignment, BaseAdapter):
            return clone(self.alignment)
        return CORAL(backend="numpy" if self.backend == "numpy" else "auto")  # "auto" leaves rows where they are placed

    def _assigned(self, Zt: Array, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the target rows, and prices of the classes."""
        index, copies = np.unique(first_equal(Zt), return_inverse=True)
        distances = to_numpy(euclidean_distances(take_rows(Zt, index), self.class_means_))
        if self.require_all_classes and len(index) >= n_classes:
            codes, prices = cover_classes(distances)
            return codes[copies], prices
        if self.require_all_classes:
            warn(
                f"EasyTL: the target has {len(index)} different row(s) and the source {n_classes} classes, so that not "
                "every class can have a row. Labels are those of the nearest class means; require_all_classes=False "
                "asks for that.",
            )
        return distances.argmin(axis=1)[copies], np.zeros(n_classes)

    @property
    def _chosen_backend(self) -> str:
        if self.backend == "auto" and isinstance(self.alignment, BaseAdapter):
            return self.alignment._chosen_backend  # it would refuse rows elsewhere
        return self.backend

    def _keep(self, X: Array) -> None:
        if self.alignment_ is not None:
            self.alignment_._keep(X)
        super()._keep(X)

    def _embed(self, X: Array, source: np.ndarray) -> Array:
        return X if self.alignment_ is None else self.alignment_.transform(X, sample_domain=np.where(source, 0, -1))

    def _scores(self, X: Array) -> Array:
        return as_dtype(self.prices_ - euclidean_distances(X, self.class_means_), X.dtype)
