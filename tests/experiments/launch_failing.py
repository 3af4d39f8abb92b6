"""Launches a program of which a part fails.

python launch_failing.py <which part> <launch type> <workdir>
"""

import dataclasses
import sys

from absl import app

import runs
from acme_impala.environments import Catch
from acme_impala.experiments import NodeFailedError, RayOptions, launch

FAILING_STEP = 31  # Of all steps of a process; an episode of Catch has nine.


class FailingCatch(Catch):
    """Catch until the failing step."""

    def __init__(self, failure, seed):
        super().__init__(seed=seed)
        self._failure = failure
        self._all_steps = 0

    def step(self, action):
        self._all_steps += 1
        timestep = super().step(action)
        if self._all_steps >= FAILING_STEP:
            if self._failure in ("actor", "evaluator"):
                raise RuntimeError(f"the game crashed at step {self._all_steps}")
            if self._failure == "reward":
                return timestep._replace(reward=float("nan"))
        return timestep


class EnvironmentFactory:
    """Makes environments that fail, in training or in the evaluator."""

    name = "failing catch"

    def __init__(self, failure):
        self._failure = failure

    def __call__(self, seed, evaluation):
        fails = evaluation == (self._failure == "evaluator")
        return FailingCatch(self._failure if fails else None, seed)


def main(arguments):
    _, failure, launch_type, workdir = arguments
    config = runs.catch_config(workdir, num_frames=10_000_000, checkpoint_seconds=1.0)
    config = dataclasses.replace(config, environment_factory=EnvironmentFactory(failure))
    try:
        launch(config, 1, launch_type=launch_type, ray=RayOptions(max_deaths=1))
    except (ValueError, NodeFailedError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    app.run(main)
