"""Composition from outside: image in, slim image out. Drives an engine; the agent does the work in its containers.

The image is exercised in containers of its own, and planned and exported in another that no test has touched, so that
the slim image has the image's bytes, whatever a test writes, changes or removes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from slimagent import __version__, documents
from slimagent.errors import CheckFailedError, RefusedError, SlimagentError
from slimagent.image import leftovers, owner, preflight
from slimagent.image.agent import Bundle
from slimagent.image.directories import tail_inside
from slimagent.image.engine import Engine
from slimagent.image.history import with_history
from slimagent.image.labels import identity, with_labels
from slimagent.image.output import Output
from slimagent.image.request import CONFIG, PLAN, RECEIPT, TRACE, VERIFICATION, Commands, Request
from slimagent.image.shared import Shared
from slimagent.image.starts import Plain, Watched
from slimagent.image.work import LOGS, Job, Task, Work
from slimagent.linux.signals import undisturbed
from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.model.proof import Verification
from slimagent.model.result import CheckResult
from slimagent.model.summary import Whole
from slimagent.model.trace import Loss, LossKind, Trace
from slimagent.plan.admit import FAILED_STEP, admit, useless
from slimagent.report.failure import failed_steps, not_proved
from slimagent.workflows import step_logs
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.starts_from_outside import FULL, OUTSIDE, SLIM, Starts

WRITTEN = (CONFIG, TRACE, PLAN, RECEIPT, VERIFICATION, "summary.json", "summary.md", "logs/*.log")
_PTRACE = ("SYS_PTRACE",)
_GO = "go"  # the file that an export waits for
_TAIL = 1 << 14  # bytes of a log that are looked at
# What a container can make us copy: as large as the agent lets a log become, and more of them than any checklist has.
_LOG, _ALL_LOGS, _MOST_LOGS = step_logs.LARGEST + (1 << 20), 1 << 30, 10_000  # bytes, bytes, files


@dataclass(slots=True, kw_only=True)
class Slimmed:
    """What has come of it so far. `repaired` counts the files that a first verification missed and that came back."""

    config: ImageConfig
    whole: Whole = field(default_factory=Whole)
    repaired: int = 0

    @property
    def outside(self) -> CheckResult | None:
        """How the slim image started as `docker run` starts it, None if it was not started."""
        steps = () if self.whole.verification is None else self.whole.verification.steps
        return next((step for step in steps if step.name == OUTSIDE), None)


def slim(
    engine: Engine,
    bundle: Callable[[], Bundle],
    request: Request,
    reporter: Reporter,
    say: Callable[[bytes], None],
    tell: Callable[[str], None],
    finish: Callable[[Output, Slimmed, SlimagentError | None], None],
) -> None:
    """Exercise in containers, export from a new one, load, exercise and start the result, repair once, tag.

    However it ends, no container, volume or image of ours is left behind, and what documents there are by then are in
    `request.out`. `bundle` makes the agent, once the image is known to exist and the engine to take the options. `say`
    gets the agent's lines, `tell` what has to be read: why a step failed, above all. `finish` writes the summary, of a
    failure too once `request.out` is ours. Raises CheckFailedError if the slim image does not do what the original
    does: then nothing is tagged.
    """
    image, key = request.container.image, owner.new_key()
    with reporter.phase("look at the image"):
        inspected = engine.inspect(image)
        # From here on by its ID: its name may come to mean another image meanwhile.
        container = replace(request.container, image=identity(inspected) or image)
        described = with_labels(with_history(inspected, engine.history(container.image)), image, __version__)
        config = read_image_config(described, image)
        taken = preflight.require_free(engine, image, request.tag, request.overwrite)
        env = preflight.require_startable(engine, request.container, key, request.user)
    output = Output(request.out, key=key, image=image, tag=request.tag, version=__version__, names=WRITTEN)
    slimmed = Slimmed(config=config)
    with output:
        try:
            _sweep(engine, output, tell)
            output.write(CONFIG, described)
            agent = bundle()
            with (
                contextlib.ExitStack() as rest,
                Work(engine, agent, output.path, key, container, say, env) as work,
            ):
                _Slimming(work, output, request, slimmed, described, reporter, tell, container.image).whole()
                preflight.require_as_before(engine, request.tag, taken)
                finish(output, slimmed, None)
                with reporter.phase("tag"):
                    rest.enter_context(undisturbed())  # from here on there is an image, and no interruption
                    engine.tag(work.pending, request.tag)
                    output.finish("complete")
        except SlimagentError as error:
            with contextlib.suppress(SlimagentError):  # the disk is full: what is said is the first error
                finish(output, slimmed, error)
            raise


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
        slimmed: Slimmed,
        described: bytes,
        reporter: Reporter,
        tell: Callable[[str], None],
        identity: str,
    ) -> None:
        self._work = work
        self._output = output
        self._request = request
        self._slimmed = slimmed
        self._whole = slimmed.whole
        self._config = slimmed.config
        self._reporter = reporter
        self._tell = tell
        self._image = identity
        self._name = request.container.image
        self._commands = Commands(request, slimmed.config.user)
        self._files = {**request.files, CONFIG: described}  # what every container is given
        self._made: dict[str, bytes] = {}  # documents that containers have made, as they were when they came
        self._cap_add: tuple[str, ...] = ()
        self._starts = Starts(work, output, request, slimmed.config, identity, reporter, tell)

    def whole(self) -> None:
        """All of it but the tag. Raises CheckFailedError if the slim image is not proved."""
        work, request = self._work, self._request
        self._commands.mounted = work.mounted(self._image, self._config.volumes)
        export = self._share("export")
        exporting = self._begin_export(export, self._commands.export(work.next_pending(), _GO))
        trace = self._trace()
        export.give(TRACE, self._made[TRACE])
        export.give(_GO, b"")
        self._export("plan and export in a new container", export, exporting)
        verification = self._verified(export, trace)
        if verification.missed and request.repair:
            self._slimmed.repaired = repaired = len(verification.missed)
            export = self._share("repair", TRACE, VERIFICATION)
            exporting = self._begin_export(export, self._commands.repair(work.next_pending()))
            self._export(f"repair: {repaired} files were missed", export, exporting)
            verification = self._verified(export, trace)
        self._require_proved(verification)

    def _trace(self) -> Trace:
        """Start and exercise the image, watched; again with one more capability if that is what it takes to see all."""
        trace = self._traced()
        unreadable = self._unreadable(trace)
        if unreadable is not None and self._request.may_add_privileges:
            example = unreadable.example
            self._tell(f"some processes cannot be read in a default container ({example}): once more with SYS_PTRACE")
            self._cap_add = _PTRACE
            trace = self._traced()
            unreadable = self._unreadable(trace)
        failed = [step for step in trace.steps if useless(step)]
        if failed and FAILED_STEP not in self._request.accepted:
            for line in failed_steps(failed, self._logs(FULL, [step.name for step in failed])):
                self._tell(line)
            names = ", ".join(step.name for step in failed)
            raise CheckFailedError(
                f"{names} failed in {self._name} as it is, so nothing was made of it",
                "mend the step, then run again; it runs in a container of its own, in which the image's servers "
                "are not running unless the step starts them (docs/image.md)",
            )
        if unreadable is not None:
            self._refuse_unreadable(unreadable)
        admit(trace, self._request.accepted)
        return trace

    def _unreadable(self, trace: Trace) -> Loss | None:
        """What tells that something of a process could not be read, None if nothing does or that is accepted."""
        if LossKind.UNREADABLE_PATH in self._request.accepted:
            return None
        return next((loss for loss in trace.losses if loss.kind == LossKind.UNREADABLE_PATH), None)

    def _refuse_unreadable(self, loss: Loss) -> NoReturn:
        way = "leave out --no-privileges, so that SYS_PTRACE is added" if not self._cap_add else "SYS_PTRACE was added"
        raise RefusedError(
            f"what some processes need could not be read ({loss.count} times, e.g. {loss.example})",
            f"{way}; or plan all the same with --accept-loss {LossKind.UNREADABLE_PATH}",
        )

    def _share(self, name: str, *made: str) -> Shared:
        """A directory for one container, with what every one is given, and documents that others have made."""
        shared = self._work.share(name)
        for each, data in {**self._files, **{each: self._made[each] for each in made}}.items():
            shared.give(each, data)
        return shared

    def _take(self, shared: Shared, name: str) -> bytes:
        """A document that a container has made, as it is now: a later one is given this, and nothing else."""
        self._made[name] = data = shared.read(name)
        self._output.write(name, data)
        return data

    def _traced(self) -> Trace:
        work, shared = self._work, self._share("trace")
        command = self._commands.trace(self._starts.document)
        task = Task(shared=shared, image=self._image, arguments=command, cap_add=self._cap_add)

        def begin() -> Job[int]:
            return work.begin(task, leaves=TRACE)

        tracing = begin() if work.can_run_together else None
        self._hand_on(self._starts.watched(self._image, FULL, self._files, self._cap_add), shared)
        tracing = tracing or begin()
        with self._reporter.phase(f"trace in a container of {self._name}"):
            tracing.result()
        self._take_logs(shared, FULL)
        self._whole.trace = trace = documents.decode_trace(self._take(shared, TRACE))
        return trace

    def _begin_export(self, shared: Shared, command: tuple[str, ...]) -> Job[int]:
        config = self._config
        platform = {"architecture": config.architecture, "os": config.os, "variant": config.variant}
        self._work.load_early(shared, {key: value for key, value in platform.items() if value})
        return self._work.begin(Task(shared=shared, image=self._image, arguments=command, bare=True))

    def _export(self, phase: str, shared: Shared, exporting: Job[int]) -> None:
        with self._reporter.phase(phase):
            exporting.result()
        self._whole.verification = None  # the one that there was is of an earlier plan
        self._whole.plan = documents.decode_plan(self._take(shared, PLAN))
        self._whole.receipt = documents.decode_receipt(self._take(shared, RECEIPT))

    def _verified(self, export: Shared, trace: Trace) -> Verification:
        """Load what was exported, start it, watched and as `docker run` does, and run the steps in a container."""
        work = self._work
        with self._reporter.phase("load", "bytes") as progress:
            work.load(export, progress)
        shared = self._share("verify", PLAN, TRACE)
        command = self._commands.verify(self._starts.document)
        task = Task(shared=shared, image=work.pending, arguments=command, cap_add=self._cap_add)

        def begin() -> Job[int]:
            return work.begin(task, leaves=VERIFICATION)

        verifying = begin() if work.can_run_together else None
        outside = self._start_both(shared, trace)
        verifying = verifying or begin()
        with self._reporter.phase("verify in a container of the slim image"):
            verifying.result()
        self._take_logs(shared, SLIM)
        verification = documents.decode_verification(self._take(shared, VERIFICATION))
        whole = self._starts.verified(verification, trace, outside)
        if whole is not verification:
            self._made[VERIFICATION] = documents.encode_verification(whole)
            self._output.write(VERIFICATION, self._made[VERIFICATION])
        self._whole.verification = whole
        return whole

    def _start_both(self, shared: Shared, trace: Trace) -> Plain | None:
        """Start the slim image watched and as `docker run` does: at once, unless both would want the same ports.

        No step runs meanwhile.
        """
        work = self._work
        plainly = work.aside(lambda: self._starts.plain(work.pending, trace)) if work.can_run_together else None
        start = self._starts.watched(work.pending, SLIM, self._files, self._cap_add)
        outside = self._starts.plain(work.pending, trace) if plainly is None else plainly.result()
        self._hand_on(start, shared)
        return outside

    def _hand_on(self, start: Watched | None, shared: Shared) -> None:
        """Let the container that waits for a start go on with its steps."""
        if start is not None:
            shared.give(self._starts.document, start.diary)

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
        tag = self._request.tag
        left = f"; {tag} is still the image from before" if self._work.engine.find_image(tag) is not None else ""
        raise CheckFailedError(f"the slim image does not do what {self._name} does, so {tag} was not made{left}", hint)

    def _take_logs(self, shared: Shared, which: str) -> None:
        left = _ALL_LOGS
        for name in shared.names_in(LOGS, _MOST_LOGS):
            target = f"logs/{which}-{name}"
            if name.endswith(".log") and self._output.adopt(shared.path, f"{LOGS}/{name}", target, min(left, _LOG)):
                left -= os.stat(os.path.join(self._output.path, target), follow_symlinks=False).st_size

    def _logs(self, which: str, steps: Sequence[str]) -> dict[str, tuple[str, str]]:
        """For each step that has a log, the file that holds it and the last part of its text."""
        found: dict[str, tuple[str, str]] = {}
        for step in steps:
            name = f"logs/{OUTSIDE}.log" if step == OUTSIDE else f"logs/{which}-{step_logs.log_name(step)}"
            with contextlib.suppress(OSError, RefusedError):
                text = tail_inside(self._output.path, name, _TAIL).decode("utf-8", "replace")
                found[step] = (os.path.join(self._output.path, name), text)
        return found
