"""What every loader and generator returns: samples of several domains, with what is needed to cite them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from shallowda.domains import pack_domains

__all__ = ["DomainDataset"]

Pair = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False, repr=False)
class DomainDataset:
    """Samples of several domains that share features and classes.

    Attributes
    ----------
    name : str
        Name of the data set, with its variant in brackets: ``"office-caltech10[surf]"``.
    X : ndarray of shape (n, d), float32 or float64
        Features as distributed: nothing is scaled. NaN is a missing value (heart disease only).
    y : ndarray of shape (n,), int64
        Class of each sample, an index into `target_names`.
    sample_domain : ndarray of shape (n,), int64
        Domain of each sample, an index into `domain_names`.
    domain_names : tuple of str
    target_names : tuple of str
        Names of the classes; where the files have none, their labels as strings. A domain need not have all classes.
    feature_description, licence, citation, source : str
        What a column is, under which terms the samples may be used, what to cite, where they come from.

    Raises
    ------
    ValueError
        If lengths differ, a code is out of range, or a domain is without samples.

    Examples
    --------
    >>> from shallowda.datasets import make_rotated_moons
    >>> moons = make_rotated_moons(100, angles=(0, 30), random_state=0)
    >>> moons
    DomainDataset make_rotated_moons: 200 samples, 2 features, 2 classes; domains 0deg (100), 30deg (100)
    >>> moons.pairs()
    [('0deg', '30deg'), ('30deg', '0deg')]
    >>> Xs, ys, Xt, yt = moons.pair("0deg", "30deg")
    >>> X, y, sample_domain = moons.pack("0deg", "30deg")
    >>> int((y == -1).sum())
    100
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    sample_domain: np.ndarray
    domain_names: tuple[str, ...]
    target_names: tuple[str, ...]
    feature_description: str
    licence: str
    citation: str
    source: str

    def __post_init__(self) -> None:
        if self.X.ndim != 2 or not self.y.shape == self.sample_domain.shape == (len(self.X),):
            raise ValueError(
                f"{self.name}: X of shape {self.X.shape}, y of shape {self.y.shape} and sample_domain of shape "
                f"{self.sample_domain.shape} do not belong together."
            )
        for field, codes, names in (
            ("y", self.y, self.target_names),
            ("sample_domain", self.sample_domain, self.domain_names),
        ):
            if len(codes) and not 0 <= codes.min() <= codes.max() < len(names):
                raise ValueError(f"{self.name}: {field} must hold codes from 0 to {len(names) - 1}.")
        empty = np.flatnonzero(np.bincount(self.sample_domain, minlength=len(self.domain_names)) == 0)
        if len(empty):
            raise ValueError(f"{self.name}: no samples of {', '.join(self.domain_names[code] for code in empty)}.")

    def __repr__(self) -> str:
        counts = np.bincount(self.sample_domain, minlength=len(self.domain_names))
        domains = ", ".join(f"{name} ({count})" for name, count in zip(self.domain_names, counts, strict=True))
        return (
            f"{type(self).__name__} {self.name}: {len(self.X)} samples, {self.X.shape[1]} features, "
            f"{len(self.target_names)} classes; domains {domains}"
        )

    def domain(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Samples of one domain.

        Parameters
        ----------
        name : str
            One of `domain_names`.

        Returns
        -------
        X : ndarray of shape (n_domain, d)
        y : ndarray of shape (n_domain,), int64

        Raises
        ------
        ValueError
            If there is no such domain.
        """
        if name not in self.domain_names:
            raise ValueError(f"{self.name} has no domain {name!r}; it has {', '.join(self.domain_names)}.")
        rows = self.sample_domain == self.domain_names.index(name)
        return self.X[rows], self.y[rows]

    def pair(self, source: str | Sequence[str], target: str) -> Pair:
        """Samples of a source and of a target, with all labels: for evaluation.

        Parameters
        ----------
        source : str or sequence of str
            A domain, or several whose samples are stacked in the given order.
        target : str
            The domain to adapt to.

        Returns
        -------
        Xs, ys, Xt, yt : ndarray

        Raises
        ------
        ValueError
            If a domain is unknown, there is no source, or the target is among the sources.
        """
        rows, labels = zip(*(self.domain(name) for name in self._sources(source, target)), strict=True)
        return np.concatenate(rows), np.concatenate(labels), *self.domain(target)

    def pack(self, source: str | Sequence[str], target: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the estimators are fitted on: labelled sources and an unlabelled target.

        Parameters
        ----------
        source : str or sequence of str
        target : str

        Returns
        -------
        X : ndarray of shape (n_source + n_target, d)
            Source rows first.
        y : ndarray of shape (n_source + n_target,), int64
            -1 on target rows: their labels are not in the result.
        sample_domain : ndarray of shape (n_source + n_target,), int
            0, 1, ... for the sources in the given order, -1 for the target.

        Raises
        ------
        ValueError
            As `pair`.
        """
        rows, labels = zip(*(self.domain(name) for name in self._sources(source, target)), strict=True)
        return pack_domains(list(rows), list(labels), self.domain(target)[0])

    def pairs(self) -> list[tuple[str, str]]:
        """All ordered pairs (source, target) of domains."""
        return list(permutations(self.domain_names, 2))

    def _sources(self, source: str | Sequence[str], target: str) -> tuple[str, ...]:
        names = (source,) if isinstance(source, str) else tuple(source)
        if not names or target in names or len(set(names)) < len(names):
            raise ValueError(
                f"{self.name}: sources must be at least one domain, each once, and not the target; got "
                f"{', '.join(map(repr, names)) or 'none'} for the target {target!r}."
            )
        return names
