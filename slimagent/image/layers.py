"""Read an image's layers from an engine: what each one adds, and what it hides of the layers below.

Sources: OCI image-spec, layer.md (whiteouts) and image-layout.md; the archive of `docker save` and `podman save`. An
archive can have its layers in any order; `manifest.json` has the right one.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from slimagent.errors import RefusedError, UnavailableError
from slimagent.image.stacking import Stack
from slimagent.model.audit import Layer, Layers
from slimagent.paths.algebra import Resolver, join
from slimagent.text.json_input import parsed

_BLOCK = 512  # bytes
_CHUNK = 1 << 20  # bytes
_LARGEST_DOCUMENT = 16 << 20  # bytes
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_MAGIC = slice(257, 262)  # of a tar's first header (POSIX.1-2001, pax)


class Row(NamedTuple):
    """A member of a layer, as `stacking.Member` has it. `target` is a symbolic link's, empty for all others."""

    path: bytes
    size: int
    digest: bytes
    mode: int
    owner: tuple[int, int]
    mtime: int
    is_directory: bool
    link: bytes
    target: bytes


def read_layers(stream: IO[bytes], progress: Callable[[int], None] = lambda count: None) -> Layers:
    """Read the archive of an image's layers to its end.

    `progress` gets the bytes that were read. Raises RefusedError if it is not such an archive.
    """
    counted = _Counted(stream, progress)
    rows: dict[str, list[Row]] = {}
    documents: dict[str, bytes] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=counted, mode="r|") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.issym() or member.islnk():
                    links[name] = member.linkname
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    _take(name, file, member.size, rows, documents)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise RefusedError(f"the engine's archive of the image cannot be read: {error}", "run it again") from None
    return _stacked(rows, documents, links)


def _take(name: str, file: IO[bytes], size: int, rows: dict[str, list[Row]], documents: dict[str, bytes]) -> None:
    """Take one file of the archive: a layer, or a JSON document."""
    start = file.read(_BLOCK)
    if start[:4] == _ZSTD:
        raise UnavailableError(
            "a layer of the image is compressed with zstd, which cannot be read here",
            "save it uncompressed: skopeo copy docker-daemon:IMAGE docker-archive:FILE",
        )
    whole = _Again(start, file)
    if start[:2] == _GZIP:
        rows[name] = _placed(list(_rows(gzip.GzipFile(fileobj=whole))))
    elif _is_tar(start):
        rows[name] = _placed(list(_rows(whole)))
    elif size <= _LARGEST_DOCUMENT:
        documents[name] = start + file.read()


def _is_tar(start: bytes) -> bool:
    """Whether a file begins as a tar: with a header, whose sum is right also in the old form without a magic."""
    if start[_MAGIC] == b"ustar" or (len(start) == _BLOCK and not any(start)):
        return True
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _rows(stream: Any) -> Iterator[Row]:
    with tarfile.open(fileobj=stream, mode="r|") as layer:
        for member in layer:
            path = join(b"/", member.name.encode("utf-8", "surrogateescape"))
            digest = b""
            if member.isfile():
                file = layer.extractfile(member)
                hashed = hashlib.sha256()
                while file is not None and (piece := file.read(_CHUNK)):
                    hashed.update(piece)
                digest = hashed.digest()
            size = member.size if member.isfile() else 0
            owner = (member.uid, member.gid)
            target = member.linkname.encode("utf-8", "surrogateescape")
            link, target = join(b"/", target) if member.islnk() else b"", target if member.issym() else b""
            yield Row(path, size, digest, member.mode, owner, int(member.mtime), member.isdir(), link, target)


def _placed(rows: list[Row]) -> list[Row]:
    """The members of a layer where an engine unpacks them: `lib/x` is in usr/lib if the layer links `lib` to that.

    An engine with overlayfs unpacks each layer alone, so links of lower layers lead nowhere.
    """
    targets = {row.path: row.target for row in rows}  # of several members at a path the last one stays
    resolver = Resolver(lambda path: targets.get(path) or None)

    def end(path: bytes) -> bytes:
        return resolver.resolve(path, follow=False).end or path

    return [row._replace(path=end(row.path), link=row.link and end(row.link)) for row in rows]


def _stacked(rows: dict[str, list[Row]], documents: dict[str, bytes], links: dict[str, str]) -> Layers:
    """Put the layers in the order of the manifest, and see what each hides."""
    names, config = _manifest(documents)
    commands = _commands(config, len(names))
    stack, layers = Stack(), list[Layer]()
    for name, command in zip(names, commands, strict=True):
        found = rows.get(name)
        if found is None and name in links:  # Docker before 25 links to an equal layer
            found = rows.get(posixpath.normpath(posixpath.join(posixpath.dirname(name), links[name])))
        if found is None and name in documents:
            raise RefusedError(f"the layer {name} of the image is not a tar", "save and load the image again")
        if found is None:
            raise RefusedError(f"the engine's archive of the image lacks the layer {name}", "run it again")
        stack.add(found)
        digests = (config.get("rootfs") or {}).get("diff_ids") or []
        digest = str(digests[len(layers)]) if len(layers) < len(digests) else ""
        files = [row for row in found if row.digest and not row.path.rpartition(b"/")[2].startswith(b".wh.")]
        size = sum(row.size for row in files)
        layers.append(Layer(digest=digest, command=command, size=size, files=len(files)))
    return Layers(layers=tuple(layers), hidden=stack.hidden(), of=stack.of())


def _manifest(documents: dict[str, bytes]) -> tuple[list[str], dict[str, Any]]:
    """The names of the layers, the lowest first, and the image's configuration."""
    try:
        manifest = parsed(documents["manifest.json"])[0]
        config = parsed(documents[manifest["Config"]])
        names = [str(each).removeprefix("./") for each in manifest["Layers"]]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise RefusedError(
            f"the engine's archive of the image has no manifest that can be read ({error})",
            "save the image as a Docker archive",
        ) from None
    return names, config if isinstance(config, dict) else {}


def _commands(config: dict[str, Any], count: int) -> list[str]:
    """What made each layer, by the image's history; empty if it does not say."""
    history = config.get("history")
    told = [
        str(each.get("created_by") or each.get("comment") or "")
        for each in (history if isinstance(history, list) else [])
        if isinstance(each, dict) and not each.get("empty_layer")
    ]
    return told if len(told) == count else [""] * count


class _Counted(io.RawIOBase):
    """A stream that tells how much of it was read."""

    def __init__(self, stream: IO[bytes], progress: Callable[[int], None]) -> None:
        self._stream, self._progress, self._count = stream, progress, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._count += len(data)
        self._progress(self._count)
        return data


class _Again(io.RawIOBase):
    """A stream whose first bytes were read already, and are read again."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._start:
            return self._rest.read(size)
        if size < 0:
            data, self._start = self._start + self._rest.read(), b""
            return data
        data, self._start = self._start[:size], self._start[size:]
        return data
