"""Calls to other nodes, which end when there is nobody to wait for any more."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import courier

from acme_impala.experiments import heartbeat

# How often one that waits looks whether the other is there still.
_POLL_SECONDS = 0.2


class PeerGoneError(Exception):
    """The program is ending, or the other has died: what was asked of it will not come."""


class Remote:
    """A courier client whose calls end when the other does, and when the program does.

    A plain call waits inside C++ for as long as the other node takes, deaf to signals.
    """

    def __init__(self, client: courier.Client, name: str, over: threading.Event):
        """Calls through a client.

        Args:
            client: of the other node.
            name: the other's, for errors.
            over: set when the other has died, or the program ends.
        """
        self._client = client
        client.futures._client = _SafelyCancelled(client.futures._client)
        self._name = name
        self._over = over
        self._pulse = heartbeat.current()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args, **kwargs):
            if self._over.is_set():  # The other may be gone, and a call to it would never end.
                raise PeerGoneError(f"{self._name}.{method}")
            future = getattr(self._client.futures, method)(*args, **kwargs)
            deadline = time.monotonic() + heartbeat.MOST_WAIT_SECONDS
            while True:
                try:
                    return future.result(timeout=_POLL_SECONDS)
                except futures.TimeoutError:
                    if self._over.is_set():
                        future.cancel()
                        raise PeerGoneError(f"{self._name}.{method}") from None
                    self._pulse.waits(f"{self._name}.{method}()", on=[self._name])
                    if time.monotonic() >= deadline:
                        future.cancel()
                        raise TimeoutError(
                            f"The {self._name} has not answered {method}() for "
                            f"{heartbeat.MOST_WAIT_SECONDS:g} s: it hangs, or cannot be reached."
                        ) from None

        return call


class _SafelyCancelled:
    """Courier's client in C++, of which a call may be cancelled when its answer has just come.

    Courier gives the answer to the call's future all the same, which refuses it. That is an error
    in a thread of C++, and the end of the process.
    """

    def __init__(self, client: Any):
        self._client = client

    def AsyncPyCall(  # noqa: N802
        self, method: str, args: list, kwargs: dict, set_result: Callable[[Any], None], *rest: Any
    ) -> Any:
        def set_result_if_waited_for(result: Any):
            with contextlib.suppress(futures.InvalidStateError):
                set_result(result)

        return self._client.AsyncPyCall(method, args, kwargs, set_result_if_waited_for, *rest)
