import numpy as np
import tensorflow as tf

from acme_impala.networks import InstructionEncoder

from .examples import num_parameters


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def read_aloud(encoder, words):
    """The LSTM written out for one instruction without padding."""
    variables = {tuple(v.shape): v.numpy() for v in encoder.trainable_variables}
    embeddings, inputs = variables[(1000, 20)], variables[(20, 256)]
    recurrent, bias = variables[(64, 256)], variables[(256,)]
    h, c = np.zeros(64), np.zeros(64)
    for word in words:
        i, f, o, g = np.split(embeddings[word - 1] @ inputs + bias + h @ recurrent, 4)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h


def test_the_output_is_that_after_the_last_word():
    instructions = [[5, 1000, 1], [7], [3, 3, 3, 3, 9], [999, 2]]
    words = np.zeros([4, 5], np.int32)
    for row, instruction in zip(words, instructions, strict=True):
        row[: len(instruction)] = instruction
    encoder = InstructionEncoder(seed=1)
    output = encoder(words)
    for row, instruction in zip(output, instructions, strict=True):
        np.testing.assert_allclose(row, read_aloud(encoder, instruction), rtol=1e-4, atol=1e-6)


def test_an_empty_instruction_gives_zeros():
    np.testing.assert_array_equal(
        InstructionEncoder()(np.zeros([2, 3], np.int32)), np.zeros([2, 64])
    )


def test_more_padding_changes_nothing():
    encoder = InstructionEncoder()
    words = np.array([[4, 5], [6, 0]], np.int32)
    padded = np.pad(words, [(0, 0), (0, 3)])
    np.testing.assert_array_equal(encoder(words), encoder(padded))


def test_padding_gets_no_gradient():
    encoder = InstructionEncoder(hash_buckets=10)
    with tf.GradientTape() as tape:
        output = tf.reduce_sum(encoder(np.array([[4, 0, 0]], np.int32)))
    embeddings = next(v for v in encoder.trainable_variables if v.shape == [10, 20])
    gradient = tf.convert_to_tensor(tape.gradient(output, embeddings)).numpy()
    assert np.flatnonzero(np.abs(gradient).sum(axis=1)).tolist() == [3]


def test_the_sizes_are_the_papers():
    encoder = InstructionEncoder()
    encoder(np.ones([1, 2], np.int32))
    assert num_parameters(encoder) == 1000 * 20 + (20 + 64 + 1) * 4 * 64
