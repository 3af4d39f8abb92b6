"""Atari games with the preprocessing and the episodes of the paper (table G.1)."""

import collections
import dataclasses
import difflib
import functools

import gymnasium
import numpy as np
from dm_env import specs
from gymnasium.wrappers import AtariPreprocessing

from acme_impala.environments.episodic import EpisodicEnvironment, Outcome, checked_action
from acme_impala.frames import StackedFrames

_NO_OP = 0  # Every game's first action.


@dataclasses.dataclass(frozen=True)
class AtariOptions:
    """How a game is shown and played. The defaults are the paper's for training.

    Attributes:
        sticky_actions: the console repeats its last action with probability 0.25 (Machado et al.
            2018) instead of never.
        full_action_space: all 18 actions, as for one network on many games, instead of the game's
            own set. Skiing knows no fire button: there an action with fire is the one without.
        noop_max: a game starts with 1 to this many no-ops, drawn uniformly; 0: none.
        action_repeat: environment frames that an agent step takes.
        frame_stack: the last this many preprocessed frames make an observation.
        image_size: height and width of a preprocessed frame.
        life_loss_ends_episode: losing a life terminates the episode (training); otherwise only the
            end of the game does (evaluation).
        max_frames: environment frames after which a game is truncated.

    Raises:
        ValueError: a number is impossible; the message names it and says what would do.
    """

    sticky_actions: bool = False
    full_action_space: bool = False
    noop_max: int = 30
    action_repeat: int = 4
    frame_stack: int = 4
    image_size: int = 84
    life_loss_ends_episode: bool = True
    max_frames: int = 108_000

    def __post_init__(self):
        for name in ("action_repeat", "frame_stack", "image_size"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if self.noop_max < 0:
            raise ValueError(f"noop_max must not be negative, got {self.noop_max}. 0 is no no-op.")
        if self.max_frames <= self.noop_max:
            raise ValueError(
                f"max_frames must be more than noop_max={self.noop_max}, got {self.max_frames}: "
                "otherwise a game can be cut off before the agent's first step."
            )


class AtariEnvironment(EpisodicEnvironment):
    """One Atari game: grey, resized, stacked frames, repeated actions, no-op starts.

    The observation is [image_size, image_size, frame_stack] uint8, the newest frame last, each the
    pixelwise maximum over the last two frames of an action repeat. At an episode's start the first
    frame fills the whole stack. The last frame of a game that `max_frames` ends may be of some
    frames before: Gymnasium's preprocessing, and ale_py's, leave the screen unread then.

    Where losing a life ends an episode (discount 0), `reset()` after it goes on with the same game,
    by one agent step of no-op, as the EpisodicLifeEnv of OpenAI Baselines. Should that step pay a
    reward, the step after it pays it; should it end the game, a new one begins. Losing the last
    life ends the episode when the game says that it is over, which in some games is a few frames
    later. `reset()` at any other time begins a new game.

    Args:
        game: 'space_invaders' or 'SpaceInvaders'.
        options: how the game is shown and played.
        seed: of no-ops and sticky actions: the same seed and actions give the same games.
        render: keep the console's screens for `render()`.

    Raises:
        ValueError: there is no such game, or the seed is negative.
        ImportError: ale-py or OpenCV is missing.
    """

    screens_per_second = 60  # The console's: one an environment frame.

    def __init__(
        self, game: str, options: AtariOptions | None = None, seed: int = 0, render: bool = False
    ):
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}.")
        self._options = options = options or AtariOptions()
        self._env = _make(game, options, render)
        self._seed: int | None = int(seed)
        self._actions = emulator_actions(rom_name(game), options.full_action_space)
        self._frames: collections.deque[np.ndarray] = collections.deque(maxlen=options.frame_stack)
        self._lives = 0
        self._life_lost = False  # The last episode ended with a life, and its game goes on.
        self._game_over = False
        self._owed = 0.0  # What a restart after a lost life has paid, for the step after it.

    @property
    def game_over(self) -> bool:
        """Whether the game itself has ended (or was truncated) with the last step.

        False after a step that lost only a life: summing rewards until it is True gives the score
        of a game.
        """
        return self._game_over

    def observation_spec(self) -> specs.BoundedArray:
        """[image_size, image_size, frame_stack] uint8, stacked frames."""
        return frames_spec(self._options)

    def action_spec(self) -> specs.DiscreteArray:
        """The game's own actions, or all 18."""
        return specs.DiscreteArray(len(self._actions), name="action")

    def render(self) -> list[np.ndarray]:
        """The screens since the last call or the game's start: one an environment frame.

        Each is [210, 160, 3] uint8 (some games are higher), RGB, no-ops at the start included.
        """
        return self._env.render()

    def close(self):
        """Frees the emulator."""
        self._env.close()

    def _begin(self) -> np.ndarray:
        goes_on = False
        if self._life_lost:
            frame, reward, terminated, truncated, info = self._env.step(_NO_OP)
            self._owed = float(reward)
            goes_on = not (terminated or truncated)
        if not goes_on:
            frame, info = self._env.reset(seed=self._seed)
            self._seed = None  # A seed given again would repeat the first game.
            self._owed = 0.0
        self._lives = info["lives"]
        self._life_lost = self._game_over = False
        self._frames.extend([frame] * self._options.frame_stack)
        return self._stacked()

    def _advance(self, action: int) -> Outcome:
        action = self._actions[checked_action(action, len(self._actions))]
        frame, reward, terminated, truncated, info = self._env.step(action)
        reward, self._owed = reward + self._owed, 0.0
        self._frames.append(frame)
        lives, lives_before = info["lives"], self._lives
        self._lives = lives
        self._game_over = terminated or truncated
        lost_one = self._options.life_loss_ends_episode and 0 < lives < lives_before
        self._life_lost = lost_one and not self._game_over
        return Outcome(self._stacked(), reward, terminated or lost_one, truncated)

    def _stacked(self) -> np.ndarray:
        return np.stack(self._frames, axis=-1)


