"""Exercise the image: a profile's checks, then the user's command. Each is a step under a watcher."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from slimagent import checks
from slimagent.errors import UnavailableError, UsageError
from slimagent.linux.command import Command
from slimagent.linux.family import Family
from slimagent.linux.ports import AskedPorts
from slimagent.linux.signals import foreground
from slimagent.model.profile import CheckSpec
from slimagent.model.result import CheckResult, Outcome
from slimagent.trace.select import choose
from slimagent.trace.watcher import Lane, Mask, Watcher
from slimagent.workflows.marking import marking
from slimagent.workflows.session import Session, environment, user_named
from slimagent.workflows.side_by_side import Job, run
from slimagent.workflows.step_logs import StepLogs
from slimagent.workflows.steps import ATTACHED_STEP, COMMAND_STEP, Steps, Watched, with_earlier

if TYPE_CHECKING:
    import subprocess


class Reporter(Protocol):
    """Shows the progress of a long use case."""

    def waiting(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Show that something runs until the block ends, without numbers."""

    def phase(self, name: str, unit: str = "") -> contextlib.AbstractContextManager[Callable[[int], None]]:
        """Begin a phase. Call the yielded function with the number of `unit`s done; without a unit, none are shown."""

    def watching(self) -> None:
        """Say that other processes are recorded from now on, until we are asked to end."""

    def result(self, result: CheckResult, before: CheckResult | None = None) -> None:
        """Show how a check ended. `before` is its result on the original image, if known."""


def check(
    spec: CheckSpec,
    session: Session,
    lane: Lane,
    jobs: int = 1,
    *,
    before: Sequence[CheckResult] = (),
    logs: StepLogs | None = None,
) -> CheckResult:
    """Run one check as its own user or the session's. `before`: the results on the original image, if known.

    The `lane` starts its processes, and is told which item is exercised. `jobs` is how many items may run at a time.
    The check is skipped if we cannot become its user: only root can.
    """
    user, env = session.user, session.env
    if spec.user:
        try:
            user = user_named(spec.user)
        except UnavailableError as error:
            return CheckResult(
                name=spec.name, kind=spec.kind, outcome=Outcome.SKIPPED, seconds=0.0, detail=error.message
            )
        env = environment(user)
    if spec.kind == "command":
        env = marking(env, asked=session.by_test)
    context = checks.Context(
        spawn=lane.spawn,
        test=lane.test,
        env=env,
        user=user,
        cwd=session.cwd,
        before=earlier(spec, before),
        log="" if logs is None else logs.path(spec.name),
        jobs=jobs,
    )
    result = checks.run(spec, context)
    lane.test("")
    return result


def earlier(spec: CheckSpec, before: Sequence[CheckResult]) -> CheckResult | None:
    """The result of the same check on the original image."""
    return next((each for each in before if (each.name, each.kind) == (spec.name, spec.kind)), None)


def checklist(
    session: Session, specs: Sequence[CheckSpec], before: Sequence[CheckResult], reporter: Reporter
) -> tuple[CheckResult, ...]:
    """Run checks without a watcher, and show what we wait for. `before` is as in `check`."""
    with Family() as family:
        results = _run_unwatched(family, session, Steps(checks=tuple(specs)), before, reporter, reporter.waiting)
        family.stop()
    return results


def unwatched(
    session: Session, steps: Steps, before: Sequence[CheckResult], reporter: Reporter
) -> tuple[CheckResult, ...]:
    """Run the checks and the command without a watcher, as the image's users do. `before` is as in `check`."""
    with Family() as family:
        results = _run_unwatched(family, session, steps, before, reporter, _silently)
        if steps.command:
            results = (*results, _command_alone(family, session, steps))
        family.stop()
    return results


def _run_unwatched(
    family: Family,
    session: Session,
    steps: Steps,
    before: Sequence[CheckResult],
    reporter: Reporter,
    waiting: Callable[[str], contextlib.AbstractContextManager[None]],
) -> tuple[CheckResult, ...]:
    def begin(spec: CheckSpec, *, beside: bool) -> Job:
        return partial(check, spec, session, _Unwatched(family), before=before, logs=steps.logs)

    def ended(spec: CheckSpec, result: CheckResult) -> None:
        reporter.result(result, earlier(spec, before))

    return run(steps.checks, session.jobs, begin, ended, family.stop, waiting)


