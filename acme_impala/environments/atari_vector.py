"""Batches of Atari games on ale_py's C++ vector environment."""

import contextlib
import os
from collections.abc import Iterator

import dm_env
import numpy as np
from dm_env import specs

from acme_impala import frames
from acme_impala.environments.atari import AtariOptions, emulator_actions, frames_spec, rom_name
from acme_impala.environments.batch import BatchedEnvironment
from acme_impala.types import FIRST, LAST, MID

_NO_OP = 0  # Every game's first action.


class AtariVectorEnvironment(BatchedEnvironment):
    """N games of one kind, stepped by C++ threads in the background.

    The games are those of `AtariEnvironment`, frame by frame and reward by reward, restarts after a
    lost life included. Only chance is drawn differently: sticky actions, and the number of no-ops
    that a game starts with, by the emulator's own generator, uniformly from 0 to noop_max. They do
    not count for max_frames.

    Args:
        game: 'space_invaders' or 'SpaceInvaders'.
        num_environments: N.
        options: how the games are shown and played.
        seed: of no-ops and sticky actions; game i has seed + i.
        num_threads: that step the games.

    Raises:
        ValueError: there is no such game, or a number is impossible.
        ImportError: ale-py or OpenCV is missing.
    """

    def __init__(
        self,
        game: str,
        num_environments: int,
        options: AtariOptions | None = None,
        seed: int = 0,
        num_threads: int = 1,
    ):
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}.")
        rom = rom_name(game)
        from ale_py.vector_env import AtariVectorEnv  # Only those who play Atari need it.

        self._options = options = options or AtariOptions()
        self._seed: int | None = int(seed)
        self.num_environments = num_environments
        with _threads_that_do_not_preempt():
            self._env = AtariVectorEnv(
                rom,
                num_environments,
                num_threads=num_threads,
                max_num_frames_per_episode=options.max_frames,
                repeat_action_probability=0.25 if options.sticky_actions else 0.0,
                full_action_space=options.full_action_space,
                img_height=options.image_size,
                img_width=options.image_size,
                stack_num=1,  # Frames are stacked here, as `AtariEnvironment` does it.
                frameskip=options.action_repeat,
                maxpool=options.action_repeat > 1,
                noop_max=options.noop_max + 1 if options.noop_max else 0,  # Less are drawn.
                episodic_life=False,  # The emulator's would begin a new game.
                reward_clipping=False,
                use_fire_reset=False,
            )
        self._is_stepping = False
        self._actions = emulator_actions(rom, options.full_action_space)
        spec = self.observation_spec()
        self._stack = frames.FrameStack((num_environments, *spec.shape), spec.dtype)
        self._lives = np.zeros(num_environments, np.int32)
        self._life_lost = np.zeros(num_environments, bool)  # The last step lost one, not the game.
        self._game_over = np.zeros(num_environments, bool)
        # What a restart after a lost life has paid, for the step after it.
        self._owed = np.zeros(num_environments, np.float32)
        self._all_mid = np.full(num_environments, MID, np.int32)

    def reset(self) -> dm_env.TimeStep:
        """Begins a game in every environment; what was sent and not received is forgotten."""
        if self._is_stepping:
            self._env.recv()
            self._is_stepping = False
        # The emulator's seeds are 32 bits with a sign.
        seeds = None
        if self._seed is not None:
            seeds = (self._seed + np.arange(self.num_environments)) % 2**31
        self._seed = None  # Seeds given again would repeat the first games.
        observation, info = self._env.reset(seed=seeds)
        self._lives[:] = info["lives"]
        self._life_lost = self._game_over = np.zeros(self.num_environments, bool)
        self._owed = np.zeros(self.num_environments, np.float32)
        first = np.ones(self.num_environments, bool)
        zeros = np.zeros(self.num_environments, np.float32)
        return dm_env.TimeStep(
            np.full(self.num_environments, FIRST, np.int32),
            zeros,
            zeros,
            self._stack.push(observation[:, 0], first),
        )

    def send(self, actions: np.ndarray):
        """Begins to take one agent step in every environment.

        Raises:
            ValueError: an action is not one of the game's.
        """
        if True in ((actions < 0) | (actions >= len(self._actions))):
            raise ValueError(f"actions must be of 0 .. {len(self._actions) - 1}, got {actions}.")
        actions = np.where(self._life_lost, _NO_OP, self._actions[actions])
        self._env.send(actions)
        self._is_stepping = True

    def receive(self) -> dm_env.TimeStep:
        """Returns what the actions sent last have led to."""
        observation, reward, terminated, truncated, info = self._env.recv()
        self._is_stepping = False
        restarted = self._life_lost | self._game_over
        ended = terminated | truncated
        goes_on = self._life_lost & ~ended
        if True in (restarted & ended):  # The no-op after a lost life has ended the game.
            observation = self._reset_games(restarted & ended, observation, info)
            ended &= ~restarted
        lives = info["lives"]
        lost_one = (lives > 0) & (lives < self._lives) & ~restarted
        lost_one &= self._options.life_loss_ends_episode
        self._lives[:] = lives

        reward = reward.astype(np.float32) + self._owed
        self._owed = reward * goes_on
        self._game_over = ended
        self._life_lost = lost_one & ~ended
        step_type = self._all_mid.copy()
        step_type[ended | lost_one] = LAST
        step_type[restarted] = FIRST
        discount = ~(restarted | lost_one | (terminated & ended))
        return dm_env.TimeStep(
            step_type,
            reward * ~restarted,
            discount.astype(np.float32),
            self._stack.push(observation[:, 0], restarted),
        )

    @property
    def game_over(self) -> np.ndarray:
        """[N] bool: where the last step was LAST, whether it ended the game and not only a life."""
        return self._game_over

    def observation_spec(self) -> specs.BoundedArray:
        """[image_size, image_size, frame_stack] uint8, stacked frames."""
        return frames_spec(self._options)

    def action_spec(self) -> specs.DiscreteArray:
        """The game's own actions, or all 18."""
        return specs.DiscreteArray(len(self._actions), name="action")

    def close(self):
        """Frees the emulators, which ale_py's own `close` does not."""
        self._env = None

    def _reset_games(self, which: np.ndarray, observation: np.ndarray, info: dict) -> np.ndarray:
        fresh, fresh_info = self._env.reset(options={"reset_mask": which})
        info["lives"][which] = fresh_info["lives"][which]
        return np.where(which[:, np.newaxis, np.newaxis, np.newaxis], fresh, observation)


@contextlib.contextmanager
def _threads_that_do_not_preempt() -> Iterator[None]:
    """Has threads that are made meanwhile wait for a core, and not take it from who wakes them up.

    That is whoever sends actions, in the midst of sending, with Python's lock in its hands.
    """
    if os.sched_getscheduler(0) != os.SCHED_OTHER:  # The user's choice.
        yield
        return
    with contextlib.suppress(OSError):  # Not every container allows it.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # Threads inherit it.
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
