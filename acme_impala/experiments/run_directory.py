"""The directory of a run: what lies where, and whose it is."""

import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, TextIO

from acme_impala.experiments.config import ExperimentConfig


class RunDirectory:
    """Paths inside a workdir.

    config.json          the ExperimentConfig, fields and values
    checkpoints/         learner, optimizer and counts, the newest few
    logs/<node>.csv      what each node measured
    tensorboard/<node>/  the same for TensorBoard
    learning_curve.png   returns over environment frames
    failures/            tracebacks of the last start, if it failed
    status/<node>.json   heartbeats of the last start
    accounts/            where every frame acted since the last start went
    replay/              the replay table, as checkpoints hold it
    scores-<frames>.csv  what launch/evaluate.py found
    """

    def __init__(self, workdir: str):
        self.root = pathlib.Path(workdir).expanduser().absolute()
        self.config = self.root / "config.json"
        self.checkpoints = self.root / "checkpoints"
        self.logs = self.root / "logs"
        self.tensorboard = self.root / "tensorboard"
        self.learning_curve = self.root / "learning_curve.png"
        self.failures = self.root / "failures"
        self.status = self.root / "status"
        self.accounts = self.root / "accounts"
        self.replay = self.root / "replay"

    def scores(self, frames: int) -> pathlib.Path:
        """Where the scores of a checkpoint go, `frames` environment frames learned from."""
        return self.root / f"scores-{frames:.0f}.csv"

    def make_replay_directory(self) -> str:
        """Empties the place where a Reverb server writes its tables; returns its path."""
        working = self.replay / "working"
        shutil.rmtree(working, ignore_errors=True)
        return str(working)


_LOCK = ".lock"
# Open files whose locks this process holds, by run directory.
_locks: dict[pathlib.Path, TextIO] = {}


def claim(
    config: ExperimentConfig,
    *,
    accept_new_config: bool = False,
    check: Callable[[RunDirectory], None] = lambda directory: None,
) -> RunDirectory:
    """Makes or takes up the run directory of an experiment, for this process alone.

    It is this process's until `release`, or until the process ends, in whatever way.

    Args:
        config: the experiment; stored, or held against what is stored.
        accept_new_config: continue a run whose config differs, and store the new one.
        check: called with the directory when it is this process's and as it was found; what it
            raises leaves it so.

    Raises:
        ValueError: the workdir is a file, cannot be written, is in use by another process, is no
            run's and holds what a run would clear, or holds a run with another config (the
            message names the fields that differ).
    """
    directory = RunDirectory(config.workdir)
    try:
        _lock(directory, config.workdir)
        try:
            if not directory.config.exists():
                _check_free(directory, config.workdir)
            elif not accept_new_config:
                _check_same(read_config(directory), config.to_json(), config.workdir)
            check(directory)
            _take_up(directory, config)
        except BaseException:
            if not directory.config.exists():  # It is no run's, and has no use for a lock.
                (directory.root / _LOCK).unlink()
            release(directory)
            raise
    except OSError as error:
        raise ValueError(
            f"workdir={config.workdir} cannot be written: {error}. Name a directory that can."
        ) from error
    return directory


def release(directory: RunDirectory):
    """Lets go of a run directory that this process had claimed."""
    lock = _locks.pop(directory.root, None)
    if lock:
        lock.close()


def read_config(directory: RunDirectory) -> dict[str, Any]:
    """Reads the stored fields of a run.

    Raises:
        ValueError: there is no run, or its config cannot be read.
    """
    try:
        fields = json.loads(directory.config.read_text())
        if not isinstance(fields, dict):
            raise ValueError(f"it holds {fields!r} instead of fields")
    except FileNotFoundError as error:
        raise ValueError(
            f"{directory.root} holds no run: there is no {directory.config.name}."
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory.config} cannot be read: {error}.") from error
    return fields


def _lock(directory: RunDirectory, workdir: str):
    if directory.root in _locks:
        raise ValueError(
            f"workdir={workdir} is in use by this process already. End that run, or name another "
            "workdir; after a make_program that was not launched, "
            "experiments.run_directory.release(RunDirectory(workdir)) lets it go."
        )
    if directory.root.exists() and not directory.root.is_dir():
        raise ValueError(f"workdir={workdir} is a file; it must be a directory.")
    directory.root.mkdir(parents=True, exist_ok=True)
    lock = open(directory.root / _LOCK, "a")  # noqa: SIM115 (held until `release`)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise ValueError(
            f"workdir={workdir} is in use by another run. Wait for it, or name another."
        ) from error
    _locks[directory.root] = lock


def _take_up(directory: RunDirectory, config: ExperimentConfig):
    # Written aside and moved, so that a crash leaves the old one whole.
    fresh = directory.config.with_suffix(".new")
    fresh.write_text(json.dumps(config.to_json(), indent=2) + "\n")
    os.replace(fresh, directory.config)
    for path in (
        directory.checkpoints,
        directory.logs,
        directory.tensorboard,
        directory.failures,
        directory.status,
        directory.accounts,
        directory.replay,
    ):
        path.mkdir(exist_ok=True)
    for folder in (directory.failures, directory.status, directory.accounts):
        for report in folder.iterdir():
            report.unlink()


def _check_free(directory: RunDirectory, workdir: str):
    cleared = (
        directory.logs,
        directory.failures,
        directory.status,
        directory.accounts,
        directory.replay,
    )
    foreign = [path.name for path in cleared if path.is_dir()]
    if foreign:
        raise ValueError(
            f"workdir={workdir} is no run's, for it has no {directory.config.name}, and holds "
            f"{', '.join(foreign)}, which a run would clear. Name another workdir."
        )


def _check_same(stored: dict[str, Any], fields: dict[str, Any], workdir: str):
    stored, fields = _flatten(stored), _flatten(fields)
    different = [
        f"  {name}: stored {stored.get(name, 'nothing')}, now {fields.get(name, 'nothing')}"
        for name in sorted({*stored, *fields})
        if stored.get(name) != fields.get(name) or (name in stored) != (name in fields)
    ]
    if different:
        raise ValueError(
            f"workdir={workdir} holds a run with another config:\n"
            + "\n".join(different)
            + "\nName another workdir, or continue it with the new config on purpose "
            "(--accept_new_config, accept_new_config=True)."
        )


def _flatten(fields: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(fields, dict):
        return {prefix: fields}
    flat = {}
    for name, value in fields.items():
        flat.update(_flatten(value, f"{prefix}.{name}" if prefix else name))
    return flat
