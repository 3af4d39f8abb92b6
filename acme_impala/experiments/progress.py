"""The live line: how far a run is, and what stalls, read from its logs and heartbeats."""

import os
import pathlib
import sys
import time
from collections.abc import Mapping

from acme_impala.experiments import logs, statuses
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.experiments.watcher import Watcher

_BAR = 24  # Characters.
_PERIOD_SECONDS = 30.0  # Where the output is no terminal.
_TAIL = 4096  # Bytes; a row is some hundred.


class LiveLine(Watcher):
    """One line in the terminal that is written over once a second while a run goes on.

    It reads the logs, so it is the same for threads, processes and a single loop. Where the output
    is no terminal a line is printed every thirty seconds, and when a node begins to stall.
    """

    def __init__(self, directory: RunDirectory, num_frames: int):
        super().__init__("live_line")
        self._directory = directory
        self._num_frames = num_frames
        self._terminal = sys.stdout.isatty()
        self._samples: list[tuple[float, float]] = []  # (seconds, frames) of the last minute or so
        self._width = 0
        self._stalled: str | None = None  # The node that stalled when the last line was printed.

    def __enter__(self):
        self._look()  # At what the start before this one has left.
        return super().__enter__()

    def _watch(self):
        next_time = time.monotonic() + _PERIOD_SECONDS
        while not self._stop.wait(1.0):
            stall = statuses.first_stalled(statuses.read(self._directory.status))
            stalled = stall and stall.node
            if self._terminal or stalled != self._stalled or time.monotonic() >= next_time:
                self._stalled = stalled
                self._print(stall)
                next_time = time.monotonic() + _PERIOD_SECONDS
            else:
                self._look()  # As often, or the time of the start would count.

    def _conclude(self):
        self._print(last=True)

    def _print(self, stall: statuses.Stall | None = None, last: bool = False):
        parts = [f"{stall.node} stalls ({stall.seconds:.0f} s)"] if stall else []
        line = " | ".join([*filter(None, [self._line()]), *parts])
        if not line:
            return
        if self._terminal:
            self._width = max(self._width, len(line))
            print("\r" + line.ljust(self._width), end="\n" if last else "", flush=True)
        else:
            print(line, flush=True)

    def _look(self) -> Mapping[str, str] | None:
        """Takes a sample of how far the run is; returns the learner's newest row."""
        learner = tail_row(self._directory.logs / "learner.csv")
        now, frames = time.monotonic(), float(learner[logs.FRAMES]) if learner else 0.0
        recent = [sample for sample in self._samples if now - sample[0] < 70]
        if all(sample[1] == frames for sample in recent):
            recent = []  # Before the first step a run is starting, which is not its speed.
        self._samples = [*recent, (now, frames)]
        return learner

    def _line(self) -> str:
        learner = self._look()
        if not learner:
            return ""
        first_time, first_frames = self._samples[0]
        last_time, frames = self._samples[-1]
        elapsed = last_time - first_time
        speed = (frames - first_frames) / elapsed if elapsed > 0 else 0.0
        done = min(1.0, frames / self._num_frames)
        left = (self._num_frames - frames) / speed if speed > 0 else None
        parts = [
            f"[{'=' * int(done * _BAR):<{_BAR}}] {done:4.0%}",
            f"{_short(frames)}/{_short(self._num_frames)} frames",
            f"{_short(speed)} frames/s",
            f"return {_newest_return(self._directory)}",
            f"lag {float(learner['policy_lag_mean']):.1f}",
            f"{_duration(left)} left",
        ]
        return " | ".join(parts)


def tail_row(path: pathlib.Path) -> Mapping[str, str] | None:
    """The last whole row of a log, read from its end; None where there is none."""
    try:
        with open(path, "rb") as file:
            header = file.readline().decode().strip().split(",")
            start = max(file.tell(), file.seek(0, os.SEEK_END) - _TAIL)
            file.seek(start)
            lines = file.read().decode().split("\n")[:-1]
    except FileNotFoundError:
        return None
    cells = lines[-1].strip().split(",") if lines else []
    return dict(zip(header, cells, strict=True)) if len(cells) == len(header) else None


def _newest_return(directory: RunDirectory) -> str:
    rows = (tail_row(path) for path in directory.logs.glob("actor_*.csv"))
    training = [float(row["episode_return"]) for row in rows if row]
    evaluation = tail_row(directory.logs / "evaluator.csv")
    text = f"{sum(training) / len(training):.2f}" if training else "-"
    if evaluation:
        text += f" (evaluation {float(evaluation['episode_return']):.2f})"
    return text


def _short(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, seconds = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
