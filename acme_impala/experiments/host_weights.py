"""Weights for all actors of a host, which the learner sends there once."""

import contextlib
import hashlib
import math
import os
import socket
import struct
import threading
import time
from collections.abc import Callable

import acme
import numpy as np
from absl import logging

from acme_impala import acting
from acme_impala.experiments.shared_arrays import SharedArrays, view_arrays
from acme_impala.types import VARIABLE_NAMES

# How often one that waits looks whether it should stop.
_POLL_SECONDS = 0.2
# How often the elected process says that it is there, to those that wait for the learner with it.
_BEAT_SECONDS = 1.0
# After so long without a word it is taken to hang, and is not asked again for a while.
_SILENT_SECONDS = 5.0
_ALONE_SECONDS = 30.0
# For the case that processes end, and others are elected, while they are asked.
_ATTEMPTS = 5
_RETRY_SECONDS = 0.01
# A question is the version that the asker has. An answer is a word and a version; where that is
# newer, the description of its arrays comes after it, and their memory with it.
_QUESTION = struct.Struct("<q")
_ANSWER = struct.Struct("<cq")
_WAIT, _SAME, _NEWER, _FAILED = b"w", b"s", b"n", b"f"
_MAX_ANSWER_BYTES = 1 << 17
_CREDENTIALS = struct.Struct("3i")  # Process, user, group.


class HostVariables(acting.NewestVariables):
    """A learner's newest variables, each version of them fetched once for a whole host.

    One of the host's processes is elected: the one that has bound a socket of their common name. It
    asks the learner, and the others ask it. When it ends, the next one that asks is elected. Who
    asks says which version it has, and takes none that is older.

    Weights pass between the processes as memory that all of them see, so that one more costs the
    elected process a message. Nothing is unpickled, and other users' processes get no answer.

    Where an answer does not come the learner is asked directly, as if there were no others.
    """

    def __init__(
        self,
        source: acme.VariableSource,
        name: str,
        should_stop: Callable[[], bool] = lambda: False,
        max_age: float = 0.0,
    ):
        """Stands between actors and `source`; joins the others at the first call.

        Args:
            source: the learner, or something that stands for it. Its calls must end at some time.
            name: of the learner, and of this life of it; the same in all processes.
            should_stop: asked while waiting for another process; when it says yes only `source` is
                asked.
            max_age: seconds for which what was the newest is given without asking again.
        """
        super().__init__(source, max_age)
        digest = hashlib.sha256(f"{os.geteuid()} {name}".encode()).hexdigest()
        self._address = f"\0acme_impala-{digest}"  # The zero: no file, it goes with its process.
        self._should_stop = should_stop
        self._server: _Server | None = None  # In the elected process.
        self._connection: socket.socket | None = None  # In the others.
        self._alone_until = -math.inf

    def close(self):
        """Leaves the others; from here on only the source is asked."""
        with self._lock:
            self._alone_until = math.inf
            self._leave()
            server, self._server = self._server, None
        if server:
            server.close()

    def _refresh(self) -> float:
        now = time.monotonic()
        if now >= self._alone_until:
            try:
                if self._ask_elected():
                    return now - self._max_age  # Its answer may be as old as that.
            except _NoAnswerError as error:
                logging.warning("%s The learner is asked directly.", error)
                self._leave()
                self._alone_until = time.monotonic() + _ALONE_SECONDS
        return super()._refresh()

    def _ask_elected(self) -> bool:
        """Gets what is newer from the elected process; False: it does not know, or is this one.

        Raises:
            _NoAnswerError: there is no use in asking.
        """
        for _ in range(_ATTEMPTS):
            try:
                self._join()
                if self._server:
                    return False
                if self._ask():
                    return True
                break
            except OSError:  # It has just ended, or is not ready yet.
                self._leave()
                time.sleep(_RETRY_SECONDS)
        self._leave()  # An answer may be on its way that is to another question.
        return False

    def _join(self):
        """Connects to the elected process, or becomes it.

        Raises:
            OSError: neither is possible now.
            _NoAnswerError: it is of another user.
        """
        if self._connection or self._server:
            return
        connection = _make_socket()
        connection.settimeout(_POLL_SECONDS)
        try:
            connection.connect(self._address)
        except OSError as error:
            connection.close()
            if not isinstance(error, ConnectionRefusedError):
                raise
            self._server = _Server(self._address, self)  # There was none.
            return
        self._connection = connection
        process, user = _peer(connection)
        if user != os.geteuid():
            raise _NoAnswerError(f"Process {process} of user {user} answers in place of ours.")

    def _leave(self):
        if self._connection:
            self._connection.close()
            self._connection = None

    def _ask(self) -> bool:
        """Asks the elected process, and takes over what is newer; returns whether it knows.

        Raises:
            OSError: it has ended.
            _NoAnswerError: it hangs.
        """
        (known,) = self._fetched["policy_version"]
        known = -1 if known is None else int(known)
        self._connection.send(_QUESTION.pack(known))
        heard_at = time.monotonic()
        while not self._should_stop():
            try:
                message, files, _, _ = socket.recv_fds(self._connection, _MAX_ANSWER_BYTES, 1)
            except TimeoutError:
                if time.monotonic() - heard_at > _SILENT_SECONDS:
                    raise _NoAnswerError(
                        f"Process {_peer(self._connection)[0]}, which asks the learner for all of "
                        f"this host, has not answered for {_SILENT_SECONDS:.0f} s."
                    ) from None
                continue
            if not message:
                raise ConnectionResetError
            heard_at = time.monotonic()
            word, version = _ANSWER.unpack_from(message)
            if word == _NEWER:
                arrays = view_arrays(message[_ANSWER.size :], files[0])
                os.close(files[0])
                if version <= known:
                    return False
                values = arrays, [np.int64(version)]
                self._fetched = dict(zip(VARIABLE_NAMES, values, strict=True))
            if word != _WAIT:
                return word != _FAILED
        return False


