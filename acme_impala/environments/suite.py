"""Several tasks for one agent, which is not told which of them it is in."""

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from typing import Any

import dm_env

from acme_impala.environments.atari57 import ATARI_57
from acme_impala.environments.batch import BatchedEnvironment
from acme_impala.environments.dmlab30 import DMLAB_30
from acme_impala.environments.factory import (
    EnvironmentFactory,
    batches_run_in_background,
    make_batch,
)

Factory = Callable[[int, bool], dm_env.Environment]
# The names of suites, and of the tasks in them.
SUITES = {
    "atari57": tuple(f"atari:{game}" for game in ATARI_57),
    "dmlab30": tuple(f"dmlab:{task}" for task in DMLAB_30),
}


@dataclasses.dataclass(frozen=True)
class TaskSuite:
    """Tasks that are learned at once. Where one environment will do, it stands for the first.

    Attributes:
        name: of the suite.
        tasks: `EnvironmentFactory`s, or other factories that have a name; at least two, of the same
            specs: of Atari games with all 18 actions.

    Raises:
        ValueError: there are fewer, or one is there twice.
    """

    name: str
    tasks: tuple[Factory, ...]

    def __post_init__(self):
        names = [task.name for task in self.tasks]
        if len(names) < 2:
            raise ValueError(f"The suite {self.name} needs at least two tasks, got {names}.")
        same = [getattr(task, "spelled_out", task.name) for task in self.tasks]
        twice = sorted({n for n, s in zip(names, same, strict=True) if same.count(s) > 1})
        if twice:
            raise ValueError(f"The suite {self.name} has tasks twice: {', '.join(twice)}.")

    @property
    def batches_run_in_background(self) -> bool:
        """Whether batches take their steps in threads or processes."""
        return all(batches_run_in_background(task) for task in self.tasks)

    def __call__(self, seed: int, evaluation: bool = False) -> dm_env.Environment:
        """Makes an environment of the first task."""
        return self.tasks[0](seed, evaluation)

    def batch(
        self, seed: int, num_environments: int, evaluation: bool = False, num_threads: int = 1
    ) -> BatchedEnvironment:
        """Makes environments of the first task."""
        return make_batch(self.tasks[0], seed, num_environments, evaluation, num_threads)


def tasks_of(environment_factory: Factory) -> Sequence[Factory]:
    """Returns a factory for each task: of a suite all of them, of any other itself."""
    return getattr(environment_factory, "tasks", (environment_factory,))


def task_names(environment_factory: Factory) -> list[str]:
    """Returns the names of a suite's tasks; none where there is only one task."""
    return [task.name for task in getattr(environment_factory, "tasks", ())]


def make_factory(name: str, **fields: Any) -> EnvironmentFactory | TaskSuite:
    """Makes what a name stands for: a task, a suite of `SUITES`, or several with commas between.

    Args:
        name: of `EnvironmentFactory` or of a suite, or several.
        **fields: of `EnvironmentFactory`.

    Raises:
        ValueError: a name is not known, is there twice, or is missing between two commas.
    """
    names = [task for part in name.split(",") for task in _tasks_named(part.strip())]
    tasks = tuple(EnvironmentFactory(part, **fields) for part in names)
    return tasks[0] if len(tasks) == 1 else TaskSuite(name, tasks)


def is_suite(name: str) -> bool:
    """Whether a name stands for several tasks."""
    return len(_tasks_named(name)) > 1 or "," in name


def _tasks_named(name: str) -> tuple[str, ...]:
    if not name:
        raise ValueError("A name is missing: of a task or a suite, several with commas between.")
    if name not in SUITES and difflib.get_close_matches(name, SUITES, cutoff=0.85):
        raise ValueError(f"There is no suite {name!r}. Suites are {' and '.join(SUITES)}.")
    return SUITES.get(name, (name,))
