"""Launches a program on this machine, shows its progress, and says what failed."""

import contextlib
import os
import pathlib
import re
import signal
import sys
import threading
from collections.abc import Iterator

import launchpad as lp
import psutil
from launchpad.launch import worker_manager
from launchpad.nodes.python import local_multi_processing

from acme_impala.experiments import (
    heartbeat,
    open_ports,
    ray_cluster,
    run_directory,
    signals,
)
from acme_impala.experiments.config import ExperimentConfig
from acme_impala.experiments.curve_drawer import CurveDrawer
from acme_impala.experiments.membership import LEARNER
from acme_impala.experiments.processes import LAUNCHER_VARIABLE, POLL_SECONDS, is_alive
from acme_impala.experiments.program import make_program
from acme_impala.experiments.progress import LiveLine
from acme_impala.experiments.ray_cluster import RayOptions
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.experiments.status_log import StatusLog
from acme_impala.experiments.supervisor import DiedTooOftenError, Supervisor

LAUNCH_TYPES = ("local_mp", "local_mt", "ray")
# Of glibc, in bytes where it is a size. Left alone it keeps what large tensors leave behind, in a
# heap for each thread: 400 MiB of a learner's memory. Here there is one heap for all, which keeps
# what it has. What is larger than the threshold, glibc's greatest, comes from the kernel and goes
# back to it, page by page: a batch or an activation that does so costs as much as copying it.
MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
}
# Of the process that holds a replay table. Unrolls of various sizes come and go there, and in a
# heap the holes that they leave behind take a third of the table again. This costs the learner's
# tensors a few per cent of its time.
_MALLOC_WITH_REPLAY = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(64 << 10)}
# TensorFlow imports distutils, in whose place all of setuptools would come, which is 10 MiB; and it
# says a page of what is none of the user's business.
_TENSORFLOW = {"SETUPTOOLS_USE_DISTUTILS": "stdlib", "TF_CPP_MIN_LOG_LEVEL": "2"}


class NodeFailedError(RuntimeError):
    """A node of the program failed; the message ends with the first failing node's traceback."""


def launch(
    config: ExperimentConfig,
    num_actors: int | None = None,
    environments_per_actor: int | None = None,
    *,
    launch_type: str = "local_mp",
    accept_new_config: bool = False,
    ray: RayOptions | None = None,
):
    """Makes the program of an experiment, runs it to its end, and shows one live line meanwhile.

    Ctrl-C or SIGTERM end the program in order: a last checkpoint is written. Needs no tmux. Must be
    called from the main thread, where signals arrive.

    Args:
        config: the experiment.
        num_actors: actor nodes; None: as many as fit this machine's cores.
        environments_per_actor: environments that an actor steps together; None: 16 or 32, as many
            as fit the actors (`ActorLayout.make`).
        launch_type: 'local_mp', a process for each node; 'local_mt', threads of this process; or
            'ray', processes on a Ray cluster, which are replaced when they die.
        accept_new_config: continue a run whose stored config differs.
        ray: which cluster, and what is used of it; None: this machine.

    Raises:
        ValueError: something does not fit; no process was started.
        NodeFailedError: a node failed, with 'ray' too often; the others were stopped.
    """
    if launch_type not in LAUNCH_TYPES:
        raise ValueError(f"launch_type must be one of {', '.join(LAUNCH_TYPES)}: {launch_type!r}.")
    with signals.heeded() as stop_is_wanted:  # Until Launchpad listens.
        program = make_program(
            config, num_actors, environments_per_actor, accept_new_config=accept_new_config
        )
        directory = RunDirectory(config.workdir)
        try:
            if not stop_is_wanted.is_set() and launch_type == "ray":
                _run_on_ray(program, directory, config, ray or RayOptions(), stop_is_wanted)
            elif not stop_is_wanted.is_set():
                _run(program, directory, config, launch_type, stop_is_wanted)
        finally:
            run_directory.release(directory)


