"""Trains IMPALA: as a Launchpad program of processes or threads, or in one process.

    python launch/train.py --env=gym:CartPole-v1 --num_frames=1000000
    python launch/train.py --env=atari:pong --num_frames=40000000 --workdir=runs/pong

The same command with the same workdir continues the run.
"""

# ruff: noqa: E402
import dataclasses
import datetime
import gc
import os
import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Nothing has begun that Ctrl-C should end in order.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
import acme_impala  # Before TensorFlow: it turns on the kernels that TensorFlow leaves off.

# ruff: isort: split
import tensorflow as tf
from absl import app, flags, logging

from acme_impala import environments, experiments, networks
from acme_impala.config import CORRECTIONS, Adam, LinearSchedule, RMSProp
from acme_impala.environments import AtariOptions, EnvironmentFactory
from acme_impala.experiments import accounts, presets, progress, run_directory
from acme_impala.replay_config import PRIORITIES, SELECTORS, ReplayConfig

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "env", None, "gym:<Gymnasium id>, atari:<game>, catch or memory.", required=True
)
flags.DEFINE_integer("num_frames", 1_000_000, "Environment frames to learn from.")
flags.DEFINE_string("workdir", None, "Run directory; the default is a new one in runs/.")
flags.DEFINE_enum(
    "launcher",
    "local_mp",
    ["local_mp", "local_mt", "in_process"],
    "A process for each node, a thread for each node, or one loop without nodes.",
)
flags.DEFINE_integer("num_actors", None, "Actors; the default fits this machine's cores.")
flags.DEFINE_integer(
    "environments_per_actor", None, "Environments that an actor steps together; of the preset."
)
flags.DEFINE_enum(
    "vectorization", "auto", environments.VECTORIZATIONS, "How Gymnasium environments are stepped."
)
flags.DEFINE_enum(
    "preset", None, list(presets.PRESETS), "Settings to start from; the default fits the env."
)
flags.DEFINE_integer("seed", 0, "Of initial weights, environments and action sampling.")
flags.DEFINE_bool("accept_new_config", False, "Continue a run whose stored config differs.")

flags.DEFINE_integer("evaluate_every", None, "Environment frames between evaluations.")
flags.DEFINE_integer("evaluation_episodes", 20, "Episodes of an evaluation.")
flags.DEFINE_bool("greedy_evaluation", False, "Evaluate the likeliest actions, not samples.")
flags.DEFINE_float("target_return", None, "End the run when an evaluation's mean reaches this.")
flags.DEFINE_float("checkpoint_seconds", 60.0, "Seconds between checkpoints.")

flags.DEFINE_bool("sticky_actions", False, "Atari: repeat the last action with probability 0.25.")
flags.DEFINE_bool("full_action_space", False, "Atari: all 18 actions.")
flags.DEFINE_bool("last_action_and_reward", None, "Whether observations hold them.")
flags.DEFINE_enum("torso", None, list(networks.TORSOS), "The network's torso.")
flags.DEFINE_enum("core", None, list(networks.CORES), "The network's core.")
flags.DEFINE_list("hidden_sizes", None, "Units of the MLP torso's layers.")

# The hyperparameters, by their names in IMPALAConfig; those not given are the preset's.
_INTEGERS = ("unroll_length", "batch_size", "queue_size", "max_policy_lag")
_NUMBERS = ("discount", "lambda_", "reward_scale", "baseline_cost")
_OPTIONAL_NUMBERS = (
    "clip_rho_threshold",
    "clip_pg_rho_threshold",
    "clip_c_threshold",
    "max_gradient_norm",
)
_SCHEDULES = ("learning_rate", "entropy_cost")
for _name in _INTEGERS:
    flags.DEFINE_integer(_name, None, f"{_name} of IMPALAConfig.")
for _name in _NUMBERS:
    flags.DEFINE_float(_name, None, f"{_name} of IMPALAConfig.")
for _name in _OPTIONAL_NUMBERS:
    flags.DEFINE_string(_name, None, f"{_name} of IMPALAConfig: a number, or 'none'.")
for _name in _SCHEDULES:
    flags.DEFINE_string(
        _name, None, f"{_name} of IMPALAConfig: a number, or two as in 1e-3:0 to anneal it."
    )
flags.DEFINE_integer("actor_lag", None, "actor_lag of IMPALAConfig.")
flags.DEFINE_enum("correction", None, CORRECTIONS, "correction of IMPALAConfig.")
# And of ReplayConfig, with this before their names.
_REPLAY = "replay_"
flags.DEFINE_float("replay_fraction", None, "Of each batch, learned again.")
flags.DEFINE_integer("replay_capacity", None, "Unrolls that the replay table holds.")
flags.DEFINE_integer("replay_min_size", None, "Unrolls in it before learning starts.")
flags.DEFINE_enum("replay_sampler", None, SELECTORS, "Which unroll is replayed.")
flags.DEFINE_enum("replay_remover", None, SELECTORS, "Which one goes when the table is full.")
flags.DEFINE_float("replay_priority_exponent", None, "Of a prioritized sampler or remover.")
flags.DEFINE_enum("replay_priority", None, PRIORITIES, "What makes an unroll's priority.")
flags.DEFINE_integer("replay_max_times_sampled", None, "Unrolls replayed so often go.")
flags.DEFINE_float("replay_samples_per_insert", None, "Kept by Reverb's rate limiter.")
flags.DEFINE_float("replay_error_buffer", None, "By how much that may be off in between.")
flags.DEFINE_string("reward_clipping", None, "abs_one, soft_asymmetric or none.")
flags.DEFINE_enum("optimizer", None, ["rmsprop", "adam"], "With its usual settings.")


