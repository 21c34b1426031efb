"""Composition from outside: image in, slim image out. An engine starts containers, and the agent works in them.

Tests run in some containers. Plan and export run in another one that no test has touched. So the slim image has the
image's own bytes, whatever a test writes, changes or removes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NoReturn, TypeVar

from slimagent import __version__, documents
from slimagent.errors import CheckFailedError, RefusedError, SlimagentError
from slimagent.image import leftovers, owner, preflight
from slimagent.image.agent import Bundle
from slimagent.image.container import Container
from slimagent.image.engine import Engine
from slimagent.image.history import with_history
from slimagent.image.labels import identity, with_labels
from slimagent.image.output import Output
from slimagent.image.request import CONFIG, PLAN, RECEIPT, TRACE, VERIFICATION, Commands, Request
from slimagent.image.shared import Shared
from slimagent.image.starts import Plain, Watched
from slimagent.image.work import Job, Task, Work
from slimagent.linux.signals import undisturbed
from slimagent.model.image_config import ImageConfig, read_image_config
from slimagent.model.proof import Verification
from slimagent.model.removed import NAME as REMOVED
from slimagent.model.result import CheckResult
from slimagent.model.summary import Whole
from slimagent.model.trace import FAILED_STEP, Loss, LossKind, Trace
from slimagent.plan.admit import admit, useless
from slimagent.report.failure import failed_steps, not_proved
from slimagent.text.counted import counted
from slimagent.workflows import collected_logs
from slimagent.workflows.exercise import Reporter
from slimagent.workflows.starts_from_outside import FULL, OUTSIDE, SLIM, Starts

WRITTEN = (CONFIG, TRACE, PLAN, RECEIPT, REMOVED, VERIFICATION, "summary.json", "summary.md", "logs/*.log")
_PTRACE = ("SYS_PTRACE",)
_GO = "go"  # an export waits for this file
_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True)
class Slimmed:
    """The results so far. `repaired` counts the files that the first verification missed and the repair restored."""

    config: ImageConfig
    whole: Whole = field(default_factory=Whole)
    repaired: int = 0

    @property
    def outside(self) -> CheckResult | None:
        """How the slim image started under `docker run`, None if it was not started."""
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

    However it ends, no container, volume or image of ours is left, and the documents made so far are in `request.out`.
    `bundle` makes the agent once we know that the image exists and the engine accepts the options. `say` gets the
    agent's lines. `tell` gets what people should read, e.g. why a step failed. `finish` writes the summary, also of a
    failure once `request.out` is ours. Raises CheckFailedError if the slim image does not do what the original does:
    then nothing is tagged.
    """
    key = owner.new_key()
    with reporter.phase("look at the image"):
        found = _look(engine, request, key)
    image = request.container.image
    output = Output(request.out, key=key, image=image, tag=request.tag, version=__version__, names=WRITTEN)
    slimmed = Slimmed(config=found.config)
    with output:
        try:
            _sweep(engine, output, tell)
            output.write(CONFIG, found.described)
            agent = bundle()
            with (
                contextlib.ExitStack() as rest,
                Work(engine, agent, output.path, key, found.container, say, found.env) as work,
            ):
                _Slimming(work, output, request, slimmed, found, reporter, tell).whole()
                preflight.require_as_before(engine, request.tag, found.taken)
                finish(output, slimmed, None)
                with reporter.phase("tag"):
                    rest.enter_context(undisturbed())  # once the tag exists, nothing may interrupt us
                    engine.tag(work.pending, request.tag)
                    output.finish("complete")
        except SlimagentError as error:
            with contextlib.suppress(SlimagentError):  # the disk is full: report the first error
                finish(output, slimmed, error)
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The image before we start: a container that names it by ID, its description with our labels, its variables.

    `taken` is the ID of the image that has the tag now.
    """

    container: Container
    described: bytes
    config: ImageConfig
    taken: str
    env: tuple[str, ...]


def _look(engine: Engine, request: Request, key: str) -> _Found:
    """Look at the image, and refuse early what would fail later. Changes nothing."""
    image = request.container.image
    inspected = engine.inspect(image)
    # Use its ID from here on: its name may move to another image meanwhile.
    container = replace(request.container, image=identity(inspected) or image)
    described = with_labels(with_history(inspected, engine.history(container.image)), image, __version__)
    return _Found(
        container=container,
        described=described,
        config=read_image_config(described, image),
        taken=preflight.require_free(engine, image, request.tag, request.overwrite),
        env=preflight.require_startable(engine, request.container, key, request.user, request.strip_program),
    )


def _sweep(engine: Engine, output: Output, tell: Callable[[str], None]) -> None:
    """Remove what killed runs left behind, and say so."""
    found = leftovers.find(engine, output.path)
    if found.dead:
        left = leftovers.remove(engine, found)
        tell(f"removed what a killed run had left: {leftovers.describe(found.dead)}")
        for line in leftovers.commands(engine, left):
            tell(f"  could not be removed; run: {line}")
    if found.unknown:
        tell(f"runs that cannot be seen from here left {leftovers.describe(found.unknown)}; if they have ended, run:")
        for line in leftovers.commands(engine, found.unknown):
            tell(f"  {line}")


class _Slimming:
    """Slims one image. Copies the containers' documents to the output step by step."""

    def __init__(
        self,
        work: Work,
        output: Output,
        request: Request,
        slimmed: Slimmed,
        found: _Found,
        reporter: Reporter,
        tell: Callable[[str], None],
    ) -> None:
        self._work = work
        self._output = output
        self._request = request
        self._slimmed = slimmed
        self._whole = slimmed.whole
        self._config = slimmed.config
        self._reporter = reporter
        self._tell = tell
        self._image = found.container.image
        self._name = request.container.image
        self._commands = Commands(request, slimmed.config.user)
        self._files = {**request.files, CONFIG: found.described}  # every container gets these
        self._made: dict[str, bytes] = {}  # the containers' documents, as first read
        self._cap_add: tuple[str, ...] = ()
        self._starts = Starts(work, output, request, slimmed.config, self._image, reporter, tell)

    def whole(self) -> None:
        """Do everything but the tag. Raises CheckFailedError if the slim image is not proved."""
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
            self._export(
                f"repair: {counted(repaired, 'removed file was', 'removed files were')} needed", export, exporting
            )
            verification = self._verified(export, trace)
        self._require_proved(verification)

    def _trace(self) -> Trace:
        """Start and exercise the image under a watcher; repeat with SYS_PTRACE if some processes were unreadable."""
        trace = self._traced()
        unreadable = self._unreadable(trace)
        if unreadable is not None and self._request.may_add_privileges:
            example = unreadable.example
            self._tell(f"some processes cannot be read in a default container ({example}): again with SYS_PTRACE")
            self._cap_add = _PTRACE
            trace = self._traced()
            unreadable = self._unreadable(trace)
        failed = [step for step in trace.steps if useless(step)]
        if failed and FAILED_STEP not in self._request.accepted:
            for line in failed_steps(failed, collected_logs.ends(self._output, FULL, [step.name for step in failed])):
                self._tell(line)
            names = ", ".join(step.name for step in failed)
            raise CheckFailedError(
                f"{names} failed in the unchanged image {self._name}, so no slim image was made",
                "repair the step, then run again; it runs in a container of its own, where the image's servers "
                "run only if the step starts them (docs/image.md)",
            )
        if unreadable is not None:
            self._refuse_unreadable(unreadable)
        admit(trace, self._request.accepted)
        return trace

    def _unreadable(self, trace: Trace) -> Loss | None:
        """The loss for processes that could not be read; None if there is none, or if it is accepted."""
        if LossKind.UNREADABLE_PATH in self._request.accepted:
            return None
        return next((loss for loss in trace.losses if loss.kind == LossKind.UNREADABLE_PATH), None)

    def _refuse_unreadable(self, loss: Loss) -> NoReturn:
        way = "SYS_PTRACE was not enough" if self._cap_add else "leave out --no-privileges, so that SYS_PTRACE is added"
        raise RefusedError(
            f"cannot read what some processes need ({counted(loss.count, 'time')}, e.g. {loss.example})",
            f"{way}; or plan anyway with --accept-loss {LossKind.UNREADABLE_PATH}",
        )

    def _share(self, name: str, *made: str) -> Shared:
        """A directory for one container, with the files that all get, and documents of earlier containers."""
        shared = self._work.share(name)
        for each, data in {**self._files, **{each: self._made[each] for each in made}}.items():
            shared.give(each, data)
        return shared

    def _take(self, shared: Shared, name: str) -> bytes:
        """Read a container's document once: later containers get exactly these bytes."""
        self._made[name] = data = shared.read(name)
        self._output.write(name, data)
        return data

    def _traced(self) -> Trace:
        shared = self._share("trace")
        task = self._task(shared, self._image, self._commands.trace(self._starts.document))

        def start() -> None:
            self._hand_on(self._starts.watched(self._image, FULL, self._files, self._cap_add), shared)

        self._run_beside(task, start, TRACE, f"trace in a container of {self._name}")
        collected_logs.take(self._output, shared, FULL)
        self._whole.trace = trace = documents.decode_trace(self._take(shared, TRACE))
        return trace

    def _task(self, shared: Shared, image: str, arguments: tuple[str, ...]) -> Task:
        return Task(shared=shared, image=image, arguments=arguments, cap_add=self._cap_add)

    def _run_beside(self, task: Task, start: Callable[[], _T], leaves: str, phase: str) -> _T:
        """Run a task, and start an image at the same time, or before it if both may need the same ports."""
        work = self._work
        job = work.begin(task, leaves=leaves) if work.can_run_together else None
        came = start()
        job = job or work.begin(task, leaves=leaves)
        with self._reporter.phase(phase):
            job.result()
        return came

    def _begin_export(self, shared: Shared, command: tuple[str, ...]) -> Job[int]:
        config = self._config
        platform = {"architecture": config.architecture, "os": config.os, "variant": config.variant}
        self._work.load_early(shared, {key: value for key, value in platform.items() if value})
        return self._work.begin(Task(shared=shared, image=self._image, arguments=command, bare=True))

    def _export(self, phase: str, shared: Shared, exporting: Job[int]) -> None:
        with self._reporter.phase(phase):
            exporting.result()
        self._whole.verification = None  # it belonged to an earlier plan
        self._whole.plan = documents.decode_plan(self._take(shared, PLAN))
        self._whole.receipt = documents.decode_receipt(self._take(shared, RECEIPT))
        self._output.adopt(shared.path, REMOVED)

    def _verified(self, export: Shared, trace: Trace) -> Verification:
        """Load the export, start it watched and as `docker run` does, and run the steps in a container of it."""
        work = self._work
        with self._reporter.phase("load", "bytes") as progress:
            work.load(export, progress)
        shared = self._share("verify", PLAN, TRACE)
        task = self._task(shared, work.pending, self._commands.verify(self._starts.document))
        outside = self._run_beside(
            task, lambda: self._start_both(shared, trace), VERIFICATION, "verify in a container of the slim image"
        )
        collected_logs.take(self._output, shared, SLIM)
        verification = documents.decode_verification(self._take(shared, VERIFICATION))
        whole = self._starts.verified(verification, trace, outside)
        if whole is not verification:
            self._made[VERIFICATION] = documents.encode_verification(whole)
            self._output.write(VERIFICATION, self._made[VERIFICATION])
        self._whole.verification = whole
        return whole

    def _start_both(self, shared: Shared, trace: Trace) -> Plain | None:
        """Start the slim image watched and as `docker run` does: together, unless both may need the same ports.

        No step runs meanwhile.
        """
        work = self._work
        plainly = work.aside(lambda: self._starts.plain(work.pending, trace)) if work.can_run_together else None
        start = self._starts.watched(work.pending, SLIM, self._files, self._cap_add)
        outside = self._starts.plain(work.pending, trace) if plainly is None else plainly.result()
        self._hand_on(start, shared)
        return outside

    def _hand_on(self, start: Watched | None, shared: Shared) -> None:
        """Give the record of a start to the container that waits for it, so that it runs its steps."""
        if start is not None:
            shared.give(self._starts.document, start.diary)

    def _require_proved(self, verification: Verification) -> None:
        if verification.passed:
            return
        names = {each.name for each in verification.comparisons if each.worse}
        for line in not_proved(verification, collected_logs.ends(self._output, SLIM, sorted(names))):
            self._tell(line)
        if verification.missed:
            hint = "keep what it lacks with --keep PATH or --keep-package KIND:NAME"
        else:
            hint = "no removed file was needed, so the test fails now and then, or counts what is installed"
        if self._request.keep_failed:
            kept = self._work.keep_pending()
            hint += f"; inspect {kept}, then remove it: {self._work.engine.name} rmi {kept}"
        else:
            hint += ", or keep the image to inspect it with --keep-failed"
        tag = self._request.tag
        left = f"; {tag} is still the earlier image" if self._work.engine.find_image(tag) is not None else ""
        raise CheckFailedError(f"the slim image does not do what {self._name} does, so {tag} was not made{left}", hint)
