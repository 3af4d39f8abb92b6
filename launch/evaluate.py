"""Evaluates the newest checkpoint of a run: whole games, a table of their scores, a video.

python launch/evaluate.py --workdir=runs/pong --episodes=200 --video=pong.mp4
"""

import os
import pathlib
import sys
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
import acme_impala  # noqa: F401  Before TensorFlow: it turns on the kernels that it leaves off.

# ruff: isort: split
import acme
import numpy as np
from absl import app, flags, logging

from acme_impala import acting, environments
from acme_impala.experiments import (
    checkpointing,
    nodes,
    playing,
    run_directory,
    score_table,
    stored_run,
    video,
)

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", None, "The run directory that launch/train.py wrote.", required=True)
flags.DEFINE_integer("episodes", 20, "Episodes (whole games) to play.", lower_bound=1)
flags.DEFINE_bool("greedy", False, "Take the likeliest actions instead of sampling.")
flags.DEFINE_integer("seed", 1, "Of the environment and the actions.", lower_bound=0)
flags.DEFINE_string(
    "output", None, "CSV file for the table; the default is scores-<frames>.csv in the workdir."
)
flags.DEFINE_string("video", None, "MP4 or GIF for one more game, of the first task.")


def make_policy(
    run: stored_run.StoredRun, batch: environments.BatchedEnvironment, *, greedy: bool, seed: int
) -> acting.BatchedPolicy:
    """Makes the policy of a run's checkpoint, to act in a batch of environments."""
    network = run.network_factory(acme.make_environment_spec(batch))
    checkpointing.restore_network(run.checkpoint.path, network)
    return acting.BatchedPolicy(network, batch.num_environments, acting.ActionSampler(seed, greedy))


def evaluate(
    run: stored_run.StoredRun,
    tasks: Sequence[environments.EnvironmentFactory],
    num_episodes: int,
    *,
    greedy: bool,
    seed: int,
) -> dict[str, list[float]]:
    """Plays whole games of each task by a run's checkpoint; returns their scores by task."""
    scores, policy = {}, None
    size = min(num_episodes, nodes.most_for_evaluation(tasks[:1]))  # One task after the other.
    for task in tasks:
        batch = task.batch(seed, size, evaluation=True)
        if policy is None:  # One for all tasks, which are alike.
            policy = make_policy(run, batch, greedy=greedy, seed=seed)
        games = [e for ended in playing.evaluate(batch, policy, num_episodes) for e in ended]
        batch.close()
        mean_length = np.mean([game.length for game in games])
        logging.info("%s: %.0f agent steps a game.", task.name, mean_length)
        scores[task.name] = [game.score for game in games]
    return scores


def record(
    run: stored_run.StoredRun,
    environment_factory: environments.EnvironmentFactory,
    path: str,
    *,
    greedy: bool,
    seed: int,
):
    """Plays one whole game by a run's checkpoint, and writes what it looks like.

    Raises:
        ValueError: the environment cannot be rendered, or the path is of no video.
        ImportError: packages are missing that the environment needs to be rendered.
    """
    environment = environment_factory(seed, evaluation=True, render=True)
    batch = environments.EnvironmentList([environment])
    policy = make_policy(run, batch, greedy=greedy, seed=seed)
    steps = playing.evaluate(batch, policy, num_episodes=1)
    screens = (screen for _ in steps for screen in environment.render())
    video.write(path, screens, environment.screens_per_second)
    batch.close()


def table_path(frames: int) -> pathlib.Path:
    """Where the table goes of a checkpoint that has learned from so many environment frames.

    Raises:
        ValueError: --output names a file in a directory that there is not.
    """
    if not FLAGS.output:
        return run_directory.RunDirectory(FLAGS.workdir).scores(frames)
    path = pathlib.Path(FLAGS.output).absolute()
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent}, which --output names, is no directory: make it first.")
    return path


def main(_):
    """Writes the video, and prints and writes the table of scores."""
    try:
        run = stored_run.read(FLAGS.workdir)
        frames = run.checkpoint.counts["learner_frames"]
        path = table_path(frames)
        logging.info("%s, %d environment frames.", run.checkpoint.path, frames)
        tasks = environments.tasks_of(run.environment_factory)
        if FLAGS.video:  # First: what is wrong with it shows before many games are played.
            record(run, tasks[0], FLAGS.video, greedy=FLAGS.greedy, seed=FLAGS.seed)
            print(f"Video: {FLAGS.video}")
        scores = evaluate(run, tasks, FLAGS.episodes, greedy=FLAGS.greedy, seed=FLAGS.seed)
        table = score_table.make_table(scores)
        print(score_table.to_markdown(table))
        score_table.write_csv(table, path)
    except (ValueError, ImportError, OSError) as error:
        sys.exit(str(error))
    print(f"Table: {path}")


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    app.run(main)
