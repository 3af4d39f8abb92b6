"""The unrolls of one environment, by the methods of an Acme adder."""

from collections.abc import Callable
from typing import NamedTuple

import dm_env
import numpy as np
import reverb
import tree
from acme import adders

from acme_impala import types
from acme_impala.replay.writer import UnrollWriter

_ZERO = np.zeros(1, np.float32)


class ActingExtras(NamedTuple):
    """What an actor knows of a step besides the step itself."""

    behaviour_logits: types.Nest  # [A], or another action space's nest of parameters
    # The recurrent state before the step, without a batch dimension; read where `unroll_begins`.
    state: types.Nest
    policy_version: int  # the learner step whose weights acted


class UnrollAdder(adders.Adder):
    """An acme Adder that writes one item an unroll: a block of one (see `UnrollWriter`).

    A row is complete when the step that its action led to is known, and the last observation of an
    episode completes its row, of zeros, when the next episode starts.
    """

    def __init__(
        self,
        client: reverb.Client,
        *,
        environment_name: str = "the environment",
        should_stop: Callable[[], bool] = lambda: False,
    ):
        """Connects to the table; waits for the server if it is not up yet.

        Args:
            client: of the server that holds the queue.
            environment_name: named in errors.
            should_stop: asked while waiting for room in the queue; when it says yes, waiting ends
                and what was not confirmed is lost with the run.
        """
        self._writer = UnrollWriter(
            client, 1, environment_name=environment_name, should_stop=should_stop
        )

    def reset(self):
        """Drops the rows that are not written yet; their steps are counted as dropped."""
        self._writer.drop_rows(num_lost=0)

    def drop_rows(self):
        """Drops the rows that are not written yet, the action at the last of them included.

        Next comes `add_first`. The steps dropped are counted.
        """
        self._end_episode()
        self._writer.drop_rows()

    @property
    def unrolls_written(self) -> int:
        """Unrolls written so far."""
        return self._writer.unrolls_written

    @property
    def steps_acted(self) -> int:
        """Agent steps so far."""
        return self._writer.steps_acted

    @property
    def steps_in_hand(self) -> int:
        """Agent steps of the unroll that is not full yet."""
        return self._writer.steps_in_hand

    @property
    def steps_dropped_restart(self) -> int:
        """Agent steps that `drop_rows` and `reset` have dropped."""
        return self._writer.steps_dropped_restart

    @property
    def environments_lost(self) -> int:
        """How often `drop_rows` was called."""
        return self._writer.environments_lost

    @property
    def unroll_begins(self) -> bool:
        """Whether the next action is the first of an unroll: the moment to take new weights.

        That is the action of row 0, which is row T of the unroll before; or of row 1 when row 0 is
        the last observation of an episode.
        """
        return self._writer.unroll_begins

    def add_first(self, timestep: dm_env.TimeStep):
        """Adds the first observation of an episode.

        Raises:
            ValueError: the observation does not fit the table's signature.
        """
        self._end_episode()
        self._writer.open_row(block_of_one(timestep.observation), np.array([True]))

    def add(self, action: types.Nest, next_timestep: dm_env.TimeStep, extras: ActingExtras = ()):
        """Adds the action taken at the last observation, and what it led to.

        Args:
            action: a_t, as it was drawn from the policy.
            next_timestep: reward and discount that a_t led to, and the observation after it.
            extras: ActingExtras of a_t.

        Raises:
            ValueError: the reward or discount is not finite, or a value does not fit the table's
                signature; the message names the environment, the episode and the step.
        """
        writer = self._writer
        if not writer.row_is_open:
            raise ValueError(
                f"{writer.where()}: add() before add_first(): there is no observation to act on."
            )
        logits, state, version = extras
        if writer.unroll_begins:
            state = block_of_one(state)
        writer.act(block_of_one(action), block_of_one(logits), state, version)
        writer.close_row(block_of_one(next_timestep.reward), block_of_one(next_timestep.discount))
        writer.open_row(block_of_one(next_timestep.observation), np.array([False]))

    def _end_episode(self):
        if self._writer.row_is_open:  # The last observation: its action leads nowhere.
            self._writer.act_nowhere(0)
            self._writer.close_row(_ZERO, _ZERO)

    def flush(self):
        """Waits until the queue holds all that was written (or `should_stop` says yes)."""
        self._writer.flush()

    def close(self, seconds: float = 0.0) -> bool:
        """Ends the connection; a server that is stopped before waits five seconds for it.

        Args:
            seconds: to wait for room in the queue.

        Returns:
            Whether the queue has taken all that was written.
        """
        return self._writer.close(seconds)


def block_of_one(nest: types.Nest) -> types.Nest:
    """Gives every value of a nest a first dimension of 1."""
    if isinstance(nest, (np.ndarray, np.generic, float)):  # By far the most: no nest at all.
        return np.asarray(nest)[np.newaxis]
    return tree.map_structure(lambda x: np.asarray(x)[np.newaxis], nest)
