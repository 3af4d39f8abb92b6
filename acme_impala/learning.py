"""The learner: V-trace actor-critic on batches of unrolls."""

import collections
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import acme
import numpy as np
import tensorflow as tf
import tree
from acme.tf import savers
from acme.utils import counting, loggers

from acme_impala import function_leak, losses, networks, optimizers, popart, types
from acme_impala.config import IMPALAConfig, LinearSchedule, Scheduled
from acme_impala.tracing import graph_function
from acme_impala.types import ACTOR_VARIABLE_NAMES, VARIABLE_NAMES

# So many learner steps back it is known when they were: more than any replay table holds.
_REMEMBERED_STEPS = 100_000

# Of replay, until an unroll is replayed; they name a log's columns in its first row.
_NOTHING_REPLAYED = {
    "replayed_age_steps_mean": math.nan,
    "replayed_age_steps_max": math.nan,
    "replayed_age_seconds_mean": math.nan,
    "replayed_age_seconds_max": math.nan,
    "times_sampled_mean": math.nan,
    "times_sampled_max": math.nan,
}


class NonFiniteBatchesError(RuntimeError):
    """Several batches in a row had a loss or a gradient that is not finite."""


class LearnerState(NamedTuple):
    """What `save` gives and `restore` takes, as numpy arrays."""

    network: list[np.ndarray]
    optimizer: list[np.ndarray]
    counts: list[np.ndarray]
    popart: Sequence[np.ndarray] = ()  # Where there is one.


class Counts(tf.Module):
    """What the learner has learned from, counted inside its step."""

    def __init__(self, num_tasks: int):
        super().__init__(name="counts")

        def count():
            return tf.Variable(0, dtype=tf.int64, trainable=False)

        self.steps = count()  # Updates of the weights.
        # Environment frames, and unrolls: learned fresh, learned again, dropped.
        self.frames, self.unrolls = count(), count()
        self.replayed_frames, self.replayed_unrolls = count(), count()
        self.dropped_lag_frames, self.dropped_lag = count(), count()
        self.dropped_nonfinite_frames, self.dropped_nonfinite = count(), count()
        self.task_frames = tf.Variable(tf.zeros(num_tasks, tf.int64), trainable=False)  # Of frames.


