"""Batches of fresh and of replayed unrolls (section 5.2.2)."""

import collections
from collections.abc import Callable
from concurrent import futures

import numpy as np
import reverb

from acme_impala import types
from acme_impala.replay import tables
from acme_impala.replay.dataset import UnrollDataset, count_steps, in_background
from acme_impala.replay.reader import ItemReader
from acme_impala.replay_config import ReplayConfig

# A fresh unroll's key; Reverb draws those of its items at random.
_NO_KEY = 0


class MixedDataset(UnrollDataset):
    """An endless iterator over `types.Batch`: a fraction of each batch is replayed.

    Fresh unrolls and replayed ones are waited for side by side, so that neither waits for the
    other. Before the first batch, unrolls go through the queue until the replay table holds as many
    as it should: the last of them are the first batch's fresh ones, the others are dropped, and
    counted; all are in the replay table.
    """

    def __init__(
        self,
        client: reverb.Client,
        batch_size: int,
        config: ReplayConfig,
        *,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        """Connects to queue and replay table; waits for the server if it is not up yet.

        Args:
            client: of the server that holds the tables.
            batch_size: B, unrolls in a batch.
            config: what is replayed.
            should_stop: asked while waiting; when it says yes the iteration ends.

        Raises:
            ValueError: whole items do not fill a batch, or its replayed part.
        """
        super().__init__(client, batch_size, should_stop=should_stop)
        table = tables.wait_for_tables(client, should_stop)[tables.REPLAY]
        self._unrolls_per_item = per_item = table.signature.reward.shape[1]
        if config.unrolls_per_item(per_item, batch_size) != per_item:
            raise ValueError(
                f"Items of {per_item} unrolls do not fill the replayed part of batches of "
                f"{batch_size} at fraction={config.fraction}: `ReplayConfig.unrolls_per_item` says "
                "what does."
            )
        self._config = config
        self._replay = ItemReader(client, tables.REPLAY, table.signature)
        # Items, until the table holds what it should.
        fill = tables.num_items(config.fill(batch_size), table.signature)
        self._missing = max(0, fill - table.current_size)
        first_fresh = (batch_size - config.num_replayed(0, batch_size)) // per_item
        # Unrolls, before the first batch.
        self._num_dropped = max(0, self._missing - first_fresh) * per_item
        self._fresh: collections.deque[types.Unroll] = collections.deque()  # For the next batch.
        self._batches = 0
        # The newest that were replayed. Those that are not in the table any more go from here too.
        self._times_sampled: collections.OrderedDict[int, int] = collections.OrderedDict()
        self._max_remembered = 2 * config.capacity
        # At once: a process that acts and learns in turn fills the table before it asks for a
        # batch.
        self._gather_next()

    def num_taken(self, batch: int) -> int:
        """Returns how many unrolls have left the queue when a batch is complete.

        Args:
            batch: its number, from 0.
        """
        learned = (batch + 1) * self._batch_size - self._config.replayed_until(
            batch + 1, self._batch_size
        )
        return learned + self._num_dropped

    def close(self, seconds: float = 0.0):
        """Ends the iteration, and the threads that wait for the next batch."""
        self._replay.stop()
        super().close(seconds)

    def _gather(self) -> tuple[types.Batch, int]:
        num_items = self._batch_size // self._unrolls_per_item
        num_unrolls = self._config.num_replayed(self._batches, self._batch_size)
        num_replayed = num_unrolls // self._unrolls_per_item
        num_fresh = num_items - num_replayed
        self._fill(num_fresh)
        replaying = in_background(lambda: [self._replay.take() for _ in range(num_replayed)])
        try:
            while len(self._fresh) < num_fresh:
                self._fresh.append(self._take())
        finally:  # Whoever waits for this thread waits for the other too.
            futures.wait([replaying])
        replayed = replaying.result()
        fresh = [self._fresh.popleft() for _ in range(num_fresh)]
        self._batches += 1
        unroll = self._make_batch([*fresh, *(item for _, item in replayed)])
        keys = [key for key, _ in replayed]
        times_sampled = [0] * num_fresh + list(map(self._count, keys))
        batch = types.Batch(
            unroll,
            replayed=np.repeat(np.arange(num_items) >= num_fresh, self._unrolls_per_item),
            keys=np.repeat(
                np.array([_NO_KEY] * num_fresh + keys, np.uint64), self._unrolls_per_item
            ),
            times_sampled=np.repeat(times_sampled, self._unrolls_per_item),
        )
        return batch, sum(map(count_steps, fresh))

    def _fill(self, num_fresh: int):
        """Waits until the replay table holds what it should."""
        while self._missing > 0:
            self._fresh.append(self._take())
            self._missing -= 1
            if len(self._fresh) > num_fresh:
                self.steps_dropped_filling += count_steps(self._fresh.popleft())

    def _count(self, key: int) -> int:
        """Counts that an item was replayed; returns how often it was."""
        times = self._times_sampled.pop(key, 0) + 1
        self._times_sampled[key] = times
        if len(self._times_sampled) > self._max_remembered:
            self._times_sampled.popitem(last=False)
        return times
