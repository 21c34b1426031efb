"""Directories that everything on a system shares, by the conventions of Linux. Pure.

Sources: hier(7); the Filesystem Hierarchy Standard 3.0.
"""

from __future__ import annotations

from slimagent.paths.algebra import parent

SHARED = frozenset(
    f"/{each}".encode()
    for each in (
        *("", "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt", "proc"),
        *("root", "run", "sbin", "srv", "sys", "tmp", "usr", "usr/bin", "usr/include", "usr/lib", "usr/lib64"),
        *("usr/local", "usr/local/bin", "usr/local/lib", "usr/local/share", "usr/local/src", "usr/sbin", "usr/share"),
        *("usr/src", "var", "var/lib", "var/cache", "var/tmp"),
    )
)
"""Directories that hold projects and programs of several people, and are not projects themselves."""


def is_shared(directory: bytes) -> bool:
    """Whether a directory belongs to no single project: a shared one, or somebody's home.

    >>> is_shared(b"/srv"), is_shared(b"/home/ada"), is_shared(b"/srv/app")
    (True, True, False)
    """
    return directory in SHARED or parent(directory) == b"/home"


def is_home(directory: bytes) -> bool:
    """Whether a shared directory is a place into which people copy one application: a home or /mnt.

    >>> is_home(b"/home/ada"), is_home(b"/root"), is_home(b"/usr/share")
    (True, True, False)
    """
    return directory in (b"/root", b"/mnt") or (parent(directory) == b"/home" and directory != b"/home")
