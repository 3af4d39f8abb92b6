"""EnvironmentFactory: names, errors that help, and a factory that can be stored and sent."""

import dataclasses
import json
import pickle

import cloudpickle
import numpy as np
import pytest

from acme_impala.environments import (
    AtariEnvironment,
    AtariOptions,
    Catch,
    EnvironmentFactory,
    GymnasiumEnvironment,
    LabOptions,
    MemoryChain,
)
from acme_impala.types import is_oar

gymnasium = pytest.importorskip("gymnasium")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("catch", Catch),
        ("memory", MemoryChain),
        ("gym:CartPole-v1", GymnasiumEnvironment),
        ("atari:pong", AtariEnvironment),
    ],
)
def test_a_name_makes_its_environment(name, kind):
    environment = EnvironmentFactory(name)(seed=0)
    assert isinstance(environment, kind)
    timestep = environment.reset()
    environment.observation_spec().validate(timestep.observation)


def test_last_action_and_reward_make_an_oar():
    environment = EnvironmentFactory("catch", last_action_and_reward=True)(seed=0)
    assert is_oar(environment.reset().observation)
    assert is_oar(environment.observation_spec())


def test_the_seed_is_the_environments():
    def starts(seed):
        environment = EnvironmentFactory("catch")(seed)
        return [int(np.argmax(environment.reset().observation[0])) for _ in range(20)]

    assert starts(1) == starts(1)
    assert starts(1) != starts(2)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must not be negative, got -3"):
        EnvironmentFactory("catch")(seed=-3)


@pytest.mark.parametrize("name", ["", "gym", "gym:", "atari:", "dmlab:", "catch:9", "Catch"])
def test_a_name_of_no_kind_is_refused_at_once(name):
    with pytest.raises(ValueError, match="no environment") as error:
        EnvironmentFactory(name)
    kinds = "gym:<Gymnasium id>", "atari:<game>", "dmlab:<level>", "catch", "memory"
    for kind in map(repr, kinds):
        assert kind in str(error.value)


def test_a_bare_gymnasium_id_is_understood_in_the_error():
    with pytest.raises(ValueError, match="Is it 'gym:CartPole-v1'"):
        EnvironmentFactory("CartPole-v1")


@pytest.mark.parametrize(
    ("env_id", "suggestions"),
    [
        ("cartpole-v1", ["Did you mean: `CartPole`", "CartPole-v1"]),
        ("CartPole-v7", ["`v0`, `v1`", "CartPole-v1"]),
        ("CartPoel", ["CartPole"]),
        ("a b", ["Malformed"]),
        ("ale/Pong-v99", ["'atari:<game>'"]),
    ],
)
def test_an_unknown_gymnasium_id_gets_close_ones(env_id, suggestions):
    with pytest.raises(ValueError, match="no environment") as error:
        EnvironmentFactory(f"gym:{env_id}")(seed=0)
    for suggestion in suggestions:
        assert suggestion in str(error.value)


def test_missing_packages_are_named():
    with pytest.raises(ImportError, match=r"'gym:not_a_module:X-v0'.*not_a_module") as error:
        EnvironmentFactory("gym:not_a_module:X-v0")(seed=0)
    assert error.value.__cause__ is not None


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_a_factory_can_be_sent_to_another_process(dumps):
    factory = EnvironmentFactory("atari:pong", True, AtariOptions(sticky_actions=True))
    assert pickle.loads(dumps(factory)) == factory


def test_a_factory_can_be_stored_as_json():
    factory = EnvironmentFactory(
        "atari:pong", atari=AtariOptions(noop_max=5), lab=LabOptions(height=36)
    )
    stored = json.loads(json.dumps(dataclasses.asdict(factory)))
    stored["atari"] = AtariOptions(**stored["atari"])
    stored["lab"] = LabOptions(**stored["lab"])
    assert EnvironmentFactory(**stored) == factory
