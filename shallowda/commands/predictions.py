"""What a model says of rows, and the file it is written to."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from shallowda.commands.common import STDOUT, atomic, require
from shallowda.datasets.tables import Table

__all__ = [
    "CONFIDENCE",
    "Predictions",
    "Truth",
    "check_format",
    "check_proba",
    "predict",
    "read_truth",
    "regresses",
    "told_scores",
    "told_summary",
    "write",
]

#: What the column ``confidence`` holds, and how far it is to be trusted.
CONFIDENCE = {
    "probability": "the largest class probability of the classifier, which learned from the source: not calibrated "
    "on the target",
    "vote": "the share of the vote for the class; not a probability",
    "margin": "how far the decision value of the class is above the next one; only its order means something",
    "number": "empty: a regressor does not tell how far its numbers may be off",
    "nearness": "how much nearer the nearest source row is than the nearest one of another class, (b - a) / (b + a), "
    "from 0 to 1; only its order means something. Probabilities: --set estimator=LogisticRegression",
    "none": "empty: the classifier does not tell how sure it is. A base classifier that does: --set "
    "estimator=LogisticRegression",
}


_SCORES = {"accuracy": ("Accuracy", ".1%"), "r2": ("R2", ".3f"), "mean_absolute_error": ("Mean absolute error", ".4g")}


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
        Empty where numbers are predicted.
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

    def summary(self) -> dict[str, dict[str, float]]:
        """Share of the rows that each class is predicted for, or the range of the numbers that are predicted.

        Returns
        -------
        summary : dict of str to dict of str to float
        """
        if not len(self.classes):
            return {"predicted_range": {name: float(getattr(self.labels, name)()) for name in ("min", "mean", "max")}}
        return {"predicted_shares": {str(name): float(np.mean(self.labels == name)) for name in self.classes.tolist()}}


class Truth(NamedTuple):
    """True labels of the rows where one is known, to compare predictions with.

    Attributes
    ----------
    known : ndarray of shape (n,), bool
    values : ndarray of shape (n,)
        Classes as text, or numbers.
    """

    known: np.ndarray
    values: np.ndarray

    def scores(self, labels: np.ndarray) -> dict[str, float | None]:
        """Scores of predictions, and the number of rows that they are of.

        Parameters
        ----------
        labels : ndarray of shape (n,)

        Returns
        -------
        scores : dict of str to float
            The accuracy; or R^2, which is None of fewer than two rows, and the mean absolute error.
        """
        from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score

        count, truth = {"evaluated": int(self.known.sum())}, self.values[self.known]
        if truth.dtype.kind != "f":
            return count | {"accuracy": float(accuracy_score(truth, labels[self.known].astype(str)))}
        found = labels[self.known]
        r2 = float(r2_score(truth, found)) if len(truth) > 1 else None
        return count | {"r2": r2, "mean_absolute_error": float(mean_absolute_error(truth, found))}


def told_summary(about: Mapping[str, Any]) -> str:
    """What is predicted, in a sentence.

    Parameters
    ----------
    about : mapping
        With what `Predictions.summary` holds.

    Returns
    -------
    line : str
    """
    if (shares := about.get("predicted_shares")) is not None:
        return f"Classes: {', '.join(f'{name} {share:.0%}' for name, share in list(shares.items())[:12])}."
    return "Numbers from {min:.4g} to {max:.4g}, mean {mean:.4g}.".format(**about["predicted_range"])


def told_scores(about: Mapping[str, Any]) -> list[str]:
    """Each score in a sentence, beside that of the source alone.

    Parameters
    ----------
    about : mapping
        With what `Truth.scores` holds, if there is a truth.

    Returns
    -------
    lines : list of str
    """
    lines = []
    for name, (told, form) in _SCORES.items():
        if about.get(name) is not None:
            alone = about.get(f"{name}_source_only")
            beside = "" if alone is None else f"; of the source alone: {format(alone, form)}"
            count = about["evaluated"]
            rows = "" if count == about["rows"] else f" on the {count} rows whose label is known"
            lines.append(f"{told}{rows}: {format(about[name], form)}{beside}.")
    return lines


def regresses(model: Any) -> bool:
    """Whether a model predicts numbers.

    Parameters
    ----------
    model : estimator

    Returns
    -------
    regresses : bool
    """
    from sklearn.base import is_regressor

    return bool(is_regressor(model))


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

    X = table.X
    if regresses(model):
        return Predictions(np.ravel(model.predict(X)), None, "number", None, np.empty(0), table.ids)
    classes = np.asarray(model.classes_)
    if hasattr(model, "predict_proba"):
        proba = np.asarray(model.predict_proba(X))
        best, labels = proba.max(axis=1), classes[proba.argmax(axis=1)]
        if isinstance(model, AutoAdapt):
            return Predictions(labels, best, "vote", proba, classes, table.ids)
        labels = model.predict(X)  # of a support vector machine they may differ
        if _is_graded(model):
            return Predictions(labels, best, "probability", proba, classes, table.ids)
        nearness = _nearness(model, X)
        return Predictions(labels, nearness, "none" if nearness is None else "nearness", proba, classes, table.ids)
    labels, margin = model.predict(X), None
    if hasattr(model, "decision_function"):
        values = np.asarray(model.decision_function(X))
        margin = np.abs(values) if values.ndim == 1 else -np.diff(np.sort(values, axis=1)[:, :-3:-1])[:, 0]
    return Predictions(labels, margin, "none" if margin is None else "margin", None, classes, table.ids)


def _nearness(model: Any, X: np.ndarray) -> np.ndarray | None:
    """What the nearest neighbour at the end of a model says of rows; None where there is another classifier."""
    from sklearn.pipeline import Pipeline

    from shallowda import OneNearestNeighbor

    *before, last = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    neighbour = getattr(last, "estimator_", last)
    if not isinstance(neighbour, OneNearestNeighbor):
        return None
    for step in [*before, *([last] if hasattr(last, "transform") else [])]:
        X = step.transform(X)
    return neighbour.nearness(X)


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


def check_proba(model: Any, name: str) -> None:
    """Refuse columns of class probabilities of a model that has none.

    Parameters
    ----------
    model : estimator
    name : str
        What it is called.

    Raises
    ------
    ValueError
    """
    if not hasattr(model, "predict_proba"):
        raise ValueError(
            f"--proba: {name} has no class probabilities. JDA, CORAL and others have them with --set "
            "estimator=LogisticRegression."
        )


def read_truth(truth: np.ndarray | None, classes: np.ndarray | None) -> Truth | None:
    """Labels to compare with, and where they are known: not where there is none, nor -1 unless it is a class.

    Parameters
    ----------
    truth : ndarray of shape (n,), or None
    classes : ndarray of shape (n_classes,), or None
        None where numbers are predicted.

    Returns
    -------
    truth : Truth or None

    Raises
    ------
    ValueError
        If no label is known, or one is no class of the model (it is written in another way, perhaps) or no number.
    """
    if truth is None:
        return None
    texts = truth.astype(str)
    names = None if classes is None else list(map(str, np.asarray(classes).tolist()))
    known = texts != ""
    if names is not None and "-1" not in names:
        known &= texts != "-1"
    if not known.any():
        raise ValueError("--evaluate: no row has a label to compare with.")
    if names is None:
        values = np.zeros(len(truth))
        try:
            values[known] = truth[known].astype(np.float64)
        except ValueError as error:
            raise ValueError(
                f"--evaluate: the model predicts numbers, and labels such as {texts[known].max()} are none."
            ) from error
        return Truth(known, values)
    if strange := [name for name in np.unique(texts[known]).tolist() if name not in names]:
        raise ValueError(
            f"--evaluate: {', '.join(strange[:5])} {'are' if len(strange) > 1 else 'is'} no class of the model, whose "
            f"classes are {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}."
        )
    return Truth(known, texts)


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
    cells = [
        [f"{cell:.6g}" if isinstance(cell, float) and name != "prediction" else cell for cell in column]
        for name, column in columns.items()
    ]
    writer.writerows(zip(*cells, strict=True))
