"""Checkpoints of learner, counts and replay table, of which a broken one is never loaded."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import reverb
import tensorflow as tf
from absl import logging

from acme_impala import networks, replay
from acme_impala.experiments import membership
from acme_impala.experiments.run_directory import RunDirectory

if TYPE_CHECKING:
    from acme_impala import learning

_PREFIX = "checkpoint"
_COUNTS, _REPLAY = "counts", "replay"  # Names within a checkpoint.
# What TensorFlow adds to variables' names, and to what a checkpoint holds.
_VALUE, _GRAPH = "/.ATTRIBUTES/VARIABLE_VALUE", "_CHECKPOINTABLE_OBJECT_GRAPH"


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
        replay_client: reverb.Client | None = None,
    ):
        """Makes a checkpointer.

        Args:
            directory: of the checkpoints, in a run directory.
            learner: whose state is saved.
            max_to_keep: older checkpoints are deleted.
            replay_client: of the server whose replay table is saved too; None: without replay.
        """
        self._learner = learner
        self._directory = directory
        self._replay_client = replay_client
        self._replay_directory = RunDirectory(str(directory.parent)).replay
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
            path = self._replay_directory / f"{_PREFIX}-{self._learner.steps}"
            replay.save_tables(self._replay_client, path)
            self._replay.assign(os.path.relpath(path, self._directory))
        self._manager.save(checkpoint_number=self._learner.steps)
        self._saved_step = self._learner.steps
        if self._replay_client:
            self._delete_replays()

    def restore(self, path: str):
        """Loads a checkpoint into the learner, bit for bit."""
        self._checkpoint.restore(path).assert_existing_objects_matched()
        self._saved_step = self._learner.steps
        self._learner.publish_restored()

    def _delete_replays(self):
        """Deletes what Reverb wrote for checkpoints that are not there any more."""
        kept = {pathlib.Path(path).name for path in self._manager.checkpoints}
        for path in self._replay_directory.glob(f"{_PREFIX}-*"):
            if path.name not in kept:
                shutil.rmtree(path)


def newest_whole(directory: pathlib.Path) -> Found | None:
    """Finds the newest checkpoint of which every byte can be read; None where there is none yet.

    A process that is killed, or a disk that is full, can leave a checkpoint cut short. Such a one
    is passed over, with a warning, for the one before. Its replay table is part of it. A run that
    goes on meanwhile may delete what is being read: then it has made newer ones.

    Raises:
        ValueError: there are checkpoints, and all are broken.
    """
    paths = sorted(directory.glob(f"{_PREFIX}-*.index"), key=_number, reverse=True)
    for index in paths:
        path = str(index.with_suffix(""))
        try:
            return _read_whole(directory, path)
        except Exception as error:  # TensorFlow raises many kinds, IndexError for a short file.
            if not index.exists():  # Of a checkpoint's files it is the first to be deleted.
                return newest_whole(directory)
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


def check_fits(path: str, learner: learning.IMPALALearner):
    """Looks whether a learner can be restored from a checkpoint.

    Raises:
        ValueError: its network, optimizer or tasks are others than those of the checkpoint.
    """
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = tf.train.Checkpoint(learner=dict(learner.state))
        wanted = _shapes(checkpoint.write(f"{directory}/{_PREFIX}"))
    found = _shapes(path)
    different = [name for name in wanted if name != _GRAPH and found.get(name) != wanted[name]]
    if different:
        name = min(different)
        there = f"is of shape {found[name]} there" if name in found else "is not there"
        raise ValueError(
            f"The checkpoint {path} is of another network or optimizer, or of other tasks, than "
            f"this config's: {name.removesuffix(_VALUE)} {there}, and of shape {wanted[name]} here."
            " Give those it was made with, or name another workdir."
        )


class Continuation:
    """What a life of the learner's process goes on from, found once for all nodes in it.

    The first life goes on from what was there when the program started; later ones from the newest
    checkpoint that those before have left. Nodes are pickled on their way to their process.
    """

    def __init__(self, directory: pathlib.Path, at_start: Found | None):
        self._directory = directory
        self._at_start = at_start
        self._lock = threading.Lock()
        self._found: tuple[Found | None] | None = None

    def __reduce__(self):
        return Continuation, (self._directory, self._at_start)

    def find(self) -> Found | None:
        """Finds it; None: there is nothing yet.

        Raises:
            ValueError: all checkpoints are broken.
        """
        with self._lock:
            if self._found is None:
                is_first = membership.own_life() == 0
                self._found = (self._at_start if is_first else newest_whole(self._directory),)
            return self._found[0]

    @property
    def counts(self) -> dict[str, float]:
        """Its counts."""
        found = self.find()
        return found.counts if found else {}


def restore_network(path: str, network: networks.Network):
    """Loads a checkpoint's weights alone, for evaluation."""
    restored = tf.train.Checkpoint(learner={"network": network}).restore(path)
    restored.expect_partial()  # The optimizer's variables are left out.
    restored.assert_existing_objects_matched()


def _shapes(path: str) -> dict[str, list[int]]:
    return tf.train.load_checkpoint(path).get_variable_to_shape_map()


def _read_whole(directory: pathlib.Path, path: str) -> Found:
    reader = tf.train.load_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)  # Every tensor has a checksum, which reading checks.
    tables = _read(reader, _REPLAY) or None
    if tables:
        tables = str((directory / tables).resolve())
        replay.check_saved(pathlib.Path(tables))
    return Found(path, json.loads(_read(reader, _COUNTS)), tables)


def _read(reader: Any, name: str) -> str:
    return reader.get_tensor(f"{name}{_VALUE}").decode()


def _number(index: pathlib.Path) -> int:
    return int(index.stem.rsplit("-", 1)[1])
