"""The sizes of the simulation, and what its processes tell each other."""

from typing import NamedTuple

ACTORS_PER_HOST = 50
# An actor of one environment whose unroll of 20 steps takes this long makes five steps a second:
# slow, so that two cores hold a thousand of them.
UNROLL_SECONDS = 4.0
# In place of the gradient step: as long as a GPU would take, without any CPU time.
STEP_SECONDS = 0.02


class Way(NamedTuple):
    """How actors come by weights.

    Attributes:
        name: for the table.
        max_age: of `HostVariables`; None: each actor asks the learner itself.
    """

    name: str
    max_age: float | None


WAYS = (
    Way("each asks itself", None),
    Way("once a host", 0.0),
    Way("once a host, 1 s old at most", 1.0),
)


class Addresses(NamedTuple):
    """Where the learner's host serves, 'host:port'."""

    weights: str
    unrolls: str


def describe() -> str:
    """The sizes, in words."""
    return (
        f"{ACTORS_PER_HOST} actors a host, an unroll in {UNROLL_SECONDS:g} s, "
        f"{STEP_SECONDS * 1000:g} ms in place of a gradient step"
    )
