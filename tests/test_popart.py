"""PopArt: statistics against a slow reference, values kept, and no task drowned by another."""

import functools

import numpy as np
import pytest
import sonnet as snt
import tensorflow as tf
from acme import specs as acme_specs
from acme.utils import loggers
from dm_env import specs

from acme_impala import IMPALAConfig, IMPALALearner, losses
from acme_impala.config import Adam
from acme_impala.networks import NetworkConfig, check_network, make_network
from acme_impala.popart import PopArt
from acme_impala.types import Unroll

K, D, T, B = 3, 8, 5, 7
STEP_SIZE = 0.1


def head(num_values=K):
    layer = tf.keras.layers.Dense(num_values)
    layer.build([None, D])
    layer.bias.assign(np.random.default_rng(0).normal(size=num_values))
    return layer


def rows(seed, scale=1.0):
    """Targets and masks [T, B], and tasks [B] of which the last is not there."""
    random = np.random.default_rng(seed)
    targets = scale * (2 + random.normal(size=(T, B)))
    return targets.astype(np.float32), random.random((T, B)) < 0.7, random.integers(0, K - 1, B)


def test_statistics_are_moving_averages_of_each_tasks_moments():
    art = PopArt(head(), STEP_SIZE)
    mean, second = np.zeros(K), np.ones(K)
    for seed in range(50):
        targets, valid, task = rows(seed, scale=10.0)
        art.update(targets, valid, task)
        for k in range(K):
            of_task = [
                float(targets[t, b])
                for t in range(T)
                for b in range(B)
                if task[b] == k and valid[t, b]
            ]
            if of_task:
                mean[k] += STEP_SIZE * (np.mean(of_task) - mean[k])
                second[k] += STEP_SIZE * (np.mean(np.square(of_task)) - second[k])
    np.testing.assert_allclose(art.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(art.scale, np.sqrt(second - mean**2), rtol=1e-10)
    assert art.mean[0] > 10  # They have moved, and those of the task that is not there have not.
    assert (art.mean[K - 1], art.scale[K - 1]) == (0, 1)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e4])
def test_no_update_changes_a_value(scale):
    layer = head()
    art = PopArt(layer, STEP_SIZE)
    features = np.random.default_rng(1).normal(size=(T * B, D)).astype(np.float32)

    def values():
        outputs = tf.reshape(layer(features), [T, B, K])
        return np.stack([art.value(outputs, np.full(B, k)) for k in range(K)])

    for seed in range(30):
        before, scale_before = values(), art.scale.numpy()
        art.update(*rows(seed, scale))
        # A value that is the small sum of a large mean and large outputs has their precision.
        terms = np.maximum(np.abs(art.mean), art.scale)[:, np.newaxis, np.newaxis]
        size = np.maximum(np.abs(before), terms)
        assert (np.abs(values() - before) <= 1e-5 * size).all()
        assert (art.scale[:2] != scale_before[:2]).numpy().all()


def test_the_scale_stays_within_its_bounds():
    art = PopArt(head(1), step_size=1.0)
    valid, task = np.ones((T, B), bool), np.zeros(B, np.int32)
    art.update(np.full((T, B), 3.0), valid, task)  # All the same: no variance.
    np.testing.assert_allclose(art.scale, [1e-4])
    art.update(1e9 * (-1.0) ** np.arange(T * B).reshape(T, B), valid, task)
    np.testing.assert_allclose(art.scale, [1e6])


def test_one_task_needs_no_dimension_for_tasks():
    art = PopArt(head(1), STEP_SIZE)
    targets, valid, _ = rows(0)
    task = np.zeros(B, np.int32)
    art.update(targets, valid, task)
    outputs = tf.ones([T, B])
    np.testing.assert_allclose(
        art.value(outputs, task), np.full((T, B), art.scale[0] + art.mean[0]), rtol=1e-6
    )


# Two tasks of one step: which of four arms pays is what the context says.
ARMS = 4
SPEC = acme_specs.EnvironmentSpec(
    observations=specs.Array((2 * ARMS,), np.float32),
    actions=specs.DiscreteArray(ARMS),
    rewards=specs.Array((), np.float32),
    discounts=specs.BoundedArray((), np.float32, 0, 1),
)
PAYS = (1.0, 1000.0)
UNROLLS, STEPS = 32, 20


