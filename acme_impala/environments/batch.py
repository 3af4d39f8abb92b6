"""Many environments stepped together: one contract, and dm_env environments side by side."""

import abc
from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np
import tree
from dm_env import specs

from acme_impala.types import Nest


class BatchedEnvironment(abc.ABC):
    """N environments that take their steps together.

    Everything in a `dm_env.TimeStep` has N in front: step_type [N] int, reward and discount [N]
    float32, observation a nest of [N, ...]. Each environment by itself keeps dm_env's rule: the
    step after LAST restarts it and ignores its action, so LAST holds the true last observation of
    an episode. Where dm_env has None for reward and discount, in FIRST, they are 0.

    An environment that is lost in the middle of an episode, as one whose process dies, begins
    another: its FIRST has no LAST before it. What the action before has led to is not known.

    `step` is `send` and `receive`; where the environments run in the background
    (`batches_run_in_background`) the time between the two is free for something else. What
    `receive` gives is not written to later.

    Attributes:
        num_environments: N.
    """

    num_environments: int

    @abc.abstractmethod
    def reset(self) -> dm_env.TimeStep:
        """Begins an episode in every environment."""

    @abc.abstractmethod
    def send(self, actions: np.ndarray):
        """Takes one agent step in every environment, or begins to.

        Args:
            actions: [N, ...] of the action spec's dtype.

        Raises:
            ValueError: an action is not of the spec. (Gymnasium's environments raise what they do.)
        """

    @abc.abstractmethod
    def receive(self) -> dm_env.TimeStep:
        """Returns what the actions sent last have led to."""

    def step(self, actions: np.ndarray) -> dm_env.TimeStep:
        """Takes one agent step in every environment."""
        self.send(actions)
        return self.receive()

    @property
    def restarts(self) -> int:
        """How often an environment was lost, its process with it, and started anew."""
        return 0

    @property
    @abc.abstractmethod
    def game_over(self) -> np.ndarray:
        """[N] bool: where the last step was LAST, whether it ended a whole game and not a life."""

    @abc.abstractmethod
    def observation_spec(self) -> Nest:
        """The spec of one environment's observation, without N."""

    @abc.abstractmethod
    def action_spec(self) -> Nest:
        """The spec of one environment's action, without N."""

    def reward_spec(self) -> specs.Array:
        """The spec of one environment's reward: a float32 scalar."""
        return specs.Array((), np.float32, name="reward")

    def discount_spec(self) -> specs.BoundedArray:
        """The spec of one environment's discount: a float32 scalar."""
        return specs.BoundedArray((), np.float32, minimum=0.0, maximum=1.0, name="discount")

    @abc.abstractmethod
    def close(self):
        """Frees what the environments hold."""


class EnvironmentList(BatchedEnvironment):
    """Any dm_env environments side by side in this process, stepped one after the other.

    Args:
        environments: at least one, of the same specs; closing the list closes them.

    Raises:
        ValueError: there is none.
    """

    def __init__(self, environments: Sequence[dm_env.Environment]):
        if not environments:
            raise ValueError("A batch of environments needs at least one environment.")
        self._environments = list(environments)
        self.num_environments = len(self._environments)

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode in every environment."""
        return self._batch([environment.reset() for environment in self._environments])

    def send(self, actions: np.ndarray):
        """Takes one agent step in every environment."""
        self._timestep = self._batch(
            [
                environment.step(action)
                for environment, action in zip(self._environments, actions, strict=True)
            ]
        )

    def receive(self) -> dm_env.TimeStep:
        """Returns what the actions sent last have led to."""
        return self._timestep

    @property
    def game_over(self) -> np.ndarray:
        """[N] bool: where the last step was LAST, whether it ended a whole game and not a life.

        An environment without an attribute `game_over` has no lives.
        """
        return np.array([getattr(e, "game_over", True) for e in self._environments])

    @property
    def restarts(self) -> int:
        """How often an environment was lost; one without an attribute `restarts` never is."""
        return sum(getattr(e, "restarts", 0) for e in self._environments)

    def observation_spec(self) -> Nest:
        """The environments'."""
        return self._environments[0].observation_spec()

    def action_spec(self) -> Nest:
        """The environments'."""
        return self._environments[0].action_spec()

    def close(self):
        """Closes all environments."""
        for environment in self._environments:
            environment.close()

    def _batch(self, timesteps: list[dm_env.TimeStep]) -> dm_env.TimeStep:
        def column(name: str, dtype: Any) -> np.ndarray:
            values = [getattr(timestep, name) for timestep in timesteps]
            return np.array([0 if value is None else value for value in values], dtype)

        return dm_env.TimeStep(
            step_type=column("step_type", np.int32),
            reward=column("reward", np.float32),
            discount=column("discount", np.float32),
            observation=tree.map_structure(
                lambda *values: np.stack(values), *(t.observation for t in timesteps)
            ),
        )


class BackgroundEnvironmentList(EnvironmentList):
    """dm_env environments that take their steps at the same time, each in a process of its own.

    Args:
        environments: at least one, of the same specs, that have the methods `send_reset`, `send`
            and `receive`, into which their `reset` and `step` fall; closing the list closes them.

    Raises:
        ValueError: there is none.
    """

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode in every environment."""
        for environment in self._environments:
            environment.send_reset()
        return self.receive()

    def send(self, actions: np.ndarray):
        """Begins to take one agent step in every environment."""
        for environment, action in zip(self._environments, actions, strict=True):
            environment.send(action)

    def receive(self) -> dm_env.TimeStep:
        """Returns what the actions sent last have led to."""
        return self._batch([environment.receive() for environment in self._environments])
