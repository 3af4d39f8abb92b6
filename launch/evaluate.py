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
import tensorflow as tf
from absl import app, flags, logging

from acme_impala import acting, environments
from acme_impala.checks import require_writable
from acme_impala.experiments import (
    checkpointing,
    playing,
    run_directory,
    score_table,
    stored_run,
    video,
)
from acme_impala.experiments.cores import num_cores
from acme_impala.experiments.threads import use_threads

FLAGS = flags.FLAGS

flags.DEFINE_list(
    "workdir",
    None,
    "The run directory that launch/train.py wrote; or several of them with commas between, each of "
    "other tasks, whose scores make one table.",
    required=True,
)
flags.DEFINE_integer("episodes", 20, "Episodes (whole games) to play.", lower_bound=1)
flags.DEFINE_bool("greedy", False, "Take the likeliest actions instead of sampling.")
flags.DEFINE_integer("seed", 1, "Of the environment and the actions.", lower_bound=0)
flags.DEFINE_string(
    "output", None, "CSV file for the table; the default is scores-<frames>.csv in each workdir."
)
flags.DEFINE_string("video", None, "MP4 or GIF for one more game, of the first run's first task.")


def make_policy(
    run: stored_run.StoredRun, batch: environments.BatchedEnvironment, *, greedy: bool, seed: int
) -> acting.BatchedPolicy:
    """Makes the policy of a run's checkpoint, to act in a batch of environments."""
    network = run.network_factory(acme.make_environment_spec(batch))
    checkpointing.restore_network(run.checkpoint.path, network)
    sampler = acting.ActionSampler(seed, greedy, batch.action_spec())
    return acting.BatchedPolicy(network, batch.num_environments, sampler)


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
    size = min(num_episodes, playing.most_side_by_side(tasks[:1]))  # One task after the other.
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


def read_runs() -> dict[str, stored_run.StoredRun]:
    """Reads the runs that --workdir names.

    Raises:
        ValueError: there is none or it has no checkpoint, or two are of the same task.
    """
    if not all(FLAGS.workdir or [""]):
        raise ValueError("--workdir is empty, or a name is missing between its commas.")
    if len(set(FLAGS.workdir)) < len(FLAGS.workdir):
        raise ValueError("--workdir names a run directory twice.")
    runs = {workdir: stored_run.read(workdir) for workdir in FLAGS.workdir}
    seen: dict[str, str] = {}
    for workdir, run in runs.items():
        for task in environments.tasks_of(run.environment_factory):
            if task.name in seen:
                raise ValueError(
                    f"{seen[task.name]} and {workdir} are both of {task.name}, and the table has a "
                    "row for each task: evaluate them one by one."
                )
            seen[task.name] = workdir
    return runs


def check_output():
    """Finds out whether --output can be written before games are played.

    Raises:
        ValueError: it names a file in a directory that there is not.
    """
    if FLAGS.output and not pathlib.Path(FLAGS.output).absolute().parent.is_dir():
        directory = pathlib.Path(FLAGS.output).absolute().parent
        raise ValueError(f"{directory}, which --output names, is no directory: make it first.")


def output_of(workdir: str, run: stored_run.StoredRun) -> pathlib.Path:
    """Where the scores of a run go: with --output those of all runs to one file."""
    if FLAGS.output:
        return pathlib.Path(FLAGS.output)
    frames = run.checkpoint.counts["learner_frames"]
    return run_directory.RunDirectory(workdir).scores(frames)


def main(_):
    """Writes the video, and prints and writes the table of scores."""
    tf.config.set_visible_devices([], "GPU")  # A learner's.
    use_threads(num_cores())
    all_scores = {}
    try:
        check_output()
        runs = read_runs()
        paths = {workdir: output_of(workdir, run) for workdir, run in runs.items()}
        for path in paths.values():
            require_writable("--output", path)
        if FLAGS.video is not None:  # First: what is wrong with it shows before many games.
            run = next(iter(runs.values()))
            task = environments.tasks_of(run.environment_factory)[0]
            record(run, task, FLAGS.video, greedy=FLAGS.greedy, seed=FLAGS.seed)
            print(f"Video: {FLAGS.video}")
        for workdir, run in runs.items():
            frames = run.checkpoint.counts["learner_frames"]
            logging.info("%s, %d environment frames.", run.checkpoint.path, frames)
            tasks = environments.tasks_of(run.environment_factory)
            scores = evaluate(run, tasks, FLAGS.episodes, greedy=FLAGS.greedy, seed=FLAGS.seed)
            all_scores |= scores
            if not FLAGS.output:
                score_table.write_csv(score_table.make_table(scores), paths[workdir])
        table = score_table.make_table(all_scores)
        print(score_table.to_markdown(table))
        if FLAGS.output:
            score_table.write_csv(table, pathlib.Path(FLAGS.output))
    except (ValueError, ImportError, OSError) as error:
        sys.exit(str(error))
    for path in dict.fromkeys(paths.values()):
        print(f"Table: {path}")


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    app.run(main)
