"""launch/evaluate.py as its users meet it."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import pytest

from acme_impala import run_experiment
from acme_impala.environments import EnvironmentFactory
from acme_impala.experiments import run_directory

from ..experiments.runs import ROOT, catch_config


def make_catch(seed, evaluation):
    del evaluation
    return EnvironmentFactory("catch")(seed)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the command said: by name, (status, output)."""
    root = tmp_path_factory.mktemp("runs")
    config = catch_config(root / "run", num_frames=300, evaluate_every=300)
    run_experiment(config)
    for name in ("broken", "none"):
        shutil.copytree(root / "run", root / name)
    for path in (root / "none" / "checkpoints").glob("checkpoint-*"):
        path.unlink()
    for path in (root / "broken" / "checkpoints").glob("checkpoint-*.index"):
        path.write_bytes(path.read_bytes()[:20])
    by_code = dataclasses.replace(
        config, environment_factory=make_catch, workdir=str(root / "by code")
    )
    run_directory.release(run_directory.claim(by_code))
    (root / "empty").mkdir()
    commands = {
        "seven": [f"--workdir={root / 'run'}", "--episodes=7"],
        "seven again": [f"--workdir={root / 'run'}", "--episodes=7"],
        "another seed": [f"--workdir={root / 'run'}", "--episodes=40", "--seed=2"],
        "greedy": [f"--workdir={root / 'run'}", "--episodes=3", "--greedy"],
        "no workdir": ["--episodes=7"],
        "missing": [f"--workdir={root / 'nowhere'}"],
        "empty": [f"--workdir={root / 'empty'}"],
        "no checkpoint": [f"--workdir={root / 'none'}"],
        "broken": [f"--workdir={root / 'broken'}"],
        "no episodes": [f"--workdir={root / 'run'}", "--episodes=0"],
        "by code": [f"--workdir={root / 'by code'}"],
    }
    result = subprocess.run(
        [sys.executable, "tests/launch/commands.py", root],
        cwd=ROOT,
        input=json.dumps([["launch/evaluate.py", *command] for command in commands.values()]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    statuses = json.loads(result.stdout)
    return {
        name: (statuses[number], (root / f"{number}.txt").read_text())
        for number, name in enumerate(commands)
    }


LINE = re.compile(
    r"(\d+) episodes: return (\S+) \+- (\S+) \(from (\S+) to (\S+)\), (\d+) agent steps each"
)


def line(results, name):
    status, output = results[name]
    assert status == 0, output
    return [float(number) for number in LINE.search(output).groups()]


@pytest.mark.parametrize(("name", "number"), [("seven", 7), ("another seed", 40), ("greedy", 3)])
def test_it_prints_the_mean_over_the_episodes_asked_for(results, name, number):
    episodes, mean, spread, low, high, length = line(results, name)
    assert episodes == number
    assert length == 9
    assert {low, high} <= {-1.0, 1.0}
    caught = (mean + 1) / 2 * number
    assert caught == pytest.approx(round(caught), abs=0.1)
    assert spread == pytest.approx((1 - mean**2) ** 0.5, abs=0.02)


def test_the_same_seed_gives_the_same_figures(results):
    assert line(results, "seven") == line(results, "seven again")


def test_it_says_which_checkpoint_it_evaluates(results):
    assert re.search(r"checkpoint-\d+, \d+ environment frames", results["seven"][1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no workdir", "--workdir"),
        ("missing", "holds no run: there is no config.json"),
        ("empty", "holds no run: there is no config.json"),
        ("no checkpoint", "holds no checkpoint yet"),
        ("broken", "All 1 checkpoints in"),
        ("no episodes", "--episodes=0"),
        ("by code", "was made by code, with tests.launch.test_evaluate.make_catch"),
    ],
)
def test_it_refuses_and_says_why(results, name, message):
    status, output = results[name]
    assert status == 1, output
    assert message in output
    assert "Traceback" not in output


def test_evaluating_leaves_the_run_as_it_is(results, tmp_path_factory):
    del results
    root = max(tmp_path_factory.getbasetemp().glob("runs*"), key=lambda path: path.stat().st_mtime)
    names = {path.name for path in (root / "run").iterdir()} - {".lock"}
    assert names == {
        "config.json",
        "checkpoints",
        "logs",
        "tensorboard",
        "learning_curve.png",
        "failures",
        "accounts",
        "replay",
    }
