"""Batches of unrolls from a Reverb queue."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import reverb
import tensorflow as tf

from acme_impala import types
from acme_impala.replay import tables

# Unrolls that the sampler asks for at once. When it has waited for long enough, Reverb drops what
# it had so far of a request for several.
_MAX_IN_FLIGHT = 1
# How long the sampler waits for an unroll before it looks whether it should stop.
_SAMPLER_MILLISECONDS = 1000
# How long `__next__` waits before it does.
_POLL_SECONDS = 0.2


class UnrollDataset(Iterator[types.Unroll]):
    """An endless iterator over batches of unrolls, batch-major: [B, T+1, ...].

    One dataset, batched once: several that batch separately each hold a part of a batch, and a
    small queue then never fills any of them. The next batch is gathered while the current one is
    learned from (section 3), and no more than that: what waits here grows stale.

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
        """
        self._should_stop = should_stop
        signature = tables.wait_for_signature(client, should_stop)
        self._stopped = tf.Variable(False, trainable=False)

        def sample(_):
            # Ends when no unroll has come for a while; flat_map then starts the next.
            return reverb.TrajectoryDataset(
                client.server_address,
                tables.QUEUE,
                dtypes=tf.nest.map_structure(lambda spec: spec.dtype, signature),
                shapes=tf.nest.map_structure(lambda spec: spec.shape, signature),
                max_in_flight_samples_per_worker=_MAX_IN_FLIGHT,
                num_workers_per_iterator=1,  # More would mix up the order.
                rate_limiter_timeout_ms=_SAMPLER_MILLISECONDS,
            )

        # By default tf.data gathers two batches more than it was told to.
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        with tf.device("/CPU:0"):
            dataset = (
                tf.data.experimental.Counter()
                .take_while(lambda _: not self._stopped.read_value())
                .flat_map(sample)
                .map(lambda sample: sample.data)
                .batch(batch_size, drop_remainder=True)
                .prefetch(1)
                .with_options(options)
            )
            self._iterator = iter(dataset)
        self.element_spec: types.Unroll = dataset.element_spec

    def __next__(self) -> types.Unroll:
        """Waits for a batch.

        An exception in the wait, such as KeyboardInterrupt, ends the iteration for good.

        Raises:
            StopIteration: `should_stop` said yes.
        """
        if self._stopped:
            raise StopIteration
        batch = futures.Future()
        # Python waits for no daemon when it exits. This one may never end: a sampler whose server
        # has gone looks for it again and again, for longer than its timeout.
        threading.Thread(target=self._wait_for_batch, args=(batch,), daemon=True).start()
        try:
            while True:
                try:
                    return batch.result(timeout=_POLL_SECONDS)
                except futures.TimeoutError:
                    if self._should_stop():
                        raise StopIteration from None
        except BaseException:
            self._stopped.assign(True)
            raise

    def _wait_for_batch(self, batch: futures.Future):
        try:
            batch.set_result(next(self._iterator))
        except Exception as error:
            batch.set_exception(error)
