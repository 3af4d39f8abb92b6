"""The single-process agent: actor, queue and learner behind one acme.Actor."""

import functools
import tempfile
import weakref
from collections.abc import Sequence

import acme
import dm_env
import numpy as np
import reverb
from acme import specs
from acme.utils import counting, loggers

from acme_impala import builder as builder_lib
from acme_impala import networks, replay, types
from acme_impala.config import IMPALAConfig

# For threads that wait for the server to notice that nobody needs it any more.
_CLOSE_SECONDS = 3.0


class IMPALA(acme.Actor, acme.VariableSource):
    """Acts and learns in one process, for `acme.EnvironmentLoop` and for tests.

    Unrolls go through a real Reverb queue. The learner steps between unrolls, as soon as a batch
    has been written, so without replay the same seed gives the same run. To act without learning,
    give an `IMPALAActor` the agent as its variable source.
    """

    def __init__(
        self,
        environment_spec: specs.EnvironmentSpec,
        network: networks.Network,
        config: IMPALAConfig = IMPALAConfig(),
        *,
        seed: int = 0,
        environment_name: str = "the environment",
        counter: counting.Counter | None = None,
        logger: loggers.Logger | None = None,
        replay_directory: str | None = None,
        saved_replay: str | None = None,
    ):
        """Makes the agent and its Reverb server.

        Args:
            environment_spec: `acme.make_environment_spec(environment)`.
            network: what `networks.make_network` makes, or anything like an snt.RNNCore that
                returns ((logits, value), state).
            config: the hyperparameters.
            seed: of the actions' sampling.
            environment_name: named in errors.
            counter: told of learner steps and environment frames.
            logger: told of the learner's metrics.
            replay_directory: where Reverb saves its tables when it is asked to; None: a temporary
                directory.
            saved_replay: what it saved before, to fill the tables from.

        Raises:
            ValueError: network and environment do not fit each other.
        """
        network = networks.as_impala_network(network)
        networks.check_network(network, environment_spec, int(config.popart_step_size is not None))
        builder = builder_lib.IMPALABuilder(
            config, networks.state_spec(network), action_spec=environment_spec.actions
        )
        directory = None
        if not replay_directory:
            # Without a directory of ours, the server leaves one of its own in /tmp behind.
            directory = tempfile.TemporaryDirectory(prefix="acme_impala_reverb_")
            replay_directory = directory.name
        server = replay.start_server(
            functools.partial(builder.make_replay_tables, environment_spec),
            None,
            replay_directory,
            saved_replay,
        )
        self.replay_client = client = reverb.Client(f"localhost:{server.port}")
        self._adder = builder.make_adder(client, environment_name=environment_name)
        self._dataset = builder.make_dataset_iterator(client)
        # Of an agent that is dropped without `close`: a sampler whose server goes before it would
        # look for that, in vain and without a pause, until the process ends.
        self._end_sampling = weakref.finalize(self, self._dataset.close, _CLOSE_SECONDS)
        self._end_sampling.atexit = False
        self.learner = builder.make_learner(
            seed, network, self._dataset, client, counter, logger=logger
        )
        # The actor shares the learner's network: it changes only where an unroll begins.
        self._actor = builder.make_actor(seed, network, self._adder, self.learner)
        self._batches = 0
        # Last, for attributes go in their order: a server waits five seconds for an open writer.
        self._server = server
        self._directory = directory

    def observe_first(self, timestep: dm_env.TimeStep):
        """Starts an episode."""
        self._actor.observe_first(timestep)

    def select_action(self, observation: types.Nest) -> np.ndarray:
        """Samples an action for one observation; learns first if an unroll begins with it."""
        if self._adder.unroll_begins:
            self._learn()
        return self._actor.select_action(observation)

    def observe(self, action: types.Nest, next_timestep: dm_env.TimeStep):
        """Records a step."""
        self._actor.observe(action, next_timestep)

    def update(self, wait: bool = False):
        """Does nothing: the agent learns between unrolls, when it is asked for an action."""

    @property
    def unrolls_written(self) -> int:
        """Unrolls that the actor has written."""
        return self._adder.unrolls_written

    def get_variables(self, names: Sequence[str]) -> list[list[np.ndarray]]:
        """The learner's weights, for an evaluator."""
        return self.learner.get_variables(names)

    @property
    def steps_acted(self) -> int:
        """Agent steps so far."""
        return self._adder.steps_acted

    @property
    def steps_in_hand(self) -> int:
        """Agent steps of the unroll that is not full yet."""
        return self._adder.steps_in_hand

    @property
    def steps_dropped_filling(self) -> int:
        """Agent steps that were only to fill the replay table."""
        return self._dataset.steps_dropped_filling

    @property
    def environments_lost(self) -> int:
        """How often the environment was lost in the middle of an episode."""
        return self._adder.environments_lost

    @property
    def steps_dropped_restart(self) -> int:
        """Agent steps of unrolls that were dropped because the environment was lost."""
        return self._adder.steps_dropped_restart

    def drain(self, seconds: float) -> int | None:
        """Ends acting and learning.

        Args:
            seconds: for the queue to take what was written.

        Returns:
            Agent steps in unrolls that were written and not learned from; None: not known.
        """
        closing = replay.in_background(lambda: self._adder.close(seconds))
        return self._dataset.drain(closing.done, seconds)

    def close(self):
        """Ends the server and all threads; `drain` comes before."""
        self._end_sampling()
        self._server.stop()

    def _learn(self):
        """Learns from the batches that are complete."""
        while self._adder.unrolls_written >= self._dataset.num_taken(self._batches):
            self.learner.step()
            self._batches += 1
