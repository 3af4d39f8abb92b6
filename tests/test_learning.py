import dataclasses

import acme
import dm_env
import numpy as np
import pytest
import sonnet as snt
import tensorflow as tf
import tree
from acme import specs as acme_specs
from acme.tf import savers
from acme.utils import loggers
from dm_env import specs

from acme_impala import IMPALA, IMPALAConfig, IMPALALearner, losses
from acme_impala.config import Adam, LinearSchedule, RMSProp
from acme_impala.learning import NonFiniteBatchesError
from acme_impala.networks import NetworkConfig, make_network, state_spec
from acme_impala.replay_config import ReplayConfig
from acme_impala.types import Batch, PolicyValue, Unroll

T, B, A = 5, 4, 3
OBSERVATIONS = specs.Array((6,), np.float32)
SPEC = acme_specs.EnvironmentSpec(
    observations=OBSERVATIONS,
    actions=specs.DiscreteArray(A),
    rewards=specs.Array((), np.float32),
    discounts=specs.BoundedArray((), np.float32, 0, 1),
)
CONFIG = IMPALAConfig(unroll_length=T, batch_size=B, reward_clipping="none")


def network(core="feedforward", seed=0):
    return make_network(SPEC, NetworkConfig(hidden_sizes=(8,), core=core, lstm_size=4, seed=seed))


def batch(seed, spec=(), version=0):
    """A random batch as the dataset gives it, [T+1, B, ...], with episode ends of both kinds."""
    random = np.random.default_rng(seed)
    rows = (T + 1, B)
    start = random.random(rows) < 0.2
    return tree.map_structure(
        tf.convert_to_tensor,
        Unroll(
            observation=random.normal(size=(*rows, 6)).astype(np.float32),
            action=random.integers(0, A, rows, dtype=np.int32),
            behaviour_logits=random.normal(size=(*rows, A)).astype(np.float32),
            reward=random.normal(size=rows).astype(np.float32),
            discount=(random.random(rows) < 0.8).astype(np.float32),
            start_of_episode=start,
            initial_state=tree.map_structure(
                lambda s: random.normal(size=(B, *s.shape)).astype(np.float32), spec
            ),
            policy_version=np.full(B, version, np.int64),
        ),
    )


class Metrics(loggers.Logger):
    def __init__(self):
        self.rows = []

    def write(self, values):
        self.rows.append(loggers.to_numpy(values))

    def close(self):
        pass


def learner(batches, config=CONFIG, net=None):
    metrics = Metrics()
    made = IMPALALearner(net or network(), iter(batches), config, logger=metrics)
    return made, metrics.rows


def values(variables):
    return [variable.numpy() for variable in variables]


def everything(made):
    return [v for module in made.state.values() for v in values(module.variables)]


def assert_equal(xs, ys):
    for x, y in zip(xs, ys, strict=True):
        np.testing.assert_array_equal(x, y)


def gradients_by_stepping(net, unroll, config, columns=range(B)):
    """The gradients of the loss with the network called row by row, as an actor calls it."""
    unroll = tree.map_structure(lambda x: x.numpy(), unroll)
    with tf.GradientTape() as tape:
        total = 0.0
        for b in columns:
            one = tree.map_structure(lambda x, b=b: x[:, b : b + 1], unroll._replace(
                initial_state=(), policy_version=()))  # fmt: skip
            state = tree.map_structure(lambda s, b=b: s[b : b + 1], unroll.initial_state)
            outputs = []
            for t in range(T + 1):
                if one.start_of_episode[t, 0]:
                    state = net.initial_state(1)
                output, state = net(one.observation[t], state)
                outputs.append(output)
            output = PolicyValue(*(tf.stack(x) for x in zip(*outputs, strict=True)))
            total += losses.impala_loss(one, output, config=config, entropy_cost=0.01).total
    return [g.numpy() for g in tape.gradient(total, net.trainable_variables)]


