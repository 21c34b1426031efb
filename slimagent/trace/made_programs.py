"""Programs that the run made: a plan cannot read them afterwards, so their interpreters are looked up at once."""

from __future__ import annotations

import os

from slimagent.linux.descriptors import closing
from slimagent.trace.compare_backends import interpreter


def interpreter_of(program: bytes, began: int) -> bytes | None:
    """The interpreter of `program`, if that was made or changed after `began` (nanoseconds).

    The plan reads the programs of the image itself.
    """
    try:
        if os.stat(program).st_ctime_ns < began:
            return None
    except OSError:
        return None
    return named_interpreter(program)


def named_interpreter(program: bytes) -> bytes | None:
    """The interpreter that a program names. None if it names none or cannot be read."""
    try:
        with closing(os.open(program, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)) as descriptor:
            return interpreter(lambda offset, size: os.pread(descriptor, size, offset))
    except OSError:
        return None
