"""A Lab's process is killed in the middle of an unroll: the unroll is dropped, the run goes on."""

import contextlib
import dataclasses
import os
import signal
from typing import ClassVar

import pytest

from acme_impala import experiments, run_experiment
from acme_impala.environments import EnvironmentFactory, LabOptions
from acme_impala.experiments import launch
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.networks import NetworkConfig

from ..environments.fake_dmlab import PATH
from .runs import catch_config, column
from .test_replay_runs import assert_balanced

UNROLL_LENGTH = 10
KILLED_AT = 32  # Calls before: in the middle of an unroll, and of an episode of eleven steps.
LAB = EnvironmentFactory(
    "dmlab:tests/short", True, lab=LabOptions(width=16, height=12, max_words=2)
)


@dataclasses.dataclass(frozen=True)
class Killing:
    """Makes Labs to train in, and kills the process of the first when it has taken some steps."""

    made: ClassVar = []  # Shared by all copies: nodes are pickled.

    def __call__(self, seed, evaluation=False):
        environment = LAB(seed, evaluation)
        return environment if evaluation else self._kill(environment, "step", environment)

    def batch(self, seed, num_environments, evaluation=False, num_threads=1):
        batch = LAB.batch(seed, num_environments, evaluation, num_threads)
        if evaluation:
            return batch
        return self._kill(batch, "send", batch._environment._environments[0])

    def _kill(self, made, method, lab):
        self.made.append(made)
        step, steps = getattr(made, method), iter(range(1_000_000))

        def step_and_kill(*arguments):
            if next(steps) == KILLED_AT:
                os.kill(lab.pid, signal.SIGKILL)
            return step(*arguments)

        setattr(made, method, step_and_kill)
        return made


@pytest.mark.parametrize("how", ["one process", "threads"])
def test_a_killed_lab_is_started_anew_and_every_frame_is_accounted_for(how, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PATH))
    monkeypatch.setattr(Killing, "made", [])
    agent = experiments.PRESETS["catch"](1).agent
    assert agent.unroll_length == UNROLL_LENGTH
    config = catch_config(
        tmp_path / "run",
        environment_factory=Killing(),
        network_factory=NetworkConfig(hidden_sizes=(8,)),
        agent=dataclasses.replace(agent, frames_per_step=4),
        num_frames=1600,
        evaluate_every=1000,
        evaluation_episodes=2,
    )
    if how == "one process":
        run_experiment(config)
    else:
        launch(config, 1, 2, launch_type="local_mt")
    number = 1 if how == "one process" else 2
    directory = RunDirectory(config.workdir)
    trained_in = Killing.made[-1]
    restarts = trained_in.restarts if number == 1 else trained_in._environment.restarts
    assert restarts == 1
    frames = assert_balanced(directory)
    assert frames["learned_fresh"] >= 1600
    # Episodes have twelve rows. Alone, of whose calls none restarts, the environment has taken four
    # steps in rows 30 to 33; the batch five, in rows 30 and 31 and of the other one in row 32.
    assert frames["dropped_restart"] == 4 * (4 if number == 1 else 5)
    assert column(directory, "actor_0", "actor_environments_lost")[-1] == 1
    # Only whole ones count as episodes.
    assert set(column(directory, "actor_0", "episode_length")) == {11.0}
    for made in Killing.made:
        with contextlib.closing(made):
            pass
