"""The loss of one batch of unrolls (section 4.2), from the network's outputs on all their rows."""

from typing import NamedTuple

import tensorflow as tf
import tree

from acme_impala import distributions, vtrace
from acme_impala.config import REWARD_CLIPPINGS, IMPALAConfig, RewardClipping
from acme_impala.types import PolicyValue, Unroll

# Of the epsilon-correction (section 5.2.2), added to probabilities.
_EPSILON = 1e-6


class LossOutput(NamedTuple):
    """The loss to differentiate, and what to log.

    Attributes:
        total: scalar, policy_gradient_loss + baseline_cost baseline_loss - entropy_cost (sum of the
            entropies), each SUMMED over time and batch.
        metrics: scalars by name; see `impala_loss`.
        errors: [B] by name, of every unroll the mean over its rows that count of the absolute
            'advantage' (what the policy gradient is multiplied by) and 'td_error',
            r + gamma V(x_{t+1}) - V(x_t): how much there is to learn from it. Without gradient.
        value_targets: [T, B], v of every row, zero where it does not count. Without gradient.
        valid: [T, B] bool, which rows count.
    """

    total: tf.Tensor
    metrics: dict[str, tf.Tensor]
    errors: dict[str, tf.Tensor]
    value_targets: tf.Tensor
    valid: tf.Tensor


def impala_loss(
    unroll: Unroll,
    outputs: PolicyValue,
    *,
    config: IMPALAConfig,
    entropy_cost: float | tf.Tensor,
    accepted: tf.Tensor | None = None,
    value_scale: tf.Tensor | None = None,
) -> LossOutput:
    """Computes IMPALA's loss of a time-major batch.

    Rows that are an episode's last observation are masked: they add nothing to the loss, the
    metrics or the gradients, whatever they hold, except that the value of such a row is what the
    row before it bootstraps from after a truncation.

    The metrics are means over the rows that count, but for the first three and the last:
    total_loss; policy_gradient_loss; baseline_loss (before baseline_cost), all three summed as in
    the loss; entropy (nats); mean_value; value_explained_variance: 1 - Var(v - V) / Var(v), zero
    where Var(v) is; mean_rho, the importance weight pi/mu before any clip; rho_clipped_fraction of
    weights above clip_rho_threshold; agent_steps: how many rows counted (int64).

    Args:
        unroll: T+1 rows, [T+1, B, ...]; observation, initial_state and policy_version are not read.
        outputs: the network's, on the same rows: the policy's parameters, logits [T+1, B, A] or a
            nest of [T+1, B, ...] (`distributions.py`), and value [T+1, B], which is float32 or
            float64 and then the loss's dtype.
        config: discount, reward scale and clipping, V-trace's thresholds and lambda, baseline_cost.
        entropy_cost: weight of the entropy bonus now; a scalar, for it may be annealed.
        accepted: [B] bool, which unrolls to learn from; None: all. The rows of the others are
            masked.
        value_scale: [B], what errors of the value and advantages are divided by, in the loss and in
            `errors` (PopArt's sigma of each unroll's task); None: nothing.

    Returns:
        A `LossOutput`.

    Raises:
        ValueError: shapes or dtypes do not fit.
        tf.errors.InvalidArgumentError: on the CPU, an action of a row that counts is outside
            [0, A); on a GPU the loss is NaN.
    """
    _check_shapes(unroll, outputs)

    # How the rows line up. Row t of the unroll and of the outputs both belong to observation x_t:
    # pi(.|x_t) and V(x_t) stand beside the action a_t taken at x_t, mu(.|x_t) that drew it, and the
    # reward r_t and discount d_t that it led to. Nothing is shifted by a row. Rows 0 .. T-1 are
    # learned from; of row T only V(x_T) is used, to bootstrap; it is learned from as the next
    # unroll's row 0. Only start_of_episode is read one row ahead: x_{t+1} starting an episode means
    # that x_t was the last of the one before and that a_t led nowhere.
    valid = tf.logical_not(tf.cast(unroll.start_of_episode[1:], tf.bool))  # [T, B]
    if accepted is not None:
        valid &= accepted
    values, bootstrap_value = outputs.value[:-1], outputs.value[-1]
    dtype = values.dtype
    # Masked rows are replaced BEFORE anything is computed from them: masking the loss afterwards
    # would still multiply NaN by zero in the gradient.
    logits, behaviour_logits = (
        tree.map_structure(lambda x: _where_valid(valid, tf.cast(x[:-1], dtype)), parameters)
        for parameters in (outputs.logits, unroll.behaviour_logits)
    )
    actions = _where_valid(valid, tf.convert_to_tensor(unroll.action[:-1]))
    policy = distributions.kind_of(logits)
    log_probs = policy.log_prob(logits, actions)  # log pi(a|x), with gradient.
    log_rhos = tf.stop_gradient(log_probs - policy.log_prob(behaviour_logits, actions))
    rewards = clip_rewards(
        config.reward_scale * tf.cast(unroll.reward[:-1], dtype), config.reward_clipping
    )
    discounts = config.discount * tf.cast(unroll.discount[:-1], dtype)
    targets = _correct(config, log_rhos, discounts, rewards, values, bootstrap_value, mask=valid)
    td_errors = tf.stop_gradient(rewards + discounts * outputs.value[1:] - values)
    values = _where_valid(valid, values)
    vs = _where_valid(valid, targets.vs)
    value_errors, advantages = vs - values, targets.pg_advantages
    if value_scale is not None:
        value_errors, advantages, td_errors = (
            x / tf.cast(value_scale, dtype) for x in (value_errors, advantages, td_errors)
        )

    if config.correction == "epsilon":
        log_probs = tf.math.log(tf.exp(log_probs) + _EPSILON)
    policy_gradient_loss = -tf.reduce_sum(log_probs * advantages)
    baseline_loss = 0.5 * tf.reduce_sum(tf.square(value_errors))
    entropy = tf.reduce_sum(_where_valid(valid, policy.entropy(logits)))
    total = (
        policy_gradient_loss
        + config.baseline_cost * baseline_loss
        - tf.cast(entropy_cost, dtype) * entropy
    )

    rhos = tf.exp(log_rhos)
    metrics = {
        "total_loss": total,
        "policy_gradient_loss": policy_gradient_loss,
        "baseline_loss": baseline_loss,
        "entropy": tf.math.divide_no_nan(entropy, _count(valid, dtype)),
        "mean_value": _mean(valid, values),
        "value_explained_variance": _explained_variance(valid, vs, values),
        "mean_rho": _mean(valid, rhos),
        "rho_clipped_fraction": _fraction_above(valid, rhos, config.clip_rho_threshold),
        "agent_steps": tf.math.count_nonzero(valid),
    }
    errors = {"advantage": advantages, "td_error": td_errors}
    return LossOutput(
        total,
        {name: tf.stop_gradient(value) for name, value in metrics.items()},
        {name: _mean(valid, tf.abs(error), axis=0) for name, error in errors.items()},
        vs,
        valid,
    )