@pytest.mark.parametrize("core", ["feedforward", "lstm"])
def test_a_step_applies_rmsprop_to_the_clipped_gradient_of_the_summed_loss(core):
    config = dataclasses.replace(CONFIG, max_gradient_norm=1.0, learning_rate=0.1)
    net = network(core)
    unroll = batch(0, state_spec(net))
    before, gradients = values(net.variables), gradients_by_stepping(net, unroll, config)
    made, rows = learner([unroll], config, net)
    made.step()
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    assert norm > 1.0  # Or nothing would be clipped.
    np.testing.assert_allclose(rows[0]["gradient_norm"], norm, rtol=1e-4)
    for old, gradient, new in zip(before, gradients, values(net.variables), strict=True):
        gradient = gradient / norm
        mean_square = 0.99 * 1.0 + 0.01 * gradient**2
        expected = old - 0.1 * gradient / np.sqrt(mean_square + 0.01)
        np.testing.assert_allclose(new, expected, rtol=1e-4, atol=1e-6)


def test_unrolls_of_too_old_a_policy_are_refused_and_counted():
    config = dataclasses.replace(CONFIG, max_policy_lag=2, max_gradient_norm=None)
    net = network()
    unroll = batch(1)._replace(policy_version=tf.constant([0, 7, 8, 10], tf.int64))
    made, rows = learner([unroll], config, net)
    made.state["counts"].steps.assign(10)
    gradients = gradients_by_stepping(net, unroll, config, columns=[2, 3])
    made.step()
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    np.testing.assert_allclose(rows[0]["gradient_norm"], norm, rtol=1e-4)
    assert rows[0]["unrolls_dropped_lag"] == 2
    assert rows[0]["unrolls"] == 2
    assert rows[0]["policy_lag_max"] == 10
    assert rows[0]["policy_lag_mean"] == 3.75
    assert made.frames == (~unroll.start_of_episode.numpy()[1:, 2:]).sum()


def test_a_batch_of_which_nothing_is_accepted_is_no_step():
    config = dataclasses.replace(CONFIG, max_policy_lag=0)
    made, _ = learner([batch(1), batch(1, version=1)], config)
    made.state["counts"].steps.assign(1)
    before = values(made.state["optimizer"].variables)
    made.step()
    assert (made.steps, made.frames) == (1, 0)
    assert_equal(before, values(made.state["optimizer"].variables))
    made.step()
    assert made.steps == 2


def test_frames_are_the_rows_that_count_times_the_action_repeat():
    config = dataclasses.replace(CONFIG, frames_per_step=4)
    batches = [batch(seed) for seed in range(3)]
    made, rows = learner(batches, config)
    expected = 0
    for unroll, _ in zip(batches, range(3), strict=True):
        made.step()
        expected += 4 * (~unroll.start_of_episode.numpy()[1:]).sum()
        assert made.frames == expected
    assert rows[-1]["frames"] == expected


def test_schedules_go_by_environment_frames():
    config = dataclasses.replace(
        CONFIG,
        learning_rate=LinearSchedule(1e-2, 0.0, 100),
        entropy_cost=LinearSchedule(0.5, 0.1, 200),
    )
    made, rows = learner([batch(0)] * 4, config)
    for frames in (0, 25, 100, 1000):
        made.state["counts"].frames.assign(frames)
        made.step()
    np.testing.assert_allclose([r["learning_rate"] for r in rows], [1e-2, 7.5e-3, 0, 0], atol=1e-9)
    np.testing.assert_allclose([r["entropy_cost"] for r in rows], [0.5, 0.45, 0.3, 0.1], rtol=1e-6)


def broken(what):
    unroll = batch(3)
    spoiled = getattr(unroll, what).numpy()
    spoiled[1, 2] = np.nan if what == "observation" else np.inf
    start = unroll.start_of_episode.numpy()
    start[:] = False
    return unroll._replace(**{what: tf.constant(spoiled), "start_of_episode": tf.constant(start)})


@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("optimizer", [RMSProp(), Adam()])
def test_a_batch_that_is_not_finite_changes_nothing_and_is_counted(what, optimizer):
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    made, rows = learner([batch(0), broken(what)], config)
    made.step()
    before = [values(made.state[name].variables) for name in ("network", "optimizer")]
    counted = (made.steps, made.frames)
    made.step()
    after = [values(made.state[name].variables) for name in ("network", "optimizer")]
    for x, y in zip(before, after, strict=True):
        assert_equal(x, y)
    assert (made.steps, made.frames) == counted
    assert not rows[1]["finite"]
    assert rows[1]["unrolls_dropped_nonfinite"] == B


