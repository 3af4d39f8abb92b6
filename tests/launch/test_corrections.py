"""launch/corrections.py says what makes no sense before anything is run."""

import json
import subprocess
import sys

import pytest

from ..experiments.runs import ROOT
from .running import run_commands

REFUSED = {
    "an unknown correction": ("--corrections=best", "--corrections=best: there are vtrace, one_st"),
    "no seed": ("--seeds=0", "--seeds=0 must be at least 1"),
    "no time for evaluations": ("--num_frames=19", "--num_frames=19 must be at least 20"),
    "no environment": ("--env=catchh", "There is no environment 'catchh'"),
    "several tasks": ("--env=catch,memory", "--env=catch,memory is of several tasks"),
    "a table too small": ("--replay_capacity=4", "capacity=4 is smaller than two batches"),
    "a negative cost": ("--entropy_costs=-1", "entropy_cost must be a finite number"),
    "a negative lag": ("--lags=0,-1", "actor_lag must be a whole number"),
    "another study's workdir": (
        "--env=memory",
        "holds runs of --env=catch --num_frames=20000",
    ),
}
STUDY = {"env": "catch", "num_frames": 20_000, "replay_fraction": 0.5, "replay_capacity": 10_000}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What the commands said: by name, (status, output)."""
    root = tmp_path_factory.mktemp("corrections")
    (root / "study.json").write_text(json.dumps(STUDY))
    command = ["launch/corrections.py", f"--workdir={root}"]
    return run_commands(root, {name: [*command, flag] for name, (flag, _) in REFUSED.items()})


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_said(name, outputs):
    status, output = outputs[name]
    assert status == 1
    assert REFUSED[name][1] in output
    assert "Traceback" not in output


def test_what_makes_no_sense_leaves_the_workdir_free(tmp_path):
    command = ["launch/corrections.py", f"--workdir={tmp_path / 'study'}", "--env=catchh"]
    ((status, _),) = run_commands(tmp_path, {"refused": command}).values()
    assert status == 1
    assert not (tmp_path / "study").exists()


def test_a_run_that_fails_ends_the_others_and_starts_none(tmp_path):
    """Of three runs on two cores at most: the first fails, and the second would go on for long."""
    script = f"""
import sys, pathlib
sys.path.insert(0, "launch")
import corrections
class Study:
    def has_ended(self, cell, seed):
        return False
    def command(self, cell, seed):
        code = f"open('{tmp_path}/{{cell}}', 'w'); import sys, time; " + (
            "time.sleep(1); sys.exit('it was I')" if cell == "fails" else "time.sleep(600)")
        return [sys.executable, "-c", code]
try:
    corrections.os.sched_setaffinity(0, list(corrections.os.sched_getaffinity(0))[:2])
    corrections.run_all(Study(), [("fails", 0), ("sleeps", 0), ("later", 0)])
except corrections.RunFailedError as error:
    print("failed:", error)
"""
    (tmp_path / "run.py").write_text(script)
    done = subprocess.run(
        [sys.executable, tmp_path / "run.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "it was I" in done.stdout
    assert not (tmp_path / "later").exists()
