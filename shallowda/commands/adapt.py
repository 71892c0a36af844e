"""``shallowda adapt``: two files in; predictions for the second one, a model and a report out."""

from __future__ import annotations

import ast
import math
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shallowda.commands import common
from shallowda.commands.common import STDOUT, say, say_json
from shallowda.core.catalogue import SCALINGS, exported_names

if TYPE_CHECKING:
    import numpy as np

    from shallowda.commands.predictions import Predictions, Truth
    from shallowda.diagnosis import DomainShiftReport

__all__ = ["adapt", "methods"]

LOOKING = "Looking at the shift"


def methods(incomplete: str) -> list[str]:
    """Names of the methods that begin so.

    Parameters
    ----------
    incomplete : str

    Returns
    -------
    names : list of str
    """
    return [name for name in exported_names() if name.lower().startswith(incomplete.lower())]


def _scales(incomplete: str) -> list[str]:
    return [name for name in SCALINGS if name.startswith(incomplete)]


def adapt(
    source: Annotated[str, typer.Argument(help="Rows with labels; - reads csv from standard input.")],
    target: Annotated[str, typer.Argument(help="Rows to predict, with the same features. Labels in it are not used.")],
    method: Annotated[
        str, typer.Option(metavar="NAME", help="Estimator, such as JDA or CORAL.", autocompletion=methods)
    ] = "",
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="AutoAdapt instead of a method: a vote of many, or the source alone where it sees that adapting would "
            "hurt. --set time_budget=60 begins no further one after a minute.",
        ),
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Parameter of the method; may be given several times. Values as in TOML.",
        ),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="unit-rows, standard (z-scores), per-domain (z-scores in each domain by itself) or none. By default "
            "what suits the method.",
            autocompletion=_scales,
        ),
    ] = "",
    labels: common.Labels = "",
    features: common.Features = None,
    target_features: common.TargetFeatures = "",
    ids: common.Ids = "",
    drop: common.Drop = None,
    impute: common.Impute = "",
    one_hot: common.OneHot = None,
    evaluate: common.Evaluate = "",
    out: common.Out = STDOUT,
    proba: common.Proba = False,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the fitted model, for `shallowda predict`: .skops.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page about the shift and the predictions: .html.")
    ] = None,
    no_diagnosis: Annotated[
        bool, typer.Option("--no-diagnosis", help="Do not measure the shift, which often takes longer than the fit.")
    ] = False,
    force: common.Force = False,
    as_json: common.AsJson = False,
) -> None:
    """Adapt from a labelled SOURCE to an unlabelled TARGET, and predict the target.

    Labels are classes, of several rows each. Numbers are predicted where the method is given a regressor by name:
    --method KMM --set estimator=Ridge.

    Files are .npz, .npy, .mat, .csv, .parquet, .h5 or .safetensors. Features are matched by name where both files have
    names. Predictions have the columns row (from 1), id, prediction and confidence: the largest class probability of a
    classifier that learned from the source (not calibrated on the target), the share of the vote with --auto, how much
    nearer the nearest neighbour is than any of another class, or the margin of a classifier without probabilities (only
    the order of these two means something). Where a classifier does not tell, it is empty.
    With --json, predictions are in the JSON object unless --out says where they go.
    """
    import numpy as np

    from shallowda.commands import columns, predictions
    from shallowda.core.columns import listed
    from shallowda.datasets.tables import match_features, read_table
    from shallowda.persistence import unknown_types

    predictions.check_format(out)
    columns.check_impute(impute)
    if model is not None:
        common.require("--model", "cli", "skops")
    if report is not None:
        common.require("--report", "cli", "jinja2", "matplotlib")
    common.check_outputs({"--out": out, "--model": model, "--report": report}, [source, target], force)
    if source == target == STDOUT:
        raise ValueError("Only one of SOURCE and TARGET can be read from standard input.")
    pipeline, described = _build(method, auto, set_ or [], scale)
    if proba:
        predictions.check_proba(pipeline, described)

    features_name = common.once("--features", features)
    drop_here = [*(drop or ()), *([ids] if ids else [])]  # names of its rows are not written
    asked: dict[str, Any] = {"missing": bool(impute)}
    known = read_table(
        source, labels=labels, features=features_name, drop=drop_here, part="src", text=one_hot or (), **asked
    )
    if known.y is None:
        raise ValueError(f"{source}: which are the labels? Name them by --labels; there are {listed(known.columns)}.")
    regresses = predictions.regresses(pipeline)
    ys = _targets(known.y, f"{source}: {known.labels or labels}", described if regresses else "")
    width = known.X.shape[1]
    new = common.read_target(
        target,
        source,
        known,
        features_name,
        target_features,
        drop,
        labels=evaluate or None,
        ids=ids,
        unlabelled=True,
        **asked,
    )
    truth = predictions.read_truth(new.y, None if regresses else np.unique(ys))
    if new.unused:
        common.say_unused(new.unused, target)
    new = new._replace(X=match_features(new, known.names, width, target, "the source"))
    known, new, encoder = columns.encode(known, new, impute, one_hot or ())

    X = np.concatenate([known.X, new.X])
    y = np.concatenate([ys, np.full(len(new.X), ys[0])])  # the domains say which rows are which
    domains = np.repeat([0, -1], [len(known.X), len(new.X)])
    with common.working(f"Fitting {described}"):
        fitted = _fit(pipeline, X, y, domains)
    with common.working("Predicting"):
        found = predictions.predict(fitted, new)
    shift, alone, failed = None, None, dict[str, str]()
    if not no_diagnosis:
        with common.working(LOOKING, failed):  # the fit is not lost when this fails
            shift = _shift(known.X, None if regresses else ys, new.X, known.names)
    with common.working("Learning from the source alone", failed):
        alone = _source_only(pipeline).fit(known.X, ys).predict(new.X)
    if known.names:
        _name_features(fitted, known.names)
    whole = columns.joined(encoder, fitted)
    whole.label_name_in_ = known.labels  # `predict` leaves out this column

    rows = found.columns(proba)
    about = _about(described, fitted, found, shift, alone, truth)
    about |= {"source": source, "target": target, "rows": len(new.X), "classes": found.classes, "failed": failed}
    about["diagnosed"] = not no_diagnosis
    to_json = as_json and out == STDOUT
    writers: dict[str, Any] = {} if to_json else {"predictions": (out, lambda: predictions.write(rows, out))}
    if model is not None:
        writers["model"] = (model, lambda: _save(whole, model))
    if report is not None:
        writers["report"] = (report, lambda: _write_page(report, about, shift))
    written, unwritten = common.write_all(writers)
    failed |= unwritten
    _say_summary(about, written)
    if model is not None and "model" in written:
        about["trust"] = []
        with common.working("Reading the model again", failed):
            about["trust"] = unknown_types(model)
        if about["trust"]:
            options = " ".join(f"--trust {name}" for name in about["trust"])
            say(
                f"Note: the model holds types that are not read unasked. Use it by: shallowda predict {options} {model}"
            )
    if as_json:
        say_json(about | {"written": written} | ({"predictions": rows} if to_json else {}))
    common.end(failed)


