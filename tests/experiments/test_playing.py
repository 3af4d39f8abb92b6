"""Playing: episodes, games with lives, evaluations, and summaries for the logs."""

import time

import acme
import dm_env
import numpy as np
import pytest

from acme_impala.environments import Catch, EnvironmentList, MemoryChain
from acme_impala.experiments import playing
from acme_impala.experiments.playing import Episode


class Constant(acme.Actor):
    """Takes one action for ever, and keeps what it was told."""

    def __init__(self, action):
        self.action = np.int32(action)
        self.told = []

    def select_action(self, observation):
        return self.action

    def observe_first(self, timestep):
        self.told.append(timestep)

    def observe(self, action, next_timestep):
        assert action == self.action
        self.told.append(next_timestep)

    def update(self, wait=False):
        pass


class Lives(dm_env.Environment):
    """Three lives a game; life number n lasts n steps and every step pays n."""

    def __init__(self):
        self._life = 0
        self._steps = 0
        self._ended = False

    @property
    def game_over(self):
        return self._life == 3

    def reset(self):
        self._life = self._life % 3 + 1
        self._steps = 0
        self._ended = False
        return dm_env.restart(np.zeros(1, np.float32))

    def step(self, action):
        if self._ended:
            return self.reset()
        self._steps += 1
        observation = np.zeros(1, np.float32)
        if self._steps == self._life:
            self._ended = True
            return dm_env.termination(float(self._life), observation)
        return dm_env.transition(float(self._life), observation)

    def observation_spec(self):
        return dm_env.specs.Array((1,), np.float32)

    def action_spec(self):
        return dm_env.specs.DiscreteArray(2)


def take(iterator, number):
    return [next(iterator) for _ in range(number)]


def test_play_yields_after_every_agent_step():
    steps = take(playing.play(Catch(rows=4, seed=0), Constant(1)), 9)
    assert [episode is not None for episode in steps] == 3 * [False, False, True]
    for episode in steps[2::3]:
        assert episode.length == 3
        assert episode.episode_return in (-1.0, 1.0)
        assert episode.score == episode.episode_return


def test_the_actor_is_told_all_that_happens():
    actor = Constant(1)
    take(playing.play(Catch(rows=4, seed=0), actor), 7)
    first, last = [t.first() for t in actor.told], [t.last() for t in actor.told]
    assert first == [True, False, False, False] * 2 + [True, False]
    assert last == [False, False, False, True] * 2 + [False, False]


def test_the_score_is_the_sum_over_the_lives_of_a_game():
    steps = take(playing.play(Lives(), Constant(0)), 12)
    episodes = [episode for episode in steps if episode]
    assert [e.episode_return for e in episodes] == [1.0, 4.0, 9.0, 1.0, 4.0, 9.0]
    assert [e.length for e in episodes] == [1, 2, 3, 1, 2, 3]
    assert [e.score for e in episodes] == [None, None, 14.0, None, None, 14.0]


def constant_policy(observation, first):
    return np.zeros(len(first), np.int32), None


def test_an_evaluation_counts_games_and_not_lives():
    batch = EnvironmentList([Lives()])
    steps = list(playing.evaluate(batch, constant_policy, num_episodes=2))
    assert len(steps) == 12 + 5  # With the steps that restart.
    episodes = [episode for ended in steps for episode in ended]
    assert [e.score for e in episodes] == [None, None, 14.0, None, None, 14.0]


@pytest.mark.parametrize("num_episodes", [2, 3, 5, 7])
def test_every_environment_plays_its_share_of_an_evaluation(num_episodes):
    """The first to end would be the short ones: here those of two steps."""
    batch = EnvironmentList([MemoryChain(length=2), MemoryChain(length=9)])
    steps = playing.evaluate(batch, constant_policy, num_episodes)
    lengths = [episode.length for ended in steps for episode in ended]
    assert sorted(lengths) == sorted(([2, 9] * num_episodes)[:num_episodes])


