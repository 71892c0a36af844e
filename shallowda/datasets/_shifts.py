"""Domains made from a formula, so that it is known what shifts and by how much."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
from sklearn.utils import check_random_state, check_scalar

from shallowda.datasets._container import DomainDataset

__all__ = ["make_deep_features", "make_gaussian_shift", "make_rotated_moons"]

Seed = int | np.random.RandomState | None
SHIFTS = ("covariate", "label", "conditional", "concept")
RADIUS = 3.0  # of the circle on which the class means of make_gaussian_shift lie, in standard deviations
MAX_RANK = 64  # of the covariance within a class of make_deep_features
RECTIFIER = 0.6  # what its activations must exceed: leaves about a third of them


def _generated(
    name: str,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    domain_names: Sequence[str],
    n_classes: int,
    features: str,
) -> DomainDataset:
    rows, labels = zip(*parts, strict=True)
    return DomainDataset(
        name=name,
        X=np.concatenate(rows),
        y=np.concatenate(labels).astype(np.int64),
        sample_domain=np.repeat(np.arange(len(rows)), [len(part) for part in rows]),
        domain_names=tuple(domain_names),
        target_names=tuple(map(str, range(n_classes))),
        feature_description=features,
        licence="made on the spot, free to use",
        citation="none needed",
        source=f"shallowda.datasets.{name}",
    )


def _numbers(values: Sequence[float], name: str) -> tuple[float, ...]:
    found = tuple(float(value) for value in values)
    if len(found) < 2 or not np.all(np.isfinite(found)) or len(set(found)) < len(found):
        raise ValueError(f"{name} must be at least two different finite numbers, one for each domain; got {found}.")
    return found


def _roles(n_domains: int) -> list[str]:
    sources = ["source"] if n_domains == 2 else [f"source{number + 1}" for number in range(n_domains - 1)]
    return [*sources, "target"]


def make_rotated_moons(
    n_samples: int = 200,
    *,
    angles: Sequence[float] = (0.0, 30.0),
    noise: float = 0.1,
    random_state: Seed = None,
) -> DomainDataset:
    """Two interleaved half circles, turned by an angle in each domain.

    .. image:: /figures/datasets/make_rotated_moons.png

    Parameters
    ----------
    n_samples : int, default=200
        Of each domain; half of each class (one more of class 0 where it is odd).
    angles : sequence of float, default=(0, 30)
        One domain for each angle, in degrees, anticlockwise about the origin, which is the centre of the moons.
    noise : float, default=0.1
        Standard deviation of the Gaussian noise.
    random_state : int, RandomState instance or None, default=None
        Each domain is a sample of its own.

    Returns
    -------
    dataset : DomainDataset
        Domains ``"0deg"``, ``"30deg"``, ...; X of shape (len(angles) * n_samples, 2), float64.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as described.

    Examples
    --------
    >>> from shallowda.datasets import make_rotated_moons
    >>> make_rotated_moons(50, angles=(0, 20, 40), random_state=0).domain_names
    ('0deg', '20deg', '40deg')
    """
    check_scalar(n_samples, "n_samples", numbers.Integral, min_val=2)
    check_scalar(noise, "noise", numbers.Real, min_val=0)
    turns = _numbers(angles, "angles")
    rng = check_random_state(random_state)
    parts = []
    for angle in np.deg2rad(turns):
        y = np.arange(n_samples) % 2
        along = rng.uniform(0, np.pi, n_samples)
        upper = np.column_stack([np.cos(along) - 0.5, np.sin(along) - 0.25])
        X = np.where(y[:, None] == 0, upper, -upper) + rng.normal(scale=noise, size=(n_samples, 2))
        parts.append((X @ _rotation(angle).T, y))
    names = [f"{angle:g}deg" for angle in turns]
    return _generated("make_rotated_moons", parts, names, 2, "coordinates in the plane")


def make_gaussian_shift(
    n_samples: int = 300,
    *,
    shift: str = "covariate",
    strengths: Sequence[float] = (0.0, 1.0),
    n_classes: int = 3,
    n_features: int = 2,
    missing_classes: Sequence[int] = (),
    random_state: Seed = None,
) -> DomainDataset:
    r"""Gaussian classes of which exactly one thing shifts.

    .. image:: /figures/datasets/make_gaussian_shift.png

    At strength 0, class :math:`c` is equally likely and distributed as :math:`N(\mu_c, I)`, its mean
    :math:`\mu_c` on a circle of radius 3 in the first two features. At strength :math:`s`:

    ``"covariate"``
        :math:`p(x)` shifts and :math:`p(y \mid x)` stays, exactly: the density is tilted by
        :math:`\exp(s\, u^\top x)` with :math:`u` half the unit vector towards class 0. Means move by :math:`s\,u`, and
        class :math:`c` is drawn with probability proportional to :math:`\exp(s\, u^\top \mu_c)`.
    ``"label"``
        :math:`p(y)` shifts and :math:`p(x \mid y)` stays: class :math:`c` is drawn with probability proportional to
        :math:`\exp(-s\,c)`.
    ``"conditional"``
        :math:`p(x \mid y)` shifts and :math:`p(y)` stays: each class moves by :math:`s` in a random direction of its
        own, the same in all domains.
    ``"concept"``
        :math:`p(y \mid x)` shifts and :math:`p(x)` stays: a sample has the class that it would have had at strength 0,
        had it been turned by :math:`s` radians in the plane of the first two features.

    Parameters
    ----------
    n_samples : int, default=300
        Of each domain.
    shift : {"covariate", "label", "conditional", "concept"}, default="covariate"
        What differs between the domains.
    strengths : sequence of float, default=(0, 1)
        One domain for each strength. The last one is called target; with more than two, the others are several
        sources on the way to it.
    n_classes : int, default=3
        At least 2.
    n_features : int, default=2
        At least 2; those after the second are noise.
    missing_classes : sequence of int, default=()
        Classes of which the target has no sample. They take their probability with them.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    dataset : DomainDataset
        Domains ``"source"`` (``"source1"``, ``"source2"``, ... if several) and ``"target"``; X of shape
        (len(strengths) * n_samples, n_features), float64. Classes are drawn, so their counts vary.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as described.

    Examples
    --------
    >>> from shallowda.datasets import make_gaussian_shift
    >>> data = make_gaussian_shift(shift="label", strengths=(0, 0.5, 1), missing_classes=[2], random_state=0)
    >>> data.domain_names
    ('source1', 'source2', 'target')
    >>> sorted(set(data.domain("target")[1].tolist()))
    [0, 1]
    """
    check_scalar(n_samples, "n_samples", numbers.Integral, min_val=1)
    check_scalar(n_classes, "n_classes", numbers.Integral, min_val=2)
    check_scalar(n_features, "n_features", numbers.Integral, min_val=2)
    if shift not in SHIFTS:
        raise ValueError(f"shift must be one of {', '.join(SHIFTS)}; got {shift!r}.")
    missing = set(missing_classes)
    if not missing < set(range(n_classes)):
        raise ValueError(f"missing_classes must be some but not all of 0 to {n_classes - 1}; got {missing_classes}.")
    levels = _numbers(strengths, "strengths")
    rng = check_random_state(random_state)
    corners = 2 * np.pi * np.arange(n_classes) / n_classes
    means = np.zeros((n_classes, n_features))
    means[:, :2] = RADIUS * np.column_stack([np.cos(corners), np.sin(corners)])
    directions = rng.normal(size=means.shape)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    towards = np.eye(n_features)[0] / 2  # class 0 lies on the first axis
    parts = []
    for number, strength in enumerate(levels):
        centres, log_prior = means, np.zeros(n_classes)
        if shift == "covariate":
            centres, log_prior = means + strength * towards, strength * means @ towards
        elif shift == "label":
            log_prior = -strength * np.arange(n_classes)
        elif shift == "conditional":
            centres = means + strength * directions
        if number == len(levels) - 1:
            log_prior = np.where(np.isin(np.arange(n_classes), list(missing)), -np.inf, log_prior)
        prior = np.exp(log_prior - log_prior.max())
        y = rng.choice(n_classes, n_samples, p=prior / prior.sum())
        X = centres[y] + rng.normal(size=(n_samples, n_features))
        if shift == "concept":
            turned = X.copy()
            turned[:, :2] = X[:, :2] @ _rotation(strength).T
            y = _drawn_classes(turned, means, log_prior, rng)
        parts.append((X, y))
    return _generated("make_gaussian_shift", parts, _roles(len(levels)), n_classes, "coordinates")


def make_deep_features(
    n_samples: int = 500,
    *,
    n_features: int = 512,
    n_classes: int = 10,
    strengths: Sequence[float] = (0.0, 1.0),
    decay: float = 1.0,
    random_state: Seed = None,
) -> DomainDataset:
    """Features with the statistics of a network's last layer: non-negative, sparse, few strong directions.

    .. image:: /figures/datasets/make_deep_features.png

    Classes are Gaussian clouds with a common covariance of rank k = min(n_features // 2, 64), whose eigenvalues fall
    as ``rank ** -decay`` and in whose strong directions the means lie. A domain of strength s has these directions
    turned by s times 30 degrees out of their subspace, and all features offset by s times a vector that all domains
    share: the style of the pictures. A rectifier makes the sum non-negative; about two thirds of the values are zero.

    Parameters
    ----------
    n_samples : int, default=500
        Of each domain.
    n_features : int, default=512
        At least 2.
    n_classes : int, default=10
        At least 2.
    strengths : sequence of float, default=(0, 1)
        One domain for each; the last one is called target.
    decay : float, default=1.0
        Exponent of the spectrum, 0 (flat) or more.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    dataset : DomainDataset
        Domains ``"source"`` (``"source1"``, ... if several) and ``"target"``; X of shape
        (len(strengths) * n_samples, n_features), float32. Classes are balanced.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as described.

    Notes
    -----
    Time O(n d k + d k^2) for n samples in d features; memory O(n d).

    Examples
    --------
    >>> from shallowda.datasets import make_deep_features
    >>> data = make_deep_features(100, n_features=64, random_state=0)
    >>> data.X.dtype, bool((data.X >= 0).all())
    (dtype('float32'), True)
    """
    check_scalar(n_samples, "n_samples", numbers.Integral, min_val=1)
    check_scalar(n_features, "n_features", numbers.Integral, min_val=2)
    check_scalar(n_classes, "n_classes", numbers.Integral, min_val=2)
    check_scalar(decay, "decay", numbers.Real, min_val=0)
    levels = _numbers(strengths, "strengths")
    rng = check_random_state(random_state)
    rank = min(n_features // 2, MAX_RANK)
    # columns: the directions at strength 0, and those that they turn towards
    basis = np.linalg.qr(rng.normal(size=(n_features, 2 * rank)))[0] * np.sqrt(n_features)
    scale = np.arange(1, rank + 1) ** (-decay / 2)
    scale /= np.linalg.norm(scale)  # a feature varies by about 1 within a class, whatever the spectrum
    means = rng.normal(size=(n_classes, rank)) * scale
    style = rng.normal(scale=0.5, size=n_features)
    parts = []
    for strength in levels:
        angle = strength * np.pi / 6
        directions = np.cos(angle) * basis[:, :rank] + np.sin(angle) * basis[:, rank:]
        y = rng.permutation(n_samples) % n_classes
        latent = means[y] + scale * rng.normal(size=(n_samples, rank))
        X = latent @ directions.T + strength * style - RECTIFIER
        parts.append((np.maximum(X, 0).astype(np.float32), y))
    return _generated("make_deep_features", parts, _roles(len(levels)), n_classes, "rectified activations")


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _drawn_classes(X: np.ndarray, means: np.ndarray, log_prior: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """One class for each row, drawn from the posterior of unit Gaussians (by the Gumbel trick)."""
    scores = X @ means.T - (means**2).sum(axis=1) / 2 + log_prior
    return np.argmax(scores + rng.gumbel(size=scores.shape), axis=1)
