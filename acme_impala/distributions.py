"""The policy's distributions over actions, one for each kind of action space.

What a network returns as `PolicyValue.logits`, and an unroll holds as `behaviour_logits`, are a
distribution's parameters; what an actor draws from it is the unroll's action:

    action spec                     parameters                           action
    DiscreteArray(A)                logits [..., A]                      [...] integer
    BoundedArray, whole numbers     a tuple of D logits [..., A_i]       [..., D] int32, from 0
    BoundedArray, floating point    GaussianParameters, each [..., D]    [..., D] float32, unclipped

D is the number of elements of the spec's shape, in C order. Drawn actions are made actions of the
spec by `to_environment`. For learning the parameters alone tell of which distribution they are
(`kind_of`); what depends on the spec is an instance's, made by `for_actions`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from dm_env import specs

from acme_impala import vtrace
from acme_impala.types import Nest

# The standard deviations that a network can give, in half the width of the bounds. It begins with
# their geometric mean, 0.32: small enough for the bounds to clip little of it.
LEAST_STD, MOST_STD = 0.05, 2.0
# Of all elements of an action together. More are a mistake, such as an action that is an image.
MOST_LOGITS = 10_000


class GaussianParameters(NamedTuple):
    """Of independent Gaussians, in units in which the bounds of the action spec are -1 and 1."""

    mean: Nest  # [..., D]
    log_std: Nest  # [..., D]: the natural logarithm of the standard deviation


class Categorical:
    """One of A actions.

    Attributes:
        num_outputs: of a network's policy head: A.
        parameters_spec: the logits, without leading dimensions.
        drawn_spec: an action as it is drawn and learned from, without leading dimensions.
    """

    def __init__(self, action_spec: specs.DiscreteArray):
        """Makes the distribution of an action spec."""
        self._dtype = action_spec.dtype
        self.num_outputs = int(action_spec.num_values)
        self.parameters_spec = tf.TensorSpec((self.num_outputs,), tf.float32)
        self.drawn_spec = tf.TensorSpec((), tf.int32)

    def parameters(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns logits [..., A] from a head's outputs [..., A]: the same."""
        return outputs

    @staticmethod
    def log_prob(logits: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Returns log-probabilities [...]; see `vtrace.action_log_probs`."""
        return vtrace.action_log_probs(logits, actions)

    @staticmethod
    def entropy(logits: tf.Tensor) -> tf.Tensor:
        """Returns the entropies [...] in nats of softmax policies [..., A]."""
        probabilities = tf.nn.softmax(logits)
        log_probabilities = tf.nn.log_softmax(logits)
        # A probability of zero (a logit of -inf: an action that is not allowed) contributes zero.
        log_probabilities = tf.where(
            probabilities > 0, log_probabilities, tf.zeros_like(log_probabilities)
        )
        return -tf.reduce_sum(probabilities * log_probabilities, axis=-1)

    @staticmethod
    def sample(logits: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Draws actions [...] int32."""
        # Gumbel's trick: argmax(logits + noise) is distributed as softmax(logits).
        return np.argmax(logits + random.gumbel(size=logits.shape), axis=-1).astype(np.int32)

    @staticmethod
    def mode(logits: np.ndarray) -> np.ndarray:
        """Returns the likeliest actions [...] int32."""
        return np.argmax(logits, axis=-1).astype(np.int32)

    def to_environment(self, actions: np.ndarray) -> np.ndarray:
        """Returns drawn actions as the environment takes them: the same, of its dtype."""
        return actions.astype(self._dtype, copy=False)

    def features(self, actions: tf.Tensor) -> tf.Tensor:
        """Returns what a network is shown of an environment's actions [N]: one-hot, [N, A]."""
        return tf.one_hot(tf.cast(actions, tf.int32), self.num_outputs)


class MultiCategorical:
    """D choices at once, independent given the observation: their log-probabilities add up.

    Attributes:
        num_outputs: of a network's policy head: the A_i together.
        parameters_spec: a tuple of D logits, without leading dimensions.
        drawn_spec: an action as it is drawn and learned from, without leading dimensions.
    """

    def __init__(self, action_spec: specs.BoundedArray):
        """Makes the distribution of an action spec.

        Raises:
            ValueError: an element has no value, or all have too many.
        """
        self._spec = action_spec
        # In Python's integers, for the bounds may be those of the dtype.
        lowest, highest = (
            np.broadcast_to(bound, action_spec.shape).ravel().tolist()
            for bound in (action_spec.minimum, action_spec.maximum)
        )
        self._sizes = [1 + high - low for low, high in zip(lowest, highest, strict=True)]
        if not self._sizes or min(self._sizes) < 1:
            raise ValueError(f"The action space {action_spec!r} has no action.")
        self.num_outputs = sum(self._sizes)
        if self.num_outputs > MOST_LOGITS:
            raise ValueError(
                f"The action space {action_spec!r} has {self.num_outputs} values in all its "
                f"elements together, each of which needs a logit; {MOST_LOGITS} are the most. Give "
                "it closer bounds, or make it continuous: of a floating-point dtype."
            )
        self.parameters_spec = tuple(tf.TensorSpec((n,), tf.float32) for n in self._sizes)
        self.drawn_spec = tf.TensorSpec((len(self._sizes),), tf.int32)

    def parameters(self, outputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns D logits [..., A_i] from a head's outputs, [..., num_outputs]."""
        return tuple(tf.split(outputs, self._sizes, axis=-1))

    @staticmethod
    def log_prob(logits: tuple[tf.Tensor, ...], actions: tf.Tensor) -> tf.Tensor:
        """Returns log-probabilities [...] of actions [..., D].

        Raises:
            ValueError: actions and logits do not fit each other.
        """
        _require_elements(actions, len(logits))
        return tf.add_n(
            [vtrace.action_log_probs(part, actions[..., i]) for i, part in enumerate(logits)]
        )

    @staticmethod
    def entropy(logits: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Returns the entropies [...] in nats: of the D choices together."""
        return tf.add_n([Categorical.entropy(part) for part in logits])

    @staticmethod
    def sample(logits: tuple[np.ndarray, ...], random: np.random.Generator) -> np.ndarray:
        """Draws actions [..., D] int32."""
        return np.stack([Categorical.sample(part, random) for part in logits], axis=-1)

    @staticmethod
    def mode(logits: tuple[np.ndarray, ...]) -> np.ndarray:
        """Returns the likeliest actions [..., D] int32."""
        return np.stack([Categorical.mode(part) for part in logits], axis=-1)

    def to_environment(self, actions: np.ndarray) -> np.ndarray:
        """Returns drawn actions [N, D] as the environment takes them: counted from the minimum."""
        spec = self._spec
        actions = actions.reshape(-1, *spec.shape)
        return (actions + np.asarray(spec.minimum, np.int64)).astype(spec.dtype)

    def features(self, actions: tf.Tensor) -> tf.Tensor:
        """Returns what a network is shown of an environment's actions [N, ...].

        Each element is one-hot, [N, num_outputs]. An episode's first observation has zeros, which
        may be no action of the spec, and is then shown as none.
        """
        actions = tf.cast(actions, tf.int64) - np.asarray(self._spec.minimum, np.int64)
        actions = tf.reshape(actions, [-1, len(self._sizes)])
        return tf.concat(
            [tf.one_hot(actions[:, i], size) for i, size in enumerate(self._sizes)], axis=-1
        )


class ClippedGaussian:
    """D independent Gaussians; what lies outside the bounds is clipped on its way out.

    Clipping is thus a part of the environment. The policy is an ordinary Gaussian over actions that
    have no bounds, of which log-probabilities, importance weights and entropy are exact.

    Attributes:
        num_outputs: of a network's policy head: 2 D.
        parameters_spec: GaussianParameters, without leading dimensions.
        drawn_spec: an action as it is drawn and learned from, without leading dimensions.
    """

    def __init__(self, action_spec: specs.BoundedArray):
        """Makes the distribution of an action spec.

        Raises:
            ValueError: a bound is infinite or not above the other.
        """
        self._spec = action_spec
        # In float64, in which the difference of any two of float32 is finite.
        low, high = (
            np.broadcast_to(bound, action_spec.shape).astype(np.float64)
            for bound in (action_spec.minimum, action_spec.maximum)
        )
        if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all() or not low.size:
            raise ValueError(
                f"The continuous action space {action_spec!r} has no finite bounds, the maximum "
                "above the minimum, in every element: the policy's scale comes from them. A "
                "wrapper of the environment can set some (gymnasium.wrappers.RescaleAction)."
            )
        self._low, self._high = low, high
        self._centre, self._half_width = (low + high) / 2, (high - low) / 2
        size = low.size
        self.num_outputs = 2 * size
        element = tf.TensorSpec((size,), tf.float32)
        self.parameters_spec = GaussianParameters(element, element)
        self.drawn_spec = element

    def parameters(self, outputs: tf.Tensor) -> GaussianParameters:
        """Returns the parameters [..., D] from a head's outputs [..., 2 D].

        Outputs of zero are the middle between the bounds. The standard deviation moves smoothly
        between LEAST_STD and MOST_STD, so that it can come back from either.
        """
        mean, x = tf.split(outputs, 2, axis=-1)
        least, most = math.log(LEAST_STD), math.log(MOST_STD)
        return GaussianParameters(mean, least + (most - least) * tf.sigmoid(x))

    @staticmethod
    def log_prob(parameters: GaussianParameters, actions: tf.Tensor) -> tf.Tensor:
        """Returns log-densities [...] of unclipped actions [..., D].

        Raises:
            ValueError: actions and parameters do not fit each other.
        """
        mean, log_std = parameters
        _require_elements(actions, mean.shape[-1])
        if not actions.dtype.is_floating:
            raise ValueError(f"actions must be floating point, got {actions.dtype.name}.")
        z = (tf.cast(actions, mean.dtype) - mean) * tf.exp(-log_std)
        return -tf.reduce_sum(0.5 * tf.square(z) + log_std + 0.5 * math.log(2 * math.pi), axis=-1)

    @staticmethod
    def entropy(parameters: GaussianParameters) -> tf.Tensor:
        """Returns the differential entropies [...] in nats, before clipping."""
        return tf.reduce_sum(parameters.log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    @staticmethod
    def sample(parameters: GaussianParameters, random: np.random.Generator) -> np.ndarray:
        """Draws unclipped actions [..., D] float32."""
        mean, log_std = parameters
        return mean + np.exp(log_std) * random.standard_normal(mean.shape, np.float32)

    @staticmethod
    def mode(parameters: GaussianParameters) -> np.ndarray:
        """Returns the likeliest actions [..., D]: the means."""
        return parameters.mean

    def to_environment(self, actions: np.ndarray) -> np.ndarray:
        """Returns drawn actions [N, D] as the environment takes them: scaled to the bounds."""
        actions = actions.reshape(-1, *self._spec.shape)
        actions = np.clip(self._centre + self._half_width * actions, self._low, self._high)
        return actions.astype(self._spec.dtype)

    def features(self, actions: tf.Tensor) -> tf.Tensor:
        """Returns what a network is shown of an environment's actions [N, ...]: scaled, [N, D]."""
        scaled = (tf.cast(actions, tf.float64) - self._centre) / self._half_width
        return tf.cast(tf.reshape(scaled, [-1, self._centre.size]), tf.float32)


Distribution = Categorical | MultiCategorical | ClippedGaussian


def for_actions(action_spec: Nest) -> Distribution:
    """Makes the distribution for an environment's action spec.

    Raises:
        ValueError: there is none: the environment has no action space, one of several parts, one
            without bounds, or one of something else than numbers.
    """
    if isinstance(action_spec, specs.DiscreteArray):
        return Categorical(action_spec)
    if isinstance(action_spec, specs.BoundedArray):
        if np.issubdtype(action_spec.dtype, np.integer):
            return MultiCategorical(action_spec)
        if np.issubdtype(action_spec.dtype, np.floating):
            return ClippedGaussian(action_spec)
    if action_spec is None:
        found = "has no action space"
    elif not isinstance(action_spec, specs.Array):
        found = f"has an action space of several parts, {action_spec!r}"
    else:
        found = f"has the action space {action_spec!r}"
    raise ValueError(
        f"The environment {found}. A policy can act by one dm_env.specs.DiscreteArray(num_values), "
        "or by one BoundedArray of whole or of floating-point numbers."
    )


def kind_of(parameters: Nest) -> type[Distribution]:
    """Tells by the structure of parameters of which distribution they are."""
    if not isinstance(parameters, tuple):
        return Categorical
    # By its fields, for what comes back from Reverb is a named tuple of another type.
    if getattr(parameters, "_fields", None) == GaussianParameters._fields:
        return ClippedGaussian
    return MultiCategorical


def _require_elements(actions: Any, number: int | None):
    if not tf.TensorShape([number]).is_compatible_with(actions.shape[-1:]):
        raise ValueError(
            f"actions must be [..., {number}] for a policy of {number} elements, got shape "
            f"{actions.shape}."
        )
