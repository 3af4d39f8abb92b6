"""The evaluator node: plays episodes by frozen weights now and then."""

import contextlib
import time
from collections.abc import Mapping, Sequence

import acme
import launchpad as lp
import tensorflow as tf

from acme_impala import acting, environments, networks
from acme_impala.experiments import heartbeat, logs, membership, playing
from acme_impala.experiments.config import ExperimentConfig
from acme_impala.experiments.peers import Peers
from acme_impala.experiments.processes import POLL_SECONDS
from acme_impala.experiments.remote import Remote
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.experiments.seeds import seeds


def evaluate(
    config: ExperimentConfig,
    directory: RunDirectory,
    learner_steps: int,
    peers: Peers,
    life: membership.Life,
):
    """The evaluator node in one life of the learner's: plays episodes now and then."""
    lives = membership.own_life(), life.number
    if any(lives):
        logs.cut_back(directory, peers.counter(life).get_counts(), "evaluator")
    learner = peers.learner(life)
    with tf.device("/CPU:0"):
        evaluator = Evaluator(config, directory, learner_steps, learner, lives)
        with contextlib.closing(evaluator):
            _evaluate_when_due(evaluator, learner, life)


def _evaluate_when_due(evaluator: "Evaluator", learner: Remote, life: membership.Life):
    pulse = heartbeat.current()
    steps = 0
    pulse.measure("evaluation steps", lambda: steps)
    while not life.over.wait(POLL_SECONDS):
        frames = learner.frames()
        if not evaluator.is_due(frames):
            pulse.waits("the next evaluation", on=["learner"])
            continue
        for _ in evaluator.evaluate(frames):
            steps += 1
            if life.over.is_set():
                return
        if evaluator.reached_target:
            lp.stop()


class Evaluator:
    """Evaluates the learner's policy, as often as the config says."""

    def __init__(
        self,
        config: ExperimentConfig,
        directory: RunDirectory,
        learner_steps: int,
        learner: acme.VariableSource,
        lives: Sequence[int] = (),
    ):
        environment_seed, action_seed = seeds(config, 0, learner_steps, *lives)
        self._config = config
        tasks = environments.tasks_of(config.environment_factory)
        self._names = [getattr(task, "name", "") for task in tasks]
        size = min(config.evaluation_episodes, playing.most_side_by_side(tasks))
        self._batches = [
            environments.make_batch(task, environment_seed, size, evaluation=True) for task in tasks
        ]
        network = networks.as_impala_network(
            config.network_factory(acme.make_environment_spec(self._batches[0]))
        )
        sampler = acting.ActionSampler(
            action_seed, config.greedy_evaluation, self._batches[0].action_spec()
        )
        self._policy = acting.BatchedPolicy(network, size, sampler)
        self._weights = acting.Weights(network, learner)
        self._any_observation = networks.zeros(self._batches[0].observation_spec(), [1])
        self._logger = logs.make_logger(directory, "evaluator")
        self._next_frames: float | None = None
        self.summary: Mapping[str, float] | None = None  # Of the last evaluation.

    @property
    def reached_target(self) -> bool:
        """Whether the last evaluation's mean return was the run's target or more."""
        target = self._config.target_return
        return bool(
            target is not None and self.summary and self.summary["episode_return"] >= target
        )

    def is_due(self, frames: int) -> bool:
        """Whether the next evaluation is due, so many environment frames learned from."""
        period = self._config.evaluation_period
        if self._next_frames is None:
            self._next_frames = (frames // period + 1) * period
        if frames < self._next_frames:
            return False
        self._next_frames = (frames // period + 1) * period
        return True

    def evaluate(self, frames: int):
        """Plays the evaluation's episodes with the newest weights; yields after every step."""
        self._weights.take(self._any_observation)
        played: dict[str, list[playing.Episode]] = {name: [] for name in self._names}
        num_episodes = self._config.evaluation_episodes
        for name, batch in zip(self._names, self._batches, strict=True):
            for ended in playing.evaluate(batch, self._policy, num_episodes):
                played[name] += ended
                yield
        self.summary = {
            **playing.summarize_tasks(played),
            logs.FRAMES: frames,
            "policy_version": self._weights.version,
            "time": time.time(),
        }
        self._logger.write(self.summary)

    def close(self):
        """Closes environments and log."""
        for batch in self._batches:
            batch.close()
        self._logger.close()
