"""Signals that end us wait, or come to nothing, while a block runs."""

from __future__ import annotations

import contextlib
import signal
import time

import pytest

from slimagent.linux.signals import deferred, undisturbed


def test_signals_wait_for_the_end_of_a_block() -> None:
    """What an engine has begun has a known end; then the signal comes."""
    done = False
    with pytest.raises(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)
        done = True
    assert done
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the handler is not the one from before")


def test_signals_come_to_nothing_when_the_work_is_done() -> None:
    """Also one that an engine's call put off; afterwards they end us again."""
    with undisturbed():
        signal.raise_signal(signal.SIGINT)
        with deferred():
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
