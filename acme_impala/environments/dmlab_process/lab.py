"""Every call to DeepMind Lab's own module; nothing else imports it."""

import os

# The software renderer's threads. Without them it is faster, for every Lab has its own process.
os.environ.setdefault("LP_NUM_THREADS", "0")

import deepmind_lab
import numpy as np

from level_cache import LevelCache

Observation = tuple[np.ndarray, str]  # The picture [height, width, 3] uint8, and the instruction.


class Lab:
    """One level, as the module wants to be asked for it.

    Args:
        level: by its full name.
        config: the level's settings, all of them strings.
        renderer: 'software' or 'hardware'.
        level_cache: a directory for the maps that levels make; None: they are made each time.

    Raises:
        RuntimeError: there is no such level, or a setting is unknown.
    """

    def __init__(self, level: str, config: dict[str, str], renderer: str, level_cache: str | None):
        given = {"level_cache": LevelCache(level_cache)} if level_cache else {}
        self._lab = deepmind_lab.Lab(
            level, ["RGB_INTERLEAVED", "INSTR"], config=config, renderer=renderer, **given
        )

    def reset(self, seed: int) -> Observation:
        """Begins an episode.

        Args:
            seed: of everything random in it, 0 to 2^31 - 1.
        """
        self._lab.reset(seed=seed)
        return self._observe()

    def step(self, action: tuple[int, ...], num_steps: int) -> tuple[float, Observation | None]:
        """Repeats an action, or does so until the episode ends.

        Args:
            action: the seven native numbers.
            num_steps: environment frames.

        Returns:
            The sum of the rewards, and the observation: None after the episode's end, when there
            is nothing to see any more.
        """
        # A fresh array: a view with strides would be read as if it had none.
        reward = self._lab.step(np.array(action, np.intc), num_steps=num_steps)
        return reward, self._observe() if self._lab.is_running() else None

    def close(self):
        """Ends it; after this no method may be called."""
        self._lab.close()

    def _observe(self) -> Observation:
        observation = self._lab.observations()  # Renders.
        return observation["RGB_INTERLEAVED"], observation["INSTR"]
