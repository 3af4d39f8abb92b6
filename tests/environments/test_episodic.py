"""Every environment keeps dm_env's contract, and the same seed gives the same episodes."""

import dm_env
import numpy as np
import pytest
import tree
from absl.testing import absltest
from dm_env import test_utils

from acme_impala.environments import (
    AtariEnvironment,
    Catch,
    GymnasiumEnvironment,
    MemoryChain,
    ObservationActionReward,
)
from acme_impala.environments.episodic import EpisodicEnvironment, Outcome, checked_action

gymnasium = pytest.importorskip("gymnasium")

_STEPS = 150  # Several episodes of each environment below, or at least the end of one.
_ENVIRONMENTS = {
    "catch": lambda seed: Catch(seed=seed),
    "memory": lambda seed: MemoryChain(seed=seed),
    "cartpole": lambda seed: GymnasiumEnvironment(gymnasium.make("CartPole-v1"), seed),
    "frozen_lake": lambda seed: GymnasiumEnvironment(gymnasium.make("FrozenLake-v1"), seed),
    "breakout": lambda seed: AtariEnvironment("breakout", seed=seed),
    "catch_oar": lambda seed: ObservationActionReward(Catch(seed=seed)),
    "cartpole_oar": lambda seed: ObservationActionReward(
        GymnasiumEnvironment(gymnasium.make("CartPole-v1"), seed)
    ),
}


class _Contract(test_utils.EnvironmentTestMixin):
    """dm_env's own checks, on random actions that reach the ends of episodes."""

    def make_action_sequence(self):
        rng = np.random.default_rng(0)
        for _ in range(_STEPS):
            yield rng.integers(self.environment.action_spec().num_values)


class CatchContract(_Contract, absltest.TestCase):
    def make_object_under_test(self):
        return _ENVIRONMENTS["catch"](0)


class MemoryContract(_Contract, absltest.TestCase):
    def make_object_under_test(self):
        return _ENVIRONMENTS["memory"](0)


class CartPoleContract(_Contract, absltest.TestCase):
    def make_object_under_test(self):
        return _ENVIRONMENTS["cartpole"](0)


class FrozenLakeContract(_Contract, absltest.TestCase):
    def make_object_under_test(self):
        return _ENVIRONMENTS["frozen_lake"](0)


class BreakoutContract(_Contract, absltest.TestCase):
    def make_object_under_test(self):
        return _ENVIRONMENTS["breakout"](0)


class ObservationActionRewardContract(_Contract, absltest.TestCase):
    def make_object_under_test(self):
        return _ENVIRONMENTS["catch_oar"](0)


def _play(environment: dm_env.Environment, seed: int = 0) -> list[dm_env.TimeStep]:
    rng = np.random.default_rng(seed)
    num_actions = environment.action_spec().num_values
    return [environment.step(rng.integers(num_actions)) for _ in range(_STEPS)]


@pytest.mark.parametrize("name", _ENVIRONMENTS)
def test_same_seed_and_actions_give_the_same_episodes(name):
    first, second = (_play(_ENVIRONMENTS[name](3)) for _ in range(2))
    assert sum(timestep.last() for timestep in first) >= 1
    for left, right in zip(first, second, strict=True):
        tree.map_structure(np.testing.assert_array_equal, left, right)


@pytest.mark.parametrize("name", _ENVIRONMENTS)
def test_another_seed_gives_other_episodes(name):
    runs = [_play(_ENVIRONMENTS[name](seed)) for seed in range(6)]
    flat = [np.concatenate([np.ravel(x) for x in _arrays(run)]) for run in runs]
    assert any(not np.array_equal(flat[0], other) for other in flat[1:])


@pytest.mark.parametrize("name", _ENVIRONMENTS)
def test_rewards_and_discounts_are_float32_scalars(name):
    for timestep in _play(_ENVIRONMENTS[name](0)):
        if timestep.first():
            assert timestep.reward is None
            assert timestep.discount is None
        else:
            assert type(timestep.reward) is np.float32
            assert type(timestep.discount) is np.float32


@pytest.mark.parametrize("name", _ENVIRONMENTS)
def test_observations_stay_as_they_were(name):
    """An actor keeps a whole unroll of observations: a later step must not write into them."""
    environment = _ENVIRONMENTS[name](0)
    timestep = environment.reset()
    before = tree.map_structure(np.copy, timestep.observation)
    for action in range(3):
        environment.step(action % environment.action_spec().num_values)
    tree.map_structure(np.testing.assert_array_equal, timestep.observation, before)


def _arrays(timesteps):
    return [x for t in timesteps for x in tree.flatten(t) if x is not None]


class _Scripted(EpisodicEnvironment):
    """Plays given outcomes in order; its observation counts the steps."""

    def __init__(self, ends: list[tuple[bool, bool]]):
        self._ends = ends
        self._steps = 0

    def _begin(self):
        self._steps = 0
        return np.float32(0)

    def _advance(self, action):
        terminated, truncated = self._ends[self._steps]
        self._steps += 1
        return Outcome(np.float32(self._steps), 1, terminated, truncated)

    observation_spec = action_spec = None


@pytest.mark.parametrize(
    ("terminated", "truncated", "discount"),
    [(True, False, 0.0), (False, True, 1.0), (True, True, 0.0)],
)
def test_only_a_termination_stops_the_return(terminated, truncated, discount):
    environment = _Scripted([(False, False), (terminated, truncated)])
    assert environment.step(0).first()  # before any reset
    middle, last, restarted = (environment.step(0) for _ in range(3))
    assert middle.mid()
    assert middle.discount == 1.0
    assert last.last()
    assert last.discount == discount
    assert last.observation == 2
    assert restarted.first()
    assert restarted.observation == 0


def test_checked_action_names_what_would_do():
    assert checked_action(np.int64(2), 3) == 2
    for action in (-1, 3):
        with pytest.raises(ValueError, match=rf"0 \.\. 2, got {action}"):
            checked_action(action, 3)
