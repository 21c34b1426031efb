"""Unpack the archive of an image that an engine saved: each file under the digest of its uncompressed content.

Source: the archive of `docker save` and `podman save`, in which layers are tars that are not compressed.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from typing import IO

from slimagent.errors import RefusedError
from slimagent.linux.descriptors import closing, write_all

_CHUNK = 1 << 20  # bytes
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def unpack(stream: IO[bytes], directory: str) -> None:
    """Write each regular file of an archive into a directory, under its SHA-256. Raises RefusedError, OSError."""
    partial = os.path.join(directory, "partial")
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                digest = hashlib.sha256()
                with closing(os.open(partial, _NEW, 0o600)) as descriptor:
                    while piece := file.read(_CHUNK):
                        digest.update(piece)
                        write_all(descriptor, piece)
                os.rename(partial, os.path.join(directory, digest.hexdigest()))
    except (tarfile.TarError, EOFError) as error:
        raise RefusedError(f"the engine's archive of the image cannot be read: {error}", "run it again") from None
