"""The loop over pseudo-labels: when it ends, and which pass is kept."""

import numpy as np
import pytest

from shallowda.core.pseudo_labels import Pass, settle

A, B, C = np.array([0, 0]), np.array([0, 1]), np.array([1, 1])


def path(labels, objectives=None):
    """A step that goes through these labels, whatever it is given; and the inputs that it saw."""
    seen = []

    def step(pseudo):
        seen.append(None if pseudo is None else pseudo.tolist())
        number = min(len(seen), len(labels)) - 1
        objective = float(number) if objectives is None else objectives[number]
        return Pass(objective, labels[number], {"number": number}, number)

    return step, seen


def test_ends_when_labels_repeat():
    step, seen = path([A, B, B])
    last, history = settle(step, None, 10)
    assert seen == [None, [0, 0], [0, 1]]
    assert last.result == 2
    assert history == {
        "objective": [0.0, 1.0, 2.0],
        "label_changes": [2, 1, 0],
        "number": [0, 1, 2],
        "stopped": "settled",
        "kept": 2,
    }


def test_ends_after_the_passes_allowed():
    last, history = settle(path([A, B, C, A])[0], None, 2)
    assert (last.result, history["stopped"], history["kept"]) == (1, "max_iter", 1)


def test_a_cycle_keeps_its_pass_of_smallest_objective():
    def step(pseudo):
        after = {None: A, (0, 0): B, (0, 1): C, (1, 1): A}[None if pseudo is None else tuple(pseudo.tolist())]
        objective = {None: 0.0, (0, 0): 5.0, (0, 1): 1.0, (1, 1): 3.0}[
            None if pseudo is None else tuple(pseudo.tolist())
        ]
        return Pass(objective, after, {}, "from " + str(None if pseudo is None else pseudo.tolist()))

    last, history = settle(step, None, 10)
    assert history["stopped"] == "cycle"
    assert history["kept"] == 2  # the first pass is no part of the cycle, however small its objective
    assert last.result == "from [0, 1]"
    assert last.objective == history["objective"][2]


def test_first_labels_are_where_it_begins():
    step, seen = path([A, A])
    settle(step, C, 10)
    assert seen[0] == [1, 1]


@pytest.mark.parametrize("allowed", [1, 3, 10])
def test_the_pass_that_is_kept_is_a_full_one(allowed):
    """Quick passes find labels; what is returned, and what counts as settled, is of the full step."""
    labels = [A, B, B]

    def pass_of(kind):
        def step(pseudo):
            number = next((i for i, seen in enumerate([None, A, B]) if np.array_equal(seen, pseudo)), 2)
            return Pass(float(number), labels[number], {}, kind)

        return step

    last, history = settle(pass_of("quick"), None, allowed, polish=pass_of("full"))
    assert last.result == "full"
    assert len(history["objective"]) == min(allowed, 3)


def test_labels_that_only_a_quick_pass_repeats_have_not_settled():
    def quick(pseudo):
        return Pass(0.0, A, {}, "quick")

    def full(pseudo):
        return Pass(0.0, C, {}, "full")

    last, history = settle(quick, A, 10, polish=full)
    assert (last.result, last.labels.tolist(), history["stopped"]) == ("full", [1, 1], "settled")


def test_a_cycle_through_the_last_pass_keeps_it():
    step, seen = path([A, B, A], [5.0, 3.0, 1.0])
    last, history = settle(step, None, 20)
    assert history["stopped"] == "cycle"
    assert len(seen) == 3
    np.testing.assert_array_equal(last.labels, A)
