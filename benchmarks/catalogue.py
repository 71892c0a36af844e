"""The methods of the catalogue as the benchmarks run them."""

from __future__ import annotations

from typing import Any

from shallowda import all_methods

#: What results call a method, where that is not its class.
LABELS = {"SubspaceAlignment": "SA", "TCAEstimator": "TCA"}


def methods() -> dict[str, Any]:
    """Classes of all methods that need no more than labelled source rows and unlabelled target rows, by label."""
    found = all_methods(setting="unsupervised") | all_methods(setting="pseudo-labels")
    return {LABELS.get(name, name): found[name] for name in sorted(found)}