class IMPALALearner(acme.Learner, savers.TFSaveable):
    """Learns from unrolls by the V-trace actor-critic of section 4.2.

    Each step takes one batch. Unrolls whose policy lag is over `max_policy_lag`, and batches with a
    loss or gradient that is not finite, change no weight and are counted with the reason.

    A GPU is used where TensorFlow sees one.
    """

    def __init__(
        self,
        network: networks.Network,
        dataset: Iterator[types.Unroll | types.Batch],
        config: IMPALAConfig,
        *,
        counter: counting.Counter | None = None,
        logger: loggers.Logger | None = None,
        metrics_every_seconds: float = 0.0,
        update_priorities: Callable[[np.ndarray, np.ndarray], None] | None = None,
        task_names: Sequence[str] = (),
    ):
        """Makes a learner.

        Args:
            network: anything that `networks.as_impala_network` takes. Where it has no variables
                yet they are made by a call on zeros, for which the dataset must have an
                `element_spec` (UnrollDataset has).
            dataset: gives batches of unrolls, time-major: [T+1, B, ...]; or Batches, which say
                what of them is replayed.
            config: the hyperparameters.
            counter: told of steps, environment frames and seconds.
            logger: told of the metrics at every step; None: Acme's default, without files.
            metrics_every_seconds: metrics that cost time are computed no oftener than this; between
                that the logger is told the last ones again, with the counts of the step.
            update_priorities: told of the keys [n] of replayed unrolls and their priorities [n],
                `config.replay.priority`; it must not take long.
            task_names: of the tasks that unrolls are of, where there are several; for the logs.

        Raises:
            ValueError: `popart_step_size` is given, and the network has no `baseline_head` with an
                output for each task.
        """
        function_leak.stop_leak()
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
        self._task_names = task_names
        self._counts = Counts(len(task_names))
        self._popart: popart.PopArt | None = None
        if config.popart_step_size is not None:
            networks.check_baseline(self._network, max(1, len(task_names)))
            self._popart = popart.PopArt(self._network.baseline_head, config.popart_step_size)
        self._metrics_every_seconds = metrics_every_seconds
        self._metrics: dict[str, Any] = dict(_NOTHING_REPLAYED) if config.replay.fraction else {}
        self._last_metrics_time = -math.inf
        self._nonfinite_in_a_row = 0
        self._last_step_time: float | None = None
        self._update_priorities = update_priorities
        self._graph: Callable[..., Any] | None = None  # Of `_step`, traced by the first batch.
        # When the newest learner steps were published; the last is of `_published`.
        self._publication_times: collections.deque[float] = collections.deque(
            maxlen=_REMEMBERED_STEPS
        )
        # Not yet: Acme's checkpointer restores `state` after construction and tells nobody.
        self._published: Mapping[str, list[np.ndarray]] | None = None
        self._lagging: collections.deque[Mapping[str, list[np.ndarray]]] = collections.deque(
            maxlen=config.actor_lag + 1
        )
        self._first_publication = threading.Lock()

    @property
    def steps(self) -> int:
        """Learner steps: updates of the weights. Also the version of the policy."""
        return int(self._counts.steps)

    @property
    def frames(self) -> int:
        """Environment frames learned from, each counted once: without replay."""
        return int(self._counts.frames)

    @property
    def frame_counts(self) -> dict[str, int]:
        """Environment frames: learned 'fresh', 'replayed', 'dropped_lag', 'dropped_nonfinite'."""
        counts = self._counts
        return {
            "fresh": int(counts.frames),
            "replayed": int(counts.replayed_frames),
            "dropped_lag": int(counts.dropped_lag_frames),
            "dropped_nonfinite": int(counts.dropped_nonfinite_frames),
        }

    @property
    def state(self) -> Mapping[str, tf.Module]:
        """What a checkpoint holds."""
        return {
            "network": self._network,
            "optimizer": self._optimizer,
            "counts": self._counts,
            **({"popart": self._popart} if self._popart else {}),
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
        """Lets actors fetch variables that were restored from outside (through `state`).

        What was published before is of another past, or of a future.
        """
        self._lagging.clear()
        self._publication_times.clear()
        self._publish()

    def get_variables(self, names: Sequence[str]) -> list[list[np.ndarray]]:
        """Returns weights and their version; both are of the same learner step.

        Args:
            names: of VARIABLE_NAMES: 'policy' for the network's variables, 'policy_version' for
                the learner step they are of; and of ACTOR_VARIABLE_NAMES: the same as actors get
                them, `config.actor_lag` learner steps behind.

        Raises:
            ValueError: a name is not known.
        """
        known = (*VARIABLE_NAMES, *ACTOR_VARIABLE_NAMES)
        unknown = set(names) - set(known)
        if unknown:
            raise ValueError(f"Unknown variables {sorted(unknown)}; there are {', '.join(known)}.")
        published = self._publish_first()  # One read: a step may replace it meanwhile.
        return [published[name] for name in names]

    def step(self):
        """Learns from one batch.

        Raises:
            NonFiniteBatchesError: this was the last of `max_nonfinite_batches` in a row.
            StopIteration: the dataset has ended.
        """
        batch = next(self._dataset)
        if not isinstance(batch, types.Batch):
            none = np.zeros(len(batch.policy_version), bool)
            batch = types.Batch(batch, none, keys=None, times_sampled=None)
        self._publish_first()  # From here on the variables may be of no step.
        now = time.time()
        with_metrics = now - self._last_metrics_time >= self._metrics_every_seconds
        inputs = batch.unroll, batch.replayed, with_metrics
        self._graph = self._graph or graph_function(self._step, *inputs)
        metrics, priorities = self._graph(*inputs)
        if self._update_priorities and np.any(batch.replayed):
            replayed = np.asarray(batch.replayed)
            self._update_priorities(batch.keys[replayed], priorities.numpy()[replayed])
        if with_metrics:
            self._last_metrics_time = now
            self._metrics.update(self._describe_replay(batch, now))
            self._metrics.update(self._describe_tasks())
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
            replayed_frames=int(metrics["replayed_frames"]),
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
        newest = {
            "policy": [_read(variable) for variable in self._variables],
            "policy_version": [_read(self._counts.steps)],
        }
        if not self._lagging or newest["policy_version"] != self._lagging[-1]["policy_version"]:
            self._lagging.append(newest)
            self._publication_times.append(time.time())
        behind = self._lagging[0]
        self._published = {**newest, **{f"actor_{name}": x for name, x in behind.items()}}

    def _describe_replay(self, batch: types.Batch, now: float) -> dict[str, float]:
        """Computes how old what was replayed is, and how often it was."""
        replayed = np.asarray(batch.replayed)
        if not replayed.any():
            return {}
        (newest,) = self._published["policy_version"]  # Before this step, as in the policy lag.
        ages = newest - np.asarray(batch.unroll.policy_version)[replayed]
        # Those from before this start may be older than what is known; after a state was restored,
        # some may be newer than all that is.
        places = len(self._publication_times) - 1 - ages
        times = self._publication_times
        seconds = [now - times[i] for i in places if 0 <= i < len(times)]
        times_sampled = batch.times_sampled[replayed]
        return {
            "replayed_age_steps_mean": float(ages.mean()),
            "replayed_age_steps_max": int(ages.max()),
            "replayed_age_seconds_mean": float(np.mean(seconds)) if seconds else math.nan,
            "replayed_age_seconds_max": max(seconds, default=math.nan),
            "times_sampled_mean": float(times_sampled.mean()),
            "times_sampled_max": int(times_sampled.max()),
        }

    def _describe_tasks(self) -> dict[str, int]:
        """Environment frames learned from, by task."""
        frames = self._counts.task_frames.numpy().tolist()
        return {f"frames/{name}": n for name, n in zip(self._task_names, frames, strict=True)}

    def _describe_values(self) -> dict[str, tf.Tensor]:
        """PopArt's statistics, by task."""
        if not self._popart:
            return {}
        mean, scale = self._popart.mean, self._popart.scale
        suffixes = [f"/{name}" for name in self._task_names] or [""]
        return {
            f"{what}{suffix}": x[task]
            for what, x in (("popart_mean", mean), ("popart_scale", scale))
            for task, suffix in enumerate(suffixes)
        }

    def _step(
        self, unroll: types.Unroll, replayed: tf.Tensor, with_metrics: bool
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Learns from a batch, of which some is replayed ([B] bool); gives metrics, priorities."""
        config, counts = self._config, self._counts
        fresh = tf.logical_not(replayed)
        lag = counts.steps - unroll.policy_version  # [B], in learner steps
        accepted = tf.ones_like(lag, tf.bool)
        if config.max_policy_lag is not None:
            accepted = replayed | (lag <= config.max_policy_lag)
        learning_rate = _scheduled(config.learning_rate, counts.frames)
        entropy_cost = _scheduled(config.entropy_cost, counts.frames)

        # Where there is one task, the unrolls do not say which.
        task = unroll.task if self._task_names else tf.zeros_like(lag, tf.int32)
        value_scale = self._popart.scale_of(task) if self._popart else None

        variables = self._trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs, _ = self._network.unroll(
                unroll.observation, unroll.initial_state, unroll.start_of_episode
            )
            if self._popart:
                outputs = outputs._replace(value=self._popart.value(outputs.value, task))
            loss = losses.impala_loss(
                unroll,
                outputs,
                config=config,
                entropy_cost=entropy_cost,
                accepted=accepted,
                value_scale=value_scale,
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
        # Rows that count there may be none even in unrolls that are accepted.
        learns = finite & (loss.metrics["agent_steps"] > 0)

        def learn():
            self._optimizer.apply(gradients, variables, learning_rate)
            if self._popart:
                self._popart.update(loss.value_targets, loss.valid, task)

        tf.cond(learns, learn, lambda: None)

        learned = tf.cast(finite, tf.int64)  # 1 or 0
        # Environment frames of every unroll: its rows that count.
        frames = config.frames_per_step * tf.math.count_nonzero(
            tf.logical_not(unroll.start_of_episode[1:]), axis=0
        )

        def count(which: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            """Returns frames and number of some unrolls, [B] bool."""
            return (
                tf.reduce_sum(tf.where(which, frames, tf.zeros_like(frames))),
                tf.math.count_nonzero(which),
            )

        fresh_frames, num_fresh = count(fresh & accepted)
        replayed_frames, num_replayed = count(replayed)
        refused_frames, num_refused = count(fresh & ~accepted)
        # A batch that changes no weight is no step. Else, with a small max_policy_lag, refusing
        # unrolls would make those behind them older, and none might ever be accepted.
        counts.steps.assign_add(tf.cast(learns, tf.int64))
        counts.frames.assign_add(learned * fresh_frames)
        counts.unrolls.assign_add(learned * num_fresh)
        if self._task_names:
            fresh_of_task = tf.math.unsorted_segment_sum(
                tf.where(fresh & accepted, frames, tf.zeros_like(frames)),
                unroll.task,
                len(self._task_names),
            )
            counts.task_frames.assign_add(learned * fresh_of_task)
        counts.replayed_frames.assign_add(learned * replayed_frames)
        counts.replayed_unrolls.assign_add(learned * num_replayed)
        counts.dropped_lag_frames.assign_add(refused_frames)
        counts.dropped_lag.assign_add(num_refused)
        counts.dropped_nonfinite_frames.assign_add((1 - learned) * fresh_frames)
        counts.dropped_nonfinite.assign_add((1 - learned) * num_fresh)
        metrics = {
            "total_loss": loss.total,
            "gradient_norm": gradient_norm,
            "finite": finite,
            "agent_steps": loss.metrics["agent_steps"],
            "learned_steps": tf.cast(learns, tf.int64),
            "learned_frames": learned * fresh_frames,
            "replayed_frames": learned * replayed_frames,
            "frames": counts.frames.read_value(),
            "unrolls": counts.unrolls.read_value(),
            "unrolls_replayed": counts.replayed_unrolls.read_value(),
            "unrolls_dropped_lag": counts.dropped_lag.read_value(),
            "unrolls_dropped_nonfinite": counts.dropped_nonfinite.read_value(),
        }
        if with_metrics:  # What nobody asks for, TensorFlow does not compute.
            fresh_lag = tf.boolean_mask(lag, fresh)
            metrics |= {
                **loss.metrics,
                "learning_rate": learning_rate,
                "entropy_cost": entropy_cost,
                "policy_lag_mean": tf.math.divide_no_nan(
                    tf.cast(tf.reduce_sum(fresh_lag), tf.float32),
                    tf.cast(tf.size(fresh_lag), tf.float32),
                ),
                "policy_lag_max": tf.reduce_max(tf.where(fresh, lag, tf.zeros_like(lag))),
                **self._describe_values(),
            }
        return metrics, loss.errors[config.replay.priority]


def _create_variables(network: Any, unroll_spec: types.Unroll):
    """Calls the network on zeros of the shapes that the dataset's batches have."""
    row = tree.map_structure(
        lambda spec: tf.zeros((1, *spec.shape[2:]), spec.dtype), unroll_spec.observation
    )
    network(row, network.initial_state(1))


def _read(variable: tf.Variable) -> np.ndarray:
    """Returns a copy of the value, in a quarter of the time that `variable.numpy()` takes."""
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype).numpy()


def _scheduled(value: Scheduled, frames: tf.Tensor) -> tf.Tensor:
    """The value of a hyperparameter after so many environment frames learned from."""
    if not isinstance(value, LinearSchedule):
        return tf.constant(value, tf.float32)
    progress = tf.minimum(tf.cast(frames, tf.float32) / value.frames, 1.0)
    return value.initial + progress * (value.final - value.initial)
