"""A report on the shift between a labelled source and an unlabelled target: its size, its kind, and what to try first.

Everything is measured on features that were standardised over the rows of both domains together, and reduced to
principal components where there are many: one representation for all distances, free of units, blind to which row is
from which domain, so that permutation tests stay exact. Only the numbers of single features use the features as they
are, and the classifier of the source sees up to 500 standardised features before it sees components.

No number here knows a target label. What is said of classes rests on the predictions of a classifier of the source, and
compares rows *predicted* alike in both domains: without a shift these agree in distribution, whatever the classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from shallowda import CORAL
from shallowda.core.contract import label_array, read_domains
from shallowda.core.estimator import computing
from shallowda.core.rows import two_samples
from shallowda.diagnosis.displays import EmbeddingDisplay, ShiftDisplay, draw_bars, draw_moves, png
from shallowda.diagnosis.extra import INSTALL, missing, require_extra
from shallowda.diagnosis.single_features import feature_shift
from shallowda.kernels.discrepancies import bures_squared
from shallowda.kernels.pairwise import Kernel, median_gamma
from shallowda.metrics import LabelShift, energy_distance, label_shift, mmd, per_class, permutation_test, separability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RULES", "Advice", "DomainShiftReport", "Rule"]

_LEVEL = 0.05  # of every test
_COMPONENTS = 100  # principal components at most
_PAIR_ROWS = 2000  # rows of a domain for what looks at pairs of rows
_CLASS_ROWS = 500  # the same for the rows of one class
_CLASSIFIER_FEATURES = 500  # up to which the classifier sees the features themselves
_DENSE = 1500  # rows or features up to which components are exact
_FOLDS = 5  # of the classifier; classes with fewer rows are left out of it
_FEW = 30  # rows, below which a sample is called small
_LISTED = 20  # features and classes that pages show; text shows half as many


class Advice(NamedTuple):
    """One thing to do, and why."""

    what: str
    why: str


class Rule(NamedTuple):
    """A line of `RULES`: advice, and when it is given.

    Attributes
    ----------
    when : callable
        From the report to bool.
    what : str
    why : str
        Format string; ``{r}`` is the report.
    """

    when: Callable[[DomainShiftReport], bool]
    what: str
    why: str


class DomainShiftReport:
    """How far a labelled source and an unlabelled target are apart, in what, and what to try first.

    All numbers are computed when the report is made. ``print(report)`` shows them; a notebook shows them with figures,
    `save` writes the same as one HTML page. The advice follows from `RULES`, a table of conditions on these numbers:
    a place to begin, not a verdict, as nothing here has seen a target label.

    Parameters
    ----------
    Xs : array-like of shape (n_source, d), n_source >= 2
        Source features. Dense and without missing values, as they would be given to an estimator.
    ys : array-like of shape (n_source,) or None
        Class labels of the source. None leaves out all that concerns classes.
    Xt : array-like of shape (n_target, d), n_target >= 2
        Target features.
    feature_names : sequence of str, optional
        Default: the columns of a DataFrame, else x0, x1, ...
    n_permutations : int, default=200
        Of each permutation test; at least 19, or p <= 0.05 could not be reached.
    random_state : int, RandomState or None, default=0
        Chooses rows where there are more than 2000 in a domain (500 in a class), permutations and folds.
    n_jobs : int, optional
        Classes tested at a time, as in joblib.

    Attributes
    ----------
    n_source, n_target, n_features : int
    feature_names : list of str
    classes : list
        Labels of the source, sorted; empty without labels.
    n_pair_source, n_pair_target : int
        Rows, drawn at random, on which distances and tests between pairs of rows rest.
    n_components : int
        Principal components that all distances use.
    variance_kept : float
        Share of the variance of the standardised features in them.
    mmd : float
        Squared MMD (biased, RBF kernel of median width).
    p_value : float
        Of its permutation test: how often chance alone makes it as large.
    separability : Separability
        Held-out A-distance of a linear classifier of the domains, its standard error, AUC, and whether it is saturated.
    energy : float
        Energy distance.
    bures : dict
        2-Wasserstein distance of the normal distributions with the same moments: ``distance``, and the parts of its
        square, ``mean`` and ``covariance``.
    outside : float
        Share of target rows that are farther from their nearest source row than 99 % of the source rows are from
        theirs: 0.01 without a shift.
    remaining : dict
        What is left of the (unbiased) squared MMD, as a share, when one difference is taken away: ``class shares``
        (source rows weighed to the estimated shares), ``means and scales`` (each domain standardised by itself) and
        ``covariances`` (`CORAL` after that). Measured on the rows that it was taken away from, so rather
        too small; NaN where there is no MMD to remove or no estimate.
    features : FeatureShift
        Per feature, as given: arrays of shape (d,).
    top_features : list of str
        The 20 most shifted features, the first the most.
    constant_in_one : list of str
        Features that are constant in one domain only, at a value that is unusual in the other (KS statistic 0.5 or
        more).
    source_accuracy : float
        Balanced held-out accuracy, on the source, of the classifier that all else about classes rests on (linear
        discriminant analysis). NaN with fewer than two classes.
    source_shares : dict
        Class shares of the source.
    predicted_shares : dict
        Shares of the classes predicted on the target. Empty without a classifier.
    label_shift : LabelShift or None
        Class shares of the target, by black box shift estimation; None where it cannot be had. It holds only if class
        shares are all that changed, see ``remaining["class shares"]``.
    label_distance : float
        Total variation distance of the estimated target shares from the source's, 0 to 1.
    label_noise : float
        What `label_distance` would be by chance, about, with so few target rows.
    class_distances : dict
        Energy distance between source and target rows predicted to be of one class; NaN below two rows.
    class_p_values : dict
        Of the permutation test of MMD within each class.
    class_specific : float
        Share of the squared displacements of the class means that differs from class to class, less what noise
        explains. 0: all classes move together, 1: no common movement.
    cautions : list of str
        Why these numbers may mislead.
    advice : list of Advice
        Pairs (what, why), in order.

    Raises
    ------
    ValueError
        If rows hold NaN, shapes do not fit, there are fewer than two rows in a domain, or no feature varies.
    TypeError
        If rows are sparse.

    Notes
    -----
    Time: n d for the features, n log n for each, m^2 per permutation for the MMD of m <= 4000 rows.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda.diagnosis import DomainShiftReport
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1], 50)
    >>> Xs = rng.randn(100, 3) + 3 * np.eye(3)[ys]
    >>> report = DomainShiftReport(Xs, ys, Xs + [0, 0, 4], feature_names=["a", "b", "c"])
    >>> report.top_features[0], report.p_value < 0.01
    ('c', True)
    >>> report.advice[0].what
    'Standardise each domain by itself, PerDomain(StandardScaler()), then make this report again.'
    """

    def __init__(
        self,
        Xs: ArrayLike,
        ys: ArrayLike | None,
        Xt: ArrayLike,
        *,
        feature_names: Sequence[str] | None = None,
        n_permutations: int = 200,
        random_state: int | np.random.RandomState | None = 0,
        n_jobs: int | None = None,
    ) -> None:
        if n_permutations < 19:
            raise ValueError(f"n_permutations must be at least 19, or no p-value is <= 0.05; it is {n_permutations}.")
        self.feature_names = _names(feature_names, Xs, Xt)
        Xs, Xt = two_samples(Xs, Xt, 2)
        (self.n_source, self.n_features), self.n_target = Xs.shape, len(Xt)
        if not self.feature_names:
            self.feature_names = [f"x{i}" for i in range(self.n_features)]
        if len(self.feature_names) != self.n_features:
            raise ValueError(f"There are {len(self.feature_names)} feature_names for {self.n_features} features.")
        domains = None if ys is None else read_domains(ys, np.zeros(len(label_array(ys)), dtype=int), self.n_source)
        codes = np.zeros(self.n_source, dtype=int) if domains is None else domains.labels
        self.classes: list = [] if domains is None else domains.classes.tolist()
        self.n_permutations = n_permutations
        self.cautions: list[str] = []
        random = check_random_state(random_state)
        self._seed = int(random.randint(2**31 - 1))
        self._pairs = tuple(random.permutation(len(X))[:_PAIR_ROWS] for X in (Xs, Xt))
        self.n_pair_source, self.n_pair_target = map(len, self._pairs)

        with computing(Xs, Xt):
            self._measure_features(Xs, Xt)
            rows = self._standardised(Xs, Xt)
            Z = self._represent(rows)
            Zs, Zt = Z[: self.n_source], Z[self.n_source :]
            self._measure_size(Zs, Zt)
            seen = rows if self.n_features <= _CLASSIFIER_FEATURES else Z
            self._measure_classes(Zs, Zt, codes, seen, random, n_jobs)
            self._measure_remaining(Xs, Xt, Zs, Zt, codes)
            self._look_for_trouble(Xs, Xt)
            self.advice = [Advice(rule.what, rule.why.format(r=self)) for rule in RULES if rule.when(self)]

    # ------------------------------------------------------------------------------------------------ measurements

    def _measure_features(self, Xs: np.ndarray, Xt: np.ndarray) -> None:
        self.features = feature_shift(Xs, Xt)
        constant = [np.ptp(X, axis=0) == 0 for X in (Xs, Xt)]
        alone = (constant[0] != constant[1]) & (self.features.ks >= 0.5)
        self.constant_in_one = [self.feature_names[i] for i in np.flatnonzero(alone)]
        self.top_features = [self.feature_names[i] for i in self.features.order[:_LISTED]]

    def _standardised(self, Xs: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        X = np.concatenate([Xs, Xt])
        if not np.any(np.ptp(X, axis=0) > 0):
            raise ValueError("No feature of Xs and Xt varies: every row is the same, so there is nothing to report on.")
        return StandardScaler().fit_transform(X)

    def _represent(self, rows: np.ndarray) -> np.ndarray:
        """Rows of both domains in the representation of all distances."""
        chosen = np.concatenate([self._pairs[0], self.n_source + self._pairs[1]])
        pca = self._components(rows[chosen])
        self.n_components = int(pca.n_components_)
        self.variance_kept = float(pca.explained_variance_ratio_.sum())
        return pca.transform(rows)

    def _components(self, rows: np.ndarray) -> PCA:
        most = max(2, min(_COMPONENTS, (self.n_source + self.n_target) // 5))
        n, d = rows.shape
        solver = "covariance_eigh" if d <= min(n, _DENSE) else "full" if n <= _DENSE else "randomized"
        pca = PCA(min(most, n, d), svd_solver=solver, random_state=self._seed).fit(rows)
        real = int(np.sum(pca.explained_variance_ > 1e-10 * pca.explained_variance_[0]))  # the others are rounding
        if real == pca.n_components_:
            return pca
        return PCA(real, svd_solver=solver, random_state=self._seed).fit(rows)

    def _measure_size(self, Zs: np.ndarray, Zt: np.ndarray) -> None:
        source, target = Zs[self._pairs[0]], Zt[self._pairs[1]]
        test = permutation_test(source, target, n_permutations=self.n_permutations, random_state=self._seed)
        self.mmd, self.p_value = test.statistic, test.p_value
        self.separability = separability(source, target, random_state=self._seed)
        self.energy = energy_distance(source, target)
        mean, covariance = bures_squared(Zs, Zt)
        self.bures = {"distance": float(np.sqrt(mean + covariance)), "mean": mean, "covariance": covariance}
        neighbours = NearestNeighbors(n_neighbors=1).fit(source)
        usual = np.quantile(neighbours.kneighbors()[0], 0.99)
        self.outside = float(np.mean(neighbours.kneighbors(target)[0] > usual))

    def _measure_classes(
        self,
        Zs: np.ndarray,
        Zt: np.ndarray,
        codes: np.ndarray,
        seen: np.ndarray,
        random: np.random.RandomState,
        n_jobs: int | None,
    ) -> None:
        """All that concerns classes; `seen` are the rows of both domains as the classifier sees them."""
        counts = np.bincount(codes, minlength=len(self.classes))[: len(self.classes)]
        self._counts = counts
        self.source_shares = dict(zip(self.classes, (counts / self.n_source).tolist(), strict=True))
        self.source_accuracy = self.label_distance = self.label_noise = self.class_specific = float("nan")
        self.predicted_shares: dict = {}
        self.label_shift: LabelShift | None = None
        self.class_distances: dict = {}
        self.class_p_values: dict = {}
        self._embedding = [_plane(Z[rows]) for Z, rows in zip((Zs, Zt), self._pairs, strict=True)]
        self._embedding_labels: np.ndarray | None = None
        self._moves: dict = {}
        enough = np.flatnonzero(counts >= _FOLDS)
        if len(enough) < 2:
            return
        used = np.isin(codes, enough)
        labels = codes[used]
        classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=self._seed)
        seen_source, seen_target = seen[: self.n_source][used], seen[self.n_source :]
        of_source = cross_val_predict(classifier, seen_source, labels, cv=folds)
        of_target = classifier.fit(seen_source, labels).predict(seen_target)
        self.source_accuracy = float(balanced_accuracy_score(labels, of_source))
        shown = np.concatenate([codes[self._pairs[0]], of_target[self._pairs[1]]])
        self._embedding_labels = np.array([self.classes[code] for code in shown], dtype=object)
        self.predicted_shares = {self.classes[code]: float(np.mean(of_target == code)) for code in enough}
        if len(np.unique(of_source)) == len(enough):
            shift = label_shift(labels, of_source, of_target)
            self.label_shift = shift._replace(classes=np.array([self.classes[code] for code in shift.classes]))
            shares = counts[enough] / counts[enough].sum()
            self.label_distance = float(np.abs(shift.target_prior - shares).sum() / 2)
            self.label_noise = float(np.sqrt(2 / np.pi * shares * (1 - shares) / self.n_target).sum() / 2)
            self._ratio = np.zeros(len(self.classes))
            self._ratio[enough] = shift.ratio

        orders = random.permutation(len(labels)), random.permutation(self.n_target)
        sides = [
            (Z[order], of[order]) for Z, of, order in zip((Zs[used], Zt), (of_source, of_target), orders, strict=True)
        ]
        rows = {code: [Z[of == code] for Z, of in sides] for code in enough.tolist()}
        self._measure_moves(rows)
        self._measure_within_classes(rows, n_jobs)

    def _measure_within_classes(self, rows: dict[int, list[np.ndarray]], n_jobs: int | None) -> None:
        """Distances and tests between rows of both domains, in random order, that are predicted to be of one class."""
        cut = {code: [Z[:_CLASS_ROWS] for Z in pair] for code, pair in rows.items()}
        stacked = [np.concatenate([pair[side] for pair in cut.values()]) for side in (0, 1)]
        marks = [np.repeat(list(cut), [len(pair[side]) for pair in cut.values()]) for side in (0, 1)]
        distances = per_class(energy_distance, stacked[0], marks[0], stacked[1], marks[1])
        self.class_distances = {self.classes[code]: distances.get(code, float("nan")) for code in cut}
        testable = [code for code, pair in cut.items() if min(map(len, pair)) >= 2]
        tests = Parallel(n_jobs=n_jobs)(
            delayed(permutation_test)(*cut[code], n_permutations=self.n_permutations, random_state=self._seed)
            for code in testable
        )
        self.class_p_values = {self.classes[code]: test.p_value for code, test in zip(testable, tests, strict=True)}

    def _measure_moves(self, rows: dict[int, list[np.ndarray]]) -> None:
        """How the mean of each class moves, and whether they move together."""
        means, noise = {}, []
        for code, (source, target) in rows.items():
            if min(len(source), len(target)) >= 2:
                means[self.classes[code]] = np.stack([source.mean(axis=0), target.mean(axis=0)])
                noise.append(sum(float(Z.var(axis=0, ddof=1).sum()) / len(Z) for Z in (source, target)))
        if not means:
            return
        self._moves = {label: _plane(pair) for label, pair in means.items()}
        gaps = np.array([target - source for source, target in means.values()])
        whole = float(np.sum(gaps**2)) - sum(noise)
        own = float(np.sum((gaps - gaps.mean(axis=0)) ** 2)) - sum(noise) * (1 - 1 / len(gaps))
        if len(gaps) > 1 and whole > 0:
            self.class_specific = float(np.clip(own / whole, 0.0, 1.0))

    def _measure_remaining(
        self, Xs: np.ndarray, Xt: np.ndarray, Zs: np.ndarray, Zt: np.ndarray, codes: np.ndarray
    ) -> None:
        source, target = Zs[self._pairs[0]], Zt[self._pairs[1]]
        both = np.concatenate([source, target])
        K = Kernel("rbf", median_gamma(both, "rbf"))(both)
        whole = _weighted_mmd(K, np.ones(len(source)))
        values = dict.fromkeys(("class shares", "means and scales", "covariances"), float("nan"))
        if whole > 0:
            if self.label_shift is not None:
                weights = self._ratio[codes[self._pairs[0]]]
                if np.count_nonzero(weights) > 1:
                    values["class shares"] = _weighted_mmd(K, weights)
            alone = [StandardScaler().fit(X).transform(X[rows]) for X, rows in zip((Xs, Xt), self._pairs, strict=True)]
            aligned = np.concatenate(alone)
            if np.any(np.ptp(aligned, axis=0) > 0):
                aligned = self._components(aligned).transform(aligned)
                n = len(source)
                values["means and scales"] = mmd(aligned[:n], aligned[n:], unbiased=True)
                ridge = min(1.0, float(aligned[:n].var(axis=0).mean()))  # less than the default where little varies
                if ridge > 1e-9:
                    codes = np.repeat([0, -1], [n, len(target)])
                    mapped = CORAL(ridge).fit_transform(aligned, sample_domain=codes)
                    values["covariances"] = mmd(mapped[:n], mapped[n:], unbiased=True)
        self.remaining = {name: max(value, 0.0) / whole if whole > 0 else value for name, value in values.items()}

    # ------------------------------------------------------------------------------------------------ judgements

    @property
    def coded(self) -> str:
        """The names of `constant_in_one`, a few of them, in words."""
        return _some(self.constant_in_one)

    @property
    def is_shifted(self) -> bool:
        """Whether the domains differ detectably: by the MMD's test, the A-distance or a single feature."""
        told_apart = self.separability.a_distance > max(3 * self.separability.standard_error, 0.1)
        return self.p_value <= _LEVEL or bool(told_apart) or float(self.features.p_value.min()) <= _LEVEL / 5

    @property
    def is_aligned(self) -> bool:
        """Whether all means agree to rounding, but not the features: each domain was centred by itself before."""
        return bool(np.all(np.abs(self.features.mean_difference) < 1e-5) and np.any(self.features.ks > 0))

    @property
    def is_location_scale(self) -> bool:
        """Whether means and scales of single features are most of the shift."""
        return self.is_shifted and self.remaining["means and scales"] <= 0.5

    @property
    def is_covariance(self) -> bool:
        """Whether aligning covariances removes much of what means and scales leave."""
        left = self.remaining["means and scales"]
        return self.is_shifted and left > 0.1 and self.remaining["covariances"] <= 0.7 * left

    @property
    def is_label_shift(self) -> bool:
        """Whether the class shares seem to differ, and explain most of the shift."""
        return self._shares_differ and self.remaining["class shares"] <= 0.3

    @property
    def is_label_shift_among_others(self) -> bool:
        """Whether the class shares seem to differ, and explain some of the shift, a fifth or more, but not most."""
        return self._shares_differ and 0.3 < self.remaining["class shares"] <= 0.8

    @property
    def _shares_differ(self) -> bool:
        return self.is_shifted and self.has_sound_classifier and self.label_distance > max(0.1, 2 * self.label_noise)

    @property
    def is_class_conditional(self) -> bool:
        """Whether at least half of the classes differ within themselves and move apart, by a sound classifier."""
        found = [p <= _LEVEL for p in self.class_p_values.values()]
        differ = bool(found) and float(np.mean(found)) >= 0.5 and self.class_specific >= 0.3
        return differ and self.has_sound_classifier and not self.is_label_shift

    @property
    def is_beyond_moments(self) -> bool:
        """Whether matching means, scales and covariances leaves a good part of the shift."""
        return self.is_shifted and self.remaining["covariances"] > 0.3

    @property
    def has_sound_classifier(self) -> bool:
        """Whether the classifier is right on held-out source rows at least half-way from chance to certainty."""
        n_classes = len(self.predicted_shares)
        return n_classes > 1 and self.source_accuracy >= (1 + 1 / n_classes) / 2

    @property
    def is_small(self) -> bool:
        """Whether either domain has fewer than 30 rows."""
        return min(self.n_source, self.n_target) < _FEW

    @property
    def is_apart(self) -> bool:
        """Whether the domains hardly overlap."""
        return self.separability.saturated and self.outside > 0.5

    def _look_for_trouble(self, Xs: np.ndarray, Xt: np.ndarray) -> None:
        say = self.cautions.append
        for name, X in (("source", Xs), ("target", Xt)):
            if len(X) < _FEW:
                say(f"The {name} has {len(X)} rows: only large shifts can be detected, and moments are rough.")
            if len(X) <= self.n_features:
                say(f"The {name} has no more rows ({len(X)}) than features ({self.n_features}): singular covariance.")
            distinct = len(set(_row_bytes(X)))
            if distinct < len(X):
                say(f"{len(X) - distinct} of {len(X)} {name} rows are copies of others: p-values are too small.")
            constant = [self.feature_names[i] for i in np.flatnonzero(np.ptp(X, axis=0) == 0)]
            if constant:
                say(f"Features that are constant in the {name}: {_some(constant)}.")
        if shared := len(set(_row_bytes(Xs)) & set(_row_bytes(Xt))):
            say(f"{shared} distinct rows are in both domains: were the domains drawn from one file?")
        if self.is_apart:
            say(
                f"The domains do not overlap ({self.outside:.0%} of target rows lie outside the source): importance "
                "weights have nothing to weigh, and predictions on the target are extrapolation."
            )
        if self.is_aligned:
            say(
                "The means of all features agree to rounding: each domain was centred by itself, it seems. The MMD's "
                "test and the domain classifier are blind to what is left (p-values near 1 and an AUC below 0.5 are "
                "signs of that): neither shows that there is no shift."
            )
        if self.separability.saturated:
            say("The A-distance is saturated: it would be the same for a larger shift. Look at the other distances.")
        if self.variance_kept < 0.8:
            say(
                f"The distances see {self.n_components} principal components, with {self.variance_kept:.0%} of the "
                "variance: a shift in the rest shows in single features only."
            )
        if not self.classes:
            say("There are no source labels: nothing is said of classes.")
        elif len(self.classes) == 1:
            say("The source has one class: nothing is said of class shares or class-conditional shift.")
        else:
            self._look_at_classes()

    def _look_at_classes(self) -> None:
        say = self.cautions.append
        classes, counts = self.classes, self._counts
        few = [label for label, count in zip(classes, counts, strict=True) if count < _FOLDS]
        if few:
            say(f"Left out of the classifier, with fewer than {_FOLDS} source rows: {_some(few)}.")
        meagre = [label for label, count in zip(classes, counts, strict=True) if _FOLDS <= count < _FEW]
        if meagre:
            say(f"Small classes, of fewer than {_FEW} source rows: {_some(meagre)}.")
        if not self.predicted_shares:
            say("Fewer than two classes have enough rows for a classifier: nothing is said of class shares.")
            return
        never = [label for label, share in self.predicted_shares.items() if share == 0]
        if never:
            say(
                f"{_classes(len(never))} never predicted on the target: {_some(never)}. Either the target lacks them, "
                "or the predictions collapse because of the shift."
            )
        if not self.has_sound_classifier:
            say(
                f"The classifier is weak even on the source (balanced held-out accuracy {self.source_accuracy:.2f}): "
                "what is said of classes is as weak."
            )
        if self.label_shift is None:
            say("Some class is never predicted on held-out source rows: class shares of the target are not estimated.")
        elif self._shares_differ and self.remaining["class shares"] > 0.8:
            say(
                "The estimated class shares of the target are not to be believed: with the source weighed to them, "
                f"{self.remaining['class shares']:.0%} of the MMD remains, so more than the shares has changed."
            )

    # ------------------------------------------------------------------------------------------------ showing

    def _kinds(self) -> list[str]:
        kinds = {
            "means and scales of features": self.is_location_scale,
            "covariances": self.is_covariance,
            "class shares": self.is_label_shift,
            "class-conditional": self.is_class_conditional,
            "beyond second moments": self.is_beyond_moments,
        }
        return [name for name, found in kinds.items() if found]

    def _sections(self) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
        """Titles, each with rows of name, value and meaning: what both text and page show."""
        told = self.separability
        yield (
            "How large",
            [
                (
                    "MMD, squared",
                    _number(self.mmd),
                    f"p = {_number(self.p_value)} ({self.n_permutations} permutations)",
                ),
                ("A-distance", _number(told.a_distance), _error_of(told.standard_error, told.saturated)),
                ("AUC of a domain classifier", _number(told.auc), "0.5: looks alike, 1: told apart without error"),
                ("Energy distance", _number(self.energy), "0: equal"),
                ("Target rows outside the source", f"{self.outside:.1%}", "1 % without a shift"),
            ],
        )
        left = {name: "unknown" if np.isnan(share) else f"{share:.0%}" for name, share in self.remaining.items()}
        shares = _number(self.label_distance)
        yield (
            "Which kind: " + (", ".join(self._kinds()) or ("none stands out" if self.is_shifted else "no shift found")),
            [
                (
                    "Bures-Wasserstein distance",
                    _number(self.bures["distance"]),
                    "of normal distributions, in two parts:",
                ),
                ("- squared, of the means", _number(self.bures["mean"]), ""),
                ("- squared, of the covariances", _number(self.bures["covariance"]), ""),
                (
                    "MMD left without means and scales",
                    left["means and scales"],
                    "each domain standardised by itself (rather too small)",
                ),
                ("MMD left without covariances too", left["covariances"], "CORAL after that (rather too small)"),
                ("MMD left without class shares", left["class shares"], "source weighed to the estimated shares"),
                ("Distance of class shares", shares, f"0 to 1; by chance about {_number(self.label_noise)}"),
                (
                    "Class-specific movement",
                    _number(self.class_specific),
                    "0: classes move together, 1: each its own way",
                ),
                ("Classifier on held-out source rows", _number(self.source_accuracy), "balanced accuracy"),
            ],
        )

    def _basis(self) -> str:
        rows = f"{self.n_source} source rows, {self.n_target} target rows"
        drawn = (self.n_pair_source, self.n_pair_target)
        sampled = "" if drawn == (self.n_source, self.n_target) else f" of {drawn[0]} and {drawn[1]} random rows"
        return (
            f"{rows}, {self.n_features} features, {len(self.classes)} classes. Distances{sampled} are those of "
            f"features standardised over both domains, in {self.n_components} principal components "
            f"({self.variance_kept:.0%} of the variance)."
        )

    def _feature_rows(self, most: int) -> list[tuple[str, str, str, str, str]]:
        shift = self.features
        return [
            (
                self.feature_names[i],
                _number(shift.mean_difference[i]),
                _number(shift.variance_ratio[i]),
                _number(shift.ks[i]),
                _probability(shift.p_value[i]),
            )
            for i in shift.order[:most]
        ]

    def _class_rows(self, most: int) -> list[tuple[str, str, str, str, str, str]]:
        """Classes, those whose rows differ most first."""
        distance = {label: self.class_distances.get(label, float("nan")) for label in self.classes}
        ranked = sorted(self.classes, key=lambda label: -np.nan_to_num(distance[label], nan=-1.0))
        estimate = self._estimated_shares()
        nan = float("nan")
        return [
            (
                str(label),
                _number(self.source_shares[label]),
                _number(self.predicted_shares.get(label, nan)),
                _number(estimate.get(label, nan)),
                _number(distance[label]),
                _number(self.class_p_values.get(label, nan)),
            )
            for label in ranked[:most]
        ]

    def _estimated_shares(self) -> dict:
        if self.label_shift is None:
            return {}
        return dict(zip(self.label_shift.classes.tolist(), self.label_shift.target_prior.tolist(), strict=True))

    def __repr__(self) -> str:
        return (
            f"DomainShiftReport(n_source={self.n_source}, n_target={self.n_target}, n_features={self.n_features}, "
            f"p_value={self.p_value:.3g})"
        )

    def __str__(self) -> str:
        wrap = TextWrapper(width=100, subsequent_indent="  ").fill
        lines = ["Domain shift report", wrap("  " + self._basis())]
        for title, rows in self._sections():
            lines += ["", title]
            lines += [f"  {name:<36}{value:>9}  {meaning}".rstrip() for name, value, meaning in rows]
        most = _LISTED // 2
        lines += ["", "Which features" + _of(most, self.n_features)]
        lines += _table(FEATURE_COLUMNS, self._feature_rows(most))
        if self.predicted_shares:
            lines += ["", "Which classes" + _of(most, len(self.classes))]
            lines += _table(CLASS_COLUMNS, self._class_rows(most))
        lines += ["", "Cautions"] + [wrap(f"- {caution}") for caution in self.cautions or ["none"]]
        lines += ["", "What to try first"]
        for number, (what, why) in enumerate(self.advice, 1):
            lines += [wrap(f"{number}. {what}"), TextWrapper(100, "   ", "   ").fill(why)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        if absent := missing():
            note = f"Figures need {' and '.join(absent)}: {INSTALL}"
            return f"<pre>{escape(str(self))}\n\n{escape(note)}</pre>"
        return self._html(page=False)

    def save(self, path: str | Path) -> Path:
        """Write the report as one HTML page that needs no other file and no network.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        path : Path

        Raises
        ------
        ImportError
            If matplotlib or Jinja2 are not installed: ``pip install "shallowda[report]"``.
        """
        path = Path(path)
        path.write_text(self._html(page=True), encoding="utf-8")
        return path

    def _html(self, page: bool) -> str:
        require_extra("An HTML report")
        from jinja2 import Environment, StrictUndefined

        source = files("shallowda.diagnosis").joinpath("report.html.jinja").read_text(encoding="utf-8")
        template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(source)
        return template.render(
            page=page,
            report=self,
            basis=self._basis(),
            sections=list(self._sections()),
            feature_columns=FEATURE_COLUMNS,
            features=self._feature_rows(_LISTED),
            n_features=_of(_LISTED, self.n_features),
            class_columns=CLASS_COLUMNS,
            classes=self._class_rows(_LISTED) if self.predicted_shares else [],
            n_classes=_of(_LISTED, len(self.classes)),
            figures=[(title, alt, png(figure)) for title, alt, figure in self.figures()],
        )

    def figures(self) -> Iterator[tuple[str, str, Figure]]:
        """Draw the figures of the page.

        Yields
        ------
        title : str
        description : str
            What is to be seen, for those who do not see it.
        figure : matplotlib.figure.Figure
            Not registered with pyplot; transparent, in colours that can be read on light and dark ground.

        Raises
        ------
        ImportError
            If matplotlib is not installed: ``pip install "shallowda[report]"``.
        """
        source = np.repeat([True, False], [len(part) for part in self._embedding])
        points = np.concatenate(self._embedding)
        display = EmbeddingDisplay(points, source=source, labels=self._embedding_labels).plot()
        yield (
            "Both domains in the plane",
            "Rows of both domains along the first two principal components",
            display.figure_,
        )
        shown = ShiftDisplay(self.features, feature_names=self.feature_names).plot()
        yield "Features that differ most", "Kolmogorov-Smirnov statistic of the most shifted features", shown.figure_
        if not self.predicted_shares:
            return
        rows = sorted(self.classes, key=lambda label: -self.source_shares[label])[:_LISTED]
        estimate, nan = self._estimated_shares(), float("nan")
        series = {
            "source": [self.source_shares[label] for label in rows],
            "target, predicted": [self.predicted_shares.get(label, nan) for label in rows],
        }
        if estimate:
            series["target, estimated"] = [estimate.get(label, nan) for label in rows]
        figure = draw_bars(list(map(str, rows)), series, "share of rows")
        yield (
            "Class shares",
            "Class shares of the source, of the predictions and of the estimate for the target",
            figure,
        )
        if self._moves:
            figure = draw_moves(self._moves)
            yield (
                "Class means",
                "Arrows from each class mean in the source to that of the target rows predicted",
                figure,
            )
        known = {label: value for label, value in self.class_distances.items() if not np.isnan(value)}
        far = sorted(known, key=lambda label: -known[label])[:_LISTED]
        if far:
            figure = draw_bars(list(map(str, far)), {"": [known[label] for label in far]}, "energy distance")
            yield "Distance within each class", "Energy distance of the domains within each predicted class", figure


FEATURE_COLUMNS = ("feature", "mean diff.", "var. ratio", "KS", "p (adj.)")
CLASS_COLUMNS = ("class", "source", "predicted", "estimated", "distance", "p")

#: What to try first: conditions on a `DomainShiftReport`, in the order of the advice.
RULES: tuple[Rule, ...] = (
    Rule(
        lambda r: not (r.is_shifted or r.is_aligned),
        "Do not adapt: train on the source as it is.",
        "No shift is detectable (p = {r.p_value:.2g}, AUC {r.separability.auc:.2f}), and adapting to noise costs "
        "accuracy. With few rows that is no proof that there is none.",
    ),
    Rule(
        lambda r: r.is_shifted and not r.is_aligned and r.separability.auc < 0.6 and r.mmd < 0.02,
        "Begin with the source as it is: what adaptation can gain is little.",
        "The shift is real but small: a classifier hardly tells the domains apart (AUC {r.separability.auc:.2f}).",
    ),
    Rule(
        lambda r: bool(r.constant_in_one),
        "Look at the features that are constant in one domain only, and leave them out or fill them.",
        "Often they are missing values that were written as a number. They tell the domains apart without error and "
        "say nothing of the classes there: {r.coded}.",
    ),
    Rule(
        lambda r: r.is_aligned,
        "Means are aligned already: compare CORAL, SubspaceAlignment, JDA and the source alone.",
        "Centring each domain by itself hides the rest of the shift from most tests. Make the report on the features "
        "as they were to see how large it was.",
    ),
    Rule(
        lambda r: r.is_label_shift,
        "Reweight the source to the target's class shares; do not match marginal distributions.",
        "With the source weighed to the estimated shares, {r.remaining[class shares]:.0%} of the MMD remains. TCA, "
        "CORAL, JDA and standardising each domain by itself would pull different classes onto each other. Fit with "
        "sample_weight = report.label_shift.ratio of each row's class.",
    ),
    Rule(
        lambda r: r.is_label_shift_among_others,
        "Expect other class shares too: be wary of all that matches marginal distributions, PerDomain included.",
        "With the source weighed to the estimated shares {r.remaining[class shares]:.0%} of the MMD remains: they "
        "explain some of the shift, not all. Where shares differ, matching marginals moves classes onto each other; "
        "the source alone is then hard to beat.",
    ),
    Rule(
        lambda r: r.is_location_scale and not r.is_label_shift,
        "Standardise each domain by itself, PerDomain(StandardScaler()), then make this report again.",
        "Means and scales of single features are most of the shift: without them {r.remaining[means and scales]:.0%} "
        "of the MMD remains. It assumes that both domains have about the same class shares.",
    ),
    Rule(
        lambda r: r.is_covariance and not r.is_label_shift,
        "Align covariances: CORAL() after PerDomain(StandardScaler()), its ridge chosen by a score.",
        "Features also depend on each other differently: aligning covariances brings the MMD from "
        "{r.remaining[means and scales]:.0%} to {r.remaining[covariances]:.0%} of what it was.",
    ),
    Rule(
        lambda r: r.is_class_conditional and not r.is_small,
        "Match classes, not only domains: JDA, BDA or ARTL.",
        "Most classes differ within themselves, and {r.class_specific:.0%} of the movement of their means is not "
        "common to all. The classifier that gives the first labels is sound on the source; whether it is on the "
        "target, watch history_ (AdaptationHistoryDisplay).",
    ),
    Rule(
        lambda r: r.is_shifted and len(r.predicted_shares) > 1 and not r.has_sound_classifier,
        "Look for better features or a better classifier first, and leave methods that trust pseudo-labels for later.",
        "Balanced accuracy on held-out source rows is {r.source_accuracy:.2f}: JDA, BDA and ARTL would match wrong "
        "classes. (A linear classifier was tried; yours may do better.)",
    ),
    Rule(
        lambda r: r.is_beyond_moments and not r.is_label_shift,
        'Try a kernel or subspace method: TCAEstimator(kernel="rbf"), SubspaceAlignment or GFK.',
        "Without means, scales and covariances {r.remaining[covariances]:.0%} of the MMD still remains.",
    ),
    Rule(
        lambda r: r.is_small and r.is_shifted,
        "Use methods with few parameters: PerDomain(StandardScaler()), or CORAL with a large ridge.",
        "With {r.n_source} source and {r.n_target} target rows, covariances and class means are mostly noise.",
    ),
    Rule(
        lambda r: r.is_shifted,
        "Compare with the source alone by several scores of shallowda.model_selection before you believe any of this.",
        "No number here has seen a target label. If a few target labels can be had, they decide better than any score.",
    ),
)


def _names(feature_names: Sequence[str] | None, Xs: Any, Xt: Any) -> list[str]:
    columns = [list(map(str, X.columns)) for X in (Xs, Xt) if hasattr(X, "columns")]
    if len(columns) == 2 and columns[0] != columns[1]:
        raise ValueError("Xs and Xt must have the same columns in the same order.")
    if feature_names is not None:
        return [str(name) for name in feature_names]
    return columns[0] if columns else []


def _weighted_mmd(K: np.ndarray, weights: np.ndarray) -> float:
    """Unbiased squared MMD with weights on the source rows, which come first in the kernel matrix."""
    n = len(weights)
    within, between, target = K[:n, :n], K[:n, n:], K[n:, n:]
    m = len(target)
    pairs = weights.sum() ** 2 - np.sum(weights**2)
    of_source = (weights @ within @ weights - np.sum(weights**2 * np.diag(within))) / pairs
    of_target = (target.sum() - np.trace(target)) / (m * (m - 1))
    return float(of_source + of_target - 2 * (weights @ between.sum(axis=1)) / (weights.sum() * m))


def _plane(Z: np.ndarray) -> np.ndarray:
    """The first two columns; zeros for a second one that is not there."""
    return Z[:, :2] if Z.shape[1] > 1 else np.column_stack([Z, np.zeros(len(Z))])


def _row_bytes(X: np.ndarray) -> Iterator[bytes]:
    return (row.tobytes() for row in X + 0.0)  # so that -0.0 is 0.0


def _number(value: float) -> str:
    return "-" if np.isnan(value) else "0" if abs(value) < 1e-12 else f"{value:.3g}"


def _probability(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else _number(value)


def _classes(number: int) -> str:
    return "1 class is" if number == 1 else f"{number} classes are"


def _error_of(standard_error: float, saturated: bool) -> str:
    return f"of 2, standard error {_number(standard_error)}" + (", saturated" if saturated else "")


def _some(names: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown}, and {len(names) - most} more"


def _of(most: int, total: int) -> str:
    return "" if total <= most else f" (the first {most} of {total})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], widest: int = 36) -> list[str]:
    """Lines of a table in text; the first column to the left."""
    cells = [
        (f"{first[: widest - 1]}…" if len(first) > widest else first, *others) for first, *others in [columns, *rows]
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join([first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))])
        for first, *others in cells
    ]
