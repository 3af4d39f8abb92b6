"""Who stalls first, by what the nodes say; and how old that is."""

import json
import os
import time

import pytest

from acme_impala.experiments import statuses
from acme_impala.experiments.statuses import Status

ACTORS = {"waits_for": "room in the queue", "waits_on": ["replay", "learner"]}
LEARNER = {"waits_for": "a batch", "waits_on": ["replay", "actor_*"]}
EVALUATOR = {"waits_for": "the next evaluation", "waits_on": ["learner"]}
COUNTER = {"waits_for": "counter.increment()", "waits_on": ["counter"]}


def node(name, process, **fields):
    given = {"host": "here", "unit": "steps", "state": statuses.RUNNING, "has_moved": True}
    return Status(name, **{**given, "process": process, **fields})


def program(**changes):
    """A program of which all is well, but for the changes; by node."""
    nodes = {
        "actor_0": node("actor_0", 11),
        "actor_1": node("actor_1", 12),
        "counter": node("counter", 10, serves=True),
        "evaluator": node("evaluator", 11, unmoved_seconds=500.0, **EVALUATOR),
        "learner": node("learner", 10),
        "replay": node("replay", 10, serves=True),
    }
    for name, fields in changes.items():
        nodes[name] = nodes[name]._replace(**fields)
    return list(nodes.values())


def all_nodes(**fields):
    return {status.node: fields for status in program()}


def first(**changes):
    stall = statuses.first_stalled(program(**changes))
    return stall and stall.node


def test_nobody_stalls_where_all_is_well():
    assert first() is None
    assert statuses.verdict(program()) == "All is well."


def test_without_nodes_nobody_stalls():
    assert statuses.first_stalled([]) is None


def test_a_process_that_is_silent_is_named_by_the_node_that_others_do_not_only_ask():
    silent = {"silent_seconds": 6.0}
    assert first(learner=silent, replay={"silent_seconds": 6.1}, counter=silent) == "learner"
    assert first(actor_1=silent) == "actor_1"
    assert first(actor_1={"silent_seconds": 4.0}) is None


def test_it_is_named_so_even_while_only_some_of_its_nodes_are_silent_for_long_enough():
    """A process writes its nodes' files one after the other."""
    assert first(learner={"silent_seconds": 4.999}, replay={"silent_seconds": 5.001}) == "learner"


def test_of_several_silent_processes_the_first_is_named():
    assert first(actor_0={"silent_seconds": 6.0}, actor_1={"silent_seconds": 7.0}) == "actor_1"


def test_a_silent_node_is_named_before_one_that_has_stopped():
    assert first(actor_0={"unmoved_seconds": 99.0}, learner={"silent_seconds": 6.0}) == "learner"


def test_who_waits_for_one_that_has_stopped_is_not_to_blame():
    waiting = {"unmoved_seconds": 60.0, **ACTORS}
    stopped = {"unmoved_seconds": 31.0}
    assert first(actor_0=waiting, actor_1=waiting, learner=stopped, replay=stopped) == "learner"
    waiting = {"unmoved_seconds": 60.0, **LEARNER}
    room = {"unmoved_seconds": 50.0, **ACTORS}
    assert first(learner=waiting, replay=stopped, actor_0=stopped, actor_1=room) == "actor_0"


def test_who_waits_for_one_that_only_takes_long_does_not_stall():
    assert first(learner={"unmoved_seconds": 60.0, **LEARNER}) is None
    assert (
        first(learner={"unmoved_seconds": 60.0, **LEARNER}, replay={"unmoved_seconds": 60}) is None
    )


def test_one_that_serves_is_named_where_all_wait_on_it():
    stopped = {"unmoved_seconds": 50.0}
    changes = {"actor_0": stopped | COUNTER, "actor_1": stopped | COUNTER, "counter": stopped}
    assert first(**changes) == "counter"
    assert first(**changes | {"counter": {"unmoved_seconds": 1.0}}) is None


def test_a_queue_is_found_between_a_learner_without_a_batch_and_actors_without_room():
    stopped = {"unmoved_seconds": 50.0}
    room = stopped | ACTORS
    learner = stopped | LEARNER
    assert first(actor_0=room, actor_1=room, learner=learner, replay=stopped) == "replay"


