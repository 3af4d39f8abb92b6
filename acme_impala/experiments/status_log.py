"""The history of a program's statuses, as CSV and for TensorBoard."""

import threading
import time

from acme_impala.experiments import logs, statuses
from acme_impala.experiments.progress import tail_row
from acme_impala.experiments.run_directory import RunDirectory

_NAME = "status"
_PERIOD_SECONDS = 10.0
# What has a number, for TensorBoard.
_NUMBERS = ("restarts", "heartbeat_seconds", "per_second", "unmoved_seconds", "stalls")


class StatusLog:
    """Logs every node's status every ten seconds, in a thread, while a program runs.

    `logs/status.csv` has a row for each node and time. Whether it is the one that stalls first is
    in `stalls`, 0 or 1.

    Use as a context manager.
    """

    def __init__(self, directory: RunDirectory):
        self._directory = directory
        self._table = logs.CSVLogger(directory.logs / f"{_NAME}.csv")
        self._curves = logs.TensorBoardLogger(directory.tensorboard / _NAME, label=_NAME)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status_log", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.write()
        self._table.close()
        self._curves.close()

    def _run(self):
        while not self._stop.wait(_PERIOD_SECONDS):
            self.write()

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
