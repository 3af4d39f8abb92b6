"""What the learner finds about replayed unrolls, written back into the replay table."""

import contextlib
import queue
import threading

import numpy as np
import reverb

from acme_impala.replay import tables

# Batches that may wait to be written back. Should Reverb be slower than the learner, the newest are
# left out: their unrolls keep the priorities they have.
_MAX_WAITING = 64
# A priority of zero would never be sampled, and so never be found to have become worth it.
_LEAST = 1e-3


class PriorityWriter:
    """Updates the priorities of a batch's unrolls in a thread of its own."""

    def __init__(self, client: reverb.Client):
        """Starts the thread; Python does not wait for it when it exits.

        Args:
            client: of the server that holds the replay table.
        """
        self._client = client
        self._waiting: queue.Queue[dict[int, float]] = queue.Queue(_MAX_WAITING)
        threading.Thread(target=self._write, daemon=True).start()

    def update(self, keys: np.ndarray, priorities: np.ndarray):
        """Hands over priorities, without waiting. Unrolls that have left the table are passed over.

        Args:
            keys: [n] of items in the replay table.
            priorities: [n], not negative. One that is not finite, which Reverb does not take, is
                passed over: its unroll keeps the priority that it has.
        """
        priorities = np.maximum(priorities.astype(np.float64), _LEAST)
        finite = np.isfinite(priorities)
        updates = zip(keys[finite].tolist(), priorities[finite].tolist(), strict=True)
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(dict(updates))

    def _write(self):
        while True:
            updates = self._waiting.get()
            try:
                self._client.mutate_priorities(tables.REPLAY, updates)
            except Exception:  # The server has gone: so will this process.
                return
