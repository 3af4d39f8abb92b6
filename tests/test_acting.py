import acme
import dm_env
import numpy as np
import pytest
import tensorflow as tf
from dm_env import specs

from acme_impala import IMPALAActor, environments
from acme_impala.networks import NetworkConfig, make_network, state_spec
from acme_impala.replay import UnrollAdder, unroll_signature

from .replay.examples import sample, serving

SPEC = acme.make_environment_spec(environments.Catch())
UNROLL_LENGTH = 6


class CountingSource(acme.VariableSource):
    """Gives other weights, and the next version, at every request."""

    def __init__(self, config=NetworkConfig(hidden_sizes=(8,))):
        self.network = make_network(SPEC, config)
        self.versions = {}

    def get_variables(self, names):
        version = len(self.versions)
        for variable in self.network.variables:
            variable.assign(tf.ones_like(variable) * 0.01 * version)
        weights = [variable.numpy() for variable in self.network.variables]
        self.versions[version] = weights
        given = {"policy": weights, "policy_version": [np.int64(version)]}
        return [given[name] for name in names]

    def at(self, version):
        for variable, value in zip(self.network.variables, self.versions[version], strict=True):
            variable.assign(value)
        return self.network


def run(environment, actor, num_steps):
    steps = 0
    while steps < num_steps:
        timestep = environment.reset()
        actor.observe_first(timestep)
        while not timestep.last() and steps < num_steps:
            action = actor.select_action(timestep.observation)
            timestep = environment.step(action)
            actor.observe(action, timestep)
            actor.update()
            steps += 1


@pytest.mark.parametrize("core", ["feedforward", "lstm"])
def test_one_version_of_the_weights_acts_in_an_unroll_and_is_fetched_when_it_begins(core):
    config = NetworkConfig(hidden_sizes=(8,), core=core, lstm_size=4)
    source = CountingSource(config)
    network = make_network(SPEC, config)
    signature = unroll_signature(SPEC, state_spec(network), UNROLL_LENGTH)
    with serving(signature, 100) as client:
        adder = UnrollAdder(client)
        actor = IMPALAActor(network, adder=adder, variable_source=source)
        run(environments.Catch(), actor, 100)
        adder.flush()
        written = adder.unrolls_written
        unrolls = sample(client, written)
        adder._writer.close()
    # The unroll that is under way has begun, and so fetched, too.
    assert len(source.versions) == written + 1
    for number, unroll in enumerate(unrolls):
        assert unroll.policy_version == number
        rows = [
            t for t in range(UNROLL_LENGTH) if not unroll.start_of_episode[t + 1]
        ]  # Not those of last observations.
        state = tf.nest.map_structure(lambda x: x[np.newaxis], unroll.initial_state)
        output, _ = source.at(number).unroll(
            unroll.observation[:, np.newaxis], state, unroll.start_of_episode[:, np.newaxis]
        )
        np.testing.assert_allclose(
            unroll.behaviour_logits[rows], output.logits.numpy()[rows, 0], rtol=1e-4, atol=1e-5
        )


def test_without_an_adder_the_weights_are_fetched_once_an_episode():
    source = CountingSource()
    actor = IMPALAActor(
        make_network(SPEC, NetworkConfig(hidden_sizes=(8,))), variable_source=source
    )
    run(environments.Catch(), actor, 9 * 5)  # An episode of Catch takes nine steps.
    assert len(source.versions) == 5


class Constant:
    """A network of constant logits, for it is their sampling that is tested."""

    variables = trainable_variables = ()

    def initial_state(self, batch_size):
        return ()

    def __call__(self, observation, state):
        return (tf.math.log([[0.2, 0.5, 0.3]]), tf.zeros([1])), state


def actions(seed, count, greedy=False):
    actor = IMPALAActor(Constant(), seed=seed, greedy=greedy)
    observation = np.zeros((10, 5), np.float32)
    actor.observe_first(dm_env.restart(observation))
    return np.array([actor.select_action(observation) for _ in range(count)])


def test_actions_are_drawn_from_the_softmax_of_the_logits():
    frequencies = np.bincount(actions(seed=0, count=3000), minlength=3) / 3000
    np.testing.assert_allclose(frequencies, [0.2, 0.5, 0.3], atol=0.03)


def test_a_greedy_actor_takes_the_likeliest_action():
    assert (actions(seed=0, count=20, greedy=True) == 1).all()


def test_the_seed_decides_the_actions():
    np.testing.assert_array_equal(actions(seed=1, count=50), actions(seed=1, count=50))
    assert (actions(seed=1, count=50) != actions(seed=2, count=50)).any()


def test_the_recurrent_state_starts_anew_with_every_episode():
    network = make_network(SPEC, NetworkConfig(hidden_sizes=(8,), core="lstm", lstm_size=4))
    actor = IMPALAActor(network, greedy=True)
    observation = np.ones((10, 5), np.float32)
    states = []
    for _ in range(2):
        actor.observe_first(dm_env.restart(observation))
        for _ in range(3):
            actor.select_action(observation)
            states.append(actor._state[0].numpy())
    np.testing.assert_array_equal(states[:3], states[3:])
    assert (states[0] != states[1]).any()


def test_actions_are_of_the_action_specs_kind():
    specs.DiscreteArray(3).validate(actions(seed=0, count=1)[0])
