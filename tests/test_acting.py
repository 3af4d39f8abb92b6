import itertools

import acme
import dm_env
import numpy as np
import pytest
import tensorflow as tf
from dm_env import specs

from acme_impala import IMPALAActor, environments
from acme_impala.acting import IMPALABatchActor, NewestVariables
from acme_impala.networks import NetworkConfig, make_network, state_spec
from acme_impala.replay import UnrollAdder, UnrollWriter, unroll_signature

from .guessing import ACTION_SPECS, Guessing
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
        if "policy" not in names:
            return [[np.int64(version)]]
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
        adder.close()
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
            states.append(actor._policy.state[0].numpy())
    np.testing.assert_array_equal(states[:3], states[3:])
    assert (states[0] != states[1]).any()


def test_actions_are_of_the_action_specs_kind():
    specs.DiscreteArray(3).validate(actions(seed=0, count=1)[0])


@pytest.mark.parametrize("core", ["feedforward", "lstm"])
def test_an_actor_over_a_batch_of_one_writes_what_an_actor_in_one_environment_writes(core):
    config = NetworkConfig(hidden_sizes=(8,), core=core, lstm_size=4)
    signature = unroll_signature(SPEC, state_spec(make_network(SPEC, config)), UNROLL_LENGTH)

    def source():
        return CountingSource(config)

    with serving(signature, 100) as client:
        adder = UnrollAdder(client)
        actor = IMPALAActor(
            make_network(SPEC, config), adder=adder, variable_source=source(), seed=3
        )
        run(environments.Catch(seed=1), actor, 100)
        adder.flush()
        expected = sample(client, adder.unrolls_written)
        adder.close()
    with serving(signature, 100) as client:
        writer = UnrollWriter(client)
        actor = IMPALABatchActor(
            make_network(SPEC, config),
            environments.EnvironmentList([environments.Catch(seed=1)]),
            writer,
            source(),
            seed=3,
        )
        # Its sampler also draws at an episode's last observation, whose action is ignored.
        steps = actor.steps()
        while actor.unrolls_written < len(expected):
            next(steps)
        writer.flush()
        unrolls = sample(client, len(expected))
        writer.close()
    assert [int(u.policy_version) for u in unrolls] == list(range(len(unrolls)))
    np.testing.assert_array_equal(unrolls[0].behaviour_logits[0], expected[0].behaviour_logits[0])
    np.testing.assert_array_equal(unrolls[0].action[:6], expected[0].action[:6])
    for number, unroll in enumerate(unrolls):
        rows = [t for t in range(UNROLL_LENGTH) if not unroll.start_of_episode[t + 1]]
        state = tf.nest.map_structure(lambda x: x[np.newaxis], unroll.initial_state)
        reference = source()
        for _ in range(number + 1):
            reference.get_variables(["policy"])
        output, _ = reference.at(number).unroll(
            unroll.observation[:, np.newaxis], state, unroll.start_of_episode[:, np.newaxis]
        )
        np.testing.assert_allclose(
            unroll.behaviour_logits[rows], output.logits.numpy()[rows, 0], rtol=1e-4, atol=1e-5
        )


def test_all_environments_of_a_batch_begin_their_unrolls_with_the_same_weights():
    config = NetworkConfig(hidden_sizes=(8,))
    signature = unroll_signature(SPEC, (), UNROLL_LENGTH, unrolls_per_item=2)
    with serving(signature, 1000) as client:
        writer = UnrollWriter(client, 4)
        batch = environments.EnvironmentList([environments.Catch(seed=i) for i in range(4)])
        actor = IMPALABatchActor(make_network(SPEC, config), batch, writer, CountingSource(config))
        steps = actor.steps()
        while actor.unrolls_written < 5 * 4:
            next(steps)
        writer.flush()
        unrolls = sample(client, 5 * 4)
        writer.close()
    versions = [int(unroll.policy_version) for unroll in unrolls]
    assert versions == sorted(versions)
    assert [versions.count(version) for version in range(5)] == [4] * 5


