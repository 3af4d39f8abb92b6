"""launch/corrections.py says what makes no sense before anything is run."""

import json

import pytest

from .running import run_commands

REFUSED = {
    "an unknown correction": ("--corrections=best", "--corrections=best: there are vtrace, one_st"),
    "no seed": ("--seeds=0", "--seeds=0 must be at least 1"),
    "no time for evaluations": ("--num_frames=19", "--num_frames=19 must be at least 20"),
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
