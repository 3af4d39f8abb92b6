"""What is done before any process starts: everything that can fail early does."""

from collections.abc import Callable
from typing import NamedTuple

import acme
import dm_env
import numpy as np
import tensorflow as tf
import tree
from absl import logging
from acme.utils import loggers

from acme_impala import builder as builder_lib
from acme_impala import environments, networks, types
from acme_impala.experiments import checkpointing, logs, run_directory
from acme_impala.experiments.config import ExperimentConfig


class Prepared(NamedTuple):
    """What a run stands on."""

    directory: run_directory.RunDirectory
    environment_spec: acme.specs.EnvironmentSpec
    builder: builder_lib.IMPALABuilder
    checkpoint: checkpointing.Found | None  # Where the run goes on from.

    @property
    def learner_steps(self) -> int:
        """Learner steps done before this start."""
        return int(self.checkpoint.counts["learner_steps"]) if self.checkpoint else 0


def prepare(
    config: ExperimentConfig,
    *,
    unrolls_per_item: int = 1,
    learner_runs_alongside: bool = False,
    accept_new_config: bool = False,
) -> Prepared:
    """Makes an environment and a network once, and takes up the run directory.

    Args:
        config: the experiment.
        unrolls_per_item: unrolls that actors write as one Reverb item.
        learner_runs_alongside: whether actors and learner run at the same time, not in turn.
        accept_new_config: continue a run whose stored config differs.

    Raises:
        ValueError: environment, network and config do not fit each other or the checkpoint to go
            on from, or the workdir cannot be used.
    """
    _share_gpus()
    tasks = environments.tasks_of(config.environment_factory)
    environment_specs = [_try_out(task, config.seed) for task in tasks]
    environment_spec = environment_specs[0]
    for task, other in zip(tasks, environment_specs, strict=True):
        for part in environment_spec._fields:
            wanted, found = getattr(environment_spec, part), getattr(other, part)
            if found != wanted:
                hint = " Atari games have all 18 with --full_action_space."
                raise ValueError(
                    f"The tasks {tasks[0].name} and {task.name} differ in their {part}, and one "
                    f"network cannot act in both: {wanted} and {found}."
                    + (hint if part == "actions" else "")
                )
        _check_frames(task, config.agent.frames_per_step)
    with tf.device("/CPU:0"):
        network = networks.as_impala_network(config.network_factory(environment_spec))
        uses_popart = config.agent.popart_step_size is not None
        networks.check_network(network, environment_spec, len(tasks) if uses_popart else 0)
        builder = builder_lib.IMPALABuilder(
            config.agent,
            networks.state_spec(network),
            unrolls_per_item,
            learner_runs_alongside,
            environments.task_names(config.environment_factory),
            environment_spec.actions,
        )

    directory, checkpoint = take_up(config, network, accept_new_config=accept_new_config)
    return Prepared(directory, environment_spec, builder, checkpoint)


def take_up(
    config: ExperimentConfig, network: networks.Network, *, accept_new_config: bool = False
) -> tuple[run_directory.RunDirectory, checkpointing.Found | None]:
    """Takes up the run directory, with the logs as they were at its newest checkpoint.

    Args:
        config: the experiment.
        network: the config's, with its variables.
        accept_new_config: continue a run whose stored config differs.

    Returns:
        The directory, and what the run goes on from; None: it begins.

    Raises:
        ValueError: the workdir cannot be used, all checkpoints in it are broken, or the newest does
            not fit the config. Then nothing in it has changed.
    """
    checkpoint: checkpointing.Found | None = None

    def find(directory: run_directory.RunDirectory):
        nonlocal checkpoint
        checkpoint = checkpointing.newest_whole(directory.checkpoints)
        if checkpoint:
            _check_fits(checkpoint, config, network)

    directory = run_directory.claim(config, accept_new_config=accept_new_config, check=find)
    try:
        if checkpoint:
            frames = checkpoint.counts["learner_frames"]
            logging.info("Continuing from %s, %d environment frames.", checkpoint.path, frames)
        logs.cut_back(directory, checkpoint.counts if checkpoint else {})
    except BaseException:
        run_directory.release(directory)
        raise
    return directory, checkpoint


def _check_fits(
    checkpoint: checkpointing.Found, config: ExperimentConfig, network: networks.Network
):
    from acme_impala import learning  # Not small, and of use only to runs that are continued.

    with tf.device("/CPU:0"):
        learner = learning.IMPALALearner(
            network,
            iter(()),
            config.agent,
            logger=loggers.NoOpLogger(),
            task_names=environments.task_names(config.environment_factory),
        )
        checkpointing.check_fits(checkpoint.path, learner)


def _check_frames(
    environment_factory: Callable[[int, bool], dm_env.Environment], frames_per_step: int
):
    """Finds out what would make every count of environment frames wrong."""
    found = getattr(environment_factory, "frames_per_step", None)
    name = getattr(environment_factory, "name", "the environment")
    if found not in (None, frames_per_step):
        raise ValueError(
            f"An agent step of {name} takes {found} environment frames; the "
            f"agent's config says frames_per_step={frames_per_step}. Make both the same."
        )


def _try_out(
    environment_factory: Callable[[int, bool], dm_env.Environment], seed: int
) -> acme.specs.EnvironmentSpec:
    """Makes an environment and looks at it; returns its spec."""
    environment = environment_factory(seed, False)
    environment_spec = acme.make_environment_spec(environment)
    _check_first_observation(environment, environment_spec.observations)
    environment.close()
    return environment_spec


def _check_first_observation(environment: dm_env.Environment, spec: types.Nest):
    """Finds out now what would otherwise end an actor; later observations are checked there."""
    observation = environment.reset().observation
    try:
        tree.assert_same_structure(spec, observation)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The environment's first observation is not of its spec's structure: {error}"
        ) from error
    for part, value in zip(
        tree.flatten(spec), map(np.asarray, tree.flatten(observation)), strict=True
    ):
        if value.shape != part.shape or value.dtype != part.dtype:
            raise ValueError(
                f"The environment's first observation has shape {value.shape} and dtype "
                f"{value.dtype} where its spec says {part}."
            )


def _share_gpus():
    """Keeps this process, a mere launcher perhaps, from taking all of a GPU's memory."""
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        pass  # TensorFlow is in use already, and its user has decided.
