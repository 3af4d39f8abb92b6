"""The agent in one process: it learns, repeats itself exactly, never waits for itself."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import acme
import dm_env
import numpy as np
import pytest
import sonnet as snt
import tensorflow as tf
from acme.utils import loggers

from acme_impala import IMPALA, Adam, IMPALAConfig, environments, networks
from acme_impala.environments.episodic import EpisodicEnvironment, Outcome

from .guessing import ACTION_SPECS, EPISODE_LENGTH, Guessing

QUICK = IMPALAConfig(
    unroll_length=10,
    batch_size=4,
    optimizer=Adam(),
    learning_rate=4e-3,
    entropy_cost=3e-3,
    reward_clipping="none",
)


class Rows(loggers.Logger):
    """Keeps what is logged."""

    def __init__(self):
        self.rows = []

    def write(self, data):
        self.rows.append({name: np.array(value) for name, value in data.items()})

    def close(self):
        pass

    def column(self, name):
        return [float(row[name]) for row in self.rows]


def make_agent(environment, network, config=QUICK, **arguments):
    return IMPALA(
        acme.make_environment_spec(environment),
        network,
        config,
        **{"logger": loggers.NoOpLogger(), **arguments},
    )


def play(environment, agent, num_steps):
    """Returns the return of each episode."""
    episodes = Rows()
    acme.EnvironmentLoop(environment, agent, logger=episodes).run(num_steps=num_steps)
    return episodes.column("episode_return")


def learn(environment, network_config, config=QUICK, *, num_steps):
    network = networks.make_network(acme.make_environment_spec(environment), network_config)
    return play(environment, make_agent(environment, network, config), num_steps)


def test_it_learns_catch():
    returns = learn(
        environments.Catch(seed=2),
        networks.NetworkConfig(hidden_sizes=(128,)),
        num_steps=13_000,
    )
    assert np.mean(returns[:100]) < 0.0  # Nobody can catch without having learned it.
    assert np.mean(returns[-100:]) > 0.9


@pytest.mark.parametrize("core", ["lstm", "feedforward"])
def test_it_remembers_with_an_lstm_and_only_with_it(core):
    returns = learn(
        environments.MemoryChain(length=3, seed=1),
        networks.NetworkConfig(hidden_sizes=(16,), core=core, lstm_size=16),
        num_steps=6_000,
    )
    if core == "lstm":
        assert np.mean(returns[-200:]) > 0.9
    else:  # Four standard deviations of the mean of 1000 answers that are right half of the time.
        assert abs(np.mean(returns[-1000:])) < 4 / np.sqrt(1000)


@pytest.mark.parametrize(("name", "num_steps"), [("choices", 7_000), ("continuous", 3_000)])
def test_it_learns_by_several_choices_and_by_continuous_actions(name, num_steps):
    returns = learn(
        Guessing(ACTION_SPECS[name]),
        networks.NetworkConfig(hidden_sizes=(32,)),
        dataclasses.replace(QUICK, discount=0.0),
        num_steps=num_steps,
    )
    assert np.mean(returns[:20]) < 0.7 * EPISODE_LENGTH
    assert np.mean(returns[-100:]) > 0.9 * EPISODE_LENGTH


@pytest.mark.parametrize("name", ACTION_SPECS)
def test_without_an_update_in_between_importance_weights_are_one(name):
    """Actor and learner compute the same log-probabilities, of the same actions."""
    environment = environments.ObservationActionReward(Guessing(ACTION_SPECS[name]))
    spec = acme.make_environment_spec(environment)
    config = networks.NetworkConfig(hidden_sizes=(16,), core="lstm", lstm_size=8)
    network = networks.make_network(spec, config)
    rng = np.random.default_rng(0)
    for variable in network.variables:  # The initial policy is the same everywhere.
        variable.assign(rng.normal(size=variable.shape))
    metrics = Rows()
    still = dataclasses.replace(QUICK, learning_rate=0.0)
    play(environment, make_agent(environment, network, still, logger=metrics), 300)
    rhos = metrics.column("mean_rho")
    assert len(rhos) > 5
    assert np.ptp(metrics.column("entropy")) > 1e-3
    np.testing.assert_allclose(rhos, 1.0, atol=1e-4)


class Heads(snt.Module):
    """Returns (logits, value), as Acme's PolicyValueHead does."""

    def __init__(self, num_actions):
        super().__init__()
        self._policy, self._value = snt.Linear(num_actions), snt.Linear(1)

    def __call__(self, features):
        return self._policy(features), tf.squeeze(self._value(features), axis=-1)


def test_a_sonnet_network_learns_unchanged():
    network = snt.DeepRNN([snt.Flatten(), snt.Linear(16), tf.nn.relu, snt.LSTM(8), Heads(3)])
    environment = environments.Catch(seed=0)
    agent = make_agent(environment, network)
    before = [variable.numpy() for variable in network.trainable_variables]
    assert len(before) == 9  # Weight and bias of three layers; the LSTM's two weights and bias.
    play(environment, agent, 10 * 4 * 10)
    assert agent.learner.steps >= 10
    for value, variable in zip(before, network.trainable_variables, strict=True):
        assert np.any(value != variable.numpy()), variable.name


