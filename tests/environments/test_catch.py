"""Catch can be won always, and at random is lost more often than not."""

import numpy as np
import pytest

from acme_impala.environments import Catch


def _to_the_ball(board: np.ndarray) -> int:
    paddle = int(np.argmax(board[-1]))
    ball = int(np.argwhere(board[:-1])[0, 1])
    return int(np.sign(ball - paddle)) + 1


def _returns(policy, episodes: int, **kwargs) -> list[float]:
    environment = Catch(**kwargs)
    returns = []
    for _ in range(episodes):
        timestep, total = environment.reset(), 0.0
        while not timestep.last():
            timestep = environment.step(policy(timestep.observation))
            total += timestep.reward
        assert timestep.discount == 0.0
        returns.append(total)
    return returns


def test_following_the_ball_always_wins():
    assert set(_returns(_to_the_ball, episodes=50)) == {1.0}


def test_random_play_loses_more_often():
    rng = np.random.default_rng(0)
    returns = _returns(lambda _: rng.integers(3), episodes=400)
    assert set(returns) == {-1.0, 1.0}
    assert np.mean(returns) == pytest.approx(2 / 5 - 1, abs=0.15)  # One column of five, if uniform.


@pytest.mark.parametrize(("rows", "columns"), [(10, 5), (2, 1), (4, 7)])
def test_the_board_holds_a_falling_ball_and_a_paddle(rows, columns):
    environment = Catch(rows, columns, seed=1)
    timestep = environment.reset()
    for row in range(rows - 1):
        assert timestep.observation.shape == (rows, columns)
        assert timestep.observation.dtype == np.float32
        assert timestep.observation[row].sum() == 1  # the ball
        assert timestep.observation[-1].sum() == 1  # the paddle
        assert timestep.observation.sum() == 2
        assert not timestep.last()
        timestep = environment.step(1)
    assert timestep.last()


def test_the_paddle_moves_as_told_and_stops_at_the_walls():
    environment = Catch(rows=10, columns=5)
    timestep = environment.reset()
    columns = []
    for action in (0, 0, 0, 1, 2, 2, 2, 2):
        timestep = environment.step(action)
        columns.append(int(np.argmax(timestep.observation[-1])))
    assert columns == [1, 0, 0, 0, 1, 2, 3, 4]


def test_balls_start_in_every_column():
    environment = Catch()
    starts = {int(np.argmax(environment.reset().observation[0])) for _ in range(60)}
    assert starts == set(range(5))


@pytest.mark.parametrize(("rows", "columns"), [(1, 5), (10, 0)])
def test_a_board_that_is_too_small_is_refused(rows, columns):
    with pytest.raises(ValueError, match=f"rows={rows}, columns={columns}"):
        Catch(rows, columns)
