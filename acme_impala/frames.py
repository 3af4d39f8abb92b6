"""Stacked frames, which travel frame by frame and are stacked again where they are read."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np
from dm_env import specs

# OpenCV moves numbers of these sizes in bytes; which numbers they are is the same to it.
_NUMBERS = {1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.float64}


class StackedFrames(specs.BoundedArray):
    """The spec of an observation [..., S] that holds the newest S frames, the newest last.

    An environment promises by it that an observation is the one before without its oldest frame and
    with a new one, and that an episode's first frame fills the whole stack. Then an unroll is
    stored as [S-1 + T+1, B, ...]: the older frames of row 0, and each row's newest. It is stacked
    again, bit for bit, when it is read.
    """

    def __reduce__(self):  # dm_env's own would make it a BoundedArray in every other process.
        return type(self), (self.shape, self.dtype, self.minimum, self.maximum, self.name)

    def __eq__(self, other: object) -> bool:  # Nor is it one: those promise less.
        return isinstance(other, StackedFrames) and super().__eq__(other)

    __hash__ = None  # As of all specs.

    def __repr__(self) -> str:
        return super().__repr__().replace("BoundedArray", "StackedFrames", 1)


class FrameStack:
    """The newest S frames of environments side by side, stacked anew with each that comes."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype):
        """Begins with frames of zeros, for stacks of `shape`, [B, ..., S]."""
        *frame_shape, size = shape
        self._frames = collections.deque(
            (np.zeros(frame_shape, dtype) for _ in range(size)), maxlen=size
        )

    def push(self, newest: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Returns the next stacks [B, ..., S]: without the oldest frames, and with the newest.

        Args:
            newest: [B, ...]; it is kept, and written to later.
            first: [B] bool: where an episode starts and the newest frame fills the stack.
        """
        self._frames.append(newest)
        starts = np.flatnonzero(first)
        if len(starts):
            for frame in self._frames:
                frame[starts] = newest[starts]
        out = np.empty((*newest.shape, len(self._frames)), newest.dtype)
        _interleave(self._frames, out)
        return out


def take_newest(stack: np.ndarray, out: np.ndarray):
    """Copies the newest frames of stacks [B, ..., S] to `out`, [B, ...]."""
    import cv2  # Only those who stack frames need it.

    size = stack.shape[-1]
    cv2.extractChannel(_as_image(np.ascontiguousarray(stack), size), size - 1, _as_image(out))


def restack(frames: np.ndarray, start_of_episode: np.ndarray, out: np.ndarray):
    """Stacks the frames of unrolls as their environments did.

    Args:
        frames: [S-1 + T+1, B, ...] the older frames of row 0's stack, then each row's newest.
        start_of_episode: [T+1, B] bool; there the newest frame fills the stack.
        out: [T+1, B, ..., S], written to; each of its stacks [..., S] in one piece of memory.

    Raises:
        AttributeError, cv2.error: a stack of `out` lies apart in memory.
    """
    num_rows, size = len(out), out.shape[-1]
    for row in range(num_rows):
        _interleave(frames[row : row + size], out[row])
    for start, which in np.argwhere(start_of_episode[1:]):
        start += 1  # Row 0 has its older frames with it.
        for row in range(start, min(start + size - 1, num_rows)):
            # Nothing is older than the episode's first frame.
            stacked = np.maximum(np.arange(row, row + size), start + size - 1)
            _interleave(frames[stacked, which, np.newaxis], out[row, which, np.newaxis])


def _interleave(frames: Iterable[np.ndarray], out: np.ndarray):
    """Makes S arrays [B, ...] one [B, ..., S], many numbers at a time as numpy does not."""
    import cv2  # Only those who stack frames need it.

    cv2.merge([_as_image(frame) for frame in frames], _as_image(out, out.shape[-1]))


def _as_image(x: np.ndarray, num_channels: int = 1) -> np.ndarray:
    """Shows OpenCV the same memory, [B, ...] or [B, ..., S], as [B, pixels, channels]."""
    image = x.view(_NUMBERS[x.itemsize])
    image.shape = (len(x), -1, num_channels)  # Unlike reshape() it never makes a copy.
    return image
