"""Items of a Reverb table, one after another."""

import numpy as np
import reverb
import tensorflow as tf
import tree

from acme_impala import types

# Items that the sampler asks for at once. When it has waited for long enough, Reverb drops what it
# had so far of a request for several.
_MAX_IN_FLIGHT = 1
# How long the sampler waits for an item before it looks whether it should stop.
_SAMPLER_MILLISECONDS = 300


class ItemReader:
    """Waits for the items of a table, for each when it is asked for it.

    One sampler, so that items come in order; several that batch separately each hold a part of a
    batch, and a small queue then never fills any of them.

    A sampler that waits inside C++ can neither be cancelled nor let a signal be handled. So it
    waits for a short time only, again and again until it is stopped.
    """

    def __init__(self, client: reverb.Client, table: str, signature: types.Unroll):
        """Connects to a table.

        Args:
            client: of the server.
            table: its name.
            signature: of its items.
        """
        self._stopped = tf.Variable(False, trainable=False)

        def sample(_):
            # Ends when no item has come for a while; flat_map then starts the next.
            return reverb.TrajectoryDataset(
                client.server_address,
                table,
                dtypes=tf.nest.map_structure(lambda spec: spec.dtype, signature),
                shapes=tf.nest.map_structure(lambda spec: spec.shape, signature),
                max_in_flight_samples_per_worker=_MAX_IN_FLIGHT,
                num_workers_per_iterator=1,  # More would mix up the order.
                rate_limiter_timeout_ms=_SAMPLER_MILLISECONDS,
            )

        options = untuned()
        # By default tf.data gathers items ahead of what it was asked for.
        options.experimental_optimization.apply_default_optimizations = False
        with tf.device("/CPU:0"):
            self._items = iter(
                tf.data.experimental.Counter()
                .take_while(lambda _: not self._stopped.read_value())
                .flat_map(sample)
                .map(lambda sample: (sample.info.key, sample.data))
                .with_options(options)
            )

    def take(self) -> tuple[int, types.Unroll]:
        """Waits for an item; returns its key and its data as numpy arrays, not to be written to.

        Raises:
            StopIteration: `stop` was called.
        """
        key, item = tree.map_structure(np.asarray, next(self._items))
        return int(key), item

    def stop(self):
        """Lets a wait, in whatever thread, come to its end."""
        self._stopped.assign(True)


def untuned() -> tf.data.Options:
    """Options without tf.data's autotuning, for every iterator of this package.

    Its thread sleeps for up to a minute, the longer the older the iterator is, and now and then
    misses that this goes; which waits for it then, with all of Python if it is garbage.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options
