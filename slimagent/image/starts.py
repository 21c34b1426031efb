"""Start an image as it is configured: watched by the agent, or unwatched, exactly as `docker run` does."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from slimagent.errors import SlimagentError, UnavailableError
from slimagent.image.agent_error import ERROR, raise_error
from slimagent.image.engine import Engine, EngineRefusedError
from slimagent.image.shared import Shared
from slimagent.image.work import OUT, Task, Work
from slimagent.model import started
from slimagent.model.result import CheckResult
from slimagent.model.started import Reached, Until

DIARY = "started.jsonl"
_LOOK_EVERY = 0.2  # seconds
_GRACE = 5  # seconds from the stop signal to SIGKILL
_MORE = 60.0  # seconds that the agent gets beyond its own limit to report its result
_TAIL = 1 << 20  # bytes: more than is written between two looks
_LOG = 8 << 20  # bytes
_NOT_STARTED = 127
_RUNS = 2.0  # seconds that a container must run to count as running


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What to wait for in a start, and for how many `seconds`; only `settle` seconds if there is nothing else."""

    until: str = "auto"
    seconds: float = 60.0
    settle: float = 5.0

    def options(self) -> tuple[str, ...]:
        """The options of `slimagent start` for it."""
        return ("--until", self.until, "--seconds", f"{self.seconds:g}", "--settle", f"{self.settle:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A watched start: its diary, and its output in `said`. `stops` is as in `Reached`.

    `status` is the exit status of a container that ended by itself, or None if it had to be stopped.
    """

    diary: bytes
    said: bytes
    stops: bool
    status: int | None


def watched(
    work: Work, image: str, files: Mapping[str, bytes], config: str, waiting: Waiting, cap_add: tuple[str, ...]
) -> Watched:
    """Start an image under the agent, which gets `files`. `config` names the one that has the image's description.

    Raises the error that the agent recorded if it could not do its work.
    """
    shared = work.share("start")
    for each, data in files.items():
        shared.give(each, data)
    arguments = ("start", "--image-config", f"{OUT}/{config}", "-o", f"{OUT}/{DIARY}", *waiting.options())
    name = work.create(Task(shared=shared, image=image, arguments=arguments, cap_add=cap_add))
    work.engine.start(name)
    ended = await_reached(work.engine, name, shared, waiting)
    stops = _stops(shared)
    status = _stop(work, name, _GRACE if stops else 0)
    said = work.engine.logs(name, _LOG)
    work.engine.remove_container(name)
    raise_error(shared, image, "start", 0)  # any other status is the image's own
    return Watched(diary=started.whole(shared.read(DIARY), status), said=said, stops=stops, status=ended)


def await_reached(engine: Engine, name: str, shared: Shared, waiting: Waiting) -> int | None:
    """Wait until the agent in a container has recorded what its start reached or why it failed, or the container ends.

    The container goes on when its agent fails: the image's own program is its first process.
    Returns the exit status of a container that ended by itself, None if it still runs.
    """
    deadline, ended = time.monotonic() + waiting.seconds + _MORE, None
    while ended is None and not _is_told(shared) and time.monotonic() < deadline:
        ended = engine.wait(name, _LOOK_EVERY)
    return ended


def _stops(shared: Shared) -> bool:
    """Whether the watched process has a handler for its stop signal, so that waiting makes sense."""
    try:
        state = started.decode(shared.read(DIARY), DIARY).reached
    except SlimagentError:
        return True
    return state is None or state.stops


def _stop(work: Work, name: str, grace: int) -> int:
    """Stop a container with the image's stop signal if it still runs. Returns its exit status."""
    with contextlib.suppress(EngineRefusedError):  # it has ended in the meantime
        work.engine.stop(name, seconds=grace)
    return int(work.engine.inspect_container(name)["State"]["ExitCode"])


def _is_told(shared: Shared) -> bool:
    return _has_reached(shared.at(DIARY)) or shared.has(ERROR)


def _has_reached(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        size = os.fstat(descriptor).st_size
        return started.has_reached(os.pread(descriptor, _TAIL, max(0, size - _TAIL)))
    except OSError:
        return False
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """An unwatched start: the state it reached (None if it ended by itself), its exit status, and its output."""

    reached: Reached | None
    status: int
    said: bytes

    def result(self, until: Until, before: CheckResult | None = None) -> CheckResult:
        """The result of a step that waited for `until`. `before` is the result of the original image."""
        return started.outcome(self.reached, until, self.status, before)


def plain(work: Work, image: str, until: Until, ports: tuple[int, ...], waiting: Waiting, *, stops: bool) -> Plain:
    """Start an image unwatched, exactly as `docker run` does. `stops` says if it has a handler for its stop signal."""
    run_options = ("--health-interval=1s",) if until is Until.HEALTHY and work.engine.name == "docker" else ()
    name = work.create_as_configured(image, run_options)
    try:
        work.engine.start(name)
    except EngineRefusedError as error:  # e.g. its program does not exist
        work.engine.remove_container(name)
        return Plain(reached=None, status=_NOT_STARTED, said=error.words.encode())
    state = _Follow(work, name, image, until, ports, waiting).state()
    status = _stop(work, name, _GRACE if stops else 0)
    said = work.engine.logs(name, _LOG)
    work.engine.remove_container(name)
    return Plain(reached=state, status=status, said=said)


class _Follow:
    """A running container, and what we wait for."""

    def __init__(
        self, work: Work, name: str, image: str, until: Until, ports: tuple[int, ...], waiting: Waiting
    ) -> None:
        self._work, self._name, self._image = work, name, image
        self._until, self._ports, self._waiting = until, ports, waiting
        self._began = time.monotonic()

    def state(self) -> Reached | None:
        """The state that it reached. None if it ended by itself."""
        came, answering = self._wait()
        if self._ends_within(max(self._began + _RUNS - time.monotonic(), 0.0)):
            return None
        ports = tuple((port, port in answering) for port in self._ports)
        return Reached(what=came, seconds=time.monotonic() - self._began, ports=ports)

    def _wait(self) -> tuple[Until, frozenset[int]]:
        """Wait, and return what came (TIME if nothing else did) and which ports answer.

        Returns early if the container ends.
        """
        limit = self._waiting.seconds
        if self._until is Until.PORT:
            answering = self._answering(limit)
            return (Until.PORT if answering else Until.TIME), answering
        deadline = self._began + (self._waiting.settle if self._until is Until.TIME else limit)
        while time.monotonic() < deadline:
            if self._until is Until.HEALTHY and self._work.engine.is_healthy(self._name):
                return Until.HEALTHY, self._answering(_RUNS)
            if self._ends_within(_LOOK_EVERY):
                break
        return Until.TIME, self._answering(_RUNS)

    def _ends_within(self, seconds: float) -> bool:
        return self._work.engine.wait(self._name, seconds) is not None

    def _answering(self, seconds: float) -> frozenset[int]:
        """Ask from a second container in the same network, because the host may not reach the ports."""
        if not self._ports:
            return frozenset()
        arguments = ("ports", "--seconds", f"{seconds:g}", *map(str, self._ports))
        try:
            told = self._work.beside(self._name, self._image, arguments)
        except UnavailableError:  # it has ended, and its network is gone
            return frozenset()
        words = set(told.split())
        return frozenset(port for port in self._ports if b"%d" % port in words)