def test_weights_are_fetched_while_the_environments_of_a_batch_take_their_step():
    class Batch(environments.EnvironmentList):
        is_stepping = False

        def send(self, actions):
            super().send(actions)
            self.is_stepping = True

        def receive(self):
            self.is_stepping = False
            return super().receive()

    class Source(CountingSource):
        def get_variables(self, names):
            fetched_in_a_step.append(batch.is_stepping)
            return super().get_variables(names)

    fetched_in_a_step = []
    batch = Batch([environments.Catch(seed=i) for i in range(2)])
    with serving(unroll_signature(SPEC, (), UNROLL_LENGTH), 100) as client:
        writer = UnrollWriter(client, 2)
        config = NetworkConfig(hidden_sizes=(8,))
        actor = IMPALABatchActor(make_network(SPEC, config), batch, writer, Source(config))
        steps = actor.steps()
        while actor.unrolls_written < 3 * 2:
            next(steps)
        writer.close()
    # Its version is asked for, and then the weights; the first time nothing can be done meanwhile.
    assert fetched_in_a_step == [False] * 2 + [True] * 2 * 3


def spread_network(action_spec):
    """A network whose policy is another at every observation, and often beyond the bounds."""
    network = make_network(
        acme.make_environment_spec(Guessing(action_spec)), NetworkConfig(hidden_sizes=(8,))
    )
    rng = np.random.default_rng(0)
    for variable in network.variables:
        variable.assign(rng.normal(size=variable.shape))
    return network


class Fixed(acme.VariableSource):
    def __init__(self, network):
        self._weights = [variable.numpy() for variable in network.variables]

    def get_variables(self, names):
        return [{"policy": self._weights, "policy_version": [np.int64(0)]}[name] for name in names]


def act_alone(spec, network, client, num_steps):
    environment, adder = Guessing(spec), UnrollAdder(client)
    actor = IMPALAActor(network, adder=adder, seed=3, action_spec=spec)
    run(environment, actor, num_steps)
    return environment, adder


def act_in_a_batch(spec, network, client, num_steps):
    environment, writer = Guessing(spec), UnrollWriter(client)
    batch = environments.EnvironmentList([environment])
    steps = IMPALABatchActor(network, batch, writer, Fixed(network), seed=3).steps()
    while writer.steps_acted < num_steps:
        next(steps)
    return environment, writer


@pytest.mark.parametrize("act", [act_alone, act_in_a_batch])
@pytest.mark.parametrize("name", ACTION_SPECS)
def test_unrolls_hold_what_was_drawn_and_environments_get_what_their_spec_says(name, act):
    spec = ACTION_SPECS[name]
    network = spread_network(spec)
    signature = unroll_signature(
        acme.make_environment_spec(Guessing(spec)), state_spec(network), UNROLL_LENGTH
    )
    with serving(signature, 100) as client:
        environment, recorder = act(spec, network, client, 100)
        recorder.flush()
        unrolls = sample(client, recorder.unrolls_written)
        recorder.close()
    drawn, given = [], iter(environment.actions)
    for unroll in unrolls:
        output, _ = network.unroll(
            unroll.observation[:, np.newaxis], (), unroll.start_of_episode[:, np.newaxis]
        )
        for t in range(UNROLL_LENGTH):
            parameters = tf.nest.flatten(unroll.behaviour_logits)
            if unroll.start_of_episode[t + 1]:
                assert not any(x[t].any() for x in (*parameters, unroll.action))
                continue
            for recorded, own in zip(parameters, tf.nest.flatten(output.logits), strict=True):
                np.testing.assert_allclose(recorded[t], own[t, 0], rtol=1e-4, atol=1e-5)
            action = unroll.action[t]
            drawn.append(action)
            if name == "choices":
                action = action + spec.minimum
            elif name == "continuous":
                middle, half_width = [1, 10.5], [2, 0.5]
                action = np.clip(middle + half_width * action, spec.minimum, spec.maximum)
            np.testing.assert_allclose(next(given), action, rtol=1e-6)
    assert len(drawn) > 80
    assert len(np.unique(drawn)) > 1
    if name == "continuous":  # Much of it was clipped, and not in the unroll.
        assert np.mean(np.abs(drawn) > 1) > 0.2


