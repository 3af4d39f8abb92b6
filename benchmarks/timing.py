"""CPU time and rate of work that is done again and again."""

import resource
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Timing(NamedTuple):
    """How long and how often something is measured.

    Attributes:
        seconds: of one repetition, at least; the work that has begun is done to its end.
        repetitions: whose median counts. One more before them warms up.
    """

    seconds: float = 1.0
    repetitions: int = 5


class Cost(NamedTuple):
    """What an agent step costs.

    Attributes:
        cpu_us_per_step: microseconds of CPU time, user and system, of all threads.
        steps_per_second: by the clock.
    """

    cpu_us_per_step: float
    steps_per_second: float


def cpu_seconds() -> float:
    """CPU time of this process so far, user and system, of all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(
    work: Callable[[], int], timing: Timing, cpu: Callable[[], float] = cpu_seconds
) -> Cost:
    """Does work for a while.

    Args:
        work: does a piece of it, and returns how many agent steps that was.
        timing: how long.
        cpu: the CPU time so far, in seconds.

    Returns:
        The medians over the repetitions.
    """
    costs = [_repetition(work, timing.seconds, cpu) for _ in range(1 + timing.repetitions)][1:]
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def _repetition(work: Callable[[], int], seconds: float, cpu: Callable[[], float]) -> Cost:
    steps, cpu_before, start = 0, cpu(), time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not steps:
        steps += work()
    return Cost((cpu() - cpu_before) / steps * 1e6, steps / elapsed)
