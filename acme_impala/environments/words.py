"""Words as numbers, so that an instruction is an array of a fixed size and no string."""

import functools
import zlib

import numpy as np

# The words that an `InstructionEncoder` tells apart (SA: the paper's public source).
HASH_BUCKETS = 1000


@functools.lru_cache(maxsize=4096)
def word_ids(text: str, length: int) -> np.ndarray:
    """Hashes the words of a text, the same way in every process and on every machine.

    Args:
        text: words with white space between them.
        length: W; what is longer is cut.

    Returns:
        [W] int32, not to be written to: 1 to HASH_BUCKETS, and 0 behind the last word.
    """
    ids = np.zeros(length, np.int32)
    for i, word in enumerate(text.split()[:length]):
        ids[i] = 1 + zlib.crc32(word.encode()) % HASH_BUCKETS
    ids.setflags(write=False)
    return ids
