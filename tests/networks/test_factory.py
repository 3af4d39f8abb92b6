import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from acme_impala.networks import NetworkConfig, make_network

from .examples import IMAGE, VECTOR, environment_spec

SCRIPT = """
import hashlib, sys
import numpy as np, tensorflow as tf
from acme.specs import EnvironmentSpec
from dm_env import specs
from acme_impala.networks import NetworkConfig, make_network

tf.random.set_seed(int(sys.argv[1])); np.random.seed(int(sys.argv[1]))
image = specs.Array((36, 36, 2), np.uint8)
spec = EnvironmentSpec(image, specs.DiscreteArray(3), None, None)
network = make_network(spec, NetworkConfig(torso="deep", core="lstm", seed=5))
print(hashlib.sha256(b"".join(v.numpy().tobytes() for v in network.variables)).hexdigest())
"""


@pytest.mark.parametrize("torso", ["mlp", "shallow", "deep", "atari"])
def test_the_seed_and_nothing_else_decides_the_initial_weights(torso):
    spec = environment_spec(IMAGE)
    config = NetworkConfig(torso=torso, core="lstm")
    first = make_network(spec, dataclasses.replace(config, seed=3)).variables
    tf.random.set_seed(11)
    again = make_network(spec, dataclasses.replace(config, seed=3)).variables
    other = make_network(spec, dataclasses.replace(config, seed=4)).variables
    for x, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(x, same)
        # Biases start from zero, whatever the seed.
        assert "bias" in x.name or not np.array_equal(x, different)


def test_the_initial_weights_are_the_same_in_every_process():
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, seed], check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]


def test_every_variable_exists_once_the_network_is_made():
    network = make_network(environment_spec(IMAGE), NetworkConfig(torso="atari", core="lstm"))
    before = [v.ref() for v in network.variables]
    image = tf.zeros([2, 1, 36, 36, 2], tf.uint8)
    network.unroll(image, network.initial_state(1), tf.zeros([2, 1], tf.bool))
    assert [v.ref() for v in network.variables] == before
    assert len(before) == 4 * 2 + 3 + 2 * 2


def test_a_config_survives_json():
    config = NetworkConfig(torso="deep", hidden_sizes=(3, 4), core="lstm", lstm_size=7)
    assert NetworkConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"torso": "resnet"}, "torso must be one of mlp, shallow, deep, atari, got 'resnet'"),
        ({"core": "gru"}, "core must be one of feedforward, lstm, got 'gru'"),
        ({"hidden_sizes": (64, 0)}, r"hidden_sizes must .*got \(64, 0\)"),
        ({"lstm_size": 2.5}, "lstm_size must .*got 2.5"),
    ],
)
def test_an_impossible_config_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**fields)


def test_an_action_space_that_no_policy_can_act_by_is_refused():
    spec = environment_spec(VECTOR)._replace(actions=None)
    with pytest.raises(ValueError, match="has no action space"):
        make_network(spec, NetworkConfig())


@pytest.mark.parametrize(
    ("observations", "torso", "message"),
    [
        (VECTOR, "shallow", "ShallowTorso needs an image, an observation of shape"),
        (IMAGE.replace(shape=(35, 36, 1)), "atari", "at least 36x36, .* is 35x36"),
    ],
)
def test_an_observation_that_the_torso_cannot_take_is_refused(observations, torso, message):
    with pytest.raises(ValueError, match=message):
        make_network(environment_spec(observations), NetworkConfig(torso=torso))


def test_an_impossible_seed_is_refused():
    with pytest.raises(ValueError, match="seed must be a whole number"):
        NetworkConfig(seed=-1)
