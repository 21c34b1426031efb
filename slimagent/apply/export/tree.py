"""Export what stays as a folder: a copy of the root file system that appears whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from slimagent.apply.decide import Decision, Deed, decide
from slimagent.apply.directories import Folders, changed
from slimagent.apply.edits.edit import edit
from slimagent.apply.edits.rewrite import place, write_all
from slimagent.apply.export.new_directory import replacing_folder, require_free, require_outside
from slimagent.apply.export.receipt import Save, exported
from slimagent.apply.progress import Pace, Progress
from slimagent.apply.source import Attributes, Source, require_readable
from slimagent.apply.strip.stripped import NO_TOOLS, Stripped, Tools
from slimagent.errors import UnavailableError
from slimagent.linux.files import explained
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt
from slimagent.paths.algebra import parent, to_text

_CHUNK = 1 << 20  # bytes
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def copy(
    plan: Plan,
    plan_digest: str,
    inventory: Inventory,
    folder: bytes,
    progress: Progress | None = None,
    tools: Tools = NO_TOOLS,
    save: Save = lambda receipt: None,
) -> Receipt:
    """Copy everything that stays to `folder`, which is absent or empty; `progress` gets bytes copied.

    `save` gets the receipt before the folder is there: then whatever ends us, a folder that is there has a receipt.

    Raises RefusedError for a target that is not empty or lies in what is exported and for a file that changes
    meanwhile; UnavailableError for one that cannot be read, for an owner, attribute or device that this
    process may not set, and when the target cannot be written.
    """
    target = os.path.realpath(folder)
    require_free(target)
    require_outside(plan, inventory, target)
    decision = decide(plan, inventory)
    require_readable(inventory, decision)
    pace = Pace(progress)
    with Source(inventory) as source:
        decision = edit(plan, inventory, decision, source.read)
        stripped = Stripped(plan, inventory, decision, decision.kept, parent(target), tools)
        with replacing_folder(target) as temporary, Folders(temporary) as made, stripped:
            Tree(inventory, decision, source, made, pace, stripped).build()
            pace.finish()
            receipt = exported(plan_digest, f"to:{to_text(folder)}", decision, stripped, written=pace.done)
            save(receipt)
    return receipt


class Tree:
    """Builds the copy: everything in inventory order, then the folders' own properties from the bottom up.

    A folder is the builder's own (mode 0700) until all it holds is there: its time would change, it may be
    read-only, and nobody else may reach in meanwhile.
    """

    def __init__(
        self,
        inventory: Inventory,
        decision: Decision,
        source: Source,
        made: Folders,
        pace: Pace,
        stripped: Stripped | None = None,
    ) -> None:
        self._inventory = inventory
        self._decision = decision
        self._source = source
        self._made = made
        self._pace = pace
        self._stripped = stripped

    def build(self) -> None:
        ancestors = self._make_ancestors()
        for at in self._decision.kept:
            try:
                self._make(at)
            except OSError as error:
                raise self._failed(self._inventory.paths[at], error) from None
        for deed in self._decision.deeds:
            if deed.at is None:
                try:
                    self._make_new(deed)
                except OSError as error:
                    raise self._failed(deed.path, error) from None
        for at in reversed(self._decision.kept):
            if stat.S_ISDIR(self._inventory.modes[at]):
                try:
                    self._finish_folder(at)
                except OSError as error:
                    raise self._failed(self._inventory.paths[at], error) from None
        for path in reversed(ancestors):
            os.fchmod(self._made.folder(path), 0o755)

    def _failed(self, path: bytes, error: OSError) -> Exception:
        return explained(OSError(error.errno, error.strerror), path)

    def _make_ancestors(self) -> list[bytes]:
        """The folders above a scope where the inventory does not have them, made plain ones."""
        lacking = {b"/"} - self._inventory.index.keys()
        for scope in self._inventory.scopes:
            while scope != b"/" and parent(scope) not in self._inventory.index:
                scope = parent(scope)
                lacking.add(scope)
        for path in sorted(lacking - {b"/"}):
            folder, name = self._made.holding(path)
            os.mkdir(name, 0o700, dir_fd=folder)
        return sorted(lacking)

    def _make(self, at: int) -> None:
        inventory, path = self._inventory, self._inventory.paths[at]
        mode = inventory.modes[at]
        if path == b"/":
            return
        folder, name = self._made.holding(path)
        first = self._decision.first.get(at)
        if first is not None:
            known = inventory.paths[first][1:]
            os.link(known, name, src_dir_fd=self._made.root, dst_dir_fd=folder, follow_symlinks=False)
        elif stat.S_ISDIR(mode):
            os.mkdir(name, 0o700, dir_fd=folder)
        elif stat.S_ISLNK(mode):
            os.symlink(self._decision.edited.get(at) or inventory.targets[at], name, dir_fd=folder)
            self._own(at, name, folder)
            self._date(at, name, folder)
        elif stat.S_ISREG(mode):
            self._make_file(at, name, folder)
        else:
            self._make_special(at, name, folder)

    def _make_file(self, at: int, name: bytes, folder: int) -> None:
        descriptor = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            self._finish(at, descriptor, self._fill(at, descriptor))
        finally:
            os.close(descriptor)

    def _fill(self, at: int, descriptor: int) -> Attributes:
        """Copy a file's contents, inside the kernel, or write its new ones; its extended attributes are left to set."""
        original, edited = self._source.open(at), self._decision.edited.get(at)
        taken = None
        try:
            taken = self._stripped.take(at) if self._stripped is not None else None
            contents, size = (original, self._inventory.sizes[at]) if taken is None else taken
            if edited is not None:
                write_all(descriptor, edited)
                self._pace.add(len(edited))
            elif not self._copy(contents, descriptor, size):
                raise changed(self._inventory.paths[at], "shrank")
            attributes = self._source.attributes(at, original)
            self._source.check(at, original)
        finally:
            os.close(original)
            if taken is not None:
                os.close(taken[0])
        return attributes

    def _copy(self, contents: int, target: int, size: int) -> bool:
        """Copy the first `size` bytes of an open file, less its holes. False if it ends before."""
        for start, end in _data(contents, size):
            os.lseek(target, start, os.SEEK_SET)
            while start < end:
                count = os.sendfile(target, contents, start, min(end - start, _CHUNK))
                if not count:
                    return False
                start += count
                self._pace.add(count)
        os.ftruncate(target, size)
        return True

    def _make_new(self, deed: Deed) -> None:
        """What an edit makes: a file or a symbolic link."""
        folder, name = self._made.holding(deed.path)
        place(deed, folder, name, ())
        if stat.S_ISREG(deed.mode):
            self._pace.add(len(deed.data or b""))

    def _make_special(self, at: int, name: bytes, folder: int) -> None:
        mode = self._inventory.modes[at]
        is_device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        device = os.makedev(*self._source.device(at)) if is_device else 0
        os.mknod(name, stat.S_IFMT(mode) | 0o600, device, dir_fd=folder)
        self._own(at, name, folder)
        os.chmod(name, stat.S_IMODE(mode), dir_fd=folder)
        attributes = self._source.special_attributes(at)
        if attributes:
            self._attribute(at, b"/proc/self/fd/%d/%b" % (folder, name), attributes)
        self._date(at, name, folder)

    def _finish_folder(self, at: int) -> None:
        hidden = self._inventory.paths[at] in self._inventory.mount_points
        attributes = () if hidden else self._source.folder_attributes(at)
        self._finish(at, self._made.folder(self._inventory.paths[at]), attributes)

    def _finish(self, at: int, descriptor: int, attributes: Attributes) -> None:
        """Owner before mode and attributes: a change of owner takes set-user-ID bits and capabilities off."""
        status = os.fstat(descriptor)
        owner = self._inventory.uids[at], self._inventory.gids[at]
        if (status.st_uid, status.st_gid) != owner:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, stat.S_IMODE(self._inventory.modes[at]))
        self._attribute(at, descriptor, attributes)
        mtime_ns = self._decision.mtimes[at]
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))

    def _own(self, at: int, name: bytes, folder: int) -> None:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        owner = self._inventory.uids[at], self._inventory.gids[at]
        if (status.st_uid, status.st_gid) != owner:
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)

    def _date(self, at: int, name: bytes, folder: int) -> None:
        mtime_ns = self._decision.mtimes[at]
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=folder, follow_symlinks=False)

    def _attribute(self, at: int, of: int | bytes, attributes: Attributes) -> None:
        for name, value in attributes:
            try:
                os.setxattr(of, name, value, follow_symlinks=isinstance(of, int))
            except OSError as error:
                path, shown = to_text(self._inventory.paths[at]), to_text(name)
                raise UnavailableError(
                    f"cannot give {path} its attribute {shown}: {error.strerror}",
                    "run as root, and choose a target whose file system has extended attributes",
                ) from None


def _data(contents: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the first `size` bytes of an open file are more than a hole, as offsets (lseek(2), SEEK_DATA)."""
    start = end = 0
    while end < size:
        try:
            start = os.lseek(contents, end, os.SEEK_DATA)
            end = os.lseek(contents, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            if error.errno != errno.EINVAL:
                raise
            start, end = end, size  # a file system that cannot say
        if start < size:
            yield start, min(end, size)
