"""V-trace: off-policy corrected targets of the baseline and the policy gradient (section 4.1).

Shapes are time-major: T consecutive agent steps, B unrolls, then any further dimensions, so [T, B]
and [T, B, N] are both fine. Row t of every argument belongs to observation x_t: the value V(x_t),
the action taken at x_t with its log importance weight, and the reward and discount it led to.
`bootstrap_value` is V(x_T). Nothing here knows of unrolls, networks or losses.

    rho_t     = min(rho_bar, pi(a_t|x_t) / mu(a_t|x_t))
    c_t       = lambda min(c_bar, pi(a_t|x_t) / mu(a_t|x_t))
    delta_t V = rho_t (r_t + gamma_t V(x_{t+1}) - V(x_t))
    v_s       = V(x_s) + delta_s V + gamma_s c_s (v_{s+1} - V(x_{s+1}))                 (remark 1)

Everything is computed in the dtype of `values`, float32 or float64. A zero weight beats infinity
and NaN: what a discount, a trace or an importance weight of zero cuts off has no influence.
"""

from typing import Literal, NamedTuple

import tensorflow as tf


class VTraceReturns(NamedTuple):
    """V-trace's targets; no gradient flows through either.

    Attributes:
        vs: [T, B, ...] v_s, the targets of the baseline (equation 1).
        pg_advantages: [T, B, ...] rho_s (r_s + gamma_s v_{s+1} - V(x_s)), what multiplies
            grad log pi(a_s|x_s) in the policy gradient.
    """

    vs: tf.Tensor
    pg_advantages: tf.Tensor


class VTraceFromLogitsReturns(NamedTuple):
    """V-trace's targets and what they were computed from.

    Attributes:
        vs: [T, B, ...] as in `VTraceReturns`, without gradient.
        pg_advantages: [T, B, ...] as in `VTraceReturns`, without gradient.
        log_rhos: [T, B, ...] log pi(a|x) - log mu(a|x), not clipped, without gradient.
        behaviour_action_log_probs: [T, B, ...] log mu(a|x).
        target_action_log_probs: [T, B, ...] log pi(a|x), WITH gradient, for the policy gradient.
    """

    vs: tf.Tensor
    pg_advantages: tf.Tensor
    log_rhos: tf.Tensor
    behaviour_action_log_probs: tf.Tensor
    target_action_log_probs: tf.Tensor


def action_log_probs(logits, actions) -> tf.Tensor:
    """Returns the log-probabilities of actions under softmax policies.

    Args:
        logits: [..., A] floating point, not necessarily normalised.
        actions: [...] of any integer dtype, in [0, A).

    Returns:
        [...] log softmax(logits)[action], of the dtype of logits.

    Raises:
        ValueError: the shapes do not fit or the actions are not integers.
        tf.errors.InvalidArgumentError: on the CPU, an action is outside [0, A); a GPU gives NaN.
    """
    logits = tf.convert_to_tensor(logits)
    actions = tf.convert_to_tensor(actions)
    if not actions.dtype.is_integer:
        raise ValueError(f"actions must be integers, got {actions.dtype.name}.")
    if logits.shape.rank is None or logits.shape.rank < 1:
        raise ValueError(f"logits must have a known shape [..., A], got {logits.shape}.")
    _require_shape("actions", actions, logits.shape[:-1], "logits [..., A] without A")
    # Not a gather from log_softmax: on a GPU that takes zeros for an action outside [0, A).
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.cast(actions, tf.int64), logits=logits
    )


