"""Batches of items."""

import collections
import weakref
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tree

from acme_impala import frames, types

# TensorFlow takes over memory that begins at a multiple of this, and copies other.
_ALIGNMENT = 64


def batch_spec(signature: types.Unroll, batch_size: int) -> types.Unroll:
    """The shapes and dtypes of batches of items that have this signature."""
    num_rows = signature.reward.shape[0]

    def row_spec(spec):
        older_frames = spec.shape[0] - num_rows
        stack = (older_frames + 1,) if older_frames else ()
        return tf.TensorSpec((num_rows, batch_size, *spec.shape[2:], *stack), spec.dtype)

    def header_spec(spec):
        return tf.TensorSpec((batch_size, *spec.shape[1:]), spec.dtype)

    return types.map_unroll(row_spec, header_spec, signature)


class BatchMaker:
    """Makes batches of items, side by side, with their frames stacked again.

    What is copied for a batch lies in memory that is used again as soon as nobody holds the batch,
    or anything that shares memory with it. The C library would put smaller things into the holes
    that batches leave, and a learner would grow by several batches.
    """

    def __init__(self, element_spec: types.Unroll):
        """Makes batches of `element_spec`."""
        self._spec = element_spec
        self._free: dict[int, list[np.ndarray]] = collections.defaultdict(list)  # By size.

    def __call__(self, items: Sequence[types.Unroll]) -> types.Unroll:
        """Makes a batch, of tensors.

        Args:
            items: of numpy arrays, in all as many unrolls as a batch has.
        """
        num_rows = self._spec.reward.shape[0]
        starts = np.concatenate([item.start_of_episode for item in items], axis=1)

        def stack(spec, *columns):
            if len(columns[0]) == num_rows:
                return self._concatenate(columns, 1, spec)
            batch = self._array(spec)
            first = 0
            for column in columns:  # Each straight into its place.
                part = slice(first, first + column.shape[1])
                frames.restack(column, starts[:, part], batch[:, part])
                first = part.stop
            return batch

        def concatenate(spec, *parts):
            return self._concatenate(parts, 0, spec)

        batch = types.map_unroll(stack, concatenate, self._spec, *items)
        with tf.device("/CPU:0"):
            return tree.map_structure(tf.convert_to_tensor, batch)

    def _concatenate(
        self, parts: Sequence[np.ndarray], axis: int, spec: tf.TensorSpec
    ) -> np.ndarray:
        if len(parts) == 1 and parts[0].flags.c_contiguous:
            return parts[0]
        return np.concatenate(parts, axis, out=self._array(spec))

    def _array(self, spec: tf.TensorSpec) -> np.ndarray:
        """An array that TensorFlow need not copy; its memory comes back after the last view."""
        dtype, count = spec.dtype.as_numpy_dtype, spec.shape.num_elements()
        size = count * np.dtype(dtype).itemsize
        free = self._free[size]
        memory = free.pop() if free else np.empty(size + _ALIGNMENT, np.uint8)
        # Views of an array keep not it but the array whose memory it shows. A memoryview is none,
        # so they keep this one.
        array = np.frombuffer(memory.data, dtype, count, -memory.ctypes.data % _ALIGNMENT)
        weakref.finalize(array, free.append, memory).atexit = False
        return array.reshape(spec.shape)
