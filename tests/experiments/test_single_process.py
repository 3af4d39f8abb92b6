"""Experiments in one process: the same run for the same seed, continued, and ended in order."""

import dataclasses
import itertools
import signal
import time
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf

from acme_impala import RMSProp, run_experiment
from acme_impala.environments import EnvironmentFactory
from acme_impala.experiments import checkpointing, logs
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.networks import NetworkConfig

from .runs import ENDED_EARLY, catch_config, column, train

FRAMES = 1500


def evaluations(directory):
    """The learning curve, without the times."""
    rows = logs.read_rows(directory.logs / "evaluator.csv")
    return [{name: value for name, value in row.items() if name != "time"} for row in rows]


def variables(directory):
    """Everything in the newest checkpoint but its counts, which have times among them."""
    reader = tf.train.load_checkpoint(checkpointing.newest_whole(directory.checkpoints).path)
    names = set(reader.get_variable_to_shape_map()) - {"counts/.ATTRIBUTES/VARIABLE_VALUE"}
    return {
        name: np.asarray(reader.get_tensor(name)).tobytes()
        for name in names
        if "OBJECT_GRAPH" not in name
    }


def counts(directory):
    return checkpointing.newest_whole(directory.checkpoints).counts


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Three runs in fresh processes: two of the same seed, one of another."""
    root = tmp_path_factory.mktemp("commands")

    def run(name, seed):
        command = train(
            root / name,
            "--launcher=in_process",
            f"--num_frames={FRAMES}",
            "--evaluate_every=500",
            f"--seed={seed}",
        )
        assert command.wait() == 0, command.output
        return command, RunDirectory(str(command.temporary.parent / "run"))

    with futures.ThreadPoolExecutor(2) as pool:
        runs = pool.map(run, ("one", "two", "other"), (3, 3, 4))
        return dict(zip(("one", "two", "other"), runs, strict=True))


@pytest.fixture(scope="module")
def directories(commands):
    return {name: directory for name, (_, directory) in commands.items()}


def test_the_same_seed_gives_the_same_learning_curve_number_for_number(directories):
    curve = evaluations(directories["one"])
    assert [int(row["frames"]) // 500 for row in curve] == [1, 2, 3]
    assert curve == evaluations(directories["two"])


def test_the_same_seed_gives_the_same_weights_bit_for_bit(directories):
    one, two = (variables(directories[name]) for name in ("one", "two"))
    assert len(one) > 10
    assert one == two


def test_another_seed_gives_another_run(directories):
    assert evaluations(directories["one"]) != evaluations(directories["other"])
    assert variables(directories["one"]) != variables(directories["other"])


def test_it_leaves_all_that_a_run_directory_has(directories):
    directory = directories["one"]
    assert directory.learning_curve.stat().st_size > 5000
    for node in ("learner", "actor_0", "evaluator"):
        assert logs.read_rows(directory.logs / f"{node}.csv"), node
        assert list((directory.tensorboard / node).glob("events*")), node
    assert not list(directory.failures.iterdir())
    assert FRAMES <= counts(directory)["learner_frames"] < FRAMES + 100
    # What was learned from was acted before.
    assert counts(directory)["actor_frames"] >= counts(directory)["learner_frames"]


def test_it_says_where_everything_is_and_leaves_nothing_elsewhere(commands):
    command, directory = commands["one"]
    for path in (directory.learning_curve, directory.logs, directory.checkpoints):
        assert str(path) in command.output
    assert list(command.temporary.iterdir()) == []
    assert command.processes() == []


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """A run, then more frames of it, then the same command once more."""
    config = catch_config(tmp_path_factory.mktemp("continued"), num_frames=FRAMES, seed=1)
    longer = dataclasses.replace(config, num_frames=2 * FRAMES)
    directory = RunDirectory(config.workdir)
    results = []
    for run in (config, longer, longer):
        start = time.monotonic()
        summary = run_experiment(run, accept_new_config=run is longer)
        results.append((summary, counts(directory), time.monotonic() - start))
    return directory, results


def test_it_returns_the_summary_of_the_last_evaluation(continued):
    directory, results = continued
    summary = results[1][0]
    assert summary["episodes"] == 5
    last = logs.read_rows(directory.logs / "evaluator.csv")[-1]
    assert summary["episode_return"] == float(last["episode_return"])
    assert summary["frames"] == int(last["frames"]) >= 2 * FRAMES


def test_a_continued_run_goes_on_from_the_counts_of_the_checkpoint(continued):
    directory, results = continued
    (_, first, _), (_, second, _), _ = results
    assert first["learner_frames"] < 2 * FRAMES <= second["learner_frames"]
    for name in ("learner_frames", "learner_steps"):
        logged = column(directory, "learner", name)
        assert logged == sorted(logged)
        # The second start begins right where the first ended.
        after = [value for value in logged if value > first[name]]
        assert after[0] - first[name] <= (1 if name == "learner_steps" else 100)
        assert logged[-1] == second[name]
    frames = column(directory, "evaluator", "frames")
    assert [int(value) // 500 for value in frames] == [1, 2, 3, 4, 5, 6]
    acted = column(directory, "actor_0", "actor_frames")
    assert acted == sorted(acted)
    assert second["actor_frames"] >= second["learner_frames"]


def test_a_finished_run_started_again_ends_at_once_and_changes_nothing(continued):
    _, results = continued
    (_, _, seconds_before), (_, counts_before, _), (summary, counts_after, seconds) = results
    assert summary == {}
    assert counts_after == counts_before
    assert seconds < seconds_before


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Runs ended by a signal: by name, (exit status, seconds, directory, frames logged before)."""
    root = tmp_path_factory.mktemp("ended")

    def run(number):
        command = train(
            root / number.name,
            "--launcher=in_process",
            "--num_frames=10000000",
            "--evaluate_every=1000",
        )
        directory = RunDirectory(str(command.temporary.parent / "run"))
        command.wait_until(lambda: len(logs.read_rows(directory.logs / "learner.csv")) >= 2)
        frames = column(directory, "learner", "frames")[-1]
        status, seconds = command.stop(number)
        return command, status, seconds, directory, frames

    with futures.ThreadPoolExecutor(2) as pool:
        signals = (signal.SIGINT, signal.SIGTERM)
        return dict(zip(signals, pool.map(run, signals), strict=True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_with_a_last_checkpoint(ended, number):
    command, status, seconds, directory, frames = ended[number]
    assert status == ENDED_EARLY, command.output
    assert "Traceback" not in command.output
    assert counts(directory)["learner_frames"] >= frames > 0
    # The last row that was held back is there too.
    assert column(directory, "learner", "frames")[-1] == counts(directory)["learner_frames"]
    assert seconds < 10
    print(f"{number.name} to exit: {seconds:.2f} s")


def failing_catch(seed, evaluation):
    """Catch whose tenth step is an error of its own."""
    environment = EnvironmentFactory("catch")(seed, evaluation)
    steps = itertools.count(1)
    step = environment.step

    def step_or_fail(action):
        if next(steps) == 10:
            raise ValueError("the ball is gone")
        return step(action)

    environment.step = step_or_fail
    return environment


def test_an_error_in_the_middle_leaves_its_traceback(tmp_path):
    config = catch_config(tmp_path / "run", environment_factory=failing_catch)
    with pytest.raises(ValueError, match="the ball is gone"):
        run_experiment(config)
    (report,) = RunDirectory(config.workdir).failures.iterdir()
    assert report.name.endswith("-in_process.txt")
    assert "in step_or_fail" in report.read_text()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"network_factory": NetworkConfig(hidden_sizes=(9,))},
            r"and of shape \[9\] here",
        ),
        ({"network_factory": NetworkConfig(hidden_sizes=(16, 16))}, "learner/network.* not there"),
        ({"agent": {"optimizer": RMSProp()}}, "learner/optimizer.* is not there"),
        (
            {"environment_factory": EnvironmentFactory("memory")},
            r"and of shape \[2, 16\] here",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_said_before_anything_changes(tmp_path, changes, reason):
    config = catch_config(tmp_path / "run", num_frames=100)
    run_experiment(config)
    directory = RunDirectory(config.workdir)
    before = directory.config.read_text(), variables(directory)
    agent = dataclasses.replace(config.agent, **changes.get("agent", {}))
    other = dataclasses.replace(config, **{**changes, "agent": agent}, num_frames=200)
    with pytest.raises(ValueError, match=f"is of another network or optimizer.*{reason}"):
        run_experiment(other, accept_new_config=True)
    assert (directory.config.read_text(), variables(directory)) == before
    run_experiment(dataclasses.replace(config, num_frames=200), accept_new_config=True)
