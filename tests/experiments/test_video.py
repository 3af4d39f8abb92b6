"""Videos: a frame for each screen, in true colours; and environments that can be rendered."""

import sys

import ale_py
import cv2
import gymnasium
import numpy as np
import pytest
from PIL import Image, ImageSequence

from acme_impala.environments import AtariOptions, EnvironmentFactory, EnvironmentList
from acme_impala.experiments import playing, video


def read_mp4(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (frame := capture.read()[1]) is not None:
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return frames, capture.get(cv2.CAP_PROP_FPS)


def read_gif(path, period):
    """A frame for every `period` milliseconds: one may stand for several that are alike."""
    frames = []
    with Image.open(path) as images:
        for image in ImageSequence.Iterator(images):
            number, rest = divmod(image.info["duration"], period)
            assert rest == 0
            frames += [np.asarray(image.convert("RGB"))] * number
    return frames


def enlarged(screen, factor):
    return screen.repeat(factor, axis=0).repeat(factor, axis=1)


def play_pong(num_frames):
    """Screens of a game of so many environment frames, as launch/evaluate.py has them."""
    factory = EnvironmentFactory(
        "atari:pong", last_action_and_reward=True, atari=AtariOptions(max_frames=num_frames)
    )
    environment = factory(seed=4, evaluation=True, render=True)
    steps = playing.evaluate(
        EnvironmentList([environment]), lambda _, first: (np.full(len(first), 3), None), 1
    )
    screens = [screen for _ in steps for screen in environment.render()]
    assert environment.screens_per_second == 60
    return screens


def emulators_screens(num_frames):
    """The same game by the emulator alone: 1 to 30 no-ops, then action 3, which is RIGHT."""
    gymnasium.register_envs(ale_py)
    env = gymnasium.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0)
    env.reset(seed=4)
    no_ops = env.unwrapped.np_random.integers(1, 31)
    screens = [env.unwrapped.ale.getScreenRGB()]
    for frame in range(num_frames):
        env.step(0 if frame < no_ops else 3)
        screens.append(env.unwrapped.ale.getScreenRGB())
    return screens


def test_an_atari_game_is_shown_frame_by_frame_in_the_emulators_colours():
    screens = play_pong(150)
    assert len(screens) == 151
    np.testing.assert_array_equal(screens, emulators_screens(150))


def test_a_gif_has_every_screen_exactly(tmp_path):
    screens = play_pong(150)
    video.write(tmp_path / "pong.gif", iter(screens), 60)
    frames = read_gif(tmp_path / "pong.gif", period=20)
    assert len(frames) == 151
    np.testing.assert_array_equal(frames, [enlarged(screen, 2) for screen in screens])


def test_an_mp4_has_every_screen_in_its_colours(tmp_path):
    screens = play_pong(100)
    video.write(tmp_path / "pong.mp4", iter(screens), 60)
    frames, frames_per_second = read_mp4(tmp_path / "pong.mp4")
    assert len(frames) == 101
    assert frames_per_second == 60
    for i in (0, 50, 100):
        difference = np.abs(frames[i].astype(int) - enlarged(screens[i], 2))
        assert difference.mean() < 3
    ground, score = screens[0][120, 80], screens[0][10, 44]
    assert (np.ptp(ground), np.ptp(score)) > (50, 50)  # Brown and orange or green, not grey.
    np.testing.assert_allclose(frames[0][240, 160].astype(int), ground, atol=4)


def test_catch_is_shown_as_its_board(tmp_path):
    environment = EnvironmentFactory("catch")(seed=0, render=True)
    timesteps = [environment.reset(), *(environment.step(2) for _ in range(9))]
    screens = environment.render()
    assert environment.render() == []
    video.write(tmp_path / "catch.gif", screens, environment.screens_per_second)
    frames = read_gif(tmp_path / "catch.gif", period=200)
    assert len(frames) == len(timesteps) == 10
    for frame, timestep in zip(frames, timesteps, strict=True):
        assert frame.shape == (400, 200, 3)
        for channel in range(3):
            np.testing.assert_array_equal(
                frame[20::40, 20::40, channel], 255 * timestep.observation
            )


class Lamp(gymnasium.Env):
    """Its screen, 30 x 21, is as red as the last action says."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._take(0)

    def step(self, action):
        observation, info = self._take(action)
        return observation, 0.0, False, False, info

    def render(self):
        return np.full((30, 21, 3), [100 * self._action, 0, 0], np.uint8)

    def _take(self, action):
        self._action = action
        return np.zeros(1, np.float32), {}


class Dark(Lamp):
    metadata = {"render_modes": ["human"]}  # noqa: RUF012


@pytest.fixture
def lamps():
    gymnasium.register("Lamp-v0", Lamp)
    gymnasium.register("Dark-v0", Dark)
    yield
    del gymnasium.registry["Lamp-v0"], gymnasium.registry["Dark-v0"]


@pytest.mark.usefixtures("lamps")
def test_a_gymnasium_environment_is_shown_as_it_renders_itself(tmp_path):
    environment = EnvironmentFactory("gym:Lamp-v0")(seed=0, render=True)
    environment.reset()
    for action in (1, 2):
        environment.step(action)
    assert environment.screens_per_second == 12
    screens = environment.render()
    assert [screen[0, 0].tolist() for screen in screens] == [[0, 0, 0], [100, 0, 0], [200, 0, 0]]
    video.write(tmp_path / "lamp.mp4", screens, environment.screens_per_second)
    frames, frames_per_second = read_mp4(tmp_path / "lamp.mp4")
    assert [frame.shape for frame in frames] == [(420, 294, 3)] * 3
    assert frames_per_second == 12


@pytest.mark.usefixtures("lamps")
def test_an_environment_without_a_picture_is_refused():
    with pytest.raises(ValueError, match="'memory' cannot be rendered: it has no picture"):
        EnvironmentFactory("memory")(seed=0, render=True)
    with pytest.raises(ValueError, match=r"'gym:Dark-v0' cannot be rendered.*\['human'\]"):
        EnvironmentFactory("gym:Dark-v0")(seed=0, render=True)


def test_what_rendering_needs_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ImportError, match=r"'gym:CartPole-v1' needs packages.*pygame"):
        EnvironmentFactory("gym:CartPole-v1")(seed=0, render=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("video.avi", r"must end in .mp4 or .gif, got '.*video.avi'"),
        ("video", r"must end in .mp4 or .gif, got '.*video'"),
        ("nowhere/video.mp4", r"nowhere is no directory to write 'video.mp4' into"),
    ],
)
def test_an_impossible_path_is_refused_before_anything_is_played(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        video.write(tmp_path / name, (pytest.fail("played") for _ in range(1)), 60)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken.mp4").mkdir()
    with pytest.raises(OSError, match=r"cannot write '.*taken.mp4'"):
        video.write(tmp_path / "taken.mp4", [np.zeros((10, 10, 3), np.uint8)], 60)
