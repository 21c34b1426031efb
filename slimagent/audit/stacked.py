"""Findings: what layers carry for nothing, because a later one deletes it, replaces it or copies it again. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from shlex import quote

from slimagent.audit.by_layer import IN_BASE, command, is_copied, is_of_base, told
from slimagent.audit.edits import is_writable
from slimagent.audit.known import Known, Saving
from slimagent.model.audit import Fate, Finding, Hidden, Risk
from slimagent.paths.algebra import to_text
from slimagent.text.counted import counted

_LEAST = 100_000  # bytes
_RIGHTS = frozenset({"owner", "mode"})
_MOST = 6  # layers that an edit names
_DOWNLOADS = re.compile(r"\b(?:wget|curl|git clone)\b")


def hidden(known: Known) -> Iterator[Saving]:
    """For each pair of layers, what the later one deletes or replaces, and what it has again with other rights."""
    pairs: defaultdict[tuple[int, int, bool], list[Hidden]] = defaultdict(list)
    for each in known.layers.hidden:
        if each.fate is Fate.COPIED and not _RIGHTS.isdisjoint(each.changed):
            if each.size >= _LEAST:
                yield Saving(_copied(known, each), {})
        else:
            pairs[each.layer, each.by, each.fate is Fate.DELETED].append(each)
    for parts in pairs.values():
        if sum(each.size for each in parts) >= _LEAST:
            yield Saving(_lost(known, parts), {})


def _lost(known: Known, parts: list[Hidden]) -> Finding:
    """Files that a later layer deletes, or that it writes again with other contents or other times.

    `parts` is not empty, and either all of them are deleted or none is.
    """
    layer, by = parts[0].layer, parts[0].by
    files = sum(each.files for each in parts)
    is_gone = parts[0].fate is Fate.DELETED
    verb = "deletes" if is_gone else "replaces"
    examples = _examples(parts)
    return Finding(
        kind="hidden",
        title=f"{counted(files, 'file')} of layer {layer + 1} that layer {by + 1} {verb}",
        size=sum(each.size for each in parts),
        risk=Risk.NONE,
        evidence=(
            "the image still carries them",
            *_made(known, layer, by),
            _shown(examples, are_largest=len(parts) == 1),
        ),
        file="Dockerfile",
        edit="\n".join(_kept_out(known, layer, by, examples, is_gone=is_gone)),
        subjects=tuple(map(to_text, examples)),
        layers=(layer, by),
    )


def _examples(parts: list[Hidden]) -> list[bytes]:
    """The largest files of each part by turns. Nobody knows which are the largest of all: they come without sizes."""
    order = sorted(parts, key=lambda each: -each.size)
    rows = zip_longest(*(each.examples for each in order))
    return list(dict.fromkeys(path for row in rows for path in row if path is not None))


def _kept_out(known: Known, layer: int, by: int, examples: list[bytes], *, is_gone: bool) -> Iterator[str]:
    """What to do in a layer, or in the one that hides its files."""
    if is_of_base(known, layer):
        yield f"# layer {layer + 1} is the base image's: {IN_BASE}"
    elif is_copied(known, layer):
        yield f"# do not copy them in layer {layer + 1}: what a RUN alone reads, it mounts (RUN --mount=type=bind)"
    elif is_copied(known, by):
        yield f"# layer {by + 1} brings its own: do not make them in layer {layer + 1} if no RUN between them uses them"
    else:
        yield _joined(known, layer, by, is_gone=is_gone)
        yield from () if is_gone else _cruft(known, layer, examples)


def _joined(known: Known, layer: int, by: int, *, is_gone: bool) -> str:
    """Files are in no layer if the RUN that makes them also removes them. Before, what uses them has to run."""
    copies = [str(at + 1) for at in range(layer + 1, by) if is_copied(known, at)]
    which = f"layers {layer + 1} {'and' if by == layer + 1 else 'to'} {by + 1}"
    named = ("layer " if len(copies) == 1 else "layers ") + ", ".join(copies[:_MOST])
    before = f", after what {named} {'copies' if len(copies) == 1 else 'copy'}" if copies else ""
    why = ""
    if is_gone:
        is_load = _DOWNLOADS.search(told(known, layer)) is not None
        why = f": {'download' if is_load else 'make'}, use and remove them in it"
    return f"# join {which} into one RUN{before}{why}"


def _cruft(known: Known, layer: int, examples: list[bytes]) -> Iterator[str]:
    """Which of these files are cruft by a finding of this audit: it says with what command they go."""
    for path in examples:
        name = known.cruft_of.get(known.inventory.index.get(path, -1))
        if name is not None and is_writable(path):
            yield f"# layer {layer + 1} need not keep {quote(path.decode())}: see {name}"


def _copied(known: Known, each: Hidden) -> Finding:
    rights = " and ".join(sorted(_RIGHTS & set(each.changed)))
    return Finding(
        kind="copied-again",
        title=f"{counted(each.files, 'file')} that layer {each.by + 1} has again, with another {rights}",
        size=each.size,
        risk=Risk.NONE,
        evidence=(
            "the image carries both copies",
            *_made(known, each.layer, each.by),
            _shown(each.examples, are_largest=True),
        ),
        file="Dockerfile",
        edit="\n".join(_with_rights(known, each, rights)),
        subjects=tuple(map(to_text, each.examples)),
        layers=(each.layer, each.by),
    )


def _with_rights(known: Known, each: Hidden, rights: str) -> Iterator[str]:
    """How files have an owner or a mode from the start: with the option of a COPY, or in the same RUN."""
    layer = each.layer + 1
    if is_of_base(known, each.layer):
        yield f"# layer {layer} is the base image's: {IN_BASE}, or do not change its {rights} in layer {each.by + 1}"
    elif is_copied(known, each.layer):
        owner = " --chown=USER:GROUP" if "owner" in each.changed else ""
        mode = " --chmod=MODE" if "mode" in each.changed else ""
        yield f"# set {rights} in layer {layer}: COPY{owner}{mode} ..."
    else:
        yield f"# set {rights} in layer {layer}, at the end of the RUN that makes the files"


def _made(known: Known, layer: int, by: int) -> Iterator[str]:
    """What made a layer and the one that hides its files, where it is known."""
    return (f"layer {at + 1}: {made}" for at in (layer, by) if (made := command(known, at)))


def _shown(examples: Sequence[bytes], *, are_largest: bool) -> str:
    return f"{'the largest are' if are_largest else 'e.g.'} {', '.join(map(to_text, examples[:3]))}"
