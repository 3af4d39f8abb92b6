"""Trains IMPALA: as a Launchpad program of processes or threads, or in one process.

    python launch/train.py --env=gym:CartPole-v1 --num_frames=1000000
    python launch/train.py --env=atari:pong --num_frames=40000000 --workdir=runs/pong

The same command with the same workdir continues the run. The exit status is 0 when a run has come
to its end, 75 when it was told to end early (Ctrl-C, SIGTERM) and can be continued, 1 for errors.
"""

# ruff: noqa: E402
import dataclasses
import datetime
import gc
import os
import signal
import sys

ENDED_EARLY = os.EX_TEMPFAIL  # The exit status of a run that was told to end: 75.
for number in (signal.SIGINT, signal.SIGTERM):  # Nothing has begun that should end in order.
    signal.signal(number, lambda *_: os._exit(ENDED_EARLY))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
import acme_impala  # Before TensorFlow: it turns on the kernels that TensorFlow leaves off.

# ruff: isort: split
from absl import app, flags, logging

import hints
import hyperparameters
from acme_impala import environments, experiments
from acme_impala.environments import AtariOptions, LabOptions
from acme_impala.experiments import (
    RayOptions,
    accounts,
    logs,
    presets,
    private_network,
    progress,
    ray_cluster,
    run_directory,
)
from acme_impala.experiments.cores import num_cores
from acme_impala.experiments.threads import use_threads

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(hyperparameters)  # For --help.

flags.DEFINE_string(
    "env",
    None,
    "gym:<Gymnasium id>, atari:<game>, dmlab:<level>, catch or memory; several with commas between "
    "them; or a suite: atari57, dmlab30.",
    required=True,
)
flags.DEFINE_string("workdir", None, "Run directory; the default is a new one in runs/.")
flags.DEFINE_enum(
    "launcher",
    "local_mp",
    ["local_mp", "local_mt", "in_process", "ray"],
    "A process for each node, a thread for each node, one loop without nodes, or processes on a "
    "Ray cluster, which are replaced when they die.",
)
flags.DEFINE_string(
    "ray_address", None, "Of a Ray cluster, host:port or auto; without one this machine is one."
)
flags.DEFINE_multi_string(
    "resources",
    [],
    "On a Ray cluster, what each process of a group needs: learner:gpus=1,memory=8G, actor:cpus=2, "
    "or resources that the cluster's hosts were given. May be repeated.",
)
flags.DEFINE_integer(
    "max_deaths", 5, "On a Ray cluster: so many deaths of one process, in --deaths_seconds, end it."
)
flags.DEFINE_float("deaths_seconds", 600.0, "On a Ray cluster: see --max_deaths.")
flags.DEFINE_bool(
    "private", False, "In a network namespace of its own, which nothing outside can connect to."
)
flags.DEFINE_integer("num_actors", None, "Actors; the default fits this machine's cores.")
flags.DEFINE_integer(
    "environments_per_actor", None, "Environments that an actor steps together; of the preset."
)
flags.DEFINE_enum(
    "vectorization", "auto", environments.VECTORIZATIONS, "How Gymnasium environments are stepped."
)
flags.DEFINE_integer(
    "frames_per_step",
    None,
    "Environment frames that an agent step of a Gymnasium environment takes, which only you know; "
    "by default 1. Of all others it is known.",
)
flags.DEFINE_bool("accept_new_config", False, "Continue a run whose stored config differs.")

flags.DEFINE_integer("evaluate_every", None, "Environment frames between evaluations.")
flags.DEFINE_integer("evaluation_episodes", 20, "Whole games of each task in an evaluation.")
flags.DEFINE_bool("greedy_evaluation", False, "Evaluate the likeliest actions, not samples.")
flags.DEFINE_float("target_return", None, "End the run when an evaluation's mean reaches this.")
flags.DEFINE_float(
    "weights_max_age", 0.0, "Seconds for which a host's actors do not ask for newer weights."
)
flags.DEFINE_float("checkpoint_seconds", 60.0, "Seconds between checkpoints.")

flags.DEFINE_bool("sticky_actions", False, "Atari: repeat the last action with probability 0.25.")
flags.DEFINE_bool(
    "full_action_space", None, "Atari: all 18 actions; by default only where there are many tasks."
)
flags.DEFINE_string("level_cache", None, "DeepMind Lab: a directory for the maps of levels.")
flags.DEFINE_string(
    "dataset_path", None, "DeepMind Lab: the directory of the pictures of some psychlab levels."
)
flags.DEFINE_enum(
    "renderer", "software", environments.RENDERERS, "DeepMind Lab: what draws its pictures."
)
flags.DEFINE_bool("last_action_and_reward", None, "Whether observations hold them.")

# By how the names of the tasks begin that they are of, and whose tasks those are.
_FLAGS_OF_KINDS = {
    "gym:": ("Gymnasium's", ["vectorization"]),
    "atari:": ("Atari's", ["sticky_actions", "full_action_space"]),
    "dmlab:": ("DeepMind Lab's", ["level_cache", "dataset_path", "renderer"]),
}


