"""The program on Ray: real clusters on this machine, and deaths of every kind of process."""

import pathlib
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from acme_impala.experiments import RayOptions, checkpointing, ray_cluster
from acme_impala.experiments.run_directory import RunDirectory

from .runs import (
    ENDED_EARLY,
    FOR_EVER,
    ROOT,
    Command,
    assert_balanced,
    column,
    learned,
    train,
    wait_until_gone,
)


def ledgers(directory):
    """Who has acted: actor, its life, the learner's life."""
    paths = directory.accounts.glob("actor_*.ledger")
    return {(name, int(a), int(b)) for name, a, b in (path.stem.split(".") for path in paths)}


def rays_folders():
    """Folders of Ray's, there or where paths are shorter."""
    return set(pathlib.Path("/tmp").glob("impala-ray-*"))


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A run in which an actor and then the learner are killed, and a host wants itself back."""
    path = tmp_path_factory.mktemp("ray")
    directory = RunDirectory(str(path / "run"))
    story = SimpleNamespace(directory=directory)
    folders = rays_folders()
    flags = ("--launcher=ray", "--checkpoint_seconds=1", "--evaluate_every=2000", FOR_EVER)
    command = train(path, "--num_actors=2", *flags)

    def learns_on(frames):
        before = learned(directory)
        command.wait_until(lambda: learned(directory) > before + frames)

    command.wait_until(lambda: learned(directory) > 1000)
    story.nodes = set(command.nodes())
    command.nodes()["actor_1"].kill()
    command.wait_until(lambda: ("actor_1", 1, 0) in ledgers(directory))
    learns_on(500)
    found = checkpointing.newest_whole(directory.checkpoints)
    command.nodes()["learner"].kill()
    command.wait_until(lambda: {("actor_0", 0, 1), ("actor_1", 1, 1)} <= ledgers(directory))
    command.wait_until(lambda: learned(directory) > found.counts["learner_frames"] + 1000)
    command.nodes()["actor_1"].send_signal(signal.SIGTERM)
    story.status = command.wait()
    story.output = command.output
    story.left = wait_until_gone(command)
    story.total = assert_balanced(directory)
    story.temporary = [*command.temporary.iterdir(), *(rays_folders() - folders)]

    command = train(path, "--num_actors=1", *flags)
    begin = newest(directory)
    command.wait_until(lambda: learned(directory) > begin + 500)
    story.told_status, _ = command.stop(signal.SIGTERM)
    story.told_output = command.output
    story.left_by_told = wait_until_gone(command)
    assert_balanced(directory)

    command = train(path, "--num_actors=1", *flags)
    begin = newest(directory)
    command.wait_until(lambda: learned(directory) > begin + 500)
    command.process.kill()
    story.left_by_killed = [*wait_until_gone(command), *(rays_folders() - folders)]
    command.kill()
    story.newest_of_killed = newest(directory)
    return story


def newest(directory):
    """Frames learned of the newest whole checkpoint."""
    return checkpointing.newest_whole(directory.checkpoints).counts["learner_frames"]


def test_nodes_share_processes_as_they_do_on_one_machine(story):
    assert story.nodes == {"learner", "actor_0", "actor_1"}


def test_who_dies_is_replaced_and_every_frame_is_accounted_for(story):
    for name in ("actor_1", "learner"):
        assert f"{name} (process " in story.output
    assert story.output.count("was killed by signal 9, death 1 of 5 in 600 s") == 2
    assert story.total["dropped_learner_died"] > 0
    assert story.total["learned_fresh"] >= 1000


def test_a_hosts_order_to_end_saves_everything_and_leaves_nothing(story):
    assert story.status == ENDED_EARLY, story.output
    assert story.left == []
    assert story.temporary == []
    assert "did not end in time" not in story.output


def test_sigterm_to_the_launcher_does_so_too(story):
    assert story.told_status == ENDED_EARLY, story.told_output
    assert story.left_by_told == []
    assert "did not end in time" not in story.told_output


def test_logs_of_all_lives_are_one_run(story):
    for node in ("learner", "actor_0", "actor_1", "evaluator"):
        frames = column(story.directory, node, "frames")
        assert frames == sorted(frames), node
    steps = column(story.directory, "learner", "learner_steps")
    assert steps == sorted(set(steps))


def test_when_the_launcher_is_killed_its_cluster_ends_too(story):
    assert story.left_by_killed == []
    assert story.newest_of_killed > 0


def test_a_node_that_dies_too_often_ends_the_run_with_its_traceback(tmp_path):
    failing = "tests/experiments/launch_failing.py"
    command = Command(tmp_path, failing, "actor", "ray", tmp_path / "run")
    assert command.wait() == 1
    assert "death 1 of 1 in 600 s: the run ends." in command.output
    assert "RuntimeError: the game crashed at step 31" in command.output
    assert wait_until_gone(command) == []


def test_what_a_cluster_has_no_room_for_is_refused_before_anything_is_started():
    hosts = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0, "fast_disk": 1.0}]
    needs = {"learner": {"CPU": 1.0, "GPU": 1.0}, "actor": {"CPU": 2.0, "GPU": 0.0}}
    ray_cluster._check_fit(needs, {"learner": 1, "actor": 2}, hosts)
    with pytest.raises(ValueError, match="no room for actor 3 of 3, which needs 2 CPU"):
        ray_cluster._check_fit(needs, {"learner": 1, "actor": 3}, hosts)
    with pytest.raises(ValueError, match="no room for learner 2 of 2"):
        ray_cluster._check_fit(needs, {"learner": 2, "actor": 1}, hosts)


def test_resources_are_read_as_flags_have_them():
    read = ray_cluster.parse_resources(["learner:gpus=0.5,memory=2G", "actor:cpus=2,sim=1"])
    assert read == {
        "learner": {"gpus": 0.5, "memory": float(2 << 30)},
        "actor": {"cpus": 2.0, "sim": 1.0},
    }
    for text in ("learner", "learner:", "learner:gpus", "learner:gpus=x", ":cpus=1", "a:=1"):
        with pytest.raises(ValueError, match="is not of the form GROUP:NAME=AMOUNT"):
            ray_cluster.parse_resources([text])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_deaths": 0}, "max_deaths must be 1 or more, got 0"),
        ({"deaths_seconds": 0.0}, "deaths_seconds must be above 0, got 0.0"),
        ({"resources": {"evaluator": {"cpus": 1}}}, "there are learner and actor"),
        ({"resources": {"actor": {"cpus": -1}}}, "actor:cpus must not be negative: -1"),
    ],
)
def test_impossible_options_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        RayOptions(**fields)


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    command = train(tmp_path, "--launcher=ray", "--ray_address=127.0.0.1:1")
    assert command.wait() == 1
    assert "ray_address=127.0.0.1:1 cannot be used" in command.output
    assert "Traceback" not in command.output


def test_without_ray_the_launcher_says_how_to_get_it(tmp_path):
    (tmp_path / "ray.py").write_text("raise ImportError('No module named ray')\n")
    command = train(tmp_path, "--launcher=ray", PYTHONPATH=str(tmp_path))
    assert command.wait() == 1
    assert "pip install 'acme-impala[ray]'" in command.output
    assert "Traceback" not in command.output


HOLDING = """
import os, sys, time
import ray
from acme_impala.experiments import ray_cluster, signals

