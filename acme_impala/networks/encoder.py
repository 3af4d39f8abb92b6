"""The encoder: from an observation to the inputs of the core."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from acme_impala.networks.instruction import InstructionEncoder
from acme_impala.networks.observations import ObservationReader
from acme_impala.networks.torsos import MLPTorso
from acme_impala.types import Nest


class Encoder(tf.Module):
    """Turns observations [N, ...] into features [N, D] (paper, fig. 3).

    The features are, one beside the other: the torso's, what it does not take (vectors beside an
    image), the instruction's, and of an OAR the last action and reward. An image torso takes the
    image; an MLP takes image and vectors, flattened. `ObservationReader` says what counts as which.
    """

    def __init__(self, observation_spec: Nest, torso: Callable[..., tf.Tensor], seed: int = 0):
        """Makes an encoder for one observation spec.

        Args:
            observation_spec: a nest of dm_env specs, without batch dimension.
            torso: one of this package's, or one like them.
            seed: of the instruction encoder's initial weights.

        Raises:
            ValueError: the torso takes images and the observation has none or a smaller one than
                the torso needs, or the observation cannot be read.
        """
        super().__init__(name="encoder")
        self._read = ObservationReader(observation_spec)
        self._torso = torso
        self._takes_vectors = isinstance(torso, MLPTorso)
        self._instruction_encoder = None
        if not self._takes_vectors:
            self._check_image(observation_spec)
        if self._read.instruction is not None:
            self._instruction_encoder = InstructionEncoder(seed=seed)
            self._check_words()

    def __call__(self, observation: Nest) -> tf.Tensor:
        """Returns features [N, D] of observations [N, ...], arrays or tensors."""
        inputs = self._read(observation)
        features = []
        if self._takes_vectors:
            torso_inputs = [x for x in (inputs.image, inputs.vector) if x is not None]
            if torso_inputs:
                features.append(self._torso(*torso_inputs))
        else:
            features.append(self._torso(inputs.image))
            if inputs.vector is not None:
                features.append(inputs.vector)
        if self._instruction_encoder is not None:
            features.append(self._instruction_encoder(inputs.instruction))
        if inputs.last_action_and_reward is not None:
            features.append(inputs.last_action_and_reward)
        return tf.concat(features, axis=-1) if len(features) > 1 else features[0]

    def _check_image(self, observation_spec: Nest):
        name = type(self._torso).__name__
        shape = self._read.image_shape
        if shape is None:
            raise ValueError(
                f"{name} needs an image, an observation of shape [height, width, channels], and "
                f"there is none in {observation_spec!r}. Use the torso 'mlp'."
            )
        smallest = self._torso.minimum_image_size
        if min(shape[:2]) < smallest:
            raise ValueError(
                f"{name} needs an image of at least {smallest}x{smallest}, and the observation's "
                f"is {shape[0]}x{shape[1]}. Use the torso 'deep' or 'mlp', which take any size."
            )

    def _check_words(self):
        # Only a bounded spec tells how far the words go.
        largest = np.max(getattr(self._read.instruction, "maximum", 0))
        buckets = self._instruction_encoder.hash_buckets
        if largest > buckets:
            raise ValueError(
                f"The instruction's words go up to {largest}, and the network has embeddings for "
                f"1 to {buckets}. Hash the words into {buckets} buckets."
            )