def from_logits(
    behaviour_policy_logits,
    target_policy_logits,
    actions,
    discounts,
    rewards,
    values,
    bootstrap_value,
    *,
    clip_rho_threshold: float | None = 1.0,
    clip_pg_rho_threshold: float | None = 1.0,
    clip_c_threshold: float | None = 1.0,
    lambda_: float = 1.0,
    mask=None,
) -> VTraceFromLogitsReturns:
    """Computes V-trace for softmax policies; see `from_importance_weights` for the rest.

    Args:
        behaviour_policy_logits: [T, B, ..., A] parameters of mu, as the actor computed them.
        target_policy_logits: [T, B, ..., A] parameters of pi.
        actions: [T, B, ...] integers in [0, A), drawn from mu.
        discounts: [T, B, ...].
        rewards: [T, B, ...].
        values: [T, B, ...].
        bootstrap_value: [B, ...].
        clip_rho_threshold: rho_bar of the value targets; None: no clip.
        clip_pg_rho_threshold: the clip of the policy gradient's own rho; None: no clip.
        clip_c_threshold: c_bar of the trace; None: no clip.
        lambda_: shortens the trace, in [0, 1] (remark 2).
        mask: [T, B] or [T, B, ...], true where a row is real; None: everywhere. It concerns vs and
            pg_advantages; actions must be in [0, A) in masked rows too.

    Returns:
        A `VTraceFromLogitsReturns`.

    Raises:
        ValueError: a shape, dtype or setting does not fit.
    """
    values = _checked_values(values)
    target_logits = _cast(target_policy_logits, values.dtype)
    behaviour_logits = _cast(behaviour_policy_logits, values.dtype)
    for name, logits in (
        ("behaviour_policy_logits", behaviour_logits),
        ("target_policy_logits", target_logits),
    ):
        _require_shape(name, logits, values.shape + [None], "values' shape and A")
    target_log_probs = action_log_probs(target_logits, actions)
    behaviour_log_probs = action_log_probs(behaviour_logits, actions)
    log_rhos = tf.stop_gradient(target_log_probs - behaviour_log_probs)
    returns = from_importance_weights(
        log_rhos,
        discounts,
        rewards,
        values,
        bootstrap_value,
        clip_rho_threshold=clip_rho_threshold,
        clip_pg_rho_threshold=clip_pg_rho_threshold,
        clip_c_threshold=clip_c_threshold,
        lambda_=lambda_,
        mask=mask,
    )
    return VTraceFromLogitsReturns(
        vs=returns.vs,
        pg_advantages=returns.pg_advantages,
        log_rhos=log_rhos,
        behaviour_action_log_probs=behaviour_log_probs,
        target_action_log_probs=target_log_probs,
    )


def from_importance_weights(
    log_rhos,
    discounts,
    rewards,
    values,
    bootstrap_value,
    *,
    clip_rho_threshold: float | None = 1.0,
    clip_pg_rho_threshold: float | None = 1.0,
    clip_c_threshold: float | None = 1.0,
    lambda_: float = 1.0,
    mask=None,
    pg_bootstrap: Literal["vs", "values"] = "vs",
) -> VTraceReturns:
    """Computes V-trace from log importance weights.

    A masked row is one whose action led nowhere, such as the last observation of an episode: its vs
    is its value, its pg_advantage is zero and its trace is cut. Its log_rho, discount and reward
    may hold anything. Its value is a real one: the row before it bootstraps from it unless that
    row's discount is zero, so a truncation (discount 1) bootstraps from the last observation.

    Args:
        log_rhos: [T, B, ...] log pi(a_t|x_t) - log mu(a_t|x_t). Beyond the range of exp is fine
            where the weights are clipped.
        discounts: [T, B, ...] gamma times the environment's discount, zero at a termination.
        rewards: [T, B, ...].
        values: [T, B, ...] V(x_t), float32 or float64. T must be known when a function is traced.
        bootstrap_value: [B, ...] V(x_T).
        clip_rho_threshold: rho_bar of the value targets; None: no clip.
        clip_pg_rho_threshold: the clip of the policy gradient's own rho; None: no clip.
        clip_c_threshold: c_bar of the trace; None: no clip.
        lambda_: shortens the trace, in [0, 1] (remark 2).
        mask: bool or number, true or non-zero where a row is real; of the shape of values, or
            without some of its last dimensions ([T, B] for values [T, B, N]); None: everywhere.
        pg_bootstrap: what the policy gradient bootstraps from: 'vs', v_{s+1}, or 'values',
            V(x_{s+1}), which appendix E.3 found worse.

    Returns:
        A `VTraceReturns` of the dtype of values.

    Raises:
        ValueError: a shape, dtype or setting does not fit.
    """
    _check_settings(clip_rho_threshold, clip_pg_rho_threshold, clip_c_threshold, lambda_)
    values = _checked_values(values)
    log_rhos, discounts, rewards, bootstrap_value = (
        _cast(tensor, values.dtype) for tensor in (log_rhos, discounts, rewards, bootstrap_value)
    )
    for name, tensor in (("log_rhos", log_rhos), ("discounts", discounts), ("rewards", rewards)):
        _require_shape(name, tensor, values.shape, "values [T, B, ...]")
    _require_shape("bootstrap_value", bootstrap_value, values.shape[1:], "values without T")
    mask = _checked_mask(mask, values)

    # The targets are constants of the loss. Stopping the inputs, not the outputs, also keeps the
    # gradient of an overflowing exp from ever being computed.
    log_rhos, discounts, rewards, values, bootstrap_value = (
        tf.stop_gradient(t) for t in (log_rhos, discounts, rewards, values, bootstrap_value)
    )
    weights = tf.exp(log_rhos)
    rhos = _clip(weights, clip_rho_threshold)
    pg_rhos = _clip(weights, clip_pg_rho_threshold)
    cs = _product(_clip(weights, clip_c_threshold), _cast(lambda_, values.dtype))

    next_values = tf.concat([values[1:], bootstrap_value[tf.newaxis]], axis=0)
    deltas = _product(rhos, rewards + _product(discounts, next_values) - values)
    decays = _product(discounts, cs)
    zeros = tf.zeros_like(values)
    vs_minus_values = _scan_backwards(tf.where(mask, deltas, zeros), tf.where(mask, decays, zeros))
    vs = values + vs_minus_values

    if pg_bootstrap == "vs":
        next_values = tf.concat([vs[1:], bootstrap_value[tf.newaxis]], axis=0)
    elif pg_bootstrap != "values":
        raise ValueError(f"pg_bootstrap must be 'vs' or 'values', got {pg_bootstrap!r}.")
    pg_advantages = _product(pg_rhos, rewards + _product(discounts, next_values) - values)
    return VTraceReturns(vs=vs, pg_advantages=tf.where(mask, pg_advantages, zeros))


