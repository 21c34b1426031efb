"""Composition from outside: image in, slim image out. Drives an engine; the agent does the work in its containers.

The image is exercised in containers of its own, and planned and exported in another that no test has touched, so that
the slim image has the image's bytes, whatever a test writes, changes or removes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from slimagent import __version__, documents, started
from slimagent.apply.image_config import ImageConfig, read_image_config
from slimagent.errors import CheckFailedError
from slimagent.exercise import Reporter
from slimagent.image import leftovers, owner, preflight, starts
from slimagent.image.agent import Bundle
from slimagent.image.engine import Container, Engine, undisturbed
from slimagent.image.history import with_history
from slimagent.image.labels import with_labels
from slimagent.image.output import Output
from slimagent.image.starts import DIARY, Waiting
from slimagent.image.work import LAYOUT, LOGS, OUT, Work
from slimagent.model import Plan, Receipt, Verification
from slimagent.plan.admit import UNREADABLE, admit, useless
from slimagent.report.failure import failed_steps, not_proved
from slimagent.results import CheckResult, Outcome
from slimagent.step_logs import log_name
from slimagent.traces import Trace
from slimagent.verify.compare import compare

CONFIG, TRACE, PLAN = "image.json", "trace.json", "plan.json"
RECEIPT, VERIFICATION = "receipt.json", "verification.json"
WRITTEN = (CONFIG, TRACE, PLAN, RECEIPT, VERIFICATION, "summary.json", "summary.md", "logs/*.log")
FULL, SLIM, OUTSIDE = "full", "slim", "docker-run"  # which image a log is of, and the start from outside
_PTRACE = ("SYS_PTRACE",)
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
    output = Output(
        request.out, key=key, image=image, tag=request.tag, version=__version__, names=WRITTEN
    )
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
    for line in leftovers.describe(engine, found):
        tell(line)
    leftovers.remove(engine, found)


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
        self._trace_steps: tuple[CheckResult, ...] = ()

    def whole(self) -> Slimmed:
        """All of it but the tag. Raises CheckFailedError if the slim image is not proved."""
        work, request = self._work, self._request
        for name, data in {**request.files, CONFIG: self._described}.items():
            work.give(name, data)
        self._options.mounted = work.mounted(self._image, self._config.volumes)
        trace = self._trace()
        self._export("plan and export in a new container", self._options.export(work.next_pending()))
        verification, outside, repaired = *self._prove(trace), 0
        if verification.missed and request.repair:
            repaired = len(verification.missed)
            self._export(f"repair: {repaired} files were missed", self._options.repair(work.next_pending()))
            verification, outside = self._prove(trace)
        self._require_proved(verification, outside)
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
        if UNREADABLE in lost and self._request.may_add_privileges:
            example = next(loss.example for loss in trace.losses if loss.kind == UNREADABLE)
            self._tell(f"some processes cannot be read in a default container ({example}): once more with SYS_PTRACE")
            self._cap_add = _PTRACE
            trace = self._traced()
        failed = [step for step in trace.steps if useless(step)]
        if failed and "failed-step" not in self._request.accepted:
            for line in failed_steps(failed, self._logs_of(FULL, failed), trace):
                self._tell(line)
            raise CheckFailedError(
                f"{', '.join(step.name for step in failed)} failed in {self._image} as it is, so nothing was made of it",
                f"a slim image can only be proved by steps that pass before; see {self._output.path}/logs",
            )
        admit(trace, self._request.accepted)
        self._trace_steps = trace.steps
        return trace

    def _traced(self) -> Trace:
        work = self._work
        work.drop(TRACE)
        started_options = self._start(self._image, FULL)
        with self._reporter.phase(f"trace in a container of {self._image}"):
            work.run(self._image, self._options.trace(started_options), cap_add=self._cap_add)
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

    def _prove(self, trace: Trace) -> tuple[Verification, CheckResult | None]:
        """Load what was exported, start it and run the steps in containers of it, start it as `docker run` does."""
        work = self._work
        with self._reporter.phase("load", "bytes") as progress:
            work.load(progress)
        started_options = self._start(work.pending, SLIM)
        with self._reporter.phase("verify in a container of the slim image"):
            work.run(work.pending, self._options.verify(started_options), cap_add=self._cap_add)
        self._take_logs(SLIM)
        verification = documents.decode_verification(work.read(VERIFICATION))
        if not verification.passed or verification.missed:
            self._output.adopt(work.shared, VERIFICATION)
            return verification, None
        outside, comparisons = self._start_outside(trace)
        passed = not any(each.worse for each in comparisons)
        verification = replace(
            verification, comparisons=(*verification.comparisons, *comparisons), passed=passed
        )
        self._output.write(VERIFICATION, documents.encode_verification(verification))
        return verification, outside

    def _start_outside(self, trace: Trace) -> tuple[CheckResult | None, tuple[documents.Comparison, ...]]:
        """Start the slim image as `docker run` does, and hold it against how the image itself starts."""
        before = next((step for step in trace.steps if step.name == started.START_STEP), None)
        waiting = self._request.start
        if before is None or waiting is None:
            return None, ()
        until = self._waited_for(waiting)
        ports = tuple(port for port in self._config.tcp_ports if _answered(before, port))
        with self._reporter.phase("start the slim image as docker run does"):
            if before.outcome is not Outcome.PASSED:  # perhaps only the watching kept it from starting
                before, _ = starts.plain(self._work, self._image, until, self._config.tcp_ports, waiting)
            after, said = starts.plain(self._work, self._work.pending, until, ports, waiting, before)
        self._output.write(f"logs/{OUTSIDE}.log", said)
        name = "docker run"
        return after, compare([replace(before, name=name)], [replace(after, name=name)])

    def _waited_for(self, waiting: Waiting) -> started.Until:
        sign = started.best_sign(health_check=bool(self._config.health_command), port=bool(self._config.tcp_ports))
        return sign if waiting.until == "auto" else started.Until(waiting.until)

    def _require_proved(self, verification: Verification, outside: CheckResult | None) -> None:
        if verification.passed and not (verification.missed and outside is None and self._request.start is not None):
            return
        names = {each.name.partition(": ")[0] for each in verification.comparisons if each.worse}
        logs = {name: log for name in names if (log := self._log(SLIM, name))}
        outside_log = self._log_of("docker run") if "docker run" in names else ""
        for line in not_proved(verification, logs, outside_log):
            self._tell(line)
        request = self._request
        kept = ""
        if request.keep_failed:
            kept = self._work.keep_pending()
            self._tell(f"the failing image is {kept}; look into it, then remove it: {self._work.engine.name} rmi {kept}")
        raise CheckFailedError(
            f"the slim image does not do what {self._image} does, so {request.tag} was not made",
            "keep what it lacks with --keep PATH or --keep-package KIND:NAME"
            + ("" if kept else ", or look into it: --keep-failed"),
        )

    def _take_logs(self, which: str) -> None:
        for name in self._work.names_in(LOGS):
            self._output.adopt(self._work.shared, f"{LOGS}/{name}", f"logs/{which}-{name}")
        self._work.drop(LOGS)

    def _logs_of(self, which: str, steps: list[CheckResult]) -> dict[str, str]:
        return {step.name: log for step in steps if (log := self._log(which, step.name))}

    def _log(self, which: str, step: str) -> str:
        return self._output.tail(f"logs/{which}-{log_name(step)}")
