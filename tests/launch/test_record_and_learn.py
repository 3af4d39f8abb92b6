"""launch/record.py and launch/learn.py as their users meet them, and what is learned by them."""

import re

import pytest

from acme_impala import replay, run_experiment
from acme_impala.experiments import presets, stored_run

from ..experiments.runs import catch_config
from .running import run_commands


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the commands said: by name, (status, output)."""
    root = tmp_path_factory.mktemp("recordings")
    # Of a policy that has learned something and still tries things.
    preset = presets.PRESETS["catch"](7000)
    run_experiment(
        catch_config(
            root / "run",
            num_frames=7000,
            evaluate_every=7000,
            agent=preset.agent,
            network_factory=preset.network,
        )
    )
    record = ["launch/record.py", f"--workdir={root / 'run'}", f"--recording={root / 'recording'}"]
    learn = [
        "launch/learn.py", f"--recording={root / 'recording'}", f"--workdir={root / 'learned'}",
        "--learning_rate=2e-3", "--batch_size=16", "--seed=3",
    ]  # fmt: skip
    commands = {
        "teacher": ["launch/evaluate.py", f"--workdir={root / 'run'}", "--episodes=200"],
        "record": [*record, "--num_frames=20000"],
        "again": [*record, "--num_frames=100"],
        "learn": [*learn, "--num_frames=90000"],
        "go on": [*learn, "--num_frames=100000", "--accept_new_config"],
        "evaluate": ["launch/evaluate.py", f"--workdir={root / 'learned'}", "--episodes=200"],
        "no run": ["launch/record.py", f"--workdir={root}", f"--recording={root / 'x'}"],
        "no recording": ["launch/learn.py", f"--recording={root}"],
        "lag": [*learn, "--max_policy_lag=3"],
        "replay": [*learn, "--replay_fraction=0.5"],
        "length": [*learn, "--unroll_length=5"],
        "batch": [*learn, "--batch_size=100000", f"--workdir={root / 'refused'}"],
        "network": [*learn, "--hidden_sizes=9", "--num_frames=110000", "--accept_new_config"],
        "file": ["launch/record.py", f"--workdir={root / 'run'}", f"--recording={root / '0.txt'}"],
    }
    return root, run_commands(root, commands)


def mean_return(output):
    return float(re.search(r"\| catch \| +\d+ \| +(-?[\d.]+) \|", output).group(1))


def test_a_policy_learns_to_do_better_than_the_one_it_has_only_the_recording_of(results):
    root, outputs = results
    for name in ("teacher", "record", "learn", "go on", "evaluate"):
        status, output = outputs[name]
        assert status == 0, output
    assert mean_return(outputs["teacher"][1]) < 0.8
    assert mean_return(outputs["evaluate"][1]) >= 0.9
    assert replay.Recording(str(root / "recording")).description["frames"] >= 20000
    assert "90k/90k frames" in outputs["learn"][1]
    assert "100k/100k frames" in outputs["go on"][1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("again", "is not empty"),
        ("no run", "holds no run"),
        ("no recording", "holds no recording"),
        ("lag", "--max_policy_lag is of actors"),
        ("replay", "--replay_fraction is of actors"),
        ("length", "--unroll_length=5.*of 10 steps"),
        ("batch", "unrolls, less than batch_size=100000"),
        ("network", "is of another network or optimizer"),
        ("file", "0.txt cannot be made: "),
    ],
)
def test_what_cannot_be_done_is_said(results, name, message):
    status, output = results[1][name]
    assert status == 1
    assert re.search(message, output), output
    assert "Traceback" not in output


def test_what_was_refused_has_changed_nothing(results):
    root, _ = results
    assert not (root / "refused").exists()
    stored = stored_run.read(str(root / "learned"))
    assert stored.network_factory.hidden_sizes != (9,)
