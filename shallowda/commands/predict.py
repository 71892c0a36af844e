"""``shallowda predict``: predictions of a saved model on new rows."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from shallowda.commands import common
from shallowda.commands.common import STDOUT, say, say_json

__all__ = ["predict"]


def predict(
    model: Annotated[Path, typer.Argument(help="Model that `shallowda adapt --model` or `shallowda.save` wrote.")],
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="New rows of the target; - reads csv from standard input.")
    ],
    out: common.Out = STDOUT,
    proba: common.Proba = False,
    ids: common.Ids = "",
    features: common.Features = None,
    drop: common.Drop = None,
    evaluate: common.Evaluate = "",
    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE",
            help="Type in the model file that may be made, by its full name; may be given several times. Its module is "
            "imported: name only what you know.",
        ),
    ] = None,
    force: common.Force = False,
    as_json: common.AsJson = False,
) -> None:
    """Predict new rows with a saved model.

    Rows are target rows. Features are matched to the model's by name where both have names, else by their order. The
    column that held the labels when `adapt` made the model is left out.
    With --json, predictions are in the JSON object unless --out says where they go.
    """
    from shallowda import load
    from shallowda.commands import columns, predictions
    from shallowda.datasets.tables import match_features, read_table
    from shallowda.persistence import unknown_types

    predictions.check_format(out)
    common.require("A model file", "cli", "skops")
    common.check_outputs({"--out": out}, [model, file], force)
    if unknown := unknown_types(model, trusted=trust or ()):
        options = " ".join(f"--trust {name}" for name in unknown)
        raise ValueError(
            f"{model} holds types that are not read unasked. If you trust where the file comes from, add {options}"
        )
    fitted = load(model, trusted=trust or ())
    regresses = predictions.regresses(fitted)
    if not hasattr(fitted, "predict") or not hasattr(fitted, "n_features_in_" if regresses else "classes_"):
        raise ValueError(f"{model} holds a {type(fitted).__name__} that was not fitted to predict classes or numbers.")
    if proba:
        predictions.check_proba(fitted, str(model))
    width = int(fitted.n_features_in_)
    names = list(getattr(fitted, "feature_names_in_", ())) or None
    encoder, classifier, asked = columns.split(fitted)
    table = read_table(
        file,
        labels=evaluate or None,
        features=(chosen := common.once("--features", features)),
        ids=ids,
        drop=drop or (),
        unused=getattr(fitted, "label_name_in_", ""),
        width=width,
        names=names,
        part="tar",
        unlabelled=True,
        **asked,
    )
    if table.unused:
        common.say_unused(table.unused, file)
    common.check_dropped(drop, table.columns)
    common.check_used("--features", chosen, table.features)
    truth = predictions.read_truth(table.y, None if regresses else fitted.classes_)
    X = match_features(table, names, width, file, "the model")
    with common.working("Predicting"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have valid feature names")  # they were compared above
        found = predictions.predict(classifier, table._replace(X=X if encoder is None else encoder.transform(X)))
    rows = found.columns(proba)
    about: dict[str, Any] = {
        "rows": len(X),
        "confidence": found.kind,
        **found.summary(),
        **({} if truth is None else truth.scores(found.labels)),
    }
    to_json = as_json and out == STDOUT
    failed: dict[str, str] = {}
    if not to_json:
        about["written"], failed = common.write_all({"predictions": (out, lambda: predictions.write(rows, out))})
    say(f"{len(X)} rows predicted. Confidence: {predictions.CONFIDENCE[found.kind]}.")
    for line in predictions.told_scores(about):
        say(line)
    if as_json:
        say_json(about | ({"predictions": rows} if to_json else {}))
    common.end(failed)
