"""The run on CartPole that is killed and stopped, and what is asked of what it leaves."""

import acme
from acme.utils import loggers

from acme_impala import IMPALALearner, experiments, networks
from acme_impala.environments import EnvironmentFactory
from acme_impala.experiments import checkpointing
from tests.experiments import runs

NUM_FRAMES = 1_000_000_000  # More than any run comes to.
SOLVED = 475.0


def train(path, directory, *flags):
    """Starts it; what the command itself needs lies in `path`."""
    return runs.Command(
        path,
        "launch/train.py",
        "--env=gym:CartPole-v1",
        f"--num_frames={NUM_FRAMES}",
        "--checkpoint_seconds=2",
        "--evaluate_every=200000",
        f"--workdir={directory.root}",
        *flags,
    )


def load_checkpoints(directory):
    """Loads every checkpoint into a learner; returns the frames learned of the newest, or 0.

    Raises:
        Exception: of TensorFlow, or an AssertionError: one cannot be loaded, or is another.
    """
    steps = sorted(int(path.stem.split("-")[1]) for path in directory.checkpoints.glob("*.index"))
    if not steps:
        return 0
    preset = experiments.PRESETS["classic_control"](NUM_FRAMES)
    spec = acme.make_environment_spec(EnvironmentFactory("gym:CartPole-v1")(seed=0))
    network = networks.make_network(spec, preset.network)
    learner = IMPALALearner(network, iter(()), preset.agent, logger=loggers.NoOpLogger())
    checkpointer = checkpointing.Checkpointer(directory.checkpoints, learner, max_to_keep=100)
    for step in steps:
        checkpointer.restore(str(directory.checkpoints / f"checkpoint-{step}"))
        assert learner.steps == step
    newest = checkpointing.newest_whole(directory.checkpoints)
    assert newest.path.endswith(f"-{steps[-1]}"), "The newest checkpoint is broken."
    assert newest.counts["learner_frames"] == learner.frames
    return learner.frames
