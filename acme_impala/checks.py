"""Checks of settings, which fail before any process starts."""

import numbers
import pathlib
from typing import Any


def require(condition: bool, message: str):
    """Raises a ValueError with the message where the condition does not hold."""
    if not condition:
        raise ValueError(message)


def require_positive_int(name: str, value: Any):
    """Raises a ValueError where a setting is not a whole number of at least 1."""
    require(
        is_int(value) and value >= 1, f"{name} must be a whole number of at least 1, got {value!r}."
    )


def require_seed(seed: Any):
    """Raises a ValueError where a seed is not a whole number of at least 0."""
    require(is_int(seed) and seed >= 0, f"seed must be a whole number of at least 0, got {seed!r}.")


def require_writable(name: str, path: pathlib.Path):
    """Raises a ValueError where a file cannot be written; leaves none."""
    path = path.absolute()
    is_new = not path.exists()
    try:
        with open(path, "a"):
            pass
        if is_new:
            path.unlink()
    except OSError as error:
        raise ValueError(
            f"{name}={path} cannot be written: {error}. Name a file in a directory of yours."
        ) from error


def is_int(value: Any) -> bool:
    """Whether it is a whole number, numpy's too; a bool is none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a real number, numpy's too; a bool is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
