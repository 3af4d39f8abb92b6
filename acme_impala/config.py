"""Every hyperparameter of the agent, checked on construction."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, get_args

from acme_impala.checks import is_int, is_number, require, require_positive_int
from acme_impala.replay_config import ReplayConfig

RewardClipping = Literal["abs_one", "soft_asymmetric", "none"]
REWARD_CLIPPINGS = get_args(RewardClipping)
Correction = Literal["vtrace", "one_step", "epsilon", "none", "vtrace_next_value"]
CORRECTIONS = get_args(Correction)


@dataclasses.dataclass(frozen=True)
class LinearSchedule:
    """A number annealed linearly over environment frames, constant afterwards.

    Attributes:
        initial: the value at frame 0.
        final: the value from frame `frames` on.
        frames: how many environment frames (learned from) the way takes.
    """

    initial: float
    final: float
    frames: int

    def __post_init__(self):
        require(
            is_number(self.frames) and self.frames > 0,
            f"A schedule's frames must be a number above 0, got {self.frames!r}. It is the number "
            "of environment frames over which the value is annealed.",
        )


Scheduled = float | LinearSchedule


def _check_optimizer(optimizer: "RMSProp | Adam", below_one: Sequence[str]):
    optimizer_name = type(optimizer).__name__
    for name in below_one:
        value = getattr(optimizer, name)
        require(
            is_number(value) and 0 <= value < 1,
            f"{optimizer_name}'s {name} must be a number in [0, 1), got {value!r}.",
        )
    require(
        is_number(optimizer.epsilon) and optimizer.epsilon > 0,
        f"{optimizer_name}'s epsilon must be a number above 0, got {optimizer.epsilon!r}.",
    )


@dataclasses.dataclass(frozen=True)
class RMSProp:
    """TensorFlow 1's RMSProp, as in the paper: epsilon inside the root, mean square from one."""

    decay: float = 0.99
    epsilon: float = 0.01
    momentum: float = 0.0

    def __post_init__(self):
        _check_optimizer(self, below_one=("decay", "momentum"))


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015), epsilon outside the root."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self):
        _check_optimizer(self, below_one=("beta1", "beta2"))