def _correct(
    config: IMPALAConfig,
    log_rhos: tf.Tensor,
    discounts: tf.Tensor,
    rewards: tf.Tensor,
    values: tf.Tensor,
    bootstrap_value: tf.Tensor,
    mask: tf.Tensor,
) -> vtrace.VTraceReturns:
    """Computes the targets by one of the corrections of section 5.2.2 and appendix E.3.

    Without a correction they are the n-step Bellman targets of the on-policy case (equation 2):
    V-trace whose importance weights are all one, whatever the thresholds.
    """
    rows = {
        "discounts": discounts,
        "rewards": rewards,
        "values": values,
        "bootstrap_value": bootstrap_value,
        "mask": mask,
        "lambda_": config.lambda_,
    }
    if config.correction in ("vtrace", "vtrace_next_value"):
        return vtrace.from_importance_weights(
            log_rhos,
            clip_rho_threshold=config.clip_rho_threshold,
            clip_pg_rho_threshold=config.clip_pg_rho_threshold,
            clip_c_threshold=config.clip_c_threshold,
            pg_bootstrap="vs" if config.correction == "vtrace" else "values",
            **rows,
        )
    on_policy = vtrace.from_importance_weights(
        tf.zeros_like(log_rhos),
        clip_rho_threshold=None,
        clip_pg_rho_threshold=None,
        clip_c_threshold=None,
        **rows,
    )
    if config.correction != "one_step":
        return on_policy
    rhos = tf.exp(log_rhos)
    if config.clip_pg_rho_threshold is not None:
        rhos = tf.minimum(rhos, tf.constant(config.clip_pg_rho_threshold, rhos.dtype))
    # An advantage of zero, as masked rows have, stays zero.
    return on_policy._replace(pg_advantages=tf.math.multiply_no_nan(rhos, on_policy.pg_advantages))


