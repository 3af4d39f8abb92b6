"""An actor in its environment, step by step."""

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import acme
import dm_env
import numpy as np


class Episode(NamedTuple):
    """A finished episode."""

    episode_return: float  # Undiscounted, as the environment pays it.
    length: int  # In agent steps.
    score: float | None  # The return of the whole game if it ended too (Atari has lives), or None.


def play(environment: dm_env.Environment, actor: acme.Actor) -> Iterator[Episode | None]:
    """Acts for ever; yields after every agent step: the episode that it ended, or None.

    What acme.EnvironmentLoop does, but the caller decides after every step whether to go on: a
    program must stop within seconds, and an episode may take minutes or have no end.

    An environment with lives says by its attribute `game_over` whether the game ended with the
    episode; without the attribute every episode is a game.
    """
    score = 0.0
    while True:
        timestep = environment.reset()
        actor.observe_first(timestep)
        episode_return, length = 0.0, 0
        while not timestep.last():
            action = actor.select_action(timestep.observation)
            timestep = environment.step(action)
            actor.observe(action, timestep)
            actor.update()
            episode_return += float(timestep.reward)
            length += 1
            if not timestep.last():
                yield None
        score += episode_return
        if getattr(environment, "game_over", True):
            yield Episode(episode_return, length, score)
            score = 0.0
        else:
            yield Episode(episode_return, length, None)


def evaluate(
    environment: dm_env.Environment, actor: acme.Actor, num_episodes: int
) -> Iterator[Episode | None]:
    """Plays a number of games; yields after every step, like `play`."""
    games = 0
    for episode in play(environment, actor):
        games += episode is not None and episode.score is not None
        yield episode
        if games >= num_episodes:
            return


def summarize(episodes: list[Episode]) -> Mapping[str, float]:
    """Mean, spread and length of some episodes' returns, for the logs."""
    returns = [episode.episode_return for episode in episodes]
    scores = [episode.score for episode in episodes if episode.score is not None]
    return {
        "episodes": len(episodes),
        "episode_return": float(np.mean(returns)),
        "episode_return_std": float(np.std(returns)),
        "episode_return_min": min(returns),
        "episode_return_max": max(returns),
        "episode_length": float(np.mean([episode.length for episode in episodes])),
        "score": float(np.mean(scores)) if scores else float("nan"),
    }


class EpisodeWindow:
    """Gathers episodes and gives their summary now and then: short ones end by the hundred."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._start = time.monotonic()
        self._episodes: list[Episode] = []
        self._steps = 0

    def add(self, episode: Episode | None) -> Mapping[str, float] | None:
        """Counts one agent step and the episode it ended, if any; a summary when one is due."""
        self._steps += 1
        if episode is None:
            return None
        self._episodes.append(episode)
        elapsed = time.monotonic() - self._start
        if elapsed < self._seconds:
            return None
        summary = {**summarize(self._episodes), "steps_per_second": self._steps / elapsed}
        self._start, self._episodes, self._steps = time.monotonic(), [], 0
        return summary