def test_several_such_batches_in_a_row_end_the_run_and_a_good_one_between_does_not():
    config = dataclasses.replace(CONFIG, max_nonfinite_batches=2)
    bad, good = broken("reward"), batch(0)
    made, _ = learner([bad, good, bad, bad], config)
    for _ in range(3):
        made.step()
    with pytest.raises(NonFiniteBatchesError, match="2 batches in a row"):
        made.step()


def test_the_learner_says_what_it_has_learned():
    made, rows = learner([batch(0)])
    made.step()
    names = (
        "total_loss", "policy_gradient_loss", "baseline_loss", "entropy", "gradient_norm",
        "value_explained_variance", "mean_rho", "rho_clipped_fraction", "policy_lag_mean",
        "policy_lag_max", "frames", "learning_rate", "entropy_cost",
    )  # fmt: skip
    assert all(np.isfinite(rows[0][name]) for name in names)


def test_actors_get_the_weights_and_the_version_of_one_step():
    made, _ = learner([batch(0), batch(1)])
    first, (version,) = made.get_variables(["policy", "policy_version"])
    assert version == 0
    copies = [x.copy() for x in first]
    made.step()
    assert_equal(copies, first)  # What was given stays as it was.
    second, (version,) = made.get_variables(["policy", "policy_version"])
    assert version == 1
    assert_equal(second, values(made.state["network"].variables))
    assert any((x != y).any() for x, y in zip(first, second, strict=True))
    with pytest.raises(ValueError, match="policy, policy_version"):
        made.get_variables(["critic"])


@pytest.mark.parametrize("optimizer", [RMSProp(momentum=0.5), Adam()])
def test_a_restored_learner_goes_on_bit_by_bit_as_the_saved_one(optimizer, tmp_path):
    config = dataclasses.replace(
        CONFIG, optimizer=optimizer, learning_rate=LinearSchedule(1e-2, 0.0, 200)
    )
    batches = [batch(seed) for seed in range(6)]
    made, _ = learner(batches, config)
    for _ in range(3):
        made.step()
    state, at_save = made.save(), everything(made)
    checkpoint = tf.train.Checkpoint(**made.state).save(str(tmp_path / "checkpoint"))
    for _ in range(3):
        made.step()

    saved, _ = learner(batches[3:], config, network(seed=9))
    saved.restore(state)
    loaded, _ = learner(batches[3:], config, network(seed=9))
    tf.train.Checkpoint(**loaded.state).restore(checkpoint).assert_consumed()
    for other in (saved, loaded):
        assert_equal(everything(other), at_save)
        assert_equal(other.get_variables(["policy"])[0], at_save[: len(network().variables)])
        for _ in range(3):
            other.step()
        assert_equal(everything(other), everything(made))


def test_acmes_checkpointer_saves_and_restores_it(tmp_path):
    def checkpointer(made):
        return savers.Checkpointer({"learner": made}, directory=str(tmp_path), add_uid=False)

    made, _ = learner([batch(0)])
    made.step()
    checkpointer(made).save(force=True)
    other, _ = learner([], net=network(seed=9))
    checkpointer(other)  # Restores on construction.
    assert_equal(everything(other), everything(made))


def test_actors_get_what_acmes_checkpointing_runner_has_restored(tmp_path):
    # As in DistributedLayout: it restores `state`, and the learner is not told.
    def runner(made):
        return savers.CheckpointingRunner(
            made, key="learner", directory=str(tmp_path), add_uid=False
        )

    made, _ = learner([batch(0)])
    runner(made).step()  # Saves after its first step.
    other, _ = learner([], net=network(seed=9))
    weights, (version,) = runner(other).get_variables(["policy", "policy_version"])
    assert version == 1
    assert_equal(weights, values(made.state["network"].variables))


class Heads(snt.Module):
    def __init__(self):
        super().__init__()
        self._policy, self._value = snt.Linear(A), snt.Linear(1)

    def __call__(self, x):
        return self._policy(x), tf.squeeze(self._value(x), -1)


class WithSpec:
    """A dataset that says what its batches are like, as UnrollDataset does."""

    def __init__(self, batches):
        self._iterator = iter(batches)
        self.element_spec = tree.map_structure(
            lambda x: tf.TensorSpec(x.shape, x.dtype), batches[0]
        )

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._iterator)


