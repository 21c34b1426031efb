"""The form that all documents share: JSON with a schema name and a version; errors name the place in the document.

File names are any bytes and JSON is UTF-8: paths are written as `paths.to_text` does, so that `latin1-\\xe9` comes back
as the byte it was. Decoding refuses what it does not understand, and never guesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import orjson

from slimagent.errors import DocumentError
from slimagent.text.escapes import quoted
from slimagent.text.json_input import parsed
from slimagent.text.json_output import encoded
from slimagent.text.shape import Place, known

# The version of each document; slimagent/schemas has the JSON Schema of each.
VERSIONS = {
    "slimagent/trace": 4,
    "slimagent/plan": 4,
    "slimagent/receipt": 3,
    "slimagent/verification": 3,
    "slimagent/checks": 2,
    "slimagent/summary": 1,
    "slimagent/audit": 3,
    "slimagent/layers": 1,
    "slimagent/gate": 1,
    "slimagent/history": 1,
    "slimagent/history-line": 1,
    "slimagent/comparison": 2,
    "slimagent/package-difference": 1,
    "slimagent/report": 1,
    "slimagent/removed": 1,
    "slimagent/missing": 2,
    "slimagent/reach": 2,
}
_DAMAGED = partial(DocumentError, hint="the document is damaged or was edited; make it again")
_BATCH = 1000  # rows


def dump(schema: str, body: dict[str, Any], records: dict[str, Iterator[Any]] | None = None) -> bytes:
    """One JSON object; each long list is written a record a line, so that two documents can be compared with diff."""
    head = encoded({"schema": schema, "version": VERSIONS[schema], **body}, orjson.OPT_INDENT_2)
    parts = [head[:-2]]
    for name, rows in (records or {}).items():
        parts.append(b',\n  "%b": [\n' % name.encode())
        parts.append(b",\n".join(_batches(rows)))
        parts.append(b"\n  ]")
    return b"".join(parts) + b"\n}\n"


def _batches(rows: Iterator[Any]) -> Iterator[bytes]:
    """Rows in joined batches: orjson reserves a kilobyte for each until it is joined, which adds up."""
    while batch := b",\n".join(map(encoded, islice(rows, _BATCH))):
        yield batch


def load(data: bytes, schema: str, document: str) -> Place:
    """The object that a document of that schema holds; `document` is its name in messages. Raises DocumentError."""
    try:
        value = parsed(data)
    except ValueError as error:
        raise DocumentError(
            f"{document}: not a whole JSON document ({error})", "was its writing cut off? make it again"
        ) from None
    found = known(str, (known(dict, value) or {}).get("schema"))
    if found is None or not re.fullmatch(r"slimagent/[\w-]{1,40}", found):
        raise DocumentError(f"{document}: not a document of slimagent", f"a {schema} is expected")
    if found != schema:
        raise DocumentError(f"{document}: this is a {found}", f"a {schema} is expected")
    version, ours = value.get("version"), VERSIONS[schema]
    if version != ours or isinstance(version, bool):
        is_older = 0 < (known(int, version) or 0) < ours
        raise DocumentError(
            f"{document}: version {quoted(version)} of {schema} is not known (this slimagent knows {ours})",
            "an older slimagent wrote it: make it again with this one"
            if is_older
            else "use the slimagent that wrote it, or a newer one",
        )
    return Place(value, "", document, _DAMAGED)
