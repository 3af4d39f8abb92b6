"""Direct calls of a graph give what TensorFlow's own calls give."""

import gc
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf

from acme_impala.direct_call import DirectCall


def trace(function, *inputs):
    return tf.function(function).get_concrete_function(*[tf.constant(x) for x in inputs])


def test_outputs_are_those_of_tensorflows_own_call():
    weights = tf.Variable(np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32))
    image = np.arange(12, dtype=np.uint8).reshape(4, 3)
    state = tf.ones((4, 2))

    def step(image, first, state):
        state = tf.where(first[:, tf.newaxis], tf.zeros_like(state), state)
        return [tf.cast(image, tf.float32) @ weights + state, tf.cast(image, tf.int32), state]

    first = np.array([True, False, False, True])
    own = trace(step, image, first, state)
    call = DirectCall(own)
    for _ in range(2):  # The weights are read at each call.
        expected = own(tf.constant(image), tf.constant(first), state)
        found = call([image, first, state])
        assert len(found) == 3
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
        weights.assign_add(tf.ones_like(weights))


def test_an_array_is_read_before_the_call_returns():
    call = DirectCall(trace(lambda x: [x + 1.0], np.zeros(5, np.float32)))
    x = np.zeros(5, np.float32)
    (found,) = call([x])
    x[:] = 7.0
    np.testing.assert_array_equal(found.numpy(), np.ones(5))


def test_it_keeps_the_function_and_its_variables():
    def make():
        variable = tf.Variable(3.0)
        return DirectCall(trace(lambda x: [x * variable], 1.0))

    call = make()
    gc.collect()
    assert call([np.float32(2.0)])[0].numpy() == 6.0


def test_threads_call_at_the_same_time():
    call = DirectCall(trace(lambda x: [tf.reduce_sum(x @ x)], np.ones((64, 64), np.float32)))

    def total(value):
        return call([np.full((64, 64), value, np.float32)])[0].numpy()

    with futures.ThreadPoolExecutor(4) as pool:
        totals = list(pool.map(total, range(200)))
    np.testing.assert_allclose(totals, [64**3 * value**2 for value in range(200)])


@pytest.mark.parametrize(
    "inputs",
    [
        [np.zeros(3, np.float64)],  # Another dtype.
        [np.zeros(3, np.float32)] * 2,  # One too many.
        [np.zeros(4, np.float32)],  # Another shape, which an operation refuses.
    ],
)
def test_what_does_not_fit_is_an_error_of_tensorflows(inputs):
    call = DirectCall(trace(lambda x: [x + tf.ones(3)], np.zeros(3, np.float32)))
    with pytest.raises(tf.errors.OpError):
        call(inputs)
