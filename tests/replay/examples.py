"""Small unrolls by number, and servers for them."""

import contextlib
import tempfile
import time
from unittest import mock

import numpy as np
import reverb
import tensorflow as tf
import tree
from acme.specs import EnvironmentSpec
from dm_env import specs

from acme_impala import replay
from acme_impala.replay import reader
from acme_impala.types import Unroll, map_unroll

OBSERVATION_SPEC = {
    "pixels": specs.BoundedArray((2, 2), np.uint8, 0, 255, "pixels"),
    "vector": specs.Array((3,), np.float32, "vector"),
}
NUM_ACTIONS = 3


def environment_spec(observations=None, num_actions=NUM_ACTIONS):
    return EnvironmentSpec(
        observations=OBSERVATION_SPEC if observations is None else observations,
        actions=specs.DiscreteArray(num_actions),
        rewards=specs.Array((), np.float32),
        discounts=specs.BoundedArray((), np.float32, 0, 1),
    )


def numbered(unrolls_per_item=1):
    """The signature of unrolls of one step."""
    spec = environment_spec(specs.Array((), np.float32))
    return replay.unroll_signature(spec, (), 1, unrolls_per_item)


NUMBERED = numbered()


@contextlib.contextmanager
def stopped_readers():
    """Stops all readers that are made meanwhile, and waits until their samplers have noticed.

    A sampler whose server goes before it looks for that without a pause, and never ends.
    """
    readers, make = [], reader.ItemReader.__init__

    def remember(self, *args):
        readers.append(self)
        make(self, *args)

    try:
        with mock.patch.object(reader.ItemReader, "__init__", remember):
            yield
    finally:
        for one in readers:
            one.stop()
        if readers:
            time.sleep(1.5 * reader._SAMPLER_MILLISECONDS / 1000)


@contextlib.contextmanager
def serving(signature, capacity, *more_tables):
    """A server with a queue, and more tables if there are; gives a client of it.

    It takes five seconds to stop while a writer is open.
    """
    with tempfile.TemporaryDirectory() as directory:
        server = reverb.Server(
            [replay.make_queue(signature, capacity), *more_tables],
            port=None,
            checkpointer=reverb.checkpointers.DefaultCheckpointer(directory),
        )
        try:
            with stopped_readers():
                yield reverb.Client(f"localhost:{server.port}")
        finally:
            server.stop()


def random_item(signature, rng):
    def column(spec):
        values = (
            rng.integers(0, 2, spec.shape) if spec.dtype == tf.bool else 9 * rng.random(spec.shape)
        )
        return values.astype(spec.dtype.as_numpy_dtype)

    return tree.map_structure(column, signature)


class NumberedWriter:
    """Writes the unrolls 0, 1, 2, ... with their number as policy version."""

    def __init__(self, client, tables=(replay.QUEUE,), signature=NUMBERED):
        self._writer = client.trajectory_writer(num_keep_alive_refs=1)
        self._tables = tables
        self._signature = signature
        self.written = 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._writer.close()

    def write(self, count=1):
        """Writes so many items."""
        for _ in range(count):
            unroll = tree.map_structure(
                lambda spec: np.zeros(spec.shape, spec.dtype.as_numpy_dtype), self._signature
            )
            versions = self.written + np.arange(len(unroll.policy_version))
            self._writer.append(unroll._replace(policy_version=versions))
            for table in self._tables:
                self._writer.create_item(
                    table=table,
                    priority=1.0,
                    trajectory=tree.map_structure(lambda column: column[-1], self._writer.history),
                )
            self.written += len(versions)

    def flush(self, timeout_ms=None):
        self._writer.flush(0, timeout_ms=timeout_ms)


def table_info(client):
    return client.server_info()[replay.QUEUE]


def sample(client, count):
    """Samples so many unrolls from the queue, as numpy arrays; does not wait for ever for them."""
    unrolls = []
    deadline = time.monotonic() + 20
    while len(unrolls) < count:
        available = min(table_info(client).current_size, count - len(unrolls))
        assert available or time.monotonic() < deadline, f"got {len(unrolls)} of {count} unrolls"
        if available:
            samples = client.sample(
                replay.QUEUE, available, emit_timesteps=False, unpack_as_table_signature=True
            )
            for block in samples:
                unrolls += split(Unroll(*block.data))
    return unrolls


def split(block):
    """The unrolls of a block, one by one."""
    return [
        map_unroll(lambda x, k=k: x[:, k], lambda x, k=k: x[k], block)
        for k in range(len(block.policy_version))
    ]


def as_specs(nest):
    return tree.map_structure(lambda x: (tuple(x.shape), tf.as_dtype(x.dtype)), nest)
