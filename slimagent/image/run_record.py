"""`run.json`, the record of a run in its output directory: whose files these are, and whether they are all. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from slimagent.errors import RefusedError
from slimagent.text.json_input import parsed

NAME = "run.json"
UNFINISHED, COMPLETE, FAILED = "unfinished", "complete", "failed"
_SCHEMA = "slimagent/run"


@dataclass(slots=True, kw_only=True)
class Record:
    """What a run says of itself. Times are RFC 3339 in UTC, empty for what has not come.

    `files` are names below the directory with the SHA-256 of what they hold: of the old content and the new one while a
    file is replaced.
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
        """As JSON."""
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
        return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def read_record(data: bytes, document: str, hint: str) -> dict[str, tuple[str, ...]]:
    """The files of a record, by name. Raises RefusedError for what slimagent did not write: it would be overwritten.

    Names that lead out of the directory are not believed.
    """
    try:
        whole = parsed(data)
        ours = whole["schema"] == _SCHEMA
        files = {name: tuple(map(str, digests)) for name, digests in whole["files"].items() if _is_inside(name)}
    except (ValueError, KeyError, TypeError, AttributeError):
        ours, files = False, {}
    if not ours:
        raise RefusedError(f"{document} is not the record of a run of slimagent", hint)
    return files


def _is_inside(name: Any) -> bool:
    parts = str(name).split("/")
    return not {"", ".", ".."} & {*parts} and "\0" not in str(name)
