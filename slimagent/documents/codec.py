"""Documents: bytes to model and back. JSON with a schema name and a version; errors name the place in the document.

File names are any bytes and JSON is UTF-8: paths are written as `paths.to_text` does, so that `latin1-\\xe9` comes back
as the byte it was. Decoding refuses what it does not understand, and never guesses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from slimagent.documents.envelope import Place, absolute, cells, dump, indices, load, string, unsigned
from slimagent.documents.plan import get_change, noted, put_change, put_paths, texts
from slimagent.model.proof import Comparison, Layer, Missed, Receipt, Verification
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.summary import Summary
from slimagent.model.trace import Access, BlindSpot, How, Loss, LossKind, Run, Trace, Use
from slimagent.paths.algebra import to_text
from slimagent.text.escapes import quoted

TRACE, RECEIPT = "slimagent/trace", "slimagent/receipt"
VERIFICATION, CHECKS, SUMMARY = "slimagent/verification", "slimagent/checks", "slimagent/summary"


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
    return Loss(kind=LossKind(place["kind"].text()), count=place["count"].unsigned(), example=place["example"].text())


# Trace

_HOW_WORDS = {How.LOOKED_UP: "looked-up", How.OPENED: "opened", How.EXECUTED: "executed", How.LISTED: "listed"}
_WORD_HOWS = {word: how for how, word in _HOW_WORDS.items()}
_Use = tuple[int, tuple[int, ...], bool]  # how, steps, found; an `IntFlag` is slow as a key


def encode_trace(trace: Trace) -> bytes:
    """A trace as bytes.

    Rows of `uses` are [[what was done], [steps], found], each once; rows of `accesses` are [path, index into uses].
    """
    uses: dict[_Use, int] = {}
    for _, how, steps, found in trace.accesses:
        uses.setdefault((int(how), steps, found), len(uses))
    body = {
        "before": trace.before,
        "architecture": trace.architecture,
        "scopes": put_paths(trace.scopes),
        "excluded": put_paths(trace.excluded),
        "runs": [_put_run(run) for run in trace.runs],
    }
    return dump(
        TRACE,
        body,
        {
            "changes": map(put_change, trace.changes),
            "uses": map(_put_use, uses),
            "accesses": ([to_text(path), uses[int(how), steps, found]] for path, how, steps, found in trace.accesses),
        },
    )


def decode_trace(data: bytes, document: str = "trace") -> Trace:
    """Bytes as a trace. Raises DocumentError."""
    trace, uses, used = decode_uses(data, document, {})
    return replace(trace, accesses=tuple(Access(path, *uses[use]) for path, use in used))


def decode_uses(
    data: bytes, document: str, known: dict[str, bytes]
) -> tuple[Trace, tuple[Use, ...], tuple[tuple[bytes, int], ...]]:
    """A trace without accesses, and they apart, as they are written: uses, and for each path the index of its use.

    `known` holds the paths of traces that were decoded before, by how they are written, and takes those of this one:
    traces of one image share most of theirs. Raises DocumentError.
    """
    place = load(data, TRACE, document)
    trace = Trace(
        before=place["before"].text(),
        architecture=place["architecture"].text(),
        scopes=place["scopes"].each(Place.path),
        excluded=place["excluded"].each(Place.path),
        runs=place["runs"].each(_get_run),
        accesses=(),
        changes=place["changes"].rows(get_change),
    )
    steps = sum(len(run.steps) for run in trace.runs)
    uses = place["uses"].rows(lambda row: _get_use(row, steps))
    count = len(uses)

    def get_used(row: Any) -> tuple[bytes, int]:
        text, use = row  # a merge takes in millions of these: no call that can be spared
        path = known.get(text)
        if path is None:
            path = known[text] = absolute(text)
        if type(use) is not int or not 0 <= use < count:
            raise ValueError(f"there is no use {quoted(use)}")
        return path, use

    return trace, uses, place["accesses"].rows(get_used)


def identified(trace: Trace) -> Trace:
    """The trace of one run, whose identity is the digest of everything else that the trace says."""
    (run,) = trace.runs
    nameless = replace(trace, runs=(replace(run, identity=""),))
    identity = hashlib.sha256(encode_trace(nameless)).hexdigest()
    return replace(trace, runs=(replace(run, identity=identity),))


def _put_run(run: Run) -> dict[str, Any]:
    return {
        "identity": run.identity,
        "tool": run.tool,
        "backend": run.backend,
        "passed_over": [{"backend": backend, "why": why} for backend, why in run.passed_over],
        "blind_spots": [spot.value for spot in run.blind_spots],
        "kernel": run.kernel,
        "user": run.user,
        "no_new_privileges": run.no_new_privileges,
        "profiles": list(run.profiles),
        "after": run.after,
        "losses": [_put_loss(loss) for loss in run.losses],
        "volumes": put_paths(run.volumes),
        "mounts": put_paths(run.mounts),
        "asked_ports": list(run.asked_ports),
        "steps": [_put_result(step) for step in run.steps],
    }


def _get_run(place: Place) -> Run:
    return Run(
        identity=place["identity"].text(),
        tool=place["tool"].text(),
        backend=place["backend"].text(),
        passed_over=place["passed_over"].each(lambda each: (each["backend"].text(), each["why"].text())),
        blind_spots=place["blind_spots"].each(lambda each: each.member(BlindSpot)),
        kernel=place["kernel"].text(),
        user=place["user"].text(),
        no_new_privileges=place["no_new_privileges"].boolean(),
        profiles=texts(place["profiles"]),
        after=place["after"].text(),
        losses=place["losses"].each(_get_loss),
        volumes=place["volumes"].each(Place.path),
        mounts=place["mounts"].each(Place.path),
        asked_ports=place["asked_ports"].each(Place.unsigned),
        steps=place["steps"].each(_get_result),
    )


def _put_use(use: _Use) -> list[Any]:
    how, steps, found = use
    return [[word for each, word in _HOW_WORDS.items() if each & how], list(steps), found]


def _get_use(row: Any, steps: int) -> Use:
    """A row as a use in a trace that has so many steps."""
    words, at_steps, found = cells(row, 3)
    if not isinstance(words, list):
        raise TypeError(f"{quoted(words)} is not a list of words")
    how = How(0)
    for word in words:
        how |= _WORD_HOWS[string(word)]
    if not how or not isinstance(found, bool):
        raise ValueError("a use needs what was done, and whether it was found")
    if max(indices(at_steps), default=-1) >= steps:
        raise ValueError(f"there is no step {max(at_steps)}")
    return Use(how, indices(at_steps), found)


# Receipt, verification, checks


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as bytes. Rows of `layers` are [component, digest, diff id, size, paths]."""
    rows = ("left_alone", "unstripped", "layers")
    body = {name: getattr(receipt, name) for name in Receipt.__slots__ if name not in rows}
    return dump(
        RECEIPT,
        body,
        {
            "left_alone": ([to_text(path), why] for path, why in receipt.left_alone),
            "unstripped": ([to_text(path), why] for path, why in receipt.unstripped),
            "layers": ([each.component, each.digest, each.diff_id, each.size, each.paths] for each in receipt.layers),
        },
    )


