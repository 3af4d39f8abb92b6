"""launch/train.py as its users meet it: what it trains with, and what it refuses."""

import dataclasses
import json
import re
import subprocess
import sys

import psutil
import pytest

from acme_impala import Adam, IMPALAConfig, LinearSchedule, RMSProp
from acme_impala.environments import EnvironmentFactory, LabOptions
from acme_impala.experiments import run_directory, stored_run
from acme_impala.replay_config import ReplayConfig

from ..experiments.runs import ROOT, catch_config
from .running import run_commands

# What is refused: flags, and a part of the message.
REFUSED = {
    "no environment": ([], "Flag --env must have a value other than None"),
    "an unknown kind of environment": (["--env=pong"], "There is no environment 'pong'"),
    "a name that is nearly one": (["--env=cach"], "Is it 'catch' or 'gym:cach' or"),
    "an unknown Gymnasium id": (["--env=gym:CartPole-v9"], "There is no environment 'gym:Cart"),
    "an unknown game": (["--env=atari:pinpong"], "There is no Atari game 'pinpong'"),
    "no name after the colon": (["--env=gym:"], "There is no environment 'gym:'"),
    "a level without DeepMind Lab": (
        ["--env=dmlab:rooms_watermaze"],
        "DeepMind Lab needs the package deepmind_lab, which is on no registry: build it",
    ),
    "a level without its pictures": (
        ["--env=dmlab:psychlab_continuous_recognition"],
        "name its directory by dataset_path (--dataset_path)",
    ),
    "unroll length 0": (["--unroll_length=0"], "unroll_length must be a whole number"),
    "batch size 0": (["--batch_size=0"], "batch_size must be a whole number"),
    "batch size of half": (["--batch_size=1.5"], "--batch_size=1.5"),
    "a queue smaller than a batch": (["--queue_size=3"], "queue_size=3 is smaller than batch_size"),
    "a discount above 1": (["--discount=1.01"], "discount must be in [0, 1], got 1.01"),
    "a discount below 0": (["--discount=-0.1"], "discount must be in [0, 1], got -0.1"),
    "a discount that is no number": (["--discount=none"], "--discount=none"),
    "a NaN discount": (["--discount=nan"], "discount must be in [0, 1], got nan"),
    "rho_bar below c_bar": (["--clip_rho_threshold=0.5"], "clip_rho_threshold=0.5 is smaller than"),
    "c_bar without a clip alone": (["--clip_c_threshold=none"], "V-trace needs rho_bar >= c_bar"),
    "a reward scale of zero": (
        ["--reward_scale=0"],
        "reward_scale must be a finite number above 0",
    ),
    "a negative baseline cost": (["--baseline_cost=-1"], "baseline_cost must be a finite number"),
    "a negative entropy cost": (["--entropy_cost=-1"], "entropy_cost must be a finite number"),
    "a negative end of a schedule": (["--learning_rate=1e-3:-1"], "learning_rate must be a finite"),
    "a schedule of three": (["--learning_rate=1:2:3"], "--learning_rate=1:2:3 is not understood"),
    "a clip that is no number": (
        ["--max_gradient_norm=big"],
        "--max_gradient_norm=big is not understood",
    ),
    "a clip of infinity": (["--max_gradient_norm=inf"], "max_gradient_norm must be positive and"),
    "a clipping without a name": (["--reward_clipping=hard"], "reward_clipping must be one of"),
    "zero actors": (["--num_actors=0"], "num_actors must be a whole number of at least 1, got 0"),
    "minus one actors": (["--num_actors=-1", "--launcher=local_mt"], "num_actors must be"),
    "zero frames": (["--num_frames=0"], "num_frames must be a whole number of at least 1, got 0"),
    "no evaluation episodes": (["--evaluation_episodes=0"], "evaluation_episodes must be"),
    "evaluations every 0 frames": (["--evaluate_every=0"], "evaluate_every must be"),
    "no time between checkpoints": (["--checkpoint_seconds=0"], "checkpoint_seconds must be"),
    "a negative seed": (["--seed=-1"], "seed must"),
    "a layer of no units": (["--hidden_sizes=16,0"], "hidden_sizes must be made of whole numbers"),
    "layers that are no numbers": (["--hidden_sizes=big"], "--hidden_sizes=big is not understood"),
    "layers of no MLP": (
        ["--env=atari:pong", "--hidden_sizes=16"],
        "--hidden_sizes means nothing to the torso atari",
    ),
    "a replay table of nothing replayed": (
        ["--replay_capacity=100"],
        "--replay_capacity means nothing where nothing is replayed",
    ),
    "an image network for a vector": (["--env=gym:CartPole-v1", "--torso=atari"], "image"),
    "an unknown launcher": (["--launcher=slurm"], "--launcher=slurm"),
    "an unknown flag": (["--learning_rat=1"], "learning_rat"),
    "frames of a step that are known": (["--frames_per_step=2"], "An agent step of catch takes 1"),
    "no frames in a step": (
        ["--env=gym:CartPole-v1", "--frames_per_step=0"],
        "frames_per_step must be a whole number of at least 1, got 0",
    ),
    "a vectorization for nothing": (
        ["--vectorization=sync"],
        "--vectorization=sync means nothing to --env=catch",
    ),
    "sticky actions of no game": (
        ["--sticky_actions"],
        "--sticky_actions=True means nothing to --env=catch: leave it out, or name an environment "
        "of Atari's.",
    ),
    "a renderer of no level": (
        ["--env=gym:CartPole-v1", "--renderer=hardware"],
        "--renderer=hardware means nothing to --env=gym:CartPole-v1: leave it out, or name an "
        "environment of DeepMind Lab's.",
    ),
    "no vector environment": (
        ["--env=gym:MountainCar-v0", "--vectorization=vector_entry_point"],
        "has no vector_entry_point of its own",
    ),
    "a private network with others in it": (
        ["--private", "--ray_address=auto"],
        "--private leaves no way to a cluster",
    ),
    "a cluster without Ray": (["--ray_address=auto"], "--ray_address means nothing to --launcher"),
    "actors in one loop": (
        ["--launcher=in_process", "--num_actors=2"],
        "--num_actors means nothing to --launcher=in_process",
    ),
    "a host's actors in one loop": (
        ["--launcher=in_process", "--weights_max_age=1"],
        "--weights_max_age means nothing to --launcher=in_process",
    ),
    "one loop, zero frames": (["--launcher=in_process", "--num_frames=0"], "num_frames must be"),
}
# The same for workdirs, which have to be prepared: see `workdirs`.
REFUSED_WORKDIRS = {
    "a file": "is a file; it must be a directory",
    "below a file": "cannot be written",
    "below /proc": "cannot be written",
    "a folder of somebody else's": "is no run's, for it has no config.json, and holds logs",
    "another run's config": "agent.batch_size: stored 4, now 8",
    "a config cut short": "config.json cannot be read",
    "only broken checkpoints": "All 1 checkpoints in",
    "in use": "is in use by another run",
}


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """Workdirs that are refused, by the names above."""
    root = tmp_path_factory.mktemp("workdirs")
    (root / "file").write_text("mine")

    def taken_up(name, **changes):
        directory = run_directory.claim(catch_config(root / name, **changes))
        run_directory.release(directory)
        return directory

    agent = catch_config("x").agent
    taken_up("other")
    assert agent.batch_size == 4
    cut = taken_up("cut")
    cut.config.write_text(cut.config.read_text()[:50])
    broken = root / "broken"
    (broken / "checkpoints").mkdir(parents=True)
    (broken / "checkpoints" / "checkpoint-7.index").write_bytes(b"cut")
    (root / "foreign" / "logs").mkdir(parents=True)
    in_use = run_directory.claim(catch_config(root / "in use"))
    yield {
        "a file": root / "file",
        "below a file": root / "file" / "run",
        "below /proc": "/proc/run",
        "a folder of somebody else's": root / "foreign",
        "another run's config": root / "other",
        "a config cut short": root / "cut",
        "only broken checkpoints": broken,
        "in use": root / "in use",
    }
    run_directory.release(in_use)


