"""What launch/train.py left in a run directory, for other commands to go on with."""

from typing import Any, NamedTuple

from acme_impala.environments import AtariOptions, EnvironmentFactory, LabOptions, TaskSuite
from acme_impala.experiments import checkpointing, run_directory
from acme_impala.networks import NetworkConfig


class StoredRun(NamedTuple):
    """A run's newest whole checkpoint and what it takes to act by it."""

    environment_factory: EnvironmentFactory | TaskSuite
    network_factory: NetworkConfig
    checkpoint: checkpointing.Found
    environment: dict[str, Any]  # The stored fields of its EnvironmentFactory,
    agent: dict[str, Any]  # and of its IMPALAConfig.


def read(workdir: str) -> StoredRun:
    """Reads a run directory.

    Raises:
        ValueError: there is no run, no checkpoint, or the run is not one of this version's
            launch/train.py's.
    """
    directory = run_directory.RunDirectory(workdir)
    stored = run_directory.read_config(directory)
    try:
        environment_factory = _restore_factory(stored["environment_factory"], workdir)
        network_factory = restore(stored["network_factory"], NetworkConfig, workdir)
        agent = stored["agent"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{directory.config} has not the fields of this version's runs: {error}. Go on with "
            "the version that wrote it, if it is a run's."
        ) from error
    found = checkpointing.newest_whole(directory.checkpoints)
    if not found:
        raise ValueError(f"{directory.checkpoints} holds no checkpoint yet.")
    return StoredRun(
        environment_factory,
        network_factory,
        found,
        stored["environment_factory"],
        agent,
    )


def _restore_factory(fields: object, workdir: str) -> EnvironmentFactory | TaskSuite:
    if isinstance(fields, dict) and fields.get("type") == TaskSuite.__name__:
        tasks = tuple(restore(task, EnvironmentFactory, workdir) for task in fields["tasks"])
        return TaskSuite(fields["name"], tasks)
    return restore(fields, EnvironmentFactory, workdir)


def restore(fields: object, kind: type, where: str) -> Any:
    """Makes a config object again from its stored fields.

    Args:
        fields: as `ExperimentConfig.to_json` has them.
        kind: of the object.
        where: they were stored, for errors.

    Raises:
        ValueError: they are of something else.
    """
    if not isinstance(fields, dict) or fields.get("type") != kind.__name__:
        raise ValueError(
            f"The run in {where} was made by code, with {fields} in place of {kind.__name__}; "
            "go on with it by code too, with checkpointing.restore_network and IMPALAActor."
        )
    fields = {name: value for name, value in fields.items() if name != "type"}
    for name, options in (("atari", AtariOptions), ("lab", LabOptions)):
        if name in fields:
            fields[name] = restore(fields[name], options, where)
    return kind(**fields)
