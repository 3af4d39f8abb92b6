"""Experiments and commands that the tests of this folder run."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil

from acme_impala import ExperimentConfig, experiments
from acme_impala.environments import EnvironmentFactory
from acme_impala.experiments import checkpointing, logs
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.networks import NetworkConfig

ROOT = pathlib.Path(__file__).parents[2]
# The exit status of a run that was told to end and can be continued.
ENDED_EARLY = 75
FOR_EVER = "--num_frames=1000000000"
# Of a program with one actor; the evaluator is in the actor's process.
NODES = {"learner/0", "actor/0"}
_GONE_SECONDS = 60.0  # Ray looks after its own processes in no hurry.


def catch_config(workdir, **changes):
    """Catch with a tiny network, long enough for a few evaluations."""
    fields = {
        "environment_factory": EnvironmentFactory("catch"),
        "network_factory": NetworkConfig(hidden_sizes=(16,)),
        "workdir": str(workdir),
        "num_frames": 1500,
        "agent": experiments.PRESETS["catch"](1500).agent,
        "evaluate_every": 500,
        "evaluation_episodes": 5,
    }
    return ExperimentConfig(**{**fields, **changes})


class Command:
    """A command of this repository in a session of its own.

    Its output goes to a file, its temporary files to a directory of their own, by which all that it
    starts can be found.
    """

    def __init__(self, directory, *arguments, inside=(), **environment):
        """Starts it; `inside` are words before the command, of what it is to run inside of."""
        directory.mkdir(parents=True, exist_ok=True)
        self.temporary = directory / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self._output = directory / "output.txt"
        with open(self._output, "w") as file:
            self.process = subprocess.Popen(
                [*inside, sys.executable, *map(str, arguments)],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(self.temporary), **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self):
        return self._output.read_text()

    def processes(self):
        """All that the command has started and that runs, what has lost its parent too."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get("TMPDIR", "").startswith(str(self.temporary)):
                    found.append(process)
        return found

    def nodes(self):
        """The processes of a program's nodes by their names."""
        return nodes_among(self.processes())

    def wait_until(self, condition, seconds=180):
        """Waits for a condition while the command runs."""
        deadline = time.monotonic() + seconds
        try:
            while not condition():
                assert self.process.poll() is None, f"It has ended:\n{self.output}"
                assert time.monotonic() < deadline, f"It takes too long:\n{self.output}"
                time.sleep(0.05)
        except BaseException:
            self.kill()
            raise

    def wait(self, seconds=180):
        """Waits for the end; returns the exit status."""
        try:
            return self.process.wait(timeout=seconds)
        except BaseException as error:
            self.kill()
            raise AssertionError(f"It takes too long:\n{self.output}") from error

    def stop(self, signal_number):
        """Sends a signal to the command alone; returns its exit status and the seconds it took."""
        start = time.monotonic()
        self.process.send_signal(signal_number)
        status = self.wait()
        return status, time.monotonic() - start

    def kill(self):
        """Kills every process at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in self.processes():  # Some have sessions of their own.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def ending(command, status, seconds, directory=None):
    """What a program leaves when it has ended."""
    directory = directory or RunDirectory(str(command.temporary.parent / "run"))
    left = command.processes()
    found = checkpointing.newest_whole(directory.checkpoints) if directory.root.exists() else None
    return SimpleNamespace(
        status=status,
        seconds=seconds,
        output=command.output,
        processes_left=[process.cmdline() for process in left],
        temporary_files=sorted(path.name for path in command.temporary.iterdir()),
        counts=found and found.counts,
        directory=directory,
    )


def nodes_among(processes):
    """Those that run a program's nodes, by their names, as 'actor/0', or 'actor_0' on Ray."""
    nodes = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, AttributeError, IndexError):
            command = process.cmdline()
            if "process_entry.py" in " ".join(command[:2]):
                # Launchpad gives the name to the shell that is a node's parent.
                nodes[process.parent().cmdline()[3]] = process
            elif "acme_impala.experiments.node_process" in command:
                nodes[command[-1]] = process
    return nodes


def wait_until_gone(who):
    """Waits for the end of all processes that a Command or a Host has; returns those left."""
    deadline = time.monotonic() + _GONE_SECONDS
    while (left := who.processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def heeds_sigterm(process):
    """Whether a process has begun to listen; until then it dies of it, or is deaf to it."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*([0-9a-f]+)", status).group(1), 16)
    return bool(caught & 1 << (signal.SIGTERM - 1))


def train(directory, *flags, **environment):
    """Starts launch/train.py on Catch with a tiny network; its workdir is directory/run."""
    return Command(
        directory,
        "launch/train.py",
        "--env=catch",
        "--hidden_sizes=16",
        "--evaluation_episodes=5",
        f"--workdir={directory / 'run'}",
        *flags,
        **environment,
    )


def learned(directory):
    """The environment frames that the learner has logged last; 0 before that."""
    return (column(directory, "learner", "frames") or [0.0])[-1]


def total(directory):
    """Where every acted frame went, as the run says."""
    return json.loads((directory.accounts / "total.json").read_text())


def assert_balanced(directory):
    """Every frame was learned, dropped, queued, or in an unroll that was not full."""
    frames = total(directory)
    parts = [frames[name] for name in ("learned_fresh", "queued", "in_hand")]
    parts += [number for name, number in frames.items() if name.startswith("dropped")]
    assert frames["difference"] == 0
    assert frames["acted"] == sum(parts)
    return frames


def column(directory, node, name):
    """A column of a node's log, as numbers."""
    return [float(row[name]) for row in logs.read_rows(directory.logs / f"{node}.csv")]
