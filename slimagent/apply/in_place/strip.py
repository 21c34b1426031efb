"""Strip files of the image itself: each is replaced at once, under all its names, by a copy that was proved.

It comes before anything is removed, because the strip program may be among what goes. An interrupted go is taken up by
what the journal says: a file whose outcome stands there is as it was, or as it will be, under each of its names.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from slimagent.apply.decide import Decision
from slimagent.apply.directories import Folders
from slimagent.apply.edits.rewrite import discard, finish
from slimagent.apply.in_place.journal import Journal
from slimagent.apply.in_place.journal_format import Outcome, temporary_name
from slimagent.apply.source import Attributes, Source
from slimagent.apply.strip.program import Passing
from slimagent.apply.strip.stripped import Stripped, Tools, wanted
from slimagent.errors import UnavailableError
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.paths.algebra import parent, to_text, within

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 22  # bytes
_OUTSIDE = "it has names that are not in what was scanned"
_MODIFIED = "it was modified while the image was being slimmed"


@dataclass(slots=True)
class Done:
    """What came of it, in this run and those before it; `touched` are folders whose times have changed.

    `passing` are files that could not be stripped for a reason that may be gone next time, and the reason.
    """

    count: int = 0
    saved: int = 0
    loaded: int = 0
    left: list[tuple[bytes, str]] = field(default_factory=list)
    passing: list[tuple[bytes, str]] = field(default_factory=list)
    touched: set[bytes] = field(default_factory=set)

    def add(self, inventory: Inventory, at: int, outcome: Outcome) -> None:
        """Count how one file ended."""
        if outcome.why:
            self.left.append((inventory.paths[at], outcome.why))
            return
        self.count += 1
        self.saved += inventory.sizes[at] - outcome.size
        self.loaded += outcome.loaded


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is done: the image, what is decided of it, and how it is reached.

    `token` is in the name of all that is made on the way.
    """

    inventory: Inventory
    decision: Decision
    folders: Folders
    source: Source
    token: str
    journal: Journal | None


def strip_in_place(plan: Plan, place: Place, tools: Tools) -> Done:
    """Strip what the plan strips and is still as the plan saw it.

    Raises UnavailableError, also when all is done that can be and something failed that may succeed next time, and
    OSError as it comes.
    """
    inventory, done = place.inventory, Done()
    entries, done.left = wanted(plan, inventory, place.decision)
    names = _names(inventory, entries)
    known = {} if place.journal is None else place.journal.outcomes
    open_works = []
    for at in sorted(entries):
        outcome = known.get(inventory.paths[at])
        if outcome is None or not (outcome.why or _finish(place, names[at], outcome, done)):
            open_works.append(at)
        else:
            done.add(inventory, at, outcome)
    beside = os.fsencode(tempfile.gettempdir())
    with Stripped(plan, inventory, place.decision, open_works, beside, tools) as stripped:
        for at in open_works:
            _strip(place, stripped, at, names[at], done)
    root = os.path.realpath(inventory.root)
    if open_works and within(beside, root):
        done.touched.add(beside if root == b"/" else beside[len(root) :] or b"/")
    if tools.program is None:
        done.left = stripped.left
    _require_final(done, beside)
    return done


def _require_final(done: Done, beside: bytes) -> None:
    """Nothing is removed before stripping has come to its end: what is removed may be what strips."""
    if done.passing:
        path, why = done.passing[0]
        more = f" (and {len(done.passing) - 1} more)" if len(done.passing) > 1 else ""
        raise UnavailableError(
            f"cannot strip {to_text(path)}{more}: {why}",
            f"give it what it lacks (copies are made in {to_text(beside)}; TMPDIR names another directory) and run the "
            "same command again, or strip nothing with --strip none",
        )


def _names(inventory: Inventory, entries: set[int]) -> dict[int, list[int]]:
    """All names of each file, those that go among them."""
    files = {(inventory.devices[at], inventory.inodes[at]): at for at in entries if inventory.links[at] > 1}
    found = {at: [at] for at in entries}
    for at in range(len(inventory)):
        if inventory.links[at] > 1:
            first = files.get((inventory.devices[at], inventory.inodes[at]))
            if first is not None and first != at:
                found[first].append(at)
    return found


