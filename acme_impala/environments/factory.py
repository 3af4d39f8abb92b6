"""Environments by name, so that a name can be a flag, be stored, and go to another process."""

import dataclasses
import difflib

import dm_env
import gymnasium

from acme_impala.environments.atari import AtariEnvironment, AtariOptions
from acme_impala.environments.catch import Catch
from acme_impala.environments.gymnasium_env import GymnasiumEnvironment
from acme_impala.environments.memory import MemoryChain
from acme_impala.environments.wrappers import ObservationActionReward

_NAMES = "'gym:<Gymnasium id>', 'atari:<game>', 'catch' and 'memory'"


@dataclasses.dataclass(frozen=True)
class EnvironmentFactory:
    """Makes the environment of a name, one for each seed. It can be pickled and stored as JSON.

    Attributes:
        name: 'gym:<Gymnasium id>' such as 'gym:CartPole-v1', 'atari:<game>' such as 'atari:pong',
            'catch' or 'memory'.
        last_action_and_reward: observations are `OAR`s: they hold the last action and reward.
        atari: how Atari games are shown and played.

    Raises:
        ValueError: the name is of no kind above.
    """

    name: str
    last_action_and_reward: bool = False
    atari: AtariOptions = dataclasses.field(default_factory=AtariOptions)

    def __post_init__(self):
        kind, colon, which = self.name.partition(":")
        if not (self.name in ("catch", "memory") or (kind in ("gym", "atari") and which)):
            raise ValueError(
                f"There is no environment {self.name!r}. Names are {_NAMES}."
                + ("" if colon else f" Is it 'gym:{self.name}' or 'atari:{self.name}'?")
            )

    def __call__(self, seed: int, evaluation: bool = False) -> dm_env.Environment:
        """Makes an environment.

        Args:
            seed: of everything random in it, not negative: the same seed and actions give the same
                episodes.
            evaluation: episodes are whole games, where training may end them earlier (Atari: when
                a life is lost).

        Raises:
            ValueError: there is no such Gymnasium id or game; the message has the closest names.
            ImportError: the environment exists, and packages that it needs do not.
        """
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}.")
        environment = self._make(seed, evaluation)
        return ObservationActionReward(environment) if self.last_action_and_reward else environment

    def _make(self, seed: int, evaluation: bool) -> dm_env.Environment:
        kind, _, which = self.name.partition(":")
        if kind == "gym":
            return GymnasiumEnvironment(_make_gymnasium(which), seed)
        if kind == "atari":
            options = self.atari
            if evaluation:
                options = dataclasses.replace(options, life_loss_ends_episode=False)
            return AtariEnvironment(which, options, seed)
        if kind == "catch":
            return Catch(seed=seed)
        return MemoryChain(seed=seed)


def _make_gymnasium(env_id: str) -> gymnasium.Env:
    try:
        return gymnasium.make(env_id)
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
