"""Find a program that strips files, and run it on copies, within a time."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence

from slimagent.errors import UnavailableError
from slimagent.paths import USUAL_PATH, within

AUTO, NONE = "auto", "none"

_NAME = "strip"
LACKS = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
_SAID = (*(os.strerror(each).lower() for each in LACKS), "memory exhausted", "out of memory")
_SENT = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU, signal.SIGXFSZ)
_BY_SIGNAL = 128  # a shell adds it to the number of the signal that ended its command
_SECONDS, _PER_SECOND = 60.0, 5_000_000  # a run may take so long, and a second more for so many bytes


def find(said: str, root: bytes) -> str | None:
    """The program to strip with, as `--strip` said; None for none.

    `auto` is the strip of the image itself if that is `/`, then the agent's (SLIMAGENT_HOME/bin), and for a folder that
    of this machine. Raises UnavailableError for a program that was named and is not there.
    """
    if said == NONE:
        return None
    if said != AUTO:
        found = shutil.which(said)
        if found is None:
            raise UnavailableError(f"cannot strip: there is no program {said}", "see --strip auto and --strip none")
        return os.path.abspath(found)
    home = os.environ.get("SLIMAGENT_HOME")
    own = shutil.which(_NAME, path=os.path.join(home, "bin")) if home else None
    folders = [*os.environ.get("PATH", "").split(":"), *map(os.fsdecode, USUAL_PATH)]
    if home:
        agents = os.path.realpath(os.fsencode(home))
        folders = [each for each in folders if not within(os.path.realpath(os.fsencode(each)), agents)]
    its = shutil.which(_NAME, path=":".join(each for each in folders if each.startswith("/")))
    return (its or own) if root == b"/" else (own or its)


class Passing(str):
    """A reason that may be gone next time: a lack of space, memory, descriptors or processes, a signal that was sent.

    What is only a reason says something about the file.
    """

    __slots__ = ()


class StripFailedError(Exception):
    """The program did not do it: why, and whether it did not end by itself."""

    def __init__(self, why: str, *, hung: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.hung = hung


def _loading(program: str) -> tuple[str, ...]:
    """What comes before a program of a bundle, which has no libraries but those that we run on (see image/agent.py)."""
    loader = os.readlink("/proc/self/exe")
    libraries = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(program))), "lib")
    ours = bool(os.environ.get("SLIMAGENT_HOME")) and os.path.dirname(loader) == libraries
    return (loader, "--inhibit-cache", "--library-path", libraries) if ours else ()


def run(program: str, folder: bytes, names: Sequence[str], size: int, seconds: float = _SECONDS) -> None:
    """Strip the files of these names in `folder`, of `size` bytes together. Raises StripFailedError."""
    command = [*_loading(program), program, "--strip-unneeded", "--", *names]
    env = {**os.environ, "LC_ALL": "C"}
    env.pop("LD_PRELOAD", None)
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        why = f"strip cannot be run: {error.strerror}"
        raise StripFailedError(Passing(why) if error.errno in LACKS else why) from None
    with process:
        try:
            _, problems = process.communicate(timeout=seconds + size / _PER_SECOND)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise StripFailedError("strip did not end in time", hung=True) from None
        except BaseException:
            _kill(process)
            raise
    if process.returncode < 0:
        why = f"strip was ended by signal {-process.returncode}"
        raise StripFailedError(Passing(why) if -process.returncode in _SENT else why)
    if process.returncode:
        said = problems.decode("utf-8", "replace").strip().splitlines() or [f"status {process.returncode}"]
        why = f"strip failed: {said[-1][:200]}"
        lacks = any(each in line.lower() for line in said for each in _SAID)
        raise StripFailedError(Passing(why) if lacks or process.returncode - _BY_SIGNAL in _SENT else why)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program and what it started; its pipe may be held by those, so it is not read any further."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
