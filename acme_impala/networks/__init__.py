"""Networks: torsos, cores, heads, and what makes one of the user's own fit.

A network is `network(observation, state) -> (PolicyValue(logits [B, A], value [B]), state)` to act,
`network.unroll(observation, state, start_of_episode) -> (PolicyValue, state)` on [T+1, B, ...] to
learn, and `network.initial_state(batch_size)`.
"""

from acme_impala.networks.base import Network, state_spec
from acme_impala.networks.checks import check_baseline, check_network, zeros
from acme_impala.networks.cores import FeedForwardCore, LSTMCore
from acme_impala.networks.encoder import Encoder
from acme_impala.networks.factory import CORES, TORSOS, NetworkConfig, make_network
from acme_impala.networks.impala_network import IMPALANetwork
from acme_impala.networks.instruction import InstructionEncoder
from acme_impala.networks.sonnet_adapter import SonnetNetwork, as_impala_network
from acme_impala.networks.torsos import AtariTorso, DeepTorso, MLPTorso, ShallowTorso

__all__ = [
    "CORES",
    "TORSOS",
    "AtariTorso",
    "DeepTorso",
    "Encoder",
    "FeedForwardCore",
    "IMPALANetwork",
    "InstructionEncoder",
    "LSTMCore",
    "MLPTorso",
    "Network",
    "NetworkConfig",
    "ShallowTorso",
    "SonnetNetwork",
    "as_impala_network",
    "check_baseline",
    "check_network",
    "make_network",
    "state_spec",
    "zeros",
]
