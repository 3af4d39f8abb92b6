"""Specs, random observations of them, and the comparison that every network must stand."""

import numpy as np
import tensorflow as tf
import tree
from acme.specs import EnvironmentSpec
from dm_env import specs

from acme_impala.types import OAR

VECTOR = specs.Array((5,), np.float32, "vector")
IMAGE = specs.BoundedArray((36, 36, 2), np.uint8, 0, 255, "image")
INSTRUCTION = specs.BoundedArray((6,), np.int32, 0, 1000, "INSTR")
REWARD = specs.Array((), np.float32, "reward")


def environment_spec(observations, num_actions=3):
    return EnvironmentSpec(
        observations=observations,
        actions=specs.DiscreteArray(num_actions),
        rewards=REWARD,
        discounts=specs.BoundedArray((), np.float32, 0, 1),
    )


def oar(observation, num_actions=3):
    return OAR(observation, specs.DiscreteArray(num_actions), REWARD)


def sample(spec, batch_shape, seed=0):
    """A nest of random arrays [*batch_shape, ...] that a nest of specs allows."""
    rng = np.random.default_rng(seed)

    def leaf(spec):
        shape = [*batch_shape, *spec.shape]
        if isinstance(spec, specs.DiscreteArray):
            return rng.integers(0, spec.num_values, shape).astype(spec.dtype)
        if spec.dtype == bool:
            return rng.random(shape) < 0.5
        if np.issubdtype(spec.dtype, np.integer):
            return rng.integers(spec.minimum, spec.maximum, shape, endpoint=True).astype(spec.dtype)
        return rng.normal(size=shape).astype(spec.dtype)

    return tree.map_structure(leaf, spec)


def step_through(network, observation, state, start_of_episode):
    """The slow reference of an unroll: one step after the other, each row of the batch by itself.

    A row that starts an episode gets a state made anew, as an actor does it.
    """
    rows, batch_size = start_of_episode.shape
    logits, values, final_states = [], [], []
    for b in range(batch_size):
        state_b = tree.map_structure(lambda x, b=b: x[b : b + 1], state)
        logits_b, values_b = [], []
        for t in range(rows):
            if start_of_episode[t, b]:
                state_b = network.initial_state(1)
            observation_tb = tree.map_structure(lambda x, t=t, b=b: x[t, b : b + 1], observation)
            output, state_b = network(observation_tb, state_b)
            logits_b.append(tree.map_structure(lambda x: x[0], output.logits))
            values_b.append(output.value[0])
        logits.append(tree.map_structure(lambda *rows: np.stack(rows), *logits_b))
        values.append(np.stack(values_b))
        final_states.append(state_b)
    state = tree.map_structure(lambda *x: np.concatenate(x), *final_states)
    logits = tree.map_structure(lambda *columns: np.stack(columns, axis=1), *logits)
    return logits, np.stack(values, axis=1), state


def assert_step_equals_unroll(network, observation_spec, start_of_episode, seed=0):
    start_of_episode = np.asarray(start_of_episode)
    observation = sample(observation_spec, start_of_episode.shape, seed)
    # A state of an unroll in the middle of an episode: not the initial one.
    rng = np.random.default_rng(seed + 1)
    state = tree.map_structure(
        lambda x: tf.constant(rng.normal(size=x.shape).astype(np.float32)),
        network.initial_state(start_of_episode.shape[1]),
    )
    output, final_state = network.unroll(observation, state, start_of_episode)
    logits, values, reference_state = step_through(network, observation, state, start_of_episode)
    tree.map_structure(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), output.logits, logits
    )
    np.testing.assert_allclose(output.value, values, rtol=1e-5, atol=1e-5)
    tree.map_structure(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5),
        final_state,
        reference_state,
    )


def num_parameters(module):
    return sum(int(np.prod(v.shape)) for v in module.trainable_variables)
