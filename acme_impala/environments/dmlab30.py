"""The 30 tasks of DMLab-30: their levels, and what a random policy and a human score in them."""

from typing import NamedTuple

_DIRECTORY = "contributed/dmlab30/"


class LabTask(NamedTuple):
    """A task: mean scores of whole episodes, and whether it is tested on a level of its own.

    The scores are those of the test level.
    """

    random: float
    human: float
    has_test_level: bool = False  # '<task>_train' and '<task>_test' then, else only '<task>'.


# By the name that `LabEnvironment` takes; the numbers are those of the paper's public source,
# deepmind/scalable_agent, dmlab30.py.
DMLAB_30 = {
    "rooms_collect_good_objects": LabTask(0.073, 10.0, has_test_level=True),
    "rooms_exploit_deferred_effects": LabTask(8.501, 85.65, has_test_level=True),
    "rooms_select_nonmatching_object": LabTask(0.312, 65.9),
    "rooms_watermaze": LabTask(4.065, 54.0),
    "rooms_keys_doors_puzzle": LabTask(4.135, 53.8),
    "language_select_described_object": LabTask(-0.07, 389.5),
    "language_select_located_object": LabTask(1.929, 280.7),
    "language_execute_random_task": LabTask(-5.913, 254.05),
    "language_answer_quantitative_question": LabTask(-0.33, 184.5),
    "lasertag_one_opponent_small": LabTask(-0.224, 12.65),
    "lasertag_three_opponents_small": LabTask(-0.214, 18.55),
    "lasertag_one_opponent_large": LabTask(-0.083, 18.6),
    "lasertag_three_opponents_large": LabTask(-0.102, 31.5),
    "natlab_fixed_large_map": LabTask(2.173, 36.9),
    "natlab_varying_map_regrowth": LabTask(2.989, 24.45),
    "natlab_varying_map_randomized": LabTask(7.346, 42.35),
    "skymaze_irreversible_path_hard": LabTask(0.1, 100.0),
    "skymaze_irreversible_path_varied": LabTask(14.4, 100.0),
    "psychlab_arbitrary_visuomotor_mapping": LabTask(0.163, 58.75),
    "psychlab_continuous_recognition": LabTask(0.224, 58.3),
    "psychlab_sequential_comparison": LabTask(0.129, 39.5),
    "psychlab_visual_search": LabTask(0.085, 78.5),
    "explore_object_locations_small": LabTask(3.575, 74.45),
    "explore_object_locations_large": LabTask(4.673, 65.65),
    "explore_obstructed_goals_small": LabTask(6.76, 206.0),
    "explore_obstructed_goals_large": LabTask(2.61, 119.5),
    "explore_goal_locations_small": LabTask(7.66, 267.5),
    "explore_goal_locations_large": LabTask(3.14, 194.5),
    "explore_object_rewards_few": LabTask(2.073, 77.7),
    "explore_object_rewards_many": LabTask(2.438, 106.7),
}
# Their pictures are a data set that is not part of DeepMind Lab.
_NEED_DATASET = ("psychlab_arbitrary_visuomotor_mapping", "psychlab_continuous_recognition")


def level_of(name: str, evaluation: bool = False) -> str:
    """Returns a level's full name.

    Args:
        name: a task's, with or without 'contributed/dmlab30/'; one of its two levels'; or any other
            level's, which is returned as it is.
        evaluation: of a task that has one, the test level instead of the one to train on.
    """
    short = name.removeprefix(_DIRECTORY)
    task = DMLAB_30.get(short)
    if task:
        ending = ("_test" if evaluation else "_train") if task.has_test_level else ""
        return f"{_DIRECTORY}{short}{ending}"
    if DMLAB_30.get(short.removesuffix("_train").removesuffix("_test"), LabTask(0, 0))[2]:
        return f"{_DIRECTORY}{short}"
    return name


def needs_dataset(level: str) -> bool:
    """Whether a level shows pictures of a data set that has to be there; by its full name."""
    return level.removeprefix(_DIRECTORY) in _NEED_DATASET


def is_held_out(level: str) -> bool:
    """Whether a level is only for tests, and DeepMind Lab wants to be told that this is one."""
    return level.endswith("_test")
