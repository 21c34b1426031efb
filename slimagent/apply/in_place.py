"""Remove from the image itself what the plan drops. Can be interrupted and run again, and ends the same."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

import slimagent
from slimagent.apply.decide import Decision, decide, sums
from slimagent.apply.folders import Folders
from slimagent.apply.progress import Pace, Progress
from slimagent.errors import SlimagentError, UnavailableError
from slimagent.model import Inventory, Plan, Receipt
from slimagent.paths import parent, to_text

_OTHER = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EBUSY)  # not what the inventory has, or mounted on
_KEPT = "it was modified while the image was being slimmed"


def remove(plan: Plan, plan_digest: str, inventory: Inventory, progress: Progress | None = None) -> Receipt:
    """Remove the dropped files, then the dropped folders that are empty; `progress` gets the paths done.

    Folders that lose something keep the modification time that the plan has for them. Raises
    UnavailableError for what this process may not remove: run it again, with the right, to end the work.
    """
    decision = decide(plan, inventory)
    try:
        folders = Folders(inventory.root)
    except OSError as error:
        raise _failed(inventory.root, error) from None
    pace = Pace(progress)
    with folders:
        removal = Removal(inventory, decision, folders, pace)
        removal.remove_files()
        removal.remove_folders()
        removal.restore_times()
    pace.finish()
    gone = set(removal.gone)
    lost = [at for at in removal.gone if inventory.paths[at] not in decision.made]
    bytes_kept, bytes_dropped = sums(inventory, [at for at in range(len(inventory)) if at not in gone], lost)
    return Receipt(
        tool=f"slimagent {slimagent.__version__}",
        plan=plan_digest,
        target=f"in-place:{to_text(inventory.root)}",
        kept=len(inventory) - len(gone),
        dropped=len(lost),
        bytes_kept=bytes_kept,
        bytes_dropped=bytes_dropped,
        written=0,
        sha256="",
        left_alone=decision.left_alone + tuple(removal.left_alone),
    )


class Removal:
    """One go at a decision. `gone` are the entries it removed, `left_alone` are paths that resisted, and why."""

    def __init__(self, inventory: Inventory, decision: Decision, folders: Folders, pace: Pace) -> None:
        self._inventory = inventory
        self._decision = decision
        self._folders = folders
        self._pace = pace
        self._touched: set[bytes] = set()
        self.gone: list[int] = []
        self.left_alone: list[tuple[bytes, str]] = []

    def remove_files(self) -> None:
        """Unlink what is not a folder, after a last look that it still is what the inventory has."""
        for at in self._decision.dropped:
            if not stat.S_ISDIR(self._inventory.modes[at]):
                self._attempt(at, self._unlink)

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
            if path in self._touched or inventory.mtimes[at] != mtimes[at]:
                try:
                    descriptor = self._folders.folder(path)
                    os.utime(descriptor, ns=(os.fstat(descriptor).st_atime_ns, mtimes[at]))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if path in self._touched or not isinstance(error, PermissionError):
                        raise _failed(path, error) from None

    def _attempt(self, at: int, deed: Callable[[int, int, bytes], str]) -> None:
        path = self._inventory.paths[at]
        try:
            folder, name = self._folders.holding(path)
            why = deed(at, folder, name)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _OTHER:
                raise _failed(path, error) from None
            why = _KEPT
        if why:
            self.left_alone.append((path, why))
            return
        self._touched.add(parent(path))
        self.gone.append(at)
        self._pace.add(1)

    def _unlink(self, at: int, folder: int, name: bytes) -> str:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        inventory = self._inventory
        seen = stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns
        if seen != (stat.S_IFMT(inventory.modes[at]), inventory.sizes[at], inventory.mtimes[at]):
            return _KEPT
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


def _failed(path: bytes, error: OSError) -> SlimagentError:
    hint = "run as root" if isinstance(error, PermissionError) else "see the error of the operating system above"
    return UnavailableError(f"cannot change {to_text(path)}: {error.strerror}", hint)
