"""Export what stays as a directory: a copy of the root file system, which appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from slimagent.apply.decide import Action, Decision
from slimagent.apply.directories import Directories, changed
from slimagent.apply.edits.rewrite import NEW, AttributeRefusedError, date, finish, give, link, own, place
from slimagent.apply.export.components import Part, whole
from slimagent.apply.export.exporter import Content, Exported, File
from slimagent.apply.export.new_directory import replacing_directory, require_free, require_outside
from slimagent.apply.progress import Pace
from slimagent.apply.source import Attributes, Source
from slimagent.errors import UnavailableError
from slimagent.linux.descriptors import closing, write_all
from slimagent.linux.files import explained
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt
from slimagent.paths.algebra import parent, to_text

_CHUNK = 1 << 20  # bytes
_CAPABILITY = b"security.capability"  # xattr(7); capabilities(7), FILE CAPABILITIES


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory `path`, which is absent or empty; see `exporter.Destination`.

    `for_host`: people work with it on a host. Device nodes are left out, and setuid and setgid bits and file
    capabilities are cleared: there, anyone who can reach the directory would get the rights of an image's root.
    """

    path: bytes
    for_host: bool = False

    @property
    def name(self) -> str:
        return f"to:{to_text(self.path)}"

    @property
    def holder(self) -> bytes:
        return parent(os.path.realpath(self.path))

    def admit(self, plan: Plan, inventory: Inventory) -> None:
        """Raise RefusedError for a target that is not empty or lies in what is exported."""
        require_free(os.path.realpath(self.path))
        require_outside(plan, inventory, os.path.realpath(self.path))

    def divide(self, plan: Plan, inventory: Inventory, decision: Decision, source: Source) -> list[Part]:
        return whole(inventory, decision)

    @contextlib.contextmanager
    def making(self, content: Content, pace: Pace) -> Iterator[Callable[[], Exported]]:
        """Raises UnavailableError for what this process may not write, or an owner, attribute or device not set."""
        with replacing_directory(os.path.realpath(self.path)) as temporary, Directories(temporary) as made:

            def make() -> Exported:
                tree = Tree(content, made, pace, for_host=self.for_host)
                tree.build()
                return Exported(written=pace.done, left_out=tuple(tree.left_out), cleared=tuple(sorted(tree.cleared)))

            yield make

    def holds(self, receipt: Receipt) -> bool:
        """Whether it has as many bytes as the receipt says. It appeared whole, so this is enough."""
        sizes: dict[tuple[int, int], int] = {}
        for base, _, names in os.walk(self.path):
            for name in names:
                status = os.lstat(os.path.join(base, name))
                if stat.S_ISREG(status.st_mode):
                    sizes[status.st_dev, status.st_ino] = status.st_size
        return sum(sizes.values()) == receipt.bytes_kept