@pytest.mark.parametrize("make", [Lives, lambda: Catch(rows=4, seed=0)], ids=["lives", "catch"])
def test_episodes_of_a_batch_are_those_of_its_environments(make):
    batch, tracker = EnvironmentList([make(), make()]), playing.EpisodeTracker(2)
    episodes = tracker.add(batch.reset(), batch.game_over)
    for _ in range(20):
        episodes += tracker.add(batch.step(np.ones(2, np.int32)), batch.game_over)
    alone = [episode for episode in take(playing.play(make(), Constant(1)), 16) if episode]
    assert len(alone) >= 5
    for i in range(2):
        assert [episode for number, episode in episodes if number == i][:5] == alone[:5]


def test_a_summary_has_mean_spread_and_length():
    summary = playing.summarize([Episode(1.0, 10, 1.0), Episode(3.0, 20, 3.0)])
    assert summary == {
        "episodes": 2,
        "episode_return": 2.0,
        "episode_return_std": 1.0,
        "episode_return_min": 1.0,
        "episode_return_max": 3.0,
        "episode_length": 15.0,
        "score": 2.0,
    }


def test_the_score_of_no_whole_game_is_not_a_number():
    summary = playing.summarize([Episode(1.0, 10, None), Episode(3.0, 20, None)])
    assert np.isnan(summary["score"])
    assert playing.summarize([Episode(1.0, 10, None), Episode(3.0, 20, 4.0)])["score"] == 4.0


def test_a_window_gives_one_summary_of_all_episodes_since_the_last():
    window = playing.EpisodeWindow(0.2)
    assert window.add(1, []) is None
    assert window.add(1, [Episode(1.0, 2, 1.0)]) is None  # Not due yet.
    time.sleep(0.25)
    assert window.add(1, []) is None  # Due, but only an episode's end gives a summary.
    summary = window.add(1, [Episode(3.0, 2, 3.0)])
    assert summary["episodes"] == 2
    assert summary["episode_return"] == 2.0
    assert 0 < summary["steps_per_second"] <= 4 / 0.25
    assert window.add(1, [Episode(5.0, 1, 5.0)]) is None  # Starts anew.
    time.sleep(0.25)
    assert window.add(1, [Episode(7.0, 1, 7.0)])["episode_return"] == 6.0


def test_a_window_may_go_by_another_clock_than_time():
    now = 0
    window = playing.EpisodeWindow(10, clock=lambda: now)
    summaries = []
    for now in range(1, 31):
        summaries.append(window.add(1, [Episode(float(now), 1, float(now))]))
    assert [s["episodes"] for s in summaries if s] == [10, 10, 10]


def test_what_a_window_has_gathered_can_be_taken_before_it_is_due():
    window = playing.EpisodeWindow(1000.0)
    assert window.take() is None
    window.add(1, [Episode(1.0, 2, 1.0)])
    window.add(1, [Episode(3.0, 2, 3.0)])
    assert window.take()["episode_return"] == 2.0
    assert window.take() is None


def test_a_window_of_no_length_gives_every_episode():
    window = playing.EpisodeWindow(0.0)
    for value in (1.0, 2.0):
        assert window.add(1, [Episode(value, 1, value)])["episode_return"] == value


def test_a_suite_is_summed_up_by_task_and_as_the_paper_does_it():
    summary = playing.summarize_tasks(
        {
            "atari:pong": [Episode(14.6, 10, 14.6), Episode(14.6, 10, 14.6)],  # A human's.
            "atari:breakout": [Episode(1.7, 10, 1.7), Episode(1.7, 10, 1.7)],  # At random.
        }
    )
    assert summary["episodes"] == 4
    assert summary["episode_return"] == pytest.approx((14.6 + 1.7) / 2)
    assert summary["score/atari:pong"] == pytest.approx(14.6)
    assert summary["human_normalized_mean"] == pytest.approx(50.0)
    assert summary["human_normalized_mean_capped"] == pytest.approx(50.0)
    assert "score/catch" not in playing.summarize_tasks({"catch": [Episode(1.0, 9, 1.0)]})
