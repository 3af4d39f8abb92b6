"""Unrolls on disk: TFRecord files, and a page of JSON that says how to read them.

One record is a tf.train.Example of one unroll. Its features are the unroll's columns by their
paths ('observation', 'initial_state/0', ...), each the bytes of an array in C order, little-endian,
whose shape and dtype recording.json has. Rows are as in `types.Unroll`, without the dimension B;
stacked frames are stored frame by frame (`frames.py`).

Why TFRecord and not Reverb's own checkpoint: a recording can be read without Reverb and without
this package, is read as a stream, and so may be larger than memory; a checkpoint can only be read
by the Reverb that wrote it, whole, into tables with the same signature.
"""

import json
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tree
from acme import specs

from acme_impala import distributions, frames, types
from acme_impala.checks import require
from acme_impala.replay.batches import BatchMaker, batch_spec
from acme_impala.replay.dataset import count_steps, in_background
from acme_impala.replay.reader import untuned

FORMAT = 2
_DESCRIPTION = "recording.json"
_COMPRESSION = "GZIP"
_UNROLLS_PER_FILE = 1000
# What the next unroll is drawn from, at the most: unrolls, and bytes of them.
_SHUFFLED, _SHUFFLED_BYTES = 2000, 2**29


class RecordingWriter:
    """Writes a recording; use as a context manager.

    Nothing is half-written: a file has its name as soon as it is whole, and the description,
    without which nothing is a recording, comes last. An exception leaves none.
    """

    def __init__(
        self,
        directory: str,
        environment_spec: specs.EnvironmentSpec,
        signature: types.Unroll,
        frames_per_step: int,
        about: dict[str, Any],
    ):
        """Makes the directory.

        Args:
            directory: where the recording goes.
            environment_spec: of the environment that was acted in.
            signature: of the items that are written.
            frames_per_step: environment frames of an agent step.
            about: what else the description says; JSON.

        Raises:
            ValueError: there is something in the directory already, or it cannot be made.
        """
        self._directory = pathlib.Path(directory)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            is_empty = not any(self._directory.iterdir())
        except OSError as error:
            raise ValueError(
                f"The recording's directory {directory} cannot be made: {error}. Name another."
            ) from error
        if not is_empty:
            raise ValueError(f"The recording's directory {directory} is not empty. Name a new one.")
        self._signature = signature
        self._frames_per_step = frames_per_step
        self._files: list[dict[str, Any]] = []
        self._writer: tf.io.TFRecordWriter | None = None
        self._in_file = 0
        self.frames = 0  # Environment frames recorded.
        self._description = {
            "format": FORMAT,
            "frames_per_step": frames_per_step,
            "unroll_length": signature.reward.shape[0] - 1,
            "columns": {
                name: {"shape": shape, "dtype": dtype.name}
                for name, (shape, dtype) in _columns(signature).items()
            },
            "observation_spec": _nest_to_json(environment_spec.observations),
            "action_spec": _nest_to_json(environment_spec.actions),
            **about,
        }

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self._writer:
            self._end_file()
        if kind:
            return
        unrolls = sum(file["unrolls"] for file in self._files)
        description = {
            **self._description, "unrolls": unrolls, "frames": self.frames, "files": self._files
        }  # fmt: skip
        fresh = self._directory / "recording.new"
        fresh.write_text(json.dumps(description, indent=2, allow_nan=False) + "\n")
        fresh.rename(self._directory / _DESCRIPTION)

    def write(self, item: types.Unroll):
        """Writes an item's unrolls; of numpy arrays, [T+1, K, ...]."""
        for k in range(len(item.policy_version)):
            unroll = types.map_unroll(lambda x, k=k: x[:, k], lambda x, k=k: x[k], item)
            feature = {
                "/".join(map(str, path)): tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[np.ascontiguousarray(x).tobytes()])
                )
                for path, x in tree.flatten_with_path(unroll)
            }
            if not self._writer:
                self._writer = tf.io.TFRecordWriter(str(self._unfinished), _COMPRESSION)
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            self._writer.write(example.SerializeToString())
            self._in_file += 1
            if self._in_file == _UNROLLS_PER_FILE:
                self._end_file()
        self.frames += count_steps(item) * self._frames_per_step

    @property
    def _unfinished(self) -> pathlib.Path:
        return self._directory / "unfinished"

    def _end_file(self):
        self._writer.close()
        path = self._directory / f"unrolls-{len(self._files):05}.tfrecord.gz"
        self._unfinished.rename(path)
        size = path.stat().st_size
        self._files.append({"name": path.name, "unrolls": self._in_file, "bytes": size})
        self._writer, self._in_file = None, 0


