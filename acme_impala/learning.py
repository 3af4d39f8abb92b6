"""The learner: V-trace actor-critic on batches of unrolls."""

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import acme
import numpy as np
import tensorflow as tf
import tree
from acme.tf import savers
from acme.utils import counting, loggers

from acme_impala import losses, networks, optimizers, types
from acme_impala.config import IMPALAConfig, LinearSchedule, Scheduled
from acme_impala.types import VARIABLE_NAMES


class NonFiniteBatchesError(RuntimeError):
    """Several batches in a row had a loss or a gradient that is not finite."""


class LearnerState(NamedTuple):
    """What `save` gives and `restore` takes, as numpy arrays."""

    network: list[np.ndarray]
    optimizer: list[np.ndarray]
    counts: list[np.ndarray]


class Counts(tf.Module):
    """What the learner has learned from, counted inside its step."""

    def __init__(self):
        super().__init__(name="counts")
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)  # Updates of the weights.
        self.frames = tf.Variable(0, dtype=tf.int64, trainable=False)  # Environment frames learned.
        self.unrolls = tf.Variable(0, dtype=tf.int64, trainable=False)  # Unrolls learned.
        self.dropped_lag = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.dropped_nonfinite = tf.Variable(0, dtype=tf.int64, trainable=False)


class IMPALALearner(acme.Learner, savers.TFSaveable):
    """Learns from unrolls by the V-trace actor-critic of section 4.2.

    Each step takes one batch. Unrolls whose policy lag is over `max_policy_lag`, and batches with a
    loss or gradient that is not finite, change no weight and are counted with the reason.

    A GPU is used where TensorFlow sees one.
    """

    def __init__(
        self,
        network: networks.Network,
        dataset: Iterator[types.Unroll],
        config: IMPALAConfig,
        *,
        counter: counting.Counter | None = None,
        logger: loggers.Logger | None = None,
        metrics_every_seconds: float = 0.0,
    ):
        """Makes a learner.

        Args:
            network: anything that `networks.as_impala_network` takes. Where it has no variables
                yet they are made by a call on zeros, for which the dataset must have an
                `element_spec` (UnrollDataset has).
            dataset: gives batches of unrolls, time-major: [T+1, B, ...].
            config: the hyperparameters.
            counter: told of steps, environment frames and seconds.
            logger: told of the metrics at every step; None: Acme's default, without files.
            metrics_every_seconds: metrics that cost time are computed no oftener than this; between
                that the logger is told the last ones again, with the counts of the step.
        """
        self._network = networks.as_impala_network(network)
        self._dataset = dataset
        self._config = config
        self._counter = counter or counting.Counter()
        self._logger = logger or loggers.make_default_logger("learner", save_data=False)
        if not self._network.variables:
            _create_variables(self._network, dataset.element_spec)
        # Walking through a module for its variables takes a millisecond, so once.
        self._variables = self._network.variables
        self._trainable_variables = self._network.trainable_variables
        self._optimizer = optimizers.make_optimizer(config.optimizer, self._trainable_variables)
        self._counts = Counts()
        self._metrics_every_seconds = metrics_every_seconds
        self._metrics: dict[str, tf.Tensor] = {}
        self._last_metrics_time = -math.inf
        self._nonfinite_in_a_row = 0
        self._last_step_time: float | None = None
        # Not yet: Acme's checkpointer restores `state` after construction and tells nobody.
        self._published: Mapping[str, list[np.ndarray]] | None = None
        self._first_publication = threading.Lock()

    @property
    def steps(self) -> int:
        """Learner steps: updates of the weights. Also the version of the policy."""
        return int(self._counts.steps)

    @property
    def frames(self) -> int:
        """Environment frames learned from."""
        return int(self._counts.frames)

    @property
    def state(self) -> Mapping[str, tf.Module]:
        """What a checkpoint holds."""
        return {
            "network": self._network,
            "optimizer": self._optimizer,
            "counts": self._counts,
        }

    def save(self) -> LearnerState:
        """Returns a copy of the state."""
        return LearnerState(
            **{
                name: [variable.numpy() for variable in module.variables]
                for name, module in self.state.items()
            }
        )

    def restore(self, state: LearnerState):
        """Takes over a state, bit for bit."""
        for name, module in self.state.items():
            saved = getattr(state, name)
            for variable, value in zip(module.variables, saved, strict=True):
                variable.assign(value)
        self.publish_restored()

    def publish_restored(self):
        """Lets actors fetch variables that were restored from outside (through `state`)."""
        self._publish()

    def get_variables(self, names: Sequence[str]) -> list[list[np.ndarray]]:
        """Returns the newest weights and their version; both are of the same learner step.

        Args:
            names: of VARIABLE_NAMES: 'policy' for the network's variables, 'policy_version' for
                the learner step they are of.

        Raises:
            ValueError: a name is not known.
        """
        unknown = set(names) - set(VARIABLE_NAMES)
        if unknown:
            raise ValueError(
                f"Unknown variables {sorted(unknown)}; there are {', '.join(VARIABLE_NAMES)}."
            )
        published = self._publish_first()  # One read: a step may replace it meanwhile.
        return [published[name] for name in names]

    def step(self):
        """Learns from one batch.

        Raises:
            NonFiniteBatchesError: this was the last of `max_nonfinite_batches` in a row.
            StopIteration: the dataset has ended.
        """
        batch = next(self._dataset)
        self._publish_first()  # From here on the variables may be of no step.
        now = time.time()
        with_metrics = now - self._last_metrics_time >= self._metrics_every_seconds
        metrics = self._step(batch, with_metrics)
        if with_metrics:
            self._last_metrics_time = now
        self._metrics.update(metrics)
        applied = bool(metrics["finite"])
        self._nonfinite_in_a_row = 0 if applied else self._nonfinite_in_a_row + 1
        self._publish()
        seconds = now - self._last_step_time if self._last_step_time else 0.0
        self._last_step_time = now
        # The learner's own counts are the truth (they are in its checkpoint); the counter, which
        # may be in another process, is told of the differences.
        counts = self._counter.increment(
            steps=int(metrics["learned_steps"]),
            frames=int(metrics["learned_frames"]),
            walltime=seconds,
        )
        self._logger.write({**counts, **self._metrics})
        if self._nonfinite_in_a_row >= self._config.max_nonfinite_batches:
            raise NonFiniteBatchesError(
                f"{self._nonfinite_in_a_row} batches in a row had a loss or gradients that are not "
                f"finite (learner step {self.steps}: loss {float(metrics['total_loss'])}, gradient "
                f"norm {float(metrics['gradient_norm'])}). None of them was applied. Look for "
                "observations or rewards that are huge or NaN, or lower the learning rate."
            )

    def _publish_first(self) -> Mapping[str, list[np.ndarray]]:
        with self._first_publication:
            if self._published is None:
                self._publish()
        return self._published

    def _publish(self):
        self._published = {
            "policy": [variable.numpy() for variable in self._variables],
            "policy_version": [self._counts.steps.numpy()],
        }

    @tf.function
    def _step(self, unroll: types.Unroll, with_metrics: bool) -> dict[str, tf.Tensor]:
        config, counts = self._config, self._counts
        lag = counts.steps - unroll.policy_version  # [B], in learner steps
        accepted = tf.ones_like(lag, tf.bool)
        if config.max_policy_lag is not None:
            accepted = lag <= config.max_policy_lag
        learning_rate = _scheduled(config.learning_rate, counts.frames)
        entropy_cost = _scheduled(config.entropy_cost, counts.frames)

        variables = self._trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs, _ = self._network.unroll(
                unroll.observation, unroll.initial_state, unroll.start_of_episode
            )
            loss = losses.impala_loss(
                unroll, outputs, config=config, entropy_cost=entropy_cost, accepted=accepted
            )
        gradients = [
            # The norm of a sparse gradient would be that of its parts, not of their sum.
            gradient if gradient is None else tf.convert_to_tensor(gradient)
            for gradient in tape.gradient(loss.total, variables)
        ]
        gradient_norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(loss.total) & tf.math.is_finite(gradient_norm)
        if config.max_gradient_norm is not None:
            gradients, _ = tf.clip_by_global_norm(
                gradients, config.max_gradient_norm, use_norm=gradient_norm
            )
        num_accepted = tf.math.count_nonzero(accepted)
        num_refused = tf.size(accepted, tf.int64) - num_accepted
        # Rows that count there may be none even in unrolls that are accepted.
        learns = finite & (loss.metrics["agent_steps"] > 0)
        tf.cond(
            learns,
            lambda: self._optimizer.apply(gradients, variables, learning_rate),
            lambda: None,
        )

        learned = tf.cast(finite, tf.int64)  # 1 or 0
        learned_frames = learned * loss.metrics["agent_steps"] * config.frames_per_step
        # A batch that changes no weight is no step. Else, with a small max_policy_lag, refusing
        # unrolls would make those behind them older, and none might ever be accepted.
        counts.steps.assign_add(tf.cast(learns, tf.int64))
        counts.frames.assign_add(learned_frames)
        counts.unrolls.assign_add(learned * num_accepted)
        counts.dropped_lag.assign_add(num_refused)
        counts.dropped_nonfinite.assign_add((1 - learned) * num_accepted)
        metrics = {
            "total_loss": loss.total,
            "gradient_norm": gradient_norm,
            "finite": finite,
            "agent_steps": loss.metrics["agent_steps"],
            "learned_steps": tf.cast(learns, tf.int64),
            "learned_frames": learned_frames,
            "frames": counts.frames.read_value(),
            "unrolls": counts.unrolls.read_value(),
            "unrolls_dropped_lag": counts.dropped_lag.read_value(),
            "unrolls_dropped_nonfinite": counts.dropped_nonfinite.read_value(),
        }
        if with_metrics:  # What nobody asks for, TensorFlow does not compute.
            metrics |= {
                **loss.metrics,
                "learning_rate": learning_rate,
                "entropy_cost": entropy_cost,
                "policy_lag_mean": tf.reduce_mean(tf.cast(lag, tf.float32)),
                "policy_lag_max": tf.reduce_max(lag),
            }
        return metrics


def _create_variables(network: Any, unroll_spec: types.Unroll):
    """Calls the network on zeros of the shapes that the dataset's batches have."""
    row = tree.map_structure(
        lambda spec: tf.zeros((1, *spec.shape[2:]), spec.dtype), unroll_spec.observation
    )
    network(row, network.initial_state(1))


def _scheduled(value: Scheduled, frames: tf.Tensor) -> tf.Tensor:
    """The value of a hyperparameter after so many environment frames learned from."""
    if not isinstance(value, LinearSchedule):
        return tf.constant(value, tf.float32)
    progress = tf.minimum(tf.cast(frames, tf.float32) / value.frames, 1.0)
    return value.initial + progress * (value.final - value.initial)
