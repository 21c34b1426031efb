"""Remove from the image itself what the plan drops, and edit what it edits.

A removal can be interrupted and run again, with the same result. With a journal, the receipt of the second run covers
both.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import stat
from collections.abc import Callable, Iterable

import slimagent
from slimagent.apply.decide import MODIFIED_MEANWHILE, Action, Decision, decide, sums
from slimagent.apply.directories import Directories, refused
from slimagent.apply.edits.draft import growth
from slimagent.apply.edits.edit import edit
from slimagent.apply.edits.rewrite import discard, holds, replace
from slimagent.apply.going import Leave, nothing_left
from slimagent.apply.in_place.between import require_between
from slimagent.apply.in_place.journal import Journal
from slimagent.apply.in_place.journal_format import temporary_name
from slimagent.apply.in_place.strip import Place, strip_in_place
from slimagent.apply.progress import Pace, Progress
from slimagent.apply.source import Attributes, Source
from slimagent.apply.strip.outcome import Tally
from slimagent.apply.strip.workspace import NO_TOOLS, Tools
from slimagent.errors import RefusedError
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt
from slimagent.paths.algebra import parent, to_text

_OTHER = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EBUSY)  # not what the inventory has, or a mount point


def remove(
    plan: Plan,
    plan_digest: str,
    inventory: Inventory,
    progress: Progress | None = None,
    journal: Journal | None = None,
    lasting: Callable[[Inventory], Iterable[int]] = lambda inventory: range(len(inventory)),
    tools: Tools = NO_TOOLS,
    leave: Leave = nothing_left,
) -> Receipt:
    """Strip files, remove the dropped ones, carry out the edits, then remove the dropped directories that are empty.

    `progress` gets the number of paths done. Directories in which something changes keep the modification time that the
    plan has for them. If `journal` is of an interrupted run, that run continues; else a new one begins. The caller
    finishes the journal when the receipt is written. `leave` gets what goes, unless an interrupted run has got it.
    `lasting` are the entries that do not change by themselves. Raises UnavailableError for what this process may not
    change: run it again, with more rights, to complete the work. Raises RefusedError if an interrupted run cannot
    continue.
    """
    before = None if journal is None else journal.before
    image = inventory if before is None else before
    try:
        directories = Directories(image.root)
    except OSError as error:
        raise refused("change", image.root, error) from None
    pace = Pace(progress)
    with directories, Source(image) as source:
        if journal is not None and before is not None:
            decision = edit(plan, before, decide(plan, before), journal.content)
            each = lasting(before), lasting(inventory)
            require_between(before, inventory, decision, journal.outcomes, journal.token, each)
        else:
            decision = _begun(plan, inventory, source, journal, leave)
        token = secrets.token_hex(16) if journal is None else journal.token
        place = Place(image, decision, directories, source, token, journal)
        try:
            tally = strip_in_place(plan, place, tools)
        except OSError as error:
            raise refused("change", error.filename or image.root, error) from None
        removal = Removal(place, pace, again=before is not None)
        removal.carry_out()
    pace.finish()
    return _receipt(plan_digest, image, decision, removal, tally)


def _begun(plan: Plan, inventory: Inventory, source: Source, journal: Journal | None, leave: Leave) -> Decision:
    """Decide in a first run, and write into the journal what the image is."""
    found: dict[int, bytes | None] = {}

    def read(at: int) -> bytes | None:
        found[at] = contents(source, at)
        return found[at]

    decision = edit(plan, inventory, decide(plan, inventory), read)
    leave(inventory, decision, source)  # before the journal: it says that nothing is left to prepare
    if journal is not None:
        journal.begin(inventory, found)
    return decision


def contents(source: Source, at: int) -> bytes | None:
    """The contents of an entry; None if it changed or vanished since the inventory was made."""
    try:
        return source.read(at)
    except RefusedError:
        return None


def _receipt(plan_digest: str, inventory: Inventory, decision: Decision, removal: Removal, tally: Tally) -> Receipt:
    gone = set(removal.gone)
    lost = [at for at in removal.gone if inventory.paths[at] not in decision.made]
    bytes_kept, bytes_dropped = sums(inventory, [at for at in range(len(inventory)) if at not in gone], lost)
    made = sum(action.at is None for action in removal.done) - sum(action.data is None for action in removal.done)
    return Receipt(
        tool=f"slimagent {slimagent.__version__}",
        plan=plan_digest,
        target=f"in-place:{to_text(inventory.root)}",
        kept=len(inventory) - len(gone) + made,
        dropped=len(lost),
        bytes_kept=bytes_kept + sum(growth(inventory, action) for action in removal.done) - tally.saved,
        bytes_dropped=bytes_dropped,
        written=0,
        sha256="",
        left_alone=decision.left_alone + tuple(removal.left_alone),
        edited=len(removal.done),
        stripped=tally.count,
        bytes_stripped=tally.saved,
        loaded=tally.loaded,
        gpu=tally.gpu_count,
        bytes_gpu=tally.gpu_saved,
        unstripped=tuple(tally.left),
    )


class Removal:
    """One run of a decision. `again`: an earlier run was interrupted, and what it did counts as done here.

    Temporary files have the token in their names; those of the earlier run, and nothing else, are removed. `gone` are
    the removed entries, `done` the edits that were carried out, `left_alone` the paths that stayed, with the reason.
    """

    def __init__(self, place: Place, pace: Pace, *, again: bool) -> None:
        self._place = place
        self._inventory, self._decision, self._directories = place.inventory, place.decision, place.directories
        self._pace = pace
        self._again = again
        self.gone: list[int] = []
        self.done: list[Action] = []
        self.left_alone: list[tuple[bytes, str]] = []

    def carry_out(self) -> None:
        """Do everything, in the order in which an interrupted run can go on."""
        self.remove_files()
        self.carry_out_edits()
        self.remove_directories()
        self.restore_times()

    def remove_files(self) -> None:
        """Unlink what is not a directory, after a last check that it is still as the inventory has it."""
        for at in self._decision.dropped:
            if not stat.S_ISDIR(self._inventory.modes[at]):
                self._attempt(at, self._unlink)

    def carry_out_edits(self) -> None:
        """Carry out the edits in the decision's order, each at once or not at all."""
        for action in self._decision.actions:
            if self._try(action.path, functools.partial(self._edit, action), goes=action.data is None):
                self.done.append(action)

    def _edit(self, action: Action, directory: int, name: bytes) -> str:
        temporary = temporary_name(self._place.token, action.path)
        if self._again:
            discard(directory, temporary)
            if holds(action, directory, name):
                return ""
        if action.at is None:
            with contextlib.suppress(FileNotFoundError):
                os.stat(name, dir_fd=directory, follow_symlinks=False)
                return MODIFIED_MEANWHILE
            replace(action, directory, name, (), temporary)
            return ""
        attributes = self._attributes(action.at)
        directory, name = self._directories.holding(action.path)
        if attributes is None or not self._place.is_unchanged(action.at, directory, name):
            return MODIFIED_MEANWHILE
        if action.data is None:
            os.unlink(name, dir_fd=directory)
        else:
            replace(action, directory, name, attributes, temporary)
        return ""

    def _attributes(self, at: int) -> Attributes | None:
        """The extended attributes of a file to be replaced; None if it has changed."""
        if not stat.S_ISREG(self._inventory.modes[at]):
            return ()
        try:
            return self._place.source.file_attributes(at)
        except RefusedError:
            return None

    def remove_directories(self) -> None:
        """Remove directories from the bottom up. One that got something new meanwhile stays."""
        for at in reversed(self._decision.dropped):
            if stat.S_ISDIR(self._inventory.modes[at]):
                self._attempt(at, self._rmdir)

    def restore_times(self) -> None:
        """Give the directories that stay their times, if this run or an earlier one changed them."""
        inventory, mtimes = self._inventory, self._decision.mtimes
        for at in self._decision.kept:
            path = inventory.paths[at]
            if not stat.S_ISDIR(inventory.modes[at]) or path in inventory.mount_points:
                continue
            if path in self._place.touched or inventory.mtimes[at] != mtimes[at]:
                try:
                    descriptor = self._directories.directory(path)
                    os.utime(descriptor, ns=(os.fstat(descriptor).st_atime_ns, mtimes[at]))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if path in self._place.touched or not isinstance(error, PermissionError):
                        raise refused("change", path, error) from None

    def _attempt(self, at: int, action: Callable[[int, int, bytes], str]) -> None:
        if self._try(self._inventory.paths[at], functools.partial(action, at), goes=True):
            self.gone.append(at)

    def _try(self, path: bytes, action: Callable[[int, bytes], str], *, goes: bool) -> bool:
        """Do something to `path` in the open directory that holds it. Whether it is done, now or by an earlier run."""
        try:
            directory, name = self._directories.holding(path)
            why = action(directory, name)
        except FileNotFoundError:
            if not (goes and self._again):
                return False
            why = ""
        except OSError as error:
            if error.errno not in _OTHER:
                raise refused("change", path, error) from None
            why = MODIFIED_MEANWHILE
        if why:
            self.left_alone.append((path, why))
            return False
        self._place.touched.add(parent(path))
        self._pace.add(1)
        return True

    def _unlink(self, at: int, directory: int, name: bytes) -> str:
        if not self._place.is_unchanged(at, directory, name):
            return MODIFIED_MEANWHILE
        os.unlink(name, dir_fd=directory)
        return ""

    def _rmdir(self, at: int, directory: int, name: bytes) -> str:
        try:
            os.rmdir(name, dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return "it holds something that the plan does not list"
            raise
        return ""