def clip_rewards(rewards: tf.Tensor, how: RewardClipping) -> tf.Tensor:
    """Clips rewards (appendix D, figure D.1).

    Args:
        rewards: floating point, of any shape.
        how: 'abs_one' clips to [-1, 1]; 'soft_asymmetric' is 5 tanh(r / 5), times 0.3 where
            negative; 'none' leaves them.

    Returns:
        The clipped rewards, of the shape and dtype given.

    Raises:
        ValueError: `how` is none of these.
    """
    rewards = tf.convert_to_tensor(rewards)
    if how == "none":
        return rewards
    if how == "abs_one":
        return tf.clip_by_value(rewards, -1.0, 1.0)
    if how == "soft_asymmetric":
        squashed = 5.0 * tf.tanh(rewards / 5.0)
        return tf.where(squashed < 0, 0.3 * squashed, squashed)
    raise ValueError(f"how must be one of {', '.join(REWARD_CLIPPINGS)}, got {how!r}.")


def _explained_variance(valid: tf.Tensor, vs: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    variance = _variance(valid, vs)
    unexplained = tf.math.divide_no_nan(_variance(valid, vs - values), variance)
    return tf.where(variance > 0, 1 - unexplained, tf.zeros_like(variance))


def _variance(valid: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return _mean(valid, tf.square(x - _mean(valid, x)))


def _fraction_above(valid: tf.Tensor, rhos: tf.Tensor, threshold: float | None) -> tf.Tensor:
    if threshold is None:
        return tf.zeros([], rhos.dtype)
    return _mean(valid, tf.cast(rhos > threshold, rhos.dtype))


def _mean(valid: tf.Tensor, x: tf.Tensor, axis: int | None = None) -> tf.Tensor:
    """Returns the mean of x [T, B] over the valid rows; zero where there are none."""
    total = tf.reduce_sum(_where_valid(valid, x), axis)
    return tf.math.divide_no_nan(total, _count(valid, x.dtype, axis))


def _count(valid: tf.Tensor, dtype: tf.DType, axis: int | None = None) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(valid, dtype), axis)


def _where_valid(valid: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Replaces what is not valid by zero; `valid` may lack x's last dimension."""
    if valid.shape.rank < x.shape.rank:
        valid = valid[..., tf.newaxis]
    return tf.where(valid, x, tf.zeros_like(x))


def _check_shapes(unroll: Unroll, outputs: PolicyValue):
    rows = tf.TensorShape(unroll.start_of_episode.shape)
    if rows.rank != 2 or (rows[0] is not None and rows[0] < 2):
        raise ValueError(
            "The loss takes a time-major batch of unrolls of at least two rows: start_of_episode "
            f"must be [T+1, B], got {rows}."
        )
    pi, mu = tree.flatten(outputs.logits), tree.flatten(unroll.behaviour_logits)
    # One action, or the D elements of one.
    action_rank = 2 if distributions.kind_of(outputs.logits) is distributions.Categorical else 3
    for name, tensor, rank in (
        ("unroll.action", unroll.action, action_rank),
        ("unroll.reward", unroll.reward, 2),
        ("unroll.discount", unroll.discount, 2),
        *(("unroll.behaviour_logits", part, 3) for part in mu),
        *(("outputs.logits", part, 3) for part in pi),
        ("outputs.value", outputs.value, 2),
    ):
        shape = tf.TensorShape(tensor.shape)
        if shape.rank != rank or not shape[:2].is_compatible_with(rows):
            expected = "[T+1, B, A]" if rank == 3 else "[T+1, B]"
            raise ValueError(
                f"{name} must be {expected} with [T+1, B] = {rows} as start_of_episode has, "
                f"got {shape}."
            )
    mine, theirs = ([part.shape[-1] for part in parts] for parts in (pi, mu))
    kind, behaviour_kind = map(distributions.kind_of, (outputs.logits, unroll.behaviour_logits))
    if kind is not behaviour_kind or not tf.TensorShape(mine).is_compatible_with(theirs):
        raise ValueError(
            f"The network's policy is a {kind.__name__} of {mine} actions or elements, the "
            f"unroll's behaviour policy a {behaviour_kind.__name__} of {theirs}: they must be the "
            "same."
        )
