"""The loss against NumPy: sums spelled out row by row, gradients in closed form and measured."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from acme_impala import losses
from acme_impala.config import CORRECTIONS, IMPALAConfig
from acme_impala.distributions import GaussianParameters
from acme_impala.types import PolicyValue, Unroll

CONFIG = IMPALAConfig(discount=0.9, baseline_cost=0.7, lambda_=0.95)
ENTROPY_COST = 0.03
CONFIGS = {
    "paper": CONFIG,
    "own clips": dataclasses.replace(
        CONFIG, clip_rho_threshold=1.5, clip_pg_rho_threshold=2.0, clip_c_threshold=0.8
    ),
    "no clips": dataclasses.replace(
        CONFIG, clip_rho_threshold=None, clip_pg_rho_threshold=None, clip_c_threshold=None
    ),
    "soft": dataclasses.replace(CONFIG, reward_clipping="soft_asymmetric"),
    "scaled": dataclasses.replace(CONFIG, reward_scale=0.3),
    **{name: dataclasses.replace(CONFIG, correction=name) for name in CORRECTIONS[1:]},
    "one_step, own clip": dataclasses.replace(
        CONFIG, correction="one_step", clip_pg_rho_threshold=1.3, clip_rho_threshold=0.4,
        clip_c_threshold=0.3
    ),
}  # fmt: skip


def make_batch(num_rows=6, num_unrolls=3, num_actions=4, seed=0, episodes=True):
    """A batch of num_rows + 1 rows in which some rows are an episode's last observation."""
    rng = np.random.default_rng(seed)
    shape = (num_rows + 1, num_unrolls)
    starts = (rng.uniform(size=shape) < 0.3) & episodes
    last = np.zeros(shape, bool)
    last[:-1] = starts[1:]
    discount = np.ones(shape)
    discount[:-1][last[1:] & (rng.uniform(size=shape) < 0.5)[1:]] = 0.0
    unroll = Unroll(
        observation=np.zeros((*shape, 2)),
        action=np.where(last, 0, rng.integers(num_actions, size=shape)),
        behaviour_logits=np.where(last[..., None], 0, rng.normal(size=(*shape, num_actions))),
        reward=np.where(last, 0, 2 * rng.normal(size=shape)),
        discount=np.where(last, 0, discount),
        start_of_episode=starts,
        initial_state=(),
        policy_version=np.zeros(num_unrolls, np.int64),
    )
    outputs = PolicyValue(
        logits=rng.normal(size=(*shape, num_actions)), value=rng.normal(size=shape)
    )
    return unroll, outputs


def as_tensors(unroll, outputs, dtype=tf.float64):
    def tensor(array):
        return tf.constant(array, dtype if array.dtype.kind == "f" else None)

    return tf.nest.map_structure(tensor, (unroll, outputs))


def loss(unroll, outputs, config=CONFIG, entropy_cost=ENTROPY_COST, dtype=tf.float64):
    unroll, outputs = as_tensors(unroll, outputs, dtype)
    return losses.impala_loss(unroll, outputs, config=config, entropy_cost=entropy_cost)


def gradients(unroll, outputs, config=CONFIG, dtype=tf.float64):
    unroll, outputs = as_tensors(unroll, outputs, dtype)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        total = losses.impala_loss(unroll, outputs, config=config, entropy_cost=ENTROPY_COST).total
    return tf.nest.map_structure(lambda x: x.numpy(), tape.gradient(total, outputs))


def log_softmax(logits):
    return logits - np.log(np.sum(np.exp(logits)))


def action_log_prob(logits, action):
    return log_softmax(logits)[action]


