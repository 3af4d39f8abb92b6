"""Acme's own layouts and networks with this package, and the package without what those need."""

import json
import os
import signal
import subprocess
import sys
import tempfile

import acme
import numpy as np
import pytest
import tensorflow as tf
from acme.utils import loggers
from dm_env import specs

from acme_impala import IMPALA, Adam, IMPALABuilder, IMPALAConfig, environments, networks
from acme_impala.environments.episodic import EpisodicEnvironment, Outcome

CONFIG = IMPALAConfig(
    unroll_length=10,
    batch_size=4,
    optimizer=Adam(),
    learning_rate=4e-3,
    entropy_cost=3e-3,
    reward_clipping="none",
)
# dm-acme 0.4.0 asks jax for a name that it no longer has.
PREPARE_JAX = """
import jax
if not hasattr(jax.interpreters.xla, "Device"):
    jax.interpreters.xla.Device = jax.Device
"""


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


@pytest.fixture(name="acme_jax")
def _acme_jax(tmp_path, monkeypatch):
    pytest.importorskip("jax")
    # Acme's layouts leave their Reverb servers' directories behind.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    exec(PREPARE_JAX, {})


def run_script(script, *arguments, seconds, **environment):
    """Runs a script in a session of its own, and ends all of it where it takes too long."""
    process = subprocess.Popen(
        [sys.executable, *map(str, [script, *arguments])],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        # Waits for the end of the output, so for every process that the script has started.
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"It takes too long:\n{output}")
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, output


@pytest.mark.usefixtures("acme_jax")
def test_acmes_local_layout_learns_catch(tmp_path):
    from acme.jax.layouts import local_layout

    environment = environments.Catch(seed=1)
    environment_spec = acme.make_environment_spec(environment)
    network = networks.make_network(environment_spec, networks.NetworkConfig(hidden_sizes=(128,)))
    agent = local_layout.LocalLayout(
        seed=0,
        environment_spec=environment_spec,
        builder=IMPALABuilder(CONFIG, networks.state_spec(network)),
        networks=network,
        policy_network=network,
        workdir=str(tmp_path),
        batch_size=CONFIG.batch_size,
    )
    episodes = Rows()
    loop = acme.EnvironmentLoop(environment, agent, logger=episodes)
    for _ in range(80):
        loop.run(num_steps=250)
        if np.mean(episodes.column("episode_return")[-100:]) > 0.8:
            break
    assert np.mean(episodes.column("episode_return")[:100]) < 0.0
    assert np.mean(episodes.column("episode_return")[-100:]) > 0.8
    assert list(tmp_path.glob("checkpoints/learner/*.index"))


DISTRIBUTED = """
import json
import sys

import acme_impala
import launchpad as lp
from absl import app
from acme.jax.layouts import distributed_layout
from acme.utils import loggers
from acme_impala import Adam, IMPALABuilder, IMPALAConfig, environments, networks


class Lines(loggers.Logger):
    def __init__(self, path):
        self._path = path

    def write(self, data):
        with open(self._path, "a") as file:
            file.write(json.dumps({name: float(value) for name, value in data.items()}) + "\\n")

    def close(self):
        pass


def main(arguments):
    directory = arguments[1]
    config = IMPALAConfig(
        unroll_length=10,
        batch_size=4,
        optimizer=Adam(),
        learning_rate=4e-3,
        entropy_cost=3e-3,
        reward_clipping="none",
    )
    layout = distributed_layout.DistributedLayout(
        seed=0,
        environment_factory=lambda seed: environments.Catch(seed=int(seed)),
        network_factory=networks.NetworkConfig(hidden_sizes=(128,)),
        builder=IMPALABuilder(config),
        policy_network=lambda network: network,
        num_actors=2,
        actor_logger_fn=lambda actor: Lines(f"{directory}/actor_{actor}.jsonl"),
        max_number_of_steps=6_000,
        checkpointing_config=distributed_layout.CheckpointingConfig(
            directory=directory, add_uid=False
        ),
    )
    manager = lp.launch(layout.build(), launch_type="local_mp", terminal="current_terminal")
    manager.wait()


if __name__ == "__main__":
    app.run(main)
"""


