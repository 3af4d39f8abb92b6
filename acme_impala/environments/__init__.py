"""Environments behind `dm_env.Environment`: Gymnasium's, Atari games, and two small tasks."""

from acme_impala.environments.atari import AtariEnvironment, AtariOptions
from acme_impala.environments.catch import Catch
from acme_impala.environments.factory import EnvironmentFactory
from acme_impala.environments.gymnasium_env import GymnasiumEnvironment
from acme_impala.environments.memory import MemoryChain
from acme_impala.environments.wrappers import ObservationActionReward

__all__ = [
    "AtariEnvironment",
    "AtariOptions",
    "Catch",
    "EnvironmentFactory",
    "GymnasiumEnvironment",
    "MemoryChain",
    "ObservationActionReward",
]
