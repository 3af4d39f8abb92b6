"""Initial weights that depend on a seed and on nothing else."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from acme_impala.checks import require_seed


class VarianceScaling(tf.keras.initializers.Initializer):
    """Uniform weights of variance `scale / fan_in`, bit-equal for equal seeds in every process.

    Keras's own initializers draw from TensorFlow's stateful operations: what they give depends on
    the global seed and on how often they were called before. This one draws from a generator of
    its own.

    Attributes:
        seed: a whole number that is not negative.
        scale: the variance times the fan-in; 1 keeps the variance of the inputs.
    """

    def __init__(self, seed: int, scale: float = 1.0):
        self.seed = seed
        self.scale = scale

    def __call__(self, shape: Sequence[int], dtype=None, **unused) -> tf.Tensor:
        """Returns weights of a shape whose last dimension is the number of outputs."""
        fan_in = math.prod(shape[:-1])
        limit = math.sqrt(3 * self.scale / fan_in)
        weights = np.random.default_rng(self.seed).uniform(-limit, limit, shape)
        return tf.constant(weights, dtype or tf.float32)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {"seed": self.seed, "scale": self.scale}


def split_seed(seed: int, number: int) -> list[int]:
    """Returns `number` independent seeds that follow from one seed.

    Raises:
        ValueError: the seed is not a whole number of at least 0.
    """
    require_seed(seed)
    return [int(s) for s in np.random.SeedSequence(int(seed)).generate_state(number, np.uint64)]
