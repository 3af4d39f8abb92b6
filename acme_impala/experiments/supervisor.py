"""Watches over a program's processes on a Ray cluster, and starts those anew that die."""

import collections
import dataclasses
import os
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import cloudpickle
import launchpad as lp
from absl import flags, logging

from acme_impala.experiments import (
    heartbeat,
    membership,
    messages,
    open_ports,
    ray_cluster,
    ray_place,
)
from acme_impala.experiments.messages import News, Task
from acme_impala.experiments.run_directory import RunDirectory

# What a place runs.
_MODULE = "acme_impala.experiments.node_process"
# How long one wait for the cluster lasts before signals are looked for again.
_POLL_SECONDS = 0.2
# How long a place waits for an event before it answers that there was none.
_EVENT_SECONDS = 10.0
# How long a host may be out of reach, or Ray look for another, before the run ends.
_UNREACHABLE_SECONDS = 600.0
_RETRY_SECONDS = 1.0
# After how long without a place it is said what is waited for.
_SAY_SECONDS = 5.0
# A process that dies again and again is given more and more time before its next life.
_MOST_BACKOFF_SECONDS = 8.0


class DiedTooOftenError(Exception):
    """A process has died so often that the run ends; the message names it and how it died."""


@dataclasses.dataclass
class _Process:
    """One of the program's processes, and where it is in its lives."""

    name: str
    node: bytes  # Pickled.
    nodes: Sequence[str]  # That are in it.
    listening: Sequence[str]  # Of them, those that own its addresses.
    place: Any  # Ray's handle of a RayPlace.
    environment: Mapping[str, str]
    life: int = 0
    host: str = ""
    pid: int = 0
    addresses: list[str] | None = None  # None: it does not run.
    call: Any = None  # What Ray was asked for last, if its answer is awaited.
    is_starting: bool = False
    events: int = 0  # That have been heard of in this life.
    is_out_of_reach: bool = False  # What it was told meanwhile may be lost.
    next_call: float = 0.0  # When to ask Ray next.
    last_answer: float = dataclasses.field(default_factory=time.monotonic)
    deaths: collections.deque = dataclasses.field(default_factory=collections.deque)

    @property
    def where(self) -> str:
        return f"{self.name} (process {self.pid} on {self.host})" if self.pid else self.name