# ------------------------------------------------------------------------------------------------- from words to model


def _build(method: str, auto: bool, settings: Sequence[str], scale: str) -> tuple[Any, str]:
    """The unfitted model that the options mean, and what it is called."""
    from sklearn.base import BaseEstimator, is_classifier, is_regressor
    from sklearn.preprocessing import Normalizer, StandardScaler

    from shallowda import AutoAdapt, PerDomain, all_methods, make_pipeline

    if auto == bool(method):
        raise ValueError(f"Give --method NAME or --auto. Methods are {', '.join(methods(''))}.")
    if auto:
        if scale:
            raise ValueError("--scale: AutoAdapt tries every scaling by itself. Leave --scale out.")
        return _set(AutoAdapt(), settings), "AutoAdapt"
    known = all_methods()
    chosen = scale or (known[method].card.scaling if method in known else "standard")
    if chosen not in SCALINGS:
        raise ValueError(f"--scale: there is no {chosen!r}{_hint(chosen, SCALINGS)} There are {', '.join(SCALINGS)}.")
    made = _estimator(method, "--method")
    if not (isinstance(made, BaseEstimator) and (is_classifier(made) or is_regressor(made))):
        raise ValueError(f"--method: {method} is no classifier and no regressor. Methods are {', '.join(methods(''))}.")
    made = _set(made, settings)
    base = getattr(made, "estimator", None)
    if method in known and base is not None and is_regressor(base) and not is_regressor(made):
        name = type(base).__name__
        raise ValueError(
            f"--set estimator: {name} predicts numbers, and {method} needs a classifier. KMM takes either."
        )
    scalers = {"unit-rows": Normalizer(), "per-domain": PerDomain(StandardScaler()), "standard": StandardScaler()}
    steps = [*([scalers[chosen]] if chosen in scalers else []), made]
    return make_pipeline(*steps), f"{method} ({chosen})" if chosen != "none" else method


