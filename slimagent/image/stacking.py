"""Put layers on top of each other, and see what each one hides of those below. Pure.

Source: OCI image-spec, layer.md. A whiteout acts on lower layers alone, wherever it stands in its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from slimagent.model.audit import Fate, Hidden
from slimagent.paths.algebra import join, parent

_WHITEOUT, _OPAQUE = b".wh.", b".wh..wh..opq"
_AUFS = b".wh..wh."  # what aufs kept for itself; an opaque directory is the only one with a meaning
_EXAMPLES = 5


class Member(Protocol):
    """A path of a layer. `digest` is that of a regular file's content, empty for all others.

    `link` is the path of the file that it is a further name of: a hard link; empty for all others.
    """

    @property
    def path(self) -> bytes: ...
    @property
    def size(self) -> int: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def mode(self) -> int: ...
    @property
    def owner(self) -> tuple[int, int]: ...
    @property
    def mtime(self) -> int: ...
    @property
    def is_directory(self) -> bool: ...
    @property
    def link(self) -> bytes: ...


class Stack:
    """The layers so far. `add` puts one on top."""

    def __init__(self) -> None:
        self._count = 0
        self._seen: dict[bytes, tuple[int, Member]] = {}
        self._below: defaultdict[bytes, set[bytes]] = defaultdict(set)
        # Files with several names, by layer and first name, and the names that nothing hides yet.
        self._names: dict[tuple[int, bytes], tuple[Member, set[bytes]]] = {}
        self._hidden: defaultdict[tuple[int, int, Fate], list[tuple[Member, frozenset[str]]]] = defaultdict(list)

    def add(self, members: Sequence[Member]) -> None:
        """Put a layer on top."""
        for member in members:
            directory, name = parent(member.path), member.path.rpartition(b"/")[2]
            if name == _OPAQUE:
                for path in list(self._below.get(directory, ())):
                    self._delete(path)
            elif name.startswith(_WHITEOUT) and not name.startswith(_AUFS):
                self._delete(join(directory, name[len(_WHITEOUT) :]))
        for member in members:
            if not member.path.rpartition(b"/")[2].startswith(_WHITEOUT):
                self._put(member)
        self._count += 1

    def of(self) -> dict[bytes, int]:
        """The layer of each path that is no directory."""
        return {path: layer for path, (layer, member) in self._seen.items() if not member.is_directory}

    def hidden(self) -> tuple[Hidden, ...]:
        """What is hidden, the largest first."""
        found = []
        for (layer, by, fate), rows in self._hidden.items():
            largest = sorted(rows, key=lambda row: (-row[0].size, row[0].path))[:_EXAMPLES]
            found.append(
                Hidden(
                    layer=layer,
                    by=by,
                    fate=fate,
                    size=sum(member.size for member, _ in rows),
                    files=len(rows),
                    examples=tuple(member.path for member, _ in largest),
                    changed=tuple(sorted({each for _, changed in rows for each in changed})),
                )
            )
        return tuple(sorted(found, key=lambda each: (-each.size, each.layer, each.by, each.fate.value)))

    def _put(self, member: Member) -> None:
        known = self._seen.get(member.path)
        if not member.is_directory and (known is None or known[1].is_directory):
            self._delete(member.path)
        elif known is not None and known[0] < self._count:
            self._hide(known, member)
        self._seen[member.path] = (self._count, member)
        if member.link:
            self._name(member)
        self._enter(member.path)

    def _enter(self, path: bytes) -> None:
        """Note a path below its directory, and that below its own: a tar need not have entries for directories."""
        while path != b"/":
            directory = parent(path)
            if path in self._below[directory]:
                return
            self._below[directory].add(path)
            path, known = directory, self._seen.get(directory)
            if known is not None and not known[1].is_directory:  # a directory without an entry takes its place
                del self._seen[directory]
                self._gone(*known, Fate.REPLACED)

    def _delete(self, path: bytes) -> None:
        """Remove a path with all below it."""
        pending = [path]
        while pending:
            each = pending.pop()
            pending += self._below.pop(each, ())
            known = self._seen.pop(each, None)
            if known is not None:
                self._gone(*known, Fate.DELETED)
        self._below[parent(path)].discard(path)

    def _gone(self, layer: int, member: Member, fate: Fate) -> None:
        """Note a file of a lower layer that is gone. What a layer hides of itself it does not carry."""
        lost = self._lost(layer, member)
        if lost is not None and layer < self._count:
            self._hidden[layer, self._count, fate].append((lost, frozenset()))

    def _name(self, member: Member) -> None:
        """Note a further name of a file of this layer."""
        layer, file = self._seen.get(member.link, (-1, member))
        if layer == self._count and file.digest:
            self._names.setdefault((layer, file.path), (file, {file.path}))[1].add(member.path)

    def _lost(self, layer: int, member: Member) -> Member | None:
        """The file that nothing shows any longer once this name of it is hidden; None if it has another one."""
        known = self._names.get((layer, member.link or member.path))
        if known is None:
            return member if member.digest else None
        file, names = known
        names.discard(member.path)
        return None if names else file

    def _hide(self, known: tuple[int, Member], member: Member) -> None:
        layer, before = known[0], self._lost(*known)
        if before is None:
            return
        after = self._seen.get(member.link, (0, member))[1] if member.link else member
        is_same = before.digest == after.digest
        changed = frozenset(_changed(before, after)) if is_same else frozenset()
        self._hidden[layer, self._count, Fate.COPIED if is_same else Fate.REPLACED].append((before, changed))


def _changed(before: Member, after: Member) -> Iterable[str]:
    if before.owner != after.owner:
        yield "owner"
    if before.mode != after.mode:
        yield "mode"
    if before.mtime != after.mtime:
        yield "time"
