"""Several tasks at once: the same share of every run, each counted and logged by itself."""

import dataclasses
import time

import pytest

from acme_impala import experiments, run_experiment
from acme_impala.environments import Catch, TaskSuite
from acme_impala.experiments import launch, logs
from acme_impala.experiments.layout import ActorLayout
from acme_impala.experiments.run_directory import RunDirectory

from .runs import catch_config, column
from .test_replay_runs import assert_balanced, replaying


@pytest.mark.parametrize(
    ("num_actors", "num_tasks", "size", "tasks"),
    [
        (1, 3, 8, [[0, 1, 2]]),
        (2, 3, 16, [[0, 2], [1]]),
        (3, 3, 32, [[0], [1], [2]]),
        (4, 2, 32, [[0], [1], [0], [1]]),
        (1, 57, 1, [list(range(57))]),
    ],
)
def test_tasks_are_dealt_out_to_actors(num_actors, num_tasks, size, tasks):
    layout = ActorLayout(num_actors, 32, num_tasks=num_tasks)
    assert [layout.tasks_of_batches(actor) for actor in range(num_actors)] == tasks
    assert layout.environments_per_batch == size
    assert layout.batches_per_actor == max(map(len, tasks))
    assert layout.unrolls_per_item(32) == size


@dataclasses.dataclass(frozen=True)
class NamedCatch:
    """Catch as one of several tasks, which may be slow, or end its episodes early."""

    name: str
    seconds: float = 0.0
    rows: int = 10

    def __call__(self, seed, evaluation=False):
        environment = Catch(rows=self.rows, seed=seed)
        step = environment.step

        def slow_step(action):
            time.sleep(self.seconds)
            return step(action)

        environment.step = slow_step
        return environment


def suite_config(workdir, tasks, **changes):
    return catch_config(workdir, environment_factory=TaskSuite("two", tasks), **changes)


def test_tasks_that_differ_in_speed_have_the_same_share(tmp_path):
    config = suite_config(tmp_path, (NamedCatch("a"), NamedCatch("b", seconds=0.002)))
    config = replaying(config, fraction=0.5)
    launch(config, 1, 8, launch_type="local_mt")
    directory = RunDirectory(config.workdir)
    frames = assert_balanced(directory)
    shares = [column(directory, "learner", f"frames/{name}")[-1] for name in ("a", "b")]
    # No further apart than the items of a batch in which the run ended.
    assert abs(shares[0] - shares[1]) <= 2 * 4 * 10
    assert sum(shares) <= frames["learned_fresh"]
    for name in ("a", "b"):
        # One at least: what cores the machine has left are the evaluator's.
        assert column(directory, "evaluator", f"episode_return/{name}")
        assert logs.read_rows(directory.logs / f"task_{name}_actor_0.csv")
    assert directory.learning_curve.exists()


def test_tasks_that_one_network_cannot_act_in_are_refused(tmp_path):
    config = suite_config(tmp_path, (NamedCatch("a"), NamedCatch("b", rows=7)))
    with pytest.raises(ValueError, match="The tasks a and b differ in their observations"):
        experiments.make_program(config)


def test_one_process_plays_one_task(tmp_path):
    config = suite_config(tmp_path, (NamedCatch("a"), NamedCatch("b")))
    with pytest.raises(ValueError, match="plays one task, and these are 2"):
        run_experiment(config)
