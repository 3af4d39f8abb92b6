"""The builder against Acme's interface, and its parts put together by hand."""

import inspect

import acme
import numpy as np
import pytest
import reverb
from acme.utils import counting, loggers

from acme_impala import IMPALABuilder, IMPALAConfig, environments, networks
from acme_impala.replay_config import ReplayConfig

METHODS = ("replay_tables", "dataset_iterator", "adder", "actor", "learner")
CONFIG = IMPALAConfig(unroll_length=5, batch_size=2)


@pytest.mark.parametrize("method", METHODS)
def test_its_methods_begin_with_the_parameters_of_acmes_builders(method):
    jax = pytest.importorskip("jax")
    if not hasattr(jax.interpreters.xla, "Device"):  # dm-acme 0.4.0 knows it by its old name.
        jax.interpreters.xla.Device = jax.Device
    from acme.agents.jax import builders

    acmes = inspect.signature(getattr(builders.GenericActorLearnerBuilder, f"make_{method}"))
    ours = inspect.signature(getattr(IMPALABuilder, f"make_{method}"))
    count = len(acmes.parameters)
    assert list(ours.parameters)[:count] == list(acmes.parameters)
    for (name, expected), parameter in zip(
        acmes.parameters.items(), ours.parameters.values(), strict=False
    ):
        assert parameter.kind == expected.kind, name
        assert parameter.default == expected.default, name
    # What is our own can be left out, and does not take a place that Acme might fill.
    for parameter in list(ours.parameters.values())[count:]:
        assert parameter.kind == inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is not inspect.Parameter.empty


@pytest.mark.parametrize(
    ("config", "alongside", "items"),
    [
        (IMPALAConfig(batch_size=8), False, 3),  # A batch, and a place more.
        (IMPALAConfig(batch_size=8), True, 1),
        (IMPALAConfig(batch_size=8, queue_size=16), True, 5),
    ],
)
def test_a_queue_holds_no_more_than_it_must(config, alongside, items):
    spec = acme.make_environment_spec(environments.Catch())
    builder = IMPALABuilder(config, unrolls_per_item=4, learner_runs_alongside=alongside)
    (table,) = builder.make_replay_tables(spec)
    assert table.info.max_size == items


@pytest.mark.parametrize(
    ("fields", "unrolls_per_item", "queue_items"),
    [
        ({"fraction": 0.5}, 4, 1),
        ({"fraction": 0.25}, 2, 4),  # Not all that actors write together: the fresh of a batch.
        ({"fraction": 0.5, "sampler": "prioritized"}, 1, 5),
    ],
)
def test_queue_and_replay_hold_the_same_items(fields, unrolls_per_item, queue_items):
    config = IMPALAConfig(batch_size=8, replay=ReplayConfig(capacity=30, **fields))
    builder = IMPALABuilder(config, unrolls_per_item=4, learner_runs_alongside=True)
    spec = acme.make_environment_spec(environments.Catch())
    queue, table = builder.make_replay_tables(spec)
    assert table.info.signature == queue.info.signature
    assert table.info.signature.reward.shape[1] == unrolls_per_item
    assert queue.info.max_size == queue_items
    assert table.info.max_size == -(-30 // unrolls_per_item)


def make_network(core="lstm"):
    spec = acme.make_environment_spec(environments.Catch())
    config = networks.NetworkConfig(hidden_sizes=(8,), core=core, lstm_size=4)
    return networks.make_network(spec, config)


def actions(random_key, *, greedy=False):
    """Twenty actions of an actor without an adder: what an evaluator does."""
    actor = IMPALABuilder(CONFIG).make_actor(random_key, make_network(), greedy=greedy)
    timestep = environments.Catch(seed=0).reset()
    actor.observe_first(timestep)
    return [int(actor.select_action(timestep.observation)) for _ in range(20)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0, 1),
        (np.uint32(0), np.uint32(1)),
        (np.array([0, 1], np.uint32), np.array([0, 2], np.uint32)),  # As jax's keys are.
        (np.array([2**32 - 1, 1], np.uint32), np.array([0, 1], np.uint32)),
    ],
    ids=["ints", "numpy's", "keys", "keys that differ in their first half"],
)
def test_an_actor_takes_seeds_and_keys_and_both_decide_its_actions(one, other):
    assert actions(one) == actions(one)
    assert actions(one) != actions(other)


def test_a_greedy_actor_draws_no_random_numbers():
    assert actions(0, greedy=True) == actions(1, greedy=True)
    assert actions(0, greedy=True) != actions(0)


@pytest.mark.parametrize("core", ["feedforward", "lstm"])
def test_the_parts_it_makes_work_together(core, tmp_path):
    environment = environments.Catch(seed=0)
    environment_spec = acme.make_environment_spec(environment)
    learning, acting = make_network(core), make_network(core)
    builder = IMPALABuilder(CONFIG, networks.state_spec(learning))
    server = reverb.Server(
        builder.make_replay_tables(environment_spec),
        port=None,
        checkpointer=reverb.checkpointers.DefaultCheckpointer(str(tmp_path)),
    )
    client = reverb.Client(f"localhost:{server.port}")
    adder = builder.make_adder(client)
    dataset = builder.make_dataset_iterator(client)
    counter = counting.Counter()
    learner = builder.make_learner(
        np.array([0, 1], np.uint32),
        learning,
        dataset,
        client,
        counter,
        logger=loggers.NoOpLogger(),
    )
    actor = builder.make_actor(np.array([0, 2], np.uint32), acting, adder, learner)

    before = [variable.numpy() for variable in learning.trainable_variables]
    timestep = environment.reset()
    actor.observe_first(timestep)
    while adder.unrolls_written < CONFIG.batch_size:  # Two unrolls are 11 rows: an episode and 1.
        action = actor.select_action(timestep.observation)
        timestep = environment.step(action)
        actor.observe(action, timestep)
        if timestep.last():
            timestep = environment.reset()
            actor.observe_first(timestep)
    learner.step()

    assert learner.steps == counter.get_counts()["steps"] == 1
    # Ten rows, the one of the episode's last observation without a step.
    assert learner.frames == counter.get_counts()["frames"] == 9
    after = [variable.numpy() for variable in learning.trainable_variables]
    assert any(np.any(old != new) for old, new in zip(before, after, strict=True))
    # The actor takes over the new weights with its next unroll.
    while not adder.unroll_begins:
        action = actor.select_action(timestep.observation)
        timestep = environment.step(action)
        actor.observe(action, timestep)
    actor.select_action(timestep.observation)
    for variable, new in zip(acting.trainable_variables, after, strict=True):
        np.testing.assert_array_equal(variable.numpy(), new)
    adder.close()  # Else the server waits five seconds for it.
    dataset.close(1.0)


def test_its_queue_holds_what_the_config_says():
    spec = acme.make_environment_spec(environments.Catch())
    for queue_size, capacity in ((None, 2), (7, 7)):
        config = IMPALAConfig(unroll_length=5, batch_size=2, queue_size=queue_size)
        (table,) = IMPALABuilder(config).make_replay_tables(spec)
        assert table.info.max_size == capacity + 1  # One for an episode's last observation.
        assert table.info.signature.reward.shape == (6, 1)
        assert table.info.signature.initial_state == ()
