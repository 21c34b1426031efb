"""Composition from outside: image in, slim image out. Drives an engine; the agent does the work in its containers.

The image is exercised in containers of its own, and planned and exported in another that no test has touched, so that
the slim image has the image's bytes, whatever a test writes, changes or removes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from slimagent import __version__, documents, started
from slimagent.apply.image_config import ImageConfig, read_image_config
from slimagent.errors import CheckFailedError, RefusedError
from slimagent.exercise import Reporter
from slimagent.image import leftovers, owner, preflight, starts
from slimagent.image.agent import Bundle
from slimagent.image.directories import tail_inside
from slimagent.image.engine import Container, Engine, undisturbed
from slimagent.image.history import with_history
from slimagent.image.labels import with_labels
from slimagent.image.output import Output
from slimagent.image.starts import DIARY, Waiting
from slimagent.image.work import LAYOUT, LOGS, OUT, Work
from slimagent.model import Plan, Receipt, Verification
from slimagent.plan.admit import FAILED_STEP, admit, useless
from slimagent.report.failure import failed_steps, not_proved
from slimagent.results import CheckResult, Outcome
from slimagent.step_logs import log_name
from slimagent.traces import Trace
from slimagent.verify.compare import compare

CONFIG, TRACE, PLAN = "image.json", "trace.json", "plan.json"
RECEIPT, VERIFICATION = "receipt.json", "verification.json"
WRITTEN = (CONFIG, TRACE, PLAN, RECEIPT, VERIFICATION, "summary.json", "summary.md", "logs/*.log")
FULL, SLIM = "full", "slim"  # which image a log is of
OUTSIDE = "start-from-outside"
_UNREADABLE, _PTRACE = "unreadable-path", ("SYS_PTRACE",)
_TAIL = 1 << 14  # bytes of a log that are looked at
_ROOTS = ("", "0", "root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asked for, as options of the agent's commands.

    `steps` say how the image is exercised (for `trace` and `verify`), `decision` what may go, `removal` how that is
    done. `files` have to be where the agent's output is, by name. `container` says how containers are started, and of
    which image. `start` None: the image is not started. `accepted` are the kinds of loss that do not matter.
    """

    tag: str
    out: str
    container: Container
    user: str = ""
    steps: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    decision: tuple[str, ...] = ()
    removal: tuple[str, ...] = ()
    accepted: frozenset[str] = frozenset()
    files: Mapping[str, bytes] = field(default_factory=dict)
    repair: bool = True
    start: Waiting | None = field(default_factory=Waiting)
    may_add_privileges: bool = True
    overwrite: bool = False
    keep_failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slimmed:
    """What came of it. `repaired` counts the files that the first verification missed and that were brought back.

    `outside` is how the slim image started as `docker run` starts it, None if it was not started.
    """

    config: ImageConfig
    trace: Trace
    plan: Plan
    receipt: Receipt
    verification: Verification
    repaired: int
    outside: CheckResult | None


def slim(
    engine: Engine,
    bundle: Callable[[], Bundle],
    request: Request,
    reporter: Reporter,
    say: Callable[[bytes], None],
    tell: Callable[[str], None],
    finish: Callable[[Output, Slimmed], None],
) -> Slimmed:
    """Exercise in containers, export from a new one, load, exercise and start the result, repair once, tag.

    However it ends, no container, volume or image of ours is left behind, and what documents there are by then are in
    `request.out`. `bundle` makes the agent, once the image is known to exist and the engine to take the options. `say`
    gets the agent's lines, `tell` what has to be read: why a step failed, above all. `finish` writes the summary.
    Raises CheckFailedError if the slim image does not do what the original does: then nothing is tagged.
    """
    image, key = request.container.image, owner.new_key()
    with reporter.phase("look at the image"):
        described = with_labels(with_history(engine.inspect(image), engine.history(image)), image, __version__)
        config = read_image_config(described, image)
        preflight.require_free(engine, image, request.tag, request.overwrite)
        preflight.require_startable(engine, request.container, key, request.user)
    output = Output(request.out, key=key, image=image, tag=request.tag, version=__version__, names=WRITTEN)
    with output:
        _sweep(engine, output, tell)
        output.write(CONFIG, described)
        agent = bundle()
        with (
            contextlib.ExitStack() as rest,
            Work(engine, agent, output.path, key, request.container, say) as work,
        ):
            slimmed = _Slimming(work, output, request, config, described, reporter, tell).whole()
            finish(output, slimmed)
            with reporter.phase("tag"):
                rest.enter_context(undisturbed())  # from here on there is an image, and no interruption
                engine.tag(work.pending, request.tag)
                output.finish("complete")
        return slimmed


