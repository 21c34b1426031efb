"""Kind `r-packages`: every package of every library of R, loaded, attached and touched in a process of its own.

Parameters: `R` (a program; default the PATH's R, else Rscript), `packages` (these alone; one that is nowhere fails),
`skip` (packages left out), `seconds_each` (default 60).

An item is named by the package; a copy in a library where library() does not look first as `PACKAGE (LIBRARY)`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from slimagent.checks.context import Context
from slimagent.checks.directory import temporary_directory
from slimagent.checks.driver import listen, shown
from slimagent.checks.finding import Finding, failed, of_items, skipped
from slimagent.checks.output import Output
from slimagent.checks.processes import started, wait
from slimagent.linux.command import ending
from slimagent.linux.files import read
from slimagent.model.profile import CheckSpec, Parameter
from slimagent.model.result import Item, Outcome

PARAMETERS: dict[str, type] = {"R": str, "packages": tuple, "skip": tuple, "seconds_each": float}
_SECONDS_EACH = 60.0
_MOST_PARALLEL = 2
_LARGEST_LOG = 16 << 20  # a package that writes without end must not fill the disk
_DRIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "packages_driver.R")
# An argument of -e may have 10,000 characters at most (R's src/unix/system.c), a variable 128 KiB (execve(2)). Below
# the global environment every attached package lies, whose functions would take the place of R's own in the driver.
_START = 'eval(parse(text = Sys.getenv("SLIMAGENT_R_DRIVER")), new.env(parent = baseenv()))'
# Not --vanilla: the site's profile belongs to what is exercised.
_OPTIONS = ("--quiet", "--no-restore", "--no-save", "-e", _START)


@dataclass(slots=True)
class _Work:
    """What the driver said so far, and the packages that it is at: name → process and time when it is too late."""

    session: int  # the process id of R
    seconds_each: float
    names: tuple[str, ...] | None = None
    details: dict[str, str] = field(default_factory=dict)  # of the packages that ended; empty: it went well
    at: dict[str, tuple[int, float]] = field(default_factory=dict)
    hung: set[str] = field(default_factory=set)

    def take(self, value: Mapping[str, Any]) -> bool:
        """One message of it; whether it was the last."""
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
        """What went wrong with a package; empty if nothing did."""
        answer, last = shown(value.get("answer")), shown(value.get("last"))
        if answer == "ok":
            return ""
        if not answer:
            answer = f"no end after {self.seconds_each:g} s" if name in self.hung else _how(value.get("status"))
        return f"{answer} ({last})" if last and last not in answer else answer

    def end_hanging(self) -> bool:
        """Kill what is at its limit; whether anything was. The driver will tell that it ended."""
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
        """Whether R started it: the number comes from a program of the image, and we may be root."""
        try:
            return any(parent.pid == self.session for parent in psutil.Process(process).parents())
        except (psutil.Error, ValueError, OverflowError):
            return False


def run(spec: CheckSpec, context: Context) -> Finding:
    """One item per package. A hang, a fatal signal, an exit and R's error are told apart in an item's detail."""
    program = _program(spec, context)
    if program is None:
        return skipped(f"{spec.parameters.get('R', 'R')} is not on PATH")
    deadline = time.monotonic() + spec.seconds
    with temporary_directory(context.user) as directory, Output() as output:
        env = {**context.env, "TMPDIR": directory, **_variables(spec.parameters)}
        argv = (program, *_OPTIONS)
        with started(context, argv, env=env, cwd=directory, stdout=subprocess.PIPE, stderr=output) as process:
            work = _Work(process.pid, _seconds_each(spec.parameters))

            def look() -> None:
                output.limit()
                if not work.end_hanging():  # else the driver is about to read what was written
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


def _program(spec: CheckSpec, context: Context) -> str | None:
    path = context.env.get("PATH", os.defpath)
    given = spec.parameters.get("R")
    names = (str(given),) if given is not None else ("R", "Rscript")
    return next((found for found in (shutil.which(name, path=path) for name in names) if found), None)


def _variables(parameters: Mapping[str, Parameter]) -> dict[str, str]:
    """What the driver is told."""
    return {
        "SLIMAGENT_R_DRIVER": read(_DRIVER).decode("ascii"),
        "SLIMAGENT_R_LANES": str(min(_MOST_PARALLEL, os.cpu_count() or 1)),
        "SLIMAGENT_R_SKIP": _lines(parameters.get("skip")),
        "SLIMAGENT_R_ONLY": _lines(parameters.get("packages")),
    }


def _lines(value: Parameter | None) -> str:
    return "\n".join(_strings(value)).replace("\0", "?")  # a variable cannot hold it, nor a package's name


def _strings(value: Parameter | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _seconds_each(parameters: Mapping[str, Parameter]) -> float:
    value = parameters.get("seconds_each", _SECONDS_EACH)
    return float(value) if isinstance(value, (int, float)) else _SECONDS_EACH


def _items(work: _Work, spec: CheckSpec, in_time: bool) -> Iterator[Item]:
    """An item per package, in the driver's order; one that it did not come to has failed."""
    lost = "R ended before" if in_time else f"not reached in {spec.seconds:g} s"
    for name in work.names or ():
        detail = work.details.get(name, lost)
        yield Item(name=name, outcome=Outcome.FAILED if detail else Outcome.PASSED, detail=detail)
    for name in _strings(spec.parameters.get("skip")):
        yield Item(name=name, outcome=Outcome.SKIPPED, detail="left out by the profile")


def _how(status: object) -> str:
    """How a process ended that left no answer, from its wait status."""
    if isinstance(status, int) and 0 <= status < 1 << 16:
        with contextlib.suppress(ValueError):  # it says stopped, not ended
            return ending(os.waitstatus_to_exitcode(status))
    return "left without a word"


def _limit_logs(directory: str) -> None:
    """Empty what a package's process wrote, if it became too much. The directory is the user's: no link is followed."""
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
