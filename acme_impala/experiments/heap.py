"""Memory that is free, and that the C library keeps all the same."""

import contextlib
import ctypes


def give_back():
    """Gives the kernel what is free in this process's heap, where the C library can.

    There are holes among what stays there, of which a learner leaves more with the minutes
    (docs/profile.md).
    """
    with contextlib.suppress(AttributeError):  # It is glibc's.
        ctypes.CDLL(None).malloc_trim(0)