def reference_rows(unroll, outputs, config, log_prob=action_log_prob):
    """Yields (t, b, v_s, pg advantage, rho) of every row that counts, from x_{T-1} back to x_0."""

    def clip(rho, threshold):
        return rho if threshold is None else min(rho, threshold)

    num_rows = len(unroll.reward) - 1
    for b in range(unroll.reward.shape[1]):
        next_v = next_value = outputs.value[num_rows, b]
        for t in reversed(range(num_rows)):
            v = value = outputs.value[t, b]
            if not unroll.start_of_episode[t + 1, b]:
                action, reward = unroll.action[t, b], config.reward_scale * unroll.reward[t, b]
                if config.reward_clipping == "abs_one":
                    reward = max(-1.0, min(1.0, reward))
                else:
                    reward = 5 * np.tanh(reward / 5) * (0.3 if reward < 0 else 1.0)
                gamma = config.discount * unroll.discount[t, b]
                pi, mu = (
                    tf.nest.map_structure(lambda x, t=t, b=b: x[t, b], parameters)
                    for parameters in (outputs.logits, unroll.behaviour_logits)
                )
                rho = np.exp(log_prob(pi, action) - log_prob(mu, action))
                c = config.lambda_ * clip(rho, config.clip_c_threshold)
                value_rho = clip(rho, config.clip_rho_threshold)
                pg_rho = clip(rho, config.clip_pg_rho_threshold)
                if config.correction in ("one_step", "epsilon", "none"):
                    c, value_rho = config.lambda_, 1.0
                if config.correction in ("epsilon", "none"):
                    pg_rho = 1.0
                delta = value_rho * (reward + gamma * next_value - value)
                v = value + delta + gamma * c * (next_v - next_value)
                q = next_value if config.correction == "vtrace_next_value" else next_v
                advantage = pg_rho * (reward + gamma * q - value)
                yield t, b, v, advantage, rho
            next_v, next_value = v, value


def reference(unroll, outputs, config, targets=None):
    """The losses; with `targets`, those of other outputs are held fixed, as the loss does."""
    policy_gradient = baseline = entropy = 0.0
    for t, b, v, advantage, _ in targets or reference_rows(unroll, outputs, config):
        log_pi = log_softmax(outputs.logits[t, b])
        log_probability = log_pi[unroll.action[t, b]]
        if config.correction == "epsilon":
            log_probability = np.log(np.exp(log_probability) + 1e-6)
        policy_gradient -= log_probability * advantage
        baseline += 0.5 * (v - outputs.value[t, b]) ** 2
        entropy -= np.sum(np.exp(log_pi) * log_pi)
    total = policy_gradient + config.baseline_cost * baseline - ENTROPY_COST * entropy
    return total, policy_gradient, baseline, entropy


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(3))
def test_losses_are_the_papers_sums(name, seed):
    batch, config = make_batch(seed=seed), CONFIGS[name]
    rows = list(reference_rows(*batch, config))
    assert 0 < len(rows) < batch[0].reward[:-1].size  # some rows count, some do not
    total, policy_gradient, baseline, entropy = reference(*batch, config)
    result = loss(*batch, config)
    np.testing.assert_allclose(result.total, total, rtol=1e-8)
    metrics = {name: tensor.numpy() for name, tensor in result.metrics.items()}
    np.testing.assert_allclose(metrics["total_loss"], total, rtol=1e-8)
    np.testing.assert_allclose(metrics["policy_gradient_loss"], policy_gradient, rtol=1e-8)
    np.testing.assert_allclose(metrics["baseline_loss"], baseline, rtol=1e-8)
    np.testing.assert_allclose(metrics["entropy"], entropy / len(rows), rtol=1e-8)


