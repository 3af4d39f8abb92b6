"""Torsos: the part of a network that turns one kind of input into features.

Every torso takes a batch [N, ...] and returns features [N, D]; time, where there is any, has been
folded into N. Images are [N, height, width, channels] float32. `minimum_image_size` is the
smallest height and width that a torso's convolutions can work on.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from acme_impala.networks.initializers import VarianceScaling, split_seed


class MLPTorso(tf.Module):
    """Fully connected layers on everything flattened and concatenated.

    Attributes:
        minimum_image_size: 1; an image is flattened as it is.
    """

    minimum_image_size = 1

    def __init__(
        self,
        hidden_sizes: Sequence[int] = (64, 64),
        activation: str | Callable[[tf.Tensor], tf.Tensor] = "relu",
        seed: int = 0,
    ):
        """Makes the layers.

        Args:
            hidden_sizes: units of each layer; empty for the flattened inputs themselves.
            activation: what follows every layer, as Keras names it or as a function.
            seed: of the initial weights.
        """
        super().__init__(name="mlp_torso")
        self._layers = [
            tf.keras.layers.Dense(size, activation, kernel_initializer=VarianceScaling(layer_seed))
            for size, layer_seed in zip(
                hidden_sizes, split_seed(seed, len(hidden_sizes)), strict=True
            )
        ]

    def __call__(self, *inputs: tf.Tensor) -> tf.Tensor:
        """Returns features [N, D] of any number of inputs [N, ...]."""
        features = tf.concat([_flatten(x) for x in inputs], axis=-1)
        for layer in self._layers:
            features = layer(features)
        return features


class ShallowTorso(tf.Module):
    """The paper's shallow torso: conv 16 8x8/4, conv 32 4x4/2, FC 256, each with a ReLU (fig. 3).

    The convolutions are VALID, which gives the paper's 1.2 million parameters on DeepMind Lab.
    """

    minimum_image_size = 20

    def __init__(self, seed: int = 0):
        super().__init__(name="shallow_torso")
        seeds = split_seed(seed, 3)
        self._layers = [
            _conv(16, 8, 4, "valid", "relu", seeds[0]),
            _conv(32, 4, 2, "valid", "relu", seeds[1]),
        ]
        self._fully_connected = _fully_connected(256, seeds[2])

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """Returns features [N, 256] of images [N, H, W, C]."""
        for layer in self._layers:
            image = layer(image)
        return self._fully_connected(_flatten(image))


class AtariTorso(tf.Module):
    """The torso of Mnih et al. 2015, the paper's shallow one on Atari.

    Conv 32 8x8/4, conv 64 4x4/2, conv 64 3x3/1, FC 512, all VALID, each with a ReLU.
    """

    minimum_image_size = 36

    def __init__(self, seed: int = 0):
        super().__init__(name="atari_torso")
        seeds = split_seed(seed, 4)
        self._layers = [
            _conv(32, 8, 4, "valid", "relu", seeds[0]),
            _conv(64, 4, 2, "valid", "relu", seeds[1]),
            _conv(64, 3, 1, "valid", "relu", seeds[2]),
        ]
        self._fully_connected = _fully_connected(512, seeds[3])

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """Returns features [N, 512] of images [N, H, W, C]."""
        for layer in self._layers:
            image = layer(image)
        return self._fully_connected(_flatten(image))


class DeepTorso(tf.Module):
    """The paper's deep torso: a residual network of 15 convolutions (fig. 3).

    Three sections of 16, 32 and 32 channels, then a ReLU and FC 256 with a ReLU. All SAME, which
    gives the paper's 1.6 million parameters on DeepMind Lab.
    """

    minimum_image_size = 1

    def __init__(self, seed: int = 0):
        super().__init__(name="deep_torso")
        *section_seeds, last_seed = split_seed(seed, 4)
        self._sections = [
            _Section(channels, section_seed)
            for channels, section_seed in zip((16, 32, 32), section_seeds, strict=True)
        ]
        self._fully_connected = _fully_connected(256, last_seed)

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """Returns features [N, 256] of images [N, H, W, C]."""
        for section in self._sections:
            image = section(image)
        return self._fully_connected(_flatten(tf.nn.relu(image)))


class _Section(tf.Module):
    """Conv 3x3, max-pool 3x3/2 and two residual blocks of (ReLU, conv 3x3, ReLU, conv 3x3)."""

    def __init__(self, channels: int, seed: int):
        super().__init__(name="section")
        seeds = split_seed(seed, 5)
        self._conv = _conv(channels, 3, 1, "same", None, seeds[0])
        self._blocks = [
            [_conv(channels, 3, 1, "same", None, block_seed) for block_seed in block_seeds]
            for block_seeds in (seeds[1:3], seeds[3:5])
        ]

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        image = tf.nn.max_pool2d(self._conv(image), ksize=3, strides=2, padding="SAME")
        for first, second in self._blocks:
            image += second(tf.nn.relu(first(tf.nn.relu(image))))
        return image


def _conv(
    filters: int, kernel: int, stride: int, padding: str, activation: str | None, seed: int
) -> tf.keras.layers.Conv2D:
    return tf.keras.layers.Conv2D(
        filters,
        kernel,
        stride,
        padding,
        activation=activation,
        kernel_initializer=VarianceScaling(seed),
    )


def _fully_connected(units: int, seed: int) -> tf.keras.layers.Dense:
    return tf.keras.layers.Dense(units, "relu", kernel_initializer=VarianceScaling(seed))


def _flatten(x: tf.Tensor) -> tf.Tensor:
    """Returns [N, D] from [N, ...]."""
    return tf.reshape(x, [-1, math.prod(x.shape[1:])])
