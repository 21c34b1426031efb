"""A bundle as it is laid out, at first with everything that this machine has: tracer and planner do the rest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from slimagent.bundle.host import OURSELVES, Host
from slimagent.bundle.libraries import by_name, forget_folders, is_elf, libraries, loader_of, preload_nothing
from slimagent.errors import UnavailableError
from slimagent.linux.files import explained
from slimagent.model.agent import ENTRYPOINT, INTERPRETER, LIBRARIES, PYTHON, START, STRIP

_HERE = os.path.dirname(os.path.abspath(__file__))
# No part of the standard library: what others installed, caches, and what a program that embeds Python is linked with.
_NO_LIBRARY = ("site-packages", "dist-packages")


def lay_out(host: Host, folder: str) -> str:
    """Copy everything into a new folder. Returns the name of the loader. Raises UnavailableError."""
    try:
        os.mkdir(folder)
        return _Stage(host, folder).build()
    except OSError as error:
        raise explained(error, folder) from None


class _Stage:
    def __init__(self, host: Host, folder: str) -> None:
        self._host = host
        self._folder = folder
        self._programs: list[str] = []  # originals of ELF files, whose libraries are wanted
        self._copies: list[str] = []  # their copies

    def build(self) -> str:
        host = self._host
        loader = loader_of(host.program)
        self._copy(host.program, INTERPRETER)
        for folder in host.folders:
            self._copy_tree(folder, f"{PYTHON}/{host.library}", _NO_LIBRARY)
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
            forget_folders(path)
        return os.path.basename(loader)

    def _copy_libraries(self, loader: str) -> None:
        needed = {**libraries(loader, self._programs), **by_name()}
        if "libc.so.6" not in needed:
            raise UnavailableError(
                f"{loader} does not say where the C library is", "make the bundle on another machine"
            )
        self._copy(os.path.realpath(loader), f"{LIBRARIES}/{os.path.basename(loader)}", executable=True)
        preload_nothing(os.path.join(self._folder, LIBRARIES, os.path.basename(loader)))
        for name, path in sorted(needed.items()):
            self._copy(path, f"{LIBRARIES}/{name}")

    def _copy_tree(self, folder: str, to: str, leave: tuple[str, ...] = ()) -> None:
        for path in _files(folder, leave):
            self._copy(path, os.path.join(to, os.path.relpath(path, folder)))

    def _copy(self, path: str, to: str, *, executable: bool = False) -> None:
        """Copy a file, or what a link leads to. Owner, time and further properties are not taken over."""
        target = os.path.join(self._folder, to)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(path, target)
        runs = executable or os.stat(path).st_mode & 0o111
        os.chmod(target, 0o755 if runs else 0o644)
        if is_elf(path):
            self._programs.append(path)
            self._copies.append(target)


def _files(folder: str, leave: tuple[str, ...]) -> Iterator[str]:
    """Every file below a folder, in order; a link that leads nowhere is none."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if each != "__pycache__" and (base != folder or each not in leave))
        for name in sorted(names):
            path = os.path.join(base, name)
            if os.path.isfile(path):
                yield path
