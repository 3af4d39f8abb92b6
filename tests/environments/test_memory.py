"""MemoryChain rewards remembering the cue and nothing else."""

import numpy as np
import pytest

from acme_impala.environments import MemoryChain


def _episode(environment, act) -> tuple[np.ndarray, list[float]]:
    """Returns an episode's observations, [length + 1, 2], and its rewards."""
    timestep = environment.reset()
    observations, rewards = [timestep.observation], []
    while not timestep.last():
        timestep = environment.step(act(np.stack(observations)))
        observations.append(timestep.observation)
        rewards.append(float(timestep.reward))
    assert timestep.discount == 0.0
    return np.stack(observations), rewards


def _answer(observations: np.ndarray) -> int:
    return int(observations[0, 0] > 0)


@pytest.mark.parametrize("length", [2, 6, 20])
def test_who_remembers_the_cue_always_wins(length):
    environment = MemoryChain(length, seed=0)
    for _ in range(20):
        observations, rewards = _episode(environment, _answer)
        assert rewards == [0.0] * (length - 1) + [1.0]
        assert abs(observations[0, 0]) == 1
        np.testing.assert_array_equal(observations[1:, 0], 0)
        np.testing.assert_array_equal(np.flatnonzero(observations[:, 1]), [length - 1])


def test_only_the_answer_counts():
    """Wrong everywhere but at the answer still wins; right everywhere but there loses."""
    environment = MemoryChain(seed=0)
    for wins in (True, False):
        _, rewards = _episode(
            environment, lambda seen, wins=wins: _answer(seen) ^ (bool(seen[-1, 1]) != wins)
        )
        assert sum(rewards) == (1.0 if wins else -1.0)


@pytest.mark.parametrize("action", [0, 1])
def test_who_is_blind_to_the_cue_wins_half_of_the_time(action):
    environment = MemoryChain(seed=0)
    returns = [sum(_episode(environment, lambda _: action)[1]) for _ in range(600)]
    assert np.mean(returns) == pytest.approx(0.0, abs=0.15)  # 3.7 standard errors


def test_what_is_seen_at_the_answer_does_not_tell_the_cue():
    environment = MemoryChain(seed=0)
    at_answer = {_episode(environment, lambda _: 0)[0][-2].tobytes() for _ in range(20)}
    assert len(at_answer) == 1


def test_nothing_to_remember_is_refused():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        MemoryChain(length=1)