@pytest.mark.usefixtures("acme_jax")
def test_acmes_distributed_layout_learns_catch_and_ends(tmp_path):
    script = tmp_path / "distributed.py"
    script.write_text(DISTRIBUTED)
    # Python runs it first in every process of the program.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(PREPARE_JAX)
    paths = [str(tmp_path / "site"), os.getcwd()]
    # Acme's actors leave their writers to the interpreter's end, where a server that has gone costs
    # five seconds of the ten that Launchpad gives.
    notice = "--lp_termination_notice_secs=60"
    run_script(script, tmp_path, notice, seconds=400, PYTHONPATH=os.pathsep.join(paths))

    actors = [
        [json.loads(line) for line in (tmp_path / f"actor_{actor}.jsonl").open()]
        for actor in range(2)
    ]
    assert max(row["actor_steps"] for rows in actors for row in rows) > 6_000
    # The learner's last checkpoint, for what the actors know of its steps is some seconds old.
    checkpoint = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "learner"))
    learner_steps = checkpoint.get_tensor("learner/counts/steps/.ATTRIBUTES/VARIABLE_VALUE")
    # Nearly all that was acted was learned: 40 rows a step, every tenth an episode's last.
    assert learner_steps > 6_000 / 40
    for rows in actors:
        assert 0 < rows[-1]["learner_steps"] <= learner_steps
        returns = [row["episode_return"] for row in rows]
        assert np.mean(returns[-100:]) > np.mean(returns[:100]) + 0.3
    assert list(tmp_path.glob("checkpoints/learner/*.index"))


class Pixels(EpisodicEnvironment):
    """Frames of noise, float32 as Acme's networks need them; episodes of four steps."""

    def __init__(self):
        self._rng = np.random.default_rng(0)

    def observation_spec(self):
        return specs.BoundedArray((84, 84, 4), np.float32, 0, 1)

    def action_spec(self):
        return specs.DiscreteArray(3)

    def _frames(self):
        return self._rng.random((84, 84, 4), dtype=np.float32)

    def _begin(self):
        self._steps = 0
        return self._frames()

    def _advance(self, action):
        self._steps += 1
        return Outcome(self._frames(), reward=float(action), terminated=self._steps == 4)


def test_acmes_atari_network_learns_unchanged():
    for module in ("jax", "gym", "trfl"):
        pytest.importorskip(module)
    from acme.tf import networks as acme_networks

    environment = environments.ObservationActionReward(Pixels())
    network = acme_networks.IMPALAAtariNetwork(num_actions=3)
    metrics = Rows()
    agent = IMPALA(
        acme.make_environment_spec(environment),
        network,
        IMPALAConfig(unroll_length=3, batch_size=2),
        logger=metrics,
    )
    before = [variable.numpy() for variable in network.trainable_variables]
    acme.EnvironmentLoop(environment, agent, logger=Rows()).run(num_steps=20)
    assert agent.learner.steps >= 2
    assert np.all(np.isfinite(metrics.column("total_loss")))
    assert len(before) == 6 + 3 + 2 + 4  # Convolutions, LSTM, a layer, two heads.
    for value, variable in zip(before, network.trainable_variables, strict=True):
        assert np.any(value != variable.numpy()), variable.name


WITHOUT = """
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jax", "gym", "deepmind_lab"):
            raise ImportError(f"{name} is not to be imported")


sys.meta_path.insert(0, Refuse())

import acme
import acme_impala
from acme.utils import loggers

environment = acme_impala.environments.Catch()
spec = acme.make_environment_spec(environment)
agent = acme_impala.IMPALA(
    spec,
    acme_impala.networks.make_network(spec),
    acme_impala.IMPALAConfig(unroll_length=5, batch_size=1),
    logger=loggers.NoOpLogger(),
)
acme.EnvironmentLoop(environment, agent, logger=loggers.NoOpLogger()).run(num_episodes=2)
assert agent.learner.steps
"""


def test_the_package_needs_no_jax_no_old_gym_and_no_deepmind_lab():
    run_script("-c", WITHOUT, seconds=120)
