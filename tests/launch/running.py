"""Runs commands of launch/ for the tests of this folder."""

import json
import subprocess
import sys

from ..experiments.runs import ROOT


def run_commands(directory, commands):
    """Runs commands, one after the other, as commands.py does it.

    Args:
        directory: for their outputs and temporary files.
        commands: by name, a file and its arguments.

    Returns:
        By name, (exit status, output).
    """
    printed = subprocess.run(
        [sys.executable, "tests/launch/commands.py", directory],
        cwd=ROOT,
        input=json.dumps([list(map(str, command)) for command in commands.values()]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    statuses = json.loads(printed.splitlines()[-1])
    return {
        name: (status, (directory / f"{number}.txt").read_text())
        for number, (name, status) in enumerate(zip(commands, statuses, strict=True))
    }
