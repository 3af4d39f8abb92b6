"""The nodes of programs: what travels, which cores they keep to, and what ends all of them."""

import contextlib
import os
import re
import signal

import pytest
import reverb

from acme_impala import replay
from acme_impala.experiments.cores import num_cores
from acme_impala.experiments.run_directory import RunDirectory

from .runs import (
    ENDED_EARLY,
    FOR_EVER,
    NODES,
    Command,
    ending,
    heeds_sigterm,
    learned,
    train,
)


def test_sigterm_while_the_launcher_imports_ends_it_with_the_same_status(tmp_path):
    command = train(tmp_path, FOR_EVER)
    command.wait_until(lambda: heeds_sigterm(command.process))
    status, _ = command.stop(signal.SIGTERM)
    assert status == ENDED_EARLY, command.output
    assert not (tmp_path / "run").exists()
    assert command.processes() == []


def test_sigterm_to_a_node_that_has_just_begun_to_listen_ends_it_in_order(tmp_path):
    """Launchpad listens a moment before the node does."""
    command = train(tmp_path, FOR_EVER, "--num_actors=1")
    command.wait_until(lambda: set(command.nodes()) == NODES)
    actor = command.nodes()["actor/0"]
    command.wait_until(lambda: heeds_sigterm(actor))
    actor.terminate()
    assert command.wait() == ENDED_EARLY, command.output
    assert command.processes() == []


@contextlib.contextmanager
def learning_atari(path, *flags):
    """A program on Atari that has learned; its batches are of four unrolls of five steps."""
    sizes = "--torso=mlp", "--environments_per_actor=4", "--batch_size=4", "--unroll_length=5"
    command = train(path, FOR_EVER, "--env=atari:pong", "--preset=atari", *sizes, *flags)
    directory = RunDirectory(str(path / "run"))
    command.wait_until(lambda: learned(directory) > 0)
    try:
        yield command
    finally:
        status, _ = command.stop(signal.SIGTERM)
    assert status == ENDED_EARLY, command.output


def test_frames_travel_one_by_one_between_processes(tmp_path):
    with learning_atari(tmp_path, "--num_actors=1") as command:
        (port,) = re.findall(r"Open ports: replay (\d+)", command.output)
        queue = reverb.Client(f"localhost:{port}").server_info(timeout=10)[replay.QUEUE]
    older, rows, unrolls = 3, 5 + 1, 2  # An item is of one of the actor's two batches.
    assert queue.signature.observation.shape == (older + rows, unrolls, 84, 84)


SCRIPT = """
import beside
from acme_impala import ExperimentConfig, experiments, launch, networks

config = ExperimentConfig(
    environment_factory=beside.make_environment,
    network_factory=networks.NetworkConfig(hidden_sizes=(16,)),
    agent=experiments.PRESETS["catch"](500).agent,
    num_frames=500,
    workdir={workdir!r},
)
launch(config, 1, 4)
"""
BESIDE = """
from acme_impala.environments import Catch

def make_environment(seed, evaluation):
    return Catch(seed=seed)
"""


def test_nodes_import_what_lies_beside_the_script_wherever_it_was_started(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.format(workdir=str(tmp_path / "run")))
    (tmp_path / "beside.py").write_text(BESIDE)
    command = Command(tmp_path / "start", tmp_path / "script.py")
    assert command.wait() == 0, command.output
    assert learned(RunDirectory(str(tmp_path / "run"))) >= 500


def cores_of_threads(path, *flags):
    """The cores that each thread of each node may use, in a program on Atari."""
    with learning_atari(path, *flags) as command:
        return {
            name: [os.sched_getaffinity(thread.id) for thread in process.threads()]
            for name, process in command.nodes().items()
        }


def test_actors_whose_environments_run_in_the_background_keep_to_a_core_each(tmp_path):
    all_cores = os.sched_getaffinity(0)
    cores = cores_of_threads(tmp_path)
    assert cores.pop("learner/0").count(all_cores) > 1
    assert len(cores) == len(all_cores)
    for index, core in enumerate(sorted(all_cores)):
        of_threads = cores[f"actor/{index}"]
        assert of_threads[0] == {core}  # The main thread, which has begun all that acts.
        assert of_threads.count({core}) > len(of_threads) / 2


@pytest.mark.skipif(
    num_cores() != 2, reason="An actor's two batches keep to one of two cores each."
)
def test_the_batches_of_one_actor_keep_to_a_core_each(tmp_path):
    all_cores = os.sched_getaffinity(0)
    of_threads = cores_of_threads(tmp_path, "--num_actors=1")["actor/0"]
    assert of_threads[0] == all_cores
    assert of_threads.count(all_cores) > len(of_threads) / 2
    for core in all_cores:  # The thread that acts in the batch, and its emulators'.
        assert of_threads.count({core}) >= 2


def failing(path, part, launch_type):
    command = Command(path, "tests/experiments/launch_failing.py", part, launch_type, path / "run")
    return ending(command, command.wait(), 0.0)


@pytest.mark.parametrize(
    ("part", "launch_type", "node", "error"),
    [
        ("actor", "local_mp", "actor_", "RuntimeError: the game crashed at step 31"),
        ("evaluator", "local_mp", "evaluator", "RuntimeError: the game crashed at step 31"),
        # In a batch the steps that restart an environment are steps of it, too: 31 is 3 x 10 + 1.
        ("reward", "local_mt", "actor_", "episode 4, step 1: the reward is nan"),
    ],
)
def test_a_failing_node_ends_it_and_its_traceback_is_the_last_thing_shown(
    tmp_path, part, launch_type, node, error
):
    end = failing(tmp_path, part, launch_type)
    assert end.status == 1
    assert end.processes_left == []
    assert end.temporary_files == []
    report = end.output[end.output.rindex(f"Node {node}") :].strip()
    # Reverb says good-bye when a process of threads ends.
    lines = [line for line in report.splitlines() if "reverb/cc" not in line and line.strip()]
    assert lines[1] == "Traceback (most recent call last):"
    assert error in lines[-1]
    assert ("failing catch in actor" if part == "reward" else "launch_failing.py") in report


def test_a_node_that_was_killed_ends_it_and_is_named(tmp_path):
    command = train(tmp_path, FOR_EVER, "--checkpoint_seconds=0.5", "--num_actors=1")
    directory = RunDirectory(str(tmp_path / "run"))
    command.wait_until(lambda: list(directory.checkpoints.glob("*.index")))
    command.nodes()["actor/0"].kill()
    end = ending(command, command.wait(30), 0.0)
    assert end.status == 1
    assert end.processes_left == []
    # TensorFlow's, of the process that was killed.
    assert all(name.startswith("__autograph_generated") for name in end.temporary_files)
    assert end.output.strip().splitlines()[-1].startswith("Node actor/0 died without a traceback")
    assert end.counts["learner_frames"] > 0
