"""Tiny environments of every action space, whose best actions are known."""

import numpy as np
from dm_env import specs

from acme_impala.environments.episodic import EpisodicEnvironment, Outcome

ACTION_SPECS = {
    "discrete": specs.DiscreteArray(4, np.uint8),
    "choices": specs.BoundedArray((2,), np.int64, [0, 3], [1, 5]),
    "continuous": specs.BoundedArray((2,), np.float64, [-1.0, 10.0], [3.0, 11.0]),
}
EPISODE_LENGTH = 5


class Guessing(EpisodicEnvironment):
    """Shows an action of the spec, scaled to -1 and 1, and pays for doing the same.

    The reward is 1 minus the mean over the action's elements: of how many are wrong or, in a
    continuous space, of the squared distance in half the width of the bounds. So an episode's
    return is EPISODE_LENGTH at best. Actions are noted.
    """

    def __init__(self, action_spec, seed=0):
        self._spec = action_spec
        self._rng = np.random.default_rng(seed)
        self.actions = []

    def observation_spec(self):
        return specs.Array((int(np.prod(self._spec.shape)),), np.float32)

    def action_spec(self):
        return self._spec

    def _begin(self):
        self._step = 0
        return self._show()

    def _advance(self, action):
        self._spec.validate(action)
        self.actions.append(np.array(action))
        self._step += 1
        wrong = (action - self._answer) / self._half_width
        if np.issubdtype(self._spec.dtype, np.integer):
            wrong = wrong != 0
        reward = 1 - np.mean(np.square(wrong))
        return Outcome(self._show(), reward, terminated=self._step == EPISODE_LENGTH)

    def _show(self):
        low, high = self._spec.minimum, self._spec.maximum
        self._half_width = (np.asarray(high, np.float64) - low) / 2
        if np.issubdtype(self._spec.dtype, np.integer):
            self._answer = self._rng.integers(low, high, self._spec.shape, endpoint=True)
        else:
            self._answer = self._rng.uniform(low, high, self._spec.shape)
        return np.ravel((self._answer - low) / self._half_width - 1).astype(np.float32)
