"""The learner node: learns to the end of the run, writes checkpoints, settles the accounts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import acme
import courier
import launchpad as lp
import numpy as np
import reverb
from absl import logging

from acme_impala import builder as builder_lib
from acme_impala import environments
from acme_impala import replay as replay_lib
from acme_impala.experiments import accounts, checkpointing, heap, heartbeat, logs, membership
from acme_impala.experiments.config import ExperimentConfig
from acme_impala.experiments.counts import LearnerCounter
from acme_impala.experiments.processes import POLL_SECONDS, SharedEvent, until_stopped
from acme_impala.experiments.remote import Remote
from acme_impala.experiments.run_directory import RunDirectory
from acme_impala.experiments.table_log import TableLog

if TYPE_CHECKING:
    from acme_impala import learning

# Of the ten that Launchpad gives a program to end: to wait for what actors have to say.
DRAIN_SECONDS = 4.0
# And for what reads from Reverb to notice that it should end: a third of a second, most of which
# has passed while the last checkpoint was written.
_CLOSE_SECONDS = 1.0


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
        replay_is_serving: SharedEvent,
        has_ended: SharedEvent,
        replay: reverb.Client,
        counter: courier.Client,
    ):
        self._config = config
        self._directory = directory
        self._num_actors = num_actors
        self._has_ended = has_ended
        replay = replay_lib.in_this_process(replay)  # On Ray its address is the host's.
        self._stop = lp.stop_event()
        self._life = membership.own_life()
        if self._life:
            logs.cut_back(directory, continuation.counts, "learner")
            logs.cut_back(directory, continuation.counts, "replay")
        self._counter = LearnerCounter(Remote(counter, "counter", self._stop), config.agent)
        self._logger = logs.make_logger(directory, "learner", every=logs.LOG_SECONDS)
        self._tables = TableLog(replay, logs.make_logger(directory, "replay"))
        pulse = heartbeat.current()
        # Before, its queues may hold what they held when they were saved. Actors write nothing
        # before they have the learner's weights.
        while not (replay_is_serving.wait(POLL_SECONDS) or self._stop.is_set()):
            pass
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
            metrics_every_seconds=logs.LOG_SECONDS,
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

        pulse.measure(
            "learner steps",
            lambda: self._counter.get_counts()["learner_steps"],
            count_parts=lambda: self._dataset.steps_taken,
        )
        heartbeat.of("replay").measure(
            "unrolls", lambda: self._tables.unrolls_inserted, serves=True
        )

    def get_variables(self, names: Sequence[str]) -> list[list[np.ndarray]]:
        """The newest weights and their version, as soon as the learner is not behind."""
        while not (self._dataset.wait_while_batch_waits(POLL_SECONDS) or self._stop.is_set()):
            pass
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
            self._dataset.close(_CLOSE_SECONDS)
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
            self._counter.exchange(every_seconds=logs.LOG_SECONDS)
            now = time.monotonic()
            if now >= next_log:
                self._tables.write(self._learner.frames)
                next_log = now + logs.LOG_SECONDS
            if now >= next_save:
                self._save()
                next_save = time.monotonic() + self._config.checkpoint_seconds

    def _frames_taken(self) -> int:
        """Fresh environment frames that this life has learned or dropped."""
        taken = accounts.taken(self._learner.frame_counts) - self._entry.taken_before
        return taken + self._config.agent.frames_per_step * self._dataset.steps_dropped_filling

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
            self._dataset.steps_dropped_filling,
            queued,
            life=self._life,
            room=self._room,
        )

    def _save(self):
        with until_stopped(self._stop):  # Else what the actors said last will do.
            self._counter.exchange()
        self._checkpointer.save(self._counter.get_counts())
        heap.give_back()


def settle_accounts(
    directory: RunDirectory,
    learner: learning.IMPALALearner,
    frames_per_step: int,
    steps_dropped_filling: int,
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
        steps_dropped_filling: agent steps that were only to fill the replay table.
        steps_queued: agent steps that were written and not learned from; None: not known.
        life: of the learner's process.
        room: environment frames that fit between actors and learner.
    """
    queued = None if steps_queued is None else steps_queued * frames_per_step
    dropped = steps_dropped_filling * frames_per_step
    total = accounts.settle(directory, life, learner.frame_counts, dropped, queued, room)
    if total and total["difference"]:
        logging.error("Frames are missing: %s", accounts.describe(directory))
