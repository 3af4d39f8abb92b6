"""What a command may leave on the machine besides its run directory."""

import contextlib
import pathlib

import psutil

from tests.experiments import runs

_SHARED = pathlib.Path("/dev/shm")


class Remains:
    """Watches a command, and says what is left of it when it has ended.

    Nothing else on the machine should leave files in /dev/shm meanwhile.
    """

    def __init__(self, command):
        self._command = command
        self._shared = set(_SHARED.iterdir())
        self._ports = set()
        self._folders = set()

    def look(self):
        """Takes note of what the command has now; to be called now and then while it runs."""
        for process in self._command.processes():
            with contextlib.suppress(psutil.Error):
                for connection in process.net_connections("inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        self._ports.add(connection.laddr.port)
                command = process.cmdline()
                if any(argument.endswith("ray_warden.py") for argument in command):
                    self._folders.add(pathlib.Path(command[-1]))  # It may lie elsewhere.

    def find(self):
        """Lists what is left, after a while."""
        left = runs.wait_until_gone(self._command)
        found = [f"the process {process.pid}: {process.name()}" for process in left]
        for connection in psutil.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port in self._ports:
                found.append(f"port {connection.laddr.port}, of process {connection.pid}")
        folders = [*self._command.temporary.iterdir(), *self._folders]
        found += [str(path) for path in folders if path.exists()]
        found += map(str, set(_SHARED.iterdir()) - self._shared)
        return found
