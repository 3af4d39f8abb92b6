"""The nodes of a program: counter, learner, actor, evaluator."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import acme
import courier
import dm_env
import launchpad as lp
import numpy as np
import reverb
import tensorflow as tf
from absl import logging
from acme.utils import counting
from launchpad.nodes.base import Handle

from acme_impala import acting, environments, learning, networks
from acme_impala import builder as builder_lib
from acme_impala import replay as replay_lib
from acme_impala.config import IMPALAConfig
from acme_impala.experiments import (
    accounts,
    checkpointing,
    heartbeat,
    host_weights,
    learning_curve,
    logs,
    membership,
    playing,
)
from acme_impala.experiments.config import ExperimentConfig
from acme_impala.experiments.layout import ActorLayout
from acme_impala.experiments.processes import (
    POLL_SECONDS,
    Remote,
    SharedEvent,
    run_in_threads,
    until_over,
    until_stopped,
)
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.experiments.table_log import TableLog

LOG_SECONDS = 1.0
# Of the ten that Launchpad gives a program to end: for actors to have their unrolls taken, and for
# the learner to wait for them.
CLOSE_SECONDS = 3.0
DRAIN_SECONDS = 4.0
MAX_EVALUATION_ENVIRONMENTS = 32
# Of environments that are large processes: they stay there between evaluations.
MAX_EVALUATION_PROCESSES = 4
# Every count there is, so that logs have the same columns from their first row on.
COUNTS = (
    "actor_environments_lost",
    "actor_episodes",
    "actor_frames",
    "actor_steps",
    "actor_unrolls",
    "learner_frames",
    "learner_replayed_frames",
    "learner_steps",
    "learner_walltime",
)


def make_counter(counts: Mapping[str, float]) -> counting.Counter:
    """Makes the counter node, which goes on from the counts of a checkpoint."""
    counter = counting.Counter()
    counter.restore({"counts": {**dict.fromkeys(COUNTS, 0), **counts}, "cache": {}})
    return counter


class Peers:
    """The nodes that actors and evaluator work with, where they are in a life of the learner's."""

    def __init__(self, replay: Handle, counter: Handle, learner: Handle):
        """Keeps handles, of which every life makes new clients."""
        self._replay = replay
        self._counter = counter
        self._learner = learner

    def replay(self) -> reverb.Client:
        """Makes a client of the replay node."""
        return self._replay.dereference()

    def counter(self, life: membership.Life) -> Remote:
        """Makes a client of the counter."""
        return Remote(self._counter.dereference(), "counter", life.over)

    def learner(self, life: membership.Life) -> Remote:
        """Makes a client of the learner."""
        return Remote(self._learner.dereference(), "learner", life.over)

    def weights(
        self, life: membership.Life, builder: builder_lib.IMPALABuilder, max_age: float
    ) -> host_weights.HostVariables:
        """Makes what actors take their weights from, together with the others of their host."""
        client = self._learner.dereference()
        source = builder.variables_of_actors(Remote(client, "learner", life.over))
        name = f"{client.address} {life.number}"
        return host_weights.HostVariables(source, name, life.over.is_set, max_age)


def seeds(config: ExperimentConfig, node: int, learner_steps: int, *lives: int) -> tuple[int, int]:
    """Seeds of a node's environment and of its actions.

    Args:
        config: has the experiment's seed.
        node: a number of the node's own: 0 the evaluator, 1 and on the actors.
        learner_steps: where the run starts from, so that a continued run sees new episodes.
        lives: of the node's process and the learner's, likewise.
    """
    environment, actions = np.random.SeedSequence(
        [config.seed, node, learner_steps, *lives]
    ).generate_state(2)
    return int(environment), int(actions)


