"""The structures that cross rooms: what an actor writes and what a network returns."""

from collections.abc import Callable
from typing import Any, NamedTuple

import dm_env
import tensorflow as tf
import tree

# Nests of arrays or tensors: an array, a dict, a (named) tuple, or these inside one another.
Nest = Any

# dm_env.StepType as the numbers that arrays of step types hold. Its members are looked up, and held
# against arrays, by Python and not by numpy, which takes longer than all else of a comparison.
FIRST, MID, LAST = (int(step_type) for step_type in dm_env.StepType)

# What a learner's `get_variables` knows: the network's variables, and the learner step they are of.
VARIABLE_NAMES = ("policy", "policy_version")
# The same as actors are given them, which may be held behind (`IMPALAConfig.actor_lag`).
ACTOR_VARIABLE_NAMES = ("actor_policy", "actor_policy_version")


class Unroll(NamedTuple):
    """What an actor saw and did in T+1 consecutive rows.

    Row t holds what the actor knew and did at observation t, so that everything of one row belongs
    together: the action was taken AT the observation, and reward and discount are what it led TO.

        row            0      1      2    ...    T-1      T
        observation   x_0    x_1    x_2         x_T-1    x_T
        action        a_0    a_1    a_2         a_T-1    a_T      taken at x_t
        reward        r_0    r_1    r_2         r_T-1    r_T      that a_t led to
        discount      d_0    d_1    d_2         d_T-1    d_T      that a_t led to (0: terminated)

    Row T is the first row of the next unroll and serves only to bootstrap.

    An episode's last observation has a row of its own, whose action leads nowhere. Row t is such a
    row when `start_of_episode[t + 1]`; its action, logits, reward and discount are zero, and it is
    masked out of every loss. The row before it holds discount 0 after a termination and 1 after a
    truncation, so a truncation bootstraps from the true last observation.

    The shapes below are of B unrolls side by side, time-major: of the learner's batch, and of a
    block of unrolls, which is what Reverb stores as one item. One environment writes blocks of one
    unroll. In Reverb stacked frames are stored frame by frame (`frames.py`). Action and logits are
    of one discrete action; `distributions.py` has those of other action spaces.
    """

    observation: Nest  # [T+1, B, ...]
    action: Nest  # [T+1, B] int32
    behaviour_logits: Nest  # [T+1, B, A]: the parameters of mu(.|x_t), as the actor computed them
    reward: Nest  # [T+1, B] float32, as the environment gave it (the learner clips)
    discount: Nest  # [T+1, B] float32, the environment's own: 0 or 1, without gamma
    start_of_episode: Nest  # [T+1, B] bool: x_t is the first observation of an episode
    initial_state: Nest  # [B, ...]: the recurrent state BEFORE row 0; () without recurrence
    policy_version: Nest  # [B] int64: the learner step whose weights acted in this unroll
    task: Nest = ()  # [B] int32: which of several tasks it is of; () where there is only one


class Batch(NamedTuple):
    """Unrolls to learn from, and which of them have been learned from before.

    The first are fresh, the others replayed.
    """

    unroll: Unroll  # [T+1, B, ...]
    replayed: Nest  # [B] bool
    keys: Nest  # [B] uint64: of a replayed unroll's item in the replay table
    times_sampled: Nest  # [B] int64: how often one was replayed, this time included


# The fields of an Unroll without rows: what it holds once.
_HEADERS = ("initial_state", "policy_version", "task")


def map_unroll(
    rows: Callable[..., Any], headers: Callable[..., Any], unroll: Unroll, *others: Unroll
) -> Unroll:
    """Maps unrolls, or their specs, column by column.

    Args:
        rows: called with the columns that have rows, [T+1, B, ...], of all unrolls.
        headers: called with what an unroll holds once, [B, ...]: recurrent state, version, task.
        unroll: the first; the result is of its structure.
        *others: of the same structure.
    """
    unrolls = (unroll, *others)
    return tree.map_structure(
        rows, *(u._replace(**dict.fromkeys(_HEADERS, ())) for u in unrolls)
    )._replace(
        **{
            name: tree.map_structure(headers, *(getattr(u, name) for u in unrolls))
            for name in _HEADERS
        }
    )


class PolicyValue(NamedTuple):
    """A network's heads: the policy's logits [..., A] and the baseline V(x) [...].

    For other action spaces than one discrete action, `logits` is the nest of the policy's
    parameters that `distributions.py` says.
    """

    logits: Nest
    value: tf.Tensor


class OAR(NamedTuple):
    """An observation with the action and the reward that led to it (paper, section 5.3 and fig. 3).

    Field for field Acme's own `OAR`, which cannot be imported here: `acme.wrappers` needs the old
    gym. Networks therefore know an OAR by its fields (`is_oar`) and take either.
    """

    observation: Nest
    action: Nest
    reward: Nest


def is_oar(observation: Nest) -> bool:
    """Tells whether an observation is an OAR: this package's or Acme's."""
    return getattr(observation, "_fields", None) == OAR._fields