def make_preset() -> presets.Preset:
    """Finds the preset that the flags start from.

    Raises:
        ValueError: the number of frames is impossible.
    """
    preset_name = FLAGS.preset or presets.preset_for(FLAGS.env)
    if FLAGS.num_frames < 1:
        raise ValueError(
            f"num_frames must be a whole number of at least 1, got {FLAGS.num_frames}."
        )
    if preset_name not in presets.PRESETS:
        preset_name = "classic_control"  # The environment's own name is refused later.
    return presets.PRESETS[preset_name](FLAGS.num_frames)


def make_config(preset: presets.Preset) -> acme_impala.ExperimentConfig:
    """Makes the experiment that the flags describe.

    Raises:
        ValueError: a flag's value is impossible; the message says what would do.
    """
    agent = dataclasses.replace(preset.agent, replay=_replay(), **_hyperparameters())
    last_action_and_reward = FLAGS.last_action_and_reward
    if last_action_and_reward is None:
        last_action_and_reward = preset.last_action_and_reward
    environment_factory = EnvironmentFactory(
        FLAGS.env,
        last_action_and_reward=last_action_and_reward,
        vectorization=FLAGS.vectorization,
        atari=AtariOptions(
            sticky_actions=FLAGS.sticky_actions,
            full_action_space=FLAGS.full_action_space,
            action_repeat=agent.frames_per_step if FLAGS.env.startswith("atari:") else 4,
        ),
    )
    network = {name: getattr(FLAGS, name) for name in ("torso", "core", "hidden_sizes")}
    network = {name: value for name, value in network.items() if value is not None}
    if "hidden_sizes" in network:
        network["hidden_sizes"] = _parse_sizes(network["hidden_sizes"])
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return acme_impala.ExperimentConfig(
        environment_factory=environment_factory,
        network_factory=dataclasses.replace(preset.network, seed=FLAGS.seed, **network),
        workdir=FLAGS.workdir or f"runs/{FLAGS.env.replace(':', '-').replace('/', '-')}-{now}",
        num_frames=FLAGS.num_frames,
        agent=agent,
        seed=FLAGS.seed,
        evaluate_every=FLAGS.evaluate_every,
        evaluation_episodes=FLAGS.evaluation_episodes,
        greedy_evaluation=FLAGS.greedy_evaluation,
        target_return=FLAGS.target_return,
        checkpoint_seconds=FLAGS.checkpoint_seconds,
    )


def _hyperparameters() -> dict:
    names = (*_INTEGERS, *_NUMBERS, *_OPTIONAL_NUMBERS, *_SCHEDULES)
    names += ("reward_clipping", "optimizer", "actor_lag", "correction")
    given = {name: getattr(FLAGS, name) for name in names if getattr(FLAGS, name) is not None}
    for name in (*_OPTIONAL_NUMBERS, *_SCHEDULES):
        if name in given:
            given[name] = _parse(name, given[name])
    if "optimizer" in given:
        given["optimizer"] = {"rmsprop": RMSProp, "adam": Adam}[given["optimizer"]]()
    return given


def _replay() -> ReplayConfig:
    names = [field.name for field in dataclasses.fields(ReplayConfig)]
    given = {name: getattr(FLAGS, _REPLAY + name) for name in names}
    return ReplayConfig(**{name: value for name, value in given.items() if value is not None})


def _parse(name: str, text: str) -> float | LinearSchedule | None:
    if name in _OPTIONAL_NUMBERS and text.lower() == "none":
        return None
    try:
        numbers = [float(number) for number in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 2 and name in _SCHEDULES:
        return LinearSchedule(*numbers, FLAGS.num_frames)
    raise ValueError(f"--{name}={text} is not understood: {FLAGS[name].help}")


def _parse_sizes(texts: list[str]) -> tuple[int, ...]:
    try:
        return tuple(int(text) for text in texts)
    except ValueError:
        raise ValueError(
            f"--hidden_sizes={','.join(texts)} is not understood: whole numbers, as in 64,64."
        ) from None


def main(_):
    """Runs the experiment; exits with 1 and a message where something is wrong."""
    gc.freeze()  # Else Python takes a third of a second to walk through TensorFlow when it exits.
    try:
        preset = make_preset()
        config = make_config(preset)
        if FLAGS.launcher == "in_process":
            tf.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
            tf.config.threading.set_inter_op_parallelism_threads(1)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler)
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
            )
    except (ValueError, ImportError, experiments.NodeFailedError) as error:
        sys.exit(str(error))
    directory = run_directory.RunDirectory(config.workdir)
    evaluation = progress.tail_row(directory.logs / "evaluator.csv")
    mean = float(evaluation["episode_return"]) if evaluation else None
    if evaluation:
        print(
            f"The last evaluation, at {float(evaluation['frames']):.0f} environment frames: mean "
            f"return {mean:.2f} over {evaluation['episodes']} episodes."
        )
    print(f"Accounts:       {accounts.describe(directory)}")
    print(f"Learning curve: {directory.learning_curve}")
    print(f"Logs:           {directory.logs} (tensorboard --logdir {directory.tensorboard})")
    print(f"Checkpoints:    {directory.checkpoints}")
    print(f"Evaluate it:    python launch/evaluate.py --workdir={config.workdir}")
    learner = progress.tail_row(directory.logs / "learner.csv")
    finished = learner is not None and float(learner["frames"]) >= config.num_frames
    target = config.target_return
    if finished and target is not None and (mean is None or mean < target):
        sys.exit(f"The run has ended without reaching target_return={config.target_return}.")


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    app.run(main)
