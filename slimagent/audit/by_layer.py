"""Say in which layer an edit has to be made: what a later layer removes, the image still carries. Pure.

A RUN can remove something at its end. What a COPY or an ADD brought can only be left out of what is copied. What the
base image has, only the base image's own Dockerfile can change. So only a RUN gets a command; the others get comments.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from slimagent.audit import edits
from slimagent.audit.known import Known
from slimagent.paths.algebra import within
from slimagent.text.escapes import printable
from slimagent.text.sizes import size

UNKNOWN = -1  # in place of a layer, where layers are not known
IN_BASE = "only the base image's own Dockerfile can save that"
_OF_BASE = (
    "# it is in layer 1, which no line of this Dockerfile makes: take a smaller base, or change its own Dockerfile"
)
_CACHED = 4096  # commands of layers: no image has so many
_WORD = 60  # characters of a command in a sentence
_ACTIVE = re.compile(r"[^\w ./:=,@%+…-]")  # what a shell could obey
_MOST = 6  # layers that an edit names
_HARDLY = 0.01  # of the bytes: an edit does not name a layer that has less
_NEARLY = 0.95  # of the bytes: a comment does not say how much is missing
_PREFIX = re.compile(r"(?:RUN )?(?:/bin/sh -c )?(?:#\(nop\) )?")
_RUNS = re.compile(r"(?:RUN |\|\d+ |/bin/sh -c (?!#\(nop\)))")
# BuildKit writes the instruction, the classic builder `#(nop)` after the words of its shell.
_COPIES = re.compile(r"\s*(?:(?:/\S+ (?:-\S+ |pipefail )*)?#\(nop\)\s+)?(?:COPY|ADD)\s")
_DIGEST = re.compile(r"\b(dir|file|multi):([0-9a-f]{12})[0-9a-f]{52}\b")  # as the classic builder names what it copies
_DESTINATION = re.compile(r'.*[\s"](/[^\s"]*)"?\]?\s*')
WAYS = "what a COPY brings is left out with .dockerignore, or where it is copied from"


def told(known: Known, layer: int) -> str:
    """What made a layer, in one line."""
    return _told(known.layers.layers[layer].command)


# A command can be long, and is asked for with every file of its layer.
@lru_cache(_CACHED)
def _told(text: str) -> str:
    text = " ".join(text.split())
    text = _PREFIX.sub("", text, count=1).removesuffix(" # buildkit")
    return printable(_DIGEST.sub(r"\1:\2", text), "")


def command(known: Known, layer: int) -> str:
    """The same, cut to fit in a sentence or a comment; empty if nobody knows."""
    text = told(known, layer)
    if len(text) > _WORD:
        text = f"{text[: _WORD - 1]}…"
    return text.rstrip("\\ ")  # at the end of a line it would join the next one to the comment


def is_copied(known: Known, layer: int) -> bool:
    """Whether a layer has no RUN that could remove something at its end."""
    return layer >= 0 and _COPIES.match(known.layers.layers[layer].command) is not None


def destination(known: Known, layer: int) -> bytes:
    """The path to which a COPY or an ADD copies; `/` if its line does not say it."""
    return _destination(told(known, layer))


@lru_cache(_CACHED)
def _destination(text: str) -> bytes:
    found = _DESTINATION.fullmatch(text)
    return (found[1].rstrip("/") or "/").encode() if found else b"/"


def is_of_base(known: Known, layer: int) -> bool:
    """Whether a layer is the lowest one, which came with the distribution. An image can start with a COPY or a RUN."""
    if layer != 0:
        return False
    if is_copied(known, layer):
        return len(known.layers.layers) > 1 and destination(known, layer) == b"/"
    return _RUNS.match(known.layers.layers[layer].command) is None


def in_base(known: Known, entries: Iterable[int]) -> list[int]:
    """Those of these entries that are in the base image."""
    of, paths = known.layers.of, known.inventory.paths
    lowest = bool(known.layers.layers) and is_of_base(known, 0)
    return [at for at in entries if lowest and of.get(paths[at]) == 0]


def makers(known: Known) -> dict[int, frozenset[int]]:
    """The owners of each layer's files. Only root makes files of root's: without any a RUN may be another user's."""
    uids = known.inventory.uids
    return {layer: frozenset(uids[at] for at in entries) for layer, entries in known.in_layer.items()}