class LearnerNode(acme.VariableSource):
    """Steps the learner until enough frames are learned, and writes checkpoints."""

    def __init__(
        self,
        config: ExperimentConfig,
        directory: RunDirectory,
        builder: builder_lib.IMPALABuilder,
        continuation: checkpointing.Continuation,
        environment_spec: acme.specs.EnvironmentSpec,
        num_actors: int,
        has_ended: SharedEvent,
        replay: reverb.Client,
        counter: courier.Client,
    ):
        self._config = config
        self._directory = directory
        self._num_actors = num_actors
        self._has_ended = has_ended
        self._stop = lp.stop_event()
        self._life = membership.own_life()
        if self._life:
            logs.cut_back(directory, continuation.counts, "learner")
            logs.cut_back(directory, continuation.counts, "replay")
        self._counter = LearnerCounter(Remote(counter, "counter", self._stop), config.agent)
        self._logger = logs.make_logger(directory, "learner", every=LOG_SECONDS)
        self._tables = TableLog(replay, logs.make_logger(directory, "replay"))
        pulse = heartbeat.current()
        self._dataset = builder.make_dataset_iterator(
            replay,
            should_stop=pulse.asked_while_waiting(
                self._stop.is_set, "a batch", on=["replay", "actor_*"]
            ),
        )
        self._learner = builder.make_learner(
            config.seed,
            config.network_factory(environment_spec),
            self._dataset,
            replay,
            self._counter,
            logger=self._logger,
            metrics_every_seconds=LOG_SECONDS,
        )
        self._checkpointer = checkpointing.Checkpointer(
            directory.checkpoints,
            self._learner,
            config.checkpoints_to_keep,
            replay if config.agent.replay.fraction else None,
        )
        found = continuation.find()
        if found:
            self._checkpointer.restore(found.path)
        self._entry = accounts.LearnerEntry.at(self._learner.frame_counts)
        self._ledger = accounts.open_learners(directory, self._life, self._entry)
        # What fits between actors and learner: the queues, and batches that are being gathered,
        # wait, are learned from, or are sampled ahead.
        agent, num_tasks = config.agent, len(environments.tasks_of(config.environment_factory))
        unrolls = num_tasks * (builder.queue_capacity + builder.unrolls_per_item)
        self._room = agent.frames_per_step * agent.unroll_length * (unrolls + 4 * agent.batch_size)

        pulse.measure("learner steps", lambda: self._counter.get_counts()["learner_steps"])
        heartbeat.of("replay").measure(
            "unrolls", lambda: self._tables.unrolls_inserted, serves=True
        )

    def get_variables(self, names: Sequence[str]) -> list[list[np.ndarray]]:
        """The newest weights and their version."""
        return self._learner.get_variables(names)

    def frames(self) -> int:
        """Environment frames learned from."""
        return self._learner.frames

    def run(self):
        """Learns until the run's frames are learned or the program stops."""
        try:
            with until_stopped(self._stop):
                self._learn()
            lp.stop()
            self._settle_accounts()
            self._save()
            self._logger.close()
            self._tables.close()
        finally:
            self._has_ended.set()

    def _learn(self):
        next_save = time.monotonic() + self._config.checkpoint_seconds
        next_log = 0.0
        self._counter.exchange()
        while not self._stop.is_set() and self._learner.frames < self._config.num_frames:
            try:
                self._learner.step()
            except StopIteration:
                break
            self._ledger.write(self._entry._replace(taken=self._frames_taken()))
            self._counter.exchange(every_seconds=LOG_SECONDS)
            now = time.monotonic()
            if now >= next_log:
                self._tables.write(self._learner.frames)
                next_log = now + LOG_SECONDS
            if now >= next_save:
                self._save()
                next_save = time.monotonic() + self._config.checkpoint_seconds

    def _frames_taken(self) -> int:
        """Fresh environment frames that this life has learned or dropped."""
        taken = accounts.taken(self._learner.frame_counts) - self._entry.taken_before
        return taken + self._config.agent.frames_per_step * self._dataset.steps_dropped

    def _actors_have_ended(self) -> bool:
        """Whether all actors that run have said their last words."""
        said = accounts.actors_with(self._directory, self._life)
        lives = membership.lives_of("actor_")
        if lives is None:
            lives = {f"actor_{index}": 0 for index in range(self._num_actors)}
        return all(key in said and said[key].has_ended for key in lives.items())

    def _settle_accounts(self):
        """Lets the actors write what they have, and finds out what became of every frame."""
        queued = None
        with until_stopped(self._stop):
            queued = self._dataset.drain(self._actors_have_ended, DRAIN_SECONDS)
        settle_accounts(
            self._directory,
            self._learner,
            self._config.agent.frames_per_step,
            self._dataset.steps_dropped,
            queued,
            life=self._life,
            room=self._room,
        )

    def _save(self):
        with until_stopped(self._stop):  # Else what the actors said last will do.
            self._counter.exchange()
        self._checkpointer.save(self._counter.get_counts())


