"""What every node of a program does around its work: devices, stopping, failing."""

import contextlib
import functools
import gc
import os
import pathlib
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

import launchpad as lp
import psutil
import tensorflow as tf
from absl import logging

from acme_impala.experiments import heartbeat, membership
from acme_impala.experiments.cores import num_cores
from acme_impala.experiments.remote import PeerGoneError
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.experiments.threads import use_threads

# How often a node that waits looks whether the program is ending.
POLL_SECONDS = 0.2
# Actors leave the cores to the learner when it has a batch: else it falls behind, the queue fills
# up, and unrolls grow old in it.
_ACTORS_NICENESS = 5
# How long the news of a death may take to come here, when the dead one's host has gone with it.
_NEWS_SECONDS = 120.0
# The environment variable by which a node's process knows its launcher's process id.
LAUNCHER_VARIABLE = "ACME_IMPALA_LAUNCHER"


class SharedEvent:
    """An event that nodes of one process share; nodes are pickled on their way there."""

    def __init__(self):
        event = threading.Event()
        self.set, self.wait = event.set, event.wait

    def __reduce__(self):
        return SharedEvent, ()


def prepare_process(*, learner: bool = False, parallel_calls: int = 1, core: int | None = None):
    """Sets devices, threads and signals of a process of nodes.

    The learner takes a GPU where there is one and all cores for its kernels; the others never see
    a GPU, use one thread for each call, and give way to the learner.

    Ctrl-C reaches every process of a terminal; only the launcher heeds it, and tells the nodes to
    stop by SIGTERM. Who else sends that to one of them wants its machine back, and the launcher is
    asked to end the whole program. Killing those that are late is the launcher's business too, not
    each node's.
    A launcher that was killed can tell nobody: then its nodes end at once, for they would go on
    without it, and write into a run directory that another start may have taken up.

    In a program of threads there is no such process, and nothing is done.

    Args:
        learner: whether this is the learner's process.
        parallel_calls: calls of networks that go on at the same time.
        core: to which the process keeps, with all that it starts; None: to none.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if LAUNCHER_VARIABLE in os.environ:
        launcher = int(os.environ[LAUNCHER_VARIABLE])
        threading.Thread(target=_end_with, args=(launcher,), daemon=True).start()
    gc.freeze()  # Else Python takes a third of a second to walk through TensorFlow when it exits.
    stop = lp.stop_event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _end_in_order(stop))
    if stop.is_set():  # A SIGTERM came before, and Launchpad, which has heeded it, told nobody.
        _end_program()
    logging.set_verbosity(logging.WARNING)
    if learner:
        num_threads = num_cores()
    else:
        num_threads = 1
        os.nice(_ACTORS_NICENESS)
        tf.config.set_visible_devices([], "GPU")
    if core is not None:
        os.sched_setaffinity(0, {core})
    use_threads(num_threads, parallel_calls)


def run_in_threads(functions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Runs functions side by side, and returns what they returned when all have ended.

    Raises:
        Exception: what the first that failed has raised, at once; the others must find out
            themselves that they should end.
    """
    pool = futures.ThreadPoolExecutor(len(functions))
    running = [pool.submit(function) for function in functions]
    pool.shutdown(wait=False)
    for ended in futures.as_completed(running):
        ended.result()
    return [ended.result() for ended in running]


def guarded(function: Callable, name: str, directory: RunDirectory) -> Callable:
    """Wraps a node's work: a failure ends the program, and is reported to its launcher.

    The traceback goes to `failures/` in the run directory, where the launcher finds the first. A
    supervisor decides itself whether to go on.
    """

    @functools.wraps(function)
    def guard(*args, **kwargs):
        heartbeat.work_for(name)
        try:
            return function(*args, **kwargs)
        except PeerGoneError:
            return None
        except Exception:
            report_failure(name, directory)
            if not membership.is_supervised():
                lp.stop()
            raise

    return guard


def report_failure(name: str, directory: RunDirectory) -> pathlib.Path:
    """Writes down the traceback of what is being handled; returns where."""
    report = directory.failures / f"{time.time_ns()}-{name}.txt"
    report.write_text(traceback.format_exc())
    return report


@contextlib.contextmanager
def until_over(life: membership.Life):
    """Runs work with the learner's process that ends with that, or with the program.

    When a program stops its nodes go one by one, and calls to one that has gone fail. Such an
    error is part of the end. It may even come a moment before the word to stop does; and where
    the other's host has gone with it, long before.
    """
    try:
        yield
    except PeerGoneError:
        pass
    except Exception:
        if life.over.wait(1.0):
            return
        if membership.has_gone(life) and life.over.wait(_NEWS_SECONDS):
            return
        raise


def until_stopped(stop: threading.Event):
    """Runs work that ends with the program, which it may notice by an error."""
    return until_over(membership.Life(0, stop))


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended may wait for its parent to take note of it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end_in_order(stop: threading.Event):
    if not stop.is_set():
        if not membership.is_supervised():  # Else the word comes back when all have been told.
            stop.set()
        _end_program()


def _end_program():
    with contextlib.suppress(ProcessLookupError):
        lp.stop()


def _end_with(launcher: int):
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(launcher)
        while is_alive(process):
            time.sleep(POLL_SECONDS)
    os._exit(1)