def test_a_sonnet_core_without_variables_yet_learns():
    core = snt.DeepRNN([snt.Linear(8), tf.nn.relu, snt.LSTM(4), Heads()])
    spec = state_spec(core)
    made = IMPALALearner(core, WithSpec([batch(0, spec), batch(1, spec)]), CONFIG, logger=Metrics())
    weights = made.get_variables(["policy"])[0]
    made.step()
    assert len(weights) == len(core.variables) > 0
    assert all((x != y.numpy()).any() for x, y in zip(weights, core.variables, strict=True))


class AlwaysTruncated(dm_env.Environment):
    """Pays 1 a step and is cut off after a few: with discount 0.9 every state is worth 10."""

    def __init__(self, discount_at_the_end=1.0):
        self._discount = discount_at_the_end
        self._step = 0

    def reset(self):
        self._step = 0
        return dm_env.restart(np.ones(1, np.float32))

    def step(self, action):
        self._step += 1
        if self._step < 4:
            return dm_env.transition(np.float32(1), np.ones(1, np.float32))
        return dm_env.truncation(np.float32(1), np.ones(1, np.float32), np.float32(self._discount))

    def observation_spec(self):
        return specs.Array((1,), np.float32)

    def action_spec(self):
        return specs.DiscreteArray(2)


@pytest.mark.parametrize(("discount_at_the_end", "converges"), [(1.0, True), (0.0, False)])
def test_a_truncation_bootstraps_from_the_value_of_the_last_observation(
    discount_at_the_end, converges
):
    environment = AlwaysTruncated(discount_at_the_end)
    spec = acme.make_environment_spec(environment)
    net = make_network(spec, NetworkConfig(hidden_sizes=(16,)))
    config = IMPALAConfig(
        unroll_length=5, batch_size=2, discount=0.9, optimizer=Adam(), reward_clipping="none",
        learning_rate=LinearSchedule(3e-2, 1e-3, 1600), entropy_cost=0.0, max_gradient_norm=None,
    )  # fmt: skip
    agent = IMPALA(spec, net, config, logger=loggers.NoOpLogger())
    quiet = loggers.NoOpLogger()
    acme.EnvironmentLoop(environment, agent, logger=quiet).run(num_steps=2_000)
    (_, value), _ = net(np.ones((1, 1), np.float32), ())
    if converges:
        np.testing.assert_allclose(value, 10.0, atol=0.5)
    else:  # Terminations: 1 + 0.9 + 0.81 + 0.729 at most.
        assert value < 4.0


def mixed(seed, replayed, version=0):
    replayed = np.array(replayed)
    keys = np.where(replayed, np.arange(10, 10 + B), 0).astype(np.uint64)
    return Batch(batch(seed, version=version), replayed, keys, np.where(replayed, 3, 0))


def count_steps(unroll, columns):
    return int((~unroll.start_of_episode.numpy()[1:, columns]).sum())


def test_what_is_replayed_is_learned_like_the_rest_and_counted_apart():
    config = dataclasses.replace(CONFIG, frames_per_step=4)
    replayed = [False, False, True, True]
    (made, rows), (other, _) = learner([mixed(0, replayed)], config), learner([batch(0)], config)
    made.step()
    other.step()
    for x, y in zip(made.save().network, other.save().network, strict=True):
        np.testing.assert_array_equal(x, y)
    fresh, again = (4 * count_steps(batch(0), columns) for columns in ([0, 1], [2, 3]))
    assert made.frames == fresh
    assert made.frame_counts == {
        "fresh": fresh, "replayed": again, "dropped_lag": 0, "dropped_nonfinite": 0
    }  # fmt: skip
    assert other.frame_counts["fresh"] == fresh + again
    assert (rows[0]["unrolls"], rows[0]["unrolls_replayed"]) == (2, 2)
    assert (rows[0]["learned_frames"], rows[0]["replayed_frames"]) == (fresh, again)
    assert (rows[0]["times_sampled_mean"], rows[0]["times_sampled_max"]) == (3, 3)


def test_the_first_row_names_all_columns_though_nothing_is_replayed_yet():
    config = dataclasses.replace(CONFIG, replay=ReplayConfig(fraction=0.2))
    made, rows = learner([mixed(0, [False] * B), mixed(1, [False, False, False, True])], config)
    made.step()
    made.step()
    assert np.isnan(rows[0]["replayed_age_steps_mean"])
    assert np.isnan(rows[0]["times_sampled_max"])
    assert rows[1]["times_sampled_max"] == 3
    assert rows[0].keys() == rows[1].keys()


