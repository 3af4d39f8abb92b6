"""Environments by name, so that a name can be a flag, be stored, and go to another process."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any, Literal, get_args

import dm_env
import gymnasium

from acme_impala.environments.atari import AtariEnvironment, AtariOptions, rom_name
from acme_impala.environments.atari_vector import AtariVectorEnvironment
from acme_impala.environments.batch import (
    BackgroundEnvironmentList,
    BatchedEnvironment,
    EnvironmentList,
)
from acme_impala.environments.catch import Catch
from acme_impala.environments.dmlab import LabEnvironment, LabOptions
from acme_impala.environments.dmlab30 import level_of
from acme_impala.environments.gymnasium_env import GymnasiumEnvironment
from acme_impala.environments.gymnasium_vector import (
    GymnasiumVectorEnvironment,
    ended_by_its_parent,
)
from acme_impala.environments.memory import MemoryChain
from acme_impala.environments.wrappers import (
    BatchedObservationActionReward,
    ObservationActionReward,
)

Vectorization = Literal["auto", "list", "sync", "async", "vector_entry_point"]
VECTORIZATIONS = get_args(Vectorization)
_KINDS = ("gym", "atari", "dmlab")
_WHOLE_NAMES = ("catch", "memory")
_NAMES = "'gym:<Gymnasium id>', 'atari:<game>', 'dmlab:<level>', 'catch' and 'memory'"


@dataclasses.dataclass(frozen=True)
class EnvironmentFactory:
    """Makes the environment of a name, one for each seed. It can be pickled and stored as JSON.

    Attributes:
        name: 'gym:<Gymnasium id>' such as 'gym:CartPole-v1', 'atari:<game>' such as 'atari:pong',
            'dmlab:<level>' such as 'dmlab:rooms_watermaze' or, outside DMLab-30, a level's full
            name; 'catch' or 'memory'.
        last_action_and_reward: observations are `OAR`s: they hold the last action and reward.
        atari: how Atari games are shown and played.
        lab: how levels of DeepMind Lab are shown and played.
        vectorization: how a batch of Gymnasium environments is stepped: 'list', one after the
            other; 'sync', 'async' (a process for each) and 'vector_entry_point' (the environment's
            own), as `gymnasium.make_vec` calls them; 'auto': the environment's own where it has
            one, else a list.

    Raises:
        ValueError: the name or the vectorization is of no kind above.
    """

    name: str
    last_action_and_reward: bool = False
    atari: AtariOptions = dataclasses.field(default_factory=AtariOptions)
    vectorization: Vectorization = "auto"
    lab: LabOptions = dataclasses.field(default_factory=LabOptions)

    def __post_init__(self):
        if self.vectorization not in VECTORIZATIONS:
            raise ValueError(
                f"vectorization must be one of {', '.join(VECTORIZATIONS)}, "
                f"got {self.vectorization!r}."
            )
        kind, colon, which = self.name.partition(":")
        if not (self.name in _WHOLE_NAMES or (kind in _KINDS and which)):
            close = difflib.get_close_matches(self.name, _WHOLE_NAMES)
            guesses = " or ".join(
                repr(guess) for guess in (*close, *(f"{kind}:{self.name}" for kind in _KINDS))
            )
            raise ValueError(
                f"There is no environment {self.name!r}. Names are {_NAMES}."
                + ("" if colon else f" Is it {guesses}?")
            )

    @property
    def spelled_out(self) -> str:
        """The name in the one spelling that all names of the same task have.

        Raises:
            ValueError: there is no such game.
            ImportError: packages are missing that the environment needs.
        """
        kind, _, which = self.name.partition(":")
        if kind == "atari":
            return f"atari:{rom_name(which)}"
        return f"dmlab:{level_of(which)}" if kind == "dmlab" else self.name

    @property
    def frames_per_step(self) -> int | None:
        """Environment frames that an agent step takes; None: only Gymnasium knows."""
        kind = self.name.partition(":")[0]
        if kind == "gym":
            return None
        options = {"atari": self.atari, "dmlab": self.lab}.get(kind)
        return options.action_repeat if options else 1

    @property
    def batches_run_in_background(self) -> bool:
        """Whether a batch of environments to train in steps them in threads or processes."""
        kind = self.name.partition(":")[0]
        return kind in ("atari", "dmlab") or (kind == "gym" and self.vectorization == "async")

    @property
    def has_own_processes(self) -> bool:
        """Whether each environment is a process of its own, of hundreds of megabytes."""
        return self.batches_run_in_background and not self.name.startswith("atari:")

    def __call__(
        self, seed: int, evaluation: bool = False, render: bool = False
    ) -> dm_env.Environment:
        """Makes an environment.

        Args:
            seed: of everything random in it, not negative: the same seed and actions give the same
                episodes.
            evaluation: episodes are whole games, where training may end them earlier (Atari: when
                a life is lost), and tasks of DMLab-30 that have a test level are played on it.
                Rewards are as the game pays them, here as in training: the learner is what clips
                them.
            render: the environment has `screens_per_second`, and a method `render()` that returns
                the screens shown since its last call, in true colours: [height, width, 3] uint8.

        Raises:
            ValueError: there is no such Gymnasium id or game; the message has the closest names.
                Or it cannot be rendered.
            ImportError: the environment exists, and packages that it needs do not.
        """
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}.")
        environment = self._make(seed, evaluation, render)
        return ObservationActionReward(environment) if self.last_action_and_reward else environment

    def batch(
        self, seed: int, num_environments: int, evaluation: bool = False, num_threads: int = 1
    ) -> BatchedEnvironment:
        """Makes environments that are stepped together, of the seeds seed, seed + 1, ...

        A Gymnasium environment's own vector environment may draw for all from one generator.

        Args:
            seed: of everything random in the first environment, not negative.
            num_environments: N, at least 1.
            evaluation: episodes are whole games. Atari games are then stepped one after the other.
            num_threads: that step Atari games in training.

        Raises:
            ValueError: as for a single environment, or it has no vectorization of that kind.
            ImportError: the environment exists, and packages that it needs do not.
        """
        if num_environments < 1:
            raise ValueError(f"num_environments must be at least 1, got {num_environments}.")
        batch = self._make_batch(seed, num_environments, evaluation, num_threads)
        return BatchedObservationActionReward(batch) if self.last_action_and_reward else batch

    def _make(self, seed: int, evaluation: bool, render: bool = False) -> dm_env.Environment:
        kind, _, which = self.name.partition(":")
        if kind == "gym":
            make = _make_rendered_gymnasium if render else _make_gymnasium
            env = make(which)
            if self.vectorization == "vector_entry_point":  # Told now, not when actors begin.
                _check_vector_entry_point(env, which)
            return GymnasiumEnvironment(env, seed)
        if kind == "atari":
            return AtariEnvironment(which, self._atari(evaluation), seed, render)
        if kind == "dmlab":
            return LabEnvironment(which, self.lab, seed, evaluation, render)
        if kind == "catch":
            return Catch(seed=seed)
        if render:
            raise ValueError(
                f"The environment {self.name!r} cannot be rendered: it has no picture. Atari "
                "games, DeepMind Lab, 'catch' and Gymnasium environments with the render mode "
                "'rgb_array' can."
            )
        return MemoryChain(seed=seed)

    def _make_batch(
        self, seed: int, num_environments: int, evaluation: bool, num_threads: int
    ) -> BatchedEnvironment:
        kind, _, which = self.name.partition(":")
        # A published score is one of games that start with at least one no-op, and the emulator's
        # vector environment draws none at all now and then.
        if kind == "atari" and not evaluation:
            return AtariVectorEnvironment(which, num_environments, self.atari, seed, num_threads)
        if kind == "gym" and self.vectorization != "list":
            env = _make_gymnasium_vector(which, num_environments, self.vectorization)
            if env:
                return GymnasiumVectorEnvironment(env, seed)
        make_list = BackgroundEnvironmentList if kind == "dmlab" else EnvironmentList
        return make_list([self._make(seed + i, evaluation) for i in range(num_environments)])

    def _atari(self, evaluation: bool) -> AtariOptions:
        if not evaluation:
            return self.atari
        return dataclasses.replace(self.atari, life_loss_ends_episode=False)


def make_batch(
    environment_factory: Callable[[int, bool], dm_env.Environment],
    seed: int,
    num_environments: int,
    evaluation: bool = False,
    num_threads: int = 1,
) -> BatchedEnvironment:
    """Makes environments that are stepped together by any factory of single environments.

    A factory that has a method `batch`, as `EnvironmentFactory`, is asked for the batch itself.

    Args:
        environment_factory: called with (seed, evaluation).
        seed: of the first environment; the others have seed + 1, ...
        num_environments: N, at least 1.
        evaluation: as the factory understands it.
        num_threads: that step the environments, where they are stepped by threads.
    """
    if hasattr(environment_factory, "batch"):
        return environment_factory.batch(seed, num_environments, evaluation, num_threads)
    return EnvironmentList(
        [environment_factory(seed + i, evaluation) for i in range(num_environments)]
    )


def batches_run_in_background(
    environment_factory: Callable[[int, bool], dm_env.Environment],
) -> bool:
    """Whether the batches that `make_batch` makes take their steps in threads or processes."""
    return getattr(environment_factory, "batches_run_in_background", False)


def _make_gymnasium(env_id: str) -> gymnasium.Env:
    return _named_errors(env_id, lambda: gymnasium.make(env_id))


def _make_rendered_gymnasium(env_id: str) -> gymnasium.Env:
    env = _make_gymnasium(env_id)
    modes = env.metadata.get("render_modes", [])
    env.close()
    if "rgb_array" not in modes:
        raise ValueError(
            f"The environment 'gym:{env_id}' cannot be rendered: its render modes are {modes}, and "
            "'rgb_array' is not among them."
        )

    def make() -> gymnasium.Env:
        env = gymnasium.make(env_id, render_mode="rgb_array_list")
        env.reset()  # Renders: many import what they need for it only then.
        return env

    return _named_errors(env_id, make)


def _make_gymnasium_vector(
    env_id: str, num_environments: int, vectorization: Vectorization
) -> gymnasium.vector.VectorEnv | None:
    """Makes a vector environment; None where 'auto' finds none of the environment's own."""
    if vectorization == "auto" and num_environments == 1:
        return None  # Gymnasium gives a vector of one another time limit.
    single = _make_gymnasium(env_id)
    single.close()
    if vectorization == "auto":
        # What was made knows its id in full, without a module before it and with a version.
        spec = gymnasium.spec(single.unwrapped.spec.id)
        # Gymnasium applies a spec's wrappers to single environments only.
        if not spec.vector_entry_point or spec.additional_wrappers:
            return None
        env = _make_vec(env_id, num_environments, "vector_entry_point")
        if _is_vector_of(single, env):
            return env
        env.close()
        return None
    if vectorization == "vector_entry_point":
        _check_vector_entry_point(single, env_id)
    return _make_vec(env_id, num_environments, vectorization)


