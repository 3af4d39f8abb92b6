import collections

import numpy as np
import pytest
from dm_env import specs

from acme_impala.networks.observations import ObservationReader

from .examples import IMAGE, INSTRUCTION, REWARD, oar, sample


def test_a_uint8_image_is_scaled_once():
    image = sample(IMAGE, [3])
    inputs = ObservationReader(IMAGE)(image)
    assert inputs.image.dtype == np.float32
    np.testing.assert_allclose(inputs.image, image / 255, rtol=1e-6)
    assert inputs.vector is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64, bool])
def test_other_images_are_only_cast(dtype):
    spec = specs.Array((2, 3, 4), dtype)
    image = sample(spec, [3])
    np.testing.assert_array_equal(ObservationReader(spec)(image).image, image.astype(np.float32))


def test_images_are_put_together_along_their_channels():
    spec = {"b": IMAGE, "a": IMAGE.replace(shape=(36, 36, 1))}
    image = sample(spec, [2])
    reader = ObservationReader(spec)
    assert reader.image_shape == (36, 36, 3)
    expected = np.concatenate([image["a"], image["b"]], axis=-1) / 255
    np.testing.assert_allclose(reader(image).image, expected, rtol=1e-6)


def test_a_discrete_observation_is_one_hot():
    spec = specs.DiscreteArray(4)
    np.testing.assert_array_equal(
        ObservationReader(spec)(np.array([2, 0], np.int32)).vector, [[0, 0, 1, 0], [1, 0, 0, 0]]
    )


def test_vectors_are_flattened_in_the_order_of_the_tree():
    spec = {
        "d": (specs.Array((), np.float64), specs.BoundedArray((2, 2), np.uint8, 0, 255)),
        "c": {"z": specs.Array((2,), bool), "y": specs.DiscreteArray(2)},
    }
    observation = {
        "c": {"y": np.array([1]), "z": np.array([[True, False]])},
        "d": (np.array([0.5]), np.array([[[7, 8], [9, 255]]], np.uint8)),
    }
    inputs = ObservationReader(spec)(observation)
    np.testing.assert_array_equal(inputs.vector, [[0, 1, 1, 0, 0.5, 7, 8, 9, 255]])
    assert inputs.image is None


@pytest.mark.parametrize("fields", ["ours", "another class"])
def test_an_oars_last_action_is_one_hot_and_its_last_reward_clipped(fields):
    spec = oar({"x": specs.Array((1,), np.float32)})
    make = type(spec) if fields == "ours" else collections.namedtuple("OAR", spec._fields)
    observation = make(
        {"x": np.ones([3, 1], np.float32)}, np.array([2, 0, 1]), np.array([-7, 0.25, 3.0])
    )
    inputs = ObservationReader(spec)(observation)
    np.testing.assert_array_equal(
        inputs.last_action_and_reward, [[0, 0, 1, -1], [1, 0, 0, 0.25], [0, 1, 0, 1]]
    )
    np.testing.assert_array_equal(inputs.vector, np.ones([3, 1]))


def test_an_instruction_is_neither_image_nor_vector():
    words = sample(INSTRUCTION, [2])
    inputs = ObservationReader({"INSTR": INSTRUCTION})({"INSTR": words})
    np.testing.assert_array_equal(inputs.instruction, words)
    assert inputs.image is None
    assert inputs.vector is None


def test_an_observation_of_another_structure_is_refused():
    reader = ObservationReader({"a": REWARD, "b": REWARD})
    with pytest.raises(ValueError, match="structure"):
        reader({"a": np.zeros(2), "c": np.zeros(2)})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "nothing to observe"),
        (oar(REWARD)._replace(action=REWARD), r"has the action space Array"),
        ((IMAGE, IMAGE.replace(shape=(8, 8, 3))), "one height and width"),
        ({"INSTR": specs.StringArray(())}, "must hold words as int32"),
        ({"INSTR": INSTRUCTION.replace(dtype=np.int64)}, "must hold words as int32"),
        ({"a": {"INSTR": INSTRUCTION}, "INSTR": INSTRUCTION}, "got several"),
        ({"name": specs.StringArray(())}, "name.*takes bool, whole"),
    ],
)
def test_what_cannot_be_read_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        ObservationReader(spec)