class Holder:
    def holds(self):
        return True

with signals.heeded() as stop, ray_cluster.connected(ray_cluster.RayOptions(), {"actor": 2}):
    holder = ray.remote(num_cpus=ray.cluster_resources()["CPU"])(Holder).remote()
    assert ray.get(holder.holds.remote())
    print("address", ray.get_runtime_context().gcs_address, flush=True)
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.1)
    ray.kill(holder)
    stop.wait()
"""


def test_it_waits_for_what_others_hold_and_ends_when_told_to_meanwhile(tmp_path):
    holding = Command(tmp_path / "holding", "-c", HOLDING, tmp_path / "release")
    try:
        holding.wait_until(lambda: "address" in holding.output)
        address = holding.output.split("address ")[1].split()[0]
        flags = ("--launcher=ray", f"--ray_address={address}", "--num_actors=1")

        told = train(tmp_path / "told", *flags)
        told.wait_until(lambda: "Waits for room on the Ray cluster for" in told.output)
        status, _ = told.stop(signal.SIGTERM)
        assert status == ENDED_EARLY
        assert "Traceback" not in told.output

        waiting = train(tmp_path / "waiting", *flags, "--num_frames=1000")
        waiting.wait_until(lambda: "Waits for room on the Ray cluster for" in waiting.output)
        (tmp_path / "release").touch()
        assert waiting.wait() == 0
        assert_balanced(RunDirectory(str(tmp_path / "waiting" / "run")))
    finally:
        holding.stop(signal.SIGINT)
    assert wait_until_gone(holding) == []


def test_the_package_does_not_import_ray():
    code = "import acme_impala.experiments, sys; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
