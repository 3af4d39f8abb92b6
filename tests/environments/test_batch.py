"""Batches of environments, whatever is behind them, against single environments step by step."""

import multiprocessing
import os
import signal
import subprocess
import sys

import ale_py
import dm_env
import gymnasium
import numpy as np
import pytest
import tree

from acme_impala import environments
from acme_impala.environments import AtariOptions, EnvironmentFactory, EnvironmentList
from acme_impala.types import is_oar


def singles(factory, seed, number, evaluation=False):
    return EnvironmentList([factory(seed + i, evaluation) for i in range(number)])


def assert_same(got, expected):
    assert type(got) is dm_env.TimeStep
    for name in ("step_type", "reward", "discount"):
        x, y = getattr(got, name), getattr(expected, name)
        np.testing.assert_array_equal(x, y, err_msg=name)
        assert x.dtype == y.dtype, name
    tree.assert_same_structure(got.observation, expected.observation)
    for x, y in zip(tree.flatten(got.observation), tree.flatten(expected.observation), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


def play_and_compare(batch, expected, num_steps, seed=0):
    """Random actions in both; returns how many episodes and games have ended."""
    rng = np.random.default_rng(seed)
    num_actions = batch.action_spec().num_values
    number = batch.num_environments
    assert repr(batch.observation_spec()) == repr(expected.observation_spec())
    assert_same(batch.reset(), expected.reset())
    episodes = games = 0
    for _ in range(num_steps):
        actions = rng.integers(num_actions, size=number).astype(np.int32)
        timestep = batch.step(actions)
        other = expected.step(actions)
        assert_same(timestep, other)
        last = timestep.step_type == dm_env.StepType.LAST
        np.testing.assert_array_equal(batch.game_over[last], expected.game_over[last])
        episodes += last.sum()
        games += batch.game_over[last].sum()
    batch.close()
    expected.close()
    return episodes, games


def test_a_list_is_its_environments_side_by_side():
    factory = EnvironmentFactory("catch")
    batch = EnvironmentList([factory(0), factory(1)])
    alone = [factory(0), factory(1)]
    timestep, others = batch.reset(), [environment.reset() for environment in alone]
    rng = np.random.default_rng(0)
    for _ in range(40):
        for i, other in enumerate(others):
            assert timestep.step_type[i] == other.step_type
            assert timestep.reward[i] == (other.reward or 0.0)
            assert timestep.discount[i] == (other.discount or 0.0)
            np.testing.assert_array_equal(timestep.observation[i], other.observation)
        actions = rng.integers(3, size=2)
        timestep = batch.step(actions)
        others = [e.step(a) for e, a in zip(alone, actions, strict=True)]


def test_what_was_received_is_not_written_to_later():
    for name in ("catch", "gym:CartPole-v1", "atari:pong"):
        batch = EnvironmentFactory(name).batch(0, 2)
        first = batch.reset()
        copy = tree.map_structure(np.copy, first)
        for _ in range(3):
            batch.step(np.ones(2, np.int32))
        tree.map_structure(np.testing.assert_array_equal, first, copy)
        batch.close()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("name", ["gym:CartPole-v1", "gym:Blackjack-v1"])
def test_gymnasiums_vector_environments_are_a_list_of_the_same_seeds(name, vectorization):
    """CartPole terminates; Blackjack's observation is a tuple of discrete numbers."""
    factory = EnvironmentFactory(name, vectorization=vectorization)
    batch = factory.batch(7, 3)
    assert isinstance(batch, environments.GymnasiumVectorEnvironment)
    assert environments.batches_run_in_background(factory) == (vectorization == "async")
    episodes, _ = play_and_compare(batch, singles(factory, 7, 3), 120)
    assert episodes > 5


def test_a_truncation_keeps_its_discount_in_a_vector_environment():
    """MountainCar is never solved by chance: it is truncated after 200 steps."""
    factory = EnvironmentFactory("gym:MountainCar-v0", vectorization="sync")
    batch = factory.batch(0, 2)
    batch.reset()
    timesteps = [batch.step(np.zeros(2, np.int32)) for _ in range(202)]
    assert (timesteps[199].step_type == dm_env.StepType.LAST).all()
    assert (timesteps[199].discount == 1.0).all()
    assert (timesteps[200].step_type == dm_env.StepType.FIRST).all()
    assert (timesteps[201].step_type == dm_env.StepType.MID).all()


def test_cartpoles_own_vector_environment_moves_as_single_ones():
    batch = EnvironmentFactory("gym:CartPole-v1").batch(0, 5)
    alone = [gymnasium.make("CartPole-v1") for _ in range(5)]
    for env in alone:
        env.reset(seed=0)
    rng = np.random.default_rng(0)
    timestep = batch.reset()
    ended = 0
    state = batch._env.state  # [4, N], in float64: Gymnasium shows it in float32.
    for _ in range(300):
        first = timestep.step_type == dm_env.StepType.FIRST
        last = timestep.step_type == dm_env.StepType.LAST
        for i in np.flatnonzero(first):
            alone[i].reset()
            alone[i].unwrapped.state = batch._env.state[:, i]
        actions = rng.integers(2, size=5).astype(np.int32)
        timestep = batch.step(actions)
        for i in np.flatnonzero(~last):
            observation, reward, terminated, _, _ = alone[i].step(int(actions[i]))
            np.testing.assert_allclose(timestep.observation[i], observation, rtol=1e-6)
            assert timestep.reward[i] == reward
            assert (timestep.step_type[i] == dm_env.StepType.LAST) == terminated
            assert timestep.discount[i] == (not terminated)
            ended += terminated
        assert (timestep.step_type[last] == dm_env.StepType.FIRST).all()
    assert ended > 20
    assert state is not None


@pytest.mark.parametrize("game", ["breakout", "space_invaders"])
def test_the_emulators_vector_environment_is_single_games_frame_by_frame(game):
    """Lives are lost, games end, and some are truncated. No-ops are drawn differently."""
    factory = EnvironmentFactory(
        f"atari:{game}", atari=AtariOptions(noop_max=0, max_frames=1500, image_size=42)
    )
    batch = factory.batch(3, 3)
    assert environments.batches_run_in_background(factory)
    episodes, games = play_and_compare(batch, singles(factory, 3, 3), 900)
    assert episodes > games >= 3


def test_where_lives_end_no_episode_only_the_end_of_a_game_does():
    options = AtariOptions(noop_max=0, image_size=42, life_loss_ends_episode=False)
    batch = environments.AtariVectorEnvironment("breakout", 2, options)
    alone = [environments.AtariEnvironment("breakout", options, seed) for seed in (0, 1)]
    episodes, games = play_and_compare(batch, EnvironmentList(alone), 500)
    assert episodes == games >= 2


def test_an_evaluations_games_start_with_1_to_30_no_ops(monkeypatch):
    """The protocol of the published scores. Both ends come up: 1 in 30 games has each."""
    no_ops = []

    def reset(env, **kwargs):
        no_ops.append(0)
        return original_reset(env, **kwargs)

    def step(env, action):
        assert action == 0
        no_ops[-1] += 1
        return original_step(env, action)

    original_reset, original_step = ale_py.AtariEnv.reset, ale_py.AtariEnv.step
    monkeypatch.setattr(ale_py.AtariEnv, "reset", reset)
    monkeypatch.setattr(ale_py.AtariEnv, "step", step)
    batch = EnvironmentFactory("atari:pong").batch(0, 2, evaluation=True)
    for _ in range(300):
        batch.reset()
    assert len(no_ops) == 600
    assert set(no_ops) == set(range(1, 31))


def test_an_evaluations_rewards_and_episodes_are_the_emulators():
    """Space Invaders pays 5 to 200 points a hit, and has three lives."""
    batch = EnvironmentFactory("atari:space_invaders").batch(5, 1, evaluation=True)
    env = gymnasium.make("ALE/SpaceInvaders-v5", frameskip=1, repeat_action_probability=0.0)
    env = gymnasium.wrappers.AtariPreprocessing(env)
    env.reset(seed=5)
    batch.reset()
    rng, rewards, over = np.random.default_rng(0), [], False
    while not over:
        action = rng.integers(6)
        _, reward, terminated, truncated, info = env.step(action)
        over = terminated or truncated
        timestep = batch.step(np.array([action], np.int32))
        assert (timestep.step_type[0] == dm_env.StepType.LAST) == over
        assert timestep.reward[0] == reward
        rewards.append(reward)
    assert info["lives"] == 0
    assert max(rewards) > 1


def test_games_begin_with_different_numbers_of_no_ops():
    batch = EnvironmentFactory("atari:space_invaders").batch(0, 8)
    frames = batch.reset().observation
    batch.close()
    again = EnvironmentFactory("atari:space_invaders").batch(0, 8)
    np.testing.assert_array_equal(again.reset().observation, frames)
    again.close()
    assert len({frame.tobytes() for frame in frames}) > 1


@pytest.mark.parametrize("name", ["catch", "gym:CartPole-v1"])
def test_the_last_action_and_reward_are_those_of_single_environments(name):
    factory = EnvironmentFactory(name, last_action_and_reward=True, vectorization="list")
    batch = factory.batch(0, 2)
    assert is_oar(batch.observation_spec())
    play_and_compare(batch, singles(factory, 0, 2), 60)


def test_a_factory_of_ones_own_is_called_for_every_environment():
    seeds = []

    def factory(seed, evaluation):
        seeds.append((seed, evaluation))
        return environments.Catch(seed=seed)

    batch = environments.make_batch(factory, 5, 3, evaluation=True)
    assert isinstance(batch, EnvironmentList)
    assert seeds == [(5, True), (6, True), (7, True)]


@pytest.mark.parametrize("action", [-1, 4])
def test_an_action_that_a_game_has_not_is_refused(action):
    batch = EnvironmentFactory("atari:breakout").batch(0, 2)
    batch.reset()
    with pytest.raises(ValueError, match=r"0 \.\. 3"):
        batch.send(np.array([0, action]))
    batch.close()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="at least one environment"):
        EnvironmentList([])
    with pytest.raises(ValueError, match="num_environments must be at least 1, got 0"):
        EnvironmentFactory("catch").batch(0, 0)
    with pytest.raises(ValueError, match="vectorization must be one of"):
        EnvironmentFactory("catch", vectorization="fast")
    with pytest.raises(ValueError, match="no vector_entry_point"):
        EnvironmentFactory("gym:MountainCar-v0", vectorization="vector_entry_point").batch(0, 2)
    with pytest.raises(ValueError, match=r"no environment 'gym:CartPol-v1'.*CartPole-v1"):
        EnvironmentFactory("gym:CartPol-v1").batch(0, 2)
    same_step = gymnasium.make_vec(
        "MountainCar-v0",
        2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP},
    )
    with pytest.raises(ValueError, match="autoreset_mode"):
        environments.GymnasiumVectorEnvironment(same_step, 0)


