"""Connections whose other end has gone are noticed, which gRPC's clients leave to chance.

A gRPC server ends a connection over which nobody has taken its answer for twenty seconds, as when a
host is cut off. When the link is back the client has a connection that nobody else knows of, and if
it only waits for that answer it sends nothing by which it would be told: it would wait for ever.
Linux asks, where a socket has keepalive. Courier's and Reverb's clients have no setting for it, so
it is given to their sockets from without.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

# How often connections that are new are looked for.
_PERIOD_SECONDS = 5.0
# Of silence, before Linux asks, and between its questions.
_SILENT_SECONDS = 10
# Where no answer comes the connection is kept, as long as this lasts: the link may come back. How
# long to wait for another node is up to those who wait.
_MOST_QUESTIONS = 127
_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _SILENT_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _MOST_QUESTIONS),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


def start():
    """Gives keepalive to all TCP connections that this process has, and will have."""
    threading.Thread(target=_keep_giving, name="keepalive", daemon=True).start()


def _keep_giving():
    while True:
        give_keepalive()
        time.sleep(_PERIOD_SECONDS)


def give_keepalive():
    """Gives keepalive to the TCP connections that this process has now."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        # OSError: it is no socket, or closed since.
        with contextlib.suppress(OSError), _socket_of(descriptor) as connection:
            if not _is_tcp(connection):
                continue
            if not connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
                for option in _OPTIONS:
                    connection.setsockopt(*option)


@contextlib.contextmanager
def _socket_of(descriptor: int) -> Iterator[socket.socket]:
    """A socket by another descriptor than that of its owner, who may close it."""
    own = os.dup(descriptor)
    try:
        connection = socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise
    with connection:
        yield connection


def _is_tcp(connection: socket.socket) -> bool:
    return connection.family in (socket.AF_INET, socket.AF_INET6) and (
        connection.type == socket.SOCK_STREAM
    )
