"""Remove from the image itself what the plan drops, and edit what it edits.

Can be interrupted and run again, and ends the same. With a journal the second go's receipt is of the whole deed.
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
from slimagent.apply.decide import MODIFIED_MEANWHILE, Decision, Deed, decide, sums
from slimagent.apply.directories import Folders, refused
from slimagent.apply.edits.draft import growth
from slimagent.apply.edits.edit import edit
from slimagent.apply.edits.rewrite import discard, holds, replace
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

_OTHER = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EBUSY)  # not what the inventory has, or mounted on


def remove(
    plan: Plan,
    plan_digest: str,
    inventory: Inventory,
    progress: Progress | None = None,
    journal: Journal | None = None,
    lasting: Callable[[Inventory], Iterable[int]] = lambda inventory: range(len(inventory)),
    tools: Tools = NO_TOOLS,
) -> Receipt:
    """Strip files, remove the dropped ones, carry out the edits, then remove the dropped folders that are empty.

    `progress` gets the paths done. Folders in which something changes keep the modification time that the plan has for
    them. Where `journal` has what the image was before an interrupted go, that go is taken up; else it is begun. It is
    the caller who finishes it, when the receipt is written. `lasting` are the entries that do not change by themselves.
    Raises UnavailableError for what this process may not change: run it again, with the right, to end the work.
    Raises RefusedError where an interrupted go cannot be taken up.
    """
    before = None if journal is None else journal.before
    image = inventory if before is None else before
    try:
        folders = Folders(image.root)
    except OSError as error:
        raise refused("change", image.root, error) from None
    pace = Pace(progress)
    with folders, Source(image) as source:
        if journal is not None and before is not None:
            decision = edit(plan, before, decide(plan, before), journal.content)
            each = lasting(before), lasting(inventory)
            require_between(before, inventory, decision, journal.outcomes, journal.token, each)
        else:
            decision = _begun(plan, inventory, source, journal)
        token = secrets.token_hex(16) if journal is None else journal.token
        place = Place(image, decision, folders, source, token, journal)
        try:
            tally = strip_in_place(plan, place, tools)
        except OSError as error:
            raise refused("change", error.filename or image.root, error) from None
        removal = Removal(place, pace, again=before is not None)
        removal.remove_files()
        removal.carry_out_edits()
        removal.remove_folders()
        removal.restore_times()
    pace.finish()
    return _receipt(plan_digest, image, decision, removal, tally)


def _begun(plan: Plan, inventory: Inventory, source: Source, journal: Journal | None) -> Decision:
    """The decision of a first go, in whose journal is what the image is."""
    found: dict[int, bytes | None] = {}

    def read(at: int) -> bytes | None:
        found[at] = contents(source, at)
        return found[at]

    decision = edit(plan, inventory, decide(plan, inventory), read)
    if journal is not None:
        journal.begin(inventory, found)
    return decision


def contents(source: Source, at: int) -> bytes | None:
    """The contents of an entry; None if it changed or went since the inventory was made."""
    try:
        return source.read(at)
    except RefusedError:
        return None


def _receipt(plan_digest: str, inventory: Inventory, decision: Decision, removal: Removal, tally: Tally) -> Receipt:
    gone = set(removal.gone)
    lost = [at for at in removal.gone if inventory.paths[at] not in decision.made]
    bytes_kept, bytes_dropped = sums(inventory, [at for at in range(len(inventory)) if at not in gone], lost)
    made = sum(deed.at is None for deed in removal.done) - sum(deed.data is None for deed in removal.done)
    return Receipt(
        tool=f"slimagent {slimagent.__version__}",
        plan=plan_digest,
        target=f"in-place:{to_text(inventory.root)}",
        kept=len(inventory) - len(gone) + made,
        dropped=len(lost),
        bytes_kept=bytes_kept + sum(growth(inventory, deed) for deed in removal.done) - tally.saved,
        bytes_dropped=bytes_dropped,
        written=0,
        sha256="",
        left_alone=decision.left_alone + tuple(removal.left_alone),
        edited=len(removal.done),
        stripped=tally.count,
        bytes_stripped=tally.saved,
        loaded=tally.loaded,
        unstripped=tuple(tally.left),
    )


class Removal:
    """One run at a decision; `again`, if an earlier one was interrupted: what is done already counts as done here.

    What it makes has a token in its name until it takes its place; that of the earlier run, and nothing else, goes.
    `gone` are the entries it removed, `done` the edits it carried out, `left_alone` are paths that resisted, and why.
    """

    def __init__(self, place: Place, pace: Pace, *, again: bool) -> None:
        self._place = place
        self._inventory, self._decision, self._folders = place.inventory, place.decision, place.folders
        self._pace = pace
        self._again = again
        self.gone: list[int] = []
        self.done: list[Deed] = []
        self.left_alone: list[tuple[bytes, str]] = []

    def remove_files(self) -> None:
        """Unlink what is not a folder, after a last look that it still is what the inventory has."""
        for at in self._decision.dropped:
            if not stat.S_ISDIR(self._inventory.modes[at]):
                self._attempt(at, self._unlink)

    def carry_out_edits(self) -> None:
        """Each edit at once or not at all, in the decision's order."""
        for deed in self._decision.deeds:
            if self._try(deed.path, functools.partial(self._edit, deed), goes=deed.data is None):
                self.done.append(deed)

    def _edit(self, deed: Deed, folder: int, name: bytes) -> str:
        temporary = temporary_name(self._place.token, deed.path)
        if self._again:
            discard(folder, temporary)
            if holds(deed, folder, name):
                return ""
        if deed.at is None:
            with contextlib.suppress(FileNotFoundError):
                os.stat(name, dir_fd=folder, follow_symlinks=False)
                return MODIFIED_MEANWHILE
            replace(deed, folder, name, (), temporary)
            return ""
        attributes = self._attributes(deed.at)
        folder, name = self._folders.holding(deed.path)
        if attributes is None or not self._place.is_unchanged(deed.at, folder, name):
            return MODIFIED_MEANWHILE
        if deed.data is None:
            os.unlink(name, dir_fd=folder)
        else:
            replace(deed, folder, name, attributes, temporary)
        return ""

    def _attributes(self, at: int) -> Attributes | None:
        """The extended attributes of a file that is to be replaced; None if it is not what it was."""
        if not stat.S_ISREG(self._inventory.modes[at]):
            return ()
        try:
            return self._place.source.file_attributes(at)
        except RefusedError:
            return None

    def remove_folders(self) -> None:
        """Remove folders from the bottom up; one that got something new in the meantime stays."""
        for at in reversed(self._decision.dropped):
            if stat.S_ISDIR(self._inventory.modes[at]):
                self._attempt(at, self._rmdir)

    def restore_times(self) -> None:
        """Give the folders that stay the time they should have: those touched now, or by an earlier go."""
        inventory, mtimes = self._inventory, self._decision.mtimes
        for at in self._decision.kept:
            path = inventory.paths[at]
            if not stat.S_ISDIR(inventory.modes[at]) or path in inventory.mount_points:
                continue
            if path in self._place.touched or inventory.mtimes[at] != mtimes[at]:
                try:
                    descriptor = self._folders.folder(path)
                    os.utime(descriptor, ns=(os.fstat(descriptor).st_atime_ns, mtimes[at]))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if path in self._place.touched or not isinstance(error, PermissionError):
                        raise refused("change", path, error) from None

    def _attempt(self, at: int, deed: Callable[[int, int, bytes], str]) -> None:
        if self._try(self._inventory.paths[at], functools.partial(deed, at), goes=True):
            self.gone.append(at)

    def _try(self, path: bytes, deed: Callable[[int, bytes], str], *, goes: bool) -> bool:
        """Do something to `path` in the open folder that holds it; whether that was done, now or by an earlier go."""
        try:
            folder, name = self._folders.holding(path)
            why = deed(folder, name)
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

    def _unlink(self, at: int, folder: int, name: bytes) -> str:
        if not self._place.is_unchanged(at, folder, name):
            return MODIFIED_MEANWHILE
        os.unlink(name, dir_fd=folder)
        return ""

    def _rmdir(self, at: int, folder: int, name: bytes) -> str:
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return "it holds something that the plan does not list"
            raise
        return ""
