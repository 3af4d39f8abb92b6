"""Reverb tables whose items are blocks of whole unrolls."""

from collections.abc import Callable, Mapping
from typing import Any

import reverb
import tensorflow as tf
import tree
from acme import specs
from reverb import reverb_types

from acme_impala import distributions, frames, types
from acme_impala.replay_config import ReplayConfig

QUEUE = "queue"
REPLAY = "replay"


def unroll_signature(
    environment_spec: specs.EnvironmentSpec,
    state_spec: types.Nest,
    unroll_length: int,
    unrolls_per_item: int = 1,
    num_tasks: int = 1,
) -> types.Unroll:
    """The shapes and dtypes of one item: a block of unrolls.

    Args:
        environment_spec: of the environment that is acted in.
        state_spec: nest of tf.TensorSpec of the network's recurrent state, without the batch.
        unroll_length: T, in agent steps.
        unrolls_per_item: K, unrolls in a block. An item costs Reverb much the same however much it
            holds, so many environments that are stepped together share one.
        num_tasks: with more than one, unrolls say which they are of.

    Returns:
        An Unroll of tf.TensorSpec, its rows [T+1, K, ...]; those of `frames.StackedFrames` are
        [S-1 + T+1, K, ...], where S is more than one.

    Raises:
        ValueError: no policy can act by the action spec.
    """
    distribution = distributions.for_actions(environment_spec.actions)
    rows = unroll_length + 1

    def stacked(spec):
        shape, num_rows = spec.shape, rows
        if isinstance(spec, frames.StackedFrames) and spec.shape[-1] > 1:
            *shape, stack_size = shape
            num_rows += stack_size - 1
        return tf.TensorSpec((num_rows, unrolls_per_item, *shape), tf.as_dtype(spec.dtype))

    return types.Unroll(
        observation=tree.map_structure(stacked, environment_spec.observations),
        action=stacked(distribution.drawn_spec),
        behaviour_logits=tree.map_structure(stacked, distribution.parameters_spec),
        reward=tf.TensorSpec((rows, unrolls_per_item), tf.float32),
        discount=tf.TensorSpec((rows, unrolls_per_item), tf.float32),
        start_of_episode=tf.TensorSpec((rows, unrolls_per_item), tf.bool),
        initial_state=tree.map_structure(
            lambda spec: tf.TensorSpec((unrolls_per_item, *spec.shape), spec.dtype), state_spec
        ),
        policy_version=tf.TensorSpec((unrolls_per_item,), tf.int64),
        task=tf.TensorSpec((unrolls_per_item,), tf.int32) if num_tasks > 1 else (),
    )


def make_queues(signature: types.Unroll, capacity: int, num_tasks: int = 1) -> list[reverb.Table]:
    """Makes a queue for each task, so that none can crowd out the others."""
    names = [QUEUE] if num_tasks == 1 else [f"{QUEUE}_{task}" for task in range(num_tasks)]
    return [make_queue(signature, capacity, name) for name in names]


def queues_of(found: Mapping[str, reverb_types.TableInfo]) -> list[str]:
    """Returns the names of a server's queues, by task."""
    if QUEUE in found:
        return [QUEUE]
    names = [name for name in found if name.startswith(f"{QUEUE}_")]
    return sorted(names, key=lambda name: int(name.removeprefix(f"{QUEUE}_")))


def make_queue(signature: types.Unroll, capacity: int, name: str = QUEUE) -> reverb.Table:
    """A bounded first-in-first-out table, every item of which is sampled once.

    When it is full, inserting blocks: actors wait for the learner, and nothing is overwritten.

    It has one place more than for `capacity` unrolls. A process that acts and learns in turn, such
    as Acme's LocalLayout, looks after each step whether a batch is there. The unroll that completes
    it may not have arrived yet, and an episode's last observation then completes another without a
    step between: without a place for that one the process would wait for itself for ever.
    """
    return reverb.Table.queue(
        name, max_size=num_items(capacity, signature) + 1, signature=signature
    )


def num_items(num_unrolls: int, signature: types.Unroll) -> int:
    """Returns how many items hold at least so many unrolls."""
    return -(-num_unrolls // signature.reward.shape[1])


def make_replay(signature: types.Unroll, config: ReplayConfig, batch_size: int) -> reverb.Table:
    """A table of unrolls that are learned from again.

    Args:
        signature: of its items, the queue's.
        config: sampler, remover and limits.
        batch_size: B of the learner.
    """
    limiter = reverb.rate_limiters.MinSize(1)
    if config.samples_per_insert is not None:
        error_buffer = config.error_buffer or config.least_error_buffer(batch_size)
        limiter = reverb.rate_limiters.SampleToInsertRatio(
            config.samples_per_insert,
            num_items(config.fill(batch_size), signature),
            error_buffer / signature.reward.shape[1],
        )
    return reverb.Table(
        REPLAY,
        sampler=_selector(config.sampler, config),
        remover=_selector(config.remover, config),
        max_size=num_items(config.capacity, signature),
        rate_limiter=limiter,
        max_times_sampled=config.max_times_sampled or 0,
        signature=signature,
    )


def _selector(name: str, config: ReplayConfig) -> Any:
    if name == "prioritized":
        return reverb.selectors.Prioritized(config.priority_exponent)
    return {
        "uniform": reverb.selectors.Uniform,
        "fifo": reverb.selectors.Fifo,
        "lifo": reverb.selectors.Lifo,
    }[name]()


def wait_for_tables(
    client: reverb.Client, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, reverb_types.TableInfo]:
    """Asks a server for its tables, for as long as it takes the server to come up.

    Raises:
        ConnectionError: `should_stop` said yes first.
    """
    while True:
        try:
            return client.server_info(timeout=1)
        except reverb.errors.DeadlineExceededError:
            if should_stop():
                raise ConnectionError(f"No Reverb server at {client.server_address}.") from None
