"""The topology of the distributed program; launching it is another matter."""

import functools
from collections.abc import Callable, Mapping

import launchpad as lp
import reverb
from acme.utils import counting
from launchpad import address as lp_address

from acme_impala import replay as replay_lib
from acme_impala.experiments import checkpointing, heartbeat, membership, preparation
from acme_impala.experiments.actor_node import act
from acme_impala.experiments.config import ExperimentConfig
from acme_impala.experiments.counts import make_counter
from acme_impala.experiments.evaluator_node import evaluate
from acme_impala.experiments.layout import ActorLayout
from acme_impala.experiments.learner_node import LearnerNode
from acme_impala.experiments.membership import LEARNER
from acme_impala.experiments.peers import Peers, in_every_life
from acme_impala.experiments.processes import SharedEvent, guarded, prepare_process
from acme_impala.experiments.run_directory import RunDirectory

# For the learner to end in, of the ten that Launchpad gives.
_LEARNER_SECONDS = 9.0


class NodesProcess(lp.MultiThreadingColocation):
    """Nodes that are threads of one process. They keep their addresses."""

    def __init__(
        self,
        name: str,
        nodes: Mapping[str, lp.PyNode],
        directory: RunDirectory,
        prepare: Callable[[], None],
    ):
        """Puts nodes together under a name.

        Args:
            name: the process's.
            nodes: by their own names.
            directory: the run's.
            prepare: called by the process before it runs the nodes.
        """
        super().__init__(list(nodes.values()))
        self.name = name
        self.node_names = list(nodes)
        self._directory = directory
        self._prepare = prepare

    @property
    def listening(self) -> list[str]:
        """The names of the nodes that own `addresses`, in their order."""
        named = zip(self.node_names, self.nodes, strict=True)
        return [name for name, node in named for _ in node.addresses]

    def run(self):
        """Runs the nodes until all have ended or one has failed."""
        self._prepare()
        with heartbeat.beating(self._directory.status, self.node_names, membership.own_life()):
            super().run()


class ReplayNode(lp.ReverbNode):
    """A Reverb server for as long as the learner needs it.

    It is stopped as soon as that has ended, not when its process does: whoever waits for an unroll
    in the server's own process notices nothing else for three seconds.
    """

    def __init__(
        self,
        make_tables: Callable[[], list[reverb.Table]],
        directory: RunDirectory,
        continuation: checkpointing.Continuation,
        is_serving: SharedEvent,
        learner_has_ended: SharedEvent,
    ):
        """Makes a node.

        Args:
            make_tables: called in the node's process.
            directory: the run's.
            continuation: whose tables it goes on from.
            is_serving: set when the tables are as they should be, which they are not yet when the
                server first answers.
            learner_has_ended: set by the learner.
        """
        super().__init__(make_tables)
        self._directory = directory
        self._continuation = continuation
        self._is_serving = is_serving
        self._learner_has_ended = learner_has_ended

    def run(self):
        """Serves until the program stops and the learner has counted what is left."""
        guarded(self._serve, "replay", self._directory)()

    def _serve(self):
        port = lp_address.get_port_from_address(self._address.resolve())
        found = self._continuation.find()
        server = replay_lib.start_server(
            self._priority_tables_fn,
            port,
            self._directory.make_replay_directory(),
            found.replay if found else None,
        )
        self._is_serving.set()
        lp.wait_for_stop()
        self._learner_has_ended.wait(_LEARNER_SECONDS)
        server.stop()


def make_program(
    config: ExperimentConfig,
    num_actors: int | None = None,
    environments_per_actor: int | None = None,
    *,
    accept_new_config: bool = False,
    name: str = "impala",
) -> lp.Program:
    """Makes the Launchpad program of an experiment: replay, counter, learner, actors, evaluator.

    Every process needs TensorFlow's 150 MiB, so nodes share processes: replay and counter are
    threads of the learner's, which reads unrolls from its own memory, and the evaluator is one of
    the first actor's.

    The program stops by itself at `num_frames`, or at `target_return`. Everything that can be known
    to fail is tried here, before any process starts, and the run directory is taken up.

    Args:
        config: the experiment.
        num_actors: actor nodes; None: as many as fit this machine's cores.
        environments_per_actor: environments that an actor steps together; None: 16 or 32, as many
            as fit the actors (`ActorLayout.make`).
        accept_new_config: continue a run whose stored config differs.
        name: of the program.

    Returns:
        A program for `lp.launch` (or use `experiments.launch`, which also shows progress and
        failures, draws the curve, has its processes take less memory, and ends what a killed
        process or launcher leaves).

    Raises:
        ValueError: something does not fit; the message says what, and what would do.
    """
    layout = ActorLayout.make(config.environment_factory, num_actors, environments_per_actor)
    prepared = preparation.prepare(
        config,
        unrolls_per_item=layout.unrolls_per_item(config.agent.batch_size),
        learner_runs_alongside=True,
        accept_new_config=accept_new_config,
    )
    directory, builder = prepared.directory, prepared.builder
    continuation = checkpointing.Continuation(directory.checkpoints, prepared.checkpoint)

    def node(function, label: str):
        return guarded(function, label, directory)

    program = lp.Program(name)
    tables = functools.partial(builder.make_replay_tables, prepared.environment_spec)
    replay_is_serving, learner_has_ended = SharedEvent(), SharedEvent()
    replay_node = ReplayNode(tables, directory, continuation, replay_is_serving, learner_has_ended)
    counter_node = lp.CourierNode(node(_counter, "counter"), continuation)
    replay, counter = replay_node.create_handle(), counter_node.create_handle()
    learner_node = lp.CourierNode(
        functools.partial(_learner, directory),
        config,
        directory,
        builder,
        continuation,
        prepared.environment_spec,
        layout.num_actors,
        replay_is_serving,
        learner_has_ended,
        replay,
        counter,
    )
    peers = Peers(replay, counter, learner_node.create_handle())
    prepare = functools.partial(prepare_process, learner=True)
    with program.group(LEARNER):
        members = {"replay": replay_node, "counter": counter_node, LEARNER: learner_node}
        program.add_node(NodesProcess(LEARNER, members, directory, prepare))
    common = (config, directory)
    evaluator_node = lp.PyNode(
        node(in_every_life, "evaluator"),
        evaluate,
        *common,
        prepared.learner_steps,
        peers,
    )
    with program.group("actor"):
        for index in range(layout.num_actors):
            name = f"actor_{index}"
            actor_node = lp.PyNode(
                node(in_every_life, name),
                act,
                *common,
                builder,
                prepared.learner_steps,
                layout,
                index,
                peers,
            )
            others = {} if index else {"evaluator": evaluator_node}
            members = {name: actor_node, **others}
            prepare = functools.partial(_prepare_actor, layout, index)
            program.add_node(NodesProcess(name, members, directory, prepare))
    return program


def _prepare_actor(layout: ActorLayout, index: int):
    """Prepares the process of an actor node, and perhaps of the evaluator."""
    prepare_process(parallel_calls=layout.batches_per_actor + 1, core=layout.core_of_actor(index))


def _counter(continuation: checkpointing.Continuation) -> counting.Counter:
    counter = make_counter(continuation.counts)
    heartbeat.current().measure("frames", lambda: counter.get_counts()["actor_frames"], serves=True)
    return counter


def _learner(directory: RunDirectory, *args) -> LearnerNode:
    """A learner both whose making and whose running are guarded."""
    learner = guarded(LearnerNode, LEARNER, directory)(*args)
    learner.run = guarded(learner.run, LEARNER, directory)
    return learner
