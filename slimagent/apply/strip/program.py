"""Find a program that strips files, and run it on copies, without rights and with a time limit."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence

from slimagent.apply.strip.rights import is_only_ours, user_options
from slimagent.errors import UnavailableError
from slimagent.paths.algebra import USUAL_PATH

AUTO, NONE = "auto", "none"

_NAME = "strip"
LACKS = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
_SAID = (*(os.strerror(each).lower() for each in LACKS), "memory exhausted", "out of memory")
_SENT = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU, signal.SIGXFSZ)
_BY_SIGNAL = 128  # a shell adds it to the number of the signal that ended its command
_PER_SECOND = 5_000_000  # bytes: a run may take a second more for so many


def find(said: str) -> str | None:
    """The program to strip with, for the value of `--strip`; None for none.

    `auto` is the agent's own (SLIMAGENT_HOME/bin), or else the first on PATH that only root and we may write.
    Raises UnavailableError if the named program does not exist.
    """
    if said == NONE:
        return None
    if said != AUTO:
        found = shutil.which(said)
        if found is None:
            raise UnavailableError(f"cannot strip: program {said} not found", "use --strip auto or --strip none")
        return os.path.abspath(found)
    home = os.environ.get("SLIMAGENT_HOME")
    own = shutil.which(_NAME, path=os.path.join(home, "bin")) if home else None
    if own is not None:
        return own
    return next(filter(is_only_ours, on_path(_NAME)), None)


def on_path(name: str) -> Iterator[str]:
    """Every program of that name in PATH and the usual directories, in order."""
    directories = dict.fromkeys([*os.environ.get("PATH", "").split(":"), *map(os.fsdecode, USUAL_PATH)])
    found = (shutil.which(name, path=each) for each in directories if each.startswith("/"))
    return filter(None, found)


class Passing(str):
    """A reason that may be gone next time: no space, memory, descriptors or processes left, or a signal.

    A plain `str` is a reason that lies in the file.
    """

    __slots__ = ()


class StripFailedError(Exception):
    """The program failed: why, and whether it hung."""

    def __init__(self, why: str, *, hung: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.hung = hung


def _loading(program: str) -> tuple[str, ...]:
    """What starts a program of a bundle, which has only the libraries that we run on (see image/agent.py)."""
    loader = os.readlink("/proc/self/exe")
    libraries = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(program))), "lib")
    ours = bool(os.environ.get("SLIMAGENT_HOME")) and os.path.dirname(loader) == libraries
    return (loader, "--inhibit-cache", "--library-path", libraries) if ours else ()


def run(program: str, directory: bytes, names: Sequence[str], size: int, seconds: float, user: int | None) -> None:
    """Strip the files of these names in `directory`, of `size` bytes together, as `user`. Raises StripFailedError.

    That user owns the files and the directory, but need not be able to reach it by its path. Do not trust what lies
    there afterwards: a file may have made the program do anything.
    """
    command = [*_loading(program), program, "--strip-unneeded", "--", *names]
    env = {**os.environ, "LC_ALL": "C"}
    for name in ("LD_PRELOAD", "LD_AUDIT"):  # meant for the image's programs, not for a bundle's
        env.pop(name, None)
    try:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **user_options(user),
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
    """End the program and what it started. Those may hold its pipe, so it is not read any further."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
