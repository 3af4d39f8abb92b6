"""The network of IMPALA: encoder, core and the heads for policy and baseline."""

import numpy as np
import tensorflow as tf
import tree

from acme_impala.distributions import Distribution
from acme_impala.networks.cores import FeedForwardCore, LSTMCore
from acme_impala.networks.encoder import Encoder
from acme_impala.networks.initializers import VarianceScaling, split_seed
from acme_impala.types import Nest, PolicyValue

# The variance of the policy head's first outputs relative to the core's: the policy starts near
# uniform, or near the middle between the bounds, so that exploration does not depend on the seed.
POLICY_SCALE = 1e-4


class IMPALANetwork(tf.Module):
    """A policy pi(.|x) and a baseline V(x) on a common encoder and core (paper, fig. 3).

    `network(observation, state)` steps, to act; `network.unroll(...)` takes a whole unroll, to
    learn. Both give equal numbers. Observations are arrays or tensors.

    Attributes:
        distribution: of the actions; makes the policy's parameters of what its head gives.
        baseline_head: the layer that gives the value, or with PopArt what stands for it.
    """

    def __init__(
        self,
        encoder: Encoder,
        core: FeedForwardCore | LSTMCore,
        distribution: Distribution,
        seed: int = 0,
        num_values: int = 1,
    ):
        """Puts a network together.

        Args:
            encoder: from observations [N, ...] to features [N, D].
            core: the memory.
            distribution: of the actions: `distributions.for_actions(action_spec)`.
            seed: of the heads' initial weights.
            num_values: K, outputs of the baseline: one for each task with PopArt. From two on the
                value has them as its last dimension.
        """
        super().__init__(name="impala_network")
        policy_seed, baseline_seed = split_seed(seed, 2)
        self.distribution = distribution
        self._encoder = encoder
        self._core = core
        self._policy_head = tf.keras.layers.Dense(
            distribution.num_outputs, kernel_initializer=VarianceScaling(policy_seed, POLICY_SCALE)
        )
        self.baseline_head = tf.keras.layers.Dense(
            num_values, kernel_initializer=VarianceScaling(baseline_seed)
        )

    def initial_state(self, batch_size: int) -> Nest:
        """Returns the recurrent state at the start of an episode: a nest of [B, ...]."""
        return self._core.initial_state(batch_size)

    def __call__(self, observation: Nest, state: Nest) -> tuple[PolicyValue, Nest]:
        """Steps once.

        Args:
            observation: a nest of [B, ...].
            state: from the step before, or `initial_state(B)` where an episode starts.

        Returns:
            Logits [B, A] (or the nest of another action space) and value [B], and the next state.
        """
        features, state = self._core.step(self._encoder(observation), state)
        return self._heads(features), state

    def unroll(
        self, observation: Nest, state: Nest, start_of_episode: tf.Tensor
    ) -> tuple[PolicyValue, Nest]:
        """Takes a whole unroll: encoder and heads on all rows at once, the core row by row.

        Args:
            observation: a nest of [T+1, B, ...], T static.
            state: before row 0.
            start_of_episode: [T+1, B] bool; the state is reset before these rows.

        Returns:
            Logits [T+1, B, A] (or a nest) and value [T+1, B], and the state after the last row.
        """
        rows = start_of_episode.shape[0]
        features = self._encoder(tree.map_structure(_fold_time, observation))
        features, state = self._core.unroll(_unfold_time(features, rows), state, start_of_episode)
        output = self._heads(_fold_time(features))
        return tree.map_structure(lambda x: _unfold_time(x, rows), output), state

    def _heads(self, features: tf.Tensor) -> PolicyValue:
        value = self.baseline_head(features)
        if self.baseline_head.units == 1:
            value = tf.squeeze(value, axis=-1)
        parameters = self.distribution.parameters(self._policy_head(features))
        return PolicyValue(logits=parameters, value=value)


def _fold_time(x: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Returns [(T+1) * B, ...] from [T+1, B, ...]."""
    return tf.reshape(x, [-1, *x.shape[2:]])


def _unfold_time(x: tf.Tensor, rows: int) -> tf.Tensor:
    """Returns [rows, B, ...] from [rows * B, ...]."""
    return tf.reshape(x, [rows, -1, *x.shape[1:]])
