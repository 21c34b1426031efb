"""Findings: what layers carry for nothing, because a later one deletes it, replaces it or copies it again. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from slimagent.audit.by_layer import command
from slimagent.audit.known import Known, Saving
from slimagent.model.audit import Fate, Finding, Hidden, Risk
from slimagent.paths.algebra import to_text
from slimagent.text.counted import counted

_LEAST = 100_000  # bytes
_RIGHTS = frozenset({"owner", "mode"})


def hidden(known: Known) -> Iterator[Saving]:
    """For each pair of layers, what the later one hides of the earlier one, and what it has again with other rights."""
    pairs: defaultdict[tuple[int, int], list[Hidden]] = defaultdict(list)
    for each in known.layers.hidden:
        if each.fate is Fate.COPIED and not _RIGHTS.isdisjoint(each.changed):
            if each.size >= _LEAST:
                yield Saving(_copied(known, each), {})
        else:
            pairs[each.layer, each.by].append(each)
    for parts in pairs.values():
        if sum(each.size for each in parts) >= _LEAST:
            yield Saving(_lost(known, parts), {})


def _lost(known: Known, parts: list[Hidden]) -> Finding:
    """Files that a later layer deletes, or writes again with other contents or other times. `parts` is not empty."""
    layer, by = parts[0].layer, parts[0].by
    files = sum(each.files for each in parts)
    is_gone = all(each.fate is Fate.DELETED for each in parts)
    edit = f"# delete them in layer {layer + 1}, where they are made"
    if not is_gone:
        edit = (
            f"# join layers {layer + 1} and {by + 1} into one RUN, or delete in layer {layer + 1} what it need not keep"
        )
    verb = "deletes" if is_gone else "replaces"
    largest = max(parts, key=lambda each: each.size)
    return Finding(
        kind="hidden",
        title=f"{counted(files, 'file')} of layer {layer + 1} that layer {by + 1} {verb}",
        size=sum(each.size for each in parts),
        risk=Risk.NONE,
        evidence=("the image still carries them", *_told(known, largest)),
        file="Dockerfile",
        edit=edit,
        subjects=tuple(map(to_text, largest.examples)),
        layers=(layer, by),
    )


def _copied(known: Known, each: Hidden) -> Finding:
    rights = " and ".join(sorted(_RIGHTS & set(each.changed)))
    edit = f"# set {rights} in layer {each.layer + 1}, where the files are made"
    if "owner" in each.changed:
        edit += "\nCOPY --chown=USER:GROUP ...   # or chown in the same RUN"
    return Finding(
        kind="copied-again",
        title=f"{counted(each.files, 'file')} that layer {each.by + 1} has again, with another {rights}",
        size=each.size,
        risk=Risk.NONE,
        evidence=("the image carries both copies", *_told(known, each)),
        file="Dockerfile",
        edit=edit,
        subjects=tuple(map(to_text, each.examples)),
        layers=(each.layer, each.by),
    )


def _told(known: Known, each: Hidden) -> tuple[str, ...]:
    made, hides = command(known, each.layer), command(known, each.by)
    told = [f"layer {each.layer + 1}: {made}"] if made else []
    told += [f"layer {each.by + 1}: {hides}"] if hides else []
    return (*told, f"the largest are {', '.join(map(to_text, each.examples[:3]))}")
