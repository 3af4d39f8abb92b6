"""The actor: one environment, one policy call a step."""

from collections.abc import Sequence

import acme
import dm_env
import numpy as np
import tensorflow as tf
import tree
from acme.tf import variable_utils

from acme_impala import networks, types
from acme_impala.replay import adder as adder_lib


class IMPALAActor(acme.Actor):
    """Acts by the newest policy and records unrolls.

    The weights change only between unrolls: they are fetched anew when an unroll begins, after the
    queue has taken the unrolls before (so that a wait for room does not make them old). Without an
    adder, as in an evaluator, they are fetched when an episode begins.

    The network may be anything that `networks.as_impala_network` takes. It acts on the CPU.
    """

    def __init__(
        self,
        network: networks.Network,
        *,
        adder: adder_lib.UnrollAdder | None = None,
        variable_source: acme.VariableSource | None = None,
        seed: int | Sequence[int] = 0,
        greedy: bool = False,
    ):
        """Makes an actor.

        Args:
            network: the policy; its variables are overwritten by those of `variable_source`.
            adder: where steps go; None: nowhere.
            variable_source: the learner, or something that stands for it; None: the network is
                taken as it is.
            seed: of the actions' sampling.
            greedy: take the likeliest action instead of sampling.
        """
        self._network = networks.as_impala_network(network)
        self._adder = adder
        self._variable_source = variable_source
        self._variable_client: variable_utils.VariableClient | None = None
        self._policy_version = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._random = np.random.default_rng(seed)
        self._greedy = greedy
        self._policy = tf.function(self._network.__call__)
        self._state = None
        self._extras = None
        self._version = 0

    def observe_first(self, timestep: dm_env.TimeStep):
        """Starts an episode, with the initial recurrent state."""
        with tf.device("/CPU:0"):
            self._state = self._network.initial_state(1)
        if self._adder:
            self._adder.add_first(timestep)
        else:
            self._take_weights(timestep.observation)

    def select_action(self, observation: types.Nest) -> np.ndarray:
        """Samples an action for one observation, without a batch dimension."""
        if self._adder and self._adder.unroll_begins:
            self._adder.flush()
            self._take_weights(observation)
        with tf.device("/CPU:0"):
            (logits, _), next_state = self._policy(_batch_of_one(observation), self._state)
        logits = logits.numpy()[0]
        if self._adder:
            self._extras = adder_lib.ActingExtras(
                behaviour_logits=logits,
                state=tree.map_structure(lambda x: x.numpy()[0], self._state),
                policy_version=self._version,
            )
        self._state = next_state
        # Gumbel's trick: argmax(logits + noise) is distributed as softmax(logits).
        noise = 0.0 if self._greedy else self._random.gumbel(size=logits.shape)
        return np.argmax(logits + noise).astype(np.int32)

    def observe(self, action: types.Nest, next_timestep: dm_env.TimeStep):
        """Records a step."""
        if self._adder:
            self._adder.add(action, next_timestep, self._extras)

    def update(self, wait: bool = False):
        """Does nothing: weights are taken when an unroll begins, and only then."""

    def _take_weights(self, observation: types.Nest):
        if self._variable_source and not self._variable_client:
            # Sonnet makes variables at the first call, so there are none to fetch into before.
            with tf.device("/CPU:0"):
                self._network(_batch_of_one(observation), self._network.initial_state(1))
            self._variable_client = variable_utils.VariableClient(
                self._variable_source,
                {"policy": self._network.variables, "policy_version": [self._policy_version]},
            )
        if self._variable_client:
            self._variable_client.update_and_wait()
        self._version = int(self._policy_version)


def _batch_of_one(observation: types.Nest) -> types.Nest:
    return tree.map_structure(lambda x: np.asarray(x)[np.newaxis], observation)
