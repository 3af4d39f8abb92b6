"""The nodes that actors and evaluator work with, in each life of the learner's process."""

from collections.abc import Callable

import reverb
from launchpad.nodes.base import Handle

from acme_impala import builder as builder_lib
from acme_impala.experiments import host_weights, membership
from acme_impala.experiments.processes import until_over
from acme_impala.experiments.remote import Remote


class Peers:
    """The nodes that actors and evaluator work with, where they are in a life of the learner's."""

    def __init__(self, replay: Handle, counter: Handle, learner: Handle):
        """Keeps handles, of which every life makes new clients."""
        self._replay = replay
        self._counter = counter
        self._learner = learner

    def replay(self) -> reverb.Client:
        """Makes a client of the replay node."""
        return self._replay.dereference()

    def counter(self, life: membership.Life) -> Remote:
        """Makes a client of the counter."""
        return Remote(self._counter.dereference(), "counter", life.over)

    def learner(self, life: membership.Life) -> Remote:
        """Makes a client of the learner."""
        return Remote(self._learner.dereference(), "learner", life.over)

    def weights(
        self, life: membership.Life, builder: builder_lib.IMPALABuilder, max_age: float
    ) -> host_weights.HostVariables:
        """Makes what actors take their weights from, together with the others of their host."""
        client = self._learner.dereference()
        source = builder.variables_of_actors(Remote(client, "learner", life.over))
        name = f"{client.address} {life.number}"
        return host_weights.HostVariables(source, name, life.over.is_set, max_age)


def in_every_life(work: Callable[..., None], *args):
    """A node's work with the learner's process, until the program stops.

    Where that process dies and lives again the work begins anew with it.

    Args:
        work: called with `args` and each life of the learner's process; ends with that.
        args: of the work.
    """
    for life in membership.learner_lives():
        with until_over(life):
            work(*args, life)
