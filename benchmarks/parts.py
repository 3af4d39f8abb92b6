"""The parts of an agent step, each alone: environment, policy, learner, and the loss within it.

Each function makes a part of a task and warms it up. It returns what measures it for so many
seconds, as often as is asked: see `timing.repeated`.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import dm_env
import numpy as np
import tensorflow as tf
from acme import specs
from acme.utils import loggers

from acme_impala import acting, losses, types
from acme_impala.experiments.cores import num_cores
from acme_impala.experiments.threads import use_threads
from acme_impala.learning import IMPALALearner
from benchmarks.tasks import Task
from benchmarks.timing import Turn, repeated

_METRICS_EVERY_SECONDS = 1.0  # As in a program's learner.


def environment(task: Task) -> Turn:
    """One of an actor's batches of environments, stepped by random actions.

    Steps that restart an environment cost, and are none of the agent's.
    """
    batch = task.actors.make_batches(task.environment_factory, 0)[0]
    shape = (1000, batch.num_environments)
    num_actions = batch.action_spec().num_values
    actions = itertools.cycle(
        np.random.default_rng(0).integers(num_actions, size=shape, dtype=np.int32)
    )
    batch.reset()

    def step():
        return np.count_nonzero(batch.step(next(actions)).step_type != dm_env.StepType.FIRST)

    return repeated(step)


def policy(task: Task) -> Turn:
    """The policy on one of an actor's batches, the sampling of actions included."""
    use_threads(1, task.actors.batches_per_actor)
    environment_spec = task.environment_spec()
    num_environments = task.environments_per_batch
    network = task.network(environment_spec)
    act = acting.BatchedPolicy(network, num_environments, acting.ActionSampler(0))
    observation = _observations(environment_spec, (num_environments,))
    first = np.zeros(num_environments, bool)

    def call():
        act(observation, first)
        return num_environments

    return repeated(call)


def learner(task: Task) -> Turn:
    """Learner steps on a batch that is always the same."""
    use_threads(num_cores())
    return repeated(_learner_step(task, _batch(task)))


def loss(task: Task) -> Turn:
    """V-trace and the loss, forward and backward, and the learner step that holds them."""
    use_threads(num_cores())
    task = dataclasses.replace(task, unroll_length=task.loss_unroll_length)
    batch = _batch(task)
    rng = np.random.default_rng(1)
    logits = tf.constant(rng.normal(size=batch.behaviour_logits.shape), tf.float32)
    values = tf.constant(rng.normal(size=batch.reward.shape), tf.float32)

    @tf.function(autograph=False)
    def gradients(batch, logits, values):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch((logits, values))
            outputs = types.PolicyValue(logits, values)
            total = losses.impala_loss(batch, outputs, config=task.agent, entropy_cost=0.01).total
        return tape.gradient(total, (logits, values))

    def loss_step():
        gradients(batch, logits, values)[0].numpy()
        return task.unroll_length * task.batch_size

    learner_turn, loss_turn = repeated(_learner_step(task, batch)), repeated(loss_step)

    def turn(seconds):
        of_learner = {f"learner_{name}": value for name, value in learner_turn(seconds).items()}
        return {**loss_turn(seconds), "unroll_length": task.unroll_length, **of_learner}

    return turn


class _SameBatch(Iterator[types.Unroll]):
    def __init__(self, batch: types.Unroll):
        self._batch = batch

    def __next__(self) -> types.Unroll:
        return self._batch


def _learner_step(task: Task, batch: types.Unroll):
    network = task.network(task.environment_spec())
    learner = IMPALALearner(
        network,
        _SameBatch(batch),
        task.agent,
        logger=loggers.NoOpLogger(),
        metrics_every_seconds=_METRICS_EVERY_SECONDS,
    )

    def step():
        learner.step()
        return task.unroll_length * task.batch_size

    return step


def _batch(task: Task) -> types.Unroll:
    """A batch of random unrolls."""
    environment_spec = task.environment_spec()
    num_actions = environment_spec.actions.num_values
    rows = (task.unroll_length + 1, task.batch_size)
    rng = np.random.default_rng(0)
    batch = types.Unroll(
        observation=_observations(environment_spec, rows),
        action=rng.integers(num_actions, size=rows, dtype=np.int32),
        behaviour_logits=rng.normal(size=(*rows, num_actions)).astype(np.float32),
        reward=rng.normal(size=rows).astype(np.float32),
        discount=np.ones(rows, np.float32),
        start_of_episode=rng.random(rows) < 0.02,
        initial_state=(),
        policy_version=np.zeros(task.batch_size, np.int64),
    )
    return tf.nest.map_structure(tf.convert_to_tensor, batch)


def _observations(environment_spec: specs.EnvironmentSpec, leading: tuple[int, ...]) -> np.ndarray:
    """Random observations [*leading, ...]: bytes, or numbers near zero."""
    spec = environment_spec.observations
    shape = (*leading, *spec.shape)
    rng = np.random.default_rng(0)
    if spec.dtype == np.uint8:
        return rng.integers(256, size=shape, dtype=np.uint8)
    return rng.normal(scale=0.1, size=shape).astype(spec.dtype)
