"""The plan as a document: its entries by the hundred thousand. See `documents` for what all of them promise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from slimagent.documents.envelope import dump, load
from slimagent.documents.parts import (
    BOOLEAN,
    CHANGE,
    NOTE,
    PATH,
    PATHS,
    TEXT,
    TEXTS,
    Form,
    absolute,
    an_object,
    cells,
    get_members,
    get_rows,
    indices,
    put_members,
    put_rows,
    unsigned,
)
from slimagent.errors import DocumentError
from slimagent.model.edit import Edit, EditKind
from slimagent.model.inventory import Description, Distribution, Package, PackageKind
from slimagent.model.plan import (
    Caution,
    Entry,
    GpuCode,
    GpuFile,
    GpuHeld,
    GpuLeft,
    HardLink,
    Plan,
    PlannedPackage,
    Step,
    Strip,
    UsedBy,
)
from slimagent.model.reason import Reason, ReasonKind, Verdict
from slimagent.paths.algebra import to_text
from slimagent.text.escapes import quoted
from slimagent.text.shape import Place, ShapeError, string, whole

PLAN = "slimagent/plan"
_TEXTS = ("source", "architecture", "build", "channel")  # of a description
_DISTRIBUTION = ("id", "version", "codename")
_NOTHING = Description()


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


def _put_caution(caution: Caution | None) -> dict[str, int] | None:
    return None if caution is None else caution._asdict()


def _get_caution(place: Place) -> Caution | None:
    return None if place.value is None else Caution(place["paths"].unsigned(), place["size"].unsigned())


def _get_step(row: Any) -> Step:
    name, run = cells(row, 2)
    return Step(string(name), string(run))


def _get_reason(row: Any) -> Reason:
    if not isinstance(row, dict):
        raise TypeError("expected an object")
    return Reason(
        verdict=Verdict(row["verdict"]),
        kind=ReasonKind(string(row["kind"])),
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
        raise TypeError(f"{quoted(essential)} is neither true nor false")
    package = Package(
        kind=PackageKind(string(kind)),
        name=string(name),
        version=string(version),
        place=absolute(place),
        section=string(section),
        essential=essential,
    )
    return PlannedPackage(
        package=package,
        reason=whole(reason),
        files=unsigned(files),
        size=unsigned(size),
        kept=unsigned(kept),
        requires=indices(requires),
    )


def _put_description(row: tuple[int, Description]) -> dict[str, Any]:
    number, described = row
    texts = {name: text for name in _TEXTS if (text := getattr(described, name))}
    return {"package": number, **({"licenses": list(described.licenses)} if described.licenses else {}), **texts}


def _get_description(row: Any) -> tuple[int, Description]:
    if not isinstance(row, dict):
        raise TypeError("expected an object")
    licenses = row.get("licenses", [])
    if not isinstance(licenses, list):
        raise ShapeError(licenses, "a list of licenses")
    texts = {name: string(row.get(name, "")) for name in _TEXTS}
    return unsigned(row["package"]), Description(licenses=tuple(map(string, licenses)), **texts)


def _get_distribution(place: Place) -> Distribution:
    return Distribution(**{name: place[name].text() for name in _DISTRIBUTION})


def _get_edit(row: Any) -> Edit:
    path, kind, keys = cells(row, 3)
    if not isinstance(keys, list):
        raise ShapeError(keys, "a list of keys")
    return Edit(path=absolute(path), kind=EditKind(string(kind)), keys=tuple(map(string, keys)))


def _get_strip(row: Any) -> Strip:
    path, saves = cells(row, 2)
    return Strip(absolute(path), unsigned(saves))


def _get_gpu_file(row: Any) -> GpuFile:
    path, saves, permitted = cells(row, 3)
    return GpuFile(absolute(path), unsigned(saves), string(permitted))


def _get_gpu_left(row: Any) -> GpuLeft:
    path, why, could_save = cells(row, 3)
    return GpuLeft(absolute(path), string(why), unsigned(could_save))


def _get_gpu_held(row: Any) -> GpuHeld:
    path, form, architecture, *numbers = cells(row, 6)
    return GpuHeld(absolute(path), string(form), string(architecture), *map(unsigned, numbers))


def _put_path(row: tuple[Any, ...]) -> list[Any]:
    """A row that begins with a path."""
    path, *rest = row
    return [to_text(path), *rest]


def _get_further(row: Any) -> tuple[int, tuple[int, ...]]:
    at, owners = cells(row, 2)
    return whole(at), indices(owners)


def _get_hard_link(row: Any) -> HardLink:
    entry, counts_with = cells(row, 2)
    return HardLink(whole(entry), whole(counts_with))


_MEMBERS = {
    **dict.fromkeys(("tool", "level"), TEXT),
    "root": PATH,
    **dict.fromkeys(("scopes", "excluded", "volumes", "mounts"), PATHS),
    **dict.fromkeys(("fingerprints", "traces", "accepted"), TEXTS),
    "caution": Form(_put_caution, _get_caution),
}
_GPU = an_object(
    GpuCode,
    target=TEXT,
    ptx=BOOLEAN,
    files=Form(lambda files: list(map(_put_path, files)), lambda place: place.rows(_get_gpu_file)),
    left=Form(lambda left: list(map(_put_path, left)), lambda place: place.rows(_get_gpu_left)),
    held=Form(lambda held: list(map(_put_path, held)), lambda place: place.rows(_get_gpu_held)),
)
_ROWS = {
    "unresolved": NOTE,
    "changes": CHANGE,
    "problems": NOTE,
    "strips": Form(NOTE.put, _get_strip),
    "unstripped": NOTE,
    "edits": Form(lambda edit: [to_text(edit.path), edit.kind, list(edit.keys)], _get_edit),
    "steps": Form(list, _get_step),
    "reasons": Form(_put_reason, _get_reason),
    "packages": Form(_put_package, _get_package),
    "further": Form(lambda row: [row[0], list(row[1])], _get_further),
}


def encode_plan(plan: Plan) -> bytes:
    """A plan as bytes.

    Rows of `entries` are [path, index into reasons, size, modification time in ns, index into packages or -1].
    """
    described = ((at, each.description) for at, each in enumerate(plan.packages) if each.description != _NOTHING)
    rows = {
        **put_rows(_ROWS, plan),
        "descriptions": map(_put_description, described),
        "hard_links": map(list, plan.hard_links),
        "unread": map(_put_path, plan.unread),
        "entries": map(_put_path, plan.entries),
    }
    if plan.used_by:
        rows |= _put_used_by(plan)
    members = {**put_members(_MEMBERS, plan), "distribution": asdict(plan.distribution)}
    if plan.gpu is not None:
        members["gpu"] = _GPU.put(plan.gpu)
    return dump(PLAN, members, rows)


def _put_used_by(plan: Plan) -> dict[str, Iterator[Any]]:
    """The members of a plan whose steps marked tests.

    Rows of `used_by` are [tests, [names of the first], whether also outside of tests], each once. Rows of `tested` are
    [index into entries, index into used_by].
    """
    numbers: dict[UsedBy, int] = {}
    tested = [[entry, numbers.setdefault(used, len(numbers))] for entry, used in plan.used_by]
    return {"used_by": ([tests, list(names), outside] for tests, names, outside in numbers), "tested": iter(tested)}


def _get_used_by(place: Place) -> tuple[tuple[int, UsedBy], ...]:
    if "used_by" not in place.value:
        return ()

    def get_used(row: Any) -> UsedBy:
        tests, names, outside = cells(row, 3)
        if not isinstance(names, list) or not isinstance(outside, bool):
            raise ShapeError(row, "a number, names, and whether also outside of tests")
        return UsedBy(unsigned(tests), tuple(map(string, names)), outside)

    rows = place["used_by"].rows(get_used)

    def get_tested(row: Any) -> tuple[int, UsedBy]:
        entry, used = cells(row, 2)
        if not 0 <= whole(used) < len(rows):
            raise ValueError(f"no such row of used_by: {used}")
        return whole(entry), rows[used]

    return place["tested"].rows(get_tested)


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
        *(entry for entry, _ in plan.used_by if not 0 <= entry < len(plan.entries)),
        *(at for row in plan.hard_links for at in row if not 0 <= at < len(plan.entries)),
    ]
    if wrong:
        raise DocumentError(f"{document}: index {wrong[0]} leads nowhere", "the document is damaged; make it again")
    return plan


def decode_plan(data: bytes, document: str = "plan") -> Plan:
    """Bytes as a plan. Raises DocumentError."""
    place = load(data, PLAN, document)
    lists = get_rows(_ROWS, place)
    reasons = len(lists["reasons"])

    def get_entry(row: Any) -> Entry:
        path, reason, size, mtime, owner = cells(row, 5)
        if not 0 <= whole(reason) < reasons:
            raise ValueError(f"no such reason: {reason}")
        return Entry(absolute(path), reason, unsigned(size), whole(mtime), whole(owner))

    lists["packages"] = _described(place, lists["packages"])
    plan = Plan(
        **get_members(_MEMBERS, place),
        **lists,
        entries=place["entries"].rows(get_entry),
        hard_links=place["hard_links"].rows(_get_hard_link) if "hard_links" in place.value else (),
        unread=place["unread"].rows(NOTE.get) if "unread" in place.value else _doubtful(lists["problems"]),
        used_by=_get_used_by(place),
        distribution=_get_distribution(place["distribution"]) if "distribution" in place.value else Distribution(),
        gpu=_GPU.get(place["gpu"]) if "gpu" in place.value else None,
    )
    return _sound(plan, document)


def _doubtful(problems: Iterable[tuple[bytes, str]]) -> tuple[tuple[bytes, str], ...]:
    """What the first plans of this version do not say: for any of the problems packages of any kind may be missing."""
    return tuple((path, "*") for path in sorted({path for path, _ in problems}))


def _described(place: Place, packages: tuple[PlannedPackage, ...]) -> tuple[PlannedPackage, ...]:
    """The packages with their descriptions, which the first plans of this version do not have."""
    described = list(packages)

    def describe(row: Any) -> None:
        number, found = _get_description(row)
        if number >= len(described):
            raise ValueError(f"no such package: {number}")
        described[number] = replace(described[number], description=found)

    if "descriptions" in place.value:
        place["descriptions"].rows(describe)
    return tuple(described)
