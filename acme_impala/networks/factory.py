"""From a few words to a network with its variables."""

import dataclasses
from typing import Literal

import tensorflow as tf
from acme.specs import EnvironmentSpec

from acme_impala import distributions
from acme_impala.checks import is_int
from acme_impala.networks.checks import zeros
from acme_impala.networks.cores import FeedForwardCore, LSTMCore
from acme_impala.networks.encoder import Encoder
from acme_impala.networks.impala_network import IMPALANetwork
from acme_impala.networks.initializers import split_seed
from acme_impala.networks.torsos import AtariTorso, DeepTorso, MLPTorso, ShallowTorso

TORSOS = ("mlp", "shallow", "deep", "atari")
CORES = ("feedforward", "lstm")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which network to make: a network factory that survives a way through JSON.

    Attributes:
        torso: 'mlp' for vectors; for images the paper's 'shallow' and 'deep', or 'atari' (Mnih et
            al. 2015), the paper's shallow one on Atari.
        hidden_sizes: units of the MLP's layers.
        core: 'feedforward', or 'lstm' for a memory.
        lstm_size: units of the LSTM.
        seed: of the initial weights.
        num_values: outputs of the baseline: the number of tasks with PopArt, else 1.

    Raises:
        ValueError: a value is impossible; the message names it and says what would do.
    """

    torso: Literal["mlp", "shallow", "deep", "atari"] = "mlp"
    hidden_sizes: tuple[int, ...] = (64, 64)
    core: Literal["feedforward", "lstm"] = "feedforward"
    lstm_size: int = 256
    seed: int = 0
    num_values: int = 1

    def __post_init__(self):
        # JSON has no tuples, and a config read back must equal the one written.
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        for name, value, known in (("torso", self.torso, TORSOS), ("core", self.core, CORES)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
        for name, sizes in (
            ("hidden_sizes", self.hidden_sizes),
            ("lstm_size", [self.lstm_size]),
            ("num_values", [self.num_values]),
        ):
            if not all(is_int(size) and size >= 1 for size in sizes):
                raise ValueError(
                    f"{name} must be made of whole numbers of at least 1, got "
                    f"{getattr(self, name)!r}."
                )
        split_seed(self.seed, 1)  # Refuses what is no seed.

    def __call__(self, environment_spec: EnvironmentSpec) -> IMPALANetwork:
        """Makes the network for an environment; see `make_network`."""
        return make_network(environment_spec, self)


def make_network(
    environment_spec: EnvironmentSpec, config: NetworkConfig = NetworkConfig()
) -> IMPALANetwork:
    """Makes a network for an environment, with its variables.

    Args:
        environment_spec: dm_env specs; observations as `ObservationReader` reads them, actions as
            `distributions.for_actions` takes them.
        config: which network. The initial weights depend on its seed alone: they are bit-equal in
            every process.

    Raises:
        ValueError: no policy can act by the action spec, the observation cannot be read, or an
            image torso has no image or too small a one.
    """
    distribution = distributions.for_actions(environment_spec.actions)
    torso_seed, encoder_seed, core_seed, heads_seed = split_seed(config.seed, 4)
    encoder = Encoder(
        environment_spec.observations, _make_torso(config, torso_seed), seed=encoder_seed
    )
    core = LSTMCore(config.lstm_size, core_seed) if config.core == "lstm" else FeedForwardCore()
    network = IMPALANetwork(encoder, core, distribution, heads_seed, config.num_values)
    network(zeros(environment_spec.observations, [1]), network.initial_state(1))
    return network


def _make_torso(config: NetworkConfig, seed: int) -> tf.Module:
    if config.torso == "mlp":
        return MLPTorso(config.hidden_sizes, seed=seed)
    return {"shallow": ShallowTorso, "deep": DeepTorso, "atari": AtariTorso}[config.torso](seed)
