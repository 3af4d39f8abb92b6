import numpy as np
import pytest
from dm_env import specs

from acme_impala.networks import AtariTorso, DeepTorso, Encoder, MLPTorso, ShallowTorso

from .examples import IMAGE, INSTRUCTION, VECTOR, num_parameters, oar, sample


def test_vectors_stand_beside_the_images_features():
    spec = {"image": IMAGE, "vector": VECTOR}
    observation = sample(spec, [2])
    torso = ShallowTorso()
    features = Encoder(spec, torso)(observation)
    image_features = torso((observation["image"] / 255).astype(np.float32))
    np.testing.assert_allclose(features[:, :256], image_features, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(features[:, 256:], observation["vector"])


def test_an_mlp_takes_images_and_vectors():
    spec = {"image": IMAGE, "vector": VECTOR}
    observation = sample(spec, [2])
    torso = MLPTorso([8])
    features = Encoder(spec, torso)(observation)
    expected = torso((observation["image"] / 255).astype(np.float32), observation["vector"])
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_an_oar_goes_past_the_torso():
    spec = oar(VECTOR)
    observation = sample(spec, [2])
    torso = MLPTorso([8])
    features = Encoder(spec, torso)(observation)
    assert features.shape == [2, 8 + 3 + 1]
    np.testing.assert_array_equal(features[:, :8], torso(observation.observation))
    np.testing.assert_array_equal(features[:, 8:11], np.eye(3)[observation.action])
    np.testing.assert_array_equal(features[:, 11], np.clip(observation.reward, -1, 1))


def test_an_instruction_alone_is_enough_for_an_mlp():
    spec = {"INSTR": INSTRUCTION}
    encoder = Encoder(spec, MLPTorso())
    assert encoder(sample(spec, [2])).shape == [2, 64]
    assert num_parameters(encoder) == 41_760


@pytest.mark.parametrize("torso", [ShallowTorso, DeepTorso, AtariTorso])
def test_an_image_torso_needs_an_image(torso):
    with pytest.raises(ValueError, match=r"Torso needs an image.*Use the torso 'mlp'"):
        Encoder(VECTOR, torso())


@pytest.mark.parametrize(("torso", "size"), [(ShallowTorso, 20), (AtariTorso, 36)])
def test_an_image_too_small_is_refused(torso, size):
    with pytest.raises(ValueError, match=f"at least {size}x{size}.*is {size - 1}x40"):
        Encoder(IMAGE.replace(shape=(size - 1, 40, 3)), torso())


def test_words_beyond_the_embeddings_are_refused():
    spec = {"INSTR": specs.BoundedArray((4,), np.int32, 0, 1001)}
    with pytest.raises(ValueError, match=r"up to 1001.*1 to 1000"):
        Encoder(spec, MLPTorso())
