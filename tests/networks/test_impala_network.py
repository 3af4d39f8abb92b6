import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from acme_impala.networks import NetworkConfig, check_network, make_network
from acme_impala.types import OAR

from ..guessing import ACTION_SPECS
from .examples import (
    IMAGE,
    INSTRUCTION,
    REWARD,
    VECTOR,
    assert_step_equals_unroll,
    environment_spec,
    num_parameters,
    oar,
    sample,
)

SMALL = NetworkConfig(hidden_sizes=(8,), core="lstm", lstm_size=5)
EVERYTHING = oar({"RGB": IMAGE, "VEC": (VECTOR, VECTOR), "INSTR": INSTRUCTION})
DMLAB = oar({"RGB": IMAGE.replace(shape=(72, 96, 3)), "INSTR": INSTRUCTION.replace(shape=(16,))}, 9)


def random_starts(shape, seed=0):
    return np.random.default_rng(seed).random(shape) < 0.4


@pytest.mark.parametrize("core", ["feedforward", "lstm"])
@pytest.mark.parametrize("torso", ["mlp", "shallow", "deep", "atari"])
@pytest.mark.parametrize("spec", [IMAGE, EVERYTHING], ids=["image", "everything"])
def test_stepping_and_unrolling_agree(torso, core, spec):
    network = make_network(
        environment_spec(spec), NetworkConfig(torso=torso, core=core, lstm_size=16, seed=4)
    )
    assert_step_equals_unroll(network, spec, random_starts([4, 2]))


@pytest.mark.parametrize("spec", [VECTOR, oar(VECTOR), {"a": VECTOR, "b": (VECTOR,)}])
@pytest.mark.parametrize(
    "start_of_episode",
    [np.arange(6)[:, None] == np.array([[row, 5 - row]]) for row in range(6)]
    + [np.ones([6, 2], bool), np.zeros([6, 2], bool)],
)
def test_stepping_and_unrolling_agree_wherever_an_episode_starts(spec, start_of_episode):
    network = make_network(environment_spec(spec), SMALL)
    assert_step_equals_unroll(network, spec, start_of_episode)


@pytest.mark.parametrize("name", ACTION_SPECS)
def test_stepping_and_unrolling_agree_for_every_action_space(name):
    observations = OAR(VECTOR, ACTION_SPECS[name], REWARD)
    spec = environment_spec(observations)._replace(actions=ACTION_SPECS[name])
    network = make_network(spec, SMALL)
    check_network(network, spec)
    assert_step_equals_unroll(network, observations, random_starts([4, 2]))


@pytest.mark.parametrize("core", ["feedforward", "lstm"])
def test_it_is_the_same_inside_tf_function_and_for_any_batch_size(core):
    network = make_network(
        environment_spec(EVERYTHING), NetworkConfig(torso="shallow", core=core, lstm_size=8)
    )
    observation = sample(EVERYTHING, [3, 2])
    start_of_episode = random_starts([3, 2])
    state = network.initial_state(2)
    eager, _ = network.unroll(observation, state, start_of_episode)

    flexible = tf.nest.map_structure(
        lambda x: tf.TensorSpec([3, None, *x.shape[2:]], x.dtype), observation
    )
    states = tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), state)
    unroll = tf.function(
        network.unroll, input_signature=[flexible, states, tf.TensorSpec([3, None], tf.bool)]
    )
    graph, _ = unroll(observation, state, start_of_episode)
    np.testing.assert_allclose(graph.logits, eager.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(graph.value, eager.value, rtol=1e-5, atol=1e-6)

    row = tf.nest.map_structure(lambda x: x[0], observation)
    step, _ = tf.function(network)(row, network.initial_state(2))
    np.testing.assert_allclose(step.value, eager.value[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("core", ["feedforward", "lstm"])
@pytest.mark.parametrize("torso", ["mlp", "shallow", "deep", "atari"])
def test_a_gradient_reaches_every_variable(torso, core):
    network = make_network(
        environment_spec(EVERYTHING), NetworkConfig(torso=torso, core=core, lstm_size=16, seed=1)
    )
    observation = sample(EVERYTHING, [3, 4])
    with tf.GradientTape() as tape:
        output, _ = network.unroll(observation, network.initial_state(4), np.zeros([3, 4], bool))
        loss = tf.reduce_sum(output.value**2) + tf.reduce_sum(output.logits**2)
    variables = network.trainable_variables
    assert len(variables) == len(network.variables)
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None, variable.name
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.name


@pytest.mark.parametrize(("torso", "millions"), [("shallow", 1.2), ("deep", 1.6)])
def test_on_deepmind_lab_it_has_the_papers_number_of_parameters(torso, millions):
    """1.2 and 1.6 million (fig. 3), counted with the LSTM over the words of the instruction.

    That takes VALID convolutions in the shallow torso and SAME ones in the deep one: the shallow
    torso with SAME comes to 1.5 million.
    """
    network = make_network(environment_spec(DMLAB, 9), NetworkConfig(torso=torso, core="lstm"))
    assert round(num_parameters(network) / 1e6, 1) == millions
    assert num_parameters(network) == {"shallow": 1_230_426, "deep": 1_628_010}[torso]


def test_the_first_policy_is_near_uniform():
    network = make_network(environment_spec(EVERYTHING, 3), NetworkConfig(torso="deep"))
    output, _ = network(sample(EVERYTHING, [8]), ())
    np.testing.assert_allclose(tf.nn.softmax(output.logits), np.full([8, 3], 1 / 3), atol=0.02)
    assert np.std(output.value) > 1e-3


def test_a_checkpoint_brings_the_weights_back(tmp_path):
    spec = environment_spec(EVERYTHING)
    config = NetworkConfig(torso="deep", core="lstm", lstm_size=8)
    network = make_network(spec, dataclasses.replace(config, seed=1))
    other = make_network(spec, dataclasses.replace(config, seed=2))
    path = tf.train.Checkpoint(network=network).write(str(tmp_path / "checkpoint"))
    status = tf.train.Checkpoint(network=other).read(path)
    status.assert_consumed()
    for x, y in zip(network.variables, other.variables, strict=True):
        np.testing.assert_array_equal(x, y)