class Supervisor:
    """Places a program's processes on a Ray cluster and keeps them running until its end."""

    def __init__(
        self,
        program: lp.Program,
        directory: RunDirectory,
        environments: Mapping[str, Mapping[str, str]],
        options: ray_cluster.RayOptions,
        actor_options: Mapping[str, Mapping[str, Any]],
        stop: threading.Event,
    ):
        """Takes places for all processes of a program; waits for those that others hold.

        Args:
            program: of `program.NodesProcess`es.
            directory: the run's, which every host must see.
            environments: variables of each group's processes.
            options: of the run.
            actor_options: what `ray_cluster.connected` gives.
            stop: may be set to end the wait, or the run, early and in order.

        Raises:
            ValueError: a host does not see the run directory, or there is no place for too long.
        """
        import ray  # No other launcher needs it.

        self._ray = ray
        self._options = options
        self._stop = stop
        ray.cloudpickle.register_pickle_by_value(ray_place)  # Else hosts import all of TensorFlow.
        _pickle_scripts_by_value()
        place_class = ray.remote(ray_place.RayPlace)
        self._processes: list[_Process] = []
        for node in program.get_all_nodes():
            membership.bind(node.name, node.addresses)
        for group, nodes in program.groups.items():
            for node in nodes:
                self._processes.append(
                    _Process(
                        node.name,
                        cloudpickle.dumps(node),
                        node.node_names,
                        node.listening,
                        place_class.options(**actor_options[group]).remote(node.name),
                        environments[group],
                    )
                )
        self._check_shared(directory)
        for process in self._processes:
            heartbeat.announce(directory.status, process.nodes)
        self._status = directory.status
        self._news = News()
        self._wants_stop = False

    def run(self):
        """Runs the program to its end.

        Raises:
            DiedTooOftenError: a process died too often.
        """
        try:
            while not (self._stop.is_set() or self._wants_stop):
                self._ask()
                self._take_answers()
            self._publish(stop=True)
            # As Launchpad has it for its own launchers, and a flag for it.
            deadline = time.monotonic() + flags.FLAGS["lp_termination_notice_secs"].value
            while self._running() and time.monotonic() < deadline:
                self._ask()
                self._take_answers()
        finally:
            self._end_all()

    def _check_shared(self, directory: RunDirectory):
        probe = directory.root / f".seen-by-all-hosts-{uuid.uuid4().hex}"
        probe.touch()
        try:
            calls = [process.place.sees.remote(str(probe)) for process in self._processes]
            if not self._wait_for_places(calls):
                return
            seen = self._ray.get(calls)
        finally:
            probe.unlink()
        for process in self._processes:
            process.last_answer = time.monotonic()
        if not all(seen):
            name = self._processes[seen.index(False)].name
            raise ValueError(
                f"workdir={directory.root} is not seen by the host on which Ray has placed {name}: "
                "it must be on a file system that all hosts share, at the same path."
            )

    def _wait_for_places(self, calls: Sequence[Any]) -> bool:
        """Waits until all places have answered a call each; False: the run is to end."""
        begin = time.monotonic()
        has_said = False
        while not self._stop.is_set():
            _, waiting = self._ray.wait(calls, num_returns=len(calls), timeout=_POLL_SECONDS)
            if not waiting:
                return True
            names = ", ".join(
                process.name
                for process, call in zip(self._processes, calls, strict=True)
                if call in waiting
            )
            seconds = time.monotonic() - begin
            if seconds > _UNREACHABLE_SECONDS:
                raise ValueError(
                    f"Ray has had no room for {names} for {_UNREACHABLE_SECONDS:.0f} s: others use "
                    "the cluster. Wait for them, or ask for less."
                )
            if seconds > _SAY_SECONDS and not has_said:
                print(f"Waits for room on the Ray cluster for {names}.", flush=True)
                has_said = True
        return False

    def _running(self) -> list[_Process]:
        return [process for process in self._processes if process.addresses is not None]

    def _ask(self):
        """Asks every place for what its process does, or to start one."""
        now = time.monotonic()
        for process in self._processes:
            if now - process.last_answer > _UNREACHABLE_SECONDS:
                raise DiedTooOftenError(
                    f"{process.where} cannot be reached, nor be placed on another host, for "
                    f"{_UNREACHABLE_SECONDS:.0f} s: the run ends."
                )
            if process.call is not None or now < process.next_call:
                continue
            if process.addresses is not None:
                process.call = process.place.event.remote(process.events, _EVENT_SECONDS)
            elif not self._news.stop:
                task = Task(process.name, process.life, process.node)
                process.is_starting = True
                process.call = process.place.start.remote(
                    _MODULE,
                    messages.pack(task),
                    len(process.listening),
                    dict(process.environment),
                )

    def _take_answers(self):
        """Waits a moment for answers from the places."""
        calls = {process.call: process for process in self._processes if process.call is not None}
        if not calls:
            time.sleep(_POLL_SECONDS)
            return
        ready, _ = self._ray.wait(list(calls), timeout=_POLL_SECONDS)
        for call in ready:
            process = calls[call]
            process.call = None
            self._take_answer(process, call)

    def _take_answer(self, process: _Process, call: Any):
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.ActorUnavailableError:
            # It may only be out of reach for a while, and go on.
            process.next_call = time.monotonic() + _RETRY_SECONDS
            process.is_out_of_reach = True
            return
        except self._ray.exceptions.RayActorError:
            answer = ray_place.NONE, 0
            process.is_starting = False
        process.last_answer = time.monotonic()
        if process.is_out_of_reach:
            process.is_out_of_reach = False
            process.place.tell.remote(messages.pack(self._news))
        if process.is_starting:
            process.is_starting, process.events = False, 0
            process.host, process.pid, process.addresses = answer
            if process.listening:
                addresses = zip(process.listening, process.addresses, strict=True)
                print(open_ports.describe(dict(addresses)), flush=True)
            self._publish()
        elif answer:
            process.events += 1
            if answer[0] == messages.STOP:
                self._wants_stop = True
            else:
                self._bury(process, *answer)

    def _bury(self, process: _Process, kind: str, status: int):
        """Takes note of a death, and sets the date of the next life."""
        who = process.where
        process.addresses, process.pid = None, 0
        self._publish()
        if self._news.stop:
            return
        now = time.monotonic()
        process.deaths.append(now)
        while now - process.deaths[0] > self._options.deaths_seconds:
            process.deaths.popleft()
        number, most = len(process.deaths), self._options.max_deaths
        seconds = self._options.deaths_seconds
        text = f"{who} {_how(kind, status)}, death {number} of {most} in {seconds:g} s"
        if number >= most:
            raise DiedTooOftenError(f"{text}: the run ends.")
        logging.warning("%s. It is started again.", text)
        process.life += 1
        heartbeat.announce(self._status, process.nodes, restarts=process.life)
        process.next_call = now + min(_MOST_BACKOFF_SECONDS, 2.0 ** (number - 1) - 1.0)

    def _publish(self, stop: bool = False):
        """Tells every process what has changed."""
        running = self._running()
        self._news = News(
            self._news.number + 1,
            stop or self._news.stop,
            {process.name: process.life for process in running},
            {process.name: process.addresses for process in running},
        )
        data = messages.pack(self._news)
        for process in running:
            process.place.tell.remote(data)

    def _end_all(self):
        """Kills whatever is left, and gives all places back."""
        late = [process.name for process in self._running()]
        if late:
            logging.warning("Killed, for they did not end in time: %s.", ", ".join(late))
        for process in self._processes:
            self._ray.kill(process.place)


def _how(kind: str, status: int) -> str:
    if kind == ray_place.NONE:
        return "went with its host, or with Ray's process for it"
    if status < 0:
        return f"was killed by signal {-status}"
    return f"ended with status {status}"


def _pickle_scripts_by_value():
    """Lets what was imported from beside the command travel with the program.

    Other hosts have the package, but the folder of the command need not be on their path.
    """
    script = sys.modules["__main__"]
    folder = os.path.dirname(os.path.abspath(getattr(script, "__file__", "") or "."))
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and os.path.dirname(os.path.abspath(file)) == folder and not module.__package__:
            cloudpickle.register_pickle_by_value(module)
