"""ObservationActionReward shows what led to each observation, and hides nothing else."""

import pickle

import numpy as np
import pytest
from dm_env import specs

from acme_impala.environments import Catch, EnvironmentList, MemoryChain, ObservationActionReward
from acme_impala.environments.wrappers import BatchedObservationActionReward
from acme_impala.types import OAR, is_oar

from ..guessing import ACTION_SPECS, Guessing


def test_the_oar_of_a_step_is_its_observation_action_and_reward():
    wrapped, plain = ObservationActionReward(MemoryChain(2)), MemoryChain(2)
    for action in (1, 1, 0, 1, 1, 0, 0):
        got, expected = wrapped.step(action), plain.step(action)
        assert is_oar(got.observation)
        assert got.step_type == expected.step_type
        assert got.reward == expected.reward
        np.testing.assert_array_equal(got.observation.observation, expected.observation)
        led_to_it = not expected.first()
        assert got.observation.action == (action if led_to_it else 0)
        assert got.observation.reward == (expected.reward if led_to_it else 0)


def test_a_restart_after_the_end_shows_zeros():
    environment = ObservationActionReward(Catch(rows=2))
    environment.reset()
    last = environment.step(2)
    assert last.last()
    assert last.observation.action == 2
    assert abs(last.observation.reward) == 1
    for restarted in (environment.step(2), environment.reset()):
        assert restarted.first()
        assert restarted.observation.action == 0
        assert restarted.observation.reward == 0


def test_specs_are_those_of_the_wrapped_environment():
    catch = Catch()
    environment = ObservationActionReward(catch)
    assert environment.observation_spec() == OAR(
        catch.observation_spec(), catch.action_spec(), catch.reward_spec()
    )
    assert environment.action_spec() == catch.action_spec()
    assert environment.reward_spec() == catch.reward_spec()
    assert environment.discount_spec() == catch.discount_spec()


@pytest.mark.parametrize("dtype", [int, np.int32, np.int64])
def test_the_last_action_has_the_dtype_of_the_spec(dtype):
    environment = ObservationActionReward(Catch())
    environment.reset()
    action = environment.step(dtype(1)).observation.action
    assert environment.action_spec().validate(action).dtype == np.int32


class Careless(Catch):
    """Rewards are of another dtype than its spec says."""

    def reward_spec(self):
        return specs.Array((), np.float64)


def test_the_last_reward_has_the_dtype_of_the_spec():
    environment = ObservationActionReward(Careless())
    environment.reset()
    reward = environment.step(1).observation.reward
    assert environment.observation_spec().reward.validate(reward).dtype == np.float64


def test_the_last_rewards_of_a_batch_have_the_dtype_of_its_spec():
    batch = BatchedObservationActionReward(EnvironmentList([Careless()]))
    batch.reset()
    rewards = batch.step(np.ones(1, np.int32)).observation.reward
    assert batch.observation_spec().reward.validate(rewards[0]).dtype == rewards.dtype


def test_other_attributes_are_those_of_the_wrapped_environment():
    class WithScore(Catch):
        score = 7

    environment = ObservationActionReward(WithScore())
    assert environment.score == 7
    assert not hasattr(environment, "game_over")
    with pytest.raises(AttributeError, match="_rows"):
        _ = environment._rows


def test_it_can_be_pickled():
    environment = pickle.loads(pickle.dumps(ObservationActionReward(Catch())))
    assert environment.reset().first()


@pytest.mark.parametrize("name", ACTION_SPECS)
def test_a_batch_shows_actions_of_every_action_space_as_single_environments_do(name):
    spec = ACTION_SPECS[name]
    alone = [ObservationActionReward(Guessing(spec, seed)) for seed in range(3)]
    batch = BatchedObservationActionReward(
        EnvironmentList([Guessing(spec, seed) for seed in range(3)])
    )
    batch.reset()
    for environment in alone:
        environment.reset()
    for step in range(8):  # An episode's end and restart among them.
        bound = np.broadcast_to(spec.maximum if step % 2 else spec.minimum, (3, *spec.shape))
        got = batch.step(bound.astype(spec.dtype)).observation
        for i, environment in enumerate(alone):
            expected = environment.step(bound[i].astype(spec.dtype)).observation
            np.testing.assert_array_equal(got.action[i], expected.action)
            np.testing.assert_array_equal(got.observation[i], expected.observation)
            assert got.action[i].dtype == expected.action.dtype == spec.dtype
