"""The topology of the distributed program; launching it is another matter."""

import functools

import launchpad as lp
import reverb

from acme_impala.experiments import nodes, preparation
from acme_impala.experiments.config import ExperimentConfig
from acme_impala.experiments.layout import ActorLayout
from acme_impala.experiments.processes import guarded, prepare_process
from acme_impala.experiments.run_directory import RunDirectory


class ReplayNode(lp.ReverbNode):
    """A Reverb server that is stopped as soon as the program is, not when its process ends.

    In a program of threads these are not the same, and whoever waits for an unroll in the server's
    own process notices nothing else for three seconds.
    """

    def run(self):
        """Serves until the program stops."""
        super().run()
        self._server.stop()


def make_program(
    config: ExperimentConfig,
    num_actors: int | None = None,
    environments_per_actor: int | None = None,
    *,
    accept_new_config: bool = False,
    name: str = "impala",
) -> lp.Program:
    """Makes the Launchpad program of an experiment: replay, counter, learner, actors, evaluator.

    The program stops by itself at `num_frames`, or at `target_return`. Everything that can be known
    to fail is tried here, before any process starts, and the run directory is taken up.

    Args:
        config: the experiment.
        num_actors: actor nodes; None: as many as fit this machine's cores.
        environments_per_actor: environments that an actor steps together; None: 32.
        accept_new_config: continue a run whose stored config differs.
        name: of the program.

    Returns:
        A program for `lp.launch` (or use `experiments.launch`, which also shows progress and
        failures).

    Raises:
        ValueError: something does not fit; the message says what, and what would do.
    """
    layout = ActorLayout.make(num_actors, environments_per_actor)
    prepared = preparation.prepare(
        config,
        unrolls_per_item=layout.unrolls_per_item(config.agent.batch_size),
        accept_new_config=accept_new_config,
    )
    directory, builder = prepared.directory, prepared.builder
    checkpoint = prepared.checkpoint

    def node(function, label: str):
        return guarded(function, label, directory)

    program = lp.Program(name)
    with program.group("replay"):
        tables = functools.partial(_tables, builder, prepared.environment_spec)
        # Without one of its own, a server leaves a directory in /tmp behind.
        checkpointer = functools.partial(
            reverb.checkpointers.DefaultCheckpointer, str(directory.replay)
        )
        replay = program.add_node(ReplayNode(node(tables, "replay"), checkpointer))
    with program.group("counter"):
        counts = checkpoint.counts if checkpoint else {}
        counter = program.add_node(lp.CourierNode(node(nodes.counter_node, "counter"), counts))
    with program.group("learner"):
        learner = program.add_node(
            lp.CourierNode(
                functools.partial(_learner, directory),
                config,
                directory,
                builder,
                checkpoint.path if checkpoint else None,
                prepared.environment_spec,
                replay,
                counter,
            )
        )
    learner_steps = prepared.learner_steps
    with program.group("evaluator"):
        function = node(nodes.evaluate, "evaluator")
        program.add_node(lp.PyNode(function, config, directory, learner_steps, learner))
    with program.group("actor"):
        common = (config, directory, builder, learner_steps, layout)
        for index in range(layout.num_actors):
            function = node(nodes.act, f"actor_{index}")
            program.add_node(lp.PyNode(function, *common, index, replay, learner, counter))
    return program


def _tables(builder, environment_spec):
    prepare_process()
    return builder.make_replay_tables(environment_spec)


def _learner(directory: RunDirectory, *args) -> nodes.LearnerNode:
    """A learner both whose making and whose running are guarded."""
    learner = guarded(nodes.LearnerNode, "learner", directory)(*args)
    learner.run = guarded(learner.run, "learner", directory)
    return learner
