"""Somebody else's program runs without rights: as a user who owns nothing, and who can gain nothing."""

from __future__ import annotations

import ctypes
import os
import stat
from typing import TypedDict

from slimagent.model.inventory import Inventory

_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS of <linux/prctl.h>
_HIGHEST = 65_533  # nobody is 65534, and owns files of others here and there; rootless engines map no more than that


class Whom(TypedDict, total=False):
    """As whom `subprocess.Popen` starts a program; nothing for who we are."""

    user: int
    group: int
    extra_groups: list[int]


def stranger(inventory: Inventory) -> int | None:
    """A user, and a group of the same number, that own nothing in the image. None if we are not root.

    Without root's rights there is nothing to give up, and nobody else to become.
    """
    if os.geteuid() != 0:
        return None
    taken = {*inventory.uids, *inventory.gids}
    return next(each for each in range(_HIGHEST, 0, -1) if each not in taken)


def whom(user: int | None) -> Whom:
    """Arguments of `subprocess.Popen` that make a program run as this user, in no other group.

    With the last of root's IDs all capabilities go (capabilities(7), "Effect of user ID changes on capabilities").
    """
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def gain_nothing() -> None:
    """What this thread starts from now on gains no rights by what it executes: no setuid bit, no file capability."""
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def is_only_ours(program: str) -> bool:
    """Whether only root and we can change a program, or what there is under its name.

    Links are followed, and each directory above counts; in a sticky one nobody moves what is ours (inode(7)).
    """
    real, named = os.path.realpath(program), os.path.realpath(os.path.dirname(program))
    return all(map(_is_ours, {real, *_above(real), named, *_above(named)}))


def _above(path: str) -> list[str]:
    found = []
    while path != "/":
        path = os.path.dirname(path)
        found.append(path)
    return found


def _is_ours(path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not (
        stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    )
    return status.st_uid in (0, os.geteuid()) and not writable
