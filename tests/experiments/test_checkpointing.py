"""Checkpoints: restored bit for bit, and a broken one passed over."""

import dataclasses
import itertools
import logging as python_logging
import os
import shutil

import acme
import numpy as np
import pytest
import tensorflow as tf
from acme.utils import loggers

from acme_impala import IMPALAConfig, IMPALALearner, LinearSchedule, networks, types
from acme_impala.environments import Catch
from acme_impala.experiments import checkpointing

SPEC = acme.make_environment_spec(Catch())
NETWORK = networks.NetworkConfig(hidden_sizes=(8,))
CONFIG = IMPALAConfig(
    unroll_length=3, batch_size=2, learning_rate=LinearSchedule(1e-2, 0.0, 1000), frames_per_step=4
)
COUNTS = {"actor_steps": 120, "actor_frames": 480, "learner_walltime": 1.5}


def batches(seed=0):
    """Batches of random unrolls of Catch's shapes, for ever."""
    rng = np.random.default_rng(seed)
    rows = (CONFIG.unroll_length + 1, CONFIG.batch_size)
    while True:
        yield types.Unroll(
            observation=tf.constant(rng.random((*rows, 10, 5)), tf.float32),
            action=tf.constant(rng.integers(3, size=rows), tf.int32),
            behaviour_logits=tf.constant(rng.normal(size=(*rows, 3)), tf.float32),
            reward=tf.constant(rng.normal(size=rows), tf.float32),
            discount=tf.ones(rows),
            start_of_episode=tf.zeros(rows, tf.bool),
            initial_state=(),
            policy_version=tf.zeros(CONFIG.batch_size, tf.int64),
        )


def make_learner(seed=0):
    network = networks.make_network(SPEC, NETWORK)
    return IMPALALearner(network, batches(seed), CONFIG, logger=loggers.NoOpLogger())


def take_steps(learner, number):
    for _ in range(number):
        learner.step()


