"""Findings: files with the same content in several places, which could be hard links. Pure.

A link saves something only between files of one layer. Its names have one owner, one mode and the same capabilities, so
files that differ in them stay apart: the owner of one could else change the other, or whoever runs it gain a right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping

from slimagent.audit import edits
from slimagent.audit.by_layer import UNKNOWN, ByLayer, Part, by_layer, is_of_base
from slimagent.audit.choosing import matcher
from slimagent.audit.duplicates import owner
from slimagent.audit.known import Known, Saving
from slimagent.model.audit import Finding, Risk
from slimagent.paths.algebra import to_text
from slimagent.text.counted import counted

_CONTENT = 64_000  # bytes
_WORTH = 1_000_000  # bytes: the least that a finding saves
_MOST = 10  # pairs in an edit
_WHERE = "at the end of the RUN of the layer; what then writes into one of two names writes into both"


def content(known: Known, gone: Collection[int]) -> Iterator[Saving]:
    """Files with the same content that could be one file, one finding for each set of owners.

    What other findings let go (`gone`) is left out: a byte would count twice, and a link to it would fail. So is what
    the edit of a cruft finding can remove although it counts elsewhere, e.g. with a package that goes.
    """
    groups: defaultdict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for entries in _same(known, gone):
        groups[tuple(sorted({owner(known, at) for at in entries}))].append(entries)
    for owners, sets in groups.items():
        spare = {at: entries[0] for entries in sets for at in entries[1:]}
        size = known.size(spare)
        if size < _WORTH:
            continue
        first = max(sets, key=lambda entries: known.inventory.sizes[entries[0]])
        made = _edit(known, spare)
        finding = Finding(
            kind="same-content",
            title=f"{counted(len(spare), 'file')} of {_named(owners)} also elsewhere",
            size=size,
            risk=Risk.LOW,
            evidence=("the same bytes: " + ", ".join(to_text(known.inventory.paths[at]) for at in first[:4]),),
            file="Dockerfile",
            edit=made.text or edits.BY_HAND,
            comment=made.comment(_WHERE, "saves"),
            subjects=tuple(to_text(known.inventory.paths[at]) for at in first),
            layers=known.layers_of(spare),
        )
        yield Saving(finding, known.sizes(spare))


def _same(known: Known, gone: Collection[int]) -> Iterator[list[int]]:
    """Sets of files with the same content, of one layer, one owner and one mode, that give the same capabilities."""
    inventory, of, is_cruft = known.inventory, known.layers.of, _cruft_test(known)
    alike: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for at in known.files:
        layer = of.get(inventory.paths[at], UNKNOWN)
        if inventory.sizes[at] < _CONTENT or at in gone or is_of_base(known, layer):
            continue
        if any(is_cruft(inventory.paths[each]) for each in known.names((at,))):
            continue
        alike[layer, inventory.sizes[at], inventory.modes[at], inventory.uids[at], inventory.gids[at]].append(at)
    for entries in alike.values():
        for group in _alike(entries, lambda at: known.reader.digest(inventory.paths[at])):
            for some in _alike(group, lambda at: known.reader.capabilities(inventory.paths[at])):
                some.sort(key=lambda at: (-inventory.links[at], at))
                # A link in place of one of several names saves nothing.
                able = [at for which, at in enumerate(some) if which == 0 or inventory.links[at] == 1]
                if len(able) > 1:
                    yield able


def _cruft_test(known: Known) -> Callable[[bytes], bool]:
    """Whether a path matches a cruft rule that has a finding, and none of the rule's exceptions.

    The finding's edit goes by patterns: it does not know for what reason the plan lets a file go.
    """
    tests = matcher([rule for rule in known.rules.cruft if rule.name in known.cruft])
    return lambda path: any(fitting and not sparing for fitting, sparing in tests(path).values())


def _alike(entries: list[int], read: Callable[[int], bytes | None]) -> Iterator[list[int]]:
    """The sets of several entries of which the same is read. What cannot be read is in none."""
    found: defaultdict[bytes, list[int]] = defaultdict(list)
    for at in entries if len(entries) > 1 else ():
        value = read(at)
        if value is not None:
            found[value].append(at)
    return (some for some in found.values() if len(some) > 1)


def _edit(known: Known, spare: Mapping[int, int]) -> ByLayer:
    """A link for each of the largest pairs; of what a COPY brought, a comment that names them."""

    def pairs(saves: Mapping[int, int], template: str) -> Part:
        paths = known.inventory.paths
        largest = sorted(saves, key=lambda at: (-saves[at], at))
        able = [at for at in largest if edits.is_writable(paths[at]) and edits.is_writable(paths[spare[at]])][:_MOST]
        lines = [edits.line(template, paths[spare[at]], paths[at]) for at in able]
        rest = len(saves) - len(able)
        more = [f"# and {counted(rest, 'more pair')}"] if rest and lines else []
        return Part((*lines, *more), sum(saves[at] for at in able))

    return by_layer(
        known,
        known.sizes(spare),
        lambda _, saves: pairs(saves, "ln -f {} {}"),
        lambda _, saves: pairs(saves, "# copy only {}, and make a symbolic link to it: {}"),
    )


def _named(owners: tuple[str, ...]) -> str:
    return ", ".join(owners[:3]) + (f" and {len(owners) - 3} more" if len(owners) > 3 else "")