@pytest.fixture(scope="module")
def refusals(tmp_path_factory, workdirs):
    """What the commands did: by name, (status, output, workdir, temporary directory)."""
    root = tmp_path_factory.mktemp("refusals")
    commands, paths = {}, {}
    for number, (name, (flags, _)) in enumerate(REFUSED.items()):
        paths[name] = root / f"run-{number}"
        environment = [] if name == "no environment" else ["--env=catch"]
        commands[name] = [*environment, f"--workdir={paths[name]}", *flags]
    for name, path in workdirs.items():
        paths[name] = path
        commands[name] = ["--env=catch", f"--workdir={path}", "--batch_size=8"]
    ended = run_commands(root, {n: ["launch/train.py", *c] for n, c in commands.items()})
    return {
        name: (*ended[name], paths[name], root / f"{number}.tmp")
        for number, name in enumerate(commands)
    }


@pytest.mark.parametrize("name", [*REFUSED, *REFUSED_WORKDIRS])
def test_it_refuses(refusals, name):
    status, output, _, temporary = refusals[name]
    message = REFUSED_WORKDIRS[name] if name in REFUSED_WORKDIRS else REFUSED[name][1]
    assert status == 1, output
    assert message in output
    assert "Traceback" not in output
    # Launchpad puts what it hands to processes into a temporary directory: there were none.
    assert not temporary.exists() or list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_leaves_nothing_behind(refusals, name):
    _, output, workdir, _ = refusals[name]
    assert not workdir.exists(), output


