"""What a network makes of an observation's leaves before any weight is applied."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tree
from dm_env import specs

from acme_impala import distributions
from acme_impala.types import Nest, is_oar

INSTRUCTION = "INSTR"


class Inputs(NamedTuple):
    """A batch of observations, sorted by the part of the network that they go to.

    None stands for a kind of input that the observation does not have.
    """

    image: tf.Tensor | None  # [N, H, W, C] float32
    vector: tf.Tensor | None  # [N, D] float32: all that is not an image, flattened
    instruction: tf.Tensor | None  # [N, W] int32: words, padded with 0
    last_action_and_reward: tf.Tensor | None  # [N, ...] float32: of an OAR, for the core


class ObservationReader:
    """Sorts an observation's leaves by what they are and makes numbers of them.

    - A leaf of rank 3 is an image [H, W, C]; uint8 becomes 0 to 1, everything else is only cast.
      Several images of one height and width are put together along their channels.
    - A leaf named 'INSTR' in a dict is an instruction: words [W] int32, padded with 0.
    - A `DiscreteArray` is one-hot.
    - Everything else, of whatever rank, is cast to float32 and flattened, in dm-tree's order.
    - Of an OAR, the last action is one-hot, or each of its whole numbers is, or it is scaled to
      bounds of -1 and 1; the last reward is clipped to [-1, 1]. They go past the torso.

    Attributes:
        image_shape: (H, W, C), or None without an image.
        instruction: the instruction's spec, or None.
    """

    def __init__(self, observation_spec: Nest):
        """Sorts the leaves of a nest of dm_env specs.

        Raises:
            ValueError: the observation is empty, images differ in size, an instruction is not
                words, or an OAR's action is of no action space that a policy can act by.
        """
        self._paths = [path for path, _ in tree.flatten_with_path(observation_spec)]
        self._is_oar = is_oar(observation_spec)
        if self._is_oar:
            self._last_action = distributions.for_actions(observation_spec.action)
            observation_spec = observation_spec.observation

        paths_and_specs = tree.flatten_with_path(observation_spec)
        if not paths_and_specs:
            raise ValueError(f"The observation spec {observation_spec!r} has nothing to observe.")
        self._leaves = [leaf for _, leaf in paths_and_specs]
        self._images, self._vectors, self._instructions = [], [], []
        for index, (path, leaf) in enumerate(paths_and_specs):
            if path and path[-1] == INSTRUCTION:
                self._instructions.append(index)
            elif len(leaf.shape) == 3:
                self._images.append(index)
            else:
                self._vectors.append(index)
            _check_leaf(path, leaf)

        self.image_shape = self._stacked_image_shape()
        self.instruction = self._only_instruction()

    def __call__(self, observation: Nest) -> Inputs:
        """Reads a batch of observations [N, ...], arrays or tensors.

        Raises:
            ValueError: the observation's structure is not the spec's.
        """
        # Paths rather than types: this package's OAR and Acme's are taken alike.
        paths = [path for path, _ in tree.flatten_with_path(observation)]
        if paths != self._paths:
            raise ValueError(
                f"The observation's structure must be the spec's, {self._paths}, got {paths}."
            )
        last = None
        if self._is_oar:
            last = self._read_last(observation.action, observation.reward)
            observation = observation.observation
        leaves = tree.flatten(observation)
        return Inputs(
            image=_concat([_image(leaves[i], self._leaves[i]) for i in self._images]),
            vector=_concat([_vector(leaves[i], self._leaves[i]) for i in self._vectors]),
            instruction=leaves[self._instructions[0]] if self._instructions else None,
            last_action_and_reward=last,
        )

    def _read_last(self, action: tf.Tensor, reward: tf.Tensor) -> tf.Tensor:
        reward = tf.reshape(tf.cast(reward, tf.float32), [-1, 1])
        action = self._last_action.features(action)
        return _concat([action, tf.clip_by_value(reward, -1.0, 1.0)])

    def _stacked_image_shape(self) -> tuple[int, int, int] | None:
        shapes = [self._leaves[i].shape for i in self._images]
        if not shapes:
            return None
        if len({shape[:2] for shape in shapes}) > 1:
            raise ValueError(
                "The images of an observation must be of one height and width to be put together "
                f"along their channels, got {', '.join(map(str, shapes))}."
            )
        return *shapes[0][:2], sum(shape[2] for shape in shapes)

    def _only_instruction(self) -> specs.Array | None:
        if len(self._instructions) > 1:
            raise ValueError(f"An observation can hold one '{INSTRUCTION}', got several.")
        return self._leaves[self._instructions[0]] if self._instructions else None


def _check_leaf(path: tuple, leaf: specs.Array):
    if path and path[-1] == INSTRUCTION:
        if leaf.dtype != np.int32 or len(leaf.shape) != 1 or not leaf.shape[0]:
            raise ValueError(
                f"'{INSTRUCTION}' must hold words as int32 of shape [W], hashed and padded with "
                f"0, got {leaf!r}."
            )
    elif leaf.dtype.kind not in "biuf":
        raise ValueError(
            f"The observation's {path or 'only leaf'} is {leaf!r}: a network takes bool, whole "
            "and floating-point numbers."
        )


def _image(image: tf.Tensor, spec: specs.Array) -> tf.Tensor:
    if spec.dtype != np.uint8:
        return tf.cast(image, tf.float32)
    if tf.config.list_logical_devices("GPU"):
        return tf.cast(image, tf.float32) / 255
    # The same numbers, to float precision, in a fifth of the time on a CPU.
    image = tf.bitcast(image, tf.quint8)
    return tf.quantization.dequantize(image, 0.0, 1.0, mode="SCALED")


def _vector(x: tf.Tensor, spec: specs.Array) -> tf.Tensor:
    if isinstance(spec, specs.DiscreteArray):
        return tf.one_hot(tf.cast(x, tf.int32), spec.num_values)
    return tf.reshape(tf.cast(x, tf.float32), [-1, math.prod(spec.shape)])


def _concat(parts: list[tf.Tensor]) -> tf.Tensor | None:
    if len(parts) > 1:
        return tf.concat(parts, axis=-1)
    return parts[0] if parts else None
