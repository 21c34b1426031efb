"""Composition: the agent that is made once and kept in the user's cache, for all commands that need one.

Containers have it mounted while they run, and their agents read it until they end. So nothing that lies in the cache is
ever changed, replaced or removed: each state of our sources has a name of its own, and so has what takes the place of a
damaged one. Of several commands that need an agent at once, one makes it and the others wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator

from slimagent import __version__
from slimagent.bundle import finish
from slimagent.bundle.host import Host, host
from slimagent.errors import DocumentError, UnavailableError
from slimagent.image import agent
from slimagent.linux.descriptors import closing
from slimagent.linux.files import explaining, make_directory
from slimagent.model.agent import BUNDLE
from slimagent.model.result import CheckResult
from slimagent.workflows import bundler
from slimagent.workflows.exercise import Reporter

_LOOK_EVERY = 0.2  # seconds; short, so that a signal is noticed soon
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def cached(reporter: Reporter, say: Callable[[str], None]) -> agent.Bundle:
    """Return the bundle of this state of our sources from the cache, and make it if necessary. Raises as `make` does.

    Before it is made, `say` gets where. Its phases are called like those of the user's image (`run under trace`,
    `plan`), so they are not shown: one phase stands for all of them.
    """
    source = host()
    base = os.path.join(_cache(), f"bundle-{__version__}-{_state(source)}")
    found = _found(base)
    if found is not None:
        return found
    make_directory(os.path.dirname(base))
    with _alone(f"{base}.lock", reporter):
        found = _found(base)  # another command may have made it while we waited
        if found is not None:
            return found
        directory = next(each for each in _names(base) if not os.path.lexists(each))
        say(f"make the agent for containers once, in {directory}: nothing of an image is run for this")
        with reporter.phase("make the agent, once"):
            return bundler.make(directory, _Hidden(), replace=False).bundle


def _found(base: str) -> agent.Bundle | None:
    """The first bundle of that name that is whole; None if there is none."""
    for directory in itertools.takewhile(os.path.lexists, _names(base)):
        with contextlib.suppress(UnavailableError, DocumentError):
            there = agent.bundle(directory)
            if _is_whole(there):
                return there
    return None


def _names(base: str) -> Iterator[str]:
    """The names of a bundle, the next for when what has the one before is damaged."""
    yield base
    for number in itertools.count(2):
        yield f"{base}-{number}"


def _is_whole(there: agent.Bundle) -> bool:
    """Whether nothing of a bundle is lost: a tidy machine may remove what it takes for old from a cache."""
    found = sum(finish.sizes(there.directory).values())
    return found - os.path.getsize(os.path.join(there.directory, BUNDLE)) == there.size


@contextlib.contextmanager
def _alone(path: str, reporter: Reporter) -> Iterator[None]:
    """Hold a lock during the block. The file stays: without it, two could hold two locks of one name.

    The kernel releases the lock of a process that is killed. On a file system without locks everybody goes on: then the
    first agent that is finished is kept.
    """
    with explaining(path):
        descriptor = os.open(path, _LOCK, 0o600)
    with closing(descriptor):
        with contextlib.suppress(OSError):
            if not _taken(descriptor):
                with reporter.phase("wait for the agent that another command makes"):
                    while not _taken(descriptor):
                        time.sleep(_LOOK_EVERY)
        yield


def _taken(descriptor: int) -> bool:
    """Take the lock. False if another process has it. Raises OSError where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cache() -> str:
    """Our directory in the user's cache (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = home if os.path.isabs(home) else os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "slimagent")


def _state(source: Host) -> str:
    """A name for a bundle's sources as they are now: our files, our dependencies', the interpreter, the C library."""
    state = hashlib.sha256(f"{sys.version}\n{source.program}\n{source.glibc}\n".encode())
    for place, path in (*_ours(source), *source.packages):
        status = os.stat(path)
        state.update(f"{place} {status.st_size} {status.st_mtime_ns}\n".encode())
    return state.hexdigest()[:12]


def _ours(source: Host) -> Iterator[tuple[str, str]]:
    """Our own files, and strip: what each is called, and its path."""
    for top in dict.fromkeys((source.package, source.profiles)):
        for base, directories, names in os.walk(top):
            directories[:] = sorted(each for each in directories if each != "__pycache__")
            for path in (os.path.join(base, name) for name in sorted(names)):
                yield os.path.relpath(path, top), path
    for path in filter(None, (source.entrypoint, source.strip)):
        yield os.path.basename(path), path


class _Hidden:
    """A reporter that shows nothing."""

    def waiting(self, what: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def phase(self, name: str, unit: str = "") -> contextlib.AbstractContextManager[Callable[[int], None]]:
        return contextlib.nullcontext(lambda done: None)

    def watching(self) -> None:
        pass

    def result(self, result: CheckResult, before: CheckResult | None = None) -> None:
        pass
