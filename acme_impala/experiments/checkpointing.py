"""Checkpoints of learner and counts, of which a broken one is never loaded."""

import json
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from acme_impala import learning, networks

_PREFIX = "checkpoint"


class Found(NamedTuple):
    """A whole checkpoint."""

    path: str
    counts: dict[str, float]  # As Acme's counter has them: 'learner_frames', 'actor_steps', ...


class Checkpointer:
    """Writes TensorFlow checkpoints: the learner's state and the counts that belong to it."""

    def __init__(self, directory: pathlib.Path, learner: learning.IMPALALearner, max_to_keep: int):
        self._learner = learner
        self._saved_step = -1
        self._counts = tf.Variable("{}", trainable=False)
        self._checkpoint = tf.train.Checkpoint(learner=dict(learner.state), counts=self._counts)
        try:
            tf.train.get_checkpoint_state(str(directory))
        except ValueError:  # TensorFlow's list of checkpoints is cut short; it makes another.
            (directory / "checkpoint").unlink()
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(directory), max_to_keep, checkpoint_name=_PREFIX
        )

    def save(self, counts: Mapping[str, float]):
        """Writes a checkpoint, named after the learner step; deletes the ones too many.

        Args:
            counts: as Acme's counter has them; those of the learner are taken from the learner.
        """
        if self._learner.steps == self._saved_step:
            return  # Nothing has changed; and the one that is there is not touched.
        learner = {"learner_steps": self._learner.steps, "learner_frames": self._learner.frames}
        self._counts.assign(json.dumps({**counts, **learner}))
        self._manager.save(checkpoint_number=self._learner.steps)
        self._saved_step = self._learner.steps

    def restore(self, path: str):
        """Loads a checkpoint into the learner, bit for bit."""
        self._checkpoint.restore(path).assert_existing_objects_matched()
        self._saved_step = self._learner.steps
        self._learner.publish_restored()


def newest_whole(directory: pathlib.Path) -> Found | None:
    """Finds the newest checkpoint of which every byte can be read; None where there is none yet.

    A process that is killed, or a disk that is full, can leave a checkpoint cut short. Such a one
    is passed over, with a warning, for the one before.

    Raises:
        ValueError: there are checkpoints, and all are broken.
    """
    paths = sorted(directory.glob(f"{_PREFIX}-*.index"), key=_number, reverse=True)
    for index in paths:
        path = str(index.with_suffix(""))
        try:
            reader = tf.train.load_checkpoint(path)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)  # Every tensor has a checksum, which reading checks.
            counts = json.loads(reader.get_tensor("counts/.ATTRIBUTES/VARIABLE_VALUE"))
            return Found(path, counts)
        except Exception as error:  # TensorFlow raises many kinds, IndexError for a short file.
            logging.warning(
                "The checkpoint %s is broken and passed over for the one before it (%s).",
                path,
                str(error).partition("\n")[0],
            )
    if paths:
        raise ValueError(
            f"All {len(paths)} checkpoints in {directory} are broken. Restore one of them from a "
            "copy, or start anew in another workdir."
        )
    return None


def restore_network(path: str, network: networks.Network):
    """Loads a checkpoint's weights alone, for evaluation."""
    restored = tf.train.Checkpoint(learner={"network": network}).restore(path)
    restored.expect_partial()  # The optimizer's variables are left out.
    restored.assert_existing_objects_matched()


def _number(index: pathlib.Path) -> int:
    return int(index.stem.rsplit("-", 1)[1])