def _sweep(engine: Engine, output: Output, tell: Callable[[str], None]) -> None:
    """Remove what runs that were killed have left behind, and say so."""
    found = leftovers.find(engine, output.path)
    if found.dead:
        left = leftovers.remove(engine, found)
        tell(f"removed what a run that was killed had left: {leftovers.describe(found.dead)}")
        for line in leftovers.commands(engine, left):
            tell(f"  could not be removed; type: {line}")
    if found.unknown:
        tell(f"runs that cannot be seen from here left {leftovers.describe(found.unknown)}; if they have ended, type:")
        for line in leftovers.commands(engine, found.unknown):
            tell(f"  {line}")


class _Slimming:
    """One way from an image to a slim one; the containers' documents become the output's step by step."""

    def __init__(
        self,
        work: Work,
        output: Output,
        request: Request,
        config: ImageConfig,
        described: bytes,
        reporter: Reporter,
        tell: Callable[[str], None],
    ) -> None:
        self._work = work
        self._output = output
        self._request = request
        self._config = config
        self._described = described
        self._reporter = reporter
        self._tell = tell
        self._image = request.container.image
        self._options = _Options(request, config)
        self._cap_add: tuple[str, ...] = ()

    def whole(self) -> Slimmed:
        """All of it but the tag. Raises CheckFailedError if the slim image is not proved."""
        work, request = self._work, self._request
        for name, data in {**request.files, CONFIG: self._described}.items():
            work.give(name, data)
        self._options.mounted = work.mounted(self._image, self._config.volumes)
        trace = self._trace()
        self._export("plan and export in a new container", self._options.export(work.next_pending()))
        verification, repaired = self._verified(), 0
        if verification.missed and request.repair:
            repaired = len(verification.missed)
            self._export(f"repair: {repaired} files were missed", self._options.repair(work.next_pending()))
            verification = self._verified()
        outside = None
        if verification.passed:
            verification, outside = self._started_outside(verification, trace)
        self._require_proved(verification)
        return Slimmed(
            config=self._config,
            trace=trace,
            plan=documents.decode_plan(work.read(PLAN)),
            receipt=documents.decode_receipt(work.read(RECEIPT)),
            verification=verification,
            repaired=repaired,
            outside=outside,
        )

    def _trace(self) -> Trace:
        """Start and exercise the image, watched; again with one more capability if that is what it takes to see all."""
        trace = self._traced()
        lost = {loss.kind for loss in trace.losses} - self._request.accepted
        if _UNREADABLE in lost and self._request.may_add_privileges:
            example = next(loss.example for loss in trace.losses if loss.kind == _UNREADABLE)
            self._tell(f"some processes cannot be read in a default container ({example}): once more with SYS_PTRACE")
            self._cap_add = _PTRACE
            trace = self._traced()
        failed = [step for step in trace.steps if useless(step)]
        if failed and FAILED_STEP not in self._request.accepted:
            for line in failed_steps(failed, self._logs(FULL, [step.name for step in failed])):
                self._tell(line)
            names = ", ".join(step.name for step in failed)
            raise CheckFailedError(
                f"{names} failed in {self._image} as it is, so nothing was made of it",
                "a slim image can only be proved by steps that pass before: mend the step, then run again",
            )
        admit(trace, self._request.accepted)
        return trace

    def _traced(self) -> Trace:
        work = self._work
        work.drop(TRACE)
        started_options = self._start(self._image, FULL)
        with self._reporter.phase(f"trace in a container of {self._image}"):
            work.run(self._image, self._options.trace(started_options), cap_add=self._cap_add, leaves=TRACE)
        self._take_logs(FULL)
        trace = documents.decode_trace(work.read(TRACE))
        self._output.adopt(work.shared, TRACE)
        return trace

    def _start(self, image: str, which: str) -> tuple[str, ...]:
        """Start an image, watched: the options that make it steps of what comes after."""
        waiting = self._request.start
        if waiting is None or not self._config.started:
            return ()
        with self._reporter.phase(f"start {'the slim image' if which == SLIM else image} as configured"):
            status, said = starts.watched(self._work, image, CONFIG, waiting, self._cap_add)
        self._output.write(f"logs/{which}-{log_name(started.START_STEP)}", said)
        if not self._work.has(DIARY):
            return ()
        return ("--started", _at(DIARY), "--started-status", str(status))

    def _export(self, phase: str, arguments: tuple[str, ...]) -> None:
        work = self._work
        work.drop(LAYOUT)
        with self._reporter.phase(phase):
            work.run(self._image, arguments, bare=True)
        for name in (PLAN, RECEIPT):
            self._output.adopt(work.shared, name)

    def _verified(self) -> Verification:
        """Load what was exported, start it, and run the steps in a container of it."""
        work = self._work
        with self._reporter.phase("load", "bytes") as progress:
            work.load(progress)
        start = self._start(work.pending, SLIM)
        with self._reporter.phase("verify in a container of the slim image"):
            work.run(work.pending, self._options.verify(start), cap_add=self._cap_add)
        self._take_logs(SLIM)
        self._output.adopt(work.shared, VERIFICATION)
        return documents.decode_verification(work.read(VERIFICATION))

    def _started_outside(self, verification: Verification, trace: Trace) -> tuple[Verification, CheckResult | None]:
        """Start the slim image as `docker run` does, and hold it against how the image itself starts."""
        before = next((step for step in trace.steps if step.name == started.START_STEP), None)
        waiting = self._request.start
        if before is None or waiting is None:
            return verification, None
        until = self._waited_for(waiting)
        ports = tuple(port for port in self._config.tcp_ports if before.has_passed(f"port {port}"))
        with self._reporter.phase(f"start the slim image as `{self._work.engine.name} run` does"):
            if before.outcome is not Outcome.PASSED:  # perhaps only the watching kept it from starting
                ports = self._config.tcp_ports
                before, _ = starts.plain(self._work, self._image, until, ports, waiting)
            after, said = starts.plain(self._work, self._work.pending, until, ports, waiting, before)
        self._output.write(f"logs/{OUTSIDE}.log", said)
        comparisons = compare([replace(before, name=OUTSIDE)], [replace(after, name=OUTSIDE)])
        verification = replace(
            verification,
            steps=(*verification.steps, replace(after, name=OUTSIDE)),
            comparisons=(*verification.comparisons, *comparisons),
            passed=not any(each.worse for each in comparisons),
        )
        self._output.write(VERIFICATION, documents.encode_verification(verification))
        return verification, after

    def _waited_for(self, waiting: Waiting) -> started.Until:
        sign = started.best_sign(health_check=bool(self._config.health_command), port=bool(self._config.tcp_ports))
        return sign if waiting.until == "auto" else started.Until(waiting.until)

    def _require_proved(self, verification: Verification) -> None:
        if verification.passed:
            return
        names = {each.name for each in verification.comparisons if each.worse}
        for line in not_proved(verification, self._logs(SLIM, sorted(names))):
            self._tell(line)
        hint = "keep what it lacks with --keep PATH or --keep-package KIND:NAME"
        if self._request.keep_failed:
            kept = self._work.keep_pending()
            hint += f"; look into it, then remove it: {self._work.engine.name} rmi {kept}"
        else:
            hint += ", or look into it with --keep-failed"
        raise CheckFailedError(
            f"the slim image does not do what {self._image} does, so {self._request.tag} was not made", hint
        )

    def _take_logs(self, which: str) -> None:
        for name in self._work.names_in(LOGS):
            self._output.adopt(self._work.shared, f"{LOGS}/{name}", f"logs/{which}-{name}")
        self._work.drop(LOGS)

    def _logs(self, which: str, steps: Sequence[str]) -> dict[str, tuple[str, str]]:
        """For each step that has a log, the file that holds it and the last part of its text."""
        found: dict[str, tuple[str, str]] = {}
        for step in steps:
            name = f"logs/{OUTSIDE}.log" if step == OUTSIDE else f"logs/{which}-{log_name(step)}"
            with contextlib.suppress(OSError, RefusedError):
                text = tail_inside(self._output.path, name, _TAIL).decode("utf-8", "replace")
                found[step] = (os.path.join(self._output.path, name), text)
        return found


