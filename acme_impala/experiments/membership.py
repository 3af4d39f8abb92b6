"""What a node's process knows of the others: which run, where they are, and since which life.

Under Launchpad's own launchers nobody is replaced: addresses are bound before the start, every
process has one life, and the first death ends the program. Under a supervisor (`supervisor.py`)
processes die and live again, elsewhere perhaps, and news of it reaches the others here.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import launchpad as lp
from launchpad import address as lp_address

from acme_impala.experiments import heartbeat
from acme_impala.experiments.messages import News

# The process whose nodes the others call: learner, replay and counter.
LEARNER = "learner"
_POLL_SECONDS = 0.2
_CONNECT_SECONDS = 5.0


class Life(NamedTuple):
    """A life of the learner's process, during which the others work with it.

    Attributes:
        number: from 0.
        over: set when that process has died, and when the program ends.
        address: where it can be asked whether it is there, 'host:port'; None: no need to ask, its
            death ends the program.
    """

    number: int
    over: threading.Event
    address: str | None = None


class Membership:
    """A process's place in a program that a supervisor watches over.

    Attributes:
        life: how often the process has died before.
        news: the newest.
    """

    def __init__(self, life: int):
        """Begins without news."""
        self.life = life
        self.news = News()
        self._changed = threading.Condition()
        self._learner: Life | None = None

    def update(self, news: News):
        """Takes over news, if they are newer."""
        with self._changed:
            if news.number <= self.news.number:
                return
            self.news = news
            number = None if news.stop else news.lives.get(LEARNER)
            if self._learner and self._learner.number != number:
                self._learner.over.set()
                self._learner = None
            if number is not None and not self._learner:
                address = news.addresses[LEARNER][0]
                self._learner = Life(number, threading.Event(), address)
            self._changed.notify_all()

    def next_learner_life(self, after: int, stop: threading.Event) -> Life | None:
        """Waits for a life of the learner's process; None: the program ends.

        Args:
            after: the number of the last one that was known.
            stop: set when the program ends.

        Raises:
            TimeoutError: there is none for `heartbeat.MOST_WAIT_SECONDS`.
        """

        def ready() -> bool:
            return stop.is_set() or bool(self._learner and self._learner.number > after)

        with self._changed:
            waited = 0.0
            while not self._changed.wait_for(ready, _POLL_SECONDS):
                heartbeat.current().waits(f"a life of the {LEARNER}", on=[LEARNER])
                waited += _POLL_SECONDS
                if waited > heartbeat.MOST_WAIT_SECONDS:
                    raise TimeoutError(
                        f"No learner has come after its life {after} for "
                        f"{heartbeat.MOST_WAIT_SECONDS:g} s."
                    )
            return None if stop.is_set() else self._learner


# This process's, where a supervisor has started it.
_membership: Membership | None = None


def join(membership: Membership):
    """Makes a membership this process's."""
    global _membership
    _membership = membership


def own_life() -> int:
    """How often this process has died before."""
    return _membership.life if _membership else 0


def is_supervised() -> bool:
    """Whether this process is replaced when it dies."""
    return _membership is not None


def learner_lives() -> Iterator[Life]:
    """Gives the lives of the learner's process, one after the other, until the program ends.

    Call it in a node.
    """
    stop = lp.stop_event()
    if not _membership:
        if not stop.is_set():
            yield Life(0, stop)
        return
    number = -1
    while life := _membership.next_learner_life(number, stop):
        yield life
        number = life.number


def lives_of(prefix: str) -> Mapping[str, int] | None:
    """The lives of the processes that run, of those whose names begin so; None: all, life 0."""
    if not _membership:
        return None
    lives = _membership.news.lives
    return {name: life for name, life in lives.items() if name.startswith(prefix)}


def has_gone(life: Life) -> bool:
    """Whether the learner's process does not take a connection any more."""
    if not life.address:
        return False
    host, port = life.address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError:
        return True
    return False


class PlacedAddress(lp_address.AbstractAddressBuilder):
    """An address that is known when the process that owns it has been placed."""

    def __init__(self, process: str, index: int):
        """Stands for the address of a number among those that a process owns."""
        self._process = process
        self._index = index

    def build(self) -> str:
        """Returns 'host:port', as the newest news have it."""
        return _membership.news.addresses[self._process][self._index]


def bind(process: str, addresses: list[lp_address.Address]):
    """Binds a process's addresses to what the news will say."""
    for index, address in enumerate(addresses):
        address.bind(PlacedAddress(process, index))
