"""One removal at a time in an image: a lock on its root that an open descriptor holds, so that no kill leaves it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from slimagent.errors import RefusedError
from slimagent.linux.files import explained
from slimagent.paths.algebra import to_text


@contextlib.contextmanager
def alone(root: bytes) -> Iterator[None]:
    """Keep other removals out of the image at `root` during the block. Raises RefusedError if one is at work there.

    Where a file system knows no locks (flock(2)), only the journal keeps them apart.
    """
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise explained(error, root) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RefusedError(
            f"another slimagent is removing files from {to_text(root)}", "let it come to its end"
        ) from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(descriptor)
