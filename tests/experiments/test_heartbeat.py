"""What a process tells of its nodes while it lives, and at its end."""

import itertools
import os
import socket
import threading
import time

import pytest

from acme_impala.experiments import heartbeat, statuses


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that is moved by hand, in a list of one."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def read(folder):
    return {status.node: status for status in statuses.read(folder)}


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_progress_is_counted_and_its_speed_measured(clock):
    pulse, count = heartbeat.Pulse("actor_0"), 0
    assert pulse.status().unit == ""
    pulse.measure("agent steps", lambda: count)
    assert not pulse.status().has_moved
    for _ in range(20):
        clock[0] += 1.0
        count += 5
        status = pulse.status()
    assert (status.progress, status.unit, status.has_moved) == (100, "agent steps", True)
    assert status.per_second == pytest.approx(5.0)
    assert status.unmoved_seconds == 0.0
    clock[0] += 40.0
    status = pulse.status()
    assert (status.unmoved_seconds, status.has_moved) == (40.0, True)
    assert 0.0 <= status.per_second < 5.0


def test_a_count_that_begins_anew_is_progress_and_not_a_negative_speed(clock):
    pulse, count = heartbeat.Pulse("actor_0"), 100
    pulse.measure("agent steps", lambda: count)
    clock[0] += 60.0
    count = 1
    status = pulse.status()
    assert (status.unmoved_seconds, status.per_second) == (0.0, 0.0)


def test_a_new_measure_is_a_new_beginning(clock):
    pulse, count = heartbeat.Pulse("actor_0"), 0
    pulse.measure("agent steps", lambda: count)
    count = 1
    assert pulse.status().has_moved
    clock[0] += 60.0
    pulse.measure("agent steps", lambda: 0)
    status = pulse.status()
    assert (status.has_moved, status.unmoved_seconds) == (False, 0.0)


def test_a_wait_lasts_for_as_long_as_it_is_said(clock):
    pulse = heartbeat.Pulse("learner")
    assert pulse.status().waits_for == ""
    for _ in range(10):
        pulse.waits("a batch", on=["actor_*"])
        clock[0] += 1.0
    status = pulse.status()
    assert (status.waits_for, status.waits_on) == ("a batch", ["actor_*"])
    assert status.waits_seconds == 10.0
    clock[0] += 2.0
    assert pulse.status().waits_for == ""
    pulse.waits("a batch", on=["actor_*"])
    assert pulse.status().waits_seconds == 0.0


def test_of_several_waits_the_longest_is_told(clock):
    pulse = heartbeat.Pulse("actor_0")
    pulse.waits("room in the queue", on=["replay"])
    clock[0] += 1.0
    pulse.waits("learner.get_variables()", on=["learner"])
    assert pulse.status().waits_for == "room in the queue"


def test_short_waits_with_progress_between_are_not_one_long_wait(clock):
    pulse, numbers = heartbeat.Pulse("learner"), itertools.count()
    pulse.measure("learner steps", lambda: next(numbers))
    for _ in range(60):
        pulse.waits("a batch", on=["actor_*"])
        clock[0] += 1.0
        status = pulse.status()
    assert (status.waits_for, status.waits_seconds) == ("a batch", 0.0)


def test_a_question_that_is_asked_while_waiting_says_so():
    pulse, stop = heartbeat.Pulse("actor_0"), threading.Event()
    ask = pulse.asked_while_waiting(stop.is_set, "room in the queue", on=["replay"])
    assert pulse.status().waits_for == ""
    assert not ask()
    assert pulse.status().waits_for == "room in the queue"
    stop.set()
    assert ask()


def test_a_wait_without_progress_ends_with_a_name(clock):
    pulse, count = heartbeat.Pulse("actor_0"), 0
    pulse.measure("agent steps", lambda: count)
    ask = pulse.asked_while_waiting(lambda: False, "room in the queue", on=["replay", "learner"])

    def wait(seconds):
        for _ in range(int(seconds)):
            clock[0] += 1.0
            assert not ask()

    wait(600)
    count += 1
    wait(600)
    clock[0] += 3600.0  # The process was stopped, or worked on something else.
    wait(600)
    message = "actor_0 has waited for room in the queue for 600 s: replay or learner hangs, or"
    with pytest.raises(TimeoutError, match=message):
        wait(2)


def test_what_moves_in_parts_does_not_hang(clock):
    pulse, parts = heartbeat.Pulse("learner"), itertools.count()
    pulse.measure("learner steps", lambda: 0, count_parts=lambda: next(parts))
    ask = pulse.asked_while_waiting(lambda: False, "a batch", on=["actor_*"])
    for _ in range(2000):
        clock[0] += 1.0
        assert not ask()
    assert pulse.status().unmoved_seconds >= 2000


def test_nodes_of_a_process_beat_until_they_end(tmp_path):
    heartbeat.announce(tmp_path, ["learner", "replay"])
    before = read(tmp_path)
    assert {s.state for s in before.values()} == {statuses.STARTING}
    assert before["learner"].process is None
    with heartbeat.beating(tmp_path, ["learner", "replay"], restarts=3):
        heartbeat.work_for("learner")
        numbers = itertools.count(5)
        heartbeat.current().measure("learner steps", lambda: next(numbers))
        wait_until(lambda: read(tmp_path)["learner"].progress > 5)
        first = read(tmp_path)["learner"]
        wait_until(lambda: read(tmp_path)["learner"].progress > first.progress)
    after = read(tmp_path)
    for status in (first, after["learner"], after["replay"]):
        assert (status.host, status.process) == (socket.gethostname(), os.getpid())
        assert status.restarts == 3
    assert first.state == statuses.RUNNING
    assert after["learner"].state == after["replay"].state == statuses.ENDED
    assert not [t for t in threading.enumerate() if t.name == "heartbeat"]


def test_nodes_whose_process_fails_say_so(tmp_path):
    with pytest.raises(RuntimeError), heartbeat.beating(tmp_path, ["actor_0"]):
        raise RuntimeError
    assert read(tmp_path)["actor_0"].state == statuses.FAILED


def test_a_disk_that_takes_nothing_ends_nobody(tmp_path):
    with heartbeat.beating(tmp_path / "nowhere", ["actor_0"]):
        pass


def test_who_has_not_said_how_it_ended_was_killed(tmp_path):
    statuses.write(tmp_path, statuses.Status("actor_0", host="elsewhere", restarts=1))
    with heartbeat.beating(tmp_path, ["actor_1"]):
        pass
    heartbeat.conclude(tmp_path)
    found = read(tmp_path)
    assert (found["actor_0"].state, found["actor_0"].host) == (statuses.KILLED, "elsewhere")
    assert found["actor_1"].state == statuses.ENDED


def test_a_thread_that_works_for_nobody_may_say_what_it_likes():
    thread_found = []
    thread = threading.Thread(target=lambda: thread_found.append(heartbeat.current()))
    thread.start()
    thread.join()
    thread_found[0].waits("nothing", on=[])


def test_a_beat_costs_nothing_that_matters(tmp_path):
    """A hundredth of a core would be 10 ms a second."""
    pulses = [heartbeat.Pulse(name) for name in ("learner", "replay", "counter")]
    start = time.process_time()
    for _ in range(50):
        for pulse in pulses:
            statuses.write(tmp_path, pulse.status())
    milliseconds = 1000 * (time.process_time() - start) / 50
    print(f"{milliseconds:.2f} ms a second")
    assert milliseconds < 10
