"""Batches of unrolls from a Reverb queue."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import numpy as np
import reverb
import tensorflow as tf
import tree

from acme_impala import frames, types
from acme_impala.replay import tables

# Items that the sampler asks for at once. When it has waited for long enough, Reverb drops what it
# had so far of a request for several.
_MAX_IN_FLIGHT = 1
# How long the sampler waits for an item before it looks whether it should stop.
_SAMPLER_MILLISECONDS = 1000
# How long `__next__` waits before it does.
_POLL_SECONDS = 0.2
# TensorFlow takes over memory that begins at a multiple of this, and copies other.
_ALIGNMENT = 64


class UnrollDataset(Iterator[types.Unroll]):
    """An endless iterator over batches of unrolls, time-major: [T+1, B, ...].

    One sampler, so that batches are of consecutive items; several that batch separately each hold
    a part of a batch, and a small queue then never fills any of them. The next batch is gathered
    while the current one is learned from (section 3), and no more than that: what waits here grows
    stale.

    A sampler that waits inside C++ can neither be cancelled nor let a signal be handled. So it
    waits in a thread, for a short time only, again and again until the iteration ends. What it has
    gathered towards a batch meanwhile is kept.
    """

    def __init__(
        self,
        client: reverb.Client,
        batch_size: int,
        *,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        """Connects to the queue; waits for the server if it is not up yet.

        Args:
            client: of the server that holds the queue.
            batch_size: B, unrolls in a batch.
            should_stop: asked while waiting; when it says yes the iteration ends.

        Raises:
            ValueError: whole items do not fill a batch.
        """
        self._should_stop = should_stop
        signature = tables.wait_for_signature(client, should_stop)
        self._num_rows, unrolls_per_item = signature.reward.shape
        if batch_size % unrolls_per_item:
            raise ValueError(
                f"Items of {unrolls_per_item} unrolls do not fill batches of {batch_size}: "
                "batch_size must be a multiple of it."
            )
        self._items_per_batch = batch_size // unrolls_per_item
        self.element_spec = _batch_spec(signature, batch_size)
        self._stopped = tf.Variable(False, trainable=False)

        def sample(_):
            # Ends when no item has come for a while; flat_map then starts the next.
            return reverb.TrajectoryDataset(
                client.server_address,
                tables.QUEUE,
                dtypes=tf.nest.map_structure(lambda spec: spec.dtype, signature),
                shapes=tf.nest.map_structure(lambda spec: spec.shape, signature),
                max_in_flight_samples_per_worker=_MAX_IN_FLIGHT,
                num_workers_per_iterator=1,  # More would mix up the order.
                rate_limiter_timeout_ms=_SAMPLER_MILLISECONDS,
            )

        # By default tf.data gathers items ahead of what it was asked for.
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        with tf.device("/CPU:0"):
            self._items = iter(
                tf.data.experimental.Counter()
                .take_while(lambda _: not self._stopped.read_value())
                .flat_map(sample)
                .map(lambda sample: sample.data)
                .with_options(options)
            )
        self._next_batch: futures.Future | None = None

    def __next__(self) -> types.Unroll:
        """Waits for a batch.

        An exception in the wait, such as KeyboardInterrupt, ends the iteration for good.

        Raises:
            StopIteration: `should_stop` said yes.
        """
        if self._stopped:
            raise StopIteration
        if self._next_batch is None:
            self._next_batch = self._gather_in_background()
        try:
            while True:
                try:
                    batch = self._next_batch.result(timeout=_POLL_SECONDS)
                    break
                except futures.TimeoutError:
                    if self._should_stop():
                        raise StopIteration from None
        except BaseException:
            self._stopped.assign(True)
            raise
        self._next_batch = self._gather_in_background()
        return batch

    def _gather_in_background(self) -> futures.Future:
        batch = futures.Future()

        def gather():
            try:
                batch.set_result(self._gather())
            except Exception as error:
                batch.set_exception(error)

        # Python waits for no daemon when it exits. This one may never end: a sampler whose server
        # has gone looks for it again and again, for longer than its timeout.
        threading.Thread(target=gather, daemon=True).start()
        return batch

    def _gather(self) -> types.Unroll:
        items = [
            tree.map_structure(lambda x: x.numpy(), next(self._items))
            for _ in range(self._items_per_batch)
        ]
        starts = _put_together([item.start_of_episode for item in items], axis=1)

        def stack(spec, *columns):
            if len(columns[0]) == self._num_rows:
                return _put_together(columns, axis=1)
            batch = _aligned(spec)
            first = 0
            for column in columns:  # Each straight into its place.
                part = slice(first, first + column.shape[1])
                frames.restack(column, starts[:, part], batch[:, part])
                first = part.stop
            return batch

        def put_together(_, *parts):
            return _put_together(parts, axis=0)

        batch = types.map_unroll(stack, put_together, self.element_spec, *items)
        with tf.device("/CPU:0"):
            return tree.map_structure(tf.convert_to_tensor, batch)


def _batch_spec(signature: types.Unroll, batch_size: int) -> types.Unroll:
    num_rows = signature.reward.shape[0]

    def row_spec(spec):
        older_frames = spec.shape[0] - num_rows
        stack = (older_frames + 1,) if older_frames else ()
        return tf.TensorSpec((num_rows, batch_size, *spec.shape[2:], *stack), spec.dtype)

    def header_spec(spec):
        return tf.TensorSpec((batch_size, *spec.shape[1:]), spec.dtype)

    return types.map_unroll(row_spec, header_spec, signature)


def _put_together(parts: Any, axis: int) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)


def _aligned(spec: tf.TensorSpec) -> np.ndarray:
    """An array that TensorFlow need not copy."""
    dtype = spec.dtype.as_numpy_dtype
    size = spec.shape.num_elements() * np.dtype(dtype).itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(spec.shape)
