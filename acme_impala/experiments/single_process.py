"""An experiment in one process and one thread: for tests, debugging and small tasks."""

import threading
import time
from collections.abc import Mapping

from absl import logging
from acme.utils import counting

from acme_impala import agent as agent_lib
from acme_impala import environments
from acme_impala.experiments import (
    accounts,
    checkpointing,
    logs,
    open_ports,
    playing,
    preparation,
    processes,
    run_directory,
    signals,
)
from acme_impala.experiments.actor_node import ActingRecorder
from acme_impala.experiments.config import ExperimentConfig
from acme_impala.experiments.counts import make_counter
from acme_impala.experiments.curve_drawer import CurveDrawer
from acme_impala.experiments.evaluator_node import Evaluator
from acme_impala.experiments.learner_node import DRAIN_SECONDS, settle_accounts
from acme_impala.experiments.progress import LiveLine
from acme_impala.experiments.seeds import seeds
from acme_impala.experiments.table_log import TableLog

# Environment frames between rows of a log: a tenth of an evaluation's period, and at most this.
_MOST_FRAMES_PER_ROW = 1000
_ROWS_PER_EVALUATION = 10


def run_experiment(
    config: ExperimentConfig, *, accept_new_config: bool = False
) -> Mapping[str, float]:
    """Runs an experiment to its end: acts, learns and evaluates in turn.

    Without replay the same seed gives the same run, number for number (but for times). Ctrl-C ends
    it in order, with a last checkpoint; the same workdir continues it.

    Args:
        config: the experiment.
        accept_new_config: continue a run whose stored config differs.

    Returns:
        The summary of the last evaluation: 'episode_return' (the mean), 'episodes', 'frames', ...;
        empty if there was none.

    Raises:
        ValueError: something does not fit; the message says what, and what would do.
        Exception: what the environment or the network raises; its traceback is in failures/ too.
    """
    num_tasks = len(environments.tasks_of(config.environment_factory))
    if num_tasks > 1:
        raise ValueError(
            f"One process plays one task, and these are {num_tasks}: launch a program of threads "
            "or processes (experiments.launch; --launcher=local_mt or local_mp)."
        )
    with signals.heeded() as stop:
        prepared = preparation.prepare(config, accept_new_config=accept_new_config)
        try:
            return _run(config, prepared, stop)
        except Exception:
            report = processes.report_failure("in_process", prepared.directory)
            logging.error("The run has failed: the traceback is in %s.", report)
            raise
        finally:
            run_directory.release(prepared.directory)


def _run(
    config: ExperimentConfig, prepared: preparation.Prepared, stop: threading.Event
) -> Mapping[str, float]:
    directory, found = prepared.directory, prepared.checkpoint
    counter = make_counter(found.counts if found else {})
    # Rows are written by frames, not by seconds, so that the same seed gives the same logs.
    log_period = config.evaluation_period // _ROWS_PER_EVALUATION
    log_period = max(1, min(log_period, _MOST_FRAMES_PER_ROW))
    acted = 0  # Environment frames.
    learner_logger = logs.make_logger(
        directory, "learner", every=log_period, clock=lambda: learner.frames
    )
    environment_seed, action_seed = seeds(config, 1, prepared.learner_steps)
    environment = config.environment_factory(environment_seed, False)
    agent = agent_lib.IMPALA(
        prepared.environment_spec,
        config.network_factory(prepared.environment_spec),
        config.agent,
        seed=action_seed,
        environment_name=getattr(config.environment_factory, "name", "the environment"),
        counter=counting.Counter(counter, "learner", time_delta=0.0),
        logger=learner_logger,
        replay_directory=directory.make_replay_directory(),
        saved_replay=found.replay if found else None,
    )
    learner = agent.learner
    checkpointer = checkpointing.Checkpointer(
        directory.checkpoints,
        learner,
        config.checkpoints_to_keep,
        agent.replay_client if config.agent.replay.fraction else None,
    )
    if found:
        checkpointer.restore(found.path)
    accounts.open_learners(directory, 0, accounts.LearnerEntry.at(learner.frame_counts))
    table_log = TableLog(agent.replay_client, logs.make_logger(directory, "replay"))
    evaluator = Evaluator(config, directory, prepared.learner_steps, learner)
    recorder = ActingRecorder(
        config,
        directory,
        "actor_0",
        counting.Counter(counter, "actor", time_delta=0.0),
        playing.EpisodeWindow(log_period, clock=lambda: acted),
    )

    def evaluate():
        for _ in evaluator.evaluate(learner.frames):
            if stop.is_set():
                break

    next_log = 0
    next_save = time.monotonic() + config.checkpoint_seconds
    print(open_ports.describe({"replay": agent.replay_client.server_address}), flush=True)
    with CurveDrawer(directory, config), LiveLine(directory, config.num_frames):
        for episode in playing.play(environment, agent):
            acted += config.agent.frames_per_step
            episodes = [episode] if episode else []
            lost = max(agent.environments_lost, getattr(environment, "restarts", 0))
            recorder.record(1, episodes, agent.unrolls_written, lost)
            if time.monotonic() >= next_save:
                checkpointer.save(counter.get_counts())
                next_save = time.monotonic() + config.checkpoint_seconds
            frames = learner.frames
            if frames >= next_log:
                table_log.write(frames)
                next_log = frames + log_period
            if evaluator.is_due(frames):
                evaluate()
            if frames >= config.num_frames or evaluator.reached_target or stop.is_set():
                break
        queued = agent.drain(DRAIN_SECONDS)
        checkpointer.save(counter.get_counts())
    for part in (learner_logger, table_log, recorder, evaluator, environment, agent):
        part.close()
    frames_per_step = config.agent.frames_per_step
    entry = accounts.ActorEntry(
        acted=agent.steps_acted * frames_per_step,
        in_hand=agent.steps_in_hand * frames_per_step,
        dropped_restart=agent.steps_dropped_restart * frames_per_step,
        is_complete=1,
        has_ended=1,
    )
    accounts.open_actors(directory, "actor_0", 0, 0).close(entry)
    settle_accounts(directory, learner, frames_per_step, agent.steps_dropped_filling, queued)
    return evaluator.summary or {}
