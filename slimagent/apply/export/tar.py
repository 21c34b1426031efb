"""Export what stays as a tar: a root file system for `docker import`, or a layer of an image.

The same inventory and plan give the same bytes. Formats: see `apply/export/pax.py`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from slimagent.apply.decide import Action, Decision
from slimagent.apply.directories import changed, unreadable
from slimagent.apply.export import pax
from slimagent.apply.export.blobs import Blob
from slimagent.apply.export.components import Part, whole
from slimagent.apply.export.exporter import Content, Exported, File
from slimagent.apply.progress import Pace
from slimagent.apply.source import Attributes, Source
from slimagent.errors import RefusedError
from slimagent.linux import posix_acl
from slimagent.linux.files import replacing
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt
from slimagent.paths.algebra import parent, to_text

_KINDS = {
    stat.S_IFREG: pax.FILE,
    stat.S_IFLNK: pax.SYMBOLIC_LINK,
    stat.S_IFDIR: pax.DIRECTORY,
    stat.S_IFIFO: pax.FIFO,
    stat.S_IFCHR: pax.CHARACTER_DEVICE,
    stat.S_IFBLK: pax.BLOCK_DEVICE,
}


@dataclass(frozen=True, slots=True)
class Tar:
    """One tar at `path`; see `exporter.Destination`.

    `for_engine`: it is a layer, which only engines unpack. `is_new`: no file has the name, and none is replaced.
    """

    path: bytes
    for_engine: bool = False
    is_new: bool = False

    @property
    def name(self) -> str:
        return f"tar:{to_text(self.path)}"

    @property
    def holder(self) -> bytes:
        return parent(self.path)

    def admit(self, plan: Plan, inventory: Inventory) -> None:
        """A tar can be made anywhere."""

    def divide(self, plan: Plan, inventory: Inventory, decision: Decision, source: Source) -> list[Part]:
        return whole(inventory, decision)

    @contextlib.contextmanager
    def making(self, content: Content, pace: Pace) -> Iterator[Callable[[], Exported]]:
        """Raises UnavailableError if it cannot be written."""
        with replacing(self.path, is_new=self.is_new) as descriptor, Blob(descriptor, None, pace) as output:

            def make() -> Exported:
                archive = Archive(content, output, for_engine=self.for_engine)
                if not self.for_engine:
                    output.put(pax.commented())
                archive.add_all(content.parts[0])
                written = output.finish()
                return Exported(written=written.size, sha256=written.digest, left_out=tuple(archive.left_out))

            yield make

    def holds(self, receipt: Receipt) -> bool:
        """Never: only reading all of it would tell, which takes as long as making it."""
        return False


class Archive:
    """Writes entries of an inventory as members of a tar. `left_out` are those that a tar cannot hold.

    `for_engine`: the tar is a layer, which only engines unpack.
    """

    def __init__(self, content: Content, output: Blob, *, for_engine: bool = False) -> None:
        self._content = content
        self._inventory, self._decision, self._source = content.inventory, content.decision, content.source
        self._output = output
        self._for_engine = for_engine
        self._linked: dict[int, Attributes] = {}
        self._undated: Collection[int] = ()
        self._inherited: set[bytes] = set()  # directories that pass on an access list to what is made in them
        self.left_out: list[tuple[bytes, str]] = []

    def add_all(self, part: Part) -> None:
        """Append a part, and end the archive.

        A directory gets its time when the next member lies elsewhere, and a later member in it would change it again.
        The directories in `undated` get the epoch as their time.
        """
        self._undated = part.undated
        for member in part.members:
            if isinstance(member, Action):
                self.add_made(member)
            else:
                self.add(member)
        self._output.put(pax.END)

    def add(self, at: int) -> None:
        """Append one entry: its headers, and the contents of a regular file."""
        kind = _KINDS.get(stat.S_IFMT(self._inventory.modes[at]))
        if kind is None:
            self.left_out.append((self._inventory.paths[at], "a tar cannot hold a socket"))
            return
        member = self._member(at, kind)
        first = self._decision.first.get(at)
        if first is not None:
            member.kind, member.link = pax.HARD_LINK, _relative(self._inventory.paths[first])
            # Docker sets the owner again for each name, and the kernel then removes the file's capabilities
            member.attributes = self._linked.get(first, ())
        elif kind == pax.SYMBOLIC_LINK:
            member.link = self._decision.edited.get(at) or self._inventory.targets[at]
        elif self._inventory.paths[at] in self._inventory.mount_points:
            pass  # its attributes belong to another file system; an empty directory takes its place
        elif kind == pax.FILE:
            self._add_file(at, member)
            return
        else:
            self._describe(at, member)
        self._put_header(member)

    def add_made(self, action: Action) -> None:
        """Append the file or symbolic link that an edit makes."""
        data, is_link = action.data or b"", stat.S_ISLNK(action.mode)
        member = pax.Member(
            name=_relative(action.path),
            kind=pax.SYMBOLIC_LINK if is_link else pax.FILE,
            mode=action.mode,
            uid=action.uid,
            gid=action.gid,
            mtime_ns=action.mtime_ns,
            size=0 if is_link else len(data),
            link=data if is_link else b"",
        )
        self._put_header(member)
        if not is_link:
            self._put_contents(data)

    def _member(self, at: int, kind: bytes) -> pax.Member:
        inventory = self._inventory
        name = _relative(inventory.paths[at])
        return pax.Member(
            name=name + b"/" if kind == pax.DIRECTORY else name,
            kind=kind,
            mode=inventory.modes[at],
            uid=inventory.uids[at],
            gid=inventory.gids[at],
            mtime_ns=0 if at in self._undated else self._decision.mtimes[at],
        )

    def _put_header(self, member: pax.Member) -> None:
        self._undo_inheritance(member)
        if self._for_engine:
            _require_names_for_engines(member)
        self._output.put(pax.header(member, escape=not self._for_engine))

    def _undo_inheritance(self, member: pax.Member) -> None:
        """Name all access lists of a member that would inherit some when it is unpacked (acl(5), OBJECT CREATION)."""
        if member.kind in (pax.HARD_LINK, pax.SYMBOLIC_LINK):
            return
        path = member.name.rstrip(b"/")
        known = dict(member.attributes)
        if os.path.dirname(path) in self._inherited and path != b".":
            plain = {pax.ACCESS: posix_acl.of_mode(member.mode)}
            if member.kind == pax.DIRECTORY:
                plain[pax.DEFAULT] = posix_acl.NOTHING
            member.attributes = tuple((plain | known).items())
        if pax.DEFAULT in known:
            self._inherited.add(b"" if path == b"." else path)

    def _describe(self, at: int, member: pax.Member) -> None:
        if member.kind == pax.DIRECTORY:
            member.attributes = self._source.directory_attributes(at)
            return
        member.attributes = self._source.special_attributes(at)
        if member.kind != pax.FIFO:
            member.device = self._source.device(at)

    def _add_file(self, at: int, member: pax.Member) -> None:
        with File(self._content, at) as file:
            member.size, member.attributes = file.size, file.attributes
            if member.attributes and self._inventory.links[at] > 1:
                self._linked[at] = member.attributes
            self._put_header(member)
            if file.edited is None:
                self._copy(at, file.descriptor, file.size)
            else:
                self._put_contents(file.edited)

    def _put_contents(self, data: bytes) -> None:
        self._output.put(data)
        self._output.put(bytes(pax.padding(len(data))))

    def _copy(self, at: int, descriptor: int, size: int) -> None:
        left, output = size, self._output
        while left:
            room = output.room()[:left]
            try:
                count = os.readv(descriptor, [room])
            except OSError as error:
                raise unreadable(self._inventory.paths[at], error) from None
            if not count:
                raise changed(self._inventory.paths[at], "shrank")
            output.fill(count)
            left -= count
        output.put(bytes(pax.padding(size)))


def _require_names_for_engines(member: pax.Member) -> None:
    """Refuse attributes with `=` in the name: Go's archive/tar ends the name there, and has no escape."""
    path = to_text(b"/" + member.name.rstrip(b"/"))
    for name, _ in member.attributes:
        if b"=" in name:
            raise RefusedError(
                f"no layer can hold the attribute {to_text(name)} of {path}: engines end its name at the =",
                f"remove it (setfattr -x {shlex.quote(to_text(name))} FILE), or export with --tar or --to",
            )


def _relative(path: bytes) -> bytes:
    return path[1:] or b"."
