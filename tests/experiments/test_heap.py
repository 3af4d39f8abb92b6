"""Memory that is free goes back to the kernel."""

import numpy as np
import psutil

from acme_impala.experiments import heap

_BLOCK = 100_000  # Bytes: glibc takes it from the heap, not from the kernel.
_BLOCKS = 1000


def test_what_is_free_below_what_is_in_use_is_given_back():
    blocks = [np.ones(_BLOCK, np.uint8) for _ in range(_BLOCKS)]
    # Among the others, for what lies above all that is in use goes back by itself.
    kept = blocks[::100]
    del blocks
    before = psutil.Process().memory_info().rss
    heap.give_back()
    assert before - psutil.Process().memory_info().rss > _BLOCK * _BLOCKS / 2
    assert all(block.all() for block in kept)
