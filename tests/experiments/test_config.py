"""ExperimentConfig: what it refuses, and what is stored of it."""

import dataclasses
import functools
import json
import math
import pickle

import numpy as np
import pytest

from acme_impala import Adam, ExperimentConfig, IMPALAConfig, LinearSchedule
from acme_impala.environments import AtariOptions, EnvironmentFactory
from acme_impala.networks import NetworkConfig


def make_config(**changes):
    fields = {
        "environment_factory": EnvironmentFactory("catch"),
        "network_factory": NetworkConfig(hidden_sizes=(16,)),
        "workdir": "runs/somewhere",
        "num_frames": 1000,
    }
    return ExperimentConfig(**{**fields, **changes})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_frames", 0),
        ("num_frames", -5),
        ("num_frames", 1e6),
        ("num_frames", True),
        ("evaluation_episodes", 0),
        ("checkpoints_to_keep", 0),
        ("evaluate_every", 0),
        ("evaluate_every", 2.5),
        ("weights_max_age", -1.0),
        ("weights_max_age", math.nan),
        ("weights_max_age", "1"),
        ("checkpoint_seconds", 0.0),
        ("checkpoint_seconds", -1.0),
        ("checkpoint_seconds", math.nan),
        ("checkpoint_seconds", "1"),
        ("target_return", math.nan),
        ("target_return", "475"),
        ("seed", -1),
        ("seed", 0.5),
        ("seed", True),
        ("workdir", ""),
    ],
)
def test_an_impossible_value_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        make_config(**{name: value})


def test_without_a_period_there_are_twenty_evaluations():
    assert make_config(num_frames=100_000).evaluation_period == 5000
    assert make_config(num_frames=3).evaluation_period == 1000  # Fewer, or they take all the time.
    assert make_config(evaluate_every=7).evaluation_period == 7


def test_what_is_stored_survives_json():
    config = make_config(
        environment_factory=EnvironmentFactory("atari:pong", atari=AtariOptions(noop_max=7)),
        agent=IMPALAConfig(
            learning_rate=LinearSchedule(1e-3, 0.0, 1000),
            optimizer=Adam(beta1=0.5),
            clip_rho_threshold=None,
            clip_c_threshold=None,
        ),
        target_return=475.0,
    )
    fields = config.to_json()
    assert json.loads(json.dumps(fields)) == fields
    assert fields["agent"]["learning_rate"] == {
        "type": "LinearSchedule",
        "initial": 1e-3,
        "final": 0.0,
        "frames": 1000,
    }
    assert fields["agent"]["optimizer"]["type"] == "Adam"
    assert fields["environment_factory"]["atari"]["noop_max"] == 7
    network = {name: v for name, v in fields["network_factory"].items() if name != "type"}
    assert NetworkConfig(**json.loads(json.dumps(network))) == config.network_factory


def test_numbers_of_numpy_are_stored_as_numbers():
    """Two that differ must not look the same, nor two that are the same different."""
    agent = IMPALAConfig(unroll_length=np.int64(7), discount=np.float32(0.5))
    numpys = make_config(num_frames=np.int64(1000), agent=agent, seed=np.int32(3))
    fields = numpys.to_json()
    agent = IMPALAConfig(unroll_length=7, discount=0.5)
    assert fields == make_config(agent=agent, seed=3).to_json()
    assert json.loads(json.dumps(fields)) == fields


def test_every_field_but_the_workdir_is_stored():
    names = {field.name for field in dataclasses.fields(ExperimentConfig)} - {"workdir"}
    assert set(make_config().to_json()) == {*names, "type"}
    assert make_config(workdir="a").to_json() == make_config(workdir="b").to_json()


def test_a_function_is_stored_by_its_name():
    def my_environment(seed, evaluation):
        del seed, evaluation

    stored = make_config(environment_factory=my_environment).to_json()["environment_factory"]
    assert stored.endswith(".my_environment")


def test_a_partial_function_is_stored_with_its_arguments():
    def my_environment(seed, evaluation, level):
        del seed, evaluation, level

    stored = [
        make_config(environment_factory=functools.partial(my_environment, level=level)).to_json()
        for level in (1, 1, 2)
    ]
    assert stored[0] == stored[1] != stored[2]
    assert json.loads(json.dumps(stored[0])) == stored[0]


def test_it_goes_to_another_process():
    config = make_config()
    assert pickle.loads(pickle.dumps(config)) == config
