"""Be the parent of orphans while a check runs, so that no daemon slips away (prctl(2), PR_SET_CHILD_SUBREAPER)."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

_SET_CHILD_SUBREAPER, _GET_CHILD_SUBREAPER = 36, 37  # linux/prctl.h


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """Inside the block, processes that lose their parent become children of this process instead of init's.

    A kernel that refuses changes nothing: then they are found by their session and their parents alone.
    """
    prctl = ctypes.CDLL(None).prctl
    before = ctypes.c_int(0)
    prctl(_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)
