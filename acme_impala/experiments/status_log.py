"""The history of a program's statuses, as CSV and for TensorBoard."""

import time

from acme_impala.experiments import logs, statuses
from acme_impala.experiments.progress import tail_row
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.experiments.watcher import Watcher

_NAME = "status"
_PERIOD_SECONDS = 10.0
# What has a number, for TensorBoard.
_NUMBERS = ("restarts", "heartbeat_seconds", "per_second", "unmoved_seconds", "stalls")


class StatusLog(Watcher):
    """Logs every node's status every ten seconds, in a thread, while a program runs.

    `logs/status.csv` has a row for each node and time. Whether it is the one that stalls first is
    in `stalls`, 0 or 1.
    """

    def __init__(self, directory: RunDirectory):
        super().__init__("status_log")
        self._directory = directory
        self._table = logs.CSVLogger(directory.logs / f"{_NAME}.csv")
        self._curves = logs.TensorBoardLogger(directory.tensorboard / _NAME, label=_NAME)

    def _watch(self):
        while not self._stop.wait(_PERIOD_SECONDS):
            self.write()

    def _conclude(self):
        self.write()
        self._table.close()
        self._curves.close()

    def write(self):
        """Logs how all nodes are."""
        learner = tail_row(self._directory.logs / "learner.csv")
        when = {logs.FRAMES: learner[logs.FRAMES] if learner else 0, "time": time.time()}
        found = statuses.read(self._directory.status)
        stall = statuses.first_stalled(found)
        curves = {logs.FRAMES: when[logs.FRAMES]}
        for status in found:
            row = status._asdict()
            row["heartbeat_seconds"] = row.pop("silent_seconds")
            row["waits_on"] = " ".join(status.waits_on)
            row["stalls"] = int(bool(stall) and stall.node == status.node)
            self._table.write({**when, **row})
            curves |= {f"{status.node}/{name}": row[name] for name in _NUMBERS}
        if found:
            self._curves.write(curves)
