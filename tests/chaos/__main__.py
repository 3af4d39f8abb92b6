"""Kills and stops real runs at random moments, and looks whether they go on from there.

    python -m tests.chaos
    python -m tests.chaos --kills=3 --stops=2 --seed=7

Prints a line for every blow. Exits with 1 if anything does not hold; the runs are kept then.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is talkative when imported.
import acme_impala  # noqa: F401 (before TensorFlow, for which it sets what must be set)
from tests.chaos import kills, stops


def main():
    """Runs both parts; 0 of either leaves it out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=24, help="SIGKILLs to processes on Ray.")
    parser.add_argument("--stops", type=int, default=20, help="SIGTERMs, each of a new start.")
    parser.add_argument("--seed", type=int, default=None, help="Of the moments; else a new one.")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # And takes along what it has started.
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    path = pathlib.Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"--kills={given.kills} --stops={given.stops} --seed={seed}, in {path}", flush=True)
    faults = []
    for part, number in ((kills, given.kills), (stops, given.stops)):
        if number:
            faults += part.endure(path / part.__name__.rpartition(".")[2], number, seed)
    if faults:
        sys.exit("\n".join(["", "What does not hold:", *faults, f"The runs are in {path}."]))
    shutil.rmtree(path)
    print("\nEverything holds.")


if __name__ == "__main__":
    main()
