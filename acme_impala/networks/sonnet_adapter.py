"""Acme's and the user's own Sonnet networks, with the interface of this package's."""

import inspect
from typing import Any

import tensorflow as tf
import tree

from acme_impala.networks.base import Network
from acme_impala.networks.cores import reset_state
from acme_impala.types import Nest, PolicyValue


class SonnetNetwork(tf.Module):
    """Wraps anything like `snt.RNNCore` that returns ((logits, value), state).

    Nothing is known of what is inside, so `unroll` calls the network row by row. The variables are
    created by the first call.

    Networks written for Acme's environments, Acme's own among them, expect images as floats in
    [0, 1] and refuse the bytes that this package's environments give. For such a network uint8
    images are scaled; one that takes bytes gets them as they are.
    """

    def __init__(self, core: Any):
        """Wraps a network.

        Args:
            core: called with an observation [B, ...] and a state, returns ((logits [B, A],
                value [B]), state); `initial_state(batch_size)` gives the first state. Instead of
                logits another action space has a nest of parameters: see `distributions.py`.
        """
        super().__init__(name="sonnet_network")
        self._core = core
        self._takes_bytes = True  # Until it refuses them.

    def initial_state(self, batch_size: int) -> Nest:
        """Returns the recurrent state at the start of an episode: a nest of [B, ...]."""
        return self._core.initial_state(batch_size)

    def __call__(self, observation: Nest, state: Nest) -> tuple[PolicyValue, Nest]:
        """Steps once: logits [B, A], value [B] and the next state.

        Raises:
            ValueError: the wrapped network returns something else than ((logits, value), state).
        """
        # Sonnet asks for tensors, and an actor has arrays.
        observation = tree.map_structure(tf.convert_to_tensor, observation)
        output = self._call(observation, state)
        if not (_is_pair(output) and _is_pair(output[0])):
            raise ValueError(
                f"{type(self._core).__name__} must return ((logits, value), state), got {output}."
            )
        (logits, value), state = output
        return PolicyValue(logits, value), state

    def _call(self, observation: Nest, state: Nest) -> Any:
        scaled = tree.map_structure(_scaled_if_bytes, observation)
        if not self._takes_bytes:
            return self._core(scaled, state)
        try:
            return self._core(observation, state)
        except (TypeError, ValueError):
            if not any(x.dtype == tf.uint8 for x in tree.flatten(observation)):
                raise
        output = self._core(scaled, state)
        self._takes_bytes = False
        return output

    def unroll(
        self, observation: Nest, state: Nest, start_of_episode: tf.Tensor
    ) -> tuple[PolicyValue, Nest]:
        """Steps row by row through an unroll.

        Args:
            observation: a nest of [T+1, B, ...], T static.
            state: before row 0.
            start_of_episode: [T+1, B] bool; the state is reset before these rows.

        Returns:
            Logits [T+1, B, A] and value [T+1, B], and the state after the last row.
        """
        start_of_episode = tf.convert_to_tensor(start_of_episode)
        batch_size = start_of_episode.shape[1] or tf.shape(start_of_episode)[1]
        initial_state = self.initial_state(batch_size)
        outputs = []
        for t in range(start_of_episode.shape[0]):
            state = reset_state(start_of_episode[t], initial_state, state)
            row = tree.map_structure(lambda x, t=t: x[t], observation)
            output, state = self(row, state)
            outputs.append(output)
        return tree.map_structure(lambda *rows: tf.stack(rows), *outputs), state


def as_impala_network(network: Any) -> Network:
    """Returns a network with this package's interface: the network itself, or wrapped.

    Acme's networks have an `unroll` too, which knows no episodes: what counts is whether it takes
    `start_of_episode`.

    Raises:
        ValueError: the network is neither like this package's nor like `snt.RNNCore`.
    """
    if not (callable(network) and callable(getattr(network, "initial_state", None))):
        raise ValueError(
            "A network must be callable with (observation, state) and have "
            f"initial_state(batch_size), as snt.RNNCore does, got {network!r}. A feed-forward "
            "Sonnet network becomes one in snt.DeepRNN([...])."
        )
    unroll = getattr(network, "unroll", None)
    if unroll is not None and "start_of_episode" in inspect.signature(unroll).parameters:
        return network
    return SonnetNetwork(network)


def _scaled_if_bytes(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32) / 255.0 if x.dtype == tf.uint8 else x


def _is_pair(x: Any) -> bool:
    return isinstance(x, tuple | list) and len(x) == 2
