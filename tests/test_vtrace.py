"""V-trace against the paper's two formulas written out slowly, and its identities."""

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from acme_impala import vtrace

THRESHOLDS = ("clip_rho_threshold", "clip_pg_rho_threshold", "clip_c_threshold")


def clipped_weights(log_rhos, threshold, factor=1.0):
    with np.errstate(over="ignore"):
        weights = np.exp(log_rhos)
    return factor * (weights if threshold is None else np.minimum(threshold, weights))


def equation_1(case):
    """v_s as a sum over t >= s, with every product of traces written out; up to a masked row."""
    log_rhos, discounts, rewards, values, bootstrap = case["arrays"]
    rho = clipped_weights(log_rhos, case["clip_rho_threshold"])
    c = clipped_weights(log_rhos, case["clip_c_threshold"], case["lambda_"])
    following = np.concatenate([values, bootstrap[None]])[1:]
    num_rows, num_unrolls = values.shape
    vs = values.copy()
    for b in range(num_unrolls):
        for s in range(num_rows):
            for t in range(s, num_rows):
                if not case["mask"][t, b]:
                    break
                delta = rho[t, b] * (
                    rewards[t, b] + discounts[t, b] * following[t, b] - values[t, b]
                )
                vs[s, b] += np.prod(discounts[s:t, b]) * np.prod(c[s:t, b]) * delta
    return vs


def remark_1(case):
    """v_s from v_{s+1}, and the advantages; a masked row starts afresh from its value."""
    log_rhos, discounts, rewards, values, bootstrap = case["arrays"]
    rho = clipped_weights(log_rhos, case["clip_rho_threshold"])
    pg_rho = clipped_weights(log_rhos, case["clip_pg_rho_threshold"])
    c = clipped_weights(log_rhos, case["clip_c_threshold"], case["lambda_"])
    num_rows, num_unrolls = values.shape
    vs, advantages = values.copy(), np.zeros_like(values)
    for b in range(num_unrolls):
        next_v = next_value = bootstrap[b]
        for s in reversed(range(num_rows)):
            if case["mask"][s, b]:
                gamma, reward, value = discounts[s, b], rewards[s, b], values[s, b]
                delta = rho[s, b] * (reward + gamma * next_value - value)
                vs[s, b] = value + delta + gamma * c[s, b] * (next_v - next_value)
                advantages[s, b] = pg_rho[s, b] * (reward + gamma * next_v - value)
            next_v, next_value = vs[s, b], values[s, b]
    return vs, advantages


def compute(case, dtype=np.float64, wrap=lambda f: f):
    keywords = {name: case[name] for name in (*THRESHOLDS, "lambda_", "mask")}
    function = wrap(lambda *arrays: vtrace.from_importance_weights(*arrays, **keywords))
    result = function(*(tf.constant(array, dtype) for array in case["arrays"]))
    return result.vs.numpy(), result.pg_advantages.numpy()


def numbers(shape, low, high):
    return hnp.arrays(np.float64, shape, elements=st.floats(low, high, width=32))


@st.composite
def cases(draw, extremes=True):
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 4)))
    thresholds = {name: draw(st.sampled_from([0.0, 0.7, 1.0, 1.5, None])) for name in THRESHOLDS}
    elements = st.floats(-2, 2, width=32)
    if extremes and None not in thresholds.values():
        elements |= st.sampled_from([-np.inf, -1e3, -50.0, 50.0, 1e3])
    return {
        **thresholds,
        "lambda_": draw(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1)),
        "mask": draw(hnp.arrays(bool, shape, elements=st.sampled_from([True, True, False]))),
        "arrays": (
            draw(hnp.arrays(np.float64, shape, elements=elements)),
            draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.5, 0.99, 1.0]))),
            draw(numbers(shape, -5, 5)),
            draw(numbers(shape, -10, 10)),
            draw(numbers(shape[1:], -10, 10)),
        ),
    }


def random_case(num_rows, num_unrolls, seed=0, **changes):
    rng = np.random.default_rng(seed)
    shape = (num_rows, num_unrolls)
    case = {
        "clip_rho_threshold": 1.0,
        "clip_pg_rho_threshold": 1.0,
        "clip_c_threshold": 1.0,
        "lambda_": 1.0,
        "mask": np.ones(shape, bool),
        "arrays": (
            rng.normal(size=shape),
            rng.choice([0.0, 0.99, 0.99, 0.99], size=shape),
            rng.normal(size=shape),
            rng.normal(size=shape),
            rng.normal(size=num_unrolls),
        ),
    }
    return {**case, **changes}


