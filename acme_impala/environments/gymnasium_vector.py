"""Gymnasium's vector environments behind the contract of batches."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from acme_impala.environments import gymnasium_spaces
from acme_impala.environments.batch import BatchedEnvironment
from acme_impala.types import FIRST, LAST, MID, Nest

_CLOSE_SECONDS = 5  # For a step to end, or for a process that is told to.


class GymnasiumVectorEnvironment(BatchedEnvironment):
    """Adapts a `gymnasium.vector.VectorEnv`, whose environments restart in the step after the last.

    An `AsyncVectorEnv`, whose environments have processes of their own, runs in the background.
    Gymnasium's own kinds seed environment i with seed + i, as a list of `GymnasiumEnvironment`s of
    these seeds; an environment's own vector environment may draw for all from one generator.

    Args:
        env: the vector environment; closing the adapter closes it.
        seed: of the first reset, not negative.

    Raises:
        ValueError: a space has no spec, the seed is negative, or the environments restart at
            another time.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv, seed: int):
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}.")
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.NEXT_STEP:
            raise ValueError(
                f"The vector environment's autoreset_mode is {mode}; it must be "
                "AutoresetMode.NEXT_STEP, with which no last observation is lost."
            )
        self._observation_spec = gymnasium_spaces.observation_spec(env.single_observation_space)
        self._action_spec = gymnasium_spaces.action_spec(env.single_action_space)
        self._env = env
        self._seed: int | None = int(seed)
        self.num_environments = env.num_envs
        self._in_background = isinstance(env, AsyncVectorEnv)
        self._step_is_under_way = False  # In the background, not received yet.

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode in every environment; a step that is under way goes nowhere."""
        if self._step_is_under_way:
            self.receive()
        observation, _ = self._env.reset(seed=self._seed)
        self._seed = None  # A seed given again would repeat the first episodes.
        zeros = np.zeros(self.num_environments, np.float32)
        self._last = zeros.astype(bool)
        return dm_env.TimeStep(
            np.full(self.num_environments, FIRST, np.int32),
            zeros,
            zeros,
            self._observation(observation),
        )

    def send(self, actions: np.ndarray):
        """Takes one agent step in every environment, or begins to."""
        actions = gymnasium_spaces.to_gymnasium_actions(self._env.single_action_space, actions)
        if self._in_background:
            with _named_deaths():
                self._env.step_async(actions)
            self._step_is_under_way = True
        else:
            self._outcome = self._env.step(actions)

    def receive(self) -> dm_env.TimeStep:
        """Returns what the actions sent last have led to."""
        if self._in_background:
            with _named_deaths():
                self._outcome = self._env.step_wait()
            self._step_is_under_way = False
        observation, reward, terminated, truncated, _ = self._outcome
        first, self._last = self._last, terminated | truncated
        step_type = np.full(self.num_environments, MID, np.int32)
        step_type[self._last] = LAST
        step_type[first] = FIRST
        return dm_env.TimeStep(
            step_type,
            np.where(first, 0.0, reward).astype(np.float32),
            np.where(first | terminated, 0.0, 1.0).astype(np.float32),
            self._observation(observation),
        )

    @property
    def game_over(self) -> np.ndarray:
        """[N] bool: true; there are no lives."""
        return np.ones(self.num_environments, bool)

    def observation_spec(self) -> Nest:
        """The single observation space's spec."""
        return self._observation_spec

    def action_spec(self) -> specs.BoundedArray:
        """The single action space's spec."""
        return self._action_spec

    def close(self):
        """Closes the vector environment, by force where its processes have died or hang."""
        if not self._in_background:
            self._env.close()
            return
        try:
            with contextlib.suppress(gymnasium.error.NoAsyncCallError):  # No step is under way.
                self._env.step_wait(_CLOSE_SECONDS)
            self._env.close()
        except Exception:  # Of a pipe, of time, or of an environment. Gymnasium would wait on.
            for process in self._env.processes:
                process.kill()
                process.join()
            for pipe in filter(None, self._env.parent_pipes):  # None: its environment has failed.
                pipe.close()
            self._env.closed = True

    def _observation(self, observation: Nest) -> Nest:
        # The starts of discrete spaces, which are taken away, are the same for all.
        return gymnasium_spaces.to_observation(self._env.single_observation_space, observation)


@contextlib.contextmanager
def _named_deaths() -> Iterator[None]:
    """Says what it means that a process's pipe has ended."""
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise RuntimeError(
            "The process of a Gymnasium environment has died: it crashed, was killed from outside, "
            "or out of memory."
        ) from error


def ended_by_its_parent() -> Callable[[gymnasium.Env], gymnasium.Env]:
    """Returns a wrapper for the environments of an `AsyncVectorEnv` that this process makes.

    Ctrl-C reaches every process of a terminal, and Launchpad sends SIGTERM to a node's children
    too. Both are for the parent to heed, which then ends those of its environments. One that it
    has forgotten ends some seconds after a SIGTERM.
    """
    parent = os.getpid()

    def end_soon(*_):
        if not signal.getitimer(signal.ITIMER_REAL)[0]:  # It may be said again and again.
            signal.alarm(_CLOSE_SECONDS)

    # It is pickled as it is, being no function of a module: those who unpickle it do not import
    # this package, and TensorFlow with it.
    def wrap(env: gymnasium.Env) -> gymnasium.Env:
        if os.getpid() != parent:  # There, Gymnasium makes an environment only to look at it.
            signal.signal(signal.SIGINT, lambda *_: None)
            signal.signal(signal.SIGTERM, end_soon)
        return env

    return wrap
