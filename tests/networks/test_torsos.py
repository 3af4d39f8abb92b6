import numpy as np
import pytest
import tensorflow as tf

from acme_impala.networks import AtariTorso, DeepTorso, MLPTorso, ShallowTorso

from .examples import num_parameters


def convolution(inputs, outputs, kernel):
    return kernel * kernel * inputs * outputs + outputs


def kernels(torso):
    return [v for v in torso.trainable_variables if len(v.shape) == 4]


@pytest.mark.parametrize(("torso", "features"), [(ShallowTorso, 256), (AtariTorso, 512)])
def test_of_the_smallest_image_one_pixel_is_left(torso, features):
    def left_of(height):
        for layer in torso()._layers:
            height = (height - layer.kernel_size[0]) // layer.strides[0] + 1
        return height

    smallest = torso.minimum_image_size
    assert left_of(smallest) == 1
    assert left_of(smallest - 1) == 0
    assert torso()(tf.zeros([2, smallest, smallest, 1])).shape == [2, features]


def test_the_deep_torso_takes_an_image_of_one_pixel():
    assert DeepTorso()(tf.zeros([2, 1, 1, 1])).shape == [2, 256]


def test_the_shallow_torso_has_the_papers_layers():
    torso = ShallowTorso()
    torso(tf.zeros([1, 72, 96, 3]))
    expected = convolution(3, 16, 8) + convolution(16, 32, 4) + 7 * 10 * 32 * 256 + 256
    assert num_parameters(torso) == expected


def test_the_atari_torso_has_the_layers_of_mnih_et_al():
    torso = AtariTorso()
    torso(tf.zeros([1, 84, 84, 4]))
    convolutions = convolution(4, 32, 8) + convolution(32, 64, 4) + convolution(64, 64, 3)
    assert num_parameters(torso) == convolutions + 7 * 7 * 64 * 512 + 512


def test_the_deep_torso_has_15_convolutions_of_3x3():
    torso = DeepTorso()
    torso(tf.zeros([1, 72, 96, 3]))
    assert len(kernels(torso)) == 15
    assert sorted(tuple(k.shape) for k in kernels(torso)) == sorted(
        [(3, 3, 3, 16), (3, 3, 16, 32), (3, 3, 32, 32)]
        + 4 * [(3, 3, 16, 16)]
        + 8 * [(3, 3, 32, 32)]
    )
    # Three poolings by 2 take 72x96 to 9x12.
    convolutions = sum(convolution(k.shape[2], k.shape[3], 3) for k in kernels(torso))
    assert num_parameters(torso) == convolutions + 9 * 12 * 32 * 256 + 256


def test_a_residual_block_adds_to_what_passes_by():
    torso = DeepTorso()
    image = np.random.default_rng(0).normal(size=[1, 8, 8, 3]).astype(np.float32)
    torso(image)
    for block in torso._sections[0]._blocks:
        for convolution_layer in block:
            convolution_layer.kernel.assign(tf.zeros_like(convolution_layer.kernel))
    section = torso._sections[0]
    pooled = tf.nn.max_pool2d(section._conv(image), 3, 2, "SAME")
    np.testing.assert_array_equal(section(image), pooled)


def test_the_mlp_flattens_and_concatenates_its_inputs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=[2, 3, 4, 1]), rng.normal(size=[2, 5])
    a, b = a.astype(np.float32), b.astype(np.float32)
    torso = MLPTorso([7], "tanh")
    features = torso(tf.constant(a), tf.constant(b))
    kernel = next(v for v in torso.trainable_variables if len(v.shape) == 2)
    assert kernel.shape == [17, 7]
    flat = np.concatenate([a.reshape(2, 12), b], axis=1)
    np.testing.assert_allclose(features, np.tanh(flat @ kernel.numpy()), rtol=1e-5)


@pytest.mark.parametrize("torso", [MLPTorso, ShallowTorso, DeepTorso, AtariTorso])
def test_no_two_layers_start_from_the_same_weights(torso):
    torso = torso()
    torso(tf.zeros([1, 36, 36, 1]))
    weights = [v.numpy().ravel() for v in torso.trainable_variables if "kernel" in v.name]
    # Of one seed, the weights would differ by a factor.
    starts = {tuple(np.round(w[:4] / w[0], 3)) for w in weights}
    assert len(starts) == len(weights)
