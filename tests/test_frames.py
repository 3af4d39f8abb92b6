"""Stacks of frames, pushed and put together again, against a stack kept one by one."""

import copy
import pickle

import cv2
import numpy as np
import pytest
from dm_env import specs
from hypothesis import given
from hypothesis import strategies as st

from acme_impala import frames


def stacks_one_by_one(older, newest, starts, dtype):
    """[T+1, B, ..., S] from the older frames of row 0 and each row's newest."""
    rows, batch = starts.shape
    out = np.zeros((rows, batch, *newest.shape[2:], len(older) + 1), dtype)
    for b in range(batch):
        stack = [*older[:, b], newest[0, b]]
        for t in range(rows):
            if t:
                stack = [*stack[1:], newest[t, b]]
                if starts[t, b]:
                    stack = [newest[t, b]] * len(stack)
            out[t, b] = np.stack(stack, axis=-1)
    return out


@given(
    size=st.integers(1, 6),
    dtype=st.sampled_from([bool, np.uint8, np.int16, np.float32, np.int64]),
    rows=st.integers(2, 9),
    batch=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_frames_are_stacked_again_as_they_were(size, dtype, rows, batch, seed):
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, 256, (size - 1 + rows, batch, 3, 2)).astype(dtype)
    starts = rng.random((rows, batch)) < 0.3
    expected = stacks_one_by_one(stored[: size - 1], stored[size - 1 :], starts, dtype)
    out = np.empty_like(expected)
    frames.restack(stored, starts, out)
    np.testing.assert_array_equal(out, expected)

    stack = frames.FrameStack(expected.shape[1:], dtype)
    newest = np.empty((batch, 3, 2), dtype)
    for t in range(1 - size, rows):  # The older frames of row 0 are no rows.
        first = starts[t] if t > 0 else np.zeros(batch, bool)
        stacked = stack.push(stored[size - 1 + t].copy(), first)
        if t >= 0:
            np.testing.assert_array_equal(stacked, expected[t])
            frames.take_newest(stacked, newest)
            np.testing.assert_array_equal(newest, stored[size - 1 + t])


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_a_spec_stays_one_of_stacked_frames_wherever_it_goes(copied):
    spec = frames.StackedFrames((3, 2, 4), np.uint8, 0, 255, "frames")
    other = copied(spec)
    assert type(other) is frames.StackedFrames
    assert other == spec
    assert other.name == "frames"


def test_a_spec_of_stacked_frames_is_not_one_that_promises_less():
    sizes = (3, 2, 4), np.uint8, 0, 255
    stacked, other = frames.StackedFrames(*sizes), specs.BoundedArray(*sizes)
    assert stacked == frames.StackedFrames(*sizes)
    assert stacked != other
    assert other != stacked
    assert "StackedFrames" in repr(stacked)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_of_a_batch_are_stacked_into_their_places(parts):
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (3 + 5, 4, 3, 2), dtype=np.uint8)
    starts = rng.random((5, 4)) < 0.3
    whole, out = np.empty((2, 5, 4, 3, 2, 4), np.uint8)
    frames.restack(stored, starts, whole)
    for part in np.split(np.arange(4), parts):
        columns = slice(part[0], part[-1] + 1)
        frames.restack(stored[:, columns], starts[:, columns], out[:, columns])
    np.testing.assert_array_equal(out, whole)


def apart(shape, axis):
    """An array of zeros of this shape whose elements along an axis lie apart in memory."""
    memory = np.zeros([2 * n if i == axis else n for i, n in enumerate(shape)], np.uint8)
    out = memory[
        tuple(slice(None, None, 2) if i == axis else slice(None) for i in range(len(shape)))
    ]
    assert out.shape == shape
    return out


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_stacks_may_lie_apart_from_each_other(axis):
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (3 + 5, 4, 3, 2), dtype=np.uint8)
    starts = rng.random((5, 4)) < 0.3
    out = apart((5, 4, 3, 2, 4), axis)
    frames.restack(stored, starts, out)
    expected = stacks_one_by_one(stored[:3], stored[3:], starts, np.uint8)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_stacks_that_lie_apart_in_memory_are_refused_and_not_written_into_a_copy(axis):
    stored, starts = np.zeros((3 + 5, 4, 3, 2), np.uint8), np.zeros((5, 4), bool)
    out = apart((5, 4, 3, 2, 4), axis)
    with pytest.raises((AttributeError, cv2.error), match=r"shape|Layout"):
        frames.restack(stored, starts, out)


def test_the_newest_frames_are_taken_whatever_lies_where_in_memory():
    frames_first = np.random.default_rng(0).integers(0, 256, (4, 2, 3, 5), dtype=np.uint8)
    newest = np.empty((2, 3, 5), np.uint8)
    frames.take_newest(np.moveaxis(frames_first, 0, -1), newest)
    np.testing.assert_array_equal(newest, frames_first[-1])
