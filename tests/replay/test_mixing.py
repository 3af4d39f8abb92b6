"""Mixed batches: exactly so many fresh and so many replayed, whatever the settings."""

import contextlib
import random
import threading
import time

import numpy as np
import pytest

from acme_impala import IMPALAConfig, replay
from acme_impala.replay_config import PRIORITIES, SELECTORS, ReplayConfig

from .examples import NUMBERED, NumberedWriter, numbered, serving

BOTH = (replay.REPLAY, replay.QUEUE)


@contextlib.contextmanager
def mixing(config, batch_size, queue_capacity=None, unrolls_per_item=1):
    """Gives a dataset, a client and a function that starts a thread that writes for ever.

    The thread leaves off in the middle when the context ends, as an actor does.
    """
    signature = numbered(unrolls_per_item)
    table = replay.make_replay(signature, config, batch_size)
    stop = threading.Event()
    with serving(signature, queue_capacity or batch_size, table) as client:
        dataset = replay.MixedDataset(client, batch_size, config)

        def write():
            with NumberedWriter(client, BOTH, signature) as writer:
                while not stop.is_set():
                    writer.write()
                    while not stop.is_set():
                        try:
                            writer.flush(timeout_ms=100)
                            break
                        except Exception:
                            continue

        thread = threading.Thread(target=write)
        try:
            yield dataset, client, thread.start
        finally:
            stop.set()
            dataset.close(seconds=3.0)
            if thread.ident:
                thread.join()


def versions(batch):
    return np.asarray(batch.unroll.policy_version)


@pytest.mark.parametrize(
    ("fraction", "batch_size", "unrolls_per_item"),
    [(0.5, 4, 1), (0.3, 7, 1), (0.9, 7, 1), (0.5, 8, 4), (0.25, 8, 2), (0.75, 4, 1)],
)
def test_of_every_batch_the_fraction_is_replayed_and_no_fresh_unroll_is_lost(
    fraction, batch_size, unrolls_per_item
):
    fresh = []
    config = ReplayConfig(fraction=fraction, capacity=50)
    with mixing(config, batch_size, unrolls_per_item=unrolls_per_item) as (dataset, _, start):
        start()
        for number in range(150):
            batch = next(dataset)
            assert batch.replayed.shape == batch.keys.shape == batch.times_sampled.shape
            assert versions(batch).shape == (batch_size,)
            assert batch.replayed.sum() == dataset._config.num_replayed(number, batch_size)
            assert batch.times_sampled[batch.replayed].all()
            assert not batch.times_sampled[~batch.replayed].any()
            fresh += versions(batch)[~batch.replayed].tolist()
            # What is replayed was written, at the most a queue's length after what was learned.
            assert versions(batch)[batch.replayed].max(initial=0) <= fresh[-1] + 4 * batch_size
            assert len(fresh) == dataset.num_taken(number)
            # Unrolls of an item stay together.
            blocks = versions(batch).reshape(-1, unrolls_per_item)
            assert (blocks - blocks[:, :1] == np.arange(unrolls_per_item)).all()
    assert fresh == list(range(len(fresh)))
    assert abs(len(fresh) - 150 * batch_size * (1 - fraction)) < 1


def test_learning_starts_at_the_minimum_size_and_what_only_filled_the_table_is_counted():
    config = ReplayConfig(fraction=0.5, capacity=100, min_size=30)
    with mixing(config, batch_size=4) as (dataset, client, start):
        start()
        batch = next(dataset)
        assert versions(batch)[:2].tolist() == [28, 29]
        assert dataset.steps_dropped_filling == 28  # Unrolls of one step.
        assert dataset.num_taken(0) == 30
        assert client.server_info()[replay.REPLAY].current_size >= 30
        assert versions(next(dataset))[:2].tolist() == [30, 31]
        assert dataset.steps_dropped_filling == 28


def test_whole_items_fill_the_table_and_the_first_batch():
    config = ReplayConfig(fraction=0.5, capacity=100, min_size=30)
    with mixing(config, batch_size=8, unrolls_per_item=4) as (dataset, client, start):
        start()
        assert versions(next(dataset))[:4].tolist() == [28, 29, 30, 31]
        assert dataset.steps_dropped_filling == 28
        assert dataset.num_taken(0) == 32
        assert client.server_info()[replay.REPLAY].max_size == 25


def test_items_that_do_not_fill_the_replayed_part_are_refused():
    config = ReplayConfig(fraction=0.5)
    table = replay.make_replay(numbered(4), config, 4)
    message = "Items of 4 unrolls do not fill the replayed part"
    with serving(numbered(4), 4, table) as client, pytest.raises(ValueError, match=message):
        replay.MixedDataset(client, 4, config)


def test_by_default_nothing_is_dropped_while_the_table_fills():
    with mixing(ReplayConfig(fraction=0.75, capacity=100), 8) as (dataset, _, start):
        start()
        assert versions(next(dataset))[:2].tolist() == [0, 1]
        assert dataset.steps_dropped_filling == 0


