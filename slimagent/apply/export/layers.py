"""Export what stays as one tar: a root file system that `docker import` takes.

The same inventory and plan give the same bytes. Formats: see `apply/export/pax.py`.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Collection, Iterable

from slimagent.apply.decide import Decision, Deed, decide, in_order
from slimagent.apply.directories import changed, unreadable
from slimagent.apply.edits.edit import edit
from slimagent.apply.export import pax
from slimagent.apply.export.output import Buffers, Output
from slimagent.apply.export.receipt import exported
from slimagent.apply.progress import Progress
from slimagent.apply.source import Attributes, Source, require_readable
from slimagent.apply.strip.stripped import NO_TOOLS, Stripped, Tools
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
    stat.S_IFDIR: pax.FOLDER,
    stat.S_IFIFO: pax.FIFO,
    stat.S_IFCHR: pax.CHARACTER_DEVICE,
    stat.S_IFBLK: pax.BLOCK_DEVICE,
}


def write_tar(
    plan: Plan,
    plan_digest: str,
    inventory: Inventory,
    path: bytes,
    progress: Progress | None = None,
    tools: Tools = NO_TOOLS,
) -> Receipt:
    """Write everything that stays to the tar `path`, whole or not at all; `progress` gets bytes written.

    Raises RefusedError for a file that changes meanwhile, UnavailableError for one that cannot be read and
    when the target cannot be written.
    """
    decision = decide(plan, inventory)
    require_readable(inventory, decision)
    with Source(inventory) as source:
        decision = edit(plan, inventory, decision, source.read)
        stripped = Stripped(plan, inventory, decision, decision.kept, parent(path), tools)
        with replacing(path) as descriptor, Output(descriptor, progress) as output, stripped:
            archive = Archive(inventory, decision, source, output, stripped)
            archive.add_all(in_order(inventory, decision))
            output.put(pax.END)
            sha256 = output.finish()
    return exported(
        plan_digest,
        f"tar:{to_text(path)}",
        decision,
        stripped,
        written=output.written,
        sha256=sha256,
        left_out=tuple(archive.left_out),
    )


class Archive:
    """Turns entries of an inventory into members of a tar. `left_out` are those that a tar cannot hold.

    `for_engine`: the tar is a layer, which nobody but engines unpacks.
    """

    def __init__(
        self,
        inventory: Inventory,
        decision: Decision,
        source: Source,
        output: Buffers,
        stripped: Stripped | None = None,
        *,
        for_engine: bool = False,
    ) -> None:
        self._inventory = inventory
        self._decision = decision
        self._source = source
        self._output = output
        self._for_engine = for_engine
        self._stripped = stripped
        self._linked: dict[int, Attributes] = {}
        self._undated: Collection[int] = ()
        self._inherited: set[bytes] = set()  # folders that give what is made in them an access list
        self.left_out: list[tuple[bytes, str]] = []

    def add_all(self, members: Iterable[int | Deed], undated: Collection[int] = ()) -> None:
        """Append entries and what edits make; they come in the order of an inventory.

        What unpacks an archive gives a folder its time when the next member lies elsewhere: a late one spoils it.
        The folders in `undated` get no time of theirs, but the epoch's.
        """
        self._undated = undated
        for member in members:
            if isinstance(member, Deed):
                self.add_made(member)
            else:
                self.add(member)

    def add(self, at: int) -> None:
        """Append one entry: its headers, and a regular file's contents."""
        kind = _KINDS.get(stat.S_IFMT(self._inventory.modes[at]))
        if kind is None:
            self.left_out.append((self._inventory.paths[at], "a tar cannot hold a socket"))
            return
        member = self._member(at, kind)
        first = self._decision.first.get(at)
        if first is not None:
            member.kind, member.link = pax.HARD_LINK, _relative(self._inventory.paths[first])
            # Docker gives each name its owner again, and the kernel takes the file's capabilities off then
            member.attributes = self._linked.get(first, ())
        elif kind == pax.SYMBOLIC_LINK:
            member.link = self._decision.edited.get(at) or self._inventory.targets[at]
        elif self._inventory.paths[at] in self._inventory.mount_points:
            pass  # its attributes belong to another file system: an empty folder takes its place
        elif kind == pax.FILE:
            self._add_file(at, member)
            return
        else:
            self._describe(at, member)
        self._put_header(member)

    def add_made(self, deed: Deed) -> None:
        """Append what an edit makes: a file or a symbolic link."""
        data, is_link = deed.data or b"", stat.S_ISLNK(deed.mode)
        member = pax.Member(
            name=_relative(deed.path),
            kind=pax.SYMBOLIC_LINK if is_link else pax.FILE,
            mode=deed.mode,
            uid=deed.uid,
            gid=deed.gid,
            mtime_ns=deed.mtime_ns,
            size=0 if is_link else len(data),
            link=data if is_link else b"",
        )
        self._put_header(member)
        if not is_link:
            self._output.put(data)
            self._output.put(bytes(pax.padding(len(data))))

    def _member(self, at: int, kind: bytes) -> pax.Member:
        inventory = self._inventory
        name = _relative(inventory.paths[at])
        return pax.Member(
            name=name + b"/" if kind == pax.FOLDER else name,
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
        """Name the access lists of a member that would inherit others when it is unpacked (acl(5), OBJECT CREATION)."""
        if member.kind in (pax.HARD_LINK, pax.SYMBOLIC_LINK):
            return
        path = member.name.rstrip(b"/")
        known = dict(member.attributes)
        if os.path.dirname(path) in self._inherited and path != b".":
            plain = {pax.ACCESS: posix_acl.of_mode(member.mode)}
            if member.kind == pax.FOLDER:
                plain[pax.DEFAULT] = posix_acl.NOTHING
            member.attributes = tuple((plain | known).items())
        if pax.DEFAULT in known:
            self._inherited.add(b"" if path == b"." else path)

    def _describe(self, at: int, member: pax.Member) -> None:
        if member.kind == pax.FOLDER:
            member.attributes = self._source.folder_attributes(at)
            return
        member.attributes = self._source.special_attributes(at)
        if member.kind != pax.FIFO:
            member.device = self._source.device(at)

    def _add_file(self, at: int, member: pax.Member) -> None:
        descriptor = self._source.open(at)
        taken = None
        try:
            taken = self._stripped.take(at) if self._stripped is not None else None
            edited = self._decision.edited.get(at)
            member.size = self._inventory.sizes[at] if edited is None else len(edited)
            if taken is not None:
                member.size = taken[1]
            member.attributes = self._source.attributes(at, descriptor)
            if member.attributes and self._inventory.links[at] > 1:
                self._linked[at] = member.attributes
            self._put_header(member)
            if edited is None:
                self._copy(at, descriptor if taken is None else taken[0], member.size)
            else:
                self._output.put(edited)
                self._output.put(bytes(pax.padding(member.size)))
            self._source.check(at, descriptor)
        finally:
            os.close(descriptor)
            if taken is not None:
                os.close(taken[0])

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
    """Go's archive/tar ends the name of an attribute at its first equals sign, and knows no escape."""
    path = to_text(b"/" + member.name.rstrip(b"/"))
    for name, _ in member.attributes:
        if b"=" in name:
            raise RefusedError(
                f"no layer can hold the attribute {to_text(name)} of {path}: engines end its name at the =",
                f"take it off (setfattr -x {shlex.quote(to_text(name))} FILE), or export with --tar or --to",
            )


def _relative(path: bytes) -> bytes:
    return path[1:] or b"."
