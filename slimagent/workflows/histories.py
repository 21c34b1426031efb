"""The file of a history: read it, and add a run to it. Its other lines stay as they are."""

from __future__ import annotations

import os

from slimagent import documents
from slimagent.linux.amending import amend
from slimagent.linux.files import read
from slimagent.model.history import PastRun


def runs_in(path: str) -> tuple[PastRun, ...]:
    """The runs in a history; none if there is no file. Raises DocumentError that names the line."""
    return documents.decode_lines(read(path), path) if os.path.lexists(path) else ()


def add(path: str, run: PastRun) -> bool:
    """Add a run at the end. False, and nothing is written, if it is there. Raises DocumentError, UnavailableError."""
    added = False

    def change(data: bytes) -> bytes:
        nonlocal added
        added = all(each.plan != run.plan for each in documents.decode_lines(data, path))
        if not added:
            return data
        return data + (b"" if not data or data.endswith(b"\n") else b"\n") + documents.encode_line(run)

    amend(path, change)
    return added
