"""How many actors there are unless told, and how they hold their environments."""

import os
import pickle

import pytest

from acme_impala.environments import EnvironmentFactory, make_factory
from acme_impala.experiments import layout


@pytest.mark.parametrize(
    ("environment", "cores", "actors", "environments"),
    [
        ("atari:pong", 1, 1, 16),
        ("atari:pong", 2, 2, 16),
        ("atari:pong", 8, 8, 16),
        ("catch", 1, 1, 32),
        ("catch", 2, 1, 32),
        ("catch", 8, 4, 32),
    ],
)
def test_actors_fit_the_cores(environment, cores, actors, environments, monkeypatch):
    monkeypatch.setattr(layout, "num_cores", lambda: cores)
    found = layout.ActorLayout.make(EnvironmentFactory(environment), None, None)
    assert found.num_actors == actors
    assert found.environments_per_actor == environments
    assert found.batches_per_actor == 1


@pytest.mark.parametrize(
    ("environment", "actors", "size", "batches"),
    [
        ("atari:pong", 1, 32, 2),
        ("atari:pong", 2, 32, 2),
        ("atari:pong", 3, 32, 1),  # Of four cores no two are one actor's.
        ("atari:pong", 1, 33, 1),
        ("catch", 1, 32, 1),
    ],
)
def test_an_actor_with_two_cores_has_two_batches(environment, actors, size, batches, monkeypatch):
    monkeypatch.setattr(layout, "num_cores", lambda: 4)
    found = layout.ActorLayout.make(EnvironmentFactory(environment), actors, size)
    assert (found.num_actors, found.environments_per_actor) == (actors, size)
    assert found.batches_per_actor == batches
    assert found.environments_per_batch * batches == size


@pytest.mark.parametrize(
    ("environment", "allowed", "num_actors", "cores"),
    [
        ("atari:pong", {0, 1}, 2, [0, 1]),
        ("atari:pong", {3, 5, 4}, 3, [3, 4, 5]),  # Of those that the process may use.
        ("atari:pong", {0, 1}, 1, [None]),  # Others would idle.
        ("atari:pong", {0, 1}, 3, [None] * 3),  # One would have half of what others have.
        ("catch", {0, 1}, 2, [None] * 2),  # What waits for the queue leaves its core to others.
    ],
)
def test_each_of_as_many_actors_as_cores_has_its_own(
    environment, allowed, num_actors, cores, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)
    found = layout.ActorLayout.make(EnvironmentFactory(environment), num_actors, None)
    assert [found.core_of_actor(actor) for actor in range(num_actors)] == cores


@pytest.mark.parametrize(
    ("environment", "allowed", "num_actors", "size", "cores"),
    [
        ("atari:pong", {0, 1}, 1, 32, [[0, 1]]),
        ("atari:pong", {7, 2, 4, 3}, 2, 32, [[2, 3], [4, 7]]),  # Of those that the process may use.
        ("atari:pong", {0, 1}, 2, 16, [[None], [None]]),  # One batch each: the actors keep to one.
        ("atari:pong", {0, 1, 2, 3}, 1, 32, [[None, None]]),  # Two cores would idle.
        ("atari:pong", {0, 1, 2, 3, 4}, 2, 32, [[None, None]] * 2),
        ("atari:pong,atari:boxing", {0, 1}, 1, 32, [[None, None]]),  # One game may be slower.
        ("catch", {0, 1}, 1, 32, [[None]]),
    ],
)
def test_each_of_two_batches_has_a_core_where_there_is_one_for_each(
    environment, allowed, num_actors, size, cores, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)
    found = layout.ActorLayout.make(make_factory(environment), num_actors, size)
    assert [found.cores_of_batches(actor) for actor in range(num_actors)] == cores


def test_on_a_host_with_more_cores_actors_write_what_the_queue_expects(monkeypatch):
    monkeypatch.setattr(layout, "num_cores", lambda: 2)
    made = layout.ActorLayout.make(EnvironmentFactory("atari:pong"), 8, 16)
    monkeypatch.setattr(layout, "num_cores", lambda: 16)
    there = pickle.loads(pickle.dumps(made))
    assert there.unrolls_per_item(32) == made.unrolls_per_item(32) == 16
    assert there.batches_per_actor == 1
