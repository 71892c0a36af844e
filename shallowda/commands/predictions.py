"""What a model says of rows, and the file it is written to."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from shallowda.commands.common import STDOUT, atomic, require
from shallowda.datasets.tables import Table

__all__ = ["CONFIDENCE", "Predictions", "check_format", "check_truth", "predict", "write"]

#: What the column ``confidence`` holds, and how far it is to be trusted.
CONFIDENCE = {
    "probability": "the largest class probability of the classifier, which learned from the source: not calibrated "
    "on the target",
    "vote": "the share of the vote for the class; not a probability",
    "margin": "how far the decision value of the class is above the next one; only its order means something",
    "none": "empty: the classifier (one nearest neighbour, say) does not tell how sure it is. A base classifier that "
    "does: --set estimator=LogisticRegression",
}


class Predictions(NamedTuple):
    """Predictions of n rows.

    Attributes
    ----------
    labels : ndarray of shape (n,)
    confidence : ndarray of shape (n,) or None
    kind : str
        Key of `CONFIDENCE`.
    proba : ndarray of shape (n, n_classes) or None
    classes : ndarray of shape (n_classes,)
    ids : ndarray of shape (n,) or None
    """

    labels: np.ndarray
    confidence: np.ndarray | None
    kind: str
    proba: np.ndarray | None
    classes: np.ndarray
    ids: np.ndarray | None

    def columns(self, with_proba: bool) -> dict[str, list]:
        """Columns of the file by name; rows are counted from 1.

        Parameters
        ----------
        with_proba : bool
            Whether there is one for each class, where there are probabilities.

        Returns
        -------
        columns : dict of str to list
        """
        n = len(self.labels)
        columns: dict[str, list] = {"row": list(range(1, n + 1))}
        if self.ids is not None:
            columns["id"] = self.ids.tolist()
        columns["prediction"] = self.labels.tolist()
        columns["confidence"] = [None] * n if self.confidence is None else self.confidence.tolist()
        if with_proba and self.proba is not None:
            columns |= {f"p({name})": share.tolist() for name, share in zip(self.classes, self.proba.T, strict=True)}
        return columns

    def shares(self) -> dict[str, float]:
        """Share of the rows that each class is predicted for.

        Returns
        -------
        shares : dict of str to float
        """
        return {str(name): float(np.mean(self.labels == name)) for name in self.classes.tolist()}


def predict(model: Any, table: Table) -> Predictions:
    """Predictions of a fitted model, with the confidence that it can give.

    Parameters
    ----------
    model : classifier
    table : Table

    Returns
    -------
    predictions : Predictions
    """
    from shallowda import AutoAdapt

    X, classes = table.X, np.asarray(model.classes_)
    if hasattr(model, "predict_proba"):
        proba = np.asarray(model.predict_proba(X))
        best, labels = proba.max(axis=1), classes[proba.argmax(axis=1)]
        if isinstance(model, AutoAdapt):
            return Predictions(labels, best, "vote", proba, classes, table.ids)
        labels = model.predict(X)  # of a support vector machine they may differ
        graded = _is_graded(model)
        return Predictions(
            labels, best if graded else None, "probability" if graded else "none", proba, classes, table.ids
        )
    labels, margin = model.predict(X), None
    if hasattr(model, "decision_function"):
        values = np.asarray(model.decision_function(X))
        margin = np.abs(values) if values.ndim == 1 else -np.diff(np.sort(values, axis=1)[:, :-3:-1])[:, 0]
    return Predictions(labels, margin, "none" if margin is None else "margin", None, classes, table.ids)


def _is_graded(model: Any) -> bool:
    """Whether the probabilities of a fitted classifier can be others than 0 and 1."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.tree import BaseDecisionTree

    from shallowda import OneNearestNeighbor

    if isinstance(model, Pipeline):
        return _is_graded(model.steps[-1][1])
    if type(model).__module__.startswith("shallowda.") and hasattr(model, "estimator_"):
        return _is_graded(model.estimator_)
    if isinstance(model, BaseDecisionTree):
        tree = model.tree_
        return bool(tree.impurity[tree.children_left == -1].any())  # of the leaves
    return not (
        isinstance(model, OneNearestNeighbor) or (isinstance(model, KNeighborsClassifier) and model.n_neighbors == 1)
    )


def check_truth(truth: np.ndarray | None, classes: np.ndarray) -> None:
    """Refuse labels to compare with that are no class of the model: they are written in another way, perhaps.

    Parameters
    ----------
    truth : ndarray of shape (n,), or None
    classes : ndarray of shape (n_classes,)

    Raises
    ------
    ValueError
    """
    known = list(map(str, np.asarray(classes).tolist()))
    strange = [name for name in ([] if truth is None else np.unique(truth).astype(str).tolist()) if name not in known]
    if strange:
        raise ValueError(
            f"--evaluate: {', '.join(strange[:5])} {'are' if len(strange) > 1 else 'is'} no class of the model, whose "
            f"classes are {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}."
        )


def check_format(out: str) -> None:
    """Refuse a file of predictions of another kind than .csv and .parquet.

    Parameters
    ----------
    out : str

    Raises
    ------
    ValueError, ImportError
    """
    suffix = Path(out).suffix.lower()
    if out != STDOUT and suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out: {out} must end in .csv or .parquet, or be - for standard output.")
    if suffix == ".parquet":
        require("--out", "cli", "pyarrow")


def write(columns: dict[str, list], out: str) -> None:
    """Write columns as csv or Parquet.

    Parameters
    ----------
    columns : dict of str to list
    out : str
        "-" is standard output.
    """
    if out == STDOUT:
        _write_csv(columns, sys.stdout)
        sys.stdout.flush()
        return
    with atomic(Path(out)) as scratch:
        if scratch.suffix.lower() == ".parquet":
            import pyarrow
            import pyarrow.parquet

            types = {"confidence": pyarrow.float64()}
            arrays = {name: pyarrow.array(column, types.get(name)) for name, column in columns.items()}
            pyarrow.parquet.write_table(pyarrow.table(arrays), scratch)
        else:
            with scratch.open("w", newline="", encoding="utf-8") as file:
                _write_csv(columns, file)


def _write_csv(columns: dict[str, list], file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    cells = [[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in column] for column in columns.values()]
    writer.writerows(zip(*cells, strict=True))
