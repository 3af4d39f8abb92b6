"""launch/evaluate.py as its users meet it."""

import csv
import dataclasses
import json
import re
import shutil

import pytest
from PIL import Image

from acme_impala import run_experiment
from acme_impala.environments import EnvironmentFactory
from acme_impala.experiments import run_directory

from ..experiments.runs import catch_config
from .running import run_commands


def make_catch(seed, evaluation):
    del evaluation
    return EnvironmentFactory("catch")(seed)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def results(root):
    """What the command said: by name, (status, output)."""
    config = catch_config(root / "run", num_frames=300, evaluate_every=300)
    run_experiment(config)
    other = dataclasses.replace(
        config, environment_factory=EnvironmentFactory("memory"), workdir=str(root / "memory")
    )
    run_experiment(other)
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
    (root / "foreign").mkdir()
    (root / "foreign" / "config.json").write_text('{"name": "something else"}')
    shutil.copytree(root / "run", root / "newer")
    newer = json.loads((root / "newer" / "config.json").read_text())
    newer["network_factory"]["num_heads"] = 8
    (root / "newer" / "config.json").write_text(json.dumps(newer))
    shutil.copytree(root / "run", root / "taken")
    (root / "taken" / "scores-324.csv").mkdir()  # As what may not be written is to who is not root.
    shutil.copytree(root / "run", root / "copy")
    commands = {
        "seven": [f"--workdir={root / 'run'}", "--episodes=7"],
        "seven again": [f"--workdir={root / 'run'}", "--episodes=7"],
        "greedy": [
            f"--workdir={root / 'run'}",
            "--episodes=3",
            "--greedy",
            f"--output={root / 'greedy.csv'}",
            f"--video={root / 'greedy.gif'}",
        ],
        "two runs": [f"--workdir={root / 'run'},{root / 'memory'}", "--episodes=7"],
        "two runs, one table": [
            f"--workdir={root / 'memory'},{root / 'run'}",
            "--episodes=3",
            f"--output={root / 'two.csv'}",
        ],
        "the same twice": [f"--workdir={root / 'run'},{root / 'copy'}"],
        "another seed": [f"--workdir={root / 'run'}", "--episodes=40", "--seed=2"],
        "no workdir": ["--episodes=7"],
        "empty workdir": ["--workdir="],
        "empty name": [f"--workdir={root / 'run'},"],
        "twice": [f"--workdir={root / 'run'},{root / 'run'}"],
        "empty video": [f"--workdir={root / 'run'}", "--video="],
        "missing": [f"--workdir={root / 'nowhere'}"],
        "empty": [f"--workdir={root / 'empty'}"],
        "no checkpoint": [f"--workdir={root / 'none'}"],
        "broken": [f"--workdir={root / 'broken'}"],
        "no episodes": [f"--workdir={root / 'run'}", "--episodes=0"],
        "by code": [f"--workdir={root / 'by code'}"],
        "no video": [f"--workdir={root / 'run'}", "--video=video.txt"],
        "foreign": [f"--workdir={root / 'foreign'}"],
        "newer": [f"--workdir={root / 'newer'}"],
        "a directory": [f"--workdir={root / 'run'}", f"--output={root / 'empty'}"],
        "taken": [f"--workdir={root / 'taken'}"],
        "no directory": [f"--workdir={root / 'run'}", f"--output={root / 'nowhere' / 'a.csv'}"],
    }
    return run_commands(root, {n: ["launch/evaluate.py", *c] for n, c in commands.items()})


ROW = re.compile(r"\| catch \| +(\d+) \| +(\S+) \| +(\S+) \| +(\S+) \| +(\S+) \|")


def row(results, name):
    status, output = results[name]
    assert status == 0, output
    return [float(number) for number in ROW.search(output).groups()]


