"""A history: JSON Lines, one run in each, in a file that people keep with their sources. And as a document.

A line is one of ours if it is an object with our schema. Other objects are left alone, whoever wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from slimagent.documents.envelope import VERSIONS, dump, load
from slimagent.documents.parts import (
    BOOLEAN,
    COUNT,
    TEXT,
    Form,
    an_object,
    cells,
    get_members,
    or_null,
    put_members,
    unsigned,
)
from slimagent.errors import DocumentError
from slimagent.model.history import PastRun, Since, Weight
from slimagent.text.escapes import quoted
from slimagent.text.json_input import parsed
from slimagent.text.json_output import encoded
from slimagent.text.shape import MOST, Place, string

LINE, HISTORY = "slimagent/history-line", "slimagent/history"
_TIME = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z", re.ASCII)
_CONFLICT = re.compile(rb"(<{7}|={7}|>{7}|\|{7})(?: .*)?")  # git merge, "How conflicts are presented"


def _time(value: Any) -> str:
    if _TIME.fullmatch(string(value)) is None:
        raise ValueError("expected a time in UTC, e.g. 2026-11-20T14:42:47Z")
    return str(value)


def _get_weight(row: Any) -> Weight:
    name, size = cells(row, 2)
    return Weight(string(name), unsigned(size))


def _change(place: Place) -> int:
    if not -MOST <= place.integer() <= MOST:
        raise place.fail(f"expected a number from -{MOST} to {MOST}")
    return place.integer()


_WEIGHTS = Form(lambda weights: [list(weight) for weight in weights], lambda place: place.rows(_get_weight))
_WHEN = Form(lambda when: when, lambda place: place.read(_time))
SINCE = an_object(
    Since,
    when=_WHEN,
    name=TEXT,
    change=Form(lambda change: change, _change),
    **dict.fromkeys(("grew", "shrank", "new", "gone"), _WEIGHTS),
    is_partial=BOOLEAN,
)
_RUN = {
    "when": _WHEN,
    **dict.fromkeys(("plan", "tool", "image", "image_id", "tag", "digest", "level", "label"), TEXT),
    **dict.fromkeys(("bytes_before", "bytes_after", "bytes_stripped"), COUNT),
    "passed": or_null(BOOLEAN),
    "worse": or_null(COUNT),
    "missed": or_null(COUNT),
    "components": _WEIGHTS,
    "packages": _WEIGHTS,
    "packages_kept": COUNT,
}


def encode_line(run: PastRun) -> bytes:
    """A run as a line, with the line break."""
    return encoded({"schema": LINE, "version": VERSIONS[LINE], **put_members(_RUN, run)}) + b"\n"


def decode_line(data: bytes, document: str = "history-line") -> PastRun:
    """A line as a run. Raises DocumentError."""
    return PastRun(**get_members(_RUN, load(data, LINE, document)))


def decode_lines(data: bytes, document: str = "history") -> tuple[PastRun, ...]:
    """The runs of a history, in the order of its lines. Raises DocumentError that names the line."""
    return tuple(_runs(data, document))


def _runs(data: bytes, document: str) -> Iterator[PastRun]:
    for number, line in enumerate(data.split(b"\n"), 1):
        where = f"{document}, line {number}"
        if not line.strip():
            continue
        if _CONFLICT.fullmatch(line.rstrip(b"\r")):
            raise DocumentError(f"{where}: a merge conflict", "keep the lines of both sides, and remove the markers")
        try:
            value = parsed(line)
        except ValueError as error:
            raise _no_history(data, document) or DocumentError(
                f"{where}: not JSON ({error})", "repair or remove that line"
            ) from None
        if not isinstance(value, dict):
            raise DocumentError(f"{where}: not a JSON object", "repair or remove that line")
        if value.get("schema") == LINE:
            yield decode_line(line, where)


def _no_history(data: bytes, document: str) -> DocumentError | None:
    """The error of a file that is something else than a history; None for a history with a damaged line."""
    try:
        value = parsed(data)
    except ValueError:
        lines = data.split(b"\n")
        if any(LINE.encode() in line for line in lines):
            return None
        what = "no line of it is a run"
    else:
        schema = value.get("schema") if isinstance(value, dict) else None
        what = f"it is a {quoted(schema)}" if isinstance(schema, str) else "it is another JSON document"
    hint = "name the file that `slimagent history add` or --history made"
    return DocumentError(f"{document} is not a history: {what}", hint)


def encode_history(runs: tuple[tuple[PastRun, int | None], ...]) -> bytes:
    """Runs, each with the change of its size since the one before, as one document for scripts."""
    return dump(HISTORY, {"runs": [{**put_members(_RUN, run), "change": change} for run, change in runs]})
