"""Clears away what Ray has started on this machine when whoever started it has gone.

    python ray_warden.py <Ray's temporary folder>

Ray's daemons outlive a launcher that is killed, some of them for ever, and nobody removes its
folder. This process waits for the end of its standard input, which comes with the launcher's,
however that ends.
"""

import contextlib
import shutil
import signal
import sys

import psutil

_GONE_SECONDS = 5.0


def main(folder: str):
    """Waits for the end of standard input, ends every daemon of Ray's folder, and removes that."""
    for number in (signal.SIGINT, signal.SIGTERM):  # A terminal sends them to all of a group.
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    daemons = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_own = process.pid == psutil.Process().pid
            if not is_own and any(folder in argument for argument in process.cmdline()):
                process.kill()
                daemons.append(process)
    psutil.wait_procs(daemons, _GONE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
