"""AutoAdapt: a portfolio of adapted classifiers that vote on the target, and a way back to the source alone.

No single method is best on most targets, and no score without labels finds the best one reliably. What members of a
portfolio *agree* on is right more often than each of them: so all are fitted, each is weighed by how much it agrees
with the others, and the vote decides. Where there is nothing to adapt to, or adapting is known to hurt, the source-only
classifier decides alone.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from os import PathLike
from time import perf_counter, time
from typing import Any, NamedTuple

import joblib
import numpy as np
from joblib import Memory, Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, check_memory

from shallowda import (
    ARTL,
    CORAL,
    GFK,
    JDA,
    OneNearestNeighbor,
    PerDomain,
    SubspaceAlignment,
    TCAEstimator,
    make_pipeline,
)
from shallowda.core.contract import Domains, domain_codes
from shallowda.core.enclosing import accepts_domains
from shallowda.core.estimator import DomainAwareClassifier, computing
from shallowda.core.messages import warn
from shallowda.diagnosis import Advice, DomainShiftReport, FeatureShift
from shallowda.kernels.arrays import is_foreign
from shallowda.kernels.moments import shared_moments
from shallowda.metrics import LabelShift, Separability
from shallowda.model_selection import CircularValidation, MixVal
from shallowda.model_selection.scorers import ranks
from shallowda.model_selection.view import View
from shallowda.pipeline import on_source, supervised_on_source

__all__ = ["SOURCE_ONLY", "AutoAdapt", "portfolio"]

#: Name of the candidate that adapts nothing.
SOURCE_ONLY = "source only"

_SHARPNESS = 4  # power of the agreement that is the weight of a vote
_SOUND = 0.3  # way from chance to certainty that a classifier must go on held-out source rows
_FEW_PER_CLASS = 2  # target rows for each class, below which nothing is adapted
_NOT_TRIED = "not tried"  # begins the error of a candidate that the time budget left out
_COLUMNS = ("candidate", "weight", "agreement", "changed", "seconds", "error", "warnings", "parameters")

logger = logging.getLogger("shallowda")


def portfolio(n_features: int) -> dict[str, Any]:
    """The default candidates of `AutoAdapt`: methods times scalings, each a classifier.

    Parameters
    ----------
    n_features : int
        Components are at most half as many, and at most 30.

    Returns
    -------
    candidates : dict of str to classifier
        Pipelines by name. Take some out, add your own, and pass it as ``candidates=``.

    Examples
    --------
    >>> from shallowda import portfolio
    >>> sorted(name for name in portfolio(50) if name.endswith("standardised"))[:2]
    ['1-NN, standardised', 'ARTL, standardised']
    """
    k = max(1, min(30, n_features // 2))
    scalings = {
        "standardised": StandardScaler(),
        "standardised by domain": PerDomain(StandardScaler()),
        "unit rows": Normalizer(),
    }
    methods = {
        "logistic regression": LogisticRegression(max_iter=1000),
        "1-NN": OneNearestNeighbor(),
        "CORAL": CORAL(estimator=LogisticRegression(max_iter=1000)),
        "SubspaceAlignment": SubspaceAlignment(),
        "GFK": GFK(),
        "TCA": TCAEstimator(k),
        "JDA": JDA(k),
        "JDA, logistic regression": JDA(k, estimator=LogisticRegression(max_iter=1000)),
        "ARTL": ARTL(),
    }
    return {
        f"{method}, {scaling}": make_pipeline(clone(scaler), clone(classifier))
        for scaling, scaler in scalings.items()
        for method, classifier in methods.items()
    }


class _Record(NamedTuple):
    """What came of one candidate."""

    name: str
    model: Any
    labels: np.ndarray | None  # predicted, of the target rows
    scores: dict[str, float]
    seconds: float
    error: str
    warnings: str


class AutoAdapt(DomainAwareClassifier):
    """A vote of adapted classifiers, chosen and weighed without target labels, or the source alone.

    Every candidate is fitted on the source and the unlabelled target. Its weight is the fourth power of the share of
    target rows on which it agrees with the majority. **Nothing is adapted** (the source-only candidate predicts) where

    - there are fewer than two target rows for each class, or no feature varies (no other candidate is fitted then);
    - no shift is detectable: `DomainShiftReport.is_shifted` is false;
    - the classes are hardly to be told apart on the source itself: a linear classifier goes less than 0.3 of the way
      from chance to certainty on held-out rows, so predicted classes are no ground to adapt on;
    - class shares are what changed (`DomainShiftReport.is_label_shift`, by a sound classifier): matching marginal
      distributions would then move rows of one class onto another.

    Parameters
    ----------
    candidates : dict of str to classifier, optional
        Pipelines (`make_pipeline`), adapters or classifiers by name; those that know no domains are trained on the
        source alone. Default: `portfolio`. The key "source only" replaces the fallback, a logistic regression on
        standardised rows, which is always among them.
    prediction : {"vote", "best"}, default="vote"
        "best": the one candidate with the best mean rank over agreement and scores, for the price of one prediction.
    scoring : dict of str to scorer, optional
        Scores of the leaderboard, from `shallowda.model_selection`; default: `CircularValidation` (one more fit each)
        and `MixVal`. They decide with ``prediction="best"`` only. Empty: agreement alone.
    time_budget : float, optional
        Seconds, after which no further candidate is begun.
    memory_budget : int or float, optional
        Given to every candidate that has this parameter; see `TCAEstimator`.
    n_jobs : int, optional
        Scalings at a time, as in joblib. Candidates of one scaling share its rows and their moments.
    memory : str, path or joblib.Memory, optional
        Where finished candidates are kept: a fit that was interrupted goes on from there.
    random_state : int, RandomState or None, default=0
        Seed of candidates that have none, and of the report.
    verbose : int, default=0
        As in joblib; each candidate is logged at level INFO by the logger "shallowda" in any case.

    Attributes
    ----------
    results_ : dict of ndarrays
        The leaderboard, best first; ``pandas.DataFrame(results_)`` shows it. ``candidate``, ``weight`` in the vote,
        ``agreement`` with the majority, ``changed`` (share of target rows that are labelled otherwise than by the
        source alone), the scores, ``seconds``, ``error`` and ``warnings`` (what was
        raised and said; "" where nothing was), ``parameters``.
    best_candidate_ : str
    best_estimator_ : classifier
        The fitted candidate of that name.
    estimators_ : dict of str to classifier
        Those that vote.
    weights_ : dict of str to float
        Their weights; the sum is 1.
    fallback_ : str
        Why nothing is adapted; empty where the vote decides.
    report_ : DomainShiftReport or None
        The measured shift; None without a target.
    pseudo_labels_ : ndarray of shape (n_target,)
        Predicted labels of the target rows that were fitted on.
    classes_, n_features_in_, feature_names_in_

    Notes
    -----
    Deterministic for a `random_state`, unless a time budget cuts in. Cost: about two fits for each candidate; at
    predict time one prediction of each, or of one with ``prediction="best"``.

    The vote fails where most candidates fail in the same way, as under a large label shift that the report does not
    recognise beneath another shift. On 83 real tasks that nobody had when its rule was made, mean accuracy was 71.5 per
    cent against 69.0 for the source alone, and on 20 per cent of the tasks (95 per cent interval 12 to 29) it was worse
    than the source alone by more than a point. It helped on images, spectra, biology and reviews, and hurt on census,
    school, medicine and marketing tables. It was worse on 2 per cent of the 46 tasks of ``benchmarks/selection.py``, at
    which the rule was made.

    References
    ----------
    Weighing by agreement with the ensemble: D. Hu, M. Luo, J. Liang, C.-S. Foo. "Towards reliable model selection for
    unsupervised domain adaptation: an empirical study and a certified baseline". NeurIPS Datasets and Benchmarks 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from shallowda import AutoAdapt, pack_domains
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1, 2], 30)
    >>> Xs = np.eye(5)[ys] * 4 + rng.randn(90, 5)
    >>> Xt = np.eye(5)[ys] * 4 + rng.randn(90, 5) + [0, 0, 0, 3, 3]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xt)
    >>> auto = AutoAdapt().fit(X, y)
    >>> auto.score(Xt, ys) > 0.9
    True
    """

    _kept_types = (Advice, DomainShiftReport, FeatureShift, LabelShift, Separability)

    _parameter_constraints: dict = {
        "candidates": [dict, None],
        "prediction": [StrOptions({"vote", "best"})],
        "scoring": [dict, None],
        "time_budget": [Interval(Real, 0, None, closed="neither"), None],
        "memory_budget": [Interval(Real, 0, None, closed="neither"), None],
        "n_jobs": [Integral, None],
        "memory": [str, PathLike, Memory, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        candidates: Mapping[str, Any] | None = None,
        *,
        prediction: str = "vote",
        scoring: Mapping[str, Any] | None = None,
        time_budget: float | None = None,
        memory_budget: int | float | None = None,
        n_jobs: int | None = None,
        memory: Any = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: int = 0,
    ) -> None:
        self.candidates = candidates
        self.prediction = prediction
        self.scoring = scoring
        self.time_budget = time_budget
        self.memory_budget = memory_budget
        self.n_jobs = n_jobs
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, *, sample_domain: ArrayLike | None = None, **params: Any) -> AutoAdapt:
        """Fit the candidates and weigh them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of both domains, in any order.
        y : array-like of shape (n_samples,)
            Class labels on source rows, -1 on target rows (NaN or "" where labels are floats or strings).
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for source rows, < 0 for target rows, whose labels are then ignored.
        **params : dict
            Refused: most candidates have no use for ``sample_weight``.

        Returns
        -------
        self : AutoAdapt

        Raises
        ------
        ValueError
            If the input is unfit, or the source-only candidate fails.
        TypeError
            If anything else is passed, such as ``sample_weight``.
        """
        started = time()  # the clock that all processes share
        X, domains = self._read(X, y, sample_domain, params)
        if is_foreign(X):
            raise TypeError("AutoAdapt takes NumPy arrays: many of its candidates know no others.")
        if domains.n_classes < 2:
            raise ValueError(f"AutoAdapt needs at least two classes in the source; there is {domains.n_classes} class.")
        scoring = {"circular": CircularValidation(), "mixed": MixVal()} if self.scoring is None else dict(self.scoring)
        _check_scoring(scoring)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.report_ = _report(X, domains, seed)
        self.fallback_ = self._reason(domains)
        candidates = self._prepared(X.shape[1], seed)
        if self.report_ is None or _too_few(domains):  # others would fail, or be noise
            candidates = {SOURCE_ONLY: candidates[SOURCE_ONLY]}
        deadline = None if self.time_budget is None else started + self.time_budget
        memory = check_memory(str(self.memory) if isinstance(self.memory, PathLike) else self.memory)
        evaluate, task = delayed(_evaluate_group), _Task(X, _labels(domains), domains.codes)
        found = Parallel(n_jobs=self.n_jobs, verbose=self.verbose)(
            evaluate(head, members, task, scoring, memory, deadline) for head, members in _grouped(candidates)
        )
        records = {record.name: record for group in found for record in group}
        if records[SOURCE_ONLY].error:
            raise ValueError(f"The source-only candidate failed: {records[SOURCE_ONLY].error}")
        self._weigh(candidates, records, domains)
        self._fitted, self._library = True, "numpy"
        return self

    def _reason(self, domains: Domains) -> str:
        """Why nothing should be adapted, if so."""
        report, n_target = self.report_, int(np.sum(domains.target))
        if not n_target:
            return "there is no target row"
        if _too_few(domains):
            return f"{n_target} target rows for {domains.n_classes} classes are too few to adapt to"
        if report is None:
            return "no feature varies, or a domain has a single row"
        if not (report.is_shifted or report.is_aligned):
            return f"no shift is detectable (p = {report.p_value:.2g}, AUC {report.separability.auc:.2f})"
        chance = 1.0 / max(len(report.predicted_shares), 1)  # of the classes that have rows enough to be judged
        if report.source_accuracy < chance + _SOUND * (1.0 - chance):
            return (
                f"the classes are hard to tell apart even on the source (balanced held-out accuracy "
                f"{report.source_accuracy:.2f}, by chance {chance:.2f}), so there is nothing to align them by"
            )
        if report.is_label_shift and report.has_sound_classifier:
            return (
                "class shares are what changed: with the source weighed to the estimated shares of the target, "
                f"{report.remaining['class shares']:.0%} of the discrepancy remains"
            )
        return ""

    def _prepared(self, n_features: int, seed: int) -> dict[str, Any]:
        """Clones of the candidates, the source-only one first, with budget and seeds."""
        given = portfolio(n_features) if self.candidates is None else dict(self.candidates)
        source_only = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        prepared = {SOURCE_ONLY: given.pop(SOURCE_ONLY, source_only), **given}
        for name, candidate in prepared.items():
            if not is_classifier(candidate):
                raise ValueError(f"The candidate {name!r} is no classifier: {candidate!r}.")
            changes: dict[str, Any] = {}
            for key, value in candidate.get_params().items():
                last = key.rpartition("__")[2]
                if last == "random_state" and value is None:
                    changes[key] = seed
                elif last == "memory_budget" and self.memory_budget is not None:
                    changes[key] = self.memory_budget
            prepared[name] = clone(candidate).set_params(**changes)
        return prepared

    def _weigh(self, candidates: dict[str, Any], records: dict[str, _Record], domains: Domains) -> None:
        """Weights, leaderboard, and who predicts."""
        names = [name for name in candidates if name in records and not records[name].error]
        labels = np.stack([domains.encode(np.asarray(records[name].labels)) for name in names])
        if labels.shape[1]:
            even = np.r_[1.0 + 1e-9, np.ones(len(names) - 1)]  # among equals the source-only candidate decides
            majority = _votes(labels, even, domains.n_classes).argmax(axis=1)
            agreement = (labels == majority).mean(axis=1)
        else:
            agreement = np.ones(len(names))
        weights = agreement**_SHARPNESS
        scores = {key: np.array([records[name].scores[key] for name in names]) for key in records[names[0]].scores}
        rank = np.mean([ranks(values) for values in (agreement, *scores.values())], axis=0)
        best = SOURCE_ONLY if self.fallback_ else names[int(np.argmin(rank))]
        if self.fallback_ or self.prediction == "best":
            weights = np.array([float(name == best) for name in names])
            logger.info("%s predicts alone%s", best, f": {self.fallback_}" if self.fallback_ else "")
        weights = weights / weights.sum()
        self.best_candidate_, self.best_estimator_ = best, records[best].model
        chosen = [(name, weight) for name, weight in zip(names, weights, strict=True) if weight > 0]
        self.estimators_ = {name: records[name].model for name, _ in chosen}
        self.weights_ = {name: float(weight) for name, weight in chosen}
        self.pseudo_labels_ = domains.classes[_votes(labels, weights, domains.n_classes).argmax(axis=1)]
        failed = [name for name in candidates if name not in names]
        order = np.argsort(rank, kind="stable")

        def column(values: np.ndarray, empty: Any) -> np.ndarray:
            return np.concatenate([np.asarray(values)[order], np.full(len(failed), empty)])

        everyone = [*(names[i] for i in order), *failed]
        alone = labels[names.index(SOURCE_ONLY)]
        self.results_ = {
            "candidate": np.array(everyone),
            "weight": column(weights, 0.0),
            "agreement": column(agreement, np.nan),
            "changed": column(np.mean(labels != alone, axis=1) if labels.shape[1] else 0.0 * weights, np.nan),
            **{key: column(values, np.nan) for key, values in scores.items()},
            "seconds": np.array([records[name].seconds for name in everyone]),
            "error": np.array([records[name].error for name in everyone]),
            "warnings": np.array([records[name].warnings for name in everyone]),
            "parameters": np.array([" ".join(repr(candidates[name]).split()) for name in everyone]),
        }
        errors = [name for name in failed if not records[name].error.startswith(_NOT_TRIED)]
        if errors:
            warn(f"AutoAdapt: {len(errors)} candidates failed and do not vote: {errors}. See results_['error'].")

    def predict_proba(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Shares of the vote: how much of the weight is for each class. They are not calibrated probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for rows to treat as source; all rows are target when it is not given.

        Returns
        -------
        shares : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        X, _ = self._rows(X, sample_domain)
        codes = np.full(len(X), -1) if sample_domain is None else domain_codes(sample_domain, len(X))
        views = (View(type(self).__name__, model, X, None, codes) for model in self.estimators_.values())
        labels = [np.searchsorted(self.classes_, view.predicted) for view in views]
        return _votes(np.stack(labels), np.array(list(self.weights_.values())), len(self.classes_))

    def predict(self, X: ArrayLike, *, sample_domain: ArrayLike | None = None) -> np.ndarray:
        """Class with the largest share of the vote.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for rows to treat as source; all rows are target when it is not given.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        shares = self.predict_proba(X, sample_domain=sample_domain)
        return self.classes_[shares.argmax(axis=1)]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _too_few(domains: Domains) -> bool:
    """Whether there are too few target rows, or none, to adapt to."""
    return int(np.sum(domains.target)) < _FEW_PER_CLASS * domains.n_classes


