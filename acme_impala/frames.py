"""Stacked frames, which travel frame by frame and are stacked again where they are read."""

import numpy as np
from dm_env import specs


class StackedFrames(specs.BoundedArray):
    """The spec of an observation [..., S] that holds the newest S frames, the newest last.

    An environment promises by it that an observation is the one before without its oldest frame and
    with a new one, and that an episode's first frame fills the whole stack. Then an unroll is
    stored as [S-1 + T+1, B, ...]: the older frames of row 0, and each row's newest. It is stacked
    again, bit for bit, when it is read.
    """


def restack(frames: np.ndarray, start_of_episode: np.ndarray, out: np.ndarray):
    """Stacks the frames of unrolls as their environments did.

    Args:
        frames: [S-1 + T+1, B, ...] the older frames of row 0's stack, then each row's newest.
        start_of_episode: [T+1, B] bool; there the newest frame fills the stack.
        out: [T+1, B, ..., S], written to; each row [B, ..., S] in one piece of memory.

    Raises:
        AttributeError: a row of `out` lies apart in memory.
    """
    stack_size = out.shape[-1]
    older = stack_size - 1
    out[0] = np.moveaxis(frames[:stack_size], 0, -1)
    for row in range(1, len(out)):
        _push(out[row - 1], frames[older + row], start_of_episode[row], out[row])


def push(stack: np.ndarray, newest: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Returns the next stacks [B, ..., S]: without the oldest frame, and with the newest.

    Args:
        stack: [B, ..., S].
        newest: [B, ...].
        first: [B] bool: where an episode starts and the newest frame fills the stack.
    """
    out = np.empty(stack.shape, stack.dtype)
    _push(stack, newest, first, out)
    return out


def _push(stack: np.ndarray, newest: np.ndarray, first: np.ndarray, out: np.ndarray):
    # In memory the next stacks are these ones, moved on by one number, but for the newest frames:
    # one copy, which takes a fraction of the time that S - 1 numbers at a time do.
    flat = out.view()
    flat.shape = -1  # Unlike reshape() it never makes a copy to write into.
    flat[:-1] = stack.reshape(-1)[1:]
    out[..., -1] = newest
    starts = np.flatnonzero(first)
    out[starts] = newest[starts, ..., np.newaxis]
