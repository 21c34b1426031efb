"""An image on its way from a container into the engine. A container decides what is in it, and nothing else.

Source: the Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format". Its `manifest.json`
says which names the image gets, and an engine takes them from whoever has them. So it is written here, with the one
name that was asked for, and only the files that it lists are sent: every engine reads that form.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Collection
from typing import IO

import orjson

from slimagent.errors import CheckFailedError, RefusedError
from slimagent.image.directories import open_inside, read_inside
from slimagent.text.json_input import parsed

_MANIFEST = "manifest.json"
_BLOB = re.compile(r"blobs/sha256/[0-9a-f]{64}")
_LARGEST_MANIFEST = 1 << 20  # bytes
_LARGEST_LAYER = 1 << 50  # bytes: what the disk holds
_CHUNK = 1 << 20  # bytes


def send(
    layout: str,
    tag: str,
    stream: IO[bytes],
    progress: Callable[[int], None],
    known: Collection[str] = (),
    wait: Callable[[], None] = lambda: None,
) -> None:
    """Write the image of a layout as a tar, with `tag` as its only name, and close the stream.

    `known` are layers that the engine has already, by their names in the layout: they are left out. `wait` is called
    before the manifest, which comes last: an engine looks for the known layers when it has read that.
    `progress` gets the bytes written so far. Raises CheckFailedError if there is no layout, RefusedError if it is not
    such as slimagent writes, BrokenPipeError if the reader has gone, and what `wait` raises.
    """
    try:
        config, layers = _listed(layout)
        manifest = orjson.dumps([{"Config": config, "RepoTags": [tag], "Layers": layers}])
        counted = _Counted(stream, progress)
        with tarfile.open(fileobj=counted, mode="w|", bufsize=_CHUNK, copybufsize=_CHUNK) as archive:  # type: ignore[call-overload]
            for name in dict.fromkeys((config, *(each for each in layers if each not in known))):  # two may be the same
                with os.fdopen(_opened(layout, name, _LARGEST_LAYER), "rb") as file:
                    _add(archive, name, file, os.fstat(file.fileno()).st_size)
            wait()
            _add(archive, _MANIFEST, io.BytesIO(manifest), len(manifest))
    finally:
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def _listed(layout: str) -> tuple[str, list[str]]:
    """The names of the configuration and of the layers."""
    os.close(_opened(layout, _MANIFEST, _LARGEST_MANIFEST))
    try:
        (image,) = parsed(read_inside(layout, _MANIFEST, _LARGEST_MANIFEST))
        config, layers = image["Config"], image["Layers"]
        well = all(_BLOB.fullmatch(each) for each in (config, *layers))
    except (ValueError, KeyError, TypeError):
        well = False
    if not well:
        raise RefusedError(
            "the exported image has a manifest that slimagent did not write",
            "a command or a check wrote into slimagent's own directory in the container: see what it does",
        )
    return config, list(layers)


def _opened(layout: str, name: str, limit: int) -> int:
    try:
        return open_inside(layout, name, limit)
    except OSError as error:
        raise CheckFailedError(
            f"the container ended well and left no whole image: {name}: {error.strerror}",
            "see what it printed, and whether its options or variables keep slimagent's agent from running",
        ) from None


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    archive.addfile(member, file)


class _Counted:
    """A stream that tells how many bytes it took."""

    def __init__(self, stream: IO[bytes], progress: Callable[[int], None]) -> None:
        self._stream = stream
        self._progress = progress
        self._done = 0

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._done += len(data)
        self._progress(self._done)
        return len(data)
