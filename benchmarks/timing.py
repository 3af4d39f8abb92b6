"""CPU time and rate of work that is done again and again."""

import resource
import time
from collections.abc import Callable

_WARMUP_SECONDS = 2.0  # Longer than until a learner measures what it logs.

# Lets something run for so many seconds, as often as it is called, and says what it did meanwhile.
Turn = Callable[[float], dict[str, float]]


def cpu_seconds() -> float:
    """CPU time of this process so far, user and system, of all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def repeated(work: Callable[[], int], cpu: Callable[[], float] = cpu_seconds) -> Turn:
    """Does work until it is warm, and returns what measures it.

    Args:
        work: does a piece of it, and returns how many agent steps that was.
        cpu: the CPU time so far, in seconds.

    Returns:
        Does the work for so many seconds, and to the end of the piece that has begun. Gives
        `steps`, `cpu_seconds`, CPU time, user and system, of all threads, and `seconds`, by the
        clock.
    """

    def turn(seconds: float) -> dict[str, float]:
        steps, cpu_before, start = 0, cpu(), time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds or not steps:
            steps += work()
        return {"steps": steps, "cpu_seconds": cpu() - cpu_before, "seconds": elapsed}

    turn(_WARMUP_SECONDS)
    return turn
