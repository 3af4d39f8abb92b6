"""Reverb tables whose items are whole unrolls."""

from collections.abc import Callable

import reverb
import tensorflow as tf
import tree
from acme import specs

from acme_impala import types

QUEUE = "queue"


def unroll_signature(
    environment_spec: specs.EnvironmentSpec, state_spec: types.Nest, unroll_length: int
) -> types.Unroll:
    """The shapes and dtypes of one unroll as Reverb stores it.

    Args:
        environment_spec: of the environment that is acted in; its actions must be discrete.
        state_spec: nest of tf.TensorSpec of the network's recurrent state, without the batch.
        unroll_length: T, in agent steps.

    Returns:
        An Unroll of tf.TensorSpec, its rows [T+1, ...].

    Raises:
        ValueError: the actions are not discrete.
    """
    actions = environment_spec.actions
    if not isinstance(actions, specs.DiscreteArray):
        raise ValueError(
            f"Only discrete actions are supported, a DiscreteArray; the action spec is {actions}."
        )
    rows = unroll_length + 1

    def stacked(spec):
        return tf.TensorSpec((rows, *spec.shape), tf.as_dtype(spec.dtype))

    return types.Unroll(
        observation=tree.map_structure(stacked, environment_spec.observations),
        action=stacked(actions),
        behaviour_logits=tf.TensorSpec((rows, actions.num_values), tf.float32),
        reward=tf.TensorSpec((rows,), tf.float32),
        discount=tf.TensorSpec((rows,), tf.float32),
        start_of_episode=tf.TensorSpec((rows,), tf.bool),
        initial_state=state_spec,
        policy_version=tf.TensorSpec((), tf.int64),
    )


def make_queue(signature: types.Unroll, capacity: int) -> reverb.Table:
    """A bounded first-in-first-out table, every unroll of which is sampled once.

    When it is full, inserting blocks: actors wait for the learner, and nothing is overwritten.

    It has one place more than `capacity`. A process that acts and learns in turn, such as Acme's
    LocalLayout, looks after each step whether a batch is there. The unroll that completes it may
    not have arrived yet, and an episode's last observation then completes another without a step
    between: without a place for that one the process would wait for itself for ever.
    """
    return reverb.Table.queue(QUEUE, max_size=capacity + 1, signature=signature)


def wait_for_signature(
    client: reverb.Client, should_stop: Callable[[], bool] = lambda: False
) -> types.Unroll:
    """Asks a server for the queue's signature, for as long as it takes the server to come up.

    Raises:
        ConnectionError: `should_stop` said yes first.
    """
    while True:
        try:
            return client.server_info(timeout=1)[QUEUE].signature
        except reverb.errors.DeadlineExceededError:
            if should_stop():
                raise ConnectionError(f"No Reverb server at {client.server_address}.") from None
