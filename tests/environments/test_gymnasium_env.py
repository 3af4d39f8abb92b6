"""Gymnasium environments behind dm_env: ends of episodes, seeds, and every space."""

import numpy as np
import pytest
import tree
from dm_env import specs

from acme_impala import distributions
from acme_impala.environments import GymnasiumEnvironment
from acme_impala.environments.gymnasium_spaces import (
    action_spec,
    observation_spec,
    to_gymnasium_action,
    to_gymnasium_actions,
    to_observation,
)
from acme_impala.environments.gymnasium_vector import GymnasiumVectorEnvironment

gymnasium = pytest.importorskip("gymnasium")
spaces = gymnasium.spaces


def _cartpole(seed: int = 0, **kwargs) -> GymnasiumEnvironment:
    return GymnasiumEnvironment(gymnasium.make("CartPole-v1", **kwargs), seed)


def _balance(observation: np.ndarray) -> int:
    position, velocity, angle, angular_velocity = observation
    return int(3 * angle + angular_velocity + 0.1 * position + 0.3 * velocity > 0)


def test_a_truncated_episode_ends_with_discount_one():
    environment = _cartpole()
    timestep = environment.reset()
    for _ in range(500):
        assert not timestep.last()
        timestep = environment.step(_balance(timestep.observation))
    assert timestep.last()
    assert timestep.discount == 1.0
    assert environment.step(0).first()


def test_a_terminated_episode_ends_with_discount_zero():
    environment = _cartpole()
    timestep = environment.reset()
    while not timestep.last():
        timestep = environment.step(0)
    assert timestep.discount == 0.0
    assert timestep.reward == 1.0


def test_a_termination_at_the_time_limit_is_a_termination():
    length = 0
    timestep = (environment := _cartpole()).reset()
    while not timestep.last():
        timestep = environment.step(0)
        length += 1
    environment = _cartpole(max_episode_steps=length)
    environment.reset()
    last = [environment.step(0) for _ in range(length)][-1]
    assert last.last()
    assert last.discount == 0.0


def test_it_plays_the_episodes_of_gymnasium():
    """Seeded once, then without a seed: so the second episode differs from the first."""
    environment, env = _cartpole(seed=5), gymnasium.make("CartPole-v1")
    first_observations = []
    for episode in range(3):
        expected, _ = env.reset(seed=5 if episode == 0 else None)
        timestep = environment.step(0)
        first_observations.append(timestep.observation)
        np.testing.assert_array_equal(timestep.observation, expected)
        for step in range(1000):
            expected, reward, terminated, _, _ = env.step(step % 2)
            timestep = environment.step(np.int32(step % 2))
            np.testing.assert_array_equal(timestep.observation, expected)
            assert timestep.reward == np.float32(reward)
            if terminated:
                break
        assert timestep.last()
    assert len({observation.tobytes() for observation in first_observations}) == 3


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        _cartpole(seed=-1)


def test_close_closes_the_gymnasium_environment():
    class Closeable(_Echo):
        closed = False

        def close(self):
            self.closed = True

    env = Closeable(spaces.Discrete(2), spaces.Discrete(2))
    with GymnasiumEnvironment(env, seed=0):
        assert not env.closed
    assert env.closed


class _Echo(gymnasium.Env):
    """Shows random observations of a space in a buffer that it reuses; notes its actions."""

    def __init__(self, observation_space, action_space):
        self.observation_space = observation_space
        self.action_space = action_space
        self.actions = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.actions.append(action)
        return self.observation_space.sample(), 0.5, False, len(self.actions) % 5 == 0, {}


_NESTED = spaces.Dict(
    {
        "image": spaces.Box(0, 255, (4, 4, 3), np.uint8),
        "pair": spaces.Tuple((spaces.Discrete(3, start=-1), spaces.MultiBinary(4))),
        "inner": spaces.Dict({"joints": spaces.Box(-1, 1, (2,), np.float64)}),
    }
)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4),
        spaces.Discrete(4, start=1),
        spaces.Box(-np.inf, np.inf, (3,), np.float64),
        spaces.Box(0, 255, (8, 8, 1), np.uint8),
        spaces.MultiDiscrete([2, 5]),
        spaces.MultiDiscrete([2, 5], start=[10, -3]),
        spaces.MultiBinary((2, 3)),
        spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, ()))),
        _NESTED,
    ],
    ids=str,
)
def test_every_observation_is_of_its_spec(space):
    environment = GymnasiumEnvironment(_Echo(space, spaces.Discrete(2)), seed=0)
    spec = environment.observation_spec()
    for _ in range(20):
        observation = environment.step(0).observation
        tree.assert_same_structure(observation, spec)
        tree.map_structure(lambda s, x: s.validate(x), spec, observation)