def _get_layer(row: Any) -> Layer:
    component, digest, diff_id, size, paths = cells(row, 5)
    return Layer(
        component=string(component),
        digest=string(digest),
        diff_id=string(diff_id),
        size=unsigned(size),
        paths=unsigned(paths),
    )


def decode_receipt(data: bytes, document: str = "receipt") -> Receipt:
    """Bytes as a receipt. Raises DocumentError."""
    place = load(data, RECEIPT, document)
    return Receipt(
        tool=place["tool"].text(),
        plan=place["plan"].text(),
        target=place["target"].text(),
        kept=place["kept"].unsigned(),
        dropped=place["dropped"].unsigned(),
        bytes_kept=place["bytes_kept"].unsigned(),
        bytes_dropped=place["bytes_dropped"].unsigned(),
        written=place["written"].unsigned(),
        sha256=place["sha256"].text(),
        edited=place["edited"].unsigned(),
        left_alone=place["left_alone"].rows(noted),
        stripped=place["stripped"].unsigned(),
        bytes_stripped=place["bytes_stripped"].unsigned(),
        loaded=place["loaded"].unsigned(),
        unstripped=place["unstripped"].rows(noted),
        layers=place["layers"].rows(_get_layer),
    )


def encode_verification(verification: Verification) -> bytes:
    """A verification as bytes."""
    body = {
        "tool": verification.tool,
        "plan": verification.plan,
        "how": verification.how,
        "backend": verification.backend,
        "blind_spots": [spot.value for spot in verification.blind_spots],
        "passed": verification.passed,
        "losses": [_put_loss(loss) for loss in verification.losses],
        "missed": _put_missed(verification.missed),
        "comparisons": _put_comparisons(verification.comparisons),
        "steps": [_put_result(step) for step in verification.steps],
    }
    return dump(VERIFICATION, body)


