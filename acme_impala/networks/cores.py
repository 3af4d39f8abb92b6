"""Cores: what carries a network's memory from one agent step to the next.

A core steps on features [B, D] to act, and unrolls over [T+1, B, D] to learn. Its state is a tuple
of tensors [B, ...]. Before every row that starts an episode, the state is reset to the initial one.
"""

import tensorflow as tf
import tree

from acme_impala.networks.initializers import VarianceScaling, split_seed
from acme_impala.types import Nest

LSTMState = tuple[tf.Tensor, tf.Tensor]


def reset_state(start_of_episode: tf.Tensor, initial_state: Nest, state: Nest) -> Nest:
    """Returns the state with the initial one where an episode starts.

    Args:
        start_of_episode: [B] bool.
        initial_state: a nest of [B, ...].
        state: a nest like it.
    """

    def reset(initial: tf.Tensor, current: tf.Tensor) -> tf.Tensor:
        starts = tf.reshape(start_of_episode, [-1] + [1] * (len(current.shape) - 1))
        return tf.where(starts, initial, current)

    return tree.map_structure(reset, initial_state, state)


class FeedForwardCore(tf.Module):
    """No memory: the features pass through, and the state is the empty tuple."""

    def __init__(self):
        super().__init__(name="feed_forward_core")

    def initial_state(self, batch_size: int) -> tuple[()]:
        """Returns the empty tuple, whatever the batch size."""
        del batch_size
        return ()

    def step(self, features: tf.Tensor, state: tuple[()]) -> tuple[tf.Tensor, tuple[()]]:
        """Returns the features [B, D] and the state as they are."""
        return features, state

    def unroll(
        self, features: tf.Tensor, state: tuple[()], start_of_episode: tf.Tensor
    ) -> tuple[tf.Tensor, tuple[()]]:
        """Returns the features [T+1, B, D] and the state as they are."""
        del start_of_episode
        return features, state


class LSTMCell(tf.Module):
    """An LSTM's step in two halves, so that the inputs of many steps are projected at once."""

    def __init__(self, size: int, seed: int = 0):
        super().__init__(name="lstm_cell")
        input_seed, recurrent_seed = split_seed(seed, 2)
        self.size = size
        self._input = tf.keras.layers.Dense(
            4 * size, kernel_initializer=VarianceScaling(input_seed)
        )
        self._recurrent = tf.keras.layers.Dense(
            4 * size, use_bias=False, kernel_initializer=VarianceScaling(recurrent_seed)
        )

    def initial_state(self, batch_size: int | tf.Tensor) -> LSTMState:
        """Returns zeros: the output h and the memory c, each [B, size]."""
        zeros = tf.zeros([batch_size, self.size])
        return zeros, zeros

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns what inputs [N, D] contribute to the gates: [N, 4 * size]."""
        return self._input(inputs)

    def step(self, projected: tf.Tensor, state: LSTMState) -> LSTMState:
        """Returns the next state from projected inputs [B, 4 * size]; its h is the output."""
        h, c = state
        gates = projected + self._recurrent(h)
        input_gate, forget_gate, output_gate, candidate = tf.split(gates, 4, axis=-1)
        # The 1 keeps the memory open at the start of training, when the biases are zero.
        c = tf.sigmoid(forget_gate + 1) * c + tf.sigmoid(input_gate) * tf.tanh(candidate)
        return tf.sigmoid(output_gate) * tf.tanh(c), c


class LSTMCore(tf.Module):
    """An LSTM (the paper: of 256 units). The state is (h, c), each [B, size], from zero."""

    def __init__(self, size: int = 256, seed: int = 0):
        super().__init__(name="lstm_core")
        self._cell = LSTMCell(size, seed)

    def initial_state(self, batch_size: int) -> LSTMState:
        """Returns the state (h, c) at the start of an episode: zeros [B, size]."""
        return self._cell.initial_state(batch_size)

    def step(self, features: tf.Tensor, state: LSTMState) -> tuple[tf.Tensor, LSTMState]:
        """Returns the outputs [B, size] on features [B, D], and the next state."""
        state = self._cell.step(self._cell.project(features), state)
        return state[0], state

    def unroll(
        self, features: tf.Tensor, state: LSTMState, start_of_episode: tf.Tensor
    ) -> tuple[tf.Tensor, LSTMState]:
        """Steps row by row through an unroll.

        Args:
            features: [T+1, B, D], T static.
            state: before row 0.
            start_of_episode: [T+1, B] bool; the state is reset before these rows.

        Returns:
            The outputs [T+1, B, size] and the state after the last row.
        """
        rows, batch_size, depth = features.shape[0], tf.shape(features)[1], features.shape[2]
        # One matrix product for the whole unroll; only the recurrent one waits for the row before.
        projected = self._cell.project(tf.reshape(features, [-1, depth]))
        projected = tf.unstack(tf.reshape(projected, [rows, batch_size, 4 * self._cell.size]))
        starts = tf.unstack(tf.convert_to_tensor(start_of_episode))
        initial_state = self.initial_state(batch_size)
        outputs = []
        for t in range(rows):
            state = reset_state(starts[t], initial_state, state)
            state = self._cell.step(projected[t], state)
            outputs.append(state[0])
        return tf.stack(outputs), state
