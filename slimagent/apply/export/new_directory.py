"""A folder that is made: beside its place, and put there whole when everything is in it."""

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
    """Raise RefusedError unless nothing or an empty folder is there, UnavailableError if it cannot be replaced."""
    try:
        filled = bool(os.listdir(target))
    except FileNotFoundError:
        return
    except OSError as error:
        raise explained(error, target) from None
    if filled:
        raise RefusedError(f"the target folder {to_text(target)} is not empty", "choose a new or an empty folder")
    if os.path.ismount(target):
        raise UnavailableError(
            f"the target folder {to_text(target)} is a mount point and cannot be replaced", "choose a folder in it"
        )


def require_outside(plan: Plan, inventory: Inventory, target: bytes) -> None:
    """Refuse a target that would become part of the image it is made from."""
    root = os.path.realpath(inventory.root)
    if not within(target, root):
        return
    inside = target if root == b"/" else target[len(root) :] or b"/"
    if not within_any(inside, inventory.scopes):
        return
    if within_any(inside, (*plan.excluded, *inventory.mount_points)):
        return
    raise RefusedError(
        f"the target folder {to_text(target)} lies in the image that is exported",
        "choose a folder on another file system, or exclude it when planning",
    )


@contextlib.contextmanager
def replacing_folder(target: bytes) -> Iterator[bytes]:
    """A new folder beside `target`, private until it takes the target's place; removed if the block fails."""
    try:
        with new_directory(os.path.dirname(target)) as temporary:
            yield temporary
            os.rename(temporary, target)
    except OSError as error:
        raise explained(error, target) from None