def _make_vec(
    env_id: str, num_environments: int, vectorization: Vectorization
) -> gymnasium.vector.VectorEnv:
    # Processes that are forked from one that uses TensorFlow can hang. Observations are copied
    # once, by the adapter.
    settings = {
        "sync": {"vector_kwargs": {"copy": False}},
        "async": {
            "vector_kwargs": {"copy": False, "context": "spawn"},
            "wrappers": [ended_by_its_parent()],
        },
    }
    try:
        return gymnasium.make_vec(
            env_id,
            num_envs=num_environments,
            vectorization_mode=vectorization,
            **settings.get(vectorization, {}),
        )
    except gymnasium.error.Error as error:
        raise ValueError(
            f"The environment 'gym:{env_id}' has no vectorization={vectorization!r}: {error}"
        ) from error


def _check_vector_entry_point(env: gymnasium.Env, env_id: str):
    if not env.unwrapped.spec.vector_entry_point:
        raise ValueError(
            f"The environment 'gym:{env_id}' has no vector_entry_point of its own. "
            "vectorization='auto' takes one where there is one."
        )


def _is_vector_of(single: gymnasium.Env, env: gymnasium.vector.VectorEnv) -> bool:
    """Whether one may stand for the other: some show a game in another way when vectorized."""
    return (
        env.single_observation_space == single.observation_space
        and env.single_action_space == single.action_space
        and env.metadata.get("autoreset_mode") == gymnasium.vector.AutoresetMode.NEXT_STEP
    )


def _named_errors(env_id: str, make: Callable[[], Any]) -> Any:
    """Runs `make`, and says what the errors of Gymnasium mean."""
    try:
        return make()
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise ImportError(
            f"The environment 'gym:{env_id}' needs packages that cannot be imported here: {error}"
        ) from error
    except gymnasium.error.Error as error:
        by_lower = {registered.lower(): registered for registered in gymnasium.registry}
        close = [by_lower[name] for name in difflib.get_close_matches(env_id.lower(), by_lower)]
        raise ValueError(
            f"There is no environment 'gym:{env_id}'. {error}"
            + (f" The closest ids: {', '.join(close)}." if close else "")
            + f" Names are {_NAMES}."
        ) from error
