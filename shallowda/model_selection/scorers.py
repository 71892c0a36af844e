"""Scores of an adapted classifier that need no target label.

Each is used as ``scoring=`` in scikit-learn's searches and in ``cross_validate``; larger is better. Those that look at
target rows need them in the test parts: ``cv=StratifiedSourceTargetKFold(target_test=True)``.

None of them is right everywhere: each docstring says when it fails. `RankEnsemble` combines several.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr
from scipy.stats import rankdata
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, check_scoring, get_scorer_names, silhouette_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.multiclass import type_of_target

from shallowda.core.contract import label_array
from shallowda.kernels.density_ratio import kernel_mean_matching, ulsif
from shallowda.kernels.neighbours import soft_neighbourhood_entropy
from shallowda.metrics import coral_distance, mmd, proxy_a_distance
from shallowda.model_selection.view import View

__all__ = [
    "CircularValidation",
    "ClusterValidity",
    "DeepEmbeddedValidation",
    "EmbeddingDiscrepancy",
    "ImportanceWeightedAccuracy",
    "InformationMaximization",
    "MixVal",
    "PredictionEntropy",
    "RankEnsemble",
    "SoftNeighborhoodDensity",
    "SourceAccuracy",
    "SourceScore",
    "source_accuracy",
    "source_score",
    "target_accuracy_scorer",
]

_MAX_SILHOUETTE_ROWS = 2000


class _Scorer(BaseEstimator, ABC):
    """A callable that scikit-learn takes as ``scoring=``, with or without metadata routing."""

    _parameter_constraints: dict = {}

    def get_metadata_routing(self) -> MetadataRequest:
        """Request `sample_domain` where rows are scored.

        Returns
        -------
        request : MetadataRequest
        """
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_domain", alias=True)
        return request

    def __call__(
        self, estimator: Any, X: ArrayLike, y: ArrayLike | None = None, *, sample_domain: ArrayLike | None = None
    ) -> float:
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : fitted classifier, Pipeline or search
            A regressor as well, where the score is one for regressors.
        X : array-like of shape (n_samples, n_features)
            Rows of both domains.
        y : array-like of shape (n_samples,), optional
            Labels on source rows, marks on target rows.
        sample_domain : array-like of shape (n_samples,), optional
            >= 0 for source rows, < 0 for target rows, whose labels are then ignored.

        Returns
        -------
        score : float
        """
        self._validate_params()
        return float(self._score(View(type(self).__name__, estimator, X, y, sample_domain)))

    @abstractmethod
    def _score(self, view: View) -> float:
        """The score."""


class SourceScore(_Scorer):
    """A score of scikit-learn's on the labelled source rows, each mapped as the source row it is.

    Made by `source_score`; `SourceAccuracy` is the one of "accuracy". Rows marked as unlabelled do not count.
    Adapters with a source map of their own (CORAL, SubspaceAlignment, PerDomain) apply it; scikit-learn's "accuracy" or
    "r2" alone maps held-out source rows as if they were target.

    Parameters
    ----------
    scorer : str or callable
        What scikit-learn takes as ``scoring=``: a name such as "r2", "neg_mean_absolute_error", "roc_auc" or
        "balanced_accuracy", or a function of estimator, X and y, as ``make_scorer`` makes them.

    Notes
    -----
    Larger is better. **Fails** when the adaptation serves the source and not the target: it is highest without
    adaptation as often as not. It rules out settings that destroy the classes: a check, not a choice.
    """

    _parameter_constraints: dict = {"scorer": [StrOptions(set(get_scorer_names())), callable]}

    def __init__(self, scorer: str | Callable[..., float]) -> None:
        self.scorer = scorer

    def _score(self, view: View) -> float:
        view.require(source=1)
        model, X, y = view.of_source()
        if self.scorer == "accuracy" and type_of_target(y).startswith("continuous"):
            raise ValueError(
                f"{view.name} of accuracy counts classes, and y is continuous. For a regressor use a score of values, "
                'such as source_score("r2").'
            )
        return check_scoring(scoring=self.scorer)(model, X, y)


