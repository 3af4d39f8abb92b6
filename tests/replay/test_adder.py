"""The adder's items against rows listed one by one, whatever the lengths of the episodes."""

import contextlib
import itertools
import threading
import time
from typing import Any, NamedTuple

import dm_env
import numpy as np
import pytest
import tensorflow as tf
import tree
from hypothesis import given, settings
from hypothesis import strategies as st

from acme_impala import replay
from acme_impala.replay.adder import ActingExtras

from .examples import NUM_ACTIONS, environment_spec, sample, serving, table_info

STATE_SPEC = (tf.TensorSpec((2,), tf.float32), tf.TensorSpec((), tf.float32))
EVERYTHING = 10_000


class Row(NamedTuple):
    """One observation and what was done at it; an action of None: it led nowhere."""

    observation: Any
    start: bool
    action: int | None = None
    logits: Any = None
    reward: float = 0.0
    discount: float = 0.0
    state: Any = None
    version: int | None = None


class Episode(NamedTuple):
    length: int
    truncated: bool = False


def signature(unroll_length):
    return replay.unroll_signature(environment_spec(), STATE_SPEC, unroll_length)


@contextlib.contextmanager
def adding(unroll_length, capacity=EVERYTHING, **arguments):
    """An adder and the client of its queue."""
    with serving(signature(unroll_length), capacity) as client:
        adder = replay.UnrollAdder(client, **arguments)
        try:
            yield adder, client
        finally:
            adder.close()  # Else the server waits for it.


def make_observation(number):
    return {
        "pixels": np.full((2, 2), number % 251, np.uint8),
        "vector": np.array([number, number + 0.25, -number], np.float32),
    }


class Player:
    """Plays scripted episodes as an actor does, and lists the rows beside the adder."""

    def __init__(self, adder, seed=0):
        self._adder = adder
        self._rng = np.random.default_rng(seed)
        self.rows: list[Row] = []
        self.begins: list[bool] = []  # For each action: did an unroll begin with it?
        self._version = 0
        self._buffer = make_observation(0)  # An environment may use one array for ever.

    def _observe(self, start):
        observation = make_observation(len(self.rows))
        self.rows.append(Row(observation, start))
        for buffer, value in zip(
            tree.flatten(self._buffer), tree.flatten(observation), strict=True
        ):
            buffer[...] = value
        return self._buffer

    def begin(self):
        self._adder.add_first(dm_env.restart(self._observe(start=True)))

    def act(self, step_type=dm_env.StepType.MID, discount=1.0):
        row = len(self.rows) - 1
        self.begins.append(self._adder.unroll_begins)
        if self._adder.unroll_begins:
            self._version += 1  # An actor takes new weights.
        action = np.int32(self._rng.integers(NUM_ACTIONS))
        logits = self._rng.normal(size=NUM_ACTIONS).astype(np.float32)
        state = (np.array([row, -row], np.float32), np.float32(row))
        reward = np.float32(self._rng.normal())
        self.rows[row] = self.rows[row]._replace(
            action=action,
            logits=logits.copy(),
            reward=reward,
            discount=discount,
            state=tree.map_structure(np.copy, state),
            version=self._version,
        )
        timestep = dm_env.TimeStep(
            step_type, reward, np.float32(discount), self._observe(start=False)
        )
        self._adder.add(action, timestep, ActingExtras(logits, state, self._version))
        logits[...] = np.nan  # What was added is the adder's own.
        state[0][...] = np.nan

    def play(self, episode):
        self.begin()
        for _ in range(episode.length - 1):
            self.act()
        self.act(dm_env.StepType.LAST, discount=float(episode.truncated))


def expected_unrolls(rows, unroll_length):
    """Rows 0 .. T, T .. 2T, ...: every T+1 of which the last is complete."""
    # The last row's action, or the episode after it, is still to come.
    complete = len(rows) - 1
    return [
        rows[first : first + unroll_length + 1]
        for first in range(0, complete - unroll_length, unroll_length)
    ]


