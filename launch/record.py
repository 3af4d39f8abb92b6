"""Records the unrolls of a trained policy, for launch/learn.py or for others to learn from.

    python launch/record.py --workdir=runs/pong --recording=recordings/pong --num_frames=100000

A recording is a directory of TFRecord files and a recording.json that says how to read them:
acme_impala/replay/recording.py has the form, and why it is that.
"""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
import acme_impala  # Before TensorFlow: it turns on the kernels that TensorFlow leaves off.

# ruff: isort: split
import acme
import numpy as np
import reverb
import tensorflow as tf
import tqdm
from absl import app, flags

import hints
from acme_impala import acting, environments, networks, replay
from acme_impala.experiments import checkpointing, open_ports, private_network, stored_run
from acme_impala.experiments.cores import num_cores
from acme_impala.experiments.threads import use_threads

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", None, "The run directory that launch/train.py wrote.", required=True)
flags.DEFINE_string("recording", None, "A new directory, for the recording.", required=True)
flags.DEFINE_integer("num_frames", 100_000, "Environment frames to record.", lower_bound=1)
flags.DEFINE_integer("num_environments", 8, "That are played side by side.", lower_bound=1)
flags.DEFINE_integer("seed", 1, "Of environments and actions.", lower_bound=0)
flags.DEFINE_bool(
    "private", False, "In a network namespace of its own, which nothing outside can connect to."
)


class _Frozen(acme.VariableSource):
    """Weights that stay as they are, and the learner step that they are of."""

    def __init__(self, network: networks.Network, learner_steps: int):
        self._variables = {
            "policy": [variable.numpy() for variable in network.variables],
            "policy_version": [np.int64(learner_steps)],
        }

    def get_variables(self, names: Sequence[str]) -> list[list[np.ndarray]]:
        return [self._variables[name] for name in names]


def record(workdir: str, recording: str, num_frames: int, num_environments: int, seed: int) -> int:
    """Plays by the newest checkpoint of a run and writes what is played.

    The unrolls take the way that they take to a learner: through an actor and a Reverb queue.

    Args:
        workdir: the run's directory.
        recording: a new directory.
        num_frames: environment frames to record, at least.
        num_environments: that are played side by side.
        seed: of environments and actions.

    Returns:
        Environment frames recorded.

    Raises:
        ValueError: there is no such run, or the recording's directory is not empty or cannot be
            made.
    """
    run = stored_run.read(workdir)
    num_tasks = len(environments.tasks_of(run.environment_factory))
    if num_tasks > 1:
        raise ValueError(f"A recording is of one task; the run in {workdir} has {num_tasks}.")
    batch = run.environment_factory.batch(seed, num_environments)
    spec = acme.make_environment_spec(batch)
    network = networks.as_impala_network(run.network_factory(spec))
    networks.check_network(network, spec)
    checkpointing.restore_network(run.checkpoint.path, network)
    signature = replay.unroll_signature(
        spec, networks.state_spec(network), run.agent["unroll_length"]
    )
    writer = replay.RecordingWriter(
        recording,
        spec,
        signature,
        run.agent["frames_per_step"],
        {
            "written_by": f"acme_impala {acme_impala.__version__}",
            "environment": run.environment,
            "learner_steps": run.checkpoint.counts["learner_steps"],
        },
    )
    with tempfile.TemporaryDirectory(prefix="acme_impala_reverb_") as directory, writer:
        server = reverb.Server(
            [replay.make_queue(signature, num_environments)],
            port=None,
            checkpointer=reverb.checkpointers.DefaultCheckpointer(directory),
        )
        client = reverb.Client(f"localhost:{server.port}")
        print(open_ports.describe({"queue": client.server_address}), flush=True)
        stop = threading.Event()
        actor = acting.IMPALABatchActor(
            network,
            batch,
            replay.UnrollWriter(client, num_environments, should_stop=stop.is_set),
            _Frozen(network, int(run.checkpoint.counts["learner_steps"])),
            seed=seed,
        )
        reader = replay.ItemReader(client, replay.QUEUE, signature)
        acted = replay.in_background(lambda: _act(actor, batch, stop))
        acted.add_done_callback(lambda _: reader.stop())  # Nothing more will come.
        try:
            with tqdm.tqdm(total=num_frames, unit="frame", unit_scale=True) as bar:
                while writer.frames < num_frames:
                    try:
                        _, item = reader.take()
                    except StopIteration:
                        acted.result()  # Raises what has ended it.
                        raise
                    before = writer.frames
                    writer.write(item)
                    bar.update(writer.frames - before)
        finally:
            stop.set()
            reader.stop()
            acted.exception()  # Waits for its end.
            server.stop()
    return writer.frames


def _act(
    actor: acting.IMPALABatchActor, batch: environments.BatchedEnvironment, stop: threading.Event
):
    with contextlib.closing(batch):
        for _ in actor.steps():
            if stop.is_set():
                break
        actor.close(seconds=0.0)


def main(_):
    """Records; exits with 1 and a message where something is wrong."""
    if FLAGS.private:
        private_network.enter()
    tf.config.set_visible_devices([], "GPU")  # A learner's.
    use_threads(num_cores())
    names = ("workdir", "recording", "num_frames", "num_environments", "seed")
    try:
        frames = record(**{name: getattr(FLAGS, name) for name in names})
    except (ValueError, ImportError) as error:
        sys.exit(str(error))
    print(f"{frames} environment frames in {FLAGS.recording}")
    print(f"Learn from it:  {hints.python()} launch/learn.py --recording={FLAGS.recording}")


if __name__ == "__main__":
    app.run(main)
