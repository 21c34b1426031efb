"""What fanotify(7) says, as bytes. Numbers and structures are those of <linux/fanotify.h>. Pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

OPEN, OPEN_EXEC = 0x20, 0x1000  # FAN_OPEN, FAN_OPEN_EXEC
QUEUE_OVERFLOW = 0x4000  # FAN_Q_OVERFLOW
ON_DIRECTORY = 0x40000000  # FAN_ONDIR: asked for; an event with a descriptor does not say it

# struct fanotify_event_metadata { u32 event_len; u8 vers; u8 reserved; u16 metadata_len; u64 mask; s32 fd; s32 pid; }
METADATA = struct.Struct("=IBBHQii")
_VERSION = 3  # FANOTIFY_METADATA_VERSION


class Event(NamedTuple):
    """What happened, a descriptor of the file it happened to, and the process that did it.

    Where there is no descriptor the number is below 0; with FAN_REPORT_FD_ERROR it is an error's, negated. A process
    outside of the reader's PID namespace is 0.
    """

    mask: int
    descriptor: int
    process: int


def parse(data: bytes) -> list[Event]:
    """The events of one read(2), in order. Raises ValueError for what no kernel that we know writes."""
    found, at = [], 0
    while at + METADATA.size <= len(data):
        length, version, _, _, mask, descriptor, process = METADATA.unpack_from(data, at)
        if version != _VERSION or length < METADATA.size:
            raise ValueError(f"a fanotify event of version {version}, {length} bytes long")
        found.append(Event(mask, descriptor, process))
        at += length
    return found
