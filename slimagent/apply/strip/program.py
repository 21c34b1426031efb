"""Find a program that strips files, and run it on copies, without rights and within a time."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence

from slimagent.apply.strip.rights import is_only_ours, whom
from slimagent.errors import UnavailableError
from slimagent.paths.algebra import USUAL_PATH

AUTO, NONE = "auto", "none"

_NAME = "strip"
LACKS = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
_SAID = (*(os.strerror(each).lower() for each in LACKS), "memory exhausted", "out of memory")
_SENT = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU, signal.SIGXFSZ)
_BY_SIGNAL = 128  # a shell adds it to the number of the signal that ended its command
_SECONDS, _PER_SECOND = 60.0, 5_000_000  # a run may take so long, and a second more for so many bytes


def find(said: str) -> str | None:
    """The program to strip with, as `--strip` said; None for none.

    `auto` is the agent's own (SLIMAGENT_HOME/bin), without one the first on PATH that nobody but root and us may write.
    Raises UnavailableError for a program that was named and is not there.
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
    if own is not None:
        return own
    folders = [*os.environ.get("PATH", "").split(":"), *map(os.fsdecode, USUAL_PATH)]
    others = (shutil.which(_NAME, path=each) for each in folders if each.startswith("/"))
    return next((each for each in others if each is not None and is_only_ours(each)), None)


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


def run(
    program: str, folder: bytes, names: Sequence[str], size: int, seconds: float = _SECONDS, user: int | None = None
) -> None:
    """Strip the files of these names in `folder`, of `size` bytes together, as `user`. Raises StripFailedError.

    The files and the folder are that user's, who need not be able to reach it by its path. What is left there in the
    end is whatever the program, or a file that it was not up to, has made of it.
    """
    command = [*_loading(program), program, "--strip-unneeded", "--", *names]
    env = {**os.environ, "LC_ALL": "C"}
    for name in ("LD_PRELOAD", "LD_AUDIT"):  # made for the image's programs, not for a bundle's
        env.pop(name, None)
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **whom(user),
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
