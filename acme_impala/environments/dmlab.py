"""DeepMind Lab with the preprocessing and the actions of the paper (tables D.1 and D.2)."""

import collections
import dataclasses
import difflib
import os
import time
from typing import Any, Literal

import dm_env
import numpy as np
from absl import logging
from dm_env import specs

from acme_impala.environments.dmlab30 import DMLAB_30, is_held_out, level_of, needs_dataset
from acme_impala.environments.episodic import checked_action
from acme_impala.environments.lab_worker import LabWorker, WorkerDiedError, WorkerError
from acme_impala.environments.words import HASH_BUCKETS, word_ids

# Look left/right and up/down (pixels a frame), strafe, move, fire, jump, crouch.
NativeAction = tuple[int, int, int, int, int, int, int]
_LARGEST = (512, 512, 1, 1, 1, 1, 1)
_SMALLEST = (-512, -512, -1, -1, 0, 0, 0)
PAPER_ACTIONS: tuple[NativeAction, ...] = (
    (0, 0, 0, 1, 0, 0, 0),  # forward
    (0, 0, 0, -1, 0, 0, 0),  # backward
    (0, 0, -1, 0, 0, 0, 0),  # strafe left
    (0, 0, 1, 0, 0, 0, 0),  # strafe right
    (-20, 0, 0, 0, 0, 0, 0),  # look left
    (20, 0, 0, 0, 0, 0, 0),  # look right
    (-20, 0, 0, 1, 0, 0, 0),  # forward and look left
    (20, 0, 0, 1, 0, 0, 0),  # forward and look right
    (0, 0, 0, 0, 1, 0, 0),  # fire
)
RENDERERS = ("software", "hardware")

# A process that dies this often within this time will die again.
MAX_LOSSES = 5
LOSS_SECONDS = 600.0
_HOW_TO_GET_IT = (
    "DeepMind Lab needs the package deepmind_lab, which is on no registry: build it as "
    "https://github.com/google-deepmind/lab/blob/master/docs/users/build.md says, and install the "
    "wheel into this environment"
)