def _put_missed(missed: Sequence[Missed]) -> list[dict[str, Any]]:
    return [{"path": to_text(each.path), "steps": list(each.steps)} for each in missed]


def _put_comparisons(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "before": each.before.value, "after": each.after.value, "detail": each.detail}
        for each in comparisons
    ]


def decode_verification(data: bytes, document: str = "verification") -> Verification:
    """Bytes as a verification. Raises DocumentError."""
    place = load(data, VERIFICATION, document)
    return Verification(
        tool=place["tool"].text(),
        plan=place["plan"].text(),
        how=place["how"].text(),
        backend=place["backend"].text(),
        blind_spots=place["blind_spots"].each(lambda each: each.member(BlindSpot)),
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
        missed=place["missed"].each(lambda each: Missed(path=each["path"].path(), steps=texts(each["steps"]))),
        losses=place["losses"].each(_get_loss),
    )


def encode_checks(results: Sequence[CheckResult]) -> bytes:
    """The results of a checklist as bytes."""
    return dump(CHECKS, {"results": [_put_result(result) for result in results]})


def decode_checks(data: bytes, document: str = "checks") -> tuple[CheckResult, ...]:
    """Bytes as the results of a checklist. Raises DocumentError."""
    return load(data, CHECKS, document)["results"].each(_get_result)


# Summary: nothing reads it back


def encode_summary(summary: Summary) -> bytes:
    """A summary as bytes."""
    as_they_are = {each.name: getattr(summary, each.name) for each in fields(summary)}
    for name in ("dropped", "owners", "reached", "packages_dropped", "checks", "start"):
        as_they_are[name] = [asdict(each) for each in as_they_are[name]]
    caution, failure = summary.caution, as_they_are.pop("failure")
    body = {
        **{name: as_they_are.pop(name) for name in ("tool", "command", "image", "tag")},
        "status": 0 if failure is None else failure.status,
        "error": None if failure is None else {name: getattr(failure, name) for name in ("slug", "message", "hint")},
        **as_they_are,
        "caution": None if caution is None else {"paths": caution.paths, "bytes": caution.size},
        "export": None if summary.export is None else asdict(summary.export),
        "layers": [
            {
                "component": each.component,
                "digest": each.digest,
                "diff_id": each.diff_id,
                "bytes": each.size,
                "paths": each.paths,
            }
            for each in summary.layers
        ],
        "worse": _put_comparisons(summary.worse),
        "failed_before": _put_comparisons(summary.failed_before),
        "missed": None if summary.missed is None else _put_missed(summary.missed),
        "seconds": {name: round(spent, 3) for name, spent in summary.seconds.items()},
    }
    return dump(SUMMARY, body)
