"""Batches come in the order of writing, none is lost, and the wait for one can be ended."""

import contextlib
import signal
import socket
import threading
import time

import numpy as np
import pytest
import reverb
import tensorflow as tf

from acme_impala import replay
from acme_impala.replay import reader
from acme_impala.types import OAR, Unroll

from .examples import (
    NUMBERED,
    NumberedWriter,
    as_specs,
    environment_spec,
    serving,
    table_info,
)


def versions(batch):
    return batch.policy_version.numpy().tolist()


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_its_iterator_is_not_tuned(tuned):
    with serving(NUMBERED, 3) as client, NumberedWriter(client) as writer:
        writer.write(3)
        next(replay.UnrollDataset(client, 3))
    assert tuned == [False]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batches_hold_the_unrolls_in_the_order_of_writing(batch_size):
    with serving(NUMBERED, batch_size) as client, NumberedWriter(client) as writer:
        dataset = replay.UnrollDataset(client, batch_size)
        writing = in_thread(lambda: writer.write(10 * batch_size))
        for i in range(10):
            batch = next(dataset)
            assert versions(batch) == list(range(i * batch_size, (i + 1) * batch_size))
        writing.join()
        assert table_info(client).current_size == 0


def test_a_batch_has_the_unrolls_side_by_side_as_the_element_spec_says():
    state = (tf.TensorSpec((4,), tf.float32), tf.TensorSpec((), tf.float32))
    observations = OAR(*environment_spec()[:3])
    signature = replay.unroll_signature(environment_spec(observations), state, unroll_length=2)
    rng = np.random.default_rng(0)
    unrolls = [
        tf.nest.map_structure(
            lambda spec: (100 * rng.random(spec.shape)).astype(spec.dtype.as_numpy_dtype),
            signature,
        )
        for _ in range(3)
    ]
    with serving(signature, capacity=3) as client:
        writer = client.trajectory_writer(num_keep_alive_refs=1)
        for unroll in unrolls:
            writer.append(unroll)
            trajectory = tf.nest.map_structure(lambda column: column[-1], writer.history)
            writer.create_item(replay.QUEUE, 1.0, trajectory)
        writer.flush()
        writer.close()
        dataset = replay.UnrollDataset(client, batch_size=3)
        batch = next(dataset)

    # Blocks of one unroll: [T+1, 1, ...] each, and what belongs to an unroll as a whole [1, ...].
    headers = {"initial_state": (), "policy_version": ()}
    expected = tf.nest.map_structure(
        lambda *parts: np.concatenate(parts, axis=1), *(u._replace(**headers) for u in unrolls)
    )._replace(
        initial_state=tf.nest.map_structure(
            lambda *parts: np.concatenate(parts), *(u.initial_state for u in unrolls)
        ),
        policy_version=np.concatenate([u.policy_version for u in unrolls]),
    )
    for got, element_spec, value in zip(
        tf.nest.flatten(batch),
        tf.nest.flatten(dataset.element_spec),
        tf.nest.flatten(expected),
        strict=True,
    ):
        np.testing.assert_array_equal(got, value)
        assert element_spec.shape == value.shape
        assert element_spec.dtype == got.dtype == value.dtype
    assert Unroll._fields == type(batch)._fields
    assert as_specs(batch) == as_specs(expected)


def test_no_unroll_is_lost_when_a_batch_takes_longer_than_the_dataset_polls():
    with serving(NUMBERED, capacity=3) as client, NumberedWriter(client) as writer:
        dataset = replay.UnrollDataset(client, batch_size=3)

        def write():
            for pause in (0.0, 1.3, 0.0, 1.1, 0.2, 0.0):
                time.sleep(pause)
                writer.write()
                writer.flush()

        writing = in_thread(write)
        assert versions(next(dataset)) == [0, 1, 2]
        assert versions(next(dataset)) == [3, 4, 5]
        writing.join()


def test_no_unroll_is_lost_that_arrives_when_the_sampler_gives_up(monkeypatch):
    # Two in flight lose three in a hundred here.
    monkeypatch.setattr(reader, "_SAMPLER_MILLISECONDS", 30)
    rng, is_written = np.random.default_rng(0), threading.Event()
    with serving(NUMBERED, capacity=2) as client, NumberedWriter(client) as writer:
        dataset = replay.UnrollDataset(client, batch_size=1, should_stop=is_written.is_set)

        def write():
            for _ in range(100):
                writer.write()
                time.sleep(rng.uniform(0.028, 0.033))

        writing = in_thread(write)
        assert [versions(next(dataset)) for _ in range(100)] == [[i] for i in range(100)]
        writing.join()
        is_written.set()
        with pytest.raises(StopIteration):
            next(dataset)
        time.sleep(0.2)  # A sampler that is made without a server looks for it for half a minute.


