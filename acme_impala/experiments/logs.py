"""Logs: CSV and TensorBoard, a file for each node, rows by environment frames learned from."""

import csv
import math
import os
import pathlib
import re
import time
from collections.abc import Callable, Mapping

from acme.utils import loggers
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer import event_file_writer

from acme_impala.experiments.run_directory import RunDirectory

# Every row has it: environment frames learned from when the row was written.
FRAMES = "frames"
# How often a node of a program logs at most.
LOG_SECONDS = 1.0


def make_logger(
    directory: RunDirectory,
    node: str,
    *,
    every: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> loggers.Logger:
    """Makes a node's logger.

    Args:
        directory: the run's.
        node: 'learner', 'evaluator', 'actor_0', ...: names the files.
        every: rows that follow another sooner than this are left out, by the clock.
        clock: seconds, or whatever else a run goes by.
    """
    logger = loggers.Dispatcher(
        [
            CSVLogger(directory.logs / f"{node}.csv"),
            TensorBoardLogger(directory.tensorboard / node, label=node.split("_")[0]),
        ],
        serialize_fn=loggers.to_numpy,
    )
    return Throttle(logger, every, clock)


def file_name(environment_name: str) -> str:
    """Makes a part of a file's name of an environment's."""
    return re.sub(r"[^\w.-]+", "-", environment_name)


def task_node(task: str, node: str) -> str:
    """Names the log of one of several tasks in a node."""
    return f"task_{file_name(task)}_{node}"


def task_pattern(task: str) -> str:
    """A pattern for the files of `task_node` in all actors."""
    return f"{task_node(task, 'actor_*')}.csv"


def cut_back(directory: RunDirectory, counts: Mapping[str, float], nodes: str = "*"):
    """Takes out what was logged after the checkpoint that a run continues from.

    The frames after it are going to be learned, and logged, again. A row cut short by a crash goes
    too.

    Args:
        directory: the run's.
        counts: of the checkpoint; none: everything goes.
        nodes: a pattern for the names of nodes whose logs it is about.
    """
    learned, acted = counts.get("learner_frames", -1), counts.get("actor_frames", -1)

    for path in directory.logs.glob(f"{nodes}.csv"):
        rows = read_rows(path)
        kept = [
            row
            for row in rows
            if float(row[FRAMES]) <= learned and float(row.get("actor_frames", -1)) <= acted
        ]
        fresh = path.with_suffix(".new")
        with open(fresh, "w", newline="") as file:
            if kept:
                writer = csv.DictWriter(file, kept[0].keys())
                writer.writeheader()
                writer.writerows(kept)
        os.replace(fresh, path)


def read_rows(path: pathlib.Path) -> list[dict[str, str]]:
    """Reads the whole rows of a log; the last may be cut short, then it is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    return [row for row in csv.DictReader(lines) if None not in row.values()]


class CSVLogger(loggers.Logger):
    """Appends rows to a file, each of them whole as soon as it is written.

    The columns are those that the file has, in their order: a run may be continued by code that
    measures more or less than the code that began it.
    """

    def __init__(self, path: pathlib.Path):
        self._file = open(path, "a+", newline="")  # noqa: SIM115 (closed by `close`)
        self._file.seek(0)
        self._columns = next(csv.reader(self._file), None)

    def write(self, values: loggers.LoggingData):
        """Appends a row; the first of the file names the columns."""
        new = self._columns is None
        if new:
            self._columns = sorted(values)
        writer = csv.DictWriter(self._file, self._columns, extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerow(values)
        self._file.flush()

    def close(self):
        """Closes the file."""
        self._file.close()


class TensorBoardLogger(loggers.Logger):
    """Writes scalars for TensorBoard, by environment frames.

    A whole row is one event, which can be read as soon as it is written. TensorFlow's own
    summaries, an operation for each number, take many times as long.
    """

    def __init__(self, directory: pathlib.Path, label: str):
        """Opens a new file of events.

        Args:
            directory: of the file.
            label: put before every name, with a slash.
        """
        self._label = label
        self._writer = event_file_writer.EventFileWriter(str(directory))

    def write(self, values: loggers.LoggingData):
        """Writes all but the frames, which say where on the axis the row stands."""
        scalars = [
            summary_pb2.Summary.Value(tag=f"{self._label}/{name}", simple_value=float(value))
            for name, value in values.items()
            if name != FRAMES
        ]
        self._writer.add_event(
            event_pb2.Event(
                wall_time=time.time(),
                step=int(values[FRAMES]),
                summary=summary_pb2.Summary(value=scalars),
            )
        )
        self._writer.flush()  # Nodes end without closing their loggers.

    def close(self):
        """Closes the file."""
        self._writer.close()


class Throttle(loggers.Logger):
    """Passes on a row now and then, and on `close` the newest one that it held back."""

    def __init__(
        self,
        logger: loggers.Logger,
        period: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._logger = logger
        self._period = period
        self._clock = clock
        self._last_time = -math.inf
        self._held_back = None

    def write(self, values: loggers.LoggingData):
        """Passes the row on if it is time; a row that is not costs nothing to convert."""
        self._held_back = values
        if self._clock() - self._last_time >= self._period:
            self._pass_on()

    def close(self):
        """Passes on the newest row and closes the logger behind."""
        if self._held_back is not None:
            self._pass_on()
        self._logger.close()

    def _pass_on(self):
        self._logger.write(self._held_back)
        self._held_back = None
        self._last_time = self._clock()
