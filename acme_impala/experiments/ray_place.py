"""A place on a Ray cluster: a Ray actor that holds resources, and the process that uses them.

It is sent to its host as it stands here, and needs nothing there but Python, so it costs the host
little beside the process. That imports what it needs itself, with the environment of the nodes of a
local program, and none of Ray's.
"""

import contextlib
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

# Words for what has become of the process.
NONE, ENDED = "none", "ended"


class RayPlace:
    """Starts one process at a time, tells it news, and says what becomes of it.

    Use as a Ray actor with a few threads. When it dies its process does.
    """

    def __init__(self, name: str):
        """Makes a place for a process of this name."""
        self._name = name
        self._process: subprocess.Popen | None = None
        self._input: queue.Queue[bytes | None] = queue.Queue()
        self._events = _Events()

    def __repr__(self):
        return self._name  # Ray puts it before every line that the process prints.

    def sees(self, path: str) -> bool:
        """Whether there is a file on its host."""
        return os.path.exists(path)

    def start(
        self, module: str, data: bytes, num_addresses: int, environment: dict[str, str]
    ) -> tuple[str, int, list[str]]:
        """Starts a process; one that runs already is killed.

        Args:
            module: that Python runs, with the descriptor of a pipe for its words, and its name.
            data: the beginning of its input.
            num_addresses: that it owns.
            environment: variables, added to the host's.

        Returns:
            The host's name, the process's id, and 'host:port' of its addresses.
        """
        import ray  # It is there where this is a Ray actor.

        self.end()
        host = ray.util.get_node_ip_address()
        self._input, self._events = queue.Queue(), _Events()
        addresses = [f"{host}:{port}" for port in _free_ports(num_addresses)]
        events, events_of_process = os.pipe()
        folder = tempfile.mkdtemp(prefix="impala-node-")  # Of what it leaves when it is killed.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(events_of_process), self._name],
            stdin=subprocess.PIPE,
            pass_fds=[events_of_process],
            env={**_environment_without_ray(), **environment, "TMPDIR": folder},
        )
        os.close(events_of_process)
        self._input.put(data)
        for function, arguments in (
            (_write, (self._process, self._input)),
            (_listen, (events, self._events)),
            (_wait, (self._process, folder, self._events)),
        ):
            threading.Thread(target=function, args=arguments, daemon=True).start()
        return socket.gethostname(), self._process.pid, addresses

    def tell(self, data: bytes):
        """Adds to the process's input."""
        self._input.put(data)

    def event(self, number: int, seconds: float) -> tuple[str, int] | None:
        """Waits for what the process does.

        Asking again gives the same answer, since one may be lost with a connection.

        Args:
            number: of the event, from 0 at its start.
            seconds: to wait.

        Returns:
            (a word of its own, 0); (ENDED, its exit status); (NONE, 0): there is no process, for
            this place itself is new; None: nothing happened.
        """
        return self._events.wait_for(number, seconds) if self._process else (NONE, 0)

    def end(self):
        """Kills the process, if it runs."""
        if self._process:
            self._process.kill()
            self._process.wait()
        self._input.put(None)
        self._process = None


class _Events:
    """What a process has done, in order."""

    def __init__(self):
        self._events: list[tuple[str, int]] = []
        self._changed = threading.Condition()

    def add(self, word: str, status: int):
        with self._changed:
            self._events.append((word, status))
            self._changed.notify_all()

    def wait_for(self, number: int, seconds: float) -> tuple[str, int] | None:
        with self._changed:
            is_there = self._changed.wait_for(lambda: len(self._events) > number, seconds)
            return self._events[number] if is_there else None


def _write(process: subprocess.Popen, data: "queue.Queue[bytes | None]"):
    """Feeds a process, which takes its time while it starts."""
    with contextlib.suppress(BrokenPipeError), process.stdin:
        while item := data.get():
            process.stdin.write(item)
            process.stdin.flush()


def _listen(events: int, found: _Events):
    with os.fdopen(events) as lines:
        for line in lines:
            found.add(line.strip(), 0)


def _wait(process: subprocess.Popen, folder: str, found: _Events):
    status = process.wait()
    shutil.rmtree(folder, ignore_errors=True)
    found.add(ENDED, status)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:  # All open at once, so that they differ.
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def _environment_without_ray() -> dict[str, str]:
    """The host's environment, and the folders that Ray has taken over from the launcher's path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    kept.pop("OMP_NUM_THREADS", None)  # Ray's idea of what a worker should use.
    path = [folder for folder in sys.path if folder and f"{os.sep}ray{os.sep}" not in folder]
    return {**kept, "PYTHONPATH": os.pathsep.join(path)}
