"""Threads that watch a run while it goes on."""

import abc
import threading


class Watcher(abc.ABC):
    """Watches in a thread while a run goes on, and once more at its end.

    Use as a context manager.
    """

    def __init__(self, name: str):
        """Names the thread."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._conclude()

    @abc.abstractmethod
    def _watch(self):
        """Watches until `_stop` is set."""

    @abc.abstractmethod
    def _conclude(self):
        """Does what is to be done at the end."""
