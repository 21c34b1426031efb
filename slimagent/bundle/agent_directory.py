"""The directory of an agent: which files are the agent's, what else lies in it, and how to remove it from an image.

The record of a bundle, or the agent.json of `make agent`, lists all files of the agent. If an image already had a
directory of that name, only this list tells the agent's files from the image's.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Collection, Iterator
from typing import NamedTuple

from slimagent.errors import DocumentError, RefusedError, UnavailableError
from slimagent.linux.files import explained, read
from slimagent.model.agent import AGENT, BUNDLE, CONTENTS
from slimagent.paths.algebra import ancestors, mounted, parent, to_text, within
from slimagent.text.json_input import parsed
from slimagent.text.shape import known

_DIRECTORY, _FILE, _LINK = "directory", "file", "link"


class Named(NamedTuple):
    """What a command line names, as absolute paths: files, and directories with all that is in them."""

    files: Collection[bytes] = ()
    directories: Collection[bytes] = ()


def contents(directory: bytes, record: str) -> dict[str, str]:
    """The files of an agent, for its record: path below its directory as `to_text` writes it → kind.

    The list includes the record itself, even if it does not exist yet. Raises UnavailableError.
    """
    found = {to_text(_below(path, directory)): kind for path, kind in _entries(directory)}
    return dict(sorted({**found, record: _FILE}.items()))


def require_own(directory: bytes, named: Named) -> None:
    """Refuse an agent's directory that holds anything but the agent, what is named, and mounts.

    An agent without a list, e.g. a checkout, is not checked. Raises RefusedError, UnavailableError.
    """
    listed = _listed(directory)
    if listed is not None:
        _refuse_others(directory, listed, named)


def is_mounted(directory: bytes) -> bool:
    """Whether a directory lies on another mount than /: then it hides the image's files and holds none of them."""
    return any(point != b"/" and within(directory, point) for point in _mount_points())


def require_removable(directory: bytes, files: Collection[bytes]) -> None:
    """Raise an error if the agent's directory cannot be removed. `files` are absolute paths of what we read and write.

    RefusedError for a directory that is mounted or holds a mount, that has no list of its files, or that holds anything
    but the agent and these files; UnavailableError for one that we may not remove.
    """
    if is_mounted(directory) or any(within(point, directory) for point in _mount_points()):
        raise RefusedError(
            f"the agent's directory {to_text(directory)} is mounted or holds a mount: it is not part of the image",
            "leave out --remove-agent: there is nothing to remove",
        )
    _refuse_others(directory, _required_list(directory), Named(files))
    if not os.access(parent(directory), os.W_OK | os.X_OK):
        raise explained(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), directory)


def remove(directory: bytes, files: Collection[bytes]) -> None:
    """Remove an agent with these files in its directory. The directory above keeps its time.

    Only the files in the agent's list are removed, and nothing else. Programs that run from it go on: what a process
    has open or mapped stays until it ends (unlink(2)). Raises what `require_removable` raises.
    """
    listed = _required_list(directory)
    _refuse_others(directory, listed, Named(files))
    holder = parent(directory)
    status = os.stat(holder)
    try:
        for path, kind in reversed(list(_entries(directory))):
            if path in files or listed.get(to_text(_below(path, directory))) == kind:
                (os.rmdir if kind == _DIRECTORY else os.unlink)(path)
        os.rmdir(directory)
        os.utime(holder, ns=(status.st_atime_ns, status.st_mtime_ns))
    except OSError as error:
        raise explained(error, directory) from None


def _required_list(directory: bytes) -> dict[str, str]:
    listed = _listed(directory)
    if listed is None:
        shown = to_text(directory)
        raise RefusedError(
            f"the agent in {shown} has no list of its files, so they cannot be told from the image's",
            f"make the agent again with `slimagent bundle`, or remove it by hand: rm -r {shlex.quote(shown)}",
        )
    return listed


def _listed(directory: bytes) -> dict[str, str] | None:
    """The list in an agent's directory; None if it has none that can be read."""
    for record in (BUNDLE, AGENT):
        try:
            values = parsed(read(os.path.join(directory, record.encode())))
        except (DocumentError, ValueError):
            continue
        return known(dict, (known(dict, values) or {}).get(CONTENTS))
    return None


def _refuse_others(directory: bytes, listed: dict[str, str], named: Named) -> None:
    other = next(_others(directory, listed, named), None)
    if other is not None:
        shown = to_text(other)
        raise RefusedError(
            f"the agent's directory holds something that is not the agent's: {shown}",
            "copy the agent to a directory of its own, e.g. /.slimagent; "
            f"or, if nothing needs that path, remove it by hand: rm -r {shlex.quote(shown)}",
        )


def _others(directory: bytes, listed: dict[str, str], named: Named) -> Iterator[bytes]:
    """What is neither the agent's, nor named, nor a directory above what is named, in order."""
    inside = [path for path in (*named.directories, *_mount_points()) if to_text(_below(path, directory)) not in listed]
    apart = {path for path in inside if path != directory and within(path, directory)}
    inner = (path for path in (*named.files, *apart) if within(path, directory))
    ways = {each for path in inner for each in ancestors(path)}
    for path, kind in _entries(directory, apart):
        ours = listed.get(to_text(_below(path, directory))) == kind
        if not ours and path not in apart and path not in named.files and not (kind == _DIRECTORY and path in ways):
            yield path


def _entries(directory: bytes, apart: Collection[bytes] = ()) -> Iterator[tuple[bytes, str]]:
    """Every path below a directory with its kind, each before what it holds. `apart`: directories to skip."""
    ahead = [directory]
    while ahead:
        try:
            with os.scandir(ahead.pop()) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise UnavailableError(
                f"cannot read the agent's directory {to_text(directory)}: {error.strerror}", "run slimagent as root"
            ) from None
        for entry in found:
            yield entry.path, _kind(entry)
        ahead += [each.path for each in reversed(found) if _kind(each) == _DIRECTORY and each.path not in apart]


def _kind(entry: os.DirEntry[bytes]) -> str:
    if entry.is_symlink():
        return _LINK
    return _DIRECTORY if entry.is_dir(follow_symlinks=False) else _FILE


def _below(path: bytes, directory: bytes) -> bytes:
    return path[len(directory) + 1 :]


def _mount_points() -> list[bytes]:
    with open("/proc/self/mountinfo", "rb") as file:
        return mounted(file.read())
