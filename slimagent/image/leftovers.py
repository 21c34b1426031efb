"""Find and remove what killed runs left behind: containers, images under pending names, directories and files.

All their names contain the key of their run (owner.py), so nothing that a live run uses is taken for a leftover.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slimagent.image.engine import Engine
from slimagent.image.owner import PATTERN, Fate, fate
from slimagent.linux.removal import remove_tree

CONTAINER, IMAGE, DIRECTORY, FILE = "container", "image", "directory", "file"
PENDING = "slimagent-pending"  # the repository of images that are not verified yet
_NAMES = {
    CONTAINER: re.compile(rf"slimagent-({PATTERN})-.+"),
    IMAGE: re.compile(rf"(?:.+/)?{PENDING}:({PATTERN})-[0-9]+"),
    DIRECTORY: re.compile(rf"\.work-({PATTERN})"),
    FILE: re.compile(rf"\.slimagent-({PATTERN})\.partial.*"),
}


@dataclass(frozen=True, slots=True)
class Leftover:
    """One leftover. `name` is the absolute path of a directory or a file."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The leftovers of runs that have certainly ended, and of runs on another machine, boot or container."""

    dead: tuple[Leftover, ...] = ()
    unknown: tuple[Leftover, ...] = ()


def find(engine: Engine, out: str) -> Leftovers:
    """Find what runs left in the engine and in an output directory, which may not exist. Live runs do not count."""
    found = [(fate(key), each) for key, each in (*_in_engine(engine), *_in_directory(out))]
    return Leftovers(
        dead=tuple(each for its, each in found if its is Fate.DEAD),
        unknown=tuple(each for its, each in found if its is Fate.UNKNOWN),
    )


def remove(engine: Engine, leftovers: Leftovers) -> tuple[Leftover, ...]:
    """Remove the leftovers of dead runs. Returns what could not be removed: that may need root."""
    for each in leftovers.dead:  # containers come first: a container keeps its image
        if each.kind == CONTAINER:
            engine.remove_container(each.name)
        elif each.kind == IMAGE:
            engine.remove_image(each.name)
        else:
            with contextlib.suppress(OSError):
                (remove_tree if each.kind == DIRECTORY else os.unlink)(each.name)
    in_engine = {each for _, each in _in_engine(engine)}
    return tuple(
        each
        for each in leftovers.dead
        if (each in in_engine if each.kind in (CONTAINER, IMAGE) else os.path.lexists(each.name))
    )


def describe(leftovers: Sequence[Leftover]) -> str:
    """Count the leftovers of each kind, e.g. `2 containers, 1 image`."""
    kinds = Counter(each.kind for each in leftovers)
    plural = {kind: f"{kind}s" for kind in kinds} | {DIRECTORY: "directories"}
    return ", ".join(f"{kinds[kind]} {kind if kinds[kind] == 1 else plural[kind]}" for kind in _NAMES if kinds[kind])


def commands(engine: Engine, leftovers: Sequence[Leftover]) -> list[str]:
    """The command lines that remove the leftovers, one per kind."""
    ways = {
        CONTAINER: f"{engine.name} rm --force --volumes",
        IMAGE: f"{engine.name} rmi",
        DIRECTORY: "sudo rm -r",
        FILE: "sudo rm",
    }
    names = {kind: [shlex.quote(each.name) for each in leftovers if each.kind == kind] for kind in ways}
    return [" ".join((way, *names[kind])) for kind, way in ways.items() if names[kind]]


def _in_engine(engine: Engine) -> Iterator[tuple[str, Leftover]]:
    for kind, names in ((CONTAINER, engine.container_names("slimagent-")), (IMAGE, engine.image_names(PENDING))):
        yield from _ours(kind, names)


def _in_directory(out: str) -> Iterator[tuple[str, Leftover]]:
    try:
        with os.scandir(os.path.abspath(out)) as entries:
            kinds = {each.path: DIRECTORY if each.is_dir(follow_symlinks=False) else FILE for each in entries}
    except OSError:
        return
    for path, kind in sorted(kinds.items()):
        yield from _ours(kind, [path])


def _ours(kind: str, names: Sequence[str]) -> Iterator[tuple[str, Leftover]]:
    """The names that slimagent gave, with their keys."""
    for name in names:
        match = _NAMES[kind].fullmatch(os.path.basename(name) if kind in (DIRECTORY, FILE) else name)
        if match:
            yield match[1], Leftover(kind, name)