def settle_accounts(
    directory: RunDirectory,
    learner: learning.IMPALALearner,
    frames_per_step: int,
    steps_dropped: int,
    steps_queued: int | None,
    *,
    life: int = 0,
    room: int = 0,
):
    """Writes down what became of every frame, and complains where one is missing.

    Args:
        directory: the run's, with the ledgers of actors and learner.
        learner: has learned, or dropped.
        frames_per_step: environment frames of an agent step.
        steps_dropped: agent steps that were only to fill the replay table.
        steps_queued: agent steps that were written and not learned from; None: not known.
        life: of the learner's process.
        room: environment frames that fit between actors and learner.
    """
    queued = None if steps_queued is None else steps_queued * frames_per_step
    dropped = steps_dropped * frames_per_step
    total = accounts.settle(directory, life, learner.frame_counts, dropped, queued, room)
    if total and total["difference"]:
        logging.error("Frames are missing: %s", accounts.describe(directory))


class LearnerCounter(counting.Counter):
    """Counts what the learner does, and knows the program's other counts.

    Acme's counter forgets what it was about to pass on when that fails, as it may in the moment in
    which a program ends: a checkpoint would then hold less than the log.

    What was learned from was acted, even where the actors have not come to report it.
    """

    def __init__(self, program: Remote, agent: IMPALAConfig):
        super().__init__()
        self._frames_per_step = agent.frames_per_step
        self._program = program
        self._last_exchange = 0.0
        self._take_over(dict.fromkeys(COUNTS, 0))

    def increment(self, **counts: float) -> Mapping[str, float]:
        """Counts, here; returns all counts."""
        return super().increment(**{f"learner_{name}": n for name, n in counts.items()})

    def get_counts(self) -> Mapping[str, float]:
        """Returns all counts."""
        counts = super().get_counts()
        frames = counts["learner_frames"]
        least = {"actor_frames": frames, "actor_steps": frames // self._frames_per_step}
        return {**counts, **{name: max(counts[name], n) for name, n in least.items()}}

    def exchange(self, every_seconds: float = 0.0):
        """Passes on what was counted here since the last time, and takes over all counts.

        Args:
            every_seconds: nothing is done sooner than this after the last time.
        """
        if time.monotonic() - self._last_exchange < every_seconds:
            return
        counted = {name: n - self._taken_over[name] for name, n in super().get_counts().items()}
        self._take_over(self._program.increment(**counted))
        self._last_exchange = time.monotonic()

    def _take_over(self, counts: Mapping[str, float]):
        self._taken_over = counts
        self.restore({"counts": dict(counts), "cache": {}})


def in_every_life(work: Callable[..., None], *args):
    """A node's work with the learner's process, until the program stops.

    Where that process dies and lives again the work begins anew with it.

    Args:
        work: called with `args` and each life of the learner's process; ends with that.
        args: of the work.
    """
    for life in membership.learner_lives():
        with until_over(life):
            work(*args, life)


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
        cut_back(directory, counter, node)
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
        playing.EpisodeWindow(LOG_SECONDS),
    )
    ledger = accounts.open_actors(directory, node, *lives)

    def entry() -> accounts.ActorEntry:
        frames = config.agent.frames_per_step
        return accounts.ActorEntry(
            acted=frames * sum(a.steps_acted for a in actors),
            confirmed=frames * sum(a.steps_confirmed for a in actors),
            in_hand=frames * sum(a.steps_in_hand for a in actors),
            dropped_restart=frames * sum(a.steps_dropped for a in actors),
            step=frames * sum(batch.num_environments for batch in batches),
        )

    def act_in(
        task: int, batch: environments.BatchedEnvironment, actor: acting.IMPALABatchActor
    ) -> bool:
        tracker = playing.EpisodeTracker(batch.num_environments)
        with contextlib.closing(batch):
            with until_over(life), tf.device("/CPU:0"):
                for timestep, game_over in actor.steps():
                    ledger.write(entry())
                    episodes = [episode for _, episode in tracker.add(timestep, game_over)]
                    # A step that restarts an environment is none of the agent's.
                    is_step = timestep.step_type != dm_env.StepType.FIRST
                    recorder.record(
                        int(np.count_nonzero(is_step)),
                        episodes,
                        sum(a.unrolls_written for a in actors),
                        sum(a.environments_lost for a in actors),
                    )
                    if task_logs:
                        task_logs[task].record(is_step.sum(), episodes, recorder.learner_frames)
                    if life.over.is_set():
                        break
            if stop.is_set():
                return actor.close(CLOSE_SECONDS)
            # The server has gone, which its client takes long to believe.
            replay_lib.in_background(functools.partial(actor.close, 0.0))
            return False

    with contextlib.closing(variables):
        are_complete = run_in_threads(
            [
                functools.partial(act_in, *each)
                for each in zip(tasks_of_batches, batches, actors, strict=True)
            ]
        )
    for log in (recorder, *task_logs.values()):
        log.close()
    ledger.close(entry()._replace(is_complete=int(all(are_complete)), has_ended=1))


