"""The record of a container's start, which its watcher writes while it happens. Pure.

The image's own process is the container's first: when it ends, everything in the container ends (pid_namespaces(7)).
So the watcher writes one JSON value per line as it goes. It may be killed at any line: a file without a "reached" line
is of a container that ended by itself.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from slimagent.errors import DocumentError
from slimagent.model.image_config import ImageConfig
from slimagent.model.result import CheckResult, Item, Outcome
from slimagent.model.trace import BlindSpot, How, Loss, LossKind, summed
from slimagent.paths.algebra import from_text, normalise, to_text
from slimagent.text.escapes import quoted
from slimagent.text.json_input import parsed
from slimagent.text.shape import whole as whole_number

SCHEMA, VERSION = "slimagent/started", 1
START_STEP, HEALTH_STEP = "start", "health check"
STEPS = (START_STEP, HEALTH_STEP)
KIND = "start"  # of both steps
UNSEEN = "what it needs was not seen"
_OVER = "the image ended by itself"
_ALL_USES = sum(How)
_STATUS, RUNNING, HEALTHY = "exit status", "still running", "healthy"  # names of items
_HINT = "another version of slimagent wrote it, or it was edited; start the image again"


class Until(str, enum.Enum):
    """What a start waits for. It always ends when the image's process ends."""

    HEALTHY = "healthy"  # its health check passes
    PORT = "port"  # an exposed port answers
    EXIT = "exit"
    TIME = "time"  # some seconds have passed


def best_sign(*, health_check: bool, port: bool) -> Until:
    """The best sign that an image is up: its health check, else an exposed port, else that it keeps running."""
    if health_check:
        return Until.HEALTHY
    return Until.PORT if port else Until.TIME


def awaited(until: str, config: ImageConfig) -> Until:
    """What to wait for in a start of an image. `until` is the name of a sign, or `auto` for the best one."""
    if until != "auto":
        return Until(until)
    return best_sign(health_check=bool(config.health_command), port=bool(config.tcp_ports))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What a start had reached when it was ended from outside.

    `what` is the sign that was waited for if it came, else TIME. `ports` are the exposed ports, each with whether it
    answered. `seconds` count from the start. `stops`: whether the process has a handler for the stop signal; the first
    process of a container ignores signals without a handler (pid_namespaces(7)).
    """

    what: Until
    seconds: float
    ports: tuple[tuple[int, bool], ...] = ()
    stops: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One start. `reached` None: the container ended by itself. `health` None: there is no health check, or no time.

    The steps of `accesses` are indices into STEPS. `unwatched` says why nothing was watched, empty if it was. `status`
    is the exit status of the container, None if it was not recorded.
    """

    waited_for: Until
    backend: str = ""
    blind_spots: tuple[BlindSpot, ...] = ()
    no_new_privileges: bool = False
    unwatched: str = ""
    accesses: dict[bytes, tuple[How, tuple[int, ...]]] = field(default_factory=dict)
    losses: tuple[Loss, ...] = ()
    reached: Reached | None = None
    health: tuple[Outcome, str] | None = None
    status: int | None = None


def head(started: Started) -> list[object]:
    """The first row: how the start is watched. The other fields get their own rows."""
    return [
        "head", SCHEMA, VERSION, started.waited_for.value, started.backend,
        [spot.value for spot in started.blind_spots], started.no_new_privileges, started.unwatched,
    ]  # fmt: skip


def health(outcome: Outcome, detail: str) -> list[object]:
    """The row of a health check; the last one counts."""
    return ["health", outcome.value, detail]


def reached(state: Reached) -> list[object]:
    """The row of what a start reached."""
    return ["reached", state.what.value, round(state.seconds, 3), [list(port) for port in state.ports], state.stops]


def ended(status: int) -> list[object]:
    """The row of a container's end, its exit status. It can only be written from outside."""
    return ["ended", status]


def whole(diary: bytes, status: int) -> bytes:
    """Complete a container's record with its exit status. Leaves out a last line that its end cut off."""
    return diary[: diary.rfind(b"\n") + 1] + line(ended(status))


def line(row: list[object]) -> bytes:
    """A row as a line. Paths are bytes, written as `paths.to_text` does."""
    return orjson.dumps([to_text(each) if isinstance(each, bytes) else each for each in row]) + b"\n"


def rows(seen: Started) -> Iterator[list[object]]:
    """The rows of what a start needed, and of how it was watched."""
    yield head(seen)
    for path, (how, steps) in sorted(seen.accesses.items()):
        yield from (["access", step, int(how), path] for step in steps)
    yield from (["loss", loss.kind.value, loss.count, loss.example] for loss in seen.losses)


def united(starts: Iterable[Started]) -> Started:
    """What several containers needed together, as one start whose end nobody waited for."""
    whole = Started(waited_for=Until.EXIT)
    uses: dict[bytes, int] = {}
    losses: list[Loss] = []
    for each in starts:
        whole = replace(
            whole,
            backend=whole.backend or each.backend,
            blind_spots=tuple(dict.fromkeys((*whole.blind_spots, *each.blind_spots))),
            no_new_privileges=whole.no_new_privileges or each.no_new_privileges,
            unwatched=whole.unwatched or each.unwatched,
        )
        for path, (how, _) in each.accesses.items():
            uses[path] = uses.get(path, 0) | how
        losses += each.losses
    accesses: dict[bytes, tuple[How, tuple[int, ...]]] = {path: (How(how), (0,)) for path, how in uses.items()}
    return replace(whole, accesses=accesses, losses=summed(losses))


def has_reached(lines: bytes) -> bool:
    """Whether these lines, which may be the end of a file, have a "reached" row."""
    return lines.startswith(b'["reached"') or b'\n["reached"' in lines


