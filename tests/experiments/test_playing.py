"""Playing: episodes, games with lives, evaluations, and summaries for the logs."""

import time

import acme
import dm_env
import numpy as np

from acme_impala.environments import Catch
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

    @property
    def game_over(self):
        return self._life == 3

    def reset(self):
        self._life = self._life % 3 + 1
        self._steps = 0
        return dm_env.restart(np.zeros(1, np.float32))

    def step(self, action):
        self._steps += 1
        observation = np.zeros(1, np.float32)
        if self._steps == self._life:
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


def test_an_evaluation_counts_games_and_not_lives():
    steps = list(playing.evaluate(Lives(), Constant(0), num_episodes=2))
    assert len(steps) == 12
    assert sum(e is not None and e.score is not None for e in steps) == 2
    assert steps[-1].score == 14.0


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
    assert window.add(None) is None
    assert window.add(Episode(1.0, 2, 1.0)) is None  # Not due yet.
    time.sleep(0.25)
    assert window.add(None) is None  # Due, but only an episode's end gives a summary.
    summary = window.add(Episode(3.0, 2, 3.0))
    assert summary["episodes"] == 2
    assert summary["episode_return"] == 2.0
    assert 0 < summary["steps_per_second"] <= 4 / 0.25
    assert window.add(Episode(5.0, 1, 5.0)) is None  # Starts anew.
    time.sleep(0.25)
    assert window.add(Episode(7.0, 1, 7.0))["episode_return"] == 6.0


def test_a_window_of_no_length_gives_every_episode():
    window = playing.EpisodeWindow(0.0)
    for value in (1.0, 2.0):
        assert window.add(Episode(value, 1, value))["episode_return"] == value
