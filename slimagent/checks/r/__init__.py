"""Kind `r-packages`: loads, attaches and uses every package of every R library, each in a process of its own.

Parameters: `R` (a program; default the PATH's R, else Rscript), `packages` (only these; a missing one fails), `skip`
(packages left out), `seconds_each` (default 60).

An item has the name of the package; a copy in a library where library() does not look first is `PACKAGE (LIBRARY)`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from slimagent.checks import parameters
from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.driver import listen, shown
from slimagent.checks.finding import LEFT_OUT, Finding, all_skipped, failed, judged, of_items, skipped
from slimagent.checks.output import Output
from slimagent.checks.processes import started, wait
from slimagent.linux.command import ending
from slimagent.linux.files import read
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Item

PARAMETERS: dict[str, type] = {"R": str, "packages": tuple, "skip": tuple, "seconds_each": float}
_SECONDS_EACH = 60.0
_LARGEST_LOG = 16 << 20  # a package that writes without end must not fill the disk
_DRIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "packages_driver.R")
# An argument of -e may have 10,000 characters at most (R's src/unix/system.c), a variable 128 KiB (execve(2)). Below
# the global environment every attached package lies, whose functions would take the place of R's own in the driver.
_START = 'eval(parse(text = Sys.getenv("SLIMAGENT_R_DRIVER")), new.env(parent = baseenv()))'
# Not --vanilla: the site's profile belongs to what is exercised.
_OPTIONS = ("--quiet", "--no-restore", "--no-save", "-e", _START)


@dataclass(slots=True)
class _Work:
    """What the driver has reported so far, and the running packages: name → process and deadline."""

    session: int  # the process id of R
    seconds_each: float
    names: tuple[str, ...] | None = None
    details: dict[str, str] = field(default_factory=dict)  # of the packages that ended; empty: success
    at: dict[str, tuple[int, float]] = field(default_factory=dict)
    hung: set[str] = field(default_factory=set)

    def take(self, value: Mapping[str, Any]) -> bool:
        """Take a message; True if it was the last."""
        name, began, process = value.get("name"), value.get("began"), value.get("process")
        if isinstance(value.get("names"), list):
            self.names = tuple(shown(each) for each in value["names"])
        elif isinstance(began, str) and isinstance(process, int):
            self.at[began] = process, time.monotonic() + self.seconds_each
        elif isinstance(name, str):
            self.at.pop(name, None)
            self.details[name] = self._judge(name, value)
        return value.get("end") is True

    def _judge(self, name: str, value: Mapping[str, Any]) -> str:
        """What went wrong with a package; empty if nothing."""
        answer, last = shown(value.get("answer")), shown(value.get("last"))
        if answer == "ok":
            return ""
        if not answer:
            answer = f"no end after {self.seconds_each:g} s" if name in self.hung else _how(value.get("status"))
        return f"{answer} ({last})" if last and last not in answer else answer

    def end_hanging(self) -> bool:
        """Kill what has reached its limit; True if anything had. The driver will report the end."""
        killed = False
        for name, (process, late) in self.at.items():
            if time.monotonic() > late and self._is_ours(process):
                self.hung.add(name)
                killed = True
                for kill in (os.killpg, os.kill):  # a worker leads a group, from its first moments on
                    with contextlib.suppress(OSError):
                        kill(process, signal.SIGKILL)
        return killed

    def _is_ours(self, process: int) -> bool:
        """Whether R started it. The number comes from a program of the image, and we may be root."""
        try:
            return any(parent.pid == self.session for parent in psutil.Process(process).parents())
        except (psutil.Error, ValueError, OverflowError):
            return False


def run(spec: CheckSpec, context: Context) -> Finding:
    """One item per package. Its detail distinguishes a hang, a fatal signal, an exit and an R error."""
    given = parameters.string(spec, "R")
    path = context.env.get("PATH", os.defpath)
    names = (given,) if given else ("R", "Rscript")
    program = next((found for found in (shutil.which(name, path=path) for name in names) if found), None)
    if program is None:
        return skipped(f"{given or 'R'} is not on PATH")
    deadline = time.monotonic() + spec.seconds
    with temporary_directory(context.user) as directory, Output() as output:
        env = {**context.env, "TMPDIR": directory, **_variables(spec, context.jobs)}
        argv = (program, *_OPTIONS)
        with started(context, argv, env=env, cwd=directory, stdout=subprocess.PIPE, stderr=output) as process:
            work = _Work(process.pid, parameters.number(spec, "seconds_each", _SECONDS_EACH))

            def look() -> None:
                output.limit()
                if not work.end_hanging():  # otherwise the driver is about to read the log
                    _limit_logs(directory)

            in_time = listen(process.stdout, deadline, work.take, look)
            returncode = wait(process, 5.0) if in_time else None
            log = output.last_lines()
    if work.names is None:
        why = f"no end after {spec.seconds:g} s" if returncode is None else ending(returncode)
        return failed(f"{program} could not list its packages: {why}\n{log}".rstrip())
    if not work.names:
        return skipped(f"{program} has no packages to exercise")
    return of_items(_items(work, spec, in_time))


def _variables(spec: CheckSpec, jobs: int) -> dict[str, str]:
    """The input of the driver."""
    return {
        "SLIMAGENT_R_DRIVER": read(_DRIVER).decode("ascii"),
        "SLIMAGENT_R_LANES": str(jobs),
        "SLIMAGENT_R_SKIP": _lines(spec, "skip"),
        "SLIMAGENT_R_ONLY": _lines(spec, "packages"),
    }


def _lines(spec: CheckSpec, name: str) -> str:
    # Neither a variable nor the name of a package can have a NUL.
    return "\n".join(parameters.strings(spec, name)).replace("\0", "?")


def _items(work: _Work, spec: CheckSpec, in_time: bool) -> list[Item]:
    """An item per package, in the driver's order; one that it did not reach has failed."""
    lost = "R ended before" if in_time else f"not reached in {spec.seconds:g} s"
    found = [judged(name, work.details.get(name, lost)) for name in work.names or ()]
    return [*found, *all_skipped(parameters.strings(spec, "skip"), LEFT_OUT)]


def _how(status: object) -> str:
    """How a process without an answer ended, from its wait status."""
    if isinstance(status, int) and 0 <= status < 1 << 16:
        with contextlib.suppress(ValueError):  # it says stopped, not ended
            return ending(os.waitstatus_to_exitcode(status))
    return "ended without an answer"


def _limit_logs(directory: str) -> None:
    """Truncate the log of a package's process if it is too large. The directory is the user's: no link is followed."""
    for name in os.listdir(directory):
        with contextlib.suppress(OSError):
            place = os.open(os.path.join(directory, name), os.O_DIRECTORY | os.O_NOFOLLOW | os.O_RDONLY)
            try:
                log = os.open("log", os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
                try:
                    status = os.fstat(log)
                    if stat.S_ISREG(status.st_mode) and status.st_size > _LARGEST_LOG:
                        os.ftruncate(log, 0)
                finally:
                    os.close(log)
            finally:
                os.close(place)
