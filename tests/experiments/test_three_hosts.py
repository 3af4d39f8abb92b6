"""A program on three hosts of a cluster, of which one is cut off for a while."""

import json
import signal
import time
from types import SimpleNamespace

import pytest

from acme_impala.experiments import accounts
from acme_impala.experiments.run_directory import RunDirectory

from . import hosts as hosts_lib
from .runs import ENDED_EARLY, FOR_EVER, Command, assert_balanced, column, learned

# gRPC ends a connection over which an answer has not been taken for 20 seconds.
DOWN_SECONDS = 30.0
ASKED_SECONDS = 1.0


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """CartPole, the learner on one host and the actors on two others, of which one is cut off."""
    reason = hosts_lib.why_not()
    if reason:
        pytest.skip(reason)
    path = tmp_path_factory.mktemp("hosts")
    directory = RunDirectory(str(path / "run"))
    story = SimpleNamespace(directory=directory)
    resources = ['{"first": 1}', '{"other": 1}', '{"other": 1}']
    patience = {"RAY_health_check_failure_threshold": "20"}
    with hosts_lib.cluster(3, resources, **patience) as hosts:
        command = Command(
            path,
            "launch/train.py",
            "--launcher=ray",
            f"--ray_address={hosts_lib.address(hosts)}",
            "--resources=learner:first=1",
            "--resources=actor:other=1",
            "--num_actors=2",
            "--env=gym:CartPole-v1",
            FOR_EVER,
            "--evaluate_every=20000",
            f"--workdir={directory.root}",
            inside=hosts[0].inside,
        )

        def steps(actor):
            """Agent steps of an actor's process, and the process."""
            status = json.loads((directory.status / f"{actor}.json").read_text())
            return status["process"], status["progress"]

        def confirmed(actor):
            """Frames of an actor that the queue has taken."""
            said = accounts.actors_with(directory, 0)
            return sum(entry.confirmed for (name, _), entry in said.items() if name == actor)

        command.wait_until(lambda: learned(directory) > 20_000)
        story.nodes = [set(host.nodes()) for host in hosts]
        cut_off = next(host for host in hosts if "actor_1" in host.nodes())
        # Whatever the actor has asked is answered when nobody can hear it.
        learner = hosts[0].nodes()["learner"]
        learner.suspend()
        time.sleep(ASKED_SECONDS)
        cut_off.set_link("down")
        learner.resume()
        time.sleep(DOWN_SECONDS / 3)
        story.learned_down = [learned(directory)]
        story.steps_down = [steps("actor_1")]
        time.sleep(DOWN_SECONDS * 2 / 3)
        story.learned_down.append(learned(directory))
        story.steps_down.append(steps("actor_1"))
        story.confirmed_down = confirmed("actor_1")
        cut_off.set_link("up")
        begin = time.monotonic()
        command.wait_until(lambda: confirmed("actor_1") > story.confirmed_down)
        story.back_after = time.monotonic() - begin
        command.wait_until(lambda: max(column(directory, "evaluator", "episode_return")) >= 475)
        story.status, story.end_seconds = command.stop(signal.SIGTERM)
        story.output = command.output
        story.left_by_command = [set(host.nodes()) for host in hosts] + command.processes()
        story.left_by_ray = [host.stop_ray() for host in reversed(hosts)]
    return story


def test_learner_and_actors_are_on_the_hosts_that_they_asked_for(story):
    assert story.nodes[0] == {"learner"}
    assert sorted(story.nodes[1:], key=str) == [{"actor_0"}, {"actor_1"}]


def test_training_goes_on_without_a_host_and_takes_it_back(story):
    before, after = story.learned_down
    assert after > before
    assert story.steps_down[0] == story.steps_down[1]
    print(f"{after - before:.0f} frames learned without it, back after {story.back_after:.1f} s")


def test_it_is_solved_and_ends_in_order(story):
    assert max(column(story.directory, "evaluator", "episode_return")) >= 475
    assert story.status == ENDED_EARLY, story.output
    assert_balanced(story.directory)


def test_nothing_is_left_on_the_hosts(story):
    assert story.left_by_command == [set(), set(), set()]
    assert story.left_by_ray == [[], [], []]