@pytest.mark.parametrize("name", CONFIGS)
def test_metrics_are_over_the_rows_that_count(name):
    (unroll, outputs), config = make_batch(seed=5), CONFIGS[name]
    rows = list(reference_rows(unroll, outputs, config))
    vs = np.array([v for _, _, v, _, _ in rows])
    values = np.array([outputs.value[t, b] for t, b, *_ in rows])
    rhos = np.array([rho for *_, rho in rows])
    threshold = config.clip_rho_threshold
    metrics = loss(unroll, outputs, config).metrics
    assert metrics["agent_steps"].dtype == tf.int64
    assert metrics["agent_steps"] == len(rows)
    np.testing.assert_allclose(metrics["mean_value"], values.mean())
    np.testing.assert_allclose(
        metrics["value_explained_variance"], 1 - np.var(vs - values) / np.var(vs)
    )
    np.testing.assert_allclose(metrics["mean_rho"], rhos.mean())
    np.testing.assert_allclose(
        metrics["rho_clipped_fraction"], 0 if threshold is None else np.mean(rhos > threshold)
    )
    assert all(metric.shape == () for metric in metrics.values())


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_are_the_papers(name):
    """Section 4.2: (v - V) grad V, rho grad log pi advantage, and the entropy's."""
    (unroll, outputs), config = make_batch(seed=7), CONFIGS[name]
    logits, values = np.zeros_like(outputs.logits), np.zeros_like(outputs.value)
    for t, b, v, advantage, _ in reference_rows(unroll, outputs, config):
        values[t, b] = -config.baseline_cost * (v - outputs.value[t, b])
        log_pi = log_softmax(outputs.logits[t, b])
        pi = np.exp(log_pi)
        action = unroll.action[t, b]
        chosen = np.eye(len(pi))[action]
        if config.correction == "epsilon":  # d log(pi + 1e-6) = pi / (pi + 1e-6) d log pi
            advantage *= pi[action] / (pi[action] + 1e-6)
        entropy = -np.sum(pi * log_pi)
        logits[t, b] = -advantage * (chosen - pi) + ENTROPY_COST * pi * (log_pi + entropy)
    result = gradients(unroll, outputs, config)
    np.testing.assert_allclose(result.logits, logits, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(result.value, values, rtol=1e-7, atol=1e-9)
    assert not result.value[-1].any()  # the bootstrap value is a constant
    assert not result.logits[-1].any()


@pytest.mark.parametrize("correction", CORRECTIONS[1:4])
def test_on_policy_all_corrections_but_that_of_e3_are_one(correction):
    unroll, outputs = make_batch(seed=3)
    unroll = unroll._replace(behaviour_logits=outputs.logits)
    config = dataclasses.replace(CONFIG, correction=correction)
    expected, result = loss(unroll, outputs), loss(unroll, outputs, config)
    np.testing.assert_allclose(result.total, expected.total, rtol=1e-4)  # 1e-6 by epsilon.


def test_the_epsilon_correction_bounds_the_gradient_of_an_action_that_became_impossible():
    """What it is for: log pi of an action that the policy has given up goes to minus infinity."""
    unroll, outputs = make_batch(num_rows=1, num_unrolls=1, num_actions=2, episodes=False)
    outputs.logits[0, 0, 1 - unroll.action[0, 0]] = 50.0
    for correction, bound in (("none", np.inf), ("epsilon", 1e-6)):
        config = dataclasses.replace(CONFIG, correction=correction, entropy_cost=0.0)
        gradient = np.abs(gradients(unroll, outputs, config).logits).max()
        assert gradient < bound
        assert correction == "epsilon" or gradient > 1e-2


@pytest.mark.parametrize("name", CONFIGS)
def test_errors_are_means_over_the_rows_of_an_unroll_that_count(name):
    (unroll, outputs), config = make_batch(seed=11), CONFIGS[name]
    rows = list(reference_rows(unroll, outputs, config))
    result = loss(unroll, outputs, config).errors
    expected = [
        np.mean([abs(a) for _, b, _, a, _ in rows if b == unroll_number])
        for unroll_number in range(unroll.reward.shape[1])
    ]
    np.testing.assert_allclose(result["advantage"], expected, rtol=1e-8)
    if name == "paper":
        rewards = np.clip(unroll.reward, -1, 1)
        td = rewards[:-1] + config.discount * unroll.discount[:-1] * outputs.value[1:]
        td = np.abs(td - outputs.value[:-1])
        valid = ~unroll.start_of_episode[1:]
        np.testing.assert_allclose(
            result["td_error"], (td * valid).sum(0) / valid.sum(0), rtol=1e-8
        )


def test_gradients_are_finite_differences_with_the_targets_held_fixed():
    unroll, outputs = make_batch(num_rows=3, num_unrolls=2, num_actions=3, seed=0)
    targets = list(reference_rows(unroll, outputs, CONFIG))
    result = gradients(unroll, outputs)
    step = 1e-6
    for field in ("logits", "value"):
        measured = np.zeros_like(getattr(outputs, field))
        for index in np.ndindex(measured.shape):
            either = []
            for sign in (1, -1):
                moved = getattr(outputs, field).copy()
                moved[index] += sign * step
                moved = outputs._replace(**{field: moved})
                either.append(reference(unroll, moved, CONFIG, targets)[0])
            measured[index] = (either[0] - either[1]) / (2 * step)
        np.testing.assert_allclose(getattr(result, field), measured, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30])
