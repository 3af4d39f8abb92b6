"""Atari: Gymnasium's preprocessing frame by frame, and lives that add up to the whole game."""

import os

import numpy as np
import pytest

from acme_impala.environments import (
    AtariEnvironment,
    AtariOptions,
    AtariVectorEnvironment,
    EnvironmentFactory,
)

gymnasium = pytest.importorskip("gymnasium")
ale_py = pytest.importorskip("ale_py")
pytest.importorskip("cv2")

from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation  # noqa: E402

_EVALUATION = AtariOptions(life_loss_ends_episode=False)


def _reference(game: str, max_frames: int = 108_000) -> gymnasium.Env:
    """The paper's preprocessing by Gymnasium's own wrappers, from RGB; observations [4, 84, 84]."""
    gymnasium.register_envs(ale_py)
    env = gymnasium.make(
        f"ALE/{game}-v5",
        frameskip=1,
        repeat_action_probability=0.0,
        max_num_frames_per_episode=max_frames,
    )
    return FrameStackObservation(AtariPreprocessing(env, terminal_on_life_loss=False), 4)


def _actions(environment: AtariEnvironment, number: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    return rng.integers(environment.action_spec().num_values, size=number).tolist()


@pytest.mark.parametrize(
    ("name", "gymnasium_name"), [("breakout", "Breakout"), ("space_invaders", "SpaceInvaders")]
)
def test_evaluation_is_gymnasiums_preprocessing(name, gymnasium_name):
    environment, env = AtariEnvironment(name, _EVALUATION, seed=7), _reference(gymnasium_name)
    games, over, seed = 0, True, 7
    for action in _actions(environment, 600):
        timestep = environment.step(action)
        if over:
            expected, _ = env.reset(seed=seed)
            seed, over, games = None, False, games + 1
            assert timestep.first()
        else:
            expected, reward, over, _, _ = env.step(action)
            assert timestep.reward == np.float32(reward)
            assert timestep.last() == over
            assert timestep.discount == (0.0 if over else 1.0)
        assert environment.game_over == over
        np.testing.assert_array_equal(timestep.observation, np.moveaxis(expected, 0, -1))
    assert games >= 2


@pytest.mark.parametrize(
    ("name", "gymnasium_name"), [("Breakout", "Breakout"), ("SpaceInvaders", "SpaceInvaders")]
)
def test_lives_in_a_row_are_the_uninterrupted_game(name, gymnasium_name):
    environment, env = AtariEnvironment(name, seed=3), _reference(gymnasium_name)
    expected, info = env.reset(seed=3)
    timestep = environment.reset()
    lives, lives_lost, score, expected_score, owed = info["lives"], 0, 0.0, 0.0, 0.0
    for action in _actions(environment, 5000):
        expected, reward, over, _, info = env.step(action)
        timestep = environment.step(action)
        score += timestep.reward
        expected_score += reward
        np.testing.assert_array_equal(timestep.observation[..., -1], expected[-1])
        assert timestep.reward == np.float32(reward + owed)
        owed = 0.0
        assert timestep.last() == (info["lives"] < lives)
        assert environment.game_over == over
        if timestep.last():
            assert timestep.discount == 0.0
            lives, lives_lost = info["lives"], lives_lost + 1
            if over:
                break
            timestep = environment.reset()  # Goes on, by one no-op.
            expected, owed, over, _, info = env.step(0)
            expected_score += owed
            assert not over
            assert timestep.first()
            assert not environment.game_over
            np.testing.assert_array_equal(
                timestep.observation, np.repeat(expected[-1][..., None], 4, axis=-1)
            )
    assert over
    assert lives_lost >= 3
    assert score == expected_score
    # After the game, a new one: as Gymnasium's second, lives and all.
    expected, _ = env.reset()
    np.testing.assert_array_equal(environment.step(0).observation, np.moveaxis(expected, 0, -1))


def test_the_last_life_ends_with_the_game():
    """Frogger shows no life left for about a hundred frames before it says that it is over."""
    environment, env = AtariEnvironment("frogger", seed=0), _reference("Frogger")
    env.reset(seed=0)
    environment.reset()
    steps_without_lives = 0
    for action in _actions(environment, 3000):
        _, _, over, _, info = env.step(action)
        timestep = environment.step(action)
        if info["lives"] == 0:
            steps_without_lives += 1
            assert timestep.last() == over
        if over:
            break
        if timestep.last():
            environment.reset()
            env.step(0)
    assert environment.game_over
    assert steps_without_lives > 5


def test_reset_in_the_middle_of_a_life_begins_a_new_game():
    environment, env = AtariEnvironment("breakout", seed=2), _reference("Breakout")
    env.reset(seed=2)
    timestep = environment.reset()
    while not timestep.last():
        timestep = environment.step(1)
    environment.reset()  # the second life
    environment.step(0)
    expected, _ = env.reset()
    np.testing.assert_array_equal(environment.reset().observation, np.moveaxis(expected, 0, -1))


def test_too_long_a_game_is_truncated_even_where_lives_end_episodes():
    environment = AtariEnvironment("pong", AtariOptions(noop_max=0, max_frames=40), seed=0)
    for _ in range(2):  # After it, a new game begins.
        assert environment.step(0).first()
        timesteps = [environment.step(0) for _ in range(10)]
        assert [timestep.last() for timestep in timesteps] == [False] * 9 + [True]
        assert timesteps[-1].discount == 1.0
        assert environment.game_over


def test_a_life_lost_at_the_frame_limit_terminates_and_the_next_game_is_new():
    def until_last(options):
        environment = AtariEnvironment("breakout", options, seed=0)
        timesteps = [environment.reset()]
        while not timesteps[-1].last():
            timesteps.append(environment.step(1))
        return environment, timesteps

    environment, timesteps = until_last(AtariOptions(noop_max=0))
    assert not environment.game_over
    frames = 4 * (len(timesteps) - 1)
    environment, limited = until_last(AtariOptions(noop_max=0, max_frames=frames))
    assert len(limited) == len(timesteps)
    assert limited[-1].discount == 0.0
    assert environment.game_over
    np.testing.assert_array_equal(environment.reset().observation, limited[0].observation)


def test_no_op_starts_vary_with_the_seed():
    starts = set()
    for seed in range(6):
        starts.add(AtariEnvironment("seaquest", seed=seed).reset().observation.tobytes())
    assert len(starts) >= 4


def test_sticky_actions_change_the_game_and_not_its_determinism():
    def observations(sticky):
        options = AtariOptions(sticky_actions=sticky, noop_max=0)
        environment = AtariEnvironment("breakout", options, seed=0)
        actions = _actions(environment, 40)
        return np.stack([environment.step(action).observation for action in actions])

    assert np.array_equal(observations(True), observations(True))
    assert not np.array_equal(observations(True), observations(False))


def test_options_shape_the_specs():
    options = AtariOptions(frame_stack=2, image_size=42, full_action_space=True, action_repeat=1)
    environment = AtariEnvironment("pong", options)
    assert environment.action_spec().num_values == 18
    assert AtariEnvironment("pong").action_spec().num_values == 6
    assert environment.observation_spec().shape == (42, 42, 2)
    environment.observation_spec().validate(environment.reset().observation)
    environment.observation_spec().validate(environment.step(17).observation)


@pytest.mark.parametrize("in_batch", [False, True])
def test_all_18_actions_are_there_in_a_game_without_a_fire_button(in_batch):
    """The emulator knows nine of Skiing's actions; with fire they are the same as without."""
    options = AtariOptions(full_action_space=True, noop_max=0)

    def play(action):
        if in_batch:
            environment = AtariVectorEnvironment("skiing", 1, options)
        else:
            environment = AtariEnvironment("skiing", options)
        assert environment.action_spec().num_values == 18
        environment.reset()
        action = np.array([action]) if in_batch else action
        return np.stack([environment.step(action).observation for _ in range(40)])

    right, left, right_fire, fire, no_op = (
        play(ale_py.Action[name].value) for name in ("RIGHT", "LEFT", "RIGHTFIRE", "FIRE", "NOOP")
    )
    np.testing.assert_array_equal(right_fire, right)
    np.testing.assert_array_equal(fire, no_op)
    assert (right != left).any()
    assert (right != no_op).any()


def test_the_factory_evaluates_whole_games():
    factory = EnvironmentFactory("atari:breakout", last_action_and_reward=True)
    lengths, over = [], []
    for evaluation in (False, True):
        environment = factory(seed=0, evaluation=evaluation)
        timestep, length = environment.reset(), 0
        while not timestep.last():
            timestep = environment.step(length % 4)
            length += 1
        lengths.append(length)
        over.append(environment.game_over)
    assert over == [False, True]
    assert lengths[0] < lengths[1]


@pytest.mark.parametrize(
    ("game", "message"),
    [("brakout", "breakout"), ("SpaceInvader", "space_invaders"), ("zzzzz", "Games: .*pong")],
)
def test_an_unknown_game_gets_close_ones(game, message):
    with pytest.raises(ValueError, match=rf"no Atari game '{game}'.*{message}"):
        AtariEnvironment(game)


def test_impossible_actions_and_seeds_are_refused():
    environment = AtariEnvironment("pong")
    environment.reset()
    with pytest.raises(ValueError, match=r"0 \.\. 5, got -1"):
        environment.step(-1)
    with pytest.raises(ValueError, match="seed must not be negative"):
        AtariEnvironment("pong", seed=-1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noop_max", -1),
        ("action_repeat", 0),
        ("frame_stack", 0),
        ("image_size", 0),
        ("max_frames", 30),
    ],
)
def test_impossible_options_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must .*got {value}"):
        AtariOptions(**{name: value})


def test_the_emulator_prints_nothing(capfd):
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Info)
    ale_py.ALEInterface()
    assert "Arcade Learning Environment" in "".join(capfd.readouterr())  # what it would print
    AtariEnvironment("pong").reset()
    assert "".join(capfd.readouterr()) == ""


def test_a_batch_is_reset_though_a_step_has_begun():
    batch = AtariVectorEnvironment("breakout", 2)
    actions = np.zeros(2, np.int32)
    batch.reset()
    for _ in range(3):
        batch.send(actions)
        assert batch.reset().first().all()
    assert not batch.step(actions).first().any()


def test_a_batchs_emulators_do_not_preempt_who_sends_them_actions():
    def policies():
        return [os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")]

    before = policies()
    batch = AtariVectorEnvironment("breakout", 2, num_threads=2)
    assert policies().count(os.SCHED_BATCH) == before.count(os.SCHED_BATCH) + 2
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    batch.close()