def test_what_is_left_is_counted_to_the_last_unroll():
    config = ReplayConfig(fraction=0.5, capacity=100)
    table = replay.make_replay(NUMBERED, config, 4)
    with serving(NUMBERED, 20, table) as client, NumberedWriter(client, BOTH) as writer:
        dataset = replay.MixedDataset(client, 4, config)
        writer.write(10)
        next(dataset), next(dataset)
        writer.write(7)
        ended = threading.Event()
        threading.Timer(0.3, lambda: (writer.write(2), writer.flush(), ended.set())).start()
        assert dataset.drain(ended.is_set, seconds=10) == 10 + 7 + 2 - 4
        with pytest.raises(StopIteration):
            next(dataset)


def test_draining_gives_up_on_actors_that_never_end():
    config = ReplayConfig(fraction=0.5, capacity=100)
    with mixing(config, 4) as (dataset, _, start):
        start()
        next(dataset)
        started = time.monotonic()
        assert dataset.drain(lambda: False, seconds=0.5) is None
        assert time.monotonic() - started < 10.0


def test_an_unroll_goes_when_it_was_replayed_as_often_as_it_may_be():
    config = ReplayConfig(fraction=0.5, capacity=50, max_times_sampled=1, sampler="fifo")
    replayed = []
    with mixing(config, 4) as (dataset, _, start):
        start()
        for _ in range(100):
            batch = next(dataset)
            assert (batch.times_sampled[batch.replayed] == 1).all()
            replayed += versions(batch)[batch.replayed].tolist()
    assert replayed == list(range(200))  # Each once, the oldest first.


def test_priorities_decide_what_is_replayed():
    config = ReplayConfig(fraction=0.5, sampler="prioritized", priority_exponent=1.0)
    table = replay.make_replay(NUMBERED, config, 2)
    with serving(NUMBERED, 50, table) as client, NumberedWriter(client, BOTH) as writer:
        writer.write(10)
        writer.flush()
        dataset = replay.MixedDataset(client, 2, config)
        keys = {}
        while len(keys) < 5:
            batch = next(dataset)
            keys[int(versions(batch)[1])] = batch.keys[1]
            writer.write()
        favourite = min(keys)
        priorities = replay.PriorityWriter(client)
        others = np.array([key for version, key in keys.items() if version != favourite], np.uint64)
        priorities.update(others, np.zeros(len(others)))  # Not never, but a thousand times rarer.
        favourites = np.array([keys[favourite]], np.uint64)
        priorities.update(favourites, np.array([1e6]))
        for not_finite in (np.nan, np.inf):
            priorities.update(favourites, np.array([not_finite]))
        time.sleep(0.3)
        next(dataset), writer.write()  # Was sampled before.
        next(dataset), writer.write()
        drawn = []
        for _ in range(10):
            drawn.append(int(versions(next(dataset))[1]))
            writer.write()
        assert drawn.count(favourite) >= 9
        dataset.close()


def draw(rng):
    """Draws settings, of which many cannot work."""
    fraction = rng.choice([0.1, 0.25, 0.5, 0.75, 0.9])
    ratio = fraction / (1 - fraction)
    return {
        "fraction": fraction,
        "capacity": rng.choice([4, 8, 16, 100]),
        "min_size": rng.choice([None, None, 1, 10, 60]),
        "sampler": rng.choice(SELECTORS),
        "remover": rng.choice(SELECTORS),
        "priority_exponent": rng.choice([0.0, 0.6, 2.0]),
        "priority": rng.choice(PRIORITIES),
        "max_times_sampled": rng.choice([None, None, 1, 3, 9]),
        "samples_per_insert": rng.choice([None, None, ratio, ratio, 1.0]),
        "error_buffer": rng.choice([None, None, None, 5.0, 200.0]),
    }


def test_any_combination_runs_and_runs_or_is_refused_at_once():
    rng = random.Random(4)
    refused = ran = 0
    while ran < 4:
        fields, batch_size = draw(rng), rng.choice([1, 2, 3, 4, 8])
        try:
            config = ReplayConfig(**fields)
            IMPALAConfig(batch_size=batch_size, replay=config)
        except ValueError:
            refused += 1
            continue
        num_fresh = config.most_fresh(batch_size)
        per_item = config.unrolls_per_item(batch_size, batch_size)
        with mixing(config, batch_size, num_fresh, per_item) as (dataset, client, start):
            start()
            priorities = replay.PriorityWriter(client)
            # Until table and rate limiter have been full twice, or nearly so.
            unrolls_in_all = 2 * (config.capacity + (config.error_buffer or 0))
            for number in range(1000):
                batch = next(dataset)
                assert batch.replayed.sum() == config.num_replayed(number, batch_size)
                priorities.update(
                    batch.keys[batch.replayed],
                    np.full(batch.replayed.sum(), rng.random()),
                )
                if dataset.num_taken(number) >= unrolls_in_all:
                    break
        ran += 1
    assert refused > ran
