"""Heartbeats: once a second a process writes down how its nodes are, for `statuses.py` to read.

A node says what it counts and, while it waits, what for. Both cost it next to nothing: a function
that a thread of the process calls once a second, and a note when a wait has lasted for a moment.
"""

import collections
import contextlib
import os
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from acme_impala.experiments import statuses
from acme_impala.experiments.statuses import Status

_PERIOD_SECONDS = 1.0
# How far back `Status.per_second` looks.
_RATE_SECONDS = 10.0
# Whoever waits says so again and again. One who has not for so long does not wait any more.
_WAIT_SECONDS = 2.5
# The longest that a node waits for another: that may still be starting, and restoring much.
MOST_WAIT_SECONDS = 600.0


class Pulse:
    """What one node tells of itself."""

    def __init__(self, node: str):
        """Begins to tell of a node, which has nothing to count yet."""
        self._node = node
        self._unit = ""
        self._count = self._count_parts = lambda: 0
        self._serves = False
        self._has_moved = False
        self._moved_at = time.monotonic()
        self._counted: collections.deque[tuple[float, int]] = collections.deque([(0.0, 0)])
        # By what is waited for: since when, when it was last said, and on whom.
        self._waits: dict[str, tuple[float, float, Sequence[str]]] = {}

    def measure(
        self,
        unit: str,
        count: Callable[[], int],
        *,
        serves: bool = False,
        count_parts: Callable[[], int] | None = None,
    ):
        """Says how progress is measured.

        Args:
            unit: in the plural.
            count: called once a second, in another thread; it must not wait for anything.
            serves: see `Status`.
            count_parts: counts what a unit takes many of, and the node may wait for long; None: a
                unit is one.
        """
        self._count, self._unit, self._serves = count, unit, serves
        self._count_parts = count_parts or count
        self._has_moved, self._moved_at = False, time.monotonic()
        self._counted = collections.deque([(self._moved_at, int(count()))])

    def waits(self, what: str, on: Sequence[str]):
        """Says that the node waits; to be called every second or two while it does.

        Args:
            what: it waits for.
            on: see `Status.waits_on`.
        """
        now = time.monotonic()
        since, last, _ = self._waits.get(what, (now, now, ()))
        self._waits[what] = (since if now - last < _WAIT_SECONDS else now, now, on)

    def asked_while_waiting(
        self, should_stop: Callable[[], bool], what: str, on: Sequence[str]
    ) -> Callable[[], bool]:
        """Makes of a question, which is asked only while the node waits, one that says so.

        Args:
            should_stop: the question.
            what: the node waits for.
            on: see `Status.waits_on`.

        Returns:
            The question, which raises TimeoutError where the wait lasts for `MOST_WAIT_SECONDS`
            without any progress of the node, not even a part of what it counts.
        """
        count, moved_at = None, 0.0

        def ask() -> bool:
            nonlocal count, moved_at
            self.waits(what, on)
            since, now, _ = self._waits[what]
            if count != (count := int(self._count_parts())):
                moved_at = now
            if now - max(since, moved_at) > MOST_WAIT_SECONDS:
                raise TimeoutError(
                    f"{self._node or 'A node'} has waited for {what} for {MOST_WAIT_SECONDS:g} s: "
                    f"{' or '.join(on)} hangs, or cannot be reached."
                )
            return should_stop()

        return ask

    def status(self) -> Status:
        """How the node is, but for its place and state."""
        now, count = time.monotonic(), int(self._count())
        if count != self._counted[-1][1]:
            self._has_moved, self._moved_at = True, now
        self._counted.append((now, count))
        while now - self._counted[0][0] > _RATE_SECONDS and len(self._counted) > 2:
            self._counted.popleft()
        first_time, first_count = self._counted[0]
        seconds = now - first_time
        unmoved_seconds = now - self._moved_at
        waits = [
            (since, what, on)
            for what, (since, last, on) in list(self._waits.items())
            if now - last < _WAIT_SECONDS
        ]
        since, what, on = min(waits, key=lambda wait: wait[0], default=(now, "", ()))
        return Status(
            node=self._node,
            serves=self._serves,
            progress=count,
            unit=self._unit,
            # Where a node begins anew its count may, too.
            per_second=max(0.0, (count - first_count) / seconds) if seconds > 0 else 0.0,
            has_moved=self._has_moved,
            unmoved_seconds=unmoved_seconds,
            waits_for=what,
            waits_on=on,
            # Waits with progress between them may look like one.
            waits_seconds=min(now - since, unmoved_seconds),
        )


# Of the nodes of this process.
_pulses: dict[str, Pulse] = {}
_of_thread = threading.local()


def of(node: str) -> Pulse:
    """The pulse of a node of this process."""
    return _pulses.setdefault(node, Pulse(node))


def work_for(node: str):
    """Says whose work this thread does."""
    _of_thread.pulse = of(node)


def current() -> Pulse:
    """The pulse of the node whose work this thread does; one that nobody feels, if it is none's."""
    return getattr(_of_thread, "pulse", None) or Pulse("")


@contextlib.contextmanager
def beating(folder: pathlib.Path, nodes: Sequence[str], restarts: int = 0) -> Iterator[None]:
    """Writes heartbeats of nodes while their process runs them, and at the end how that was.

    A disk that is full, say, ends no node: its heartbeat is missed, and that is seen.

    Args:
        folder: the run directory's.
        nodes: their names; they begin anew.
        restarts: how often the process was replaced.
    """
    pulses = [Pulse(node) for node in nodes]
    _pulses.update(zip(nodes, pulses, strict=True))
    ended = threading.Event()

    def beat(state: str):
        with contextlib.suppress(OSError):
            for pulse in pulses:
                status = pulse.status()
                place = {"host": socket.gethostname(), "process": os.getpid()}
                statuses.write(folder, status._replace(state=state, restarts=restarts, **place))

    def keep_beating():
        beat(statuses.RUNNING)
        while not ended.wait(_PERIOD_SECONDS):
            beat(statuses.RUNNING)

    thread = threading.Thread(target=keep_beating, name="heartbeat", daemon=True)
    thread.start()
    state = statuses.FAILED
    try:
        yield
        state = statuses.ENDED
    finally:
        ended.set()
        thread.join()
        beat(state)


def announce(folder: pathlib.Path, nodes: Sequence[str], *, restarts: int = 0):
    """Says that a process with these nodes is being started, so that they are missed if not.

    Args:
        folder: the run directory's.
        nodes: their names.
        restarts: how often the process was replaced.
    """
    for node in nodes:
        statuses.write(folder, Status(node, restarts=restarts))


def conclude(folder: pathlib.Path):
    """Says of nodes that have not said how they ended, when none is left, that they were killed."""
    for status in statuses.read(folder):
        if not status.has_ended:
            killed = status._replace(state=statuses.KILLED, silent_seconds=0.0)
            statuses.write(folder, killed)
