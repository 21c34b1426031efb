"""Strip files of the image itself: each is replaced, under all its names, by a proved copy.

This comes before anything is removed, because the strip program itself may go. The journal lets an interrupted run
continue: each name of a file with an outcome in the journal leads to the old file or to the new one.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from slimagent.apply.decide import MODIFIED_MEANWHILE, Decision
from slimagent.apply.directories import Directories
from slimagent.apply.edits.rewrite import NEW, discard, finish
from slimagent.apply.in_place.journal import Journal
from slimagent.apply.in_place.journal_format import temporary_name
from slimagent.apply.source import Attributes, Source
from slimagent.apply.strip.outcome import Outcome, Tally
from slimagent.apply.strip.program import Passing
from slimagent.apply.strip.stripped import Stripped, to_shrink
from slimagent.apply.strip.workspace import Tools
from slimagent.errors import UnavailableError
from slimagent.linux.descriptors import closing
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.paths.algebra import parent, to_text, within

_CHUNK = 1 << 22  # bytes
_OUTSIDE = "it has names that are not in what was scanned"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a removal is done: the image, the decision, and how to reach the files.

    `token` is in the names of temporary files. `touched` are the directories with changed times.
    """

    inventory: Inventory
    decision: Decision
    directories: Directories
    source: Source
    token: str
    journal: Journal | None
    touched: set[bytes] = field(default_factory=set)

    def temporary_name(self, at: int) -> bytes:
        """The temporary name, beside an entry, of what replaces it."""
        return temporary_name(self.token, self.inventory.paths[at])

    def is_unchanged(self, at: int, directory: int, name: bytes, size: int | None = None) -> bool:
        """A last check whether a name in an open directory is still the entry, or the entry with another size."""
        status, inventory = os.stat(name, dir_fd=directory, follow_symlinks=False), self.inventory
        seen = stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns
        known = inventory.sizes[at] if size is None else size
        return seen == (stat.S_IFMT(inventory.modes[at]), known, inventory.mtimes[at])


def strip_in_place(plan: Plan, place: Place, tools: Tools) -> Tally:
    """Strip what the plan strips and is still as the plan saw it. Returns the sum of this run and earlier ones.

    Raises UnavailableError, also if all else is done and something failed that may succeed next time. Raises OSError.
    """
    inventory = place.inventory
    entries, _ = to_shrink(plan, inventory, place.decision)
    names = _names(inventory, set(entries))
    known = {} if place.journal is None else place.journal.outcomes
    settled: list[int] = []
    open_works: list[int] = []
    for at in sorted(entries):
        outcome = known.get(inventory.paths[at])
        is_settled = outcome is not None and (outcome.why or _finish(place, names[at], outcome))
        (settled if is_settled else open_works).append(at)
    beside = os.fsencode(tempfile.gettempdir())
    passing: list[tuple[bytes, str]] = []
    with Stripped(plan, inventory, place.decision, open_works, beside, tools) as stripped:
        for at in settled:
            stripped.tally.add(known[inventory.paths[at]], inventory.sizes[at])
        for at in open_works:
            ended = stripped.end(at)
            if ended is None:
                continue
            outcome, descriptor = ended
            if isinstance(outcome.why, Passing):
                passing.append((outcome.path, outcome.why))
            else:
                stripped.tally.add(_settle(place, at, names[at], outcome, descriptor), inventory.sizes[at])
    root = os.path.realpath(inventory.root)
    if open_works and within(beside, root):
        place.touched.add(beside if root == b"/" else beside[len(root) :] or b"/")
    _require_final(passing, beside)
    return stripped.tally


def _require_final(passing: list[tuple[bytes, str]], beside: bytes) -> None:
    """Refuse to go on before all is stripped: the removal may take away the strip program."""
    if passing:
        path, why = passing[0]
        more = f" (and {len(passing) - 1} more)" if len(passing) > 1 else ""
        raise UnavailableError(
            f"cannot strip {to_text(path)}{more}: {why}",
            f"free memory, or space for copies in {to_text(beside)} (TMPDIR names another directory), and run the same "
            "command again; or use --strip none",
        )


