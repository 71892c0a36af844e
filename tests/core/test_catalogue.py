"""The catalogue: what is exported, and what cards may say."""

import numpy as np
import pytest

import shallowda
from shallowda import all_methods
from shallowda.core.catalogue import SCALINGS, SETTINGS, Card, exported_names, family_of, representatives

WORDS = {"title": "A", "paper": "B", "idea": "c", "use_when": "d", "fails_when": "e"}


def test_every_exported_method_is_there_under_its_name():
    methods = all_methods()
    assert list(methods) == sorted(methods) == exported_names()
    assert {"TCAEstimator", "JDA", "BDA", "SubspaceAlignment", "CORAL", "GFK", "ARTL", "TJM"} <= set(methods)
    for name, method in methods.items():
        assert getattr(shallowda, name) is method
        assert method.__name__ == name


def test_filters_cut_the_catalogue_into_parts():
    by_family = [all_methods(family=family) for family in {family_of(method) for method in all_methods().values()}]
    assert sum(map(len, by_family)) == len(all_methods())
    assert set(all_methods(family="spectral")) >= {"TCAEstimator", "JDA", "BDA", "TJM"}
    assert set(all_methods(setting="pseudo-labels")) >= {"JDA", "BDA", "ARTL"}
    assert not set(all_methods(setting="pseudo-labels")) & set(all_methods(setting="unsupervised"))
    assert list(all_methods(family="spectral", setting="unsupervised")) == ["TCAEstimator", "TJM"]
    for method in all_methods().values():
        assert set(method.card.settings) <= set(SETTINGS)
        assert method.card.scaling in SCALINGS


def test_unknown_filters_say_what_there_is():
    with pytest.raises(ValueError, match=r"There is no family 'linear'; there are alignment, .*spectral"):
        all_methods(family="linear")
    with pytest.raises(ValueError, match="There is no setting 'deep'; there are unsupervised, pseudo-labels"):
        all_methods(setting="deep")


def test_each_kind_of_method_has_a_representative():
    kinds = {method.kind for method in all_methods().values()}
    without = kinds - {method.kind for method in representatives().values()}
    assert not without, f"set representative=True in the card of a method of these kinds: {without}"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"settings": ("deep",)}, "A: there is no setting"),
        ({"scaling": "whitened"}, "A: there is no scaling 'whitened'"),
        ({"settings": ()}, "at least one setting"),
        ({"tests": ()}, "one set of parameters for tests"),
        ({"idea": "i" * 70}, "below 70 characters"),
    ],
)
def test_a_card_is_checked_when_it_is_written(wrong, message):
    with pytest.raises(ValueError, match=message):
        Card(**{**WORDS, "settings": ("unsupervised",), "scaling": "none", **wrong})


def test_cards_are_sentences_for_tables():
    for method in all_methods().values():
        for text in (method.card.title, method.card.paper, method.card.idea, method.card.use_when):
            assert text
            assert "|" not in text
            assert not text.endswith(".")
        assert len(method.card.idea) < 70
    assert np.unique([method.card.idea for method in all_methods().values()]).size == len(all_methods())