class Recording:
    """A recording's description.

    Attributes:
        description: what recording.json holds.
        environment_spec: of the environment that was acted in, as far as networks need it.
        signature: of items of one unroll, [T+1, 1, ...].
    """

    def __init__(self, directory: str):
        """Reads the description, and looks whether the files are whole.

        Raises:
            ValueError: they are not, or this is no recording.
        """
        self.directory = pathlib.Path(directory)
        path = self.directory / _DESCRIPTION
        try:
            self.description = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise ValueError(
                f"{directory} holds no recording: there is no {_DESCRIPTION}, which comes last."
            ) from error
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {error}.") from error
        if self.description.get("format") != FORMAT:
            raise ValueError(
                f"{path} is of format {self.description.get('format')}; this reads {FORMAT}."
            )
        for file in self.description["files"]:
            shard = self.directory / file["name"]
            size = shard.stat().st_size if shard.exists() else None
            if size != file["bytes"]:
                raise ValueError(
                    f"{shard} is broken: it should have {file['bytes']} bytes and has {size}. "
                    "Copy it again, or record anew."
                )
        self.environment_spec = specs.EnvironmentSpec(
            observations=_nest_from_json(self.description["observation_spec"]),
            actions=_nest_from_json(self.description["action_spec"]),
            rewards=specs.Array((), np.float32),
            discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
        )

    @property
    def bytes_per_unroll(self) -> int:
        """Bytes of an unroll in memory."""
        return sum(
            math.prod(column["shape"]) * np.dtype(column["dtype"]).itemsize
            for column in self.description["columns"].values()
        )

    def check_batch_size(self, batch_size: int):
        """Raises a ValueError where there are fewer unrolls than a batch holds."""
        unrolls = self.description["unrolls"]
        require(
            unrolls >= batch_size,
            f"{self.directory} holds {unrolls} unrolls, less than batch_size={batch_size}.",
        )