def make_config(preset: presets.Preset) -> acme_impala.ExperimentConfig:
    """Makes the experiment that the flags describe.

    Raises:
        ValueError: a flag's value is impossible; the message says what would do.
    """
    agent = hyperparameters.make_agent(preset)
    last_action_and_reward = FLAGS.last_action_and_reward
    if last_action_and_reward is None:
        last_action_and_reward = preset.last_action_and_reward
    full_action_space = FLAGS.full_action_space
    if full_action_space is None:
        full_action_space = environments.is_suite(FLAGS.env)
    environment_factory = environments.make_factory(
        FLAGS.env,
        last_action_and_reward=last_action_and_reward,
        vectorization=FLAGS.vectorization,
        atari=AtariOptions(
            sticky_actions=FLAGS.sticky_actions,
            full_action_space=full_action_space,
        ),
        lab=LabOptions(
            level_cache=FLAGS.level_cache,
            dataset_path=FLAGS.dataset_path,
            renderer=FLAGS.renderer,
        ),
    )
    tasks = environments.tasks_of(environment_factory)
    for kind, (whose, names) in _FLAGS_OF_KINDS.items():
        given = [name for name in names if FLAGS[name].present]
        if given and not any(task.name.startswith(kind) for task in tasks):
            raise ValueError(
                f"--{given[0]}={FLAGS[given[0]].value} means nothing to --env={FLAGS.env}: leave "
                f"it out, or name an environment of {whose}."
            )
    frames_per_step = FLAGS.frames_per_step
    if frames_per_step is None:  # Whatever preset was named.
        frames_per_step = tasks[0].frames_per_step or 1
    agent = dataclasses.replace(agent, frames_per_step=frames_per_step)
    uses_popart = agent.popart_step_size is not None
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return acme_impala.ExperimentConfig(
        environment_factory=environment_factory,
        network_factory=hyperparameters.make_network(preset, len(tasks) if uses_popart else 1),
        workdir=FLAGS.workdir or f"runs/{logs.file_name(FLAGS.env)[:80]}-{now}",
        num_frames=FLAGS.num_frames,
        agent=agent,
        seed=FLAGS.seed,
        evaluate_every=FLAGS.evaluate_every,
        evaluation_episodes=FLAGS.evaluation_episodes,
        greedy_evaluation=FLAGS.greedy_evaluation,
        target_return=FLAGS.target_return,
        weights_max_age=FLAGS.weights_max_age,
        checkpoint_seconds=FLAGS.checkpoint_seconds,
    )


def check_launcher():
    """Finds flags that the launcher would pass over.

    Raises:
        ValueError: there is one.
    """
    if FLAGS.private and FLAGS.ray_address:
        raise ValueError("--private leaves no way to a cluster: leave it out, or --ray_address.")
    passed_over = []
    if FLAGS.launcher != "ray":
        passed_over += ["ray_address", "resources", "max_deaths", "deaths_seconds"]
    if FLAGS.launcher == "in_process":
        passed_over += ["num_actors", "environments_per_actor", "weights_max_age"]
    for name in passed_over:
        if FLAGS[name].present:
            raise ValueError(
                f"--{name} means nothing to --launcher={FLAGS.launcher}: leave it out, or name "
                "another launcher."
            )


def main(_):
    """Runs the experiment; exits with 1 and a message where something is wrong."""
    gc.freeze()  # Else Python takes a third of a second to walk through TensorFlow when it exits.
    try:
        check_launcher()
        if FLAGS.private:
            private_network.enter()
        preset = hyperparameters.make_preset(FLAGS.env)
        config = make_config(preset)
        if FLAGS.launcher == "in_process":
            use_threads(num_cores())
            experiments.run_experiment(config, accept_new_config=FLAGS.accept_new_config)
        else:
            experiments.launch(
                config,
                FLAGS.num_actors,
                preset.environments_per_actor
                if FLAGS.environments_per_actor is None
                else FLAGS.environments_per_actor,
                launch_type=FLAGS.launcher,
                accept_new_config=FLAGS.accept_new_config,
                ray=RayOptions(
                    address=FLAGS.ray_address,
                    resources=ray_cluster.parse_resources(FLAGS.resources),
                    max_deaths=FLAGS.max_deaths,
                    deaths_seconds=FLAGS.deaths_seconds,
                ),
            )
    except (ValueError, ImportError, experiments.NodeFailedError) as error:
        sys.exit(str(error))
    directory = run_directory.RunDirectory(config.workdir)
    if not any(directory.checkpoints.iterdir()):
        print(f"Ended before the first step. Start it again with --workdir={config.workdir}.")
        sys.exit(ENDED_EARLY)
    evaluation = progress.tail_row(directory.logs / "evaluator.csv")
    mean = float(evaluation["episode_return"]) if evaluation else None
    if evaluation:
        print(
            f"The last evaluation, at {float(evaluation['frames']):.0f} environment frames: mean "
            f"return {mean:.2f} over {evaluation['episodes']} episodes."
        )
    print(f"Accounts:       {accounts.describe(directory)}")
    print(f"Learning curve: {directory.learning_curve}")
    tensorboard = f"{hints.python()} -m tensorboard.main --logdir={directory.tensorboard}"
    print(f"Logs:           {directory.logs} ({tensorboard})")
    print(f"Checkpoints:    {directory.checkpoints}")
    print(f"Evaluate it:    {hints.python()} launch/evaluate.py --workdir={config.workdir}")
    learner = progress.tail_row(directory.logs / "learner.csv")
    finished = learner is not None and float(learner["frames"]) >= config.num_frames
    target = config.target_return
    reached_target = target is not None and mean is not None and mean >= target
    if finished and target is not None and not reached_target:
        sys.exit(f"The run has ended without reaching target_return={config.target_return}.")
    if not finished and not reached_target:
        print(f"Ended early. The same command with --workdir={config.workdir} goes on from here.")
        sys.exit(ENDED_EARLY)


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    app.run(main)
