"""Where a user can create files: by owner, mode and access control list, and by trying it."""

from __future__ import annotations

import contextlib
import enum
import os
import secrets
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slimagent.checks.context import Context
from slimagent.checks.output import last_lines
from slimagent.checks.permissions.walk import Snapshot, attributes_of, below
from slimagent.checks.program import complete
from slimagent.linux.posix_acl import SEARCH, WRITE, Identity, describe, permits
from slimagent.paths.algebra import to_text

# Packages are installed into these. They are named even below another writable directory.
PACKAGE_DIRECTORIES = frozenset({b"site-packages", b"dist-packages", b"site-library"})
GONE = "no such directory"


@dataclass(frozen=True, slots=True)
class Writable:
    """Where a user can create files: `every` directory, and the topmost ones and those of packages as `named`."""

    every: frozenset[bytes]
    named: tuple[bytes, ...]


def writable(snapshot: Snapshot, who: Identity) -> Writable:
    """The directories that a user can reach, write and search. Empty for the superuser, who ignores modes."""
    if who.uid == 0:
        return Writable(frozenset(), ())
    directories = {at: each for at, each in enumerate(snapshot.attributes) if stat.S_ISDIR(each.mode)}
    search = {at for at, each in directories.items() if permits(each, who, SEARCH)}
    write = {at for at, each in directories.items() if permits(each, who, SEARCH | WRITE)}
    reached, covered = {b""}, set()  # directories come after those that hold them
    every, named = set(), []
    for directory, listing in snapshot.listings.items():
        if directory not in reached:
            continue
        for name, at in listing.items():
            if at not in search:
                continue
            path = below(directory, name)
            reached.add(path)
            if at in write:
                every.add(path)
                if directory not in covered or name in PACKAGE_DIRECTORIES:
                    named.append(path)
            if at in write or directory in covered:
                covered.add(path)
    return Writable(frozenset(every), tuple(sorted(named, key=lambda path: (path.count(b"/"), path))))


def obstacle(path: bytes, who: Identity) -> str:
    """Why a user cannot create files in a directory, by the rights on its path; "" if they can."""
    try:
        real = os.path.realpath(path, strict=True)
        parts = real.split(b"/")[1:] if real != b"/" else []
        here = b"/"
        for wanted in (*[SEARCH] * len(parts), SEARCH | WRITE):
            attributes = attributes_of(here)
            if not stat.S_ISDIR(attributes.mode):
                return "it is not a directory"
            if who.uid != 0 and not permits(attributes, who, wanted):
                return f"{'it' if here == path else to_text(here)} has {describe(attributes)}"
            if parts:
                here = below(here, parts.pop(0))
    except (FileNotFoundError, NotADirectoryError):
        return GONE
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return f"it cannot be read: {error.strerror if isinstance(error, OSError) else error}"
    return ""


class Tried(enum.Enum):
    """How an attempt to create a file ended; `BROKEN`: it shows nothing; `NOT`: there was none."""

    WRITTEN = enum.auto()
    REFUSED = enum.auto()
    GONE = enum.auto()
    BROKEN = enum.auto()
    NOT = enum.auto()


@dataclass(frozen=True, slots=True)
class Trial:
    """An attempt to create a file in a directory, and why it failed, if it did."""

    how: Tried
    why: str = ""


# Built-in commands alone: a program that only this trial needs would stay in the image. `true`, because a failing
# redirection of `:` would end the shell.
_SCRIPT = """set -C; token=$1; name=$2; shift 2
for directory do
  if ! [ -d "$directory" ]; then echo "$token gone"
  elif true > "$directory/$name"; then echo "$token written"
  else echo "$token refused"
  fi
done"""


def attempt(context: Context, directories: Sequence[bytes], deadline: float) -> Mapping[bytes, Trial]:
    """Have a shell of the image create an empty file in each directory, as the context's user; we remove it."""
    token, name = secrets.token_hex(8), f".slimagent-{secrets.token_hex(8)}"
    argv = ("/bin/sh", "-c", _SCRIPT, "sh", token, name, *map(os.fsdecode, directories))
    made = [below(directory, name.encode()) for directory in directories]
    if not directories:
        return {}
    env = {**context.env, "LC_ALL": "C"}
    try:
        ended = complete(context, argv, env=env, cwd="/", seconds=deadline - time.monotonic())
    except OSError as error:
        return dict.fromkeys(directories, Trial(Tried.NOT, f"/bin/sh: {error.strerror}"))
    finally:
        left_behind = _remove(made)
    end = "it did not end in time" if ended.returncode is None else ended.how
    trials = _trials(
        ended.said, token.encode(), directories, Trial(Tried.BROKEN, f"no answer from the shell that tried it: {end}")
    )
    return {
        directory: Trial(Tried.BROKEN, f"{to_text(path)} was created and cannot be removed")
        if path in left_behind
        else trials[directory]
        for directory, path in zip(directories, made, strict=True)
    }


_ANSWERS = {b"written": Tried.WRITTEN, b"gone": Tried.GONE, b"refused": Tried.REFUSED}


def _trials(said: bytes, token: bytes, directories: Sequence[bytes], lost: Trial) -> dict[bytes, Trial]:
    found, error = [], ""
    for line in said.split(b"\n"):
        mark, _, word = line.partition(b" ")
        if mark != token or word not in _ANSWERS:
            error = last_lines(line.rpartition(b": ")[2]) or error
            continue
        how = _ANSWERS[word]
        found.append(Trial(how, {Tried.WRITTEN: "", Tried.GONE: GONE}.get(how, error)))
        error = ""
    return dict(zip(directories, [*found[: len(directories)], *[lost] * (len(directories) - len(found))], strict=True))


def _remove(paths: Iterable[bytes]) -> set[bytes]:
    """Remove these files if they exist. Returns those that could not be removed."""
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            os.unlink(path)
    return {path for path in paths if os.path.lexists(path)}