@pytest.mark.parametrize("in_graph", [False, True])
def test_masked_rows_add_nothing_whatever_they_hold(garbage, in_graph):
    unroll, outputs = make_batch(seed=3)
    last = unroll.start_of_episode[1:]
    # A masked row's value counts where the row before it was truncated: there it stays real.
    bootstraps = np.zeros_like(last)
    bootstraps[1:] = unroll.discount[:-2] > 0
    assert (last & bootstraps).any()
    assert (last & ~bootstraps).any()
    dirty = tf.nest.map_structure(np.copy, (unroll, outputs))
    for array in (dirty[0].reward, dirty[0].discount, dirty[0].behaviour_logits, dirty[1].logits):
        array[:-1][last] = garbage
    dirty[1].value[:-1][last & ~bootstraps] = garbage
    dirty[0].action[:-1][last] = 1_000_000

    function = tf.function(losses.impala_loss) if in_graph else losses.impala_loss
    results = []
    for batch in ((unroll, outputs), dirty):
        batch_unroll, batch_outputs = as_tensors(*batch, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(batch_outputs)
            result = function(batch_unroll, batch_outputs, config=CONFIG, entropy_cost=ENTROPY_COST)
        results.append((result.metrics, tape.gradient(result.total, batch_outputs)))
    (clean_metrics, clean_gradients), (metrics, dirty_gradients) = results
    for name, metric in metrics.items():
        np.testing.assert_array_equal(metric, clean_metrics[name], err_msg=name)
    for gradient, clean_gradient in zip(dirty_gradients, clean_gradients, strict=True):
        np.testing.assert_array_equal(gradient, clean_gradient)
        assert not gradient.numpy()[:-1][last].any()


def test_the_value_of_a_last_observation_counts_after_a_truncation_only():
    unroll, outputs = make_batch(num_rows=3, num_unrolls=1, episodes=False)
    unroll.start_of_episode[2] = True  # x_1 is the episode's last observation
    other = outputs._replace(value=outputs.value.copy())
    other.value[1] += 1.0
    for discount, differs in ((1.0, True), (0.0, False)):
        unroll.discount[0] = discount
        assert (loss(unroll, outputs).total != loss(unroll, other).total) == differs


def test_an_unroll_of_masked_rows_only():
    unroll, outputs = make_batch(num_rows=2)
    unroll.start_of_episode[:] = True
    for tensor in loss(unroll, outputs).metrics.values():
        assert tensor == 0
    for gradient in gradients(unroll, outputs):
        assert not gradient.any()


def test_doubling_the_batch_doubles_the_loss():
    unroll, outputs = make_batch()
    twice = [
        type(part)(*(np.concatenate([x, x], axis=1) if np.ndim(x) > 1 else x for x in part))
        for part in (unroll, outputs)
    ]
    once, doubled = loss(unroll, outputs), loss(*twice)
    np.testing.assert_allclose(doubled.total, 2 * once.total, rtol=1e-12)
    for name in ("policy_gradient_loss", "baseline_loss", "agent_steps"):
        np.testing.assert_allclose(doubled.metrics[name], 2 * once.metrics[name], rtol=1e-12)
    for name in ("entropy", "mean_value", "mean_rho", "value_explained_variance"):
        np.testing.assert_allclose(doubled.metrics[name], once.metrics[name], rtol=1e-9)


def test_entropy_cost_may_be_a_tensor():
    batch = make_batch()
    result = loss(*batch, entropy_cost=tf.constant(0.5), dtype=tf.float32)
    without = loss(*batch, entropy_cost=0.0, dtype=tf.float32)
    steps = tf.cast(result.metrics["agent_steps"], tf.float32)
    bonus = 0.5 * steps * result.metrics["entropy"]
    np.testing.assert_allclose(result.total, without.total - bonus, rtol=1e-5)


def test_explained_variance_is_zero_where_the_targets_do_not_vary():
    unroll, outputs = make_batch(episodes=False)
    unroll.reward[:] = 0
    outputs.value[:] = 0
    assert loss(unroll, outputs).metrics["value_explained_variance"] == 0


def test_an_action_that_is_never_allowed_keeps_everything_finite():
    unroll, outputs = make_batch(episodes=False)
    unroll.action[:] = np.minimum(unroll.action, 2)
    unroll.behaviour_logits[..., 3] = outputs.logits[..., 3] = -np.inf
    three = (
        unroll._replace(behaviour_logits=unroll.behaviour_logits[..., :3]),
        outputs._replace(logits=outputs.logits[..., :3]),
    )
    np.testing.assert_allclose(loss(unroll, outputs).total, loss(*three).total, rtol=1e-12)
    result = gradients(unroll, outputs)
    np.testing.assert_allclose(result.logits[..., :3], gradients(*three).logits, atol=1e-12)
    assert not result.logits[..., 3].any()


def test_the_loss_learns_a_bandit_from_a_uniform_behaviour_policy():
    """Off-policy data alone: the better action ends up likely, its value right."""
    rng = np.random.default_rng(0)
    unroll, _ = make_batch(num_rows=1, num_unrolls=256, num_actions=2, episodes=False)
    action = rng.integers(2, size=unroll.action.shape)
    unroll = unroll._replace(
        action=action,
        behaviour_logits=np.zeros_like(unroll.behaviour_logits),
        reward=np.where(action == 1, 1.0, -1.0),
        discount=np.zeros_like(unroll.discount),
    )
    logits, value = tf.Variable([0.0, 0.0]), tf.Variable(0.0)
    unroll, _ = as_tensors(unroll, PolicyValue(np.zeros(1), np.zeros(1)), tf.float32)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            rows = PolicyValue(
                tf.broadcast_to(logits, [2, 256, 2]), tf.broadcast_to(value, [2, 256])
            )
            total = losses.impala_loss(unroll, rows, config=CONFIG, entropy_cost=0.0).total
        logits_gradient, value_gradient = tape.gradient(total, (logits, value))
        logits.assign_sub(0.005 * logits_gradient)
        value.assign_sub(0.005 * value_gradient)

    for _ in range(300):
        step()
    assert tf.nn.softmax(logits)[1] > 0.95
    # With rho clipped at one the value is of the policy min(mu, pi), normalised (equation 3).
    clipped = np.minimum(0.5, tf.nn.softmax(logits).numpy())
    share = np.mean(action[0] == 1)
    weights = clipped * np.array([1 - share, share])
    np.testing.assert_allclose(value.numpy(), (weights / weights.sum()) @ [-1, 1], atol=0.02)


@pytest.mark.parametrize(
    ("how", "rewards", "expected"),
    [
        ("abs_one", [-7.0, -0.5, 0.0, 0.5, 7.0], [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (
            "soft_asymmetric",
            [-1e6, -5.0, 0.0, 5.0, 1e6],
            [-1.5, -1.5 * np.tanh(1), 0.0, 5 * np.tanh(1), 5.0],
        ),
        ("none", [-7.0, 0.0, 1e6], [-7.0, 0.0, 1e6]),
    ],
)
def test_clip_rewards(how, rewards, expected):
    np.testing.assert_allclose(losses.clip_rewards(rewards, how), expected, rtol=1e-6)
    assert np.isnan(losses.clip_rewards([np.nan], how))


def test_an_unknown_reward_clipping_is_named():
    with pytest.raises(ValueError, match="abs_one, soft_asymmetric, none, got 'half'"):
        losses.clip_rewards([1.0], "half")


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("value", lambda x: x[:-1], r"outputs.value must be \[T\+1, B\]"),
        ("value", lambda x: x[..., None], r"outputs.value must be \[T\+1, B\]"),
        ("logits", lambda x: x[:, :1], r"outputs.logits must be \[T\+1, B, A\]"),
        (
            "logits",
            lambda x: x[..., :2],
            r"of \[2\] actions .* of \[4\]",
        ),
        ("reward", lambda x: x[:-1], r"unroll.reward must be \[T\+1, B\]"),
        ("behaviour_logits", lambda x: x[..., 0], "unroll.behaviour_logits must be"),
        ("action", lambda x: x.astype(np.float32), "actions must be integers"),
        ("start_of_episode", lambda x: x[:1], "at least two rows"),
        ("start_of_episode", lambda x: x[:, 0], "time-major batch"),
    ],
)
def test_what_does_not_fit_is_named(field, change, message):
    unroll, outputs = make_batch()
    if field in Unroll._fields:
        unroll = unroll._replace(**{field: change(getattr(unroll, field))})
    else:
        outputs = outputs._replace(**{field: change(getattr(outputs, field))})
    with pytest.raises(ValueError, match=message):
        loss(unroll, outputs)


def test_an_action_outside_the_policy_is_refused():
    unroll, outputs = make_batch(episodes=False)
    unroll.action[0, 0] = 4
    with pytest.raises(tf.errors.InvalidArgumentError):
        loss(unroll, outputs)


def assert_same_loss(result, expected):
    for name, metric in expected.metrics.items():
        np.testing.assert_allclose(result.metrics[name], metric, rtol=1e-9, err_msg=name)
    for name, error in expected.errors.items():
        np.testing.assert_allclose(result.errors[name], error, rtol=1e-9)


@pytest.mark.parametrize("name", CONFIGS)
def test_one_choice_of_several_is_one_discrete_action_bit_for_bit(name):
    (unroll, outputs), config = make_batch(seed=2), CONFIGS[name]
    multi = (
        unroll._replace(
            action=unroll.action[..., None], behaviour_logits=(unroll.behaviour_logits,)
        ),
        outputs._replace(logits=(outputs.logits,)),
    )
    expected, result = loss(unroll, outputs, config), loss(*multi, config)
    for one, other in zip(tf.nest.flatten(result), tf.nest.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    expected, result = gradients(unroll, outputs, config), gradients(*multi, config)
    np.testing.assert_array_equal(result.logits[0], expected.logits)
    np.testing.assert_array_equal(result.value, expected.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_several_choices_are_one_choice_of_their_combinations(name):
    """Whose logits are the sums: independent choices."""
    (unroll, outputs), config = make_batch(num_actions=2 + 3, seed=4), CONFIGS[name]
    rng = np.random.default_rng(0)
    last = np.append(unroll.start_of_episode[1:], np.zeros((1, 3), bool), axis=0)
    choices = rng.integers([2, 3], size=(*unroll.action.shape, 2))
    choices[last] = 0

    def split(logits):
        return logits[..., :2], logits[..., 2:]

    def combined(logits):
        first, second = split(logits)
        return (first[..., :, None] + second[..., None, :]).reshape(*logits.shape[:2], 6)

    multi = (
        unroll._replace(action=choices, behaviour_logits=split(unroll.behaviour_logits)),
        outputs._replace(logits=split(outputs.logits)),
    )
    one = (
        unroll._replace(
            action=choices @ [3, 1], behaviour_logits=combined(unroll.behaviour_logits)
        ),
        outputs._replace(logits=combined(outputs.logits)),
    )
    assert_same_loss(loss(*multi, config), loss(*one, config))


def make_gaussian_batch(seed=0, size=2):
    """A batch whose actions are drawn from the behaviour policy."""
    unroll, outputs = make_batch(num_actions=4 * size, seed=seed)
    last = np.append(unroll.start_of_episode[1:], np.zeros((1, 3), bool), axis=0)[..., None]
    pi, mu = (
        GaussianParameters(0.5 * x[..., :size], 0.3 * x[..., size : 2 * size] - 0.5)
        for x in (outputs.logits, unroll.behaviour_logits)
    )
    mu = GaussianParameters(*(np.where(last, 0, x) for x in mu))
    noise = np.random.default_rng(seed).normal(size=mu.mean.shape)
    action = np.where(last, 0, mu.mean + np.exp(mu.log_std) * noise)
    return unroll._replace(action=action, behaviour_logits=mu), outputs._replace(logits=pi)


def gaussian_log_prob(parameters, action):
    mean, std = parameters.mean, np.exp(parameters.log_std)
    return np.sum(np.log(np.exp(-0.5 * ((action - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loss_and_gradients_of_a_gaussian_are_the_papers(name):
    (unroll, outputs), config = make_gaussian_batch(seed=6), CONFIGS[name]
    rows = list(reference_rows(unroll, outputs, config, gaussian_log_prob))
    assert 0 < len(rows) < unroll.reward[:-1].size
    policy_gradient = entropy = 0.0
    means, log_stds = (np.zeros_like(x) for x in outputs.logits)
    for t, b, _, advantage, _ in rows:
        mean, log_std = outputs.logits.mean[t, b], outputs.logits.log_std[t, b]
        action = unroll.action[t, b]
        log_pi = gaussian_log_prob(GaussianParameters(mean, log_std), action)
        z = (action - mean) / np.exp(log_std)
        if config.correction == "epsilon":
            policy_gradient -= np.log(np.exp(log_pi) + 1e-6) * advantage
            advantage *= np.exp(log_pi) / (np.exp(log_pi) + 1e-6)
        else:
            policy_gradient -= log_pi * advantage
        entropy += np.sum(log_std + 0.5 * np.log(2 * np.pi * np.e))
        means[t, b] = -advantage * z / np.exp(log_std)
        log_stds[t, b] = -advantage * (z**2 - 1) - ENTROPY_COST
    metrics = loss(unroll, outputs, config).metrics
    np.testing.assert_allclose(metrics["policy_gradient_loss"], policy_gradient, rtol=1e-8)
    np.testing.assert_allclose(metrics["entropy"], entropy / len(rows), rtol=1e-8)
    np.testing.assert_allclose(metrics["mean_rho"], np.mean([rho for *_, rho in rows]), rtol=1e-8)
    result = gradients(unroll, outputs, config).logits
    np.testing.assert_allclose(result.mean, means, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(result.log_std, log_stds, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30])
def test_masked_rows_of_a_gaussian_add_nothing_whatever_they_hold(garbage):
    unroll, outputs = make_gaussian_batch(seed=3)
    last = unroll.start_of_episode[1:]
    assert last.any()
    dirty = tf.nest.map_structure(np.copy, (unroll, outputs))
    for array in (dirty[0].action, *dirty[0].behaviour_logits, *dirty[1].logits):
        array[:-1][last] = garbage
    assert_same_loss(loss(*dirty), loss(unroll, outputs))
    for result, expected in zip(
        gradients(*dirty).logits, gradients(unroll, outputs).logits, strict=True
    ):
        np.testing.assert_array_equal(result, expected)
        assert np.isfinite(result).all()


def test_policies_of_different_kinds_are_named():
    unroll, outputs = make_gaussian_batch()
    outputs = outputs._replace(logits=tuple(outputs.logits))  # Which would be two choices of two.
    with pytest.raises(ValueError, match=r"a MultiCategorical of \[2, 2\] .* a ClippedGaussian"):
        loss(unroll, outputs)
