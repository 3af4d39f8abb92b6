"""Ctrl-C and SIGTERM set an event, and only a second one interrupts."""

import signal
import threading

import pytest

from acme_impala.experiments import signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_heeded_the_second_interrupts_and_the_handlers_are_given_back(number):
    before = signal.getsignal(number)
    with signals.heeded() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_in_another_thread_signals_do_what_they_did():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run():
        with signals.heeded() as stop:
            seen.append((stop.is_set(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
