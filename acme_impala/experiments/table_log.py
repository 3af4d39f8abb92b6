"""What Reverb says of its own tables, for the logs."""

import time
from collections.abc import Mapping

import reverb
from acme.utils import loggers

from acme_impala.experiments import logs


class TableLog:
    """Logs sizes and rates of a server's tables."""

    def __init__(self, client: reverb.Client, logger: loggers.Logger):
        """Begins to measure rates.

        Args:
            client: of the server.
            logger: told of each table's unrolls, and of the unrolls inserted and sampled a second,
                by Reverb's own count of its items; by names that begin with the table's.
        """
        self._client = client
        self._logger = logger
        self._last: Mapping[str, tuple[int, int]] = {}
        self._last_time = 0.0

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
        counts = {}
        for name, table in sorted(tables.items()):
            limiter = table.rate_limiter_info
            unrolls_per_item = table.signature.reward.shape[1]
            counts[name] = limiter.insert_stats.completed, limiter.sample_stats.completed
            row[f"{name}_size"] = unrolls_per_item * table.current_size
            for action, count, before in zip(
                ("inserts", "samples"),
                counts[name],
                self._last.get(name, counts[name]),
                strict=True,
            ):
                row[f"{name}_{action}_per_second"] = unrolls_per_item * (count - before) / seconds
        self._last, self._last_time = counts, now
        self._logger.write(row)

    def close(self):
        """Closes the logger."""
        self._logger.close()