def test_a_greedy_actor_takes_the_means_of_a_gaussian():
    spec = ACTION_SPECS["continuous"]
    network = spread_network(spec)
    observation = np.array([0.3, -0.2], np.float32)
    actor = IMPALAActor(network, greedy=True, action_spec=spec)
    actor.observe_first(dm_env.restart(observation))
    output, _ = network(observation[np.newaxis], ())
    expected = np.clip([1, 10.5] + output.logits.mean[0] * [2, 0.5], spec.minimum, spec.maximum)
    np.testing.assert_allclose(actor.select_action(observation), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["choices", "continuous"])
def test_an_actor_that_does_not_know_the_action_space_is_told_so(name):
    spec = ACTION_SPECS[name]
    actor = IMPALAActor(spread_network(spec))
    observation = np.zeros(2, np.float32)
    actor.observe_first(dm_env.restart(observation))
    with pytest.raises(ValueError, match=r"Give the actor or builder the action_spec"):
        actor.select_action(observation)


def test_a_version_is_fetched_once_for_all_actors_of_a_process():
    class Learner:
        version = 7
        fetched = 0

        def get_variables(self, names):
            self.fetched += "policy" in names
            variables = {"policy": [np.full(3, self.version)], "policy_version": [self.version]}
            return [variables[name] for name in names]

    learner = Learner()
    newest = NewestVariables(learner)
    for version in (7, 7, 8, 8, 9):
        learner.version = version
        (policy,), (its_version,) = newest.get_variables(["policy", "policy_version"])
        assert its_version == version
        np.testing.assert_array_equal(policy, np.full(3, version))
    assert learner.fetched == 3


class Losing(environments.Catch):
    """Catch that is lost at some of its steps: it begins another episode, without an end."""

    def __init__(self, seed, lost_at):
        super().__init__(rows=9, seed=seed)
        self._lost_at = lost_at
        self._calls = 0

    def step(self, action):
        self._calls += 1
        if self._calls in self._lost_at:
            zero = np.float32(0.0)
            return self.reset()._replace(reward=zero, discount=zero)
        return super().step(action)


LOSING_SPEC = acme.make_environment_spec(Losing(0, ()))
LSTM = NetworkConfig(hidden_sizes=(8,), core="lstm", lstm_size=4)


def assert_as_acted(unroll, network):
    """The network gives the logits that it acted with: rows and recurrent state belong together."""
    state = tf.nest.map_structure(lambda x: x[np.newaxis], unroll.initial_state)
    output, _ = network.unroll(
        unroll.observation[:, np.newaxis], state, unroll.start_of_episode[:, np.newaxis]
    )
    rows = [t for t in range(UNROLL_LENGTH) if not unroll.start_of_episode[t + 1]]
    np.testing.assert_allclose(
        unroll.behaviour_logits[rows], output.logits.numpy()[rows, 0], rtol=1e-4, atol=1e-5
    )


