"""Reverb tables whose items are blocks of whole unrolls."""

from collections.abc import Callable

import reverb
import tensorflow as tf
import tree
from acme import specs

from acme_impala import frames, types

QUEUE = "queue"


def unroll_signature(
    environment_spec: specs.EnvironmentSpec,
    state_spec: types.Nest,
    unroll_length: int,
    unrolls_per_item: int = 1,
) -> types.Unroll:
    """The shapes and dtypes of one item: a block of unrolls.

    Args:
        environment_spec: of the environment that is acted in; its actions must be discrete.
        state_spec: nest of tf.TensorSpec of the network's recurrent state, without the batch.
        unroll_length: T, in agent steps.
        unrolls_per_item: K, unrolls in a block. An item costs Reverb much the same however much it
            holds, so many environments that are stepped together share one.

    Returns:
        An Unroll of tf.TensorSpec, its rows [T+1, K, ...]; those of `frames.StackedFrames` are
        [S-1 + T+1, K, ...].

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
        shape, num_rows = spec.shape, rows
        if isinstance(spec, frames.StackedFrames):
            *shape, stack_size = shape
            num_rows += stack_size - 1
        return tf.TensorSpec((num_rows, unrolls_per_item, *shape), tf.as_dtype(spec.dtype))

    return types.Unroll(
        observation=tree.map_structure(stacked, environment_spec.observations),
        action=stacked(actions),
        behaviour_logits=tf.TensorSpec((rows, unrolls_per_item, actions.num_values), tf.float32),
        reward=tf.TensorSpec((rows, unrolls_per_item), tf.float32),
        discount=tf.TensorSpec((rows, unrolls_per_item), tf.float32),
        start_of_episode=tf.TensorSpec((rows, unrolls_per_item), tf.bool),
        initial_state=tree.map_structure(
            lambda spec: tf.TensorSpec((unrolls_per_item, *spec.shape), spec.dtype), state_spec
        ),
        policy_version=tf.TensorSpec((unrolls_per_item,), tf.int64),
    )


def make_queue(signature: types.Unroll, capacity: int) -> reverb.Table:
    """A bounded first-in-first-out table, every item of which is sampled once.

    When it is full, inserting blocks: actors wait for the learner, and nothing is overwritten.

    It has one place more than for `capacity` unrolls. A process that acts and learns in turn, such
    as Acme's LocalLayout, looks after each step whether a batch is there. The unroll that completes
    it may not have arrived yet, and an episode's last observation then completes another without a
    step between: without a place for that one the process would wait for itself for ever.
    """
    unrolls_per_item = signature.reward.shape[1]
    return reverb.Table.queue(
        QUEUE, max_size=-(-capacity // unrolls_per_item) + 1, signature=signature
    )


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
