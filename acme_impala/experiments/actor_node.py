"""The actor node: plays, writes unrolls, logs returns."""

import contextlib
import functools
import threading
import time
from collections.abc import Mapping

import acme
import launchpad as lp
import tensorflow as tf
from acme.utils import counting

from acme_impala import acting, environments
from acme_impala import builder as builder_lib
from acme_impala import replay as replay_lib
from acme_impala.experiments import accounts, heartbeat, logs, membership, playing
from acme_impala.experiments.config import ExperimentConfig
from acme_impala.experiments.cores import keeping_to
from acme_impala.experiments.layout import ActorLayout
from acme_impala.experiments.peers import Peers
from acme_impala.experiments.processes import run_in_threads, until_over
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.experiments.seeds import seeds

# Of the ten that Launchpad gives a program to end: to have the unrolls taken.
_CLOSE_SECONDS = 3.0


def act(
    config: ExperimentConfig,
    directory: RunDirectory,
    builder: builder_lib.IMPALABuilder,
    learner_steps: int,
    layout: ActorLayout,
    index: int,
    peers: Peers,
    life: membership.Life,
):
    """An actor node in one life of the learner's: plays, writes unrolls, logs returns."""
    stop = lp.stop_event()
    node = f"actor_{index}"
    lives = membership.own_life(), life.number
    replay, counter = peers.replay(), peers.counter(life)
    variables = peers.weights(life, builder, config.weights_max_age)
    if any(lives):
        logs.cut_back(directory, counter.get_counts(), f"*{node}")  # Those of tasks too.
    environment_seed, action_seed = seeds(config, 1 + index, learner_steps, *lives)
    batches = layout.make_batches(config.environment_factory, environment_seed, index)
    environment_spec = acme.make_environment_spec(batches[0])
    tasks = environments.tasks_of(config.environment_factory)
    tasks_of_batches = layout.tasks_of_batches(index)
    names = [getattr(task, "name", "the environment") for task in tasks]
    pulse = heartbeat.current()
    should_stop = pulse.asked_while_waiting(
        life.over.is_set, "room in the queue", on=["replay", "learner"]
    )
    with tf.device("/CPU:0"):
        actors = [
            builder.make_batch_actor(
                [action_seed, number],
                config.network_factory(environment_spec),
                batch,
                replay,
                variables,
                task=task,
                environment_name=f"{names[task]} in actor {index}",
                should_stop=should_stop,
            )
            for number, (task, batch) in enumerate(zip(tasks_of_batches, batches, strict=True))
        ]
    pulse.measure("agent steps", lambda: sum(actor.steps_acted for actor in actors))
    task_logs = (
        {task: TaskLog(directory, names[task], node) for task in tasks_of_batches}
        if len(tasks) > 1
        else {}
    )
    recorder = ActingRecorder(
        config,
        directory,
        node,
        counting.Counter(counter, "actor"),
        playing.EpisodeWindow(logs.LOG_SECONDS),
    )
    ledger = accounts.open_actors(directory, node, *lives)

    frames = config.agent.frames_per_step
    frames_of_step = frames * sum(batch.num_environments for batch in batches)

    def entry() -> accounts.ActorEntry:
        acted = confirmed = in_hand = dropped = 0
        for actor in actors:
            acted += actor.steps_acted
            confirmed += actor.steps_confirmed
            in_hand += actor.steps_in_hand
            dropped += actor.steps_dropped_restart
        return accounts.ActorEntry(
            acted=frames * acted,
            confirmed=frames * confirmed,
            in_hand=frames * in_hand,
            dropped_restart=frames * dropped,
            step=frames_of_step,
        )

    def act_in(
        core: int | None,
        task: int,
        batch: environments.BatchedEnvironment,
        actor: acting.IMPALABatchActor,
    ) -> bool:
        tracker = playing.EpisodeTracker(batch.num_environments)
        unrolls = steps = 0  # Of this actor, as the recorder knows.
        with contextlib.closing(batch):
            with until_over(life), tf.device("/CPU:0"), keeping_to(core):
                for timestep, game_over in actor.steps():
                    ledger.write(entry())
                    episodes = [episode for _, episode in tracker.add(timestep, game_over)]
                    if episodes or actor.unrolls_written > unrolls:
                        num_steps = actor.steps_acted - steps
                        unrolls, steps = actor.unrolls_written, actor.steps_acted
                        recorder.record(
                            num_steps,
                            episodes,
                            sum(a.unrolls_written for a in actors),
                            sum(a.environments_lost for a in actors),
                        )
                        if task_logs:
                            task_logs[task].record(num_steps, episodes, recorder.learner_frames)
                    if life.over.is_set():
                        break
            if stop.is_set():
                return actor.close(_CLOSE_SECONDS)
            # The server has gone, which its client takes long to believe.
            replay_lib.in_background(functools.partial(actor.close, 0.0))
            return False

    with contextlib.closing(variables):
        are_complete = run_in_threads(
            [
                functools.partial(act_in, *each)
                for each in zip(
                    layout.cores_of_batches(index), tasks_of_batches, batches, actors, strict=True
                )
            ]
        )
    for log in (recorder, *task_logs.values()):
        log.close()
    ledger.close(entry()._replace(is_complete=int(all(are_complete)), has_ended=1))


