"""What an experiment is: environment, network, agent and how long."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import dm_env
from acme import specs

from acme_impala import networks
from acme_impala.checks import is_int, is_number, require, require_positive_int, require_seed
from acme_impala.config import IMPALAConfig

# Environment frames; of shorter runs most of the time would go into evaluations.
MIN_EVALUATION_PERIOD = 1000


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """An experiment, whichever way it is run.

    Attributes:
        environment_factory: called with (seed, evaluation) in every process that needs an
            environment: `environments.EnvironmentFactory`, or any function that can be pickled.
        network_factory: called with the environment's spec: `networks.NetworkConfig`, or any
            function that can be pickled.
        workdir: the run directory. It is made if it is not there; where it holds a run with the
            same config, that run is continued.
        num_frames: environment frames to learn from before the run ends.
        agent: the hyperparameters.
        seed: of environments and action sampling. Initial weights are the network factory's
            (`NetworkConfig.seed`).
        evaluate_every: environment frames (learned from) between evaluations; None: a twentieth of
            `num_frames`, at least MIN_EVALUATION_PERIOD.
        evaluation_episodes: whole games of each task in an evaluation.
        greedy_evaluation: evaluate the likeliest actions instead of sampling.
        target_return: the run ends as soon as an evaluation's mean return reaches this.
        weights_max_age: seconds for which the actors of a host act by what were the newest weights
            without asking the learner again (docs/scale.md).
        checkpoint_seconds: between checkpoints. One more is written at the end.
        checkpoints_to_keep: older ones are deleted.

    Raises:
        ValueError: a value is impossible; the message names it and says what would do.
    """

    environment_factory: Callable[[int, bool], dm_env.Environment]
    network_factory: Callable[[specs.EnvironmentSpec], networks.Network]
    workdir: str
    num_frames: int
    agent: IMPALAConfig = IMPALAConfig()
    seed: int = 0
    evaluate_every: int | None = None
    evaluation_episodes: int = 20
    greedy_evaluation: bool = False
    target_return: float | None = None
    weights_max_age: float = 0.0
    checkpoint_seconds: float = 60.0
    checkpoints_to_keep: int = 3

    def __post_init__(self):
        require(
            isinstance(self.agent, IMPALAConfig),
            f"agent must be an IMPALAConfig, got {self.agent!r}.",
        )
        for name in ("environment_factory", "network_factory"):
            require(
                callable(getattr(self, name)),
                f"{name} must be a function, such as an EnvironmentFactory or a NetworkConfig, "
                f"got {getattr(self, name)!r}.",
            )
        for name in ("num_frames", "evaluation_episodes", "checkpoints_to_keep"):
            require_positive_int(name, getattr(self, name))
        if self.evaluate_every is not None:
            require_positive_int("evaluate_every", self.evaluate_every)
        require(
            is_number(self.weights_max_age) and 0 <= self.weights_max_age < math.inf,
            f"weights_max_age must be a number of seconds, got {self.weights_max_age!r}. "
            "0 asks for the newest weights whenever an unroll begins.",
        )
        require(
            is_number(self.checkpoint_seconds) and self.checkpoint_seconds > 0,
            f"checkpoint_seconds must be a number above 0, got {self.checkpoint_seconds!r}.",
        )
        require(
            self.target_return is None
            or (is_number(self.target_return) and not math.isnan(self.target_return)),
            f"target_return must be a number, got {self.target_return!r}. None sets no target.",
        )
        require_seed(self.seed)
        require(bool(self.workdir), "workdir must name a directory for checkpoints and logs.")

    @property
    def evaluation_period(self) -> int:
        """Environment frames between evaluations."""
        return self.evaluate_every or max(MIN_EVALUATION_PERIOD, self.num_frames // 20)

    def to_json(self) -> dict[str, Any]:
        """What is stored of a run, and held against a later start with the same workdir.

        Everything but the workdir itself, which may be moved.
        """
        fields = _to_json(self)
        del fields["workdir"]
        return fields


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_number(value):  # One of numpy's.
        return int(value) if is_int(value) else float(value)
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, functools.partial):
        return {
            "type": "partial",
            "function": _to_json(value.func),
            "arguments": _to_json([value.args, value.keywords]),
        }
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{getattr(value, '__module__', '')}.{name}"
