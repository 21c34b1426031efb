"""Make a new directory beside its place, and move it there when it is complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from slimagent.errors import RefusedError, UnavailableError
from slimagent.linux.files import explained
from slimagent.linux.temporary import new_directory
from slimagent.model.inventory import Inventory
from slimagent.model.plan import Plan
from slimagent.paths.algebra import to_text, within, within_any


def require_free(target: bytes) -> None:
    """Raise RefusedError unless `target` is absent or empty, UnavailableError if it cannot be replaced."""
    try:
        filled = bool(os.listdir(target))
    except FileNotFoundError:
        return
    except OSError as error:
        raise explained(error, target) from None
    if filled:
        raise RefusedError(f"the target directory {to_text(target)} is not empty", "choose a new or an empty directory")
    if os.path.ismount(target):
        raise UnavailableError(
            f"the target directory {to_text(target)} is a mount point and cannot be replaced",
            "choose a directory below it",
        )


def require_outside(plan: Plan, inventory: Inventory, target: bytes) -> None:
    """Refuse a target that would be part of the image that it is made from."""
    root = os.path.realpath(inventory.root)
    if not within(target, root):
        return
    inside = target if root == b"/" else target[len(root) :] or b"/"
    if within_any(inside, inventory.scopes) and not within_any(inside, (*plan.excluded, *inventory.mount_points)):
        raise RefusedError(
            f"the target directory {to_text(target)} lies in the image that is exported",
            "choose a directory on another file system, or exclude it when planning",
        )


@contextlib.contextmanager
def replacing_directory(target: bytes) -> Iterator[bytes]:
    """Make a private directory beside `target`. It takes the target's place, or is removed if the block fails."""
    try:
        with new_directory(os.path.dirname(target)) as temporary:
            yield temporary
            os.rename(temporary, target)
    except OSError as error:
        raise explained(error, target) from None
