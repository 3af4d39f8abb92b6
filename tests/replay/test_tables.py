"""The queue's items are unrolls of the signature; it is bounded, in order, and samples once."""

import threading
import time

import numpy as np
import portpicker
import pytest
import reverb
import tensorflow as tf
from dm_env import specs

from acme_impala import networks, replay
from acme_impala.distributions import GaussianParameters
from acme_impala.frames import StackedFrames
from acme_impala.replay import tables
from acme_impala.types import OAR, Unroll

from .examples import (
    NUMBERED,
    NumberedWriter,
    as_specs,
    environment_spec,
    sample,
    serving,
    table_info,
)


def test_the_signature_is_the_unroll_of_the_contract():
    state = (tf.TensorSpec((8,), tf.float32), tf.TensorSpec((4,), tf.float32))
    signature = replay.unroll_signature(
        environment_spec(num_actions=5), state, unroll_length=7, unrolls_per_item=2
    )
    assert as_specs(signature) == Unroll(
        observation={
            "pixels": ((8, 2, 2, 2), tf.uint8),
            "vector": ((8, 2, 3), tf.float32),
        },
        action=((8, 2), tf.int32),
        behaviour_logits=((8, 2, 5), tf.float32),
        reward=((8, 2), tf.float32),
        discount=((8, 2), tf.float32),
        start_of_episode=((8, 2), tf.bool),
        initial_state=(((2, 8), tf.float32), ((2, 4), tf.float32)),
        policy_version=((2,), tf.int64),
    )


def test_stacked_frames_are_stored_one_by_one():
    frames = StackedFrames((5, 4, 3), np.uint8, 0, 255)
    signature = replay.unroll_signature(environment_spec(frames), (), 7, unrolls_per_item=2)
    assert as_specs(signature.observation) == ((2 + 8, 2, 5, 4), tf.uint8)


def test_an_observation_with_action_and_reward_has_rows_in_each_part():
    image = specs.BoundedArray((4, 4, 1), np.uint8, 0, 255)
    observations = OAR(image, specs.DiscreteArray(3), specs.Array((), np.float32))
    signature = replay.unroll_signature(environment_spec(observations), (), unroll_length=2)
    assert as_specs(signature.observation) == OAR(
        ((3, 1, 4, 4, 1), tf.uint8), ((3, 1), tf.int32), ((3, 1), tf.float32)
    )
    assert signature.initial_state == ()


@pytest.mark.parametrize(
    ("actions", "action", "logits"),
    [
        (
            specs.BoundedArray((2,), np.int64, 0, [1, 2]),
            ((2, 3, 2), tf.int32),
            (((2, 3, 2), tf.float32), ((2, 3, 3), tf.float32)),
        ),
        (
            specs.BoundedArray((2, 3), np.float64, -1, 1),
            ((2, 3, 6), tf.float32),
            GaussianParameters(((2, 3, 6), tf.float32), ((2, 3, 6), tf.float32)),
        ),
    ],
)
def test_the_signature_of_other_action_spaces(actions, action, logits):
    spec = environment_spec()._replace(actions=actions)
    signature = replay.unroll_signature(spec, (), 1, unrolls_per_item=3)
    assert as_specs(signature.action) == action
    assert as_specs(signature.behaviour_logits) == logits


def test_actions_without_bounds_are_refused():
    spec = environment_spec()._replace(actions=specs.Array((2,), np.float32))
    with pytest.raises(ValueError, match=r"has the action space Array\("):
        replay.unroll_signature(spec, (), 1)


def test_the_server_gives_the_signature_back():
    network = networks.make_network(
        environment_spec(specs.Array((4,), np.float32)), networks.NetworkConfig(core="lstm")
    )
    signature = replay.unroll_signature(
        environment_spec(), networks.state_spec(network), unroll_length=3
    )
    with serving(signature, capacity=1) as client:
        assert as_specs(
            Unroll(*tables.wait_for_tables(client)[replay.QUEUE].signature)
        ) == as_specs(signature)


def test_unrolls_come_out_once_and_in_the_order_they_went_in():
    with serving(NUMBERED, capacity=9) as client, NumberedWriter(client) as writer:
        writer.write(9)
        writer.flush()
        assert [int(unroll.policy_version) for unroll in sample(client, 9)] == list(range(9))
        assert table_info(client).current_size == 0


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_a_full_queue_blocks_and_overwrites_nothing(capacity):
    with serving(NUMBERED, capacity) as client, NumberedWriter(client) as writer:
        writer.write(capacity)
        writer.flush(timeout_ms=5000)  # There is room for all of them, and at once.
        writer.write(4)
        with pytest.raises(reverb.errors.DeadlineExceededError):
            writer.flush(timeout_ms=300)
        # One more may be on its way to a full queue: see `make_queue`.
        assert table_info(client).current_size <= capacity + 1
        versions = [int(unroll.policy_version) for unroll in sample(client, capacity + 4)]
        writer.flush(timeout_ms=5000)
        assert versions == list(range(capacity + 4))


def test_the_signature_is_waited_for_until_the_server_is_up(tmp_path):
    port = portpicker.pick_unused_port()
    servers = []

    def start():
        time.sleep(1.5)  # Longer than one attempt.
        checkpointer = reverb.checkpointers.DefaultCheckpointer(str(tmp_path))
        tables_ = [replay.make_queue(NUMBERED, 1)]
        servers.append(reverb.Server(tables_, port=port, checkpointer=checkpointer))

    thread = threading.Thread(target=start)
    thread.start()
    signature = tables.wait_for_tables(reverb.Client(f"localhost:{port}"))[replay.QUEUE].signature
    thread.join()
    assert as_specs(Unroll(*signature)) == as_specs(NUMBERED)
    servers[0].stop()


def test_the_wait_for_a_server_ends_when_it_should_stop():
    address = f"localhost:{portpicker.pick_unused_port()}"
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=address):
        tables.wait_for_tables(reverb.Client(address), should_stop=lambda: True)
    assert time.monotonic() - started < 5
