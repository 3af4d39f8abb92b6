"""What is learned from again: the settings of a replay table, checked on construction."""

import dataclasses
import math
from typing import Literal, get_args

from acme_impala.checks import is_int, is_number, require

Selector = Literal["uniform", "fifo", "lifo", "prioritized"]
SELECTORS = get_args(Selector)
Priority = Literal["advantage", "td_error"]
PRIORITIES = get_args(Priority)


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """How batches are mixed of fresh and replayed unrolls (section 5.2.2).

    Every unroll that is written goes into the queue and into the replay table. A batch takes
    `fraction` of its unrolls from the table and the others from the queue.

    Attributes:
        fraction: of a batch, in [0, 1). Where it is no whole number of unrolls, batches take turns
            so that it is exact over time. 0: no replay.
        capacity: unrolls that the table holds.
        min_size: unrolls in the table before learning starts; None: the fresh ones of one batch,
            and as no more are needed then, none is dropped while it fills.
        sampler: which unroll is taken: 'uniform', 'fifo' (the oldest), 'lifo' (the newest), or
            'prioritized', in proportion to priority ** priority_exponent.
        remover: which unroll goes when the table is full: any of the same.
        single_unrolls: draw each unroll by itself. By default those that actors wrote together, and
            that fill the replayed part of a batch together, are drawn together: a server holds
            less than half as much then, and writing and reading cost less. A prioritized sampler or
            remover always tells unrolls apart.
        priority_exponent: of a prioritized sampler or remover.
        priority: what the learner finds about an unroll whenever it is replayed: the mean over its
            rows of the absolute V-trace 'advantage' (of the policy gradient) or 'td_error'
            (r + gamma V(x') - V(x)). Unrolls come into the table with priority 1.
        max_times_sampled: an unroll that was replayed so often goes; None: as often as may be.
        samples_per_insert: holds actors and learner to this ratio by Reverb's rate limiter; None:
            the queue alone does. Only the ratio that follows from `fraction` can work.
        error_buffer: samples by which that ratio may be off in between; None: as few as will do.

    Raises:
        ValueError: a value is impossible; the message names it and says what would do.
    """

    fraction: float = 0.0
    capacity: int = 10_000
    min_size: int | None = None
    sampler: Selector = "uniform"
    remover: Selector = "fifo"
    single_unrolls: bool = False
    priority_exponent: float = 0.6
    priority: Priority = "advantage"
    max_times_sampled: int | None = None
    samples_per_insert: float | None = None
    error_buffer: float | None = None

    def __post_init__(self):
        require(
            is_number(self.fraction) and 0 <= self.fraction < 1,
            f"replay fraction must be a number in [0, 1), got {self.fraction!r}: without fresh "
            "unrolls actors would wait for ever for room in the queue.",
        )
        require(
            is_int(self.capacity) and self.capacity >= 1,
            f"replay capacity must be a whole number of at least 1, got {self.capacity!r}.",
        )
        for name in ("min_size", "max_times_sampled"):
            value = getattr(self, name)
            require(
                value is None or (is_int(value) and value >= 1),
                f"replay {name} must be a whole number of at least 1, or None, got {value!r}.",
            )
        for name, known in (
            ("sampler", SELECTORS),
            ("remover", SELECTORS),
            ("priority", PRIORITIES),
        ):
            value = getattr(self, name)
            require(
                value in known, f"replay {name} must be one of {', '.join(known)}, got {value!r}."
            )
        require(
            is_number(self.priority_exponent) and 0 <= self.priority_exponent < math.inf,
            "replay priority_exponent must be a finite number that is not negative, got "
            f"{self.priority_exponent!r}. 0 is uniform.",
        )
        for name in ("samples_per_insert", "error_buffer"):
            value = getattr(self, name)
            require(
                value is None or (is_number(value) and 0 < value < math.inf),
                f"replay {name} must be a finite number above 0, or None, got {value!r}.",
            )
        if self.fraction:
            self._check_together()

    @property
    def is_prioritized(self) -> bool:
        """Whether priorities matter."""
        return "prioritized" in (self.sampler, self.remover)

    def unrolls_per_item(self, written_together: int, batch_size: int) -> int:
        """Returns how many unrolls are drawn together.

        Args:
            written_together: unrolls that actors can write as one item; they fill a batch.
            batch_size: B.
        """
        num_replayed = self.fraction * batch_size
        is_whole = math.isclose(num_replayed, round(num_replayed), abs_tol=1e-6)
        if self.single_unrolls or self.is_prioritized or not is_whole:
            return 1
        return math.gcd(written_together, batch_size, round(num_replayed))

    @property
    def samples_of_each(self) -> float:
        """How often an unroll is replayed on average: f / (1 - f)."""
        return self.fraction / (1 - self.fraction)

    def num_replayed(self, batch: int, batch_size: int) -> int:
        """Returns how many unrolls of a batch are replayed.

        Args:
            batch: its number, from 0.
            batch_size: B.
        """
        return self.replayed_until(batch + 1, batch_size) - self.replayed_until(batch, batch_size)

    def replayed_until(self, batch: int, batch_size: int) -> int:
        """Returns how many unrolls of all batches before this one are replayed."""
        # The margin: as floating-point numbers go, 10 * 0.29 * 100 is less than 290.
        return math.floor(batch * self.fraction * batch_size + 1e-6)

    def most_fresh(self, batch_size: int) -> int:
        """Returns how many unrolls of a batch are fresh at the most."""
        return math.ceil((1 - self.fraction) * batch_size - 1e-6)

    def fill(self, batch_size: int) -> int:
        """Returns how many unrolls the table must hold before learning starts."""
        return self.min_size or self.most_fresh(batch_size)

    def least_error_buffer(self, batch_size: int) -> float:
        """Returns samples by which a learner that is a batch ahead lets the ratio be off.

        Both may be counted in items instead of unrolls.
        """
        return 6.0 * batch_size * max(1.0, self.samples_of_each)

    def check_batches(self, batch_size: int):
        """Checks what concerns batches.

        Args:
            batch_size: B.

        Raises:
            ValueError: actors and learner would wait for each other for ever.
        """
        if not self.fraction:
            return
        require(
            self.capacity >= 2 * batch_size,
            f"replay capacity={self.capacity} is smaller than two batches of {batch_size}: the "
            "table could run empty while actors wait for the learner. Make it larger.",
        )
        require(
            self.fill(batch_size) <= self.capacity,
            f"replay min_size={self.min_size} is more than capacity={self.capacity}: learning "
            "would never start.",
        )
        least = self.least_error_buffer(batch_size)
        require(
            self.error_buffer is None or self.error_buffer >= least,
            f"replay error_buffer={self.error_buffer} is too small: with batches of {batch_size} "
            "actors and learner would stall each other. It must be at least "
            f"{least:g}; None takes that.",
        )

    def _check_together(self):
        ratio = self.samples_of_each
        require(
            self.samples_per_insert is None
            or math.isclose(self.samples_per_insert, ratio, rel_tol=1e-6),
            f"replay samples_per_insert={self.samples_per_insert} cannot be kept with "
            f"fraction={self.fraction}: for every fresh unroll a batch replays f / (1 - f) = "
            f"{ratio:g}, so the rate limiter would in time stop actors or learner for good. "
            f"Make it {ratio:g} or None, or choose another fraction.",
        )
        require(
            self.max_times_sampled is None or self.max_times_sampled >= ratio,
            f"replay max_times_sampled={self.max_times_sampled} is less than f / (1 - f) = "
            f"{ratio:g} at fraction={self.fraction}: the table would run empty and learning stop. "
            "Raise it or lower the fraction.",
        )
        require(
            self.max_times_sampled is None or self.samples_per_insert is None,
            "replay max_times_sampled and samples_per_insert cannot both be set: unrolls that go "
            "when they have been sampled make the table smaller than the size from which the rate "
            "limiter lets anything be sampled. Leave one of them out.",
        )
        require(
            self.error_buffer is None or self.samples_per_insert is not None,
            f"replay error_buffer={self.error_buffer} is of samples_per_insert, which is None. Set "
            "both or neither.",
        )
