"""Put together what a list of what went says about an error: as a value, and in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slimagent.model.missing import Answer, Missing, RemovedPath, Wanted, WantedKind
from slimagent.model.reason import ReasonKind
from slimagent.model.removed import Gone, Removed, Why
from slimagent.paths.algebra import to_text
from slimagent.report.missing.remedies import keep, restore, rule, ways
from slimagent.report.missing.search import Found
from slimagent.text.counted import counted
from slimagent.text.sizes import size

_SHOWN = 5  # paths and names
_OWNERS = 5  # a name without its directory that more packages have tells nothing
_PHRASES = {
    WantedKind.PATH: "{}",
    WantedKind.COMMAND: "the command {}",
    WantedKind.LIBRARY: "the library {}",
    WantedKind.PYTHON: "the Python module {}",
    WantedKind.R: "the R package {}",
    WantedKind.NODE: "the Node module {}",
    WantedKind.JAVA: "the Java class {}",
    WantedKind.LOCALE: "the locale {}",
    WantedKind.TIME_ZONE: "the time zone {}",
    WantedKind.FONT: "the font {}",
}


def phrase(wanted: Wanted) -> str:
    """What was wanted, in words."""
    if not wanted.name:
        return f"a {wanted.kind.value}"
    text = to_text(wanted.name)
    return _PHRASES[wanted.kind].format(text.replace(":", ".") if wanted.kind is WantedKind.PYTHON else text)


def answered(head: Removed, wanted: tuple[Wanted, ...], everything: Found, options: str = "") -> Missing:
    """The answers, in the order in which things were wanted: one for each owner and reason.

    `options` are further options for `slimagent restore`, quoted.
    """
    vague = {each for each, gone in everything.items() if _is_vague(each, gone)}
    found = {each: gone for each, gone in everything.items() if each not in vague}
    groups: dict[tuple[int, int], tuple[dict[Wanted, None], dict[bytes, Gone]]] = {}
    for each in wanted:
        for gone in found.get(each, ()):
            whole = gone.owner >= 0 and head.owners[gone.owner].is_gone
            key = gone.owner, -1 if whole else gone.reason  # a whole package has one answer
            names, paths = groups.setdefault(key, ({}, {}))
            names[each] = None
            paths[gone.path] = gone
    return Missing(
        tool=head.tool,
        plan=head.plan,
        image=head.image,
        answers=tuple(
            _answer(head, owner, tuple(names), tuple(paths.values()), options)
            for (owner, _), (names, paths) in groups.items()
        ),
        unexplained=tuple(each for each in wanted if each not in everything),
        vague=tuple(each for each in wanted if each in vague),
    )


def _is_vague(wanted: Wanted, gone: Sequence[Gone]) -> bool:
    is_relative = wanted.kind is WantedKind.PATH and wanted.name[:1] != b"/"
    return is_relative and len({each.owner if each.owner >= 0 else each.path for each in gone}) > _OWNERS


def _answer(head: Removed, owner: int, wanted: tuple[Wanted, ...], gone: tuple[Gone, ...], options: str) -> Answer:
    owned = head.owners[owner] if owner >= 0 else None
    whole = owned is not None and owned.is_gone
    why = _reason([head.reasons[each.reason] for each in gone], whole=whole)
    paths = [each.path for each in gone]
    package = None if owned is None else owned.package
    things = [package.label] if package is not None and whole else [to_text(each) for each in paths]
    return Answer(
        wanted=wanted,
        removed=tuple(RemovedPath(each.path, each.size) for each in gone),
        owner="" if package is None else package.label,
        version="" if package is None else package.version,
        place=b"/" if package is None else package.place,
        whole=whole,
        kind=why.kind,
        reason=why.sentence,
        restore=restore(things, head.image, options),
        ways=() if package is None else ways(package, is_gone=whole),
        keep=keep(package if whole else None, paths),
        rule=rule(package if whole else None, paths, f"a program needs {phrase(wanted[0])}"),
    )


def _reason(reasons: Sequence[Why], *, whole: bool) -> Why:
    """Why the first of them went. That a directory is empty explains nothing: what was in it went for a reason."""
    why = next((each for each in reasons if each.kind != ReasonKind.FOLDER_GONE), reasons[0])
    if why.kind != ReasonKind.FOLDER_GONE:
        return why
    return why._replace(sentence="all that was in it went" + (" with its package" if whole else ""))


def lines(missing: Missing) -> Iterator[str]:
    """The answers for people."""
    for number, each in enumerate(missing.answers):
        if number:
            yield ""
        yield from _lines(each)


def nothing(missing: Missing) -> str:
    """What to say if nothing removed explains an error."""
    if missing.vague:
        return f"many removed paths are called so: {_some(missing.vague)}"
    return f"nothing that was removed explains it: {_some(missing.unexplained)} was not in the list of what went"


def _some(wanted: Sequence[Wanted]) -> str:
    more = f" and {len(wanted) - _SHOWN} more" if len(wanted) > _SHOWN else ""
    return ", ".join(map(phrase, wanted[:_SHOWN])) + more


def _lines(answer: Answer) -> Iterator[str]:
    yield _some(answer.wanted)
    for path, length in answer.removed[:_SHOWN]:
        yield f"  removed   {to_text(path)}" + (f"  {size(length)}" if length else "")
    if len(answer.removed) > _SHOWN:
        rest = answer.removed[_SHOWN:]
        total = sum(each.size for each in rest)
        yield f"            and {counted(len(rest), 'more path')}" + (f", {size(total)}" if total else "")
    if answer.owner:
        place = "" if answer.place == b"/" else f" in {to_text(answer.place)}"
        state = "" if answer.whole else ", the rest of which stays"
        yield f"  owner     {answer.owner} {answer.version}".rstrip() + place + state
    else:
        yield "  owner     no package"
    yield f"  because   {answer.reason}"
    yield "  bring it back"
    for line in (answer.restore, *answer.ways):
        yield f"    {line}"
    yield "  keep it next time: give this option, or add this to your profile (--profile FILE)"
    yield f"    {answer.keep}"
    for line in answer.rule.splitlines():
        yield f"    {line}".rstrip()