def source_score(scorer: str | Callable[..., float]) -> SourceScore:
    """A score of scikit-learn's on the labelled source rows, each by the source's own map.

    Parameters
    ----------
    scorer : str or callable
        What scikit-learn takes as ``scoring=``.

    Returns
    -------
    scorer : SourceScore
        For ``scoring=`` in searches and in `cross_validate`.

    Raises
    ------
    ValueError
        If scikit-learn has no score of this name. A search would make NaN of an error that comes later.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from shallowda import CORAL, make_pipeline, pack_domains
    >>> from shallowda.model_selection import source_score
    >>> rng = np.random.RandomState(0)
    >>> Xs, Xt = rng.randn(80, 3), 2 * rng.randn(60, 3)
    >>> X, y, sample_domain = pack_domains(Xs, Xs @ [1.5, -2.0, 0.5], Xt)
    >>> model = make_pipeline(CORAL(0.01), Ridge(0.1)).fit(X, y)
    >>> source_score("r2")(model, X, y) > 0.99
    True
    """
    score = SourceScore(scorer)
    score._validate_params()
    return score


class SourceAccuracy(SourceScore):
    """`SourceScore` of accuracy. Use it as ``scoring=source_accuracy``, which is an instance.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from shallowda import TCAEstimator, pack_domains
    >>> from shallowda.model_selection import StratifiedSourceTargetKFold, source_accuracy
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1], 30)
    >>> Xs = rng.randn(60, 4) + 3 * np.eye(4)[ys]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xs + [0, 0, 0, 5])
    >>> cv = StratifiedSourceTargetKFold(3, random_state=0)
    >>> search = GridSearchCV(TCAEstimator(), {"n_components": [1, 3]}, scoring=source_accuracy, cv=cv).fit(X, y)
    >>> sorted(search.best_params_)
    ['n_components']
    """

    scorer = "accuracy"

    def __init__(self) -> None:
        """No parameters."""


#: `SourceAccuracy`, ready for use.
source_accuracy = SourceAccuracy()


