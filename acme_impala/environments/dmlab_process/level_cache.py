"""A cache of compiled maps on disk: some levels take seconds to make one."""

import hashlib
import os
import pathlib
import shutil
import sys
import tempfile
import zipfile


class LevelCache:
    """What DeepMind Lab asks for a map before it makes one.

    Any number of processes may share a directory: a map appears in it whole or not at all. Neither
    method raises, for an exception in here, as a hit without a map, would end the process: what
    cannot be read is a miss, and what cannot be written is not kept.

    Args:
        directory: is made if it is not there.
    """

    def __init__(self, directory: str):
        self._directory = pathlib.Path(directory)

    def fetch(self, key: str, pk3_path: str) -> bool:
        """Copies a map to `pk3_path`; returns whether it has it."""
        path = self._path(key)
        try:
            # A map is a zip file. One of a disk that was full, or of a machine that went down, is
            # none, and is made again.
            if not zipfile.is_zipfile(path):
                return False
            shutil.copyfile(path, pk3_path)
        except OSError as error:
            _complain(error)
            return False
        return True

    def write(self, key: str, pk3_path: str):
        """Keeps the map in `pk3_path`, which was made after a miss."""
        fresh = None
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor, fresh = tempfile.mkstemp(dir=self._directory, suffix=".new")
            os.close(descriptor)
            shutil.copyfile(pk3_path, fresh)
            os.replace(fresh, self._path(key))
        except OSError as error:
            _complain(error)
            if fresh:
                pathlib.Path(fresh).unlink(missing_ok=True)

    def _path(self, key: str) -> pathlib.Path:
        # A key may hold what no file name can.
        return self._directory / f"{hashlib.sha256(key.encode()).hexdigest()}.pk3"


def _complain(error: OSError):
    print(f"The level cache: {error}", file=sys.stderr, flush=True)
