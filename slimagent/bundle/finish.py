"""The last steps of a bundle: bytecode, times and sizes. The same files give the same bytes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from slimagent.errors import CheckFailedError

# PEP 552: unchecked, because nobody edits a bundle, and because the bytecode must not depend on times.
_COMPILE = """
import os, py_compile, sys
for base, directories, names in os.walk(sys.argv[1]):
    directories.sort()
    for name in sorted(names):
        if name.endswith(".py"):
            path = os.path.join(base, name)
            py_compile.compile(path, dfile=os.path.relpath(path, sys.argv[1]), doraise=True,
                               invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""
_MOMENT = (315_532_800, 315_532_800)  # 1980-01-01, the earliest time in a zip archive


def compile_all(python: Sequence[str], directory: str) -> None:
    """Write bytecode for every module with the bundle's own interpreter. Raises CheckFailedError."""
    done = subprocess.run([*python, "-c", _COMPILE, directory], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise CheckFailedError(
            f"the bundle's Python cannot compile its own modules: {last}", "this is a bug: please report it"
        )


def remove_empty(directory: str) -> None:
    """Remove empty directories."""
    for base, _, _ in os.walk(directory, topdown=False):
        if not os.listdir(base):
            os.rmdir(base)


def tidy(directory: str) -> None:
    """Give everything the same time, and let everybody read it, whatever our umask.

    The agent starts some programs of a bundle without its own rights.
    """
    for base, _, names in os.walk(directory, topdown=False):
        for name in names:
            os.utime(os.path.join(base, name), _MOMENT)
        os.chmod(base, 0o755)  # noqa: S103  # nothing in it is secret
        os.utime(base, _MOMENT)


def sizes(directory: str) -> dict[str, int]:
    """The size in bytes of each part of a bundle: by its first name, and for Python's code by what it belongs to."""
    found: dict[str, int] = {}
    for base, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(base, name)
            part = _part(os.path.relpath(path, directory).split(os.sep))
            found[part] = found.get(part, 0) + os.lstat(path).st_size
    return found


def _part(words: list[str]) -> str:
    if "site-packages" in words[:-1]:
        return "slimagent" if words[words.index("site-packages") + 1] == "slimagent" else "dependencies"
    if words[0] == "python":
        return "standard library" if "lib" in words[1:2] else "python"
    return words[0]
