"""The command, and parts that are measured alone: that they give numbers, not which."""

import json
import math
import subprocess
import sys

import pytest

from benchmarks import parts, transport
from benchmarks.end_to_end import ROOT
from benchmarks.processes import FreshProcess, call_in_fresh_process
from benchmarks.tasks import TASKS


def run(*flags, module="benchmarks"):
    return subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("part", [parts.policy, transport.transport])
def test_part_is_measured_alone(part):
    with FreshProcess("a part", part, TASKS["cartpole"], seconds=120) as turn:
        for measured in (turn(0.01), turn(0.01)):
            assert set(measured) == {"steps", "cpu_seconds", "seconds"}
            assert all(value > 0 for value in measured.values())


# In no directory; one itself; where root may write, and cannot.
@pytest.mark.parametrize("name", ["nowhere/measured.json", ".", "/proc/measured.json"])
@pytest.mark.parametrize("module", ["benchmarks", "benchmarks.scale"])
def test_a_file_that_cannot_be_written_is_named_before_anything_is_measured(module, name, tmp_path):
    path = tmp_path / name
    few = ["--tasks=cartpole", "--parts=environment"] if module == "benchmarks" else []
    done = run(*few, f"--json={path}", module=module)
    assert done.returncode == 1
    assert f"{path} cannot be written" in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_failure_in_a_fresh_process_is_told():
    with pytest.raises(RuntimeError, match=r"(?s)math\.sqrt has failed.*ValueError"):
        call_in_fresh_process(math.sqrt, -1.0, seconds=120)


def test_process_that_takes_too_long_is_ended():
    with pytest.raises(RuntimeError, match="has taken more than 0 s and was ended"):
        call_in_fresh_process(math.sqrt, 1.0, seconds=0)


def test_command_writes_what_it_measured(tmp_path):
    path = tmp_path / "measured.json"
    done = run("--tasks=cartpole", "--parts=environment", f"--json={path}")
    assert done.returncode == 0, done.stderr
    assert "environment" in done.stdout
    written = json.loads(path.read_text())
    assert set(written) == {"date", "machine", "tasks"}
    assert set(written["tasks"]["cartpole"]["parts"]) == {"environment"}


def test_unknown_names_are_refused():
    done = run("--parts=policy,replay")
    assert done.returncode == 1
    assert "--parts=policy,replay: there are environment, policy, " in done.stderr


def test_what_is_not_measured_on_a_task_is_refused():
    done = run("--tasks=cartpole", "--parts=loss")
    assert done.returncode == 1
    assert "--parts=loss: it is not measured on cartpole." in done.stderr


def test_numbers_of_simulated_actors_must_ascend():
    done = run("--actors=100,10", module="benchmarks.scale")
    assert done.returncode == 1
    assert "--actors=100,10: give ascending numbers" in done.stderr
