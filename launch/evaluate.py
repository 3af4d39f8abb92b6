"""Evaluates the newest checkpoint of a run.

python launch/evaluate.py --workdir=runs/demo --episodes=100
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
import acme_impala  # noqa: F401  Before TensorFlow: it turns on the kernels that it leaves off.

# ruff: isort: split
import acme
import numpy as np
from absl import app, flags, logging

from acme_impala import acting
from acme_impala.environments import AtariOptions, EnvironmentFactory
from acme_impala.experiments import checkpointing, nodes, playing, run_directory
from acme_impala.networks import NetworkConfig

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", None, "The run directory that launch/train.py wrote.", required=True)
flags.DEFINE_integer("episodes", 20, "Episodes (whole games) to play.", lower_bound=1)
flags.DEFINE_bool("greedy", False, "Take the likeliest actions instead of sampling.")
flags.DEFINE_integer("seed", 1, "Of the environment and the actions.", lower_bound=0)


def evaluate(workdir: str, num_episodes: int, *, greedy: bool, seed: int) -> list[playing.Episode]:
    """Plays episodes by the newest whole checkpoint of a run.

    Raises:
        ValueError: there is no run, no checkpoint, or the run is not one of launch/train.py's.
    """
    directory = run_directory.RunDirectory(workdir)
    stored = run_directory.read_config(directory)
    environment_factory = _restored(stored["environment_factory"], EnvironmentFactory, workdir)
    network_factory = _restored(stored["network_factory"], NetworkConfig, workdir)
    found = checkpointing.newest_whole(directory.checkpoints)
    if not found:
        raise ValueError(f"{directory.checkpoints} holds no checkpoint yet.")

    size = min(num_episodes, nodes.MAX_EVALUATION_ENVIRONMENTS)
    batch = environment_factory.batch(seed, size, evaluation=True)
    network = network_factory(acme.make_environment_spec(batch))
    checkpointing.restore_network(found.path, network)
    logging.info("%s, %d environment frames.", found.path, found.counts["learner_frames"])
    policy = acting.BatchedPolicy(network, size, acting.ActionSampler(seed, greedy))
    episodes = [e for ended in playing.evaluate(batch, policy, num_episodes) for e in ended]
    batch.close()
    return episodes


def _restored(fields: object, kind: type, workdir: str) -> object:
    """Makes a config object again from its stored fields."""
    if not isinstance(fields, dict) or fields.get("type") != kind.__name__:
        raise ValueError(
            f"The run in {workdir} was made by code, with {fields} in place of {kind.__name__}; "
            "evaluate it by code too, with checkpointing.restore_network and IMPALAActor."
        )
    fields = {name: value for name, value in fields.items() if name != "type"}
    if "atari" in fields:
        fields["atari"] = _restored(fields["atari"], AtariOptions, workdir)
    return kind(**fields)


def main(_):
    """Prints the mean return and its spread."""
    try:
        episodes = evaluate(FLAGS.workdir, FLAGS.episodes, greedy=FLAGS.greedy, seed=FLAGS.seed)
    except (ValueError, ImportError) as error:
        sys.exit(str(error))
    returns = np.array([episode.episode_return for episode in episodes])
    lengths = np.array([episode.length for episode in episodes])
    print(
        f"{len(returns)} episodes: return {returns.mean():.2f} +- {returns.std():.2f} "
        f"(from {returns.min():.2f} to {returns.max():.2f}), {lengths.mean():.0f} agent steps each"
    )


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    app.run(main)
