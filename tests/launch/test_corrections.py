"""launch/corrections.py: it makes table and plots, and goes on where it was stopped."""

import re
import subprocess
import sys

import pytest

from ..experiments.runs import ROOT


def corrections(*flags):
    return subprocess.run(
        [sys.executable, "launch/corrections.py", *flags],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


def test_table_and_plots_and_nothing_is_run_twice(tmp_path):
    flags = (
        f"--workdir={tmp_path / 'runs'}", f"--output={tmp_path / 'out'}", "--num_frames=200",
        "--seeds=1", "--corrections=vtrace", "--entropy_costs=0.003", "--lags=0",
    )  # fmt: skip
    first = corrections(*flags)
    assert first.returncode == 0, first.stdout
    assert "2/2" in first.stdout
    table = (tmp_path / "out" / "corrections.md").read_text()
    assert re.search(r"\| vtrace \| no \| -?\d\.\d{3} \[", table)
    assert re.search(r"\| vtrace \| yes \| -?\d\.\d{3} \[", table)
    for name in ("corrections.png", "policy_lag.png"):
        assert (tmp_path / "out" / name).read_bytes()[1:4] == b"PNG"
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.csv")}
    (tmp_path / "out" / "corrections.md").unlink()
    assert corrections(*flags).returncode == 0
    assert (tmp_path / "out" / "corrections.md").read_text() == table
    assert times == {path: path.stat().st_mtime_ns for path in times}


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
