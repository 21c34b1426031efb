"""Where the notebooks of a check are: found in their folders, and copied to where they may write."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slimagent.checks.context import Context
from slimagent.checks.program import complete
from slimagent.paths.algebra import to_text, within

_LARGEST = 200 << 20  # bytes of a folder that is copied
_MOST_ENTRIES = 50_000
_COPY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """A notebook: the name of its item, and its path, in the image or in a copy."""

    name: str
    path: bytes


def expanded(folder: str, context: Context) -> bytes:
    """A folder of the profile's as an absolute path: `~` is the user's home, relative ones begin where commands run."""
    home = context.env.get("HOME", "")
    if home and (folder == "~" or folder.startswith("~/")):
        folder = home + folder[1:]
    return os.path.normpath(os.path.join(os.fsencode(context.cwd), os.fsencode(folder)))


def notebooks(folder: bytes) -> Iterator[bytes]:
    """The paths below a folder of its notebooks, sorted. Hidden folders (so .ipynb_checkpoints) are left out."""
    found = []
    for here, folders, names in _walk(folder):
        folders[:] = [each for each in folders if not each.startswith(b".")]
        paths = (os.path.join(here, each) for each in names if each.endswith(b".ipynb") and not each.startswith(b"."))
        found += [each for each in paths if os.path.isfile(each)]
    return (os.path.relpath(each, folder) for each in sorted(found))


def _walk(folder: bytes) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]:
    """As os.walk, which until Python 3.12 calls itself for each level of directories."""
    pending = [folder]
    while pending:
        here = pending.pop()
        folders: list[bytes] = []
        names: list[bytes] = []
        with contextlib.suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                (folders if entry.is_dir() else names).append(entry.name)
        yield here, folders, names
        below = (os.path.join(here, each) for each in reversed(folders))
        pending += [path for path in below if not os.path.islink(path)]


def gathered(folders: Sequence[str], context: Context) -> list[tuple[bytes, list[Found]]]:
    """Each folder that has notebooks, and these. With several folders, an item's name begins with the folder."""
    gathered = []
    for text, folder in dict(zip(folders, (expanded(each, context) for each in folders), strict=True)).items():
        prefix = f"{text.rstrip('/')}/" if len(folders) > 1 else ""
        found = [Found(f"{prefix}{to_text(each)}", os.path.join(folder, each)) for each in notebooks(folder)]
        if found:
            gathered.append((folder, found))
    return gathered


def copied(context: Context, folder: bytes, target: str, seconds: float) -> bytes:
    """Copy a folder to `target`, which is not there yet, as the context's user. Returns where its notebooks are run.

    That is the folder itself if it is too large, has links that would lead elsewhere from a copy, or cannot be copied.
    The image's own `cp` copies, so that a trace shows what was read; a file that the user may not read is left out.
    """
    if not _can_be_copied(folder):
        return folder
    argv = ("cp", "-a", "--", os.path.join(os.fsdecode(folder), "."), target)
    with contextlib.suppress(OSError):
        complete(context, argv, env=context.env, cwd="/", seconds=min(seconds, _COPY_SECONDS))
    return os.fsencode(target) if os.path.isdir(target) else folder


def _can_be_copied(folder: bytes) -> bool:
    entries, size = 0, 0
    for here, folders, names in _walk(folder):
        entries += len(folders) + len(names)
        for path in (os.path.join(here, each) for each in (*folders, *names)):
            with contextlib.suppress(OSError):
                about = os.lstat(path)
                if stat.S_ISLNK(about.st_mode) and _leads_out(path, folder):
                    return False
                size += about.st_size
        if entries > _MOST_ENTRIES or size > _LARGEST:
            return False
    return True


def _leads_out(link: bytes, folder: bytes) -> bool:
    target = os.readlink(link)
    end = os.path.normpath(os.path.join(os.path.dirname(link), target))
    return not target.startswith(b"/") and not within(end, folder)
