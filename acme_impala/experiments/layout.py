"""How many actors there are, and how each holds its environments."""

import dataclasses
import math
import os
from collections.abc import Callable

import dm_env

from acme_impala import environments
from acme_impala.checks import is_int, require
from acme_impala.experiments import membership
from acme_impala.experiments.cores import keeping_to, num_cores


@dataclasses.dataclass(frozen=True)
class ActorLayout:
    """The actors of a program and their environments.

    Where environments run in the background, in C++ threads or processes, an actor steps a batch of
    them and calls its policy in turn, and what waits for one leaves its core to others: there is an
    actor node for each core. A node that is given two cores or more holds its environments in two
    batches, with a thread for each; but only one of the two runs Python at a time, so that two
    nodes with a core each are faster. Where there is a batch for each core, each keeps to its own
    (`core_of_actor`, `cores_of_batches`); else each may use all of its node's cores, for the other
    may be waiting for its policy. Other environments take their steps in the actor's own thread.

    Several tasks are dealt out to the actor nodes in turn. A node that has more than one holds a
    batch for each, of as many environments as the others', in a thread of its own.

    Attributes:
        num_actors: actor nodes: processes, or threads.
        environments_per_actor: of an actor node, in all its batches; with several tasks at most.
        in_background: whether batches of the environment run in the background.
        num_tasks: that are learned at once.
        num_cores: of the machine that this was made on. It goes with the layout, so that actors on
            other hosts hold their environments as the queue's items expect.

    Raises:
        ValueError: a number is not positive.
    """

    num_actors: int
    environments_per_actor: int
    in_background: bool = False
    num_tasks: int = 1
    num_cores: int = dataclasses.field(default_factory=lambda: num_cores())

    def __post_init__(self):
        for name, why in (
            ("num_actors", "without an actor the learner waits for ever"),
            ("environments_per_actor", "an actor without an environment has nothing to do"),
        ):
            value = getattr(self, name)
            require(
                is_int(value) and value >= 1,
                f"{name} must be a whole number of at least 1, got {value!r}: {why}.",
            )

    @classmethod
    def make(
        cls,
        environment_factory: Callable[[int, bool], dm_env.Environment],
        num_actors: int | None,
        environments_per_actor: int | None,
    ) -> "ActorLayout":
        """Makes a layout for environments of a factory.

        Args:
            environment_factory: called with (seed, evaluation).
            num_actors: actor nodes; None: one for each core where environments run in the
                background, and else one for every two.
            environments_per_actor: None: 16 or, where there is one for every two cores, 32.
        """
        in_background = environments.batches_run_in_background(environment_factory)
        cores_per_actor = 1 if in_background else 2
        return cls(
            max(1, num_cores() // cores_per_actor) if num_actors is None else num_actors,
            16 * cores_per_actor if environments_per_actor is None else environments_per_actor,
            in_background,
            len(environments.tasks_of(environment_factory)),
        )

    @property
    def _cores(self) -> int:
        """Cores of one actor node."""
        return max(1, self.num_cores // self.num_actors)

    @property
    def _cores_here(self) -> list[int]:
        """The cores that this process may use, where all actors share them; else none.

        Of a program under a supervisor, only some of the actors may be on this host.
        """
        return [] if membership.is_supervised() else sorted(os.sched_getaffinity(0))

    def core_of_actor(self, actor: int) -> int | None:
        """The core that an actor node should keep to, of `_cores_here`.

        Where there is an actor for each core, each always has something to do. Left alone, Linux
        now and then has two of them wait for one core while the other idles, for milliseconds: a
        thread that is woken is put where it ran last, and moved only at a tick of the clock. And
        emulators that move find nothing of theirs in the other core's caches.

        Args:
            actor: the node's number, from 0.

        Returns:
            The core's number, or None: any.
        """
        cores = self._cores_here
        return cores[actor] if self.in_background and len(cores) == self.num_actors else None

    def cores_of_batches(self, actor: int) -> list[int | None]:
        """Which core each batch of an actor node should keep to, where each can have its own.

        Args:
            actor: the node's number, from 0.

        Returns:
            The cores' numbers, or None: any that the node may use.
        """
        cores = self._cores_here
        if self._overlaps and len(cores) == 2 * self.num_actors:
            return cores[2 * actor : 2 * actor + 2]
        return [None] * len(self.tasks_of_batches(actor))

    @property
    def _overlaps(self) -> bool:
        """Whether an actor node holds the environments of its one task in two batches."""
        return (
            self._tasks_per_actor == 1
            and self.in_background
            and self._cores > 1
            and self.environments_per_actor % 2 == 0
        )

    @property
    def _tasks_per_actor(self) -> int:
        """Tasks of an actor node at the most."""
        return -(-self.num_tasks // self.num_actors)

    @property
    def batches_per_actor(self) -> int:
        """Batches of one size that an actor node holds its environments in, at the most."""
        return 2 if self._overlaps else self._tasks_per_actor

    @property
    def environments_per_batch(self) -> int:
        """Environments in a batch."""
        size = self.environments_per_actor // self.batches_per_actor
        if self._tasks_per_actor == 1:
            return size
        # A power of two, which fills the learner's batches with few items; and one at least.
        return 1 << max(0, size.bit_length() - 1)

    def unrolls_per_item(self, batch_size: int) -> int:
        """Unrolls that go into one Reverb item, so that items fill the learner's batches."""
        return math.gcd(batch_size, self.environments_per_batch)

    def tasks_of_batches(self, actor: int) -> list[int]:
        """Which task each batch of an actor node is of.

        Args:
            actor: the node's number, from 0.
        """
        if self._tasks_per_actor > 1:
            return list(range(actor, self.num_tasks, self.num_actors))
        return [actor % self.num_tasks] * self.batches_per_actor

    def make_batches(
        self,
        environment_factory: Callable[[int, bool], dm_env.Environment],
        seed: int,
        actor: int = 0,
    ) -> list[environments.BatchedEnvironment]:
        """Makes an actor's environments, in the order of `tasks_of_batches`.

        Args:
            environment_factory: called with (seed, evaluation).
            seed: of the first environment; the others have seed + 1, ...
            actor: the node's number, from 0.
        """
        tasks = environments.tasks_of(environment_factory)
        size = self.environments_per_batch
        batches = []
        for number, (task, core) in enumerate(
            zip(self.tasks_of_batches(actor), self.cores_of_batches(actor), strict=True)
        ):
            num_threads = self._cores if core is None else 1
            with keeping_to(core):
                batches.append(
                    environments.make_batch(
                        tasks[task], seed + number * size, size, num_threads=num_threads
                    )
                )
        return batches
