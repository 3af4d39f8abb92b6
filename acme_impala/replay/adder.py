"""Packs an actor's steps into unrolls and writes each as one Reverb item."""

from collections.abc import Callable
from typing import Any, NamedTuple

import dm_env
import numpy as np
import reverb
import tree
from acme import adders

from acme_impala import types
from acme_impala.replay import tables

# How long one wait for the server lasts before `should_stop` is asked again.
_POLL_MILLISECONDS = 200


class ActingExtras(NamedTuple):
    """What an actor knows of a step besides the step itself."""

    behaviour_logits: np.ndarray  # [A]
    state: types.Nest  # the recurrent state before the step, without a batch dimension
    policy_version: int  # the learner step whose weights acted


class UnrollAdder(adders.Adder):
    """An acme Adder that writes one item an unroll (see `types.Unroll` for its rows).

    A row is complete when the step that its action led to is known, and the last observation of an
    episode completes its row, of zeros, when the next episode starts. An unroll is written as soon
    as its row T is complete, and row T is kept as row 0 of the next.

    Every value is held against the table's signature, which the server is asked for, so that what
    does not fit is named here and not by a broken tensor in the learner.

    Attributes:
        unrolls_written: items created so far.
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
        signature = tables.wait_for_signature(client, should_stop)
        self._writer = client.trajectory_writer(num_keep_alive_refs=1)
        self._environment_name = environment_name
        self._should_stop = should_stop
        self._unroll = tree.map_structure(
            lambda spec: np.zeros(spec.shape.as_list(), spec.dtype.as_numpy_dtype), signature
        )
        # The columns that have rows; the two others are an unroll's header.
        self._rows = tree.flatten(self._unroll._replace(initial_state=(), policy_version=()))
        self._last_row = self._unroll.reward.shape[0] - 1  # T
        self._episode = 0
        self.unrolls_written = 0
        self.reset()

    def reset(self):
        """Forgets the rows that are not written yet."""
        self._row = 0  # The row that is being filled.
        self._row_is_open = False  # Its observation is in, its action is not.
        self._unroll_begins = True
        # What this unroll and the next hold once (state and version), from their first actions.
        self._header: ActingExtras | None = None
        self._next_header: ActingExtras | None = None
        self._step_of_episode = 0

    @property
    def unroll_begins(self) -> bool:
        """Whether the next action is the first of an unroll: the moment to take new weights.

        That is the action of row 0, which is row T of the unroll before; or of row 1 when row 0 is
        the last observation of an episode.
        """
        return self._unroll_begins

    def add_first(self, timestep: dm_env.TimeStep):
        """Adds the first observation of an episode.

        Raises:
            ValueError: the observation does not fit the table's signature.
        """
        if self._row_is_open:  # The last observation of the episode before: its own row, of zeros.
            self._unroll.action[self._row] = 0
            self._unroll.behaviour_logits[self._row] = 0.0
            self._complete_row(reward=0.0, discount=0.0)
        self._episode += 1
        self._step_of_episode = 0
        self._open_row(timestep.observation, start_of_episode=True)

    def add(self, action: types.Nest, next_timestep: dm_env.TimeStep, extras: ActingExtras = ()):
        """Adds the action taken at the last observation, and what it led to.

        Args:
            action: a_t.
            next_timestep: reward and discount that a_t led to, and the observation after it.
            extras: ActingExtras of a_t.

        Raises:
            ValueError: the reward or discount is not finite, or a value does not fit the table's
                signature; the message names the environment, the episode and the step.
        """
        if not self._row_is_open:
            raise ValueError(
                f"{self._where()}: add() before add_first(): there is no observation to act on."
            )
        self._step_of_episode += 1
        for name, value in (("reward", next_timestep.reward), ("discount", next_timestep.discount)):
            if value is None or np.ndim(value) != 0 or not np.isfinite(value):
                raise ValueError(
                    f"{self._where()}: the {name} is {value}; it must be one finite number."
                )
        if self._unroll_begins:
            self._unroll_begins = False
            # Copies: the actor may use its buffers again before the unroll is written.
            header = extras._replace(state=tree.map_structure(np.array, extras.state))
            if self._row == self._last_row:
                self._next_header = header
            else:
                self._header = header
        self._put("action", self._unroll.action, self._row, action, casting="same_kind")
        self._put("logits", self._unroll.behaviour_logits, self._row, extras.behaviour_logits)
        self._complete_row(next_timestep.reward, next_timestep.discount)
        self._open_row(next_timestep.observation, start_of_episode=False)

    def flush(self):
        """Waits until the queue holds all that was written (or `should_stop` says yes)."""
        while True:
            try:
                self._writer.flush(0, timeout_ms=_POLL_MILLISECONDS)
                return
            except reverb.errors.DeadlineExceededError:
                if self._should_stop():
                    return

    def _open_row(self, observation: types.Nest, start_of_episode: bool):
        self._put_nest("observation", self._unroll.observation, observation, self._row)
        self._unroll.start_of_episode[self._row] = start_of_episode
        self._row_is_open = True
        if self._row == self._last_row:
            self._unroll_begins = True

    def _complete_row(self, reward: float, discount: float):
        self._unroll.reward[self._row] = reward
        self._unroll.discount[self._row] = discount
        self._row_is_open = False
        if self._row == self._last_row:
            self._write()
            for column in self._rows:
                column[0] = column[-1]
            self._header, self._next_header = self._next_header, None
            self._row = 0
        self._row += 1

    def _write(self):
        # An unroll without an action in rows 0 .. T-1 has no header of its own (T = 1, row 0 an
        # episode's last observation). Nothing is learned from it, but it must hold something: what
        # row T acted with, or else (an episode was begun twice) what the unroll before it held.
        header = self._header or self._next_header
        if header:
            self._put_nest("recurrent state", self._unroll.initial_state, header.state, ...)
            self._unroll.policy_version[...] = header.policy_version
        self._writer.append(self._unroll)  # Copies, so the buffers are free again.
        self._writer.create_item(
            table=tables.QUEUE,
            priority=1.0,
            trajectory=tree.map_structure(lambda column: column[-1], self._writer.history),
        )
        self.unrolls_written += 1

    def _put_nest(self, name: str, buffers: types.Nest, values: types.Nest, row: Any):
        try:
            tree.assert_same_structure(buffers, values)
        except (ValueError, TypeError):  # TypeError: the nests are of different types.
            expected, got = (
                tree.map_structure(lambda x: np.asarray(x).dtype.name, nest)
                for nest in (buffers, values)
            )
            raise ValueError(
                f"{self._where()}: the {name} has the structure {got}; the spec says {expected}."
            ) from None
        for target, source in zip(tree.flatten(buffers), tree.flatten(values), strict=True):
            self._put(name, target, row, source)

    def _put(self, name: str, column: np.ndarray, row: Any, value: Any, casting: str = "equiv"):
        """Copies a value into a column's row (...: all of it), if it has its shape and dtype."""
        value = np.asarray(value)
        shape = column.shape if row is ... else column.shape[1:]
        if value.shape != shape or not np.can_cast(value.dtype, column.dtype, casting):
            raise ValueError(
                f"{self._where()}: the {name} has shape {value.shape} and dtype {value.dtype}; "
                f"the spec says {shape} and {column.dtype}."
            )
        column[row] = value

    def _where(self) -> str:
        return f"{self._environment_name}, episode {self._episode}, step {self._step_of_episode}"