def _report(X: np.ndarray, domains: Domains, seed: int) -> DomainShiftReport | None:
    Xs, Xt = domains.split(X)
    if not domains.has_target or min(len(Xs), len(Xt)) < 2 or not np.any(np.ptp(X, axis=0) > 0):
        return None
    return DomainShiftReport(Xs, domains.labels[domains.source], Xt, random_state=seed)


class _Task(NamedTuple):
    """What every candidate is fitted on: rows, labels (marks on target rows) and domains."""

    X: np.ndarray
    y: np.ndarray
    codes: np.ndarray


def _labels(domains: Domains) -> np.ndarray:
    """Class labels of the source rows, and a mark on the target rows whatever their label."""
    labels = domains.classes[np.maximum(domains.labels, 0)]
    marks = {"O": "", "U": "", "S": b"", "b": None, "u": None}  # None: -1 would make numbers of booleans, or 255
    return np.asarray(np.where(domains.source, labels, marks.get(labels.dtype.kind, -1)))


def _check_scoring(scoring: dict[str, Any]) -> None:
    for name, scorer in scoring.items():
        if not callable(scorer):
            raise ValueError(f"scoring[{name!r}] must be a scorer of shallowda.model_selection; it is {scorer!r}.")
        if name in _COLUMNS:
            raise ValueError(f"scoring: {name!r} is a column of results_ already. Choose another name.")


