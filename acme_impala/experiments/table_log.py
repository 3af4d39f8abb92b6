"""What Reverb says of its own tables, for the logs."""

import collections
import time
from collections.abc import Mapping

import reverb
from acme.utils import loggers

from acme_impala import replay
from acme_impala.experiments import logs


class TableLog:
    """Logs sizes and rates of a server's tables.

    Attributes:
        unrolls_inserted: into the queues, by what the server has said last.
    """

    def __init__(self, client: reverb.Client, logger: loggers.Logger):
        """Begins to measure rates.

        Args:
            client: of the server.
            logger: told of each table's unrolls, and of the unrolls inserted and sampled a second,
                by Reverb's own count of its items; by names that begin with the table's. The
                queues of several tasks count as one.
        """
        self._client = client
        self._logger = logger
        self._last: Mapping[str, int] = {}
        self._last_time = 0.0
        self.unrolls_inserted = 0

    def write(self, frames: int):
        """Asks the server and logs.

        Args:
            frames: environment frames learned from.
        """
        try:
            tables = self._client.server_info(timeout=1)
        except reverb.errors.ReverbError:
            return  # It is busy with a checkpoint, or has gone.
        now = time.monotonic()
        seconds = now - self._last_time
        row = {logs.FRAMES: frames}
        counts = collections.Counter()
        for name, table in tables.items():
            kind = name.partition("_")[0]
            unrolls_per_item = table.signature.reward.shape[1]
            limiter = table.rate_limiter_info
            counts[f"{kind}_inserts"] += unrolls_per_item * limiter.insert_stats.completed
            counts[f"{kind}_samples"] += unrolls_per_item * limiter.sample_stats.completed
            row[f"{kind}_size"] = row.get(f"{kind}_size", 0) + unrolls_per_item * table.current_size
        for name, count in counts.items():
            row[f"{name}_per_second"] = (count - self._last.get(name, count)) / seconds
        self._last, self._last_time = counts, now
        self.unrolls_inserted = counts[f"{replay.QUEUE}_inserts"]
        self._logger.write(row)

    def close(self):
        """Closes the logger."""
        self._logger.close()