class RecordedUnrolls(Iterator[types.Unroll]):
    """An endless iterator over batches of a recording, time-major: [T+1, B, ...].

    In random order, again and again. The next batch is read while one is learned from.

    Two columns mean nothing to another learner and are replaced. Recurrent states are of the
    network that acted: the learner's own begins every unroll in its initial state. Policy versions
    are steps of the learner that made it: here they are the steps at which this one learns.
    """

    def __init__(
        self,
        recording: Recording,
        batch_size: int,
        initial_state: types.Nest,
        *,
        seed: int = 0,
        learner_steps: int = 0,
    ):
        """Opens a recording.

        Args:
            recording: read before.
            batch_size: B.
            initial_state: the learner's network's, of B unrolls: [B, ...].
            seed: of the order.
            learner_steps: that were done before.

        Raises:
            ValueError: there are fewer than B unrolls.
        """
        recording.check_batch_size(batch_size)
        self._recording = recording
        self._columns = recording.description["columns"]
        # The structure of everything but the recurrent state, which stays as it is.
        self._signature = _signature(recording, batch_size)
        self._initial_state = initial_state
        self._learner_steps = learner_steps
        without_state = batch_spec(self._signature, batch_size)
        self._make_batch = BatchMaker(without_state)
        self.element_spec = without_state._replace(
            initial_state=tree.map_structure(
                lambda x: tf.TensorSpec(x.shape, x.dtype), initial_state
            )
        )
        fits = max(batch_size, _SHUFFLED_BYTES // recording.bytes_per_unroll)
        files = [str(recording.directory / file["name"]) for file in recording.description["files"]]
        with tf.device("/CPU:0"):
            self._examples = iter(
                tf.data.TFRecordDataset(files, _COMPRESSION)
                .shuffle(min(recording.description["unrolls"], _SHUFFLED, fits), seed)
                .repeat()
                .batch(batch_size, drop_remainder=True)
                .with_options(untuned())
            )
        self._next_batch = in_background(self._gather)

    def __next__(self) -> types.Unroll:
        """Waits for a batch.

        Raises:
            ValueError: a file is broken.
        """
        batch = self._next_batch.result()
        self._next_batch = in_background(self._gather)
        return batch

    def _gather(self) -> types.Unroll:
        try:
            examples = next(self._examples)
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(f"A file in {self._recording.directory} is broken: {error}") from error
        features = {name: tf.io.FixedLenFeature((), tf.string) for name in self._columns}
        with tf.device("/CPU:0"):
            columns = tf.io.parse_example(examples, features)

        def read(path, spec):
            column = self._columns[name := "/".join(map(str, path))]
            values = b"".join(columns[name].numpy())
            values = np.frombuffer(values, column["dtype"]).reshape(-1, *column["shape"])
            return values if path[0] == "policy_version" else np.moveaxis(values, 0, 1)

        item = tree.map_structure_with_path(read, self._signature)
        batch = self._make_batch([item])
        versions = tf.fill([len(item.policy_version)], tf.constant(self._learner_steps, tf.int64))
        self._learner_steps += 1
        return batch._replace(initial_state=self._initial_state, policy_version=versions)


def _columns(signature: types.Unroll) -> dict[str, tuple[list[int], tf.DType]]:
    """Shapes and dtypes of one unroll's columns, by their paths."""
    columns = {}
    for path, spec in tree.flatten_with_path(signature):
        shape = spec.shape.as_list()
        del shape[0 if path[0] in ("initial_state", "policy_version") else 1]
        columns["/".join(map(str, path))] = shape, spec.dtype
    return columns


def _signature(recording: Recording, batch_size: int) -> types.Unroll:
    """Of one item that is a batch, without recurrent state."""
    columns = recording.description["columns"]
    distribution = distributions.for_actions(recording.environment_spec.actions)

    def spec(name: str, rows: bool = True) -> tf.TensorSpec:
        shape = list(columns[name]["shape"])
        shape.insert(1 if rows else 0, batch_size)
        return tf.TensorSpec(shape, columns[name]["dtype"])

    def nest(name: str, structure: types.Nest) -> types.Nest:
        return tree.map_structure_with_path(
            lambda path, _: spec("/".join(map(str, (name, *path)))), structure
        )

    return types.Unroll(
        observation=nest("observation", recording.environment_spec.observations),
        behaviour_logits=nest("behaviour_logits", distribution.parameters_spec),
        initial_state=(),
        policy_version=spec("policy_version", rows=False),
        **{name: spec(name) for name in ("action", "reward", "discount", "start_of_episode")},
    )


def _nest_to_json(nest: types.Nest) -> dict[str, Any]:
    if isinstance(nest, specs.Array):
        return {
            "kind": "stacked_frames" if isinstance(nest, frames.StackedFrames) else "array",
            "shape": list(nest.shape),
            "dtype": nest.dtype.name,
            **{
                name: _bound_to_json(getattr(nest, name))
                for name in ("minimum", "maximum")
                if hasattr(nest, name)
            },
            **({"num_values": int(nest.num_values)} if hasattr(nest, "num_values") else {}),
        }
    if isinstance(nest, dict):
        return {"kind": "dict", "parts": {name: _nest_to_json(part) for name, part in nest.items()}}
    kind = "observation_action_reward" if types.is_oar(nest) else "tuple"
    return {"kind": kind, "parts": [_nest_to_json(part) for part in nest]}


def _bound_to_json(bound: np.ndarray) -> Any:
    """JSON has no infinity: it becomes a string, of which numpy makes it again."""
    numbers = np.asarray(bound).tolist()
    return tree.map_structure(lambda x: x if math.isfinite(x) else str(x), numbers)


def _nest_from_json(fields: dict[str, Any]) -> types.Nest:
    kind = fields["kind"]
    if kind == "dict":
        return {name: _nest_from_json(part) for name, part in fields["parts"].items()}
    if kind in ("tuple", "observation_action_reward"):
        parts = [_nest_from_json(part) for part in fields["parts"]]
        return tuple(parts) if kind == "tuple" else types.OAR(*parts)
    dtype = np.dtype(fields["dtype"])
    if "num_values" in fields:
        return specs.DiscreteArray(fields["num_values"], dtype)
    if "minimum" not in fields:
        return specs.Array(fields["shape"], dtype)
    make = frames.StackedFrames if kind == "stacked_frames" else specs.BoundedArray
    return make(fields["shape"], dtype, fields["minimum"], fields["maximum"])
