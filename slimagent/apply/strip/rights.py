"""Run programs that we do not trust without rights: as a user who owns nothing and can gain nothing."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import PurePath
from typing import TypedDict

from slimagent.model.inventory import Inventory

_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS of <linux/prctl.h>
_HIGHEST = 65_533  # nobody is 65534 and owns some files; rootless engines map no higher number


class UserOptions(TypedDict, total=False):
    """The options of `subprocess.Popen` that say as which user a program runs; empty for our own."""

    user: int
    group: int
    extra_groups: list[int]


def stranger(inventory: Inventory) -> int | None:
    """A number that is neither a user nor a group of any file in the image. None if we are not root.

    Without root's rights we have nothing to give up, and cannot become anybody else.
    """
    if os.geteuid() != 0:
        return None
    taken = {*inventory.uids, *inventory.gids}
    return next(each for each in range(_HIGHEST, 0, -1) if each not in taken)


def user_options(user: int | None) -> UserOptions:
    """The options of `subprocess.Popen` that run a program as this user, with no other group.

    With the last of root's IDs all capabilities go (capabilities(7), "Effect of user ID changes on capabilities").
    """
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def gain_nothing() -> None:
    """Let what this thread starts from now on gain no rights: setuid bits and file capabilities have no effect."""
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def is_only_ours(program: str) -> bool:
    """Whether only root and we can change a program, or what its name leads to.

    Links are followed, and each directory above counts. In a sticky one nobody moves what is ours (inode(7)).
    """
    real, named = os.path.realpath(program), os.path.realpath(os.path.dirname(program))
    above = (each for path in (real, named) for each in PurePath(path).parents)
    return all(map(_is_ours, {real, named, *map(str, above)}))


def _is_ours(path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not (
        stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    )
    return status.st_uid in (0, os.geteuid()) and not writable