@pytest.mark.parametrize("vectorization", ["auto", "sync", "vector_entry_point"])
@pytest.mark.parametrize("env_id", ["gymnasium:CartPole-v1", "CartPole"])
def test_an_id_with_a_module_or_without_a_version_is_one_for_batches_too(env_id, vectorization):
    factory = EnvironmentFactory(f"gym:{env_id}", vectorization=vectorization)
    batch = factory.batch(0, 3)
    assert batch.reset().observation.shape == (3, *factory(0).observation_spec().shape)
    assert batch.step(np.zeros(3, np.int32)).reward.tolist() == [1.0, 1.0, 1.0]
    batch.close()


class Lifted(gymnasium.ObservationWrapper):
    """Adds one to an observation of CartPole's."""

    def observation(self, observation):
        return observation + 1


def test_auto_takes_no_vector_environment_that_is_another_task():
    """As ale_py's own are: one shows other pictures than its single environment."""
    gymnasium.register_envs(ale_py)
    breakout = EnvironmentFactory("gym:ALE/Breakout-v5")
    play_and_compare(breakout.batch(0, 2), singles(breakout, 0, 2), 5)

    own = gymnasium.spec("CartPole-v1")
    for name, changes in (
        ("Lifted-v0", {"additional_wrappers": (Lifted.wrapper_spec(),)}),
        ("SameStep-v0", {"vector_entry_point": restarts_in_the_same_step}),
    ):
        fields = {
            "entry_point": own.entry_point,
            "vector_entry_point": own.vector_entry_point,
            "max_episode_steps": 20,
        }
        gymnasium.register(name, **{**fields, **changes})
        factory = EnvironmentFactory(f"gym:{name}")
        play_and_compare(factory.batch(0, 2), singles(factory, 0, 2), 30)
        by_hand = EnvironmentFactory(f"gym:{name}", vectorization="vector_entry_point")
        with pytest.raises(ValueError, match=r"additional_wrappers|autoreset_mode"):
            by_hand.batch(0, 2)


