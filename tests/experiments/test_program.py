"""Programs of real processes and threads end in time, and go on after whatever happened."""

import contextlib
import os
import signal
import time
from types import SimpleNamespace

import pytest

from acme_impala.experiments import checkpointing, logs, run_directory
from acme_impala.experiments.run_directory import RunDirectory

from .runs import ENDED_EARLY, FOR_EVER, NODES, catch_config, column, ending, learned, train

SHUTDOWN_SECONDS = 3.0


def newest_time(directory):
    """When the newest checkpoint was written, as time.time has it; 0 if there is none."""
    times = [0.0]
    for path in directory.checkpoints.glob("*.index"):
        with contextlib.suppress(FileNotFoundError):  # Deleted meanwhile.
            times.append(path.stat().st_mtime)
    return max(times)


def assert_ended_in_order(end, status=0):
    assert end.status == status, end.output
    assert end.processes_left == []
    assert end.temporary_files == []
    assert "Traceback" not in end.output
    assert "did not terminate in time" not in end.output
    assert not list(end.directory.failures.iterdir())
    print(f"{end.seconds:.2f} s to the end")
    assert end.seconds < SHUTDOWN_SECONDS


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """One run that is interrupted in every way, and each time started again.

    It is ended by Ctrl-C, by SIGTERM, by SIGKILL of all its processes, by SIGKILL of its launcher
    alone, and in the end by its number of frames.
    """
    path = tmp_path_factory.mktemp("story")
    directory = RunDirectory(str(path / "run"))
    story = SimpleNamespace(directory=directory, starts=[])

    def start(*flags):
        before = checkpointing.newest_whole(directory.checkpoints)
        story.starts.append(before.counts["learner_frames"] if before else 0)
        return train(
            path / f"start_{len(story.starts)}",
            f"--workdir={directory.root}",
            "--checkpoint_seconds=0.5",
            "--evaluate_every=1000",
            *flags,
        )

    def wait_for_learning(command):
        """Until this start has learned and saved, and there was an evaluation."""
        begin = time.time()
        command.wait_until(lambda: column(directory, "evaluator", "frames"))
        command.wait_until(lambda: learned(directory) >= story.starts[-1] + 1000)
        command.wait_until(lambda: newest_time(directory) > begin)

    command = start(FOR_EVER, "--num_actors=2")
    wait_for_learning(command)
    nodes = command.nodes()
    story.environ = {name: node.environ() for name, node in nodes.items()}
    with pytest.raises(ValueError, match="is in use by another run"):
        run_directory.claim(catch_config(directory.root), accept_new_config=True)
    story.frames_before_interrupt = learned(directory)
    # As a terminal does it: to the whole foreground group, every node included.
    begin = time.monotonic()
    os.killpg(command.process.pid, signal.SIGINT)
    status = command.wait()
    story.interrupted = ending(command, status, time.monotonic() - begin, directory)

    command = start(FOR_EVER, "--num_actors=1")
    wait_for_learning(command)
    story.terminated = ending(command, *command.stop(signal.SIGTERM), directory)

    command = start(FOR_EVER, "--num_actors=1")
    wait_for_learning(command)
    command.kill()
    story.killed = checkpointing.newest_whole(directory.checkpoints).counts

    command = start(FOR_EVER, "--num_actors=1")
    wait_for_learning(command)
    command.process.kill()  # It stays a zombie here, as under a parent that does not care.
    begin = time.monotonic()
    while command.processes() and time.monotonic() - begin < 10:
        time.sleep(0.05)
    story.orphans = [process.cmdline() for process in command.processes()]
    story.orphan_seconds = time.monotonic() - begin
    command.kill()

    last = checkpointing.newest_whole(directory.checkpoints).counts
    num_frames = int(last["learner_frames"]) + 3000
    command = start(f"--num_frames={num_frames}", "--num_actors=1", "--accept_new_config")
    status = command.wait()
    end = time.time()
    story.num_frames = num_frames
    story.finished = ending(command, status, end - newest_time(directory), directory)

    command = start(f"--num_frames={num_frames}", "--launcher=local_mt")
    story.again = ending(command, command.wait(), 0.0, directory)
    return story


def test_only_the_learner_may_see_a_gpu(story):
    assert set(story.environ) == {*NODES, "actor/1"}
    hidden = {
        name for name, values in story.environ.items() if values.get("CUDA_VISIBLE_DEVICES") == "-1"
    }
    assert hidden == set(story.environ) - {"learner/0"}


def test_ctrl_c_ends_it_in_order_within_three_seconds(story):
    assert_ended_in_order(story.interrupted, ENDED_EARLY)
    assert story.interrupted.counts["learner_frames"] >= story.frames_before_interrupt