def _names(inventory: Inventory, entries: set[int]) -> dict[int, list[int]]:
    """All names of each file, also those that go."""
    files = {(inventory.devices[at], inventory.inodes[at]): at for at in entries if inventory.links[at] > 1}
    found = {at: [at] for at in entries}
    for at in range(len(inventory)):
        if inventory.links[at] > 1:
            first = files.get((inventory.devices[at], inventory.inodes[at]))
            if first is not None and first != at:
                found[first].append(at)
    return found


def _settle(place: Place, at: int, names: Sequence[int], outcome: Outcome, descriptor: int) -> Outcome:
    """Replace a file by its stripped copy, if that is possible. Returns the final outcome."""
    try:
        why = outcome.why or _why_not(place, at, names)
        if why:
            outcome = Outcome(path=outcome.path, size=0, why=why)
        if place.journal is not None:
            place.journal.note(outcome)
        if not why:
            _replace(place, at, names, descriptor)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return outcome


def _why_not(place: Place, at: int, names: Sequence[int]) -> str:
    """Why a file is not replaced; empty if all its names are known and lead to it."""
    if place.inventory.links[at] != len(names):
        return _OUTSIDE
    try:
        found = (place.directories.holding(place.inventory.paths[each]) for each in names)
        return "" if all(place.is_unchanged(at, *each) for each in found) else MODIFIED_MEANWHILE
    except OSError:
        return MODIFIED_MEANWHILE


def _kept(place: Place, names: Sequence[int]) -> list[int]:
    first = place.decision.first
    return [at for at in names if at == names[0] or first.get(at) == names[0]]


def _replace(place: Place, at: int, names: Sequence[int], descriptor: int) -> None:
    """Put the new contents at every name that stays: make a temporary name beside each, then rename them one by one.

    Until the first is renamed, the image is as it was. From then on the next run finds the new file by that name.
    """
    inventory = place.inventory
    attributes = place.source.file_attributes(at)
    kept = _kept(place, names)
    first = place.temporary_name(at)
    directory, _ = place.directories.holding(inventory.paths[at])
    with closing(os.dup(directory)) as holder:
        _make(inventory, at, holder, first, descriptor, attributes)
        for each in kept[1:]:
            other, _ = place.directories.holding(inventory.paths[each])
            os.link(first, place.temporary_name(each), src_dir_fd=holder, dst_dir_fd=other, follow_symlinks=False)
    for each in kept:
        other, its_name = place.directories.holding(inventory.paths[each])
        os.rename(place.temporary_name(each), its_name, src_dir_fd=other, dst_dir_fd=other)
        place.touched.add(parent(inventory.paths[each]))


def _make(inventory: Inventory, at: int, directory: int, name: bytes, contents: int, attributes: Attributes) -> None:
    """Make a file like an entry, with other contents."""
    with closing(os.open(name, NEW, 0o600, dir_fd=directory)) as made:
        try:
            while os.sendfile(made, contents, None, _CHUNK):
                pass
            uid, gid = inventory.uids[at], inventory.gids[at]
            finish(made, uid, gid, inventory.modes[at], attributes, inventory.mtimes[at])
            os.fsync(made)  # on the disk before the rename: a loss of power leaves no empty library
        except BaseException:
            discard(directory, name)
            raise


def _finish(place: Place, names: Sequence[int], outcome: Outcome) -> bool:
    """Finish replacing a file under all its names. False if an earlier run had not begun to replace it."""
    inventory = place.inventory
    old: list[int] = []
    new: list[int] = []
    for each in _kept(place, names):
        directory, name = place.directories.holding(inventory.paths[each])
        place.touched.add(parent(inventory.paths[each]))
        discard(directory, place.temporary_name(each))
        (new if place.is_unchanged(each, directory, name, outcome.size) else old).append(each)
    if not new:
        return False
    directory, name = place.directories.holding(inventory.paths[new[0]])
    with closing(os.dup(directory)) as holder:
        for each in old:
            other, its_name = place.directories.holding(inventory.paths[each])
            beside = place.temporary_name(each)
            os.link(name, beside, src_dir_fd=holder, dst_dir_fd=other, follow_symlinks=False)
            os.rename(beside, its_name, src_dir_fd=other, dst_dir_fd=other)
    return True
