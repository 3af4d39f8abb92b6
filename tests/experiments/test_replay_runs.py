"""Runs with a replay table: every frame is accounted for, and the table is there again after."""

import dataclasses

import pytest

from acme_impala import run_experiment
from acme_impala.experiments import checkpointing, launch
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.replay_config import ReplayConfig

from . import runs
from .runs import catch_config, column


def replaying(config, **fields):
    return dataclasses.replace(
        config, agent=dataclasses.replace(config.agent, replay=ReplayConfig(**fields))
    )


def assert_balanced(directory):
    frames = runs.assert_balanced(directory)
    assert frames["dropped_unconfirmed"] == frames["dropped_learner_died"] == 0
    return frames


@pytest.mark.parametrize("how", ["one process", "threads"])
def test_frames_balance_and_half_of_an_odd_batch_is_replayed(how, tmp_path):
    config = replaying(catch_config(tmp_path / "run"), fraction=0.5, min_size=20)
    agent = dataclasses.replace(config.agent, batch_size=5, max_policy_lag=30)
    config = dataclasses.replace(config, agent=agent)
    directory = RunDirectory(config.workdir)
    run_experiment(config) if how == "one process" else launch(config, launch_type="local_mt")
    frames = assert_balanced(directory)
    assert frames["learned_fresh"] >= 1500
    assert frames["dropped_filling"] > 0
    unrolls = column(directory, "learner", "unrolls")[-1]
    unrolls += column(directory, "learner", "unrolls_dropped_lag")[-1]
    replayed = column(directory, "learner", "unrolls_replayed")[-1]
    assert abs(unrolls - replayed) <= 1
    assert column(directory, "replay", "replay_size")[-1] > 20
    assert column(directory, "learner", "times_sampled_mean")[-1] >= 1
    assert column(directory, "learner", "replayed_age_steps_mean")[-1] > 0


def test_a_checkpoint_without_its_whole_replay_is_passed_over(tmp_path):
    config = replaying(catch_config(tmp_path), fraction=0.5)
    run_experiment(config)
    directory = RunDirectory(config.workdir)
    last = checkpointing.newest_whole(directory.checkpoints)
    assert last.replay
    (chunks,) = directory.replay.glob("*/chunks.tfrecord")
    chunks.write_bytes(chunks.read_bytes()[:-7])
    with pytest.raises(ValueError, match="broken"):
        checkpointing.newest_whole(directory.checkpoints)


def test_without_replay_nothing_of_it_is_made(tmp_path):
    config = catch_config(tmp_path)
    run_experiment(config)
    directory = RunDirectory(config.workdir)
    assert assert_balanced(directory)["learned_replayed"] == 0
    assert not list(directory.replay.glob("*/*"))
    assert not checkpointing.newest_whole(directory.checkpoints).replay
