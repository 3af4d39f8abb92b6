"""Checkpoints of learner, counts and replay table, of which a broken one is never loaded."""

import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import reverb
import tensorflow as tf
from absl import logging

from acme_impala import learning, networks
from acme_impala.experiments.run_directory import RunDirectory

_PREFIX = "checkpoint"
_COUNTS, _REPLAY = "counts", "replay"  # Names within a checkpoint.


class Found(NamedTuple):
    """A whole checkpoint."""

    path: str
    counts: dict[str, float]  # As Acme's counter has them: 'learner_frames', 'actor_steps', ...
    replay: str | None  # The replay table's, Reverb's own.


class Checkpointer:
    """Writes TensorFlow checkpoints: the learner's state and the counts that belong to it.

    With a replay table, Reverb writes it down first, and the TensorFlow checkpoint names what it
    wrote: so one that is whole is a whole set.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        learner: learning.IMPALALearner,
        max_to_keep: int,
        replay: reverb.Client | None = None,
    ):
        """Makes a checkpointer.

        Args:
            directory: of the checkpoints.
            learner: whose state is saved.
            max_to_keep: older checkpoints are deleted.
            replay: of the server whose replay table is saved too; None: without replay.
        """
        self._learner = learner
        self._directory = directory
        self._replay_client = replay
        self._saved_step = -1
        self._counts = tf.Variable("{}", trainable=False)
        self._replay = tf.Variable("", trainable=False)  # A path from `directory`.
        self._checkpoint = tf.train.Checkpoint(
            learner=dict(learner.state), counts=self._counts, replay=self._replay
        )
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
        if self._replay_client:
            self._replay.assign(os.path.relpath(self._save_replay(), self._directory))
        self._manager.save(checkpoint_number=self._learner.steps)
        self._saved_step = self._learner.steps
        if self._replay_client:
            self._delete_replays()

    def restore(self, path: str):
        """Loads a checkpoint into the learner, bit for bit."""
        self._checkpoint.restore(path).assert_existing_objects_matched()
        self._saved_step = self._learner.steps
        self._learner.publish_restored()

    def _save_replay(self) -> pathlib.Path:
        """Lets Reverb write its tables; returns where that is."""
        written = pathlib.Path(self._replay_client.checkpoint())
        # Out of Reverb's sight, which deletes what it wrote before: that is part of a whole set
        # until the next is whole.
        kept = written.parent.parent / f"{_PREFIX}-{self._learner.steps}"
        if kept.exists():  # Of a start that was killed before it could write the rest.
            shutil.rmtree(kept)
        return written.rename(kept)

    def _delete_replays(self):
        """Deletes what Reverb wrote for checkpoints that are not there any more."""
        kept = {pathlib.Path(path).name for path in self._manager.checkpoints}
        root = (self._directory / self._replay.numpy().decode()).resolve().parent
        for path in root.glob(f"{_PREFIX}-*"):
            if path.name not in kept:
                shutil.rmtree(path)


def make_replay_checkpointer(
    directory: RunDirectory, found: Found | None
) -> reverb.checkpointers.CheckpointerBase:
    """Makes what a Reverb server saves its tables with, and fills them from at first.

    Args:
        directory: the run's.
        found: the checkpoint that the run goes on from.
    """
    # Reverb loads the newest that it finds where it writes to, whatever it belongs to: so that is
    # emptied, and what the tables are filled from is named.
    working = directory.replay / "working"
    shutil.rmtree(working, ignore_errors=True)
    return reverb.checkpointers.DefaultCheckpointer(
        str(working), fallback_checkpoint_path=found.replay if found else None
    )


def newest_whole(directory: pathlib.Path) -> Found | None:
    """Finds the newest checkpoint of which every byte can be read; None where there is none yet.

    A process that is killed, or a disk that is full, can leave a checkpoint cut short. Such a one
    is passed over, with a warning, for the one before. Its replay table is part of it.

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
            replay = _read(reader, _REPLAY)
            if replay:
                replay = str((directory / replay).resolve())
                _check_replay(pathlib.Path(replay))
            return Found(path, json.loads(_read(reader, _COUNTS)), replay or None)
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


def _read(reader: Any, name: str) -> str:
    return reader.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE").decode()


def _check_replay(path: pathlib.Path):
    """Reads what Reverb wrote, of which every record has a checksum.

    Raises:
        Exception: something is missing or broken.
    """
    files = [str(path / name) for name in ("tables.tfrecord", "chunks.tfrecord")]
    if not (path / "DONE").exists():
        raise ValueError(f"{path} was not written to its end.")
    with tf.device("/CPU:0"):
        for _ in tf.data.TFRecordDataset(files):
            pass


def _number(index: pathlib.Path) -> int:
    return int(index.stem.rsplit("-", 1)[1])
