"""How a slim image differs, as JSON Lines: slimagent hands it from one container to another, and nobody else reads it.

Nothing in it is trusted: a container wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from slimagent.documents.parts import absolute, cells, unsigned
from slimagent.errors import DocumentError
from slimagent.model.search import Difference, Form
from slimagent.paths.algebra import from_text, to_text
from slimagent.text.json_input import parsed
from slimagent.text.json_output import encoded
from slimagent.text.shape import Place, ShapeError, string, whole

_BLOB = re.compile(r"[0-9]{0,12}")
_DAMAGED = partial(DocumentError, hint="run `slimagent image` again")


def encode_differences(differences: Iterable[Difference]) -> bytes:
    """Differences as bytes."""
    return b"".join(
        encoded(
            [
                to_text(each.path),
                each.form.value,
                each.blob,
                to_text(each.target),
                *(each.mode, each.uid, each.gid, each.mtime_ns),
            ]
        )
        + b"\n"
        for each in differences
    )


def decode_differences(data: bytes, document: str = "differences") -> tuple[Difference, ...]:
    """Bytes as differences. Raises DocumentError."""
    try:
        rows = [parsed(line) for line in data.splitlines()]
    except ValueError as error:
        raise _DAMAGED(f"{document}: not JSON ({error})") from None
    return Place(rows, "", document, _DAMAGED).rows(_difference)


def _difference(row: Any) -> Difference:
    path, form, blob, target, mode, uid, gid, mtime_ns = cells(row, 8)
    if not _BLOB.fullmatch(string(blob)):  # it names a file beside others
        raise ShapeError(blob, "a number")
    found = absolute(path)
    if any(part in (b"", b".", b"..") for part in found.split(b"/")[1:]) or b"\0" in found:
        raise ShapeError(path, "the path of something in an image")
    return Difference(
        path=found,
        form=Form(string(form)),
        blob=blob,
        target=from_text(string(target)),
        mode=unsigned(mode) & 0o7777,
        uid=unsigned(uid),
        gid=unsigned(gid),
        mtime_ns=whole(mtime_ns),
    )
