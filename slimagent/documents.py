"""Documents: bytes to model and back. JSON with a schema name and a version; errors name the place in the document.

File names are any bytes and JSON is UTF-8: paths are written as `paths.to_text` does, so that `latin1-\\xe9` comes back
as the byte it was. Decoding refuses what it does not understand, and never guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import Any, TypeVar

import orjson

from slimagent.errors import DocumentError
from slimagent.model import (
    Access,
    Change,
    ChangeKind,
    CheckResult,
    Comparison,
    Entry,
    How,
    Item,
    Loss,
    Missed,
    Outcome,
    Plan,
    Reason,
    Receipt,
    Trace,
    Verdict,
    Verification,
)
from slimagent.paths import from_text, to_text

VERSION = 1
_BATCH = 1000  # rows
TRACE, PLAN, RECEIPT = "slimagent/trace", "slimagent/plan", "slimagent/receipt"
VERIFICATION, CHECKS = "slimagent/verification", "slimagent/checks"

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Enum)


def _dump(schema: str, body: dict[str, Any], records: dict[str, Iterator[Any]] | None = None) -> bytes:
    """One JSON object; each long list is written a record a line, so that two documents can be compared with diff."""
    head = orjson.dumps({"schema": schema, "version": VERSION, **body}, option=orjson.OPT_INDENT_2)
    parts = [head[:-2]]
    for name, rows in (records or {}).items():
        parts.append(b',\n  "%b": [\n' % name.encode())
        parts.append(b",\n".join(_batches(rows)))
        parts.append(b"\n  ]")
    return b"".join(parts) + b"\n}\n"


def _batches(rows: Iterator[Any]) -> Iterator[bytes]:
    """Rows in joined batches: orjson reserves a kilobyte for each until it is joined, which adds up."""
    while batch := b",\n".join(map(orjson.dumps, islice(rows, _BATCH))):
        yield batch


class _Place:
    """A value of a document and where it stands, as `steps[3].outcome`."""

    __slots__ = ("document", "value", "where")

    def __init__(self, value: Any, where: str, document: str) -> None:
        self.value, self.where, self.document = value, where, document

    def fail(self, problem: str) -> DocumentError:
        where = f" at {self.where}" if self.where else ""
        return DocumentError(
            f"{self.document}{where}: {problem}", "the document is damaged or was edited; make it again"
        )

    def __getitem__(self, key: str) -> _Place:
        if not isinstance(self.value, dict):
            raise self.fail("expected an object")
        where = f"{self.where}.{key}" if self.where else key
        if key not in self.value:
            raise self.fail(f"{key!r} is missing")
        return _Place(self.value[key], where, self.document)

    def items(self) -> list[_Place]:
        if not isinstance(self.value, list):
            raise self.fail("expected a list")
        return [_Place(value, f"{self.where}[{at}]", self.document) for at, value in enumerate(self.value)]

    def each(self, build: Callable[[_Place], _T]) -> tuple[_T, ...]:
        return tuple(build(item) for item in self.items())

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fail("expected a string")
        return self.value

    def path(self) -> bytes:
        try:
            path = from_text(self.text())
        except ValueError as error:
            raise self.fail(str(error)) from None
        if path[:1] != b"/":
            raise self.fail("expected an absolute path")
        return path

    def integer(self) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.fail("expected a whole number")
        return self.value

    def number(self) -> float:
        if not isinstance(self.value, (int, float)) or isinstance(self.value, bool):
            raise self.fail("expected a number")
        return float(self.value)

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.fail("expected true or false")
        return self.value

    def member(self, of: type[_E]) -> _E:
        try:
            return of(self.value)
        except ValueError:
            known = ", ".join(str(member.value) for member in of)
            raise self.fail(f"{self.value!r} is none of {known}") from None

    def rows(self, build: Callable[[Any], _T]) -> tuple[_T, ...]:
        """A long list, built row by row with no object per value; the first bad row is named."""
        if not isinstance(self.value, list):
            raise self.fail("expected a list")
        at = 0
        out = []
        try:
            for at, row in enumerate(self.value):  # noqa: B007 `at` names the bad row below
                out.append(build(row))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise _Place(None, f"{self.where}[{at}]", self.document).fail(f"cannot be understood ({error})") from None
        return tuple(out)


def _load(data: bytes, schema: str, document: str) -> _Place:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DocumentError(
            f"{document}: not a whole JSON document ({error})", "was its writing cut off? make it again"
        ) from None
    if not isinstance(value, dict) or not str(value.get("schema", "")).startswith("slimagent/"):
        raise DocumentError(f"{document}: not a document of slimagent", f"a {schema} is expected")
    if value["schema"] != schema:
        raise DocumentError(f"{document}: this is a {value['schema']}", f"a {schema} is expected")
    version = value.get("version")
    if version != VERSION:
        raise DocumentError(
            f"{document}: version {version!r} of {schema} is not known (this slimagent knows {VERSION})",
            "use the slimagent that wrote it, or a newer one",
        )
    return _Place(value, "", document)


def _absolute(text: str) -> bytes:
    path = from_text(text)
    if path[:1] != b"/":
        raise ValueError(f"{text!r} is not an absolute path")
    return path


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value


# Parts that several documents have


def _put_result(result: CheckResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "kind": result.kind,
        "outcome": result.outcome.value,
        "seconds": round(result.seconds, 3),
        "detail": result.detail,
        "status": result.status,
        "items": [[item.name, item.outcome.value, item.detail] for item in result.items],
    }


def _get_result(place: _Place) -> CheckResult:
    status = place["status"]
    return CheckResult(
        name=place["name"].text(),
        kind=place["kind"].text(),
        outcome=place["outcome"].member(Outcome),
        seconds=place["seconds"].number(),
        detail=place["detail"].text(),
        status=None if status.value is None else status.integer(),
        items=place["items"].rows(lambda row: Item(name=str(row[0]), outcome=Outcome(row[1]), detail=str(row[2]))),
    )


def _put_loss(loss: Loss) -> dict[str, Any]:
    return {"kind": loss.kind, "count": loss.count, "example": loss.example}


def _get_loss(place: _Place) -> Loss:
    return Loss(kind=place["kind"].text(), count=place["count"].integer(), example=place["example"].text())


def _put_change(change: Change) -> list[Any]:
    return [to_text(change.path), change.kind.value, change.mtime_ns]


def _get_change(row: Any) -> Change:
    return Change(path=_absolute(row[0]), kind=ChangeKind(row[1]), mtime_ns=_whole(row[2]))


def _texts(place: _Place) -> tuple[str, ...]:
    return place.each(_Place.text)


def _paths(paths: Sequence[bytes]) -> list[str]:
    return [to_text(path) for path in paths]


# Trace

_HOW_WORDS = {How.LOOKED_UP: "looked-up", How.OPENED: "opened", How.EXECUTED: "executed", How.LISTED: "listed"}
_WORD_HOWS = {word: how for how, word in _HOW_WORDS.items()}


def encode_trace(trace: Trace) -> bytes:
    """A trace as bytes. Rows of `accesses` are [path, [what was done], [steps], found]."""
    words = {how: [word for each, word in _HOW_WORDS.items() if each & how] for how in map(How, range(1, 16))}
    body = {
        "tool": trace.tool,
        "backend": trace.backend,
        "blind_spots": list(trace.blind_spots),
        "architecture": trace.architecture,
        "kernel": trace.kernel,
        "user": trace.user,
        "no_new_privileges": trace.no_new_privileges,
        "scopes": _paths(trace.scopes),
        "before": trace.before,
        "after": trace.after,
        "losses": [_put_loss(loss) for loss in trace.losses],
        "steps": [_put_result(step) for step in trace.steps],
    }
    rows = ([to_text(each.path), words[each.how], list(each.steps), each.found] for each in trace.accesses)
    return _dump(TRACE, body, {"changes": map(_put_change, trace.changes), "accesses": rows})


def decode_trace(data: bytes, document: str = "trace") -> Trace:
    """Bytes as a trace. Raises DocumentError."""
    place = _load(data, TRACE, document)
    return Trace(
        tool=place["tool"].text(),
        backend=place["backend"].text(),
        blind_spots=_texts(place["blind_spots"]),
        architecture=place["architecture"].text(),
        kernel=place["kernel"].text(),
        user=place["user"].text(),
        no_new_privileges=place["no_new_privileges"].boolean(),
        scopes=place["scopes"].each(_Place.path),
        before=place["before"].text(),
        after=place["after"].text(),
        steps=place["steps"].each(_get_result),
        accesses=place["accesses"].rows(_get_access),
        changes=place["changes"].rows(_get_change),
        losses=place["losses"].each(_get_loss),
    )


def _get_access(row: Any) -> Access:
    path, words, steps, found = row
    how = How(0)
    for word in words:
        how |= _WORD_HOWS[word]
    if not how or not isinstance(found, bool):
        raise ValueError("an access needs what was done, and whether it was found")
    return Access(path=_absolute(path), how=how, steps=tuple(map(_whole, steps)), found=found)


# Plan


def encode_plan(plan: Plan) -> bytes:
    """A plan as bytes. Rows of `entries` are [path, index into reasons, size, modification time in ns]."""
    body = {
        "tool": plan.tool,
        "level": plan.level,
        "root": to_text(plan.root),
        "scopes": _paths(plan.scopes),
        "excluded": _paths(plan.excluded),
        "fingerprints": list(plan.fingerprints),
        "traces": list(plan.traces),
        "accepted": list(plan.accepted),
        "steps": list(plan.steps),
    }
    return _dump(
        PLAN,
        body,
        {
            "unresolved": ([to_text(path), needed] for path, needed in plan.unresolved),
            "changes": map(_put_change, plan.changes),
            "reasons": map(_put_reason, plan.reasons),
            "entries": ([to_text(path), *rest] for path, *rest in plan.entries),
        },
    )


def _put_reason(reason: Reason) -> dict[str, Any]:
    row: dict[str, Any] = {"verdict": reason.verdict.value, "kind": reason.kind}
    if reason.detail:
        row["detail"] = reason.detail
    if reason.source is not None:
        row["source"] = to_text(reason.source)
    if reason.steps:
        row["steps"] = list(reason.steps)
    return row


def _get_reason(row: Any) -> Reason:
    return Reason(
        verdict=Verdict(row["verdict"]),
        kind=str(row["kind"]),
        detail=str(row.get("detail", "")),
        source=_absolute(row["source"]) if "source" in row else None,
        steps=tuple(map(_whole, row.get("steps", ()))),
    )


def decode_plan(data: bytes, document: str = "plan") -> Plan:
    """Bytes as a plan. Raises DocumentError."""
    place = _load(data, PLAN, document)
    reasons = place["reasons"].rows(_get_reason)

    def entry(row: Any) -> Entry:
        path, reason, size, mtime = row
        if not 0 <= _whole(reason) < len(reasons):
            raise ValueError(f"there is no reason {reason}")
        return Entry(_absolute(path), reason, _whole(size), _whole(mtime))

    return Plan(
        tool=place["tool"].text(),
        level=place["level"].text(),
        root=place["root"].path(),
        scopes=place["scopes"].each(_Place.path),
        excluded=place["excluded"].each(_Place.path),
        fingerprints=_texts(place["fingerprints"]),
        traces=_texts(place["traces"]),
        accepted=_texts(place["accepted"]),
        steps=_texts(place["steps"]),
        reasons=reasons,
        entries=place["entries"].rows(entry),
        changes=place["changes"].rows(_get_change),
        unresolved=place["unresolved"].rows(lambda row: (_absolute(row[0]), str(row[1]))),
    )


# Receipt, verification, checks


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as bytes."""
    body = {name: getattr(receipt, name) for name in Receipt.__slots__ if name != "left_alone"}
    return _dump(RECEIPT, body, {"left_alone": ([to_text(path), why] for path, why in receipt.left_alone)})


