"""Say in which layer an edit has to be made: what a later layer removes, the image still carries. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from slimagent.audit.known import Known
from slimagent.text.escapes import printable
from slimagent.text.sizes import size

_WORD = 60  # characters of a command in a sentence
_MOST = 6  # layers that an edit names
_HARDLY = 0.01  # of the bytes: an edit does not name a layer that has less
_PREFIX = re.compile(r"(?:RUN )?(?:/bin/sh -c )?(?:#\(nop\) )?")
_COPIES = re.compile(r"(?:COPY|ADD)\b")
_OF_COPIED = "do this to what it copies"


def command(known: Known, layer: int) -> str:
    """What made a layer, in one line that fits in a sentence or a comment; empty if nobody knows."""
    text = " ".join(known.layers.layers[layer].command.split())
    text = printable(_PREFIX.sub("", text, count=1).removesuffix(" # buildkit"), "")
    if len(text) > _WORD:
        text = f"{text[: _WORD - 1]}…"
    return text.rstrip("\\ ")  # at the end of a line it would join the next one to the comment


def is_copied(known: Known, layer: int) -> bool:
    """Whether a layer has no RUN that could remove something at its end."""
    return _COPIES.match(command(known, layer)) is not None


def headed(known: Known, layer: int, bytes_of: str) -> str:
    """A comment that names a layer, above what is to be done in it."""
    made = command(known, layer)
    told = f"# layer {layer + 1}, {bytes_of}" + (f": {made}" if made else "")
    return f"{told} ({_OF_COPIED})" if is_copied(known, layer) else told


def parts(known: Known, saves: Mapping[int, int]) -> dict[int, dict[int, int]]:
    """Entries and their bytes by the layer that they come from, the lowest first. Empty if layers are not known.

    The lowest layer is left out if there is another one, and those that hardly count: see `_HARDLY`.
    """
    of, paths = known.layers.of, known.inventory.paths
    found: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for at, bytes_of in saves.items():
        layer = of.get(paths[at])
        if layer is not None and layer < len(known.layers.layers):
            found[layer][at] = bytes_of
    least = _HARDLY * sum(saves.values())
    some = {layer: each for layer, each in found.items() if sum(each.values()) >= least}
    largest = sorted(some, key=lambda layer: -sum(some[layer].values()))
    named = [layer for layer in largest if layer or len(some) == 1][:_MOST]
    return {layer: some[layer] for layer in sorted(named)}


def each_headed(known: Known, entries: Iterable[int]) -> list[str]:
    """A comment for each layer that these files come from."""
    found = parts(known, known.sizes(entries))
    return [headed(known, layer, size(sum(each.values()))) for layer, each in found.items()]


@dataclass(frozen=True, slots=True)
class ByPath:
    """A command with paths for each layer: its lines, and the bytes that they save of all."""

    lines: tuple[str, ...]
    saves: int


def by_path(
    known: Known,
    saves: Mapping[int, int],
    choose: Callable[[Mapping[int, int]], tuple[list[bytes], int]],
    write: Callable[[list[bytes]], str],
) -> ByPath:
    """For each layer a command with the paths that `choose` names of its entries, and the bytes that these save.

    Layers are not named if they are not known. A COPY runs no commands, so its command is a comment.
    """
    groups: Mapping[int, Mapping[int, int]] = parts(known, saves) or {-1: saves}
    lines, saved = list[str](), 0
    for layer, some in groups.items():
        named, bytes_of = choose(some)
        if not named:
            continue
        saved += bytes_of
        if layer >= 0:
            whole = sum(some.values())
            told = size(whole) if bytes_of >= whole else f"{size(bytes_of)} of {size(whole)}"
            lines.append(headed(known, layer, told))
        is_comment = layer >= 0 and is_copied(known, layer)
        lines.append(f"# {write(named)}" if is_comment else write(named))
    return ByPath(tuple(lines), saved)
