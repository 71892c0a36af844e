"""The catalogue of methods: what is exported from ``shallowda.methods``, and what each class says of itself.

There is no list to add a method to. A method is in the catalogue because ``shallowda/__init__.pyi`` exports it, and
whatever needs to know the methods asks here: the contract tests, the types that `shallowda.load` trusts, the command
line, the benchmark, the demonstration and the tables of the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import shallowda

__all__ = ["SCALINGS", "SETTINGS", "Card", "all_methods", "exported_names", "family_of", "representatives"]

#: What a method can be given beyond labelled source rows and unlabelled target rows, or does with them.
SETTINGS = {
    "unsupervised": "adapts without any class label; labels serve the base classifier",
    "pseudo-labels": "adapts by the source's labels and by its own labels of the target",
    "few target labels": 'can use the labels of some target rows, with `target_labels="use"`',
    "several sources": "treats several source domains as such, instead of pooling them",
    "text": "takes sparse counts or TF-IDF",
}

#: Scaling of the rows that a method's parameters are meant for, as the command line names it.
SCALINGS = {
    "unit-rows": "`Normalizer()`: rows of unit norm",
    "standard": "`StandardScaler()`: z-scores over both domains together",
    "per-domain": "`PerDomain(StandardScaler())`: z-scores in each domain by itself",
    "none": "rows as they are",
}


@dataclass(frozen=True)
class Card:
    """What others need to know of a method; its class has one as ``card``.

    Parameters
    ----------
    title : str
        The method's name in words.
    paper : str
        Authors, venue and year, short.
    idea : str
        What it does, in a few words that begin with a verb or a method that it extends.
    use_when, fails_when : str
        When to try it, and where it goes wrong, in a few words.
    settings : tuple of str
        Keys of `SETTINGS`.
    scaling : str
        Key of `SCALINGS`.
    tests : tuple of dict
        Parameters that the contract suite fits the method with: 90 rows of unit norm, 8 features, 3 classes. The first
        one is used for most tests and should be fast; add one for each other way through the code.
    representative : bool, default=False
        Whether tests that are run for each kind of method only (processes, threads, budgets, files, devices) run on it.
    aligns_means : bool, default=True
        Whether the method makes up for domain means that have moved: the contract suite then asks it to be better than
        the source alone where they have.
    """

    title: str
    paper: str
    idea: str
    use_when: str
    fails_when: str
    settings: tuple[str, ...]
    scaling: str
    tests: tuple[Mapping[str, Any], ...] = field(default=({},))
    representative: bool = False
    aligns_means: bool = True

    def __post_init__(self) -> None:
        if unknown := set(self.settings) - set(SETTINGS):
            raise ValueError(f"{self.title}: there is no setting {sorted(unknown)}; there are {', '.join(SETTINGS)}.")
        if self.scaling not in SCALINGS:
            raise ValueError(f"{self.title}: there is no scaling {self.scaling!r}; there are {', '.join(SCALINGS)}.")
        if len(self.idea) > 69:
            raise ValueError(f"{self.title}: idea is for a column of a table; keep it below 70 characters.")
        if not self.settings or not self.tests:
            raise ValueError(f"{self.title}: a card names at least one setting and one set of parameters for tests.")


def exported_names() -> list[str]:
    """Names of all methods, without importing any of them (a class begins with a capital, a function does not).

    Returns
    -------
    names : list of str
        Sorted.
    """
    within = f"{shallowda.__name__}.methods."
    return sorted(name for name, module in shallowda.EXPORTS.items() if module.startswith(within) and name[0].isupper())


def all_methods(*, family: str | None = None, setting: str | None = None) -> dict[str, Any]:
    """Every method of this package, by name.

    Parameters
    ----------
    family : str, optional
        Only those of one family, such as "spectral" or "classifiers": the folder that their files lie in.
    setting : str, optional
        Only those for one setting: "unsupervised", "pseudo-labels", "few target labels", "several sources" or "text".

    Returns
    -------
    methods : dict of str to class
        Sorted by name. ``methods["CORAL"].card`` says what the method is, when it helps and when it does not.

    Raises
    ------
    ValueError
        If there is no such family or setting.

    Examples
    --------
    >>> from shallowda import all_methods
    >>> "GFK" in all_methods(family="subspace")
    True
    >>> all_methods()["CORAL"].card.scaling
    'per-domain'
    """
    methods = {name: getattr(shallowda, name) for name in exported_names()}
    for name, method in methods.items():
        if "card" not in vars(method):
            raise TypeError(f"{name} is exported as a method without a card of its own: give its class a `card`.")
    families = {family_of(method) for method in methods.values()}
    if family is not None and family not in families:
        raise ValueError(f"There is no family {family!r}; there are {', '.join(sorted(families))}.")
    if setting is not None and setting not in SETTINGS:
        raise ValueError(f"There is no setting {setting!r}; there are {', '.join(SETTINGS)}.")
    return {
        name: method
        for name, method in methods.items()
        if family in (None, family_of(method)) and (setting is None or setting in method.card.settings)
    }


def family_of(method: type) -> str:
    """Folder of ``shallowda.methods`` that a method lies in.

    Parameters
    ----------
    method : class

    Returns
    -------
    family : str
    """
    return method.__module__.split(".")[2]


def representatives() -> dict[str, Any]:
    """The methods that tests for each kind of method run on, by name.

    Returns
    -------
    methods : dict of str to class
    """
    return {name: method for name, method in all_methods().items() if method.card.representative}
