"""`run.json`, the record of a run in its output directory: which files it wrote, and whether it is complete. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from slimagent.errors import RefusedError
from slimagent.text.json_input import parsed
from slimagent.text.json_output import encoded

NAME = "run.json"
UNFINISHED, COMPLETE, FAILED = "unfinished", "complete", "failed"
_SCHEMA = "slimagent/run"


@dataclass(slots=True, kw_only=True)
class Record:
    """A run's record of itself. Times are RFC 3339 in UTC, or empty if they have not come yet.

    `files` are names below the directory with the SHA-256 of their content. While a file is replaced, it has two: of
    the old content and of the new.
    """

    image: str
    tag: str
    version: str
    started: str
    ended: str = ""
    state: str = UNFINISHED
    reason: str = ""
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Encode it as JSON."""
        whole = {
            "schema": _SCHEMA,
            "version": self.version,
            "state": self.state,
            "reason": self.reason,
            "image": self.image,
            "tag": self.tag,
            "started": self.started,
            "ended": self.ended,
            "files": {name: list(digests) for name, digests in sorted(self.files.items())},
        }
        return encoded(whole, orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def read_record(data: bytes, document: str, hint: str) -> dict[str, tuple[str, ...]]:
    """The files of a record, by name. Raises RefusedError if slimagent did not write it: it would be overwritten.

    Names that lead out of the directory are ignored.
    """
    try:
        whole = parsed(data)
        ours = whole["schema"] == _SCHEMA
        files = {name: tuple(map(str, digests)) for name, digests in whole["files"].items() if _is_inside(name)}
    except (ValueError, KeyError, TypeError, AttributeError):
        ours, files = False, {}
    if not ours:
        raise RefusedError(f"{document} is not the record of a slimagent run", hint)
    return files


def _is_inside(name: Any) -> bool:
    parts = str(name).split("/")
    return not {"", ".", ".."} & {*parts} and "\0" not in str(name)
