"""What a network must hold to, checked before any process starts."""

from typing import Any

import tensorflow as tf
import tree
from acme.specs import EnvironmentSpec

from acme_impala import distributions
from acme_impala.networks.sonnet_adapter import as_impala_network
from acme_impala.types import Nest

# Sizes that cannot be mistaken for one another, nor for a dimension left out.
BATCH_SIZE = 3
ROWS = 2


def check_network(network: Any, environment_spec: EnvironmentSpec):
    """Runs a network on observations of zeros, which creates its variables, and checks the outputs.

    Args:
        network: this package's, or anything like `snt.RNNCore` that returns
            ((logits, value), state).
        environment_spec: what the network is to act in.

    Raises:
        ValueError: the logits are not one for each action (or not the parameters of the action
            space's distribution), the value has a dimension too many, the recurrent state changes
            its structure, shape or dtype over a step, or no policy can act by the action spec.
    """
    distribution = distributions.for_actions(environment_spec.actions)
    network = as_impala_network(network)
    state = network.initial_state(BATCH_SIZE)

    output, next_state = network(zeros(environment_spec.observations, [BATCH_SIZE]), state)
    _check_heads(output, [BATCH_SIZE], distribution, "network(observation, state)")
    _check_state(state, next_state, "network(observation, state)")

    batch_shape = [ROWS, BATCH_SIZE]
    observation = zeros(environment_spec.observations, batch_shape)
    output, next_state = network.unroll(observation, state, tf.zeros(batch_shape, tf.bool))
    _check_heads(output, batch_shape, distribution, "network.unroll(...)")
    _check_state(state, next_state, "network.unroll(...)")


def zeros(observation_spec: Nest, batch_shape: list[int]) -> Nest:
    """Returns an observation of zeros, [*batch_shape, ...]."""
    return tree.map_structure(
        lambda spec: tf.zeros([*batch_shape, *spec.shape], spec.dtype), observation_spec
    )


def _check_heads(
    output: Any, batch_shape: list[int], distribution: distributions.Distribution, call: str
):
    logits, value = output
    if not tf.is_tensor(value):
        raise ValueError(f"{call} must give the value as a tensor, gave {value!r}.")
    try:
        tree.assert_same_structure(distribution.parameters_spec, logits)
    except (ValueError, TypeError) as error:  # TypeError: the nests are of different types.
        raise ValueError(
            f"{call} gave logits {_shapes(logits)}, and the action space needs those of a "
            f"{type(distribution).__name__} (acme_impala/distributions.py), "
            f"{_shapes(distribution.parameters_spec)}, with a batch of {batch_shape} in front."
        ) from error
    for spec, x in zip(
        tree.flatten(distribution.parameters_spec), tree.flatten(logits), strict=True
    ):
        if not tf.is_tensor(x):
            raise ValueError(f"{call} must give the logits as a tensor, gave {x!r}.")
        expected = [*batch_shape, *spec.shape]
        if x.shape != expected:
            raise ValueError(
                f"{call} gave logits of shape {x.shape}, and for {spec.shape[0]} actions (or "
                f"elements) and a batch of {batch_shape} it must be {expected}. Is the policy head "
                "as wide as the action space?"
            )
    if value.shape != batch_shape:
        raise ValueError(
            f"{call} gave a value of shape {value.shape}, and for a batch of {batch_shape} it must "
            f"be {batch_shape}: one number each. tf.squeeze(value, axis=-1) takes a last dimension "
            "of 1 away."
        )


def _shapes(nest: Nest) -> Nest:
    return tree.map_structure(lambda x: tuple(x.shape) if hasattr(x, "shape") else x, nest)


def _check_state(state: Nest, next_state: Nest, call: str):
    def describe(x: Any) -> str:
        return f"{tf.as_dtype(x.dtype).name}{list(x.shape)}"

    before, after = (tree.map_structure(describe, nest) for nest in (state, next_state))
    try:
        tree.assert_same_structure(before, after)
        same = tree.flatten(before) == tree.flatten(after)
    except (ValueError, TypeError):  # TypeError: the nests are of different types.
        same = False
    if not same:
        raise ValueError(
            f"{call} took the recurrent state {before} and gave {after}: structure, shapes and "
            "dtypes must stay the same from step to step."
        )