def frames_spec(options: AtariOptions) -> StackedFrames:
    """The spec of an observation: [image_size, image_size, frame_stack] uint8."""
    shape = (options.image_size, options.image_size, options.frame_stack)
    return StackedFrames(shape, np.uint8, minimum=0, maximum=255, name="frames")


def rom_name(game: str) -> str:
    """Returns a game's name as ale-py knows it, 'space_invaders'.

    Raises:
        ValueError: there is no such game.
        ImportError: ale-py or OpenCV is missing.
    """
    _import_ale()
    return gymnasium.spec(_gymnasium_id(game)).kwargs["game"]


@functools.cache
def emulator_actions(rom: str, full_action_space: bool) -> np.ndarray:
    """Returns what the emulator calls each of the agent's actions, [A] int32.

    Args:
        rom: a game's name as ale-py knows it.
        full_action_space: whether the agent has all 18, or the game's own.
    """
    import ale_py

    console = ale_py.ALEInterface()
    console.loadROM(ale_py.roms.get_rom_path(rom))
    if not full_action_space:
        return np.arange(len(console.getMinimalActionSet()), dtype=np.int32)
    known = [action.name for action in console.getLegalActionSet()]
    names = [action.name for action in ale_py.Action.__members__.values()]
    return np.array(
        [known.index(n if n in known else n.replace("FIRE", "") or "NOOP") for n in names], np.int32
    )


def _import_ale():
    try:
        import ale_py  # Only those who play Atari need it.
        import cv2  # noqa: F401  gymnasium resizes frames with it
    except ImportError as error:
        raise ImportError(
            f"Atari games need the packages ale-py and opencv-python-headless: {error}"
        ) from error
    # Otherwise every process writes the emulator's banner to its output.
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)


def _make(game: str, options: AtariOptions, render: bool) -> gymnasium.Env:
    _import_ale()
    env = gymnasium.make(
        _gymnasium_id(game),
        # The preprocessing reads the screen itself; of what it leaves unused, grey costs least.
        obs_type="grayscale",
        frameskip=1,  # The preprocessing repeats actions.
        repeat_action_probability=0.25 if options.sticky_actions else 0.0,
        full_action_space=options.full_action_space,
        max_num_frames_per_episode=options.max_frames,
        render_mode="rgb_array_list" if render else None,
    )
    return AtariPreprocessing(
        env,
        noop_max=options.noop_max,
        frame_skip=options.action_repeat,
        screen_size=options.image_size,
        terminal_on_life_loss=False,  # Gymnasium's would restart the game; see AtariEnvironment.
    )


def _gymnasium_id(game: str) -> str:
    ids = {
        spec.kwargs["game"]: spec.id
        for spec in gymnasium.registry.values()
        if spec.namespace == "ALE" and spec.version == 5
    }
    by_letters = {_letters(name): name for name in ids}
    wanted = _letters(game)
    if wanted in by_letters:
        return ids[by_letters[wanted]]
    close = [by_letters[name] for name in difflib.get_close_matches(wanted, by_letters)]
    raise ValueError(
        f"There is no Atari game {game!r}. "
        + (f"The closest names: {', '.join(close)}." if close else f"Games: {', '.join(ids)}.")
    )


def _letters(game: str) -> str:
    """Drops what differs between 'space_invaders' and 'SpaceInvaders'."""
    return game.replace("_", "").lower()