@dataclasses.dataclass(frozen=True)
class LabOptions:
    """How a level is shown and played. The defaults are the paper's.

    Attributes:
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        action_repeat: environment frames that an agent step takes.
        action_set: what an agent can do: seven numbers for each action, in the order of
            `NativeAction`.
        max_words: of an instruction; what is longer is cut.
        level_cache: a directory for the maps that levels make, which any number of processes may
            share; None: every map is made anew.
        dataset_path: the directory of the pictures that some psychlab levels show.
        renderer: 'software', or 'hardware' where there is a display.

    Raises:
        ValueError: a value is impossible; the message names it and says what would do.
    """

    width: int = 96
    height: int = 72
    action_repeat: int = 4
    action_set: tuple[NativeAction, ...] = PAPER_ACTIONS
    max_words: int = 16
    level_cache: str | None = None
    dataset_path: str | None = None
    renderer: Literal["software", "hardware"] = "software"

    def __post_init__(self):
        for name in ("width", "height"):
            value = getattr(self, name)
            if value < 4 or value % 4:
                raise ValueError(f"{name} must be a multiple of 4, 4 at least, got {value}.")
        for name in ("action_repeat", "max_words"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if self.renderer not in RENDERERS:
            raise ValueError(
                f"renderer must be one of {', '.join(RENDERERS)}, got {self.renderer!r}."
            )
        # A stored config has lists.
        object.__setattr__(self, "action_set", tuple(map(tuple, self.action_set)))
        if not self.action_set:
            raise ValueError("action_set must have at least one action, got none.")
        for action in self.action_set:
            if len(action) != len(_LARGEST) or not all(
                isinstance(x, int) and low <= x <= high
                for low, x, high in zip(_SMALLEST, action, _LARGEST, strict=True)
            ):
                raise ValueError(
                    "An action of action_set must be seven whole numbers from "
                    f"{_SMALLEST} to {_LARGEST}, got {action}."
                )


class LabCrashedError(RuntimeError):
    """A level's process has died too often; the message has the last reason."""


class LabEnvironment(dm_env.Environment):
    """One level, in a process of its own: an error in a level can abort its whole process.

    The observation is {'RGB_INTERLEAVED': [height, width, 3] uint8, 'INSTR': [max_words] int32},
    the instruction's words hashed and padded with 0 (`words.word_ids`). Rewards are as the level
    pays them, of all frames of an action repeat. The level shows nothing after an episode's end, so
    the last observation of an episode is the one before its last step; its discount is 0, for the
    level does not say whether it was its time that was up.

    `step` is `send` and `receive`; between the two the level runs in the background.

    A process that dies is started anew. Where that was in the middle of an episode, the step begins
    another one: it returns a FIRST without a LAST before it, of reward and discount 0. So what
    happened since the last observation is not known, and is no agent step.

    Attributes:
        restarts: how often the process was started anew.

    Args:
        name: a task of DMLab-30, or the full name of any level (`dmlab30.level_of`).
        options: how the level is shown and played.
        seed: of the episodes' seeds, not negative: the same seed and actions give the same
            episodes, as long as no process dies.
        evaluation: play the test level of a task that has one.
        render: keep the pictures for `render()`.

    Raises:
        ValueError: an option does not fit the level, or the seed is negative. The first `reset`
            raises it where there is no such level.
    """

    def __init__(
        self,
        name: str,
        options: LabOptions | None = None,
        seed: int = 0,
        evaluation: bool = False,
        render: bool = False,
    ):
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}.")
        self._name = name
        self._options = options = options or LabOptions()
        self._level = level_of(name, evaluation)
        self._config = _level_config(self._level, options)
        self._rng = np.random.default_rng(seed)
        # One an agent step, of `action_repeat` frames at 60 a second.
        self.screens_per_second = 60 / options.action_repeat
        self._shown: list[np.ndarray] | None = [] if render else None
        self._observation: dict[str, np.ndarray] = {}
        self._restart_is_due = True
        self._answer_is_due = False  # To a step or a reset.
        self._has_begun = False  # Whether there was ever an episode.
        self._loss_times: collections.deque[float] = collections.deque(maxlen=MAX_LOSSES)
        self.restarts = 0
        self._start()

    @property
    def pid(self) -> int:
        """The id of the level's process."""
        return self._worker.pid

    def reset(self) -> dm_env.TimeStep:
        """Begins an episode."""
        self.send_reset()
        return self.receive()

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes one agent step, or begins an episode where none is under way."""
        self.send(action)
        return self.receive()

    def send_reset(self):
        """Begins to begin an episode; `receive` has its first observation.

        What is under way, as after Ctrl-C in the middle of a step, goes nowhere.
        """
        if self._answer_is_due:
            self.receive()
        self._restart_is_due = self._answer_is_due = True
        self._worker.forget_output()
        self._worker.send("reset", int(self._rng.integers(2**31)))

    def send(self, action: Any):
        """Begins to take one agent step, or an episode.

        Raises:
            ValueError: there is no such action.
        """
        if self._restart_is_due:
            self.send_reset()
            return
        actions = self._options.action_set
        native = actions[checked_action(action, len(actions))]
        self._answer_is_due = True
        self._worker.send("step", native, self._options.action_repeat)

    def receive(self) -> dm_env.TimeStep:
        """Waits for what `send` or `send_reset` has begun, and returns it.

        Raises:
            ValueError: the level cannot be played; the message says why.
            ImportError: DeepMind Lab is not there; the message says how to get it.
            LabCrashedError: the process has died MAX_LOSSES times in LOSS_SECONDS.
        """
        begins = self._restart_is_due
        try:
            if self._is_being_made:
                self._worker.receive()
                self._is_being_made = False
            answer = self._worker.receive()
            self._answer_is_due = False
        except (WorkerDiedError, WorkerError) as error:
            self._answer_is_due = False
            if isinstance(error, WorkerError) and not self._has_begun:
                self._worker.close()
                raise self._explain(error) from error
            first = self._begin_anew(error)
            zero = np.float32(0.0)
            return first if begins else first._replace(reward=zero, discount=zero)
        if begins:
            self._has_begun, self._restart_is_due = True, False
            if self._shown:
                self._shown = []
            return dm_env.restart(self._observe(*answer))
        reward, seen = answer
        if seen:
            return dm_env.transition(np.float32(reward), self._observe(*seen), np.float32(1.0))
        self._restart_is_due = True
        return dm_env.termination(np.float32(reward), self._observation)._replace(
            discount=np.float32(0.0)
        )

    def observation_spec(self) -> dict[str, specs.BoundedArray]:
        """The picture, and the instruction's words."""
        shape = (self._options.height, self._options.width, 3)
        return {
            "RGB_INTERLEAVED": specs.BoundedArray(
                shape, np.uint8, minimum=0, maximum=255, name="RGB_INTERLEAVED"
            ),
            "INSTR": specs.BoundedArray(
                (self._options.max_words,), np.int32, minimum=0, maximum=HASH_BUCKETS, name="INSTR"
            ),
        }

    def action_spec(self) -> specs.DiscreteArray:
        """The actions of the action set."""
        return specs.DiscreteArray(len(self._options.action_set), name="action")

    def reward_spec(self) -> specs.Array:
        """A float32 scalar."""
        return specs.Array((), np.float32, name="reward")

    def discount_spec(self) -> specs.BoundedArray:
        """A float32 scalar: 0 at an episode's end, else 1."""
        return specs.BoundedArray((), np.float32, minimum=0.0, maximum=1.0, name="discount")

    def render(self) -> list[np.ndarray]:
        """The pictures since the last call or the episode's start: one an agent step.

        Each is [height, width, 3] uint8, RGB.
        """
        shown, self._shown = self._shown, []
        return shown

    def close(self):
        """Ends the level's process."""
        self._worker.close()

    def _start(self):
        self._worker = LabWorker()
        self._is_being_made = True  # Its answer to 'make' was not received yet.
        options = self._options
        self._worker.send("make", self._level, self._config, options.renderer, options.level_cache)

    def _begin_anew(self, error: WorkerDiedError | WorkerError) -> dm_env.TimeStep:
        """Starts another process, and an episode in it."""
        self._worker.close()
        now = time.monotonic()
        self._loss_times.append(now)
        if len(self._loss_times) == MAX_LOSSES and now - self._loss_times[0] < LOSS_SECONDS:
            raise LabCrashedError(
                f"The level {self._level} has failed {MAX_LOSSES} times in "
                f"{now - self._loss_times[0]:.0f} seconds; the last time {error}"
            ) from error
        logging.warning("The level %s begins anew: %s", self._level, error)
        self.restarts += 1
        self._start()
        return self.reset()

    def _observe(self, picture: np.ndarray, instruction: str) -> dict[str, np.ndarray]:
        if self._shown is not None:
            self._shown.append(picture)
        self._observation = {
            "RGB_INTERLEAVED": picture,
            "INSTR": word_ids(instruction, self._options.max_words),
        }
        return self._observation

    def _explain(self, error: WorkerError) -> Exception:
        """What is wrong with the level or the machine, since it has never run."""
        if error.kind in ("ImportError", "ModuleNotFoundError"):
            return ImportError(f"{_HOW_TO_GET_IT}. It cannot be imported: {error}")
        message = f"DeepMind Lab cannot play the level {self._level!r}: {error}"
        if "Level not found" in message:
            close = difflib.get_close_matches(self._name, DMLAB_30, n=3)
            return ValueError(
                f"There is no level 'dmlab:{self._name}'. {message} "
                + (f"The closest tasks of DMLab-30: {', '.join(close)}. " if close else "")
                + "Other levels have their full name, as dmlab:contributed/dmlab30/rooms_watermaze."
            )
        return ValueError(message)


def _level_config(level: str, options: LabOptions) -> dict[str, str]:
    """DeepMind Lab's settings of a level.

    Raises:
        ValueError: the level needs a data set that is not there, or its cache cannot be made.
    """
    config = {"width": str(options.width), "height": str(options.height)}
    if needs_dataset(level) and not options.dataset_path:
        raise ValueError(
            f"The level {level} shows pictures of a data set: name its directory by dataset_path "
            "(--dataset_path). https://github.com/google-deepmind/lab/tree/master/data/"
            "brady_konkle_oliva2008 says how to get it."
        )
    if options.dataset_path:
        if not os.path.isdir(options.dataset_path):
            raise ValueError(f"dataset_path={options.dataset_path} is no directory.")
        config["datasetPath"] = options.dataset_path
    if options.level_cache:
        # Here, where it is told: what the level's process complains of, nobody reads.
        try:
            os.makedirs(options.level_cache, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"level_cache={options.level_cache} is no directory and cannot be made: {error}"
            ) from error
    if is_held_out(level):
        config["allowHoldOutLevels"] = "true"
    return config