def restarts_in_the_same_step(num_envs, max_episode_steps):
    return gymnasium.make_vec(
        "CartPole-v1",
        num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP},
        max_episode_steps=max_episode_steps,
    )


def test_what_has_no_vector_entry_point_is_told_before_there_is_a_batch():
    with pytest.raises(ValueError, match="no vector_entry_point"):
        EnvironmentFactory("gym:MountainCar-v0", vectorization="vector_entry_point")(0)


def test_a_reset_forgets_the_step_that_is_under_way_in_other_processes():
    """As after Ctrl-C in the middle of a loop that is then begun again."""
    batch = EnvironmentFactory("gym:CartPole-v1", vectorization="async").batch(0, 2)
    batch.reset()
    batch.send(np.zeros(2, np.int32))
    timestep = batch.reset()
    assert timestep.step_type.tolist() == [dm_env.StepType.FIRST] * 2
    assert batch.step(np.zeros(2, np.int32)).reward.tolist() == [1.0, 1.0]
    batch.close()


def async_batch():
    """A batch of two, and their processes."""
    before = set(multiprocessing.active_children())
    batch = EnvironmentFactory("gym:CartPole-v1", vectorization="async").batch(0, 2)
    batch.reset()
    processes = set(multiprocessing.active_children()) - before
    assert len(processes) == 2
    return batch, list(processes)