@dataclasses.dataclass(frozen=True)
class IMPALAConfig:
    """The hyperparameters of IMPALA. The defaults are the paper's for Atari (table G.1).

    Attributes:
        unroll_length: T, agent steps that an unroll is learned from (it holds T+1 rows).
        batch_size: B, unrolls in a batch.
        queue_size: unrolls that the queue holds before actors wait; None: as few as will do, which
            is a batch where one process acts and learns in turn, and else one item.
        max_policy_lag: unrolls acted more than this many learner steps ago are dropped and
            counted; None: none is dropped. It concerns fresh unrolls; replayed ones are old.
        actor_lag: learner steps that the actors' weights are held behind the newest, on top of the
            lag that there is anyway: to study what lag does (figure E.1).
        replay: what of a batch comes from a replay table, and how.
        correction: how the loss corrects for the behaviour policy (section 5.2.2): 'vtrace';
            'one_step' importance sampling of the policy gradient alone; 'epsilon', no correction
            but 1e-6 added to probabilities before their logarithm is taken; 'none'; and
            'vtrace_next_value', V-trace whose policy gradient bootstraps from V(x_{s+1}) instead of
            v_{s+1} (appendix E.3).
        discount: gamma.
        lambda_: V-trace's lambda, which shortens the trace (remark 2).
        clip_rho_threshold: rho_bar of the value targets; None: no clip.
        clip_pg_rho_threshold: the clip of the policy gradient's own rho; None: no clip.
        clip_c_threshold: c_bar of the trace; None: no clip. rho_bar >= c_bar (section 4.1).
        baseline_cost: weight of the baseline loss 0.5 (v - V)^2.
        entropy_cost: weight of the entropy bonus, constant or annealed.
        reward_scale: rewards are multiplied by it, before they are clipped. Values of hundreds take
            a small network long to reach, and until then every action looks better than expected.
        reward_clipping: 'abs_one' clips to [-1, 1]; 'soft_asymmetric' is the optimistic asymmetric
            clipping of DMLab-30 (figure D.1), 5 tanh(r / 5), times 0.3 where negative; 'none'.
        popart_step_size: of the statistics of each task's value (PopArt, Hessel et al. 2018, where
            it is 3e-4), which is then learned on a scale of its own; None: without PopArt.
        optimizer: RMSProp(...) or Adam(...).
        learning_rate: constant or annealed.
        max_gradient_norm: gradients are scaled down to this global norm; None: never.
        max_nonfinite_batches: a batch with a loss or gradient that is not finite is left out; this
            many in a row end the run.
        frames_per_step: environment frames that one agent step takes (the action repeat): Atari
            and DeepMind Lab 4. Schedules and run lengths count environment frames.

    Raises:
        ValueError: a value is impossible; the message names it and says what would do.
    """

    unroll_length: int = 20
    batch_size: int = 32
    queue_size: int | None = None
    max_policy_lag: int | None = None
    actor_lag: int = 0
    replay: ReplayConfig = dataclasses.field(default_factory=ReplayConfig)
    correction: Correction = "vtrace"
    discount: float = 0.99
    lambda_: float = 1.0
    clip_rho_threshold: float | None = 1.0
    clip_pg_rho_threshold: float | None = 1.0
    clip_c_threshold: float | None = 1.0
    baseline_cost: float = 0.5
    entropy_cost: Scheduled = 0.01
    reward_scale: float = 1.0
    reward_clipping: RewardClipping = "abs_one"
    popart_step_size: float | None = None
    optimizer: RMSProp | Adam = RMSProp()
    learning_rate: Scheduled = 6e-4
    max_gradient_norm: float | None = 40.0
    max_nonfinite_batches: int = 5
    frames_per_step: int = 1

    def __post_init__(self):
        for name in ("unroll_length", "batch_size", "max_nonfinite_batches", "frames_per_step"):
            require_positive_int(name, getattr(self, name))
        if self.queue_size is not None:
            require_positive_int("queue_size", self.queue_size)
            require(
                self.queue_size >= self.batch_size,
                f"queue_size={self.queue_size} is smaller than batch_size={self.batch_size}: one "
                "process that acts and learns would wait for ever for a batch that the queue "
                "cannot hold. Make queue_size at least batch_size, or None for as few as will do.",
            )
        if self.max_policy_lag is not None:
            require(
                is_int(self.max_policy_lag) and self.max_policy_lag >= 0,
                f"max_policy_lag must be a whole number and not negative, got "
                f"{self.max_policy_lag!r}. None takes every unroll.",
            )
        require(
            is_int(self.actor_lag) and self.actor_lag >= 0,
            f"actor_lag must be a whole number and not negative, got {self.actor_lag!r}. "
            "0 gives the actors the newest weights.",
        )
        if self.max_policy_lag is not None:
            require(
                self.max_policy_lag >= self.actor_lag,
                f"max_policy_lag={self.max_policy_lag} is smaller than actor_lag={self.actor_lag}: "
                "every unroll would be dropped. Raise the first or lower the second.",
            )
        require(
            isinstance(self.replay, ReplayConfig),
            f"replay must be a ReplayConfig, got {self.replay!r}.",
        )
        self.replay.check_batches(self.batch_size)
        require(
            self.correction in CORRECTIONS,
            f"correction must be one of {', '.join(CORRECTIONS)}, got {self.correction!r}.",
        )
        self._check_numbers()
        for name in ("discount", "lambda_"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} must be in [0, 1], got {value}.")
        self._check_thresholds()
        for name in ("baseline_cost", "entropy_cost", "learning_rate"):
            for value in _values(getattr(self, name)):
                require(
                    0 <= value < math.inf,
                    f"{name} must be a finite number that is not negative, got {value}.",
                )
        require(
            0 < self.reward_scale < math.inf,
            f"reward_scale must be a finite number above 0, got {self.reward_scale}. "
            "1 leaves rewards as they are.",
        )
        require(
            self.reward_clipping in REWARD_CLIPPINGS,
            f"reward_clipping must be one of {', '.join(REWARD_CLIPPINGS)}, "
            f"got {self.reward_clipping!r}.",
        )
        require(
            self.popart_step_size is None or 0 < self.popart_step_size <= 1,
            f"popart_step_size must be in (0, 1], got {self.popart_step_size}. None is no PopArt.",
        )
        require(
            isinstance(self.optimizer, RMSProp | Adam),
            f"optimizer must be RMSProp(...) or Adam(...), got {self.optimizer!r}.",
        )
        require(
            self.max_gradient_norm is None or 0 < self.max_gradient_norm < math.inf,
            f"max_gradient_norm must be positive and finite, got {self.max_gradient_norm}. "
            "None leaves gradients as they are.",
        )

    def _check_numbers(self):
        optional = (
            "clip_rho_threshold",
            "clip_pg_rho_threshold",
            "clip_c_threshold",
            "max_gradient_norm",
            "popart_step_size",
        )
        scheduled = ("baseline_cost", "entropy_cost", "learning_rate")
        for name in ("discount", "lambda_", "reward_scale", *scheduled, *optional):
            for value in _values(getattr(self, name)):
                require(
                    is_number(value) or (value is None and name in optional),
                    f"{name} must be a number, got {value!r}.",
                )

    def _check_thresholds(self):
        for name in ("clip_rho_threshold", "clip_pg_rho_threshold", "clip_c_threshold"):
            value = getattr(self, name)
            require(
                value is None or value >= 0,
                f"{name} must not be negative, got {value}. None is no clip.",
            )
        rho_bar = math.inf if self.clip_rho_threshold is None else self.clip_rho_threshold
        c_bar = math.inf if self.clip_c_threshold is None else self.clip_c_threshold
        require(
            rho_bar >= c_bar,
            f"clip_rho_threshold={self.clip_rho_threshold} is smaller than "
            f"clip_c_threshold={self.clip_c_threshold}: V-trace needs rho_bar >= c_bar "
            "(section 4.1). Raise the first or lower the second.",
        )


def _values(scheduled: Scheduled) -> tuple[float, ...]:
    if isinstance(scheduled, LinearSchedule):
        return scheduled.initial, scheduled.final
    return (scheduled,)
