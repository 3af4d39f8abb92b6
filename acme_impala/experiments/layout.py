"""How many actors there are, and how each holds its environments."""

import dataclasses
import math
import os
from collections.abc import Callable

import dm_env

from acme_impala import environments


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclasses.dataclass(frozen=True)
class ActorLayout:
    """The actors of a program and their environments.

    Attributes:
        num_actors: processes (or threads) that act. By default one for every two cores: besides its
            policy calls, an actor keeps threads busy that step environments.
        environments_per_actor: that an actor steps together.

    Raises:
        ValueError: a number is not positive.
    """

    num_actors: int = dataclasses.field(default_factory=lambda: max(1, num_cores() // 2))
    environments_per_actor: int = 32

    def __post_init__(self):
        for name, why in (
            ("num_actors", "without an actor the learner waits for ever"),
            ("environments_per_actor", "an actor without an environment has nothing to do"),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(
                    f"{name} must be a whole number of at least 1, got {value!r}: {why}."
                )

    @classmethod
    def make(cls, num_actors: int | None, environments_per_actor: int | None) -> "ActorLayout":
        """Makes a layout; None stands for a default."""
        given = {"num_actors": num_actors, "environments_per_actor": environments_per_actor}
        return cls(**{name: value for name, value in given.items() if value is not None})

    @property
    def _part(self) -> int:
        """The environments of one of two batches; all, where they cannot be halved."""
        size = self.environments_per_actor
        return size if size % 2 else size // 2

    def unrolls_per_item(self, batch_size: int) -> int:
        """Unrolls that go into one Reverb item, so that items fill batches."""
        return math.gcd(batch_size, self._part)

    def make_batches(
        self, environment_factory: Callable[[int, bool], dm_env.Environment], seed: int
    ) -> list[environments.BatchedEnvironment]:
        """Makes an actor's environments: in two batches if they run in the background, else in one.

        With two, the policy can be called for one while the other takes its steps.

        Args:
            environment_factory: called with (seed, evaluation).
            seed: of the first environment; the others have seed + 1, ...
        """
        threads = max(1, num_cores() // self.num_actors)
        size, part = self.environments_per_actor, self._part
        batch = environments.make_batch(environment_factory, seed, part, num_threads=threads)
        if part == size:
            return [batch]
        if batch.runs_in_background:
            return [
                batch,
                environments.make_batch(
                    environment_factory, seed + part, size - part, num_threads=threads
                ),
            ]
        batch.close()
        return [environments.make_batch(environment_factory, seed, size, num_threads=threads)]