class _NoAnswerError(Exception):
    """There is an elected process, but no use in asking it; the message says why."""


class _Server:
    """Answers the other processes of the host, in threads of the elected one."""

    def __init__(self, address: str, variables: acting.NewestVariables):
        """Binds the address.

        Raises:
            OSError: another process has it.
        """
        self._variables = variables
        self._listener = _make_socket()
        try:
            self._listener.bind(address)
            self._listener.listen(socket.SOMAXCONN)
        except OSError:
            self._listener.close()
            raise
        self._listener.settimeout(_BEAT_SECONDS)
        self._is_closed = False
        self._packed: tuple[int, SharedArrays | None] = -1, None  # The newest version.
        self._connections: set[socket.socket] = set()
        self._waiting: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def close(self):
        """Gives the address back and ends all connections."""
        with self._lock:
            self._is_closed = True
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # Wakes the thread that waits at it.
        with _make_socket() as waking, contextlib.suppress(OSError):
            waking.connect(self._listener.getsockname())
        self._listening.join()

    def _listen(self):
        with self._listener:
            while not self._is_closed:
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    self._beat()
                except OSError:
                    return
                else:
                    threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _beat(self):
        with self._lock:
            for connection in self._waiting:
                with contextlib.suppress(OSError):
                    connection.send(_ANSWER.pack(_WAIT, 0), socket.MSG_DONTWAIT)

    def _serve(self, connection: socket.socket):
        """Answers one process, to its end."""
        with connection, contextlib.suppress(OSError):
            if _peer(connection)[1] != os.geteuid():
                return
            with self._lock:
                if self._is_closed:
                    return
                self._connections.add(connection)
            try:
                while question := connection.recv(_QUESTION.size):
                    self._answer(connection, *_QUESTION.unpack(question))
            finally:
                with self._lock:
                    self._connections.discard(connection)

    def _answer(self, connection: socket.socket, known: int):
        """Sends what is newer than the version that is known there."""
        with self._lock:
            self._waiting.add(connection)
        word, version, packed = _FAILED, 0, None
        try:
            policy, (version,) = self._variables.get_variables(VARIABLE_NAMES)
            word = _SAME
            if version != known:
                version, packed = self._pack(version, policy)
                word = _NEWER
        except Exception as error:  # Of the same kind as awaits who has asked.
            logging.warning("No weights for another process: %r", error)
        finally:
            with self._lock:
                self._waiting.discard(connection)
        message = _ANSWER.pack(word, version)
        if packed:
            socket.send_fds(connection, [message, packed.description], [packed.file])
        else:
            connection.send(message)

    def _pack(self, version: int, policy: list[np.ndarray]) -> tuple[int, SharedArrays]:
        """Returns these weights, or newer ones if there are any, with their version."""
        with self._lock:
            if self._packed[0] < version:
                self._packed = version, SharedArrays(policy)
            return self._packed


def _make_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # It keeps messages apart.


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end, as the kernel knows them."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(found)[:2]