def test_a_refused_workdir_is_left_as_it_was(refusals, workdirs):
    assert workdirs["a file"].read_text() == "mine"
    other = run_directory.RunDirectory(str(workdirs["another run's config"]))
    assert run_directory.read_config(other) == catch_config(other.root).to_json()
    assert len(workdirs["a config cut short"].joinpath("config.json").read_text()) == 50


def test_a_refusal_of_values_is_one_line(refusals):
    for name in REFUSED:
        _, output, _, _ = refusals[name]
        lines = [line for line in output.splitlines() if line.strip()]
        usage = "Flag" in output or "flag" in output  # absl's own, which hints at --help.
        assert len(lines) == 1 or usage, output


def test_no_process_was_left(refusals):
    del refusals
    children = psutil.Process().children(recursive=True)
    assert not any("launch/train.py" in " ".join(child.cmdline()) for child in children)


# What flags make of a config, asked in a process of their own.
SHOW = """
import json, runpy, sys
sys.path.insert(0, "launch")
import train
from absl import app
def show(_):
    preset = train.hyperparameters.make_preset(train.FLAGS.env)
    print("config:", json.dumps(train.make_config(preset).to_json()))
app.run(show)
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    root = tmp_path_factory.mktemp("shown")
    script = root / "show.py"
    script.write_text(SHOW)
    commands = {
        "defaults": ["--env=catch"],
        "atari": ["--env=atari:pong", "--num_frames=40000000", "--sticky_actions"],
        "lab": [
            "--env=dmlab:psychlab_visual_search",
            "--level_cache=maps",
            "--dataset_path=pictures",
            "--renderer=hardware",
        ],
        "all actions": ["--env=atari:pong", "--full_action_space"],
        "cartpole": ["--env=gym:CartPole-v1", "--preset=catch", "--seed=5"],
        "catch": ["--env=catch", "--preset=atari"],
        "an image": ["--env=gym:CarRacing-v3", "--preset=atari"],
        "an emulator": ["--env=gym:ALE/Pong-v5", "--frames_per_step=4", "--optimizer=adam"],
        "its optimizer": ["--env=dmlab:rooms_watermaze", "--optimizer=rmsprop"],
        "all": [
            "--env=memory",
            "--core=lstm",
            "--hidden_sizes=8,9",
            "--unroll_length=5",
            "--batch_size=6",
            "--queue_size=7",
            "--max_policy_lag=8",
            "--discount=0.5",
            "--lambda_=0.25",
            "--clip_rho_threshold=none",
            "--clip_pg_rho_threshold=2",
            "--clip_c_threshold=none",
            "--reward_scale=0.5",
            "--baseline_cost=0.125",
            "--max_gradient_norm=none",
            "--learning_rate=1e-2:1e-4",
            "--entropy_cost=0.75",
            "--reward_clipping=soft_asymmetric",
            "--optimizer=rmsprop",
            "--num_frames=1234",
            "--target_return=0.5",
            "--last_action_and_reward",
        ],
    }
    ended = run_commands(root, {name: [script, *flags] for name, flags in commands.items()})
    shown = {}
    for name, (_, output) in ended.items():
        assert "config: " in output, output
        shown[name] = json.loads(output.split("config: ")[1])
    return shown


def test_the_preset_follows_from_the_environment(shown):
    assert shown["defaults"]["agent"]["unroll_length"] == 10
    assert shown["defaults"]["network_factory"]["torso"] == "mlp"
    atari = shown["atari"]
    assert atari["agent"]["unroll_length"] == 20
    assert atari["agent"]["frames_per_step"] == 4
    assert atari["agent"]["learning_rate"]["frames"] == 40_000_000
    assert atari["network_factory"]["torso"] == "atari"
    assert atari["environment_factory"]["atari"]["sticky_actions"] is True


def test_the_preset_and_the_options_of_deepmind_lab(shown):
    fields = shown["lab"]
    assert fields["agent"]["unroll_length"] == 100
    assert fields["network_factory"]["torso"] == "deep"
    factory = stored_run.restore(fields["environment_factory"], EnvironmentFactory, "the test")
    assert factory == EnvironmentFactory(
        "dmlab:psychlab_visual_search",
        last_action_and_reward=True,
        lab=LabOptions(level_cache="maps", dataset_path="pictures", renderer="hardware"),
    )


def test_a_game_has_its_own_actions_and_all_18_where_that_is_asked_for(shown):
    for name, number in (("atari", 6), ("all actions", 18)):
        fields = dict(shown[name]["environment_factory"])
        factory = stored_run.restore(fields, EnvironmentFactory, "the test")
        assert factory(seed=0).action_spec().num_values == number
        for evaluation in (False, True):
            assert factory.batch(0, 2, evaluation).action_spec().num_values == number


def test_frames_of_a_step_are_the_environments_whatever_the_preset(shown):
    assert shown["atari"]["environment_factory"]["atari"]["action_repeat"] == 4
    for name, frames in (("atari", 4), ("lab", 4), ("catch", 1), ("defaults", 1)):
        assert shown[name]["agent"]["frames_per_step"] == frames


def test_frames_of_a_gymnasium_step_are_one_or_what_is_said(shown):
    assert shown["an image"]["agent"]["frames_per_step"] == 1
    assert shown["an emulator"]["agent"]["frames_per_step"] == 4


def test_a_named_optimizer_has_the_presets_settings_where_that_has_the_same(shown):
    for name in ("its optimizer", "lab"):
        optimizer = shown[name]["agent"]["optimizer"]
        assert (optimizer["type"], optimizer["epsilon"]) == ("RMSProp", 0.1)
    assert shown["an emulator"]["agent"]["optimizer"]["type"] == "Adam"


def test_a_preset_can_be_named_and_the_seed_is_everyones(shown):
    fields = shown["cartpole"]
    assert fields["agent"]["batch_size"] == 4
    assert fields["seed"] == fields["network_factory"]["seed"] == 5


def test_every_hyperparameter_can_be_given(shown):
    fields = shown["all"]
    agent = fields["agent"]
    assert agent["learning_rate"] == {
        "type": LinearSchedule.__name__,
        "initial": 1e-2,
        "final": 1e-4,
        "frames": 1234,
    }
    assert agent["optimizer"]["type"] == RMSProp.__name__ != Adam.__name__
    expected = {
        "unroll_length": 5,
        "batch_size": 6,
        "queue_size": 7,
        "max_policy_lag": 8,
        "discount": 0.5,
        "lambda_": 0.25,
        "clip_rho_threshold": None,
        "clip_pg_rho_threshold": 2.0,
        "clip_c_threshold": None,
        "reward_scale": 0.5,
        "baseline_cost": 0.125,
        "max_gradient_norm": None,
        "entropy_cost": 0.75,
        "reward_clipping": "soft_asymmetric",
    }
    assert {name: agent[name] for name in expected} == expected
    network = fields["network_factory"]
    assert (network["core"], network["hidden_sizes"]) == ("lstm", [8, 9])
    assert fields["target_return"] == 0.5
    assert fields["environment_factory"]["last_action_and_reward"] is True


def test_the_command_itself_refuses_and_its_status_says_so(tmp_path):
    """One of the refusals above without anything in between."""
    result = subprocess.run(
        [sys.executable, ROOT / "launch/train.py", "--env=catch", "--discount=2"],
        cwd=tmp_path,  # The default workdir would be made here.
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "discount must be in [0, 1], got 2.0" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_help_says_of_every_setting_what_it_is():
    command = [sys.executable, "launch/train.py", "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    without = {"replay", "max_nonfinite_batches", "frames_per_step"}
    names = {field.name for field in dataclasses.fields(IMPALAConfig)} - without
    names |= {f"replay_{field.name}" for field in dataclasses.fields(ReplayConfig)}
    names |= {"env", "num_frames", "preset", "seed", "torso", "core", "hidden_sizes"}
    described = dict(re.findall(r"^  --(?:\[no\])?(\w+):\s+(\S.*)", text, re.MULTILINE))
    assert names <= set(described)
    assert described["batch_size"] == "B, unrolls in a batch."
