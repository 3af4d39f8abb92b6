"""A task that only a network with memory can solve."""

import numpy as np
from dm_env import specs

from acme_impala.environments.episodic import EpisodicEnvironment, Outcome, checked_action

_NUM_ACTIONS = 2


class MemoryChain(EpisodicEnvironment):
    """A cue is seen once; `length` steps later the reward tells whether it was remembered.

    The observation is [cue, go] float32. The cue is -1 or 1 in the first observation and 0 in all
    others; go is 1 at the observation where the action counts, the one before the last. There
    action 0 answers the cue -1 and action 1 the cue 1: the reward is 1 if that is so, else -1, and
    the episode terminates. Every other action does nothing and every other reward is 0. A policy
    without memory has a mean return of 0.

    Args:
        length: agent steps in an episode, at least 2: cue and answer are length - 1 steps apart.
        seed: which cues are shown: the same seed gives the same sequence.

    Raises:
        ValueError: the length leaves nothing to remember.
    """

    def __init__(self, length: int = 6, seed: int = 0):
        if length < 2:
            raise ValueError(
                f"MemoryChain's length must be at least 2, got {length}: in a shorter episode the "
                "cue is still in sight when it has to be answered."
            )
        self._length = length
        self._rng = np.random.default_rng(seed)
        self._answer = 0
        self._steps = 0

    def observation_spec(self) -> specs.BoundedArray:
        """[cue, go], float32."""
        return specs.BoundedArray((2,), np.float32, minimum=[-1, 0], maximum=1, name="cue_and_go")

    def action_spec(self) -> specs.DiscreteArray:
        """The two answers."""
        return specs.DiscreteArray(_NUM_ACTIONS, name="action")

    def _begin(self) -> np.ndarray:
        self._answer = int(self._rng.integers(_NUM_ACTIONS))
        self._steps = 0
        return self._observation()

    def _advance(self, action: int) -> Outcome:
        action = checked_action(action, _NUM_ACTIONS)
        self._steps += 1
        if self._steps < self._length:
            return Outcome(self._observation(), reward=0.0, terminated=False)
        reward = 1.0 if action == self._answer else -1.0
        return Outcome(self._observation(), reward, terminated=True)

    def _observation(self) -> np.ndarray:
        cue = 2 * self._answer - 1 if self._steps == 0 else 0
        go = self._steps == self._length - 1
        return np.array([cue, go], np.float32)
