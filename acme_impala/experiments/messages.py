"""What a supervisor and the processes that it has started tell each other."""

import os
import pickle
import struct
from collections.abc import Mapping
from typing import NamedTuple

# The line, in the pipe of what a process has to say, that asks for the program's end.
STOP = "stop"
_LENGTH = struct.Struct("<Q")


class Task(NamedTuple):
    """What a process runs.

    Attributes:
        name: the process's.
        life: how often it has died before.
        node: a program.NodesProcess, pickled; unpickling it imports what it needs.
    """

    name: str
    life: int
    node: bytes


class News(NamedTuple):
    """The whole of what a supervisor knows, told whenever something has changed.

    Attributes:
        number: counts up; older news that come late are passed over.
        stop: whether the program ends.
        lives: of the processes that run, by name: which life it is, from 0.
        addresses: of the same, 'host:port' of each address that a process owns.
    """

    number: int = -1
    stop: bool = False
    lives: Mapping[str, int] = {}
    addresses: Mapping[str, list[str]] = {}


def pack(message: Task | News) -> bytes:
    """A message as `read` reads it."""
    data = pickle.dumps(message)
    return _LENGTH.pack(len(data)) + data


def read(descriptor: int) -> Task | News:
    """Reads the next message.

    Args:
        descriptor: of a file, which is read without a buffer: Python would lock that when it exits,
            while a thread still waits at it.

    Raises:
        EOFError: there is none.
    """
    (length,) = _LENGTH.unpack(_read(descriptor, _LENGTH.size))
    return pickle.loads(_read(descriptor, length))


def _read(descriptor: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = os.read(descriptor, min(length - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
