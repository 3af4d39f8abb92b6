"""A batch is nobody else's memory while anything of it is held, and the next one's afterwards."""

import collections
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tree

from acme_impala import replay
from acme_impala.frames import StackedFrames
from acme_impala.replay.batches import BatchMaker, batch_spec

from .examples import environment_spec, random_item

OBSERVATIONS = {
    "stacked": StackedFrames((8, 8, 4), np.uint8, 0, 255),
    "apart": None,  # The examples' own, side by side.
}


@pytest.fixture(params=OBSERVATIONS)
def signature(request):
    spec = environment_spec(OBSERVATIONS[request.param])
    return replay.unroll_signature(spec, (), unroll_length=2, unrolls_per_item=2)


@pytest.fixture
def make(signature):
    return BatchMaker(batch_spec(signature, 4))


@pytest.fixture
def random_items(signature):
    rng = np.random.default_rng(0)
    return lambda: [random_item(signature, rng) for _ in range(2)]


@pytest.fixture
def make_random(make, random_items):
    return lambda: make(random_items())


def shared(tensor):
    """The tensor's own memory; `numpy()` would give a copy."""
    return np.asarray(memoryview(tensor))


def addresses(batch):
    return {shared(x).ctypes.data for x in tree.flatten(batch)}


def test_memory_is_used_again(make, random_items):
    batches = collections.deque(maxlen=2)  # As while one is learned from and the next one waits.
    allocated = []
    for _ in range(20):
        items = random_items()
        with mock.patch.object(np, "empty", wraps=np.empty) as empty:
            batches.append(make(items))
        allocated.append(empty.call_count)
    columns = len(addresses(batches[0]))
    assert allocated == [columns] * 3 + [0] * 17


@pytest.mark.parametrize(
    "hold",
    [
        lambda x: x,
        shared,
        lambda x: shared(x)[1:],
        tf.identity,
        tf.function(lambda x: tf.reshape(x, [-1])),
        lambda x: tf.data.Dataset.from_tensors(x),
    ],
    ids=["tensor", "array", "view", "identity", "graph", "dataset"],
)
def test_nothing_is_written_over_what_is_held(make_random, hold):
    def values(x):
        return np.array(next(iter(x)) if isinstance(x, tf.data.Dataset) else x)

    held = [hold(x) for _ in range(5) for x in tree.flatten(make_random())]
    before = list(map(values, held))
    for _ in range(20):
        make_random()
    for x, value in zip(held, before, strict=True):
        np.testing.assert_array_equal(values(x), value)
    assert len({value.tobytes() for value in before}) > 5  # They do differ.


def test_views_of_what_it_works_with_keep_their_memory(make, signature):
    spec = batch_spec(signature, 4).reward
    views = [make._array(spec)[1:, ::2].T for _ in range(5)]
    for number, view in enumerate(views):
        view[...] = number
    for number, view in enumerate(views):
        np.testing.assert_array_equal(view, number)


def test_batches_side_by_side_share_no_memory(make_random):
    batches = [make_random() for _ in range(5)]
    assert len(set().union(*map(addresses, batches))) == 5 * len(addresses(batches[0]))