def test_one_that_serves_has_nothing_to_do_when_it_is_not_asked():
    assert first(counter={"unmoved_seconds": 999.0}, replay={"unmoved_seconds": 999.0}) is None


def test_a_node_that_has_done_nothing_yet_has_more_time():
    changes = {"unmoved_seconds": 60.0, "has_moved": False}
    assert first(actor_0=changes) is None
    assert first(actor_0=changes | {"unmoved_seconds": 121.0}) == "actor_0"


def test_a_process_that_does_not_come_up_is_missed():
    announced = {"process": None, "state": statuses.STARTING, "silent_seconds": 60.0}
    assert first(actor_1=announced) is None
    assert first(actor_1=announced | {"silent_seconds": 121.0}) == "actor_1"


@pytest.mark.parametrize("state", [statuses.ENDED, statuses.FAILED, statuses.KILLED])
def test_nodes_that_have_ended_do_not_stall(state):
    ended = all_nodes(state=state, silent_seconds=999.0, unmoved_seconds=999.0)
    assert first(**ended) is None
    verdict = statuses.verdict(program(**ended))
    assert verdict.startswith("The program has ended")
    assert ("learner" in verdict) == (state == statuses.FAILED)


def test_a_program_that_was_killed_as_a_whole_is_seen_as_that():
    verdict = statuses.verdict(program(**all_nodes(silent_seconds=99.0)))
    assert "all others" in verdict
    assert "99 s" in verdict


def test_the_table_has_a_row_for_each_node_and_ends_with_who_stalls():
    rows = statuses.table(program(learner={"silent_seconds": 12.0, "restarts": 2})).splitlines()
    assert [row.split()[0] for row in rows[1:7]] == [status.node for status in program()]
    assert rows[5].split()[1:4] == ["here", "10", "2"]
    assert "12.0 s ago" in rows[5]
    assert "the next evaluation" in rows[4]
    assert rows[-1] == "learner stalls: no heartbeat for 12 s."


def test_what_is_written_is_read_by_the_age_that_the_file_system_gives(tmp_path):
    for status in program(learner={"unmoved_seconds": 7.0}):
        statuses.write(tmp_path, status)
    path = tmp_path / "learner.json"
    os.utime(path, (time.time(), path.stat().st_mtime - 100.0))
    found = {status.node: status for status in statuses.read(tmp_path)}
    assert list(found) == [status.node for status in program()]
    assert 100.0 <= found["learner"].silent_seconds < 110.0
    assert 0.0 <= found["replay"].silent_seconds < 10.0
    assert found["evaluator"].waits_on == ["learner"]
    assert found["learner"].unmoved_seconds == 7.0
    assert sorted(os.listdir(tmp_path)) == sorted(f"{name}.json" for name in found)


def test_a_clock_that_differs_from_the_file_systems_does_not_matter(tmp_path, monkeypatch):
    statuses.write(tmp_path, program()[0])
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert statuses.read(tmp_path)[0].silent_seconds < 10.0


def test_without_a_folder_there_are_none(tmp_path):
    assert statuses.read(tmp_path / "nowhere") == []


def test_what_cannot_be_read_just_now_is_left_out(tmp_path):
    statuses.write(tmp_path, Status("learner"))
    (tmp_path / "actor_0.json").write_text('{"node": "act')
    (tmp_path / "actor_1.json").symlink_to(tmp_path / "nowhere")
    assert [status.node for status in statuses.read(tmp_path)] == ["learner"]


def test_actors_are_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 1):
        statuses.write(tmp_path, Status(f"actor_{number}"))
    found = [status.node for status in statuses.read(tmp_path)]
    assert found == ["actor_1", "actor_9", "actor_10"]


def test_whoever_reads_while_it_is_written_finds_it_whole(tmp_path):
    statuses.write(tmp_path, Status("learner"))
    before = open(tmp_path / "learner.json")  # noqa: SIM115 (read below)
    statuses.write(tmp_path, Status("learner", progress=5))
    with before:
        assert json.load(before)["progress"] == 0
