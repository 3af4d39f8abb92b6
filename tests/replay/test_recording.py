"""A recording gives back, bit for bit, what was written; a broken one is refused by name."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
import tree
from dm_env import specs

from acme_impala import frames, replay, types
from acme_impala.replay.batches import BatchMaker, batch_spec

from .examples import OBSERVATION_SPEC, environment_spec, random_item

OBSERVATIONS = {
    "dict": OBSERVATION_SPEC,
    "unbounded": specs.BoundedArray((2,), np.float32, [-np.inf, 0.5], np.inf),
    "stacked frames": frames.StackedFrames((3, 2, 4), np.uint8, 0, 255),
    "action and reward": types.OAR(
        specs.Array((2,), np.float32), specs.DiscreteArray(3), specs.Array((), np.float32)
    ),
}
ACTIONS = {
    "discrete": specs.DiscreteArray(3),
    "choices": specs.BoundedArray((2,), np.int64, [0, 3], [1, 5]),
    "continuous": specs.BoundedArray((2,), np.float32, [-1.0, 0.0], 2.0),
}
STATE = (tf.TensorSpec((4,), tf.float32), tf.TensorSpec((), tf.float32))
B = 3


def write(directory, spec, signature, items):
    with replay.RecordingWriter(str(directory), spec, signature, 4, {"by": "a test"}) as writer:
        for item in items:
            writer.write(item)
    return writer


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("unrolls_per_item", [1, 2])
def test_what_is_read_is_what_was_written(name, unrolls_per_item, tmp_path, monkeypatch):
    monkeypatch.setattr("acme_impala.replay.recording._UNROLLS_PER_FILE", 5)
    rng = np.random.default_rng(0)
    spec = environment_spec(OBSERVATIONS[name])
    signature = replay.unroll_signature(spec, STATE, 2, unrolls_per_item)
    items = [random_item(signature, rng) for _ in range(12 // unrolls_per_item)]
    for number, item in enumerate(items):
        item.policy_version[:] = np.arange(unrolls_per_item) + number * unrolls_per_item
        item.action[0] = item.policy_version  # To know them by.
    writer = write(tmp_path / "r", spec, signature, items)

    recording = replay.Recording(str(tmp_path / "r"))
    steps = sum(int((~item.start_of_episode[1:]).sum()) for item in items)
    assert recording.description["frames"] == writer.frames == 4 * steps
    assert recording.description["unrolls"] == 12
    assert [file["unrolls"] for file in recording.description["files"]] == [5, 5, 2]
    assert recording.description["by"] == "a test"
    got, expected = (
        tree.map_structure(lambda part: re.sub("name=[^,)]*", "", repr(part)), observations)
        for observations in (recording.environment_spec.observations, spec.observations)
    )
    assert got == expected  # But for the names.
    assert recording.environment_spec.actions == spec.actions

    own_state = (tf.ones((B, 7)),)  # Another network's.
    dataset = replay.RecordedUnrolls(recording, B, own_state, seed=1, learner_steps=10)
    one = replay.unroll_signature(spec, STATE, 2)
    singles = [
        types.map_unroll(lambda x, k=k: x[:, k : k + 1], lambda x, k=k: x[k : k + 1], item)
        for item in items
        for k in range(unrolls_per_item)
    ]
    seen = []
    for number in range(8):  # Twice through.
        batch = next(dataset)
        which = batch.action.numpy()[0]
        seen += which.tolist()
        expected = BatchMaker(batch_spec(one, B))([singles[i] for i in which])._replace(
            initial_state=own_state,
            policy_version=tf.fill([B], tf.constant(10 + number, tf.int64)),
        )
        for got, value, element in zip(
            *map(tree.flatten, (batch, expected, dataset.element_spec)), strict=True
        ):
            np.testing.assert_array_equal(got, value)
            assert (got.dtype, got.shape) == (element.dtype, element.shape)
    assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(12))
    assert seen[:12] != list(range(12))


@pytest.mark.parametrize("name", ACTIONS)
def test_the_policies_and_actions_of_every_action_space_are_recorded(name, tmp_path, tuned):
    spec = environment_spec()._replace(actions=ACTIONS[name])
    signature = replay.unroll_signature(spec, (), 2, unrolls_per_item=B)
    item = random_item(signature, np.random.default_rng(0))
    item.policy_version[:] = np.arange(B)
    item.reward[0] = item.policy_version  # To know them by.
    write(tmp_path / "r", spec, signature, [item])
    recording = replay.Recording(str(tmp_path / "r"))
    assert recording.environment_spec.actions == spec.actions
    batch = next(replay.RecordedUnrolls(recording, B, ()))
    assert tuned == [False]
    order = batch.reward.numpy()[0].astype(int)
    tree.map_structure(
        lambda got, written: np.testing.assert_array_equal(got, written[:, order]),
        (batch.action, batch.behaviour_logits),
        (item.action, item.behaviour_logits),
    )


@pytest.fixture
def recorded(tmp_path):
    spec = environment_spec()
    signature = replay.unroll_signature(spec, (), 2)
    rng = np.random.default_rng(0)
    write(tmp_path / "r", spec, signature, [random_item(signature, rng) for _ in range(6)])
    return tmp_path / "r"


def test_an_exception_leaves_no_recording(tmp_path):
    spec = environment_spec()
    signature = replay.unroll_signature(spec, (), 2)
    item = random_item(signature, np.random.default_rng(0))

    def break_off():
        with replay.RecordingWriter(str(tmp_path / "r"), spec, signature, 1, {}) as writer:
            writer.write(item)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    with pytest.raises(ValueError, match=r"holds no recording: there is no recording.json"):
        replay.Recording(str(tmp_path / "r"))


def test_what_is_there_is_not_written_over(recorded):
    spec = environment_spec()
    with pytest.raises(ValueError, match="is not empty"):
        replay.RecordingWriter(str(recorded), spec, replay.unroll_signature(spec, (), 2), 1, {})


def test_a_file_that_is_cut_short_is_named(recorded):
    (shard,) = recorded.glob("*.gz")
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(ValueError, match=rf"{shard.name} is broken"):
        replay.Recording(str(recorded))
    shard.unlink()
    with pytest.raises(ValueError, match=rf"{shard.name} is broken.*None"):
        replay.Recording(str(recorded))


def test_bytes_that_changed_are_noticed(recorded):
    (shard,) = recorded.glob("*.gz")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    dataset = replay.RecordedUnrolls(replay.Recording(str(recorded)), 6, ())
    with pytest.raises(ValueError, match="broken"):
        next(dataset)


def test_an_unknown_format_and_too_few_unrolls_are_named(recorded):
    with pytest.raises(ValueError, match="holds 6 unrolls, less than batch_size=7"):
        replay.RecordedUnrolls(replay.Recording(str(recorded)), 7, ())
    path = recorded / "recording.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(ValueError, match="of format 99; this reads 2"):
        replay.Recording(str(recorded))


def test_no_more_is_shuffled_at_once_than_the_bytes_allow(recorded, monkeypatch):
    recording = replay.Recording(str(recorded))
    monkeypatch.setattr("acme_impala.replay.recording._SHUFFLED_BYTES", recording.bytes_per_unroll)
    in_order = replay.RecordedUnrolls(recording, 1, ())
    again = replay.RecordedUnrolls(recording, 1, (), seed=1)  # Of one, no seed draws another.
    for _ in range(recording.description["unrolls"]):
        tree.map_structure(np.testing.assert_array_equal, next(in_order), next(again))