def assert_same_state(learner, saved):
    assert saved.network
    assert saved.optimizer
    for now, before in zip(learner.save(), saved, strict=True):
        assert len(now) == len(before)
        for array, other in zip(now, before, strict=True):
            assert array.dtype == other.dtype
            assert array.tobytes() == other.tobytes()


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A directory with checkpoints of steps 2, 4 and 6, and the states that were saved."""
    directory = tmp_path_factory.mktemp("three")
    learner = make_learner()
    checkpointer = checkpointing.Checkpointer(directory, learner, max_to_keep=3)
    states = {}
    for _ in range(3):
        take_steps(learner, 2)
        checkpointer.save({**COUNTS, "actor_episodes": learner.steps})
        states[learner.steps] = learner.save()
    assert list(states) == [2, 4, 6]
    return directory, states


@pytest.fixture
def copy(three, tmp_path):
    directory = tmp_path / "checkpoints"
    shutil.copytree(three[0], directory)
    return directory


def data_of(directory, step):
    return directory / f"checkpoint-{step}.data-00000-of-00001"


def index_of(directory, step):
    return directory / f"checkpoint-{step}.index"


def found_step(directory):
    found = checkpointing.newest_whole(directory)
    assert found.path == str(directory / f"checkpoint-{int(found.counts['learner_steps'])}")
    return int(found.counts["learner_steps"])


def test_a_restored_learner_is_bit_equal_to_the_one_saved(three):
    directory, states = three
    found = checkpointing.newest_whole(directory)
    learner = make_learner(seed=1)
    take_steps(learner, 1)  # What it learned before is gone.
    checkpointing.Checkpointer(directory, learner, 3).restore(found.path)
    assert_same_state(learner, states[6])
    # What actors get is the restored policy.
    policy, version = learner.get_variables(["policy", "policy_version"])
    assert version == [6]
    for array, other in zip(policy, states[6].network, strict=True):
        assert array.tobytes() == other.tobytes()


def test_a_restored_learner_goes_on_as_if_it_had_never_stopped(tmp_path):
    uninterrupted = make_learner()
    take_steps(uninterrupted, 5)

    first = make_learner()
    take_steps(first, 3)
    checkpointing.Checkpointer(tmp_path, first, 3).save(COUNTS)
    second = make_learner()
    second._dataset = itertools.islice(second._dataset, 3, None)
    checkpointing.Checkpointer(tmp_path, second, 3).restore(
        checkpointing.newest_whole(tmp_path).path
    )
    take_steps(second, 2)
    assert_same_state(second, uninterrupted.save())


def test_the_counts_are_the_learners_where_it_has_its_own(three):
    found = checkpointing.newest_whole(three[0])
    assert found.counts == {
        **COUNTS,
        "actor_episodes": 6,
        "learner_steps": 6,
        "learner_frames": 6 * CONFIG.batch_size * CONFIG.unroll_length * CONFIG.frames_per_step,
    }


def test_the_newest_is_the_one_of_the_most_steps_and_not_of_the_last_letter(tmp_path):
    learner = make_learner()
    checkpointer = checkpointing.Checkpointer(tmp_path, learner, 5)
    for steps in (9, 1):
        take_steps(learner, steps)
        checkpointer.save({})
    assert found_step(tmp_path) == 10


@pytest.mark.parametrize("max_to_keep", [1, 2])
def test_older_ones_are_deleted(tmp_path, max_to_keep):
    learner = make_learner()
    checkpointer = checkpointing.Checkpointer(tmp_path, learner, max_to_keep)
    for _ in range(4):
        take_steps(learner, 1)
        checkpointer.save({})
    kept = sorted(path.name for path in tmp_path.glob("*.index"))
    assert kept == [f"checkpoint-{step}.index" for step in (1, 2, 3, 4)[-max_to_keep:]]


def test_older_ones_of_before_a_restart_are_deleted_too(copy):
    learner = make_learner()
    checkpointer = checkpointing.Checkpointer(copy, learner, 2)
    checkpointer.restore(checkpointing.newest_whole(copy).path)
    take_steps(learner, 1)
    checkpointer.save({})
    assert sorted(path.name for path in copy.glob("*.index")) == [
        "checkpoint-6.index",
        "checkpoint-7.index",
    ]


def test_saving_the_same_step_again_does_not_touch_what_is_there(tmp_path):
    learner = make_learner()
    checkpointer = checkpointing.Checkpointer(tmp_path, learner, 3)
    take_steps(learner, 1)
    checkpointer.save({"actor_steps": 1})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    checkpointer.save({"actor_steps": 2})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert found_step(tmp_path) == 1


def test_nor_does_saving_right_after_restoring(copy):
    learner = make_learner()
    checkpointer = checkpointing.Checkpointer(copy, learner, 3)
    checkpointer.restore(checkpointing.newest_whole(copy).path)
    before = {path: path.stat().st_mtime_ns for path in copy.iterdir()}
    checkpointer.save({})
    assert {path: path.stat().st_mtime_ns for path in copy.iterdir()} == before


def test_a_learner_that_has_not_learned_can_be_saved(tmp_path):
    learner = make_learner()
    checkpointing.Checkpointer(tmp_path, learner, 3).save({})
    assert found_step(tmp_path) == 0


def test_there_is_none_in_an_empty_directory(tmp_path):
    assert checkpointing.newest_whole(tmp_path) is None
    assert checkpointing.newest_whole(tmp_path / "not made yet") is None


@pytest.fixture
def warnings(caplog):
    """Collects what is logged by absl, whose logger hands nothing on to pytest's."""
    logger = python_logging.getLogger("absl")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


# Of the length that the file has: from nothing to all but the last byte.
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.7, 0.99, -1])
@pytest.mark.parametrize("file_of", [data_of, index_of])
def test_one_that_was_cut_short_is_passed_over_with_a_warning(copy, file_of, part, warnings):
    path = file_of(copy, 6)
    size = path.stat().st_size
    os.truncate(path, size - 1 if part == -1 else int(part * size))
    assert found_step(copy) == 4
    assert f"{copy}/checkpoint-6 is broken and passed over" in warnings.text


def test_a_whole_one_causes_no_warning(copy, warnings):
    assert found_step(copy) == 6
    assert "broken" not in warnings.text


