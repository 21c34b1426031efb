"""Compare owners, groups, modes, capabilities and access control lists of two snapshots of an image. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from slimagent.checks.finding import first_few, judged
from slimagent.checks.permissions import file_capabilities
from slimagent.checks.permissions.walk import Snapshot, below
from slimagent.linux import posix_acl
from slimagent.linux.posix_acl import Attributes, kind_text, mode_text
from slimagent.model.result import Item
from slimagent.paths.algebra import to_text
from slimagent.text.counted import counted


def _mode(before: Attributes, after: Attributes) -> str:
    kinds = [kind_text(each.mode) for each in (before, after)]
    modes = [mode_text(each.mode) for each in (before, after)]
    if kinds[0] == kinds[1]:
        return f"mode {modes[0]} -> {modes[1]}"
    return f"{kinds[0]}, mode {modes[0]} -> {kinds[1]}, mode {modes[1]}"


def _acls(before: Attributes, after: Attributes) -> str:
    pairs = (("ACL", before.access, after.access), ("default ACL", before.default, after.default))
    return ", ".join(
        f"{what} {posix_acl.text(old)} -> {posix_acl.text(new)}"
        for what, old, new in pairs
        if posix_acl.meaning(old) != posix_acl.meaning(new)
    )


def _capabilities(before: Attributes, after: Attributes) -> str:
    texts = [file_capabilities.text(each.capability) for each in (before, after)]
    return f"capabilities {texts[0]} -> {texts[1]}"


# Each item: what it compares, and a difference in words.
_Words = Callable[[Attributes, Attributes], str]
ASPECTS: dict[str, tuple[Callable[[Attributes], object], _Words]] = {
    "owner": (lambda each: each.uid, lambda before, after: f"owner {before.uid} -> {after.uid}"),
    "group": (lambda each: each.gid, lambda before, after: f"group {before.gid} -> {after.gid}"),
    "mode": (lambda each: each.mode, _mode),
    "capabilities": (lambda each: each.capability, _capabilities),
    "ACLs": (lambda each: (posix_acl.meaning(each.access), posix_acl.meaning(each.default)), _acls),
}


def compared(before: Snapshot, after: Snapshot) -> Iterator[Item]:
    """An item for each of ASPECTS: it fails if a path in both snapshots differs; the first ones are named."""
    both, found = _differences(before, after)
    for name in ASPECTS:
        pairs, words = sorted(found[name]), ASPECTS[name][1]

        def text(pair: tuple[bytes, int, int], words: _Words = words) -> str:
            path, was, now = pair
            return f"{to_text(path)}: {words(before.attributes[was], after.attributes[now])}"

        what = counted(len(pairs), "path differs", "paths differ")
        yield judged(
            name, f"{what}: {first_few(pairs, text)}" if pairs else "", f"as it was, of {counted(both, 'path')}"
        )


def _differences(before: Snapshot, after: Snapshot) -> tuple[int, dict[str, list[tuple[bytes, int, int]]]]:
    """The number of paths in both; by aspect, those that differ, with the numbers of their attributes."""
    both = 0
    found: dict[str, list[tuple[bytes, int, int]]] = {name: [] for name in ASPECTS}
    known: dict[tuple[int, int], list[str]] = {}  # there are few distinct pairs, and many paths
    for directory, listing in after.listings.items():
        old = before.listings.get(directory)
        if old is None:
            continue
        for name, now in listing.items():
            was = old.get(name)
            if was is None:
                continue
            both += 1
            aspects = known.get((was, now))
            if aspects is None:
                aspects = known[was, now] = _aspects(before.attributes[was], after.attributes[now])
            for aspect in aspects:
                found[aspect].append((below(directory, name), was, now))
    return both, found


def _aspects(before: Attributes, after: Attributes) -> list[str]:
    return [name for name, (look, _) in ASPECTS.items() if look(before) != look(after)]
