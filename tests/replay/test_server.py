"""A server that goes on from saved tables, or not."""

import functools
import logging
import pathlib

import numpy as np
import pytest
import reverb

from acme_impala import replay
from acme_impala.replay_config import ReplayConfig

from .examples import NUMBERED, NumberedWriter, serving

BATCH_SIZE = 4


def make_tables(signature=NUMBERED, **settings):
    config = ReplayConfig(fraction=0.5, **settings)
    return [
        replay.make_queue(signature, 20),
        replay.make_replay(signature, config, BATCH_SIZE),
    ]


def sizes(server):
    info = reverb.Client(f"localhost:{server.port}").server_info()
    return {name: table.current_size for name, table in info.items()}


@pytest.fixture
def saved(tmp_path):
    server = replay.start_server(make_tables, None, str(tmp_path / "a"))
    client = reverb.Client(f"localhost:{server.port}")
    with NumberedWriter(client, (replay.REPLAY, replay.QUEUE)) as writer:
        writer.write(7)
        writer.flush()
    replay.save_tables(client, tmp_path / "saved")
    server.stop()
    return str(tmp_path / "saved")


def test_what_was_saved_is_whole_and_is_read_by_an_iterator_that_is_not_tuned(saved, tuned):
    replay.check_saved(pathlib.Path(saved))
    assert tuned == [False]


def test_the_replay_table_is_filled_from_what_was_saved_and_the_queue_is_empty(saved, tmp_path):
    server = replay.start_server(make_tables, None, str(tmp_path / "b"), saved)
    assert sizes(server) == {replay.REPLAY: 7, replay.QUEUE: 0}
    samples = reverb.Client(f"localhost:{server.port}").sample(
        replay.REPLAY, 30, emit_timesteps=False, unpack_as_table_signature=True
    )
    versions = {int(np.squeeze(sample.data.policy_version)) for sample in samples}
    assert versions <= set(range(7))
    assert len(versions) > 1
    server.stop()


@pytest.mark.parametrize(
    "settings",
    [
        {"capacity": 5},
        {"sampler": "lifo"},
        {"remover": "lifo"},
        {"max_times_sampled": 3},
        {"samples_per_insert": 1.0},
        {"signature": NUMBERED._replace(initial_state=NUMBERED.policy_version)},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_tables_that_were_saved_with_other_settings_are_left_out(settings, saved, tmp_path, caplog):
    make = functools.partial(make_tables, **settings)
    with caplog.at_level(logging.WARNING):
        server = replay.start_server(make, None, str(tmp_path / "b"), saved)
    assert "saved with other settings" in caplog.text
    info = reverb.Client(f"localhost:{server.port}").server_info()[replay.REPLAY]
    assert info.current_size == 0
    assert info.max_size == settings.get("capacity", 10_000)
    server.stop()


def test_without_replay_nothing_that_was_saved_is_looked_at(saved, tmp_path):
    server = replay.start_server(lambda: make_tables()[:1], None, str(tmp_path / "b"), saved)
    assert sizes(server) == {replay.QUEUE: 0}
    server.stop()


def test_its_own_process_reaches_it_at_localhost_whatever_its_address():
    with serving(NUMBERED, 20) as client, NumberedWriter(client) as writer:
        port = client.server_address.split(":")[1]
        own = replay.in_this_process(reverb.Client(f"127.0.0.1:{port}"))
        assert own.server_address == f"localhost:{port}"
        writer.write(3)
        writer.flush()
        assert own.server_info()[replay.QUEUE].current_size == 3