def test_the_age_of_what_is_replayed_is_told_in_steps_and_seconds(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    batches = [mixed(i, [False, True, True, True], version=0) for i in range(3)]
    made, rows = learner(batches)
    for _ in range(3):
        made.step()
        clock[0] += 10.0
    assert [row["replayed_age_steps_mean"] for row in rows] == [0, 1, 2]
    assert [row["replayed_age_seconds_mean"] for row in rows] == [0.0, 10.0, 20.0]


def test_an_old_policy_is_no_reason_to_refuse_what_is_replayed():
    config = dataclasses.replace(CONFIG, max_policy_lag=2, frames_per_step=4)
    versions = tf.constant([0, 10, 0, 0], tf.int64)
    one = mixed(1, [False, False, False, True])
    one = one._replace(unroll=one.unroll._replace(policy_version=versions))
    made, rows = learner([one], config)
    made._counts.steps.assign(10)
    made.step()
    assert rows[0]["unrolls_dropped_lag"] == 2
    assert made.frame_counts == {
        "fresh": 4 * count_steps(one.unroll, [1]),
        "replayed": 4 * count_steps(one.unroll, [3]),
        "dropped_lag": 4 * count_steps(one.unroll, [0, 2]),
        "dropped_nonfinite": 0,
    }


def test_a_batch_that_is_not_finite_drops_only_what_is_fresh():
    one = mixed(1, [False, False, True, True])
    rewards = np.full((T + 1, B), np.nan, np.float32)
    made, _ = learner([one._replace(unroll=one.unroll._replace(reward=tf.constant(rewards)))])
    made.step()
    dropped = count_steps(one.unroll, [0, 1])
    assert made.frame_counts == {
        "fresh": 0, "replayed": 0, "dropped_lag": 0, "dropped_nonfinite": dropped
    }  # fmt: skip


@pytest.mark.parametrize("priority", ["advantage", "td_error"])
def test_priorities_of_what_was_replayed_are_told(priority):
    config = dataclasses.replace(
        CONFIG, replay=ReplayConfig(0.5, sampler="prioritized", priority=priority)
    )
    told = []
    made = IMPALALearner(
        network(), iter([mixed(2, [False, True, False, True])]), config, logger=Metrics(),
        update_priorities=lambda keys, priorities: told.append((keys, priorities)),
    )  # fmt: skip
    net, unroll = network(), batch(2)
    outputs, _ = net.unroll(unroll.observation, unroll.initial_state, unroll.start_of_episode)
    expected = losses.impala_loss(unroll, outputs, config=config, entropy_cost=0.0).errors
    made.step()
    ((keys, priorities),) = told
    assert keys.tolist() == [11, 13]
    np.testing.assert_allclose(priorities, expected[priority].numpy()[[1, 3]], rtol=1e-5)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_actors_are_held_behind_and_others_are_not(lag):
    made, _ = learner(map(batch, range(6)), dataclasses.replace(CONFIG, actor_lag=lag))
    history = []
    for step in range(6):
        weights, (version,) = made.get_variables(["policy", "policy_version"])
        history.append(weights)
        assert version == step
        behind, (version,) = made.get_variables(["actor_policy", "actor_policy_version"])
        assert version == max(0, step - lag)
        assert_equal(behind, history[version])
        made.step()


def test_actors_get_what_was_restored_and_not_what_was_held_back_before():
    config = dataclasses.replace(CONFIG, actor_lag=2)
    made, _ = learner(map(batch, range(8)), config)
    made.step()
    state = made.save()
    for _ in range(3):
        made.step()
    made.restore(state)
    for name in ("policy", "actor_policy"):
        weights, (version,) = made.get_variables([name, f"{name}_version"])
        assert version == 1
        assert_equal(weights, state.network)


def test_a_restored_learner_takes_what_was_replayed_of_its_future():
    future = batch(0)._replace(policy_version=tf.constant([5] * B, tf.int64))
    replayed = Batch(future, tf.ones(B, tf.bool), np.arange(B), np.ones(B, np.int64))
    made, rows = learner([batch(1), replayed])
    state = made.save()
    made.step()
    made.restore(state)
    made.step()
    assert rows[-1]["replayed_age_steps_max"] == -5
