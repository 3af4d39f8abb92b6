"""Atari as Acme's own examples play it: an emulator in Acme's `AtariWrapper`."""

import acme.wrappers
import ale_py
import dm_env
import numpy as np
from ale_py import roms
from dm_env import specs

from acme_impala.environments.atari import rom_name


def make_environment(game: str, seed: int) -> dm_env.Environment:
    """Makes a game as Acme's examples do: its frames are floats, and a lost life has discount 0.

    Acme's adapter for gym's games fits no ale_py of today; `_Emulator` is what it makes of them.
    """
    np.float = float  # The wrapper's name for it, which numpy has no more.
    return acme.wrappers.wrap_all(
        _Emulator(game, seed),
        [
            lambda emulator: acme.wrappers.AtariWrapper(
                emulator, to_float=True, max_episode_len=108_000, zero_discount_on_life_loss=True
            ),
            acme.wrappers.SinglePrecisionWrapper,
        ],
    )


class _Emulator(dm_env.Environment):
    """A game frame by frame: observations are pictures in colours, and lives."""

    def __init__(self, game: str, seed: int):
        self._emulator = ale_py.ALEInterface()
        self._emulator.setInt("random_seed", seed)
        self._emulator.setFloat("repeat_action_probability", 0.0)
        self._emulator.loadROM(roms.get_rom_path(rom_name(game)))
        self._actions = self._emulator.getMinimalActionSet()

    def reset(self) -> dm_env.TimeStep:
        self._emulator.reset_game()
        return dm_env.restart(self._observation())

    def step(self, action: list[np.ndarray]) -> dm_env.TimeStep:
        if self._emulator.game_over():
            return self.reset()
        reward = float(self._emulator.act(self._actions[action[0].item()]))
        if self._emulator.game_over():
            return dm_env.termination(reward, self._observation())
        return dm_env.transition(reward, self._observation())

    def observation_spec(self) -> tuple[specs.Array, specs.Array]:
        shape = self._emulator.getScreenRGB().shape
        return specs.BoundedArray(shape, np.uint8, 0, 255, "RGB"), specs.Array(
            (), np.int32, "lives"
        )

    def action_spec(self) -> list[specs.BoundedArray]:
        return [specs.BoundedArray((1,), np.int32, 0, len(self._actions) - 1, "action")]

    def _observation(self) -> tuple[np.ndarray, np.ndarray]:
        return self._emulator.getScreenRGB(), np.asarray(self._emulator.lives(), np.int32)