def test_sigterm_ends_it_in_order_within_three_seconds(story):
    assert_ended_in_order(story.terminated, ENDED_EARLY)
    assert story.terminated.counts["learner_frames"] >= story.starts[1] + 1000


def test_it_stops_by_itself_at_its_frames_within_three_seconds(story):
    assert_ended_in_order(story.finished)
    assert story.num_frames <= story.finished.counts["learner_frames"] < story.num_frames + 100
    for path in (story.directory.learning_curve, story.directory.logs, story.directory.checkpoints):
        assert str(path) in story.finished.output


def test_a_finished_run_started_again_ends_at_once_and_changes_nothing(story):
    assert_ended_in_order(story.again)
    assert story.again.counts == story.finished.counts


def test_when_all_is_killed_the_last_checkpoint_is_whole_and_not_old(story):
    """A checkpoint is due every half second; logs are written once a second."""
    assert story.killed["learner_frames"] > story.starts[2]
    assert story.starts[3] == story.killed["learner_frames"]


def test_when_the_launcher_is_killed_its_nodes_end_too(story):
    """Else they would write into a run directory that another start has taken up."""
    assert story.orphans == []
    print(f"the nodes were gone after {story.orphan_seconds:.2f} s")
    assert story.orphan_seconds < SHUTDOWN_SECONDS


def test_every_start_goes_on_from_the_checkpoint_of_the_one_before(story):
    assert story.starts[0] == 0
    assert story.starts == sorted(story.starts)
    assert len(set(story.starts[:-1])) == 5


def test_what_was_learned_from_was_acted(story):
    """And not much more: a queue, a batch and an unroll for each actor, at every start."""
    for counts in (story.interrupted.counts, story.terminated.counts, story.finished.counts):
        assert counts["actor_steps"] == counts["actor_frames"] >= counts["learner_frames"]
        assert counts["actor_frames"] < counts["learner_frames"] + 5 * 1000


def test_the_logs_of_all_starts_are_one_run(story):
    for node, name in [
        ("learner", "frames"),
        ("learner", "learner_frames"),
        ("learner", "learner_steps"),
        ("learner", "unrolls"),
        ("learner", "learner_walltime"),
        ("evaluator", "frames"),
        ("evaluator", "policy_version"),
        ("evaluator", "time"),
        ("actor_0", "time"),
    ]:
        values = column(story.directory, node, name)
        # Some starts end before an evaluation is due.
        assert len(values) >= (1 if node == "evaluator" else 2), (node, name)
        assert values == sorted(values), (node, name)
    # The counter is told of every step, and starts from what the checkpoint says.
    learner = logs.read_rows(story.directory.logs / "learner.csv")
    assert all(row["learner_frames"] == row["frames"] for row in learner)
    counts = story.finished.counts
    assert learner[-1]["frames"] == learner[-1]["learner_frames"] == str(counts["learner_frames"])


def test_an_interrupt_while_the_nodes_start_ends_it_within_three_seconds_too(tmp_path):
    """Nodes that import what they need are deaf to signals: their shells are."""
    command = train(tmp_path, FOR_EVER, "--num_actors=1")
    command.wait_until(lambda: set(command.nodes()) == NODES)
    begin = time.monotonic()
    os.killpg(command.process.pid, signal.SIGINT)
    status = command.wait()
    seconds = time.monotonic() - begin
    assert status == ENDED_EARLY, command.output
    assert "did not terminate in time" not in command.output
    assert command.processes() == []
    print(f"{seconds:.2f} s to the end")
    assert seconds < SHUTDOWN_SECONDS


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    """A program of threads, interrupted before its target (which cannot be reached)."""
    path = tmp_path_factory.mktemp("threads")
    command = train(
        path, FOR_EVER, "--launcher=local_mt", "--evaluate_every=1000", "--target_return=2"
    )
    directory = RunDirectory(str(path / "run"))
    command.wait_until(lambda: column(directory, "evaluator", "frames"))
    return ending(command, *command.stop(signal.SIGINT))


def test_threads_end_in_order_too(threads):
    assert_ended_in_order(threads, ENDED_EARLY)
    assert threads.counts["learner_frames"] >= 1000
    assert logs.read_rows(threads.directory.logs / "evaluator.csv")


def test_a_reached_target_ends_it_early(tmp_path):
    """Every return of Catch is at least -1, so the first evaluation reaches that."""
    command = train(
        tmp_path, FOR_EVER, "--launcher=local_mt", "--evaluate_every=500", "--target_return=-1"
    )
    end = ending(command, command.wait(), 0.0)
    assert_ended_in_order(end)
    assert len(logs.read_rows(end.directory.logs / "evaluator.csv")) == 1
    assert end.counts["learner_frames"] >= 500
