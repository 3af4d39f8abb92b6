"""What a program's nodes say of themselves, and which of them stalls first.

Read from `status/<node>.json` in the run directory, which `heartbeat.py` writes. Imports nothing
but Python, so that launch/status.py can load this file alone and need not wait for TensorFlow.

Clocks: a file says how long ago things happened by its writer's own clock, which is exact, and the
age of the file is told by one clock, that of the file system: the file's time of change against
that of a file which the reader makes for it. So hosts' clocks may differ.
"""

import contextlib
import fnmatch
import json
import os
import pathlib
import re
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

# Heartbeats come once a second. One that is older than this is missed.
SILENT_SECONDS = 5.0
# A node that beats, but has done nothing for so long, has stopped.
UNMOVED_SECONDS = 30.0
# For a process to come up and import what it needs; then again for a node to do its first step.
STARTING_SECONDS = 120.0
# States of a node: announced by its launcher; it runs; its process has ended in order, by an error,
# or was killed when the program ended.
STARTING, RUNNING, ENDED, FAILED, KILLED = "starting", "running", "ended", "failed", "killed"


class Status(NamedTuple):
    """What a node says of itself.

    Attributes:
        node: its name.
        host: its host's name.
        process: its process's id; None: it has not begun.
        restarts: how often its process was replaced.
        state: one of this module's.
        serves: whether it only answers others, so that it has nothing to do when they have not.
        progress: how much it has done, in `unit`.
        unit: of progress; '' as long as it has nothing to count.
        per_second: progress, in the last ten seconds.
        has_moved: whether there was any progress since it began.
        unmoved_seconds: since it made progress, or began.
        waits_for: what it waits for just now, if anything.
        waits_on: names of the nodes that must do something for that, or patterns of names.
        waits_seconds: how long it has waited.
        silent_seconds: age of all this; 0 where it is written.
    """

    node: str
    host: str = ""
    process: int | None = None
    restarts: int = 0
    state: str = STARTING
    serves: bool = False
    progress: int = 0
    unit: str = ""
    per_second: float = 0.0
    has_moved: bool = False
    unmoved_seconds: float = 0.0
    waits_for: str = ""
    waits_on: Sequence[str] = ()
    waits_seconds: float = 0.0
    silent_seconds: float = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether nothing is expected of it any more."""
        return self.state in (ENDED, FAILED, KILLED)

    @property
    def is_silent(self) -> bool:
        """Whether its heartbeat is missed."""
        allowed = STARTING_SECONDS if self.process is None else SILENT_SECONDS
        return not self.has_ended and self.silent_seconds > allowed

    @property
    def is_unmoved(self) -> bool:
        """Whether it has made no progress for too long."""
        allowed = UNMOVED_SECONDS if self.has_moved else STARTING_SECONDS
        return not self.has_ended and self.unmoved_seconds > allowed


class Stall(NamedTuple):
    """The first node that stalls.

    Attributes:
        node: its name.
        seconds: since when.
        why: how that was seen.
    """

    node: str
    seconds: float
    why: str


def write(folder: pathlib.Path, status: Status):
    """Writes a status; whoever looks finds the old one or the new, whole."""
    path = folder / f"{status.node}.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(status._asdict()))
    os.replace(fresh, path)


def read(folder: pathlib.Path) -> list[Status]:
    """Reads the newest status of every node, by their names; none where there is no such folder.

    What cannot be read just now, as may happen on a file system that hosts share, is left out.
    """
    now = _now(folder)
    statuses = []
    for path in folder.glob("*.json"):
        # Opened, and then asked for its age: over NFS opening looks for the newest.
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            seconds = max(0.0, now - os.fstat(file.fileno()).st_mtime)
            statuses.append(Status(**json.load(file))._replace(silent_seconds=seconds))
    return sorted(statuses, key=lambda status: _natural(status.node))


def first_stalled(statuses: Sequence[Status]) -> Stall | None:
    """Finds the node that keeps the others waiting; None: all is well.

    1. Of the processes whose heartbeat is missed, the one that has been silent for longest; it is
       named by its first node that does not serve.
    2. Else, of the nodes that have stopped making progress and wait for nobody, the one that has
       stopped for longest. Those that wait are not to blame; whoever they wait on is, or nobody.
    3. Else, of the nodes that serve, the one that has stopped for longest, if a node that has
       stopped waits on it, and on no other that still moves: so a queue is found between a learner
       without a batch and actors without room.

    Nodes that have ended do not stall.
    """
    silent = [status for status in statuses if status.is_silent]
    if silent:
        longest = max(silent, key=lambda status: status.silent_seconds)
        # Their files are not written at the same moment, so some may not count as silent yet.
        together = [
            status
            for status in statuses
            if (status.host, status.process) == (longest.host, longest.process)
            and not status.has_ended
        ]
        named = min(together, key=lambda status: status.serves)
        seconds = named.silent_seconds
        what = "heartbeat" if named.process else "sign of its process"
        return Stall(named.node, seconds, f"no {what} for {seconds:.0f} s")
    stopped = [status for status in statuses if status.is_unmoved and not status.serves]
    to_blame = [status for status in stopped if not status.waits_for]
    if not to_blame:
        for waiting in stopped:
            others = [other for other in statuses if _waits_on(waiting, other)]
            if all(other.is_unmoved for other in others):
                to_blame += [other for other in others if other.serves]
    if not to_blame:
        return None
    longest = max(to_blame, key=lambda status: status.unmoved_seconds)
    seconds = longest.unmoved_seconds
    return Stall(longest.node, seconds, f"it lives, but has done nothing for {seconds:.0f} s")


def table(statuses: Sequence[Status]) -> str:
    """Returns a table for people, and below it who stalls first."""
    rows = [
        ["node", "host", "process", "restarts", "heartbeat", "state", "progress", "per s", "waits"]
    ]
    rows += [_cells(status) for status in statuses]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", verdict(statuses)])


def verdict(statuses: Sequence[Status]) -> str:
    """Says in a line how the program is."""
    expected = [status for status in statuses if not status.has_ended]
    stall = first_stalled(statuses)
    if not expected:
        failed = [status.node for status in statuses if status.state == FAILED]
        return "The program has ended" + (f": {', '.join(failed)} failed." if failed else ".")
    if stall and all(status.is_silent for status in expected):
        newest = min(status.silent_seconds for status in expected)
        return f"{stall.node} stalls, and so do all others: no heartbeat for {newest:.0f} s."
    return f"{stall.node} stalls: {stall.why}." if stall else "All is well."


def _cells(status: Status) -> list[str]:
    is_known = not (status.is_silent or status.has_ended)  # What it does just now.
    waits = f"{status.waits_for}, {status.waits_seconds:.0f} s"
    return [
        status.node,
        status.host or "-",
        str(status.process or "-"),
        str(status.restarts),
        f"{status.silent_seconds:.1f} s ago" if status.process else "-",
        status.state,
        f"{status.progress} {status.unit}" if status.unit else "-",
        f"{status.per_second:.1f}" if status.unit and is_known else "-",
        waits if status.waits_for and is_known else "-",
    ]


def _waits_on(waiting: Status, other: Status) -> bool:
    return any(fnmatch.fnmatchcase(other.node, pattern) for pattern in waiting.waits_on)


def _now(folder: pathlib.Path) -> float:
    """The file system's time; this host's where nothing can be written there."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"now")
            file.flush()
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def _natural(name: str) -> list:
    """A key by which actor_2 comes before actor_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
