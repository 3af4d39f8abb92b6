"""Actors in their environments, step by step, and the episodes that they play."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import acme
import dm_env
import numpy as np

from acme_impala import acting, environments
from acme_impala.types import FIRST, LAST

# Side by side in an evaluation.
_MAX_ENVIRONMENTS = 32
# Of environments that are large processes: they stay there between evaluations.
_MAX_PROCESSES = 4


class Episode(NamedTuple):
    """A finished episode."""

    episode_return: float  # Undiscounted, as the environment pays it.
    length: int  # In agent steps.
    score: float | None  # The return of the whole game if it ended too (Atari has lives), or None.


def play(environment: dm_env.Environment, actor: acme.Actor) -> Iterator[Episode | None]:
    """Acts for ever; yields after every agent step: the episode that it ended, or None.

    What acme.EnvironmentLoop does, but the caller decides after every step whether to go on: a
    program must stop within seconds, and an episode may take minutes or have no end.

    An environment that was lost in the middle of an episode and has begun another gives a FIRST,
    which is no agent step.

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
            if timestep.first():
                episode_return, length = 0.0, 0
                continue
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


class EpisodeTracker:
    """Adds up the episodes of a batch of environments."""

    def __init__(self, num_environments: int):
        self._returns = np.zeros(num_environments)
        self._lengths = np.zeros(num_environments, np.int64)
        self._scores = np.zeros(num_environments)

    def add(self, timestep: dm_env.TimeStep, game_over: np.ndarray) -> list[tuple[int, Episode]]:
        """Takes note of one step of all environments.

        Args:
            timestep: of the batch.
            game_over: [N] bool, the batch's.

        Returns:
            The episodes that have ended, with the number of their environment.
        """
        first = timestep.step_type == FIRST
        self._returns += timestep.reward
        self._lengths += 1
        self._returns[first] = 0.0
        self._lengths[first] = 0
        ended = []
        for i in (timestep.step_type == LAST).nonzero()[0]:
            self._scores[i] += self._returns[i]
            score = float(self._scores[i]) if game_over[i] else None
            ended.append((int(i), Episode(float(self._returns[i]), int(self._lengths[i]), score)))
            if game_over[i]:
                self._scores[i] = 0.0
        return ended


def evaluate(
    batch: environments.BatchedEnvironment, policy: acting.BatchedPolicy, num_episodes: int
) -> Iterator[list[Episode]]:
    """Plays a number of games; yields after every step: the episodes that it ended.

    Each environment plays its share of the games, and no more: the first to end anywhere would be
    the short ones.
    """
    shares = np.full(batch.num_environments, num_episodes // batch.num_environments)
    shares[: num_episodes % batch.num_environments] += 1
    tracker = EpisodeTracker(batch.num_environments)
    timestep = batch.reset()
    tracker.add(timestep, batch.game_over)
    while shares.any():
        first = timestep.step_type == FIRST
        actions, *_ = policy(timestep.observation, first)
        timestep = batch.step(actions)
        counted = []
        for i, episode in tracker.add(timestep, batch.game_over):
            if shares[i]:
                counted.append(episode)
                shares[i] -= episode.score is not None
        yield counted


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


def summarize_tasks(played: Mapping[str, list[Episode]]) -> Mapping[str, float]:
    """Summarizes episodes of several tasks: all together, and of each its mean return and score.

    All tasks have as many episodes, so that a mean over all is one over the tasks. Where human
    scores are known, there is also what the paper sums a suite up with, in percent.

    Args:
        played: by task.
    """
    summary = dict(summarize([episode for episodes in played.values() for episode in episodes]))
    if len(played) > 1:
        normalized = []
        for name, episodes in played.items():
            of_task = summarize(episodes)
            summary |= {f"{key}/{name}": of_task[key] for key in ("episode_return", "score")}
            normalized.append(environments.human_normalized_score(name, of_task["score"]))
        known = [score for score in normalized if score is not None]
        if known:
            of_suite = environments.suite_scores(known)._asdict()
            summary |= {f"human_normalized_{key}": score for key, score in of_suite.items()}
    return summary


class EpisodeWindow:
    """Gathers episodes and gives their summary now and then: short ones end by the hundred.

    Args:
        period: of a window, by the clock.
        clock: seconds, or whatever else a run goes by.
    """

    def __init__(self, period: float, clock: Callable[[], float] = time.monotonic):
        self._period = period
        self._clock = clock
        self._start, self._start_time = clock(), time.monotonic()
        self._episodes: list[Episode] = []
        self._steps = 0

    def add(self, num_steps: int, episodes: list[Episode]) -> Mapping[str, float] | None:
        """Counts agent steps and the episodes that they ended; a summary when one is due."""
        self._steps += num_steps
        self._episodes += episodes
        is_due = episodes and self._clock() - self._start >= self._period
        return self.take() if is_due else None

    def take(self) -> Mapping[str, float] | None:
        """Gives a summary, due or not, and begins anew; None: no episode has ended."""
        if not self._episodes:
            return None
        elapsed = time.monotonic() - self._start_time
        summary = {**summarize(self._episodes), "steps_per_second": self._steps / elapsed}
        self._start, self._start_time = self._clock(), time.monotonic()
        self._episodes, self._steps = [], 0
        return summary


def most_side_by_side(tasks: Sequence[Callable[[int, bool], dm_env.Environment]]) -> int:
    """The most environments of each task that an evaluation should play side by side."""
    if not all(hasattr(task, "batch") for task in tasks):
        return 1  # A factory of single environments may make large ones.
    are_large = any(getattr(task, "has_own_processes", False) for task in tasks)
    most = _MAX_PROCESSES if are_large else _MAX_ENVIRONMENTS
    return max(1, most // len(tasks))
