"""The sizes of the simulation, and what its processes tell each other."""

import dataclasses
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class Setting:
    """The sizes of the simulation.

    Attributes:
        actors_per_host: of a simulated host.
        unroll_seconds: that an actor takes for an unroll. One environment whose 20 steps take eight
            seconds is slow, so that two cores hold a thousand of them.
        step_seconds: in place of a gradient step: as long as a GPU takes, and no CPU time.
    """

    actors_per_host: int = 50
    unroll_seconds: float = 8.0
    step_seconds: float = 0.02

    @property
    def settle_seconds(self) -> float:
        """Until the actors that have come last are like the others."""
        return 2.5 * self.unroll_seconds

    def describe(self) -> str:
        """The sizes, in words."""
        return (
            f"{self.actors_per_host} actors a host, an unroll in {self.unroll_seconds:g} s, "
            f"{self.step_seconds * 1000:g} ms in place of a gradient step"
        )


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