class BanditPlay:
    """Batches of a network's play, half of it in each task."""

    def __init__(self, network):
        self._network = network
        self._random = np.random.default_rng(0)

    def __iter__(self):
        return self

    def __next__(self):
        shape = (STEPS + 1, UNROLLS)
        task = np.arange(UNROLLS, dtype=np.int32) % 2
        context = self._random.integers(ARMS, size=shape)
        observation = np.eye(2 * ARMS, dtype=np.float32)[context + ARMS * task]
        outputs, _ = self._network.unroll(observation, (), np.zeros(shape, bool))
        logits = outputs.logits.numpy()
        action = np.argmax(logits + self._random.gumbel(size=logits.shape), -1)
        # The other task's arms are the same turned by one, so that none is always right.
        right = (context + task) % ARMS
        unroll = Unroll(
            observation=observation,
            action=action.astype(np.int32),
            behaviour_logits=logits,
            reward=np.where(action == right, np.array(PAYS)[task], 0).astype(np.float32),
            discount=np.zeros(shape, np.float32),
            start_of_episode=np.zeros(shape, bool),
            initial_state=(),
            policy_version=np.zeros(UNROLLS, np.int64),
            task=task,
        )
        return tf.nest.map_structure(tf.convert_to_tensor, unroll)


def share_right(network):
    """How often a network's likeliest arm is the right one, by task."""
    (logits, _), _ = network(np.eye(2 * ARMS, dtype=np.float32), ())
    chosen = np.argmax(logits, -1).reshape(2, ARMS)
    right = (np.arange(ARMS) + np.arange(2)[:, np.newaxis]) % ARMS
    return (chosen == right).mean(axis=1)


@functools.cache
def learn_bandits(popart_step_size):
    network = make_network(
        SPEC,
        NetworkConfig(hidden_sizes=(16,), num_values=1 if popart_step_size is None else 2),
    )
    config = IMPALAConfig(
        unroll_length=STEPS,
        batch_size=UNROLLS,
        reward_clipping="none",
        popart_step_size=popart_step_size,
        entropy_cost=0.0,
        optimizer=Adam(),
        learning_rate=3e-3,
    )
    learner = IMPALALearner(
        network,
        BanditPlay(network),
        config,
        logger=loggers.NoOpLogger(),
        task_names=["small", "large"],
    )
    for _ in range(300):
        learner.step()
    return learner, share_right(network)


def test_a_task_with_a_thousand_times_the_rewards_does_not_drown_another():
    _, with_popart = learn_bandits(0.01)
    _, without = learn_bandits(None)
    print(f"Share of contexts in which the best arm is taken: {with_popart}; without {without}")
    np.testing.assert_array_equal(with_popart, 1.0)
    assert without[1] == 1.0  # The large task is learned either way,
    assert without[0] < 0.8  # and nothing else.


def test_the_loss_divides_each_unrolls_errors_by_its_tasks_scale():
    network = make_network(SPEC, NetworkConfig(hidden_sizes=(16,)))
    unroll = next(BanditPlay(network))
    outputs, _ = network.unroll(unroll.observation, (), unroll.start_of_episode)
    config = IMPALAConfig(reward_clipping="none")

    def loss(unroll, outputs, **kwargs):
        return losses.impala_loss(unroll, outputs, config=config, entropy_cost=0.0, **kwargs)

    scale = np.array([2.0, 500.0], np.float32)
    scaled = loss(unroll, outputs, value_scale=tf.gather(scale, unroll.task))
    policy_gradient, baseline = 0.0, 0.0
    for k in range(2):
        of_task = tf.nest.map_structure(
            lambda x, k=k: x[:, k::2], unroll._replace(initial_state=(), policy_version=(), task=())
        )
        alone = loss(of_task, tf.nest.map_structure(lambda x, k=k: x[:, k::2], outputs)).metrics
        policy_gradient += alone["policy_gradient_loss"] / scale[k]
        baseline += alone["baseline_loss"] / scale[k] ** 2
    np.testing.assert_allclose(scaled.metrics["policy_gradient_loss"], policy_gradient, rtol=1e-5)
    np.testing.assert_allclose(scaled.metrics["baseline_loss"], baseline, rtol=1e-5)


def test_a_learner_saves_and_restores_the_statistics():
    learner, _ = learn_bandits(0.01)
    state = learner.save()
    mean, _ = state.popart
    assert mean[1] > 100 > 1 > mean[0] > 0
    other = IMPALALearner(
        make_network(SPEC, NetworkConfig(hidden_sizes=(16,), seed=5, num_values=2)),
        iter([]),
        IMPALAConfig(popart_step_size=0.01, optimizer=Adam()),
        logger=loggers.NoOpLogger(),
        task_names=["small", "large"],
    )
    other.restore(state)
    for one, two in zip(tf.nest.flatten(state), tf.nest.flatten(other.save()), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_network_without_a_head_for_each_task_is_refused():
    network = make_network(SPEC, NetworkConfig())
    with pytest.raises(ValueError, match=r"2 tasks.*1 outputs: NetworkConfig\(num_values=2\)"):
        check_network(network, SPEC, popart_tasks=2)
    with pytest.raises(ValueError, match="SonnetNetwork has none"):
        check_network(snt.DeepRNN([snt.Linear(3)]), SPEC, popart_tasks=1)
    several = make_network(SPEC, NetworkConfig(num_values=2))
    with pytest.raises(ValueError, match="several numbers are for several tasks with PopArt"):
        check_network(several, SPEC)