def decode(data: bytes, document: str) -> Started:
    """Read the record of a start. Leaves out an incomplete last line: the container's end cut it off.

    Raises DocumentError.
    """
    *lines, _ = data.split(b"\n")
    reader: _Reader | None = None
    for number, text in enumerate(lines, 1):
        try:
            kind, *cells = parsed(text)
            if reader is None:
                reader = _Reader(kind, cells)
            else:
                reader.take(kind, cells)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise DocumentError(f"{document}, line {number}: cannot be understood ({error})", _HINT) from None
    if reader is None:
        raise DocumentError(f"{document}: the start was not recorded", _HINT)
    return reader.result()


class _Reader:
    def __init__(self, kind: Any, cells: list[Any]) -> None:
        schema, version, waited_for, backend, spots, no_new_privileges, unwatched = cells
        if (kind, schema, version) != ("head", SCHEMA, VERSION):
            raise ValueError(f"not version {VERSION} of {SCHEMA}")
        self._head = Started(
            waited_for=Until(waited_for),
            backend=str(backend),
            blind_spots=tuple(map(BlindSpot, spots)),
            no_new_privileges=bool(no_new_privileges),
            unwatched=str(unwatched),
        )
        self._uses: dict[bytes, tuple[int, set[int]]] = {}
        self._losses: dict[str, Loss] = {}
        self._reached: Reached | None = None
        self._health: tuple[Outcome, str] | None = None
        self._status: int | None = None

    def take(self, kind: Any, cells: list[Any]) -> None:
        if kind == "access":
            step, how, text = cells
            path = normalise(from_text(text))
            known, steps = self._uses.get(path, (0, set()))
            if type(step) is not int or not 0 <= step < len(STEPS) or type(how) is not int or not 0 < how <= _ALL_USES:
                raise ValueError(f"step {step}, use {how}")
            if not path.startswith(b"/"):
                raise ValueError(f"not an absolute path: {quoted(text)}")
            self._uses[path] = known | how, {*steps, step}
        elif kind == "loss":
            name, count, example = cells
            self._losses[str(name)] = Loss(kind=LossKind(str(name)), count=whole_number(count), example=str(example))
        elif kind == "health":
            outcome, detail = cells
            self._health = Outcome(outcome), str(detail)
        elif kind == "reached":
            what, seconds, ports, stops = cells
            answers = tuple((int(port), bool(answered)) for port, answered in ports)
            self._reached = Reached(what=Until(what), seconds=float(seconds), ports=answers, stops=bool(stops))
        elif kind == "ended":
            (status,) = cells
            self._status = int(status)
        else:
            raise ValueError(f"no such row: {quoted(kind)}")

    def result(self) -> Started:
        return replace(
            self._head,
            accesses={path: (How(how), tuple(sorted(steps))) for path, (how, steps) in self._uses.items()},
            losses=tuple(self._losses[kind] for kind in sorted(self._losses)),
            reached=self._reached,
            health=self._health,
            status=self._status,
        )


def steps(started: Started, status: int, before: CheckResult | None = None) -> tuple[CheckResult, ...]:
    """The results of a start's steps: the start itself, and the health check if the image has one.

    `status` is the exit status of a container that ended by itself. `before` is the original image's start: if that
    ended by itself, this one must end with the same status.
    """
    start = outcome(started.reached, started.waited_for, status, before)
    if started.unwatched:
        start = replace(start, detail=f"{start.detail}; {UNSEEN}: {started.unwatched}")
    results = [start]
    if started.health is not None:
        # If a container ended by itself, it is chance whether a check ran before its end, or was cut off by it.
        how, detail = (Outcome.SKIPPED, _OVER) if started.reached is None else started.health
        results.append(CheckResult(name=HEALTH_STEP, kind=KIND, outcome=how, seconds=0.0, detail=detail))
    return tuple(results)


def outcome(state: Reached | None, waited_for: Until, status: int, before: CheckResult | None = None) -> CheckResult:
    """What a start reached, as the result of a step. The arguments are as in `steps`."""
    if state is None:
        return _ended(status, before)
    came = state.what is waited_for
    items = [Item(name=RUNNING, outcome=Outcome.PASSED)]
    items += [Item(name=f"port {port}", outcome=_passed(answered)) for port, answered in state.ports]
    if waited_for is Until.HEALTHY:
        items.append(Item(name=HEALTHY, outcome=_passed(came)))
    return CheckResult(
        name=START_STEP,
        kind=KIND,
        outcome=_passed(came),
        seconds=state.seconds,
        detail=_words(state, waited_for),
        items=tuple(items),
    )


def _ended(status: int, before: CheckResult | None) -> CheckResult:
    known = status if before is None or before.status is None else before.status
    detail = f"exit status {status}" if known == status else f"exit status {status}, before {known}"
    item = Item(name=_STATUS, outcome=_passed(known == status), detail=detail)
    return CheckResult(
        name=START_STEP,
        kind=KIND,
        outcome=_passed(status == 0),
        seconds=0.0,
        detail=detail,
        status=status,
        items=(item,),
    )


def _words(state: Reached, waited_for: Until) -> str:
    after = f"after {state.seconds:.1f} s"
    if state.what is Until.HEALTHY:
        return f"healthy {after}"
    answering = [str(port) for port, answered in state.ports if answered]
    if answering:
        return f"port {', '.join(answering)} answers {after}"
    if waited_for is Until.HEALTHY:
        return f"still running and not healthy {after}"
    if waited_for is Until.PORT:
        return f"still running {after}, and no exposed port answers"
    return f"still running {after}"


def _passed(well: bool) -> Outcome:
    return Outcome.PASSED if well else Outcome.FAILED