@hypothesis.given(cases())
def test_both_formulas_of_the_paper(case):
    vs, advantages = compute(case)
    expected_vs, expected_advantages = remark_1(case)
    np.testing.assert_allclose(vs, equation_1(case), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(vs, expected_vs, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(advantages, expected_advantages, rtol=1e-9, atol=1e-9)


@hypothesis.given(cases())
def test_float32_is_close_to_float64(case):
    narrow, wide = compute(case, np.float32), compute(case, np.float64)
    scale = 1 + max(np.abs(array).max() for array in wide)
    for array32, array64 in zip(narrow, wide, strict=True):
        assert array32.dtype == np.float32
        np.testing.assert_allclose(array32, array64, rtol=1e-4, atol=1e-4 * scale)


@hypothesis.given(cases(), st.data())
def test_masked_rows_may_hold_anything(case, data):
    """Only a masked row's value is read, and only where the row before has a discount."""
    log_rhos, discounts, rewards, values, bootstrap = (array.copy() for array in case["arrays"])
    mask = case["mask"]
    garbage = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    expected_vs, expected_advantages = compute(case)
    for array in (log_rhos, discounts, rewards):
        array[~mask] = garbage
    unread = ~mask.copy()
    unread[1:] &= (case["arrays"][1][:-1] == 0) | ~mask[:-1]
    values[unread] = garbage
    vs, advantages = compute({**case, "arrays": (log_rhos, discounts, rewards, values, bootstrap)})
    np.testing.assert_array_equal(vs[~unread], expected_vs[~unread])
    np.testing.assert_array_equal(vs[unread], values[unread])
    np.testing.assert_array_equal(advantages, expected_advantages)
    assert not advantages[~mask].any()


@pytest.mark.parametrize("num_unrolls", [1, 3])
@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 5, 7, 8, 9, 20, 100])
@pytest.mark.parametrize("wrap", [tf.function, lambda f: f], ids=["graph", "eager"])
def test_every_length_in_graphs_and_eagerly(num_rows, num_unrolls, wrap):
    case = random_case(num_rows, num_unrolls)
    vs, advantages = compute(case, wrap=wrap)
    expected_vs, expected_advantages = remark_1(case)
    np.testing.assert_allclose(vs, expected_vs, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(advantages, expected_advantages, rtol=1e-10, atol=1e-10)


def test_the_graph_holds_no_loop_and_grows_with_the_logarithm_of_the_length():
    def operations(num_rows):
        spec, last = tf.TensorSpec([num_rows, 2]), tf.TensorSpec([2])
        function = tf.function(vtrace.from_importance_weights)
        graph = function.get_concrete_function(spec, spec, spec, spec, last).graph
        assert not any("While" in operation.type for operation in graph.get_operations())
        return len(graph.get_operations())

    level = operations(16) - operations(8)
    assert operations(128) - operations(64) == level
    assert operations(128) - operations(8) == 4 * level


@pytest.mark.parametrize("clip_c_threshold", [1.0, 2.0, None])
@pytest.mark.parametrize("clip_rho_threshold", [1.0, None])
def test_on_policy_targets_are_n_step_bellman_targets(clip_rho_threshold, clip_c_threshold):
    """Equation 2: sum_t gamma^{t-s} r_t + gamma^n V(x_{s+n})."""
    num_rows, gamma = 9, 0.9
    _, _, rewards, values, bootstrap = random_case(num_rows, 2)["arrays"]
    result = vtrace.from_importance_weights(
        np.zeros_like(values),
        np.full_like(values, gamma),
        rewards,
        values,
        bootstrap,
        clip_rho_threshold=clip_rho_threshold,
        clip_c_threshold=clip_c_threshold,
    )
    for s in range(num_rows):
        bellman = gamma ** (num_rows - s) * bootstrap
        for t in range(s, num_rows):
            bellman = bellman + gamma ** (t - s) * rewards[t]
        np.testing.assert_allclose(result.vs[s], bellman, rtol=1e-12)


def test_targets_are_the_values_where_rho_bar_is_zero():
    vs, advantages = compute(random_case(6, 3, clip_rho_threshold=0.0))
    np.testing.assert_array_equal(vs, random_case(6, 3)["arrays"][3])
    assert advantages.any()  # the policy gradient has a clip of its own


def test_lambda_zero_is_one_step():
    case = random_case(6, 3, lambda_=0.0)
    log_rhos, discounts, rewards, values, bootstrap = case["arrays"]
    following = np.concatenate([values[1:], bootstrap[None]])
    delta = np.minimum(1, np.exp(log_rhos)) * (rewards + discounts * following - values)
    np.testing.assert_allclose(compute(case)[0], values + delta, rtol=1e-12)


def test_unclipped_weights_that_overflow_stop_at_a_zero_discount():
    shape = (4, 1)
    discounts = np.array([[0.9], [0.9], [0.0], [0.9]])
    log_rhos = np.array([[0.0], [0.0], [1e3], [1e3]])
    result = vtrace.from_importance_weights(
        log_rhos, discounts, np.zeros(shape), np.zeros(shape), np.zeros(1),
        clip_rho_threshold=1.0, clip_pg_rho_threshold=1.0, clip_c_threshold=None,
    )  # fmt: skip
    np.testing.assert_array_equal(result.vs, np.zeros(shape))
    np.testing.assert_array_equal(result.pg_advantages, np.zeros(shape))


def test_a_nan_in_a_real_row_is_not_hidden():
    log_rhos, discounts, rewards, values, bootstrap = random_case(5, 2)["arrays"]
    for broken in (log_rhos, rewards, values):
        arrays = [log_rhos, discounts, rewards, values, bootstrap]
        index = next(i for i, array in enumerate(arrays) if array is broken)
        arrays[index] = broken.copy()
        arrays[index][2, 1] = np.nan
        result = vtrace.from_importance_weights(*arrays)
        assert np.isnan(result.vs.numpy()[2, 1])
        assert np.isnan(result.pg_advantages.numpy()[2, 1])
        assert np.isfinite(result.vs.numpy()[:, 0]).all()


@pytest.mark.parametrize("mask_rank", [2, 3, 4])
def test_further_dimensions_are_separate_slices(mask_rank):
    rng = np.random.default_rng(1)
    shape = (5, 2, 3, 2)
    arrays = [rng.normal(size=shape) for _ in range(4)]
    arrays[1] = rng.uniform(size=shape)
    bootstrap = rng.normal(size=shape[1:])
    mask = rng.uniform(size=shape[:mask_rank]) < 0.7
    full_mask = np.broadcast_to(mask.reshape(mask.shape + (1,) * (4 - mask_rank)), shape)
    result = vtrace.from_importance_weights(*arrays, bootstrap, mask=mask)
    for i in range(3):
        for j in range(2):
            part = vtrace.from_importance_weights(
                *(array[..., i, j] for array in arrays),
                bootstrap[..., i, j],
                mask=full_mask[..., i, j].astype(np.float32),
            )
            np.testing.assert_allclose(result.vs[..., i, j], part.vs, rtol=1e-12)
            np.testing.assert_allclose(
                result.pg_advantages[..., i, j], part.pg_advantages, rtol=1e-12
            )


@pytest.mark.parametrize("discount", [0.0, 1.0], ids=["termination", "truncation"])
def test_an_episode_that_ends_inside_an_unroll(discount):
    """Rows: a_0, a_1 (ends the episode), the last observation (masked), the next episode's a_0."""
    gamma = 0.5
    values = np.array([[1.0], [2.0], [4.0], [8.0]])
    result = vtrace.from_importance_weights(
        log_rhos=np.zeros((4, 1)),
        discounts=gamma * np.array([[1.0], [discount], [0.0], [1.0]]),
        rewards=np.array([[10.0], [20.0], [0.0], [40.0]]),
        values=values,
        bootstrap_value=np.array([16.0]),
        mask=np.array([[1], [1], [0], [1]]),
    )
    last = 20.0 + gamma * discount * 4.0  # from V of the true last observation, not the reset's
    expected = [10.0 + gamma * last, last, 4.0, 40.0 + gamma * 16.0]
    np.testing.assert_allclose(result.vs[:, 0], expected)
    advantages = [expected[0] - 1.0, expected[1] - 2.0, 0.0, expected[3] - 8.0]
    np.testing.assert_allclose(result.pg_advantages[:, 0], advantages)


def logits_case(seed=0, shape=(4, 2), num_actions=3):
    rng = np.random.default_rng(seed)
    return {
        "behaviour_policy_logits": rng.normal(size=(*shape, num_actions)),
        "target_policy_logits": rng.normal(size=(*shape, num_actions)),
        "actions": rng.integers(num_actions, size=shape),
        "discounts": np.full(shape, 0.9),
        "rewards": rng.normal(size=shape),
        "values": rng.normal(size=shape),
        "bootstrap_value": rng.normal(size=shape[1:]),
    }


@pytest.mark.parametrize("shape", [(4, 2), (3, 2, 2)])
def test_from_logits_is_from_importance_weights_of_the_log_probabilities(shape):
    case = logits_case(shape=shape)
    keywords = {
        "clip_rho_threshold": 1.5, "clip_pg_rho_threshold": 1.2, "clip_c_threshold": 0.8,
        "lambda_": 0.9, "mask": np.random.default_rng(2).uniform(size=shape[:2]) < 0.7,
    }  # fmt: skip
    result = vtrace.from_logits(**case, **keywords)

    def log_probs(logits):
        log_softmax = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return np.take_along_axis(log_softmax, case["actions"][..., None], axis=-1)[..., 0]

    behaviour = log_probs(case["behaviour_policy_logits"])
    target = log_probs(case["target_policy_logits"])
    np.testing.assert_allclose(result.behaviour_action_log_probs, behaviour, rtol=1e-12)
    np.testing.assert_allclose(result.target_action_log_probs, target, rtol=1e-12)
    np.testing.assert_allclose(result.log_rhos, target - behaviour, rtol=1e-9, atol=1e-12)
    rest = {k: case[k] for k in ("discounts", "rewards", "values", "bootstrap_value")}
    expected = vtrace.from_importance_weights(target - behaviour, **rest, **keywords)
    np.testing.assert_allclose(result.vs, expected.vs, rtol=1e-9)
    np.testing.assert_allclose(result.pg_advantages, expected.pg_advantages, rtol=1e-9)


def test_only_the_target_log_probabilities_carry_a_gradient():
    case = {
        name: tf.constant(array, tf.float32 if array.dtype.kind == "f" else tf.int32)
        for name, array in logits_case().items()
    }
    sources = {name: tensor for name, tensor in case.items() if name != "actions"}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(sources)
        result = vtrace.from_logits(**case)
    for name in ("vs", "pg_advantages", "log_rhos"):
        gradients = tape.gradient(getattr(result, name), sources)
        assert all(gradient is None for gradient in gradients.values()), name
    gradients = tape.gradient(result.target_action_log_probs, sources)
    probabilities = tf.nn.softmax(case["target_policy_logits"])
    np.testing.assert_allclose(
        gradients.pop("target_policy_logits"),
        tf.one_hot(case["actions"], 3) - probabilities,
        atol=1e-6,
    )
    assert all(gradient is None for gradient in gradients.values())


def test_logits_far_apart_give_finite_targets_and_gradients():
    case = logits_case()
    logits = tf.constant(1e4 * case.pop("target_policy_logits"), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        result = vtrace.from_logits(target_policy_logits=logits, **case)
        loss = tf.reduce_sum(
            result.target_action_log_probs * tf.cast(result.pg_advantages, tf.float64)
        )
    assert np.abs(result.log_rhos).max() > 1e3
    for tensor in (result.vs, result.pg_advantages, tape.gradient(loss, logits)):
        assert np.isfinite(tensor).all()


def test_everything_takes_the_dtype_of_values():
    case = logits_case()
    case["values"] = case["values"].astype(np.float32)
    case["rewards"] = case["rewards"].tolist()
    assert {tensor.dtype for tensor in vtrace.from_logits(**case)} == {tf.float32}


def with_change(**changes):
    case = logits_case()
    return {**case, **{name: change(case.get(name)) for name, change in changes.items()}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": lambda x: x[0]}, "values must be time-major"),
        ({"values": lambda x: x[:0]}, "values must have a known T"),
        ({"values": lambda x: x.astype(np.float16)}, "values must be float32 or float64"),
        ({"rewards": lambda x: x[:-1]}, "rewards must have shape"),
        ({"rewards": lambda x: x[..., None]}, "rewards must have shape"),
        ({"discounts": lambda x: x[:, :1]}, "discounts must have shape"),
        ({"bootstrap_value": lambda x: x[None]}, "bootstrap_value must have shape"),
        ({"actions": lambda x: x[:-1]}, "actions must have shape"),
        ({"actions": lambda x: x.astype(np.float32)}, "actions must be integers"),
        ({"target_policy_logits": lambda x: x[..., 0]}, "target_policy_logits must have shape"),
        ({"behaviour_policy_logits": lambda x: x[0]}, "behaviour_policy_logits must have shape"),
        ({"mask": lambda _: np.ones(4)}, "mask must be"),
        ({"mask": lambda _: np.ones((4, 3))}, "mask must have shape"),
        ({"mask": lambda _: np.ones((4, 2, 1))}, "mask must be"),
        ({"clip_rho_threshold": lambda _: -1.0}, "clip_rho_threshold must not be negative"),
        ({"clip_c_threshold": lambda _: np.nan}, "clip_c_threshold must not be negative"),
        ({"lambda_": lambda _: 1.5}, "lambda_ must be in"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        vtrace.from_logits(**with_change(**change))


def test_log_rhos_of_another_shape_are_named():
    log_rhos, *rest = random_case(4, 2)["arrays"]
    with pytest.raises(ValueError, match="log_rhos must have shape"):
        vtrace.from_importance_weights(log_rhos[:, 0], *rest)


def test_an_unknown_length_is_named_while_tracing():
    spec, last = tf.TensorSpec([None, 2]), tf.TensorSpec([2])
    function = tf.function(vtrace.from_importance_weights)
    with pytest.raises(ValueError, match="known T"):
        function.get_concrete_function(spec, spec, spec, spec, last)


def test_an_action_outside_the_policy_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError):
        vtrace.action_log_probs(tf.zeros([2, 3]), [0, 3])