class _Options:
    """The agent's command lines. Its documents are where a container sees the output directory."""

    def __init__(self, request: Request, config: ImageConfig) -> None:
        self._request = request
        user = request.user or ("" if config.user.partition(":")[0] in _ROOTS else config.user)
        self._user = ("--user", user) if user else ()
        self._config = ("--image-config", _at(CONFIG))
        self.mounted: tuple[str, ...] = ()

    def trace(self, start: tuple[str, ...]) -> tuple[str, ...]:
        """Run the steps, and record what they need."""
        mounted = (word for path in self.mounted for word in ("--mounted", path))
        options = (*self._user, *self._request.steps, *self._config, *mounted, *start, "--logs", _at(LOGS))
        return ("trace", *options, "-o", _at(TRACE), "--", *self._request.command)

    def export(self, tag: str) -> tuple[str, ...]:
        """Plan from that, and export what stays."""
        return ("export", *self._exporting(tag), _at(TRACE))

    def repair(self, tag: str) -> tuple[str, ...]:
        """The same, with what the verification missed."""
        return ("export", *self._exporting(tag), "--repair", _at(VERIFICATION), _at(TRACE))

    def verify(self, start: tuple[str, ...]) -> tuple[str, ...]:
        """Run the steps again where the dropped files are gone."""
        options = (*self._user, *self._request.steps, *start, "--logs", _at(LOGS), "-o", _at(VERIFICATION))
        return ("verify", *options, _at(PLAN), _at(TRACE), "--", *self._request.command)

    def _exporting(self, tag: str) -> tuple[str, ...]:
        # Not compressed: an engine would only undo it.
        layout = ("--oci", _at(LAYOUT), "--compression", "none", "--tag", tag)
        written = ("--plan", _at(PLAN), "--receipt", _at(RECEIPT), "--quiet")
        return (*self._request.decision, *self._request.removal, *self._config, *layout, *written)


def _at(name: str) -> str:
    return f"{OUT}/{name}"
