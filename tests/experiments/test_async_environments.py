"""Gymnasium environments in processes of their own, of which Launchpad knows nothing."""

import os
import signal

from acme_impala.experiments.run_directory import RunDirectory

from .runs import ENDED_EARLY, FOR_EVER, assert_balanced, ending, learned, train


def test_a_program_ends_in_order_with_its_environments(tmp_path):
    """Ctrl-C reaches them as it does all of a terminal's, and Launchpad sends them a SIGTERM."""
    sizes = "--num_actors=1", "--environments_per_actor=2", "--batch_size=2", "--unroll_length=5"
    environment = "--env=gym:CartPole-v1", "--vectorization=async"
    command = train(tmp_path, FOR_EVER, *environment, *sizes)
    directory = RunDirectory(str(tmp_path / "run"))
    command.wait_until(lambda: learned(directory) >= 100)
    os.killpg(command.process.pid, signal.SIGINT)
    end = ending(command, command.wait(), 0.0)
    assert end.status == ENDED_EARLY, end.output
    assert "Traceback" not in end.output
    assert end.processes_left == []
    assert assert_balanced(directory)["acted"] >= 100