def _estimator(name: str, option: str) -> Any:
    """An estimator of shallowda or scikit-learn with its defaults."""
    from shallowda.bench.models import estimators

    if name not in estimators():
        hint = _hint(name, [*methods(""), *estimators()])
        raise ValueError(f"{option}: there is no estimator {name!r}{hint} Methods are {', '.join(methods(''))}.")
    try:
        return estimators()[name]()
    except TypeError as error:
        raise ValueError(f"{option}: {name} cannot be made from its name alone: {error}.") from error


def _hint(name: str, known: Any) -> str:
    folded = {str(entry).lower(): str(entry) for entry in known}
    close = get_close_matches(name.lower(), folded, n=1)
    return f", did you mean {folded[close[0]]!r}?" if close else "."


def _set(made: Any, settings: Sequence[str]) -> Any:
    """The estimator with the parameters ``NAME=VALUE``; those of an estimator within are ``estimator__NAME``."""
    name = type(made).__name__
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals:
            raise ValueError(f"--set: {setting!r} is not NAME=VALUE.")
        known = made.get_params()
        if key not in known:
            raise ValueError(f"--set: {name} has no parameter {key!r}{_hint(key, known)} It has {', '.join(known)}.")
        value = _literal(text.strip())
        if key.rpartition("__")[2] == "estimator" and isinstance(value, str):
            value = _estimator(value, f"--set {key}")
        made.set_params(**{key: value})
    try:
        made._validate_params()
    except ValueError as error:  # of scikit-learn: it names the parameter and what it may be
        raise ValueError(f"--set: {error}") from error
    return made


def _literal(text: str) -> Any:
    """A value as TOML or Python write it; else the text as it is."""
    with suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(f"value = {text}")["value"]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


# ---------------------------------------------------------------------------------------------------------------- work


def _fit(model: Any, X: np.ndarray, y: np.ndarray, domains: np.ndarray) -> Any:
    from sklearn.pipeline import Pipeline

    from shallowda.core.enclosing import accepts_domains

    if not isinstance(model, Pipeline):
        return model.fit(X, y, sample_domain=domains)
    told = {f"{name}__sample_domain": domains for name, step in model.steps if accepts_domains(step, "fit")}
    return model.fit(X, y, **told)


def _targets(labels: np.ndarray, name: str, regressor: str) -> np.ndarray:
    """What is to be fitted: numbers for a regressor, else labels that are classes."""
    import numpy as np

    from shallowda.core.contract import are_classes, no_classes

    if regressor and labels.dtype.kind == "U":
        raise ValueError(f"{name} holds {str(labels[0])!r} and the like, and {regressor} predicts numbers.")
    if regressor:
        return labels.astype(np.float64)
    if not are_classes(labels):
        raise ValueError(
            f"{name}: {no_classes(labels)} Name the column of the classes by --labels; to predict numbers, name a "
            "regressor: --method KMM --set estimator=Ridge."
        )
    if len(np.unique(labels)) < 2:
        raise ValueError(f"{name}: all rows have the label {labels[0]}; at least two classes are needed.")
    return labels


def _shift(Xs: np.ndarray, ys: np.ndarray | None, Xt: np.ndarray, names: list[str] | None) -> DomainShiftReport | None:
    """The shift, where there is enough to measure it."""
    import numpy as np

    from shallowda.diagnosis import DomainShiftReport

    if min(len(Xs), len(Xt)) < 2 or not np.any(np.ptp(np.concatenate([Xs, Xt]), axis=0) > 0):
        return None
    return DomainShiftReport(Xs, ys, Xt, feature_names=names)


def _source_only(model: Any) -> Any:
    """What would predict without the target: the same scaling and base classifier, fitted on the source alone."""
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import StandardScaler

    from shallowda import OneNearestNeighbor, PerDomain
    from shallowda.core.weighting import SourceWeighting

    if not isinstance(model, Pipeline):
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    *before, last = (step for _, step in model.steps)
    scalers = [clone(step.transformer if isinstance(step, PerDomain) else step) for step in before]
    if (base := getattr(last, "estimator", None)) is None:
        # the defaults of their base classes
        base = LogisticRegression(max_iter=1000) if isinstance(last, SourceWeighting) else OneNearestNeighbor()
    return make_pipeline(*scalers, clone(base))


