import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from acme_impala.networks import FeedForwardCore, LSTMCore
from acme_impala.networks.cores import reset_state

CORE = LSTMCore(size=4, seed=2)
FEATURES = np.random.default_rng(0).normal(size=[5, 3, 6]).astype(np.float32)
STATE = tuple(np.random.default_rng(1).normal(size=[2, 3, 4]).astype(np.float32))


@settings(max_examples=30)
@given(arrays(bool, [5, 3]))
def test_an_unroll_is_its_steps_with_a_fresh_state_where_an_episode_starts(start_of_episode):
    outputs, final_state = CORE.unroll(FEATURES, STATE, start_of_episode)
    for b in range(3):
        state = tuple(x[b : b + 1] for x in STATE)
        for t in range(5):
            if start_of_episode[t, b]:
                state = CORE.initial_state(1)
            output, state = CORE.step(FEATURES[t, b : b + 1], state)
            np.testing.assert_allclose(outputs[t, b], output[0], rtol=1e-5, atol=1e-6)
        for x, y in zip(final_state, state, strict=True):
            np.testing.assert_allclose(x[b], y[0], rtol=1e-5, atol=1e-6)


def test_nothing_passes_a_reset_not_even_what_is_not_finite():
    state = (np.full([3, 4], np.nan, np.float32), np.full([3, 4], np.inf, np.float32))
    outputs, _ = CORE.unroll(FEATURES, state, np.arange(5)[:, np.newaxis] == np.zeros([1, 3]))
    assert np.isfinite(outputs).all()


@given(st.integers(0, 4))
@settings(max_examples=5)
def test_no_gradient_passes_a_reset(row):
    features = tf.constant(FEATURES)
    start_of_episode = np.zeros([5, 3], bool)
    start_of_episode[row] = True
    with tf.GradientTape() as tape:
        tape.watch(features)
        outputs, _ = CORE.unroll(features, STATE, start_of_episode)
        last = tf.reduce_sum(outputs[4])
    reached = np.abs(tape.gradient(last, features)).sum(axis=(1, 2)) > 0
    np.testing.assert_array_equal(reached, np.arange(5) >= row)


def test_an_lstm_starts_from_zeros():
    for x in CORE.initial_state(2):
        np.testing.assert_array_equal(x, np.zeros([2, 4]))


def test_a_feed_forward_core_has_no_state():
    core = FeedForwardCore()
    assert core.initial_state(3) == ()
    features, state = core.step(FEATURES[0], ())
    assert np.array_equal(features, FEATURES[0])
    assert state == ()
    features, state = core.unroll(FEATURES, (), np.ones([5, 3], bool))
    assert features is FEATURES
    assert state == ()


@pytest.mark.parametrize("start_of_episode", list(itertools.product([False, True], repeat=2)))
def test_a_state_of_any_nest_is_reset_by_row(start_of_episode):
    initial = {"a": (np.zeros([2]), np.zeros([2, 3, 4]))}
    state = {"a": (np.ones([2]), np.ones([2, 3, 4]))}
    vector, tensor = reset_state(tf.constant(start_of_episode), initial, state)["a"]
    kept = 1.0 - np.array(start_of_episode)
    np.testing.assert_array_equal(vector, kept)
    np.testing.assert_array_equal(tensor, np.ones([2, 3, 4]) * kept[:, None, None])
