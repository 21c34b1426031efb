"""Export what stays as a folder: a copy of the root file system that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from slimagent.apply.decide import Decision, Deed
from slimagent.apply.directories import Folders, changed
from slimagent.apply.edits.rewrite import NEW, AttributeRefusedError, date, finish, give, link, own, place
from slimagent.apply.export.components import Part, whole
from slimagent.apply.export.exporter import Content, Exported, File
from slimagent.apply.export.new_directory import replacing_folder, require_free, require_outside
from slimagent.apply.progress import Pace
from slimagent.apply.source import Attributes, Source
from slimagent.errors import UnavailableError
from slimagent.linux.descriptors import write_all
from slimagent.linux.files import explained
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt
from slimagent.paths.algebra import parent, to_text

_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory `path`, absent or empty so far; see `exporter.Destination`."""

    path: bytes

    @property
    def name(self) -> str:
        return f"to:{to_text(self.path)}"

    @property
    def holder(self) -> bytes:
        return parent(os.path.realpath(self.path))

    def admit(self, plan: Plan, inventory: Inventory) -> None:
        """Raises RefusedError for a target that is not empty or lies in what is exported."""
        require_free(os.path.realpath(self.path))
        require_outside(plan, inventory, os.path.realpath(self.path))

    def divide(self, plan: Plan, inventory: Inventory, decision: Decision, source: Source) -> list[Part]:
        return whole(inventory, decision)

    @contextlib.contextmanager
    def making(self, content: Content, pace: Pace) -> Iterator[Callable[[], Exported]]:
        """Raises UnavailableError for what this process may not write, or an owner, attribute or device not set."""
        with replacing_folder(os.path.realpath(self.path)) as temporary, Folders(temporary) as made:

            def make() -> Exported:
                Tree(content, made, pace).build()
                return Exported(written=pace.done)

            yield make

    def holds(self, receipt: Receipt) -> bool:
        """Whether it has the receipt's bytes. It appears whole or not at all, so what is there was whole."""
        sizes: dict[tuple[int, int], int] = {}
        for base, _, names in os.walk(self.path):
            for name in names:
                status = os.lstat(os.path.join(base, name))
                if stat.S_ISREG(status.st_mode):
                    sizes[status.st_dev, status.st_ino] = status.st_size
        return sum(sizes.values()) == receipt.bytes_kept


class Tree:
    """Builds the copy: everything in inventory order, then the folders' own properties from the bottom up.

    A folder is the builder's own (mode 0700) until all it holds is there: its time would change, it may be
    read-only, and nobody else may reach in meanwhile.
    """

    def __init__(self, content: Content, made: Folders, pace: Pace) -> None:
        self._content = content
        self._inventory, self._decision, self._source = content.inventory, content.decision, content.source
        self._made = made
        self._pace = pace

    def build(self) -> None:
        ancestors, path = self._make_ancestors(), b"/"
        try:
            for member in self._content.parts[0].members:
                if isinstance(member, Deed):
                    path = member.path
                    self._make_new(member)
                else:
                    path = self._inventory.paths[member]
                    self._make(member)
            for at in reversed(self._decision.kept):
                if stat.S_ISDIR(self._inventory.modes[at]):
                    path = self._inventory.paths[at]
                    self._finish_folder(at)
        except AttributeRefusedError as error:
            raise UnavailableError(
                f"cannot give {to_text(path)} its attribute {to_text(error.name)}: {error.strerror}",
                "run as root, and choose a target whose file system has extended attributes",
            ) from None
        except OSError as error:
            raise explained(OSError(error.errno, error.strerror), path) from None
        for path in reversed(ancestors):
            os.fchmod(self._made.folder(path), 0o755)

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
            target = self._decision.edited.get(at) or inventory.targets[at]
            link(target, folder, name, inventory.uids[at], inventory.gids[at], self._decision.mtimes[at])
        elif stat.S_ISREG(mode):
            self._make_file(at, name, folder)
        else:
            self._make_special(at, name, folder)

    def _make_file(self, at: int, name: bytes, folder: int) -> None:
        """Copy a file's contents, inside the kernel, or write its new ones."""
        descriptor = os.open(name, NEW, 0o600, dir_fd=folder)
        try:
            with File(self._content, at) as file:
                if file.edited is not None:
                    write_all(descriptor, file.edited)
                    self._pace.add(file.size)
                elif not self._copy(file.descriptor, descriptor, file.size):
                    raise changed(self._inventory.paths[at], "shrank")
            self._finish(at, descriptor, file.attributes)
        finally:
            os.close(descriptor)

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
        own(name, folder, self._inventory.uids[at], self._inventory.gids[at])
        os.chmod(name, stat.S_IMODE(mode), dir_fd=folder)
        attributes = self._source.special_attributes(at)
        if attributes:
            give(b"/proc/self/fd/%d/%b" % (folder, name), attributes)
        date(name, folder, self._decision.mtimes[at])

    def _finish_folder(self, at: int) -> None:
        hidden = self._inventory.paths[at] in self._inventory.mount_points
        attributes = () if hidden else self._source.folder_attributes(at)
        self._finish(at, self._made.folder(self._inventory.paths[at]), attributes)

    def _finish(self, at: int, descriptor: int, attributes: Attributes) -> None:
        inventory = self._inventory
        owner = inventory.uids[at], inventory.gids[at]
        finish(descriptor, *owner, inventory.modes[at], attributes, self._decision.mtimes[at])


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
