"""Composition: start the image as configured, in place of the agent, and record how the start goes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slimagent import checks
from slimagent.errors import UsageError
from slimagent.linux import kernel
from slimagent.linux.command import Command
from slimagent.linux.family import spawn
from slimagent.linux.files import explained
from slimagent.model import started
from slimagent.model.image_config import ImageConfig
from slimagent.model.profile import CheckSpec
from slimagent.model.result import Outcome
from slimagent.model.started import HEALTH_STEP, START_STEP, Reached, Started, Until
from slimagent.model.trace import LossKind
from slimagent.trace.diary import Diary
from slimagent.trace.first import hand_over
from slimagent.trace.seccomp.backend import Seccomp, take_filter
from slimagent.workflows.entering import admit
from slimagent.workflows.session import configured_environment, user_named, with_engine_groups

_LOOK_EVERY = 0.1  # seconds
_PROBE_EVERY = 1.0  # seconds between health checks; the image's own interval is for long-running containers
_QUIET = 0.7  # seconds without a new path: then a start counts as over
_SETTLED = 2.0  # seconds that a start takes at least: a health check may pass before anything happens
_GIVEN_UP = 30.0  # seconds without a new path: then we stop waiting
_SIGNAL = re.compile(r"(?:SIG)?([A-Z0-9]+)([+-][0-9]{1,2})?")
_LARGEST = 256 << 20  # bytes of paths that a start may record
_PROBE = 30.0  # seconds, the default timeout of a health check in engines
_STARTS = 1000  # of one container


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How to start an image, and what to wait for: `limit` seconds at most, or `settle` seconds if only for time."""

    config: ImageConfig
    until: Until
    settle: float
    limit: float

    @property
    def cwd(self) -> str:
        """The image's WORKDIR."""
        return self.config.working_dir or "/"

    def health_check(self) -> CheckSpec | None:
        """The image's health check as a check, None if it has none."""
        argv, test = self.config.health_command, self.config.healthcheck
        if test is None or not argv:
            return None
        seconds = test.timeout / 1e9 or _PROBE
        return CheckSpec(kind="command", name=HEALTH_STEP, seconds=seconds, parameters={"argv": argv})


def begin(start: Start, path: str, door: str = "") -> None:
    """Turn this process into the image's own, and watch it from another one until the container ends.

    Writes what it sees and how the start ends to `path`, a new file, line by line (see `started`). With a `door`, other
    processes may come in there (`entering.py`), and a container that starts again gets one more file. Never returns.
    Raises UsageError if the image starts nothing or lacks its configured user, and UnavailableError if `path` cannot
    be created.
    """
    if not start.config.started:
        raise UsageError("the image has neither ENTRYPOINT nor CMD", "there is nothing to start; leave out this step")
    user = with_engine_groups(user_named(start.config.user or None))
    env = configured_environment(user, start.config.env)
    diary = _new_diary(path, again=bool(door))
    start_watch = _Watch(start, diary, checks.Context(spawn=spawn, env=env, user=user, cwd=start.cwd), door)
    command = Command(start.config.started, env=env, cwd=start.cwd, user=user)
    hand_over(command, enter=start_watch.enter, watch=start_watch.begin)
    start_watch.follow()
    while True:  # the container ends with its first process; until then we must answer its calls
        signal.pause()


def _new_diary(path: str, *, again: bool) -> int:
    """Create a new file. With `again`, one with a number if there is one already."""
    for number in range(1, _STARTS if again else 2):
        name = path if number == 1 else f"{path}.{number}"
        try:
            return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except FileExistsError as error:
            failed = error
        except OSError as error:
            raise explained(error, path) from None
    raise explained(failed, path) from None


