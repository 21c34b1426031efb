"""The record of tests that ran on the host against containers of an image, and what these containers needed. Pure.

The first line has the result of the tests. The other lines are those of a start (`started`), for all containers
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from slimagent.errors import DocumentError
from slimagent.model import started
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.started import Started
from slimagent.text.json_input import parsed

SCHEMA, VERSION = "slimagent/hosted", 1
STEP, KIND = "host-tests", "host"
_HINT = "another version of slimagent wrote it, or it was edited; run the tests again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """What the containers needed, and the result of the tests."""

    seen: Started
    result: CheckResult

    def results(self, before: Sequence[CheckResult] = ()) -> tuple[CheckResult, ...]:
        """The step of these tests."""
        return (self.result,)


def encode(hosted: Hosted) -> bytes:
    """The record as a file."""
    result = hosted.result
    items = [[each.name, each.outcome.value, each.detail] for each in result.items]
    head = [
        "hosted", SCHEMA, VERSION, result.outcome.value, round(result.seconds, 3), result.status, result.detail, items,
    ]  # fmt: skip
    return orjson.dumps(head) + b"\n" + b"".join(map(started.line, started.rows(hosted.seen)))


def decode(data: bytes, document: str) -> Hosted:
    """Read such a file. Raises DocumentError."""
    head, _, rest = data.partition(b"\n")
    try:
        outcome, seconds, status, detail, items = _cells(*parsed(head))
        result = CheckResult(
            name=STEP,
            kind=KIND,
            outcome=Outcome(outcome),
            seconds=float(seconds),
            status=None if status is None else int(status),
            detail=str(detail),
            items=tuple(Item(name=str(name), outcome=Outcome(how), detail=str(why)) for name, how, why in items),
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise DocumentError(f"{document}, line 1: cannot be understood ({error})", _HINT) from None
    return Hosted(seen=started.decode(rest, document), result=result)


def _cells(kind: object, schema: object, version: object, *cells: Any) -> tuple[Any, ...]:
    if (kind, schema, version) != ("hosted", SCHEMA, VERSION):
        raise ValueError(f"not version {VERSION} of {SCHEMA}")
    return cells
