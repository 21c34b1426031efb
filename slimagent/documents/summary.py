"""The summary of a run as a document. See `documents` for what all of them promise."""

from __future__ import annotations

from typing import Any

from slimagent.documents.envelope import dump, load
from slimagent.documents.gate import RULING
from slimagent.documents.history import SINCE
from slimagent.documents.parts import (
    BOOLEAN,
    COMPARISON,
    COUNT,
    MISSED,
    PATH,
    TEXT,
    TEXTS,
    Form,
    an_object,
    each,
    get_members,
    member,
    number,
    or_null,
    put_members,
)
from slimagent.documents.search import SEARCHES
from slimagent.model.plan import Caution
from slimagent.model.proof import Layer, Repair
from slimagent.model.result import Outcome
from slimagent.model.summary import (
    Checked,
    Dropped,
    Export,
    Failure,
    Gone,
    GpuGone,
    Owner,
    Phase,
    Place,
    Reached,
    Summary,
    Unstripped,
)
from slimagent.text.shape import Place as At

SUMMARY = "slimagent/summary"
_COMMANDS = ("image", "run")
_SLUGS = ("check-failed", "gate-failed", "usage", "document", "refused", "unavailable", "error")
_HOWS = ("touched by the steps", "required by those", "kept by a rule", "not needed")
_SECONDS = or_null(number(3))


def _one_of(names: tuple[str, ...]) -> Form:
    """One of these words."""

    def get(place: At) -> str:
        if place.text() not in names:
            raise place.fail(f"expected one of {', '.join(names)}")
        return place.text()

    return Form(lambda value: value, get)


_CHECKED = an_object(
    Checked,
    name=TEXT,
    kind=TEXT,
    before=or_null(member(Outcome)),
    after=or_null(member(Outcome)),
    items=COUNT,
    items_passed_before=or_null(COUNT),
    items_passed_after=or_null(COUNT),
    seconds_before=_SECONDS,
    seconds_after=_SECONDS,
    detail=TEXT,
)
_LAYER = Form(
    lambda layer: {
        "component": layer.component,
        "digest": layer.digest,
        "diff_id": layer.diff_id,
        "bytes": layer.size,
        "paths": layer.paths,
    },
    lambda at: Layer(
        component=at["component"].text(),
        digest=at["digest"].text(),
        diff_id=at["diff_id"].text(),
        size=at["bytes"].unsigned(),
        paths=at["paths"].unsigned(),
    ),
)
_CAUTION = Form(
    lambda caution: {"paths": caution.paths, "bytes": caution.size},
    lambda at: Caution(at["paths"].unsigned(), at["bytes"].unsigned()),
)
_OF_REPAIR = {
    "number": COUNT,
    "steps": TEXTS,
    "missed": each(MISSED),
    "used": each(MISSED),
    "found": each(MISSED),
    "files": or_null(COUNT),
}
_REPAIRS = each(
    Form(
        lambda repair: {**put_members(_OF_REPAIR, repair), "bytes": repair.size},
        lambda at: Repair(**get_members(_OF_REPAIR, at), size=or_null(COUNT).get(at["bytes"])),
    )
)
_GPU = or_null(
    an_object(GpuGone, target=TEXT, files=COUNT, bytes=COUNT, more_files=COUNT, more_bytes=COUNT, proved=BOOLEAN)
)
_UNSTRIPPED = each(an_object(Unstripped, why=TEXT, files=COUNT, bytes=COUNT, largest=PATH))
_PHASE = an_object(Phase, name=TEXT, seconds=number(3), depth=COUNT)
_FIRST = {"tool": TEXT, "command": _one_of(_COMMANDS), "image": or_null(TEXT), "tag": or_null(TEXT)}
_MEMBERS = {
    "level": or_null(TEXT),
    "accepted": TEXTS,
    "plan": or_null(TEXT),
    **dict.fromkeys(
        (
            *("bytes_before", "bytes_after", "bytes_dropped", "bytes_stripped", "paths_before", "paths_after"),
            *("files_stripped", "left_alone"),
        ),
        or_null(COUNT),
    ),
    "caution": or_null(_CAUTION),
    "dropped": each(an_object(Dropped, kind=TEXT, files=COUNT, bytes=COUNT)),
    "owners": each(
        an_object(Owner, kind=TEXT, packages=COUNT, packages_kept=COUNT, bytes=COUNT, bytes_kept=COUNT),
    ),
    "reached": each(an_object(Reached, how=_one_of(_HOWS), packages=COUNT, bytes=COUNT)),
    "packages_dropped": each(an_object(Gone, kind=TEXT, name=TEXT, version=TEXT, bytes=COUNT)),
    "unowned_dropped": each(an_object(Place, directory=TEXT, files=COUNT, bytes=COUNT)),
    "layers": each(_LAYER),
    "export": or_null(an_object(Export, sha256=TEXT, bytes=COUNT)),
    "verified": or_null(TEXT),
    "passed": or_null(BOOLEAN),
    "passing_before": or_null(COUNT),
    "passing_after": or_null(COUNT),
    "checks": each(_CHECKED),
    "start": each(_CHECKED),
    "worse": each(COMPARISON),
    "failed_before": each(COMPARISON),
    "missed": or_null(each(MISSED)),
    "repaired": or_null(COUNT),
    "notes": TEXTS,
}
_LAST = {
    "gate": each(RULING),
    "since": or_null(SINCE),
    "phases": each(_PHASE),
    "seconds": or_null(number(3)),
    "peak_bytes": or_null(COUNT),
}

# An earlier slimagent did not write these.
_LATER = {"gpu": _GPU, "unstripped": _UNSTRIPPED, "repairs": _REPAIRS, "searches": SEARCHES}


def encode_summary(summary: Summary) -> bytes:
    """A summary as bytes."""
    return dump(SUMMARY, summary_members(summary))


def summary_members(summary: Summary) -> dict[str, Any]:
    """The members of a summary's document."""
    failure = summary.failure
    return {
        **put_members(_FIRST, summary),
        "status": 0 if failure is None else failure.status,
        "error": None if failure is None else {name: getattr(failure, name) for name in ("slug", "message", "hint")},
        **put_members(_MEMBERS, summary),
        "gpu": _GPU.put(summary.gpu),
        "unstripped": _UNSTRIPPED.put(summary.unstripped),
        "repairs": _REPAIRS.put(summary.repairs),
        "searches": SEARCHES.put(summary.searches),
        **put_members(_LAST, summary),
    }


def decode_summary(data: bytes, document: str = "summary") -> Summary:
    """Bytes as a summary. Raises DocumentError."""
    place = load(data, SUMMARY, document)
    members = get_members({**_FIRST, **_MEMBERS, **_LAST}, place)
    known = place.of(dict)
    members |= {name: form.get(place[name]) for name, form in _LATER.items() if name in known}
    return Summary(**members, failure=_failure(place))


def _failure(place: At) -> Failure | None:
    status = place["status"].unsigned()
    error = or_null(an_object(dict, slug=_one_of(_SLUGS), message=TEXT, hint=TEXT)).get(place["error"])
    if (status == 0) is not (error is None):
        raise place["error"].fail(f"does not go with status {status}")
    return None if error is None else Failure(status=status, **error)