def test_environments_in_other_processes_end_when_their_batch_is_closed_and_not_before():
    """Ctrl-C is told to them too, and Launchpad sends SIGTERM to all that a node has started."""
    batch, processes = async_batch()
    for process in processes:
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
    assert batch.step(np.zeros(2, np.int32)).reward.tolist() == [1.0, 1.0]
    batch.send(np.zeros(2, np.int32))
    batch.close()
    assert not any(process.is_alive() for process in processes)


@pytest.mark.parametrize("when", ["before a step", "in a step"])
def test_an_environment_whose_process_dies_is_told_of_and_holds_up_nobody(when):
    batch, processes = async_batch()
    os.kill(processes[0].pid, signal.SIGSTOP)
    if when == "in a step":
        batch.send(np.zeros(2, np.int32))
    processes[0].kill()
    processes[0].join()
    with pytest.raises(RuntimeError, match="process of a Gymnasium environment has died"):
        batch.receive() if when == "in a step" else batch.step(np.zeros(2, np.int32))
    batch.close()
    assert not any(process.is_alive() for process in processes)


def test_environments_in_other_processes_are_small_and_end_with_who_has_forgotten_them():
    """TensorFlow would be 150 MiB for each. Python ends what is left by SIGTERM, and waits."""
    code = """
import multiprocessing
from acme_impala.environments import EnvironmentFactory
batch = EnvironmentFactory("gym:CartPole-v1", vectorization="async").batch(0, 2)
for process in multiprocessing.active_children():
    print("tensorflow" in open(f"/proc/{process.pid}/maps").read())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["False"] * 2