def test_it_learns_as_soon_as_a_batch_is_written_and_acts_on_by_the_new_weights():
    environment = environments.Catch(seed=0)
    network = networks.make_network(acme.make_environment_spec(environment))
    metrics = Rows()
    agent = make_agent(environment, network, QUICK, logger=metrics)
    play(environment, agent, 1_000)
    batches = agent.unrolls_written // QUICK.batch_size
    assert batches - agent.learner.steps in (0, 1)  # One may be complete and not yet asked for.
    assert agent.learner.steps > 20
    # The first action of the unroll behind a batch is what completes the batch's last row, so that
    # unroll alone is acted by the weights before.
    assert max(metrics.column("policy_lag_mean")) == 1 / QUICK.batch_size
    assert max(metrics.column("policy_lag_max")) == 1


class Scripted(EpisodicEnvironment):
    """Episodes of given lengths in turn, ended by termination and truncation in turn."""

    def __init__(self, lengths, nan_at=None):
        self._lengths = lengths
        self._nan_at = nan_at
        self._episode = self._step = 0

    def observation_spec(self):
        return dm_env.specs.Array((2,), np.float32)

    def action_spec(self):
        return dm_env.specs.DiscreteArray(2)

    def _begin(self):
        self._episode += 1
        self._step = 0
        return np.zeros(2, np.float32)

    def _advance(self, action):
        self._step += 1
        last = self._step == self._lengths[self._episode % len(self._lengths)]
        return Outcome(
            np.full(2, self._step, np.float32),
            reward=np.nan if (self._episode, self._step) == self._nan_at else float(action),
            terminated=last and self._episode % 2 == 0,
            truncated=last and self._episode % 2 == 1,
        )


def play_the_smallest_settings():
    """Prints learner steps; run by a test below."""
    for unroll_length, batch_size, queue_size in ((1, 1, None), (1, 4, 4), (2, 3, None)):
        config = IMPALAConfig(
            unroll_length=unroll_length, batch_size=batch_size, queue_size=queue_size
        )
        environment = Scripted([1, 3, 1, 1, 2])
        network = networks.make_network(
            acme.make_environment_spec(environment), networks.NetworkConfig(hidden_sizes=(4,))
        )
        agent = make_agent(environment, network, config)
        play(environment, agent, 150)
        learned = int(agent.learner.state["counts"].unrolls)
        assert 0 <= agent.unrolls_written - learned < 3 * batch_size
        assert learned * unroll_length > 120
    print("done")


def test_a_reward_that_is_no_number_is_refused_where_it_arises():
    environment = Scripted([5], nan_at=(3, 2))
    network = networks.make_network(acme.make_environment_spec(environment))
    agent = make_agent(environment, network, environment_name="Scripted-v7")
    with pytest.raises(ValueError, match="Scripted-v7, episode 3, step 2: the reward is nan"):
        play(environment, agent, 100)


def test_a_network_whose_logits_do_not_fit_is_refused():
    environment = environments.Catch()
    for_two_actions = networks.make_network(
        acme.make_environment_spec(environments.MemoryChain())._replace(
            observations=environment.observation_spec()
        )
    )
    with pytest.raises(ValueError, match=r"logits of shape .*2.* for 3 actions"):
        make_agent(environment, for_two_actions)


# What the tests below run in processes of their own.
REPEATABLE = """
import json, sys
import acme
from acme.utils import loggers
from acme_impala import IMPALA, IMPALAConfig, environments, networks

class Rows(loggers.Logger):
    def __init__(self): self.rows = []
    def write(self, data): self.rows.append(data)
    def close(self): pass

def run(seed):
    environment = environments.Catch(seed=3)
    spec = acme.make_environment_spec(environment)
    network = networks.make_network(spec, networks.NetworkConfig(core="lstm", lstm_size=8))
    config = IMPALAConfig(unroll_length=7, batch_size=3, reward_clipping="none")
    steps, episodes = Rows(), Rows()
    agent = IMPALA(spec, network, config, seed=seed, logger=steps)
    acme.EnvironmentLoop(environment, agent, logger=episodes).run(num_steps=650)
    losses = [float(row["total_loss"]).hex() for row in steps.rows]
    returns = [float(row["episode_return"]) for row in episodes.rows]
    return losses, returns

print(json.dumps([run(int(seed)) for seed in sys.argv[1:]]))
"""


def start(tmpdir, script, *arguments):
    tmpdir.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=pathlib.Path(__file__).parents[1],
        env={**os.environ, "TMPDIR": str(tmpdir)},
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process, seconds=120):
    """Returns what a process printed; ends it where it hangs."""
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 0
    return output


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two processes' directories of temporary files, and their runs: (losses, returns)."""
    directories = [tmp_path_factory.mktemp("runs") / "tmp" for _ in range(2)]
    seeds = [["0"], ["0", "1"]]
    processes = [
        start(directory, REPEATABLE, *arguments)
        for directory, arguments in zip(directories, seeds, strict=True)
    ]
    return directories, [json.loads(finish(process)) for process in processes]


def test_the_same_seed_gives_the_same_run_bit_for_bit_and_another_seed_another(runs):
    _, ((first,), (again, other)) = runs
    losses, returns = first
    assert len(losses) >= 30
    assert len(set(losses)) == len(losses)
    assert again == first
    assert other[0] != losses
    assert other[1] != returns


def test_nothing_is_left_in_the_directory_of_temporary_files(runs):
    directories, _ = runs
    for directory in directories:
        assert list(directory.iterdir()) == []


def test_the_smallest_settings_do_not_wait_for_themselves(tmp_path):
    """In a process of its own, for a wait inside Reverb could not be ended."""
    process = start(
        tmp_path / "tmp",
        "from tests import test_agent; test_agent.play_the_smallest_settings()",
    )
    assert finish(process) == "done\n"
