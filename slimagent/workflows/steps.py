"""What exercises an image: the steps to run, and those that were watched elsewhere. And what came of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from slimagent.errors import UsageError
from slimagent.model import hosted, started
from slimagent.model.hosted import Hosted
from slimagent.model.profile import CheckSpec
from slimagent.model.result import CheckResult
from slimagent.model.trace import Attributed, BlindSpot, How, MarkedTest, summed
from slimagent.text.near import meant
from slimagent.trace.watcher import Observed
from slimagent.workflows.step_logs import StepLogs

COMMAND_STEP, ATTACHED_STEP = "command", "attached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What adds to the steps of a command: where their output goes, a start, and tests on the host. See `Steps`.

    `expected` are names of steps without which nothing is to begin.
    """

    logs: StepLogs | None = None
    start: Callable[[], Start] | None = None
    hosted: Callable[[], Hosted] | None = None
    expected: tuple[str, ...] = ()


def require_names(names: Iterable[str], known: Collection[str]) -> None:
    """Raise UsageError for the name of a step that is not known."""
    for name in names:
        if name not in known:
            hint = meant(name, known) or f"name one of these: {', '.join(sorted(known))}"
            raise UsageError(f"no step is called {name!r}", hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What exercises the image: the profile's checks, then the user's command.

    With `until_signal`, we then watch other processes until we are asked to end. `logs` record the output of the steps'
    commands; without them a command has our own standard streams. `start` returns an earlier start and `hosted` tests
    that ran on the host; they count, too.
    """

    checks: tuple[CheckSpec, ...] = ()
    command: tuple[str, ...] = ()
    until_signal: bool = False
    logs: StepLogs | None = None
    start: Callable[[], Start] | None = None
    hosted: Callable[[], Hosted] | None = None

    def awaited(self) -> Steps:
        """Wait until the start and the tests on the host are over, and return the same steps."""
        start = None if self.start is None else self.start()
        tests = None if self.hosted is None else self.hosted()
        return replace(
            self,
            start=None if start is None else lambda: start,
            hosted=None if tests is None else lambda: tests,
        )

    def only(self, names: Collection[str]) -> Steps:
        """The steps with these names. The start and its health check are one: both run or none."""
        return replace(
            self,
            checks=tuple(spec for spec in self.checks if spec.name in names),
            command=self.command if COMMAND_STEP in names else (),
            start=self.start if any(name in names for name in started.STEPS) else None,
            hosted=self.hosted if hosted.STEP in names else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start of the image, watched in a container of its own, and the exit status of that container."""

    seen: started.Started
    status: int

    def results(self, before: Sequence[CheckResult] = ()) -> tuple[CheckResult, ...]:
        """The start's steps, compared with those of the original image if they are known."""
        known = next((each for each in before if each.name == started.START_STEP), None)
        return started.steps(self.seen, self.status, known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Steps that ran under a watcher: their results, what was observed, and whether we were asked to end.

    `asked_ports` are the TCP ports of this container that something connected to.
    """

    results: tuple[CheckResult, ...]
    observed: Observed
    backend: str
    passed_over: tuple[tuple[str, str], ...]
    blind_spots: tuple[BlindSpot, ...]
    no_new_privileges: bool
    asked_ports: tuple[int, ...]
    status: int
    interrupted: bool


def with_earlier(start: Start | Hosted | None, before: Sequence[CheckResult], watched: Watched) -> Watched:
    """Put the steps of what was watched elsewhere first, as if all had been watched together."""
    if start is None:
        return watched
    first = start.results(before)
    last = len(first) - 1  # a health check cut off in its first try has no result: count its uses as the start's
    accesses = {
        path: (how, tuple(sorted({min(step, last) for step in steps})))
        for path, (how, steps) in start.seen.accesses.items()
    }
    attributed = []
    for path, how, steps, by in watched.observed.attributed:
        known, known_steps = accesses.get(path, (How(0), ()))
        attributed.append(Attributed(path, known | how, (*known_steps, *(step + len(first) for step in steps)), by))
    for path, (how, steps) in watched.observed.accesses.items():
        known, known_steps = accesses.get(path, (How(0), ()))
        accesses[path] = known | how, (*known_steps, *(step + len(first) for step in steps))
    observed = replace(
        watched.observed,
        accesses=accesses,
        losses=summed((*start.seen.losses, *watched.observed.losses)),
        tests=tuple(MarkedTest(step + len(first), name) for step, name in watched.observed.tests),
        attributed=tuple(attributed),
    )
    return replace(
        watched,
        results=(*first, *watched.results),
        observed=observed,
        no_new_privileges=watched.no_new_privileges or start.seen.no_new_privileges,
    )
