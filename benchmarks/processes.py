"""Processes to measure in: one for each measurement, and none is left behind."""

import contextlib
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


def call_in_fresh_process(
    function: Callable[..., Any],
    *args: Any,
    seconds: float,
    environment: Mapping[str, str] = types.MappingProxyType({}),
) -> Any:
    """Calls a function in a process of its own, so that memory, threads and CPU time are its own.

    Args:
        function: can be pickled, as must be its arguments and its result.
        *args: of the function.
        seconds: after which it, and every process that it has started, is killed.
        environment: variables that it has beside this process's.

    Raises:
        RuntimeError: it has failed or takes too long; the message has its traceback and what it
            has printed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as directory:
        process = context.Process(target=_call, args=(sender, directory, function, args))
        with mock.patch.dict(os.environ, environment):
            process.start()
        sender.close()
        failure = None
        try:
            if receiver.poll(seconds):
                result, failure = receiver.recv()
            else:
                failure = f"It has taken more than {seconds:.0f} s and was ended."
        except EOFError:
            process.join()
            failure = f"It has died with status {process.exitcode}."
        finally:
            process.kill()  # It may still be importing, and not be a group of its own.
            kill_group(process.pid)
            process.join()
        if failure:
            raise RuntimeError(
                f"{function.__module__}.{function.__qualname__} has failed. {failure}\n"
                + read_end(pathlib.Path(directory, _OUTPUT))
            )
    return result


def kill_group(leader: int):
    """Kills the processes that are left of a group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def read_end(path: pathlib.Path) -> str:
    """The end of what a process has printed, if there is anything."""
    return path.read_text()[-5000:] if path.exists() else ""


def _call(sender: Any, directory: str, function: Callable[..., Any], args: tuple):
    os.setsid()  # A group of its own, with all that it starts.
    # TensorFlow's temporary files, which a process that is killed leaves behind.
    os.environ["TMPDIR"] = tempfile.tempdir = directory
    with open(pathlib.Path(directory, _OUTPUT), "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    gc.freeze()  # As in a program's nodes: else Python walks through TensorFlow now and then.
    try:
        sender.send((function(*args), None))
    except Exception:
        sender.send((None, traceback.format_exc()))
