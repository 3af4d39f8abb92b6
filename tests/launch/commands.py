"""Runs many commands of launch/ in processes of their own, importing what they import only once.

python commands.py <directory> < commands.json: command number i is a list of a file and its
arguments. Its output goes to <directory>/<i>.txt, its processes' temporary files to
<directory>/<i>.tmp/; the exit statuses are printed as JSON.
"""

import gc
import json
import os
import pathlib
import runpy
import sys

import acme_impala.learning  # noqa: F401  What takes most of a command's time.


def run(arguments: list[str], output: pathlib.Path, temporary: pathlib.Path):
    """Becomes a command; does not return."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    sys.argv = arguments
    sys.path.insert(0, os.path.dirname(arguments[0]))
    runpy.run_path(arguments[0], run_name="__main__")


def main():
    directory = pathlib.Path(sys.argv[1])
    gc.freeze()  # What is imported need not be collected when a command exits.
    statuses = []
    for number, arguments in enumerate(json.load(sys.stdin)):
        child = os.fork()  # TensorFlow is imported but not in use yet, so it has no threads.
        if child == 0:
            run(arguments, directory / f"{number}.txt", directory / f"{number}.tmp")
            sys.exit(0)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
