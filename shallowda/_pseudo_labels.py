"""The loop of every pseudo-label method: solve with the current target labels, relabel, until the labels settle."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

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
