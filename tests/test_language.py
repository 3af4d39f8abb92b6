"""An instruction that must be read to act well: solved with the language encoder, and only so."""

import acme
import numpy as np
import pytest
from acme.utils import loggers
from dm_env import specs

from acme_impala import IMPALA, Adam, IMPALAConfig, networks
from acme_impala.environments.episodic import EpisodicEnvironment, Outcome
from acme_impala.environments.words import HASH_BUCKETS, word_ids

NUM_WORDS = 5
NUM_EPISODES = 2500
INSTRUCTIONS = {
    "left": 0,
    "go left please": 0,
    "right": 1,
    "go right please": 1,
    "": 2,  # Without an instruction there is something to do as well.
}


class Obedience(EpisodicEnvironment):
    """One step, in which the right action is what the instruction says."""

    def __init__(self, seed, show_instruction):
        self._random = np.random.default_rng(seed)
        self._show_instruction = show_instruction

    def observation_spec(self):
        return {
            "nothing": specs.Array((1,), np.float32),
            "INSTR": specs.BoundedArray((NUM_WORDS,), np.int32, 0, HASH_BUCKETS),
        }

    def action_spec(self):
        return specs.DiscreteArray(3)

    def _begin(self):
        self._instruction = self._random.choice(list(INSTRUCTIONS))
        return self._observe()

    def _advance(self, action):
        reward = float(action == INSTRUCTIONS[self._instruction])
        return Outcome(self._observe(), reward, True, False)

    def _observe(self):
        shown = self._instruction if self._show_instruction else ""
        return {"nothing": np.zeros(1, np.float32), "INSTR": word_ids(shown, NUM_WORDS)}


@pytest.mark.parametrize("show_instruction", [True, False])
def test_it_is_solved_by_who_reads_it_and_only_so(show_instruction):
    environment = Obedience(0, show_instruction)
    spec = acme.make_environment_spec(environment)
    config = IMPALAConfig(
        unroll_length=10,
        batch_size=2,
        optimizer=Adam(),
        learning_rate=1.6e-2,
        entropy_cost=1e-2,
        reward_clipping="none",
    )
    network = networks.make_network(spec, networks.NetworkConfig(hidden_sizes=(32,)))
    agent = IMPALA(spec, network, config, logger=loggers.NoOpLogger())

    returns = []
    loop = acme.EnvironmentLoop(environment, agent, logger=loggers.NoOpLogger())
    for _ in range(NUM_EPISODES):
        returns.append(float(loop.run_episode()["episode_return"]))
    success = np.mean(returns[-500:])
    print(f"Right in {success:.3f} of the last 500 episodes")
    if show_instruction:
        assert success > 0.95
    else:  # Left is right in two of five, and so is right.
        assert success < 0.4 + 4 * np.sqrt(0.24 / 500)
