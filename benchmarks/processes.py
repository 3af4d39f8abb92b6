"""Processes to measure in: one for each measurement, and none is left behind."""

import contextlib
import functools
import gc
import multiprocessing
import os
import pathlib
import signal
import tempfile
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

_OUTPUT = "output.txt"  # Of interest only where something goes wrong.


class FreshProcess:
    """A process in which something is made, so that memory, threads and CPU time are its own.

    A context manager; to call it is to call there what was made. At its end it, and every process
    that it has started, is killed.
    """

    def __init__(
        self,
        name: str,
        make: Callable[..., Callable[..., Any]],
        *args: Any,
        seconds: float,
        environment: Mapping[str, str] = types.MappingProxyType({}),
    ):
        """Starts the process, and waits until it has made what is to be called.

        Args:
            name: what a failure is told of.
            make: can be pickled, as must be its arguments, and those and the results of what it
                makes.
            *args: of it.
            seconds: after which making, or any call, is too long.
            environment: variables that the process has beside this one's.

        Raises:
            RuntimeError: here or at a call: it has failed or takes too long; the message has its
                traceback and what it has printed.
        """
        self._name = name
        self._seconds = seconds
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._directory = tempfile.TemporaryDirectory()
        self._process = context.Process(
            target=_serve, args=(theirs, self._directory.name, make, args)
        )
        with mock.patch.dict(os.environ, environment):
            self._process.start()
        theirs.close()
        try:
            self._receive()
        except BaseException:
            self._kill()
            raise

    def __call__(self, *args: Any) -> Any:
        """Calls there what was made, and returns its result."""
        with contextlib.suppress(BrokenPipeError):  # What it died of, to receive says.
            self._connection.send(args)
        return self._receive()

    def __enter__(self) -> "FreshProcess":
        return self

    def __exit__(self, *unused_exception):
        self._kill()

    def _receive(self) -> Any:
        try:
            if self._connection.poll(self._seconds):
                result, failure = self._connection.recv()
            else:
                failure = f"It has taken more than {self._seconds:.0f} s and was ended."
        except (EOFError, ConnectionResetError):
            self._process.join()
            failure = f"It has died with status {self._process.exitcode}."
        if failure:
            output = read_end(pathlib.Path(self._directory.name, _OUTPUT))
            raise RuntimeError(f"{self._name} has failed. {failure}\n{output}")
        return result

    def _kill(self):
        self._process.kill()  # It may still be importing, and not be a group of its own.
        kill_group(self._process.pid)
        self._process.join()
        self._directory.cleanup()


def call_in_fresh_process(function: Callable[..., Any], *args: Any, seconds: float) -> Any:
    """Calls a function once, in a `FreshProcess`.

    Args:
        function: can be pickled, as must be its arguments and its result.
        *args: of the function.
        seconds: after which it, and every process that it has started, is killed.

    Raises:
        RuntimeError: as `FreshProcess` does.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    with FreshProcess(name, functools.partial, function, *args, seconds=seconds) as call:
        return call()


def kill_group(leader: int):
    """Kills the processes that are left of a group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def read_end(path: pathlib.Path) -> str:
    """The end of what a process has printed, if there is anything."""
    return path.read_text()[-5000:] if path.exists() else ""


def _serve(connection: Any, directory: str, make: Callable[..., Callable[..., Any]], args: tuple):
    os.setsid()  # A group of its own, with all that it starts.
    # TensorFlow's temporary files, which a process that is killed leaves behind.
    os.environ["TMPDIR"] = tempfile.tempdir = directory
    with open(pathlib.Path(directory, _OUTPUT), "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    gc.freeze()  # As in a program's nodes: else Python walks through TensorFlow now and then.
    try:
        call = make(*args)
        connection.send((None, None))
        while True:
            connection.send((call(*connection.recv()), None))
    except Exception:
        connection.send((None, traceback.format_exc()))