def headed(known: Known, layer: int, bytes_of: str) -> str:
    """A comment that names a layer, above what is to be done in it."""
    made = command(known, layer)
    if _ACTIVE.search(made):  # zsh has no comments by default: it obeys what is pasted
        made = shlex.quote(made)
    return f"# layer {layer + 1}, {bytes_of}" + (f": {made}" if made else "")


def parts(known: Known, saves: Mapping[int, int]) -> dict[int, dict[int, int]]:
    """Entries and their bytes by the layer that they come from, the lowest first. Empty if layers are not known.

    The base image's are left out, and layers that hardly count: see `_HARDLY`.
    """
    of, paths = known.layers.of, known.inventory.paths
    found: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for at, bytes_of in saves.items():
        layer = of.get(paths[at])
        if layer is not None and layer < len(known.layers.layers) and not is_of_base(known, layer):
            found[layer][at] = bytes_of
    least = _HARDLY * sum(sum(each.values()) for each in found.values())
    some = {layer: each for layer, each in found.items() if sum(each.values()) >= least}
    largest = sorted(some, key=lambda layer: -sum(some[layer].values()))[:_MOST]
    return {layer: some[layer] for layer in sorted(largest)}


@dataclass(frozen=True, slots=True)
class Part:
    """The lines of an edit for one layer, and the bytes that they save. Without lines nothing can be said of it.

    They save `more` of files that count in other findings.
    """

    lines: tuple[str, ...] = ()
    saves: int = 0
    more: int = 0


@dataclass(frozen=True, slots=True)
class ByLayer:
    """An edit for several layers: its lines, and the bytes that its commands save of `whole`, and beside it (`more`).

    The commands are those of RUNs; `is_copied` if there are comments for a COPY, too.
    """

    lines: tuple[str, ...]
    saves: int
    whole: int
    more: int
    is_copied: bool

    @property
    def text(self) -> str:
        """The edit."""
        return "\n".join(self.lines)

    def comment(self, where: str, verb: str = "removes", ways: str = "") -> str:
        """How much of it the commands save, where they belong, and in which way a COPY leaves something out."""
        said = [ways] if self.is_copied and ways else []
        if self.saves:
            said = [where, *said]
            is_less, is_more = self.saves < _NEARLY * self.whole, self.more > (1 - _NEARLY) * self.saves
            if is_less or is_more:
                beside = f", and {size(self.more)} that count elsewhere" if is_more else ""
                said = [f"{verb} {size(self.saves)} of {size(self.whole)}{beside}", *said]
        return "; ".join(said)


Write = Callable[[int, Mapping[int, int]], Part]


def by_layer(known: Known, saves: Mapping[int, int], write: Write, leave_out: Write) -> ByLayer:
    """For each layer what `write` says of its entries, or `leave_out` of what a COPY brought: that has comments alone.

    Layers with the same lines share them.
    """
    groups: Mapping[int, Mapping[int, int]] = parts(known, saves) if known.layers.layers else {UNKNOWN: saves}
    found: dict[tuple[str, ...], list[str]] = {}
    saved, more, copies = 0, 0, False
    for layer, some in groups.items():
        copied = is_copied(known, layer)
        made = (leave_out if copied else write)(layer, some)
        if not made.lines:
            continue
        saved += 0 if copied else made.saves
        more += 0 if copied else made.more
        copies |= copied
        whole = sum(some.values())
        bytes_of = size(whole) if made.saves >= whole else f"{size(made.saves)} of {size(whole)}"
        found.setdefault(made.lines, []).extend([headed(known, layer, bytes_of)] if layer >= 0 else [])
    lines = [line for commands, heads in found.items() for line in (*heads, *commands)]
    base = not groups and bool(saves)
    return ByLayer((_OF_BASE,) if base else tuple(lines), saved, sum(saves.values()), more, copies)


def left_out(known: Known, layer: int, names: Iterable[bytes | str], saves: int, says: str = "do not copy to") -> Part:
    """A comment that says what a COPY should not copy: patterns, or paths, which are shortened to what it copies."""
    to = destination(known, layer)
    shown = [_below(each, to) for each in names if edits.is_writable(each)]
    line = edits.line(f"# {says} {{}}: {' '.join(['{}'] * len(shown))}", to, *shown)
    return Part((line,), saves) if shown else Part()


def _below(path: bytes | str, directory: bytes) -> bytes | str:
    if isinstance(path, str) or directory == b"/" or not within(path, directory) or path == directory:
        return path
    return path[len(directory) + 1 :]
