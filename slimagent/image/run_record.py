"""`run.json`, the record of a run in its output directory: which files it wrote, and whether it is complete. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from slimagent.errors import RefusedError
from slimagent.text.json_input import parsed
from slimagent.text.json_output import encoded

NAME = "run.json"
UNFINISHED, COMPLETE, FAILED = "unfinished", "complete", "failed"
_SCHEMA = "slimagent/run"
_TIME = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z", re.ASCII)


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
        files = _ours(data)["files"].items()
        return {name: tuple(map(str, digests)) for name, digests in files if _is_inside(name)}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RefusedError(f"{document} is not the record of a slimagent run", hint) from None


def decode_record(data: bytes) -> Record | None:
    """A record of a run, without its files. None if slimagent did not write it."""
    try:
        whole = _ours(data)
        if not _TIME.fullmatch(whole["started"]) or (whole["ended"] != "" and not _TIME.fullmatch(whole["ended"])):
            return None
        return Record(
            image=str(whole["image"]),
            tag=str(whole["tag"]),
            version=str(whole["version"]),
            started=str(whole["started"]),
            ended=str(whole["ended"]),
            state=str(whole["state"]),
            reason=str(whole["reason"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _ours(data: bytes) -> Any:
    """The record as JSON. Raises ValueError, KeyError or TypeError if slimagent did not write it."""
    whole = parsed(data)
    if whole["schema"] != _SCHEMA:
        raise ValueError("another document")
    return whole


def _is_inside(name: Any) -> bool:
    parts = str(name).split("/")
    return not {"", ".", ".."} & {*parts} and "\0" not in str(name)
