"""launch/corrections.py says what makes no sense before anything is run."""

import subprocess
import sys

import pytest

from ..experiments.runs import ROOT


def corrections(*flags):
    return subprocess.run(
        [sys.executable, "launch/corrections.py", *flags],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--corrections=best", "--corrections=best: there are vtrace, one_step"),
        ("--seeds=0", "--seeds=0 must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_said(flag, message, tmp_path):
    ended = corrections(f"--workdir={tmp_path}", flag)
    assert ended.returncode == 1
    assert message in ended.stdout
    assert "Traceback" not in ended.stdout
