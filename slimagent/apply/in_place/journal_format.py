"""The lines of a journal: what an image was before a removal in place, and how stripping each file ended. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from slimagent.apply.strip.outcome import Outcome
from slimagent.errors import DocumentError
from slimagent.model.inventory import Inventory
from slimagent.paths.algebra import from_text, normalise, to_text
from slimagent.text.escapes import quoted
from slimagent.text.json_input import parsed
from slimagent.text.shape import of, string

SCHEMA, VERSION = "slimagent/journal", 2
_COLUMNS = ("modes", "uids", "gids", "sizes", "mtimes", "devices", "inodes", "links")
_TOKEN = re.compile("[0-9a-f]{32}")
_HINT = "the journal is damaged: slim a new container of the image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What was before the first change: the plan's SHA-256, the image, and the contents of what the plan edits.

    `contents` are by entry; None for a file that changed before it could be read. `token` is in the names of the
    removal's temporary files (see `temporary_name`) and in no others.
    """

    plan: str
    token: str
    inventory: Inventory
    contents: Mapping[int, bytes | None]


def temporary_name(token: str, path: bytes) -> bytes:
    """The temporary name beside `path` of what replaces it: one for each path, however long the path is."""
    return b".slimagent-%b-%b" % (token.encode(), hashlib.sha256(path).hexdigest()[:32].encode())


def encode_start(start: Start) -> bytes:
    """The first line of a journal. It does not have the inventory's change times."""
    inventory = start.inventory
    value = {
        "schema": SCHEMA,
        "version": VERSION,
        "plan": start.plan,
        "token": start.token,
        "root": to_text(inventory.root),
        "scopes": [to_text(path) for path in inventory.scopes],
        "paths": [to_text(path) for path in inventory.paths],
        **{name: list(getattr(inventory, name)) for name in _COLUMNS},
        "targets": [[at, to_text(target)] for at, target in inventory.targets.items()],
        "mount_points": [to_text(path) for path in sorted(inventory.mount_points)],
        "contents": [
            [at, None if data is None else base64.b64encode(data).decode()] for at, data in start.contents.items()
        ],
    }
    return orjson.dumps(value) + b"\n"


def decode_start(line: bytes, document: str) -> Start:
    """Decode the first line of a journal. Raises DocumentError for a damaged one, or another file's."""
    try:
        value = parsed(line)
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise DocumentError(f"{document}: not a journal of slimagent", "name another file with --journal")
        if value.get("version") != VERSION:
            raise DocumentError(
                f"{document}: version {quoted(value.get('version'))} of {SCHEMA} is not known",
                "finish with the slimagent that wrote it",
            )
        return _start(value)
    except (ValueError, TypeError, KeyError, OverflowError, binascii.Error) as error:
        raise DocumentError(f"{document}: not a whole journal ({error})", _HINT) from None


def _start(value: dict[str, Any]) -> Start:
    paths = [_path(text) for text in of(list, value["paths"])]
    columns = {name: _integers(value[name], len(paths)) for name in _COLUMNS}
    mtimes = columns.pop("mtimes")
    inventory = Inventory(
        root=_path(value["root"]),
        scopes=tuple(_path(text) for text in of(list, value["scopes"])),
        paths=paths,
        mtimes=mtimes,
        targets={_index(at, paths): from_text(string(target)) for at, target in of(list, value["targets"])},
        index={path: at for at, path in enumerate(paths)},
        mount_points={_path(text) for text in of(list, value["mount_points"])},
    )
    for name, column in columns.items():
        getattr(inventory, name).extend(column)
    inventory.ctimes.extend([0] * len(paths))
    if len(inventory.index) != len(paths):
        raise ValueError("a path is listed twice")
    contents = {
        _index(at, paths): None if data is None else base64.b64decode(data, validate=True)
        for at, data in of(list, value["contents"])
    }
    token = string(value["token"])
    if not _TOKEN.fullmatch(token):
        raise ValueError("the token is not one of ours")
    return Start(plan=string(value["plan"]), token=token, inventory=inventory, contents=contents)


def encode_outcome(outcome: Outcome) -> bytes:
    """A later line of a journal."""
    row = [to_text(outcome.path), outcome.size, outcome.why, outcome.loaded, outcome.gpu, outcome.partly]
    return orjson.dumps(row) + b"\n"


def decode_outcomes(lines: bytes, document: str) -> dict[bytes, Outcome]:
    """The later lines of a journal, by path: the last one counts. A last line that was cut short does not count.

    Raises DocumentError for any other damaged line.
    """
    whole = lines[: lines.rfind(b"\n") + 1]
    found: dict[bytes, Outcome] = {}
    try:
        for line in whole.splitlines():
            path, size, why, loaded, gpu, partly = (*parsed(line), 0, "")[:6]  # four in a journal of version 0.1
            length, code = _integers([size, gpu], 2)
            found[_path(path)] = Outcome(
                path=_path(path), size=length, why=string(why), loaded=loaded is True, gpu=code, partly=string(partly)
            )
    except (ValueError, TypeError) as error:
        raise DocumentError(f"{document}: not a whole journal ({error})", _HINT) from None
    return found


def _path(value: object) -> bytes:
    path = from_text(string(value))
    if path[:1] != b"/" or normalise(path) != path or b".." in path.split(b"/"):
        raise ValueError(f"{quoted(value)} is not an absolute path")
    return path


def _integers(value: object, count: int) -> list[int]:
    column = of(list, value)
    if len(column) != count or not all(type(each) is int for each in column):
        raise ValueError(f"expected {count} whole numbers")
    return column


def _index(value: object, paths: list[bytes]) -> int:
    (at,) = _integers([value], 1)
    if not 0 <= at < len(paths):
        raise ValueError(f"no such path: {at}")
    return at
