"""The cores of the machine."""

import contextlib
import os
from collections.abc import Iterator


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def keeping_to(core: int | None) -> Iterator[None]:
    """Has this thread, and for good all threads and processes that it starts, keep to one core.

    Args:
        core: its number; None: nothing changes.
    """
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
