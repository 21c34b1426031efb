"""Send an image that a container exported to the engine. The container decides its contents, but not its name.

Source: the Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format". Its `manifest.json`
names the image, and an engine takes these names away from other images. So we write the manifest here, with only the
requested name, and send only the files that it lists. Every engine reads this format.
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
_LARGEST_LAYER = 1 << 50  # bytes: the disk is the limit
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

    `known` are the layers that the engine already has, by their names in the layout; they are left out. `wait` is
    called before the manifest, which comes last: the engine looks for the known layers once it has read the manifest.
    `progress` gets the bytes written so far. Raises CheckFailedError if there is no layout, RefusedError if slimagent
    did not write it, BrokenPipeError if the reader has exited, and whatever `wait` raises.
    """
    try:
        config, layers = _listed(layout)
        manifest = orjson.dumps([{"Config": config, "RepoTags": [tag], "Layers": layers}])
        counted = _Counted(stream, progress)
        with tarfile.open(fileobj=counted, mode="w|", bufsize=_CHUNK, copybufsize=_CHUNK) as archive:  # type: ignore[call-overload]
            for name in dict.fromkeys((config, *(each for each in layers if each not in known))):  # two can be equal
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
            "change the command or check that writes to slimagent's own directory in the container",
        )
    return config, list(layers)


def _opened(layout: str, name: str, limit: int) -> int:
    try:
        return open_inside(layout, name, limit)
    except OSError as error:
        raise CheckFailedError(
            f"the container ended without an error but wrote no complete image: {name}: {error.strerror}",
            "read its output, and check whether its options or variables keep slimagent's agent from running",
        ) from None


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    archive.addfile(member, file)


class _Counted:
    """A stream that reports how many bytes were written to it."""

    def __init__(self, stream: IO[bytes], progress: Callable[[int], None]) -> None:
        self._stream = stream
        self._progress = progress
        self._done = 0

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._done += len(data)
        self._progress(self._done)
        return len(data)
