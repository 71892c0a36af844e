"""Methods that improve their own labels of the target: solve with the current ones, relabel, until they settle."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from shallowda.core.adapter import BaseAdapter
from shallowda.core.contract import Domains
from shallowda.core.estimator import for_base
from shallowda.core.messages import warn
from shallowda.kernels.arrays import Array
from shallowda.kernels.copies import of_first

__all__ = ["Pass", "PseudoLabelAdapter", "PseudoLabelMixin", "Solution", "settle"]

logger = logging.getLogger("shallowda")


@dataclass(frozen=True)
class Pass:
    """Outcome of one pass.

    Attributes
    ----------
    objective : float
        Minimum that the pass's problem reached.
    labels : ndarray of shape (nt,), int
        Target pseudo-labels that the pass ends with.
    record : dict
        What else to put in the history, by name.
    result : object
        Whatever the method needs to keep of the pass.
    """

    objective: float
    labels: np.ndarray
    record: dict
    result: Any


def settle(
    step: Callable[[Any], Pass],
    labels: np.ndarray | None,
    max_iter: int,
    polish: Callable[[Any], Pass] | None = None,
) -> tuple[Pass, dict]:
    """Repeat ``step(labels)`` with its own labels.

    Ends when the labels repeat those of the pass before (the next pass would change nothing), when they repeat an
    earlier pass (a cycle: the pass of smallest objective among the cycle's is returned), or after `max_iter` passes.

    Parameters
    ----------
    step : callable
        Takes the target labels, None before there are any; returns a `Pass`.
    labels : ndarray of shape (nt,), int, or None
        Labels to start from.
    max_iter : int
    polish : callable, optional
        `step` at full precision, where `step` is a quicker one. The pass that is returned is always polished, and
        labels have settled only when they are also those of the polished pass.

    Returns
    -------
    last : Pass
    history : dict of lists
        ``objective``, ``label_changes`` and the passes' records; ``stopped``: "settled", "cycle" or "max_iter"; and
        ``kept``: index of the pass that was kept, the last one but in a cycle.
    """
    polish = polish or step
    history: dict = {"objective": [], "label_changes": [], "stopped": "max_iter"}
    inputs: list[np.ndarray | None] = []
    for iteration in range(max_iter):
        inputs.append(labels)
        if iteration == max_iter - 1:
            step = polish
        done = step(labels)
        changes = _changes(labels, done)
        if changes == 0 and step is not polish:
            step = polish
            done = step(labels)
            changes = _changes(labels, done)
        for name, value in {"objective": done.objective, "label_changes": changes, **done.record}.items():
            history.setdefault(name, []).append(value)
        logger.info("pass %d: objective %.6g, %d labels changed", iteration + 1, done.objective, changes)
        if changes == 0:
            history["stopped"] = "settled"
            break
        labels = done.labels
        earlier = [i for i, seen in enumerate(inputs) if seen is not None and np.array_equal(seen, labels)]
        if earlier and step is not polish:
            step = polish  # a cycle of labels that were found quickly is no cycle yet
        elif earlier:
            history["stopped"] = "cycle"
            best = min(range(earlier[0], len(inputs)), key=history["objective"].__getitem__)
            history["kept"] = best
            return (done if best == iteration else step(inputs[best])), history
    history["kept"] = len(inputs) - 1
    return done, history


def _changes(labels: np.ndarray | None, done: Pass) -> int:
    return len(done.labels) if labels is None else int(np.sum(done.labels != labels))


class PseudoLabelMixin:
    """An estimator whose passes end with labels of the target, from which the next pass begins.

    Sets `history_`, `n_iter_` and `pseudo_labels_`.
    """

    max_iter: int

    def _settle(
        self,
        step: Callable[[Any], Pass],
        domains: Domains,
        *,
        first: np.ndarray | None = None,
        quick: Callable[[Any], Pass] | None = None,
    ) -> Any:
        """Make passes until the labels settle; returns the result of the pass that is kept.

        Parameters
        ----------
        step : callable
            Takes codes of the target labels, None before there are any; returns a `Pass`. It must not change the
            estimator: the pass that is kept need not be the last one.
        domains : Domains
        first : ndarray of shape (n_target,), int, optional
            Labels to start from.
        quick : callable, optional
            A quicker `step`, exact enough to find labels.
        """
        last, self.history_ = settle(quick or step, first, self.max_iter, polish=step)
        self.n_iter_ = len(self.history_["objective"])
        self.pseudo_labels_ = domains.classes[last.labels]
        dropped = last.record.get("dropped_classes", ())
        if domains.has_target and dropped:
            warn(
                f"{type(self).__name__}: no target row is labelled {list(dropped)}, so these classes are not matched. "
                "Either the target lacks them, or the pseudo-labels have collapsed, which hurts.",
            )
        return last.result


@dataclass(frozen=True)
class Solution:
    """What one pass of a pseudo-label adapter has found.

    Attributes
    ----------
    objective : float
        Minimum that the pass's problem reached.
    embedding : array of shape (n, k)
        All training rows, each by the map of its own domain.
    maps : object
        What the method makes its fitted attributes of.
    record : dict
        What else to put in the history, by name. ``dropped_classes`` are those whose term was left out.
    """

    objective: float
    embedding: Array
    maps: Any
    record: dict = field(default_factory=dict)


class PseudoLabelAdapter(PseudoLabelMixin, BaseAdapter):
    """An adapter whose map is learned from labels that the map itself, through the base classifier, gives the target.

    A method implements `_prepare`, what all passes share; `_pass`, one of them, which changes nothing of the estimator;
    `_store_pass`, which keeps the maps of the one that was kept; and `_map` for new rows.
    """

    kind = "pseudo-label adapter"

    _requires_labels = True

    @abstractmethod
    def _prepare(self, X: Array, domains: Domains) -> Any:
        """What every pass needs, computed once."""

    @abstractmethod
    def _pass(self, shared: Any, domains: Domains, pseudo: np.ndarray | None, *, quick: bool) -> Solution:
        """One pass with these codes of the target labels; with None in the first one, which has no labels yet.

        `quick` asks for labels only: the pass that is kept is solved again at full precision.
        """

    @abstractmethod
    def _store_pass(self, shared: Any, solution: Solution) -> Array:
        """Set the fitted attributes of a pass; return the embedding of the training rows."""

    def _has_quick_pass(self, shared: Any) -> bool:
        """Whether `quick` makes a pass cheaper."""
        return False

    def _first_labels(self, X: Array, domains: Domains) -> np.ndarray | None:
        """Codes of the target labels that the first pass begins with; None: it has none.

        `_source_only` gives those of the base classifier without adaptation.
        """
        return None

    def _source_only(self, X: Array, domains: Domains) -> np.ndarray:
        """Codes of the labels that the base classifier, trained on the source's rows as they are, gives the target."""
        return _target_codes(self._trained(domains.source_rows(X), domains), X, domains)

    def _adapt(self, X: Array, domains: Domains) -> Array:
        if domains.n_classes == 1:
            warn(f"The source has one class, so {type(self).__name__} adapts to the target as a whole only.")
        shared, first = self._prepare(X, domains), self._first_equal(X, domains.source)

        def step(pseudo: np.ndarray | None, quick: bool = False) -> Pass:
            solution = self._pass(shared, domains, pseudo, quick=quick)
            solution = replace(solution, embedding=of_first(solution.embedding, first))
            base = self._trained(domains.source_rows(solution.embedding), domains)
            labels = _target_codes(base, solution.embedding, domains)
            return Pass(solution.objective, labels, solution.record, (solution, base))

        quick = partial(step, quick=True) if self._has_quick_pass(shared) else None
        solution, self.estimator_ = self._settle(step, domains, first=self._first_labels(X, domains), quick=quick)
        return self._store_pass(shared, solution)

    def _same_for_equal(self, Z: Array, rows: Array, source: np.ndarray) -> Array:
        """Z itself: every pass has seen to it, since it trains on its embedding."""
        return Z

    def _rows_to_train_on(self, rows: Array, Z: Array | None, domains: Domains) -> None:
        """None: the pass that was kept has trained the base classifier."""


def _target_codes(base: Any, Z: Array, domains: Domains) -> np.ndarray:
    """Codes of the labels that a classifier gives the adapted target rows."""
    if not domains.has_target:
        return np.empty(0, dtype=int)
    return domains.encode(base.predict(for_base(base, domains.split(Z)[1])))
