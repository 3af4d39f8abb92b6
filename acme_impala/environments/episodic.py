"""The contract of `dm_env.Environment`, kept in one place for every environment here."""

import abc
from typing import Any, NamedTuple

import dm_env
import numpy as np
from dm_env import specs

from acme_impala.types import Nest


class Outcome(NamedTuple):
    """What an action led to. A terminated outcome has no future; a truncated one was cut short."""

    observation: Nest
    reward: float
    terminated: bool
    truncated: bool = False


class EpisodicEnvironment(dm_env.Environment):
    """An environment whose subclass says only how an episode begins and how it advances.

    Terminated: the last step has discount 0. Truncated and not terminated: the last step has
    discount 1, so that the return is bootstrapped from its observation. The step after the last
    one, and a step before the first reset, restart and ignore their action. Rewards and discounts
    are float32 scalars.
    """

    _restart_is_due = True

    @abc.abstractmethod
    def _begin(self) -> Nest:
        """Begins an episode and returns its first observation."""

    @abc.abstractmethod
    def _advance(self, action: Any) -> Outcome:
        """Takes one agent step of an episode that has begun and has not ended."""

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode."""
        observation = self._begin()
        self._restart_is_due = False
        return dm_env.restart(observation)

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes one agent step, or begins an episode where none is under way."""
        if self._restart_is_due:
            return self.reset()
        observation, reward, terminated, truncated = self._advance(action)
        self._restart_is_due = bool(terminated or truncated)
        return dm_env.TimeStep(
            step_type=dm_env.StepType.LAST if self._restart_is_due else dm_env.StepType.MID,
            reward=np.float32(reward),
            discount=np.float32(0.0 if terminated else 1.0),
            observation=observation,
        )

    def reward_spec(self) -> specs.Array:
        """A float32 scalar."""
        return specs.Array((), np.float32, name="reward")

    def discount_spec(self) -> specs.BoundedArray:
        """A float32 scalar: 0 after a termination, else 1."""
        return specs.BoundedArray((), np.float32, minimum=0.0, maximum=1.0, name="discount")


def checked_action(action: Any, num_actions: int) -> int:
    """Returns a discrete action as an int.

    Raises:
        ValueError: it is not one of 0 .. num_actions - 1.
    """
    index = int(action)
    if not 0 <= index < num_actions:
        raise ValueError(f"action must be one of 0 .. {num_actions - 1}, got {action!r}.")
    return index
