"""A Gymnasium environment behind dm_env."""

import gymnasium
import numpy as np
from dm_env import specs

from acme_impala.environments import gymnasium_spaces
from acme_impala.environments.episodic import EpisodicEnvironment, Outcome
from acme_impala.types import Nest


class GymnasiumEnvironment(EpisodicEnvironment):
    """Adapts a `gymnasium.Env`; `gymnasium_spaces` says how its spaces become specs.

    The environment is seeded at its first reset and goes on from there: the same seed and actions
    give the same sequence of episodes.

    Args:
        env: the environment to adapt; closing the adapter closes it.
        seed: of the first reset, not negative.

    Raises:
        ValueError: a space has no spec, or the seed is negative.
    """

    def __init__(self, env: gymnasium.Env, seed: int):
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}.")
        self._observation_spec = gymnasium_spaces.observation_spec(env.observation_space)
        self._action_spec = gymnasium_spaces.action_spec(env.action_space)
        self._env = env
        self.screens_per_second = env.metadata.get("render_fps", 30)
        self._seed: int | None = int(seed)

    def observation_spec(self) -> Nest:
        """The observation space's spec."""
        return self._observation_spec

    def action_spec(self) -> specs.BoundedArray:
        """The action space's spec."""
        return self._action_spec

    def render(self) -> list[np.ndarray]:
        """The screens since the last call or the episode's start: one an agent step.

        Each is [height, width, 3] uint8, RGB. The Gymnasium environment's render_mode has to be
        'rgb_array_list'.
        """
        return self._env.render()

    def close(self):
        """Closes the Gymnasium environment."""
        self._env.close()

    def _begin(self) -> Nest:
        observation, _ = self._env.reset(seed=self._seed)
        self._seed = None  # A seed given again would repeat the first episode.
        return gymnasium_spaces.to_observation(self._env.observation_space, observation)

    def _advance(self, action: Nest) -> Outcome:
        observation, reward, terminated, truncated, _ = self._env.step(
            gymnasium_spaces.to_gymnasium_action(self._env.action_space, action)
        )
        observation = gymnasium_spaces.to_observation(self._env.observation_space, observation)
        return Outcome(observation, reward, terminated, truncated)
