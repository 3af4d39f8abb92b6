"""Training as a user starts it, watched from outside."""

import contextlib
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import psutil

from acme_impala.experiments import accounts, logs
from acme_impala.experiments.run_directory import RunDirectory
from benchmarks.processes import kill_group, read_end
from benchmarks.tasks import Task
from benchmarks.timing import Turn

ROOT = pathlib.Path(__file__).parents[1]
WARMUP_SECONDS = 8.0
_START_SECONDS = 180.0  # Within which the learner's first steps must come.
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.2
LAUNCHERS = ("local_mp", "ray")  # Those with a process for each node.


@contextlib.contextmanager
def end_to_end(task: Task, launcher: str = "local_mp") -> Iterator[Turn]:
    """Training in the program of processes, which stands still but for its turns.

    It is warm when the context begins, and is ended by SIGTERM with that. Agent steps are those of
    the run's own accounts; CPU time and memory are of all its processes, and memory counts shared
    pages once.

    Args:
        task: what to train on.
        launcher: one of `LAUNCHERS`.

    Raises:
        RuntimeError: training has ended by itself, does not begin, or does not end as it should;
            also in a turn, and there where it is too short.
    """
    with (
        tempfile.TemporaryDirectory() as directory,
        _training(task, directory, launcher) as process,
    ):
        run = RunDirectory(f"{directory}/run")
        start = time.monotonic()
        _wait_for_rows(1, process, run, directory)
        seconds_to_first_step = time.monotonic() - start
        _wait_for_rows(2, process, run, directory)  # By then all its graphs are traced.
        _watch(process, WARMUP_SECONDS, directory)

        def turn(seconds: float) -> dict[str, float]:
            before = _steps(run, task)
            num_rows = len(_learner_rows(run))
            cpu, busy = _cpu_seconds(process), _busy_seconds()
            _send(process, signal.SIGCONT)
            start = time.monotonic()
            _watch(process, seconds, directory)
            elapsed = time.monotonic() - start
            _send(process, signal.SIGSTOP)
            cpu, busy = _cpu_seconds(process) - cpu, _busy_seconds() - busy
            steps = {name: number - before[name] for name, number in _steps(run, task).items()}
            lags = [float(row["policy_lag_mean"]) for row in _learner_rows(run)[num_rows:]]
            if not lags:
                _fail(f"has not logged in {elapsed:.0f} s", directory)
            return {
                **steps,
                "cpu_seconds": cpu,
                "cpu_seconds_of_others": max(0.0, busy - cpu),
                "seconds": elapsed,
                "mean_policy_lag_learner_steps": statistics.mean(lags),
                "pss_mib": _pss_bytes(process) / 2**20,
                "seconds_to_first_step": seconds_to_first_step,
            }

        _send(process, signal.SIGSTOP)
        yield turn
        _send(process, signal.SIGCONT)
        _stop(process, directory)


@contextlib.contextmanager
def _training(task: Task, directory: str, launcher: str) -> Iterator[psutil.Popen]:
    with open(f"{directory}/output.txt", "w") as output:
        process = psutil.Popen(
            [
                sys.executable,
                "launch/train.py",
                f"--launcher={launcher}",
                f"--workdir={directory}/run",
                *task.train_flags,
            ],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": directory},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _send(process, signal.SIGCONT)  # Those of other groups end when the first has gone.
        kill_group(process.pid)
        process.wait()


def _wait_for_rows(number: int, process: psutil.Popen, run: RunDirectory, directory: str):
    """Waits for rows of the learner's log, which come once a second, from its first step on."""
    deadline = time.monotonic() + _START_SECONDS
    while sum(float(row["frames"]) > 0 for row in _learner_rows(run)) < number:
        if time.monotonic() > deadline:
            _fail(f"has not learned enough in {_START_SECONDS:.0f} s", directory)
        _watch(process, _POLL_SECONDS, directory)


def _watch(process: psutil.Popen, seconds: float, directory: str):
    """Waits, while the program runs."""
    with contextlib.suppress(psutil.TimeoutExpired):
        status = process.wait(timeout=seconds)
        _fail(f"has ended by itself, with status {status}", directory)


def _stop(process: psutil.Popen, directory: str):
    process.terminate()
    try:
        status = process.wait(timeout=_STOP_SECONDS)
    except psutil.TimeoutExpired:
        _fail(f"has not ended {_STOP_SECONDS:.0f} s after SIGTERM", directory)
    if status != os.EX_TEMPFAIL:  # That of a run that was told to end.
        _fail(f"has ended with status {status} after SIGTERM", directory)


def _fail(what: str, directory: str):
    output = read_end(pathlib.Path(directory, "output.txt"))
    raise RuntimeError(f"launch/train.py {what}. It has said:\n\n{output}")


def _learner_rows(run: RunDirectory) -> list[dict[str, str]]:
    return logs.read_rows(run.logs / "learner.csv")


def _steps(run: RunDirectory, task: Task) -> dict[str, float]:
    """Agent steps so far, of a run in which nobody has died."""
    actors, learners = accounts.actors_with(run, 0), accounts.learners(run)
    acted, learned = sum(actor.acted for actor in actors.values()), learners[0].taken
    frames_per_step = task.agent.frames_per_step
    return {"acted_steps": acted / frames_per_step, "learned_steps": learned / frames_per_step}


def _send(process: psutil.Popen, sent: signal.Signals):
    """Sends a signal to all processes of the program that there still are."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in _tree(process):
            one.send_signal(sent)


def _tree(process: psutil.Popen) -> list[psutil.Process]:
    return [psutil.Process(process.pid), *process.children(recursive=True)]


def _cpu_seconds(process: psutil.Popen) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in _tree(process))


def _busy_seconds() -> float:
    """CPU time of everything on the machine so far, and what its host gave to other machines."""
    times = psutil.cpu_times()
    return sum(times[:8]) - times.idle - times.iowait  # The two after them are counted already.


def _pss_bytes(process: psutil.Popen) -> int:
    return sum(one.memory_full_info().pss for one in _tree(process))
