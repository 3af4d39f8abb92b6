"""Ctrl-C and SIGTERM, heeded where a run can end in order."""

import contextlib
import signal
import threading
from collections.abc import Iterator

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def heeded() -> Iterator[threading.Event]:
    """Gives an event that the first Ctrl-C or SIGTERM sets; a second interrupts at once.

    An exception in the middle of a step would leave half of it done. Signals arrive in the main
    thread; in any other the event is never set, and signals do what they did.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number, frame):
        if stop.is_set():
            signal.default_int_handler(number, frame)
        stop.set()

    with kept():
        for number in _NUMBERS:
            signal.signal(number, handle)
        yield stop


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Puts back who has handled Ctrl-C and SIGTERM; call it in the main thread."""
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: set by other than Python.