@pytest.mark.parametrize("batch_size", [2, 8])
def test_no_more_than_the_next_batch_waits_outside_the_queue(batch_size):
    # What waits there grows stale, and actors do not wait for it.
    with serving(NUMBERED, capacity=50) as client, NumberedWriter(client) as writer:
        dataset = replay.UnrollDataset(client, batch_size)
        writer.write(50)
        writer.flush()
        next(dataset)
        time.sleep(0.3)
        waiting = 50 - table_info(client).current_size - batch_size
        assert batch_size <= waiting <= batch_size + 4  # A few are in flight.


def test_it_is_known_whether_a_batch_waits_for_the_learner():
    with serving(NUMBERED, 4) as client, NumberedWriter(client) as writer:
        dataset = replay.UnrollDataset(client, 2)
        assert dataset.wait_while_batch_waits(0)
        writer.write(3)
        next(dataset)  # The next one lacks an unroll.
        assert dataset.wait_while_batch_waits(0)
        writer.write(1)
        while dataset.wait_while_batch_waits(0):
            time.sleep(0.01)
        assert not dataset.wait_while_batch_waits(0.3)
        waited = []
        waiting = in_thread(lambda: waited.append(dataset.wait_while_batch_waits(60)))
        next(dataset)
        waiting.join()
        assert waited == [True]
        writer.write(2)  # That nobody will take.
        while dataset.wait_while_batch_waits(0):
            time.sleep(0.01)
        waiting = in_thread(lambda: waited.append(dataset.wait_while_batch_waits(60)))
        dataset.close()
        waiting.join()
        assert waited == [True, True]


def test_waiting_ends_with_stop_iteration_when_it_should_stop():
    stop = threading.Event()
    with serving(NUMBERED, capacity=4) as client, NumberedWriter(client) as writer:
        dataset = replay.UnrollDataset(client, batch_size=2, should_stop=stop.is_set)
        writer.write(3)
        assert versions(next(dataset)) == [0, 1]
        timer = threading.Timer(0.5, stop.set)
        timer.start()
        started = time.monotonic()
        with pytest.raises(StopIteration):
            next(dataset)
        assert 0.4 < time.monotonic() - started < 10.0
        with pytest.raises(StopIteration):  # It has ended for good.
            next(dataset)


def test_an_interrupt_of_the_wait_gets_through_and_ends_the_iteration():
    class InterruptError(Exception):
        pass

    def interrupt(*_):
        raise InterruptError

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with serving(NUMBERED, capacity=1) as client:
            dataset = replay.UnrollDataset(client, batch_size=1)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(InterruptError):
                next(dataset)
            # Nothing waits in C++ any more: Python could not exit before it came back.
            started = time.monotonic()
            with pytest.raises(StopIteration):
                next(dataset)
            assert time.monotonic() - started < 10.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_the_wait_for_a_server_that_went_away_ends_when_it_should_stop(monkeypatch):
    # `serving` would stop it before its server.
    monkeypatch.setattr(reader.ItemReader, "stop", lambda self: None)
    with serving(NUMBERED, capacity=1) as client:
        dataset = replay.UnrollDataset(client, batch_size=1, should_stop=lambda: True)
    started = time.monotonic()
    with pytest.raises(StopIteration):
        next(dataset)
    assert time.monotonic() - started < 10.0


def test_a_server_that_is_never_up_is_given_up_when_it_should_stop():
    with serving(NUMBERED, capacity=1) as client:
        pass
    with pytest.raises(ConnectionError):
        replay.UnrollDataset(client, batch_size=1, should_stop=lambda: True)


class Wire:
    """A connection to a server that can lose what the server says, and break."""

    def __init__(self, client):
        self._server = client.server_address.rsplit(":", 1)
        self._listener = socket.create_server(("localhost", 0))
        self._sockets = []
        self.loses_answers = False
        self.client = reverb.Client(f"localhost:{self._listener.getsockname()[1]}")
        in_thread(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()

    def cut(self):
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.loses_answers = False

    def _accept(self):
        with contextlib.suppress(OSError), self._listener:
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._server)
                self._sockets += [here, there]
                in_thread(lambda here=here, there=there: self._pass_on(here, there))
                in_thread(lambda here=here, there=there: self._pass_on(there, here, True))

    def _pass_on(self, source, target, are_answers=False):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if not (are_answers and self.loses_answers):
                    target.sendall(data)


def test_what_a_writer_sends_again_after_its_connection_broke_is_taken_once():
    with (
        serving(NUMBERED, capacity=3) as client,
        Wire(client) as wire,
        NumberedWriter(wire.client) as writer,
    ):
        dataset = replay.UnrollDataset(client, batch_size=1)
        writer.write()
        writer.flush()
        assert versions(next(dataset)) == [0]
        wire.loses_answers = True
        writer.write()
        assert versions(next(dataset)) == [1]
        wire.cut()
        writer.flush()
        writer.write()
        assert versions(next(dataset)) == [2]
        assert dataset.drain(lambda: True, seconds=60) == 0
        # Three, and the one that was sent again.
        assert table_info(client).rate_limiter_info.sample_stats.completed == 4
