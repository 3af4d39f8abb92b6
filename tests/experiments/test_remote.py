"""Calls to other nodes, which end when there is nobody to wait for any more."""

import sys
import threading
import time

import courier
import pytest

from acme_impala.experiments.remote import PeerGoneError, Remote


class Late:
    """Says that the other is gone when its answer has just come, and not been taken note of yet."""

    def __init__(self):
        self.waits = threading.Event()
        self.has_answered = threading.Event()
        self._asked = 0

    def answer(self):
        self.waits.wait()
        self.has_answered.set()

    def is_set(self):
        self._asked += 1
        if self._asked == 1:  # Before the call.
            return False
        self.waits.set()
        self.has_answered.wait()
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:  # No other thread runs Python meanwhile.
            pass
        return True


@pytest.fixture(name="late")
def _late():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(10.0)
    yield Late()
    sys.setswitchinterval(interval)


def test_an_answer_that_comes_as_the_call_is_cancelled_does_no_harm(late):
    server = courier.Server()
    server.Bind("answer", late.answer)
    server.Start()
    remote = Remote(courier.Client(server.address), "other", late)
    with pytest.raises(PeerGoneError, match=r"other\.answer"):
        remote.answer()
    time.sleep(0.2)  # The answer comes; it would be the process's end.
    server.Stop()