def assert_unroll(unroll, rows):
    zeros = np.zeros(NUM_ACTIONS, np.float32)
    for t, row in enumerate(rows):
        led_nowhere = row.action is None
        tree.map_structure(
            lambda got, expected, t=t: np.testing.assert_array_equal(got[t], expected),
            unroll.observation,
            row.observation,
        )
        assert unroll.start_of_episode[t] == row.start
        assert unroll.action[t] == (0 if led_nowhere else row.action)
        np.testing.assert_array_equal(
            unroll.behaviour_logits[t], zeros if led_nowhere else row.logits
        )
        assert unroll.reward[t] == row.reward
        assert unroll.discount[t] == row.discount
    if rows[0].action is not None:  # Else the state is reset before it is used.
        tree.map_structure(np.testing.assert_array_equal, unroll.initial_state, rows[0].state)
    learned_from = [row for row in rows[:-1] if row.action is not None]
    if learned_from:
        assert {row.version for row in learned_from} == {int(unroll.policy_version)}


def assert_begins(player, unroll_length):
    """Each unroll begins once: with the first action in its rows 0 .. T-1."""
    expected, seen = [], set()
    for index, row in enumerate(player.rows):
        if row.action is not None:
            expected.append(index // unroll_length not in seen)
            seen.add(index // unroll_length)
    assert player.begins == expected


def play_and_compare(unroll_length, episodes, seed=0):
    with adding(unroll_length) as (adder, client):
        player = Player(adder, seed)
        for episode in episodes:
            player.play(episode)
        adder.flush()
        expected = expected_unrolls(player.rows, unroll_length)
        assert adder.unrolls_written == len(expected)
        assert table_info(client).current_size == len(expected)
        unrolls = sample(client, len(expected))
    for unroll, rows in zip(unrolls, expected, strict=True):
        assert_unroll(unroll, rows)
    for before, after in itertools.pairwise(unrolls):
        for name in ("observation", "action", "reward", "discount", "start_of_episode"):
            tree.map_structure(
                lambda last, first: np.testing.assert_array_equal(last[-1], first[0]),
                getattr(before, name),
                getattr(after, name),
            )
    assert_begins(player, unroll_length)


@settings(max_examples=60)
@given(
    unroll_length=st.sampled_from([1, 2, 3, 5, 20]),
    episodes=st.lists(
        st.builds(Episode, st.one_of(st.integers(1, 4), st.integers(1, 45)), st.booleans()),
        min_size=1,
        max_size=10,
    ),
    seed=st.integers(0, 1000),
)
def test_every_unroll_holds_the_rows_of_a_list_written_one_by_one(unroll_length, episodes, seed):
    play_and_compare(unroll_length, episodes, seed)


@pytest.mark.parametrize("unroll_length", [1, 2, 3, 5])
@pytest.mark.parametrize("difference", [-2, -1, 0, 1])
def test_rows_where_episodes_end_at_or_near_the_end_of_an_unroll(unroll_length, difference):
    # An episode of length T - 1 fills an unroll with its last observation's row.
    length = max(1, unroll_length + difference)
    play_and_compare(unroll_length, [Episode(length, i % 2 == 0) for i in range(8)])


def test_an_unroll_written_out_by_hand():
    with adding(unroll_length=3) as (adder, client):
        player = Player(adder)
        player.play(Episode(2, truncated=True))
        player.play(Episode(1))
        player.play(Episode(1))
        player.begin()
        adder.flush()
        first, second = sample(client, 2)
    numbers = [first.observation["vector"][:, 0], second.observation["vector"][:, 0]]
    np.testing.assert_array_equal(numbers, [[0, 1, 2, 3], [3, 4, 5, 6]])
    np.testing.assert_array_equal(first.start_of_episode, [True, False, False, True])
    np.testing.assert_array_equal(second.start_of_episode, [True, False, True, False])
    # 1 before a truncation's last observation, 0 before a termination's, 0 at either of them.
    np.testing.assert_array_equal(first.discount, [1, 1, 0, 0])
    np.testing.assert_array_equal(second.discount, [0, 0, 0, 0])
    rewards = [row.reward for row in player.rows]
    np.testing.assert_array_equal(first.reward, [*rewards[:2], 0, rewards[3]])
    assert (first.policy_version, second.policy_version) == (1, 2)


def test_an_episode_that_is_begun_anew_before_its_end_counts_as_truncated():
    with adding(unroll_length=2) as (adder, client):
        player = Player(adder)
        player.begin()
        player.act()
        player.begin()
        player.act()
        player.act()
        player.act()
        adder.flush()
        (unroll, _) = sample(client, 2)
    assert_unroll(unroll, player.rows[:3])
    np.testing.assert_array_equal(unroll.start_of_episode, [True, False, True])
    np.testing.assert_array_equal(unroll.discount, [1, 0, 1])


@pytest.mark.parametrize("unroll_length", [1, 2, 5])
def test_an_episode_that_is_begun_again_and_again_does_no_harm(unroll_length):
    with adding(unroll_length) as (adder, client):
        player = Player(adder)
        for _ in range(4):
            player.begin()
        player.act()
        for _ in range(13):
            player.begin()
        for _ in range(10):
            player.act()
        adder.flush()
        expected = expected_unrolls(player.rows, unroll_length)
        unrolls = sample(client, len(expected))
    for unroll, rows in zip(unrolls, expected, strict=True):
        assert_unroll(unroll, rows)


def test_reset_forgets_the_rows_that_are_not_written():
    with adding(unroll_length=3) as (adder, client):
        player = Player(adder)
        player.play(Episode(5))
        assert (adder.steps_acted, adder.steps_in_hand) == (5, 2)
        adder.reset()
        assert adder.unroll_begins
        adder.flush()
        assert (adder.steps_in_hand, adder.steps_dropped_restart) == (0, 2)
        assert adder._writer.steps_confirmed == 3
        player.rows.clear()
        player.play(Episode(4, truncated=True))
        adder.flush()
        _, unroll = sample(client, 2)
    assert_unroll(unroll, player.rows[:4])


def play_on(player, stop=lambda: False, count=100):
    """One long episode."""
    player.begin()
    for _ in range(count):
        player.act()
        if stop():
            return


def test_a_flush_into_a_full_queue_waits_until_something_is_sampled():
    with adding(unroll_length=1, capacity=1) as (adder, client):
        player = Player(adder)
        # One item more than capacity is let in: see `make_queue`.
        play_on(player, stop=lambda: adder.unrolls_written == 2)
        adder.flush()
        player.act()
        flushing = threading.Thread(target=adder.flush)
        flushing.start()
        flushing.join(timeout=1.0)  # Several of its polls.
        assert flushing.is_alive()
        unrolls = sample(client, 1)
        flushing.join(timeout=5.0)
        assert not flushing.is_alive()
        unrolls += sample(client, 2)
    # Nothing is lost, and nothing comes twice.
    for unroll, rows in zip(unrolls, expected_unrolls(player.rows, 1), strict=True):
        assert_unroll(unroll, rows)


def test_every_unroll_comes_through_a_full_queue_once_and_in_order():
    unrolls = []
    with adding(unroll_length=2, capacity=1) as (adder, client):
        player = Player(adder)

        def act():
            for length in (1, 3, 2, 5, 1, 1, 4) * 4:
                player.play(Episode(length, length % 2 == 0))
                adder.flush()

        acting = threading.Thread(target=act)
        acting.start()
        count = (17 + 7) * 4 // 2 - 1
        for _ in range(count):
            unrolls += sample(client, 1)
        acting.join()
        assert adder.unrolls_written == count
        assert table_info(client).current_size == 0
    for unroll, rows in zip(unrolls, expected_unrolls(player.rows, 2), strict=True):
        assert_unroll(unroll, rows)


def test_the_wait_for_room_ends_when_it_should_stop():
    with adding(unroll_length=1, capacity=1, should_stop=lambda: True) as (adder, _):
        play_on(Player(adder), count=6)
        started = time.monotonic()
        adder.flush()
        assert time.monotonic() - started < 10.0


EXTRAS = ActingExtras(
    np.zeros(NUM_ACTIONS, np.float32), (np.zeros(2, np.float32), np.float32(0)), 0
)


def transition(observation=None, reward=0.0, discount=1.0):
    observation = make_observation(1) if observation is None else observation
    return dm_env.TimeStep(dm_env.StepType.MID, reward, discount, observation)


@pytest.mark.parametrize("name", ["reward", "discount"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e40, None, np.zeros(2)])
def test_a_reward_or_discount_that_is_no_finite_number_is_named(name, value):
    with adding(unroll_length=2, environment_name="Maze in actor 3") as (adder, _):
        player = Player(adder)
        player.play(Episode(2))
        player.begin()
        player.act()
        with pytest.raises(ValueError, match="one finite number") as error:
            adder.add(0, transition(**{name: value}), EXTRAS)
    assert str(error.value).startswith("Maze in actor 3, episode 2, step 2: the " + name)
    assert str(value) in str(error.value)


BAD_OBSERVATIONS = {
    "shape": (
        {**make_observation(0), "vector": np.zeros(4, np.float32)},
        r"shape \(4,\).*spec says \(3,\) and float32",
    ),
    "dtype": (
        {**make_observation(0), "vector": np.zeros(3, np.float64)},
        r"dtype float64.*spec says \(3,\) and float32",
    ),
    "a part too few": ({"vector": np.zeros(3, np.float32)}, r"structure .*spec says .*pixels"),
    "a part of another name": (
        {"pixel": np.zeros((2, 2), np.uint8), "vector": np.zeros(3, np.float32)},
        r"structure .*'pixel'.*spec says .*'pixels'",
    ),
    "no parts": (np.zeros(3, np.float32), "structure .*spec says .*pixels"),
    "no dictionary": (
        (np.zeros((2, 2), np.uint8), np.zeros(3, np.float32)),
        "structure .*spec says .*pixels",
    ),
}


@pytest.mark.parametrize("what", BAD_OBSERVATIONS)
def test_an_observation_that_does_not_fit_is_named_with_what_is_expected(what):
    observation, expected = BAD_OBSERVATIONS[what]
    expected = f".*observation.*{expected}"
    with adding(unroll_length=2, environment_name="Maze") as (adder, _):
        player = Player(adder)
        with pytest.raises(ValueError, match=f"^Maze, episode 1, step 0: {expected}"):
            adder.add_first(dm_env.restart(observation))
    with adding(unroll_length=2, environment_name="Maze") as (adder, _):
        player = Player(adder)
        player.play(Episode(3))
        player.begin()
        with pytest.raises(ValueError, match=f"^Maze, episode 2, step 1: {expected}"):
            adder.add(0, transition(observation), EXTRAS)


@pytest.mark.parametrize(
    ("action", "extras", "message"),
    [
        (0.5, EXTRAS, r"action .*float64.*int32"),
        (np.zeros(1, np.int32), EXTRAS, r"action .*\(1,\).*\(\) and int32"),
        (0, EXTRAS._replace(behaviour_logits=np.zeros(4, np.float32)), r"logits .*\(4,\).*\(3,\)"),
    ],
)
def test_an_action_or_logits_that_do_not_fit_are_named(action, extras, message):
    with adding(unroll_length=2, environment_name="Maze") as (adder, _):
        Player(adder).begin()
        with pytest.raises(ValueError, match="^Maze, episode 1, step 1: the " + message):
            adder.add(action, transition(), extras)


@pytest.mark.parametrize("action", [1, np.int32(1), np.int64(1), np.array(1, np.uint8)])
def test_actions_of_any_whole_number_are_taken(action):
    with adding(unroll_length=1) as (adder, client):
        Player(adder).begin()
        adder.add(action, transition(), EXTRAS)
        adder.add(action, transition(), EXTRAS)
        adder.flush()
        (unroll,) = sample(client, 1)
    np.testing.assert_array_equal(unroll.action, np.array([1, 1], np.int32))
    assert unroll.action.dtype == np.int32


def test_a_recurrent_state_that_does_not_fit_is_named():
    with adding(unroll_length=1) as (adder, _):
        Player(adder).begin()
        extras = EXTRAS._replace(state=(np.zeros(2, np.float32),))
        adder.add(0, transition(), extras)
        with pytest.raises(ValueError, match="recurrent state"):
            adder.add(0, transition(), extras)


def test_a_step_before_the_first_observation_is_an_error():
    with (
        adding(unroll_length=1, environment_name="Maze") as (adder, _),
        pytest.raises(ValueError, match=r"^Maze, episode 0, step 0: add\(\) before add_first\(\)"),
    ):
        adder.add(0, transition(), EXTRAS)


def test_an_environment_that_restarts_in_step_needs_an_observe_first():
    with adding(unroll_length=1) as (adder, _):
        player = Player(adder)
        player.play(Episode(2))
        with pytest.raises(ValueError, match="reward is None"):
            adder.add(0, dm_env.restart(make_observation(0)), EXTRAS)
