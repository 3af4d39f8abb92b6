"""What a network must hold to, checked before any process starts."""

from typing import Any

import numpy as np
import tensorflow as tf
import tree
from acme.specs import EnvironmentSpec
from dm_env import specs

from acme_impala.networks.sonnet_adapter import as_impala_network
from acme_impala.types import Nest

# Sizes that cannot be mistaken for one another, nor for a dimension left out.
BATCH_SIZE = 3
ROWS = 2


def discrete_actions(environment_spec: EnvironmentSpec) -> int:
    """Returns A, the number of actions.

    Raises:
        ValueError: the environment has no action space, a continuous one, or several actions.
    """
    actions = environment_spec.actions
    if isinstance(actions, specs.DiscreteArray):
        return actions.num_values
    if actions is None:
        found = "has no action space"
    elif not isinstance(actions, specs.Array):
        found = f"has an action space of several parts, {actions!r}"
    elif np.issubdtype(actions.dtype, np.floating):
        found = f"has a continuous action space, {actions!r}"
    else:
        found = f"has the action space {actions!r}"
    raise ValueError(
        f"The environment {found}: only discrete actions are supported, one "
        "dm_env.specs.DiscreteArray(num_values)."
    )


def check_network(network: Any, environment_spec: EnvironmentSpec, popart_tasks: int = 0):
    """Runs a network on observations of zeros, which creates its variables, and checks the outputs.

    Args:
        network: this package's, or anything like `snt.RNNCore` that returns
            ((logits, value), state).
        environment_spec: what the network is to act in.
        popart_tasks: with PopArt, the number of tasks, each of which has a value of its own.

    Raises:
        ValueError: the logits are not one for each action, the value has a dimension too many, the
            recurrent state changes its structure, shape or dtype over a step, or the environment's
            actions are not discrete.
    """
    num_actions = discrete_actions(environment_spec)
    network = as_impala_network(network)
    if popart_tasks:
        check_baseline(network, popart_tasks)
    num_values = max(1, popart_tasks)
    state = network.initial_state(BATCH_SIZE)

    output, next_state = network(zeros(environment_spec.observations, [BATCH_SIZE]), state)
    _check_heads(output, [BATCH_SIZE], num_actions, num_values, "network(observation, state)")
    _check_state(state, next_state, "network(observation, state)")

    batch_shape = [ROWS, BATCH_SIZE]
    observation = zeros(environment_spec.observations, batch_shape)
    output, next_state = network.unroll(observation, state, tf.zeros(batch_shape, tf.bool))
    _check_heads(output, batch_shape, num_actions, num_values, "network.unroll(...)")
    _check_state(state, next_state, "network.unroll(...)")


def zeros(observation_spec: Nest, batch_shape: list[int]) -> Nest:
    """Returns an observation of zeros, [*batch_shape, ...]."""
    return tree.map_structure(
        lambda spec: tf.zeros([*batch_shape, *spec.shape], spec.dtype), observation_spec
    )


def check_baseline(network: Any, num_tasks: int):
    """Checks that a network's value can be learned by PopArt.

    Raises:
        ValueError: it has no `baseline_head`, or not an output of it for each task.
    """
    head = getattr(network, "baseline_head", None)
    if head is None:
        raise ValueError(
            "PopArt changes the last layer of the baseline, which a network must have as its "
            f"`baseline_head`, a tf.keras.layers.Dense; {type(network).__name__} has none."
        )
    if head.units != num_tasks:
        raise ValueError(
            f"PopArt learns a value for each of {num_tasks} tasks, and the network's baseline has "
            f"{head.units} outputs: NetworkConfig(num_values={num_tasks})."
        )


def _check_heads(output: Any, batch_shape: list[int], num_actions: int, num_values: int, call: str):
    logits, value = output
    for name, x in (("logits", logits), ("value", value)):
        if not tf.is_tensor(x):
            raise ValueError(f"{call} must give the {name} as a tensor, gave {x!r}.")
    expected = [*batch_shape, num_actions]
    if logits.shape != expected:
        raise ValueError(
            f"{call} gave logits of shape {logits.shape}, and for {num_actions} actions and a "
            f"batch of {batch_shape} it must be {expected}. Is the policy head as wide as the "
            "action space?"
        )
    if num_values > 1:
        expected = [*batch_shape, num_values]
        if value.shape != expected:
            raise ValueError(
                f"{call} gave a value of shape {value.shape}, and for {num_values} tasks with "
                f"PopArt and a batch of {batch_shape} it must be {expected}: NetworkConfig("
                f"num_values={num_values})."
            )
    elif value.shape != batch_shape:
        raise ValueError(
            f"{call} gave a value of shape {value.shape}, and for a batch of {batch_shape} it must "
            f"be {batch_shape}: one number each. tf.squeeze(value, axis=-1) takes a last dimension "
            "of 1 away; several numbers are for several tasks with PopArt."
        )


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
