"""Recognise an image: one digest over what every user can see of it and what does not change by itself."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection, Iterator

from slimagent.model.inventory import Inventory
from slimagent.paths.algebra import ancestors, parent, within, within_any

# Directories whose content changes while a container runs.
VOLATILE = (b"/tmp", b"/var/tmp", b"/run", b"/var/run", b"/var/log", b"/var/cache", b"/var/lib/apt", b"/home", b"/root")
_CACHES = (b"/__pycache__", b"/.cache")
_SEEN_BY_ALL = stat.S_IROTH | stat.S_IXOTH


def fingerprint(inventory: Inventory, hidden: Collection[bytes] = ()) -> str:
    """SHA-256, in hexadecimal, over the kind, size and path (a link: its target) of the image's lasting entries.

    It is the same for every user, so that a trace made as an ordinary user fits a plan made as root: a directory that
    not everybody can list counts, its content does not. Times and owners do not count: two builds of one Dockerfile may
    be the same image.

    It is the same with and without a mount at one of `hidden`: neither what is there counts, nor directories that hold
    nothing else, because an engine creates the directories above a mount.
    """
    digest = hashlib.sha256()
    lines: list[bytes] = []
    for at in _counted(inventory, hidden):
        path, mode = inventory.paths[at], inventory.modes[at]
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFLNK:
            what = inventory.targets[at]
        else:
            what = b"%d" % inventory.sizes[at] if kind == stat.S_IFREG else b""
        lines.append(b"%o\0%b\0%b\0" % (kind, path, what))
        if len(lines) >= 10_000:
            digest.update(b"".join(lines))
            lines.clear()
    digest.update(b"".join(lines))
    return digest.hexdigest()


def _counted(inventory: Inventory, hidden: Collection[bytes]) -> Iterator[int]:
    """The lasting entries, without `hidden` and the directories that hold nothing else."""
    paths = inventory.paths
    found = list(lasting(inventory, hidden))
    above = {each for path in (*hidden, *inventory.mount_points) for each in ancestors(path)} - {b"/"}
    filled = {parent(paths[at]) for at in found if paths[at] not in above}
    for path in sorted(above, key=len, reverse=True):
        if path in filled:
            filled.add(parent(path))
    return (at for at in found if paths[at] not in above or paths[at] in filled)


def lasting(inventory: Inventory, hidden: Collection[bytes] = ()) -> Iterator[int]:
    """The entries that everybody can see and that do not change by themselves in a running container, in order.

    Mount points, and what is at one of `hidden`, are left out.
    """
    out = inventory.mount_points.union(hidden)
    whole = inventory.scopes == (b"/",)
    volatile = changing(inventory.scopes)
    skipped = b""
    for at, path in enumerate(inventory.paths):
        if skipped and within(path, skipped):
            continue
        mode = inventory.modes[at]
        if stat.S_ISDIR(mode):
            if path in volatile or path in out or path.endswith(_CACHES):
                skipped = path
                continue
            if whole and path != b"/" and mode & _SEEN_BY_ALL != _SEEN_BY_ALL:
                skipped = path
        elif path in out:
            continue
        yield at


def changing(scopes: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The directories that change in a running container, except those that are requested as a scope."""
    return tuple(path for path in VOLATILE if not within_any_scope(scopes, path))


def may_change(path: bytes, scopes: tuple[bytes, ...]) -> bool:
    """Whether a path is where content changes while a container runs."""
    return within_any(path, changing(scopes)) or any(cache + b"/" in path for cache in _CACHES)


def within_any_scope(scopes: tuple[bytes, ...], directory: bytes) -> bool:
    """Whether `directory`, or a part of it, is requested by name; then it counts."""
    return any(scope != b"/" and (within(scope, directory) or within_any(directory, (scope,))) for scope in scopes)