class _Weighted(_Scorer):
    """A score of source rows that are weighed by how likely they are in the target."""

    _parameter_constraints: dict = {
        "weights": [StrOptions({"discriminative", "kmm", "ulsif"})],
        "space": [StrOptions({"embedding", "input"})],
        "max_features": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        weights: str = "discriminative",
        space: str = "embedding",
        max_features: int = 20,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.weights = weights
        self.space = space
        self.max_features = max_features
        self.random_state = random_state

    def _ratio(self, view: View) -> np.ndarray:
        """Weight of each source row: an estimate of the target's density over the source's."""
        rows = view.embedding if self.space == "embedding" else view.inputs
        rows = StandardScaler().fit_transform(rows)
        if rows.shape[1] > self.max_features:
            kept = min(self.max_features, len(rows))
            rows = PCA(kept, svd_solver="full").fit_transform(rows)
        source, target = rows[view.source], rows[view.target]
        random = check_random_state(self.random_state)
        if self.weights == "kmm":
            return kernel_mean_matching(source, target)
        if self.weights == "ulsif":
            order = random.permutation(len(source))  # widths are chosen on the first rows of both
            target = random.permutation(target)
            weights = np.empty(len(source))
            weights[order] = ulsif(source[order], target, target[:100])
            return weights
        domain = (view.codes < 0).astype(int)
        folds = StratifiedKFold(min(5, len(source), len(target)), shuffle=True, random_state=random)
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        likely = cross_val_predict(classifier, rows, domain, cv=folds, method="predict_proba")[view.source, 1]
        likely = np.clip(likely, 1e-6, 1 - 1e-6)
        return likely / (1 - likely) * len(source) / len(target)


class ImportanceWeightedAccuracy(_Weighted):
    """Accuracy on source rows, weighed by the ratio of the target's density to the source's.

    ``sum_i w_i 1[f(x_i) = y_i] / sum_i w_i``, with w from one of three estimators: a cross-fitted logistic regression
    that tells the domains apart ("discriminative"), kernel mean matching ("kmm") or least-squares importance fitting
    ("ulsif").

    Parameters
    ----------
    weights : {"discriminative", "kmm", "ulsif"}, default="discriminative"
    space : {"embedding", "input"}, default="embedding"
        Where densities are compared: in the rows as the base classifier sees them, or in the rows as given, which is
        the same for all candidates.
    max_features : int, default=20
        Principal components that are kept: a density ratio of more dimensions is not estimable.
    random_state : int, RandomState or None, default=0

    Notes
    -----
    Range 0 to 1, larger is better. It is right under covariate shift, where p(y | x) is the same in both domains.
    **Fails** where the domains do not overlap: a few rows then carry all the weight, and the score is a coin's toss.
    With ``space="embedding"`` an embedding that throws the classes away, and the shift with them, is scored as a
    source-only model.

    References
    ----------
    M. Sugiyama, M. Krauledat, K.-R. Mueller. "Covariate shift adaptation by importance weighted cross validation". JMLR
    8, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from shallowda.model_selection import ImportanceWeightedAccuracy, source_accuracy
    >>> rng = np.random.RandomState(0)
    >>> Xs, Xt = rng.randn(500, 1), rng.randn(500, 1) + 1.5
    >>> X, y = np.r_[Xs, Xt], np.r_[(Xs[:, 0] > 0), np.full(500, -1)]
    >>> model = LogisticRegression().fit([[1.0], [3.0]], [0, 1])  # cuts at 2: wrong from 0 to 2, where the target is
    >>> source_accuracy(model, X, y) > ImportanceWeightedAccuracy()(model, X, y)
    True
    """

    def _score(self, view: View) -> float:
        view.require(source=2, target=2)
        correct, weights = view.predicted[view.source] == view.source_labels, self._ratio(view)
        if not weights.sum() > 0:
            raise ValueError(
                f"{type(self).__name__}: no source row is likely in the target; the domains do not overlap."
            )
        return np.average(correct, weights=weights)


class DeepEmbeddedValidation(_Weighted):
    """`ImportanceWeightedAccuracy` with a control variate, which lowers its variance.

    One minus ``mean(w l) + eta (mean(w) - 1)``, where l is the error (0 or 1) of each source row, w its weight and
    ``eta = -cov(w l, w) / var(w)``: the mean of w is known to be 1, so what it misses tells what the weighted error
    misses.

    Parameters
    ----------
    weights : {"discriminative", "kmm", "ulsif"}, default="discriminative"
    space : {"embedding", "input"}, default="embedding"
    max_features : int, default=20
    random_state : int, RandomState or None, default=0
        See `ImportanceWeightedAccuracy`.

    Notes
    -----
    Larger is better; an estimate of the target accuracy, which is not confined to 0 to 1. **Fails** as
    `ImportanceWeightedAccuracy` does, though less wildly.

    References
    ----------
    K. You, X. Wang, M. Long, M. Jordan. "Towards accurate model selection in deep unsupervised domain adaptation". ICML
    2019.
    """

    def _score(self, view: View) -> float:
        view.require(source=2, target=2)
        loss = (view.predicted[view.source] != view.source_labels).astype(float)
        weights = self._ratio(view)
        covariance = np.cov(weights * loss, weights)
        eta = -covariance[0, 1] / covariance[1, 1] if covariance[1, 1] > 0 else 0.0
        return 1.0 - (np.mean(weights * loss) + eta * (np.mean(weights) - 1.0))


class PredictionEntropy(_Scorer):
    """Minus the mean entropy of the class probabilities of the target rows.

    ``-mean_i sum_c -p_ic log p_ic``.

    Notes
    -----
    Range -log(C) to 0, larger is better: decision boundaries that avoid the target's rows. **Fails** for classifiers
    that are sure of themselves for no reason (a large C of an SVM or a logistic regression wins), and is highest for
    one class for all. Refuses one-hot probabilities, which all score 0: a nearest neighbour would always win.

    References
    ----------
    P. Morerio, J. Cavazza, V. Murino. "Minimal-entropy correlation alignment for unsupervised deep domain adaptation".
    ICLR 2018.
    """

    def _score(self, view: View) -> float:
        view.require(target=1)
        return -entr(view.probabilities[view.target]).sum(axis=1).mean()


class InformationMaximization(_Scorer):
    """Mutual information of target rows and their predicted classes.

    ``H(mean_i p_i) - mean_i H(p_i)``: predictions that are sure one by one and diverse together.

    Notes
    -----
    Range 0 to log(C), larger is better. Unlike `PredictionEntropy` it does not fall for one class for all. **Fails**
    under label shift, since it prefers equal class shares in the target; and for classifiers that are sure of
    themselves for no reason. Refuses one-hot probabilities.

    References
    ----------
    Y. Shi, F. Sha. "Information-theoretical learning of discriminative clusters for unsupervised domain adaptation".
    ICML 2012.
    """

    def _score(self, view: View) -> float:
        view.require(target=1)
        probabilities = view.probabilities[view.target]
        return entr(probabilities.mean(axis=0)).sum() - entr(probabilities).sum(axis=1).mean()


class SoftNeighborhoodDensity(_Scorer):
    """Entropy of the similarities between target rows, in the space of their class probabilities.

    Each row's cosines with all others, divided by the temperature, are made a distribution by softmax; the score is the
    mean entropy of these distributions. Rows of a dense neighbourhood share it among many.

    Parameters
    ----------
    temperature : float, default=0.05

    Notes
    -----
    Range 0 to log(n_target - 1), larger is better. Compare on the same rows only. **Fails** when all rows are given to
    one class: the neighbourhood is then as dense as can be; watch the predicted class shares. Refuses one-hot
    probabilities. Cost n_target^2 C; never an n x n array.

    References
    ----------
    K. Saito, D. Kim, P. Teterwak, S. Sclaroff, T. Darrell, K. Saenko. "Tune it the right way: unsupervised validation
    of domain adaptation via soft neighborhood density". ICCV 2021.
    """

    _parameter_constraints: dict = {"temperature": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, *, temperature: float = 0.05) -> None:
        self.temperature = temperature

    def _score(self, view: View) -> float:
        view.require(target=2)
        return soft_neighbourhood_entropy(view.probabilities[view.target], self.temperature)


class CircularValidation(_Scorer):
    """Accuracy on the source of a model that was adapted back, from the target with its predicted labels.

    A clone of the estimator is fitted with the roles of the domains exchanged: target rows carry their predicted labels
    and source rows none. Its balanced accuracy on the source's given labels is the score.

    Notes
    -----
    Range 0 to 1, larger is better. Costs one more fit for each split. **Fails** when there and back cancel: predictions
    that permute whole clusters consistently come back right. Where one class is predicted for all target rows the way
    back is constant, and so is the score, 1 / C.

    References
    ----------
    L. Bruzzone, M. Marconcini. "Domain adaptation problems: a DASVM classification technique and a circular validation
    strategy". IEEE TPAMI 32(5), 2010. E. Zhong, W. Fan, Q. Yang, O. Verscheure, J. Ren. "Cross validation framework to
    choose amongst models and datasets for transfer learning". ECML PKDD 2010.
    """

    def _score(self, view: View) -> float:
        view.require(source=1, target=1)
        given, guessed = view.source_labels, view.predicted[view.target]
        every = np.unique(np.concatenate([given, guessed]))
        if every.dtype.kind in "if" and -1 in every:  # the mark of rows without a label
            given, guessed = np.searchsorted(every, given), np.searchsorted(every, guessed)
        if len(np.unique(guessed)) == 1:
            back = np.full(len(given), guessed[0])
        else:
            labels = np.full(len(view.codes), "" if every.dtype.kind in "OUS" else -1, dtype=object)
            labels[view.target] = guessed
            back = view.reversed(label_array(labels.tolist())).predicted[view.source]
        return np.mean([np.mean(back[given == label] == label) for label in np.unique(given)])


class MixVal(_Scorer):
    """Consistency of predictions on mixtures of target rows.

    Pairs of target rows are mixed as ``0.55 x_i + 0.45 x_j``; the mixture should be predicted as its larger part is.
    Pairs of one predicted class probe whether clusters are connected, pairs of two whether the boundary lies between
    them; the score is the mean of both accuracies (of one, where there are no such pairs).

    Parameters
    ----------
    share : float in (0.5, 1), default=0.55
        Weight of the first row.
    n_repeats : int, default=5
        Pairs for each target row.
    random_state : int, RandomState or None, default=0

    Notes
    -----
    Range 0 to 1, larger is better. Needs labels only, so it takes nearest neighbours. **Fails** for features whose
    mixtures mean nothing (sparse counts, categories), and where one class is predicted for all: such a model is
    perfectly consistent.

    References
    ----------
    D. Hu, J. Liang, J. H. Liew, C. Xue, S. Bai, X. Wang. "Mixed samples as probes for unsupervised model selection in
    domain adaptation". NeurIPS 2023 (there, ranks of both accuracies are averaged over the candidates).
    """

    _parameter_constraints: dict = {
        "share": [Interval(Real, 0.5, 1, closed="neither")],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self, *, share: float = 0.55, n_repeats: int = 5, random_state: int | np.random.RandomState | None = 0
    ) -> None:
        self.share = share
        self.n_repeats = n_repeats
        self.random_state = random_state

    def _score(self, view: View) -> float:
        view.require(target=2)
        rows, labels = view.inputs[view.target], view.predicted[view.target]
        random, right, same = check_random_state(self.random_state), [], []
        for _ in range(self.n_repeats):
            others = random.permutation(len(rows))
            mixed = self.share * rows + (1 - self.share) * rows[others]
            right.append(view.predict(_like(view.X, mixed)) == labels)
            same.append(labels == labels[others])
        right, same = np.concatenate(right), np.concatenate(same)
        return np.mean([right[pairs].mean() for pairs in (same, ~same) if pairs.any()])


def _like(X: Any, rows: np.ndarray) -> Any:
    """The rows with the column names of X, where it has any."""
    if not hasattr(X, "columns"):
        return rows
    return type(X)(rows, columns=X.columns) if hasattr(X, "iloc") else type(X)(rows, schema=list(X.columns))


class ClusterValidity(_Scorer):
    """Silhouette of the target rows, with their predicted classes as clusters.

    Parameters
    ----------
    space : {"input", "embedding"}, default="input"
        Where distances are taken: in the rows as given, which is the same for all candidates, or in the rows as the
        base classifier sees them, which rewards embeddings that pull clusters apart, right or wrong.
    random_state : int, RandomState or None, default=0
        Of the 2000 rows that stand for more.

    Notes
    -----
    Range -1 to 1, larger is better; -1 where one class is predicted for all. **Fails** where classes are not clusters
    of the features, as in few dimensions of mixed kinds.

    References
    ----------
    P. J. Rousseeuw. "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis". Journal of
    Computational and Applied Mathematics 20, 1987.
    """

    _parameter_constraints: dict = {"space": [StrOptions({"input", "embedding"})], "random_state": ["random_state"]}

    def __init__(self, *, space: str = "input", random_state: int | np.random.RandomState | None = 0) -> None:
        self.space = space
        self.random_state = random_state

    def _score(self, view: View) -> float:
        view.require(target=3)
        chosen = check_random_state(self.random_state).permutation(view.target)[:_MAX_SILHOUETTE_ROWS]
        labels = view.predicted[chosen]
        if not 1 < len(np.unique(labels)) < len(labels):
            return -1.0
        return silhouette_score((view.embedding if self.space == "embedding" else view.inputs)[chosen], labels)


class EmbeddingDiscrepancy(_Scorer):
    """Minus the distance between the domains in the embedding, which is standardised first.

    Parameters
    ----------
    metric : {"mmd", "coral", "a_distance"}, default="mmd"
        Of `shallowda.metrics`: `mmd` with an RBF kernel by the median rule, `coral_distance`, `proxy_a_distance`.

    Notes
    -----
    At most 0, larger is better. **Fails** by design when taken alone: an embedding that
    maps all rows to one point is perfect. Use it beside a score of the classes.

    References
    ----------
    As of the distances in `shallowda.metrics`.
    """

    _parameter_constraints: dict = {"metric": [StrOptions({"mmd", "coral", "a_distance"})]}

    def __init__(self, *, metric: str = "mmd") -> None:
        self.metric = metric

    def _score(self, view: View) -> float:
        view.require(source=2, target=2)
        Z = StandardScaler().fit_transform(view.embedding)
        distance = {"mmd": mmd, "coral": coral_distance, "a_distance": proxy_a_distance}[self.metric]
        return -distance(Z[view.source], Z[view.target])


class RankEnsemble(BaseEstimator):
    """The candidate with the best mean rank over several scores: a ``refit=`` for searches with several scorers.

    Parameters
    ----------
    weights : dict of str to float, optional
        Weight of each scorer, by its name in ``scoring=``; all the same by default.

    Notes
    -----
    Scores have units of their own and failures of their own; ranks forget the units, and a mean of ranks outvotes a
    single failure. **Fails** where most scores fail in the same way, as entropy-like ones do for overconfident
    classifiers. Within a rank, equal candidates share it; among equals the first one wins. A score that is NaN ranks
    last.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from shallowda import TCAEstimator, pack_domains
    >>> from shallowda.model_selection import (
    ...     CircularValidation, MixVal, RankEnsemble, StratifiedSourceTargetKFold, source_accuracy)
    >>> rng = np.random.RandomState(0)
    >>> ys = np.repeat([0, 1], 30)
    >>> Xs = rng.randn(60, 4) + 3 * np.eye(4)[ys]
    >>> X, y, sample_domain = pack_domains(Xs, ys, Xs + [0, 0, 0, 5])
    >>> scoring = {"source": source_accuracy, "circular": CircularValidation(), "mixed": MixVal()}
    >>> cv = StratifiedSourceTargetKFold(3, random_state=0, target_test=True)
    >>> search = GridSearchCV(TCAEstimator(), {"n_components": [1, 3]}, scoring=scoring, refit=RankEnsemble(), cv=cv)
    >>> search.fit(X, y).best_index_ in (0, 1)
    True
    """

    def __init__(self, *, weights: Mapping[str, float] | None = None) -> None:
        self.weights = weights

    def __call__(self, cv_results: Mapping[str, Any]) -> int:
        """Index of the best candidate.

        Parameters
        ----------
        cv_results : dict of arrays
            `cv_results_` of a search, with ``mean_test_<name>`` for each scorer.

        Returns
        -------
        index : int

        Raises
        ------
        ValueError
            If a weight names no scorer.
        """
        prefix = "mean_test_"
        scores = {key.removeprefix(prefix): values for key, values in cv_results.items() if key.startswith(prefix)}
        weights = dict.fromkeys(scores, 1.0) if self.weights is None else self.weights
        if not weights:
            raise ValueError("There are no scores to rank by: weights is empty, or the search has no named scores.")
        if unknown := sorted(set(weights) - set(scores)):
            raise ValueError(f"weights names {unknown}, and the search has the scores {sorted(scores)}.")
        known = {name: np.asarray(scores[name], dtype=float) for name in weights}
        if all(np.isnan(values).all() for values in known.values()):
            raise ValueError(
                f"All scores are NaN, of {sorted(known)}: see the search's warnings, or error_score='raise'."
            )
        weighted = [weight * ranks(known[name]) for name, weight in weights.items()]
        return int(np.argmin(np.sum(weighted, axis=0)))


def ranks(scores: np.ndarray) -> np.ndarray:
    """1 for the largest score; equal ones share the mean of theirs, and NaN comes last."""
    return rankdata(np.where(np.isnan(scores), np.inf, -scores))


def target_accuracy_scorer(Xt: ArrayLike, yt: ArrayLike) -> Any:
    """An oracle, for benchmarks only: accuracy on labelled target rows, whatever the rows of the test part are.

    A choice made by it has seen the target's labels, and its score says nothing about a target without any.

    Parameters
    ----------
    Xt : array-like of shape (n_target, n_features)
    yt : array-like of shape (n_target,)
        The labels that an adapted model never has.

    Returns
    -------
    scorer : callable

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from shallowda.model_selection import target_accuracy_scorer
    >>> model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    >>> target_accuracy_scorer([[-1.0], [2.0]], [0, 1])(model, None)
    1.0
    """

    def target_accuracy(estimator: Any, X: Any, y: Any = None) -> float:
        return float(accuracy_score(label_array(yt), estimator.predict(Xt)))

    return target_accuracy
