"""The language of DeepMind Lab's tasks: an LSTM over the words of an instruction."""

import tensorflow as tf

from acme_impala.networks.cores import LSTMCell
from acme_impala.networks.initializers import VarianceScaling, split_seed


class InstructionEncoder(tf.Module):
    """Embeds hashed words and reads them with an LSTM (paper, section 5.3; the sizes are (SA)).

    A word is a whole number from 1 to `hash_buckets`; 0 pads an instruction to its full length.

    Attributes:
        hash_buckets: how many words are told apart.
    """

    def __init__(
        self,
        hash_buckets: int = 1000,
        embedding_size: int = 20,
        lstm_size: int = 64,
        seed: int = 0,
    ):
        super().__init__(name="instruction_encoder")
        embedding_seed, lstm_seed = split_seed(seed, 2)
        self.hash_buckets = hash_buckets
        # The scale undoes the fan-in: a row is picked, not summed over, and has unit variance.
        self._embeddings = tf.Variable(
            VarianceScaling(embedding_seed, scale=hash_buckets)([hash_buckets, embedding_size]),
            name="embeddings",
        )
        self._cell = LSTMCell(lstm_size, lstm_seed)

    def __call__(self, words: tf.Tensor) -> tf.Tensor:
        """Reads a batch of instructions.

        Args:
            words: [N, W] int32, padded with 0 behind the last word; W static.

        Returns:
            [N, lstm_size]: the LSTM's output after the last word, zeros for an empty instruction.
        """
        words = tf.convert_to_tensor(words)
        width = words.shape[1]
        rows = tf.shape(words)[0]
        # Padding has no embedding: it borrows the first word's, and its step is thrown away below.
        indices = tf.maximum(tf.reshape(words, [-1]) - 1, 0)
        projected = self._cell.project(tf.gather(self._embeddings, indices))
        projected = tf.reshape(projected, [rows, width, 4 * self._cell.size])
        projected = tf.unstack(projected, axis=1)
        is_word = tf.unstack(words[:, :, tf.newaxis] != 0, axis=1)

        state = self._cell.initial_state(rows)
        for i in range(width):
            h, c = self._cell.step(projected[i], state)
            state = tf.where(is_word[i], h, state[0]), tf.where(is_word[i], c, state[1])
        return state[0]
