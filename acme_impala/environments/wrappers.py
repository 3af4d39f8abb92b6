"""Wrappers of dm_env environments."""

from typing import Any

import dm_env
import numpy as np
import tree
from dm_env import specs

from acme_impala.environments.batch import BatchedEnvironment
from acme_impala.types import FIRST, OAR, Nest


class ObservationActionReward(dm_env.Environment):
    """Shows the agent its last action and reward: observations become `OAR`s.

    In an episode's first observation, where nothing led to it, action and reward are zero. Acme's
    wrapper of that name does the same. What else the environment has, such as `game_over`, can be
    asked of the wrapper too.

    Args:
        environment: the environment to wrap; this wrapper closes it.
    """

    def __init__(self, environment: dm_env.Environment):
        self._environment = environment
        self._action_spec = environment.action_spec()
        self._reward_spec = environment.reward_spec()

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode; its OAR's action and reward are zero."""
        return self._with_action_and_reward(self._environment.reset(), action=None)

    def step(self, action: Nest) -> dm_env.TimeStep:
        """Takes one agent step; its OAR holds the action and the reward it led to."""
        return self._with_action_and_reward(self._environment.step(action), action)

    def observation_spec(self) -> OAR:
        """The OAR of the wrapped environment's three specs."""
        return OAR(self._environment.observation_spec(), self._action_spec, self._reward_spec)

    def action_spec(self) -> Nest:
        """The wrapped environment's."""
        return self._action_spec

    def reward_spec(self) -> Nest:
        """The wrapped environment's."""
        return self._reward_spec

    def discount_spec(self) -> Nest:
        """The wrapped environment's."""
        return self._environment.discount_spec()

    def close(self):
        """Closes the wrapped environment."""
        self._environment.close()

    def __getattr__(self, name: str) -> Any:
        # Private names stay private; a copy that is being unpickled has no environment yet.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self._environment, name)

    def _with_action_and_reward(self, timestep: dm_env.TimeStep, action: Nest) -> dm_env.TimeStep:
        if timestep.first():  # Also where a step restarts: its action was ignored.
            last_action = tree.map_structure(_zeros, self._action_spec)
            last_reward = tree.map_structure(_zeros, self._reward_spec)
        else:
            last_action = tree.map_structure(_of_spec, self._action_spec, action)
            last_reward = tree.map_structure(_of_spec, self._reward_spec, timestep.reward)
        return timestep._replace(
            observation=OAR(timestep.observation, last_action, last_reward),
        )


def _zeros(spec: specs.Array) -> np.ndarray:
    return np.zeros(spec.shape, spec.dtype)


def _of_spec(spec: specs.Array, value: Any) -> np.ndarray:
    return np.array(value, spec.dtype)


class BatchedObservationActionReward(BatchedEnvironment):
    """What `ObservationActionReward` does, for a batch of environments.

    Args:
        environment: the batch to wrap; this wrapper closes it.
    """

    def __init__(self, environment: BatchedEnvironment):
        self._environment = environment
        self.num_environments = environment.num_environments
        self._action_spec = environment.action_spec()

    def reset(self) -> dm_env.TimeStep:
        """Begins episodes; their OARs' actions and rewards are zero."""
        shape = (self.num_environments, *self._action_spec.shape)
        self._actions = np.zeros(shape, self._action_spec.dtype)
        return self._with_action_and_reward(self._environment.reset())

    def send(self, actions: np.ndarray):
        """Takes one agent step, or begins to; the OARs will hold the actions."""
        self._actions = np.array(actions, self._action_spec.dtype)
        self._environment.send(actions)

    def receive(self) -> dm_env.TimeStep:
        """Returns what the actions sent last have led to."""
        return self._with_action_and_reward(self._environment.receive())

    @property
    def game_over(self) -> np.ndarray:
        """The wrapped batch's."""
        return self._environment.game_over

    @property
    def restarts(self) -> int:
        """The wrapped batch's."""
        return self._environment.restarts

    def observation_spec(self) -> OAR:
        """The OAR of the wrapped batch's three specs."""
        return OAR(
            self._environment.observation_spec(), self._action_spec, self._environment.reward_spec()
        )

    def action_spec(self) -> Nest:
        """The wrapped batch's."""
        return self._action_spec

    def close(self):
        """Closes the wrapped batch."""
        self._environment.close()

    def _with_action_and_reward(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        first = timestep.step_type == FIRST
        actions = self._actions.copy()
        actions[first] = 0
        return timestep._replace(observation=OAR(timestep.observation, actions, timestep.reward))
