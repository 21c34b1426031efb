"""What comes after slimming: byte code, times, and a bundle's sizes. The same files make the same bytes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence

from slimagent.errors import CheckFailedError

# PEP 552: unchecked, as nobody edits a bundle, and so that the byte code does not depend on times.
_COMPILE = """
import os, py_compile, sys
for base, folders, names in os.walk(sys.argv[1]):
    folders.sort()
    for name in sorted(names):
        if name.endswith(".py"):
            path = os.path.join(base, name)
            py_compile.compile(path, dfile=os.path.relpath(path, sys.argv[1]), doraise=True,
                               invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""
_MOMENT = (315_532_800, 315_532_800)  # 1980-01-01, the earliest time that zip archives know too


def compile_all(python: Sequence[str], folder: str) -> None:
    """Write byte code for every module, by the bundle's own interpreter. Raises CheckFailedError."""
    done = subprocess.run([*python, "-c", _COMPILE, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise CheckFailedError(
            f"the bundle's Python cannot compile its own modules: {last}", "this is a bug: report it"
        )


def remove_empty(folder: str) -> None:
    """Remove the directories that hold nothing."""
    for base, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(base):
            os.rmdir(base)


def tidy(folder: str) -> None:
    """Give everything one time. Everybody can read it, whatever our umask.

    What the agent starts without its rights is part of a bundle, too.
    """
    for base, _, names in os.walk(folder, topdown=False):
        for name in names:
            os.utime(os.path.join(base, name), _MOMENT)
        os.chmod(base, 0o755)  # noqa: S103  # nothing in it is secret
        os.utime(base, _MOMENT)


def sizes(folder: str) -> dict[str, int]:
    """Bytes of each part of a bundle, by its first name and, for Python's code, by what it belongs to."""
    found: dict[str, int] = {}
    for path, size in _files(folder):
        words = path.split(os.sep)
        part = words[0]
        if "site-packages" in words[:-1]:
            name = words[words.index("site-packages") + 1]
            part = "slimagent" if name == "slimagent" else "dependencies"
        elif words[0] == "python":
            part = "standard library" if "lib" in words[1:2] else "python"
        found[part] = found.get(part, 0) + size
    return found


def _files(folder: str) -> Iterator[tuple[str, int]]:
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            yield os.path.relpath(path, folder), os.lstat(path).st_size
