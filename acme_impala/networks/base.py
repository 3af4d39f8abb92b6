"""What every network has, whoever wrote it."""

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf
import tree

from acme_impala.types import Nest, PolicyValue


class Network(Protocol):
    """A policy pi(.|x) and a baseline V(x). Stepping and unrolling give equal numbers."""

    @property
    def variables(self) -> Sequence[tf.Variable]:
        """All variables."""

    @property
    def trainable_variables(self) -> Sequence[tf.Variable]:
        """The variables that learn."""

    def initial_state(self, batch_size: int) -> Nest:
        """Returns the recurrent state at the start of an episode: a nest of [B, ...]."""

    def __call__(self, observation: Nest, state: Nest) -> tuple[PolicyValue, Nest]:
        """Steps on an observation [B, ...]: logits [B, A], value [B] and the next state.

        For other action spaces the logits are a nest: see `distributions.py`.
        """

    def unroll(
        self, observation: Nest, state: Nest, start_of_episode: tf.Tensor
    ) -> tuple[PolicyValue, Nest]:
        """Takes a whole unroll.

        Args:
            observation: a nest of [T+1, B, ...], T static.
            state: before row 0.
            start_of_episode: [T+1, B] bool; the state is reset before these rows.

        Returns:
            Logits [T+1, B, A] and value [T+1, B], and the state after the last row.
        """


def state_spec(network: Network) -> Nest:
    """Returns the recurrent state's nest of tf.TensorSpec, without the batch dimension."""
    return tree.map_structure(
        lambda x: tf.TensorSpec(x.shape[1:], x.dtype), network.initial_state(1)
    )
