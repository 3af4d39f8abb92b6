import numpy as np
import pytest
import sonnet as snt
import tensorflow as tf
from dm_env import specs

from acme_impala.distributions import GaussianParameters
from acme_impala.networks import NetworkConfig, SonnetNetwork, check_network, make_network

from .examples import IMAGE, INSTRUCTION, VECTOR, environment_spec, oar


class Core(snt.RNNCore):
    """A core whose outputs are what the test says."""

    def __init__(self, logits=(3,), value=(), state=(4,), next_state=None):
        super().__init__()
        self._logits, self._value, self._state = logits, value, state
        self._next_state = next_state or self.initial_state

    def initial_state(self, batch_size):
        return (tf.zeros([batch_size, *self._state]),)

    def __call__(self, observation, state):
        batch_size = observation.shape[0]
        output = tf.zeros([batch_size, *self._logits]), tf.zeros([batch_size, *self._value])
        return output, self._next_state(batch_size)


class UnrollWithoutBaseline(SonnetNetwork):
    """Steps as it should and unrolls to values with a dimension too many."""

    def unroll(self, observation, state, start_of_episode):
        output, state = super().unroll(observation, state, start_of_episode)
        return output._replace(value=output.value[..., tf.newaxis]), state


@pytest.mark.parametrize("core", ["feedforward", "lstm"])
@pytest.mark.parametrize("spec", [VECTOR, oar({"RGB": IMAGE, "INSTR": INSTRUCTION})])
def test_the_networks_of_the_factory_pass(spec, core):
    spec = environment_spec(spec)
    check_network(make_network(spec, NetworkConfig(core=core)), spec)


def test_a_sonnet_network_gets_its_variables():
    network = SonnetNetwork(snt.DeepRNN([snt.LSTM(4), lambda x: (x[:, :3], x[:, 3])]))
    assert not network.variables
    check_network(network, environment_spec(VECTOR))
    assert len(network.variables) == 3


@pytest.mark.parametrize(
    ("core", "message"),
    [
        (Core(logits=(4,)), r"logits of shape \(3, 4\), and for 3 actions .* must be \[3, 3\]"),
        (Core(logits=()), r"logits of shape \(3,\)"),
        (Core(value=(1,)), r"value of shape \(3, 1\), .* must be \[3\].*squeeze"),
        (Core(next_state=lambda n: (tf.zeros([n, 5]),)), r"float32\[3, 4\].*float32\[3, 5\]"),
        (Core(next_state=lambda n: (tf.zeros([n, 4], tf.float64),)), r"float64\[3, 4\]"),
        (Core(next_state=lambda n: [tf.zeros([n, 4])]), "structure, shapes and dtypes"),
        (Core(next_state=lambda n: tf.zeros([n, 4])), "structure, shapes and dtypes"),
        (UnrollWithoutBaseline(Core()), r"network.unroll.* value of shape \(2, 3, 1\)"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(core, message):
    with pytest.raises(ValueError, match=message):
        check_network(core, environment_spec(VECTOR))


class Gaussian(snt.RNNCore):
    """A user's own, of two elements."""

    def __init__(self, make=GaussianParameters):
        super().__init__()
        self._head, self._make = snt.Linear(5), make

    def initial_state(self, batch_size):
        return ()

    def __call__(self, observation, state):
        mean, log_std, value = tf.split(self._head(observation), [2, 2, 1], axis=-1)
        return (self._make(mean, log_std), tf.squeeze(value, -1)), state


def test_a_users_network_for_another_action_space():
    spec = environment_spec(VECTOR)._replace(actions=specs.BoundedArray((2,), np.float32, 0, 1))
    check_network(Gaussian(), spec)
    with pytest.raises(ValueError, match=r"logits \(\(3, 2\), \(3, 2\)\), .* GaussianParameters\("):
        check_network(Gaussian(lambda *pair: pair), spec)
    three = spec._replace(actions=specs.BoundedArray((3,), np.float32, 0, 1))
    with pytest.raises(ValueError, match=r"logits of shape \(3, 2\), and for 3 actions"):
        check_network(Gaussian(), three)
    with pytest.raises(ValueError, match=r"needs those of a Categorical .*, \(3,\), with"):
        check_network(Gaussian(), environment_spec(VECTOR))


def test_the_actions_are_looked_at_first():
    spec = environment_spec(VECTOR)._replace(actions=specs.Array((2,), float))
    with pytest.raises(ValueError, match=r"has the action space Array\(shape=\(2,\)"):
        check_network(Core(), spec)