def _grouped(candidates: dict[str, Any]) -> Iterator[tuple[list, list]]:
    """Candidates with the same first steps: these steps, and name and last step of each."""
    groups: dict[str, tuple[list, list]] = {}
    for name, candidate in candidates.items():
        steps = candidate.steps if isinstance(candidate, Pipeline) else [(type(candidate).__name__.lower(), candidate)]
        head = [(key, supervised_on_source(step)) for key, step in steps[:-1] if step not in (None, "passthrough")]
        groups.setdefault(joblib.hash(head), (head, []))[1].append((name, steps[-1]))
    yield from groups.values()


def _evaluate_group(
    head: list, members: list, task: _Task, scoring: dict, memory: Memory, deadline: float | None
) -> list[_Record]:
    """Fit the first steps once, then each candidate on their rows, whose moments all of them share."""
    Z, started = task.X, perf_counter()
    try:
        for _, step in head:
            if hasattr(step, "fit_transform"):
                Z = step.fit_transform(Z, task.y, **_domain_of_rows(step, "fit_transform", task))
            else:
                step.fit(Z, task.y, **_domain_of_rows(step, "fit", task))
                Z = step.transform(Z, **_domain_of_rows(step, "transform", task))
    except Exception as problem:  # of any transformer: it is reported, and other scalings go on
        error = f"{type(problem).__name__}: {problem}"
        return [_Record(name, None, None, {}, perf_counter() - started, error, "") for name, _ in members]
    evaluate = memory.cache(_evaluate)
    records = []
    with computing(task.X), shared_moments():
        for name, (step_name, last) in members:
            if deadline is not None and time() > deadline and name != SOURCE_ONLY:
                records.append(_Record(name, None, None, {}, 0.0, f"{_NOT_TRIED}: the time budget was spent", ""))
                continue
            last, *found = evaluate(on_source(last), task._replace(X=Z), scoring)
            records.append(record := _Record(name, Pipeline([*head, (step_name, last)]), *found))
            logger.info("%s: %.2g s%s", name, record.seconds, f", {record.error}" if record.error else "")
    return records