def _scan_backwards(deltas: tf.Tensor, decays: tf.Tensor) -> tf.Tensor:
    """Solves x_t = delta_t + decay_t x_{t+1}, x_T = 0, in ceil(log2 T) levels.

    The maps x -> delta + decay x compose associatively. Before each level, `sums[t]` is row t's map
    composed with those of the `span - 1` rows after it, applied to zero, and `products[t]` is the
    factor of that composition, kept for the rows that still have something `span` rows later.
    """
    length = deltas.shape[0]
    sums, products, span = deltas, decays, 1
    while span < length:  # a Python loop over static shapes: the graph holds no loop
        reach = length - span
        joined = sums[:reach] + _product(products[:reach], sums[span:])
        sums = tf.concat([joined, sums[reach:]], axis=0)
        products = _product(products[:-span], products[span:])
        span *= 2
    return sums


def _product(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Multiplies, with zero times infinity or NaN being zero."""
    return tf.where(tf.equal(x, 0), tf.zeros_like(x), tf.math.multiply_no_nan(x, y))


def _clip(weights: tf.Tensor, threshold: float | None) -> tf.Tensor:
    if threshold is None:
        return weights
    return tf.minimum(weights, _cast(threshold, weights.dtype))


def _cast(x, dtype: tf.DType) -> tf.Tensor:
    """Converts anything to a tensor; tf.cast alone would take Python floats through float32."""
    return tf.cast(x, dtype) if tf.is_tensor(x) else tf.convert_to_tensor(x, dtype)


def _check_settings(clip_rho_threshold, clip_pg_rho_threshold, clip_c_threshold, lambda_):
    for name, threshold in (
        ("clip_rho_threshold", clip_rho_threshold),
        ("clip_pg_rho_threshold", clip_pg_rho_threshold),
        ("clip_c_threshold", clip_c_threshold),
    ):
        if threshold is not None and not threshold >= 0:
            raise ValueError(f"{name} must not be negative, got {threshold}. None is no clip.")
    if not 0 <= lambda_ <= 1:
        raise ValueError(f"lambda_ must be in [0, 1], got {lambda_}.")


def _checked_values(values) -> tf.Tensor:
    values = tf.convert_to_tensor(values)
    if values.dtype not in (tf.float32, tf.float64):
        raise ValueError(
            f"values must be float32 or float64, got {values.dtype.name}: sums over T steps need "
            "that precision. Cast the values."
        )
    if values.shape.rank is None or values.shape.rank < 2:
        raise ValueError(f"values must be time-major [T, B, ...], got shape {values.shape}.")
    if not values.shape[0]:
        raise ValueError(
            f"values must have a known T of at least 1, got shape {values.shape}. Inside a "
            "tf.function give the dataset or the input signature a fixed number of rows."
        )
    return values


def _checked_mask(mask, values: tf.Tensor) -> tf.Tensor:
    """Returns the mask as bools of values' rank, the dimensions it lacks being of size 1."""
    if mask is None:
        return tf.ones_like(values, dtype=tf.bool)
    mask = tf.cast(mask, tf.bool)
    rank = mask.shape.rank
    if rank is None or not 2 <= rank <= values.shape.rank:
        raise ValueError(
            f"mask must be [T, B], with or without further dimensions of values {values.shape}, "
            f"got shape {mask.shape}."
        )
    _require_shape("mask", mask, values.shape[:rank], "the first dimensions of values")
    for _ in range(values.shape.rank - rank):
        mask = mask[..., tf.newaxis]
    return mask


def _require_shape(name: str, tensor: tf.Tensor, expected: tf.TensorShape, meaning: str):
    if tensor.shape.rank is None or not tensor.shape.is_compatible_with(expected):
        raise ValueError(f"{name} must have shape {expected} ({meaning}), got {tensor.shape}.")
