"""Gymnasium's spaces as dm_env specs, and values between the two."""

from typing import Any

import gymnasium
import numpy as np
from dm_env import specs
from gymnasium import spaces

from acme_impala.types import Nest

_LEAVES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)


def observation_spec(space: gymnasium.Space, name: str = "observation") -> Nest:
    """Returns the spec of an observation space: a nest where the space is one.

    Discrete spaces count from zero in the spec, wherever they start; float64 becomes float32;
    every other dtype is kept.

    Args:
        space: a Discrete, MultiDiscrete, MultiBinary or Box space, or a Dict or Tuple of such.
        name: what errors call the space.

    Raises:
        ValueError: the space, or one inside it, is of another kind.
    """
    if isinstance(space, spaces.Dict):
        return {key: observation_spec(part, f"{name}[{key!r}]") for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(observation_spec(part, f"{name}[{i}]") for i, part in enumerate(space))
    if isinstance(space, _LEAVES):
        return _leaf_spec(space, name)
    raise ValueError(
        f"{name} is of the space {space!r}, which has no dm_env spec. Discrete, MultiDiscrete, "
        "MultiBinary, Box, Dict and Tuple have; a gymnasium.ObservationWrapper can turn the "
        "observation into one of these."
    )


def action_spec(space: gymnasium.Space) -> specs.BoundedArray:
    """Returns the spec of a Discrete, MultiDiscrete, MultiBinary or Box action space.

    Raises:
        ValueError: the space is of another kind, or None.
    """
    if isinstance(space, _LEAVES):
        return _leaf_spec(space, "action")
    raise ValueError(
        f"The action space is {space!r}; Discrete, MultiDiscrete, MultiBinary and Box spaces can "
        "be acted in."
    )


def to_observation(space: gymnasium.Space, value: Any) -> Nest:
    """Returns a value of `space`, or a batch of such, as its spec has it, in arrays of its own.

    The arrays are copies because an environment may write its next observation into the same
    buffer, while an actor keeps a whole unroll of them.
    """
    if isinstance(space, spaces.Dict):
        return {key: to_observation(part, value[key]) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(to_observation(part, item) for part, item in zip(space, value, strict=True))
    array = np.array(value, _dtype(space))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        array -= np.asarray(space.start, array.dtype)
    return array


def to_gymnasium_action(space: gymnasium.Space, action: Any) -> int | np.ndarray:
    """Returns an action of the spec as a value of `space`: a Python int for a Discrete space."""
    if isinstance(space, spaces.Discrete):
        return int(action) + int(space.start)
    array = _widened(space, action).reshape(space.shape)
    if isinstance(space, spaces.MultiDiscrete):
        array += space.start
    return array


def to_gymnasium_actions(space: gymnasium.Space, actions: np.ndarray) -> np.ndarray:
    """Returns a batch of actions [N, ...] of the spec as a batch of values of `space`."""
    actions = _widened(space, actions)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        actions += np.asarray(space.start, actions.dtype)
    return actions


def _widened(space: gymnasium.Space, actions: Any) -> np.ndarray:
    """Makes actions of the spec's dtype ones of the space's, in an array of their own."""
    array = np.array(actions, space.dtype)
    if space.dtype == np.float64:  # A bound of the spec, rounded to float32, may be outside.
        np.clip(array, space.low, space.high, out=array)
    return array


def _leaf_spec(space: gymnasium.Space, name: str) -> specs.BoundedArray:
    dtype = _dtype(space)
    if isinstance(space, spaces.Discrete):
        return specs.DiscreteArray(int(space.n), dtype, name)
    if isinstance(space, spaces.MultiDiscrete):
        return specs.BoundedArray(space.shape, dtype, 0, space.nvec - 1, name)
    if isinstance(space, spaces.MultiBinary):
        return specs.BoundedArray(space.shape, dtype, 0, 1, name)
    with np.errstate(over="ignore"):  # The widest float64 bounds are infinite in float32.
        low, high = space.low.astype(dtype), space.high.astype(dtype)
    return specs.BoundedArray(space.shape, dtype, low, high, name)


def _dtype(space: gymnasium.Space) -> np.dtype:
    if isinstance(space, spaces.Discrete):
        return np.dtype(np.int32)  # dm_env's own choice for a DiscreteArray
    return np.dtype(np.float32) if space.dtype == np.float64 else space.dtype