def _evaluate(last: Any, task: _Task, scoring: dict) -> tuple:
    """Fitted classifier, labels of the target rows, scores, seconds, what went wrong, and what it warned of."""
    started, labels, scores, error = perf_counter(), None, {}, ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            last.fit(task.X, task.y, **_domain_of_rows(last, "fit", task))
            labels = View(AutoAdapt.__name__, last, task.X, None, task.codes).predicted[task.codes < 0]
            scores = {name: _scored(scorer, last, task) for name, scorer in scoring.items()}
        except Exception as problem:  # of any classifier: it is reported, and the others go on
            error = f"{type(problem).__name__}: {problem}"
    said = dict.fromkeys(str(warning.message) for warning in caught)
    return last, labels, scores, perf_counter() - started, error, "\n".join(said)


def _scored(scorer: Any, last: Any, task: _Task) -> float:
    """A score; NaN, with a warning, where the scorer refuses the classifier."""
    try:
        return float(scorer(last, task.X, task.y, sample_domain=task.codes))
    except ValueError as refusal:
        warnings.warn(str(refusal), stacklevel=1)
        return float("nan")


def _domain_of_rows(estimator: Any, method: str, task: _Task) -> dict:
    return {"sample_domain": task.codes} if accepts_domains(estimator, method) else {}


def _votes(labels: np.ndarray, weights: np.ndarray, n_classes: int) -> np.ndarray:
    """Share of the weights for each class, of shape (n, n_classes), from codes of shape (m, n)."""
    shares = np.zeros((labels.shape[1], n_classes))
    for codes, weight in zip(labels, weights / weights.sum(), strict=True):
        shares[np.arange(len(codes)), codes] += weight
    return shares
