"""Lay out a bundle with everything that this machine has. Tracing and planning then make it small."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from slimagent.bundle.host import OURSELVES, Host
from slimagent.bundle.libraries import by_name, forget_search_paths, is_elf, libraries, loader_of, preload_nothing
from slimagent.errors import UnavailableError
from slimagent.linux.files import explained
from slimagent.model.agent import ENTRYPOINT, INTERPRETER, LIBRARIES, PYTHON, START, STRIP

_HERE = os.path.dirname(os.path.abspath(__file__))
# Not part of the standard library: what others installed.
_NO_LIBRARY = ("site-packages", "dist-packages")


def lay_out(host: Host, directory: str) -> str:
    """Copy everything into a new directory. Returns the loader's name. Raises UnavailableError."""
    try:
        os.mkdir(directory)
        return _Stage(host, directory).build()
    except OSError as error:
        raise explained(error, directory) from None


class _Stage:
    def __init__(self, host: Host, directory: str) -> None:
        self._host = host
        self._directory = directory
        self._programs: list[str] = []  # originals of ELF files, which need libraries
        self._copies: list[str] = []  # their copies

    def build(self) -> str:
        host = self._host
        loader = loader_of(host.program)
        self._copy(host.program, INTERPRETER)
        for directory in host.directories:
            self._copy_tree(directory, f"{PYTHON}/{host.library}", _NO_LIBRARY)
        site = f"{PYTHON}/{host.library}/site-packages"
        for place, path in host.packages:
            self._copy(path, f"{site}/{place}")
        self._copy_tree(host.package, f"{site}/{OURSELVES}")
        self._copy_tree(host.profiles, f"{site}/{OURSELVES}/profiles")
        self._copy(host.entrypoint, ENTRYPOINT)
        self._copy(os.path.join(_HERE, START), START)
        if host.strip is not None:
            self._copy(host.strip, STRIP)
        self._copy_libraries(loader)
        for path in self._copies:
            forget_search_paths(path)
        return os.path.basename(loader)

    def _copy_libraries(self, loader: str) -> None:
        needed = {**libraries(loader, self._programs), **by_name()}
        if "libc.so.6" not in needed:
            raise UnavailableError(
                f"{loader} does not say where the C library is", "make the bundle on another machine"
            )
        self._copy(os.path.realpath(loader), f"{LIBRARIES}/{os.path.basename(loader)}", executable=True)
        preload_nothing(os.path.join(self._directory, LIBRARIES, os.path.basename(loader)))
        for name, path in sorted(needed.items()):
            self._copy(path, f"{LIBRARIES}/{name}")

    def _copy_tree(self, directory: str, to: str, leave: tuple[str, ...] = ()) -> None:
        for path in _files(directory, leave):
            self._copy(path, os.path.join(to, os.path.relpath(path, directory)))

    def _copy(self, path: str, to: str, *, executable: bool = False) -> None:
        """Copy a file, or what a link leads to, without owner, time and other properties."""
        target = os.path.join(self._directory, to)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(path, target)
        runs = executable or os.stat(path).st_mode & 0o111
        os.chmod(target, 0o755 if runs else 0o644)
        if is_elf(path):
            self._programs.append(path)
            self._copies.append(target)


def _files(directory: str, leave: tuple[str, ...]) -> Iterator[str]:
    """Every file below a directory, in order, without broken links."""
    for base, inner, names in os.walk(directory):
        inner[:] = sorted(each for each in inner if each != "__pycache__" and (base != directory or each not in leave))
        for name in sorted(names):
            path = os.path.join(base, name)
            if os.path.isfile(path):
                yield path
