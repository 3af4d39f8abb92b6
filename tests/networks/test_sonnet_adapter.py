import numpy as np
import pytest
import sonnet as snt
import tensorflow as tf
from dm_env import specs

from acme_impala.networks import (
    NetworkConfig,
    SonnetNetwork,
    as_impala_network,
    check_network,
    make_network,
)

from .examples import VECTOR, assert_step_equals_unroll, environment_spec, oar

STARTS = np.array([[0, 1], [0, 0], [1, 0], [0, 1], [0, 0]], bool)


class Heads(snt.Module):
    """Like Acme's PolicyValueHead, which cannot be imported without the old gym."""

    def __init__(self, num_actions=3):
        super().__init__()
        self._policy, self._value = snt.Linear(num_actions), snt.Linear(1)

    def __call__(self, features):
        return self._policy(features), tf.squeeze(self._value(features), axis=-1)


class AcmeLike(snt.RNNCore):
    """Has an `unroll` of Acme's kind, with a sequence length and without episodes."""

    def __init__(self):
        super().__init__()
        self._net = snt.DeepRNN([snt.LSTM(4), Heads()])

    def __call__(self, inputs, state):
        return self._net(inputs, state)

    def initial_state(self, batch_size, **unused):
        return self._net.initial_state(batch_size)

    def unroll(self, inputs, state, sequence_length):
        raise AssertionError("This unroll knows no episodes and must not be called.")


def deep_rnn(*layers):
    return snt.DeepRNN([*layers, Heads()])


@pytest.mark.parametrize(
    "make",
    [
        lambda: deep_rnn(snt.Linear(6), tf.nn.relu, snt.LSTM(4)),
        lambda: deep_rnn(snt.GRU(4), snt.VanillaRNN(3)),
        lambda: deep_rnn(snt.Flatten(), snt.nets.MLP([5])),
        AcmeLike,
    ],
    ids=["lstm", "gru and rnn", "feed-forward", "with Acme's unroll"],
)
def test_a_sonnet_core_runs_unchanged(make):
    network = as_impala_network(make())
    assert isinstance(network, SonnetNetwork)
    check_network(network, environment_spec(VECTOR))
    assert len(network.trainable_variables) >= 5
    assert_step_equals_unroll(network, VECTOR, STARTS)


def test_it_unrolls_inside_tf_function_for_any_batch_size():
    network = SonnetNetwork(deep_rnn(snt.LSTM(4)))
    check_network(network, environment_spec(VECTOR))
    observation = np.random.default_rng(0).normal(size=[5, 2, 5]).astype(np.float32)
    state = network.initial_state(2)
    eager, _ = network.unroll(observation, state, STARTS)
    unroll = tf.function(
        network.unroll,
        input_signature=[
            tf.TensorSpec([5, None, 5]),
            tf.nest.map_structure(lambda x: tf.TensorSpec([None, 4]), state),
            tf.TensorSpec([5, None], tf.bool),
        ],
    )
    graph, _ = unroll(observation, state, STARTS)
    np.testing.assert_allclose(graph.logits, eager.logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["IMPALAAtariNetwork", "DeepIMPALAAtariNetwork"])
def test_acmes_own_networks_run_unchanged(name):
    pytest.importorskip("gym")
    networks = pytest.importorskip("acme.tf.networks")
    spec = oar(specs.Array((36, 36, 4), np.float32))
    network = as_impala_network(getattr(networks, name)(3))
    assert isinstance(network, SonnetNetwork)
    check_network(network, environment_spec(spec))
    assert_step_equals_unroll(network, spec, STARTS)


def test_a_network_that_fits_is_returned_as_it_is():
    ours = make_network(environment_spec(VECTOR), NetworkConfig())
    assert as_impala_network(ours) is ours
    wrapped = SonnetNetwork(AcmeLike())
    assert as_impala_network(wrapped) is wrapped


@pytest.mark.parametrize("network", [Heads(), None, lambda observation, state: None])
def test_what_is_like_no_network_is_refused(network):
    with pytest.raises(ValueError, match="A network must be callable with"):
        as_impala_network(network)


def test_a_core_without_heads_is_refused():
    network = SonnetNetwork(snt.DeepRNN([snt.LSTM(4)]))
    with pytest.raises(ValueError, match=r"DeepRNN must return \(\(logits, value\), state\)"):
        network(np.zeros([2, 5], np.float32), network.initial_state(2))


class TakesBytes(snt.RNNCore):
    """Scales images itself."""

    def __init__(self):
        super().__init__()
        self._linear = snt.Linear(4)

    def initial_state(self, batch_size):
        return ()

    def __call__(self, image, state):
        assert image.dtype == tf.uint8
        x = self._linear(snt.flatten(tf.cast(image, tf.float32) / 255))
        return (x[:, :3], x[:, 3]), state


class TakesFloats(TakesBytes):
    """As Acme's: its convolution refuses bytes."""

    def __init__(self):
        super().__init__()
        self._convolution = snt.Conv2D(2, 3)

    def __call__(self, image, state):
        x = self._linear(snt.flatten(self._convolution(image)))
        tf.debugging.assert_less_equal(tf.reduce_max(image), 1.0)
        return (x[:, :3], x[:, 3]), state


@pytest.mark.parametrize("core", [TakesBytes, TakesFloats])
def test_uint8_images_reach_a_network_as_it_takes_them(core):
    network = SonnetNetwork(core())
    image = np.full([2, 8, 8, 3], 200, np.uint8)
    for call in (network, tf.function(network.__call__), network):
        (logits, value), _ = call(image, ())
        assert logits.shape == [2, 3]
        assert value.shape == [2]


def test_an_error_that_bytes_are_not_the_cause_of_is_passed_on():
    class Fails(TakesBytes):
        def __call__(self, image, state):
            raise ValueError("for another reason")

    for dtype in (np.uint8, np.float32):
        with pytest.raises(ValueError, match="another reason"):
            SonnetNetwork(Fails())(np.zeros([2, 8, 8, 3], dtype), ())
