"""Acme's own IMPALA for TensorFlow on the same task, as its users run it on one machine."""

import functools
import importlib.util
import os
import tempfile
import time

import acme
from acme import specs
from acme.utils import counting, loggers

from acme_impala import networks
from benchmarks.tasks import Task
from benchmarks.timing import Turn

# What acme.agents.tf.impala imports, beyond what this package does.
_PACKAGES = ("jax", "trfl")
_WARMUP_LEARNER_STEPS = 2  # The second comes when the items that its dataset holds are enough.


def missing_packages() -> list[str]:
    """The packages that the agent needs and that are not installed."""
    return [name for name in _PACKAGES if importlib.util.find_spec(name) is None]


def acme_tf(task: Task) -> Turn:
    """The agent in an EnvironmentLoop, after its first learner steps.

    Unroll, batch and layers are the task's, all else is as the agent has it by default, but for one
    repair: without that it hangs.

    A turn goes on to the end of the episode in which the next learner step comes: each then has as
    much acting as learning in it, of which a step comes every few seconds.
    """
    os.environ["HOME"] = tempfile.mkdtemp()  # The agent's learner writes a snapshot there.
    environment = task.environment_factory(0)
    counter = counting.Counter()
    loop = acme.EnvironmentLoop(
        environment,
        _make_agent(task, acme.make_environment_spec(environment), counter),
        logger=loggers.NoOpLogger(),
    )

    def learner_steps() -> int:
        return counter.get_counts().get("steps", 0)

    def turn(seconds: float) -> dict[str, float]:
        steps, steps_learned, start = 0, learner_steps(), time.perf_counter()
        elapsed, learned = 0.0, False
        while elapsed < seconds or not learned:
            before = learner_steps()
            steps += loop.run_episode()["episode_length"]
            elapsed, learned = time.perf_counter() - start, learner_steps() > before
        return {
            "steps": steps,
            "learner_steps": learner_steps() - steps_learned,
            "seconds": elapsed,
        }

    for _ in range(_WARMUP_LEARNER_STEPS):
        turn(0.0)
    return turn


def _make_agent(
    task: Task, environment_spec: specs.EnvironmentSpec, counter: counting.Counter
) -> acme.Actor:
    # Only this function needs the packages: they are an extra.
    from acme import datasets
    from acme.agents.tf.impala import agent

    # By default twelve datasets share the queue's items and batch them separately. The agent waits
    # in its only thread, so it waits for ever once the first items do not fill a batch of any.
    datasets.make_reverb_dataset = functools.partial(
        datasets.make_reverb_dataset, num_parallel_calls=1
    )
    config = task.agent
    return agent.IMPALA(
        environment_spec,
        _make_network(task.network, environment_spec),
        sequence_length=config.unroll_length + 1,  # Rows, of which the last only bootstraps.
        sequence_period=config.unroll_length,
        batch_size=config.batch_size,
        counter=counter,
        logger=loggers.NoOpLogger(),
    )


def _make_network(config: networks.NetworkConfig, environment_spec: specs.EnvironmentSpec):
    """The layers of the task's network, in Sonnet."""
    import sonnet as snt
    import tensorflow as tf

    torsos = {
        "mlp": lambda: snt.nets.MLP(config.hidden_sizes, activate_final=True),
        "shallow": lambda: snt.Sequential(
            [
                lambda image: tf.cast(image, tf.float32) / 255.0,
                snt.Conv2D(16, 8, 4, padding="VALID"),
                tf.nn.relu,
                snt.Conv2D(32, 4, 2, padding="VALID"),
                tf.nn.relu,
                snt.Flatten(),
                snt.Linear(256),
                tf.nn.relu,
            ]
        ),
    }

    class Network(snt.RNNCore):
        """Torso, policy and baseline, without memory."""

        def __init__(self):
            super().__init__(name="network")
            self._torso = torsos[config.torso]()
            self._policy = snt.Linear(environment_spec.actions.num_values)
            self._baseline = snt.Linear(1)

        def __call__(self, observation, state):
            features = self._torso(observation)
            value = tf.squeeze(self._baseline(features), axis=-1)
            return (self._policy(features), value), state

        def initial_state(self, batch_size, **unused_kwargs):
            return tf.zeros((batch_size, 1))  # The agent's adder does not take an empty one.

    return Network()
