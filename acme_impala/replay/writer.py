"""Packs what environments side by side do into unrolls, and writes these into the queue."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import reverb
import tree

from acme_impala import frames, types
from acme_impala.replay import tables

# How long one wait for the server lasts before `should_stop` is asked again.
_POLL_MILLISECONDS = 200
_LARGEST = np.finfo(np.float32).max


class UnrollWriter:
    """Writes the rows of N environments as unrolls (see `types.Unroll`).

    For every row: `open_row` with the observations, `act` with what was done at them, `close_row`
    with what that led to. As soon as row T is closed the N unrolls are written, K to an item as the
    table's signature says, and row T is kept as row 0 of the next.

    Every value is held against the signature, which the server is asked for, so that what does not
    fit is named here and not by a broken tensor in the learner.

    Attributes:
        unrolls_written: by all environments together.
        steps_acted: agent steps in rows that are closed, written or not.
        steps_in_hand: those of them that no unroll was written of to learn from. Row T of an unroll
            is learned from as row 0 of the next.
        steps_dropped_restart: those of them that `drop_rows` has dropped.
        steps_confirmed: those of them in unrolls that the queue is known to have taken.
        environments_lost: of all those for which `drop_rows` was called.
    """

    def __init__(
        self,
        client: reverb.Client,
        num_environments: int = 1,
        *,
        task: int = 0,
        environment_name: str = "the environment",
        should_stop: Callable[[], bool] = lambda: False,
    ):
        """Connects to the table; waits for the server if it is not up yet.

        Args:
            client: of the server that holds the queue.
            num_environments: N.
            task: which of the tasks they all are of.
            environment_name: named in errors.
            should_stop: asked while waiting for room in the queue; when it says yes, waiting ends
                and what was not confirmed is lost with the run.

        Raises:
            ValueError: N unrolls do not fill items of K.
        """
        found = tables.wait_for_tables(client, should_stop)
        queue = tables.queues_of(found)[task]
        signature = found[queue].signature
        # The replay table first: what can be taken from the queue is there to be replayed.
        self._tables = [name for name in (tables.REPLAY, queue) if name in found]
        num_rows, self._unrolls_per_item = signature.reward.shape
        if num_environments % self._unrolls_per_item:
            raise ValueError(
                f"{num_environments} environments do not fill items of {self._unrolls_per_item} "
                "unrolls: their number must be a multiple of it."
            )
        self._writer = client.trajectory_writer(num_keep_alive_refs=1)
        self._num_environments = num_environments
        self._environment_name = environment_name
        self._should_stop = should_stop
        self._last_row = num_rows - 1  # T
        self._unroll: types.Unroll = self._make_buffers(signature)
        self._policy_columns = tree.flatten(self._unroll.behaviour_logits)
        self._policy_is_nest = tree.is_nested(self._unroll.behaviour_logits)
        for column in tree.flatten(self._unroll.task):  # There is none where there is one task.
            column[...] = task
        # Of the observation's leaves: how many older frames are stored before those of the rows.
        self._older_frames = [
            len(column) - num_rows for column in tree.flatten(self._unroll.observation)
        ]
        self._episodes = np.zeros(num_environments, np.int64)
        self._steps = np.zeros(num_environments, np.int64)  # Of the episode.
        self.unrolls_written = self.environments_lost = 0
        self.steps_acted = self.steps_confirmed = self.steps_dropped_restart = 0
        self._forget_rows()

    def _forget_rows(self):
        self._row = 0  # The row that is open, or is opened next.
        self.steps_in_hand = 0
        self.row_is_open = False
        self._nowhere = np.zeros(self._num_environments, bool)
        self._header_is_due = True
        # What this unroll and the next hold once: state and version, from their first actions.
        self._header: tuple[types.Nest, int] | None = None
        self._next_header: tuple[types.Nest, int] | None = None
        # Of row T's stacked frames: the older ones, for row 0 of the next unroll.
        self._next_older: list[np.ndarray] = []

    def drop_rows(self, num_lost: int = 1):
        """Drops the rows that no unroll was written of to learn from.

        Args:
            num_lost: environments that were lost.
        """
        self.steps_dropped_restart += self.steps_in_hand
        self.environments_lost += num_lost
        self._forget_rows()

    @property
    def unroll_begins(self) -> bool:
        """Whether the next action is the first of an unroll: the moment to take new weights.

        That is the action of row 0, which is row T of the unroll before.
        """
        return self._header_is_due

    @property
    def next_unroll_begins(self) -> bool:
        """Whether the action after that of the open row is the first of an unroll."""
        return (self._row + 1) % self._last_row == 0  # Row T is row 0 of the next unroll.

    def open_row(self, observation: types.Nest, first: np.ndarray):
        """Begins a row.

        Args:
            observation: a nest of [N, ...].
            first: [N] bool: which begin an episode.

        Raises:
            ValueError: the observation does not fit the signature.
        """
        self._episodes += first
        self._steps = np.where(first, 0, self._steps)
        self._put_observation(observation)
        self._unroll.start_of_episode[self._row] = first
        self.row_is_open = True
        if self._row == self._last_row:
            self._header_is_due = True

    def act(self, action: types.Nest, logits: types.Nest, state: types.Nest, version: int):
        """Says what is done at the open row, and by which policy.

        Args:
            action: [N], or [N, D] of another action space than one discrete action.
            logits: [N, A], or that action space's nest of parameters.
            state: a nest of [N, ...]: the recurrent state before the row. It is read only where
                `unroll_begins`; anything may be given elsewhere.
            version: the learner step whose weights act.

        Raises:
            ValueError: a value does not fit the signature.
        """
        self._steps += 1
        if self._header_is_due:
            self._header_is_due = False
            # Copies: the actor may use its buffers again before the unroll is written.
            header = tree.map_structure(np.array, state), version
            if self._row == self._last_row:
                self._next_header = header
            else:
                self._header = header
        self._put("action", self._unroll.action, self._row, action, casting="same_kind")
        if self._policy_is_nest:
            self._put_nest("logits", self._unroll.behaviour_logits, self._row, logits)
        else:
            self._put("logits", self._unroll.behaviour_logits, self._row, logits)

    def act_nowhere(self, which: np.ndarray):
        """Says that environments are at an episode's last observation: their row is of zeros.

        Args:
            which: [N] bool, or indices.
        """
        self._nowhere[which] = True
        self._unroll.action[self._row][which] = 0
        for column in self._policy_columns:
            column[self._row][which] = 0.0

    def close_row(self, reward: np.ndarray, discount: np.ndarray):
        """Says what the open row's actions led to; writes the unrolls if this was row T.

        Args:
            reward: [N]; 0 where the action led nowhere.
            discount: [N]; 0 where the action led nowhere.

        Raises:
            ValueError: a value is not a number that is finite as float32.
        """
        for name, column, values in (
            ("reward", self._unroll.reward, reward),
            ("discount", self._unroll.discount, discount),
        ):
            if not _are_finite(values, column.shape[1:]):
                self._refuse_numbers(name, values)
            column[self._row] = values
        self.row_is_open = False
        num_steps = np.count_nonzero(~self._nowhere)
        self._nowhere[:] = False
        self.steps_acted += num_steps
        if self._row == self._last_row:
            self._write()
            self._keep_last_row()
            self._row = self.steps_in_hand = 0
        self._row += 1
        self.steps_in_hand += num_steps

    def flush(self):
        """Waits until the queue holds all that was written (or `should_stop` says yes)."""
        self._wait_for_room(self._should_stop)

    def close(self, seconds: float = 0.0) -> bool:
        """Ends the connection; a server that is stopped before waits five seconds for it.

        Args:
            seconds: to wait for room in the queue.

        Returns:
            Whether the queue has taken all that was written.
        """
        deadline = time.monotonic() + seconds
        is_complete = self._wait_for_room(lambda: time.monotonic() >= deadline)
        self._writer.close()
        return is_complete

    def _wait_for_room(self, should_stop: Callable[[], bool]) -> bool:
        while True:
            try:
                self._writer.flush(0, timeout_ms=_POLL_MILLISECONDS)
                break
            except reverb.errors.DeadlineExceededError:
                if should_stop():
                    return False
        self.steps_confirmed = self.steps_acted - self.steps_dropped_restart - self.steps_in_hand
        return True

    def where(self, environment: int = 0) -> str:
        """Names an environment, its episode and step, for errors."""
        which = f"environment {environment} of " if self._num_environments > 1 else ""
        return (
            f"{which}{self._environment_name}, episode {self._episodes[environment]}, "
            f"step {self._steps[environment]}"
        )

    def _make_buffers(self, signature: types.Unroll) -> types.Unroll:
        def make(axis: int):
            def make_column(spec):
                shape = spec.shape.as_list()
                shape[axis] = self._num_environments
                return np.zeros(shape, spec.dtype.as_numpy_dtype)

            return make_column

        return types.map_unroll(make(1), make(0), signature)

    def _write(self):
        # An unroll without an action in rows 0 .. T-1 has no header of its own (T = 1, row 0 an
        # episode's last observation). Nothing is learned from it, but it must hold something: what
        # row T acted with, or else (an episode was begun twice) what the unroll before it held.
        header = self._header or self._next_header
        if header:
            state, version = header
            self._put_nest("recurrent state", self._unroll.initial_state, ..., state)
            self._unroll.policy_version[...] = version
        for first in range(0, self._num_environments, self._unrolls_per_item):
            part = slice(first, first + self._unrolls_per_item)
            item = types.map_unroll(
                lambda x, part=part: x[:, part], lambda x, part=part: x[part], self._unroll
            )
            self._writer.append(item)  # Copies, so the buffers are free again.
            trajectory = tree.map_structure(lambda column: column[-1], self._writer.history)
            for table in self._tables:  # All refer to the same data.
                self._writer.create_item(table=table, priority=1.0, trajectory=trajectory)
        self.unrolls_written += self._num_environments

    def _keep_last_row(self):
        """Makes row T row 0 of the next unroll."""
        rows = self._unroll._replace(observation=(), initial_state=(), policy_version=(), task=())
        for column in tree.flatten(rows):
            column[0] = column[-1]
        older = iter(self._next_older)
        for column, num_older in zip(
            tree.flatten(self._unroll.observation), self._older_frames, strict=True
        ):
            column[num_older] = column[-1]
            if num_older:
                column[:num_older] = next(older)
        self._header, self._next_header = self._next_header, None

    def _put_observation(self, observation: types.Nest):
        self._check_structure("observation", self._unroll.observation, observation)
        older_frames = []
        for column, num_older, value in zip(
            tree.flatten(self._unroll.observation),
            self._older_frames,
            tree.flatten(observation),
            strict=True,
        ):
            value = np.asarray(value)
            shape = (*column.shape[1:], num_older + 1) if num_older else column.shape[1:]
            self._check("observation", value, shape, column.dtype)
            if not num_older:
                column[self._row] = value
                continue
            frames.take_newest(value, column[num_older + self._row])
            if self._row == 0:
                column[:num_older] = np.moveaxis(value[..., :-1], -1, 0)
            elif self._row == self._last_row:
                older_frames.append(np.moveaxis(value[..., :-1], -1, 0).copy())
        self._next_older = older_frames

    def _put_nest(self, name: str, buffers: types.Nest, row: Any, values: types.Nest):
        self._check_structure(name, buffers, values)
        for target, source in zip(tree.flatten(buffers), tree.flatten(values), strict=True):
            self._put(name, target, row, source)

    def _put(self, name: str, column: np.ndarray, row: Any, value: Any, casting: str = "equiv"):
        """Copies a value into a column's row (...: all of it), if it has its shape and dtype."""
        value = np.asarray(value)
        shape = column.shape if row is ... else column.shape[1:]
        self._check(name, value, shape, column.dtype, casting)
        column[row] = value

    def _check(
        self, name: str, value: np.ndarray, shape: tuple, dtype: np.dtype, casting: str = "equiv"
    ):
        if value.shape != shape or not np.can_cast(value.dtype, dtype, casting):
            raise ValueError(
                f"{self.where()}: the {name} has shape {value.shape[1:]} and dtype {value.dtype}; "
                f"the spec says {tuple(shape[1:])} and {dtype}."
            )

    def _check_structure(self, name: str, buffers: types.Nest, values: types.Nest):
        try:
            tree.assert_same_structure(buffers, values)
        except (ValueError, TypeError):  # TypeError: the nests are of different types.
            expected, got = (
                tree.map_structure(lambda x: np.asarray(x).dtype.name, nest)
                for nest in (buffers, values)
            )
            raise ValueError(
                f"{self.where()}: the {name} has the structure {got}; the spec says {expected}."
            ) from None

    def _refuse_numbers(self, name: str, values: np.ndarray):
        """Raises an error that names the first environment whose number will not do."""
        for index in range(self._num_environments):
            value = values[index]
            if not _are_finite(np.asarray(value), ()):
                break
        raise ValueError(
            f"{self.where(index)}: the {name} is {value}; it must be one finite number of float32."
        )


def _are_finite(values: np.ndarray, shape: tuple) -> bool:
    if values.shape != shape or values.dtype.kind not in "biuf":
        return False
    return (np.abs(values) <= _LARGEST).all()  # No NaN is.