class TaskLog:
    """Logs the episodes of one of several tasks in an actor node."""

    def __init__(self, directory: RunDirectory, task: str, node: str):
        self._logger = logs.make_logger(directory, logs.task_node(task, node))
        self._window = playing.EpisodeWindow(logs.LOG_SECONDS)
        self._learner_frames = 0.0
        self._lock = threading.Lock()

    def close(self):
        """Logs the episodes since the last row, and closes the log."""
        self._write(self._window.take())
        self._logger.close()

    def record(self, num_steps: int, episodes: list[playing.Episode], learner_frames: float):
        """Takes note of agent steps and of the episodes that have ended with them."""
        with self._lock:
            self._learner_frames = learner_frames
            self._write(self._window.add(num_steps, episodes))

    def _write(self, summary: Mapping[str, float] | None):
        if summary:
            self._logger.write({**summary, logs.FRAMES: self._learner_frames, "time": time.time()})


class ActingRecorder:
    """Counts and logs what the actors of a node do, in whatever thread."""

    def __init__(
        self,
        config: ExperimentConfig,
        directory: RunDirectory,
        node: str,
        counter: counting.Counter,
        window: playing.EpisodeWindow,
    ):
        self._frames_per_step = config.agent.frames_per_step
        self._counter = counter
        self._logger = logs.make_logger(directory, node)
        self._window = window
        self._steps = self._episodes = self._unrolls = self._environments_lost = 0
        self._lock = threading.Lock()
        self._counts: Mapping[str, float] = {}  # As they were last told.

    def record(
        self,
        num_steps: int,
        episodes: list[playing.Episode],
        unrolls_written: int,
        environments_lost: int,
    ):
        """Takes note of agent steps; counts are passed on once an unroll or with a summary.

        Args:
            num_steps: agent steps since the last time.
            episodes: that have ended with them.
            unrolls_written: by all of the node's actors so far.
            environments_lost: by all of them so far.
        """
        with self._lock:
            self._record(num_steps, episodes, unrolls_written, environments_lost)

    @property
    def learner_frames(self) -> float:
        """Environment frames that the learner has learned from, as was last told."""
        return self._counts.get("learner_frames", 0.0)

    def close(self):
        """Logs the episodes since the last row, and closes the log."""
        if self._counts:
            self._write(self._window.take())
        self._logger.close()

    def _record(
        self,
        num_steps: int,
        episodes: list[playing.Episode],
        unrolls_written: int,
        environments_lost: int,
    ):
        self._steps += num_steps
        self._episodes += len(episodes)
        summary = self._window.add(num_steps, episodes)
        if unrolls_written == self._unrolls and not summary:
            return
        self._counts = self._counter.increment(
            steps=self._steps,
            frames=self._steps * self._frames_per_step,
            episodes=self._episodes,
            unrolls=unrolls_written - self._unrolls,
            environments_lost=environments_lost - self._environments_lost,
        )
        self._steps, self._episodes, self._unrolls = 0, 0, unrolls_written
        self._environments_lost = environments_lost
        self._write(summary)

    def _write(self, summary: Mapping[str, float] | None):
        if summary:
            self._logger.write(
                {
                    **summary,
                    logs.FRAMES: self._counts["learner_frames"],
                    "actor_frames": self._counts["actor_frames"],
                    "actor_environments_lost": self._counts["actor_environments_lost"],
                    "time": time.time(),
                }
            )
