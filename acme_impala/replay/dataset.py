"""Batches of unrolls from a Reverb queue."""

import collections
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import numpy as np
import reverb
from reverb import reverb_types

from acme_impala import types
from acme_impala.replay import tables
from acme_impala.replay.batches import BatchMaker, batch_spec
from acme_impala.replay.reader import ItemReader

# How long a wait lasts before `should_stop` is asked again.
_POLL_SECONDS = 0.2
# Of so many items it is known that they were taken: as many as a large program learns from while a
# host cannot be reached.
_KEYS_KEPT = 1 << 17


class UnrollDataset(Iterator[types.Unroll]):
    """An endless iterator over batches of unrolls, time-major: [T+1, B, ...].

    The next batch is gathered in a thread while the current one is learned from (section 3), and no
    more than that: what waits here grows stale.

    Of several tasks, each with a queue of its own, the next item is always of the one of which the
    fewest agent steps were taken; it is waited for, and the others' actors wait meanwhile. So all
    have the same share, however fast they are, and are never further apart than an item.

    Attributes:
        element_spec: of the batches' unrolls.
        steps_dropped_filling: agent steps of unrolls that were taken from the queue and are in no
            batch, for they were only to fill the replay table.
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
        self._client = client
        self._should_stop = should_stop
        found = tables.wait_for_tables(client, should_stop)
        queues = [found[name] for name in tables.queues_of(found)]
        signature = queues[0].signature
        unrolls_per_item = signature.reward.shape[1]
        if batch_size % unrolls_per_item:
            raise ValueError(
                f"Items of {unrolls_per_item} unrolls do not fill batches of {batch_size}: "
                "batch_size must be a multiple of it."
            )
        self._items_per_batch = batch_size // unrolls_per_item
        self.element_spec = batch_spec(signature, batch_size)
        self._make_batch = BatchMaker(self.element_spec)
        self._queues = [_Queue(client, queue) for queue in queues]
        self._batch_size = batch_size
        self._steps_given = self.steps_dropped_filling = 0
        self._next_batch: futures.Future | None = None
        self._draining: list[futures.Future] = []
        self._none_waits = threading.Event()
        self._none_waits.set()
        self._ended = self._is_closed = False

    def __next__(self) -> types.Unroll:
        """Waits for a batch.

        An exception in the wait, such as KeyboardInterrupt, ends the iteration for good.

        Raises:
            StopIteration: `should_stop` said yes, or `close` was called.
        """
        if self._ended:
            raise StopIteration
        if self._next_batch is None:
            self._gather_next()
        try:
            while True:
                try:
                    batch, num_steps = self._next_batch.result(timeout=_POLL_SECONDS)
                    break
                except futures.TimeoutError:
                    if self._should_stop():
                        raise StopIteration from None
        except BaseException:
            self._end()  # What is left may still be counted, by `drain`.
            raise
        self._steps_given += num_steps
        self._none_waits.set()
        self._gather_next()
        return batch

    def wait_while_batch_waits(self, seconds: float) -> bool:
        """Waits while a whole batch waits for the learner, who is behind.

        Unrolls that are begun meanwhile would be acted by weights that the batch in hand and the
        one that waits are about to change.

        Args:
            seconds: at most.

        Returns:
            Whether none waits, or the iteration has ended.
        """
        return self._none_waits.wait(seconds)

    def drain(self, actors_have_ended: Callable[[], bool], seconds: float) -> int | None:
        """Ends the iteration and takes what is left in the queue, so that actors need not wait.

        Args:
            actors_have_ended: whether nothing more will be written.
            seconds: after which it gives up.

        Returns:
            Agent steps of the unrolls that were written and never given; None: it gave up.
        """
        self._end()
        deadline = time.monotonic() + seconds
        is_complete = False
        # Beside a batch that is being gathered.
        self._draining = [in_background(queue.take_all) for queue in self._queues]
        while not is_complete and time.monotonic() < deadline and not self._is_closed:
            time.sleep(0.01)
            is_complete = actors_have_ended() and self._has_taken_all()
        self.close()
        left = self.steps_taken - self._steps_given - self.steps_dropped_filling
        return left if is_complete else None

    @property
    def steps_taken(self) -> int:
        """Agent steps of the unrolls that were taken from the queue."""
        return sum(queue.steps_taken for queue in self._queues)

    def num_taken(self, batch: int) -> int:
        """Returns how many unrolls have left the queue when a batch is complete.

        Args:
            batch: its number, from 0.
        """
        return (batch + 1) * self._batch_size

    def close(self, seconds: float = 0.0):
        """Ends the iteration, and the threads that wait for what comes next.

        Args:
            seconds: to wait for the threads' end. Where the server is stopped before, they look for
                it for a long time; a process that exits need not care.
        """
        self._is_closed = True
        self._end()
        for queue in self._queues:
            queue.reader.stop()
        futures.wait(filter(None, [*self._draining, self._next_batch]), seconds)

    def _end(self):
        self._ended = True
        self._none_waits.set()

    def _gather_next(self):
        def gather():
            gathered = self._gather()
            self._none_waits.clear()
            if self._ended:
                self._none_waits.set()
            return gathered

        self._next_batch = in_background(gather)

    def _has_taken_all(self) -> bool:
        try:
            found = self._client.server_info(timeout=1)
        except reverb.errors.DeadlineExceededError:  # A machine under load: it is asked again.
            return False
        return all(queue.is_empty(found[queue.name]) for queue in self._queues)

    def _gather(self) -> tuple[types.Unroll, int]:
        """Gathers a batch; returns it with the number of agent steps that left the queue for it."""
        items = [self._take() for _ in range(self._items_per_batch)]
        return self._make_batch(items), sum(map(count_steps, items))

    def _take(self) -> types.Unroll:
        """Waits for the next item of the task of which the fewest steps were taken."""
        return min(self._queues, key=lambda queue: queue.steps_taken).take()


class _Queue:
    """A task's queue, and what was taken from it.

    Attributes:
        name: of the table.
        reader: of its items.
        steps_taken: agent steps of them.
    """

    def __init__(self, client: reverb.Client, info: reverb_types.TableInfo):
        self.name = info.name
        self.reader = ItemReader(client, info.name, info.signature)
        self.steps_taken = self._items_taken = 0
        self._keys = collections.OrderedDict()  # Of the items taken last.
        self._sampled_before = info.rate_limiter_info.sample_stats.completed
        self._counting = threading.Lock()

    def take(self) -> types.Unroll:
        """Waits for the next item that was not taken before.

        A writer whose connection breaks sends again, under the same key, what was not confirmed to
        it; that may have arrived, and have been taken since.
        """
        while True:
            key, item = self.reader.take()
            with self._counting:
                self._items_taken += 1
                if key in self._keys:
                    continue
                self._keys[key] = None
                if len(self._keys) > _KEYS_KEPT:
                    self._keys.popitem(last=False)
                self.steps_taken += count_steps(item)
            return item

    def take_all(self):
        """Takes items until the reader is stopped."""
        with contextlib.suppress(StopIteration):
            while True:
                self.take()

    def is_empty(self, info: reverb_types.TableInfo) -> bool:
        """Whether all that is in the table, by what the server says of it, was taken."""
        sampled = info.rate_limiter_info.sample_stats.completed - self._sampled_before
        with self._counting:
            return info.current_size == 0 and sampled == self._items_taken


def in_background(function: Callable[[], Any]) -> futures.Future:
    """Calls a function in a thread that Python does not wait for when it exits.

    It may never end: a sampler whose server has gone looks for it again and again, for longer than
    its timeout.
    """
    result = futures.Future()

    def call():
        try:
            result.set_result(function())
        except Exception as error:
            result.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return result


def count_steps(item: types.Unroll) -> int:
    """Returns how many agent steps are learned from an item: its rows that count (types.Unroll)."""
    return int(np.count_nonzero(np.logical_not(item.start_of_episode[1:])))
