"""Findings: what every level drops as cruft, one finding for each rule, and symbols in libraries and programs. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from slimagent.audit import edits
from slimagent.audit.by_layer import IN_BASE, Part, by_layer, in_base, left_out
from slimagent.audit.choosing import most
from slimagent.audit.known import Known, Saving, most_in, told
from slimagent.audit.removing import Removing
from slimagent.model.audit import Finding, Risk
from slimagent.model.profile import CruftRule
from slimagent.text.counted import counted
from slimagent.text.sizes import size

_SUBJECTS = 10
_UNPROVED = (
    "each command at the end of the RUN of its layer, with binutils; nothing compares the files there: run your tests. "
    "`slimagent image` strips copies, and takes each only if what is loaded of it is the same"
)

_CAPABLE = "# strip would take capabilities from them: where they are given (setcap), strip before"


def cruft(known: Known) -> Iterator[Saving]:
    """A finding for each rule by which files are cruft."""
    rules = {rule.name: rule for rule in known.rules.cruft}
    removing = Removing(known, [rules[name] for name in known.cruft])
    for rule_name, names in known.cruft.items():
        rule = rules[rule_name]
        saves = known.sizes(names)
        entries = list(saves)
        places = most_in(known, entries)
        edit, comment = removing.edit(rule, names)
        finding = Finding(
            kind=rule.name,
            title=counted(len(entries), "file"),
            size=sum(saves.values()),
            risk=_risk(known, rule),
            evidence=(
                rule.why,
                f"without them: {rule.risk}",
                *_in_base(known, entries),
                told(places),
            ),
            file="Dockerfile",
            edit=edit,
            comment=comment,
            subjects=tuple(place for place, _ in places[:_SUBJECTS]),
            layers=known.layers_of(entries),
        )
        yield Saving(finding, saves)


def _in_base(known: Known, entries: list[int]) -> tuple[str, ...]:
    """How much lies in the base image: no later line of a Dockerfile makes that smaller."""
    base = known.size(in_base(known, entries))
    return (f"{size(base)} of it is in layer 1: {IN_BASE}",) if base else ()


def _risk(known: Known, rule: CruftRule) -> Risk:
    if rule.risk.startswith("none"):
        return Risk.NONE
    return Risk.MEDIUM if rule.unless == "compiling" and not known.traced else Risk.LOW


def symbols(known: Known) -> Iterator[Saving]:
    """What stripping would save, as the plan weighed it."""
    strips = known.plan.strips
    whole = sum(each.saves for each in strips)
    if not whole:
        return
    saves: defaultdict[int, int] = defaultdict(int)
    for each in strips:
        saves[known.owners.of[known.inventory.index[each.path]]] += each.saves
    largest = sorted(saves.items(), key=lambda pair: (-pair[1], pair[0]))[:5]
    names = [known.owners.packages[number].name if number >= 0 else "nobody's" for number, _ in largest]
    kept = len(known.plan.unstripped)
    more = f"{counted(kept, 'more file')} must not be stripped" if kept else "no file forbids it"
    entries = {known.inventory.index[each.path]: each.saves for each in strips}
    made = by_layer(known, entries, lambda _, some: _strip(known, some), lambda at, some: _unstripped(known, at, some))
    finding = Finding(
        kind="symbols",
        title=f"symbols and debugging sections of {counted(len(strips), 'file')}",
        size=whole,
        risk=Risk.LOW,
        evidence=(f"most are in {', '.join(names)}", more, *_in_base(known, list(entries))),
        file="Dockerfile",
        edit=made.text or edits.BY_HAND,
        comment=made.comment(_UNPROVED, "saves"),
        layers=known.layers_of(entries),
    )
    yield Saving(finding, entries)


def _strip(known: Known, saves: Mapping[int, int]) -> Part:
    able = _without_capabilities(known, saves)
    if not able:
        return Part((_CAPABLE,))
    named, saved = most({at: known.inventory.paths[at] for at in able}, able)
    return Part((edits.words("strip --strip-unneeded -- {}", named),), saved) if named else Part()


def _without_capabilities(known: Known, saves: Mapping[int, int]) -> dict[int, int]:
    """The files that have no capabilities: strip(1) writes a new file, which has none. None that cannot be read."""
    paths, reader, names = known.inventory.paths, known.reader, known.names
    return {at: size for at, size in saves.items() if all(reader.capabilities(paths[x]) == b"" for x in names((at,)))}


def _unstripped(known: Known, layer: int, saves: Mapping[int, int]) -> Part:
    """Of what a COPY brought: it can be stripped where it is copied from."""
    named, saved = most({at: known.inventory.paths[at] for at in saves}, _without_capabilities(known, saves))
    return left_out(known, layer, named, saved, "strip these before they are copied to")