def _run(
    program: lp.Program,
    directory: RunDirectory,
    config: ExperimentConfig,
    launch_type: str,
    stop_is_wanted: threading.Event,
):
    """Launches a program and waits for its end; raises NodeFailedError."""
    if worker_manager._SIGNAL_HANDLERS is not None:
        # Launchpad takes a process's first program for the only one that Ctrl-C is for, and goes on
        # telling it. It listens to signals, by which it also stops a program of threads, from that
        # one on, and takes it for granted at the next that nobody else has listened since.
        worker_manager._HAS_MAIN_MANAGER = False
        for handlers in worker_manager._SIGNAL_HANDLERS.values():
            handlers.clear()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, worker_manager._signal_dispatcher)
    for process in program.get_all_nodes():
        heartbeat.announce(directory.status, process.node_names)
    manager = lp.launch(
        program,
        launch_type=launch_type,
        terminal="current_terminal",
        local_resources=_local_resources(program, config.agent.replay.fraction > 0),
    )
    deaths: list[str] = []
    if launch_type == "local_mp":
        watch = threading.Thread(target=_watch, args=(manager.stop_event(), deaths), daemon=True)
        watch.start()
    if stop_is_wanted.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
    print(open_ports.describe(open_ports.of_program(program)), flush=True)
    with _shown(directory, config):
        try:
            manager.wait()
        except Exception as error:  # Of a thread; its report is below, with its traceback.
            deaths.append(f"a thread: {error!r}")
    reports = sorted(directory.failures.iterdir())  # By time.
    if reports:
        name = reports[0].stem.split("-", 1)[1]
        raise NodeFailedError(f"Node {name} failed:\n\n{reports[0].read_text()}")
    if deaths:
        raise NodeFailedError(
            f"Node {deaths[0]} died without a traceback: killed from outside, or out of memory."
        )


def _run_on_ray(
    program: lp.Program,
    directory: RunDirectory,
    config: ExperimentConfig,
    options: RayOptions,
    stop_is_wanted: threading.Event,
):
    """Runs a program on a Ray cluster; raises NodeFailedError."""
    groups = {group: len(nodes) for group, nodes in program.groups.items()}
    variables = _environments(program, config.agent.replay.fraction > 0)
    with ray_cluster.connected(options, groups) as actor_options:
        supervisor = Supervisor(
            program, directory, variables, options, actor_options, stop_is_wanted
        )
        with _shown(directory, config):
            try:
                supervisor.run()
            except DiedTooOftenError as error:
                reports = sorted(directory.failures.iterdir())
                last = f" The last traceback:\n\n{reports[-1].read_text()}" if reports else ""
                raise NodeFailedError(f"{error}{last}") from error


@contextlib.contextmanager
def _shown(directory: RunDirectory, config: ExperimentConfig) -> Iterator[None]:
    """Shows, draws and logs how a program is while it runs."""
    with (
        CurveDrawer(directory, config),
        StatusLog(directory),
        LiveLine(directory, config.num_frames),
    ):
        try:
            yield
        finally:
            heartbeat.conclude(directory.status)


def _environments(program: lp.Program, with_replay: bool) -> dict[str, dict[str, str]]:
    """The environments of each group's processes: only the learner sees a GPU."""

    def environment(is_learner: bool) -> dict[str, str]:
        malloc = _MALLOC_WITH_REPLAY if is_learner and with_replay else MALLOC
        return {
            **{name: os.environ.get(name, value) for name, value in (malloc | _TENSORFLOW).items()},
            **({} if is_learner else {"CUDA_VISIBLE_DEVICES": "-1"}),
        }

    return {label: environment(label == LEARNER) for label in program.groups}


def _local_resources(
    program: lp.Program, with_replay: bool
) -> dict[str, local_multi_processing.PythonProcess]:
    """The processes' environments: all know their launcher, and can import what it can."""
    common = {
        LAUNCHER_VARIABLE: str(os.getpid()),
        "PYTHONPATH": os.pathsep.join(folder or os.getcwd() for folder in sys.path),
    }
    return {
        label: local_multi_processing.PythonProcess(env={**environment, **common})
        for label, environment in _environments(program, with_replay).items()
    }


def _watch(stop: threading.Event, deaths: list[str]):
    """Ends the program when a process has gone before its end.

    Launchpad starts each node behind a shell whose exit status says nothing, and would wait on for
    one that was killed.
    """
    shells = {}
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # It may be another's, and have ended.
            # The command of a node's shell: bash, .../decorate_output, colour, title, ...
            command = child.cmdline()
            if len(command) > 3 and command[1].endswith("decorate_output"):
                shells[child] = command[3]
    while not stop.wait(POLL_SECONDS):
        gone = [title for shell, title in shells.items() if not is_alive(shell)]
        if gone and not stop.wait(1.0):  # A node that ended the program may go before the others.
            deaths.extend(gone)
            os.kill(os.getpid(), signal.SIGTERM)
    for shell in shells:
        _end_while_starting(shell)


def _end_while_starting(shell: psutil.Process):
    """Ends a node that is deaf to SIGTERM, as all are until they have imported what they need.

    Their shells ignore signals, and a process begins as its parent was. Such a node has done
    nothing yet.
    """
    with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        for process in shell.children(recursive=True):
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            ignored = int(re.search(r"SigIgn:\s*([0-9a-f]+)", status).group(1), 16)
            # A shell that has not become the node yet cannot be one; its sed, and what tracks the
            # resources of its processes, ends with the node.
            is_node = any(word.endswith("process_entry.py") for word in process.cmdline()[:2])
            if is_node and ignored & 1 << (signal.SIGTERM - 1):
                process.kill()
