"""Catch: a ball falls, a paddle should be under it."""

import numpy as np
from dm_env import specs

from acme_impala.environments.episodic import EpisodicEnvironment, Outcome, checked_action

_NUM_ACTIONS = 3  # left, stay, right


class Catch(EpisodicEnvironment):
    """A ball falls one row a step from a random column; the paddle moves along the lowest row.

    The observation is the board, [rows, columns] float32: 1 where ball and paddle are, 0 elsewhere.
    Actions: 0 left, 1 stay, 2 right. An episode takes rows - 1 steps and terminates with the
    reward 1 if the paddle is under the ball, else -1; every other reward is 0.

    Args:
        rows: of the board, at least 2.
        columns: of the board, at least 1.
        seed: where the balls start: the same seed gives the same sequence.

    Raises:
        ValueError: the board is too small.
    """

    screens_per_second = 5

    def __init__(self, rows: int = 10, columns: int = 5, seed: int = 0):
        if rows < 2 or columns < 1:
            raise ValueError(
                f"Catch needs at least 2 rows and 1 column, got rows={rows}, columns={columns}."
            )
        self._rows = rows
        self._columns = columns
        self._rng = np.random.default_rng(seed)
        self._ball_row = self._ball_column = self._paddle_column = 0
        self._shown: list[np.ndarray] = []  # Boards that were not rendered yet.

    def observation_spec(self) -> specs.BoundedArray:
        """The board, [rows, columns] float32."""
        return specs.BoundedArray(
            (self._rows, self._columns), np.float32, minimum=0.0, maximum=1.0, name="board"
        )

    def action_spec(self) -> specs.DiscreteArray:
        """Left, stay, right."""
        return specs.DiscreteArray(_NUM_ACTIONS, name="action")

    def render(self) -> list[np.ndarray]:
        """The boards since the last call or the episode's start: one an agent step.

        Each is [rows, columns, 3] uint8, white on black.
        """
        shown, self._shown = self._shown, []
        return [np.uint8(255 * board[..., np.newaxis].repeat(3, axis=-1)) for board in shown]

    def _begin(self) -> np.ndarray:
        self._shown = []
        self._ball_row = 0
        self._ball_column = int(self._rng.integers(self._columns))
        self._paddle_column = self._columns // 2
        return self._show()

    def _advance(self, action: int) -> Outcome:
        move = checked_action(action, _NUM_ACTIONS) - 1
        self._paddle_column = min(max(self._paddle_column + move, 0), self._columns - 1)
        self._ball_row += 1
        if self._ball_row < self._rows - 1:
            return Outcome(self._show(), reward=0.0, terminated=False)
        caught = self._ball_column == self._paddle_column
        return Outcome(self._show(), reward=1.0 if caught else -1.0, terminated=True)

    def _show(self) -> np.ndarray:
        board = np.zeros((self._rows, self._columns), np.float32)
        board[self._ball_row, self._ball_column] = 1.0
        board[-1, self._paddle_column] = 1.0
        self._shown.append(board)
        return board