@pytest.mark.parametrize(("name", "number"), [("seven", 7), ("another seed", 40), ("greedy", 3)])
def test_it_prints_the_scores_of_the_episodes_asked_for(results, name, number):
    episodes, mean, spread, low, high = row(results, name)
    assert episodes == number
    assert {low, high} <= {-1.0, 1.0}
    caught = (mean + 1) / 2 * number
    assert caught == pytest.approx(round(caught), abs=0.1)
    assert spread == pytest.approx((1 - mean**2) ** 0.5, abs=0.02)
    assert "catch: 9 agent steps a game" in results[name][1]


@pytest.mark.parametrize(
    ("name", "file"), [("greedy", "greedy.csv"), ("another seed", "run/scores-324.csv")]
)
def test_it_writes_the_table_that_it_prints(results, root, name, file):
    assert f"Table: {root / file}" in results[name][1]
    with open(root / file, newline="") as opened:
        (written,) = csv.DictReader(opened)
    assert written["task"] == "catch"
    assert written["human_normalized"] == ""
    numbers = [float(written[key]) for key in ("episodes", "mean", "std", "minimum", "maximum")]
    assert numbers == pytest.approx(row(results, name), abs=0.005)


def test_runs_of_single_tasks_make_one_table(results, root):
    """As the experts of a suite do. Without --output each run has its own part."""
    status, output = results["two runs"]
    assert status == 0, output
    assert output.index("| catch ") < output.index("| memory ")
    memory = next((root / "memory").glob("scores-*.csv"))
    assert f"Table: {root / 'run' / 'scores-324.csv'}" in output
    assert f"Table: {memory}" in output
    assert [line.split(",")[0] for line in memory.read_text().splitlines()] == ["task", "memory"]
    status, output = results["two runs, one table"]
    assert status == 0, output
    tasks = [line.split(",")[0] for line in (root / "two.csv").read_text().splitlines()]
    assert tasks == ["task", "memory", "catch"]


def test_it_writes_a_video_of_one_more_game(results, root):
    assert f"Video: {root / 'greedy.gif'}" in results["greedy"][1]
    with Image.open(root / "greedy.gif") as images:
        assert images.size == (200, 400)
        assert images.n_frames == 10  # The ball falls from the first to the last row.


def test_the_same_seed_gives_the_same_figures(results):
    assert row(results, "seven") == row(results, "seven again")


def test_it_says_which_checkpoint_it_evaluates(results):
    assert re.search(r"checkpoint-\d+, \d+ environment frames", results["seven"][1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no workdir", "--workdir"),
        ("empty workdir", "--workdir is empty"),
        ("empty name", "a name is missing between its commas"),
        ("twice", "names a run directory twice"),
        ("empty video", "must end in .mp4 or .gif"),
        ("missing", "holds no run: there is no config.json"),
        ("empty", "holds no run: there is no config.json"),
        ("no checkpoint", "holds no checkpoint yet"),
        ("broken", "All 1 checkpoints in"),
        ("no episodes", "--episodes=0"),
        ("no video", "must end in .mp4 or .gif, got"),
        ("no directory", "nowhere, which --output names, is no directory"),
        ("foreign", "has not the fields of this version's runs: 'environment_factory'"),
        ("newer", "has not the fields of this version's runs"),
        ("a directory", "empty cannot be written"),
        ("taken", "scores-324.csv cannot be written"),
        ("the same twice", "are both of catch"),
        ("by code", "was made by code, with tests.launch.test_evaluate.make_catch"),
    ],
)
def test_it_refuses_and_says_why(results, name, message):
    status, output = results[name]
    assert status == 1, output
    assert message in output
    assert "Traceback" not in output
    assert "agent steps a game" not in output


def test_evaluating_leaves_the_run_as_it_is_but_for_the_scores(results, root):
    del results
    names = {path.name for path in (root / "run").iterdir()} - {".lock"}
    assert names == {
        "config.json",
        "checkpoints",
        "logs",
        "tensorboard",
        "learning_curve.png",
        "failures",
        "accounts",
        "status",
        "replay",
        "scores-324.csv",
    }
