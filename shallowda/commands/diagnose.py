"""``shallowda diagnose``: the shift between two files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shallowda.commands import common
from shallowda.commands.common import say, say_json

__all__ = ["diagnose"]

_FIGURES = (
    "n_source",
    "n_target",
    "n_features",
    "classes",
    "n_pair_source",
    "n_pair_target",
    "n_components",
    "variance_kept",
    "mmd",
    "p_value",
    "energy",
    "bures",
    "outside",
    "remaining",
    "top_features",
    "constant_in_one",
    "source_accuracy",
    "source_shares",
    "predicted_shares",
    "label_distance",
    "label_noise",
    "class_distances",
    "class_p_values",
    "class_specific",
    "is_shifted",
    "is_aligned",
    "is_location_scale",
    "is_covariance",
    "is_label_shift",
    "is_class_conditional",
    "is_beyond_moments",
    "has_sound_classifier",
    "cautions",
)


def diagnose(
    source: Annotated[
        str, typer.Argument(help="Rows of the source, with labels or without; - reads csv from standard input.")
    ],
    target: Annotated[
        str, typer.Argument(help="Rows of the target, with the same features. Labels in it are not used.")
    ],
    labels: common.Labels = "",
    features: common.Features = None,
    target_features: common.TargetFeatures = "",
    drop: common.Drop = None,
    impute: common.Impute = "",
    one_hot: common.OneHot = None,
    permutations: Annotated[int, typer.Option(help="Permutations of each test.", min=19)] = 200,
    seed: Annotated[int, typer.Option(help="Seed.", min=0, max=2**32 - 1)] = 0,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with figures too: .html.")] = None,
    force: common.Force = False,
    as_json: common.AsJson = False,
) -> None:
    """Say how far two domains are apart, in what, and what to try first."""
    from shallowda.commands import columns
    from shallowda.core.contract import are_classes, no_classes
    from shallowda.datasets.tables import STDIN, match_features, read_table
    from shallowda.diagnosis import DomainShiftReport

    columns.check_impute(impute)
    if html is not None:
        common.require("--html", "cli", "jinja2", "matplotlib")
    common.check_outputs({"--html": html}, [source, target], force)
    if source == target == STDIN:
        raise ValueError("Only one of SOURCE and TARGET can be read from standard input.")
    chosen = common.once("--features", features)
    asked: dict[str, Any] = {"missing": bool(impute)}
    known = read_table(source, labels=labels, features=chosen, drop=drop or (), part="src", text=one_hot or (), **asked)
    width = known.X.shape[1]
    new = common.read_target(target, source, known, chosen, target_features, drop, labels=None, **asked)
    new = new._replace(X=match_features(new, known.names, width, target, "the source"))
    known, new, _ = columns.encode(known, new, impute, one_hot or ())
    ys = known.y
    if ys is None:
        say("Note: there are no labels (--labels), so nothing is said of classes.")
    elif not are_classes(ys):
        say(f"Note: {known.labels or labels} is not looked at: {no_classes(ys)}")
        ys = None
    with common.working("Measuring the shift"):
        report = DomainShiftReport(
            known.X, ys, new.X, feature_names=known.names, n_permutations=permutations, random_state=seed
        )
    written, failed = common.write_all({} if html is None else {"page": (html, lambda: _save(report, html))})
    if as_json:
        say_json(_figures(report) | {"written": written, "failed": failed})
    else:
        common.put(str(report))
        for path in written.values():
            say(f"Wrote page: {path}")
    common.end(failed)


def _save(report: Any, path: Path) -> None:
    with common.atomic(path) as scratch:
        report.save(scratch)


def _figures(report: Any) -> dict[str, Any]:
    """What the report has measured, and its advice."""
    shift = report.features
    return {name: getattr(report, name) for name in _FIGURES} | {
        "separability": report.separability._asdict(),
        "label_shift": None if report.label_shift is None else report.label_shift._asdict(),
        "features": [
            {"name": name} | {key: float(column[i]) for key, column in shift._asdict().items()}
            for i, name in enumerate(report.feature_names)
        ],
        "advice": [advice._asdict() for advice in report.advice],
    }