@dataclass(frozen=True, slots=True)
class _Unwatched:
    """A lane that nobody watches."""

    family: Family

    def test(self, name: str) -> None:
        """Nobody needs to know."""

    def spawn(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a process of the family."""
        return self.family.spawn(command)


def _silently(what: str) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def _command_alone(family: Family, session: Session, steps: Steps) -> CheckResult:
    """Run the command. One that cannot even begin fails like any other: a file that it needs may be gone."""
    try:
        return _run_command(family, session, steps.command, steps.logs)[0]
    except UsageError as error:
        return CheckResult(
            name=COMMAND_STEP, kind="command", outcome=Outcome.FAILED, seconds=0.0, status=127, detail=error.message
        )


def watch(
    session: Session,
    steps: Steps,
    reporter: Reporter,
    masked: Mask | None = None,
    before: Sequence[CheckResult] = (),
) -> Watched:
    """Run the steps under the session's backend, and count the start that was watched before them.

    Commands have our standard streams, and get our signals.
    """
    choice = choose(session.backend, masks=masked is not None, attaches=session.attach)
    directories = tuple(dict.fromkeys((*session.scopes, *session.volumes)))
    watcher = choice.watcher(masked, directories, attach=session.attach)
    with watcher, AskedPorts() as asked:
        results, status, interrupted = _run_steps(watcher, asked, session, steps, reporter, before)
        asked.look()
        observed = watcher.finish()
    watched = Watched(
        results=results,
        observed=observed,
        backend=choice.name,
        passed_over=choice.passed_over,
        blind_spots=watcher.blind_spots,
        no_new_privileges=watcher.no_new_privileges,
        asked_ports=tuple(sorted(asked.ports)),
        status=status,
        interrupted=interrupted,
    )
    watched = with_earlier(None if steps.hosted is None else steps.hosted(), before, watched)
    return with_earlier(None if steps.start is None else steps.start(), before, watched)


def _run_steps(
    watcher: Watcher,
    asked: AskedPorts,
    session: Session,
    steps: Steps,
    reporter: Reporter,
    before: Sequence[CheckResult],
) -> tuple[tuple[CheckResult, ...], int, bool]:
    """Run the checks, then the command, then wait to be asked to end.

    Returns the results, the command's exit status, and whether the command was interrupted.
    """
    status, interrupted = 0, False

    def begin(spec: CheckSpec, *, beside: bool) -> Job:
        lane: Lane = watcher
        if beside:
            lane = watcher.beside(spec.name)
        else:
            watcher.step(spec.name)
        return partial(check, spec, session, lane, before=before, logs=steps.logs)

    def ended(spec: CheckSpec, result: CheckResult) -> None:
        asked.look()
        reporter.result(result, earlier(spec, before))

    together = session.jobs if watcher.tells_apart else 1
    results = [*run(steps.checks, session.jobs, begin, ended, watcher.finish, _silently, together=together)]
    if steps.command:
        watcher.step(COMMAND_STEP)
        result, interrupted = _run_command(watcher, session, steps.command, steps.logs)
        results.append(result)
        status = result.status or 0
    if steps.until_signal and not interrupted:
        watcher.step(ATTACHED_STEP)
        results.append(_attend(watcher, reporter))
    return tuple(results), status, interrupted


def _run_command(
    family: Watcher | Family, session: Session, command: tuple[str, ...], logs: StepLogs | None
) -> tuple[CheckResult, bool]:
    """Run a command with our standard streams and signals. Returns its result, and whether it was interrupted."""

    def reap() -> None:
        family.reap()

    began = time.monotonic()
    with foreground() as front, contextlib.ExitStack() as stack:
        output = None if logs is None else stack.enter_context(logs.recording(COMMAND_STEP))
        try:
            process = family.spawn(
                Command(
                    command,
                    env=marking(session.env, asked=session.by_test),
                    cwd=session.cwd,
                    user=session.user,
                    stdout=output,
                    stderr=output,
                )
            )
        except OSError as error:
            raise UsageError(
                f"cannot run {command[0]}: {error.strerror}",
                "name a program in PATH, or give its path; for shell syntax, use sh -c '...'",
            ) from None
        status = front.wait(process, reap)
    outcome = Outcome.PASSED if status == 0 else Outcome.FAILED
    result = CheckResult(
        name=COMMAND_STEP,
        kind="command",
        outcome=outcome,
        seconds=time.monotonic() - began,
        status=status,
        detail=f"exit status {status}: {' '.join(command)}",
    )
    return result, front.asked_to_end


def _attend(watcher: Watcher, reporter: Reporter) -> CheckResult:
    started = time.monotonic()
    with foreground() as front:
        reporter.watching()
        number = front.until_asked_to_end(watcher.reap)
    return CheckResult(
        name=ATTACHED_STEP,
        kind="attached",
        outcome=Outcome.PASSED,
        seconds=time.monotonic() - started,
        status=0,
        detail=f"watched until {number.name}",
    )
