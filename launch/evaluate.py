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
from acme_impala.experiments import checkpointing, nodes, playing, stored_run

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
    run = stored_run.read(workdir)
    size = min(num_episodes, nodes.MAX_EVALUATION_ENVIRONMENTS)
    batch = run.environment_factory.batch(seed, size, evaluation=True)
    network = run.network_factory(acme.make_environment_spec(batch))
    checkpointing.restore_network(run.checkpoint.path, network)
    logging.info(
        "%s, %d environment frames.", run.checkpoint.path, run.checkpoint.counts["learner_frames"]
    )
    policy = acting.BatchedPolicy(network, size, acting.ActionSampler(seed, greedy))
    episodes = [e for ended in playing.evaluate(batch, policy, num_episodes) for e in ended]
    batch.close()
    return episodes


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
