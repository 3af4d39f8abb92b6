"""A learner that hangs is named, and nothing else comes of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from acme_impala.experiments import logs
from acme_impala.experiments.run_directory import RunDirectory

from .runs import ENDED_EARLY, FOR_EVER, ROOT, train

HANG_SECONDS = 20.0


def ask(workdir):
    """What launch/status.py says: exit status, and the output."""
    command = [sys.executable, "launch/status.py", f"--workdir={workdir}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def hang(tmp_path_factory):
    """A run whose learner is stopped for a while by SIGSTOP, and that is ended by Ctrl-C."""
    path = tmp_path_factory.mktemp("hang")
    command = train(path, "--env=gym:CartPole-v1", FOR_EVER, "--num_actors=2")
    directory = RunDirectory(str(path / "run"))

    def steps():
        try:
            return json.loads((directory.status / "learner.json").read_text())["progress"]
        except FileNotFoundError:
            return 0

    hang = SimpleNamespace(directory=directory, named_after=None)
    try:
        command.wait_until(lambda: steps() > 20)
        hang.before = ask(directory.root)
        learner = command.nodes()["learner/0"]
        start = time.monotonic()
        learner.send_signal(signal.SIGSTOP)
        while time.monotonic() - start < HANG_SECONDS:
            status, output = ask(directory.root)
            if status != 0 and hang.named_after is None:
                hang.named_after = time.monotonic() - start
                hang.meanwhile = status, output
            time.sleep(0.5)
        steps_then = steps()
        learner.send_signal(signal.SIGCONT)
        command.wait_until(lambda: steps() > steps_then + 20)
        hang.after = ask(directory.root)
        hang.status, _ = command.stop(signal.SIGINT)
        hang.ended = ask(directory.root)
        hang.output = command.output
        hang.processes_left = [process.cmdline() for process in command.processes()]
    finally:
        command.kill()
    return hang


def test_before_that_all_is_well(hang):
    status, output = hang.before
    assert status == 0, output
    assert output.strip().endswith("All is well.")
    nodes = [line.split()[0] for line in output.splitlines()[1:7]]
    assert nodes == ["actor_0", "actor_1", "counter", "evaluator", "learner", "replay"]
    assert str(os.uname().nodename) in output


def test_the_learner_is_named_within_15_seconds(hang):
    print(f"named after {hang.named_after:.1f} s")
    assert hang.named_after < 15.0
    status, output = hang.meanwhile
    assert status == 2
    assert output.splitlines()[-1].startswith("learner stalls: no heartbeat for ")


def test_afterwards_all_goes_on_and_ends_in_order(hang):
    assert hang.after[0] == 0, hang.after
    assert hang.status == ENDED_EARLY, hang.output
    assert hang.processes_left == []
    assert "Traceback" not in hang.output
    assert re.search(r"Accounts: +\d+ frames acted = \d+ learned \+", hang.output)
    assert "MISSING" not in hang.output
    status, output = hang.ended
    assert (status, output.splitlines()[-1]) == (0, "The program has ended.")


def test_the_live_line_and_the_log_have_it_too(hang):
    assert "| learner stalls (" in hang.output
    rows = logs.read_rows(hang.directory.logs / "status.csv")
    assert {row["node"] for row in rows if row["stalls"] == "1"} == {"learner"}
    nodes = {"actor_0", "actor_1", "counter", "evaluator", "learner", "replay"}
    assert {row["node"] for row in rows} == nodes
    assert {row["state"] for row in rows[-len(nodes) :]} == {"ended"}
    assert list((hang.directory.tensorboard / "status").iterdir())


def test_where_there_is_no_run_the_message_says_so(tmp_path):
    status, output = ask(tmp_path / "nowhere")
    assert status == 1
    assert "has no program's status" in output
    assert "Traceback" not in output


def test_it_does_not_wait_for_tensorflow():
    code = (
        "import runpy, sys; sys.argv = ['status.py', '--workdir=nowhere']\n"
        "try: runpy.run_path('launch/status.py', run_name='__main__')\n"
        "except SystemExit: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
