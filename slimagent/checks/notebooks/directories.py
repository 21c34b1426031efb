"""Find the notebooks of a check in their directories, and copy them to where they may write."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slimagent.checks.context import Context
from slimagent.checks.program import complete
from slimagent.paths.algebra import to_text, within

_LARGEST = 200 << 20  # bytes of a directory that is copied
_MOST_ENTRIES = 50_000
_COPY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """A notebook: the name of its item, and its path in the image or in a copy."""

    name: str
    path: bytes


def expanded(directory: str, context: Context) -> bytes:
    """The absolute path of a profile's directory: `~` is the user's home, a relative one begins where commands run."""
    home = context.env.get("HOME", "")
    if home and (directory == "~" or directory.startswith("~/")):
        directory = home + directory[1:]
    return os.path.normpath(os.path.join(os.fsencode(context.cwd), os.fsencode(directory)))


def notebooks(directory: bytes) -> Iterator[bytes]:
    """The paths of the notebooks below a directory, sorted. Hidden directories (.ipynb_checkpoints) are left out."""
    found = []
    for here, directories, names in _walk(directory):
        directories[:] = [each for each in directories if not each.startswith(b".")]
        paths = (os.path.join(here, each) for each in names if each.endswith(b".ipynb") and not each.startswith(b"."))
        found += [each for each in paths if os.path.isfile(each)]
    return (os.path.relpath(each, directory) for each in sorted(found))


def _walk(directory: bytes) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]:
    """Like os.walk, which until Python 3.12 is recursive."""
    pending = [directory]
    while pending:
        here = pending.pop()
        directories: list[bytes] = []
        names: list[bytes] = []
        with contextlib.suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                (directories if entry.is_dir() else names).append(entry.name)
        yield here, directories, names
        below = (os.path.join(here, each) for each in reversed(directories))
        pending += [path for path in below if not os.path.islink(path)]


def gathered(directories: Sequence[str], context: Context) -> list[tuple[bytes, list[Found]]]:
    """Each directory that has notebooks, with its notebooks. With several directories, item names begin with them."""
    gathered = []
    for text, directory in dict(
        zip(directories, (expanded(each, context) for each in directories), strict=True)
    ).items():
        prefix = f"{text.rstrip('/')}/" if len(directories) > 1 else ""
        found = [Found(f"{prefix}{to_text(each)}", os.path.join(directory, each)) for each in notebooks(directory)]
        if found:
            gathered.append((directory, found))
    return gathered


def copied(context: Context, directory: bytes, target: str, seconds: float) -> bytes:
    """Copy a directory to `target`, which must not exist, as the context's user. Returns where to run its notebooks.

    It is the directory itself if that is too large, cannot be copied, or has links that would lead elsewhere in a copy.
    The image's own `cp` copies, so that a trace shows what was read. Files that the user cannot read are left out.
    """
    if not _can_be_copied(directory):
        return directory
    argv = ("cp", "-a", "--", os.path.join(os.fsdecode(directory), "."), target)
    with contextlib.suppress(OSError):
        complete(context, argv, env=context.env, cwd="/", seconds=min(seconds, _COPY_SECONDS))
    return os.fsencode(target) if os.path.isdir(target) else directory


def _can_be_copied(directory: bytes) -> bool:
    entries, size = 0, 0
    for here, directories, names in _walk(directory):
        entries += len(directories) + len(names)
        for path in (os.path.join(here, each) for each in (*directories, *names)):
            with contextlib.suppress(OSError):
                about = os.lstat(path)
                if stat.S_ISLNK(about.st_mode) and _leads_out(path, directory):
                    return False
                size += about.st_size
        if entries > _MOST_ENTRIES or size > _LARGEST:
            return False
    return True


def _leads_out(link: bytes, directory: bytes) -> bool:
    target = os.readlink(link)
    end = os.path.normpath(os.path.join(os.path.dirname(link), target))
    return not target.startswith(b"/") and not within(end, directory)