def cut_back(directory: RunDirectory, counter: Remote, *nodes: str):
    """Takes out of logs what was written after the checkpoint that the learner has gone on from."""
    counts = counter.get_counts()
    for node in nodes:
        logs.cut_back(directory, counts, node)


class TaskLog:
    """Logs the episodes of one of several tasks in an actor node."""

    def __init__(self, directory: RunDirectory, task: str, node: str):
        self._logger = logs.make_logger(directory, logs.task_node(task, node))
        self._window = playing.EpisodeWindow(LOG_SECONDS)
        self._lock = threading.Lock()

    def close(self):
        """Closes the log."""
        self._logger.close()

    def record(self, num_steps: int, episodes: list[playing.Episode], learner_frames: float):
        """Takes note of agent steps and of the episodes that have ended with them."""
        with self._lock:
            summary = self._window.add(num_steps, episodes)
            if summary:
                self._logger.write({**summary, logs.FRAMES: learner_frames, "time": time.time()})


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
        self.learner_frames = 0.0  # As it was last told.

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
            environments_lost: by all of them so far, in the middle of an episode.
        """
        with self._lock:
            self._record(num_steps, episodes, unrolls_written, environments_lost)

    def close(self):
        """Closes the log."""
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
        counts = self._counter.increment(
            steps=self._steps,
            frames=self._steps * self._frames_per_step,
            episodes=self._episodes,
            unrolls=unrolls_written - self._unrolls,
            environments_lost=environments_lost - self._environments_lost,
        )
        self._steps, self._episodes, self._unrolls = 0, 0, unrolls_written
        self._environments_lost = environments_lost
        self.learner_frames = counts["learner_frames"]
        if summary:
            self._logger.write(
                {
                    **summary,
                    logs.FRAMES: counts["learner_frames"],
                    "actor_frames": counts["actor_frames"],
                    "actor_environments_lost": counts["actor_environments_lost"],
                    "time": time.time(),
                }
            )


def evaluate(
    config: ExperimentConfig,
    directory: RunDirectory,
    learner_steps: int,
    peers: Peers,
    life: membership.Life,
):
    """The evaluator node in one life of the learner's.

    It plays episodes by frozen weights now and then, and draws the curve.
    """
    lives = membership.own_life(), life.number
    if any(lives):
        cut_back(directory, peers.counter(life), "evaluator")
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


def most_for_evaluation(tasks: Sequence[Callable[[int, bool], dm_env.Environment]]) -> int:
    """The most environments of each task that an evaluation should play side by side."""
    if not all(hasattr(task, "batch") for task in tasks):
        return 1  # A factory of single environments may make large ones.
    are_large = any(getattr(task, "has_own_processes", False) for task in tasks)
    most = MAX_EVALUATION_PROCESSES if are_large else MAX_EVALUATION_ENVIRONMENTS
    return max(1, most // len(tasks))


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
        self._directory = directory
        tasks = environments.tasks_of(config.environment_factory)
        self._names = [getattr(task, "name", "") for task in tasks]
        size = min(config.evaluation_episodes, most_for_evaluation(tasks))
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
        name = getattr(self._config.environment_factory, "name", "")
        tasks = environments.task_names(self._config.environment_factory)
        learning_curve.plot(self._directory, name, tasks)

    def close(self):
        """Closes environments and log."""
        for batch in self._batches:
            batch.close()
        self._logger.close()
