"""Documents: bytes to model and back. JSON with a schema name and a version; errors name the place in the document.

File names are any bytes and JSON is UTF-8: paths are written as `paths.to_text` does, so that `latin1-\\xe9` comes back
as the byte it was. Decoding refuses what it does not understand, and never guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slimagent.envelope import Place, absolute, cells, dump, indices, load, string, whole
from slimagent.errors import DocumentError
from slimagent.model import (
    Access,
    Change,
    ChangeKind,
    Edit,
    Entry,
    How,
    Loss,
    Missed,
    Package,
    Plan,
    PlannedPackage,
    Reason,
    Receipt,
    Trace,
    Verdict,
    Verification,
)
from slimagent.paths import to_text
from slimagent.results import CheckResult, Comparison, Item, Outcome

TRACE, PLAN, RECEIPT = "slimagent/trace", "slimagent/plan", "slimagent/receipt"
VERIFICATION, CHECKS = "slimagent/verification", "slimagent/checks"


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
        "snapshot": result.snapshot,
    }


def _get_result(place: Place) -> CheckResult:
    status = place["status"]
    return CheckResult(
        name=place["name"].text(),
        kind=place["kind"].text(),
        outcome=place["outcome"].member(Outcome),
        seconds=place["seconds"].number(),
        detail=place["detail"].text(),
        status=None if status.value is None else status.integer(),
        items=place["items"].rows(_get_item),
        snapshot=place["snapshot"].text(),
    )


def _get_item(row: Any) -> Item:
    name, outcome, detail = cells(row, 3)
    return Item(name=string(name), outcome=Outcome(outcome), detail=string(detail))


def _put_loss(loss: Loss) -> dict[str, Any]:
    return {"kind": loss.kind, "count": loss.count, "example": loss.example}


def _get_loss(place: Place) -> Loss:
    return Loss(kind=place["kind"].text(), count=place["count"].integer(), example=place["example"].text())


def _put_change(change: Change) -> list[Any]:
    return [to_text(change.path), change.kind.value, change.mtime_ns]


def _get_change(row: Any) -> Change:
    path, kind, mtime_ns = cells(row, 3)
    return Change(path=absolute(path), kind=ChangeKind(kind), mtime_ns=whole(mtime_ns))


def _get_noted(row: Any) -> tuple[bytes, str]:
    path, note = cells(row, 2)
    return absolute(path), string(note)


def _texts(place: Place) -> tuple[str, ...]:
    return place.each(Place.text)


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
        "profiles": list(trace.profiles),
        "scopes": _paths(trace.scopes),
        "excluded": _paths(trace.excluded),
        "before": trace.before,
        "after": trace.after,
        "losses": [_put_loss(loss) for loss in trace.losses],
        "steps": [_put_result(step) for step in trace.steps],
    }
    rows = ([to_text(each.path), words[each.how], list(each.steps), each.found] for each in trace.accesses)
    return dump(TRACE, body, {"changes": map(_put_change, trace.changes), "accesses": rows})


def decode_trace(data: bytes, document: str = "trace") -> Trace:
    """Bytes as a trace. Raises DocumentError."""
    place = load(data, TRACE, document)
    return Trace(
        tool=place["tool"].text(),
        backend=place["backend"].text(),
        blind_spots=_texts(place["blind_spots"]),
        architecture=place["architecture"].text(),
        kernel=place["kernel"].text(),
        user=place["user"].text(),
        no_new_privileges=place["no_new_privileges"].boolean(),
        profiles=_texts(place["profiles"]),
        scopes=place["scopes"].each(Place.path),
        excluded=place["excluded"].each(Place.path),
        before=place["before"].text(),
        after=place["after"].text(),
        steps=place["steps"].each(_get_result),
        accesses=place["accesses"].rows(_get_access),
        changes=place["changes"].rows(_get_change),
        losses=place["losses"].each(_get_loss),
    )


def _get_access(row: Any) -> Access:
    path, words, steps, found = cells(row, 4)
    if not isinstance(words, list):
        raise TypeError(f"{words!r} is not a list of words")
    how = How(0)
    for word in words:
        how |= _WORD_HOWS[string(word)]
    if not how or not isinstance(found, bool):
        raise ValueError("an access needs what was done, and whether it was found")
    return Access(path=absolute(path), how=how, steps=indices(steps), found=found)


# Plan


def encode_plan(plan: Plan) -> bytes:
    """A plan as bytes.

    Rows of `entries` are [path, index into reasons, size, modification time in ns, index into packages or -1].
    """
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
    return dump(
        PLAN,
        body,
        {
            "unresolved": ([to_text(path), needed] for path, needed in plan.unresolved),
            "changes": map(_put_change, plan.changes),
            "problems": ([to_text(path), why] for path, why in plan.problems),
            "edits": ([to_text(edit.path), edit.kind, list(edit.keys)] for edit in plan.edits),
            "reasons": map(_put_reason, plan.reasons),
            "packages": map(_put_package, plan.packages),
            "further": ([at, list(owners)] for at, owners in plan.further),
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
    if reason.package is not None:
        row["package"] = reason.package
    return row


def _get_reason(row: Any) -> Reason:
    if not isinstance(row, dict):
        raise TypeError("expected an object")
    return Reason(
        verdict=Verdict(row["verdict"]),
        kind=string(row["kind"]),
        detail=string(row.get("detail", "")),
        source=absolute(row["source"]) if "source" in row else None,
        steps=indices(row.get("steps", [])),
        package=whole(row["package"]) if "package" in row else None,
    )


def _put_package(each: PlannedPackage) -> list[Any]:
    package = each.package
    named = [package.kind, package.name, package.version, to_text(package.place), package.section, package.essential]
    return [*named, each.reason, each.files, each.size, each.kept, list(each.requires)]


def _get_package(row: Any) -> PlannedPackage:
    kind, name, version, place, section, essential, reason, files, size, kept, requires = cells(row, 11)
    if not isinstance(essential, bool):
        raise TypeError(f"{essential!r} is neither true nor false")
    package = Package(
        kind=string(kind),
        name=string(name),
        version=string(version),
        place=absolute(place),
        section=string(section),
        essential=essential,
    )
    return PlannedPackage(
        package=package,
        reason=whole(reason),
        files=whole(files),
        size=whole(size),
        kept=whole(kept),
        requires=indices(requires),
    )


def _get_edit(row: Any) -> Edit:
    path, kind, keys = cells(row, 3)
    if not isinstance(keys, list):
        raise TypeError(f"{keys!r} is not a list of keys")
    return Edit(path=absolute(path), kind=string(kind), keys=tuple(map(string, keys)))


def _get_further(row: Any) -> tuple[int, tuple[int, ...]]:
    at, owners = cells(row, 2)
    return whole(at), indices(owners)


def _sound(plan: Plan, document: str) -> Plan:
    """The plan, if every index in it leads somewhere. Raises DocumentError."""
    count, reasons = len(plan.packages), len(plan.reasons)
    wrong = [
        *(each.reason for each in plan.packages if not 0 <= each.reason < reasons),
        *(at for each in plan.packages for at in each.requires if at >= count),
        *(each.package for each in plan.reasons if each.package is not None and not 0 <= each.package < count),
        *(each.owner for each in plan.entries if not -1 <= each.owner < count),
        *(entry for entry, _ in plan.further if not 0 <= entry < len(plan.entries)),
        *(at for _, owners in plan.further for at in owners if at >= count),
    ]
    if wrong:
        raise DocumentError(f"{document}: index {wrong[0]} leads nowhere", "the document is damaged; make it again")
    return plan


def decode_plan(data: bytes, document: str = "plan") -> Plan:
    """Bytes as a plan. Raises DocumentError."""
    place = load(data, PLAN, document)
    reasons = place["reasons"].rows(_get_reason)

    def entry(row: Any) -> Entry:
        path, reason, size, mtime, owner = cells(row, 5)
        if not 0 <= whole(reason) < len(reasons):
            raise ValueError(f"there is no reason {reason}")
        return Entry(absolute(path), reason, whole(size), whole(mtime), whole(owner))

    made = Plan(
        tool=place["tool"].text(),
        level=place["level"].text(),
        root=place["root"].path(),
        scopes=place["scopes"].each(Place.path),
        excluded=place["excluded"].each(Place.path),
        fingerprints=_texts(place["fingerprints"]),
        traces=_texts(place["traces"]),
        accepted=_texts(place["accepted"]),
        steps=_texts(place["steps"]),
        reasons=reasons,
        entries=place["entries"].rows(entry),
        changes=place["changes"].rows(_get_change),
        unresolved=place["unresolved"].rows(_get_noted),
        packages=place["packages"].rows(_get_package),
        further=place["further"].rows(_get_further),
        edits=place["edits"].rows(_get_edit),
        problems=place["problems"].rows(_get_noted),
    )
    return _sound(made, document)


# Receipt, verification, checks


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as bytes."""
    body = {name: getattr(receipt, name) for name in Receipt.__slots__ if name != "left_alone"}
    return dump(RECEIPT, body, {"left_alone": ([to_text(path), why] for path, why in receipt.left_alone)})


def decode_receipt(data: bytes, document: str = "receipt") -> Receipt:
    """Bytes as a receipt. Raises DocumentError."""
    place = load(data, RECEIPT, document)
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
        edited=place["edited"].integer(),
        left_alone=place["left_alone"].rows(_get_noted),
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
    return dump(VERIFICATION, body)


def decode_verification(data: bytes, document: str = "verification") -> Verification:
    """Bytes as a verification. Raises DocumentError."""
    place = load(data, VERIFICATION, document)
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
    return dump(CHECKS, {"results": [_put_result(result) for result in results]})


def decode_checks(data: bytes, document: str = "checks") -> tuple[CheckResult, ...]:
    """Bytes as the results of a checklist. Raises DocumentError."""
    return load(data, CHECKS, document)["results"].each(_get_result)