def decode_receipt(data: bytes, document: str = "receipt") -> Receipt:
    """Bytes as a receipt. Raises DocumentError."""
    place = _load(data, RECEIPT, document)
    return Receipt(
        tool=place["tool"].text(),
        plan=place["plan"].text(),
        target=place["target"].text(),
        kept=place["kept"].integer(),
        dropped=place["dropped"].integer(),
        bytes_kept=place["bytes_kept"].integer(),
        bytes_dropped=place["bytes_dropped"].integer(),
        written=place["written"].integer(),
        sha256=place["sha256"].text(),
        left_alone=place["left_alone"].rows(lambda row: (_absolute(row[0]), str(row[1]))),
    )


def encode_verification(verification: Verification) -> bytes:
    """A verification as bytes."""
    body = {
        "tool": verification.tool,
        "plan": verification.plan,
        "how": verification.how,
        "passed": verification.passed,
        "losses": [_put_loss(loss) for loss in verification.losses],
        "missed": [{"path": to_text(missed.path), "steps": list(missed.steps)} for missed in verification.missed],
        "comparisons": [
            {"name": each.name, "before": each.before.value, "after": each.after.value, "detail": each.detail}
            for each in verification.comparisons
        ],
        "steps": [_put_result(step) for step in verification.steps],
    }
    return _dump(VERIFICATION, body)


def decode_verification(data: bytes, document: str = "verification") -> Verification:
    """Bytes as a verification. Raises DocumentError."""
    place = _load(data, VERIFICATION, document)
    return Verification(
        tool=place["tool"].text(),
        plan=place["plan"].text(),
        how=place["how"].text(),
        passed=place["passed"].boolean(),
        steps=place["steps"].each(_get_result),
        comparisons=place["comparisons"].each(
            lambda each: Comparison(
                name=each["name"].text(),
                before=each["before"].member(Outcome),
                after=each["after"].member(Outcome),
                detail=each["detail"].text(),
            )
        ),
        missed=place["missed"].each(lambda each: Missed(path=each["path"].path(), steps=_texts(each["steps"]))),
        losses=place["losses"].each(_get_loss),
    )


def encode_checks(results: Sequence[CheckResult]) -> bytes:
    """The results of a checklist as bytes."""
    return _dump(CHECKS, {"results": [_put_result(result) for result in results]})


def decode_checks(data: bytes, document: str = "checks") -> tuple[CheckResult, ...]:
    """Bytes as the results of a checklist. Raises DocumentError."""
    return _load(data, CHECKS, document)["results"].each(_get_result)