class Tree:
    """Builds the copy: everything in inventory order, then the directories' own properties from the bottom up.

    A directory stays private (mode 0700) until it is complete: its time would change, it may be read-only, and nobody
    else may reach into it meanwhile. `for_host`, `left_out` and `cleared`: see `Directory` and `exporter.Exported`.
    """

    def __init__(self, content: Content, made: Directories, pace: Pace, *, for_host: bool = False) -> None:
        self._content = content
        self._inventory, self._decision, self._source = content.inventory, content.decision, content.source
        self._made = made
        self._pace = pace
        self._for_host = for_host
        self.left_out: list[tuple[bytes, str]] = []
        self.cleared: list[bytes] = []

    def build(self) -> None:
        ancestors, path = self._make_ancestors(), b"/"
        try:
            for member in self._content.parts[0].members:
                if isinstance(member, Action):
                    path = member.path
                    self._make_new(member)
                else:
                    path = self._inventory.paths[member]
                    self._make(member)
            for at in reversed(self._decision.kept):
                if stat.S_ISDIR(self._inventory.modes[at]):
                    path = self._inventory.paths[at]
                    self._finish_directory(at)
        except AttributeRefusedError as error:
            raise UnavailableError(
                f"cannot give {to_text(path)} its attribute {to_text(error.name)}: {error.strerror}",
                "run as root, and choose a target on a file system with extended attributes",
            ) from None
        except OSError as error:
            raise explained(OSError(error.errno, error.strerror), path) from None
        for path in reversed(ancestors):
            os.fchmod(self._made.directory(path), 0o755)

    def _make_ancestors(self) -> list[bytes]:
        """Make plain directories above a scope if the inventory lacks them."""
        lacking = {b"/"} - self._inventory.index.keys()
        for scope in self._inventory.scopes:
            while scope != b"/" and parent(scope) not in self._inventory.index:
                scope = parent(scope)
                lacking.add(scope)
        for path in sorted(lacking - {b"/"}):
            directory, name = self._made.holding(path)
            os.mkdir(name, 0o700, dir_fd=directory)
        return sorted(lacking)

    def _make(self, at: int) -> None:
        inventory, path = self._inventory, self._inventory.paths[at]
        mode = inventory.modes[at]
        if path == b"/":
            return
        if self._for_host and _is_device(mode):  # under each of its names
            self.left_out.append((path, "a device node"))
            return
        directory, name = self._made.holding(path)
        first = self._decision.first.get(at)
        if first is not None:
            known = inventory.paths[first][1:]
            os.link(known, name, src_dir_fd=self._made.root, dst_dir_fd=directory, follow_symlinks=False)
        elif stat.S_ISDIR(mode):
            os.mkdir(name, 0o700, dir_fd=directory)
        elif stat.S_ISLNK(mode):
            target = self._decision.edited.get(at) or inventory.targets[at]
            link(target, directory, name, inventory.uids[at], inventory.gids[at], self._decision.mtimes[at])
        elif stat.S_ISREG(mode):
            self._make_file(at, name, directory)
        else:
            self._make_special(at, name, directory)

    def _make_file(self, at: int, name: bytes, directory: int) -> None:
        """Copy a file's contents inside the kernel, or write its new ones."""
        with closing(os.open(name, NEW, 0o600, dir_fd=directory)) as descriptor:
            with File(self._content, at) as file:
                if file.edited is not None:
                    write_all(descriptor, file.edited)
                    self._pace.add(file.size)
                elif not self._copy(file.descriptor, descriptor, file.size):
                    raise changed(self._inventory.paths[at], "shrank")
            self._finish(at, descriptor, file.attributes)

    def _copy(self, contents: int, target: int, size: int) -> bool:
        """Copy the first `size` bytes of an open file without its holes. False if it ends early."""
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

    def _make_new(self, action: Action) -> None:
        """Make the file or symbolic link of an edit."""
        directory, name = self._made.holding(action.path)
        place(action, directory, name, ())
        if stat.S_ISREG(action.mode):
            self._pace.add(len(action.data or b""))

    def _make_special(self, at: int, name: bytes, directory: int) -> None:
        mode = self._inventory.modes[at]
        device = os.makedev(*self._source.device(at)) if _is_device(mode) else 0
        os.mknod(name, stat.S_IFMT(mode) | 0o600, device, dir_fd=directory)
        own(name, directory, self._inventory.uids[at], self._inventory.gids[at])
        mode, attributes = self._allowed(at, self._source.special_attributes(at))
        os.chmod(name, stat.S_IMODE(mode), dir_fd=directory)
        if attributes:
            give(b"/proc/self/fd/%d/%b" % (directory, name), attributes)
        date(name, directory, self._decision.mtimes[at])

    def _finish_directory(self, at: int) -> None:
        hidden = self._inventory.paths[at] in self._inventory.mount_points
        attributes = () if hidden else self._source.directory_attributes(at)
        self._finish(at, self._made.directory(self._inventory.paths[at]), attributes)

    def _finish(self, at: int, descriptor: int, attributes: Attributes) -> None:
        inventory = self._inventory
        owner = inventory.uids[at], inventory.gids[at]
        finish(descriptor, *owner, *self._allowed(at, attributes), self._decision.mtimes[at])

    def _allowed(self, at: int, attributes: Attributes) -> tuple[int, Attributes]:
        """The mode and the attributes that the copy may have."""
        mode = self._inventory.modes[at]
        if not self._for_host:
            return mode, attributes
        plain = mode & ~(stat.S_ISUID | stat.S_ISGID)
        rest = tuple(each for each in attributes if each[0] != _CAPABILITY)
        if (plain, len(rest)) != (mode, len(attributes)):
            self.cleared.append(self._inventory.paths[at])
        return plain, rest


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _data(contents: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of the first `size` bytes of an open file that are not holes, as offsets (lseek(2), SEEK_DATA)."""
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
            start, end = end, size  # the file system does not know its holes
        if start < size:
            yield start, min(end, size)
