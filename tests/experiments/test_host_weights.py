"""Processes of a host that share a learner's weights: what it sends them, and who may die."""

import contextlib
import multiprocessing
import os
import pathlib
import signal
import socket
import threading
import time
import uuid

import courier
import numpy as np
import pytest
import tensorflow as tf

from acme_impala.acting import NewestVariables
from acme_impala.experiments import host_weights
from acme_impala.experiments.host_weights import HostVariables
from acme_impala.experiments.remote import Remote
from acme_impala.experiments.shared_arrays import SharedArrays, view_arrays

SECONDS = 30  # After which something hangs.


class Learner:
    """Weights that say which version they are of; counts how often they are sent."""

    def __init__(self):
        self.version = 0
        self.sent = []
        self.asked = 0
        self.may_send = threading.Event()
        self.may_send.set()
        self.is_sending = threading.Event()

    def get_variables(self, names):
        version = self.version
        if "policy" in names:
            self.is_sending.set()
            assert self.may_send.wait(SECONDS)
            self.sent.append(version)
        else:
            self.asked += 1
        values = {
            "policy": [np.full([100, 100], version, np.float32), np.float32(version)],
            "policy_version": [np.int64(version)],
        }
        return [values[name] for name in names]


class BrokenLearner:
    def get_variables(self, names):
        raise ConnectionError("the learner has gone")


@pytest.fixture
def name():
    return uuid.uuid4().hex


def ask(variables):
    """The newest version, whose weights are of the same."""
    (version,), policy = variables.get_variables(["policy_version", "policy"])
    assert [int(np.max(array)) for array in policy] == [version] * 2
    assert policy[0].shape == (100, 100)
    return int(version)


def ask_for_ever(address, name, silent_seconds, versions, is_elected, has_failed):
    """An actor's process, which puts down the newest version that it got."""
    host_weights._SILENT_SECONDS = silent_seconds
    learner = Remote(courier.Client(address), "learner", threading.Event())
    variables = HostVariables(learner, name)
    try:
        while True:
            version = ask(variables)
            assert version >= versions.value, "It has gone backwards."
            versions.value, is_elected.value = version, variables._server is not None
            time.sleep(0.002)
    except BaseException:
        has_failed.set()
        raise


class Asker:
    """A process that asks for ever."""

    def __init__(self, context, learner_address, name, silent_seconds=SECONDS):
        self.versions = context.Value("q", -1)
        self.is_elected = context.Value("b", False)
        self.has_failed = context.Event()
        arguments = (learner_address, name, silent_seconds)
        shared = (self.versions, self.is_elected, self.has_failed)
        self.process = context.Process(target=ask_for_ever, args=arguments + shared, daemon=True)
        self.process.start()

    @property
    def version(self):
        return self.versions.value


def wait_until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def all_have(askers, version):
    return all(asker.version == version for asker in askers)


@contextlib.contextmanager
def serving(learner):
    """Serves a learner as its node does; gives the address."""
    server = courier.Server()
    server.Bind("get_variables", learner.get_variables)
    server.Start()
    try:
        yield f"localhost:{server.port}"
    finally:
        server.Stop()


