"""The suite's tasks, by name."""

import pytest

from acme_impala.environments import DMLAB_30, human_normalized_score
from acme_impala.environments.dmlab30 import is_held_out, level_of, needs_dataset

DIRECTORY = "contributed/dmlab30/"


def test_there_are_thirty_tasks_of_six_kinds():
    assert len(DMLAB_30) == 30
    kinds = [name.split("_")[0] for name in DMLAB_30]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "rooms": 5, "language": 4, "lasertag": 4, "natlab": 3, "skymaze": 2, "psychlab": 4,
        "explore": 8,
    }  # fmt: skip
    assert all(task.human > task.random for task in DMLAB_30.values())


def test_two_tasks_are_trained_and_tested_on_different_levels():
    split = [name for name in DMLAB_30 if level_of(name) != level_of(name, evaluation=True)]
    assert split == ["rooms_collect_good_objects", "rooms_exploit_deferred_effects"]
    for name in split:
        assert level_of(name) == f"{DIRECTORY}{name}_train"
        assert level_of(name, evaluation=True) == f"{DIRECTORY}{name}_test"
        assert not is_held_out(level_of(name))
        assert is_held_out(level_of(name, evaluation=True))
    assert not any(is_held_out(level_of(n, True)) for n in DMLAB_30 if n not in split)


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("rooms_watermaze", f"{DIRECTORY}rooms_watermaze"),
        (f"{DIRECTORY}rooms_watermaze", f"{DIRECTORY}rooms_watermaze"),
        ("rooms_collect_good_objects_test", f"{DIRECTORY}rooms_collect_good_objects_test"),
        ("lt_chasm", "lt_chasm"),
        ("tests/any_level", "tests/any_level"),
        (
            "contributed/psychlab/sequential_comparison",
            "contributed/psychlab/sequential_comparison",
        ),
    ],
)
@pytest.mark.parametrize("evaluation", [False, True])
def test_a_level_is_named_as_it_is_called(name, level, evaluation):
    assert level_of(name, evaluation) == level


def test_which_levels_need_pictures():
    needing = [name for name in DMLAB_30 if needs_dataset(level_of(name))]
    assert needing == ["psychlab_arbitrary_visuomotor_mapping", "psychlab_continuous_recognition"]


def test_scores_are_between_a_random_policys_and_a_humans():
    assert human_normalized_score("dmlab:rooms_watermaze", 54.0) == 100.0
    assert human_normalized_score("dmlab:rooms_watermaze", 4.065) == 0.0
    assert human_normalized_score("dmlab:lt_chasm", 1.0) is None