def test_nested_spaces_become_nested_specs():
    spec = observation_spec(_NESTED)
    assert spec["image"].dtype == np.uint8
    assert spec["inner"]["joints"].dtype == np.float32
    discrete, binary = spec["pair"]
    assert isinstance(discrete, specs.DiscreteArray)
    assert discrete.num_values == 3
    assert binary.shape == (4,)
    assert binary.dtype == np.int8


def test_a_discrete_space_counts_from_zero_wherever_it_starts():
    space = spaces.Discrete(3, start=1)
    assert action_spec(space).num_values == 3
    assert [int(to_observation(space, value)) for value in (1, 2, 3)] == [0, 1, 2]
    assert [to_gymnasium_action(space, index) for index in range(3)] == [1, 2, 3]


def test_bounds_wider_than_float32_are_infinite():
    widest = np.finfo(np.float64).max
    spec = observation_spec(spaces.Box(-widest, widest, (2,), np.float64))
    assert spec.dtype == np.float32
    np.testing.assert_array_equal(spec.maximum, np.inf)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3),
        spaces.Discrete(3, start=-7),
        spaces.Box(-1, 1, (2,), np.float64),
        spaces.MultiDiscrete([2, 3], start=[4, 5]),
        spaces.MultiBinary((2, 3)),
    ],
    ids=str,
)
def test_actions_of_the_spec_are_actions_of_the_space(space):
    env = _Echo(spaces.Discrete(2), space)
    environment = GymnasiumEnvironment(env, seed=0)
    spec = environment.action_spec()
    environment.reset()
    for value in (spec.minimum, spec.maximum):
        environment.step(np.broadcast_to(value, spec.shape).astype(spec.dtype))
    assert len(env.actions) == 2  # _Echo has checked that each is of the space.
    if isinstance(space, spaces.Discrete):
        assert [type(action) for action in env.actions] == [int, int]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(np.array([-1.0, 2.0]), np.array([1.0, 7.0]), dtype=np.float64),
        spaces.Box(-2, 2, (1, 2), np.float32),
        spaces.Box(-3, 9, (2,), np.int16),
        spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[4, 5], [0, -9]]),
        spaces.MultiBinary(3),
    ],
    ids=str,
)
def test_what_a_policy_draws_are_actions_of_single_and_of_vector_environments(space):
    distribution = distributions.for_actions(action_spec(space))
    outputs = np.random.default_rng(0).normal(size=(3, distribution.num_outputs))
    parameters = tree.map_structure(np.asarray, distribution.parameters(outputs.astype(np.float32)))
    envs = [_Echo(spaces.Discrete(2), space) for _ in range(3)]
    vector = gymnasium.vector.SyncVectorEnv([lambda env=env: env for env in envs])
    batch = GymnasiumVectorEnvironment(vector, seed=0)
    batch.reset()
    alone = [GymnasiumEnvironment(_Echo(spaces.Discrete(2), space), seed=0) for _ in range(3)]
    for environment in alone:
        environment.reset()
    rng = np.random.default_rng(1)
    for _ in range(3):
        actions = distribution.to_environment(distribution.sample(parameters, rng))
        batch.step(actions)
        for environment, action in zip(alone, actions, strict=True):
            environment.step(action)
    for env, environment in zip(envs, alone, strict=True):  # _Echo takes none but the space's.
        np.testing.assert_array_equal(env.actions, environment._env.actions)
        assert len(env.actions) == 3


def test_a_reused_buffer_does_not_change_earlier_observations():
    space = spaces.Box(0, 1, (2,), np.float32)
    buffer = np.zeros(2, np.float32)
    observation = to_observation(space, buffer)
    buffer += 1
    np.testing.assert_array_equal(observation, 0)


def test_an_observation_without_spec_is_named():
    space = spaces.Dict({"text": spaces.Text(5), "number": spaces.Discrete(2)})
    with pytest.raises(ValueError, match=r"observation\['text'\].*Text\(") as error:
        GymnasiumEnvironment(_Echo(space, spaces.Discrete(2)), seed=0)
    assert "MultiBinary" in str(error.value)


@pytest.mark.parametrize("space", [None, spaces.Tuple((spaces.Discrete(2),)), spaces.Text(3)])
def test_an_action_space_that_cannot_be_acted_in_is_named(space):
    with pytest.raises(ValueError, match=r"action space is (None|Tuple|Text)"):
        GymnasiumEnvironment(_Echo(spaces.Discrete(2), space), seed=0)


@pytest.mark.parametrize("bound", [0.1, np.pi, 1e300])
def test_an_action_at_a_bound_of_float64_is_within_the_space(bound):
    space = spaces.Box(-bound, bound, (2,), np.float64)
    spec = action_spec(space)
    actions = np.stack([spec.minimum, spec.maximum])
    for action in actions:
        assert space.contains(to_gymnasium_action(space, action))
    batched = to_gymnasium_actions(space, actions)
    assert all(map(space.contains, batched))