class _Watch:
    """The agent's half of a start: it watches the image's process, and checks whether it is up."""

    def __init__(self, start: Start, diary: int, context: checks.Context, door: str = "") -> None:
        self._start = start
        self._door = door
        self._diary = diary
        self._context = context
        self._size, self._is_full = 0, False
        self._first: Diary | None = None
        self._known: dict[bytes, int] = {}  # of all processes that came in by the door: what was written of a path
        self._unwatched = Seccomp.unavailable() or ""
        self._watcher = Seccomp(record=self._record)
        self._began = 0.0

    def _record(self) -> Diary:
        diary = Diary(self._write)
        if self._first is None:
            self._first = diary
        return diary

    def _write(self, row: list[object]) -> None:
        if row[0] == "access" and self._door and not self._is_new(*row[2:]):
            return
        if self._size > _LARGEST and row[0] == "access":
            if not self._is_full:  # an image that keeps asking for new names must not fill the disk
                self._is_full = True
                self._write(
                    ["loss", LossKind.TOO_MANY_PATHS, 1, f"after {self._size} bytes of paths, none were recorded"]
                )
            return
        self._size += os.write(self._diary, started.line(row))

    def _is_new(self, how: Any, path: Any) -> bool:
        """Whether this use of a path was not written yet. Each process has a record of its own."""
        known = self._known.get(path, 0)
        self._known[path] = known | how
        return bool(known | how != known)

    def enter(self, theirs: socket.socket) -> None:
        """Take the filter, in the process that becomes the image's."""
        if not self._unwatched:
            take_filter(theirs)

    def begin(self, ours: socket.socket) -> None:
        """Begin to watch, in the agent, before the other process continues."""
        watcher = self._watcher
        self._write(
            started.head(
                Started(
                    waited_for=self._start.until,
                    backend="" if self._unwatched else watcher.name,
                    blind_spots=() if self._unwatched else watcher.blind_spots,
                    no_new_privileges=not self._unwatched and watcher.no_new_privileges,
                    unwatched=self._unwatched,
                )
            )
        )
        self._began = time.monotonic()
        if self._unwatched:
            return
        watcher.__enter__()
        watcher.step(START_STEP)
        watcher.adopt(ours)
        if self._door:  # everybody who comes in belongs to what the container does
            admit(self._door, watcher.adopt)
        else:
            watcher.step(HEALTH_STEP)  # for what is spawned from here on; an adopted process stays in its step
        self._context = replace(self._context, spawn=watcher.spawn)

    def follow(self) -> None:
        """Wait until the start is over, and record what it reached."""
        signs = _Signs(self._start, self._probe)
        silence = _Silence(lambda: 0 if self._first is None else self._first.written)
        while True:
            time.sleep(_LOOK_EVERY)
            spent, silent = time.monotonic() - self._began, silence.seconds()
            signs.look(spent)
            if self._is_over(signs.came, spent, silent):
                self._write(started.reached(self._reached(signs.came or Until.TIME, spent, signs.ports)))
                return

    def _is_over(self, came: Until | None, spent: float, silent: float) -> bool:
        """Whether the start is over after `spent` seconds, the last `silent` of them without a new path."""
        if spent >= self._start.limit:
            return True
        settled = came is not None and spent >= _SETTLED
        if self._unwatched:  # no path is ever seen
            return settled
        given_up = self._start.until is not Until.EXIT and silent >= max(_GIVEN_UP, self._start.settle)
        return given_up or (settled and silent >= _QUIET)

    def _reached(self, what: Until, seconds: float, ports: dict[int, bool]) -> Reached:
        number = signal_number(self._start.config.stop_signal)
        try:
            stops = kernel.catches(1, number)
        except OSError:
            stops = True
        return Reached(what=what, seconds=seconds, ports=tuple(ports.items()), stops=stops)

    def _probe(self, check: CheckSpec) -> Until | None:
        result = checks.run(check, self._context)
        self._write(started.health(result.outcome, result.detail))
        passed = result.outcome is Outcome.PASSED and self._start.until is Until.HEALTHY
        return Until.HEALTHY if passed else None


class _Signs:
    """The signs of a start that were seen. `came` is the one that we wait for; `ports` says which ports answer."""

    def __init__(self, start: Start, probe: Callable[[CheckSpec], Until | None]) -> None:
        self.came: Until | None = None
        self.ports = dict.fromkeys(start.config.tcp_ports, False)
        self._start = start
        self._check = start.health_check()
        self._probe = probe
        self._next_probe = 0.0

    def look(self, spent: float) -> None:
        """Look again, `spent` seconds after the start. A sign that was seen stays, and is not checked again."""
        if self.came is None and self._check is not None and time.monotonic() >= self._next_probe:
            self.came = self._probe(self._check)
            self._next_probe = time.monotonic() + _PROBE_EVERY
        for port in [port for port, answers in self.ports.items() if not answers]:
            self.ports[port] = answering(port)
        if self.came is None and self._start.until is Until.PORT and any(self.ports.values()):
            self.came = Until.PORT
        if self.came is None and self._start.until is Until.TIME and spent >= self._start.settle:
            self.came = Until.TIME


class _Silence:
    """Measures for how long a number has not changed."""

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._last, self._since = -1, time.monotonic()

    def seconds(self) -> float:
        """Look at the number again, and return the seconds since it changed."""
        number, now = self._number(), time.monotonic()
        if number != self._last:
            self._last, self._since = number, now
        return now - self._since


def signal_number(name: str) -> int:
    """The number of the stop signal in an image's configuration, or that of SIGTERM if there is no such signal.

    `name` is a number, or a name in any case, with or without SIG; for a real-time signal e.g. `SIGRTMIN+3`.
    """
    word = _SIGNAL.fullmatch(name.upper())
    known = {each.name: int(each) for each in signal.Signals} | {f"SIG{int(n)}": int(n) for n in signal.valid_signals()}
    number = known.get(f"SIG{word[1]}", 0) + int(word[2] or 0) if word is not None else 0
    return number if number in signal.valid_signals() else int(signal.SIGTERM)


def ask(ports: Sequence[int], seconds: float) -> tuple[int, ...]:
    """Return the TCP ports that answer: as soon as all do, a moment after the first, or after `seconds`."""
    deadline = time.monotonic() + seconds
    found: tuple[int, ...] = ()
    while True:
        before, found = found, tuple(port for port in ports if answering(port))
        if found and not before:
            deadline = min(deadline, time.monotonic() + _SETTLED)
        if len(found) == len(ports) or time.monotonic() >= deadline:
            return found
        time.sleep(_LOOK_EVERY)


def answering(port: int) -> bool:
    """Whether something in this container accepts connections at a TCP port, on any of its own addresses."""
    for address in dict.fromkeys(("127.0.0.1", "::1", *_own_addresses())):
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1.0):
            return True
    return False


def _own_addresses() -> list[str]:
    with contextlib.suppress(OSError):
        return [str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)]
    return []
