"""Learns from a recording alone, without an environment: off-policy, by V-trace.

    python launch/learn.py --recording=recordings/pong --workdir=runs/from_pong --num_frames=500000

The recording is gone through again and again. The exit status is launch/train.py's: 75 where Ctrl-C
or SIGTERM have ended it early, and the same command with the same workdir goes on. What was learned
is played by launch/evaluate.py. There is no policy lag here; how far the policies are apart is what
mean_rho and rho_clipped_fraction say. What no action of the recording shows cannot be learned: a
policy that always does the same teaches little, one that tries things teaches more.
"""

import dataclasses
import datetime
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
import acme_impala  # Before TensorFlow: it turns on the kernels that TensorFlow leaves off.

# ruff: isort: split
from absl import app, flags
from acme.utils import counting

import hints
import hyperparameters
from acme_impala import IMPALALearner, networks, replay
from acme_impala.config import IMPALAConfig
from acme_impala.environments import EnvironmentFactory
from acme_impala.experiments import (
    checkpointing,
    logs,
    preparation,
    run_directory,
    signals,
    stored_run,
)
from acme_impala.experiments.cores import num_cores
from acme_impala.experiments.counts import make_counter
from acme_impala.experiments.progress import LiveLine
from acme_impala.experiments.threads import use_threads

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(hyperparameters)  # For --help.

flags.DEFINE_string("recording", None, "The directory that launch/record.py wrote.", required=True)
flags.DEFINE_string("workdir", None, "Run directory; the default is a new one in runs/.")
flags.DEFINE_bool("accept_new_config", False, "Continue a run whose stored config differs.")
flags.DEFINE_float("checkpoint_seconds", 60.0, "Seconds between checkpoints.")


def make_config(recording: replay.Recording) -> acme_impala.ExperimentConfig:
    """Makes the experiment that recording and flags describe.

    Raises:
        ValueError: a flag's value is impossible, or is of nothing that there is here.
    """
    described = recording.description
    environment = stored_run.restore(
        described["environment"], EnvironmentFactory, str(recording.directory)
    )
    of_actors = ("queue_size", "max_policy_lag", "actor_lag")
    for name in FLAGS:
        if (name in of_actors or name.startswith("replay_")) and FLAGS[name].present:
            raise ValueError(f"--{name} is of actors and their queue, and here are none.")
    preset = hyperparameters.make_preset(environment.name)
    agent = hyperparameters.make_agent(preset)
    defaults = {name: getattr(IMPALAConfig(), name) for name in (*of_actors, "replay")}
    length = described["unroll_length"]
    if FLAGS.unroll_length not in (None, length):
        raise ValueError(
            f"--unroll_length={FLAGS.unroll_length}: the recording's unrolls are of {length} steps."
        )
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return acme_impala.ExperimentConfig(
        environment_factory=environment,
        network_factory=hyperparameters.make_network(preset),
        workdir=FLAGS.workdir or f"runs/{recording.directory.name}-{now}",
        num_frames=FLAGS.num_frames,
        agent=dataclasses.replace(
            agent,
            unroll_length=length,
            frames_per_step=described["frames_per_step"],
            **defaults,
        ),
        seed=FLAGS.seed,
        checkpoint_seconds=FLAGS.checkpoint_seconds,
    )


def learn(recording: replay.Recording, config: acme_impala.ExperimentConfig) -> bool:
    """Learns until the config's frames are learned, or until Ctrl-C or SIGTERM.

    Returns:
        Whether all were learned.

    Raises:
        ValueError: network and recording do not fit each other, or the workdir cannot be used.
    """
    network = networks.as_impala_network(config.network_factory(recording.environment_spec))
    networks.check_network(network, recording.environment_spec)
    batch_size = config.agent.batch_size
    recording.check_batch_size(batch_size)
    directory, found = preparation.take_up(
        config, network, accept_new_config=FLAGS.accept_new_config
    )
    steps = int(found.counts["learner_steps"]) if found else 0
    dataset = replay.RecordedUnrolls(
        recording,
        batch_size,
        network.initial_state(batch_size),
        seed=config.seed + steps,  # A run that goes on sees another order.
        learner_steps=steps,
    )
    counter = make_counter(found.counts if found else {})
    logger = logs.make_logger(directory, "learner", every=logs.LOG_SECONDS)
    learner = IMPALALearner(
        network,
        dataset,
        config.agent,
        counter=counting.Counter(counter, "learner", time_delta=0.0),
        logger=logger,
        metrics_every_seconds=logs.LOG_SECONDS,
    )
    checkpointer = checkpointing.Checkpointer(
        directory.checkpoints, learner, config.checkpoints_to_keep
    )
    if found:
        checkpointer.restore(found.path)
    next_save = time.monotonic() + config.checkpoint_seconds
    with LiveLine(directory, config.num_frames), signals.heeded() as stop:
        while learner.frames < config.num_frames and not stop.is_set():
            learner.step()
            if time.monotonic() >= next_save:
                checkpointer.save(counter.get_counts())
                next_save = time.monotonic() + config.checkpoint_seconds
        checkpointer.save(counter.get_counts())
        logger.close()
    run_directory.release(directory)
    return learner.frames >= config.num_frames


def main(_):
    """Learns; exits with 1 and a message where something is wrong."""
    use_threads(num_cores())
    try:
        recording = replay.Recording(FLAGS.recording)
        config = make_config(recording)
        finished = learn(recording, config)
    except (ValueError, ImportError) as error:
        sys.exit(str(error))
    print(f"Logs:           {pathlib.Path(config.workdir) / 'logs'}")
    print(f"Evaluate it:    {hints.python()} launch/evaluate.py --workdir={config.workdir}")
    if not finished:
        print(f"Ended early. The same command with --workdir={config.workdir} goes on from here.")
        sys.exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    app.run(main)