def _strip(place: Place, stripped: Stripped, at: int, names: Sequence[int], done: Done) -> None:
    path, before = place.inventory.paths[at], (stripped.loaded, len(stripped.left))
    taken = stripped.take(at)
    if taken is None:
        if len(stripped.left) > before[1] and isinstance(stripped.left[-1][1], Passing):
            done.passing.append(stripped.left[-1])
        elif len(stripped.left) > before[1]:
            _note(place, Outcome(path=path, size=0, why=stripped.left[-1][1]), at, done)
        return
    descriptor, size = taken
    try:
        why = _why_not(place, at, names)
        outcome = Outcome(path=path, size=0 if why else size, why=why, loaded=stripped.loaded > before[0] and not why)
        _note(place, outcome, at, done)
        if not why:
            _replace(place, at, names, descriptor, done)
    finally:
        os.close(descriptor)


def _note(place: Place, outcome: Outcome, at: int, done: Done) -> None:
    if place.journal is not None:
        place.journal.note(outcome)
    done.add(place.inventory, at, outcome)


def _why_not(place: Place, at: int, names: Sequence[int]) -> str:
    """Why a file is not replaced; empty if it can be: every name of it is known, and leads to it."""
    inventory = place.inventory
    if inventory.links[at] != len(names):
        return _OUTSIDE
    for each in names:
        try:
            folder, name = place.folders.holding(inventory.paths[each])
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return _MODIFIED
        if not _is(inventory, at, status, inventory.sizes[at]):
            return _MODIFIED
    return ""


def _is(inventory: Inventory, at: int, status: os.stat_result, size: int) -> bool:
    kind, mtime_ns = stat.S_IFMT(inventory.modes[at]), inventory.mtimes[at]
    return (stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns) == (kind, size, mtime_ns)


def _kept(place: Place, names: Sequence[int]) -> list[int]:
    first = place.decision.first
    return [at for at in names if at == names[0] or first.get(at) == names[0]]


def _replace(place: Place, at: int, names: Sequence[int], descriptor: int, done: Done) -> None:
    """Put the new contents at every name that stays: the new file gets a name beside each, then each takes its place.

    Until the first has, the image is as it was; from then on the next go finds the new file by that name.
    """
    inventory = place.inventory
    attributes = place.source.file_attributes(at)
    kept = _kept(place, names)
    first = _beside(place, at)
    folder, _ = place.folders.holding(inventory.paths[at])
    holder = os.dup(folder)
    try:
        _make(inventory, at, holder, first, descriptor, attributes)
        for each in kept[1:]:
            other, _ = place.folders.holding(inventory.paths[each])
            os.link(first, _beside(place, each), src_dir_fd=holder, dst_dir_fd=other, follow_symlinks=False)
    finally:
        os.close(holder)
    for each in kept:
        other, its_name = place.folders.holding(inventory.paths[each])
        os.rename(_beside(place, each), its_name, src_dir_fd=other, dst_dir_fd=other)
        done.touched.add(parent(inventory.paths[each]))


def _beside(place: Place, at: int) -> bytes:
    return temporary_name(place.token, place.inventory.paths[at])


def _make(inventory: Inventory, at: int, folder: int, name: bytes, contents: int, attributes: Attributes) -> None:
    """A file like an entry, with other contents."""
    made = os.open(name, _NEW, 0o600, dir_fd=folder)
    try:
        while os.sendfile(made, contents, None, _CHUNK):
            pass
        uid, gid = inventory.uids[at], inventory.gids[at]
        finish(made, uid, gid, inventory.modes[at], attributes, inventory.mtimes[at])
        os.fsync(made)  # on the disk before it has the name: a loss of power leaves no empty library
    except BaseException:
        discard(folder, name)
        raise
    finally:
        os.close(made)


def _finish(place: Place, names: Sequence[int], outcome: Outcome, done: Done) -> bool:
    """Give a file that an earlier go began to replace its new contents under all names; False if it had not begun."""
    inventory = place.inventory
    old: list[int] = []
    new: list[int] = []
    for each in _kept(place, names):
        folder, name = place.folders.holding(inventory.paths[each])
        done.touched.add(parent(inventory.paths[each]))
        discard(folder, _beside(place, each))
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        (new if _is(inventory, each, status, outcome.size) else old).append(each)
    if not new:
        return False
    folder, name = place.folders.holding(inventory.paths[new[0]])
    holder = os.dup(folder)
    try:
        for each in old:
            other, its_name = place.folders.holding(inventory.paths[each])
            beside = _beside(place, each)
            os.link(name, beside, src_dir_fd=holder, dst_dir_fd=other, follow_symlinks=False)
            os.rename(beside, its_name, src_dir_fd=other, dst_dir_fd=other)
    finally:
        os.close(holder)
    return True
