"""The process of one DeepMind Lab, seen from outside."""

import contextlib
import fcntl
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from typing import Any

_PROGRAM = pathlib.Path(__file__).parent / "dmlab_process"
_CLOSE_SECONDS = 5.0
_ANSWER_SECONDS = 120.0  # A large map can take half a minute to make.
_LAST_WORDS = 1000  # Bytes.


class WorkerDiedError(RuntimeError):
    """The process has ended; the message says how, and what it wrote last."""


class WorkerError(RuntimeError):
    """A request has failed, and the process goes on.

    Attributes:
        kind: the name of the exception's type.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class LabWorker:
    """Starts a process of `dmlab_process` and asks it.

    Requests are answered in their order, and several may be under way. The process is a new one,
    not a fork, which would hang once its parent has rendered. It ends when this object is closed or
    forgotten, or its parent dies, and what it prints is kept for errors.
    """

    def __init__(self):
        self._connection, theirs = multiprocessing.Pipe()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  `close` closes it.
        fcntl.fcntl(self._output, fcntl.F_SETFL, os.O_APPEND)  # It may be cut while it is written.
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(_PROGRAM), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                # Whatever can be imported here can be imported there.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def send(self, name: str, *arguments: Any):
        """Sends a request. Whether it has arrived shows when the answer is received."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send((name, *arguments))

    def receive(self) -> Any:
        """Waits for the answer to the first request that was not answered yet.

        Raises:
            WorkerDiedError: the process has ended, or has hung and was ended.
            WorkerError: the request has failed.
        """
        try:
            if not self._connection.poll(_ANSWER_SECONDS):
                self._process.kill()
                raise WorkerDiedError(
                    f"its process gave no answer for {_ANSWER_SECONDS:.0f} s; {self._last_words()}"
                )
            kind, answer = self._connection.recv()
        except (EOFError, OSError):  # Also where it ended in the middle of an answer.
            raise WorkerDiedError(self._last_words()) from None
        if kind:
            raise WorkerError(kind, answer)
        return answer

    def forget_output(self):
        """Forgets what the process has printed, so that it does not pile up."""
        self._output.truncate(0)

    def close(self):
        """Ends the process, by force where it does not end by itself."""
        self._connection.close()
        self._end()
        self._output.close()

    def _end(self):
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        self._end()
        status = self._process.returncode
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _LAST_WORDS))
        words = self._output.read().decode(errors="replace").strip()
        return f"its process has ended {how}" + (f" and wrote last:\n{words}" if words else "")
