"""Says how the nodes of a running program are, and which of them stalls first.

    python launch/status.py --workdir=runs/pong

Exits with 0 if all is well or the program has ended, with 2 if a node stalls, and with 1 if there
is no such run. docs/how-it-works.md says what counts as stalling.
"""

import importlib.util
import pathlib
import sys

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "The run directory that launch/train.py wrote.", required=True)


def load_statuses():
    """Loads one file of the package, without the package, which would import TensorFlow."""
    (package,) = importlib.util.find_spec("acme_impala").submodule_search_locations
    path = pathlib.Path(package, "experiments", "statuses.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(_):
    """Prints a table and who stalls."""
    statuses = load_statuses()
    found = statuses.read(pathlib.Path(FLAGS.workdir).expanduser() / "status")
    if not found:
        sys.exit(
            f"workdir={FLAGS.workdir} has no program's status: it is no run directory, or its run "
            "was in one process (--launcher=in_process), which has no nodes."
        )
    print(statuses.table(found))
    sys.exit(2 if statuses.first_stalled(found) else 0)


if __name__ == "__main__":
    app.run(main)