@pytest.fixture(scope="module")
def context():
    """Starts processes that have imported TensorFlow already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@contextlib.contextmanager
def asking(context, number, **options):
    """A learner and processes that ask for its weights."""
    learner = Learner()
    askers = []
    with serving(learner) as address:
        name = uuid.uuid4().hex
        try:
            for _ in range(number):
                askers.append(Asker(context, address, name, **options))
            wait_until(lambda: all_have(askers, 0))
            yield learner, askers
            assert not any(asker.has_failed.is_set() for asker in askers)
        finally:
            learner.may_send.set()
            for asker in askers:
                asker.process.kill()
                asker.process.join()


def test_a_version_is_sent_once_however_many_processes_ask(context):
    with asking(context, 4) as (learner, askers):
        for version in range(1, 6):
            learner.version = version
            wait_until(lambda version=version: all_have(askers, version))
        assert sum(asker.is_elected.value for asker in askers) == 1
        assert learner.sent == list(range(6))


def test_others_go_on_when_the_elected_one_is_killed_while_it_fetches(context):
    with asking(context, 4) as (learner, askers):
        for version in (1, 2):
            (elected,) = (asker for asker in askers if asker.is_elected.value)
            learner.is_sending.clear()
            learner.may_send.clear()
            learner.version = version
            assert learner.is_sending.wait(SECONDS)
            elected.process.kill()
            elected.process.join()
            learner.may_send.set()
            askers.remove(elected)
            wait_until(lambda version=version: all_have(askers, version))
            wait_until(lambda: any(asker.is_elected.value for asker in askers))
        # Each once for the dead, and once for all others.
        assert learner.sent == [0, 1, 1, 2, 2]


def test_others_go_on_without_an_elected_one_that_hangs(context):
    with asking(context, 3, silent_seconds=0.3) as (learner, askers):
        (elected,) = (asker for asker in askers if asker.is_elected.value)
        os.kill(elected.process.pid, signal.SIGSTOP)
        learner.version = 1
        wait_until(lambda: all_have([asker for asker in askers if asker is not elected], 1))
        os.kill(elected.process.pid, signal.SIGCONT)
        wait_until(lambda: elected.version == 1)


def test_one_alone_asks_the_learner_what_it_was_asked_without_others(name):
    learner, same = Learner(), Learner()
    with contextlib.closing(HostVariables(learner, name)) as variables:
        for version in (0, 0, 1, 1, 3):
            learner.version = same.version = version
            assert ask(variables) == version
    direct = NewestVariables(same)
    for version in (0, 0, 1, 1, 3):
        same.version = version
        assert ask(direct) == version
    assert (learner.asked, learner.sent) == (same.asked, same.sent) == (5, [0, 1, 3])


def test_the_elected_one_waits_for_the_learner_and_the_others_with_it(name, monkeypatch):
    monkeypatch.setattr(host_weights, "_SILENT_SECONDS", 0.5)
    monkeypatch.setattr(host_weights, "_BEAT_SECONDS", 0.1)
    learner, direct = Learner(), Learner()
    with contextlib.ExitStack() as stack:
        elected = stack.enter_context(contextlib.closing(HostVariables(learner, name)))
        other = stack.enter_context(contextlib.closing(HostVariables(direct, name)))
        assert ask(elected) == ask(other) == 0
        learner.may_send.clear()
        learner.version = 1
        found = []
        thread = threading.Thread(target=lambda: found.append(ask(other)))
        thread.start()
        time.sleep(1.0)  # Long after silence would be taken for an end.
        assert not found
        learner.may_send.set()
        thread.join(SECONDS)
        assert found == [1]
        assert not direct.sent
        assert not direct.asked


def test_no_version_is_older_than_one_that_the_asker_has(name):
    learner, direct = Learner(), Learner()
    with contextlib.ExitStack() as stack:
        elected = stack.enter_context(contextlib.closing(HostVariables(learner, name, max_age=60)))
        other = stack.enter_context(contextlib.closing(HostVariables(direct, name)))
        assert ask(elected) == 0
        (policy,) = direct.get_variables(["policy"])
        other._fetched = {"policy_version": [np.int64(7)], "policy": policy}
        direct.version = 8
        assert ask(other) == 8


def test_what_is_young_enough_is_not_asked_for_again(name):
    learner = Learner()
    with contextlib.ExitStack() as stack:
        askers = [
            stack.enter_context(contextlib.closing(HostVariables(learner, name, max_age=0.5)))
            for _ in range(3)
        ]
        assert {ask(asker) for asker in askers} == {0}
        learner.version = 1
        assert {ask(asker) for asker in askers} == {0}
        assert learner.asked == 1
        time.sleep(0.6)
        assert {ask(asker) for asker in askers} == {1}
        assert learner.asked == 2


def test_the_learners_failure_reaches_whoever_asks(name):
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            variables = stack.enter_context(
                contextlib.closing(HostVariables(BrokenLearner(), name))
            )
            with pytest.raises(ConnectionError, match="the learner has gone"):
                ask(variables)


def test_no_call_waits_for_another_process_after_the_stop(name):
    stop = threading.Event()
    hanging = HostVariables(Learner(), name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.bind(hanging._address)
        silent.listen()
        variables = HostVariables(BrokenLearner(), name, stop.is_set)
        threading.Timer(0.3, stop.set).start()
        start = time.monotonic()
        with pytest.raises(ConnectionError, match="the learner has gone"):
            ask(variables)
        assert 0.3 <= time.monotonic() - start < 10.0
        variables.close()


def call_as_nobody(function, sender, address):
    os.setuid(65534)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
        function(one, sender, address)


@contextlib.contextmanager
def nobody(context, function, address):
    """A process of another user; gives what it has said first."""
    if os.geteuid() != 0:
        pytest.skip("Only root can start a process of another user.")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (function, sender, address)
    process = context.Process(target=call_as_nobody, args=arguments, daemon=True)
    process.start()
    try:
        assert receiver.poll(SECONDS)
        yield receiver.recv()
    finally:
        process.kill()
        process.join()


def ask_as_stranger(one, sender, address):
    one.connect(address)
    try:
        one.send(host_weights._QUESTION.pack(-1))
        sender.send(one.recv(100))
    except ConnectionError:
        sender.send(b"")


def listen_as_stranger(one, sender, address):
    one.bind(address)
    one.listen()
    sender.send(b"listens")
    time.sleep(SECONDS)


def test_another_users_process_gets_no_answer(context, name):
    learner = Learner()
    with contextlib.closing(HostVariables(learner, name)) as variables:
        assert ask(variables) == 0
        with nobody(context, ask_as_stranger, variables._address) as said:
            assert said == b""
        assert learner.asked == 1


def test_another_users_process_is_not_asked(context, name):
    variables = HostVariables(Learner(), name)
    with nobody(context, listen_as_stranger, variables._address):
        start = time.monotonic()
        assert ask(variables) == 0
        assert time.monotonic() - start < 10.0
        assert variables._server is None


def test_nothing_is_left_behind(name):
    def left():
        sockets = pathlib.Path("/proc/net/unix").read_text().count("@acme_impala-")
        return threading.active_count(), len(os.listdir("/proc/self/fd")), sockets

    before = left()
    learner = Learner()
    all_variables = [HostVariables(learner, name) for _ in range(3)]
    for version in range(3):
        learner.version = version
        for variables in all_variables:
            assert ask(variables) == version
    assert left() > before
    for variables in all_variables:
        variables.close()
    wait_until(lambda: left()[::2] == before[::2])
    del variables, all_variables
    wait_until(lambda: left() == before)


def test_arrays_come_as_they_were_sent():
    arrays = [
        np.arange(6.0).reshape(2, 3).T,
        np.float32(3),
        np.array([True, False]),
        tf.constant([1.5, -2.0], tf.bfloat16).numpy(),
        np.zeros([0, 3], np.int32),
    ]
    shared = SharedArrays(arrays)
    got = view_arrays(shared.description, shared.file)
    for array, expected in zip(got, arrays, strict=True):
        assert array.dtype == expected.dtype
        assert array.shape == expected.shape
        np.testing.assert_array_equal(array.astype(np.float64), expected.astype(np.float64))
    got[0][:] = 7
    assert view_arrays(shared.description, shared.file)[0].max() == 5