# Calls of `step`, of which every ninth restarts, and the steps in hand at these. The first unroll's
# row T acts in the seventh: what is lost then is none of the unroll's, and it is written.
@pytest.mark.parametrize(
    ("lost_at", "in_hand"),
    [
        ({1}, 0),
        ({6}, 5),
        ({7}, 0),
        ({8}, 1),
        ({10}, 2),
        ({13, 14}, 0),
        ({20, 21, 22}, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["one", "batch"])
def test_the_unroll_in_hand_is_dropped_when_an_environment_is_lost(how, lost_at, in_hand):
    """No unroll has a loss in it, and every step is written, in hand or counted as dropped."""
    number = {"one": 1, "batch": 3}[how]
    network = make_network(LOSING_SPEC, LSTM)
    signature = unroll_signature(LOSING_SPEC, state_spec(network), UNROLL_LENGTH)
    made = [Losing(i, lost_at if i == number // 2 else ()) for i in range(number)]
    steps = 0  # That led somewhere.
    with serving(signature, 1000) as client:
        if how == "one":
            writer = UnrollAdder(client)
            actor = IMPALAActor(network, adder=writer)
            timestep = made[0].reset()
            actor.observe_first(timestep)
            for _ in range(60):
                action = actor.select_action(timestep.observation)
                if timestep.last():
                    timestep = made[0].step(action)
                    actor.observe_first(timestep)
                    continue
                timestep = made[0].step(action)
                actor.observe(action, timestep)
                steps += not timestep.first()
        else:
            writer = UnrollWriter(client, number)
            batch = environments.EnvironmentList(made)
            actor = IMPALABatchActor(network, batch, writer, Fixed(network))
            for timestep, _ in itertools.islice(actor.steps(), 60):
                steps += (timestep.step_type != dm_env.StepType.FIRST).sum()
        writer.flush()
        unrolls = sample(client, writer.unrolls_written)
        writer.close()
    learnable = sum(int((~unroll.start_of_episode[1:]).sum()) for unroll in unrolls)
    assert writer.steps_acted == steps
    assert learnable + writer.steps_in_hand + writer.steps_dropped_restart == steps
    # In a batch the others' steps go too, with those that they took when the one was lost.
    assert writer.steps_dropped_restart == number * in_hand + (number - 1) * len(lost_at)
    assert len(unrolls) >= number * 6
    for unroll in unrolls:
        assert_as_acted(unroll, network)
        # An episode that ends has paid: only where one was lost does a start follow a zero.
        ends = np.flatnonzero(unroll.start_of_episode[1:])
        assert all(abs(unroll.reward[t - 1]) == 1.0 for t in ends if t > 0)


def test_every_environment_that_was_lost_is_counted(monkeypatch):
    """Two in one step, and later one between two episodes, which only the batch itself can tell."""
    network = make_network(LOSING_SPEC, LSTM)
    signature = unroll_signature(LOSING_SPEC, state_spec(network), UNROLL_LENGTH)
    with serving(signature, 100) as client:
        writer = UnrollWriter(client, 3)
        batch = environments.EnvironmentList([Losing(0, {4}), Losing(1, {4}), Losing(2, ())])
        actor = IMPALABatchActor(network, batch, writer, Fixed(network))
        for _ in itertools.islice(actor.steps(), 10):
            pass
        writer.close()
    assert actor.environments_lost == 2
    monkeypatch.setattr(environments.EnvironmentList, "restarts", 3)
    assert actor.environments_lost == 3


def test_of_a_batch_in_which_one_was_lost_the_others_go_on():
    """With their episodes and recurrent states: the first row after it is no start of theirs."""
    network = make_network(LOSING_SPEC, LSTM)
    signature = unroll_signature(LOSING_SPEC, state_spec(network), UNROLL_LENGTH)
    with serving(signature, 100) as client:
        writer = UnrollWriter(client, 2)
        batch = environments.EnvironmentList([Losing(0, {4}), Losing(1, ())])
        actor = IMPALABatchActor(network, batch, writer, Fixed(network))
        steps = actor.steps()
        while actor.unrolls_written < 2:
            next(steps)
        writer.flush()
        lost, other = sample(client, 2)
        writer.close()
    assert actor.steps_dropped_restart == 3 + 4
    assert actor.environments_lost == 1
    assert lost.start_of_episode[0]
    assert not other.start_of_episode[0]
    assert np.abs(other.initial_state[0]).max() > 0
    assert_as_acted(other, network)
