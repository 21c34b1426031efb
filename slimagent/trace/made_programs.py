"""Programs that the run made itself: no plan can read them afterwards, so their interpreters are looked up at once."""

from __future__ import annotations

import os

from slimagent.trace.compare_backends import interpreter


def interpreter_of(program: bytes, began: int) -> bytes | None:
    """What the kernel opens by itself to execute `program`, if that was made or changed after `began` (nanoseconds).

    That of a program of the image is left to the plan, which reads all of those.
    """
    try:
        if os.stat(program).st_ctime_ns < began:
            return None
    except OSError:
        return None
    return named_interpreter(program)


def named_interpreter(program: bytes) -> bytes | None:
    """The interpreter that a program names, None if it names none or cannot be read."""
    try:
        descriptor = os.open(program, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        return interpreter(lambda offset, size: os.pread(descriptor, size, offset))
    except OSError:
        return None
    finally:
        os.close(descriptor)