@pytest.mark.parametrize("offset", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("file_of", [data_of, index_of])
def test_a_flipped_bit_is_noticed(copy, file_of, offset):
    """Every tensor has a checksum; what lies between them may be anything."""
    path = file_of(copy, 6)
    content = bytearray(path.read_bytes())
    content[int(offset * len(content))] ^= 1
    path.write_bytes(content)
    assert found_step(copy) == 4


@pytest.mark.parametrize("file_of", [data_of, index_of])
def test_one_of_which_a_file_is_gone_is_passed_over(copy, file_of):
    file_of(copy, 6).unlink()
    assert found_step(copy) == 4


def test_two_broken_ones_are_passed_over(copy):
    os.truncate(data_of(copy, 6), 10)
    os.truncate(index_of(copy, 4), 10)
    assert found_step(copy) == 2


def test_when_all_are_broken_it_says_so(copy):
    for step in (2, 4, 6):
        os.truncate(data_of(copy, step), 10)
    with pytest.raises(ValueError, match=r"All 3 checkpoints in .* are broken"):
        checkpointing.newest_whole(copy)


def test_one_that_a_run_deletes_as_it_is_read_is_not_broken(tmp_path, monkeypatch, warnings):
    learner = make_learner()
    checkpointer = checkpointing.Checkpointer(tmp_path, learner, max_to_keep=1)
    checkpointer.save({})
    load = tf.train.load_checkpoint

    def load_too_late(path):
        if learner.steps < 3:  # The run that goes on has made another in the meantime.
            take_steps(learner, 1)
            checkpointer.save({})
        return load(path)

    monkeypatch.setattr(tf.train, "load_checkpoint", load_too_late)
    assert found_step(tmp_path) == 3
    assert "broken" not in warnings.text


@pytest.mark.parametrize("content", ["", 'model_checkpoint_path: "check'])
def test_tensorflows_own_list_of_checkpoints_may_be_broken(copy, content):
    (copy / "checkpoint").write_text(content)
    learner = make_learner()
    checkpointer = checkpointing.Checkpointer(copy, learner, 3)
    checkpointer.restore(checkpointing.newest_whole(copy).path)
    take_steps(learner, 1)
    checkpointer.save({})
    assert found_step(copy) == 7


def test_what_a_killed_save_leaves_behind_does_no_harm(copy):
    """TensorFlow writes into a directory beside and moves the files out of it."""
    temporary = copy / "checkpoint-8_temp"
    temporary.mkdir()
    shutil.copy(data_of(copy, 6), temporary / "part-00000-of-00001.data-00000-of-00001")
    shutil.copy(index_of(copy, 6), temporary / "part-00000-of-00001.index")
    shutil.copy(data_of(copy, 6), data_of(copy, 7))  # Moved; the index had not been yet.
    shutil.copy(index_of(copy, 6), copy / "checkpoint-7.index.tempstate123")
    assert found_step(copy) == 6

    learner = make_learner()
    checkpointer = checkpointing.Checkpointer(copy, learner, 3)
    checkpointer.restore(checkpointing.newest_whole(copy).path)
    for step in (7, 8):
        take_steps(learner, 1)
        checkpointer.save({})
        assert found_step(copy) == step


def test_training_goes_on_over_a_broken_one(copy):
    """From the one before, whose next save may have the number of the broken one."""
    os.truncate(data_of(copy, 6), 10)
    learner = make_learner()
    checkpointer = checkpointing.Checkpointer(copy, learner, 3)
    checkpointer.restore(checkpointing.newest_whole(copy).path)
    take_steps(learner, 2)
    saved = learner.save()
    checkpointer.save({})
    again = make_learner(seed=5)
    found = checkpointing.newest_whole(copy)
    checkpointing.Checkpointer(copy, again, 3).restore(found.path)
    assert found.counts["learner_steps"] == 6
    assert_same_state(again, saved)


def test_the_weights_alone_can_be_loaded(three):
    directory, states = three
    network = networks.make_network(SPEC, dataclasses.replace(NETWORK, seed=9))
    checkpointing.restore_network(checkpointing.newest_whole(directory).path, network)
    for variable, array in zip(network.variables, states[6].network, strict=True):
        assert variable.numpy().tobytes() == array.tobytes()


def test_another_networks_checkpoint_is_no_silent_mistake(three):
    network = networks.make_network(SPEC, networks.NetworkConfig(hidden_sizes=(9,)))
    learner = IMPALALearner(network, batches(), CONFIG, logger=loggers.NoOpLogger())
    with pytest.raises((ValueError, AssertionError)):
        checkpointing.Checkpointer(three[0], learner, 3).restore(
            checkpointing.newest_whole(three[0]).path
        )


def test_nor_is_it_for_an_evaluation(three):
    network = networks.make_network(SPEC, networks.NetworkConfig(hidden_sizes=(8, 8)))
    with pytest.raises((ValueError, AssertionError)):
        checkpointing.restore_network(checkpointing.newest_whole(three[0]).path, network)