def _name_features(fitted: Any, names: Sequence[str]) -> None:
    """Keep the names with the model, as scikit-learn does where it is fitted on a DataFrame."""
    import numpy as np
    from sklearn.pipeline import Pipeline

    from shallowda import LabeledOnly

    first = fitted.steps[0][1] if isinstance(fitted, Pipeline) else fitted
    inner = first.estimator_ if isinstance(first, LabeledOnly) else first
    inner.feature_names_in_ = np.array(names, dtype=object)


def _about(
    described: str,
    fitted: Any,
    found: Predictions,
    shift: DomainShiftReport | None,
    alone: np.ndarray | None,
    truth: Truth | None,
) -> dict[str, Any]:
    """What is to be known beside the predictions."""
    about: dict[str, Any] = {
        "method": described,
        "confidence": found.kind,
        **found.summary(),
        "changed": None if alone is None or not len(found.classes) else float((found.labels != alone).mean()),
    }
    if truth is not None:
        about |= truth.scores(found.labels)
        about |= {
            f"{name}_source_only": None if alone is None else score
            for name, score in truth.scores(found.labels if alone is None else alone).items()
            if name != "evaluated"
        }
    if hasattr(fitted, "fallback_"):
        about["fallback"] = fitted.fallback_
        about["candidates"] = {name: column for name, column in fitted.results_.items() if name != "parameters"}
    about["shift"] = None
    if shift is not None:
        about["shift"] = {
            "found": shift.is_shifted or shift.is_aligned,
            "p_value": shift.p_value,
            "auc": shift.separability.auc,
            "source_accuracy": shift.source_accuracy,
            "advice": [advice.what for advice in shift.advice],
            "cautions": shift.cautions,
        }
    return about


# --------------------------------------------------------------------------------------------------------- for a person


def _lines(about: Mapping[str, Any]) -> list[str]:
    """The summary, a line for each thing to know."""
    from shallowda.commands.predictions import CONFIDENCE, told_scores, told_summary

    lines = [
        f"{about['method']}: {about['rows']} rows of {about['target']} predicted. {told_summary(about)}",
        f"Confidence: {CONFIDENCE[about['confidence']]}.",
    ]
    if about["changed"] is not None:
        lines.append(f"Against the source alone: {about['changed']:.1%} of the predictions differ.")
    if about.get("fallback"):
        lines.append(f"Nothing was adapted: {about['fallback']}.")
    lines += told_scores(about)
    shift = about["shift"]
    if not about["diagnosed"]:
        return lines
    if LOOKING in about["failed"]:
        return [*lines, "Shift: not measured."]
    if shift is None:
        return [*lines, "Shift: there are too few different rows to measure it."]
    size = f"p = {shift['p_value']:.2g}, AUC of a domain classifier {shift['auc']:.2f}"
    lines.append(f"Shift: {'found' if shift['found'] else 'none found'} ({size}).")
    if math.isfinite(shift["source_accuracy"]):
        lines.append(
            f"Source: a linear classifier is right on {shift['source_accuracy']:.1%} of held-out rows (mean over "
            "classes); the target has no labels to say so."
        )
    lines += [f"Caution: {caution}" for caution in shift["cautions"]]
    return lines + [f"Diagnosis: {advice}" for advice in shift["advice"][:2]]


def _say_summary(about: Mapping[str, Any], written: Mapping[str, str]) -> None:
    for line in _lines(about):
        say(line)
    for what, path in written.items():
        if path != STDOUT:
            say(f"Wrote {what}: {path}")


def _save(fitted: Any, path: Path) -> None:
    from shallowda import save

    save(fitted, path.resolve())


def _write_page(path: Path, about: Mapping[str, Any], shift: DomainShiftReport | None) -> None:
    from jinja2 import Environment, StrictUndefined

    source = files("shallowda.commands").joinpath("report.html.jinja").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(source)
    told = about.get("candidates", {})
    columns = [told.get(name, ()) for name in ("candidate", "weight", "agreement", "changed", "error")]
    page = template.render(about=about, lines=_lines(about), candidates=list(zip(*columns, strict=True)), shift=shift)
    with common.atomic(path) as scratch:
        scratch.write_text(page, encoding="utf-8")
