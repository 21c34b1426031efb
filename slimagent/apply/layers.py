"""Export what stays as one tar: a root file system that `docker import` takes.

The same inventory and plan give the same bytes. Formats: see `apply/pax.py`.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from bisect import bisect_left
from queue import SimpleQueue
from types import TracebackType

import slimagent
from slimagent.apply import pax
from slimagent.apply.decide import Decision, Deed, decide
from slimagent.apply.edits import edit
from slimagent.apply.folders import changed, unreadable
from slimagent.apply.progress import Pace, Progress
from slimagent.apply.source import Attributes, Source, require_readable
from slimagent.files import replacing
from slimagent.model import Inventory, Plan, Receipt
from slimagent.paths import sort_key, to_text

_KINDS = {
    stat.S_IFREG: pax.FILE,
    stat.S_IFLNK: pax.SYMBOLIC_LINK,
    stat.S_IFDIR: pax.FOLDER,
    stat.S_IFIFO: pax.FIFO,
    stat.S_IFCHR: pax.CHARACTER_DEVICE,
    stat.S_IFBLK: pax.BLOCK_DEVICE,
}

_BUFFER = 1 << 20  # bytes
_BUFFERS = 4


def write_tar(
    plan: Plan, plan_digest: str, inventory: Inventory, path: bytes, progress: Progress | None = None
) -> Receipt:
    """Write everything that stays to the tar `path`, whole or not at all; `progress` gets bytes written.

    Raises RefusedError for a file that changes meanwhile, UnavailableError for one that cannot be read and
    when the target cannot be written.
    """
    decision = decide(plan, inventory)
    require_readable(inventory, decision)
    with Source(inventory) as source:
        decision = edit(plan, inventory, decision, source.read)
        with replacing(path) as descriptor, Output(descriptor, progress) as output:
            archive = Archive(inventory, decision, source, output)
            archive.add_all()
            output.put(pax.END)
            sha256 = output.finish()
    return Receipt(
        tool=f"slimagent {slimagent.__version__}",
        plan=plan_digest,
        target=f"tar:{to_text(path)}",
        kept=decision.standing - len(archive.left_out),
        dropped=decision.lost,
        bytes_kept=decision.bytes_kept,
        bytes_dropped=decision.bytes_dropped,
        written=output.written,
        sha256=sha256,
        left_alone=decision.left_alone + tuple(archive.left_out),
        edited=len(decision.deeds),
    )


class Archive:
    """Turns entries of an inventory into members of a tar. `left_out` are those that a tar cannot hold."""

    def __init__(self, inventory: Inventory, decision: Decision, source: Source, output: Output) -> None:
        self._inventory = inventory
        self._decision = decision
        self._source = source
        self._output = output
        self._linked: dict[int, Attributes] = {}
        self.left_out: list[tuple[bytes, str]] = []

    def add_all(self) -> None:
        """Append everything that stays or is made, in the order of an inventory.

        What unpacks an archive gives a folder its time when the next member lies elsewhere: a late one spoils it.
        """
        kept, paths, begin = self._decision.kept, self._inventory.paths, 0
        made = [deed for deed in self._decision.deeds if deed.at is None]
        for deed in sorted(made, key=lambda deed: sort_key(deed.path)):
            end = bisect_left(kept, sort_key(deed.path), key=lambda at: sort_key(paths[at]))
            for at in kept[begin:end]:
                self.add(at)
            self.add_made(deed)
            begin = end
        for at in kept[begin:] if begin else kept:
            self.add(at)

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
        self._output.put(pax.header(member))

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
        self._output.put(pax.header(member))
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
            mtime_ns=self._decision.mtimes[at],
        )

    def _describe(self, at: int, member: pax.Member) -> None:
        if member.kind == pax.FOLDER:
            member.attributes = self._source.folder_attributes(at)
            return
        member.attributes = self._source.special_attributes(at)
        if member.kind != pax.FIFO:
            member.device = self._source.device(at)

    def _add_file(self, at: int, member: pax.Member) -> None:
        descriptor = self._source.open(at)
        try:
            edited = self._decision.edited.get(at)
            member.size = self._inventory.sizes[at] if edited is None else len(edited)
            member.attributes = self._source.attributes(at, descriptor)
            if member.attributes and self._inventory.links[at] > 1:
                self._linked[at] = member.attributes
            self._output.put(pax.header(member))
            if edited is None:
                self._copy(at, descriptor, member.size)
            else:
                self._output.put(edited)
                self._output.put(bytes(pax.padding(member.size)))
            self._source.check(at, descriptor)
        finally:
            os.close(descriptor)

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


def _relative(path: bytes) -> bytes:
    return path[1:] or b"."


class Output:
    """A file that is written from full buffers, while a second thread computes its SHA-256.

    Buffers go round: filled here, written, hashed there, free again; so memory stays constant however large the
    file. `written` counts bytes. Use as a context manager: leaving it ends the thread.
    """

    def __init__(self, descriptor: int, progress: Progress | None) -> None:
        self._descriptor = descriptor
        self._pace = Pace(progress)
        self._hash = hashlib.sha256()
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int] | None] = SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(memoryview(bytearray(_BUFFER)))
        self._buffer, self._used = self._free.get(), 0
        self._thread = threading.Thread(target=self._digest, name="sha256", daemon=True)

    def __enter__(self) -> Output:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._full.put(None)
        self._thread.join()

    @property
    def written(self) -> int:
        return self._pace.done

    def room(self) -> memoryview:
        """The free part of the buffer, never empty: write into it, then call `fill`."""
        if self._used == _BUFFER:
            self._flush()
        return self._buffer[self._used :]

    def fill(self, count: int) -> None:
        """Take over `count` bytes that were written into `room`."""
        self._used += count

    def put(self, data: bytes) -> None:
        """Append bytes."""
        while data:
            room = self.room()
            count = min(len(data), len(room))
            room[:count] = data[:count]
            self.fill(count)
            data = data[count:]

    def finish(self) -> str:
        """Write what is left, and return the SHA-256 of the whole in hexadecimal."""
        self._flush()
        self._full.put(None)
        self._thread.join()
        self._pace.finish()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        left = self._buffer[: self._used]
        while left:
            left = left[os.write(self._descriptor, left) :]
        self._pace.add(self._used)
        self._full.put((self._buffer, self._used))
        self._buffer, self._used = self._free.get(), 0

    def _digest(self) -> None:
        while (item := self._full.get()) is not None:
            buffer, used = item
            self._hash.update(buffer[:used])
            self._free.put(buffer)
