"""What inotify(7) says, as bytes. Numbers and structures are those of <linux/inotify.h>. Pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

OPEN, IS_DIRECTORY, QUEUE_OVERFLOW = 0x20, 0x40000000, 0x4000  # IN_OPEN, IN_ISDIR, IN_Q_OVERFLOW

# struct inotify_event { s32 wd; u32 mask; u32 cookie; u32 len; char name[]; }; NULs fill the name up to `len`
_HEAD = struct.Struct("=iIII")


class Event(NamedTuple):
    """What happened, to which watch (-1: to the queue itself), and the name below its directory, b"" for itself."""

    watch: int
    mask: int
    name: bytes


def parse(data: bytes) -> list[Event]:
    """The events of one read(2), in order. What is cut off at the end is left out."""
    found, at = [], 0
    while at + _HEAD.size <= len(data):
        watch, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length > len(data):
            break
        found.append(Event(watch, mask, data[at : at + length].split(b"\0", 1)[0]))
        at += length
    return found
