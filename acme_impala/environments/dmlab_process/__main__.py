"""Answers one request after the other, until the other end of the pipe is closed."""

import os
import signal
import sys
from multiprocessing.connection import Connection


def main():
    """Serves the pipe whose file descriptor is the command's argument.

    A request is (name, *arguments): first 'make', then names of `lab.Lab`'s methods. The answer is
    (None, what was returned), or what was raised: (its type's name, its message).
    """
    # Ctrl-C reaches every process of a terminal, and Launchpad sends SIGTERM to a node's children
    # too. Both are for the parent to heed; this process ends when that has closed the pipe. Heard
    # and not ignored: a process that is deaf to SIGTERM counts as one that is still starting.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    lab = None
    with Connection(int(sys.argv[1])) as connection:
        while True:
            try:
                name, *arguments = connection.recv()
            except (EOFError, OSError):  # The parent has closed its end, or is dead.
                break
            try:
                if name == "make":
                    from lab import Lab  # It imports deepmind_lab, which may not be there.

                    lab = Lab(*arguments)
                    answer = None, None
                else:
                    answer = None, getattr(lab, name)(*arguments)
            except Exception as error:
                answer = type(error).__name__, str(error)
            try:
                connection.send(answer)
            except OSError:
                break
    if lab:
        lab.close()
    os._exit(0)  # The renderer's threads have nothing to say.


if __name__ == "__main__":
    main()
