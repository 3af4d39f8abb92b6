"""Arrays in memory that passes from process to process, on one host."""

import json
import math
import mmap
import os
import weakref
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_ALIGNMENT = 64  # As TensorFlow likes it.


class SharedArrays:
    """A copy of arrays in memory of its own, which has no name and ends with its last user.

    Attributes:
        description: JSON: of every array its dtype, its shape, and where it begins, in bytes.
        file: descriptor of the memory, to be sent together with the description.
    """

    def __init__(self, arrays: Sequence[np.ndarray]):
        """Copies arrays.

        Raises:
            TypeError: TensorFlow does not know the dtype of one.
        """
        self.file = os.memfd_create("acme_impala")
        weakref.finalize(self, os.close, self.file)
        entries, start = [], 0
        for array in map(np.asarray, arrays):
            os.pwrite(self.file, array.tobytes(), start)
            # By its name: to numpy itself a bfloat16 is two bytes of something.
            entries.append((tf.as_dtype(array.dtype).name, array.shape, start))
            start += (array.nbytes // _ALIGNMENT + 1) * _ALIGNMENT
        os.ftruncate(self.file, start)
        self.description = json.dumps(entries).encode()


def view_arrays(description: bytes, file: int) -> list[np.ndarray]:
    """Returns the arrays of a `SharedArrays` without a copy; a change of them changes no other's.

    Args:
        description: of the arrays.
        file: descriptor of the memory, which may be closed afterwards.
    """
    memory = mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE)
    return [
        np.frombuffer(
            memory, tf.as_dtype(dtype).as_numpy_dtype, math.prod(shape), offset=start
        ).reshape(shape)
        for dtype, shape, start in json.loads(description)
    ]
