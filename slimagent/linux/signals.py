"""Signals that end a program, kept from ending it for the length of a block."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def undisturbed() -> Iterator[list[int]]:
    """Let signals that end us come to nothing: the work is done, and what is left to do takes no time.

    Yields those that come, in their order.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # no signal is handled in another one
        yield caught
        return
    before = {each: signal.signal(each, lambda number, _: caught.append(number)) for each in _ENDING}
    try:
        yield caught
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let signals that end us wait until the block is over: what an engine has begun must have a known end."""
    caught: list[int] = []
    try:
        with undisturbed() as caught:
            yield
    finally:
        if caught:
            signal.raise_signal(caught[0])
